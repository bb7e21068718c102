//! What system calls return.

use std::ffi::c_int;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The last error of a system call, if it returned a negative number.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Takes over the file descriptor that a system call returned.
///
/// # Safety
/// `result` is negative, or a descriptor that was just made and belongs to nobody.
pub(super) unsafe fn owned(result: c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: passed on.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
