//! corde's green threads.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use corde::run;
use corde::thread;
use corde::time::timeout;

use super::{LIMIT, SLEEPERS, long, nap, per_sleep};
use crate::harness::{Sampler, per_operation, timed, whole};
use crate::system::used;

/// Many sleep at once. The processor time is for spawning and joining them, too.
pub(super) fn sleeps() -> Sampler {
    let sleep = |number| {
        let nap = nap(number);
        let start = Instant::now();
        thread::sleep(nap);
        start.elapsed() - nap
    };
    whole(move || {
        run(|| {
            let before = used().time;
            let spawned = (0..SLEEPERS).map(|number| thread::spawn(move || sleep(number)));
            let threads: Vec<_> = spawned.collect();
            let ended = threads.into_iter().map(|it| it.join().expect("no panic"));
            let late = ended.collect();
            per_sleep(late, used().time - before)
        })
    })
}

/// Sets a limit to a computation that does not wait. Pending besides: the sleeps of as many others.
pub(super) fn timer(pending: usize) -> Sampler {
    let others = pending - 1;
    run(|| {
        let come = Arc::new(AtomicUsize::new(0));
        for number in 0..others {
            let come = come.clone();
            thread::spawn(move || {
                come.fetch_add(1, Ordering::Relaxed);
                thread::sleep(long(number, others));
            });
        }
        // There is one worker: who has come sleeps when this one's turn is again.
        while come.load(Ordering::Relaxed) < others {
            thread::yield_now();
        }
    });
    per_operation(1, |rounds| {
        run(|| {
            timed(|| {
                for round in 0..rounds {
                    black_box(timeout(LIMIT, || black_box(round)).expect("no hour passes"));
                }
            })
        })
    })
}

/// One wakes another, waits until it is woken by that one, but no longer than so and so long, and so on. Not counted: spawning the other.
pub(super) fn ping_pong_timeout() -> Sampler {
    let measure = |rounds| {
        let over = Arc::new(AtomicBool::new(false));
        let (their_over, me) = (over.clone(), thread::current());
        let other = thread::spawn(move || {
            while !their_over.load(Ordering::Relaxed) {
                thread::park_timeout(LIMIT);
                me.unpark();
            }
        });
        let took = timed(|| {
            for _ in 0..rounds {
                other.thread().unpark();
                thread::park_timeout(LIMIT);
            }
        });
        over.store(true, Ordering::Relaxed);
        other.thread().unpark();
        other.join().expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(|| measure(rounds)))
}
