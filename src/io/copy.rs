//! From a reader to a writer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use crate::net::TcpStream;
use crate::os::unix::net::UnixStream;
use crate::runtime::worker;
use crate::thread;

/// What is read at first.
const SMALL: usize = 8 * 1024;

/// What is read once there has been more than that: two thirds of the time for a byte between TCP sockets, a fifth between Unix ones. Four times as
/// much gains nothing.
const LARGE: usize = 64 * 1024;

/// Copies everything from a reader to a writer, until the reader comes to its end; as [`std::io::copy`].
///
/// It suspends where reading and writing do. Returns how many bytes it were.
///
/// The buffer grows to 64 KiB when there is much to read at once, where std's stays at 8. Splicing between sockets through a pipe
/// in the kernel (`splice(2)`) was measured, and needs no less time than this buffer.
///
/// # Errors
///
/// The first one of reading or writing; [`Interrupted`](ErrorKind::Interrupted) ones are tried again.
///
/// # Cancellation
///
/// When it is interrupted, what has been read and not yet written is lost.
///
/// # Examples
///
/// ```
/// use corde::io;
///
/// let mut writer = Vec::new();
/// assert_eq!(io::copy(&mut &b"all of it"[..], &mut writer)?, 9);
/// assert_eq!(writer, b"all of it");
/// # Ok::<(), io::Error>(())
/// ```
pub fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
{
    let mut buffer = vec![0; SMALL];
    let mut copied = 0;
    loop {
        let len = match reader.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        writer.write_all(&buffer[..len])?;
        copied += len as u64;
        if len == buffer.len() && len < LARGE {
            // What is in it has been written: nothing has to be moved.
            buffer = vec![0; 2 * len];
        }
    }
}

/// A connection whose two directions end one by one: what [`copy_bidirectional`] needs besides reading and writing.
///
/// For streams of one's own, around one that has it already, mostly a call of the inner one's `shutdown`.
///
/// # Examples
///
/// ```
/// use corde::io::{self, HalfClose};
/// use corde::net::TcpStream;
///
/// struct Counted(TcpStream);
///
/// impl HalfClose for Counted {
///     fn end_writing(&self) -> io::Result<()> {
///         self.0.end_writing()
///     }
/// }
/// ```
pub trait HalfClose {
    /// Tells the other end that nothing more will be written, which it reads as the end; reading goes on.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](ErrorKind::NotConnected), if the other end is gone, counts as success for [`copy_bidirectional`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, HalfClose, Read, Write};
    /// use corde::os::unix::net::UnixStream;
    ///
    /// corde::run(|| -> io::Result<()> {
    ///     let (mut near, mut far) = UnixStream::pair()?;
    ///     near.end_writing()?;
    ///     assert_eq!(far.read(&mut [0])?, 0);
    ///     far.write_all(b"still heard")?;
    ///     near.read_exact(&mut [0; 11])
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn end_writing(&self) -> io::Result<()>;
}

impl HalfClose for TcpStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl HalfClose for UnixStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl<S: HalfClose + ?Sized> HalfClose for &S {
    fn end_writing(&self) -> io::Result<()> {
        (**self).end_writing()
    }
}

/// Copies between two connections in both directions at once, until both have come to their ends: what a proxy does. Returns how many bytes came
/// from `a`, and from `b`.
///
/// When one of them comes to its end, the other one's writing direction is [ended](HalfClose::end_writing), and the opposite direction goes
/// on. Each direction has a buffer of 8 KiB, and of 64 if there is much to do, and reads nothing before that has been written: a slow
/// reader makes the other end's writer wait.
///
/// # Errors
///
/// The first one of either direction, which stops the other.
///
/// # Cancellation
///
/// Both directions are stopped; what has been read and not yet written is lost.
///
/// # Examples
///
/// ```
/// use corde::io::{self, Read, Write, copy_bidirectional};
/// use corde::net::{Shutdown, TcpListener, TcpStream};
///
/// corde::run(|| -> io::Result<()> {
///     let (front, back) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
///     let (address, server) = (front.local_addr()?, back.local_addr()?);
///     let proxy = corde::go!({ copy_bidirectional(&front.accept()?.0, &TcpStream::connect(server)?) });
///     let mut client = TcpStream::connect(address)?;
///     let (mut server, _) = back.accept()?;
///
///     client.write_all(b"question")?;
///     client.shutdown(Shutdown::Write)?;
///     assert_eq!(io::read_to_string(&mut server)?, "question");
///     server.write_all(b"answer")?;
///     drop(server);
///     assert_eq!(io::read_to_string(&mut client)?, "answer");
///     assert_eq!(proxy.join().unwrap()?, (8, 6));
///     Ok(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn copy_bidirectional<A, B>(a: &A, b: &B) -> io::Result<(u64, u64)>
where
    A: HalfClose + Sync + ?Sized,
    B: HalfClose + Sync + ?Sized,
    for<'a> &'a A: Read + Write,
    for<'b> &'b B: Read + Write,
{
    thread::try_scope(|scope| {
        let there = scope.spawn(|| one_way(a, b));
        let back = match worker::current_green() {
            Some(_) => one_way(b, a)?,
            // An OS thread that waits for a socket would not learn of the other direction's error.
            None => scope.spawn(|| one_way(b, a)).join(),
        };
        Ok((there.join(), back))
    })
}

fn one_way<R, W>(mut reader: R, mut writer: W) -> io::Result<u64>
where
    R: Read,
    W: Write + HalfClose,
{
    let copied = copy(&mut reader, &mut writer)?;
    writer.flush()?;
    match writer.end_writing() {
        Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
        _ => Ok(copied),
    }
}
