//! A million coroutines at once, with the mappings that a process may have by default. Takes 4.5 GB: see `.ci/million`.
#![cfg(target_os = "linux")]

use std::fs;

use corde::coroutine::{Coroutine, CoroutineResult, Yielder};
use corde::stack::stats;

const MILLION: usize = 1_000_000;

/// A figure of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

fn memory() -> usize {
    status("VmRSS:") + status("VmPTE:")
}

#[test]
#[ignore = "takes 4.5 GB and, unoptimised, half a minute"]
fn a_million_guarded_coroutines_are_suspended_at_once() {
    let before = memory();
    let echo = |yielder: &Yielder<usize, usize>, mut word| {
        loop {
            word = yielder.suspend(word);
        }
    };
    let mut coroutines: Vec<Coroutine<usize, usize, ()>> = (0..MILLION)
        .map(|number| {
            let mut coroutine = Coroutine::new(echo).unwrap();
            assert_eq!(coroutine.resume(number), CoroutineResult::Yield(number));
            coroutine
        })
        .collect();
    assert!(stats().made >= MILLION);
    let mappings = fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count();
    assert!(mappings < 1_000, "{mappings}");
    let each = (memory() - before) as f64 / MILLION as f64;
    assert!(each < 4.4 * 1024.0, "{each} bytes each");
    for (number, coroutine) in coroutines.iter_mut().enumerate() {
        assert_eq!(coroutine.resume(!number), CoroutineResult::Yield(!number));
    }
    println!("{each:.0} bytes each, in {mappings} mappings");
}
