//! The servers of `examples/`, as processes of their own, driven over std's sockets.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, child};

/// Starts a server with few file descriptors left, of which each worker takes two.
pub(crate) const FEW_FILES: &str = "ulimit -n 32; CORDE_WORKERS=2 exec $RUNNER \"$0\" \"$@\"";

/// A server that is killed when the test is done with it, or has failed.
pub(crate) struct Server {
    process: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    pub(crate) address: String,
}

impl Server {
    /// Starts an example on a port of its own.
    pub(crate) fn start(example: &str) -> Server {
        Server::start_with(example, &["127.0.0.1:0"])
    }

    /// Starts an example with these arguments.
    pub(crate) fn start_with(example: &str, arguments: &[&str]) -> Server {
        Server::start_by("exec $RUNNER \"$0\" \"$@\"", example, arguments)
    }

    /// Has a shell start an example, which is its `$0`, by the `$RUNNER` that this target needs.
    pub(crate) fn start_by(script: &str, example: &str, arguments: &[&str]) -> Server {
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(path(example))
            .args(arguments)
            .env("RUNNER", child::runner())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines(process.stdout.take().unwrap());
        let stderr = lines(process.stderr.take().unwrap());
        let mut server = Server {
            process,
            stdout,
            stderr,
            address: String::new(),
        };
        let line = server.line();
        let address = line.strip_prefix("listening on ").unwrap();
        let address = address.strip_prefix("http://").unwrap_or(address);
        server.address = address.trim_end_matches('/').to_owned();
        server
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// Receives the next line of its standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.stdout.recv_timeout(LIMIT).unwrap()
    }

    /// Receives the next line of its standard error.
    #[track_caller]
    pub(crate) fn error_line(&self) -> String {
        self.stderr.recv_timeout(LIMIT).unwrap()
    }

    /// Sends what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        let pid = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: the process has not been waited for, so the number is still its own.
        let result = unsafe { libc::kill(pid, libc::SIGINT) };
        assert_eq!(result, 0);
    }

    /// Waits for the process to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "the server goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Checks that it ends well, and has had nothing to complain of.
    #[track_caller]
    pub(crate) fn assert_ends_well(&mut self) {
        assert_eq!(self.wait().code(), Some(0));
        assert_eq!(self.stderr.recv_timeout(LIMIT).ok(), None);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended, and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the file of an example's program.
pub(crate) fn path(example: &str) -> PathBuf {
    let program = env::current_exe().unwrap();
    let target = program.ancestors().nth(2).unwrap();
    let path = target.join("examples").join(example);
    assert!(path.exists(), "{path:?} is missing: cargo build --examples");
    path
}

/// Connects with limits on all waits.
#[track_caller]
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
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
