//! Whose turn it is, on one worker: those who have been woken, those who yield, those who compute for long.
#![cfg(feature = "runtime")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corde::runtime::LocalRuntime;
use corde::thread::{self, LocalJoinHandle, park, spawn_local, yield_if_due, yield_now};

/// Runs `f` on a runtime where everything happens on this OS thread.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    LocalRuntime::new().unwrap().block_on(f)
}

fn join_all<T>(threads: impl IntoIterator<Item = LocalJoinHandle<T>>) {
    threads.into_iter().for_each(|it| drop(it.join().unwrap()));
}

/// A green thread that notes its number each time it is woken.
fn noting(order: &Rc<RefCell<Vec<u32>>>, number: u32) -> LocalJoinHandle<()> {
    let order = order.clone();
    spawn_local(move || {
        park();
        order.borrow_mut().push(number);
    })
}

#[test]
fn the_first_one_woken_runs_before_those_that_wait_in_the_queue() {
    alone(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let woken = noting(&order, 1);
        yield_now();
        let theirs = order.clone();
        let queued = spawn_local(move || theirs.borrow_mut().push(2));
        woken.thread().unpark();
        join_all([woken, queued]);
        assert_eq!(*order.borrow(), [1, 2]);
    });
}

#[test]
fn several_that_are_woken_run_in_the_order_of_waking() {
    alone(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let threads: Vec<_> = (0..10).map(|number| noting(&order, number)).collect();
        yield_now();
        threads.iter().for_each(|it| it.thread().unpark());
        join_all(threads);
        assert!(order.borrow().iter().copied().eq(0..10));
    });
}

#[test]
fn two_that_wake_each_other_do_not_starve_the_others() {
    const TURNS: u32 = 100;
    alone(|| {
        let over = Rc::new(Cell::new(false));
        let rallies = Rc::new(Cell::new(0_u32));
        let (theirs, count) = (over.clone(), rallies.clone());
        let partner = Rc::new(RefCell::new(None::<thread::Thread>));
        let first = {
            let partner = partner.clone();
            spawn_local(move || {
                while !theirs.get() {
                    park();
                    count.set(count.get() + 1);
                    partner.borrow().iter().for_each(thread::Thread::unpark);
                }
            })
        };
        let second = {
            let (first, theirs) = (first.thread().clone(), over.clone());
            spawn_local(move || {
                while !theirs.get() {
                    first.unpark();
                    park();
                }
                first.unpark();
            })
        };
        *partner.borrow_mut() = Some(second.thread().clone());
        for _ in 0..TURNS {
            yield_now();
        }
        // 16 turns in a row at most, one of each pair a rally.
        assert!(rallies.get() > TURNS, "{}", rallies.get());
        assert!(rallies.get() <= TURNS * 17, "{}", rallies.get());
        over.set(true);
        second.thread().unpark();
        join_all([first, second]);
    });
}

#[test]
fn a_long_computation_that_offers_it_lets_others_run() {
    alone(|| {
        let others = Rc::new(Cell::new(false));
        let theirs = others.clone();
        let other = spawn_local(move || theirs.set(true));
        // Ends when the other one has run, which happens here only.
        while !others.get() {
            yield_if_due();
        }
        other.join().unwrap();
    });
}

#[test]
fn a_short_computation_is_not_interrupted_by_offering_it() {
    alone(|| {
        let others = Rc::new(Cell::new(false));
        let theirs = others.clone();
        let other = spawn_local(move || theirs.set(true));
        // Fewer than until it first looks at the clock.
        (0..20).for_each(|_| yield_if_due());
        assert!(!others.get());
        other.join().unwrap();
    });
}

#[test]
fn outside_of_green_threads_there_is_nobody_to_yield_to() {
    (0..1000).for_each(|_| yield_if_due());
}
