//! The scheduler: green threads, M of them, on N worker threads.
//!
//! A program needs nothing of this: green threads run on the process-wide runtime, which starts by itself. Who wants another one, with
//! settings of its own and an end, makes a [`Runtime`] by its [`Builder`]; or a [`LocalRuntime`], all of which happens on the calling
//! thread.
//!
//! | file | its job |
//! | --- | --- |
//! | `mod.rs` | what all threads of a runtime share; the process-wide one; ending |
//! | `builder.rs`, `handle.rs`, `local.rs` | what users see: settings; runtimes with workers; one on the calling thread |
//! | `worker.rs` | a worker's loop: what runs next, when to look at the reactor, when to sleep |
//! | `task.rs` | a green thread: its states, its body, its coroutine |
//! | `blocking.rs`, `job.rs` | OS threads for closures that block, and what they are given |
//! | `cell.rs` | the memory of a green thread: header, closure, result |
//! | `interrupt.rs` | cancellation and time limits: unwinding out of a wait |
//! | `park.rs` | suspending and waking, from green threads and OS threads alike |
//! | `inbox.rs` | green threads that other threads have woken |
//! | `idle.rs` | which workers sleep, and whom to wake when there is something to steal |
//! | `chaos.rs` | disorder on purpose, for stress tests |
//! | `forked.rs` | noticing that the process is a fork, without its workers |
//! | `migratable.rs` | green threads that go on on any worker |
//! | `started.rs` | the green threads of a worker that have begun and not ended |
//! | `timer.rs` | green threads that wait for a moment |
//! | `monitor.rs`, `trace.rs` | noticing that a worker is stuck; asking it what it runs |
//! | `panics.rs` | panics: whose they were, and those that nobody hears of |
//!
//! `README.md` beside this file tells the protocols and why they lose no wake-up.

pub(crate) mod bindings;
pub(crate) mod blocking;
mod builder;
pub(crate) mod cell;
mod chaos;
pub(crate) mod extras;
pub(crate) mod forked;
mod handle;
mod idle;
mod inbox;
pub(crate) mod interrupt;
mod job;
mod local;
pub(crate) mod locals;
pub(crate) mod lock;
mod migratable;
mod monitor;
mod panics;
pub(crate) mod park;
mod started;
mod sys;
pub(crate) mod task;
mod timer;
mod trace;
pub(crate) mod wait_list;
pub(crate) mod worker;

use std::env;
use std::io;
use std::num::NonZero;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_deque::{Injector, Steal, Stealer};
use crossbeam_utils::CachePadded;

use crate::reactor::{self, Reactor};
use crate::stack::{self, overflow};
use blocking::Pool;
pub use builder::Builder;
use builder::Hook;
pub use handle::{Handle, Leftover, Runtime, ShutdownReport};
use idle::Idle;
use inbox::{Inbox, Place};
pub use local::LocalRuntime;
use migratable::Migratables;
use monitor::Monitor;
pub use panics::PanicPolicy;
use task::Runnable;

/// What all threads may touch of a runtime.
///
/// Lives until its workers have ended and its handles are gone; for ever, if green threads were left behind, as whoever wakes them
/// comes here.
pub(crate) struct Shared {
    pub(crate) workers: Box<[CachePadded<Remote>]>,
    /// Green threads that came from outside of the workers, for any of them: fresh ones, and migratable ones that were woken.
    injector: Injector<Runnable>,
    idle: Idle,
    /// Those that have begun and not ended.
    migratables: Migratables,
    phase: AtomicU8,
    /// One for each worker, one for all handles together, one for the monitor, one for each panic that nobody has heard of yet.
    uses: AtomicUsize,
    monitor: Monitor,
    panic_policy: PanicPolicy,
    ending: Mutex<Ending>,
    /// Somebody waits for the workers to end.
    ended: Condvar,
    /// Size in bytes of the stacks of green threads that ask for none.
    pub(crate) stack_size: usize,
    /// Its OS threads for what blocks.
    pub(crate) blocking: Arc<Pool>,
    on_thread_start: Option<Hook>,
    on_thread_stop: Option<Hook>,
}

/// It runs.
const OPEN: u8 = 0;

/// Green threads are cancelled, fresh ones do not begin, workers end when theirs have ended.
const CLOSING: u8 = 1;

/// The time is over: workers end, and leave behind what is parked.
const ABANDONING: u8 = 2;

/// All workers have ended: nobody looks into the queues any more.
const CLOSED: u8 = 3;

/// How far the workers have got with ending.
#[derive(Default)]
struct Ending {
    ended: usize,
    left: Vec<Leftover>,
}

/// What all threads may touch of one worker.
pub(crate) struct Remote {
    /// Sockets that were registered with it keep it beyond the worker's end.
    pub(crate) reactor: Arc<Reactor>,
    pub(crate) inbox: Inbox,
    /// Turns so far, modulo 2^32: stands still while a green thread keeps the worker. Written by the worker alone.
    turn: AtomicU32,
    /// Started green threads that have not ended. Written by the worker alone.
    live: AtomicUsize,
    /// Fresh ones that others have put into its inbox.
    placed: AtomicUsize,
    /// Its OS thread has left its loop.
    ended: AtomicBool,
    thread: monitor::WorkerThread,
    /// The fresh green thread that the worker has spawned last, or the migratable one that it has woken, which it runs next. Others may steal
    /// it as well.
    newest: Place,
    /// The thief's end of the worker's queue of the others that may move.
    stealer: Stealer<Runnable>,
}

type MovableQueue = crossbeam_deque::Worker<Runnable>;

/// The process-wide runtime; started when first asked for, never stopped.
///
/// # Errors
/// When file descriptors for the reactors or OS threads cannot be had, or `CORDE_WORKERS` or `CORDE_STACK_SIZE` make no sense.
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
    let shared = Builder::new().start()?;
    Ok(GLOBAL.get_or_init(|| shared))
}

/// The runtime that the calling thread is in: that of the worker, or else the process-wide one.
pub(crate) fn current() -> io::Result<&'static Shared> {
    forked::check();
    match worker::current() {
        Some(worker) => Ok(worker.shared()),
        None => global(),
    }
}

/// Workers that a runtime has at most.
const MAX_WORKERS: usize = 1024;

/// Workers of a runtime that is not told how many.
fn default_workers() -> io::Result<usize> {
    let found = variable("CORDE_WORKERS", |&count| (1..=MAX_WORKERS).contains(&count));
    let found = found.map_err(|text| {
        let message = format!("CORDE_WORKERS={text:?} is not a number from 1 to {MAX_WORKERS}");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    });
    Ok(found?.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)))
}

/// Size in bytes of the stacks in a runtime that is not told which.
fn default_stack_size() -> io::Result<usize> {
    let found = variable("CORDE_STACK_SIZE", |&size| {
        stack::rounded_size(size).is_ok()
    });
    let found = found.map_err(|text| {
        let message =
            format!("CORDE_STACK_SIZE={text:?} is not a possible size of a stack in bytes");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    });
    Ok(found?.unwrap_or(stack::DEFAULT_SIZE))
}

/// Reads a number from the environment; an error is the text that is none, or none that will do.
fn variable<T: FromStr>(name: &str, will_do: impl FnOnce(&T) -> bool) -> Result<Option<T>, String> {
    let Some(value) = env::var_os(name) else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    match text.parse().ok().filter(will_do) {
        Some(number) => Ok(Some(number)),
        None => Err(text.into_owned()),
    }
}

impl Remote {
    /// How many green threads it has to care for: started ones, and fresh ones on their way.
    fn load(&self) -> usize {
        let placed = self.placed.load(Ordering::Relaxed);
        self.live.load(Ordering::Relaxed) + placed + self.stealer.len()
    }

    /// Gives a fresh green thread to this worker.
    fn place(&self, fresh: Runnable) {
        self.placed.fetch_add(1, Ordering::Relaxed);
        self.inbox.push(fresh.into_task());
        self.reactor.notify();
    }
}

impl Shared {
    /// A reactor for what is waited for outside of the workers.
    pub(crate) fn any_reactor(&'static self) -> &'static Arc<Reactor> {
        &self.workers[0].reactor
    }

    /// Makes a runtime without its workers' threads: for each, the queue of its fresh green threads.
    fn new(settings: &Builder, count: usize) -> io::Result<(&'static Shared, Vec<MovableQueue>)> {
        overflow::set_describe(worker::describe_overflow);
        forked::watch();
        panics::name_green_threads();
        let stack_size = match settings.stack_size {
            Some(size) => stack::rounded_size(size)?,
            None => stack::rounded_size(default_stack_size()?)?,
        };
        let blocking = Pool::new(settings)?;
        let mut queues = Vec::with_capacity(count);
        let mut remotes = Vec::with_capacity(count);
        for _ in 0..count {
            let queue = MovableQueue::new_fifo();
            let stealer = queue.stealer();
            let reactor =
                Reactor::new().map_err(|error| cannot_start(reactor::sys::NEEDS, &error))?;
            remotes.push(CachePadded::new(Remote {
                reactor: Arc::new(reactor),
                inbox: Inbox::new(),
                turn: AtomicU32::new(0),
                live: AtomicUsize::new(0),
                placed: AtomicUsize::new(0),
                newest: Place::new(),
                ended: AtomicBool::new(false),
                thread: monitor::WorkerThread::default(),
                stealer,
            }));
            queues.push(queue);
        }
        let shared = Box::leak(Box::new(Shared {
            workers: remotes.into_boxed_slice(),
            injector: Injector::new(),
            idle: Idle::new(),
            migratables: Migratables::new(),
            phase: AtomicU8::new(OPEN),
            uses: AtomicUsize::new(count + 1),
            monitor: Monitor::new(settings.stuck_after),
            panic_policy: settings.panic_policy,
            ending: Mutex::default(),
            ended: Condvar::new(),
            stack_size,
            blocking,
            on_thread_start: settings.on_thread_start.clone(),
            on_thread_stop: settings.on_thread_stop.clone(),
        }));
        Ok((shared, queues))
    }

    /// Adds a use, for a caller that has got one.
    fn retain(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives one use of the runtime up. With the last one its memory is taken back, unless green
    /// threads were left behind.
    ///
    /// # Safety
    /// Called once for each use, and as the last thing that is done with it. A task that has ended does not count as a use: it never
    /// looks at its runtime again.
    unsafe fn release(&'static self) {
        if self.uses.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let left_behind = self
            .workers
            .iter()
            .any(|it| it.live.load(Ordering::Relaxed) != 0)
            || !self.migratables.is_empty();
        if !left_behind {
            let place = std::ptr::from_ref(self).cast_mut();
            // SAFETY: it came from a box (`new`); nobody uses it any more.
            drop(unsafe { Box::from_raw(place) });
        }
    }

    /// The time's over or not: what the workers have to do.
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn is_closing(&self) -> bool {
        self.phase() != OPEN
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        // Nothing panics between two consistent states.
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on to a later phase, and lets the workers know.
    fn advance(&self, phase: u8) {
        self.phase.fetch_max(phase, Ordering::SeqCst);
        for remote in &self.workers {
            remote.reactor.notify();
        }
        self.blocking.close();
    }

    /// Waits until all workers have ended; false if `deadline` comes first.
    fn wait_for_workers(&self, deadline: Instant) -> bool {
        if worker::current_green().is_some() {
            // A green thread of another runtime: must not block its worker, and the condition variable is for OS threads.
            return interrupt::masked(|| {
                while !self.have_workers_ended() && Instant::now() < deadline {
                    crate::thread::sleep(Duration::from_millis(1));
                }
                self.have_workers_ended()
            });
        }
        let mut ending = self.ending();
        while ending.ended < self.workers.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.ended.wait_timeout(ending, left);
            ending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Notes that a worker has ended, and what it has left behind.
    ///
    /// # Safety
    /// Called once for each worker, as the last thing that it does with the runtime.
    unsafe fn worker_ended(&'static self, index: usize, left: Vec<Leftover>) {
        self.workers[index].ended.store(true, Ordering::Relaxed);
        let mut ending = self.ending();
        ending.ended += 1;
        ending.left.extend(left);
        let last = ending.ended == self.workers.len();
        drop(ending);
        if last {
            self.phase.store(CLOSED, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.refuse_injected();
            self.refuse_placed();
            self.monitor.stop();
        }
        self.ended.notify_all();
        // SAFETY: passed on.
        unsafe { self.release() };
    }

    fn have_workers_ended(&self) -> bool {
        self.ending().ended == self.workers.len()
    }

    /// What was left behind, now that the time is over.
    fn left_behind(&self) -> Vec<Leftover> {
        let left = std::mem::take(&mut self.ending().left);
        let running = |remote: &&CachePadded<Remote>| !remote.ended.load(Ordering::Relaxed);
        let running = self.workers.iter().filter(running);
        left.into_iter()
            .chain(self.migratables.leftovers())
            .chain(running.map(|_| Leftover::running()))
            .collect()
    }

    /// Takes a start back that has failed with worker `index`.
    fn give_up(&'static self, index: usize) {
        for missing in index..self.workers.len() {
            // SAFETY: it never began.
            unsafe { self.worker_ended(missing, Vec::new()) };
        }
        self.advance(CLOSING);
        // SAFETY: nobody has got a handle.
        unsafe { self.release() };
    }

    /// Ends what one worker has placed with another that had just ended. (Wake-ups are not among it: those keep their worker from ending, or
    /// its green threads were left behind.)
    fn refuse_placed(&self) {
        for remote in &self.workers {
            remote.inbox.take(|task| {
                if task.is_fresh() {
                    Runnable::placed(task).refuse_cancelled();
                }
            });
        }
    }

    /// Ends what came too late: no worker looks for it any more.
    fn refuse_injected(&self) {
        while let Some(fresh) = retrying(|| self.injector.steal()) {
            fresh.refuse_cancelled();
        }
    }

    /// Takes in a fresh green thread. Never inlined into a green thread that may move: the queues of crossbeam use thread-locals.
    #[inline(never)]
    pub(crate) fn spawn(&'static self, fresh: Runnable) {
        match worker::current() {
            Some(worker) if worker.belongs_to(self) => match worker.lighter() {
                None => worker.push_newest(fresh),
                Some(lighter) => return lighter.place(fresh),
            },
            _ => return self.inject(fresh),
        }
        self.wake_searcher();
    }

    /// Takes in a fresh green thread from outside of the workers.
    fn inject(&self, fresh: Runnable) {
        if self.is_closing() {
            // Whoever goes on spawning would keep the workers from ending.
            return fresh.refuse_cancelled();
        }
        self.injector.push(fresh);
        self.wake_searcher();
        // Either the last worker finds it in the queue, or this finds that it has ended.
        fence(Ordering::SeqCst);
        if self.phase() == CLOSED {
            self.refuse_injected();
        }
    }

    /// Takes in a migratable green thread that was woken from outside of the workers.
    pub(super) fn inject_woken(&'static self, woken: Runnable) {
        // It may run and end at once, and with it the runtime.
        self.retain();
        self.injector.push(woken);
        self.wake_searcher();
        // SAFETY: the use from above.
        unsafe { self.release() };
    }

    /// Wakes a sleeping worker to look for green threads to steal, unless one is looking already.
    fn wake_searcher(&self) {
        if let Some(index) = self.idle.assign_searcher() {
            self.workers[index].reactor.notify();
        }
    }

    /// Steals a green thread for worker `thief`: from outside first, then from the other workers.
    fn steal(&self, thief: usize, queue: &MovableQueue) -> Option<Runnable> {
        let count = self.workers.len();
        let from_injector = || self.injector.steal_batch_and_pop(queue);
        let from_others = (1..count).map(|offset| &self.workers[(thief + offset) % count].stealer);
        let stolen = retrying(from_injector).or_else(|| {
            from_others
                .into_iter()
                .find_map(|other| retrying(|| other.steal_batch_and_pop(queue)))
        });
        // Last, as its worker is likely to run it soon.
        stolen.or_else(|| {
            let others = (1..count).map(|offset| &self.workers[(thief + offset) % count].newest);
            others.into_iter().find_map(Place::take)
        })
    }

    /// Moves green threads that came from outside to `queue`, some at a time.
    fn take_injected(&self, queue: &MovableQueue) {
        if !self.injector.is_empty() {
            retrying(|| self.injector.steal_batch(queue));
        }
    }

    /// Returns whether there may be a green thread anywhere that any worker may take.
    fn has_movable(&self) -> bool {
        let has_any = |it: &Remote| !it.stealer.is_empty() || !it.newest.is_empty();
        !self.injector.is_empty() || self.workers.iter().any(|remote| has_any(remote))
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
