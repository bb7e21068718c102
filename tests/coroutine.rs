//! Coroutines: values on their way across suspensions, stacks that carry one after the other, and many at once.

mod util;

use std::fmt::Debug;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::rc::Rc;

use corde::coroutine::{Coroutine, CoroutineResult, Yielder};
use corde::stack::{DefaultStack, MIN_SIZE, Stack};
use rstest::rstest;

use CoroutineResult::{Return, Yield};
use util::random::Xorshift;
use util::scaled;
use util::unwinding::{Log, panic_message};

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(128))]
struct Overaligned(u8);

#[rstest]
#[case::zero_sized([(); 3])]
#[case::one_byte([1_u8, 0, 255])]
#[case::with_padding([(1_u8, 0x1234_u16), (0, 0), (255, 0xffff)])]
#[case::one_word([1_usize, 0, usize::MAX])]
#[case::raw_pointer([ptr::null(), ptr::dangling::<u64>(), ptr::without_provenance(usize::MAX)])]
#[case::boxed([Box::new(1), Box::new(2), Box::new(3)])]
#[case::boxed_or_not([Some(Box::new(1)), None, Some(Box::new(3))])]
#[case::double([1.5, -0.0, f64::INFINITY])]
#[case::two_words([(1_u64, 2_u64), (0, 0), (u64::MAX, 1)])]
#[case::wide_integer([1_u128, 0, u128::MAX - 1])]
#[case::nine_words([[1_u64; 9], [0; 9], [1, 2, 3, 4, 5, 6, 7, 8, u64::MAX]])]
#[case::string([String::from("a"), String::new(), "b".repeat(100)])]
#[case::overaligned([Overaligned(1), Overaligned(0), Overaligned(255)])]
fn values_cross_in_both_directions<T>(#[case] values: [T; 3])
where
    T: Clone + Debug + PartialEq + 'static,
{
    fn received<T>(value: T) -> T {
        assert!(black_box(&raw const value).is_aligned());
        value
    }
    let mut coroutine = Coroutine::new(|yielder: &Yielder<T, T>, first: T| {
        let second = yielder.suspend(received(first));
        let third = yielder.suspend(received(second));
        received(third)
    })
    .unwrap();
    let [first, second, third] = values;
    assert_eq!(coroutine.resume(first.clone()), Yield(first));
    assert_eq!(coroutine.resume(second.clone()), Yield(second));
    assert_eq!(coroutine.resume(third.clone()), Return(third));
}

#[test]
fn each_value_has_one_owner_at_a_time() {
    let value = Rc::new(());
    let mut coroutine = Coroutine::new(|yielder: &Yielder<Rc<()>, [Rc<()>; 3]>, first: Rc<()>| {
        let second = yielder.suspend([first.clone(), first.clone(), first]);
        [second.clone(), second]
    })
    .unwrap();
    let Yield(three) = coroutine.resume(Rc::clone(&value)) else {
        panic!("it suspends first");
    };
    assert_eq!(Rc::strong_count(&value), 4);
    drop(three);
    assert_eq!(Rc::strong_count(&value), 1);
    let Return(two) = coroutine.resume(Rc::clone(&value)) else {
        panic!("it suspends once");
    };
    assert_eq!(Rc::strong_count(&value), 3);
    drop(two);
    drop(coroutine);
    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn it_tells_whether_it_has_started_and_ended() {
    let mut coroutine = Coroutine::new(|yielder, ()| yielder.suspend(())).unwrap();
    assert!(!coroutine.is_started() && !coroutine.is_done());
    coroutine.resume(());
    assert!(coroutine.is_started() && !coroutine.is_done());
    coroutine.resume(());
    assert!(coroutine.is_started() && coroutine.is_done());
}

/// A binary tree whose values are in order from left to right.
struct Tree {
    left: Option<Box<Tree>>,
    value: u32,
    right: Option<Box<Tree>>,
}

impl Tree {
    /// Makes a tree of `from..to`; `root` chooses which of them goes on top.
    fn new(from: u32, to: u32, root: fn(u32, u32) -> u32) -> Option<Box<Tree>> {
        (from < to).then(|| {
            let value = root(from, to);
            Box::new(Tree {
                left: Tree::new(from, value, root),
                value,
                right: Tree::new(value + 1, to, root),
            })
        })
    }

    fn visit(tree: Option<&Tree>, yielder: &Yielder<(), u32>) {
        if let Some(tree) = tree {
            Tree::visit(tree.left.as_deref(), yielder);
            yielder.suspend(tree.value);
            Tree::visit(tree.right.as_deref(), yielder);
        }
    }
}

#[rstest]
#[case::balanced(|from: u32, to| from.midpoint(to))]
#[case::deep_to_the_left(|_, to| to - 1)]
#[case::deep_to_the_right(|from, _| from)]
fn recursion_suspends_at_every_depth(#[case] root: fn(u32, u32) -> u32) {
    let tree = Tree::new(0, 200, root);
    let mut coroutine =
        Coroutine::new(move |yielder, ()| Tree::visit(tree.as_deref(), yielder)).unwrap();
    for value in 0..200 {
        assert_eq!(coroutine.resume(()), Yield(value));
    }
    assert_eq!(coroutine.resume(()), Return(()));
}

#[rstest]
#[case::after_return(|| ())]
#[case::after_panic(|| resume_unwind(Box::new(())))]
fn resume_panics_when_done(#[case] end: fn()) {
    let mut coroutine = Coroutine::<Rc<()>, (), ()>::new(move |_, _| end()).unwrap();
    let _ = catch_unwind(AssertUnwindSafe(|| coroutine.resume(Rc::new(()))));
    let input = Rc::new(());
    let message = panic_message(|| coroutine.resume(Rc::clone(&input)));
    assert_eq!(message, "resumed a coroutine that is done");
    assert_eq!(Rc::strong_count(&input), 1);
}

#[rstest]
#[case::never_started(0)]
#[case::suspended(1)]
fn into_stack_panics_when_not_done(#[case] resumes: usize) {
    let log = Log::default();
    let noted = log.on_drop("captured");
    let mut coroutine = Coroutine::<(), (), ()>::new(move |yielder, ()| {
        let _noted = noted;
        yielder.suspend(());
    })
    .unwrap();
    for _ in 0..resumes {
        coroutine.resume(());
    }
    let message = panic_message(|| coroutine.into_stack());
    assert!(message.contains("not done"), "{message}");
    log.assert_dropped(&["captured"]);
}

#[test]
fn stack_of_a_coroutine_that_is_done_carries_the_next_one() {
    let stack = DefaultStack::new(MIN_SIZE).unwrap();
    let top = stack.top();
    let mut first = Coroutine::with_stack(stack, |yielder: &Yielder<u32, u32>, input| {
        yielder.suspend(input + 1)
    });
    assert_eq!(first.resume(1), Yield(2));
    assert_eq!(first.resume(3), Return(3));
    let stack = first.into_stack();
    let other = DefaultStack::new(MIN_SIZE).unwrap();
    assert_ne!(other.top(), top, "it is not in the pool");
    let mut second = Coroutine::with_stack(stack, |yielder: &Yielder<String, String>, input| {
        yielder.suspend(input + "!")
    });
    assert_eq!(second.resume("a".into()), Yield("a!".into()));
    assert_eq!(second.resume("b".into()), Return("b".into()));
    let mut third = Coroutine::<(), (), ()>::with_stack(second.into_stack(), |_, ()| {
        resume_unwind(Box::new(()))
    });
    assert!(catch_unwind(AssertUnwindSafe(|| third.resume(()))).is_err());
    assert_eq!(third.into_stack().top(), top);
}

#[test]
fn body_too_large_for_the_stack_panics() {
    let stack = DefaultStack::new(MIN_SIZE).unwrap();
    let log = Log::default();
    let noted = log.on_drop("captured");
    let large = [0_u8; MIN_SIZE];
    let message = panic_message(|| {
        Coroutine::<(), (), u8>::with_stack(stack, move |_, ()| {
            let _noted = &noted;
            black_box(&large)[0]
        })
    });
    assert!(message.contains("too large for a stack"), "{message}");
    log.assert_dropped(&["captured"]);
}

/// What each of many coroutines computes from its inputs, on its own stack and, to compare with, outside.
struct State {
    sum: u64,
    product: f64,
    last: [u64; 4],
}

impl State {
    fn new(number: u64) -> State {
        State {
            sum: number,
            product: 1.0,
            last: [number; 4],
        }
    }

    fn step(&mut self, input: u64) -> (u64, u64) {
        self.sum = self.sum.wrapping_mul(31).wrapping_add(input);
        self.product = self.product * 0.5 + (input % 1000) as f64;
        self.last.rotate_left(1);
        self.last[3] = input;
        let last = self.last.iter().fold(0, |all, one| all ^ one);
        (self.sum ^ last, self.product.to_bits())
    }
}

#[test]
fn many_keep_their_own_state_in_any_order_of_resumption() {
    let count = scaled(10_000);
    let resumes = 10 * count;

    let mut coroutines: Vec<_> = (0..count as u64)
        .map(|number| {
            let stack = DefaultStack::new(MIN_SIZE).unwrap();
            let body = move |yielder: &Yielder<u64, (u64, u64)>, mut input: u64| {
                let mut state = State::new(number);
                while input != 0 {
                    input = yielder.suspend(state.step(input));
                }
                number
            };
            (Coroutine::with_stack(stack, body), State::new(number))
        })
        .collect();
    let mut random = Xorshift(0x2545_f491_4f6c_dd1d);
    for _ in 0..resumes {
        let (coroutine, state) = &mut coroutines[random.next() as usize % count];
        let input = random.next() | 1;
        assert_eq!(coroutine.resume(input), Yield(state.step(input)));
    }
    for (number, (coroutine, _)) in coroutines.iter_mut().enumerate() {
        assert_eq!(coroutine.resume(0), Return(number as u64));
    }
}
