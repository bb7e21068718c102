//! Programs as processes of their own: started, talked to by their standard streams, killed at the end of the test.

use std::ffi::c_int;
use std::io::{BufRead, BufReader, Read, Write};
use std::iter;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, child};

/// A program that is killed when the test is done with it, or has failed.
pub(crate) struct Program {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Program {
    /// Starts a program in the way that this target needs.
    #[track_caller]
    pub(crate) fn start(path: &Path, arguments: &[&str]) -> Program {
        let runner = child::runner();
        let mut words = runner.split_whitespace().map(Path::new).chain([path]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments);
        Program::spawn(command)
    }

    /// Starts what this command starts.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Program {
        let mut process = command
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Program {
            stdin: process.stdin.take(),
            stdout: lines(process.stdout.take().unwrap()),
            stderr: lines(process.stderr.take().unwrap()),
            process,
        }
    }

    /// Writes to its standard input.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("the input has not ended");
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Receives the next line of its standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.stdout.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(_) => panic!("no further line; its errors: {:?}", self.errors()),
        }
    }

    /// Receives the next line of its standard output, and returns it without what it begins with.
    #[track_caller]
    pub(crate) fn line_after(&self, beginning: &str) -> String {
        let line = self.line();
        match line.strip_prefix(beginning) {
            Some(rest) => rest.to_owned(),
            None => panic!("{line:?} does not begin with {beginning:?}"),
        }
    }

    /// Receives the lines of its standard output until it ends that.
    #[track_caller]
    pub(crate) fn rest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.stdout.recv_timeout(LIMIT) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on after {lines:?}"),
            }
        }
    }

    /// Receives the next line of its standard error.
    #[track_caller]
    pub(crate) fn error_line(&self) -> String {
        self.stderr.recv_timeout(LIMIT).unwrap()
    }

    /// Waits until its standard error has a line with this text, and returns that.
    #[track_caller]
    pub(crate) fn wait_for_error(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.stderr.recv_timeout(LIMIT) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("it does not say {text:?}, but {before:?}"),
            }
        }
    }

    /// Receives the lines of its standard error until it ends that, or pauses: all of them, if the program has ended.
    pub(crate) fn errors(&self) -> Vec<String> {
        let pause = Duration::from_secs(1);
        iter::from_fn(|| self.stderr.recv_timeout(pause).ok()).collect()
    }

    /// Sends what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        self.signal(libc::SIGINT);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: c_int) {
        let pid = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: the process has not been waited for, so the number is still its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0);
    }

    /// Waits for the process to end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "the program goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails if it has ended, and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The lines that come from a pipe, until it is closed.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Fails if the test has ended.
            let _ = sender.send(line);
        }
    });
    receiver
}
