//! Tells Valgrind and LeakSanitizer where stacks are. Once for each: a stack stays at its place for ever.

use std::ptr::NonNull;

/// Makes a stack known. Nothing happens where none of them is watching.
pub(super) fn made(bottom: NonNull<u8>, top: NonNull<u8>) {
    valgrind_request(
        STACK_REGISTER,
        bottom.as_ptr() as usize,
        top.as_ptr() as usize - 1,
    );
    #[cfg(feature = "asan")]
    leak::register(bottom, top);
}

/// Valgrind's `VG_USERREQ__STACK_REGISTER`: lowest and highest address of a stack. Without it memcheck takes a switch for a
/// function with a giant frame.
const STACK_REGISTER: usize = 0x1501;

/// A client request as `valgrind.h` defines it: an instruction sequence that does nothing on a processor, and that Valgrind knows.
fn valgrind_request(request: usize, first: usize, second: usize) {
    let arguments = [request, first, second, 0, 0, 0];
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
            inout("rdx") 0_usize => _,
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
            inout("x3") 0_usize => _,
            out("x12") _,
            out("x10") _,
            options(nostack),
        );
    }
}

/// Heap blocks that only a suspended coroutine knows are not lost.
#[cfg(feature = "asan")]
mod leak {
    use std::ffi::c_void;
    use std::ptr::NonNull;

    unsafe extern "C" {
        fn __lsan_register_root_region(start: *const c_void, size: usize);
    }

    pub(super) fn register(bottom: NonNull<u8>, top: NonNull<u8>) {
        let size = top.as_ptr() as usize - bottom.as_ptr() as usize;
        // SAFETY: the range stays mapped and readable.
        unsafe { __lsan_register_root_region(bottom.as_ptr().cast(), size) };
    }
}
