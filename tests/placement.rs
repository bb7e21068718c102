//! Where green threads get to live: they stay where they begin, so that has to be spread.
#![cfg(feature = "runtime")]

use std::collections::HashMap;

use corde::go;
use corde::runtime::Runtime;
use corde::thread;
use rstest::rstest;

/// Spawns `count` green threads from one, each of which then parks; returns how many each worker got.
fn spread(runtime: &Runtime, count: usize) -> Vec<usize> {
    runtime.block_on(|| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                let spawned = go!(|| {
                    let worker = std::thread::current().id();
                    thread::park();
                    worker
                });
                // As an accept loop does, which waits for the next connection.
                thread::yield_now();
                spawned
            })
            .collect();
        threads.iter().for_each(|it| it.thread().unpark());
        let mut shares = HashMap::new();
        for thread in threads {
            *shares.entry(thread.join().unwrap()).or_insert(0) += 1;
        }
        shares.into_values().collect()
    })
}

#[rstest]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn one_spawner_spreads_its_green_threads_over_all_workers(#[case] workers: usize) {
    let runtime = Runtime::builder().workers(workers).build().unwrap();
    let count = 300 * workers;
    let shares = spread(&runtime, count);
    assert_eq!(shares.len(), workers);
    let most = shares.iter().max().unwrap();
    // All on one would be `workers` times the even share.
    assert!(*most < 3 * count / workers / 2, "{shares:?}");
}
