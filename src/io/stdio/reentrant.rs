//! A lock that its owner may take again.

use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync::Semaphore;
use crate::thread;

/// A lock that its owner, a green thread or an OS thread, may take again. It guards a resource, not a value.
pub(super) struct Reentrant {
    /// The thread that has it, or 0. Only compared by a thread with itself, which has stored it, so that no order is needed.
    owner: AtomicU64,
    /// How often the owner has taken it.
    depth: AtomicUsize,
    /// One permit: for the owner.
    free: Semaphore,
}

/// Holds a [`Reentrant`]. Like std's guards it stays on its thread.
pub(super) struct Guard<'a> {
    lock: &'a Reentrant,
    _stays: PhantomData<MutexGuard<'a, ()>>,
}

impl Reentrant {
    pub(super) const fn new() -> Reentrant {
        Reentrant {
            owner: AtomicU64::new(0),
            depth: AtomicUsize::new(0),
            free: Semaphore::const_new(1),
        }
    }

    /// Suspends until the calling thread has it.
    pub(super) fn lock(&self) -> Guard<'_> {
        let me = thread::current().id().as_u64().get();
        if self.owner.load(Ordering::Relaxed) != me {
            let permit = self.free.acquire();
            permit.expect("nobody closes it").forget();
            self.owner.store(me, Ordering::Relaxed);
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        Guard {
            lock: self,
            _stays: PhantomData,
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.lock.depth.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.lock.owner.store(0, Ordering::Relaxed);
            self.lock.free.add_permits(1);
        }
    }
}
