//! Mutual exclusion.

mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, TryLockError, TryLockResult};

use super::poison::{Flag, Taken};
use crate::runtime::interrupt::Interrupt;
pub(in crate::sync) use raw::RawMutex;

/// A value for one thread at a time; as [`std::sync::Mutex`], but waiting for it suspends a green thread, and blocks no worker.
///
/// A [`std::sync::Mutex`] works between green threads, too, as long as its guard is not held while the thread suspends: reads, sleeps, waits for
/// something else. If it is, the next green thread of the same worker that locks it blocks the worker, on which the owner is waiting to
/// go on: both wait for ever. This is the classic trap of green threads (see "What to watch" in [`thread`](crate::thread#what-to-watch)).
/// The guard of a corde mutex may be held across suspensions.
///
/// It is [poisoned](std::sync::Mutex#poisoning) by a panic while it is locked. A cancellation, or the end of a [`timeout`](crate::time::timeout), does not
/// poison it though it unwinds as well.
///
/// # Fairness
///
/// Whoever finds it free takes it, even if others wait. Of those the first one is woken; if others are faster, the mutex is handed to it the
/// next time. So nobody waits for ever, and many that take it for a short time do not wait for each other's wake-ups.
///
/// A thread that locks it twice waits for itself for ever.
///
/// # Examples
///
/// ```
/// use corde::sync::Mutex;
/// use corde::thread;
///
/// let total = Mutex::new(0);
/// thread::scope(|scope| {
///     for n in 1..=100 {
///         let total = &total;
///         scope.spawn(move || {
///             let mut total = total.lock().unwrap();
///             let before = *total;
///             thread::yield_now();
///             *total = before + n;
///         });
///     }
/// });
/// assert_eq!(total.into_inner().unwrap(), 5050);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Flag,
    data: UnsafeCell<T>,
}

// SAFETY: it owns its value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: only the guard leads to the value, and there is one at a time (`RawMutex`); so it goes from thread to thread, but is not shared.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    /// Makes one that is not locked.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Mutex;
    ///
    /// static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    /// NAMES.lock().unwrap().push("corde".to_owned());
    /// ```
    #[inline]
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            raw: RawMutex::new(),
            poison: Flag::new(),
            data: UnsafeCell::new(value),
        }
    }

    /// Takes the value out.
    ///
    /// # Errors
    ///
    /// If the mutex is poisoned; the error has the value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corde::sync::Mutex::new(1).into_inner().unwrap(), 1);
    /// ```
    pub fn into_inner(self) -> LockResult<T> {
        let value = self.data.into_inner();
        self.poison.wrap(value)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, suspending the calling thread until it can be had.
    ///
    /// # Errors
    ///
    /// If it is poisoned; it is locked then, too, and the error has the guard.
    ///
    /// # Cancellation
    ///
    /// If the thread is interrupted while it waits, it unwinds without having locked anything.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Mutex;
    ///
    /// let words = Mutex::new(vec!["a"]);
    /// words.lock().unwrap().push("b");
    /// assert_eq!(*words.lock().unwrap(), ["a", "b"]);
    /// ```
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock();
        // SAFETY: it has just been locked.
        unsafe { self.guard() }
    }

    /// Locks it, if that can be done at once.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if it is locked; [`TryLockError::Poisoned`] if it is poisoned, with the guard.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Mutex, TryLockError};
    ///
    /// let mutex = Mutex::new(());
    /// let locked = mutex.try_lock().unwrap();
    /// assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    /// # drop(locked);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if !self.raw.try_lock() {
            return Err(TryLockError::WouldBlock);
        }
        // SAFETY: it has just been locked.
        Ok(unsafe { self.guard() }?)
    }

    /// Returns whether it is poisoned. Unless the caller has locked it, this may change at any time.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Mutex;
    /// use corde::thread;
    ///
    /// let mutex = Mutex::new(0);
    /// thread::scope(|scope| {
    ///     let half_done = scope.spawn(|| {
    ///         let _locked = mutex.lock().unwrap();
    ///         panic!();
    ///     });
    ///     half_done.join().unwrap_err();
    /// });
    /// assert!(mutex.is_poisoned());
    /// ```
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Takes the poison away: for who has seen to it that the value is in order.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Mutex;
    ///
    /// let mutex = Mutex::new(0);
    /// # std::panic::catch_unwind(|| { let _locked = mutex.lock(); panic!() }).unwrap_err();
    /// let locked = mutex.lock().unwrap_or_else(|mut poisoned| {
    ///     **poisoned.get_mut() = 1;
    ///     mutex.clear_poison();
    ///     poisoned.into_inner()
    /// });
    /// assert_eq!(*locked, 1);
    /// # assert!(!mutex.is_poisoned());
    /// ```
    #[inline]
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Returns the value. Nobody else has the mutex, so nothing is locked.
    ///
    /// # Errors
    ///
    /// If it is poisoned; the error has the value.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut mutex = corde::sync::Mutex::new(1);
    /// *mutex.get_mut().unwrap() += 1;
    /// assert_eq!(*mutex.lock().unwrap(), 2);
    /// ```
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.data.get_mut())
    }

    /// # Safety
    /// The mutex is locked, and the right to unlock it goes to the guard.
    #[inline]
    unsafe fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = MutexGuard {
            lock: self,
            taken: self.poison.taken(),
            _not_send: PhantomData,
        };
        self.poison.wrap(guard)
    }
}

impl<T> From<T> for Mutex<T> {
    /// Makes one that is not locked; as [`Mutex::new`].
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: Default> Default for Mutex<T> {
    /// Makes one of the default value.
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => out.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => out.field("data", &&**error.get_ref()),
            // In quotes, as std has it here, but not for `RwLock`.
            Err(TryLockError::WouldBlock) => out.field("data", &"<locked>"),
        };
        out.field("poisoned", &self.is_poisoned());
        out.finish_non_exhaustive()
    }
}

/// A locked [`Mutex`], which leads to its value; dropped, it unlocks it.
///
/// Made by [`Mutex::lock`] and [`Mutex::try_lock`]. Like std's it does not leave its thread.
///
/// # Examples
///
/// ```
/// use corde::sync::{Mutex, MutexGuard};
///
/// fn add_twice(mut count: MutexGuard<'_, u32>) {
///     *count += 1;
///     corde::thread::yield_now();
///     *count += 1;
/// }
///
/// let count = Mutex::new(0);
/// add_twice(count.lock().unwrap());
/// assert_eq!(*count.lock().unwrap(), 2);
/// ```
///
/// ```compile_fail,E0277
/// let mutex = corde::sync::Mutex::new(());
/// let guard = mutex.lock().unwrap();
/// std::thread::scope(|scope| {
///     scope.spawn(|| drop(guard));
/// });
/// ```
#[must_use = "if unused the Mutex will immediately unlock"]
#[clippy::has_significant_drop]
pub struct MutexGuard<'a, T: ?Sized + 'a> {
    lock: &'a Mutex<T>,
    taken: Taken,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives no more than a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

/// A mutex that was locked, without its guard: for a wait that unlocks it meanwhile.
pub(super) struct Unlocked<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    taken: Taken,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Unlocks it, to be locked again: not the end of what the guard is for, so that nothing is poisoned.
    pub(super) fn unlock(self) -> Unlocked<'a, T> {
        let unlocked = Unlocked {
            lock: self.lock,
            taken: self.taken,
        };
        std::mem::forget(self);
        // SAFETY: the guard that owned it is gone.
        unsafe { unlocked.lock.raw.unlock() };
        unlocked
    }
}

impl<'a, T: ?Sized> Unlocked<'a, T> {
    /// Locks it again.
    ///
    /// # Errors
    /// What is to strike the thread, which has not locked it then.
    pub(super) fn lock(self) -> Result<LockResult<MutexGuard<'a, T>>, Interrupt> {
        self.lock.raw.lock_or_leave()?;
        let guard = MutexGuard {
            lock: self.lock,
            taken: self.taken,
            _not_send: PhantomData,
        };
        Ok(self.lock.poison.wrap(guard))
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard has the mutex locked, and is borrowed.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has the mutex locked, and is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.released(self.taken);
        // SAFETY: the guard owns it (`Mutex::guard`, `Unlocked::lock`), and ends.
        unsafe { self.lock.raw.unlock() };
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
