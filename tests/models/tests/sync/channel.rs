//! Models of `sync/channel/shared.rs`: how messages are handed over, and what happens when an end goes. A message that is lost is found by loom, as a
//! leak.

use std::time::Duration;

use loom::sync::Arc as Message;
use loom::thread;

use crate::surroundings::{Ended, interrupted};
use crate::sync::channel::{Receiver, Sender, bounded, unbounded};

type Ends = (Sender<Message<u32>>, Receiver<Message<u32>>);

/// A test for each of these channels.
macro_rules! each_channel {
    ($($name:ident: $model:ident($($channel:ident $new:expr),*);)*) => {$(
        mod $name {
            use super::*;
            $(
                #[test]
                fn $channel() {
                    $model(|| $new);
                }
            )*
        }
    )*};
}

each_channel! {
    messages_are_received_in_the_order_of_each_sender:
        in_order(of_capacity_0 bounded(0), of_capacity_1 bounded(1), without_bound unbounded());
    what_is_received_makes_room:
        makes_room(of_capacity_1 bounded(1), of_capacity_2 bounded(2));
    receivers_share_what_is_sent:
        shared(of_capacity_0 bounded(0), of_capacity_1 bounded(1), without_bound unbounded());
    receivers_learn_that_the_last_sender_has_gone:
        senders_gone(of_capacity_0 bounded(0), of_capacity_1 bounded(1), without_bound unbounded());
    senders_learn_that_the_last_receiver_has_gone:
        receivers_gone(of_capacity_0 bounded(0), of_capacity_1 bounded(1), without_bound unbounded());
    one_that_is_interrupted_has_received_or_not:
        receiver_leaves(of_capacity_0 bounded(0), of_capacity_1 bounded(1), without_bound unbounded());
    one_that_is_interrupted_has_sent_or_not:
        sender_leaves(of_capacity_0 bounded(0), of_capacity_1 bounded(1));
    one_that_tries_or_has_no_time_loses_nothing:
        tries(of_capacity_0 bounded(0), of_capacity_1 bounded(1), without_bound unbounded());
}

fn in_order(channel: fn() -> Ends) {
    std::model(2, move || {
        let (sender, receiver) = channel();
        let other = sender.clone();
        let sends = [(sender, [10, 11]), (other, [20, 21])].map(|(sender, numbers)| {
            thread::spawn(move || {
                for number in numbers {
                    sender.send(Message::new(number)).unwrap();
                }
            })
        });
        let received: Vec<u32> = receiver.iter().map(|message| *message).collect();
        sends.into_iter().for_each(|it| it.join().unwrap());
        for numbers in [[10, 11], [20, 21]] {
            let of_one = received.iter().filter(|number| numbers.contains(number));
            assert!(of_one.eq(&numbers));
        }
        assert_eq!(received.len(), 4);
    });
}

fn makes_room(channel: fn() -> Ends) {
    std::model(3, move || {
        let (sender, receiver) = channel();
        let capacity = sender.capacity().unwrap();
        let sends = thread::spawn(move || {
            (0..=capacity).for_each(|_| sender.send(Message::new(1)).unwrap());
        });
        drop(receiver.recv().unwrap());
        // Nothing more is received until then.
        sends.join().unwrap();
        assert_eq!(receiver.iter().count(), capacity);
    });
}

fn shared(channel: fn() -> Ends) {
    std::model(2, move || {
        let (sender, receiver) = channel();
        let receive = [receiver.clone(), receiver]
            .map(|receiver| thread::spawn(move || *receiver.recv().unwrap()));
        for number in 1..=2 {
            sender.send(Message::new(number)).unwrap();
        }
        let received = receive.map(|it| it.join().unwrap());
        assert_eq!(received.iter().sum::<u32>(), 3);
    });
}

fn senders_gone(channel: fn() -> Ends) {
    std::model(2, move || {
        let (sender, receiver) = channel();
        let other = sender.clone();
        let receive = [receiver.clone(), receiver]
            .map(|receiver| thread::spawn(move || receiver.iter().count()));
        sender.send(Message::new(1)).unwrap();
        drop(sender);
        drop(other);
        let received = receive.map(|it| it.join().unwrap());
        assert_eq!(received.iter().sum::<usize>(), 1);
    });
}

fn receivers_gone(channel: fn() -> Ends) {
    std::model(2, move || {
        let (sender, receiver) = channel();
        let other = receiver.clone();
        let send = [sender.clone(), sender].map(|sender| {
            thread::spawn(move || (0..3).all(|_| sender.send(Message::new(1)).is_ok()))
        });
        drop(receiver.recv().unwrap());
        drop(receiver);
        drop(other);
        for send in send {
            send.join().unwrap();
        }
    });
}

fn receiver_leaves(channel: fn() -> Ends) {
    std::model(3, move || {
        let (sender, receiver) = channel();
        let other = receiver.clone();
        let leaves = thread::spawn(move || interrupted(|| other.recv().is_ok()));
        let sends = thread::spawn(move || sender.send(Message::new(1)).unwrap());
        let received = receiver.recv().is_ok();
        let other = leaves.join().unwrap() == Ended::Returned(true);
        sends.join().unwrap();
        assert_ne!(received, other, "one of them has it");
    });
}

fn sender_leaves(channel: fn() -> Ends) {
    std::model(3, move || {
        let (sender, receiver) = channel();
        let other = sender.clone();
        let leaves = thread::spawn(move || {
            interrupted(|| (0..2).for_each(|_| other.send(Message::new(1)).unwrap()))
        });
        let sends = thread::spawn(move || sender.send(Message::new(10)).unwrap());
        let received: u32 = receiver.iter().map(|message| *message).sum();
        sends.join().unwrap();
        match leaves.join().unwrap() {
            Ended::Interrupted => assert!(received == 10 || received == 11),
            Ended::Returned(()) => assert_eq!(received, 12),
        }
    });
}

fn tries(channel: fn() -> Ends) {
    std::model(3, move || {
        let (sender, receiver) = channel();
        let other = receiver.clone();
        let late = thread::spawn(move || other.recv_timeout(Duration::ZERO).is_ok());
        let sends = thread::spawn(move || {
            let sent = sender.try_send(Message::new(1)).is_ok();
            let late = sender.send_timeout(Message::new(1), Duration::ZERO).is_ok();
            usize::from(sent) + usize::from(late)
        });
        let early = usize::from(receiver.try_recv().is_ok());
        let rest = receiver.iter().count();
        let late = usize::from(late.join().unwrap());
        assert_eq!(sends.join().unwrap(), early + rest + late);
    });
}
