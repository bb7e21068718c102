//! Stackful coroutines: functions that can stop in the middle, from any call depth, and go on later.
//!
//! A [`Coroutine`] is *resumed* with an `Input`, runs on its own stack until it *suspends* with a `Yield` or ends with a
//! `Return`, and gives control back to whoever resumed it. corde's green threads are such coroutines; this module needs
//! neither the scheduler nor the reactor. The switch itself is in `arch` and `asm/`.
//!
//! # Examples
//!
//! ```
//! use corde::coroutine::{Coroutine, CoroutineResult};
//!
//! let mut adder = Coroutine::new(|yielder, first: u32| {
//!     let mut sum = first;
//!     while sum < 100 {
//!         sum += yielder.suspend(sum);
//!     }
//!     "enough"
//! })?;
//! assert_eq!(adder.resume(40), CoroutineResult::Yield(40));
//! assert_eq!(adder.resume(2), CoroutineResult::Yield(42));
//! assert_eq!(adder.resume(60), CoroutineResult::Return("enough"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod future;
mod generator;
mod scoped;
mod transfer;

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::abort;
use std::ptr::{self, NonNull};

use crate::arch::{self, STACK_ALIGN, StackPointer, Word};
use crate::stack::{DEFAULT_SIZE, DefaultStack, Stack, overflow};
use transfer::{Parcel, receive};

pub use future::{AsyncGenerator, Awaiter, CoroutineFuture};
pub use generator::{Generator, generator};
pub use scoped::{Scoped, scoped};

/// What a coroutine answered to [`Coroutine::resume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoroutineResult<Yield, Return> {
    /// It suspended with this value and can be resumed.
    Yield(Yield),
    /// It ended with this value.
    Return(Return),
}

/// A function on its own stack, which can be stopped and resumed.
///
/// `Input` is what each [`resume`](Coroutine::resume) brings, `Yield` what each [`suspend`](Yielder::suspend) takes out,
/// `Return` what the function returns.
///
/// A coroutine stays on the OS thread it was made on (it is neither `Send` nor `Sync`): its frames may hold values that
/// belong to that thread. Everything in it is `'static`, because a coroutine can be leaked with its frames alive.
///
/// Dropping a suspended coroutine unwinds its stack, so that destructors run; the panic hook is not called. A body that
/// catches this unwind and suspends again is unwound again; one that does so without end aborts the process.
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>(_: T) {}
/// assert_send(corde::coroutine::Coroutine::<(), (), ()>::new(|_, ()| ()));
/// ```
pub struct Coroutine<Input, Yield, Return, S: Stack = DefaultStack> {
    /// Where it stopped; null once it is done.
    pointer: StackPointer,
    /// Whether `body` has left its place in the root.
    started: bool,
    root: NonNull<Root<Return>>,
    /// Drops the body of a coroutine that never ran.
    drop_body: unsafe fn(NonNull<Root<Return>>),
    stack: S,
    _types: PhantomData<fn(Input) -> Yield>,
}

/// The top of a coroutine's stack, fixed while it lives. The body lies right behind it.
struct Root<Return> {
    /// Set by the coroutine as its last act, taken by the resumer.
    outcome: Cell<Option<Result<Return, Box<dyn Any + Send>>>>,
}

/// A [`Root`] with the body that has yet to run.
#[repr(C)]
struct RootWithBody<F, Return> {
    root: Root<Return>,
    body: ManuallyDrop<F>,
}

/// What [`Coroutine::resume`] signals.
const GO_ON: usize = 0;

/// What dropping a suspended coroutine signals: leave by unwinding.
const UNWIND: usize = 1;

/// The payload of the unwind that empties the stack of a coroutine which is dropped.
struct ForcedUnwind;

/// How often a coroutine that is being dropped may catch the unwind and suspend again.
const UNWIND_ATTEMPTS: usize = 100;

impl<Input: 'static, Yield: 'static, Return: 'static> Coroutine<Input, Yield, Return> {
    /// Makes a coroutine on a stack of the default size.
    ///
    /// The body gets a [`Yielder`] and the input of the first [`resume`](Coroutine::resume). It does not begin before that.
    ///
    /// # Errors
    ///
    /// That of [`DefaultStack::new`].
    pub fn new<F>(body: F) -> io::Result<Self>
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
    {
        Ok(Coroutine::with_stack(
            DefaultStack::new(DEFAULT_SIZE)?,
            body,
        ))
    }
}

impl<Input: 'static, Yield: 'static, Return: 'static, S: Stack> Coroutine<Input, Yield, Return, S> {
    /// Makes a coroutine on `stack`. Nothing is allocated: the body is moved to the top of the stack.
    ///
    /// # Panics
    ///
    /// If the body and its captures take more than half of the stack.
    pub fn with_stack<F>(stack: S, body: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
    {
        // SAFETY: everything is 'static.
        unsafe { Coroutine::with_stack_unchecked(stack, body) }
    }
}

impl<Input, Yield, Return, S: Stack> Coroutine<Input, Yield, Return, S> {
    /// Makes a coroutine that may borrow.
    ///
    /// # Safety
    /// The coroutine is dropped, not leaked, before anything ends that its types or its body borrow.
    unsafe fn with_stack_unchecked<F>(stack: S, body: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
    {
        overflow::protect_thread();
        let room = stack.top().as_ptr() as usize - stack.bottom().as_ptr() as usize;
        let size = size_of::<RootWithBody<F, Return>>() + align_of::<RootWithBody<F, Return>>();
        assert!(
            size <= room / 2,
            "a coroutine's body of {size} bytes is too large for a stack of {room} bytes"
        );

        let align = align_of::<RootWithBody<F, Return>>().max(STACK_ALIGN);
        let top = stack.top().as_ptr();
        let unaligned = top as usize - size_of::<RootWithBody<F, Return>>();
        let root = top
            .wrapping_sub(top as usize - (unaligned & !(align - 1)))
            .cast::<RootWithBody<F, Return>>();
        let first = RootWithBody {
            root: Root {
                outcome: Cell::new(None),
            },
            body: ManuallyDrop::new(body),
        };
        // SAFETY: the range is aligned, and inside of the stack, which is ours alone (trait Stack), as just asserted.
        unsafe { root.write(first) };
        // SAFETY: `root` is aligned to 16 at least, and has half of the stack below it.
        let pointer = unsafe { arch::prepare(root.cast(), entry::<F, Input, Yield, Return>) };
        Coroutine {
            pointer,
            started: false,
            // SAFETY: an address inside of a stack is not null.
            root: unsafe { NonNull::new_unchecked(root.cast()) },
            drop_body: drop_body::<F, Return>,
            stack,
            _types: PhantomData,
        }
    }

    /// Runs the coroutine until it suspends or ends.
    ///
    /// # Panics
    ///
    /// If the coroutine is done already; and with the coroutine's own panic if it panics, after which it is done.
    #[inline]
    pub fn resume(&mut self, input: Input) -> CoroutineResult<Yield, Return> {
        assert!(!self.pointer.is_null(), "resumed a coroutine that is done");
        self.started = true;
        let parcel = Parcel::new(input);
        // SAFETY: `pointer` is not null, so it is from `prepare` or the latest switch, and `&mut self` resumes it alone;
        // the coroutine takes the parcel's content out before it suspends (`entry`, `suspend`).
        let (pointer, word) = unsafe { arch::resume(self.pointer, parcel.word(), GO_ON) };
        self.pointer = pointer;
        if pointer.is_null() {
            return CoroutineResult::Return(self.take_return());
        }
        // SAFETY: a coroutine that is not done has sent a parcel of a `Yield` in `suspend`, and waits there with it.
        CoroutineResult::Yield(unsafe { receive(word) })
    }

    /// Returns whether the body has ended, by returning or by a panic.
    pub fn is_done(&self) -> bool {
        self.pointer.is_null()
    }

    /// Returns whether the coroutine was ever resumed.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Takes back the stack of a coroutine that is done.
    ///
    /// # Panics
    ///
    /// If it is not done.
    pub fn into_stack(self) -> S {
        assert!(
            self.is_done(),
            "the stack of a coroutine that is not done was asked for"
        );
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, and nothing else in it needs to be dropped.
        unsafe { ptr::read(&this.stack) }
    }

    #[cold]
    fn take_return(&mut self) -> Return {
        match self.outcome() {
            Ok(value) => value,
            Err(payload) => resume_unwind(payload),
        }
    }
}

impl<Input, Yield, Return, S: Stack> Coroutine<Input, Yield, Return, S> {
    fn outcome(&self) -> Result<Return, Box<dyn Any + Send>> {
        // SAFETY: the root lies on our stack, and outlives the coroutine that used it.
        let root = unsafe { self.root.as_ref() };
        root.outcome
            .take()
            .expect("a coroutine that is done has left its outcome")
    }

    /// Unwinds a suspended coroutine until its stack is empty.
    fn unwind(&mut self) {
        for _ in 0..UNWIND_ATTEMPTS {
            // SAFETY: `pointer` is from the latest switch; at this signal `suspend` unwinds and
            // does not look at the word.
            let (pointer, _) = unsafe { arch::resume(self.pointer, MaybeUninit::uninit(), UNWIND) };
            self.pointer = pointer;
            if pointer.is_null() {
                // A panic of a destructor on the way out ends here, as the hook has told of it; so does a late return.
                drop(self.outcome());
                return;
            }
        }
        eprintln!(
            "corde: a coroutine suspended {UNWIND_ATTEMPTS} times while it was being dropped, aborting"
        );
        abort();
    }
}

impl<Input, Yield, Return, S: Stack> Drop for Coroutine<Input, Yield, Return, S> {
    fn drop(&mut self) {
        if self.pointer.is_null() {
            return;
        }
        if self.started {
            self.unwind();
        } else {
            // SAFETY: it never ran, so the body is still in its place; it is dropped once, here.
            unsafe { (self.drop_body)(self.root) };
        }
    }
}

impl<Input, Yield, Return, S: Stack> fmt::Debug for Coroutine<Input, Yield, Return, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine")
            .field("started", &self.started)
            .field("done", &self.pointer.is_null())
            .finish_non_exhaustive()
    }
}

/// # Safety
/// The root was written by `with_stack::<F>`, and its body has not been taken.
unsafe fn drop_body<F, Return>(root: NonNull<Root<Return>>) {
    // SAFETY: passed on; `RootWithBody` begins with the `Root` (repr(C)).
    let root = unsafe { root.cast::<RootWithBody<F, Return>>().as_mut() };
    // SAFETY: the body has not been taken, and is not used after this.
    unsafe { ManuallyDrop::drop(&mut root.body) };
}

/// The first function on a coroutine's stack.
///
/// # Safety
/// Called by the `.S` on the first resume, with the root that `with_stack::<F>` wrote and a word from `resume`.
unsafe extern "C" fn entry<F, Input, Yield, Return>(
    word: Word,
    resumer: StackPointer,
    root: *mut u8,
) -> !
where
    F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
{
    // SAFETY: `with_stack` put it there, and the resumer does not look at it before this coroutine is done.
    let root = unsafe { &mut *root.cast::<RootWithBody<F, Return>>() };
    let yielder = Yielder {
        resumer: Cell::new(resumer),
        _types: PhantomData,
    };
    // SAFETY: the first word is a parcel of an `Input`: a coroutine that never ran is not unwound (Drop).
    let input = unsafe { receive::<Input>(word) };
    // SAFETY: the body is taken once, as this function runs once.
    let body = unsafe { ManuallyDrop::take(&mut root.body) };
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&yielder, input)));
    root.root.outcome.set(Some(outcome));
    // SAFETY: the yielder knows the latest resumer; nothing of value is left on this stack but the root, which the
    // resumer takes care of.
    unsafe { arch::finish(yielder.resumer.get(), MaybeUninit::uninit()) }
}

/// A coroutine's way back to whoever resumed it.
///
/// Every coroutine has its own, and it cannot leave the body: not to another thread, not into another coroutine.
///
/// ```compile_fail
/// use corde::coroutine::Coroutine;
///
/// let mut outer = Coroutine::new(|yielder, ()| {
///     // The inner body would have to be `'static`.
///     let mut inner = Coroutine::<(), (), ()>::new(|_, ()| yielder.suspend(())).unwrap();
///     inner.resume(());
/// }).unwrap();
/// outer.resume(());
/// ```
pub struct Yielder<Input, Yield> {
    /// Null while the coroutine is suspended.
    resumer: Cell<StackPointer>,
    _types: PhantomData<fn(Yield) -> Input>,
}

impl<Input, Yield> Yielder<Input, Yield> {
    /// Stops the coroutine here and gives `value` to the resumer; returns the input of the next resume.
    ///
    /// Does not return, but unwinds, when the coroutine is dropped instead of resumed.
    ///
    /// # Panics
    ///
    /// If the coroutine is not running. (A reference to a yielder that was smuggled out through a scoped thread-local can
    /// be used while its coroutine is suspended.)
    #[inline(always)]
    pub fn suspend(&self, value: Yield) -> Input {
        let resumer = self.resumer.replace(ptr::null_mut());
        if resumer.is_null() {
            not_running();
        }
        let parcel = Parcel::new(value);
        // SAFETY: `resumer` is from the latest switch here and is used once, as the cell was emptied. The coroutine runs
        // on this thread (a yielder is not Sync), and whatever runs now was resumed by it, directly or not: so going to
        // its resumer leaves a chain of frames that nobody else can resume, for each handle in it is mutably borrowed by
        // the `resume` below. The resumer takes the parcel's content out before it resumes again.
        let (resumer, word, signal) = unsafe { arch::suspend(resumer, parcel.word()) };
        self.resumer.set(resumer);
        if signal == UNWIND {
            force_unwind();
        }
        // SAFETY: without that signal the word is a parcel of an `Input` from `resume`, which waits with it.
        unsafe { receive(word) }
    }
}

impl<Input, Yield> fmt::Debug for Yielder<Input, Yield> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

#[cold]
#[inline(never)]
fn not_running() -> ! {
    panic!("suspended through the yielder of a coroutine that is not running");
}

#[cold]
#[inline(never)]
fn force_unwind() -> ! {
    resume_unwind(Box::new(ForcedUnwind))
}
