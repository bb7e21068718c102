//! The switch: resuming and suspending coroutines, making and ending them, without a scheduler.
//!
//! Peers: corosensei, context, generator. Bounds: what a program has that does without stacks: state machines written by hand, boxed;
//! `async` blocks; the compiler's coroutines, if it is a nightly one. A round trip is two switches: into the coroutine
//! and back.

#[cfg(feature = "nightly")]
mod compiler;
mod context;
mod corde;
mod corosensei;
mod future;
mod generator;
mod stackless;

use std::hint::black_box;
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;

use ::corde::stack::{DEFAULT_SIZE, DefaultStack, Stack};

use crate::harness::{
    Metric, NANOSECONDS, Row, Sampler, cost, per_operation, per_operation_in, timed, whole,
};
use crate::system::{holds_a_million_stacks, page_tables, resident_memory};

const MILLION: usize = 1_000_000;

/// Time and memory for each suspended coroutine.
const SUSPENDED: &[Metric] = &[cost("ns"), cost("B"), cost("B page tables")];

/// A stack of a slab whose top is at a page boundary, for the libraries that have no slabs: corde's tops are coloured, which is its
/// doing and not theirs.
struct PlainStack(DefaultStack);

impl PlainStack {
    fn new() -> PlainStack {
        PlainStack(DefaultStack::new(DEFAULT_SIZE).expect("a stack can be had"))
    }

    fn top(&self) -> NonNull<u8> {
        let top = self.0.top();
        let above = top.addr().get() % 4096;
        // SAFETY: a stack is larger than a page.
        unsafe { top.sub(above) }
    }

    fn bottom(&self) -> NonNull<u8> {
        self.0.bottom()
    }
}

/// What a library does in these rows: a module for each.
trait Library: 'static {
    /// Whether a stack that is given back serves the next coroutine.
    const KEEPS_STACKS: bool = false;

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
    use Operation::*;

    let row = |name: &str| Row::new(format!("switch/{name}"), NANOSECONDS);
    let mut rows = vec![
        on_own_stacks(row("round_trip"), RoundTrip),
        on_own_stacks(row("sum"), Sum),
    ];
    for (order, suffix) in [(Order::InTurn, ""), (Order::Shuffled, "_shuffled")] {
        let row = |count| row(&format!("round_robin_{count}{suffix}"));
        rows.extend([
            on_own_stacks(row(1000), RoundRobin(1000, order)),
            on_slabs(row(100_000), RoundRobin(100_000, order)),
        ]);
    }
    let million = RoundRobin(MILLION, Order::Shuffled);
    let suspended = Row::new("switch/suspended_1000000", SUSPENDED);
    rows.extend([
        on_slabs(of_a_million(row("round_robin_1000000_shuffled")), million),
        on_own_stacks(row("create_reused"), CreateReused),
        on_own_stacks(row("create"), Create),
        on_own_stacks(row("create_fresh").fresh(), CreateFresh),
        on_own_stacks(row("create_4000_alive"), CreateAlive),
        on_slabs(of_a_million(suspended), Suspended(MILLION)),
    ]);
    rows
}

/// Adds all libraries, each with stacks as it gives them.
fn on_own_stacks(row: Row, operation: Operation) -> Row {
    let row = row
        .corde(move || operation.sampler::<corde::Corde>())
        .peer("corosensei", move || {
            operation.sampler::<corosensei::Corosensei<corosensei::OnOwnStack>>()
        })
        .peer("context", move || {
            operation.sampler::<context::Context<context::OnOwnStack>>()
        })
        .peer("generator", move || {
            operation.sampler::<generator::Generator>()
        });
    without_stacks(row, operation)
}

/// Adds the libraries that can be given stacks, all from a slab. Those that are mapped one by one meet `vm.max_map_count` at about 32,750.
fn on_slabs(row: Row, operation: Operation) -> Row {
    let row = row
        .corde(move || operation.sampler::<corde::Corde>())
        .peer("corosensei", move || {
            operation.sampler::<corosensei::Corosensei<corosensei::OnSlab>>()
        })
        .peer("context", move || {
            operation.sampler::<context::Context<context::OnSlab>>()
        });
    without_stacks(row, operation)
}

/// Adds the bounds.
fn without_stacks(row: Row, operation: Operation) -> Row {
    let row = row
        .bound("stackless", move || {
            operation.sampler::<stackless::Stackless>()
        })
        .bound("async", move || operation.sampler::<future::Async>());
    #[cfg(feature = "nightly")]
    let row = row.bound("nightly", move || operation.sampler::<compiler::Compiler>());
    row
}

/// Marks a row with a million coroutines at once.
fn of_a_million(row: Row) -> Row {
    row.huge().fresh().needs(holds_a_million_stacks)
}

/// What is measured.
#[derive(Clone, Copy)]
enum Operation {
    RoundTrip,
    Sum,
    RoundRobin(usize, Order),
    CreateReused,
    Create,
    CreateFresh,
    CreateAlive,
    Suspended(usize),
}

impl Operation {
    fn sampler<L: Library>(self) -> Sampler {
        match self {
            Operation::RoundTrip => round_trip::<L>(),
            Operation::Sum => sum::<L>(),
            Operation::RoundRobin(count, order) => round_robin::<L>(count, order),
            Operation::CreateReused => create_reused::<L>(),
            Operation::Create => create::<L>(),
            Operation::CreateFresh => create_fresh::<L>(),
            Operation::CreateAlive => create_alive::<L>(),
            Operation::Suspended(count) => suspended::<L>(count),
        }
    }
}

#[derive(Clone, Copy)]
enum Order {
    InTurn,
    Shuffled,
}

impl Order {
    /// Brings what was made in turn into this order; the same for all peers.
    fn bring<T>(self, made: &mut [T]) {
        if let Order::Shuffled = self {
            // Fisher and Yates, by Knuth's linear congruential generator.
            let mut state = 42_u64;
            for place in (1..made.len()).rev() {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                made.swap(place, (state >> 33) as usize % (place + 1));
            }
        }
    }
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

/// Each of `count` coroutines in turn, whose handles lie one behind the other as in a queue. Not counted: making them.
fn round_robin<L: Library>(count: usize, order: Order) -> Sampler {
    let adders: Vec<_> = (0..count).map(|_| L::adder()).collect();
    // Never dropped: to unwind so many takes seconds.
    let mut adders = ManuallyDrop::new(adders);
    order.bring(&mut adders);
    // Many take more memory than the caches hold: eight rounds a sample, so that they find in them what the last round has left.
    let rounds = if count > 10_000 { 8 } else { 1 };
    per_operation_in(rounds, count, move |rounds| {
        timed(|| {
            for _ in 0..rounds {
                let answers = adders.iter_mut().map(|adder| L::resume(adder, 1));
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

/// A coroutine's whole life on a stack that nobody used before: new memory, page tables and guard. A library that keeps stacks for reuse
/// gets no chance to, as all coroutines of a sample stay until its end; the others make and drop one after the other. Not
/// counted: what a library sets up once in a process, with the first coroutine.
fn create_fresh<L: Library>() -> Sampler {
    const COUNT: usize = 4000;
    let ended = || {
        let mut adder = L::adder();
        black_box(L::resume(&mut adder, black_box(0)));
        adder
    };
    let first = ended();
    whole(move || {
        let _in_use = &first;
        let mut kept = Vec::with_capacity(COUNT);
        let took = timed(|| {
            for _ in 0..COUNT {
                let adder = ended();
                if L::KEEPS_STACKS {
                    kept.push(adder);
                }
            }
            kept.clear();
        });
        vec![took.as_nanos() as f64 / COUNT as f64]
    })
}

/// The life of one of many coroutines that are alive at once, nearly as many as corde's pool keeps warm: each is made and runs until
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

/// Making many coroutines, each of which runs until it suspends: time and memory. Counted with them: their handles, in one vector.
/// Not counted: what a library sets up once in a process, with the first coroutine.
fn suspended<L: Library>(count: usize) -> Sampler {
    let suspended = || {
        let mut adder = L::adder();
        black_box(L::resume(&mut adder, black_box(1)));
        adder
    };
    let first = ManuallyDrop::new(suspended());
    whole(move || {
        let _in_use = &first;
        let mut adders = Vec::with_capacity(count);
        let (memory, tables) = (resident_memory(), page_tables());
        let took = timed(|| adders.extend((0..count).map(|_| suspended())));
        let (memory, tables) = (resident_memory() - memory, page_tables() - tables);
        // Never dropped: to unwind so many takes seconds.
        mem::forget(adders);
        let totals = [took.as_nanos() as f64, memory, tables];
        totals.map(|total| total / count as f64).to_vec()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works<L: Library>() {
        let mut adder = L::adder();
        assert_eq!([1, 2, 0].map(|word| L::resume(&mut adder, word)), [1, 3, 3]);
        let mut numbers = L::numbers();
        assert_eq!([(); 3].map(|()| L::next(&mut numbers)), [0, 1, 2]);
        let mut life = L::create_reused();
        assert_eq!([0, 0].map(&mut life), [0, 0]);
    }

    #[test]
    fn all_libraries_do_the_same_work() {
        works::<corde::Corde>();
        works::<corosensei::Corosensei<corosensei::OnOwnStack>>();
        works::<corosensei::Corosensei<corosensei::OnSlab>>();
        works::<context::Context<context::OnOwnStack>>();
        works::<context::Context<context::OnSlab>>();
        works::<generator::Generator>();
        works::<stackless::Stackless>();
        works::<future::Async>();
        #[cfg(feature = "nightly")]
        works::<compiler::Compiler>();
    }
}
