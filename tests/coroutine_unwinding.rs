//! Coroutines that are left by a panic or by being dropped: payloads and destructors.

mod util;

use std::cell::RefCell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

use corde::coroutine::{Coroutine, CoroutineResult, Yielder};
use rstest::{Context, rstest};

use CoroutineResult::{Return, Yield};
use util::child;
use util::full_name;
use util::unwinding::{Log, OnDrop, hook_calls, panic_message};

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
    black_box(&KEPT).store(Box::leak(Box::new(log.clone())), Ordering::Relaxed);
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
