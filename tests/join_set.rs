//! `thread::JoinSet`: joining in the order of completion, cancelling, detaching.
#![cfg(feature = "runtime")]

mod util;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::Runtime;
use corde::thread::{self, Builder, Cancelled, JoinSet, Thread};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, scaled, stress, with_workers};

fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}

/// Fills a set with green threads that wait to be unparked.
fn parked(count: usize) -> (JoinSet<usize>, Vec<Thread>) {
    let mut set = JoinSet::new();
    let threads = (0..count)
        .map(|i| {
            set.spawn(move || {
                thread::park();
                i
            })
        })
        .collect();
    (set, threads)
}

#[rstest]
#[timeout(LIMIT)]
fn join_next_returns_them_in_the_order_in_which_they_end(
    #[values(Kind::Green, Kind::Os)] joiner: Kind,
    #[values(false, true)] waits: bool,
) {
    joiner.run(move || {
        let (mut set, threads) = parked(5);
        assert_eq!((set.len(), set.is_empty()), (5, false));
        let mut ended = Vec::new();
        for i in [3, 0, 4, 2, 1] {
            assert!(set.try_join_next().is_none());
            threads[i].unpark();
            let next = if waits {
                set.join_next()
            } else {
                let mut next = None;
                wait_until(|| {
                    next = set.try_join_next();
                    next.is_some()
                });
                next
            };
            ended.push(next.unwrap().unwrap());
        }
        assert_eq!(ended, [3, 0, 4, 2, 1]);
        assert!(set.is_empty() && set.join_next().is_none() && set.try_join_next().is_none());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn each_is_known_again_by_its_id_however_it_ended(
    #[values(Kind::Green, Kind::Os)] joiner: Kind,
    #[values(false, true)] waits: bool,
) {
    joiner.run(move || {
        let mut set = JoinSet::new();
        let returns = set.spawn(|| {
            thread::park();
            1
        });
        let panics = set.spawn(|| {
            thread::park();
            panic_quietly()
        });
        let cancelled = set.spawn(|| park_for_ever());
        // It may not even begin.
        let at_once = set.spawn(|| park_for_ever());
        assert!(set.cancel(at_once.id()));
        let mut next = || {
            if waits {
                return set.join_next_with_id().unwrap();
            }
            let mut next = None;
            wait_until(|| {
                next = set.try_join_next_with_id();
                next.is_some()
            });
            next.unwrap()
        };
        let (id, result) = next();
        assert!(id == at_once.id() && result.unwrap_err().is::<Cancelled>());
        panics.unpark();
        let (id, result) = next();
        assert!(id == panics.id() && is_quiet_panic(&*result.unwrap_err()));
        returns.unpark();
        let (id, result) = next();
        assert_eq!((id, result.unwrap()), (returns.id(), 1));
        assert!(set.cancel(cancelled.id()));
        let (id, result) = set.join_next_with_id().unwrap();
        assert!(id == cancelled.id() && result.unwrap_err().is::<Cancelled>());
        assert!(set.join_next_with_id().is_none());
        assert!(set.try_join_next_with_id().is_none());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_is_cancelled_alone() {
    let (mut set, threads) = parked(5);
    assert!(set.cancel(threads[2].id()));
    let (id, result) = set.join_next_with_id().unwrap();
    assert!(id == threads[2].id() && result.unwrap_err().is::<Cancelled>());
    assert!(!set.cancel(id), "it is not in the set any more");
    assert!(!set.cancel(thread::current().id()), "it never was");
    // What is spawned next takes its place, and is not taken for it.
    let late = set.spawn(|| 7).id();
    assert!(!set.cancel(id));
    let (id, result) = set.join_next_with_id().unwrap();
    assert_eq!((id, result.unwrap()), (late, 7));
    threads.iter().for_each(Thread::unpark);
    let mut rest = set.join_all();
    rest.sort_unstable();
    assert_eq!(rest, [0, 1, 3, 4]);
}

#[rstest]
#[timeout(LIMIT)]
fn join_next_returns_how_one_has_ended(#[values(Kind::Green, Kind::Os)] joiner: Kind) {
    joiner.run(|| {
        let mut set = JoinSet::new();
        set.spawn(|| 1);
        assert_eq!(set.join_next().unwrap().unwrap(), 1);
        set.spawn(|| panic_quietly());
        assert!(is_quiet_panic(&*set.join_next().unwrap().unwrap_err()));
        set.spawn(|| park_for_ever());
        set.cancel_all();
        assert!(set.join_next().unwrap().unwrap_err().is::<Cancelled>());
        assert!(set.join_next().is_none());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_are_joined(#[values(Kind::Green, Kind::Os)] joiner: Kind) {
    joiner.run(|| {
        let many = scaled(10_000);
        let mut set: JoinSet<usize> = (0..many)
            .map(|i| {
                move || {
                    thread::yield_now();
                    i
                }
            })
            .collect();
        let mut seen = vec![false; many];
        while let Some(result) = set.join_next() {
            assert!(!std::mem::replace(&mut seen[result.unwrap()], true));
        }
        assert!(seen.iter().all(|&seen| seen));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn join_all_returns_all_results(#[values(Kind::Green, Kind::Os)] joiner: Kind) {
    joiner.run(|| {
        let set: JoinSet<usize> = (0..100).map(|i| move || i).collect();
        let mut all = set.join_all();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert!(JoinSet::<()>::new().join_all().is_empty());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn join_all_goes_on_with_a_panic_and_cancels_the_others() {
    let ended = Arc::new(AtomicBool::new(false));
    let theirs = OnDrop({
        let ended = ended.clone();
        move || ended.store(true, Ordering::Relaxed)
    });
    let mut set = JoinSet::new();
    set.spawn(move || {
        let _theirs = theirs;
        park_for_ever()
    });
    set.spawn(|| panic_quietly());
    let result = catch_unwind(AssertUnwindSafe(|| set.join_all()));
    assert!(is_quiet_panic(&*result.map(drop).unwrap_err()));
    wait_until(|| ended.load(Ordering::Relaxed));

    let mut set = JoinSet::<()>::new();
    set.spawn(|| park_for_ever());
    set.cancel_all();
    let message = panic_message(|| set.join_all());
    assert_eq!(message, "a green thread of the set was cancelled");
}

// Ends that are not waited for.

/// Counts what is dropped.
fn counted(drops: &Arc<AtomicUsize>) -> OnDrop<impl FnMut() + Send + use<>> {
    let drops = drops.clone();
    OnDrop(move || {
        drops.fetch_add(1, Ordering::Relaxed);
    })
}

#[rstest]
#[timeout(LIMIT)]
fn dropping_a_set_cancels_all_in_it(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut set = JoinSet::new();
        for i in 0..10 {
            let (captured, result) = (counted(&drops), counted(&drops));
            set.spawn(move || {
                let _captured = captured;
                if i % 2 == 0 {
                    thread::park();
                }
                result
            });
        }
        // Some have left their result in the set by then, some have not begun.
        thread::yield_now();
        drop(set);
        wait_until(|| drops.load(Ordering::Relaxed) == 20);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn shutdown_waits_for_the_end_of_all(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut set = JoinSet::new();
        for _ in 0..10 {
            let captured = counted(&drops);
            set.spawn(move || {
                let _captured = captured;
                let cancelled = catch_unwind(|| park_for_ever());
                assert!(cancelled.is_err());
                thread::without_cancel(|| (0..20).for_each(|_| thread::yield_now()));
            });
        }
        set.shutdown();
        assert_eq!(drops.load(Ordering::Relaxed), 10);
        // It can be used again.
        set.spawn(|| ());
        assert!(set.join_next().unwrap().is_ok());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn detached_ones_run_on(#[values(Kind::Green, Kind::Os)] owner: Kind) {
    owner.run(|| {
        let (mut set, threads) = parked(3);
        let drops = Arc::new(AtomicUsize::new(0));
        let result = counted(&drops);
        let late = {
            let mut set = JoinSet::new();
            let late = set.spawn(move || {
                thread::park();
                result
            });
            set.detach_all();
            assert!(set.is_empty());
            late
        };
        set.detach_all();
        assert!(set.join_next().is_none());
        // What comes from before is not taken for one of these.
        threads.iter().for_each(Thread::unpark);
        set.spawn(|| 7);
        assert_eq!(set.join_next().unwrap().unwrap(), 7);
        assert!(set.join_next().is_none());
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        late.unpark();
        wait_until(|| drops.load(Ordering::Relaxed) == 1);
    });
}

// Interrupts of the joiner.

#[rstest]
#[timeout(LIMIT)]
fn an_interrupted_join_takes_nothing_out(#[values(Kind::Green, Kind::Os)] joiner: Kind) {
    joiner.run(|| {
        let (mut set, threads) = parked(2);
        let limit = Duration::from_micros(500);
        assert!(timeout(limit, || set.join_next()).is_err());
        assert_eq!(set.len(), 2);
        threads.iter().for_each(Thread::unpark);
        assert_eq!(set.join_all().len(), 2);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_joiner_takes_its_set_along() {
    let (started, drops) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (theirs, captured) = (started.clone(), counted(&drops));
    let joiner = thread::spawn(move || {
        let mut set = JoinSet::<()>::new();
        set.spawn(move || {
            let _captured = captured;
            park_for_ever()
        });
        theirs.store(true, Ordering::Relaxed);
        set.join_next();
        unreachable!("it never ends");
    });
    wait_until(|| started.load(Ordering::Relaxed));
    joiner.cancel();
    assert!(joiner.join().unwrap_err().is::<Cancelled>());
    wait_until(|| drops.load(Ordering::Relaxed) == 1);
}

// Settings and runtimes.

#[rstest]
#[timeout(LIMIT)]
fn what_cannot_be_spawned_is_not_in_the_set() {
    let mut set = JoinSet::new();
    let impossible = Builder::new().stack_size(usize::MAX);
    let error: io::Error = set.spawn_with(impossible, || 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(set.is_empty());
    let named = Builder::new().name("member".into());
    assert_eq!(set.spawn_with(named, || 2).unwrap().name(), Some("member"));
    assert_eq!(set.join_all(), [2]);
}

#[rstest]
#[timeout(LIMIT)]
fn members_may_be_in_several_runtimes() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let mut set = JoinSet::new();
    set.spawn(|| 1);
    set.spawn_on(|| 2, runtime.handle());
    let mut all = set.join_all();
    all.sort_unstable();
    assert_eq!(all, [1, 2]);
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_never_runs_is_joined_as_cancelled(#[values(Kind::Green, Kind::Os)] joiner: Kind) {
    joiner.run(|| {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown(LIMIT);
        let mut set = JoinSet::new();
        set.spawn_on(|| unreachable!("its runtime has ended"), &handle);
        let result: thread::Result<()> = set.join_next().unwrap();
        assert!(result.unwrap_err().is::<Cancelled>());
    });
}

#[rstest]
fn none_is_lost_in_a_random_mess(#[context] context: Context) {
    with_workers(4, &context, || {
        let owners: JoinSet<()> = (1..=4)
            .map(|seed| move || (0..60 * stress()).for_each(|round| mess(seed * 1000 + round)))
            .collect();
        owners.join_all();
    });
}

/// Spawns and joins at random; everything that was spawned is joined once.
fn mess(seed: u64) {
    let mut random = Xorshift(seed);
    let mut set = JoinSet::new();
    let (mut spawned, mut joined) = (0, 0);
    for _ in 0..40 {
        let number = random.next();
        match number % 8 {
            0..=4 => {
                spawned += 1;
                set.spawn(move || {
                    (0..number % 5).for_each(|_| thread::yield_now());
                    if number % 7 == 0 {
                        panic_quietly();
                    }
                });
            }
            5 => joined += usize::from(set.try_join_next().is_some()),
            6 => {
                let limit = Duration::from_micros(number % 50);
                // Taken out only if it is returned.
                if let Ok(Some(_)) = timeout(limit, || set.join_next()) {
                    joined += 1;
                }
            }
            _ => {
                if number % 5 == 0 {
                    set.cancel_all();
                }
            }
        }
        assert_eq!(set.len(), spawned - joined);
    }
    while set.join_next().is_some() {
        joined += 1;
    }
    assert_eq!(joined, spawned);
}
