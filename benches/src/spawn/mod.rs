//! The scheduler: spawning, joining, yielding, parking and waking green threads (tasks, with Tokio; goroutines, with Go).
//!
//! Peers: Tokio, may, Go. Bound: OS threads. The measuring code runs on a green thread itself, for that is where programs spawn
//! from. Starting the runtime is never counted. Rows with `_w2` have two workers on two processors, the others one
//! worker on one.

mod corde;
mod may;
mod threads;
mod tokio;

use std::time::Duration;

use ::tokio::runtime::Runtime;

use crate::harness::{Metric, NANOSECONDS, Row, Sampler, cost};
use crate::peers::with_tokio;
use crate::system::{holds_a_million_stacks, peak_memory};

/// Green threads that are spawned before the first is joined, in `spawn_1000`.
const BURST: usize = 1000;

const MILLION: usize = 1_000_000;

/// Yields of each, at the least, where there are so many that waking them once would make a difference.
const YIELDS: usize = 32;

/// Time for each, and the most memory that the process ever had.
const SPAWNED: &[Metric] = &[cost("ns"), cost("MB")];

/// Time and memory for each parked green thread.
const PARKED: &[Metric] = &[cost("ns spawn"), cost("ns wake"), cost("B")];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (workers, suffix) in [(1, ""), (2, "_w2")] {
        let row =
            |name: &str| Row::new(format!("spawn/{name}{suffix}"), NANOSECONDS).workers(workers);
        let tokio = |row, measure: fn(Runtime) -> Sampler| with_tokio(row, workers, measure);
        rows.extend([
            tokio(
                row("spawn_join").corde(corde::spawn_join),
                tokio::spawn_join,
            )
            .peer("may", move || may::spawn_join(workers))
            .go()
            .bound("threads", threads::spawn_join),
            tokio(
                row("spawn_1000").corde(corde::spawn_burst),
                tokio::spawn_burst,
            )
            .peer("may", move || may::spawn_burst(workers))
            .go()
            .bound("threads", threads::spawn_burst),
        ]);
        rows.extend([2, 1000].map(|count| {
            let row = row(&format!("yield_{count}")).corde(move || corde::yield_among(1, count));
            with_tokio(row, workers, move |it| tokio::yield_among(it, 1, count))
                .peer("may", move || may::yield_among(workers, 1, count))
                .go()
                .bound("threads", move || threads::yield_among(YIELDS, count))
        }));
        rows.push(
            tokio(row("ping_pong").corde(corde::ping_pong), tokio::ping_pong)
                .peer("may", move || may::ping_pong(workers))
                .go()
                .bound("threads", threads::ping_pong),
        );
    }
    rows.extend(crowds());
    rows
}

/// The rows with many at once, on one worker. may maps each stack by itself, and meets vm.max_map_count at about 32,700 of them.
fn crowds() -> Vec<Row> {
    let row = |name: &str| Row::new(format!("spawn/{name}"), NANOSECONDS);
    let parked = |count| {
        let row = Row::new(format!("spawn/parked_{count}"), PARKED).heavy();
        let row = row.corde(move || corde::parked(count));
        with_tokio(row, 1, move |runtime| tokio::parked(runtime, count)).go()
    };
    let spawned = Row::new("spawn/spawn_1000000", SPAWNED).huge().fresh();
    vec![
        with_tokio(spawned.corde(|| corde::spawn_all(MILLION)), 1, |runtime| {
            tokio::spawn_all(runtime, MILLION)
        })
        .go(),
        with_tokio(
            row("yield_100000")
                .huge()
                .corde(|| corde::yield_among(YIELDS, 100_000)),
            1,
            |runtime| tokio::yield_among(runtime, YIELDS, 100_000),
        )
        .go(),
        with_tokio(
            row("ring_10000").corde(|| corde::ring(10_000)),
            1,
            |runtime| tokio::ring(runtime, 10_000),
        )
        .peer("may", || may::ring(1, 10_000))
        .go(),
        parked(20_000).peer("may", || may::parked(1, 20_000)),
        parked(100_000),
        parked(MILLION).huge().fresh().needs(holds_a_million_stacks),
    ]
}

/// A sample in the metrics of [`SPAWNED`].
fn per_spawned(count: usize, time: Duration) -> Vec<f64> {
    vec![time.as_nanos() as f64 / count as f64, peak_memory() / 1e6]
}

/// A sample in the metrics of [`PARKED`].
fn per_parked(count: usize, spawn: Duration, wake: Duration, memory: f64) -> Vec<f64> {
    let totals = [spawn.as_nanos() as f64, wake.as_nanos() as f64, memory];
    totals.map(|total| total / count as f64).to_vec()
}
