//! A worker's inbox: its green threads that other threads have woken.
//!
//! A stack of tasks linked through themselves (Treiber, 1986): senders push with one compare-and-swap, the owner takes
//! all of it with one swap, so that the usual trouble of such stacks, a node that leaves and comes back, cannot arise.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::task::{Runnable, Task};

/// Many senders, one taker.
pub(crate) struct Inbox {
    newest: AtomicPtr<Task>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        Inbox {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds a green thread. The caller then notifies the worker.
    pub(super) fn push(&self, runnable: Runnable) {
        let task = runnable.into_raw();
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            // SAFETY: the `Runnable` keeps the task alive, and its holder may write the link (task.rs).
            unsafe { (*task).next.store(newest, Ordering::Relaxed) };
            // Release: the taker sees the link. SeqCst: pairs with `Reactor::sleep` (README, "Notify").
            match self.newest.compare_exchange_weak(
                newest,
                task.cast_mut(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => newest = now,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::SeqCst).is_null()
    }

    /// Takes all of it; `receive` gets the green threads in the order in which they were pushed.
    #[inline(always)]
    pub(super) fn take(&self, receive: impl FnMut(Runnable)) {
        if !self.newest.load(Ordering::Relaxed).is_null() {
            self.take_all(receive);
        }
    }

    #[cold]
    fn take_all(&self, mut receive: impl FnMut(Runnable)) {
        let mut task = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut::<Task>();
        while !task.is_null() {
            // SAFETY: each task in the list is kept alive by its `Runnable`, which this call now holds, and so the link.
            let next = unsafe { &(*task).next };
            let older = next.swap(oldest, Ordering::Relaxed);
            oldest = task;
            task = older;
        }
        while !oldest.is_null() {
            // SAFETY: as above; the link is read before the `Runnable` is given away.
            let newer = unsafe { (*oldest).next.load(Ordering::Relaxed) };
            // SAFETY: the pointer came from `into_raw` in `push`, and is turned back once, as the list was taken whole.
            receive(unsafe { Runnable::from_raw(oldest) });
            oldest = newer;
        }
    }
}
