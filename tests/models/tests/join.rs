//! Model of the end of a task in `runtime/task.rs` and of who waits for it, with the memory orderings as they are: the green thread leaves its
//! result, the joiner waits for it, perhaps gives up in between, and tries again.
#![cfg(loom)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "loom checks each access")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU8, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

const RUNNING: u8 = 0;
const JOINED: u8 = 1;
const DONE: u8 = 2;

struct Task {
    end: AtomicU8,
    joiner: UnsafeCell<Option<Arc<Notify>>>,
    result: UnsafeCell<u32>,
}

// SAFETY: loom checks the accesses to the cells.
unsafe impl Sync for Task {}
// SAFETY: as for Sync.
unsafe impl Send for Task {}

impl Task {
    fn complete(&self) {
        self.result.with_mut(|result| unsafe { *result = 42 });
        if self.end.swap(DONE, Ordering::AcqRel) == JOINED {
            let joiner = self.joiner.with_mut(|joiner| unsafe { (*joiner).take() });
            joiner.expect("it was announced").notify();
        }
    }

    fn is_done(&self) -> bool {
        self.end.load(Ordering::Acquire) == DONE
    }

    /// Announces a joiner; false if it is done already.
    fn announce(&self, wake: &Arc<Notify>) -> bool {
        if self.is_done() {
            return false;
        }
        self.joiner
            .with_mut(|joiner| unsafe { *joiner = Some(wake.clone()) });
        let announced =
            self.end
                .compare_exchange(RUNNING, JOINED, Ordering::AcqRel, Ordering::Acquire);
        if announced.is_err() {
            self.joiner.with_mut(|joiner| unsafe { *joiner = None });
        }
        announced.is_ok()
    }

    /// What an interrupted joiner does on its way out.
    fn give_up(&self) {
        let taken_back =
            self.end
                .compare_exchange(JOINED, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        if taken_back.is_ok() {
            self.joiner.with_mut(|joiner| unsafe { *joiner = None });
        }
    }
}

fn model(gives_up: bool) {
    loom::model(move || {
        let task = Arc::new(Task {
            end: AtomicU8::new(RUNNING),
            joiner: UnsafeCell::new(None),
            result: UnsafeCell::new(0),
        });
        let runs = task.clone();
        let runs = thread::spawn(move || runs.complete());
        if gives_up && task.announce(&Arc::new(Notify::new())) {
            task.give_up();
        }
        let wake = Arc::new(Notify::new());
        if task.announce(&wake) {
            // loom's may return for nothing, as a park may.
            while !task.is_done() {
                wake.wait();
            }
        }
        assert!(task.is_done());
        task.result
            .with(|result| assert_eq!(unsafe { *result }, 42));
        runs.join().unwrap();
    });
}

#[test]
fn the_joiner_gets_the_result() {
    model(false);
}

#[test]
fn a_joiner_that_gave_up_gets_the_result_the_second_time() {
    model(true);
}
