//! `corde::net`: TCP traffic between green threads, OS threads and std's own sockets; addresses, options, conversions.
#![cfg(feature = "runtime")]

mod util;

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net as std_net;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corde::net::{Shutdown, TcpListener, TcpStream};
use corde::thread;
use rstest::rstest;
use util::LIMIT;
use util::net::{
    LOCALHOST, echo, expect_echo, listen, pair, raise_file_limit, reset, std_pair, wait_for_hangup,
};
use util::threads::{Handle, Kind, wait_until};

// Traffic.

#[rstest]
#[timeout(LIMIT)]
fn a_thousand_connections_are_open_and_served_at_once() {
    const CONNECTIONS: usize = 1000;
    /// Fewer than std's listeners let queue up: past that the system drops what comes.
    const WAVE: usize = 100;
    // Two for each connection, and some for others.
    assert!(raise_file_limit() > 2 * CONNECTIONS + 500);
    corde::run(|| {
        let (listener, address) = listen();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let server = thread::spawn(move || {
            let connections: Vec<_> = listener
                .incoming()
                .take(CONNECTIONS)
                .map(|stream| {
                    let stream = stream.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                    thread::spawn(move || echo(&stream))
                })
                .collect();
            for connection in connections {
                connection.join().unwrap().unwrap();
            }
        });
        let client = |i| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                thread::park();
                for round in 0..5 {
                    expect_echo(&mut stream, format!("{round} of {i}").as_bytes());
                }
            })
        };
        let mut clients = Vec::new();
        while clients.len() < CONNECTIONS {
            clients.extend((clients.len()..).take(WAVE).map(client));
            wait_until(|| accepted.load(Ordering::Relaxed) == clients.len());
        }
        clients.iter().for_each(|client| client.thread().unpark());
        for client in clients {
            client.join().unwrap();
        }
        server.join().unwrap();
    });
}

/// Both threads of both ends, as green or OS threads, sharing their socket or with a clone of it.
#[rstest]
#[timeout(LIMIT)]
fn more_than_the_buffers_hold_goes_both_ways_at_once(
    #[values(Kind::Green, Kind::Os)] near: Kind,
    #[values(Kind::Green, Kind::Os)] far: Kind,
    #[values(false, true)] cloned: bool,
) {
    const BYTES: usize = 8 << 20;
    /// What is sent: out of step with all buffers, so that a shift shows, and different for each direction.
    fn content(first: u8) -> Vec<u8> {
        let block: Vec<u8> = (first..251).collect();
        block.repeat(BYTES / block.len())
    }
    fn start(kind: Kind, stream: TcpStream, cloned: bool, seeds: [u8; 2]) -> [Handle<()>; 2] {
        let reading = Arc::new(stream);
        let writing = if cloned {
            Arc::new(reading.try_clone().unwrap())
        } else {
            reading.clone()
        };
        let [sent, expected] = seeds;
        let writer = kind.spawn(move || {
            (&*writing).write_all(&content(sent)).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let reader = kind.spawn(move || {
            let mut received = Vec::new();
            (&*reading).read_to_end(&mut received).unwrap();
            assert!(received == content(expected), "the content is not the same");
        });
        [writer, reader]
    }

    let (near_stream, far_stream) = pair();
    let near = start(near, near_stream, cloned, [1, 2]);
    let far = start(far, far_stream, cloned, [2, 1]);
    near.into_iter().chain(far).for_each(Handle::join);
}

#[rstest]
#[timeout(LIMIT)]
fn every_kind_of_thread_talks_to_every_other(
    #[values(Kind::Green, Kind::Os)] server: Kind,
    #[values(Kind::Green, Kind::Os)] client: Kind,
) {
    let (listener, address) = listen();
    let server = server.spawn(move || {
        for _ in 0..3 {
            let (stream, _) = listener.accept().unwrap();
            echo(&stream).unwrap();
        }
    });
    client.run(move || {
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).unwrap();
            (0..50_u8).for_each(|round| expect_echo(&mut stream, &[round; 100]));
        }
    });
    server.join();
}

#[rstest]
#[timeout(LIMIT)]
fn each_direction_closes_by_itself(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (mut near, mut far) = pair();
        let answers = thread::spawn(move || {
            let mut request = String::new();
            far.read_to_string(&mut request).unwrap();
            far.write_all(request.to_uppercase().as_bytes()).unwrap();
            far.shutdown(Shutdown::Write).unwrap();
            // The end stays the end.
            assert_eq!(far.read(&mut [0]).unwrap(), 0);
        });
        near.write_all(b"half ").unwrap();
        near.write_all(b"closed").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HALF CLOSED");
        let late = near.write(b"late").unwrap_err();
        assert_eq!(late.kind(), ErrorKind::BrokenPipe);
        answers.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn peek_leaves_the_data_and_waits_for_it() {
    corde::run(|| {
        let (mut near, mut far) = pair();
        let peeks = thread::spawn(move || {
            let mut buffer = [0; 8];
            assert_eq!(far.peek(&mut buffer).unwrap(), 4);
            assert_eq!(far.peek(&mut buffer[..2]).unwrap(), 2);
            assert_eq!(far.read(&mut buffer).unwrap(), 4);
            assert_eq!(&buffer[..4], b"peek");
            assert_eq!(far.peek(&mut buffer).unwrap(), 0);
        });
        thread::yield_now();
        near.write_all(b"peek").unwrap();
        drop(near);
        peeks.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn vectored_calls_use_several_buffers() {
    corde::run(|| {
        let (mut near, mut far) = pair();
        let reads = thread::spawn(move || {
            let (mut first, mut second) = ([0; 3], [0; 5]);
            let buffers = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            assert_eq!(far.read_vectored(buffers).unwrap(), 7);
            (first, second)
        });
        thread::yield_now();
        let buffers = [IoSlice::new(b"one"), IoSlice::new(b"more")];
        assert_eq!(near.write_vectored(&buffers).unwrap(), 7);
        assert_eq!(reads.join().unwrap(), (*b"one", *b"more\0"));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn incoming_yields_one_connection_after_the_other() {
    corde::run(|| {
        let (listener, address) = listen();
        let clients: Vec<_> = (0..20_u8)
            .map(|i| thread::spawn(move || TcpStream::connect(address)?.write_all(&[i])))
            .collect();
        let mut received: Vec<_> = listener
            .incoming()
            .take(clients.len())
            .map(|stream| {
                let mut byte = [0];
                stream.unwrap().read_exact(&mut byte).unwrap();
                byte[0]
            })
            .collect();
        received.sort();
        assert!(received.into_iter().eq(0..20));
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
}

// Addresses, options, conversions.

#[rstest]
#[case::v4("127.0.0.1:0")]
#[case::v6("[::1]:0")]
#[timeout(LIMIT)]
fn addresses_are_those_of_std(#[case] any: &str) {
    let std_listener = match std_net::TcpListener::bind(any) {
        Ok(listener) => listener,
        // A system without IPv6.
        Err(error) => return assert!(any.starts_with('['), "{error}"),
    };
    let listener = TcpListener::bind(any).unwrap();
    corde::run(|| {
        let address = std_listener.local_addr().unwrap();
        let near = TcpStream::connect(address).unwrap();
        let (far, from) = std_listener.accept().unwrap();
        assert_eq!(near.peer_addr().unwrap(), address);
        assert_eq!(near.local_addr().unwrap(), from);
        assert_eq!(far.peer_addr().unwrap(), from);

        let address = listener.local_addr().unwrap();
        let near = std_net::TcpStream::connect(address).unwrap();
        let (far, from) = listener.accept().unwrap();
        assert_eq!(near.local_addr().unwrap(), from);
        assert_eq!(far.peer_addr().unwrap(), from);
        assert_eq!(far.local_addr().unwrap(), address);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn options_reach_the_socket() {
    let (near, _far) = pair();
    for nodelay in [true, false, true] {
        near.set_nodelay(nodelay).unwrap();
        assert_eq!(near.nodelay().unwrap(), nodelay);
    }
    near.set_ttl(42).unwrap();
    assert_eq!(near.ttl().unwrap(), 42);
    let near = std_net::TcpStream::from(near);
    assert!(near.nodelay().unwrap());
    assert_eq!(near.ttl().unwrap(), 42);

    let (listener, _) = listen();
    listener.set_ttl(43).unwrap();
    assert_eq!(listener.ttl().unwrap(), 43);
    let listener = std_net::TcpListener::from(listener);
    assert_eq!(listener.ttl().unwrap(), 43);
}

#[rstest]
#[timeout(LIMIT)]
fn take_error_takes_the_pending_error() {
    let (near, far) = pair();
    assert!(near.take_error().unwrap().is_none());
    reset(far);
    wait_for_hangup(&near);
    let error = near.take_error().unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(near.take_error().unwrap().is_none());
    let (listener, _) = listen();
    assert!(listener.take_error().unwrap().is_none());
}

/// Whether calls on it answer that they would block.
fn is_nonblocking(socket: impl AsFd) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(socket.as_fd().as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0);
    flags & libc::O_NONBLOCK != 0
}

#[rstest]
#[timeout(LIMIT)]
fn a_connection_changes_between_std_and_corde() {
    corde::run(|| {
        let (near, far) = std_pair();
        let (near, far) = (TcpStream::from(near), TcpStream::from(far));
        assert!(is_nonblocking(&near));
        let echoes = thread::spawn(move || {
            echo(&far).unwrap();
            far
        });
        // Long enough to have been waited for, and so registered.
        (0..20).for_each(|round| expect_echo(&near, &[round; 10]));

        let near = std_net::TcpStream::from(near);
        assert!(!is_nonblocking(&near));
        std::thread::scope(|scope| {
            let blocking =
                scope.spawn(|| (0..20).for_each(|round| expect_echo(&near, &[round; 10])));
            // The echo may be on this worker.
            wait_until(|| blocking.is_finished());
        });

        let near = TcpStream::from(near);
        (0..20).for_each(|round| expect_echo(&near, &[round; 10]));
        let near = OwnedFd::from(near);
        assert!(!is_nonblocking(&near));
        let near = TcpStream::from(near);
        expect_echo(&near, b"once more");
        near.shutdown(Shutdown::Write).unwrap();
        let far = OwnedFd::from(echoes.join().unwrap());
        drop(far);
        assert_eq!((&near).read(&mut [0]).unwrap(), 0);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_listener_changes_between_std_and_corde() {
    corde::run(|| {
        let listener = std_net::TcpListener::bind(LOCALHOST).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from(listener);
        assert!(is_nonblocking(&listener));
        let connects = thread::spawn(move || TcpStream::connect(address).map(drop));
        let (accepted, _) = listener.accept().unwrap();
        assert!(is_nonblocking(&accepted));
        connects.join().unwrap().unwrap();

        let listener = std_net::TcpListener::from(listener);
        assert!(!is_nonblocking(&listener));
        let _client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
        let fd = OwnedFd::from(TcpListener::from(listener));
        assert!(!is_nonblocking(&fd));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn debug_shows_what_std_shows() {
    let (near, _far) = pair();
    let text = format!("{near:?}");
    assert_eq!(text, format!("{:?}", std_net::TcpStream::from(near)));

    let (listener, address) = listen();
    assert!(format!("{:?}", listener.incoming()).contains(&address.to_string()));
    let text = format!("{listener:?}");
    assert_eq!(text, format!("{:?}", std_net::TcpListener::from(listener)));
}

#[rstest]
fn sockets_are_send_and_sync() {
    fn assert_send_and_sync<T: Send + Sync>() {}
    assert_send_and_sync::<TcpStream>();
    assert_send_and_sync::<TcpListener>();
}
