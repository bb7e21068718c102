//! `corde::net`: what TCP sockets have beyond the traffic: groups of listeners, iterators, options that std has not, auto traits.
#![cfg(feature = "runtime")]

mod util;

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net as std_net;
use std::os::fd::OwnedFd;
use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corde::net::{Incoming, IntoIncoming, SocketAddr, TcpListener, TcpStream};
use corde::select;
use corde::sync::channel::never;
use corde::thread::{self, JoinSet};
use rstest::{Context, rstest};
use socket2::{Domain, SockRef, Socket, Type};
use util::net::{LOCALHOST, listen, pair};
use util::threads::Kind;
use util::{LIMIT, with_workers};

// Groups of listeners.

#[rstest]
#[case::v4("127.0.0.1:0")]
#[case::v6("[::1]:0")]
#[timeout(LIMIT)]
fn all_of_a_group_listen_at_one_address_and_share_what_comes(
    #[case] any: &'static str,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    const CONNECTIONS: usize = 200;
    let group = match TcpListener::bind_group(any, 4) {
        Ok(group) => group,
        // A system without IPv6.
        Err(error) => return assert!(any.starts_with('['), "{error}"),
    };
    let addresses = group.iter().map(|it| it.local_addr().unwrap());
    let addresses: HashSet<SocketAddr> = addresses.collect();
    let [address] = addresses.into_iter().collect::<Vec<_>>()[..] else {
        panic!("they have the same address");
    };
    assert_ne!(address.port(), 0);
    let others = TcpListener::bind(address).unwrap_err();
    assert_eq!(others.kind(), ErrorKind::AddrInUse);

    // Each says which it is.
    let acceptors = group.into_iter().zip(0_u8..).map(|(listener, number)| {
        kind.spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut command = [0];
                stream.read_exact(&mut command).unwrap();
                if command == [0] {
                    // Before the client learns of it: no further connection is to find it.
                    return drop(listener);
                }
                stream.write_all(&[number]).unwrap();
            }
        })
    });
    let acceptors: Vec<_> = acceptors.collect();
    let mut shares = [0; 4];
    corde::run(|| {
        let ask = |command: u8| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[command]).unwrap();
            let mut number = Vec::new();
            stream.read_to_end(&mut number).unwrap();
            number.first().map(|&it| usize::from(it))
        };
        for _ in 0..CONNECTIONS {
            shares[ask(1).unwrap()] += 1;
        }
        // A listener that has been closed gets none any more.
        for _ in 0..4 {
            assert_eq!(ask(0), None);
        }
    });
    acceptors.into_iter().for_each(|it| it.join());
    assert_eq!(shares.iter().sum::<usize>(), CONNECTIONS);
    // By chance one would be left out once in 10^24 runs.
    assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
}

#[rstest]
#[timeout(LIMIT)]
fn a_group_is_bound_to_the_first_address_that_works() {
    let (_listens, in_use) = listen();
    let any: SocketAddr = LOCALHOST.parse().unwrap();
    let group = TcpListener::bind_group(&[in_use, any][..], 3).unwrap();
    assert_eq!(group.len(), 3);
    for listener in &group {
        assert_ne!(listener.local_addr().unwrap(), in_use);
    }
    let error = TcpListener::bind_group(in_use, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let error = TcpListener::bind_group(any, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // Two groups are two, whatever port they get.
    let other = TcpListener::bind_group(any, 3).unwrap();
    assert_ne!(
        other[0].local_addr().unwrap(),
        group[0].local_addr().unwrap()
    );
}

// Iterators.

#[rstest]
#[timeout(LIMIT)]
fn into_incoming_keeps_the_listener(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (listener, address) = listen();
        let mut connections = listener.into_incoming();
        // They keep the port from being given to others.
        let held = [(); 3].map(|()| {
            let client = TcpStream::connect(address).unwrap();
            let stream = connections.next().unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
            stream
        });
        assert!(format!("{connections:?}").contains("IntoIncoming"));
        drop(connections);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        drop(held);
    });
}

// Options.

#[rstest]
#[timeout(LIMIT)]
fn linger_is_set_and_0_resets() {
    let (near, mut far) = pair();
    assert_eq!(near.linger().unwrap(), None);
    for linger in [Some(Duration::from_secs(7)), None, Some(Duration::ZERO)] {
        near.set_linger(linger).unwrap();
        assert_eq!(near.linger().unwrap(), linger);
    }
    drop(near);
    let error = far.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// As a server sets what std has no word for.
#[rstest]
#[timeout(LIMIT)]
fn a_socket_that_was_prepared_elsewhere_is_taken_over() {
    corde::run(|| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        if let Err(error) = socket.bind(&any.into()) {
            return eprintln!("left out: no IPv6 here: {error}");
        }
        socket.listen(1).unwrap();
        let listener = TcpListener::from(OwnedFd::from(socket));
        let port = listener.local_addr().unwrap().port();
        let client = thread::spawn(move || TcpStream::connect(("127.0.0.1", port)).unwrap());
        let (stream, from) = listener.accept().unwrap();
        let client = client.join().unwrap();
        assert_eq!(from.port(), client.local_addr().unwrap().port());
        assert!(from.is_ipv6(), "an IPv4 address in one of IPv6");

        let keepalive = SockRef::from(&stream);
        keepalive.set_keepalive(true).unwrap();
        assert!(keepalive.keepalive().unwrap());
    });
}

#[test]
fn more_clients_may_wait_than_at_a_listener_of_std() {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    if limit.is_ok_and(|limit| limit.trim().parse::<u32>().unwrap() < 400) {
        return eprintln!("left out: the system lets no more wait at any");
    }
    // Past what may wait the system lets a client wait for seconds, and for ever.
    let patience = Duration::from_secs(5);
    let connected = |address: SocketAddr| {
        let connect = |_| std_net::TcpStream::connect_timeout(&address, patience).ok();
        (0..400).map_while(connect).count()
    };
    let (_listener, address) = listen();
    let group = TcpListener::bind_group(LOCALHOST, 1).unwrap();
    assert_eq!(connected(address), 400);
    assert_eq!(connected(group[0].local_addr().unwrap()), 400);
}

// Several that wait.

/// The one that finds that another was quicker is told of what comes next.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn who_was_too_late_in_a_selection_gets_the_next(
    #[context] context: Context,
    #[case] workers: usize,
) {
    with_workers(workers, &context, || {
        const CLIENTS: usize = 200;
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        let accepted = Arc::new(AtomicUsize::new(0));
        let acceptors = [Kind::Green, Kind::Os, Kind::Green, Kind::Green].map(|kind| {
            let (listener, accepted) = (listener.clone(), accepted.clone());
            kind.spawn(move || {
                // Which the others have maybe emptied when it comes to accept.
                listener.set_nonblocking(true).unwrap();
                while accepted.load(Ordering::Relaxed) < CLIENTS {
                    select! {
                        readable(*listener) => {}
                        recv(never::<()>()) -> _ => unreachable!(),
                    }
                    match listener.accept() {
                        Ok((mut stream, _)) => {
                            accepted.fetch_add(1, Ordering::Relaxed);
                            stream.write_all(b"served").unwrap();
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            })
        });
        corde::run(|| {
            for _ in 0..CLIENTS {
                let mut answer = String::new();
                let mut stream = TcpStream::connect(address).unwrap();
                stream.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, "served");
            }
            // For those who wait still.
            let mut others = JoinSet::new();
            for _ in 0..acceptors.len() {
                others.spawn(move || TcpStream::connect(address).map(drop));
            }
            while let Some(connected) = others.join_next() {
                connected.unwrap().unwrap();
            }
        });
        acceptors.into_iter().for_each(|it| it.join());
    });
}

// Auto traits.

/// As with std: whatever compiles with its types compiles with these.
#[test]
fn auto_traits_are_those_of_std() {
    fn has_them_all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    has_them_all::<std_net::TcpStream>();
    has_them_all::<TcpStream>();
    has_them_all::<std_net::TcpListener>();
    has_them_all::<TcpListener>();
    has_them_all::<std_net::Incoming<'_>>();
    has_them_all::<Incoming<'_>>();
    has_them_all::<IntoIncoming>();
    let (near, _far) = pair();
    assert!(catch_unwind(|| near.nodelay()).is_ok());
}
