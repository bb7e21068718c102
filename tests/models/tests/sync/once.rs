//! Models of `sync/once.rs`.

use core::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use loom::cell::UnsafeCell;

use crate::runtime::interrupt::Interrupt;
use crate::surroundings::{Ended, interrupted, spawn};
use crate::sync::once::Once;

struct Value {
    once: Once,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Value {}
// SAFETY: as for Sync.
unsafe impl Send for Value {}

impl Value {
    fn new() -> Arc<Value> {
        Arc::new(Value {
            once: Once::new(),
            value: UnsafeCell::new(0),
        })
    }

    fn run(&self) {
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn assert_done(&self) {
        self.value
            .with(|value| assert_eq!(unsafe { *value }, 1, "it was run once"));
    }

    fn call(&self) {
        self.once.call_once(|| self.run());
        self.assert_done();
    }

    /// Runs a closure that is interrupted; returns whether it was run.
    fn call_interrupted(&self) -> bool {
        let ended = interrupted(|| self.once.call_once(|| Interrupt::new().strike()));
        ended == Ended::Interrupted
    }

    /// Runs a closure that panics; returns whether it was run.
    fn call_panicking(&self) -> bool {
        let began = Cell::new(false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.once.call_once_force(|_| {
                began.set(true);
                // `Running` ends while it unwinds.
                thread::set_unwinding(true);
                resume_unwind(Box::new(()));
            });
        }));
        thread::set_unwinding(false);
        assert_eq!(result.is_err(), began.get());
        began.get()
    }
}

#[test]
fn one_runs_and_the_others_wait_for_it() {
    std::model(2, || {
        let value = Value::new();
        let calls = spawn(&value, Value::call);
        let waits = spawn(&value, |value| {
            value.once.wait();
            value.assert_done();
        });
        value.call();
        calls.join().unwrap();
        waits.join().unwrap();
    });
}

#[test]
fn who_sees_that_it_is_done_sees_what_it_did() {
    std::model(3, || {
        let value = Value::new();
        let calls = spawn(&value, Value::call);
        if value.once.is_completed() {
            value.assert_done();
        }
        calls.join().unwrap();
        assert!(value.once.is_completed());
    });
}

#[test]
fn one_that_is_interrupted_hands_on() {
    std::model(2, || {
        let value = Value::new();
        let calls = spawn(&value, Value::call);
        let waits = spawn(&value, |value| value.once.wait());
        value.call_interrupted();
        waits.join().unwrap();
        calls.join().unwrap();
        value.assert_done();
    });
}

#[test]
fn one_that_leaves_hands_on() {
    std::model(2, || {
        let value = Value::new();
        let leaves = spawn(&value, |value| interrupted(|| value.call()));
        let calls = spawn(&value, Value::call);
        value.call_interrupted();
        calls.join().unwrap();
        leaves.join().unwrap();
        value.assert_done();
    });
}

#[test]
fn one_that_panics_lets_all_go() {
    std::model(2, || {
        let value = Value::new();
        let calls = spawn(&value, |value| value.once.call_once_force(|_| value.run()));
        let waits = spawn(&value, |value| value.once.wait_force());
        value.call_panicking();
        waits.join().unwrap();
        calls.join().unwrap();
        value.assert_done();
    });
}

#[test]
fn who_waits_learns_of_a_panic() {
    std::model(3, || {
        let value = Value::new();
        let waits = spawn(&value, |value| {
            let waited = catch_unwind(AssertUnwindSafe(|| value.once.wait()));
            assert!(waited.is_err());
        });
        assert!(value.call_panicking());
        waits.join().unwrap();
    });
}
