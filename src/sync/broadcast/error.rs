//! What sending and receiving fail with.
//!
//! # Examples
//!
//! ```
//! use corde::sync::broadcast::{self, error::TryRecvError};
//!
//! let (_sender, mut receiver) = broadcast::channel::<i32>(4);
//! assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
//! ```

use std::fmt;

/// The value, as there is nobody to receive it.
///
/// # Examples
///
/// ```
/// use corde::sync::broadcast::{Sender, error::SendError};
///
/// let SendError(value) = Sender::new(4).send(7).unwrap_err();
/// assert_eq!(value, 7);
/// ```
#[derive(Debug)]
pub struct SendError<T>(pub T);

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed")
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}

/// Why `recv` did not return a value.
///
/// # Examples
///
/// ```
/// use corde::sync::broadcast::{self, error::RecvError};
///
/// let (sender, mut receiver) = broadcast::channel::<i32>(4);
/// drop(sender);
/// assert_eq!(receiver.recv(), Err(RecvError::Closed));
/// ```
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum RecvError {
    /// All senders are gone, and all values seen.
    Closed,
    /// The receiver has missed so many values.
    Lagged(u64),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Closed => f.write_str("channel closed"),
            RecvError::Lagged(missed) => write!(f, "channel lagged by {missed}"),
        }
    }
}

impl std::error::Error for RecvError {}

/// Why `try_recv` did not return a value.
///
/// # Examples
///
/// ```
/// use corde::sync::broadcast::{self, error::TryRecvError};
///
/// let (sender, mut receiver) = broadcast::channel(1);
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
/// sender.send(1).unwrap();
/// sender.send(2).unwrap();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Lagged(1)));
/// ```
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum TryRecvError {
    /// All values have been seen.
    Empty,
    /// All senders are gone, and all values seen.
    Closed,
    /// The receiver has missed so many values.
    Lagged(u64),
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryRecvError::Empty => f.write_str("channel empty"),
            TryRecvError::Closed => f.write_str("channel closed"),
            TryRecvError::Lagged(missed) => write!(f, "channel lagged by {missed}"),
        }
    }
}

impl std::error::Error for TryRecvError {}

/// Why no value was received in time.
///
/// # Examples
///
/// ```
/// use corde::sync::broadcast::{self, error::RecvTimeoutError};
/// use corde::time::Duration;
///
/// let (sender, mut receiver) = broadcast::channel::<i32>(4);
/// drop(sender);
/// let received = receiver.recv_timeout(Duration::from_secs(60));
/// assert_eq!(received, Err(RecvTimeoutError::Closed));
/// ```
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum RecvTimeoutError {
    /// Nothing came in time.
    Timeout,
    /// All senders are gone, and all values seen.
    Closed,
    /// The receiver has missed so many values.
    Lagged(u64),
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvTimeoutError::Timeout => f.write_str("timed out waiting on channel"),
            RecvTimeoutError::Closed => f.write_str("channel closed"),
            RecvTimeoutError::Lagged(missed) => write!(f, "channel lagged by {missed}"),
        }
    }
}

impl std::error::Error for RecvTimeoutError {}
