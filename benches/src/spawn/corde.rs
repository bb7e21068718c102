//! corde's green threads.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use corde::run;
use corde::thread::{self, JoinHandle, Thread};

use super::{BURST, per_parked, per_spawned};
use crate::harness::{Sampler, per_operation, per_operation_in, timed, whole};
use crate::system::resident_memory;

/// Spawns one and joins it.
pub(super) fn spawn_join() -> Sampler {
    let round = |number| {
        black_box(thread::spawn(move || number).join().expect("no panic"));
    };
    per_operation(1, move |rounds| {
        run(|| timed(|| (0..rounds).for_each(round)))
    })
}

/// Spawns many, then joins them in the same order.
fn burst(count: usize) {
    let spawned = (0..count).map(|number| thread::spawn(move || number));
    let threads: Vec<_> = spawned.collect();
    for thread in threads {
        black_box(thread.join().expect("no panic"));
    }
}

pub(super) fn spawn_burst() -> Sampler {
    per_operation(BURST, move |rounds| {
        run(|| timed(|| (0..rounds).for_each(|_| burst(BURST))))
    })
}

/// The same once, with more of them, and the memory for all that.
pub(super) fn spawn_all(count: usize) -> Sampler {
    whole(move || per_spawned(count, run(|| timed(|| burst(count)))))
}

/// Where the expected number of green threads come, and their host waits for the last.
struct Meeting {
    expected: usize,
    come: AtomicUsize,
    host: Thread,
}

impl Meeting {
    /// Makes one whose host is the calling thread.
    fn of(expected: usize) -> Arc<Meeting> {
        Arc::new(Meeting {
            expected,
            come: AtomicUsize::new(0),
            host: thread::current(),
        })
    }

    fn come(&self) {
        if self.come.fetch_add(1, Ordering::Relaxed) + 1 == self.expected {
            self.host.unpark();
        }
    }

    /// Always takes the token that the last one leaves.
    fn wait(&self) {
        loop {
            thread::park();
            if self.come.load(Ordering::Relaxed) == self.expected {
                return;
            }
        }
    }
}

/// Spawns so many which park and, once woken, do `then`; returns when the last has come so far.
fn gather(count: usize, then: impl Fn() + Clone + Send + 'static) -> Vec<JoinHandle<()>> {
    let meeting = Meeting::of(count);
    let spawned = (0..count).map(|_| {
        let (meeting, then) = (meeting.clone(), then.clone());
        thread::spawn(move || {
            meeting.come();
            drop(meeting);
            thread::park();
            then();
        })
    });
    let threads = spawned.collect();
    meeting.wait();
    threads
}

fn wake(threads: &[JoinHandle<()>]) {
    for thread in threads {
        thread.thread().unpark();
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no panic");
    }
}

/// One of so many lets the others run. Not counted: spawning them, and their ends.
pub(super) fn yield_among(rounds: usize, count: usize) -> Sampler {
    let measure = move |rounds| {
        let done = Meeting::of(count);
        let yielded = done.clone();
        let threads = gather(count, move || {
            (0..rounds).for_each(|_| thread::yield_now());
            yielded.come();
            thread::park();
        });
        let took = timed(|| {
            wake(&threads);
            done.wait();
        });
        wake(&threads);
        join(threads);
        took
    };
    per_operation_in(rounds, count, move |rounds| run(|| measure(rounds)))
}

/// One wakes another, waits until it is woken by that one, and so on. Not counted: spawning the other.
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
    per_operation(1, move |rounds| run(|| measure(rounds)))
}

/// Each of so many, once woken, wakes the next one. Not counted: spawning them, until all wait, and their ends.
pub(super) fn ring(count: usize) -> Sampler {
    let measure = move |laps| {
        let meeting = Meeting::of(count - 1);
        let mut threads = Vec::with_capacity(count - 1);
        // From the last one, whose next one is the caller, to the first.
        let mut next = thread::current();
        for _ in 1..count {
            let (meeting, after) = (meeting.clone(), next);
            let thread = thread::spawn(move || {
                meeting.come();
                for _ in 0..laps {
                    thread::park();
                    after.unpark();
                }
                thread::park();
            });
            next = thread.thread().clone();
            threads.push(thread);
        }
        meeting.wait();
        let took = timed(|| {
            for _ in 0..laps {
                next.unpark();
                thread::park();
            }
        });
        wake(&threads);
        join(threads);
        took
    };
    per_operation(count, move |laps| run(|| measure(laps)))
}

/// Spawns so many which all park; then wakes and joins them all. The memory is that while they are parked.
pub(super) fn parked(count: usize) -> Sampler {
    let before = resident_memory();
    let measure = move || {
        let mut threads = Vec::new();
        let spawn = timed(|| threads = gather(count, || ()));
        let memory = resident_memory() - before;
        let end = timed(|| {
            wake(&threads);
            join(threads);
        });
        per_parked(count, spawn, end, memory)
    };
    whole(move || run(measure))
}
