//! A green thread as the scheduler sees it.
//!
//! # Who holds what
//!
//! A [`Task`] is reference-counted ([`TaskRef`]): its handles, waiters and timers hold it. The *right to run* it is a separate value, the
//! [`Runnable`], of which there is exactly one from spawn to end, except while the task is parked, when there is
//! none: parking gives it up, and the wake-up makes it anew.
//!
//! | field | who may touch it |
//! | --- | --- |
//! | `remote`, `end`, `interrupts`, `extras` (see there) | anybody |
//! | `next` | the holder of the `Runnable`, while that is in an inbox; who has set [`WOKEN`], while the wake-up is in an inbox |
//! | `state`, `coroutine`, `yielder`, `local`, `links` | the holder of the `Runnable`; once started, on the home worker's OS thread only; of a [migratable](super::migratable) one, which has no home, the holder of the `Runnable`, and `links` under a lock |
//! | `joiner` | the owner of the `JoinHandle`, until it has announced it; from then on whoever takes the announcement away |
//!
//! # States
//!
//! What happens on the home worker needs no atomics, as only its OS thread is concerned (`migratable.rs` tells of those without a home):
//!
//! | state | meaning | leaves to |
//! | --- | --- | --- |
//! | `Awake` | fresh, queued or running | `Notified`, `Parked`, `Ended` |
//! | `Notified` | queued or running, with a wake-up not yet taken | `Awake`, `Ended` |
//! | `Parked` | suspended; nobody holds the `Runnable` | `Notified`, `Asked` |
//! | `Asked` | resumed only to tell where it is parked | `Parked` |
//! | `Ended` | its body has returned | |
//!
//! A wake-up from another OS thread is a message: whoever sets the bit [`WOKEN`] in `remote`, where the home's number is, puts the task into its
//! home's inbox, once; the home resets the bit and wakes the task as its own. While the bit is set further wake-ups have nothing to do. A
//! task that has no home yet begins as `Notified`. One that has ended keeps the bit for ever, so that nobody looks for its home any
//! more, which may be gone; if a message is under way at its end, it stays on its home's list until that has arrived.
//!
//! And apart from these, whether it has ended:
//!
//! | end | meaning | set by | leaves to |
//! | --- | --- | --- | --- |
//! | [`RUNNING`] | not yet | spawn; a joiner that gives up | `JOINED`, `DONE` |
//! | [`JOINED`] | not yet; `joiner` waits for it | the joiner | `RUNNING`, `DONE` |
//! | [`DONE`] | its result is there | the green thread | |
//!
//! # Memory ordering
//!
//! Setting `WOKEN` releases what the waker did before, also if it was set already; the home acquires it when it resets the bit, or
//! becomes the home. The swap to `DONE` releases the result, which the joiner acquires, and acquires the joiner.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::Shared;
use super::cell::{TaskRef, Vtable};
use super::extras::Extras;
use super::interrupt::{CANCEL, Cancelled, Local};
use super::migratable::MIGRATABLE;
use super::park::{self, Waiter};
use super::started::Links;
use super::worker::{self, Worker};
use crate::arch;
use crate::coroutine::{Coroutine, CoroutineResult, Yielder};
use crate::stack::DefaultStack;
use crate::stack::overflow::Line;
use crate::thread::{self, ThreadId};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Awake,
    Notified,
    Parked,
    Asked,
    Ended,
}

/// Bit of `Task::remote`: a wake-up from another OS thread is on its way. Above it is the home's number plus one, or 0.
pub(super) const WOKEN: u32 = 1;

/// Bit of `Task::remote`, of a migratable one: it is parked, with no home, or bound to the one that is told. See `migratable.rs`.
pub(super) const PARKED: u32 = 1 << 31;

/// The home that `remote` tells; a number that no worker has, if it is `PARKED`.
pub(super) fn home_in(remote: u32) -> Option<usize> {
    (remote >> 1).checked_sub(1).map(|home| home as usize)
}

/// What `remote` is for one that has `worker` for its home.
pub(super) fn home(worker: &Worker) -> u32 {
    (worker.index() as u32 + 1) << 1
}

const RUNNING: u8 = 0;
const JOINED: u8 = 1;
const DONE: u8 = 2;

/// Why a green thread gave control back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspension {
    /// It wants to go on when the others had their turn.
    Yield,
    /// It waits for a wake-up.
    Park,
    /// It is migratable, and wants to go on, anywhere, when others had their turn.
    YieldAnywhere,
    /// It is migratable, and waits for a wake-up; then it goes on anywhere.
    ParkAnywhere,
    /// It is migratable, and waits for a wake-up; then it goes on on the same worker.
    ParkHere,
}

type TaskCoroutine = Coroutine<(), Suspension, ()>;

/// A green thread: what does not depend on its closure.
pub(crate) struct Task {
    pub(super) references: AtomicUsize,
    pub(super) vtable: &'static Vtable,
    /// Not used by a migratable one but while it parks in place.
    state: Cell<State>,
    end: AtomicU8,
    /// Wishes of others that it stop (`interrupt.rs`), and whether it is migratable.
    pub(super) interrupts: AtomicU8,
    /// The token of `thread::park`, which is apart from `state` so that no wait inside of the library eats it.
    pub(crate) token: AtomicBool,
    pub(super) remote: AtomicU32,
    /// Link of the inbox that the task is in.
    pub(super) next: AtomicPtr<Task>,
    /// May be gone once the task has ended.
    shared: NonNull<Shared>,
    pub(crate) id: ThreadId,
    pub(super) extras: Extras,
    stack_size: usize,
    /// Not dropped but leaked with its task: that would have to happen on the home worker, and cannot be seen to here.
    coroutine: UnsafeCell<Option<ManuallyDrop<TaskCoroutine>>>,
    /// At the top of its stack, once it has one: tells the overflow handler whose it is, too.
    yielder: Cell<*const Yielder<(), Suspension>>,
    pub(super) local: Local,
    pub(super) links: Links,
    joiner: UnsafeCell<Option<Waiter>>,
}

// SAFETY: the fields that are not Sync are touched as the module's documentation says: by the holder of the `Runnable`, of which there is
// one; after the first run on the home worker's OS thread only, as a `Runnable` is only ever queued there, unless it is that of a migratable
// task, whose spawner has promised that its frames may move (`Builder::migratable`); and `joiner` by who has taken its announcement away. All
// else is Sync.
unsafe impl Sync for Task {}
// SAFETY: as for Sync; dropping a task on any thread leaks its coroutine.
unsafe impl Send for Task {}

/// What a green thread is spawned with, besides its closure.
pub(crate) struct Settings {
    pub(crate) extras: Extras,
    /// From `stack::rounded_size`.
    pub(crate) stack_size: usize,
    /// It goes on on any worker of its runtime, which has several.
    pub(crate) migratable: bool,
}

impl Task {
    /// Makes a fresh green thread, ready to be scheduled.
    ///
    /// # Safety
    /// It is done, and its output taken or dropped, before anything ends that `F` or `T` borrow.
    pub(crate) unsafe fn fresh<F, T>(
        shared: &'static Shared,
        settings: Settings,
        body: F,
    ) -> (TaskRef, Runnable)
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: passed on; they are Send.
        unsafe { Task::fresh_here(shared, settings, body) }
    }

    /// Like [`fresh`](Task::fresh), for a closure that need not be Send.
    ///
    /// # Safety
    /// As [`fresh`](Task::fresh). Moreover, unless `F` and `T` are Send, the `Runnable` is put into the local queue of the calling
    /// OS thread's worker, and the output is taken on this OS thread.
    pub(crate) unsafe fn fresh_here<F, T>(
        shared: &'static Shared,
        settings: Settings,
        body: F,
    ) -> (TaskRef, Runnable)
    where
        F: FnOnce() -> T,
    {
        let header = |references, vtable| Task {
            references,
            vtable,
            state: Cell::new(State::Awake),
            end: AtomicU8::new(RUNNING),
            interrupts: AtomicU8::new(u8::from(settings.migratable) * MIGRATABLE),
            token: AtomicBool::new(false),
            remote: AtomicU32::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            shared: NonNull::from(shared),
            id: ThreadId::next(),
            extras: settings.extras,
            stack_size: settings.stack_size,
            coroutine: UnsafeCell::new(None),
            yielder: Cell::new(ptr::null()),
            local: Local::new(),
            links: Links::default(),
            joiner: UnsafeCell::new(None),
        };
        // SAFETY: passed on.
        let task = unsafe { TaskRef::new(body, header) };
        let runnable = Runnable { task: task.clone() };
        (task, runnable)
    }

    /// The runtime that it belongs to.
    ///
    /// # Safety
    /// The task has not ended: only until then does the runtime certainly exist.
    pub(super) unsafe fn shared(&self) -> &'static Shared {
        // SAFETY: passed on.
        unsafe { self.shared.as_ref() }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.extras.name()
    }

    /// Makes the current or the next park of this task return.
    #[inline]
    pub(crate) fn wake(&self) {
        match self.home_if_here() {
            Some(home) => self.wake_here(home),
            None => self.wake_from_afar(),
        }
    }

    /// The worker of the calling OS thread, if that is this task's home.
    #[inline(always)]
    pub(super) fn home_if_here(&self) -> Option<&'static Worker> {
        let home = home_in(self.remote.load(Ordering::Relaxed))?;
        worker::current().filter(|worker| worker.is_at(self.shared, home))
    }

    /// Wakes the task on its home's OS thread.
    #[inline]
    pub(super) fn wake_here(&self, home: &Worker) {
        match self.state.get() {
            State::Parked => {
                self.state.set(State::Notified);
                // SAFETY: parking has left a count behind, and PARKED has just ended.
                let task = unsafe { TaskRef::from_raw(NonNull::from(self)) };
                home.push_woken(Runnable { task });
            }
            State::Awake => self.state.set(State::Notified),
            // Who is asked runs on this OS thread, and wakes nobody.
            State::Notified | State::Asked | State::Ended => {}
        }
    }

    #[cold]
    fn wake_from_afar(&self) {
        let before = self.remote.fetch_or(WOKEN, Ordering::AcqRel);
        if before & WOKEN != 0 {
            return;
        }
        if before & PARKED != 0 {
            // SAFETY: this has set the bit.
            unsafe { self.queue_woken(before) };
        } else if let Some(home) = home_in(before) {
            // It has not ended, nor will its home before the message has arrived; then it may, at once.
            // SAFETY: so its runtime is there.
            let remote = &unsafe { self.shared() }.workers[home];
            let reactor = remote.reactor.clone();
            // SAFETY: whoever calls has it alive.
            let message = unsafe { TaskRef::from_borrowed(NonNull::from(self)) };
            remote.inbox.push(message);
            reactor.notify();
        }
    }

    /// Takes a message of [`wake_from_afar`](Task::wake_from_afar) in, on the home's OS thread.
    pub(super) fn receive_wake(&self, home: &Worker) {
        if self.state.get() == State::Ended {
            home.note_finished(self);
            return;
        }
        self.remote.fetch_and(!WOKEN, Ordering::AcqRel);
        self.wake_here(home);
    }

    /// Has `worker` be its home; returns whether it was woken while it had none.
    pub(super) fn settle(&self, worker: &Worker) -> bool {
        self.remote.swap(home(worker), Ordering::AcqRel) & WOKEN != 0
    }

    /// Returns whether it has never run, of one that is in an inbox: it has no home.
    pub(super) fn is_fresh(&self) -> bool {
        home_in(self.remote.load(Ordering::Relaxed)).is_none()
    }

    /// Has a wake-up pending, of one that has just got a home.
    pub(super) fn note_woken(&self) {
        self.state.set(State::Notified);
    }

    /// Takes a pending wake-up, if there is one. For the running task itself, with a home.
    #[inline(always)]
    pub(super) fn take_notification(&self) -> bool {
        let notified = self.state.get() == State::Notified;
        if notified {
            self.state.set(State::Awake);
        }
        notified
    }

    /// Has a parked task tell where: it runs `Worker::park` on, which answers and parks again. False, if it is not parked.
    pub(super) fn ask(&self, home: &Worker) -> bool {
        if self.state.get() != State::Parked {
            return false;
        }
        self.state.set(State::Asked);
        // SAFETY: parking has left a count behind, which it does again below.
        let task = unsafe { TaskRef::from_raw(NonNull::from(self)) };
        match (Runnable { task }).run(home) {
            After::Gone => true,
            After::Again(_) => unreachable!("who is asked parks again"),
        }
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

    /// Asks it to end: it unwinds at its next suspension, or ends without having run. May be called from any thread.
    pub(crate) fn cancel(&self) {
        self.interrupts.fetch_or(CANCEL, Ordering::Release);
        self.wake();
    }

    /// Ends a green thread that could not get a stack, or was cancelled before it began. Runs on the worker's own stack.
    pub(super) fn refuse<T>(
        &self,
        error: io::Error,
        body: impl FnOnce() -> T,
    ) -> thread::Result<T> {
        // A destructor that panics must not take the worker with it.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(body)));
        let payload: Box<dyn Any + Send> = if self.is_cancelled() {
            Box::new(Cancelled::new())
        } else {
            thread::report_refused(self.name(), &error);
            Box::new(error)
        };
        dropped.and(Err(payload))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) & CANCEL != 0
    }

    /// Has the output dropped when the task ends. For its own OS thread, of a task whose handle is gone.
    pub(crate) fn drop_output_at_end(&self) {
        self.local.detached.set(true);
    }

    /// Returns whether nobody will take the output, and it may not leave this OS thread. For the task itself.
    pub(super) fn drops_output(&self) -> bool {
        self.local.detached.get()
    }

    /// Drops the values that are its own. For the task itself, after its body, and after whatever else of the user's it runs.
    #[inline(always)]
    pub(super) fn end_values(&self) {
        if let Some(values) = self.extras.values() {
            values.end();
        }
    }

    /// Announces that the result is there, and wakes the joiner.
    pub(super) fn complete(&self) {
        if self.end.swap(DONE, Ordering::AcqRel) == JOINED {
            // SAFETY: this swap has taken the announcement away.
            let joiner = unsafe { &mut *self.joiner.get() }.take();
            if let Some(joiner) = joiner {
                joiner.wake();
            }
        }
    }

    /// Returns whether the result is there.
    pub(crate) fn is_done(&self) -> bool {
        self.end.load(Ordering::Acquire) == DONE
    }

    /// Waits until the result is there.
    ///
    /// # Safety
    /// Called by the owner of the only `JoinHandle`.
    pub(crate) unsafe fn wait_until_done(&self) {
        // SAFETY: passed on.
        if !unsafe { self.announce() } {
            return;
        }
        /// The joiner may leave by unwinding: it is cancelled, or has no more time.
        struct Announced<'a>(&'a Task);
        impl Drop for Announced<'_> {
            fn drop(&mut self) {
                self.0.withdraw();
            }
        }
        let _announced = Announced(self);
        while !self.is_done() {
            park::park();
        }
    }

    /// Has the calling thread woken when the result is there, until it [withdraws](Task::withdraw) that; false, if the result is there.
    ///
    /// # Safety
    /// Called by the owner of the only `JoinHandle`, and not again before `withdraw`.
    pub(crate) unsafe fn announce(&self) -> bool {
        if self.is_done() {
            return false;
        }
        // SAFETY: nothing is announced, so nobody else looks at it.
        unsafe { *self.joiner.get() = Some(Waiter::current()) };
        let announced =
            self.end
                .compare_exchange(RUNNING, JOINED, Ordering::AcqRel, Ordering::Acquire);
        if announced.is_err() {
            // SAFETY: as above; it is done, and will not look any more.
            unsafe { *self.joiner.get() = None };
        }
        announced.is_ok()
    }

    /// Takes the announcement back, if it is still there.
    pub(crate) fn withdraw(&self) {
        if self
            .end
            .compare_exchange(JOINED, RUNNING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            // SAFETY: this exchange has taken the announcement away.
            unsafe { *self.joiner.get() = None };
        }
    }

    /// Says whose stack overflowed.
    pub(super) fn describe(&self, line: &mut Line) {
        line.text("green thread '");
        line.name(self.name().unwrap_or("<unnamed>"));
        line.text("' (id ");
        line.number(self.id.as_u64().get());
        line.text(")");
    }

    /// Returns whether these are the addresses of the stack that the task has started on.
    pub(super) fn starts_in(&self, stack: &Range<usize>) -> bool {
        stack.contains(&(self.yielder.get() as usize))
    }
}

/// The right to run a green thread: see the module's documentation.
pub(crate) struct Runnable {
    task: TaskRef,
}

/// What became of a green thread after it ran for a while.
pub(super) enum After {
    /// It wants to run again.
    Again(Runnable),
    /// It is parked, or it has ended.
    Gone,
}

impl Runnable {
    /// The right to run a green thread, from an inbox that is not told of a wake-up by it.
    pub(super) fn placed(task: TaskRef) -> Runnable {
        Runnable { task }
    }

    /// For an inbox.
    pub(super) fn into_task(self) -> TaskRef {
        self.task
    }

    /// Returns whether it has never run, so that it may run on any worker.
    pub(super) fn is_fresh(&self) -> bool {
        self.coroutine().is_none()
    }

    /// Has the processor fetch what the task itself is made of.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        let start = self.task.as_ptr().as_ptr().cast::<u8>();
        arch::prefetch(start);
        arch::prefetch(start.wrapping_add(64));
    }

    /// Has it fetch the part of the stack that the task needs first.
    #[inline(always)]
    pub(super) fn prefetch_stack(&self) {
        if let Some(coroutine) = self.coroutine() {
            coroutine.prefetch();
        }
    }

    pub(super) fn is_migratable(&self) -> bool {
        self.task.is_migratable()
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    #[inline(always)]
    fn coroutine(&self) -> &Option<ManuallyDrop<TaskCoroutine>> {
        // SAFETY: there is one `Runnable` for a task; it is borrowed, so the mutable reference below does not exist.
        unsafe { &*self.task.coroutine.get() }
    }

    #[inline(always)]
    fn coroutine_mut(&mut self) -> &mut Option<ManuallyDrop<TaskCoroutine>> {
        // SAFETY: there is one `Runnable` for a task, and it is borrowed mutably; the task itself never touches its coroutine.
        unsafe { &mut *self.task.coroutine.get() }
    }

    /// Runs the green thread on `worker`, to which it belongs or which has stolen it fresh, until it yields, parks or ends.
    #[inline(always)]
    pub(super) fn run(mut self, worker: &Worker) -> After {
        if self.is_fresh() && !self.start(worker) {
            return After::Gone;
        }
        // SAFETY: this `Runnable` keeps the task alive while it runs, after which it is not the current one any more.
        unsafe { worker.set_current(self.task.as_ptr().as_ptr()) };
        let result = self.resume();
        // SAFETY: null is always right.
        unsafe { worker.set_current(ptr::null()) };
        match result {
            CoroutineResult::Yield(Suspension::Yield) => After::Again(self),
            CoroutineResult::Yield(Suspension::Park) => self.park(),
            CoroutineResult::Yield(other) => {
                self.suspend_migratable(other, worker);
                After::Gone
            }
            CoroutineResult::Return(()) => {
                self.finish(worker);
                After::Gone
            }
        }
    }

    /// Gives it a stack and, unless it is migratable, a home; false if it has ended instead.
    fn start(&mut self, worker: &Worker) -> bool {
        let task = &self.task;
        // SAFETY: it has not ended.
        let shared = unsafe { task.shared() };
        if shared.is_closing() {
            task.interrupts.fetch_or(CANCEL, Ordering::Relaxed);
        }
        let stack = if task.is_cancelled() {
            Err(io::ErrorKind::Interrupted.into())
        } else {
            DefaultStack::of_rounded_size(task.stack_size)
        };
        let stack = match stack {
            Ok(stack) => stack,
            Err(error) => {
                // On the worker's own stack, where no green thread runs: what blocks there, blocks the worker.
                // SAFETY: this is the first run, and this the `Runnable`.
                unsafe { task.run_body(Err(error)) };
                return false;
            }
        };
        if task.is_migratable() {
            shared.migratables.add(task, shared);
        } else {
            if task.settle(worker) {
                task.note_woken();
            }
            worker.note_started(task);
        }
        let pointer = task.as_ptr();
        let body = move |yielder: &Yielder<(), Suspension>, ()| {
            // SAFETY: a count of the task is held for as long as its coroutine lives, by a `Runnable` or by having parked.
            let task = ManuallyDrop::new(unsafe { TaskRef::from_raw(pointer) });
            task.yielder.set(yielder);
            // SAFETY: this is the first run, by the holder of the `Runnable`.
            unsafe { task.run_body(Ok(())) };
        };
        let coroutine = ManuallyDrop::new(Coroutine::with_stack(stack, body));
        *self.coroutine_mut() = Some(coroutine);
        true
    }

    /// Ends a green thread that has not begun, in a runtime that has ended. A migratable one that has begun is left behind.
    pub(super) fn refuse_cancelled(self) {
        if !self.is_fresh() {
            return self.leave_behind();
        }
        self.task.interrupts.fetch_or(CANCEL, Ordering::Relaxed);
        // SAFETY: this is the first run, and this the `Runnable`.
        unsafe { self.task.run_body(Err(io::ErrorKind::Interrupted.into())) };
    }

    #[inline(always)]
    fn resume(&mut self) -> CoroutineResult<Suspension, ()> {
        match self.coroutine_mut() {
            Some(coroutine) => coroutine.resume_not_panicking(()),
            None => unreachable!("only a started green thread is resumed"),
        }
    }

    /// Makes the task wakeable. Nobody can have woken it since it has looked: its home was busy with it.
    #[inline(always)]
    fn park(self) -> After {
        self.task.state.set(State::Parked);
        // Its count stays, for the wake-up to take over.
        self.task.into_raw();
        After::Gone
    }

    fn finish(mut self, worker: &Worker) {
        if let Some(coroutine) = self.coroutine_mut().take() {
            drop(ManuallyDrop::into_inner(coroutine).into_stack());
        }
        self.task.state.set(State::Ended);
        let before = self.task.remote.fetch_or(WOKEN, Ordering::AcqRel);
        if self.task.is_migratable() {
            // No message is under way to one without a home.
            let shared = worker.shared();
            shared.migratables.remove(&self.task, shared);
        } else if before & WOKEN == 0 {
            worker.note_finished(&self.task);
        }
    }
}
