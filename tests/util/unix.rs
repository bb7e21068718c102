//! Helpers for tests of Unix domain sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use corde::os::unix::net::{UnixListener, UnixStream};

use super::place::Place;

/// Sends back what comes, until the other end has sent all.
pub(crate) fn echo(mut stream: &UnixStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

pub(crate) fn expect_echo(mut stream: impl Read + Write, data: &[u8]) {
    stream.write_all(data).unwrap();
    let mut answer = vec![0; data.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, data);
}

/// Fills the buffers of a stream whose other end does not read, until an error ends it.
pub(crate) fn write_until_error(mut stream: &UnixStream) -> ErrorKind {
    loop {
        if let Err(error) = stream.write(&[0; 1 << 16]) {
            return error.kind();
        }
    }
}

pub(crate) fn until_error(mut call: impl FnMut() -> io::Result<usize>) -> ErrorKind {
    loop {
        if let Err(error) = call() {
            return error.kind();
        }
    }
}

/// A listener to which nobody can connect any more until it accepts.
pub(crate) fn full_listener(directory: &Place) -> (UnixListener, PathBuf) {
    let path = directory.0.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: no pointers. A second call sets the length of the queue anew.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // The connection stays in the queue when its client is gone.
    UnixStream::connect(&path).unwrap();
    (listener, path)
}
