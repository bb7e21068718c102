//! Tokio's tasks, as in `corde`.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::spawn;
use tokio::time::{Sleep, sleep, timeout};

use super::{LIMIT, SLEEPERS, long, nap, per_sleep};
use crate::harness::{Sampler, per_operation, whole};
use crate::peers::tokio::run;
use crate::system::used;

pub(super) fn sleeps(runtime: Runtime) -> Sampler {
    let measure = || async {
        let before = used().time;
        let spawned = (0..SLEEPERS).map(|number| {
            spawn(async move {
                let nap = nap(number);
                let start = Instant::now();
                sleep(nap).await;
                start.elapsed() - nap
            })
        });
        let tasks: Vec<_> = spawned.collect();
        let mut late = Vec::with_capacity(SLEEPERS);
        for task in tasks {
            late.push(task.await.expect("no panic"));
        }
        per_sleep(late, used().time - before)
    };
    whole(move || run(&runtime, measure()))
}

/// A sleep is armed when it is polled first, and cancelled when it is dropped.
async fn arm(mut sleep: Pin<&mut Sleep>) {
    poll_fn(|context| {
        assert!(sleep.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Those that are pending besides need no tasks.
pub(super) fn timer(runtime: Runtime, pending: usize) -> Sampler {
    let others = run(&runtime, async move {
        let count = pending - 1;
        let mut others = Vec::with_capacity(count);
        for number in 0..count {
            let mut sleep = Box::pin(sleep(long(number, count)));
            arm(sleep.as_mut()).await;
            others.push(sleep);
        }
        others
    });
    let measure = |rounds| async move {
        let start = Instant::now();
        for _ in 0..rounds {
            arm(pin!(sleep(LIMIT))).await;
        }
        start.elapsed()
    };
    per_operation(1, move |rounds| {
        let _pending = &others;
        run(&runtime, measure(rounds))
    })
}

pub(super) fn ping_pong_timeout(runtime: Runtime) -> Sampler {
    let measure = |rounds| async move {
        let over = Arc::new(AtomicBool::new(false));
        let me = Arc::new(Notify::new());
        let other = Arc::new(Notify::new());
        let (their_over, their_peer, their_token) = (over.clone(), me.clone(), other.clone());
        let task = spawn(async move {
            while !their_over.load(Ordering::Relaxed) {
                let _ = timeout(LIMIT, their_token.notified()).await;
                their_peer.notify_one();
            }
        });
        let start = Instant::now();
        for _ in 0..rounds {
            other.notify_one();
            let _ = timeout(LIMIT, me.notified()).await;
        }
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        other.notify_one();
        task.await.expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds)))
}
