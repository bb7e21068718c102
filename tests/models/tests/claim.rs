//! Model of a selection that waits in two channels (`sync/channel/select/mod.rs`), with the memory orderings as they are: both channels get a message
//! at once, and the selection may give up. The channels' lock is modelled in `wait_list.rs`.
#![cfg(loom)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "loom checks each access")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

const OPEN: usize = usize::MAX;
const CLOSED: usize = usize::MAX - 1;

/// `State`, as far as it matters here.
#[derive(Default)]
struct Channel {
    /// Whether the selection's arm is in the list.
    linked: bool,
    buffer: usize,
    /// Messages that the selection was chosen for.
    pending: usize,
}

struct World {
    channels: [Mutex<Channel>; 2],
    chosen: AtomicUsize,
    /// The frame of the selection, with its claim and its arms: whether it is there still.
    frame: UnsafeCell<bool>,
    wake: Notify,
}

// SAFETY: loom checks the accesses to the cell.
unsafe impl Sync for World {}
// SAFETY: as for Sync.
unsafe impl Send for World {}

impl World {
    /// `State::hand_over_to_any`, else into the buffer.
    fn send(&self, at: usize) {
        let mut channel = self.channels[at].lock().unwrap();
        let mut claimed = false;
        if std::mem::take(&mut channel.linked) {
            // `Arm::claim_first`; the claim and the node are used under the lock.
            self.frame.with(|there| assert!(unsafe { *there }));
            claimed = self
                .chosen
                .compare_exchange(OPEN, at, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            self.frame.with(|there| assert!(unsafe { *there }));
        }
        if claimed {
            channel.pending += 1;
        } else {
            channel.buffer += 1;
        }
        drop(channel);
        if claimed {
            self.wake.notify();
        }
    }

    /// `wait_once`; returns which one was chosen. `unlinks` is false to break the rule that the arms are taken out first.
    fn select(&self, gives_up: bool, unlinks: bool) -> Option<usize> {
        let mut registered = 0;
        for channel in &self.channels {
            let mut channel = channel.lock().unwrap();
            if channel.buffer > 0 {
                break;
            }
            channel.linked = true;
            registered += 1;
        }
        if registered == 2 && !gives_up {
            while self.chosen.load(Ordering::Acquire) == OPEN {
                self.wake.wait();
            }
        }
        let closed =
            self.chosen
                .compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        if unlinks {
            for channel in &self.channels[..registered] {
                channel.lock().unwrap().linked = false;
            }
        }
        self.frame.with_mut(|there| unsafe { *there = false });
        closed.err()
    }
}

fn model(gives_up: bool, unlinks: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let world = Arc::new(World {
            channels: [
                Mutex::new(Channel::default()),
                Mutex::new(Channel::default()),
            ],
            chosen: AtomicUsize::new(OPEN),
            frame: UnsafeCell::new(true),
            wake: Notify::new(),
        });
        let senders = [0, 1].map(|at| {
            let world = world.clone();
            thread::spawn(move || world.send(at))
        });
        let chosen = world.select(gives_up, unlinks);
        if let Some(chosen) = chosen {
            // `Channel::receive_selected`: whoever has claimed it put the message there under the lock.
            let mut channel = world.channels[chosen].lock().unwrap();
            assert_eq!(std::mem::take(&mut channel.pending), 1);
        }
        senders.into_iter().for_each(|it| it.join().unwrap());
        let left = [0, 1].map(|at| {
            let channel = world.channels[at].lock().unwrap();
            assert_eq!(channel.pending, 0, "what it was chosen for was taken");
            assert!(!channel.linked);
            channel.buffer
        });
        let expected = [0, 1].map(|at| usize::from(chosen != Some(at)));
        assert_eq!(left, expected, "one message was taken, the other is left");
    });
}

#[test]
fn one_arm_is_chosen_and_the_other_message_stays() {
    model(false, true);
}

#[test]
fn one_that_gives_up_is_chosen_or_takes_nothing() {
    model(true, true);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn one_that_leaves_its_arms_behind_is_found_when_it_is_gone() {
    model(true, false);
}
