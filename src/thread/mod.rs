//! Green threads, with the names and the manners of [`std::thread`].
//!
//! What differs from std:
//!
//! * The green thread is suspended where an OS thread would block: in [`park`], [`sleep`], [`yield_now`],
//!   [`JoinHandle::join`], in reads and writes of [`net`](crate::net), and in the waits of [`sync`](crate::sync). Nothing else suspends
//!   it; a long computation holds up the green threads of the same worker.
//! * The closure needs `Send`, as it may begin on any worker. Once begun, the green thread stays on its worker, so what it
//!   holds on its stack need not be `Send`. (Who can promise that it holds nothing that belongs to an OS thread may let it move:
//!   [`Builder::migratable`].)
//! * All functions work on plain OS threads as well: there they block, park or name the OS thread.
//!
//! # Structure
//!
//! | you want | use |
//! | --- | --- |
//! | green threads that borrow, and have ended when a call returns | [`scope()`] |
//! | the same, ended by the first error | [`try_scope()`] |
//! | results in the order in which they come | [`JoinSet`] |
//! | a few closures at once | [`join!`](crate::join), [`try_join!`](crate::try_join) |
//! | many items, some at once | [`map()`], [`try_map`], [`for_each`], [`Scope::map`] |
//! | to end one green thread | [`JoinHandle::cancel`] |
//! | to end whatever runs in some place, or all of a group | [`CancelToken`] |
//! | to end it by the clock | [`timeout`](crate::time::timeout) |
//! | a step that must be done whole | [`without_cancel`] |
//!
//! Values that a green thread has of its own are declared with [`green_local!`](crate::green_local); those that it hands down to
//! its children, with [`Inherited`].
//!
//! # What to watch
//!
//! * A `thread_local!` is shared by all green threads of a worker, which take turns at every suspension; a [`LocalKey`] is not.
//! * **The initializer of a `thread_local!` must not suspend** (nor call what may). std takes for granted that nobody uses the
//!   variable while an initializer runs: when two green threads of a worker are in it, the second value replaces, and
//!   drops, the first, which may be borrowed. That is undefined behaviour which corde cannot see. Make the value first, and put it
//!   into a `const`-initialized `OnceCell` or `RefCell`.
//! * A `OnceLock` or `LazyLock` whose initializer suspends blocks the worker, for good, when another of its green threads wants
//!   the value; so does every wait with std's own means (channels, `Condvar`, `JoinHandle`) for a green thread of the same worker.
//!   Those of [`sync`](crate::sync) do not.
//! * A [`std::sync::MutexGuard`] held across a suspension blocks the worker as soon as another of its green threads wants the
//!   lock: a deadlock, though not undefined behaviour. The monitor ([`Builder::stuck_after`](crate::runtime::Builder::stuck_after)) reports it. A
//!   [`sync::Mutex`](crate::sync::Mutex) may be held.
//! * `process::exit` in a green thread runs the destructors of its worker's thread-locals while other green threads of the worker are
//!   suspended. One that suspends there lets them go on without their thread-locals, which is undefined behaviour if
//!   they borrow from one: leave by returning from `main` where destructors of thread-locals wait for something.
//! * A green thread that blocks while it unwinds from a panic (a destructor that does I/O) blocks its worker for that time,
//!   because std counts panics by OS thread.

mod blocking;
mod builder;
mod cancel_token;
mod children;
mod handle;
mod inherited;
mod join;
mod join_set;
mod local;
mod map;
mod scope;
mod try_scope;

use std::any::Any;
use std::mem;
use std::panic::resume_unwind;
use std::process::abort;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::report;
use crate::runtime::park::{self, Waiter};
use crate::runtime::{self, Shared, interrupt, worker};

pub use crate::runtime::interrupt::Cancelled;
pub(crate) use blocking::spawn_blocking_in;
pub use blocking::{BlockingHandle, blocking, spawn_blocking};
pub use builder::Builder;
pub(crate) use builder::report_refused;
pub use cancel_token::{CancelToken, DropGuard};
pub use handle::{JoinHandle, LocalJoinHandle, Thread, ThreadId};
pub use inherited::{Inherited, NotBound};
#[doc(hidden)]
pub use join::{__call, __in_place, __unwrap};
pub use join_set::JoinSet;
pub use local::{AccessError, LocalKey};
pub use map::{Map, MapUnordered, for_each, map, try_for_each, try_map};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use std::thread::{available_parallelism, panicking};
pub use try_scope::{TryScope, TryScopedJoinHandle, try_scope};

/// What a green thread ended with: its value, or the payload of its panic.
pub type Result<T> = std::result::Result<T, Box<dyn Any + Send + 'static>>;

/// Spawns a green thread; as [`std::thread::spawn`], but it runs on one of the workers.
///
/// The runtime is started if it was not. The new green thread first runs when a worker is free for it: the spawner goes on
/// without being suspended. Its stack has [`stack::DEFAULT_SIZE`](crate::stack::DEFAULT_SIZE); see [`Builder`] for another.
///
/// Dropping the handle detaches the green thread. It ends with the process: a program that wants its results joins it.
///
/// # Panics
///
/// If the workers cannot be started; [`Builder::spawn`] returns that as an error.
///
/// # Examples
///
/// ```
/// let threads: Vec<_> = (0..1000).map(|i| corde::thread::spawn(move || i * i)).collect();
/// let sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
/// assert_eq!(sum, 332_833_500);
/// ```
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new()
        .spawn(f)
        .expect("the green thread could not be spawned")
}

/// Spawns a green thread that stays on the calling worker; see [`Builder::spawn_local`].
///
/// # Panics
///
/// If the caller is no green thread.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// corde::run(|| {
///     let seen = Rc::new(Cell::new(0));
///     let theirs = seen.clone();
///     corde::thread::spawn_local(move || theirs.set(1)).join().unwrap();
///     assert_eq!(seen.get(), 1);
/// });
/// ```
pub fn spawn_local<F, T>(f: F) -> LocalJoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Builder::new()
        .spawn_local(f)
        .unwrap_or_else(|error| panic!("the green thread could not be spawned: {error}"))
}

/// Runs `f`, in which the calling green thread is not interrupted: neither by [`cancel`](JoinHandle::cancel) nor by a
/// [`timeout`](crate::time::timeout) around it. What was wished meanwhile comes at the next suspension after it.
///
/// For steps that must be done whole, though they suspend. Timeouts inside of `f` work.
///
/// # Examples
///
/// ```
/// use corde::thread::{self, without_cancel};
///
/// let half_done = thread::spawn(|| {
///     without_cancel(|| (0..10).for_each(|_| thread::yield_now()));
///     "done"
/// });
/// half_done.cancel();
/// # let _ = half_done.join();
/// ```
pub fn without_cancel<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    interrupt::masked(f)
}

/// Returns a handle to the calling thread: the green thread, if there is one.
#[must_use]
pub fn current() -> Thread {
    Thread {
        waiter: Waiter::current(),
    }
}

/// Blocks the calling thread until its token is available, and takes it; as [`std::thread::park`].
///
/// A green thread is suspended. Unlike std's it does not return without a token.
pub fn park() {
    // Looked up each time, as a migratable one may be on another worker afterwards.
    while let Some((worker, task)) = worker::current_green() {
        if take(&task.token) {
            return;
        }
        worker
            .park(task)
            .unwrap_or_else(|interrupt| interrupt.strike());
    }
    park_os_thread();
}

#[cold]
fn park_os_thread() {
    let me = Waiter::current();
    while !take(me.token()) {
        park::park();
    }
}

/// Takes a token, if it is there.
#[inline(always)]
fn take(token: &AtomicBool) -> bool {
    token.load(Ordering::Relaxed) && token.swap(false, Ordering::Acquire)
}

/// Like [`park`], for `duration` at most; as [`std::thread::park_timeout`].
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let before = Instant::now();
/// corde::thread::park_timeout(Duration::from_millis(1));
/// assert!(before.elapsed() >= Duration::from_millis(1));
/// ```
pub fn park_timeout(duration: Duration) {
    let Some(deadline) = Instant::now().checked_add(duration) else {
        return park();
    };
    let me = Waiter::current();
    while !take(me.token()) {
        if Instant::now() >= deadline {
            return;
        }
        park::park_until(deadline);
    }
}

/// Blocks the calling thread for `duration` at least; as [`std::thread::sleep`].
///
/// A green thread is suspended. The clock is exact to the nanosecond; how late it wakes depends on the system's timers and
/// on what else its worker has to run.
pub fn sleep(duration: Duration) {
    match Instant::now().checked_add(duration) {
        Some(deadline) => sleep_until(deadline),
        None => loop {
            park::park();
        },
    }
}

/// Blocks the calling thread until `deadline`; as [`std::thread::sleep_until`].
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// corde::thread::sleep_until(deadline);
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    while Instant::now() < deadline {
        park::park_until(deadline);
    }
}

/// Lets other threads run: the green threads of the same worker that are ready, or other OS threads.
#[inline(always)]
pub fn yield_now() {
    park::yield_now();
}

/// Lets the other green threads of the worker run, if the calling one has had it for long (a tenth of a millisecond or so); costs little
/// otherwise.
///
/// For the loops of long computations. On an OS thread that runs no green thread it does nothing.
///
/// # Examples
///
/// ```
/// let sum = corde::thread::spawn(|| {
///     let mut sum = 0_u64;
///     for number in 0..1_000_000 {
///         sum += number;
///         corde::thread::yield_if_due();
///     }
///     sum
/// });
/// assert_eq!(sum.join().unwrap(), 499_999_500_000);
/// ```
#[inline(always)]
pub fn yield_if_due() {
    park::yield_if_due();
}

/// Ends the process if waiting for a green thread that borrows panics.
struct AbortIfPanic;

impl Drop for AbortIfPanic {
    fn drop(&mut self) {
        report::line(format_args!(
            "a thread panicked while it waited for green threads that borrow from it, aborting"
        ));
        abort();
    }
}

/// Runs `f` as a green thread and blocks the calling thread until it has ended: the way from `main` into corde.
///
/// Starts the runtime if need be, on as many workers as there are processors; `CORDE_WORKERS` in the environment sets
/// another number. `f` may borrow from the caller. Green threads that `f` has spawned and not joined run on; they end
/// with the process. Called in a green thread it just runs `f`.
///
/// # Panics
///
/// With the panic of `f`; and if the workers cannot be started.
///
/// # Examples
///
/// ```
/// let words = ["plain", "blocking", "Rust"];
/// let count = corde::run(|| words.iter().map(|word| word.len()).sum::<usize>());
/// assert_eq!(count, 17);
/// ```
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if worker::current_green().is_some() {
        return f();
    }
    match runtime::current() {
        Ok(shared) => run_in(shared, f),
        Err(error) => panic!("{error}"),
    }
}

/// Spawns a green thread in a runtime.
pub(crate) fn spawn_in<F, T>(shared: &'static Shared, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: everything is 'static.
    unsafe { Builder::new().spawn_unchecked(shared, f) }
        .expect("the default settings are possible ones")
}

/// Runs `f` as a green thread of a runtime and waits for its end.
pub(crate) fn run_in<F, T>(shared: &'static Shared, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if worker::current_green().is_some_and(|(worker, _)| worker.belongs_to(shared)) {
        return f();
    }
    // SAFETY: the handle is joined right here, and nothing lets this function return before.
    let handle = unsafe {
        Builder::new()
            .name("main".into())
            .spawn_unchecked(shared, f)
    };
    let handle = handle.expect("the default settings are possible ones");
    without_unwinding(|| handle.join()).unwrap_or_else(|payload| resume_unwind(payload))
}

/// Waits for green threads that borrow from the caller: to unwind from here while they run would end what they borrow. So no interrupt strikes;
/// and a panic aborts (std's handle of an OS thread panics in the thread's very last destructors).
fn without_unwinding<T>(wait: impl FnOnce() -> T) -> T {
    let guard = AbortIfPanic;
    let result = interrupt::masked(wait);
    mem::forget(guard);
    result
}
