//! Poisoning: whoever panics with a lock in hand may have left half done what it protects.
//!
//! The errors are std's own. An interrupt (a cancellation, the end of a timeout) unwinds too, but does not poison: it strikes only
//! where a thread waits, as an orderly end of what it does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};
use std::thread;

use crate::runtime::interrupt;

/// Whether a lock is poisoned. Relaxed throughout: the lock orders it like the value.
pub(super) struct Flag {
    poisoned: AtomicBool,
}

/// What a guard remembers: whether its thread was unwinding when it took the lock, so that nothing that goes wrong is due to that lock's value.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    unwinding: bool,
}

impl Flag {
    pub(super) const fn new() -> Flag {
        Flag {
            poisoned: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.poisoned.store(false, Ordering::Relaxed);
    }

    /// For a guard that is being made.
    #[inline]
    pub(super) fn taken(&self) -> Taken {
        Taken {
            unwinding: thread::panicking(),
        }
    }

    /// For a guard that is being dropped.
    #[inline]
    pub(super) fn released(&self, taken: Taken) {
        if !taken.unwinding && thread::panicking() {
            self.released_unwinding();
        }
    }

    #[cold]
    fn released_unwinding(&self) {
        if interrupt::is_panicking() {
            self.poisoned.store(true, Ordering::Relaxed);
        }
    }

    /// Wraps what the lock gives out.
    #[inline]
    pub(super) fn wrap<T>(&self, value: T) -> LockResult<T> {
        if self.is_set() {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }
}
