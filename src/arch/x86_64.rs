//! The call sites of `asm/x86_64.S`, which documents registers and stack layout.

use core::arch::asm;
use core::mem::{offset_of, size_of};

use super::{Ending, Entry, FrameRecord, Root, Word};

// Named here and not by the build script alone, so that a dylib hands the symbols on to those who inline the call sites.
#[link(name = "corde_switch", kind = "static")]
unsafe extern "C" {
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "resume")]
    fn corde_resume();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "suspend")]
    fn corde_suspend();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "finish")]
    fn corde_finish();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "mistrust")]
    fn corde_mistrust();
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "entry")]
    fn corde_entry();
    /// Thread-local: to be named in assembly alone.
    #[cfg(corde_tls_descriptors)]
    #[link_name = concat!(env!("CORDE_SYMBOL_PREFIX"), "words")]
    static corde_words: [usize; 4];
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

/// The floating-point control words: MXCSR and that of the x87.
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

    /// Puts it in force.
    ///
    /// # Safety
    /// Until the default environment is back in force, no Rust code runs that calculates with floating-point numbers.
    pub(crate) unsafe fn set(self) {
        // SAFETY: loads control words that were stored by `current`; the caller answers for what they change.
        unsafe {
            asm!(
                "ldmxcsr [{0}]",
                "fldcw [{0} + 4]",
                in(reg) &raw const self,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
}

/// An address in `entry`, for the return address of a root and of the first frame.
#[inline(always)]
pub(super) fn entry_address() -> usize {
    corde_entry as unsafe extern "C" fn() as usize
}

/// Lays out the first frame below `root`, so that the first resume calls `function`.
///
/// # Safety
/// `root` has writable, unused stack below it.
#[inline(always)]
pub(crate) unsafe fn prepare(root: *mut Root, function: Entry) -> FrameRecord {
    let frame = root.cast::<Frame>().wrapping_sub(1);
    // SAFETY: the caller gives writable stack below `root`, which is aligned to 16; a frame's size is a multiple of 8.
    unsafe {
        frame.write(Frame {
            rbx: function as usize,
            rbp: root as usize,
            rip: entry_address(),
        })
    };
    prepared(root)
}

/// Returns what [`prepare`] returned for `root`: the frame record of a coroutine that was never resumed.
#[inline(always)]
pub(crate) fn prepared(root: *mut Root) -> FrameRecord {
    root.cast::<u8>()
        .wrapping_sub(size_of::<Frame>() - offset_of!(Frame, rbp))
}

/// Runs `coroutine` until it suspends or finishes.
///
/// # Safety
/// `coroutine` came from [`prepare`] or the latest [`resume`] of this coroutine on its live stack, and is used once; `root`
/// is the one it was prepared with.
#[inline(always)]
pub(crate) unsafe fn resume(
    coroutine: FrameRecord,
    root: *const Root,
    word: Word,
    signal: usize,
) -> (FrameRecord, Word) {
    let left: FrameRecord;
    let answer: Word;
    // SAFETY: the caller vouches for `coroutine`, so its stack holds the frame that the `.S` pops. Every register that
    // the other side may change is an output or a clobber here, or saved by the `.S` (rsp, rbp, rbx).
    unsafe {
        asm!(
            "call {resume}",
            resume = sym corde_resume,
            inlateout("rsi") coroutine => left,
            inlateout("rdi") word => answer,
            inlateout("rdx") signal => _,
            inlateout("rcx") root => _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
        );
    }
    (left, answer)
}

/// Goes back to the latest resumer; returns, when resumed again, the word and the signal that were sent. If the coroutine
/// does not run, returns at once, with the signal [`NOT_RUNNING`](super::NOT_RUNNING) and the same word; likewise with
/// [`ASIDE`](super::ASIDE), if that flag is set and the guess is wrong.
///
/// # Safety
/// `root` is that of a coroutine which does not run, or which runs the caller, directly or through coroutines that it has
/// resumed.
#[inline(always)]
pub(crate) unsafe fn suspend(root: &Root, word: Word) -> (Word, usize) {
    let answer: Word;
    let signal: usize;
    // SAFETY: as in `resume`, with the sides exchanged; the address behind the jump is what the next `resume` goes to.
    unsafe {
        asm!(
            "lea rsi, [rip + 2f]",
            "jmp {suspend}",
            "2:",
            suspend = sym corde_suspend,
            inlateout("rcx") root => _,
            inlateout("rdi") word => answer,
            lateout("rdx") signal,
            lateout("rsi") _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
        );
    }
    (answer, signal)
}

/// Goes back to `resumer` for good: its `resume` returns `ending` in the place of a record, and the word.
///
/// # Safety
/// Called on a coroutine's stack; `resumer` is what its latest resume left in the root, and is used once. Nothing on this stack needs
/// to be dropped any more.
#[inline(always)]
pub(crate) unsafe fn finish(resumer: FrameRecord, word: Word, ending: Ending) -> ! {
    // SAFETY: the caller vouches for `resumer`, at which `resume` left its frame; control does not come back.
    unsafe {
        asm!("jmp {finish}", finish = sym corde_finish, in("rsi") resumer, in("rdi") word, in("rdx") ending as usize, options(noreturn));
    }
}

/// Makes the guess wrong: the next [`suspend`] on this OS thread looks at link and flags, unless there is a [`resume`] before.
pub(crate) fn mistrust() {
    // SAFETY: a function of the ABI without arguments, which writes to a thread-local of the `.S` alone.
    unsafe { corde_mistrust() };
}

/// Returns the stack pointer of the function that this is inlined into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Has the processor fetch the cache line with this address, if it is mapped.
#[cfg(feature = "runtime")]
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    // SAFETY: a hint, which never faults.
    unsafe {
        asm!("prefetcht0 [{}]", in(reg) address, options(nostack, readonly, preserves_flags))
    };
}

/// Returns the calling OS thread's word `INDEX` of `words.rs`.
#[cfg(corde_tls_descriptors)]
#[inline(always)]
pub(super) fn word<const INDEX: usize>() -> usize {
    const { assert!(INDEX < 4) };
    let word;
    // SAFETY: the first two instructions find the words by their TLS descriptor, as in the `.S` file, and change rax alone; the third reads
    // inside of them.
    unsafe {
        asm!(
            "leaq {words}@tlsdesc(%rip), %rax",
            "call *{words}@tlscall(%rax)",
            "movq %fs:{offset}(%rax), %rax",
            words = sym corde_words,
            offset = const 8 * INDEX,
            out("rax") word,
            options(att_syntax, readonly),
        );
    }
    word
}

/// Sets the calling OS thread's word `INDEX` of `words.rs`.
#[cfg(corde_tls_descriptors)]
#[inline(always)]
pub(super) fn set_word<const INDEX: usize>(word: usize) {
    const { assert!(INDEX < 4) };
    // SAFETY: as in `word`; the third instruction writes inside of the words, to which there is no reference.
    unsafe {
        asm!(
            "leaq {words}@tlsdesc(%rip), %rax",
            "call *{words}@tlscall(%rax)",
            "movq {word}, %fs:{offset}(%rax)",
            words = sym corde_words,
            offset = const 8 * INDEX,
            word = in(reg) word,
            out("rax") _,
            options(att_syntax),
        );
    }
}
