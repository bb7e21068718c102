//! How a process is to be started.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

use super::Child;
use crate::reactor::sys;
use crate::runtime::worker;
use crate::thread::{blocking, yield_now};

/// A process builder; as [`std::process::Command`].
///
/// What Unix adds to it is in the trait [`CommandExt`](crate::os::unix::process::CommandExt).
///
/// # Examples
///
/// ```
/// use corde::process::Command;
///
/// corde::run(|| -> std::io::Result<()> {
///     let output = Command::new("sh").args(["-c", "echo hello"]).output()?;
///     assert_eq!(output.stdout, b"hello\n");
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Command {
    inner: process::Command,
    chosen: Chosen,
    /// There are closures to be run between `fork` and `exec`.
    hooked: bool,
}

/// The standard streams that the user has chosen something for, which `output` leaves as they are.
#[derive(Clone, Copy, Default)]
struct Chosen {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Command {
    /// Makes a builder for `program`, without arguments, with the environment, the working directory and the standard streams of this process.
    ///
    /// A name without a slash is looked for in `PATH`.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// assert!(Command::new("true").status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new<S: AsRef<OsStr>>(program: S) -> Command {
        Command {
            inner: process::Command::new(program),
            chosen: Chosen::default(),
            hooked: false,
        }
    }

    /// Adds an argument. It is one, whatever is in it: no shell takes it apart.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("echo").arg("two  words; and more").output()?;
    /// assert_eq!(output.stdout, b"two  words; and more\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("echo").args(["a", "b"]).output()?;
    /// assert_eq!(output.stdout, b"a b\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn args<I, S>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("sh").args(["-c", "echo $COLOR"]).env("COLOR", "red").output()?;
    /// assert_eq!(output.stdout, b"red\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn env<K, V>(&mut self, key: K, val: V) -> &mut Command
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.env(key, val);
        self
    }

    /// Sets variables of the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("sh").args(["-c", "echo $A$B"]).envs([("A", "1"), ("B", "2")]).output()?;
    /// assert_eq!(output.stdout, b"12\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(vars);
        self
    }

    /// Takes a variable out of the environment, set or inherited.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("sh").args(["-c", "echo [$HOME]"]).env_remove("HOME").output()?;
    /// assert_eq!(output.stdout, b"[]\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Command {
        self.inner.env_remove(key);
        self
    }

    /// Takes all variables out of the environment, set or inherited.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("/usr/bin/env").env_clear().env("ONLY", "this").output()?;
    /// assert_eq!(output.stdout, b"ONLY=this\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// Sets the working directory.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("pwd").current_dir("/").output()?;
    /// assert_eq!(output.stdout, b"/\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn current_dir<P: AsRef<Path>>(&mut self, dir: P) -> &mut Command {
        self.inner.current_dir(dir);
        self
    }

    /// Sets the standard input: inherited, if it is not set; but empty for [`output`](Command::output).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::{Command, Stdio};
    ///
    /// assert!(Command::new("cat").stdin(Stdio::null()).status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stdin<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Command {
        self.inner.stdin(cfg);
        self.chosen.stdin = true;
        self
    }

    /// Sets the standard output: inherited, if it is not set; but captured by [`output`](Command::output).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::{Command, Stdio};
    ///
    /// assert!(Command::new("echo").arg("unseen").stdout(Stdio::null()).status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stdout<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Command {
        self.inner.stdout(cfg);
        self.chosen.stdout = true;
        self
    }

    /// Sets the standard error: inherited, if it is not set; but captured by [`output`](Command::output).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::{Command, Stdio};
    ///
    /// assert!(!Command::new("mkdir").arg("/").stderr(Stdio::null()).status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stderr<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Command {
        self.inner.stderr(cfg);
        self.chosen.stderr = true;
        self
    }

    /// Starts the process, and returns a handle to it.
    ///
    /// std returns when the new program has begun, which takes some 100 us, and more on a busy machine or a slow file system. The calling green
    /// thread is suspended meanwhile: an OS thread of the blocking pool does it (see [`thread::blocking`](crate::thread::blocking)). Not so with
    /// [`pre_exec`](crate::os::unix::process::CommandExt::pre_exec), which tells why.
    ///
    /// # Cancellation
    ///
    /// Strikes before the process is started; no process is lost.
    ///
    /// # Platform-specific behavior
    ///
    /// As in std the process inherits the signals that are ignored, but for `SIGPIPE`, and the mask of blocked ones, which is that of the OS thread
    /// that starts it. What [`signal`](crate::signal) listens to has its default action there.
    ///
    /// # Errors
    ///
    /// Those of the system: [`NotFound`](io::ErrorKind::NotFound), if there is no such program.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let mut child = Command::new("true").spawn()?;
    ///     assert!(child.wait()?.success());
    ///     assert!(Command::new("/no/such/program").spawn().is_err());
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn(&mut self) -> io::Result<Child> {
        if self.hooked {
            // Who is to end does not begin.
            yield_now();
            return without_worker_settings(|| self.inner.spawn()).map(Child::from);
        }
        let inner = &mut self.inner;
        blocking(|| inner.spawn()).map(Child::from)
    }

    /// Runs the process to its end, and returns how it ended and what it has written.
    ///
    /// Standard output and error are captured and the standard input is empty, unless something else was set.
    ///
    /// # Cancellation
    ///
    /// Once it is started, the process goes on, without anybody to wait for it.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Command::spawn) and of [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let output = Command::new("sh").args(["-c", "echo out; echo err >&2"]).output()?;
    /// assert!(output.status.success());
    /// assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn output(&mut self) -> io::Result<Output> {
        let child = Captured::of(self).0.spawn()?;
        child.wait_with_output()
    }

    /// Runs the process to its end, and returns how it ended. Standard streams are inherited, unless something else was set.
    ///
    /// # Cancellation
    ///
    /// Once it is started, the process goes on, without anybody to wait for it.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Command::spawn) and of [`wait`](Child::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// assert_eq!(Command::new("false").status()?.code(), Some(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Returns the program, as it was given.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corde::process::Command::new("echo").get_program(), "echo");
    /// ```
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        self.inner.get_program()
    }

    /// Returns the arguments, without the program.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    ///
    /// let mut command = Command::new("echo");
    /// command.args(["a", "b"]);
    /// assert!(command.get_args().eq(["a", "b"]));
    /// ```
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.get_args()
    }

    /// Returns the variables that were set, and, without a value, those that were removed; not what is inherited.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    /// use std::ffi::OsStr;
    ///
    /// let mut command = Command::new("ls");
    /// command.env("TERM", "dumb").env_remove("TZ");
    /// let dumb = Some(OsStr::new("dumb"));
    /// assert!(command.get_envs().eq([(OsStr::new("TERM"), dumb), (OsStr::new("TZ"), None)]));
    /// ```
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.get_envs()
    }

    /// Returns the working directory, if one was set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::process::Command;
    /// use std::path::Path;
    ///
    /// let mut command = Command::new("ls");
    /// assert_eq!(command.get_current_dir(), None);
    /// command.current_dir("/bin");
    /// assert_eq!(command.get_current_dir(), Some(Path::new("/bin")));
    /// ```
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }

    /// For `CommandExt`.
    pub(crate) fn std_mut(&mut self) -> &mut process::Command {
        &mut self.inner
    }

    /// For `CommandExt::exec`.
    pub(crate) fn become_program(&mut self) -> io::Error {
        without_worker_settings(|| self.inner.exec())
    }

    /// For `CommandExt::pre_exec`: there is a closure now.
    pub(crate) fn set_hooked(&mut self) {
        self.hooked = true;
    }
}

/// A command whose streams are set for `output`, as long as it lasts.
struct Captured<'a>(&'a mut Command);

impl<'a> Captured<'a> {
    fn of(command: &'a mut Command) -> Captured<'a> {
        let Command { inner, chosen, .. } = command;
        if !chosen.stdin {
            inner.stdin(Stdio::null());
        }
        if !chosen.stdout {
            inner.stdout(Stdio::piped());
        }
        if !chosen.stderr {
            inner.stderr(Stdio::piped());
        }
        Captured(command)
    }
}

impl Drop for Captured<'_> {
    fn drop(&mut self) {
        let Command { inner, chosen, .. } = &mut *self.0;
        if !chosen.stdin {
            inner.stdin(Stdio::inherit());
        }
        if !chosen.stdout {
            inner.stdout(Stdio::inherit());
        }
        if !chosen.stderr {
            inner.stderr(Stdio::inherit());
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Runs `f` while the calling OS thread has no settings of a worker, which a process would inherit.
fn without_worker_settings<R>(f: impl FnOnce() -> R) -> R {
    if worker::current().is_none() {
        return f();
    }
    sys::wait_as_usual();
    let result = f();
    sys::wait_exactly();
    result
}
