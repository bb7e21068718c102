//! From a file to a socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::sys::{self, View};
use super::wait::until_ready;
use crate::reactor::Direction;
use crate::runtime::worker;
use crate::thread;

/// How much is sent by one hand-off to the blocking pool, if there is room.
const AT_ONCE: usize = 1 << 20;

/// How much is read and written at once where the system cannot send by itself.
const BUFFER: usize = 64 * 1024;

/// Sends a file, from where it stands to its end, to a socket or a pipe, in the kernel: `sendfile(2)`. Returns how many bytes it were.
///
/// The bytes are not copied to the program and back, and while the disk is waited for, that holds up an OS thread of the blocking pool
/// ([`thread::blocking`]) instead of a worker. `to` is anything of corde's; whatever else has to be non-blocking, or the OS thread waits for it.
/// It may be a file, too.
///
/// # Errors
///
/// The first one of reading or writing. Timeouts of a socket are not obeyed; [`time::timeout`](crate::time::timeout) is.
///
/// # Cancellation
///
/// What has been sent is sent, and the file stands behind it.
///
/// # Platform-specific behavior
///
/// Where the system has no such call, or not for these two, it is done by reading and writing; then a cancellation may lose what has been read.
///
/// # Examples
///
/// ```
/// use corde::io;
/// use corde::net::{TcpListener, TcpStream};
/// use std::fs::File;
///
/// corde::run(|| -> io::Result<()> {
///     let path = std::env::current_exe()?;
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let serving = corde::go!({ io::send_file(&File::open(path)?, &listener.accept()?.0) });
///     let mut client = TcpStream::connect(address)?;
///     let got = io::copy(&mut client, &mut io::sink())?;
///     assert_eq!(got, serving.join().unwrap()?);
///     Ok(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn send_file<F, W>(file: F, to: W) -> io::Result<u64>
where
    F: AsFd,
    W: AsFd,
{
    let (file, to) = (file.as_fd(), to.as_fd());
    let mut total = 0;
    loop {
        match repeat_on_pool(to, || sys::send_file(to, file, AT_ONCE)) {
            Ok(0) => return Ok(total),
            Ok(sent) => total += sent as u64,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return Ok(total + read_and_write(file, to)?);
            }
            Err(error) => return Err(error),
        }
    }
}

fn read_and_write(file: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let (mut total, mut unwritten) = (0, 0..0);
    loop {
        let written = repeat_on_pool(to, || {
            if unwritten.is_empty() {
                unwritten = 0..(&*View::new(file)).read(&mut buffer)?;
            }
            (&*View::new(to)).write(&buffer[unwritten.clone()])
        })?;
        if unwritten.is_empty() {
            return Ok(total);
        }
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        unwritten.start += written;
        total += written as u64;
    }
}

/// Runs `call` on the blocking pool until it need not wait for room in `to`.
fn repeat_on_pool<R: Send>(
    to: BorrowedFd<'_>,
    mut call: impl FnMut() -> io::Result<R> + Send,
) -> io::Result<R> {
    worker::spend();
    loop {
        match thread::blocking(&mut call) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                until_ready(to, Direction::Write, None)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
