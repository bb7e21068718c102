//! Channels with one receiver; as [`std::sync::mpsc`].
//!
//! They are those of [`sync::channel`](mod@super::channel) with std's words and std's errors: [`channel()`] is unbounded, [`sync_channel`] holds so many messages, and with 0 is a rendezvous.
//! Waiting suspends a green thread; a cancellation or a [`timeout`](crate::time::timeout) ends it.
//!
//! # Examples
//!
//! ```
//! use corde::sync::mpsc;
//!
//! let (sender, receiver) = mpsc::channel();
//! for id in 0..10 {
//!     let sender = sender.clone();
//!     corde::go!({ sender.send(id).unwrap() });
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<i32>(), 45);
//! ```

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::RefUnwindSafe;
use std::time::Duration;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use super::channel;

/// Makes a channel that holds any number of messages; as [`std::sync::mpsc::channel`].
///
/// # Examples
///
/// ```
/// use corde::sync::mpsc::channel;
///
/// let (sender, receiver) = channel();
/// corde::go!({ sender.send("computed").unwrap() });
/// assert_eq!(receiver.recv(), Ok("computed"));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = channel::unbounded();
    (Sender { inner: sender }, Receiver::new(receiver))
}

/// Makes a channel that holds `bound` messages at most; as [`std::sync::mpsc::sync_channel`]. With 0 each send waits until its message is
/// received.
///
/// # Examples
///
/// ```
/// use corde::sync::mpsc::sync_channel;
///
/// let (sender, receiver) = sync_channel(1);
/// sender.send(1).unwrap();
/// corde::go!({ sender.send(2).unwrap() }); // waits
/// assert_eq!((receiver.recv(), receiver.recv()), (Ok(1), Ok(2)));
/// ```
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let (sender, receiver) = channel::bounded(bound);
    (SyncSender { inner: sender }, Receiver::new(receiver))
}

/// The sending end of a [`channel()`]; as [`std::sync::mpsc::Sender`].
///
/// # Examples
///
/// ```
/// use corde::sync::mpsc::{SendError, channel};
///
/// let (sender, receiver) = channel();
/// let other = sender.clone();
/// assert_eq!(other.send(1), Ok(()));
/// drop(receiver);
/// assert_eq!(sender.send(2), Err(SendError(2)));
/// ```
pub struct Sender<T> {
    inner: channel::Sender<T>,
}

/// The sending end of a [`sync_channel`]; as [`std::sync::mpsc::SyncSender`].
///
/// # Examples
///
/// ```
/// use corde::sync::mpsc::{TrySendError, sync_channel};
///
/// let (sender, _receiver) = sync_channel(1);
/// assert_eq!(sender.try_send(1), Ok(()));
/// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
/// ```
pub struct SyncSender<T> {
    inner: channel::Sender<T>,
}

/// The receiving end; as [`std::sync::mpsc::Receiver`]: it can go to another thread, but not be shared.
///
/// # Examples
///
/// ```
/// use corde::sync::mpsc::{TryRecvError, channel};
///
/// let (sender, receiver) = channel();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
/// sender.send(1).unwrap();
/// assert_eq!(receiver.try_recv(), Ok(1));
/// drop(sender);
/// assert_eq!(receiver.try_recv(), Err::<i32, _>(TryRecvError::Disconnected));
/// ```
///
/// ```compile_fail,E0277
/// fn assert_sync<T: Sync>(_: T) {}
/// assert_sync(corde::sync::mpsc::channel::<u32>().1);
/// ```
pub struct Receiver<T> {
    inner: channel::Receiver<T>,
    _not_sync: PhantomData<Cell<()>>,
}

// As std's: no borrow of a message is to be had through a reference to it.
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Sender<T> {
    /// Sends; never waits.
    ///
    /// # Errors
    ///
    /// If the receiver is gone. The message comes back in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::mpsc::{SendError, channel};
    ///
    /// let (sender, receiver) = channel();
    /// assert_eq!(sender.send(1), Ok(()));
    /// drop(receiver);
    /// assert_eq!(sender.send(2), Err(SendError(2)));
    /// ```
    #[inline]
    pub fn send(&self, t: T) -> Result<(), SendError<T>> {
        self.inner.send(t).map_err(|error| SendError(error.0))
    }
}

impl<T> SyncSender<T> {
    /// Sends, and waits as long as the channel is full.
    ///
    /// # Errors
    ///
    /// If the receiver is gone. The message comes back in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::mpsc::sync_channel;
    ///
    /// let (sender, receiver) = sync_channel(0);
    /// let received = corde::go!({ receiver.recv() });
    /// sender.send("met").unwrap();
    /// assert_eq!(received.join().unwrap(), Ok("met"));
    /// ```
    #[inline]
    pub fn send(&self, t: T) -> Result<(), SendError<T>> {
        self.inner.send(t).map_err(|error| SendError(error.0))
    }

    /// Sends without waiting.
    ///
    /// # Errors
    ///
    /// If the channel is full, or the receiver is gone; with a bound of 0: if the receiver does not wait. The message comes back in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::mpsc::{TrySendError, sync_channel};
    ///
    /// let (sender, _receiver) = sync_channel(0);
    /// assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
    /// ```
    pub fn try_send(&self, t: T) -> Result<(), TrySendError<T>> {
        self.inner.try_send(t).map_err(|error| match error {
            channel::TrySendError::Full(message) => TrySendError::Full(message),
            channel::TrySendError::Disconnected(message) => TrySendError::Disconnected(message),
        })
    }
}

impl<T> Receiver<T> {
    fn new(inner: channel::Receiver<T>) -> Receiver<T> {
        Receiver {
            inner,
            _not_sync: PhantomData,
        }
    }

    /// Receives without waiting.
    ///
    /// # Errors
    ///
    /// If the channel is empty; disconnected, if also all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::mpsc::{TryRecvError, channel};
    ///
    /// let (sender, receiver) = channel();
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// ```
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.inner.try_recv().map_err(|error| match error {
            channel::TryRecvError::Empty => TryRecvError::Empty,
            channel::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
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
    /// use corde::sync::mpsc::{RecvError, channel};
    ///
    /// let (sender, receiver) = channel();
    /// corde::go!({ sender.send("only").unwrap() });
    /// assert_eq!(receiver.recv(), Ok("only"));
    /// assert_eq!(receiver.recv(), Err(RecvError));
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.inner.recv().map_err(|channel::RecvError| RecvError)
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
    /// use corde::sync::mpsc::{RecvTimeoutError, channel};
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = channel::<()>();
    /// let nothing = receiver.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.inner
            .recv_timeout(timeout)
            .map_err(|error| match error {
                channel::RecvTimeoutError::Timeout => RecvTimeoutError::Timeout,
                channel::RecvTimeoutError::Disconnected => RecvTimeoutError::Disconnected,
            })
    }

    /// Receives until all senders are gone, waiting in between.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = corde::sync::mpsc::channel();
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
    /// let (sender, receiver) = corde::sync::mpsc::channel();
    /// (1..=3).for_each(|number| sender.send(number).unwrap());
    /// assert_eq!(receiver.try_iter().sum::<i32>(), 6);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender {
            inner: self.inner.clone(),
        }
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> SyncSender<T> {
        SyncSender {
            inner: self.inner.clone(),
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// Receives until all senders are gone; from [`Receiver::iter`].
///
/// # Examples
///
/// ```
/// let (sender, receiver) = corde::sync::mpsc::channel();
/// corde::go!({ (0..3).for_each(|number| sender.send(number).unwrap()) });
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
/// ```
#[derive(Debug)]
pub struct Iter<'a, T: 'a> {
    receiver: &'a Receiver<T>,
}

/// Receives until the channel is empty; from [`Receiver::try_iter`].
///
/// # Examples
///
/// ```
/// let (sender, receiver) = corde::sync::mpsc::channel();
/// (0..3).for_each(|number| sender.send(number).unwrap());
/// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
/// ```
#[derive(Debug)]
pub struct TryIter<'a, T: 'a> {
    receiver: &'a Receiver<T>,
}

/// Receives until all senders are gone; owns the receiver.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = corde::sync::mpsc::channel();
/// corde::go!({ (0..3).for_each(|number| sender.send(number).unwrap()) });
/// let mut sum = 0;
/// for number in receiver {
///     sum += number;
/// }
/// assert_eq!(sum, 3);
/// ```
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

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
