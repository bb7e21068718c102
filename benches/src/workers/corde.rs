//! corde's green threads.

use std::array;
use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corde::run;
use corde::runtime::Runtime;
use corde::thread;

use super::{FIBONACCI, LEAVES, SUM, computed, watch};
use crate::harness::{Sampler, per_operation, timed, whole};

/// A tree of green threads, each of which but the leaves spawns ten and adds up what they come to.
pub(super) fn skynet() -> Sampler {
    fn node(first: u64, leaves: u64) -> u64 {
        if leaves == 1 {
            return first;
        }
        let part = leaves / 10;
        let children: [_; 10] = array::from_fn(|number| {
            let first = first + number as u64 * part;
            thread::spawn(move || node(first, part))
        });
        let parts = children.into_iter().map(|it| it.join().expect("no panic"));
        parts.sum()
    }
    whole(|| run(|| computed(SUM, || node(0, LEAVES))))
}

/// Recursion down to the leaves, with one branch of two in a green thread of its own.
pub(super) fn fib() -> Sampler {
    fn node(n: u32) -> u64 {
        if n < 2 {
            return n.into();
        }
        let left = thread::spawn(move || node(n - 1));
        let right = node(n - 2);
        left.join().expect("no panic") + right
    }
    let (n, expected) = FIBONACCI;
    whole(move || run(|| computed(expected, || node(n))))
}

/// One wakes another on another worker, waits until it is woken by that one, and so on. Not counted: spawning the other.
pub(super) fn token() -> Sampler {
    let runtime = Runtime::builder().workers(2).pin_workers(true).build();
    let runtime = runtime.expect("a runtime can be had");
    let measure = |rounds| {
        let begun = Arc::new(AtomicBool::new(false));
        let over = Arc::new(AtomicBool::new(false));
        let (their_begun, their_over, me) = (begun.clone(), over.clone(), thread::current());
        let other = thread::spawn(move || {
            their_begun.store(true, Ordering::Relaxed);
            while !their_over.load(Ordering::Relaxed) {
                thread::park();
                me.unpark();
            }
            std::thread::current().id()
        });
        // This worker is busy, so the other one takes it, and keeps it.
        while !begun.load(Ordering::Relaxed) {
            hint::spin_loop();
        }
        let took = timed(|| {
            for _ in 0..rounds {
                other.thread().unpark();
                thread::park();
            }
        });
        over.store(true, Ordering::Relaxed);
        other.thread().unpark();
        let worker = other.join().expect("no panic");
        assert_ne!(worker, std::thread::current().id());
        took
    };
    per_operation(1, move |rounds| runtime.block_on(|| measure(rounds)))
}

pub(super) fn busy_neighbour() -> Sampler {
    run(|| ());
    whole(|| {
        super::busy_neighbour(|work| {
            thread::spawn(work);
        })
    })
}

/// A runtime that has had something to do. It comes to rest in the sample that does not count.
pub(super) fn idle() -> Sampler {
    run(|| thread::spawn(|| thread::sleep(Duration::from_millis(1))).join()).expect("no panic");
    whole(watch)
}
