//! Model of the lock in `runtime/lock.rs`: that file itself.
#![cfg(loom)]
#![allow(
    dead_code,
    clippy::undocumented_unsafe_blocks,
    reason = "not all of it is used here"
)]

extern crate corde_models as std;

use std::sync::Arc;

use loom::thread;

#[path = "../../../src/runtime/lock.rs"]
mod lock;

use lock::Lock;

#[test]
fn what_it_protects_is_used_by_one_at_a_time() {
    std::hint::yield_in_spin_loops();
    // With three of them two may spin for each other, without end for loom.
    std::model(3, || {
        let lock = Arc::new(Lock::new(0));
        let other = lock.clone();
        let other = thread::spawn(move || (0..2).for_each(|_| *other.lock() += 1));
        *lock.lock().unlock().lock() += 1;
        other.join().unwrap();
        assert_eq!(*lock.lock(), 3);
    });
}
