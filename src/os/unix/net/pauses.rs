//! Trying again after a pause: for what the system reports no readiness of. Where that is so: the page of `os::unix::net`.

use std::io;
use std::time::{Duration, Instant};

use crate::runtime::worker;
use crate::thread;

/// The first pause. An accept loop that runs has taken a connection by then.
const SHORTEST: Duration = Duration::from_micros(100);

/// 50 attempts a second for each thread that waits for a server that hangs.
const LONGEST: Duration = Duration::from_millis(20);

/// Runs `attempt` until it does not answer that it would block, at least once, until `deadline` at most; with pauses.
///
/// # Errors
/// Those of `attempt`, among them the last [`WouldBlock`](io::ErrorKind::WouldBlock), if it takes too long.
pub(super) fn retry<R>(
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> io::Result<R>,
) -> io::Result<R> {
    worker::spend();
    let mut pause = SHORTEST;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.map(|it| it.saturating_duration_since(Instant::now()));
                if left == Some(Duration::ZERO) {
                    return Err(error);
                }
                thread::sleep(left.map_or(pause, |left| left.min(pause)));
                pause = (pause * 2).min(LONGEST);
            }
            done => return done,
        }
    }
}
