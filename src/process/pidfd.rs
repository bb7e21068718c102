//! Linux: a file descriptor of a process, which is readable once the process has ended.

use std::ffi::c_int;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Returns a descriptor of a child that has not been waited for, if the system has such.
///
/// # Errors
/// Those of the system, when it has no further descriptor, or the process has been waited for by somebody else.
pub(super) fn open(child: u32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: no pointers. The descriptor is closed on exec without a flag for it.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, child, 0) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            // Linux before 5.3 has none, and a filter may not know it.
            Some(libc::ENOSYS | libc::EPERM) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the descriptor is new.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as c_int) }))
}
