//! `sync::WaitGroup`: who waits, for whom, and what cancellation does there.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::WaitGroup;
use corde::thread::{self, Cancelled, LocalJoinHandle, park, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, panic_quietly, wait_until};
use util::{LIMIT, scaled, stress};

const SHORT: Duration = Duration::from_millis(2);

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

/// Spawns a green thread of this worker, and lets it run until it waits.
fn spawn_waiting<T: 'static>(body: impl FnOnce() -> T + 'static) -> LocalJoinHandle<T> {
    let begun = Rc::new(Cell::new(false));
    let theirs = begun.clone();
    let thread = spawn_local(move || {
        theirs.set(true);
        body()
    });
    wait_until(|| begun.get());
    thread
}

/// Lets all others of this worker run until they wait.
fn let_run() {
    (0..100).for_each(|_| yield_now());
}

fn members(group: &WaitGroup) -> String {
    format!("{group:?}")
}

#[rstest]
#[timeout(LIMIT)]
fn a_group_of_one_does_not_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        WaitGroup::new().wait();
        WaitGroup::default().wait();
    });
}

#[test]
fn members_are_counted() {
    let group = WaitGroup::new();
    let other = group.clone();
    assert_eq!(members(&group), "WaitGroup { count: 2 }");
    drop(other);
    assert_eq!(members(&group), "WaitGroup { count: 1 }");
}

#[rstest]
#[case::dropped(|member: WaitGroup| drop(member))]
#[case::waits_itself(WaitGroup::wait)]
#[case::panics(|member: WaitGroup| { let _member = member; panic_quietly() })]
#[timeout(LIMIT)]
fn waits_for_all_members(
    #[case] leave: fn(WaitGroup),
    #[values(Kind::Green, Kind::Os)] waiter: Kind,
    #[values(Kind::Green, Kind::Os)] member: Kind,
) {
    waiter.run(move || {
        let done = Arc::new(AtomicUsize::new(0));
        let group = WaitGroup::new();
        for _ in 0..5 {
            let (group, done) = (group.clone(), done.clone());
            let body = move || {
                yield_now();
                done.fetch_add(1, Ordering::Relaxed);
                leave(group);
            };
            drop(member.spawn(move || {
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            }));
        }
        group.wait();
        // What the members did is seen.
        assert_eq!(done.load(Ordering::Relaxed), 5);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn nobody_goes_on_before_the_last_has_left() {
    alone(|| {
        let group = WaitGroup::new();
        let gone = Rc::new(Cell::new(0));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (group, gone) = (group.clone(), gone.clone());
                spawn_waiting(move || {
                    group.wait();
                    gone.set(gone.get() + 1);
                })
            })
            .collect();
        let_run();
        assert_eq!(
            (gone.get(), &*members(&group)),
            (0, "WaitGroup { count: 1 }")
        );
        drop(group);
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(gone.get(), 3);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn many_wait() {
    alone(|| {
        let group = WaitGroup::new();
        let spawn = |_| {
            let group = group.clone();
            spawn_waiting(move || group.wait())
        };
        let waiting: Vec<_> = (0..scaled(10_000)).map(spawn).collect();
        assert!(!waiting.iter().any(LocalJoinHandle::is_finished));
        group.wait();
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_cancelled_has_left_the_group() {
    alone(|| {
        let group = WaitGroup::new();
        let theirs = group.clone();
        let waits = spawn_waiting(move || theirs.wait());
        let theirs = group.clone();
        let works = spawn_waiting(move || {
            let _member = theirs;
            loop {
                park();
            }
        });
        for thread in [&waits, &works] {
            thread.cancel();
        }
        group.wait();
        for thread in [waits, works] {
            assert!(thread.join().unwrap_err().is::<Cancelled>());
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_runs_out_of_time_has_left_the_group(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let group = WaitGroup::new();
        let member = group.clone();
        assert!(timeout(SHORT, || group.wait()).is_err());
        assert_eq!(members(&member), "WaitGroup { count: 1 }");
        member.wait();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_let_go_and_cancelled_goes_on() {
    alone(|| {
        let group = WaitGroup::new();
        let theirs = group.clone();
        let went_on = Rc::new(Cell::new(false));
        let theirs_went_on = went_on.clone();
        let thread = spawn_waiting(move || {
            theirs.wait();
            theirs_went_on.set(true);
        });
        drop(group);
        thread.cancel();
        thread.join().unwrap();
        assert!(went_on.get());
    });
}

/// Members that leave, wait, run out of time and are cancelled at the same time.
#[rstest]
#[timeout(LIMIT)]
fn the_last_of_many_lets_all_go(#[values(1, 2, 4)] count: usize) {
    let runtime = Builder::new().workers(count).build().unwrap();
    for round in 0..50 * stress() {
        let group = WaitGroup::new();
        let threads: Vec<_> = (0..20)
            .map(|i| {
                let group = group.clone();
                let mut random = Xorshift(round * 100 + i + 1);
                runtime.spawn(move || match random.next() % 4 {
                    0 => drop(group),
                    1 => drop(timeout(Duration::from_micros(random.next() % 50), || {
                        group.wait()
                    })),
                    _ => group.wait(),
                })
            })
            .collect();
        threads.iter().step_by(5).for_each(|thread| thread.cancel());
        let theirs = group.clone();
        let os = std::thread::spawn(move || theirs.wait());
        group.wait();
        os.join().unwrap();
        for (i, thread) in threads.into_iter().enumerate() {
            let result: thread::Result<()> = thread.join();
            assert!(result.is_ok() || i % 5 == 0);
        }
    }
}

#[test]
fn auto_traits_are_crossbeams() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    all::<WaitGroup>();
}
