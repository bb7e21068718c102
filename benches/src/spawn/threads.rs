//! The system's threads, as in `corde`: what a program has without a runtime.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::BURST;
use crate::harness::{Sampler, per_operation, per_operation_in, timed};

pub(super) fn spawn_join() -> Sampler {
    let round = |number| {
        black_box(thread::spawn(move || number).join().expect("no panic"));
    };
    per_operation(1, move |rounds| timed(|| (0..rounds).for_each(round)))
}

pub(super) fn spawn_burst() -> Sampler {
    let round = || {
        let spawned = (0..BURST).map(|number| thread::spawn(move || number));
        let threads: Vec<_> = spawned.collect();
        for thread in threads {
            black_box(thread.join().expect("no panic"));
        }
    };
    per_operation(BURST, move |rounds| {
        timed(|| (0..rounds).for_each(|_| round()))
    })
}

/// With a barrier where the others park: no wake-up is counted but one each.
pub(super) fn yield_among(rounds: usize, count: usize) -> Sampler {
    let measure = move |rounds| {
        let gathered = Arc::new(Barrier::new(count + 1));
        let done = Arc::new(Barrier::new(count + 1));
        let spawned = (0..count).map(|_| {
            let (gathered, done) = (gathered.clone(), done.clone());
            thread::spawn(move || {
                gathered.wait();
                (0..rounds).for_each(|_| thread::yield_now());
                done.wait();
            })
        });
        let threads: Vec<_> = spawned.collect();
        let took = timed(|| {
            gathered.wait();
            done.wait();
        });
        for thread in threads {
            thread.join().expect("no panic");
        }
        took
    };
    per_operation_in(rounds, count, measure)
}

pub(super) fn ping_pong() -> Sampler {
    let measure = |rounds| {
        let over = Arc::new(AtomicBool::new(false));
        let (their_over, me) = (over.clone(), thread::current());
        let other = thread::spawn(move || {
            while !their_over.load(Ordering::Relaxed) {
                thread::park();
                me.unpark();
            }
        });
        let took = timed(|| {
            for _ in 0..rounds {
                other.thread().unpark();
                thread::park();
            }
        });
        over.store(true, Ordering::Relaxed);
        other.thread().unpark();
        other.join().expect("no panic");
        took
    };
    per_operation(1, measure)
}
