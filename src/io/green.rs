//! Any file descriptor, made green.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::sys::{self, View};
use super::wait::not_waited_for;
use crate::net::{Socket, sealed};
use crate::reactor::{Direction, Pollable, Source};

/// A file descriptor of any kind whose calls suspend the green thread where they would block: named pipes, terminals, inotify, timerfd, eventfd,
/// signalfd, character devices, sockets of protocols that std does not know.
///
/// [`Read`] and [`Write`] are `read(2)` and `write(2)`; any other call is made by [`with`](Green::with). All of them go through a reference, so any
/// number of threads may read and write at once, as far as the device makes sense of that. [`select!`](crate::select) can wait for it.
///
/// # The flag that others see
///
/// The descriptor is set to non-blocking. That flag belongs to the *open file*, which all duplicates of the descriptor share: those of
/// `dup` and `try_clone`, and those in other processes. A terminal that a shell has opened as the standard input, output and error of all of its
/// programs is one open file: setting the flag there makes calls fail that others make, also after this program has ended. Use
/// [`stdin`](super::stdin) and its like, [`wait_readable`](super::wait_readable), or open the terminal anew, as `/dev/tty`.
///
/// There may be several `Green`s for duplicates of a descriptor, and for the very same one (`Green<BorrowedFd>` makes that possible), which is duplicated
/// to be waited for twice. But the first of them that is [given up](Green::into_inner) may set it back to blocking for all.
///
/// # Examples
///
/// ```
/// use corde::io::{self, Green, Read};
/// use std::fs::File;
/// use std::time::Duration;
///
/// corde::run(|| -> io::Result<()> {
///     let mut zero = Green::new(File::open("/dev/zero")?)?;
///     let mut buffer = [1; 4];
///     zero.read_exact(&mut buffer)?;
///     assert_eq!(buffer, [0; 4]);
///     Ok(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub struct Green<T: AsFd> {
    source: Source<T>,
    /// Whether it was non-blocking already.
    was_nonblocking: bool,
}

/// What a call waits for.
///
/// # Examples
///
/// ```
/// assert_ne!(corde::io::Interest::Readable, corde::io::Interest::Writable);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Interest {
    /// That there is something to read.
    Readable,
    /// That there is room to write.
    Writable,
}

impl From<Interest> for Direction {
    fn from(interest: Interest) -> Direction {
        match interest {
            Interest::Readable => Direction::Read,
            Interest::Writable => Direction::Write,
        }
    }
}

impl<T: AsFd> Green<T> {
    /// Sets the descriptor of `inner` to non-blocking, and takes it over.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for files, directories and block devices: they never answer that they would block, but
    /// do. `corde::fs` reads and writes files.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, ErrorKind, Green};
    /// use std::fs::File;
    ///
    /// let file = File::open(std::env::current_exe()?)?;
    /// assert_eq!(Green::new(file).unwrap_err().kind(), ErrorKind::Unsupported);
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn new(inner: T) -> io::Result<Green<T>> {
        if sys::is_on_disk(sys::kind(inner.as_fd())?) {
            return Err(not_waited_for());
        }
        let was_nonblocking = sys::set_nonblocking(inner.as_fd(), true)?;
        Ok(Green {
            // Nobody knows what duplicates it has.
            source: Source::new_shared(inner),
            was_nonblocking,
        })
    }

    /// Returns what it was made of, for calls that do not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, Green};
    /// use std::fs::File;
    /// use std::os::unix::fs::FileTypeExt;
    ///
    /// let null = Green::new(File::open("/dev/null")?)?;
    /// assert!(null.get_ref().metadata()?.file_type().is_char_device());
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn get_ref(&self) -> &T {
        self.source.get()
    }

    /// Gives up what it was made of, set back to blocking, unless it was non-blocking before.
    ///
    /// Dropping it instead changes nothing: where the open file lives on, it stays non-blocking.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, Green, Read};
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let mut near = Green::new(near)?.into_inner();
    /// let writing = std::thread::spawn(move || far.write_all(b"x"));
    /// // Blocks, as it did before.
    /// assert_eq!(near.read(&mut [0])?, 1);
    /// writing.join().unwrap()?;
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn into_inner(self) -> T {
        let inner = self.source.into_inner();
        if !self.was_nonblocking {
            let set = sys::set_nonblocking(inner.as_fd(), false);
            set.expect("an open descriptor can be set to blocking");
        }
        inner
    }

    /// Makes any call on it: runs `call` until it does not answer [`WouldBlock`](io::ErrorKind::WouldBlock), waiting in between. As the `async_io` of
    /// Tokio's `AsyncFd`.
    ///
    /// `call` is to answer so only if the system did (`EAGAIN`), as it is run again only when the system reports that something has changed.
    ///
    /// # Errors
    ///
    /// Those of `call`, and of registering the descriptor.
    ///
    /// # Cancellation
    ///
    /// Strikes only while `call` is not running.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, Green, Interest};
    /// use std::net::UdpSocket;
    ///
    /// corde::run(|| -> io::Result<()> {
    ///     let near = Green::new(UdpSocket::bind("127.0.0.1:0")?)?;
    ///     let address = near.get_ref().local_addr()?;
    ///     let far = UdpSocket::bind("127.0.0.1:0")?;
    ///     corde::go!({ far.send_to(b"hello", address) });
    ///     let mut buffer = [0; 8];
    ///     let (len, _) = near.with(Interest::Readable, |socket| socket.recv_from(&mut buffer))?;
    ///     assert_eq!(&buffer[..len], b"hello");
    ///     Ok(())
    /// })?;
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn with<R>(
        &self,
        interest: Interest,
        call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.source.retry(interest.into(), call)
    }

    /// Waits until there is something to read, the end, or an error.
    ///
    /// # Errors
    ///
    /// Those of registering the descriptor.
    ///
    /// # Cancellation
    ///
    /// Takes nothing, so nothing is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, Green};
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    ///
    /// corde::run(|| -> io::Result<()> {
    ///     let (near, mut far) = UnixStream::pair()?;
    ///     let near = Green::new(near)?;
    ///     corde::go!({ far.write_all(b"x") });
    ///     near.wait_readable()
    /// })?;
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn wait_readable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Read, None)
    }

    /// Waits until there is room to write, or an error.
    ///
    /// # Errors
    ///
    /// Those of registering the descriptor.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, Green};
    ///
    /// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
    /// Green::new(near)?.wait_writable()?;
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn wait_writable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Write, None)
    }
}

impl<T: AsFd> Read for &Green<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.with(Interest::Readable, |fd| (&*View::new(fd.as_fd())).read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.with(Interest::Readable, |fd| {
            (&*View::new(fd.as_fd())).read_vectored(bufs)
        })
    }
}

impl<T: AsFd> Read for Green<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl<T: AsFd> Write for &Green<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.with(Interest::Writable, |fd| {
            (&*View::new(fd.as_fd())).write(buf)
        })
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(Interest::Writable, |fd| {
            (&*View::new(fd.as_fd())).write_vectored(bufs)
        })
    }

    /// Does nothing, as nothing is kept.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsFd> Write for Green<T> {
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

impl<T: AsFd> AsFd for Green<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd> AsRawFd for Green<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Green<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Green").field(self.get_ref()).finish()
    }
}

impl<T: AsFd> sealed::Sealed for Green<T> {
    #[allow(private_interfaces, reason = "nobody else can call it")]
    fn source(&self) -> &dyn Pollable {
        &self.source
    }
}

impl<T: AsFd> Socket for Green<T> {}
