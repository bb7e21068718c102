//! Blocking closures: what they borrow and return, the OS threads that run them, and what cancelling and shutting down do to them.
#![cfg(feature = "runtime")]

mod util;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, LocalRuntime, Runtime};
use corde::thread::{
    self, Cancelled, JoinHandle, blocking, park, spawn_blocking, without_cancel, yield_now,
};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, spin_until, wait_until};
use util::{
    LIMIT, NO_LIMIT_ON_MEMORY, SANITIZED, child, full_name, left_out_in_an_emulator,
    left_out_under_valgrind, scaled, stress,
};

/// Holds closures up until it is opened.
#[derive(Clone, Default)]
struct Gate {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    fn open(&self) {
        *self.inner.0.lock().unwrap() = true;
        self.inner.1.notify_all();
    }

    /// Blocks the OS thread.
    #[track_caller]
    fn pass(&self) {
        let (open, changed) = &*self.inner;
        let waited = changed.wait_timeout_while(open.lock().unwrap(), LIMIT, |open| !*open);
        assert!(!waited.unwrap().1.timed_out(), "the gate was never opened");
    }
}

/// Passes when `count` OS threads are there at once.
struct Meeting {
    count: usize,
    arrived: AtomicUsize,
    gate: Gate,
}

impl Meeting {
    fn of(count: usize) -> Meeting {
        Meeting {
            count,
            arrived: AtomicUsize::new(0),
            gate: Gate::default(),
        }
    }

    fn attend(&self) {
        if self.arrived.fetch_add(1, Ordering::SeqCst) + 1 == self.count {
            self.gate.open();
        }
        self.gate.pass();
    }
}

fn one_worker() -> Builder {
    Builder::new().workers(1)
}

/// A runtime of one worker and one OS thread for blocking closures, which is busy until the gate is opened.
fn busy() -> (Runtime, Gate) {
    let runtime = one_worker().max_blocking_threads(1).build().unwrap();
    let gate = Gate::default();
    let theirs = gate.clone();
    let (begun, has_begun) = mpsc::channel();
    runtime.spawn_blocking(move || {
        begun.send(()).unwrap();
        theirs.pass();
    });
    has_begun.recv_timeout(LIMIT).unwrap();
    (runtime, gate)
}

/// Lets the only worker do what it has to do: other green threads have come to their next suspension.
fn settle(runtime: &Runtime) {
    runtime.block_on(|| (0..3).for_each(|_| yield_now()));
}

fn os_thread() -> std::thread::ThreadId {
    std::thread::current().id()
}

// The closure and its caller.

#[rstest]
#[case::a_green_thread(Kind::Green)]
#[case::an_os_thread(Kind::Os)]
fn a_closure_borrows_from_its_caller_and_returns_a_borrow(#[case] caller: Kind) {
    caller.run(|| {
        let words = ["plain", "blocking"].map(String::from);
        let mut total = 0;
        let longest = blocking(|| {
            total = words.iter().map(String::len).sum();
            words.iter().max_by_key(|word| word.len()).unwrap()
        });
        assert_eq!((longest.as_str(), total), ("blocking", 13));
    });
}

#[test]
fn a_closure_of_a_green_thread_runs_on_a_named_thread_of_its_own() {
    let runtime = one_worker().thread_name("resolver").build().unwrap();
    runtime.block_on(|| {
        let (green, worker) = (thread::current().id(), os_thread());
        blocking(|| {
            assert_ne!(os_thread(), worker);
            assert_ne!(thread::current().id(), green);
            let name = std::thread::current().name().map(str::to_owned);
            assert_eq!(name.as_deref(), Some("resolver-block-1"));
            assert_eq!(thread::current().name(), name.as_deref());
        });
        assert_eq!(thread::current().id(), green);
        assert_eq!(os_thread(), worker);
    });
}

#[test]
fn a_closure_of_an_os_thread_runs_in_place() {
    assert_eq!(blocking(os_thread), os_thread());
}

#[test]
fn a_nested_closure_runs_in_place() {
    let runtime = one_worker().max_blocking_threads(1).build().unwrap();
    runtime.block_on(|| {
        let (outer, inner) = blocking(|| (os_thread(), blocking(os_thread)));
        assert_eq!(outer, inner);
    });
}

#[test]
fn inside_of_a_closure_waits_are_those_of_an_os_thread() {
    corde::run(|| {
        blocking(|| {
            let me = thread::current();
            let waker = thread::spawn(move || me.unpark());
            park();
            waker.join().unwrap();
            timeout(Duration::from_millis(1), || {
                loop {
                    park();
                }
            })
            .unwrap_err();
            assert_eq!(corde::run(|| 7), 7);
        });
    });
}

#[rstest]
#[case::a_green_thread(Kind::Green)]
#[case::an_os_thread(Kind::Os)]
fn a_panic_goes_on_in_the_caller(#[case] caller: Kind) {
    caller.run(|| {
        let caught = catch_unwind(|| blocking(|| panic_quietly()));
        assert!(is_quiet_panic(&*caught.unwrap_err()));
        assert_eq!(blocking(|| 7), 7);
    });
}

#[test]
fn a_thread_that_unwinds_may_call() {
    let runtime = one_worker().build().unwrap();
    let seen = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(|| {
            let _last = OnDrop(|| seen.store(blocking(|| 7), Ordering::Relaxed));
            panic_quietly();
        });
    }));
    assert!(is_quiet_panic(&*caught.unwrap_err()));
    assert_eq!(seen.into_inner(), 7);
}

#[test]
fn others_on_the_same_worker_run_meanwhile() {
    let runtime = one_worker().build().unwrap();
    runtime.block_on(|| {
        let gate = Gate::default();
        let theirs = gate.clone();
        let opener = thread::spawn(move || theirs.open());
        blocking(|| gate.pass());
        opener.join().unwrap();
    });
}

#[test]
fn a_runtime_on_the_calling_thread_has_blocking_threads_too() {
    let runtime = LocalRuntime::new().unwrap();
    let here = os_thread();
    let there = runtime.block_on(|| {
        let gate = Gate::default();
        let theirs = gate.clone();
        thread::spawn_local(move || theirs.open());
        blocking(|| {
            gate.pass();
            os_thread()
        })
    });
    assert_ne!(here, there);
}

// The pool.

#[test]
fn closures_run_in_the_order_of_their_calls() {
    const CALLS: usize = 50;
    let (runtime, gate) = busy();
    let order = Arc::new(Mutex::new(Vec::new()));
    let callers: Vec<_> = (0..CALLS)
        .map(|i| {
            let order = order.clone();
            runtime.spawn(move || {
                if i % 2 == 0 {
                    blocking(|| order.lock().unwrap().push(i));
                } else {
                    let push = move || order.lock().unwrap().push(i);
                    spawn_blocking(push).join().unwrap();
                }
            })
        })
        .collect();
    settle(&runtime);
    assert_eq!(*order.lock().unwrap(), []);
    gate.open();
    for caller in callers {
        caller.join().unwrap();
    }
    assert!(order.lock().unwrap().iter().copied().eq(0..CALLS));
}

/// How many closures ran at the same time, and on which OS threads.
struct Turns {
    running: AtomicUsize,
    most: AtomicUsize,
    used: Mutex<HashSet<std::thread::ThreadId>>,
    /// Passed only if the pool grows to the limit.
    meeting: Meeting,
}

impl Turns {
    fn new(limit: usize) -> Arc<Turns> {
        Arc::new(Turns {
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            used: Mutex::default(),
            meeting: Meeting::of(limit),
        })
    }

    fn take(&self) {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.used.lock().unwrap().insert(os_thread());
        self.meeting.attend();
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// Has many green threads take a turn, and checks that the limit is reached and kept.
    fn check(self: Arc<Turns>, runtime: &Runtime, callers: usize) {
        let callers: Vec<_> = (0..callers)
            .map(|i| {
                let turns = self.clone();
                runtime.spawn(move || {
                    let mut taken = 0;
                    blocking(|| {
                        turns.take();
                        taken = i;
                    });
                    assert_eq!(taken, i);
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        let limit = self.meeting.count;
        assert_eq!(self.most.load(Ordering::SeqCst), limit);
        assert_eq!(self.used.lock().unwrap().len(), limit);
    }
}

#[test]
fn a_thousand_callers_take_turns_on_four_threads() {
    let builder = Builder::new().workers(2).max_blocking_threads(4);
    let runtime = builder.build().unwrap();
    Turns::new(4).check(&runtime, scaled(1_000));
}

#[rstest]
fn the_environment_sets_the_limit(#[context] context: Context) {
    let environment = [("CORDE_BLOCKING_THREADS", "2")];
    let outcome = child::run(&full_name(&context), &environment, || {
        Turns::new(2).check(&Runtime::new().unwrap(), 20);
    });
    outcome.assert_success();
    // Whoever chooses a limit knows of it.
    assert_eq!(outcome.stderr, "");
}

#[rstest]
fn a_limit_that_nobody_has_set_is_told_once_when_it_is_met(#[context] context: Context) {
    const LIMIT: usize = 512;
    if left_out_under_valgrind("it has room for fewer OS threads") {
        return;
    }
    let outcome = child::run(&full_name(&context), &[], || {
        let runtime = one_worker().build().unwrap();
        let gate = Gate::default();
        let closures: Vec<_> = (0..LIMIT + 10)
            .map(|_| {
                let gate = gate.clone();
                runtime.spawn_blocking(move || gate.pass())
            })
            .collect();
        gate.open();
        for closure in closures {
            closure.join().unwrap();
        }
    });
    outcome.assert_success();
    let stderr = outcome.stderr;
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in [
        "all 512 threads",
        "max_blocking_threads",
        "CORDE_BLOCKING_THREADS",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[rstest]
#[case::nothing("")]
#[case::none("0")]
#[case::a_word("many")]
fn an_impossible_limit_in_the_environment_is_an_error(
    #[context] context: Context,
    #[case] limit: &str,
) {
    let environment = [("CORDE_BLOCKING_THREADS", limit)];
    let outcome = child::run(&full_name(&context), &environment, || {
        let error = Runtime::new().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains("CORDE_BLOCKING_THREADS="), "{text}");
    });
    outcome.assert_success();
}

#[test]
fn a_limit_of_no_threads_is_an_error() {
    let error = Builder::new().max_blocking_threads(0).build().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn an_idle_thread_is_used_again() {
    let runtime = one_worker().build().unwrap();
    runtime.block_on(|| {
        let begin = Instant::now();
        let mut used = HashSet::new();
        // It becomes idle a little after its closure has returned.
        while used.insert(blocking(os_thread)) {
            assert!(begin.elapsed() < LIMIT, "each closure got a new OS thread");
        }
    });
}

/// Has the calling OS thread send something when it ends.
fn tell_end(to: &Sender<std::thread::ThreadId>) {
    struct AtEnd(Sender<std::thread::ThreadId>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let _ = self.0.send(os_thread());
        }
    }
    thread_local! {
        static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    AT_END.set(Some(AtEnd(to.clone())));
}

/// Has `count` threads of the pool tell their ends.
fn grow(runtime: &Runtime, count: usize) -> Receiver<std::thread::ThreadId> {
    let (end, ended) = mpsc::channel();
    let meeting = Arc::new(Meeting::of(count));
    let closures: Vec<_> = (0..count)
        .map(|_| {
            let (end, meeting) = (end.clone(), meeting.clone());
            runtime.spawn_blocking(move || {
                tell_end(&end);
                meeting.attend();
            })
        })
        .collect();
    for closure in closures {
        closure.join().unwrap();
    }
    ended
}

#[test]
fn threads_that_are_idle_for_long_enough_end_and_others_are_started_in_their_place() {
    const THREADS: usize = 5;
    let keep_alive = Duration::from_millis(1);
    let builder = one_worker().max_blocking_threads(THREADS);
    let runtime = builder.blocking_keep_alive(keep_alive).build().unwrap();
    for _ in 0..2 {
        let ended = grow(&runtime, THREADS);
        let ends: HashSet<_> = (0..THREADS)
            .map(|_| ended.recv_timeout(LIMIT).unwrap())
            .collect();
        assert_eq!(ends.len(), THREADS);
    }
}

#[test]
fn threads_that_may_be_idle_for_ever_end_with_the_runtime() {
    const THREADS: usize = 3;
    let builder = one_worker().blocking_keep_alive(Duration::MAX);
    let runtime = builder.build().unwrap();
    let ended = grow(&runtime, THREADS);
    // No runtime, no limit in time: waits until they have ended.
    assert!(runtime.shutdown(Duration::MAX).left().is_empty());
    for _ in 0..THREADS {
        ended.recv_timeout(LIMIT).unwrap();
    }
}

#[rstest]
#[case::on_those_that_are_there(true)]
#[case::on_the_worker(false)]
fn closures_run_without_new_os_threads(#[context] context: Context, #[case] one_is_there: bool) {
    if SANITIZED || left_out_under_valgrind("it needs memory of its own") {
        return;
    }
    if left_out_in_an_emulator(NO_LIMIT_ON_MEMORY) {
        return;
    }
    let outcome = child::run(&full_name(&context), &[], || {
        // Without a monitor, whose thread maps much memory for a moment when it begins.
        let quiet = one_worker().stuck_after(Duration::MAX);
        let runtime = quiet.build().unwrap();
        runtime.block_on(|| {
            let worker = os_thread();
            let there = one_is_there.then(|| blocking(os_thread));
            forbid_large_mappings();
            if let Some(there) = there {
                // The one that is there is busy when the second closure comes.
                let gate = Gate::default();
                let theirs = gate.clone();
                let (begun, has_begun) = mpsc::channel();
                let first = spawn_blocking(move || {
                    begun.send(()).unwrap();
                    theirs.pass();
                    os_thread()
                });
                has_begun.recv_timeout(LIMIT).unwrap();
                let second = spawn_blocking(os_thread);
                gate.open();
                assert_eq!(first.join().unwrap(), there);
                assert_eq!(second.join().unwrap(), there);
                assert_eq!(blocking(os_thread), there);
            } else {
                assert_eq!(blocking(os_thread), worker);
                assert_eq!(spawn_blocking(os_thread).join().unwrap(), worker);
                let caught = catch_unwind(|| blocking(|| panic_quietly()));
                assert!(is_quiet_panic(&*caught.unwrap_err()));
            }
        });
    });
    outcome.assert_success();
    let stderr = outcome.stderr;
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in ["could not be started", "ulimit"] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

/// From now on this process cannot have the stack of another OS thread.
fn forbid_large_mappings() {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: the call has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let now = pages * u64::try_from(page).unwrap();
    let limit = libc::rlimit {
        rlim_cur: (now + (1 << 20)) as libc::rlim_t,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: it reads the structure that is passed.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

// Cancellation and time limits.

/// A green thread whose closure waits in the queue.
fn queued(runtime: &Runtime, mask: bool, ran: &Arc<AtomicBool>) -> JoinHandle<()> {
    let ran = ran.clone();
    let caller = runtime.spawn(move || {
        let borrowed = &ran;
        let call = || blocking(|| borrowed.store(true, Ordering::SeqCst));
        if mask {
            without_cancel(call)
        } else {
            call()
        }
        park();
    });
    settle(runtime);
    caller
}

#[test]
fn a_cancelled_caller_leaves_before_its_closure_has_begun() {
    let (runtime, gate) = busy();
    let ran = Arc::new(AtomicBool::new(false));
    let [before, caller, after] = [(); 3].map(|()| queued(&runtime, false, &ran));
    caller.cancel();
    assert!(caller.join().unwrap_err().is::<Cancelled>());
    before.cancel();
    assert!(before.join().unwrap_err().is::<Cancelled>());
    after.cancel();
    assert!(after.join().unwrap_err().is::<Cancelled>());
    gate.open();
    // The queue is as it was without them.
    runtime.spawn_blocking(|| ()).join().unwrap();
    assert!(!ran.load(Ordering::SeqCst));
}

#[test]
fn a_closure_that_leaves_the_queue_leaves_the_others_in_it() {
    let (runtime, gate) = busy();
    let cancelled = Arc::new(AtomicBool::new(false));
    let others: [_; 3] = Default::default();
    let mut callers = Vec::new();
    for ran in &others {
        callers.push(queued(&runtime, false, ran));
        let caller = queued(&runtime, false, &cancelled);
        caller.cancel();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
    }
    gate.open();
    callers.iter().for_each(|caller| caller.thread().unpark());
    for caller in callers {
        caller.join().unwrap();
    }
    assert!(others.iter().all(|ran| ran.load(Ordering::SeqCst)));
    assert!(!cancelled.load(Ordering::SeqCst));
}

#[test]
fn a_masked_caller_waits_though_its_closure_has_not_begun() {
    let (runtime, gate) = busy();
    let ran = Arc::new(AtomicBool::new(false));
    let caller = queued(&runtime, true, &ran);
    caller.cancel();
    settle(&runtime);
    assert!(!caller.is_finished());
    gate.open();
    assert!(caller.join().unwrap_err().is::<Cancelled>());
    assert!(ran.load(Ordering::SeqCst));
}

#[test]
fn a_cancelled_caller_waits_for_a_closure_that_has_begun() {
    let runtime = one_worker().build().unwrap();
    let gate = Gate::default();
    let theirs = gate.clone();
    let (begun, has_begun) = mpsc::channel();
    let (value, got) = mpsc::channel();
    let caller = runtime.spawn(move || {
        let mut buffer = [0; 1000];
        let returned = blocking(|| {
            begun.send(()).unwrap();
            theirs.pass();
            buffer.fill(7);
            8
        });
        value.send((buffer[999], returned)).unwrap();
        park();
    });
    has_begun.recv_timeout(LIMIT).unwrap();
    caller.cancel();
    settle(&runtime);
    assert!(!caller.is_finished());
    assert!(got.try_recv().is_err());
    gate.open();
    assert_eq!(got.recv_timeout(LIMIT).unwrap(), (7, 8));
    assert!(caller.join().unwrap_err().is::<Cancelled>());
}

#[test]
fn a_cancelled_caller_does_not_begin_a_closure() {
    let runtime = one_worker().build().unwrap();
    let [begun, cancelled, ran] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let (has_begun, is_cancelled, theirs) = (begun.clone(), cancelled.clone(), ran.clone());
    let caller = runtime.spawn(move || {
        has_begun.store(true, Ordering::SeqCst);
        spin_until(|| is_cancelled.load(Ordering::SeqCst));
        blocking(|| theirs.store(true, Ordering::SeqCst));
    });
    spin_until(|| begun.load(Ordering::SeqCst));
    caller.cancel();
    cancelled.store(true, Ordering::SeqCst);
    assert!(caller.join().unwrap_err().is::<Cancelled>());
    assert!(!ran.load(Ordering::SeqCst));
}

#[test]
fn a_time_limit_ends_the_wait_for_a_closure_that_has_not_begun() {
    let (runtime, gate) = busy();
    runtime.block_on(|| {
        let mut ran = false;
        timeout(Duration::from_millis(1), || blocking(|| ran = true)).unwrap_err();
        assert!(!ran);
    });
    gate.open();
}

#[test]
fn a_closure_that_has_begun_returns_its_value_after_the_time_limit() {
    let runtime = one_worker().build().unwrap();
    runtime.block_on(|| {
        let mut limit = Duration::from_millis(2);
        loop {
            let mut has_begun = false;
            let value = timeout(limit, || {
                blocking(|| {
                    has_begun = true;
                    std::thread::sleep(2 * limit);
                    7
                })
            });
            if has_begun {
                assert_eq!(value, Ok(7));
                return;
            }
            // The machine is so busy that the time was over before.
            limit *= 2;
        }
    });
}

#[test]
fn a_time_limit_that_was_over_meanwhile_ends_the_next_wait() {
    let runtime = one_worker().build().unwrap();
    runtime.block_on(|| {
        let limit = Duration::from_millis(2);
        let ended = timeout(limit, || {
            blocking(|| std::thread::sleep(2 * limit));
            park();
        });
        ended.unwrap_err();
    });
}

// Detached closures.

#[rstest]
#[case::a_green_thread(Kind::Green)]
#[case::an_os_thread(Kind::Os)]
fn a_detached_closure_is_joined(#[case] caller: Kind) {
    caller.run(|| {
        let gate = Gate::default();
        let theirs = gate.clone();
        let closure = spawn_blocking(move || {
            theirs.pass();
            os_thread()
        });
        assert!(!closure.is_finished());
        gate.open();
        wait_until(|| closure.is_finished());
        assert_ne!(closure.join().unwrap(), os_thread());
        let panicking = spawn_blocking(|| panic_quietly());
        assert!(is_quiet_panic(&*panicking.join().unwrap_err()));
    });
}

#[test]
fn a_joiner_lets_others_on_its_worker_run() {
    let runtime = one_worker().build().unwrap();
    runtime.block_on(|| {
        let gate = Gate::default();
        let theirs = gate.clone();
        let closure = spawn_blocking(move || theirs.pass());
        let opener = thread::spawn(move || gate.open());
        closure.join().unwrap();
        opener.join().unwrap();
    });
}

#[test]
fn a_closure_whose_handle_is_dropped_runs_and_its_result_is_dropped() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let (dropped, is_dropped) = mpsc::channel();
    drop(spawn_blocking(move || {
        theirs.pass();
        OnDrop(move || dropped.send(os_thread()).unwrap())
    }));
    gate.open();
    assert_ne!(is_dropped.recv_timeout(LIMIT).unwrap(), os_thread());
}

#[test]
fn a_cancelled_joiner_leaves() {
    let (runtime, gate) = busy();
    let (value, got) = mpsc::channel();
    let joiner = runtime.spawn(move || {
        let closure = spawn_blocking(move || value.send(7).unwrap());
        let _ = closure.join();
    });
    settle(&runtime);
    joiner.cancel();
    assert!(joiner.join().unwrap_err().is::<Cancelled>());
    gate.open();
    assert_eq!(got.recv_timeout(LIMIT), Ok(7));
}

// The end of a runtime.

#[test]
fn shutdown_drops_what_has_not_begun_and_waits_for_what_runs() {
    let runtime = one_worker().max_blocking_threads(1).build().unwrap();
    let gate = Gate::default();
    let theirs = gate.clone();
    let (begun, has_begun) = mpsc::channel();
    let running = runtime.spawn_blocking(move || {
        begun.send(()).unwrap();
        theirs.pass();
        // Whoever does not wait is done by then.
        std::thread::sleep(Duration::from_millis(20));
    });
    has_begun.recv_timeout(LIMIT).unwrap();
    // The closure that runs ends only after the other one was dropped.
    let opener = OnDrop(move || gate.open());
    let closure = runtime.spawn_blocking(move || drop(opener));
    let handle = runtime.handle().clone();
    assert!(runtime.shutdown(Duration::MAX).left().is_empty());
    assert!(running.is_finished());
    assert!(closure.join().unwrap_err().is::<Cancelled>());
    let late = handle.spawn_blocking(|| ());
    assert!(late.join().unwrap_err().is::<Cancelled>());
}

#[test]
fn shutdown_tells_of_a_closure_that_runs_on() {
    let runtime = one_worker().build().unwrap();
    let gate = Gate::default();
    let theirs = gate.clone();
    let (begun, has_begun) = mpsc::channel();
    let closure = runtime.spawn_blocking(move || {
        begun.send(()).unwrap();
        theirs.pass();
        7
    });
    has_begun.recv_timeout(LIMIT).unwrap();
    let report = runtime.shutdown(Duration::ZERO);
    assert_eq!(report.left().len(), 1);
    assert!(report.left()[0].is_running());
    gate.open();
    assert_eq!(closure.join().unwrap(), 7);
}

#[test]
#[cfg_attr(
    feature = "asan",
    ignore = "what is left behind counts as leaked, which it is"
)]
fn a_caller_that_is_left_behind_keeps_what_its_closure_borrows() {
    let runtime = one_worker().build().unwrap();
    let gate = Gate::default();
    let theirs = gate.clone();
    let (begun, has_begun) = mpsc::channel();
    let (sum, got) = mpsc::channel();
    runtime.spawn(move || {
        let mut buffer = [1_u64; 1000];
        blocking(|| {
            begun.send(()).unwrap();
            theirs.pass();
            buffer[0] = 2;
            sum.send(buffer.iter().sum::<u64>()).unwrap();
        });
        unreachable!("its worker has ended");
    });
    has_begun.recv_timeout(LIMIT).unwrap();
    let report = runtime.shutdown(Duration::ZERO);
    assert_eq!(report.left().len(), 1);
    assert!(!report.left()[0].is_running());
    gate.open();
    assert_eq!(got.recv_timeout(LIMIT), Ok(1001));
}

#[test]
fn shutdown_waits_for_a_closure_that_a_green_thread_waits_for() {
    let (runtime, gate) = busy();
    let ran = Arc::new(AtomicBool::new(false));
    let _caller = queued(&runtime, true, &ran);
    let opener = runtime.spawn_blocking({
        let opener = OnDrop(move || gate.open());
        move || drop(opener)
    });
    assert!(runtime.shutdown(Duration::MAX).left().is_empty());
    assert!(opener.join().unwrap_err().is::<Cancelled>());
    assert!(ran.load(Ordering::SeqCst));
}

#[rstest]
fn a_closure_may_shut_its_own_runtime_down(#[context] context: Context) {
    let outcome = child::run(&full_name(&context), &[], || {
        let runtime = one_worker().build().unwrap();
        let handle = runtime.handle().clone();
        let left = handle.spawn_blocking(move || runtime.shutdown(Duration::MAX).left().len());
        // It does not wait for itself, but it is still running.
        assert_eq!(left.join().unwrap(), 1);
    });
    outcome.assert_success();
}

// All at once.

#[test]
fn no_closure_outlives_its_caller_and_none_is_lost() {
    let mut random = Xorshift(0x2545_f491_4f6c_dd1d);
    let mut below = |n: u64| random.next() % n;
    for _ in 0..20 * stress() {
        let builder = Builder::new().workers(2);
        let builder = builder.max_blocking_threads(below(3) as usize + 1);
        let keep_alive = Duration::from_micros(below(50));
        let runtime = builder.blocking_keep_alive(keep_alive).build().unwrap();
        let counts = Arc::new([(); 3].map(|()| AtomicUsize::new(0)));
        let callers: Vec<_> = (0..100)
            .map(|i| {
                let counts = counts.clone();
                let caller = runtime.spawn(move || {
                    let alive = AtomicBool::new(true);
                    let _end = OnDrop(|| alive.store(false, Ordering::SeqCst));
                    let [calls, begun, ended] = &*counts;
                    for _ in 0..10 {
                        calls.fetch_add(1, Ordering::SeqCst);
                        let value = blocking(|| {
                            begun.fetch_add(1, Ordering::SeqCst);
                            assert!(alive.load(Ordering::SeqCst));
                            ended.fetch_add(1, Ordering::SeqCst);
                            i
                        });
                        assert_eq!(value, i);
                    }
                });
                (caller, below(4) == 0)
            })
            .collect();
        for (caller, cancel) in &callers {
            if *cancel {
                caller.cancel();
            }
        }
        for (caller, cancel) in callers {
            match caller.join() {
                Ok(()) => {}
                Err(payload) => assert!(cancel && payload.is::<Cancelled>()),
            }
        }
        let [calls, begun, ended] = counts.each_ref().map(|it| it.load(Ordering::SeqCst));
        assert_eq!(begun, ended);
        assert!(ended <= calls);
        assert!(runtime.shutdown(LIMIT).left().is_empty());
    }
}
