//! `thread::scope` and `thread::try_scope`: borrowing, waiting, panics, cancellation of the owner, first errors.
#![cfg(feature = "runtime")]

mod util;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corde::runtime::Runtime;
use corde::thread::{
    self, Builder, Cancelled, JoinHandle, Scope, ScopedJoinHandle, TryScope, TryScopedJoinHandle,
    without_cancel,
};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, spin_until, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, scaled, stress, with_workers};

fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}

fn suspend_often() {
    (0..50).for_each(|_| thread::yield_now());
}

// What one does with a handle.

/// As `mem::forget`, but where leak checkers find it.
fn forget<T>(value: T) {
    static FORGOTTEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let value = Box::into_raw(Box::new(value));
    FORGOTTEN.lock().unwrap().push(value as usize);
}

type Unit<'scope> = ScopedJoinHandle<'scope, ()>;

fn drop_it(handle: Unit<'_>) {
    drop(handle);
}

fn forget_it(handle: Unit<'_>) {
    forget(handle);
}

fn join_it(handle: Unit<'_>) {
    let _ = handle.join();
}

fn drop_it_when_ended(handle: Unit<'_>) {
    wait_until(|| handle.is_finished());
}

fn drop_it_elsewhere(handle: Unit<'_>) {
    std::thread::scope(|scope| {
        scope.spawn(|| drop(handle));
    });
}

fn keep_its_thread(handle: Unit<'_>) {
    static KEPT: Mutex<Vec<thread::Thread>> = Mutex::new(Vec::new());
    KEPT.lock().unwrap().push(handle.thread().clone());
}

// Borrowing and waiting.

#[rstest]
#[timeout(LIMIT)]
fn scoped_threads_borrow(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        let words = [String::from("a"), String::from("bc")];
        let mut changed = [0, 0];
        let (first, second) = changed.split_at_mut(1);
        let joined = thread::scope(|scope| {
            scope.spawn(|| first[0] = words[0].len());
            scope.spawn(|| second[0] = words[1].len());
            let by_value = scope.spawn(|| words.iter().map(String::as_str).collect::<Vec<_>>());
            by_value.join().unwrap()
        });
        assert_eq!(joined, ["a", "bc"]);
        assert_eq!(changed, [1, 2]);
    });
}

#[rstest]
#[case::dropped(drop_it)]
#[case::forgotten(forget_it)]
#[case::joined(join_it)]
#[case::dropped_late(drop_it_when_ended)]
#[case::dropped_elsewhere(drop_it_elsewhere)]
#[case::thread_kept(keep_its_thread)]
#[timeout(LIMIT)]
fn a_scope_waits_for_its_threads(
    #[case] handle_it: fn(Unit<'_>),
    #[values(Kind::Green, Kind::Os)] owner: Kind,
) {
    owner.run(move || {
        for _ in 0..20 {
            let ended = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..4 {
                    handle_it(scope.spawn(|| {
                        suspend_often();
                        ended.fetch_add(1, Ordering::Relaxed);
                    }));
                }
            });
            assert_eq!(ended.into_inner(), 4);
        }
    });
}

/// Whose destructor borrows.
struct Result_<'a>(&'a AtomicUsize);

impl Drop for Result_<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Handle<'scope, 'env> = ScopedJoinHandle<'scope, Result_<'env>>;

#[rstest]
#[case::dropped(1, |handle: Handle<'_, '_>| drop(handle))]
#[case::dropped_late(1, |handle: Handle<'_, '_>| wait_until(|| handle.is_finished()))]
#[case::forgotten(0, |handle: Handle<'_, '_>| forget(handle))]
#[case::joined(1, |handle: Handle<'_, '_>| drop(handle.join().unwrap()))]
#[case::thread_kept(1, |handle: Handle<'_, '_>| forget(handle.thread().clone()))]
#[timeout(LIMIT)]
fn a_result_is_dropped_before_the_scope_ends(
    #[case] drops: usize,
    #[case] handle_it: for<'a, 'b> fn(Handle<'a, 'b>),
    #[values(Kind::Green, Kind::Os)] owner: Kind,
) {
    owner.run(move || {
        for _ in 0..50 {
            let dropped = AtomicUsize::new(0);
            thread::scope(|scope| handle_it(scope.spawn(|| Result_(&dropped))));
            assert_eq!(dropped.into_inner(), drops);
        }
    });
}

#[rstest]
#[case::from_green(Kind::Green)]
#[case::from_os(Kind::Os)]
fn scoped_threads_run_on_all_workers(#[context] context: Context, #[case] owner: Kind) {
    const WORKERS: usize = 3;
    with_workers(WORKERS, &context, || {
        owner.run(|| {
            let started = AtomicUsize::new(0);
            // The owner parks and leaves its worker free.
            thread::scope(|scope| {
                for _ in 0..WORKERS {
                    scope.spawn(|| {
                        started.fetch_add(1, Ordering::SeqCst);
                        spin_until(|| started.load(Ordering::SeqCst) == WORKERS);
                    });
                }
            });
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn scoped_threads_spawn_more(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    fn grow<'scope>(scope: &'scope Scope<'scope, '_>, leaves: &'scope AtomicUsize, depth: u32) {
        if depth == 0 {
            leaves.fetch_add(1, Ordering::Relaxed);
            return;
        }
        for _ in 0..3 {
            scope.spawn(move || grow(scope, leaves, depth - 1));
        }
    }
    owner.run(|| {
        let leaves = AtomicUsize::new(0);
        thread::scope(|scope| grow(scope, &leaves, 6));
        assert_eq!(leaves.into_inner(), 3_usize.pow(6));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn scopes_nest(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    fn sum(numbers: &[u64]) -> u64 {
        if let [number] = numbers {
            return *number;
        }
        let (left, right) = numbers.split_at(numbers.len() / 2);
        thread::scope(|scope| {
            let left = scope.spawn(|| sum(left));
            sum(right) + left.join().unwrap()
        })
    }
    let numbers: Vec<u64> = (1..=500).collect();
    assert_eq!(owner.run(move || sum(&numbers)), 125_250);
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_threads_in_a_scope(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        let many = scaled(10_000);
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..many {
                scope.spawn(|| {
                    thread::yield_now();
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(ended.into_inner(), many);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn builders_set_up_scoped_threads() {
    thread::scope(|scope| {
        let named = Builder::new().name("scoped".into()).stack_size(1 << 20);
        let named = named.spawn_scoped(scope, || thread::current().name().map(str::to_owned));
        let named = named.unwrap();
        assert_eq!(named.thread().name(), Some("scoped"));
        assert_eq!(named.join().unwrap().as_deref(), Some("scoped"));

        // What cannot be spawned counts for nothing.
        let impossible = Builder::new().stack_size(usize::MAX);
        assert!(impossible.spawn_scoped(scope, || ()).is_err());
    });
}

#[rstest]
fn handles_and_scopes_may_be_shared() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Scope<'_, '_>>();
    is_send_and_sync::<ScopedJoinHandle<'_, std::cell::Cell<()>>>();
    is_send_and_sync::<TryScope<'_, '_, std::cell::Cell<()>>>();
    is_send_and_sync::<TryScopedJoinHandle<'_, std::cell::Cell<()>>>();
}

/// On one worker nobody would run the child: here the other one does.
#[rstest]
fn a_scope_works_while_its_thread_unwinds(#[context] context: Context) {
    with_workers(2, &context, || {
        let unwinds = thread::spawn(|| {
            let _scopes = OnDrop(|| {
                let mut done = false;
                thread::scope(|scope| {
                    scope.spawn(|| done = true);
                });
                assert!(done);
            });
            panic_quietly()
        });
        assert!(is_quiet_panic(&*unwinds.join().unwrap_err()));
    });
}

// Panics.

#[rstest]
#[case::dropped(drop_it)]
#[case::forgotten(forget_it)]
#[case::dropped_late(drop_it_when_ended)]
#[timeout(LIMIT)]
fn a_panic_that_nobody_joined_is_the_scopes(
    #[case] handle_it: fn(Unit<'_>),
    #[values(Kind::Green, Kind::Os)] owner: Kind,
) {
    owner.run(move || {
        let ended = AtomicBool::new(false);
        let message = panic_message(|| {
            thread::scope(|scope| {
                handle_it(scope.spawn(|| panic_quietly()));
                scope.spawn(|| {
                    suspend_often();
                    ended.store(true, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(message, "a scoped thread panicked");
        assert!(ended.into_inner());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_panic_that_was_joined_is_the_joiners(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        thread::scope(|scope| {
            let panics = scope.spawn(|| panic_quietly());
            assert!(is_quiet_panic(&*panics.join().unwrap_err()));
            // By another thread of the scope, too.
            let panics = scope.spawn(|| panic_quietly());
            scope.spawn(|| assert!(panics.join().is_err()));
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_panic_of_the_body_cancels_the_threads_first(
    #[values(Kind::Green, Kind::Os)] owner: Kind,
    #[values(drop_it, forget_it)] handle_it: fn(Unit<'_>),
) {
    owner.run(move || {
        let unwound = AtomicUsize::new(0);
        let started = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|scope| {
                for _ in 0..3 {
                    handle_it(scope.spawn(|| {
                        let _unwinds = OnDrop(|| {
                            unwound.fetch_add(1, Ordering::Relaxed);
                        });
                        started.fetch_add(1, Ordering::Relaxed);
                        park_for_ever()
                    }));
                }
                wait_until(|| started.load(Ordering::Relaxed) == 3);
                panic_quietly()
            })
        }));
        assert!(is_quiet_panic(&*result.unwrap_err()));
        assert_eq!(unwound.into_inner(), 3);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_result_whose_destructor_panics_fails_the_scope() {
    let gone = AtomicBool::new(false);
    let message = panic_message(|| {
        thread::scope(|scope| {
            let handle = scope.spawn(|| {
                wait_until(|| gone.load(Ordering::SeqCst));
                OnDrop(|| panic_quietly())
            });
            drop(handle);
            gone.store(true, Ordering::SeqCst);
        });
    });
    assert_eq!(message, "a scoped thread panicked");
}

// Cancellation of threads of the scope.

#[rstest]
#[timeout(LIMIT)]
fn one_that_is_cancelled_by_its_handle_is_no_failure(
    #[values(Kind::Green, Kind::Os)] owner: Kind,
    #[values(false, true)] starts: bool,
    #[values(drop_it, forget_it, join_it)] handle_it: fn(Unit<'_>),
) {
    owner.run(move || {
        thread::scope(|scope| {
            let started = Arc::new(AtomicBool::new(false));
            let theirs = started.clone();
            let endless = scope.spawn(move || {
                theirs.store(true, Ordering::Relaxed);
                park_for_ever()
            });
            wait_until(|| !starts || started.load(Ordering::Relaxed));
            endless.cancel();
            handle_it(endless);
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_the_end_of_the_runtime_cancels_is_a_failure() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let (spawned, outcome) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (theirs, tells) = (spawned.clone(), outcome.clone());
    let owner = handle.spawn(move || {
        without_cancel(|| {
            let message = panic_message(|| {
                thread::scope(|scope| {
                    scope.spawn(|| park_for_ever());
                    theirs.store(true, Ordering::Relaxed);
                });
            });
            *tells.lock().unwrap() = Some(message);
        });
    });
    wait_until(|| spawned.load(Ordering::Relaxed));
    runtime.shutdown(LIMIT);
    owner.join().unwrap();
    let message = outcome.lock().unwrap().take();
    assert_eq!(message.as_deref(), Some("a scoped thread panicked"));
}

// Interrupts of the owner.

/// Where the owner of a scope is when it is interrupted.
#[derive(Clone, Copy, Debug)]
enum State {
    Parked,
    Joining,
    Ending,
    /// In a scope within the scope.
    Nested,
}

/// Runs a scope that never ends by itself, and counts in `ended` its threads that have ended, which takes them a while.
fn endless_scope(state: State, started: &AtomicUsize, ended: &AtomicUsize) {
    let child = || {
        started.fetch_add(1, Ordering::SeqCst);
        let Err(payload) = catch_unwind(|| park_for_ever());
        without_cancel(suspend_often);
        ended.fetch_add(1, Ordering::SeqCst);
        resume_unwind(payload);
    };
    // Declared before the scope: what the threads borrow lives as long.
    let _outlives = OnDrop(|| {
        let (started, ended) = (started.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
        assert_eq!(started, ended);
    });
    thread::scope(|scope| {
        scope.spawn(child);
        forget(scope.spawn(child));
        let last = scope.spawn(child);
        match state {
            State::Parked => park_for_ever(),
            State::Joining => last.join().unwrap(),
            State::Ending => {}
            State::Nested => thread::scope(|inner| {
                inner.spawn(child);
            }),
        }
    });
}

const STATES: [State; 4] = [State::Parked, State::Joining, State::Ending, State::Nested];

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_owner_cancels_and_waits() {
    for (round, state) in (0..5).flat_map(|round| STATES.map(|state| (round, state))) {
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let theirs = counts.clone();
        let owner = thread::spawn(move || endless_scope(state, &theirs.0, &theirs.1));
        let least = if matches!(state, State::Nested) { 4 } else { 3 };
        // In some rounds before all is set up.
        wait_until(|| counts.0.load(Ordering::SeqCst) >= least.min(round));
        owner.cancel();
        let payload = owner.join().unwrap_err();
        assert!(payload.is::<Cancelled>(), "{state:?}: {payload:?}");
        assert_eq!(
            counts.0.load(Ordering::SeqCst),
            counts.1.load(Ordering::SeqCst)
        );
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_timeout_around_a_scope_cancels_and_waits(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        for state in STATES {
            for microseconds in [0, 100, 3_000] {
                let (started, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let limit = Duration::from_micros(microseconds);
                let result = timeout(limit, || endless_scope(state, &started, &ended));
                assert!(result.is_err());
                assert_eq!(started.into_inner(), ended.into_inner());
            }
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_masked_owner_is_not_interrupted_in_its_scope() {
    let counts = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
    let theirs = counts.clone();
    let owner = thread::spawn(move || {
        let value = without_cancel(|| {
            thread::scope(|scope| {
                theirs.0.store(true, Ordering::SeqCst);
                let waits = scope.spawn(|| wait_until(|| theirs.1.load(Ordering::SeqCst)));
                waits.join().unwrap();
                7
            })
        });
        assert_eq!(value, 7);
        park_for_ever()
    });
    wait_until(|| counts.0.load(Ordering::SeqCst));
    owner.cancel();
    counts.1.store(true, Ordering::SeqCst);
    assert!(owner.join().unwrap_err().is::<Cancelled>());
}

#[rstest]
#[timeout(LIMIT)]
fn what_is_spawned_in_a_cancelled_scope_is_cancelled(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        let late = AtomicBool::new(false);
        let started = AtomicBool::new(false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    started.store(true, Ordering::Relaxed);
                    let cancelled = catch_unwind(|| park_for_ever());
                    assert!(cancelled.is_err());
                    let late = &late;
                    scope.spawn(move || {
                        thread::yield_now();
                        late.store(true, Ordering::Relaxed);
                    });
                });
                wait_until(|| started.load(Ordering::Relaxed));
                panic_quietly()
            })
        }));
        assert!(is_quiet_panic(&*result.unwrap_err()));
        assert!(!late.into_inner());
    });
}

// First errors.

#[rstest]
#[timeout(LIMIT)]
fn a_scope_without_errors_returns_what_its_body_does(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        let ended = AtomicUsize::new(0);
        let result = thread::try_scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    suspend_often();
                    ended.fetch_add(1, Ordering::Relaxed);
                    Ok::<(), String>(())
                });
            }
            Ok(scope.spawn(|| Ok(3)).join() + 4)
        });
        assert_eq!(result, Ok(7));
        assert_eq!(ended.into_inner(), 4);
    });
}

type Tried<'scope, 'env> = &'scope TryScope<'scope, 'env, &'static str>;

fn fail() -> Result<(), &'static str> {
    suspend_often();
    Err("first")
}

/// What happens in a scope in which a thread, or the body, is to fail for "first".
#[rstest]
#[case::body_is_parked(|scope: Tried<'_, '_>| { scope.spawn(fail); park_for_ever() })]
#[case::body_joins_it(|scope: Tried<'_, '_>| { scope.spawn(fail).join(); unreachable!() })]
#[case::body_joins_another(|scope: Tried<'_, '_>| {
    scope.spawn(fail);
    scope.spawn(|| -> Result<(), _> { park_for_ever() }).join();
    unreachable!()
})]
#[case::body_has_ended(|scope: Tried<'_, '_>| { scope.spawn(fail); Ok(()) })]
#[case::body_is_masked(|scope: Tried<'_, '_>| {
    let failed = scope.spawn(fail);
    without_cancel(|| wait_until(|| failed.is_finished()));
    park_for_ever()
})]
#[case::body_fails(|_: Tried<'_, '_>| Err("first"))]
#[case::body_panics_afterwards(|scope: Tried<'_, '_>| {
    let failed = scope.spawn(fail);
    without_cancel(|| wait_until(|| failed.is_finished()));
    panic_quietly()
})]
#[case::body_fails_afterwards(|scope: Tried<'_, '_>| {
    let failed = scope.spawn(fail);
    without_cancel(|| wait_until(|| failed.is_finished()));
    Err("second")
})]
#[case::a_thread_joins_it(|scope: Tried<'_, '_>| {
    let failed = scope.spawn(fail);
    scope.spawn(move || -> Result<(), _> { failed.join(); unreachable!() });
    Ok(())
})]
#[case::a_thread_of_a_thread_fails(|scope: Tried<'_, '_>| {
    scope.spawn(move || -> Result<(), _> { scope.spawn(fail); park_for_ever() });
    Ok(())
})]
#[case::body_is_in_another_scope(|scope: Tried<'_, '_>| {
    scope.spawn(fail);
    thread::scope(|inner| { inner.spawn(|| park_for_ever()); });
    unreachable!()
})]
#[timeout(LIMIT)]
fn the_first_error_ends_the_scope(
    #[case] body: for<'s, 'e> fn(Tried<'s, 'e>) -> Result<(), &'static str>,
    #[values(Kind::Green, Kind::Os)] owner: Kind,
) {
    owner.run(move || {
        let ended = Arc::new(AtomicUsize::new(0));
        let result = thread::try_scope(|scope| {
            let theirs = ended.clone();
            let endless = move || -> Result<(), _> {
                let _ends = OnDrop(|| {
                    theirs.fetch_add(1, Ordering::Relaxed);
                });
                park_for_ever()
            };
            let started = Arc::new(AtomicBool::new(false));
            let theirs = started.clone();
            scope.spawn(move || {
                theirs.store(true, Ordering::Relaxed);
                endless()
            });
            wait_until(|| started.load(Ordering::Relaxed));
            body(scope)
        });
        assert_eq!(result, Err("first"));
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        // Nothing is left of it.
        suspend_often();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn the_first_panic_ends_the_scope_and_goes_on(
    #[values(Kind::Green, Kind::Os)] owner: Kind,
    #[values(false, true)] joined: bool,
) {
    owner.run(move || {
        let result = catch_unwind(|| {
            thread::try_scope(|scope| {
                scope.spawn(|| -> Result<(), ()> { park_for_ever() });
                let panics = scope.spawn(|| -> Result<(), ()> { panic_quietly() });
                if joined {
                    panics.join();
                    unreachable!();
                }
                Ok(())
            })
        });
        assert!(is_quiet_panic(&*result.unwrap_err()));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn all_errors_but_the_first_are_dropped(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    struct Error<'a>(&'a AtomicUsize);
    impl Drop for Error<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    owner.run(|| {
        let (made, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let fail = || {
            thread::yield_now();
            made.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(Error(&dropped))
        };
        let result = thread::try_scope(|scope| {
            for _ in 0..20 {
                scope.spawn(fail);
            }
            Ok(())
        });
        let made = made.load(Ordering::Relaxed);
        assert_eq!(dropped.load(Ordering::Relaxed), made - 1);
        assert!(result.is_err());
        drop(result);
        assert_eq!(dropped.load(Ordering::Relaxed), made);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn an_interrupt_from_outside_passes_a_first_error_scope() {
    let ended = Arc::new(AtomicUsize::new(0));
    let theirs = ended.clone();
    let started = Arc::new(AtomicBool::new(false));
    let starts = started.clone();
    let endless = move || {
        let _ends = OnDrop(|| {
            theirs.fetch_add(1, Ordering::Relaxed);
        });
        starts.store(true, Ordering::SeqCst);
        let result = thread::try_scope(|scope| {
            scope.spawn(|| -> Result<(), ()> { park_for_ever() });
            Ok(())
        });
        unreachable!("{result:?}")
    };
    let owner = thread::spawn(endless.clone());
    wait_until(|| started.load(Ordering::SeqCst));
    owner.cancel();
    assert!(owner.join().unwrap_err().is::<Cancelled>());
    for kind in [Kind::Green, Kind::Os] {
        let endless = endless.clone();
        kind.run(move || assert!(timeout(Duration::from_millis(1), endless).is_err()));
    }
    assert_eq!(ended.load(Ordering::Relaxed), 3);
}

// Everything at random.

/// A value on a stack, which says whether its frame is still there.
struct Canary(AtomicU64);

impl Canary {
    const ALIVE: u64 = 0x600D_F00D_600D_F00D;

    fn check(&self) {
        assert_eq!(self.0.load(Ordering::SeqCst), Canary::ALIVE);
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

/// Does something at random in a scope, whose threads do likewise and look at each other's frames.
fn act_at_random(seed: u64, depth: u32) {
    let mut random = Xorshift(seed | 1);
    let canary = Canary(AtomicU64::new(Canary::ALIVE));
    let canary = &canary;
    let steps = random.next() % 4 + 1;
    let result = catch_unwind(AssertUnwindSafe(|| {
        thread::scope(|scope| {
            for _ in 0..steps {
                let seed = random.next();
                let child = move || {
                    let _looks = OnDrop(|| canary.check());
                    canary.check();
                    if seed % 3 == 0 {
                        thread::yield_now();
                    }
                    if depth > 0 {
                        act_at_random(seed, depth - 1);
                    }
                    canary.check();
                    if seed % 11 == 0 {
                        panic_quietly();
                    }
                    OnDrop(|| canary.check())
                };
                let handle = scope.spawn(child);
                match random.next() % 8 {
                    0 => drop(handle.join()),
                    1 => forget(handle),
                    2 => handle.cancel(),
                    3 => {
                        let limit = Duration::from_micros(random.next() % 100);
                        let _ = timeout(limit, || handle.join().map(drop));
                    }
                    4 => {
                        scope.spawn(move || drop(handle.join()));
                    }
                    _ => {}
                }
            }
            match random.next() % 10 {
                0 => panic_quietly(),
                1 => thread::yield_now(),
                _ => {}
            }
        });
    }));
    canary.check();
    match result {
        Err(payload) if payload.is::<Cancelled>() => resume_unwind(payload),
        _ => {}
    }
}

#[rstest]
fn scopes_hold_in_a_random_mess(#[context] context: Context) {
    with_workers(4, &context, || {
        for round in 1..=40 * stress() {
            let seed = round.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let owners: Vec<JoinHandle<()>> = (0..4)
                .map(|i| thread::spawn(move || act_at_random(seed ^ (i << 40), 3)))
                .collect();
            owners[round as usize % 4].cancel();
            for owner in owners {
                match owner.join() {
                    Ok(()) => {}
                    Err(payload) => assert!(payload.is::<Cancelled>()),
                }
            }
        }
    });
}
