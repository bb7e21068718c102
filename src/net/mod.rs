//! TCP, UDP and names, with the names and the manners of [`std::net`].
//!
//! Reading, writing, accepting and connecting suspend the calling green thread where std would block the OS thread; a plain OS
//! thread blocks as with std. Sockets are tried first: a call that need not wait is one system call and no switch.
//! Errors are those of the system, as std reports them. Down from here: `reactor`.
//!
//! ```
//! use corde::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! corde::run(|| -> std::io::Result<()> {
//!     let listener = TcpListener::bind("localhost:0")?;
//!     let address = listener.local_addr()?;
//!     let server = corde::go!({ listener.accept()?.0.write_all(b"hello") });
//!     let mut greeting = String::new();
//!     TcpStream::connect(address)?.read_to_string(&mut greeting)?;
//!     assert_eq!(greeting, "hello");
//!     server.join().unwrap()
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | std has | here |
//! | --- | --- |
//! | host names that block the OS thread while they are looked up | [they do not](ToSocketAddrs), and [`lookup_host`] as a function |
//! | a listener that 128 clients can wait at | 4,096, and [groups of listeners](TcpListener::bind_group) |
//! | [`Interrupted`](std::io::ErrorKind::Interrupted), when a signal comes while a thread waits to read or to write | it goes on waiting |

mod addr;
pub(crate) mod receive;
pub(crate) mod socket;
pub(crate) mod tcp;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod tcp_linux;
mod tcp_listener;
mod udp;

use crate::reactor::Pollable;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};

pub use addr::{ToSocketAddrs, lookup_host};
pub use tcp::TcpStream;
pub use tcp_listener::{Incoming, IntoIncoming, TcpListener};
pub use udp::UdpSocket;

/// A socket, or something like it, that [`select!`](crate::select) can wait for.
///
/// Implemented for the sockets of this module and of [`os::unix::net`](crate::os::unix::net), the pipes of [`io`](crate::io) and [`process`](crate::process),
/// [`io::Green`](crate::io::Green) and [`Signals`](crate::signal::Signals), and for nothing else.
///
/// # Examples
///
/// ```
/// use corde::net::{TcpListener, TcpStream};
/// use corde::select;
/// use corde::sync::channel::never;
///
/// corde::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let _client = TcpStream::connect(listener.local_addr()?)?;
///     select! {
///         readable(listener) => listener.accept()?,
///         recv(never::<()>()) -> _ => unreachable!(),
///     };
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Socket: sealed::Sealed {}

pub(crate) mod sealed {
    use super::Pollable;

    #[doc(hidden)]
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
