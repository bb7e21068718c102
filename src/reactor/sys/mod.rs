//! What an operating system provides for the reactor.
//!
//! A backend has, under these names:
//!
//! * `NEEDS`: what `Poller::new` asks the system for, in words;
//! * `Poller::new()`, and `Poller::add(fd, token, writes)`, `Poller::remove(raw fd)`: reports every change of an fd's readiness to read, and also to
//!   write, if it `writes`, as an edge, with its token; the state at the time of `add` counts as a change;
//! * `Poller::add_writes(raw fd, token)`: from now on to write as well; the state counts as a change again;
//! * `CLOSING_REMOVES`: whether an fd that nobody has a duplicate of need not be removed before it is closed;
//! * `Poller::wait(events, timeout)`: sleeps until there are events or a notification, at most for `timeout`, to the
//!   nanosecond where the system can; `None` is for ever; interruptions by signals end it early, and it may end a long one early itself;
//! * `Poller::notify()`: ends the current or the next `wait`; from any thread;
//! * `Events`: a buffer, with `new`, `is_empty`, `notified`, and `iter` over [`Event`]s, notifications left out;
//! * `wait_exactly()`: has the calling OS thread's waits end when they should, as far as that can be had; `wait_as_usual()` takes that back.
//!
//! Besides, by system calls that several systems have:
//!
//! * `wait_one(fd, direction, timeout)`: blocks the OS thread until one fd may be ready, for about as long at most;
//! * `is_ready(fd, direction)`: whether it is ready now, or in a state that a call would learn of;
//! * `accept(listener)`: accepts a connection that is non-blocking and closed on exec.
//!
//! On Linux `--cfg corde_kqueue` takes the backend of macOS and FreeBSD, to test it with libkqueue (`.ci/kqueue`).

pub(crate) mod call;

mod poll;
pub(crate) use poll::{is_ready, wait_one};

#[cfg(all(any(target_os = "linux", target_os = "android"), not(corde_kqueue)))]
mod epoll;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(corde_kqueue)))]
pub(crate) use epoll::{CLOSING_REMOVES, Events, NEEDS, Poller, wait_as_usual, wait_exactly};

#[cfg(any(target_os = "macos", target_os = "freebsd", corde_kqueue))]
mod kqueue;
#[cfg(any(target_os = "macos", target_os = "freebsd", corde_kqueue))]
pub(crate) use kqueue::{CLOSING_REMOVES, Events, NEEDS, Poller, wait_as_usual, wait_exactly};
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use libc as bsd;
#[cfg(all(target_os = "linux", corde_kqueue))]
mod libkqueue;
#[cfg(all(target_os = "linux", corde_kqueue))]
use libkqueue as bsd;

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
mod accept4;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(crate) use accept4::accept;
#[cfg(target_os = "macos")]
mod accept;
#[cfg(target_os = "macos")]
pub(crate) use accept::accept;

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "freebsd"
)))]
compile_error!("corde's runtime needs epoll (Linux) or kqueue (macOS, FreeBSD)");

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
