//! `UnixStream`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use super::{UCred, pauses, peek, sys};
use crate::net::socket::{like_std, timeouts};
use crate::reactor::sys::taken_at_once;
use crate::reactor::{Direction, Source};

/// A connection between two Unix domain sockets; as [`std::os::unix::net::UnixStream`].
///
/// Closed when dropped. [`Read`] and [`Write`] are implemented for it and for a reference to it, so one green thread may read while another
/// writes. A thread that is cancelled while it waits has read and written nothing.
///
/// # Examples
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
/// use corde::os::unix::net::UnixStream;
///
/// corde::run(|| -> std::io::Result<()> {
///     let (near, far) = UnixStream::pair()?;
///     corde::go!({
///         for line in BufReader::new(&far).lines() {
///             writeln!(&far, "{} back", line?)?;
///         }
///         std::io::Result::Ok(())
///     });
///     writeln!(&near, "there and")?;
///     let mut answer = String::new();
///     BufReader::new(&near).read_line(&mut answer)?;
///     assert_eq!(answer, "there and back\n");
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream {
    source: Source<net::UnixStream>,
}

impl UnixStream {
    /// Connects to the socket that a [`UnixListener`](super::UnixListener) has bound to `path`.
    ///
    /// Suspends while the queue of the listener is full, as std blocks then: it is tried again and again, as the [module's page](super) tells; a thread that
    /// is cancelled meanwhile is not connected.
    ///
    /// # Platform-specific behavior
    ///
    /// Where the queue is full, macOS and the BSDs refuse at once, as they do with std.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) where there is no such file, [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) where nobody listens
    /// any more, [`InvalidInput`](io::ErrorKind::InvalidInput), if the path is too long (108 bytes on Linux, 104 elsewhere) or has a zero in it; others of the
    /// system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use corde::os::unix::net::{UnixListener, UnixStream};
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-connect-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let listener = UnixListener::bind(&path)?;
    /// let mut near = UnixStream::connect(&path)?;
    /// let (mut far, _) = listener.accept()?;
    /// near.write_all(b"hi")?;
    /// let mut greeting = [0; 2];
    /// far.read_exact(&mut greeting)?;
    /// assert_eq!(&greeting, b"hi");
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Like [`connect`](UnixStream::connect), to an address, which may be one without a file.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](UnixStream::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use corde::os::linux::net::SocketAddrExt;
    /// use corde::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    ///
    /// let name = format!("an example of {}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let stream = UnixStream::connect_addr(&address)?;
    /// assert_eq!(stream.peer_addr()?.as_abstract_name(), address.as_abstract_name());
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        let (socket, address) = (sys::stream_socket()?, sys::to_raw(address)?);
        pauses::retry(None, || socket.connect(&address))?;
        Ok(UnixStream::from_nonblocking(OwnedFd::from(socket).into()))
    }

    /// Makes two sockets without names that are connected to each other.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (mut near, mut far) = UnixStream::pair()?;
    /// near.write_all(b"hi")?;
    /// drop(near);
    /// let mut greeting = String::new();
    /// far.read_to_string(&mut greeting)?;
    /// assert_eq!(greeting, "hi");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (near, far) = net::UnixStream::pair()?;
        Ok((near.into(), far.into()))
    }

    /// Wraps a connection that is non-blocking already.
    pub(super) fn from_nonblocking(stream: net::UnixStream) -> UnixStream {
        UnixStream {
            source: Source::new(stream),
        }
    }

    /// Makes a second handle to the same connection.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// near.try_clone()?.write_all(b"the same")?;
    /// let mut text = [0; 8];
    /// far.read_exact(&mut text)?;
    /// assert_eq!(&text, b"the same");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<UnixStream> {
        let source = self.source.try_clone(net::UnixStream::try_clone)?;
        Ok(UnixStream { source })
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (near, far) = UnixStream::pair()?;
    /// assert!(near.local_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// Returns the address of the other end; most clients have none.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (near, far) = UnixStream::pair()?;
    /// assert!(near.peer_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
    }

    /// Returns who is at the other end, as it was when the connection was made; as std's, which is not stable yet.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// assert_eq!(near.peer_cred()?.pid.unwrap_or_default() as u32, std::process::id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_cred(&self) -> io::Result<UCred> {
        sys::peer_cred(self.std())
    }

    /// Takes the socket's pending error, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the system in asking.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (near, far) = UnixStream::pair()?;
    /// assert!(near.take_error()?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }

    /// Shuts down one direction of the connection or both, for all handles; their readers and writers wake up, and the other end's as well.
    ///
    /// # Platform-specific behavior
    ///
    /// As in std, a second shutdown is fine on Linux and fails on macOS.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    /// use corde::net::Shutdown;
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (mut near, far) = UnixStream::pair()?;
    /// far.shutdown(Shutdown::Write)?;
    /// assert_eq!(near.read(&mut [0])?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }

    /// Receives without taking the data off the queue; suspends until there is some. As std's, which is not stable yet.
    ///
    /// # Errors
    ///
    /// Those of reading.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use corde::os::unix::net::UnixStream;
    ///
    /// let (mut near, mut far) = UnixStream::pair()?;
    /// near.write_all(b"twice")?;
    /// let mut buffer = [0; 5];
    /// assert_eq!(far.peek(&mut buffer)?, 5);
    /// assert_eq!(far.read(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Read, |stream| peek::peek(stream, buf))
    }

    fn receive(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let bufs = taken_at_once(bufs);
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        let mut count = 0;
        self.source.read_stream(wanted, |stream| {
            let (read, short_is_empty) = sys::receive(stream, bufs)?;
            count = read;
            // A full read is one that tells nothing of what is left.
            Ok(if short_is_empty { read } else { wanted })
        })?;
        Ok(count)
    }
}

impl Read for UnixStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Read for &UnixStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.receive(&mut [IoSliceMut::new(buf)])
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // As in std: this does not wait where nothing is wanted, though `read` does.
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        self.receive(bufs)
    }
}

impl Write for UnixStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &UnixStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Write, |mut stream| stream.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.source
            .retry(Direction::Write, |mut stream| stream.write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

like_std!(UnixStream, net::UnixStream);
timeouts!(UnixStream);
