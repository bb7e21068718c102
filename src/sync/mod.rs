//! What threads wait for each other with, with the names of [`std::sync`], and of crossbeam and Tokio where std has none.
//!
//! | you want | use | its names are |
//! | --- | --- | --- |
//! | to protect data | [`Mutex`], [`RwLock`] | std's |
//! | to wait until data has changed | [`Condvar`]; [`watch`], [`Notify`] | std's; Tokio's |
//! | to make a value once | [`Once`], [`OnceLock`], [`LazyLock`] | std's |
//! | to send each message to one receiver | [`mpsc`]; [`mod@channel`] with [`select!`](crate::select) | std's; crossbeam's |
//! | to send one message | [`oneshot`] | Tokio's |
//! | to send each message to all receivers | [`broadcast`] | Tokio's |
//! | to let so many in at once | [`Semaphore`] | Tokio's |
//! | to meet, or to wait for all | [`Barrier`]; [`WaitGroup`] | std's; crossbeam's |
//!
//! Everything works between green threads and OS threads in any mixture. Waiting suspends a green thread, and takes part in
//! [timeouts](crate::time::timeout) and [cancellation](crate::thread::JoinHandle::cancel): such a wait ends by unwinding, without poisoning
//! anything. What a waiter is granted at that very moment it gets; the next wait ends instead. Who has waited longest comes first.
//! Only calls that may wait let other green threads run: not the `try_` ones, nor sending where there is always room.
//!
//! # Examples
//!
//! ```
//! use corde::sync::{Condvar, Mutex};
//! use corde::thread;
//!
//! let (ready, changed) = (Mutex::new(false), Condvar::new());
//! thread::scope(|scope| {
//!     scope.spawn(|| {
//!         *ready.lock().unwrap() = true;
//!         changed.notify_one();
//!     });
//!     let ready = changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap();
//!     assert!(*ready);
//! });
//! ```

mod barrier;
pub mod broadcast;
pub mod channel;
mod condvar;
mod lazy_lock;
pub mod mpsc;
mod mutex;
mod notify;
mod once;
mod once_lock;
pub mod oneshot;
mod poison;
mod rwlock;
mod semaphore;
mod spin;
mod wait_group;
pub mod watch;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use lazy_lock::LazyLock;
pub use mutex::{Mutex, MutexGuard};
#[doc(hidden)]
pub use notify::notified as __notified;
pub use notify::{Notified, Notify};
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{
    AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};
pub use wait_group::WaitGroup;
