//! `corde::net`: addresses and host names, looked up beside the worker.
#![cfg(feature = "runtime")]

mod util;

use std::io::{ErrorKind, Read, Write};
use std::net as std_net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use corde::net::{
    self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener,
    TcpStream,
};
use corde::runtime::Runtime;
use corde::thread;
use corde::time::timeout;
use rstest::{Context, rstest};
use util::threads::{Kind, OnDrop, wait_until};
use util::{LIMIT, child, full_name};

fn ours<A: net::ToSocketAddrs>(host: A) -> Result<Vec<SocketAddr>, (ErrorKind, String)> {
    let found = net::ToSocketAddrs::to_socket_addrs(&host);
    found
        .map(Iterator::collect)
        .map_err(|error| (error.kind(), error.to_string()))
}

fn of_std<A: std_net::ToSocketAddrs>(host: A) -> Result<Vec<SocketAddr>, (ErrorKind, String)> {
    let found = host.to_socket_addrs();
    found
        .map(Iterator::collect)
        .map_err(|error| (error.kind(), error.to_string()))
}

const V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 80);
const V6: SocketAddrV6 =
    SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 80, 7, 3);

/// What both traits take, so that a type which only std's does fails to compile.
macro_rules! assert_as_std {
    ($($host:expr),* $(,)?) => {
        $(assert_eq!(ours($host), of_std($host), "{:?}", $host);)*
    };
}

#[rstest]
#[timeout(LIMIT)]
fn every_type_gives_what_it_gives_in_std(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let several = [SocketAddr::from(V4), SocketAddr::from(V6)];
        assert_as_std![
            SocketAddr::from(V4),
            SocketAddr::from(V6),
            V4,
            V6,
            (IpAddr::from(*V4.ip()), 1),
            (IpAddr::from(*V6.ip()), 2),
            (*V4.ip(), 3),
            (*V6.ip(), 4),
            &several[..],
            &several[..0],
            ("192.0.2.1", 5),
            ("2001:db8::1", 6),
            ("192.0.2.1".to_owned(), 7),
            "192.0.2.1:8",
            "[2001:db8::1%3]:9",
            "192.0.2.1:10".to_owned(),
            &&V4,
            &&"192.0.2.1:11",
            &"192.0.2.1:12".to_owned(),
            &("2001:db8::1".to_owned(), 13),
        ];
    });
}

/// Addresses that the system makes of what looks like a name, and names in `/etc/hosts`.
#[rstest]
#[case::local("localhost:80")]
#[case::without_brackets("::1:80")]
#[case::legacy_spelling("127.1:80")]
#[case::a_byte_that_no_name_has("local\0host:80")]
#[timeout(LIMIT)]
fn the_system_is_asked_as_by_std(
    #[case] host: &'static str,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    assert_eq!(kind.run(move || ours(host)), of_std(host));
}

#[rstest]
#[case::no_port("localhost", "invalid socket address")]
#[case::nothing("", "invalid socket address")]
#[case::no_number("localhost:http", "invalid port value")]
#[case::too_large("localhost:65536", "invalid port value")]
#[case::no_digits("localhost:", "invalid port value")]
#[timeout(LIMIT)]
fn what_is_no_address_is_refused_as_by_std(#[case] host: &str, #[case] message: &str) {
    let expected = Err((ErrorKind::InvalidInput, message.to_owned()));
    assert_eq!(ours(host), expected);
    assert_eq!(of_std(host), expected);
    assert!(TcpStream::connect(host).is_err());
    assert!(TcpListener::bind(host).is_err());
}

/// Names under `.invalid` are nobody's.
#[rstest]
fn a_name_that_nobody_has_is_the_error_of_std(#[context] context: Context) {
    // In case there is no name server that answers.
    let impatient = [("RES_OPTIONS", "timeout:1 attempts:1")];
    child::run(&full_name(&context), &impatient, || {
        let name = ("nobody.invalid", 80);
        let error = corde::run(move || ours(name)).unwrap_err();
        assert!(error.1.starts_with("failed to lookup address information"));
        // Whether it failed for good or for now may change from one time to the next.
        assert_eq!(error.0, of_std(name).unwrap_err().0);
        let connected = corde::run(move || TcpStream::connect(name));
        assert!(connected.unwrap_err().to_string().contains("lookup"));
    })
    .assert_success();
}

/// Runs `body` where the only OS thread for blocking closures is taken until the value that `body` gets is dropped.
#[track_caller]
fn while_look_ups_wait(context: &Context, body: impl FnOnce(mpsc::Sender<()>) + Send) {
    let environment = [("CORDE_WORKERS", "1"), ("CORDE_BLOCKING_THREADS", "1")];
    child::run(&full_name(context), &environment, || {
        corde::run(|| {
            let (release, released) = mpsc::channel::<()>();
            let begun = Arc::new(AtomicBool::new(false));
            let theirs = begun.clone();
            thread::spawn_blocking(move || {
                theirs.store(true, Ordering::Relaxed);
                released.recv()
            });
            wait_until(|| begun.load(Ordering::Relaxed));
            body(release);
        });
    })
    .assert_success();
}

#[rstest]
fn others_run_while_a_name_is_looked_up(#[context] context: Context) {
    while_look_ups_wait(&context, |release| {
        let looks_up = thread::spawn(|| ours("localhost:80"));
        let connects = thread::spawn(|| TcpStream::connect("localhost:1").map(drop));
        let binds = thread::spawn(|| TcpListener::bind("localhost:0").map(drop));
        for _ in 0..100 {
            thread::yield_now();
        }
        assert!(!looks_up.is_finished() && !connects.is_finished() && !binds.is_finished());
        drop(release);
        assert!(looks_up.join().unwrap().is_ok());
        let refused = connects.join().unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        binds.join().unwrap().unwrap();
    });
}

#[rstest]
fn who_is_interrupted_leaves_a_look_up(#[context] context: Context) {
    while_look_ups_wait(&context, |release| {
        let connects = || TcpStream::connect("localhost:1").map(drop);
        assert!(timeout(Duration::from_millis(1), connects).is_err());

        let cancelled = thread::spawn(connects);
        thread::yield_now();
        cancelled.cancel();
        let payload = cancelled.join().unwrap_err();
        assert!(payload.is::<thread::Cancelled>());
        drop(release);
    });
}

/// Addresses need no look-up.
#[rstest]
fn addresses_are_used_though_look_ups_wait(#[context] context: Context) {
    while_look_ups_wait(&context, |_release| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        TcpStream::connect(&("127.0.0.1".to_owned(), port)).unwrap();
    });
}

/// Which may have more than one address, and the listener one of them.
#[rstest]
#[timeout(LIMIT)]
fn a_name_connects(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values("127.0.0.1:0", "localhost:0")] bound: &'static str,
) {
    kind.run(move || {
        let listener = TcpListener::bind(bound).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(("localhost", port)).unwrap();
            stream.write_all(b"by name").unwrap();
        });
        let mut received = String::new();
        let mut stream = listener.accept().unwrap().0;
        stream.read_to_string(&mut received).unwrap();
        assert_eq!(received, "by name");
        client.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_blocking_closure_looks_up_in_place() {
    let found = corde::run(|| thread::blocking(|| ours("localhost:80")));
    assert_eq!(found, of_std("localhost:80"));
}

/// The runtime takes no closures any more that nobody has to wait for.
#[rstest]
#[timeout(LIMIT)]
fn a_destructor_looks_up_while_its_runtime_ends() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let (found, looked_up) = mpsc::channel();
    let begun = Arc::new(AtomicBool::new(false));
    let theirs = begun.clone();
    runtime.spawn(move || {
        let _looks_up = OnDrop(move || {
            wait_until(|| thread::spawn_blocking(|| ()).join().is_err());
            found.send(ours("localhost:80")).unwrap();
        });
        theirs.store(true, Ordering::Relaxed);
        loop {
            thread::park();
        }
    });
    wait_until(|| begun.load(Ordering::Relaxed));
    drop(runtime);
    assert_eq!(looked_up.recv().unwrap(), of_std("localhost:80"));
}

#[rstest]
#[timeout(LIMIT)]
fn lookup_host_is_a_function_for_it(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let found: Vec<_> = net::lookup_host("localhost:80").unwrap().collect();
        assert_eq!(found, of_std("localhost:80").unwrap());
        assert!(net::lookup_host("localhost").is_err());
    });
}
