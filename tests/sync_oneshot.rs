//! `sync::oneshot`: every way for a value to go, for either end to leave, and that a value is neither lost nor dropped twice.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::oneshot::error::{RecvError, RecvTimeoutError, TryRecvError};
use corde::sync::oneshot::{self, Receiver, Sender};
use corde::thread::{self, Cancelled, LocalJoinHandle, park, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, wait_until};
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

/// A value that counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A value, and how many like it have been dropped.
fn counted() -> (Counted, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    (Counted(drops.clone()), drops)
}

/// All ways to wait for the value; none, if it will not come.
type Recv = fn(Receiver<String>) -> Option<String>;

fn recv(receiver: Receiver<String>) -> Option<String> {
    receiver.recv().ok()
}

fn recv_timeout(mut receiver: Receiver<String>) -> Option<String> {
    match receiver.recv_timeout(ENDLESS) {
        Err(RecvTimeoutError::Timeout) => panic!("it is not late"),
        received => received.ok(),
    }
}

fn recv_without_end(mut receiver: Receiver<String>) -> Option<String> {
    receiver.recv_timeout(Duration::MAX).ok()
}

fn recv_deadline(mut receiver: Receiver<String>) -> Option<String> {
    receiver.recv_deadline(Instant::now() + ENDLESS).ok()
}

fn recv_within(receiver: Receiver<String>) -> Option<String> {
    timeout(ENDLESS, || receiver.recv()).unwrap().ok()
}

// Values.

#[rstest]
#[timeout(LIMIT)]
fn a_value_arrives(
    #[values(recv, recv_timeout, recv_without_end, recv_deadline, recv_within)] recv: Recv,
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
    #[values(Kind::Green, Kind::Os)] sender: Kind,
    #[values(false, true)] sent_first: bool,
) {
    let (tx, rx) = oneshot::channel();
    let send = move || tx.send("value".to_owned()).unwrap();
    let received = if sent_first {
        sender.run(send);
        receiver.run(move || recv(rx))
    } else {
        let receiving = receiver.spawn(move || recv(rx));
        sender.run(send);
        receiving.join()
    };
    assert_eq!(received.as_deref(), Some("value"));
}

#[rstest]
#[timeout(LIMIT)]
fn a_receiver_that_waits_learns_that_the_sender_is_gone(
    #[values(recv, recv_timeout, recv_without_end, recv_deadline, recv_within)] recv: Recv,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] gone_first: bool,
) {
    let (tx, rx) = oneshot::channel();
    let received = if gone_first {
        drop(tx);
        kind.run(move || recv(rx))
    } else {
        let receiving = kind.spawn(move || recv(rx));
        drop(tx);
        receiving.join()
    };
    assert_eq!(received, None);
}

#[test]
fn what_a_receiver_sees_without_waiting() {
    let (tx, mut rx) = oneshot::channel();
    assert!(rx.is_empty() && !tx.is_closed());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(7).unwrap();
    assert!(!rx.is_empty());
    assert_eq!(rx.try_recv(), Ok(7));
    assert!(rx.is_empty());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(rx.recv_timeout(ENDLESS), Err(RecvTimeoutError::Closed));
    assert_eq!(rx.recv(), Err(recv_error()));
}

/// Only the library makes one.
fn recv_error() -> RecvError {
    let (tx, rx) = oneshot::channel::<()>();
    drop(tx);
    rx.recv().unwrap_err()
}

#[test]
fn what_a_receiver_sees_when_the_sender_is_gone() {
    let (tx, mut rx) = oneshot::channel::<i32>();
    drop(tx);
    assert!(rx.is_empty());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    rx.close();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

// Closing.

#[test]
fn sending_to_nobody_returns_the_value() {
    let (value, drops) = counted();
    let (tx, rx) = oneshot::channel();
    drop(rx);
    assert!(tx.is_closed());
    let Err(value) = tx.send(value) else {
        panic!("nobody receives it");
    };
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(value);
}

#[test]
fn sending_to_a_closed_receiver_returns_the_value() {
    let (tx, mut rx) = oneshot::channel();
    rx.close();
    rx.close();
    assert!(tx.is_closed());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(tx.send(7), Err(7));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert!(rx.recv().is_err());
}

#[test]
fn what_was_sent_before_closing_is_received() {
    let (tx, mut rx) = oneshot::channel();
    tx.send(7).unwrap();
    rx.close();
    assert_eq!(rx.recv(), Ok(7));
}

#[rstest]
#[case::dropped(|receiver: Receiver<i32>| { drop(receiver); None })]
#[case::closed(|mut receiver: Receiver<i32>| { receiver.close(); Some(receiver) })]
#[timeout(LIMIT)]
fn a_sender_waits_until_nobody_wants_the_value(
    #[case] close: fn(Receiver<i32>) -> Option<Receiver<i32>>,
    #[values(Kind::Green, Kind::Os)] sender: Kind,
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
    #[values(false, true)] closed_first: bool,
) {
    let (mut tx, rx) = oneshot::channel();
    let wait = move || {
        tx.closed();
        tx.closed();
        assert!(tx.is_closed());
        assert_eq!(tx.send(7), Err(7));
    };
    if closed_first {
        let _kept = receiver.run(move || close(rx));
        sender.run(wait);
    } else {
        let waiting = sender.spawn(wait);
        let _kept = receiver.run(move || close(rx));
        waiting.join();
    }
}

#[rstest]
#[case::closed(Receiver::close)]
#[case::dropped(|receiver: &mut Receiver<i32>| *receiver = oneshot::channel().1)]
#[timeout(LIMIT)]
fn a_sender_that_waits_is_woken(#[case] close: fn(&mut Receiver<i32>)) {
    alone(|| {
        let (mut tx, mut rx) = oneshot::channel();
        let waits = spawn_waiting(move || tx.closed());
        let_run();
        assert!(!waits.is_finished());
        close(&mut rx);
        waits.join().unwrap();
    });
}

#[rstest]
#[case::sent(|sender: Sender<i32>| sender.send(7).unwrap(), Some(7))]
#[case::dropped(|sender: Sender<i32>| drop(sender), None)]
#[timeout(LIMIT)]
fn a_receiver_that_waits_is_woken(#[case] leave: fn(Sender<i32>), #[case] expected: Option<i32>) {
    alone(|| {
        let (tx, rx) = oneshot::channel();
        let waits = spawn_waiting(move || rx.recv().ok());
        let_run();
        assert!(!waits.is_finished());
        leave(tx);
        assert_eq!(waits.join().unwrap(), expected);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_sender_that_gave_up_waiting_sends(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (mut tx, rx) = oneshot::channel();
        assert!(timeout(SHORT, || tx.closed()).is_err());
        tx.send(7).unwrap();
        assert_eq!(rx.recv(), Ok(7));
    });
}

// Drops.

#[rstest]
#[case::receiver_first(true)]
#[case::sender_first(false)]
fn a_value_that_is_not_received_is_dropped_with_the_receiver(#[case] receiver_first: bool) {
    let (value, drops) = counted();
    let (tx, rx) = oneshot::channel();
    let (mut tx, mut rx) = (Some(tx), Some(rx));
    if receiver_first {
        drop(rx.take());
        drop(tx.take().unwrap().send(value));
    } else {
        assert!(tx.take().unwrap().send(value).is_ok());
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        drop(rx.take());
    }
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_received_value_is_dropped_once() {
    let (value, drops) = counted();
    let (tx, mut rx) = oneshot::channel();
    assert!(tx.send(value).is_ok());
    let value = rx.try_recv();
    drop(rx);
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(value);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_value_may_use_the_library_when_it_is_dropped() {
    let (tx, rx) = oneshot::channel();
    let (inner, waits) = oneshot::channel();
    let mut inner = Some(inner);
    let value = OnDrop(move || inner.take().unwrap().send(7).unwrap());
    assert!(tx.send(value).is_ok());
    drop(rx);
    assert_eq!(waits.recv(), Ok(7));
}

#[test]
fn a_panic_in_the_drop_of_a_value_leaves_the_channel_closed() {
    let (tx, rx) = oneshot::channel();
    assert!(tx.send(OnDrop(|| util::threads::panic_quietly())).is_ok());
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(rx)));
    assert!(util::threads::is_quiet_panic(&*dropped.unwrap_err()));
}

// Leaving.

#[rstest]
#[timeout(LIMIT)]
fn a_value_that_comes_late_is_received_later(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (tx, mut rx) = oneshot::channel();
        for _ in 0..3 {
            assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
            assert_eq!(
                rx.recv_deadline(Instant::now()),
                Err(RecvTimeoutError::Timeout)
            );
            assert!(timeout(SHORT, || rx.recv_timeout(ENDLESS)).is_err());
        }
        tx.send(7).unwrap();
        assert_eq!(rx.recv_timeout(Duration::ZERO), Ok(7));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_receiver_is_gone() {
    alone(|| {
        let (mut tx, rx) = oneshot::channel::<i32>();
        let waits = spawn_waiting(move || rx.recv());
        waits.cancel();
        tx.closed();
        assert_cancelled(waits.join());
        assert_eq!(tx.send(7), Err(7));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_sender_is_gone() {
    alone(|| {
        let (mut tx, rx) = oneshot::channel::<i32>();
        let waits = spawn_waiting(move || tx.closed());
        waits.cancel();
        assert!(rx.recv().is_err());
        assert_cancelled(waits.join());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_value_for_a_cancelled_receiver_is_received(#[values(false, true)] cancelled_first: bool) {
    alone(|| {
        let (tx, rx) = oneshot::channel();
        let received = Rc::new(Cell::new(0));
        let theirs = received.clone();
        let waits = spawn_waiting(move || {
            theirs.set(rx.recv().unwrap());
            park();
        });
        if cancelled_first {
            waits.cancel();
            tx.send(7).unwrap();
        } else {
            tx.send(7).unwrap();
            waits.cancel();
        }
        assert_cancelled(waits.join());
        assert_eq!(received.get(), 7);
    });
}

// Many, and at random.

#[rstest]
#[timeout(LIMIT)]
fn many_wait() {
    alone(|| {
        let (senders, waiting): (Vec<_>, Vec<_>) = (0..scaled(10_000))
            .map(|_| {
                let (tx, rx) = oneshot::channel();
                (tx, spawn_waiting(move || rx.recv().unwrap()))
            })
            .unzip();
        for (i, tx) in senders.into_iter().enumerate() {
            tx.send(i).unwrap();
        }
        for (i, thread) in waiting.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), i);
        }
    });
}

/// Both ends do what they like at the same time: the value is with one of them, and is dropped once.
#[rstest]
#[timeout(LIMIT)]
fn a_value_is_somewhere(
    #[values(Kind::Green, Kind::Os)] sender: Kind,
    #[values(2, 3)] count: usize,
) {
    let runtime = Builder::new().workers(count).build().unwrap();
    let drops = Arc::new(AtomicUsize::new(0));
    let rounds = if sender == Kind::Os { 100 } else { 500 } * stress();
    for round in 1..=rounds {
        let mut random = Xorshift(round * 7919);
        let (mut tx, mut rx) = oneshot::channel();
        let value = Counted(drops.clone());
        let (waits, brief) = (random.next() % 3, Duration::from_micros(random.next() % 30));
        let send = move || {
            if waits == 0 {
                let _ = timeout(brief, || tx.closed());
            }
            tx.send(value).is_ok()
        };
        let (how, brief) = (random.next() % 6, Duration::from_micros(random.next() % 30));
        let receiving = runtime.spawn(move || match how {
            0 => rx.recv().is_ok(),
            1 => rx.recv_timeout(brief).is_ok() || rx.recv().is_ok(),
            2 => timeout(brief, || rx.recv_timeout(ENDLESS)).is_ok_and(|it| it.is_ok()),
            3 => rx.try_recv().is_ok(),
            4 => {
                rx.close();
                rx.try_recv().is_ok()
            }
            _ => false,
        });
        let sending = match sender {
            Kind::Green => util::threads::Handle::Green(runtime.spawn(send)),
            Kind::Os => sender.spawn(send),
        };
        let sent = sending.join();
        let received = receiving.join().unwrap();
        assert!(sent || !received);
        if how < 2 {
            assert!(received);
        }
        assert_eq!(drops.load(Ordering::SeqCst), round as usize);
    }
}

/// Both ends act at the same moment, as far as that can be had: what was sent is received, unless the receiver was dropped.
#[rstest]
#[timeout(LIMIT)]
fn ends_that_meet_agree() {
    let rounds = (5000 * stress()) as usize;
    let drops = Arc::new(AtomicUsize::new(0));
    let arrived = Arc::new(AtomicUsize::new(0));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..rounds).map(|_| oneshot::channel()).unzip();
    let meet = |round: usize, arrived: &AtomicUsize| {
        arrived.fetch_add(1, Ordering::SeqCst);
        let mut looks = 0;
        while arrived.load(Ordering::SeqCst) < 2 * (round + 1) {
            looks += 1;
            if looks < 1000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        // The one or the other a little later.
        (0..round % 20).for_each(|_| std::hint::spin_loop());
    };
    let theirs = arrived.clone();
    let receiving = Kind::Os.spawn(move || {
        let mut received = Vec::new();
        for (round, mut rx) in receivers.into_iter().enumerate() {
            meet(round, &theirs);
            received.push(match round % 4 {
                0 => Some(rx.recv().is_ok()),
                1 => {
                    rx.close();
                    Some(rx.try_recv().is_ok())
                }
                2 => Some(rx.recv_timeout(Duration::ZERO).is_ok() || rx.recv().is_ok()),
                _ => None,
            });
        }
        received
    });
    let mut sent = Vec::new();
    for (round, tx) in senders.into_iter().enumerate() {
        let value = Counted(drops.clone());
        meet(round, &arrived);
        (0..10).for_each(|_| std::hint::spin_loop());
        sent.push(tx.send(value).is_ok());
    }
    for (sent, received) in sent.into_iter().zip(receiving.join()) {
        assert!(received.is_none_or(|received| received == sent));
    }
    assert_eq!(drops.load(Ordering::SeqCst), rounds);
}

// What it is.

#[test]
fn auto_traits_are_tokios() {
    fn all<T: Send + Sync + Unpin>() {}
    all::<Sender<Cell<i32>>>();
    all::<Receiver<Cell<i32>>>();
    all::<RecvError>();
}

#[test]
fn errors_and_debug_output_are_tokios() {
    assert_eq!(
        format!("{0} {0:?}", recv_error()),
        "channel closed RecvError(())"
    );
    assert_eq!(TryRecvError::Empty.to_string(), "channel empty");
    assert_eq!(TryRecvError::Closed.to_string(), "channel closed");
    assert_eq!(RecvTimeoutError::Closed.to_string(), "channel closed");
    assert_eq!(
        RecvTimeoutError::Timeout.to_string(),
        "timed out waiting on channel"
    );
    let (tx, rx) = oneshot::channel::<fn()>();
    assert_eq!(format!("{tx:?} {rx:?}"), "Sender { .. } Receiver { .. }");
}
