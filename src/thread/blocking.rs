//! Closures that block an OS thread, for green threads that must not.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Result;
use crate::runtime::bindings;
use crate::runtime::blocking::Pool;
use crate::runtime::park::{self, Waiter};
use crate::runtime::{self, worker};

/// Runs `f` on an OS thread of its own while the calling green thread is suspended, and returns its value.
///
/// For what blocks an OS thread, or computes for long, and would hold up the other green threads of the worker: files, name lookups, locks of
/// other libraries, foreign code. `f` may borrow from the caller, and a call allocates nothing. Called on an OS thread that runs no green
/// thread, or inside of another `blocking`, it just runs `f`.
///
/// Each runtime keeps OS threads for this. They are started when they are needed, 512 at most, and end when they have not been for 10
/// seconds; [`Builder::max_blocking_threads`](crate::runtime::Builder::max_blocking_threads), `CORDE_BLOCKING_THREADS` in the environment and
/// [`Builder::blocking_keep_alive`](crate::runtime::Builder::blocking_keep_alive) change that. When all of them are busy, closures wait for
/// their turn, in order. So closures that wait for each other need a limit that is as high as there are closures. If the
/// system has no more OS threads, those that are there are used; if there is none, `f` runs on the worker. Lines on standard error tell of both.
///
/// Inside of `f` the calling thread is an OS thread: [`current`](super::current), [`park`](super::park) and the like are about that, and
/// [`spawn`](super::spawn) is one from outside of the runtime.
///
/// # Panics
///
/// With the panic of `f`.
///
/// # Cancellation
///
/// A green thread that is [cancelled](super::JoinHandle::cancel), or whose [`timeout`](crate::time::timeout) is over, leaves at once if `f` has
/// not begun, and drops it. Once `f` has begun nothing interrupts it: the green thread waits for its end, has its value, and unwinds where it
/// next suspends.
///
/// # Examples
///
/// ```
/// use corde::thread::blocking;
///
/// corde::run(|| -> std::io::Result<()> {
///     let path = std::env::current_exe()?;
///     let size = blocking(|| std::fs::metadata(&path))?.len();
///     assert!(size > 0);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// What is not `Send` stays where it is:
///
/// ```compile_fail,E0277
/// let here = std::rc::Rc::new(1);
/// corde::thread::blocking(|| *here);
/// ```
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    match worker::current() {
        Some(worker) => {
            let bindings = bindings::inherit();
            let blocking = &worker.shared().blocking;
            blocking.run(|| bindings::with_inherited(bindings, f))
        }
        None => f(),
    }
}

/// Runs `f` on an OS thread, as [`blocking`], but does not wait: the handle does.
///
/// From an OS thread that is no worker it is an OS thread of the process-wide runtime, which is started if it was not. Dropping the handle detaches
/// the closure. It ends with the process. When a runtime is shut down, closures that have not begun are dropped, and the handle's
/// [`join`](BlockingHandle::join) returns [`Cancelled`](super::Cancelled); those that run are not interrupted, but waited for as green threads are.
///
/// # Panics
///
/// If the workers cannot be started.
///
/// # Examples
///
/// ```
/// let sum = corde::thread::spawn_blocking(|| (1..=1000_u64).sum::<u64>());
/// assert_eq!(sum.join().unwrap(), 500_500);
/// ```
pub fn spawn_blocking<F, T>(f: F) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match runtime::current() {
        Ok(shared) => spawn_blocking_in(&shared.blocking, f),
        Err(error) => panic!("{error}"),
    }
}

/// Runs `f` on an OS thread of a runtime.
pub(crate) fn spawn_blocking_in<F, T>(pool: &Arc<Pool>, f: F) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let packet = Arc::new(Packet {
        progress: Mutex::new(Progress::Running(None)),
    });
    let theirs = packet.clone();
    let bindings = bindings::inherit();
    pool.spawn(move |begun| {
        let result = match begun {
            Ok(()) => catch_unwind(AssertUnwindSafe(|| bindings::with_inherited(bindings, f))),
            // Whoever ends the runtime is not to unwind from a destructor of this closure.
            Err(cancelled) => {
                catch_unwind(AssertUnwindSafe(|| drop(f))).and_then(|()| Err(Box::new(cancelled)))
            }
        };
        theirs.complete(result);
    });
    BlockingHandle { packet }
}

/// The right to wait for what [`spawn_blocking`] runs, and to take its result.
///
/// Dropping it detaches the closure.
pub struct BlockingHandle<T> {
    packet: Arc<Packet<T>>,
}

impl<T> BlockingHandle<T> {
    /// Waits for the closure to end, suspending a green thread that calls, and returns its result.
    ///
    /// # Errors
    ///
    /// The payload of its panic, if it panicked; [`Cancelled`](super::Cancelled), if it never began because its runtime was shut down.
    ///
    /// # Cancellation
    ///
    /// A green thread that is cancelled leaves, and detaches the closure.
    ///
    /// # Examples
    ///
    /// ```
    /// let panicking = corde::thread::spawn_blocking(|| panic!("alone"));
    /// assert_eq!(panicking.join().unwrap_err().downcast_ref(), Some(&"alone"));
    /// ```
    pub fn join(self) -> Result<T> {
        // Who leaves by unwinding leaves its waiter behind: a wake without need does no harm.
        while !self.is_finished_or_wakes() {
            park::park();
        }
        self.packet.take()
    }

    /// Returns whether the closure has ended: [`join`](BlockingHandle::join) would not wait.
    pub fn is_finished(&self) -> bool {
        matches!(*self.packet.lock(), Progress::Ended(_))
    }

    /// The same; if it has not ended, the calling thread is woken when it has.
    pub(crate) fn is_finished_or_wakes(&self) -> bool {
        self.packet.is_ended_or_wakes()
    }
}

impl<T> fmt::Debug for BlockingHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingHandle").finish_non_exhaustive()
    }
}

/// What the closure and its handle share.
struct Packet<T> {
    progress: Mutex<Progress<T>>,
}

enum Progress<T> {
    /// Who is to be woken at the end.
    Running(Option<Waiter>),
    Ended(Result<T>),
}

impl<T> Packet<T> {
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        // Nothing panics while it is locked.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self, result: Result<T>) {
        let before = mem::replace(&mut *self.lock(), Progress::Ended(result));
        if let Progress::Running(Some(waiter)) = before {
            waiter.wake();
        }
    }

    /// Returns whether it has ended; if not, the calling thread is woken when it has.
    fn is_ended_or_wakes(&self) -> bool {
        match &mut *self.lock() {
            Progress::Running(waiter) => {
                *waiter = Some(Waiter::current());
                false
            }
            Progress::Ended(_) => true,
        }
    }

    fn take(&self) -> Result<T> {
        match mem::replace(&mut *self.lock(), Progress::Running(None)) {
            Progress::Ended(result) => result,
            Progress::Running(_) => unreachable!("the result is taken once, when it is there"),
        }
    }
}
