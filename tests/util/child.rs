//! Child processes for tests that end their process, or that change what belongs to all of it.

use std::env;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio, exit};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};

use super::LIMIT;

/// Set in a child, to the name of the test that it runs.
const MARKER: &str = "CORDE_TEST_CHILD";

/// How a child ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Returns the signal that ended the child, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Checks that the body ran to its end.
    #[track_caller]
    pub(crate) fn assert_success(&self) {
        assert!(self.status.success(), "the child failed: {self:#?}");
    }
}

/// Runs `body` in a process of its own, and returns how that ended.
///
/// The process is this test program, told to run only `test`, the full name of the calling test: there the same call of this
/// function runs the body and exits. The child inherits the environment, with `environment` on top.
#[track_caller]
pub(crate) fn run(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) -> Outcome {
    if is_child(test) {
        be_child(body);
    }
    let child = command(test)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test program can be started again");
    let outcome = finish(child);
    // A mistyped name runs nothing, and would pass for success.
    assert!(
        outcome.stdout.contains("running 1 test"),
        "there is no test {test:?}: {outcome:#?}"
    );
    outcome
}

/// Tells whether this process is the child that the test has started.
pub(crate) fn is_child(test: &str) -> bool {
    env::var_os(MARKER).is_some_and(|marked| marked == test)
}

/// Runs `body` as the child, and exits.
pub(crate) fn be_child(body: impl FnOnce()) -> ! {
    forbid_core_dump();
    body();
    exit(0);
}

/// Returns a command for a child, where [`is_child`] is true then.
pub(crate) fn command(test: &str) -> Command {
    let mut command = this_program();
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("RUST_BACKTRACE", "0")
        .env(MARKER, test);
    command
}

/// Returns the words with which Cargo was told to start programs for this target: perhaps an emulator. Empty if there are none.
pub(crate) fn runner() -> String {
    let target = format!("CARGO_TARGET_{}_", env::consts::ARCH.to_uppercase());
    env::vars()
        .find(|(name, _)| name.starts_with(&target) && name.ends_with("_RUNNER"))
        .map(|(_, value)| value)
        .unwrap_or_default()
}

/// Tells whether Valgrind runs this program.
pub(crate) fn under_valgrind() -> bool {
    runner().contains("valgrind")
}

/// Returns a command that starts this test program in the way in which Cargo starts it.
fn this_program() -> Command {
    let program = env::current_exe().expect("the test program knows its file");
    let runner = runner();
    let mut words = runner.split_whitespace();
    match words.next() {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Collects what `child` writes until it ends, or kills it when it takes too long.
#[track_caller]
fn finish(mut child: Child) -> Outcome {
    // Nothing is sent: the channel closes when both readers are done, which is when the child ends.
    let (reading, done) = mpsc::channel();
    let stdout = read(
        child.stdout.take().expect("stdout is a pipe"),
        reading.clone(),
    );
    let stderr = read(child.stderr.take().expect("stderr is a pipe"), reading);
    let hung = done.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
    if hung {
        child
            .kill()
            .expect("a child that was not waited for can be killed");
    }
    let status = child.wait().expect("the child can be waited for");
    let stdout = stdout.join().expect("the reader does not panic");
    let stderr = stderr.join().expect("the reader does not panic");
    let outcome = Outcome {
        status,
        stdout,
        stderr: match status.signal() {
            Some(_) => without_remarks(&stderr),
            None => stderr,
        },
    };
    assert!(!hung, "the child did not end in {LIMIT:?}: {outcome:#?}");
    outcome
}

/// Leaves out what an emulator or Valgrind writes, in the child's name, when a signal ends the child.
fn without_remarks(stderr: &str) -> String {
    let is_remark = |line: &&str| {
        let of_valgrind = under_valgrind() && (line.starts_with("==") || line.starts_with("**"));
        of_valgrind || line.starts_with("qemu: uncaught target signal")
    };
    stderr
        .split_inclusive('\n')
        .filter(|line| !is_remark(line))
        .collect()
}

fn read(mut stream: impl Read + Send + 'static, reading: Sender<()>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is as good as it gets.
        let _ = stream.read_to_end(&mut bytes);
        drop(reading);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Many children are meant to crash: nobody wants their cores.
fn forbid_core_dump() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is valid, and setting it touches no memory.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}
