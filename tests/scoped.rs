//! Coroutines that borrow, and functions on another stack.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use corde::coroutine::{Coroutine, CoroutineResult, Scoped, Yielder, scoped};
use corde::stack::{DefaultStack, Stack, ensure, on_stack, remaining};
use rstest::rstest;

struct CountDrops<'a>(&'a Cell<u32>);

impl Drop for CountDrops<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Suspends for ever, with a borrow in its frame.
fn holding<'a>(drops: &'a Cell<u32>) -> impl FnOnce(&Yielder<(), u32>, ()) + 'a {
    move |yielder, ()| {
        let _guard = CountDrops(drops);
        for item in 0.. {
            yielder.suspend(item);
        }
    }
}

#[test]
fn a_borrowing_body_gives_references_that_outlive_the_coroutine() {
    let words = ["of", "the", "caller"];
    let longest = scoped(
        |yielder, ()| words.iter().for_each(|word| yielder.suspend(*word)),
        |words| {
            let next = || match words.resume(()) {
                CoroutineResult::Yield(word) => Some(word),
                CoroutineResult::Return(()) => None,
            };
            std::iter::from_fn(next).max_by_key(|word| word.len())
        },
    );
    assert_eq!(longest.unwrap(), Some("caller"));
}

type Handle<'scope> = Scoped<'scope, (), u32, ()>;

fn leave_alone(_: &mut Handle<'_>) {}

fn suspend(coroutine: &mut Handle<'_>) {
    coroutine.resume(());
}

#[rstest]
#[case::never_started(leave_alone as fn(&mut Handle<'_>), 0)]
#[case::suspended(suspend as fn(&mut Handle<'_>), 1)]
fn it_ends_with_the_scope(#[case] user: fn(&mut Handle<'_>), #[case] expected: u32) {
    let drops = Cell::new(0);
    scoped(holding(&drops), user).unwrap();
    assert_eq!(drops.get(), expected);
}

#[test]
fn it_ends_with_the_scope_when_the_user_panics() {
    let drops = Cell::new(0);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        scoped(holding(&drops), |coroutine| {
            coroutine.resume(());
            panic!("of the user");
        })
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"of the user"));
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_scope_in_a_coroutine_ends_when_that_is_dropped() {
    let drops = Rc::new(Cell::new(0));
    let counted = drops.clone();
    let mut outer = Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
        scoped(holding(&counted), |inner| {
            inner.resume(());
            yielder.suspend(());
        })
        .unwrap();
    })
    .unwrap();
    outer.resume(());
    assert_eq!(drops.get(), 0);
    drop(outer);
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_function_on_another_stack_borrows_returns_and_panics_as_in_place() {
    let mut stack = DefaultStack::new(64 * 1024).unwrap();
    let bounds = stack.bottom().as_ptr() as usize..stack.top().as_ptr() as usize;
    let mut text = String::from("borrowed");
    let place = on_stack(&mut stack, || {
        text.push('!');
        let local = 0_u8;
        &raw const local as usize
    });
    assert_eq!(text, "borrowed!");
    // AddressSanitizer may keep locals elsewhere.
    assert!(bounds.contains(&place) || cfg!(feature = "asan"));
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        on_stack(&mut stack, || panic!("over there"))
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"over there"));
    assert_eq!(on_stack(&mut stack, || "used again"), "used again");
}

#[test]
fn a_coroutine_can_be_suspended_and_dropped_from_another_stack() {
    let mut coroutine = Coroutine::new(|yielder: &Yielder<u32, u32>, input| {
        let mut stack = DefaultStack::new(64 * 1024).unwrap();
        on_stack(&mut stack, || yielder.suspend(input + 1))
    })
    .unwrap();
    assert_eq!(coroutine.resume(1), CoroutineResult::Yield(2));
    assert_eq!(coroutine.resume(7), CoroutineResult::Return(7));

    let drops = Rc::new(Cell::new(0));
    let counted = drops.clone();
    let mut dropped = Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
        ensure(1 << 20, || {
            let _guard = CountDrops(&counted);
            yielder.suspend(());
        });
    })
    .unwrap();
    dropped.resume(());
    assert_eq!(drops.get(), 0);
    drop(dropped);
    assert_eq!(drops.get(), 1);
}

#[test]
fn ensure_stays_in_place_while_there_is_room_and_moves_when_there_is_not() {
    let mut stack = DefaultStack::new(256 * 1024).unwrap();
    on_stack(&mut stack, || {
        let here = remaining().unwrap();
        let in_place = ensure(here / 2, || remaining().unwrap());
        assert!(in_place <= here);
        let elsewhere = ensure(here + 1, || remaining().unwrap());
        assert!(elsewhere > here, "{elsewhere} of {here}");
    });
}

#[rstest]
#[case::on_a_coroutine(true)]
#[case::on_an_os_thread(false)]
fn a_recursion_that_ensures_its_stack_goes_as_deep_as_it_wants(#[case] green: bool) {
    fn depth(left: u32) -> u32 {
        ensure(64 * 1024, || {
            let frame = std::hint::black_box([left; 256]);
            match left {
                0 => 0,
                _ => depth(left - 1) + frame[0] / frame[1],
            }
        })
    }

    const DEPTH: u32 = 20_000;
    if green {
        let mut coroutine = Coroutine::new(|_: &Yielder<(), ()>, ()| depth(DEPTH)).unwrap();
        assert_eq!(coroutine.resume(()), CoroutineResult::Return(DEPTH));
    } else {
        assert_eq!(depth(DEPTH), DEPTH);
    }
}

#[test]
fn remaining_is_known_on_os_threads_and_shrinks_with_depth() {
    #[inline(never)]
    fn deeper() -> usize {
        let frame = [1_u8; 10_000];
        std::hint::black_box(&frame);
        let remaining = remaining().unwrap();
        // Alive until here.
        std::hint::black_box(&frame);
        remaining
    }

    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let thread = thread.spawn(|| (remaining().unwrap(), deeper())).unwrap();
    let (here, deeper) = thread.join().unwrap();
    // The system may give a larger stack than was asked for.
    assert!(here >= 512 * 1024, "{here}");
    assert!(deeper + 10_000 <= here, "{deeper} of {here}");
}

#[test]
fn the_body_is_unwound_in_a_thread_local_destructor_that_runs_after_cordes_own() {
    static UNWOUND: AtomicBool = AtomicBool::new(false);

    struct Unwound;
    impl Drop for Unwound {
        fn drop(&mut self) {
            UNWOUND.store(true, Ordering::Relaxed);
        }
    }

    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            let body = |yielder: &Yielder<(), ()>, ()| {
                let _unwound = Unwound;
                yielder.suspend(());
            };
            scoped(body, |coroutine| coroutine.resume(())).unwrap();
        }
    }
    thread_local! {
        static LATE: Late = const { Late };
    }

    let thread = thread::spawn(|| {
        // What is used first is destroyed last.
        LATE.with(|_| ());
        corde::generator(|yielder| yielder.suspend(1)).sum::<i32>()
    });
    assert_eq!(thread.join().unwrap(), 1);
    assert!(UNWOUND.load(Ordering::Relaxed));
}
