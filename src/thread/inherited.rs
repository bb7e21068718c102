//! Values that are bound while a closure runs, and inherited by the threads that it spawns.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use crate::runtime::bindings::{self, Bound};

/// A value that is bound while a closure runs, and that the threads which are spawned meanwhile inherit; like Tokio's `task_local!`, whose
/// values are not inherited.
///
/// Threads inherit what is bound where they are spawned, for good: a child that lives on when [`scope`](Inherited::scope) has returned
/// keeps its value. That holds for all ways of spawning in corde, from green threads and OS threads, and for the closures of
/// [`blocking`](super::blocking) and [`spawn_blocking`](super::spawn_blocking); not for `std::thread::spawn`. A spawn where nothing is bound pays
/// for a null check.
///
/// A coroutine sees what is bound in the thread that has resumed it; what it binds itself is bound in that thread, also while it is
/// suspended, until it goes on.
///
/// A value ends with the last thread that has it: on the stack of that thread, when its body has ended, and before anybody takes it for ended.
/// A destructor that panics there aborts the process.
///
/// # Examples
///
/// ```
/// use corde::thread::{self, Inherited};
///
/// static REQUEST: Inherited<u64> = Inherited::new();
///
/// fn log(line: &str) -> String {
///     REQUEST.try_with(|request| format!("[{request}] {line}")).unwrap_or(line.into())
/// }
///
/// corde::run(|| {
///     let logged = REQUEST.scope(7, || thread::spawn(|| log("in a child")).join().unwrap());
///     assert_eq!(logged, "[7] in a child");
///     assert_eq!(log("outside"), "outside");
/// });
/// ```
pub struct Inherited<T: 'static> {
    /// Its address tells one from others: so it has a size, and something that keeps two from being taken for one constant.
    _place: AtomicU8,
    _value: PhantomData<fn() -> T>,
}

/// What [`Inherited::try_with`] returns where nothing is bound.
///
/// # Examples
///
/// ```
/// use corde::thread::{Inherited, NotBound};
///
/// static USER: Inherited<String> = Inherited::new();
/// let error: NotBound = USER.try_with(String::len).unwrap_err();
/// assert_eq!(error.to_string(), "no value is bound here");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotBound;

impl fmt::Display for NotBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no value is bound here")
    }
}

impl Error for NotBound {}

impl<T: 'static> Inherited<T> {
    /// Makes one, for a `static`. Nothing is bound to it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::Inherited;
    ///
    /// static LEVEL: Inherited<u8> = Inherited::new();
    /// assert!(LEVEL.try_with(|_| ()).is_err());
    /// ```
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it is of use only in a `static`, which no default can be called for"
    )]
    pub const fn new() -> Inherited<T> {
        Inherited {
            _place: AtomicU8::new(0),
            _value: PhantomData,
        }
    }

    fn key(&'static self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl<T: Send + Sync + 'static> Inherited<T> {
    /// Runs `f` with `value` bound, in place of what is bound outside.
    ///
    /// The value is dropped when `f` has ended, be it by unwinding, and all have that have inherited it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::Inherited;
    ///
    /// static LEVEL: Inherited<u8> = Inherited::new();
    /// let levels = LEVEL.scope(1, || (LEVEL.get(), LEVEL.scope(2, || LEVEL.get()), LEVEL.get()));
    /// assert_eq!(levels, (1, 2, 1));
    /// ```
    pub fn scope<F, R>(&'static self, value: T, f: F) -> R
    where
        F: FnOnce() -> R,
    {
        let _bound = Bound::new(self.key(), Arc::new(value));
        f()
    }

    /// Calls `f` with the value that is bound.
    ///
    /// # Panics
    ///
    /// If none is.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::Inherited;
    ///
    /// static USER: Inherited<String> = Inherited::new();
    /// assert_eq!(USER.scope("Ada".into(), || USER.with(String::len)), 3);
    /// ```
    #[track_caller]
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        match self.value() {
            Ok(value) => f(&value),
            Err(NotBound) => panic_not_bound(),
        }
    }

    /// Like [`with`](Inherited::with), but does not panic.
    ///
    /// # Errors
    ///
    /// If no value is bound.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{Inherited, NotBound};
    ///
    /// static LEVEL: Inherited<u8> = Inherited::new();
    /// assert_eq!(LEVEL.scope(1, || LEVEL.try_with(|level| *level)), Ok(1));
    /// assert!(matches!(LEVEL.try_with(|level| *level), Err(NotBound { .. })));
    /// ```
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, NotBound>
    where
        F: FnOnce(&T) -> R,
    {
        Ok(f(&*self.value()?))
    }

    /// Returns a clone of the value that is bound.
    ///
    /// # Panics
    ///
    /// If none is.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::Inherited;
    ///
    /// static USER: Inherited<String> = Inherited::new();
    /// assert_eq!(USER.scope("Ada".into(), || USER.get()), "Ada");
    /// ```
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// Counted, for the value may end while it is looked at: its binding may be that of a coroutine.
    fn value(&'static self) -> Result<Arc<T>, NotBound> {
        let value = bindings::find(self.key()).ok_or(NotBound)?;
        match value.downcast() {
            Ok(value) => Ok(value),
            Err(_) => unreachable!("a `static` has one type"),
        }
    }
}

#[cold]
#[track_caller]
fn panic_not_bound() -> ! {
    panic!("an inherited value was used where none is bound")
}

impl<T: 'static> fmt::Debug for Inherited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherited").finish_non_exhaustive()
    }
}
