//! Tells Valgrind and LeakSanitizer where stacks are. Once for each: a stack stays at its place for ever.

use std::ptr::NonNull;

#[cfg(feature = "asan")]
use crate::arch::fiber;
use crate::arch::valgrind;

/// Makes a stack known. Nothing happens where none of them is watching.
pub(super) fn made(bottom: NonNull<u8>, top: NonNull<u8>) {
    valgrind::register_stack(bottom.as_ptr(), top.as_ptr());
    #[cfg(feature = "asan")]
    fiber::keep_reachable(
        bottom.as_ptr(),
        top.as_ptr() as usize - bottom.as_ptr() as usize,
    );
}
