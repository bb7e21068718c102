//! Standard input, output and error.
//!
//! # The descriptors stay as they are
//!
//! Descriptors 0, 1 and 2 are open files that this program shares with others: with the shell that has started it, with its neighbours in a
//! pipeline, with its children, with `println!`. Setting `O_NONBLOCK` would make calls of theirs fail, even after this program has
//! ended. So a call here (`shared.rs`)
//!
//! 1. asks the system not to wait in this one call (`preadv2` with `RWF_NOWAIT`; sockets, pipes since Linux 6.4, files whose pages are in
//!    memory), which is all that there is to most calls;
//! 2. if it would have to wait, waits for readiness as [`wait_readable`](super::wait_readable) does, and begins anew;
//! 3. where the system cannot do the first (terminals; pipes of older kernels; macOS, FreeBSD) waits, and then makes the plain call on
//!    an OS thread of the blocking pool: whoever is faster in taking what there was, or fills the pipe first, does not hold up a worker;
//! 4. and goes to the blocking pool at once with what cannot be waited for: files.
//!
//! Rejected: plain calls on the worker after a wait, as two programs may read one terminal, and a terminal that counts as writable may have room
//! for one byte; opening the file anew from `/proc/self/fd` to have flags of its own, as it then is another one than that which the program may
//! later put in its place by `dup2`, or close, and as it needs permissions that the program may have given up.
//!
//! # One standard output
//!
//! What `print!` leaves of a line is kept in std's buffer, which std writes at the exit of the program. There also goes what [`Stdout`] is given of
//! a line (`output.rs`), so both come out in the order in which they were made. Whole lines are written at once, after what is
//! in that buffer. So it is this program's own lines that are waited for on the green thread; what `print!` has left is written as `print!` does
//! it: if nobody reads, it blocks. So does `println!` itself, holding std's lock, which whoever writes here then waits for
//! on its OS thread: a program that expects slow readers of its output writes all of it here.
//!
//! Std's buffer takes 1,024 bytes. What is given here is counted, so that it does not overflow, as that would be written where it is.

mod input;
mod output;
mod reentrant;
mod shared;

use std::os::fd::AsFd;

pub use input::{Stdin, StdinLock, stdin};
pub use output::{Stderr, StderrLock, Stdout, StdoutLock, stderr, stdout};

/// Tells whether a descriptor is that of a terminal; as [`std::io::IsTerminal`], which nobody but std can implement.
///
/// # Examples
///
/// ```
/// use corde::io::{self, IsTerminal};
///
/// let (reader, _writer) = io::pipe()?;
/// assert!(!reader.is_terminal());
/// if io::stdout().is_terminal() {
///     println!("in colours");
/// }
/// # Ok::<(), io::Error>(())
/// ```
pub trait IsTerminal: AsFd {
    /// Returns true, if it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::io::IsTerminal;
    ///
    /// let null = std::fs::File::open("/dev/null")?;
    /// assert!(!null.is_terminal());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn is_terminal(&self) -> bool;
}

impl<T: AsFd + ?Sized> IsTerminal for T {
    fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&self.as_fd())
    }
}
