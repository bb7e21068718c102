//! A worker's inbox: its green threads that other threads have woken, and fresh ones that they have placed there.
//!
//! A stack of tasks linked through themselves (Treiber, 1986): senders push with one compare-and-swap, the owner takes
//! all of it with one swap, so that the usual trouble of such stacks, a node that leaves and comes back, cannot arise.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::cell::TaskRef;
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

    /// Adds a green thread, which is in no inbox. The caller then notifies the worker.
    pub(super) fn push(&self, task: TaskRef) {
        let task = task.into_raw().as_ptr();
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            // SAFETY: the reference keeps the task alive, and who puts it into an inbox may write the link (task.rs).
            unsafe { (*task).next.store(newest, Ordering::Relaxed) };
            // Release: the taker sees the link. SeqCst: pairs with `Reactor::sleep` (README, "Notify").
            match self.newest.compare_exchange_weak(
                newest,
                task,
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

    /// Takes all of it; `receive` gets the green threads in the order in which they were pushed. Returns whether there were any.
    #[inline(always)]
    pub(super) fn take(&self, receive: impl FnMut(TaskRef)) -> bool {
        let found = !self.newest.load(Ordering::Relaxed).is_null();
        if found {
            self.take_all(receive);
        }
        found
    }

    #[cold]
    fn take_all(&self, mut receive: impl FnMut(TaskRef)) {
        let mut task = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut::<Task>();
        while !task.is_null() {
            // SAFETY: each task in the list is kept alive by a reference, which this call now holds, and so the link.
            let next = unsafe { &(*task).next };
            let older = next.swap(oldest, Ordering::Relaxed);
            oldest = task;
            task = older;
        }
        while !oldest.is_null() {
            // SAFETY: as above; the link is read before the reference is given away.
            let newer = unsafe { (*oldest).next.load(Ordering::Relaxed) };
            // SAFETY: a link that is not null came from a reference.
            let task = unsafe { NonNull::new_unchecked(oldest) };
            // SAFETY: it came from `into_raw` in `push`, and is turned back once, as the list was taken whole.
            receive(unsafe { TaskRef::from_raw(task) });
            oldest = newer;
        }
    }
}

/// Room for one fresh green thread, which any thread may take out.
pub(super) struct Place {
    task: AtomicPtr<Task>,
}

impl Place {
    pub(super) fn new() -> Place {
        Place {
            task: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Puts one in; returns the one that was there.
    #[inline(always)]
    pub(super) fn replace(&self, fresh: Runnable) -> Option<Runnable> {
        let fresh = fresh.into_task().into_raw();
        // Release: who takes it out sees it as it is. Acquire: so does who gets the one before.
        Place::given(self.task.swap(fresh.as_ptr(), Ordering::AcqRel))
    }

    /// Takes out the one that is there.
    #[inline(always)]
    pub(super) fn take(&self) -> Option<Runnable> {
        if self.is_empty() {
            return None;
        }
        Place::given(self.task.swap(ptr::null_mut(), Ordering::Acquire))
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.task.load(Ordering::Relaxed).is_null()
    }

    fn given(task: *mut Task) -> Option<Runnable> {
        let task = NonNull::new(task)?;
        // SAFETY: `replace` has put it there with its count, and a swap takes it out once.
        Some(Runnable::placed(unsafe { TaskRef::from_raw(task) }))
    }
}
