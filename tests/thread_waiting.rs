//! `corde::thread`: parking, sleeping, and waiting while a panic unwinds.
#![cfg(feature = "runtime")]

mod util;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use corde::thread::{self, JoinHandle, Thread};
use rstest::{Context, rstest};
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, spin_until, wait_until};
use util::{LIMIT, child, full_name, scaled, with_workers};

// Parking.

#[rstest]
#[timeout(LIMIT)]
fn each_unpark_ends_one_park(
    #[values(Kind::Green, Kind::Os)] parker: Kind,
    #[values(Kind::Green, Kind::Os)] unparker: Kind,
) {
    const ROUNDS: usize = 200;
    #[derive(Default)]
    struct Shared {
        thread: OnceLock<Thread>,
        asked: AtomicUsize,
        given: AtomicUsize,
    }
    let shared = Arc::new(Shared::default());
    let theirs = shared.clone();
    let parker = parker.spawn(move || {
        theirs.thread.set(thread::current()).unwrap();
        for round in 1..=ROUNDS {
            theirs.asked.store(round, Ordering::SeqCst);
            thread::park();
            assert_eq!(theirs.given.load(Ordering::SeqCst), round);
        }
    });
    let unparker = unparker.spawn(move || {
        for round in 1..=ROUNDS {
            wait_until(|| shared.asked.load(Ordering::SeqCst) == round);
            shared.given.store(round, Ordering::SeqCst);
            shared.thread.get().unwrap().unpark();
        }
    });
    parker.join();
    unparker.join();
}

#[rstest]
#[timeout(LIMIT)]
fn an_unpark_before_the_park_counts(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        thread::current().unpark();
        thread::park();
        thread::current().unpark();
        thread::park_timeout(Duration::MAX);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn two_unparks_give_one_token(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    const TIMEOUT: Duration = Duration::from_millis(5);
    kind.run(|| {
        thread::current().unpark();
        thread::current().unpark();
        thread::park();
        let before = Instant::now();
        thread::park_timeout(TIMEOUT);
        assert!(before.elapsed() >= TIMEOUT);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn park_timeout_ends_by_an_unpark(
    #[values(Kind::Green, Kind::Os)] parker: Kind,
    #[values(Kind::Green, Kind::Os)] unparker: Kind,
    #[values(Duration::from_secs(3600), Duration::MAX)] timeout: Duration,
) {
    let shared = Arc::new(OnceLock::new());
    let theirs = shared.clone();
    let parker = parker.spawn(move || {
        theirs.set(thread::current()).unwrap();
        thread::park_timeout(timeout);
    });
    unparker.run(move || {
        wait_until(|| shared.get().is_some());
        shared.get().map(Thread::unpark);
    });
    parker.join();
}

/// The token belongs to `park` alone: waits inside of the library leave it, and are not cut short by it.
#[rstest]
#[timeout(LIMIT)]
fn other_waits_leave_the_token(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    const NAP: Duration = Duration::from_millis(2);
    kind.run(|| {
        thread::current().unpark();
        let before = Instant::now();
        thread::sleep(NAP);
        assert!(before.elapsed() >= NAP);
        thread::park();

        let me = thread::current();
        let unparks = thread::spawn(move || {
            me.unpark();
            thread::sleep(NAP);
            "joined"
        });
        assert_eq!(unparks.join().unwrap(), "joined");
        thread::park();
    });
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn green_threads_wake_each_other(#[context] context: Context, #[case] workers: usize) {
    const ROUNDS: usize = 1000;
    /// Parks until it is turn `mine`, then passes the turn on.
    fn take_turn(turn: &AtomicUsize, mine: usize, next: &Thread) {
        while turn.load(Ordering::SeqCst) != mine {
            thread::park();
        }
        turn.store(mine + 1, Ordering::SeqCst);
        next.unpark();
    }

    let body = || {
        let turn = Arc::new(AtomicUsize::new(0));
        let started = Arc::new(AtomicBool::new(false));
        let (first, shared) = (thread::current(), (turn.clone(), started.clone()));
        let second = thread::spawn(move || {
            let (turn, started) = shared;
            started.store(true, Ordering::SeqCst);
            (0..ROUNDS).for_each(|round| take_turn(&turn, 2 * round + 1, &first));
            std::thread::current().id()
        });
        // With two workers it starts on the other one, as this one does not let it run.
        if workers == 2 {
            spin_until(|| started.load(Ordering::SeqCst));
        }
        (0..ROUNDS).for_each(|round| take_turn(&turn, 2 * round, second.thread()));
        let same_worker = second.join().unwrap() == std::thread::current().id();
        assert_eq!(same_worker, workers == 1);
    };
    with_workers(workers, &context, || corde::run(body));
}

/// In a process of its own, for its memory and, where guards take mappings, for those.
#[rstest]
fn a_hundred_thousand_parked_threads_all_wake(#[context] context: Context) {
    let many = scaled(100_000);
    /// With guards made by `mprotect` the rest gets no stack, under the system's usual limit on mappings.
    const THREADS_AT_LEAST: usize = 20_000;

    let body = || {
        let arrived = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..many)
            .map(|i| {
                let arrived = arrived.clone();
                let arrives = OnDrop(move || {
                    arrived.fetch_add(1, Ordering::Relaxed);
                });
                thread::spawn(move || {
                    drop(arrives);
                    thread::park();
                    i
                })
            })
            .collect();
        wait_until(|| arrived.load(Ordering::Relaxed) == many);
        threads.iter().for_each(|thread| thread.thread().unpark());
        let mut ended = 0;
        for (i, thread) in threads.into_iter().enumerate() {
            match thread.join() {
                Ok(result) => {
                    assert_eq!(result, i);
                    ended += 1;
                }
                Err(payload) => {
                    let error = payload.downcast_ref::<io::Error>().unwrap();
                    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
                    assert!(ended >= THREADS_AT_LEAST);
                }
            }
        }
    };
    child::run(&full_name(&context), &[], body).assert_success();
}

// Sleeping.

#[rstest]
#[timeout(LIMIT)]
fn sleep_lasts_at_least_its_duration(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(0, 1, 50_000, 3_000_000)] nanoseconds: u64,
) {
    kind.run(move || {
        let duration = Duration::from_nanos(nanoseconds);
        let before = Instant::now();
        thread::sleep(duration);
        assert!(before.elapsed() >= duration);
        let before = Instant::now();
        thread::park_timeout(duration);
        assert!(before.elapsed() >= duration);
    });
}

/// On one worker, which looks at its timers at each deadline, or when it has been busy until all have passed.
/// All of them wait: a sleep of no length is over at once, whoever else is due.
#[rstest]
#[case::one_by_one(false)]
#[case::all_at_once(true)]
fn sleepers_wake_in_the_order_of_their_deadlines(#[context] context: Context, #[case] busy: bool) {
    const STEPS: [u32; 8] = [6, 3, 8, 1, 4, 7, 2, 5];
    const STEP: Duration = Duration::from_millis(5);

    let body = || {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let starts = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..STEPS.len())
            .map(|i| {
                let (woken, starts) = (woken.clone(), starts.clone());
                thread::spawn(move || {
                    starts.lock().unwrap().push((i, Instant::now()));
                    thread::sleep(STEP * STEPS[i]);
                    woken.lock().unwrap().push(i);
                })
            })
            .collect();
        // They start one after the other, in whichever order: each has its deadline set before the next one looks at the clock.
        wait_until(|| starts.lock().unwrap().len() == STEPS.len());
        let mut starts = starts.lock().unwrap().clone();
        starts.push((STEPS.len(), Instant::now()));
        let place = |i: usize| starts.iter().position(|&(who, _)| who == i).unwrap();
        let earliest = |i: usize| starts[place(i)].1 + STEP * STEPS[i];
        let latest = |i: usize| starts[place(i) + 1].1 + STEP * STEPS[i];
        if busy {
            spin_until(|| (0..STEPS.len()).all(|i| latest(i) < Instant::now()));
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let woken = woken.lock().unwrap();
        assert_eq!(woken.len(), STEPS.len());
        for (nth, &sooner) in woken.iter().enumerate() {
            for &later in &woken[nth + 1..] {
                let out_of_order = latest(later) < earliest(sooner);
                assert!(!out_of_order, "{later} was due before {sooner}: {woken:?}");
            }
        }
    };
    with_workers(1, &context, || corde::run(body));
}

// Waiting while unwinding.

/// Lets a green thread unwind through `wait` among others of its worker that would notice a panic or a poisoned lock.
fn unwind_through(wait: fn()) {
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let neighbours: Vec<JoinHandle<()>> = (0..8)
        .map(|_| {
            let (stop, rounds) = (stop.clone(), rounds.clone());
            thread::spawn(move || {
                let lock = Mutex::new(());
                while !stop.load(Ordering::Relaxed) {
                    // A guard dropped under somebody's panic would poison the lock.
                    let guard = lock.lock().unwrap();
                    thread::yield_now();
                    assert!(!std::thread::panicking());
                    // A worker steals when it has nothing else to do.
                    thread::sleep(Duration::from_micros(50));
                    assert!(!std::thread::panicking());
                    drop(guard);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..20 {
        let waited = Arc::new(AtomicBool::new(false));
        let theirs = waited.clone();
        let unwinding = thread::spawn(move || {
            let _waits = OnDrop(move || {
                assert!(std::thread::panicking());
                wait();
                theirs.store(true, Ordering::Relaxed);
            });
            thread::yield_now();
            panic_quietly()
        });
        let payload = catch_unwind(AssertUnwindSafe(|| unwinding.join()))
            .unwrap()
            .unwrap_err();
        assert!(is_quiet_panic(&*payload));
        assert!(waited.load(Ordering::Relaxed), "round {round}");
        let seen = rounds.load(Ordering::Relaxed);
        wait_until(|| rounds.load(Ordering::Relaxed) > seen);
    }
    stop.store(true, Ordering::Relaxed);
    for neighbour in neighbours {
        neighbour.join().unwrap();
    }
}

#[rstest]
#[case::yield_now(1, thread::yield_now)]
#[case::sleep(1, || thread::sleep(Duration::from_micros(300)))]
#[case::park_timeout(1, || thread::park_timeout(Duration::from_micros(300)))]
#[case::park_with_a_token(1, || {
    thread::current().unpark();
    thread::park();
})]
#[case::park_woken_by_an_os_thread(1, || {
    let me = thread::current();
    let waker = std::thread::spawn(move || me.unpark());
    thread::park();
    waker.join().unwrap();
})]
#[case::park_woken_by_another_worker(2, || {
    let me = thread::current();
    thread::spawn(move || me.unpark());
    thread::park();
})]
#[case::join_of_another_worker(2, || {
    let sleeps = thread::spawn(|| thread::sleep(Duration::from_micros(100)));
    sleeps.join().unwrap();
})]
fn a_destructor_may_wait_while_its_thread_unwinds(
    #[context] context: Context,
    #[case] workers: usize,
    #[case] wait: fn(),
) {
    with_workers(workers, &context, || {
        corde::run(|| unwind_through(wait));
    });
}
