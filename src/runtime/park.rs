//! Waiting and waking, the same for green threads and OS threads: what every wait in corde is made of.
//!
//! A wait has three steps: put a [`Waiter`] where the waker will find it, [`park`] until the condition holds, take the
//! waiter back. A wake-up that comes before the park makes it return at once. A park may also return without reason
//! (std's threads do, and a thread may be woken late for an earlier wait), so every caller looks at its condition again.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::cell::TaskRef;
use super::interrupt::{self, Interrupt};
use super::{forked, worker};
use crate::thread::ThreadId;

/// A thread, green or not, that can be woken.
#[derive(Clone)]
pub(crate) enum Waiter {
    Green(TaskRef),
    Os(Arc<OsThread>),
}

/// An OS thread that is not running a green thread.
pub(crate) struct OsThread {
    pub(crate) id: ThreadId,
    pub(crate) name: Option<Box<str>>,
    pub(crate) token: AtomicBool,
    thread: thread::Thread,
}

impl OsThread {
    fn current() -> Arc<OsThread> {
        let thread = thread::current();
        let name = thread.name().map(Box::from);
        Arc::new(OsThread {
            id: ThreadId::next(),
            name,
            token: AtomicBool::new(false),
            thread,
        })
    }
}

impl Waiter {
    /// The thread that calls.
    pub(crate) fn current() -> Waiter {
        thread_local! {
            static OS_THREAD: OnceCell<Arc<OsThread>> = const { OnceCell::new() };
        }
        match worker::current_task() {
            Some(task) => Waiter::Green(task),
            // While the thread's locals are being destroyed it gets an identity for each call.
            None => Waiter::Os(
                OS_THREAD
                    .try_with(|cell| cell.get_or_init(OsThread::current).clone())
                    .unwrap_or_else(|_| OsThread::current()),
            ),
        }
    }

    /// Makes the thread's current or next [`park`] return.
    pub(crate) fn wake(&self) {
        match self {
            Waiter::Green(task) => task.wake(),
            Waiter::Os(os) => os.thread.unpark(),
        }
    }

    pub(crate) fn id(&self) -> ThreadId {
        match self {
            Waiter::Green(task) => task.id,
            Waiter::Os(os) => os.id,
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Waiter::Green(task) => task.name(),
            Waiter::Os(os) => os.name.as_deref(),
        }
    }

    /// The token of `thread::park`.
    pub(crate) fn token(&self) -> &AtomicBool {
        match self {
            Waiter::Green(task) => &task.token,
            Waiter::Os(os) => &os.token,
        }
    }
}

/// Blocks the calling thread until it is woken; a green thread lets others run meanwhile.
///
/// An interrupt strikes here (interrupt.rs): whoever waits has to clear up when it unwinds.
pub(crate) fn park() {
    try_park(None).unwrap_or_else(|interrupt| interrupt.strike());
}

/// Like [`park`], until `deadline` at most. Whether that has passed is for the caller to see.
pub(crate) fn park_until(deadline: Instant) {
    try_park(Some(deadline)).unwrap_or_else(|interrupt| interrupt.strike());
}

/// Like [`park`], until `deadline` at most if there is one, but does not unwind.
///
/// # Errors
/// What is to strike here. The caller may find that it has got what it waits for, and go on.
#[inline]
pub(crate) fn try_park(deadline: Option<Instant>) -> Result<(), Interrupt> {
    match (worker::current_green(), deadline) {
        (Some((worker, task)), None) => worker.park(task),
        (Some((worker, task)), Some(deadline)) => worker.park_until(task, deadline),
        (None, _) => park_os_thread(deadline),
    }
}

fn park_os_thread(deadline: Option<Instant>) -> Result<(), Interrupt> {
    forked::check();
    let limit = interrupt::limit_of_os_thread()?;
    match limit.into_iter().chain(deadline).min() {
        Some(until) => {
            thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        None => thread::park(),
    }
    Ok(())
}

/// Blocks the calling OS thread, which runs no green thread, in `wait`, which gets the longest time that it may take; none if `deadline` has passed.
///
/// A limit of the thread strikes here. Who waits longer calls it again.
pub(crate) fn block<R>(
    deadline: Option<Instant>,
    wait: impl FnOnce(Option<Duration>) -> R,
) -> Option<R> {
    forked::check();
    let limit = interrupt::limit_of_os_thread().unwrap_or_else(|it| it.strike());
    let now = Instant::now();
    if deadline.is_some_and(|deadline| deadline <= now) {
        return None;
    }
    let until = limit.into_iter().chain(deadline).min();
    Some(wait(
        until.map(|until| until.saturating_duration_since(now)),
    ))
}

/// Lets others run, if the calling green thread has run for long.
#[inline(always)]
pub(crate) fn yield_if_due() {
    if let Some((worker, task)) = worker::current_green() {
        worker.yield_if_due(task);
    }
}

/// Lets others run: green threads of the same worker, or other OS threads.
#[inline(always)]
pub(crate) fn yield_now() {
    match worker::current_green() {
        Some((worker, task)) => worker.yield_now(task),
        None => thread::yield_now(),
    }
}
