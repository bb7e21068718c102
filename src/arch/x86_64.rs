//! The call sites of `asm/x86_64.S`, which documents registers and stack layout.

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
    rbx: usize,
    rbp: usize,
    rip: usize,
}

const _: () = assert!(
    size_of::<Frame>() == 24 && offset_of!(Frame, rbp) == 8 && offset_of!(Frame, rip) == 16
);

/// The floating-point control words, as `resume_with_float` reads and writes them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FloatEnvironment {
    mxcsr: u32,
    x87: u16,
}

const _: () = assert!(offset_of!(FloatEnvironment, x87) == 4);

impl FloatEnvironment {
    /// The one in force.
    pub(crate) fn current() -> FloatEnvironment {
        let mut environment = FloatEnvironment { mxcsr: 0, x87: 0 };
        // SAFETY: stores the control words and changes nothing.
        unsafe {
            asm!(
                "stmxcsr [{0}]",
                "fnstcw [{0} + 4]",
                in(reg) &raw mut environment,
                options(nostack, preserves_flags),
            );
        }
        environment
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
            rbx: function as usize,
            rbp: link as usize,
            rip: entry,
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
    // the other side may change is an output or a clobber here, or saved by the `.S` (rsp, rbp, rbx).
    unsafe {
        asm!(
            "call {resume}",
            resume = sym corde_resume,
            inlateout("rsi") coroutine => left,
            inlateout("rdi") word => answer,
            inlateout("rdx") signal => signal_back,
            inlateout("rcx") root => _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
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
    // the other side may change is an output or a clobber here, or saved by the `.S` (rsp, rbp, rbx).
    unsafe {
        asm!(
            "call {resume}",
            resume = sym corde_resume_with_float,
            inlateout("r9") ptr::from_mut(float) => _,
            inlateout("rsi") coroutine => left,
            inlateout("rdi") word => answer,
            inlateout("rdx") signal => signal_back,
            inlateout("rcx") root => _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
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
    // SAFETY: as in `resume`, with the sides exchanged; the address behind the jump is what the next `resume` goes to.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "jmp {suspend}",
            "2:",
            suspend = sym corde_suspend,
            inlateout("rsi") resumer => left,
            inlateout("rdi") word => answer,
            lateout("rdx") signal,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
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
        asm!("jmp {finish}", finish = sym corde_finish, in("rsi") resumer, in("rdi") word, in("rdx") signal, options(noreturn));
    }
}

/// Returns the stack pointer of the function that this is inlined into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}
