//! Slabs: one reservation of address space carved into many stacks of one shape.
//!
//! ```text
//! base                              base + stride
//! | guard | stack 0 ...... top .. | guard | stack 1 ...... top .. | ...
//! ```
//!
//! Invariants:
//! 1. A slab is mapped when it is made and stays mapped, at its place, until the process ends. (The signal handler of `overflow.rs`
//!    walks the list of slabs without a lock, whatever the interrupted thread was doing.)
//! 2. Slots of a slab do not overlap; who holds a [`Slot`] from [`Slab::carve`] or from the pool holds it alone.
//! 3. A slot leaves [`Slot::guard`] for use only with its guard in place, and a guard is never taken away.
//!
//! # Colours
//!
//! The tops of stacks that begin at page boundaries share a few cache sets, so that switching round among hundreds of them misses the
//! cache each time. So the tops are spread: each slot has one of [`COLOURS`] offsets, and a page more than its size, so
//! that none is short.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use memmap2::{MmapMut, MmapOptions};

use super::{guard, page_size};

/// Address space that one slab takes at most, unless a single stack is larger.
const SLAB_BYTES: usize = 64 << 20;

/// Stacks in the first slab of a shape; each further slab of that shape doubles it, up to [`SLAB_BYTES`].
const FIRST_SLOTS: usize = 8;

/// Offsets that the tops of neighbouring stacks take in turn.
const COLOURS: usize = 16;

/// Bytes from one offset to the next: a cache line. All of them leave three quarters of a page of 4 KiB to the frames of a
/// green thread that is parked, so that it needs no second page.
const COLOUR_BYTES: usize = 64;

/// All slabs of the process, newest first.
static SLABS: AtomicPtr<Slab> = AtomicPtr::new(ptr::null_mut());

/// What the stacks of a slab look like. Both are multiples of the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// Usable bytes, at the least.
    pub(super) size: usize,
    /// Bytes below them that fault.
    pub(super) guard: usize,
}

impl Shape {
    fn stride(self) -> usize {
        self.guard + self.size + page_size()
    }
}

/// A reservation of `slots` stacks of one shape.
pub(super) struct Slab {
    base: NonNull<u8>,
    shape: Shape,
    slots: usize,
    /// How many slots have been carved: the next one's index.
    carved: AtomicUsize,
    /// Where each slot is: set once the slab itself has its place.
    places: OnceLock<Box<[Place]>>,
    /// The slab that was made before this one. Written before this slab is published, never after.
    next: *const Slab,
}

// SAFETY: all fields but `carved`, an atomic, are constant once the slab is published, and `places` is made for sharing; `base` points to memory that the slab does
// not itself access.
unsafe impl Sync for Slab {}
// SAFETY: as for Sync; nothing in it belongs to a thread.
unsafe impl Send for Slab {}

impl Slab {
    /// Reserves a slab; `before` is the previous one of this shape.
    pub(super) fn reserve(shape: Shape, before: Option<&Slab>) -> io::Result<&'static Slab> {
        let stride = shape.stride();
        let twice = before.map_or(FIRST_SLOTS, |slab| slab.slots * 2);
        let wanted = twice.min(SLAB_BYTES / stride).max(1);
        // A process under a tight limit on its address space may still have room for one.
        let (slots, map) = match map(wanted * stride) {
            Ok(map) => (wanted, map),
            Err(_) => (1, map(stride)?),
        };
        // Never unmapped (invariant 1).
        let base = ManuallyDrop::new(map).as_mut_ptr();
        let base = NonNull::new(base).expect("a mapping is not at null");
        let carved = AtomicUsize::new(0);
        let slab = Slab {
            base,
            shape,
            slots,
            carved,
            places: OnceLock::new(),
            next: ptr::null(),
        };
        let slab = publish(Box::leak(Box::new(slab)));
        slab.places
            .get_or_init(|| (0..slots).map(|index| Place::new(slab, index)).collect());
        Ok(slab)
    }

    /// Hands out the next slot that was never used, if there is one. It has no guard yet.
    pub(super) fn carve(&'static self) -> Option<Slot> {
        let next = |carved| (carved < self.slots).then_some(carved + 1);
        let index = self
            .carved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()?;
        let place = self.places.get()?.get(index)?;
        Some(Slot { place })
    }

    /// How many bytes of address space it takes.
    pub(super) fn reserved(&self) -> usize {
        self.slots * self.shape.stride()
    }
}

fn map(bytes: usize) -> io::Result<MmapMut> {
    let mut options = MmapOptions::new();
    options.len(bytes).no_reserve_swap();
    // Elsewhere this flag may mean a mapping that grows by itself, and would take its guards for room to grow into (FreeBSD).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    options.stack();
    let map = options.map_anon();
    let map = map.map_err(|error| {
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
        // Release: whoever finds the slab by Acquire in `find_slot` sees its fields.
        match SLABS.compare_exchange_weak(newest, slab, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return slab,
            Err(now) => newest = now,
        }
    }
}

/// Where a slot is.
struct Place {
    slab: &'static Slab,
    bottom: NonNull<u8>,
    top: NonNull<u8>,
}

// SAFETY: the pointers are addresses in a slab, which belongs to no thread; a place by itself gives no right to the memory.
unsafe impl Send for Place {}
// SAFETY: as for Send; a place never changes.
unsafe impl Sync for Place {}

impl Place {
    fn new(slab: &'static Slab, index: usize) -> Place {
        let Shape { size, guard } = slab.shape;
        let bottom = index * slab.shape.stride() + guard;
        let colour = index % COLOURS * COLOUR_BYTES;
        // SAFETY: index < slots (reserve), so the slot is inside of the mapping; it begins with its guard, and is longer.
        let bottom = unsafe { slab.base.add(bottom) };
        // SAFETY: above the guard a slot has `size` bytes and a page, which is more than any colour's offset.
        let top = unsafe { bottom.add(size + page_size() - colour) };
        Place { slab, bottom, top }
    }
}

/// One stack of a slab. A word, so that handles that hold one are small and stay in registers.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    place: &'static Place,
}

impl Slot {
    #[inline]
    pub(super) fn bottom(self) -> NonNull<u8> {
        self.place.bottom
    }

    #[inline]
    pub(super) fn top(self) -> NonNull<u8> {
        self.place.top
    }

    #[inline]
    pub(super) fn shape(self) -> Shape {
        self.place.slab.shape
    }

    /// Puts the guard in place. May be called again after an error.
    pub(super) fn guard(self) -> io::Result<()> {
        let bytes = self.shape().guard;
        // SAFETY: a slot begins with its guard.
        let start = unsafe { self.bottom().sub(bytes) };
        // SAFETY: the pages are the slot's own (invariant 2), outside of its stack: nothing uses them.
        unsafe { guard::install(start, bytes) }
    }

    /// Gives the stack's memory back to the system, all of it or all but its top page; the next use finds zeroes. The address range
    /// stays, and so does the guard.
    pub(super) fn discard(self, but_top: bool) {
        let bytes = self.shape().size + if but_top { 0 } else { page_size() };
        // SAFETY: the range is the slot's stack, inside of the mapping; the caller, its only holder, has nothing on it.
        // Failure leaves it resident, which costs memory only.
        unsafe { libc::madvise(self.bottom().as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
    }
}

/// What is known of an address in a slab.
struct Found {
    /// Where the slot's guard begins.
    start: usize,
    /// Where the guard ends and the stack begins.
    bottom: usize,
    /// Where the slot ends, a colour's offset above the top of its stack.
    end: usize,
    size: usize,
}

/// A fault below a stack.
pub(super) struct Overflow {
    /// Addresses of the stack that overflowed, from its lowest to above its top.
    pub(super) stack: Range<usize>,
    /// Its size in bytes.
    pub(super) size: usize,
}

/// Looks up whether `address` is in the guard of a stack. Safe to call from a signal handler.
pub(super) fn find_guard(address: usize) -> Option<Overflow> {
    let found = find(address)?;
    let in_guard = (found.start..found.bottom).contains(&address);
    in_guard.then_some(Overflow {
        stack: found.bottom..found.end,
        size: found.size,
    })
}

/// Returns the addresses of the stack that `address` is in, from its lowest to above its top.
pub(super) fn find_stack(address: usize) -> Option<(usize, usize)> {
    let found = find(address)?;
    (address >= found.bottom).then_some((found.bottom, found.end))
}

fn find(address: usize) -> Option<Found> {
    let mut next = SLABS.load(Ordering::Acquire).cast_const();
    // SAFETY: the pointers lead from the head of the list to null, and what they point at is never freed (invariant 1).
    while let Some(slab) = unsafe { next.as_ref() } {
        let base = slab.base.as_ptr() as usize;
        if (base..base + slab.reserved()).contains(&address) {
            let stride = slab.shape.stride();
            let start = address - (address - base) % stride;
            let bottom = start + slab.shape.guard;
            return Some(Found {
                start,
                bottom,
                end: start + stride,
                size: slab.shape.size,
            });
        }
        next = slab.next;
    }
    None
}
