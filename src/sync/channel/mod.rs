//! Channels with any number of senders and receivers, in the words of crossbeam-channel.
//!
//! A message goes to one receiver. A channel is [`bounded`], where senders wait while it is full, or [`unbounded`]. With a capacity of 0 a
//! sender and a receiver meet. When all handles of one end are gone the channel is *disconnected*: nothing can be sent any more; what was sent can be
//! received still. [`select!`](crate::select) and [`Select`] wait for several channels at once.
//!
//! Whoever waits is served in the order of arrival. Waiting suspends a green thread and blocks any other; both may use the same channel. A
//! wait is ended by a cancellation or a [`timeout`](crate::time::timeout) around it, too, which unwind; a message that was handed over at the same
//! moment is received, and the next wait ends instead. So a receiver that is ended this way has taken nothing, and a sender has sent
//! nothing: it drops its message. That may also happen where there is no need to wait: a call that may wait lets others run now and then first, if it never has to.
//!
//! # Differences from crossbeam-channel
//!
//! Waiting is fair. A bounded channel, too, drops its messages when the last receiver is gone, as std's does. The message of a `send` in
//! [`select!`](crate::select) may panic: then it was not selected, and who was to receive it waits on.
//!
//! # Examples
//!
//! ```
//! use corde::go;
//! use corde::sync::channel::bounded;
//!
//! let (sender, receiver) = bounded(8);
//! for worker in 0..4 {
//!     let sender = sender.clone();
//!     go!({ (0..100).for_each(|number| sender.send(worker * 100 + number).unwrap()) });
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<i32>(), (0..400).sum());
//! ```

mod error;
mod glance;
pub(in crate::sync) mod select;
mod shared;

use std::fmt;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError,
    SendTimeoutError, TryReadyError, TryRecvError, TrySelectError, TrySendError,
};
pub use select::{Select, SelectedOperation};
use shared::{Channel, Side};

pub use crate::select;

/// What the macro `select!` is made of. Apart, so that whoever imports the macro does not import a function of its name.
#[doc(hidden)]
pub mod internal {
    pub use super::glance::{Found, Order, glance, received};
    pub use super::select::{
        Cancelling, Case, Ready, changing, receiving, select, select_timeout, try_select,
    };
}

/// Makes a channel that holds any number of messages.
///
/// Nothing slows the senders down: if the receivers do not keep up, the messages fill the memory.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::unbounded;
///
/// let (sender, receiver) = unbounded();
/// corde::go!({ sender.send("hello").unwrap() });
/// assert_eq!(receiver.recv(), Ok("hello"));
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(Channel::unbounded())
}

/// Makes a channel that holds `capacity` messages at most. If that is 0, sending waits until a receiver takes the message.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::bounded;
///
/// let (sender, receiver) = bounded(1);
/// sender.send(1).unwrap();
/// corde::go!({ sender.send(2).unwrap() }); // waits
/// assert_eq!((receiver.recv(), receiver.recv()), (Ok(1), Ok(2)));
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Channel::bounded(capacity))
}

fn ends<T>(channel: Channel<T>) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(channel);
    let sender = Sender {
        channel: channel.clone(),
    };
    (sender, Receiver { channel })
}

/// Makes the receiver of one message, which comes after `duration`: the time when it was due. Never disconnected.
///
/// For [`select!`](crate::select), where the time goes on from turn to turn of a loop; [`Receiver::recv_timeout`] and `default(duration)` begin anew each time.
///
/// # Examples
///
/// ```
/// use corde::select;
/// use corde::sync::channel::{after, unbounded};
/// use std::time::Duration;
///
/// let (_sender, receiver) = unbounded::<()>();
/// let over = after(Duration::from_millis(5));
/// select! {
///     recv(receiver) -> _ => unreachable!("nobody sends"),
///     recv(over) -> due => assert!(due.is_ok()),
/// }
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    clock(Instant::now().checked_add(duration), None)
}

/// Makes the receiver of one message, which comes at `when`. Never disconnected.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::at;
/// use std::time::{Duration, Instant};
///
/// let when = Instant::now() + Duration::from_millis(2);
/// assert_eq!(at(when).recv(), Ok(when));
/// ```
pub fn at(when: Instant) -> Receiver<Instant> {
    clock(Some(when), None)
}

/// Makes the receiver of messages that come each `duration`: the time when each was due. Never disconnected.
///
/// It holds one message at most: those that nobody takes in time are left out, and the next is due `duration` after the last was taken.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::tick;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let ticker = tick(Duration::from_millis(2));
/// ticker.iter().take(3).for_each(|due| assert!(due > start));
/// assert!(start.elapsed() >= Duration::from_millis(6));
/// ```
pub fn tick(duration: Duration) -> Receiver<Instant> {
    clock(Instant::now().checked_add(duration), Some(duration))
}

/// Makes the receiver of a channel that never has a message. Never disconnected.
///
/// # Examples
///
/// ```
/// use corde::select;
/// use corde::sync::channel::{Receiver, after, never};
/// use std::time::{Duration, Instant};
///
/// fn deadline(limit: Option<Duration>) -> Receiver<Instant> {
///     limit.map_or_else(never, after)
/// }
///
/// let timed_out = select! {
///     recv(deadline(None)) -> _ => true,
///     recv(deadline(Some(Duration::from_millis(1)))) -> _ => false,
/// };
/// assert!(!timed_out);
/// ```
pub fn never<T>() -> Receiver<T> {
    let impossible = |_| unreachable!("it is never due");
    Receiver {
        channel: Arc::new(Channel::clock(None, None, impossible)),
    }
}

fn clock(next: Option<Instant>, period: Option<Duration>) -> Receiver<Instant> {
    Receiver {
        channel: Arc::new(Channel::clock(next, period, |due| due)),
    }
}

/// The sending end of a channel; can be cloned and shared.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::unbounded;
///
/// let (sender, receiver) = unbounded();
/// let other = sender.clone();
/// std::thread::spawn(move || other.send(1).unwrap());
/// corde::go!({ sender.send(2).unwrap() });
/// assert_eq!(receiver.recv().unwrap() + receiver.recv().unwrap(), 3);
/// ```
pub struct Sender<T> {
    channel: Arc<Channel<T>>,
}

/// The receiving end of a channel; can be cloned and shared.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::unbounded;
///
/// let (sender, receiver) = unbounded();
/// let workers: Vec<_> = (0..4)
///     .map(|_| receiver.clone())
///     .map(|jobs| corde::go!({ jobs.iter().sum::<u32>() }))
///     .collect();
/// (1..=100).for_each(|job| sender.send(job).unwrap());
/// drop(sender);
/// assert_eq!(workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u32>(), 5050);
/// ```
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
}

// A message may hold borrows that a panic has left in disorder only if its own type lets it.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Sender<T> {
    /// Sends without waiting.
    ///
    /// # Errors
    ///
    /// If the channel is full, or its receivers are gone; of capacity 0: if no receiver waits. The message comes back in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{TrySendError, bounded};
    ///
    /// let (sender, _receiver) = bounded(1);
    /// assert_eq!(sender.try_send(1), Ok(()));
    /// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    /// ```
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.channel.try_send(message)
    }

    /// Sends, and waits as long as the channel is full; of capacity 0: until a receiver takes the message.
    ///
    /// # Errors
    ///
    /// If all receivers are gone. The message comes back in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::bounded;
    ///
    /// let (sender, receiver) = bounded(0);
    /// let received = corde::go!({ receiver.recv() });
    /// sender.send("met").unwrap();
    /// assert_eq!(received.join().unwrap(), Ok("met"));
    /// ```
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        let sent = self.channel.send(message, None);
        sent.map_err(|error| SendError(error.into_inner()))
    }

    /// Like [`send`](Sender::send), for `timeout` at most.
    ///
    /// # Errors
    ///
    /// If the time is over, or all receivers are gone. The message comes back in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{SendTimeoutError, bounded};
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = bounded(1);
    /// assert_eq!(sender.send_timeout(1, Duration::from_secs(60)), Ok(()));
    /// let full = sender.send_timeout(2, Duration::from_millis(1));
    /// assert_eq!(full, Err(SendTimeoutError::Timeout(2)));
    /// ```
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.channel
            .send(message, Instant::now().checked_add(timeout))
    }

    /// Like [`send`](Sender::send), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// If the time is over, or all receivers are gone. The message comes back in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{SendTimeoutError, bounded};
    /// use std::time::{Duration, Instant};
    ///
    /// let (sender, _receiver) = bounded(0);
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert_eq!(sender.send_deadline(1, deadline), Err(SendTimeoutError::Timeout(1)));
    /// ```
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.channel.send(message, Some(deadline))
    }
}

impl<T> Receiver<T> {
    /// Receives without waiting.
    ///
    /// (In one case it waits a little: of a channel with capacity 0, when a sender has come by a [selection](crate::select), until that has its message
    /// ready. The other forms then wait as long, too, even if their own time is over meanwhile. A thread that unwinds from a panic does not wait here:
    /// it finds such a channel empty.)
    ///
    /// # Errors
    ///
    /// If the channel is empty; of capacity 0: if no sender waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{TryRecvError, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// ```
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.try_recv()
    }

    /// Receives, and waits as long as the channel is empty.
    ///
    /// # Errors
    ///
    /// If it is empty and all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{RecvError, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// corde::go!({ sender.send("only").unwrap() });
    /// assert_eq!(receiver.recv(), Ok("only"));
    /// assert_eq!(receiver.recv(), Err(RecvError));
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.channel.recv(None).map_err(|_| RecvError)
    }

    /// Like [`recv`](Receiver::recv), for `timeout` at most.
    ///
    /// # Errors
    ///
    /// If the time is over, or the channel is empty and all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{RecvTimeoutError, unbounded};
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = unbounded::<()>();
    /// let nothing = receiver.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    /// ```
    #[inline]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.channel.recv(Instant::now().checked_add(timeout))
    }

    /// Like [`recv`](Receiver::recv), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// If the time is over, or the channel is empty and all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{RecvTimeoutError, unbounded};
    /// use std::time::{Duration, Instant};
    ///
    /// let (_sender, receiver) = unbounded::<()>();
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert_eq!(receiver.recv_deadline(deadline), Err(RecvTimeoutError::Timeout));
    /// ```
    #[inline]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.channel.recv(Some(deadline))
    }

    /// Receives until the channel is disconnected, waiting in between.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::unbounded;
    ///
    /// let (sender, receiver) = unbounded();
    /// corde::go!({ (1..=3).for_each(|number| sender.send(number).unwrap()) });
    /// assert_eq!(receiver.iter().sum::<i32>(), 6);
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives until the channel is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::unbounded;
    ///
    /// let (sender, receiver) = unbounded();
    /// (1..=3).for_each(|number| sender.send(number).unwrap());
    /// assert_eq!(receiver.try_iter().sum::<i32>(), 6);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

/// What both ends can tell.
macro_rules! end {
    ($End:ident, $side:expr) => {
        impl<T> $End<T> {
            /// Returns whether there is no message in the channel. One with capacity 0 is always empty.
            ///
            /// # Examples
            ///
            /// ```
            /// let (sender, receiver) = corde::sync::channel::unbounded();
            /// assert!(sender.is_empty() && receiver.is_empty());
            /// sender.send(1).unwrap();
            /// assert!(!sender.is_empty() && !receiver.is_empty());
            /// ```
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Returns whether there is no room for another message. A channel with capacity 0 is always full.
            ///
            /// # Examples
            ///
            /// ```
            /// let (sender, receiver) = corde::sync::channel::bounded(1);
            /// assert!(!sender.is_full());
            /// sender.send(1).unwrap();
            /// assert!(sender.is_full() && receiver.is_full());
            /// ```
            pub fn is_full(&self) -> bool {
                self.channel.is_full()
            }

            /// Returns how many messages are in the channel.
            ///
            /// # Examples
            ///
            /// ```
            /// let (sender, receiver) = corde::sync::channel::bounded(8);
            /// sender.send(1).unwrap();
            /// assert_eq!((sender.len(), receiver.len()), (1, 1));
            /// ```
            pub fn len(&self) -> usize {
                self.channel.len()
            }

            /// Returns how many messages there is room for; none, if it is unbounded.
            ///
            /// # Examples
            ///
            /// ```
            /// use corde::sync::channel::{bounded, unbounded};
            ///
            /// let (sender, receiver) = bounded::<()>(8);
            /// assert_eq!((sender.capacity(), receiver.capacity()), (Some(8), Some(8)));
            /// assert_eq!(unbounded::<()>().0.capacity(), None);
            /// ```
            pub fn capacity(&self) -> Option<usize> {
                self.channel.capacity()
            }

            /// Returns whether both belong to the same channel.
            ///
            /// # Examples
            ///
            /// ```
            /// use corde::sync::channel::unbounded;
            ///
            /// let (sender, receiver) = unbounded::<()>();
            /// assert!(sender.same_channel(&sender.clone()) && receiver.same_channel(&receiver.clone()));
            /// assert!(!receiver.same_channel(&unbounded().1));
            /// ```
            pub fn same_channel(&self, other: &$End<T>) -> bool {
                self.channel.is_same(&other.channel)
            }
        }

        impl<T> Clone for $End<T> {
            fn clone(&self) -> $End<T> {
                self.channel.add($side);
                $End {
                    channel: self.channel.clone(),
                }
            }
        }

        impl<T> Drop for $End<T> {
            fn drop(&mut self) {
                self.channel.remove($side);
            }
        }

        impl<T> fmt::Debug for $End<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(concat!(stringify!($End), " { .. }"))
            }
        }
    };
}

end!(Sender, Side::Sender);
end!(Receiver, Side::Receiver);

/// Receives until the channel is disconnected; from [`Receiver::iter`].
///
/// # Examples
///
/// ```
/// use corde::sync::channel::unbounded;
///
/// let (sender, receiver) = unbounded();
/// corde::go!({ (0..3).for_each(|number| sender.send(number).unwrap()) });
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
/// ```
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// Receives until the channel is empty; from [`Receiver::try_iter`].
///
/// # Examples
///
/// ```
/// use corde::sync::channel::unbounded;
///
/// let (sender, receiver) = unbounded();
/// (0..3).for_each(|number| sender.send(number).unwrap());
/// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
/// ```
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// Receives until the channel is disconnected; owns the receiver.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::unbounded;
///
/// let (sender, receiver) = unbounded();
/// corde::go!({ (0..3).for_each(|number| sender.send(number).unwrap()) });
/// let mut sum = 0;
/// for number in receiver {
///     sum += number;
/// }
/// assert_eq!(sum, 3);
/// ```
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Iter { .. }")
    }
}

impl<T> fmt::Debug for TryIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("TryIter { .. }")
    }
}

impl<T> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("IntoIter { .. }")
    }
}
