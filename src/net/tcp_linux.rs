//! Options of TCP connections on Linux alone.

use std::io;

use socket2::SockRef;

use super::{Socket, TcpStream};

/// Options of TCP connections that only Linux has; as [`std::os::linux::net::TcpStreamExt`], which is stable since Rust 1.89.
///
/// # Examples
///
/// ```
/// use corde::net::{TcpListener, TcpStream};
/// use corde::os::linux::net::TcpStreamExt;
///
/// corde::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let stream = TcpStream::connect(listener.local_addr()?)?;
///     stream.set_quickack(true)?;
///     assert!(stream.quickack()?);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait TcpStreamExt: Socket {
    /// Sets `TCP_QUICKACK`: whether what arrives is acknowledged at once. Linux may change it back at any later operation.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    /// use corde::os::linux::net::TcpStreamExt;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_quickack(false)?;
    /// assert!(!stream.quickack()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn set_quickack(&self, quickack: bool) -> io::Result<()>;

    /// Returns the value of `TCP_QUICKACK`.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::{TcpListener, TcpStream};
    /// use corde::os::linux::net::TcpStreamExt;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_quickack(true)?;
    /// assert!(stream.quickack()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn quickack(&self) -> io::Result<bool>;
}

impl TcpStreamExt for TcpStream {
    fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        SockRef::from(self).set_tcp_quickack(quickack)
    }

    fn quickack(&self) -> io::Result<bool> {
        SockRef::from(self).tcp_quickack()
    }
}
