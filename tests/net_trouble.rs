//! `corde::net`: peers that reset, vanish, or do not read; signals; limits of the system; very many connections.
#![cfg(feature = "runtime")]

mod util;

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::{MaybeUninit, size_of};
use std::net as std_net;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use corde::runtime::{LocalRuntime, Runtime};
use corde::thread;
use rstest::{Context, rstest};
use socket2::SockRef;
use util::net::{
    LOCALHOST, echo, expect_echo, listen, pair, raise_file_limit, reset, std_pair, wait_for_hangup,
};
use util::threads::{Handle, Kind, signal_all, wait_until};
use util::{LIMIT, child, full_name, left_out_under_valgrind, scaled, with_workers};

const KINDS: [Kind; 4] = [Kind::Green, Kind::Os, Kind::Green, Kind::Os];

/// Writes until the buffers are full and beyond; returns what ended that.
fn write_until_error(mut stream: &TcpStream) -> ErrorKind {
    loop {
        if let Err(error) = stream.write(&[0; 1 << 16]) {
            return error.kind();
        }
    }
}

/// Several threads of both kinds wait to read, and others to write.
struct Waiting {
    near: Arc<TcpStream>,
    readers: [Handle<Result<usize, ErrorKind>>; 4],
    writers: [Handle<ErrorKind>; 4],
}

impl Waiting {
    fn begin(near: TcpStream) -> Waiting {
        let near = Arc::new(near);
        let begun = Arc::new(AtomicUsize::new(0));
        let start = || {
            let begun = begun.clone();
            (near.clone(), move || begun.fetch_add(1, Ordering::Relaxed))
        };
        let readers = KINDS.map(|kind| {
            let (near, begins) = start();
            kind.spawn(move || {
                begins();
                (&*near).read(&mut [0]).map_err(|error| error.kind())
            })
        });
        let writers = KINDS.map(|kind| {
            let (near, begins) = start();
            kind.spawn(move || {
                begins();
                write_until_error(&near)
            })
        });
        wait_until(|| begun.load(Ordering::Relaxed) == 8);
        Waiting {
            near,
            readers,
            writers,
        }
    }
}

// Peers that are gone.

/// Whatever waits learns of it: one gets the reset, the others the end, as with std.
#[rstest]
#[timeout(LIMIT)]
fn a_reset_wakes_all_who_wait() {
    for _ in 0..10 {
        let (near, far) = pair();
        let waiting = Waiting::begin(near);
        reset(far);
        let reads = waiting.readers.map(Handle::join);
        let writes = waiting.writers.map(Handle::join);
        let resets = reads
            .iter()
            .filter(|it| **it == Err(ErrorKind::ConnectionReset))
            .count()
            + writes
                .iter()
                .filter(|it| **it == ErrorKind::ConnectionReset)
                .count();
        assert_eq!(resets, 1, "{reads:?} {writes:?}");
        for read in reads {
            assert!(
                matches!(read, Ok(0) | Err(ErrorKind::ConnectionReset)),
                "{read:?}"
            );
        }
        for write in writes {
            let broken = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(broken.contains(&write), "{write:?}");
        }
    }
}

#[rstest]
#[timeout(LIMIT)]
fn a_shutdown_wakes_all_who_wait_in_its_direction(
    #[values(Shutdown::Read, Shutdown::Write, Shutdown::Both)] how: Shutdown,
) {
    for _ in 0..10 {
        let (near, far) = pair();
        let Waiting {
            near,
            readers,
            writers,
        } = Waiting::begin(near);
        near.shutdown(how).unwrap();
        if how != Shutdown::Write {
            for reader in readers {
                assert_eq!(reader.join(), Ok(0));
            }
            reset(&far);
            drop(far);
            let _errors = writers.map(Handle::join);
        } else {
            for writer in writers {
                assert_eq!(writer.join(), ErrorKind::BrokenPipe);
            }
            drop(far);
            let _ends = readers.map(Handle::join);
        }
    }
}

/// A peer that closes while there is something that it has not read resets the connection.
#[rstest]
#[timeout(LIMIT)]
fn a_peer_that_closes_with_data_unread_resets(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (near, far) = pair();
    let (std_near, std_far) = std_pair();
    (&near).write_all(b"never read").unwrap();
    (&std_near).write_all(b"never read").unwrap();
    let waits = kind.spawn(move || {
        let outcomes = [(); 2].map(|()| (&near).read(&mut [0]).map_err(|error| error.kind()));
        (outcomes, near)
    });
    drop((far, std_far));
    let (outcomes, near) = waits.join();
    wait_for_hangup(&std_near);
    let expected = [(); 2].map(|()| (&std_near).read(&mut [0]).map_err(|error| error.kind()));
    assert_eq!(outcomes, expected);
    assert_eq!(outcomes, [Err(ErrorKind::ConnectionReset), Ok(0)]);
    let late = (&near).write(b"late").unwrap_err();
    assert_eq!(late.kind(), ErrorKind::BrokenPipe);
}

/// Either end of the race is fine, but it has to end.
#[rstest]
#[timeout(LIMIT)]
fn a_connection_that_is_reset_at_once_is_an_error_sooner_or_later(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let listener = std_net::TcpListener::bind(LOCALHOST).unwrap();
    let address = listener.local_addr().unwrap();
    let resets = std::thread::spawn(move || {
        for _ in 0..200 {
            reset(listener.accept().unwrap().0);
        }
    });
    kind.run(move || {
        for _ in 0..200 {
            let outcome = TcpStream::connect(address).and_then(|mut it| it.read(&mut [0]));
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
    resets.join().unwrap();
}

/// Has a socket vanish without a word when it is closed, as a machine that loses its power. Only root may, on Linux.
#[cfg(target_os = "linux")]
fn vanish(stream: impl AsFd) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the pointer is valid for that length.
    let result = unsafe {
        libc::setsockopt(
            stream.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            ptr::from_ref(&on).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn vanish(_stream: impl AsFd) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[rstest]
#[timeout(LIMIT)]
fn a_half_open_connection_ends_by_a_time_limit_or_by_writing(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (mut near, far) = pair();
    if let Err(error) = vanish(&far) {
        return eprintln!("left out: a connection cannot be half open: {error}");
    }
    drop(far);
    kind.run(move || {
        near.set_read_timeout(Some(Duration::from_millis(3)))
            .unwrap();
        let error = near.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        near.set_read_timeout(None).unwrap();
        // Whoever is there instead knows nothing of the connection.
        near.write_all(b"still there?").unwrap();
        let error = near.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

// Peers that are slow.

#[rstest]
#[timeout(LIMIT)]
fn vectored_writes_go_on_where_they_were_cut_off(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    const BUFFERS: usize = 300;
    let (near, mut far) = pair();
    SockRef::from(&near).set_send_buffer_size(4096).unwrap();
    let content: Vec<Vec<u8>> = (0..BUFFERS)
        .map(|i| vec![i as u8; i * 37 % 20_000 + 7])
        .collect();
    let expected = content.concat();
    let writer = kind.spawn(move || {
        let mut buffers: Vec<_> = content.iter().map(|it| IoSlice::new(it)).collect();
        let mut rest = &mut buffers[..];
        let mut calls = 0;
        while !rest.is_empty() {
            let count = (&near).write_vectored(rest).unwrap();
            assert_ne!(count, 0);
            IoSlice::advance_slices(&mut rest, count);
            calls += 1;
        }
        calls
    });
    let mut received = vec![0; expected.len()];
    // In small pieces, so that the writer is cut off again and again.
    for piece in received.chunks_mut(10_000) {
        far.read_exact(piece).unwrap();
        thread::yield_now();
    }
    assert!(received == expected, "the content is not the same");
    assert!(writer.join() > 5);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}

/// Slow readers hold up who writes to them, and nobody else.
#[rstest]
fn a_slow_reader_holds_up_its_own_writer_alone(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let slow: Vec<_> = (0..20)
                .map(|_| {
                    let (near, far) = pair();
                    let writer = thread::spawn(move || (&near).write_all(&vec![3; 8 << 20]));
                    (writer, far)
                })
                .collect();
            let (near, far) = pair();
            let echoes = thread::spawn(move || echo(&far));
            for round in 0..200 {
                expect_echo(&near, &[round; 100]);
            }
            drop(near);
            echoes.join().unwrap().unwrap();
            for (writer, far) in slow {
                assert!(!writer.is_finished());
                drop(far);
                let error = writer.join().unwrap().unwrap_err();
                let broken = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                assert!(broken.contains(&error.kind()), "{error}");
            }
        });
    });
}

/// On the loopback of `.ci/netem`, which loses packets; on a good one it takes no time.
#[rstest]
#[timeout(LIMIT)]
fn what_goes_through_a_bad_network_arrives_once_and_in_order() {
    const CONNECTIONS: usize = 20;
    const BYTES: usize = 200_000;

    fn content(seed: usize) -> Vec<u8> {
        (0..251).cycle().skip(seed).take(BYTES + seed).collect()
    }
    /// Sends one content, and expects another, at the same time.
    fn exchange(stream: TcpStream, sends: usize, expects: usize) {
        let stream = Arc::new(stream);
        let writes = stream.clone();
        let writer = thread::spawn(move || {
            for piece in content(sends).chunks(7000) {
                (&*writes).write_all(piece).unwrap();
            }
            writes.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        (&*stream).read_to_end(&mut received).unwrap();
        assert!(received == content(expects), "the content is not the same");
        writer.join().unwrap();
    }

    corde::run(|| {
        let (listener, address) = listen();
        let server = thread::spawn(move || {
            let connections: Vec<_> = listener
                .incoming()
                .take(CONNECTIONS)
                .map(|stream| {
                    let mut stream = stream.unwrap();
                    thread::spawn(move || {
                        let mut number = [0];
                        stream.read_exact(&mut number).unwrap();
                        exchange(stream, number[0].into(), CONNECTIONS);
                    })
                })
                .collect();
            connections.into_iter().for_each(|it| it.join().unwrap());
        });
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&[number as u8]).unwrap();
                    exchange(stream, CONNECTIONS, number);
                })
            })
            .collect();
        clients.into_iter().for_each(|it| it.join().unwrap());
        server.join().unwrap();
    });
}

// Signals.

/// Has the calling process interrupted by signals all the time, in all of its threads, while `body` runs.
fn in_a_storm_of_signals(body: impl FnOnce()) {
    extern "C" fn ignore(_signal: c_int) {}

    // SAFETY: sigaction is plain data for which zero is valid: no flags, so that calls are interrupted.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = ignore as extern "C" fn(c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, which is async-signal-safe; green threads have no small stacks here.
    let result = unsafe { libc::sigaction(libc::SIGALRM, &action, ptr::null_mut()) };
    assert_eq!(result, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = stop.clone();
    let signals = std::thread::spawn(move || {
        while !theirs.load(Ordering::Relaxed) {
            signal_all(libc::SIGALRM);
        }
    });
    body();
    stop.store(true, Ordering::Relaxed);
    signals.join().unwrap();
}

/// Reads, writes, accepts, connects, look-ups, and waits that are over after a time: on workers and on OS threads.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn nothing_is_interrupted_by_a_storm_of_signals(
    #[context] context: Context,
    #[case] workers: usize,
) {
    const ROUNDS: u8 = 30;
    const BYTES: usize = 1 << 20;

    fn client(kind: Kind, address: std_net::SocketAddr) {
        for round in 0..ROUNDS {
            let mut stream = match round % 3 {
                0 => TcpStream::connect(("localhost", address.port())).unwrap(),
                1 => TcpStream::connect(address).unwrap(),
                _ => TcpStream::connect_timeout(&address, LIMIT).unwrap(),
            };
            expect_echo(&mut stream, &[round; 100]);
            let limit = Duration::from_micros(500);
            stream.set_read_timeout(Some(limit)).unwrap();
            let before = Instant::now();
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!(before.elapsed() >= limit);
        }
        // More than the buffers hold, so that both sides wait.
        let stream = Arc::new(TcpStream::connect(address).unwrap());
        let writes = stream.clone();
        let writer = kind.spawn(move || {
            (&*writes).write_all(&vec![7; BYTES]).unwrap();
            writes.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        (&*stream).read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), BYTES);
        writer.join();
    }

    with_workers(workers, &context, || {
        in_a_storm_of_signals(|| {
            let (listener, address) = listen();
            let servers = [Kind::Green, Kind::Os].map(|kind| {
                let listener = listener.try_clone().unwrap();
                kind.spawn(move || {
                    for stream in listener.incoming() {
                        let stream = stream.unwrap();
                        let mut command = [0];
                        if stream.peek(&mut command).unwrap() == 0 {
                            return;
                        }
                        kind.spawn(move || echo(&stream).unwrap());
                    }
                })
            });
            let clients = KINDS.map(|kind| kind.spawn(move || client(kind, address)));
            clients.into_iter().for_each(Handle::join);
            // One for each server, which ends by it.
            for _ in &servers {
                let mut quits = TcpStream::connect(address).unwrap();
                quits.shutdown(Shutdown::Write).unwrap();
                assert_eq!(quits.read(&mut [0]).unwrap(), 0);
            }
            servers.into_iter().for_each(Handle::join);
        });
    });
}

// Limits.

fn limit_descriptors(count: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: the pointer is valid for a read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0);
}

/// Takes all file descriptors that the process may still have.
fn exhaust_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[rstest]
fn without_descriptors_calls_fail_and_leave_none_behind(#[context] context: Context) {
    fn assert_lack<T>(result: io::Result<T>) {
        let error = result.map(drop).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
    }

    if left_out_under_valgrind("it has descriptors of its own") {
        return;
    }
    with_workers(2, &context, || {
        corde::run(|| {
            limit_descriptors(64);
            let (near, far) = pair();
            let mut hoard = exhaust_descriptors();
            for free in [0, 1, 5] {
                hoard.truncate(hoard.len() - free);
                // All or nothing.
                assert_lack(TcpListener::bind_group(LOCALHOST, 6));
                let again = exhaust_descriptors();
                assert_eq!(again.len(), free);
                hoard.extend(again);
            }
            // Each needs descriptors of its own for events.
            for _ in 0..3 {
                assert!(Runtime::builder().workers(2).build().is_err());
                assert!(LocalRuntime::new().is_err());
            }
            assert!("localhost:1".to_socket_addrs().is_err());
            assert!(TcpStream::connect("localhost:1").is_err());
            // What is there goes on, also what has to be registered first.
            let echoes = thread::spawn(move || echo(&far));
            for round in 0..3 {
                expect_echo(&near, &[round; 10]);
            }
            assert_lack(near.try_clone());
            drop(near);
            echoes.join().unwrap().unwrap();

            hoard.clear();
            Runtime::builder().workers(2).build().unwrap();
            assert_eq!(TcpListener::bind_group(LOCALHOST, 6).unwrap().len(), 6);
            assert!("localhost:1".to_socket_addrs().is_ok());
        });
    });
}

// Many.

/// Where the other ends connect to: in another process, as one may not have files enough for both.
const ADDRESS: &str = "CORDE_TEST_ADDRESS";

/// Each has a green thread that waits for it.
#[rstest]
fn ten_thousand_idle_connections_are_served_when_they_stir(#[context] context: Context) {
    /// For other tests.
    const SPARE: usize = 1000;

    let count = scaled(10_000).min(raise_file_limit().saturating_sub(SPARE));
    if count < 10_000 {
        eprintln!("only {count} connections");
    }
    let server = std::env::var_os(ADDRESS).is_none().then(|| {
        let (listener, address) = listen();
        (address, thread::spawn(move || serve(&listener, count)))
    });
    let address = server.as_ref().map(|server| server.0.to_string());
    let environment = [(ADDRESS, address.as_deref().unwrap_or_default())];
    child::run(&full_name(&context), &environment, || clients(count)).assert_success();
    let (_, served) = server.expect("the child has ended");
    assert_eq!(served.join().unwrap(), count);
}

/// Echoes bytes of so many connections at once, until all have ended; returns how many bytes.
fn serve(listener: &TcpListener, count: usize) -> usize {
    let connections: Vec<_> = listener
        .incoming()
        .take(count)
        .map(|stream| {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut bytes = 0;
                let mut byte = [0];
                while stream.read(&mut byte).unwrap() == 1 {
                    stream.write_all(&byte).unwrap();
                    bytes += 1;
                }
                bytes
            })
        })
        .collect();
    connections.into_iter().map(|it| it.join().unwrap()).sum()
}

/// The other ends: all are opened, then each sends a byte, many of them at a time. Of std alone.
fn clients(count: usize) {
    const WAVE: usize = 1000;

    let address = std::env::var(ADDRESS).unwrap();
    let mut streams: Vec<_> = (0..count)
        .map(|_| std_net::TcpStream::connect(&address).unwrap())
        .collect();
    for wave in streams.chunks_mut(WAVE) {
        for stream in &mut *wave {
            stream.write_all(&[7]).unwrap();
        }
        for stream in wave {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [7]);
        }
    }
}
