//! Anonymous pipes.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use super::sys::{self, View};
use crate::net::{Socket, sealed};
use crate::reactor::{Direction, Pollable, Source};

/// Makes an anonymous pipe: what is written to one end can be read from the other; as [`std::io::pipe`].
///
/// Both ends are closed on exec. A child process gets an end as its standard input, output or error by [`Stdio::from`].
///
/// # Errors
///
/// Those of the system, when it has no further file descriptor.
///
/// # Examples
///
/// ```
/// use corde::io::{self, Read, Write};
///
/// corde::run(|| -> io::Result<()> {
///     let (mut reader, mut writer) = io::pipe()?;
///     let writing = corde::go!({ writer.write_all(b"through the pipe") });
///     let mut text = String::new();
///     // To the end: until all handles to the writing end are gone.
///     reader.read_to_string(&mut text)?;
///     assert_eq!(text, "through the pipe");
///     writing.join().unwrap()
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = sys::pipe()?;
    sys::set_nonblocking(reader.as_fd(), true)?;
    sys::set_nonblocking(writer.as_fd(), true)?;
    let reader = PipeReader {
        source: Source::new(reader),
        is_stream: true,
    };
    let source = Source::new(writer);
    Ok((reader, PipeWriter { source }))
}

/// The reading end of a pipe; as [`std::io::PipeReader`].
///
/// Reading suspends a green thread until there is something to read, or nobody is left who could write. [`Read`] is implemented for it and for a
/// reference to it.
///
/// # Cancellation
///
/// A read that is interrupted while it waits has taken nothing.
///
/// # Examples
///
/// ```
/// use corde::io::{self, Read, Write};
///
/// let (mut reader, mut writer) = io::pipe()?;
/// writer.write_all(b"12")?;
/// let mut buffer = [0; 8];
/// assert_eq!(reader.read(&mut buffer)?, 2);
/// drop(writer);
/// assert_eq!(reader.read(&mut buffer)?, 0);
/// # Ok::<(), io::Error>(())
/// ```
pub struct PipeReader {
    source: Source<OwnedFd>,
    /// A read gets all that there is: it is not a pipe of packets.
    is_stream: bool,
}

/// The writing end of a pipe; as [`std::io::PipeWriter`].
///
/// Writing suspends a green thread until there is room. [`Write`] is implemented for it and for a reference to it.
///
/// # Cancellation
///
/// A write that is interrupted while it waits has written nothing.
///
/// # Examples
///
/// ```
/// use corde::io::{self, ErrorKind, Write};
///
/// let (reader, mut writer) = io::pipe()?;
/// drop(reader);
/// let error = writer.write_all(b"to nobody").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::BrokenPipe);
/// # Ok::<(), io::Error>(())
/// ```
pub struct PipeWriter {
    source: Source<OwnedFd>,
}

impl PipeReader {
    /// Makes a second handle to the same end: what one of them reads the other does not get.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, Read, Write};
    ///
    /// let (mut reader, mut writer) = io::pipe()?;
    /// let mut second = reader.try_clone()?;
    /// writer.write_all(b"ab")?;
    /// let mut letter = [0];
    /// reader.read_exact(&mut letter)?;
    /// assert_eq!(&letter, b"a");
    /// second.read_exact(&mut letter)?;
    /// assert_eq!(&letter, b"b");
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        Ok(PipeReader {
            source: self.source.try_clone(OwnedFd::try_clone)?,
            is_stream: self.is_stream,
        })
    }
}

impl PipeWriter {
    /// Makes a second handle to the same end; readers come to the end of the pipe when both are gone.
    ///
    /// # Errors
    ///
    /// Those of the system, when it has no further file descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::{self, Read, Write};
    ///
    /// let (mut reader, mut writer) = io::pipe()?;
    /// let mut second = writer.try_clone()?;
    /// writer.write_all(b"a")?;
    /// second.write_all(b"b")?;
    /// drop((writer, second));
    /// assert_eq!(io::read_to_string(&mut reader)?, "ab");
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        Ok(PipeWriter {
            source: self.source.try_clone(OwnedFd::try_clone)?,
        })
    }
}

impl Read for &PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = buf.len();
        self.read_by(wanted, |fd| (&*View::new(fd)).read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        self.read_by(wanted, |fd| (&*View::new(fd)).read_vectored(bufs))
    }
}

impl PipeReader {
    fn read_by(
        &self,
        wanted: usize,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self.is_stream {
            true => self.source.read_stream(wanted, |fd| read(fd.as_fd())),
            false => self.source.retry(Direction::Read, |fd| read(fd.as_fd())),
        }
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for &PipeWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let write = |fd: &OwnedFd| (&*View::new(fd.as_fd())).write(buf);
        self.source.retry(Direction::Write, write)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let write = |fd: &OwnedFd| (&*View::new(fd.as_fd())).write_vectored(bufs);
        self.source.retry(Direction::Write, write)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for PipeWriter {
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

/// Sets a descriptor to non-blocking that somebody has handed over.
fn adopt(fd: OwnedFd) -> Source<OwnedFd> {
    // Nothing but a descriptor that is not open refuses, and this one is.
    let set = sys::set_nonblocking(fd.as_fd(), true);
    set.expect("an open descriptor can be set to non-blocking");
    Source::new_shared(fd)
}

impl From<OwnedFd> for PipeReader {
    fn from(fd: OwnedFd) -> PipeReader {
        PipeReader {
            source: adopt(fd),
            is_stream: false,
        }
    }
}

impl From<OwnedFd> for PipeWriter {
    fn from(fd: OwnedFd) -> PipeWriter {
        PipeWriter { source: adopt(fd) }
    }
}

/// What both ends share: conversions, file descriptors, `Debug`, `select!`.
macro_rules! end_of_pipe {
    ($end:ident) => {
        /// Gives the descriptor up, set back to blocking, as std's is: so should be all handles to this end, as others would block a worker.
        impl From<$end> for OwnedFd {
            fn from(end: $end) -> OwnedFd {
                let fd = end.source.into_inner();
                let set = sys::set_nonblocking(fd.as_fd(), false);
                set.expect("an open descriptor can be set to blocking");
                fd
            }
        }

        /// For a child process, which gets the end as std would hand it over: blocking.
        impl From<$end> for Stdio {
            fn from(end: $end) -> Stdio {
                OwnedFd::from(end).into()
            }
        }

        impl AsFd for $end {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.source.get().as_fd()
            }
        }

        impl AsRawFd for $end {
            fn as_raw_fd(&self) -> RawFd {
                self.source.get().as_raw_fd()
            }
        }

        impl IntoRawFd for $end {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl FromRawFd for $end {
            unsafe fn from_raw_fd(fd: RawFd) -> $end {
                // SAFETY: the caller's promise.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }

        impl fmt::Debug for $end {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($end))
                    .field(self.source.get())
                    .finish()
            }
        }

        impl sealed::Sealed for $end {
            #[allow(private_interfaces, reason = "nobody else can call it")]
            fn source(&self) -> &dyn Pollable {
                &self.source
            }
        }

        impl Socket for $end {}
    };
}

end_of_pipe!(PipeReader);
end_of_pipe!(PipeWriter);
