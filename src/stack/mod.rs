//! Stacks for coroutines: reserved in slabs, guarded, pooled, and reported when they overflow.
//!
//! | file | its job |
//! | --- | --- |
//! | `mod.rs` | the [`Stack`] trait and [`DefaultStack`] |
//! | `slab.rs` | one reservation of address space carved into many stacks |
//! | `guard.rs` | what makes the page below a stack fault |
//! | `pool.rs` | stacks between two uses |
//! | `overflow.rs` | the signal handler that names the stack that overflowed |
//! | `switch.rs` | running a function on another stack, and knowing how much is left |
//! | `annotate.rs` | telling Valgrind and the leak checker of stacks |
//! | `usage.rs` | how much of a stack was used |
//!
//! # Sizes
//!
//! A stack is address space until it is touched: [`DEFAULT_SIZE`] costs one resident page (and its entry in a page table)
//! for a green thread that does little. Sizes are in bytes, are rounded up to whole pages, and are at least [`MIN_SIZE`].
//!
//! # Guards
//!
//! Below each stack lies one page that faults. On Linux 6.13 and later it is made with `madvise(MADV_GUARD_INSTALL)`, which
//! does not split the mapping, so that a million guarded stacks fit under the default `vm.max_map_count`. Elsewhere it is
//! made with `mprotect`, which costs two mappings a stack; before the system's limit is met, creating a stack fails
//! with an error that names it. `CORDE_STACK_GUARD=mprotect` in the environment forces the second way, for programs that
//! call `mlockall` and for tests. Rust functions touch every page of a large frame in turn, so that they meet the
//! guard; a C function built without `-fstack-clash-protection` may step over it.
//!
//! # Examples
//!
//! ```
//! use corde::stack::{DefaultStack, ensure, on_stack};
//!
//! fn sum(numbers: &[u64]) -> u64 {
//!     match numbers {
//!         [] => 0,
//!         [first, rest @ ..] => ensure(16 * 1024, || first + sum(rest)),
//!     }
//! }
//!
//! // Once on a stack that is large enough, and once on one that is not, with another one when it is needed.
//! let numbers: Vec<u64> = (1..=1_000).collect();
//! assert_eq!(on_stack(&mut DefaultStack::new(64 << 20)?, || sum(&numbers)), 500_500);
//! assert_eq!(on_stack(&mut DefaultStack::new(64 * 1024)?, || sum(&numbers)), 500_500);
//! # Ok::<(), std::io::Error>(())
//! ```

mod annotate;
mod guard;
pub(crate) mod overflow;
mod pool;
mod slab;
mod switch;
mod usage;

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;

pub use pool::{Stats, stats, trim};
use slab::{Shape, Slot};
#[cfg(feature = "runtime")]
pub(crate) use switch::on_thread_stack;
pub use switch::{ensure, on_stack, remaining};

/// Size in bytes of a stack when nothing else is asked for: 128 KiB; four times that with the features `asan` and `tsan`, as
/// sanitizers make frames larger.
///
/// # Examples
///
/// ```
/// use corde::coroutine::Coroutine;
/// use corde::stack::DEFAULT_SIZE;
///
/// let coroutine = Coroutine::new(|yielder, ()| yielder.suspend(()))?;
/// assert!(coroutine.stack().size() >= DEFAULT_SIZE);
/// # Ok::<(), std::io::Error>(())
/// ```
pub const DEFAULT_SIZE: usize = if cfg!(any(feature = "asan", feature = "tsan")) {
    512 * 1024
} else {
    128 * 1024
};

/// The least size in bytes of a [`DefaultStack`]: 16 KiB, or one page where pages are larger.
///
/// # Examples
///
/// ```
/// use corde::stack::{DefaultStack, MIN_SIZE};
///
/// assert!(DefaultStack::new(1)?.size() >= MIN_SIZE);
/// # Ok::<(), std::io::Error>(())
/// ```
pub const MIN_SIZE: usize = 16 * 1024;

/// Memory that a coroutine may run on.
///
/// It borrows nothing: a coroutine that is leaked keeps its frames, and so its stack, for ever.
///
/// # Safety
///
/// For as long as the value lives, wherever it is moved: the bytes from `bottom` up to `top` are readable, writable and used by
/// nobody else, both ends stay the same, `top` is aligned to 16, and code that runs down past `bottom` faults before
/// it can touch memory that belongs to something else.
///
/// # Examples
///
/// ```
/// use corde::coroutine::{Coroutine, CoroutineResult, Yielder};
/// use corde::stack::Stack;
/// use memmap2::MmapMut;
/// use std::io;
/// use std::ptr::NonNull;
///
/// /// Large enough for whole pages of any size.
/// const GUARD: usize = 64 * 1024;
///
/// /// A mapping whose lowest bytes fault.
/// struct Mapped {
///     map: NonNull<u8>,
///     len: usize,
///     _owner: MmapMut,
/// }
///
/// impl Mapped {
///     fn new(size: usize) -> io::Result<Mapped> {
///         let len = GUARD + size.next_multiple_of(GUARD);
///         let mut owner = MmapMut::map_anon(len)?;
///         let map = NonNull::new(owner.as_mut_ptr()).expect("a mapping is not at null");
///         // SAFETY: the mapping is new, and its lowest pages are used by nobody.
///         match unsafe { libc::mprotect(map.as_ptr().cast(), GUARD, libc::PROT_NONE) } {
///             0 => Ok(Mapped { map, len, _owner: owner }),
///             _ => Err(io::Error::last_os_error()),
///         }
///     }
/// }
///
/// // SAFETY: the mapping is this value's own and stays in its place until it is dropped; both ends are those of pages, and the guard is
/// // below.
/// unsafe impl Stack for Mapped {
///     fn top(&self) -> NonNull<u8> {
///         // SAFETY: the end of the mapping.
///         unsafe { self.map.add(self.len) }
///     }
///
///     fn bottom(&self) -> NonNull<u8> {
///         // SAFETY: inside of the mapping.
///         unsafe { self.map.add(GUARD) }
///     }
/// }
///
/// let stack = Mapped::new(256 * 1024)?;
/// let mut coroutine = Coroutine::with_stack(stack, |yielder: &Yielder<_, _>, input: u32| {
///     yielder.suspend(input + 1)
/// });
/// assert_eq!(coroutine.resume(1), CoroutineResult::Yield(2));
/// # Ok::<(), io::Error>(())
/// ```
pub unsafe trait Stack: 'static {
    /// Returns the end of the stack, where it begins to be used: one past its highest byte.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::stack::{DefaultStack, Stack};
    ///
    /// let stack = DefaultStack::new(64 * 1024)?;
    /// assert_eq!(stack.top().addr().get() % 16, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn top(&self) -> NonNull<u8>;

    /// Returns its lowest usable byte; the guard is below it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::stack::{DefaultStack, Stack, on_stack};
    ///
    /// let mut stack = DefaultStack::new(64 * 1024)?;
    /// let range = stack.bottom().addr().get()..stack.top().addr().get();
    /// let local = on_stack(&mut stack, || {
    ///     let local = 0_u8;
    ///     std::ptr::from_ref(std::hint::black_box(&local)).addr()
    /// });
    /// assert!(range.contains(&local));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn bottom(&self) -> NonNull<u8>;
}

/// A guarded stack from corde's pool; goes back there when dropped.
///
/// # Examples
///
/// ```
/// use corde::stack::{DefaultStack, Stack};
///
/// let stack = DefaultStack::new(100_000)?;
/// assert!(stack.size() >= 100_000);
/// assert_eq!(stack.top().as_ptr() as usize - stack.bottom().as_ptr() as usize, stack.size());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DefaultStack {
    slot: Slot,
}

impl DefaultStack {
    /// Takes a stack of at least `size` bytes from the pool, or maps one.
    ///
    /// `size` is rounded up to whole pages and to [`MIN_SIZE`].
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::OutOfMemory`] when the system gives no more address space or mappings: the message names the limit
    /// that was met and how to raise it. [`io::ErrorKind::InvalidInput`] when `size` is more than an address space holds.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::stack::DefaultStack;
    ///
    /// let stack = DefaultStack::new(1 << 20)?;
    /// assert!(stack.size() >= 1 << 20);
    ///
    /// let error = DefaultStack::new(usize::MAX).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(size: usize) -> io::Result<DefaultStack> {
        DefaultStack::with_guard(size, 0)
    }

    /// Like [`new`](DefaultStack::new), with `guard` bytes below that fault: rounded up to whole pages, and at least one.
    ///
    /// One page is enough for Rust code. A C function that was built without `-fstack-clash-protection` may step over it with a large
    /// frame; 64 KiB or more stop most of them.
    ///
    /// # Errors
    ///
    /// Those of [`new`](DefaultStack::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::stack::{DefaultStack, on_stack};
    ///
    /// let mut stack = DefaultStack::with_guard(256 * 1024, 1 << 20)?;
    /// // Where a call to C would be.
    /// assert_eq!(on_stack(&mut stack, || 6 * 7), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_guard(size: usize, guard: usize) -> io::Result<DefaultStack> {
        let size = rounded_size(size)?;
        let guard = whole_pages(guard.max(1))?;
        Ok(DefaultStack {
            slot: pool::acquire(Shape { size, guard })?,
        })
    }

    /// Like [`new`](DefaultStack::new), for a size from [`rounded_size`].
    #[cfg(feature = "runtime")]
    pub(crate) fn of_rounded_size(size: usize) -> io::Result<DefaultStack> {
        let guard = page_size();
        Ok(DefaultStack {
            slot: pool::acquire(Shape { size, guard })?,
        })
    }

    /// Returns its usable size in bytes: what was asked for, rounded up, and up to a page more.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::stack::DefaultStack;
    ///
    /// let sizes = [100_000, 200_000].map(|size| DefaultStack::new(size).unwrap().size());
    /// assert!(sizes[0] >= 100_000 && sizes[1] >= 200_000);
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        self.top().as_ptr() as usize - self.bottom().as_ptr() as usize
    }

    /// Returns how many bytes of it, from the top, have been in use at most since its memory was last given back to the
    /// system; whoever used it before counts, too.
    ///
    /// Found by asking the system for the lowest page that is resident, so it is exact to a page.
    ///
    /// # Platform-specific behavior
    ///
    /// Pages that were swapped out count as untouched.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use corde::stack::{DefaultStack, on_stack};
    ///
    /// let mut stack = DefaultStack::new(8 << 20)?;
    /// on_stack(&mut stack, || std::hint::black_box(&mut [1_u8; 200_000]).fill(7));
    /// assert!((200_000..400_000).contains(&stack.high_water()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn high_water(&self) -> usize {
        usage::high_water(self.bottom(), self.top())
    }
}

// SAFETY: a slot's bounds are fixed, page-aligned, mapped for ever and guarded below (slab.rs, invariants 1 to 3); the pool hands
// a slot to one owner at a time.
unsafe impl Stack for DefaultStack {
    #[inline]
    fn top(&self) -> NonNull<u8> {
        self.slot.top()
    }

    #[inline]
    fn bottom(&self) -> NonNull<u8> {
        self.slot.bottom()
    }
}

impl Drop for DefaultStack {
    fn drop(&mut self) {
        pool::release(self.slot);
    }
}

impl fmt::Debug for DefaultStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultStack")
            .field("bottom", &self.bottom())
            .field("size", &self.size())
            .finish()
    }
}

/// Rounds the wanted size of a stack up to what a slab can hold, or says why it cannot.
pub(crate) fn rounded_size(size: usize) -> io::Result<usize> {
    whole_pages(size.max(MIN_SIZE))
}

fn whole_pages(bytes: usize) -> io::Result<usize> {
    let limit = isize::MAX as usize / 4;
    if bytes > limit {
        let message = format!(
            "a stack of {bytes} bytes is larger than the address space allows (limit {limit} bytes)"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(bytes.next_multiple_of(page_size()))
}

/// The system's page size in bytes.
fn page_size() -> usize {
    static PAGE_SIZE: OnceLock<usize> = OnceLock::new();
    *PAGE_SIZE.get_or_init(|| {
        // SAFETY: sysconf only reads.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).expect("the system has a page size")
    })
}
