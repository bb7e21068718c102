//! Sockets: servers on loopback.
//!
//! Peers: Tokio, may, Go. Bound: a loop over epoll written by hand. The server is a process of its own on one processor, with one
//! worker; the load (`load.rs`) comes from one loop over epoll on another processor, the same for all, which keeps one request under way on each
//! connection. Counted is the server's CPU time, in user and kernel mode, which the load generator disturbs least, the rate of the requests, and
//! how long the slowest of a hundred requests takes.

mod corde;
mod epoll;
mod load;
mod may;
mod tokio;

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use crate::harness::{Metric, Row, cost, go_program};
use crate::system;

/// The argument that makes a process a server.
pub(crate) const SERVER: &str = "--server";

const SERVER_PROCESSOR: usize = 0;
const LOAD_PROCESSOR: usize = 1;

/// Bytes of a small message.
const MESSAGE: usize = 64;

/// Bytes that a server is ready to read at once, and those of a server of large messages.
const BUFFER: usize = 1024;
const BULK: usize = 64 * 1024;

/// Bytes of requests that an HTTP server is ready to read at once.
const REQUESTS: usize = 4096;

/// HTTP requests that come together in `http_64_p16`.
const PIPELINED: usize = 16;

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

const REQUEST: &[u8] =
    b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: text/plain\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

const RATE: Metric = Metric {
    unit: "requests/s",
    more_is_better: true,
};
const METRICS: &[Metric] = &[cost("ns CPU/request"), RATE, cost("us p99")];
const MEMORY: &[Metric] = &[
    cost("ns CPU/request"),
    RATE,
    cost("us p99"),
    cost("B/connection"),
];

/// What a server does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// Sends back what comes, small messages.
    Echo,
    /// The same with large ones.
    Bulk,
    /// Answers HTTP/1.1 requests without bodies, all of those together that came together.
    Http,
    /// Answers one small message on each connection, and closes it.
    Once,
    /// Sends datagrams back.
    Udp,
}

const SERVICES: [(&str, Service); 5] = [
    ("echo", Service::Echo),
    ("bulk", Service::Bulk),
    ("http", Service::Http),
    ("once", Service::Once),
    ("udp", Service::Udp),
];

impl Service {
    fn name(self) -> &'static str {
        let known = SERVICES.iter().find(|(_, service)| *service == self);
        known.expect("all have a name").0
    }
}

type Server = fn(Service) -> io::Result<()>;

const SERVERS: [(&str, Server); 4] = [
    ("corde", corde::serve),
    ("tokio-ct", tokio::serve),
    ("may", may::serve),
    ("epoll", epoll::serve),
];

/// One row: what is asked of which service.
#[derive(Clone, Copy)]
struct Load {
    service: Service,
    connections: usize,
    /// Requests that are sent at once.
    pipelined: usize,
    /// How long a sample sends requests.
    sample: Duration,
    /// Whether the server's memory is a metric.
    memory: bool,
}

/// The argument that makes a process ask a server once, and print for how many requests, for `../syscalls`.
pub(crate) const REQUESTS_OF: &str = "--requests";

pub(crate) fn rows() -> Vec<Row> {
    let loads = loads().into_iter();
    loads.map(|(name, load)| row(name, load)).collect()
}

/// The main function of a process that asks a server once.
pub(crate) fn print_requests(row: &str, server: &str) -> Result<(), Box<dyn Error>> {
    let load = loads().into_iter().find(|(name, _)| *name == row);
    let (_, load) = load.ok_or("there is no such row")?;
    println!("{}", load::requests(server, load)?);
    Ok(())
}

fn loads() -> Vec<(&'static str, Load)> {
    let load = |service, connections| Load {
        service,
        connections,
        pipelined: 1,
        sample: Duration::from_millis(50),
        memory: false,
    };
    let pipelined = Load {
        pipelined: PIPELINED,
        ..load(Service::Http, 64)
    };
    let many = Load {
        sample: Duration::from_millis(300),
        memory: true,
        ..load(Service::Echo, 10_000)
    };
    vec![
        ("net/echo_64", load(Service::Echo, 64)),
        ("net/echo_1000", load(Service::Echo, 1000)),
        ("net/echo_10000", many),
        ("net/bulk_64", load(Service::Bulk, 64)),
        ("net/http_64_p16", pipelined),
        ("net/http_512", load(Service::Http, 512)),
        ("net/connect", load(Service::Once, 64)),
        ("net/udp_64", load(Service::Udp, 64)),
    ]
}

fn row(name: &str, load: Load) -> Row {
    let metrics = if load.memory { MEMORY } else { METRICS };
    let row = Row::new(name, metrics);
    let row = if load.memory { row.heavy() } else { row };
    let row = row
        .corde(move || load::sampler("corde", load))
        .peer("tokio-ct", move || load::sampler("tokio-ct", load))
        .peer("may", move || load::sampler("may", load))
        .bound("epoll", move || load::sampler("epoll", load));
    match go_program() {
        Some(_) => row.peer("go", move || load::sampler("go", load)),
        None => row.without_go(),
    }
}

/// The main function of a server's process, which ends with its standard input.
pub(crate) fn serve(name: &str, service: &str) -> Result<(), Box<dyn Error>> {
    system::pin([SERVER_PROCESSOR]);
    if name == "go" {
        let mut program = Command::new(go_program().ok_or("go/prepare has not built it")?);
        let program = program.env("GOMAXPROCS", "1").args([SERVER, service]);
        // It returns only if it fails.
        return Err(program.exec().into());
    }
    let server = SERVERS.iter().find(|(known, _)| *known == name);
    let (_, serve) = server.ok_or("there is no such server")?;
    let service = SERVICES.iter().find(|(known, _)| *known == service);
    let (_, service) = service.ok_or("there is no such service")?;
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    Ok(serve(*service)?)
}

/// Tells the load generator where the server listens.
fn announce(address: io::Result<SocketAddr>) -> io::Result<()> {
    println!("{}", address?);
    Ok(())
}

/// Answers the requests at the beginning of `input`, and returns how many bytes they are. The same for all servers.
fn answer(input: &[u8], output: &mut Vec<u8>) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    let mut used = 0;
    while let Some(length) = find(&input[used..], END) {
        used += length + END.len();
        output.extend_from_slice(ANSWER);
    }
    used
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}
