//! Migratable green threads: those whose spawner has promised that any worker may go on with them.
//!
//! # Waiting and waking
//!
//! They are what a fresh green thread is until it first runs, at every suspension anew: without a home, in a queue that others steal from. As no OS
//! thread is theirs, nothing about them is told apart by it: who wakes them changes `Task::remote`, always, and they look there instead
//! of at their `state`.
//!
//! | `remote` | what it does | a wake-up |
//! | --- | --- | --- |
//! | 0 | runs, or is queued | sets `WOKEN` |
//! | `WOKEN` | the same, with a wake-up not yet taken | does nothing |
//! | [`PARKED`], perhaps with a worker | is parked; nobody holds the `Runnable` | sets `WOKEN`, makes the `Runnable` and queues it: with that worker, or where the waker is |
//! | `PARKED`, `WOKEN` | is queued, or about to be; resets all when it runs | does nothing |
//!
//! 1. It looks for a wake-up, then suspends. On the stack of the worker, when nothing uses its own any more, the worker exchanges 0 for `PARKED`.
//!    If it finds `WOKEN`, it queues the green thread again.
//! 2. Of all that wake a parked one, one sets `WOKEN`, and it alone has the right to run it then. From there on it takes the way of a fresh green
//!    thread: visible in a queue first, then the search for who runs it (README, "Search").
//! 3. When it runs again, it exchanges what is there for 0, and with it takes all wake-ups so far.
//!
//! **Memory ordering.** 1 releases what the green thread has done, and 2 acquires it; the queue hands it on to the next worker. A
//! wake-up releases what its thread has done before, also if it finds `WOKEN` (all are read-modify-write operations), and 1, 3 or the next look acquires it.
//!
//! # Bound for a time
//!
//! It stays with the worker that it is on while something in its frames is that worker's: while it waits with a deadline, as the timer is in that
//! worker's wheel and is woken by it alone; and inside of a limit or a mask, as another green thread may resume a coroutine that it is left in,
//! and take it out of the chain (`interrupt.rs`). It is then queued in `Worker::local`, or sent to the worker's inbox, itself and not a message.
//!
//! While it unwinds it does not suspend at all, as any other (README, "Parking while unwinding"): for that time it has a home, which gets messages
//! of wake-ups. It gives the home up when none is under way.
//!
//! # Thread-locals
//!
//! A compiler may keep the address of a thread-local over a suspension. corde's own are therefore reached through `arch::words`, which finds them anew
//! each time, or by functions that are never inlined and do not suspend between two uses; or only where no green thread runs. A `&Worker` is not
//! used after a suspension of a green thread that may have moved; its memory stays while there are migratable ones (`Worker::run`).

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::cell::TaskRef;
use super::interrupt::{self, CANCEL, Interrupt};
use super::started::Started;
use super::task::{PARKED, Runnable, Suspension, Task, WOKEN, home, home_in};
use super::worker::{self, Worker};
use super::{Leftover, Shared, chaos};

/// Bit of `Task::interrupts`, which every wait looks at: so others need not look for it. Never changes.
pub(super) const MIGRATABLE: u8 = 4;

/// Parks `task`, which is the green thread that calls, on `worker`. Unless `how` is `ParkHere`, or it is bound, the worker may be another one
/// afterwards.
#[cold]
#[inline(never)]
pub(super) fn park(worker: &Worker, task: &Task, how: Suspension) -> Result<(), Interrupt> {
    if let Some(interrupt) = due(task) {
        return Err(interrupt);
    }
    if task.take_woken() {
        return Ok(());
    }
    if thread::panicking() {
        park_in_place(worker, task);
        return Ok(());
    }
    let (turn, how) = if how == Suspension::ParkHere || task.is_bound() {
        (Suspension::Yield, Suspension::ParkHere)
    } else {
        (Suspension::YieldAnywhere, Suspension::ParkAnywhere)
    };
    if chaos::once_in(4) {
        // A wake-up may come between the look at the condition and the wait.
        // SAFETY: `task` is the green thread that calls.
        unsafe { task.suspend(turn) };
        if task.take_woken() {
            return Ok(());
        }
    }
    // SAFETY: `task` is the green thread that calls.
    unsafe { task.suspend(how) };
    // Here it may be another OS thread.
    task.remote.swap(0, Ordering::AcqRel);
    Ok(())
}

/// Lets others run before `task`, which is the green thread that calls; any worker may go on with it then, unless it is bound.
#[cold]
#[inline(never)]
pub(super) fn yield_now(task: &Task) {
    if let Some(interrupt) = due(task) {
        interrupt.strike();
    }
    // While it unwinds others may not run.
    if !thread::panicking() {
        let turn = if task.is_bound() {
            Suspension::Yield
        } else {
            Suspension::YieldAnywhere
        };
        // SAFETY: `task` is the green thread that calls.
        unsafe { task.suspend(turn) };
    }
}

/// What is to strike the green thread that calls, which is about to wait.
fn due(task: &Task) -> Option<Interrupt> {
    if task.interrupts.load(Ordering::Relaxed) == MIGRATABLE {
        return None;
    }
    interrupt::due(task)
}

/// Parks while it unwinds.
fn park_in_place(worker: &Worker, task: &Task) {
    if task.settle(worker) {
        task.note_woken();
    }
    worker.park_in_place(task);
    while task
        .remote
        .compare_exchange(home(worker), 0, Ordering::AcqRel, Ordering::Acquire)
        .is_err()
    {
        // A message is under way.
        worker.look_in_place(None);
    }
    // For the next park.
    if task.take_notification() {
        task.remote.fetch_or(WOKEN, Ordering::Relaxed);
    }
}

impl Task {
    /// Returns whether it goes on on any worker, once it was suspended.
    #[inline(always)]
    pub(crate) fn is_migratable(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) & MIGRATABLE != 0
    }

    /// Returns whether something in its frames is its worker's. For the task itself.
    fn is_bound(&self) -> bool {
        self.local.binds()
    }

    /// Returns whether it is parked and belongs to a worker, of one that is in the inbox of this worker.
    pub(super) fn is_bound_here(&self) -> bool {
        self.remote.load(Ordering::Relaxed) & PARKED != 0
    }

    /// Takes a wake-up that came while it ran. For the task itself, which is migratable.
    fn take_woken(&self) -> bool {
        let woken = self.remote.load(Ordering::Relaxed) & WOKEN != 0;
        if woken {
            self.remote.fetch_and(!WOKEN, Ordering::AcqRel);
        }
        woken
    }

    /// Queues a parked one, with the right to run it.
    ///
    /// # Safety
    /// The caller has just set `WOKEN` and found `before`, which says that it was parked and not woken.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn queue_woken(&self, before: u32) {
        // SAFETY: parking has left a count behind, for the one who sets the bit.
        let task = unsafe { TaskRef::from_raw(NonNull::from(self)) };
        // SAFETY: it has not ended, nor can it before it is queued.
        let shared = unsafe { self.shared() };
        let here = worker::current().filter(|worker| worker.belongs_to(shared));
        match (home_in(before & !PARKED), here) {
            (Some(home), Some(here)) if here.index() == home => {
                here.push_woken(Runnable::placed(task));
            }
            (Some(home), _) => {
                let remote = &shared.workers[home];
                // From the moment that it is in the inbox it may run and end, and its runtime with it.
                let reactor = remote.reactor.clone();
                remote.inbox.push(task);
                reactor.notify();
            }
            (None, Some(here)) => here.push_woken_migratable(Runnable::placed(task)),
            (None, None) => shared.inject_woken(Runnable::placed(task)),
        }
    }
}

impl Runnable {
    /// Does what a migratable green thread wants that has just suspended on `worker`.
    #[cold]
    #[inline(never)]
    pub(super) fn suspend_migratable(self, how: Suspension, worker: &Worker) {
        let here = how == Suspension::ParkHere;
        let parked = match how {
            Suspension::ParkHere => PARKED | home(worker),
            Suspension::ParkAnywhere => PARKED,
            _ => return worker.push_migratable(self),
        };
        let remote = &self.task().remote;
        let result = remote.compare_exchange(0, parked, Ordering::AcqRel, Ordering::Acquire);
        match result {
            // Its count stays, for the wake-up to take over, which may have happened already.
            Ok(_) => {
                self.into_task().into_raw();
            }
            Err(_) if here => worker.push_local(self),
            Err(_) => worker.push_migratable(self),
        }
    }

    /// Leaves a migratable green thread behind whose runtime has ended.
    pub(super) fn leave_behind(self) {
        // Nobody queues it any more, and the report names it.
        let remote = &self.task().remote;
        remote.fetch_or(PARKED | WOKEN, Ordering::AcqRel);
        self.into_task().into_raw();
    }
}

/// The migratable green threads of a runtime that have begun and not ended. They are on no worker's list.
///
/// The links of a listed task are touched by who has locked the list.
pub(super) struct Migratables {
    list: Mutex<List>,
    /// Its length, to be read without the lock.
    count: AtomicUsize,
}

struct List(Started);

// SAFETY: its tasks are Sync, and alive while they are listed; their links are touched under the lock.
unsafe impl Send for List {}

impl Migratables {
    pub(super) fn new() -> Migratables {
        Migratables {
            list: Mutex::new(List(Started::new())),
            count: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // Nothing panics between two consistent states.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Lists a task of `shared` that begins.
    pub(super) fn add(&self, task: &Task, shared: &Shared) {
        let list = self.lock();
        list.0.add(task);
        self.count.store(list.0.len(), Ordering::Relaxed);
        drop(list);
        // Too late for `cancel_all`? Then that was before this had the lock, and the new phase is seen.
        if shared.is_closing() {
            task.interrupts.fetch_or(CANCEL, Ordering::Relaxed);
        }
    }

    /// Takes one off that ends.
    pub(super) fn remove(&self, task: &Task, shared: &Shared) {
        let list = self.lock();
        list.0.remove(task);
        self.count.store(list.0.len(), Ordering::Relaxed);
        let is_last = list.0.is_empty();
        drop(list);
        // Workers wait for it to end (README, "Notify": what they look at has just been stored).
        if is_last && shared.is_closing() {
            for remote in &shared.workers {
                remote.reactor.notify();
            }
        }
    }

    pub(super) fn cancel_all(&self) {
        self.lock().0.iter().for_each(Task::cancel);
    }

    /// Those that no worker will run any more, once workers have ended.
    pub(super) fn leftovers(&self) -> Vec<Leftover> {
        let is_left = |task: &&Task| task.remote.load(Ordering::Relaxed) & PARKED != 0;
        let list = self.lock();
        list.0
            .iter()
            .filter(is_left)
            .map(Leftover::parked)
            .collect()
    }
}
