//! Linux, FreeBSD: accepting in one system call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use socket2::SockAddr;

use super::call::owned;

/// Accepts a connection that is non-blocking and closed on exec.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let attempt = |address: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        // SAFETY: the pointers come from `try_init`, which owns the storage and its length.
        let result = unsafe { libc::accept4(listener.as_raw_fd(), address.cast(), length, flags) };
        // SAFETY: the descriptor is new.
        unsafe { owned(result) }
    };
    // SAFETY: on success the system has written the address and its length.
    let (connection, address) = unsafe { SockAddr::try_init(attempt) }?;
    let address = address
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok((connection, address))
}
