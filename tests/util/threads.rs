//! Helpers for tests in which threads wait for each other.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corde::thread::JoinHandle;

/// The two kinds of threads that meet in corde. What blocks or wakes is tested with each of them on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Green,
    Os,
}

/// A thread of either kind.
pub(crate) enum Handle<T> {
    Green(JoinHandle<T>),
    Os(std::thread::JoinHandle<T>),
}

impl Kind {
    pub(crate) fn spawn<F, T>(self, f: F) -> Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self {
            Kind::Green => Handle::Green(corde::thread::spawn(f)),
            Kind::Os => Handle::Os(std::thread::spawn(f)),
        }
    }

    /// Runs `f` on a thread of this kind; a panic of `f` goes on in the caller.
    pub(crate) fn run<F, T>(self, f: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn(f).join()
    }
}

impl<T> Handle<T> {
    /// Waits for the result; a panic of the thread goes on in the caller.
    pub(crate) fn join(self) -> T {
        match self {
            Handle::Green(handle) => handle.join(),
            Handle::Os(handle) => handle.join(),
        }
        .unwrap_or_else(|payload| resume_unwind(payload))
    }
}

/// Waits, on a thread of either kind, until something holds that nobody would wake the thread for.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        corde::thread::yield_now();
    }
}

/// Waits without letting other green threads run.
pub(crate) fn spin_until(holds: impl Fn() -> bool) {
    while !holds() {
        // With more workers than processors, what is waited for needs one.
        std::thread::yield_now();
    }
}

/// Starts as many threads as there are workers, each on a worker of its own.
pub(crate) fn one_on_each_worker<T: Send + 'static>(
    workers: usize,
    body: impl Fn() -> T + Send + Sync + 'static,
) -> Vec<JoinHandle<T>> {
    let body = Arc::new(body);
    let started = Arc::new(AtomicUsize::new(0));
    (0..workers)
        .map(|_| {
            let (body, started) = (body.clone(), started.clone());
            corde::thread::spawn(move || {
                started.fetch_add(1, Ordering::SeqCst);
                // Holds its worker until the others have got theirs.
                spin_until(|| started.load(Ordering::SeqCst) == workers);
                body()
            })
        })
        .collect()
}

/// Calls a function when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What a panic leaves behind.
pub(crate) type Payload = dyn Any + Send;

/// Panics without the line that the panic hook writes.
pub(crate) fn panic_quietly() -> ! {
    resume_unwind(Box::new("quiet"))
}

/// Tells whether a payload is that of [`panic_quietly`].
pub(crate) fn is_quiet_panic(payload: &Payload) -> bool {
    payload.downcast_ref() == Some(&"quiet")
}

/// Sends a signal to every OS thread of this process.
#[cfg(target_os = "linux")]
pub(crate) fn signal_all(signal: std::ffi::c_int) {
    let process = std::process::id();
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let name = thread.unwrap().file_name();
        let id: libc::pid_t = name.to_str().unwrap().parse().unwrap();
        // SAFETY: no pointers; a thread that has ended is answered with an error.
        unsafe { libc::syscall(libc::SYS_tgkill, process, id, signal) };
    }
}

/// Sends a signal to this process, which some OS thread of it gets.
#[cfg(not(target_os = "linux"))]
pub(crate) fn signal_all(signal: std::ffi::c_int) {
    // SAFETY: it succeeds always.
    let process = unsafe { libc::getpid() };
    // SAFETY: no pointers.
    unsafe { libc::kill(process, signal) };
}
