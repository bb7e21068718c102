//! A runtime with workers of its own, and handles to it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::task::Task;
use super::{ABANDONING, CLOSING, Shared, trace, worker};
use crate::thread::{self, BlockingHandle, JoinHandle, ThreadId};

/// How long a runtime that is dropped waits for its green threads.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long shutting down waits, at the end, for workers that have nothing more to do than to end.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// A runtime: workers, and the green threads that run on them.
///
/// A program needs none of its own: [`run`](crate::run), [`spawn`](crate::thread::spawn) and [`go!`](crate::go) use the process-wide one, which
/// starts by itself and ends with the process. One of its own has settings of its own, and an end.
///
/// Dropping it [shuts it down](Runtime::shutdown) and waits 5 seconds at most. Dropped by one of its own green threads, it does not wait.
///
/// # Examples
///
/// ```
/// use corde::runtime::Runtime;
///
/// let runtime = Runtime::new()?;
/// let sum: u32 = runtime.block_on(|| {
///     let threads: Vec<_> = (1..=10).map(|n| corde::go!(move || n)).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).sum()
/// });
/// assert_eq!(sum, 55);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    handle: Handle,
    is_shut_down: bool,
}

impl Runtime {
    /// Starts a runtime with the settings of the process-wide one.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build`].
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// Makes a builder for a runtime; the same as [`Builder::new`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// For a runtime whose workers have been started.
    pub(super) fn with(shared: &'static Shared) -> Runtime {
        Runtime {
            handle: Handle::new(shared),
            is_shut_down: false,
        }
    }

    /// Returns a handle, which can be cloned and sent to other threads.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Spawns a green thread in this runtime; as [`thread::spawn`](crate::thread::spawn).
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.handle.spawn(f)
    }

    /// Runs `f` on an OS thread of this runtime for blocking closures; as [`thread::spawn_blocking`](crate::thread::spawn_blocking).
    pub fn spawn_blocking<F, T>(&self, f: F) -> BlockingHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.handle.spawn_blocking(f)
    }

    /// Runs `f` as a green thread of this runtime, and blocks the calling thread until it has ended. `f` may borrow from the caller.
    ///
    /// As [`run`](crate::run), which does it in the process-wide runtime. A green thread of this runtime just calls `f`.
    ///
    /// # Panics
    ///
    /// With the panic of `f`.
    pub fn block_on<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        self.handle.block_on(f)
    }

    /// Ends the runtime: cancels its green threads, waits until they have ended, `patience` at most, and ends the workers.
    ///
    /// Green threads that have not begun never do; those that are spawned from now on are cancelled at once. What is left after `patience` is
    /// left behind: parked ones for ever, with their stacks; running ones until they next suspend. Nothing is freed that they
    /// might use. The report names them.
    ///
    /// # Panics
    ///
    /// If it is called on one of this runtime's workers, which cannot wait for its own end.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::runtime::Runtime;
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::new()?;
    /// let idler = runtime.spawn(|| loop { corde::thread::park() });
    /// let report = runtime.shutdown(Duration::from_secs(60));
    /// assert!(report.left().is_empty());
    /// assert!(idler.join().unwrap_err().is::<corde::thread::Cancelled>());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(mut self, patience: Duration) -> ShutdownReport {
        assert!(
            !self.handle.is_own_worker(),
            "a runtime was shut down by one of its own green threads"
        );
        self.is_shut_down = true;
        self.handle.owner.shut_down(patience)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.is_shut_down {
            return;
        }
        if self.handle.is_own_worker() {
            self.handle.owner.shared.advance(CLOSING);
        } else {
            self.handle.owner.shut_down(PATIENCE);
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.handle.owner.shared.workers.len())
            .finish_non_exhaustive()
    }
}

/// A handle to a [`Runtime`], to spawn green threads from anywhere. Does not keep it running.
///
/// # Examples
///
/// ```
/// let runtime = corde::runtime::Runtime::new()?;
/// let handle = runtime.handle().clone();
/// let answer = std::thread::spawn(move || handle.spawn(|| 42).join().unwrap());
/// assert_eq!(answer.join().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    owner: Arc<Owner>,
}

impl Handle {
    pub(super) fn new(shared: &'static Shared) -> Handle {
        Handle {
            owner: Arc::new(Owner { shared }),
        }
    }

    /// Spawns a green thread in the runtime; as [`thread::spawn`](crate::thread::spawn). If the runtime has been shut down, the
    /// green thread is cancelled without having run.
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        thread::spawn_in(self.owner.shared, f)
    }

    /// Runs `f` on an OS thread of the runtime for blocking closures; as [`thread::spawn_blocking`](crate::thread::spawn_blocking). If the
    /// runtime has been shut down, `f` is dropped without having run.
    pub fn spawn_blocking<F, T>(&self, f: F) -> BlockingHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        thread::spawn_blocking_in(&self.owner.shared.blocking, f)
    }

    /// As [`Runtime::block_on`].
    ///
    /// # Panics
    ///
    /// With the panic of `f`; and if the runtime is shut down before `f` has begun.
    pub fn block_on<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        thread::run_in(self.owner.shared, f)
    }

    pub(super) fn shared(&self) -> &'static Shared {
        self.owner.shared
    }

    fn is_own_worker(&self) -> bool {
        worker::current().is_some_and(|worker| worker.belongs_to(self.owner.shared))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// What a runtime and its handles keep alive together.
struct Owner {
    shared: &'static Shared,
}

impl Owner {
    fn shut_down(&self, patience: Duration) -> ShutdownReport {
        let shared = self.shared;
        let deadline = Instant::now() + patience.min(Duration::from_secs(u32::MAX.into()));
        shared.advance(CLOSING);
        if !shared.wait_for_workers(deadline) {
            shared.advance(ABANDONING);
            shared.wait_for_workers(Instant::now() + LAST_WAIT);
        }
        let blocking = shared.blocking.wait_until_ended(deadline);
        let mut left = shared.left_behind();
        left.extend((0..blocking).map(|_| Leftover::running()));
        ShutdownReport { left }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: this was the last handle.
        unsafe { self.shared.release() };
    }
}

/// What a [shutdown](Runtime::shutdown) has left behind.
#[derive(Debug, Default)]
pub struct ShutdownReport {
    left: Vec<Leftover>,
}

impl ShutdownReport {
    /// The green threads that did not end in time.
    #[must_use]
    pub fn left(&self) -> &[Leftover] {
        &self.left
    }
}

/// A green thread that did not end in time.
#[derive(Clone, Debug)]
pub struct Leftover {
    id: Option<ThreadId>,
    name: Option<String>,
    frames: Vec<usize>,
}

impl Leftover {
    pub(super) fn parked(task: &Task) -> Leftover {
        Leftover {
            id: Some(task.id),
            name: task.name().map(str::to_owned),
            frames: Vec::new(),
        }
    }

    pub(super) fn set_backtrace(&mut self, frames: Vec<usize>) {
        self.frames = frames;
    }

    /// What a worker still runs cannot be looked at.
    pub(super) fn running() -> Leftover {
        Leftover {
            id: None,
            name: None,
            frames: Vec::new(),
        }
    }

    /// Its name, if it has one and is parked.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its identifier, if it is parked.
    #[must_use]
    pub fn id(&self) -> Option<ThreadId> {
        self.id
    }

    /// Where it is parked: a line for each frame, the innermost first, as in a panic's backtrace. With the feature `backtrace` functions
    /// and lines, otherwise the addresses as `addr2line` wants them.
    ///
    /// None, if it is not parked but would go on; if it is [migratable](crate::thread::Builder::migratable), so that it is no worker's to ask; if its stack has less than 8 KiB left, which looking at it takes; and if a thousand of its worker have told
    /// already.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::runtime::Runtime;
    /// use corde::thread::{park, without_cancel};
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::new()?;
    /// runtime.spawn(|| without_cancel(|| loop { park() }));
    /// # runtime.block_on(|| corde::thread::sleep(Duration::from_millis(1)));
    /// for left in runtime.shutdown(Duration::from_millis(1)).left() {
    ///     eprintln!("{:?} is parked at{}", left.name(), left.backtrace().unwrap_or_default());
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn backtrace(&self) -> Option<String> {
        (!self.frames.is_empty()).then(|| trace::frames(&self.frames))
    }

    /// Whether it has not come to a suspension yet: it computes, or blocks its worker.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.id.is_none()
    }
}
