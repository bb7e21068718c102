//! The monitor: a green thread that keeps its worker is reported; and nothing else is.
#![cfg(all(feature = "runtime", target_os = "linux"))]

mod util;

use std::fs::{self, File};
use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, Runtime};
use corde::signal::{SignalKind, Signals};
use corde::{generator, go, thread};
use rstest::{Context, rstest};
use util::{LIMIT, child, full_name, left_out_in_an_emulator, left_out_under_valgrind};

/// After this a worker is stuck, in most tests.
const STUCK: Duration = Duration::from_millis(20);

/// What each report says.
const REPORT: &str = "has held worker";

/// Runs `body` in a process of its own, which the calling rstest case names: standard error belongs to all of a process.
fn in_child(context: &Context, body: impl FnOnce(&Log)) {
    if left_out_under_valgrind("one thread runs at a time, and the system sees Valgrind's locks") {
        return;
    }
    child::run(&full_name(context), &[], || body(&Log::begin())).assert_success();
}

/// What the process writes to standard error from now on. It still goes where it went.
#[derive(Clone)]
struct Log {
    text: Arc<Mutex<String>>,
}

impl Log {
    fn begin() -> Log {
        let mut ends = [0; 2];
        // SAFETY: the array has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: no pointers.
        let before = unsafe { libc::dup(libc::STDERR_FILENO) };
        // SAFETY: no pointers; both are open.
        unsafe { libc::dup2(ends[1], libc::STDERR_FILENO) };
        // SAFETY: the descriptor is new.
        let mut before = unsafe { File::from_raw_fd(before) };
        // SAFETY: as above.
        let mut written = unsafe { File::from_raw_fd(ends[0]) };
        let text = Arc::new(Mutex::new(String::new()));
        let log = Log { text: text.clone() };
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = written.read(&mut bytes) {
                let _ = before.write_all(&bytes[..count]);
                let part = String::from_utf8_lossy(&bytes[..count]);
                text.lock().unwrap().push_str(&part);
            }
        });
        log
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn count(&self, words: &str) -> usize {
        self.text().matches(words).count()
    }

    fn has(&self, words: &str) -> bool {
        self.count(words) > 0
    }
}

/// Computes until `done`, with all that the worker has.
#[inline(never)]
fn compute_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "what is waited for does not come");
        for _ in 0..1000 {
            spin_loop();
        }
    }
}

/// Blocks the calling OS thread until `done`.
fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "what is waited for does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The OS threads of this process that are monitors.
fn monitors() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    threads
        .map(|it| it.unwrap().path().display().to_string())
        // One may end meanwhile.
        .filter(|it| {
            fs::read_to_string(format!("{it}/comm")).is_ok_and(|it| it == "corde-monitor\n")
        })
        .collect()
}

/// How often the only monitor of this process has gone to sleep.
fn looks() -> u64 {
    let monitors = monitors();
    let [monitor] = monitors.as_slice() else {
        // It has not got its name yet.
        return 0;
    };
    let status = fs::read_to_string(format!("{monitor}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

fn runtime(stuck_after: Duration) -> Runtime {
    let builder = Builder::new().workers(2).stuck_after(stuck_after);
    builder.build().unwrap()
}

/// Runs `body` in a green thread of this name, and waits for it.
fn run_named<F: FnOnce() + Send + 'static>(runtime: &Runtime, name: &str, body: F) {
    runtime.block_on(|| go!(name = name; body).join().unwrap());
}

/// Lets the monitor look a few times more, while the caller goes on being what it looks at.
fn let_it_look() {
    let before = looks();
    compute_until(|| looks() >= before + 12);
}

#[rstest]
#[case::named("hog", "green thread 'hog' (id ")]
#[case::of_several_lines("two\nlines", "green thread 'two?lines' (id ")]
#[cfg_attr(feature = "tsan", ignore = "signals come late to who computes")]
#[cfg_attr(not(target_env = "gnu"), ignore = "no backtraces with this C library")]
fn a_green_thread_that_computes_is_reported_once(
    #[context] context: Context,
    #[case] name: &str,
    #[case] who: &'static str,
) {
    in_child(&context, |log| {
        let (runtime, log) = (runtime(STUCK), log.clone());
        run_named(&runtime, name, move || {
            compute_until(|| log.has(REPORT));
            let_it_look();
            assert_eq!(log.count(REPORT), 1);
            assert!(log.has(who));
            assert!(log.has(" ms: it computes"));
            let place = if cfg!(feature = "backtrace") {
                "compute_until"
            } else {
                concat!(env!("CARGO_CRATE_NAME"), "-")
            };
            wait_until(|| log.has(place));
            wait_until(|| log.has("\n   1: "));
            assert!(
                !log.has("Worker::run"),
                "the frames of the worker are not shown"
            );
        });
    });
}

#[rstest]
#[cfg_attr(feature = "tsan", ignore = "signals come late to who computes")]
fn a_green_thread_is_reported_again_when_it_is_stuck_again(#[context] context: Context) {
    in_child(&context, |log| {
        let (runtime, log) = (runtime(STUCK), log.clone());
        run_named(&runtime, "again", move || {
            for times in 1..=3 {
                compute_until(|| log.count(REPORT) == times);
                thread::yield_now();
            }
        });
    });
}

/// Its alternate stack has no room for the handler that looks at it and another one.
#[rstest]
#[cfg_attr(feature = "tsan", ignore = "signals come late to who computes")]
fn a_storm_of_signals_meanwhile_finds_room(#[context] context: Context) {
    in_child(&context, |log| {
        let (runtime, log) = (runtime(STUCK), log.clone());
        let kinds = [SignalKind::user_defined1(), SignalKind::user_defined2()];
        let signals = Signals::new(kinds).unwrap();
        run_named(&runtime, "target", move || {
            // SAFETY: no arguments.
            let target = unsafe { libc::pthread_self() };
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        for kind in kinds {
                            // SAFETY: the thread waits for this one, and the signal is listened to.
                            unsafe { libc::pthread_kill(target, kind.as_raw()) };
                        }
                    }
                });
                for times in 1..=10 {
                    compute_until(|| log.count(REPORT) == times);
                    thread::yield_now();
                }
                over.store(true, Ordering::Relaxed);
            });
        });
        assert!(signals.try_recv().is_some());
    });
}

#[rstest]
fn one_that_waits_for_a_lock_of_std_is_reported_as_such(#[context] context: Context) {
    if left_out_in_an_emulator("the system has another processor's numbers of system calls") {
        return;
    }
    in_child(&context, |log| {
        let runtime = runtime(STUCK);
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let theirs = lock.clone();
        let waiting = runtime.spawn(move || drop(theirs.lock().unwrap()));
        wait_until(|| log.has("it waits for a lock"));
        drop(held);
        waiting.join().unwrap();
    });
}

#[rstest]
fn a_system_call_that_is_looked_into_goes_on(#[context] context: Context) {
    in_child(&context, |log| {
        let runtime = runtime(STUCK);
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let reading = runtime.spawn(move || near.read(&mut [0]).map_err(|it| it.to_string()));
        wait_until(|| log.has(" ms: it blocks in system call "));
        far.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap(), Ok(1));
    });
}

#[rstest]
fn short_turns_are_not_reported(#[context] context: Context) {
    in_child(&context, |log| {
        // Long enough that the system lets every thread run meanwhile.
        let (runtime, log) = (runtime(Duration::from_millis(400)), log.clone());
        run_named(&runtime, "polite", move || {
            let before = looks();
            while looks() < before + 6 {
                compute_until(|| true);
                thread::yield_now();
            }
            assert!(!log.has(REPORT));
        });
    });
}

#[rstest]
fn a_runtime_that_is_told_never_to_has_no_monitor(#[context] context: Context) {
    in_child(&context, |_| {
        let runtime = runtime(Duration::MAX);
        runtime.block_on(|| assert_eq!(monitors().len(), 0));
    });
}

#[rstest]
#[cfg_attr(feature = "tsan", ignore = "signals come late to who computes")]
fn the_monitor_sleeps_while_all_workers_do_and_wakes_with_them(#[context] context: Context) {
    in_child(&context, |log| {
        let runtime = runtime(STUCK);
        for times in 1..=3 {
            let log = log.clone();
            run_named(&runtime, "hog", move || {
                compute_until(|| log.count(REPORT) == times);
            });
            wait_until(|| {
                let before = looks();
                // Sixty periods: if it were awake, it would look.
                std::thread::sleep(STUCK * 15);
                looks() == before
            });
        }
    });
}

#[rstest]
fn fresh_green_threads_behind_a_stuck_one_run_on_another_worker(#[context] context: Context) {
    in_child(&context, |_| {
        let runtime = runtime(STUCK);
        runtime.block_on(|| {
            let ran = Arc::new(AtomicUsize::new(0));
            let fresh: Vec<_> = (0..100)
                .map(|_| {
                    let ran = ran.clone();
                    go!({ ran.fetch_add(1, Ordering::Relaxed) })
                })
                .collect();
            compute_until(|| ran.load(Ordering::Relaxed) == 100);
            fresh.into_iter().for_each(|it| drop(it.join()));
        });
    });
}

#[rstest]
#[cfg_attr(feature = "tsan", ignore = "signals come late to who computes")]
fn each_of_several_runtimes_has_a_monitor(#[context] context: Context) {
    in_child(&context, |log| {
        let runtimes = ["one", "two", "three"].map(|name| (name, runtime(STUCK)));
        let hogs = runtimes.each_ref().map(|(name, runtime)| {
            let log = log.clone();
            let words = format!("green thread '{name}' (id ");
            runtime.block_on(|| go!(name = *name; { compute_until(|| log.has(&words)) }))
        });
        hogs.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[rstest]
#[case::idle(false)]
#[case::that_reports(true)]
fn shutdown_ends_the_monitor(#[context] context: Context, #[case] stuck: bool) {
    in_child(&context, |log| {
        for round in 1..=5 {
            let runtime = runtime(STUCK / 10);
            if stuck {
                let log = log.clone();
                runtime.block_on(|| compute_until(|| log.count(REPORT) >= round));
            }
            assert!(runtime.shutdown(LIMIT).left().is_empty());
            wait_until(|| monitors().is_empty());
        }
    });
}

/// The disposition of SIGURG, after setting it when there is a new one.
fn disposition(new: Option<libc::sighandler_t>) -> libc::sighandler_t {
    // SAFETY: sigaction is plain data for which zero is valid.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    if let Some(new) = new {
        action.sa_sigaction = new;
        // SAFETY: the handlers here do nothing.
        unsafe { libc::sigaction(libc::SIGURG, &action, ptr::null_mut()) };
    }
    // SAFETY: a null second argument only asks.
    unsafe { libc::sigaction(libc::SIGURG, ptr::null(), &mut action) };
    action.sa_sigaction
}

static OWN_SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn own_handler(_: libc::c_int) {
    OWN_SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[rstest]
fn a_program_that_handles_the_signal_itself_is_left_alone(#[context] context: Context) {
    in_child(&context, |log| {
        let own: extern "C" fn(libc::c_int) = own_handler;
        disposition(Some(own as usize));
        let (runtime, log) = (runtime(STUCK), log.clone());
        run_named(&runtime, "unknown", move || {
            compute_until(|| log.has("the program handles SIGURG itself"));
            assert!(log.has("a green thread has held worker"));
        });
        assert_eq!(OWN_SIGNALS.load(Ordering::Relaxed), 0);
        assert_eq!(disposition(None), own as usize);
    });
}

#[rstest]
#[case::default(libc::SIG_DFL)]
#[case::ignored(libc::SIG_IGN)]
#[cfg_attr(feature = "tsan", ignore = "signals come late to who computes")]
fn the_signal_is_put_back_after_a_report(
    #[context] context: Context,
    #[case] before: libc::sighandler_t,
) {
    in_child(&context, |log| {
        disposition(Some(before));
        let (runtime, log) = (runtime(STUCK), log.clone());
        run_named(&runtime, "hog", move || {
            compute_until(|| log.has("'hog'"));
        });
        assert_eq!(disposition(None), before);
    });
}

/// One to whom the signal comes at every instruction of a switch, in time.
#[rstest]
#[cfg_attr(feature = "tsan", ignore = "signals come late to who computes")]
fn coroutines_are_reported_wherever_they_are(#[context] context: Context) {
    in_child(&context, |log| {
        let (runtime, log) = (runtime(STUCK / 20), log.clone());
        run_named(&runtime, "generating", move || {
            for times in 1..=100 {
                while log.count(REPORT) < times {
                    for _ in 0..1000 {
                        let numbers = generator(|yielder| (0..50).for_each(|n| yielder.suspend(n)));
                        black_box(numbers.sum::<i32>());
                    }
                }
                thread::yield_now();
            }
        });
    });
}
