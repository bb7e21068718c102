//! Models of `sync/oneshot.rs`. A value that is lost is found by loom, as a leak.

use std::time::Duration;

use loom::sync::Arc as Value;
use loom::thread;

use crate::surroundings::{Ended, interrupted};
use crate::sync::oneshot;

fn value() -> Value<u32> {
    Value::new(42)
}

#[test]
fn what_is_sent_is_received() {
    std::model(3, || {
        let (sender, receiver) = oneshot::channel();
        let sends = thread::spawn(move || sender.send(value()).unwrap());
        assert_eq!(*receiver.recv().unwrap(), 42);
        sends.join().unwrap();
    });
}

#[test]
fn the_receiver_learns_that_the_sender_has_gone() {
    std::model(3, || {
        let (sender, receiver) = oneshot::channel::<Value<u32>>();
        let goes = thread::spawn(move || drop(sender));
        receiver.recv().unwrap_err();
        goes.join().unwrap();
    });
}

#[test]
fn the_sender_learns_that_the_receiver_has_gone() {
    std::model(3, || {
        let (mut sender, receiver) = oneshot::channel();
        let goes = thread::spawn(move || drop(receiver));
        sender.closed();
        sender.send(value()).unwrap_err();
        goes.join().unwrap();
    });
}

#[test]
fn a_value_that_nobody_receives_is_returned_or_dropped() {
    std::model(3, || {
        let (sender, receiver) = oneshot::channel();
        let sends = thread::spawn(move || drop(sender.send(value())));
        drop(receiver);
        sends.join().unwrap();
    });
}

#[test]
fn a_value_is_received_after_closing_or_returned() {
    std::model(3, || {
        let (sender, mut receiver) = oneshot::channel();
        let sends = thread::spawn(move || sender.send(value()).is_ok());
        receiver.close();
        let received = receiver.try_recv().is_ok();
        assert_eq!(sends.join().unwrap(), received);
    });
}

#[test]
fn a_receiver_whose_time_is_over_receives_later() {
    std::model(3, || {
        let (sender, mut receiver) = oneshot::channel();
        let sends = thread::spawn(move || sender.send(value()).unwrap());
        let early = receiver.recv_timeout(Duration::ZERO);
        let received = early.or_else(|_| receiver.recv());
        assert_eq!(*received.unwrap(), 42);
        sends.join().unwrap();
    });
}

#[test]
fn a_receiver_that_is_interrupted_has_received_or_not() {
    std::model(3, || {
        let (sender, receiver) = oneshot::channel();
        let sends = thread::spawn(move || sender.send(value()).is_ok());
        let received = interrupted(|| receiver.recv().is_ok());
        let sent = sends.join().unwrap();
        if let Ended::Returned(received) = received {
            assert!(received);
            assert!(sent);
        }
    });
}

#[test]
fn a_sender_that_is_interrupted_may_still_send() {
    std::model(3, || {
        let (mut sender, receiver) = oneshot::channel::<Value<u32>>();
        let receives = thread::spawn(move || *receiver.recv().unwrap());
        assert_eq!(interrupted(|| sender.closed()), Ended::Interrupted);
        sender.send(value()).unwrap();
        assert_eq!(receives.join().unwrap(), 42);
    });
}
