//! Accepting connections, bounding them, and ending them in good order.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corde::go;
use corde::net::{TcpListener, TcpStream};
use corde::sync::Semaphore;
use corde::thread::{self, CancelToken};
use corde::time::interval;

use crate::commands::Database;
use crate::connection::Connection;

/// How long the server pauses when it cannot accept, as a rule for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How often is looked for what has expired.
const SWEEP: Duration = Duration::from_millis(100);

/// What clients may take of the server.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections at a time. Further ones are told so.
    pub(crate) connections: u32,
    /// How long a client may take to receive some more of its replies.
    pub(crate) write_time: Duration,
    /// How long a stop waits for connections to end.
    pub(crate) stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            write_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(10),
        }
    }
}

/// What a server has done.
#[derive(Debug, Default)]
pub(crate) struct Served {
    connections: AtomicU64,
    commands: AtomicU64,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [connections, commands] =
            [&self.connections, &self.commands].map(|count| count.load(Ordering::Relaxed));
        write!(f, "served {connections} connections, {commands} commands")
    }
}

/// Serves until `stop` is cancelled; then takes in no further connections, ends the others once they have their replies, for which it waits for a
/// while, and cancels what is left.
pub(crate) fn serve(listener: TcpListener, limits: &Limits, stop: &CancelToken) -> Served {
    let database = Database::default();
    let served = Served::default();
    let places = Semaphore::new(limits.connections as usize);
    let abort = CancelToken::new();
    // Left when all green threads in it have ended.
    thread::scope(|scope| {
        go!(scope, || {
            let mut ticks = interval(SWEEP);
            stop.run_until_cancelled(|| {
                loop {
                    ticks.tick();
                    database.sweep();
                }
            });
        });
        stop.run_until_cancelled(|| {
            // It is asked for as well, as nothing waits while clients come faster than they are accepted.
            while !stop.is_cancelled() {
                let Some(stream) = accept(&listener) else {
                    continue;
                };
                let Ok(place) = places.try_acquire() else {
                    refuse(&stream);
                    continue;
                };
                served.connections.fetch_add(1, Ordering::Relaxed);
                let (database, served, abort) = (&database, &served, &abort);
                go!(scope, move || {
                    let _place = place;
                    let stop = stop.child_token();
                    let mut connection = Connection::new(&stream, database, limits.write_time);
                    // An error on a connection, such as a reset, concerns nobody else.
                    let _ = abort.run_until_cancelled(|| {
                        stream.set_nodelay(true)?;
                        connection.serve(&stop)
                    });
                    served
                        .commands
                        .fetch_add(connection.commands(), Ordering::Relaxed);
                });
            }
        });
        drop(listener);
        if places
            .acquire_many_timeout(limits.connections, limits.stop_time)
            .is_err()
        {
            abort.cancel();
        }
    });
    served
}

/// Accepts a connection; none, after a pause, if that fails.
fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept() {
        Ok((stream, _)) => Some(stream),
        // That client has not waited. There may be others.
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => None,
        Err(error) => {
            eprintln!("cannot accept: {error}");
            thread::sleep(PAUSE);
            None
        }
    }
}

/// Tells a client that there is no room for it. A new connection always takes so few bytes.
fn refuse(mut stream: &TcpStream) {
    let refused: io::Result<()> = stream.write_all(b"-ERR max number of clients reached\r\n");
    // It fails if the client has gone.
    drop(refused);
}
