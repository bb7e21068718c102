//! may's coroutines, as in `corde`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use may::coroutine;
use may::go;

use super::{LIMIT, SLEEPERS, nap, per_sleep};
use crate::harness::{Sampler, per_operation, timed, whole};
use crate::peers::may::{configure, run};
use crate::system::used;

pub(super) fn sleeps(workers: usize) -> Sampler {
    configure(workers);
    let sleep = |number| {
        let nap = nap(number);
        let start = Instant::now();
        coroutine::sleep(nap);
        start.elapsed().saturating_sub(nap)
    };
    whole(move || {
        run(move || {
            let before = used().time;
            let spawned = (0..SLEEPERS).map(|number| go!(move || sleep(number)));
            let coroutines: Vec<_> = spawned.collect();
            let ended = coroutines
                .into_iter()
                .map(|it| it.join().expect("no panic"));
            let late = ended.collect();
            per_sleep(late, used().time - before)
        })
    })
}

pub(super) fn ping_pong_timeout(workers: usize) -> Sampler {
    configure(workers);
    let measure = |rounds| {
        let over = Arc::new(AtomicBool::new(false));
        let (their_over, me) = (over.clone(), coroutine::current());
        let other = go!(move || {
            while !their_over.load(Ordering::Relaxed) {
                coroutine::park_timeout(LIMIT);
                me.unpark();
            }
        });
        let took = timed(|| {
            for _ in 0..rounds {
                other.coroutine().unpark();
                coroutine::park_timeout(LIMIT);
            }
        });
        over.store(true, Ordering::Relaxed);
        other.coroutine().unpark();
        other.join().expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(move || measure(rounds)))
}
