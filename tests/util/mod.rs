//! What several test programs share.
#![allow(dead_code, reason = "each test program uses its part")]

use std::time::Duration;

pub(crate) mod child;
pub(crate) mod example;
#[cfg(target_os = "linux")]
pub(crate) mod fds;
#[cfg(feature = "runtime")]
pub(crate) mod net;
pub(crate) mod place;
pub(crate) mod program;
pub(crate) mod random;
#[cfg(feature = "runtime")]
pub(crate) mod threads;
#[cfg(feature = "runtime")]
pub(crate) mod unix;
pub(crate) mod unwinding;
#[cfg(feature = "runtime")]
pub(crate) mod waiting;

/// After this a test is taken for hung and fails. It decides no test that passes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The full name of a test, which a case makes longer.
pub(crate) fn full_name(context: &rstest::Context) -> String {
    match (context.case, context.description) {
        (Some(case), Some(description)) => {
            // Counted from 0 here, from 1 in the name.
            format!("{}::case_{}_{description}", context.name, case + 1)
        }
        _ => context.name.to_owned(),
    }
}

/// Runs `body` in a process whose runtime has this many workers, and checks that it ends well.
#[track_caller]
pub(crate) fn with_workers(workers: usize, context: &rstest::Context, body: impl FnOnce()) {
    let environment = [("CORDE_WORKERS", &*workers.to_string())];
    child::run(&full_name(context), &environment, body).assert_success();
}

/// Whether a sanitizer has its code in every function, which makes frames larger.
pub(crate) const SANITIZED: bool = cfg!(any(feature = "asan", feature = "tsan"));

/// How many coroutines, green threads or stacks a test makes that wants `many` of them.
///
/// They are fewer under the instruments. ThreadSanitizer takes two mappings for each stack in use, and the usual limit is 65,530; the
/// leak checker of AddressSanitizer is slow with many; Valgrind goes through a list of all stacks whenever one is switched to.
pub(crate) fn scaled(many: usize) -> usize {
    if child::under_valgrind() {
        many.min(2_000)
    } else if SANITIZED {
        many.min(20_000)
    } else {
        many
    }
}

/// Tells whether Valgrind runs this program, for a test that cannot pass there: says why it is left out. (What a sanitizer is
/// no match for is ignored by an attribute, as sanitizers are chosen by a feature.)
pub(crate) fn left_out_under_valgrind(why: &str) -> bool {
    let left_out = child::under_valgrind();
    if left_out {
        eprintln!("left out under Valgrind: {why}");
    }
    left_out
}

/// Tells whether an emulator runs this program, for a test that cannot pass there: says why it is left out.
pub(crate) fn left_out_in_an_emulator(why: &str) -> bool {
    let left_out = child::runner().contains("qemu");
    if left_out {
        eprintln!("left out in the emulator: {why}");
    }
    left_out
}

/// Why a test is left out that has the system refuse memory: the limit would be the emulator's own.
pub(crate) const NO_LIMIT_ON_MEMORY: &str = "it takes limits on memory, and does nothing";

/// How often stress tests repeat their rounds: `CORDE_STRESS` times what is quick.
pub(crate) fn stress() -> u64 {
    match std::env::var("CORDE_STRESS") {
        Ok(factor) => factor.parse().expect("CORDE_STRESS is a number"),
        Err(_) => 1,
    }
}
