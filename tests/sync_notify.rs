//! `sync::Notify`: permits, whom a notification reaches, and that none is lost to cancellation or timeouts.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime, Runtime};
use corde::sync::{Notified, Notify};
use corde::thread::{self, Cancelled, LocalJoinHandle, park, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, wait_until};
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

/// All ways to wait; they return whether there was a notification.
type Wait = fn(&Notify) -> bool;

fn notified(notify: &Notify) -> bool {
    notify.notified();
    true
}

fn notified_timeout(notify: &Notify) -> bool {
    notify.notified_timeout(ENDLESS)
}

fn notified_within(notify: &Notify) -> bool {
    timeout(ENDLESS, || notify.notified()).is_ok()
}

fn listen(notify: &Notify) -> bool {
    notify.listen().wait();
    true
}

fn listen_timeout(notify: &Notify) -> bool {
    notify.listen().wait_timeout(ENDLESS)
}

/// All ways to give up waiting in a short time.
const GIVE_UP: [Wait; 3] = [
    |notify| notify.notified_timeout(SHORT),
    |notify| notify.listen().wait_timeout(SHORT),
    |notify| timeout(SHORT, || notify.notified()).is_ok(),
];

fn has_permit(notify: &Notify) -> bool {
    notify.notified_timeout(Duration::ZERO)
}

// Permits.

#[rstest]
#[timeout(LIMIT)]
fn a_notification_waits_for_who_comes(
    #[values(Notify::notify_one, Notify::notify_last)] notify_it: fn(&Notify),
    #[values(notified, notified_timeout, notified_within, listen, listen_timeout)] wait: Wait,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(move || {
        let notify = Notify::new();
        // There is one permit at most.
        notify_it(&notify);
        notify_it(&notify);
        assert!(wait(&notify));
        assert!(!has_permit(&notify));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn notifying_all_neither_leaves_nor_takes_a_permit(#[values(false, true)] permit: bool) {
    let notify = Notify::const_new();
    if permit {
        notify.notify_one();
    }
    notify.notify_waiters();
    assert_eq!(has_permit(&notify), permit);
    assert!(!has_permit(&notify));
}

// Whom it reaches.

#[rstest]
#[timeout(LIMIT)]
fn a_notification_wakes_who_waits(
    #[values(notified, notified_timeout, notified_within, listen, listen_timeout)] wait: Wait,
    #[values(Kind::Green, Kind::Os)] waiter: Kind,
    #[values(Kind::Green, Kind::Os)] notifier: Kind,
) {
    let notify = Arc::new(Notify::new());
    let theirs = notify.clone();
    let waiting = waiter.spawn(move || wait(&theirs));
    let theirs = notify.clone();
    notifier.run(move || theirs.notify_one());
    assert!(waiting.join());
    assert!(!has_permit(&notify));
}

/// Spawns threads that wait for notifications, in this order, and note their number when they get one.
fn spawn_numbered(
    notify: &Arc<Notify>,
    count: usize,
) -> (Vec<LocalJoinHandle<()>>, Rc<RefCell<Vec<usize>>>) {
    let order = Rc::new(RefCell::new(Vec::new()));
    let spawn = |i| {
        let (notify, order) = (notify.clone(), order.clone());
        spawn_waiting(move || {
            notify.notified();
            order.borrow_mut().push(i);
        })
    };
    ((0..count).map(spawn).collect(), order)
}

#[rstest]
#[case::one(Notify::notify_one, &[0, 1, 2, 3])]
#[case::last(Notify::notify_last, &[3, 2, 1, 0])]
#[timeout(LIMIT)]
fn one_is_notified_at_a_time(#[case] notify_it: fn(&Notify), #[case] expected: &[usize]) {
    alone(|| {
        let notify = Arc::new(Notify::new());
        let (waiting, order) = spawn_numbered(&notify, 4);
        for count in 1..=4 {
            notify_it(&notify);
            let_run();
            assert_eq!(*order.borrow(), expected[..count]);
        }
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(!has_permit(&notify));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn notifications_before_the_first_waiter_runs_go_to_different_ones() {
    alone(|| {
        let notify = Arc::new(Notify::new());
        let (waiting, order) = spawn_numbered(&notify, 2);
        for _ in 0..4 {
            notify.notify_one();
        }
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.borrow(), [0, 1]);
        // The third and fourth are one permit.
        assert!(has_permit(&notify) && !has_permit(&notify));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn all_that_wait_are_notified_and_nobody_else() {
    alone(|| {
        let notify = Arc::new(Notify::new());
        let (waiting, order) = spawn_numbered(&notify, 3);
        notify.notify_waiters();
        let (late, late_order) = spawn_numbered(&notify, 1);
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.borrow(), [0, 1, 2]);
        let_run();
        assert!(late_order.borrow().is_empty());
        notify.notify_one();
        late.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn many_are_notified_in_order(#[values(false, true)] all_at_once: bool) {
    alone(|| {
        let many = scaled(10_000);
        let notify = Arc::new(Notify::new());
        let (waiting, order) = spawn_numbered(&notify, many);
        if all_at_once {
            notify.notify_waiters();
        } else {
            (0..many).for_each(|_| notify.notify_one());
        }
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(order.borrow().iter().copied().eq(0..many));
        assert!(!has_permit(&notify));
    });
}

// Listening.

#[rstest]
#[timeout(LIMIT)]
fn a_listener_is_notified_of_what_happens_before_it_waits() {
    let notify = Notify::new();
    let (first, second) = (notify.listen(), notify.listen());
    notify.notify_waiters();
    let late = notify.listen();
    first.wait();
    assert!(second.wait_timeout(SHORT));
    assert!(!late.wait_timeout(SHORT));
    // A permit is taken first, as in Tokio.
    let listener = notify.listen();
    notify.notify_waiters();
    notify.notify_one();
    listener.wait();
    assert!(!has_permit(&notify));
}

#[test]
fn a_listener_that_does_not_wait_takes_nothing() {
    let notify = Notify::new();
    drop(notify.listen());
    let listener = notify.listen();
    notify.notify_one();
    drop(listener);
    assert!(has_permit(&notify));
}

/// More threads than are granted in one batch, on several workers, which wait again at once.
#[rstest]
#[timeout(LIMIT)]
fn notifying_all_notifies_each_once(#[values(1, 3)] count: usize) {
    const ROUNDS: usize = 5;
    let threads = 100;
    let runtime = workers(count);
    let notify = Arc::new(Notify::new());
    let listening = Arc::new(AtomicUsize::new(0));
    let body = || {
        let (notify, listening) = (notify.clone(), listening.clone());
        move || {
            for _ in 0..ROUNDS {
                let listener = notify.listen();
                listening.fetch_add(1, Ordering::SeqCst);
                listener.wait();
            }
        }
    };
    let green: Vec<_> = (0..threads).map(|_| runtime.spawn(body())).collect();
    let os: Vec<_> = (0..3).map(|_| std::thread::spawn(body())).collect();
    let all = threads + os.len();
    for round in 1..=ROUNDS {
        // Nobody gets further than one round.
        wait_until(|| listening.load(Ordering::SeqCst) == round * all);
        assert!(!green.iter().any(|thread| thread.is_finished()));
        notify.notify_waiters();
    }
    green.into_iter().for_each(|thread| thread.join().unwrap());
    os.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(!has_permit(&notify));
}

// Leaving.

#[rstest]
#[timeout(LIMIT)]
fn who_gives_up_takes_no_notification(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        for give_up in GIVE_UP {
            let notify = Notify::new();
            assert!(!give_up(&notify));
            notify.notify_waiters();
            assert!(!give_up(&notify));
            notify.notify_one();
            assert!(give_up(&notify));
            assert!(!give_up(&notify));
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_cancelled_takes_no_notification(
    #[values(0, 1, 2)] cancelled: usize,
    #[values(Notify::notify_one, Notify::notify_last, Notify::notify_waiters)] notify_it: fn(
        &Notify,
    ),
) {
    alone(|| {
        let notify = Arc::new(Notify::new());
        let (mut waiting, order) = spawn_numbered(&notify, 3);
        let gone = waiting.remove(cancelled);
        gone.cancel();
        assert_cancelled(gone.join());
        notify_it(&notify);
        notify_it(&notify);
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(order.borrow().len(), 2);
        assert!(!has_permit(&notify));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_notified_and_cancelled_has_been_notified(
    #[values(false, true)] cancelled_first: bool,
    #[values(Notify::notify_one, Notify::notify_last, Notify::notify_waiters)] notify_it: fn(
        &Notify,
    ),
) {
    alone(|| {
        let notify = Arc::new(Notify::new());
        let theirs = notify.clone();
        let seen = Rc::new(Cell::new(false));
        let theirs_seen = seen.clone();
        let thread = spawn_waiting(move || {
            theirs.notified();
            theirs_seen.set(true);
            park();
        });
        if cancelled_first {
            thread.cancel();
            notify_it(&notify);
        } else {
            notify_it(&notify);
            thread.cancel();
        }
        assert_cancelled(thread.join());
        // Either it has got it, or it is still there.
        assert!(seen.get() && !has_permit(&notify));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn the_last_that_is_cancelled_leaves_no_trace() {
    alone(|| {
        let notify = Arc::new(Notify::new());
        let (waiting, _) = spawn_numbered(&notify, 3);
        waiting.iter().for_each(LocalJoinHandle::cancel);
        waiting
            .into_iter()
            .map(LocalJoinHandle::join)
            .for_each(assert_cancelled);
        notify.notify_waiters();
        assert!(!has_permit(&notify));
        notify.notify_one();
        assert!(has_permit(&notify));
    });
}

/// Each notification is sent when the one before has been received, so it is received once, by whoever that is.
#[rstest]
#[timeout(LIMIT)]
fn no_notification_is_lost_or_made(#[values(1, 2, 4)] count: usize) {
    let runtime = workers(count);
    let notify = Arc::new(Notify::new());
    let received = Arc::new(AtomicUsize::new(0));
    let body = |seed: u64| {
        let (notify, received) = (notify.clone(), received.clone());
        move || {
            let mut random = Xorshift(seed);
            loop {
                let brief = Duration::from_micros(random.next() % 50);
                let is_notified = match random.next() % 4 {
                    0 => notify.notified_timeout(brief),
                    1 => timeout(brief, || notify.notified()).is_ok(),
                    2 => listen(&notify),
                    _ => notified(&notify),
                };
                if is_notified {
                    received.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    };
    let mut random = Xorshift(7);
    let mut threads: Vec<_> = (1..=6).map(|seed| runtime.spawn(body(seed))).collect();
    for round in 1..=(1000 * stress()) as usize {
        if round % 2 == 0 {
            notify.notify_one();
        } else {
            notify.notify_last();
        }
        if random.next() % 4 == 0 {
            let place = random.next() as usize % threads.len();
            let new = runtime.spawn(body(random.next()));
            std::mem::replace(&mut threads[place], new).cancel();
        }
        wait_until(|| received.load(Ordering::SeqCst) == round);
    }
    for thread in threads {
        thread.cancel();
        assert_cancelled(thread.join());
    }
    assert!(!has_permit(&notify));
}

/// While a round is under way a single notification is for none of those that the round reaches, though they are in the queue still.
#[rstest]
#[timeout(LIMIT)]
fn a_round_swallows_no_single_notification(
    #[values(1, 3)] count: usize,
    #[values(Notify::notify_one, Notify::notify_last)] notify_it: fn(&Notify),
) {
    let runtime = workers(count);
    for _ in 0..4 * stress() {
        let notify = Arc::new(Notify::new());
        let listening = Arc::new(AtomicUsize::new(0));
        let single = Arc::new(AtomicUsize::new(0));
        // So many batches that the first ones run before the last are granted.
        let threads: Vec<_> = (0..3000)
            .map(|_| {
                let (notify, listening) = (notify.clone(), listening.clone());
                let single = single.clone();
                runtime.spawn(move || {
                    let listener = notify.listen();
                    listening.fetch_add(1, Ordering::SeqCst);
                    listener.wait();
                    if single.fetch_add(1, Ordering::SeqCst) == 0 {
                        // Nobody else may have it.
                        notify_it(&notify);
                        notify.notified();
                    }
                })
            })
            .collect();
        wait_until(|| listening.load(Ordering::SeqCst) == threads.len());
        notify.notify_waiters();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(!has_permit(&notify));
    }
}

#[test]
fn auto_traits_are_tokios() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe + std::fmt::Debug>() {}
    all::<Notify>();
    all::<Notified<'_>>();
    assert!(!has_permit(&Notify::default()));
}
