//! Tokio's tasks, as in `corde`.

use std::future::{Future, ready};
use std::hint::black_box;
use std::iter::repeat_n;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::select;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::sync::{Barrier, Mutex};
use tokio::task::{JoinHandle, spawn, yield_now};
use tokio::time::timeout;

use super::{BURST, CAPACITY, LIMIT, SHARERS};
use crate::harness::{Sampler, per_operation};
use crate::peers::tokio::run;

pub(super) fn ping_pong_unbounded(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let (ping, mut pinged) = unbounded_channel();
        let (pong, mut ponged) = unbounded_channel();
        let task = spawn(async move {
            while let Some(number) = pinged.recv().await {
                pong.send(number).expect("it waits for that");
            }
        });
        let start = Instant::now();
        for number in 0..rounds {
            ping.send(number).expect("it waits for that");
            black_box(ponged.recv().await);
        }
        let took = start.elapsed();
        drop(ping);
        task.await.expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds as u64)))
}

pub(super) fn ping_pong_1(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let (ping, mut pinged) = channel(1);
        let (pong, mut ponged) = channel(1);
        let task = spawn(async move {
            while let Some(number) = pinged.recv().await {
                pong.send(number).await.expect("it waits for that");
            }
        });
        let start = Instant::now();
        for number in 0..rounds {
            ping.send(number).await.expect("it waits for that");
            black_box(ponged.recv().await);
        }
        let took = start.elapsed();
        drop(ping);
        task.await.expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds as u64)))
}

pub(super) fn ping_pong_timeout(runtime: Runtime) -> Sampler {
    async fn receive(receiver: &mut UnboundedReceiver<u64>) -> Option<u64> {
        timeout(LIMIT, receiver.recv()).await.ok().flatten()
    }
    let measure = |rounds| async move {
        let (ping, mut pinged) = unbounded_channel();
        let (pong, mut ponged) = unbounded_channel();
        let task = spawn(async move {
            while let Some(number) = receive(&mut pinged).await {
                pong.send(number).expect("it waits for that");
            }
        });
        let start = Instant::now();
        for number in 0..rounds {
            ping.send(number).expect("it waits for that");
            black_box(receive(&mut ponged).await);
        }
        let took = start.elapsed();
        drop(ping);
        task.await.expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds as u64)))
}

/// Tasks that wait for the start.
struct Crowd {
    gate: Arc<Barrier>,
    tasks: Vec<JoinHandle<()>>,
}

/// Spawns one for each of `shares`, and returns when they all wait, or are about to.
async fn gather<T: Send + 'static, F: Future<Output = ()> + Send>(
    shares: impl ExactSizeIterator<Item = T>,
    then: impl Fn(T) -> F + Clone + Send + 'static,
) -> Crowd {
    let gate = Arc::new(Barrier::new(shares.len() + 1));
    let spawned = shares.map(|share| {
        let (gate, then) = (gate.clone(), then.clone());
        spawn(async move {
            gate.wait().await;
            gate.wait().await;
            then(share).await;
        })
    });
    let tasks = spawned.collect();
    gate.wait().await;
    Crowd { gate, tasks }
}

impl Crowd {
    async fn start(self) -> Vec<JoinHandle<()>> {
        self.gate.wait().await;
        self.tasks
    }
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("no panic");
    }
}

async fn produce(sender: Sender<u64>, count: u64) {
    for number in 0..count {
        sender.send(number).await.expect("it is received");
    }
}

async fn consume(mut receiver: Receiver<u64>) {
    let mut sum = 0_u64;
    while let Some(number) = receiver.recv().await {
        sum = sum.wrapping_add(number);
    }
    black_box(sum);
}

pub(super) fn fan_in(runtime: Runtime, producers: usize) -> Sampler {
    let measure = move |count| async move {
        let (sender, receiver) = channel(CAPACITY);
        let crowd = gather(repeat_n(sender, producers), move |it| produce(it, count)).await;
        let start = Instant::now();
        let tasks = crowd.start().await;
        consume(receiver).await;
        let took = start.elapsed();
        join(tasks).await;
        took
    };
    let measure = move |rounds| run(&runtime, measure(rounds as u64));
    per_operation(producers, measure)
}

/// One selection among so many channels.
trait Select<const COUNT: usize> {
    fn select(
        from: &mut [UnboundedReceiver<u64>; COUNT],
    ) -> impl Future<Output = Option<u64>> + Send;
}

struct Select2;

impl Select<2> for Select2 {
    async fn select([a, b]: &mut [UnboundedReceiver<u64>; 2]) -> Option<u64> {
        select! {
            number = a.recv() => number,
            number = b.recv() => number,
        }
    }
}

struct Select8;

impl Select<8> for Select8 {
    async fn select([a, b, c, d, e, f, g, h]: &mut [UnboundedReceiver<u64>; 8]) -> Option<u64> {
        select! {
            number = a.recv() => number,
            number = b.recv() => number,
            number = c.recv() => number,
            number = d.recv() => number,
            number = e.recv() => number,
            number = f.recv() => number,
            number = g.recv() => number,
            number = h.recv() => number,
        }
    }
}

fn select_by<const COUNT: usize, S: Select<COUNT>>(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let channels = [(); COUNT].map(|()| unbounded_channel());
        let senders = channels.each_ref().map(|(sender, _)| sender.clone());
        let mut receivers = channels.map(|(_, receiver)| receiver);
        let mut took = Duration::ZERO;
        for _ in 0..rounds {
            for sender in &senders {
                (0..BURST as u64).for_each(|it| sender.send(it).expect("it is received"));
            }
            let start = Instant::now();
            for _ in 0..BURST {
                black_box(S::select(&mut receivers).await).expect("its sender is there");
            }
            took += start.elapsed();
            for receiver in &mut receivers {
                while receiver.try_recv().is_ok() {}
            }
        }
        took
    };
    per_operation(BURST, move |rounds| run(&runtime, measure(rounds)))
}

pub(super) fn select_2(runtime: Runtime) -> Sampler {
    select_by::<2, Select2>(runtime)
}

pub(super) fn select_8(runtime: Runtime) -> Sampler {
    select_by::<8, Select8>(runtime)
}

pub(super) fn mutex(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let mutex = Mutex::new(0_u64);
        let start = Instant::now();
        for _ in 0..rounds {
            *black_box(&mutex).lock().await += 1;
        }
        start.elapsed()
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds)))
}

fn share<F: Future<Output = ()> + Send>(
    runtime: Runtime,
    inside: impl Fn() -> F + Copy + Send + Sync + 'static,
) -> Sampler {
    let measure = move |rounds| async move {
        let mutex = Arc::new(Mutex::new(0_u64));
        let crowd = gather(repeat_n(mutex, SHARERS), move |mutex| async move {
            for _ in 0..rounds {
                let mut count = mutex.lock().await;
                *count += 1;
                inside().await;
            }
        })
        .await;
        let start = Instant::now();
        join(crowd.start().await).await;
        start.elapsed()
    };
    per_operation(SHARERS, move |rounds| run(&runtime, measure(rounds)))
}

pub(super) fn mutex_yield(runtime: Runtime) -> Sampler {
    share(runtime, yield_now)
}

pub(super) fn mutex_shared(runtime: Runtime) -> Sampler {
    share(runtime, || ready(()))
}
