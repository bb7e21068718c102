//! Slabs: one reservation of address space carved into many stacks of one size.
//!
//! ```text
//! base                 base + stride
//! | guard | stack 0 ...... top | guard | stack 1 ...... top | ...
//! ```
//!
//! Invariants:
//! 1. A slab is mapped when it is made and stays mapped, at its place, until the process ends. (The signal handler of `overflow.rs`
//!    walks the list of slabs without a lock, whatever the interrupted thread was doing.)
//! 2. Slots of a slab do not overlap; who holds a [`Slot`] from [`Slab::carve`] or from the pool holds it alone.
//! 3. A slot leaves [`Slot::guard`] for use only with its guard in place, and a guard is never taken away.
//!
//! Because the stride is a number of stacks plus guards, stack tops do not all fall into the same cache sets.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use memmap2::{MmapMut, MmapOptions};

use super::{guard, page_size};

/// Address space that one slab takes at most, unless a single stack is larger.
const SLAB_BYTES: usize = 64 << 20;

/// Stacks in the first slab of a size; each further slab of that size doubles it, up to [`SLAB_BYTES`].
const FIRST_SLOTS: usize = 8;

/// All slabs of the process, newest first.
static SLABS: AtomicPtr<Slab> = AtomicPtr::new(ptr::null_mut());

/// A reservation of `slots` stacks of `size` bytes, each with a guard page below it.
pub(super) struct Slab {
    base: NonNull<u8>,
    size: usize,
    slots: usize,
    /// How many slots have been carved: the next one's index.
    carved: AtomicUsize,
    /// The slab that was made before this one. Written before this slab is published, never after.
    next: *const Slab,
}

// SAFETY: all fields but `carved`, an atomic, are constant once the slab is published; `base` points to memory that the slab does
// not itself access.
unsafe impl Sync for Slab {}
// SAFETY: as for Sync; nothing in it belongs to a thread.
unsafe impl Send for Slab {}

impl Slab {
    /// Reserves a slab of stacks of `size` bytes, a multiple of the page size; `before` is the previous one of this size.
    pub(super) fn reserve(size: usize, before: Option<&Slab>) -> io::Result<&'static Slab> {
        let stride = size + page_size();
        let wanted = before
            .map_or(FIRST_SLOTS, |slab| slab.slots * 2)
            .min(SLAB_BYTES / stride)
            .max(1);
        // A process under a tight limit on its address space may still have room for one.
        let (slots, map) = match map(wanted * stride) {
            Ok(map) => (wanted, map),
            Err(_) => (1, map(stride)?),
        };
        let base = NonNull::new(MmapMut::leak(map)).expect("a mapping is not at null");
        let slab = Slab {
            base,
            size,
            slots,
            carved: AtomicUsize::new(0),
            next: ptr::null(),
        };
        Ok(publish(Box::leak(Box::new(slab))))
    }

    /// Hands out the next slot that was never used, if there is one. It has no guard yet.
    pub(super) fn carve(&'static self) -> Option<Slot> {
        let index = self.carved.fetch_add(1, Ordering::Relaxed);
        if index < self.slots {
            return Some(Slot { slab: self, index });
        }
        self.carved.store(self.slots, Ordering::Relaxed);
        None
    }

    fn stride(&self) -> usize {
        self.size + page_size()
    }
}

trait Leak {
    /// Keeps the mapping for ever and returns its start.
    fn leak(self) -> *mut u8;
}

impl Leak for MmapMut {
    fn leak(self) -> *mut u8 {
        std::mem::ManuallyDrop::new(self).as_mut_ptr()
    }
}

fn map(bytes: usize) -> io::Result<MmapMut> {
    let map = MmapOptions::new()
        .len(bytes)
        .stack()
        .no_reserve_swap()
        .map_anon()
        .map_err(|error| {
            let message = format!(
                "cannot reserve {bytes} bytes of address space for stacks: {error} \
             (limits: RLIMIT_AS, ulimit -v; vm.max_map_count; vm.overcommit_memory)"
            );
            io::Error::new(error.kind(), message)
        })?;
    // A huge page would make one touched stack cost two megabytes. Fails on kernels without huge pages: just as well.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::NoHugePage);
    Ok(map)
}

fn publish(slab: &'static mut Slab) -> &'static Slab {
    let mut newest = SLABS.load(Ordering::Relaxed);
    loop {
        slab.next = newest;
        // Release: whoever finds the slab by Acquire in `find` sees its fields.
        match SLABS.compare_exchange_weak(newest, slab, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return slab,
            Err(now) => newest = now,
        }
    }
}

/// One stack of a slab.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    slab: &'static Slab,
    index: usize,
}

impl Slot {
    fn guard_page(&self) -> NonNull<u8> {
        // SAFETY: index < slots (carve), so the offset is inside of the mapping.
        unsafe { self.slab.base.add(self.index * self.slab.stride()) }
    }

    pub(super) fn bottom(&self) -> NonNull<u8> {
        // SAFETY: a slot begins with its guard page, and is longer.
        unsafe { self.guard_page().add(page_size()) }
    }

    pub(super) fn top(&self) -> NonNull<u8> {
        // SAFETY: a slot is a guard page and `size` bytes.
        unsafe { self.bottom().add(self.slab.size) }
    }

    pub(super) fn size(&self) -> usize {
        self.slab.size
    }

    /// Puts the guard in place. May be called again after an error.
    pub(super) fn guard(&self) -> io::Result<()> {
        // SAFETY: the page is the slot's own (invariant 2), outside of its stack: nothing uses it.
        unsafe { guard::install(self.guard_page()) }
    }

    /// Gives the stack's memory back to the system; the next use finds zeroes. The address range stays, and so does the guard.
    pub(super) fn discard(&self) {
        // SAFETY: the range is the slot's stack, inside of the mapping; the caller, its only holder, has nothing on it.
        // Failure leaves it resident, which costs memory only.
        unsafe {
            libc::madvise(
                self.bottom().as_ptr().cast(),
                self.slab.size,
                libc::MADV_DONTNEED,
            )
        };
    }
}

/// A fault below a stack.
pub(super) struct Overflow {
    /// Highest address of the stack, which tells whose it is.
    pub(super) top: usize,
    /// Its size in bytes.
    pub(super) size: usize,
}

/// Looks up whether `address` is in the guard page of a stack. Safe to call from a signal handler.
pub(super) fn find_guard(address: usize) -> Option<Overflow> {
    let (guard, top, size) = find_slot(address)?;
    (address - guard < page_size()).then_some(Overflow { top, size })
}

/// Returns the bounds of the stack that `address` is in.
pub(super) fn find_stack(address: usize) -> Option<(usize, usize)> {
    let (guard, top, _) = find_slot(address)?;
    let bottom = guard + page_size();
    (address >= bottom).then_some((bottom, top))
}

/// Returns the start of the slot that `address` is in, its end, and the size of its stack.
fn find_slot(address: usize) -> Option<(usize, usize, usize)> {
    let mut next = SLABS.load(Ordering::Acquire).cast_const();
    // SAFETY: the pointers lead from the head of the list to null, and what they point at is never freed (invariant 1).
    while let Some(slab) = unsafe { next.as_ref() } {
        let base = slab.base.as_ptr() as usize;
        let stride = slab.stride();
        if (base..base + slab.slots * stride).contains(&address) {
            let start = address - (address - base) % stride;
            return Some((start, start + stride, slab.size));
        }
        next = slab.next;
    }
    None
}
