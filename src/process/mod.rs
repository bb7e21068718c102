//! Child processes, with the names and the manners of [`std::process`].
//!
//! Where std blocks the OS thread, this suspends the calling green thread: a program is started on an OS thread of the blocking pool, an end
//! is waited for, and pipes are read and written, as sockets are. A plain OS thread blocks as with std. What only
//! describes a process ([`Stdio`], [`ExitStatus`], [`Output`] and others) is std's own.
//!
//! As in std, a [`Child`] that is dropped goes on running, and one that has ended without having been waited for stays a *zombie*, an entry in
//! the system's table of processes, until this process ends. The same comes of a green thread that is cancelled, or runs out of time, in
//! [`Command::status`], [`Command::output`] or [`Child::wait_with_output`], for these own their child: where that may happen,
//! [`spawn`](Command::spawn) it and keep the [`Child`].
//!
//! Down from here: `child.rs` and `exit.rs` tell how an end is waited for.
//!
//! # Examples
//!
//! ```
//! use corde::process::{Command, Stdio};
//! use std::io::Write;
//!
//! corde::run(|| -> std::io::Result<()> {
//!     let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
//!     sort.stdin.take().unwrap().write_all(b"pear\napple\n")?;
//!     let output = sort.wait_with_output()?;
//!     assert!(output.status.success());
//!     assert_eq!(output.stdout, b"apple\npear\n");
//!     Ok(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod child;
mod command;
mod exit;
// libkqueue does not know descriptors of processes.
#[cfg(all(target_os = "linux", not(corde_kqueue)))]
mod pidfd;
#[cfg(any(not(target_os = "linux"), corde_kqueue))]
#[path = "no_pidfd.rs"]
mod pidfd;
mod pipe;

pub use child::Child;
pub use command::Command;
pub use pipe::{ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{
    CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id,
};
