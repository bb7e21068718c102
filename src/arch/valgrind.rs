//! What Valgrind has to be told, if it runs the process: client requests as `valgrind.h` defines them.

use std::sync::atomic::{AtomicBool, Ordering};

/// `VG_USERREQ__STACK_REGISTER`: lowest and highest address of a stack.
const STACK_REGISTER: usize = 0x1501;

/// `VG_USERREQ__MAKE_MEM_UNDEFINED` of memcheck: start and length.
const MAKE_MEM_UNDEFINED: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16 | 1;

/// Whether it runs the process, as far as the stacks that were registered have told.
static WATCHES: AtomicBool = AtomicBool::new(false);

/// Makes a stack known, once. Otherwise memcheck takes a switch to it for a function with a giant frame.
pub(crate) fn register_stack(bottom: *const u8, top: *const u8) {
    let id = request(
        STACK_REGISTER,
        [bottom as usize, top as usize - 1],
        usize::MAX,
    );
    if id != usize::MAX {
        WATCHES.store(true, Ordering::Relaxed);
    }
}

/// Makes the memory of a stack that nobody runs on usable. Memcheck takes what lies below the frames that have ended there for
/// out of bounds, and the next coroutine's first frame may begin further down than the last one's.
#[inline(always)]
pub(crate) fn clear_stack(bottom: *const u8, top: *const u8) {
    if WATCHES.load(Ordering::Relaxed) {
        let size = top as usize - bottom as usize;
        request(MAKE_MEM_UNDEFINED, [bottom as usize, size], 0);
    }
}

/// An instruction sequence that does nothing on a processor, and that Valgrind knows. Returns its answer, or `default`.
#[inline(never)]
fn request(request: usize, [first, second]: [usize; 2], default: usize) -> usize {
    let arguments = [request, first, second, 0, 0, 0];
    let answer;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: rotates rdi by 128 bits in all and exchanges rbx with itself; under Valgrind it reads the arguments and
    // writes rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") default => answer,
            out("rdi") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: rotates x12 by 128 bits in all and combines x10 with itself; under Valgrind it reads the arguments and
    // writes x3.
    unsafe {
        std::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") arguments.as_ptr(),
            inout("x3") default => answer,
            out("x12") _,
            out("x10") _,
            options(nostack),
        );
    }
    answer
}
