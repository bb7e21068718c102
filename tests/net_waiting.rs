//! `corde::net`: what waits on a socket is woken, whoever else waits there, from whichever worker, whatever closes meanwhile.
#![cfg(feature = "runtime")]

mod util;

use std::ffi::c_int;
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net as std_net;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use corde::net::{Shutdown, TcpStream};
use corde::thread;
use rstest::{Context, rstest};
use util::net::{LOCALHOST, echo, expect_echo, listen, pair, reset};
use util::threads::{Handle, Kind, OnDrop, one_on_each_worker, signal_all, wait_until};
use util::{LIMIT, stress, with_workers};

/// Lets a thread wait, and then ends that. On one worker the wait has certainly begun by then; on more there is a race.
fn while_waiting(wait: impl FnOnce() + Send + 'static, end_it: impl FnOnce()) {
    let begun = Arc::new(AtomicBool::new(false));
    let theirs = begun.clone();
    let waiting = thread::spawn(move || {
        theirs.store(true, Ordering::Relaxed);
        wait();
    });
    wait_until(|| begun.load(Ordering::Relaxed));
    end_it();
    waiting.join().unwrap();
}

/// Fills the buffers of a connection whose other end does not read, until an error ends it.
fn write_until_error(mut stream: &TcpStream) -> ErrorKind {
    loop {
        if let Err(error) = stream.write(&[0; 1 << 16]) {
            return error.kind();
        }
    }
}

#[rstest]
#[case::a_reader_by_the_end_of_reading(|| {
    let (near, _far) = pair();
    let near = Arc::new(near);
    let other = near.clone();
    while_waiting(
        move || assert_eq!((&*other).read(&mut [0]).unwrap(), 0),
        || near.shutdown(Shutdown::Read).unwrap(),
    );
})]
#[case::a_reader_by_the_end_of_both(|| {
    let (near, _far) = pair();
    let near = Arc::new(near);
    let other = near.clone();
    while_waiting(
        move || assert_eq!((&*other).read(&mut [0]).unwrap(), 0),
        || near.shutdown(Shutdown::Both).unwrap(),
    );
})]
#[case::a_reader_of_a_clone(|| {
    let (near, _far) = pair();
    let mut clone = near.try_clone().unwrap();
    while_waiting(
        move || assert_eq!(clone.read(&mut [0]).unwrap(), 0),
        || near.shutdown(Shutdown::Both).unwrap(),
    );
})]
#[case::a_reader_by_the_other_end(|| {
    let (mut near, far) = pair();
    while_waiting(
        move || assert_eq!(near.read(&mut [0]).unwrap(), 0),
        || drop(far),
    );
})]
#[case::a_writer_by_the_end_of_writing(|| {
    let (near, _far) = pair();
    let near = Arc::new(near);
    let other = near.clone();
    while_waiting(
        move || assert_eq!(write_until_error(&other), ErrorKind::BrokenPipe),
        || near.shutdown(Shutdown::Write).unwrap(),
    );
})]
#[case::a_writer_by_a_reset(|| {
    let (near, far) = pair();
    while_waiting(
        move || assert_eq!(write_until_error(&near), ErrorKind::ConnectionReset),
        || reset(far),
    );
})]
#[case::a_reader_by_a_reset(|| {
    let (mut near, far) = pair();
    while_waiting(
        move || {
            let error = near.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        },
        || reset(far),
    );
})]
fn who_waits_is_woken(#[context] context: Context, #[case] scenario: fn()) {
    // On one worker the order is certain, on two there are races.
    for workers in [1, 2] {
        with_workers(workers, &context, || {
            corde::run(|| (0..50).for_each(|_| scenario()));
        });
    }
}

/// An `unpark` is not what a reader waits for; the `park` that follows gets it.
#[rstest]
fn a_reader_leaves_the_token_of_park(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let (mut near, mut far) = pair();
            let reader = thread::spawn(move || {
                near.read_exact(&mut [0]).unwrap();
                thread::park();
            });
            thread::yield_now();
            thread::yield_now();
            reader.thread().unpark();
            thread::yield_now();
            far.write_all(&[7]).unwrap();
            reader.join().unwrap();
        });
    });
}

#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
fn a_clone_outlives_its_original(#[context] context: Context, #[case] workers: usize) {
    with_workers(workers, &context, || {
        corde::run(|| {
            for _ in 0..50 {
                let (near, mut far) = pair();
                let mut clone = near.try_clone().unwrap();
                // Both are registered, and then only one is left, with somebody waiting.
                let registers = thread::spawn(move || {
                    (&near).read_exact(&mut [0]).unwrap();
                    near
                });
                far.write_all(&[1]).unwrap();
                let near = registers.join().unwrap();
                while_waiting(
                    move || expect_echo(&mut clone, b"still open"),
                    || {
                        drop(near);
                        let mut buffer = [0; 10];
                        far.read_exact(&mut buffer).unwrap();
                        far.write_all(&buffer).unwrap();
                    },
                );
                assert_eq!(far.read(&mut [0]).unwrap(), 0);
            }
        });
    });
}

/// One byte for each of several readers, sent at once: the event is also for those who have tried and are about to wait.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn several_readers_of_a_socket_all_get_their_byte(
    #[context] context: Context,
    #[case] workers: usize,
) {
    const READERS: usize = 8;
    with_workers(workers, &context, || {
        corde::run(|| {
            let (near, mut far) = pair();
            let near = Arc::new(near);
            for _ in 0..1000 * stress() {
                let readers = [(); READERS].map(|()| {
                    let near = near.clone();
                    thread::spawn(move || (&*near).read_exact(&mut [0]))
                });
                far.write_all(&[7; READERS]).unwrap();
                for reader in readers {
                    reader.join().unwrap().unwrap();
                }
            }
        });
    });
}

/// Each acceptor accepts once: a connection that found nobody woken for it would be left over with somebody waiting.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn each_acceptor_gets_a_connection(#[context] context: Context, #[case] workers: usize) {
    with_workers(workers, &context, || {
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        for _ in 0..100 * stress() {
            let listener = listener.clone();
            let acceptors = one_on_each_worker(workers, move || {
                let (stream, _) = listener.accept().unwrap();
                // Leaves the others to themselves.
                (&stream).read_exact(&mut [0]).unwrap();
            });
            let clients: Vec<_> = acceptors
                .iter()
                .map(|_| std_net::TcpStream::connect(address).unwrap())
                .collect();
            // Once all are accepted they may end.
            for mut client in clients {
                client.write_all(&[7]).unwrap();
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
            for acceptor in acceptors {
                acceptor.join().unwrap();
            }
        }
    });
}

#[rstest]
#[case::one_worker(1)]
#[case::four_workers(4)]
fn several_acceptors_lose_no_connection(#[context] context: Context, #[case] workers: usize) {
    const CONNECTIONS: usize = 1000;
    const CLIENTS: usize = 20;
    const QUIT: u8 = 0;
    const ECHO: u8 = 1;

    with_workers(workers, &context, || {
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        let acceptors = one_on_each_worker(workers, move || {
            let mut accepted = 0;
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut command = [0];
                stream.read_exact(&mut command).unwrap();
                if command == [QUIT] {
                    return accepted;
                }
                accepted += 1;
                stream.write_all(&command).unwrap();
            }
        });
        corde::run(|| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    thread::spawn(move || {
                        for _ in 0..CONNECTIONS / CLIENTS {
                            expect_echo(TcpStream::connect(address).unwrap(), &[ECHO]);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.join().unwrap();
            }
            for _ in 0..workers {
                TcpStream::connect(address)
                    .unwrap()
                    .write_all(&[QUIT])
                    .unwrap();
            }
            let accepted = acceptors
                .into_iter()
                .map(|acceptor| acceptor.join().unwrap());
            assert_eq!(accepted.sum::<usize>(), CONNECTIONS);
        });
    });
}

/// It is registered with the first worker, and read on the second.
#[rstest]
fn a_stream_moves_to_another_worker(#[context] context: Context) {
    with_workers(2, &context, || {
        corde::run(|| {
            let (listener, address) = listen();
            let client = thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for byte in 0..100 {
                    expect_echo(&mut stream, &[byte]);
                }
            });
            let (stream, _) = listener.accept().unwrap();
            let stream = Arc::new(stream);
            let mut threads = one_on_each_worker(2, {
                let turn = Arc::new(AtomicUsize::new(0));
                move || {
                    // One after the other, so that each reads half of it.
                    let mine = turn.fetch_add(1, Ordering::SeqCst);
                    wait_until(|| turn.load(Ordering::SeqCst) == 2 + mine);
                    for _ in 0..50 {
                        let mut byte = [0];
                        (&*stream).read_exact(&mut byte).unwrap();
                        (&*stream).write_all(&byte).unwrap();
                    }
                    turn.fetch_add(1, Ordering::SeqCst);
                    std::thread::current().id()
                }
            });
            let second = threads.pop().unwrap().join().unwrap();
            let first = threads.pop().unwrap().join().unwrap();
            assert_ne!(first, second);
            client.join().unwrap();
        });
    });
}

/// Sockets come and go, and with them the numbers of their descriptors, beside connections that last.
#[rstest]
#[case::one_worker(1)]
#[case::two_workers(2)]
#[case::four_workers(4)]
fn reused_descriptors_disturb_nobody(#[context] context: Context, #[case] workers: usize) {
    with_workers(workers, &context, || {
        corde::run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let lasting: Vec<_> = (0..8_u8)
                .map(|i| {
                    let (near, far) = pair();
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
            let short_lived: Vec<_> = (0..8_u8)
                .map(|i| {
                    thread::spawn(move || {
                        for round in 0..50 * stress() {
                            let (near, far) = pair();
                            let clone = far.try_clone().unwrap();
                            let echo = thread::spawn(move || echo(&clone));
                            expect_echo(&near, &[i; 3]);
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
            for thread in short_lived {
                thread.join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            for thread in lasting.into_iter().flatten() {
                thread.join().unwrap();
            }
        });
    });
}

/// A full queue of the listener leaves a connect pending; the system tries again after a second.
#[rstest]
#[case::until_it_is_accepted(true)]
#[case::until_it_is_refused(false)]
#[timeout(LIMIT)]
fn connect_waits(#[case] accepted: bool) {
    let listener = std_net::TcpListener::bind(LOCALHOST).unwrap();
    let address = listener.local_addr().unwrap();
    // SAFETY: no pointers. A second call sets the length of the queue anew.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(result, 0);
    corde::run(move || {
        let _client = TcpStream::connect(address).unwrap();
        // Keeps the port from being given to others when the listener is gone.
        let _holds_the_port = listener.accept().unwrap();
        let _fills_the_queue = TcpStream::connect(address).unwrap();
        let waits = thread::spawn(move || TcpStream::connect(address));
        // Others go on meanwhile.
        let (near, far) = pair();
        let echo = thread::spawn(move || echo(&far));
        expect_echo(&near, b"meanwhile");
        drop(near);
        echo.join().unwrap().unwrap();
        assert!(!waits.is_finished());
        if accepted {
            listener.accept().unwrap();
            let connected = waits.join().unwrap().unwrap();
            assert_eq!(connected.peer_addr().unwrap(), address);
        } else {
            drop(listener);
            let error = waits.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

/// An unwinding thread waits on its worker's OS thread, for sockets as well.
#[rstest]
fn a_destructor_may_use_a_socket_while_its_thread_unwinds(#[context] context: Context) {
    with_workers(1, &context, || {
        for _ in 0..20 {
            let (listener, address) = listen();
            let peer = std::thread::spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                echo(&stream).unwrap();
            });
            let unwinding = thread::spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                expect_echo(&stream, b"before");
                let _says_goodbye = OnDrop(move || {
                    assert!(std::thread::panicking());
                    expect_echo(&stream, b"goodbye");
                });
                std::panic::resume_unwind(Box::new("quiet"));
            });
            assert!(unwinding.join().unwrap_err().is::<&str>());
            peer.join().unwrap();
        }
    });
}

/// Interrupted system calls are repeated, on workers and on other OS threads.
#[rstest]
fn signals_disturb_nobody(#[context] context: Context) {
    extern "C" fn ignore(_signal: c_int) {}

    with_workers(2, &context, || {
        // SAFETY: sigaction is plain data for which zero is valid: no flags, so that calls are interrupted.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = ignore as extern "C" fn(c_int) as libc::sighandler_t;
        // SAFETY: the handler does nothing, which is async-signal-safe; green threads have no small stacks here.
        let result = unsafe { libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()) };
        assert_eq!(result, 0);
        let (listener, address) = listen();
        let server = thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let stream = stream.unwrap();
                thread::spawn(move || echo(&stream).unwrap());
            }
        });
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let signals = std::thread::spawn(move || {
            while !theirs.load(Ordering::Relaxed) {
                signal_all(libc::SIGUSR1);
            }
        });
        let client = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            (0..100).for_each(|round| expect_echo(&mut stream, &[round; 10]));
            thread::sleep(Duration::from_millis(1));
        };
        let clients = [Kind::Green, Kind::Os].map(|kind| kind.spawn(client));
        clients.into_iter().for_each(Handle::join);
        server.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        signals.join().unwrap();
    });
}
