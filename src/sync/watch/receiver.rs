//! The end of a watch channel that looks at the value.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::error::{RecvError, RecvTimeoutError};
use super::{CLOSED, Ref, Shared, VERSION};

/// An end that looks at the value and learns of changes. A clone has seen what this one has.
///
/// # Examples
///
/// ```
/// use corde::sync::watch;
///
/// let (sender, mut receiver) = watch::channel("idle");
/// let sends = corde::thread::spawn(move || sender.send("busy").unwrap());
/// receiver.changed().unwrap();
/// assert_eq!(*receiver.borrow(), "busy");
/// sends.join().unwrap();
/// ```
pub struct Receiver<T> {
    pub(super) shared: Arc<Shared<T>>,
    /// The version that it has seen.
    pub(super) version: usize,
}

// As Tokio's, which does not poison.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    pub(super) fn new(shared: &Arc<Shared<T>>, version: usize) -> Receiver<T> {
        shared.receivers.fetch_add(1, Ordering::SeqCst);
        Receiver {
            shared: shared.clone(),
            version,
        }
    }

    /// Looks at the value, without marking it as seen; waits while it is being changed, suspending the calling green thread.
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
    /// let (sender, receiver) = watch::channel(1);
    /// sender.send(2).unwrap();
    /// assert_eq!(*receiver.borrow(), 2);
    /// assert!(receiver.has_changed().unwrap());
    /// ```
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        let inner = self.shared.read();
        // The version does not change meanwhile.
        let has_changed = self.version != self.shared.version();
        Ref { inner, has_changed }
    }

    /// Looks at the value, and marks it as seen; waits while it is being changed, suspending the calling green thread.
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
    /// let (sender, mut receiver) = watch::channel(1);
    /// sender.send(2).unwrap();
    /// assert!(receiver.borrow_and_update().has_changed());
    /// assert!(!receiver.has_changed().unwrap());
    /// ```
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let inner = self.shared.read();
        let version = self.shared.version();
        let has_changed = self.version != version;
        self.version = version;
        Ref { inner, has_changed }
    }

    /// Returns whether there is a value that is not marked as seen.
    ///
    /// # Errors
    ///
    /// If all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(1);
    /// assert!(!receiver.has_changed().unwrap());
    /// sender.send(2).unwrap();
    /// assert!(receiver.has_changed().unwrap());
    /// drop(sender);
    /// assert!(receiver.has_changed().is_err());
    /// ```
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        let state = self.shared.state();
        if state & CLOSED != 0 {
            return Err(RecvError(()));
        }
        Ok(state != self.version)
    }

    /// Returns whether all senders are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(1);
    /// assert!(!receiver.is_closed());
    /// drop(sender);
    /// assert!(receiver.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.state() & CLOSED != 0
    }

    /// Marks the value as not seen: [`changed`](Receiver::changed) returns at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (_sender, mut receiver) = watch::channel(1);
    /// receiver.mark_changed();
    /// assert!(receiver.has_changed().unwrap());
    /// receiver.changed().unwrap();
    /// ```
    pub fn mark_changed(&mut self) {
        self.version = self.shared.version().wrapping_sub(VERSION);
    }

    /// Marks the value as seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, mut receiver) = watch::channel(1);
    /// sender.send(2).unwrap();
    /// receiver.mark_unchanged();
    /// assert!(!receiver.has_changed().unwrap());
    /// ```
    pub fn mark_unchanged(&mut self) {
        self.version = self.shared.version();
    }

    /// Waits for a value that is not marked as seen, suspending the calling green thread, and marks it.
    ///
    /// # Errors
    ///
    /// If all senders are gone, and the last value is seen.
    ///
    /// # Cancellation
    ///
    /// No change is missed with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, mut receiver) = watch::channel(1);
    /// sender.send(2).unwrap();
    /// assert!(receiver.changed().is_ok());
    /// drop(sender);
    /// assert!(receiver.changed().is_err());
    /// ```
    pub fn changed(&mut self) -> Result<(), RecvError> {
        changed(&self.shared, &mut self.version)
    }

    /// Like [`changed`](Receiver::changed), for `timeout` at most.
    ///
    /// # Errors
    ///
    /// As [`changed`](Receiver::changed), or if there was no change in that time.
    ///
    /// # Cancellation
    ///
    /// No change is missed with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch::{self, error::RecvTimeoutError};
    /// use corde::time::Duration;
    ///
    /// let (_sender, mut receiver) = watch::channel(1);
    /// let changed = receiver.changed_timeout(Duration::from_millis(1));
    /// assert_eq!(changed, Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        let deadline = Instant::now().checked_add(timeout);
        match self.shared.changed(&mut self.version, deadline) {
            Some(changed) => changed.map_err(|_| RecvTimeoutError::Closed),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits until the value is as `f` wants it, suspending the calling green thread; marks it as seen, and returns it.
    ///
    /// It is asked about the current value first, seen or not, and then about the newest after each change.
    ///
    /// # Errors
    ///
    /// If all senders are gone, and `f` did not want the last value.
    ///
    /// # Panics
    ///
    /// With the panic of `f`: the value is marked as seen.
    ///
    /// # Cancellation
    ///
    /// What is marked as seen then, `f` did not want.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (progress, mut receiver) = watch::channel(0);
    /// let works = corde::thread::spawn(move || (1..=100).for_each(|i| progress.send(i).unwrap()));
    /// assert!(*receiver.wait_for(|percent| *percent >= 50).unwrap() >= 50);
    /// works.join().unwrap();
    /// ```
    pub fn wait_for(&mut self, mut f: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, RecvError> {
        loop {
            let inner = self.shared.read();
            let version = self.shared.version();
            let has_changed = self.version != version;
            self.version = version;
            if f(&inner) {
                return Ok(Ref { inner, has_changed });
            }
            drop(inner);
            changed(&self.shared, &mut self.version)?;
        }
    }

    /// Returns whether both look at the same value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::watch;
    ///
    /// let (sender, receiver) = watch::channel(1);
    /// assert!(receiver.same_channel(&receiver.clone()));
    /// assert!(receiver.same_channel(&sender.subscribe()));
    /// ```
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

fn changed<T>(shared: &Shared<T>, version: &mut usize) -> Result<(), RecvError> {
    match shared.changed(version, None) {
        Some(changed) => changed,
        None => unreachable!("there is no deadline"),
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver::new(&self.shared, self.version)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.notify_closers();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
