//! Boost.Context's `fcontext`, through the crate `context`: a word each way, on its own stacks or on those of a slab.
//!
//! The switch is Boost's assembly, instruction for instruction that of Boost 1.74. There is no more to it than a switch, so what a
//! coroutine needs besides is here: a handle that owns the stack and remembers where to go on.

use std::marker::PhantomData;

use ::context::stack::{ProtectedFixedSizeStack, Stack as Bounds};
use ::context::{self as fcontext, ContextFn, Transfer};
use ::corde::stack::DEFAULT_SIZE;

use super::{Library, PlainStack};

pub(super) struct Context<S>(PhantomData<S>);

pub(super) type OnOwnStack = ProtectedFixedSizeStack;

pub(super) type OnSlab = PlainStack;

/// A guarded stack for the use of a coroutine alone.
pub(super) trait Make: Sized + 'static {
    fn make() -> Self;
    fn bounds(&self) -> Bounds;
}

impl Make for OnOwnStack {
    fn make() -> Self {
        ProtectedFixedSizeStack::new(DEFAULT_SIZE).expect("a stack can be had")
    }

    fn bounds(&self) -> Bounds {
        // SAFETY: these are the ends of a stack.
        unsafe { Bounds::new(self.top(), self.bottom()) }
    }
}

impl Make for OnSlab {
    fn make() -> Self {
        PlainStack::new()
    }

    fn bounds(&self) -> Bounds {
        let (top, bottom) = (self.top().as_ptr(), self.bottom().as_ptr());
        // SAFETY: these are the ends of a stack.
        unsafe { Bounds::new(top.cast(), bottom.cast()) }
    }
}

/// A function on a stack of its own, which gives a word for a word.
pub(super) struct Coroutine<S> {
    /// Where it goes on; `None` only while it runs.
    context: Option<fcontext::Context>,
    stack: S,
}

impl<S: Make> Coroutine<S> {
    /// `function` gives back the control that it gets with each word, and owns nothing that would have to be dropped.
    fn new(stack: S, function: ContextFn) -> Coroutine<S> {
        // SAFETY: nobody else uses the stack, and the coroutine, the context's only owner, keeps both together.
        let context = unsafe { fcontext::Context::new(&stack.bounds(), function) };
        let context = Some(context);
        Coroutine { context, stack }
    }

    #[inline(always)]
    fn resume(&mut self, word: u64) -> u64 {
        let context = self.context.take().expect("it does not resume itself");
        // SAFETY: the context is suspended, on a stack that this coroutine owns.
        let Transfer { context, data } = unsafe { context.resume(word as usize) };
        self.context = Some(context);
        data as u64
    }

    fn into_stack(self) -> S {
        self.stack
    }
}

/// Answers `word` to whoever resumed the coroutine of the function that calls this, with `resumed`; returns what the next resume brings.
#[inline(always)]
fn suspend(resumed: Transfer, word: u64) -> Transfer {
    // SAFETY: a coroutine's function passes what it was resumed with last, so the context is that of `Coroutine::resume`,
    // which waits for a word.
    unsafe { resumed.context.resume(word as usize) }
}

extern "C" fn add(mut resumed: Transfer) -> ! {
    let mut sum = 0_u64;
    while resumed.data != 0 {
        sum = sum.wrapping_add(resumed.data as u64);
        resumed = suspend(resumed, sum);
    }
    // Its end: such a function has nowhere to return to.
    loop {
        resumed = suspend(resumed, sum);
    }
}

extern "C" fn count(mut resumed: Transfer) -> ! {
    for number in 0..u64::MAX {
        resumed = suspend(resumed, number);
    }
    unreachable!("it counts for centuries")
}

impl<S: Make> Library for Context<S> {
    type Adder = Coroutine<S>;

    fn adder() -> Self::Adder {
        Coroutine::new(S::make(), add)
    }

    #[inline(always)]
    fn resume(adder: &mut Self::Adder, word: u64) -> u64 {
        adder.resume(word)
    }

    type Numbers = Coroutine<S>;

    fn numbers() -> Self::Numbers {
        Coroutine::new(S::make(), count)
    }

    #[inline(always)]
    fn next(numbers: &mut Self::Numbers) -> u64 {
        numbers.resume(0)
    }

    fn create_reused() -> impl FnMut(u64) -> u64 + 'static {
        let mut stack = Some(S::make());
        move |word| {
            let free = stack.take().expect("the last coroutine gave it back");
            let mut adder = Coroutine::new(free, add);
            let answer = adder.resume(word);
            stack = Some(adder.into_stack());
            answer
        }
    }
}
