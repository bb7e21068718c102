//! Where green threads get to live: they stay where they begin, so that has to be spread.
#![cfg(feature = "runtime")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corde::go;
use corde::runtime::Runtime;
use corde::thread;
use rstest::rstest;

/// Spawns `count` green threads from one, each of which then parks; returns how many each worker got.
fn spread(runtime: &Runtime, count: usize) -> Vec<usize> {
    runtime.block_on(|| {
        let started = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..count)
            .map(|_| {
                let started = started.clone();
                let spawned = go!(move || {
                    let worker = std::thread::current().id();
                    started.fetch_add(1, Ordering::Relaxed);
                    thread::park();
                    worker
                });
                // As an accept loop does, which waits for the next connection.
                thread::yield_now();
                spawned
            })
            .collect();
        // Nor does it ever leave its worker idle, which would then steal.
        while started.load(Ordering::Relaxed) < count {
            thread::yield_now();
        }
        threads.iter().for_each(|it| it.thread().unpark());
        let mut shares = HashMap::new();
        for thread in threads {
            *shares.entry(thread.join().unwrap()).or_insert(0) += 1;
        }
        shares.into_values().collect()
    })
}

/// How many of a hundred one worker may get at most: all, if they were not spread. With more workers than processors the system has a say, too: a
/// worker that is kept from running for a while has its fresh ones stolen. So the middle one of five rounds counts.
#[rstest]
#[case::two_workers(2, 75)]
#[case::four_workers(4, 60)]
fn one_spawner_spreads_its_green_threads(#[case] workers: usize, #[case] at_most: usize) {
    let count = 300 * workers;
    let round = || {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        let mut shares = spread(&runtime, count);
        shares.sort_unstable_by(|one, other| other.cmp(one));
        shares
    };
    let mut rounds = [(); 5].map(|()| round());
    rounds.sort();
    assert!(rounds[2][0] * 100 < at_most * count, "{rounds:?}");
}
