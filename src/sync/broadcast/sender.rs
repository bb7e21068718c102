//! The end of a broadcast channel that sends.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::runtime::lock::Lock;
use crate::runtime::wait_list::{self, End, WaitList};

use super::error::SendError;
use super::{Receiver, Shared, Slot, State};

/// An end that sends. Its clones send to the same receivers.
///
/// When the last one is dropped the channel is closed: receivers get what is left, and then an error.
///
/// # Examples
///
/// ```
/// use corde::sync::broadcast::{self, error::RecvError};
///
/// let (sender, mut receiver) = broadcast::channel(4);
/// sender.clone().send(7).unwrap();
/// drop(sender);
/// assert_eq!(receiver.recv(), Ok(7));
/// assert_eq!(receiver.recv(), Err(RecvError::Closed));
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

// As Tokio's: nothing of the user's runs while it changes.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    /// Makes a channel that keeps `capacity` values, without a receiver: see [`subscribe`](Sender::subscribe).
    ///
    /// # Panics
    ///
    /// As [`channel`](super::channel).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast::Sender;
    ///
    /// let sender = Sender::new(4);
    /// let mut receiver = sender.subscribe();
    /// sender.send(7).unwrap();
    /// assert_eq!(receiver.recv(), Ok(7));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn new(capacity: usize) -> Sender<T> {
        assert!(capacity > 0, "broadcast channel capacity cannot be zero");
        assert!(
            capacity <= usize::MAX >> 1,
            "broadcast channel capacity exceeded `usize::MAX / 2`"
        );
        let slots = (0..capacity.next_power_of_two()).map(|_| Slot {
            unseen: 0,
            value: None,
        });
        Sender {
            shared: Arc::new(Shared {
                senders: AtomicUsize::new(1),
                state: Lock::new(State {
                    slots: slots.collect(),
                    sent: 0,
                    closed: false,
                    receivers: 0,
                    abandoned: 0,
                    waiting: WaitList::new(),
                    closers: WaitList::new(),
                }),
            }),
        }
    }

    /// Sends a value to all receivers, and returns how many those are. Does not wait for them, but lets others run now and then.
    ///
    /// That it returns `Ok` does not mean that all will see the value: they may be dropped before, or lag.
    ///
    /// # Errors
    ///
    /// The value, if there is no receiver. There may be one later.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, receiver) = broadcast::channel(4);
    /// assert_eq!(sender.send(1).unwrap(), 1);
    /// drop(receiver);
    /// assert_eq!(sender.send(2).unwrap_err().0, 2);
    /// ```
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        let value = Arc::new(value);
        let mut state = self.shared.state.lock();
        let receivers = state.receivers;
        if receivers == 0 {
            state.unlock();
            let value = Arc::into_inner(value);
            return Err(SendError(value.expect("it has not been shared")));
        }
        let old = state.push(value);
        wait_list::grant_all(state, State::grant_receiver);
        drop(old);
        Ok(receivers)
    }

    /// Makes a receiver, which gets what is sent from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, _receiver) = broadcast::channel(4);
    /// sender.send("before").unwrap();
    /// let mut late = sender.subscribe();
    /// sender.send("after").unwrap();
    /// assert_eq!(late.recv(), Ok("after"));
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.shared)
    }

    /// Returns how many values are kept that not all receivers have seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, mut receiver) = broadcast::channel(4);
    /// sender.send(1).unwrap();
    /// sender.send(2).unwrap();
    /// assert_eq!(sender.len(), 2);
    /// receiver.recv().unwrap();
    /// assert_eq!(sender.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        let mut state = self.shared.state.lock();
        // Who has not seen a value has not seen those after it.
        let (mut seen, mut end) = (state.oldest(), state.sent);
        while seen < end {
            let middle = seen.midpoint(end);
            if state.slot(middle).unseen == 0 {
                seen = middle + 1;
            } else {
                end = middle;
            }
        }
        (state.sent - seen) as usize
    }

    /// Returns whether all receivers have seen all values.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, mut receiver) = broadcast::channel(4);
    /// sender.send(1).unwrap();
    /// assert!(!sender.is_empty());
    /// receiver.recv().unwrap();
    /// assert!(sender.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many receivers there are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    ///
    /// let (sender, _receiver) = broadcast::channel::<i32>(4);
    /// let _another = sender.subscribe();
    /// assert_eq!(sender.receiver_count(), 2);
    /// ```
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.shared.state.lock().receivers
    }

    /// Returns whether both send to the same receivers.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast::Sender;
    ///
    /// let sender = Sender::<i32>::new(4);
    /// assert!(sender.same_channel(&sender.clone()));
    /// assert!(!sender.same_channel(&Sender::new(4)));
    /// ```
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Waits until there is no receiver, suspending the calling green thread.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast;
    /// use corde::thread;
    ///
    /// let (sender, receiver) = broadcast::channel::<i32>(4);
    /// let leaves = thread::spawn(move || drop(receiver));
    /// sender.closed();
    /// leaves.join().unwrap();
    /// ```
    pub fn closed(&self) {
        let state = self.shared.state.lock();
        if state.receivers == 0 {
            return;
        }
        let before = state.abandoned;
        if let Err((left, _, state)) =
            wait_list::wait(state, |state| &mut state.closers, End::Last, before, None)
        {
            let abandoned = state.abandoned != before;
            state.unlock();
            if !abandoned {
                left.strike();
            }
        }
    }

    /// Returns how many senders there are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::broadcast::Sender;
    ///
    /// let sender = Sender::<i32>::new(4);
    /// let _clone = sender.clone();
    /// assert_eq!(sender.strong_count(), 2);
    /// ```
    #[must_use]
    pub fn strong_count(&self) -> usize {
        self.shared.senders.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        // Relaxed: there is a sender. As for `Arc`, whose count is never lower and aborts when it overflows.
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.shared.state.lock();
            state.closed = true;
            wait_list::grant_all(state, State::grant_receiver);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broadcast::Sender")
    }
}
