//! The settings of green threads.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::handle::{JoinHandle, LocalJoinHandle};
use super::scope::{Scope, ScopedJoinHandle};
use crate::report;
use crate::runtime::cell::TaskRef;
use crate::runtime::extras::Extras;
use crate::runtime::task::{Settings, Task};
use crate::runtime::{self, Shared, worker};
use crate::stack;

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
    migratable: bool,
}

impl Builder {
    /// Makes a builder with the default settings: no name, a stack of [`stack::DEFAULT_SIZE`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the name that reports and [`Thread::name`](super::Thread::name) show.
    ///
    /// # Panics
    ///
    /// As with std, spawning panics if there is a null byte in it.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name.into_boxed_str());
        self
    }

    /// Sets the size of the stack in bytes, which is rounded up to whole pages and to [`stack::MIN_SIZE`].
    pub fn stack_size(mut self, size: usize) -> Builder {
        self.stack_size = Some(size);
        self
    }

    /// Sets whether the green thread may move to another worker of its runtime whenever it is suspended. If it is not set, it stays on the one
    /// that it begins on.
    ///
    /// For few green threads with much to do each: those that compute, and yield in between, or whose work grows after they have begun. An idle
    /// worker takes one that yields or is woken over from a busy one. The price is that each of its yields, parks and wake-ups is atomic
    /// (some tens of nanoseconds more) and may wake another worker (microseconds). Others are not concerned.
    ///
    /// It stays on its worker for a time
    ///
    /// * in a wait with a deadline: [`sleep`](super::sleep), [`park_timeout`](super::park_timeout). It goes on where it began to wait;
    /// * inside of a [`timeout`](crate::time::timeout), [`try_scope`](super::try_scope), [`run_until_cancelled`](super::CancelToken::run_until_cancelled)
    ///   or [`without_cancel`](super::without_cancel), and in [`blocking`](super::blocking);
    /// * while it unwinds from a panic or a cancellation.
    ///
    /// A socket, too, is reported by the worker on which it was first waited for; whoever waits may be anywhere. In a runtime with one worker
    /// all this changes nothing. It cannot spawn [local](super::spawn_local) green threads, and [`spawn_local`](Builder::spawn_local) takes no notice of this.
    ///
    /// # Safety
    ///
    /// The compiler and the libraries take for granted that a function stays on its OS thread. So at each suspension (whatever waits or yields in corde;
    /// [`thread`](super) names them) the frames of the green thread hold nothing that belongs to an OS thread:
    ///
    /// * no value that is not `Send`, in its own frames, in those of coroutines that it has suspended, or among its [own values](crate::green_local):
    ///   an `Rc` of which others have clones, a guard of [`std::sync::Mutex`]. (An `Rc` all of whose clones are there moves along, and does no harm.)
    ///   Nor has it left a coroutine that has run in it to others of the worker;
    /// * no borrow of a thread-local, and no scope of a library that keeps something in one ("the current context");
    /// * no address of a thread-local that the compiler keeps. A function that uses one, and then suspends, and then uses it again may do that, and
    ///   functions that are inlined count as one. Put such uses into functions with `#[inline(never)]` that do not suspend. It concerns the
    ///   thread-locals of libraries, too, where they are inlined: `HashMap::new` of `std` takes its keys from one. corde's own functions
    ///   may be used on both sides of a suspension.
    /// * no foreign function that relies on its thread: errno read after a suspension, locks that their thread has to release.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Builder};
    ///
    /// fn is_prime(number: u64) -> bool {
    ///     (2..number).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0)
    /// }
    ///
    /// // SAFETY: numbers are all that it has in its frames when it yields.
    /// let counting = unsafe { Builder::new().migratable(true) }.spawn(|| {
    ///     (2..10_000).filter(|&number| { thread::yield_if_due(); is_prime(number) }).count()
    /// })?;
    /// assert_eq!(counting.join().unwrap(), 1229);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub unsafe fn migratable(mut self, migratable: bool) -> Builder {
        self.migratable = migratable;
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
    /// Before anything ends that `f` or `T` borrows, `f` has returned or been dropped, and its result has been taken or dropped.
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
        // SAFETY: passed on.
        Ok(unsafe { spawn_with(shared, settings, f, |_| ()) })
    }

    /// Spawns a green thread that stays on the calling worker, so that neither `f` nor its result need be `Send`. The caller has to be
    /// a green thread itself, and one that stays there, too.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] if the caller is no green thread, or a [migratable](Builder::migratable) one; otherwise as [`spawn`](Builder::spawn).
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
        let unsupported = |message| Err(io::Error::new(io::ErrorKind::Unsupported, message));
        let Some((worker, task)) = worker::current_green() else {
            return unsupported("only a green thread can spawn a local one");
        };
        if task.is_migratable() {
            return unsupported("a migratable green thread cannot spawn a local one");
        }
        let settings = Settings {
            migratable: false,
            ..self.settings(worker.shared())?
        };
        // SAFETY: everything is 'static. It runs on this worker, whose queue it gets into; its output is taken on this OS thread, as the
        // handle does not leave that, by `join` or when the handle is dropped; a task whose handle is gone drops its output itself.
        let (task, runnable) = unsafe { Task::fresh_here(worker.shared(), settings, f) };
        worker.push_local(runnable);
        Ok(LocalJoinHandle::new(task))
    }

    /// Spawns a green thread in a scope, which may borrow from outside of it; as [`std::thread::Builder::spawn_scoped`].
    ///
    /// # Errors
    ///
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Builder};
    ///
    /// let words = ["one", "two"];
    /// let total = thread::scope(|scope| {
    ///     let counter = Builder::new().name("counter".into());
    ///     let counting = counter.spawn_scoped(scope, || words.iter().map(|word| word.len()).sum::<usize>())?;
    ///     std::io::Result::Ok(counting.join().unwrap())
    /// })?;
    /// assert_eq!(total, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        scope.spawn_with(self, f)
    }

    pub(super) fn settings(self, shared: &'static Shared) -> io::Result<Settings> {
        if self.name.as_deref().is_some_and(|name| name.contains('\0')) {
            panic!("thread name may not contain interior null bytes");
        }
        let stack_size = match self.stack_size {
            Some(size) => stack::rounded_size(size)?,
            None => shared.stack_size,
        };
        Ok(Settings {
            extras: Extras::of_child(self.name),
            stack_size,
            migratable: self.migratable && shared.workers.len() > 1,
        })
    }
}

/// Spawns a green thread that may borrow; `announce` sees it before it can begin.
///
/// # Safety
/// As [`Builder::spawn_unchecked`].
pub(super) unsafe fn spawn_with<F, T>(
    shared: &'static Shared,
    settings: Settings,
    f: F,
    announce: impl FnOnce(&TaskRef),
) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    // SAFETY: passed on.
    let (task, fresh) = unsafe { Task::fresh(shared, settings, f) };
    announce(&task);
    shared.spawn(fresh);
    JoinHandle::new(task)
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
