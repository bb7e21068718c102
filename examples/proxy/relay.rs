//! Passing bytes on between two connections, in both directions at once.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corde::net::{Shutdown, TcpStream};
use corde::time::timeout_at;
use corde::try_join;

/// How much is taken over at once: what a socket has when both sides are busy.
const BUFFER: usize = 16 * 1024;

/// How many bytes have been passed on in each direction.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

impl Counts {
    pub(crate) fn get(&self) -> (u64, u64) {
        (
            self.up.load(Ordering::Relaxed),
            self.down.load(Ordering::Relaxed),
        )
    }
}

/// Passes on what comes from either side until both have ended theirs. It fails if nothing has come for `idle`.
///
/// The end of one direction leaves the other as it is: a client may close its side, and still be answered. An error in one ends both.
pub(crate) fn relay(
    client: &TcpStream,
    server: &TcpStream,
    idle: Duration,
    counts: &Counts,
) -> io::Result<()> {
    let activity = Activity::new(idle);
    try_join!(|| copy(client, server, &counts.up, &activity), || copy(
        server,
        client,
        &counts.down,
        &activity
    ))?;
    Ok(())
}

/// Passes on one direction, to its end.
fn copy(
    mut from: &TcpStream,
    mut to: &TcpStream,
    count: &AtomicU64,
    activity: &Activity,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = activity.of(|| from.read(&mut buffer))?;
        if length == 0 {
            // It fails if that side has gone, which the other direction will find out.
            let _ = to.shutdown(Shutdown::Write);
            return Ok(());
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let length = activity.of(|| to.write(rest))?;
            count.fetch_add(length as u64, Ordering::Relaxed);
            rest = &rest[length..];
        }
    }
}

/// When something has last been passed on, in whichever direction.
struct Activity {
    begin: Instant,
    idle: Duration,
    /// In nanoseconds from the beginning.
    last: AtomicU64,
}

impl Activity {
    fn new(idle: Duration) -> Activity {
        Activity {
            begin: Instant::now(),
            idle,
            last: AtomicU64::new(0),
        }
    }

    /// Reads or writes, unless everything is idle for too long.
    fn of(&self, mut io: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            let end = self.begin + Duration::from_nanos(last) + self.idle;
            match timeout_at(end, &mut io) {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(done) => {
                    let now = self.begin.elapsed().as_nanos() as u64;
                    self.last.store(now, Ordering::Relaxed);
                    return done;
                }
                Err(elapsed) if self.last.load(Ordering::Relaxed) == last => {
                    return Err(elapsed.into());
                }
                // The other direction has not been idle.
                Err(_) => {}
            }
        }
    }
}
