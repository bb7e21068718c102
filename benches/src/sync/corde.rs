//! corde's green threads.

use std::hint::black_box;
use std::iter::repeat_n;
use std::sync::Arc;

use corde::run;
use corde::select;
use corde::sync::channel::{Receiver, Sender, bounded, unbounded};
use corde::sync::{Barrier, Mutex};
use corde::thread::{self, JoinHandle};

use super::{BURST, CAPACITY, LIMIT, SHARERS, SIDE};
use crate::harness::{Sampler, per_operation, timed};

/// Sends a number to another that sends it back, and so on. Not counted: spawning the other.
fn ping_pong(
    channel: fn() -> (Sender<u64>, Receiver<u64>),
    receive: impl Fn(&Receiver<u64>) -> Option<u64> + Copy + Send + 'static,
) -> Sampler {
    let measure = move |rounds| {
        let ((ping, pinged), (pong, ponged)) = (channel(), channel());
        let other = thread::spawn(move || {
            while let Some(number) = receive(&pinged) {
                pong.send(number).expect("it waits for that");
            }
        });
        let took = timed(|| {
            for number in 0..rounds {
                ping.send(number).expect("it waits for that");
                black_box(receive(&ponged));
            }
        });
        drop(ping);
        other.join().expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(move || measure(rounds as u64)))
}

pub(super) fn ping_pong_unbounded() -> Sampler {
    ping_pong(unbounded, |receiver| receiver.recv().ok())
}

pub(super) fn ping_pong_1() -> Sampler {
    ping_pong(|| bounded(1), |receiver| receiver.recv().ok())
}

pub(super) fn ping_pong_0() -> Sampler {
    ping_pong(|| bounded(0), |receiver| receiver.recv().ok())
}

pub(super) fn ping_pong_timeout() -> Sampler {
    ping_pong(unbounded, |receiver| receiver.recv_timeout(LIMIT).ok())
}

/// Green threads that wait for the start.
struct Crowd {
    gate: Arc<Barrier>,
    threads: Vec<JoinHandle<()>>,
}

/// Spawns one for each of `shares`, and returns when they all wait, or are about to.
fn gather<T: Send + 'static>(
    shares: impl ExactSizeIterator<Item = T>,
    then: impl Fn(T) + Clone + Send + 'static,
) -> Crowd {
    let gate = Arc::new(Barrier::new(shares.len() + 1));
    let spawned = shares.map(|share| {
        let (gate, then) = (gate.clone(), then.clone());
        thread::spawn(move || {
            gate.wait();
            gate.wait();
            then(share);
        })
    });
    let threads = spawned.collect();
    gate.wait();
    Crowd { gate, threads }
}

impl Crowd {
    fn start(self) -> Vec<JoinHandle<()>> {
        self.gate.wait();
        self.threads
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no panic");
    }
}

fn produce(sender: &Sender<u64>, count: u64) {
    for number in 0..count {
        sender.send(number).expect("it is received");
    }
}

fn consume(receiver: &Receiver<u64>) {
    black_box(receiver.iter().fold(0, u64::wrapping_add));
}

/// So many send to one. Not counted: spawning them.
pub(super) fn fan_in(producers: usize) -> Sampler {
    let measure = move |count| {
        let (sender, receiver) = bounded(CAPACITY);
        let crowd = gather(repeat_n(sender, producers), move |sender| {
            produce(&sender, count);
        });
        let mut threads = Vec::new();
        let took = timed(|| {
            threads = crowd.start();
            consume(&receiver);
        });
        join(threads);
        took
    };
    per_operation(producers, move |rounds| run(move || measure(rounds as u64)))
}

/// Some send to as many. Not counted: spawning them.
pub(super) fn mpmc() -> Sampler {
    let measure = |count| {
        let (sender, receiver) = bounded(CAPACITY);
        let producers = gather(repeat_n(sender, SIDE), move |sender| {
            produce(&sender, count);
        });
        let consumers = gather(repeat_n(receiver, SIDE), |receiver| consume(&receiver));
        let mut threads = Vec::new();
        let took = timed(|| {
            threads = producers.start();
            join(consumers.start());
        });
        join(threads);
        took
    };
    per_operation(SIDE, move |rounds| run(move || measure(rounds as u64)))
}

/// Receives from one of several channels, all of which have something. Not counted: sending it, and what is left over.
fn select_by(
    count: usize,
    select: impl Fn(&[Receiver<u64>]) -> u64 + Copy + Send + 'static,
) -> Sampler {
    let measure = move |rounds| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| unbounded()).unzip();
        let round = |_| {
            senders
                .iter()
                .for_each(|sender| produce(sender, BURST as u64));
            let took = timed(|| {
                for _ in 0..BURST {
                    black_box(select(&receivers));
                }
            });
            for receiver in &receivers {
                receiver.try_iter().for_each(drop);
            }
            took
        };
        (0..rounds).map(round).sum()
    };
    per_operation(BURST, move |rounds| run(move || measure(rounds)))
}

pub(super) fn select_2() -> Sampler {
    select_by(2, |from| {
        select! {
            recv(from[0]) -> number => number,
            recv(from[1]) -> number => number,
        }
        .expect("its sender is there")
    })
}

pub(super) fn select_8() -> Sampler {
    select_by(8, |from| {
        select! {
            recv(from[0]) -> number => number,
            recv(from[1]) -> number => number,
            recv(from[2]) -> number => number,
            recv(from[3]) -> number => number,
            recv(from[4]) -> number => number,
            recv(from[5]) -> number => number,
            recv(from[6]) -> number => number,
            recv(from[7]) -> number => number,
        }
        .expect("its sender is there")
    })
}

/// Locks and unlocks what nobody else has.
pub(super) fn mutex() -> Sampler {
    let measure = |rounds| {
        let mutex = Mutex::new(0_u64);
        timed(|| {
            for _ in 0..rounds {
                *black_box(&mutex).lock().expect("no panic") += 1;
            }
        })
    };
    per_operation(1, move |rounds| run(move || measure(rounds)))
}

/// Many lock in turn and do something `inside`. Not counted: spawning them.
fn share(inside: impl Fn() + Copy + Send + 'static) -> Sampler {
    let measure = move |rounds| {
        let mutex = Arc::new(Mutex::new(0_u64));
        let crowd = gather(repeat_n(mutex, SHARERS), move |mutex| {
            for _ in 0..rounds {
                let mut count = mutex.lock().expect("no panic");
                *count += 1;
                inside();
            }
        });
        timed(|| join(crowd.start()))
    };
    per_operation(SHARERS, move |rounds| run(move || measure(rounds)))
}

pub(super) fn mutex_yield() -> Sampler {
    share(thread::yield_now)
}

pub(super) fn mutex_shared() -> Sampler {
    share(|| {})
}
