//! may's coroutines, as in `corde`. Its channels are unbounded; a semaphore bounds them.

use std::hint::black_box;
use std::iter::repeat_n;
use std::sync::Arc;

use may::coroutine::{self, JoinHandle};
use may::go;
use may::sync::{Barrier, Mutex, Semphore, mpmc, mpsc};

use super::{BURST, CAPACITY, LIMIT, SHARERS, SIDE};
use crate::harness::{Sampler, per_operation, timed};
use crate::peers::may::{configure, run};

fn ping_pong<S: Send + 'static, R: Send + 'static>(
    channel: fn() -> (S, R),
    send: impl Fn(&S, u64) + Copy + Send + 'static,
    receive: impl Fn(&R) -> Option<u64> + Copy + Send + 'static,
) -> Sampler {
    let measure = move |rounds| {
        let ((ping, pinged), (pong, ponged)) = (channel(), channel());
        let other = go!(move || {
            while let Some(number) = receive(&pinged) {
                send(&pong, number);
            }
        });
        let took = timed(|| {
            for number in 0..rounds {
                send(&ping, number);
                black_box(receive(&ponged));
            }
        });
        drop(ping);
        other.join().expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(move || measure(rounds as u64)))
}

fn send(sender: &mpsc::Sender<u64>, number: u64) {
    sender.send(number).expect("it waits for that");
}

pub(super) fn ping_pong_unbounded(workers: usize) -> Sampler {
    configure(workers);
    ping_pong(mpsc::channel, send, |receiver| receiver.recv().ok())
}

pub(super) fn ping_pong_1(workers: usize) -> Sampler {
    configure(workers);
    let channel = || {
        let (sender, receiver) = mpsc::channel();
        let room = Arc::new(Semphore::new(1));
        ((sender, room.clone()), (receiver, room))
    };
    ping_pong(
        channel,
        |(sender, room), number| {
            room.wait();
            send(sender, number);
        },
        |(receiver, room)| {
            let number = receiver.recv().ok();
            room.post();
            number
        },
    )
}

pub(super) fn ping_pong_timeout(workers: usize) -> Sampler {
    configure(workers);
    ping_pong(mpsc::channel, send, |receiver| {
        receiver.recv_timeout(LIMIT).ok()
    })
}

/// Coroutines that wait for the start.
struct Crowd {
    gate: Arc<Barrier>,
    coroutines: Vec<JoinHandle<()>>,
}

/// Spawns one for each of `shares`, and returns when they all wait, or are about to.
fn gather<T: Send + 'static>(
    shares: impl ExactSizeIterator<Item = T>,
    then: impl Fn(T) + Clone + Send + 'static,
) -> Crowd {
    let gate = Arc::new(Barrier::new(shares.len() + 1));
    let spawned = shares.map(|share| {
        let (gate, then) = (gate.clone(), then.clone());
        go!(move || {
            gate.wait();
            gate.wait();
            then(share);
        })
    });
    let coroutines = spawned.collect();
    gate.wait();
    Crowd { gate, coroutines }
}

impl Crowd {
    fn start(self) -> Vec<JoinHandle<()>> {
        self.gate.wait();
        self.coroutines
    }
}

fn join(coroutines: Vec<JoinHandle<()>>) {
    for coroutine in coroutines {
        coroutine.join().expect("no panic");
    }
}

pub(super) fn fan_in(workers: usize, producers: usize) -> Sampler {
    configure(workers);
    let measure = move |count| {
        let (sender, receiver) = mpsc::channel();
        let room = Arc::new(Semphore::new(CAPACITY));
        let shares = repeat_n((sender, room.clone()), producers);
        let crowd = gather(shares, move |(sender, room)| {
            for number in 0..count {
                room.wait();
                send(&sender, number);
            }
        });
        let mut coroutines = Vec::new();
        let took = timed(|| {
            coroutines = crowd.start();
            let received = receiver.iter().inspect(|_| room.post());
            black_box(received.fold(0, u64::wrapping_add));
        });
        join(coroutines);
        took
    };
    per_operation(producers, move |rounds| run(move || measure(rounds as u64)))
}

pub(super) fn mpmc(workers: usize) -> Sampler {
    configure(workers);
    let measure = |count| {
        let (sender, receiver) = mpmc::channel();
        let room = Arc::new(Semphore::new(CAPACITY));
        let shares = repeat_n((sender, room.clone()), SIDE);
        let producers = gather(shares, move |(sender, room)| {
            for number in 0..count {
                room.wait();
                sender.send(number).expect("it is received");
            }
        });
        let shares = repeat_n((receiver, room), SIDE);
        let consumers = gather(shares, |(receiver, room)| {
            let received = receiver.iter().inspect(|_| room.post());
            black_box(received.fold(0, u64::wrapping_add));
        });
        let mut coroutines = Vec::new();
        let took = timed(|| {
            coroutines = producers.start();
            join(consumers.start());
        });
        join(coroutines);
        took
    };
    per_operation(SIDE, move |rounds| run(move || measure(rounds as u64)))
}

/// A case that is not chosen may have received, too: what is sent suffices for that.
fn select_by<const COUNT: usize>(
    select: fn(&mut [mpsc::Receiver<u64>; COUNT]) -> usize,
) -> Sampler {
    let measure = move |rounds| {
        let channels = [(); COUNT].map(|()| mpsc::channel());
        let senders = channels.each_ref().map(|(sender, _)| sender.clone());
        let mut receivers = channels.map(|(_, receiver)| receiver);
        let round = |_| {
            for sender in &senders {
                (0..BURST as u64).for_each(|number| send(sender, number));
            }
            let took = timed(|| {
                for _ in 0..BURST {
                    black_box(select(&mut receivers));
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

pub(super) fn select_2(workers: usize) -> Sampler {
    configure(workers);
    select_by(|[a, b]| {
        may::select! {
            number = a.recv() => { black_box(number.expect("its sender is there")); },
            number = b.recv() => { black_box(number.expect("its sender is there")); }
        }
    })
}

pub(super) fn select_8(workers: usize) -> Sampler {
    configure(workers);
    select_by(|[a, b, c, d, e, f, g, h]| {
        may::select! {
            number = a.recv() => { black_box(number.expect("its sender is there")); },
            number = b.recv() => { black_box(number.expect("its sender is there")); },
            number = c.recv() => { black_box(number.expect("its sender is there")); },
            number = d.recv() => { black_box(number.expect("its sender is there")); },
            number = e.recv() => { black_box(number.expect("its sender is there")); },
            number = f.recv() => { black_box(number.expect("its sender is there")); },
            number = g.recv() => { black_box(number.expect("its sender is there")); },
            number = h.recv() => { black_box(number.expect("its sender is there")); }
        }
    })
}

pub(super) fn mutex(workers: usize) -> Sampler {
    configure(workers);
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

fn share(workers: usize, inside: impl Fn() + Copy + Send + 'static) -> Sampler {
    configure(workers);
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

pub(super) fn mutex_yield(workers: usize) -> Sampler {
    share(workers, coroutine::yield_now)
}

pub(super) fn mutex_shared(workers: usize) -> Sampler {
    share(workers, || {})
}
