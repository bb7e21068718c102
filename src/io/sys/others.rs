//! Systems that know nothing better than `pipe`.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, owned};

pub(in crate::io) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two.
    check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    // SAFETY: they are new.
    let (reader, writer) = unsafe { owned(ends) };
    for end in [&reader, &writer] {
        // A child that another thread starts just now inherits it, as there is nothing that does both at once on macOS.
        // SAFETY: no pointers.
        check(unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok((reader, writer))
}

pub(crate) fn read_at_once(
    _: BorrowedFd<'_>,
    _: &mut [IoSliceMut<'_>],
    _: Option<u64>,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn is_direct(_: BorrowedFd<'_>) -> bool {
    false
}

pub(in crate::io) fn write_at_once(_: BorrowedFd<'_>, _: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::io) fn send_file(
    _: BorrowedFd<'_>,
    _: BorrowedFd<'_>,
    _: usize,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
