//! Channels, selecting among them, and the mutex.
//!
//! Peers: Tokio, may, Go; and, where a row has two workers or nobody waits, what there is for OS threads. The measuring code runs on a green
//! thread itself. Rows with `_w2` have two workers on two processors, the others one worker on one; a message is a `u64`.

mod corde;
mod may;
mod threads;
mod tokio;

use std::time::Duration;

use ::tokio::runtime::Runtime;

use self::threads::{Crossbeam, Flume, Kanal, Std};
use crate::harness::{NANOSECONDS, Row, Sampler};
use crate::peers::{with_tokio, with_tokio_and_timers};

/// Messages that a channel has room for, in `fan_in` and `mpmc`.
const CAPACITY: usize = 128;

/// Producers in `mpmc`, and as many consumers.
const SIDE: usize = 4;

/// Selections between two fillings of the channels.
const BURST: usize = 1024;

/// Those that share a mutex.
const SHARERS: usize = 64;

/// The most that a receive waits: it never comes to that.
const LIMIT: Duration = Duration::from_secs(90 * 60);

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::from(ping_pong());
    rows.extend([fan_in(1, 4), fan_in(2, 4), fan_in(2, 64), mpmc(1), mpmc(2)]);
    rows.extend(select());
    rows.extend(mutex());
    rows
}

fn row(name: &str, workers: usize) -> Row {
    let suffix = if workers == 2 { "_w2" } else { "" };
    Row::new(format!("sync/{name}{suffix}"), NANOSECONDS).workers(workers)
}

fn ping_pong() -> [Row; 4] {
    let with_tokio = |row, measure: fn(Runtime) -> Sampler| with_tokio(row, 1, measure);
    [
        with_tokio(
            row("channel_unbounded", 1).corde(corde::ping_pong_unbounded),
            tokio::ping_pong_unbounded,
        )
        .peer("may", || may::ping_pong_unbounded(1)),
        with_tokio(
            row("channel_1", 1).corde(corde::ping_pong_1),
            tokio::ping_pong_1,
        )
        .peer("may", || may::ping_pong_1(1))
        .go(),
        row("channel_0", 1).corde(corde::ping_pong_0).go(),
        with_tokio_and_timers(
            row("channel_timeout", 1).corde(corde::ping_pong_timeout),
            1,
            tokio::ping_pong_timeout,
        )
        .peer("may", || may::ping_pong_timeout(1))
        .go(),
    ]
}

fn fan_in(workers: usize, producers: usize) -> Row {
    let row = row(&format!("fan_in_{producers}"), workers).corde(move || corde::fan_in(producers));
    let row = with_tokio(row, workers, move |it| tokio::fan_in(it, producers))
        .peer("may", move || may::fan_in(workers, producers))
        .go();
    match workers {
        1 => row,
        _ => row
            .peer("std", move || threads::fan_in::<Std>(producers))
            .peer("crossbeam", move || threads::fan_in::<Crossbeam>(producers))
            .peer("flume", move || threads::fan_in::<Flume>(producers))
            .peer("kanal", move || threads::fan_in::<Kanal>(producers)),
    }
}

/// Tokio's and std's channels have one receiver.
fn mpmc(workers: usize) -> Row {
    let row = row(&format!("mpmc_{SIDE}x{SIDE}"), workers)
        .corde(corde::mpmc)
        .peer("may", move || may::mpmc(workers))
        .go();
    match workers {
        1 => row,
        _ => row
            .peer("crossbeam", threads::mpmc::<Crossbeam>)
            .peer("flume", threads::mpmc::<Flume>)
            .peer("kanal", threads::mpmc::<Kanal>),
    }
}

fn select() -> [Row; 2] {
    let with_tokio = |row, measure: fn(Runtime) -> Sampler| with_tokio(row, 1, measure);
    [
        with_tokio(row("select_2", 1).corde(corde::select_2), tokio::select_2)
            .peer("may", || may::select_2(1))
            .go()
            .peer("crossbeam", threads::select_2),
        with_tokio(row("select_8", 1).corde(corde::select_8), tokio::select_8)
            .peer("may", || may::select_8(1))
            .go()
            .peer("crossbeam", threads::select_8),
    ]
}

fn mutex() -> [Row; 3] {
    let with_tokio =
        |row, workers, measure: fn(Runtime) -> Sampler| with_tokio(row, workers, measure);
    [
        with_tokio(row("mutex", 1).corde(corde::mutex), 1, tokio::mutex)
            .peer("may", || may::mutex(1))
            .go()
            .peer("std", threads::mutex),
        with_tokio(
            row("mutex_64_yield", 1).corde(corde::mutex_yield),
            1,
            tokio::mutex_yield,
        )
        .peer("may", || may::mutex_yield(1))
        .go(),
        with_tokio(
            row("mutex_64", 2).corde(corde::mutex_shared),
            2,
            tokio::mutex_shared,
        )
        .peer("may", || may::mutex_shared(2))
        .go()
        .peer("std", threads::mutex_shared),
    ]
}
