//! `sync::Barrier`: who meets whom, who leads, and who does not count.
#![cfg(feature = "runtime")]

mod util;

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::{Barrier, BarrierWaitResult};
use corde::thread::{Cancelled, JoinHandle, scope, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::threads::{Kind, wait_until};
use util::{LIMIT, scaled};

const SHORT: Duration = Duration::from_millis(2);

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

#[rstest]
#[case::green(&[Kind::Green; 10])]
#[case::more_than_are_woken_at_once(&[Kind::Green; 200])]
#[case::os(&[Kind::Os; 4])]
#[case::mixed(&[Kind::Green, Kind::Os, Kind::Green, Kind::Os, Kind::Green])]
#[timeout(LIMIT)]
fn all_come_before_one_goes_on_and_one_leads(#[case] kinds: &[Kind]) {
    const ROUNDS: usize = 50;
    let count = kinds.len();
    let barrier = Arc::new(Barrier::new(count));
    let (arrived, leaders) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let (barrier, arrived, leaders) = (barrier.clone(), arrived.clone(), leaders.clone());
            kind.spawn(move || {
                for round in 0..ROUNDS {
                    arrived.fetch_add(1, Ordering::Relaxed);
                    if barrier.wait().is_leader() {
                        leaders.fetch_add(1, Ordering::Relaxed);
                    }
                    // Some may be at the next meeting already, but not past it.
                    let seen = arrived.load(Ordering::Relaxed);
                    assert!((count * (round + 1)..count * (round + 2)).contains(&seen));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join());
    assert_eq!(leaders.load(Ordering::Relaxed), ROUNDS);
}

#[rstest]
#[case::nobody(0)]
#[case::one(1)]
fn one_that_waits_for_no_other_leads(#[case] needed: usize) {
    let barrier = Barrier::new(needed);
    for _ in 0..3 {
        assert!(barrier.wait().is_leader());
    }
}

#[rstest]
#[timeout(LIMIT)]
fn the_last_one_leads_and_does_not_wait() {
    alone(|| {
        let barrier = Barrier::new(3);
        scope(|scope| {
            let others = [(); 2].map(|()| scope.spawn(|| barrier.wait().is_leader()));
            // They have come when they have run.
            (0..5).for_each(|_| yield_now());
            assert!(!others.iter().any(|other| other.is_finished()));
            assert!(barrier.wait().is_leader());
            for other in others {
                assert!(!other.join().unwrap());
            }
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_meet(#[values(1, 2)] workers: usize) {
    let many = scaled(10_000);
    let runtime = Builder::new().workers(workers).build().unwrap();
    let barrier = Arc::new(Barrier::new(many));
    let arrived = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..many)
        .map(|_| {
            let (barrier, arrived) = (barrier.clone(), arrived.clone());
            runtime.spawn(move || {
                let meet = |number| {
                    arrived.fetch_add(1, Ordering::Relaxed);
                    let leads = barrier.wait().is_leader();
                    assert!(arrived.load(Ordering::Relaxed) >= number * many);
                    usize::from(leads)
                };
                // Those who are quick come back while others are still being woken.
                meet(1) + meet(2)
            })
        })
        .collect();
    let leaders: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(leaders, 2);
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_is_cancelled_has_not_come() {
    alone(|| {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        let waiting = spawn_local(move || theirs.wait());
        yield_now();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        let theirs = barrier.clone();
        let waiting = spawn_local(move || theirs.wait().is_leader());
        (0..5).for_each(|_| yield_now());
        assert!(!waiting.is_finished());
        assert!(barrier.wait().is_leader());
        assert!(!waiting.join().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_has_met_the_others_goes_on_though_it_is_cancelled() {
    alone(|| {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        let waiting = spawn_local(move || theirs.wait().is_leader());
        yield_now();
        assert!(barrier.wait().is_leader());
        waiting.cancel();
        assert!(!waiting.join().unwrap());
    });
}

/// Its leader lets go of the lock now and then.
#[rstest]
#[timeout(LIMIT)]
fn one_that_is_cancelled_while_many_are_woken_has_met_them() {
    let many = scaled(5_000);
    for _ in 0..10 {
        // The crowd stands between two threads of a worker that is awake: the first is woken when the last's turn is far off.
        let [awake, crowded] = [(); 2].map(|()| Builder::new().workers(1).build().unwrap());
        let over = Arc::new(AtomicBool::new(false));
        let theirs = over.clone();
        let busy = awake.spawn(move || {
            while !theirs.load(Ordering::Relaxed) {
                yield_now();
            }
        });
        let (barrier, arrived) = (
            Arc::new(Barrier::new(many + 3)),
            Arc::new(AtomicUsize::new(0)),
        );
        let meets = || {
            let (barrier, arrived) = (barrier.clone(), arrived.clone());
            move || {
                arrived.fetch_add(1, Ordering::Relaxed);
                barrier.wait();
            }
        };
        let arrive = |number| wait_until(|| arrived.load(Ordering::Relaxed) == number);
        let last = Arc::new(OnceLock::<JoinHandle<()>>::new());
        let (meet, theirs) = (meets(), last.clone());
        let first = awake.spawn(move || {
            meet();
            theirs.get().unwrap().cancel();
        });
        arrive(1);
        awake.block_on(yield_now);
        let crowd: Vec<_> = (0..many).map(|_| crowded.spawn(meets())).collect();
        arrive(many + 1);
        crowded.block_on(yield_now);
        last.set(awake.spawn(meets())).unwrap();
        arrive(many + 2);
        awake.block_on(yield_now);
        assert!(barrier.wait().is_leader());
        first.join().unwrap();
        crowd.into_iter().for_each(|one| one.join().unwrap());
        let last = Arc::into_inner(last).and_then(OnceLock::into_inner);
        last.unwrap().join().unwrap();
        over.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    }
}

#[rstest]
#[timeout(LIMIT)]
fn one_whose_time_is_over_has_not_come(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let barrier = Arc::new(Barrier::new(2));
    let theirs = barrier.clone();
    kind.run(move || {
        for _ in 0..3 {
            assert!(timeout(SHORT, || theirs.wait()).is_err());
        }
    });
    let theirs = barrier.clone();
    let leads = kind.spawn(move || theirs.wait().is_leader());
    assert_ne!(barrier.wait().is_leader(), leads.join());
}

/// It could lead for ever, and nobody else would run.
#[rstest]
#[timeout(LIMIT)]
fn one_that_never_waits_lets_others_run() {
    alone(|| {
        let ran = Arc::new(AtomicUsize::new(0));
        let theirs = ran.clone();
        let other = spawn_local(move || theirs.store(1, Ordering::Relaxed));
        let barrier = Barrier::new(1);
        while ran.load(Ordering::Relaxed) == 0 {
            barrier.wait();
        }
        other.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_static_one_is_met_from_everywhere() {
    static BARRIER: Barrier = Barrier::new(2);
    let arrived = Arc::new(AtomicUsize::new(0));
    let theirs = arrived.clone();
    let other = Kind::Os.spawn(move || {
        theirs.fetch_add(1, Ordering::Relaxed);
        BARRIER.wait();
    });
    wait_until(|| arrived.load(Ordering::Relaxed) == 1);
    BARRIER.wait();
    other.join();
}

#[test]
fn it_is_shown_as_std_shows_its_own() {
    let (ours, stds) = (Barrier::new(1), std::sync::Barrier::new(1));
    assert_eq!(format!("{ours:?}"), format!("{stds:?}"));
    assert_eq!(format!("{:?}", ours.wait()), format!("{:?}", stds.wait()));
}

#[test]
fn it_goes_where_stds_goes() {
    fn anywhere<T: Send + Sync + UnwindSafe + RefUnwindSafe + Unpin>() {}
    anywhere::<Barrier>();
    anywhere::<BarrierWaitResult>();
}
