//! A value that is set once.

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::once::Once;

/// A value that is set once, by the first who needs it; as [`std::sync::OnceLock`], but waiting for it suspends a green thread.
///
/// # Examples
///
/// ```
/// use corde::sync::OnceLock;
///
/// static CONFIGURATION: OnceLock<String> = OnceLock::new();
/// let first = CONFIGURATION.get_or_init(|| "first".to_owned());
/// let second = CONFIGURATION.get_or_init(|| "second".to_owned());
/// assert_eq!((&**first, &**second), ("first", "first"));
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Written by the closure that `once` runs; read when it is completed.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: references to the value are shared only after it has been written, for which the `Once` sees to order. Send as well, as
// the thread that sets it need not be the one that drops it.
unsafe impl<T: Sync + Send> Sync for OnceLock<T> {}

impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// Makes one without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corde::sync::OnceLock::<u32>::new().get(), None);
    /// ```
    #[inline]
    #[must_use]
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            once: Once::new(),
            value: UnsafeCell::new(None),
        }
    }

    /// Returns the value, if it has been set. Does not wait for one that is being made.
    ///
    /// # Examples
    ///
    /// ```
    /// let number = corde::sync::OnceLock::from(7);
    /// assert_eq!(number.get(), Some(&7));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: it is completed, so nobody writes it any more but through a mutable reference to this.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// Returns the value, if it has been set.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut number = corde::sync::OnceLock::from(7);
    /// *number.get_mut().unwrap() += 1;
    /// assert_eq!(number.get(), Some(&8));
    /// ```
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Waits until the value has been set.
    ///
    /// # Panics
    ///
    /// If called by the closure that makes the value.
    ///
    /// # Cancellation
    ///
    /// The wait can be interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::{sync::OnceLock, thread};
    ///
    /// let result = OnceLock::new();
    /// thread::scope(|scope| {
    ///     scope.spawn(|| result.set(7));
    ///     assert_eq!(*result.wait(), 7);
    /// });
    /// ```
    #[inline]
    pub fn wait(&self) -> &T {
        self.once.wait_force();
        self.expect_value()
    }

    /// Sets the value. If one is being made, waits for that.
    ///
    /// # Errors
    ///
    /// If there is a value already; the error is what was to be set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::OnceLock;
    ///
    /// let number = OnceLock::new();
    /// assert_eq!(number.set(1), Ok(()));
    /// assert_eq!(number.set(2), Err(2));
    /// ```
    #[inline]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        if !self.once.is_completed() {
            self.initialize(|| value.take());
        }
        value.map_or(Ok(()), Err)
    }

    /// Returns the value, and makes it by `f` if there is none. If one is being made, waits for that.
    ///
    /// If `f` panics, or is interrupted, the next one to call makes the value.
    ///
    /// # Panics
    ///
    /// If `f` panics; if it asks for the value that it makes, where std's waits for itself for ever.
    ///
    /// # Cancellation
    ///
    /// Who waits here can be interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::{sync::OnceLock, thread};
    ///
    /// let made = OnceLock::new();
    /// thread::scope(|scope| {
    ///     for n in 0..10 {
    ///         let made = &made;
    ///         scope.spawn(move || made.get_or_init(|| n));
    ///     }
    /// });
    /// assert!((0..10).contains(made.get().unwrap()));
    /// ```
    #[inline]
    pub fn get_or_init<F>(&self, f: F) -> &T
    where
        F: FnOnce() -> T,
    {
        if !self.once.is_completed() {
            self.initialize(|| Some(f()));
        }
        self.expect_value()
    }

    /// Takes the value out.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corde::sync::OnceLock::from(7).into_inner(), Some(7));
    /// ```
    #[inline]
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out, to be set anew.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut number = corde::sync::OnceLock::from(1);
    /// assert_eq!(number.take(), Some(1));
    /// assert_eq!(number.set(2), Ok(()));
    /// ```
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        self.once = Once::new();
        self.value.get_mut().take()
    }

    #[cold]
    fn initialize(&self, f: impl FnOnce() -> Option<T>) {
        self.once.call_once_force(|_| {
            let value = f();
            // SAFETY: the `Once` runs one closure at a time, and none after the one that ends well; nobody reads before.
            unsafe { *self.value.get() = value };
        });
    }

    #[inline]
    fn expect_value(&self) -> &T {
        match self.get() {
            Some(value) => value,
            None => unreachable!("completed, it has a value"),
        }
    }
}

impl<T> Default for OnceLock<T> {
    /// Makes one without a value.
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => out.field(value),
            None => out.field(&format_args!("<uninit>")),
        };
        out.finish()
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        self.get()
            .cloned()
            .map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T> From<T> for OnceLock<T> {
    /// Makes one with this value.
    fn from(value: T) -> OnceLock<T> {
        let lock = OnceLock::new();
        lock.initialize(|| Some(value));
        lock
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}
