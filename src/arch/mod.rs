//! The stack switch, as Rust sees it: below this module there is only `asm/`.
//!
//! Each architecture provides, under the same names and in the same order:
//!
//! * [`prepare`]`(root, function)`: lays out the first frame of a coroutine and returns its stack pointer, which
//!   [`prepared`]`(root)` tells again;
//! * [`resume`]`(coroutine, root, word, signal)`: runs it until it suspends or finishes, and returns its new stack pointer
//!   (null when it has finished), the word it sent, and when it has finished the signal it sent;
//! * [`resume_with_float`]: the same, with the coroutine's own [`FloatEnvironment`] in force;
//! * [`suspend`]`(resumer, word)`: goes back to the resumer, and returns the word and the signal of the next resume;
//! * [`finish`]`(resumer, word, signal)`: goes back for good;
//! * [`stack_pointer`]`()`: tells how far down the stack the caller is.
//!
//! `resume` and `suspend` are inlined into their callers: a function boundary between them and the code they switch
//! from would put a mispredicted return (7 ns) on every switch.
//!
//! # What a switch leaves alone
//!
//! The floating-point environment (MXCSR and the x87 control word, FPCR) belongs to the OS thread. Rust code may not change
//! it. A change that C code leaves in place when its coroutine suspends is seen by whoever runs next on the OS thread,
//! unless the coroutine has an environment of its own.

pub(crate) mod fiber;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64 as imp;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as imp;

use std::mem::MaybeUninit;

pub(crate) use imp::{
    FloatEnvironment, finish, prepare, prepared, resume, resume_with_float, stack_pointer, suspend,
};

/// A saved stack pointer: all that is kept of a side that does not run. Null stands for a coroutine that has finished.
pub(crate) type StackPointer = *mut u8;

/// What a switch carries across: any bytes that fit a register, initialised or not.
pub(crate) type Word = MaybeUninit<*mut u8>;

/// What [`prepare`] makes a coroutine begin with: its first word, its resumer, and the `root` it was prepared with.
pub(crate) type Entry = unsafe extern "C" fn(word: Word, resumer: StackPointer, root: *mut u8) -> !;

/// Alignment of a stack pointer at a call in both ABIs, and so of `root` in [`prepare`].
pub(crate) const STACK_ALIGN: usize = 16;
