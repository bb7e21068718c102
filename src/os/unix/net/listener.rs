//! `UnixListener`.

use std::io;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use super::{UnixStream, sys};
use crate::net::receive::receive;
use crate::net::socket::like_std;
use crate::net::tcp::uninterrupted;
use crate::reactor::Source;

/// A Unix domain socket that accepts connections; as [`std::os::unix::net::UnixListener`].
///
/// # Examples
///
/// An echo server, a green thread for each connection:
///
/// ```
/// use std::io::{Read, Write};
/// use corde::net::Shutdown;
/// use corde::os::unix::net::{UnixListener, UnixStream};
///
/// # let directory = std::env::temp_dir().join(format!("corde-doc-listener-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let path = directory.join("socket");
/// corde::run(|| -> std::io::Result<()> {
///     let listener = UnixListener::bind(&path)?;
///     corde::go!({
///         for stream in &listener {
///             let stream = stream?;
///             corde::go!({ std::io::copy(&mut &stream, &mut &stream) });
///         }
///         std::io::Result::Ok(())
///     });
///     let mut stream = UnixStream::connect(&path)?;
///     stream.write_all(b"echo")?;
///     stream.shutdown(Shutdown::Write)?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer)?;
///     assert_eq!(answer, "echo");
///     Ok(())
/// })?;
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    source: Source<net::UnixListener>,
}

impl UnixListener {
    /// Makes a socket that listens, and the file `path` for it, which stays when the listener is gone.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), if there is such a file; [`InvalidInput`](io::ErrorKind::InvalidInput), if the path is too long (108 bytes on
    /// Linux, 104 elsewhere) or has a zero in it; others of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixListener;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-bind-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        net::UnixListener::bind(path).map(UnixListener::from)
    }

    /// Like [`bind`](UnixListener::bind), to an address, which may be one without a file.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](UnixListener::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::{SocketAddr, UnixListener};
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-bind_addr-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let address = SocketAddr::from_pathname(directory.join("socket"))?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), address.as_pathname());
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        net::UnixListener::bind_addr(address).map(UnixListener::from)
    }

    /// Accepts a connection; suspends until there is one. A thread that is cancelled meanwhile has accepted none.
    ///
    /// # Errors
    ///
    /// Those of the system. One that has run out of file descriptors (`EMFILE`, `ENFILE`) leaves the connection in the queue: it can be accepted
    /// when some are closed, so a server that goes on should pause before it tries again.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::{UnixListener, UnixStream};
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-accept-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let listener = UnixListener::bind(&path)?;
    /// let _client = UnixStream::connect(&path)?;
    /// let (_stream, address) = listener.accept()?;
    /// assert!(address.is_unnamed());
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let accept = |listener: &net::UnixListener| uninterrupted(|| sys::accept(listener));
        let ended = || Err(io::Error::from_raw_os_error(libc::EINVAL));
        let (stream, address) = receive(&self.source, accept, ended)?;
        Ok((UnixStream::from_nonblocking(stream), address))
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
    /// use corde::os::unix::net::{UnixListener, UnixStream};
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-listener_clone-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let listener = UnixListener::bind(&path)?;
    /// let _client = UnixStream::connect(&path)?;
    /// listener.try_clone()?.accept()?;
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<UnixListener> {
        let source = self.source.try_clone(net::UnixListener::try_clone)?;
        Ok(UnixListener { source })
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::UnixListener;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-listener_addr-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
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
    /// use corde::os::unix::net::UnixListener;
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-listener_error-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let listener = UnixListener::bind(&path)?;
    /// assert!(listener.take_error()?.is_none());
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }

    /// Returns an iterator over the connections that come in; it never ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::net::{UnixListener, UnixStream};
    ///
    /// # let directory = std::env::temp_dir().join(format!("corde-doc-incoming-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("socket");
    /// let listener = UnixListener::bind(&path)?;
    /// let _client = UnixStream::connect(&path)?;
    /// for stream in listener.incoming().take(1) {
    ///     assert!(stream?.local_addr()?.as_pathname() == Some(&*path));
    /// }
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }
}

/// An iterator over the connections of a [`UnixListener`]; see [`incoming`](UnixListener::incoming).
///
/// # Examples
///
/// ```
/// use corde::os::unix::net::{Incoming, UnixListener, UnixStream};
///
/// fn first(mut incoming: Incoming<'_>) -> std::io::Result<UnixStream> {
///     incoming.next().expect("it never ends")
/// }
///
/// # let directory = std::env::temp_dir().join(format!("corde-doc-first-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let path = directory.join("socket");
/// let listener = UnixListener::bind(&path)?;
/// let _client = UnixStream::connect(&path)?;
/// first(listener.incoming())?;
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

like_std!(UnixListener, net::UnixListener);
