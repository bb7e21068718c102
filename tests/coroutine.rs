//! Coroutines: values, panics and destructors on their way across suspensions, and coroutines within coroutines.

mod util;

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

use corde::coroutine::{Coroutine, CoroutineResult, Yielder};
use corde::stack::{DEFAULT_SIZE, DefaultStack, MIN_SIZE, Stack};
use rstest::{Context, rstest};

use CoroutineResult::{Return, Yield};
use util::child;
use util::full_name;
use util::random::Xorshift;

/// Names of values, in the order in which they were dropped.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    /// Returns a value that notes `name` here when it is dropped.
    fn on_drop(&self, name: &'static str) -> OnDrop<impl FnMut() + use<>> {
        let log = self.clone();
        OnDrop(move || log.0.borrow_mut().push(name))
    }

    #[track_caller]
    fn assert_dropped(&self, names: &[&str]) {
        assert_eq!(*self.0.borrow(), names);
    }
}

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Returns the message that `f` panics with.
#[track_caller]
fn panic_message<T>(f: impl FnOnce() -> T) -> String {
    let result = catch_unwind(AssertUnwindSafe(f)).map(drop);
    let payload = result.expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .expect("the payload is a message")
            .to_string(),
    }
}

/// Returns how often the panic hook was called on this OS thread.
fn hook_calls() -> usize {
    static INSTALL: Once = Once::new();
    thread_local! {
        static CALLS: Cell<usize> = const { Cell::new(0) };
    }
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            CALLS.set(CALLS.get() + 1);
            before(info);
        }));
    });
    CALLS.get()
}

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

#[test]
fn panic_travels_to_the_resumer_and_ends_the_coroutine() {
    #[derive(Debug, PartialEq)]
    struct Payload(u64);

    let log = Log::default();
    let noted = log.on_drop("local");
    let mut coroutine = Coroutine::<(), (), ()>::new(move |yielder, ()| {
        let _noted = noted;
        yielder.suspend(());
        panic_any(Payload(7));
    })
    .unwrap();
    assert_eq!(coroutine.resume(()), Yield(()));
    let before = hook_calls();
    let payload = catch_unwind(AssertUnwindSafe(|| coroutine.resume(()))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&Payload(7)));
    // The hook is called where the panic begins, not again where it is handed on.
    assert_eq!(hook_calls() - before, 1);
    assert!(!thread::panicking());
    assert!(coroutine.is_done());
    log.assert_dropped(&["local"]);
}

#[test]
fn panic_before_the_first_suspension_travels_to_the_resumer() {
    let mut coroutine = Coroutine::<(), (), ()>::new(|_, ()| panic!("at once")).unwrap();
    assert_eq!(panic_message(|| coroutine.resume(())), "at once");
    assert!(coroutine.is_done());
}

#[test]
fn panic_is_caught_within_the_coroutine() {
    let mut coroutine = Coroutine::<(), String, &str>::new(|yielder, ()| {
        let message = panic_message(|| {
            yielder.suspend("before".into());
            panic!("inside");
        });
        yielder.suspend(message);
        "goes on"
    })
    .unwrap();
    assert_eq!(coroutine.resume(()), Yield("before".into()));
    assert_eq!(coroutine.resume(()), Yield("inside".into()));
    assert_eq!(coroutine.resume(()), Return("goes on"));
}

#[rstest]
#[case::of_its_own_panic(|_: &Yielder<(), ()>| panic!("of its own"))]
#[case::of_being_dropped(|yielder: &Yielder<(), ()>| yielder.suspend(()))]
fn suspending_in_an_unwind_panics(#[case] start_unwind: fn(&Yielder<(), ()>)) {
    let message = Rc::new(RefCell::new(String::new()));
    let answer = Rc::clone(&message);
    let mut coroutine = Coroutine::<(), (), ()>::new(move |yielder, ()| {
        let _suspends = OnDrop(|| {
            *answer.borrow_mut() = panic_message(|| yielder.suspend(()));
        });
        yielder.suspend(());
        start_unwind(yielder);
    })
    .unwrap();
    // A resumer that panics itself does not count any more when the next one resumes.
    panic_message(|| {
        let _resumes = OnDrop(|| {
            coroutine.resume(());
        });
        panic!("of the owner");
    });
    // It suspends, or panics.
    let _ = catch_unwind(AssertUnwindSafe(|| coroutine.resume(())));
    drop(coroutine);
    let message = message.take();
    assert!(message.contains("while it was unwinding"), "{message:?}");
    assert!(!thread::panicking());
}

#[test]
fn destructor_of_an_owner_that_panics_may_resume() {
    let mut coroutine = Coroutine::<(), u32, ()>::new(|yielder, ()| {
        (0..3).for_each(|number| yielder.suspend(number));
    })
    .unwrap();
    for number in [0, 2] {
        // The first and the last resume come in a panic, the others do not.
        let mut answer = None;
        let message = panic_message(|| {
            let _resumes = OnDrop(|| answer = Some(coroutine.resume(())));
            panic!("of the owner");
        });
        assert_eq!(message, "of the owner");
        assert_eq!(answer, Some(Yield(number)));
        let next = coroutine.resume(());
        assert_eq!(next, if number == 0 { Yield(1) } else { Return(()) });
    }
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
    let stack = DefaultStack::new(DEFAULT_SIZE).unwrap();
    let log = Log::default();
    let noted = log.on_drop("captured");
    let large = [0_u8; DEFAULT_SIZE];
    let message = panic_message(|| {
        Coroutine::<(), (), u8>::with_stack(stack, move |_, ()| {
            let _noted = &noted;
            black_box(&large)[0]
        })
    });
    assert!(message.contains("too large for a stack"), "{message}");
    log.assert_dropped(&["captured"]);
}

#[test]
fn dropping_one_that_never_started_drops_what_it_captured() {
    let log = Log::default();
    let noted = log.on_drop("captured");
    let coroutine = Coroutine::<(), (), ()>::new(move |_, ()| {
        let _noted = &noted;
        unreachable!("it is not resumed");
    })
    .unwrap();
    log.assert_dropped(&[]);
    drop(coroutine);
    log.assert_dropped(&["captured"]);
}

/// Makes a coroutine that is suspended in a function that its body calls, with something to drop on every level.
fn suspended_with(log: &Log) -> Coroutine<(), (), ()> {
    fn callee(log: &Log, yielder: &Yielder<(), ()>) {
        let _local = log.on_drop("local of the callee");
        yielder.suspend(());
        unreachable!("it is not resumed again");
    }
    let log = log.clone();
    let captured = log.on_drop("captured");
    let mut coroutine = Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
        let _captured = &captured;
        let _first = log.on_drop("first local");
        let _second = log.on_drop("second local");
        callee(&log, yielder);
    })
    .unwrap();
    assert_eq!(coroutine.resume(()), Yield(()));
    coroutine
}

const DROPPED_BY_UNWINDING: [&str; 4] = [
    "local of the callee",
    "second local",
    "first local",
    "captured",
];

#[test]
fn dropping_a_suspended_one_runs_destructors_and_no_panic_hook() {
    let log = Log::default();
    let coroutine = suspended_with(&log);
    log.assert_dropped(&[]);
    let before = hook_calls();
    drop(coroutine);
    log.assert_dropped(&DROPPED_BY_UNWINDING);
    assert_eq!(hook_calls(), before);
    assert!(!thread::panicking());
}

#[test]
fn unwinding_ends_the_coroutine_and_frees_its_stack() {
    let log = Log::default();
    let mut coroutine = suspended_with(&log);
    coroutine.unwind();
    log.assert_dropped(&DROPPED_BY_UNWINDING);
    assert!(coroutine.is_done());
    coroutine.unwind();
    let mut next = Coroutine::with_stack(coroutine.into_stack(), |_: &Yielder<(), ()>, ()| 1);
    assert_eq!(next.resume(()), Return(1));
}

static KEPT: AtomicPtr<Log> = AtomicPtr::new(ptr::null_mut());

#[test]
fn abandoning_drops_nothing_and_frees_the_stack() {
    let log = Log::default();
    // What lies in abandoned frames is never dropped: a leak checker should not take it for lost.
    KEPT.store(Box::leak(Box::new(log.clone())), Ordering::Relaxed);
    let mut coroutine = suspended_with(&log);
    // SAFETY: all that points into its frames lies in its frames.
    unsafe { coroutine.abandon() };
    assert!(coroutine.is_done());
    let mut next = Coroutine::with_stack(coroutine.into_stack(), |_: &Yielder<(), ()>, ()| 1);
    assert_eq!(next.resume(()), Return(1));
    log.assert_dropped(&[]);
}

#[test]
fn suspended_one_is_dropped_by_a_panic() {
    let log = Log::default();
    let message = panic_message(|| {
        let _suspended = suspended_with(&log);
        panic!("of the owner");
    });
    assert_eq!(message, "of the owner");
    log.assert_dropped(&DROPPED_BY_UNWINDING);
    assert!(!thread::panicking());
}

#[test]
fn suspended_one_is_dropped_by_another_that_is_dropped() {
    let log = Log::default();
    let inner = suspended_with(&log);
    let mut outer = Coroutine::<(), (), ()>::new(move |yielder, ()| {
        let _inner = inner;
        yielder.suspend(());
    })
    .unwrap();
    outer.resume(());
    drop(outer);
    log.assert_dropped(&DROPPED_BY_UNWINDING);
    assert!(!thread::panicking());
}

#[rstest]
#[case::and_return(0)]
#[case::and_suspend_again(1)]
#[case::and_suspend_again_and_again(20)]
fn body_may_catch_the_unwind_of_a_drop(#[case] suspensions: u32) {
    let log = Log::default();
    let noted = log.on_drop("captured");
    let mut coroutine = Coroutine::<(), u32, _>::new(move |yielder, ()| {
        let suspend = |number| catch_unwind(AssertUnwindSafe(|| yielder.suspend(number)));
        assert!((0..=suspensions).all(|number| suspend(number).is_err()));
        noted
    })
    .unwrap();
    assert!(matches!(coroutine.resume(()), Yield(0)));
    drop(coroutine);
    // What it returns when nobody waits for it is dropped, too.
    log.assert_dropped(&["captured"]);
    assert!(!thread::panicking());
}

#[test]
fn panic_of_a_body_that_caught_the_unwind_of_a_drop_goes_no_further() {
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
        let _ = catch_unwind(AssertUnwindSafe(|| yielder.suspend(())));
        panic!("while being dropped");
    })
    .unwrap();
    coroutine.resume(());
    let before = hook_calls();
    drop(coroutine);
    assert_eq!(hook_calls() - before, 1);
}

#[rstest]
#[case::at_leisure(drop)]
#[case::in_a_panic(|_coroutine| panic!("of the owner"))]
fn body_that_never_stops_suspending_while_dropped_aborts(
    #[context] case: Context,
    #[case] drop: fn(Coroutine<(), (), ()>),
) {
    let outcome = child::run(&full_name(&case), &[], || {
        let mut coroutine = Coroutine::new(|yielder, ()| {
            // Not for ever, so that the test ends if nothing stops it.
            for _ in 0..200 {
                let _ = catch_unwind(AssertUnwindSafe(|| yielder.suspend(())));
            }
        })
        .unwrap();
        coroutine.resume(());
        drop(coroutine);
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("corde: a coroutine suspended"),
        "{outcome:#?}"
    );
}

/// As anywhere in Rust, a destructor that runs because of an unwind must not unwind itself.
#[test]
fn destructor_that_panics_while_dropped_aborts() {
    let outcome = child::run("destructor_that_panics_while_dropped_aborts", &[], || {
        let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
            let _panics = OnDrop(|| panic!("in a destructor"));
            yielder.suspend(());
        })
        .unwrap();
        coroutine.resume(());
        drop(coroutine);
    });
    assert_eq!(outcome.signal(), Some(libc::SIGABRT), "{outcome:#?}");
    assert!(outcome.stderr.contains("in a destructor"), "{outcome:#?}");
}

#[test]
fn one_resumes_another() {
    let mut outer = Coroutine::<(), u32, u32>::new(|yielder, ()| {
        let mut inner = Coroutine::<u32, u32, ()>::new(|yielder, mut input| {
            loop {
                input = yielder.suspend(input * 10);
            }
        })
        .unwrap();
        for input in 1..4 {
            let Yield(tenfold) = inner.resume(input) else {
                panic!("it never ends");
            };
            yielder.suspend(input);
            yielder.suspend(tenfold);
        }
        4
    })
    .unwrap();
    for expected in [1, 10, 2, 20, 3, 30] {
        assert_eq!(outer.resume(()), Yield(expected));
    }
    assert_eq!(outer.resume(()), Return(4));
}

#[test]
fn one_that_was_suspended_outside_goes_on_inside_of_another() {
    let mut counter = Coroutine::<(), u32, ()>::new(|yielder, ()| {
        (0..100).for_each(|number| yielder.suspend(number));
    })
    .unwrap();
    assert_eq!(counter.resume(()), Yield(0));
    let mut carrier = Coroutine::<(), (), _>::new(move |yielder, ()| {
        assert_eq!(counter.resume(()), Yield(1));
        yielder.suspend(());
        assert_eq!(counter.resume(()), Yield(2));
        counter
    })
    .unwrap();
    assert!(matches!(carrier.resume(()), Yield(())));
    let Return(mut counter) = carrier.resume(()) else {
        panic!("it suspends once");
    };
    drop(carrier);
    assert_eq!(counter.resume(()), Yield(3));
}

#[test]
fn panic_of_a_nested_one_passes_through_all_resumers() {
    /// Nests coroutines `depth` deep; the innermost panics.
    fn nest(depth: u32, log: &Log) -> Coroutine<(), (), ()> {
        let log = log.clone();
        Coroutine::new(move |_: &Yielder<(), ()>, ()| {
            let _noted = log.on_drop("a level");
            match depth {
                0 => panic!("innermost"),
                _ => assert_eq!(nest(depth - 1, &log).resume(()), Return(())),
            }
        })
        .unwrap()
    }
    let log = Log::default();
    let mut outermost = nest(4, &log);
    let before = hook_calls();
    assert_eq!(panic_message(|| outermost.resume(())), "innermost");
    assert_eq!(hook_calls() - before, 1);
    assert!(outermost.is_done());
    log.assert_dropped(&["a level"; 5]);
}

thread_local! {
    /// A yielder that safe code can reach through a crate with scoped thread-locals, here made by hand.
    static SCOPED: Cell<*const Yielder<(), u32>> = const { Cell::new(ptr::null()) };
}

/// Puts `yielder` in reach of [`scoped_suspend`] while `f` runs.
fn with_scoped(yielder: &Yielder<(), u32>, f: impl FnOnce()) {
    let before = SCOPED.replace(yielder);
    let _reset = OnDrop(move || SCOPED.set(before));
    f();
}

fn scoped_suspend(value: u32) {
    // SAFETY: `with_scoped` borrows the yielder for as long as it is here. It lies on its coroutine's stack, which is there while
    // the coroutine is suspended, and this thread is the only one that runs it.
    let yielder = unsafe { SCOPED.get().as_ref() }.expect("it is called within `with_scoped`");
    yielder.suspend(value);
}

#[test]
fn suspending_one_that_is_suspended_panics() {
    let mut coroutine = Coroutine::new(|yielder, ()| {
        with_scoped(yielder, || scoped_suspend(1));
        "goes on"
    })
    .unwrap();
    assert_eq!(coroutine.resume(()), Yield(1));
    let expected = "suspended through the yielder of a coroutine that is not running";
    assert_eq!(panic_message(|| scoped_suspend(2)), expected);
    let mut other =
        Coroutine::<(), (), _>::new(|_, ()| panic_message(|| scoped_suspend(3))).unwrap();
    assert_eq!(other.resume(()), Return(expected.into()));
    assert_eq!(coroutine.resume(()), Return("goes on"));
}

/// Makes a coroutine that another suspends from within; both note what they drop.
fn suspended_from_within(log: &Log) -> Coroutine<(), u32, u32> {
    let log = log.clone();
    let mut outer = Coroutine::new(move |yielder: &Yielder<(), u32>, ()| {
        let _outer = log.on_drop("of the outer one");
        let inner_log = log.clone();
        let mut inner = Coroutine::<(), (), u32>::new(move |_, ()| {
            let _inner = inner_log.on_drop("of the inner one");
            scoped_suspend(1);
            scoped_suspend(2);
            3
        })
        .unwrap();
        let mut result = None;
        with_scoped(yielder, || result = Some(inner.resume(())));
        match result {
            Some(Return(number)) => number,
            _ => panic!("the inner one suspends the outer one only"),
        }
    })
    .unwrap();
    assert_eq!(outer.resume(()), Yield(1));
    outer
}

#[test]
fn inner_one_suspends_the_outer_one_and_itself() {
    let log = Log::default();
    let mut outer = suspended_from_within(&log);
    assert_eq!(outer.resume(()), Yield(2));
    assert_eq!(outer.resume(()), Return(3));
    log.assert_dropped(&["of the inner one", "of the outer one"]);
}

#[test]
fn dropping_one_that_was_suspended_from_within_unwinds_both() {
    let log = Log::default();
    drop(suspended_from_within(&log));
    log.assert_dropped(&["of the inner one", "of the outer one"]);
    assert!(!thread::panicking());
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
    // ThreadSanitizer has room for about 8,000 fibers.
    const COUNT: usize = if cfg!(feature = "tsan") {
        1_000
    } else {
        10_000
    };
    const RESUMES: usize = 10 * COUNT;

    let mut coroutines: Vec<_> = (0..COUNT as u64)
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
    for _ in 0..RESUMES {
        let (coroutine, state) = &mut coroutines[random.next() as usize % COUNT];
        let input = random.next() | 1;
        assert_eq!(coroutine.resume(input), Yield(state.step(input)));
    }
    for (number, (coroutine, _)) in coroutines.iter_mut().enumerate() {
        assert_eq!(coroutine.resume(0), Return(number as u64));
    }
}
