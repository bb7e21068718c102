//! may's coroutines, as in `corde`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use may::coroutine::{self, Coroutine, JoinHandle};
use may::go;

use super::{BURST, per_parked};
use crate::harness::{Sampler, per_operation, per_operation_in, timed, whole};
use crate::peers::may::{configure, run};
use crate::system::resident_memory;

pub(super) fn spawn_join(workers: usize) -> Sampler {
    configure(workers);
    let round = |number| {
        black_box(go!(move || number).join().expect("no panic"));
    };
    per_operation(1, move |rounds| {
        run(move || timed(|| (0..rounds).for_each(round)))
    })
}

fn burst(count: usize) {
    let spawned = (0..count).map(|number| go!(move || number));
    let coroutines: Vec<_> = spawned.collect();
    for coroutine in coroutines {
        black_box(coroutine.join().expect("no panic"));
    }
}

pub(super) fn spawn_burst(workers: usize) -> Sampler {
    configure(workers);
    per_operation(BURST, move |rounds| {
        run(move || timed(|| (0..rounds).for_each(|_| burst(BURST))))
    })
}

struct Meeting {
    expected: usize,
    come: AtomicUsize,
    host: Coroutine,
}

impl Meeting {
    fn of(expected: usize) -> Arc<Meeting> {
        Arc::new(Meeting {
            expected,
            come: AtomicUsize::new(0),
            host: coroutine::current(),
        })
    }

    fn come(&self) {
        if self.come.fetch_add(1, Ordering::Relaxed) + 1 == self.expected {
            self.host.unpark();
        }
    }

    fn wait(&self) {
        loop {
            coroutine::park();
            if self.come.load(Ordering::Relaxed) == self.expected {
                return;
            }
        }
    }
}

fn gather(count: usize, then: impl Fn() + Clone + Send + 'static) -> Vec<JoinHandle<()>> {
    let meeting = Meeting::of(count);
    let spawned = (0..count).map(|_| {
        let (meeting, then) = (meeting.clone(), then.clone());
        go!(move || {
            meeting.come();
            drop(meeting);
            coroutine::park();
            then();
        })
    });
    let coroutines = spawned.collect();
    meeting.wait();
    coroutines
}

fn wake(coroutines: &[JoinHandle<()>]) {
    for coroutine in coroutines {
        coroutine.coroutine().unpark();
    }
}

fn join(coroutines: Vec<JoinHandle<()>>) {
    for coroutine in coroutines {
        coroutine.join().expect("no panic");
    }
}

pub(super) fn yield_among(workers: usize, rounds: usize, count: usize) -> Sampler {
    configure(workers);
    let measure = move |rounds| {
        let done = Meeting::of(count);
        let yielded = done.clone();
        let coroutines = gather(count, move || {
            (0..rounds).for_each(|_| coroutine::yield_now());
            yielded.come();
            coroutine::park();
        });
        let took = timed(|| {
            wake(&coroutines);
            done.wait();
        });
        wake(&coroutines);
        join(coroutines);
        took
    };
    per_operation_in(rounds, count, move |rounds| run(move || measure(rounds)))
}

pub(super) fn ping_pong(workers: usize) -> Sampler {
    configure(workers);
    let measure = |rounds| {
        let over = Arc::new(AtomicBool::new(false));
        let (their_over, me) = (over.clone(), coroutine::current());
        let other = go!(move || {
            while !their_over.load(Ordering::Relaxed) {
                coroutine::park();
                me.unpark();
            }
        });
        let took = timed(|| {
            for _ in 0..rounds {
                other.coroutine().unpark();
                coroutine::park();
            }
        });
        over.store(true, Ordering::Relaxed);
        other.coroutine().unpark();
        other.join().expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(move || measure(rounds)))
}

pub(super) fn ring(workers: usize, count: usize) -> Sampler {
    configure(workers);
    let measure = move |laps| {
        let meeting = Meeting::of(count - 1);
        let mut coroutines = Vec::with_capacity(count - 1);
        let mut next = coroutine::current();
        for _ in 1..count {
            let (meeting, after) = (meeting.clone(), next);
            let coroutine = go!(move || {
                meeting.come();
                for _ in 0..laps {
                    coroutine::park();
                    after.unpark();
                }
                coroutine::park();
            });
            next = coroutine.coroutine().clone();
            coroutines.push(coroutine);
        }
        meeting.wait();
        let took = timed(|| {
            for _ in 0..laps {
                next.unpark();
                coroutine::park();
            }
        });
        wake(&coroutines);
        join(coroutines);
        took
    };
    per_operation(count, move |laps| run(move || measure(laps)))
}

pub(super) fn parked(workers: usize, count: usize) -> Sampler {
    configure(workers);
    let before = resident_memory();
    let measure = move || {
        let mut coroutines = Vec::new();
        let spawn = timed(|| coroutines = gather(count, || ()));
        let memory = resident_memory() - before;
        let end = timed(|| {
            wake(&coroutines);
            join(coroutines);
        });
        per_parked(count, spawn, end, memory)
    };
    whole(move || run(measure))
}
