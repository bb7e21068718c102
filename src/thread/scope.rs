//! Scopes: green threads that borrow; as [`std::thread::scope`].

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::builder::Builder;
use super::children::{self, ChildHandle, Children};
use super::{Result, Thread};

/// Makes a scope for green threads that borrow from outside of it; as [`std::thread::scope`].
///
/// The green threads that `f` spawns in the scope, and those that they spawn there, run on all workers, and have ended when this
/// function returns: it waits for those that were not joined. So they may borrow whatever outlives the call. It works on plain
/// OS threads as well, which it blocks.
///
/// If `f` panics, the green threads are cancelled, waited for, and only then the panic goes on. (std's threads cannot be cancelled: std
/// waits for them to end by themselves.)
///
/// A handle may be forgotten. A green thread that is left behind by a runtime's [shutdown](crate::runtime::Runtime::shutdown) keeps its frames
/// for ever: what others borrow from it stays valid.
///
/// Called in a destructor while the green thread unwinds, it holds up the worker like all that waits there (see the [module](super#what-to-watch)):
/// another worker has to run what it spawns.
///
/// # Panics
///
/// With the panic of `f`. If a green thread of the scope panicked and was not joined; the same if it could not get a stack, or was
/// cancelled otherwise than [by its handle](ScopedJoinHandle::cancel), by the end of its runtime. And as [`spawn`](super::spawn).
///
/// # Cancellation
///
/// If the caller is cancelled, or a limit around it is over, in `f` or in the wait at its end, then the green threads of the scope are cancelled,
/// too, and the caller unwinds when they have ended: not before, even if they take long, as they may borrow from it. Mind those that are inside of
/// [`without_cancel`](super::without_cancel) or compute without suspending.
///
/// # Examples
///
/// ```
/// use corde::thread;
///
/// let mut words = vec!["a", "list", "of", "words"];
/// let mut longest = 0;
/// thread::scope(|scope| {
///     scope.spawn(|| println!("borrowed: {words:?}"));
///     scope.spawn(|| longest = words.iter().map(|word| word.len()).max().unwrap());
/// });
/// // All have ended: what they borrowed can be changed and moved again.
/// words.push("again");
/// assert_eq!((longest, words.len()), (5, 5));
/// ```
///
/// What is in the scope ends too early to be borrowed:
///
/// ```compile_fail,E0373
/// corde::thread::scope(|scope| {
///     let short_lived = String::from("x");
///     scope.spawn(|| println!("{short_lived}"));
/// });
/// ```
///
/// Green threads that are not of the scope must not borrow:
///
/// ```compile_fail,E0597
/// let outside = 1;
/// corde::thread::scope(|scope| {
///     scope.spawn(|| corde::thread::spawn(|| println!("{outside}")));
/// });
/// ```
///
/// Two cannot both change the same:
///
/// ```compile_fail,E0499
/// let mut count = 0;
/// corde::thread::scope(|scope| {
///     scope.spawn(|| count += 1);
///     scope.spawn(|| count += 1);
/// });
/// ```
///
/// Nor may what is not `Sync` be shared:
///
/// ```compile_fail,E0277
/// let count = std::cell::Cell::new(0);
/// corde::thread::scope(|scope| {
///     scope.spawn(|| count.set(1));
/// });
/// ```
///
/// And neither scope nor handle can leave:
///
/// ```compile_fail,E0521
/// let mut kept = None;
/// corde::thread::scope(|scope| kept = Some(scope.spawn(|| 1)));
/// ```
///
/// ```compile_fail,E0521
/// let mut kept = None;
/// corde::thread::scope(|scope| kept = Some(scope));
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope::new(Children::new());
    let children = &scope.children;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let value = f(&scope);
        children.wait();
        value
    }));
    if result.is_err() {
        children.end();
    }
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if children.have_failed() => panic!("a scoped thread panicked"),
        Ok(value) => value,
    }
}

/// A scope to spawn green threads in; as [`std::thread::Scope`]. See [`scope`].
///
/// Here `'scope` is the life of the scope itself: it begins before the body runs, and ends when all green threads of the scope have ended.
/// `'env` is the life of what they borrow, which is longer.
pub struct Scope<'scope, 'env: 'scope> {
    children: Arc<Children>,
    // Invariant, so that 'scope can be made neither shorter nor longer: as std's.
    _scope: PhantomData<&'scope mut &'scope ()>,
    _env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    pub(super) fn new(children: Arc<Children>) -> Scope<'scope, 'env> {
        Scope {
            children,
            _scope: PhantomData,
            _env: PhantomData,
        }
    }

    pub(super) fn children(&self) -> &Arc<Children> {
        &self.children
    }

    /// Spawns a green thread in the scope; as [`std::thread::Scope::spawn`].
    ///
    /// It may borrow what outlives the scope, and the scope itself, to spawn further ones. If its handle is dropped, it is waited for
    /// at the end of the scope. Does not suspend.
    ///
    /// # Panics
    ///
    /// If the workers cannot be started; [`Builder::spawn_scoped`] returns that as an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let count = AtomicU32::new(0);
    /// corde::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         count.fetch_add(1, Ordering::Relaxed);
    ///         scope.spawn(|| count.fetch_add(1, Ordering::Relaxed));
    ///     });
    /// });
    /// assert_eq!(count.into_inner(), 2);
    /// ```
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_with(Builder::new(), f)
            .expect("the green thread could not be spawned")
    }

    /// Like [`spawn`](Scope::spawn), with settings; the same as [`Builder::spawn_scoped`].
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Builder};
    ///
    /// let word = String::from("borrowed");
    /// thread::scope(|scope| {
    ///     let builder = Builder::new().stack_size(256 * 1024);
    ///     scope.spawn_with(builder, || println!("{word}"))?;
    ///     std::io::Result::Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_with<F, T>(
        &'scope self,
        builder: Builder,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_child(builder, || catch_unwind(AssertUnwindSafe(f)))
    }

    /// Spawns a green thread whose error counts as a panic.
    pub(super) fn spawn_child<F, T>(
        &'scope self,
        builder: Builder,
        body: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> Result<T> + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY: what they borrow outlives 'scope, which ends after `scope` or `try_scope` have waited: only their bodies and the children
        // can have this reference, and the handle, for which see children.rs, 4.
        let child = unsafe { children::spawn(&self.children, builder, body) }?;
        Ok(ScopedJoinHandle {
            child,
            _scope: PhantomData,
        })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// The right to wait for a green thread of a scope and to take its result; as [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T> {
    child: ChildHandle<T>,
    _scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// The handle of the green thread without its result.
    pub(crate) fn handle(&self) -> &super::JoinHandle<()> {
        self.child.handle()
    }

    /// Waits for the green thread to end, suspending the calling one, and returns its result; as [`std::thread::ScopedJoinHandle::join`].
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`](super::JoinHandle::join). The scope itself does not panic for an error that is returned here.
    ///
    /// # Panics
    ///
    /// If it is the calling green thread itself.
    ///
    /// # Cancellation
    ///
    /// If the caller is interrupted here, the result is dropped; the green thread goes on, until the scope ends.
    ///
    /// # Examples
    ///
    /// ```
    /// let word = String::from("borrowed");
    /// let length = corde::thread::scope(|scope| scope.spawn(|| word.len()).join().unwrap());
    /// assert_eq!(length, 8);
    /// ```
    pub fn join(self) -> Result<T> {
        self.child.join()
    }

    /// Returns whether the green thread has ended: [`join`](ScopedJoinHandle::join) would not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.child.handle().is_finished()
    }

    /// Asks the green thread to end, as [`JoinHandle::cancel`](super::JoinHandle::cancel). The scope does not panic for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Cancelled};
    ///
    /// thread::scope(|scope| {
    ///     let endless = scope.spawn(|| loop { thread::park() });
    ///     endless.cancel();
    ///     assert!(endless.join().unwrap_err().is::<Cancelled>());
    /// });
    /// ```
    pub fn cancel(&self) {
        self.child.cancel();
    }

    /// Returns a handle to the green thread itself.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.child.handle().thread()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("thread", self.thread())
            .finish_non_exhaustive()
    }
}
