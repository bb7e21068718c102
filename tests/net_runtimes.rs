//! `corde::net`: sockets that threads of several runtimes, and of none, wait for, while runtimes come and go.
#![cfg(feature = "runtime")]

mod util;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread as std_thread;
use std::time::Duration;

use corde::net::TcpStream;
use corde::runtime::{Builder, LocalRuntime};
use corde::thread::{self, CancelToken, spawn_local};
use corde::{io, select, time};
use rstest::{Context, rstest};
use util::net::std_pair;
use util::random::Xorshift;
use util::threads::wait_until;
use util::{stress, with_workers};

#[rstest]
fn a_result_that_nobody_takes_may_be_a_socket_of_who_wakes(#[context] context: Context) {
    with_workers(1, &context, || {
        let other = Builder::new().workers(1).build().unwrap();
        for _ in 0..50 * stress() {
            LocalRuntime::new().unwrap().block_on(|| {
                let (near, mut far) = std_pair();
                let mut near = TcpStream::from(near);
                // Registered here by a read that waits.
                let mut writer = far.try_clone().unwrap();
                let writing = spawn_local(move || writer.write_all(b"1").unwrap());
                near.read_exact(&mut [0]).unwrap();
                writing.join().unwrap();

                let begun = Arc::new(AtomicBool::new(false));
                let theirs = begun.clone();
                other.handle().spawn(move || {
                    theirs.store(true, Ordering::Relaxed);
                    near.read_exact(&mut [0]).unwrap();
                    // Whoever has the last reference to this thread drops it; maybe who delivers the event.
                    near
                });
                wait_until(|| begun.load(Ordering::Relaxed));
                (0..300).for_each(|_| thread::yield_now());
                far.write_all(b"2").unwrap();
                time::timeout(Duration::from_micros(200), thread::park).unwrap_err();
            });
        }
    });
}

/// Sockets with somebody at their other ends who writes as many bytes as are asked for.
#[derive(Clone)]
struct Sockets {
    near: Arc<Vec<TcpStream>>,
    asking: mpsc::Sender<usize>,
}

impl Sockets {
    fn new(count: usize) -> Sockets {
        let (near, far): (Vec<_>, Vec<_>) = (0..count).map(|_| std_pair()).unzip();
        let (asking, asked) = mpsc::channel::<usize>();
        std_thread::spawn(move || {
            for index in asked {
                (&far[index]).write_all(&[0]).unwrap();
            }
        });
        let near = Arc::new(near.into_iter().map(TcpStream::from).collect());
        Sockets { near, asking }
    }

    /// Asks for a byte, and reads one: nobody goes away with empty hands.
    fn read_one(&self, random: &mut Xorshift) {
        let index = random.next() as usize % self.near.len();
        let clone;
        let mut socket = &self.near[index];
        if random.next() % 8 == 0 {
            clone = socket.try_clone().unwrap();
            socket = &clone;
        }
        self.asking.send(index).unwrap();
        let mut byte = [0];
        match random.next() % 5 {
            0 => select! { readable(*socket) => {} },
            1 => io::wait_readable(socket).unwrap(),
            2 => loop {
                let limit = Duration::from_micros(random.next() % 300);
                if time::timeout(limit, || socket.read_exact(&mut byte).unwrap()).is_ok() {
                    return;
                }
            },
            _ => {}
        }
        socket.read_exact(&mut byte).unwrap();
    }
}

#[rstest]
fn no_reader_is_forgotten_while_runtimes_come_and_go(#[context] context: Context) {
    with_workers(2, &context, || {
        let rounds = 40 * stress();
        let sockets = Sockets::new(6);
        let local = |seed| {
            let sockets = sockets.clone();
            std_thread::spawn(move || {
                let mut random = Xorshift(seed);
                let mut runtime = LocalRuntime::new().unwrap();
                for _ in 0..rounds {
                    runtime.block_on(|| {
                        let readers: Vec<_> = (0..=random.next() % 4)
                            .map(|_| {
                                let (sockets, seed) = (sockets.clone(), random.next());
                                spawn_local(move || sockets.read_one(&mut Xorshift(seed)))
                            })
                            .collect();
                        readers.into_iter().for_each(|it| it.join().unwrap());
                    });
                    match random.next() % 4 {
                        // One that another thread might end.
                        0 => CancelToken::new()
                            .run_until_cancelled(|| sockets.read_one(&mut random))
                            .unwrap(),
                        1 => sockets.read_one(&mut random),
                        2 => runtime = LocalRuntime::new().unwrap(),
                        _ => {}
                    }
                }
            })
        };
        let locals: Vec<_> = (1..=3).map(local).collect();
        let green = |seed| {
            let sockets = sockets.clone();
            thread::spawn(move || {
                let mut random = Xorshift(seed);
                (0..4 * rounds).for_each(|_| sockets.read_one(&mut random));
            })
        };
        let greens: Vec<_> = (4..=7).map(green).collect();
        locals.into_iter().for_each(|it| it.join().unwrap());
        greens.into_iter().for_each(|it| it.join().unwrap());
    });
}
