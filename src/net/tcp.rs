//! `TcpStream`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::addr::{ToSocketAddrs, first_of};
use super::socket::{like_std, timeouts};
use crate::reactor::{Direction, Source, sys};

/// A TCP connection; as [`std::net::TcpStream`].
///
/// Closed when dropped. [`Read`] and [`Write`] are implemented for it and for a reference to it, so one green thread may read
/// while another writes. Any number of threads, green or not, may wait on it, in both directions.
///
/// # Cancellation
///
/// A green thread that is cancelled, or whose time is over, leaves while it waits to read or to write: data that was taken from the socket is
/// returned, data that was put into it is counted. What calls that make several, as `read_exact` and `write_all`, have done by then is
/// lost to the caller.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use corde::net::{Shutdown, TcpListener, TcpStream};
///
/// corde::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let server = corde::go!({
///         let (mut stream, _) = listener.accept()?;
///         std::io::copy(&mut stream.try_clone()?, &mut stream)
///     });
///     let mut stream = TcpStream::connect(address)?;
///     stream.write_all(b"echo")?;
///     stream.shutdown(Shutdown::Write)?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer)?;
///     assert_eq!(answer, "echo");
///     assert_eq!(server.join().unwrap()?, 4);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    source: Source<net::TcpStream>,
}

/// Repeats a call that a signal has interrupted, as std does in the calls that are not for reading or writing.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Makes a TCP socket that is non-blocking and closed on exec.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// Makes a TCP socket that is non-blocking and closed on exec: not at once, on this system.
#[cfg(target_vendor = "apple")]
pub(super) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl TcpStream {
    /// Opens a connection to one of `addresses`, trying each in turn.
    ///
    /// Suspends until the connection stands, and before that while a host name [is looked up](ToSocketAddrs). A peer that does not answer is
    /// given up by the system after minutes: [`connect_timeout`](TcpStream::connect_timeout) sets a limit for one address,
    /// [`time::timeout`](crate::time::timeout) for all of it.
    ///
    /// # Errors
    ///
    /// That of the last address tried: [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) where nobody listens.
    ///
    /// # Cancellation
    ///
    /// A green thread that is cancelled, or whose time is over, leaves, and gives the attempt up.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let port = listener.local_addr()?.port();
    ///     let stream = TcpStream::connect(("localhost", port))?;
    ///     assert_eq!(stream.peer_addr()?.port(), port);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpStream> {
        first_of(addresses, |address| TcpStream::connect_until(address, None))
    }

    /// Opens a connection to `address`, or gives up after `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), if it takes longer; [`InvalidInput`](io::ErrorKind::InvalidInput), if the timeout is 0; and those of
    /// [`connect`](TcpStream::connect).
    ///
    /// # Cancellation
    ///
    /// As for [`connect`](TcpStream::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    ///     assert_eq!(stream.peer_addr()?, address);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            let message = "a connection cannot stand after a timeout of 0";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        TcpStream::connect_until(*address, Instant::now().checked_add(timeout))
    }

    fn connect_until(address: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let socket = new_socket(address)?;
        let begun = socket.connect(&address.into());
        let source = Source::new(net::TcpStream::from(socket));
        match begun {
            Ok(()) => return Ok(TcpStream { source }),
            // An interrupted connect goes on, too.
            Err(error) if is_in_progress(&error) || error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // Where it has come to. Who has no peer yet is not connected, whatever woke us.
        source.retry_until(deadline, Direction::Write, |stream| {
            match stream.take_error()? {
                Some(error) => Err(error),
                None => stream.peer_addr().map_err(|error| match error.kind() {
                    io::ErrorKind::NotConnected => io::ErrorKind::WouldBlock.into(),
                    _ => error,
                }),
            }
        })?;
        Ok(TcpStream { source })
    }

    /// Wraps a connection that is non-blocking already.
    pub(super) fn from_nonblocking(stream: net::TcpStream) -> TcpStream {
        TcpStream {
            source: Source::new(stream),
        }
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected), if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
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
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     let (_, address) = listener.accept()?;
    ///     assert_eq!(stream.local_addr()?, address);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// Shuts down one direction of the connection or both; readers and writers of this socket wake up.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected), if the other end is gone.
    ///
    /// # Platform-specific behavior
    ///
    /// As in std, a second shutdown is fine on Linux and fails on macOS.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{Shutdown, TcpListener, TcpStream};
    /// use std::io::Read;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     let (mut peer, _) = listener.accept()?;
    ///     let reader = corde::go!({ peer.read_to_end(&mut Vec::new()) });
    ///     stream.shutdown(Shutdown::Write)?;
    ///     assert_eq!(reader.join().unwrap()?, 0);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
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
    /// use corde::net::{TcpListener, TcpStream};
    /// use std::io::{Read, Write};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     let (mut peer, _) = listener.accept()?;
    ///     let mut writer = stream.try_clone()?;
    ///     writer.write_all(b"hello")?;
    ///     let mut greeting = [0; 5];
    ///     peer.read_exact(&mut greeting)?;
    ///     assert_eq!(&greeting, b"hello");
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let source = self.source.try_clone(net::TcpStream::try_clone)?;
        Ok(TcpStream { source })
    }

    /// Receives without taking the data off the queue; suspends until there is some, as reading does.
    ///
    /// # Errors
    ///
    /// Those of reading.
    ///
    /// # Cancellation
    ///
    /// A green thread that is cancelled, or whose time is over, leaves while it waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    /// use std::io::Write;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     listener.accept()?.0.write_all(b"hello")?;
    ///     let mut first = [0];
    ///     assert_eq!(stream.peek(&mut first)?, 1);
    ///     assert_eq!(std::io::read_to_string(stream)?, "hello");
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Read, |stream| stream.peek(buf))
    }

    /// Sets `TCP_NODELAY`: whether small segments are sent at once.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     stream.set_nodelay(true)?;
    ///     assert!(stream.nodelay()?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.std().set_nodelay(nodelay)
    }

    /// Returns the value of `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert!(!stream.nodelay()?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        self.std().nodelay()
    }

    /// Sets `SO_LINGER`: whether, and for how long, closing the connection waits for data that has not been delivered. std's is not stable yet.
    ///
    /// 0 has closing reset the connection, and throw away what has not been sent. With anything longer the last handle that is dropped *blocks its
    /// OS thread*, worker or not, until all is delivered or the time is over: a green thread should rather
    /// [shut its direction down](TcpStream::shutdown) and read up to the end, with a [timeout](crate::time::timeout).
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Duration;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     let (mut peer, _) = listener.accept()?;
    ///     stream.set_linger(Some(Duration::ZERO))?;
    ///     drop(stream);
    ///     let error = peer.read(&mut [0]).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(self.std()).set_linger(linger)
    }

    /// Returns the value of `SO_LINGER`, in whole seconds. std's is not stable yet.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert_eq!(stream.linger()?, None);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self.std()).linger()
    }

    /// Sets the time to live of the packets sent, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     stream.set_ttl(10)?;
    ///     assert_eq!(stream.ttl()?, 10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// Returns the time to live of the packets sent, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert!(stream.ttl()? > 0);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
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
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert!(stream.take_error()?.is_none());
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }
}

/// Whether a non-blocking connect goes on in the background.
fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .read_stream(buf.len(), |mut stream| stream.read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let bufs = sys::taken_at_once(bufs);
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        self.source
            .read_stream(wanted, |mut stream| stream.read_vectored(bufs))
    }
}

impl Write for TcpStream {
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

impl Write for &TcpStream {
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

like_std!(TcpStream, net::TcpStream);
timeouts!(TcpStream);
