//! A semaphore: permits that threads take and give back, in the order in which they ask.
//!
//! # State
//!
//! One word: the permits in the upper bits, [`QUEUED`] while somebody waits, [`CLOSED`] for good. Without `QUEUED` permits are taken and
//! given back by one compare-and-swap. With it nobody takes any past those who wait: the permits are for the
//! first, who gets them all at once when there are enough. `QUEUED` is set and reset under the lock of the queue.
//!
//! No permit is left lying when somebody could have it: whoever gives some back sees `QUEUED`, and settles; or who is about to wait
//! sees them, as setting `QUEUED` is a compare-and-swap on the same word. Whoever leaves the queue settles, too: those behind may want less.

mod error;
mod permit;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, WaitList, Wake};

pub use error::{AcquireError, TryAcquireError};
pub use permit::{OwnedSemaphorePermit, SemaphorePermit};

const CLOSED: usize = 1;
const QUEUED: usize = 2;
const PERMIT: usize = 4;

/// What a waiter wants, and then what it has got.
enum Turn {
    Wants(usize),
    Granted,
    Closed,
}

type Queue = WaitList<Turn>;

/// Permits that threads take and give back; as `tokio::sync::Semaphore`.
///
/// It is fair: permits go to the threads in the order in which they asked. So who asks for many waits until there are so many, and who asks
/// later for few waits behind that.
///
/// # Examples
///
/// At most two at a time:
///
/// ```
/// use corde::sync::Semaphore;
/// use corde::thread;
///
/// let slots = Semaphore::new(2);
/// thread::scope(|scope| {
///     for _ in 0..10 {
///         scope.spawn(|| {
///             let _slot = slots.acquire().unwrap();
///             thread::yield_now();
///         });
///     }
/// });
/// assert_eq!(slots.available_permits(), 2);
/// ```
pub struct Semaphore {
    state: AtomicUsize,
    queue: Lock<Queue>,
}

// Nothing of the user's runs while it changes.
impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

impl Semaphore {
    /// The most permits that a semaphore can have.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// assert_eq!(Semaphore::MAX_PERMITS, usize::MAX >> 3);
    /// ```
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    /// Makes a semaphore with so many permits.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// static CONNECTIONS: Semaphore = Semaphore::new(100);
    ///
    /// let _permit = CONNECTIONS.acquire().unwrap();
    /// assert_eq!(CONNECTIONS.available_permits(), 99);
    /// ```
    #[must_use]
    pub const fn new(permits: usize) -> Semaphore {
        assert!(
            permits <= Semaphore::MAX_PERMITS,
            "a semaphore may not have more than MAX_PERMITS permits"
        );
        Semaphore {
            state: AtomicUsize::new(permits * PERMIT),
            queue: Lock::new(WaitList::new()),
        }
    }

    /// The same as [`new`](Semaphore::new), under the name that Tokio has for constants.
    ///
    /// # Panics
    ///
    /// As [`new`](Semaphore::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// static ONE: Semaphore = Semaphore::const_new(1);
    ///
    /// assert_eq!(ONE.available_permits(), 1);
    /// ```
    #[must_use]
    pub const fn const_new(permits: usize) -> Semaphore {
        Semaphore::new(permits)
    }

    /// Returns how many permits can be taken now: none, while somebody waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(3);
    /// let _two = semaphore.acquire_many(2).unwrap();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    #[must_use]
    pub fn available_permits(&self) -> usize {
        available(self.state.load(Ordering::Acquire))
    }

    /// Adds permits, which those who wait get first.
    ///
    /// # Panics
    ///
    /// If there would be more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(0);
    /// semaphore.add_permits(2);
    /// assert_eq!(semaphore.available_permits(), 2);
    /// ```
    #[inline]
    pub fn add_permits(&self, n: usize) {
        self.release(n);
    }

    /// Takes up to `n` of the available permits away for good, and returns how many.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(3);
    /// assert_eq!(semaphore.forget_permits(2), 2);
    /// assert_eq!(semaphore.forget_permits(2), 1);
    /// ```
    pub fn forget_permits(&self, n: usize) -> usize {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let forgotten = available(state).min(n);
            let after = state - forgotten * PERMIT;
            match self.replace(state, after, Ordering::Acquire) {
                Ok(()) => return forgotten,
                Err(now) => state = now,
            }
        }
    }

    /// Takes a permit; waits until it is given one, suspending the calling green thread.
    ///
    /// # Errors
    ///
    /// If the semaphore is [closed](Semaphore::close), before or meanwhile.
    ///
    /// # Cancellation
    ///
    /// Who is cancelled, or out of [time](crate::time::timeout), loses its place in the queue. A permit that it has been given is returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1);
    /// let permit = semaphore.acquire().unwrap();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    #[inline]
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1)
    }

    /// Takes `n` permits, all at once; waits until it is given them, suspending the calling green thread.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Cancellation
    ///
    /// As for [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(5);
    /// let permit = semaphore.acquire_many(3).unwrap();
    /// assert_eq!((permit.num_permits(), semaphore.available_permits()), (3, 2));
    /// ```
    #[inline]
    pub fn acquire_many(&self, n: u32) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.take(n)?;
        Ok(SemaphorePermit::new(self, n))
    }

    /// Takes a permit, if it need not wait for that.
    ///
    /// # Errors
    ///
    /// [`NoPermits`](TryAcquireError::NoPermits), if there is none or others wait for it; [`Closed`](TryAcquireError::Closed), if the semaphore is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Semaphore, TryAcquireError};
    ///
    /// let semaphore = Semaphore::new(1);
    /// let _permit = semaphore.try_acquire().unwrap();
    /// assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes `n` permits, if it need not wait for that.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Semaphore::try_acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(3);
    /// assert!(semaphore.try_acquire_many(4).is_err());
    /// assert!(semaphore.try_acquire_many(3).is_ok());
    /// ```
    #[inline]
    pub fn try_acquire_many(&self, n: u32) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_take(n as usize)?;
        Ok(SemaphorePermit::new(self, n))
    }

    /// Like [`acquire`](Semaphore::acquire), for `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`NoPermits`](TryAcquireError::NoPermits), if it was given none in that time; [`Closed`](TryAcquireError::Closed), if the semaphore is closed, before or
    /// meanwhile.
    ///
    /// # Cancellation
    ///
    /// As for [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Semaphore, TryAcquireError};
    /// use corde::time::Duration;
    ///
    /// let semaphore = Semaphore::new(0);
    /// let failed = semaphore.acquire_timeout(Duration::from_millis(1));
    /// assert_eq!(failed.unwrap_err(), TryAcquireError::NoPermits);
    /// ```
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Like [`acquire_many`](Semaphore::acquire_many), for `timeout` at most.
    ///
    /// # Errors
    ///
    /// As [`acquire_timeout`](Semaphore::acquire_timeout).
    ///
    /// # Cancellation
    ///
    /// As for [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    /// use corde::time::Duration;
    ///
    /// let semaphore = Semaphore::new(2);
    /// assert!(semaphore.acquire_many_timeout(3, Duration::from_millis(1)).is_err());
    /// ```
    pub fn acquire_many_timeout(
        &self,
        n: u32,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        if self.try_take(n as usize).is_err() {
            self.take_in_turn(n as usize, Instant::now().checked_add(timeout))?;
        }
        Ok(SemaphorePermit::new(self, n))
    }

    /// Like [`acquire`](Semaphore::acquire), with a permit that shares the semaphore.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Cancellation
    ///
    /// As for [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// let permit = semaphore.clone().acquire_owned().unwrap();
    /// corde::thread::spawn(move || drop(permit)).join().unwrap();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned(1)
    }

    /// Like [`acquire_many`](Semaphore::acquire_many), with a permit that shares the semaphore.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Cancellation
    ///
    /// As for [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(3));
    /// let permit = semaphore.clone().acquire_many_owned(2).unwrap();
    /// assert_eq!(permit.num_permits(), 2);
    /// ```
    pub fn acquire_many_owned(
        self: Arc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.take(n)?;
        Ok(OwnedSemaphorePermit::new(self, n))
    }

    /// Like [`try_acquire`](Semaphore::try_acquire), with a permit that shares the semaphore.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Semaphore::try_acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// let _permit = semaphore.clone().try_acquire_owned().unwrap();
    /// assert!(semaphore.try_acquire_owned().is_err());
    /// ```
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// Like [`try_acquire_many`](Semaphore::try_acquire_many), with a permit that shares the semaphore.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Semaphore::try_acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(3));
    /// assert!(semaphore.try_acquire_many_owned(4).is_err());
    /// ```
    pub fn try_acquire_many_owned(
        self: Arc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_take(n as usize)?;
        Ok(OwnedSemaphorePermit::new(self, n))
    }

    /// Closes it: nobody is given a permit any more, and those who wait return with an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    /// use corde::thread;
    ///
    /// let semaphore = Arc::new(Semaphore::new(0));
    /// let theirs = semaphore.clone();
    /// let waits = thread::spawn(move || theirs.acquire().is_err());
    /// semaphore.close();
    /// assert!(waits.join().unwrap());
    /// ```
    pub fn close(&self) {
        let queue = self.queue.lock();
        // Release: who sees it sees what came before.
        self.state.fetch_or(CLOSED, Ordering::Release);
        self.settle(queue);
    }

    /// Returns whether it has been [closed](Semaphore::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1);
    /// semaphore.close();
    /// assert!(semaphore.is_closed() && semaphore.acquire().is_err());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    #[inline]
    fn take(&self, permits: u32) -> Result<(), AcquireError> {
        if self.try_take(permits as usize).is_ok() {
            return Ok(());
        }
        match self.take_in_turn(permits as usize, None) {
            Ok(()) => Ok(()),
            Err(TryAcquireError::Closed) => Err(AcquireError(())),
            Err(TryAcquireError::NoPermits) => unreachable!("there is no deadline"),
        }
    }

    #[inline]
    fn try_take(&self, permits: usize) -> Result<(), TryAcquireError> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                // Acquire: what came before it was closed is seen.
                self.state.load(Ordering::Acquire);
                return Err(TryAcquireError::Closed);
            }
            if available(state) < permits {
                return Err(TryAcquireError::NoPermits);
            }
            // Acquire: what was done before they were given back is seen.
            match self.replace(state, state - permits * PERMIT, Ordering::Acquire) {
                Ok(()) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn take_in_turn(
        &self,
        permits: usize,
        deadline: Option<Instant>,
    ) -> Result<(), TryAcquireError> {
        let queue = self.queue.lock();
        loop {
            match self.try_take(permits) {
                Err(TryAcquireError::NoPermits) => {}
                taken_or_closed => return taken_or_closed,
            }
            let state = self.state.load(Ordering::Relaxed);
            if state & CLOSED == 0
                && available(state) < permits
                && self
                    .replace(state, state | QUEUED, Ordering::Relaxed)
                    .is_ok()
            {
                break;
            }
        }
        let wants = Turn::Wants(permits);
        match wait_list::wait(queue, |queue| queue, End::Last, wants, deadline) {
            Ok(Turn::Closed) => Err(TryAcquireError::Closed),
            Ok(_) => Ok(()),
            Err((left, _, queue)) => {
                self.settle(queue);
                left.strike();
                Err(TryAcquireError::NoPermits)
            }
        }
    }

    #[inline]
    fn release(&self, permits: usize) {
        if permits == 0 {
            return;
        }
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            assert!(
                permits <= Semaphore::MAX_PERMITS - state / PERMIT,
                "a semaphore may not have more than MAX_PERMITS permits"
            );
            // Release: for the Acquire of whoever takes them.
            match self.replace(state, state + permits * PERMIT, Ordering::Release) {
                Ok(()) => break,
                Err(now) => state = now,
            }
        }
        if state & QUEUED != 0 {
            self.hand_over();
        }
    }

    #[cold]
    #[inline(never)]
    fn hand_over(&self) {
        self.settle(self.queue.lock());
    }

    /// Gives those who wait what they can have, and unlocks.
    fn settle(&self, queue: LockGuard<'_, Queue>) {
        wait_list::grant_all(queue, |queue| self.grant_next(queue));
    }

    fn grant_next(&self, queue: &mut Queue) -> Option<Wake> {
        let turn = match queue.first_mut() {
            Some(Turn::Wants(permits)) => self.take_for_first(*permits)?,
            Some(_) => unreachable!("who waits has not got anything"),
            None => {
                self.state.fetch_and(!QUEUED, Ordering::Relaxed);
                return None;
            }
        };
        let ((), wake) = queue.grant_first(|value| *value = turn)?;
        Some(wake)
    }

    fn take_for_first(&self, permits: usize) -> Option<Turn> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return Some(Turn::Closed);
            }
            if state / PERMIT < permits {
                return None;
            }
            // Acquire: the waiter sees what was done before they were given back, by way of this thread.
            match self.replace(state, state - permits * PERMIT, Ordering::Acquire) {
                Ok(()) => return Some(Turn::Granted),
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn replace(&self, state: usize, new: usize, ordering: Ordering) -> Result<(), usize> {
        self.state
            .compare_exchange_weak(state, new, ordering, Ordering::Relaxed)
            .map(drop)
    }
}

/// The permits that are for whoever comes: if somebody waits, they are for that one.
fn available(state: usize) -> usize {
    if state & QUEUED == 0 {
        state / PERMIT
    } else {
        0
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.available_permits())
            .finish()
    }
}
