//! What sockets, pipes and other files are used through: try, wait while the system says that it would block, and try again.

use std::cell::Cell;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::readiness::{Readiness, Visit};
use super::{Direction, sys};
use crate::runtime::wait_list::{Left, Node};
use crate::runtime::{self, forked, interrupt, park, worker};

/// A socket, or anything else that the system reports readiness of, set to non-blocking.
pub(crate) struct Source<T: AsFd> {
    /// Above `inner`, so that it ends while the file descriptor is open.
    events: Subscription,
    settings: OnceLock<Arc<Settings>>,
    inner: T,
}

/// What is known of a source's events, and has to be forgotten before its file descriptor is closed.
#[derive(Default)]
struct Subscription {
    /// Made when somebody waits first.
    readiness: OnceLock<Arc<Readiness>>,
    /// Whether others have the same open file, which closing this descriptor does not end.
    shared: AtomicBool,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // A fork has the epoll instances of its parent, whose sources these are.
        if forked::is_fork() {
            return;
        }
        if let Some(readiness) = self.readiness.get() {
            readiness.end(sys::CLOSING_REMOVES && !*self.shared.get_mut());
        }
    }
}

/// How a source behaves when it would block: the same for all handles to a socket, as with std, where the system keeps it.
#[derive(Default)]
struct Settings {
    /// In ns; 0 is for ever.
    timeouts: [AtomicU64; 2],
    nonblocking: AtomicBool,
}

/// How long an operation may wait.
#[derive(Clone, Copy)]
enum Limit {
    /// As set on the source.
    AsSet,
    /// Until then, which ends with such an error.
    Until(Option<Instant>, io::ErrorKind),
    /// No longer: only what is there already counts.
    Over(io::ErrorKind),
}

impl<T: AsFd> Source<T> {
    /// Takes over what is non-blocking already.
    pub(crate) fn new(inner: T) -> Source<T> {
        Source {
            events: Subscription::default(),
            settings: OnceLock::new(),
            inner,
        }
    }

    /// Like [`new`](Source::new), for a duplicate of a descriptor that somebody else has.
    pub(crate) fn new_shared(inner: T) -> Source<T> {
        let source = Source::new(inner);
        source.events.shared.store(true, Ordering::Relaxed);
        source
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> &T {
        &self.inner
    }

    /// Ends the registration and gives the socket up.
    pub(crate) fn into_inner(self) -> T {
        self.events.shared.store(true, Ordering::Relaxed);
        drop(self.events);
        self.inner
    }

    /// Makes a second handle to the same open file, with a descriptor of its own; the settings are common to both.
    ///
    /// # Errors
    /// Those of `clone`.
    pub(crate) fn try_clone(
        &self,
        clone: impl FnOnce(&T) -> io::Result<T>,
    ) -> io::Result<Source<T>> {
        let cloned = Source::new_shared(clone(&self.inner)?);
        self.events.shared.store(true, Ordering::Relaxed);
        let settings = self.settings().clone();
        Ok(Source {
            settings: OnceLock::from(settings),
            ..cloned
        })
    }

    fn settings(&self) -> &Arc<Settings> {
        self.settings.get_or_init(Arc::default)
    }

    /// How long operations wait in this direction.
    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        let timeout = &self.settings.get()?.timeouts[direction as usize];
        match timeout.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Sets how long operations wait in this direction before they answer [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    /// If it is 0, as in std.
    pub(crate) fn set_timeout(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            let message =
                "a timeout of 0 makes no sense: use `set_nonblocking`, or `None` to wait for ever";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let nanos = timeout.map_or(0, |it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX));
        self.settings().timeouts[direction as usize].store(nanos, Ordering::Relaxed);
        Ok(())
    }

    /// Sets whether operations answer [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        let settings = self.settings();
        settings.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// Whether operations answer [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting.
    pub(crate) fn is_nonblocking(&self) -> bool {
        let settings = self.settings.get();
        settings.is_some_and(|it| it.nonblocking.load(Ordering::Relaxed))
    }

    /// Runs `attempt` until it does not answer that it would block, waiting in between, as the settings allow.
    ///
    /// # Errors
    /// Those of `attempt`, and of registering the source; [`WouldBlock`](io::ErrorKind::WouldBlock), if it takes too long.
    pub(crate) fn retry<R>(
        &self,
        direction: Direction,
        attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.retry_within(Limit::AsSet, direction, attempt)
    }

    /// Like [`retry`](Source::retry), but whatever the settings are, until `deadline` at most.
    ///
    /// # Errors
    /// Those of `attempt`, and of registering the source; [`TimedOut`](io::ErrorKind::TimedOut), if it takes too long.
    pub(crate) fn retry_until<R>(
        &self,
        deadline: Option<Instant>,
        direction: Direction,
        attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let limit = Limit::Until(deadline, io::ErrorKind::TimedOut);
        self.retry_within(limit, direction, attempt)
    }

    /// Like [`retry`](Source::retry), for an attempt that costs more when it is in vain than asking first, as accepting does: the system makes a
    /// socket before it looks whether there is a connection for it (3.1 us on Linux, asking 0.2).
    ///
    /// # Errors
    /// As [`retry`](Source::retry).
    pub(crate) fn retry_if_ready<R>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        // After a wait it is likely not to be in vain.
        let mut waited = false;
        self.retry(direction, |inner| {
            if !mem::replace(&mut waited, true) && !sys::is_ready(inner.as_fd(), direction) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            attempt(inner)
        })
    }

    #[inline]
    fn retry_within<R>(
        &self,
        mut limit: Limit,
        direction: Direction,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        worker::spend();
        loop {
            let seen = self.events_so_far(direction);
            match attempt(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(direction, seen, &mut limit)?;
                }
                done => return done,
            }
        }
    }

    /// Reads from a stream into buffers of `wanted` bytes, as [`retry`](Source::retry) does, but does not try where a read would find
    /// nothing.
    ///
    /// # Errors
    /// As [`retry`](Source::retry).
    pub(crate) fn read_stream(
        &self,
        wanted: usize,
        mut read: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        worker::spend();
        // No system reads more at once.
        const MOST: usize = 0x7fff_f000;
        let wanted = wanted.min(MOST);
        let mut limit = Limit::AsSet;
        let mut waited = wanted == 0;
        loop {
            let readiness = self.events.readiness.get();
            let seen = readiness.map_or(0, |it| it.events(Direction::Read));
            // After a wait it is tried in any case: an OS thread may see data before the worker that counts events. And who does not wait at all
            // would be told that there is nothing for as long as its worker does not come to count.
            if !waited && readiness.is_some_and(|it| it.is_empty(seen)) && !self.is_nonblocking() {
                self.wait(Direction::Read, seen, &mut limit)?;
                waited = true;
                continue;
            }
            match read(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Direction::Read, seen, &mut limit)?;
                }
                done => {
                    let short = |&count: &usize| (1..wanted).contains(&count);
                    if let (Some(readiness), true) = (readiness, done.as_ref().is_ok_and(short)) {
                        readiness.note_empty(seen);
                    }
                    return done;
                }
            }
        }
    }

    /// Waits until it is ready, or in a state that a call would learn of, until `deadline` at most; whatever the settings are.
    ///
    /// # Errors
    /// Those of registering the source; [`TimedOut`](io::ErrorKind::TimedOut), if it takes too long.
    pub(crate) fn wait_ready(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        self.retry_until(deadline, direction, |inner| {
            match sys::is_ready(inner.as_fd(), direction) {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            }
        })
    }

    /// Returns whether there was an event that tells of more than data: an error, an end.
    pub(crate) fn had_exception(&self) -> bool {
        let readiness = self.events.readiness.get();
        readiness.is_some_and(|it| it.had_exception())
    }

    /// Counts the events of a direction; 0 before somebody has waited.
    fn events_so_far(&self, direction: Direction) -> u32 {
        let readiness = self.events.readiness.get();
        readiness.map_or(0, |it| it.events(direction))
    }

    /// Waits for an event after the `seen` ones; maybe not as long, never longer. When the limit is over it returns once more, as there may be what
    /// nobody has told of: a worker takes some events at a time, and one that is stuck none.
    ///
    /// # Errors
    /// If the limit was over before, or the source cannot be registered.
    fn wait(&self, direction: Direction, seen: u32, limit: &mut Limit) -> io::Result<()> {
        let (deadline, over) = match *limit {
            Limit::Over(over) => return Err(over.into()),
            Limit::Until(deadline, over) => (deadline, over),
            Limit::AsSet if self.is_nonblocking() => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Limit::AsSet => {
                let timeout = self.timeout(direction);
                let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
                let over = io::ErrorKind::WouldBlock;
                *limit = Limit::Until(deadline, over);
                (deadline, over)
            }
        };
        let reactor = match worker::current_green() {
            Some((worker, _)) => Some(worker.reactor()),
            // Who alerts it wakes it where it parks, and not in a system call.
            None if interrupt::is_os_thread_alerted() => Some(runtime::current()?.any_reactor()),
            None => None,
        };
        let Some(reactor) = reactor else {
            let fd = self.inner.as_fd();
            let blocked = park::block(deadline, |timeout| sys::wait_one(fd, direction, timeout));
            return blocked.unwrap_or_else(|| {
                *limit = Limit::Over(over);
                Ok(())
            });
        };
        let readiness = self.events.readiness.get_or_init(Arc::default);
        let visit = readiness.register(self.inner.as_fd(), reactor, direction)?;
        let waited = readiness.wait(direction, seen, deadline);
        drop(visit);
        match waited {
            Ok(()) => Ok(()),
            Err(Left::TimedOut) => {
                *limit = Limit::Over(over);
                Ok(())
            }
            Err(Left::Interrupted(interrupt)) => interrupt.strike(),
        }
    }
}

/// What `select!` waits for.
pub(crate) trait Pollable {
    /// Returns whether it is ready, or in a state that a call would learn of.
    fn is_ready(&self, direction: Direction) -> bool;

    /// Has the calling thread woken when it may be ready, until it [withdraws](Pollable::withdraw) that; false, if it is ready.
    ///
    /// # Errors
    /// If the source could not be registered.
    ///
    /// # Safety
    /// The announcement is the caller's, is in a frame that outlives the wait, is not moved until `withdraw`, which follows if this returns
    /// true, and is not announced now.
    unsafe fn announce(
        &self,
        direction: Direction,
        announcement: &Announcement,
    ) -> io::Result<bool>;

    /// # Safety
    /// It is that of the latest `announce`, of the same source and direction, which returned true.
    unsafe fn withdraw(&self, direction: Direction, announcement: &Announcement);
}

/// A thread's wish to be woken by a source.
pub(crate) struct Announcement {
    node: Node<()>,
    visit: Cell<Option<Visit>>,
}

impl Announcement {
    /// One of the calling thread.
    pub(crate) fn new() -> Announcement {
        Announcement {
            node: Node::new(()),
            visit: Cell::new(None),
        }
    }

    /// Returns whether its thread has been woken since it was announced last.
    pub(crate) fn is_over(&self) -> bool {
        self.node.is_granted()
    }
}

impl<T: AsFd> Pollable for Source<T> {
    fn is_ready(&self, direction: Direction) -> bool {
        sys::is_ready(self.inner.as_fd(), direction)
    }

    unsafe fn announce(
        &self,
        direction: Direction,
        announcement: &Announcement,
    ) -> io::Result<bool> {
        let reactor = match worker::current_green() {
            Some((worker, _)) => worker.reactor(),
            None => runtime::current()?.any_reactor(),
        };
        let readiness = self.events.readiness.get_or_init(Arc::default);
        // Before it is registered: whoever ends that registration counts an event.
        let seen = readiness.events(direction);
        let visit = readiness.register(self.inner.as_fd(), reactor, direction)?;
        if self.is_ready(direction) {
            return Ok(false);
        }
        announcement.visit.set(visit);
        // SAFETY: passed on.
        let linked = unsafe { readiness.link(direction, seen, &announcement.node) };
        if !linked {
            announcement.visit.take();
        }
        Ok(linked)
    }

    unsafe fn withdraw(&self, direction: Direction, announcement: &Announcement) {
        let readiness = self.events.readiness.get().expect("it was announced");
        // SAFETY: passed on.
        unsafe { readiness.unlink(direction, &announcement.node) };
        announcement.visit.take();
    }
}
