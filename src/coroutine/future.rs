//! Futures and async iterators written as plain functions: the shapes that are resumed with a `Context`.
//!
//! | type | yields | returns | what it is outside |
//! | --- | --- | --- | --- |
//! | [`CoroutineFuture`] | `()` | `T` | a [`Future`] |
//! | [`AsyncGenerator`] | `Poll<T>` | `()` | an async iterator (`Stream`, with the feature `futures-core`) |

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::{Coroutine, CoroutineResult, Yielder};
use crate::stack::{DefaultStack, Stack};

/// The context of the poll that is going on, without its lifetimes, which a coroutine's types cannot carry.
///
/// It is good from the resume that brings it to the suspension that follows: for so long the frame of that poll stands.
#[derive(Clone, Copy)]
struct ContextPointer(NonNull<Context<'static>>);

impl ContextPointer {
    fn new(context: &mut Context<'_>) -> ContextPointer {
        ContextPointer(NonNull::from(context).cast())
    }
}

/// Waits for futures inside of a [`CoroutineFuture`] or an [`AsyncGenerator`]: `.await` as a method, at any depth of calls.
///
/// # Examples
///
/// ```
/// use corde::coroutine::{Awaiter, CoroutineFuture};
/// use std::future::{Future, ready};
/// use std::task::{Context, Poll, Waker};
///
/// /// A plain recursion that waits at each level.
/// fn factorial(awaiter: &Awaiter<'_>, number: u64) -> u64 {
///     match number {
///         0 => 1,
///         _ => awaiter.block_on(ready(number)) * factorial(awaiter, number - 1),
///     }
/// }
///
/// let future = CoroutineFuture::new(|awaiter| factorial(awaiter, 5))?;
/// let poll = std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()));
/// assert_eq!(poll, Poll::Ready(120));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Awaiter<'a, T = Infallible> {
    yielder: &'a Yielder<ContextPointer, Poll<T>>,
    /// Empty while a future is polled, which has the context then.
    context: Cell<Option<ContextPointer>>,
}

impl<T> Awaiter<'_, T> {
    /// Waits until `future` is ready, suspending the coroutine, and returns its output.
    ///
    /// # Panics
    ///
    /// With the panic of the future; if called by a future that this awaiter is polling; and by a destructor that runs because the
    /// future was dropped: there is nobody to wake it then.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::CoroutineFuture;
    /// use std::future::{Future, poll_fn};
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let future = CoroutineFuture::new(|awaiter| {
    ///     let mut polls = 0;
    ///     awaiter.block_on(poll_fn(|context| {
    ///         polls += 1;
    ///         if polls == 3 {
    ///             return Poll::Ready(());
    ///         }
    ///         context.waker().wake_by_ref();
    ///         Poll::Pending
    ///     }));
    ///     polls
    /// })?;
    /// let mut future = std::pin::pin!(future);
    /// let context = &mut Context::from_waker(Waker::noop());
    /// assert_eq!(future.as_mut().poll(context), Poll::Pending);
    /// assert_eq!(future.as_mut().poll(context), Poll::Pending);
    /// assert_eq!(future.as_mut().poll(context), Poll::Ready(3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            let poll = future.as_mut().poll(self.lend().get());
            match poll {
                Poll::Ready(output) => return output,
                Poll::Pending => self.suspend(Poll::Pending),
            }
        }
    }

    /// Takes the context out until the guard is dropped.
    fn lend(&self) -> Lent<'_> {
        Lent {
            context: self.take_context(),
            owner: &self.context,
        }
    }

    fn take_context(&self) -> ContextPointer {
        let context = self.context.take();
        context.expect("an awaiter was used by a future that it polls, or while it is dropped")
    }

    fn suspend(&self, poll: Poll<T>) {
        // The old one ends here: nobody may have it, and no destructor may find it if the coroutine is unwound now.
        self.take_context();
        self.context.set(Some(self.yielder.suspend(poll)));
    }

    /// Gives an item out of an [`AsyncGenerator`], and waits until the next one is asked for.
    ///
    /// # Panics
    ///
    /// If called by a future that this awaiter is polling.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{AsyncGenerator, Awaiter};
    /// use std::pin::Pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// fn twice(awaiter: &Awaiter<'_, char>, item: char) {
    ///     awaiter.suspend_with(item);
    ///     awaiter.suspend_with(item);
    /// }
    ///
    /// let mut letters = AsyncGenerator::new(|awaiter| "ab".chars().for_each(|item| twice(awaiter, item)))?;
    /// let context = &mut Context::from_waker(Waker::noop());
    /// for item in [Some('a'), Some('a'), Some('b'), Some('b'), None] {
    ///     assert_eq!(Pin::new(&mut letters).poll_next(context), Poll::Ready(item));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn suspend_with(&self, item: T) {
        self.suspend(Poll::Ready(item));
    }
}

/// The context while a future has it; goes back when dropped, also by a panic of the future.
struct Lent<'a> {
    context: ContextPointer,
    owner: &'a Cell<Option<ContextPointer>>,
}

impl Lent<'_> {
    fn get(&mut self) -> &mut Context<'static> {
        // SAFETY: the context came with the latest resume, and no suspension came since: each begins by taking the context
        // out of its cell, where it is not while this guard lives. For the same reason it has one user.
        unsafe { self.context.0.as_mut() }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.owner.set(Some(self.context));
    }
}

impl<T> fmt::Debug for Awaiter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaiter").finish_non_exhaustive()
    }
}

/// A future whose body is a plain function on a stack of its own.
///
/// In it, [`Awaiter::block_on`] takes the place of `.await`, at any depth of calls. Dropping the future early unwinds the body.
/// Like the coroutine in it, it stays on the OS thread it was made on.
///
/// # Examples
///
/// ```
/// use corde::coroutine::CoroutineFuture;
/// use std::future::{Future, ready};
/// use std::task::{Context, Poll, Waker};
///
/// let mut sum = CoroutineFuture::new(|awaiter| awaiter.block_on(ready(20)) + awaiter.block_on(ready(22)))?;
/// let poll = std::pin::pin!(sum).poll(&mut Context::from_waker(Waker::noop()));
/// assert_eq!(poll, Poll::Ready(42));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct CoroutineFuture<T: 'static, S: Stack = DefaultStack> {
    coroutine: Coroutine<ContextPointer, Poll<Infallible>, T, S>,
}

impl<T> CoroutineFuture<T> {
    /// Makes a future on a stack of the default size.
    ///
    /// # Errors
    ///
    /// Those of [`DefaultStack::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::CoroutineFuture;
    /// use std::future::Future;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let future = CoroutineFuture::new(|awaiter| awaiter.block_on(async { "done" }))?;
    /// let poll = std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    /// assert_eq!(poll, Poll::Ready("done"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new<F>(body: F) -> io::Result<CoroutineFuture<T>>
    where
        F: FnOnce(&Awaiter<'_>) -> T + 'static,
    {
        Ok(CoroutineFuture {
            coroutine: Coroutine::new(awaiting(body))?,
        })
    }
}

impl<T, S: Stack> CoroutineFuture<T, S> {
    /// Makes a future on `stack`.
    ///
    /// # Panics
    ///
    /// As [`Coroutine::with_stack`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::CoroutineFuture;
    /// use corde::stack::DefaultStack;
    /// use std::future::Future;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let stack = DefaultStack::new(8 << 20)?;
    /// let future = CoroutineFuture::with_stack(stack, |awaiter| {
    ///     let mut large = [0_u8; 1 << 20];
    ///     awaiter.block_on(async { large.fill(1) });
    ///     std::hint::black_box(&large).len()
    /// });
    /// let poll = std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    /// assert_eq!(poll, Poll::Ready(1 << 20));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_stack<F>(stack: S, body: F) -> CoroutineFuture<T, S>
    where
        F: FnOnce(&Awaiter<'_>) -> T + 'static,
    {
        CoroutineFuture {
            coroutine: Coroutine::with_stack(stack, awaiting(body)),
        }
    }
}

/// Turns a body that wants an awaiter into one for a coroutine.
fn awaiting<T, U, F>(body: F) -> impl FnOnce(&Yielder<ContextPointer, Poll<U>>, ContextPointer) -> T
where
    F: FnOnce(&Awaiter<'_, U>) -> T,
{
    move |yielder, context| {
        body(&Awaiter {
            yielder,
            context: Cell::new(Some(context)),
        })
    }
}

impl<T, S: Stack + Unpin> Future for CoroutineFuture<T, S> {
    type Output = T;

    /// Runs the body until it ends or waits.
    ///
    /// # Panics
    ///
    /// With the panic of the body; and if polled again after it has ended.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.coroutine.resume(ContextPointer::new(context)) {
            CoroutineResult::Yield(Poll::Pending) => Poll::Pending,
            CoroutineResult::Yield(Poll::Ready(never)) => match never {},
            CoroutineResult::Return(output) => Poll::Ready(output),
        }
    }
}

impl<T, S: Stack> fmt::Debug for CoroutineFuture<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoroutineFuture")
            .field("coroutine", &self.coroutine)
            .finish()
    }
}

/// An async iterator whose body is a plain function on a stack of its own.
///
/// In it, [`Awaiter::suspend_with`] gives an item, and [`Awaiter::block_on`] waits for a future. With the feature `futures-core`
/// it is a `Stream`.
///
/// # Examples
///
/// ```
/// use corde::coroutine::AsyncGenerator;
/// use std::future::ready;
/// use std::pin::Pin;
/// use std::task::{Context, Poll, Waker};
///
/// let mut squares = AsyncGenerator::new(|awaiter| {
///     for i in 1..=2_u32 {
///         let square = awaiter.block_on(ready(i * i));
///         awaiter.suspend_with(square);
///     }
/// })?;
/// let context = &mut Context::from_waker(Waker::noop());
/// assert_eq!(Pin::new(&mut squares).poll_next(context), Poll::Ready(Some(1)));
/// assert_eq!(Pin::new(&mut squares).poll_next(context), Poll::Ready(Some(4)));
/// assert_eq!(Pin::new(&mut squares).poll_next(context), Poll::Ready(None));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AsyncGenerator<T: 'static, S: Stack = DefaultStack> {
    coroutine: Coroutine<ContextPointer, Poll<T>, (), S>,
}

impl<T> AsyncGenerator<T> {
    /// Makes an async iterator on a stack of the default size.
    ///
    /// # Errors
    ///
    /// Those of [`DefaultStack::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::AsyncGenerator;
    /// use std::pin::Pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let mut numbers = AsyncGenerator::new(|awaiter| (1..3).for_each(|number| awaiter.suspend_with(number)))?;
    /// let context = &mut Context::from_waker(Waker::noop());
    /// assert_eq!(Pin::new(&mut numbers).poll_next(context), Poll::Ready(Some(1)));
    /// // Dropped early, it is unwound from where it is suspended.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new<F>(body: F) -> io::Result<AsyncGenerator<T>>
    where
        F: FnOnce(&Awaiter<'_, T>) + 'static,
    {
        Ok(AsyncGenerator {
            coroutine: Coroutine::new(awaiting(body))?,
        })
    }
}

impl<T, S: Stack> AsyncGenerator<T, S> {
    /// Makes an async iterator on `stack`.
    ///
    /// # Panics
    ///
    /// As [`Coroutine::with_stack`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::AsyncGenerator;
    /// use corde::stack::{DefaultStack, MIN_SIZE};
    /// use std::pin::Pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let small = DefaultStack::new(MIN_SIZE)?;
    /// let mut once = AsyncGenerator::with_stack(small, |awaiter| awaiter.suspend_with("once"));
    /// let context = &mut Context::from_waker(Waker::noop());
    /// assert_eq!(Pin::new(&mut once).poll_next(context), Poll::Ready(Some("once")));
    /// assert_eq!(Pin::new(&mut once).poll_next(context), Poll::Ready(None));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_stack<F>(stack: S, body: F) -> AsyncGenerator<T, S>
    where
        F: FnOnce(&Awaiter<'_, T>) + 'static,
    {
        AsyncGenerator {
            coroutine: Coroutine::with_stack(stack, awaiting(body)),
        }
    }

    /// Runs the body until it gives an item, waits, or ends; `Ready(None)` from then on.
    ///
    /// # Panics
    ///
    /// With the panic of the body; afterwards there are no more items.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::AsyncGenerator;
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let mut ticks = AsyncGenerator::new(|awaiter| {
    ///     let mut answers = [Poll::Pending, Poll::Ready(())].into_iter();
    ///     awaiter.block_on(poll_fn(|_| answers.next().unwrap()));
    ///     awaiter.suspend_with("tick");
    /// })?;
    /// let context = &mut Context::from_waker(Waker::noop());
    /// assert_eq!(Pin::new(&mut ticks).poll_next(context), Poll::Pending);
    /// assert_eq!(Pin::new(&mut ticks).poll_next(context), Poll::Ready(Some("tick")));
    /// assert_eq!(Pin::new(&mut ticks).poll_next(context), Poll::Ready(None));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>>
    where
        S: Unpin,
    {
        if self.coroutine.is_done() {
            return Poll::Ready(None);
        }
        match self.coroutine.resume(ContextPointer::new(context)) {
            CoroutineResult::Yield(poll) => poll.map(Some),
            CoroutineResult::Return(()) => Poll::Ready(None),
        }
    }
}

#[cfg(feature = "futures-core")]
impl<T, S: Stack + Unpin> futures_core::Stream for AsyncGenerator<T, S> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        AsyncGenerator::poll_next(self, context)
    }
}

impl<T, S: Stack> fmt::Debug for AsyncGenerator<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncGenerator")
            .field("coroutine", &self.coroutine)
            .finish()
    }
}
