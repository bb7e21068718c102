//! `corde::signal`: each listener gets each signal, none that is pending is lost, and the process is otherwise as it was.
#![cfg(feature = "runtime")]

mod util;

use std::ffi::c_int;
use std::io::{ErrorKind, Write};
use std::iter;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use corde::process::{self, Command};
use corde::runtime::{LocalRuntime, Runtime};
use corde::signal::{self, SignalKind, Signals};
use corde::sync::channel;
use corde::thread::{self, Cancelled};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::child;
use util::net::{echo, expect_echo, pair};
use util::threads::{Kind, one_on_each_worker, wait_until};
use util::{full_name, stress, with_workers};

const USR1: SignalKind = SignalKind::user_defined1();
const USR2: SignalKind = SignalKind::user_defined2();

/// Short enough to be waited for, and too short for what is waited for to happen by itself.
const MOMENT: Duration = Duration::from_millis(10);

/// Sends a signal to the calling OS thread: its handler has run when this returns.
fn raise(kind: SignalKind) {
    // SAFETY: no pointers; the tests listen to what they raise.
    let result = unsafe { libc::raise(kind.as_raw()) };
    assert_eq!(result, 0);
}

/// Sends a signal to the process: some thread of it handles that.
fn kill(kind: SignalKind) {
    // SAFETY: no pointers; the tests listen to what they send.
    let result = unsafe { libc::kill(process::id() as i32, kind.as_raw()) };
    assert_eq!(result, 0);
}

/// Signals belong to the whole process, so each test has one of its own, where `body` runs on the test's OS thread.
#[track_caller]
fn alone(context: &Context, body: impl FnOnce()) {
    with_workers(2, context, body);
}

#[rstest]
fn each_listener_gets_each_signal(#[context] context: Context) {
    alone(&context, || {
        let waiting = [Kind::Green, Kind::Os, Kind::Green, Kind::Os].map(|kind| {
            let one = signal::signal(USR1).unwrap();
            let both = Signals::new([USR2, USR1]).unwrap();
            kind.spawn(move || {
                assert_eq!(one.recv().unwrap(), USR1);
                assert_eq!(both.recv().unwrap(), USR1);
                (one, both)
            })
        });
        kill(USR1);
        let listeners = waiting.map(|it| it.join());
        raise(USR2);
        for (one, both) in listeners {
            assert_eq!(one.try_recv(), None);
            assert_eq!(both.recv().unwrap(), USR2);
        }
    });
}

#[rstest]
fn what_comes_before_a_wait_is_pending_once(#[context] context: Context) {
    alone(&context, || {
        let signals = Signals::new([USR1, USR2]).unwrap();
        assert_eq!(signals.try_recv(), None);
        raise(USR1);
        raise(USR1);
        raise(USR1);
        assert_eq!(signals.recv().unwrap(), USR1);
        assert_eq!(signals.try_recv(), None);
        raise(USR2);
        assert_eq!(signals.try_recv(), Some(USR2));
        assert_eq!(signals.try_recv(), None);
        // Who comes later has not been there.
        raise(USR1);
        let late = signal::signal(USR1).unwrap();
        assert_eq!(late.try_recv(), None);
        // Named twice, it comes once.
        let twice = Signals::new([USR1, USR1]).unwrap();
        raise(USR1);
        assert_eq!(twice.try_recv(), Some(USR1));
        assert_eq!(twice.try_recv(), None);
    });
}

#[rstest]
fn no_kind_starves_another(#[context] context: Context) {
    alone(&context, || {
        let signals = Signals::new([USR1, USR2, SignalKind::hangup()]).unwrap();
        let mut heard = Vec::new();
        for _ in 0..3 {
            // What has just been taken is there again.
            [USR1, USR2, SignalKind::hangup()]
                .into_iter()
                .for_each(raise);
            heard.push(signals.recv().unwrap());
        }
        heard.sort_by_key(|kind| kind.as_raw());
        let mut all = [USR1, USR2, SignalKind::hangup()];
        all.sort_by_key(|kind| kind.as_raw());
        assert_eq!(heard, all);
    });
}

/// Two signals at once make one wake-up, perhaps; but there are two to be had.
#[rstest]
#[case::green([Kind::Green, Kind::Green])]
#[case::os([Kind::Os, Kind::Os])]
#[case::both([Kind::Os, Kind::Green])]
fn threads_that_share_a_listener_share_its_signals(
    #[context] context: Context,
    #[case] kinds: [Kind; 2],
) {
    alone(&context, || {
        for _ in 0..20 * stress() {
            let signals = Arc::new(Signals::new([USR1, USR2]).unwrap());
            let waiting = kinds.map(|kind| {
                let signals = signals.clone();
                kind.spawn(move || signals.recv().unwrap())
            });
            raise(USR1);
            raise(USR2);
            let mut heard = waiting.map(|it| it.join());
            heard.sort_by_key(|kind| kind.as_raw());
            assert_eq!(heard, [USR1, USR2]);
            assert_eq!(signals.try_recv(), None);
        }
    });
}

#[rstest]
fn each_worker_listens(#[context] context: Context) {
    with_workers(3, &context, || {
        let ready = Arc::new(AtomicUsize::new(0));
        let theirs = ready.clone();
        let waiting = one_on_each_worker(3, move || {
            let signals = signal::signal(USR1).unwrap();
            theirs.fetch_add(1, Ordering::Relaxed);
            for signal in signals.take(3) {
                assert_eq!(signal.unwrap(), USR1);
                theirs.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 1..=3 {
            wait_until(|| ready.load(Ordering::Relaxed) == 3 * round);
            kill(USR1);
        }
        waiting.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[rstest]
fn a_wait_that_is_left_loses_nothing(#[context] context: Context) {
    alone(&context, || {
        for kind in [Kind::Green, Kind::Os] {
            kind.run(|| {
                let signals = signal::signal(USR1).unwrap();
                assert!(timeout(MOMENT, || signals.recv()).is_err());
                raise(USR1);
                assert_eq!(signals.recv().unwrap(), USR1);
            });
        }
        let signals = Arc::new(signal::signal(USR1).unwrap());
        let (theirs, begun) = (signals.clone(), Arc::new(AtomicBool::new(false)));
        let now = begun.clone();
        let waiting = thread::spawn(move || {
            now.store(true, Ordering::Relaxed);
            theirs.recv()
        });
        wait_until(|| begun.load(Ordering::Relaxed));
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        raise(USR1);
        assert_eq!(signals.try_recv(), Some(USR1));
    });
}

#[rstest]
fn iterators_wait_for_one_after_the_other(#[context] context: Context) {
    alone(&context, || {
        corde::run(|| {
            let signals = Signals::new([USR1, USR2]).unwrap();
            raise(USR1);
            let mut heard = Vec::new();
            for signal in &signals {
                heard.push(signal.unwrap());
                if heard.len() == 2 {
                    break;
                }
                raise(USR2);
            }
            assert_eq!(heard, [USR1, USR2]);
            raise(USR1);
            assert_eq!(signals.map(Result::unwrap).next(), Some(USR1));
        });
    });
}

#[rstest]
fn select_waits_for_signals(#[context] context: Context) {
    alone(&context, || {
        for kind in [Kind::Green, Kind::Os] {
            kind.run(|| {
                let (first, second) =
                    (signal::signal(USR1).unwrap(), signal::signal(USR2).unwrap());
                let (sender, receiver) = channel::unbounded();
                let next = || {
                    corde::select! {
                        readable(first) => first.try_recv(),
                        readable(second) => second.try_recv(),
                        recv(receiver) -> kind => Some(kind.unwrap()),
                        default(MOMENT) => None,
                    }
                };
                assert_eq!(next(), None);
                raise(USR2);
                assert_eq!(next(), Some(USR2));
                raise(USR1);
                assert_eq!(next(), Some(USR1));
                sender.send(SignalKind::alarm()).unwrap();
                assert_eq!(next(), Some(SignalKind::alarm()));
                // Nothing is left that would wake it in vain.
                assert_eq!(next(), None);
                let sending = std::thread::spawn(|| {
                    std::thread::sleep(Duration::from_millis(1));
                    kill(USR1);
                });
                corde::select! {
                    readable(&first) => assert_eq!(first.try_recv(), Some(USR1)),
                    readable(&second) => panic!("nobody sent that"),
                }
                sending.join().unwrap();
            });
        }
    });
}

/// One kind pending beside the one that was taken keeps it readable.
#[rstest]
fn it_is_readable_as_long_as_there_is_a_signal(#[context] context: Context) {
    alone(&context, || {
        let signals = Signals::new([USR1, USR2]).unwrap();
        let is_readable = || {
            corde::select! {
                readable(signals) => true,
                default => false,
            }
        };
        assert!(!is_readable());
        raise(USR1);
        raise(USR2);
        for _ in 0..2 {
            assert!(is_readable());
            assert!(signals.try_recv().is_some());
        }
        assert!(!is_readable());
    });
}

#[rstest]
fn ctrl_c_is_the_next_one(#[context] context: Context) {
    alone(&context, || {
        let keep = signal::signal(SignalKind::interrupt()).unwrap();
        // For those who come later.
        raise(SignalKind::interrupt());
        let returned = Arc::new(AtomicUsize::new(0));
        let waiting: Vec<_> = [Kind::Green, Kind::Os, Kind::Green]
            .into_iter()
            .map(|kind| {
                let returned = returned.clone();
                kind.spawn(move || {
                    signal::ctrl_c().unwrap();
                    returned.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        assert!(timeout(MOMENT, signal::ctrl_c).is_err());
        assert_eq!(returned.load(Ordering::Relaxed), 0);
        wait_until(|| {
            kill(SignalKind::interrupt());
            returned.load(Ordering::Relaxed) == 3
        });
        waiting.into_iter().for_each(|it| it.join());
        assert_eq!(keep.recv().unwrap(), SignalKind::interrupt());
        // Nobody waits; but once somebody has, it ends nothing.
        drop(keep);
        raise(SignalKind::interrupt());
    });
}

/// In a process that another one sends it, as a terminal does.
#[rstest]
fn ctrl_c_ends_a_program_in_order(#[context] context: Context) {
    let outcome = child::run(&full_name(&context), &[], || {
        let mut sender = Command::new("sh");
        let ended = corde::run(move || {
            let waiting = thread::spawn(signal::ctrl_c);
            // Listens already, so that the first one ends nothing.
            let _first = signal::signal(SignalKind::interrupt()).unwrap();
            let script = format!("while kill -INT {}; do sleep 0.01; done", process::id());
            let mut sending = sender.args(["-c", &script]).spawn().unwrap();
            waiting.join().unwrap().unwrap();
            sending.kill().unwrap();
            sending.wait().unwrap().signal()
        });
        println!("\nended by {ended:?}");
        std::io::stdout().flush().unwrap();
    });
    outcome.assert_success();
    assert!(outcome.stdout.contains("ended by Some(9)"), "{outcome:#?}");
}

#[rstest]
fn without_a_listener_signals_do_what_they_do(#[context] context: Context) {
    let outcome = child::run(&full_name(&context), &[], || {
        let _others = signal::signal(USR2).unwrap();
        raise(USR1);
    });
    assert_eq!(outcome.signal(), Some(libc::SIGUSR1));
}

#[rstest]
#[case::kill(libc::SIGKILL, "SIGKILL")]
#[case::stop(libc::SIGSTOP, "SIGSTOP")]
#[case::segv(libc::SIGSEGV, "SIGSEGV")]
#[case::bus(libc::SIGBUS, "SIGBUS")]
#[case::ill(libc::SIGILL, "SIGILL")]
#[case::fpe(libc::SIGFPE, "SIGFPE")]
#[case::none(0, "signal 0")]
#[case::negative(-1, "signal -1")]
#[case::too_large(12345, "signal 12345")]
fn what_cannot_be_listened_to_is_refused(#[case] raw: c_int, #[case] name: &str) {
    let kind = SignalKind::from_raw(raw);
    let error = signal::signal(kind).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains(name), "{error}");
    // Also among others, which it takes back.
    let error = Signals::new([SignalKind::io(), kind]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

static OLD_CALLS: AtomicUsize = AtomicUsize::new(0);
static OLD_FRAME: AtomicUsize = AtomicUsize::new(0);

extern "C" fn old_handler(_signal: c_int) {
    let here = 0_u8;
    OLD_FRAME.store(ptr::from_ref(&here).addr(), Ordering::Relaxed);
    OLD_CALLS.fetch_add(1, Ordering::Relaxed);
}

fn install_old_handler(kind: SignalKind) {
    let handler = old_handler as extern "C" fn(c_int);
    // SAFETY: the handler only stores to atomics.
    unsafe { libc::signal(kind.as_raw(), handler as libc::sighandler_t) };
}

#[rstest]
fn a_handler_that_was_there_is_called_too(#[context] context: Context) {
    alone(&context, || {
        install_old_handler(USR1);
        let signals = signal::signal(USR1).unwrap();
        raise(USR1);
        assert_eq!(signals.try_recv(), Some(USR1));
        assert_eq!(OLD_CALLS.load(Ordering::Relaxed), 1);
    });
}

#[rstest]
#[case::on_a_green_thread(Kind::Green)]
#[case::on_an_os_thread(Kind::Os)]
fn handlers_run_on_the_alternate_stack(#[context] context: Context, #[case] kind: Kind) {
    if util::SANITIZED || util::left_out_under_valgrind("it has stacks of its own for handlers") {
        return;
    }
    alone(&context, || {
        install_old_handler(USR1);
        let signals = signal::signal(USR1).unwrap();
        kind.run(move || {
            raise(USR1);
            assert_eq!(signals.try_recv(), Some(USR1));
            // SAFETY: stack_t is plain data for which zero is valid.
            let mut stack: libc::stack_t = unsafe { MaybeUninit::zeroed().assume_init() };
            // SAFETY: a null first argument only asks.
            unsafe { libc::sigaltstack(ptr::null(), &mut stack) };
            assert_eq!(stack.ss_flags & libc::SS_DISABLE, 0, "the thread has none");
            let base = stack.ss_sp.addr();
            let frame = OLD_FRAME.load(Ordering::Relaxed);
            assert!((base..base + stack.ss_size).contains(&frame));
        });
    });
}

/// One would interrupt the other on the alternate stack, which has no room for that: the kernel's frame alone takes up to 3 of its 8 KiB.
#[rstest]
#[case::on_a_green_thread(Kind::Green)]
#[case::on_an_os_thread(Kind::Os)]
#[cfg(target_os = "linux")]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps signals until its next call of a function of C"
)]
fn handlers_of_many_kinds_find_room_at_once(#[context] context: Context, #[case] kind: Kind) {
    alone(&context, || {
        let first = libc::SIGRTMIN();
        let kinds: Vec<_> = (first..first + 20).map(SignalKind::from_raw).collect();
        let signals = Signals::new(kinds.iter().copied()).unwrap();
        kind.run(move || {
            // SAFETY: sigset_t is plain data for which zero is valid.
            let mut all: libc::sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
            let mut before = all;
            // SAFETY: the set is valid.
            unsafe { libc::sigfillset(&mut all) };
            // SAFETY: both sets are valid.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before) };
            kinds.iter().copied().for_each(raise);
            // SAFETY: the set is valid.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
            let mut heard: Vec<_> = iter::from_fn(|| signals.try_recv()).collect();
            heard.sort_by_key(|kind| kind.as_raw());
            assert_eq!(heard, kinds);
        });
    });
}

#[rstest]
fn dropped_listeners_leave_no_descriptors(#[context] context: Context) {
    alone(&context, || {
        let open = || std::fs::read_dir("/dev/fd").unwrap().count();
        let first = signal::signal(USR1).unwrap();
        let before = open();
        let more: Vec<_> = (0..5)
            .map(|_| Signals::new([USR1, USR2]).unwrap())
            .collect();
        assert_eq!(open(), before + 10);
        // With one thread that waits, and a signal that has come.
        raise(USR1);
        drop(more);
        assert_eq!(open(), before);
        assert_eq!(first.try_recv(), Some(USR1));
        raise(USR2);
    });
}

#[rstest]
#[cfg(target_os = "linux")]
#[case::as_a_rule(false)]
#[case::with_a_closure_before_it(true)]
fn children_have_the_default_actions(#[context] context: Context, #[case] hooked: bool) {
    use corde::os::unix::process::CommandExt;

    alone(&context, || {
        corde::run(move || {
            let kinds = [USR1, USR2, SignalKind::child()];
            let _signals = Signals::new(kinds).unwrap();
            let mut command = Command::new("cat");
            if hooked {
                // SAFETY: it does nothing.
                unsafe { command.pre_exec(|| Ok(())) };
            }
            let status = command.arg("/proc/self/status").output().unwrap();
            let status = String::from_utf8(status.stdout).unwrap();
            for name in ["SigBlk:", "SigIgn:", "SigCgt:"] {
                let set = status
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap();
                let set = u64::from_str_radix(set.trim(), 16).unwrap();
                for kind in kinds {
                    assert_eq!(
                        set >> (kind.as_raw() - 1) & 1,
                        0,
                        "{kind:?} {name} {status}"
                    );
                }
            }
        });
    });
}

/// What is read and written meanwhile is not disturbed, and the last signal always arrives.
#[rstest]
fn a_storm_disturbs_nobody(#[context] context: Context) {
    alone(&context, || {
        let storm = Signals::new([USR1, USR2]).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let theirs = over.clone();
        let talking = thread::spawn(move || {
            let (near, far) = pair();
            let answering = thread::spawn(move || echo(&far));
            while !theirs.load(Ordering::Relaxed) {
                expect_echo(&near, b"undisturbed");
                let output = Command::new("echo").arg("still").output().unwrap();
                assert_eq!(output.stdout, b"still\n");
            }
            drop(near);
            answering.join().unwrap().unwrap();
        });
        let sending = std::thread::spawn(|| {
            for _ in 0..3_000 * stress() {
                kill(USR1);
            }
            kill(USR2);
        });
        let mut heard = 0;
        let listening = thread::spawn(move || {
            while storm.recv().unwrap() == USR1 {
                heard += 1;
            }
            // USR1 may come after it, by another thread.
            heard += usize::from(storm.try_recv().is_some());
            heard
        });
        assert!(listening.join().unwrap() > 0);
        over.store(true, Ordering::Relaxed);
        sending.join().unwrap();
        talking.join().unwrap();
    });
}

#[rstest]
fn every_runtime_listens(#[context] context: Context) {
    alone(&context, || {
        let work = |signals: Signals| {
            assert!(timeout(MOMENT, || signals.recv()).is_err());
            raise(USR1);
            assert_eq!(signals.recv().unwrap(), USR1);
            signals
        };
        // One after the other, the former of which has ended.
        let signals = signal::signal(USR1).unwrap();
        let signals = LocalRuntime::new().unwrap().block_on(move || work(signals));
        let signals = Runtime::new().unwrap().block_on(move || work(signals));
        let signals = LocalRuntime::new().unwrap().block_on(move || work(signals));
        work(corde::run(move || work(signals)));
    });
}

#[test]
fn kinds_are_numbers_with_names() {
    let named = [
        (SignalKind::alarm(), libc::SIGALRM, "SIGALRM"),
        (SignalKind::child(), libc::SIGCHLD, "SIGCHLD"),
        (SignalKind::hangup(), libc::SIGHUP, "SIGHUP"),
        (SignalKind::interrupt(), libc::SIGINT, "SIGINT"),
        (SignalKind::io(), libc::SIGIO, "SIGIO"),
        (SignalKind::pipe(), libc::SIGPIPE, "SIGPIPE"),
        (SignalKind::quit(), libc::SIGQUIT, "SIGQUIT"),
        (SignalKind::terminate(), libc::SIGTERM, "SIGTERM"),
        (USR1, libc::SIGUSR1, "SIGUSR1"),
        (USR2, libc::SIGUSR2, "SIGUSR2"),
        (SignalKind::window_change(), libc::SIGWINCH, "SIGWINCH"),
    ];
    for (kind, raw, name) in named {
        assert_eq!(kind.as_raw(), raw);
        assert_eq!((c_int::from(kind), SignalKind::from(raw)), (raw, kind));
        assert_eq!(format!("{kind:?}"), name);
    }
    let signals = Signals::new([SignalKind::window_change()]).unwrap();
    assert_eq!(format!("{signals:?}"), "Signals([SIGWINCH])");
    assert_eq!(signals.try_recv(), None);
}

#[test]
fn listeners_may_be_shared() {
    fn shared<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    shared::<Signals>();
    shared::<SignalKind>();
}
