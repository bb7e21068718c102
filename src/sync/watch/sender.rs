//! The end of a watch channel that changes the value.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::runtime::lock::Lock;
use crate::runtime::wait_list::{self, End, WaitList};
use crate::runtime::worker;
use crate::sync::RwLock;

use super::error::SendError;
use super::{CLOSED, Receiver, Ref, Shared, VERSION, Waiting};

/// An end that changes the value. Its clones change the same one.
///
/// When the last one is dropped the channel is closed. The value stays.
///
/// # Examples
///
/// ```
/// use corde::sync::watch;
///
/// let (sender, mut receiver) = watch::channel(1);
/// sender.clone().send(2).unwrap();
/// drop(sender);
/// assert!(receiver.changed().is_ok());
/// assert_eq!(*receiver.borrow(), 2);
/// assert!(receiver.changed().is_err());
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

// As Tokio's, which does not poison.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    /// Makes a channel without a receiver: see [`subscribe`](Sender::subscribe).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch::Sender;
    ///
    /// let sender = Sender::new(1);
    /// assert!(sender.send(2).is_err());
    /// let receiver = sender.subscribe();
    /// assert!(sender.send(3).is_ok());
    /// assert_eq!(*receiver.borrow(), 3);
    /// ```
    #[must_use]
    pub fn new(init: T) -> Sender<T> {
        Sender {
            shared: Arc::new(Shared {
                value: RwLock::new(init),
                state: AtomicUsize::new(0),
                senders: AtomicUsize::new(1),
                receivers: AtomicUsize::new(0),
                waiting: Lock::new(Waiting {
                    receivers: WaitList::new(),
                    closers: WaitList::new(),
                    abandoned: 0,
                }),
            }),
        }
    }

    /// Replaces the value, and tells the receivers; waits until nobody looks at it, suspending the calling green thread.
    ///
    /// # Errors
    ///
    /// The value, if there is no receiver: then the old one stays. See [`send_replace`](Sender::send_replace).
    ///
    /// # Cancellation
    ///
    /// Who unwinds while it waits has not changed the value, and drops the new one.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(1);
    /// assert_eq!(sender.send(2), Ok(()));
    /// drop(receiver);
    /// assert_eq!(sender.send(3).unwrap_err().0, 3);
    /// ```
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.is_closed() {
            return Err(SendError(value));
        }
        self.send_replace(value);
        Ok(())
    }

    /// Changes the value, and tells the receivers; waits until nobody looks at it, suspending the calling green thread.
    ///
    /// # Panics
    ///
    /// With the panic of `modify`. What it has changed stays, and receivers are not told.
    ///
    /// # Cancellation
    ///
    /// Who unwinds while it waits has not changed the value. If `modify` itself waits, it is as with a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(vec![1]);
    /// sender.send_modify(|list| list.push(2));
    /// assert_eq!(*receiver.borrow(), [1, 2]);
    /// ```
    pub fn send_modify<F>(&self, modify: F)
    where
        F: FnOnce(&mut T),
    {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Changes the value, perhaps: receivers are told if `modify` returns `true`, which is returned. Waits as [`send_modify`](Sender::send_modify).
    ///
    /// # Panics
    ///
    /// As [`send_modify`](Sender::send_modify).
    ///
    /// # Cancellation
    ///
    /// As for [`send_modify`](Sender::send_modify).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(5);
    /// let raise_to = |new: i32| {
    ///     sender.send_if_modified(|value| {
    ///         let higher = new > *value;
    ///         *value = new.max(*value);
    ///         higher
    ///     })
    /// };
    /// assert!(!raise_to(3) && !receiver.has_changed().unwrap());
    /// assert!(raise_to(7) && receiver.has_changed().unwrap());
    /// ```
    pub fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        worker::spend();
        let mut value = self.shared.write();
        let modified = modify(&mut value);
        if modified {
            self.shared.state.fetch_add(VERSION, Ordering::SeqCst);
        }
        drop(value);
        if modified {
            self.shared.notify_receivers();
        }
        modified
    }

    /// Replaces the value, and returns the old one; also if there is no receiver. Waits as [`send_modify`](Sender::send_modify).
    ///
    /// # Cancellation
    ///
    /// As for [`send`](Sender::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch::Sender;
    ///
    /// let sender = Sender::new(1);
    /// assert_eq!(sender.send_replace(2), 1);
    /// assert_eq!(*sender.borrow(), 2);
    /// ```
    pub fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|old| std::mem::swap(old, &mut value));
        value
    }

    /// Looks at the value; waits while it is being changed, suspending the calling green thread.
    ///
    /// # Cancellation
    ///
    /// Who unwinds while it waits has not looked.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, _receiver) = watch::channel(1);
    /// sender.send(2).unwrap();
    /// assert_eq!(*sender.borrow(), 2);
    /// ```
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref {
            inner: self.shared.read(),
            // A sender has seen what it has sent.
            has_changed: false,
        }
    }

    /// Makes a receiver, which counts the current value as seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch::Sender;
    ///
    /// let sender = Sender::new(1);
    /// let mut receiver = sender.subscribe();
    /// assert!(!receiver.has_changed().unwrap());
    /// sender.send(2).unwrap();
    /// assert!(receiver.changed().is_ok());
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.shared, self.shared.version())
    }

    /// Returns whether there is no receiver. There may be one later.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(1);
    /// assert!(!sender.is_closed());
    /// drop(receiver);
    /// assert!(sender.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
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
    /// use corde::sync::watch;
    /// use corde::thread;
    ///
    /// let (sender, receiver) = watch::channel(1);
    /// let leaves = thread::spawn(move || drop(receiver));
    /// sender.closed();
    /// leaves.join().unwrap();
    /// ```
    pub fn closed(&self) {
        let waiting = self.shared.waiting.lock();
        if self.is_closed() {
            return;
        }
        let before = waiting.abandoned;
        let waited = wait_list::wait(
            waiting,
            |waiting| &mut waiting.closers,
            End::Last,
            before,
            None,
        );
        if let Err((left, _, waiting)) = waited {
            let abandoned = waiting.abandoned != before;
            waiting.unlock();
            if !abandoned {
                left.strike();
            }
        }
    }

    /// Returns how many receivers there are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(1);
    /// let _clone = receiver.clone();
    /// assert_eq!(sender.receiver_count(), 2);
    /// ```
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers.load(Ordering::SeqCst)
    }

    /// Returns how many senders there are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch::Sender;
    ///
    /// let sender = Sender::new(1);
    /// let _clone = sender.clone();
    /// assert_eq!(sender.sender_count(), 2);
    /// ```
    #[must_use]
    pub fn sender_count(&self) -> usize {
        self.shared.senders.load(Ordering::SeqCst)
    }

    /// Returns whether both change the same value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch::Sender;
    ///
    /// let sender = Sender::new(1);
    /// assert!(sender.same_channel(&sender.clone()));
    /// assert!(!sender.same_channel(&Sender::new(1)));
    /// ```
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
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
            self.shared.state.fetch_or(CLOSED, Ordering::SeqCst);
            self.shared.notify_receivers();
        }
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Sender<T> {
        Sender::new(T::default())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}
