//! The monitor: notices that a worker is stuck, and says in what.
//!
//! Green threads are not preempted: one that computes for long, or blocks its OS thread, holds up all others of its worker. Each runtime
//! with workers has an OS thread that looks at their turns from time to time. When a worker has been in one turn for as long as
//! [`Builder::stuck_after`](super::Builder::stuck_after) says, it
//!
//! * has another worker come for the fresh green threads in the queue, at every look;
//! * looks at its sockets in its place, for threads of other workers that wait for them;
//! * reports, once, which green thread it is and where it is (`trace.rs`).
//!
//! # On and off
//!
//! While all workers sleep, so does the monitor. `on` says that it looks, or is about to.
//!
//! 1. After some looks at which nothing moved, the monitor clears `on`, waits a period more, and looks again.
//! 2. If still nothing has moved, it sleeps until somebody sets `on`.
//! 3. A worker that wakes stores that it does not sleep, then reads `on`, and sets it if it is clear: a load as long as there is work.
//!
//! There is no fence between the two steps of 3, so the worker may read an `on` that is being cleared, while the monitor takes it for
//! asleep. But then its store came before the load, and the second look, milliseconds later, sees it. (A fence instead would
//! have to be paid by every worker that wakes.)

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::trace::{self, Answer, Trace};
use super::{Remote, Shared, sys};
use crate::reactor::Events;
use crate::report;

/// After how long in one turn a worker is stuck, if nobody says otherwise.
pub(super) const DEFAULT_STUCK_AFTER: Duration = Duration::from_millis(100);

/// Looks that have to find a worker in the same turn. Counted and not timed: while the process is stopped, nobody looks.
const LOOKS: u32 = 4;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_micros(250);

/// Looks at which nothing moves before the monitor turns itself off. A program that has little to do does not turn it on and off all
/// the time.
const QUIET_LOOKS: u32 = 4;

/// A runtime's monitor.
pub(super) struct Monitor {
    stuck_after: Duration,
    /// Its thread looks, or is about to; always set if there is none.
    on: AtomicBool,
    /// Whether it is to end. Held to set `on`, too.
    stopping: Mutex<bool>,
    /// `on` has been set, or `stopping`.
    changed: Condvar,
}

/// A worker's OS thread, as the monitor finds it.
#[derive(Default)]
pub(super) struct WorkerThread {
    /// 0 when it does not run.
    number: AtomicUsize,
    /// Held to signal it, and to end: so it is there when it is signalled.
    ending: Mutex<()>,
}

impl WorkerThread {
    /// Has the calling thread be this one.
    pub(super) fn begin(&self) {
        self.number.store(sys::own_number(), Ordering::Relaxed);
    }

    /// The calling thread, which is this one, is about to end.
    pub(super) fn end(&self) {
        let _ending = self.lock();
        self.number.store(0, Ordering::Relaxed);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn number(&self) -> usize {
        self.number.load(Ordering::Relaxed)
    }
}

impl Monitor {
    pub(super) fn new(stuck_after: Duration) -> Monitor {
        Monitor {
            stuck_after,
            on: AtomicBool::new(true),
            stopping: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // Nothing panics between two consistent states.
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the monitor of `shared`, for a caller that has got a use of it.
    pub(super) fn start(shared: &'static Shared) -> io::Result<()> {
        if shared.monitor.stuck_after == Duration::MAX {
            return Ok(());
        }
        shared.retain();
        let watch = move || {
            watch(shared);
            // SAFETY: the use from above; this thread does nothing more.
            unsafe { shared.release() };
        };
        let started = thread::Builder::new()
            .name("corde-monitor".into())
            .spawn(watch);
        if started.is_err() {
            // SAFETY: the use from above, which nobody has taken over.
            unsafe { shared.release() };
        }
        started.map(drop)
    }

    /// Has it end.
    pub(super) fn stop(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Turns it on. For a worker that has slept.
    #[inline(always)]
    pub(super) fn note_awake(&self) {
        if !self.on.load(Ordering::Relaxed) {
            self.turn_on();
        }
    }

    #[cold]
    fn turn_on(&self) {
        let stopping = self.lock();
        self.on.store(true, Ordering::Relaxed);
        drop(stopping);
        self.changed.notify_all();
    }

    /// Waits for `period`; false, if it is to end.
    fn pause(&self, period: Duration) -> bool {
        let paused = self
            .changed
            .wait_timeout_while(self.lock(), period, |stopping| !*stopping);
        !*paused.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until it is turned on, or is to end.
    fn sleep(&self) {
        let slept = self.changed.wait_while(self.lock(), |stopping| {
            !*stopping && !self.on.load(Ordering::Relaxed)
        });
        drop(slept);
    }
}

/// What a look finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// It slept, and has done nothing since the last look.
    Asleep,
    Busy,
    Stuck,
}

/// What the monitor knows of a worker.
struct Watched {
    index: usize,
    remote: &'static Remote,
    /// Its turn at the last look, and when and how often it was found there awake.
    turn: u32,
    since: Instant,
    looks: u32,
    reported: bool,
}

impl Watched {
    fn new(index: usize, remote: &'static Remote) -> Watched {
        Watched {
            index,
            remote,
            turn: remote.turn.load(Ordering::Relaxed),
            since: Instant::now(),
            looks: 0,
            reported: false,
        }
    }

    fn look(&mut self) -> Finding {
        let asleep = self.remote.reactor.is_asleep() || self.remote.ended.load(Ordering::Relaxed);
        let turn = self.remote.turn.load(Ordering::Relaxed);
        let moved = turn != self.turn;
        if asleep || moved {
            self.begin(turn);
            return match (asleep, moved) {
                (true, false) => Finding::Asleep,
                _ => Finding::Busy,
            };
        }
        self.looks += 1;
        if self.looks < LOOKS {
            return Finding::Busy;
        }
        Finding::Stuck
    }

    /// Counts anew, from now on.
    fn begin(&mut self, turn: u32) {
        self.turn = turn;
        self.since = Instant::now();
        self.looks = 0;
        self.reported = false;
    }

    /// Says what it is stuck in, unless that is over meanwhile.
    fn report(&mut self) {
        self.reported = true;
        // Before the signal, which may wake it for a moment.
        let doing = sys::doing(self.remote.thread.number());
        let answer = trace::ask(self.remote, self.turn);
        let (index, held) = (self.index, self.since.elapsed().as_millis());
        match answer {
            // Or it has not begun yet: between two green threads it is in the turn of the next.
            Answer::MovedOn => self.begin(self.turn),
            Answer::Here(Trace {
                name,
                id,
                addresses,
            }) => {
                let frames = trace::frames(&addresses);
                report::line(format_args!(
                    "green thread '{name}' (id {id}) has held worker {index} for {held} ms: {doing}{frames}"
                ));
            }
            Answer::Silence(why) => report::line(format_args!(
                "a green thread has held worker {index} for {held} ms: {doing} (which one, and where, is not known: {why})"
            )),
        }
    }
}

/// Watches the workers of `shared` until it is stopped: the main function of the monitor's OS thread.
fn watch(shared: &'static Shared) {
    let monitor = &shared.monitor;
    let period = (monitor.stuck_after / LOOKS).max(SHORTEST);
    let remotes = shared.workers.iter().enumerate();
    let mut workers: Vec<Watched> = remotes
        .map(|(index, remote)| Watched::new(index, remote))
        .collect();
    let mut events = Events::new();
    let mut quiet = 0;
    while monitor.pause(period) {
        if look_at_all(shared, &mut workers, &mut events) {
            quiet += 1;
        } else {
            quiet = 0;
            // Who has seen it clear has set it again, or comes too late to have done so: this look was the second one.
            monitor.on.store(true, Ordering::Relaxed);
        }
        if quiet == QUIET_LOOKS {
            monitor.on.store(false, Ordering::Relaxed);
        } else if quiet > QUIET_LOOKS {
            monitor.sleep();
            quiet = 0;
        }
    }
}

/// Looks at the workers, and cares for those that are stuck; returns whether all slept and nothing moved.
fn look_at_all(shared: &Shared, workers: &mut [Watched], events: &mut Events) -> bool {
    let mut quiet = true;
    for worker in workers {
        let finding = worker.look();
        quiet &= finding == Finding::Asleep;
        if finding != Finding::Stuck {
            continue;
        }
        if !worker.remote.stealer.is_empty() || !worker.remote.newest.is_empty() {
            shared.wake_searcher();
        }
        worker.remote.reactor.poll_for_worker(events);
        if !worker.reported {
            worker.report();
        }
    }
    quiet
}
