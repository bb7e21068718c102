//! Tokio's tasks, as in `corde`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::spawn;
use tokio::time::sleep;

use super::{FIBONACCI, LEAVES, SUM, computed, watch};
use crate::harness::{Sampler, per_operation, whole};
use crate::peers::tokio::{current_thread, run};
use crate::system::pin;

pub(super) fn skynet(runtime: Runtime) -> Sampler {
    #[expect(
        clippy::manual_async_fn,
        reason = "the recursion needs the promise of Send"
    )]
    fn node(first: u64, leaves: u64) -> impl Future<Output = u64> + Send {
        async move {
            if leaves == 1 {
                return first;
            }
            let part = leaves / 10;
            let children = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|number| {
                let child = node(first + number * part, part);
                spawn(child)
            });
            let mut sum = 0;
            for child in children {
                sum += child.await.expect("no panic");
            }
            sum
        }
    }
    whole(move || computed(SUM, || run(&runtime, node(0, LEAVES))))
}

/// The branch that has no task of its own needs a box, as it is a part of its caller.
pub(super) fn fib(runtime: Runtime) -> Sampler {
    #[expect(
        clippy::manual_async_fn,
        reason = "the recursion needs the promise of Send"
    )]
    fn node(n: u32) -> impl Future<Output = u64> + Send {
        async move {
            if n < 2 {
                return n.into();
            }
            let left = spawn(node(n - 1));
            let right: Pin<Box<dyn Future<Output = u64> + Send>> = Box::pin(node(n - 2));
            let right = right.await;
            left.await.expect("no panic") + right
        }
    }
    let (n, expected) = FIBONACCI;
    whole(move || computed(expected, || run(&runtime, node(n))))
}

/// Two schedulers for a single worker, as a task of one for many may go to any.
pub(super) fn token() -> Sampler {
    pin([0]);
    let runtime = current_thread();
    let measure = |rounds| async move {
        let over = Arc::new(AtomicBool::new(false));
        let me = Arc::new(Notify::new());
        let other = Arc::new(Notify::new());
        let (their_over, their_peer, their_token) = (over.clone(), me.clone(), other.clone());
        let thread = thread::spawn(move || {
            pin([1]);
            run(&current_thread(), async move {
                while !their_over.load(Ordering::Relaxed) {
                    their_token.notified().await;
                    their_peer.notify_one();
                }
            });
        });
        other.notify_one();
        me.notified().await;
        let start = Instant::now();
        for _ in 0..rounds {
            other.notify_one();
            me.notified().await;
        }
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        other.notify_one();
        thread.join().expect("no panic");
        took
    };
    per_operation(1, move |rounds| run(&runtime, measure(rounds)))
}

pub(super) fn busy_neighbour(runtime: Runtime) -> Sampler {
    whole(move || {
        super::busy_neighbour(|work| {
            runtime.spawn(async { work() });
        })
    })
}

pub(super) fn idle(runtime: Runtime) -> Sampler {
    run(&runtime, async {
        spawn(sleep(Duration::from_millis(1)))
            .await
            .expect("no panic");
    });
    whole(move || {
        let _at_rest = &runtime;
        watch()
    })
}
