//! The green threads of a scope: counting them, ending them, waiting for them.
//!
//! # Why nothing outlives what it borrows
//!
//! 1. The owner, who runs the scope's body, does not leave before `running` is zero ([`Children::end`]), whatever unwinds.
//! 2. `running` counts each child from before it exists ([`spawn`]) until its [`Ending`] is dropped. No handle has a part in that: it may be
//!    forgotten.
//! 3. A child's closure is gone before its `Ending` is: it has returned and been unwound, or, if the child never ran, it was dropped first
//!    (order of the fields of [`Child`]).
//! 4. Its result is dropped by the `Ending` before that counts down, if the handle is gone. Otherwise it belongs to the handle, which lives within
//!    `'scope`: in the body, or in a closure or result of a child, all of which end before the owner leaves; or it is leaked, and nobody ever
//!    touches the result.
//! 5. From zero `running` never rises again: who spawns is the body, which has ended, or a child that is counted.
//!
//! A green thread that is left behind when its runtime ends keeps its frames for ever, and with them what its children borrow; as for a
//! child that is left behind, its owner waits for ever.

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::builder::{self, Builder};
use super::handle::JoinHandle;
use super::{Cancelled, Result, without_unwinding};
use crate::runtime;
use crate::runtime::cell::TaskRef;
use crate::runtime::extras;
use crate::runtime::interrupt::{self, Signal};
use crate::runtime::park::{self, Waiter};

/// The length from which a roll is looked through for tasks that have ended.
const SHORT_ROLL: usize = 64;

/// The children of a scope, as owner and children see them.
///
/// # Memory ordering
///
/// Each child's countdown releases what it did, and the owner's look at zero acquires it. The announcement of the owner
/// and the last child's look for it are made under the lock: either the child finds the owner, or the owner then finds zero.
pub(super) struct Children {
    running: AtomicUsize,
    /// Those that have failed, and whose failure nobody has taken by joining.
    failed: AtomicUsize,
    /// One has failed in a scope that ends with the first failure.
    broken: AtomicBool,
    roll: Mutex<Roll>,
}

#[derive(Default)]
struct Roll {
    /// All that run, and some that have ended.
    tasks: Vec<TaskRef>,
    /// The length at which those that have ended are struck off.
    full: usize,
    /// All are cancelled, also those that are yet to come.
    cancelled: bool,
    /// Waits for all to end.
    owner: Option<Waiter>,
    /// To be alerted of the first failure, which ends the scope.
    breaks: Option<Waiter>,
}

impl Children {
    pub(super) fn new() -> Arc<Children> {
        Children::with(None)
    }

    /// For a scope that the first failure ends: it cancels the other children, and raises this as a signal for the caller.
    pub(super) fn that_break() -> Arc<Children> {
        Children::with(Some(Waiter::current()))
    }

    fn with(breaks: Option<Waiter>) -> Arc<Children> {
        Arc::new(Children {
            running: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            roll: Mutex::new(Roll {
                full: SHORT_ROLL,
                breaks,
                ..Roll::default()
            }),
        })
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        // Nothing panics between two consistent states.
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all have ended. May be left by unwinding.
    pub(super) fn wait(&self) {
        while self.running.load(Ordering::Acquire) != 0 {
            self.roll().owner = Some(Waiter::current());
            if self.running.load(Ordering::Acquire) != 0 {
                park::park();
            }
        }
    }

    /// Cancels all, and waits until they have ended.
    pub(super) fn end(&self) {
        without_unwinding(|| {
            self.cancel_all();
            self.wait();
        });
    }

    /// Returns whether there were failures that nobody has taken.
    pub(super) fn have_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) != 0
    }

    /// Lists a child that is about to be spawned.
    fn enroll(&self, task: &TaskRef) {
        let mut roll = self.roll();
        if roll.tasks.len() >= roll.full {
            roll.tasks.retain(|task| !task.is_done());
            roll.full = SHORT_ROLL.max(2 * roll.tasks.len());
        }
        roll.tasks.push(task.clone());
        if roll.cancelled {
            task.cancel();
        }
    }

    fn cancel_all(&self) {
        let mut roll = self.roll();
        roll.cancelled = true;
        let tasks = mem::take(&mut roll.tasks);
        drop(roll);
        tasks.iter().for_each(|task| task.cancel());
    }

    /// Notes that a child has failed.
    fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let breaks = self.roll().breaks.take();
        if let Some(owner) = breaks {
            self.broken.store(true, Ordering::Release);
            self.cancel_all();
            interrupt::alert(&owner);
        }
    }

    fn count_down(&self) {
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            let owner = self.roll().owner.take();
            if let Some(owner) = owner {
                owner.wake();
            }
        }
    }
}

impl Signal for Children {
    fn is_raised(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

/// Where a child leaves its result. Shared by the child and its handle.
struct Packet<T> {
    result: UnsafeCell<Option<Result<T>>>,
    /// Its handle has asked it to end: that it was cancelled is no failure.
    cancelled: AtomicBool,
    /// It has counted as a failure.
    failed: AtomicBool,
}

// SAFETY: the result is written by the child before it is done, and read by the owner of its only handle, who sees that it is done.
// That hands a `T` from thread to thread, which is Send; nobody shares one.
unsafe impl<T: Send> Sync for Packet<T> {}

/// The body of a child with what follows it, dropped in this order.
struct Child<F, T> {
    body: F,
    ending: Ending<T>,
}

impl<F, T> Child<F, T>
where
    F: FnOnce() -> Result<T>,
{
    fn run(self) {
        let Child { body, mut ending } = self;
        let result = body();
        // Before anybody takes the child for ended.
        extras::end_current();
        ending.leave(result);
    }
}

/// The last that a child does, also one that never ran.
struct Ending<T> {
    children: Arc<Children>,
    /// None once it is over.
    packet: Option<Arc<Packet<T>>>,
    has_failed: bool,
}

impl<T> Ending<T> {
    /// Leaves the result for the handle.
    fn leave(&mut self, result: Result<T>) {
        let Some(packet) = &self.packet else {
            unreachable!("the packet is taken by `drop` alone");
        };
        let is_cancelled = |payload: &(dyn Any + Send)| payload.is::<Cancelled>();
        self.has_failed = match &result {
            Ok(_) => false,
            Err(payload) => !(packet.cancelled.load(Ordering::Relaxed) && is_cancelled(&**payload)),
        };
        // SAFETY: this is the child, which is not done yet; so the handle does not look.
        unsafe { *packet.result.get() = Some(result) };
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        let Some(packet) = self.packet.take() else {
            return;
        };
        // One that never ran has been cancelled by its handle, or has failed.
        // SAFETY: as in `leave`.
        let has_run = unsafe { &*packet.result.get() }.is_some();
        let has_failed = match has_run {
            true => self.has_failed,
            false => !packet.cancelled.load(Ordering::Relaxed),
        };
        packet.failed.store(has_failed, Ordering::Relaxed);
        // The result, if the handle is gone. Its destructor must not keep this from counting down.
        let panicked = drop_caught(packet);
        if has_failed || panicked {
            self.children.fail();
        }
        self.children.count_down();
    }
}

/// Drops `value`; returns whether that panicked.
fn drop_caught<V>(value: V) -> bool {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) else {
        return false;
    };
    // The payload may have a destructor that panics, and so on.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
    true
}

/// A child, for the one who may join it.
pub(super) struct ChildHandle<T> {
    handle: JoinHandle<()>,
    packet: Arc<Packet<T>>,
    children: Arc<Children>,
}

impl<T> ChildHandle<T> {
    pub(crate) fn handle(&self) -> &JoinHandle<()> {
        &self.handle
    }

    pub(super) fn cancel(&self) {
        self.packet.cancelled.store(true, Ordering::Relaxed);
        self.handle.cancel();
    }

    pub(super) fn join(self) -> Result<T> {
        let ended = self.handle.join();
        // SAFETY: the child is done, and this is its only handle.
        let result = unsafe { &mut *self.packet.result.get() }.take();
        if self.packet.failed.load(Ordering::Relaxed) {
            self.children.failed.fetch_sub(1, Ordering::Relaxed);
        }
        match (result, ended) {
            (Some(result), _) => result,
            (None, Err(payload)) => Err(payload),
            (None, Ok(())) => unreachable!("a child that has run leaves a result"),
        }
    }
}

/// Spawns a child. What `body` returns as an error counts as a failure.
///
/// # Safety
/// Before anything ends that `body` or `T` borrows, [`Children::wait`] has returned, or [`Children::end`] has, after the last call of this
/// function that is not made by a child; and what is left of the handle has been dropped or will never be touched.
pub(super) unsafe fn spawn<F, T>(
    children: &Arc<Children>,
    builder: Builder,
    body: F,
) -> io::Result<ChildHandle<T>>
where
    F: FnOnce() -> Result<T> + Send,
    T: Send,
{
    let shared = runtime::current()?;
    let settings = builder.settings(shared)?;
    let packet = Arc::new(Packet {
        result: UnsafeCell::new(None),
        cancelled: AtomicBool::new(false),
        failed: AtomicBool::new(false),
    });
    children.running.fetch_add(1, Ordering::Relaxed);
    let child = Child {
        body,
        ending: Ending {
            children: children.clone(),
            packet: Some(packet.clone()),
            has_failed: false,
        },
    };
    // SAFETY: the closure has returned or been dropped when its `Ending` has counted down, for which the caller waits; `()` borrows
    // nothing.
    let handle = unsafe {
        builder::spawn_with(
            shared,
            settings,
            move || child.run(),
            |task| {
                children.enroll(task);
            },
        )
    };
    Ok(ChildHandle {
        handle,
        packet,
        children: children.clone(),
    })
}
