//! The example `proxy`: with limits of a test's own, and as a process.
#![cfg(feature = "runtime")]

use std::io::{ErrorKind, Read, Write};
use std::net::{self, Shutdown, TcpStream};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use corde::net::TcpListener;
use corde::thread::{CancelToken, JoinHandle};
use rstest::rstest;
use socket2::{Domain, SockRef, Socket, Type};
use util::example::{self, FEW_FILES, Server};
use util::{LIMIT, left_out_under_valgrind};

use server::{Limits, Relayed};

#[path = "../examples/proxy/relay.rs"]
mod relay;
#[path = "../examples/proxy/server.rs"]
mod server;
mod util;

/// No limit strikes before a test is taken for hung.
const PATIENT: Limits = Limits {
    connections: 100,
    connect_time: LIMIT,
    idle_time: LIMIT,
    stop_time: LIMIT,
};

/// Never long enough for what a test does not do.
const SHORT: Duration = Duration::from_millis(20);

/// More than the buffers of two connections hold.
static MUCH: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..20_000_003).map(|place| (place % 251) as u8).collect());

/// The proxy in this process, and the server behind it.
struct Running {
    address: String,
    upstream: net::TcpListener,
    stop: CancelToken,
    reports: Receiver<Relayed>,
    serving: JoinHandle<()>,
}

impl Running {
    fn start(limits: Limits) -> Running {
        let upstream = net::TcpListener::bind("127.0.0.1:0").unwrap();
        Running::start_before(upstream, limits)
    }

    fn start_before(upstream: net::TcpListener, limits: Limits) -> Running {
        let behind = upstream.local_addr().unwrap().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancelToken::new();
        let theirs = stop.clone();
        let (sender, reports) = mpsc::channel();
        let serving = corde::thread::spawn(move || {
            let report = |relayed| drop(sender.send(relayed));
            server::serve(listener, &behind, &limits, &theirs, report);
        });
        Running {
            address,
            upstream,
            stop,
            reports,
            serving,
        }
    }

    /// Connects through the proxy, and returns both ends.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = example::connect(&self.address);
        let (server, _) = self.upstream.accept().unwrap();
        server.set_read_timeout(Some(LIMIT)).unwrap();
        server.set_write_timeout(Some(LIMIT)).unwrap();
        (client, server)
    }

    #[track_caller]
    fn report(&self) -> Relayed {
        self.reports.recv_timeout(LIMIT).unwrap()
    }

    /// Waits for its end.
    fn end(self) {
        // With it end connections that the proxy has made just before it stopped.
        drop(self.upstream);
        let begun = Instant::now();
        while !self.serving.is_finished() {
            assert!(begun.elapsed() < LIMIT, "the proxy goes on");
            thread::sleep(Duration::from_millis(1));
        }
        self.serving.join().unwrap();
    }
}

/// Sends `message` from one end and checks that it comes out of the other.
#[track_caller]
fn pass(mut from: &TcpStream, mut to: &TcpStream, message: &[u8]) {
    from.write_all(message).unwrap();
    let mut received = vec![0; message.len()];
    to.read_exact(&mut received).unwrap();
    assert_eq!(received, message);
}

fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    received
}

#[track_caller]
fn assert_is_reset(mut stream: &TcpStream) {
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn passes_bytes_on_both_ways_at_once() {
    let proxy = Running::start(PATIENT);
    let (client, server) = proxy.connect();
    thread::scope(|scope| {
        for mut stream in [&client, &server] {
            scope.spawn(move || {
                stream.write_all(&MUCH).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(|| assert!(read_to_end(stream) == *MUCH, "other bytes came"));
        }
    });
    let report = proxy.report();
    assert_eq!(report.client, client.local_addr().unwrap());
    assert_eq!((report.up, report.down), (20_000_003, 20_000_003));
    report.end.unwrap().unwrap();
}

#[test]
fn waits_for_a_side_that_reads_late() {
    let proxy = Running::start(PATIENT);
    let (client, server) = proxy.connect();
    thread::scope(|scope| {
        scope.spawn(|| {
            (&client).write_all(&MUCH).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        // Meanwhile the other direction works.
        pass(&server, &client, b"hello");
        assert!(read_to_end(&server) == *MUCH, "other bytes came");
    });
}

#[rstest]
#[case::by_the_client(true)]
#[case::by_the_server(false)]
fn a_side_that_is_closed_leaves_the_other_open(#[case] by_client: bool) {
    let proxy = Running::start(PATIENT);
    let (client, server) = proxy.connect();
    let (one, other) = if by_client {
        (&client, &server)
    } else {
        (&server, &client)
    };
    pass(one, other, b"question");
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(other), b"");
    pass(other, one, b"answer");
    pass(other, one, b"more of it");
    other.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(one), b"");
    let report = proxy.report();
    let expected = if by_client { (8, 16) } else { (16, 8) };
    assert_eq!((report.up, report.down), expected);
    report.end.unwrap().unwrap();
}

#[rstest]
#[case::of_the_client(true)]
#[case::of_the_server(false)]
fn passes_a_reset_on(#[case] of_client: bool) {
    let proxy = Running::start(PATIENT);
    let (client, server) = proxy.connect();
    pass(&client, &server, b"hello");
    let (one, other) = if of_client {
        (client, server)
    } else {
        (server, client)
    };
    SockRef::from(&one)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(one);
    assert_is_reset(&other);
    let report = proxy.report();
    let error = report.end.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!((report.up, report.down), (5, 0));
}

#[rstest]
#[case::from_the_beginning(false, false)]
#[case::after_some_bytes(true, false)]
#[case::half_closed(true, true)]
fn closes_an_idle_connection(#[case] used: bool, #[case] half_closed: bool) {
    let proxy = Running::start(Limits {
        idle_time: SHORT,
        ..PATIENT
    });
    let (client, server) = proxy.connect();
    // All this fails if the time is over already.
    if used {
        let _ = (&client).write_all(b"hello");
    }
    if half_closed {
        let _ = client.shutdown(Shutdown::Write);
    }
    let report = proxy.report();
    let error = report.end.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(report.down, 0);
    for mut stream in [client, server] {
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}

#[test]
fn closes_a_connection_whose_client_does_not_read() {
    let proxy = Running::start(Limits {
        idle_time: SHORT,
        ..PATIENT
    });
    let (client, mut server) = proxy.connect();
    server.write_all(&MUCH).unwrap_err();
    let error = proxy.report().end.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut), "{error:?}");
    drop(client);
}

#[test]
fn a_connection_is_not_idle_while_one_direction_is_active() {
    let idle_time = Duration::from_millis(200);
    let begun = Instant::now();
    // Again, if this process was not given the processor for so long that the proxy may rightly have closed it.
    while begun.elapsed() < LIMIT {
        let proxy = Running::start(Limits {
            idle_time,
            ..PATIENT
        });
        let (mut client, mut server) = proxy.connect();
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let mut received = 0;
        for _ in 0..40 {
            thread::sleep(idle_time / 20);
            // It fails where the proxy has closed the connection, which is judged below.
            let _ = server.write_all(b"a");
            received += client.read(&mut [0]).unwrap_or(0);
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        if longest < idle_time / 2 {
            assert_eq!(received, 40);
            return;
        }
    }
    panic!("this machine is too busy");
}

#[test]
fn closes_the_connection_if_the_server_refuses_its_own() {
    let mut proxy = Running::start(PATIENT);
    // Where the server was nobody listens any more, and nobody else can come.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    held.bind(&"127.0.0.1:0".parse::<net::SocketAddr>().unwrap().into())
        .unwrap();
    let address = held.local_addr().unwrap().as_socket().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.address = listener.local_addr().unwrap().to_string();
    let (sender, reports) = mpsc::channel();
    proxy.reports = reports;
    let stop = proxy.stop.clone();
    corde::thread::spawn(move || {
        let report = |relayed| drop(sender.send(relayed));
        server::serve(listener, &address.to_string(), &PATIENT, &stop, report);
    });
    let client = example::connect(&proxy.address);
    assert_is_reset(&client);
    let error = proxy.report().end.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    drop(held);
}

#[test]
#[cfg(target_os = "linux")]
fn closes_the_connection_if_the_server_does_not_take_its_own() {
    // A full queue lets no further connection in.
    let upstream = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    upstream.bind(&any.into()).unwrap();
    upstream.listen(0).unwrap();
    let upstream = net::TcpListener::from(upstream);
    let address = upstream.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, 2 * SHORT) {
        waiting.push(stream);
    }
    let proxy = Running::start_before(
        upstream,
        Limits {
            connect_time: SHORT,
            ..PATIENT
        },
    );
    let client = example::connect(&proxy.address);
    assert_is_reset(&client);
    let error = proxy.report().end.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn lets_only_so_many_connections_in() {
    let proxy = Running::start(Limits {
        connections: 2,
        ..PATIENT
    });
    let (first, second) = (proxy.connect(), proxy.connect());
    let third = example::connect(&proxy.address);
    for _ in 0..10 {
        pass(&first.0, &first.1, b"hello");
        pass(&second.0, &second.1, b"hello");
    }
    proxy.upstream.set_nonblocking(true).unwrap();
    let error = proxy.upstream.accept().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    proxy.upstream.set_nonblocking(false).unwrap();
    drop(first);
    let (server, _) = proxy.upstream.accept().unwrap();
    pass(&third, &server, b"hello");
}

#[test]
fn a_stop_lets_open_connections_end() {
    let proxy = Running::start(PATIENT);
    let (client, server) = proxy.connect();
    pass(&client, &server, b"before");
    proxy.stop.cancel();
    let begun = Instant::now();
    while TcpStream::connect(&proxy.address).is_ok() {
        assert!(begun.elapsed() < LIMIT, "it still accepts");
        thread::yield_now();
    }
    pass(&server, &client, b"after");
    drop((client, server));
    proxy.end();
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let proxy = Running::start(Limits {
        stop_time: SHORT,
        ..PATIENT
    });
    let (client, server) = proxy.connect();
    pass(&client, &server, b"hello");
    proxy.stop.cancel();
    assert_is_reset(&client);
    assert_is_reset(&server);
    let report = proxy.report();
    assert!(
        report
            .to_string()
            .ends_with(": 5 bytes up, 0 bytes down, stopped")
    );
    proxy.end();
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn reports_connections_and_ends_cleanly_on_ctrl_c() {
    let upstream = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let behind = upstream.local_addr().unwrap().to_string();
    let mut proxy = Server::start_with("proxy", &["127.0.0.1:0", &behind]);
    let client = proxy.connect();
    let (server, _) = upstream.accept().unwrap();
    pass(&client, &server, b"question");
    pass(&server, &client, b"answer");
    let address = client.local_addr().unwrap();
    drop((client, server));
    assert_eq!(proxy.line(), format!("{address}: 8 bytes up, 6 bytes down"));
    proxy.interrupt();
    proxy.assert_ends_well();
}

#[test]
fn goes_on_when_file_descriptors_are_available_again() {
    if left_out_under_valgrind("it accepts, and then closes, what there is no descriptor for") {
        return;
    }
    let upstream = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let behind = upstream.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in upstream.incoming() {
            // It fails where the proxy has had no descriptor left for the next one.
            let _ = stream.and_then(|mut stream| stream.write_all(b"hello"));
        }
    });
    let proxy = Server::start_by(FEW_FILES, "proxy", &["127.0.0.1:0", &behind]);
    let clients: Vec<_> = (0..48).map(|_| proxy.connect()).collect();
    let error = proxy.error_line();
    assert!(error.starts_with("cannot accept: "), "{error}");
    drop(clients);
    // Those for whose server there was no descriptor left are reset. Others get through again.
    let begun = Instant::now();
    while proxy.connect().read_exact(&mut [0; 5]).is_err() {
        assert!(begun.elapsed() < LIMIT, "nobody is served any more");
    }
}
