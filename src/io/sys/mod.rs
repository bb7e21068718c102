//! System calls on file descriptors of any kind.
//!
//! What differs between systems, under these names:
//!
//! * `pipe()`: a new pipe, both ends closed on exec and blocking;
//! * `read_at_once(fd, bufs, offset)`, `write_at_once(fd, bufs)`: as `readv` (`preadv`, if there is an offset) and `writev`, but answer `WouldBlock`
//!   instead of blocking, whatever the flags of the descriptor are; `Unsupported`, where the system cannot do that for this one. Of a file, what is
//!   in memory is read; Linux 5.9 and 5.10 say at the end of that that the file has ended;
//! * `is_direct(fd)`: whether reads of a file go past the memory, and wait though they are told not to;
//! * `send_file(to, file, len)`: copies so much at most in the kernel, from where the file stands; `Unsupported`, where it cannot.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{is_direct, read_at_once};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{pipe, send_file, write_at_once};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod others;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use others::{is_direct, read_at_once};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use others::{pipe, send_file, write_at_once};

use std::ffi::c_int;
use std::fs::{File, FileType};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use crate::reactor::sys::call::check;

/// Lends a file descriptor of any kind the calls that std has for files: `read(2)`, `write(2)`, their vectored forms, `fstat(2)`.
pub(super) struct View<'fd> {
    file: ManuallyDrop<File>,
    _fd: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> View<'fd> {
    pub(super) fn new(fd: BorrowedFd<'fd>) -> View<'fd> {
        // SAFETY: it is open for as long as the view is there, and never closed by that.
        let file = unsafe { File::from_raw_fd(fd.as_raw_fd()) };
        View {
            file: ManuallyDrop::new(file),
            _fd: PhantomData,
        }
    }
}

impl Deref for View<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

/// Returns what kind of file it is.
///
/// # Errors
/// Those of the system.
pub(super) fn kind(fd: BorrowedFd<'_>) -> io::Result<FileType> {
    Ok(View::new(fd).metadata()?.file_type())
}

/// Tells of a file whether it can only be read and written by waiting for a disk: for the system it is always ready.
pub(super) fn is_on_disk(kind: FileType) -> bool {
    kind.is_file() || kind.is_dir() || kind.is_block_device()
}

/// Takes over the two file descriptors of a new pipe.
///
/// # Safety
/// They were just made, and belong to nobody.
unsafe fn owned([reader, writer]: [c_int; 2]) -> (OwnedFd, OwnedFd) {
    // SAFETY: passed on.
    let reader = unsafe { OwnedFd::from_raw_fd(reader) };
    // SAFETY: passed on.
    let writer = unsafe { OwnedFd::from_raw_fd(writer) };
    (reader, writer)
}

/// Returns the flags of the open file.
///
/// # Errors
/// Those of the system.
pub(super) fn flags(fd: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })
}

/// Sets whether calls on the open file answer `WouldBlock`; returns whether they did before.
///
/// # Errors
/// Those of the system.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<bool> {
    let before = flags(fd)?;
    let after = match nonblocking {
        true => before | libc::O_NONBLOCK,
        false => before & !libc::O_NONBLOCK,
    };
    if after != before {
        // SAFETY: no pointers.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, after) })?;
    }
    Ok(before & libc::O_NONBLOCK != 0)
}
