//! Handles of threads: to wait for them, to end them, to wake them, to tell them apart.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Result;
use crate::runtime::cell::TaskRef;
use crate::runtime::park::Waiter;
use crate::runtime::worker;

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
    pub(super) fn new(task: TaskRef) -> JoinHandle<T> {
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
    /// The payload of its panic, if it panicked; [`Cancelled`](super::Cancelled), if it was [cancelled](JoinHandle::cancel); an [`io::Error`](std::io::Error), if it could not
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
    ///
    /// For a limited time, by [`select!`](crate::select), which leaves the handle where it is if the green thread has not ended by then:
    ///
    /// ```
    /// use corde::{select, thread};
    /// use corde::time::Duration;
    ///
    /// let mut stuck = thread::spawn(|| loop { thread::park() });
    /// let result: thread::Result<()> = loop {
    ///     select! {
    ///         join(stuck) -> result => break result,
    ///         default(Duration::from_millis(5)) => stuck.cancel(),
    ///     }
    /// };
    /// assert!(result.unwrap_err().is::<thread::Cancelled>());
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
    /// Does not wait for that; [`join`](JoinHandle::join) does, and returns [`Cancelled`](super::Cancelled) as the error. A green thread that has not begun never
    /// does. One that computes without suspending, or is inside of [`without_cancel`](super::without_cancel), ends later. No panic is reported, and what it was
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

    pub(crate) fn task(&self) -> &TaskRef {
        match &self.thread.waiter {
            Waiter::Green(task) => task,
            Waiter::Os(_) => unreachable!("only green threads are spawned"),
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

/// The right to wait for a green thread that was [spawned locally](super::spawn_local); stays on its OS thread.
///
/// Dropping it detaches the green thread, whose result is dropped on its worker.
pub struct LocalJoinHandle<T> {
    handle: ManuallyDrop<JoinHandle<T>>,
    _not_send: PhantomData<*const ()>,
}

impl<T> LocalJoinHandle<T> {
    pub(super) fn new(task: TaskRef) -> LocalJoinHandle<T> {
        LocalJoinHandle {
            handle: ManuallyDrop::new(JoinHandle::new(task)),
            _not_send: PhantomData,
        }
    }

    pub(crate) fn handle(&self) -> &JoinHandle<T> {
        &self.handle
    }

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
            // SAFETY: there is one handle for a task, and this is it; the task is done.
            unsafe { task.discard_output() };
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

/// A handle to a thread, green or not; as [`std::thread::Thread`].
#[derive(Clone)]
pub struct Thread {
    pub(super) waiter: Waiter,
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

    /// Makes its token available: its current or next [`park`](super::park) returns. May be called from any thread, green or not.
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
