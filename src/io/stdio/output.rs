//! Standard output and standard error.
//!
//! Standard output is buffered by lines: whole ones are written at once, what follows is kept in std's own buffer (see the
//! module above). Its lock keeps other green threads out of a line; std's is never held while a green thread is suspended.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::reentrant::{Guard, Reentrant};
use super::shared::{self, descriptor, standard};
use crate::io::sys;
use crate::io::wait::until_ready;
use crate::reactor::Direction;
use crate::thread;

/// What std's buffer takes.
const CAPACITY: usize = 1024;

/// How much of what was written here std's buffer has at most. Changes under the lock of standard output.
static KEPT: AtomicUsize = AtomicUsize::new(0);

static OUTPUT: Reentrant = Reentrant::new();
static ERRORS: Reentrant = Reentrant::new();

/// Gives std's buffer the beginning of a line, which it has room for.
fn keep(text: &[u8]) -> io::Result<()> {
    if KEPT.load(Ordering::Relaxed) + text.len() >= CAPACITY {
        pass_on()?;
    }
    KEPT.fetch_add(text.len(), Ordering::Relaxed);
    io::stdout().write_all(text)
}

/// Has std's buffer written.
fn pass_on() -> io::Result<()> {
    let fd = standard(libc::STDOUT_FILENO);
    if KEPT.load(Ordering::Relaxed) == 0 {
        // What `print!` has left, if anything.
        return io::stdout().flush();
    }
    let waits = shared::can_be_waited_for(fd);
    // What is writable takes as much as the buffer, except for terminals.
    let has_room = sys::kind(fd).is_ok_and(|kind| kind.is_fifo() || kind.is_socket());
    loop {
        if waits {
            until_ready(fd, Direction::Write, None)?;
        }
        let flushed = match has_room {
            true => io::stdout().flush(),
            false => thread::blocking(|| io::stdout().flush()),
        };
        match flushed {
            // Somebody has set it to non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock && waits => {}
            Ok(()) => {
                KEPT.store(0, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn write_line_by_line(text: &[u8]) -> io::Result<usize> {
    let whole = text
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |last| last + 1);
    if whole == 0 && text.len() < CAPACITY {
        return keep(text).map(|()| text.len());
    }
    pass_on()?;
    let lines = if whole == 0 { text } else { &text[..whole] };
    let written = shared::write(standard(libc::STDOUT_FILENO), lines)?;
    let rest = &text[written..];
    if written == lines.len() && rest.len() < CAPACITY && keep(rest).is_ok() {
        return Ok(text.len());
    }
    Ok(written)
}

/// Puts the parts together first: a system call for each would tear lines.
fn write_formatted(writer: &mut impl Write, args: fmt::Arguments<'_>) -> io::Result<()> {
    if let Some(text) = args.as_str() {
        return writer.write_all(text.as_bytes());
    }
    let mut text = String::new();
    match text.write_fmt(args) {
        Ok(()) => writer.write_all(text.as_bytes()),
        Err(fmt::Error) => Err(io::Error::other("a formatting trait returned an error")),
    }
}

/// A stream: its handle, its lock, and what both share.
macro_rules! output {
    ($function:ident, $handle:ident, $lock:ident: $fd:path, $reentrant:ident, $write:path, $flush:path) => {
        #[doc = concat!("A handle to a standard stream of the process; as [`std::io::", stringify!($handle), "`]. See [`", stringify!($function), "`].")]
        ///
        /// # Examples
        ///
        /// ```
        /// use corde::io::{self, Write};
        ///
        #[doc = concat!("let handle: io::", stringify!($handle), " = io::", stringify!($function), "();")]
        /// writeln!(&handle, "from any thread")?;
        /// # Ok::<(), io::Error>(())
        /// ```
        pub struct $handle {
            lock: &'static Reentrant,
        }

        #[doc = concat!("[`", stringify!($handle), "`], locked; as [`std::io::", stringify!($lock), "`].")]
        ///
        /// Whoever waits for the lock is suspended. Std's macros and handles do not ask for it.
        ///
        /// # Examples
        ///
        /// ```
        /// use corde::io::{self, Write};
        ///
        #[doc = concat!("let mut locked: io::", stringify!($lock), " = io::", stringify!($function), "().lock();")]
        /// writeln!(locked, "nobody comes between")?;
        /// # Ok::<(), io::Error>(())
        /// ```
        #[must_use = "if unused it will immediately unlock"]
        pub struct $lock<'a> {
            _guard: Guard<'a>,
        }

        impl $handle {
            /// Locks the stream, suspending until it can be had. The thread that has it may lock it again.
            ///
            /// # Cancellation
            ///
            /// Who is interrupted while it waits has locked nothing.
            ///
            /// # Examples
            ///
            /// ```
            /// use corde::io::{self, Write};
            ///
            #[doc = concat!("let mut locked = io::", stringify!($function), "().lock();")]
            /// writeln!(locked, "two lines")?;
            /// writeln!(locked, "that stay together")?;
            /// # Ok::<(), io::Error>(())
            /// ```
            pub fn lock(&self) -> $lock<'static> {
                $lock {
                    _guard: self.lock.lock(),
                }
            }
        }

        impl Write for $lock<'_> {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                $write(buf)
            }

            fn flush(&mut self) -> io::Result<()> {
                $flush()
            }

            fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
                write_formatted(self, args)
            }
        }

        impl Write for &$handle {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.lock().write(buf)
            }

            fn flush(&mut self) -> io::Result<()> {
                self.lock().flush()
            }

            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                self.lock().write_all(buf)
            }

            fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
                self.lock().write_fmt(args)
            }
        }

        impl Write for $handle {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&*self).write(buf)
            }

            fn flush(&mut self) -> io::Result<()> {
                (&*self).flush()
            }

            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                (&*self).write_all(buf)
            }

            fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
                (&*self).write_fmt(args)
            }
        }

        /// For a child process, which inherits the stream.
        impl From<$handle> for Stdio {
            fn from(_: $handle) -> Stdio {
                io::$function().into()
            }
        }

        impl UnwindSafe for $handle {}
        impl RefUnwindSafe for $handle {}
        impl UnwindSafe for $lock<'_> {}
        impl RefUnwindSafe for $lock<'_> {}

        descriptor!($fd: $handle, $lock<'_>);
    };
}

output!(stdout, Stdout, StdoutLock: libc::STDOUT_FILENO, OUTPUT, write_line_by_line, pass_on);
output!(stderr, Stderr, StderrLock: libc::STDERR_FILENO, ERRORS, write_error, no_buffer);

/// Returns a handle to the standard output of the process; as [`std::io::stdout`], but writing to it suspends the green thread.
///
/// It is buffered by lines, in the same buffer as `print!`: what is written by both comes out in the order in which it was written, and what is
/// left in the buffer is written when the process exits. Its lock is not that of `println!`, though. The descriptor itself is not changed, so
/// programs that have it as well are not disturbed.
///
/// `println!` and std's own handle work as well, but block the worker when nobody takes what is written.
///
/// # Cancellation
///
/// A write that is interrupted has written nothing; a `write_all`, `write!` or `writeln!` of more than fits may have written a part.
///
/// # Examples
///
/// ```
/// use corde::io::{self, Write};
///
/// corde::run(|| writeln!(io::stdout(), "Hello, {}!", "world"))?;
/// # Ok::<(), io::Error>(())
/// ```
#[must_use]
pub fn stdout() -> Stdout {
    Stdout { lock: &OUTPUT }
}

/// Returns a handle to the standard error of the process; as [`std::io::stderr`], but writing to it suspends the green thread.
///
/// It is not buffered; but what one `write!` puts together is written at once, where std's makes a system call for each of the parts.
///
/// # Cancellation
///
/// As that of [`stdout`].
///
/// # Examples
///
/// ```
/// use corde::io::{self, Write};
///
/// corde::run(|| writeln!(io::stderr(), "{} apples are missing", 3))?;
/// # Ok::<(), io::Error>(())
/// ```
#[must_use]
pub fn stderr() -> Stderr {
    Stderr { lock: &ERRORS }
}

fn write_error(text: &[u8]) -> io::Result<usize> {
    shared::write(standard(libc::STDERR_FILENO), text)
}

fn no_buffer() -> io::Result<()> {
    Ok(())
}
