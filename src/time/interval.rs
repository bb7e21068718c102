//! Ticks at equal distances.

use super::{Duration, Instant, sleep_until};

/// Makes an [`Interval`] whose first tick is now; as Tokio's.
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use corde::time::{Duration, Instant, interval};
///
/// let start = Instant::now();
/// let mut beat = interval(Duration::from_millis(2));
/// for _ in 0..4 {
///     beat.tick();
/// }
/// assert!(start.elapsed() >= Duration::from_millis(6));
/// ```
#[must_use]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Makes an [`Interval`] whose first tick is at `start`; as Tokio's.
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use corde::time::{Duration, Instant, interval_at};
///
/// let start = Instant::now() + Duration::from_millis(3);
/// assert_eq!(interval_at(start, Duration::from_millis(1)).tick(), start);
/// ```
#[must_use]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "the period of an interval is zero");
    Interval {
        next: start,
        period,
        missed: MissedTickBehavior::default(),
    }
}

/// Ticks at equal distances; see [`interval`].
#[derive(Debug)]
pub struct Interval {
    next: Instant,
    period: Duration,
    missed: MissedTickBehavior,
}

/// What an [`Interval`] does when a tick was asked for so late that later ones were due already; as Tokio's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Ticks as fast as they are asked for, until it has caught up.
    #[default]
    Burst,
    /// Counts the period from the late tick on.
    Delay,
    /// Leaves out what was missed, and goes on at the next multiple of the period.
    Skip,
}

impl Interval {
    /// Waits for the next tick, suspending the calling green thread; returns when it was due.
    ///
    /// A tick whose wait is interrupted (by a cancellation, or a timeout around it) is not lost: the next call waits for it again.
    pub fn tick(&mut self) -> Instant {
        let due = self.next;
        sleep_until(due);
        self.next = self.after(due, Instant::now());
        due
    }

    /// When the tick after the one at `due` is, which was seen at `now`.
    fn after(&self, due: Instant, now: Instant) -> Instant {
        let regular = due + self.period;
        if now < regular {
            return regular;
        }
        match self.missed {
            MissedTickBehavior::Burst => regular,
            MissedTickBehavior::Delay => now + self.period,
            MissedTickBehavior::Skip => {
                let late = now.duration_since(due).as_nanos() % self.period.as_nanos();
                let rest = self.period.as_nanos() - late;
                // At most a period, which is a Duration.
                now + Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))
            }
        }
    }

    /// Makes the next tick come a period from now.
    pub fn reset(&mut self) {
        self.next = Instant::now() + self.period;
    }

    /// Returns the period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns what it does about missed ticks.
    #[must_use]
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets what it does about missed ticks.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::time::{Duration, Instant, MissedTickBehavior, interval_at};
    ///
    /// let start = Instant::now() - Duration::from_millis(2500);
    /// let mut seconds = interval_at(start, Duration::from_secs(1));
    /// seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    /// assert_eq!(seconds.tick(), start);
    /// // Those after one and two seconds are left out.
    /// assert_eq!(seconds.tick(), start + Duration::from_secs(3));
    /// ```
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::in_time(MissedTickBehavior::Burst, 0, 10)]
    #[case::burst(MissedTickBehavior::Burst, 25, 10)]
    #[case::delay(MissedTickBehavior::Delay, 25, 35)]
    #[case::skip(MissedTickBehavior::Skip, 25, 30)]
    #[case::skip_just_due(MissedTickBehavior::Skip, 10, 20)]
    #[case::delay_in_time(MissedTickBehavior::Delay, 9, 10)]
    fn the_next_tick_is_where_the_behavior_says(
        #[case] missed: MissedTickBehavior,
        #[case] late: u64,
        #[case] next: u64,
    ) {
        let due = Instant::now();
        let at = |milliseconds| due + Duration::from_millis(milliseconds);
        let interval = Interval {
            next: due,
            period: Duration::from_millis(10),
            missed,
        };
        assert_eq!(interval.after(due, at(late)), at(next));
    }
}
