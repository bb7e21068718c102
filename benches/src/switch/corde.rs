//! corde's coroutines.

use ::corde::coroutine::{Coroutine, CoroutineResult, Yielder};
use ::corde::stack::{DEFAULT_SIZE, DefaultStack};

use super::Library;

pub(super) struct Corde;

fn add(yielder: &Yielder<u64, u64>, mut word: u64) -> u64 {
    let mut sum = 0_u64;
    while word != 0 {
        sum = sum.wrapping_add(word);
        word = yielder.suspend(sum);
    }
    sum
}

impl Library for Corde {
    const KEEPS_STACKS: bool = true;

    type Adder = Coroutine<u64, u64, u64>;

    fn adder() -> Self::Adder {
        Coroutine::new(add).expect("a stack can be had")
    }

    #[inline(always)]
    fn resume(adder: &mut Self::Adder, word: u64) -> u64 {
        match adder.resume(word) {
            CoroutineResult::Yield(sum) | CoroutineResult::Return(sum) => sum,
        }
    }

    type Numbers = Coroutine<(), u64, ()>;

    fn numbers() -> Self::Numbers {
        let count = |yielder: &Yielder<(), u64>, ()| (0..u64::MAX).for_each(|n| yielder.suspend(n));
        Coroutine::new(count).expect("a stack can be had")
    }

    #[inline(always)]
    fn next(numbers: &mut Self::Numbers) -> u64 {
        match numbers.resume(()) {
            CoroutineResult::Yield(number) => number,
            CoroutineResult::Return(()) => unreachable!("it counts for centuries"),
        }
    }

    fn create_reused() -> impl FnMut(u64) -> u64 + 'static {
        let mut stack = Some(DefaultStack::new(DEFAULT_SIZE).expect("a stack can be had"));
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
