//! `corde::net::UdpSocket`: the same traffic, options and errors as with std's; who waits is woken, or gives up in order.
#![cfg(feature = "runtime")]

mod util;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net as std_net;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corde::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use corde::sync::channel::never;
use corde::{select, thread, time};
use rstest::{Context, rstest};
use util::net::LOCALHOST;
use util::threads::{Kind, one_on_each_worker};
use util::waiting::{assert_cancelled_while_waiting, while_waiting};
use util::{LIMIT, stress, with_workers};

const SHORT: Duration = Duration::from_millis(2);
const LOCALHOST_V6: &str = "[::1]:0";

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(LOCALHOST).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Two sockets that are connected to each other.
fn pair() -> (UdpSocket, UdpSocket) {
    let ((near, near_address), (far, far_address)) = (socket(), socket());
    near.connect(far_address).unwrap();
    far.connect(near_address).unwrap();
    (near, far)
}

/// An address at which nobody is, as long as the socket lives that has it.
fn nobody() -> (SocketAddr, std_net::UdpSocket) {
    // Connected to itself, it takes nothing from others, who are told that nobody is there.
    let holds_it = std_net::UdpSocket::bind(LOCALHOST).unwrap();
    let address = holds_it.local_addr().unwrap();
    holds_it.connect(address).unwrap();
    (address, holds_it)
}

fn kind_of<T>(result: io::Result<T>) -> Result<T, (ErrorKind, Option<i32>)> {
    result.map_err(|error| (error.kind(), error.raw_os_error()))
}

// Traffic.

#[rstest]
#[case::v4(LOCALHOST)]
#[case::v6(LOCALHOST_V6)]
#[timeout(LIMIT)]
fn datagrams_keep_their_boundaries(
    #[case] bind: &'static str,
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
    #[values(Kind::Green, Kind::Os)] sender: Kind,
) {
    const LENGTHS: [usize; 6] = [1, 0, 1000, 0, 60_000, 3];
    const COUNT: usize = 60;
    let Ok(receiving) = UdpSocket::bind(bind) else {
        return eprintln!("left out: there are no such addresses here");
    };
    let sending = UdpSocket::bind(bind).unwrap();
    let (to, from) = (
        receiving.local_addr().unwrap(),
        sending.local_addr().unwrap(),
    );
    let lengths = || LENGTHS.into_iter().cycle().take(COUNT).enumerate();
    let receiver = receiver.spawn(move || {
        for (i, length) in lengths() {
            let mut buffer = vec![0; 65_536];
            match i % 4 {
                0 => assert_eq!(receiving.recv(&mut buffer).unwrap(), length),
                1 => {
                    assert_eq!(receiving.peek_from(&mut buffer).unwrap(), (length, from));
                    assert_eq!(receiving.peek(&mut buffer).unwrap(), length);
                    buffer.fill(0);
                    assert_eq!(receiving.recv_from(&mut buffer).unwrap(), (length, from));
                }
                _ => assert_eq!(receiving.recv_from(&mut buffer).unwrap(), (length, from)),
            }
            assert_eq!(buffer[..length], vec![i as u8; length]);
            // The sender does not run ahead: there is no other limit to what is in flight.
            receiving.send_to(&[i as u8], from).unwrap();
        }
    });
    sender.run(move || {
        for (i, length) in lengths() {
            let data = vec![i as u8; length];
            if i == COUNT / 2 {
                sending.connect(to).unwrap();
            }
            let sent = match i < COUNT / 2 {
                true => sending.send_to(&data, to),
                false => sending.send(&data),
            };
            assert_eq!(sent.unwrap(), length);
            let mut answer = [0; 2];
            assert_eq!(sending.recv(&mut answer).unwrap(), 1);
            assert_eq!(answer[0], i as u8);
        }
    });
    receiver.join();
}

#[test]
fn what_does_not_fit_is_lost() {
    let (near, far) = pair();
    for data in [&b"too long"[..], b"next", b""] {
        far.send(data).unwrap();
    }
    let mut buffer = [0; 3];
    assert_eq!(near.peek(&mut buffer).unwrap(), 3);
    assert_eq!(near.recv(&mut buffer).unwrap(), 3);
    assert_eq!(&buffer, b"too");
    assert_eq!(near.recv(&mut []).unwrap(), 0);
    assert_eq!(near.recv(&mut buffer).unwrap(), 0);
    near.set_nonblocking(true).unwrap();
    assert_eq!(
        near.recv(&mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn a_connected_socket_hears_its_peer_alone() {
    let (near, far) = pair();
    let (stranger, _) = socket();
    stranger
        .send_to(b"psst", near.local_addr().unwrap())
        .unwrap();
    far.send(b"hello").unwrap();
    let mut buffer = [0; 10];
    let received = near.recv_from(&mut buffer).unwrap();
    assert_eq!(received, (5, far.local_addr().unwrap()));
    assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
}

/// Many clients of one server, each in a closed loop; nothing is mixed up.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn a_server_answers_many_clients(#[context] context: Context, #[case] workers: usize) {
    const CLIENTS: usize = 50;
    const REQUESTS: usize = 20;
    with_workers(workers, &context, || {
        // From outside: who joins an OS thread holds a worker.
        let (server, address) = socket();
        let server = thread::spawn(move || {
            let mut buffer = [0; 100];
            for _ in 0..CLIENTS * REQUESTS {
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                server.send_to(&buffer[..length], from).unwrap();
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|i| {
                let client = move || {
                    let (client, _) = socket();
                    client.connect(address).unwrap();
                    for round in 0..REQUESTS {
                        let request = format!("{round} of {i}");
                        client.send(request.as_bytes()).unwrap();
                        let mut answer = [0; 100];
                        let length = client.recv(&mut answer).unwrap();
                        assert_eq!(&answer[..length], request.as_bytes());
                    }
                };
                [Kind::Green, Kind::Green, Kind::Green, Kind::Os][i % 4].spawn(client)
            })
            .collect();
        clients.into_iter().for_each(|it| it.join());
        server.join().unwrap();
    });
}

// Who waits is woken.

/// Each receiver takes one: a datagram that found nobody woken for it would be left over with somebody waiting.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn each_of_several_receivers_gets_a_datagram(#[context] context: Context, #[case] workers: usize) {
    const RECEIVERS: usize = 8;
    with_workers(workers, &context, || {
        corde::run(|| {
            let (near, far) = pair();
            let near = Arc::new(near);
            for _ in 0..200 * stress() {
                let receivers: Vec<_> = (0..RECEIVERS)
                    .map(|i| {
                        let near = near.clone();
                        let kind = [Kind::Green, Kind::Green, Kind::Green, Kind::Os][i % 4];
                        kind.spawn(move || {
                            let mut byte = [0; 2];
                            assert_eq!(near.recv(&mut byte).unwrap(), 1);
                            byte[0]
                        })
                    })
                    .collect();
                (0..RECEIVERS).for_each(|i| assert_eq!(far.send(&[i as u8]).unwrap(), 1));
                let mut counts = BTreeMap::new();
                for receiver in receivers {
                    *counts.entry(receiver.join()).or_insert(0) += 1;
                }
                assert!(counts.len() == RECEIVERS && counts.values().all(|&count| count == 1));
            }
        });
    });
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn receivers_on_all_workers_and_of_clones_share_a_socket(
    #[context] context: Context,
    #[case] workers: usize,
) {
    with_workers(workers, &context, || {
        corde::run(move || {
            let (near, far) = pair();
            let near = Arc::new(near);
            for _ in 0..50 * stress() {
                let theirs = near.clone();
                let receivers = one_on_each_worker(workers, move || {
                    let clone = theirs.try_clone().unwrap();
                    let own = theirs.recv(&mut [0; 2]).unwrap();
                    own + clone.recv(&mut [0; 2]).unwrap()
                });
                (0..2 * workers).for_each(|_| assert_eq!(far.send(&[7]).unwrap(), 1));
                receivers
                    .into_iter()
                    .for_each(|it| assert_eq!(it.join().unwrap(), 2));
            }
        });
    });
}

/// Of what was sent before nothing comes back, but a report that nobody was there.
#[rstest]
fn a_refusal_wakes_who_receives(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            for round in 0..20 {
                let kind = [Kind::Green, Kind::Os][round % 2];
                let (socket, _) = socket();
                let (address, _holds_it) = nobody();
                socket.connect(address).unwrap();
                let socket = Arc::new(socket);
                let waiting = socket.clone();
                let error = while_waiting(
                    kind,
                    move || waiting.recv(&mut [0]).unwrap_err(),
                    || assert_eq!(socket.send(b"anybody?").unwrap(), 8),
                );
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                // Told once; then it goes on.
                assert!(socket.take_error().unwrap().is_none());
                socket.connect(socket.local_addr().unwrap()).unwrap();
                let waiting = socket.clone();
                let length = while_waiting(
                    kind,
                    move || waiting.recv(&mut [0; 9]).unwrap(),
                    || assert_eq!(socket.send(b"me").unwrap(), 2),
                );
                assert_eq!(length, 2);
            }
        });
    });
}

/// With std a blocking call ends then; a non-blocking one does not on Linux.
#[rstest]
fn a_shutdown_ends_those_who_receive(#[context] context: Context) {
    fn shut(socket: impl AsFd) {
        // SAFETY: no pointers.
        unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), libc::SHUT_RD) };
    }
    fn outcomes(socket: &UdpSocket) -> [Result<usize, ErrorKind>; 4] {
        WAITS.map(|(_, wait)| wait(socket).map_err(|error| error.kind()))
    }
    let of_std = std_net::UdpSocket::bind(LOCALHOST).unwrap();
    of_std.connect(of_std.local_addr().unwrap()).unwrap();
    shut(&of_std);
    assert_eq!(of_std.recv(&mut [0]).unwrap(), 0);
    // (Of `recv_from` std makes what happens to be on the stack.)
    let nowhere = Err(ErrorKind::InvalidInput);
    let expected = [Ok(0), nowhere, Ok(0), nowhere];
    for workers in [1, 2] {
        with_workers(workers, &context, || {
            corde::run(move || {
                for round in 0..20 {
                    let kind = [Kind::Green, Kind::Os][round % 2];
                    let (near, _far) = pair();
                    let waiting = near.try_clone().unwrap();
                    let ended = while_waiting(kind, move || outcomes(&waiting), || shut(&near));
                    assert_eq!(ended, expected);
                    assert_eq!(outcomes(&near), expected);
                }
            });
        });
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_socket_is_selected_when_a_datagram_comes(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (near, far) = pair();
        let ready = || {
            select! {
                readable(near) => true,
                default(SHORT) => false,
            }
        };
        for _ in 0..3 {
            assert!(!ready());
            far.send(b"").unwrap();
            far.send(b"second").unwrap();
            select! {
                readable(near) => {}
                recv(never::<()>()) -> _ => unreachable!(),
            }
            assert_eq!(near.recv(&mut [0; 10]).unwrap(), 0);
            assert!(ready(), "the second one");
            assert_eq!(near.recv(&mut [0; 10]).unwrap(), 6);
        }
        select! {
            writable(near) => {}
            readable(near) => unreachable!(),
        }
    });
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn reused_descriptors_disturb_nobody(#[context] context: Context, #[case] workers: usize) {
    with_workers(workers, &context, || {
        corde::run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let lasting: Vec<_> = (0..4_u8)
                .map(|i| {
                    let (near, far) = pair();
                    let stop = stop.clone();
                    let echo = thread::spawn(move || {
                        let mut byte = [0; 2];
                        while far.recv(&mut byte).unwrap() == 1 {
                            far.send(&byte[..1]).unwrap();
                        }
                    });
                    let client = thread::spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            near.send(&[i]).unwrap();
                            let mut byte = [0; 2];
                            assert_eq!(near.recv(&mut byte).unwrap(), 1);
                            assert_eq!(byte[0], i);
                        }
                        near.send(b"").unwrap();
                    });
                    [echo, client]
                })
                .collect();
            for i in 0..100 * stress() {
                let (near, far) = pair();
                let clone = near.try_clone().unwrap();
                let waits = thread::spawn(move || clone.recv(&mut [0; 2]).unwrap());
                thread::yield_now();
                if i % 2 == 0 {
                    drop(near);
                }
                far.send(b"x").unwrap();
                assert_eq!(waits.join().unwrap(), 1);
            }
            stop.store(true, Ordering::Relaxed);
            lasting
                .into_iter()
                .flatten()
                .for_each(|it| it.join().unwrap());
        });
    });
}

// Who gives up.

type Wait = fn(&UdpSocket) -> io::Result<usize>;

/// What waits until a datagram comes.
const WAITS: [(&str, Wait); 4] = [
    ("recv", |it| it.recv(&mut [0])),
    ("recv_from", |it| it.recv_from(&mut [0]).map(|it| it.0)),
    ("peek", |it| it.peek(&mut [0])),
    ("peek_from", |it| it.peek_from(&mut [0]).map(|it| it.0)),
];

#[rstest]
fn each_wait_can_be_cancelled_and_nothing_is_lost(#[context] context: Context) {
    for workers in [1, 2] {
        with_workers(workers, &context, || {
            corde::run(|| {
                for (_, wait) in WAITS {
                    for _ in 0..10 {
                        let (near, far) = pair();
                        let near = Arc::new(near);
                        let theirs = near.clone();
                        assert_cancelled_while_waiting(move || wait(&theirs));
                        far.send(b"x").unwrap();
                        assert_eq!(near.recv(&mut [0; 2]).unwrap(), 1);
                    }
                }
            });
        });
    }
}

#[rstest]
#[timeout(LIMIT)]
fn each_wait_ends_with_a_timeout_around_it() {
    corde::run(|| {
        let (near, far) = pair();
        for (name, wait) in WAITS {
            assert!(time::timeout(SHORT, || wait(&near)).is_err(), "{name}");
        }
        far.send(b"x").unwrap();
        assert_eq!(near.recv(&mut [0; 2]).unwrap(), 1);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn each_wait_ends_with_the_timeout_of_the_socket(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (near, far) = pair();
        near.set_read_timeout(Some(SHORT)).unwrap();
        let clone = near.try_clone().unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(SHORT));
        assert_eq!(clone.write_timeout().unwrap(), None);
        for (name, wait) in WAITS {
            for socket in [&near, &clone] {
                assert_eq!(
                    wait(socket).unwrap_err().kind(),
                    ErrorKind::WouldBlock,
                    "{name}"
                );
            }
        }
        far.send(b"x").unwrap();
        assert_eq!(clone.recv(&mut [0; 2]).unwrap(), 1);
        clone.set_read_timeout(None).unwrap();
        assert_eq!(near.read_timeout().unwrap(), None);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_socket_set_to_nonblocking_does_not_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (near, far) = pair();
        near.try_clone().unwrap().set_nonblocking(true).unwrap();
        for (name, wait) in WAITS {
            assert_eq!(
                wait(&near).unwrap_err().kind(),
                ErrorKind::WouldBlock,
                "{name}"
            );
        }
        far.send(b"x").unwrap();
        assert_eq!(near.recv(&mut [0; 2]).unwrap(), 1);
        near.set_nonblocking(false).unwrap();
        near.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(
            near.recv(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

// Errors and options: as std's.

/// Outcomes of the same calls, on sockets of corde or of std.
macro_rules! outcomes {
    ($net:ident, $address:expr, $in_use:expr) => {{
        use $net::UdpSocket;
        let (nobody, in_use): (SocketAddr, SocketAddr) = ($address, $in_use);
        let any: SocketAddr = LOCALHOST.parse().unwrap();
        let none: &[SocketAddr] = &[];
        let foreign = SocketAddr::from(([1, 1, 1, 1], 0));
        let v6: SocketAddr = LOCALHOST_V6.parse().unwrap();
        let mut all = vec![
            kind_of(UdpSocket::bind(in_use).map(drop)),
            kind_of(UdpSocket::bind(foreign).map(drop)),
            kind_of(UdpSocket::bind(none).map(drop)),
            kind_of(UdpSocket::bind("no port").map(drop)),
            kind_of(UdpSocket::bind(&[in_use, foreign][..]).map(drop)),
            kind_of(UdpSocket::bind(&[in_use, any][..]).map(drop)),
        ];
        let socket = UdpSocket::bind(any).unwrap();
        all.extend([
            kind_of(socket.peer_addr().map(drop)),
            kind_of(socket.send(b"where to").map(drop)),
            kind_of(socket.send_to(b"nowhere", none).map(drop)),
            kind_of(socket.send_to(b"nowhere", "no port").map(drop)),
            kind_of(socket.send_to(b"other family", v6).map(drop)),
            kind_of(socket.send_to(b"no port", any).map(drop)),
            kind_of(socket.send_to(&[0; 70_000], in_use).map(drop)),
            // Only the first counts.
            kind_of(socket.send_to(b"first", &[v6, in_use][..]).map(drop)),
            kind_of(socket.send_to(b"broadcast", "255.255.255.255:7").map(drop)),
            kind_of(socket.connect(none)),
            kind_of(socket.connect(&[v6, v6][..])),
            kind_of(socket.connect(&[v6, nobody][..])),
            kind_of(socket.peer_addr().map(|it| assert_eq!(it, nobody))),
            kind_of(socket.send(b"anybody?").map(drop)),
            kind_of(socket.recv(&mut [0]).map(drop)),
            kind_of(socket.send(b"anybody?").map(drop)),
            kind_of(socket.recv_from(&mut [0]).map(drop)),
            kind_of(socket.send(b"anybody?").map(drop)),
            kind_of(socket.peek(&mut [0]).map(drop)),
            kind_of(socket.send(b"anybody?").map(drop)),
            kind_of(socket.peek_from(&mut [0]).map(drop)),
            kind_of(socket.send(b"anybody?").map(drop)),
            kind_of(socket.take_error().map(|it| assert!(it.is_some()))),
            kind_of(socket.take_error().map(|it| assert!(it.is_none()))),
            kind_of(socket.set_read_timeout(Some(Duration::ZERO))),
            kind_of(socket.set_write_timeout(Some(Duration::ZERO))),
            kind_of(
                socket.leave_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::LOCALHOST),
            ),
            kind_of(socket.join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST)),
            kind_of(socket.leave_multicast_v6(&Ipv6Addr::LOCALHOST, 0)),
            kind_of(socket.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0)),
            kind_of(socket.set_multicast_ttl_v4(1000)),
            kind_of(socket.set_ttl(0)),
        ]);
        all
    }};
}

#[rstest]
#[timeout(LIMIT)]
fn errors_are_those_of_std(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    use corde::net as corde_net;

    let (address, _holds_it) = nobody();
    let in_use = std_net::UdpSocket::bind(LOCALHOST).unwrap();
    let in_use_address = in_use.local_addr().unwrap();
    let expected = outcomes!(std_net, address, in_use_address);
    let outcomes = kind.run(move || outcomes!(corde_net, address, in_use_address));
    assert_eq!(outcomes, expected);
    for kind in [
        ErrorKind::AddrInUse,
        ErrorKind::AddrNotAvailable,
        ErrorKind::ConnectionRefused,
        ErrorKind::InvalidInput,
        ErrorKind::NotConnected,
        ErrorKind::PermissionDenied,
    ] {
        let kinds = expected.iter().filter_map(|it| it.err());
        assert!(kinds.map(|it| it.0).any(|it| it == kind), "{kind:?}");
    }
    let messages = [
        (
            UdpSocket::bind(&[][..]).unwrap_err(),
            std_net::UdpSocket::bind(&[][..]).unwrap_err(),
        ),
        (
            UdpSocket::bind(LOCALHOST)
                .unwrap()
                .send_to(b"", &[][..])
                .unwrap_err(),
            in_use.send_to(b"", &[][..]).unwrap_err(),
        ),
    ];
    for (ours, theirs) in messages {
        assert_eq!(ours.to_string(), theirs.to_string());
    }
}

#[test]
fn options_are_set_and_told_as_by_std() {
    macro_rules! check {
        ($socket:ident, $std:ident, $($set:ident $get:ident: $($value:expr),+;)+) => {
            $(
                assert_eq!($socket.$get().unwrap(), $std.$get().unwrap(), stringify!($get));
                $(
                    $socket.$set($value).unwrap();
                    assert_eq!($socket.$get().unwrap(), $value, stringify!($get));
                    // In the system, not beside it.
                    let same = std_net::UdpSocket::from($socket.as_fd().try_clone_to_owned().unwrap());
                    assert_eq!(same.$get().unwrap(), $value, stringify!($get));
                )+
            )+
        };
    }
    let (socket, _) = socket();
    let of_std = std_net::UdpSocket::bind(LOCALHOST).unwrap();
    check!(socket, of_std,
        set_broadcast broadcast: true, false;
        set_ttl ttl: 7, 64;
        set_multicast_loop_v4 multicast_loop_v4: false, true;
        set_multicast_ttl_v4 multicast_ttl_v4: 7, 1;
    );
    let (Ok(socket), Ok(of_std)) = (
        UdpSocket::bind(LOCALHOST_V6),
        std_net::UdpSocket::bind(LOCALHOST_V6),
    ) else {
        return eprintln!("left out in part: there is no IPv6 here");
    };
    check!(socket, of_std, set_multicast_loop_v6 multicast_loop_v6: false, true;);
}

#[rstest]
#[timeout(LIMIT)]
fn a_group_is_heard_by_those_who_joined() {
    corde::run(|| {
        // An administratively scoped group, on the loopback interface.
        let group = Ipv4Addr::new(239, 255, 77, 77);
        let member = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        if let Err(error) = member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST) {
            return eprintln!("left out: no multicast here ({error})");
        }
        let port = member.local_addr().unwrap().port();
        let (sender, _) = socket();
        socket2::SockRef::from(&sender)
            .set_multicast_if_v4(&Ipv4Addr::LOCALHOST)
            .unwrap();
        if let Err(error) = sender.send_to(b"to all", (group, port)) {
            return eprintln!("left out: no multicast here ({error})");
        }
        member
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut buffer = [0; 10];
        assert_eq!(member.recv(&mut buffer).unwrap(), 6);
        member
            .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        // Sent to the group, and then to itself: of the two only the second comes.
        sender.send_to(b"to others", (group, port)).unwrap();
        sender
            .send_to(b"to one", (Ipv4Addr::LOCALHOST, port))
            .unwrap();
        let length = member.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"to one");

        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x7777);
        let Ok(member) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
            return eprintln!("left out in part: there is no IPv6 here");
        };
        if member.join_multicast_v6(&group, 1).is_ok() {
            member.leave_multicast_v6(&group, 1).unwrap();
            let again = member.leave_multicast_v6(&group, 1).unwrap_err();
            assert_eq!(again.kind(), ErrorKind::AddrNotAvailable);
        }
    });
}

#[test]
fn conversions_keep_the_socket_and_its_mode() {
    fn is_nonblocking(fd: impl AsFd) -> bool {
        // SAFETY: no pointers.
        let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
        flags & libc::O_NONBLOCK != 0
    }
    let of_std = std_net::UdpSocket::bind(LOCALHOST).unwrap();
    let (debug, address) = (format!("{of_std:?}"), of_std.local_addr().unwrap());
    let socket = UdpSocket::from(of_std);
    assert_eq!(format!("{socket:?}"), debug);
    assert!(is_nonblocking(&socket));
    assert!(is_nonblocking(socket.try_clone().unwrap()));
    let fd = OwnedFd::from(socket);
    assert!(!is_nonblocking(&fd));
    let raw = UdpSocket::from(fd).into_raw_fd();
    // SAFETY: it was just given up.
    let socket = unsafe { UdpSocket::from_raw_fd(raw) };
    assert!(is_nonblocking(&socket));
    let of_std = std_net::UdpSocket::from(socket);
    assert!(!is_nonblocking(&of_std));
    assert_eq!(of_std.local_addr().unwrap(), address);
}

#[test]
fn threads_may_share_and_move_it() {
    fn assert_auto<T: Send + Sync + Unpin>() {}
    assert_auto::<UdpSocket>();
}
