//! Readiness: which sockets can be read or written, and who waits for it.
//!
//! Each worker has a [`Reactor`]. A socket is a [`Source`]: it is tried first, and only when the system says that it would
//! block does the calling thread wait. The first green thread that waits registers the socket with its worker's
//! reactor, edge-triggered, once: for reading, and for writing as well when somebody waits for that, which on most sockets nobody ever does. An OS thread waits with `poll(2)` and needs no registration.
//!
//! | file | what is there |
//! | --- | --- |
//! | `mod.rs` | the reactor of a worker: delivers events to the sockets that are registered |
//! | `readiness.rs` | the state of one socket: events so far, who waits, where it is registered |
//! | `source.rs` | what sockets, pipes and other files are used through: try, wait, try again |
//! | `sys/` | what the operating system provides |
//!
//! # Why no edge is lost
//!
//! For each direction a [`Readiness`] counts events and keeps the waiters. An event is counted and wakes all waiters, under one lock.
//! A thread reads the count before it tries. If it then has to wait, it looks, under the lock, whether the count is still the same;
//! if not, it tries again. So an edge that falls between try and wait is seen, by each of several threads that were between the two;
//! and one that falls before the try has been seen by that.
//!
//! # Reading no more than there is
//!
//! A read that got less than it asked for has emptied a stream socket: the next one would find nothing, unless an event has come since. So it
//! waits for that without trying ([`Source::read_stream`]), which saves a system call for each request of a client. Not once there
//! was anything that no further event tells of: the end of the stream, an error, urgent data, at which a read stops. Nor where nobody may wait: there
//! may be data whose event has not been counted yet.
//!
//! # Why an old event does no harm
//!
//! The kernel may still deliver events for a socket that was closed, if a duplicate of it lives on. Events carry a token of
//! place and generation; a token that is not in the list of sources is dropped, and a source that got it by
//! mistake would merely try once too often. So a socket that is closed is not taken out of the epoll instance either, unless corde has duplicated
//! it: closing does that.
//!
//! # Reactors that nobody attends to
//!
//! A socket may outlive the worker that it is registered with, or be registered with a
//! [`LocalRuntime`](crate::runtime::LocalRuntime) whose thread does something else. Its reactor is *attended* only while the worker's loop runs. When
//! it is left, it lets go of the sockets that others wait for: they are woken, find the socket [unregistered](readiness::Readiness::register), and
//! register it anew, with a reactor of their own.
//!
//! What is not covered: a `LocalRuntime` whose thread is held up inside of [`block_on`](crate::runtime::LocalRuntime::block_on) attends to its reactor in name
//! only, and has no monitor that would look at it instead. Those who wait from elsewhere for its sockets wait until it goes on.
//!
//! 1. A thread that waits for a socket of another worker's reactor counts itself as a *visitor* of that, and then looks whether it is attended.
//! 2. A worker that leaves clears `attended`, and then looks whether there are visitors. A fence on both sides: one of the two sees the other.

mod readiness;
mod source;
pub(crate) mod sys;

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;

use crate::runtime::wait_list::Wake;
use readiness::Readiness;
pub(crate) use source::{Announcement, Pollable, Source};
pub(crate) use sys::Events;
use sys::Poller;

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
    /// Whether somebody looks for events from time to time.
    attended: AtomicBool,
    /// Threads of other workers, or of none, that wait for a source here.
    visitors: AtomicUsize,
}

#[derive(Default)]
struct Sources {
    entries: Slab<Entry>,
    generation: u32,
    /// By the file descriptor, whether it is registered: it can be only once.
    registered: Vec<bool>,
}

struct Entry {
    generation: u32,
    fd: RawFd,
    readiness: Arc<Readiness>,
}

impl Sources {
    /// The source of an event; none, if it has been taken out.
    fn find(&self, token: u64) -> Option<&Arc<Readiness>> {
        let token = Token::from_bits(token);
        let entry = self.entries.get(token.index as usize)?;
        (entry.generation == token.generation).then_some(&entry.readiness)
    }

    /// Makes an entry; none, if the file descriptor is registered already.
    fn insert(&mut self, fd: RawFd, readiness: Arc<Readiness>) -> Option<Token> {
        let place = usize::try_from(fd).expect("it is open");
        if self.registered.len() <= place {
            self.registered.resize(place + 1, false);
        }
        if mem::replace(&mut self.registered[place], true) {
            return None;
        }
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.entries.insert(Entry {
            generation,
            fd,
            readiness,
        });
        let index = u32::try_from(index).expect("fewer sockets than 2^32 are open");
        Some(Token { index, generation })
    }

    fn remove(&mut self, token: Token) {
        if self.find(token.to_bits()).is_some() {
            let entry = self.entries.remove(token.index as usize);
            self.registered[entry.fd as usize] = false;
        }
    }
}

/// Where a source is registered with a reactor.
struct Place {
    token: Token,
    fd: RawFd,
    /// What is registered in the place of `fd`.
    duplicate: Option<OwnedFd>,
}

impl Place {
    /// The descriptor that is registered.
    fn registered(&self) -> RawFd {
        let duplicate = self.duplicate.as_ref().map(AsRawFd::as_raw_fd);
        duplicate.unwrap_or(self.fd)
    }
}

/// How many events ahead sources are fetched.
const AHEAD: usize = 8;

/// Tells the sources of a reactor apart, also from those that were in the same entry before.
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
            attended: AtomicBool::new(false),
            visitors: AtomicUsize::new(0),
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
        let mut wakes = Vec::new();
        let sources = self.sources();
        // Each source is a miss or two, and those of one do not overlap with those of the next.
        let mut later = events.iter();
        let mut fetch_next = || {
            let event = later.next()?;
            sources.find(event.token).map(|it| it.prefetch())
        };
        for _ in 0..AHEAD {
            fetch_next();
        }
        for event in events.iter() {
            fetch_next();
            if let Some(readiness) = sources.find(event.token) {
                readiness.deliver(&event, &mut wakes);
            }
        }
        drop(sources);
        // Only now: a thread may have ended before it is let go of here, and its result be a socket of this reactor.
        wakes.into_iter().for_each(Wake::wake);
    }

    /// Wakes the green threads whose sockets are ready, for a worker that does not come to it. For another OS thread, which may take a notification
    /// away that was meant for the worker, and then repeats it.
    pub(crate) fn poll_for_worker(&self, events: &mut Events) {
        self.poll(events);
        if events.notified() {
            self.poller.notify();
        }
    }

    /// From now on somebody looks for events.
    pub(crate) fn attend(&self) {
        self.attended.store(true, Ordering::Relaxed);
    }

    /// Nobody looks for events any more, until somebody [attends](Reactor::attend) again: has those who wait for a source from elsewhere look
    /// for another reactor.
    pub(crate) fn leave(&self) {
        self.attended.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.visitors.load(Ordering::Relaxed) == 0 {
            return;
        }
        let sources = self.sources();
        let all = sources.entries.iter();
        let all: Vec<_> = all.map(|(_, entry)| entry.readiness.clone()).collect();
        drop(sources);
        all.iter().for_each(|it| it.unregister(self));
    }

    /// Counts the calling thread as one that waits here, until it [goes](Reactor::end_visit); false, if the reactor is not attended.
    fn visit(&self) -> bool {
        self.visitors.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let attended = self.attended.load(Ordering::Relaxed);
        if !attended {
            self.end_visit();
        }
        attended
    }

    fn end_visit(&self) {
        self.visitors.fetch_sub(1, Ordering::Relaxed);
    }

    /// Registers a source. A descriptor that somebody else has registered here already, as it was only lent to both, is duplicated for that.
    fn add(
        &self,
        fd: BorrowedFd<'_>,
        readiness: &Arc<Readiness>,
        writes: bool,
    ) -> io::Result<Place> {
        let inserted = self.sources().insert(fd.as_raw_fd(), readiness.clone());
        let (token, duplicate) = match inserted {
            Some(token) => (token, None),
            None => self.insert_duplicate(fd, readiness)?,
        };
        let place = Place {
            token,
            fd: fd.as_raw_fd(),
            duplicate,
        };
        let added = match &place.duplicate {
            Some(duplicate) => self.poller.add(duplicate.as_fd(), token.to_bits(), writes),
            None => self.poller.add(fd, token.to_bits(), writes),
        };
        if let Err(error) = added {
            self.forget(&place);
            return Err(error);
        }
        Ok(place)
    }

    /// Has a source told of when it can be written to, too.
    fn add_writes(&self, place: &Place) -> io::Result<()> {
        self.poller
            .add_writes(place.registered(), place.token.to_bits())
    }

    #[cold]
    fn insert_duplicate(
        &self,
        fd: BorrowedFd<'_>,
        readiness: &Arc<Readiness>,
    ) -> io::Result<(Token, Option<OwnedFd>)> {
        // Numbers of descriptors that were lent to sources which were leaked, and have been closed since.
        let mut stale = Vec::new();
        loop {
            let duplicate = fd.try_clone_to_owned()?;
            let inserted = self
                .sources()
                .insert(duplicate.as_raw_fd(), readiness.clone());
            match inserted {
                Some(token) => return Ok((token, Some(duplicate))),
                None => stale.push(duplicate),
            }
        }
    }

    /// Takes a source out whose file descriptor stays open.
    fn remove(&self, place: &Place) {
        self.poller.remove(place.registered());
        self.forget(place);
    }

    /// Takes a source out whose file descriptor is closed next.
    fn forget(&self, place: &Place) {
        self.sources().remove(place.token);
    }
}
