//! A child process.

use std::fmt;
use std::io::{self, Read};
use std::process::{self, ExitStatus, Output};
use std::time::{Duration, Instant};

use super::exit::Exit;
use super::pipe::State;
use super::{ChildStderr, ChildStdin, ChildStdout};
use crate::runtime::worker;

/// A child process that was [started](super::Command::spawn); as [`std::process::Child`].
///
/// As in std, dropping it does nothing to the process: that goes on, and if nobody waits for it, it stays a zombie when it has
/// ended (see [the module](super)). One that was started by std becomes a green one by `Child::from`.
///
/// # Examples
///
/// ```
/// use corde::process::{Child, Command};
///
/// let mut child: Child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// assert_eq!(child.wait()?.code(), Some(3));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Child {
    /// The pipe to its standard input, if that was [captured](super::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The pipe from its standard output, if that was [captured](super::Stdio::piped).
    pub stdout: Option<ChildStdout>,
    /// The pipe from its standard error, if that was [captured](super::Stdio::piped).
    pub stderr: Option<ChildStderr>,
    /// Without pipes.
    inner: process::Child,
    /// From the first wait that has to wait until the end.
    exit: Option<Exit>,
}

impl Child {
    /// Kills the process; [`Ok`] also, if it has ended and was waited for.
    ///
    /// It stays a zombie until it has been [waited](Child::wait) for.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// let mut child = Command::new("sleep").arg("600").spawn()?;
    /// child.kill()?;
    /// assert_eq!(child.wait()?.signal(), Some(9));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill(&mut self) -> io::Result<()> {
        self.inner.kill()
    }

    /// Returns the number of the process.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// assert_ne!(child.id(), corde::process::id());
    /// child.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Waits for the end of the process, and returns how it ended; at once, and the same, when that is known already.
    ///
    /// As in std, its [`stdin`](Child::stdin) is closed first, lest both wait for each other.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost, but for `stdin`: the child can be waited for again.
    ///
    /// # Platform-specific behavior
    ///
    /// On Linux from 5.3 on it waits for a file descriptor of the process, which is closed when the process has ended. Elsewhere
    /// it listens to `SIGCHLD` (see [`signal`](crate::signal)), which has to be unblocked in some thread, and takes two descriptors while it waits.
    ///
    /// # Errors
    ///
    /// Those of the system: `EMFILE` or `ENFILE`, if it has no further file descriptor, in which case the process can be waited for again; `ECHILD`, if
    /// somebody else has waited for it, or `SIGCHLD` is ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let mut child = Command::new("sleep").arg("0.01").spawn()?;
    ///     assert!(child.wait()?.success());
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.wait_until(None)
    }

    /// Like [`wait`](Child::wait), for `timeout` at most: none, if the process has not ended by then.
    ///
    /// std has no such method; the crate `wait-timeout` gives it this one.
    ///
    /// # Cancellation
    ///
    /// As [`wait`](Child::wait).
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    /// use corde::time::Duration;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let mut child = Command::new("sleep").arg("600").spawn()?;
    ///     let status = match child.wait_timeout(Duration::from_millis(5))? {
    ///         Some(status) => status,
    ///         None => {
    ///             child.kill()?;
    ///             child.wait()?
    ///         }
    ///     };
    ///     assert!(!status.success());
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        // A time so far off that there is no word for it does not come.
        match self.wait_until(Instant::now().checked_add(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            done => done.map(Some),
        }
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        worker::spend();
        let status = match self.inner.try_wait()? {
            Some(status) => status,
            None => self.wait_for_exit(deadline)?,
        };
        self.exit = None;
        Ok(status)
    }

    fn wait_for_exit(&mut self, deadline: Option<Instant>) -> io::Result<ExitStatus> {
        let exit = match &self.exit {
            Some(exit) => exit,
            None => match Exit::of(self.inner.id()) {
                Ok(exit) => self.exit.insert(exit),
                // Who has lost it to somebody else is to hear so from `waitpid`.
                Err(error) => return self.inner.try_wait()?.ok_or(error),
            },
        };
        let inner = &mut self.inner;
        exit.wait(deadline, || inner.try_wait())
    }

    /// Returns how the process ended; none, if it has not. Does not wait, and does not close [`stdin`](Child::stdin).
    ///
    /// # Errors
    ///
    /// Those of the system: `ECHILD`, if somebody else has waited for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::{Command, Stdio};
    ///
    /// let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn()?;
    /// assert!(cat.try_wait()?.is_none());
    /// let status = cat.wait()?;
    /// assert_eq!(cat.try_wait()?, Some(status));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.inner.try_wait()
    }

    /// Waits for the end of the process, and returns that with all that it has written to those pipes which are there still.
    ///
    /// As in std, its [`stdin`](Child::stdin) is closed first. Both pipes are read as they fill, by the calling thread.
    ///
    /// # Cancellation
    ///
    /// The process goes on, without anybody to wait for it; what has been read is lost.
    ///
    /// # Errors
    ///
    /// Those of reading and of [`wait`](Child::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::{Command, Stdio};
    ///
    /// let child = Command::new("sh")
    ///     .args(["-c", "echo out; echo err >&2; exit 1"])
    ///     .stdout(Stdio::piped())
    ///     .stderr(Stdio::piped())
    ///     .spawn()?;
    /// let output = child.wait_with_output()?;
    /// assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
    /// assert_eq!(output.status.code(), Some(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        match (self.stdout.take(), self.stderr.take()) {
            (Some(out), Some(err)) => read_both(out, err, &mut stdout, &mut stderr)?,
            (out, err) => {
                if let Some(mut out) = out {
                    out.read_to_end(&mut stdout)?;
                }
                if let Some(mut err) = err {
                    err.read_to_end(&mut stderr)?;
                }
            }
        }
        let status = self.wait()?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

/// Reads both pipes to their end, whichever has something.
fn read_both(
    mut out: ChildStdout,
    mut err: ChildStderr,
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> io::Result<()> {
    loop {
        worker::spend();
        match (out.read_available(stdout)?, err.read_available(stderr)?) {
            (State::Ended, _) => return err.read_to_end(stderr).map(drop),
            (_, State::Ended) => return out.read_to_end(stdout).map(drop),
            (State::Empty, State::Empty) => crate::select! {
                readable(out) => {}
                readable(err) => {}
            },
            _ => {}
        }
    }
}

/// Takes over a child that std has started, with its pipes, which are set to non-blocking.
impl From<process::Child> for Child {
    fn from(mut inner: process::Child) -> Child {
        Child {
            stdin: inner.stdin.take().map(ChildStdin::from),
            stdout: inner.stdout.take().map(ChildStdout::from),
            stderr: inner.stderr.take().map(ChildStderr::from),
            inner,
            exit: None,
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}
