//! `corde::os::unix::net::UnixDatagram`: datagrams between threads of all kinds.
#![cfg(feature = "runtime")]

mod util;

use std::io::ErrorKind;
use std::os::unix::net as std_net;

use corde::net::Shutdown;
use corde::os::unix::net::{SocketAddr, UnixDatagram};
use rstest::{Context, rstest};
use util::place::Place;
use util::threads::Kind;
use util::waiting::while_waiting;
use util::{LIMIT, with_workers};

#[rstest]
#[timeout(LIMIT)]
fn datagrams_keep_their_boundaries(
    #[values(Kind::Green, Kind::Os)] receiver: Kind,
    #[values(Kind::Green, Kind::Os)] sender: Kind,
) {
    const LENGTHS: [usize; 6] = [1, 0, 100, 0, 8192, 3];
    let directory = Place::new();
    let [to, from] = ["to", "from"].map(|name| directory.0.join(name));
    let socket = UnixDatagram::bind(&to).unwrap();
    let expected_from = from.clone();
    let receiver = receiver.spawn(move || {
        for (i, length) in LENGTHS.into_iter().cycle().take(600).enumerate() {
            let mut buffer = [0; 9000];
            let (received, from) = match i % 4 {
                0 => (socket.recv(&mut buffer).unwrap(), None),
                1 => {
                    let peeked = socket.peek_from(&mut buffer).unwrap();
                    assert_eq!(socket.peek(&mut [0; 9000]).unwrap(), peeked.0);
                    buffer.fill(0);
                    assert_eq!(socket.recv(&mut buffer).unwrap(), peeked.0);
                    (peeked.0, Some(peeked.1))
                }
                _ => socket
                    .recv_from(&mut buffer)
                    .map(|it| (it.0, Some(it.1)))
                    .unwrap(),
            };
            assert_eq!(received, length);
            assert_eq!(buffer[..length], vec![i as u8; length]);
            if let Some(from) = from {
                assert_eq!(from.as_pathname(), Some(&*expected_from));
            }
        }
    });
    sender.run(move || {
        let socket = UnixDatagram::bind(&from).unwrap();
        let address = SocketAddr::from_pathname(&to).unwrap();
        for (i, length) in LENGTHS.into_iter().cycle().take(600).enumerate() {
            let data = vec![i as u8; length];
            let sent = match i % 3 {
                0 => socket.send_to(&data, &to),
                1 => socket.send_to_addr(&data, &address),
                _ => {
                    socket.connect(&to).unwrap();
                    socket.send(&data)
                }
            };
            assert_eq!(sent.unwrap(), length);
        }
    });
    receiver.join();
}

#[test]
fn what_does_not_fit_is_lost() {
    let (near, far) = UnixDatagram::pair().unwrap();
    near.send(b"too long").unwrap();
    near.send(b"next").unwrap();
    let mut buffer = [0; 3];
    assert_eq!(far.peek(&mut buffer).unwrap(), 3);
    assert_eq!(far.recv(&mut buffer).unwrap(), 3);
    assert_eq!(&buffer, b"too");
    assert_eq!(far.recv(&mut []).unwrap(), 0);
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    assert_eq!(
        far.recv(&mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

/// A receiver that is full holds up those who are connected to it, and those who are not.
#[rstest]
#[timeout(LIMIT)]
fn senders_wait_until_the_receiver_has_room(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] connected: bool,
) {
    const EACH: usize = 200;
    let directory = Place::new();
    let path = directory.0.join("socket");
    let receiver = UnixDatagram::bind(&path).unwrap();
    corde::run(move || {
        let senders = [0_u8, 1, 2].map(|i| {
            let path = path.clone();
            kind.spawn(move || {
                let socket = UnixDatagram::unbound().unwrap();
                if connected {
                    socket.connect(&path).unwrap();
                }
                for _ in 0..EACH {
                    let sent = match connected {
                        true => socket.send(&[i; 10]),
                        false => socket.send_to(&[i; 10], &path),
                    };
                    assert_eq!(sent.unwrap(), 10);
                }
            })
        });
        let mut counts = [0; 3];
        for _ in 0..3 * EACH {
            let mut buffer = [9; 20];
            assert_eq!(receiver.recv(&mut buffer).unwrap(), 10);
            counts[usize::from(buffer[0])] += 1;
        }
        assert_eq!(counts, [EACH; 3]);
        senders.into_iter().for_each(|it| it.join());
    });
}

/// As for std, where a blocking call ends; a non-blocking one does not on Linux.
#[rstest]
fn a_shutdown_ends_those_who_receive(#[context] context: Context) {
    fn all(socket: &UnixDatagram) -> [Result<usize, ErrorKind>; 4] {
        let mut byte = [0];
        [
            socket.recv(&mut byte),
            socket.recv_from(&mut byte).map(|(length, from)| {
                assert!(from.is_unnamed());
                length
            }),
            socket.peek(&mut byte),
            socket.peek_from(&mut byte).map(|(length, from)| {
                assert!(from.is_unnamed());
                length
            }),
        ]
        .map(|result| result.map_err(|error| error.kind()))
    }
    let (std_near, _std_far) = std_net::UnixDatagram::pair().unwrap();
    std_near.shutdown(Shutdown::Read).unwrap();
    assert_eq!(std_near.recv(&mut [0]).unwrap(), 0);
    assert_eq!(std_near.recv_from(&mut [0]).unwrap().0, 0);

    for workers in [1, 2] {
        with_workers(workers, &context, || {
            corde::run(|| {
                for round in 0..30 {
                    let kind = [Kind::Green, Kind::Os][round % 2];
                    let (near, far) = UnixDatagram::pair().unwrap();
                    let waiting = near.try_clone().unwrap();
                    let outcomes = while_waiting(
                        kind,
                        move || {
                            // What was sent before is received before.
                            assert_eq!(waiting.recv(&mut [0; 9]).unwrap(), 4);
                            all(&waiting)
                        },
                        || {
                            far.send(b"last").unwrap();
                            near.shutdown(Shutdown::Read).unwrap();
                        },
                    );
                    assert_eq!(outcomes, [Ok(0); 4]);
                    // Who comes later does not wait, either, on whatever thread.
                    assert_eq!(all(&near), [Ok(0); 4]);
                    let unregistered = near.try_clone().unwrap();
                    assert_eq!(kind.run(move || all(&unregistered)), [Ok(0); 4]);
                    near.set_nonblocking(true).unwrap();
                    assert_eq!(
                        near.recv(&mut [0]).unwrap_err().kind(),
                        ErrorKind::WouldBlock
                    );
                }
            });
        });
    }
}
