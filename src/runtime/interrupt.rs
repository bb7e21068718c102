//! Interrupts: what makes a thread leave a wait by unwinding. It was cancelled, or a [`timeout`](crate::time::timeout) around it is over.
//!
//! An interrupt is a wish until the thread next waits: then it *strikes*, at the beginning of the wait, as an unwind like that of a panic
//! but without the panic hook. So a wait that has what it waits for returns it; nothing is lost on the way. It never strikes
//! while the thread unwinds already, nor where it is masked. It stays wished for until it is answered: a
//! body that catches the unwind and goes on meets it again at its next wait.
//!
//! A green thread that is parked is woken by an interrupt like by anything else, looks at what it waits for, and begins to wait anew: there
//! it strikes. OS threads cannot be cancelled; their timeouts work the same way, with the clock instead of a timer.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::task::Task;
use super::worker;

/// Bit of `Task::interrupts`: somebody wants it to end.
pub(super) const CANCEL: u8 = 1;

/// A timer has fired while there were time limits: some may be over. Set on the home worker only.
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
#[derive(Debug)]
pub struct Cancelled {
    _private: (),
}

impl Cancelled {
    pub(super) fn new() -> Cancelled {
        Cancelled { _private: () }
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the green thread was cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// The payload of an unwind that ends at the limit with this address.
struct Overdue(usize);

/// What only the thread itself touches: a green thread on its home worker, or an OS thread.
pub(super) struct Local {
    /// How many masks it is inside of.
    masks: Cell<u32>,
    /// The innermost time limit; they lie in the frames of the thread.
    limit: Cell<*const Limit>,
    /// It unwinds from an interrupt, or did last.
    interrupted: Cell<bool>,
    /// Its output may not leave this OS thread, and nobody is there to take it.
    pub(super) detached: Cell<bool>,
}

impl Local {
    pub(super) const fn new() -> Local {
        Local {
            masks: Cell::new(0),
            limit: Cell::new(ptr::null()),
            interrupted: Cell::new(false),
            detached: Cell::new(false),
        }
    }

    pub(super) fn has_limits(&self) -> bool {
        !self.limit.get().is_null()
    }

    /// All limits, from the innermost out.
    fn limits(&self) -> impl Iterator<Item = &Limit> {
        let mut next = self.limit.get();
        std::iter::from_fn(move || {
            // SAFETY: a limit lies in a frame of the thread that iterates, further out than the one that is running, and takes itself
            // off the chain before the frame ends (`Limited`).
            let limit = unsafe { next.as_ref() }?;
            next = limit.outer;
            Some(limit)
        })
    }

    /// The earliest time at which a limit ends that could strike here.
    fn earliest(&self) -> Option<Instant> {
        let masks = self.masks.get();
        let here = self.limits().filter(|limit| limit.masks == masks);
        here.map(|limit| limit.deadline).min()
    }

    fn is_over(&self) -> bool {
        self.earliest().is_some_and(|end| end <= Instant::now())
    }

    /// Unwinds to the outermost limit that is over, if one is.
    fn strike_limit(&self) {
        let masks = self.masks.get();
        let now = Instant::now();
        let over = self
            .limits()
            .filter(|limit| limit.masks == masks && limit.deadline <= now)
            .last();
        if let Some(limit) = over {
            self.unwind(Overdue(ptr::from_ref(limit) as usize));
        }
    }

    fn unwind<P: Send + 'static>(&self, payload: P) -> ! {
        self.interrupted.set(true);
        resume_unwind(Box::new(payload))
    }
}

thread_local! {
    /// Of an OS thread that runs no green thread.
    static OS_THREAD: Local = const { Local::new() };
}

/// Runs `f` with what belongs to the calling thread.
fn with_local<R>(f: impl FnOnce(&Local) -> R) -> R {
    match worker::current_green() {
        Some((_, task)) => f(&task.local),
        None => OS_THREAD.with(f),
    }
}

/// Returns whether an interrupt would strike if `task`, which is the green thread that calls, waited now.
pub(super) fn is_due(task: &Task) -> bool {
    let local = &task.local;
    let cancelled = task.is_cancelled() && local.masks.get() == 0;
    (cancelled || local.is_over()) && !thread::panicking()
}

/// Called by a green thread that is about to wait, if it has interrupts.
#[cold]
#[inline(never)]
pub(super) fn strike(task: &Task) {
    if thread::panicking() {
        return;
    }
    let local = &task.local;
    if task.is_cancelled() && local.masks.get() == 0 {
        // Acquire: what the one who cancels did before is seen by the destructors.
        task.interrupts.load(Ordering::Acquire);
        local.unwind(Cancelled::new());
    }
    // First reset, then look: another timer may fire only after this, as it does so on this OS thread.
    task.interrupts.fetch_and(!TIMEOUT, Ordering::Relaxed);
    if local.limits().any(|limit| limit.deadline <= Instant::now()) {
        // It stays wished for until its `limited` ends, though it is masked here, or the unwind is caught on the way.
        task.interrupts.fetch_or(TIMEOUT, Ordering::Relaxed);
    }
    local.strike_limit();
}

/// Called by an OS thread that is about to wait; returns until when it may.
pub(super) fn strike_os_thread() -> Option<Instant> {
    // While the thread's locals are being destroyed it has no limits.
    OS_THREAD
        .try_with(|local| {
            if !local.has_limits() || thread::panicking() {
                return None;
            }
            local.strike_limit();
            local.earliest()
        })
        .ok()
        .flatten()
}

/// A time limit, in a frame of the thread that it is set for.
struct Limit {
    deadline: Instant,
    outer: *const Limit,
    /// How many masks there were around it: further ones keep it from striking.
    masks: u32,
}

/// Puts a limit into force and takes it out.
struct Limited<'a> {
    limit: &'a Limit,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        with_local(|local| local.limit.set(self.limit.outer));
    }
}

/// Runs `f`; none, if it did not end before `deadline` and was made to unwind for that.
pub(crate) fn limited<T>(deadline: Instant, f: impl FnOnce() -> T) -> Option<T> {
    let limit = with_local(|local| Limit {
        deadline,
        outer: local.limit.get(),
        masks: local.masks.get(),
    });
    with_local(|local| local.limit.set(&limit));
    let guard = Limited {
        limit: &limit,
        _not_send: PhantomData,
    };
    let result = match worker::current_green() {
        Some((worker, task)) => {
            if Instant::now() >= deadline {
                task.interrupts.fetch_or(TIMEOUT, Ordering::Relaxed);
            }
            worker.with_timer(deadline, || catch_unwind(AssertUnwindSafe(f)))
        }
        None => catch_unwind(AssertUnwindSafe(f)),
    };
    drop(guard);
    match result {
        Ok(value) => Some(value),
        Err(payload) => match payload.downcast::<Overdue>() {
            Ok(overdue) if overdue.0 == ptr::from_ref(&limit) as usize => {
                with_local(|local| local.interrupted.set(false));
                None
            }
            Ok(overdue) => resume_unwind(overdue),
            Err(payload) => resume_unwind(payload),
        },
    }
}

/// Runs `f`, in which neither cancellation nor a limit from outside strikes.
pub(crate) fn masked<T>(f: impl FnOnce() -> T) -> T {
    struct Mask(PhantomData<*const ()>);
    impl Drop for Mask {
        fn drop(&mut self) {
            with_local(|local| local.masks.set(local.masks.get() - 1));
        }
    }
    with_local(|local| local.masks.set(local.masks.get() + 1));
    let _mask = Mask(PhantomData);
    f()
}
