//! Readiness: which sockets can be read or written, and who waits for it.
//!
//! Each worker has a [`Reactor`]. A socket is a [`Source`]: it is tried first, and only when the system says that it would
//! block does the calling thread [`wait`](Source::wait). The first green thread that waits registers the socket with its worker's
//! reactor, for both directions, edge-triggered, once. An OS thread waits with `poll(2)` and needs no registration.
//!
//! # Why no edge is lost
//!
//! For each direction a [`Way`] counts events and keeps the waiters. An event is counted and wakes all waiters, under one lock.
//! A thread reads the count before it tries. If it then has to wait, it looks, under the lock, whether the count is still the same;
//! if not, it tries again. So an edge that falls between try and wait is seen, by each of several threads that were between the two;
//! and one that falls before the try has been seen by that.
//!
//! # Reading no more than there is
//!
//! A read that got less than it asked for has emptied a stream socket: the next one would find nothing, unless an event has come since. So it
//! waits for that without trying ([`Source::read_stream`]), which saves a system call for each request of a client. Not once there
//! was anything that no further event tells of: the end of the stream, an error, urgent data, at which a read stops.
//!
//! # Why an old event does no harm
//!
//! The kernel may still deliver events for a socket that was closed, if a duplicate of it lives on. Events carry a token of
//! place and generation; a token that is not in the list of sources is dropped, and a source that got it by
//! mistake would merely try once too often.

pub(crate) mod sys;

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use slab::Slab;

use crate::runtime::park::{self, Waiter};
use crate::runtime::{self, worker};
pub(crate) use sys::Events;
use sys::{Event, Poller};

/// What a thread can wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// One worker's sources of events, and its bed.
pub(crate) struct Reactor {
    poller: Poller,
    sources: Mutex<Sources>,
    /// Whether the worker sleeps, or is about to, and needs a notification to see what was left for it.
    asleep: AtomicBool,
}

#[derive(Default)]
struct Sources {
    entries: Slab<(u32, Arc<Readiness>)>,
    generation: u32,
}

/// A source's place in its reactor.
#[derive(Clone, Copy)]
struct Token {
    index: u32,
    generation: u32,
}

impl Token {
    fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn from_bits(bits: u64) -> Token {
        Token {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            poller: Poller::new()?,
            sources: Mutex::default(),
            asleep: AtomicBool::new(false),
        })
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // Nothing panics between two consistent states.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the green threads whose sockets are ready, without waiting.
    pub(crate) fn poll(&self, events: &mut Events) {
        self.wait(Some(Duration::ZERO), events);
    }

    /// Sleeps until a socket is ready, a notification comes, or `timeout` is over; not at all, if there is `work`.
    ///
    /// Who leaves work does so before it calls [`notify`](Reactor::notify): either this sees the work, or that sees `asleep`.
    pub(crate) fn sleep(
        &self,
        work: impl FnOnce() -> bool,
        timeout: impl FnOnce() -> Option<Duration>,
        events: &mut Events,
    ) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let timeout = if work() {
            Some(Duration::ZERO)
        } else {
            timeout()
        };
        self.wait(timeout, events);
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Returns whether the worker sleeps, or is about to, and has not been notified.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Ends the worker's sleep, if it sleeps.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.poller.notify();
        }
    }

    fn wait(&self, timeout: Option<Duration>, events: &mut Events) {
        self.poller.wait(events, timeout);
        if events.is_empty() {
            return;
        }
        let sources = self.sources();
        for event in events.iter() {
            let token = Token::from_bits(event.token);
            if let Some((generation, readiness)) = sources.entries.get(token.index as usize) {
                if *generation == token.generation {
                    readiness.deliver(&event);
                }
            }
        }
    }

    fn register(self: &Arc<Self>, fd: BorrowedFd<'_>) -> io::Result<Registration> {
        let readiness = Arc::new(Readiness::default());
        let token = {
            let mut sources = self.sources();
            sources.generation = sources.generation.wrapping_add(1);
            let generation = sources.generation;
            let index = sources.entries.insert((generation, readiness.clone()));
            let index = u32::try_from(index).expect("fewer sockets than 2^32 are open");
            Token { index, generation }
        };
        if let Err(error) = self.poller.add(fd, token.to_bits()) {
            self.forget(token);
            return Err(error);
        }
        Ok(Registration {
            reactor: self.clone(),
            token,
            readiness,
            fd: fd.as_raw_fd(),
        })
    }

    fn forget(&self, token: Token) {
        self.sources().entries.remove(token.index as usize);
    }
}

/// A source's entry in a reactor.
struct Registration {
    reactor: Arc<Reactor>,
    token: Token,
    readiness: Arc<Readiness>,
    fd: RawFd,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.reactor.poller.remove(self.fd);
        self.reactor.forget(self.token);
    }
}

/// The state of one socket in both directions.
#[derive(Default)]
struct Readiness {
    read: Way,
    write: Way,
    /// There was an exceptional event.
    exceptional: AtomicBool,
    /// How many events there had been, and one more, when a read emptied the socket last.
    emptied: AtomicU64,
}

/// The state of one direction.
#[derive(Default)]
struct Way {
    /// Events so far, modulo 2^32. Changes under the lock of `waiters`.
    events: AtomicU32,
    waiters: Mutex<Vec<Waiter>>,
}

impl Readiness {
    fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    fn deliver(&self, event: &Event) {
        if event.exceptional {
            // Before it is counted: who sees it counted sees this.
            self.exceptional.store(true, Ordering::Relaxed);
        }
        if event.readable {
            self.read.deliver();
        }
        if event.writable {
            self.write.deliver();
        }
    }

    /// Returns whether a read would find nothing, if there were `seen` events to read.
    fn is_empty(&self, seen: u32) -> bool {
        self.emptied.load(Ordering::Relaxed) == u64::from(seen) + 1
            && !self.exceptional.load(Ordering::Relaxed)
    }
}

impl Way {
    fn waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        // Nothing panics between two consistent states.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self) {
        let mut waiters = self.waiters();
        self.events.fetch_add(1, Ordering::Release);
        waiters.drain(..).for_each(|waiter| waiter.wake());
    }

    /// Waits for an event after the `seen` ones.
    fn wait(&self, seen: u32) {
        let me = Waiter::current();
        if !self.list(&me, seen) {
            return;
        }
        /// The wait may end by unwinding, when an interrupt strikes.
        struct Listed<'a>(&'a Way, &'a Waiter);
        impl Drop for Listed<'_> {
            fn drop(&mut self) {
                self.0.strike_off(self.1);
            }
        }
        let listed = Listed(self, &me);
        // An event takes all waiters out; while we are listed, the wake-up was meant for something else.
        while self.is_listed(&me) {
            park::park();
        }
        mem::forget(listed);
    }

    /// Lists a waiter, unless there has been an event after the `seen` ones.
    fn list(&self, waiter: &Waiter, seen: u32) -> bool {
        let mut waiters = self.waiters();
        if self.events.load(Ordering::Relaxed) != seen {
            return false;
        }
        waiters.push(waiter.clone());
        true
    }

    fn strike_off(&self, waiter: &Waiter) {
        self.waiters().retain(|listed| !listed.is_same(waiter));
    }

    fn is_listed(&self, waiter: &Waiter) -> bool {
        self.waiters().iter().any(|listed| listed.is_same(waiter))
    }
}

/// A socket, or anything else that the system reports readiness of, set to non-blocking.
pub(crate) struct Source<T: AsFd> {
    /// Above `inner`, so that it ends while the file descriptor is open.
    registration: OnceLock<Registration>,
    inner: T,
    registering: Mutex<()>,
}

impl<T: AsFd> Source<T> {
    pub(crate) fn new(inner: T) -> Source<T> {
        Source {
            inner,
            registration: OnceLock::new(),
            registering: Mutex::new(()),
        }
    }

    pub(crate) fn get(&self) -> &T {
        &self.inner
    }

    /// Ends the registration and gives the socket up.
    pub(crate) fn into_inner(self) -> T {
        drop(self.registration);
        self.inner
    }

    /// Runs `attempt` until it does not answer that it would block, waiting in between.
    ///
    /// # Errors
    /// Those of `attempt`, and of registering the socket.
    pub(crate) fn retry<R>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        worker::spend();
        loop {
            let seen = self.events(direction);
            match attempt(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(direction, seen)?;
                }
                done => return done,
            }
        }
    }

    /// Reads from a stream socket into buffers of `wanted` bytes, as [`retry`](Source::retry) does, but does not try where a read would find
    /// nothing.
    ///
    /// # Errors
    /// Those of `read`, and of registering the socket.
    pub(crate) fn read_stream(
        &self,
        wanted: usize,
        mut read: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        worker::spend();
        let mut waited = wanted == 0;
        loop {
            let seen = self.events(Direction::Read);
            let readiness = self.registration.get().map(|it| &*it.readiness);
            // After a wait it is tried in any case: an OS thread may see data before the worker that counts events.
            if !waited && readiness.is_some_and(|it| it.is_empty(seen)) {
                self.wait(Direction::Read, seen)?;
                waited = true;
                continue;
            }
            match read(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Direction::Read, seen)?;
                }
                done => {
                    if let (Some(readiness), Ok(1..)) = (readiness, &done) {
                        if done.as_ref().is_ok_and(|&count| count < wanted) {
                            let emptied = u64::from(seen) + 1;
                            readiness.emptied.store(emptied, Ordering::Relaxed);
                        }
                    }
                    return done;
                }
            }
        }
    }

    /// Counts the events of a direction; 0 before the registration, which begins with an event.
    fn events(&self, direction: Direction) -> u32 {
        let registration = self.registration.get();
        // Acquire: what made the event comes before the try that follows.
        registration.map_or(0, |it| {
            it.readiness.way(direction).events.load(Ordering::Acquire)
        })
    }

    /// Waits until the socket may be ready; maybe too often, never too long.
    fn wait(&self, direction: Direction, seen: u32) -> io::Result<()> {
        match worker::current_green() {
            Some((worker, _)) => {
                let registration = self.registered(worker.reactor())?;
                registration.readiness.way(direction).wait(seen);
                Ok(())
            }
            None => sys::wait_one(self.inner.as_fd(), direction),
        }
    }

    /// The socket's entry in the reactor that it was first waited for with: for an OS thread, that of some worker.
    fn registered_anywhere(&self) -> io::Result<&Registration> {
        match worker::current_green() {
            Some((worker, _)) => self.registered(worker.reactor()),
            None => self.registered(runtime::current()?.any_reactor()),
        }
    }

    fn registered(&self, reactor: &Arc<Reactor>) -> io::Result<&Registration> {
        if let Some(registration) = self.registration.get() {
            return Ok(registration);
        }
        let _registering = self
            .registering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(registration) = self.registration.get() {
            return Ok(registration);
        }
        let registration = reactor.register(self.inner.as_fd())?;
        Ok(self.registration.get_or_init(|| registration))
    }
}

/// What `select!` waits for.
pub(crate) trait Pollable {
    /// Returns whether it is ready, or in a state that a call would learn of.
    fn is_ready(&self, direction: Direction) -> bool;

    /// Has the calling thread woken when it may be ready, until it [withdraws](Pollable::withdraw) that; false, if it is ready.
    ///
    /// # Errors
    /// If the socket could not be registered.
    fn announce(&self, direction: Direction) -> io::Result<bool>;

    fn withdraw(&self, direction: Direction);
}

impl<T: AsFd> Pollable for Source<T> {
    fn is_ready(&self, direction: Direction) -> bool {
        sys::is_ready(self.inner.as_fd(), direction)
    }

    fn announce(&self, direction: Direction) -> io::Result<bool> {
        let way = self.registered_anywhere()?.readiness.way(direction);
        let seen = way.events.load(Ordering::Acquire);
        if self.is_ready(direction) {
            return Ok(false);
        }
        Ok(way.list(&Waiter::current(), seen))
    }

    fn withdraw(&self, direction: Direction) {
        if let Some(registration) = self.registration.get() {
            let way = registration.readiness.way(direction);
            way.strike_off(&Waiter::current());
        }
    }
}
