//! may's coroutines, as in `corde`. In `skynet` and `fib` there would be more of them than it can map stacks for; and it cannot keep two
//! apart, as a coroutine goes on where it was woken.

use std::time::Duration;

use may::coroutine;
use may::go;

use super::watch;
use crate::harness::{Sampler, whole};
use crate::peers::may::{configure, run};

pub(super) fn busy_neighbour(workers: usize) -> Sampler {
    configure(workers);
    run(|| ());
    whole(|| {
        super::busy_neighbour(|work| {
            go!(work);
        })
    })
}

pub(super) fn idle(workers: usize) -> Sampler {
    configure(workers);
    run(|| coroutine::sleep(Duration::from_millis(1)));
    whole(watch)
}
