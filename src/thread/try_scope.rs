//! Scopes that end with the first error.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

use super::builder::Builder;
use super::children::Children;
use super::scope::{Scope, ScopedJoinHandle};
use super::{Cancelled, Result, Thread};
use crate::runtime::interrupt::{self, Signal};

/// Makes a scope that ends with the first error: like [`scope`](super::scope()), but when a green thread of it returns `Err`, or panics, the others are
/// cancelled, and the error is returned.
///
/// The body `f` is ended as well: it unwinds where it next waits, or where it waits now. If all goes well, the scope waits for
/// all green threads, and returns what `f` has returned. An `Err` or a panic of `f` ends the scope like that of a green thread. Of several errors
/// and panics the first one counts, and the others are dropped.
///
/// # Errors
///
/// The first error of `f` or of a green thread of the scope.
///
/// # Panics
///
/// With the panic of `f` or of a green thread, if that comes first, whether it is joined or not. With a message, if one could not get a stack, or
/// was cancelled by the end of its runtime.
///
/// # Cancellation
///
/// As [`scope`](super::scope()): the green threads are cancelled, and waited for.
///
/// # Examples
///
/// ```
/// use corde::thread;
///
/// fn checked(number: i32) -> Result<i32, String> {
///     if number < 0 { Err(format!("{number} is negative")) } else { Ok(number) }
/// }
///
/// let numbers = [1, 2, 3];
/// let sum = thread::try_scope(|scope| {
///     let threads = numbers.map(|number| scope.spawn(move || checked(number)));
///     Ok::<i32, String>(threads.into_iter().map(|thread| thread.join()).sum())
/// });
/// assert_eq!(sum, Ok(6));
///
/// // The first error ends those that would wait for ever.
/// let failed = thread::try_scope(|scope| {
///     scope.spawn(|| -> Result<(), String> { loop { thread::park() } });
///     scope.spawn(|| checked(-1));
///     Ok(())
/// });
/// assert_eq!(failed.unwrap_err(), "-1 is negative");
/// ```
#[track_caller]
pub fn try_scope<'env, F, T, E>(f: F) -> std::result::Result<T, E>
where
    F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> std::result::Result<T, E>,
{
    let scope = TryScope {
        scope: Scope::new(Children::that_break()),
        first: Mutex::new(None),
    };
    let children = scope.scope.children();
    let body = || match f(&scope) {
        Ok(value) => {
            children.wait();
            Some(value)
        }
        Err(error) => {
            scope.note(Failure::Error(error));
            None
        }
    };
    let limited = || interrupt::limited_by(children.clone(), body);
    let result = catch_unwind(AssertUnwindSafe(limited));
    if let Ok(Some(Some(value))) = result {
        return scope.finish(Some(value));
    }
    let interrupt = result.err().and_then(|payload| scope.note_unwind(payload));
    children.end();
    match interrupt {
        Some(payload) => resume_unwind(payload),
        None => scope.finish(None),
    }
}

/// What ended a scope.
enum Failure<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

/// A scope that ends with the first error; see [`try_scope`].
pub struct TryScope<'scope, 'env: 'scope, E> {
    scope: Scope<'scope, 'env>,
    /// What has ended it.
    first: Mutex<Option<Failure<E>>>,
}

impl<'scope, E> TryScope<'scope, '_, E> {
    /// Spawns a green thread in the scope, like [`Scope::spawn`]; its error ends the scope.
    ///
    /// # Panics
    ///
    /// If the workers cannot be started; [`spawn_with`](TryScope::spawn_with) returns that as an error.
    pub fn spawn<F, T>(&'scope self, f: F) -> TryScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> std::result::Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send,
    {
        self.spawn_with(Builder::new(), f)
            .expect("the green thread could not be spawned")
    }

    /// Like [`spawn`](TryScope::spawn), with settings.
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Builder};
    /// use std::io;
    ///
    /// let mut answer = 0;
    /// thread::try_scope(|scope| {
    ///     let builder = Builder::new().name("thinker".into());
    ///     scope.spawn_with(builder, || io::Result::Ok(answer = 42))?;
    ///     Ok::<(), io::Error>(())
    /// })?;
    /// assert_eq!(answer, 42);
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn spawn_with<F, T>(
        &'scope self,
        builder: Builder,
        f: F,
    ) -> io::Result<TryScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> std::result::Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send,
    {
        let handle = self.scope.spawn_child(builder, || self.run(f))?;
        Ok(TryScopedJoinHandle { handle })
    }

    /// Runs the body of a green thread, and keeps its failure for the scope.
    fn run<F, T>(&self, f: F) -> Result<T>
    where
        F: FnOnce() -> std::result::Result<T, E>,
    {
        let failure = match catch_unwind(AssertUnwindSafe(f)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::Error(error),
            Err(payload) if payload.is::<Cancelled>() => return Err(payload),
            Err(payload) => Failure::Panic(payload),
        };
        self.note(failure);
        Err(Box::new(Cancelled::new()))
    }
}

impl<E> TryScope<'_, '_, E> {
    /// Keeps a failure, if it is the first.
    fn note(&self, failure: Failure<E>) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let not_needed = match &*first {
            Some(_) => Some(failure),
            None => first.replace(failure),
        };
        // Not under the lock: destructors may do anything.
        drop(first);
        drop(not_needed);
    }

    /// Keeps a panic of the body as a failure. Returns the payload, if the scope's owner was interrupted from outside.
    fn note_unwind(&self, payload: Box<dyn Any + Send>) -> Option<Box<dyn Any + Send>> {
        let joined_failure = payload.is::<Cancelled>() && self.scope.children().is_raised();
        if joined_failure {
            // The owner may be cancelled as well: it notices at its next wait.
            None
        } else if interrupt::is_interrupt(&*payload) {
            Some(payload)
        } else {
            self.note(Failure::Panic(payload));
            None
        }
    }

    /// Tells how the scope has ended; all its green threads have. The value is none if it was broken off.
    #[track_caller]
    fn finish<T>(&self, value: Option<T>) -> std::result::Result<T, E> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (first, value) {
            (Some(Failure::Error(error)), _) => Err(error),
            (Some(Failure::Panic(payload)), _) => resume_unwind(payload),
            (None, Some(value)) if !self.scope.children().is_raised() => Ok(value),
            // One that never ran cannot say why.
            (None, _) => panic!("a scoped thread panicked"),
        }
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope").finish_non_exhaustive()
    }
}

/// The right to wait for a green thread of a [`TryScope`] and to take the value in its `Ok`.
pub struct TryScopedJoinHandle<'scope, T> {
    handle: ScopedJoinHandle<'scope, T>,
}

impl<T> TryScopedJoinHandle<'_, T> {
    /// The handle of the green thread without its result.
    pub(crate) fn handle(&self) -> &super::JoinHandle<()> {
        self.handle.handle()
    }

    /// Waits for the green thread to end, suspending the calling one, and returns its value.
    ///
    /// There is no error to look at: if the green thread fails, the scope has ended, and with it the caller. It unwinds from here, as if cancelled,
    /// be it the body of the scope or another of its green threads; in [`without_cancel`](super::without_cancel), too.
    ///
    /// # Panics
    ///
    /// If it is the calling green thread itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread;
    ///
    /// let result = thread::try_scope(|scope| {
    ///     let number: i32 = scope.spawn(|| "seven".parse()).join();
    ///     unreachable!("{number}")
    /// });
    /// assert!(matches!(result, Err::<(), _>(std::num::ParseIntError { .. })));
    /// ```
    pub fn join(self) -> T {
        self.handle
            .join()
            .unwrap_or_else(|_| interrupt::unwind_cancelled())
    }

    /// Returns whether the green thread has ended: [`join`](TryScopedJoinHandle::join) would not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Returns a handle to the green thread itself.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }
}

impl<T> fmt::Debug for TryScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScopedJoinHandle")
            .field("thread", self.thread())
            .finish_non_exhaustive()
    }
}
