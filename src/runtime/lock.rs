//! The lock inside of corde's own primitives, for a few instructions at a time.
//!
//! It spins, gives the processor away when that lasts, and in the end sleeps for moments. So nobody has to be told that it is free: unlocking
//! is a plain store, where `std::sync::Mutex` needs a second atomic exchange to find out whether somebody sleeps. That halves what the
//! channels and queues of waiters pay on their way (figures in ARCHITECTURE.md). Whoever holds it neither waits, nor allocates more than
//! a queue may need, nor runs anything of the user's: not a destructor, not a comparison.

use std::cell::UnsafeCell;
use std::fmt;
use std::hint;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Looks at the lock before the first `yield_now`: some 2 us, as long as a hold-up between two processors that both run may last.
const SPINS: u32 = 100;

/// Calls of `yield_now` before it sleeps: the holder may have a lower priority than whoever yields.
const YIELDS: u32 = 64;
const SLEEP: Duration = Duration::from_micros(50);

pub(crate) struct Lock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: whoever has a guard uses the value alone; so it goes from thread to thread, but is not shared.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Lock<T> {
        Lock {
            locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    #[inline(always)]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        // Acquire: what the last holder did comes before.
        if self.locked.swap(true, Ordering::Acquire) {
            self.contend();
        }
        LockGuard {
            lock: self,
            _not_send: PhantomData,
        }
    }

    #[cold]
    #[inline(never)]
    fn contend(&self) {
        let mut looks = 0;
        loop {
            while self.locked.load(Ordering::Relaxed) {
                looks += 1;
                if looks < SPINS {
                    hint::spin_loop();
                } else if looks < SPINS + YIELDS {
                    thread::yield_now();
                } else {
                    thread::sleep(SLEEP);
                }
            }
            if !self.locked.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Lock<T> {
        Lock::new(T::default())
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

pub(crate) struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
    /// It is held for a few instructions, by the OS thread that has taken it.
    _not_send: PhantomData<*const ()>,
}

impl<'a, T> LockGuard<'a, T> {
    /// Unlocks, and returns what to lock again.
    #[inline(always)]
    pub(crate) fn unlock(self) -> &'a Lock<T> {
        self.lock
    }
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the right to use the value, and is borrowed.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the right to use the value, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for LockGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: for the Acquire of the next holder.
        self.lock.locked.store(false, Ordering::Release);
    }
}
