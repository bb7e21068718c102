//! Coroutines that borrow.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use super::{Coroutine, CoroutineResult, Yielder};
use crate::stack::{DEFAULT_SIZE, DefaultStack};

/// Makes a coroutine whose body may borrow, lends it to `user`, and ends it when `user` returns.
///
/// The coroutine itself stays in this function, out of reach: `user` gets a handle that cannot leave. So a body is never left
/// suspended beyond the life of what it borrows, whatever is forgotten, swapped or leaked; if it is suspended when `user` ends, it is
/// unwound here.
///
/// # Panics
///
/// With the panic of `user`.
///
/// # Errors
///
/// Those of [`DefaultStack::new`].
///
/// # Examples
///
/// ```
/// use corde::coroutine::{CoroutineResult, scoped};
///
/// let words = vec![String::from("a"), String::from("b")];
/// let mut seen = 0;
/// let first = scoped(
///     |yielder, ()| {
///         for word in &words {
///             seen += 1;
///             yielder.suspend(word.as_str());
///         }
///     },
///     |coroutine| match coroutine.resume(()) {
///         CoroutineResult::Yield(word) => word,
///         CoroutineResult::Return(()) => "none",
///     },
/// )?;
/// assert_eq!((first, seen), ("a", 1));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The handle cannot leave:
///
/// ```compile_fail,E0521
/// use corde::coroutine::scoped;
///
/// let mut kept = None;
/// scoped(|yielder, ()| yielder.suspend(()), |coroutine| {
///     kept = Some(coroutine);
/// });
/// ```
///
/// And two of them cannot be exchanged:
///
/// ```compile_fail,E0521
/// use corde::coroutine::scoped;
///
/// scoped::<(), (), (), _, _, _>(|_, ()| (), |outer| {
///     let local = String::new();
///     scoped(|_, ()| drop(&local), |inner| std::mem::swap(outer, inner));
/// });
/// ```
pub fn scoped<Input, Yield, Return, F, U, R>(body: F, user: U) -> io::Result<R>
where
    F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
    U: for<'scope> FnOnce(&mut Scoped<'scope, Input, Yield, Return>) -> R,
{
    let stack = DefaultStack::new(DEFAULT_SIZE)?;
    // SAFETY: the coroutine is dropped, and with that its stack unwound, when this function returns or unwinds; before that
    // nobody has it but by reference. If this function's own stack is leaked, so is what the body borrows from it, and
    // what it borrows from further out is kept in the same way by that function's caller.
    let mut coroutine = unsafe { Coroutine::with_stack_unchecked(stack, body) };
    // Not by its destructor alone, which gives up while the thread's locals are being destroyed.
    let ended = Ended(&mut coroutine);
    Ok(user(&mut Scoped {
        coroutine: &mut *ended.0,
        _scope: PhantomData,
    }))
}

/// Unwinds the coroutine, if it is suspended, when it is dropped.
struct Ended<'a, Input, Yield, Return>(&'a mut Coroutine<Input, Yield, Return>);

impl<Input, Yield, Return> Drop for Ended<'_, Input, Yield, Return> {
    fn drop(&mut self) {
        self.0.unwind();
    }
}

/// The handle of a coroutine that may borrow; see [`scoped`].
///
/// # Examples
///
/// ```
/// use corde::coroutine::{CoroutineResult, Scoped, scoped};
///
/// /// Resumes until the body ends.
/// fn run<Return>(coroutine: &mut Scoped<'_, (), (), Return>) -> Return {
///     loop {
///         if let CoroutineResult::Return(value) = coroutine.resume(()) {
///             return value;
///         }
///     }
/// }
///
/// let numbers = [1, 2, 3];
/// let sum = scoped(
///     |yielder, ()| numbers.iter().inspect(|_| yielder.suspend(())).sum::<u32>(),
///     |coroutine| run(coroutine),
/// )?;
/// assert_eq!(sum, 6);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Scoped<'scope, Input, Yield, Return> {
    coroutine: &'scope mut Coroutine<Input, Yield, Return>,
    _scope: PhantomData<fn(&'scope ()) -> &'scope ()>,
}

impl<Input, Yield, Return> Scoped<'_, Input, Yield, Return> {
    /// Runs the coroutine until it suspends or ends.
    ///
    /// # Panics
    ///
    /// As [`Coroutine::resume`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{CoroutineResult, scoped};
    ///
    /// let mut lines = Vec::new();
    /// scoped(
    ///     |yielder, mut line: &str| {
    ///         while !line.is_empty() {
    ///             lines.push(line);
    ///             line = yielder.suspend(lines.len());
    ///         }
    ///     },
    ///     |coroutine| {
    ///         assert_eq!(coroutine.resume("first"), CoroutineResult::Yield(1));
    ///         assert_eq!(coroutine.resume("second"), CoroutineResult::Yield(2));
    ///     },
    /// )?;
    /// assert_eq!(lines, ["first", "second"]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn resume(&mut self, input: Input) -> CoroutineResult<Yield, Return> {
        self.coroutine.resume(input)
    }

    /// Returns whether the body has ended, by returning or by a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::scoped;
    ///
    /// let mut left = 3;
    /// let resumes = scoped(
    ///     |yielder, ()| {
    ///         while left > 0 {
    ///             left -= 1;
    ///             yielder.suspend(());
    ///         }
    ///     },
    ///     |coroutine| {
    ///         let mut resumes = 0;
    ///         while !coroutine.is_done() {
    ///             coroutine.resume(());
    ///             resumes += 1;
    ///         }
    ///         resumes
    ///     },
    /// )?;
    /// assert_eq!((left, resumes), (0, 4));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_done(&self) -> bool {
        self.coroutine.is_done()
    }

    /// Returns whether the coroutine was ever resumed.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::scoped;
    ///
    /// let mut ran = false;
    /// scoped(
    ///     |yielder, ()| {
    ///         ran = true;
    ///         yielder.suspend(());
    ///     },
    ///     |coroutine| assert!(!coroutine.is_started()),
    /// )?;
    /// assert!(!ran);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_started(&self) -> bool {
        self.coroutine.is_started()
    }
}

impl<Input, Yield, Return> fmt::Debug for Scoped<'_, Input, Yield, Return> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("coroutine", &self.coroutine)
            .finish()
    }
}
