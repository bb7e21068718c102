//! A worker: an OS thread that runs green threads, and everything that only this thread touches.
//!
//! # What runs next
//!
//! Started green threads belong to the worker and wait in `local`, a plain queue. Fresh and migratable ones wait in `movable`, from which idle
//! workers steal. The worker takes from the two in turn, each in order of arrival, so neither starves the other. The first one that
//! the running one wakes goes before them, and the last one that it spawns, but not more than [`IN_A_ROW`] times in a row. Whatever
//! wakes up elsewhere for this worker comes through its inbox, which is emptied before each choice. Every
//! [`POLL_INTERVAL`] turns, or [`LATEST`] if they are long, it looks at timers and sockets, however much there is to run; with
//! nothing to run it sleeps there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::iter;
use std::mem;
use std::ops::Range;
use std::pin::pin;
use std::process::abort;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::cell::TaskRef;
use super::chaos;
use super::interrupt::{self, Interrupt, TIMEOUT};
use super::migratable;
use super::started::Started;
use super::task::{After, Runnable, Suspension, Task};
use super::timer::{Timer, Timers};
use super::trace;
use super::{ABANDONING, CLOSING, Leftover, MovableQueue, OPEN, Remote, Shared};
use crate::arch::words::WORKER;
use crate::reactor::{Events, Reactor, sys};
use crate::report;
use crate::stack::overflow::{self, Line};

/// Turns between two looks at timers and sockets while there are green threads to run. A look costs a system call (0.2 us),
/// a turn at the least 6 ns: looking every 64 turns made a yield 3 ns slower.
const POLL_INTERVAL: u32 = 256;

/// How long it may be between two looks, before they are made more often.
const LATEST: Duration = Duration::from_micros(500);

/// How long a green thread may wait while it unwinds before that is reported: it may be a deadlock.
const LONG_IN_PLACE: Duration = Duration::from_secs(5);

/// Reads, writes and accepts that a green thread may make in a turn without having to wait; then it lets others run. A call costs a
/// system call (0.3 us and more), so that this many make a turn of 40 us and more.
const TRIES: u32 = 128;

/// Turns in a row that go to green threads which have just been woken or spawned, past those in the queues. Two that wake each other keep the
/// cache warm for that long, and hold up the others for no longer.
const IN_A_ROW: u32 = 16;

/// Green threads in a queue that no longer fit into a cache: then they are fetched some places ahead of their turn, first what they are made of,
/// then, by what that says, their stacks.
const MANY: usize = 4096;
const TASK_AHEAD: usize = 16;
const STACK_AHEAD: usize = 8;

/// From so many green threads on a worker does not wake up for timers more often than so.
const CROWD: usize = 64;
const TOGETHER: Duration = Duration::from_micros(50);

/// Calls of `yield_if_due` between two looks at the clock.
const UNTIMED: u32 = 32;

/// How long a turn may be before `yield_if_due` ends it.
const DUE: Duration = Duration::from_micros(100);

/// Green threads that one worker may have more than another, and a quarter more besides, before fresh ones are placed there.
const UNBALANCED: usize = 8;

/// Green threads left behind by a worker that are asked where they are parked: that takes 10 us each.
const MOST_TRACES: usize = 1000;

/// An OS thread's worker. Never seen by another thread (it is not Sync); freed when its loop is over, and never if a green thread is left
/// behind.
pub(crate) struct Worker {
    index: usize,
    shared: &'static Shared,
    /// What others see of it.
    remote: &'static Remote,
    /// Those that may run on any worker: fresh ones, and migratable ones.
    movable: MovableQueue,
    local: RefCell<VecDeque<Runnable>>,
    /// One that the running green thread has woken, which comes next.
    woken: Cell<Option<Runnable>>,
    /// Turns that such ones have had in a row.
    in_a_row: Cell<u32>,
    /// Whether the next choice begins with the fresh ones.
    fresh_first: Cell<bool>,
    turns: Cell<u32>,
    /// Turns between two looks around, and when the last one was.
    interval: Cell<u32>,
    looked: Cell<Instant>,
    /// Calls of `yield_if_due` before the next look at the clock, and the turn that it looked at it in first, with the time.
    untimed: Cell<u32>,
    timed: Cell<(u32, Instant)>,
    /// Calls that the running green thread may still make without waiting in this turn.
    tries: Cell<u32>,
    /// The green thread that runs; null between two turns.
    current: Cell<*const Task>,
    /// The green threads that have started here and have not ended.
    started: Started,
    /// Which other worker was looked at last when a fresh one was spawned.
    candidate: Cell<usize>,
    /// The phase of the runtime that it has noticed.
    phase: Cell<u8>,
    timers: Timers<Task>,
    /// When it went to sleep last, having many green threads.
    slept: Cell<Instant>,
    events: RefCell<Events>,
    /// Where a green thread that is asked leaves its frames.
    asked: RefCell<Option<Vec<usize>>>,
}

/// The calling OS thread's worker, if it is one. For a migratable green thread only until it next suspends.
#[inline(always)]
pub(crate) fn current() -> Option<&'static Worker> {
    // SAFETY: null, or set by `Worker::run_here` of a worker that is there until it is reset.
    unsafe { (WORKER.get() as *const Worker).as_ref() }
}

/// Has the calling OS thread be none's worker: it is the only one of a fork.
pub(super) fn forget() {
    WORKER.set(0);
}

/// The green thread that calls, with its worker. The reference to the task is good in the frames of that green thread, which
/// keep it alive by being there; it is not to be stored.
#[inline(always)]
pub(crate) fn current_green() -> Option<(&'static Worker, &'static Task)> {
    let worker = current()?;
    // SAFETY: `current` is null or alive (`set_current`).
    let task = unsafe { worker.current.get().as_ref() }?;
    Some((worker, task))
}

/// Notes that the green thread that calls, if one does, is about to do something that may not have to wait; lets others run if it has made many such
/// calls. That is a wait itself: it may be interrupted here, but not once it has got what it calls for.
#[inline]
pub(crate) fn spend() {
    if let Some((worker, task)) = current_green() {
        match worker.tries.get() {
            0 => worker.yield_now(task),
            left => worker.tries.set(left - 1),
        }
    }
}

/// A new handle of the green thread that calls.
pub(crate) fn current_task() -> Option<TaskRef> {
    current()?.current_task()
}

/// Says whose stack it is that has these addresses, if it is that of the green thread running on this OS thread.
pub(super) fn describe_overflow(stack: &Range<usize>, line: &mut Line) -> bool {
    match current_green() {
        Some((_, task)) if task.starts_in(stack) => {
            task.describe(line);
            true
        }
        _ => false,
    }
}

/// Ends the process if the scheduler itself panics: its green threads could never go on.
struct AbortIfPanic;

impl Drop for AbortIfPanic {
    fn drop(&mut self) {
        report::line(format_args!(
            "a worker panicked outside of its green threads, aborting"
        ));
        abort();
    }
}

impl Worker {
    /// Makes a worker for the calling OS thread.
    pub(super) fn new(
        shared: &'static Shared,
        index: usize,
        movable: MovableQueue,
    ) -> &'static Worker {
        Box::leak(Box::new(Worker {
            index,
            shared,
            remote: &shared.workers[index],
            movable,
            local: RefCell::new(VecDeque::new()),
            woken: Cell::new(None),
            in_a_row: Cell::new(0),
            fresh_first: Cell::new(false),
            turns: Cell::new(0),
            interval: Cell::new(POLL_INTERVAL),
            looked: Cell::new(Instant::now()),
            untimed: Cell::new(UNTIMED),
            timed: Cell::new((0, Instant::now())),
            tries: Cell::new(TRIES),
            current: Cell::new(ptr::null()),
            started: Started::new(),
            candidate: Cell::new(0),
            phase: Cell::new(OPEN),
            timers: Timers::new(),
            slept: Cell::new(Instant::now()),
            events: RefCell::new(Events::new()),
            asked: RefCell::new(None),
        }))
    }

    /// Runs green threads until the runtime ends: the main function of a worker's OS thread.
    pub(super) fn run(shared: &'static Shared, index: usize, movable: MovableQueue) {
        // A hook may panic, too.
        let guard = AbortIfPanic;
        let worker = Worker::new(shared, index, movable);
        worker.remote().thread.begin();
        if let Some(hook) = &shared.on_thread_start {
            hook();
        }
        sys::wait_exactly();
        worker.run_here(|| worker.phase.get() == ABANDONING);
        if let Some(hook) = &shared.on_thread_stop {
            hook();
        }
        worker.refuse_fresh();
        mem::forget(guard);
        worker.remote().thread.end();
        // A migratable one that is left may have been here, and be in a call that got a reference.
        let clean = worker.is_unused() && shared.migratables.is_empty();
        let left = worker.leftovers();
        let left_behind = !left.is_empty();
        if clean {
            // SAFETY: it came from a box (`new`); its loop is over, and no green thread is left that could use it.
            drop(unsafe { Box::from_raw(ptr::from_ref(worker).cast_mut()) });
        }
        // SAFETY: this worker does nothing more.
        unsafe { shared.worker_ended(index, left) };
        // The frames that are left behind may borrow from this OS thread's locals, which end with it; and others may use what
        // those frames lend them.
        if left_behind {
            loop {
                thread::park();
            }
        }
    }

    /// Ends those here that have not begun, when the time is over: who joins them must not wait for ever. Those that have begun are left behind.
    fn refuse_fresh(&self) {
        self.accept_inbox();
        let local = self.local.take();
        let (fresh, started): (Vec<_>, Vec<_>) = local.into_iter().partition(Runnable::is_fresh);
        let (migratable, started): (Vec<_>, Vec<_>) =
            started.into_iter().partition(Runnable::is_migratable);
        self.local.borrow_mut().extend(started);
        let queued = iter::from_fn(|| self.movable.pop().or_else(|| self.remote.newest.take()));
        fresh
            .into_iter()
            .chain(migratable)
            .chain(queued)
            .for_each(Runnable::refuse_cancelled);
    }

    /// Returns whether nothing can use it any more. A coroutine that has left its green thread may have a timer here.
    pub(super) fn is_unused(&self) -> bool {
        self.started.is_empty()
            && self.local.borrow().is_empty()
            && !self.has_woken()
            && self.timers.is_empty()
    }

    /// Runs green threads on the calling OS thread until `done`, or until the runtime has ended and there are none.
    pub(super) fn run_here(&'static self, mut done: impl FnMut() -> bool) {
        /// This OS thread's worker is this one, for a while.
        struct Here(usize);
        impl Drop for Here {
            fn drop(&mut self) {
                WORKER.set(self.0);
            }
        }
        overflow::protect_thread();
        let guard = AbortIfPanic;
        let _here = Here(WORKER.get());
        WORKER.set(ptr::from_ref(self) as usize);
        self.reactor().attend();
        while !done() {
            if let Some(runnable) = self.next() {
                self.take_turn(runnable);
            } else if self.may_end() {
                break;
            } else if let Some(runnable) = self.idle() {
                self.take_turn(runnable);
            }
        }
        self.reactor().leave();
        mem::forget(guard);
    }

    /// Goes on until the runtime that is closing has ended, until `deadline` at most.
    pub(super) fn run_here_until_ended(&'static self, deadline: Instant) {
        // It has to wake up for the deadline.
        let alarm = || Instant::now() >= deadline;
        while !alarm() && !self.has_ended() {
            self.timers.set_alarm(Some(deadline));
            self.run_here(alarm);
        }
        self.timers.set_alarm(None);
    }

    /// Returns whether it has nothing more to do in this phase of the runtime, having done what the phase asks for.
    fn may_end(&self) -> bool {
        let phase = self.shared.phase();
        if phase == OPEN {
            return false;
        }
        self.enter_phase(phase);
        phase == ABANDONING || self.has_ended()
    }

    /// Does what a new phase of the runtime asks for.
    fn enter_phase(&self, phase: u8) {
        // Later than that nobody would run what is cancelled.
        if self.phase.replace(phase) == OPEN && phase == CLOSING {
            self.started.iter().for_each(Task::cancel);
            self.shared.migratables.cancel_all();
        }
    }

    fn has_woken(&self) -> bool {
        let woken = self.woken.take();
        let has = woken.is_some();
        self.woken.set(woken);
        has
    }

    /// Returns whether the runtime is ending, and nothing is left here to run.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.is_closing()
            && self.started.is_empty()
            && self.local.borrow().is_empty()
            && !self.has_woken()
            && self.remote().inbox.is_empty()
            && self.shared.migratables.is_empty()
            && !self.shared.has_movable()
    }

    /// The green threads that have started here and have not ended.
    pub(super) fn leftovers(&self) -> Vec<Leftover> {
        let mut left: Vec<_> = self.started.iter().map(Leftover::parked).collect();
        for (left, task) in left.iter_mut().zip(self.started.iter()).take(MOST_TRACES) {
            left.set_backtrace(self.where_parked(task));
        }
        left
    }

    /// The frames of a parked green thread of this worker, the innermost first; none, if that cannot be told.
    fn where_parked(&self, task: &Task) -> Vec<usize> {
        self.asked.replace(Some(Vec::new()));
        task.ask(self);
        self.asked.take().unwrap_or_default()
    }

    /// Notes which green thread runs from now on; null for none.
    ///
    /// # Safety
    /// `task` is null, or alive until the next call.
    pub(super) unsafe fn set_current(&self, task: *const Task) {
        self.current.set(task);
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Returns whether this is a worker of `shared`.
    pub(crate) fn belongs_to(&self, shared: &Shared) -> bool {
        ptr::eq(self.shared, shared)
    }

    /// Returns whether this is worker `index` of the runtime at this address, which need not exist any more.
    #[inline(always)]
    pub(super) fn is_at(&self, shared: NonNull<Shared>, index: usize) -> bool {
        self.index == index && ptr::eq(self.shared, shared.as_ptr())
    }

    pub(super) fn remote(&self) -> &'static Remote {
        self.remote
    }

    /// The worker's reactor, which any thread may register sockets with.
    pub(crate) fn reactor(&self) -> &'static Arc<Reactor> {
        &self.remote().reactor
    }

    /// Chooses what to run: what others have woken counts from now on; then started and fresh ones in turn; then stolen ones.
    #[inline(always)]
    fn next(&self) -> Option<Runnable> {
        self.accept_inbox();
        if chaos::once_in(8) {
            self.disturb();
        }
        if let Some(favourite) = self.take_favourite() {
            return Some(favourite);
        }
        let fresh_first = self.fresh_first.replace(!self.fresh_first.get());
        let started = || self.pop_local();
        let own = if fresh_first {
            self.movable.pop().or_else(started)
        } else {
            started().or_else(|| self.movable.pop())
        };
        // Those that had to wait for the others to have their turn.
        let own = own.or_else(|| self.woken.take());
        let own = own.or_else(|| self.remote.newest.take());
        own.or_else(|| self.steal())
    }

    #[inline(always)]
    fn pop_local(&self) -> Option<Runnable> {
        let mut local = self.local.borrow_mut();
        let next = local.pop_front()?;
        if local.len() >= MANY {
            local[TASK_AHEAD].prefetch();
            local[STACK_AHEAD].prefetch_stack();
        }
        Some(next)
    }

    /// Brings the queues into another order than they would have, and looks around earlier.
    #[cold]
    fn disturb(&self) {
        if let Some(stolen) = self.steal() {
            self.push_fresh(stolen);
        }
        if let Some(woken) = self.woken.take() {
            self.push_local(woken);
        }
        let mut local = self.local.borrow_mut();
        if local.len() > 1 {
            local.rotate_left(1);
        }
        drop(local);
        self.look_around();
    }

    /// Takes the green thread that comes next: the one that was woken first or else the one that was spawned last. Unless such ones have had
    /// all turns before this: then the others come first.
    #[inline(always)]
    fn take_favourite(&self) -> Option<Runnable> {
        let in_a_row = self.in_a_row.get() + 1;
        if in_a_row > IN_A_ROW {
            self.in_a_row.set(0);
            return None;
        }
        let favourite = self.woken.take().or_else(|| self.remote.newest.take())?;
        self.in_a_row.set(in_a_row);
        Some(favourite)
    }

    /// Queues a started green thread that was woken here. The first one that the running green thread wakes comes next, as what it waited for is
    /// in the cache; all others wait their turn.
    #[inline(always)]
    pub(super) fn push_woken(&self, woken: Runnable) {
        if self.current.get().is_null() {
            return self.push_local(woken);
        }
        if let Some(first) = self.woken.replace(Some(woken)) {
            if let Some(later) = self.woken.replace(Some(first)) {
                self.push_local(later);
            }
        }
    }

    fn steal(&self) -> Option<Runnable> {
        let stolen = self.shared.steal(self.index, &self.movable);
        // More than one: nobody could see the others on their way here.
        if stolen.is_some() && !self.movable.is_empty() {
            self.shared.wake_searcher();
        }
        stolen
    }

    #[inline(always)]
    fn accept_inbox(&self) {
        let found = self.remote().inbox.take(|task| {
            if task.is_fresh() {
                self.accept_fresh(Runnable::placed(task));
            } else if task.is_bound_here() {
                self.push_local(Runnable::placed(task));
            } else {
                task.receive_wake(self);
            }
        });
        if found {
            self.announce();
        }
    }

    /// Queues a fresh green thread that another worker has placed here.
    #[cold]
    fn accept_fresh(&self, fresh: Runnable) {
        self.remote().placed.fetch_sub(1, Ordering::Relaxed);
        // On its way nobody could see it (README, "Search", step 6): `accept_inbox` announces it.
        self.push_fresh(fresh);
    }

    #[inline(always)]
    fn take_turn(&self, runnable: Runnable) {
        if let After::Again(runnable) = runnable.run(self) {
            self.push_local(runnable);
        }
        self.tries.set(TRIES);
        // Only this thread writes it.
        let turn = self.remote.turn.load(Ordering::Relaxed).wrapping_add(1);
        self.remote.turn.store(turn, Ordering::Relaxed);
        let turns = self.turns.get() + 1;
        if turns < self.interval.get() {
            self.turns.set(turns);
        } else {
            self.turns.set(0);
            self.look_around();
            self.adapt();
        }
    }

    /// Looks around more often when turns are long.
    fn adapt(&self) {
        let now = Instant::now();
        let elapsed = now.duration_since(self.looked.replace(now));
        let interval = self.interval.get();
        if elapsed > LATEST {
            self.interval.set((interval / 2).max(1));
        } else if elapsed < LATEST / 4 {
            self.interval.set((interval * 2).min(POLL_INTERVAL));
        }
    }

    /// Looks at sockets, timers, and what came from outside, without waiting.
    fn look_around(&self) {
        self.remote().reactor.poll(&mut self.events.borrow_mut());
        self.fire_timers();
        self.enter_phase(self.shared.phase());
        self.shared.take_injected(&self.movable);
        // As after stealing: for a moment they were in no queue.
        self.announce();
    }

    /// Sleeps until something happens, then searches if it was woken for that.
    fn idle(&self) -> Option<Runnable> {
        let idle = &self.shared.idle;
        self.remote().reactor.sleep(
            || {
                // Not before `asleep` is set: then the notification of who is assigned finds it so.
                idle.enter(self.index);
                self.shared.has_movable()
                    || !self.remote().inbox.is_empty()
                    || self.shared.phase() != self.phase.get()
                    // The last migratable one has ended elsewhere.
                    || self.has_ended()
                    // What a new phase has cancelled.
                    || !self.local.borrow().is_empty()
            },
            || self.until_timers(),
            &mut self.events.borrow_mut(),
        );
        self.shared.monitor.note_awake();
        self.fire_timers();
        if !idle.leave(self.index) {
            return None;
        }
        let found = self.shared.steal(self.index, &self.movable);
        idle.end_search();
        // Also what came during the search, which made nobody search.
        if self.shared.has_movable() {
            self.shared.wake_searcher();
        }
        found
    }

    /// How long to sleep for the timers. Many green threads wait for each other's timers a little, as each sleep and wake-up of the worker costs as
    /// much as hundreds of switches.
    fn until_timers(&self) -> Option<Duration> {
        let now = Instant::now();
        let next = self.timers.until_next(now)?;
        if self.started.len() < CROWD {
            return Some(next);
        }
        let rested = self.slept.replace(now) + TOGETHER;
        Some(next.max(rested.saturating_duration_since(now)))
    }

    fn fire_timers(&self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        // If more are due, they are at the next look; until then nobody sleeps for long.
        for _ in 0..POLL_INTERVAL {
            let Some(task) = self.timers.pop_due(now) else {
                return;
            };
            // SAFETY: the timer was in a frame of `park_until` or `with_timer`, and the task is alive as long as those are.
            let task = unsafe { task.as_ref() };
            if task.local.has_limits() {
                task.interrupts.fetch_or(TIMEOUT, Ordering::Relaxed);
            }
            task.wake();
        }
    }

    /// Queues a started green thread of this worker.
    #[inline(always)]
    pub(crate) fn push_local(&self, runnable: Runnable) {
        self.local.borrow_mut().push_back(runnable);
    }

    /// Returns a worker that has clearly fewer green threads than this one, to place a fresh one with; looks at one other each time.
    ///
    /// Started green threads stay where they are: without this, one that spawns for each connection it accepts would gather all of
    /// them on its own worker, as it mostly comes back to its queue before others have stolen from it.
    #[inline]
    pub(super) fn lighter(&self) -> Option<&'static Remote> {
        let count = self.shared.workers.len();
        if count == 1 || self.shared.is_closing() {
            return None;
        }
        let own = self.started.len() + self.movable.len();
        if own < UNBALANCED && !chaos::once_in(4) {
            return None;
        }
        let offset = self.candidate.get() % (count - 1) + 1;
        self.candidate.set(offset);
        let other = &self.shared.workers[(self.index + offset) % count];
        let load = other.load();
        (own >= load + load / 4 + UNBALANCED || chaos::once_in(4)).then_some(&**other)
    }

    /// Queues a fresh green thread.
    pub(super) fn push_fresh(&self, fresh: Runnable) {
        self.movable.push(fresh);
    }

    /// Queues a migratable one that has let others run. If it is the next one here anyway, no other worker is woken to steal it.
    pub(super) fn push_migratable(&self, yielded: Runnable) {
        let is_next = self.local.borrow().is_empty()
            && self.movable.is_empty()
            && !self.has_woken()
            && self.remote.newest.is_empty();
        self.movable.push(yielded);
        // What may still come before it are those that others have woken, or that `look_around` finds: see `announce`.
        if !is_next || chaos::once_in(2) {
            self.shared.wake_searcher();
        }
    }

    /// Tells others of what they may steal here, as something else may come before it.
    fn announce(&self) {
        if !self.movable.is_empty() {
            self.shared.wake_searcher();
        }
    }

    /// Queues a migratable one that was woken, for any worker. It comes next here if the running green thread has woken it.
    pub(super) fn push_woken_migratable(&self, woken: Runnable) {
        if self.current.get().is_null() {
            self.movable.push(woken);
        } else {
            self.push_newest(woken);
        }
        self.shared.wake_searcher();
    }

    /// Queues one that the running green thread has spawned: it comes next, so that those which spawn and join go down into the depth and do not
    /// unfold a whole tree at once.
    #[inline(always)]
    pub(super) fn push_newest(&self, fresh: Runnable) {
        if let Some(before) = self.remote.newest.replace(fresh) {
            self.push_fresh(before);
        }
    }

    fn current_task(&self) -> Option<TaskRef> {
        let task = NonNull::new(self.current.get().cast_mut())?;
        // SAFETY: it is alive (`set_current`).
        Some(unsafe { TaskRef::from_borrowed(task) })
    }

    /// Lists a green thread that has got a stack here.
    pub(super) fn note_started(&self, task: &Task) {
        self.started.add(task);
        self.remote()
            .live
            .store(self.started.len(), Ordering::Relaxed);
    }

    /// Takes one off the list that has ended.
    pub(super) fn note_finished(&self, task: &Task) {
        self.started.remove(task);
        self.remote()
            .live
            .store(self.started.len(), Ordering::Relaxed);
    }

    pub(crate) fn shared(&self) -> &'static Shared {
        self.shared
    }

    /// Parks `task`, which is the green thread that calls.
    #[inline(always)]
    pub(crate) fn park(&self, task: &Task) -> Result<(), Interrupt> {
        if task.interrupts.load(Ordering::Relaxed) != 0 {
            if task.is_migratable() {
                return migratable::park(self, task, Suspension::ParkAnywhere);
            }
            if let Some(interrupt) = interrupt::due(task) {
                return Err(interrupt);
            }
        }
        if task.take_notification() {
            return Ok(());
        }
        if thread::panicking() {
            self.park_in_place(task);
            return Ok(());
        }
        if chaos::once_in(4) {
            // A wake-up may come between the look at the condition and the wait.
            // SAFETY: `task` is the green thread that calls.
            unsafe { task.suspend(Suspension::Yield) };
            if task.take_notification() {
                return Ok(());
            }
        }
        // SAFETY: `task` is the green thread that calls.
        unsafe { task.suspend(Suspension::Park) };
        if !task.take_notification() {
            self.answer(task);
        }
        Ok(())
    }

    /// Tells where `task` is parked, which is the green thread that calls, as often as it is asked, and parks again.
    #[cold]
    #[inline(never)]
    fn answer(&self, task: &Task) {
        while !task.take_notification() {
            if let Some(asked) = &mut *self.asked.borrow_mut() {
                trace::own_frames(task, asked);
            }
            // SAFETY: `task` is the green thread that calls.
            unsafe { task.suspend(Suspension::Park) };
        }
    }

    /// Like [`park`](Worker::park), until `deadline` at most.
    pub(crate) fn park_until(&self, task: &Task, deadline: Instant) -> Result<(), Interrupt> {
        // Without a count: from here to the end of this function nothing can happen but that the green thread as a whole waits.
        let timer = pin!(Timer::new(&self.timers, NonNull::from(task)));
        timer.as_ref().arm(deadline);
        if task.is_migratable() {
            // The timer is this worker's.
            migratable::park(self, task, Suspension::ParkHere)
        } else {
            self.park(task)
        }
    }

    /// Runs `f` with a timer that wakes the green thread that calls at `deadline`, if `f` takes so long.
    pub(super) fn with_timer<R>(
        &self,
        task: &TaskRef,
        deadline: Instant,
        f: impl FnOnce() -> R,
    ) -> R {
        // The reference is a count: `f` may suspend a coroutine that this frame is in, and which outlives the green thread.
        let timer = pin!(Timer::new(&self.timers, NonNull::from(&**task)));
        timer.as_ref().arm(deadline);
        f()
    }

    /// Parks `task` without letting others run, because it is unwinding: std counts panics by OS thread, and would take any
    /// other green thread of this worker for a panicking one. Sockets, timers and other OS threads can wake it; a green
    /// thread of the same worker cannot.
    #[cold]
    pub(super) fn park_in_place(&self, task: &Task) {
        let since = Instant::now();
        let mut silent = true;
        while !task.take_notification() {
            self.look_in_place(silent.then_some(LONG_IN_PLACE));
            if silent && since.elapsed() >= LONG_IN_PLACE {
                silent = false;
                let (name, worker) = (task.name().unwrap_or("<unnamed>"), self.index);
                report::line(format_args!(
                    "green thread '{name}' waits while it unwinds from a panic, and holds up worker {worker}"
                ));
            }
        }
    }

    /// Waits until something has come for this worker, without running anybody; for `longest` at most.
    #[cold]
    pub(super) fn look_in_place(&self, longest: Option<Duration>) {
        self.remote().reactor.sleep(
            || !self.remote().inbox.is_empty(),
            || {
                let next = self.timers.until_next(Instant::now());
                next.into_iter().chain(longest).min()
            },
            &mut self.events.borrow_mut(),
        );
        self.shared.monitor.note_awake();
        self.accept_inbox();
        self.fire_timers();
    }

    /// Yields if the turn has lasted long.
    #[inline(always)]
    pub(crate) fn yield_if_due(&self, task: &Task) {
        let left = self.untimed.get();
        if left > 0 {
            self.untimed.set(left - 1);
        } else {
            self.look_at_clock(task);
        }
    }

    #[cold]
    fn look_at_clock(&self, task: &Task) {
        self.untimed.set(UNTIMED);
        let turn = self.remote.turn.load(Ordering::Relaxed);
        let now = Instant::now();
        let (timed, since) = self.timed.get();
        if timed != turn {
            self.timed.set((turn, now));
        } else if now.duration_since(since) >= DUE {
            self.yield_now(task);
        }
    }

    /// Lets the other green threads of this worker run before `task`, which is the one that calls.
    #[inline(always)]
    pub(crate) fn yield_now(&self, task: &Task) {
        if task.interrupts.load(Ordering::Relaxed) != 0 {
            if task.is_migratable() {
                return migratable::yield_now(task);
            }
            if let Some(interrupt) = interrupt::due(task) {
                interrupt.strike();
            }
        }
        // While it unwinds others may not run: see `park_in_place`.
        if !thread::panicking() {
            // SAFETY: `task` is the green thread that calls.
            unsafe { task.suspend(Suspension::Yield) };
        }
    }
}
