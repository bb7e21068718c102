//! corosensei's coroutines, on its own stacks or on those of a slab.

use std::marker::PhantomData;
use std::num::NonZero;

use ::corde::stack::DEFAULT_SIZE;
use ::corosensei::stack::{DefaultStack, Stack, StackPointer};
use ::corosensei::{Coroutine, CoroutineResult, Yielder};

use super::{Library, PlainStack};

pub(super) struct Corosensei<S>(PhantomData<S>);

pub(super) type OnOwnStack = DefaultStack;

pub(super) type OnSlab = PlainStack;

// SAFETY: a stack of corde keeps its bounds, has a guard below `bottom`, and 16 KiB at the least.
unsafe impl Stack for OnSlab {
    fn base(&self) -> StackPointer {
        self.top().addr()
    }

    fn limit(&self) -> StackPointer {
        // The page below is the guard, which this limit includes.
        let guard = self.bottom().addr().get() - 4096;
        NonZero::new(guard).expect("no stack is at address 0")
    }
}

pub(super) trait Make: Stack + 'static {
    fn make() -> Self;
}

impl Make for OnOwnStack {
    fn make() -> Self {
        DefaultStack::new(DEFAULT_SIZE).expect("a stack can be had")
    }
}

impl Make for OnSlab {
    fn make() -> Self {
        PlainStack::new()
    }
}

fn add(yielder: &Yielder<u64, u64>, mut word: u64) -> u64 {
    let mut sum = 0_u64;
    while word != 0 {
        sum = sum.wrapping_add(word);
        word = yielder.suspend(sum);
    }
    sum
}

impl<S: Make> Library for Corosensei<S> {
    type Adder = Coroutine<u64, u64, u64, S>;

    fn adder() -> Self::Adder {
        Coroutine::with_stack(S::make(), add)
    }

    #[inline(always)]
    fn resume(adder: &mut Self::Adder, word: u64) -> u64 {
        match adder.resume(word) {
            CoroutineResult::Yield(sum) | CoroutineResult::Return(sum) => sum,
        }
    }

    type Numbers = Coroutine<(), u64, (), S>;

    fn numbers() -> Self::Numbers {
        let count = |yielder: &Yielder<(), u64>, ()| (0..u64::MAX).for_each(|n| yielder.suspend(n));
        Coroutine::with_stack(S::make(), count)
    }

    #[inline(always)]
    fn next(numbers: &mut Self::Numbers) -> u64 {
        match numbers.resume(()) {
            CoroutineResult::Yield(number) => number,
            CoroutineResult::Return(()) => unreachable!("it counts for centuries"),
        }
    }

    fn create_reused() -> impl FnMut(u64) -> u64 + 'static {
        let mut stack = Some(S::make());
        move |word| {
            let free = stack.take().expect("the last coroutine gave it back");
            let mut adder = Coroutine::with_stack(free, add);
            let answer = match adder.resume(word) {
                CoroutineResult::Yield(sum) | CoroutineResult::Return(sum) => sum,
            };
            stack = Some(adder.into_stack());
            answer
        }
    }
}
