//! Running a function on another stack, and having enough of it.

use std::cell::Cell;
use std::mem::{ManuallyDrop, MaybeUninit, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use super::{DefaultStack, MIN_SIZE, Stack, overflow, slab};
use crate::arch::fiber::Fiber;
use crate::arch::words::{KNOWN_BOTTOM, KNOWN_END};
use crate::arch::{self, Ending, Root, STACK_ALIGN, Word};

/// Size in bytes of the stacks that [`ensure`] takes, unless more is asked for: 1 MiB.
const ENSURED_SIZE: usize = 1 << 20;

/// Runs `f` on `stack`, and returns what it returns.
///
/// `f` may borrow, and may suspend the coroutine or green thread that calls. Backtraces go through to the caller.
///
/// # Panics
///
/// With the panic of `f`.
///
/// # Examples
///
/// ```
/// use corde::stack::{DefaultStack, on_stack};
///
/// let mut large = DefaultStack::new(16 << 20)?;
/// let words = vec!["deep", "recursion"];
/// let bytes: usize = on_stack(&mut large, || words.iter().map(|word| word.len()).sum());
/// assert_eq!(bytes, 13);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn on_stack<S: Stack + ?Sized, F, T>(stack: &mut S, f: F) -> T
where
    F: FnOnce() -> T,
{
    overflow::protect_thread();
    let top = stack.top().as_ptr();
    let root = top.wrapping_sub(size_of::<Root>().next_multiple_of(STACK_ALIGN));
    let root = root.cast::<Root>();
    let fiber = Fiber::new(stack.bottom().as_ptr(), top);
    let mut call = Call {
        f: ManuallyDrop::new(f),
        outcome: None,
        fiber: &fiber,
    };
    let word = MaybeUninit::new((&raw mut call).cast());
    // SAFETY: the top of a stack is aligned to 16, and what is below it is ours alone for the time of the borrow.
    unsafe { root.write(Root::new()) };
    // SAFETY: as above.
    let record = unsafe { arch::prepare(root, run::<F, T>) };
    fiber.resume(|| {
        fiber.leave_resumer();
        // SAFETY: the record is from `prepare`, and used once; `run` does not suspend, and `call` outlives it.
        unsafe { arch::resume(record, root, word, 0) }
    });
    fiber.done();
    match call.outcome {
        Some(Ok(value)) => value,
        Some(Err(payload)) => resume_unwind(payload),
        None => unreachable!("a call on another stack leaves its outcome"),
    }
}

/// A function to be called on another stack; lies in the caller's frame.
struct Call<'a, F, T> {
    f: ManuallyDrop<F>,
    outcome: Option<thread::Result<T>>,
    fiber: &'a Fiber,
}

/// # Safety
/// Called by the `.S` on the first resume, with a word that points to a `Call<F, T>` whose `f` is there.
unsafe extern "C" fn run<F: FnOnce() -> T, T>(word: Word, root: *mut Root) -> ! {
    // SAFETY: passed on: the word is initialised,
    let call = unsafe { word.assume_init() }.cast::<Call<'_, F, T>>();
    // SAFETY: and points to a call whose owner waits in `resume`.
    let call = unsafe { &mut *call };
    call.fiber.entered();
    // SAFETY: this function runs once for a call.
    let f = unsafe { ManuallyDrop::take(&mut call.f) };
    call.outcome = Some(catch_unwind(AssertUnwindSafe(f)));
    // SAFETY: the caller of `run` has put it there.
    let resumer = unsafe { &*root }.take_resumer();
    call.fiber.finishing();
    // SAFETY: the resumer is the one of this first resume; nothing is left on this stack.
    unsafe { arch::finish(resumer, MaybeUninit::uninit(), Ending::Returned) }
}

/// Runs `f` with at least `bytes` of stack: in place when so much is left, otherwise on another, larger stack.
///
/// Lets a recursion go as deep as memory allows without a large stack for everybody: call it at each level, with the most that one
/// level may take. In place it costs a few instructions. Another stack has 1 MiB, or `bytes` if that is more, comes from the pool
/// and goes back there.
///
/// # Platform-specific behavior
///
/// How much is left is known on corde's own stacks everywhere, and on the stacks of OS threads on Linux and macOS. Where it is not known, `f`
/// always gets another stack.
///
/// # Panics
///
/// With the panic of `f`; and if another stack is needed and cannot be had.
///
/// # Examples
///
/// ```
/// use corde::stack::ensure;
///
/// fn depth(n: u64) -> u64 {
///     ensure(32 * 1024, || if n == 0 { 0 } else { 1 + depth(n - 1) })
/// }
///
/// // About 10 MiB of frames in a debug build, on a thread of 2 MiB.
/// assert_eq!(depth(10_000), 10_000);
/// ```
pub fn ensure<F, T>(bytes: usize, f: F) -> T
where
    F: FnOnce() -> T,
{
    if remaining().is_some_and(|remaining| remaining >= bytes) {
        return f();
    }
    on_another_stack(bytes, f)
}

#[cold]
#[inline(never)]
fn on_another_stack<F: FnOnce() -> T, T>(bytes: usize, f: F) -> T {
    // What is on the way to `f` takes some of it.
    match DefaultStack::new(bytes.saturating_add(MIN_SIZE).max(ENSURED_SIZE)) {
        Ok(mut stack) => on_stack(&mut stack, f),
        Err(error) => panic!("no stack of {bytes} bytes for `ensure`: {error}"),
    }
}

/// Returns how many bytes are left of the stack that calls, or `None` on a stack that corde does not know.
///
/// # Examples
///
/// ```
/// let mut stack = corde::stack::DefaultStack::new(64 * 1024)?;
/// let left = corde::stack::on_stack(&mut stack, corde::stack::remaining).unwrap();
/// assert!((32 * 1024..stack.size()).contains(&left));
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
pub fn remaining() -> Option<usize> {
    let here = arch::stack_pointer();
    let (bottom, end) = (KNOWN_BOTTOM.get(), KNOWN_END.get());
    if (bottom..end).contains(&here) {
        return Some(here - bottom);
    }
    look_up(here)
}

/// Returns whether the caller runs on its OS thread's own stack; true where that is not known.
#[cfg(feature = "runtime")]
#[inline(never)]
pub(crate) fn on_thread_stack() -> bool {
    let here = arch::stack_pointer();
    let bounds = THREAD.get().or_else(thread_bounds);
    bounds.is_none_or(|(bottom, end)| (bottom..end).contains(&here))
}

thread_local! {
    /// The bounds of the OS thread's own stack, which the system is slow to tell.
    static THREAD: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

#[cold]
#[inline(never)]
fn look_up(here: usize) -> Option<usize> {
    let bounds = slab::find_stack(here).or_else(|| {
        let bounds = THREAD.get().or_else(thread_bounds)?;
        THREAD.set(Some(bounds));
        Some(bounds)
    });
    let (bottom, end) = bounds?;
    if !(bottom..end).contains(&here) {
        return None;
    }
    // So that a recursion does not look them up at each level.
    KNOWN_BOTTOM.set(bottom);
    KNOWN_END.set(end);
    Some(here - bottom)
}

/// The bounds of the OS thread's own stack.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn thread_bounds() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: always succeeds.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: fills the attributes of the calling thread in.
    if unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let mut bottom = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the attributes have been filled in.
    let found = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut bottom, &mut size) };
    // SAFETY: as above; they are not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (found == 0).then(|| (bottom as usize, bottom as usize + size))
}

/// The bounds of the OS thread's own stack.
#[cfg(target_vendor = "apple")]
fn thread_bounds() -> Option<(usize, usize)> {
    // SAFETY: only reads, for the calling thread.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: as above.
    let top = unsafe { libc::pthread_get_stackaddr_np(this) } as usize;
    // SAFETY: as above.
    let size = unsafe { libc::pthread_get_stacksize_np(this) };
    Some((top - size, top))
}

/// The bounds of the OS thread's own stack.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn thread_bounds() -> Option<(usize, usize)> {
    None
}
