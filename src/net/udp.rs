//! `UdpSocket`.

use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::addr::{ToSocketAddrs, first_of};
use super::receive::receive;
use super::socket::{like_std, timeouts};
use crate::reactor::{Direction, Source};

/// A UDP socket; as [`std::net::UdpSocket`].
///
/// It can send to any address and receives from all; once it is [connected](UdpSocket::connect) to one, it receives from that
/// one alone. Closed when dropped.
///
/// Each datagram is received by one call, whoever else receives here; what of it does not fit into the buffer is lost. Receiving
/// suspends the calling green thread until there is one, sending while the system has no room. A thread that is cancelled while
/// it waits has received and sent nothing.
///
/// # Examples
///
/// ```
/// use corde::net::UdpSocket;
///
/// corde::run(|| -> std::io::Result<()> {
///     let server = UdpSocket::bind("127.0.0.1:0")?;
///     let address = server.local_addr()?;
///     corde::go!({
///         let mut buffer = [0; 1500];
///         let (length, from) = server.recv_from(&mut buffer)?;
///         server.send_to(&buffer[..length], from)
///     });
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.connect(address)?;
///     client.send(b"echo")?;
///     let mut answer = [0; 10];
///     assert_eq!(client.recv(&mut answer)?, 4);
///     assert_eq!(&answer[..4], b"echo");
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    source: Source<net::UdpSocket>,
}

/// The end, which comes from no address.
fn from_nowhere() -> io::Result<(usize, SocketAddr)> {
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the socket is shut down, and an end comes from no address",
    ))
}

impl UdpSocket {
    /// Makes a socket with one of `addresses` as its own, trying each in turn; port 0 lets the system choose.
    ///
    /// Suspends while a name is looked up, if it is not an address.
    ///
    /// # Errors
    ///
    /// That of the last address tried: [`AddrInUse`](io::ErrorKind::AddrInUse) where there is such a socket already.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{SocketAddr, UdpSocket};
    ///
    /// let addresses = [7777, 0].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    /// let socket = UdpSocket::bind(&addresses[..])?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addresses: A) -> io::Result<UdpSocket> {
        first_of(addresses, net::UdpSocket::bind).map(UdpSocket::from)
    }

    /// Receives a datagram; suspends until there is one. Returns its length and where it is from.
    ///
    /// What does not fit into `buf` is lost.
    ///
    /// # Errors
    ///
    /// Those of the system; [`WouldBlock`](io::ErrorKind::WouldBlock) after the [read timeout](UdpSocket::set_read_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(b"to myself", socket.local_addr()?)?;
    /// let mut buffer = [0; 1500];
    /// let (length, from) = socket.recv_from(&mut buffer)?;
    /// assert_eq!(&buffer[..length], b"to myself");
    /// assert_eq!(from, socket.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        receive(&self.source, |socket| socket.recv_from(buf), from_nowhere)
    }

    /// Like [`recv_from`](UdpSocket::recv_from), but leaves the datagram there, to be received again.
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(b"twice", socket.local_addr()?)?;
    /// let mut buffer = [0; 1500];
    /// assert_eq!(socket.peek_from(&mut buffer)?, (5, socket.local_addr()?));
    /// assert_eq!(socket.recv_from(&mut buffer)?, (5, socket.local_addr()?));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        receive(&self.source, |socket| socket.peek_from(buf), from_nowhere)
    }

    /// Sends a datagram to the first of `addresses`; suspends while the system has no room for it. Returns its length.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), if there is no address; those of the system, among them that the datagram is too long
    /// (`EMSGSIZE`); [`WouldBlock`](io::ErrorKind::WouldBlock) after the [write timeout](UdpSocket::set_write_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// assert_eq!(socket.send_to(b"to myself", socket.local_addr()?)?, 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addresses: A) -> io::Result<usize> {
        let Some(address) = addresses.to_socket_addrs()?.next() else {
            let message = "no addresses to send data to";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        self.source
            .retry(Direction::Write, |socket| socket.send_to(buf, address))
    }

    /// Sets where [`send`](UdpSocket::send) sends to, and from where alone it receives: one of `addresses`, trying each in turn.
    ///
    /// Nothing is sent, so it does not fail where nobody is. Suspends while a name is looked up, if it is not an address.
    ///
    /// # Errors
    ///
    /// That of the last address tried.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect("127.0.0.1:7777")?;
    /// assert_eq!(socket.peer_addr()?.port(), 7777);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect<A: ToSocketAddrs>(&self, addresses: A) -> io::Result<()> {
        first_of(addresses, |address| self.std().connect(address))
    }

    /// Sends a datagram to where the socket is [connected](UdpSocket::connect) to; suspends while the system has no room for it.
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](UdpSocket::send_to); if it is not connected; and [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), if an earlier
    /// datagram found nobody there.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(socket.local_addr()?)?;
    /// assert_eq!(socket.send(b"to myself")?, 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Write, |socket| socket.send(buf))
    }

    /// Receives a datagram from where the socket is [connected](UdpSocket::connect) to; suspends until there is one.
    ///
    /// What does not fit into `buf` is lost.
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](UdpSocket::recv_from); and [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), if an earlier datagram found nobody
    /// there.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(socket.local_addr()?)?;
    /// socket.send(b"to myself")?;
    /// let mut buffer = [0; 2];
    /// assert_eq!(socket.recv(&mut buffer)?, 2);
    /// assert_eq!(&buffer, b"to");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        receive(&self.source, |socket| socket.recv(buf), || Ok(0))
    }

    /// Like [`recv`](UdpSocket::recv), but leaves the datagram there, to be received again.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](UdpSocket::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(socket.local_addr()?)?;
    /// socket.send(b"twice")?;
    /// let mut buffer = [0; 10];
    /// assert_eq!(socket.peek(&mut buffer)?, 5);
    /// assert_eq!(socket.recv(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        receive(&self.source, |socket| socket.peek(buf), || Ok(0))
    }

    /// Returns where the socket is [connected](UdpSocket::connect) to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected), if it is not.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// assert_eq!(socket.peer_addr().unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    /// socket.connect("127.0.0.1:7777")?;
    /// assert_eq!(socket.peer_addr()?, "127.0.0.1:7777".parse().unwrap());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
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
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// assert!(socket.local_addr()?.ip().is_loopback());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
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
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let clone = socket.try_clone()?;
    /// assert_eq!(clone.local_addr()?, socket.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        let source = self.source.try_clone(net::UdpSocket::try_clone)?;
        Ok(UdpSocket { source })
    }

    /// Sets `SO_BROADCAST`: whether it may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_broadcast(true)?;
    /// assert!(socket.broadcast()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.std().set_broadcast(broadcast)
    }

    /// Returns whether it may send to broadcast addresses; see [`set_broadcast`](UdpSocket::set_broadcast).
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_broadcast(true)?;
    /// assert!(socket.broadcast()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn broadcast(&self) -> io::Result<bool> {
        self.std().broadcast()
    }

    /// Sets `IP_MULTICAST_LOOP`: whether what it sends to IPv4 groups comes back to this host.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_loop_v4(false)?;
    /// assert!(!socket.multicast_loop_v4()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_multicast_loop_v4(&self, multicast_loop: bool) -> io::Result<()> {
        self.std().set_multicast_loop_v4(multicast_loop)
    }

    /// Returns whether what it sends to IPv4 groups comes back to this host.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_loop_v4(false)?;
    /// assert!(!socket.multicast_loop_v4()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.std().multicast_loop_v4()
    }

    /// Sets `IP_MULTICAST_TTL`: the time to live of what it sends to IPv4 groups, in hops; 1 by default, which stays in the local
    /// network.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_ttl_v4(7)?;
    /// assert_eq!(socket.multicast_ttl_v4()?, 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.std().set_multicast_ttl_v4(ttl)
    }

    /// Returns the time to live of what it sends to IPv4 groups, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_multicast_ttl_v4(7)?;
    /// assert_eq!(socket.multicast_ttl_v4()?, 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.std().multicast_ttl_v4()
    }

    /// Sets `IPV6_MULTICAST_LOOP`: whether what it sends to IPv6 groups comes back to this host.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// # if UdpSocket::bind("[::1]:0").is_err() { return Ok(()); } // no IPv6 here
    /// let socket = UdpSocket::bind("[::1]:0")?;
    /// socket.set_multicast_loop_v6(false)?;
    /// assert!(!socket.multicast_loop_v6()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_multicast_loop_v6(&self, multicast_loop: bool) -> io::Result<()> {
        self.std().set_multicast_loop_v6(multicast_loop)
    }

    /// Returns whether what it sends to IPv6 groups comes back to this host.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// # if UdpSocket::bind("[::1]:0").is_err() { return Ok(()); } // no IPv6 here
    /// let socket = UdpSocket::bind("[::1]:0")?;
    /// socket.set_multicast_loop_v6(false)?;
    /// assert!(!socket.multicast_loop_v6()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.std().multicast_loop_v6()
    }

    /// Sets the time to live of what it sends, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_ttl(42)?;
    /// assert_eq!(socket.ttl()?, 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// Returns the time to live of what it sends, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_ttl(42)?;
    /// assert_eq!(socket.ttl()?, 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
    }

    /// Joins an IPv4 multicast group on an interface: what is sent to the group, and the port of this socket, is received here as well. The interface is told
    /// by its address; [`UNSPECIFIED`](Ipv4Addr::UNSPECIFIED) leaves it to the system.
    ///
    /// # Errors
    ///
    /// Those of the system. If there is no such interface.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{Ipv4Addr, UdpSocket};
    ///
    /// let socket = UdpSocket::bind("0.0.0.0:0")?;
    /// let (group, interface) = (Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::LOCALHOST);
    /// socket.join_multicast_v4(&group, &interface)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.std().join_multicast_v4(group, interface)
    }

    /// Leaves an IPv4 multicast group on an interface; see [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    ///
    /// # Errors
    ///
    /// Those of the system. If it is not in the group.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{Ipv4Addr, UdpSocket};
    ///
    /// let socket = UdpSocket::bind("0.0.0.0:0")?;
    /// let (group, interface) = (Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::LOCALHOST);
    /// socket.join_multicast_v4(&group, &interface)?;
    /// socket.leave_multicast_v4(&group, &interface)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.std().leave_multicast_v4(group, interface)
    }

    /// Joins an IPv6 multicast group on an interface: what is sent to the group, and the port of this socket, is received here as well. The interface is told
    /// by its index; 0 leaves it to the system.
    ///
    /// # Errors
    ///
    /// Those of the system. If there is no such interface.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{Ipv6Addr, UdpSocket};
    ///
    /// # if UdpSocket::bind("[::]:0").is_err() { return Ok(()); } // no IPv6 here
    /// let socket = UdpSocket::bind("[::]:0")?;
    /// let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    /// # if socket.join_multicast_v6(&group, 1).is_err() { return Ok(()); } // the first interface is another one
    /// # socket.leave_multicast_v6(&group, 1)?;
    /// socket.join_multicast_v6(&group, 1)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.std().join_multicast_v6(group, interface)
    }

    /// Leaves an IPv6 multicast group on an interface; see [`join_multicast_v6`](UdpSocket::join_multicast_v6).
    ///
    /// # Errors
    ///
    /// Those of the system. If it is not in the group.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{Ipv6Addr, UdpSocket};
    ///
    /// # if UdpSocket::bind("[::]:0").is_err() { return Ok(()); } // no IPv6 here
    /// let socket = UdpSocket::bind("[::]:0")?;
    /// let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    /// # if socket.join_multicast_v6(&group, 1).is_err() { return Ok(()); } // the first interface is another one
    /// # socket.leave_multicast_v6(&group, 1)?;
    /// socket.join_multicast_v6(&group, 1)?;
    /// socket.leave_multicast_v6(&group, 1)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.std().leave_multicast_v6(group, interface)
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
    /// use corde::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// assert!(socket.take_error()?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }
}

like_std!(UdpSocket, net::UdpSocket);
timeouts!(UdpSocket);
