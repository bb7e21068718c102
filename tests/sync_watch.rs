//! `sync::watch`: who sees which version, waiting for changes and for others to look away, and what cancellation does there.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::watch::error::{RecvError, RecvTimeoutError, SendError};
use corde::sync::watch::{self, Receiver, Ref, Sender};
use corde::thread::{self, Cancelled, LocalJoinHandle, park, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, is_quiet_panic, panic_quietly, wait_until};
use util::{LIMIT, scaled, stress};

const SHORT: Duration = Duration::from_millis(2);

/// Longer than any test may take.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

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

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    assert!(result.map(drop).unwrap_err().is::<Cancelled>());
}

/// All ways to wait for a change; they return whether there was one.
type Change = fn(&mut Receiver<u64>) -> bool;

fn changed(receiver: &mut Receiver<u64>) -> bool {
    receiver.changed().is_ok()
}

fn changed_timeout(receiver: &mut Receiver<u64>) -> bool {
    match receiver.changed_timeout(ENDLESS) {
        Err(RecvTimeoutError::Timeout) => panic!("it is not late"),
        changed => changed.is_ok(),
    }
}

fn changed_within(receiver: &mut Receiver<u64>) -> bool {
    timeout(ENDLESS, || receiver.changed()).unwrap().is_ok()
}

fn wait_for(receiver: &mut Receiver<u64>) -> bool {
    receiver.wait_for(|value| *value == 2).is_ok()
}

/// All ways to change the value.
type Send = fn(&Sender<u64>, u64);

const SENDS: [Send; 4] = [
    |sender, value| sender.send(value).unwrap(),
    |sender, value| drop(sender.send_replace(value).to_string()),
    |sender, value| sender.send_modify(|place| *place = value),
    |sender, value| {
        assert!(sender.send_if_modified(|place| {
            *place = value;
            true
        }));
    },
];

// Versions.

#[test]
fn a_receiver_knows_what_it_has_seen() {
    for send in SENDS {
        let (tx, mut rx) = watch::channel(1);
        assert_eq!((*rx.borrow(), *tx.borrow()), (1, 1));
        assert!(!rx.has_changed().unwrap());
        send(&tx, 2);
        send(&tx, 3);
        assert!(rx.has_changed().unwrap());
        let clone = rx.clone();
        let looked = rx.borrow();
        assert!(looked.has_changed());
        drop(looked);
        assert!(rx.has_changed().unwrap());
        let looked = rx.borrow_and_update();
        assert_eq!((*looked, looked.has_changed()), (3, true));
        drop(looked);
        assert!(!rx.has_changed().unwrap());
        assert!(!rx.borrow().has_changed());
        assert!(clone.has_changed().unwrap());
        assert!(!tx.subscribe().has_changed().unwrap());
        assert!(!tx.borrow().has_changed());
    }
}

#[test]
fn a_value_is_marked_by_hand() {
    let (tx, mut rx) = watch::channel(1);
    rx.mark_changed();
    assert!(rx.has_changed().unwrap());
    rx.changed().unwrap();
    assert!(!rx.has_changed().unwrap());
    tx.send(2).unwrap();
    rx.mark_changed();
    rx.mark_unchanged();
    assert!(!rx.has_changed().unwrap());
    tx.send(3).unwrap();
    rx.mark_unchanged();
    assert_eq!(rx.changed_timeout(SHORT), Err(RecvTimeoutError::Timeout));
}

#[test]
fn what_is_not_modified_is_not_told() {
    let (tx, rx) = watch::channel(1);
    assert!(!tx.send_if_modified(|_| false));
    assert!(!rx.has_changed().unwrap());
    assert!(tx.send_if_modified(|_| true));
    assert!(rx.has_changed().unwrap());
}

#[test]
fn the_old_value_is_returned_or_dropped() {
    let first = Arc::new(1);
    let (tx, _rx) = watch::channel(first.clone());
    let second = Arc::new(2);
    assert!(Arc::ptr_eq(&tx.send_replace(second.clone()), &first));
    tx.send(first.clone()).unwrap();
    assert_eq!(Arc::strong_count(&second), 1);
    drop((tx, _rx));
    assert_eq!(Arc::strong_count(&first), 1);
}

#[test]
fn without_a_receiver_only_sending_fails() {
    let (tx, rx) = watch::channel(1);
    drop(rx);
    assert_eq!(tx.send(2), Err(SendError(2)));
    assert_eq!(*tx.borrow(), 1);
    assert_eq!(tx.send_replace(3), 1);
    tx.send_modify(|value| *value += 1);
    let rx = tx.subscribe();
    assert_eq!((*rx.borrow(), rx.has_changed().unwrap()), (4, false));
    assert_eq!(tx.send(5), Ok(()));
}

// Waiting for changes.

#[rstest]
#[timeout(LIMIT)]
fn a_receiver_that_waits_is_told_of_a_change(
    #[values(changed, changed_timeout, changed_within, wait_for)] change: Change,
    #[values(0, 1, 2, 3)] send: usize,
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
    #[values(Kind::Green, Kind::Os)] sender: Kind,
) {
    let (tx, first) = watch::channel(1);
    let waiting = [first.clone(), first].map(|mut rx| {
        receiver.spawn(move || {
            assert!(change(&mut rx));
            *rx.borrow_and_update()
        })
    });
    sender.run(move || SENDS[send](&tx, 2));
    assert_eq!(waiting.map(util::threads::Handle::join), [2, 2]);
}

#[rstest]
#[timeout(LIMIT)]
fn a_receiver_that_waits_learns_of_closing(
    #[values(changed, changed_timeout, changed_within, wait_for)] change: Change,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (tx, mut rx) = watch::channel(1);
    let another = tx.clone();
    let waiting = kind.spawn(move || change(&mut rx));
    drop(tx);
    drop(another);
    assert!(!waiting.join());
}

#[test]
fn a_change_before_closing_is_seen() {
    let (tx, mut rx) = watch::channel(1);
    assert_eq!(tx.sender_count(), 1);
    tx.send(2).unwrap();
    assert!(!rx.is_closed());
    drop(tx);
    assert!(rx.is_closed() && rx.has_changed().is_err());
    assert!(rx.changed().is_ok());
    assert_eq!(*rx.borrow(), 2);
    assert!(rx.changed().is_err());
    assert_eq!(rx.changed_timeout(ENDLESS), Err(RecvTimeoutError::Closed));
    assert_eq!(*rx.borrow_and_update(), 2);
}

#[test]
fn the_value_that_is_waited_for_may_be_there() {
    let (tx, mut rx) = watch::channel(1);
    // Though it has been seen.
    assert_eq!(*rx.wait_for(|value| *value == 1).unwrap(), 1);
    tx.send(2).unwrap();
    let found = rx.wait_for(|value| *value == 2).unwrap();
    assert!(found.has_changed());
    drop(found);
    assert!(!rx.has_changed().unwrap());
    drop(tx);
    assert!(rx.wait_for(|value| *value == 2).is_ok());
    let mut asked = 0;
    let found = rx.wait_for(|_| {
        asked += 1;
        false
    });
    assert!(found.is_err());
    assert_eq!(asked, 1);
}

#[rstest]
#[timeout(LIMIT)]
fn the_last_value_is_asked_about_when_the_channel_is_closed() {
    alone(|| {
        let (tx, mut rx) = watch::channel(1);
        let asked = Rc::new(RefCell::new(Vec::new()));
        let theirs = asked.clone();
        let waits = spawn_waiting(move || {
            let found = rx.wait_for(|value| {
                theirs.borrow_mut().push(*value);
                *value == 3
            });
            found.map(|value| *value).is_ok()
        });
        tx.send(2).unwrap();
        tx.send(3).unwrap();
        drop(tx);
        assert!(waits.join().unwrap());
        assert_eq!(*asked.borrow(), [1, 3]);
    });
}

#[test]
fn a_panic_of_who_is_asked_leaves_the_value_seen() {
    let (tx, mut rx) = watch::channel(1);
    tx.send(2).unwrap();
    let asked = catch_unwind(AssertUnwindSafe(|| {
        rx.wait_for(|_| panic_quietly()).map(drop)
    }));
    assert!(is_quiet_panic(&*asked.unwrap_err()));
    assert!(!rx.has_changed().unwrap());
    tx.send(3).unwrap();
    assert_eq!(*rx.borrow(), 3);
}

// Looking and changing exclude each other.

#[rstest]
#[timeout(LIMIT)]
fn a_sender_waits_until_nobody_looks() {
    for send in SENDS {
        alone(|| {
            let (tx, mut rx) = watch::channel(1);
            let looked = rx.borrow();
            let both = (rx.borrow(), tx.borrow());
            let theirs = tx.clone();
            let sends = spawn_waiting(move || send(&theirs, 2));
            let_run();
            assert!(!sends.is_finished());
            assert_eq!((*looked, *both.0, *both.1), (1, 1, 1));
            drop(looked);
            let_run();
            assert!(!sends.is_finished());
            drop(both);
            sends.join().unwrap();
            assert_eq!(*rx.borrow_and_update(), 2);
        });
    }
}

#[rstest]
#[timeout(LIMIT)]
fn who_looks_waits_until_nobody_changes() {
    alone(|| {
        let (tx, rx) = watch::channel(1);
        let theirs = tx.clone();
        let go = Rc::new(Cell::new(false));
        let going = go.clone();
        let sends = spawn_waiting(move || {
            theirs.send_modify(|value| {
                *value = 2;
                wait_until(|| going.get());
                *value = 3;
            });
        });
        let theirs = rx.clone();
        let looks = spawn_waiting(move || *theirs.borrow());
        let_run();
        assert!(!looks.is_finished() && !rx.has_changed().unwrap());
        go.set(true);
        assert_eq!(looks.join().unwrap(), 3);
        sends.join().unwrap();
        assert!(rx.has_changed().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn access_is_given_in_the_order_of_asking() {
    alone(|| {
        let (tx, rx) = watch::channel(Vec::new());
        let order = Rc::new(RefCell::new(Vec::new()));
        let looked = rx.borrow();
        let waiting: Vec<_> = "wrrwr"
            .chars()
            .enumerate()
            .map(|(i, what)| {
                let (tx, rx, order) = (tx.clone(), rx.clone(), order.clone());
                spawn_waiting(move || match what {
                    'w' => tx.send_modify(|list| {
                        list.push(i);
                        yield_now();
                        order.borrow_mut().push(i);
                    }),
                    _ => {
                        let looked = rx.borrow();
                        let before = looked.len();
                        yield_now();
                        assert_eq!(looked.len(), before);
                        order.borrow_mut().push(i);
                    }
                })
            })
            .collect();
        let_run();
        assert!(order.borrow().is_empty());
        drop(looked);
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
        assert_eq!(*rx.borrow(), [0, 3]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_sender_that_leaves_the_queue_lets_others_look(#[values(false, true)] by_time: bool) {
    alone(|| {
        let (tx, rx) = watch::channel(1);
        let looked = rx.borrow();
        let theirs = tx.clone();
        let sends = spawn_waiting(move || {
            if by_time {
                assert!(timeout(SHORT, || theirs.send(2)).is_err());
            } else {
                theirs.send(2).unwrap();
            }
        });
        let theirs = rx.clone();
        let looks = spawn_waiting(move || *theirs.borrow());
        assert!(!looks.is_finished());
        if !by_time {
            sends.cancel();
        }
        // The first one looks still.
        assert_eq!(looks.join().unwrap(), 1);
        assert_eq!(sends.join().is_ok(), by_time);
        drop(looked);
        assert!(!rx.has_changed().unwrap());
        tx.send(3).unwrap();
        assert_eq!(*rx.borrow(), 3);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_given_access_and_cancelled_has_it(#[values(false, true)] cancelled_first: bool) {
    alone(|| {
        let (tx, rx) = watch::channel(1);
        let looked = rx.borrow();
        let theirs = tx.clone();
        let sends = spawn_waiting(move || {
            theirs.send(2).unwrap();
            park();
        });
        if cancelled_first {
            sends.cancel();
            drop(looked);
        } else {
            drop(looked);
            sends.cancel();
        }
        assert_cancelled(sends.join());
        assert_eq!(*rx.borrow(), 2);
    });
}

#[test]
fn a_panic_while_changing_tells_nobody_and_poisons_nothing() {
    let (tx, rx) = watch::channel(1);
    let sent = catch_unwind(AssertUnwindSafe(|| {
        tx.send_modify(|value| {
            *value = 2;
            panic_quietly();
        });
    }));
    assert!(is_quiet_panic(&*sent.unwrap_err()));
    assert!(!rx.has_changed().unwrap());
    assert_eq!(*rx.borrow(), 2);
    tx.send(3).unwrap();
    assert!(rx.has_changed().unwrap());
}

// Closing.

#[rstest]
#[timeout(LIMIT)]
fn a_sender_waits_until_there_is_no_receiver(
    #[values(Kind::Green, Kind::Os)] sender: Kind,
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
) {
    let (tx, first) = watch::channel(1);
    let second = first.clone();
    assert_eq!(tx.receiver_count(), 2);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let tx = tx.clone();
            sender.spawn(move || tx.closed())
        })
        .collect();
    receiver.run(move || drop(first));
    assert!(timeout(SHORT, || tx.closed()).is_err());
    assert!(!tx.is_closed());
    receiver.run(move || drop(second));
    waiting.into_iter().for_each(util::threads::Handle::join);
    assert!(tx.is_closed());
    tx.closed();
}

#[rstest]
#[timeout(LIMIT)]
fn who_waits_for_the_other_end_is_woken_when_that_leaves() {
    alone(|| {
        let (tx, mut rx) = watch::channel(1);
        let waits = spawn_waiting(move || rx.changed().is_ok());
        let theirs = tx.clone();
        let closes = spawn_waiting(move || theirs.closed());
        let_run();
        assert!(!waits.is_finished() && !closes.is_finished());
        waits.cancel();
        closes.join().unwrap();
        let mut rx = tx.subscribe();
        let waits = spawn_waiting(move || rx.changed().is_ok());
        let_run();
        assert!(!waits.is_finished());
        drop(tx);
        assert!(!waits.join().unwrap());
    });
}

// Leaving.

#[rstest]
#[timeout(LIMIT)]
fn who_gives_up_misses_no_change(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (tx, mut rx) = watch::channel(0);
        for value in 1..10 {
            assert_eq!(
                rx.changed_timeout(SHORT / 4),
                Err(RecvTimeoutError::Timeout)
            );
            assert!(timeout(SHORT / 4, || rx.changed()).is_err());
            assert!(timeout(SHORT / 4, || rx.wait_for(|it| *it == value).map(drop)).is_err());
            tx.send(value).unwrap();
            assert_eq!(rx.changed_timeout(Duration::ZERO), Ok(()));
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_receiver_has_seen_what_came_before(#[values(false, true)] cancelled_first: bool) {
    alone(|| {
        let (tx, mut rx) = watch::channel(1);
        let seen = Rc::new(Cell::new(0));
        let theirs = seen.clone();
        let waits = spawn_waiting(move || {
            rx.changed().unwrap();
            theirs.set(*rx.borrow());
            park();
        });
        if cancelled_first {
            waits.cancel();
            tx.send(2).unwrap();
        } else {
            tx.send(2).unwrap();
            waits.cancel();
        }
        assert_cancelled(waits.join());
        assert_eq!(seen.get(), 2);
        tx.closed();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_is_cancelled_while_it_waits_leaves() {
    alone(|| {
        let (tx, mut rx) = watch::channel(1);
        let receives = spawn_waiting(move || rx.changed().is_ok());
        let theirs = tx.clone();
        let closes = spawn_waiting(move || theirs.closed());
        closes.cancel();
        assert_cancelled(closes.join());
        assert_eq!((tx.receiver_count(), tx.sender_count()), (1, 1));
        receives.cancel();
        assert_cancelled(receives.join());
        assert_eq!(tx.receiver_count(), 0);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn senders_that_never_wait_let_others_run() {
    alone(|| {
        let (tx, mut rx) = watch::channel(1);
        let other = spawn_local(move || rx.wait_for(|value| *value > 1).map(|value| *value));
        while !other.is_finished() {
            tx.send_replace(2);
        }
        assert_eq!(other.join().unwrap().unwrap(), 2);
    });
}

// Many, and at random.

#[rstest]
#[timeout(LIMIT)]
fn many_wait() {
    alone(|| {
        let (tx, rx) = watch::channel(1);
        let waiting: Vec<_> = (0..scaled(10_000))
            .map(|_| {
                let mut rx = rx.clone();
                spawn_waiting(move || {
                    rx.changed().unwrap();
                    *rx.borrow()
                })
            })
            .collect();
        tx.send(2).unwrap();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), 2);
        }
    });
}

/// Both halves of the value are changed one after the other; nobody sees them differ, nor an older value after a newer one.
#[rstest]
#[timeout(LIMIT)]
fn changes_are_seen_whole_and_in_order(#[values(1, 2, 4)] count: usize) {
    let runtime = Builder::new().workers(count).build().unwrap();
    let (tx, rx) = watch::channel((0, 0));
    let (senders, changes) = (3, 200 * stress());
    let finals = Arc::new(AtomicUsize::new(0));
    let body = |mut rx: Receiver<(u64, u64)>, seed: u64| {
        let finals = finals.clone();
        move || {
            let mut random = Xorshift(seed);
            let mut last = 0;
            loop {
                let brief = Duration::from_micros(random.next() % 50);
                let looked = match random.next() % 4 {
                    0 => timeout(brief, || rx.changed().is_ok()).unwrap_or(true),
                    1 => rx.changed_timeout(brief) != Err(RecvTimeoutError::Closed),
                    2 => timeout(brief, || rx.wait_for(|value| value.0 > last).is_ok())
                        .unwrap_or(true),
                    _ => rx.changed().is_ok(),
                };
                let value = rx.borrow();
                assert_eq!(value.0, value.1);
                assert!(value.0 >= last);
                last = value.0;
                drop(value);
                if !looked {
                    break;
                }
            }
            finals.fetch_add(last as usize, Ordering::SeqCst);
        }
    };
    let receiving: Vec<_> = (1..=4)
        .map(|seed| runtime.spawn(body(rx.clone(), seed)))
        .collect();
    let os = std::thread::spawn(body(rx, 9));
    let sending: Vec<_> = (0..senders)
        .map(|sender| {
            let tx = tx.clone();
            runtime.spawn(move || {
                for change in 0..changes {
                    tx.send_modify(|value| {
                        value.0 += 1;
                        if change % 5 == sender {
                            yield_now();
                        }
                        value.1 += 1;
                    });
                    if change % 7 == sender {
                        yield_now();
                    }
                }
            })
        })
        .collect();
    drop(tx);
    sending
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    receiving
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    os.join().unwrap();
    // All have seen the last one.
    assert_eq!(finals.load(Ordering::SeqCst) as u64, 5 * senders * changes);
}

// What it is.

#[test]
fn ends_of_a_channel_know_each_other() {
    let (tx, rx) = watch::channel(1);
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&tx.subscribe()));
    let (other, others) = watch::channel(1);
    assert!(!tx.same_channel(&other) && !rx.same_channel(&others));
    assert_eq!(*Sender::<u64>::default().borrow(), 0);
}

#[test]
fn auto_traits_are_tokios() {
    fn all<T: std::marker::Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    all::<Sender<u64>>();
    all::<Receiver<u64>>();
    fn shared<T: Sync>() {}
    shared::<Ref<'_, u64>>();
}

#[test]
fn errors_and_debug_output_are_tokios() {
    let (tx, mut rx) = watch::channel(1);
    assert_eq!(
        format!("{:?}", rx.borrow()),
        "Ref { inner: 1, has_changed: false }"
    );
    assert_eq!(format!("{tx:?} {rx:?}"), "Sender { .. } Receiver { .. }");
    drop(tx);
    let closed: RecvError = rx.changed().unwrap_err();
    assert_eq!(
        format!("{closed} {closed:?}"),
        "channel closed RecvError(())"
    );
    assert_eq!(
        format!("{0} {0:?}", SendError(7)),
        "channel closed SendError { .. }"
    );
    assert_eq!(RecvTimeoutError::Closed.to_string(), "channel closed");
    assert_eq!(
        RecvTimeoutError::Timeout.to_string(),
        "timed out waiting on channel"
    );
}
