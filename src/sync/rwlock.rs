//! Many readers, or one writer.

mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::{LockResult, TryLockError, TryLockResult};

use super::poison::{Flag, Taken};
use raw::RawRwLock;

/// A value for many readers or one writer at a time; as [`std::sync::RwLock`], but waiting for it suspends a green thread, and blocks no worker.
///
/// Readers and writers get it in the order in which they have come: a reader waits behind a writer that waits already. So a
/// thread that reads must not begin to read once more before it has ended, as it may wait for a writer that waits for it.
///
/// The guards may be held across suspensions, other than those of std's (see [`Mutex`](super::Mutex)). It is [poisoned](std::sync::Mutex#poisoning) by a
/// writer that panics, not by one that is interrupted.
///
/// # Examples
///
/// ```
/// use corde::sync::RwLock;
/// use corde::thread;
///
/// let words = RwLock::new(vec!["a"]);
/// {
///     let (one, other) = (words.read().unwrap(), words.read().unwrap());
///     assert_eq!(*one, *other);
/// }
/// thread::scope(|scope| {
///     scope.spawn(|| words.write().unwrap().push("b"));
/// });
/// assert_eq!(words.read().unwrap().len(), 2);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Flag,
    data: UnsafeCell<T>,
}

// SAFETY: it owns its value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: only guards lead to the value: one that writes, by which it goes from thread to thread, or many that share it (`RawRwLock`).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    /// Makes one that is not locked.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::RwLock;
    ///
    /// static LIMIT: RwLock<u32> = RwLock::new(100);
    /// assert_eq!(*LIMIT.read().unwrap(), 100);
    /// ```
    #[inline]
    pub const fn new(value: T) -> RwLock<T> {
        RwLock {
            raw: RawRwLock::new(),
            poison: Flag::new(),
            data: UnsafeCell::new(value),
        }
    }

    /// Takes the value out.
    ///
    /// # Errors
    ///
    /// If the lock is poisoned; the error has the value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corde::sync::RwLock::new(1).into_inner().unwrap(), 1);
    /// ```
    pub fn into_inner(self) -> LockResult<T> {
        let value = self.data.into_inner();
        self.poison.wrap(value)
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks it for reading, suspending the calling thread until that can be had.
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
    /// let lock = corde::sync::RwLock::new(7);
    /// assert_eq!(*lock.read().unwrap(), 7);
    /// ```
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.read();
        // SAFETY: it has just been locked for reading.
        unsafe { self.read_guard() }
    }

    /// Locks it for reading, if that can be done at once: no writer has it, and nobody waits.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if it cannot; [`TryLockError::Poisoned`] if it is poisoned, with the guard.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corde::sync::RwLock::new(7);
    /// let writing = lock.write().unwrap();
    /// assert!(lock.try_read().is_err());
    /// # drop(writing);
    /// ```
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if !self.raw.try_read() {
            return Err(TryLockError::WouldBlock);
        }
        // SAFETY: it has just been locked for reading.
        Ok(unsafe { self.read_guard() }?)
    }

    /// Locks it for writing, suspending the calling thread until that can be had.
    ///
    /// # Errors
    ///
    /// As [`read`](RwLock::read).
    ///
    /// # Cancellation
    ///
    /// As for [`read`](RwLock::read).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corde::sync::RwLock::new(7);
    /// *lock.write().unwrap() += 1;
    /// assert_eq!(*lock.read().unwrap(), 8);
    /// ```
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.write();
        // SAFETY: it has just been locked for writing.
        unsafe { self.write_guard() }
    }

    /// Locks it for writing, if that can be done at once.
    ///
    /// # Errors
    ///
    /// As [`try_read`](RwLock::try_read).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corde::sync::RwLock::new(7);
    /// let reading = lock.read().unwrap();
    /// assert!(lock.try_write().is_err());
    /// # drop(reading);
    /// ```
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if !self.raw.try_write() {
            return Err(TryLockError::WouldBlock);
        }
        // SAFETY: it has just been locked for writing.
        Ok(unsafe { self.write_guard() }?)
    }

    /// Returns whether it is poisoned. Unless the caller has locked it, this may change at any time.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::RwLock;
    /// use corde::thread;
    ///
    /// let lock = RwLock::new(0);
    /// thread::scope(|scope| {
    ///     let half_done = scope.spawn(|| {
    ///         let _writing = lock.write().unwrap();
    ///         panic!();
    ///     });
    ///     half_done.join().unwrap_err();
    /// });
    /// assert!(lock.is_poisoned());
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
    /// use corde::sync::RwLock;
    ///
    /// let lock = RwLock::new(0);
    /// # std::panic::catch_unwind(|| { let _writing = lock.write(); panic!() }).unwrap_err();
    /// let mut writing = lock.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    /// *writing = 1;
    /// lock.clear_poison();
    /// drop(writing);
    /// assert_eq!(*lock.read().unwrap(), 1);
    /// ```
    #[inline]
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Returns the value. Nobody else has the lock, so nothing is locked.
    ///
    /// # Errors
    ///
    /// If it is poisoned; the error has the value.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut lock = corde::sync::RwLock::new(1);
    /// *lock.get_mut().unwrap() += 1;
    /// assert_eq!(*lock.read().unwrap(), 2);
    /// ```
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.data.get_mut())
    }

    /// # Safety
    /// The lock is locked for reading, and the right to unlock it goes to the guard.
    #[inline]
    unsafe fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        let guard = RwLockReadGuard {
            // SAFETY: the address of a field is not null.
            data: unsafe { NonNull::new_unchecked(self.data.get()) },
            raw: &self.raw,
        };
        self.poison.wrap(guard)
    }

    /// # Safety
    /// The lock is locked for writing, and the right to unlock it goes to the guard.
    #[inline]
    unsafe fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let guard = RwLockWriteGuard {
            lock: self,
            taken: self.poison.taken(),
            _not_send: PhantomData,
        };
        self.poison.wrap(guard)
    }
}

impl<T> From<T> for RwLock<T> {
    /// Makes one that is not locked; as [`RwLock::new`].
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: Default> Default for RwLock<T> {
    /// Makes one of the default value.
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => out.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => out.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => out.field("data", &format_args!("<locked>")),
        };
        out.field("poisoned", &self.is_poisoned());
        out.finish_non_exhaustive()
    }
}

/// An [`RwLock`] locked for reading, which leads to its value; dropped, it unlocks it.
///
/// Made by [`RwLock::read`] and others. Like std's it does not leave its thread.
///
/// # Examples
///
/// ```
/// use corde::sync::{RwLock, RwLockReadGuard};
///
/// fn sum(numbers: RwLockReadGuard<'_, Vec<u32>>) -> u32 {
///     numbers.iter().sum()
/// }
///
/// let numbers = RwLock::new(vec![1, 2]);
/// assert_eq!(sum(numbers.read().unwrap()), 3);
/// ```
#[must_use = "if unused the RwLock will immediately unlock"]
#[clippy::has_significant_drop]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    /// A pointer: the value may change while a guard is a function's argument that has been dropped there already.
    data: NonNull<T>,
    raw: &'a RawRwLock,
}

// SAFETY: a shared guard gives no more than a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

/// An [`RwLock`] locked for writing, which leads to its value; dropped, it unlocks it.
///
/// Made by [`RwLock::write`] and [`RwLock::try_write`]. Like std's it does not leave its thread.
///
/// # Examples
///
/// ```
/// use corde::sync::{RwLock, RwLockWriteGuard};
///
/// fn add(mut numbers: RwLockWriteGuard<'_, Vec<u32>>) {
///     numbers.push(3);
/// }
///
/// let numbers = RwLock::new(vec![1, 2]);
/// add(numbers.write().unwrap());
/// assert_eq!(numbers.read().unwrap().len(), 3);
/// ```
#[must_use = "if unused the RwLock will immediately unlock"]
#[clippy::has_significant_drop]
pub struct RwLockWriteGuard<'a, T: ?Sized + 'a> {
    lock: &'a RwLock<T>,
    taken: Taken,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives no more than a shared reference to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Makes a guard for reading of it. No other writer comes in between; other readers may come from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(0);
    /// let mut writing = lock.write().unwrap();
    /// *writing += 1;
    /// let reading = RwLockWriteGuard::downgrade(writing);
    /// assert_eq!(*reading, *lock.read().unwrap());
    /// ```
    pub fn downgrade(s: Self) -> RwLockReadGuard<'a, T> {
        let lock = s.lock;
        mem::forget(s);
        // SAFETY: the guard that had it locked for writing is gone.
        unsafe { lock.raw.downgrade() };
        // SAFETY: now it is locked for reading.
        let reading = unsafe { lock.read_guard() };
        reading.unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard has it locked for reading, and is borrowed; the value is there as long as the lock, which the guard borrows.
        unsafe { self.data.as_ref() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard has it locked for writing, and is borrowed.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has it locked for writing, and is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard has it locked for reading (`RwLock::read_guard`), and ends.
        unsafe { self.raw.unlock_read() };
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.released(self.taken);
        // SAFETY: the guard has it locked for writing (`RwLock::write_guard`), and ends.
        unsafe { self.lock.raw.unlock_write() };
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
