//! The call sites of `asm/aarch64.S`, which documents registers and stack layout.

use core::arch::asm;
use core::mem::{offset_of, size_of};
use core::ptr;

use super::{Entry, StackPointer, Word};

// Named here and not by the build script alone, so that a dylib hands the symbols on to those who inline the call sites.
#[link(name = "corde_switch", kind = "static")]
unsafe extern "C" {
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "resume")]
    fn corde_resume();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "resume_with_float")]
    fn corde_resume_with_float();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "suspend")]
    fn corde_suspend();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "finish")]
    fn corde_finish();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "entry")]
    fn corde_entry();
}

/// The frame of a side that does not run, as drawn in the `.S` file.
#[repr(C)]
struct Frame {
    x29: usize,
    x30: usize,
    x19: usize,
    unused: usize,
}

const _: () = assert!(
    size_of::<Frame>() == 32 && offset_of!(Frame, x30) == 8 && offset_of!(Frame, x19) == 16
);

/// The floating-point control register, as `resume_with_float` reads and writes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FloatEnvironment {
    fpcr: u64,
}

impl FloatEnvironment {
    /// The one in force.
    pub(crate) fn current() -> FloatEnvironment {
        let fpcr: u64;
        // SAFETY: reads the register and changes nothing.
        unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
        FloatEnvironment { fpcr }
    }
}

/// The top of a coroutine's stack, right below the root, as drawn in the `.S` file.
#[repr(C)]
struct Link {
    resumer: usize,
    entry: usize,
}

const _: () = assert!(size_of::<Link>() == 16);

/// Lays out the first frame below `root`, so that the first resume calls `function`.
///
/// # Safety
/// `root` is aligned to 16 and has writable, unused stack below it.
pub(crate) unsafe fn prepare(root: *mut u8, function: Entry) -> StackPointer {
    let entry = corde_entry as unsafe extern "C" fn() as usize;
    let link = root.wrapping_sub(size_of::<Link>()).cast::<Link>();
    // SAFETY: the caller gives writable stack below `root`; 16 below an address aligned to 16 is aligned to 8.
    unsafe { link.write(Link { resumer: 0, entry }) };
    let frame = link.cast::<Frame>().wrapping_sub(1);
    // SAFETY: as above, and a frame's size is a multiple of 8.
    unsafe {
        frame.write(Frame {
            x29: link as usize,
            x30: entry,
            x19: function as usize,
            unused: 0,
        })
    };
    frame.cast()
}

/// Returns what [`prepare`] returned for `root`: the stack pointer of a coroutine that was never resumed.
pub(crate) fn prepared(root: *mut u8) -> StackPointer {
    root.wrapping_sub(size_of::<Link>() + size_of::<Frame>())
}

/// Runs `coroutine` until it suspends or finishes.
///
/// # Safety
/// `coroutine` came from [`prepare`] or the latest [`resume`] of this coroutine on its live stack, and is used once; `root`
/// is the one it was prepared with.
#[inline(always)]
pub(crate) unsafe fn resume(
    coroutine: StackPointer,
    root: *mut u8,
    word: Word,
    signal: usize,
) -> (StackPointer, Word, usize) {
    let left: StackPointer;
    let answer: Word;
    let signal_back: usize;
    // SAFETY: the caller vouches for `coroutine`, so its stack holds the frame that the `.S` pops. Every register that
    // the other side may change is an output or a clobber here, or saved by the `.S` (sp, x29, x19, x30).
    unsafe {
        asm!(
            "bl {resume}",
            resume = sym corde_resume,
            inlateout("x1") coroutine => left,
            inlateout("x0") word => answer,
            inlateout("x2") signal => signal_back,
            inlateout("x3") root => _,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _, lateout("x24") _,
            lateout("x25") _, lateout("x26") _, lateout("x27") _, lateout("x28") _, lateout("x30") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
            clobber_abi("C"),
        );
    }
    (left, answer, signal_back)
}

/// Like [`resume`], with the floating-point environment of the coroutine in force meanwhile.
///
/// # Safety
/// As for [`resume`]: `coroutine` came from [`prepare`] or the latest [`resume`] of this coroutine on its live stack, and is used once; `root`
/// is the one it was prepared with.
pub(crate) unsafe fn resume_with_float(
    coroutine: StackPointer,
    root: *mut u8,
    word: Word,
    signal: usize,
    float: &mut FloatEnvironment,
) -> (StackPointer, Word, usize) {
    let left: StackPointer;
    let answer: Word;
    let signal_back: usize;
    // SAFETY: the caller vouches for `coroutine`, so its stack holds the frame that the `.S` pops. Every register that
    // the other side may change is an output or a clobber here, or saved by the `.S` (sp, x29, x19, x30).
    unsafe {
        asm!(
            "bl {resume}",
            resume = sym corde_resume_with_float,
            inlateout("x4") ptr::from_mut(float) => _,
            inlateout("x1") coroutine => left,
            inlateout("x0") word => answer,
            inlateout("x2") signal => signal_back,
            inlateout("x3") root => _,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _, lateout("x24") _,
            lateout("x25") _, lateout("x26") _, lateout("x27") _, lateout("x28") _, lateout("x30") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
            clobber_abi("C"),
        );
    }
    (left, answer, signal_back)
}

/// Goes back to `resumer`; returns, when resumed again, the new resumer with the word and the signal it sent.
///
/// # Safety
/// Called on a coroutine's stack; `resumer` is what its latest resume handed over, and is used once.
#[inline(always)]
pub(crate) unsafe fn suspend(resumer: StackPointer, word: Word) -> (StackPointer, Word, usize) {
    let left: StackPointer;
    let answer: Word;
    let signal: usize;
    // SAFETY: as in `resume`, with the sides exchanged; the address behind the branch is what the next `resume` goes to,
    // and begins with `bti j` (hint 36).
    unsafe {
        asm!(
            "adr x30, 2f",
            "b {suspend}",
            "2: hint #36",
            suspend = sym corde_suspend,
            inlateout("x1") resumer => left,
            inlateout("x0") word => answer,
            lateout("x2") signal,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _, lateout("x24") _,
            lateout("x25") _, lateout("x26") _, lateout("x27") _, lateout("x28") _, lateout("x30") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
            clobber_abi("C"),
        );
    }
    (left, answer, signal)
}

/// Goes back to `resumer` for good: its `resume` returns null, the word and the signal.
///
/// # Safety
/// As for [`suspend`]; moreover nothing on this stack needs to be dropped any more.
#[inline(always)]
pub(crate) unsafe fn finish(resumer: StackPointer, word: Word, signal: usize) -> ! {
    // SAFETY: the caller vouches for `resumer`, below which `resume` left its frame; control does not come back.
    unsafe {
        asm!("b {finish}", finish = sym corde_finish, in("x1") resumer, in("x0") word, in("x2") signal, options(noreturn));
    }
}

/// Returns the stack pointer of the function that this is inlined into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}
