//! What sending and waiting for changes fail with.
//!
//! # Examples
//!
//! ```
//! use corde::sync::watch::{Sender, error::SendError};
//!
//! assert_eq!(Sender::new(1).send(2), Err(SendError(2)));
//! ```

use std::fmt;

/// The value, as there is no receiver.
///
/// # Examples
///
/// ```
/// use corde::sync::watch::{Sender, error::SendError};
///
/// let SendError(value) = Sender::new(1).send(2).unwrap_err();
/// assert_eq!(value, 2);
/// ```
#[derive(PartialEq, Eq, Clone, Copy)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed")
    }
}

impl<T> std::error::Error for SendError<T> {}

/// All senders are gone: there will be no change.
///
/// # Examples
///
/// ```
/// use corde::sync::watch::{self, error::RecvError};
///
/// let (sender, mut receiver) = watch::channel(1);
/// drop(sender);
/// let error: RecvError = receiver.changed().unwrap_err();
/// assert_eq!(error.to_string(), "channel closed");
/// ```
#[derive(Debug, Clone)]
pub struct RecvError(pub(super) ());

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed")
    }
}

impl std::error::Error for RecvError {}

/// Why there was no change in time.
///
/// # Examples
///
/// ```
/// use corde::sync::watch::{self, error::RecvTimeoutError};
/// use corde::time::Duration;
///
/// let (sender, mut receiver) = watch::channel(1);
/// drop(sender);
/// let changed = receiver.changed_timeout(Duration::from_secs(60));
/// assert_eq!(changed, Err(RecvTimeoutError::Closed));
/// ```
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum RecvTimeoutError {
    /// There may be one later.
    Timeout,
    /// All senders are gone.
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
