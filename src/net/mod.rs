//! TCP and UDP, with the names and the manners of [`std::net`].
//!
//! Reading, writing, accepting and connecting suspend the calling green thread where std would block the OS thread; a plain OS
//! thread blocks as with std. Sockets are tried first: a call that need not wait is one system call and no switch.
//! Errors are those of the system, as std reports them. Down from here: `reactor`.

pub(crate) mod receive;
pub(crate) mod socket;
pub(crate) mod tcp;
mod udp;

use crate::reactor::Pollable;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
    ToSocketAddrs,
};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;

/// A socket, or something like it, that [`select!`](crate::select) can wait for.
///
/// Implemented for the sockets of this module, the pipes of [`process`](crate::process) and [`Signals`](crate::signal::Signals), and for nothing else.
pub trait Socket: sealed::Sealed {}

pub(crate) mod sealed {
    use super::Pollable;

    pub trait Sealed {
        #[allow(private_interfaces, reason = "nobody else can call it")]
        fn source(&self) -> &dyn Pollable;
    }
}

impl<S: Socket> Socket for &S {}

impl<S: sealed::Sealed> sealed::Sealed for &S {
    #[allow(private_interfaces, reason = "nobody else can call it")]
    fn source(&self) -> &dyn Pollable {
        (**self).source()
    }
}
