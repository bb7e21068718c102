//! Waiting for what another thread changes under a mutex.
//!
//! A waiter's node has the number of its arrival, so that [`Condvar::notify_all`] wakes those who were there when it was called, and not those
//! who come back while it is at it. As the lock is not held for all of them, they count as woken from the call on: they take no notification from
//! those who come later. Who has been woken by [`Condvar::notify_one`] and is interrupted before it has its mutex again passes that on:
//! it has not seen what it was told of.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};
use std::time::{Duration, Instant};

use super::mutex::{MutexGuard, Unlocked};
use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, WaitList, Wake};

/// Lets threads wait until another one tells them that something has changed; as [`std::sync::Condvar`], but waiting suspends a green thread.
///
/// Those who wait are woken in the order in which they have come. Different from some of std's it may be used with several mutexes at
/// a time, and a wait never ends without reason; but a wait for a condition needs a loop nevertheless, for another thread may
/// lock the mutex in between.
///
/// # Cancellation
///
/// All its waits can be interrupted. They unwind without the mutex, then. A notification is not lost with them: one that has been notified and
/// has not got the mutex yet when it is interrupted passes that on to the next.
///
/// # Examples
///
/// ```
/// use corde::sync::{Condvar, Mutex};
/// use corde::thread;
///
/// let (ready, changed) = (Mutex::new(false), Condvar::new());
/// thread::scope(|scope| {
///     scope.spawn(|| {
///         *ready.lock().unwrap() = true;
///         changed.notify_one();
///     });
///     let mut ready = ready.lock().unwrap();
///     while !*ready {
///         ready = changed.wait(ready).unwrap();
///     }
/// });
/// ```
pub struct Condvar {
    queue: Lock<Queue>,
    /// Whether anybody waits. Whoever has changed what they wait for, under their mutex, sees those who have looked before: they
    /// have set this before they unlocked it.
    occupied: AtomicBool,
}

struct Queue {
    waiting: WaitList<Node>,
    arrivals: u64,
    /// Who has arrived before this one is woken by a `notify_all`, which may be at it still.
    told: u64,
}

impl Queue {
    fn has_told(&mut self) -> bool {
        let told = self.told;
        self.waiting
            .first_mut()
            .is_some_and(|node| node.arrival < told)
    }

    /// Wakes the first of those that `notify_all` is to wake.
    fn wake_told(&mut self) -> Option<Wake> {
        if !self.has_told() {
            return None;
        }
        let woken = self.waiting.grant_first(|node| node.told = Told::WithAll);
        woken.map(|(_, wake)| wake)
    }
}

struct Node {
    arrival: u64,
    told: Told,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Alone,
    WithAll,
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

/// Whether a wait with a timeout has ended because its time was over; as [`std::sync::WaitTimeoutResult`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corde::sync::{Condvar, Mutex};
///
/// let mutex = Mutex::new(());
/// let (_locked, result) =
///     Condvar::new().wait_timeout(mutex.lock().unwrap(), Duration::from_millis(1)).unwrap();
/// assert!(result.timed_out());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns whether the time was over before a notification came.
    ///
    /// # Examples
    ///
    /// See [`WaitTimeoutResult`] itself, and here one that was told in time:
    ///
    /// ```
    /// use std::time::Duration;
    /// use corde::sync::{Condvar, Mutex};
    ///
    /// let mutex = Mutex::new(1);
    /// let (_locked, result) = Condvar::new()
    ///     .wait_timeout_while(mutex.lock().unwrap(), Duration::ZERO, |n| *n == 0)
    ///     .unwrap();
    /// assert!(!result.timed_out());
    /// ```
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Makes one that nobody waits for.
    ///
    /// # Examples
    ///
    /// ```
    /// static CHANGED: corde::sync::Condvar = corde::sync::Condvar::new();
    /// CHANGED.notify_all();
    /// ```
    #[must_use]
    #[inline]
    pub const fn new() -> Condvar {
        Condvar {
            queue: Lock::new(Queue {
                waiting: WaitList::new(),
                arrivals: 0,
                told: 0,
            }),
            occupied: AtomicBool::new(false),
        }
    }

    /// Unlocks the mutex, waits to be notified, and locks it again. Nothing is missed between the first two.
    ///
    /// # Errors
    ///
    /// If the mutex is poisoned when it is locked again; the error has the guard.
    ///
    /// # Cancellation
    ///
    /// See [`Condvar`]: the thread unwinds without the mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Condvar, Mutex};
    /// use corde::thread;
    ///
    /// let (queue, filled) = (Mutex::new(Vec::new()), Condvar::new());
    /// thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let mut queue = queue.lock().unwrap();
    ///         while queue.is_empty() {
    ///             queue = filled.wait(queue).unwrap();
    ///         }
    ///         assert_eq!(queue.pop(), Some(7));
    ///     });
    ///     queue.lock().unwrap().push(7);
    ///     filled.notify_one();
    /// });
    /// ```
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, None).0
    }

    /// Waits for as long as `condition` holds of the value. It is asked with the mutex locked, for the first time before waiting.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    ///
    /// # Cancellation
    ///
    /// See [`Condvar`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Condvar, Mutex};
    /// use corde::thread;
    ///
    /// let (pending, changed) = (Mutex::new(true), Condvar::new());
    /// thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         *pending.lock().unwrap() = false;
    ///         changed.notify_one();
    ///     });
    ///     let pending = changed.wait_while(pending.lock().unwrap(), |pending| *pending).unwrap();
    ///     assert!(!*pending);
    /// });
    /// ```
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Like [`wait`](Condvar::wait), for `duration` at most. It may last longer until the mutex can be had.
    ///
    /// A duration that no clock can tell the end of is for ever.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait); the error has the guard and the result.
    ///
    /// # Cancellation
    ///
    /// See [`Condvar`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use corde::sync::{Condvar, Mutex};
    ///
    /// let (mutex, never) = (Mutex::new(()), Condvar::new());
    /// let before = Instant::now();
    /// let (_locked, result) =
    ///     never.wait_timeout(mutex.lock().unwrap(), Duration::from_millis(2)).unwrap();
    /// assert!(result.timed_out() && before.elapsed() >= Duration::from_millis(2));
    /// ```
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        duration: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (locked, result) = self.wait_until(guard, Instant::now().checked_add(duration));
        match locked {
            Ok(guard) => Ok((guard, result)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), result))),
        }
    }

    /// Like [`wait_while`](Condvar::wait_while), for `duration` at most.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Condvar::wait_timeout).
    ///
    /// # Cancellation
    ///
    /// See [`Condvar`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corde::sync::{Condvar, Mutex};
    ///
    /// let (count, changed) = (Mutex::new(0), Condvar::new());
    /// let (count, result) = changed
    ///     .wait_timeout_while(count.lock().unwrap(), Duration::from_millis(1), |count| *count == 0)
    ///     .unwrap();
    /// assert!(result.timed_out() && *count == 0);
    /// ```
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        duration: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = Instant::now().checked_add(duration);
        loop {
            if !condition(&mut guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (locked, result) = self.wait_until(guard, deadline);
            guard = match locked {
                Ok(guard) => guard,
                Err(poisoned) => return Err(PoisonError::new((poisoned.into_inner(), result))),
            };
        }
    }

    /// Wakes the thread that has waited longest, if one waits.
    ///
    /// # Examples
    ///
    /// See [`Condvar`]; and nobody need be there:
    ///
    /// ```
    /// corde::sync::Condvar::new().notify_one();
    /// ```
    #[inline]
    pub fn notify_one(&self) {
        if self.occupied.load(Ordering::Relaxed) {
            self.wake_one();
        }
    }

    /// Wakes all threads that wait now.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Condvar, Mutex};
    /// use corde::thread;
    ///
    /// let (open, changed) = (Mutex::new(false), Condvar::new());
    /// thread::scope(|scope| {
    ///     for _ in 0..10 {
    ///         scope.spawn(|| {
    ///             let _open = changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
    ///         });
    ///     }
    ///     *open.lock().unwrap() = true;
    ///     changed.notify_all();
    /// });
    /// ```
    #[inline]
    pub fn notify_all(&self) {
        if self.occupied.load(Ordering::Relaxed) {
            self.wake_all();
        }
    }

    #[inline(never)]
    fn wake_one(&self) {
        let mut queue = self.queue.lock();
        while queue.has_told() {
            queue = wait_list::grant_all(queue, Queue::wake_told).lock();
        }
        let woken = queue.waiting.grant_first(|node| node.told = Told::Alone);
        self.note_left(queue);
        if let Some(((), wake)) = woken {
            wake.wake();
        }
    }

    #[inline(never)]
    fn wake_all(&self) {
        let mut queue = self.queue.lock();
        queue.told = queue.arrivals;
        wait_list::grant_all(queue, Queue::wake_told);
        self.note_left(self.queue.lock());
    }

    /// Notes that one or more have left.
    fn note_left(&self, queue: LockGuard<'_, Queue>) {
        if queue.waiting.is_empty() {
            self.occupied.store(false, Ordering::Relaxed);
        }
    }

    fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (LockResult<MutexGuard<'a, T>>, WaitTimeoutResult) {
        let mut queue = self.queue.lock();
        self.occupied.store(true, Ordering::Relaxed);
        let node = Node {
            arrival: queue.arrivals,
            told: Told::Nothing,
        };
        queue.arrivals += 1;
        let mut unlocked: Option<Unlocked<'a, T>> = None;
        let waited = wait_list::wait_after(
            queue,
            |queue| &mut queue.waiting,
            End::Last,
            node,
            deadline,
            || unlocked = Some(guard.unlock()),
        );
        let Some(unlocked) = unlocked else {
            unreachable!("it is unlocked before waiting")
        };
        let told = match waited {
            Ok(node) => node.told,
            Err((_, node, queue)) if node.arrival < queue.told => {
                self.note_left(queue);
                Told::WithAll
            }
            Err((left, _, queue)) => {
                self.note_left(queue);
                left.strike();
                Told::Nothing
            }
        };
        let locked = unlocked.lock().unwrap_or_else(|interrupt| {
            if told == Told::Alone {
                self.notify_one();
            }
            interrupt.strike()
        });
        (locked, WaitTimeoutResult(told == Told::Nothing))
    }
}

impl Default for Condvar {
    /// Makes one that nobody waits for.
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
