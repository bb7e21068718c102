//! `sync::Condvar`: whom a notification wakes, timeouts, and that no notification is lost to an interrupt.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, LocalRuntime, Runtime};
use corde::sync::{Condvar, Mutex, WaitTimeoutResult};
use corde::thread::{self, Cancelled, LocalJoinHandle, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, panic_quietly, wait_until};
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

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    let payload = result.map(drop).expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}

fn poison<T>(mutex: &Mutex<T>) {
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _locked = mutex.lock();
        panic_quietly();
    }));
    unwound.expect_err("it panics");
}

/// What all waiters of a test share.
#[derive(Default)]
struct Shared<T> {
    mutex: Mutex<T>,
    changed: Condvar,
}

/// Names in the order in which their threads have gone on.
type Order = Rc<RefCell<Vec<&'static str>>>;

/// Spawns one that waits, and then notes its name with the mutex locked.
fn spawn_waiter(shared: &Rc<Shared<()>>, order: &Order, name: &'static str) -> LocalJoinHandle<()> {
    let (shared, order, waiting) = (shared.clone(), order.clone(), Rc::new(Cell::new(false)));
    let theirs = waiting.clone();
    let thread = spawn_local(move || {
        let locked = shared.mutex.lock().unwrap();
        theirs.set(true);
        let _locked = shared.changed.wait(locked).unwrap();
        order.borrow_mut().push(name);
    });
    wait_until(|| waiting.get());
    thread
}

#[rstest]
#[timeout(LIMIT)]
fn a_waiter_sees_what_was_done_before_the_notification(
    #[values(Kind::Green, Kind::Os)] waiter: Kind,
    #[values(Kind::Green, Kind::Os)] notifier: Kind,
    #[values(false, true)] notify_all: bool,
    #[values(false, true)] while_locked: bool,
) {
    let shared = Arc::new(Shared::<bool>::default());
    let theirs = shared.clone();
    let waiting = waiter.spawn(move || {
        let mut set = theirs.mutex.lock().unwrap();
        while !*set {
            set = theirs.changed.wait(set).unwrap();
        }
    });
    notifier.run(move || {
        let mut set = shared.mutex.lock().unwrap();
        *set = true;
        let locked = while_locked.then_some(set);
        if notify_all {
            shared.changed.notify_all();
        } else {
            shared.changed.notify_one();
        }
        drop(locked);
    });
    waiting.join();
}

#[rstest]
#[timeout(LIMIT)]
fn notify_one_wakes_who_has_waited_longest() {
    alone(|| {
        let (shared, order) = (Rc::default(), Order::default());
        let names = ["a", "b", "c"];
        let waiters = names.map(|name| spawn_waiter(&shared, &order, name));
        for count in 1..=3 {
            shared.changed.notify_one();
            wait_until(|| order.borrow().len() == count);
            (0..5).for_each(|_| yield_now());
            assert_eq!(*order.borrow(), names[..count]);
        }
        waiters
            .into_iter()
            .for_each(|waiter| waiter.join().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn notify_all_wakes_all_who_wait_then() {
    alone(|| {
        let (shared, order) = (Rc::<Shared<()>>::default(), Order::default());
        // More than are woken in a batch.
        let waiters: Vec<_> = (0..100)
            .map(|_| spawn_waiter(&shared, &order, "early"))
            .collect();
        shared.changed.notify_all();
        let late = spawn_waiter(&shared, &order, "late");
        waiters
            .into_iter()
            .for_each(|waiter| waiter.join().unwrap());
        (0..5).for_each(|_| yield_now());
        assert_eq!(*order.borrow(), ["early"; 100]);
        shared.changed.notify_all();
        late.join().unwrap();
    });
}

/// Each that is woken waits again, while the others are still being woken.
#[rstest]
#[timeout(LIMIT)]
fn notify_all_does_not_wake_those_who_come_back(#[values(1, 2, 4)] workers_: usize) {
    const WAITERS: usize = 200;
    const ROUNDS: usize = 10;
    let runtime = workers(workers_);
    let shared = Arc::new(Shared::<()>::default());
    let (waiting, woken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (shared, waiting, woken) = (shared.clone(), waiting.clone(), woken.clone());
            runtime.spawn(move || {
                let mut locked = shared.mutex.lock().unwrap();
                for _ in 0..ROUNDS {
                    waiting.fetch_add(1, Ordering::Relaxed);
                    locked = shared.changed.wait(locked).unwrap();
                    woken.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        wait_until(|| waiting.load(Ordering::Relaxed) == round * WAITERS);
        // The last one may be about to wait.
        drop(shared.mutex.lock().unwrap());
        assert_eq!(woken.load(Ordering::Relaxed), (round - 1) * WAITERS);
        shared.changed.notify_all();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(woken.load(Ordering::Relaxed), ROUNDS * WAITERS);
}

/// `notify_all` lets go of its lock now and then.
#[rstest]
#[timeout(LIMIT)]
fn those_whom_notify_all_is_about_to_wake_take_no_notification_from_others() {
    let many = scaled(5_000);
    for _ in 0..10 {
        // One waits before the crowd, on a worker that is awake: it is woken when the turn of most is far off.
        let [awake, crowded] = [(); 2].map(|()| workers(1));
        let over = Arc::new(AtomicBool::new(false));
        let theirs = over.clone();
        let busy = awake.spawn(move || {
            while !theirs.load(Ordering::Relaxed) {
                yield_now();
            }
        });
        let (changed, arrived) = (Arc::new(Condvar::new()), Arc::new(AtomicUsize::new(0)));
        let arrive = |number| wait_until(|| arrived.load(Ordering::Relaxed) == number);
        let waits = || {
            let (changed, arrived) = (changed.clone(), arrived.clone());
            move || {
                let mutex = Mutex::new(());
                let locked = mutex.lock().unwrap();
                arrived.fetch_add(1, Ordering::Relaxed);
                drop(changed.wait(locked).unwrap());
            }
        };
        let (wait, theirs) = (waits(), changed.clone());
        let first = awake.spawn(move || {
            wait();
            let begun = Rc::new(Cell::new(false));
            let (changed, has_begun) = (theirs.clone(), begun.clone());
            let newcomer = spawn_local(move || {
                let mutex = Mutex::new(());
                has_begun.set(true);
                drop(changed.wait(mutex.lock().unwrap()).unwrap());
            });
            // Once it has begun it goes on until it waits.
            wait_until(|| begun.get());
            theirs.notify_one();
            timeout(LIMIT, || newcomer.join().unwrap()).expect("it is not notified");
        });
        arrive(1);
        awake.block_on(yield_now);
        let crowd: Vec<_> = (0..many).map(|_| crowded.spawn(waits())).collect();
        arrive(many + 1);
        crowded.block_on(yield_now);
        changed.notify_all();
        crowd.into_iter().for_each(|one| one.join().unwrap());
        first.join().unwrap();
        over.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_notification_that_nobody_waits_for_is_gone() {
    alone(|| {
        let (shared, order) = (Rc::<Shared<()>>::default(), Order::default());
        shared.changed.notify_one();
        shared.changed.notify_all();
        let waiter = spawn_waiter(&shared, &order, "waiter");
        (0..5).for_each(|_| yield_now());
        assert!(!waiter.is_finished());
        shared.changed.notify_one();
        waiter.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn the_mutex_is_free_meanwhile_and_locked_afterwards() {
    alone(|| {
        let (shared, order) = (Rc::<Shared<()>>::default(), Order::default());
        let waiter = spawn_waiter(&shared, &order, "waiter");
        let locked = shared.mutex.try_lock().unwrap();
        shared.changed.notify_one();
        (0..5).for_each(|_| yield_now());
        assert!(order.borrow().is_empty(), "it waits for the mutex");
        drop(locked);
        waiter.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_wait(#[values(1, 2)] workers_: usize) {
    let many = scaled(10_000);
    let runtime = workers(workers_);
    let shared = Arc::new(Shared::<(usize, bool)>::default());
    let threads: Vec<_> = (0..many)
        .map(|_| {
            let shared = shared.clone();
            runtime.spawn(move || {
                let mut state = shared.mutex.lock().unwrap();
                state.0 += 1;
                drop(shared.changed.wait_while(state, |state| !state.1).unwrap());
            })
        })
        .collect();
    wait_until(|| shared.mutex.lock().unwrap().0 == many);
    shared.mutex.lock().unwrap().1 = true;
    shared.changed.notify_all();
    for thread in threads {
        thread.join().unwrap();
    }
}

// Conditions and time.

#[test]
fn wait_while_asks_before_it_waits() {
    let shared = Shared::<u32>::default();
    let locked = shared.mutex.lock().unwrap();
    let mut asked = 0;
    let locked = shared
        .changed
        .wait_while(locked, |_| {
            asked += 1;
            false
        })
        .unwrap();
    assert_eq!((*locked, asked), (0, 1));
}

#[rstest]
#[timeout(LIMIT)]
fn wait_while_waits_until_the_condition_is_gone(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] timed: bool,
) {
    let shared = Arc::new(Shared::<u32>::default());
    let theirs = shared.clone();
    let waiting = kind.spawn(move || {
        let locked = theirs.mutex.lock().unwrap();
        if timed {
            let (locked, result) = theirs
                .changed
                .wait_timeout_while(locked, ENDLESS, |count| *count < 3)
                .unwrap();
            assert!(!result.timed_out());
            *locked
        } else {
            *theirs
                .changed
                .wait_while(locked, |count| *count < 3)
                .unwrap()
        }
    });
    for _ in 0..3 {
        *shared.mutex.lock().unwrap() += 1;
        shared.changed.notify_one();
        yield_now();
    }
    assert_eq!(waiting.join(), 3);
}

#[rstest]
#[timeout(LIMIT)]
fn wait_timeout_ends_with_its_time(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let shared = Shared::<()>::default();
        for duration in [Duration::ZERO, SHORT] {
            let before = Instant::now();
            let locked = shared.mutex.lock().unwrap();
            let (locked, result) = shared.changed.wait_timeout(locked, duration).unwrap();
            assert!(result.timed_out());
            assert!(before.elapsed() >= duration);
            assert!(shared.mutex.try_lock().is_err(), "it is locked again");
            let (_locked, result) = shared
                .changed
                .wait_timeout_while(locked, duration, |()| true)
                .unwrap();
            assert!(result.timed_out());
            assert!(before.elapsed() >= 2 * duration);
        }
        // Nobody is left in the queue.
        shared.changed.notify_all();
    });
}

#[rstest]
#[case::long(ENDLESS)]
#[case::without_end(Duration::MAX)]
#[timeout(LIMIT)]
fn wait_timeout_ends_with_a_notification(
    #[case] duration: Duration,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let shared = Arc::new(Shared::<bool>::default());
    let theirs = shared.clone();
    let waiting = kind.spawn(move || {
        let mut ready = theirs.mutex.lock().unwrap();
        *ready = true;
        let (_locked, result) = theirs.changed.wait_timeout(ready, duration).unwrap();
        result.timed_out()
    });
    wait_until(|| *shared.mutex.lock().unwrap());
    shared.changed.notify_one();
    assert!(!waiting.join());
}

#[rstest]
#[timeout(LIMIT)]
fn one_whose_time_was_over_is_not_notified_any_more() {
    alone(|| {
        let (shared, order) = (Rc::<Shared<()>>::default(), Order::default());
        let theirs = shared.clone();
        let impatient = spawn_local(move || {
            let locked = theirs.mutex.lock().unwrap();
            let waited = theirs.changed.wait_timeout(locked, SHORT).unwrap();
            waited.1.timed_out()
        });
        yield_now();
        let waiter = spawn_waiter(&shared, &order, "waiter");
        assert!(impatient.join().unwrap());
        shared.changed.notify_one();
        waiter.join().unwrap();
    });
}

// Poisoning.

#[rstest]
#[timeout(LIMIT)]
fn a_wait_returns_the_poison_of_the_mutex() {
    alone(|| {
        let shared = Rc::new(Shared::<u32>::default());
        let theirs = shared.clone();
        let waiter = spawn_local(move || {
            let locked = theirs.mutex.lock().unwrap();
            let error = theirs.changed.wait(locked).unwrap_err();
            assert_eq!(**error.get_ref(), 0);
            drop(error);
            let locked = theirs.mutex.lock().unwrap_err().into_inner();
            let error = theirs.changed.wait_timeout(locked, SHORT).unwrap_err();
            assert!(error.get_ref().1.timed_out());
            let (locked, _) = error.into_inner();
            let error = theirs.changed.wait_timeout_while(locked, SHORT, |_| true);
            assert!(error.unwrap_err().get_ref().1.timed_out());
        });
        yield_now();
        poison(&shared.mutex);
        shared.changed.notify_one();
        waiter.join().unwrap();
    });
}

#[test]
fn a_condition_that_panics_poisons_the_mutex() {
    let shared = Shared::<()>::default();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let locked = shared.mutex.lock().unwrap();
        let _ = shared.changed.wait_while(locked, |()| panic_quietly());
    }));
    assert!(unwound.is_err());
    assert!(shared.mutex.is_poisoned());
}

// Interrupts.

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_waiter_leaves_without_the_mutex() {
    alone(|| {
        let (shared, order) = (Rc::<Shared<()>>::default(), Order::default());
        let waiter = spawn_waiter(&shared, &order, "cancelled");
        let next = spawn_waiter(&shared, &order, "next");
        let locked = shared.mutex.lock().unwrap();
        waiter.cancel();
        // It does not need the mutex for that.
        assert_cancelled(waiter.join());
        drop(locked);
        assert!(!shared.mutex.is_poisoned());
        shared.changed.notify_one();
        next.join().unwrap();
        assert_eq!(*order.borrow(), ["next"]);
        assert!(shared.mutex.try_lock().is_ok());
    });
}

/// It was notified, and cannot get the mutex before it is cancelled.
#[rstest]
#[timeout(LIMIT)]
fn a_notification_is_passed_on_by_one_that_is_cancelled() {
    alone(|| {
        let (shared, order) = (Rc::<Shared<()>>::default(), Order::default());
        let waiter = spawn_waiter(&shared, &order, "cancelled");
        let next = spawn_waiter(&shared, &order, "next");
        let locked = shared.mutex.lock().unwrap();
        shared.changed.notify_one();
        yield_now();
        waiter.cancel();
        assert_cancelled(waiter.join());
        drop(locked);
        next.join().unwrap();
        assert_eq!(*order.borrow(), ["next"]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_was_notified_goes_on_though_it_is_cancelled() {
    alone(|| {
        let (shared, order) = (Rc::<Shared<()>>::default(), Order::default());
        let waiter = spawn_waiter(&shared, &order, "notified");
        shared.changed.notify_one();
        waiter.cancel();
        // The mutex is free: there is nothing that it would have to wait for.
        waiter.join().unwrap();
        assert_eq!(*order.borrow(), ["notified"]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_timeout_around_a_wait_ends_it(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let shared = Shared::<()>::default();
        let late = timeout(SHORT, || {
            let locked = shared.mutex.lock().unwrap();
            drop(shared.changed.wait(locked));
        });
        assert!(late.is_err());
        assert!(shared.mutex.try_lock().is_ok());
        shared.changed.notify_all();
    });
}

// As std's.

#[test]
fn it_is_shown_as_std_shows_its_own() {
    let ours = format!("{:?}", Condvar::new());
    assert_eq!(ours, format!("{:?}", std::sync::Condvar::new()));

    let (mutex, changed) = (std::sync::Mutex::new(()), std::sync::Condvar::new());
    let waited = changed.wait_timeout(mutex.lock().unwrap(), Duration::ZERO);
    let stds = format!("{:?}", waited.unwrap().1);
    let shared = Shared::<()>::default();
    let waited = shared
        .changed
        .wait_timeout(shared.mutex.lock().unwrap(), Duration::ZERO);
    assert_eq!(format!("{:?}", waited.unwrap().1), stds);
}

#[test]
fn it_goes_where_stds_goes() {
    fn anywhere<T: Send + Sync + UnwindSafe + RefUnwindSafe + Unpin>() {}
    fn plain<T: Copy + Eq>() {}
    static CHANGED: Condvar = Condvar::new();
    CHANGED.notify_all();
    anywhere::<Condvar>();
    anywhere::<WaitTimeoutResult>();
    plain::<WaitTimeoutResult>();
}

/// A queue of bounded length: if a notification is lost, it stands still.
#[rstest]
#[case::one_worker(1, 7)]
#[case::two_workers(2, 11)]
#[case::four_workers(4, 13)]
#[timeout(LIMIT)]
fn stress_with_interrupts(#[case] workers_: usize, #[case] seed: u64) {
    const BOUND: usize = 3;
    #[derive(Default)]
    struct Queue {
        shared: Shared<Vec<u32>>,
        taken: Condvar,
    }
    let items = 1500 * stress() as usize;
    let runtime = workers(workers_);
    let queue = Arc::new(Queue::default());
    let consumed = Arc::new(AtomicUsize::new(0));
    let consume = || {
        let (queue, consumed) = (queue.clone(), consumed.clone());
        move || loop {
            let locked = queue.shared.mutex.lock().unwrap();
            let mut locked = queue
                .shared
                .changed
                .wait_while(locked, |queue| queue.is_empty())
                .unwrap();
            let item = locked.pop().unwrap();
            consumed.fetch_add(1, Ordering::Relaxed);
            queue.taken.notify_one();
            if item == 0 {
                return;
            }
        }
    };
    let produce = |count: usize| {
        let queue = queue.clone();
        move || {
            for _ in 0..count {
                let locked = queue.shared.mutex.lock().unwrap();
                let mut locked = queue
                    .taken
                    .wait_while(locked, |queue| queue.len() == BOUND)
                    .unwrap();
                locked.push(1);
                drop(locked);
                queue.shared.changed.notify_one();
            }
        }
    };
    let mut random = Xorshift(seed);
    let steady: Vec<_> = (0..4).map(|_| runtime.spawn(consume())).collect();
    let os = std::thread::spawn(consume());
    let mut producers = Vec::new();
    for _ in 0..4 {
        producers.push(Kind::Os.spawn(produce(items / 8)));
        producers.push(Kind::Green.spawn(produce(items / 8)));
    }
    // Others come, and are cancelled while they wait or go on.
    for _ in 0..100 {
        let victim = runtime.spawn(consume());
        (0..random.next() % 8).for_each(|_| yield_now());
        victim.cancel();
        assert_cancelled(victim.join());
    }
    producers.into_iter().for_each(|producer| producer.join());
    for _ in 0..5 {
        let locked = queue.shared.mutex.lock().unwrap();
        let mut locked = queue
            .taken
            .wait_while(locked, |queue| !queue.is_empty())
            .unwrap();
        locked.push(0);
        drop(locked);
        queue.shared.changed.notify_one();
    }
    for consumer in steady {
        consumer.join().unwrap();
    }
    os.join().unwrap();
    assert_eq!(consumed.load(Ordering::Relaxed), items / 8 * 8 + 5);
}
