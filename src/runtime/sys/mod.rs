//! What an operating system provides for looking after the workers' OS threads.
//!
//! Each variant has, under these names:
//!
//! * `own_number()`: a number for the calling OS thread, not 0, that no other one alive has;
//! * `signal(number)`: sends `SIGURG` to the OS thread with this number, which is alive; whether it could be sent;
//! * `doing(number)`: what that thread does, as the system sees it, in words;
//! * `errno()`: where the calling thread's `errno` is;
//! * `program_counter(context)`: where a signal has interrupted the thread;
//! * `pin_to(index)`: keeps the calling thread on one of the processors that it may use; does nothing where that cannot be had.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{doing, errno, own_number, pin_to, program_counter, signal};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod bsd;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use bsd::{doing, errno, own_number, pin_to, program_counter, signal};
