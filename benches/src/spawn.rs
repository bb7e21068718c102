//! The scheduler: spawning, joining, yielding, parking and waking green threads (tasks, with Tokio).
//!
//! Peers: Tokio, may. The measuring code runs on a green thread itself, for that is where programs spawn from. Starting
//! the runtime is never counted. Rows with `_w2` have two workers on two processors, the others one worker on one.

use std::time::Duration;

use ::tokio::runtime::Runtime;

use crate::harness::{Metric, NANOSECONDS, Row, Sampler};

/// Green threads that are spawned before the first is joined, in `spawn_1000`.
const BURST: usize = 1000;

/// Time and memory for each parked green thread.
const PARKED: &[Metric] = &[
    Metric {
        unit: "ns",
        more_is_better: false,
    },
    Metric {
        unit: "B",
        more_is_better: false,
    },
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (workers, suffix) in [(1, ""), (2, "_w2")] {
        let row =
            |name: &str| Row::new(format!("spawn/{name}{suffix}"), NANOSECONDS).workers(workers);
        let tokio = |row, measure| with_tokio(row, workers, measure);
        rows.extend([
            tokio(
                row("spawn_join")
                    .corde(corde::spawn_join)
                    .peer("may", move || may::spawn_join(workers)),
                tokio::spawn_join,
            ),
            tokio(
                row("spawn_1000")
                    .corde(corde::spawn_burst)
                    .peer("may", move || may::spawn_burst(workers)),
                tokio::spawn_burst,
            ),
            tokio(
                row("yield_2")
                    .corde(|| corde::yield_among(2))
                    .peer("may", move || may::yield_among(workers, 2)),
                |runtime| tokio::yield_among(runtime, 2),
            ),
            tokio(
                row("yield_1000")
                    .corde(|| corde::yield_among(1000))
                    .peer("may", move || may::yield_among(workers, 1000)),
                |runtime| tokio::yield_among(runtime, 1000),
            ),
            tokio(
                row("ping_pong")
                    .corde(corde::ping_pong)
                    .peer("may", move || may::ping_pong(workers)),
                tokio::ping_pong,
            ),
        ]);
    }
    let row = |name: &str| Row::new(format!("spawn/{name}"), PARKED).heavy();
    rows.extend([
        with_tokio(
            row("parked_20000")
                .corde(|| corde::parked(20_000))
                .peer("may", || may::parked(1, 20_000)),
            1,
            |runtime| tokio::parked(runtime, 20_000),
        ),
        // may maps each stack by itself, and meets vm.max_map_count at about 32,700 of them.
        with_tokio(
            row("parked_100000").corde(|| corde::parked(100_000)),
            1,
            |runtime| tokio::parked(runtime, 100_000),
        ),
    ]);
    rows
}

/// Adds Tokio as a peer: its scheduler for many workers, and the one for a single worker where that is the number.
fn with_tokio(row: Row, workers: usize, measure: fn(Runtime) -> Sampler) -> Row {
    let row = row.peer("tokio-mt", move || measure(tokio::multi_thread(workers)));
    match workers {
        1 => row.peer("tokio-ct", move || measure(tokio::current_thread())),
        _ => row,
    }
}

/// A sample in the metrics of [`PARKED`].
fn per_parked(count: usize, time: Duration, memory: f64) -> Vec<f64> {
    let totals = [time.as_nanos() as f64, memory];
    totals.map(|total| total / count as f64).to_vec()
}

mod corde {
    use std::hint::black_box;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use ::corde::run;
    use ::corde::thread::{self, JoinHandle};

    use super::{BURST, per_parked};
    use crate::harness::{Sampler, per_operation, timed, whole};
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
    pub(super) fn spawn_burst() -> Sampler {
        let round = || {
            let spawned = (0..BURST).map(|number| thread::spawn(move || number));
            let threads: Vec<_> = spawned.collect();
            for thread in threads {
                black_box(thread.join().expect("no panic"));
            }
        };
        per_operation(BURST, move |rounds| {
            run(|| timed(|| (0..rounds).for_each(|_| round())))
        })
    }

    /// Spawns so many which park and, once woken, do `then`; returns when the last has come so far.
    fn gather(count: usize, then: impl Fn() + Copy + Send + 'static) -> Vec<JoinHandle<()>> {
        let arrived = Arc::new(AtomicUsize::new(0));
        let spawned = (0..count).map(|_| {
            let (arrived, gatherer) = (arrived.clone(), thread::current());
            thread::spawn(move || {
                if arrived.fetch_add(1, Ordering::Relaxed) + 1 == count {
                    gatherer.unpark();
                }
                drop((arrived, gatherer));
                thread::park();
                then();
            })
        });
        let threads = spawned.collect();
        while arrived.load(Ordering::Relaxed) < count {
            thread::park();
        }
        threads
    }

    /// Wakes all that were gathered and waits for their ends.
    fn finish(threads: Vec<JoinHandle<()>>) {
        for thread in &threads {
            thread.thread().unpark();
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
    }

    /// One of so many lets the others run. Not counted: spawning them.
    pub(super) fn yield_among(count: usize) -> Sampler {
        let measure = move |rounds| {
            let threads = gather(count, move || (0..rounds).for_each(|_| thread::yield_now()));
            timed(|| finish(threads))
        };
        per_operation(count, move |rounds| run(|| measure(rounds)))
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

    /// Spawns so many which all park, then wakes and joins them all. The memory is that while they are parked.
    pub(super) fn parked(count: usize) -> Sampler {
        let before = resident_memory();
        let measure = move || {
            let start = Instant::now();
            let threads = gather(count, || ());
            let began = start.elapsed();
            let memory = resident_memory() - before;
            per_parked(count, began + timed(|| finish(threads)), memory)
        };
        whole(move || run(measure))
    }
}

mod tokio {
    use std::future::Future;
    use std::hint::black_box;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use ::tokio::runtime::{Builder, Runtime};
    use ::tokio::sync::Notify;
    use ::tokio::task::{JoinHandle, spawn, yield_now};

    use super::{BURST, per_parked};
    use crate::harness::{Sampler, per_operation, whole};
    use crate::system::resident_memory;

    pub(super) fn multi_thread(workers: usize) -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(workers)
            .build()
            .expect("a runtime can be had")
    }

    pub(super) fn current_thread() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.build().expect("a runtime can be had")
    }

    /// Runs `future` as a task: what `block_on` itself is given does not run on a worker.
    fn run<T: Send + 'static>(
        runtime: &Runtime,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        runtime.block_on(async { spawn(future).await.expect("no panic") })
    }

    /// As in `corde`, with a task for a green thread; so the others below.
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

    pub(super) fn spawn_burst(runtime: Runtime) -> Sampler {
        let measure = |rounds| async move {
            let start = Instant::now();
            for _ in 0..rounds {
                let spawned = (0..BURST).map(|number| spawn(async move { number }));
                let tasks: Vec<_> = spawned.collect();
                for task in tasks {
                    black_box(task.await.expect("no panic"));
                }
            }
            start.elapsed()
        };
        per_operation(BURST, move |rounds| run(&runtime, measure(rounds)))
    }

    type Gathered = Vec<(JoinHandle<()>, Arc<Notify>)>;

    /// With a `Notify` for each task, which is what Tokio has for a token.
    async fn gather<T: Future<Output = ()> + Send + 'static>(
        count: usize,
        then: impl Fn() -> T + Copy + Send + 'static,
    ) -> Gathered {
        let arrived = Arc::new(AtomicUsize::new(0));
        let gatherer = Arc::new(Notify::new());
        let spawned = (0..count).map(|_| {
            let (arrived, gatherer) = (arrived.clone(), gatherer.clone());
            let token = Arc::new(Notify::new());
            let mine = token.clone();
            let task = spawn(async move {
                if arrived.fetch_add(1, Ordering::Relaxed) + 1 == count {
                    gatherer.notify_one();
                }
                drop((arrived, gatherer));
                mine.notified().await;
                then().await;
            });
            (task, token)
        });
        let tasks = spawned.collect();
        gatherer.notified().await;
        tasks
    }

    async fn finish(tasks: Gathered) {
        for (_, token) in &tasks {
            token.notify_one();
        }
        for (task, _) in tasks {
            task.await.expect("no panic");
        }
    }

    pub(super) fn yield_among(runtime: Runtime, count: usize) -> Sampler {
        let measure = move |rounds| async move {
            let then = move || async move {
                for _ in 0..rounds {
                    yield_now().await;
                }
            };
            let tasks = gather(count, then).await;
            let start = Instant::now();
            finish(tasks).await;
            start.elapsed()
        };
        per_operation(count, move |rounds| run(&runtime, measure(rounds)))
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

    pub(super) fn parked(runtime: Runtime, count: usize) -> Sampler {
        let before = resident_memory();
        let measure = move || async move {
            let start = Instant::now();
            let tasks = gather(count, || async {}).await;
            let began = start.elapsed();
            let memory = resident_memory() - before;
            let start = Instant::now();
            finish(tasks).await;
            per_parked(count, began + start.elapsed(), memory)
        };
        whole(move || run(&runtime, measure()))
    }
}

mod may {
    use std::hint::black_box;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use ::may::coroutine::{self, JoinHandle};
    use ::may::go;

    use super::{BURST, per_parked};
    use crate::harness::{Sampler, per_operation, timed, whole};
    use crate::system::resident_memory;

    /// Sets the workers up, which come into being with the first coroutine.
    fn configure(workers: usize) {
        ::may::config().set_workers(workers).set_worker_pin(false);
    }

    fn run<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        go!(body).join().expect("no panic")
    }

    /// As in `corde`; so the others below.
    pub(super) fn spawn_join(workers: usize) -> Sampler {
        configure(workers);
        let round = |number| {
            black_box(go!(move || number).join().expect("no panic"));
        };
        per_operation(1, move |rounds| {
            run(move || timed(|| (0..rounds).for_each(round)))
        })
    }

    pub(super) fn spawn_burst(workers: usize) -> Sampler {
        configure(workers);
        let round = || {
            let spawned = (0..BURST).map(|number| go!(move || number));
            let coroutines: Vec<_> = spawned.collect();
            for coroutine in coroutines {
                black_box(coroutine.join().expect("no panic"));
            }
        };
        per_operation(BURST, move |rounds| {
            run(move || timed(|| (0..rounds).for_each(|_| round())))
        })
    }

    fn gather(count: usize, then: impl Fn() + Copy + Send + 'static) -> Vec<JoinHandle<()>> {
        let arrived = Arc::new(AtomicUsize::new(0));
        let spawned = (0..count).map(|_| {
            let (arrived, gatherer) = (arrived.clone(), coroutine::current());
            go!(move || {
                if arrived.fetch_add(1, Ordering::Relaxed) + 1 == count {
                    gatherer.unpark();
                }
                drop((arrived, gatherer));
                coroutine::park();
                then();
            })
        });
        let coroutines = spawned.collect();
        while arrived.load(Ordering::Relaxed) < count {
            coroutine::park();
        }
        coroutines
    }

    fn finish(coroutines: Vec<JoinHandle<()>>) {
        for coroutine in &coroutines {
            coroutine.coroutine().unpark();
        }
        for coroutine in coroutines {
            coroutine.join().expect("no panic");
        }
    }

    pub(super) fn yield_among(workers: usize, count: usize) -> Sampler {
        configure(workers);
        let measure = move |rounds| {
            let yields = move || (0..rounds).for_each(|_| coroutine::yield_now());
            let coroutines = gather(count, yields);
            timed(|| finish(coroutines))
        };
        per_operation(count, move |rounds| run(move || measure(rounds)))
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

    pub(super) fn parked(workers: usize, count: usize) -> Sampler {
        configure(workers);
        let before = resident_memory();
        let measure = move || {
            let start = Instant::now();
            let coroutines = gather(count, || ());
            let began = start.elapsed();
            let memory = resident_memory() - before;
            per_parked(count, began + timed(|| finish(coroutines)), memory)
        };
        whole(move || run(measure))
    }
}
