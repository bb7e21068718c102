//! Channels in crossbeam-channel's words: what each method does and how it fails, who is served when, and that nothing is lost. (What they show
//! in comparison with crossbeam's is in `sync_channel_random.rs`.)
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::channel::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, after, at, bounded, never, tick, unbounded,
};
use corde::thread::{self, Cancelled, LocalJoinHandle, spawn_local, yield_now};
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

/// Starts a green thread on this OS thread, and lets it run until it waits.
fn start<T: 'static>(body: impl FnOnce() -> T + 'static) -> LocalJoinHandle<T> {
    let thread = spawn_local(body);
    for _ in 0..20 {
        yield_now();
    }
    thread
}

fn channel_of<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    capacity.map_or_else(unbounded, bounded)
}

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    let payload = result.map(drop).expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}

// Each method.

/// A way to send one message; tells how it failed.
type Send = fn(&Sender<u32>, u32) -> Result<(), SendTimeoutError<u32>>;

/// A way to receive one message; tells how it failed.
type Recv = fn(&Receiver<u32>) -> Result<u32, RecvTimeoutError>;

fn send(sender: &Sender<u32>, message: u32) -> Result<(), SendTimeoutError<u32>> {
    sender.send(message).map_err(SendTimeoutError::from)
}

fn try_send(sender: &Sender<u32>, message: u32) -> Result<(), SendTimeoutError<u32>> {
    sender.try_send(message).map_err(|error| match error {
        TrySendError::Full(message) => SendTimeoutError::Timeout(message),
        TrySendError::Disconnected(message) => SendTimeoutError::Disconnected(message),
    })
}

fn send_timeout(sender: &Sender<u32>, message: u32) -> Result<(), SendTimeoutError<u32>> {
    sender.send_timeout(message, SHORT)
}

fn send_deadline(sender: &Sender<u32>, message: u32) -> Result<(), SendTimeoutError<u32>> {
    sender.send_deadline(message, Instant::now() + SHORT)
}

fn send_without_end(sender: &Sender<u32>, message: u32) -> Result<(), SendTimeoutError<u32>> {
    sender.send_timeout(message, Duration::MAX)
}

fn recv(receiver: &Receiver<u32>) -> Result<u32, RecvTimeoutError> {
    receiver.recv().map_err(RecvTimeoutError::from)
}

fn try_recv(receiver: &Receiver<u32>) -> Result<u32, RecvTimeoutError> {
    receiver.try_recv().map_err(|error| match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
    })
}

fn recv_timeout(receiver: &Receiver<u32>) -> Result<u32, RecvTimeoutError> {
    receiver.recv_timeout(SHORT)
}

fn recv_deadline(receiver: &Receiver<u32>) -> Result<u32, RecvTimeoutError> {
    receiver.recv_deadline(Instant::now() + SHORT)
}

fn recv_without_end(receiver: &Receiver<u32>) -> Result<u32, RecvTimeoutError> {
    receiver.recv_timeout(Duration::MAX)
}

fn next(receiver: &Receiver<u32>) -> Result<u32, RecvTimeoutError> {
    let next = receiver.iter().next();
    next.ok_or(RecvTimeoutError::Disconnected)
}

#[rstest]
#[case::send(send)]
#[case::try_send(try_send)]
#[case::send_timeout(send_timeout)]
#[case::send_deadline(send_deadline)]
#[case::send_without_end(send_without_end)]
#[timeout(LIMIT)]
fn what_is_sent_is_received_in_order_up_to_the_end(
    #[case] send: Send,
    #[values(recv, try_recv, recv_timeout, recv_deadline, recv_without_end, next)] recv: Recv,
    #[values(Some(3), None)] capacity: Option<usize>,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(move || {
        let (sender, receiver) = channel_of(capacity);
        (0..3).for_each(|number| send(&sender, number).unwrap());
        let other = sender.clone();
        drop(sender);
        assert_eq!([(); 2].map(|()| recv(&receiver)), [Ok(0), Ok(1)]);
        drop(other);
        assert_eq!(recv(&receiver), Ok(2));
        assert_eq!(recv(&receiver), Err(RecvTimeoutError::Disconnected));
    });
}

#[rstest]
#[case::send(send)]
#[case::try_send(try_send)]
#[case::send_timeout(send_timeout)]
#[case::send_deadline(send_deadline)]
#[timeout(LIMIT)]
fn without_a_receiver_the_message_comes_back(
    #[case] send: Send,
    #[values(Some(0), Some(1), None)] capacity: Option<usize>,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(move || {
        let (sender, receiver) = channel_of(capacity);
        drop((receiver.clone(), receiver));
        assert_eq!(send(&sender, 7), Err(SendTimeoutError::Disconnected(7)));
    });
}

#[rstest]
#[case::try_send(try_send)]
#[case::send_timeout(send_timeout)]
#[case::send_deadline(send_deadline)]
#[timeout(LIMIT)]
fn without_room_the_message_comes_back(
    #[case] send: Send,
    #[values(0, 1, 3)] capacity: usize,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(move || {
        let (sender, receiver) = bounded(capacity);
        (0..3)
            .take(capacity)
            .for_each(|number| sender.send(number).unwrap());
        assert!(sender.is_full() && receiver.is_full());
        assert_eq!(send(&sender, 7), Err(SendTimeoutError::Timeout(7)));
        assert_eq!(receiver.len(), capacity);
    });
}

#[rstest]
#[case::try_recv(try_recv)]
#[case::recv_timeout(recv_timeout)]
#[case::recv_deadline(recv_deadline)]
#[timeout(LIMIT)]
fn without_a_message_there_is_none_in_time(
    #[case] recv: Recv,
    #[values(Some(0), Some(1), None)] capacity: Option<usize>,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    kind.run(move || {
        let (_sender, receiver) = channel_of(capacity);
        assert_eq!(recv(&receiver), Err(RecvTimeoutError::Timeout));
    });
}

#[test]
fn errors_tell_which_they_are() {
    let full = TrySendError::Full(1);
    assert!(full.is_full() && !full.is_disconnected());
    let gone = TrySendError::from(SendError(2));
    assert!(gone.is_disconnected() && !gone.is_full());
    let late = SendTimeoutError::Timeout(3);
    assert!(late.is_timeout() && !late.is_disconnected());
    let lost = SendTimeoutError::from(SendError(4));
    assert!(lost.is_disconnected() && !lost.is_timeout());
    let messages = (
        full.into_inner(),
        gone.into_inner(),
        late.into_inner(),
        lost.into_inner(),
    );
    assert_eq!((messages, SendError(5).into_inner()), ((1, 2, 3, 4), 5));
    assert!(TryRecvError::Empty.is_empty() && !TryRecvError::Empty.is_disconnected());
    let gone = TryRecvError::from(RecvError);
    assert!(gone.is_disconnected() && !gone.is_empty());
    assert!(RecvTimeoutError::Timeout.is_timeout() && !RecvTimeoutError::Timeout.is_disconnected());
    let gone = RecvTimeoutError::from(RecvError);
    assert!(gone.is_disconnected() && !gone.is_timeout());
}

#[test]
fn types_have_the_traits_of_crossbeams() {
    fn shared<T: std::marker::Send + Sync>() {}
    fn error<T: Error + std::marker::Send + Sync + Unpin + 'static>() {}
    // A message may be no such thing.
    fn safe<T: UnwindSafe + RefUnwindSafe>() {}
    shared::<Sender<Cell<u32>>>();
    shared::<Receiver<Cell<u32>>>();
    shared::<channel::Select<'_>>();
    safe::<Sender<&'static mut Cell<u32>>>();
    safe::<Receiver<&'static mut Cell<u32>>>();
    error::<SendError<u32>>();
    error::<TrySendError<u32>>();
    error::<SendTimeoutError<u32>>();
    error::<RecvError>();
    error::<TryRecvError>();
    error::<RecvTimeoutError>();
    error::<channel::TrySelectError>();
    error::<channel::SelectTimeoutError>();
}

// Waiting.

#[rstest]
#[timeout(LIMIT)]
fn ends_meet_whatever_kinds_of_threads_they_are_on(
    #[values(Kind::Green, Kind::Os)] sending: Kind,
    #[values(Kind::Green, Kind::Os)] receiving: Kind,
    #[values(Some(0), Some(1), Some(2), None)] capacity: Option<usize>,
) {
    let (sender, receiver) = channel_of(capacity);
    let sent = sending.spawn(move || (0..1000).for_each(|number| sender.send(number).unwrap()));
    let received = receiving.spawn(move || receiver.iter().collect::<Vec<u32>>());
    sent.join();
    assert_eq!(received.join(), (0..1000).collect::<Vec<_>>());
}

#[rstest]
#[case::recv(recv)]
#[case::recv_without_end(recv_without_end)]
#[case::iter(next)]
#[timeout(LIMIT)]
fn who_waits_sees_the_other_side_end(
    #[case] recv: Recv,
    #[values(Some(0), Some(1), None)] capacity: Option<usize>,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (sender, receiver) = channel_of(capacity);
    let waiting = kind.spawn(move || recv(&receiver));
    drop(sender);
    assert_eq!(waiting.join(), Err(RecvTimeoutError::Disconnected));
    if let Some(capacity) = capacity {
        let (sender, receiver) = bounded(capacity);
        (0..capacity).for_each(|_| sender.send(0).unwrap());
        let waiting = kind.spawn(move || sender.send(7));
        drop(receiver);
        assert_eq!(waiting.join(), Err(SendError(7)));
    }
}

#[rstest]
#[timeout(LIMIT)]
fn who_came_first_is_served_first(#[values(0, 1, 2)] capacity: usize) {
    alone(|| {
        let (sender, receiver) = bounded(capacity);
        let receiving: Vec<_> = (0..5)
            .map(|_| {
                let receiver = receiver.clone();
                start(move || receiver.recv().unwrap())
            })
            .collect();
        (0..5).for_each(|number| sender.send(number).unwrap());
        let received: Vec<_> = receiving.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(received, [0, 1, 2, 3, 4]);
        let sending: Vec<_> = (0..5)
            .map(|number| {
                let sender = sender.clone();
                start(move || sender.send(number).unwrap())
            })
            .collect();
        assert_eq!(receiver.iter().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        sending.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_leaves_does_not_take_the_turn_of_those_behind(#[values(0, 1)] capacity: usize) {
    alone(|| {
        let (sender, receiver) = bounded(capacity);
        let waits = |patience| {
            let receiver = receiver.clone();
            start(move || receiver.recv_timeout(patience))
        };
        let waiting = [ENDLESS, Duration::ZERO, ENDLESS, Duration::ZERO, ENDLESS].map(waits);
        thread::sleep(SHORT);
        (0..3).for_each(|number| sender.send(number).unwrap());
        let late = Err(RecvTimeoutError::Timeout);
        let got = waiting.map(|it| it.join().unwrap());
        assert_eq!(got, [Ok(0), late, Ok(1), late, Ok(2)]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_wait_and_are_all_served_or_told(
    #[values(Some(0), Some(1), None)] capacity: Option<usize>,
) {
    let count = scaled(10_000);
    let (sender, receiver) = channel_of(capacity);
    let waiting: Vec<_> = (0..count)
        .map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.recv())
        })
        .collect();
    (0..count / 2).for_each(|_| sender.send(()).unwrap());
    drop(sender);
    let got = waiting.into_iter().map(|it| it.join().unwrap());
    assert_eq!(got.filter(|got| got.is_ok()).count(), count / 2);
    let (sender, receiver) = bounded(0);
    let waiting: Vec<_> = (0..count)
        .map(|_| {
            let sender = sender.clone();
            thread::spawn(move || sender.send(()))
        })
        .collect();
    assert_eq!(receiver.iter().take(count / 2).count(), count / 2);
    drop(receiver);
    let sent = waiting.into_iter().map(|it| it.join().unwrap());
    assert_eq!(sent.filter(|sent| sent.is_ok()).count(), count / 2);
}

// Interrupts.

#[rstest]
#[case::recv(recv)]
#[case::recv_without_end(recv_without_end)]
#[case::iter(next)]
#[timeout(LIMIT)]
fn a_receiver_that_waits_can_be_cancelled_and_takes_nothing(
    #[case] recv: Recv,
    #[values(Some(0), Some(1), None)] capacity: Option<usize>,
) {
    alone(|| {
        let (sender, receiver) = channel_of(capacity);
        let [first, other] = [(); 2].map(|()| {
            let receiver = receiver.clone();
            start(move || recv(&receiver))
        });
        first.cancel();
        sender.send(1).unwrap();
        // It has been handed over before it could strike.
        assert_eq!(first.join().unwrap(), Ok(1));
        other.cancel();
        assert_cancelled(other.join());
        assert!(capacity != Some(0) || sender.try_send(2).is_err());
        let last = start({
            let receiver = receiver.clone();
            move || recv(&receiver)
        });
        last.cancel();
        assert_cancelled(last.join());
        if capacity != Some(0) {
            sender.send(3).unwrap();
            assert_eq!(receiver.recv(), Ok(3));
        }
    });
}

#[rstest]
#[case::send(send)]
#[case::send_without_end(send_without_end)]
#[timeout(LIMIT)]
fn a_sender_that_waits_can_be_cancelled_and_has_not_sent(
    #[case] send: Send,
    #[values(0, 1)] capacity: usize,
) {
    alone(|| {
        let (sender, receiver) = bounded(capacity);
        (0..capacity).for_each(|_| sender.send(0).unwrap());
        let [first, second] = [1, 2].map(|number| {
            let sender = sender.clone();
            start(move || send(&sender, number))
        });
        first.cancel();
        assert_cancelled(first.join());
        (0..capacity).for_each(|_| assert_eq!(receiver.recv(), Ok(0)));
        assert_eq!(receiver.recv(), Ok(2));
        second.join().unwrap().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_timeout_around_a_wait_ends_it(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (sender, receiver) = bounded::<u32>(0);
        assert!(timeout(SHORT, || receiver.recv()).is_err());
        assert!(timeout(SHORT, || sender.send(1)).is_err());
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    });
}

#[rstest]
#[case::recv(recv)]
#[case::recv_timeout(recv_timeout)]
#[case::recv_deadline(recv_deadline)]
#[case::iter(next)]
#[timeout(LIMIT)]
fn a_cancelled_receiver_that_never_waits_loses_no_message(#[case] recv: Recv) {
    alone(|| {
        const COUNT: usize = 100_000;
        let (sender, receiver) = unbounded();
        (0..COUNT).for_each(|_| sender.send(1).unwrap());
        let received = Rc::new(Cell::new(0));
        let (messages, count) = (receiver.clone(), received.clone());
        let receiving = spawn_local(move || {
            loop {
                recv(&messages).unwrap();
                count.set(count.get() + 1);
            }
        });
        wait_until(|| received.get() > 0);
        receiving.cancel();
        assert_cancelled(receiving.join());
        assert_eq!(receiver.len() + received.get(), COUNT);
    });
}

#[rstest]
#[case::send(send)]
#[case::send_timeout(send_timeout)]
#[case::send_deadline(send_deadline)]
#[timeout(LIMIT)]
fn a_cancelled_sender_that_never_waits_knows_what_it_has_sent(#[case] send: Send) {
    alone(|| {
        let (sender, receiver) = bounded(1_000_000);
        let sent = Rc::new(Cell::new(0));
        let count = sent.clone();
        let sending = spawn_local(move || {
            loop {
                send(&sender, 1).unwrap();
                count.set(count.get() + 1);
            }
        });
        wait_until(|| sent.get() > 0);
        sending.cancel();
        assert_cancelled(sending.join());
        assert_eq!(receiver.len(), sent.get());
    });
}

// Ends and messages that are dropped.

/// A message that is counted while it is alive.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Counted {
        alive.fetch_add(1, Ordering::Relaxed);
        Counted(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[rstest]
#[case::sender_first(true)]
#[case::receiver_first(false)]
fn messages_are_dropped_with_the_last_receiver(
    #[case] sender_first: bool,
    #[values(Some(5), None)] capacity: Option<usize>,
) {
    let alive = Arc::default();
    let (sender, receiver) = channel_of(capacity);
    (0..5).for_each(|_| sender.send(Counted::new(&alive)).unwrap());
    drop(receiver.recv());
    let count = || alive.load(Ordering::Relaxed);
    assert_eq!(count(), 4);
    if sender_first {
        drop(sender);
        assert_eq!(count(), 4);
        drop(receiver);
    } else {
        drop(receiver);
        assert_eq!((count(), sender.len()), (0, 0));
        assert!(sender.send(Counted::new(&alive)).is_err());
    }
    assert_eq!(count(), 0);
}

#[rstest]
#[timeout(LIMIT)]
fn a_message_may_use_its_own_channel_when_it_is_dropped() {
    struct Last(Sender<Option<Last>>);
    impl Drop for Last {
        fn drop(&mut self) {
            assert!(self.0.try_send(None).is_err());
        }
    }
    let (sender, receiver) = bounded(2);
    sender.send(Some(Last(sender.clone()))).unwrap();
    drop(receiver);
    assert_eq!(sender.len(), 0);
}

#[test]
#[cfg_attr(feature = "asan", ignore = "leaks on purpose")]
fn after_a_message_that_panics_when_it_is_dropped_the_rest_is_leaked() {
    struct Panics<'a>(&'a AtomicUsize);
    impl Drop for Panics<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("dropped");
        }
    }
    let dropped = AtomicUsize::new(0);
    let (sender, receiver) = bounded(2);
    assert!(sender.send(Panics(&dropped)).is_ok() && sender.send(Panics(&dropped)).is_ok());
    let result = catch_unwind(AssertUnwindSafe(|| drop(receiver)));
    assert!(result.is_err());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(sender))).is_ok());
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_is_struck_while_it_sends_drops_its_message() {
    alone(|| {
        let alive = Arc::default();
        let (sender, receiver) = bounded(0);
        let message = Counted::new(&alive);
        let sending = start(move || sender.send(message));
        sending.cancel();
        assert_cancelled(sending.join());
        assert_eq!(alive.load(Ordering::Relaxed), 0);
        assert!(receiver.recv().is_err());
    });
}

#[test]
fn handles_of_one_channel_are_the_same() {
    let ((sender, receiver), other) = (bounded::<u32>(1), bounded(1));
    assert!(sender.same_channel(&sender.clone()) && !sender.same_channel(&other.0));
    assert!(receiver.same_channel(&receiver.clone()) && !receiver.same_channel(&other.1));
    assert!(never::<u32>().same_channel(&never()));
    assert!(!after(ENDLESS).same_channel(&after(ENDLESS)));
}

// Clocks.

/// What a receiver tells of itself.
type Shown = (usize, bool, bool, Option<usize>, Option<Instant>);

#[rstest]
#[case::at_before(Some(false), None)]
#[case::at_later(Some(true), None)]
#[case::after_now(None, Some(Duration::ZERO))]
#[case::after_long(None, Some(ENDLESS))]
#[case::after_ever(None, Some(Duration::MAX))]
fn clocks_show_what_those_of_crossbeam_show(
    #[case] at_time: Option<bool>,
    #[case] duration: Option<Duration>,
) {
    let now = Instant::now();
    let when = at_time.map(|later| if later { now + ENDLESS } else { now });
    macro_rules! shown {
        ($library:ident) => {{
            let once = match (when, duration) {
                (Some(when), _) => $library::at(when),
                (None, Some(duration)) => $library::after(duration),
                (None, None) => unreachable!(),
            };
            let often = duration.map_or_else($library::never, $library::tick);
            [once, often, $library::never()].map(|clock| {
                let show = || {
                    let got = clock.try_recv().ok();
                    // What each has made itself differs.
                    let got = got.map(|due| when.map_or(now, |_| due));
                    (
                        clock.len(),
                        clock.is_empty(),
                        clock.is_full(),
                        clock.capacity(),
                        got,
                    )
                };
                let shown: [Shown; 2] = [show(), show()];
                shown.map(|shown| {
                    if duration == Some(Duration::ZERO) && shown.4.is_some() {
                        // By now the next may be due.
                        (0, true, false, shown.3, shown.4)
                    } else {
                        shown
                    }
                })
            })
        }};
    }
    assert_eq!(shown!(channel), shown!(crossbeam_channel));
}

#[rstest]
#[timeout(LIMIT)]
fn clocks_give_the_times_when_they_were_due(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let when = Instant::now() + SHORT;
        let clock = at(when);
        assert_eq!(clock.recv(), Ok(when));
        assert!(Instant::now() >= when);
        assert_eq!(clock.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        for clock in [at(when + ENDLESS), never()] {
            assert_eq!(clock.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_ticker_that_is_waited_for_keeps_time() {
    alone(|| {
        let ticker = tick(SHORT);
        let mut last = ticker.recv().unwrap();
        // If it came late, because the processor was busy, the next one comes later still; but not always.
        let in_time = (0..1000).any(|_| {
            let due = ticker.recv().unwrap();
            due == std::mem::replace(&mut last, due) + SHORT
        });
        assert!(in_time);
    });
}

#[test]
fn ticks_that_nobody_takes_do_not_heap_up() {
    let ticker = tick(SHORT);
    std::thread::sleep(3 * SHORT);
    let before = Instant::now();
    assert_eq!(ticker.len(), 1);
    assert!(ticker.try_recv().unwrap() <= before);
    assert!(ticker.recv().unwrap() >= before + SHORT);
}

#[rstest]
#[timeout(LIMIT)]
fn each_tick_goes_to_one_of_those_who_wait() {
    let ticker = tick(SHORT);
    let start = Instant::now();
    let waiting: Vec<_> = [Kind::Green, Kind::Os, Kind::Green, Kind::Os]
        .map(|kind| {
            let ticker = ticker.clone();
            kind.spawn(move || ticker.recv().unwrap())
        })
        .into_iter()
        .map(|waiting| waiting.join())
        .collect();
    let mut sorted = waiting.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 4, "{waiting:?}");
    assert!(start.elapsed() >= 3 * SHORT);
}

// Stress.

/// Sends or receives at random until it is cancelled; counts what was sent and received, and no more.
fn work(
    seed: u64,
    ends: &[(Sender<Counted>, Receiver<Counted>)],
    alive: &Arc<AtomicUsize>,
    balance: &[AtomicUsize; 2],
) {
    let mut random = Xorshift(seed);
    loop {
        let choice = random.next() >> 20;
        let (sender, receiver) = &ends[choice as usize % ends.len()];
        let short = Duration::from_micros(choice >> 16 & 63);
        let (side, done) = match choice >> 8 & 7 {
            0 => (0, sender.try_send(Counted::new(alive)).is_ok()),
            1 => (0, sender.send_timeout(Counted::new(alive), short).is_ok()),
            2 | 3 => (0, sender.send(Counted::new(alive)).is_ok()),
            4 => (1, receiver.try_recv().is_ok()),
            5 => (1, receiver.recv_timeout(short).is_ok()),
            _ => (1, receiver.recv().is_ok()),
        };
        balance[side].fetch_add(usize::from(done), Ordering::Relaxed);
    }
}

#[rstest]
#[timeout(LIMIT)]
fn nothing_is_lost_to_cancellations(
    #[values(Some(0), Some(1), Some(2), None)] capacity: Option<usize>,
    #[values(1, 3)] workers: usize,
) {
    let mut random = Xorshift(7 + workers as u64);
    for round in 0..stress() {
        let runtime = Builder::new().workers(workers).build().unwrap();
        let ends = [(); 2].map(|()| channel_of(capacity));
        let (alive, balance) = (Arc::default(), Arc::new([const { AtomicUsize::new(0) }; 2]));
        for wave in 0..10 {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let seed = 1 + number + 8 * (wave + 10 * round);
                    let (ends, alive, balance) =
                        (ends.clone(), Arc::clone(&alive), balance.clone());
                    runtime.spawn(move || work(seed, &ends, &alive, &balance))
                })
                .collect();
            for thread in threads {
                std::thread::sleep(Duration::from_micros(random.next() >> 54));
                thread.cancel();
                assert_cancelled(thread.join());
            }
        }
        let left: usize = ends.iter().map(|(_, receiver)| receiver.len()).sum();
        let [sent, received] = [0, 1].map(|side| balance[side].load(Ordering::Relaxed));
        assert_eq!(sent, received + left);
        assert_eq!(alive.load(Ordering::Relaxed), left);
        drop(ends);
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }
}
