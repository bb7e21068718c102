//! `select!` and `Select`: which operation is chosen, what the others leave behind, and what becomes of a choice that is not carried out.
#![cfg(feature = "runtime")]

mod util;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::runtime::{Builder, LocalRuntime};
use corde::sync::channel::{
    Receiver, RecvError, Select, SelectTimeoutError, SelectedOperation, Sender, TryRecvError,
    TrySendError, after, at, bounded, never, tick, unbounded,
};
use corde::thread::{self, Cancelled, LocalJoinHandle, spawn_local, yield_now};
use corde::time::timeout;
use corde::{select, select_biased};
use rstest::rstest;
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, scaled, stress};

const SHORT: Duration = Duration::from_millis(2);

/// Longer than any test may take.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

/// Lets the others on this OS thread go on until they all wait.
fn settle() {
    for _ in 0..20 {
        yield_now();
    }
}

/// Starts a green thread on this OS thread, and lets it run until it waits.
fn start<T: 'static>(body: impl FnOnce() -> T + 'static) -> LocalJoinHandle<T> {
    let thread = spawn_local(body);
    settle();
    thread
}

#[track_caller]
fn assert_cancelled<T>(result: thread::Result<T>) {
    let payload = result.map(drop).expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}

// What is chosen.

#[rstest]
#[timeout(LIMIT)]
fn the_case_that_need_not_wait_is_chosen_and_the_others_have_no_effect() {
    let not_made = || -> u32 { panic!("the message of one that is not chosen is not made") };
    let (full, empty, ready) = (bounded(1), unbounded::<u32>(), bounded(1));
    full.0.send(1).unwrap();
    ready.0.send(2).unwrap();
    for _ in 0..100 {
        let chosen = select! {
            send(full.0, not_made()) -> _ => 0,
            recv(empty.1) -> _ => 0,
            recv(ready.1) -> message => message.unwrap(),
        };
        ready.0.send(chosen).unwrap();
        assert_eq!((chosen, full.1.len(), empty.1.len()), (2, 1, 0));
    }
}

#[rstest]
#[timeout(LIMIT)]
fn of_several_ready_cases_each_is_chosen_sometimes() {
    let ends: Vec<_> = (0..4).map(|_| unbounded()).collect();
    let (mut by_macro, mut by_list) = ([0; 4], [0; 4]);
    for _ in 0..1000 {
        for (sender, receiver) in &ends {
            sender.try_send(()).unwrap();
            sender.try_send(()).unwrap();
            assert_eq!(receiver.len(), 2);
        }
        let chosen = select! {
            recv(ends[0].1) -> _ => 0,
            recv(ends[1].1) -> _ => 1,
            recv(ends[2].1) -> _ => 2,
            recv(ends[3].1) -> _ => 3,
        };
        by_macro[chosen] += 1;
        let mut select = Select::new();
        ends.iter().for_each(|(_, receiver)| {
            select.recv(receiver);
        });
        let operation = select.select();
        let chosen = operation.index();
        operation.recv(&ends[chosen].1).unwrap();
        by_list[chosen] += 1;
        ends.iter()
            .for_each(|(_, receiver)| receiver.try_iter().for_each(drop));
    }
    // 250 are expected, with a standard deviation of 14.
    for count in by_macro.into_iter().chain(by_list) {
        assert!((125..=375).contains(&count), "{by_macro:?} {by_list:?}");
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_biased_selection_chooses_the_first_that_is_ready() {
    let (first, second, third) = (unbounded(), unbounded(), unbounded());
    for _ in 0..50 {
        second.0.send(2).unwrap();
        third.0.send(3).unwrap();
        let chosen = select_biased! {
            recv(first.1) -> message => message,
            recv(second.1) -> message => message,
            recv(third.1) -> message => message,
            default => Ok(0),
        };
        assert_eq!(chosen, Ok(2));
        let mut select = Select::new_biased();
        let removed = select.recv(&third.1);
        select.recv(&first.1);
        select.recv(&third.1);
        select.remove(removed);
        let operation = select.select();
        assert_eq!((operation.index(), operation.recv(&third.1)), (2, Ok(3)));
    }
}

#[rstest]
#[timeout(LIMIT)]
fn one_handle_may_be_in_several_cases() {
    alone(|| {
        let (sender, receiver) = bounded(0);
        let selecting = start(move || {
            select! {
                recv(receiver) -> message => message,
                recv(receiver) -> message => message,
            }
        });
        sender.send(7).unwrap();
        assert_eq!(selecting.join().unwrap(), Ok(7));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_selection_does_not_meet_itself() {
    let (sender, receiver) = bounded(0);
    let meets = select! {
        send(sender, 1) -> _ => true,
        recv(receiver) -> _ => true,
        default(SHORT) => false,
    };
    assert!(!meets);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

#[rstest]
#[case::try_select(|select: &mut Select<'_>| select.try_select().err().map(|_| ()))]
#[case::select_timeout(|select: &mut Select<'_>| select.select_timeout(SHORT).err().map(|_| ()))]
#[case::select_deadline(|select: &mut Select<'_>| select.select_deadline(Instant::now()).err().map(|_| ()))]
#[case::try_ready(|select: &mut Select<'_>| select.try_ready().err().map(|_| ()))]
#[case::ready_timeout(|select: &mut Select<'_>| select.ready_timeout(SHORT).err().map(|_| ()))]
#[case::ready_deadline(|select: &mut Select<'_>| select.ready_deadline(Instant::now()).err().map(|_| ()))]
#[timeout(LIMIT)]
fn without_a_ready_case_it_ends_in_time(
    #[case] attempt: fn(&mut Select<'_>) -> Option<()>,
    #[values(true, false)] empty: bool,
) {
    let (sender, receiver) = bounded::<u32>(0);
    let mut select = Select::new();
    if !empty {
        select.send(&sender);
        select.recv(&receiver);
    }
    assert_eq!(attempt(&mut select), Some(()));
}

#[rstest]
#[case::select(|select: &mut Select<'_>| drop(select.select()), "no operations have been added to `Select`")]
#[case::ready(|select: &mut Select<'_>| { select.ready(); }, "no operations have been added to `Select`")]
#[case::remove_unknown(|select: &mut Select<'_>| select.remove(3), "index out of bounds; 3 >= 0")]
fn misuse_panics(#[case] misuse: fn(&mut Select<'_>), #[case] message: &str) {
    assert_eq!(panic_message(|| misuse(&mut Select::new())), message);
}

#[test]
fn an_operation_must_be_completed_with_its_own_end() {
    let (sender, receiver) = bounded(1);
    let other = sender.clone();
    let mut select = Select::new();
    select.send(&sender);
    let operation = select.select();
    let message = panic_message(|| operation.send(&other, 1));
    assert_eq!(message, "passed in a sender that wasn't selected");
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(sender.try_send(2), Ok(()), "the place was given back");
}

#[test]
fn a_list_may_go_to_other_threads() {
    fn assert_send_and_sync<T: Send + Sync>(_: &T) {}
    let (sender, receiver) = unbounded();
    let mut select = Select::new();
    select.recv(&receiver);
    assert_send_and_sync(&select);
    sender.send(1).unwrap();
    std::thread::scope(|scope| {
        let selected = scope.spawn(|| select.select().recv(&receiver));
        assert_eq!(selected.join().unwrap(), Ok(1));
    });
}

// Whoever waits.

/// What a thread waits for, in a channel.
#[derive(Clone, Copy, Debug)]
enum Waits {
    Plainly,
    Selecting,
}

#[rstest]
#[timeout(LIMIT)]
fn receivers_are_served_in_order_whether_they_select_or_not(#[values(0, 1)] capacity: usize) {
    use Waits::{Plainly, Selecting};
    alone(|| {
        let (sender, receiver) = bounded(capacity);
        let order = [Plainly, Selecting, Selecting, Plainly, Plainly, Selecting];
        let waiting = order.map(|how| {
            let receiver = receiver.clone();
            start(move || match how {
                Plainly => receiver.recv(),
                Selecting => select! {
                    recv(never()) -> message => message,
                    recv(receiver) -> message => message,
                },
            })
        });
        (0..6).for_each(|number| sender.send(number).unwrap());
        let got = waiting.map(|waiting| waiting.join().unwrap());
        assert_eq!(got, [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4), Ok(5)]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn senders_are_served_in_order_whether_they_select_or_not(#[values(0, 1)] capacity: usize) {
    use Waits::{Plainly, Selecting};
    alone(|| {
        let (sender, receiver) = bounded(capacity);
        (0..capacity).for_each(|_| sender.send(100).unwrap());
        let order = [Plainly, Plainly, Selecting, Selecting, Selecting];
        let waiting = [0, 1, 2, 3, 4].map(|number| {
            let sender = sender.clone();
            start(move || match order[number] {
                Plainly => sender.send(number),
                Selecting => select! {
                    recv(never::<()>()) -> _ => unreachable!(),
                    send(sender, number) -> sent => sent,
                },
            })
        });
        for number in (0..capacity).map(|_| 100).chain(0..5) {
            assert_eq!(receiver.recv(), Ok(number));
        }
        waiting
            .into_iter()
            .for_each(|waiting| waiting.join().unwrap().unwrap());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_selection_that_waits_is_woken_by_each_kind_of_thread(
    #[values(Kind::Green, Kind::Os)] selecting: Kind,
    #[values(Kind::Green, Kind::Os)] other: Kind,
    #[values(Some(0), Some(1), None)] capacity: Option<usize>,
) {
    let ends = || capacity.map_or_else(unbounded, bounded);
    let (there, back) = (ends(), ends());
    let (sender, receiver) = (there.0, back.1);
    let thread = selecting.spawn(move || {
        let mut sum = 0;
        loop {
            select! {
                recv(there.1) -> message => match message {
                    Ok(number) => {
                        sum += number;
                        select! {
                            send(back.0, number) -> sent => sent.unwrap(),
                            recv(never::<()>()) -> _ => unreachable!(),
                        }
                    }
                    Err(RecvError) => return sum,
                },
                recv(never::<()>()) -> _ => unreachable!(),
            }
        }
    });
    other.run(move || {
        for number in 0..100 {
            sender.send(number).unwrap();
            assert_eq!(receiver.recv(), Ok(number));
        }
    });
    assert_eq!(thread.join(), (0..100).sum());
}

#[rstest]
#[timeout(LIMIT)]
fn the_end_of_the_other_side_is_selected(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(Some(0), Some(1), None)] capacity: Option<usize>,
) {
    let ends = || capacity.map_or_else(unbounded::<u32>, bounded);
    let ((sender, receiver), others) = (ends(), ends());
    let receiving = kind.spawn(move || {
        select! {
            recv(receiver) -> message => message,
            recv(never::<()>()) -> _ => unreachable!(),
        }
    });
    drop(sender);
    assert_eq!(receiving.join(), Err(RecvError));
    if let Some(capacity) = capacity {
        let (sender, receiver) = others;
        (0..capacity).for_each(|_| sender.send(0).unwrap());
        let sending = kind.spawn(move || {
            select! {
                send(sender, 7) -> sent => sent.map_err(|error| error.0),
                recv(never::<()>()) -> _ => unreachable!(),
            }
        });
        drop(receiver);
        assert_eq!(sending.join(), Err(7));
    }
}

#[rstest]
#[timeout(LIMIT)]
fn ten_thousand_that_select_are_all_served() {
    let count = scaled(10_000);
    let (sender, receiver) = bounded(0);
    let (gone, rest) = bounded::<()>(0);
    let served = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let (receiver, rest, served) = (receiver.clone(), rest.clone(), served.clone());
            thread::spawn(move || {
                select! {
                    recv(receiver) -> message => { served.fetch_add(message.unwrap(), Ordering::Relaxed); }
                    recv(rest) -> end => assert!(end.is_err()),
                }
            })
        })
        .collect();
    (0..count / 2).for_each(|_| sender.send(1).unwrap());
    drop(gone);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(served.load(Ordering::Relaxed), count / 2);
}

// Interrupts.

#[rstest]
#[timeout(LIMIT)]
fn a_selection_that_waits_can_be_cancelled_and_leaves_nothing_behind() {
    alone(|| {
        let (a, b) = (bounded(0), bounded(0));
        let (sender, receiver) = (a.0.clone(), b.1.clone());
        let selecting = start(move || {
            select! {
                send(sender, 1) -> _ => (),
                recv(receiver) -> _ => (),
            }
        });
        selecting.cancel();
        assert_cancelled(selecting.join());
        assert_eq!(a.1.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(b.0.try_send(2), Err(TrySendError::Full(2)));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_timeout_around_a_selection_ends_it(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (sender, receiver) = bounded::<()>(0);
    let ended = kind.run(move || timeout(SHORT, || select! { recv(receiver) -> _ => () }).is_err());
    assert!(ended);
    assert!(sender.try_send(()).is_err());
}

#[rstest]
#[timeout(LIMIT)]
fn what_is_handed_over_while_a_cancellation_comes_is_received() {
    alone(|| {
        let (sender, receiver) = bounded(0);
        let got = Rc::new(Cell::new(0));
        let note = got.clone();
        let selecting = start(move || {
            loop {
                select! {
                    recv(receiver) -> message => note.set(message.unwrap()),
                    recv(never::<()>()) -> _ => (),
                }
            }
        });
        // It does not run in between.
        sender.send(7).unwrap();
        selecting.cancel();
        assert_cancelled(selecting.join());
        assert_eq!(got.get(), 7);
    });
}

#[rstest]
#[case::of_the_macro(|receiver: &Receiver<usize>| select! {
    recv(receiver) -> message => message.unwrap(),
    recv(never::<()>()) -> _ => unreachable!(),
})]
#[case::of_the_list(|receiver: &Receiver<usize>| {
    let mut select = Select::new();
    select.recv(receiver);
    select.select().recv(receiver).unwrap()
})]
#[timeout(LIMIT)]
fn a_cancellation_of_one_that_never_waits_loses_no_message(
    #[case] receive: fn(&Receiver<usize>) -> usize,
) {
    alone(|| {
        const COUNT: usize = 100_000;
        let (sender, receiver) = unbounded();
        (0..COUNT).for_each(|number| sender.send(number).unwrap());
        let received = Rc::new(Cell::new(0));
        let (messages, count) = (receiver.clone(), received.clone());
        let receiving = spawn_local(move || {
            loop {
                assert_eq!(receive(&messages), count.get());
                count.set(count.get() + 1);
            }
        });
        while received.get() == 0 {
            yield_now();
        }
        receiving.cancel();
        assert_cancelled(receiving.join());
        assert_eq!(receiver.len() + received.get(), COUNT);
    });
}

// Sender and receiver that meet: the one has no message yet, the other waits for it.

/// How a receiver meets a selection that wants to send.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meets {
    Recv,
    RecvTimeout,
    TryRecv,
    Selecting,
}

fn receive(how: Meets, receiver: &Receiver<u32>, patience: Duration) -> Option<u32> {
    match how {
        Meets::Recv => receiver.recv().ok(),
        Meets::RecvTimeout => receiver.recv_timeout(patience).ok(),
        Meets::TryRecv => receiver.try_recv().ok(),
        Meets::Selecting => select! {
            recv(receiver) -> message => message.ok(),
            recv(never()) -> message => message.ok(),
        },
    }
}

/// What a receiver got, in order.
type Got = Rc<RefCell<Vec<Option<u32>>>>;

/// Starts both, in this order, so that they meet, and have the sender call `make` for its message.
fn meet(
    how: Meets,
    sender_first: bool,
    patience: Duration,
    make: impl FnOnce() -> u32 + 'static,
) -> (LocalJoinHandle<bool>, LocalJoinHandle<()>, Got) {
    let (sender, receiver) = bounded(0);
    let stays_connected = sender.clone();
    let got = Got::default();
    let send = move || {
        select! {
            send(sender, make()) -> sent => sent.is_ok(),
            recv(never::<()>()) -> _ => false,
        }
    };
    let note = got.clone();
    let recv = move || {
        let _stays_connected = stays_connected;
        let received = receive(how, &receiver, patience);
        note.borrow_mut().push(received);
        // Here it can be struck.
        thread::sleep(Duration::ZERO);
        yield_now();
    };
    if sender_first {
        let sending = start(send);
        (sending, start(recv), got)
    } else {
        let receiving = start(recv);
        (start(send), receiving, got)
    }
}

#[rstest]
#[case::recv(Meets::Recv)]
#[case::selecting(Meets::Selecting)]
#[timeout(LIMIT)]
fn a_receiver_that_was_chosen_for_gets_its_message_though_it_is_cancelled(
    #[case] how: Meets,
    #[values(true, false)] sender_first: bool,
) {
    alone(|| {
        let go_on = Rc::new(Cell::new(false));
        let may = go_on.clone();
        let (sending, receiving, got) = meet(how, sender_first, ENDLESS, move || {
            wait_until(|| may.get());
            7
        });
        receiving.cancel();
        settle();
        assert!(
            !receiving.is_finished(),
            "it waits for what it was promised"
        );
        go_on.set(true);
        assert!(sending.join().unwrap(), "who has chosen to send does so");
        assert_cancelled(receiving.join());
        assert_eq!(*got.borrow(), [Some(7)]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_receiver_that_was_chosen_for_gets_its_message_though_its_time_is_over(
    #[values(true, false)] sender_first: bool,
) {
    alone(|| {
        let until = Instant::now() + 3 * SHORT;
        let (sending, receiving, got) = meet(Meets::RecvTimeout, sender_first, SHORT, move || {
            // Its timer comes after that of the receiver.
            thread::sleep_until(until);
            7
        });
        assert!(sending.join().unwrap(), "who has chosen to send does so");
        receiving.join().unwrap();
        assert_eq!(*got.borrow(), [Some(7)]);
    });
}

#[rstest]
#[case::recv_timeout(Meets::RecvTimeout, true)]
#[case::recv_timeout_before(Meets::RecvTimeout, false)]
#[case::try_recv(Meets::TryRecv, true)]
#[timeout(LIMIT)]
fn a_receiver_goes_on_when_the_message_panics(#[case] how: Meets, #[case] sender_first: bool) {
    alone(|| {
        let (sending, receiving, got) = meet(how, sender_first, SHORT, || {
            yield_now();
            panic_quietly()
        });
        assert!(is_quiet_panic(&*sending.join().unwrap_err()));
        receiving.join().unwrap();
        assert_eq!(*got.borrow(), [None]);
    });
}

#[rstest]
#[case::recv(Meets::Recv)]
#[case::selecting(Meets::Selecting)]
#[timeout(LIMIT)]
fn a_receiver_takes_another_message_when_the_first_panics(
    #[case] how: Meets,
    #[values(true, false)] sender_first: bool,
) {
    alone(|| {
        let (sender, receiver) = bounded(0);
        let (broken, own) = (sender.clone(), receiver.clone());
        let break_off = || -> u32 {
            yield_now();
            panic_quietly()
        };
        let send = move || {
            select! {
                send(broken, break_off()) -> _ => (),
                recv(never::<()>()) -> _ => (),
            }
        };
        let recv = move || receive(how, &own, ENDLESS);
        let (sending, receiving) = if sender_first {
            let sending = start(send);
            (sending, start(recv))
        } else {
            let receiving = start(recv);
            (start(send), receiving)
        };
        assert!(is_quiet_panic(&*sending.join().unwrap_err()));
        sender.send(8).unwrap();
        assert_eq!(receiving.join().unwrap(), Some(8));
        assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_message_expression_may_select_on_the_same_channel() {
    alone(|| {
        let (sender, receiver) = bounded(2);
        sender.send(1).unwrap();
        select! {
            send(sender, select! { recv(receiver) -> message => message.unwrap() + 10 }) -> sent => sent.unwrap(),
        }
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [11]);
    });
}

#[test]
fn two_operations_that_were_selected_at_once_keep_their_own() {
    let (sender, receiver) = unbounded();
    (1..=3).for_each(|number| sender.send(number).unwrap());
    let mut select = Select::new();
    select.recv(&receiver);
    let (first, second) = (select.select(), select.select());
    assert_eq!(second.recv(&receiver), Ok(2));
    assert_eq!(first.recv(&receiver), Ok(1));
    assert_eq!(receiver.recv(), Ok(3));
}

// Operations that are given back.

#[test]
fn a_message_that_is_not_taken_stays_the_next_one() {
    let (sender, receiver) = bounded(2);
    (1..=2).for_each(|number| sender.send(number).unwrap());
    let mut select = Select::new();
    select.recv(&receiver);
    let message = panic_message(|| drop(select.select()));
    let expected = "dropped `SelectedOperation` without completing the operation";
    assert_eq!(message, expected);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[rstest]
#[timeout(LIMIT)]
fn a_message_that_is_not_taken_goes_to_a_receiver_that_waits() {
    alone(|| {
        let (sender, receiver) = bounded(1);
        sender.send(1).unwrap();
        let mut select = Select::new();
        select.recv(&receiver);
        let operation = select.select();
        let other = receiver.clone();
        let waiting = start(move || other.recv());
        panic_message(|| drop(operation));
        assert_eq!(waiting.join().unwrap(), Ok(1));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_place_that_is_not_taken_goes_to_a_sender_that_waits(
    #[values(Waits::Plainly, Waits::Selecting)] how: Waits,
) {
    alone(|| {
        let (sender, receiver) = bounded(1);
        let mut select = Select::new();
        select.send(&sender);
        let operation = select.select();
        assert!(sender.is_full(), "its place is kept");
        assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
        let other = sender.clone();
        let waiting = start(move || match how {
            Waits::Plainly => other.send(2).unwrap(),
            Waits::Selecting => select! { send(other, 2) -> sent => sent.unwrap() },
        });
        assert!(!waiting.is_finished());
        panic_message(|| drop(operation));
        waiting.join().unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [2]);
        assert_eq!(sender.try_send(3), Ok(()), "no place is lost");
        assert_eq!(sender.try_send(4), Err(TrySendError::Full(4)), "nor made");
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_receiver_that_was_promised_to_a_sender_that_gives_up_waits_on() {
    alone(|| {
        let (sender, receiver) = bounded(0);
        let waiting = start(move || receiver.recv());
        let mut select = Select::new();
        select.send(&sender);
        let operation = select.select();
        assert_eq!(
            sender.try_send(1),
            Err(TrySendError::Full(1)),
            "it is promised"
        );
        panic_message(|| drop(operation));
        settle();
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(waiting.join().unwrap(), Ok(2));
    });
}

#[test]
fn what_was_selected_and_then_disconnected_is_an_error_or_still_there() {
    let (sender, receiver) = bounded(1);
    let mut select = Select::new();
    select.send(&sender);
    let operation = select.select();
    drop(receiver);
    assert_eq!(operation.send(&sender, 1).unwrap_err().0, 1);

    let (sender, receiver) = bounded(1);
    sender.send(2).unwrap();
    let mut select = Select::new();
    select.recv(&receiver);
    let operation = select.select();
    drop(sender);
    assert_eq!(operation.recv(&receiver), Ok(2));
    assert_eq!(select.select().recv(&receiver), Err(RecvError));
}

#[test]
fn an_operation_that_is_forgotten_drops_its_message_with_the_channel() {
    let message = Arc::new(());
    let (sender, receiver) = bounded(1);
    sender.send(message.clone()).unwrap();
    let mut select = Select::new();
    select.recv(&receiver);
    std::mem::forget(select.select());
    assert_eq!(receiver.try_recv().err(), Some(TryRecvError::Empty));
    drop((sender, receiver));
    assert_eq!(Arc::strong_count(&message), 1);
}

// Readiness.

/// Starts a thread that waits until one end is ready.
fn watch<T: 'static>(side: Watched<T>, order: &Rc<RefCell<Vec<u32>>>) -> LocalJoinHandle<()> {
    let order = order.clone();
    start(move || {
        let mut select = Select::new();
        match &side {
            Watched::Send(sender) => select.send(sender),
            Watched::Recv(receiver) => select.recv(receiver),
        };
        assert_eq!(select.ready(), 0);
        let mut order = order.borrow_mut();
        let place = order.len() as u32;
        order.push(place);
    })
}

enum Watched<T> {
    Send(Sender<T>),
    Recv(Receiver<T>),
}

#[rstest]
#[timeout(LIMIT)]
fn who_watches_takes_nothing() {
    alone(|| {
        let (sender, receiver) = bounded(0);
        let order = Rc::default();
        let watching = watch(Watched::Recv(receiver.clone()), &order);
        assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
        let sent = select! {
            send(sender, 2) -> _ => true,
            default => false,
        };
        assert!(!sent, "nobody receives");
        settle();
        assert!(!watching.is_finished());

        let sending = start({
            let sender = sender.clone();
            move || sender.send(3).unwrap()
        });
        watching.join().unwrap();
        assert!(!sending.is_finished(), "nobody has received");
        assert_eq!((receiver.len(), receiver.try_recv()), (0, Ok(3)));
        sending.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_watches_for_a_receiver_is_told_of_one_that_comes(
    #[values(Waits::Plainly, Waits::Selecting)] how: Waits,
) {
    alone(|| {
        let (sender, receiver) = bounded(0);
        let order = Rc::default();
        let watching = [(); 2].map(|()| watch(Watched::Send(sender.clone()), &order));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        let receiving = start(move || match how {
            Waits::Plainly => receiver.recv(),
            Waits::Selecting => select! { recv(receiver) -> message => message },
        });
        watching
            .into_iter()
            .for_each(|watching| watching.join().unwrap());
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(receiving.join().unwrap(), Ok(1));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn all_who_watch_are_told_of_one_message(#[values(Some(1), None)] capacity: Option<usize>) {
    alone(|| {
        let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
        let order = Rc::default();
        let watching = [(); 5].map(|()| watch(Watched::Recv(receiver.clone()), &order));
        sender.send(1).unwrap();
        watching
            .into_iter()
            .for_each(|watching| watching.join().unwrap());
        assert_eq!(receiver.try_recv(), Ok(1));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn all_who_watch_are_told_of_one_place() {
    alone(|| {
        let (sender, receiver) = bounded(1);
        sender.send(1).unwrap();
        let order = Rc::default();
        let watching = [(); 5].map(|()| watch(Watched::Send(sender.clone()), &order));
        settle();
        assert!(watching.iter().all(|watching| !watching.is_finished()));
        assert_eq!(receiver.recv(), Ok(1));
        watching
            .into_iter()
            .for_each(|watching| watching.join().unwrap());
        assert_eq!(sender.try_send(2), Ok(()));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn one_that_watches_and_is_cancelled_passes_on_what_it_was_told() {
    alone(|| {
        let (sender, receiver) = bounded(1);
        let order = Rc::default();
        let [first, second] = [(); 2].map(|()| watch(Watched::Recv(receiver.clone()), &order));
        sender.send(1).unwrap();
        first.cancel();
        second.join().unwrap();
        drop(first.join());
        assert_eq!(receiver.try_recv(), Ok(1));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn who_watches_is_told_of_the_end_of_the_other_side() {
    alone(|| {
        let order = Rc::default();
        let (sender, receiver) = bounded::<()>(0);
        let watching = [(); 3].map(|()| watch(Watched::Recv(receiver.clone()), &order));
        drop(sender);
        watching
            .into_iter()
            .for_each(|watching| watching.join().unwrap());
        let (sender, receiver) = bounded::<()>(0);
        let watching = [(); 3].map(|()| watch(Watched::Send(sender.clone()), &order));
        drop(receiver);
        watching
            .into_iter()
            .for_each(|watching| watching.join().unwrap());
    });
}

// Clocks.

#[rstest]
#[timeout(LIMIT)]
fn clocks_are_selected_when_they_are_due() {
    let start = Instant::now();
    let (once, due, often) = (after(3 * SHORT), at(start + 5 * SHORT), tick(2 * SHORT));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let when = select! {
            recv(once) -> when => { seen.push("after"); when },
            recv(due) -> when => { seen.push("at"); when },
            recv(often) -> when => when,
        };
        assert!(when.unwrap() <= Instant::now());
    }
    assert!(start.elapsed() >= 5 * SHORT);
    seen.sort_unstable();
    assert_eq!(seen, ["after", "at"]);
}

#[rstest]
#[timeout(LIMIT)]
fn a_selection_ends_in_time_though_there_is_a_clock() {
    let (once, often) = (after(ENDLESS), tick(ENDLESS));
    let mut select = Select::new();
    select.recv(&once);
    select.recv(&often);
    assert_eq!(select.select_timeout(SHORT).err(), Some(SelectTimeoutError));
    assert!(select.ready_timeout(SHORT).is_err());
}

// Stress.

/// A message that is counted while it is alive.
struct Counted {
    alive: Arc<AtomicUsize>,
    number: u64,
}

impl Counted {
    fn new(alive: &Arc<AtomicUsize>, number: u64) -> Counted {
        alive.fetch_add(1, Ordering::Relaxed);
        let alive = alive.clone();
        Counted { alive, number }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

type Ends = (Sender<Counted>, Receiver<Counted>);

/// What threads have sent, and what they have received: how many, and the sum of their numbers.
#[derive(Default)]
struct Account {
    sent: [AtomicUsize; 2],
    received: [AtomicUsize; 2],
}

impl Account {
    fn add(side: &[AtomicUsize; 2], number: u64) {
        side[0].fetch_add(1, Ordering::Relaxed);
        side[1].fetch_add(number as usize, Ordering::Relaxed);
    }
}

/// One that selects over both ends of all channels at random, for so many rounds.
fn trade(seed: u64, channels: &[Ends], account: &Account, alive: &Arc<AtomicUsize>) {
    let mut random = Xorshift(seed);
    for round in 0..200 {
        let number = random.next() >> 40;
        let choice = random.next() >> 20;
        let at = |shift: u32| &channels[(choice >> shift) as usize % channels.len()];
        let (to, from, other) = (at(0), at(8), at(16));
        let make = || {
            if choice & (1 << 30) != 0 {
                yield_now();
            }
            Counted::new(alive, number)
        };
        let took = |message: Result<Counted, RecvError>| {
            Account::add(&account.received, message.unwrap().number);
        };
        let sent = |result: Result<(), _>| {
            assert!(result.is_ok());
            Account::add(&account.sent, number);
        };
        let short = Duration::from_micros(choice >> 32 & 63);
        match choice >> 24 & 7 {
            0 => select! {
                send(to.0, make()) -> result => sent(result),
                recv(from.1) -> message => took(message),
                recv(other.1) -> message => took(message),
                default => (),
            },
            1 => {
                if let Ok(message) = from.1.recv_timeout(short) {
                    took(Ok(message));
                }
            }
            2 => {
                if to.0.send_timeout(make(), short).is_ok() {
                    Account::add(&account.sent, number);
                }
            }
            3 => {
                let mut select = Select::new();
                select.send(&to.0);
                select.recv(&from.1);
                match select.ready_timeout(short) {
                    Ok(0) => {
                        if to.0.try_send(make()).is_ok() {
                            Account::add(&account.sent, number);
                        }
                    }
                    Ok(_) => {
                        if let Ok(message) = from.1.try_recv() {
                            took(Ok(message));
                        }
                    }
                    Err(_) => {}
                }
            }
            4 if round % 16 == 0 => {
                // A choice that is not carried out.
                let mut select = Select::new();
                select.send(&to.0);
                select.recv(&from.1);
                if let Ok(operation) = select.select_timeout(short) {
                    let dropped = catch_unwind(AssertUnwindSafe(|| {
                        let _operation = operation;
                        panic_quietly()
                    }));
                    drop(dropped);
                }
            }
            _ => select! {
                send(to.0, make()) -> result => sent(result),
                send(other.0, make()) -> result => sent(result),
                recv(from.1) -> message => took(message),
                recv(other.1) -> message => took(message),
                default(short) => (),
            },
        }
    }
}

#[rstest]
#[case::rendezvous(&[Some(0), Some(0)])]
#[case::one(&[Some(1), Some(1)])]
#[case::mixed(&[Some(0), Some(1), Some(2), None])]
#[timeout(LIMIT)]
fn all_that_was_sent_is_received_or_left(
    #[case] capacities: &[Option<usize>],
    #[values(1, 3)] workers: usize,
) {
    for round in 0..stress() {
        let channels: Vec<Ends> = capacities
            .iter()
            .map(|capacity| capacity.map_or_else(unbounded, bounded))
            .collect();
        let (account, alive) = (Arc::new(Account::default()), Arc::new(AtomicUsize::new(0)));
        let runtime = Builder::new().workers(workers).build().unwrap();
        let body = |seed: u64| {
            let (channels, account, alive) = (channels.clone(), account.clone(), alive.clone());
            move || trade(seed, &channels, &account, &alive)
        };
        let seeds = 20 * round + 1..;
        let green: Vec<_> = seeds
            .clone()
            .take(8)
            .map(|seed| runtime.spawn(body(seed)))
            .collect();
        let os: Vec<_> = seeds
            .skip(8)
            .take(2)
            .map(|seed| std::thread::spawn(body(seed)))
            .collect();
        // Somebody is there for whoever has made a choice that another has given back.
        let done = Arc::new(AtomicUsize::new(0));
        let sweep = std::thread::spawn({
            let (channels, account, alive) = (channels.clone(), account.clone(), alive.clone());
            let done = done.clone();
            move || {
                while done.load(Ordering::Acquire) == 0 {
                    for (sender, receiver) in &channels {
                        let pause = Duration::from_micros(200);
                        if let Ok(message) = receiver.recv_timeout(pause) {
                            Account::add(&account.received, message.number);
                        }
                        if sender.send_timeout(Counted::new(&alive, 1), pause).is_ok() {
                            Account::add(&account.sent, 1);
                        }
                    }
                }
            }
        });
        green.into_iter().for_each(|thread| thread.join().unwrap());
        os.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(1, Ordering::Release);
        sweep.join().unwrap();
        for (_, receiver) in &channels {
            for message in receiver.try_iter() {
                Account::add(&account.received, message.number);
            }
        }
        let total = |side: &[AtomicUsize; 2]| {
            [&side[0], &side[1]].map(|count| count.load(Ordering::Relaxed))
        };
        assert_eq!(total(&account.sent), total(&account.received));
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }
}

/// As many as with crossbeam, within the default limit on how deep macros nest.
#[test]
fn there_may_be_thirty_two_operations() {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..32).map(|_| bounded(1)).unzip();
    macro_rules! select_of_all {
        ($($index:literal)* $(; $($last:tt)*)?) => {
            select! {
                $(recv(receivers[$index]) -> message => message.unwrap(),)*
                $($($last)*)?
            }
        };
    }
    senders[17].send(3).unwrap();
    let received = select_of_all!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    );
    assert_eq!(received, 3);
    let nothing = select_of_all!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31;
        default => 0,
    );
    assert_eq!(nothing, 0);
    let sent = select_of_all!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30;
        send(senders[31], 4) -> result => { result.unwrap(); 5 }
    );
    assert_eq!(sent, 5);
    assert_eq!(receivers[31].try_recv(), Ok(4));
}

/// What it would wait for may need its worker.
#[rstest]
#[timeout(LIMIT)]
fn one_that_unwinds_does_not_wait_for_the_message_of_a_selection() {
    alone(|| {
        let (sender, receiver) = bounded(0);
        let theirs = receiver.clone();
        let selects = start(move || select! { send(sender, 7) -> result => result });
        let unwinds = start(move || {
            let _empties = OnDrop(|| assert_eq!(theirs.try_recv(), Err(TryRecvError::Empty)));
            panic_quietly();
        });
        unwinds.join().unwrap_err();
        assert_eq!(receiver.try_recv(), Ok(7));
        assert_eq!(selects.join().unwrap(), Ok(()));
    });
}

#[test]
fn they_go_where_crossbeams_go() {
    fn anywhere<T: Send + Sync + Unpin>() {}
    fn unwinds<T: UnwindSafe + RefUnwindSafe + Unpin>() {}
    anywhere::<Select<'static>>();
    unwinds::<SelectedOperation<'static>>();
}
