//! `corde::runtime`: settings, several runtimes at once, their end, and the one on the calling thread.
#![cfg(feature = "runtime")]

mod util;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, Handle, LocalRuntime, Runtime};
use corde::stack;
use corde::thread::{
    self, Cancelled, JoinHandle, Thread, park, sleep, spawn_local, without_cancel, yield_now,
};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, one_on_each_worker, panic_quietly, wait_until};
use util::unwinding::panic_message;
use util::{
    LIMIT, NO_LIMIT_ON_MEMORY, child, full_name, left_out_in_an_emulator, left_out_under_valgrind,
    net, stress,
};

const SHORT: Duration = Duration::from_millis(2);

/// Longer than any test may take.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

fn workers(count: usize) -> Runtime {
    Builder::new().workers(count).build().unwrap()
}

fn wait_for_ever() {
    loop {
        park();
    }
}

/// The name of the calling OS thread.
fn os_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    let payload = result.map(drop).expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}

fn add_one(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::SeqCst);
}

fn spin(release: &AtomicBool) {
    while !release.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}

// Settings.

#[rstest]
#[case::no_workers(Builder::new().workers(0))]
#[case::too_many_workers(Builder::new().workers(1025))]
#[case::impossible_stacks(Builder::new().workers(1).stack_size(usize::MAX))]
fn what_cannot_be_is_an_error(#[case] settings: Builder) {
    let error = settings.build().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_runtime_on_the_calling_thread_has_no_number_of_workers() {
    let runtime = Builder::new().workers(0).build_local().unwrap();
    assert_eq!(runtime.block_on(|| 7), 7);
    let impossible = Builder::new().stack_size(usize::MAX).build_local();
    assert_eq!(impossible.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[rstest]
#[case::one(1)]
#[case::three(3)]
#[timeout(LIMIT)]
fn hooks_run_once_on_each_worker_before_and_after_all_else(#[case] count: usize) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let log = log.clone();
        move || log.lock().unwrap().push((what, os_name()))
    };
    let runtime = Builder::new()
        .workers(count)
        .thread_name("hooked")
        .on_thread_start(note("start"))
        .on_thread_stop(note("stop"))
        .build()
        .unwrap();
    let run = note("run");
    let handle = runtime.handle().clone();
    runtime.block_on(move || {
        // None of them suspends, so that each keeps its worker: all have begun.
        let threads = one_on_each_worker(count, run);
        wait_until(|| threads.iter().all(JoinHandle::is_finished));
        drop(handle);
    });
    assert!(runtime.shutdown(LIMIT).left().is_empty());
    let log = log.lock().unwrap();
    for worker in (0..count).map(|index| format!("hooked-{index}")) {
        let there = log.iter().filter(|(_, name)| *name == worker);
        let order: Vec<_> = there.map(|(what, _)| *what).collect();
        assert_eq!(order, ["start", "run", "stop"], "{worker}");
    }
    assert_eq!(log.len(), 3 * count);
}

#[rstest]
#[case::start(|builder: Builder| builder.on_thread_start(|| panic!("hook")))]
#[case::stop(|builder: Builder| builder.on_thread_stop(|| panic!("hook")))]
#[timeout(LIMIT)]
fn a_panic_of_a_hook_ends_the_process(
    #[context] context: Context,
    #[case] with_hook: fn(Builder) -> Builder,
) {
    let outcome = child::run(&full_name(&context), &[], || {
        let runtime = with_hook(Builder::new().workers(1)).build().unwrap();
        drop(runtime);
        loop {
            std::thread::park();
        }
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("a worker panicked outside of its green threads")
    );
}

#[rstest]
#[timeout(LIMIT)]
fn workers_are_named_and_numbered() {
    let default = workers(1);
    assert_eq!(default.spawn(os_name).join().unwrap(), "corde-worker-0");
    let named = Builder::new().workers(2).thread_name("resolver").build();
    let named = named.unwrap();
    let names = named.block_on(|| {
        let threads = one_on_each_worker(2, os_name);
        // The one that runs this may not join: it would hold a worker up that the others need.
        threads
            .into_iter()
            .map(|it| it.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut names = names;
    names.sort();
    assert_eq!(names, ["resolver-0", "resolver-1"]);
}

/// What is left of the calling thread's stack.
fn left() -> usize {
    stack::remaining().unwrap()
}

/// Whether this much is left of a stack of `size` bytes that has just begun. It may be larger by some pages.
fn is_that(left: usize, size: usize) -> bool {
    (size / 2..size + size / 4).contains(&left)
}

#[rstest]
#[case::smaller(64 * 1024)]
#[case::larger(2 << 20)]
#[timeout(LIMIT)]
fn stacks_have_the_size_of_the_runtime_unless_they_ask_for_another(#[case] size: usize) {
    let runtime = Builder::new().workers(1).stack_size(size).build().unwrap();
    assert!(is_that(runtime.spawn(left).join().unwrap(), size));
    assert!(is_that(runtime.block_on(left), size));
    runtime.block_on(|| {
        let own = thread::Builder::new().stack_size(512 * 1024);
        assert!(is_that(
            own.spawn(left).unwrap().join().unwrap(),
            512 * 1024
        ));
    });
    let local = Builder::new().stack_size(size).build_local().unwrap();
    assert!(is_that(local.block_on(left), size));
    let spawned = local.block_on(|| spawn_local(left).join().unwrap());
    assert!(is_that(spawned, size));
}

#[rstest]
#[case::one("1", 1)]
#[case::three("3", 3)]
fn the_environment_sets_the_number_of_workers(
    #[context] context: Context,
    #[case] value: &str,
    #[case] count: usize,
) {
    let environment = [("CORDE_WORKERS", value)];
    let outcome = child::run(&full_name(&context), &environment, || {
        let started = Arc::new(AtomicUsize::new(0));
        let theirs = started.clone();
        let hook = move || add_one(&theirs);
        let runtime = Builder::new().on_thread_start(hook).build().unwrap();
        drop(runtime);
        assert_eq!(started.load(Ordering::SeqCst), count);
    });
    outcome.assert_success();
}

#[rstest]
#[case::no_workers("CORDE_WORKERS", "0")]
#[case::too_many_workers("CORDE_WORKERS", "1025")]
#[case::workers_below_zero("CORDE_WORKERS", "-1")]
#[case::workers_in_words("CORDE_WORKERS", "two")]
#[case::workers_empty("CORDE_WORKERS", "")]
#[case::workers_with_a_space("CORDE_WORKERS", " 2")]
#[case::stack_in_words("CORDE_STACK_SIZE", "64k")]
#[case::stack_below_zero("CORDE_STACK_SIZE", "-65536")]
#[case::stack_impossible("CORDE_STACK_SIZE", "18446744073709551615")]
fn nonsense_in_the_environment_is_an_error_that_names_it(
    #[context] context: Context,
    #[case] variable: &str,
    #[case] value: &str,
) {
    let outcome = child::run(&full_name(&context), &[(variable, value)], || {
        let check = |error: io::Error| {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains(&format!("{variable}={value:?}")), "{text}");
        };
        check(Runtime::new().map(drop).unwrap_err());
        // The process-wide one.
        check(thread::Builder::new().spawn(|| ()).map(drop).unwrap_err());
        assert!(panic_message(|| corde::run(|| ())).contains(variable));
        // What is set is not asked for.
        let settings = Builder::new().workers(1).stack_size(64 * 1024);
        assert_eq!(settings.build().unwrap().block_on(|| 7), 7);
    });
    outcome.assert_success();
}

#[rstest]
fn the_environment_sets_the_size_of_stacks(#[context] context: Context) {
    let environment = [("CORDE_STACK_SIZE", "4194304")];
    let outcome = child::run(&full_name(&context), &environment, || {
        let is_large = |left| is_that(left, 4 << 20);
        assert!(is_large(thread::spawn(left).join().unwrap()));
        assert!(is_large(workers(1).block_on(left)));
        assert!(is_large(LocalRuntime::new().unwrap().block_on(left)));
        let set = Builder::new().stack_size(128 * 1024).build_local().unwrap();
        assert!(!is_large(set.block_on(left)));
    });
    outcome.assert_success();
}

/// The processors that the calling OS thread may use.
#[cfg(target_os = "linux")]
fn processors() -> Vec<usize> {
    use std::mem::{MaybeUninit, size_of_val};
    // SAFETY: cpu_set_t is plain data for which zero is valid.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the set has the size that is told.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    assert_eq!(result, 0);
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the numbers are below the size of the set.
        .filter(|&it| unsafe { libc::CPU_ISSET(it, &set) })
        .collect()
}

#[cfg(target_os = "linux")]
#[rstest]
#[timeout(LIMIT)]
fn pinned_workers_have_a_processor_each() {
    let allowed = processors();
    let count = allowed.len().min(3) + 1;
    let pinned = |pin| {
        let builder = Builder::new()
            .workers(count)
            .thread_name("pin")
            .pin_workers(pin);
        let runtime = builder.build().unwrap();
        runtime.block_on(|| {
            let threads = one_on_each_worker(count, || (os_name(), processors()));
            threads
                .into_iter()
                .map(|it| it.join().unwrap())
                .collect::<Vec<_>>()
        })
    };
    for (name, processors) in pinned(true) {
        let index: usize = name.strip_prefix("pin-").unwrap().parse().unwrap();
        assert_eq!(processors, [allowed[index % allowed.len()]]);
    }
    assert!(
        pinned(false)
            .iter()
            .all(|(_, processors)| *processors == allowed)
    );
}

/// What `setrlimit` limits.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = std::ffi::c_int;

/// Has the system refuse what goes beyond `limit`, while `body` runs.
fn limited<T>(resource: Resource, limit: u64, body: impl FnOnce() -> T) -> T {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is valid.
    assert_eq!(unsafe { libc::getrlimit(resource, &mut before) }, 0);
    let lower = libc::rlimit {
        rlim_cur: limit as libc::rlim_t,
        ..before
    };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(resource, &lower) }, 0);
    let result = body();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(resource, &before) }, 0);
    result
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How much of the address space is in use, in bytes.
fn address_space() -> u64 {
    let sizes = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = sizes.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: sysconf only reads.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

fn os_threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[rstest]
#[case::files(libc::RLIMIT_NOFILE, || open_files() as u64 + 50)]
// Room for the stacks of some OS threads.
#[case::threads(libc::RLIMIT_AS, || address_space() + (40 << 20))]
#[cfg_attr(
    any(feature = "asan", feature = "tsan"),
    ignore = "sanitizers need the whole address space"
)]
fn a_start_that_fails_leaves_nothing_behind(
    #[context] context: Context,
    #[case] resource: Resource,
    #[case] room: fn() -> u64,
) {
    if left_out_under_valgrind("it needs files and memory of its own") {
        return;
    }
    if resource == libc::RLIMIT_AS && left_out_in_an_emulator(NO_LIMIT_ON_MEMORY) {
        return;
    }
    child::run(&full_name(&context), &[], || {
        // What is made once and stays.
        drop(workers(1));
        let settled = os_threads();
        let files = open_files();
        let build = || Builder::new().workers(100).build();
        let failed = limited(resource, room(), build);
        let error = failed.map(drop).unwrap_err();
        assert!(
            error.to_string().contains("corde cannot start its workers"),
            "{error}"
        );
        wait_until(|| os_threads() <= settled && open_files() <= files);
        assert_eq!(workers(3).block_on(|| 7), 7);
    })
    .assert_success();
}

// Several at once.

#[rstest]
#[timeout(LIMIT)]
fn green_threads_stay_in_their_runtime() {
    let runtimes: Vec<_> = ["red", "green", "blue"]
        .into_iter()
        .map(|name| {
            let builder = Builder::new().workers(2).thread_name(name);
            (name, builder.build().unwrap())
        })
        .collect();
    for (name, runtime) in &runtimes {
        let names = runtime.block_on(|| {
            let children = (0..20).map(|_| {
                thread::spawn(|| [os_name(), corde::go!(os_name).join().unwrap()].concat())
            });
            let children: Vec<_> = children.collect();
            let joined = children.into_iter().map(|it| it.join().unwrap());
            joined.collect::<String>()
        });
        assert_eq!(names.matches(&format!("{name}-")).count(), 40);
    }
}

#[rstest]
#[timeout(LIMIT)]
fn green_threads_of_different_runtimes_join_unpark_and_cancel_each_other() {
    let (here, there) = (workers(1), workers(1));
    let there_too = there.handle().clone();
    here.block_on(|| {
        assert_eq!(there_too.spawn(|| 6 * 7).join().unwrap(), 42);
        let me = thread::current();
        let partner = there_too.spawn(move || {
            for _ in 0..100 {
                park();
                me.unpark();
            }
        });
        for _ in 0..100 {
            partner.thread().unpark();
            park();
        }
        partner.join().unwrap();
        let endless = there_too.spawn(wait_for_ever);
        endless.cancel();
        assert_cancelled(endless.join());
        let panicking = there_too.spawn(|| panic_quietly());
        assert!(is_quiet_panic(&*panicking.join().unwrap_err()));
    });
}

// Blocking on one.

#[rstest]
#[timeout(LIMIT)]
fn block_on_borrows_and_returns(#[values(Kind::Green, Kind::Os)] caller: Kind) {
    let runtime = workers(2);
    caller.run(move || {
        let words = [String::from("plain"), String::from("blocking")];
        let mut count = 0;
        let first = runtime.block_on(|| {
            yield_now();
            count += words.len();
            &words[0]
        });
        assert_eq!((first.as_str(), count), ("plain", 2));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_green_thread_of_the_runtime_just_calls() {
    let runtime = workers(1);
    runtime.block_on(|| {
        let here = thread::current().id();
        // With one worker: were it another green thread, this would have to be suspended.
        assert_eq!(runtime.block_on(|| thread::current().id()), here);
        assert_eq!(corde::run(|| thread::current().id()), here);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_green_thread_that_blocks_on_another_runtime_lets_others_run() {
    let (here, there) = (workers(1), workers(1));
    let released = AtomicBool::new(false);
    here.block_on(|| {
        let local = {
            let handle = here.handle().clone();
            move || handle.block_on(|| ())
        };
        let me = thread::current();
        let other = corde::go!(move || {
            local();
            me.unpark();
        });
        there.block_on(|| {
            // Not before the one beside the caller has run.
            wait_until(|| other.is_finished());
            released.store(true, Ordering::SeqCst);
        });
        park();
        other.join().unwrap();
    });
    assert!(released.load(Ordering::SeqCst));
}

#[rstest]
#[timeout(LIMIT)]
fn a_panic_comes_out_of_block_on(#[values(Kind::Green, Kind::Os)] caller: Kind) {
    let runtime = workers(1);
    let local = || LocalRuntime::new().unwrap().block_on(|| panic_quietly());
    assert!(is_quiet_panic(&*catch_unwind(local).unwrap_err()));
    caller.run(move || {
        let inner = || runtime.block_on(|| panic_quietly());
        let payload = catch_unwind(AssertUnwindSafe(inner));
        assert!(is_quiet_panic(&*payload.unwrap_err()));
        assert_eq!(runtime.block_on(|| 7), 7);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn many_os_threads_block_on_one_runtime() {
    let runtime = workers(2);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let runtime = &runtime;
            scope.spawn(move || {
                for round in 0..20 {
                    let sum = runtime.block_on(|| corde::go!(move || number + round).join());
                    assert_eq!(sum.unwrap(), number + round);
                }
            });
        }
    });
}

// Ending.

/// A runtime that has gone, of either kind.
fn gone(local: bool) -> Handle {
    if local {
        LocalRuntime::new().unwrap().handle().clone()
    } else {
        workers(2).handle().clone()
    }
}

#[rstest]
#[timeout(LIMIT)]
fn what_comes_after_the_end_is_cancelled_at_once(
    #[values(Kind::Green, Kind::Os)] spawner: Kind,
    #[values(false, true)] local: bool,
) {
    let handle = gone(local);
    spawner.run(move || {
        let dropped = Arc::new(AtomicBool::new(false));
        let theirs = dropped.clone();
        let on_drop = OnDrop(move || theirs.store(true, Ordering::SeqCst));
        let late = handle.spawn(move || {
            let _on_drop = &on_drop;
            unreachable!("nobody is there to run it")
        });
        assert!(late.is_finished());
        assert!(dropped.load(Ordering::SeqCst));
        late.thread().unpark();
        late.cancel();
        assert_cancelled::<()>(late.join());
        let blocked = catch_unwind(AssertUnwindSafe(|| handle.block_on(|| ())));
        assert_cancelled(blocked);
    });
}

#[rstest]
#[case::parked(|begin: &dyn Fn()| { begin(); wait_for_ever() })]
#[case::sleeping(|begin: &dyn Fn()| { begin(); sleep(ENDLESS) })]
#[case::yielding(|begin: &dyn Fn()| { begin(); loop { yield_now() } })]
#[case::limited(|begin: &dyn Fn()| { begin(); let _ = timeout(ENDLESS, wait_for_ever); })]
#[case::joining(|begin: &dyn Fn()| {
    let other = thread::spawn(wait_for_ever);
    begin();
    let _ = other.join();
    // The other one is unwound, too, and maybe first.
    wait_for_ever();
})]
#[case::reading(|begin: &dyn Fn()| {
    let (near, _far) = net::pair();
    begin();
    let _ = (&near).read(&mut [0]);
})]
#[case::catching_once(|begin: &dyn Fn()| {
    begin();
    let caught = catch_unwind(wait_for_ever);
    wait_for_ever();
    drop(caught);
})]
#[timeout(LIMIT)]
fn a_shutdown_unwinds_what_waits(#[case] wait: fn(&dyn Fn()), #[values(1, 3)] count: usize) {
    let runtime = workers(count);
    let (began, unwound) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let (began, unwound) = (began.clone(), unwound.clone());
            runtime.spawn(move || {
                let _unwound = OnDrop(|| add_one(&unwound));
                wait(&|| add_one(&began));
            })
        })
        .collect();
    wait_until(|| began.load(Ordering::SeqCst) == 5);
    let report = runtime.shutdown(LIMIT);
    assert!(report.left().is_empty(), "{report:?}");
    assert_eq!(unwound.load(Ordering::SeqCst), 5);
    threads
        .into_iter()
        .for_each(|it| assert_cancelled(it.join()));
}

#[rstest]
#[timeout(LIMIT)]
fn a_drop_unwinds_what_waits() {
    let runtime = workers(2);
    let (parked, fresh) = (runtime.spawn(wait_for_ever), runtime.spawn(wait_for_ever));
    drop(runtime);
    assert_cancelled(parked.join());
    assert_cancelled(fresh.join());
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_drops_its_own_runtime_goes_on_and_others_never_begin() {
    let runtime = workers(1);
    let handle = runtime.handle().clone();
    let (sender, receiver) = std::sync::mpsc::channel::<Runtime>();
    let owner = runtime.spawn(move || {
        let runtime = receiver.recv().unwrap();
        let ran = Arc::new(AtomicBool::new(false));
        let never = |ran: &Arc<AtomicBool>| {
            let ran = ran.clone();
            move || ran.store(true, Ordering::SeqCst)
        };
        let near = thread::spawn(never(&ran));
        let body = never(&ran);
        // From an OS thread, which puts it elsewhere.
        let far = std::thread::spawn(move || handle.spawn(body)).join();
        drop(runtime);
        let later = thread::spawn(never(&ran));
        (ran, [near, far.unwrap(), later])
    });
    sender.send(runtime).unwrap();
    let (ran, fresh) = owner.join().unwrap();
    fresh.into_iter().for_each(|it| assert_cancelled(it.join()));
    assert!(!ran.load(Ordering::SeqCst));
}

#[rstest]
#[timeout(LIMIT)]
fn a_shutdown_by_one_of_its_own_is_a_panic() {
    let runtime = workers(1);
    let handle = runtime.handle().clone();
    let message = handle.block_on(move || panic_message(|| runtime.shutdown(SHORT)));
    assert!(
        message.contains("shut down by one of its own green threads"),
        "{message}"
    );
    wait_until(|| handle.spawn(|| ()).join().is_err());
}

#[rstest]
#[timeout(LIMIT)]
fn the_report_names_those_that_are_parked() {
    let runtime = workers(2);
    let began = Arc::new(AtomicBool::new(false));
    let theirs = began.clone();
    let stubborn = runtime.block_on(move || {
        let builder = thread::Builder::new().name("stubborn".into());
        builder.spawn(move || {
            theirs.store(true, Ordering::SeqCst);
            without_cancel(wait_for_ever);
        })
    });
    let stubborn = stubborn.unwrap();
    wait_until(|| began.load(Ordering::SeqCst));
    let report = runtime.shutdown(SHORT);
    let [left] = report.left() else {
        panic!("one is left: {report:?}");
    };
    assert_eq!(left.name(), Some("stubborn"));
    assert_eq!(left.id(), Some(stubborn.thread().id()));
    assert!(!left.is_running());
    assert!(
        names_its_frames(&left.backtrace()),
        "{:?}",
        left.backtrace()
    );
    // Nothing is gone that these use.
    stubborn.cancel();
    stubborn.thread().unpark();
    assert!(!stubborn.is_finished());
}

/// Returns whether this tells of `wait_for_ever`: by its name, if there are names; otherwise by where the program is.
fn names_its_frames(backtrace: &Option<String>) -> bool {
    let program = std::env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_str().unwrap();
    let expected = if cfg!(feature = "backtrace") {
        "wait_for_ever"
    } else {
        program
    };
    cfg!(not(target_env = "gnu")) || backtrace.as_ref().is_some_and(|it| it.contains(expected))
}

#[rstest]
#[timeout(LIMIT)]
fn many_that_are_left_tell_where_they_are_parked_and_stay_so() {
    let runtime = workers(2);
    let began = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let (began, ended) = (began.clone(), ended.clone());
        runtime.spawn(move || {
            began.fetch_add(1, Ordering::SeqCst);
            without_cancel(wait_for_ever);
            ended.fetch_add(1, Ordering::SeqCst);
        });
    }
    wait_until(|| began.load(Ordering::SeqCst) == 50);
    let report = runtime.shutdown(SHORT);
    let told = report.left().iter().map(|left| left.backtrace());
    assert_eq!(told.filter(names_its_frames).count(), 50);
    assert_eq!(ended.load(Ordering::SeqCst), 0);
}

#[rstest]
#[timeout(LIMIT)]
fn the_report_counts_those_that_run_and_they_may_end_later() {
    let runtime = workers(1);
    let handle = runtime.handle().clone();
    let (began, release) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (theirs, released) = (began.clone(), release.clone());
    let busy = runtime.spawn(move || {
        theirs.store(true, Ordering::SeqCst);
        spin(&released);
        "ended"
    });
    wait_until(|| began.load(Ordering::SeqCst));
    let behind = runtime.spawn(|| ());
    let report = runtime.shutdown(SHORT);
    let [left] = report.left() else {
        panic!("one is left: {report:?}");
    };
    assert!(left.is_running());
    assert_eq!((left.name(), left.id()), (None, None));
    assert!(!busy.is_finished() && !behind.is_finished());
    release.store(true, Ordering::SeqCst);
    assert_eq!(busy.join().unwrap(), "ended");
    assert_cancelled(behind.join());
    assert_cancelled(handle.spawn(|| ()).join());
}

#[rstest]
#[timeout(LIMIT)]
fn a_shutdown_waits_for_those_that_end_in_time() {
    let runtime = workers(1);
    let began = Arc::new(AtomicBool::new(false));
    let theirs = began.clone();
    let slow = runtime.spawn(move || {
        without_cancel(|| {
            theirs.store(true, Ordering::SeqCst);
            (0..3).for_each(|_| sleep(SHORT));
        });
        "whole"
    });
    wait_until(|| began.load(Ordering::SeqCst));
    assert!(runtime.shutdown(LIMIT).left().is_empty());
    assert_eq!(slow.join().unwrap(), "whole");
}

#[rstest]
#[timeout(LIMIT)]
fn a_green_thread_shuts_another_runtime_down_and_lets_others_run() {
    let (here, there) = (workers(1), workers(1));
    let released = Arc::new(AtomicBool::new(false));
    let (began, release) = (Arc::new(AtomicBool::new(false)), released.clone());
    let theirs = began.clone();
    let busy = there.spawn(move || {
        theirs.store(true, Ordering::SeqCst);
        spin(&release);
        "ended"
    });
    wait_until(|| began.load(Ordering::SeqCst));
    here.block_on(move || {
        // Runs when the other one waits.
        corde::go!(move || released.store(true, Ordering::SeqCst));
        assert!(there.shutdown(LIMIT).left().is_empty());
        assert_eq!(busy.join().unwrap(), "ended");
    });
}

/// Wakes and cancels while the runtime of those concerned ends, and after that.
#[rstest]
#[timeout(LIMIT)]
fn wake_ups_that_meet_the_end_of_the_runtime_do_no_harm(#[values(1, 3)] count: usize) {
    for round in 0..15 * stress() {
        let runtime = workers(count);
        let handle = runtime.handle().clone();
        let threads: Arc<Vec<_>> = Arc::new(
            (0..12)
                .map(|number| {
                    runtime.spawn(move || match number % 3 {
                        0 => wait_for_ever(),
                        1 => loop {
                            sleep(Duration::from_micros(50));
                        },
                        _ => (0..number).for_each(|_| park()),
                    })
                })
                .collect(),
        );
        let over = Arc::new(AtomicBool::new(false));
        let wakers: Vec<_> = (0..2)
            .map(|waker| {
                let (threads, over, handle) = (threads.clone(), over.clone(), handle.clone());
                let mut random = Xorshift(2 * round + waker + 1);
                let work = move || {
                    let mut own: Vec<Thread> = Vec::new();
                    while !over.load(Ordering::SeqCst) {
                        // Workers of the runtime may need the processor to end.
                        thread::yield_now();
                        let thread = &threads[random.next() as usize % threads.len()];
                        match random.next() % 16 {
                            0 => thread.cancel(),
                            1 => own.push(handle.spawn(wait_for_ever).thread().clone()),
                            2 => own.iter().for_each(Thread::unpark),
                            _ => thread.thread().unpark(),
                        }
                        if own.len() > 20 {
                            own.clear();
                        }
                    }
                    // The last handles go here.
                };
                let kind = if waker == 0 { Kind::Os } else { Kind::Green };
                kind.spawn(work)
            })
            .collect();
        drop(handle);
        let report = runtime.shutdown(LIMIT);
        assert!(report.left().is_empty(), "{report:?}");
        wait_until(|| threads.iter().all(JoinHandle::is_finished));
        over.store(true, Ordering::SeqCst);
        wakers.into_iter().for_each(util::threads::Handle::join);
    }
}

#[rstest]
fn a_hundred_runtimes_leave_neither_files_nor_os_threads(#[context] context: Context) {
    let body = || {
        let alone = os_threads();
        let round = |number: usize| {
            let runtime = workers(1 + number % 3);
            let parked = runtime.spawn(wait_for_ever);
            assert_eq!(runtime.block_on(|| corde::go!(|| 7).join().unwrap()), 7);
            match number % 3 {
                0 => drop(runtime),
                1 => assert!(runtime.shutdown(LIMIT).left().is_empty()),
                // By one of its own.
                _ => {
                    let handle = runtime.handle().clone();
                    handle.block_on(move || drop(runtime));
                }
            }
            assert_cancelled(parked.join());
            let local = LocalRuntime::new().unwrap();
            local.block_on(|| drop(spawn_local(wait_for_ever)));
        };
        // What is made once and stays.
        (0..3).for_each(round);
        // An OS thread is gone a little later than its worker has said so.
        wait_until(|| os_threads() == alone);
        let before = open_files();
        (0..100).for_each(round);
        wait_until(|| os_threads() == alone);
        assert_eq!(open_files(), before);
    };
    child::run(&full_name(&context), &[], body).assert_success();
}

// On the calling thread.

#[test]
fn everything_is_on_the_calling_thread() {
    let runtime = LocalRuntime::new().unwrap();
    let here = std::thread::current().id();
    let os_id = || std::thread::current().id();
    runtime.block_on(|| {
        assert_eq!(os_id(), here);
        assert_eq!(spawn_local(os_id).join().unwrap(), here);
        assert_eq!(thread::spawn(os_id).join().unwrap(), here);
        assert_eq!(corde::go!(os_id).join().unwrap(), here);
    });
}

#[test]
fn nothing_need_be_send_there_and_block_on_borrows() {
    let runtime = LocalRuntime::new().unwrap();
    let mut words = vec![Rc::new("plain")];
    let last = runtime.block_on(|| {
        let theirs = words[0].clone();
        words.push(spawn_local(move || Rc::new(*theirs)).join().unwrap());
        &words[1]
    });
    assert_eq!(**last, "plain");
}

#[test]
fn only_a_green_thread_spawns_locally() {
    let error = thread::Builder::new().spawn_local(|| ()).map(drop);
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::Unsupported);
    let message = panic_message(|| spawn_local(|| ()));
    assert!(message.contains("only a green thread"), "{message}");
}

#[rstest]
#[case::in_itself(|| {
    let runtime = LocalRuntime::new().unwrap();
    runtime.block_on(|| panic_message(|| runtime.block_on(|| ())))
})]
#[case::in_another(|| {
    let another = LocalRuntime::new().unwrap();
    LocalRuntime::new().unwrap().block_on(|| panic_message(|| another.block_on(|| ())))
})]
#[case::on_a_worker(|| {
    workers(1).block_on(|| panic_message(|| LocalRuntime::new().unwrap().block_on(|| ())))
})]
#[timeout(LIMIT)]
fn to_block_on_it_where_a_runtime_runs_is_a_panic(#[case] nested: fn() -> String) {
    assert!(nested().contains("on a thread that runs one already"));
}

#[rstest]
#[timeout(LIMIT)]
fn what_is_left_goes_on_when_it_is_blocked_on_again() {
    let runtime = LocalRuntime::new().unwrap();
    let steps = Rc::new(Cell::new(0));
    let theirs = steps.clone();
    let walker = runtime.block_on(move || {
        spawn_local(move || {
            for step in 1..=3 {
                theirs.set(step);
                park();
            }
        })
    });
    assert_eq!(steps.get(), 0);
    for step in 1..=3 {
        runtime.block_on(yield_now);
        assert_eq!(steps.get(), step);
        // Between two runs: it counts in the next one.
        walker.thread().unpark();
    }
    runtime.block_on(|| walker.join().unwrap());
}

#[rstest]
#[timeout(LIMIT)]
fn its_end_unwinds_what_is_left() {
    let log = util::unwinding::Log::default();
    let runtime = LocalRuntime::new().unwrap();
    let (parked, fresh) = (log.on_drop("parked"), log.on_drop("fresh"));
    let handles = runtime.block_on(move || {
        let parked = spawn_local(move || {
            let _parked = &parked;
            wait_for_ever();
        });
        yield_now();
        let fresh = spawn_local(move || {
            let _fresh = &fresh;
            unreachable!("it never begins")
        });
        (parked, fresh)
    });
    log.assert_dropped(&[]);
    drop(runtime);
    let (parked, fresh): (_, thread::LocalJoinHandle<()>) = handles;
    assert_cancelled(parked.join());
    assert_cancelled(fresh.join());
    // In which order is not promised.
    let fresh_first = catch_unwind(AssertUnwindSafe(|| {
        log.assert_dropped(&["fresh", "parked"])
    }));
    if fresh_first.is_err() {
        log.assert_dropped(&["parked", "fresh"]);
    }
}

#[rstest]
#[timeout(LIMIT)]
fn other_threads_spawn_there_while_it_runs() {
    let runtime = LocalRuntime::new().unwrap();
    let here = std::thread::current().id();
    let handle = runtime.handle().clone();
    let remote = std::thread::spawn(move || {
        let ids: Vec<_> = (0..10)
            .map(|_| handle.spawn(|| std::thread::current().id()))
            .collect();
        let ids = ids
            .into_iter()
            .map(|it| it.join().unwrap())
            .collect::<Vec<_>>();
        handle.block_on(|| ids)
    });
    let ids = runtime.block_on(|| {
        wait_until(|| remote.is_finished());
        remote.join().unwrap()
    });
    assert_eq!(ids, [here; 10]);
}

#[rstest]
#[timeout(LIMIT)]
fn wake_ups_from_other_threads_end_its_sleep() {
    let runtime = LocalRuntime::new().unwrap();
    for _ in 0..50 {
        runtime.block_on(|| {
            let me = thread::current();
            let waker = std::thread::spawn(move || me.unpark());
            park();
            waker.join().unwrap();
        });
    }
}

#[rstest]
#[timeout(LIMIT)]
fn it_keeps_to_deadlines() {
    let runtime = LocalRuntime::new().unwrap();
    let start = Instant::now();
    let order = Rc::new(RefCell::new(Vec::new()));
    runtime.block_on(|| {
        let sleepers: Vec<_> = [3, 1, 2]
            .into_iter()
            .map(|number| {
                let order = order.clone();
                spawn_local(move || {
                    thread::sleep_until(start + number * SHORT);
                    assert!(start.elapsed() >= number * SHORT);
                    order.borrow_mut().push(number);
                })
            })
            .collect();
        sleepers.into_iter().for_each(|it| it.join().unwrap());
        assert!(timeout(SHORT, wait_for_ever).is_err());
    });
    assert_eq!(*order.borrow(), [1, 2, 3]);
}

#[rstest]
#[timeout(LIMIT)]
fn several_share_a_thread_in_turn() {
    let runtimes: Vec<_> = (0..3).map(|_| LocalRuntime::new().unwrap()).collect();
    let parked: Vec<_> = runtimes
        .iter()
        .map(|it| it.block_on(|| spawn_local(park)))
        .collect();
    // One wakes the green threads of the others.
    runtimes[0].block_on(|| parked.iter().for_each(|it| it.thread().unpark()));
    for (runtime, parked) in runtimes.iter().zip(parked) {
        runtime.block_on(|| parked.join().unwrap());
    }
}

// What stays on its OS thread.

/// A value that notes where it is dropped.
struct Here {
    made: std::thread::ThreadId,
    drops: Rc<Cell<usize>>,
}

impl Here {
    fn new(drops: &Rc<Cell<usize>>) -> Here {
        Here {
            made: std::thread::current().id(),
            drops: drops.clone(),
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        assert_eq!(std::thread::current().id(), self.made);
        self.drops.set(self.drops.get() + 1);
    }
}

/// When the handle of a local green thread goes.
#[derive(Clone, Copy, Debug)]
enum Goes {
    BeforeItBegins,
    WhileItWaits,
    AfterItsEnd,
    AfterItsRuntime,
}

#[rstest]
#[timeout(LIMIT)]
fn a_local_result_is_dropped_on_its_thread_whatever_goes_first(
    #[values(
        Goes::BeforeItBegins,
        Goes::WhileItWaits,
        Goes::AfterItsEnd,
        Goes::AfterItsRuntime
    )]
    goes: Goes,
    #[values(false, true)] panics: bool,
) {
    let drops = Rc::new(Cell::new(0));
    let runtime = LocalRuntime::new().unwrap();
    let result = Here::new(&drops);
    let (thread, left) = runtime.block_on(|| {
        let local = spawn_local(move || {
            park();
            if panics {
                drop(result);
                panic_quietly();
            }
            result
        });
        // This outlives all of it, and is the last to go, elsewhere.
        let thread = local.thread().clone();
        let mut local = Some(local);
        if let Goes::BeforeItBegins = goes {
            local.take();
        }
        yield_now();
        if let Goes::WhileItWaits = goes {
            local.take();
        }
        thread.unpark();
        (0..3).for_each(|_| yield_now());
        if let Goes::AfterItsEnd = goes {
            assert!(local.take().unwrap().is_finished());
        }
        (thread, local)
    });
    drop(runtime);
    drop(left);
    assert_eq!(drops.get(), 1);
    std::thread::spawn(move || {
        thread.unpark();
        drop(thread);
    })
    .join()
    .unwrap();
    assert_eq!(drops.get(), 1);
}

#[rstest]
#[timeout(LIMIT)]
fn local_ones_stay_on_a_worker_of_a_runtime_with_many() {
    let runtime = workers(3);
    let threads: Vec<_> = (0..30)
        .map(|_| {
            runtime.spawn(|| {
                let here = std::thread::current().id();
                let count = Rc::new(Cell::new(0));
                let children: Vec<_> = (0..10)
                    .map(|_| {
                        let count = count.clone();
                        spawn_local(move || {
                            yield_now();
                            assert_eq!(std::thread::current().id(), here);
                            count.set(count.get() + 1);
                        })
                    })
                    .collect();
                children.into_iter().for_each(|it| it.join().unwrap());
                count.get()
            })
        })
        .collect();
    let counts = threads.into_iter().map(|it| it.join().unwrap());
    assert!(counts.eq([10; 30]));
}

#[test]
fn handles_can_be_sent_and_shared() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Handle>();
    check::<Thread>();
    check::<Builder>();
}

#[test]
fn payloads_are_those_of_the_panic() {
    let payload: Box<dyn Any + Send> = Box::new(7_u8);
    let runtime = LocalRuntime::new().unwrap();
    let caught = runtime.block_on(|| spawn_local(|| resume_unwind(payload)).join());
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7_u8));
}

#[test]
fn a_name_with_a_nul_byte_is_an_error() {
    let error = Builder::new().thread_name("a\0b").build().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("NUL"), "{error}");
}

#[test]
fn a_local_runtime_does_not_run_on_the_stack_of_a_coroutine() {
    // The coroutine could suspend out of it, and leave it without its loop.
    let inside = corde::coroutine::scoped(
        |yielder: &corde::coroutine::Yielder<(), ()>, ()| {
            let runtime = LocalRuntime::new().unwrap();
            let run = || runtime.block_on(|| yielder.suspend(()));
            catch_unwind(AssertUnwindSafe(run)).unwrap_err()
        },
        |coroutine| coroutine.resume(()),
    );
    let corde::coroutine::CoroutineResult::Return(panic) = inside.unwrap() else {
        panic!("it suspended");
    };
    assert!(panic.downcast_ref::<&str>().unwrap().contains("coroutine"));
}

#[test]
#[cfg_attr(feature = "asan", ignore = "leaves a green thread behind on purpose")]
fn those_that_have_not_begun_when_the_time_is_over_end_as_cancelled() {
    let runtime = Builder::new().workers(1).build().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let is_over = over.clone();
    let (give, take) = std::sync::mpsc::channel();
    drop(runtime.spawn(move || {
        // More than the worker takes out before it looks around.
        let queued: Vec<_> = (0..2000).map(|_| corde::go!(|| ())).collect();
        give.send(queued).unwrap();
        while !is_over.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        without_cancel(|| {
            loop {
                corde::thread::yield_now();
            }
        });
    }));
    let queued = take.recv().unwrap();
    assert_eq!(runtime.shutdown(Duration::ZERO).left().len(), 1);
    over.store(true, Ordering::SeqCst);
    for queued in queued {
        assert!(queued.join().unwrap_err().is::<corde::thread::Cancelled>());
    }
}
