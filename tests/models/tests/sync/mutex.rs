//! Models of `sync/mutex.rs` and `sync/mutex/raw.rs`.

use std::sync::Arc;
use std::thread;

use crate::surroundings::{Ended, Waits, interrupted_after, spawn};
use crate::sync::mutex::Mutex;

type Counter = Mutex<u32>;

fn count(counter: &Counter) {
    *counter.lock().unwrap() += 1;
}

/// Everybody has left: it is free, and not taken for one that somebody waits for.
fn assert_value(counter: &Counter, expected: u32) {
    assert_eq!(*counter.try_lock().expect("it is free"), expected);
}

#[test]
fn one_at_a_time_has_it() {
    std::model(2, || {
        let counter = Arc::new(Counter::new(0));
        let others = [0, 1].map(|_| spawn(&counter, count));
        count(&counter);
        others.into_iter().for_each(|it| it.join().unwrap());
        assert_value(&counter, 3);
    });
}

#[test]
fn many_times_by_two() {
    std::model(3, || {
        let counter = Arc::new(Counter::new(0));
        let waits = spawn(&counter, count);
        for _ in 0..3 {
            count(&counter);
        }
        waits.join().unwrap();
        assert_value(&counter, 4);
    });
}

#[test]
fn one_that_others_were_faster_than_gets_it_handed_over() {
    std::model(3, || {
        let (counter, waits) = (Arc::new(Counter::new(0)), Waits::new());
        let held = counter.lock().unwrap();
        let counts = waits.clone();
        let keeps = spawn(&counter, |counter| {
            counts.count();
            std::mem::forget(counter.lock().unwrap());
        });
        drop(held);
        if let Ok(held) = counter.try_lock() {
            // It has waited, tried, and waits again.
            let in_vain = waits.counted() == 2;
            drop(held);
            assert!(!in_vain || counter.try_lock().is_err(), "it was its turn");
        }
        keeps.join().unwrap();
    });
}

fn one_leaves(parks: u32) {
    std::model(2, move || {
        let counter = Arc::new(Counter::new(0));
        let leaves = spawn(&counter, move |counter| {
            interrupted_after(parks, || count(counter))
        });
        let waits = spawn(&counter, count);
        count(&counter);
        count(&counter);
        waits.join().unwrap();
        let left = leaves.join().unwrap() == Ended::Interrupted;
        assert_value(&counter, 4 - u32::from(left));
    });
}

#[test]
fn one_that_leaves_leaves_the_others_their_turn() {
    one_leaves(0);
}

#[test]
fn one_that_was_woken_and_leaves_leaves_the_others_their_turn() {
    one_leaves(1);
}

#[test]
fn one_that_unwinds_and_others_get_it() {
    std::model(2, || {
        let counter = Arc::new(Counter::new(0));
        let unwinds = spawn(&counter, |counter| thread::unwinding(|| count(counter)));
        let waits = spawn(&counter, count);
        count(&counter);
        unwinds.join().unwrap();
        waits.join().unwrap();
        assert_value(&counter, 3);
    });
}

#[test]
fn one_that_tries_waits_for_nobody() {
    std::model(3, || {
        let counter = Arc::new(Counter::new(0));
        let waits = spawn(&counter, count);
        let tries = spawn(&counter, |counter| {
            counter.try_lock().map(|mut value| *value += 1).is_ok()
        });
        count(&counter);
        waits.join().unwrap();
        let got = tries.join().unwrap();
        assert_value(&counter, 2 + u32::from(got));
    });
}
