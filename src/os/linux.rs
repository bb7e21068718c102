//! As [`std::os::linux`].
//!
//! # Examples
//!
//! ```
//! use corde::net::{TcpListener, TcpStream};
//! use corde::os::linux::net::TcpStreamExt;
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let stream = TcpStream::connect(listener.local_addr()?)?;
//! assert!(stream.quickack().is_ok());
//! # Ok::<(), std::io::Error>(())
//! ```

/// What sockets have on this system alone; as [`std::os::linux::net`].
///
/// # Examples
///
/// ```
/// use corde::os::linux::net::SocketAddrExt;
/// use corde::os::unix::net::SocketAddr;
///
/// let address = SocketAddr::from_abstract_name("corde")?;
/// assert_eq!(address.as_abstract_name(), Some(&b"corde"[..]));
/// # Ok::<(), std::io::Error>(())
/// ```
pub mod net {
    pub use std::os::linux::net::SocketAddrExt;

    pub use crate::net::tcp_linux::TcpStreamExt;
}
