//! Waiting for file descriptors that somebody else reads and writes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::sys;
use crate::reactor::{Direction, Source};
use crate::runtime::worker;

/// Waits until `fd` can be read from without blocking, has come to its end, or has an error to tell of.
///
/// Suspends a green thread; a plain OS thread blocks. Nothing is read, and the flags of `fd` stay as they are. So this makes foreign code
/// green that reads a file descriptor by itself: wait, then let it read what is there. Somebody else may have been faster, so a call
/// on a blocking descriptor that others read, too, may still block.
///
/// Each wait that does not end at once takes a few system calls, as it duplicates `fd` for its registration: whoever waits often for a
/// descriptor of their own had better use [`Green`](super::Green). Any number of threads may wait for one, whoever it belongs to.
///
/// # Errors
///
/// [`Unsupported`](io::ErrorKind::Unsupported) for files, directories and block devices, of which the system says at any time that they
/// are ready. Those of the system, when it has no further file descriptor.
///
/// # Cancellation
///
/// Takes nothing, so nothing is lost.
///
/// # Examples
///
/// ```
/// use corde::io;
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// corde::run(|| -> io::Result<()> {
///     // Std's, blocking.
///     let (mut near, mut far) = UnixStream::pair()?;
///     let writing = corde::go!({ far.write_all(b"x") });
///     io::wait_readable(&near)?;
///     assert_eq!(near.read(&mut [0; 8])?, 1);
///     writing.join().unwrap()
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn wait_readable(fd: impl AsFd) -> io::Result<()> {
    wait_for(fd.as_fd(), Direction::Read, None)
}

/// Waits until `fd` can be written to without blocking, or has an error to tell of.
///
/// A pipe then has room for 4,096 bytes at least (`PIPE_BUF`), and a socket for some, a terminal maybe for one only. Otherwise as
/// [`wait_readable`].
///
/// # Errors
///
/// As [`wait_readable`].
///
/// # Cancellation
///
/// Nothing is lost.
///
/// # Examples
///
/// ```
/// use corde::io;
///
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// io::wait_writable(&near)?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn wait_writable(fd: impl AsFd) -> io::Result<()> {
    wait_for(fd.as_fd(), Direction::Write, None)
}

/// Like [`wait_readable`], for `timeout` at most.
///
/// # Errors
///
/// As [`wait_readable`]; [`TimedOut`](io::ErrorKind::TimedOut), if it takes longer.
///
/// # Cancellation
///
/// Nothing is lost.
///
/// # Examples
///
/// ```
/// use corde::io;
/// use std::time::Duration;
///
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// let error = io::wait_readable_timeout(&near, Duration::from_millis(1)).unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::TimedOut);
/// # Ok::<(), io::Error>(())
/// ```
pub fn wait_readable_timeout(fd: impl AsFd, timeout: Duration) -> io::Result<()> {
    wait_for(fd.as_fd(), Direction::Read, Some(timeout))
}

/// Like [`wait_writable`], for `timeout` at most.
///
/// # Errors
///
/// As [`wait_readable`]; [`TimedOut`](io::ErrorKind::TimedOut), if it takes longer.
///
/// # Cancellation
///
/// Nothing is lost.
///
/// # Examples
///
/// ```
/// use corde::io;
/// use std::time::Duration;
///
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// io::wait_writable_timeout(&near, Duration::from_secs(1))?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn wait_writable_timeout(fd: impl AsFd, timeout: Duration) -> io::Result<()> {
    wait_for(fd.as_fd(), Direction::Write, Some(timeout))
}

fn wait_for(fd: BorrowedFd<'_>, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
    if sys::is_on_disk(sys::kind(fd)?) {
        return Err(not_waited_for());
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    until_ready(fd, direction, deadline)
}

/// Waits for a descriptor of which it is known that it can be waited for.
///
/// # Errors
/// Those of duplicating and registering it; [`TimedOut`](io::ErrorKind::TimedOut), if it is not ready at `deadline`.
pub(super) fn until_ready(
    fd: BorrowedFd<'_>,
    direction: Direction,
    deadline: Option<Instant>,
) -> io::Result<()> {
    if worker::current_green().is_none() {
        return Source::new_shared(fd).wait_ready(direction, deadline);
    }
    if crate::reactor::sys::is_ready(fd, direction) {
        worker::spend();
        return Ok(());
    }
    // A reactor knows a descriptor once only, and the caller's may be known to it already, for whoever it belongs to.
    let fd = fd.try_clone_to_owned()?;
    Source::new_shared(fd).wait_ready(direction, deadline)
}

/// What somebody is told who would wait for a file.
pub(super) fn not_waited_for() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "files, directories and block devices cannot be waited for, as they always count as ready; use `corde::fs::File`",
    )
}
