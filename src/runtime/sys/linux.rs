//! Linux: threads have numbers of their own, `/proc` tells what they do, and they can be kept on a processor.

use std::ffi::c_int;
use std::fs;
use std::mem::{self, MaybeUninit};

#[cfg(target_os = "android")]
use libc::__errno as errno_location;
#[cfg(not(target_os = "android"))]
use libc::__errno_location as errno_location;

pub(in crate::runtime) fn own_number() -> usize {
    // SAFETY: no pointers. The C library has a function for it only since glibc 2.30.
    unsafe { libc::syscall(libc::SYS_gettid) as usize }
}

pub(in crate::runtime) fn signal(number: usize) -> bool {
    let process = std::process::id();
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_tgkill, process, number, libc::SIGURG) == 0 }
}

pub(in crate::runtime) fn doing(number: usize) -> String {
    let path = format!("/proc/self/task/{number}/syscall");
    let Ok(state) = fs::read_to_string(path) else {
        return "what it does is not known".into();
    };
    let call = state
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    match call {
        Some(libc::SYS_futex) => {
            "it waits for a lock or in another blocking call of std (futex)".into()
        }
        Some(libc::SYS_clock_nanosleep | libc::SYS_nanosleep) => {
            "it sleeps, with its whole OS thread".into()
        }
        Some(call) if call >= 0 => format!("it blocks in system call {call}"),
        _ => "it computes".into(),
    }
}

pub(in crate::runtime) fn errno() -> *mut c_int {
    // SAFETY: no arguments.
    unsafe { errno_location() }
}

pub(in crate::runtime) fn program_counter(context: &libc::ucontext_t) -> usize {
    #[cfg(target_arch = "x86_64")]
    let counter = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    #[cfg(target_arch = "aarch64")]
    let counter = context.uc_mcontext.pc as usize;
    counter
}

pub(in crate::runtime) fn pin_to(index: usize) {
    // SAFETY: cpu_set_t is plain data for which zero is valid.
    let mut allowed: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the set has the size that is told.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&allowed), &mut allowed) } != 0 {
        return;
    }
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: the numbers are below the size of the set.
    let processors: Vec<usize> = (0..limit)
        .filter(|&it| unsafe { libc::CPU_ISSET(it, &allowed) })
        .collect();
    let Some(&processor) = processors.get(index % processors.len().max(1)) else {
        return;
    };
    // SAFETY: as above.
    let mut own: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the number is below the size of the set.
    unsafe { libc::CPU_SET(processor, &mut own) };
    // Failure leaves it where it may be, which is right, too.
    // SAFETY: the set has the size that is told.
    unsafe { libc::sched_setaffinity(0, mem::size_of_val(&own), &own) };
}
