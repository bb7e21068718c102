//! Notifications: one thread tells another, or all that wait, to go on.
//!
//! # State
//!
//! One word. Its low bits are [`EMPTY`], [`WAITING`] while somebody may wait, or [`NOTIFIED`] while there is a permit; above them it counts the
//! *rounds*, the calls of `notify_waiters`. `WAITING` is set and reset under the lock of the queue; without it everything is one
//! compare-and-swap.
//!
//! Each waiter knows the round that it waits in, so the queue is in the order of the rounds. A new round notifies all of older ones; as the
//! lock is not held for all of them, they are granted in batches ([`Notify::grant_older`]). Meanwhile such a waiter counts as notified already: it
//! finds that out itself when it leaves, and `notify_one` grants it before it notifies one of the current round.
//!
//! A waiter may be an arm of a selection. Who notifies it claims the selection for it; if another arm has been chosen, the next in the queue is
//! notified as if it had not been there. So no notification is given to who does not want it any more.

mod select;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, WaitList, Wake};
use crate::runtime::worker;
use crate::sync::channel::select::Arm;

pub use select::notified;

const EMPTY: usize = 0;
const WAITING: usize = 1;
const NOTIFIED: usize = 2;
const KIND: usize = 3;
const ROUND: usize = 4;

/// Threads that wait.
type Queue = WaitList<Waiting>;

struct Waiting {
    round: usize,
    /// Which has to be chosen, if it waits for other things as well.
    arm: Option<Arm>,
}

impl Waiting {
    /// Returns whether it can be notified still.
    fn take(&mut self) -> bool {
        self.arm.is_none_or(|arm| arm.claim())
    }
}

/// Lets threads wait for a notification; as `tokio::sync::Notify`.
///
/// [`notify_one`](Notify::notify_one) lets one thread go on: the one that has waited longest, or the next that comes. It is a semaphore with at most
/// one permit, so whoever changes something first and notifies then, and whoever looks first and waits then, do not miss each other.
/// [`notify_waiters`](Notify::notify_waiters) lets all go on that wait right then, and leaves nothing for those that come later.
/// [`select!`](crate::select) waits for a notification beside other things, and leaves it to others if it chooses one of these.
///
/// # Examples
///
/// ```
/// use corde::sync::{Arc, Notify};
/// use corde::thread;
///
/// let notify = Arc::new(Notify::new());
/// let theirs = notify.clone();
/// let waits = thread::spawn(move || theirs.notified());
/// notify.notify_one();
/// waits.join().unwrap();
/// ```
pub struct Notify {
    state: AtomicUsize,
    queue: Lock<Queue>,
}

// As Tokio's: nothing of the user's runs while it changes.
impl UnwindSafe for Notify {}
impl RefUnwindSafe for Notify {}

impl Notify {
    /// Makes one without a permit.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    ///
    /// static CHANGED: Notify = Notify::new();
    ///
    /// CHANGED.notify_one();
    /// CHANGED.notified();
    /// ```
    #[must_use]
    pub const fn new() -> Notify {
        Notify {
            state: AtomicUsize::new(EMPTY),
            queue: Lock::new(WaitList::new()),
        }
    }

    /// The same as [`new`](Notify::new), under the name that Tokio has for constants.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    ///
    /// static CHANGED: Notify = Notify::const_new();
    ///
    /// CHANGED.notify_one();
    /// CHANGED.notified();
    /// ```
    #[must_use]
    pub const fn const_new() -> Notify {
        Notify::new()
    }

    /// Waits for a notification, suspending the calling green thread. If there is a permit, takes that and returns at once.
    ///
    /// In Tokio the call makes a future, and notifications for all count from then on. Here they count once it waits;
    /// [`listen`](Notify::listen) is for those who have to look at something in between.
    ///
    /// # Cancellation
    ///
    /// Who is cancelled, or out of [time](crate::time::timeout), loses its place in the queue, but no notification: one that it has been given lets it
    /// return, and it is struck where it next waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    ///
    /// let notify = Notify::new();
    /// notify.notify_one();
    /// notify.notified();
    /// ```
    #[inline]
    pub fn notified(&self) {
        let notified = self.wait(None, None);
        debug_assert!(notified, "there is no deadline");
    }

    /// Like [`notified`](Notify::notified), for `timeout` at most; returns whether it was notified.
    ///
    /// # Cancellation
    ///
    /// As for [`notified`](Notify::notified).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    /// use corde::time::Duration;
    ///
    /// let notify = Notify::new();
    /// assert!(!notify.notified_timeout(Duration::from_millis(1)));
    /// ```
    #[must_use = "whether it was notified"]
    pub fn notified_timeout(&self, timeout: Duration) -> bool {
        self.wait(None, Instant::now().checked_add(timeout))
    }

    /// Returns what waits for a notification later: calls of [`notify_waiters`](Notify::notify_waiters) count from now on.
    ///
    /// With that one can look at a condition, wait if it does not hold, and not miss a change in between. Dropping it without waiting has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use corde::sync::Notify;
    /// use corde::thread;
    ///
    /// let (ready, changed) = (AtomicBool::new(false), Notify::new());
    /// thread::scope(|scope| {
    ///     scope.spawn(|| loop {
    ///         let change = changed.listen();
    ///         if ready.load(Ordering::Acquire) {
    ///             break;
    ///         }
    ///         change.wait();
    ///     });
    ///     ready.store(true, Ordering::Release);
    ///     changed.notify_waiters();
    /// });
    /// ```
    pub fn listen(&self) -> Notified<'_> {
        Notified {
            notify: self,
            round: round(self.state.load(Ordering::SeqCst)),
        }
    }

    /// Notifies the thread that has waited longest. If none waits, leaves a permit for the next; there is one at most.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    /// use corde::time::Duration;
    ///
    /// let notify = Notify::new();
    /// notify.notify_one();
    /// notify.notify_one();
    /// notify.notified();
    /// assert!(!notify.notified_timeout(Duration::ZERO));
    /// ```
    #[inline]
    pub fn notify_one(&self) {
        self.notify(End::First);
    }

    /// Like [`notify_one`](Notify::notify_one), but notifies the thread that came last.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    ///
    /// let notify = Notify::new();
    /// notify.notify_last();
    /// notify.notified();
    /// ```
    pub fn notify_last(&self) {
        self.notify(End::Last);
    }

    /// Notifies all threads that wait now. A permit is neither left nor taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    /// use corde::time::Duration;
    ///
    /// let notify = Notify::new();
    /// let early = notify.listen();
    /// notify.notify_waiters();
    /// early.wait();
    /// assert!(!notify.notified_timeout(Duration::ZERO));
    /// ```
    #[inline]
    pub fn notify_waiters(&self) {
        let mut state = self.state.load(Ordering::SeqCst);
        while state & KIND != WAITING {
            match self.replace(state, state.wrapping_add(ROUND)) {
                Ok(()) => return,
                Err(now) => state = now,
            }
        }
        self.notify_queue();
    }

    #[cold]
    #[inline(never)]
    fn notify_queue(&self) {
        let queue = self.queue.lock();
        let mut state = self.state.load(Ordering::SeqCst);
        loop {
            let kind = match state & KIND {
                WAITING => EMPTY,
                kind => kind,
            };
            match self.replace(state, round(state).wrapping_add(ROUND) | kind) {
                Ok(()) => break,
                Err(now) => state = now,
            }
        }
        wait_list::grant_all(queue, |queue| self.grant_older(queue));
    }

    #[inline]
    fn notify(&self, end: End) {
        let mut state = self.state.load(Ordering::SeqCst);
        while state & KIND != WAITING {
            match self.replace(state, round(state) | NOTIFIED) {
                Ok(()) => return,
                Err(now) => state = now,
            }
        }
        self.notify_waiting(end);
    }

    #[cold]
    #[inline(never)]
    fn notify_waiting(&self, end: End) {
        let mut queue = self.lock_current();
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if state & KIND == WAITING {
                if let Some(wake) = grant_one(&mut queue, end) {
                    self.note_if_empty(&queue);
                    queue.unlock();
                    wake.wake();
                    return;
                }
            }
            if self.replace(state, round(state) | NOTIFIED).is_ok() {
                return;
            }
        }
    }

    /// Locks the queue, with none in it that an older round has notified.
    fn lock_current(&self) -> LockGuard<'_, Queue> {
        let mut queue = self.queue.lock();
        while let Some(wake) = self.grant_older(&mut queue) {
            let lock = queue.unlock();
            wake.wake();
            queue = lock.lock();
        }
        queue
    }

    /// Grants the first one, if its round is over.
    fn grant_older(&self, queue: &mut Queue) -> Option<Wake> {
        if queue.first_mut()?.round == round(self.state.load(Ordering::SeqCst)) {
            return None;
        }
        queue.try_grant_first(Waiting::take)
    }

    /// Waits for a notification; for one of all since the round `since`, too, if that is given. Returns whether it came.
    #[inline]
    fn wait(&self, since: Option<usize>, deadline: Option<Instant>) -> bool {
        // Before there is a notification that could be lost, as this may unwind.
        worker::spend();
        let state = self.state.load(Ordering::SeqCst);
        if state & KIND == NOTIFIED && self.replace(state, round(state) | EMPTY).is_ok() {
            return true;
        }
        self.wait_in_queue(since, deadline)
    }

    #[cold]
    #[inline(never)]
    fn wait_in_queue(&self, since: Option<usize>, deadline: Option<Instant>) -> bool {
        let queue = self.queue.lock();
        let mut state = self.state.load(Ordering::SeqCst);
        loop {
            let is_over = since.is_some_and(|since| since != round(state));
            let next = match state & KIND {
                NOTIFIED => EMPTY,
                _ if is_over => return true,
                WAITING => break,
                _ => WAITING,
            };
            match self.replace(state, round(state) | next) {
                Ok(()) if next == EMPTY => return true,
                Ok(()) => break,
                Err(now) => state = now,
            }
        }
        let here = round(state);
        let waiting = Waiting {
            round: here,
            arm: None,
        };
        match wait_list::wait(queue, |queue| queue, End::Last, waiting, deadline) {
            Ok(_) => true,
            Err((left, _, queue)) => {
                if round(self.state.load(Ordering::SeqCst)) != here {
                    // It was its turn to be granted.
                    return true;
                }
                self.note_if_empty(&queue);
                queue.unlock();
                left.strike();
                false
            }
        }
    }

    fn note_if_empty(&self, queue: &Queue) {
        // Under the lock it stays WAITING, if it is. There may be a permit: it was left for who was in the queue, but could not be notified any more.
        if queue.is_empty() && self.state.load(Ordering::SeqCst) & KIND == WAITING {
            self.state.fetch_and(!KIND, Ordering::SeqCst);
        }
    }

    fn replace(&self, state: usize, new: usize) -> Result<(), usize> {
        self.state
            .compare_exchange(state, new, Ordering::SeqCst, Ordering::SeqCst)
            .map(drop)
    }
}

/// Grants one at this end of the queue, and takes those out that cannot be notified any more.
fn grant_one(queue: &mut Queue, end: End) -> Option<Wake> {
    loop {
        let mut taken = false;
        let take = |waiting: &mut Waiting| {
            taken = waiting.take();
            taken
        };
        let wake = match end {
            End::First => queue.try_grant_first(take),
            End::Last => queue.try_grant_last(take),
        }?;
        if taken {
            return Some(wake);
        }
    }
}

fn round(state: usize) -> usize {
    state & !KIND
}

impl Default for Notify {
    fn default() -> Notify {
        Notify::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}

/// A wait for a notification that has not begun; see [`Notify::listen`].
///
/// # Examples
///
/// ```
/// use corde::sync::{Notified, Notify};
///
/// let notify = Notify::new();
/// let change: Notified<'_> = notify.listen();
/// notify.notify_waiters();
/// change.wait();
/// ```
#[must_use = "it waits only when told to"]
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    round: usize,
}

impl Notified<'_> {
    /// Waits for a notification, or for a permit, suspending the calling green thread. Returns at once if
    /// [`notify_waiters`](Notify::notify_waiters) has been called since [`listen`](Notify::listen).
    ///
    /// # Cancellation
    ///
    /// As for [`Notify::notified`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    ///
    /// let notify = Notify::new();
    /// let change = notify.listen();
    /// notify.notify_waiters();
    /// change.wait();
    /// ```
    pub fn wait(self) {
        let notified = self.notify.wait(Some(self.round), None);
        debug_assert!(notified, "there is no deadline");
    }

    /// Like [`wait`](Notified::wait), for `timeout` at most; returns whether it was notified.
    ///
    /// # Cancellation
    ///
    /// As for [`Notify::notified`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Notify;
    /// use corde::time::Duration;
    ///
    /// let notify = Notify::new();
    /// assert!(!notify.listen().wait_timeout(Duration::from_millis(1)));
    /// ```
    #[must_use = "whether it was notified"]
    pub fn wait_timeout(self, timeout: Duration) -> bool {
        self.notify
            .wait(Some(self.round), Instant::now().checked_add(timeout))
    }
}
