//! The coroutines of the (nightly) compiler, boxed.

use std::ops::{Coroutine, CoroutineState};
use std::pin::Pin;

use super::Library;

pub(super) struct Compiler;

impl Library for Compiler {
    type Adder = Pin<Box<dyn Coroutine<u64, Yield = u64, Return = u64>>>;

    fn adder() -> Self::Adder {
        Box::pin(
            #[coroutine]
            |mut word: u64| {
                let mut sum = 0_u64;
                while word != 0 {
                    sum = sum.wrapping_add(word);
                    word = yield sum;
                }
                sum
            },
        )
    }

    #[inline(always)]
    fn resume(adder: &mut Self::Adder, word: u64) -> u64 {
        match adder.as_mut().resume(word) {
            CoroutineState::Yielded(sum) | CoroutineState::Complete(sum) => sum,
        }
    }

    type Numbers = Pin<Box<dyn Coroutine<Yield = u64, Return = ()>>>;

    fn numbers() -> Self::Numbers {
        Box::pin(
            #[coroutine]
            || {
                for number in 0..u64::MAX {
                    yield number;
                }
            },
        )
    }

    #[inline(always)]
    fn next(numbers: &mut Self::Numbers) -> u64 {
        match numbers.as_mut().resume(()) {
            CoroutineState::Yielded(number) => number,
            CoroutineState::Complete(()) => unreachable!("it counts for centuries"),
        }
    }

    fn create_reused() -> impl FnMut(u64) -> u64 + 'static {
        |word| Self::resume(&mut Self::adder(), word)
    }
}
