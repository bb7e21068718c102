//! Helpers for tests in which a thread waits until something, or nothing, ends that.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use corde::thread::{self, Cancelled};

use super::threads::{Kind, wait_until};

/// Lets a thread wait, and then ends that. On one worker the wait of a green one has certainly begun by then; else there is a race.
pub(crate) fn while_waiting<T: Send + 'static>(
    kind: Kind,
    wait: impl FnOnce() -> T + Send + 'static,
    end_it: impl FnOnce(),
) -> T {
    let begun = Arc::new(AtomicBool::new(false));
    let theirs = begun.clone();
    let waiting = kind.spawn(move || {
        theirs.store(true, Ordering::Relaxed);
        wait()
    });
    wait_until(|| begun.load(Ordering::Relaxed));
    end_it();
    waiting.join()
}

/// Cancels a green thread while it waits, and checks that this ends it.
#[track_caller]
pub(crate) fn assert_cancelled_while_waiting<T: Send + 'static>(
    wait: impl FnOnce() -> T + Send + 'static,
) {
    let begun = Arc::new(AtomicBool::new(false));
    let theirs = begun.clone();
    let waiting = thread::spawn(move || {
        theirs.store(true, Ordering::Relaxed);
        wait();
    });
    wait_until(|| begun.load(Ordering::Relaxed));
    waiting.cancel();
    let payload: Box<dyn Any + Send> = waiting.join().expect_err("it was cancelled");
    assert!(payload.is::<Cancelled>());
}
