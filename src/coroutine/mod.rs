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

mod builder;
mod future;
mod generator;
mod scoped;
mod transfer;

use std::alloc::Layout;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::abort;
use std::ptr::{self, NonNull};
use std::thread;

use crate::arch::fiber::Fiber;
use crate::arch::{self, FloatEnvironment, STACK_ALIGN, StackPointer, Word};
use crate::report;
use crate::stack::{DEFAULT_SIZE, DefaultStack, Stack, overflow};
use transfer::{Parcel, receive};

pub use builder::Builder;
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
/// belong to that thread. Everything in it is `'static`, because a coroutine can be leaked with its frames alive; see
/// [`scoped`] for one that borrows.
///
/// # Leaving early
///
/// Dropping a suspended coroutine [unwinds](Coroutine::unwind) it, so that destructors run.
///
/// # Thread-locals
///
/// Do not suspend inside of [`LocalKey::with`](std::thread::LocalKey::with), or with anything else in the frames that borrows
/// from a thread-local of `std`, in a coroutine that outlives the function that made it: `std` takes for granted that such a borrow ends
/// before the OS thread does, and destroys the thread-local then. corde cannot see it. What it does: a coroutine that is dropped by the
/// destructors of thread-locals is leaked instead of unwound, once corde's own thread-local is gone, and its destructors do not
/// run. Green threads are not concerned, as their OS threads do not end; nor is [`scoped`]. An initializer of a
/// thread-local must not suspend at all, wherever it runs.
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>(_: T) {}
/// assert_send(corde::coroutine::Coroutine::<(), (), ()>::new(|_, ()| ()));
/// ```
pub struct Coroutine<Input, Yield, Return, S: Stack = DefaultStack> {
    /// Where it stopped; null once it is done.
    pointer: StackPointer,
    root: NonNull<Root>,
    /// Its own floating-point environment, if it has one.
    float: Option<FloatEnvironment>,
    /// Dropped once the coroutine is done; leaked with the frames on it, if it never is.
    stack: ManuallyDrop<S>,
    _types: PhantomData<fn(Input) -> (Yield, Return)>,
}

/// The top of a coroutine's stack, fixed while it lives.
struct Root {
    fiber: Fiber,
    /// Drops the body of a coroutine that never ran.
    drop_body: unsafe fn(NonNull<Root>),
}

/// A [`Root`] with the body that has yet to run.
#[repr(C)]
struct RootWithBody<F> {
    root: Root,
    body: ManuallyDrop<F>,
}

/// Stands for the stack pointer of a coroutine that runs. Seen by its `Drop` only when `process::exit` is called in it and runs the
/// destructors of thread-locals, one of which owns it.
const RUNNING: StackPointer = ptr::without_provenance_mut(1);

/// What a resume signals to the coroutine, as a sum: leave by unwinding, rather than go on.
const UNWIND: usize = 1;

/// The resumer is unwinding from a panic.
const IN_PANIC: usize = 2;

/// What a coroutine signals at its end: the word is a parcel of its value.
const RETURNED: usize = 0;

/// The word is a parcel of its panic's payload.
const PANICKED: usize = 1;

/// What a panic carries.
type Payload = Box<dyn Any + Send>;

/// The payload of the unwind that empties a coroutine's stack.
struct ForcedUnwind;

/// How often a coroutine that is being unwound may catch that and suspend again.
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
    #[inline]
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
    #[inline]
    unsafe fn with_stack_unchecked<F>(stack: S, body: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
    {
        overflow::protect_thread();
        let top = stack.top().as_ptr();
        let room = top as usize - stack.bottom().as_ptr() as usize;
        let layout = Layout::new::<RootWithBody<F>>();
        let align = layout.align().max(STACK_ALIGN);
        if layout.size().saturating_add(align) > room / 2 {
            too_large(layout.size(), room);
        }
        let address = (top as usize - layout.size()) & !(align - 1);
        let root = top
            .wrapping_sub(top as usize - address)
            .cast::<RootWithBody<F>>();
        let fiber = Fiber::new(stack.bottom().as_ptr(), top);
        let first = Root {
            fiber,
            drop_body: drop_body::<F>,
        };
        // SAFETY: the range is aligned, and inside of the stack, which is ours alone (trait Stack), as just asserted.
        unsafe {
            root.write(RootWithBody {
                root: first,
                body: ManuallyDrop::new(body),
            })
        };
        // SAFETY: `root` is aligned to 16 at least, and has half of the stack below it.
        let pointer = unsafe { arch::prepare(root.cast(), entry::<F, Input, Yield, Return>) };
        // SAFETY: an address inside of a stack is not null.
        let root = unsafe { NonNull::new_unchecked(root.cast()) };
        Coroutine {
            pointer,
            root,
            float: None,
            stack: ManuallyDrop::new(stack),
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
        if self.pointer.is_null() {
            resumed_when_done();
        }
        let parcel = Parcel::new(input);
        let signal = panic_signal();
        // SAFETY: `pointer` is not null, as just seen; the coroutine takes the parcel's content out before it suspends
        // (`entry`, `suspend`).
        let (pointer, word, ending) = unsafe { self.switch(parcel.word(), signal) };
        self.pointer = pointer;
        if !pointer.is_null() {
            // SAFETY: a coroutine that is not done has sent a parcel of a `Yield` in `suspend`, and waits there with it.
            return CoroutineResult::Yield(unsafe { receive(word) });
        }
        if ending == PANICKED {
            // SAFETY: the signal says that the word is that of a payload; `entry` has left it on the stack.
            resume_unwind(unsafe { receive::<Payload>(word) });
        }
        // SAFETY: otherwise it is that of the value.
        CoroutineResult::Return(unsafe { receive(word) })
    }

    /// Switches to the coroutine.
    ///
    /// # Safety
    /// It is not done, and `word` is what the place where it stopped expects at this signal.
    #[inline(always)]
    unsafe fn switch(&mut self, word: Word, signal: usize) -> (StackPointer, Word, usize) {
        let pointer = mem::replace(&mut self.pointer, RUNNING);
        let root = self.root.as_ptr().cast();
        // SAFETY: the root lies on our stack, and nobody changes it while the coroutine lives.
        let fiber = &unsafe { self.root.as_ref() }.fiber;
        let float = &mut self.float;
        let left = fiber.resume(|| match float {
            // SAFETY: the pointer is from `prepare` or the latest switch, and `&mut self` uses it alone.
            None => unsafe { arch::resume(pointer, root, word, signal) },
            // SAFETY: as above.
            Some(float) => unsafe { arch::resume_with_float(pointer, root, word, signal, float) },
        });
        if left.0.is_null() {
            fiber.done();
        }
        left
    }

    /// Returns whether the body has ended, by returning, by a panic, or by being unwound.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.pointer.is_null()
    }

    /// Returns whether the coroutine was ever resumed, or unwound instead.
    pub fn is_started(&self) -> bool {
        // Once `entry` runs, its frame lies between the two.
        self.pointer != arch::prepared(self.root.as_ptr().cast())
    }

    /// Returns the stack that it runs on.
    pub fn stack(&self) -> &S {
        &self.stack
    }

    /// Takes back the stack of a coroutine that is done.
    ///
    /// # Panics
    ///
    /// If it is not done.
    #[inline]
    pub fn into_stack(self) -> S {
        assert!(
            self.is_done(),
            "the stack of a coroutine that is not done was asked for"
        );
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, and nothing else in it needs to be dropped.
        ManuallyDrop::into_inner(unsafe { ptr::read(&this.stack) })
    }

    /// Ends the coroutine by unwinding its stack from where it is suspended; nothing happens if it is done.
    ///
    /// The unwind begins in [`Yielder::suspend`] like a panic, but the panic hook is not called. Destructors run; a panic of
    /// theirs ends here. The body may catch the unwind; if it suspends again, it is unwound again, up to a hundred times. If it never
    /// started, just the body is dropped.
    ///
    /// # Aborts
    ///
    /// The process, with a message: when the hundred times are over, and in a program built with `panic = "abort"` if the coroutine is suspended.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Coroutine;
    /// use std::rc::Rc;
    ///
    /// let value = Rc::new(());
    /// let theirs = value.clone();
    /// let mut coroutine = Coroutine::new(move |yielder, ()| {
    ///     yielder.suspend(());
    ///     drop(theirs);
    /// })?;
    /// coroutine.resume(());
    /// assert_eq!(Rc::strong_count(&value), 2);
    /// coroutine.unwind();
    /// assert_eq!(Rc::strong_count(&value), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unwind(&mut self) {
        if self.is_done() {
            return;
        }
        if !self.is_started() {
            self.pointer = ptr::null_mut();
            // SAFETY: the root lies on our stack.
            let root = unsafe { self.root.as_ref() };
            root.fiber.done();
            let drop_body = root.drop_body;
            // SAFETY: the body never ran, and is dropped once, as the coroutine counts as done now.
            unsafe { drop_body(self.root) };
            return;
        }
        if cfg!(panic = "abort") {
            give_up("a suspended coroutine was dropped, which needs panic = \"unwind\"");
        }
        let mut panicked = Ok(());
        for _ in 0..UNWIND_ATTEMPTS {
            // SAFETY: the coroutine is not done; at this signal `suspend` unwinds and does not look at the word.
            let (pointer, word, ending) =
                unsafe { self.switch(Word::uninit(), UNWIND | panic_signal()) };
            self.pointer = pointer;
            if pointer.is_null() {
                // SAFETY: as in `resume`.
                unsafe { discard_ending::<Return>(word, ending) };
                return panicked.unwrap_or_else(|payload| resume_unwind(payload));
            }
            // SAFETY: as in `resume`: it caught the unwind and has suspended again, with a value that nobody wants.
            let value = unsafe { receive::<Yield>(word) };
            // A panic of its destructor has to wait until no frame is left.
            panicked = panicked.and(catch_unwind(AssertUnwindSafe(|| drop(value))));
        }
        give_up("a coroutine suspended too often while it was being unwound");
    }

    /// Forgets what is on the coroutine's stack: no destructor in it runs, and it counts as done.
    ///
    /// For stacks that cannot be unwound, such as those with frames of C functions.
    ///
    /// # Safety
    ///
    /// Nothing relies on the frames any more: no pointer to anything in them is used again, and nothing pinned in them is
    /// waited for. (A `std::thread::scope` in them is such a thing.)
    pub unsafe fn abandon(&mut self) {
        self.pointer = ptr::null_mut();
    }
}

#[inline(always)]
fn panic_signal() -> usize {
    if thread::panicking() { IN_PANIC } else { 0 }
}

/// Drops what a coroutine that was being unwound ended with.
///
/// # Safety
/// As for [`receive`], with the type that `ending` tells.
unsafe fn discard_ending<Return>(word: Word, ending: usize) {
    if ending == PANICKED {
        // SAFETY: passed on. A panic of a destructor on the way out ends here; the hook has told of it.
        let payload = unsafe { receive::<Payload>(word) };
        // A payload's destructor may panic as well: let it be seen by who drops the coroutine.
        drop(payload);
    } else {
        // SAFETY: passed on. The body caught the unwind and returned.
        drop(unsafe { receive::<Return>(word) });
    }
}

#[cold]
fn give_up(why: &str) -> ! {
    report::line(format_args!("{why}, aborting"));
    abort();
}

#[cold]
#[inline(never)]
fn too_large(size: usize, room: usize) -> ! {
    panic!("a coroutine's body of {size} bytes is too large for a stack of {room} bytes");
}

#[cold]
#[inline(never)]
fn resumed_when_done() -> ! {
    panic!("resumed a coroutine that is done");
}

impl<Input, Yield, Return, S: Stack> Drop for Coroutine<Input, Yield, Return, S> {
    #[inline]
    fn drop(&mut self) {
        if self.is_done() {
            // SAFETY: nobody runs on it, and it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.stack) };
        } else if self.pointer != RUNNING && !overflow::thread_is_ending() {
            self.drop_undone();
        }
    }
}

impl<Input, Yield, Return, S: Stack> Coroutine<Input, Yield, Return, S> {
    #[cold]
    fn drop_undone(&mut self) {
        let unwound = catch_unwind(AssertUnwindSafe(|| self.unwind()));
        // SAFETY: nobody runs on it any more, and it is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.stack) };
        unwound.unwrap_or_else(|payload| resume_unwind(payload));
    }
}

impl<Input, Yield, Return, S: Stack> fmt::Debug for Coroutine<Input, Yield, Return, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine")
            .field("started", &self.is_started())
            .field("done", &self.is_done())
            .finish_non_exhaustive()
    }
}

/// # Safety
/// The root was written by `with_stack_unchecked::<F>`, and its body has not been taken.
unsafe fn drop_body<F>(root: NonNull<Root>) {
    // SAFETY: passed on; `RootWithBody` begins with the `Root` (repr(C)).
    let root = unsafe { root.cast::<RootWithBody<F>>().as_mut() };
    // SAFETY: the body has not been taken, and is not used after this.
    unsafe { ManuallyDrop::drop(&mut root.body) };
}

/// The first function on a coroutine's stack.
///
/// # Safety
/// Called by the `.S` on the first resume, with the root that `with_stack_unchecked::<F>` wrote and a word from `resume`.
unsafe extern "C" fn entry<F, Input, Yield, Return>(
    word: Word,
    resumer: StackPointer,
    root: *mut u8,
) -> !
where
    F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
{
    // SAFETY: the first word is a parcel of an `Input`: a coroutine that never ran is not resumed to be unwound.
    let input = unsafe { receive::<Input>(word) };
    // SAFETY: `with_stack_unchecked` has put it there, and nobody changes it while the coroutine lives.
    let root = unsafe { &*root.cast::<RootWithBody<F>>() };
    let fiber = &root.root.fiber;
    fiber.entered();
    // SAFETY: the body is taken once, as this function runs once.
    let body = unsafe { ptr::read(&root.body) };
    let yielder = Yielder {
        fiber,
        resumer: Cell::new(resumer),
        in_panic: Cell::new(thread::panicking()),
        _types: PhantomData,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        ManuallyDrop::into_inner(body)(&yielder, input)
    }));
    let resumer = yielder.resumer.get();
    fiber.finishing();
    match outcome {
        Ok(value) => {
            let parcel = Parcel::new(value);
            // SAFETY: `resumer` is the latest one. It takes the parcel's content out at once, from this frame, which stays
            // as it is; nothing else of value is left on this stack.
            unsafe { arch::finish(resumer, parcel.word(), RETURNED) }
        }
        Err(payload) => {
            let parcel = Parcel::<Payload>::new(payload);
            // SAFETY: as above.
            unsafe { arch::finish(resumer, parcel.word(), PANICKED) }
        }
    }
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
    fiber: *const Fiber,
    /// Whether the resumer was unwinding from a panic when it resumed.
    in_panic: Cell<bool>,
    _types: PhantomData<fn(Yield) -> Input>,
}

impl<Input, Yield> Yielder<Input, Yield> {
    /// Stops the coroutine here and gives `value` to the resumer; returns the input of the next resume.
    ///
    /// Does not return, but unwinds, when the coroutine is [unwound](Coroutine::unwind) instead of resumed.
    ///
    /// # Panics
    ///
    /// If the coroutine is itself unwinding, that is when a destructor suspends: std counts panics by OS thread, and whatever
    /// would run meanwhile would count as panicking. (A panic in a destructor that does not catch it aborts.) One case goes unseen,
    /// because std tells whether an OS thread is panicking but not how often: that of a coroutine which was resumed by a
    /// destructor of a panicking thread and has then panicked itself.
    ///
    /// If the coroutine is suspended. (Lifetimes keep a yielder in its coroutine's frames, and in those of coroutines that these
    /// resume. A scoped thread-local can smuggle it out; to use it elsewhere, while the coroutine is not suspended but has resumed
    /// another one that has suspended it, is undefined behaviour that such a thread-local has to answer for.)
    #[inline(always)]
    pub fn suspend(&self, value: Yield) -> Input {
        if thread::panicking() && !self.in_panic.get() {
            suspended_in_panic();
        }
        let resumer = self.resumer.replace(ptr::null_mut());
        if resumer.is_null() {
            not_running();
        }
        let parcel = Parcel::new(value);
        // SAFETY: the root of a coroutine outlives its frames, which hold the yielder.
        let fiber = unsafe { &*self.fiber };
        // SAFETY: `resumer` is from the latest switch here and is used once, as the cell was emptied. The reference to the
        // yielder is in a frame of its coroutine or, by its lifetime, of one that it has resumed, directly or not: so going
        // to its resumer leaves a chain of frames that nobody else can resume, for each handle in it is mutably borrowed
        // by the `resume` below. The resumer takes the parcel's content out before it resumes again.
        let (resumer, word, signal) =
            fiber.suspend(|| unsafe { arch::suspend(resumer, parcel.word()) });
        self.resumer.set(resumer);
        self.in_panic.set(signal & IN_PANIC != 0);
        if signal & UNWIND != 0 {
            force_unwind();
        }
        // SAFETY: without the signal to unwind the word is a parcel of an `Input` from `resume`, which waits with it.
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

#[cold]
#[inline(never)]
fn suspended_in_panic() -> ! {
    panic!("a coroutine suspended while it was unwinding");
}
