//! Where a green thread leaves its result for whoever joins it.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Result;
use crate::report;
use crate::runtime::park::{self, Waiter};

/// One result, from one green thread to one joiner.
pub(super) struct Packet<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    /// The green thread has not ended; this one waits for it.
    Running(Option<Waiter>),
    Done(Result<T>),
    Taken,
}

impl<T> Packet<T> {
    pub(super) fn new() -> Packet<T> {
        Packet {
            state: Mutex::new(State::Running(None)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the result and wakes the joiner.
    pub(super) fn complete(&self, result: Result<T>) {
        let before = mem::replace(&mut *self.state(), State::Done(result));
        if let State::Running(Some(joiner)) = before {
            joiner.wake();
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        !matches!(*self.state(), State::Running(_))
    }

    /// Waits for the result. Only one thread does so, and once.
    pub(super) fn take(&self) -> Result<T> {
        loop {
            let mut state = self.state();
            match mem::replace(&mut *state, State::Taken) {
                State::Done(result) => return result,
                // The joiner is the same on each round.
                State::Running(_) => *state = State::Running(Some(Waiter::current())),
                State::Taken => unreachable!("a result is taken once"),
            }
            drop(state);
            park::park();
        }
    }
}

impl<T> Drop for Packet<T> {
    /// Drops a result that nobody took. Like std, does not let a panic of its destructor out: there is nobody to tell.
    fn drop(&mut self) {
        let state = mem::replace(
            self.state.get_mut().unwrap_or_else(PoisonError::into_inner),
            State::Taken,
        );
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(state))) {
            forget(payload);
            report::line(format_args!(
                "the result of a green thread panicked when it was dropped, aborting"
            ));
            abort();
        }
    }
}

/// A payload's own destructor may panic as well.
fn forget(payload: Box<dyn Any + Send>) {
    mem::forget(payload);
}
