//! Input and output, with the names and the manners of [`std::io`].
//!
//! What does not block is std's own: the traits, `BufReader`, `BufWriter`, `Cursor`, errors. So are all of them here, that `use corde::io` does for
//! `use std::io`. What would block the OS thread suspends the calling green thread instead; a plain OS thread blocks as with std.
//!
//! | you look for | read |
//! | --- | --- |
//! | standard input, output, error: [`stdin`], [`stdout`], [`stderr`] | `stdio/` |
//! | any file descriptor, with its own calls: [`Green`] | `green.rs` |
//! | waiting for a file descriptor, and nothing else: [`wait_readable`], [`wait_writable`] | `wait.rs` |
//! | anonymous pipes: [`pipe()`] | `pipe.rs` |
//! | [`copy`], [`copy_bidirectional`] | `copy.rs` |
//! | [`send_file`] | `send_file.rs` |
//! | sockets, files | [`net`](crate::net), [`fs`](crate::fs) |
//!
//! Std's `BufReader`, `BufWriter` and `LineWriter` work over everything here as they are:
//!
//! ```
//! use corde::io::{self, prelude::*, BufReader, BufWriter};
//!
//! corde::run(|| -> io::Result<()> {
//!     let (reader, writer) = io::pipe()?;
//!     let writing = corde::go!({
//!         let mut writer = BufWriter::new(writer);
//!         (1..=3).try_for_each(|number| writeln!(writer, "{number}"))
//!     });
//!     let lines: io::Result<Vec<_>> = BufReader::new(reader).lines().collect();
//!     assert_eq!(lines?, ["1", "2", "3"]);
//!     writing.join().unwrap()
//! })?;
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # Cancellation
//!
//! A call that waits is interrupted before it takes anything, and loses nothing. One that is made of several (`read_exact`, `read_to_end`, `write_all`,
//! `copy`, a `BufReader`'s `read_line`) may be interrupted between them; then what it has read so far is where it was
//! read to, if that is in reach, and what it has written is written. The lines of [`stdin`] are an exception: they are taken whole or not
//! at all.

mod copy;
mod green;
mod pipe;
mod send_file;
mod stdio;
pub(crate) mod sys;
mod wait;

pub use copy::{HalfClose, copy, copy_bidirectional};
pub use green::{Green, Interest};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use send_file::send_file;
pub use std::io::{
    BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind, IntoInnerError,
    IoSlice, IoSliceMut, LineWriter, Lines, Read, Repeat, Result, Seek, SeekFrom, Sink, Split,
    Take, Write, WriterPanicked, empty, prelude, read_to_string, repeat, sink,
};
pub use stdio::{
    IsTerminal, Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, stderr, stdin, stdout,
};
pub use wait::{wait_readable, wait_readable_timeout, wait_writable, wait_writable_timeout};
