//! The lock of an `RwLock`, without what it protects.
//!
//! Readers and writers get it in the order in which they have come: who waits makes all who come later wait behind. Whoever releases it, or
//! leaves the list, admits those that stand first and can have it: one writer, or all readers before the next writer.
//!
//! A thread that unwinds from a panic goes to the first place: it holds up its worker until it has the lock, and one that stands before
//! it may be of the same worker, and unable to make use of it.
//!
//! # States
//!
//! | part | meaning | set by | reset by |
//! | --- | --- | --- | --- |
//! | [`WRITER`] | a writer has it | the writer; who admits it (L) | the writer |
//! | [`QUEUED`] | the list is not empty, or one is about to look into it | who goes there (L) | who finds it empty, admitting (L) |
//! | the rest | the number of readers | a reader; who admits it (L) | the reader |
//!
//! (L): under the list's lock.
//!
//! # Invariants
//!
//! 1. With `QUEUED` set nobody gets in but by being admitted, under the list's lock. Readers and the writer that have it may leave.
//! 2. `QUEUED` is only set while somebody has the lock, or is on the way to the list to admit. Each way out that can leave something to admit
//!    goes there: the last reader's, the writer's, and that of one who leaves the list.
//!
//! # Memory ordering
//!
//! Whoever goes out does so by a Release; whoever gets in acquires that, or is admitted by one who has, through its node's grant. All changes are
//! read-modify-writes, so a later one does not hide an earlier Release.

use std::hint;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, WaitList, Wake};
use crate::sync::spin;

const WRITER: usize = 1;
const QUEUED: usize = 2;
const READER: usize = 4;

pub(in crate::sync) struct RawRwLock {
    state: AtomicUsize,
    queue: Lock<WaitList<Access>>,
}

/// What one waits for.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

// It has no state that an unwind could leave half changed.
impl UnwindSafe for RawRwLock {}
impl RefUnwindSafe for RawRwLock {}

impl Access {
    /// The state after one from outside has got in, if it may.
    #[inline(always)]
    fn enter(self, state: usize) -> Option<usize> {
        match self {
            Access::Read => (state & (WRITER | QUEUED) == 0).then(|| state + READER),
            Access::Write => (state == 0).then_some(WRITER),
        }
    }

    /// What is added to the state when the first one in the list is admitted, if it may be.
    fn admit(self, state: usize) -> Option<usize> {
        match self {
            Access::Read => (state & WRITER == 0).then_some(READER),
            Access::Write => (state & !QUEUED == 0).then_some(WRITER),
        }
    }
}

impl RawRwLock {
    pub(in crate::sync) const fn new() -> RawRwLock {
        RawRwLock {
            state: AtomicUsize::new(0),
            queue: Lock::new(WaitList::new()),
        }
    }

    /// Gets in as a reader. Suspends until it may; unwinds if the thread is interrupted meanwhile.
    #[inline]
    pub(in crate::sync) fn read(&self) {
        let state = self.state.load(Ordering::Relaxed);
        match Access::Read.enter(state) {
            Some(next) if self.change(state, next).is_ok() => {}
            _ => self.contend(Access::Read),
        }
    }

    /// Gets in as a reader, if that needs no waiting.
    #[inline]
    pub(in crate::sync) fn try_read(&self) -> bool {
        self.try_enter(Access::Read)
    }

    /// Gets in as the writer; as [`read`](RawRwLock::read).
    #[inline]
    pub(in crate::sync) fn write(&self) {
        if self.change(0, WRITER).is_err() {
            self.contend(Access::Write);
        }
    }

    /// Gets in as the writer, if that needs no waiting.
    #[inline]
    pub(in crate::sync) fn try_write(&self) -> bool {
        self.try_enter(Access::Write)
    }

    #[inline(always)]
    fn change(&self, state: usize, next: usize) -> Result<(), usize> {
        self.state
            .compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed)
            .map(drop)
    }

    #[inline]
    fn try_enter(&self, access: Access) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while let Some(next) = access.enter(state) {
            match self.change(state, next) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[cold]
    fn contend(&self, access: Access) {
        if self.spin(access) {
            return;
        }
        let queue = self.queue.lock();
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let entered = access.enter(state);
            if entered.is_none() && state & QUEUED != 0 {
                break;
            }
            match self.change(state, entered.unwrap_or(state | QUEUED)) {
                Ok(()) if entered.is_some() => return,
                Ok(()) => break,
                Err(now) => state = now,
            }
        }
        let end = if thread::panicking() {
            End::First
        } else {
            End::Last
        };
        let waited = wait_list::wait(queue, |list| list, end, access, None);
        if let Err((left, _, queue)) = waited {
            // It may have been what kept those behind it from getting in.
            self.admit(queue);
            left.strike();
        }
    }

    /// Tries to get in for a while, unless others wait already.
    fn spin(&self, access: Access) -> bool {
        for _ in 0..=spin::looks() {
            if self.try_enter(access) {
                return true;
            }
            if self.state.load(Ordering::Relaxed) & QUEUED != 0 {
                return false;
            }
            hint::spin_loop();
        }
        false
    }

    /// Goes out, as one of the readers.
    ///
    /// # Safety
    /// The caller is one, and does not use any more what the lock protects.
    #[inline]
    pub(in crate::sync) unsafe fn unlock_read(&self) {
        let before = self.state.fetch_sub(READER, Ordering::Release);
        if before == READER | QUEUED {
            self.admit_next();
        }
    }

    /// Goes out, as the writer.
    ///
    /// # Safety
    /// The caller is it, and does not use any more what the lock protects.
    #[inline]
    pub(in crate::sync) unsafe fn unlock_write(&self) {
        // SAFETY: passed on.
        unsafe { self.leave_writing(0) };
    }

    /// Becomes a reader, having been the writer.
    ///
    /// # Safety
    /// The caller is the writer, and does not change any more what the lock protects.
    #[inline]
    pub(in crate::sync) unsafe fn downgrade(&self) {
        // SAFETY: passed on.
        unsafe { self.leave_writing(READER) };
    }

    /// Goes on from `WRITER` to `next`.
    ///
    /// # Safety
    /// The caller is the writer, and will be no more than what `next` says.
    #[inline(always)]
    unsafe fn leave_writing(&self, next: usize) {
        let left = self
            .state
            .compare_exchange(WRITER, next, Ordering::Release, Ordering::Relaxed);
        if left.is_err() {
            // Then others wait, which is all that can be in the state besides.
            self.state
                .fetch_add(next.wrapping_sub(WRITER), Ordering::Release);
            self.admit_next();
        }
    }

    #[cold]
    fn admit_next(&self) {
        self.admit(self.queue.lock());
    }

    /// Admits those that stand first in the list and may get in.
    fn admit(&self, queue: LockGuard<'_, WaitList<Access>>) {
        wait_list::grant_all(queue, |queue| self.admit_first(queue));
    }

    /// Admits the first one in the list; none, if there is none or it may not get in.
    fn admit_first(&self, queue: &mut WaitList<Access>) -> Option<Wake> {
        let Some(&mut first) = queue.first_mut() else {
            self.state.fetch_and(!QUEUED, Ordering::Relaxed);
            return None;
        };
        // Acquire: it may be for others that have gone out. Meanwhile only readers can go out (invariant 1).
        let added = first.admit(self.state.load(Ordering::Acquire))?;
        self.state.fetch_add(added, Ordering::Relaxed);
        queue.grant_first(|_| {}).map(|(_, wake)| wake)
    }
}
