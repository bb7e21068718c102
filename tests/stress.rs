//! Random programs of green threads, pinned and migratable ones, that spawn, wait for, wake, time out and cancel each other: each ends, with what it should.
//!
//! `CORDE_STRESS` makes it longer; `.ci/stress` runs it with `--cfg corde_chaos`, which disturbs the scheduler, and other seeds.
#![cfg(feature = "runtime")]

mod util;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corde::runtime::Runtime;
use corde::thread::{self, Builder, Cancelled, JoinHandle};
use corde::time::timeout;
use rstest::rstest;
use util::random::Xorshift;
use util::stress;

/// Counts itself while it lives: destructors have to run, however a green thread ends.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Alive {
        count.fetch_add(1, Ordering::Relaxed);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does random things, `depth` generations deep; returns how many green threads have run to their end in it, itself included.
fn program(mut random: Xorshift, depth: u32, count: Arc<AtomicUsize>) -> u64 {
    let _alive = Alive::new(&count);
    let mut ended = 1;
    for _ in 0..random.next() % 6 {
        match random.next() % 8 {
            0 | 1 => thread::yield_now(),
            2 => thread::park_timeout(Duration::from_micros(random.next() % 200)),
            3 => thread::sleep(Duration::from_micros(random.next() % 200)),
            4 if depth > 0 => ended += child(&mut random, depth, &count).join().unwrap(),
            5 if depth > 0 => ended += family(&mut random, depth, &count),
            6 if depth > 0 => cancelled(&mut random, depth, &count),
            _ => timed_out(&mut random),
        }
    }
    ended
}

fn child(random: &mut Xorshift, depth: u32, count: &Arc<AtomicUsize>) -> JoinHandle<u64> {
    let migratable = random.next() % 2 == 0;
    let (seed, count) = (Xorshift(random.next() | 1), count.clone());
    // SAFETY: numbers, handles and counters are all that is in the frames of these programs.
    let builder = unsafe { Builder::new().migratable(migratable) };
    builder
        .spawn(move || program(seed, depth - 1, count))
        .unwrap()
}

/// Several at once, joined in another order.
fn family(random: &mut Xorshift, depth: u32, count: &Arc<AtomicUsize>) -> u64 {
    let mut children: Vec<_> = (0..random.next() % 8)
        .map(|_| child(random, depth, count))
        .collect();
    let mut ended = 0;
    while !children.is_empty() {
        let next = random.next() as usize % children.len();
        ended += children.swap_remove(next).join().unwrap();
    }
    ended
}

/// One that never ends by itself, and is woken and cancelled while it begins, runs or waits.
fn cancelled(random: &mut Xorshift, depth: u32, count: &Arc<AtomicUsize>) {
    let theirs = count.clone();
    let mut seed = Xorshift(random.next() | 1);
    // SAFETY: as in `child`.
    let builder = unsafe { Builder::new().migratable(random.next() % 2 == 0) };
    let endless = builder.spawn(move || {
        let _alive = Alive::new(&theirs);
        loop {
            match seed.next() % 4 {
                0 => thread::park(),
                1 => thread::sleep(Duration::from_secs(60)),
                2 => timed_out(&mut seed),
                _ => drop(child(&mut seed, depth.min(1), &theirs).join()),
            }
        }
    });
    let endless = endless.unwrap();
    for _ in 0..random.next() % 3 {
        endless.thread().unpark();
        thread::yield_now();
    }
    endless.cancel();
    assert!(endless.join().unwrap_err().is::<Cancelled>());
}

/// A wait that is too long, inside of one that is not.
fn timed_out(random: &mut Xorshift) {
    let short = Duration::from_micros(random.next() % 300);
    let long = Duration::from_secs(60);
    let outcome = timeout(long, || timeout(short, || thread::sleep(long)));
    assert!(outcome.expect("the long one is not over").is_err());
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn random_programs_end_with_what_they_should(#[case] workers: usize) {
    let seed = std::env::var("CORDE_CHAOS").map_or(7, |seed| seed.parse().unwrap());
    for round in 0..6 * stress() {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let mut random = Xorshift(seed * 1_000_003 + round * 97 + workers as u64);
        let programs: Vec<_> = (0..60)
            .map(|_| {
                let (seed, count) = (Xorshift(random.next() | 1), count.clone());
                runtime.spawn(move || program(seed, 4, count))
            })
            .collect();
        for program in programs {
            assert!(program.join().unwrap() > 0);
        }
        let report = runtime.shutdown(util::LIMIT);
        assert!(report.left().is_empty(), "{report:?}");
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}
