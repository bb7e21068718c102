//! What Unix adds to [`process`](crate::process), with the names of [`std::os::unix::process`].
//!
//! # Examples
//!
//! ```
//! use corde::os::unix::process::ExitStatusExt;
//! use corde::process::Command;
//!
//! let status = Command::new("sh").args(["-c", "kill -TERM $$"]).status()?;
//! assert_eq!(status.signal(), Some(15));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as StdCommandExt;

use crate::process::Command;

pub use std::os::unix::process::{ExitStatusExt, parent_id};

/// What Unix adds to [`Command`]; as [`std::os::unix::process::CommandExt`].
///
/// Implemented for [`Command`] alone.
///
/// # Examples
///
/// ```
/// use corde::os::unix::process::CommandExt;
/// use corde::process::Command;
///
/// let mut child = Command::new("true").process_group(0).spawn()?;
/// assert!(child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait CommandExt: sealed::Sealed {
    /// Sets the user that the process runs as, by its number.
    ///
    /// [`spawn`](Command::spawn) fails, if this process may not do that. If it runs as root, the process has no supplementary groups.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::process::CommandExt;
    /// use corde::process::Command;
    ///
    /// let me = Command::new("id").arg("-u").output()?.stdout;
    /// let user = String::from_utf8_lossy(&me).trim().parse().unwrap();
    /// // Who one is one may become.
    /// assert!(Command::new("true").uid(user).status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn uid(&mut self, id: u32) -> &mut Command;

    /// Sets the group that the process runs as, by its number.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::process::CommandExt;
    /// use corde::process::Command;
    ///
    /// let ours = Command::new("id").arg("-g").output()?.stdout;
    /// let group = String::from_utf8_lossy(&ours).trim().parse().unwrap();
    /// assert!(Command::new("true").gid(group).status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn gid(&mut self, id: u32) -> &mut Command;

    /// Adds a closure that is run in the new process just before the program begins. An error of it is that of [`spawn`](Command::spawn).
    ///
    /// With such a closure the process is started by the calling OS thread, for a green thread by its worker, which does nothing else meanwhile. For
    /// what a closure asks of the system may count on that OS thread: on Linux, `PR_SET_PDEATHSIG` has the process killed when that thread
    /// ends, and threads of the blocking pool do so at any time. A start takes longer in this way, the longer the
    /// more memory this process has: 20 ms with 512 MiB. To have it done elsewhere, wrap it in [`thread::blocking`](crate::thread::blocking).
    ///
    /// # Safety
    ///
    /// As for [std](std::os::unix::process::CommandExt::pre_exec): the closure runs in a fork of this process, of which only the calling thread
    /// is there. It must not do what is not async-signal-safe: allocate, lock, panic; nor use corde.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::process::CommandExt;
    /// use corde::process::Command;
    ///
    /// let mut command = Command::new("true");
    /// // SAFETY: making an error from a number does not allocate.
    /// unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(7))) };
    /// assert_eq!(command.spawn().unwrap_err().raw_os_error(), Some(7));
    /// ```
    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static;

    /// Becomes the program: replaces this whole process, with all its threads, green or not. Returns only if that fails.
    ///
    /// No destructors run. As for std, what was set for the new process may then be in force for this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::process::CommandExt;
    ///
    /// let error = corde::process::Command::new("/no/such/program").exec();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    #[must_use]
    fn exec(&mut self) -> io::Error;

    /// Sets the zeroth argument, the name under which the program runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::process::CommandExt;
    ///
    /// let output = corde::process::Command::new("sh").arg0("alias").args(["-c", "echo $0"]).output()?;
    /// assert_eq!(output.stdout, b"alias\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn arg0<S>(&mut self, arg: S) -> &mut Command
    where
        S: AsRef<OsStr>;

    /// Sets the process group: 0 is a new one, of the number of the process. It gets no Ctrl-C of the terminal then.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::os::unix::process::CommandExt;
    ///
    /// let status = corde::process::Command::new("true").process_group(0).status()?;
    /// assert!(status.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn process_group(&mut self, pgroup: i32) -> &mut Command;
}

impl CommandExt for Command {
    fn uid(&mut self, id: u32) -> &mut Command {
        self.std_mut().uid(id);
        self
    }

    fn gid(&mut self, id: u32) -> &mut Command {
        self.std_mut().gid(id);
        self
    }

    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        self.set_hooked();
        // SAFETY: passed on.
        unsafe { self.std_mut().pre_exec(f) };
        self
    }

    fn exec(&mut self) -> io::Error {
        self.become_program()
    }

    fn arg0<S>(&mut self, arg: S) -> &mut Command
    where
        S: AsRef<OsStr>,
    {
        self.std_mut().arg0(arg);
        self
    }

    fn process_group(&mut self, pgroup: i32) -> &mut Command {
        self.std_mut().process_group(pgroup);
        self
    }
}

mod sealed {
    use crate::process::Command;

    #[doc(hidden)]
    pub trait Sealed {}

    impl Sealed for Command {}
}
