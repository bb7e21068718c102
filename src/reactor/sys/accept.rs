//! macOS, which has no `accept4`: accepting in several system calls. As with `std`, a process that is started in between inherits the connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use socket2::SockRef;

/// Accepts a connection that is non-blocking and closed on exec.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let (connection, address) = SockRef::from(&listener).accept()?;
    connection.set_nonblocking(true)?;
    // As `std` does with a new socket. It fails on a connection that is broken by now; the first read or write tells of that.
    let _ = connection.set_nosigpipe(true);
    // There is no address, if the other side was gone before: that connection was aborted.
    let address = address
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
    Ok((connection.into(), address))
}
