//! macOS and the BSDs: what works on each of them, at the cost of a further system call.

use std::io::{self, IoSliceMut, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use socket2::{Domain, SockAddr, Socket, Type};

use super::super::UCred;
use super::super::address::unnamed;

pub(crate) fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub(crate) fn accept(listener: &UnixListener) -> io::Result<(UnixStream, SocketAddr)> {
    let (stream, address) = listener.accept()?;
    // Some hand the listener's setting on, some do not.
    stream.set_nonblocking(true)?;
    Ok((stream, address))
}

/// Whether a read has ended early is not told.
pub(crate) fn receive(
    mut stream: &UnixStream,
    bufs: &mut [IoSliceMut<'_>],
) -> io::Result<(usize, bool)> {
    Ok((stream.read_vectored(bufs)?, false))
}

pub(crate) fn peer_cred(stream: &UnixStream) -> io::Result<UCred> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: the pointers are valid for a write.
    let result = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = peer_pid(stream)?;
    Ok(UCred { uid, gid, pid })
}

#[cfg(target_vendor = "apple")]
fn peer_pid(stream: &UnixStream) -> io::Result<Option<libc::pid_t>> {
    let mut pid: libc::pid_t = 0;
    let mut length = std::mem::size_of::<libc::pid_t>() as libc::socklen_t;
    let (level, name) = (libc::SOL_LOCAL, libc::LOCAL_PEERPID);
    let value = (&raw mut pid).cast();
    // SAFETY: the pointer is valid for `length` bytes, and any bytes are valid there.
    let result =
        unsafe { libc::getsockopt(stream.as_raw_fd(), level, name, value, &raw mut length) };
    match result {
        0 => Ok(Some(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_vendor = "apple"))]
fn peer_pid(_stream: &UnixStream) -> io::Result<Option<libc::pid_t>> {
    Ok(None)
}

pub(crate) fn to_raw(address: &SocketAddr) -> io::Result<SockAddr> {
    SockAddr::unix(address.as_pathname().unwrap_or("".as_ref()))
}

pub(crate) fn from_raw(address: &SockAddr) -> io::Result<SocketAddr> {
    match address.as_pathname() {
        Some(path) => SocketAddr::from_pathname(path),
        None => unnamed(),
    }
}
