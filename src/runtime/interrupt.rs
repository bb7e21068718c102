//! Interrupts: what makes a thread leave a wait by unwinding. It was cancelled, or a limit around it is over: the time of a
//! [`timeout`](crate::time::timeout), or a [`Signal`] (the token of [`CancelToken::run_until_cancelled`](crate::thread::CancelToken)).
//!
//! An interrupt is a wish until the thread next waits: then it *strikes*, at the beginning of the wait, as an unwind like that of a panic
//! but without the panic hook. So a wait that has what it waits for returns it; nothing is lost on the way. It never strikes
//! while the thread unwinds already, nor where it is masked. It stays wished for until it is answered: a
//! body that catches the unwind and goes on meets it again at its next wait.
//!
//! A green thread that is parked is woken by an interrupt like by anything else, looks at what it waits for, and begins to wait anew: there
//! it strikes. OS threads cannot be cancelled; their limits work the same way, with the clock instead of a timer.
//!
//! # Limits
//!
//! The limits of a thread are a chain through its frames, the innermost first. Whatever may have ended one sets [`TIMEOUT`] and wakes the
//! thread: its worker, when a timer fires; whoever raises a signal, from any thread ([`alert`]). The next wait
//! then looks through the chain, and unwinds to the outermost limit that is over. The bit stays as long as a limit is over that has not been
//! left, so that a mask that ends, or a body that catches the unwind, does not lose it.
//!
//! Coroutines may be suspended inside of a limit or a mask, and be resumed by another green thread of the OS thread. Thus limits are not always left
//! in order: each takes itself out of the middle, and remembers whose chain it is in.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::cell::TaskRef;
use super::extras::{self, Values};
use super::park::Waiter;
use super::task::Task;
use super::worker;

/// Bit of `Task::interrupts`: somebody wants it to end.
pub(super) const CANCEL: u8 = 1;

/// A limit may be over.
pub(super) const TIMEOUT: u8 = 2;

/// What a cancelled green thread ends with: the payload that [`JoinHandle::join`](crate::thread::JoinHandle::join) returns as its error.
///
/// # Examples
///
/// ```
/// use corde::thread::{self, Cancelled};
///
/// let endless = thread::spawn(|| loop { thread::park() });
/// endless.cancel();
/// assert!(endless.join().unwrap_err().is::<Cancelled>());
/// ```
pub struct Cancelled {
    /// If it has unwound.
    _strike: Option<Strike>,
}

impl Cancelled {
    /// For one that ends without having been struck.
    pub(crate) fn new() -> Cancelled {
        Cancelled { _strike: None }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled").finish_non_exhaustive()
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the green thread was cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// The payload of an unwind that ends at a limit.
struct Overdue {
    /// Its address.
    limit: usize,
    _strike: Strike,
}

/// The part of a payload that knows when the unwind is over: a body that has caught it may go on unwinding with it, until it drops it. What panics
/// then is a panic again.
struct Strike {
    thread: u64,
    number: u16,
}

impl Strike {
    fn begin() -> Strike {
        let owner = Owner::current();
        let thread = owner.identity();
        owner.with_local(|local| {
            let number = (local.strike.get() | Strike::UNWINDS).wrapping_add(2);
            local.strike.set(number);
            Strike { thread, number }
        })
    }

    /// Bit of `Local::strike`: the thread unwinds from that strike. The rest tells one strike from the next.
    const UNWINDS: u16 = 1;
}

impl Drop for Strike {
    fn drop(&mut self) {
        let owner = Owner::current();
        if owner.identity() == self.thread {
            owner.with_local(|local| {
                if local.strike.get() == self.number {
                    local.strike.set(self.number & !Strike::UNWINDS);
                }
            });
        }
    }
}

/// Returns whether this is the payload of an interrupt.
pub(crate) fn is_interrupt(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Cancelled>() || payload.is::<Overdue>()
}

/// Unwinds as a cancelled thread does.
pub(crate) fn unwind_cancelled() -> ! {
    Interrupt(Kind::Cancelled).strike()
}

/// Returns whether the calling thread unwinds from a panic, and not from an interrupt: what is left half done then is poisoned.
pub(crate) fn is_panicking() -> bool {
    let unwinds = |local: &Local| local.strike.get() & Strike::UNWINDS != 0;
    thread::panicking() && !Owner::current().with_local(unwinds)
}

/// An interrupt that is to strike the calling thread, as soon as it has cleared up what it waits in.
#[must_use]
#[derive(Debug)]
pub(crate) struct Interrupt(Kind);

#[derive(Debug)]
enum Kind {
    Cancelled,
    /// To the limit with this address.
    Overdue(usize),
}

impl Interrupt {
    /// Unwinds.
    #[cold]
    pub(crate) fn strike(self) -> ! {
        let strike = Strike::begin();
        match self.0 {
            Kind::Cancelled => resume_unwind(Box::new(Cancelled {
                _strike: Some(strike),
            })),
            Kind::Overdue(limit) => resume_unwind(Box::new(Overdue {
                limit,
                _strike: strike,
            })),
        }
    }
}

/// What ends a limit besides the clock. Whoever raises it calls [`alert`] afterwards.
pub(crate) trait Signal: Send + Sync {
    /// Returns whether it has been raised, and what came before is seen; for good.
    fn is_raised(&self) -> bool;
}

/// What only the thread itself touches: a green thread on its home worker, or an OS thread.
pub(super) struct Local {
    /// How many masks it is inside of.
    masks: Cell<u32>,
    /// The innermost limit; they lie in the frames of the thread.
    limit: Cell<*const Limit>,
    /// The last interrupt that struck it, and whether it unwinds from that still.
    strike: Cell<u16>,
    /// Its output may not leave this OS thread, and nobody is there to take it.
    pub(super) detached: Cell<bool>,
}

impl Local {
    pub(super) const fn new() -> Local {
        Local {
            masks: Cell::new(0),
            limit: Cell::new(ptr::null()),
            strike: Cell::new(0),
            detached: Cell::new(false),
        }
    }

    pub(super) fn has_limits(&self) -> bool {
        !self.limit.get().is_null()
    }

    /// Returns whether the green thread has to stay with its worker: another one of that may leave a limit or a mask of it.
    pub(super) fn binds(&self) -> bool {
        self.has_limits() || self.masks.get() != 0
    }

    /// All limits, from the innermost out.
    fn limits(&self) -> impl Iterator<Item = &Limit> {
        let mut next = self.limit.get();
        std::iter::from_fn(move || {
            // SAFETY: a limit takes itself off the chain before it ends (`Limited`), which is on this OS thread, and not while this iterates.
            let limit = unsafe { next.as_ref() }?;
            next = limit.outer.get();
            Some(limit)
        })
    }

    /// The earliest time at which a limit ends that could strike here.
    fn earliest(&self) -> Option<Instant> {
        let masks = self.masks.get();
        let here = self.limits().filter(|limit| limit.masks == masks);
        here.filter_map(|limit| limit.until.deadline()).min()
    }

    /// Returns whether a limit is over, and the outermost of those that may strike.
    fn over(&self) -> (bool, Option<&Limit>) {
        let (mut now, mut any, mut outermost) = (None, false, None);
        for limit in self.limits() {
            if limit.until.is_over(&mut now) {
                any = true;
                if limit.masks == self.masks.get() {
                    outermost = Some(limit);
                }
            }
        }
        (any, outermost)
    }
}

thread_local! {
    /// Of an OS thread that runs no green thread.
    static OS_THREAD: Local = const { Local::new() };
}

/// The thread that has set a limit or a mask, or bound a value, which need not be the one that leaves it; but the OS thread is the same. None: the OS thread.
pub(super) struct Owner {
    task: Option<TaskRef>,
    _not_send: PhantomData<*const ()>,
}

impl Owner {
    pub(super) fn current() -> Owner {
        Owner {
            task: worker::current_task(),
            _not_send: PhantomData,
        }
    }

    /// Tells threads apart.
    fn identity(&self) -> u64 {
        match &self.task {
            Some(task) => task.id.as_u64().get(),
            None => OS_THREAD.with(|local| ptr::from_ref(local).addr() as u64),
        }
    }

    fn with_local<R>(&self, f: impl FnOnce(&Local) -> R) -> R {
        match &self.task {
            Some(task) => f(&task.local),
            None => OS_THREAD.with(f),
        }
    }

    /// See `extras::with_current`.
    pub(super) fn with_values<R>(&self, f: impl FnOnce(Option<&Values>) -> R) -> R {
        extras::with_those_of(self.task.as_deref(), f)
    }
}

/// Returns whether an interrupt would strike if `task`, which is the green thread that calls, waited now.
pub(super) fn is_due(task: &Task) -> bool {
    let local = &task.local;
    let cancelled = task.is_cancelled() && local.masks.get() == 0;
    (cancelled || local.over().1.is_some()) && !thread::panicking()
}

/// What strikes a green thread that is about to wait, if it has interrupts.
#[cold]
#[inline(never)]
pub(super) fn due(task: &Task) -> Option<Interrupt> {
    if thread::panicking() {
        return None;
    }
    let local = &task.local;
    if task.is_cancelled() && local.masks.get() == 0 {
        // Acquire: what the one who cancels did before is seen by the destructors.
        task.interrupts.load(Ordering::Acquire);
        return Some(Interrupt(Kind::Cancelled));
    }
    // First reset, then look: what ends later sets it again. Acquire: who has set it made what it tells of visible before.
    task.interrupts.fetch_and(!TIMEOUT, Ordering::Acquire);
    let (any, outermost) = local.over();
    if any {
        task.interrupts.fetch_or(TIMEOUT, Ordering::Relaxed);
    }
    outermost.map(Limit::interrupt)
}

/// Called by an OS thread that is about to wait; returns until when it may.
///
/// # Errors
/// What strikes it.
pub(super) fn limit_of_os_thread() -> Result<Option<Instant>, Interrupt> {
    // While the thread's locals are being destroyed it has no limits.
    OS_THREAD
        .try_with(|local| {
            if !local.has_limits() || thread::panicking() {
                return Ok(None);
            }
            match local.over().1 {
                Some(limit) => Err(limit.interrupt()),
                None => Ok(local.earliest()),
            }
        })
        .unwrap_or(Ok(None))
}

/// Returns whether the calling OS thread has a limit that another thread ends, which [alerts](alert) it then.
pub(crate) fn is_os_thread_alerted() -> bool {
    let is_signal = |limit: &Limit| matches!(limit.until, Until::Signal(_));
    OS_THREAD
        .try_with(|local| local.limits().any(is_signal))
        .unwrap_or(false)
}

/// Wakes a thread to look whether a limit of it is over, now that a signal has been raised.
pub(crate) fn alert(waiter: &Waiter) {
    if let Waiter::Green(task) = waiter {
        // Release: the thread sees the signal when it sees this.
        task.interrupts.fetch_or(TIMEOUT, Ordering::Release);
    }
    waiter.wake();
}

/// What a limit lasts until.
enum Until {
    Deadline(Instant),
    Signal(Arc<dyn Signal>),
}

impl Until {
    /// Looks at the clock at most once, for all limits that are asked.
    fn is_over(&self, now: &mut Option<Instant>) -> bool {
        match self {
            Until::Deadline(deadline) => *deadline <= *now.get_or_insert_with(Instant::now),
            Until::Signal(signal) => signal.is_raised(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Until::Deadline(deadline) => Some(*deadline),
            Until::Signal(_) => None,
        }
    }
}

/// A limit, in a frame of the thread that it is set for.
struct Limit {
    until: Until,
    /// The neighbours in the chain.
    outer: Cell<*const Limit>,
    inner: Cell<*const Limit>,
    /// How many masks there were around it: further ones keep it from striking.
    masks: u32,
    owner: Owner,
}

impl Limit {
    fn new(until: Until) -> Limit {
        let owner = Owner::current();
        Limit {
            until,
            outer: Cell::new(ptr::null()),
            inner: Cell::new(ptr::null()),
            masks: owner.with_local(|local| local.masks.get()),
            owner,
        }
    }

    fn address(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt(Kind::Overdue(self.address()))
    }

    /// Puts it into force, as the innermost.
    fn enter(&self) -> Limited<'_> {
        let outer = self
            .owner
            .with_local(|local| local.limit.replace(ptr::from_ref(self)));
        self.outer.set(outer);
        // SAFETY: as in `Local::limits`.
        if let Some(outer) = unsafe { outer.as_ref() } {
            outer.inner.set(self);
        }
        Limited { limit: self }
    }
}

/// Takes a limit out of force.
struct Limited<'a> {
    limit: &'a Limit,
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        let (outer, inner) = (self.limit.outer.get(), self.limit.inner.get());
        // SAFETY: as in `Local::limits`; it is in the chain of this one, which is still there.
        match unsafe { inner.as_ref() } {
            Some(inner) => inner.outer.set(outer),
            None => self.limit.owner.with_local(|local| local.limit.set(outer)),
        }
        // SAFETY: as above.
        if let Some(outer) = unsafe { outer.as_ref() } {
            outer.inner.set(inner);
        }
    }
}

/// Runs `f`; none, if it did not end before `deadline` and was made to unwind for that.
///
/// `now`: the time, if it is known.
pub(crate) fn limited<T>(
    deadline: Instant,
    now: Option<Instant>,
    f: impl FnOnce() -> T,
) -> Option<T> {
    run_limited(Until::Deadline(deadline), now, |limit| {
        match (worker::current_green(), &limit.owner.task) {
            (Some((worker, _)), Some(task)) => worker.with_timer(task, deadline, f),
            _ => f(),
        }
    })
}

/// Runs `f`; none, if it did not end before `signal` was raised and was made to unwind for that. Whoever raises it has to [`alert`]
/// the calling thread.
pub(crate) fn limited_by<T>(signal: Arc<dyn Signal>, f: impl FnOnce() -> T) -> Option<T> {
    run_limited(Until::Signal(signal), None, |_| f())
}

fn run_limited<T>(
    until: Until,
    mut now: Option<Instant>,
    f: impl FnOnce(&Limit) -> T,
) -> Option<T> {
    let limit = Limit::new(until);
    if let Some(task) = &limit.owner.task {
        if limit.until.is_over(&mut now) {
            task.interrupts.fetch_or(TIMEOUT, Ordering::Relaxed);
        }
    }
    let limited = limit.enter();
    let result = catch_unwind(AssertUnwindSafe(|| f(&limit)));
    drop(limited);
    match result {
        Ok(value) => Some(value),
        Err(payload) => match payload.downcast::<Overdue>() {
            Ok(overdue) if overdue.limit == limit.address() => None,
            Ok(overdue) => resume_unwind(overdue),
            Err(payload) => resume_unwind(payload),
        },
    }
}

/// Runs `f`, in which neither cancellation nor a limit from outside strikes.
pub(crate) fn masked<T>(f: impl FnOnce() -> T) -> T {
    struct Mask(Owner);
    impl Drop for Mask {
        fn drop(&mut self) {
            self.0
                .with_local(|local| local.masks.set(local.masks.get() - 1));
        }
    }
    let owner = Owner::current();
    owner.with_local(|local| local.masks.set(local.masks.get() + 1));
    let _mask = Mask(owner);
    f()
}
