//! Time, with the names of [`std::time`] and of Tokio where std has none.

mod interval;

use std::fmt;
use std::io;

pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use std::time::{Duration, Instant, SystemTime, SystemTimeError, UNIX_EPOCH};

use crate::runtime::interrupt;

pub use crate::thread::sleep;

/// Runs `f`, which has `duration` to end: any wait inside of it that would last longer ends by unwinding out of `f`.
///
/// The limit holds for every wait of the calling thread in `f`, however deep: reads, locks, joins, sleeps. Of nested ones the earliest
/// strikes. Destructors run, no panic is reported. A wait that has its answer returns it, though the time may be over; a
/// computation that does not wait is not ended. Green threads that `f` spawns are not concerned.
///
/// In [`without_cancel`](crate::thread::without_cancel) a limit from outside does not strike.
///
/// Do not suspend a [coroutine](crate::coroutine) of your own inside of `f` out of it: its limit stays in force for the thread, and strikes whoever waits
/// there next.
///
/// # Errors
///
/// [`Elapsed`], if `f` was ended.
///
/// # Panics
///
/// With the panic of `f`. In a program built with `panic = "abort"` the process ends when the limit strikes.
///
/// # Examples
///
/// ```
/// use corde::time::{Duration, timeout};
/// use corde::thread;
///
/// let never = timeout(Duration::from_millis(5), || loop { thread::park() });
/// assert!(never.is_err());
/// assert_eq!(timeout(Duration::from_secs(60), || 7).unwrap(), 7);
/// ```
pub fn timeout<F, T>(duration: Duration, f: F) -> Result<T, Elapsed>
where
    F: FnOnce() -> T,
{
    let now = Instant::now();
    match now.checked_add(duration) {
        Some(deadline) => interrupt::limited(deadline, Some(now), f).ok_or(Elapsed::new()),
        None => Ok(f()),
    }
}

/// Like [`timeout`], with the time at which it ends.
///
/// # Errors
///
/// [`Elapsed`], if `f` was ended.
///
/// # Panics
///
/// As [`timeout`].
///
/// # Examples
///
/// ```
/// use corde::time::{Duration, Instant, sleep, timeout_at};
///
/// let deadline = Instant::now() + Duration::from_millis(5);
/// assert!(timeout_at(deadline, || sleep(Duration::from_secs(60))).is_err());
/// ```
pub fn timeout_at<F, T>(deadline: Instant, f: F) -> Result<T, Elapsed>
where
    F: FnOnce() -> T,
{
    interrupt::limited(deadline, None, f).ok_or(Elapsed::new())
}

/// The time of a [`timeout`] was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    _private: (),
}

impl Elapsed {
    fn new() -> Elapsed {
        Elapsed { _private: () }
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was over")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Blocks the calling thread until `deadline`; as [`std::thread::sleep_until`].
///
/// # Examples
///
/// ```
/// use corde::time::{Duration, Instant, sleep_until};
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// sleep_until(deadline);
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    crate::thread::sleep_until(deadline);
}
