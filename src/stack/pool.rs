//! Stacks between two uses, by shape.
//!
//! A stack that was just used is warm: its top pages are resident and likely in a cache. So the newest is reused first. Each OS
//! thread keeps up to [`CACHED`] of a shape for itself, without a lock. The others go, half a cache at a time, to the pool that all share.
//!
//! What they keep there, of each shape (measured: giving all pages back and faulting one in again takes 2.2 us, giving back all but the
//! top page 0.4 us; keeping all is free, but a stack may have been used to its bottom):
//!
//! | idle stacks | keep |
//! | --- | --- |
//! | the first [`WARM`] | all their pages |
//! | up to [`TOPPED`] more | their top page |
//! | the rest | their address range |
//!
//! [`trim`] gives back what all of them keep.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::annotate;
use super::slab::{Shape, Slab, Slot};

/// Stacks of one shape that an OS thread keeps for itself.
const CACHED: usize = 64;

/// Shapes of which an OS thread keeps stacks; those of others go to the shared pool at once.
const CACHED_SHAPES: usize = 4;

/// Stacks of one shape that keep all their resident pages in the shared pool. With 1,024 the system calls that give the memory
/// back and the faults that bring it anew took three quarters of the life of 20,000 parked green threads.
const WARM: usize = 4 * 1024;

/// Stacks of one shape that keep their top page beyond those: 128 MiB, with pages of 4 KiB.
const TOPPED: usize = 32 * 1024;

/// All free stacks that no OS thread keeps.
static POOL: Mutex<BTreeMap<Shape, Class>> = Mutex::new(BTreeMap::new());

/// The free stacks of one shape.
#[derive(Default)]
struct Class {
    /// Guarded, with all pages that were touched; the last one is the warmest.
    warm: Vec<Slot>,
    /// Guarded, with the top page.
    topped: Vec<Slot>,
    /// Guarded, without resident pages.
    cold: Vec<Slot>,
    /// Carved, but their guard could not be made.
    unguarded: Vec<Slot>,
    /// Where slots that were never used come from.
    newest: Option<&'static Slab>,
    /// What has been made so far.
    made: usize,
    reserved: usize,
}

impl Class {
    /// Takes a free stack that was used before.
    fn used(&mut self) -> Option<Slot> {
        let slot = self.warm.pop().or_else(|| self.topped.pop());
        slot.or_else(|| self.cold.pop())
    }

    fn fresh(&mut self, shape: Shape) -> io::Result<Slot> {
        loop {
            if let Some(slot) = self.unguarded.pop().or_else(|| self.newest?.carve()) {
                return Ok(slot);
            }
            let slab = Slab::reserve(shape, self.newest)?;
            self.reserved += slab.reserved();
            self.newest = Some(slab);
        }
    }
}

fn pool() -> MutexGuard<'static, BTreeMap<Shape, Class>> {
    // Nothing panics between two consistent states, so a poisoned pool is as good as any.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an OS thread keeps for itself, a few shapes; goes to the shared pool when the thread ends.
struct Cache {
    classes: Vec<(Shape, Vec<Slot>)>,
}

thread_local! {
    /// Touched by functions that are never inlined alone: see `arch::words`.
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache { classes: Vec::new() }) };
}

impl Cache {
    fn class(&mut self, shape: Shape) -> Option<&mut Vec<Slot>> {
        self.classes
            .iter_mut()
            .find(|class| class.0 == shape)
            .map(|class| &mut class.1)
    }

    /// Keeps a slot, or else gives it back. Makes room by giving half of the shape's slots, the coldest ones, to the shared pool.
    fn put(&mut self, slot: Slot) -> Option<Slot> {
        let shape = slot.shape();
        if self.class(shape).is_none() && self.classes.len() < CACHED_SHAPES {
            self.classes.push((shape, Vec::with_capacity(CACHED)));
        }
        let Some(slots) = self.class(shape) else {
            return Some(slot);
        };
        if slots.len() == CACHED {
            share(shape, slots.drain(..CACHED / 2));
        }
        slots.push(slot);
        None
    }

    /// Takes a slot, from the shared pool if there is none here, and some more with it.
    fn take(&mut self, shape: Shape) -> Option<Slot> {
        let slots = self.class(shape)?;
        if slots.is_empty() {
            let mut pool = pool();
            let class = pool.get_mut(&shape)?;
            let some = class.warm.len().min(CACHED / 2);
            slots.extend(class.warm.drain(class.warm.len() - some..));
        }
        slots.pop()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        for (shape, slots) in self.classes.drain(..) {
            share(shape, slots);
        }
    }
}

/// Takes a guarded slot.
#[inline(never)]
pub(super) fn acquire(shape: Shape) -> io::Result<Slot> {
    // While the thread's locals are being destroyed there is no cache.
    let cached = CACHE.try_with(|cache| cache.borrow_mut().take(shape));
    if let Ok(Some(slot)) = cached {
        return Ok(slot);
    }
    let slot = {
        let mut pool = pool();
        let class = pool.entry(shape).or_default();
        if let Some(slot) = class.used() {
            return Ok(slot);
        }
        class.fresh(shape)?
    };
    // The system call is made without the lock.
    let guarded = slot.guard();
    if guarded.is_ok() {
        annotate::made(slot.bottom(), slot.top());
    }
    let mut pool = pool();
    let class = pool.entry(shape).or_default();
    match guarded {
        Ok(()) => class.made += 1,
        Err(_) => class.unguarded.push(slot),
    }
    guarded.map(|()| slot)
}

/// Gives a slot back that came from [`acquire`].
#[inline(never)]
pub(super) fn release(slot: Slot) {
    let not_kept = CACHE.try_with(|cache| cache.borrow_mut().put(slot));
    if let Some(slot) = not_kept.unwrap_or(Some(slot)) {
        share(slot.shape(), [slot]);
    }
}

/// Gives slots of one shape to the pool that all share.
fn share(shape: Shape, slots: impl IntoIterator<Item = Slot>) {
    let mut slots = slots.into_iter();
    let beyond = {
        let mut pool = pool();
        let class = pool.entry(shape).or_default();
        let room = WARM.saturating_sub(class.warm.len());
        class.warm.extend(slots.by_ref().take(room));
        class.topped.len()
    };
    // The system calls are made without the lock; so the limits may be passed by what several threads bring at once.
    let mut beyond = beyond..;
    for slot in slots {
        let topped = beyond.next() < Some(TOPPED);
        slot.discard(topped);
        let mut pool = pool();
        let class = pool.entry(shape).or_default();
        if topped {
            class.topped.push(slot);
        } else {
            class.cold.push(slot);
        }
    }
}

/// Gives the memory of all idle stacks back to the system: those of the pool that all OS threads share, and those that the calling one
/// keeps for itself.
///
/// For a moment of rest, in a program that has used many stacks and will not soon again. Takes about a microsecond a stack. The
/// address ranges stay reserved.
///
/// # Examples
///
/// ```standalone_crate
/// use corde::stack::{DefaultStack, stats, trim};
///
/// drop(DefaultStack::new(64 * 1024)?);
/// trim();
/// assert_eq!(stats().warm, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline(never)]
pub fn trim() {
    // While the thread's locals are being destroyed there is no cache.
    let own = CACHE.try_with(|cache| std::mem::take(&mut cache.borrow_mut().classes));
    for (shape, slots) in own.unwrap_or_default() {
        share(shape, slots);
    }
    let classes = pool();
    let shapes: Vec<Shape> = classes.keys().copied().collect();
    drop(classes);
    for shape in shapes {
        // Out of reach meanwhile: who needs a stack then, makes a new one.
        let slots: Vec<Slot> = {
            let mut pool = pool();
            let class = pool.entry(shape).or_default();
            let topped = std::mem::take(&mut class.topped);
            class.warm.drain(..).chain(topped).collect()
        };
        slots.iter().for_each(|slot| slot.discard(false));
        pool().entry(shape).or_default().cold.extend(slots);
    }
}

/// How many stacks there are; see [`stats`].
///
/// # Examples
///
/// ```
/// use corde::stack::{DefaultStack, Stats, stats};
///
/// /// Stacks in use, and those that OS threads keep for themselves.
/// fn taken(stats: Stats) -> usize {
///     stats.made - stats.warm - stats.cold
/// }
///
/// let stacks = [DefaultStack::new(64 * 1024)?, DefaultStack::new(64 * 1024)?];
/// assert!(taken(stats()) >= stacks.len());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of address space reserved, in use or not.
    pub reserved: usize,
    /// Stacks that exist, each with its guard.
    pub made: usize,
    /// Of those, free ones in the pool that all OS threads share, which have kept memory: all that was touched, or their top page.
    pub warm: usize,
    /// Free ones in the shared pool whose memory was given back to the system.
    pub cold: usize,
}

/// Counts the stacks of the process, of all sizes.
///
/// What is neither `warm` nor `cold` is in use, or kept by one of the OS threads that use stacks: up to 64 of a size each.
///
/// # Examples
///
/// ```
/// use corde::stack::{DefaultStack, stats};
///
/// let stack = DefaultStack::new(1 << 20)?;
/// assert!(stats().made >= 1);
/// assert!(stats().reserved >= stack.size());
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn stats() -> Stats {
    pool().values().fold(Stats::default(), |sum, class| Stats {
        reserved: sum.reserved + class.reserved,
        made: sum.made + class.made,
        warm: sum.warm + class.warm.len() + class.topped.len(),
        cold: sum.cold + class.cold.len(),
    })
}
