//! A meeting point.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::runtime::lock::Lock;
use crate::runtime::wait_list::{self, End, WaitList};
use crate::runtime::worker;

/// Lets threads wait until a certain number of them have come; as [`std::sync::Barrier`], but waiting suspends a green thread.
///
/// Then it begins anew.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use corde::sync::Barrier;
/// use corde::thread;
///
/// let (prepared, barrier) = (AtomicUsize::new(0), Barrier::new(10));
/// thread::scope(|scope| {
///     for _ in 0..10 {
///         scope.spawn(|| {
///             prepared.fetch_add(1, Ordering::Relaxed);
///             barrier.wait();
///             assert_eq!(prepared.load(Ordering::Relaxed), 10);
///         });
///     }
/// });
/// ```
pub struct Barrier {
    meeting: Lock<Meeting>,
    needed: usize,
}

struct Meeting {
    /// With the number of the meeting that they wait for.
    waiting: WaitList<u64>,
    arrived: usize,
    number: u64,
}

impl Meeting {
    fn waiting(&mut self) -> &mut WaitList<u64> {
        &mut self.waiting
    }
}

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

/// Whether a thread was the one that all others have waited for: what [`Barrier::wait`] returns; as [`std::sync::BarrierWaitResult`].
///
/// # Examples
///
/// ```
/// let result = corde::sync::Barrier::new(1).wait();
/// assert!(result.is_leader());
/// ```
pub struct BarrierWaitResult(bool);

impl Barrier {
    /// Makes one for `n` threads. With 0 nobody waits, as with 1.
    ///
    /// # Examples
    ///
    /// ```
    /// static START: corde::sync::Barrier = corde::sync::Barrier::new(1);
    /// START.wait();
    /// ```
    #[must_use]
    #[inline]
    pub const fn new(n: usize) -> Barrier {
        Barrier {
            meeting: Lock::new(Meeting {
                waiting: WaitList::new(),
                arrived: 0,
                number: 0,
            }),
            needed: n,
        }
    }

    /// Waits until all have come. The last one to come does not wait, and is the leader.
    ///
    /// # Cancellation
    ///
    /// Who is interrupted while it waits counts as not having come.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Barrier;
    /// use corde::thread;
    ///
    /// let barrier = Barrier::new(2);
    /// thread::scope(|scope| {
    ///     let other = scope.spawn(|| barrier.wait().is_leader());
    ///     assert_ne!(barrier.wait().is_leader(), other.join().unwrap());
    /// });
    /// ```
    pub fn wait(&self) -> BarrierWaitResult {
        // It may be the leader time and again.
        worker::spend();
        let mut meeting = self.meeting.lock();
        let number = meeting.number;
        meeting.arrived += 1;
        if meeting.arrived < self.needed {
            let waited = wait_list::wait(meeting, Meeting::waiting, End::Last, number, None);
            if let Err((left, _, mut meeting)) = waited {
                // Unless they have met, and its turn to be told so was to come.
                if meeting.number == number {
                    meeting.arrived -= 1;
                    meeting.unlock();
                    left.strike();
                }
            }
            return BarrierWaitResult(false);
        }
        meeting.arrived = 0;
        meeting.number += 1;
        // Those who come back meanwhile wait for the next one.
        wait_list::grant_all(meeting, |meeting| {
            meeting
                .waiting
                .first_mut()
                .filter(|theirs| **theirs == number)?;
            meeting.waiting.grant_first(|_| {}).map(|(_, wake)| wake)
        });
        BarrierWaitResult(true)
    }
}

impl BarrierWaitResult {
    /// Returns whether it was the last one to come: one of all that have met.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Barrier;
    ///
    /// if Barrier::new(1).wait().is_leader() {
    ///     println!("all are here");
    /// }
    /// ```
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.is_leader())
            .finish()
    }
}
