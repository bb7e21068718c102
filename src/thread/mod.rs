//! Green threads, with the names and the manners of [`std::thread`].
//!
//! What differs from std:
//!
//! * The green thread is suspended where an OS thread would block: in [`park`], [`sleep`], [`yield_now`],
//!   [`JoinHandle::join`], and in reads and writes of [`net`](crate::net). Nothing else suspends it; a long computation holds up
//!   the green threads of the same worker.
//! * The closure needs `Send`, as it may begin on any worker. Once begun, the green thread stays on its worker, so what it
//!   holds on its stack need not be `Send`.
//! * All functions work on plain OS threads as well: there they block, park or name the OS thread.
//!
//! # What to watch
//!
//! * A `thread_local!` is shared by all green threads of a worker, which take turns at every suspension.
//! * **The initializer of a `thread_local!` must not suspend** (nor call what may). std takes for granted that nobody uses the
//!   variable while an initializer runs: when two green threads of a worker are in it, the second value replaces, and
//!   drops, the first, which may be borrowed. That is undefined behaviour which corde cannot see. Make the value first, and put it
//!   into a `const`-initialized `OnceCell` or `RefCell`.
//! * A `OnceLock` or `LazyLock` whose initializer suspends blocks the worker, for good, when another of its green threads wants
//!   the value; so does every wait with std's own means (channels, `Condvar`, `JoinHandle`) for a green thread of the same worker.
//! * A [`std::sync::MutexGuard`] held across a suspension blocks the worker as soon as another of its green threads wants the
//!   lock: a deadlock, though not undefined behaviour.
//! * `process::exit` in a green thread runs the destructors of its worker's thread-locals while other green threads of the worker are
//!   suspended. One that suspends there lets them go on without their thread-locals, which is undefined behaviour if
//!   they borrow from one: leave by returning from `main` where destructors of thread-locals wait for something.
//! * A green thread that blocks while it unwinds from a panic (a destructor that does I/O) blocks its worker for that time,
//!   because std counts panics by OS thread.

mod blocking;

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::num::NonZero;
use std::panic::{RefUnwindSafe, UnwindSafe, resume_unwind};
use std::process::abort;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::report;
use crate::runtime::cell::TaskRef;
use crate::runtime::park::{self, Waiter};
use crate::runtime::task::{Settings, Task};
use crate::runtime::{self, Shared, interrupt, worker};
use crate::stack;

pub use crate::runtime::interrupt::Cancelled;
pub(crate) use blocking::spawn_blocking_in;
pub use blocking::{BlockingHandle, blocking, spawn_blocking};
pub use std::thread::{available_parallelism, panicking};

/// What a green thread ended with: its value, or the payload of its panic.
pub type Result<T> = std::result::Result<T, Box<dyn Any + Send + 'static>>;

/// Spawns a green thread; as [`std::thread::spawn`], but it runs on one of the workers.
///
/// The runtime is started if it was not. The new green thread first runs when a worker is free for it: the spawner goes on
/// without being suspended. Its stack has [`stack::DEFAULT_SIZE`]; see [`Builder`] for another.
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

/// The settings of a green thread to be spawned; as [`std::thread::Builder`].
///
/// # Examples
///
/// ```
/// let builder = corde::thread::Builder::new().name("parser".into()).stack_size(1 << 20);
/// let handle = builder.spawn(|| corde::thread::current().name().map(str::to_owned))?;
/// assert_eq!(handle.join().unwrap().as_deref(), Some("parser"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder {
    name: Option<Box<str>>,
    stack_size: Option<usize>,
}

impl Builder {
    /// Makes a builder with the default settings: no name, a stack of [`stack::DEFAULT_SIZE`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the name that reports and [`Thread::name`] show.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name.into_boxed_str());
        self
    }

    /// Sets the size of the stack in bytes, which is rounded up to whole pages and to [`stack::MIN_SIZE`].
    pub fn stack_size(mut self, size: usize) -> Builder {
        self.stack_size = Some(size);
        self
    }

    /// Spawns the green thread.
    ///
    /// # Errors
    ///
    /// If the workers cannot be started, or the size of the stack is impossible. The stack itself is taken when the
    /// green thread first runs: if it cannot be had then, the closure is dropped and [`JoinHandle::join`] returns an error
    /// whose payload is an [`io::Error`] that names the limit; a line on standard error tells of it, too.
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: everything is 'static.
        unsafe { self.spawn_unchecked(runtime::current()?, f) }
    }

    /// Spawns a green thread that may borrow.
    ///
    /// # Safety
    /// The green thread has been joined before anything that `f` or `T` borrows ends.
    pub(crate) unsafe fn spawn_unchecked<F, T>(
        self,
        shared: &'static Shared,
        f: F,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let settings = self.settings(shared)?;
        // SAFETY: passed on: `join` returns when the task is done, with its output.
        let (task, fresh) = unsafe { Task::fresh(shared, settings, f) };
        shared.spawn(fresh);
        Ok(JoinHandle::new(task))
    }

    /// Spawns a green thread that stays on the calling worker, so that neither `f` nor its result need be `Send`. The caller has to be
    /// a green thread itself.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] if the caller is no green thread; otherwise as [`spawn`](Builder::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let count = Rc::new(1);
    ///     let theirs = count.clone();
    ///     let named = corde::thread::Builder::new().name("near".into());
    ///     assert_eq!(named.spawn_local(move || *theirs + 1)?.join().unwrap(), 2);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<LocalJoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let Some((worker, _)) = worker::current_green() else {
            let message = "only a green thread can spawn a local one";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        };
        let settings = self.settings(worker.shared())?;
        // SAFETY: everything is 'static. It runs on this worker, whose queue it gets into; its output is taken on this OS thread, as the
        // handle does not leave that, by `join` or when the handle is dropped; a task whose handle is gone drops its output itself.
        let (task, runnable) = unsafe { Task::fresh_here(worker.shared(), settings, f) };
        worker.push_local(runnable);
        Ok(LocalJoinHandle {
            handle: ManuallyDrop::new(JoinHandle::new(task)),
            _not_send: PhantomData,
        })
    }

    fn settings(self, shared: &'static Shared) -> io::Result<Settings> {
        let stack_size = match self.stack_size {
            Some(size) => stack::rounded_size(size)?,
            None => shared.stack_size,
        };
        Ok(Settings {
            name: self.name,
            stack_size,
        })
    }
}

/// Tells of a green thread that could not get a stack.
pub(crate) fn report_refused(name: Option<&str>, error: &io::Error) {
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    // Where one is refused, thousands may be.
    let refused = REFUSED.fetch_add(1, Ordering::Relaxed) + 1;
    if refused.is_power_of_two() {
        let name = name.unwrap_or("<unnamed>");
        report::line(format_args!(
            "green thread '{name}' could not start (refused so far: {refused}): {error}"
        ));
    }
}

/// The right to wait for a green thread and to take its result; as [`std::thread::JoinHandle`].
///
/// Dropping it detaches the green thread.
pub struct JoinHandle<T> {
    thread: Thread,
    _result: PhantomData<T>,
}

// As std's: it hands the result over, once.
// SAFETY: it gives no access to the result but by value, to its owner; the rest is Send and Sync.
unsafe impl<T> Send for JoinHandle<T> {}
// SAFETY: as for Send.
unsafe impl<T> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    fn new(task: TaskRef) -> JoinHandle<T> {
        JoinHandle {
            thread: Thread {
                waiter: Waiter::Green(task),
            },
            _result: PhantomData,
        }
    }

    /// Waits for the green thread to end, suspending the calling one, and returns its result.
    ///
    /// # Errors
    ///
    /// The payload of its panic, if it panicked; [`Cancelled`], if it was [cancelled](JoinHandle::cancel); an [`io::Error`], if it could not
    /// get a stack.
    ///
    /// # Panics
    ///
    /// If it is the calling green thread itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let panicking = corde::thread::spawn(|| panic!("alone"));
    /// assert_eq!(panicking.join().unwrap_err().downcast_ref(), Some(&"alone"));
    /// ```
    pub fn join(mut self) -> Result<T> {
        self.wait();
        // SAFETY: there is one handle for a task, and this is it, used up; the task is done, and returns a `T`.
        unsafe { self.task().take_output() }
    }

    fn wait(&mut self) {
        let task = self.task();
        if worker::current_green().is_some_and(|(_, current)| ptr::eq(current, &**task)) {
            panic!("a green thread joined itself");
        }
        // SAFETY: there is one handle for a task, and this is it.
        unsafe { task.wait_until_done() };
    }

    /// Returns whether the green thread has ended: [`join`](JoinHandle::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.task().is_done()
    }

    /// Asks the green thread to end: it unwinds where it next suspends, or where it is suspended now, so that its destructors run.
    ///
    /// Does not wait for that; [`join`](JoinHandle::join) does, and returns [`Cancelled`] as the error. A green thread that has not begun never
    /// does. One that computes without suspending, or is inside of [`without_cancel`], ends later. No panic is reported, and what it was
    /// granted while it waited (a lock, a message) is not lost: a wait that has been answered returns, and the next one unwinds. A
    /// body that catches the unwind meets it again at its next suspension.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let server = corde::thread::spawn(move || while listener.accept().is_ok() {});
    /// server.cancel();
    /// assert!(server.join().unwrap_err().is::<corde::thread::Cancelled>());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(&self) {
        self.task().cancel();
    }

    /// Returns a handle to the green thread itself.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    fn task(&self) -> &TaskRef {
        match &self.thread.waiter {
            Waiter::Green(task) => task,
            Waiter::Os(_) => unreachable!("only green threads are spawned"),
        }
    }
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

/// The right to wait for a green thread that was [spawned locally](spawn_local); stays on its OS thread.
///
/// Dropping it detaches the green thread, whose result is dropped on its worker.
pub struct LocalJoinHandle<T> {
    handle: ManuallyDrop<JoinHandle<T>>,
    _not_send: PhantomData<*const ()>,
}

impl<T> LocalJoinHandle<T> {
    /// As [`JoinHandle::join`].
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`].
    ///
    /// # Panics
    ///
    /// If it is the calling green thread itself.
    pub fn join(self) -> Result<T> {
        let mut this = self;
        this.handle.wait();
        let this = ManuallyDrop::new(this);
        // SAFETY: `this` is not used again.
        let handle = unsafe { ptr::read(&this.handle) };
        ManuallyDrop::into_inner(handle).join()
    }

    /// As [`JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// As [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// As [`JoinHandle::thread`].
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }
}

impl<T> Drop for LocalJoinHandle<T> {
    fn drop(&mut self) {
        let task = self.handle.task();
        if task.is_done() {
            // SAFETY: there is one handle for a task, and this is it; the task is done, and returns a `T`.
            drop(unsafe { task.take_output::<T>() });
        } else {
            task.drop_output_at_end();
        }
        // SAFETY: it is not used again.
        unsafe { ManuallyDrop::drop(&mut self.handle) };
    }
}

impl<T> fmt::Debug for LocalJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalJoinHandle")
            .field("thread", self.thread())
            .finish_non_exhaustive()
    }
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

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

/// A handle to a thread, green or not; as [`std::thread::Thread`].
#[derive(Clone)]
pub struct Thread {
    waiter: Waiter,
}

// As std's: nothing that a panic could leave half done can be seen through a handle.
impl RefUnwindSafe for Thread {}
impl UnwindSafe for Thread {}

impl Thread {
    /// Returns its identifier, which no other thread of the process ever has.
    #[must_use]
    pub fn id(&self) -> ThreadId {
        self.waiter.id()
    }

    /// Returns its name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.waiter.name()
    }

    /// Makes its token available: its current or next [`park`] returns. May be called from any thread, green or not.
    ///
    /// # Examples
    ///
    /// ```
    /// let parked = corde::thread::spawn(corde::thread::park);
    /// parked.thread().unpark();
    /// parked.join().unwrap();
    /// ```
    pub fn unpark(&self) {
        // Release: whoever takes the token sees what came before.
        if !self.waiter.token().swap(true, Ordering::Release) {
            self.waiter.wake();
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Identifies a thread for the life of the process; as [`std::thread::ThreadId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadId(NonZero<u64>);

impl ThreadId {
    pub(crate) fn next() -> ThreadId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        ThreadId(NonZero::new(id).expect("2^64 threads take centuries to spawn"))
    }

    /// The identifier as a number, as reports show it.
    pub(crate) fn as_u64(self) -> NonZero<u64> {
        self.0
    }
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
    match worker::current_green() {
        Some((worker, task)) => {
            while !take(&task.token) {
                worker.park(task);
            }
        }
        None => {
            let me = Waiter::current();
            while !take(me.token()) {
                park::park();
            }
        }
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
            "an OS thread panicked while it waited in `run`, aborting"
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
    // To unwind from here while `f` runs would end what it borrows, and std's handle of an OS thread panics in the thread's very
    // last destructors. Nor may an interrupt strike.
    let guard = AbortIfPanic;
    let result = interrupt::masked(|| handle.join());
    mem::forget(guard);
    result.unwrap_or_else(|payload| resume_unwind(payload))
}
