//! A green thread as the scheduler sees it.
//!
//! # Who holds what
//!
//! A [`Task`] is reference-counted: its handles, waiters and timers hold it. The *right to run* it is a separate value, the
//! [`Runnable`], of which there is exactly one from spawn to end, except while the task is parked, when there is
//! none: parking gives it up, and the one who takes the state away from [`PARKED`] makes it anew.
//!
//! | field | who may touch it |
//! | --- | --- |
//! | `state` | anybody |
//! | `home` | written by the worker that starts it, once; read by those who found the task parked |
//! | `next` | the holder of the `Runnable`, while it is in an inbox |
//! | `stage`, `yielder`, `stack_bottom` | the holder of the `Runnable`; once started, on the home worker's OS thread only |
//!
//! # States
//!
//! | state | meaning | set by | leaves to |
//! | --- | --- | --- | --- |
//! | [`AWAKE`] | queued or running | spawn; the green thread when it takes a wake-up | `NOTIFIED`, `PARKED`, `PARKED_IN_PLACE` |
//! | [`NOTIFIED`] | queued or running, with a wake-up not yet taken | a waker | `AWAKE` |
//! | [`PARKED`] | suspended; nobody holds the `Runnable` | its worker, after the switch | `NOTIFIED` |
//! | [`PARKED_IN_PLACE`] | its worker's OS thread waits inside of it | the green thread | `NOTIFIED` |
//!
//! # Memory ordering
//!
//! A waker's swap to `NOTIFIED` releases what it did before; the parked side's swap to `AWAKE` acquires it. The worker's change
//! to `PARKED` releases the task's stage and home, and the waker's swap acquires them before it passes the `Runnable` on.

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::{self, ManuallyDrop};
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};

use super::worker::{self, Worker};
use super::{Remote, Shared};
use crate::coroutine::{Coroutine, CoroutineResult, Yielder};
use crate::stack::overflow::Line;
use crate::stack::{DefaultStack, Stack};
use crate::thread::ThreadId;

const AWAKE: u8 = 0;
const NOTIFIED: u8 = 1;
const PARKED: u8 = 2;
const PARKED_IN_PLACE: u8 = 3;

/// What a green thread runs. It is told why, if it could not get a stack: then it runs on the worker's.
pub(crate) type Body = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Why a green thread gave control back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspension {
    /// It wants to go on when the others had their turn.
    Yield,
    /// It waits for a wake-up.
    Park,
}

/// A green thread.
pub(crate) struct Task {
    pub(crate) id: ThreadId,
    pub(crate) name: Option<Box<str>>,
    /// The token of `thread::park`, which is apart from `state` so that no wait inside of the library eats it.
    pub(crate) token: AtomicBool,
    stack_size: usize,
    shared: &'static Shared,
    state: AtomicU8,
    home: AtomicUsize,
    /// Link of the inbox that the task is in.
    pub(super) next: AtomicPtr<Task>,
    stage: UnsafeCell<Stage>,
    yielder: Cell<*const Yielder<(), Suspension>>,
    /// Where its stack begins, once it has one: tells the overflow handler whose it is.
    stack_bottom: Cell<usize>,
}

enum Stage {
    Fresh(Body),
    /// Not dropped but leaked with its task: that would have to happen on the home worker, and cannot be seen to here.
    Started(ManuallyDrop<Coroutine<(), Suspension, ()>>),
    Finished,
}

// SAFETY: `stage`, `yielder` and `stack_bottom` are touched by the holder of the `Runnable` only, of which there is one. Before the first run
// the stage holds a body that is Send; afterwards a `Runnable` is only ever run by the home worker (`Runnable::schedule`),
// so the coroutine stays on its OS thread. All else is Sync.
unsafe impl Sync for Task {}
// SAFETY: as for Sync; dropping a task on any thread drops at most a body, which is Send (`Stage::Started`).
unsafe impl Send for Task {}

impl Task {
    /// Makes a fresh green thread, ready to be scheduled.
    pub(crate) fn new(
        shared: &'static Shared,
        name: Option<Box<str>>,
        stack_size: usize,
        body: Body,
    ) -> (Arc<Task>, Runnable) {
        let task = Arc::new(Task {
            id: ThreadId::next(),
            name,
            token: AtomicBool::new(false),
            stack_size,
            shared,
            state: AtomicU8::new(AWAKE),
            home: AtomicUsize::new(usize::MAX),
            next: AtomicPtr::new(ptr::null_mut()),
            stage: UnsafeCell::new(Stage::Fresh(body)),
            yielder: Cell::new(ptr::null()),
            stack_bottom: Cell::new(0),
        });
        let runnable = Runnable { task: task.clone() };
        (task, runnable)
    }

    /// Makes the current or the next park of this task return.
    pub(crate) fn wake(self: &Arc<Task>) {
        match self.state.swap(NOTIFIED, Ordering::AcqRel) {
            PARKED => {
                // SAFETY: this very swap took PARKED away.
                let runnable = unsafe { Runnable::recover(self) };
                runnable.schedule();
            }
            PARKED_IN_PLACE => self.home().reactor.notify(),
            _ => {}
        }
    }

    /// The worker that has started it.
    fn home(&self) -> &'static Remote {
        &self.shared.workers[self.home.load(Ordering::Relaxed)]
    }

    /// Takes a pending wake-up, if there is one. For the running task itself.
    #[inline(always)]
    pub(super) fn take_notification(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
            && self.state.swap(AWAKE, Ordering::Acquire) == NOTIFIED
    }

    /// Returns whether a wake-up is pending.
    pub(super) fn is_notified(&self) -> bool {
        self.state.load(Ordering::SeqCst) == NOTIFIED
    }

    /// Lets wakers know that the worker's OS thread waits in this task; false if a wake-up was there first.
    pub(super) fn begin_park_in_place(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, PARKED_IN_PLACE, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Switches to the worker, and returns when the worker resumes this task.
    ///
    /// # Safety
    /// Called by the running task itself, below the frames of its body.
    #[inline(always)]
    pub(super) unsafe fn suspend(&self, why: Suspension) {
        // SAFETY: `start` stored the pointer before the body ran, and the yielder lives until the body has ended.
        let yielder = unsafe { &*self.yielder.get() };
        yielder.switch(why);
    }

    /// Says whose stack overflowed.
    pub(super) fn describe(&self, line: &mut Line) {
        line.text("green thread '");
        line.name(self.name.as_deref().unwrap_or("<unnamed>"));
        line.text("' (id ");
        line.number(self.id.as_u64().get());
        line.text(")");
    }

    /// Returns whether these are the addresses of the stack that the task has started on.
    pub(super) fn starts_in(&self, stack: &Range<usize>) -> bool {
        stack.contains(&self.stack_bottom.get())
    }
}

/// The right to run a green thread: see the module's documentation.
pub(crate) struct Runnable {
    task: Arc<Task>,
}

/// What became of a green thread after it ran for a while.
pub(super) enum After {
    /// It wants to run again.
    Again(Runnable),
    /// It is parked, or it has ended.
    Gone,
}

impl Runnable {
    /// Gives the right up, keeping the task's count for [`recover`](Runnable::recover).
    fn give_up(self) -> *const Task {
        self.into_raw()
    }

    /// Makes the right anew that was given up.
    ///
    /// # Safety
    /// Called once for each time that the state is taken away from `PARKED`.
    unsafe fn recover(task: &Arc<Task>) -> Runnable {
        // SAFETY: `give_up` left one count behind for each time the state became PARKED.
        let task = unsafe { Arc::from_raw(Arc::as_ptr(task)) };
        Runnable { task }
    }

    /// Queues it where it may run: a started one with its home worker.
    fn schedule(self) {
        let shared = self.task.shared;
        let home = self.task.home.load(Ordering::Relaxed);
        match worker::current() {
            Some(worker) if worker.is_at(shared, home) => worker.push_local(self),
            _ => {
                let remote = &shared.workers[home];
                remote.inbox.push(self);
                remote.reactor.notify();
            }
        }
    }

    /// Turns it into a bare pointer, for the inbox.
    pub(super) fn into_raw(self) -> *const Task {
        Arc::into_raw(self.task)
    }

    /// Turns a pointer back that came from [`into_raw`](Runnable::into_raw).
    ///
    /// # Safety
    /// Once for each pointer.
    pub(super) unsafe fn from_raw(task: *const Task) -> Runnable {
        // SAFETY: passed on.
        let task = unsafe { Arc::from_raw(task) };
        Runnable { task }
    }

    /// Runs the green thread on `worker`, to which it belongs or which has stolen it fresh, until it yields, parks or ends.
    #[inline(always)]
    pub(super) fn run(mut self, worker: &Worker) -> After {
        if let Some(body) = self.take_body() {
            match DefaultStack::new(self.task.stack_size) {
                Ok(stack) => self.start(body, stack, worker.index()),
                Err(error) => {
                    // On the worker's own stack, where no green thread runs: what blocks there, blocks the worker.
                    body(Err(error));
                    return After::Gone;
                }
            }
        }
        // SAFETY: this `Runnable` keeps the task alive while it runs, after which it is not the current one any more.
        unsafe { worker.set_current(Arc::as_ptr(&self.task)) };
        let result = self.resume();
        // SAFETY: null is always right.
        unsafe { worker.set_current(ptr::null()) };
        match result {
            CoroutineResult::Yield(Suspension::Yield) => After::Again(self),
            CoroutineResult::Yield(Suspension::Park) => self.park(),
            CoroutineResult::Return(()) => {
                drop(self.finish());
                After::Gone
            }
        }
    }

    #[inline(always)]
    fn stage(&mut self) -> &mut Stage {
        // SAFETY: there is one `Runnable` for a task, and it is borrowed mutably; the task itself never touches its stage.
        unsafe { &mut *self.task.stage.get() }
    }

    /// Takes the body of a task that has not started.
    #[inline(always)]
    fn take_body(&mut self) -> Option<Body> {
        let stage = self.stage();
        match mem::replace(stage, Stage::Finished) {
            Stage::Fresh(body) => Some(body),
            other => {
                *stage = other;
                None
            }
        }
    }

    fn start(&mut self, body: Body, stack: DefaultStack, home: usize) {
        self.task.home.store(home, Ordering::Relaxed);
        self.task.stack_bottom.set(stack.bottom().as_ptr() as usize);
        let task = Arc::as_ptr(&self.task);
        let coroutine =
            Coroutine::with_stack(stack, move |yielder: &Yielder<(), Suspension>, ()| {
                // SAFETY: a count of the task is held for as long as its coroutine lives, by a `Runnable` or by `give_up`.
                let task = unsafe { &*task };
                task.yielder.set(yielder);
                body(Ok(()));
            });
        *self.stage() = Stage::Started(ManuallyDrop::new(coroutine));
    }

    #[inline(always)]
    fn resume(&mut self) -> CoroutineResult<Suspension, ()> {
        match self.stage() {
            Stage::Started(coroutine) => coroutine.resume_not_panicking(()),
            Stage::Fresh(_) | Stage::Finished => {
                unreachable!("only a started green thread is resumed")
            }
        }
    }

    /// Makes the task wakeable, or finds that a wake-up has come between.
    #[inline(always)]
    fn park(self) -> After {
        let task = self.give_up();
        // SAFETY: the count that was just given up keeps the task alive: only a waker that finds PARKED takes it over.
        let state = unsafe { &(*task).state };
        match state.compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => After::Gone,
            // SAFETY: the state did not become PARKED, so no waker recovers the `Runnable`.
            Err(_) => After::Again(unsafe { Runnable::from_raw(task) }),
        }
    }

    fn finish(&mut self) -> DefaultStack {
        match mem::replace(self.stage(), Stage::Finished) {
            Stage::Started(coroutine) => ManuallyDrop::into_inner(coroutine).into_stack(),
            Stage::Fresh(_) | Stage::Finished => {
                unreachable!("only a started green thread finishes")
            }
        }
    }
}
