//! `sync::Once`, `OnceLock`, `LazyLock`: what is run once, poisoning, recursion, and what an interrupt leaves behind.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::{LazyLock, Once, OnceLock, OnceState};
use corde::thread::{self, Cancelled, LocalJoinHandle, park, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, panic_quietly, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, scaled, stress};

const SHORT: Duration = Duration::from_millis(2);

const POISONED: &str = "Once instance has previously been poisoned";
const LAZY_POISONED: &str = "LazyLock instance has previously been poisoned";
const RECURSIVE: &str = "one-time initialization may not be performed recursively";

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    let payload = result.map(drop).expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}

/// Runs `f`, which panics.
fn catch<T>(f: impl FnOnce() -> T) {
    let unwound = catch_unwind(AssertUnwindSafe(f)).map(drop);
    unwound.expect_err("it panics");
}

fn poison(once: &Once) {
    catch(|| once.call_once(|| panic_quietly()));
}

// Once.

#[rstest]
#[case::green(&[Kind::Green; 10])]
#[case::os(&[Kind::Os; 4])]
#[case::mixed(&[Kind::Green, Kind::Os, Kind::Green, Kind::Os, Kind::Green])]
#[timeout(LIMIT)]
fn one_closure_is_run_and_seen_by_all(#[case] kinds: &[Kind], #[values(false, true)] force: bool) {
    for _ in 0..20 {
        let (once, runs) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let (once, runs) = (once.clone(), runs.clone());
                kind.spawn(move || {
                    let run = || {
                        yield_now();
                        runs.fetch_add(1, Ordering::Relaxed);
                    };
                    if force {
                        once.call_once_force(|_| run());
                    } else {
                        once.call_once(run);
                    }
                    assert!(once.is_completed());
                    assert_eq!(runs.load(Ordering::Relaxed), 1);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join());
    }
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_wait_for_it(#[values(1, 2)] workers: usize) {
    let many = scaled(10_000);
    let runtime = Builder::new().workers(workers).build().unwrap();
    let once = Arc::new(Once::new());
    let begun = Arc::new(AtomicUsize::new(0));
    once.call_once(|| {
        let threads: Vec<_> = (0..many)
            .map(|n| {
                let (once, begun) = (once.clone(), begun.clone());
                runtime.spawn(move || {
                    begun.fetch_add(1, Ordering::Relaxed);
                    match n % 3 {
                        0 => once.call_once(|| unreachable!()),
                        1 => once.wait(),
                        _ => once.wait_force(),
                    }
                    begun.fetch_sub(1, Ordering::Relaxed);
                })
            })
            .collect();
        wait_until(|| begun.load(Ordering::Relaxed) == many);
        // They go on when this is over.
        drop(threads);
    });
    wait_until(|| begun.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_panic_poisons_it() {
    let once = Once::new();
    poison(&once);
    assert!(!once.is_completed());
    assert_eq!(
        panic_message(|| once.call_once(|| unreachable!())),
        POISONED
    );
    assert_eq!(panic_message(|| once.wait()), POISONED);
    let mut poisoned = None;
    once.call_once_force(|state| poisoned = Some(state.is_poisoned()));
    assert_eq!(poisoned, Some(true));
    assert!(once.is_completed());
    once.call_once(|| unreachable!());
    once.call_once_force(|_| unreachable!());
}

#[rstest]
#[timeout(LIMIT)]
fn those_who_wait_for_one_that_panics_learn_of_it() {
    alone(|| {
        let once = Rc::new(Once::new());
        let theirs = once.clone();
        let running = spawn_local(move || {
            theirs.call_once(|| {
                park();
                panic_quietly();
            });
        });
        yield_now();
        let theirs = once.clone();
        let caller = spawn_local(move || panic_message(|| theirs.call_once(|| unreachable!())));
        let theirs = once.clone();
        let watcher = spawn_local(move || panic_message(|| theirs.wait()));
        let theirs = once.clone();
        let patient = spawn_local(move || theirs.wait_force());
        yield_now();
        running.thread().unpark();
        assert!(running.join().is_err());
        assert_eq!(caller.join().unwrap(), POISONED);
        assert_eq!(watcher.join().unwrap(), POISONED);
        assert!(!patient.is_finished());
        let theirs = once.clone();
        let forcing = spawn_parked(&once);
        let waiting = spawn_local(move || {
            let mut poisoned = false;
            theirs.call_once_force(|state| poisoned = state.is_poisoned());
            poisoned
        });
        yield_now();
        forcing.cancel();
        assert_cancelled(forcing.join());
        assert!(waiting.join().unwrap());
        patient.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn wait_waits_for_one_that_has_not_begun(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] force: bool,
) {
    let once = Arc::new(Once::new());
    let (theirs, done) = (once.clone(), Arc::new(AtomicBool::new(false)));
    let seen = done.clone();
    let waiting = kind.spawn(move || {
        if force {
            theirs.wait_force();
        } else {
            theirs.wait();
        }
        assert!(seen.load(Ordering::Relaxed));
    });
    (0..10).for_each(|_| yield_now());
    once.call_once(|| done.store(true, Ordering::Relaxed));
    waiting.join();
    once.wait();
    once.wait_force();
}

/// Something inside of the closure that would wait for it.
#[rstest]
#[case::call_once(|once: &Once| once.call_once(|| {}))]
#[case::call_once_force(|once: &Once| once.call_once_force(|_| {}))]
#[case::wait(Once::wait)]
#[case::wait_force(Once::wait_force)]
#[timeout(LIMIT)]
fn recursion_panics(#[case] inner: fn(&Once), #[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(move || {
        let once = Once::new();
        let mut message = String::new();
        once.call_once(|| message = panic_message(|| inner(&once)));
        assert_eq!(message, RECURSIVE);
        assert!(once.is_completed());
    });
}

// Interrupts.

/// One that is parked in its closure.
fn spawn_parked(once: &Rc<Once>) -> LocalJoinHandle<()> {
    let (once, parked) = (once.clone(), Rc::new(Cell::new(false)));
    let theirs = parked.clone();
    let thread = spawn_local(move || {
        once.call_once_force(|_| {
            theirs.set(true);
            loop {
                park();
            }
        });
    });
    wait_until(|| parked.get());
    thread
}

#[rstest]
#[timeout(LIMIT)]
fn an_interrupted_closure_leaves_it_to_the_next() {
    alone(|| {
        let once = Rc::new(Once::new());
        let running = spawn_parked(&once);
        let ran = Rc::new(Cell::new(0));
        let [first, second] = [(); 2].map(|()| {
            let (once, ran) = (once.clone(), ran.clone());
            spawn_local(move || {
                once.call_once(|| {
                    yield_now();
                    ran.set(ran.get() + 1);
                });
            })
        });
        let theirs = once.clone();
        let watcher = spawn_local(move || theirs.wait());
        yield_now();
        running.cancel();
        assert_cancelled(running.join());
        for thread in [first, second, watcher] {
            thread.join().unwrap();
        }
        assert_eq!(ran.get(), 1);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn an_interrupted_closure_leaves_it_as_it_was(#[values(false, true)] poisoned: bool) {
    alone(|| {
        let once = Rc::new(Once::new());
        if poisoned {
            poison(&once);
        }
        let running = spawn_parked(&once);
        running.cancel();
        assert_cancelled(running.join());
        let mut told = None;
        once.call_once_force(|state| told = Some(state.is_poisoned()));
        assert_eq!(told, Some(poisoned));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_timeout_ends_the_closure(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let once = Once::new();
        assert!(timeout(SHORT, || once.call_once(park)).is_err());
        once.call_once(|| {});
        assert!(once.is_completed());
    });
}

#[rstest]
#[case::call_once(|once: &Once| once.call_once(|| unreachable!()))]
#[case::call_once_force(|once: &Once| once.call_once_force(|_| unreachable!()))]
#[case::wait(Once::wait)]
#[case::wait_force(Once::wait_force)]
#[timeout(LIMIT)]
fn one_that_waits_may_be_interrupted(#[case] wait: fn(&Once)) {
    alone(|| {
        let once = Rc::new(Once::new());
        let running = spawn_parked(&once);
        assert!(timeout(SHORT, || wait(&once)).is_err());
        let theirs = once.clone();
        let waiting = spawn_local(move || wait(&theirs));
        yield_now();
        waiting.cancel();
        assert_cancelled(waiting.join());
        running.cancel();
        assert_cancelled(running.join());
        once.call_once(|| {});
    });
}

#[rstest]
#[case::one_worker(1, 7)]
#[case::three_workers(3, 11)]
#[timeout(LIMIT)]
fn stress_with_interrupts(#[case] workers: usize, #[case] seed: u64) {
    let runtime = Builder::new().workers(workers).build().unwrap();
    let mut random = Xorshift(seed);
    for _ in 0..100 * stress() {
        let (once, inside) = (Arc::new(Once::new()), Arc::new(AtomicBool::new(false)));
        let completed = Arc::new(AtomicUsize::new(0));
        let mut spawn = |_| {
            let (once, inside, completed) = (once.clone(), inside.clone(), completed.clone());
            let yields = random.next() % 4;
            runtime.spawn(move || {
                once.call_once(|| {
                    assert!(!inside.swap(true, Ordering::Relaxed));
                    let _leaving = OnDrop(|| inside.store(false, Ordering::Relaxed));
                    (0..yields).for_each(|_| yield_now());
                    completed.fetch_add(1, Ordering::Relaxed);
                });
            })
        };
        let victims: Vec<_> = (0..10).map(&mut spawn).collect();
        let others: Vec<_> = (0..3).map(&mut spawn).collect();
        for victim in victims {
            victim.cancel();
            drop(victim.join());
        }
        for thread in others {
            thread.join().unwrap();
        }
        assert_eq!(completed.load(Ordering::Relaxed), 1);
    }
}

// OnceLock.

#[test]
fn a_once_lock_keeps_its_first_value() {
    let mut lock = OnceLock::new();
    assert_eq!(lock.get(), None);
    assert_eq!(lock.get_mut(), None);
    assert_eq!(lock.set(1), Ok(()));
    assert_eq!(lock.set(2), Err(2));
    assert_eq!(*lock.get_or_init(|| unreachable!()), 1);
    assert_eq!((lock.get(), *lock.wait()), (Some(&1), 1));
    *lock.get_mut().unwrap() = 3;
    assert_eq!(lock.take(), Some(3));
    assert_eq!(lock.get(), None);
    assert_eq!(lock.take(), None);
    assert_eq!(*lock.get_or_init(|| 4), 4);
    assert_eq!(lock.into_inner(), Some(4));
    assert_eq!(OnceLock::<u32>::default().into_inner(), None);
}

#[test]
fn a_once_lock_is_made_and_compared_as_stds() {
    let (empty, one) = (OnceLock::new(), OnceLock::from(1));
    assert!(empty == OnceLock::new() && empty != one);
    assert!(one.clone() == one && one != OnceLock::from(2));
    assert!(empty.clone().get().is_none());
    static LOCK: OnceLock<String> = OnceLock::new();
    assert_eq!(LOCK.get_or_init(|| "set".to_owned()), "set");
}

/// As std's, it may hold what refers to what is dropped before it.
#[test]
fn a_once_lock_may_outlive_what_it_refers_to() {
    let lock = OnceLock::new();
    let text = "text".to_owned();
    lock.set(&*text).unwrap();
    assert_eq!(*lock.wait(), "text");
}

#[test]
fn a_once_lock_drops_its_value_once() {
    let drops = Cell::new(0);
    let counting = || OnDrop(|| drops.set(drops.get() + 1));
    let lock = OnceLock::from(counting());
    drop(lock.set(counting()));
    assert_eq!(drops.get(), 1);
    drop(lock);
    assert_eq!(drops.get(), 2);
    let mut lock = OnceLock::from(counting());
    drop(lock.take());
    drop(lock);
    assert_eq!(drops.get(), 3);
}

#[rstest]
#[timeout(LIMIT)]
fn a_once_lock_is_not_poisoned() {
    let lock = OnceLock::new();
    catch(|| lock.get_or_init(|| panic_quietly()));
    assert_eq!(lock.get(), None);
    assert!(
        timeout(SHORT, || *lock.get_or_init(|| loop {
            park()
        }))
        .is_err()
    );
    assert_eq!(lock.get(), None);
    assert_eq!(*lock.get_or_init(|| 1), 1);
}

#[rstest]
#[timeout(LIMIT)]
fn a_once_lock_that_asks_for_its_own_value_panics(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let lock = OnceLock::new();
        let message = panic_message(|| *lock.get_or_init(|| *lock.get_or_init(|| 1)));
        assert_eq!(message, RECURSIVE);
        assert_eq!(lock.set(2), Ok(()));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_once_lock_gives_all_the_same_value(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let lock = Arc::new(OnceLock::new());
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let lock = lock.clone();
            kind.spawn(move || match n % 3 {
                0 => *lock.wait(),
                1 => *lock.get_or_init(|| {
                    yield_now();
                    n
                }),
                _ => {
                    let set = lock.set(n).is_ok();
                    assert_eq!(set, *lock.wait() == n);
                    *lock.wait()
                }
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join(), *lock.wait());
    }
}

// LazyLock.

#[rstest]
#[case::green(&[Kind::Green; 10])]
#[case::mixed(&[Kind::Green, Kind::Os, Kind::Green, Kind::Os, Kind::Green])]
#[timeout(LIMIT)]
fn a_lazy_lock_is_made_once(#[case] kinds: &[Kind]) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let lazy = Arc::new(LazyLock::new(move || {
        yield_now();
        count.fetch_add(1, Ordering::Relaxed);
        "value".to_owned()
    }));
    assert_eq!(LazyLock::get(&lazy), None);
    let threads: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let lazy = lazy.clone();
            kind.spawn(move || assert_eq!(**lazy, "value"))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join());
    assert_eq!(made.load(Ordering::Relaxed), 1);
    assert_eq!(LazyLock::get(&lazy).map(String::as_str), Some("value"));
}

#[test]
fn a_lazy_lock_can_be_changed_by_its_owner() {
    let mut lazy = LazyLock::new(|| 1);
    assert_eq!(LazyLock::get_mut(&mut lazy), None);
    *LazyLock::force_mut(&mut lazy) += 1;
    *lazy += 1;
    assert_eq!(LazyLock::get_mut(&mut lazy), Some(&mut 3));
    assert_eq!(LazyLock::force(&lazy), &3);
    assert_eq!(*LazyLock::<u32>::default(), 0);
}

#[test]
fn a_lazy_lock_is_poisoned_by_a_panic() {
    let mut lazy = LazyLock::new(|| -> u32 { panic_quietly() });
    catch(|| *lazy);
    assert_eq!(panic_message(|| *lazy), LAZY_POISONED);
    assert_eq!(LazyLock::get(&lazy), None);
    assert_eq!(
        panic_message(|| *LazyLock::force_mut(&mut lazy)),
        LAZY_POISONED
    );
    assert_eq!(LazyLock::get_mut(&mut lazy), None);
}

#[rstest]
#[timeout(LIMIT)]
fn a_lazy_lock_that_asks_for_its_own_value_panics() {
    static LAZY: LazyLock<u32> = LazyLock::new(|| *LAZY + 1);
    assert_eq!(panic_message(|| *LAZY), RECURSIVE);
    assert_eq!(panic_message(|| *LAZY), LAZY_POISONED);
}

#[test]
fn a_lazy_lock_drops_what_it_has() {
    let drops = Rc::new(Cell::new(0));
    let counting = || {
        let drops = drops.clone();
        OnDrop(move || drops.set(drops.get() + 1))
    };
    let captured = counting();
    drop(LazyLock::new(move || captured));
    assert_eq!(drops.get(), 1);
    let captured = counting();
    let lazy = LazyLock::new(move || captured);
    let _value = &*lazy;
    assert_eq!(drops.get(), 1);
    drop(lazy);
    assert_eq!(drops.get(), 2);
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_thread_makes_the_value_first() {
    alone(|| {
        let lazy = Rc::new(LazyLock::new(|| {
            (0..5).for_each(|_| yield_now());
            7
        }));
        let theirs = lazy.clone();
        let making = spawn_local(move || {
            let value = **theirs;
            yield_now();
            value
        });
        yield_now();
        let theirs = lazy.clone();
        let waiting = spawn_local(move || **theirs);
        yield_now();
        waiting.cancel();
        assert_cancelled(waiting.join());
        making.cancel();
        assert_cancelled(making.join());
        assert_eq!(LazyLock::get(&lazy), Some(&7));
    });
}

// As std's.

#[test]
fn they_are_shown_as_std_shows_its_own() {
    let (ours, stds) = (Once::new(), std::sync::Once::new());
    assert_eq!(format!("{ours:?}"), format!("{stds:?}"));
    let (mut our_state, mut stds_state) = (String::new(), String::new());
    ours.call_once_force(|state| our_state = format!("{state:?}"));
    stds.call_once_force(|state| stds_state = format!("{state:?}"));
    assert_eq!(our_state, stds_state);

    let (ours, stds) = (OnceLock::new(), std::sync::OnceLock::new());
    assert_eq!(format!("{ours:?}"), format!("{stds:?}"));
    assert_eq!(ours.set("text"), stds.set("text"));
    assert_eq!(format!("{ours:?}"), format!("{stds:?}"));

    let (ours, stds) = (LazyLock::new(|| 7), std::sync::LazyLock::new(|| 7));
    assert_eq!(format!("{ours:?}"), format!("{stds:?}"));
    assert_eq!(*ours, *stds);
    assert_eq!(format!("{ours:?}"), format!("{stds:?}"));
}

#[test]
fn they_go_where_stds_go() {
    fn anywhere<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    fn send<T: Send>() {}
    anywhere::<Once>();
    anywhere::<OnceState>();
    anywhere::<OnceLock<String>>();
    anywhere::<LazyLock<String>>();
    send::<OnceLock<Cell<u32>>>();
}
