//! `corde::io`: standard input, output and error, each time those of a process of its own.
#![cfg(all(feature = "runtime", target_os = "linux"))]

mod util;

use std::env;
use std::fs::{self, File};
use std::io::{BufReader, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread as std_thread;
use std::time::Duration;

use corde::io::{self, BufRead, IsTerminal, Read, Write};
use corde::{thread, time};
use rstest::{Context, rstest};
use util::child::{be_child, command, is_child};
use util::fds::{is_nonblocking, pty, raw_pipe, read_all, sockets, temporary_file, unread};
use util::threads::{Kind, wait_until};
use util::{LIMIT, full_name};

/// A child that tells how it gets on, line by line.
struct Dialogue {
    child: Child,
    told: Receiver<String>,
}

/// Tells a child which kind of threads it is to use.
const KIND: &str = "CORDE_TEST_KIND";

const KINDS: [Kind; 2] = [Kind::Green, Kind::Os];

/// Returns the kind of threads that a child was started for.
fn kind_of_child() -> Kind {
    let name = env::var(KIND).unwrap();
    let found = KINDS.into_iter().find(|kind| format!("{kind:?}") == name);
    found.unwrap()
}

/// Starts the test as a child with one worker, which tells on standard error how it gets on.
fn start(
    context: &Context,
    kind: Kind,
    stdin: impl Into<Stdio>,
    stdout: impl Into<Stdio>,
) -> Dialogue {
    let mut command = command(&full_name(context));
    command
        .env("CORDE_WORKERS", "1")
        .env(KIND, format!("{kind:?}"))
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Descriptors that were handed over are closed with `command`.
    let stderr = child.stderr.take().unwrap();
    let (tell, told) = mpsc::channel();
    std_thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let line = line.unwrap();
            match line.strip_prefix("> ") {
                Some(told) => drop(tell.send(told.to_owned())),
                // A panic, or the runtime's remark on a slow machine.
                None => eprintln!("{line}"),
            }
        }
    });
    Dialogue { child, told }
}

impl Dialogue {
    /// Waits for the child to tell something.
    #[track_caller]
    fn expect(&mut self, line: &str) {
        match self.told.recv_timeout(LIMIT) {
            Ok(told) if told == line => {}
            other => {
                let _ = self.child.kill();
                let rest: Vec<_> = self.told.iter().collect();
                panic!("the child should tell {line:?}, but: {other:?} {rest:#?}");
            }
        }
    }

    /// Waits for the child to end.
    #[track_caller]
    fn end(mut self) {
        let rest: Vec<_> = self.told.iter().collect();
        let status = self.child.wait().unwrap();
        assert!(status.success() && rest.is_empty(), "{status}: {rest:#?}");
    }
}

/// Has a thread wait for something, and has the main one tell that it is alive when that `waits`; on the same worker, if they are green.
fn told_while<T: Send + 'static>(
    kind: Kind,
    f: impl FnOnce() -> T + Send + 'static,
    waits: impl Fn() -> bool + Send,
    tell: impl Fn() + Send,
) -> T {
    let background = move || {
        let handle = kind.spawn(f);
        thread::yield_now();
        wait_until(waits);
        tell();
        handle.join()
    };
    match kind {
        Kind::Green => corde::run(background),
        Kind::Os => background(),
    }
}

/// How many lines the child has written.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Writes lines, and counts them.
fn write_lines(mut writer: impl Write, line: impl Fn(usize) -> String) {
    for number in 0..LINES {
        write!(writer, "{}", line(number)).unwrap();
        WRITTEN.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns whether the child gets no further in writing, as far as one can see: the readiness of a terminal tells nothing, as it comes back
/// when the kernel has moved what is in it, while whoever waits is woken only when it is read.
fn is_stuck() -> bool {
    let before = WRITTEN.load(Ordering::Relaxed);
    (0..20).for_each(|_| thread::sleep(Duration::from_millis(1)));
    WRITTEN.load(Ordering::Relaxed) == before
}

fn set_nonblocking(fd: &OwnedFd) {
    // SAFETY: no pointers.
    let set = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(set, 0);
}

/// A pipe that somebody has set to non-blocking.
fn nonblocking_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = raw_pipe();
    set_nonblocking(&reader);
    (reader, writer)
}

fn nonblocking_output() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = raw_pipe();
    set_nonblocking(&writer);
    (reader, writer)
}

fn swapped_pty() -> (OwnedFd, OwnedFd) {
    let (master, slave) = pty();
    (slave, master)
}

/// A new file, which nobody else can open.
fn unnamed_file() -> File {
    let (file, path) = temporary_file("stdio");
    fs::remove_file(path).unwrap();
    file
}

#[rstest]
#[case::pipe(raw_pipe, false)]
#[case::socket(sockets, false)]
#[case::terminal(swapped_pty, false)]
#[case::nonblocking_pipe(nonblocking_pipe, true)]
fn lines_are_waited_for(
    #[context] context: Context,
    #[case] ends: fn() -> (OwnedFd, OwnedFd),
    #[case] nonblocking: bool,
) {
    if is_child(&full_name(&context)) {
        let kind = kind_of_child();
        be_child(|| {
            let read = || {
                let lines = io::stdin().lines().take(2);
                lines.map(|line| line.unwrap()).collect::<Vec<_>>()
            };
            // It waits from the beginning.
            let lines = told_while(kind, read, || true, || eprintln!("> alive"));
            eprintln!("> {lines:?}");
            let rest = corde::run(|| io::read_to_string(io::stdin()).unwrap());
            eprintln!("> {rest:?}, {}", is_nonblocking(io::stdin()));
        });
    }
    for kind in KINDS {
        let (near, far) = ends();
        let mut child = start(&context, kind, near, Stdio::null());
        let mut far = File::from(far);
        child.expect("alive");
        far.write_all(b"one\ntw").unwrap();
        far.write_all(b"o\n").unwrap();
        child.expect(r#"["one", "two"]"#);
        far.write_all(b"rest\n").unwrap();
        if far.is_terminal() {
            // Control-D.
            far.write_all(b"\x04").unwrap();
        } else {
            drop(far);
        }
        child.expect(&format!(r#""rest\n", {nonblocking}"#));
        child.end();
    }
}

static DIGITS: [u8; 100_000] = digits();

const fn digits() -> [u8; 100_000] {
    let mut digits = [0; 100_000];
    let mut place = 0;
    while place < digits.len() {
        digits[place] = b'0' + (place % 10) as u8;
        place += 1;
    }
    digits
}

#[rstest]
#[case::file("one\ntwo")]
#[case::large_file(std::str::from_utf8(&DIGITS).unwrap())]
#[case::empty_file("")]
fn files_are_read(#[context] context: Context, #[case] content: &'static str) {
    if is_child(&full_name(&context)) {
        let kind = kind_of_child();
        be_child(|| {
            let read = kind.run(|| {
                let mut lines = io::stdin().lines();
                let first = lines.next().map_or(String::new(), |line| line.unwrap());
                lines.fold(first, |read, line| read + "\n" + &line.unwrap())
            });
            assert!(read == content);
            assert_eq!(io::stdin().read(&mut [0; 9]).unwrap(), 0);
            eprintln!("> {}", is_nonblocking(io::stdin()));
        });
    }
    for kind in KINDS {
        let mut file = unnamed_file();
        file.write_all(content.as_bytes()).unwrap();
        file.rewind().unwrap();
        let mut child = start(&context, kind, file, Stdio::null());
        child.expect("false");
        child.end();
    }
}

#[rstest]
fn nothing_comes_from_the_null_device(#[context] context: Context) {
    if is_child(&full_name(&context)) {
        let kind = kind_of_child();
        be_child(|| {
            kind.run(|| {
                assert_eq!(io::stdin().read(&mut [0; 9]).unwrap(), 0);
                assert_eq!(io::stdin().read(&mut [0; 9999]).unwrap(), 0);
                assert_eq!(io::stdin().read_line(&mut String::new()).unwrap(), 0);
                writeln!(io::stdout(), "to nowhere").unwrap();
                io::stdout().flush().unwrap();
            });
        });
    }
    for kind in KINDS {
        start(&context, kind, Stdio::null(), Stdio::null()).end();
    }
}

#[rstest]
fn closed_streams_are_empty_and_take_everything(#[context] context: Context) {
    if is_child(&full_name(&context)) {
        let kind = kind_of_child();
        be_child(|| {
            // The reactor and others must not get these numbers.
            kind.run(|| {
                for fd in [0, 1] {
                    // SAFETY: nobody else uses them meanwhile.
                    assert_eq!(unsafe { libc::close(fd) }, 0);
                }
                assert_eq!(io::stdin().read(&mut [0; 9]).unwrap(), 0);
                writeln!(io::stdout(), "{}", "x".repeat(5000)).unwrap();
                write!(io::stdout(), "y").unwrap();
                io::stdout().flush().unwrap();
                // Nor those that come later.
                for _ in [0, 1] {
                    std::mem::forget(File::open("/dev/null").unwrap());
                }
            });
        });
    }
    for kind in KINDS {
        start(&context, kind, Stdio::null(), Stdio::null()).end();
    }
}

#[rstest]
fn bytes_and_lines_are_read_in_turn(#[context] context: Context) {
    if is_child(&full_name(&context)) {
        be_child(|| {
            corde::run(|| {
                let mut letters = [0; 2];
                io::stdin().read_exact(&mut letters).unwrap();
                let mut line = String::new();
                assert_eq!(io::stdin().read_line(&mut line).unwrap(), 2);
                let mut lock = io::stdin().lock();
                assert_eq!(lock.fill_buf().unwrap()[0], b'd');
                lock.consume(1);
                let mut rest = vec![0; 1 << 16];
                let (first, second) = rest.split_at_mut(2);
                let mut slices = [io::IoSliceMut::new(first), io::IoSliceMut::new(second)];
                let len = lock.read_vectored(&mut slices).unwrap();
                let rest = String::from_utf8(rest[..len].to_vec()).unwrap();
                eprintln!("> {letters:?} {line:?} {rest:?}");
                // The buffer is empty: past it.
                let len = lock.read(&mut vec![0; 1 << 15]).unwrap();
                lock.read_exact(&mut vec![0; (1 << 15) - len]).unwrap();
                let error = lock.read_line(&mut line).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                // As it was, and the line is over.
                assert_eq!(line, "c\n");
                lock.read_line(&mut line).unwrap();
                assert_eq!(line, "c\nlast");
            });
        });
    }
    let (reader, writer) = raw_pipe();
    let mut child = start(&context, Kind::Green, reader, Stdio::null());
    let mut writer = File::from(writer);
    writer.write_all(b"abc\ndef").unwrap();
    child.expect(r#"[97, 98] "c\n" "ef""#);
    writer.write_all(&[0; 1 << 15]).unwrap();
    writer.write_all(b"\xff\nlast").unwrap();
    drop(writer);
    child.end();
}

/// The beginning of a line is there for the next one who reads.
#[rstest]
#[case::cancelled(false)]
#[case::by_the_clock(true)]
fn a_line_that_is_given_up_is_not_lost(#[context] context: Context, #[case] by_the_clock: bool) {
    if is_child(&full_name(&context)) {
        be_child(|| {
            corde::run(|| {
                let mut line = String::from("before ");
                if by_the_clock {
                    let read = time::timeout(Duration::from_millis(20), || {
                        io::stdin().read_line(&mut line).unwrap()
                    });
                    assert!(read.is_err());
                    assert_eq!(line, "before ");
                } else {
                    let reading = thread::spawn(|| io::stdin().lines().next());
                    wait_until(|| unread(io::stdin()) == 0);
                    reading.cancel();
                    assert!(reading.join().unwrap_err().is::<thread::Cancelled>());
                }
                eprintln!("> given up");
                io::stdin().read_line(&mut line).unwrap();
                eprintln!("> {line:?}");
            });
        });
    }
    let (reader, writer) = raw_pipe();
    let mut writer = File::from(writer);
    writer.write_all(b"par").unwrap();
    let mut child = start(&context, Kind::Green, reader, Stdio::null());
    child.expect("given up");
    writer.write_all(b"tial\n").unwrap();
    child.expect(r#""before partial\n""#);
    child.end();
}

/// More than any of the kinds takes at once.
const LINES: usize = 20_000;

#[rstest]
#[case::pipe(raw_pipe, "\n")]
#[case::pipe_without_lines(raw_pipe, "")]
#[case::socket(sockets, "\n")]
#[case::socket_without_lines(sockets, "")]
#[case::terminal(pty, "\n")]
#[case::terminal_without_lines(pty, "")]
#[case::nonblocking_pipe(nonblocking_output, "\n")]
#[case::nonblocking_pipe_without_lines(nonblocking_output, "")]
#[timeout(LIMIT)]
fn a_writer_waits_for_a_slow_reader(
    #[context] context: Context,
    #[case] ends: fn() -> (OwnedFd, OwnedFd),
    #[case] end: &'static str,
) {
    let line = move |number: usize| format!("line {number}{end}");
    if is_child(&full_name(&context)) {
        let kind = kind_of_child();
        be_child(|| {
            let write = move || write_lines(io::stdout(), line);
            told_while(kind, write, is_stuck, || eprintln!("> alive"));
        });
    }
    for kind in KINDS {
        let (reader, writer) = ends();
        let was_nonblocking = is_nonblocking(&writer);
        let second = writer.try_clone().unwrap();
        let mut child = start(&context, kind, Stdio::null(), writer);
        // Not before it has been told.
        child.expect("alive");
        assert_eq!(is_nonblocking(&second), was_nonblocking);
        drop(second);
        let read = String::from_utf8(read_all(reader)).unwrap();
        let expected: String = (0..LINES).map(line).collect();
        assert!(read.ends_with(&expected), "{}", &read[..200]);
        child.end();
    }
}

#[rstest]
#[timeout(LIMIT)]
fn errors_wait_for_a_slow_reader(#[context] context: Context) {
    if is_child(&full_name(&context)) {
        let kind = kind_of_child();
        be_child(|| {
            let write = || write_lines(io::stderr(), |number| format!("line {number}\n"));
            told_while(kind, write, is_stuck, || println!("alive"));
        });
    }
    for kind in KINDS {
        let mut command = command(&full_name(&context));
        command
            .env("CORDE_WORKERS", "1")
            .env(KIND, format!("{kind:?}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        // The line of the test harness comes before.
        let alive = |line: &String| line.ends_with("alive");
        assert!(
            stdout
                .lines()
                .map(|line| line.unwrap())
                .any(|it| alive(&it))
        );
        let read = String::from_utf8(read_all(child.stderr.take().unwrap().into())).unwrap();
        // On a slow machine the runtime may have a remark.
        let lines = read.lines().filter(|line| line.starts_with("line "));
        let expected = (0..LINES).map(|number| format!("line {number}"));
        assert!(lines.eq(expected));
        assert!(child.wait().unwrap().success());
    }
}

/// In whatever order `print!` and others write, and whatever is left at the end.
#[rstest]
#[case::pipe("pipe")]
#[case::terminal("terminal")]
#[case::file("file")]
#[timeout(LIMIT)]
fn the_order_with_print_is_kept(#[context] context: Context, #[case] output: &str) {
    let long = |letter: &str, len| letter.repeat(len);
    if is_child(&full_name(&context)) {
        let kind = kind_of_child();
        be_child(|| {
            kind.run(move || {
                let mut out = io::stdout();
                print!("a");
                write!(out, "b").unwrap();
                print!("c\nd");
                write!(out, "e{}f\ng", 1).unwrap();
                println!("h");
                write!(out, "i").unwrap();
                println!();
                writeln!(out, "{}-{}", 2, 3).unwrap();
                print!("j");
                out.write_all(long("k", 3000).as_bytes()).unwrap();
                print!("l");
                out.write_all(long("m", 1000).as_bytes()).unwrap();
                out.write_all(long("n", 1000).as_bytes()).unwrap();
                println!("o");
                write!(out, "p\n{}", long("q", 2000)).unwrap();
                out.flush().unwrap();
                print!("r");
                out.flush().unwrap();
                Command::new("echo")
                    .arg("from a child")
                    .stdout(out)
                    .status()
                    .unwrap();
                let mut out = io::stdout().lock();
                out.write_all(b"left over").unwrap();
            });
        });
    }
    for kind in KINDS {
        let expected = [
            "ab".into(),
            "c\nde1f\ngh\ni\n2-3\nj".into(),
            long("k", 3000),
            "l".into(),
            long("m", 1000),
            long("n", 1000),
            "o\np\n".into(),
            long("q", 2000),
            "rfrom a child\nleft over".into(),
        ]
        .concat();
        let (read, child) = if output == "file" {
            let mut file = unnamed_file();
            let child = start(&context, kind, Stdio::null(), file.try_clone().unwrap());
            child.end();
            file.rewind().unwrap();
            (read_all(file.into()), None)
        } else {
            let (reader, writer) = if output == "pipe" { raw_pipe() } else { pty() };
            let child = start(&context, kind, Stdio::null(), writer);
            (read_all(reader), Some(child))
        };
        let read = String::from_utf8(read).unwrap();
        assert!(read.ends_with(&expected), "{read}");
        child.into_iter().for_each(Dialogue::end);
    }
}

/// Formatted text is put together before it is written.
#[rstest]
fn what_is_formatted_stays_together(#[context] context: Context) {
    if is_child(&full_name(&context)) {
        be_child(|| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let kind = if thread % 2 == 0 {
                        Kind::Green
                    } else {
                        Kind::Os
                    };
                    kind.spawn(move || {
                        for number in 0..200 {
                            writeln!(io::stderr(), "> {thread} {} {number}", thread + number)
                                .unwrap();
                            std_thread::yield_now();
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join());
        });
    }
    let mut child = start(&context, Kind::Green, Stdio::null(), Stdio::null());
    let lines: Vec<_> = child.told.iter().collect();
    assert_eq!(lines.len(), 8 * 200);
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        assert!(matches!(*words, [_, _, _]), "{line:?}");
    }
    assert!(child.child.wait().unwrap().success());
}

fn while_another_locks(kind: Kind, lock: fn(), unlock: impl FnOnce()) {
    let locking = match kind {
        Kind::Green => thread::spawn(lock),
        Kind::Os => thread::spawn(move || {
            thread::blocking(lock);
        }),
    };
    (0..10).for_each(|_| thread::yield_now());
    assert!(!locking.is_finished());
    unlock();
    locking.join().unwrap();
}

#[rstest]
#[timeout(LIMIT)]
fn locks_keep_others_out_and_their_owner_not(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    corde::run(move || {
        let outer = io::stdout().lock();
        let inner = io::stdout().lock();
        // In whatever order they end.
        drop(outer);
        while_another_locks(kind, || drop(io::stdout().lock()), || drop(inner));
        let outer = io::stderr().lock();
        drop(io::stderr().lock());
        while_another_locks(kind, || drop(io::stderr().lock()), || drop(outer));
        let lock = io::stdin().lock();
        while_another_locks(kind, || drop(io::stdin().lock()), || drop(lock));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_cancelled_while_it_waits_for_a_lock_has_nothing() {
    corde::run(|| {
        let locked = io::stderr().lock();
        let waiting = thread::spawn(|| drop(io::stderr().lock()));
        thread::yield_now();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<thread::Cancelled>());
        drop(locked);
        thread::spawn(|| drop(io::stderr().lock())).join().unwrap();
    });
}

#[rstest]
fn terminals_are_told_from_others() {
    let ((master, slave), (reader, _writer)) = (pty(), raw_pipe());
    assert!(slave.is_terminal() && master.is_terminal() && !reader.is_terminal());
    assert!(!unnamed_file().is_terminal());
    let same = |ours: bool, stds: bool| assert_eq!(ours, stds);
    same(
        io::stdin().is_terminal(),
        std::io::IsTerminal::is_terminal(&std::io::stdin()),
    );
    same(
        io::stdout().lock().is_terminal(),
        std::io::IsTerminal::is_terminal(&std::io::stdout()),
    );
}

#[test]
fn handles_look_like_those_of_std() {
    assert_eq!(format!("{:?}", io::stdin()), "Stdin { .. }");
    assert_eq!(format!("{:?}", io::stdout()), "Stdout { .. }");
    assert_eq!(format!("{:?}", io::stderr().lock()), "StderrLock { .. }");
    fn shared<T: Send + Sync + Unpin>() {}
    shared::<io::Stdin>();
    shared::<io::Stdout>();
    shared::<io::Stderr>();
    fn lent<T: Sync>() {}
    lent::<io::StdinLock<'_>>();
    lent::<io::StdoutLock<'_>>();
}
