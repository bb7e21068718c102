//! The state of one source of events: what has happened, who waits for more, and where it is registered.

use std::io;
use std::os::fd::BorrowedFd;
use std::panic::RefUnwindSafe;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::sys::Event;
use super::{Direction, Place, Reactor};
use crate::arch;
use crate::runtime::lock::Lock;
use crate::runtime::wait_list::{self, End, Left, Node, WaitList, Wake};

/// The state of one source in both directions.
#[derive(Default)]
pub(super) struct Readiness {
    /// Events so far, modulo 2^32, in each direction. They change under the lock of `waiters`.
    events: [AtomicU32; 2],
    waiters: Lock<Waiters>,
    /// There was an exceptional event.
    exceptional: AtomicBool,
    /// How many events there had been, and one more, when a read emptied the source last.
    emptied: AtomicU64,
    /// The reactors that it is registered with in each direction: the same, or none. Only to be compared.
    reactors: [AtomicPtr<Reactor>; 2],
    registration: Mutex<Option<Registration>>,
}

// Nothing unwinds while it is half changed: as std's, sockets may be used again after a panic.
impl RefUnwindSafe for Readiness {}

/// Who waits, in each direction.
struct Waiters([WaitList<()>; 2]);

impl Default for Waiters {
    fn default() -> Waiters {
        Waiters([const { WaitList::new() }; 2])
    }
}

/// A source's entry in a reactor.
struct Registration {
    reactor: Arc<Reactor>,
    place: Place,
}

/// The right to wait for a source of another worker's reactor. While there is one, that reactor will tell when nobody attends to it any more.
pub(super) struct Visit(Arc<Reactor>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.end_visit();
    }
}

impl Readiness {
    /// Has the cache lines fetched that an event touches.
    pub(super) fn prefetch(&self) {
        arch::prefetch(self);
    }

    /// Notes an event. Those who wait for it go to `wakes`, if they were not woken right away.
    pub(super) fn deliver(&self, event: &Event, wakes: &mut Vec<Wake>) {
        if event.exceptional {
            // Before it is counted: who sees it counted sees this.
            self.exceptional.store(true, Ordering::Relaxed);
        }
        self.count(event.readable, event.writable, wakes);
    }

    /// Counts an event in these directions, and grants it to those who wait there. Who is to be woken afterwards is added to `wakes`: with no lock held,
    /// as whoever drops the last reference to a green thread runs the destructor of its result.
    fn count(&self, readable: bool, writable: bool, wakes: &mut Vec<Wake>) {
        // Until all of them are granted: those who try again and come back would be granted the same event once more, maybe for ever.
        let mut waiters = self.waiters.lock();
        for (direction, happened) in [(Direction::Read, readable), (Direction::Write, writable)] {
            if !happened {
                continue;
            }
            self.count_one(direction);
            let list = &mut waiters.0[direction as usize];
            if let Some(node) = list.first_place() {
                prefetch_frames(node.as_ptr());
            }
            while let Some(((), wake)) = list.grant_first(|()| ()) {
                if wake.is_needed() {
                    wakes.push(wake);
                }
            }
        }
    }

    /// Under the lock of `waiters`, so that no other one is counted meanwhile.
    fn count_one(&self, direction: Direction) {
        let events = &self.events[direction as usize];
        let next = events.load(Ordering::Relaxed).wrapping_add(1);
        // Release: what made the event comes before the try of who sees it.
        events.store(next, Ordering::Release);
    }

    /// Counts the events of a direction.
    pub(super) fn events(&self, direction: Direction) -> u32 {
        // Acquire: what made the event comes before the try that follows.
        self.events[direction as usize].load(Ordering::Acquire)
    }

    /// Returns whether there was an exceptional event.
    pub(super) fn had_exception(&self) -> bool {
        self.exceptional.load(Ordering::Relaxed)
    }

    /// Returns whether a read would find nothing, if there were `seen` events to read.
    pub(super) fn is_empty(&self, seen: u32) -> bool {
        self.emptied.load(Ordering::Relaxed) == u64::from(seen) + 1 && !self.had_exception()
    }

    /// A read that began after `seen` events has found less than it wanted.
    pub(super) fn note_empty(&self, seen: u32) {
        self.emptied.store(u64::from(seen) + 1, Ordering::Relaxed);
    }

    /// Waits for an event after the `seen` ones, until `deadline` at most.
    ///
    /// # Errors
    /// If there was none.
    pub(super) fn wait(
        &self,
        direction: Direction,
        seen: u32,
        deadline: Option<Instant>,
    ) -> Result<(), Left> {
        let guard = self.waiters.lock();
        if self.events[direction as usize].load(Ordering::Relaxed) != seen {
            return Ok(());
        }
        let place = direction as usize;
        wait_list::wait(
            guard,
            |waiters| &mut waiters.0[place],
            End::Last,
            (),
            deadline,
        )
        .map_err(|(left, (), _guard)| left)
    }

    /// Has the thread of `node` woken by the next event; false, if there has been one after the `seen` ones.
    ///
    /// # Safety
    /// As for [`WaitList::link`]; the node goes to [`unlink`](Readiness::unlink) before it moves or ends.
    pub(super) unsafe fn link(&self, direction: Direction, seen: u32, node: &Node<()>) -> bool {
        let mut waiters = self.waiters.lock();
        if self.events[direction as usize].load(Ordering::Relaxed) != seen {
            return false;
        }
        // SAFETY: passed on.
        unsafe { waiters.0[direction as usize].link(node) };
        true
    }

    /// Afterwards nobody touches the node any more.
    ///
    /// # Safety
    /// It was linked here last, for this direction.
    pub(super) unsafe fn unlink(&self, direction: Direction, node: &Node<()>) {
        let mut waiters = self.waiters.lock();
        // SAFETY: passed on.
        unsafe { waiters.0[direction as usize].unlink_if_linked(node) };
    }

    fn registration(&self) -> MutexGuard<'_, Option<Registration>> {
        // Nothing panics between two consistent states.
        self.registration
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers it with `reactor` for events of this direction, unless it is already, with that or with another one that is attended to. An event follows.
    ///
    /// # Errors
    /// Those of the system.
    #[inline]
    pub(super) fn register(
        self: &Arc<Self>,
        fd: BorrowedFd<'_>,
        reactor: &Arc<Reactor>,
        direction: Direction,
    ) -> io::Result<Option<Visit>> {
        // Whoever has cleared it counts an event afterwards, under the lock that the caller takes next.
        let registered = self.reactors[direction as usize].load(Ordering::Relaxed);
        if ptr::eq(registered, Arc::as_ptr(reactor)) {
            return Ok(None);
        }
        self.register_or_visit(fd, reactor, direction)
    }

    #[cold]
    #[inline(never)]
    fn register_or_visit(
        self: &Arc<Self>,
        fd: BorrowedFd<'_>,
        reactor: &Arc<Reactor>,
        direction: Direction,
    ) -> io::Result<Option<Visit>> {
        let mut wakes = Vec::new();
        let registered = self.register_under_lock(fd, reactor, direction, &mut wakes);
        wakes.into_iter().for_each(Wake::wake);
        registered
    }

    fn register_under_lock(
        self: &Arc<Self>,
        fd: BorrowedFd<'_>,
        reactor: &Arc<Reactor>,
        direction: Direction,
        wakes: &mut Vec<Wake>,
    ) -> io::Result<Option<Visit>> {
        let mut registration = self.registration();
        if let Some(there) = &*registration {
            let here = Arc::ptr_eq(&there.reactor, reactor);
            if here || there.reactor.visit() {
                let visit = (!here).then(|| Visit(there.reactor.clone()));
                if self.reactors[direction as usize]
                    .load(Ordering::Relaxed)
                    .is_null()
                {
                    there.reactor.add_writes(&there.place)?;
                    self.note_registered(&there.reactor, Direction::Write);
                }
                return Ok(visit);
            }
            there.reactor.remove(&there.place);
            self.note_unregistered();
            *registration = None;
            // Those who wait already are visitors of this reactor from now on.
            self.count(true, true, wakes);
        }
        let place = reactor.add(fd, self, direction == Direction::Write)?;
        *registration = Some(Registration {
            reactor: reactor.clone(),
            place,
        });
        self.note_registered(reactor, Direction::Read);
        if direction == Direction::Write {
            self.note_registered(reactor, Direction::Write);
        }
        Ok(None)
    }

    fn note_registered(&self, reactor: &Arc<Reactor>, direction: Direction) {
        let place = Arc::as_ptr(reactor).cast_mut();
        self.reactors[direction as usize].store(place, Ordering::Relaxed);
    }

    fn note_unregistered(&self) {
        for reactor in &self.reactors {
            reactor.store(ptr::null_mut(), Ordering::Relaxed);
        }
    }

    /// Ends the registration with `reactor`; who waits tries again, and registers it anew.
    pub(super) fn unregister(&self, reactor: &Reactor) {
        let mut registration = self.registration();
        if registration
            .as_ref()
            .is_some_and(|it| ptr::eq(&*it.reactor, reactor))
        {
            self.note_unregistered();
            if let Some(there) = registration.take() {
                there.reactor.remove(&there.place);
            }
        }
        drop(registration);
        let mut wakes = Vec::new();
        self.count(true, true, &mut wakes);
        wakes.into_iter().for_each(Wake::wake);
    }

    /// Ends the registration, for a file descriptor that is closed next, or stays open.
    pub(super) fn end(&self, closes: bool) {
        if let Some(there) = self.registration().take() {
            self.note_unregistered();
            match closes {
                true => there.reactor.forget(&there.place),
                false => there.reactor.remove(&there.place),
            }
        }
    }
}

/// Has the frames of a wait fetched, which whoever is woken goes back through: those below the place of its node, and above it.
#[inline(always)]
fn prefetch_frames(node: *const u8) {
    const BELOW: usize = 4;
    const ABOVE: usize = 10;
    const LINE: usize = 64;
    let lowest = node.wrapping_sub(BELOW * LINE);
    for line in 0..BELOW + ABOVE {
        arch::prefetch(lowest.wrapping_add(line * LINE));
    }
}
