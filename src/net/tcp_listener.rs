//! `TcpListener`.

use std::io;
use std::iter::FusedIterator;
use std::net::{self, SocketAddr};
use std::os::fd::AsFd;

use socket2::Socket;

use super::addr::{ToSocketAddrs, first_of};
use super::socket::like_std;
use super::tcp::{TcpStream, new_socket, uninterrupted};
use crate::reactor::{Direction, Source, sys};

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
///
/// What has to be set before a socket listens is set with the crate `socket2`, as with std: how many connections may wait, to IPv6 only, buffers:
///
/// ```
/// use corde::net::{SocketAddr, TcpListener};
/// use socket2::{Domain, Socket, Type};
/// use std::os::fd::OwnedFd;
///
/// let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
/// socket.set_recv_buffer_size(64 * 1024)?;
/// socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
/// socket.listen(16)?;
/// let listener = TcpListener::from(OwnedFd::from(socket));
/// assert!(listener.local_addr()?.ip().is_loopback());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    source: Source<net::TcpListener>,
}

/// Connections that may wait to be accepted: what servers commonly ask for, and the kernel's own limit since Linux 5.4.
const BACKLOG: i32 = 4096;

/// Makes a socket that has this address, which a group of sockets may share.
fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    // A server that is started again is not held up by connections of its predecessor.
    socket.set_reuse_address(true)?;
    if shared {
        share_address(&socket)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Has connections distributed among the sockets that have the same address, as far as the system does so.
#[cfg(not(target_os = "freebsd"))]
fn share_address(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Has connections distributed among the sockets that have the same address. What others know by the plain option only shares the
/// address here.
#[cfg(target_os = "freebsd")]
fn share_address(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port_lb(true)
}

impl TcpListener {
    /// Binds a socket to one of `addresses`, trying each in turn, and listens there; port 0 lets the system choose.
    ///
    /// Up to 4,096 connections may wait to be accepted, or fewer if the system has a lower limit (`net.core.somaxconn` on Linux); std
    /// lets 128 wait, and a client that comes when they are full waits a second before it tries again.
    ///
    /// Suspends only to [look up](ToSocketAddrs) a host name.
    ///
    /// # Errors
    ///
    /// That of the last address tried: [`AddrInUse`](io::ErrorKind::AddrInUse) where somebody else listens.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::TcpListener;
    /// use std::io::ErrorKind;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let again = TcpListener::bind(listener.local_addr()?);
    /// assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpListener> {
        first_of(addresses, |address| {
            let socket = bound(address, false)?;
            socket.listen(BACKLOG)?;
            Ok(TcpListener::from_nonblocking(socket))
        })
    }

    /// Makes `count` sockets that listen at the same address, each with a queue of its own. The system decides for each connection which of them
    /// gets it, and no two threads that accept meet. std has nothing like it.
    ///
    /// So a server can have a thread that accepts for each worker; a green thread that reads a connection on the worker that accepted it needs no
    /// message from another. With port 0 all get the same one.
    ///
    /// A connection belongs to the queue that it was put into: when that socket is closed, connections that nobody has accepted are reset. And one
    /// whose thread does not accept for long has its clients wait, though others would have time. Other processes of the same user may
    /// listen at the same address in the same way, and get a share.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](TcpListener::bind); [`InvalidInput`](io::ErrorKind::InvalidInput), if `count` is 0.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux (`SO_REUSEPORT`) and FreeBSD (`SO_REUSEPORT_LB`) distribute connections evenly, by a hash of the addresses. macOS lets
    /// sockets share an address, but does not: one of them gets all connections.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    /// use corde::thread::{JoinSet, available_parallelism};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let group = TcpListener::bind_group("127.0.0.1:0", 4)?;
    ///     let address = group[0].local_addr()?;
    ///     let mut servers = JoinSet::new();
    ///     for listener in group {
    ///         servers.spawn(move || listener.accept().map(|(_, client)| client));
    ///     }
    ///     let client = TcpStream::connect(address)?;
    ///     let served = servers.join_next().expect("there are four").unwrap();
    ///     assert_eq!(served?, client.local_addr()?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_group<A: ToSocketAddrs>(
        addresses: A,
        count: usize,
    ) -> io::Result<Vec<TcpListener>> {
        if count == 0 {
            let message = "a group of listeners has 1 at least, not 0";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        first_of(addresses, |address| {
            let first = bound(address, true)?;
            // The port, too, if that was 0.
            let address = first.local_addr()?.as_socket().unwrap_or(address);
            let others = (1..count).map(|_| bound(address, true));
            let sockets: Vec<Socket> = [Ok(first)]
                .into_iter()
                .chain(others)
                .collect::<Result<_, _>>()?;
            // Only when all are there: what came meanwhile would all be the first one's.
            sockets
                .iter()
                .try_for_each(|socket| socket.listen(BACKLOG))?;
            Ok(sockets
                .into_iter()
                .map(TcpListener::from_nonblocking)
                .collect())
        })
    }

    /// Wraps a socket that is non-blocking already.
    fn from_nonblocking(socket: Socket) -> TcpListener {
        TcpListener {
            source: Source::new(socket.into()),
        }
    }

    /// Returns the address that it listens at.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// Makes a second handle to the same socket: each connection is accepted by one of the two.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let other = listener.try_clone()?;
    /// assert_eq!(other.local_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// # Cancellation
    ///
    /// A green thread that is cancelled, or whose time is over, leaves while it waits: no connection that was taken from the queue is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let client = TcpStream::connect(listener.local_addr()?)?;
    ///     let (stream, address) = listener.accept()?;
    ///     assert_eq!(address, client.local_addr()?);
    ///     assert_eq!(address, stream.peer_addr()?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |listener: &net::TcpListener| uninterrupted(|| sys::accept(listener.as_fd()));
        let (connection, address) = self.source.retry_if_ready(Direction::Read, accept)?;
        Ok((TcpStream::from_nonblocking(connection.into()), address))
    }

    /// Returns an iterator over the connections that come in, which [accepts](TcpListener::accept) one at each call; it never ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let clients = [(); 3].map(|()| TcpStream::connect(listener.local_addr().unwrap()));
    ///     for (client, stream) in clients.into_iter().zip(listener.incoming()) {
    ///         assert_eq!(stream?.peer_addr()?, client?.local_addr()?);
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Like [`incoming`](TcpListener::incoming), with the listener in the iterator. std's is not stable yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    /// use std::io;
    ///
    /// fn listen(address: &str) -> io::Result<impl Iterator<Item = io::Result<TcpStream>> + use<>> {
    ///     Ok(TcpListener::bind(address)?.into_incoming())
    /// }
    /// assert!(listen("127.0.0.1:0").is_ok());
    /// ```
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
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
    /// use corde::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_ttl(10)?;
    /// assert_eq!(listener.ttl()?, 10);
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
    /// use corde::net::TcpListener;
    ///
    /// assert!(TcpListener::bind("127.0.0.1:0")?.ttl()? > 0);
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
    /// use corde::net::TcpListener;
    ///
    /// assert!(TcpListener::bind("127.0.0.1:0")?.take_error()?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }
}

/// An iterator over the connections of a [`TcpListener`]; see [`incoming`](TcpListener::incoming).
///
/// # Examples
///
/// ```
/// use corde::net::{Incoming, TcpListener, TcpStream};
///
/// corde::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let client = TcpStream::connect(listener.local_addr()?)?;
///     let mut connections: Incoming<'_> = listener.incoming();
///     let stream = connections.next().expect("it never ends")?;
///     assert_eq!(stream.peer_addr()?, client.local_addr()?);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
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

/// An iterator over the connections of the [`TcpListener`] in it; see [`into_incoming`](TcpListener::into_incoming).
///
/// # Examples
///
/// ```
/// use corde::net::{IntoIncoming, TcpListener, TcpStream};
///
/// corde::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let client = TcpStream::connect(listener.local_addr()?)?;
///     let mut connections: IntoIncoming = listener.into_incoming();
///     let stream = connections.next().expect("it never ends")?;
///     assert_eq!(stream.peer_addr()?, client.local_addr()?);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        self.listener.incoming().next()
    }
}

impl FusedIterator for IntoIncoming {}

like_std!(TcpListener, net::TcpListener);
