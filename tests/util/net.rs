//! Helpers for tests that talk over sockets.

use std::ffi::c_short;
use std::io::{self, Read, Write};
use std::mem::{MaybeUninit, size_of};
use std::net as std_net;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use corde::net::{SocketAddr, TcpListener, TcpStream};

pub(crate) const LOCALHOST: &str = "127.0.0.1:0";

/// A listener on a port of its own.
pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(LOCALHOST).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a connection.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let near = TcpStream::connect(address).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

/// Both ends of a connection, of std.
pub(crate) fn std_pair() -> (std_net::TcpStream, std_net::TcpStream) {
    let listener = std_net::TcpListener::bind(LOCALHOST).unwrap();
    let near = std_net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

/// Sends back what comes, until the other end has sent all.
pub(crate) fn echo(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match (&*stream).read(&mut buffer)? {
            0 => return Ok(()),
            len => (&*stream).write_all(&buffer[..len])?,
        }
    }
}

/// Sends `data` to an [`echo`] and expects it back.
pub(crate) fn expect_echo(mut stream: impl Read + Write, data: &[u8]) {
    stream.write_all(data).unwrap();
    let mut answer = vec![0; data.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, data);
}

/// Closes a connection by a reset instead of in order.
pub(crate) fn reset(stream: impl AsFd) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the pointer is valid for that length.
    let result = unsafe {
        libc::setsockopt(
            stream.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            ptr::from_ref(&at_once).cast(),
            size_of::<libc::linger>().try_into().unwrap(),
        )
    };
    assert_eq!(result, 0);
}

/// What poll(2) tells of a reset and of the end.
#[cfg(not(target_os = "macos"))]
const HANGUP: c_short = libc::POLLRDHUP;
#[cfg(target_os = "macos")]
const HANGUP: c_short = libc::POLLHUP;

/// Waits until a reset or the end of the connection has arrived.
pub(crate) fn wait_for_hangup(stream: impl AsFd) {
    let mut poll = libc::pollfd {
        fd: stream.as_fd().as_raw_fd(),
        events: HANGUP,
        revents: 0,
    };
    // SAFETY: one valid entry.
    let ready = unsafe { libc::poll(&mut poll, 1, -1) };
    assert_eq!(ready, 1);
}

/// Lets the process open as many files as it may, and returns how many that is.
pub(crate) fn raise_file_limit() -> usize {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is valid for a write.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: the system has filled it.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is valid for a read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0);
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
