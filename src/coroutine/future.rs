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
