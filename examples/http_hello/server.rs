//! Accepting connections, bounding them, and ending them in good order.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corde::go;
use corde::net::{Shutdown, TcpListener, TcpStream};
use corde::sync::Semaphore;
use corde::thread::{self, CancelToken};
use corde::time::timeout;

use crate::connection::Connection;

/// How long the server pauses when it cannot accept, as a rule for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What is read of a connection after its last answer, and for how long.
const MAX_LEFTOVER: u64 = 1024 * 1024;
const MAX_LINGER: Duration = Duration::from_secs(5);

/// What clients may take of the server.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections at a time. Further ones wait to be accepted.
    pub(crate) connections: u32,
    /// The longest body of a request, in bytes.
    pub(crate) body: usize,
    /// How long the head of a request may be under way, once it has begun.
    pub(crate) head_time: Duration,
    /// How long the body may be under way.
    pub(crate) body_time: Duration,
    /// How long a connection may be open without a request.
    pub(crate) idle_time: Duration,
    /// How long a client may take to receive some more of an answer.
    pub(crate) write_time: Duration,
    /// How long a stop waits for requests in flight.
    pub(crate) stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            body: 1024 * 1024,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            write_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(10),
        }
    }
}

/// What a server has done.
#[derive(Debug, Default)]
pub(crate) struct Served {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [connections, requests] =
            [&self.connections, &self.requests].map(|count| count.load(Ordering::Relaxed));
        write!(f, "served {connections} connections, {requests} requests")
    }
}

/// Serves until `stop` is cancelled; then takes in no further connections, ends those that have no request in flight, waits for the others, for
/// a while, and cancels what is left.
pub(crate) fn serve(listener: TcpListener, limits: &Limits, stop: &CancelToken) -> Served {
    let served = Served::default();
    let places = Semaphore::new(limits.connections as usize);
    let abort = CancelToken::new();
    // Left when all connections have ended.
    thread::scope(|scope| {
        stop.run_until_cancelled(|| {
            // It is asked for as well, as nothing waits while clients come faster than they are accepted.
            while !stop.is_cancelled() {
                let place = places.acquire().expect("nobody closes the semaphore");
                let Some(stream) = accept(&listener) else {
                    continue;
                };
                served.connections.fetch_add(1, Ordering::Relaxed);
                let (served, abort) = (&served, &abort);
                go!(scope, move || {
                    let _place = place;
                    let mut connection = Connection::new(&stream, limits, stop.child_token());
                    // An error on a connection, such as a reset, concerns nobody else.
                    let _ = abort.run_until_cancelled(|| serve_one(&stream, &mut connection));
                    served
                        .requests
                        .fetch_add(connection.requests(), Ordering::Relaxed);
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

/// Serves a connection to its end.
fn serve_one(stream: &TcpStream, connection: &mut Connection<'_, &TcpStream>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !connection.serve()? {
        return Ok(());
    }
    // To close it while there is unread input would reset it, and the last answer with it.
    stream.shutdown(Shutdown::Write)?;
    let mut leftover = stream.take(MAX_LEFTOVER);
    timeout(MAX_LINGER, || io::copy(&mut leftover, &mut io::sink()))??;
    Ok(())
}
