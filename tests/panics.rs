//! Panics of green threads: what is said, and what follows when nobody takes the result.
#![cfg(feature = "runtime")]

mod util;

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::go;
use corde::runtime::{Builder, LocalRuntime, PanicPolicy, Runtime};
use corde::thread::{self, Cancelled, JoinHandle};
use rstest::{Context, rstest};
use util::{LIMIT, child, full_name};

fn fragile() -> JoinHandle<()> {
    go!(name = "fragile"; { panic!("out of order") })
}

fn fragile_in_the_process_wide_runtime() {
    let _ = fragile().join();
}

fn unnamed() {
    let _ = go!({ panic!("out of order") }).join();
}

fn fragile_in_a_local_runtime() {
    let runtime = LocalRuntime::new().unwrap();
    runtime.block_on(fragile_in_the_process_wide_runtime);
}

fn fragile_of_several_runtimes() {
    // Each tells it once, all the same.
    let other = Runtime::new().unwrap();
    other.block_on(fragile_in_the_process_wide_runtime);
}

/// What the process writes to standard error in `body`.
fn told_by(context: &Context, body: fn()) -> String {
    let outcome = child::run(&full_name(context), &[], body);
    outcome.assert_success();
    outcome.stderr
}

#[rstest]
#[case::named(fragile_in_the_process_wide_runtime, "fragile")]
#[case::unnamed(unnamed, "<unnamed>")]
#[case::in_a_local_runtime(fragile_in_a_local_runtime, "fragile")]
#[case::of_several_runtimes(fragile_of_several_runtimes, "fragile")]
fn a_panic_names_its_green_thread(
    #[context] context: Context,
    #[case] body: fn(),
    #[case] name: &str,
) {
    let told = told_by(&context, body);
    let line = format!("corde: green thread '{name}' (id ");
    assert_eq!(told.matches(&line).count(), 1, "{told}");
    let (_, behind) = told.split_once(&line).unwrap();
    // std's message comes after it.
    assert!(behind.contains(") panicked:\n"), "{told}");
    assert!(behind.contains("out of order"), "{told}");
}

fn on_an_os_thread() {
    corde::run(|| {});
    let _ = std::thread::spawn(|| panic!("out of order")).join();
}

fn cancelled() {
    let parked = thread::spawn(thread::park);
    parked.cancel();
    let _ = parked.join();
}

fn resumed() {
    let _ = go!({ panic::resume_unwind(Box::new(7)) }).join();
}

#[rstest]
#[case::on_an_os_thread(on_an_os_thread)]
#[case::of_the_cancelled(cancelled)]
#[case::that_was_told_of(resumed)]
fn no_other_unwind_names_one(#[context] context: Context, #[case] body: fn()) {
    let told = told_by(&context, body);
    assert!(!told.contains("green thread"), "{told}");
}

#[rstest]
fn the_program_s_own_hook_is_called_too(#[context] context: Context) {
    let told = told_by(&context, || {
        panic::set_hook(Box::new(|_| eprintln!("the program's own")));
        let _ = fragile().join();
    });
    let (before, after) = told.split_once("the program's own").unwrap();
    assert!(before.contains("green thread 'fragile' (id "), "{told}");
    assert!(!after.contains("the program's own"), "{told}");
}

#[rstest]
fn a_runtime_that_starts_in_an_unwind_starts(#[context] context: Context) {
    struct Starts;
    impl Drop for Starts {
        fn drop(&mut self) {
            assert_eq!(corde::run(|| 7), 7);
        }
    }
    let told = told_by(&context, || {
        let unwound = catch_unwind(|| {
            let _starts = Starts;
            panic!("on the way");
        });
        assert!(unwound.is_err());
        // From here on it can be told.
        drop(Runtime::new().unwrap());
        let _ = fragile().join();
    });
    assert!(told.contains("green thread 'fragile'"), "{told}");
}

/// How the result of a green thread that panics is lost, or not.
#[derive(Clone, Copy, Debug)]
enum Way {
    DetachedBefore,
    DroppedAfter,
    LocalDetachedBefore,
    LocalDroppedAfter,
    DroppedAfterTheRuntime,
    Joined,
    LocalJoined,
    Cancelled,
    Caught,
}

impl Way {
    /// Does it in `runtime`.
    fn go(self, runtime: Runtime) {
        let after_the_runtime = runtime.block_on(|| self.go_inside());
        runtime.shutdown(LIMIT);
        drop(after_the_runtime);
    }

    fn go_inside(self) -> Option<JoinHandle<()>> {
        match self {
            Way::DetachedBefore => drop(fragile()),
            Way::DroppedAfter => drop(finished(fragile())),
            Way::LocalDetachedBefore => drop(thread::spawn_local(|| panic!("out of order"))),
            Way::LocalDroppedAfter => {
                let local = thread::spawn_local(|| panic!("out of order"));
                while !local.is_finished() {
                    thread::yield_now();
                }
                drop(local);
            }
            Way::DroppedAfterTheRuntime => return Some(finished(fragile())),
            Way::Joined => assert!(fragile().join().is_err()),
            Way::LocalJoined => {
                let local = thread::spawn_local(|| panic!("out of order"));
                assert!(local.join().is_err());
            }
            Way::Cancelled => {
                let parked = thread::spawn(thread::park);
                parked.cancel();
                drop(finished(parked));
            }
            Way::Caught => drop(finished(go!(|| drop(catch_unwind(|| panic!("inside")))))),
        }
        // Lets those run that were detached, and strikes if this runtime is shut down.
        let deadline = Instant::now() + Duration::from_millis(50);
        while Instant::now() < deadline {
            thread::yield_now();
        }
        None
    }
}

/// Waits for its end, but does not take the result.
fn finished<T>(handle: JoinHandle<T>) -> JoinHandle<T> {
    while !handle.is_finished() {
        thread::yield_now();
    }
    handle
}

fn runtime(policy: PanicPolicy) -> Runtime {
    let builder = Builder::new().workers(2).on_unhandled_panic(policy);
    builder.build().unwrap()
}

#[rstest]
#[case::detached_before(Way::DetachedBefore)]
#[case::dropped_after(Way::DroppedAfter)]
#[case::local_detached_before(Way::LocalDetachedBefore)]
#[case::local_dropped_after(Way::LocalDroppedAfter)]
#[case::dropped_after_the_runtime(Way::DroppedAfterTheRuntime)]
fn an_unhandled_panic_aborts_if_that_is_wanted(#[context] context: Context, #[case] way: Way) {
    let outcome = child::run(&full_name(&context), &[], || {
        way.go(runtime(PanicPolicy::Abort));
        // Some come a little later.
        std::thread::sleep(LIMIT);
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:#?}");
    let words = "panicked and nobody joins it, aborting";
    assert!(outcome.stderr.contains(words), "{outcome:#?}");
}

#[rstest]
#[case::joined(Way::Joined, PanicPolicy::Abort)]
#[case::local_joined(Way::LocalJoined, PanicPolicy::Abort)]
#[case::cancelled(Way::Cancelled, PanicPolicy::Abort)]
#[case::caught(Way::Caught, PanicPolicy::Abort)]
#[case::joined_without_shutdown(Way::Joined, PanicPolicy::Shutdown)]
#[case::cancelled_without_shutdown(Way::Cancelled, PanicPolicy::Shutdown)]
#[case::only_reported(Way::DetachedBefore, PanicPolicy::Report)]
#[case::only_reported_later(Way::DroppedAfter, PanicPolicy::Report)]
#[case::shutdown_of_what_is_gone(Way::DroppedAfterTheRuntime, PanicPolicy::Shutdown)]
fn other_ends_are_none_of_its_business(
    #[context] context: Context,
    #[case] way: Way,
    #[case] policy: PanicPolicy,
) {
    // It also ends well: a runtime that was shut down would cancel what `block_on` runs.
    child::run(&full_name(&context), &[], || way.go(runtime(policy))).assert_success();
}

#[rstest]
#[case::detached_before(Way::DetachedBefore)]
#[case::dropped_after(Way::DroppedAfter)]
#[case::local_detached_before(Way::LocalDetachedBefore)]
#[case::local_dropped_after(Way::LocalDroppedAfter)]
fn an_unhandled_panic_shuts_its_runtime_down_if_that_is_wanted(#[case] way: Way) {
    let (runtime, other) = (
        runtime(PanicPolicy::Shutdown),
        runtime(PanicPolicy::Shutdown),
    );
    let parked = runtime.spawn(thread::park);
    let elsewhere = other.spawn(thread::park);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(|| {
            way.go_inside();
            // Until it strikes.
            thread::park();
        })
    }));
    assert!(unwound.unwrap_err().is::<Cancelled>());
    assert!(parked.join().unwrap_err().is::<Cancelled>());
    let late = runtime.spawn(|| ()).join();
    assert!(late.unwrap_err().is::<Cancelled>());
    assert!(runtime.shutdown(LIMIT).left().is_empty());
    // The other one goes on.
    elsewhere.thread().unpark();
    elsewhere.join().unwrap();
}

#[rstest]
fn a_local_runtime_has_the_policy_too() {
    let builder = Builder::new().on_unhandled_panic(PanicPolicy::Shutdown);
    let local = builder.build_local().unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        local.block_on(|| {
            drop(fragile());
            thread::park();
        })
    }));
    assert!(unwound.unwrap_err().is::<Cancelled>());
}

#[rstest]
fn the_payload_of_a_joined_panic_is_whole() {
    struct Counted;
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let runtime = runtime(PanicPolicy::Abort);
    let panicking = runtime.spawn(|| panic::panic_any(Counted));
    let payload = panicking.join().unwrap_err();
    assert_eq!(DROPPED.load(Ordering::Relaxed), 0);
    assert!(payload.is::<Counted>());
    drop(payload);
    assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
}
