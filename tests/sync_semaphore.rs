//! `sync::Semaphore`: counting, the order of waiters, closing, and that no permit is lost to cancellation or timeouts.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime, Runtime};
use corde::sync::{
    AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
use corde::thread::{self, Cancelled, LocalJoinHandle, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, scaled, stress};

const SHORT: Duration = Duration::from_millis(2);

/// Longer than any test may take.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

fn workers(count: usize) -> Runtime {
    Builder::new().workers(count).build().unwrap()
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

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    assert!(result.map(drop).unwrap_err().is::<Cancelled>());
}

/// All ways to take permits, the last ones without waiting. They keep the permits, or return whether it was closed.
type Take = fn(&Arc<Semaphore>, u32) -> Result<OwnedSemaphorePermit, bool>;

fn own(semaphore: &Arc<Semaphore>, permit: SemaphorePermit<'_>) -> OwnedSemaphorePermit {
    let n = permit.num_permits().try_into().unwrap();
    let mut owned = semaphore.clone().try_acquire_many_owned(0).unwrap();
    permit.forget();
    semaphore.add_permits(n as usize);
    owned.merge(semaphore.clone().try_acquire_many_owned(n).unwrap());
    owned
}

fn why(error: TryAcquireError) -> bool {
    error == TryAcquireError::Closed
}

const WAITING: [Take; 3] = [
    |semaphore, n| {
        let permit = semaphore.acquire_many(n).map_err(|_| true)?;
        Ok(own(semaphore, permit))
    },
    |semaphore, n| semaphore.clone().acquire_many_owned(n).map_err(|_| true),
    |semaphore, n| {
        let permit = semaphore.acquire_many_timeout(n, ENDLESS).map_err(why)?;
        Ok(own(semaphore, permit))
    },
];

const TRYING: [Take; 3] = [
    |semaphore, n| {
        let permit = semaphore.try_acquire_many(n).map_err(why)?;
        Ok(own(semaphore, permit))
    },
    |semaphore, n| semaphore.clone().try_acquire_many_owned(n).map_err(why),
    |semaphore, n| {
        let permit = semaphore.acquire_many_timeout(n, SHORT).map_err(why)?;
        Ok(own(semaphore, permit))
    },
];

// Counting.

#[rstest]
#[timeout(LIMIT)]
fn permits_are_taken_and_given_back(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        for take in WAITING.into_iter().chain(TRYING) {
            let semaphore = Arc::new(Semaphore::new(5));
            let three = take(&semaphore, 3).unwrap();
            assert_eq!((three.num_permits(), semaphore.available_permits()), (3, 2));
            let two = take(&semaphore, 2).unwrap();
            assert_eq!(semaphore.available_permits(), 0);
            let none = take(&semaphore, 0).unwrap();
            drop((three, none));
            assert_eq!(semaphore.available_permits(), 3);
            drop(two);
            assert_eq!(semaphore.available_permits(), 5);
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn too_few_permits_are_not_taken(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        for take in TRYING {
            let semaphore = Arc::new(Semaphore::new(2));
            assert!(!take(&semaphore, 3).unwrap_err());
            assert_eq!(semaphore.available_permits(), 2);
        }
    });
}

#[test]
fn single_permits_are_as_one_of_many() {
    let semaphore = Arc::new(Semaphore::const_new(5));
    let kept = (
        semaphore.acquire().unwrap(),
        semaphore.try_acquire().unwrap(),
        semaphore.acquire_timeout(SHORT).unwrap(),
        semaphore.clone().acquire_owned().unwrap(),
        semaphore.clone().try_acquire_owned().unwrap(),
    );
    assert_eq!(semaphore.available_permits(), 0);
    assert!(semaphore.try_acquire().is_err());
    assert!(semaphore.acquire_timeout(SHORT).is_err());
    assert!(semaphore.clone().try_acquire_owned().is_err());
    drop(kept);
    assert_eq!(semaphore.available_permits(), 5);
}

#[test]
fn permits_are_split_merged_and_forgotten() {
    let semaphore = Arc::new(Semaphore::new(10));
    let mut permit = semaphore.acquire_many(6).unwrap();
    assert!(permit.split(7).is_none() && permit.split(usize::MAX).is_none());
    let two = permit.split(2).unwrap();
    assert_eq!((permit.num_permits(), two.num_permits()), (4, 2));
    drop(permit);
    assert_eq!(semaphore.available_permits(), 8);
    let mut more = semaphore.acquire().unwrap();
    more.merge(two);
    assert_eq!((more.num_permits(), semaphore.available_permits()), (3, 7));
    assert!(std::ptr::eq(more.semaphore(), &*semaphore));
    more.forget();
    assert_eq!(semaphore.available_permits(), 7);

    let mut owned = semaphore.clone().acquire_many_owned(6).unwrap();
    assert!(owned.split(7).is_none() && owned.split(usize::MAX).is_none());
    let two = owned.split(2).unwrap();
    assert_eq!((owned.num_permits(), two.num_permits()), (4, 2));
    drop(owned);
    assert_eq!(semaphore.available_permits(), 5);
    let mut more = semaphore.clone().acquire_owned().unwrap();
    more.merge(two);
    assert_eq!((more.num_permits(), semaphore.available_permits()), (3, 4));
    assert!(Arc::ptr_eq(more.semaphore(), &semaphore));
    more.forget();
    assert_eq!(semaphore.available_permits(), 4);
    assert_eq!(Arc::strong_count(&semaphore), 1);
}

#[test]
fn permits_are_added_and_forgotten() {
    let semaphore = Semaphore::new(0);
    semaphore.add_permits(3);
    semaphore.add_permits(0);
    assert_eq!(semaphore.available_permits(), 3);
    assert_eq!(semaphore.forget_permits(2), 2);
    assert_eq!(semaphore.forget_permits(0), 0);
    assert_eq!(semaphore.forget_permits(2), 1);
    assert_eq!(semaphore.forget_permits(2), 0);
    assert_eq!(semaphore.available_permits(), 0);
}

#[test]
fn permits_of_different_semaphores_do_not_merge() {
    let (one, other) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
    let expected = "merging permits from different semaphore instances";
    let merge = || one.acquire().unwrap().merge(other.acquire().unwrap());
    assert_eq!(panic_message(merge), expected);
    let merge = || {
        let mut permit = one.clone().acquire_owned().unwrap();
        permit.merge(other.clone().acquire_owned().unwrap());
    };
    assert_eq!(panic_message(merge), expected);
    // They have been given back.
    assert_eq!((one.available_permits(), other.available_permits()), (1, 1));
}

#[test]
fn there_is_a_most() {
    let expected = "a semaphore may not have more than MAX_PERMITS permits";
    let too_many = Semaphore::MAX_PERMITS + 1;
    assert_eq!(panic_message(|| Semaphore::new(too_many)), expected);
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    for n in [1, Semaphore::MAX_PERMITS, usize::MAX] {
        assert_eq!(panic_message(|| semaphore.add_permits(n)), expected);
    }
    assert_eq!(semaphore.available_permits(), Semaphore::MAX_PERMITS);
}

// Waiting.

#[rstest]
#[timeout(LIMIT)]
fn waits_for_permits(
    #[values(Kind::Green, Kind::Os)] waiter: Kind,
    #[values(Kind::Green, Kind::Os)] giver: Kind,
) {
    for take in WAITING {
        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        let waiting = waiter.spawn(move || take(&theirs, 2).unwrap().num_permits());
        let theirs = semaphore.clone();
        giver.run(move || {
            theirs.add_permits(1);
            theirs.add_permits(1);
        });
        assert_eq!(waiting.join(), 2);
        assert_eq!(semaphore.available_permits(), 2);
    }
}

/// What each of several waiters got, in the order in which they got it.
type Got = Rc<RefCell<Vec<u32>>>;

/// Has threads wait for so many permits each.
fn queue(semaphore: &Arc<Semaphore>, wants: &[u32], got: &Got) -> Vec<LocalJoinHandle<()>> {
    let spawn = |&n: &u32| {
        let (semaphore, got) = (semaphore.clone(), got.clone());
        spawn_waiting(move || {
            let permit = semaphore.acquire_many(n).unwrap();
            got.borrow_mut().push(n);
            permit.forget();
        })
    };
    wants.iter().map(spawn).collect()
}

#[rstest]
#[timeout(LIMIT)]
fn permits_are_given_in_the_order_of_asking() {
    alone(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let got = Got::default();
        let waiting = queue(&semaphore, &[3, 1, 4, 2], &got);
        let_run();
        // They are for the first one, however few others want.
        assert!(got.borrow().is_empty());
        assert_eq!(semaphore.available_permits(), 0);
        assert_eq!(semaphore.forget_permits(1), 0);
        assert!(semaphore.try_acquire().is_err());
        assert!(semaphore.acquire_timeout(SHORT).is_err());
        assert!(semaphore.try_acquire_many(0).is_ok());
        for expected in [&[3][..], &[3, 1], &[3, 1], &[3, 1], &[3, 1], &[3, 1, 4]] {
            semaphore.add_permits(1);
            let_run();
            assert_eq!(*got.borrow(), expected);
        }
        semaphore.add_permits(7);
        for thread in waiting {
            thread.join().unwrap();
        }
        assert_eq!(*got.borrow(), [3, 1, 4, 2]);
        assert_eq!(semaphore.available_permits(), 5);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_comes_while_somebody_waits_waits_behind() {
    alone(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let got = Got::default();
        let first = queue(&semaphore, &[1], &got);
        semaphore.add_permits(1);
        // The permit is the first one's already, though it has not run since.
        assert!(semaphore.try_acquire().is_err());
        let second = queue(&semaphore, &[1], &got);
        semaphore.add_permits(1);
        for thread in first.into_iter().chain(second) {
            thread.join().unwrap();
        }
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[rstest]
#[case::cancelled(|thread: &LocalJoinHandle<()>| thread.cancel())]
#[case::waits_on(|_: &LocalJoinHandle<()>| ())]
#[timeout(LIMIT)]
fn who_leaves_the_head_of_the_queue_lets_others_go(#[case] leave: fn(&LocalJoinHandle<()>)) {
    alone(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let got = Got::default();
        let waiting = queue(&semaphore, &[3, 1, 1, 1], &got);
        leave(&waiting[0]);
        let_run();
        let is_cancelled = waiting[0].is_finished();
        assert_eq!(
            *got.borrow(),
            if is_cancelled { vec![1, 1] } else { vec![] }
        );
        semaphore.add_permits(5);
        let results: Vec<_> = waiting.into_iter().map(LocalJoinHandle::join).collect();
        assert_eq!(results[0].is_err(), is_cancelled);
        assert!(results[1..].iter().all(Result::is_ok));
        assert_eq!(
            semaphore.available_permits(),
            if is_cancelled { 4 } else { 1 }
        );
    });
}

#[rstest]
#[case::of_its_own(|semaphore: &Semaphore| {
    assert_eq!(semaphore.acquire_many_timeout(3, SHORT).unwrap_err(), TryAcquireError::NoPermits);
})]
#[case::around_it(|semaphore: &Semaphore| {
    assert!(timeout(SHORT, || semaphore.acquire_many(3).map(drop)).is_err());
})]
#[timeout(LIMIT)]
fn a_timeout_at_the_head_of_the_queue_lets_others_go(
    #[case] give_up: fn(&Semaphore),
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(Kind::Green, Kind::Os)] behind: Kind,
) {
    let semaphore = Arc::new(Semaphore::new(2));
    let theirs = semaphore.clone();
    let gives_up = kind.spawn(move || give_up(&theirs));
    let theirs = semaphore.clone();
    let waits = behind.spawn(move || drop(theirs.acquire_many(2).unwrap()));
    gives_up.join();
    waits.join();
    assert_eq!(semaphore.available_permits(), 2);
}

#[rstest]
#[case::granted_first(|semaphore: &Semaphore, thread: &LocalJoinHandle<usize>| {
    semaphore.add_permits(2);
    thread.cancel();
})]
#[case::cancelled_first(|semaphore: &Semaphore, thread: &LocalJoinHandle<usize>| {
    thread.cancel();
    semaphore.add_permits(2);
})]
#[timeout(LIMIT)]
fn permits_granted_to_a_cancelled_thread_are_returned(
    #[case] both: fn(&Semaphore, &LocalJoinHandle<usize>),
) {
    alone(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        let granted = Rc::new(Cell::new(0));
        let seen = granted.clone();
        let thread = spawn_waiting(move || {
            let permit = theirs.acquire_many(2).unwrap();
            seen.set(permit.num_permits());
            // Here it strikes.
            theirs.acquire().map_or(0, |permit| permit.num_permits())
        });
        both(&semaphore, &thread);
        assert_cancelled(thread.join());
        assert_eq!(granted.get(), 2);
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_cancelled_while_it_need_not_wait_gets_its_permit() {
    alone(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let theirs = semaphore.clone();
        let thread = spawn_waiting(move || {
            let _ = std::panic::catch_unwind(thread::park);
            drop(theirs.acquire().unwrap());
        });
        thread.cancel();
        assert!(thread.join().is_ok());
    });
}

// Closing.

#[rstest]
#[timeout(LIMIT)]
fn nothing_is_taken_from_a_closed_semaphore(#[values(0, 5)] permits: usize) {
    for take in WAITING.into_iter().chain(TRYING) {
        for n in [0, 1, 2] {
            let semaphore = Arc::new(Semaphore::new(permits));
            assert!(!semaphore.is_closed());
            semaphore.close();
            semaphore.close();
            assert!(semaphore.is_closed());
            assert!(take(&semaphore, n).unwrap_err());
            assert_eq!(semaphore.available_permits(), permits);
        }
    }
}

#[rstest]
#[timeout(LIMIT)]
fn who_waits_is_told_of_closing(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    for take in WAITING {
        let semaphore = Arc::new(Semaphore::new(1));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let theirs = semaphore.clone();
                kind.spawn(move || take(&theirs, 2).map(drop))
            })
            .collect();
        // Then somebody waits.
        wait_until(|| semaphore.available_permits() == 0);
        semaphore.close();
        for thread in waiting {
            assert_eq!(thread.join(), Err(true));
        }
        // What the first one would have got is there.
        assert_eq!(semaphore.available_permits(), 1);
    }
}

#[test]
fn permits_come_back_to_a_closed_semaphore() {
    let semaphore = Semaphore::new(3);
    let permit = semaphore.acquire_many(2).unwrap();
    semaphore.close();
    drop(permit);
    assert_eq!(semaphore.available_permits(), 3);
    assert_eq!(semaphore.forget_permits(3), 3);
}

// Many, and at random.

#[rstest]
#[timeout(LIMIT)]
fn many_wait_in_order(#[values(false, true)] cancel: bool) {
    alone(|| {
        let many = scaled(10_000);
        let semaphore = Arc::new(Semaphore::new(0));
        let order = Rc::new(RefCell::new(Vec::new()));
        let waiting: Vec<_> = (0..many)
            .map(|i| {
                let (semaphore, order) = (semaphore.clone(), order.clone());
                spawn_waiting(move || {
                    semaphore.acquire().unwrap().forget();
                    order.borrow_mut().push(i);
                })
            })
            .collect();
        if cancel {
            // From the middle of the queue as well as from its ends.
            waiting.iter().step_by(2).for_each(LocalJoinHandle::cancel);
            waiting.iter().for_each(LocalJoinHandle::cancel);
            waiting
                .into_iter()
                .map(LocalJoinHandle::join)
                .for_each(assert_cancelled);
            assert!(order.borrow().is_empty());
            semaphore.add_permits(1);
        } else {
            semaphore.add_permits(many + 1);
            for thread in waiting {
                thread.join().unwrap();
            }
            assert!(order.borrow().iter().copied().eq(0..many));
        }
        assert_eq!(semaphore.available_permits(), 1);
    });
}

/// Threads of both kinds take permits in all ways, are cancelled, and run out of time; in the end all permits are there.
#[rstest]
#[timeout(LIMIT)]
fn no_permit_is_lost_or_made(#[values(1, 2, 4)] count: usize) {
    const PERMITS: usize = 4;
    let runtime = workers(count);
    for round in 0..3 * stress() {
        let semaphore = Arc::new(Semaphore::new(PERMITS));
        let inside = Arc::new(AtomicUsize::new(0));
        let body = |seed: u64| {
            let (semaphore, inside) = (semaphore.clone(), inside.clone());
            move || {
                let mut random = Xorshift(seed);
                for _ in 0..100 {
                    let n = (random.next() % (PERMITS as u64 + 1)) as u32;
                    let brief = Duration::from_micros(random.next() % 100);
                    let permit = match random.next() % 4 {
                        0 => semaphore.try_acquire_many(n).ok(),
                        1 => semaphore.acquire_many_timeout(n, brief).ok(),
                        2 => timeout(brief, || semaphore.acquire_many(n).unwrap()).ok(),
                        _ => semaphore.acquire_many(n).ok(),
                    };
                    let Some(permit) = permit else {
                        continue;
                    };
                    let n = n as usize;
                    assert!(inside.fetch_add(n, Ordering::SeqCst) + n <= PERMITS);
                    if random.next() % 2 == 0 {
                        // A cancellation may strike here.
                        let _leave = util::threads::OnDrop(|| {
                            inside.fetch_sub(n, Ordering::SeqCst);
                        });
                        yield_now();
                    } else {
                        inside.fetch_sub(n, Ordering::SeqCst);
                    }
                    drop(permit);
                }
            }
        };
        let seed = |i: u64| (round + 1) * 1000 + i;
        let green: Vec<_> = (0..8).map(|i| runtime.spawn(body(seed(i)))).collect();
        let os: Vec<_> = (0..2)
            .map(|i| std::thread::spawn(body(seed(100 + i))))
            .collect();
        green.iter().step_by(3).for_each(|thread| thread.cancel());
        for (i, thread) in green.into_iter().enumerate() {
            match thread.join() {
                Ok(()) => {}
                Err(payload) => assert!(i % 3 == 0 && payload.is::<Cancelled>()),
            }
        }
        for thread in os {
            thread.join().unwrap();
        }
        assert_eq!(semaphore.available_permits(), PERMITS);
    }
}

// What it is.

#[test]
fn auto_traits_are_tokios() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    all::<Semaphore>();
    all::<SemaphorePermit<'_>>();
    all::<OwnedSemaphorePermit>();
    all::<AcquireError>();
    all::<TryAcquireError>();
}

#[test]
fn errors_and_debug_output_are_tokios() {
    let semaphore = Semaphore::new(3);
    assert_eq!(format!("{semaphore:?}"), "Semaphore { permits: 3 }");
    semaphore.close();
    let closed = semaphore.acquire().unwrap_err();
    assert_eq!(
        format!("{closed} {closed:?}"),
        "semaphore closed AcquireError(())"
    );
    assert_eq!(TryAcquireError::Closed.to_string(), "semaphore closed");
    assert_eq!(
        TryAcquireError::NoPermits.to_string(),
        "no permits available"
    );
}
