//! Models of `sync/condvar.rs`, with the mutex of `sync/mutex.rs`.

use std::sync::Arc;
use std::time::Duration;

use crate::surroundings::{Ended, interrupted, interrupted_after, spawn};
use crate::sync::condvar::Condvar;
use crate::sync::mutex::Mutex;

struct Door {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Door {
    fn new() -> Arc<Door> {
        Arc::new(Door {
            open: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap();
        assert!(*self.changed.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
    }
}

#[test]
fn a_notification_after_the_change_is_heard() {
    std::model(3, || {
        let door = Door::new();
        let waits = spawn(&door, Door::wait);
        door.open();
        door.changed.notify_one();
        waits.join().unwrap();
    });
}

#[test]
fn a_notification_under_the_mutex_is_heard() {
    std::model(3, || {
        let door = Door::new();
        let waits = spawn(&door, Door::wait);
        let mut open = door.open.lock().unwrap();
        *open = true;
        door.changed.notify_one();
        drop(open);
        waits.join().unwrap();
    });
}

#[test]
fn all_hear_it() {
    std::model(2, || {
        let door = Door::new();
        let wait = [0, 1].map(|_| spawn(&door, Door::wait));
        door.open();
        door.changed.notify_all();
        wait.into_iter().for_each(|it| it.join().unwrap());
    });
}

fn one_leaves(parks: u32, under_the_mutex: bool) {
    std::model(2, move || {
        let door = Door::new();
        let leaves = spawn(&door, move |door| {
            let ended = interrupted_after(parks, || {
                let open = door.open.lock().unwrap();
                drop(door.changed.wait_while(open, |open| !*open));
            });
            // If it has taken note of it, it is its own business to tell the other one.
            if ended == Ended::Returned(()) {
                door.changed.notify_one();
            }
        });
        let waits = spawn(&door, Door::wait);
        let mut open = door.open.lock().unwrap();
        *open = true;
        if under_the_mutex {
            door.changed.notify_one();
            drop(open);
        } else {
            drop(open);
            door.changed.notify_one();
        }
        waits.join().unwrap();
        // It is not interrupted before something has woken it.
        door.changed.notify_all();
        leaves.join().unwrap();
    });
}

#[test]
fn one_that_leaves_takes_no_notification_with_it() {
    one_leaves(0, false);
}

#[test]
fn one_that_leaves_without_the_mutex_passes_its_notification_on() {
    one_leaves(0, true);
}

#[test]
fn one_that_has_waited_and_leaves_without_the_mutex_passes_its_notification_on() {
    one_leaves(1, true);
}

#[test]
fn one_whose_time_is_over_takes_no_notification_with_it() {
    std::model(2, || {
        let door = Door::new();
        let leaves = spawn(&door, |door| {
            let open = door.open.lock().unwrap();
            let (open, result) = door.changed.wait_timeout(open, Duration::ZERO).unwrap();
            drop(open);
            if !result.timed_out() {
                door.changed.notify_one();
            }
        });
        let waits = spawn(&door, Door::wait);
        door.open();
        door.changed.notify_one();
        waits.join().unwrap();
        leaves.join().unwrap();
    });
}
