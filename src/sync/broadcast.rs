//! A channel from many senders to many receivers, each of which gets every value; as `tokio::sync::broadcast`.
//!
//! A value is kept until all receivers have seen it, but sending never waits for them: the channel keeps so many values as its capacity says,
//! and the oldest goes when there is one more. A receiver that has not seen it yet *lags*: its next `recv` tells how many it has missed, and the
//! one after that returns the oldest that is left.
//!
//! Each receiver gets a clone, the last one the value itself. In contrast to Tokio's the clones are made outside of any lock, by several
//! receivers at the same time: for a channel that is used by several threads, `T` has to be [`Sync`], too.
//! [`select!`](crate::select) receives beside other things.
//!
//! # Examples
//!
//! ```
//! use corde::sync::broadcast;
//! use corde::thread;
//!
//! let (sender, mut first) = broadcast::channel(16);
//! let mut second = sender.subscribe();
//! let hears = thread::spawn(move || (second.recv(), second.recv()));
//! sender.send("hello").unwrap();
//! sender.send("there").unwrap();
//! assert_eq!(first.recv(), Ok("hello"));
//! assert_eq!(hears.join().unwrap(), (Ok("hello"), Ok("there")));
//! ```
//!
//! Lagging:
//!
//! ```
//! use corde::sync::broadcast::{self, error::RecvError};
//!
//! let (sender, mut receiver) = broadcast::channel(2);
//! for i in 1..=3 {
//!     sender.send(i).unwrap();
//! }
//! assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
//! assert_eq!(receiver.recv(), Ok(2));
//! assert_eq!(receiver.recv(), Ok(3));
//! ```
// # Positions
//
// Values are numbered in the order in which they are sent. The value of position `p` lies in slot `p % capacity`, from when it is sent until
// the last receiver that was there then has seen it, or until `p + capacity` is sent. A receiver knows the position that it wants next. All of it
// lies under one lock, where values come and go as `Arc`s: cloned and dropped they are outside.
//
// # Waiting
//
// A receiver waits with its position, which is the one that is sent next: so the queue is in the order of the positions, and whoever sends
// grants its first ones while they have something to see. `Sender::closed` waits with how often the channel has been abandoned by
// its last receiver, which is likewise in order.

pub mod error;
mod receiver;
mod select;
mod sender;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::runtime::lock::Lock;
use crate::runtime::wait_list::{WaitList, Wake};

pub use receiver::Receiver;
pub use sender::Sender;

use error::TryRecvError;

/// Makes a channel that keeps `capacity` values, with one receiver.
///
/// The capacity is rounded up to a power of two.
///
/// # Panics
///
/// If the capacity is 0, or more than `usize::MAX / 2`.
///
/// # Examples
///
/// ```
/// use corde::sync::broadcast;
///
/// let (sender, mut receiver) = broadcast::channel(4);
/// sender.send(7).unwrap();
/// assert_eq!(receiver.recv(), Ok(7));
/// ```
#[must_use]
#[track_caller]
pub fn channel<T: Clone>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(capacity);
    let receiver = sender.subscribe();
    (sender, receiver)
}

struct Shared<T> {
    senders: AtomicUsize,
    state: Lock<State<T>>,
}

struct State<T> {
    slots: Box<[Slot<T>]>,
    /// The position that is sent next.
    sent: u64,
    /// There is no sender any more.
    closed: bool,
    receivers: usize,
    /// How often the last receiver has gone.
    abandoned: u64,
    /// Receivers, each with the position it waits for.
    waiting: WaitList<u64>,
    /// Senders, each with what `abandoned` was.
    closers: WaitList<u64>,
}

struct Slot<T> {
    /// How many receivers have not seen the value.
    unseen: usize,
    /// There until all have.
    value: Option<Arc<T>>,
}

impl<T> State<T> {
    /// The oldest position that has not been overwritten.
    fn oldest(&self) -> u64 {
        self.sent.saturating_sub(self.slots.len() as u64)
    }

    fn slot(&mut self, position: u64) -> &mut Slot<T> {
        // The number of slots is a power of two.
        let place = position as usize & (self.slots.len() - 1);
        &mut self.slots[place]
    }

    /// Puts a value into the next slot for all receivers, and returns the one that was there.
    fn push(&mut self, value: Arc<T>) -> Option<Arc<T>> {
        let receivers = self.receivers;
        let slot = self.slot(self.sent);
        slot.unseen = receivers;
        let old = slot.value.replace(value);
        self.sent += 1;
        old
    }

    /// Returns whether a receiver that sees `next` next need not wait.
    fn has_news(&self, next: u64) -> bool {
        next != self.sent || self.closed
    }

    /// Returns the value that a receiver sees next, and moves it on.
    fn pull(&mut self, next: &mut u64) -> Result<Arc<T>, TryRecvError> {
        let oldest = self.oldest();
        if *next < oldest {
            let missed = oldest - *next;
            *next = oldest;
            return Err(TryRecvError::Lagged(missed));
        }
        if *next == self.sent {
            return Err(if self.closed {
                TryRecvError::Closed
            } else {
                TryRecvError::Empty
            });
        }
        let slot = self.slot(*next);
        *next += 1;
        let value = if slot.unseen > 1 {
            slot.value.clone()
        } else {
            slot.value.take()
        };
        slot.unseen -= 1;
        Ok(value.expect("a receiver has not seen it"))
    }

    fn grant_receiver(&mut self) -> Option<Wake> {
        if *self.waiting.first_mut()? == self.sent && !self.closed {
            return None;
        }
        let ((), wake) = self.waiting.grant_first(|_| ())?;
        Some(wake)
    }

    fn grant_closer(&mut self) -> Option<Wake> {
        if *self.closers.first_mut()? == self.abandoned {
            return None;
        }
        let ((), wake) = self.closers.grant_first(|_| ())?;
        Some(wake)
    }
}

impl<T> Slot<T> {
    /// Notes that one receiver less will see the value; returns that, if it was the last one.
    fn skip(&mut self) -> Option<Arc<T>> {
        self.unseen -= 1;
        if self.unseen == 0 {
            self.value.take()
        } else {
            None
        }
    }
}
