//! What `sync` and `runtime/wait_list.rs` use of the rest of corde: threads of loom, and no green threads.

use std::sync::Arc;

use loom::thread as threads;

pub(crate) use interrupt::{Ended, interrupted, interrupted_after};
pub(crate) use park::Waits;

/// Starts a thread that uses `shared`.
pub(crate) fn spawn<S, R>(
    shared: &Arc<S>,
    f: impl FnOnce(&S) -> R + 'static,
) -> threads::JoinHandle<R>
where
    S: 'static,
    R: 'static,
{
    let shared = shared.clone();
    threads::spawn(move || f(&shared))
}

pub(crate) mod lock {
    //! A lock of loom's, which does not spin.

    use core::cell::{OnceCell, UnsafeCell};
    use std::ops::{Deref, DerefMut};

    use loom::sync::{Mutex, MutexGuard};

    pub(crate) struct Lock<T> {
        mutex: OnceCell<Mutex<()>>,
        value: UnsafeCell<T>,
    }

    // SAFETY: the mutex sees to it.
    unsafe impl<T: Send> Sync for Lock<T> {}

    impl<T> Lock<T> {
        pub(crate) const fn new(value: T) -> Lock<T> {
            Lock {
                mutex: OnceCell::new(),
                value: UnsafeCell::new(value),
            }
        }

        #[track_caller]
        pub(crate) fn lock(&self) -> LockGuard<'_, T> {
            let mutex = self.mutex.get_or_init(|| Mutex::new(()));
            LockGuard {
                lock: self,
                _guard: mutex.lock().unwrap(),
            }
        }
    }

    pub(crate) struct LockGuard<'a, T> {
        lock: &'a Lock<T>,
        _guard: MutexGuard<'a, ()>,
    }

    impl<'a, T> LockGuard<'a, T> {
        pub(crate) fn unlock(self) -> &'a Lock<T> {
            self.lock
        }
    }

    impl<T> Deref for LockGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            unsafe { &*self.lock.value.get() }
        }
    }

    impl<T> DerefMut for LockGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            unsafe { &mut *self.lock.value.get() }
        }
    }
}

pub(crate) mod park {
    use core::cell::{Cell, RefCell};
    use std::sync::Arc;
    use std::time::Instant;

    use loom::sync::Notify;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread as threads;

    use super::cell::TaskRef;
    use super::interrupt::{self, Interrupt};
    use super::thread::ThreadId;

    #[derive(Clone)]
    pub(crate) enum Waiter {
        Green(TaskRef),
        Os(Arc<OsThread>),
    }

    pub(crate) struct OsThread {
        id: ThreadId,
        notify: Notify,
    }

    loom::thread_local! {
        static CURRENT: Arc<OsThread> = Arc::new(OsThread {
            id: threads::current().id(),
            notify: Notify::new(),
        });
        static BEGUN: Cell<usize> = Cell::new(0);
        static COUNTED: RefCell<Option<Arc<Waits>>> = RefCell::new(None);
    }

    /// Counts the waits of a thread, each from when it is in its list. (Not the parks, as one may end for nothing.)
    pub(crate) struct Waits(AtomicUsize);

    impl Waits {
        pub(crate) fn new() -> Arc<Waits> {
            Arc::new(Waits(AtomicUsize::new(0)))
        }

        /// From now on counts those of the calling thread.
        pub(crate) fn count(self: Arc<Waits>) {
            COUNTED.with(|counted| *counted.borrow_mut() = Some(self));
        }

        /// Relaxed: orders nothing else.
        pub(crate) fn counted(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Waiter {
        /// Called for each node, and by `Once`.
        pub(crate) fn current() -> Waiter {
            BEGUN.with(|begun| begun.set(begun.get() + 1));
            Waiter::Os(CURRENT.with(Arc::clone))
        }

        pub(crate) fn wake(&self) {
            match self {
                Waiter::Green(_) => unreachable!("there is none"),
                Waiter::Os(os) => os.notify.notify(),
            }
        }

        pub(crate) fn id(&self) -> ThreadId {
            match self {
                Waiter::Green(_) => unreachable!("there is none"),
                Waiter::Os(os) => os.id,
            }
        }
    }

    /// A deadline, if there is one, is over.
    #[track_caller]
    pub(crate) fn try_park(deadline: Option<Instant>) -> Result<(), Interrupt> {
        let begun = BEGUN.with(Cell::get);
        let counted = COUNTED.with(|counted| counted.borrow().clone());
        if let Some(counted) = counted {
            counted.0.store(begun, Ordering::Relaxed);
        }
        interrupt::check()?;
        if deadline.is_none() {
            CURRENT.with(Arc::clone).notify.wait();
        }
        Ok(())
    }
}

pub(crate) mod interrupt {
    use core::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    loom::thread_local! {
        /// How many more times the thread parks before it is interrupted.
        static PARKS: Cell<Option<u32>> = Cell::new(None);
    }

    #[derive(Debug)]
    pub(crate) struct Interrupt(());

    struct Struck;

    /// How what may be interrupted has ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Ended<R> {
        Interrupted,
        Returned(R),
    }

    impl Interrupt {
        pub(crate) fn new() -> Interrupt {
            Interrupt(())
        }

        pub(crate) fn strike(self) -> ! {
            resume_unwind(Box::new(Struck))
        }
    }

    pub(super) fn check() -> Result<(), Interrupt> {
        PARKS.with(|parks| match parks.get() {
            Some(0) => Err(Interrupt(())),
            left => {
                parks.set(left.map(|left| left - 1));
                Ok(())
            }
        })
    }

    /// Runs `f` on a thread that is interrupted where it first waits.
    pub(crate) fn interrupted<R>(f: impl FnOnce() -> R) -> Ended<R> {
        interrupted_after(0, f)
    }

    /// Runs `f` on a thread that is interrupted after so many times that it has parked.
    pub(crate) fn interrupted_after<R>(parks: u32, f: impl FnOnce() -> R) -> Ended<R> {
        PARKS.with(|left| left.set(Some(parks)));
        let result = catch_unwind(AssertUnwindSafe(f));
        PARKS.with(|left| left.set(None));
        match result {
            Ok(value) => Ended::Returned(value),
            Err(payload) if payload.is::<Struck>() => Ended::Interrupted,
            Err(payload) => resume_unwind(payload),
        }
    }

    pub(crate) fn masked<R>(f: impl FnOnce() -> R) -> R {
        let before = PARKS.with(|parks| parks.take());
        let result = f();
        PARKS.with(|parks| parks.set(before));
        result
    }

    pub(crate) fn is_panicking() -> bool {
        std::thread::panicking()
    }
}

pub(crate) mod cell {
    use core::ptr::NonNull;

    use super::task::Task;

    /// There is none.
    #[derive(Clone)]
    pub(crate) struct TaskRef(());

    impl TaskRef {
        pub(crate) unsafe fn from_borrowed(_: NonNull<Task>) -> TaskRef {
            TaskRef(())
        }
    }
}

pub(crate) mod task {
    use super::worker::Worker;

    /// There is none.
    pub(crate) enum Task {}

    impl Task {
        pub(crate) fn home_if_here(&self) -> Option<&Worker> {
            None
        }

        pub(crate) fn wake_here(&self, _: &Worker) {}
    }
}

pub(crate) mod worker {
    use super::task::Task;

    pub(crate) struct Worker;

    pub(crate) fn current_green<'a>() -> Option<(&'a Worker, &'a Task)> {
        None
    }

    pub(crate) fn spend() {}
}

pub(crate) mod thread {
    use core::marker::PhantomData;

    pub(crate) use loom::thread::ThreadId;

    /// For selections, which do not join here.
    pub struct JoinHandle<T>(PhantomData<T>);

    pub(crate) struct Joined;

    impl<T> JoinHandle<T> {
        pub(crate) fn is_finished(&self) -> bool {
            true
        }

        pub(crate) fn task(&self) -> &Joined {
            &Joined
        }
    }

    impl Joined {
        pub(crate) unsafe fn announce(&self) -> bool {
            false
        }

        pub(crate) fn withdraw(&self) {}
    }

    /// As a [`JoinHandle`].
    pub struct LocalJoinHandle<T>(JoinHandle<T>);

    /// As a [`JoinHandle`].
    pub struct ScopedJoinHandle<'scope, T>(JoinHandle<T>, PhantomData<&'scope ()>);

    /// As a [`JoinHandle`].
    pub struct TryScopedJoinHandle<'scope, T>(JoinHandle<T>, PhantomData<&'scope ()>);

    /// As a [`JoinHandle`].
    pub struct BlockingHandle<T>(PhantomData<T>);

    impl<T> LocalJoinHandle<T> {
        pub(crate) fn handle(&self) -> &JoinHandle<T> {
            &self.0
        }
    }

    impl<T> ScopedJoinHandle<'_, T> {
        pub(crate) fn handle(&self) -> &JoinHandle<T> {
            &self.0
        }
    }

    impl<T> TryScopedJoinHandle<'_, T> {
        pub(crate) fn handle(&self) -> &JoinHandle<T> {
            &self.0
        }
    }

    impl<T> BlockingHandle<T> {
        pub(crate) fn is_finished(&self) -> bool {
            true
        }

        pub(crate) fn is_finished_or_wakes(&self) -> bool {
            true
        }
    }

    /// For selections, which are not cancelled by it here.
    #[derive(Debug)]
    pub struct CancelToken(());

    impl CancelToken {
        pub(crate) fn is_cancelled(&self) -> bool {
            false
        }

        pub(crate) fn announce(&self) -> Option<usize> {
            None
        }

        pub(crate) fn withdraw(&self, _: usize) {}
    }
}

pub(crate) mod net {
    use super::reactor::Pollable;

    pub trait Socket {
        fn source(&self) -> &dyn Pollable;
    }
}

pub(crate) mod reactor {
    #[derive(Clone, Copy, Debug)]
    pub enum Direction {
        Read,
        Write,
    }

    /// For selections, which do not poll here.
    pub trait Pollable {
        fn is_ready(&self, direction: Direction) -> bool;
        unsafe fn announce(&self, direction: Direction, _: &Announcement) -> std::io::Result<bool>;
        unsafe fn withdraw(&self, direction: Direction, _: &Announcement);
    }

    pub struct Announcement(());

    impl Announcement {
        pub(crate) fn new() -> Announcement {
            Announcement(())
        }

        pub(crate) fn is_over(&self) -> bool {
            false
        }
    }
}
