//! macOS, FreeBSD: kqueue, edge-triggered (`EV_CLEAR`), with a user event for notifications.
//!
//! A descriptor has a filter for each direction, which reports by itself.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use super::call::{check, owned};
use super::{Event, bsd};

/// The name of the user event that notifies. Others have the number of a descriptor, and one more.
pub(super) const NOTIFICATION: usize = 0;

/// Events taken at once.
const CAPACITY: usize = 256;

/// No wait lasts longer: macOS refuses more than 100,000,000 seconds.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Whether the system tells of urgent data. A read stops there, short of what comes after it. So where nobody tells, a short read proves nothing.
const TELLS_URGENT: bool = cfg!(target_vendor = "apple");

/// In an event of macOS: there is urgent data.
const EV_OOBAND: u16 = 0x2000;

pub(crate) const NEEDS: &str = "a kqueue";

/// Closing a descriptor removes its filters; not with libkqueue.
pub(crate) const CLOSING_REMOVES: bool = !cfg!(corde_kqueue);

/// A kernel event queue.
pub(crate) struct Poller {
    queue: OwnedFd,
}

/// An entry of the list of changes.
fn change(identifier: usize, filter: i16, flags: u16) -> bsd::kevent {
    // SAFETY: kevent is plain data for which zero is valid; what else is in it differs from system to system.
    let mut change: bsd::kevent = unsafe { MaybeUninit::zeroed().assume_init() };
    change.ident = identifier;
    change.filter = filter;
    change.flags = flags;
    change
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        // SAFETY: no arguments.
        let result = unsafe { bsd::kqueue() };
        // SAFETY: the descriptor is new.
        let queue = unsafe { owned(result) }?;
        // A child does not inherit it from `fork`, but a program that takes this one's place would.
        // SAFETY: no pointers.
        check(unsafe { libc::fcntl(queue.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
        let poller = Poller { queue };
        let flags = bsd::EV_ADD | bsd::EV_CLEAR;
        poller.change(&[change(NOTIFICATION, bsd::EVFILT_USER, flags)])?;
        Ok(poller)
    }

    /// Makes the changes in order, up to one that fails.
    fn change(&self, changes: &[bsd::kevent]) -> io::Result<()> {
        // SAFETY: so many valid changes, and no room for events, so that an error is the call's own.
        let result = unsafe {
            bsd::kevent(
                self.queue.as_raw_fd(),
                changes.as_ptr(),
                changes.len() as c_int,
                ptr::null_mut(),
                0,
                ptr::null(),
            )
        };
        match check(result) {
            // The changes have been made by then.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result.map(drop),
        }
    }

    /// Adds the filters that report on `fd`.
    fn add_filters(&self, fd: RawFd, filters: &[i16], token: u64) -> io::Result<()> {
        let token = ptr::without_provenance_mut(token as usize);
        let mut changes = [change(fd as usize, 0, bsd::EV_ADD | bsd::EV_CLEAR); 2];
        for (change, &filter) in changes.iter_mut().zip(filters) {
            change.filter = filter;
            change.udata = token;
        }
        match self.change(&changes[..filters.len()]) {
            // A pipe without its other end: there may be no event, and a read or a write learns of it at once.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                let flags = bsd::EV_ADD | bsd::EV_ONESHOT;
                let mut broken = change(fd as usize + 1, bsd::EVFILT_USER, flags);
                broken.fflags = bsd::NOTE_TRIGGER;
                broken.udata = token;
                self.change(&[broken])
            }
            added => added,
        }
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, writes: bool) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let filters = [bsd::EVFILT_READ, bsd::EVFILT_WRITE];
        let added = self.add_filters(fd, &filters[..1 + usize::from(writes)], token);
        if added.is_err() {
            self.remove(fd);
        }
        added
    }

    pub(crate) fn add_writes(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.add_filters(fd, &[bsd::EVFILT_WRITE], token)
    }

    pub(crate) fn remove(&self, fd: RawFd) {
        for filter in [bsd::EVFILT_READ, bsd::EVFILT_WRITE] {
            // It may not have been added.
            let _ = self.change(&[change(fd as usize, filter, bsd::EV_DELETE)]);
        }
    }

    pub(crate) fn notify(&self) {
        let mut change = change(NOTIFICATION, bsd::EVFILT_USER, 0);
        change.fflags = bsd::NOTE_TRIGGER;
        // It fails in the child of a fork alone, which has no queue, and nobody who waits.
        let _ = self.change(&[change]);
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) {
        // Between the last `wait` and this one nobody reads the buffer, so a failure leaves it empty.
        events.len = 0;
        let timeout = timeout.map(|timeout| {
            let timeout = timeout.min(LONGEST);
            libc::timespec {
                tv_sec: timeout.as_secs() as _,
                tv_nsec: timeout.subsec_nanos() as _,
            }
        });
        // SAFETY: no changes, a buffer with room for CAPACITY events, and a valid timespec, or none: for ever.
        let result = unsafe {
            bsd::kevent(
                self.queue.as_raw_fd(),
                ptr::null(),
                0,
                events.buffer.as_mut_ptr().cast(),
                CAPACITY as c_int,
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            )
        };
        match check(result) {
            Ok(count) => events.len = count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("kqueue failed: {error}"),
        }
    }
}

/// Nothing: there is no slack that an OS thread could set for its waits.
pub(crate) fn wait_exactly() {}

/// As little.
pub(crate) fn wait_as_usual() {}

/// A buffer for events.
pub(crate) struct Events {
    buffer: Box<[MaybeUninit<bsd::kevent>; CAPACITY]>,
    len: usize,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events {
            buffer: Box::new([const { MaybeUninit::uninit() }; CAPACITY]),
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn all(&self) -> impl Iterator<Item = &bsd::kevent> {
        let events = self.buffer[..self.len].iter();
        // SAFETY: the system has filled the first `len` events.
        events.map(|event| unsafe { event.assume_init_ref() })
    }

    /// Returns whether there is a notification among them.
    pub(crate) fn notified(&self) -> bool {
        self.all().any(is_notification)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.all().filter(|event| !is_notification(event)).map(read)
    }
}

fn is_notification(event: &bsd::kevent) -> bool {
    event.filter == bsd::EVFILT_USER && event.ident == NOTIFICATION
}

/// What an event of the system's, which is no notification, means.
fn read(event: &bsd::kevent) -> Event {
    // The end of one direction counts for both: when a pipe loses its reader, some systems tell by the filter for reading alone.
    let broken =
        event.filter == bsd::EVFILT_USER || event.flags & (bsd::EV_EOF | bsd::EV_ERROR) != 0;
    let readable = broken || event.filter == bsd::EVFILT_READ;
    let urgent = !TELLS_URGENT || event.flags & EV_OOBAND != 0;
    Event {
        token: event.udata.addr() as u64,
        readable,
        writable: broken || event.filter == bsd::EVFILT_WRITE,
        exceptional: broken || readable && urgent,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rstest::rstest;

    use super::*;

    /// All that comes within `timeout`, by the first wait.
    fn wait(poller: &Poller, timeout: Duration) -> Vec<Event> {
        let mut events = Events::new();
        poller.wait(&mut events, Some(timeout));
        events.iter().collect()
    }

    #[test]
    fn a_wait_ends_with_its_timeout_or_a_notification() {
        let (poller, mut events) = (Poller::new().expect("kqueue"), Events::new());
        poller.wait(&mut events, Some(Duration::ZERO));
        assert!(events.is_empty());
        poller.wait(&mut events, Some(Duration::from_micros(1500)));
        assert!(events.is_empty());

        for timeout in [None, Some(Duration::MAX)] {
            poller.notify();
            poller.wait(&mut events, timeout);
            assert!(!events.is_empty());
            assert!(events.notified());
            assert_eq!(events.iter().count(), 0);
            poller.wait(&mut events, Some(Duration::ZERO));
            assert!(events.is_empty());
        }
    }

    #[test]
    fn a_notification_ends_the_wait_of_another_thread() {
        let poller = Poller::new().expect("kqueue");
        std::thread::scope(|scope| {
            scope.spawn(|| poller.wait(&mut Events::new(), None));
            poller.notify();
        });
    }

    #[test]
    fn both_directions_are_reported_as_edges_until_they_are_removed() {
        let poller = Poller::new().expect("kqueue");
        let (near, mut far) = UnixStream::pair().expect("sockets");
        poller.add(near.as_fd(), 7, true).expect("it is added");
        let events = wait(&poller, Duration::MAX);
        assert!(
            events
                .iter()
                .all(|it| (it.token, it.writable, it.readable) == (7, true, false))
        );
        assert_eq!(events.len(), 1);
        assert_eq!(wait(&poller, Duration::ZERO).len(), 0);

        for _ in 0..2 {
            // Nobody reads in between.
            far.write_all(b"x").expect("it is written");
            let events = wait(&poller, Duration::MAX);
            assert!(events.iter().any(|it| (it.token, it.readable) == (7, true)));
            assert!(!wait(&poller, Duration::ZERO).iter().any(|it| it.readable));
        }

        poller.remove(near.as_raw_fd());
        far.write_all(b"x").expect("it is written");
        assert_eq!(wait(&poller, Duration::ZERO).len(), 0);
        poller
            .add(near.as_fd(), 8, true)
            .expect("it is added again");
        let events = wait(&poller, Duration::MAX);
        assert!(events.iter().all(|it| it.token == 8));
    }

    #[test]
    fn writing_is_reported_when_that_is_asked_for() {
        let poller = Poller::new().expect("kqueue");
        let (near, _far) = UnixStream::pair().expect("sockets");
        poller.add(near.as_fd(), 7, false).expect("it is added");
        assert_eq!(wait(&poller, Duration::ZERO).len(), 0);
        poller.add_writes(near.as_raw_fd(), 7).expect("it is added");
        let events = wait(&poller, Duration::MAX);
        assert!(events.iter().all(|it| (it.token, it.writable) == (7, true)));
    }

    #[test]
    fn the_end_is_exceptional() {
        let poller = Poller::new().expect("kqueue");
        let (mut near, far) = UnixStream::pair().expect("sockets");
        poller.add(near.as_fd(), 7, true).expect("it is added");
        wait(&poller, Duration::MAX);
        far.shutdown(Shutdown::Write).expect("it is connected");
        let events = wait(&poller, Duration::MAX);
        assert!(events.iter().any(|it| it.readable && it.exceptional));
        assert_eq!(near.read(&mut [0]).expect("the end"), 0);
    }

    #[test]
    fn what_was_not_added_can_be_removed() {
        let poller = Poller::new().expect("kqueue");
        // The highest number there is, beyond all limits of descriptors.
        let closed = RawFd::MAX;
        assert!(poller.add_filters(closed, &[bsd::EVFILT_READ], 7).is_err());
        poller.remove(closed);
        poller.notify();
        assert_eq!(wait(&poller, Duration::MAX).len(), 0);
    }

    const READ: i16 = bsd::EVFILT_READ;
    const WRITE: i16 = bsd::EVFILT_WRITE;

    #[rstest]
    #[case::input(READ, 0, (true, false, !TELLS_URGENT))]
    #[case::room(WRITE, 0, (false, true, false))]
    #[case::end_of_input(READ, bsd::EV_EOF, (true, true, true))]
    #[case::no_more_output(WRITE, bsd::EV_EOF, (true, true, true))]
    #[case::error(WRITE, bsd::EV_ERROR, (true, true, true))]
    #[case::broken_pipe(bsd::EVFILT_USER, 0, (true, true, true))]
    #[case::urgent_data(READ, EV_OOBAND, (true, false, true))]
    fn an_event_tells_of(
        #[case] filter: i16,
        #[case] flags: u16,
        #[case] expected: (bool, bool, bool),
    ) {
        let event = read(&change(3, filter, flags));
        let told = (event.readable, event.writable, event.exceptional);
        assert_eq!(told, expected);
    }
}
