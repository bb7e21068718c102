//! `corde::process`: waiting for children and their pipes holds nobody else up, is woken, and can be left without losing anything.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use corde::os::unix::process::CommandExt;
use corde::process::{Child, Command, Stdio};
use corde::runtime::{LocalRuntime, Runtime};
use corde::thread::{self, Cancelled};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::child;
use util::threads::{Kind, one_on_each_worker, spin_until, wait_until};
use util::{full_name, with_workers};

/// Short enough to be waited for, and too short for what is waited for to happen by itself.
const MOMENT: Duration = Duration::from_millis(10);

/// A child that ends with the number that is written to it, or 100 if there is none.
fn obedient() -> Child {
    Command::new("sh")
        .args(["-c", "read code; exit ${code:-100}"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Has an [`obedient`] one end.
fn order(stdin: impl Write, code: i32) {
    let mut stdin = stdin;
    writeln!(stdin, "{code}").unwrap();
}

/// How children can be waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// By whatever the system has.
    Default,
    /// By signals, as on a system without `pidfd_open`.
    Signals,
}

/// Runs `body` in a process of its own in which children are waited for in that way.
#[track_caller]
fn waiting_by(by: By, workers: usize, context: &Context, body: impl FnOnce()) {
    if by == By::Signals && util::child::under_valgrind() {
        return eprintln!("left out under Valgrind: it knows no filters of system calls");
    }
    if by == By::Signals && util::left_out_in_an_emulator("filters are the emulator's own") {
        return;
    }
    with_workers(workers, context, || {
        #[cfg(target_os = "linux")]
        if by == By::Signals {
            filter::forbid_pidfd();
        }
        body();
        // One that certainly has to wait.
        let mut child = obedient();
        let stdin = child.stdin.take();
        assert_eq!(child.wait_timeout(Duration::from_millis(1)).unwrap(), None);
        drop(stdin);
        child.wait().unwrap();
        // SAFETY: sigaction is plain data for which zero is valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: a null second argument only asks.
        unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), &mut action) };
        let listened = action.sa_sigaction != libc::SIG_DFL;
        assert_eq!(listened, by == By::Signals || !cfg!(target_os = "linux"));
    });
}

#[cfg(target_os = "linux")]
mod filter {
    //! A system without `pidfd_open`: a filter answers that it does not know the call.

    /// For the calling OS thread and those that it starts.
    pub(crate) fn forbid_pidfd() {
        let statement = |code: u32, k: u32| libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: 0,
            k,
        };
        let number = libc::SYS_pidfd_open as u32;
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        let mut program = [
            // The number is what the system call's description begins with.
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            libc::sock_filter {
                jf: 1,
                ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number)
            },
            statement(libc::BPF_RET | libc::BPF_K, refused),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: no pointers.
        let allowed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert_eq!(allowed, 0);
        // SAFETY: the program is valid for the call.
        let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: no pointers.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
        assert_eq!(opened, -1, "the filter lets it pass");
    }
}

#[rstest]
#[case::by_default(By::Default, 1)]
#[case::by_default_on_three_workers(By::Default, 3)]
#[case::by_signals(By::Signals, 1)]
#[case::by_signals_on_three_workers(By::Signals, 3)]
fn a_wait_ends_with_the_child(#[context] context: Context, #[case] by: By, #[case] workers: usize) {
    waiting_by(by, workers, &context, || {
        for kind in [Kind::Green, Kind::Os] {
            let mut child = obedient();
            let stdin = child.stdin.take().unwrap();
            let waiting = kind.spawn(move || child.wait().unwrap());
            order(stdin, 7);
            assert_eq!(waiting.join().code(), Some(7));
        }
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn a_wait_holds_nobody_up(#[context] context: Context, #[case] by: By) {
    waiting_by(by, 1, &context, || {
        corde::run(|| {
            let mut child = obedient();
            let stdin = child.stdin.take().unwrap();
            // On the same worker: it runs only when the wait has suspended.
            let ordering = thread::spawn(move || order(stdin, 5));
            assert_eq!(child.wait().unwrap().code(), Some(5));
            ordering.join().unwrap();
        });
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn a_wait_closes_standard_input_first(#[context] context: Context, #[case] by: By) {
    waiting_by(by, 1, &context, || {
        corde::run(|| {
            assert_eq!(obedient().wait().unwrap().code(), Some(100));
            let limit = Duration::from_secs(60);
            assert_eq!(
                obedient().wait_timeout(limit).unwrap().unwrap().code(),
                Some(100)
            );
            assert_eq!(
                obedient().wait_with_output().unwrap().status.code(),
                Some(100)
            );
            // But not this.
            let mut child = obedient();
            assert_eq!(child.try_wait().unwrap(), None);
            assert!(child.stdin.is_some());
            child.wait().unwrap();
        });
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn a_wait_with_a_limit_can_be_repeated(#[context] context: Context, #[case] by: By) {
    waiting_by(by, 2, &context, || {
        for kind in [Kind::Green, Kind::Os] {
            kind.run(|| {
                let mut child = obedient();
                let stdin = child.stdin.take().unwrap();
                assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
                let begun = Instant::now();
                assert_eq!(child.wait_timeout(MOMENT).unwrap(), None);
                assert!(begun.elapsed() >= MOMENT);
                order(stdin, 3);
                let status = child.wait_timeout(Duration::MAX).unwrap().unwrap();
                assert_eq!(status.code(), Some(3));
                // It is known now.
                assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), Some(status));
            });
        }
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn a_wait_that_is_left_loses_nothing(#[context] context: Context, #[case] by: By) {
    waiting_by(by, 1, &context, || {
        for kind in [Kind::Green, Kind::Os] {
            kind.run(|| {
                let mut child = obedient();
                let stdin = child.stdin.take().unwrap();
                assert!(timeout(MOMENT, || child.wait()).is_err());
                order(stdin, 9);
                assert_eq!(child.wait().unwrap().code(), Some(9));
            });
        }
        let child = Arc::new(Mutex::new(obedient()));
        let stdin = child.lock().unwrap().stdin.take().unwrap();
        let theirs = child.clone();
        let begun = Arc::new(AtomicBool::new(false));
        let now = begun.clone();
        let waiting = thread::spawn(move || {
            let mut child = theirs
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            now.store(true, Ordering::Relaxed);
            child.wait()
        });
        wait_until(|| begun.load(Ordering::Relaxed));
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        order(stdin, 11);
        let mut child = child
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        assert_eq!(child.wait().unwrap().code(), Some(11));
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn two_hundred_children_at_once_share_one_worker(#[context] context: Context, #[case] by: By) {
    const CHILDREN: i32 = if util::SANITIZED { 40 } else { 200 };
    waiting_by(by, 1, &context, || {
        corde::run(|| {
            let starting: Vec<_> = (0..CHILDREN).map(|_| thread::spawn(obedient)).collect();
            let children: Vec<_> = starting.into_iter().map(|it| it.join().unwrap()).collect();
            let (stdins, waiting): (Vec<_>, Vec<_>) = children
                .into_iter()
                .map(|mut child| {
                    let stdin = child.stdin.take().unwrap();
                    (stdin, thread::spawn(move || child.wait().unwrap()))
                })
                .unzip();
            // All are there; the last one ends first.
            for (code, stdin) in stdins.iter().enumerate().rev() {
                order(stdin, code as i32);
            }
            for (code, waiting) in waiting.into_iter().enumerate() {
                assert_eq!(waiting.join().unwrap().code(), Some(code as i32));
            }
        });
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn each_worker_waits_for_children(#[context] context: Context, #[case] by: By) {
    waiting_by(by, 4, &context, || {
        let waiting = one_on_each_worker(4, || {
            for code in 0..8 {
                let mut child = obedient();
                order(child.stdin.take().unwrap(), code);
                assert_eq!(child.wait().unwrap().code(), Some(code));
            }
        });
        waiting.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn a_child_is_waited_for_by_one_worker_after_the_other(
    #[context] context: Context,
    #[case] by: By,
) {
    waiting_by(by, 3, &context, || {
        let child = obedient();
        let shared = Arc::new(Mutex::new(child));
        let stdin = shared.lock().unwrap().stdin.take().unwrap();
        for waiting in one_on_each_worker(3, move || {
            let mut child = shared.lock().unwrap();
            child
                .wait_timeout(Duration::from_millis(1))
                .unwrap()
                .is_none()
        }) {
            assert!(waiting.join().unwrap());
        }
        drop(stdin);
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn every_runtime_waits(#[context] context: Context, #[case] by: By) {
    waiting_by(by, 1, &context, || {
        let work = || {
            let output = Command::new("sh")
                .args(["-c", "cat; echo out; exit 6"])
                .output()
                .unwrap();
            assert_eq!(
                (output.status.code(), &*output.stdout),
                (Some(6), &b"out\n"[..])
            );
            let mut child = obedient();
            let stdin = child.stdin.take().unwrap();
            assert!(child.wait_timeout(MOMENT).unwrap().is_none());
            (child, stdin)
        };
        let end = |(mut child, stdin): (Child, _), code| {
            order(stdin, code);
            assert_eq!(child.wait().unwrap().code(), Some(code));
        };
        // Begun in one, ended in another; the first of which has ended since.
        let begun = LocalRuntime::new().unwrap().block_on(work);
        Runtime::new().unwrap().block_on(move || end(begun, 1));
        let begun = Runtime::new().unwrap().block_on(work);
        LocalRuntime::new().unwrap().block_on(move || end(begun, 2));
        let begun = corde::run(work);
        end(begun, 3);
    });
}

#[rstest]
fn a_killed_child_ends(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let mut child = obedient();
        let _stdin = child.stdin.take();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        // As with std, that was enough.
        child.kill().unwrap();
    });
}

#[test]
fn try_wait_answers_at_once() {
    let mut child = obedient();
    assert_eq!(child.try_wait().unwrap(), None);
    order(child.stdin.take().unwrap(), 8);
    wait_until(|| child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(8));
}

/// Waits for a child behind the library's back.
fn reap(child: &Child) {
    // SAFETY: a null pointer for the status is allowed.
    let reaped = unsafe { libc::waitpid(child.id() as i32, std::ptr::null_mut(), 0) };
    assert_eq!(reaped, child.id() as i32);
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn who_was_waited_for_by_others_is_missed(#[context] context: Context, #[case] by: By) {
    with_workers(1, &context, || {
        #[cfg(target_os = "linux")]
        if by == By::Signals && !util::left_out_in_an_emulator("filters are its own") {
            filter::forbid_pidfd();
        }
        // There is one way only.
        #[cfg(not(target_os = "linux"))]
        let _ = by;
        let mut child = obedient();
        drop(child.stdin.take());
        reap(&child);
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
        // As std has it.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // SAFETY: a null pointer for the status is allowed.
        unsafe { libc::waitpid(child.id() as i32, std::ptr::null_mut(), 0) };
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    });
}

#[rstest]
#[cfg(target_os = "linux")]
fn the_end_of_one_that_nobody_may_wait_for_is_noticed(#[context] context: Context) {
    with_workers(1, &context, || {
        // SAFETY: ignoring is always allowed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        corde::run(|| {
            let mut child = obedient();
            let stdin = child.stdin.take().unwrap();
            let ordering = thread::spawn(move || order(stdin, 0));
            assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
            ordering.join().unwrap();
        });
    });
}

#[rstest]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
#[cfg(target_os = "linux")]
fn descriptors_are_closed(#[context] context: Context, #[case] by: By) {
    waiting_by(by, 1, &context, || {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        corde::run(move || {
            let work = || {
                let mut child = obedient();
                let stdin = child.stdin.take().unwrap();
                assert!(
                    child
                        .wait_timeout(Duration::from_millis(1))
                        .unwrap()
                        .is_none()
                );
                drop(stdin);
                child.wait().unwrap();
                // Though it is still there.
                drop(child.stdout.take());
                child
            };
            let _first = work();
            let before = open();
            let _more: Vec<_> = (0..3).map(|_| work()).collect();
            assert_eq!(open(), before);
        });
    });
}

/// Sets how many descriptors there may be; returns how many there might be before.
#[cfg(target_os = "linux")]
fn limit_descriptors(limit: libc::rlim_t) -> libc::rlim_t {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the place is valid.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits) };
    assert_eq!(known, 0);
    let before = std::mem::replace(&mut limits.rlim_cur, limit);
    // SAFETY: the limits are valid.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limits) };
    assert_eq!(set, 0);
    before
}

#[rstest]
#[cfg(target_os = "linux")]
#[case::by_default(By::Default)]
#[case::by_signals(By::Signals)]
fn without_descriptors_a_wait_fails_and_can_be_repeated(
    #[context] context: Context,
    #[case] by: By,
) {
    waiting_by(by, 1, &context, || {
        corde::run(|| {
            let mut child = obedient();
            let stdin = child.stdin.take().unwrap();
            let before = limit_descriptors(0);
            let missing =
                |error: std::io::Error| assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            missing(child.wait().unwrap_err());
            missing(child.wait_timeout(MOMENT).unwrap_err());
            missing(Command::new("true").output().unwrap_err());
            // What has ended is found without any.
            order(stdin, 12);
            wait_until(|| child.try_wait().unwrap().is_some());
            assert_eq!(child.wait().unwrap().code(), Some(12));

            limit_descriptors(before);
            let mut child = obedient();
            let stdin = child.stdin.take().unwrap();
            limit_descriptors(0);
            missing(child.wait().unwrap_err());
            limit_descriptors(before);
            order(stdin, 13);
            assert_eq!(child.wait().unwrap().code(), Some(13));
        });
    });
}

#[test]
fn a_read_that_is_left_loses_nothing() {
    for kind in [Kind::Green, Kind::Os] {
        kind.run(|| {
            let mut cat = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
            let mut bytes = [0; 4];
            assert!(timeout(MOMENT, || stdout.read(&mut bytes)).is_err());
            stdin.write_all(b"late").unwrap();
            stdout.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"late");
            drop(stdin);
            assert!(cat.wait().unwrap().success());
        });
    }
}

#[test]
fn a_write_that_is_left_has_written_what_it_told() {
    for kind in [Kind::Green, Kind::Os] {
        kind.run(|| {
            let (mut go, far) = UnixStream::pair().unwrap();
            let mut child = Command::new("sh")
                .args(["-c", "read go <&2; exec wc -c"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(OwnedFd::from(far))
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let written = Cell::new(0);
            let filling = timeout(MOMENT, || {
                loop {
                    let count = stdin.write(&[0; 10_000]).unwrap();
                    written.set(written.get() + count);
                }
            });
            let Err(_) = filling;
            drop(stdin);
            writeln!(go).unwrap();
            let output = child.wait_with_output().unwrap();
            let counted = String::from_utf8(output.stdout).unwrap();
            assert_eq!(counted.trim(), written.get().to_string());
        });
    }
}

#[rstest]
#[case::reading(|child: &mut Child| child.stdout.as_mut().unwrap().read(&mut [0]).unwrap())]
#[case::writing(|child: &mut Child| {
    let stdin = child.stdin.as_mut().unwrap();
    while stdin.write(&[0; 1 << 16]).is_ok() {}
    0
})]
#[case::waiting(|child: &mut Child| {
    let stdin = child.stdin.take();
    let status = child.wait().unwrap();
    drop(stdin);
    status.code().unwrap() as usize
})]
fn a_cancelled_one_leaves_its_child(#[case] wait: fn(&mut Child) -> usize) {
    let mut child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (give, take) = mpsc::channel();
    let begun = Arc::new(AtomicBool::new(false));
    let now = begun.clone();
    let waiting = thread::spawn(move || {
        now.store(true, Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| wait(&mut child)));
        give.send(child).unwrap();
        match result {
            Ok(_) => panic!("the wait has ended"),
            Err(payload) => resume_unwind(payload),
        }
    });
    wait_until(|| begun.load(Ordering::Relaxed));
    waiting.cancel();
    assert!(waiting.join().unwrap_err().is::<Cancelled>());
    let mut child = take.recv().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn output_is_limited_in_time() {
    let mut never = Command::new("sleep");
    let result = timeout(MOMENT, || never.arg("5").output());
    assert!(result.is_err());
}

/// With the only thread of the pool taken, what needs it waits.
fn with_the_pool_taken(context: &Context, body: impl FnOnce(&dyn Fn()) + Send + 'static) {
    let environment = [("CORDE_WORKERS", "1"), ("CORDE_BLOCKING_THREADS", "1")];
    child::run(&full_name(context), &environment, || {
        corde::run(|| {
            let (release, released) = mpsc::channel::<()>();
            let taken = Arc::new(AtomicBool::new(false));
            let now = taken.clone();
            let taking = thread::spawn_blocking(move || {
                now.store(true, Ordering::Relaxed);
                let _ = released.recv();
            });
            spin_until(|| taken.load(Ordering::Relaxed));
            body(&|| release.send(()).unwrap());
            drop(release);
            taking.join().unwrap();
        });
    })
    .assert_success();
}

#[rstest]
fn a_start_holds_nobody_up(#[context] context: Context) {
    with_the_pool_taken(&context, |release| {
        let spawned = Arc::new(AtomicBool::new(false));
        let now = spawned.clone();
        let starting = thread::spawn(move || {
            let child = obedient();
            now.store(true, Ordering::Relaxed);
            child
        });
        // Lets it begin.
        thread::yield_now();
        assert!(!spawned.load(Ordering::Relaxed));
        release();
        let mut child = starting.join().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(100));
    });
}

#[rstest]
fn a_start_that_is_cancelled_starts_nothing(#[context] context: Context) {
    with_the_pool_taken(&context, |_| {
        let starting = thread::spawn(|| Command::new("sleep").arg("600").spawn().unwrap());
        thread::yield_now();
        starting.cancel();
        assert!(starting.join().unwrap_err().is::<Cancelled>());
        // SAFETY: a null pointer for the status is allowed.
        let any = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(any, -1, "there is a child");
    });
}

/// What a closure asks for may be bound to the OS thread that starts the process, and those of the pool end.
#[rstest]
fn a_start_with_a_closure_needs_no_other_thread(#[context] context: Context) {
    with_the_pool_taken(&context, |_| {
        let mut command = Command::new("true");
        // SAFETY: it does nothing.
        unsafe { command.pre_exec(|| Ok(())) };
        assert!(command.status().unwrap().success());
    });
}

#[rstest]
#[case::by_another_thread(false)]
#[case::in_place_with_a_closure(true)]
fn who_is_cancelled_starts_nothing(#[context] context: Context, #[case] hooked: bool) {
    with_workers(1, &context, || {
        let (begun, go) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (now, may_go) = (begun.clone(), go.clone());
        let starting = thread::spawn(move || {
            let mut command = Command::new("true");
            if hooked {
                // SAFETY: it does nothing.
                unsafe { command.pre_exec(|| Ok(())) };
            }
            now.store(true, Ordering::Relaxed);
            spin_until(|| may_go.load(Ordering::Relaxed));
            command.spawn().unwrap()
        });
        spin_until(|| begun.load(Ordering::Relaxed));
        starting.cancel();
        go.store(true, Ordering::Relaxed);
        assert!(starting.join().unwrap_err().is::<Cancelled>());
        // SAFETY: a null pointer for the status is allowed.
        let any = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(any, -1, "there is a child");
    });
}
