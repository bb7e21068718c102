//! `sync::broadcast`: that every receiver gets every value or learns how many it missed, closing, and what is dropped and cloned when.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::broadcast::error::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use corde::sync::broadcast::{self, Receiver, Sender};
use corde::thread::{self, Cancelled, LocalJoinHandle, park, spawn_local, yield_now};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, is_quiet_panic, panic_quietly, wait_until};
use util::unwinding::panic_message;
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

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    assert!(result.map(drop).unwrap_err().is::<Cancelled>());
}

/// All ways to wait for a value.
type Recv = fn(&mut Receiver<u64>) -> Result<u64, RecvError>;

fn recv(receiver: &mut Receiver<u64>) -> Result<u64, RecvError> {
    receiver.recv()
}

fn in_time(error: RecvTimeoutError) -> RecvError {
    match error {
        RecvTimeoutError::Closed => RecvError::Closed,
        RecvTimeoutError::Lagged(missed) => RecvError::Lagged(missed),
        RecvTimeoutError::Timeout => panic!("it is not late"),
    }
}

fn recv_timeout(receiver: &mut Receiver<u64>) -> Result<u64, RecvError> {
    receiver.recv_timeout(ENDLESS).map_err(in_time)
}

fn recv_deadline(receiver: &mut Receiver<u64>) -> Result<u64, RecvError> {
    let deadline = Instant::now() + ENDLESS;
    receiver.recv_deadline(deadline).map_err(in_time)
}

fn recv_within(receiver: &mut Receiver<u64>) -> Result<u64, RecvError> {
    timeout(ENDLESS, || receiver.recv()).unwrap()
}

fn send_all(sender: &Sender<u64>, values: std::ops::Range<u64>) {
    for value in values {
        sender.send(value).unwrap();
    }
}

// What receivers get.

#[rstest]
#[timeout(LIMIT)]
fn all_receivers_get_all_values(
    #[values(recv, recv_timeout, recv_deadline, recv_within)] recv: Recv,
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
    #[values(Kind::Green, Kind::Os)] sender: Kind,
) {
    let (tx, first) = broadcast::channel(8);
    let receivers = [tx.subscribe(), first.resubscribe(), first];
    let receiving = receivers.map(|mut rx| {
        receiver.spawn(move || {
            for expected in 0..8 {
                assert_eq!(recv(&mut rx), Ok(expected));
            }
            assert_eq!(recv(&mut rx), Err(RecvError::Closed));
            assert_eq!(recv(&mut rx), Err(RecvError::Closed));
        })
    });
    sender.run(move || {
        for value in 0..8 {
            assert_eq!(tx.send(value).unwrap(), 3);
            yield_now();
        }
    });
    receiving.into_iter().for_each(util::threads::Handle::join);
}

#[rstest]
#[case(1, 1)]
#[case(2, 2)]
#[case(3, 4)]
#[case(5, 8)]
#[case(8, 8)]
fn a_capacity_is_rounded_up(#[case] asked: usize, #[case] capacity: u64) {
    let (tx, mut rx) = broadcast::channel(asked);
    send_all(&tx, 0..capacity);
    assert_eq!(rx.try_recv(), Ok(0));
    send_all(&tx, 0..capacity + 1);
    assert_eq!(tx.len() as u64, capacity);
    assert_eq!(rx.len() as u64, 2 * capacity);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Lagged(capacity)));
    assert_eq!(rx.recv(), Ok(1));
}

#[rstest]
#[case(0, "broadcast channel capacity cannot be zero")]
#[case(usize::MAX, "broadcast channel capacity exceeded `usize::MAX / 2`")]
fn some_capacities_are_impossible(#[case] capacity: usize, #[case] expected: &str) {
    assert_eq!(panic_message(|| Sender::<()>::new(capacity)), expected);
    assert_eq!(
        panic_message(|| broadcast::channel::<()>(capacity)),
        expected
    );
}

/// What a channel does, told in the simplest way.
struct Model {
    capacity: u64,
    sent: u64,
    receivers: Vec<u64>,
    /// For each value that is kept, the receivers that were there when it was sent and have not seen it: counted.
    unseen: VecDeque<usize>,
}

impl Model {
    fn oldest(&self) -> u64 {
        self.sent - self.unseen.len() as u64
    }

    fn see(&mut self, positions: std::ops::Range<u64>) {
        let oldest = self.oldest();
        for position in positions.start.max(oldest)..positions.end {
            self.unseen[(position - oldest) as usize] -= 1;
        }
    }

    fn send(&mut self) {
        self.sent += 1;
        self.unseen.push_back(self.receivers.len());
        if self.unseen.len() as u64 > self.capacity {
            self.unseen.pop_front();
        }
    }

    fn try_recv(&mut self, which: usize) -> Result<u64, TryRecvError> {
        let (next, oldest) = (self.receivers[which], self.oldest());
        if next < oldest {
            self.receivers[which] = oldest;
            return Err(TryRecvError::Lagged(oldest - next));
        }
        if next == self.sent {
            return Err(TryRecvError::Empty);
        }
        self.receivers[which] += 1;
        self.see(next..next + 1);
        Ok(next)
    }

    fn drop_receiver(&mut self, which: usize) {
        let next = self.receivers.swap_remove(which);
        self.see(next..self.sent);
    }

    fn len(&self) -> usize {
        self.unseen.iter().filter(|unseen| **unseen > 0).count()
    }
}

/// The number of a value, and how many of them there are.
#[derive(Clone)]
struct Counted {
    number: u64,
    _one: Arc<()>,
}

#[rstest]
fn it_does_what_the_model_does(#[values(1, 2, 8, 128)] capacity: usize) {
    for seed in 1..=20 * stress() {
        let mut random = Xorshift(seed);
        let kept = Arc::new(());
        let tx = Sender::new(capacity);
        let mut receivers: Vec<Receiver<Counted>> = Vec::new();
        let mut model = Model {
            capacity: capacity as u64,
            sent: 0,
            receivers: Vec::new(),
            unseen: VecDeque::new(),
        };
        // How often values are sent, in comparison.
        let busy = 1 + random.next() % 6;
        for _ in 0..400 {
            let which = (random.next() % 8) as usize;
            match random.next() % (busy + 6) {
                0 if receivers.len() < 8 => {
                    receivers.push(tx.subscribe());
                    model.receivers.push(model.sent);
                }
                1 if which < receivers.len() => {
                    receivers.swap_remove(which);
                    model.drop_receiver(which);
                }
                2..=5 if which < receivers.len() => {
                    let received = receivers[which].try_recv().map(|value| value.number);
                    assert_eq!(received, model.try_recv(which));
                }
                6.. => {
                    let value = Counted {
                        number: model.sent,
                        _one: kept.clone(),
                    };
                    let sent = tx.send(value).map_err(|SendError(value)| value.number);
                    if receivers.is_empty() {
                        assert_eq!(sent, Err(model.sent));
                    } else {
                        assert_eq!(sent, Ok(receivers.len()));
                        model.send();
                    }
                }
                _ => {}
            }
            assert_eq!((tx.len(), tx.is_empty()), (model.len(), model.len() == 0));
            assert_eq!(tx.receiver_count(), receivers.len());
            for (rx, next) in receivers.iter().zip(&model.receivers) {
                assert_eq!(rx.len() as u64, model.sent - next);
                assert_eq!(rx.is_empty(), model.sent == *next);
            }
            // Nothing is kept that all have seen.
            assert_eq!(Arc::strong_count(&kept) - 1, model.len());
        }
        drop(receivers);
        assert_eq!(Arc::strong_count(&kept), 1);
    }
}

// Values.

#[derive(Debug)]
struct Clones(Arc<AtomicUsize>);

impl Clone for Clones {
    fn clone(&self) -> Clones {
        self.0.fetch_add(1, Ordering::SeqCst);
        Clones(self.0.clone())
    }
}

#[test]
fn the_last_receiver_gets_the_value_itself() {
    let clones = Arc::new(AtomicUsize::new(0));
    let (tx, mut first) = broadcast::channel(4);
    let mut second = tx.subscribe();
    tx.send(Clones(clones.clone())).unwrap();
    first.recv().unwrap();
    assert_eq!(clones.load(Ordering::SeqCst), 1);
    second.recv().unwrap();
    assert_eq!(clones.load(Ordering::SeqCst), 1);
}

/// Its clone and its destructor use the channel that it comes from.
struct Reentrant(Sender<Reentrant>);

impl Clone for Reentrant {
    fn clone(&self) -> Reentrant {
        yield_now();
        assert_eq!(self.0.receiver_count(), 2);
        Reentrant(self.0.clone())
    }
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        yield_now();
        assert!(self.0.len() <= 1);
    }
}

#[rstest]
#[timeout(LIMIT)]
fn values_may_use_the_channel_when_they_are_cloned_and_dropped() {
    alone(|| {
        let (tx, mut first) = broadcast::channel(1);
        let second = tx.subscribe();
        tx.send(Reentrant(tx.clone())).map_err(drop).unwrap();
        drop(first.recv());
        // Overwrites one.
        tx.send(Reentrant(tx.clone())).map_err(drop).unwrap();
        drop((first, second));
        assert!(tx.send(Reentrant(tx.clone())).is_err());
    });
}

struct Panics;

impl Clone for Panics {
    fn clone(&self) -> Panics {
        panic_quietly()
    }
}

#[test]
fn a_value_whose_clone_panics_counts_as_seen() {
    let (tx, mut rx) = broadcast::channel(4);
    let _other = tx.subscribe();
    tx.send(Panics).map_err(drop).unwrap();
    let received = catch_unwind(AssertUnwindSafe(|| rx.recv().map(drop)));
    assert!(is_quiet_panic(&*received.unwrap_err()));
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    assert_eq!(tx.len(), 1);
}

// Closing.

#[test]
fn what_is_left_is_received_after_closing() {
    let (tx, mut rx) = broadcast::channel(2);
    let another = tx.clone();
    assert_eq!((tx.strong_count(), rx.sender_strong_count()), (2, 2));
    send_all(&tx, 0..3);
    drop(tx);
    assert!(!rx.is_closed());
    drop(another);
    assert!(rx.is_closed());
    let mut late = rx.resubscribe();
    assert_eq!(rx.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Closed));
    assert_eq!(late.recv(), Err(RecvError::Closed));
}

#[rstest]
#[timeout(LIMIT)]
fn a_receiver_that_waits_learns_of_closing(
    #[values(recv, recv_timeout, recv_deadline, recv_within)] recv: Recv,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (tx, mut rx) = broadcast::channel(2);
    let waiting = kind.spawn(move || recv(&mut rx));
    drop(tx);
    assert_eq!(waiting.join(), Err(RecvError::Closed));
}

#[rstest]
#[timeout(LIMIT)]
fn who_waits_for_the_other_end_is_woken_when_that_leaves() {
    alone(|| {
        let (tx, mut rx) = broadcast::channel::<u64>(2);
        let waits = spawn_waiting(move || rx.recv());
        let theirs = tx.clone();
        let closes = spawn_waiting(move || theirs.closed());
        (0..100).for_each(|_| yield_now());
        assert!(!waits.is_finished() && !closes.is_finished());
        waits.cancel();
        closes.join().unwrap();
        let mut rx = tx.subscribe();
        let waits = spawn_waiting(move || rx.recv());
        (0..100).for_each(|_| yield_now());
        assert!(!waits.is_finished());
        drop(tx);
        assert_eq!(waits.join().unwrap(), Err(RecvError::Closed));
    });
}

#[test]
fn sending_to_nobody_returns_the_value() {
    let (tx, rx) = broadcast::channel(2);
    drop(rx);
    assert_eq!(tx.send(7).unwrap_err().0, 7);
    let mut rx = tx.subscribe();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(tx.send(8).unwrap(), 1);
    assert_eq!(rx.recv(), Ok(8));
}

#[rstest]
#[timeout(LIMIT)]
fn a_sender_waits_until_there_is_no_receiver(
    #[values(Kind::Green, Kind::Os)] sender: Kind,
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
) {
    let (tx, first) = broadcast::channel::<u64>(2);
    let second = tx.subscribe();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let tx = tx.clone();
            sender.spawn(move || tx.closed())
        })
        .collect();
    receiver.run(move || drop(first));
    assert!(timeout(SHORT, || tx.closed()).is_err());
    receiver.run(move || drop(second));
    waiting.into_iter().for_each(util::threads::Handle::join);
    tx.closed();
}

// Leaving.

#[rstest]
#[timeout(LIMIT)]
fn who_gives_up_misses_nothing(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (tx, mut rx) = broadcast::channel(4);
        for value in 0..10 {
            assert_eq!(rx.recv_timeout(SHORT / 4), Err(RecvTimeoutError::Timeout));
            let deadline = Instant::now();
            assert_eq!(rx.recv_deadline(deadline), Err(RecvTimeoutError::Timeout));
            assert!(timeout(SHORT / 4, || rx.recv()).is_err());
            tx.send(value).unwrap();
            assert_eq!(rx.recv_timeout(Duration::ZERO), Ok(value));
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_value_for_a_cancelled_receiver_is_received(#[values(false, true)] cancelled_first: bool) {
    alone(|| {
        let (tx, mut rx) = broadcast::channel(4);
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
        assert_eq!(tx.receiver_count(), 0);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_receiver_keeps_nothing() {
    alone(|| {
        let (tx, mut rx) = broadcast::channel(4);
        let mut other = tx.subscribe();
        let waits = spawn_waiting(move || rx.recv());
        waits.cancel();
        assert_cancelled(waits.join());
        assert_eq!(tx.send(7).unwrap(), 1);
        assert_eq!(other.recv(), Ok(7));
        assert!(tx.is_empty());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_sender_stops_waiting() {
    alone(|| {
        let (tx, rx) = broadcast::channel::<u64>(4);
        let theirs = tx.clone();
        let waits = spawn_waiting(move || theirs.closed());
        waits.cancel();
        assert_cancelled(waits.join());
        drop(rx);
        tx.closed();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_receives_without_waiting_lets_others_run_and_who_sends_does_not_wait() {
    alone(|| {
        let (tx, mut rx) = broadcast::channel(1024);
        let other = spawn_local(|| ());
        send_all(&tx, 0..1000);
        assert!(!other.is_finished());
        other.join().unwrap();
        let other = spawn_local(|| ());
        for expected in 0..1000 {
            assert_eq!(rx.recv(), Ok(expected));
        }
        assert!(other.is_finished());
    });
}

// Many, and at random.

#[rstest]
#[timeout(LIMIT)]
fn many_wait() {
    alone(|| {
        let tx = Sender::new(2);
        let waiting: Vec<_> = (0..scaled(10_000))
            .map(|_| {
                let mut rx = tx.subscribe();
                spawn_waiting(move || rx.recv())
            })
            .collect();
        assert_eq!(tx.send(7).unwrap(), waiting.len());
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Ok(7));
        }
        assert_eq!((tx.len(), tx.receiver_count()), (0, 0));
    });
}

/// Several senders: each receiver sees the values of each in order, and misses as many as it is told.
#[rstest]
#[timeout(LIMIT)]
fn values_arrive_in_order_or_are_counted_as_missed(
    #[values(1, 2, 4)] count: usize,
    #[values(1, 4, 64)] capacity: usize,
) {
    const SENDERS: u64 = 3;
    let values = 300 * stress();
    let runtime = Builder::new().workers(count).build().unwrap();
    let (tx, rx) = broadcast::channel::<(u64, u64)>(capacity);
    let body = |mut rx: Receiver<(u64, u64)>, seed: u64| {
        move || {
            let mut random = Xorshift(seed);
            let mut next = [0; SENDERS as usize];
            let (mut seen, mut missed) = (0, 0);
            loop {
                let brief = Duration::from_micros(random.next() % 50);
                let received = match random.next() % 3 {
                    0 => rx.recv_timeout(brief),
                    1 => match timeout(brief, || rx.recv()) {
                        Ok(received) => received.map_err(in_time_error),
                        Err(_) => continue,
                    },
                    _ => rx.recv().map_err(in_time_error),
                };
                match received {
                    Ok((sender, value)) => {
                        assert!(value >= next[sender as usize]);
                        next[sender as usize] = value + 1;
                        seen += 1;
                    }
                    Err(RecvTimeoutError::Lagged(some)) => missed += some,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Closed) => break,
                }
            }
            assert_eq!(seen + missed, SENDERS * values);
        }
    };
    let receiving: Vec<_> = (1..=4)
        .map(|seed| runtime.spawn(body(tx.subscribe(), seed)))
        .collect();
    let os = std::thread::spawn(body(rx, 9));
    // Comes and goes.
    let theirs = tx.clone();
    let guest = runtime.spawn(move || {
        for _ in 0..50 {
            let mut rx = theirs.subscribe();
            let _ = rx.recv_timeout(Duration::from_micros(20));
        }
    });
    let sending: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let tx = tx.clone();
            runtime.spawn(move || {
                for value in 0..values {
                    tx.send((sender, value)).unwrap();
                    if value % 7 == sender {
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
    guest.join().unwrap();
    receiving
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    os.join().unwrap();
}

fn in_time_error(error: RecvError) -> RecvTimeoutError {
    match error {
        RecvError::Closed => RecvTimeoutError::Closed,
        RecvError::Lagged(missed) => RecvTimeoutError::Lagged(missed),
    }
}

// What it is.

#[test]
fn ends_of_a_channel_know_each_other() {
    let (tx, rx) = broadcast::channel::<u64>(1);
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&tx.subscribe()));
    let (other, others) = broadcast::channel::<u64>(1);
    assert!(!tx.same_channel(&other) && !rx.same_channel(&others));
}

#[test]
fn auto_traits_are_tokios_for_values_that_are_sync() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    all::<Sender<Arc<dyn Fn() + Send + Sync>>>();
    all::<Receiver<Arc<dyn Fn() + Send + Sync>>>();
}

#[test]
fn errors_and_debug_output_are_tokios() {
    let (tx, rx) = broadcast::channel::<u64>(1);
    assert_eq!(
        format!("{tx:?} {rx:?}"),
        "broadcast::Sender broadcast::Receiver"
    );
    assert_eq!(
        format!("{0} {0:?}", SendError(7)),
        "channel closed SendError(7)"
    );
    assert_eq!(RecvError::Closed.to_string(), "channel closed");
    assert_eq!(RecvError::Lagged(3).to_string(), "channel lagged by 3");
    assert_eq!(TryRecvError::Empty.to_string(), "channel empty");
    assert_eq!(TryRecvError::Closed.to_string(), "channel closed");
    assert_eq!(TryRecvError::Lagged(3).to_string(), "channel lagged by 3");
    assert_eq!(
        RecvTimeoutError::Timeout.to_string(),
        "timed out waiting on channel"
    );
    assert_eq!(RecvTimeoutError::Closed.to_string(), "channel closed");
    assert_eq!(
        RecvTimeoutError::Lagged(3).to_string(),
        "channel lagged by 3"
    );
}
