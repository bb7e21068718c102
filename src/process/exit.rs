//! Waiting for the end of a child.
//!
//! What is waited for is a descriptor: a pidfd where there is one, or else that of a listener to `SIGCHLD`. When it is readable the system is
//! asked with `waitpid` and `WNOHANG`, by std. So a wait can be left, by a timeout or a cancellation, and nothing is lost; no thread
//! stays behind.
//!
//! # Why no end is missed
//!
//! Both descriptors are there before the child is asked for. A pidfd becomes readable at the end of the child, and stays so. Of the signals the
//! listener remembers one that came before it was waited for. Signals that come close together are one; but each
//! listener is told, and asks for its own child.
//!
//! # Rejected
//!
//! - **`waitid` in the blocking pool**: takes an OS thread for each child, for as long as it runs, also when nobody waits any more.
//! - **Signals alone**: each end would wake all that wait for a child.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Instant;

use super::pidfd;
use crate::reactor::{Direction, Source};
use crate::signal::{SignalKind, Signals};

/// What tells of the end of one child.
pub(super) enum Exit {
    Pidfd(Source<OwnedFd>),
    Signals(Signals),
}

// As for std's children: who is listed as waiting is struck off when it unwinds.
impl UnwindSafe for Exit {}
impl RefUnwindSafe for Exit {}

impl Exit {
    /// # Errors
    /// When the system has no further file descriptor, or the child has been waited for by somebody else.
    pub(super) fn of(child: u32) -> io::Result<Exit> {
        match pidfd::open(child)? {
            Some(pidfd) => Ok(Exit::Pidfd(Source::new(pidfd))),
            None => Ok(Exit::Signals(Signals::new([SignalKind::child()])?)),
        }
    }

    /// Calls `ask` until it has an answer, waiting in between for what may change it.
    ///
    /// # Errors
    /// Those of `ask`; [`TimedOut`](io::ErrorKind::TimedOut) when the deadline has passed.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut ask: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let mut attempt = || ask()?.ok_or_else(|| io::ErrorKind::WouldBlock.into());
        match self {
            Exit::Pidfd(source) => source.retry_until(deadline, Direction::Read, |_| attempt()),
            Exit::Signals(signals) => signals.retry_until(deadline, attempt),
        }
    }
}
