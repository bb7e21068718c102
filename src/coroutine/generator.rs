//! Iterators written as a function: the shape yields `T`, returns `()`, resumes with `()`.

use std::fmt;
use std::io;
use std::iter::FusedIterator;

use super::{Coroutine, CoroutineResult, Yielder};
use crate::stack::{DefaultStack, Stack};

/// Makes an iterator from a function that gives its items one by one.
///
/// The function runs on a stack of its own, a piece at a time, whenever the next item is asked for; it may give items from any depth
/// of calls. Dropping the iterator early unwinds the function, so that destructors run.
///
/// # Panics
///
/// If no stack can be had; [`Generator::new`] returns that as an error.
///
/// # Examples
///
/// ```
/// enum Tree {
///     Leaf,
///     Node(Box<Tree>, u32, Box<Tree>),
/// }
///
/// fn walk(tree: &Tree, out: &corde::coroutine::Yielder<(), u32>) {
///     if let Tree::Node(left, value, right) = tree {
///         walk(left, out);
///         out.suspend(*value);
///         walk(right, out);
///     }
/// }
///
/// let leaf = || Box::new(Tree::Leaf);
/// let tree = Tree::Node(Box::new(Tree::Node(leaf(), 1, leaf())), 2, leaf());
/// let values = corde::generator(move |out| {
///     walk(&tree, out);
///     out.extend([10, 20]);
/// });
/// assert_eq!(values.collect::<Vec<_>>(), [1, 2, 10, 20]);
/// ```
pub fn generator<T, F>(body: F) -> Generator<T>
where
    T: 'static,
    F: FnOnce(&Yielder<(), T>) + 'static,
{
    match Generator::new(body) {
        Ok(generator) => generator,
        Err(error) => panic!("no stack for a generator: {error}"),
    }
}

/// An iterator made by [`generator`].
///
/// # Examples
///
/// ```
/// use corde::coroutine::Generator;
///
/// /// The Fibonacci numbers, as many as 32 bits hold.
/// fn fibonacci() -> Generator<u32> {
///     corde::generator(|out| {
///         let (mut this, mut next) = (0_u32, 1_u32);
///         while let Some(sum) = this.checked_add(next) {
///             out.suspend(this);
///             (this, next) = (next, sum);
///         }
///     })
/// }
///
/// assert!(fibonacci().take(8).eq([0, 1, 1, 2, 3, 5, 8, 13]));
/// ```
pub struct Generator<T: 'static, S: Stack = DefaultStack> {
    coroutine: Coroutine<(), T, (), S>,
}

impl<T> Generator<T> {
    /// Makes a generator on a stack of the default size; see [`generator`].
    ///
    /// # Errors
    ///
    /// Those of [`DefaultStack::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Generator;
    ///
    /// let mut lines = Generator::new(|out| {
    ///     out.suspend("GET / HTTP/1.1");
    ///     out.suspend("Host: localhost");
    /// })?;
    /// assert_eq!(lines.next(), Some("GET / HTTP/1.1"));
    /// assert_eq!(lines.next(), Some("Host: localhost"));
    /// assert_eq!(lines.next(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new<F>(body: F) -> io::Result<Generator<T>>
    where
        F: FnOnce(&Yielder<(), T>) + 'static,
    {
        let coroutine = Coroutine::new(move |yielder: &Yielder<(), T>, ()| body(yielder))?;
        Ok(Generator { coroutine })
    }
}

impl<T, S: Stack> Generator<T, S> {
    /// Makes a generator on `stack`.
    ///
    /// # Panics
    ///
    /// As [`Coroutine::with_stack`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{Generator, Yielder};
    /// use corde::stack::DefaultStack;
    ///
    /// /// Gives the way down and up again: a recursion that needs more than a stack of the default size.
    /// fn descend(out: &Yielder<(), u32>, depth: u32) {
    ///     out.suspend(depth);
    ///     if depth < 5_000 {
    ///         descend(out, depth + 1);
    ///         out.suspend(depth);
    ///     }
    /// }
    ///
    /// let deep = Generator::with_stack(DefaultStack::new(8 << 20)?, |out| descend(out, 1));
    /// assert_eq!(deep.count(), 9_999);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_stack<F>(stack: S, body: F) -> Generator<T, S>
    where
        F: FnOnce(&Yielder<(), T>) + 'static,
    {
        let body = move |yielder: &Yielder<(), T>, ()| body(yielder);
        Generator {
            coroutine: Coroutine::with_stack(stack, body),
        }
    }
}

impl<T, S: Stack> Iterator for Generator<T, S> {
    type Item = T;

    /// Runs the function to its next item.
    ///
    /// # Panics
    ///
    /// With the panic of the function; afterwards there are no more items.
    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.coroutine.is_done() {
            return None;
        }
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(item) => Some(item),
            CoroutineResult::Return(()) => None,
        }
    }
}

impl<T, S: Stack> FusedIterator for Generator<T, S> {}

impl<T, S: Stack> fmt::Debug for Generator<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("coroutine", &self.coroutine)
            .finish()
    }
}

impl<T> Yielder<(), T> {
    /// Gives all items of another iterator, which may be a generator, too. Suspends at each item.
    ///
    /// # Examples
    ///
    /// ```
    /// let inner = corde::generator(|out| (1..=2).for_each(|number| out.suspend(number)));
    /// let outer = corde::generator(move |out| {
    ///     out.suspend(0);
    ///     out.extend(inner);
    ///     out.extend([3, 4]);
    /// });
    /// assert!(outer.eq(0..=4));
    /// ```
    #[inline]
    pub fn extend(&self, items: impl IntoIterator<Item = T>) {
        items.into_iter().for_each(|item| self.suspend(item));
    }
}
