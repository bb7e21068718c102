//! The runtimes of the peers: starting them, and running something on one of their workers.

use ::tokio::runtime::Runtime;

use crate::harness::{Row, Sampler};

/// Adds Tokio as a peer: its scheduler for many workers, and the one for a single worker where that is the number.
pub(crate) fn with_tokio(
    row: Row,
    workers: usize,
    measure: impl Fn(Runtime) -> Sampler + Copy + 'static,
) -> Row {
    let row = row.peer("tokio-mt", move || measure(tokio::multi_thread(workers)));
    match workers {
        1 => row.peer("tokio-ct", move || measure(tokio::current_thread())),
        _ => row,
    }
}

/// The same, with Tokio's timers, which take a little time in every turn.
pub(crate) fn with_tokio_and_timers(
    row: Row,
    workers: usize,
    measure: impl Fn(Runtime) -> Sampler + Copy + 'static,
) -> Row {
    let row = row.peer("tokio-mt", move || {
        measure(tokio::multi_thread_with_timers(workers))
    });
    match workers {
        1 => row.peer("tokio-ct", move || {
            measure(tokio::current_thread_with_timers())
        }),
        _ => row,
    }
}

pub(crate) mod tokio {
    use std::future::Future;

    use ::tokio::runtime::{Builder, Runtime};
    use ::tokio::task::spawn;

    pub(crate) fn multi_thread(workers: usize) -> Runtime {
        let mut builder = Builder::new_multi_thread();
        build(builder.worker_threads(workers))
    }

    pub(crate) fn multi_thread_with_timers(workers: usize) -> Runtime {
        let mut builder = Builder::new_multi_thread();
        build(builder.worker_threads(workers).enable_time())
    }

    pub(crate) fn current_thread() -> Runtime {
        build(&mut Builder::new_current_thread())
    }

    pub(crate) fn current_thread_with_timers() -> Runtime {
        build(Builder::new_current_thread().enable_time())
    }

    fn build(builder: &mut Builder) -> Runtime {
        builder.build().expect("a runtime can be had")
    }

    /// Runs `future` as a task: what `block_on` itself is given does not run on a worker.
    pub(crate) fn run<T: Send + 'static>(
        runtime: &Runtime,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        runtime.block_on(async { spawn(future).await.expect("no panic") })
    }
}

pub(crate) mod may {
    use ::may::go;

    /// Sets the workers up, which come into being with the first coroutine.
    pub(crate) fn configure(workers: usize) {
        ::may::config().set_workers(workers).set_worker_pin(false);
    }

    pub(crate) fn run<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        go!(body).join().expect("no panic")
    }
}
