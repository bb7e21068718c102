//! `corde::net`: time limits of sockets, and sockets that do not wait, as std has them.
#![cfg(feature = "runtime")]

mod util;

use std::io::{ErrorKind, Read, Write};
use std::net as std_net;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corde::net::{SocketAddr, TcpListener, TcpStream};
use corde::runtime::LocalRuntime;
use corde::thread;
use corde::time::timeout;
use rstest::{Context, rstest};
use util::net::{LOCALHOST, expect_echo, listen, pair, std_pair};
use util::threads::{Handle, Kind};
use util::{LIMIT, with_workers};

const SHORT: Duration = Duration::from_millis(3);

fn read(mut stream: &TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut buffer = [0; 100];
    let count = stream.read(&mut buffer).map_err(|error| error.kind())?;
    Ok(buffer[..count].to_vec())
}

/// Runs `call`, which is to end with this error, but not before its time.
fn assert_lasts<T>(kind: ErrorKind, mut call: impl FnMut() -> Result<T, ErrorKind>) {
    let before = Instant::now();
    assert_eq!(call().map(drop).unwrap_err(), kind);
    assert!(before.elapsed() >= SHORT, "{:?}", before.elapsed());
}

// Reading and writing.

#[rstest]
#[timeout(LIMIT)]
fn a_read_that_takes_too_long_would_block(
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] after_a_short_read: bool,
) {
    kind.run(move || {
        let (near, mut far) = pair();
        near.set_read_timeout(Some(SHORT)).unwrap();
        assert_lasts(ErrorKind::WouldBlock, || read(&near));
        if after_a_short_read {
            far.write_all(b"data").unwrap();
            assert_eq!(read(&near).unwrap(), b"data");
        }
        assert_lasts(ErrorKind::WouldBlock, || read(&near));
        let peek = || near.peek(&mut [0]).map_err(|error| error.kind());
        assert_lasts(ErrorKind::WouldBlock, peek);
        // Nothing is lost.
        far.write_all(b"late").unwrap();
        assert_eq!(read(&near).unwrap(), b"late");
        near.set_read_timeout(None).unwrap();
        let writes = kind.spawn(move || far.write_all(b"later"));
        assert_eq!(read(&near).unwrap(), b"later");
        writes.join().unwrap();
    });
}

/// A reader that does not read fills the buffers of both ends.
#[rstest]
#[timeout(LIMIT)]
fn a_write_that_takes_too_long_would_block(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (near, mut far) = pair();
    near.set_write_timeout(Some(SHORT)).unwrap();
    let near = Arc::new(near);
    let theirs = near.clone();
    let written = kind.run(move || {
        let mut written = 0;
        let block: Vec<u8> = (0..251).cycle().take(1 << 16).collect();
        loop {
            let from = written % 251;
            match (&*theirs).write(&block[from..]) {
                Ok(count) => written += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        let late = || (&*theirs).write(&[0]).map_err(|error| error.kind());
        assert_lasts(ErrorKind::WouldBlock, late);
        written
    });
    // What counted as written arrives, and no more.
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), written);
    assert!((0..251).cycle().zip(received).all(|(byte, it)| byte == it));
}

/// Several threads of both kinds wait on handles to one socket, and the limit that one handle was given holds for all.
#[rstest]
#[timeout(LIMIT)]
fn a_time_limit_is_that_of_all_handles_and_of_each_who_waits() {
    let (near, mut far) = pair();
    let near = Arc::new(near);
    let clone = Arc::new(near.try_clone().unwrap());
    clone.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(near.read_timeout().unwrap(), Some(SHORT));
    near.set_write_timeout(Some(2 * SHORT)).unwrap();
    assert_eq!(clone.write_timeout().unwrap(), Some(2 * SHORT));
    let later = clone.try_clone().unwrap();
    assert_eq!(later.read_timeout().unwrap(), Some(SHORT));

    let readers = [&near, &clone].map(|handle| {
        [Kind::Green, Kind::Os, Kind::Green, Kind::Os].map(|kind| {
            let handle = handle.clone();
            kind.spawn(move || assert_lasts(ErrorKind::WouldBlock, || read(&handle)))
        })
    });
    readers.into_iter().flatten().for_each(Handle::join);

    later.set_read_timeout(None).unwrap();
    assert_eq!(near.read_timeout().unwrap(), None);
    let readers = [near, clone].map(|handle| {
        [Kind::Green, Kind::Os].map(|kind| {
            let handle = handle.clone();
            kind.spawn(move || (&*handle).read_exact(&mut [0]).unwrap())
        })
    });
    far.write_all(b"4444").unwrap();
    readers.into_iter().flatten().for_each(Handle::join);
}

#[rstest]
#[timeout(LIMIT)]
fn a_limit_of_0_is_refused_as_by_std() {
    let (near, _far) = pair();
    let (std_near, _std_far) = std_pair();
    let none = Some(Duration::ZERO);
    let expected = std_near.set_read_timeout(none).unwrap_err().kind();
    assert_eq!(near.set_read_timeout(none).unwrap_err().kind(), expected);
    assert_eq!(near.set_write_timeout(none).unwrap_err().kind(), expected);
    assert_eq!(near.read_timeout().unwrap(), None);
    near.set_read_timeout(Some(Duration::MAX)).unwrap();
    assert!(near.read_timeout().unwrap().is_some());
}

// Sockets that do not wait.

#[rstest]
#[timeout(LIMIT)]
fn a_socket_that_does_not_wait_would_block(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(move || {
        let (near, mut far) = pair();
        let clone = near.try_clone().unwrap();
        clone.set_nonblocking(true).unwrap();
        assert_eq!(read(&near).unwrap_err(), ErrorKind::WouldBlock);
        let peeked = near.peek(&mut [0]).unwrap_err();
        assert_eq!(peeked.kind(), ErrorKind::WouldBlock);
        far.write_all(b"data").unwrap();
        assert_eq!(read(&near).unwrap(), b"data");
        assert_eq!(read(&near).unwrap_err(), ErrorKind::WouldBlock);
        let error = loop {
            if let Err(error) = (&near).write(&[0; 1 << 16]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);

        near.set_nonblocking(false).unwrap();
        let writes = kind.spawn(move || far.write_all(b"waited for"));
        assert_eq!(read(&clone).unwrap(), b"waited for");
        writes.join().unwrap();

        let (listener, address) = listen();
        listener.set_nonblocking(true).unwrap();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = listener.incoming().next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let _client = TcpStream::connect(address).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        // Which waits, whatever its listener does.
        accepted.set_read_timeout(Some(SHORT)).unwrap();
        let reads = || accepted.read(&mut [0]).map_err(|error| error.kind());
        assert_lasts(ErrorKind::WouldBlock, reads);
    });
}

/// Though its worker, which counts events, does not come to do so.
#[test]
fn a_socket_that_does_not_wait_sees_what_has_come_at_once() {
    LocalRuntime::new().unwrap().block_on(|| {
        let (near, mut far) = std_pair();
        let near = TcpStream::from(near);
        let mut theirs = far.try_clone().unwrap();
        let writes = thread::spawn_local(move || theirs.write_all(b"first").unwrap());
        // Waits, which registers it, and gets less than it would take.
        assert_eq!(read(&near).unwrap(), b"first");
        writes.join().unwrap();
        near.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            assert_eq!(read(&near).unwrap_err(), ErrorKind::WouldBlock);
            far.write_all(b"data").unwrap();
            assert_eq!(read(&near).unwrap(), b"data");
        }
    });
}

// Connecting.

/// A listener that has no room for one more connection. It holds what it has accepted.
fn black_hole() -> (std_net::TcpListener, SocketAddr, Vec<std_net::TcpStream>) {
    let listener = std_net::TcpListener::bind(LOCALHOST).unwrap();
    let address = listener.local_addr().unwrap();
    // SAFETY: no pointers. A second call sets the length of the queue anew.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(result, 0);
    let mut fill = Vec::new();
    // What the system drops it tries again after a second.
    while let Ok(stream) = std_net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
    {
        fill.push(stream);
    }
    (listener, address, fill)
}

#[rstest]
#[timeout(LIMIT)]
fn a_connect_that_takes_too_long_times_out(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (_listener, address, _fill) = black_hole();
    kind.run(move || {
        assert_lasts(ErrorKind::TimedOut, || {
            TcpStream::connect_timeout(&address, SHORT).map_err(|error| error.kind())
        });
        assert!(timeout(SHORT, || TcpStream::connect(address)).is_err());
        // Of several addresses the first has the time of all.
        let both = [address, address];
        assert!(timeout(SHORT, || TcpStream::connect(&both[..])).is_err());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_connect_is_cancelled() {
    let (_listener, address, _fill) = black_hole();
    corde::run(move || {
        let connects = thread::spawn(move || TcpStream::connect(address).map(drop));
        thread::yield_now();
        connects.cancel();
        assert!(connects.join().unwrap_err().is::<thread::Cancelled>());
    });
}

#[rstest]
#[case::v4("127.0.0.1:0")]
#[case::v6("[::1]:0")]
#[timeout(LIMIT)]
fn a_connect_within_its_time_connects(
    #[case] any: &'static str,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(Duration::from_secs(60), Duration::MAX)] limit: Duration,
) {
    let listener = match TcpListener::bind(any) {
        Ok(listener) => listener,
        // A system without IPv6.
        Err(error) => return assert!(any.starts_with('['), "{error}"),
    };
    let address = listener.local_addr().unwrap();
    let near = kind.run(move || TcpStream::connect_timeout(&address, limit).unwrap());
    let (far, _) = listener.accept().unwrap();
    let _holds_the_port = far.try_clone().unwrap();
    let echoes = thread::spawn(move || util::net::echo(&far));
    expect_echo(&near, b"connected");
    drop(near);
    echoes.join().unwrap().unwrap();

    // The limit was for connecting only.
    drop(listener);
    let refused = kind.run(move || TcpStream::connect_timeout(&address, limit).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let zero = TcpStream::connect_timeout(&address, Duration::ZERO).unwrap_err();
    let of_std = std_net::TcpStream::connect_timeout(&address, Duration::ZERO).unwrap_err();
    assert_eq!(zero.kind(), of_std.kind());
}

// Limits of threads.

/// A limit of the thread ends any wait on a socket, and what was not waited for is there still.
#[rstest]
#[timeout(LIMIT)]
fn a_time_limit_of_the_thread_ends_a_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (near, mut far) = pair();
        let (listener, address) = listen();
        assert!(timeout(SHORT, || read(&near)).is_err());
        assert!(timeout(SHORT, || near.peek(&mut [0])).is_err());
        assert!(timeout(SHORT, || listener.accept()).is_err());
        assert!(
            timeout(SHORT, || loop {
                (&near).write_all(&[0; 1 << 16]).unwrap();
            })
            .is_err()
        );
        far.write_all(b"data").unwrap();
        assert_eq!(timeout(LIMIT, || read(&near)).unwrap().unwrap(), b"data");
        let client = TcpStream::connect(address).unwrap();
        let (_, from) = timeout(LIMIT, || listener.accept()).unwrap().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
    });
}

/// Whoever gets a byte counts it; nobody who is cancelled takes one along.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn cancelled_readers_take_nothing_along(#[context] context: Context, #[case] workers: usize) {
    with_workers(workers, &context, || {
        const BYTES: usize = 300;
        corde::run(|| {
            let (near, mut far) = pair();
            let near = Arc::new(near);
            let received = Arc::new(AtomicUsize::new(0));
            let ended = Arc::new(AtomicBool::new(false));
            let reader = || {
                let (near, received) = (near.clone(), received.clone());
                let ended = ended.clone();
                thread::spawn(move || {
                    loop {
                        match (&*near).read(&mut [0]).unwrap() {
                            0 => return ended.store(true, Ordering::Relaxed),
                            _ => received.fetch_add(1, Ordering::Relaxed),
                        };
                    }
                })
            };
            let mut readers: Vec<_> = (0..4).map(|_| reader()).collect();
            for round in 0..BYTES {
                far.write_all(&[1]).unwrap();
                let one = readers.swap_remove(round % readers.len());
                one.cancel();
                let _cancelled = one.join();
                readers.push(reader());
            }
            drop(far);
            for reader in readers {
                reader.join().unwrap();
            }
            assert!(ended.load(Ordering::Relaxed));
            assert_eq!(received.load(Ordering::Relaxed), BYTES);
        });
    });
}
