//! `corde::os::unix::net`: the same traffic, addresses and errors as with std's sockets.
#![cfg(feature = "runtime")]

mod util;

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as std_net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, process};

use corde::net::Shutdown;
#[cfg(target_os = "linux")]
use corde::os::linux::net::SocketAddrExt;
use corde::os::unix::net::{SocketAddr, UCred, UnixDatagram, UnixListener, UnixStream};
use corde::thread;
use rstest::{Context, rstest};
use util::place::Place;
use util::threads::Kind;
use util::unix::{echo, expect_echo};
use util::{LIMIT, stress, with_workers};

fn kind_of<T>(result: io::Result<T>) -> Result<T, (ErrorKind, Option<i32>)> {
    result.map_err(|error| (error.kind(), error.raw_os_error()))
}

#[rstest]
#[timeout(LIMIT)]
fn a_connection_carries_data_both_ways(
    #[values(Kind::Green, Kind::Os)] server: Kind,
    #[values(Kind::Green, Kind::Os)] client: Kind,
) {
    let directory = Place::new();
    let path = directory.0.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = server.spawn(move || {
        for stream in listener.incoming().take(3) {
            echo(&stream.unwrap()).unwrap();
        }
    });
    client.run(move || {
        for round in 0..3_u8 {
            let mut stream = UnixStream::connect(&path).unwrap();
            for length in [1, 1000, 100_000] {
                expect_echo_of_any_length(&mut stream, &vec![round; length]);
            }
        }
    });
    server.join();
}

/// Larger than both buffers: a second thread writes.
fn expect_echo_of_any_length(stream: &mut UnixStream, data: &[u8]) {
    thread::scope(|scope| {
        let writer = &*stream;
        scope.spawn(move || { writer }.write_all(data).unwrap());
        let mut answer = vec![0; data.len()];
        { writer }.read_exact(&mut answer).unwrap();
        assert_eq!(answer, data);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_thousand_streams_are_open_and_served_at_once() {
    const STREAMS: usize = 1000;
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is valid for a write.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: the system has filled it.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is valid for a read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0);

    let directory = Place::new();
    let path = directory.0.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    corde::run(move || {
        let server = thread::spawn(move || {
            let streams = listener.incoming().take(STREAMS);
            let threads: Vec<_> = streams
                .map(|stream| thread::spawn(move || echo(&stream.unwrap()).unwrap()))
                .collect();
            threads.into_iter().for_each(|it| it.join().unwrap());
        });
        let mut clients: Vec<_> = (0..STREAMS)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        for round in 0..3 {
            for (i, client) in clients.iter_mut().enumerate() {
                client
                    .write_all(format!("{round} {i:4}").as_bytes())
                    .unwrap();
            }
            for (i, client) in clients.iter_mut().enumerate() {
                let mut answer = [0; 6];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, *format!("{round} {i:4}").as_bytes());
            }
        }
        drop(clients);
        server.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn vectored_reads_and_writes_are_one_call() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let parts = [
        IoSlice::new(b"hello"),
        IoSlice::new(b", "),
        IoSlice::new(b"world"),
    ];
    assert_eq!(near.write_vectored(&parts).unwrap(), 12);
    let (mut first, mut second) = ([0; 4], [0; 20]);
    let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(far.read_vectored(&mut parts).unwrap(), 12);
    assert_eq!((&first, &second[..8]), (b"hell", &b"o, world"[..]));
    near.flush().unwrap();
}

#[rstest]
#[timeout(LIMIT)]
fn reading_nothing_is_as_in_std(
    #[values(false, true)] data: bool,
    #[values(false, true)] end: bool,
) {
    fn outcomes(mut stream: impl Read) -> [Result<usize, ErrorKind>; 3] {
        [
            stream.read(&mut []),
            stream.read_vectored(&mut []),
            stream.read_vectored(&mut [IoSliceMut::new(&mut []), IoSliceMut::new(&mut [])]),
        ]
        .map(|result| result.map_err(|error| error.kind()))
    }
    let [std_pair, pair] = [(); 2].map(|()| std_net::UnixStream::pair().unwrap());
    let (std_near, near) = (std_pair.0, UnixStream::from(pair.0));
    std_near.set_nonblocking(true).unwrap();
    near.set_nonblocking(true).unwrap();
    for mut far in [std_pair.1, pair.1] {
        if data {
            far.write_all(b"data").unwrap();
        }
        if !end {
            let _ = far.into_raw_fd();
        }
    }
    assert_eq!(outcomes(&near), outcomes(&std_near));
    assert_eq!(outcomes(&near)[1..], [Ok(0); 2]);
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
                    let (near, far) = UnixStream::pair().unwrap();
                    let stop = stop.clone();
                    let echo = thread::spawn(move || echo(&far).unwrap());
                    let client = thread::spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            expect_echo(&near, &[i; 64]);
                        }
                    });
                    [echo, client]
                })
                .collect();
            let short_lived: Vec<_> = (0..4_u8)
                .map(|i| {
                    thread::spawn(move || {
                        for round in 0..50 * stress() {
                            let (near, far) = UnixStream::pair().unwrap();
                            let clone = far.try_clone().unwrap();
                            let echo = thread::spawn(move || echo(&clone));
                            expect_echo(&near, &[i; 3]);
                            let (one, other) = UnixDatagram::pair().unwrap();
                            one.send(&[i]).unwrap();
                            assert_eq!(other.recv(&mut [0; 2]).unwrap(), 1);
                            // Closed in either order, with the echo waiting or not.
                            if round % 2 == 0 {
                                drop((near, far));
                                echo.join().unwrap().unwrap();
                            } else {
                                drop((far, near));
                            }
                        }
                    })
                })
                .collect();
            short_lived.into_iter().for_each(|it| it.join().unwrap());
            stop.store(true, Ordering::Relaxed);
            lasting
                .into_iter()
                .flatten()
                .for_each(|it| it.join().unwrap());
        });
    });
}

// Errors and addresses: as std's.

/// Outcomes of the same calls, on sockets of corde or of std.
macro_rules! outcomes {
    ($net:ident, $directory:expr) => {{
        use $net::{UnixDatagram, UnixListener, UnixStream};
        let directory: &Path = $directory;
        let [listening, dead, file, none] =
            ["listening", "dead", "file", "none"].map(|name| directory.join(name));
        let long = directory.join("x".repeat(200));
        let zero = PathBuf::from(std::ffi::OsStr::from_bytes(b"a\0b"));
        let empty = PathBuf::new();
        fs::write(&file, "").unwrap();
        let listener = UnixListener::bind(&listening).unwrap();
        drop(UnixListener::bind(&dead).unwrap());
        let datagram = UnixDatagram::unbound().unwrap();
        let mut all = Vec::new();
        for path in [&listening, &dead, &file, &none, &long, &zero, &empty] {
            all.push(kind_of(UnixStream::connect(path).map(drop)));
            all.push(kind_of(datagram.connect(path)));
            all.push(kind_of(datagram.send_to(b"data", path).map(drop)));
            if let Ok(address) = SocketAddr::from_pathname(path) {
                all.push(kind_of(UnixStream::connect_addr(&address).map(drop)));
                all.push(kind_of(datagram.connect_addr(&address)));
                all.push(kind_of(datagram.send_to_addr(b"data", &address).map(drop)));
                all.push(kind_of(UnixListener::bind_addr(&address).map(drop)));
                all.push(kind_of(UnixDatagram::bind_addr(&address).map(drop)));
                let _ = fs::remove_file(&none);
            }
            all.push(kind_of(UnixListener::bind(path).map(drop)));
            all.push(kind_of(UnixDatagram::bind(path).map(drop)));
            let _ = fs::remove_file(&none);
        }
        all.push(kind_of(datagram.send(b"unconnected").map(drop)));
        all.push(kind_of(datagram.peer_addr().map(drop)));
        all.push(kind_of(
            datagram.take_error().map(|it| assert!(it.is_none())),
        ));
        all.push(kind_of(
            listener.take_error().map(|it| assert!(it.is_none())),
        ));
        let (near, far) = UnixDatagram::pair().unwrap();
        all.push(kind_of(near.send(&vec![0; 1 << 24]).map(drop)));
        drop(far);
        all.push(kind_of(near.send(b"to nobody").map(drop)));
        near.shutdown(Shutdown::Write).unwrap();
        all.push(kind_of(near.send(b"shut").map(drop)));
        let (mut near, far) = UnixStream::pair().unwrap();
        all.push(kind_of(near.write(&[]).map(drop)));
        drop(far);
        all.push(kind_of(near.write(b"to nobody").map(drop)));
        all.push(kind_of(
            near.read(&mut [0; 8]).map(|count| assert_eq!(count, 0)),
        ));
        all.push(kind_of(near.shutdown(Shutdown::Both)));
        all.push(kind_of(near.shutdown(Shutdown::Both)));
        all.push(kind_of(near.set_read_timeout(Some(Duration::ZERO))));
        all.push(kind_of(near.set_write_timeout(Some(Duration::ZERO))));
        all
    }};
}

#[rstest]
#[timeout(LIMIT)]
fn errors_are_those_of_std(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    use corde::os::unix::net as corde_net;

    let (ours, theirs) = (Place::new(), Place::new());
    let expected: Vec<_> = {
        let std_outcomes = outcomes!(std_net, &theirs.0);
        // A number says nothing of an error that is not the system's.
        std_outcomes
            .into_iter()
            .map(|it| it.map_err(|it| it.0))
            .collect()
    };
    let outcomes = kind.run(move || outcomes!(corde_net, &ours.0));
    let outcomes: Vec<_> = outcomes
        .into_iter()
        .map(|it| it.map_err(|it| it.0))
        .collect();
    assert_eq!(outcomes, expected);
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::ConnectionRefused,
        ErrorKind::InvalidInput,
        ErrorKind::AddrInUse,
        ErrorKind::NotConnected,
        ErrorKind::BrokenPipe,
    ] {
        assert!(expected.contains(&Err(kind)), "{kind:?}");
    }
}

#[rstest]
#[timeout(LIMIT)]
fn addresses_are_those_of_std() {
    let directory = Place::new();
    let [server, client] = ["server", "client"].map(|name| directory.0.join(name));
    let listener = UnixListener::bind(&server).unwrap();
    assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*server));

    // Clients without a name, with a path, with the longest path there is.
    let longest = {
        let room = 107 - directory.0.as_os_str().len() - 1;
        directory.0.join("l".repeat(room))
    };
    for path in [None, Some(&client), Some(&longest)] {
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        if let Some(path) = path {
            socket
                .bind(&socket2::SockAddr::unix(path).unwrap())
                .unwrap();
        }
        socket
            .connect(&socket2::SockAddr::unix(&server).unwrap())
            .unwrap();
        let (stream, from) = listener.accept().unwrap();
        assert_eq!(from.as_pathname(), path.map(|it| &**it));
        assert_eq!(from.is_unnamed(), path.is_none());
        assert_eq!(
            stream.peer_addr().unwrap().as_pathname(),
            path.map(|it| &**it)
        );
        assert_eq!(stream.local_addr().unwrap().as_pathname(), Some(&*server));
    }
}

#[cfg(target_os = "linux")]
#[rstest]
#[timeout(LIMIT)]
fn abstract_names_work_everywhere(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = |what: &str| {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            // With a zero in it, which ends nothing.
            let name = format!("corde {what}\0{} {count}", process::id());
            SocketAddr::from_abstract_name(name).unwrap()
        };
        let address = name("listener");
        let listener = UnixListener::bind_addr(&address).unwrap();
        let error = UnixListener::bind_addr(&address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let mut near = UnixStream::connect_addr(&address).unwrap();
        let peer = near.peer_addr().unwrap();
        assert_eq!(peer.as_abstract_name(), address.as_abstract_name());
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"found").unwrap();
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).unwrap();

        // A client with a name.
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let own = format!("\0corde client {}", process::id());
        socket
            .bind(&socket2::SockAddr::unix(own.clone()).unwrap())
            .unwrap();
        let to = [b"\0", address.as_abstract_name().unwrap()].concat();
        let to = socket2::SockAddr::unix(std::ffi::OsStr::from_bytes(&to)).unwrap();
        socket.connect(&to).unwrap();
        let (_stream, from) = listener.accept().unwrap();
        assert_eq!(from.as_abstract_name(), Some(&own.as_bytes()[1..]));

        let (here, there) = (name("here"), name("there"));
        let receiver = UnixDatagram::bind_addr(&here).unwrap();
        let sender = UnixDatagram::bind_addr(&there).unwrap();
        sender.send_to_addr(b"one", &here).unwrap();
        sender.connect_addr(&here).unwrap();
        sender.send(b"two").unwrap();
        let (_, from) = receiver.peek_from(&mut buffer).unwrap();
        assert_eq!(from.as_abstract_name(), there.as_abstract_name());
        for expected in [b"one", b"two"] {
            let (length, from) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
            assert_eq!(from.as_abstract_name(), there.as_abstract_name());
        }
    });
}

#[test]
fn the_other_end_is_known() {
    let (near, _far) = UnixStream::pair().unwrap();
    let metadata = fs::metadata("/proc/self").unwrap();
    let (uid, gid) = {
        use std::os::unix::fs::MetadataExt;
        (metadata.uid(), metadata.gid())
    };
    let expected = UCred {
        uid,
        gid,
        pid: Some(process::id() as libc::pid_t),
    };
    assert_eq!(near.peer_cred().unwrap(), expected);
}

#[test]
fn conversions_keep_the_socket_and_its_mode() {
    fn is_nonblocking(fd: impl AsFd) -> bool {
        // SAFETY: no pointers.
        let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
        flags & libc::O_NONBLOCK != 0
    }
    let (near, far) = std_net::UnixStream::pair().unwrap();
    let number = near.as_raw_fd();
    let near = UnixStream::from(near);
    assert!(is_nonblocking(&near));
    assert!(is_nonblocking(near.try_clone().unwrap()));
    let fd = OwnedFd::from(near);
    assert!(!is_nonblocking(&fd));
    let near = UnixStream::from(fd);
    assert!(is_nonblocking(&near));
    let raw = near.into_raw_fd();
    assert_eq!(raw, number);
    // SAFETY: it was just given up.
    let mut near = unsafe { UnixStream::from_raw_fd(raw) };
    near.write_all(b"still open").unwrap();
    let mut back = std_net::UnixStream::from(near);
    assert!(!is_nonblocking(&back));
    drop(far);
    assert_eq!(
        back.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );

    let directory = Place::new();
    let listener = std_net::UnixListener::bind(directory.0.join("socket")).unwrap();
    let std_debug = format!("{listener:?}");
    let listener = UnixListener::from(listener);
    assert_eq!(format!("{listener:?}"), std_debug);
    assert!(is_nonblocking(&listener));
    let _client = UnixStream::connect(directory.0.join("socket")).unwrap();
    let (stream, _) = listener.accept().unwrap();
    assert!(is_nonblocking(&stream));
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    assert!(!is_nonblocking(std_net::UnixListener::from(listener)));
    let datagram = UnixDatagram::from(std_net::UnixDatagram::unbound().unwrap());
    assert!(is_nonblocking(&datagram));
    assert!(!is_nonblocking(std_net::UnixDatagram::from(datagram)));
}

#[test]
fn threads_may_share_and_move_them() {
    fn assert_auto<T: Send + Sync + Unpin>() {}
    assert_auto::<UnixStream>();
    assert_auto::<UnixListener>();
    assert_auto::<UnixDatagram>();
    assert_auto::<UCred>();
}
