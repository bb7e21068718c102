//! `TcpListener` and `TcpStream`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::{self, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::socket::{like_std, timeouts};
use crate::reactor::{Direction, Source, sys};

/// A TCP connection; as [`std::net::TcpStream`].
///
/// Closed when dropped. [`Read`] and [`Write`] are implemented for it and for a reference to it, so one green thread may read
/// while another writes.
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

/// A socket that accepts TCP connections; as [`std::net::TcpListener`].
///
/// # Examples
///
/// An echo server, a green thread for each connection:
///
/// ```no_run
/// use corde::net::TcpListener;
///
/// corde::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:7777")?;
///     for stream in listener.incoming() {
///         let mut stream = stream?;
///         corde::go!({ std::io::copy(&mut stream.try_clone()?, &mut stream) });
///     }
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    source: Source<net::TcpListener>,
}

/// Connections that may wait to be accepted: what servers commonly ask for, and the kernel's own limit since Linux 5.4.
const BACKLOG: i32 = 4096;

/// Calls `each` with one address after the other until one works; as std does, with std's error for no address.
pub(super) fn first_of<A: ToSocketAddrs, T>(
    addresses: A,
    mut each: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses.to_socket_addrs()? {
        match each(address) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "could not resolve to any addresses",
        )
    }))
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

impl TcpStream {
    /// Opens a connection to one of `addresses`, trying each in turn.
    ///
    /// Suspends until the connection stands. A host name is looked up by the system on the worker's OS thread, which blocks it.
    ///
    /// # Errors
    ///
    /// That of the last address tried: [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) where nobody listens.
    pub fn connect<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpStream> {
        first_of(addresses, |address| TcpStream::connect_until(address, None))
    }

    /// Opens a connection to `address`, or gives up after `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), if it takes longer; [`InvalidInput`](io::ErrorKind::InvalidInput), if the timeout is 0; and those of
    /// [`connect`](TcpStream::connect).
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            let message = "a connection cannot stand after a timeout of 0";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        TcpStream::connect_until(*address, Instant::now().checked_add(timeout))
    }

    fn connect_until(address: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
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
    fn from_nonblocking(stream: net::TcpStream) -> TcpStream {
        TcpStream {
            source: Source::new(stream),
        }
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected), if there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Those of the system.
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
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }

    /// Makes a second handle to the same connection.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let source = self.source.try_clone(net::TcpStream::try_clone)?;
        Ok(TcpStream { source })
    }

    /// Receives without taking the data off the queue; suspends until there is some, as reading does.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Read, |stream| stream.peek(buf))
    }

    /// Sets `TCP_NODELAY`: whether small segments are sent at once.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.std().set_nodelay(nodelay)
    }

    /// Returns the value of `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.std().nodelay()
    }

    /// Sets the time to live of the packets sent, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// Returns the time to live of the packets sent, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
    }

    /// Takes the socket's pending error, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the system in asking.
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

impl TcpListener {
    /// Binds a socket to one of `addresses` and listens there; port 0 lets the system choose.
    ///
    /// Up to 4,096 connections may wait to be accepted, or fewer if the system has a lower limit (`net.core.somaxconn` on Linux); std
    /// lets 128 wait, and a client that comes when they are full waits a second before it tries again.
    ///
    /// # Errors
    ///
    /// That of the last address tried: [`AddrInUse`](io::ErrorKind::AddrInUse) where somebody else listens.
    pub fn bind<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpListener> {
        let listener = net::TcpListener::bind(addresses)?;
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(listener.into())
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// Makes a second handle to the same socket: each connection is accepted by one of the two.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        let source = self.source.try_clone(net::TcpListener::try_clone)?;
        Ok(TcpListener { source })
    }

    /// Accepts a connection; suspends until there is one.
    ///
    /// # Errors
    ///
    /// Those of the system. One that has run out of file descriptors (`EMFILE`, `ENFILE`) leaves the connection in the queue: it can
    /// be accepted when some are closed, so a server that goes on should pause before it tries again.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |listener: &net::TcpListener| uninterrupted(|| sys::accept(listener.as_fd()));
        let (connection, address) = self.source.retry(Direction::Read, accept)?;
        Ok((TcpStream::from_nonblocking(connection.into()), address))
    }

    /// Returns an iterator over the connections that come in; it never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Sets the time to live of the packets sent, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// Returns the time to live of the packets sent, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
    }

    /// Takes the socket's pending error, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the system in asking.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }
}

/// An iterator over the connections of a [`TcpListener`]; see [`incoming`](TcpListener::incoming).
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

like_std!(TcpStream, net::TcpStream);
like_std!(TcpListener, net::TcpListener);
timeouts!(TcpStream);
