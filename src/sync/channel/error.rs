//! What can go wrong with a channel, as in crossbeam-channel.

use std::error::Error;
use std::fmt;

/// The message could not be sent, as all receivers are gone. Contains the message.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{SendError, unbounded};
///
/// let (sender, receiver) = unbounded();
/// drop(receiver);
/// assert_eq!(sender.send("nobody hears"), Err(SendError("nobody hears")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The message could not be sent at once. Contains the message.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{TrySendError, bounded};
///
/// let (sender, receiver) = bounded(1);
/// sender.try_send(1).unwrap();
/// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
/// drop(receiver);
/// assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full; of one with capacity 0: no receiver waits.
    Full(T),
    /// All receivers are gone.
    Disconnected(T),
}

/// The message could not be sent in time. Contains the message.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{SendTimeoutError, bounded};
/// use std::time::Duration;
///
/// let (sender, _receiver) = bounded(0);
/// let refused = sender.send_timeout(1, Duration::from_millis(1));
/// assert_eq!(refused, Err(SendTimeoutError::Timeout(1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel was full all the time; of one with capacity 0: no receiver came.
    Timeout(T),
    /// All receivers are gone.
    Disconnected(T),
}

/// There is nothing to receive any more: the channel is empty and all senders are gone.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{RecvError, unbounded};
///
/// let (sender, receiver) = unbounded::<()>();
/// drop(sender);
/// assert_eq!(receiver.recv(), Err(RecvError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// There is nothing to receive at once.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{TryRecvError, unbounded};
///
/// let (sender, receiver) = unbounded::<()>();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
/// drop(sender);
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// The channel is empty; of one with capacity 0: no sender waits.
    Empty,
    /// The channel is empty and all senders are gone.
    Disconnected,
}

/// There was nothing to receive in time.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// The channel was empty all the time; of one with capacity 0: no sender came.
    Timeout,
    /// The channel is empty and all senders are gone.
    Disconnected,
}

impl<T> SendError<T> {
    /// Returns the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::SendError;
    ///
    /// assert_eq!(SendError("kept").into_inner(), "kept");
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> TrySendError<T> {
    /// Returns the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::TrySendError;
    ///
    /// assert_eq!(TrySendError::Full("kept").into_inner(), "kept");
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        }
    }

    /// Returns whether the channel was full.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::bounded;
    ///
    /// let (sender, _receiver) = bounded(0);
    /// assert!(sender.try_send("nobody waits").unwrap_err().is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full(_))
    }

    /// Returns whether all receivers are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::bounded;
    ///
    /// let (sender, receiver) = bounded(1);
    /// drop(receiver);
    /// assert!(sender.try_send(1).unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::Disconnected(_))
    }
}

impl<T> SendTimeoutError<T> {
    /// Returns the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::SendTimeoutError;
    ///
    /// assert_eq!(SendTimeoutError::Timeout("kept").into_inner(), "kept");
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Disconnected(message) => message,
        }
    }

    /// Returns whether the time was over.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::bounded;
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = bounded(0);
    /// assert!(sender.send_timeout(1, Duration::ZERO).unwrap_err().is_timeout());
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendTimeoutError::Timeout(_))
    }

    /// Returns whether all receivers are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::bounded;
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = bounded(1);
    /// drop(receiver);
    /// assert!(sender.send_timeout(1, Duration::ZERO).unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendTimeoutError::Disconnected(_))
    }
}

impl TryRecvError {
    /// Returns whether the channel was empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::unbounded;
    ///
    /// let (_sender, receiver) = unbounded::<()>();
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        matches!(self, TryRecvError::Empty)
    }

    /// Returns whether it was empty and all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::unbounded;
    ///
    /// let (sender, receiver) = unbounded::<()>();
    /// drop(sender);
    /// assert!(receiver.try_recv().unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TryRecvError::Disconnected)
    }
}

impl RecvTimeoutError {
    /// Returns whether the time was over.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::unbounded;
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = unbounded::<()>();
    /// assert!(receiver.recv_timeout(Duration::ZERO).unwrap_err().is_timeout());
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, RecvTimeoutError::Timeout)
    }

    /// Returns whether the channel was empty and all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::unbounded;
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = unbounded::<()>();
    /// drop(sender);
    /// assert!(receiver.recv_timeout(Duration::ZERO).unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvTimeoutError::Disconnected)
    }
}

const NO_RECEIVER: &str = "sending on a disconnected channel";
const NO_SENDER: &str = "receiving on an empty and disconnected channel";

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NO_RECEIVER)
    }
}

impl<T> Error for SendError<T> {}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TrySendError::Full(_) => "sending on a full channel",
            TrySendError::Disconnected(_) => NO_RECEIVER,
        })
    }
}

impl<T> Error for TrySendError<T> {}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SendTimeoutError(..)")
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SendTimeoutError::Timeout(_) => "timed out waiting on send operation",
            SendTimeoutError::Disconnected(_) => NO_RECEIVER,
        })
    }
}

impl<T> Error for SendTimeoutError<T> {}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NO_SENDER)
    }
}

impl Error for RecvError {}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TryRecvError::Empty => "receiving on an empty channel",
            TryRecvError::Disconnected => NO_SENDER,
        })
    }
}

impl Error for TryRecvError {}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RecvTimeoutError::Timeout => "timed out waiting on receive operation",
            RecvTimeoutError::Disconnected => "channel is empty and disconnected",
        })
    }
}

impl Error for RecvTimeoutError {}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(error: SendError<T>) -> TrySendError<T> {
        TrySendError::Disconnected(error.0)
    }
}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(error: SendError<T>) -> SendTimeoutError<T> {
        SendTimeoutError::Disconnected(error.0)
    }
}

impl From<RecvError> for TryRecvError {
    fn from(_: RecvError) -> TryRecvError {
        TryRecvError::Disconnected
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(_: RecvError) -> RecvTimeoutError {
        RecvTimeoutError::Disconnected
    }
}

/// No operation could be selected at once.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, TrySelectError};
///
/// assert_eq!(Select::new().try_select().err(), Some(TrySelectError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrySelectError;

/// No operation could be selected in time.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, SelectTimeoutError};
/// use std::time::Duration;
///
/// let nothing = Select::new().select_timeout(Duration::ZERO);
/// assert_eq!(nothing.err(), Some(SelectTimeoutError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectTimeoutError;

/// No operation was ready.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, TryReadyError};
///
/// assert_eq!(Select::new().try_ready(), Err(TryReadyError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryReadyError;

/// No operation was ready in time.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{ReadyTimeoutError, Select};
/// use std::time::Duration;
///
/// assert_eq!(Select::new().ready_timeout(Duration::ZERO), Err(ReadyTimeoutError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyTimeoutError;

impl fmt::Display for TrySelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("all operations in select would block")
    }
}

impl fmt::Display for SelectTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("timed out waiting on select")
    }
}

impl fmt::Display for TryReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("no operation is ready")
    }
}

impl fmt::Display for ReadyTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("timed out waiting on ready")
    }
}

impl Error for TrySelectError {}
impl Error for SelectTimeoutError {}
impl Error for TryReadyError {}
impl Error for ReadyTimeoutError {}
