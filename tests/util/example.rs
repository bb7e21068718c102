//! The servers of `examples/`, as processes of their own, driven over std's sockets.

use std::env;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use super::program::Program;
use super::{LIMIT, child};

/// Starts a server with few file descriptors left, of which each worker takes two.
pub(crate) const FEW_FILES: &str = "ulimit -n 32; CORDE_WORKERS=2 exec $RUNNER \"$0\" \"$@\"";

/// A server that is killed when the test is done with it, or has failed.
pub(crate) struct Server {
    process: Program,
    pub(crate) address: String,
}

impl Server {
    /// Starts an example on a port of its own.
    pub(crate) fn start(example: &str) -> Server {
        Server::start_with(example, &["127.0.0.1:0"])
    }

    /// Starts an example with these arguments.
    pub(crate) fn start_with(example: &str, arguments: &[&str]) -> Server {
        Server::new(Program::start(&path(example), arguments))
    }

    /// Has a shell start an example, which is its `$0`, by the `$RUNNER` that this target needs.
    pub(crate) fn start_by(script: &str, example: &str, arguments: &[&str]) -> Server {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(path(example));
        shell.args(arguments).env("RUNNER", child::runner());
        Server::new(Program::spawn(shell))
    }

    fn new(process: Program) -> Server {
        let address = process.line_after("listening on ");
        let address = address.strip_prefix("http://").unwrap_or(&address);
        let address = address.trim_end_matches('/').to_owned();
        Server { process, address }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// Receives the next line of its standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.process.line()
    }

    /// Receives the next line of its standard error.
    #[track_caller]
    pub(crate) fn error_line(&self) -> String {
        self.process.error_line()
    }

    /// Waits until its standard error has a line with this text.
    #[track_caller]
    pub(crate) fn wait_for_error(&self, text: &str) {
        self.process.wait_for_error(text);
    }

    /// Sends what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        self.process.interrupt();
    }

    /// Waits for the process to end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Checks that it ends well, and has had nothing to complain of.
    #[track_caller]
    pub(crate) fn assert_ends_well(&mut self) {
        assert_eq!(self.wait().code(), Some(0));
        assert_eq!(self.process.errors(), [""; 0]);
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
