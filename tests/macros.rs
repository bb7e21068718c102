//! `go!` in all its forms, `join!`, `try_join!`.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread as std_thread;
use std::time::Duration;

use corde::thread::{self, Cancelled, JoinSet};
use corde::time::timeout;
use corde::{go, join, try_join};
use rstest::rstest;
use util::LIMIT;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, wait_until};

fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}

/// The name of the calling thread, and whether its stack has this much room.
fn look(room: usize) -> (Option<String>, bool) {
    let name = thread::current().name().map(str::to_owned);
    (name, corde::stack::remaining().is_some_and(|it| it > room))
}

const LARGE: usize = 4 << 20;
const ROOM: usize = 3 << 20;

fn named() -> (Option<String>, bool) {
    (Some("named".to_owned()), false)
}

// go!

#[test]
fn go_takes_closures_functions_and_blocks() {
    fn three() -> i32 {
        3
    }
    let (text, closure) = (String::from("moved"), || 4);
    let handles = [
        go!(|| 1),
        go!(move || 2),
        go!(three),
        go!(closure),
        go!({ text.len() as i32 }),
        go!({ 6 },),
        go!(|| 7,),
    ];
    let results = handles.map(|handle| handle.join().unwrap());
    assert_eq!(results, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn go_takes_settings_in_any_order() {
    let name = String::from("named");
    let cases = [
        (go!(name = "named"; { look(ROOM) }), named()),
        (go!(name = name, ; || look(ROOM)), named()),
        (go!(stack = LARGE; || look(ROOM)), (None, true)),
        (
            go!(name = "named", stack = LARGE; || look(ROOM)),
            (named().0, true),
        ),
        (
            go!(stack = LARGE, name = "named",; { look(ROOM) }),
            (named().0, true),
        ),
    ];
    for (handle, expected) in cases {
        assert_eq!(handle.join().unwrap(), expected);
    }
}

#[test]
fn go_spawns_in_a_scope() {
    let words = [String::from("borrowed"), String::from("words")];
    let mut changed = 0;
    let results = thread::scope(|scope| {
        go!(scope, { changed += 1 });
        let handles = [
            go!(scope, || words[0].len()),
            go!(scope, { words[1].len() }),
            go!(scope, move || 7,),
            go!(scope, { 8 },),
        ];
        handles.map(|handle| handle.join().unwrap())
    });
    assert_eq!((results, changed), ([8, 5, 7, 8], 1));
}

#[test]
fn go_takes_settings_in_a_scope() {
    let room = ROOM;
    thread::scope(|scope| {
        let cases = [
            (go!(scope, name = "named"; { look(room) }), named()),
            (go!(scope, stack = LARGE; || look(room)), (None, true)),
            (
                go!(scope, name = "named", stack = LARGE; { look(room) }),
                (named().0, true),
            ),
            (
                go!(scope, stack = LARGE, name = "named"; || look(room)),
                (named().0, true),
            ),
        ];
        for (handle, expected) in cases {
            assert_eq!(handle.join().unwrap(), expected);
        }
    });
}

#[test]
fn go_spawns_in_whatever_spawns_in_that_way() {
    struct Holder<S>(S);
    let mut holder = Holder(JoinSet::new());
    go!(holder.0, || 1);
    go!(holder.0, name = "second"; || 2);
    assert_eq!(holder.0.join_all().iter().sum::<i32>(), 3);
    let failed: Result<i32, String> = thread::try_scope(|scope| {
        let two = go!(scope, || Ok(2));
        let three = go!(scope, name = "three"; { Ok(3) });
        let sum = two.join() + three.join();
        go!(scope, move || Err::<(), _>(format!("{sum}"))).join();
        unreachable!("the scope has ended")
    });
    assert_eq!(failed, Err("5".to_owned()));
}

#[test]
fn go_evaluates_settings_in_the_caller() {
    let count = Cell::new(0);
    let next = || {
        count.set(count.get() + 1);
        count.get().to_string()
    };
    for expected in ["1", "2"] {
        let handle = go!(name = next(); || look(0).0);
        assert_eq!(handle.join().unwrap().as_deref(), Some(expected));
    }
}

// join!

#[rstest]
#[timeout(LIMIT)]
fn join_returns_all_results_in_order(#[values(Kind::Green, Kind::Os)] caller: Kind) {
    caller.run(|| {
        let text = String::from("borrowed");
        let moved = String::from("moved");
        let function = || 'f';
        join!();
        assert_eq!(join!(|| 1), (1,));
        assert_eq!(join!({ 1 }, || 2_u8,), (1, 2));
        assert_eq!(
            join!(|| text.len(), move || moved, function),
            (8, "moved".into(), 'f')
        );
        let many = join!(
            { 1 },
            { 2 },
            { 3 },
            { 4 },
            { 5 },
            { 6 },
            { 7 },
            { 8 },
            { 9 },
            { 10 }
        );
        assert_eq!(many, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
    });
}

#[test]
fn joined_closures_run_at_once() {
    let (first, second) = (AtomicBool::new(false), AtomicBool::new(false));
    let meet = |mine: &AtomicBool, other: &AtomicBool| {
        mine.store(true, Ordering::SeqCst);
        wait_until(|| other.load(Ordering::SeqCst));
    };
    join!(|| meet(&first, &second), || meet(&second, &first));
}

#[rstest]
#[timeout(LIMIT)]
fn the_last_closure_runs_in_place(#[values(Kind::Green, Kind::Os)] caller: Kind) {
    caller.run(|| {
        let (me, not_send) = (thread::current().id(), Rc::new(1));
        let (other, last) = join!(|| thread::current().id(), || {
            assert_eq!(*not_send, 1);
            thread::current().id()
        });
        assert_eq!(last, me);
        assert_ne!(other, me);
        let last = try_join!(|| Ok::<_, ()>(()), || Ok((
            *not_send,
            thread::current().id()
        )));
        assert_eq!(last, Ok(((), (1, me))));
    });
}

#[rstest]
#[case::first(0)]
#[case::second(1)]
#[case::last(2)]
#[timeout(LIMIT)]
fn a_panic_is_passed_on_when_all_have_ended(
    #[case] panicking: usize,
    #[values(Kind::Green, Kind::Os)] caller: Kind,
) {
    caller.run(move || {
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let body = |index| {
            begun.fetch_add(1, Ordering::SeqCst);
            wait_until(|| begun.load(Ordering::SeqCst) == 3);
            if index == panicking {
                panic_quietly();
            }
            (0..20).for_each(|_| thread::yield_now());
            ended.fetch_add(1, Ordering::SeqCst);
        };
        let joined = || join!(|| body(0), || body(1), || body(2));
        let payload = catch_unwind(AssertUnwindSafe(joined)).unwrap_err();
        assert!(is_quiet_panic(&*payload));
        assert_eq!(ended.into_inner(), 2);
    });
}

#[test]
fn of_several_panics_that_of_the_first_closure_counts() {
    let panic_with = |number: i32| std::panic::resume_unwind(Box::new(number));
    let joined =
        || -> ((), (), ()) { join!({ thread::yield_now() }, || panic_with(2), || panic_with(3)) };
    let payload = catch_unwind(AssertUnwindSafe(joined)).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&2));
}

#[rstest]
#[case::in_the_last(true)]
#[case::in_the_wait(false)]
#[timeout(LIMIT)]
fn an_interrupt_of_the_caller_ends_all(
    #[case] last_waits: bool,
    #[values(true, false)] tries: bool,
) {
    let unwound = AtomicUsize::new(0);
    let begun = AtomicBool::new(false);
    let wait = || {
        let _unwound = OnDrop(|| {
            unwound.fetch_add(1, Ordering::SeqCst);
        });
        begun.store(true, Ordering::SeqCst);
        park_for_ever()
    };
    let last = || {
        wait_until(|| begun.load(Ordering::SeqCst));
        if last_waits {
            wait();
        }
    };
    let ended = timeout(Duration::from_millis(5), || match tries {
        true => drop(try_join!({ wait() as Result<(), ()> }, {
            last();
            Ok(())
        })),
        false => drop(join!({ wait() as () }, last)),
    });
    assert!(ended.is_err());
    assert_eq!(unwound.into_inner(), 1 + usize::from(last_waits));
    thread::scope(|scope| {
        let cancelled = scope.spawn(|| join!(|| park_for_ever(), || park_for_ever()));
        cancelled.cancel();
        assert!(
            cancelled
                .join()
                .map(|_: ((), ())| ())
                .unwrap_err()
                .is::<Cancelled>()
        );
    });
}

// try_join!

#[rstest]
#[timeout(LIMIT)]
fn try_join_returns_all_values_in_order(#[values(Kind::Green, Kind::Os)] caller: Kind) {
    caller.run(|| {
        let text = String::from("12");
        let parsed = try_join!(
            || text.parse::<i32>(),
            { Ok(text.parse::<i32>()? + 1) },
            || "3".parse::<u8>()
        );
        assert_eq!(parsed, Ok((12, 13, 3)));
        assert_eq!(try_join!(|| Err::<(), _>("alone")), Err("alone"));
        assert_eq!(try_join!({ Ok::<_, ()>(1) },), Ok((1,)));
    });
}

#[rstest]
#[case::first(0)]
#[case::second(1)]
#[case::last(2)]
#[timeout(LIMIT)]
fn the_first_error_cancels_the_others(
    #[case] failing: usize,
    #[values(true, false)] panics: bool,
    #[values(Kind::Green, Kind::Os)] caller: Kind,
) {
    caller.run(move || {
        let (begun, unwound) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let body = |index| -> Result<(), usize> {
            begun.fetch_add(1, Ordering::SeqCst);
            let _unwound = OnDrop(|| {
                unwound.fetch_add(1, Ordering::SeqCst);
            });
            wait_until(|| begun.load(Ordering::SeqCst) == 3);
            match index == failing {
                true if panics => panic_quietly(),
                true => Err(index),
                false => park_for_ever(),
            }
        };
        let joined = || try_join!(|| body(0), || body(1), || body(2));
        match catch_unwind(AssertUnwindSafe(joined)) {
            Ok(joined) => assert_eq!(joined, Err(failing)),
            Err(payload) => assert!(panics && is_quiet_panic(&*payload)),
        }
        assert_eq!(unwound.into_inner(), 3);
    });
}

#[test]
fn joins_nest() {
    fn fibonacci(n: u64) -> u64 {
        if n < 2 {
            return n;
        }
        let (a, b) = join!(|| fibonacci(n - 1), || fibonacci(n - 2));
        a + b
    }
    assert_eq!(fibonacci(12), 144);
    assert_eq!(std_thread::spawn(|| fibonacci(6)).join().unwrap(), 8);
}
