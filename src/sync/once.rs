//! What is done once, by the first who comes.
//!
//! # States
//!
//! | state | meaning | leaves to |
//! | --- | --- | --- |
//! | [`INCOMPLETE`] | nobody has begun | `RUNNING` |
//! | [`RUNNING`] | one runs its closure; the others wait for it | any of the others |
//! | [`POISONED`] | a closure has panicked | `RUNNING`, for those who say that they can cope |
//! | [`COMPLETE`] | it is done | |
//!
//! All changes are made under the queue's lock. `COMPLETE` is set by a Release, for those who look without the lock.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::runtime::interrupt;
use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::park::Waiter;
use crate::runtime::wait_list::{self, End, WaitList};
use crate::thread::ThreadId;

const INCOMPLETE: u8 = 0;
const RUNNING: u8 = 1;
const POISONED: u8 = 2;
const COMPLETE: u8 = 3;

/// Runs a closure once, whoever calls first; as [`std::sync::Once`], but waiting for it suspends a green thread.
///
/// A closure that panics poisons it. One that is interrupted (the thread is cancelled, or its time is over) does not: it leaves things as they were
/// before, and the next one to call runs its own.
///
/// # Examples
///
/// ```
/// use corde::sync::Once;
///
/// static ONCE: Once = Once::new();
/// let mut runs = 0;
/// ONCE.call_once(|| runs += 1);
/// ONCE.call_once(|| runs += 1);
/// assert_eq!(runs, 1);
/// ```
pub struct Once {
    state: AtomicU8,
    queue: Lock<Queue>,
}

struct Queue {
    /// Those who have a closure, with the phase in which they have come.
    callers: WaitList<u64>,
    /// Those who have none.
    watchers: WaitList<u64>,
    /// Counts beginnings and ends of runs.
    phase: u64,
    /// Who runs.
    runner: Option<ThreadId>,
}

impl Queue {
    fn callers(&mut self) -> &mut WaitList<u64> {
        &mut self.callers
    }

    fn watchers(&mut self) -> &mut WaitList<u64> {
        &mut self.watchers
    }
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// What a closure run by [`Once::call_once_force`] is told; as [`std::sync::OnceState`].
///
/// # Examples
///
/// ```
/// corde::sync::Once::new().call_once_force(|state| assert!(!state.is_poisoned()));
/// ```
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// Returns whether an earlier closure has panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Once;
    ///
    /// let once = Once::new();
    /// # std::panic::catch_unwind(|| once.call_once(|| panic!())).unwrap_err();
    /// once.call_once_force(|state| assert!(state.is_poisoned()));
    /// ```
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl Once {
    /// Makes one that nothing was run for.
    ///
    /// # Examples
    ///
    /// ```
    /// static ONCE: corde::sync::Once = corde::sync::Once::new();
    /// assert!(!ONCE.is_completed());
    /// ```
    #[expect(clippy::new_without_default, reason = "std's has no default either")]
    #[inline]
    #[must_use]
    pub const fn new() -> Once {
        Once {
            state: AtomicU8::new(INCOMPLETE),
            queue: Lock::new(Queue {
                callers: WaitList::new(),
                watchers: WaitList::new(),
                phase: 0,
                runner: None,
            }),
        }
    }

    /// Runs `f`, unless a closure has been run already; waits for one that is running. What it did is seen afterwards.
    ///
    /// # Panics
    ///
    /// If an earlier closure has panicked. If `f` calls this for the same `Once`, where std's may wait for itself for ever.
    ///
    /// # Cancellation
    ///
    /// Who is interrupted while it waits has run nothing. Who is interrupted in `f` has not run it: the next one runs its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use corde::{sync::Once, thread};
    ///
    /// let (once, runs) = (Once::new(), AtomicU32::new(0));
    /// thread::scope(|scope| {
    ///     for _ in 0..10 {
    ///         scope.spawn(|| {
    ///             once.call_once(|| {
    ///                 thread::yield_now();
    ///                 runs.fetch_add(1, Ordering::Relaxed);
    ///             });
    ///             assert_eq!(runs.load(Ordering::Relaxed), 1);
    ///         });
    ///     }
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn call_once<F>(&self, f: F)
    where
        F: FnOnce(),
    {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call(false, &mut |_| {
                if let Some(f) = f.take() {
                    f();
                }
            });
        }
    }

    /// Like [`call_once`](Once::call_once), but runs `f` also if earlier closures have panicked.
    ///
    /// # Panics
    ///
    /// If `f` calls this for the same `Once`.
    ///
    /// # Cancellation
    ///
    /// As for [`call_once`](Once::call_once).
    ///
    /// # Examples
    ///
    /// See [`OnceState::is_poisoned`], and:
    ///
    /// ```
    /// use corde::sync::Once;
    ///
    /// let once = Once::new();
    /// once.call_once_force(|_| {});
    /// assert!(once.is_completed());
    /// ```
    #[inline]
    pub fn call_once_force<F>(&self, f: F)
    where
        F: FnOnce(&OnceState),
    {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call(true, &mut |state| {
                if let Some(f) = f.take() {
                    f(state);
                }
            });
        }
    }

    /// Returns whether a closure has been run to its end; what it did is seen then.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Once;
    ///
    /// let once = Once::new();
    /// once.call_once(|| assert!(!once.is_completed()));
    /// assert!(once.is_completed());
    /// ```
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Acquire: for the Release in `Running::drop`.
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits until a closure has been run.
    ///
    /// # Panics
    ///
    /// If one has panicked. If called by the closure that is run.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::{sync::Once, thread};
    ///
    /// let ready = Once::new();
    /// thread::scope(|scope| {
    ///     scope.spawn(|| ready.call_once(|| thread::yield_now()));
    ///     ready.wait();
    /// });
    /// ```
    #[inline]
    pub fn wait(&self) {
        if !self.is_completed() {
            self.watch(false);
        }
    }

    /// Like [`wait`](Once::wait), but goes on waiting if a closure has panicked.
    ///
    /// # Panics
    ///
    /// If called by the closure that is run.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::{sync::Once, thread};
    ///
    /// let ready = Once::new();
    /// thread::scope(|scope| {
    ///     scope.spawn(|| ready.call_once_force(|_| {}));
    ///     ready.wait_force();
    /// });
    /// ```
    #[inline]
    pub fn wait_force(&self) {
        if !self.is_completed() {
            self.watch(true);
        }
    }

    #[cold]
    #[track_caller]
    fn call(&self, force: bool, f: &mut dyn FnMut(&OnceState)) {
        let me = Waiter::current().id();
        loop {
            let mut queue = self.queue.lock();
            // Relaxed: under the lock.
            let before = self.state.load(Ordering::Relaxed);
            match before {
                COMPLETE => return,
                POISONED if !force => poisoned(queue),
                RUNNING => {
                    wait(refuse_own(queue, me), Queue::callers);
                }
                _ => {
                    self.state.store(RUNNING, Ordering::Relaxed);
                    queue.phase += 1;
                    queue.runner = Some(me);
                    queue.unlock();
                    let mut running = Running {
                        once: self,
                        before,
                        done: false,
                    };
                    f(&OnceState {
                        poisoned: before == POISONED,
                    });
                    running.done = true;
                    return;
                }
            }
        }
    }

    #[cold]
    #[track_caller]
    fn watch(&self, force: bool) {
        let me = Waiter::current().id();
        loop {
            let queue = self.queue.lock();
            match self.state.load(Ordering::Relaxed) {
                COMPLETE => return,
                POISONED if !force => poisoned(queue),
                _ => {
                    wait(refuse_own(queue, me), Queue::watchers);
                }
            }
        }
    }
}

#[cold]
#[track_caller]
fn poisoned(queue: LockGuard<'_, Queue>) -> ! {
    queue.unlock();
    panic!("Once instance has previously been poisoned");
}

/// Panics if the calling thread would wait for itself.
#[track_caller]
fn refuse_own(queue: LockGuard<'_, Queue>, me: ThreadId) -> LockGuard<'_, Queue> {
    if queue.runner == Some(me) {
        queue.unlock();
        panic!("one-time initialization may not be performed recursively");
    }
    queue
}

/// Waits for a run to end.
fn wait(queue: LockGuard<'_, Queue>, list: fn(&mut Queue) -> &mut WaitList<u64>) {
    let phase = queue.phase;
    if let Err((left, _, queue)) = wait_list::wait(queue, list, End::Last, phase, None) {
        queue.unlock();
        left.strike();
    }
}

/// A closure that is run.
struct Running<'a> {
    once: &'a Once,
    before: u8,
    done: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let state = if self.done {
            COMPLETE
        } else if interrupt::is_panicking() {
            POISONED
        } else {
            self.before
        };
        let once = self.once;
        let mut queue = once.queue.lock();
        let phase = queue.phase;
        queue.phase += 1;
        queue.runner = None;
        // Release: for the Acquire in `is_completed`.
        once.state.store(state, Ordering::Release);
        if state == INCOMPLETE {
            // One is enough: it begins, or waits anew for another one that does.
            let next = queue.callers.grant_first(|_| {});
            queue.unlock();
            if let Some((_, wake)) = next {
                wake.wake();
            }
            return;
        }
        let next = |list: &mut WaitList<u64>| {
            list.first_mut().filter(|theirs| **theirs <= phase)?;
            list.grant_first(|_| {}).map(|(_, wake)| wake)
        };
        wait_list::grant_all(queue, |queue| {
            next(&mut queue.callers).or_else(|| next(&mut queue.watchers))
        });
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState")
            .field("poisoned", &self.is_poisoned())
            .finish()
    }
}
