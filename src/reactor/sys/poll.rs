//! One descriptor and the calling OS thread: `poll(2)`, on all systems.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::call::check;
use crate::reactor::Direction;

/// Blocks the OS thread until `fd` may be ready, for about `timeout` at most.
pub(crate) fn wait_one(
    fd: BorrowedFd<'_>,
    direction: Direction,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let timeout = timeout.map_or(-1, |timeout| {
        // Not to be called again for less than a millisecond.
        let whole = timeout.saturating_add(Duration::from_nanos(999_999));
        c_int::try_from(whole.as_millis()).unwrap_or(c_int::MAX)
    });
    match poll_one(fd, direction, timeout) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Returns whether `fd` is ready, or in a state that a call would learn of.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, direction: Direction) -> bool {
    loop {
        match poll_one(fd, direction, 0) {
            Ok(count) => return count != 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Let the call tell.
            Err(_) => return true,
        }
    }
}

/// `poll(2)` for one `fd`; returns whether there is anything as a number.
fn poll_one(fd: BorrowedFd<'_>, direction: Direction, timeout: c_int) -> io::Result<c_int> {
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: one valid entry.
    check(unsafe { libc::poll(&mut poll, 1, timeout) })
}
