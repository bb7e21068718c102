//! The system's threads, as in `corde`, with the channels and the mutex that programs use there.

use std::hint::black_box;
use std::iter::repeat_n;
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle};

use super::{BURST, CAPACITY, SHARERS, SIDE};
use crate::harness::{Sampler, per_operation, timed};

/// Bounded channels, all with the same two operations.
pub(super) trait Channel: 'static {
    type Sender: Clone + Send + 'static;
    type Receiver: Send + 'static;

    fn bounded() -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, number: u64);
    /// None, when all senders are gone.
    fn receive(receiver: &Self::Receiver) -> Option<u64>;
}

macro_rules! channel {
    ($Name:ident, $Sender:ty, $Receiver:ty, $bounded:expr) => {
        pub(super) struct $Name;

        impl Channel for $Name {
            type Sender = $Sender;
            type Receiver = $Receiver;

            fn bounded() -> (Self::Sender, Self::Receiver) {
                $bounded(CAPACITY)
            }

            fn send(sender: &Self::Sender, number: u64) {
                sender.send(number).expect("it is received");
            }

            fn receive(receiver: &Self::Receiver) -> Option<u64> {
                receiver.recv().ok()
            }
        }
    };
}

channel!(
    Std,
    mpsc::SyncSender<u64>,
    mpsc::Receiver<u64>,
    mpsc::sync_channel
);
channel!(
    Crossbeam,
    crossbeam_channel::Sender<u64>,
    crossbeam_channel::Receiver<u64>,
    crossbeam_channel::bounded
);
channel!(
    Flume,
    flume::Sender<u64>,
    flume::Receiver<u64>,
    flume::bounded
);
channel!(
    Kanal,
    kanal::Sender<u64>,
    kanal::Receiver<u64>,
    kanal::bounded
);

/// Threads that wait for the start, and for each other's ends, which are not counted either.
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
            gate.wait();
        })
    });
    let threads = spawned.collect();
    gate.wait();
    Crowd { gate, threads }
}

impl Crowd {
    fn start(&self) {
        self.gate.wait();
    }

    /// Waits until all have done what they were to do.
    fn finish(&self) {
        self.gate.wait();
    }

    fn join(self) {
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

fn produce<C: Channel>(sender: &C::Sender, count: u64) {
    for number in 0..count {
        C::send(sender, number);
    }
}

fn consume<C: Channel>(receiver: &C::Receiver) {
    let mut sum = 0_u64;
    while let Some(number) = C::receive(receiver) {
        sum = sum.wrapping_add(number);
    }
    black_box(sum);
}

pub(super) fn fan_in<C: Channel>(producers: usize) -> Sampler {
    let measure = move |count| {
        let (sender, receiver) = C::bounded();
        let crowd = gather(repeat_n(sender, producers), move |sender| {
            produce::<C>(&sender, count);
        });
        let took = timed(|| {
            crowd.start();
            consume::<C>(&receiver);
        });
        crowd.finish();
        crowd.join();
        took
    };
    per_operation(producers, move |rounds| measure(rounds as u64))
}

pub(super) fn mpmc<C: Channel<Receiver: Clone>>() -> Sampler {
    let measure = |count| {
        let (sender, receiver) = C::bounded();
        let producers = gather(repeat_n(sender, SIDE), move |sender| {
            produce::<C>(&sender, count);
        });
        let consumers = gather(repeat_n(receiver, SIDE), |receiver| {
            consume::<C>(&receiver);
        });
        let took = timed(|| {
            producers.start();
            consumers.start();
            consumers.finish();
        });
        consumers.join();
        producers.finish();
        producers.join();
        took
    };
    per_operation(SIDE, move |rounds| measure(rounds as u64))
}

fn select_by(
    count: usize,
    select: impl Fn(&[crossbeam_channel::Receiver<u64>]) -> u64 + 'static,
) -> Sampler {
    let measure = move |rounds| {
        let channels = (0..count).map(|_| crossbeam_channel::unbounded());
        let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
        let round = |_| {
            for sender in &senders {
                produce::<Crossbeam>(sender, BURST as u64);
            }
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
    per_operation(BURST, measure)
}

pub(super) fn select_2() -> Sampler {
    select_by(2, |from| {
        crossbeam_channel::select! {
            recv(from[0]) -> number => number,
            recv(from[1]) -> number => number,
        }
        .expect("its sender is there")
    })
}

pub(super) fn select_8() -> Sampler {
    select_by(8, |from| {
        crossbeam_channel::select! {
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

pub(super) fn mutex() -> Sampler {
    let measure = |rounds| {
        let mutex = Mutex::new(0_u64);
        timed(|| {
            for _ in 0..rounds {
                *black_box(&mutex).lock().expect("no panic") += 1;
            }
        })
    };
    per_operation(1, measure)
}

pub(super) fn mutex_shared() -> Sampler {
    let measure = |rounds| {
        let mutex = Arc::new(Mutex::new(0_u64));
        let crowd = gather(repeat_n(mutex, SHARERS), move |mutex| {
            for _ in 0..rounds {
                *mutex.lock().expect("no panic") += 1;
            }
        });
        let took = timed(|| {
            crowd.start();
            crowd.finish();
        });
        crowd.join();
        took
    };
    per_operation(SHARERS, measure)
}
