//! What an operating system provides for files in place.
//!
//! * `read_cached(file, buffer, offset)`: reads what is in memory, at `offset`, or at the file's cursor, which moves; `WouldBlock` if it
//!   would have to wait, any other error if it cannot tell. It may say that a file has ended which has not;
//! * `is_direct(file)`: whether reads go past the memory, so that `read_cached` would wait.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{is_direct, read_cached};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use other::{is_direct, read_cached};
