//! The switch: resuming and suspending coroutines, making and ending them, without a scheduler.
//!
//! Peers: corosensei, generator. Bound: state machines written by hand, boxed, which is what a program has that does
//! without stacks. A round trip is two switches: into the coroutine and back.

use std::hint::black_box;

use crate::harness::{NANOSECONDS, Row, Sampler, per_operation, timed};
use corde::Corde;
use corosensei::{Corosensei, OnCordeStack, OnOwnStack};
use generator::Generator;
use stackless::Stackless;

/// What a library does in these rows: a module below for each.
trait Library: 'static {
    /// A coroutine that answers each word with the sum of all so far, and ends at word 0.
    type Adder;
    /// Makes one, on a stack as the library gives it.
    fn adder() -> Self::Adder;
    fn resume(adder: &mut Self::Adder, word: u64) -> u64;

    /// A coroutine that counts up to 2^64.
    type Numbers;
    fn numbers() -> Self::Numbers;
    fn next(numbers: &mut Self::Numbers) -> u64;

    /// Makes an adder, resumes it with a word and drops it, always on the same stack.
    fn create_reused() -> impl FnMut(u64) -> u64 + 'static;
}

pub(crate) fn rows() -> Vec<Row> {
    let row = |name: &str| Row::new(format!("switch/{name}"), NANOSECONDS);
    let mut rows = vec![
        row("round_trip")
            .corde(round_trip::<Corde>)
            .peer("corosensei", round_trip::<Corosensei<OnOwnStack>>)
            .peer("generator", round_trip::<Generator>)
            .bound("stackless", round_trip::<Stackless>),
        row("sum")
            .corde(sum::<Corde>)
            .peer("corosensei", sum::<Corosensei<OnOwnStack>>)
            .peer("generator", sum::<Generator>)
            .bound("stackless", sum::<Stackless>),
    ];
    for (order, suffix) in [(Order::InTurn, ""), (Order::Shuffled, "_shuffled")] {
        rows.push(
            row(&format!("round_robin_1000{suffix}"))
                .corde(move || round_robin::<Corde>(1000, order))
                .peer("corosensei", move || {
                    round_robin::<Corosensei<OnOwnStack>>(1000, order)
                })
                .peer("generator", move || round_robin::<Generator>(1000, order))
                .bound("stackless", move || round_robin::<Stackless>(1000, order)),
        );
        // Stacks that are mapped one by one meet vm.max_map_count at about 32,750: no generator here, and corosensei
        // gets corde's stacks.
        rows.push(
            row(&format!("round_robin_100000{suffix}"))
                .corde(move || round_robin::<Corde>(100_000, order))
                .peer("corosensei", move || {
                    round_robin::<Corosensei<OnCordeStack>>(100_000, order)
                })
                .bound("stackless", move || {
                    round_robin::<Stackless>(100_000, order)
                }),
        );
    }
    rows.extend([
        row("create_reused")
            .corde(create_reused::<Corde>)
            .peer("corosensei", create_reused::<Corosensei<OnOwnStack>>)
            .peer("generator", create_reused::<Generator>)
            .bound("stackless", create_reused::<Stackless>),
        row("create")
            .corde(create::<Corde>)
            .peer("corosensei", create::<Corosensei<OnOwnStack>>)
            .peer("generator", create::<Generator>)
            .bound("stackless", create::<Stackless>),
        row("create_4000_alive")
            .corde(create_alive::<Corde>)
            .peer("corosensei", create_alive::<Corosensei<OnOwnStack>>)
            .peer("generator", create_alive::<Generator>)
            .bound("stackless", create_alive::<Stackless>),
    ]);
    rows
}

/// One hot coroutine, a word in and a word out. Not counted: making it.
fn round_trip<L: Library>() -> Sampler {
    let mut adder = L::adder();
    per_operation(1, move |rounds| {
        timed(|| {
            let answers = (0..rounds).map(|_| L::resume(&mut adder, 1));
            black_box(answers.fold(0, u64::wrapping_add));
        })
    })
}

/// A value of a generator, added to a sum. Not counted: making the generator.
fn sum<L: Library>() -> Sampler {
    let mut numbers = L::numbers();
    per_operation(1, move |rounds| {
        timed(|| {
            let values = (0..rounds).map(|_| L::next(&mut numbers));
            black_box(values.fold(0, u64::wrapping_add));
        })
    })
}

#[derive(Clone, Copy)]
enum Order {
    InTurn,
    Shuffled,
}

impl Order {
    /// The places `0..count` in this order; the same for all peers.
    fn places(self, count: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..count).collect();
        if let Order::Shuffled = self {
            // Fisher and Yates, by Knuth's linear congruential generator.
            let mut state = 42_u64;
            for place in (1..count).rev() {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                places.swap(place, (state >> 33) as usize % (place + 1));
            }
        }
        places
    }
}

/// Each of `count` coroutines in turn. Not counted: making them.
fn round_robin<L: Library>(count: usize, order: Order) -> Sampler {
    let mut adders: Vec<_> = (0..count).map(|_| L::adder()).collect();
    let places = order.places(count);
    per_operation(count, move |rounds| {
        timed(|| {
            for _ in 0..rounds {
                let answers = places.iter().map(|&at| L::resume(&mut adders[at], 1));
                black_box(answers.fold(0, u64::wrapping_add));
            }
        })
    })
}

/// A coroutine's whole life, always on the same stack. Not counted: making the stack.
fn create_reused<L: Library>() -> Sampler {
    let mut life = L::create_reused();
    per_operation(1, move |rounds| {
        timed(|| {
            for _ in 0..rounds {
                black_box(life(black_box(0)));
            }
        })
    })
}

/// A coroutine's whole life, with the getting and giving back of a stack: from a pool, or from the system, as the
/// library does it.
fn create<L: Library>() -> Sampler {
    per_operation(1, move |rounds| {
        timed(|| {
            for _ in 0..rounds {
                black_box(L::resume(&mut L::adder(), black_box(0)));
            }
        })
    })
}

/// The life of one of many coroutines that are alive at once, more than corde's pool keeps warm: each is made and runs until
/// it suspends, then each runs to its end, then all are dropped.
fn create_alive<L: Library>() -> Sampler {
    const ALIVE: usize = 4000;
    per_operation(ALIVE, move |rounds| {
        timed(|| {
            for _ in 0..rounds {
                let started = (0..ALIVE).map(|_| {
                    let mut adder = L::adder();
                    L::resume(&mut adder, 1);
                    adder
                });
                let mut adders: Vec<_> = started.collect();
                for adder in &mut adders {
                    black_box(L::resume(adder, 0));
                }
            }
        })
    })
}

mod corde {
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
            let count =
                |yielder: &Yielder<(), u64>, ()| (0..u64::MAX).for_each(|n| yielder.suspend(n));
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
}

mod corosensei {
    use std::marker::PhantomData;
    use std::num::NonZero;

    use ::corde::stack::{self, DEFAULT_SIZE, Stack as _};
    use ::corosensei::stack::{DefaultStack, Stack, StackPointer};
    use ::corosensei::{Coroutine, CoroutineResult, Yielder};

    use super::Library;

    pub(super) struct Corosensei<S>(PhantomData<S>);

    pub(super) type OnOwnStack = DefaultStack;

    pub(super) struct OnCordeStack(stack::DefaultStack);

    // SAFETY: a stack of corde keeps its bounds, has a guard below `bottom`, and 16 KiB at the least.
    unsafe impl Stack for OnCordeStack {
        fn base(&self) -> StackPointer {
            self.0.top().addr()
        }

        fn limit(&self) -> StackPointer {
            // The page below is the guard, which this limit includes.
            let guard = self.0.bottom().addr().get() - 4096;
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

    impl Make for OnCordeStack {
        fn make() -> Self {
            OnCordeStack(stack::DefaultStack::new(DEFAULT_SIZE).expect("a stack can be had"))
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
            let count =
                |yielder: &Yielder<(), u64>, ()| (0..u64::MAX).for_each(|n| yielder.suspend(n));
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
}

mod generator {
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
}

mod stackless {
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
}
