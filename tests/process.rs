//! `corde::process`: programs are started and described as std does it, and their pipes carry what std's do.
#![cfg(feature = "runtime")]

mod util;

use std::io::{BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process as std_process;

use corde::os::unix::process::{CommandExt as _, ExitStatusExt, parent_id};
use corde::process::{
    self, Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitCode, Output, Stdio,
};
use corde::thread;
use rstest::{Context, rstest};
use util::child;
use util::full_name;
use util::threads::Kind;

const MIB: usize = 1 << 20;

/// A command for the shell.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn std_shell(script: &str) -> std_process::Command {
    let mut command = std_process::Command::new("sh");
    command.args(["-c", script]);
    command
}

#[rstest]
fn an_end_is_reported_as_std_does(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values("exit 0", "exit 3", "exit 255", "kill -KILL $$", "kill -TERM $$")]
    script: &'static str,
) {
    let status = kind.run(move || shell(script).status().unwrap());
    assert_eq!(status, std_shell(script).status().unwrap());
    let spawned = kind.run(move || {
        let mut child = shell(script).spawn().unwrap();
        let status = child.wait().unwrap();
        // And again.
        assert_eq!(child.wait().unwrap(), status);
        assert_eq!(child.try_wait().unwrap(), Some(status));
        status
    });
    assert_eq!(spawned, status);
}

#[rstest]
fn output_is_what_std_gets(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(
        "true",
        "echo out",
        "echo err >&2",
        "echo out; echo err >&2; exit 3",
        "cat; exec >&-; echo err >&2",
        "exec 2>&-; echo out",
        "kill -KILL $$"
    )]
    script: &'static str,
) {
    let output = kind.run(move || shell(script).output().unwrap());
    assert_eq!(output, std_shell(script).output().unwrap());
}

#[rstest]
#[case::standard_output_first("head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2")]
#[case::standard_error_first("head -c 1048576 /dev/zero >&2; head -c 1048576 /dev/zero")]
#[case::both_at_once("head -c 1048576 /dev/zero & head -c 1048576 /dev/zero >&2; wait")]
fn both_pipes_are_read_while_they_fill(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[case] script: &'static str,
) {
    let Output { stdout, stderr, .. } = kind.run(move || shell(script).output().unwrap());
    assert!(stdout == vec![0; MIB], "{} bytes", stdout.len());
    assert!(stderr == vec![0; MIB], "{} bytes", stderr.len());
}

#[test]
fn an_output_of_one_pipe_leaves_the_other_stream_alone() {
    let output = |command: &mut Command| command.spawn().unwrap().wait_with_output().unwrap();
    let script = "echo out; echo err >&2";
    let out = output(shell(script).stdout(Stdio::piped()).stderr(Stdio::null()));
    assert_eq!((&*out.stdout, &*out.stderr), (&b"out\n"[..], &b""[..]));
    let err = output(shell(script).stdout(Stdio::null()).stderr(Stdio::piped()));
    assert_eq!((&*err.stdout, &*err.stderr), (&b""[..], &b"err\n"[..]));
    let none = output(shell(script).stdout(Stdio::null()).stderr(Stdio::null()));
    assert_eq!((&*none.stdout, &*none.stderr), (&b""[..], &b""[..]));
}

#[test]
fn output_keeps_streams_that_were_chosen() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let mut command = shell("cat; echo err >&2");
    command
        .stdin(Stdio::from(OwnedFd::from(far.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(far)))
        .stderr(Stdio::null());
    near.write_all(b"through a socket").unwrap();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    let output = command.output().unwrap();
    drop(command);
    assert_eq!((&*output.stdout, &*output.stderr), (&b""[..], &b""[..]));
    let mut answer = [0; 16];
    near.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"through a socket");
}

#[rstest]
fn streams_are_inherited_again_after_output(#[context] context: Context) {
    let outcome = child::run(&full_name(&context), &[], || {
        let mut command = shell("cat; echo seen; echo also seen >&2");
        assert_eq!(command.output().unwrap().stdout, b"seen\n");
        assert!(command.status().unwrap().success());
        // And where it could not even be started.
        let mut nothing = Command::new("/no/such/program");
        assert!(nothing.output().is_err());
    });
    outcome.assert_success();
    assert_eq!(outcome.stdout.matches("seen").count(), 1, "{outcome:#?}");
    assert_eq!(
        outcome.stderr.matches("also seen").count(),
        1,
        "{outcome:#?}"
    );
}

/// Does the same to a command of ours and one of std, and returns both.
macro_rules! both {
    ($program:expr, $command:ident => $set:expr) => {{
        let make = || {
            let mut $command = Command::new($program);
            let _ = $set;
            $command
        };
        let make_std = || {
            let mut $command = std_process::Command::new($program);
            let _ = $set;
            $command
        };
        (make(), make_std())
    }};
}

#[rstest]
#[case::nothing(both!("name", it => it.args([""; 0])))]
#[case::arguments(both!("name", it => it.arg("a").args(["b", "c d"])))]
#[case::variables(both!("name", it => it.env("A", "1").envs([("B", "2")]).env_remove("C")))]
#[case::no_variables(both!("name", it => it.env("A", "1").env_clear().env("B", "2")))]
#[case::a_directory(both!("name", it => it.current_dir("/tmp")))]
#[case::streams(both!("name", it => it.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit())))]
#[case::unix(both!("name", it => it.arg0("other").uid(1).gid(2).process_group(3)))]
fn a_command_is_described_as_by_std(#[case] (ours, theirs): (Command, std_process::Command)) {
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    assert_eq!(format!("{ours:#?}"), format!("{theirs:#?}"));
    assert_eq!(ours.get_program(), theirs.get_program());
    assert!(ours.get_args().eq(theirs.get_args()));
    assert!(ours.get_envs().eq(theirs.get_envs()));
    assert_eq!(ours.get_current_dir(), theirs.get_current_dir());
}

#[rstest]
#[case::no_program(both!("/no/such/program", it => it.args([""; 0])))]
#[case::a_directory_for_a_program(both!("/", it => it.args([""; 0])))]
#[case::a_nul(both!("true", it => it.arg("a\0b")))]
#[case::no_directory(both!("true", it => it.current_dir("/no/such/directory")))]
fn what_cannot_be_started_fails_as_with_std(
    #[case] (mut ours, mut theirs): (Command, std_process::Command),
) {
    let expected = theirs.spawn().unwrap_err();
    corde::run(move || {
        let errors = [
            ours.spawn().map(drop).unwrap_err(),
            ours.status().map(drop).unwrap_err(),
            ours.output().map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), expected.kind());
            assert_eq!(error.raw_os_error(), expected.raw_os_error());
        }
    });
}

#[test]
fn what_is_set_reaches_the_process() {
    let output =
        |command: &mut Command| String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert_eq!(output(Command::new("pwd").current_dir("/")), "/\n");
    assert_eq!(output(shell("echo $0").arg0("another")), "another\n");
    assert_eq!(
        output(shell("echo $A$B").env("A", "1").envs([("B", "2")])),
        "12\n"
    );
    assert_eq!(
        output(Command::new("/usr/bin/env").env_clear().env("A", "1")),
        "A=1\n"
    );
    assert_eq!(output(shell("echo [$HOME]").env_remove("HOME")), "[]\n");
    let mut leader = shell("read wait")
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    // SAFETY: no pointers.
    let group = unsafe { libc::getpgid(leader.id() as i32) };
    assert_eq!(group, leader.id() as i32);
    leader.wait().unwrap();
}

#[test]
fn a_process_runs_as_another_user() {
    // SAFETY: no pointers.
    if unsafe { libc::geteuid() } != 0 {
        let refused = Command::new("true").uid(0).spawn().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        return eprintln!("left out: only root may do that");
    }
    let output = shell("id -u; id -g; id -G")
        .uid(65534)
        .gid(65533)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "65534\n65533\n65533\n"
    );
}

#[rstest]
fn a_closure_runs_before_the_program(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let mut command = Command::new("pwd");
        let hook = || {
            // SAFETY: the path is a C string.
            let result = unsafe { libc::chdir(c"/".as_ptr()) };
            assert_eq!(result, 0);
            Ok(())
        };
        // SAFETY: `chdir` is async-signal-safe.
        unsafe { command.pre_exec(hook) };
        assert_eq!(command.output().unwrap().stdout, b"/\n");
        // SAFETY: making an error from a number does not allocate.
        unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(libc::EXDEV))) };
        assert_eq!(
            command.spawn().unwrap_err().raw_os_error(),
            Some(libc::EXDEV)
        );
    });
}

#[rstest]
#[case::into_a_program("exec echo \"became it\"", 0, "became it")]
#[case::and_its_exit_code("exit 7", 7, "")]
fn exec_becomes_the_program(
    #[context] context: Context,
    #[case] script: &str,
    #[case] code: i32,
    #[case] said: &str,
) {
    let outcome = child::run(&full_name(&context), &[], || {
        let script = script.to_owned();
        corde::run(move || panic!("{}", shell(&script).exec()));
    });
    assert_eq!(outcome.status.code(), Some(code), "{outcome:#?}");
    assert!(outcome.stdout.contains(said), "{outcome:#?}");
}

#[test]
fn exec_returns_when_it_fails() {
    let error = Command::new("/no/such/program").exec();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn pipes_carry_lines_both_ways() {
    corde::run(|| {
        let mut child = shell("while read line; do echo \"<$line>\"; done")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for round in 0..20 {
            writeln!(&stdin, "{round}").unwrap();
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, format!("<{round}>\n"));
        }
        drop(stdin);
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
        assert!(child.wait().unwrap().success());
    });
}

#[rstest]
fn more_than_a_pipe_holds_goes_through(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let mut cat = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = cat.stdin.take().unwrap();
        let data: Vec<u8> = (0..MIB).map(|index| (index % 251) as u8).collect();
        let expected = data.clone();
        let writing = thread::spawn(move || stdin.write_all(&data).unwrap());
        let mut stdout = Vec::new();
        cat.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        writing.join().unwrap();
        assert!(stdout == expected, "{} bytes", stdout.len());
        assert!(cat.wait().unwrap().success());
    });
}

#[test]
fn vectors_are_written_and_read() {
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    assert_eq!(
        stdin
            .write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cde")])
            .unwrap(),
        5
    );
    stdin.flush().unwrap();
    let (mut first, mut second) = ([0; 1], [0; 9]);
    let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(stdout.read_vectored(&mut parts).unwrap(), 5);
    assert_eq!((&first, &second[..4]), (b"a", &b"bcde"[..]));
    drop(stdin);
    cat.wait().unwrap();
}

#[test]
fn a_pipe_that_nobody_reads_is_broken() {
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    child.wait().unwrap();
    // A child of another test may have it still, until its program begins.
    let error = loop {
        match stdin.write_all(b"x") {
            Ok(()) => thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

/// Whether a descriptor is non-blocking.
fn is_nonblocking(fd: impl AsFd) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0);
    flags & libc::O_NONBLOCK != 0
}

#[test]
fn pipes_are_blocking_for_everybody_else() {
    let piped = || {
        let mut command = shell("cat; echo err >&2");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = piped();
    let (stdin, stdout, stderr) = (
        child.stdin.take().unwrap(),
        child.stdout.take().unwrap(),
        child.stderr.take().unwrap(),
    );
    assert!(is_nonblocking(&stdin) && is_nonblocking(&stdout) && is_nonblocking(&stderr));
    assert!(!is_nonblocking(OwnedFd::from(stdin)));
    assert!(!is_nonblocking(std_process::ChildStdout::from(stdout)));
    let raw = stderr.into_raw_fd();
    // SAFETY: it was just given up.
    let stderr: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(raw) };
    assert!(!is_nonblocking(stderr));
    child.wait().unwrap();

    // The descriptor that another child gets.
    let mut echo = Command::new("echo")
        .arg("in")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let script = "sed -n 's/^flags:[^0-9]*//p' /proc/self/fdinfo/0";
    let flags = shell(script)
        .stdin(echo.stdout.take().unwrap())
        .output()
        .unwrap();
    if cfg!(target_os = "linux") {
        let flags = String::from_utf8(flags.stdout).unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }
    echo.wait().unwrap();
}

#[test]
fn children_are_connected_by_their_pipes() {
    corde::run(|| {
        let mut echo = Command::new("echo")
            .arg("a b c")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut wc = Command::new("wc");
        wc.arg("-w").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut wc = wc.stdin(echo.stdout.take().unwrap()).spawn().unwrap();
        let tail = Command::new("cat")
            .stdin(wc.stdout.take().unwrap())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&tail.stdout).trim(), "3");

        let mut sink = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let script = "echo out; echo err >&2";
        assert!(
            shell(script)
                .stdout(sink.stdin.take().unwrap())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(sink.wait_with_output().unwrap().stdout, b"out\n");

        let mut err = shell(script)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let cat = Command::new("cat")
            .stdin(err.stderr.take().unwrap())
            .output()
            .unwrap();
        assert_eq!(cat.stdout, b"err\n");
        for mut child in [echo, wc, err] {
            assert!(child.wait().unwrap().success());
        }
    });
}

#[test]
fn pipes_are_made_from_other_descriptors() {
    corde::run(|| {
        let (near, far) = UnixStream::pair().unwrap();
        let stdin = ChildStdin::from(OwnedFd::from(near.try_clone().unwrap()));
        let stdout = ChildStdout::from(OwnedFd::from(near));
        let mut far = ChildStderr::from(OwnedFd::from(far));
        let reading = thread::spawn(move || {
            let mut bytes = [0; 5];
            far.read_exact(&mut bytes).unwrap();
            bytes
        });
        (&stdin).write_all(b"hello").unwrap();
        assert_eq!(&reading.join().unwrap(), b"hello");
        drop(stdin);
        // The other end is closed.
        assert_eq!((&stdout).read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_child_of_std_is_taken_over() {
    corde::run(|| {
        let mut command = std_shell("cat; echo err >&2; exit 4");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Child::from(command.spawn().unwrap());
        child.stdin.take().unwrap().write_all(b"in").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (&b"in"[..], &b"err\n"[..])
        );
        assert_eq!(output.status.code(), Some(4));
    });
}

#[test]
fn select_waits_for_pipes() {
    corde::run(|| {
        let mut child = shell("read line; echo \"$line\"; read line; echo \"$line\" >&2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout, stderr) = (
            child.stdin.take().unwrap(),
            child.stdout.take().unwrap(),
            child.stderr.take().unwrap(),
        );
        let mut heard = Vec::new();
        for word in ["out", "err"] {
            corde::select! {
                writable(stdin) => writeln!(&stdin, "{word}").unwrap(),
                readable(stdout) => panic!("nothing was written"),
            }
            corde::select! {
                readable(stderr) => heard.push(("err", (&stderr).read(&mut [0; 9]).unwrap())),
                readable(stdout) => heard.push(("out", (&stdout).read(&mut [0; 9]).unwrap())),
            }
            if word == "out" {
                // Else the end of it would be readable as well.
                assert_eq!(heard, [("out", 4)]);
            }
        }
        assert_eq!(heard.len(), 2);
        child.wait().unwrap();
    });
}

#[test]
fn handles_are_described_as_by_std() {
    let pipes = |command: &mut Command| {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    };
    let mut ours = Command::new("true");
    pipes(&mut ours);
    let mut theirs = std_process::Command::new("true");
    theirs
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut ours, mut theirs) = (ours.spawn().unwrap(), theirs.spawn().unwrap());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    assert!(ours.wait().unwrap().success() && theirs.wait().unwrap().success());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

#[test]
fn ids_are_those_of_std() {
    assert_eq!(process::id(), std_process::id());
    assert_eq!(parent_id(), std::os::unix::process::parent_id());
    let output = shell("echo $$ $PPID")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = output.id();
    let output = output.wait_with_output().unwrap();
    let expected = format!("{id} {}\n", process::id());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(ExitCode::SUCCESS, std_process::ExitCode::SUCCESS);
    assert!(output.status.signal().is_none());
}

#[test]
fn auto_traits_are_those_of_std() {
    fn like_std<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    fn send_sync<T: Send + Sync + Unpin>() {}
    like_std::<Child>();
    like_std::<ChildStdin>();
    like_std::<ChildStdout>();
    like_std::<ChildStderr>();
    send_sync::<Command>();
}

#[rstest]
#[cfg(target_os = "linux")]
fn a_child_has_the_timer_slack_of_the_program_and_not_that_of_a_worker(
    #[values(false, true)] hooked: bool,
) {
    let slack = std::fs::read_to_string("/proc/self/timerslack_ns").unwrap();
    let of_child = corde::run(move || {
        let mut command = Command::new("cat");
        command.arg("/proc/self/timerslack_ns");
        if hooked {
            // SAFETY: it does nothing.
            unsafe { command.pre_exec(|| Ok(())) };
        }
        command.output().unwrap().stdout
    });
    assert_eq!(String::from_utf8(of_child).unwrap(), slack);
}

#[rstest]
#[cfg(target_os = "linux")]
fn so_has_one_that_a_worker_becomes(#[context] context: Context) {
    let ours = std::fs::read_to_string("/proc/self/timerslack_ns").unwrap();
    let outcome = child::run(&full_name(&context), &[], || {
        corde::run(|| {
            panic!(
                "{}",
                shell("echo; exec cat /proc/self/timerslack_ns").exec()
            )
        });
    });
    let last = outcome.stdout.lines().last();
    assert_eq!(last, Some(ours.trim()), "{outcome:#?}");
}
