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
#[cfg(doctest)]
mod holes;
mod scoped;
mod transfer;

use std::alloc::Layout;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::abort;
use std::ptr::{self, NonNull};
use std::thread;

use crate::arch::fiber::Fiber;
use crate::arch::{self, Ending, FloatEnvironment, FrameRecord, Root, STACK_ALIGN, Word};
use crate::report;
use crate::stack::{DEFAULT_SIZE, DefaultStack, Stack, overflow};
use transfer::{Parcel, receive};

pub use builder::Builder;
pub use future::{AsyncGenerator, Awaiter, CoroutineFuture};
pub use generator::{Generator, generator};
pub use scoped::{Scoped, scoped};

/// What a coroutine answered to [`Coroutine::resume`].
///
/// # Examples
///
/// ```
/// use corde::coroutine::{Coroutine, CoroutineResult};
///
/// let mut countdown = Coroutine::new(|yielder, ()| {
///     for number in [3, 2, 1] {
///         yielder.suspend(number);
///     }
///     "go"
/// })?;
/// let mut counted = Vec::new();
/// let word = loop {
///     match countdown.resume(()) {
///         CoroutineResult::Yield(number) => counted.push(number),
///         CoroutineResult::Return(word) => break word,
///     }
/// };
/// assert_eq!((&*counted, word), (&[3, 2, 1][..], "go"));
/// # Ok::<(), std::io::Error>(())
/// ```
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
/// run. Green threads are not concerned, as their OS threads do not end before them; nor is [`scoped`]. An initializer of a
/// thread-local must not suspend at all, wherever it runs.
///
/// # Examples
///
/// A reader that is fed byte by byte, written as if it could wait for the next one:
///
/// ```
/// use corde::coroutine::{Coroutine, CoroutineResult};
///
/// let mut number = Coroutine::new(|yielder, mut byte: u8| {
///     let mut value = 0;
///     while byte.is_ascii_digit() {
///         value = value * 10 + u32::from(byte - b'0');
///         byte = yielder.suspend(());
///     }
///     value
/// })?;
/// let answers: Vec<_> = b"42;".iter().map(|&byte| number.resume(byte)).collect();
/// assert_eq!(answers, [CoroutineResult::Yield(()), CoroutineResult::Yield(()), CoroutineResult::Return(42)]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// It cannot go to another OS thread:
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>(_: T) {}
/// assert_send(corde::coroutine::Coroutine::<(), (), ()>::new(|_, ()| ()));
/// ```
pub struct Coroutine<Input, Yield, Return, S: Stack = DefaultStack> {
    /// Where it stopped; null once it is done.
    record: FrameRecord,
    control: NonNull<Control>,
    /// Dropped once the coroutine is done; leaked with the frames on it, if it never is.
    stack: ManuallyDrop<S>,
    _types: PhantomData<fn(Input) -> (Yield, Return)>,
}

/// The top of a coroutine's stack, in its place while it lives. Both sides use it, which never run at once.
///
/// What a switch touches is here, and together at the beginning: of many coroutines each costs few cache lines.
#[repr(C)]
struct Control {
    root: Root,
    /// For a coroutine that has its own (flag [`OWN_FLOAT`]): the floating-point environment of the side that does not run.
    float: Cell<MaybeUninit<FloatEnvironment>>,
    fiber: Fiber,
    /// Drops the body of a coroutine that never ran.
    drop_body: unsafe fn(NonNull<Control>),
}

/// A [`Control`] with the body that has yet to run.
#[repr(C)]
struct ControlWithBody<F> {
    control: Control,
    body: ManuallyDrop<F>,
}

/// What a resume signals to the coroutine: go on, with the word as a parcel of the input.
const GO_ON: usize = 0;

/// Leave by unwinding.
const UNWIND: usize = 1;

/// The coroutine has a floating-point environment of its own. Cleared while it is suspended; while it runs no guess of `suspend` is right.
const OWN_FLOAT: u8 = Root::ASIDE;

/// The resumer was unwinding from a panic when it resumed. Set by it, and reset by the coroutine before it goes back.
const IN_PANIC: u8 = Root::OWNERS;

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
    /// Those of [`DefaultStack::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{Coroutine, CoroutineResult};
    ///
    /// let mut echo = Coroutine::new(|yielder, first: char| {
    ///     let second = yielder.suspend(first);
    ///     format!("{first}{second}")
    /// })?;
    /// assert_eq!(echo.resume('a'), CoroutineResult::Yield('a'));
    /// assert_eq!(echo.resume('b'), CoroutineResult::Return(String::from("ab")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{Coroutine, CoroutineResult, Yielder};
    /// use corde::stack::DefaultStack;
    ///
    /// // One stack for all of them, one after the other.
    /// let mut stack = DefaultStack::new(64 * 1024)?;
    /// for number in 0..3 {
    ///     let mut square = Coroutine::with_stack(stack, move |_: &Yielder<(), ()>, ()| number * number);
    ///     assert_eq!(square.resume(()), CoroutineResult::Return(number * number));
    ///     stack = square.into_stack();
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        let layout = Layout::new::<ControlWithBody<F>>();
        let align = layout.align().max(STACK_ALIGN);
        if layout.size().saturating_add(align) > room / 2 {
            too_large(layout.size(), room);
        }
        let address = (top as usize - layout.size()) & !(align - 1);
        let place = top
            .wrapping_sub(top as usize - address)
            .cast::<ControlWithBody<F>>();
        let control = Control {
            root: Root::new(),
            float: Cell::new(MaybeUninit::uninit()),
            fiber: Fiber::new(stack.bottom().as_ptr(), top),
            drop_body: drop_body::<F>,
        };
        let body = ManuallyDrop::new(body);
        // SAFETY: the range is aligned, and inside of the stack, which is ours alone (trait Stack), as just asserted.
        unsafe { place.write(ControlWithBody { control, body }) };
        // SAFETY: `place` begins with a root (repr(C)), and has half of the stack below it.
        let record = unsafe { arch::prepare(place.cast(), entry::<F, Input, Yield, Return>) };
        // SAFETY: an address inside of a stack is not null.
        let control = unsafe { NonNull::new_unchecked(place.cast()) };
        Coroutine {
            record,
            control,
            stack: ManuallyDrop::new(stack),
            _types: PhantomData,
        }
    }

    /// Gives it a floating-point environment of its own, which begins with the one in force.
    fn own_float_environment(&mut self) {
        let control = self.control();
        let current = FloatEnvironment::current();
        control.float.set(MaybeUninit::new(current));
        control.root.set(OWN_FLOAT, true);
    }

    /// Runs the coroutine until it suspends or ends.
    ///
    /// The first input is the argument of the body, the others are what [`suspend`](Yielder::suspend) returns there.
    ///
    /// # Panics
    ///
    /// If the coroutine is done already; and with the coroutine's own panic if it panics, after which it is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{Coroutine, CoroutineResult};
    /// use std::panic::{AssertUnwindSafe, catch_unwind};
    ///
    /// let mut quotient = Coroutine::<(u32, u32), u32, ()>::new(|yielder, mut numbers| {
    ///     loop {
    ///         numbers = yielder.suspend(numbers.0 / numbers.1);
    ///     }
    /// })?;
    /// assert_eq!(quotient.resume((6, 3)), CoroutineResult::Yield(2));
    /// assert_eq!(quotient.resume((8, 2)), CoroutineResult::Yield(4));
    /// let panic = catch_unwind(AssertUnwindSafe(|| quotient.resume((1, 0))));
    /// assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "attempt to divide by zero");
    /// assert!(quotient.is_done());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn resume(&mut self, input: Input) -> CoroutineResult<Yield, Return> {
        self.control().note_panic();
        self.resume_not_panicking(input)
    }

    /// Like [`resume`](Coroutine::resume), for a caller that does not look at what happens in panics: a [`Yielder::suspend`] of the
    /// coroutine would take the resumer's panic for its own.
    #[inline(always)]
    pub(crate) fn resume_not_panicking(&mut self, input: Input) -> CoroutineResult<Yield, Return> {
        if self.record.is_null() {
            resumed_when_done();
        }
        let parcel = Parcel::new(input);
        // SAFETY: the record is not null, as just seen; the coroutine takes the parcel's content out before it suspends
        // (`entry`, `suspend`).
        let (record, word) = unsafe { self.switch(parcel.word(), GO_ON) };
        self.record = record;
        match Ending::of(record) {
            // SAFETY: a coroutine that is not done has sent a parcel of a `Yield` in `suspend`, and waits there with it.
            None => CoroutineResult::Yield(unsafe { receive(word) }),
            // SAFETY: the ending says that it is one of the value.
            Some(Ending::Returned) => CoroutineResult::Return(unsafe { receive(word) }),
            Some(Ending::Panicked) => {
                self.record = ptr::null_mut();
                // SAFETY: the ending says that the word is that of a payload; `entry` has left it on the stack.
                unsafe { rethrow(word) }
            }
        }
    }

    /// Switches to the coroutine. What it answers has to be stored before anything else is done with the coroutine: a record, or null if
    /// it has ended.
    ///
    /// # Safety
    /// It is not done, and `word` is what the place where it stopped expects at this signal.
    #[inline(always)]
    unsafe fn switch(&mut self, word: Word, signal: usize) -> (FrameRecord, Word) {
        let record = self.record;
        let root = self.control.as_ptr().cast();
        let control = self.control();
        let left = control.fiber.resume(|| {
            control.fiber.leave_resumer();
            // SAFETY: the record is from `prepare` or the latest switch, and `&mut self` uses it alone.
            unsafe { arch::resume(record, root, word, signal) }
        });
        if Ending::of(left.0).is_some() {
            control.fiber.done();
        }
        left
    }

    /// Has the processor fetch what a resume touches, of one that is resumed soon.
    #[cfg(feature = "runtime")]
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        arch::prefetch(self.record);
        arch::prefetch(self.control.as_ptr());
    }

    #[inline(always)]
    fn control(&self) -> &Control {
        // SAFETY: it lies on our stack, for as long as the coroutine lives, and is changed through cells alone.
        unsafe { self.control.as_ref() }
    }

    /// Returns whether the body has ended, by returning, by a panic, or by being unwound.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Coroutine;
    ///
    /// let mut steps = Coroutine::new(|yielder, ()| (0..3).for_each(|step| yielder.suspend(step)))?;
    /// let mut resumes = 0;
    /// while !steps.is_done() {
    ///     steps.resume(());
    ///     resumes += 1;
    /// }
    /// assert_eq!(resumes, 4);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn is_done(&self) -> bool {
        self.record.is_null()
    }

    /// Returns whether the coroutine was ever resumed, or unwound instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Coroutine;
    ///
    /// let mut coroutine = Coroutine::new(|yielder, ()| yielder.suspend(()))?;
    /// assert!(!coroutine.is_started());
    /// coroutine.resume(());
    /// assert!(coroutine.is_started());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_started(&self) -> bool {
        // Once `entry` runs, its frame lies between the two.
        self.record != arch::prepared(self.control.as_ptr().cast())
    }

    /// Returns the stack that it runs on.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Coroutine;
    ///
    /// let mut coroutine = Coroutine::<(), (), ()>::new(|_, ()| {
    ///     std::hint::black_box(&mut [1_u8; 50_000]).fill(7);
    /// })?;
    /// coroutine.resume(());
    /// assert!(coroutine.stack().high_water() >= 50_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stack(&self) -> &S {
        &self.stack
    }

    /// Takes back the stack of a coroutine that is done.
    ///
    /// # Panics
    ///
    /// If it is not done; the coroutine is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Coroutine;
    /// use corde::stack::{DefaultStack, on_stack};
    ///
    /// let large = DefaultStack::new(4 << 20)?;
    /// let mut coroutine = Coroutine::<(), (), ()>::with_stack(large, |_, ()| ());
    /// coroutine.resume(());
    /// let mut large = coroutine.into_stack();
    /// assert_eq!(on_stack(&mut large, || "used again"), "used again");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn into_stack(self) -> S {
        let this = ManuallyDrop::new(self);
        if !this.is_done() {
            // SAFETY: `this` is not used after this.
            let stack = unsafe { ptr::read(&this.stack) };
            stack_in_use(this.record, this.control, stack, this._types);
        }
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
            self.record = ptr::null_mut();
            let control = self.control();
            control.fiber.done();
            let drop_body = control.drop_body;
            // SAFETY: the body never ran, and is dropped once, as the coroutine counts as done now.
            unsafe { drop_body(self.control) };
            return;
        }
        if cfg!(panic = "abort") {
            give_up("a suspended coroutine was dropped, which needs panic = \"unwind\"");
        }
        let mut panicked = Ok(());
        for _ in 0..UNWIND_ATTEMPTS {
            self.control().note_panic();
            // SAFETY: the coroutine is not done; at this signal `suspend` unwinds and does not look at the word.
            let (record, word) = unsafe { self.switch(Word::uninit(), UNWIND) };
            self.record = record;
            if let Some(ending) = Ending::of(record) {
                self.record = ptr::null_mut();
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
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::Coroutine;
    ///
    /// struct NeverDropped;
    /// impl Drop for NeverDropped {
    ///     fn drop(&mut self) {
    ///         unreachable!("it is forgotten with the frame that it is in");
    ///     }
    /// }
    ///
    /// let mut coroutine = Coroutine::new(|yielder, ()| {
    ///     let _value = NeverDropped;
    ///     yielder.suspend(());
    /// })?;
    /// coroutine.resume(());
    /// // SAFETY: nothing points into its frames.
    /// unsafe { coroutine.abandon() };
    /// assert!(coroutine.is_done());
    /// let _can_be_used_again = coroutine.into_stack();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub unsafe fn abandon(&mut self) {
        self.record = ptr::null_mut();
    }
}

/// Drops what a coroutine that was being unwound ended with.
///
/// # Safety
/// As for [`receive`], with the type that `ending` tells.
unsafe fn discard_ending<Return>(word: Word, ending: Ending) {
    if ending == Ending::Panicked {
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
fn stack_in_use<Input, Yield, Return, S: Stack>(
    record: FrameRecord,
    control: NonNull<Control>,
    stack: ManuallyDrop<S>,
    _types: PhantomData<fn(Input) -> (Yield, Return)>,
) -> ! {
    drop_undone(record, control, stack, _types);
    panic!("the stack of a coroutine that is not done was asked for");
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
        } else {
            // SAFETY: `self` is not used after this.
            let stack = unsafe { ptr::read(&self.stack) };
            drop_undone(self.record, self.control, stack, self._types);
        }
    }
}

/// Takes the fields one by one, so that a coroutine that does not get here can be kept in registers.
#[cold]
#[inline(never)]
fn drop_undone<Input, Yield, Return, S: Stack>(
    record: FrameRecord,
    control: NonNull<Control>,
    stack: ManuallyDrop<S>,
    _types: PhantomData<fn(Input) -> (Yield, Return)>,
) {
    let mut coroutine = ManuallyDrop::new(Coroutine {
        record,
        control,
        stack,
        _types,
    });
    // It runs, if `process::exit` was called in it and runs the destructors of thread-locals, one of which owns it.
    if coroutine.control().root.is_running() || overflow::thread_is_ending() {
        return;
    }
    let unwound = catch_unwind(AssertUnwindSafe(|| coroutine.unwind()));
    // SAFETY: nobody runs on it any more, and it is not used after this.
    unsafe { ManuallyDrop::drop(&mut coroutine.stack) };
    unwound.unwrap_or_else(|payload| resume_unwind(payload));
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
/// The place was written by `with_stack_unchecked::<F>`, and its body has not been taken.
unsafe fn drop_body<F>(place: NonNull<Control>) {
    // SAFETY: passed on; `ControlWithBody` begins with the `Control` (repr(C)).
    let place = unsafe { place.cast::<ControlWithBody<F>>().as_mut() };
    // SAFETY: the body has not been taken, and is not used after this.
    unsafe { ManuallyDrop::drop(&mut place.body) };
}

/// The first function on a coroutine's stack.
///
/// # Safety
/// Called by the `.S` on the first resume, with the place that `with_stack_unchecked::<F>` wrote and a word from `resume`.
unsafe extern "C" fn entry<F, Input, Yield, Return>(word: Word, root: *mut Root) -> !
where
    F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
{
    // SAFETY: the first word is a parcel of an `Input`: a coroutine that never ran is not resumed to be unwound.
    let input = unsafe { receive::<Input>(word) };
    // SAFETY: `with_stack_unchecked` has written it, and it is changed through cells alone.
    let place = unsafe { &*root.cast::<ControlWithBody<F>>() };
    // SAFETY: the body is taken once, as this function runs once.
    let body = unsafe { ptr::read(&place.body) };
    // SAFETY: the place begins with a `Control`, which a yielder is, and which is changed through cells alone.
    let yielder = unsafe { &*root.cast::<Yielder<Input, Yield>>() };
    let control = &yielder.control;
    control.fiber.entered();
    control.begin_float();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        ManuallyDrop::into_inner(body)(yielder, input)
    }));
    control.end_float();
    let resumer = control.root.take_resumer();
    control.fiber.finishing();
    match outcome {
        Ok(value) => {
            let parcel = Parcel::new(value);
            // SAFETY: `resumer` is the latest one. It takes the parcel's content out at once, from this frame, which stays
            // as it is; nothing else of value is left on this stack.
            unsafe { arch::finish(resumer, parcel.word(), Ending::Returned) }
        }
        Err(payload) => {
            let parcel = Parcel::<Payload>::new(payload);
            // SAFETY: as above.
            unsafe { arch::finish(resumer, parcel.word(), Ending::Panicked) }
        }
    }
}

impl Control {
    /// The coroutine's first act, if it has a floating-point environment of its own.
    #[inline]
    fn begin_float(&self) {
        if self.root.has(OWN_FLOAT) {
            // SAFETY: it has its own.
            unsafe { self.put_in_force() };
            arch::mistrust();
        }
    }

    /// The coroutine's last act, if so: puts the floating-point environment of the side that is to run in force.
    #[inline]
    fn end_float(&self) {
        if self.root.has(OWN_FLOAT) {
            // SAFETY: it has its own.
            unsafe { self.put_in_force() };
        }
    }

    /// # Safety
    /// The coroutine has its own floating-point environment.
    #[cold]
    #[inline(never)]
    unsafe fn put_in_force(&self) {
        let current = FloatEnvironment::current();
        let theirs = self.float.replace(MaybeUninit::new(current));
        // SAFETY: passed on: so `own_float_environment` has written it.
        let theirs = unsafe { theirs.assume_init() };
        // SAFETY: it was in force on that side: as its resumer or maker has left it, or C code in the coroutine, for which this
        // is meant.
        unsafe { theirs.set() };
    }

    /// The resumer's half of the check that the coroutine does not suspend in a panic of its own.
    #[inline(always)]
    fn note_panic(&self) {
        if thread::panicking() {
            self.root.set(IN_PANIC, true);
        }
    }

    /// The coroutine's half: it may suspend while its OS thread is panicking if that was so already when it was resumed.
    #[inline(always)]
    fn check_panic(&self) {
        if thread::panicking() {
            self.check_whose_panic();
        }
    }

    #[cold]
    #[inline(never)]
    fn check_whose_panic(&self) {
        assert!(
            self.root.set(IN_PANIC, false),
            "a coroutine suspended while it was unwinding"
        );
    }
}

/// A coroutine's way back to whoever resumed it.
///
/// Every coroutine has its own. Functions that the body calls, at any depth, get a reference to it and suspend the whole coroutine
/// with all frames in between. It cannot leave the body: not to another OS thread, and to another coroutine only if
/// that borrows (see [`scoped`]) and so ends first.
///
/// # Examples
///
/// ```
/// use corde::coroutine::{Coroutine, CoroutineResult, Yielder};
///
/// /// Gives each number whose digits are all 1 or 2, of up to `digits` digits.
/// fn numbers(yielder: &Yielder<(), u32>, prefix: u32, digits: u32) {
///     if digits > 0 {
///         for digit in [1, 2] {
///             yielder.suspend(prefix * 10 + digit);
///             numbers(yielder, prefix * 10 + digit, digits - 1);
///         }
///     }
/// }
///
/// let mut coroutine = Coroutine::new(|yielder, ()| numbers(yielder, 0, 2))?;
/// for expected in [1, 11, 12, 2, 21, 22] {
///     assert_eq!(coroutine.resume(()), CoroutineResult::Yield(expected));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Not into a coroutine that may outlive it:
///
/// ```compile_fail,E0521
/// use corde::coroutine::Coroutine;
///
/// let mut outer = Coroutine::new(|yielder, ()| {
///     // The inner body has to be `'static`.
///     let mut inner = Coroutine::<(), (), ()>::new(|_, ()| yielder.suspend(())).unwrap();
///     inner.resume(());
/// }).unwrap();
/// outer.resume(());
/// ```
#[repr(transparent)]
pub struct Yielder<Input, Yield> {
    control: Control,
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
    /// would run meanwhile would count as panicking. (A panic in a destructor that does not catch it aborts.) As std tells whether an OS
    /// thread is panicking but not how often, two cases are judged wrongly. A coroutine that was resumed by a destructor of a panicking
    /// thread and has then panicked itself goes unseen. And one that has suspended another one, within which it runs, is judged by its
    /// own latest resume, though the other one may have been resumed in a panic, or after it, since.
    ///
    /// If the coroutine is suspended. (Lifetimes keep a yielder in its coroutine's frames, and in those of coroutines that these
    /// resume. A scoped thread-local can smuggle it out; to use it elsewhere, while the coroutine is not suspended but has resumed
    /// another one that has suspended it, is undefined behaviour that such a thread-local has to answer for.)
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::coroutine::{Coroutine, CoroutineResult};
    ///
    /// let mut average = Coroutine::<f64, f64, ()>::new(|yielder, mut sum| {
    ///     for count in 1.. {
    ///         sum += yielder.suspend(sum / f64::from(count));
    ///     }
    /// })?;
    /// assert_eq!(average.resume(4.0), CoroutineResult::Yield(4.0));
    /// assert_eq!(average.resume(8.0), CoroutineResult::Yield(6.0));
    /// assert_eq!(average.resume(0.0), CoroutineResult::Yield(4.0));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline(always)]
    pub fn suspend(&self, value: Yield) -> Input {
        self.control.check_panic();
        let parcel = Parcel::new(value);
        // SAFETY: the parcel holds a `Yield`, and stays where it is.
        let (word, signal) = unsafe { self.switch_to_resumer(parcel.word()) };
        if signal == GO_ON {
            // SAFETY: without the signal to unwind the word is a parcel of an `Input` from `resume`, which waits with it.
            return unsafe { receive(word) };
        }
        // SAFETY: as above; nothing has happened yet if the word is still the parcel's.
        let word = unsafe { self.stop_or_switch_with_float(word, signal) };
        // SAFETY: as above.
        unsafe { receive(word) }
    }

    /// Like [`suspend`](Yielder::suspend), for a coroutine without a floating-point environment of its own that does not
    /// suspend in a panic of its own.
    #[cfg(feature = "runtime")]
    #[inline(always)]
    pub(crate) fn switch(&self, value: Yield) -> Input {
        let parcel = Parcel::new(value);
        // SAFETY: the parcel holds a `Yield`, and stays where it is.
        let (word, signal) = unsafe { self.switch_to_resumer(parcel.word()) };
        if signal != GO_ON {
            stop(signal);
        }
        // SAFETY: as in `suspend`.
        unsafe { receive(word) }
    }

    /// Switches, and returns word and signal of the next resume; or at once the same word, and that the coroutine does not run or that
    /// there is something to do before.
    ///
    /// # Safety
    /// `word` is that of a parcel with a `Yield`, which stays in place and which nobody else takes out.
    #[inline(always)]
    unsafe fn switch_to_resumer(&self, word: Word) -> (Word, usize) {
        let root = &self.control.root;
        // They are told of a switch before it is tried.
        if cfg!(any(feature = "asan", feature = "tsan")) {
            if !root.is_running() {
                return (word, arch::NOT_RUNNING);
            }
            if root.has(OWN_FLOAT) {
                return (word, arch::ASIDE);
            }
        }
        self.control.fiber.suspend(|| {
            self.control.fiber.leave_coroutine();
            // SAFETY: the reference to the yielder is in a frame of its coroutine or, by its lifetime, of one that it has
            // resumed, directly or not: so going to its resumer leaves a chain of frames that nobody else can resume, for each
            // handle in it is mutably borrowed by the `resume` above. The resumer takes the parcel's content out before it
            // resumes again.
            unsafe { arch::suspend(root, word) }
        })
    }

    /// What is left to do when a switch has not brought the signal to go on: stops; or switches between two exchanges of the
    /// floating-point environment, and returns the word of the next resume.
    ///
    /// # Safety
    /// Word and signal are what `switch_to_resumer` has returned, and the parcel that it was called with is still in place.
    #[cold]
    #[inline(never)]
    unsafe fn stop_or_switch_with_float(&self, word: Word, signal: usize) -> Word {
        if signal != arch::ASIDE {
            stop(signal);
        }
        let control = &self.control;
        // SAFETY: it has its own, as the flag was set.
        unsafe { control.put_in_force() };
        // Without the flag it goes by the link.
        control.root.set(OWN_FLOAT, false);
        // SAFETY: nothing has been switched, so the word is the parcel's still.
        let (word, signal) = unsafe { self.switch_to_resumer(word) };
        control.root.set(OWN_FLOAT, true);
        // SAFETY: as above.
        unsafe { control.put_in_force() };
        arch::mistrust();
        if signal != GO_ON {
            stop(signal);
        }
        word
    }
}

impl<Input, Yield> fmt::Debug for Yielder<Input, Yield> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

/// # Safety
/// `word` is that of a panic's payload.
#[cold]
#[inline(never)]
unsafe fn rethrow(word: Word) -> ! {
    // SAFETY: passed on.
    resume_unwind(unsafe { receive::<Payload>(word) })
}

#[cold]
#[inline(never)]
fn stop(signal: usize) -> ! {
    if signal == UNWIND {
        resume_unwind(Box::new(ForcedUnwind))
    }
    panic!("suspended through the yielder of a coroutine that is not running");
}
