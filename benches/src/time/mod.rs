//! Timers: sleeping, arming and cancelling, waiting with a limit.
//!
//! Peers: Tokio, Go, may. One worker on one processor; `_w2`: two on two.

mod corde;
mod may;
mod tokio;

use std::time::Duration;

use crate::harness::{Metric, NANOSECONDS, Row, cost};
use crate::peers::with_tokio_and_timers;
use crate::system::holds_a_million_stacks;

const HOUR: Duration = Duration::from_secs(3600);

/// What a timer lasts that is cancelled: it comes in the middle of the others that are pending.
const LIMIT: Duration = Duration::from_secs(90 * 60);

const SLEEPERS: usize = 20_000;

/// By how much a sleep is too long, and the processor time of each.
const SLEEPS: &[Metric] = &[cost("us p50"), cost("us p99"), cost("us CPU")];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (workers, suffix) in [(1, ""), (2, "_w2")] {
        let row = Row::new(format!("time/sleeps_{SLEEPERS}{suffix}"), SLEEPS)
            .workers(workers)
            .heavy()
            .corde(corde::sleeps);
        rows.push(
            with_tokio_and_timers(row, workers, tokio::sleeps)
                .peer("may", move || may::sleeps(workers))
                .go(),
        );
    }
    let timer = |pending| {
        let row = Row::new(format!("time/timer_{pending}"), NANOSECONDS);
        let row = row.corde(move || corde::timer(pending));
        with_tokio_and_timers(row, 1, move |runtime| tokio::timer(runtime, pending)).go()
    };
    let ping_pong = Row::new("time/ping_pong_timeout", NANOSECONDS);
    rows.extend([
        timer(1),
        timer(1_000_000).huge().needs(holds_a_million_stacks),
        with_tokio_and_timers(
            ping_pong.corde(corde::ping_pong_timeout),
            1,
            tokio::ping_pong_timeout,
        )
        .peer("may", || may::ping_pong_timeout(1))
        .go(),
    ]);
    rows
}

/// How far along one of so many comes, from 0 to 1, when they are taken in another order than that of their numbers.
fn scattered(number: usize, count: usize) -> f64 {
    // A prime, which divides none of the counts: each place comes once.
    (number * 7919 % count) as f64 / count as f64
}

/// How long one of the sleepers sleeps: 1 to 100 ms.
fn nap(number: usize) -> Duration {
    Duration::from_millis(1) + Duration::from_millis(99).mul_f64(scattered(number, SLEEPERS))
}

/// How long one of so many timers lasts that are only there to be pending: one to two hours.
fn long(number: usize, count: usize) -> Duration {
    HOUR + HOUR.mul_f64(scattered(number, count))
}

/// A sample in the metrics of [`SLEEPS`].
fn per_sleep(mut late: Vec<Duration>, spent: Duration) -> Vec<f64> {
    late.sort_unstable();
    let percentile = |percent| late[(late.len() - 1) * percent / 100];
    let each = spent / u32::try_from(late.len()).expect("they are not so many");
    [percentile(50), percentile(99), each]
        .map(|time| time.as_nanos() as f64 / 1e3)
        .to_vec()
}
