//! `corde::net`: sockets that are registered with a runtime that has ended, that nobody attends to, or whose worker is stuck; and numbers of
//! descriptors that come back.
#![cfg(feature = "runtime")]

mod util;

use std::io::{ErrorKind, Read, Write};
use std::net as std_net;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread as std_thread;
use std::time::Duration;

use corde::net::TcpStream;
use corde::runtime::{LocalRuntime, Runtime};
use corde::sync::channel::never;
use corde::thread;
use corde::{select, time};
use rstest::{Context, rstest};
use util::net::{expect_echo, std_pair};
use util::threads::{Kind, one_on_each_worker, spin_until, wait_until};
use util::{LIMIT, stress, with_workers};

/// A connection of corde's with one of std's at the other end.
fn pair() -> (Arc<TcpStream>, std_net::TcpStream) {
    let (near, far) = std_pair();
    (Arc::new(near.into()), far)
}

/// Has the socket registered with the reactor of the calling green thread's worker, by a read that has to wait.
fn register(near: &TcpStream, far: &std_net::TcpStream) {
    let mut far = far.try_clone().unwrap();
    let writes = thread::spawn_local(move || far.write_all(&[7]).unwrap());
    read_byte(near);
    writes.join().unwrap();
}

fn read_byte(mut stream: &TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

/// Waits for the socket as one arm of a selection.
fn select_byte(stream: &TcpStream) -> u8 {
    select! {
        readable(*stream) => read_byte(stream),
        recv(never::<()>()) -> _ => unreachable!(),
    }
}

/// A way of waiting for a byte.
type Wait = fn(&TcpStream) -> u8;

// Reactors that have been left.

#[rstest]
#[case::read(read_byte)]
#[case::select(select_byte)]
#[timeout(LIMIT)]
fn a_socket_of_a_runtime_that_has_ended_goes_on_elsewhere(
    #[case] wait: Wait,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
    #[values(false, true)] local: bool,
) {
    for round in 0..20 {
        let (near, mut far) = pair();
        let (theirs, their_far) = (near.clone(), far.try_clone().unwrap());
        if local {
            let runtime = LocalRuntime::new().unwrap();
            runtime.block_on(|| register(&theirs, &their_far));
        } else {
            let runtime = Runtime::builder().workers(1).build().unwrap();
            runtime.block_on(move || register(&theirs, &their_far));
        }
        let waits = kind.spawn(move || wait(&near));
        far.write_all(&[round]).unwrap();
        assert_eq!(waits.join(), round);
    }
}

#[rstest]
#[case::read(read_byte)]
#[case::select(select_byte)]
#[timeout(LIMIT)]
fn a_socket_of_an_idle_local_runtime_is_waited_for_elsewhere(
    #[case] wait: Wait,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let runtime = LocalRuntime::new().unwrap();
    let (near, mut far) = pair();
    runtime.block_on(|| register(&near, &far));
    for round in 0..20 {
        let theirs = near.clone();
        let waits = kind.spawn(move || wait(&theirs));
        far.write_all(&[round]).unwrap();
        assert_eq!(waits.join(), round);
        // And here again.
        runtime.block_on(|| {
            far.write_all(&[round]).unwrap();
            assert_eq!(wait(&near), round);
            register(&near, &far);
        });
    }
}

/// Those who wait when it is left are several, in several ways, and the bytes come only afterwards.
#[rstest]
#[timeout(LIMIT)]
fn who_waits_at_a_reactor_that_is_left_is_woken() {
    for _ in 0..50 * stress() {
        let runtime = LocalRuntime::new().unwrap();
        let (near, mut far) = pair();
        let begun = Arc::new(AtomicUsize::new(0));
        let visitors = runtime.block_on(|| {
            register(&near, &far);
            let ways = [
                (Kind::Green, read_byte as Wait),
                (Kind::Green, select_byte),
                (Kind::Os, read_byte),
                (Kind::Os, select_byte),
            ];
            let visitors = ways.map(|(kind, wait)| {
                let (near, begun) = (near.clone(), begun.clone());
                // Not in this runtime.
                thread::blocking(|| {
                    kind.spawn(move || {
                        begun.fetch_add(1, Ordering::Relaxed);
                        wait(&near)
                    })
                })
            });
            wait_until(|| begun.load(Ordering::Relaxed) == 4);
            time::sleep(Duration::from_micros(200));
            visitors
        });
        far.write_all(b"abcd").unwrap();
        let mut bytes = visitors.map(|visitor| visitor.join());
        bytes.sort_unstable();
        assert_eq!(&bytes, b"abcd");
    }
}

/// A local runtime comes and goes while others wait for its sockets, and it waits for them itself; nobody misses a byte.
#[rstest]
#[timeout(LIMIT)]
fn a_reactor_is_left_and_attended_again_under_its_visitors() {
    const ROUNDS: usize = 300;
    let rounds = ROUNDS * stress() as usize;
    let (near, far) = pair();
    let stop = Arc::new(AtomicBool::new(false));
    let received = Arc::new(AtomicUsize::new(0));
    let comes_and_goes = std_thread::spawn({
        let (near, received, stop) = (near.clone(), received.clone(), stop.clone());
        move || {
            let runtime = LocalRuntime::new().unwrap();
            let mut one_of_its_own = None;
            while !stop.load(Ordering::Relaxed) {
                runtime.block_on(|| {
                    let (near, received) = (near.clone(), received.clone());
                    // One that is there when it is left, and goes on when it is attended again.
                    one_of_its_own.get_or_insert_with(|| {
                        thread::spawn_local(move || count_bytes(&near, &received, read_byte))
                    });
                    time::sleep(Duration::from_micros(50));
                });
            }
            runtime.block_on(|| one_of_its_own.map(|it| it.join().unwrap()));
        }
    });
    let ways = [
        (Kind::Green, read_byte as Wait),
        (Kind::Green, select_byte),
        (Kind::Os, select_byte),
    ];
    let visitors = ways.map(|(kind, wait)| {
        let (near, received) = (near.clone(), received.clone());
        kind.spawn(move || count_bytes(&near, &received, wait))
    });
    for sent in 0..rounds {
        (&far).write_all(&[1]).unwrap();
        wait_until(|| received.load(Ordering::Relaxed) > sent);
    }
    // One for each of those who count.
    (&far).write_all(&[0; 4]).unwrap();
    visitors.into_iter().for_each(|visitor| visitor.join());
    stop.store(true, Ordering::Relaxed);
    comes_and_goes.join().unwrap();
}

/// Takes bytes until one is 0.
fn count_bytes(near: &TcpStream, received: &AtomicUsize, wait: Wait) {
    while wait(near) != 0 {
        received.fetch_add(1, Ordering::Relaxed);
    }
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn a_writer_waits_elsewhere_when_its_reactor_is_left(
    #[context] context: Context,
    #[case] workers: usize,
) {
    with_workers(workers, &context, || {
        const BYTES: usize = 4 << 20;
        let runtime = LocalRuntime::new().unwrap();
        let (near, mut far) = pair();
        let writer = runtime.block_on(|| {
            register(&near, &far);
            let begun = Arc::new(AtomicBool::new(false));
            let (near, theirs) = (near.clone(), begun.clone());
            let writer = thread::blocking(|| {
                thread::spawn(move || {
                    theirs.store(true, Ordering::Relaxed);
                    (&*near).write_all(&vec![1; BYTES])
                })
            });
            wait_until(|| begun.load(Ordering::Relaxed));
            time::sleep(Duration::from_millis(1));
            writer
        });
        let mut received = vec![0; BYTES];
        far.read_exact(&mut received).unwrap();
        writer.join().unwrap().unwrap();
    });
}

// Stuck workers.

#[rstest]
#[case::read(read_byte)]
#[case::select(select_byte)]
fn the_monitor_looks_at_the_sockets_of_a_stuck_worker(
    #[context] context: Context,
    #[case] wait: Wait,
) {
    with_workers(2, &context, move || {
        let (near, mut far) = pair();
        let (begun, free) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
        let received = Arc::new(AtomicUsize::new(0));
        let (release, released) = free;
        let released = std::sync::Mutex::new(Some(released));
        let order = AtomicUsize::new(0);
        let threads = one_on_each_worker(2, {
            let (near, begun, received) = (near.clone(), begun.clone(), received.clone());
            let far = far.try_clone().unwrap();
            move || match order.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    register(&near, &far);
                    begun.store(1, Ordering::Relaxed);
                    // Not before the other one waits.
                    wait_until(|| begun.load(Ordering::Relaxed) == 2);
                    time::sleep(Duration::from_millis(1));
                    begun.store(3, Ordering::Relaxed);
                    let released = released.lock().unwrap().take().unwrap();
                    // It blocks its worker, until the other one has got all.
                    released.recv().unwrap_err();
                }
                _ => {
                    wait_until(|| begun.load(Ordering::Relaxed) == 1);
                    begun.store(2, Ordering::Relaxed);
                    for byte in 1..=3 {
                        assert_eq!(wait(&near), byte);
                        received.store(byte.into(), Ordering::Relaxed);
                    }
                }
            }
        });
        spin_until(|| begun.load(Ordering::Relaxed) == 3);
        for byte in 1..=3 {
            far.write_all(&[byte]).unwrap();
            spin_until(|| received.load(Ordering::Relaxed) == byte.into());
        }
        drop(release);
        threads.into_iter().for_each(|it| it.join().unwrap());
    });
}

/// A local runtime has no monitor. What waits for its sockets elsewhere is not told of anything, but still does not miss what has come in time.
#[rstest]
fn what_has_come_in_time_is_read_though_nobody_tells_of_it(#[context] context: Context) {
    with_workers(1, &context, || {
        let (near, mut far) = pair();
        let (release, released) = mpsc::channel::<()>();
        let (theirs, their_far) = (near.clone(), far.try_clone().unwrap());
        let stuck = Arc::new(AtomicBool::new(false));
        let gets_stuck = stuck.clone();
        let local = std_thread::spawn(move || {
            LocalRuntime::new().unwrap().block_on(|| {
                register(&theirs, &their_far);
                gets_stuck.store(true, Ordering::Relaxed);
                released.recv().unwrap_err();
            });
        });
        wait_until(|| stuck.load(Ordering::Relaxed));
        corde::run(|| {
            near.set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let reads = thread::spawn(move || read_byte(&near));
            // Now it waits.
            thread::yield_now();
            thread::yield_now();
            far.write_all(&[9]).unwrap();
            assert_eq!(reads.join().unwrap(), 9);
        });
        drop(release);
        local.join().unwrap();
    });
}

// Numbers of descriptors.

/// Duplicates a descriptor to the lowest free number from `at_least` on.
fn duplicate(fd: impl AsFd, at_least: RawFd) -> OwnedFd {
    // SAFETY: no pointers.
    let fd = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, at_least) };
    assert!(fd >= 0);
    // SAFETY: it is new.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The open file of a socket that was closed lives on in a duplicate that corde does not know of, and with it an entry for its number.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn events_of_a_closed_socket_do_not_reach_the_next_one_with_its_number(
    #[context] context: Context,
    #[case] workers: usize,
) {
    with_workers(workers, &context, || {
        corde::run(|| {
            let (old, mut old_far) = pair();
            register(&old, &old_far);
            let number = old.as_raw_fd();
            let lives_on = duplicate(&*old, 0);
            drop(old);

            let (near, mut far) = std_pair();
            let near = match near.as_raw_fd() == number {
                true => near,
                false => duplicate(near, number).into(),
            };
            assert_eq!(near.as_raw_fd(), number);
            let near = Arc::new(TcpStream::from(near));
            near.set_read_timeout(Some(Duration::from_millis(5)))
                .unwrap();
            for _ in 0..3 {
                old_far.write_all(b"old").unwrap();
                let error = (&*near).read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
            near.set_read_timeout(None).unwrap();
            let reads = thread::spawn(move || {
                let bytes = [(); 3].map(|()| read_byte(&near));
                (near, bytes)
            });
            for byte in [1, 2, 3] {
                old_far.write_all(b"old").unwrap();
                thread::yield_now();
                far.write_all(&[byte]).unwrap();
            }
            let (near, bytes) = reads.join().unwrap();
            assert_eq!(bytes, [1, 2, 3]);

            // The old one comes back, under its number, where epoll has an entry for it still.
            drop(near);
            let back = duplicate(&lives_on, number);
            assert_eq!(back.as_raw_fd(), number);
            let back = Arc::new(TcpStream::from(back));
            let mut waiting = 0;
            while (&*back).read(&mut [0; 64]).unwrap() == 64 {
                waiting += 1;
            }
            assert!(waiting < 10);
            let theirs = back.clone();
            let reads = thread::spawn(move || [(); 3].map(|()| read_byte(&theirs)));
            for byte in [4, 5, 6] {
                thread::yield_now();
                old_far.write_all(&[byte]).unwrap();
            }
            assert_eq!(reads.join().unwrap(), [4, 5, 6]);
        });
    });
}

/// All of them wait at once, as entries of different descriptors for one open file.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn duplicates_of_a_descriptor_are_sockets_of_their_own(
    #[context] context: Context,
    #[case] workers: usize,
) {
    with_workers(workers, &context, || {
        corde::run(|| {
            for _ in 0..20 * stress() {
                let (first, mut far) = pair();
                let second = Arc::new(TcpStream::from(duplicate(&*first, 0)));
                let third = Arc::new(first.try_clone().unwrap());
                let readers = [first, second, third]
                    .map(|near| thread::spawn(move || (read_byte(&near), near)));
                thread::yield_now();
                let mut seen = Vec::new();
                far.write_all(b"abc").unwrap();
                for reader in readers {
                    // Each is closed while others may still wait.
                    seen.push(reader.join().unwrap().0);
                }
                seen.sort_unstable();
                assert_eq!(seen, b"abc");
                assert_eq!(far.read(&mut [0]).unwrap(), 0);
            }
        });
    });
}

/// A number that is closed while somebody on another worker is about to get it again.
#[rstest]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn numbers_that_come_back_at_once_lose_no_wake_up(
    #[context] context: Context,
    #[case] workers: usize,
) {
    with_workers(workers, &context, move || {
        corde::run(|| {
            let threads: Vec<_> = (0..2 * workers)
                .map(|_| {
                    thread::spawn(|| {
                        for round in 0..100 * stress() {
                            let (near, far) = util::net::pair();
                            let known = near.try_clone().unwrap();
                            let unknown = duplicate(&near, 0);
                            let echo = thread::spawn(move || util::net::echo(&far));
                            expect_echo(&near, &[round as u8]);
                            drop(near);
                            expect_echo(&known, &[round as u8]);
                            drop(known);
                            let back = TcpStream::from(unknown);
                            expect_echo(&back, &[round as u8]);
                            drop(back);
                            echo.join().unwrap().unwrap();
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|it| it.join().unwrap());
        });
    });
}
