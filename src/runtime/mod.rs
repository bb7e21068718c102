//! The scheduler: green threads, M of them, on N worker threads.
//!
//! | file | its job |
//! | --- | --- |
//! | `mod.rs` | the process-wide runtime: starting it, handing green threads in |
//! | `worker.rs` | a worker's loop: what runs next, when to look at the reactor, when to sleep |
//! | `task.rs` | a green thread: its states, its body, its coroutine |
//! | `cell.rs` | the memory of a green thread: header, closure, result |
//! | `interrupt.rs` | cancellation and time limits: unwinding out of a wait |
//! | `park.rs` | suspending and waking, from green threads and OS threads alike |
//! | `inbox.rs` | green threads that other threads have woken |
//! | `idle.rs` | which workers sleep, and whom to wake when there is something to steal |
//! | `timer.rs` | green threads that wait for a moment |
//!
//! `README.md` beside this file tells the protocols and why they lose no wake-up.

pub(crate) mod cell;
mod idle;
mod inbox;
pub(crate) mod interrupt;
pub(crate) mod park;
pub(crate) mod task;
mod timer;
pub(crate) mod worker;

use std::env;
use std::io;
use std::num::NonZero;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use crossbeam_deque::{Injector, Steal, Stealer};
use crossbeam_utils::CachePadded;

use crate::reactor::Reactor;
use crate::stack::overflow;
use idle::Idle;
use inbox::Inbox;
use task::Runnable;
use worker::Worker;

/// What all threads may touch of a runtime.
pub(crate) struct Shared {
    pub(crate) workers: Box<[CachePadded<Remote>]>,
    /// Fresh green threads that came from outside of the workers.
    injector: Injector<Runnable>,
    idle: Idle,
}

/// What all threads may touch of one worker.
pub(crate) struct Remote {
    pub(crate) reactor: Reactor,
    pub(crate) inbox: Inbox,
    /// Started green threads that have not ended. Written by the worker alone.
    live: AtomicUsize,
    /// The thief's end of the worker's queue of fresh green threads.
    stealer: Stealer<Runnable>,
}

/// The process-wide runtime; started when first asked for, never stopped.
///
/// # Errors
/// When epoll instances or OS threads cannot be had, or `CORDE_WORKERS` is no number from 1 to [`MAX_WORKERS`].
pub(crate) fn global() -> io::Result<&'static Shared> {
    static GLOBAL: OnceLock<&'static Shared> = OnceLock::new();
    static START: Mutex<()> = Mutex::new(());
    if let Some(shared) = GLOBAL.get() {
        return Ok(shared);
    }
    let _starting = START.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = GLOBAL.get() {
        return Ok(shared);
    }
    let shared = Shared::start(worker_count()?)?;
    Ok(GLOBAL.get_or_init(|| shared))
}

/// Workers that a runtime has at most.
const MAX_WORKERS: usize = 1024;

fn worker_count() -> io::Result<usize> {
    match env::var_os("CORDE_WORKERS") {
        None => Ok(thread::available_parallelism().map_or(1, NonZero::get)),
        Some(value) => match value.to_str().and_then(|text| text.parse().ok()) {
            Some(count @ 1..=MAX_WORKERS) => Ok(count),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("CORDE_WORKERS={value:?} is not a number from 1 to {MAX_WORKERS}"),
            )),
        },
    }
}

impl Shared {
    fn start(count: usize) -> io::Result<&'static Shared> {
        overflow::set_describe(worker::describe_overflow);
        let mut queues = Vec::with_capacity(count);
        let mut remotes = Vec::with_capacity(count);
        for _ in 0..count {
            let queue = crossbeam_deque::Worker::new_fifo();
            let stealer = queue.stealer();
            let reactor = Reactor::new()
                .map_err(|error| cannot_start("an epoll instance and an eventfd", &error))?;
            remotes.push(CachePadded::new(Remote {
                reactor,
                inbox: Inbox::new(),
                live: AtomicUsize::new(0),
                stealer,
            }));
            queues.push(queue);
        }
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            workers: remotes.into_boxed_slice(),
            injector: Injector::new(),
            idle: Idle::new(),
        }));
        for (index, queue) in queues.into_iter().enumerate() {
            thread::Builder::new()
                .name(format!("corde-worker-{index}"))
                .spawn(move || Worker::run(shared, index, queue))
                .map_err(|error| cannot_start("an OS thread", &error))?;
        }
        Ok(shared)
    }

    /// Takes in a fresh green thread.
    pub(crate) fn spawn(&'static self, fresh: Runnable) {
        match worker::current() {
            Some(worker) if worker.belongs_to(self) => worker.push_fresh(fresh),
            _ => self.injector.push(fresh),
        }
        self.wake_searcher();
    }

    /// Wakes a sleeping worker to look for fresh green threads, unless one is looking already.
    fn wake_searcher(&self) {
        if let Some(index) = self.idle.assign_searcher() {
            self.workers[index].reactor.notify();
        }
    }

    /// Steals a fresh green thread for worker `thief`: from outside first, then from the other workers.
    fn steal(&self, thief: usize, queue: &crossbeam_deque::Worker<Runnable>) -> Option<Runnable> {
        let count = self.workers.len();
        let from_injector = || self.injector.steal_batch_and_pop(queue);
        let from_others = (1..count).map(|offset| &self.workers[(thief + offset) % count].stealer);
        retrying(from_injector).or_else(|| {
            from_others
                .into_iter()
                .find_map(|other| retrying(|| other.steal_batch_and_pop(queue)))
        })
    }

    /// Moves fresh green threads that came from outside to `queue`, some at a time; returns whether there were any.
    fn take_injected(&self, queue: &crossbeam_deque::Worker<Runnable>) -> bool {
        !self.injector.is_empty() && retrying(|| self.injector.steal_batch(queue)).is_some()
    }

    /// Returns whether there may be a fresh green thread anywhere.
    fn has_fresh(&self) -> bool {
        !self.injector.is_empty() || self.workers.iter().any(|remote| !remote.stealer.is_empty())
    }
}

/// Steals until the answer is definite.
fn retrying<T>(mut steal: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(value) => return Some(value),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

fn cannot_start(what: &str, error: &io::Error) -> io::Error {
    let message = format!("corde cannot start its workers: it could not get {what}: {error}");
    io::Error::new(error.kind(), message)
}
