//! Panics of green threads: whose they were, and what comes of one that nobody hears of.
//!
//! std's message names the OS thread, which is a worker. So a hook in front of the program's own says which green thread it was.
//!
//! A panic goes to whoever joins the green thread. Whether anybody will is known when the last handle goes: it takes the result with it.
//! Such a result is an [`Unhandled`], whose end, unless it is taken, is where the policy acts.

use std::any::Any;
use std::panic;
use std::process::abort;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::interrupt::Cancelled;
use super::task::Task;
use super::{CLOSING, Shared, worker};
use crate::report;

/// What happens when a green thread has panicked and nobody takes the result: see
/// [`Builder::on_unhandled_panic`](super::Builder::on_unhandled_panic).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// No more than the message that every panic writes.
    #[default]
    Report,
    /// The runtime begins to [shut down](super::Runtime::shutdown): its green threads are cancelled, fresh ones do not begin.
    Shutdown,
    /// The process is aborted.
    Abort,
}

/// Has panic messages of green threads say whose they are, from now on.
pub(super) fn name_green_threads() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // A thread that panics may not touch the hook: then the next runtime to start does it.
    if thread::panicking() || DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |information| {
        if let Some((_, task)) = worker::current_green() {
            report::line(format_args!("{} panicked:", describe(task)));
        }
        previous(information);
    }));
}

fn describe(task: &Task) -> String {
    let name = task.name().unwrap_or("<unnamed>");
    format!("green thread '{name}' (id {})", task.id.as_u64())
}

/// The payload of a panic in a runtime that wants to know if nobody takes it.
pub(super) struct Unhandled {
    /// None when it was taken.
    payload: Option<Box<dyn Any + Send>>,
    policy: PanicPolicy,
    /// Of which this is a use.
    shared: &'static Shared,
    who: String,
}

impl Unhandled {
    /// Wraps what the body of `task`, which ran on a worker, has unwound with; returns it as it is if its end concerns nobody.
    #[cold]
    pub(super) fn new(
        task: &Task,
        payload: Box<dyn Any + Send>,
    ) -> Result<Box<Unhandled>, Box<dyn Any + Send>> {
        // SAFETY: it has not ended.
        let shared = unsafe { task.shared() };
        let policy = shared.panic_policy;
        if policy == PanicPolicy::Report || payload.is::<Cancelled>() {
            return Err(payload);
        }
        // The worker, which runs, has got a use.
        shared.retain();
        Ok(Box::new(Unhandled {
            payload: Some(payload),
            policy,
            shared,
            who: describe(task),
        }))
    }

    /// Hands the payload to somebody.
    pub(super) fn take(mut self) -> Box<dyn Any + Send> {
        match self.payload.take() {
            Some(payload) => payload,
            None => unreachable!("only this takes it, and uses `self` up"),
        }
    }
}

impl Drop for Unhandled {
    fn drop(&mut self) {
        if self.payload.is_some() {
            match self.policy {
                PanicPolicy::Report => {}
                PanicPolicy::Shutdown => {
                    report::line(format_args!(
                        "{} panicked and nobody joins it, shutting its runtime down",
                        self.who
                    ));
                    self.shared.advance(CLOSING);
                }
                PanicPolicy::Abort => {
                    report::line(format_args!(
                        "{} panicked and nobody joins it, aborting",
                        self.who
                    ));
                    abort();
                }
            }
        }
        // SAFETY: the use that `new` has added; what is dropped after this does not know the runtime.
        unsafe { self.shared.release() };
    }
}
