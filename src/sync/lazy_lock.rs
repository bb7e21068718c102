//! A value that is made when it is first used.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::once::Once;
use crate::runtime::interrupt;

/// A value that is made when it is first used; as [`std::sync::LazyLock`], but waiting for it suspends a green thread.
///
/// # Cancellation
///
/// Who waits while another thread makes the value can be interrupted. Who makes it is not: the closure exists only once, and all others
/// rely on it. What was wished meanwhile comes at the next suspension after it. Timeouts inside of the closure work.
///
/// # Examples
///
/// ```
/// use corde::sync::LazyLock;
///
/// static NUMBERS: LazyLock<Vec<u32>> = LazyLock::new(|| (0..10).collect());
/// assert_eq!(NUMBERS.len(), 10);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    /// Changed by the closure that `once` runs; read when it is completed.
    data: UnsafeCell<Data<T, F>>,
}

enum Data<T, F> {
    Closure(F),
    Value(T),
    /// The closure has been taken out, and has not returned.
    Nothing,
}

// SAFETY: references to the value are shared only after it has been made, for which the `Once` sees to order. The closure is used by one
// thread, whichever that is.
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}

impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// Makes one whose value `f` will make.
    ///
    /// # Examples
    ///
    /// ```
    /// let name = "corde".to_owned();
    /// let length = corde::sync::LazyLock::new(|| name.len());
    /// assert_eq!(*length, 5);
    /// ```
    #[inline]
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock {
            once: Once::new(),
            data: UnsafeCell::new(Data::Closure(f)),
        }
    }

    /// Returns the value, and makes it if it is not there yet; waits for another thread that is making it.
    ///
    /// # Panics
    ///
    /// If the closure panics, or has panicked before; if it asks for the value that it makes, where std's waits for itself for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::LazyLock;
    ///
    /// let lazy = LazyLock::new(|| 7);
    /// assert_eq!(LazyLock::force(&lazy), &7);
    /// ```
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        if !this.once.is_completed() {
            this.make();
        }
        match LazyLock::get(this) {
            Some(value) => value,
            None => unreachable!("completed, it has a value"),
        }
    }

    /// Returns the value, and makes it if it is not there yet.
    ///
    /// # Panics
    ///
    /// If the closure panics, or has panicked before.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::LazyLock;
    ///
    /// let mut lazy = LazyLock::new(|| 7);
    /// *LazyLock::force_mut(&mut lazy) += 1;
    /// assert_eq!(*lazy, 8);
    /// ```
    #[inline]
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        LazyLock::force(this);
        match LazyLock::get_mut(this) {
            Some(value) => value,
            None => unreachable!("it has just been there"),
        }
    }

    #[cold]
    fn make(&self) {
        self.once.call_once_force(|_| {
            // SAFETY: the `Once` runs one closure at a time, and none after the one that ends well; nobody reads before.
            let data = unsafe { &mut *self.data.get() };
            let Data::Closure(f) = mem::replace(data, Data::Nothing) else {
                panic!("LazyLock instance has previously been poisoned")
            };
            *data = Data::Value(interrupt::masked(f));
        });
    }
}

impl<T, F> LazyLock<T, F> {
    /// Returns the value, if it has been made.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::LazyLock;
    ///
    /// let lazy = LazyLock::new(|| 7);
    /// assert_eq!(LazyLock::get(&lazy), None);
    /// assert_eq!((*lazy, LazyLock::get(&lazy)), (7, Some(&7)));
    /// ```
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        if !this.once.is_completed() {
            return None;
        }
        // SAFETY: it is completed, so nobody changes it any more but through a mutable reference to this.
        match unsafe { &*this.data.get() } {
            Data::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the value, if it has been made.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::LazyLock;
    ///
    /// assert_eq!(LazyLock::get_mut(&mut LazyLock::new(|| 7)), None);
    /// ```
    #[inline]
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        match this.data.get_mut() {
            Data::Value(value) => Some(value),
            _ => None,
        }
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    /// Returns the value; as [`LazyLock::force`].
    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    /// Makes one whose value is the default one.
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("LazyLock");
        match LazyLock::get(self) {
            Some(value) => out.field(value),
            None => out.field(&format_args!("<uninit>")),
        };
        out.finish()
    }
}
