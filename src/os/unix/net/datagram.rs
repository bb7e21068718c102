//! `UnixDatagram`.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Instant;

use super::address::unnamed;
use super::{pauses, peek, sys};
use crate::net::receive::receive;
use crate::net::socket::{like_std, timeouts};
use crate::reactor::{Direction, Source};

/// A Unix domain socket that sends and receives datagrams; as [`std::os::unix::net::UnixDatagram`].
///
/// Closed when dropped. None is lost on the way: a sender waits while the receiver is full. A thread that is cancelled while it waits
/// has received and sent nothing.
///
/// # Examples
///
/// ```
/// use corde::os::unix::net::UnixDatagram;
///
/// corde::run(|| -> std::io::Result<()> {
///     let (near, far) = UnixDatagram::pair()?;
///     corde::go!({
///         let mut buffer = [0; 100];
///         let length = far.recv(&mut buffer)?;
///         far.send(&buffer[..length])
///     });
///     near.send(b"echo")?;
///     let mut answer = [0; 10];
///     assert_eq!(near.recv(&mut answer)?, 4);
///     assert_eq!(&answer[..4], b"echo");
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram {
    source: Source<net::UnixDatagram>,
}

/// The end, as std has it.
fn from_nowhere() -> io::Result<(usize, SocketAddr)> {
    Ok((0, unnamed()?))
}

impl UnixDatagram {
    /// Makes a socket, and the file `path` as its address, which stays when the socket is gone.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), if there is such a file; [`InvalidInput`](io::ErrorKind::InvalidInput), if the path is too long (108 bytes on
    /// Linux, 104 elsewhere) or has a zero in it; others of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-bind-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// assert_eq!(receiver.local_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind(path).map(UnixDatagram::from)
    }

    /// Like [`bind`](UnixDatagram::bind), to an address, which may be one without a file.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](UnixDatagram::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::{SocketAddr, UnixDatagram};
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-bind_addr-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let address = SocketAddr::from_pathname(directory.join("socket"))?;
    /// let receiver = UnixDatagram::bind_addr(&address)?;
    /// assert_eq!(receiver.local_addr()?.as_pathname(), address.as_pathname());
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind_addr(address).map(UnixDatagram::from)
    }

    /// Makes a socket without an address, to send from.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let socket = UnixDatagram::unbound()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unbound() -> io::Result<UnixDatagram> {
        net::UnixDatagram::unbound().map(UnixDatagram::from)
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
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// near.send(b"hi")?;
    /// assert_eq!(far.recv(&mut [0; 10])?, 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (near, far) = net::UnixDatagram::pair()?;
        Ok((near.into(), far.into()))
    }

    /// Sets where [`send`](UnixDatagram::send) sends to, and from where alone it receives.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) where there is no such file, [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) where its socket is
    /// gone; others of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-connect-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// let sender = UnixDatagram::unbound()?;
    /// sender.connect(&path)?;
    /// sender.send(b"hi")?;
    /// assert_eq!(receiver.recv(&mut [0; 10])?, 2);
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.std().connect(path)
    }

    /// Like [`connect`](UnixDatagram::connect), to an address, which may be one without a file.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](UnixDatagram::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-connect_addr-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// let sender = UnixDatagram::unbound()?;
    /// sender.connect_addr(&receiver.local_addr()?)?;
    /// sender.send(b"hi")?;
    /// assert_eq!(receiver.recv(&mut [0; 10])?, 2);
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.std().connect_addr(address)
    }

    /// Makes a second handle to the same socket: each datagram is received by one of the two.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// near.try_clone()?.send(b"hi")?;
    /// assert_eq!(far.try_clone()?.recv(&mut [0; 10])?, 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<UnixDatagram> {
        let source = self.source.try_clone(net::UnixDatagram::try_clone)?;
        Ok(UnixDatagram { source })
    }

    /// Returns the address of this socket.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-local-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// assert_eq!(receiver.local_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// Returns where the socket is [connected](UnixDatagram::connect) to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected), if it is not.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-peer-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// let sender = UnixDatagram::unbound()?;
    /// assert_eq!(sender.peer_addr().unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    /// sender.connect(&path)?;
    /// assert_eq!(sender.peer_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
    }

    /// Receives a datagram; suspends until there is one. Returns its length and where it is from.
    ///
    /// What does not fit into `buf` is lost.
    ///
    /// # Errors
    ///
    /// Those of the system; [`WouldBlock`](io::ErrorKind::WouldBlock) after the [read timeout](UnixDatagram::set_read_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-recv_from-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// receiver.send_to(b"to myself", &path)?;
    /// let mut buffer = [0; 100];
    /// let (length, from) = receiver.recv_from(&mut buffer)?;
    /// assert_eq!(&buffer[..length], b"to myself");
    /// assert_eq!(from.as_pathname(), Some(&*path));
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        receive(&self.source, |socket| socket.recv_from(buf), from_nowhere)
    }

    /// Receives a datagram; suspends until there is one. Returns its length, which is 0 once the socket is
    /// [shut down](UnixDatagram::shutdown) as well.
    ///
    /// What does not fit into `buf` is lost.
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UnixDatagram::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// near.send(b"too long")?;
    /// let mut buffer = [0; 3];
    /// assert_eq!(far.recv(&mut buffer)?, 3);
    /// assert_eq!(&buffer, b"too");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        receive(&self.source, |socket| socket.recv(buf), || Ok(0))
    }

    /// Like [`recv_from`](UnixDatagram::recv_from), but leaves the datagram there, to be received again. As std's, which is not stable yet.
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UnixDatagram::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// near.send(b"twice")?;
    /// let mut buffer = [0; 10];
    /// assert_eq!(far.peek_from(&mut buffer)?.0, 5);
    /// assert_eq!(far.recv_from(&mut buffer)?.0, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let peek_from = |socket: &net::UnixDatagram| {
            let (length, from) = peek::peek_from(socket, buf)?;
            Ok((length, sys::from_raw(&from)?))
        };
        receive(&self.source, peek_from, from_nowhere)
    }

    /// Like [`recv`](UnixDatagram::recv), but leaves the datagram there, to be received again. As std's, which is not stable yet.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](UnixDatagram::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// near.send(b"twice")?;
    /// let mut buffer = [0; 10];
    /// assert_eq!(far.peek(&mut buffer)?, 5);
    /// assert_eq!(far.recv(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        receive(&self.source, |socket| peek::peek(socket, buf), || Ok(0))
    }

    /// Sends a datagram to the socket that is bound to `path`; suspends while that has no room for it. Returns its length.
    ///
    /// The system does not tell when there is room again: it is tried again and again, as the [module's page](super) tells.
    ///
    /// # Platform-specific behavior
    ///
    /// Where there is no room, macOS and the BSDs fail at once (`ENOBUFS`), as they do with std.
    ///
    /// # Errors
    ///
    /// Those of the system: [`NotFound`](io::ErrorKind::NotFound) where there is no such file, [`ConnectionRefused`](io::ErrorKind::ConnectionRefused)
    /// where its socket is gone; [`WouldBlock`](io::ErrorKind::WouldBlock) after the [write timeout](UnixDatagram::set_write_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-send_to-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// UnixDatagram::unbound()?.send_to(b"hi", &path)?;
    /// assert_eq!(receiver.recv(&mut [0; 10])?, 2);
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        let path = path.as_ref();
        self.send_with_pauses(|socket| socket.send_to(buf, path))
    }

    /// Like [`send_to`](UnixDatagram::send_to), to an address, which may be one without a file.
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](UnixDatagram::send_to).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-dgram-send_to_addr-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let receiver = UnixDatagram::bind(&path)?;
    /// let address = receiver.local_addr()?;
    /// UnixDatagram::unbound()?.send_to_addr(b"hi", &address)?;
    /// assert_eq!(receiver.recv(&mut [0; 10])?, 2);
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_to_addr(&self, buf: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.send_with_pauses(|socket| socket.send_to_addr(buf, address))
    }

    /// The receiver may be full, of which no event tells.
    fn send_with_pauses(
        &self,
        send: impl Fn(&net::UnixDatagram) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let deadline = match self.source.timeout(Direction::Write) {
            _ if self.source.is_nonblocking() => Some(Instant::now()),
            timeout => timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        };
        pauses::retry(deadline, || send(self.std()))
    }

    /// Sends a datagram to where the socket is [connected](UnixDatagram::connect) to; suspends while that has no room for it.
    ///
    /// # Platform-specific behavior
    ///
    /// Where there is no room, macOS and the BSDs fail at once (`ENOBUFS`), as they do with std.
    ///
    /// # Errors
    ///
    /// If it is not connected; those of [`send_to`](UnixDatagram::send_to).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// assert_eq!(near.send(b"hi")?, 2);
    /// assert_eq!(far.recv(&mut [0; 10])?, 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Write, |socket| socket.send(buf))
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
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// assert!(near.take_error()?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }

    /// Shuts down one direction or both, for all handles; their receivers and senders wake up. A receiver gets what is there, and then 0 bytes.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected), if it is not, on some systems; others of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::Shutdown;
    /// use corde::os::unix::net::UnixDatagram;
    ///
    /// let (near, far) = UnixDatagram::pair()?;
    /// near.shutdown(Shutdown::Read)?;
    /// assert_eq!(near.recv(&mut [0; 10])?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }
}

like_std!(UnixDatagram, net::UnixDatagram);
timeouts!(UnixDatagram);
