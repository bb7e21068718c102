//! Random programs of coroutines within coroutines: whoever suspends whom, and however each is left, values reach their receivers, locals
//! keep their bytes, and each is dropped once.

mod util;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;

use corde::coroutine::{Builder, CoroutineResult, Scoped, Yielder, scoped};
use corde::stack::{DefaultStack, MIN_SIZE, ensure, on_stack};
use rstest::rstest;

use CoroutineResult::{Return, Yield};
use util::random::Xorshift;

/// A coroutine's level in the chain of those that have resumed each other, and some number.
type Given = (usize, u64);

/// What the coroutines of a program share: its choices, and how many guards are alive.
struct Program {
    random: RefCell<Xorshift>,
    alive: Cell<usize>,
}

impl Program {
    fn below(&self, limit: u64) -> u64 {
        (self.random.borrow_mut().next() >> 8) % limit
    }
}

/// A local that is counted until it is dropped, and then notices whether its bytes have changed.
struct Guard<'a> {
    program: &'a Program,
    pattern: [u64; 3],
}

fn pattern(number: u64) -> [u64; 3] {
    [number, !number, number.rotate_left(9)]
}

impl Guard<'_> {
    fn new(program: &Program) -> Guard<'_> {
        program.alive.set(program.alive.get() + 1);
        let pattern = pattern(program.below(u64::MAX));
        Guard { program, pattern }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        assert_eq!(self.pattern, pattern(self.pattern[0]));
        self.program.alive.set(self.program.alive.get() - 1);
    }
}

/// What a program panics with.
struct Left;

fn leave() -> ! {
    resume_unwind(Box::new(Left))
}

/// Runs `f`, which may be left by a panic of the program.
fn stop_panics(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // Anything else is a failure, or the unwind of a coroutine further out.
        if !payload.is::<Left>() {
            resume_unwind(payload);
        }
    }
}

/// What a resumer sends for what it was given.
fn answer((level, number): Given) -> u64 {
    number.rotate_left(17) ^ level as u64
}

/// The body of a coroutine, or a part of it, which may suspend all those in `chain`: itself, and those that it runs within.
fn body(program: &Program, chain: &[&Yielder<u64, Given>], depth: u32) {
    let _guard = Guard::new(program);
    for _ in 0..program.below(8) {
        match program.below(if depth == 0 { 8 } else { 12 }) {
            0..6 => {
                let level = program.below(chain.len() as u64) as usize;
                let given = (level, program.below(u64::MAX));
                assert_eq!(chain[level].suspend(given), answer(given));
            }
            6 => stop_panics(|| {
                let _guard = Guard::new(program);
                body(program, chain, 0);
                leave();
            }),
            7 if program.below(8) == 0 => leave(),
            8 => {
                let mut stack = DefaultStack::new(8 * MIN_SIZE).unwrap();
                on_stack(&mut stack, || body(program, chain, depth - 1));
            }
            9 => ensure(16 * MIN_SIZE, || body(program, chain, depth - 1)),
            10 | 11 => stop_panics(|| {
                let body = |yielder: &Yielder<_, _>, first| {
                    assert_eq!(first, 1);
                    body(program, &[chain, &[yielder]].concat(), depth - 1);
                };
                scoped(body, |coroutine| drive(program, chain.len(), coroutine)).unwrap();
            }),
            _ => {}
        }
    }
}

/// Resumes a coroutine of this level until it ends, or leaves it before.
fn drive(program: &Program, level: usize, coroutine: &mut Scoped<'_, u64, Given, ()>) {
    let _guard = Guard::new(program);
    let mut input = 1;
    for _ in 0..program.below(12) {
        match coroutine.resume(input) {
            Yield(given) => {
                assert_eq!(given.0, level);
                input = answer(given);
            }
            Return(()) => return,
        }
    }
    if program.below(3) == 0 {
        leave();
    }
}

#[rstest]
fn values_and_destructors_find_their_way_in_random_programs(
    #[values(false, true)] own_float_environment: bool,
) {
    for seed in 1..=2_000 * util::stress() {
        let program = Rc::new(Program {
            random: RefCell::new(Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            alive: Cell::new(0),
        });
        let shared = Rc::clone(&program);
        let mut outermost = Builder::new()
            .own_float_environment(own_float_environment)
            .build(move |yielder, first: u64| {
                assert_eq!(first, 1);
                body(&shared, &[yielder], 4);
            })
            .unwrap();
        stop_panics(|| {
            let mut input = 1;
            for _ in 0..program.below(40) {
                match outermost.resume(input) {
                    Yield(given) => input = answer(given),
                    Return(()) => break,
                }
            }
        });
        // Dropped at the end of the scope, or by the panic.
        stop_panics(|| {
            let _dropped = outermost;
            if program.below(2) == 0 {
                leave();
            }
        });
        assert!(!thread::panicking(), "seed {seed}");
        assert_eq!(program.alive.get(), 0, "seed {seed}");
        assert_eq!(Rc::strong_count(&program), 1, "seed {seed}");
    }
}
