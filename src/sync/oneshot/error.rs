//! What receiving fails with.
//!
//! # Examples
//!
//! ```
//! use corde::sync::oneshot::{self, error::TryRecvError};
//!
//! let (_sender, mut receiver) = oneshot::channel::<u32>();
//! assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
//! ```

use std::fmt;

/// There will be no value.
///
/// # Examples
///
/// ```
/// use corde::sync::oneshot::{self, error::RecvError};
///
/// let (sender, receiver) = oneshot::channel::<u32>();
/// drop(sender);
/// let error: RecvError = receiver.recv().unwrap_err();
/// assert_eq!(error.to_string(), "channel closed");
/// ```
#[derive(Debug, Eq, PartialEq, Clone)]
pub struct RecvError(pub(super) ());

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed")
    }
}

impl std::error::Error for RecvError {}

/// Why there is no value yet.
///
/// # Examples
///
/// ```
/// use corde::sync::oneshot::{self, error::TryRecvError};
///
/// let (sender, mut receiver) = oneshot::channel::<u32>();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
/// drop(sender);
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
/// ```
#[derive(Debug, Eq, PartialEq, Clone)]
pub enum TryRecvError {
    /// It has not been sent yet.
    Empty,
    /// It never will be, or has been received.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "channel empty",
            TryRecvError::Closed => "channel closed",
        })
    }
}

impl std::error::Error for TryRecvError {}

/// Why no value was received in time.
///
/// # Examples
///
/// ```
/// use corde::sync::oneshot::{self, error::RecvTimeoutError};
/// use corde::time::Duration;
///
/// let (sender, mut receiver) = oneshot::channel::<u32>();
/// drop(sender);
/// let received = receiver.recv_timeout(Duration::from_secs(60));
/// assert_eq!(received, Err(RecvTimeoutError::Closed));
/// ```
#[derive(Debug, Eq, PartialEq, Clone)]
pub enum RecvTimeoutError {
    /// It has not been sent yet.
    Timeout,
    /// It never will be, or has been received.
    Closed,
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecvTimeoutError::Timeout => "timed out waiting on channel",
            RecvTimeoutError::Closed => "channel closed",
        })
    }
}

impl std::error::Error for RecvTimeoutError {}
