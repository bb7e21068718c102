//! Stacks between two uses, by size.
//!
//! A stack that was just used is warm: its top page is resident and likely in a cache. So the newest is reused first. Up to
//! [`WARM`] stacks of a size keep their memory, further ones give it back to the system and keep only their address range.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::slab::{Slab, Slot};
#[cfg(feature = "runtime")]
use super::{DefaultStack, Stack};

/// Stacks of one size that keep their resident pages while nobody uses them.
const WARM: usize = 1024;

/// All free stacks that no [`Cache`] holds.
static POOL: Mutex<BTreeMap<usize, Class>> = Mutex::new(BTreeMap::new());

/// The free stacks of one size.
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
}

impl Class {
    fn fresh(&mut self, size: usize) -> io::Result<Slot> {
        loop {
            if let Some(slot) = self.unguarded.pop().or_else(|| self.newest?.carve()) {
                return Ok(slot);
            }
            self.newest = Some(Slab::reserve(size, self.newest)?);
        }
    }
}

fn pool() -> MutexGuard<'static, BTreeMap<usize, Class>> {
    // Nothing panics between two consistent states, so a poisoned pool is as good as any.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a guarded slot of exactly `size` bytes, a multiple of the page size.
pub(super) fn acquire(size: usize) -> io::Result<Slot> {
    let slot = {
        let mut pool = pool();
        let class = pool.entry(size).or_default();
        if let Some(slot) = class.warm.pop().or_else(|| class.cold.pop()) {
            return Ok(slot);
        }
        class.fresh(size)?
    };
    // The system call is made without the lock.
    slot.guard()
        .inspect_err(|_| pool().entry(size).or_default().unguarded.push(slot))?;
    Ok(slot)
}

/// Gives a slot back that came from [`acquire`].
pub(super) fn release(slot: Slot) {
    {
        let mut pool = pool();
        let class = pool.entry(slot.size()).or_default();
        if class.warm.len() < WARM {
            return class.warm.push(slot);
        }
    }
    slot.discard();
    pool().entry(slot.size()).or_default().cold.push(slot);
}

/// A worker's own few stacks of one size, without a lock.
#[cfg(feature = "runtime")]
pub(crate) struct Cache {
    size: usize,
    stacks: Vec<DefaultStack>,
}

#[cfg(feature = "runtime")]
impl Cache {
    /// Stacks that a cache keeps; further ones go to the pool that all share.
    const CAPACITY: usize = 64;

    /// Makes an empty cache for stacks of `size` bytes.
    pub(crate) fn new(size: usize) -> Cache {
        Cache {
            size,
            stacks: Vec::with_capacity(Cache::CAPACITY),
        }
    }

    /// Takes a stack of `size` bytes: the one used last, if the size is the cache's.
    pub(crate) fn take(&mut self, size: usize) -> io::Result<DefaultStack> {
        match self.stacks.pop() {
            Some(stack) if stack.size() == size => Ok(stack),
            other => {
                self.stacks.extend(other);
                DefaultStack::new(size)
            }
        }
    }

    /// Keeps a stack for the next [`take`](Cache::take), or gives it to the shared pool.
    pub(crate) fn put(&mut self, stack: DefaultStack) {
        debug_assert!(stack.bottom() < stack.top());
        if stack.size() == self.size && self.stacks.len() < Cache::CAPACITY {
            self.stacks.push(stack);
        }
    }
}
