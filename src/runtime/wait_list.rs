//! Lists of waiting threads: the queue of everything that more than one can wait for.
//!
//! A [`WaitList`] lies under a [`Lock`], together with what is waited for. The nodes lie in the frames of those who wait, so that waiting
//! allocates nothing. A node has a value, by which the two sides tell each other something: what the one wants, what the other gives.
//!
//! 1. Who sees, under the lock, that it has to wait calls [`wait`], which puts its node at the end, unlocks, and parks.
//! 2. Who has something to give *grants* it to a node under the lock: takes the node out, changes its value, and sets `granted`. After
//!    unlocking it wakes its thread.
//! 3. The waiter finds `granted` set, and returns with the value.
//! 4. Who has no more time, or is interrupted, takes the lock. If its node is in the list still, it takes that out. If not, it has been granted,
//!    and that counts: nothing that was handed over is ever lost.
//!
//! # Invariants
//!
//! 1. A node is in a list from `link` until it is granted or unlinked; links and value are touched under the list's lock meanwhile. From
//!    `granted` on they are the waiter's alone.
//! 2. A frame with a node in a list does not end: `wait` returns and unwinds only after it has been granted or unlinked. The stack
//!    of a green thread that is left behind is never freed.
//! 3. So the thread of a node that is not granted is alive. Who grants makes sure that it stays so until it has been woken.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::cell::TaskRef;
use super::interrupt::Interrupt;
use super::lock::{Lock, LockGuard};
use super::park::{self, OsThread, Waiter};
use super::task::Task;
use super::worker;

type Link<V> = Option<NonNull<Node<V>>>;

/// Threads that wait, the first one first.
pub(crate) struct WaitList<V> {
    first: Link<V>,
    last: Link<V>,
}

// SAFETY: who has the list has its nodes (invariant 1), whose values may go from thread to thread; what else they are made of is Sync.
unsafe impl<V: Send> Send for WaitList<V> {}

/// A thread that waits, in a frame of it.
pub(crate) struct Node<V> {
    previous: Cell<Link<V>>,
    next: Cell<Link<V>>,
    /// Changed under the lock of the list.
    linked: Cell<bool>,
    sleeper: Sleeper,
    granted: AtomicBool,
    value: UnsafeCell<V>,
}

/// The thread of a node: without a count, as it is alive (invariant 3).
enum Sleeper {
    Green(NonNull<Task>),
    Os(Arc<OsThread>),
}

/// A thread that has been granted something and has to be woken, once the lock is free.
#[must_use = "it waits for being woken"]
pub(crate) struct Wake(Option<Waiter>);

/// Why a wait ended without having been granted anything.
#[derive(Debug)]
pub(crate) enum Left {
    /// The deadline has passed.
    TimedOut,
    /// It is to unwind.
    Interrupted(Interrupt),
}

impl Left {
    /// Unwinds, if it is an interrupt.
    pub(crate) fn strike(self) {
        if let Left::Interrupted(interrupt) = self {
            interrupt.strike();
        }
    }
}

impl Sleeper {
    #[inline(always)]
    fn current() -> Sleeper {
        match worker::current_green() {
            Some((_, task)) => Sleeper::Green(NonNull::from(task)),
            None => Sleeper::current_os(),
        }
    }

    #[inline(never)]
    fn current_os() -> Sleeper {
        match Waiter::current() {
            Waiter::Os(os) => Sleeper::Os(os),
            Waiter::Green(_) => unreachable!("there was no green thread"),
        }
    }
}

impl Wake {
    /// Nobody.
    pub(crate) const fn none() -> Wake {
        Wake(None)
    }

    /// Returns whether it is still to be woken.
    #[inline(always)]
    pub(crate) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    #[inline(always)]
    pub(crate) fn wake(self) {
        if let Some(waiter) = self.0 {
            waiter.wake();
        }
    }
}

/// Threads to be woken, some at a time.
struct Wakes {
    wakes: [Wake; Wakes::ROOM],
    len: usize,
}

impl Wakes {
    const ROOM: usize = 32;

    const fn new() -> Wakes {
        Wakes {
            wakes: [const { Wake(None) }; Wakes::ROOM],
            len: 0,
        }
    }

    /// Adds one, for which there is room.
    fn push(&mut self, wake: Wake) {
        if wake.0.is_some() {
            self.wakes[self.len] = wake;
            self.len += 1;
        }
    }

    /// Wakes them, after which there is room again.
    fn wake(&mut self) {
        let len = mem::take(&mut self.len);
        for wake in &mut self.wakes[..len] {
            mem::replace(wake, Wake(None)).wake();
        }
    }
}

impl<V> WaitList<V> {
    pub(crate) const fn new() -> WaitList<V> {
        WaitList {
            first: None,
            last: None,
        }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Returns whether exactly one thread waits.
    #[inline(always)]
    pub(crate) fn is_single(&self) -> bool {
        self.first.is_some() && self.first == self.last
    }

    /// Where the node of the first one lies, in a frame of its wait.
    #[inline(always)]
    pub(crate) fn first_place(&self) -> Option<NonNull<u8>> {
        self.first.map(NonNull::cast)
    }

    /// The value of the first node.
    #[inline(always)]
    pub(crate) fn first_mut(&mut self) -> Option<&mut V> {
        let first = self.first?;
        // SAFETY: it is in the list, which is borrowed mutably (invariants 1, 2).
        Some(unsafe { Node::value(first) })
    }

    /// Grants the first node what `give` does to its value. Must not unwind.
    #[inline(always)]
    pub(crate) fn grant_first<R>(&mut self, give: impl FnOnce(&mut V) -> R) -> Option<(R, Wake)> {
        let first = self.first?;
        // SAFETY: it is in this list.
        Some(unsafe { self.grant(first, give) })
    }

    /// # Safety
    /// The node is in this list.
    #[inline(always)]
    unsafe fn grant<R>(
        &mut self,
        place: NonNull<Node<V>>,
        give: impl FnOnce(&mut V) -> R,
    ) -> (R, Wake) {
        // SAFETY: it is in the list (invariant 2).
        let node = unsafe { place.as_ref() };
        self.unlink(node);
        // SAFETY: it has not been granted, so the value is ours under the lock (invariant 1).
        let given = give(unsafe { Node::value(place) });
        // SAFETY: likewise.
        (given, unsafe { Node::grant(place) })
    }

    /// Takes the first node out whose value `matches`, and grants it what `give` does to the value. Must not unwind.
    pub(crate) fn grant_where<R>(
        &mut self,
        matches: impl Fn(&V) -> bool,
        give: impl FnOnce(&mut V) -> R,
    ) -> Option<(R, Wake)> {
        let found = self.find(matches)?;
        // SAFETY: it is in this list.
        Some(unsafe { self.grant(found, give) })
    }

    /// Takes the first node out, and grants it what `give` does to its value, if that wants it so: a node that others can
    /// grant something, too, may have been at that very moment. Must not unwind.
    pub(crate) fn try_grant_first(&mut self, give: impl FnOnce(&mut V) -> bool) -> Option<Wake> {
        let first = self.first?;
        // SAFETY: it is in this list.
        Some(unsafe { self.try_grant(first, give) })
    }

    /// Like [`try_grant_first`](WaitList::try_grant_first), for the last node.
    pub(crate) fn try_grant_last(&mut self, give: impl FnOnce(&mut V) -> bool) -> Option<Wake> {
        let last = self.last?;
        // SAFETY: it is in this list.
        Some(unsafe { self.try_grant(last, give) })
    }

    /// # Safety
    /// The node is in this list.
    unsafe fn try_grant(
        &mut self,
        place: NonNull<Node<V>>,
        give: impl FnOnce(&mut V) -> bool,
    ) -> Wake {
        // SAFETY: it is in the list (invariant 2).
        let node = unsafe { place.as_ref() };
        self.unlink(node);
        // SAFETY: it has not been granted, so the value is ours under the lock (invariant 1).
        if !give(unsafe { Node::value(place) }) {
            return Wake(None);
        }
        // SAFETY: likewise.
        unsafe { Node::grant(place) }
    }

    /// Puts a node at the end, for a thread that waits in several lists.
    ///
    /// # Safety
    /// The node is in no list. It is unlinked from this one, if it is still linked, before it is moved or ends; its thread waits in the frame
    /// that it is in, or in one below.
    pub(crate) unsafe fn link(&mut self, node: &Node<V>) {
        // It may have been in a list before.
        node.granted.store(false, Ordering::Relaxed);
        self.push(node);
    }

    /// Like [`link`](WaitList::link), with a new value.
    ///
    /// # Safety
    /// As for `link`.
    pub(crate) unsafe fn link_with(&mut self, node: &Node<V>, value: V) {
        // SAFETY: it is in no list, so the value is the waiter's (invariant 1), which calls this.
        unsafe { *node.value.get() = value };
        self.push(node);
    }

    /// Takes a node out, if it has not been already. Afterwards nobody touches it any more.
    ///
    /// # Safety
    /// It was linked to this list last.
    pub(crate) unsafe fn unlink_if_linked(&mut self, node: &Node<V>) {
        if node.linked.get() {
            self.unlink(node);
        }
    }

    /// The first value that `matches`.
    pub(crate) fn find_mut(&mut self, matches: impl Fn(&V) -> bool) -> Option<&mut V> {
        let found = self.find(matches)?;
        // SAFETY: it is in the list, which is borrowed mutably (invariants 1, 2).
        Some(unsafe { Node::value(found) })
    }

    fn find(&self, matches: impl Fn(&V) -> bool) -> Link<V> {
        let mut next = self.first;
        while let Some(pointer) = next {
            // SAFETY: who has the list may look at the values (invariants 1, 2).
            if matches(unsafe { Node::value(pointer) }) {
                return Some(pointer);
            }
            // SAFETY: it is in the list (invariant 2).
            next = unsafe { pointer.as_ref() }.next.get();
        }
        None
    }

    #[inline(always)]
    fn push(&mut self, node: &Node<V>) {
        let pointer = NonNull::from(node);
        node.linked.set(true);
        node.previous.set(self.last);
        match self.last {
            // SAFETY: it is in the list (invariant 2).
            Some(last) => unsafe { last.as_ref() }.next.set(Some(pointer)),
            None => self.first = Some(pointer),
        }
        self.last = Some(pointer);
    }

    #[inline(always)]
    fn push_first(&mut self, node: &Node<V>) {
        let pointer = NonNull::from(node);
        node.linked.set(true);
        node.next.set(self.first);
        match self.first {
            // SAFETY: it is in the list (invariant 2).
            Some(first) => unsafe { first.as_ref() }.previous.set(Some(pointer)),
            None => self.last = Some(pointer),
        }
        self.first = Some(pointer);
    }

    /// Takes a node out that is in this list.
    #[inline(always)]
    fn unlink(&mut self, node: &Node<V>) {
        node.linked.set(false);
        let (previous, next) = (node.previous.take(), node.next.take());
        match previous {
            // SAFETY: it is in the list (invariant 2).
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => self.first = next,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(previous),
            None => self.last = previous,
        }
    }
}

impl<V> Node<V> {
    /// A node of the thread that calls.
    pub(crate) fn new(value: V) -> Node<V> {
        Node {
            previous: Cell::new(None),
            next: Cell::new(None),
            linked: Cell::new(false),
            sleeper: Sleeper::current(),
            granted: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Lets the waiter go. A green thread of this worker is woken at once, as that takes only a few instructions.
    ///
    /// # Safety
    /// The node has been taken out of its list under the lock, which is held still, and has not been granted before.
    #[inline(always)]
    unsafe fn grant(node: NonNull<Node<V>>) -> Wake {
        // SAFETY: its frame is there until it has been granted (invariant 2).
        let node = unsafe { node.as_ref() };
        match &node.sleeper {
            Sleeper::Green(task) => {
                let task = *task;
                // SAFETY: the thread is alive until it has been granted (invariant 3).
                if let Some(home) = unsafe { task.as_ref() }.home_if_here() {
                    // Release: for the Acquire in `wait`.
                    node.granted.store(true, Ordering::Release);
                    // SAFETY: it cannot run before this OS thread, which is its home's, has returned to the worker.
                    unsafe { task.as_ref() }.wake_here(home);
                    return Wake(None);
                }
                // SAFETY: it is alive, as above.
                let task = unsafe { TaskRef::from_borrowed(task) };
                node.granted.store(true, Ordering::Release);
                Wake(Some(Waiter::Green(task)))
            }
            Sleeper::Os(os) => {
                let os = os.clone();
                node.granted.store(true, Ordering::Release);
                Wake(Some(Waiter::Os(os)))
            }
        }
    }

    /// The value of one that is in no list.
    pub(crate) fn value_mut(&mut self) -> &mut V {
        self.value.get_mut()
    }

    /// # Safety
    /// The node is in a list, or has just been taken out and not been granted, and the caller holds the lock of that, for as long as it
    /// uses the reference; it has no other one.
    #[inline(always)]
    unsafe fn value<'a>(node: NonNull<Node<V>>) -> &'a mut V {
        // SAFETY: its frame is there until it has been granted (invariant 2).
        let node = unsafe { node.as_ref() };
        // SAFETY: under the lock the value is the caller's (invariant 1).
        unsafe { &mut *node.value.get() }
    }

    /// Returns whether it has been granted, since it was linked last.
    #[inline(always)]
    pub(crate) fn is_granted(&self) -> bool {
        // Acquire: what was done to the value comes before.
        self.granted.load(Ordering::Acquire)
    }
}

/// How many nodes [`grant_all`] grants before it lets go of the lock for a moment.
const BATCH: usize = Wakes::ROOM;

/// Calls `next`, which grants one node what that is due, until it finds none; then unlocks. Those that are granted are woken while the
/// lock is free, as it is after every [`BATCH`] of them: `next` has to do with what others change then.
#[inline]
pub(crate) fn grant_all<'a, S>(
    mut guard: LockGuard<'a, S>,
    mut next: impl FnMut(&mut S) -> Option<Wake>,
) -> &'a Lock<S> {
    let Some(first) = next(&mut guard) else {
        return guard.unlock();
    };
    let Some(second) = next(&mut guard) else {
        let lock = guard.unlock();
        first.wake();
        return lock;
    };
    grant_many(guard, next, [first, second])
}

#[cold]
#[inline(never)]
fn grant_many<S>(
    mut guard: LockGuard<'_, S>,
    mut next: impl FnMut(&mut S) -> Option<Wake>,
    begun: [Wake; 2],
) -> &Lock<S> {
    let mut wakes = Wakes::new();
    let mut room = BATCH - begun.len();
    begun.into_iter().for_each(|wake| wakes.push(wake));
    loop {
        let mut granted = 0;
        while granted < room {
            let Some(wake) = next(&mut guard) else {
                let lock = guard.unlock();
                wakes.wake();
                return lock;
            };
            wakes.push(wake);
            granted += 1;
        }
        let lock = guard.unlock();
        wakes.wake();
        room = BATCH;
        guard = lock.lock();
    }
}

/// At which end of the list to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// For who has been woken before, and others were faster.
    First,
    Last,
}

/// A wait that ended without having been granted anything: why, with its value, and with the lock.
pub(crate) type Failed<'a, S, V> = (Left, V, LockGuard<'a, S>);

/// Waits in the list that `list` finds under the lock, with `value` for those who look at it, until it is granted; until `deadline` at
/// most, if there is one.
///
/// # Errors
/// If it was not granted, and is in the list no more.
#[inline]
pub(crate) fn wait<'a, S, V>(
    guard: LockGuard<'a, S>,
    list: impl Fn(&mut S) -> &mut WaitList<V>,
    end: End,
    value: V,
    deadline: Option<Instant>,
) -> Result<V, Failed<'a, S, V>> {
    wait_after(guard, list, end, value, deadline, || {})
}

/// Like [`wait`]; calls `before` when it is in the list and the lock is free, and waits then.
///
/// # Errors
/// As [`wait`].
// Always, so that those who have nothing to call do not pay for it.
#[inline(always)]
pub(crate) fn wait_after<'a, S, V>(
    mut guard: LockGuard<'a, S>,
    list: impl Fn(&mut S) -> &mut WaitList<V>,
    end: End,
    value: V,
    deadline: Option<Instant>,
    before: impl FnOnce(),
) -> Result<V, Failed<'a, S, V>> {
    let node = Node::new(value);
    let place = list(&mut guard);
    match end {
        End::First => place.push_first(&node),
        End::Last => place.push(&node),
    }
    let address = ptr::from_ref(place).addr();
    let linked = Linked {
        node: &node,
        lock: guard.unlock(),
        list: &list,
        address,
    };
    before();
    let left = loop {
        if node.is_granted() {
            mem::forget(linked);
            return Ok(node.value.into_inner());
        }
        match park::try_park(deadline) {
            Ok(()) => {
                let late = |deadline| Instant::now() >= deadline;
                if !node.is_granted() && deadline.is_some_and(late) {
                    break Left::TimedOut;
                }
            }
            Err(interrupt) => break Left::Interrupted(interrupt),
        }
    };
    let unlinked = linked.unlink();
    mem::forget(linked);
    match unlinked {
        Some(guard) => Err((left, node.value.into_inner(), guard)),
        // What has interrupted it is still wished for, and strikes at the next wait.
        None => Ok(node.value.into_inner()),
    }
}

/// A node in a list, which does not end there whatever happens.
struct Linked<'a, 'n, S, V, L: Fn(&mut S) -> &mut WaitList<V>> {
    node: &'n Node<V>,
    lock: &'a Lock<S>,
    list: &'n L,
    /// Of the list.
    address: usize,
}

impl<'a, S, V, L: Fn(&mut S) -> &mut WaitList<V>> Linked<'a, '_, S, V, L> {
    /// Takes the node out and returns the lock; none, if it has been granted.
    fn unlink(&self) -> Option<LockGuard<'a, S>> {
        let mut guard = self.lock.lock();
        if self.node.is_granted() {
            return None;
        }
        let list = (self.list)(&mut guard);
        assert_eq!(ptr::from_ref(list).addr(), self.address, "another list");
        list.unlink(self.node);
        Some(guard)
    }
}

impl<S, V, L: Fn(&mut S) -> &mut WaitList<V>> Drop for Linked<'_, '_, S, V, L> {
    /// Parking panics in a process that was forked.
    fn drop(&mut self) {
        self.unlink();
    }
}

impl<V> fmt::Debug for WaitList<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitList").finish_non_exhaustive()
    }
}
