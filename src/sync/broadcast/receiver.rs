//! The end of a broadcast channel that receives.

use std::array;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::runtime::wait_list::{self, End};
use crate::runtime::worker;

use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::{Shared, State};

/// How many values a receiver that is dropped leaves behind while it has the lock.
const BATCH: usize = 32;

/// An end that receives: every value that is sent while it is there.
///
/// # Examples
///
/// ```
/// use corde::sync::broadcast;
///
/// let (sender, mut receiver) = broadcast::channel(4);
/// sender.send(1).unwrap();
/// sender.send(2).unwrap();
/// drop(sender);
/// let mut received = Vec::new();
/// while let Ok(value) = receiver.recv() {
///     received.push(value);
/// }
/// assert_eq!(received, [1, 2]);
/// ```
pub struct Receiver<T> {
    pub(super) shared: Arc<Shared<T>>,
    /// The position that it sees next.
    pub(super) next: u64,
}

// As Tokio's: nothing of the user's runs while it changes.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    pub(super) fn new(shared: &Arc<Shared<T>>) -> Receiver<T> {
        let mut state = shared.state.lock();
        state.receivers += 1;
        let next = state.sent;
        state.unlock();
        Receiver {
            shared: shared.clone(),
            next,
        }
    }

    /// Returns how many values have been sent that this one has not seen: more than the capacity, if it lags.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, mut receiver) = broadcast::channel(4);
    /// sender.send(1).unwrap();
    /// sender.send(2).unwrap();
    /// assert_eq!(receiver.len(), 2);
    /// receiver.recv().unwrap();
    /// assert_eq!(receiver.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        (self.shared.state.lock().sent - self.next) as usize
    }

    /// Returns whether this one has seen all values.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, receiver) = broadcast::channel(4);
    /// assert!(receiver.is_empty());
    /// sender.send(1).unwrap();
    /// assert!(!receiver.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether both receive from the same senders.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, receiver) = broadcast::channel::<i32>(4);
    /// assert!(receiver.same_channel(&sender.subscribe()));
    /// ```
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns how many senders there are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, receiver) = broadcast::channel::<i32>(4);
    /// let _clone = sender.clone();
    /// assert_eq!(receiver.sender_strong_count(), 2);
    /// ```
    #[must_use]
    pub fn sender_strong_count(&self) -> usize {
        self.shared.senders.load(Ordering::Acquire)
    }

    /// Returns whether all senders are gone. There may be values left.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, receiver) = broadcast::channel::<i32>(4);
    /// assert!(!receiver.is_closed());
    /// drop(sender);
    /// assert!(receiver.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender_strong_count() == 0
    }
}

impl<T: Clone> Receiver<T> {
    /// Makes another receiver, which gets what is sent from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, receiver) = broadcast::channel(4);
    /// sender.send("before").unwrap();
    /// let mut another = receiver.resubscribe();
    /// sender.send("after").unwrap();
    /// assert_eq!(another.recv(), Ok("after"));
    /// ```
    #[must_use]
    pub fn resubscribe(&self) -> Receiver<T> {
        Receiver::new(&self.shared)
    }

    /// Waits for the next value, suspending the calling green thread.
    ///
    /// # Errors
    ///
    /// [`Lagged`](RecvError::Lagged), once, if values were overwritten before this one saw them: then it goes on with the oldest that
    /// is left. [`Closed`](RecvError::Closed), if all senders are gone and all values seen.
    ///
    /// # Panics
    ///
    /// With the panic of `T::clone`: the value counts as seen.
    ///
    /// # Cancellation
    ///
    /// No value is lost with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, mut receiver) = broadcast::channel(4);
    /// let sends = corde::thread::spawn(move || sender.send(7).unwrap());
    /// assert_eq!(receiver.recv(), Ok(7));
    /// sends.join().unwrap();
    /// ```
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_until(None).map_err(|error| match error {
            RecvTimeoutError::Closed => RecvError::Closed,
            RecvTimeoutError::Lagged(missed) => RecvError::Lagged(missed),
            RecvTimeoutError::Timeout => unreachable!("there is no deadline"),
        })
    }

    /// Like [`recv`](Receiver::recv), for `timeout` at most.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv); [`Timeout`](RecvTimeoutError::Timeout), if nothing came in that time.
    ///
    /// # Panics
    ///
    /// As [`recv`](Receiver::recv).
    ///
    /// # Cancellation
    ///
    /// No value is lost with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast::{self, error::RecvTimeoutError};
    /// use corde::time::Duration;
    ///
    /// let (_sender, mut receiver) = broadcast::channel::<i32>(4);
    /// let received = receiver.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(received, Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Like [`recv`](Receiver::recv), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Receiver::recv_timeout).
    ///
    /// # Panics
    ///
    /// As [`recv`](Receiver::recv).
    ///
    /// # Cancellation
    ///
    /// No value is lost with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast::{self, error::RecvTimeoutError};
    /// use corde::time::Instant;
    ///
    /// let (_sender, mut receiver) = broadcast::channel::<i32>(4);
    /// let received = receiver.recv_deadline(Instant::now());
    /// assert_eq!(received, Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    /// Returns the next value, if there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv); [`Empty`](TryRecvError::Empty), if there is none yet.
    ///
    /// # Panics
    ///
    /// As [`recv`](Receiver::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast::{self, error::TryRecvError};
    ///
    /// let (sender, mut receiver) = broadcast::channel(4);
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send(7).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(7));
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let pulled = self.shared.state.lock().pull(&mut self.next);
        pulled.map(Arc::unwrap_or_clone)
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        // Before there is a value that could be lost, as this may unwind.
        worker::spend();
        let mut left = None;
        loop {
            let mut state = self.shared.state.lock();
            let error = match state.pull(&mut self.next) {
                Ok(value) => {
                    state.unlock();
                    return Ok(Arc::unwrap_or_clone(value));
                }
                Err(TryRecvError::Empty) => RecvTimeoutError::Timeout,
                Err(TryRecvError::Closed) => RecvTimeoutError::Closed,
                Err(TryRecvError::Lagged(missed)) => RecvTimeoutError::Lagged(missed),
            };
            if error != RecvTimeoutError::Timeout {
                return Err(error);
            }
            if let Some(left) = left {
                state.unlock();
                wait_list::Left::strike(left);
                return Err(RecvTimeoutError::Timeout);
            }
            let waited = wait_list::wait(
                state,
                |state| &mut state.waiting,
                End::Last,
                self.next,
                deadline,
            );
            // What has come at the same moment counts.
            left = waited.err().map(|(left, _, _)| left);
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.receivers -= 1;
        let end = state.sent;
        if state.receivers == 0 {
            state.abandoned += 1;
            wait_list::grant_all(state, State::grant_closer);
        } else {
            state.unlock();
        }
        // Those that it has not seen need not wait for it any more.
        let mut next = self.next;
        while next < end {
            let mut state = self.shared.state.lock();
            next = next.max(state.oldest());
            let unseen = array::from_fn::<_, BATCH, _>(|_| {
                if next >= end {
                    return None;
                }
                next += 1;
                state.slot(next - 1).skip()
            });
            state.unlock();
            drop(unseen);
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broadcast::Receiver")
    }
}
