//! The ends of the pipes to a child.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::{self, Stdio};

use socket2::SockRef;

use crate::net::{self, sealed};
use crate::reactor::{Direction, Pollable, Source};

/// A handle to a child's standard input; as [`std::process::ChildStdin`].
///
/// Dropping it closes the pipe: the child reads the end of its input.
///
/// Writing suspends while the pipe is full. A cancellation strikes before anything has been written. A write of more than there is room for
/// writes a part, as with sockets; [`write_all`](Write::write_all) goes on. [`select!`](crate::select) can wait for it by `writable`.
///
/// It is made from an [`OwnedFd`], too, of a pipe or anything else that can be waited for. That is set to non-blocking, with all
/// duplicates of its descriptor; and back to blocking, when it is turned into an `OwnedFd`, a [`Stdio`] or std's type.
///
/// # Examples
///
/// ```
/// use corde::process::{ChildStdin, Command, Stdio};
/// use std::io::Write;
///
/// let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut stdin: ChildStdin = cat.stdin.take().unwrap();
/// stdin.write_all(b"through the pipe")?;
/// drop(stdin);
/// assert_eq!(cat.wait_with_output()?.stdout, b"through the pipe");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ChildStdin {
    source: Source<File>,
}

/// A handle to a child's standard output; as [`std::process::ChildStdout`].
///
/// Reading suspends until there is something, or no process has the other end open any more. A cancellation strikes before anything has been
/// read. [`select!`](crate::select) can wait for it by `readable`. From and to an [`OwnedFd`] and a [`Stdio`] as [`ChildStdin`].
///
/// # Examples
///
/// ```
/// use corde::process::{ChildStdout, Command, Stdio};
/// use std::io::{BufRead, BufReader};
///
/// let mut child = Command::new("echo").arg("a line").stdout(Stdio::piped()).spawn()?;
/// let stdout: ChildStdout = child.stdout.take().unwrap();
/// let lines: Vec<String> = BufReader::new(stdout).lines().collect::<Result<_, _>>()?;
/// assert_eq!(lines, ["a line"]);
/// child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Into another child:
///
/// ```
/// use corde::process::{Command, Stdio};
///
/// let mut echo = Command::new("echo").arg("a b c").stdout(Stdio::piped()).spawn()?;
/// let count = Command::new("wc").arg("-w").stdin(echo.stdout.take().unwrap()).output()?;
/// assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), "3");
/// echo.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ChildStdout {
    source: Source<File>,
}

/// A handle to a child's standard error; as [`std::process::ChildStderr`].
///
/// What is told of [`ChildStdout`] holds for it.
///
/// # Examples
///
/// ```
/// use corde::process::{ChildStderr, Command, Stdio};
/// use std::io::Read;
///
/// let mut child = Command::new("sh").args(["-c", "echo oh >&2"]).stderr(Stdio::piped()).spawn()?;
/// let mut stderr: ChildStderr = child.stderr.take().unwrap();
/// let mut text = String::new();
/// stderr.read_to_string(&mut text)?;
/// assert_eq!(text, "oh\n");
/// child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ChildStderr {
    source: Source<File>,
}

/// What a pipe has come to.
pub(super) enum State {
    /// There may be more to read.
    More,
    /// There is nothing at present.
    Empty,
    /// There will not be anything.
    Ended,
}

/// The most that is read without a look at other pipes and threads.
const TURN: u64 = 256 * 1024;

/// Reads what there is, up to a limit, without waiting.
fn read_available(source: &Source<File>, bytes: &mut Vec<u8>) -> io::Result<State> {
    // `Take` leaves out what `File` asks for first: its size, which a pipe has not.
    match source.get().take(TURN).read_to_end(bytes) {
        Ok(count) if count as u64 == TURN => Ok(State::More),
        Ok(_) => Ok(State::Ended),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(State::Empty),
        Err(error) => Err(error),
    }
}

fn set_nonblocking(fd: &File, nonblocking: bool) {
    // It is `fcntl`, which does the same for pipes as for sockets.
    let set = SockRef::from(fd).set_nonblocking(nonblocking);
    set.expect("an open pipe can be set to blocking and to non-blocking");
}

/// What all of them are.
macro_rules! pipe {
    ($Pipe:ident) => {
        impl From<process::$Pipe> for $Pipe {
            fn from(pipe: process::$Pipe) -> $Pipe {
                OwnedFd::from(pipe).into()
            }
        }

        impl From<OwnedFd> for $Pipe {
            fn from(fd: OwnedFd) -> $Pipe {
                let file = File::from(fd);
                set_nonblocking(&file, true);
                let source = Source::new(file);
                $Pipe { source }
            }
        }

        /// Gives the descriptor up, set back to blocking.
        impl From<$Pipe> for OwnedFd {
            fn from(pipe: $Pipe) -> OwnedFd {
                let file = pipe.source.into_inner();
                set_nonblocking(&file, false);
                file.into()
            }
        }

        /// Gives the pipe up to std, set back to blocking.
        impl From<$Pipe> for process::$Pipe {
            fn from(pipe: $Pipe) -> process::$Pipe {
                OwnedFd::from(pipe).into()
            }
        }

        /// Gives the pipe up to another child, set back to blocking.
        impl From<$Pipe> for Stdio {
            fn from(pipe: $Pipe) -> Stdio {
                OwnedFd::from(pipe).into()
            }
        }

        impl AsFd for $Pipe {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.source.get().as_fd()
            }
        }

        impl AsRawFd for $Pipe {
            fn as_raw_fd(&self) -> RawFd {
                self.source.get().as_raw_fd()
            }
        }

        /// Gives the descriptor up, set back to blocking.
        impl IntoRawFd for $Pipe {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl fmt::Debug for $Pipe {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Pipe)).finish_non_exhaustive()
            }
        }

        impl sealed::Sealed for $Pipe {
            #[allow(private_interfaces, reason = "nobody else can call it")]
            fn source(&self) -> &dyn Pollable {
                &self.source
            }
        }

        impl net::Socket for $Pipe {}

        // As for std's: who is listed as waiting is struck off when it unwinds.
        impl UnwindSafe for $Pipe {}
        impl RefUnwindSafe for $Pipe {}
    };
}

pipe!(ChildStdin);
pipe!(ChildStdout);
pipe!(ChildStderr);

impl Write for ChildStdin {
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

impl Write for &ChildStdin {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Write, |mut pipe| pipe.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.source
            .retry(Direction::Write, |mut pipe| pipe.write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the two are that are read.
macro_rules! readable {
    ($Pipe:ident) => {
        impl $Pipe {
            /// Reads what there is without waiting.
            pub(super) fn read_available(&self, bytes: &mut Vec<u8>) -> io::Result<State> {
                read_available(&self.source, bytes)
            }
        }

        impl Read for $Pipe {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }

        // Not `Source::read_stream`: what was made from another descriptor, a terminal perhaps, may give less than it has.
        impl Read for &$Pipe {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.source
                    .retry(Direction::Read, |mut pipe| pipe.read(buf))
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.source
                    .retry(Direction::Read, |mut pipe| pipe.read_vectored(bufs))
            }
        }
    };
}

readable!(ChildStdout);
readable!(ChildStderr);
