//! A channel that keeps one value, the newest, and tells receivers when there is another; as `tokio::sync::watch`.
//!
//! Receivers look at the value where it lies, and see changes rather than each value: if several come before a receiver looks, it sees the last
//! one. Each receiver knows which version it has seen: [`changed`](Receiver::changed) waits for a newer one, and
//! [`borrow_and_update`](Receiver::borrow_and_update) marks the one that it returns as seen.
//!
//! Who has a [`Ref`] keeps senders waiting, and those who want to look after them. So do not keep one while you wait for something, and do not
//! borrow a second one meanwhile: if a sender waits in between, that waits for ever.
//!
//! [`select!`](crate::select) waits for changes beside other things.
//!
//! # Examples
//!
//! ```
//! use corde::sync::watch;
//! use corde::thread;
//!
//! let (limit, mut limits) = watch::channel(10);
//! let follows = thread::spawn(move || {
//!     let mut last = *limits.borrow_and_update();
//!     while limits.changed().is_ok() {
//!         last = *limits.borrow();
//!     }
//!     last
//! });
//! limit.send(20).unwrap();
//! limit.send(30).unwrap();
//! drop(limit);
//! assert_eq!(follows.join().unwrap(), 30);
//! ```
// # State
//
// `state` is the version, which grows by 2 while the value is being changed, and CLOSED. A receiver waits with the state that it has seen: as it
// looks at `state` under the lock of the queue, and whoever changes that locks afterwards, one of the two finds the other. The queue is in the
// order of the states, and all whose state is not the current one are granted. `Sender::closed` waits with how often the last receiver
// has gone, which is likewise in order.

pub mod error;
mod receiver;
mod select;
mod sender;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::runtime::lock::Lock;
use crate::runtime::wait_list::{self, End, Left, WaitList};
use crate::runtime::worker;
use crate::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use receiver::Receiver;
pub use sender::Sender;

use error::RecvError;

/// All senders are gone.
const CLOSED: usize = 1;
const VERSION: usize = 2;

/// Makes a channel with its first value, which its receiver counts as seen.
///
/// # Examples
///
/// ```
/// use corde::sync::watch;
///
/// let (sender, receiver) = watch::channel("first");
/// assert_eq!(*receiver.borrow(), "first");
/// sender.send("second").unwrap();
/// assert_eq!(*receiver.borrow(), "second");
/// ```
#[must_use]
pub fn channel<T>(init: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(init);
    let receiver = sender.subscribe();
    (sender, receiver)
}

struct Shared<T> {
    value: RwLock<T>,
    state: AtomicUsize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    waiting: Lock<Waiting>,
}

struct Waiting {
    /// Receivers, each with the state that it has seen.
    receivers: WaitList<usize>,
    /// Senders, each with what `abandoned` was.
    closers: WaitList<usize>,
    /// How often the last receiver has gone.
    abandoned: usize,
}

impl<T> Shared<T> {
    /// Waits until nobody changes the value. A panic while somebody did leaves it as it was left, as with Tokio: there is no poisoning.
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else has the value.
    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.value.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> usize {
        self.state.load(Ordering::SeqCst)
    }

    fn version(&self) -> usize {
        self.state() & !CLOSED
    }

    /// Wakes all receivers whose state is not the current one.
    fn notify_receivers(&self) {
        wait_list::grant_all(self.waiting.lock(), |waiting| {
            if *waiting.receivers.first_mut()? == self.state() {
                return None;
            }
            let ((), wake) = waiting.receivers.grant_first(|_| ())?;
            Some(wake)
        });
    }

    fn notify_closers(&self) {
        let mut waiting = self.waiting.lock();
        waiting.abandoned = waiting.abandoned.wrapping_add(1);
        wait_list::grant_all(waiting, |waiting| {
            if *waiting.closers.first_mut()? == waiting.abandoned {
                return None;
            }
            let ((), wake) = waiting.closers.grant_first(|_| ())?;
            Some(wake)
        });
    }

    /// Returns whether there is news for who has seen `version`, and notes it as seen; none, if not yet.
    fn look(&self, version: &mut usize) -> Option<Result<(), RecvError>> {
        let state = self.state();
        if state & !CLOSED != *version {
            *version = state & !CLOSED;
            return Some(Ok(()));
        }
        (state & CLOSED != 0).then_some(Err(RecvError(())))
    }

    /// Waits until there is news; none, if the time is over.
    fn changed(
        &self,
        version: &mut usize,
        deadline: Option<Instant>,
    ) -> Option<Result<(), RecvError>> {
        // Before there is a change that could be missed, as this may unwind.
        worker::spend();
        loop {
            let news = self.look(version);
            if news.is_some() {
                return news;
            }
            if let Err(left) = self.wait(*version, deadline) {
                // What has come at the same moment counts.
                let news = self.look(version);
                if news.is_none() {
                    left.strike();
                }
                return news;
            }
        }
    }

    fn wait(&self, version: usize, deadline: Option<Instant>) -> Result<(), Left> {
        let waiting = self.waiting.lock();
        if self.state() != version {
            return Ok(());
        }
        let waited = wait_list::wait(
            waiting,
            |waiting| &mut waiting.receivers,
            End::Last,
            version,
            deadline,
        );
        match waited {
            Ok(_) => Ok(()),
            Err((left, _, _)) => Err(left),
        }
    }
}

/// A look at the value of a channel, which does not change meanwhile: senders wait.
///
/// It stays on its thread, as std's guards do.
///
/// # Examples
///
/// ```
/// use corde::sync::watch::{self, Ref};
///
/// let (_sender, receiver) = watch::channel(String::from("value"));
/// let look: Ref<'_, String> = receiver.borrow();
/// assert_eq!(look.len(), 5);
/// ```
pub struct Ref<'a, T> {
    inner: RwLockReadGuard<'a, T>,
    has_changed: bool,
}

impl<T> Ref<'_, T> {
    /// Returns whether the value was not marked as seen when it was borrowed. For a sender's it is always `false`.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, mut receiver) = watch::channel(1);
    /// assert!(!receiver.borrow().has_changed());
    /// sender.send(2).unwrap();
    /// assert!(receiver.borrow_and_update().has_changed());
    /// assert!(!receiver.borrow_and_update().has_changed());
    /// ```
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ref")
            .field("inner", &**self)
            .field("has_changed", &self.has_changed)
            .finish()
    }
}
