//! Coroutines within coroutines.

mod util;

use std::cell::Cell;
use std::ptr;
use std::thread;

use corde::coroutine::{Coroutine, CoroutineResult, Yielder};

use CoroutineResult::{Return, Yield};
use util::unwinding::{Log, OnDrop, hook_calls, panic_message};

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
