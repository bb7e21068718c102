//! Green threads that wait for a moment: each worker has its own, so they take no lock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cell::TaskRef;

/// The timers of one worker, by deadline; the number tells equal deadlines apart.
pub(super) struct Timers {
    pending: BTreeMap<Timer, TaskRef>,
    armed: u64,
    alarm: Option<Instant>,
}

/// A pending timer, to cancel it by.
pub(super) type Timer = (Instant, u64);

impl Timers {
    pub(super) fn new() -> Timers {
        Timers {
            pending: BTreeMap::new(),
            armed: 0,
            alarm: None,
        }
    }

    /// Has `task` woken at `deadline`.
    pub(super) fn arm(&mut self, deadline: Instant, task: TaskRef) -> Timer {
        self.armed += 1;
        let timer = (deadline, self.armed);
        self.pending.insert(timer, task);
        timer
    }

    /// Forgets a timer, whether it has fired or not.
    pub(super) fn cancel(&mut self, timer: Timer) {
        self.pending.remove(&timer);
    }

    /// Sets a time at which the worker itself has to be awake.
    pub(super) fn set_alarm(&mut self, at: Option<Instant>) {
        self.alarm = at;
    }

    /// How long until the next one is due; none, if none is pending.
    pub(super) fn until_next(&self) -> Option<Duration> {
        let next = self.pending.first_key_value().map(|(timer, _)| timer.0);
        let next = next.into_iter().chain(self.alarm).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Takes out the next task that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<TaskRef> {
        let first = self.pending.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}
