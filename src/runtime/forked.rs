//! Noticing that the process is a fork: only the OS thread that has forked lives on in it, without workers.
//!
//! A child that goes on to `exec` never meets this. One that does not finds no worker on its only OS thread, takes the ways of a plain OS
//! thread, and panics there instead of waiting for ever.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use super::worker;

static FORKED: AtomicBool = AtomicBool::new(false);

/// Has forks noticed from now on.
pub(super) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler stores to an atomic and a thread-local that has no destructor, which is async-signal-safe.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
    worker::forget();
}

/// Returns whether this is the child of a fork, made after a runtime had started.
#[inline]
pub(crate) fn is_fork() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Panics in the child of a fork.
///
/// # Panics
/// If the process was forked after a runtime had started.
#[inline]
pub(super) fn check() {
    if is_fork() {
        forked();
    }
}

#[cold]
#[inline(never)]
fn forked() -> ! {
    panic!(
        "corde was used in the child of a fork: its workers live in the parent only (fork before corde starts, or exec in the child)"
    );
}
