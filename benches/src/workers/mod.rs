//! Work on several workers: forking and joining, waking across workers, a worker that is busy for long, idleness.
//!
//! Peers: Tokio, Go, may. Bound: OS threads. Two workers on two processors, but for `fib`, which is there with one worker, too.

mod corde;
mod may;
mod threads;
mod tokio;

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Metric, NANOSECONDS, Row, cost};
use crate::peers::{with_tokio, with_tokio_and_timers};
use crate::system::{make_sleeps_exact, used_by_others};

const MILLISECONDS: &[Metric] = &[cost("ms")];

/// How long it takes until one runs.
const LATENCY: &[Metric] = &[cost("us p99")];

/// What the process uses in a second.
const IDLE: &[Metric] = &[cost("waits/s"), cost("us CPU/s")];

/// Leaves of the tree in `skynet`, and the sum of their numbers.
const LEAVES: u64 = 1_000_000;
const SUM: u64 = LEAVES * (LEAVES - 1) / 2;

/// The Fibonacci number that is computed, and what it is.
const FIBONACCI: (u32, u64) = (25, 75_025);

pub(crate) fn rows() -> Vec<Row> {
    let row = |name: &str, metrics| Row::new(format!("workers/{name}"), metrics).workers(2);
    let skynet = row("skynet", MILLISECONDS).huge().corde(corde::skynet);
    let fib = [(1, "fib"), (2, "fib_w2")].map(|(workers, name)| {
        let row = row(name, MILLISECONDS).workers(workers).heavy();
        with_tokio(row.corde(corde::fib), workers, tokio::fib).go()
    });
    let busy = row("busy_neighbour", LATENCY).heavy();
    let idle = row("idle", IDLE).heavy();
    let mut rows = vec![with_tokio(skynet, 2, tokio::skynet).go()];
    rows.extend(fib);
    rows.extend([
        row("token_w2", NANOSECONDS)
            .corde(corde::token)
            .peer("tokio-ct", tokio::token)
            .go()
            .bound("threads", threads::token),
        with_tokio(busy.corde(corde::busy_neighbour), 2, tokio::busy_neighbour)
            .peer("may", || may::busy_neighbour(2))
            .go()
            .bound("threads", threads::busy_neighbour),
        with_tokio_and_timers(idle.corde(corde::idle), 2, tokio::idle)
            .peer("may", || may::idle(2))
            .go(),
    ]);
    rows
}

/// A sample in [`MILLISECONDS`] of a computation with a known result.
fn computed(expected: u64, compute: impl FnOnce() -> u64) -> Vec<f64> {
    let start = Instant::now();
    let result = compute();
    let took = start.elapsed();
    assert_eq!(result, expected);
    vec![took.as_secs_f64() * 1e3]
}

type Work = Box<dyn FnOnce() + Send>;

/// Has one green thread compute for long, and meanwhile many short ones come from outside, one after the other. A sample: how long those
/// wait that wait longest.
fn busy_neighbour(spawn: impl Fn(Work)) -> Vec<f64> {
    const BUSY: Duration = Duration::from_millis(100);
    const PERIOD: Duration = Duration::from_micros(100);
    const ARRIVALS: u32 = 900;

    make_sleeps_exact();
    let begun = Arc::new(AtomicBool::new(false));
    let their_begun = begun.clone();
    spawn(Box::new(move || {
        their_begun.store(true, Ordering::Relaxed);
        let start = Instant::now();
        while start.elapsed() < BUSY {
            hint::spin_loop();
        }
    }));
    while !begun.load(Ordering::Relaxed) {
        thread::sleep(PERIOD);
    }
    let (sender, waits) = mpsc::channel();
    let start = Instant::now();
    for number in 1..=ARRIVALS {
        let due = start + PERIOD * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sender = sender.clone();
        let spawned = Instant::now();
        spawn(Box::new(move || {
            sender
                .send(spawned.elapsed())
                .expect("somebody waits for it");
        }));
    }
    drop(sender);
    let mut waits: Vec<Duration> = waits.iter().collect();
    waits.sort_unstable();
    vec![waits[(waits.len() - 1) * 99 / 100].as_nanos() as f64 / 1e3]
}

/// How long a process is watched that does nothing.
const WATCHED: Duration = Duration::from_millis(500);

/// What all threads but the calling one do meanwhile, in the metrics of [`IDLE`].
fn watch() -> Vec<f64> {
    /// What the two readings may be apart because they take time themselves.
    const READING: Duration = Duration::from_micros(10);

    let before = used_by_others();
    thread::sleep(WATCHED);
    let after = used_by_others();
    let waits = (after.waits - before.waits) as f64;
    let time = after.time.saturating_sub(before.time);
    let micros = if time > READING { time.as_micros() } else { 0 };
    [waits, micros as f64]
        .map(|it| it / WATCHED.as_secs_f64())
        .to_vec()
}
