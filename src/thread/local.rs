//! Values of which each thread, green or not, has its own; as [`std::thread::LocalKey`].

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use crate::runtime::locals::{self, Key};

/// A value of which each thread has its own; as [`std::thread::LocalKey`], but a green thread counts as a thread. Declared by
/// [`green_local!`](crate::green_local).
///
/// The value is made when a thread first uses it. When a green thread ends, its values are dropped on its own stack: after its body has
/// returned or unwound, and before anybody takes it for ended, the one that was made last first. What destructors make of other values is
/// dropped as well; a value that has been dropped is not made again, and to use it is an error. While destructors
/// run, the green thread is not interrupted. A destructor that panics aborts the process, as with std.
///
/// On an OS thread that runs no green thread the value is that thread's, and is dropped at its end. A coroutine uses the values of the
/// thread that has resumed it. Green threads that are left behind by the [end of a runtime](crate::runtime::Runtime::shutdown) drop nothing.
///
/// It differs from std in that a borrow may go on when the thread has ended: that of a coroutine which was suspended in
/// [`with`](LocalKey::with), and is resumed by another thread. Then the value is dropped when `with` returns.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use corde::{green_local, thread};
///
/// green_local! {
///     static COUNT: Cell<u32> = const { Cell::new(1) };
/// }
///
/// corde::run(|| {
///     COUNT.set(2);
///     // Another green thread has its own, on whichever worker.
///     let other = thread::spawn(|| COUNT.replace(3)).join().unwrap();
///     assert_eq!((COUNT.get(), other), (2, 1));
/// });
/// ```
pub struct LocalKey<T: 'static> {
    key: Key<T>,
    init: fn() -> T,
}

/// What [`LocalKey::try_with`] returns when the value has been dropped; as [`std::thread::AccessError`].
///
/// # Examples
///
/// ```
/// use corde::{green_local, thread};
///
/// struct Last;
/// impl Drop for Last {
///     fn drop(&mut self) {
///         let gone: Result<(), thread::AccessError> = LAST.try_with(|_| ());
///         assert_eq!(gone.unwrap_err().to_string(), "already destroyed");
///     }
/// }
/// green_local! { static LAST: Last = const { Last } }
///
/// thread::spawn(|| LAST.with(|_| ())).join().unwrap();
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Debug for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessError").finish()
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("already destroyed")
    }
}

impl Error for AccessError {}

#[cold]
#[inline(never)]
#[track_caller]
fn panic_destroyed() -> ! {
    panic!("a local value of a thread was used during or after its destruction")
}

impl<T: 'static> LocalKey<T> {
    /// For `green_local!`.
    #[doc(hidden)]
    pub const fn __new(init: fn() -> T) -> LocalKey<T> {
        LocalKey {
            key: Key::new(),
            init,
        }
    }

    /// The value, which is made if it is not there: from `first`, if that has one.
    #[inline(always)]
    fn value(&'static self, first: Option<&mut Option<T>>) -> Result<Rc<T>, AccessError> {
        match locals::get(&self.key) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => self.make(first),
            Err(_) => Err(AccessError),
        }
    }

    #[cold]
    #[inline(never)]
    fn make(&'static self, first: Option<&mut Option<T>>) -> Result<Rc<T>, AccessError> {
        let value = first.and_then(Option::take).unwrap_or_else(self.init);
        locals::insert(&self.key, value).map_err(|_| AccessError)
    }

    /// Calls `f` with the calling thread's value, which is made if it is not there.
    ///
    /// `f` may suspend; other green threads have their own values.
    ///
    /// # Panics
    ///
    /// If the value has been dropped, at the thread's end. And with a panic of the initializer or of `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static WORDS: Vec<&'static str> = vec!["made", "once", "a", "thread"] }
    /// assert_eq!(WORDS.with(|words| words.len()), 4);
    /// ```
    #[inline]
    #[track_caller]
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        match self.value(None) {
            Ok(value) => f(&value),
            Err(AccessError) => panic_destroyed(),
        }
    }

    /// Like [`with`](LocalKey::with), but does not panic if the value has been dropped.
    ///
    /// # Errors
    ///
    /// If the value has been dropped, or the thread is at its very end.
    ///
    /// # Panics
    ///
    /// With a panic of the initializer or of `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static DEPTH: u32 = 0 }
    /// assert_eq!(DEPTH.try_with(|depth| *depth), Ok(0));
    /// ```
    #[inline]
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, AccessError>
    where
        F: FnOnce(&T) -> R,
    {
        let value = self.value(None)?;
        Ok(f(&value))
    }

    /// Calls `f` with the value; and with `first`, if the value was there already.
    #[track_caller]
    fn with_first<R>(&'static self, first: T, f: impl FnOnce(Option<T>, &T) -> R) -> R {
        let mut first = Some(first);
        match self.value(Some(&mut first)) {
            Ok(value) => f(first, &value),
            Err(AccessError) => panic_destroyed(),
        }
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value, without running the initializer.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    ///
    /// corde::green_local! { static NUMBER: Cell<i32> = unreachable!("it is always set first") }
    /// NUMBER.set(1);
    /// assert_eq!(NUMBER.get(), 1);
    /// ```
    #[track_caller]
    pub fn set(&'static self, value: T) {
        self.with_first(Cell::new(value), |value, cell| {
            if let Some(value) = value {
                cell.set(value.into_inner());
            }
        });
    }

    /// Returns a copy of the value.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static NUMBER: std::cell::Cell<i32> = std::cell::Cell::new(7) }
    /// assert_eq!(NUMBER.get(), 7);
    /// ```
    #[inline]
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value, and leaves the default one.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    ///
    /// corde::green_local! { static NAME: Cell<Option<String>> = Cell::new(Some("first".into())) }
    /// assert_eq!(NAME.take().as_deref(), Some("first"));
    /// assert_eq!(NAME.take(), None);
    /// ```
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value, and returns the one before.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static NUMBER: std::cell::Cell<i32> = std::cell::Cell::new(1) }
    /// assert_eq!(NUMBER.replace(2), 1);
    /// assert_eq!(NUMBER.get(), 2);
    /// ```
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with the value, borrowed.
    ///
    /// # Panics
    ///
    /// If it is mutably borrowed. And as [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static WORDS: std::cell::RefCell<Vec<String>> = Default::default() }
    /// assert!(WORDS.with_borrow(|words| words.is_empty()));
    /// ```
    #[track_caller]
    pub fn with_borrow<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with the value, mutably borrowed.
    ///
    /// # Panics
    ///
    /// If it is borrowed. And as [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static WORDS: std::cell::RefCell<Vec<&'static str>> = Default::default() }
    /// WORDS.with_borrow_mut(|words| words.push("one"));
    /// assert_eq!(WORDS.take(), ["one"]);
    /// ```
    #[track_caller]
    pub fn with_borrow_mut<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&mut T) -> R,
    {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value, without running the initializer.
    ///
    /// # Panics
    ///
    /// If it is borrowed. And as [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::RefCell;
    ///
    /// corde::green_local! { static PATH: RefCell<String> = unreachable!("it is always set first") }
    /// PATH.set("here".into());
    /// assert_eq!(PATH.take(), "here");
    /// ```
    #[track_caller]
    pub fn set(&'static self, value: T) {
        self.with_first(RefCell::new(value), |value, cell| {
            if let Some(value) = value {
                *cell.borrow_mut() = value.into_inner();
            }
        });
    }

    /// Takes the value, and leaves the default one.
    ///
    /// # Panics
    ///
    /// If it is borrowed. And as [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static WORDS: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![1]) }
    /// assert_eq!(WORDS.take(), [1]);
    /// assert!(WORDS.take().is_empty());
    /// ```
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value, and returns the one before.
    ///
    /// # Panics
    ///
    /// If it is borrowed. And as [`with`](LocalKey::with).
    ///
    /// # Examples
    ///
    /// ```
    /// corde::green_local! { static WORD: std::cell::RefCell<&'static str> = std::cell::RefCell::new("one") }
    /// assert_eq!(WORD.replace("two"), "one");
    /// assert_eq!(WORD.replace("three"), "two");
    /// ```
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}
