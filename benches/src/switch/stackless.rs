//! State machines written by hand, boxed: a closure, an iterator.

use super::Library;

pub(super) struct Stackless;

impl Library for Stackless {
    type Adder = Box<dyn FnMut(u64) -> u64>;

    fn adder() -> Self::Adder {
        let mut sum = 0_u64;
        Box::new(move |word| {
            sum = sum.wrapping_add(word);
            sum
        })
    }

    #[inline(always)]
    fn resume(adder: &mut Self::Adder, word: u64) -> u64 {
        adder(word)
    }

    type Numbers = Box<dyn Iterator<Item = u64>>;

    fn numbers() -> Self::Numbers {
        Box::new(0..u64::MAX)
    }

    #[inline(always)]
    fn next(numbers: &mut Self::Numbers) -> u64 {
        numbers.next().expect("it counts for centuries")
    }

    fn create_reused() -> impl FnMut(u64) -> u64 + 'static {
        |word| Self::resume(&mut Self::adder(), word)
    }
}
