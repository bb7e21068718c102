//! A runtime on the calling thread.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::process::abort;
use std::ptr;
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::extras::Extras;
use super::handle::Handle;
use super::task::{Settings, Task};
use super::worker::{self, Worker};
use super::{CLOSING, Shared};
use crate::report;
use crate::stack::on_thread_stack;

/// How long a runtime that is dropped goes on running its green threads.
const PATIENCE: Duration = Duration::from_secs(5);

/// A runtime that starts no OS thread, but for blocking closures: its green threads run on the thread that [blocks on](LocalRuntime::block_on) it, and meanwhile only.
///
/// For tests, command line tools, and programs that have their own idea of threads. What is handed to `block_on` need not be `Send`; nor what
/// [`spawn_local`](crate::thread::spawn_local) gets.
///
/// Dropping it cancels what is left and runs that to its end, for 5 seconds at most; after that it is left behind, with its memory.
///
/// # Examples
///
/// ```
/// use corde::runtime::LocalRuntime;
/// use std::rc::Rc;
///
/// let runtime = LocalRuntime::new()?;
/// let shared = Rc::new(7);
/// let theirs = shared.clone();
/// let doubled = runtime.block_on(|| {
///     corde::thread::spawn_local(move || *theirs * 2).join().unwrap()
/// });
/// assert_eq!(doubled, 14);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct LocalRuntime {
    handle: Handle,
    worker: &'static Worker,
    /// Its green threads stay on this OS thread.
    _not_send: PhantomData<*const ()>,
}

impl LocalRuntime {
    /// Makes a runtime on the calling thread.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build_local`].
    pub fn new() -> io::Result<LocalRuntime> {
        Builder::new().build_local()
    }

    pub(super) fn with(settings: &Builder) -> io::Result<LocalRuntime> {
        let (shared, queues) = Shared::new(settings, 1)?;
        let Ok([queue]) = <[_; 1]>::try_from(queues) else {
            unreachable!("one worker was asked for");
        };
        Ok(LocalRuntime {
            handle: Handle::new(shared),
            worker: Worker::new(shared, 0, queue),
            _not_send: PhantomData,
        })
    }

    /// Returns a handle, through which other threads can spawn green threads here. They run while this thread blocks on the runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `f` as a green thread, and all others of this runtime beside it, until `f` has ended. `f` may borrow from the caller.
    ///
    /// # Panics
    ///
    /// With the panic of `f`. If the calling thread runs a green thread or a runtime already, or calls from inside of a coroutine or of
    /// [`on_stack`](crate::stack::on_stack).
    pub fn block_on<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T,
    {
        assert!(
            worker::current().is_none(),
            "a runtime was started on a thread that runs one already"
        );
        assert!(
            on_thread_stack(),
            "a runtime on this thread was started on the stack of a coroutine, which could suspend out of it"
        );
        let settings = Settings {
            extras: Extras::of_child(Some("main".into())),
            stack_size: self.handle.shared().stack_size,
            migratable: false,
        };
        // SAFETY: it stays on this OS thread, as it is put into the worker's local queue; its output is taken below, before which nothing
        // lets this function return: a panic of the worker aborts.
        let (task, runnable) = unsafe { Task::fresh_here(self.handle.shared(), settings, f) };
        self.worker.push_local(runnable);
        self.worker.run_here(|| task.is_done());
        if !task.is_done() {
            // Only a runtime that is shut down lets go, which takes it out of the caller's hands. What `f` borrows must not end.
            report::line(format_args!(
                "a runtime on this thread ended before what it runs, aborting"
            ));
            abort();
        }
        // SAFETY: it is done, and returns a `T`; there is no other handle.
        let result = unsafe { task.take_output() };
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

impl Drop for LocalRuntime {
    fn drop(&mut self) {
        let shared = self.handle.shared();
        shared.advance(CLOSING);
        let deadline = Instant::now() + PATIENCE;
        self.worker.run_here_until_ended(deadline);
        shared.blocking.wait_until_ended(deadline);
        let clean = self.worker.is_unused();
        let left = self.worker.leftovers();
        if clean {
            // SAFETY: it came from a box (`Worker::new`); its loop is over, and no green thread is left that could use it.
            drop(unsafe { Box::from_raw(ptr::from_ref(self.worker).cast_mut()) });
        }
        // SAFETY: the worker, if it is still there, does nothing more; `handle` is dropped after this.
        unsafe { shared.worker_ended(0, left) };
    }
}

impl fmt::Debug for LocalRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRuntime").finish_non_exhaustive()
    }
}
