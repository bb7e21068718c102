//! What threads wait for each other with, with the names of [`std::sync`], and of crossbeam and Tokio where std has none.
//!
//! Everything works between green threads and OS threads in any mixture, takes part in [timeouts](crate::time::timeout) and
//! [cancellation](crate::thread::JoinHandle::cancel), and wakes who has waited longest first.

pub mod channel;
pub mod mpsc;

pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};
