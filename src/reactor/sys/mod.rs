//! What an operating system provides for the reactor.
//!
//! A backend has, under these names:
//!
//! * `Poller::new()`, and `Poller::add(fd, token, writes)`, `Poller::remove(raw fd)`: reports every change of an fd's readiness to read, and also to
//!   write, if it `writes`, as an edge, with its token; the state at the time of `add` counts as a change;
//! * `Poller::add_writes(raw fd, token)`: from now on to write as well; the state counts as a change again;
//! * `Poller::wait(events, timeout)`: sleeps until there are events or a notification, at most for `timeout`, to the
//!   nanosecond where the system can; `None` is for ever; interruptions by signals end it early, and it may end a long one early itself;
//! * `Poller::notify()`: ends the current or the next `wait`; from any thread;
//! * `Events`: a buffer, with `new`, `is_empty`, `notified`, and `iter` over [`Event`]s, notifications left out;
//! * `wait_exactly()`: has the calling OS thread's waits end when they should, as far as that can be had; `wait_as_usual()` takes that back;
//! * `wait_one(fd, direction, timeout)`: blocks the OS thread until one fd may be ready, for about as long at most;
//! * `is_ready(fd, direction)`: whether it is ready now, or in a state that a call would learn of;
//! * `accept(listener)`: accepts a connection that is non-blocking and closed on exec.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use epoll::{Events, Poller, accept, is_ready, wait_as_usual, wait_exactly, wait_one};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!(
    "corde's runtime needs epoll (Linux); on other Unix systems use `default-features = false`: coroutines and stacks alone"
);

use std::io::IoSliceMut;

/// A change of readiness. Errors and hang-ups count as both: the next try learns of them.
pub(crate) struct Event {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Something happened that a reader may still have to learn of after it has read all data: the end, an error, urgent data.
    pub(crate) exceptional: bool,
}

/// The first of some buffers, as many as a system reads into at once: it leaves further ones alone, as if there had been no more to read.
pub(crate) fn taken_at_once<'a, 'b>(bufs: &'a mut [IoSliceMut<'b>]) -> &'a mut [IoSliceMut<'b>] {
    const MOST: usize = 1024;
    let count = bufs.len().min(MOST);
    &mut bufs[..count]
}
