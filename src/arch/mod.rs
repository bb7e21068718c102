//! The stack switch, as Rust sees it: below this module there is only `asm/`.
//!
//! Each architecture provides, under the same names and in the same order:
//!
//! * [`prepare`]`(root, function)`: lays out the first frame of a coroutine below its root and returns its frame record, which
//!   [`prepared`]`(root)` tells again;
//! * [`resume`]`(coroutine, root, word, signal)`: runs it until it suspends or finishes, and returns its new frame record
//!   (when it has finished, its [`Ending`] in the place of one) and the word it sent;
//! * [`suspend`]`(root, word)`: goes back to the latest resumer, and returns the word and the signal of the next resume;
//! * [`finish`]`(resumer, word, ending)`: goes back for good;
//! * [`mistrust`]`()`: has the next suspend look at the flags in the root;
//! * [`FloatEnvironment`]: the floating-point control words, to be exchanged on request;
//! * `prefetch(address)`: has a cache line fetched;
//! * [`stack_pointer`]`()`: tells how far down the stack the caller is;
//! * `word`, `set_word`: what [`words`] is made of.
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
pub(crate) mod valgrind;
pub(crate) mod words;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64 as imp;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as imp;

use std::cell::Cell;
use std::mem::{MaybeUninit, offset_of};
use std::ptr;

#[cfg(feature = "runtime")]
pub(crate) use imp::prefetch;
pub(crate) use imp::{
    FloatEnvironment, finish, mistrust, prepare, prepared, resume, stack_pointer, suspend,
};

/// Where a side that does not run has left its registers: all that is kept of it. Null stands for a coroutine that has finished.
pub(crate) type FrameRecord = *mut u8;

/// How a coroutine has finished: what [`resume`] returns in the place of a record, as no frame is at these addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Ending {
    /// The word is a parcel of its value.
    Returned = 0,
    /// The word is a parcel of its panic's payload.
    Panicked = 1,
}

impl Ending {
    /// Returns how the coroutine has finished that `resume` returned `record` for; nothing, if it has suspended.
    #[inline(always)]
    pub(crate) fn of(record: FrameRecord) -> Option<Ending> {
        // Compared one by one, as callers who treat two of the cases alike then compare once.
        match record as usize {
            0 => Some(Ending::Returned),
            1 => Some(Ending::Panicked),
            _ => None,
        }
    }
}

/// What a switch carries across: any bytes that fit a register, initialised or not.
pub(crate) type Word = MaybeUninit<*mut u8>;

/// What [`prepare`] makes a coroutine begin with: its first word, and the `root` it was prepared with.
pub(crate) type Entry = unsafe extern "C" fn(word: Word, root: *mut Root) -> !;

/// The signal that [`suspend`] answers with when the coroutine is not running, so that there is nobody to go back to. A resume
/// does not send it.
pub(crate) const NOT_RUNNING: usize = 2;

/// The signal that [`suspend`] answers with when the [`Root`] says so: there is something to do before. A resume does not send it.
pub(crate) const ASIDE: usize = 3;

/// Alignment of a stack pointer at a call in both ABIs, and so of a [`Root`].
pub(crate) const STACK_ALIGN: usize = 16;

/// Returns the address of the function that is the first frame of each coroutine, with the [`Root`] in its frame pointer.
#[cfg(feature = "runtime")]
pub(crate) fn first_function() -> usize {
    imp::entry_address()
}

/// The root of a coroutine: a frame record above its frames, which leads from them to the resumer's, as drawn in the `.S` files. Its
/// address is a multiple of [`STACK_ALIGN`].
#[repr(C)]
pub(crate) struct Root {
    /// Written by each [`resume`].
    link: Cell<FrameRecord>,
    entry: usize,
    /// Some of [`Root::ASIDE`] and [`Root::OWNERS`].
    flags: Cell<u8>,
}

const _: () = assert!(
    offset_of!(Root, link) == 0 && offset_of!(Root, entry) == 8 && offset_of!(Root, flags) == 16
);

impl Root {
    /// That of a coroutine that was not resumed yet.
    #[inline(always)]
    pub(crate) fn new() -> Root {
        Root {
            link: Cell::new(ptr::null_mut()),
            entry: imp::entry_address(),
            flags: Cell::new(0),
        }
    }

    /// The flag that has [`suspend`] answer [`ASIDE`] if the guess is wrong.
    pub(crate) const ASIDE: u8 = 1;

    /// A flag for the use of the coroutine's owner.
    pub(crate) const OWNERS: u8 = 2;

    /// Returns whether the flag is set. At first none is.
    #[inline(always)]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    /// Sets or clears the flag, and returns whether it was set.
    pub(crate) fn set(&self, flag: u8, to: bool) -> bool {
        let before = self.flags.get();
        self.flags
            .set(if to { before | flag } else { before & !flag });
        before & flag != 0
    }

    /// Takes out the latest resumer, to go back there; null if the coroutine does not run.
    #[inline(always)]
    pub(crate) fn take_resumer(&self) -> FrameRecord {
        self.link.replace(ptr::null_mut())
    }

    /// Returns whether the coroutine has been resumed and has not gone back since.
    pub(crate) fn is_running(&self) -> bool {
        !self.link.get().is_null()
    }
}
