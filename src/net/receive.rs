//! Receiving datagrams and connections, from a socket that somebody may shut down.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::reactor::{Direction, Source};

/// Runs `attempt` as [`Source::retry`] does; once the socket is shut down for reading, and nothing is left, `at_end`.
///
/// Linux ends a blocking call then, but answers a non-blocking one that it would block, which would have it wait for ever.
///
/// # Errors
/// Those of [`Source::retry`].
#[inline]
pub(crate) fn receive<T: AsFd, R>(
    source: &Source<T>,
    mut attempt: impl FnMut(&T) -> io::Result<R>,
    at_end: impl Fn() -> io::Result<R>,
) -> io::Result<R> {
    let mut waited = false;
    source.retry(Direction::Read, |socket| match attempt(socket) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            // A shutdown is an exceptional event, or, for who is not told of events, ends the wait.
            let suspicious = waited || source.had_exception();
            waited = true;
            if suspicious && !source.is_nonblocking() && is_shut(socket.as_fd()) {
                return at_end();
            }
            Err(error)
        }
        done => done,
    })
}

/// Whether a socket has been shut down for reading.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[cold]
fn is_shut(socket: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;

    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one valid entry.
    let result = unsafe { libc::poll(&mut poll, 1, 0) };
    result == 1 && poll.revents & libc::POLLRDHUP != 0
}

/// Others end a non-blocking call, too.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[cold]
fn is_shut(_socket: BorrowedFd<'_>) -> bool {
    false
}
