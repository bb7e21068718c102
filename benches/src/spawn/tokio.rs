//! Tokio's tasks. As in `corde`, with a task for a green thread, and a `Notify`, which has the same manners, for its token.

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn, yield_now};

use super::{BURST, per_parked, per_spawned};
use crate::harness::{Sampler, per_operation, per_operation_in, whole};
use crate::peers::tokio::run;
use crate::system::resident_memory;

pub(super) fn spawn_join(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let start = Instant::now();
        for number in 0..rounds {
            black_box(spawn(async move { number }).await.expect("no panic"));
        }
        start.elapsed()
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds)))
}

async fn burst(count: usize) {
    let spawned = (0..count).map(|number| spawn(async move { number }));
    let tasks: Vec<_> = spawned.collect();
    for task in tasks {
        black_box(task.await.expect("no panic"));
    }
}

pub(super) fn spawn_burst(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let start = Instant::now();
        for _ in 0..rounds {
            burst(BURST).await;
        }
        start.elapsed()
    };
    per_operation(BURST, move |rounds| run(&runtime, measure(rounds)))
}

pub(super) fn spawn_all(runtime: Runtime, count: usize) -> Sampler {
    let measure = move || async move {
        let start = Instant::now();
        burst(count).await;
        start.elapsed()
    };
    whole(move || per_spawned(count, run(&runtime, measure())))
}

struct Meeting {
    expected: usize,
    come: AtomicUsize,
    host: Notify,
}

impl Meeting {
    fn of(expected: usize) -> Arc<Meeting> {
        Arc::new(Meeting {
            expected,
            come: AtomicUsize::new(0),
            host: Notify::new(),
        })
    }

    fn come(&self) {
        if self.come.fetch_add(1, Ordering::Relaxed) + 1 == self.expected {
            self.host.notify_one();
        }
    }

    async fn wait(&self) {
        self.host.notified().await;
    }
}

type Gathered = Vec<(JoinHandle<()>, Arc<Notify>)>;

async fn gather<T: Future<Output = ()> + Send + 'static>(
    count: usize,
    then: impl Fn(Arc<Notify>) -> T + Clone + Send + 'static,
) -> Gathered {
    let meeting = Meeting::of(count);
    let spawned = (0..count).map(|_| {
        let (meeting, then) = (meeting.clone(), then.clone());
        let token = Arc::new(Notify::new());
        let mine = token.clone();
        let task = spawn(async move {
            meeting.come();
            drop(meeting);
            mine.notified().await;
            then(mine).await;
        });
        (task, token)
    });
    let tasks = spawned.collect();
    meeting.wait().await;
    tasks
}

fn wake(tasks: &Gathered) {
    for (_, token) in tasks {
        token.notify_one();
    }
}

async fn join(tasks: Gathered) {
    for (task, _) in tasks {
        task.await.expect("no panic");
    }
}

pub(super) fn yield_among(runtime: Runtime, rounds: usize, count: usize) -> Sampler {
    let measure = move |rounds| async move {
        let done = Meeting::of(count);
        let yielded = done.clone();
        let then = move |token: Arc<Notify>| {
            let yielded = yielded.clone();
            async move {
                for _ in 0..rounds {
                    yield_now().await;
                }
                yielded.come();
                token.notified().await;
            }
        };
        let tasks = gather(count, then).await;
        let start = Instant::now();
        wake(&tasks);
        done.wait().await;
        let took = start.elapsed();
        wake(&tasks);
        join(tasks).await;
        took
    };
    per_operation_in(rounds, count, move |rounds| run(&runtime, measure(rounds)))
}

pub(super) fn ping_pong(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let over = Arc::new(AtomicBool::new(false));
        let me = Arc::new(Notify::new());
        let other = Arc::new(Notify::new());
        let (their_over, their_peer, their_token) = (over.clone(), me.clone(), other.clone());
        let task = spawn(async move {
            while !their_over.load(Ordering::Relaxed) {
                their_token.notified().await;
                their_peer.notify_one();
            }
        });
        let start = Instant::now();
        for _ in 0..rounds {
            other.notify_one();
            me.notified().await;
        }
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        other.notify_one();
        task.await.expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds)))
}

pub(super) fn ring(runtime: Runtime, count: usize) -> Sampler {
    let measure = move |laps| async move {
        let meeting = Meeting::of(count - 1);
        let me = Arc::new(Notify::new());
        let mut next = me.clone();
        let mut tasks = Vec::with_capacity(count - 1);
        for _ in 1..count {
            let (meeting, after) = (meeting.clone(), next);
            let token = Arc::new(Notify::new());
            next = token.clone();
            let mine = token.clone();
            let task = spawn(async move {
                meeting.come();
                for _ in 0..laps {
                    mine.notified().await;
                    after.notify_one();
                }
                mine.notified().await;
            });
            tasks.push((task, token));
        }
        meeting.wait().await;
        let start = Instant::now();
        for _ in 0..laps {
            next.notify_one();
            me.notified().await;
        }
        let took = start.elapsed();
        wake(&tasks);
        join(tasks).await;
        took
    };
    per_operation(count, move |laps| run(&runtime, measure(laps)))
}

pub(super) fn parked(runtime: Runtime, count: usize) -> Sampler {
    let before = resident_memory();
    let measure = move || async move {
        let start = Instant::now();
        let tasks = gather(count, |_| async {}).await;
        let spawn = start.elapsed();
        let memory = resident_memory() - before;
        let start = Instant::now();
        wake(&tasks);
        join(tasks).await;
        per_parked(count, spawn, start.elapsed(), memory)
    };
    whole(move || run(&runtime, measure()))
}
