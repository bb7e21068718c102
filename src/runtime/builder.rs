//! The settings of a runtime.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::blocking::KEEP_ALIVE;
use super::handle::Runtime;
use super::local::LocalRuntime;
use super::monitor::{self, Monitor};
use super::panics::PanicPolicy;
use super::worker::Worker;
use super::{MAX_WORKERS, Shared, cannot_start, default_workers, sys};

/// Something to be called on a worker's OS thread.
pub(super) type Hook = Arc<dyn Fn() + Send + Sync>;

/// The settings of a runtime to be made.
///
/// # Examples
///
/// ```
/// let runtime = corde::runtime::Builder::new()
///     .workers(2)
///     .thread_name("resolver")
///     .stack_size(256 * 1024)
///     .build()?;
/// assert_eq!(runtime.block_on(|| corde::go!(|| 6 * 7).join().unwrap()), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    workers: Option<usize>,
    pub(super) thread_name: String,
    pin: bool,
    pub(super) stuck_after: Duration,
    pub(super) panic_policy: PanicPolicy,
    pub(super) max_blocking_threads: Option<usize>,
    pub(super) blocking_keep_alive: Duration,
    pub(super) stack_size: Option<usize>,
    pub(super) on_thread_start: Option<Hook>,
    pub(super) on_thread_stop: Option<Hook>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            workers: None,
            thread_name: "corde-worker".into(),
            pin: false,
            stuck_after: monitor::DEFAULT_STUCK_AFTER,
            panic_policy: PanicPolicy::default(),
            max_blocking_threads: None,
            blocking_keep_alive: KEEP_ALIVE,
            stack_size: None,
            on_thread_start: None,
            on_thread_stop: None,
        }
    }
}

impl Builder {
    /// Makes a builder with the settings of the process-wide runtime.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the number of workers, from 1 to 1,024. If it is not set, it is `CORDE_WORKERS` in the environment, or else the number of
    /// processors.
    pub fn workers(mut self, count: usize) -> Builder {
        self.workers = Some(count);
        self
    }

    /// Sets the name of the workers' OS threads, which get a number behind it.
    pub fn thread_name(mut self, name: impl Into<String>) -> Builder {
        self.thread_name = name.into();
        self
    }

    /// Sets the size in bytes of the stacks of green threads that ask for none. If it is not set, it is `CORDE_STACK_SIZE` in the environment,
    /// or else [`DEFAULT_SIZE`](crate::stack::DEFAULT_SIZE).
    pub fn stack_size(mut self, size: usize) -> Builder {
        self.stack_size = Some(size);
        self
    }

    /// Sets whether each worker stays on a processor of its own: worker 0 on the first of those that the process may use, and so on.
    ///
    /// # Platform-specific behavior
    ///
    /// Does nothing on systems other than Linux.
    pub fn pin_workers(mut self, pin: bool) -> Builder {
        self.pin = pin;
        self
    }

    /// Sets how many OS threads there are at most for [`blocking`](crate::thread::blocking) and
    /// [`spawn_blocking`](crate::thread::spawn_blocking); 1 at least. They are started when they are needed; when all of them are busy, closures
    /// wait. If it is not set, it is `CORDE_BLOCKING_THREADS` in the environment, or else 512.
    pub fn max_blocking_threads(mut self, limit: usize) -> Builder {
        self.max_blocking_threads = Some(limit);
        self
    }

    /// Sets how long an OS thread for blocking closures waits for the next one before it ends. If it is not set, it is 10 seconds.
    pub fn blocking_keep_alive(mut self, duration: Duration) -> Builder {
        self.blocking_keep_alive = duration;
        self
    }

    /// Sets after how long in one turn a green thread counts as stuck, 100 ms if it is not set; [`Duration::MAX`] for never.
    ///
    /// A green thread that computes for long, or blocks its OS thread, holds up the others of its worker. The runtime says so on standard
    /// error, once for each such turn: which green thread it is, whether it computes or waits for what, and its backtrace, with the names
    /// of functions if the feature `backtrace` is on. Meanwhile other workers take over those that have not begun.
    ///
    /// An OS thread, `corde-monitor`, looks four times in this time; it sleeps while all workers do. A [`LocalRuntime`] has none.
    ///
    /// # Platform-specific behavior
    ///
    /// The backtrace is asked for by sending the worker `SIGURG`, unless the program has a handler for that. A system call that the green thread
    /// blocks in may return `EINTR`, as it may for any signal.
    pub fn stuck_after(mut self, time: Duration) -> Builder {
        self.stuck_after = time;
        self
    }

    /// Sets what happens when a green thread has panicked and nobody takes the result: its last handle, [`JoinHandle`] or [`Thread`], is
    /// dropped, or was, without its having been joined. If it is not set, that is [`PanicPolicy::Report`].
    ///
    /// Being cancelled is no panic; nor is it to have got no stack.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::runtime::{Builder, PanicPolicy};
    ///
    /// let runtime = Builder::new().on_unhandled_panic(PanicPolicy::Shutdown).build()?;
    /// let server = runtime.spawn(|| loop { corde::thread::park() });
    /// drop(runtime.spawn(|| panic!("out of order")));
    /// assert!(server.join().unwrap_err().is::<corde::thread::Cancelled>());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// [`JoinHandle`]: crate::thread::JoinHandle
    /// [`Thread`]: crate::thread::Thread
    pub fn on_unhandled_panic(mut self, policy: PanicPolicy) -> Builder {
        self.panic_policy = policy;
        self
    }

    /// Sets what each worker's OS thread calls before it runs green threads.
    pub fn on_thread_start<F>(mut self, hook: F) -> Builder
    where
        F: Fn() + Send + Sync + 'static,
    {
        self.on_thread_start = Some(Arc::new(hook));
        self
    }

    /// Sets what each worker's OS thread calls before it ends.
    pub fn on_thread_stop<F>(mut self, hook: F) -> Builder
    where
        F: Fn() + Send + Sync + 'static,
    {
        self.on_thread_stop = Some(Arc::new(hook));
        self
    }

    /// Starts a runtime with these settings.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for an impossible number of workers or size of stacks; that of the system, if OS threads, or
    /// file descriptors for epoll or kqueue, cannot be had.
    pub fn build(self) -> io::Result<Runtime> {
        Ok(Runtime::with(self.start()?))
    }

    /// Makes a runtime that runs on the calling thread, when that [blocks on](LocalRuntime::block_on) it; the number of workers does
    /// not matter.
    ///
    /// # Errors
    ///
    /// As [`build`](Builder::build).
    pub fn build_local(self) -> io::Result<LocalRuntime> {
        LocalRuntime::with(&self)
    }

    /// Starts the workers.
    pub(super) fn start(&self) -> io::Result<&'static Shared> {
        let count = match self.workers {
            Some(count @ 1..=MAX_WORKERS) => count,
            Some(count) => {
                let message = format!("a runtime has from 1 to {MAX_WORKERS} workers, not {count}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            None => default_workers()?,
        };
        if self.thread_name.contains('\0') {
            let message = "the name of a runtime's threads contains a NUL byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (shared, queues) = Shared::new(self, count)?;
        for (index, queue) in queues.into_iter().enumerate() {
            let pin = self.pin;
            let started = thread::Builder::new()
                .name(format!("{}-{index}", self.thread_name))
                .spawn(move || {
                    if pin {
                        sys::pin_to(index);
                    }
                    Worker::run(shared, index, queue);
                });
            if let Err(error) = started {
                shared.give_up(index);
                return Err(cannot_start("an OS thread", &error));
            }
        }
        if let Err(error) = Monitor::start(shared) {
            shared.give_up(count);
            return Err(cannot_start("an OS thread", &error));
        }
        Ok(shared)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("thread_name", &self.thread_name)
            .field("pin_workers", &self.pin)
            .field("stack_size", &self.stack_size)
            .field("stuck_after", &self.stuck_after)
            .field("on_unhandled_panic", &self.panic_policy)
            .field("max_blocking_threads", &self.max_blocking_threads)
            .field("blocking_keep_alive", &self.blocking_keep_alive)
            .finish_non_exhaustive()
    }
}
