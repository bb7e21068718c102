//! The system's threads, as in `corde`: what a program has without a runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{Sampler, per_operation, timed, whole};
use crate::system::pin;

pub(super) fn token() -> Sampler {
    pin([0]);
    let measure = |rounds| {
        let over = Arc::new(AtomicBool::new(false));
        let (their_over, me) = (over.clone(), thread::current());
        let other = thread::spawn(move || {
            pin([1]);
            while !their_over.load(Ordering::Relaxed) {
                thread::park();
                me.unpark();
            }
        });
        other.thread().unpark();
        thread::park();
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

pub(super) fn busy_neighbour() -> Sampler {
    whole(|| {
        super::busy_neighbour(|work| {
            thread::spawn(work);
        })
    })
}
