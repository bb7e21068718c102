//! Models of `sync/semaphore.rs`.

use std::sync::Arc;
use std::time::Duration;

use loom::cell::UnsafeCell;

use crate::surroundings::{Ended, Waits, interrupted, spawn};
use crate::sync::semaphore::Semaphore;

struct Value {
    semaphore: Semaphore,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Value {}
// SAFETY: as for Sync.
unsafe impl Send for Value {}

impl Value {
    fn count(&self) {
        let _permit = self.semaphore.acquire().unwrap();
        self.value.with_mut(|value| unsafe { *value += 1 });
    }
}

fn take(semaphore: &Semaphore) {
    drop(semaphore.acquire().unwrap());
}

#[test]
fn one_permit_is_had_by_one_at_a_time() {
    std::model(2, || {
        let value = Arc::new(Value {
            semaphore: Semaphore::new(1),
            value: UnsafeCell::new(0),
        });
        let others = [0, 1].map(|_| spawn(&value, Value::count));
        value.count();
        others.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(value.semaphore.available_permits(), 1);
        value.value.with(|value| assert_eq!(unsafe { *value }, 3));
    });
}

#[test]
fn permits_that_are_given_reach_those_who_wait() {
    std::model(2, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let take = [1, 2].map(|permits| {
            spawn(&semaphore, move |semaphore| {
                semaphore.acquire_many(permits).unwrap().forget();
            })
        });
        semaphore.add_permits(1);
        semaphore.add_permits(2);
        take.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn who_gets_permits_sees_what_was_done_before_they_were_given() {
    std::model(2, || {
        let values = Arc::new([0, 1].map(|_| Value {
            semaphore: Semaphore::new(0),
            value: UnsafeCell::new(0),
        }));
        let give = [0, 1].map(|at| {
            spawn(&values, move |values| {
                values[at].value.with_mut(|value| unsafe { *value = 1 });
                values[0].semaphore.add_permits(1);
            })
        });
        values[0].semaphore.acquire_many(2).unwrap().forget();
        for value in &*values {
            value.value.with(|value| assert_eq!(unsafe { *value }, 1));
        }
        give.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[test]
fn one_that_leaves_lets_those_behind_it_have_what_there_is() {
    std::model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let leaves = spawn(&semaphore, |semaphore| {
            interrupted(|| semaphore.acquire_many(2).unwrap().forget())
        });
        let takes = spawn(&semaphore, take);
        takes.join().unwrap();
        assert_eq!(leaves.join().unwrap(), Ended::Interrupted);
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn one_that_leaves_takes_no_permit_with_it() {
    std::model(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let leaves = spawn(&semaphore, |semaphore| interrupted(|| take(semaphore)));
        let late = spawn(&semaphore, |semaphore| {
            drop(semaphore.acquire_timeout(Duration::ZERO));
        });
        semaphore.add_permits(1);
        leaves.join().unwrap();
        late.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn who_comes_later_does_not_get_past_who_waits() {
    std::model(3, || {
        let (semaphore, waits) = (Arc::new(Semaphore::new(1)), Waits::new());
        let counts = waits.clone();
        let takes = spawn(&semaphore, |semaphore| {
            counts.count();
            semaphore.acquire_many(2).unwrap().forget();
        });
        if waits.counted() == 1 {
            assert!(semaphore.try_acquire().is_err(), "it is the other's turn");
        }
        semaphore.add_permits(1);
        takes.join().unwrap();
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn who_tries_hinders_nobody() {
    std::model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let permit = semaphore.try_acquire().unwrap();
        let takes = spawn(&semaphore, take);
        let tries = spawn(&semaphore, |semaphore| drop(semaphore.try_acquire()));
        drop(permit);
        takes.join().unwrap();
        tries.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn all_who_wait_learn_that_it_is_closed() {
    std::model(2, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let take = [0, 1].map(|_| {
            spawn(&semaphore, |semaphore| {
                assert!(semaphore.acquire().is_err());
            })
        });
        semaphore.close();
        take.into_iter().for_each(|it| it.join().unwrap());
    });
}
