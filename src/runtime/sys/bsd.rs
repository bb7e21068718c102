//! macOS, FreeBSD: threads are known by their `pthread_t`, and what they do is not told.

use std::ffi::c_int;

pub(in crate::runtime) fn own_number() -> usize {
    // SAFETY: no arguments.
    unsafe { libc::pthread_self() as usize }
}

pub(in crate::runtime) fn signal(number: usize) -> bool {
    // SAFETY: the caller has seen to it that the thread is alive.
    unsafe { libc::pthread_kill(number as libc::pthread_t, libc::SIGURG) == 0 }
}

pub(in crate::runtime) fn doing(_number: usize) -> String {
    "what it does is not known".into()
}

pub(in crate::runtime) fn errno() -> *mut c_int {
    // SAFETY: no arguments.
    unsafe { libc::__error() }
}

pub(in crate::runtime) fn program_counter(context: &libc::ucontext_t) -> usize {
    #[cfg(target_os = "macos")]
    // SAFETY: the system has filled the context in, with a pointer to the registers.
    let registers = unsafe { &(*context.uc_mcontext).__ss };
    #[cfg(all(target_os = "macos", target_arch = "x86_64"))]
    let counter = registers.__rip as usize;
    #[cfg(all(target_os = "macos", target_arch = "aarch64"))]
    let counter = registers.__pc as usize;

    #[cfg(target_os = "freebsd")]
    let registers = &context.uc_mcontext;
    #[cfg(all(target_os = "freebsd", target_arch = "x86_64"))]
    let counter = registers.mc_rip as usize;
    #[cfg(all(target_os = "freebsd", target_arch = "aarch64"))]
    let counter = registers.mc_gpregs.gp_elr as usize;
    counter
}

pub(in crate::runtime) fn pin_to(_index: usize) {}
