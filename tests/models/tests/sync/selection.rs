//! Models of selections over `sync/oneshot.rs` and `sync/notify.rs`, with a channel beside them.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::surroundings::{Ended, interrupted, spawn};
use crate::sync::channel::internal::{Case, receiving, select, select_timeout};
use crate::sync::channel::{Receiver, Sender, unbounded};
use crate::sync::notify::{Notify, notified};
use crate::sync::oneshot;

/// What a selection has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Message,
    Other,
    Nothing,
}

fn either_answer(answer: &mut oneshot::Receiver<u32>, messages: &Receiver<()>) -> Chosen {
    let mut taking = receiving(answer);
    let cases = &mut [Case::take(&mut taking, 0), Case::recv(messages, 1)];
    let operation = select(cases, true);
    if operation.index() == 1 {
        operation.recv(messages).unwrap();
        return Chosen::Message;
    }
    operation.done();
    assert_eq!(taking.take(), Ok(42));
    Chosen::Other
}

struct World {
    notify: Notify,
    sender: Sender<()>,
    messages: Receiver<()>,
}

impl World {
    fn new() -> Arc<World> {
        let (sender, messages) = unbounded();
        Arc::new(World {
            notify: Notify::new(),
            sender,
            messages,
        })
    }

    fn either(&self, timeout: Option<Duration>) -> Chosen {
        let notified = notified(&self.notify);
        let cases = &mut [Case::ready(&notified, 0), Case::recv(&self.messages, 1)];
        let operation = match timeout {
            Some(timeout) => select_timeout(cases, true, timeout),
            None => Some(select(cases, true)),
        };
        match operation {
            None => Chosen::Nothing,
            Some(operation) if operation.index() == 1 => {
                operation.recv(&self.messages).unwrap();
                Chosen::Message
            }
            Some(operation) => {
                operation.done();
                Chosen::Other
            }
        }
    }

    fn message(&self) {
        self.sender.send(()).unwrap();
    }

    /// Takes what is left, and returns how many notifications and messages that are.
    fn left(&self) -> (usize, usize) {
        let notifications = usize::from(self.notify.notified_timeout(Duration::ZERO));
        let messages = usize::from(self.messages.try_recv().is_ok());
        (notifications, messages)
    }
}

#[test]
fn an_answer_is_taken_or_stays() {
    std::model(2, || {
        let (sender, mut answer) = oneshot::channel();
        let (message, messages) = unbounded();
        let sends = thread::spawn(move || sender.send(42).unwrap());
        let tells = thread::spawn(move || message.send(()).unwrap());
        if either_answer(&mut answer, &messages) == Chosen::Message {
            assert_eq!(answer.recv(), Ok(42));
        } else {
            messages.recv().unwrap();
        }
        sends.join().unwrap();
        tells.join().unwrap();
    });
}

#[test]
fn a_notification_is_taken_or_stays() {
    std::model(2, || {
        let world = World::new();
        let notifies = spawn(&world, |world| world.notify.notify_one());
        let tells = spawn(&world, World::message);
        let first = world.either(None);
        let second = world.either(None);
        assert_ne!(first, second);
        notifies.join().unwrap();
        tells.join().unwrap();
        assert_eq!(world.left(), (0, 0));
    });
}

#[test]
fn a_notification_goes_to_the_other_if_a_selection_does_not_take_it() {
    std::model(2, || {
        let world = World::new();
        world.message();
        let waits = spawn(&world, |world| world.notify.notified());
        let selects = spawn(&world, |world| world.either(None));
        world.notify.notify_one();
        let chosen = selects.join().unwrap();
        if chosen == Chosen::Other {
            world.notify.notify_one();
        }
        waits.join().unwrap();
        let messages = usize::from(chosen == Chosen::Other);
        assert_eq!(world.left(), (0, messages));
    });
}

#[test]
fn two_selections_and_one_notification() {
    std::model(2, || {
        let world = World::new();
        let selects = [(), ()].map(|()| spawn(&world, |world| world.either(None)));
        world.message();
        world.notify.notify_last();
        let [one, other] = selects.map(|it| it.join().unwrap());
        assert_ne!(one, other);
        assert_eq!(world.left(), (0, 0));
    });
}

#[test]
fn all_are_notified() {
    std::model(2, || {
        let world = World::new();
        let waits = spawn(&world, |world| world.either(None));
        let notifies = spawn(&world, |world| world.notify.notify_waiters());
        // If it came too late.
        world.message();
        let chosen = waits.join().unwrap();
        notifies.join().unwrap();
        let messages = usize::from(chosen == Chosen::Other);
        assert_eq!(world.left(), (0, messages));
    });
}

#[test]
fn who_leaves_has_taken_a_notification_or_leaves_it() {
    std::model(2, || {
        let world = World::new();
        let leaves = spawn(&world, |world| world.either(Some(Duration::ZERO)));
        let struck = spawn(&world, |world| interrupted(|| world.either(None)));
        world.notify.notify_one();
        let late = leaves.join().unwrap() == Chosen::Other;
        let struck = struck.join().unwrap() == Ended::Returned(Chosen::Other);
        let (left, _) = world.left();
        assert_eq!(usize::from(late) + usize::from(struck) + left, 1);
    });
}
