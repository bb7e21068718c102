//! `thread::map` and its kin: order, limits, laziness, errors, panics, early ends.
#![cfg(feature = "runtime")]

mod util;

use std::cell::Cell;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use corde::thread::{self, Builder, for_each, map, try_for_each, try_map};
use corde::time::timeout;
use rstest::{Context, rstest};
use util::random::Xorshift;
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, wait_until};
use util::unwinding::panic_message;
use util::{LIMIT, stress, with_workers};

fn suspend(times: u64) {
    (0..times).for_each(|_| thread::yield_now());
}

fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}

fn by_function(items: Vec<u64>, limit: usize, f: fn(u64) -> u64) -> Vec<u64> {
    map(items, limit, f)
}

fn by_try(items: Vec<u64>, limit: usize, f: fn(u64) -> u64) -> Vec<u64> {
    try_map(items, limit, |item| Ok::<u64, ()>(f(item))).unwrap()
}

fn by_iterator(items: Vec<u64>, limit: usize, f: fn(u64) -> u64) -> Vec<u64> {
    thread::scope(|scope| scope.map(items, limit, f).collect())
}

fn by_unordered(items: Vec<u64>, limit: usize, f: fn(u64) -> u64) -> Vec<u64> {
    thread::scope(|scope| {
        let mut values: Vec<_> = scope.map_unordered(items, limit, f).collect();
        values.sort_unstable();
        values
    })
}

fn by_for_each(items: Vec<u64>, limit: usize, f: fn(u64) -> u64) -> Vec<u64> {
    let values = Mutex::new(Vec::new());
    for_each(items, limit, |item| {
        let value = f(item);
        values.lock().unwrap().push(value);
    });
    let mut values = values.into_inner().unwrap();
    values.sort_unstable();
    values
}

fn by_try_for_each(items: Vec<u64>, limit: usize, f: fn(u64) -> u64) -> Vec<u64> {
    let values = Mutex::new(Vec::new());
    let done = try_for_each(items, limit, |item| {
        let value = f(item);
        values.lock().unwrap().push(value);
        Ok::<(), ()>(())
    });
    done.unwrap();
    let mut values = values.into_inner().unwrap();
    values.sort_unstable();
    values
}

/// Maps with a monotonic function, so that sorting makes up for a missing order.
type Mapped = fn(Vec<u64>, usize, fn(u64) -> u64) -> Vec<u64>;

#[rstest]
#[timeout(LIMIT)]
fn each_item_is_mapped_once(
    #[values(
        by_function,
        by_try,
        by_iterator,
        by_unordered,
        by_for_each,
        by_try_for_each
    )]
    mapped: Mapped,
    #[values(1, 2, 7, 1000, usize::MAX)] limit: usize,
    #[values(Kind::Green, Kind::Os)] caller: Kind,
) {
    caller.run(move || {
        for count in [0, 1, 2, 6, 50] {
            // The first ones take longest.
            let f = |item| {
                suspend(50 - item);
                item * 2
            };
            let expected: Vec<u64> = (0..count).map(|item| item * 2).collect();
            assert_eq!(mapped((0..count).collect(), limit, f), expected);
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_limit_of_zero_is_refused(
    #[values(
        by_function,
        by_try,
        by_iterator,
        by_unordered,
        by_for_each,
        by_try_for_each
    )]
    mapped: Mapped,
) {
    let message = panic_message(|| mapped(vec![1], 0, |item| item));
    assert_eq!(
        message,
        "the limit is how many run at once: with 0 nothing would ever run"
    );
}

type Items<'a> = &'a mut dyn Iterator<Item = u64>;
type Each<'a> = &'a (dyn Fn(u64) + Sync);

fn all_by_map(items: Items<'_>, limit: usize, f: Each<'_>) {
    map(items, limit, f);
}

fn all_by_for_each(items: Items<'_>, limit: usize, f: Each<'_>) {
    for_each(items, limit, f);
}

fn all_by_try_map(items: Items<'_>, limit: usize, f: Each<'_>) {
    try_map(items, limit, |item| {
        f(item);
        Ok::<(), ()>(())
    })
    .unwrap();
}

fn all_by_try_for_each(items: Items<'_>, limit: usize, f: Each<'_>) {
    try_for_each(items, limit, |item| {
        f(item);
        Ok::<(), ()>(())
    })
    .unwrap();
}

fn all_in_order(items: Items<'_>, limit: usize, f: Each<'_>) {
    thread::scope(|scope| scope.map(items, limit, f).for_each(drop));
}

fn all_unordered(items: Items<'_>, limit: usize, f: Each<'_>) {
    thread::scope(|scope| scope.map_unordered(items, limit, f).for_each(drop));
}

type All = fn(Items<'_>, usize, Each<'_>);

#[rstest]
#[timeout(LIMIT)]
fn as_many_run_at_once_as_the_limit_says(
    #[values(
        all_by_map,
        all_by_for_each,
        all_by_try_map,
        all_by_try_for_each,
        all_in_order,
        all_unordered
    )]
    run: All,
    #[values(1, 3, 8)] limit: usize,
) {
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let taken = Cell::new(0);
    let ended = AtomicUsize::new(0);
    let mut items = (0..40).inspect(|_| {
        // Taken when there is room, not before.
        taken.set(taken.get() + 1);
        assert!(taken.get() <= ended.load(Ordering::SeqCst) + limit);
    });
    run(&mut items, limit, &|item| {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now, Ordering::SeqCst);
        // The first ones go on when all that may run do.
        if item < limit as u64 {
            wait_until(|| most.load(Ordering::SeqCst) == limit);
        }
        suspend(3);
        running.fetch_sub(1, Ordering::SeqCst);
        ended.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(most.into_inner(), limit);
    assert_eq!((taken.get(), ended.into_inner()), (40, 40));
}

#[test]
fn items_closures_and_results_may_borrow() {
    let words = [String::from("a"), String::from("bc")];
    let total = AtomicUsize::new(0);
    let firsts: Vec<&str> = map(&words, 2, |word| {
        total.fetch_add(word.len(), Ordering::Relaxed);
        &word[..1]
    });
    assert_eq!((firsts, total.into_inner()), (vec!["a", "b"], 3));
    let mut changed = [1, 2, 3];
    for_each(&mut changed, 2, |number| *number += 1);
    assert_eq!(changed, [2, 3, 4]);
}

// Iterators.

#[test]
fn results_come_in_order_or_as_they_are_ready() {
    let gate = AtomicBool::new(false);
    let f = |item: usize| {
        // The first one waits for the others.
        wait_until(|| item > 0 || gate.load(Ordering::SeqCst));
        item
    };
    thread::scope(|scope| {
        let mut unordered = scope.map_unordered(0..3, 3, &f);
        let mut quick = [unordered.next().unwrap(), unordered.next().unwrap()];
        quick.sort_unstable();
        assert_eq!(quick, [1, 2]);
        gate.store(true, Ordering::SeqCst);
        assert_eq!((unordered.next(), unordered.next()), (Some(0), None));
        gate.store(false, Ordering::SeqCst);
        let mut ordered = scope.map(0..3, 3, &f);
        scope.spawn(|| gate.store(true, Ordering::SeqCst));
        assert_eq!(
            [ordered.next(), ordered.next(), ordered.next()],
            [Some(0), Some(1), Some(2)]
        );
        assert_eq!((ordered.next(), ordered.next()), (None, None));
    });
}

#[test]
fn iterators_tell_how_much_is_to_come() {
    thread::scope(|scope| {
        let mut ordered = scope.map(0..5, 2, |item| item);
        assert_eq!(ordered.size_hint(), (5, Some(5)));
        assert_eq!(format!("{ordered:?}"), "Map { limit: 2, under_way: 0, .. }");
        ordered.next();
        assert_eq!(ordered.size_hint(), (4, Some(4)));
        let mut unordered = scope.map_unordered(iter::repeat(1), 3, |item| item);
        unordered.next();
        assert_eq!(unordered.size_hint(), (usize::MAX, None));
        assert_eq!(
            format!("{unordered:?}"),
            "MapUnordered { limit: 3, under_way: 2, .. }"
        );
    });
}

#[test]
fn nothing_is_taken_before_a_result_is_asked_for() {
    thread::scope(|scope| {
        let taken = AtomicUsize::new(0);
        let items = iter::repeat_with(|| taken.fetch_add(1, Ordering::Relaxed));
        let mut ordered = scope.map(items, 4, |item| item);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        assert_eq!(ordered.next(), Some(0));
        assert_eq!(taken.load(Ordering::Relaxed), 4);
        // One has been taken out.
        assert_eq!(ordered.next(), Some(1));
        assert_eq!(taken.load(Ordering::Relaxed), 5);
    });
}

#[rstest]
#[case::ordered(true)]
#[case::unordered(false)]
#[timeout(LIMIT)]
fn dropping_the_iterator_cancels_what_is_under_way(
    #[case] ordered: bool,
    #[values(Kind::Green, Kind::Os)] caller: Kind,
) {
    caller.run(move || {
        let (begun, unwound) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let first = thread::scope(|scope| {
            let f = |item: usize| {
                if item == 0 {
                    wait_until(|| begun.load(Ordering::SeqCst) == 3);
                    return item;
                }
                begun.fetch_add(1, Ordering::SeqCst);
                let _unwound = OnDrop(|| {
                    unwound.fetch_add(1, Ordering::SeqCst);
                });
                park_for_ever()
            };
            match ordered {
                true => scope.map(0.., 4, f).next(),
                false => scope.map_unordered(0.., 4, f).next(),
            }
        });
        assert_eq!((first, unwound.into_inner()), (Some(0), 3));
    });
}

#[test]
fn a_forgotten_iterator_leaves_its_green_threads_to_the_scope() {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut ordered = scope.map(0..4, 4, |item| {
            suspend(10 * item);
            ended.fetch_add(1, Ordering::SeqCst);
        });
        ordered.next();
        // As `mem::forget`, but where leak checkers find it.
        let forgotten = Box::into_raw(Box::new(ordered));
        KEPT.lock().unwrap().push(forgotten as usize);
    });
    assert_eq!(ended.into_inner(), 4);
}

#[rstest]
#[timeout(LIMIT)]
fn an_interrupt_while_waiting_loses_no_result(
    #[values(true, false)] ordered: bool,
    #[values(Kind::Green, Kind::Os)] caller: Kind,
) {
    caller.run(move || {
        let gate = AtomicBool::new(false);
        thread::scope(|scope| {
            let f = |item: u64| {
                wait_until(|| gate.load(Ordering::SeqCst));
                item
            };
            let mut results: Box<dyn Iterator<Item = u64>> = match ordered {
                true => Box::new(scope.map(0..4, 2, f)),
                false => Box::new(scope.map_unordered(0..4, 2, f)),
            };
            let waited = timeout(Duration::from_millis(1), || results.next());
            assert!(waited.is_err());
            gate.store(true, Ordering::SeqCst);
            let mut all: Vec<u64> = results.collect();
            if !ordered {
                all.sort_unstable();
            }
            assert_eq!(all, [0, 1, 2, 3]);
        });
    });
}

// Errors and panics.

#[rstest]
#[timeout(LIMIT)]
fn the_first_error_ends_the_others(
    #[values(true, false)] results: bool,
    #[values(Kind::Green, Kind::Os)] caller: Kind,
) {
    caller.run(move || {
        let (taken, begun, unwound) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        let items = iter::repeat_with(|| taken.fetch_add(1, Ordering::SeqCst));
        let f = |item| {
            if item == 1 {
                wait_until(|| begun.load(Ordering::SeqCst) == 2);
                return Err("failed");
            }
            begun.fetch_add(1, Ordering::SeqCst);
            let _unwound = OnDrop(|| {
                unwound.fetch_add(1, Ordering::SeqCst);
            });
            park_for_ever()
        };
        let failed = match results {
            true => try_map(items, 3, f).map(|_: Vec<()>| ()),
            false => try_for_each(items, 3, f),
        };
        assert_eq!(failed, Err("failed"));
        assert_eq!((taken.into_inner(), unwound.into_inner()), (3, 2));
    });
}

#[test]
fn an_error_outweighs_later_panics() {
    let begun = AtomicBool::new(false);
    let failed: Result<Vec<()>, &str> = try_map(0..2, 2, |item| {
        if item == 0 {
            wait_until(|| begun.load(Ordering::SeqCst));
            return Err("failed");
        }
        let _panics = OnDrop(|| begun.store(true, Ordering::SeqCst));
        begun.store(true, Ordering::SeqCst);
        let _ = catch_unwind(AssertUnwindSafe(|| park_for_ever()));
        panic_quietly()
    });
    assert_eq!(failed, Err("failed"));
}

#[rstest]
#[timeout(LIMIT)]
fn a_panic_is_passed_on_when_the_others_have_ended(
    #[values(
        all_by_map,
        all_by_for_each,
        all_by_try_map,
        all_by_try_for_each,
        all_in_order,
        all_unordered
    )]
    run: All,
    #[values(Kind::Green, Kind::Os)] caller: Kind,
) {
    caller.run(move || {
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            run(&mut (0..8), 3, &|item| {
                begun.fetch_add(1, Ordering::SeqCst);
                let _ended = OnDrop(|| {
                    ended.fetch_add(1, Ordering::SeqCst);
                });
                if item == 0 {
                    wait_until(|| begun.load(Ordering::SeqCst) == 3);
                    panic_quietly();
                }
                park_for_ever();
            });
        }));
        assert!(is_quiet_panic(&*panicked.unwrap_err()));
        assert_eq!((begun.into_inner(), ended.into_inner()), (3, 3));
    });
}

#[test]
fn an_ordered_panic_comes_in_its_place() {
    thread::scope(|scope| {
        let mut results = scope.map(0..4, 4, |item| {
            if item == 2 {
                panic_quietly();
            }
            suspend(20 - 5 * item);
            item
        });
        assert_eq!((results.next(), results.next()), (Some(0), Some(1)));
        assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
        assert_eq!((results.next(), results.next()), (Some(3), None));
    });
}

// With many, the first to be cancelled may panic while the others are yet to be.
#[rstest]
#[case::alone(2, 1)]
#[case::among_many(100, 20)]
#[timeout(LIMIT)]
fn a_panic_after_the_iterator_is_the_scopes(#[case] items: usize, #[case] rounds: usize) {
    for _ in 0..rounds {
        let begun = AtomicUsize::new(0);
        let message = panic_message(|| {
            thread::scope(|scope| {
                let mut results = scope.map_unordered(0..items, items, |item| {
                    if item == 0 {
                        wait_until(|| begun.load(Ordering::SeqCst) == items - 1);
                        return;
                    }
                    begun.fetch_add(1, Ordering::SeqCst);
                    if item > 1 {
                        park_for_ever();
                    }
                    let _ = catch_unwind(AssertUnwindSafe(|| park_for_ever()));
                    panic_quietly()
                });
                results.next();
            });
        });
        assert_eq!(message, "a scoped thread panicked");
    }
}

#[test]
fn a_panic_of_the_items_is_passed_on() {
    let ended = AtomicUsize::new(0);
    let items = (0..3).inspect(|&item| {
        if item == 2 {
            panic_quietly();
        }
    });
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        for_each(items, 3, |_| {
            let _ended = OnDrop(|| {
                ended.fetch_add(1, Ordering::SeqCst);
            });
            park_for_ever()
        });
    }));
    assert!(is_quiet_panic(&*panicked.unwrap_err()));
    // Those that had begun have unwound; others never begin.
    assert!(ended.into_inner() <= 2);
}

#[rstest]
#[timeout(LIMIT)]
fn a_cancelled_caller_ends_what_is_under_way(#[values(true, false)] by_limit: bool) {
    let (begun, unwound) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mapping = || {
        for_each(0..10, 4, |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            let _unwound = OnDrop(|| {
                unwound.fetch_add(1, Ordering::SeqCst);
            });
            park_for_ever()
        });
    };
    if by_limit {
        assert!(timeout(Duration::from_millis(2), mapping).is_err());
    } else {
        thread::scope(|scope| {
            let caller = scope.spawn(mapping);
            wait_until(|| begun.load(Ordering::SeqCst) == 4);
            caller.cancel();
            assert!(caller.join().is_err());
        });
    }
    assert_eq!(begun.into_inner(), unwound.into_inner());
}

#[test]
fn a_green_thread_may_map_on_a_small_stack_of_its_own() {
    let builder = Builder::new().stack_size(64 * 1024);
    let mapped = builder.spawn(|| map(0..100, 10, |item| item + 1)).unwrap();
    assert_eq!(mapped.join().unwrap(), (1..=100).collect::<Vec<_>>());
}

// At random.

#[rstest]
#[timeout(LIMIT)]
fn random_lengths_limits_and_delays_agree_with_std(#[context] context: Context) {
    with_workers(3, &context, || {
        let mut random = Xorshift(0x6d61_7073);
        for _ in 0..60 * stress() {
            let items: Vec<u64> = (0..random.next() % 60).map(|_| random.next()).collect();
            let limit = 1 + (random.next() % 12) as usize;
            let f = |item: &u64| {
                suspend(item % 7);
                item ^ 0xff
            };
            let expected: Vec<u64> = items.iter().map(f).collect();
            assert_eq!(map(&items, limit, f), expected);
            let taken = (random.next() % 60) as usize;
            let (ordered, mut unordered): (Vec<_>, Vec<_>) = thread::scope(|scope| {
                let ordered = scope.map(&items, limit, f).take(taken).collect();
                (ordered, scope.map_unordered(&items, limit, f).collect())
            });
            assert_eq!(ordered, expected[..taken.min(expected.len())]);
            let mut expected = expected;
            expected.sort_unstable();
            unordered.sort_unstable();
            assert_eq!(unordered, expected);
        }
    });
}
