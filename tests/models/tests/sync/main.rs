//! Models of `corde::sync`, and with it of `runtime/wait_list.rs`: those files themselves, with loom in the place of std (see this package's `lib.rs`),
//! and OS threads only, so that a wake-up is one of loom's. The wake-up of a green thread is modelled in `park.rs`, the lock under which lists
//! and messages lie in `lock.rs`, a selection's claim in `claim.rs`.
//!
//! loom finds who is left waiting (a deadlock), and accesses that nothing orders. A thread that is interrupted in a wait, or whose time is
//! over, is so from the beginning: as loom tries all schedules, it leaves at any moment.
#![cfg(loom)]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    private_interfaces,
    unfulfilled_lint_expectations,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "not all of `src` is used here"
)]

extern crate corde_models as std;

mod channel;
mod condvar;
mod mutex;
mod once;
mod oneshot;
mod rwlock;
mod selection;
mod semaphore;
mod surroundings;

use surroundings::{net, reactor, thread};

#[path = "../../../../src/runtime"]
mod runtime {
    pub(crate) mod wait_list;

    pub(crate) use crate::surroundings::{cell, interrupt, lock, park, task, worker};
}

#[path = "../../../../src/sync"]
mod sync {
    pub mod channel;
    pub mod condvar;
    pub mod mutex;
    pub mod notify;
    pub mod once;
    pub mod oneshot;
    mod poison;
    pub mod semaphore;

    /// Without the value: its cell would take readers for writers.
    pub mod rwlock {
        mod raw;

        pub struct RawRwLock(raw::RawRwLock);

        impl RawRwLock {
            pub fn new() -> RawRwLock {
                RawRwLock(raw::RawRwLock::new())
            }

            pub fn read(&self) {
                self.0.read();
            }

            pub fn try_read(&self) -> bool {
                self.0.try_read()
            }

            pub fn write(&self) {
                self.0.write();
            }

            pub fn try_write(&self) -> bool {
                self.0.try_write()
            }

            pub fn unlock_read(&self) {
                unsafe { self.0.unlock_read() };
            }

            pub fn unlock_write(&self) {
                unsafe { self.0.unlock_write() };
            }

            pub fn downgrade(&self) {
                unsafe { self.0.downgrade() };
            }
        }
    }

    mod spin {
        /// There is nothing to be won.
        pub(super) fn looks() -> u32 {
            0
        }
    }
}

/// In the place of the macro, which the channels export.
#[macro_export]
macro_rules! select {
    () => {};
}
