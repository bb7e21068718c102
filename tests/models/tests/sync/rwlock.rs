//! Models of `sync/rwlock/raw.rs`.

use std::sync::Arc;
use std::thread;

use loom::cell::UnsafeCell;

use crate::surroundings::{Ended, Waits, interrupted, spawn};
use crate::sync::rwlock::RawRwLock;

struct Value {
    lock: RawRwLock,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Value {}
// SAFETY: as for Sync.
unsafe impl Send for Value {}

impl Value {
    fn new() -> Arc<Value> {
        Arc::new(Value {
            lock: RawRwLock::new(),
            value: UnsafeCell::new(0),
        })
    }

    fn look(&self) -> u32 {
        self.value.with(|value| unsafe { *value })
    }

    fn change(&self) {
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn read(&self) -> u32 {
        self.lock.read();
        let value = self.look();
        self.lock.unlock_read();
        value
    }

    fn write(&self) {
        self.lock.write();
        self.change();
        self.lock.unlock_write();
    }

    fn assert_free(&self, expected: u32) {
        assert!(self.lock.try_write(), "it is free");
        assert_eq!(self.look(), expected);
    }
}

#[test]
fn writers_have_it_alone() {
    std::model(2, || {
        let value = Value::new();
        let others = [0, 1].map(|_| spawn(&value, Value::write));
        value.write();
        others.into_iter().for_each(|it| it.join().unwrap());
        value.assert_free(3);
    });
}

#[test]
fn readers_see_what_was_written() {
    std::model(2, || {
        let value = Value::new();
        let reads = [0, 1].map(|_| spawn(&value, Value::read));
        value.write();
        for reads in reads {
            assert!(reads.join().unwrap() <= 1);
        }
        value.assert_free(1);
    });
}

#[test]
fn readers_and_writers_all_get_in() {
    std::model(2, || {
        let value = Value::new();
        let reads = spawn(&value, Value::read);
        let writes = spawn(&value, Value::write);
        value.read();
        value.write();
        reads.join().unwrap();
        writes.join().unwrap();
        value.assert_free(2);
    });
}

#[test]
fn readers_have_it_together() {
    std::model(2, || {
        let value = Value::new();
        value.lock.write();
        let reads = [0, 1].map(|_| {
            spawn(&value, |value| {
                value.lock.read();
                let _ = value.look();
            })
        });
        value.change();
        value.lock.unlock_write();
        // Each keeps it: so the other one does not wait for that.
        reads.into_iter().for_each(|it| it.join().unwrap());
        assert!(!value.lock.try_write());
        value.lock.unlock_read();
        value.lock.unlock_read();
        value.assert_free(1);
    });
}

#[test]
fn who_becomes_a_reader_lets_readers_in() {
    std::model(2, || {
        let value = Value::new();
        value.lock.write();
        let reads = [0, 1].map(|_| spawn(&value, Value::read));
        value.change();
        value.lock.downgrade();
        assert_eq!(value.look(), 1);
        for reads in reads {
            assert_eq!(reads.join().unwrap(), 1);
        }
        assert!(!value.lock.try_write(), "it is a reader still");
        value.lock.unlock_read();
        value.assert_free(1);
    });
}

#[test]
fn who_becomes_a_reader_keeps_writers_out() {
    std::model(2, || {
        let value = Value::new();
        value.lock.write();
        let writes = spawn(&value, Value::write);
        let reads = spawn(&value, Value::read);
        value.lock.downgrade();
        assert_eq!(value.look(), 0);
        value.lock.unlock_read();
        writes.join().unwrap();
        reads.join().unwrap();
        value.assert_free(1);
    });
}

#[test]
fn who_comes_later_waits_behind_who_waits() {
    std::model(3, || {
        let (value, waits) = (Value::new(), Waits::new());
        value.lock.read();
        let counts = waits.clone();
        let writes = spawn(&value, |value| {
            counts.count();
            value.write();
        });
        if waits.counted() == 1 {
            assert!(!value.lock.try_read(), "the writer comes first");
            value.lock.unlock_read();
            assert_eq!(value.read(), 1);
        } else {
            value.lock.unlock_read();
        }
        writes.join().unwrap();
        value.assert_free(1);
    });
}

#[test]
fn a_writer_that_leaves_lets_readers_in() {
    std::model(2, || {
        let value = Value::new();
        value.lock.read();
        let leaves = spawn(&value, |value| interrupted(|| value.lock.write()));
        let reads = spawn(&value, Value::read);
        // Nobody goes out meanwhile.
        assert_eq!(reads.join().unwrap(), 0);
        assert_eq!(leaves.join().unwrap(), Ended::Interrupted);
        value.lock.unlock_read();
        value.assert_free(0);
    });
}

#[test]
fn who_leaves_while_the_writer_goes_out_has_it_or_not() {
    std::model(3, || {
        let value = Value::new();
        value.lock.write();
        let leaves = spawn(&value, |value| interrupted(|| value.lock.read()));
        let writes = spawn(&value, |value| interrupted(|| value.lock.write()));
        value.lock.unlock_write();
        if leaves.join().unwrap() == Ended::Returned(()) {
            value.lock.unlock_read();
        }
        if writes.join().unwrap() == Ended::Returned(()) {
            value.lock.unlock_write();
        }
        value.assert_free(0);
    });
}

#[test]
fn one_that_unwinds_goes_first() {
    std::model(2, || {
        let value = Value::new();
        value.lock.read();
        let unwinds = spawn(&value, |value| thread::unwinding(|| value.read()));
        let writes = spawn(&value, Value::write);
        value.lock.unlock_read();
        unwinds.join().unwrap();
        writes.join().unwrap();
        value.assert_free(1);
    });
}
