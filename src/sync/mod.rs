//! What threads wait for each other with, with the names of [`std::sync`], and of crossbeam and Tokio where std has none.
//!
//! Everything works between green threads and OS threads in any mixture, takes part in [timeouts](crate::time::timeout) and
//! [cancellation](crate::thread::JoinHandle::cancel), and wakes who has waited longest first.

pub mod broadcast;
pub mod channel;
pub mod mpsc;
mod notify;
pub mod oneshot;
mod semaphore;
mod wait_group;
pub mod watch;

pub use notify::{Notified, Notify};
pub use semaphore::{
    AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};
pub use wait_group::WaitGroup;
