//! generator's coroutines, which bring their stacks with them.

use ::generator::{Gn, LocalGenerator, Scope};

use super::Library;

pub(super) struct Generator;

fn add(mut scope: Scope<'_, '_, u64, u64>) -> u64 {
    let mut sum = 0_u64;
    let mut word = scope.get_yield().unwrap_or(0);
    while word != 0 {
        sum = sum.wrapping_add(word);
        scope.yield_with(sum);
        word = scope.get_yield().unwrap_or(0);
    }
    sum
}

impl Library for Generator {
    type Adder = LocalGenerator<'static, u64, u64>;

    fn adder() -> Self::Adder {
        Gn::new_scoped_local(add)
    }

    #[inline(always)]
    fn resume(adder: &mut Self::Adder, word: u64) -> u64 {
        adder.send(word)
    }

    type Numbers = LocalGenerator<'static, (), u64>;

    fn numbers() -> Self::Numbers {
        Gn::new_scoped_local(|mut scope| {
            let mut number = 0;
            loop {
                scope.yield_with(number);
                number += 1;
            }
        })
    }

    #[inline(always)]
    fn next(numbers: &mut Self::Numbers) -> u64 {
        numbers.resume().expect("it counts for centuries")
    }

    fn create_reused() -> impl FnMut(u64) -> u64 + 'static {
        let mut adder = Self::adder();
        adder.send(0);
        move |word| {
            adder.scoped_init(add);
            adder.send(word)
        }
    }
}
