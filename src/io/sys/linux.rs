//! Linux: `pipe2`, `preadv2` with a flag for not waiting, `sendfile`.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use super::{check, flags, owned};

/// Do not wait. (Not in `libc` for Android.)
const RWF_NOWAIT: libc::c_int = 8;

/// Where the file is, and go on from there.
const CURRENT: libc::c_long = -1;

pub(in crate::io) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: they are new.
    Ok(unsafe { owned(ends) })
}

pub(crate) fn read_at_once(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
    offset: Option<u64>,
) -> io::Result<usize> {
    let offset = match offset.map(libc::c_long::try_from) {
        None => CURRENT,
        Some(Ok(offset)) => offset,
        // An error that std tells of.
        Some(Err(_)) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    // The C library's own function is not in each that std runs with. On 64 bits the second half of the offset counts for nothing.
    // SAFETY: std's slices are `iovec`s, which the kernel may write to, and there are as many as it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            fd.as_raw_fd(),
            bufs.as_mut_ptr(),
            count(bufs.len()),
            offset,
            CURRENT,
            RWF_NOWAIT,
        )
    };
    outcome(result)
}

pub(crate) fn is_direct(fd: BorrowedFd<'_>) -> bool {
    // If it is not known, it is taken for true.
    flags(fd).map_or(true, |flags| flags & libc::O_DIRECT != 0)
}

pub(in crate::io) fn write_at_once(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: std's slices are `iovec`s, and there are as many as the kernel is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pwritev2,
            fd.as_raw_fd(),
            bufs.as_ptr(),
            count(bufs.len()),
            CURRENT,
            CURRENT,
            RWF_NOWAIT,
        )
    };
    outcome(result)
}

pub(in crate::io) fn send_file(
    to: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    len: usize,
) -> io::Result<usize> {
    // SAFETY: without a place of its own it goes on from that of the file.
    let result = unsafe { libc::sendfile(to.as_raw_fd(), file.as_raw_fd(), ptr::null_mut(), len) };
    outcome(result as libc::c_long)
}

/// The kernel refuses more slices than that.
fn count(slices: usize) -> libc::c_long {
    slices.min(libc::UIO_MAXIOV as usize) as libc::c_long
}

fn outcome(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // No such call (`preadv2`: before Linux 4.6, or behind a filter), flag (4.14), or not for this kind of file (pipes: 6.4).
            Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP) => {
                io::ErrorKind::Unsupported.into()
            }
            _ => error,
        }
    })
}
