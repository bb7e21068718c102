//! `corde::os::unix::net`: what waits on a socket is woken, by whatever comes or ends there, or gives up in order.
#![cfg(feature = "runtime")]

mod util;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net as std_net;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corde::net::Shutdown;
use corde::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use corde::thread;
use corde::{select, time};
use rstest::{Context, rstest};
use util::place::Place;
use util::threads::{Kind, OnDrop, one_on_each_worker};
use util::unix::{echo, expect_echo, full_listener, until_error, write_until_error};
use util::waiting::{assert_cancelled_while_waiting, while_waiting};
use util::{LIMIT, stress, with_workers};

const SHORT: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
enum Waiter {
    Reader,
    Writer,
    Peeker,
}

impl Waiter {
    /// What its wait ends with, as far as that is the same for all: how much, or which error.
    fn wait(self, mut stream: &UnixStream) -> Result<usize, ErrorKind> {
        match self {
            Waiter::Reader => stream.read(&mut [0]).map_err(|error| error.kind()),
            Waiter::Peeker => stream.peek(&mut [0]).map_err(|error| error.kind()),
            Waiter::Writer => Err(write_until_error(stream)),
        }
    }
}

#[rstest]
#[case::reader_own_read(Waiter::Reader, false, Some(Shutdown::Read), Ok(0))]
#[case::reader_own_both(Waiter::Reader, false, Some(Shutdown::Both), Ok(0))]
#[case::reader_other_write(Waiter::Reader, true, Some(Shutdown::Write), Ok(0))]
#[case::reader_other_closed(Waiter::Reader, true, None, Ok(0))]
#[case::peeker_other_closed(Waiter::Peeker, true, None, Ok(0))]
#[case::writer_own_write(
    Waiter::Writer,
    false,
    Some(Shutdown::Write),
    Err(ErrorKind::BrokenPipe)
)]
#[case::writer_own_both(
    Waiter::Writer,
    false,
    Some(Shutdown::Both),
    Err(ErrorKind::BrokenPipe)
)]
#[case::writer_other_read(Waiter::Writer, true, Some(Shutdown::Read), Err(ErrorKind::BrokenPipe))]
#[case::writer_other_closed(Waiter::Writer, true, None, Err(ErrorKind::BrokenPipe))]
fn a_shutdown_or_a_close_wakes_who_waits(
    #[context] context: Context,
    #[case] waiter: Waiter,
    #[case] by_the_other_end: bool,
    #[case] how: Option<Shutdown>,
    #[case] expected: Result<usize, ErrorKind>,
) {
    // On one worker the order is certain, on two there are races.
    for workers in [1, 2] {
        with_workers(workers, &context, || {
            corde::run(move || {
                for round in 0..20 {
                    let kind = [Kind::Green, Kind::Green, Kind::Os][round % 3];
                    let (near, far) = UnixStream::pair().unwrap();
                    // Waits on a clone now and then.
                    let waiting = match round % 2 {
                        0 => near.try_clone().unwrap(),
                        _ => near.try_clone().and_then(|it| it.try_clone()).unwrap(),
                    };
                    let outcome = while_waiting(
                        kind,
                        move || waiter.wait(&waiting),
                        || match (by_the_other_end, how) {
                            (true, Some(how)) => far.shutdown(how).unwrap(),
                            (true, None) => drop(far),
                            (false, how) => near.shutdown(how.unwrap()).unwrap(),
                        },
                    );
                    assert_eq!(outcome, expected);
                }
            });
        });
    }
}

#[rstest]
#[timeout(LIMIT)]
fn one_direction_ends_and_the_other_goes_on(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (mut near, far) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let mut all = String::new();
            (&far).read_to_string(&mut all).unwrap();
            (&far).write_all(all.to_uppercase().as_bytes()).unwrap();
        });
        near.write_all(b"question").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            near.write(b"more").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "QUESTION");
        server.join().unwrap();
    });
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn several_wait_in_both_directions_and_all_get_theirs(
    #[context] context: Context,
    #[case] workers: usize,
) {
    const EACH: usize = 4;
    const BLOCK: usize = 64 * 1024;
    with_workers(workers, &context, || {
        corde::run(|| {
            for _ in 0..10 * stress() {
                let (near, far) = UnixStream::pair().unwrap();
                let (near, far) = (Arc::new(near), Arc::new(far));
                let kinds = [Kind::Green, Kind::Green, Kind::Os, Kind::Green];
                let readers = kinds.map(|kind| {
                    let near = near.clone();
                    kind.spawn(move || (&*near).read_exact(&mut [0; 100]).unwrap())
                });
                let writers = kinds.map(|kind| {
                    let near = near.clone();
                    kind.spawn(move || (&*near).write_all(&[7; BLOCK]).unwrap())
                });
                (&*far).write_all(&[1; EACH * 100]).unwrap();
                let mut all = vec![0; EACH * BLOCK];
                (&*far).read_exact(&mut all).unwrap();
                readers.into_iter().chain(writers).for_each(|it| it.join());
            }
        });
    });
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn each_acceptor_gets_a_connection(#[context] context: Context, #[case] workers: usize) {
    with_workers(workers, &context, || {
        let directory = Place::new();
        let path = directory.0.join("socket");
        let listener = Arc::new(UnixListener::bind(&path).unwrap());
        for _ in 0..50 * stress() {
            let listener = listener.clone();
            let acceptors = one_on_each_worker(workers, move || {
                let (stream, _) = listener.accept().unwrap();
                (&stream).read_exact(&mut [0]).unwrap();
            });
            let clients: Vec<_> = acceptors
                .iter()
                .map(|_| std_net::UnixStream::connect(&path).unwrap())
                .collect();
            for mut client in clients {
                client.write_all(&[7]).unwrap();
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
            acceptors.into_iter().for_each(|it| it.join().unwrap());
        }
    });
}

#[rstest]
fn sockets_are_selected_when_they_are_ready(#[context] context: Context) {
    with_workers(1, &context, || {
        for green in [true, false] {
            let scenario = || {
                let directory = Place::new();
                let path = directory.0.join("socket");
                let listener = UnixListener::bind(&path).unwrap();
                let (stream, mut other) = UnixStream::pair().unwrap();
                let (datagram, sender) = UnixDatagram::pair().unwrap();
                let ready = || {
                    select! {
                        readable(listener) => "listener",
                        readable(stream) => "stream",
                        readable(datagram) => "datagram",
                        default(SHORT) => "none",
                    }
                };
                assert_eq!(ready(), "none");
                let late = thread::spawn(move || {
                    other.write_all(&[1]).unwrap();
                    other
                });
                assert_eq!(ready(), "stream");
                assert_eq!((&stream).read(&mut [0; 2]).unwrap(), 1);
                drop(late);
                sender.send(b"").unwrap();
                loop {
                    match ready() {
                        // The end of the stream.
                        "stream" => continue,
                        which => break assert_eq!(which, "datagram"),
                    }
                }
                assert_eq!(datagram.recv(&mut [0; 2]).unwrap(), 0);
                drop(stream);
                let _client = UnixStream::connect(&path).unwrap();
                select! {
                    readable(listener) => drop(listener.accept().unwrap()),
                    readable(datagram) => unreachable!(),
                }
                select! {
                    writable(datagram) => {}
                    readable(listener) => unreachable!(),
                }
            };
            if green {
                corde::run(scenario)
            } else {
                scenario()
            }
        }
    });
}

type Wait = Box<dyn FnOnce() + Send>;

/// What may be waited for, each without an end.
fn endless_waits() -> Vec<(&'static str, Wait)> {
    fn stream(wait: impl FnOnce(&UnixStream) + Send + 'static) -> Wait {
        Box::new(move || {
            let (near, _far) = UnixStream::pair().unwrap();
            wait(&near);
        })
    }
    fn datagram(wait: impl FnOnce(&UnixDatagram) + Send + 'static) -> Wait {
        Box::new(move || {
            let (near, _far) = UnixDatagram::pair().unwrap();
            wait(&near);
        })
    }
    vec![
        ("read", stream(|mut it| drop(it.read(&mut [0])))),
        ("peek", stream(|it| drop(it.peek(&mut [0])))),
        (
            "write",
            stream(|it| assert_eq!(write_until_error(it), ErrorKind::Other)),
        ),
        ("recv", datagram(|it| drop(it.recv(&mut [0])))),
        ("recv_from", datagram(|it| drop(it.recv_from(&mut [0])))),
        ("peek a datagram", datagram(|it| drop(it.peek(&mut [0])))),
        ("peek_from", datagram(|it| drop(it.peek_from(&mut [0])))),
        ("send", datagram(|it| while it.send(&[0; 1000]).is_ok() {})),
        (
            "send_to",
            Box::new(|| {
                let directory = Place::new();
                let path = directory.0.join("socket");
                let _full = UnixDatagram::bind(&path).unwrap();
                let sender = UnixDatagram::unbound().unwrap();
                while sender.send_to(&[0; 1000], &path).is_ok() {}
            }),
        ),
        (
            "accept",
            Box::new(|| {
                let directory = Place::new();
                let listener = UnixListener::bind(directory.0.join("socket")).unwrap();
                drop(listener.accept());
            }),
        ),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        (
            "connect",
            Box::new(|| {
                let directory = Place::new();
                let (_listener, path) = full_listener(&directory);
                drop(UnixStream::connect(path));
            }),
        ),
    ]
}

#[rstest]
fn each_wait_can_be_cancelled(#[context] context: Context) {
    for workers in [1, 2] {
        with_workers(workers, &context, || {
            corde::run(|| {
                for _ in 0..5 {
                    for (_, wait) in endless_waits() {
                        assert_cancelled_while_waiting(move || {
                            wait();
                            unreachable!("it ended by itself");
                        });
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
        for (name, wait) in endless_waits() {
            assert!(time::timeout(SHORT, wait).is_err(), "{name}");
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn each_wait_ends_with_the_timeout_of_the_socket(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (near, _far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(SHORT)).unwrap();
        near.set_write_timeout(Some(SHORT)).unwrap();
        let clone = near.try_clone().unwrap();
        for stream in [&near, &clone] {
            for waiter in [Waiter::Reader, Waiter::Peeker, Waiter::Writer] {
                assert_eq!(waiter.wait(stream), Err(ErrorKind::WouldBlock));
            }
        }
        let directory = Place::new();
        let path = directory.0.join("socket");
        let full = UnixDatagram::bind(&path).unwrap();
        let (near, _far) = UnixDatagram::pair().unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        for socket in [&near, &sender] {
            socket.set_read_timeout(Some(SHORT)).unwrap();
            socket.set_write_timeout(Some(SHORT)).unwrap();
        }
        let mut byte = [0];
        let address = full.local_addr().unwrap();
        for kind in [
            near.recv(&mut byte).unwrap_err().kind(),
            near.recv_from(&mut byte).unwrap_err().kind(),
            near.peek(&mut byte).unwrap_err().kind(),
            near.peek_from(&mut byte).unwrap_err().kind(),
            until_error(|| near.send(&[0; 100])),
            until_error(|| sender.send_to(&[0; 100], &path)),
            until_error(|| sender.send_to_addr(&[0; 100], &address)),
        ] {
            assert_eq!(kind, ErrorKind::WouldBlock);
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_socket_set_to_nonblocking_does_not_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let directory = Place::new();
        let path = directory.0.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _far) = UnixStream::pair().unwrap();
        let (datagram, _other) = UnixDatagram::pair().unwrap();
        let full = UnixDatagram::bind(directory.0.join("full")).unwrap();
        let address = full.local_addr().unwrap();
        listener.try_clone().unwrap().set_nonblocking(true).unwrap();
        stream.try_clone().unwrap().set_nonblocking(true).unwrap();
        datagram.try_clone().unwrap().set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(
            (&stream).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert_eq!(write_until_error(&stream), ErrorKind::WouldBlock);
        assert_eq!(
            datagram.recv(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert_eq!(
            until_error(|| datagram.send(&[0; 100])),
            ErrorKind::WouldBlock
        );
        let to_full = || datagram.send_to_addr(&[0; 100], &address);
        assert_eq!(until_error(to_full), ErrorKind::WouldBlock);
        // And back: it waits.
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(
            (&stream).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

// A full queue of the listener.

#[cfg(any(target_os = "linux", target_os = "android"))]
#[rstest]
#[case::until_it_is_accepted(true)]
#[case::until_it_is_refused(false)]
#[timeout(LIMIT)]
fn connect_waits(#[case] accepted: bool, #[values(Kind::Green, Kind::Os)] kind: Kind) {
    let directory = Place::new();
    let (listener, path) = full_listener(&directory);
    corde::run(move || {
        let waits = kind.spawn(move || UnixStream::connect(path));
        // Others go on meanwhile.
        let (near, far) = UnixStream::pair().unwrap();
        let echo = thread::spawn(move || echo(&far));
        expect_echo(&near, b"meanwhile");
        drop(near);
        echo.join().unwrap().unwrap();
        if accepted {
            listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut connected = waits.join().unwrap();
            stream.write_all(b"welcome").unwrap();
            let mut greeting = [0; 7];
            connected.read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, b"welcome");
        } else {
            drop(listener);
            let error = waits.join().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[rstest]
#[timeout(LIMIT)]
fn many_that_wait_to_connect_all_do() {
    const CLIENTS: usize = 100;
    let directory = Place::new();
    let (listener, path) = full_listener(&directory);
    corde::run(move || {
        let path: Arc<Path> = path.into();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|i| {
                let path = path.clone();
                thread::spawn(move || {
                    let mut stream = UnixStream::connect(path).unwrap();
                    stream.write_all(&[i as u8]).unwrap();
                })
            })
            .collect();
        let streams = listener.incoming().skip(1).take(CLIENTS);
        let seen: BTreeSet<u8> = streams
            .map(|stream| {
                let mut byte = [0];
                stream.unwrap().read_exact(&mut byte).unwrap();
                byte[0]
            })
            .collect();
        assert_eq!(seen.len(), CLIENTS);
        clients.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[rstest]
fn a_destructor_may_connect_while_its_thread_unwinds(#[context] context: Context) {
    with_workers(1, &context, || {
        let directory = Place::new();
        let (listener, path) = full_listener(&directory);
        let unwinding = thread::spawn(move || {
            let _says_goodbye = OnDrop(move || {
                let stream = UnixStream::connect(&path).unwrap();
                (&stream).write_all(b"bye").unwrap();
            });
            util::threads::panic_quietly();
        });
        // On an OS thread, as the worker's is taken.
        let peer = std::thread::spawn(move || {
            listener.accept().unwrap();
            let mut text = String::new();
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(peer.join().unwrap(), "bye");
        unwinding.join().unwrap_err();
    });
}

#[rstest]
fn a_shutdown_ends_those_who_accept(#[context] context: Context) {
    for workers in [1, 2] {
        with_workers(workers, &context, || {
            corde::run(|| {
                let directory = Place::new();
                for round in 0..20 {
                    let listener = UnixListener::bind(directory.0.join(round.to_string())).unwrap();
                    let waiting = listener.try_clone().unwrap();
                    let kind = [Kind::Green, Kind::Os][round % 2];
                    let shut_down = || {
                        // SAFETY: no pointers.
                        let result = unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) };
                        assert_eq!(result, 0);
                    };
                    let error =
                        while_waiting(kind, move || waiting.accept().unwrap_err(), shut_down);
                    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
                }
            });
        });
    }
}
