//! File descriptors of several kinds.

use std::env;
use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Takes over what a system call has returned.
#[track_caller]
pub(crate) fn owned(fd: c_int) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the callers pass what a system call has just made.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A blocking pipe, of std's kind.
pub(crate) fn raw_pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(libc::O_CLOEXEC)
}

/// A pipe with these flags.
pub(crate) fn pipe_with(flags: c_int) -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: there is room for two.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) }, 0);
    (owned(ends[0]), owned(ends[1]))
}

/// Both sides of a pseudo terminal: that of the terminal program, and that of the programs in it. What is typed comes as it is, without an echo.
pub(crate) fn pty() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: there is room for two; the others may be null.
    let result = unsafe {
        libc::openpty(
            &mut master,
            &mut slave,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    assert_eq!(result, 0);
    let (master, slave) = (owned(master), owned(slave));
    for end in [&master, &slave] {
        // SAFETY: no pointers. Children of other tests are not to keep it open.
        let result = unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        assert_eq!(result, 0);
    }
    // SAFETY: all zeros is a valid one.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid.
    let got = unsafe { libc::tcgetattr(slave.as_raw_fd(), &mut settings) };
    assert_eq!(got, 0);
    settings.c_lflag &= !libc::ECHO;
    settings.c_oflag &= !libc::OPOST;
    // SAFETY: the pointer is valid.
    let result = unsafe { libc::tcsetattr(slave.as_raw_fd(), libc::TCSANOW, &settings) };
    assert_eq!(result, 0);
    (master, slave)
}

/// Two connected sockets of std, as plain descriptors.
pub(crate) fn sockets() -> (OwnedFd, OwnedFd) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), far.into())
}

pub(crate) fn is_nonblocking(fd: impl AsFd) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0);
    flags & libc::O_NONBLOCK != 0
}

/// How many bytes can be read at once.
pub(crate) fn unread(fd: impl AsFd) -> usize {
    let mut count: c_int = 0;
    // SAFETY: the pointer is valid.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &mut count) };
    assert_eq!(result, 0);
    count.try_into().unwrap()
}

/// Reads to the end; a terminal ends with an error.
pub(crate) fn read_all(fd: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = File::from(fd).read_to_end(&mut bytes);
    bytes
}

/// A new file, empty, and where it is.
pub(crate) fn temporary_file(name: &str) -> (File, PathBuf) {
    let path = temporary_path(name);
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    (options.open(&path).unwrap(), path)
}

/// A path where there is nothing.
pub(crate) fn temporary_path(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("corde-{name}-{}-{number}", process::id()))
}
