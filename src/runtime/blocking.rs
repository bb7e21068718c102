//! The blocking pool: OS threads that run closures while green threads wait for these, or while nobody does.
//!
//! Each runtime has one, so that its settings, its limit and its end are its own, too. A job (`job.rs`) goes to the thread that has been idle
//! for the shortest time, whose caches are warm; or else to a new thread; or else, at the limit, into the queue. So the threads
//! that there is no need for are always the same ones, and end when they have been idle for long enough. The queue has no limit: what is in it
//! is a green thread that waits, or has been allocated by the program.
//!
//! # No job is forgotten
//!
//! Each step happens under the lock.
//!
//! 1. A thread becomes idle only when the queue is empty, and who submits a job takes an idle thread first: of the queue and the list of
//!    idle threads one is always empty.
//! 2. A thread that is done with a job takes the next one from the queue, or else becomes idle or ends. One that begins has a job.
//! 3. A job is queued only if no thread is idle and there is one, begun or being started. One that has begun comes to step 2. If all others
//!    fail to start, the last one that fails finds that there is none left, and does what is in the queue in place.
//!
//! # Rejected
//!
//! - **One pool for the process.** One runtime's jobs would queue behind those of another, and a shutdown could neither refuse nor wait.
//! - **A condition variable for idle threads.** It wakes them in turn: under a light load none is idle for long enough to end.

use std::cell::Cell;
use std::io;
use std::mem;
use std::panic::resume_unwind;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::interrupt::{self, Cancelled};
use super::job::{AbortIfPanic, Content, Detached, Frame, Job, JobRef, Queue};
use super::park::{self, Waiter};
use super::{forked, variable, worker};
use crate::reactor::sys;
use crate::report;

/// OS threads of a pool that is not told how many; as Tokio has it.
const DEFAULT_LIMIT: usize = 512;

/// How long a thread of a pool that is not told otherwise stays without a job.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The OS threads of one runtime that run what blocks. Lives on until the last of them has ended.
pub(crate) struct Pool {
    state: Mutex<State>,
    limit: usize,
    keep_alive: Duration,
    name: String,
    /// The limit was nobody's choice, and it has not been told yet that it was met.
    tells_limit: AtomicBool,
    /// It has not been told yet that a thread could not be started.
    tells_failure: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// In the order in which they became idle.
    idle: Vec<Arc<Seat>>,
    /// Threads, begun or being started.
    threads: usize,
    /// Threads that have ever been started.
    started: usize,
    /// Detached jobs that have begun, or are about to.
    detached: usize,
    /// The runtime ends: threads do not wait for jobs, and detached ones are refused.
    closed: bool,
    /// Waits for the threads to end.
    closer: Option<Waiter>,
}

/// Where a thread of the pool gets its next job while it is idle.
struct Seat {
    thread: thread::Thread,
    job: AtomicPtr<Job>,
}

impl Seat {
    fn give(&self, job: JobRef) {
        self.job.store(job.into_raw().as_ptr(), Ordering::Release);
    }

    fn take(&self) -> Option<JobRef> {
        let job = self.job.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: `give` has taken the right over; the swap takes it once.
        NonNull::new(job).map(|job| unsafe { JobRef::from_raw(job) })
    }
}

thread_local! {
    /// The pool that the OS thread belongs to.
    static POOL: Cell<*const Pool> = const { Cell::new(ptr::null()) };
}

impl Pool {
    /// Makes a pool, without threads.
    ///
    /// # Errors
    /// If the limit is 0, or `CORDE_BLOCKING_THREADS` makes no sense.
    pub(super) fn new(settings: &Builder) -> io::Result<Arc<Pool>> {
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
        let chosen = match settings.max_blocking_threads {
            Some(0) => {
                let message = "a runtime may have 1 blocking thread at least, not 0";
                return Err(invalid(message.to_owned()));
            }
            Some(limit) => Some(limit),
            None => variable("CORDE_BLOCKING_THREADS", |&limit| limit > 0).map_err(|text| {
                invalid(format!(
                    "CORDE_BLOCKING_THREADS={text:?} is not a number from 1"
                ))
            })?,
        };
        let prefix = &*settings.thread_name;
        let prefix = prefix.strip_suffix("-worker").unwrap_or(prefix);
        Ok(Arc::new(Pool {
            state: Mutex::default(),
            limit: chosen.unwrap_or(DEFAULT_LIMIT),
            keep_alive: settings.blocking_keep_alive,
            name: format!("{prefix}-block"),
            tells_limit: AtomicBool::new(chosen.is_none()),
            tells_failure: AtomicBool::new(true),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on a thread of the pool while the green thread that calls waits; in place, if no green thread calls.
    pub(crate) fn run<F, T>(self: &Arc<Pool>, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let Some((_, task)) = worker::current_green() else {
            return f();
        };
        // One after the other may have ended before this looks at them, and none of them suspend it.
        worker::spend();
        // Who is to end does not begin.
        if let Some(interrupt) = interrupt::due(task) {
            interrupt.strike();
        }
        let frame = Frame::new(f);
        // What the closure borrows must not end before it is done.
        let guard = AbortIfPanic;
        // SAFETY: this is the only right to the job. The frame stays here until it is done or withdrawn: unwinding aborts, and the stack
        // of a green thread that is left behind is never freed.
        self.submit(unsafe { JobRef::from_raw(frame.job()) });
        while !frame.is_done() {
            // SAFETY: the frame is alive, and has not been submitted anywhere else.
            if interrupt::is_due(task) && unsafe { self.withdraw(frame.job()) } {
                mem::forget(guard);
                match interrupt::due(task) {
                    Some(interrupt) => interrupt.strike(),
                    None => unreachable!("an interrupt that is due stays so"),
                }
            }
            interrupt::masked(park::park);
        }
        mem::forget(guard);
        match frame.into_content() {
            Content::Result(result) => result.unwrap_or_else(|payload| resume_unwind(payload)),
            _ => unreachable!("what is done has left its result"),
        }
    }

    /// Has `body` called on a thread of the pool, and does not wait. It gets an error, on any thread, if the runtime ends before it
    /// has begun. It does not panic.
    pub(crate) fn spawn<F>(self: &Arc<Pool>, body: F)
    where
        F: FnOnce(Result<(), Cancelled>) + Send + 'static,
    {
        self.submit(Detached::job(body));
    }

    /// Finds a thread for a job, or queues it.
    fn submit(self: &Arc<Pool>, job: JobRef) {
        let state = self.lock();
        if state.closed && job.is_detached() {
            drop(state);
            job.refuse();
        } else if state.idle.is_empty() && state.threads < self.limit {
            self.start(state, job);
        } else if self.place(state, job) {
            self.report_limit();
        }
    }

    /// Gives a job to an idle thread, or else queues it; returns whether it was queued.
    fn place(&self, mut state: MutexGuard<'_, State>, job: JobRef) -> bool {
        let Some(seat) = state.idle.pop() else {
            state.queue.push(job);
            return true;
        };
        state.begin(&job);
        seat.give(job);
        drop(state);
        seat.thread.unpark();
        false
    }

    /// Starts a thread, whose first job this is.
    fn start<'a>(self: &'a Arc<Pool>, mut state: MutexGuard<'a, State>, job: JobRef) {
        state.begin(&job);
        state.threads += 1;
        state.started += 1;
        let number = state.started;
        drop(state);
        let pool = self.clone();
        let raw = job.as_raw();
        let started = thread::Builder::new()
            .name(format!("{}-{number}", self.name))
            .spawn(move || pool.serve(job));
        if let Err(error) = started {
            // SAFETY: the right that was meant for the thread is gone with its closure.
            self.make_do(unsafe { JobRef::from_raw(raw) }, &error);
        }
    }

    /// Does without the thread that could not be started for a job.
    #[cold]
    fn make_do(&self, job: JobRef, error: &io::Error) {
        let mut state = self.lock();
        state.end(job.is_detached());
        let closer = state.end_thread();
        let others = state.threads;
        self.place(state, job);
        self.report_failure(others, error);
        if others == 0 {
            self.work_off();
        }
        closer.iter().for_each(Waiter::wake);
    }

    /// Does what is in the queue, on the calling thread.
    fn work_off(&self) {
        loop {
            // The lock ends before the job begins.
            let next = self.lock().queue.pop();
            let Some(job) = next else {
                return;
            };
            // As on a thread of the pool, where nothing interrupts.
            interrupt::masked(|| job.run());
        }
    }

    /// Takes a job back that is still in the queue; false if it is not.
    ///
    /// # Safety
    /// The job is alive, and was submitted to this pool alone.
    unsafe fn withdraw(&self, job: NonNull<Job>) -> bool {
        // SAFETY: passed on.
        unsafe { self.lock().queue.remove(job) }.is_some()
    }

    /// Does jobs until there have been none for long enough: the main function of a thread.
    fn serve(&self, first: JobRef) {
        let guard = AbortIfPanic;
        // It may have been started by a worker; and the processes that it starts are as it is.
        sys::wait_as_usual();
        POOL.set(self);
        let seat = Arc::new(Seat {
            thread: thread::current(),
            job: AtomicPtr::new(ptr::null_mut()),
        });
        let mut next = Some(first);
        while let Some(job) = next {
            let detached = job.is_detached();
            job.run();
            // A child that the job has forked may find the lock taken for ever.
            forked::check();
            next = self.next(&seat, detached);
        }
        mem::forget(guard);
    }

    /// Waits for the next job of a thread that is done with one; none if it is to end.
    fn next(&self, seat: &Arc<Seat>, was_detached: bool) -> Option<JobRef> {
        let mut state = self.lock();
        state.end(was_detached);
        if let Some(job) = state.queue.pop() {
            state.begin(&job);
            return Some(job);
        }
        if !state.closed {
            state.idle.push(seat.clone());
            drop(state);
            state = match self.wait(seat) {
                Ok(job) => return Some(job),
                Err(state) => state,
            };
            state.idle.retain(|other| !Arc::ptr_eq(other, seat));
        }
        let closer = state.end_thread();
        drop(state);
        closer.iter().for_each(Waiter::wake);
        None
    }

    /// Waits until an idle thread gets a job. Returns the locked pool, with the thread still idle, if there is none for too long or
    /// the pool is closed.
    fn wait(&self, seat: &Seat) -> Result<JobRef, MutexGuard<'_, State>> {
        let deadline = Instant::now().checked_add(self.keep_alive);
        loop {
            match deadline {
                Some(deadline) => {
                    thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
                }
                None => thread::park(),
            }
            if let Some(job) = seat.take() {
                return Ok(job);
            }
            let state = self.lock();
            // Jobs are given under the lock: now there is one, or the thread is still idle.
            if let Some(job) = seat.take() {
                return Ok(job);
            }
            if state.closed || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(state);
            }
        }
    }

    /// The runtime ends: refuses detached jobs that have not begun, and has idle threads end; others end when they are done. What a green
    /// thread waits for is still done.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.idle.iter().for_each(|seat| seat.thread.unpark());
        let refused = state.queue.take_detached();
        drop(state);
        refused.into_iter().for_each(JobRef::refuse);
    }

    /// Waits until all threads of a closed pool have ended, until `deadline` at most; returns how many detached jobs still run. A
    /// thread of the pool does not wait for itself.
    pub(super) fn wait_until_ended(&self, deadline: Instant) -> usize {
        let own = usize::from(POOL.try_with(Cell::get) == Ok(ptr::from_ref(self)));
        interrupt::masked(|| {
            loop {
                let mut state = self.lock();
                if state.threads <= own || Instant::now() >= deadline {
                    state.closer = None;
                    return state.detached;
                }
                state.closer = Some(Waiter::current());
                drop(state);
                park::park_until(deadline);
            }
        })
    }

    /// Tells once that jobs wait because of a limit that nobody has set: if they wait for each other, they wait for ever.
    fn report_limit(&self) {
        if self.tells_limit.load(Ordering::Relaxed)
            && self.tells_limit.swap(false, Ordering::Relaxed)
        {
            report::line(format_args!(
                "all {} threads of the pool '{}' are busy, further blocking closures wait \
                 (Builder::max_blocking_threads and CORDE_BLOCKING_THREADS set another limit)",
                self.limit, self.name
            ));
        }
    }

    /// Tells once that the system has no more threads.
    fn report_failure(&self, others: usize, error: &io::Error) {
        if self.tells_failure.swap(false, Ordering::Relaxed) {
            let instead = match others {
                0 => "there is none, so blocking closures hold up workers".to_owned(),
                _ => format!("blocking closures wait for the {others} that are there"),
            };
            report::line(format_args!(
                "an OS thread for the pool '{}', which may have {}, could not be started, {instead}: {error} \
                 (`ulimit -u`, `ulimit -v`, pids.max of the cgroup or memory may be too low)",
                self.name, self.limit
            ));
        }
    }
}

impl State {
    /// Notes that a job begins.
    fn begin(&mut self, job: &JobRef) {
        self.detached += usize::from(job.is_detached());
    }

    /// Notes that a job has ended.
    fn end(&mut self, was_detached: bool) {
        self.detached -= usize::from(was_detached);
    }

    /// Notes that a thread ends; returns whom to wake for that.
    fn end_thread(&mut self) -> Option<Waiter> {
        self.threads -= 1;
        // The last one may be the closer's own.
        if self.threads <= 1 {
            self.closer.take()
        } else {
            None
        }
    }
}
