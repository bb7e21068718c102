//! Stacks between two uses, by shape.
//!
//! A stack that was just used is warm: its top pages are resident and likely in a cache. So the newest is reused first. Each OS
//! thread keeps up to [`CACHED`] of a shape for itself, without a lock. The others go to the pool that all share, where up to [`WARM`] of a
//! shape keep their memory, and further ones give it back to the system and keep only their address range.

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

/// Stacks of one shape that keep their resident pages in the shared pool: one page each, if they were not used deep. With 1,024 the
/// system calls that give the memory back and the faults that bring it anew took three quarters of the life of 20,000 parked
/// green threads.
const WARM: usize = 4 * 1024;

/// All free stacks that no OS thread keeps.
static POOL: Mutex<BTreeMap<Shape, Class>> = Mutex::new(BTreeMap::new());

/// The free stacks of one shape.
#[derive(Default)]
struct Class {
    /// Guarded, with resident pages; the last one is the warmest.
    warm: Vec<Slot>,
    /// Guarded, without.
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
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache { classes: Vec::new() }) };
}

impl Cache {
    fn class(&mut self, shape: Shape) -> Option<&mut Vec<Slot>> {
        self.classes
            .iter_mut()
            .find(|class| class.0 == shape)
            .map(|class| &mut class.1)
    }

    /// Keeps a slot, if there is room.
    fn put(&mut self, slot: Slot) -> bool {
        let shape = slot.shape();
        if self.class(shape).is_none() && self.classes.len() < CACHED_SHAPES {
            self.classes.push((shape, Vec::with_capacity(CACHED)));
        }
        match self.class(shape) {
            Some(slots) if slots.len() < CACHED => {
                slots.push(slot);
                true
            }
            _ => false,
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.classes
            .drain(..)
            .flat_map(|class| class.1)
            .for_each(share);
    }
}

/// Takes a guarded slot.
pub(super) fn acquire(shape: Shape) -> io::Result<Slot> {
    // While the thread's locals are being destroyed there is no cache.
    let cached = CACHE.try_with(|cache| cache.borrow_mut().class(shape)?.pop());
    if let Ok(Some(slot)) = cached {
        return Ok(slot);
    }
    let slot = {
        let mut pool = pool();
        let class = pool.entry(shape).or_default();
        if let Some(slot) = class.warm.pop().or_else(|| class.cold.pop()) {
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
pub(super) fn release(slot: Slot) {
    if !CACHE
        .try_with(|cache| cache.borrow_mut().put(slot))
        .unwrap_or(false)
    {
        share(slot);
    }
}

/// Gives a slot to the pool that all share.
fn share(slot: Slot) {
    {
        let mut pool = pool();
        let class = pool.entry(slot.shape()).or_default();
        if class.warm.len() < WARM {
            return class.warm.push(slot);
        }
    }
    slot.discard();
    pool().entry(slot.shape()).or_default().cold.push(slot);
}

/// How many stacks there are; see [`stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of address space reserved, in use or not.
    pub reserved: usize,
    /// Stacks that exist, each with its guard.
    pub made: usize,
    /// Of those, free ones in the pool that all OS threads share, with their memory resident.
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
        warm: sum.warm + class.warm.len(),
        cold: sum.cold + class.cold.len(),
    })
}
