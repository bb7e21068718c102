//! TCP, with the names and the manners of [`std::net`].
//!
//! Reading, writing, accepting and connecting suspend the calling green thread where std would block the OS thread; a plain OS
//! thread blocks as with std. Sockets are tried first: a call that need not wait is one system call and no switch.
//! Errors are those of the system, as std reports them. Down from here: `reactor`.

mod tcp;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
    ToSocketAddrs,
};
pub use tcp::{Incoming, TcpListener, TcpStream};
