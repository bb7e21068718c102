//! Accepting connections, bounding them, and ending them in good order.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use corde::go;
use corde::net::{TcpListener, TcpStream};
use corde::sync::Semaphore;
use corde::thread::{self, CancelToken};
use corde::time::timeout;
use socket2::SockRef;

use crate::relay::{Counts, relay};

/// How long the proxy pauses when it cannot accept, as a rule for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What clients may take of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections at a time. Further ones wait to be accepted.
    pub(crate) connections: u32,
    /// How long it may take to connect to the upstream server.
    pub(crate) connect_time: Duration,
    /// How long a connection may be open without a byte in either direction.
    pub(crate) idle_time: Duration,
    /// How long a stop waits for open connections.
    pub(crate) stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 5_000,
            connect_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(300),
            stop_time: Duration::from_secs(10),
        }
    }
}

/// What has become of a connection.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) client: SocketAddr,
    /// To the upstream server, and from there.
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// None, if a stop has ended it.
    pub(crate) end: Option<io::Result<()>>,
}

impl fmt::Display for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Relayed {
            client, up, down, ..
        } = self;
        write!(f, "{client}: {up} bytes up, {down} bytes down")?;
        match &self.end {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => write!(f, ", {error}"),
            None => f.write_str(", stopped"),
        }
    }
}

/// Passes connections on to `upstream` until `stop` is cancelled; then takes in no further ones, waits for those that are open, for a while, and
/// cancels what is left. Each is reported when it has ended.
pub(crate) fn serve(
    listener: TcpListener,
    upstream: &str,
    limits: &Limits,
    stop: &CancelToken,
    report: impl Fn(Relayed) + Sync,
) {
    let places = Semaphore::new(limits.connections as usize);
    let abort = CancelToken::new();
    // Left when all connections have ended.
    thread::scope(|scope| {
        stop.run_until_cancelled(|| {
            // It is asked for as well, as nothing waits while clients come faster than they are accepted.
            while !stop.is_cancelled() {
                let place = places.acquire().expect("nobody closes the semaphore");
                let Some((stream, client)) = accept(&listener) else {
                    continue;
                };
                let (abort, report) = (&abort, &report);
                go!(scope, move || {
                    let counts = Counts::default();
                    let end =
                        abort.run_until_cancelled(|| serve_one(stream, upstream, limits, &counts));
                    // The connection is closed.
                    drop(place);
                    let (up, down) = counts.get();
                    report(Relayed {
                        client,
                        up,
                        down,
                        end,
                    });
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
}

/// Accepts a connection; none, after a pause, if that fails.
fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept() {
        Ok(connection) => Some(connection),
        // That client has not waited. There may be others.
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => None,
        Err(error) => {
            eprintln!("cannot accept: {error}");
            thread::sleep(PAUSE);
            None
        }
    }
}

fn serve_one(
    client: TcpStream,
    upstream: &str,
    limits: &Limits,
    counts: &Counts,
) -> io::Result<()> {
    reset_on_close(&client, true)?;
    let server = timeout(limits.connect_time, || TcpStream::connect(upstream))??;
    reset_on_close(&server, true)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    relay(&client, &server, limits.idle_time, counts)?;
    reset_on_close(&client, false)?;
    reset_on_close(&server, false)
}

/// Has a connection reset when it is closed. So is one that ends before its time, lest a peer take what has come for everything.
fn reset_on_close(stream: &TcpStream, reset: bool) -> io::Result<()> {
    SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO))
}
