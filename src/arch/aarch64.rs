//! The call sites of `asm/aarch64.S`, which documents registers and stack layout.

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
    x29: usize,
    x30: usize,
    x19: usize,
    unused: usize,
}

const _: () = assert!(
    size_of::<Frame>() == 32 && offset_of!(Frame, x30) == 8 && offset_of!(Frame, x19) == 16
);

/// The floating-point control register.
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

    /// Puts it in force.
    ///
    /// # Safety
    /// Until the default environment is back in force, no Rust code runs that calculates with floating-point numbers.
    pub(crate) unsafe fn set(self) {
        // SAFETY: loads what `current` has stored; the caller answers for what it changes.
        unsafe {
            asm!("msr fpcr, {}", in(reg) self.fpcr, options(nomem, nostack, preserves_flags))
        };
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
    // SAFETY: the caller gives writable stack below `root`, which is aligned to 16; a frame's size is a multiple of 16.
    unsafe {
        frame.write(Frame {
            x29: root as usize,
            x30: entry_address(),
            x19: function as usize,
            unused: 0,
        })
    };
    prepared(root)
}

/// Returns what [`prepare`] returned for `root`: the frame record of a coroutine that was never resumed.
#[inline(always)]
pub(crate) fn prepared(root: *mut Root) -> FrameRecord {
    root.cast::<u8>().wrapping_sub(size_of::<Frame>())
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
    // the other side may change is an output or a clobber here, or saved by the `.S` (sp, x29, x19, x30).
    unsafe {
        asm!(
            "bl {resume}",
            resume = sym corde_resume,
            inlateout("x1") coroutine => left,
            inlateout("x0") word => answer,
            inlateout("x2") signal => _,
            inlateout("x3") root => _,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _, lateout("x24") _,
            lateout("x25") _, lateout("x26") _, lateout("x27") _, lateout("x28") _, lateout("x30") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
            clobber_abi("C"),
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
    // SAFETY: as in `resume`, with the sides exchanged; the address behind the branch is what the next `resume` goes to,
    // and begins with `bti j` (hint 36).
    unsafe {
        asm!(
            "adr x30, 2f",
            "b {suspend}",
            "2: hint #36",
            suspend = sym corde_suspend,
            inlateout("x1") root => _,
            inlateout("x0") word => answer,
            lateout("x2") signal,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _, lateout("x24") _,
            lateout("x25") _, lateout("x26") _, lateout("x27") _, lateout("x28") _, lateout("x30") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
            clobber_abi("C"),
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
    // SAFETY: the caller vouches for `resumer`, below which `resume` left its frame; control does not come back.
    unsafe {
        asm!("b {finish}", finish = sym corde_finish, in("x1") resumer, in("x0") word, in("x2") ending as usize, options(noreturn));
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
    unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Has the processor fetch the cache line with this address, if it is mapped.
#[cfg(feature = "runtime")]
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    // SAFETY: a hint, which never faults.
    unsafe {
        asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, readonly, preserves_flags))
    };
}

/// Returns the calling OS thread's word `INDEX` of `words.rs`.
#[cfg(corde_tls_descriptors)]
#[inline(always)]
pub(super) fn word<const INDEX: usize>() -> usize {
    const { assert!(INDEX < 4) };
    let word;
    // SAFETY: the first instructions find the words by their TLS descriptor, as in the `.S` file, and change x0, x1 and x30 alone; the last
    // one reads inside of them.
    unsafe {
        asm!(
            "adrp x0, :tlsdesc:{words}",
            "ldr x1, [x0, :tlsdesc_lo12:{words}]",
            "add x0, x0, :tlsdesc_lo12:{words}",
            ".tlsdesccall {words}",
            "blr x1",
            "mrs x1, tpidr_el0",
            "add x0, x0, x1",
            "ldr x0, [x0, #{offset}]",
            words = sym corde_words,
            offset = const 8 * INDEX,
            out("x0") word,
            out("x1") _,
            out("x30") _,
            options(readonly),
        );
    }
    word
}

/// Sets the calling OS thread's word `INDEX` of `words.rs`.
#[cfg(corde_tls_descriptors)]
#[inline(always)]
pub(super) fn set_word<const INDEX: usize>(word: usize) {
    const { assert!(INDEX < 4) };
    // SAFETY: as in `word`; the last instruction writes inside of the words, to which there is no reference.
    unsafe {
        asm!(
            "adrp x0, :tlsdesc:{words}",
            "ldr x1, [x0, :tlsdesc_lo12:{words}]",
            "add x0, x0, :tlsdesc_lo12:{words}",
            ".tlsdesccall {words}",
            "blr x1",
            "mrs x1, tpidr_el0",
            "add x0, x0, x1",
            "str {word}, [x0, #{offset}]",
            words = sym corde_words,
            offset = const 8 * INDEX,
            word = in(reg) word,
            out("x0") _,
            out("x1") _,
            out("x30") _,
        );
    }
}
