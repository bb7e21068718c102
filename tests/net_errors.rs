//! `corde::net`: errors are those that std's sockets give.
#![cfg(feature = "runtime")]

mod util;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net as std_net;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corde::net::{SocketAddr, TcpListener, TcpStream};
use corde::thread;
use rstest::{Context, rstest};
use util::net::{LOCALHOST, echo, expect_echo, listen, pair, reset, std_pair, wait_for_hangup};
use util::threads::{Kind, wait_until};
use util::{LIMIT, left_out_under_valgrind, with_workers};

/// Calls on a connection whose other end is gone.
#[derive(Clone, Copy, Debug)]
enum Call {
    Read,
    Write,
}

fn outcome_of(mut stream: impl Read + Write, call: Call) -> Result<usize, ErrorKind> {
    match call {
        Call::Read => stream.read(&mut [0; 16]),
        Call::Write => stream.write(b"anybody?"),
    }
    .map_err(|error| error.kind())
}

#[rstest]
#[timeout(LIMIT)]
fn a_reset_gives_the_errors_of_std(
    #[values([Call::Read, Call::Read], [Call::Read, Call::Write], [Call::Write, Call::Read], [Call::Write, Call::Write])]
    calls: [Call; 2],
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] unread: bool,
) {
    let (std_near, mut std_far) = std_pair();
    let (near, mut far) = pair();
    if unread {
        std_far.write_all(b"unread").unwrap();
        far.write_all(b"unread").unwrap();
    }
    reset(std_far);
    reset(far);
    wait_for_hangup(&std_near);
    wait_for_hangup(&near);
    let expected = calls.map(|call| outcome_of(&std_near, call));
    let outcomes = kind.run(move || calls.map(|call| outcome_of(&near, call)));
    assert_eq!(outcomes, expected);
    assert!(
        expected.contains(&Err(ErrorKind::ConnectionReset)),
        "{expected:?}"
    );
}

#[rstest]
#[timeout(LIMIT)]
fn writing_to_a_closed_end_breaks_as_in_std(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    // The other end has closed in order, and answers what still comes with a reset.
    fn write_twice(stream: impl Read + Write + AsFd + Copy) -> [Result<usize, ErrorKind>; 3] {
        let first = outcome_of(stream, Call::Write);
        // Of the reset, not of the end, which was there before.
        let mut poll = libc::pollfd {
            fd: stream.as_fd().as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&mut poll, 1, -1) };
        assert_eq!(ready, 1);
        let second = outcome_of(stream, Call::Write);
        [first, second, outcome_of(stream, Call::Read)]
    }
    let (std_near, std_far) = std_pair();
    let (near, far) = pair();
    drop((std_far, far));
    let expected = write_twice(&std_near);
    assert_eq!(kind.run(move || write_twice(&near)), expected);
    assert_eq!(expected[1], Err(ErrorKind::BrokenPipe));
}

/// An address where nobody listens, as long as the stream lives whose own it is.
fn refusing_address() -> (std_net::TcpStream, SocketAddr) {
    let (stream, _) = std_pair();
    let address = stream.local_addr().unwrap();
    (stream, address)
}

#[rstest]
#[timeout(LIMIT)]
fn a_port_where_nobody_listens_refuses(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (_holds_it, address) = refusing_address();
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let of_std = std_net::TcpStream::connect(address).unwrap_err();
        assert_eq!(error.raw_os_error(), of_std.raw_os_error());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn an_address_in_use_is_an_error() {
    let (_listener, address) = listen();
    let error = TcpListener::bind(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[rstest]
#[timeout(LIMIT)]
fn of_several_addresses_the_first_that_works_is_taken() {
    corde::run(|| {
        let (_listens, in_use) = listen();
        let (_holds_it, refusing) = refusing_address();
        let any: SocketAddr = LOCALHOST.parse().unwrap();

        let bound = TcpListener::bind(&[in_use, any, in_use][..]).unwrap();
        let address = bound.local_addr().unwrap();
        assert_ne!(address.port(), in_use.port());

        let connected = TcpStream::connect(&[refusing, address, in_use][..]).unwrap();
        assert_eq!(connected.peer_addr().unwrap(), address);

        // The error is that of the last one.
        let error = TcpStream::connect(&[refusing, refusing][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn no_address_is_the_error_of_std() {
    let none: &[SocketAddr] = &[];
    let pairs = [
        (
            TcpStream::connect(none).unwrap_err(),
            std_net::TcpStream::connect(none).unwrap_err(),
        ),
        (
            TcpListener::bind(none).unwrap_err(),
            std_net::TcpListener::bind(none).unwrap_err(),
        ),
        (
            TcpStream::connect("no port").unwrap_err(),
            std_net::TcpStream::connect("no port").unwrap_err(),
        ),
    ];
    for (error, expected) in pairs {
        assert_eq!(error.kind(), expected.kind());
        assert_eq!(error.to_string(), expected.to_string());
    }
}

/// Takes all file descriptors that the process may still have.
fn exhaust_descriptors() -> Vec<File> {
    let mut hoard = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => hoard.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return hoard;
            }
        }
    }
}

fn limit_descriptors(count: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: the pointer is valid for a read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0);
}

#[rstest]
fn a_server_survives_the_lack_of_descriptors(#[context] context: Context) {
    fn assert_lack<T>(result: io::Result<T>) {
        let error = result.map(drop).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
    }

    if left_out_under_valgrind("it accepts, and then closes, what there is no descriptor for") {
        return;
    }
    with_workers(2, &context, || {
        corde::run(|| {
            limit_descriptors(64);
            let (listener, address) = listen();
            let client = TcpStream::connect(address).unwrap();
            let mut hoard = exhaust_descriptors();
            for _ in 0..3 {
                assert_lack(listener.accept());
                assert_lack(listener.incoming().next().unwrap());
                assert_lack(listener.try_clone());
                assert_lack(TcpStream::connect(address));
                assert_lack(TcpListener::bind(LOCALHOST));
            }
            hoard.pop();
            let (stream, _) = listener.accept().unwrap();
            assert_lack(stream.try_clone());
            let server = thread::spawn(move || echo(&stream));
            expect_echo(&client, b"served");
            drop(client);
            server.join().unwrap().unwrap();

            // The same for an acceptor that is waiting when there are no descriptors left.
            let lacked = Arc::new(AtomicBool::new(false));
            let theirs = lacked.clone();
            let acceptor = thread::spawn(move || {
                loop {
                    match listener.accept() {
                        Ok((stream, _)) => return echo(&stream),
                        lacking => assert_lack(lacking),
                    }
                    theirs.store(true, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(1));
                }
            });
            thread::yield_now();
            hoard.extend(exhaust_descriptors());
            hoard.pop();
            let client = loop {
                // The acceptor may have the one descriptor in its hands for a moment.
                match TcpStream::connect(address) {
                    Ok(stream) => break stream,
                    lacking => assert_lack(lacking),
                }
            };
            wait_until(|| lacked.load(Ordering::Relaxed));
            hoard.clear();
            expect_echo(&client, b"served again");
            drop(client);
            acceptor.join().unwrap().unwrap();
        });
    });
}
