//! Linux: epoll, edge-triggered, with an eventfd for notifications.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use super::Event;
use super::call::{check, owned};

/// The token of the eventfd; no source has it, as generations begin at 1 and a slab has no place 2^32 - 1.
const NOTIFICATION: u64 = u64::MAX;

/// Events taken at once.
const CAPACITY: usize = 256;

pub(crate) const NEEDS: &str = "an epoll instance and an eventfd";

/// The end of an open file ends its entries.
pub(crate) const CLOSING_REMOVES: bool = true;

/// An epoll instance.
pub(crate) struct Poller {
    epoll: OwnedFd,
    eventfd: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        // SAFETY: no pointers.
        let result = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        // SAFETY: the descriptor is new.
        let epoll = unsafe { owned(result) }?;
        // SAFETY: no pointers.
        let result = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        // SAFETY: the descriptor is new.
        let eventfd = unsafe { owned(result) }?;
        let poller = Poller { epoll, eventfd };
        poller.control(
            libc::EPOLL_CTL_ADD,
            poller.eventfd.as_raw_fd(),
            libc::EPOLLIN | libc::EPOLLET,
            NOTIFICATION,
        )?;
        Ok(poller)
    }

    fn control(&self, operation: c_int, fd: RawFd, interest: c_int, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: token,
        };
        // SAFETY: `event` is valid for the call; what is no open descriptor is answered with an error.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) })?;
        Ok(())
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, writes: bool) -> io::Result<()> {
        let interest = interest(writes);
        let fd = fd.as_raw_fd();
        let added = self.control(libc::EPOLL_CTL_ADD, fd, interest, token);
        let added = added.or_else(|error| match error.raw_os_error() {
            // The entry of a descriptor that was closed while its open file lives on, and has come back as this one.
            Some(libc::EEXIST) => self.control(libc::EPOLL_CTL_MOD, fd, interest, token),
            _ => Err(error),
        });
        added.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSPC) => io::Error::new(
                error.kind(),
                format!("epoll takes no further descriptor: fs.epoll.max_user_watches limits them ({error})"),
            ),
            _ => error,
        })
    }

    /// Reports from now on when it can be written to, too.
    pub(crate) fn add_writes(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest(true), token)
    }

    pub(crate) fn remove(&self, fd: RawFd) {
        // Fails only for a source that was leaked, and whose descriptor, which it was lent, has been closed since.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    pub(crate) fn notify(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the buffer is valid for 8 bytes. Each write is an edge, though nobody reads; 2^64 - 2 of them do not happen.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) {
        // Between the last `wait` and this one nobody reads the buffer, so a failure leaves it empty.
        events.len = 0;
        let result = match timeout {
            None => self.wait_coarsely(events, -1),
            Some(Duration::ZERO) => self.wait_coarsely(events, 0),
            Some(timeout) => self.wait_finely(events, timeout.saturating_sub(slack(timeout))),
        };
        match result {
            Ok(count) => events.len = count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("epoll failed: {error}"),
        }
    }

    fn wait_finely(&self, events: &mut Events, timeout: Duration) -> io::Result<usize> {
        if PRECISE.load(Ordering::Relaxed) {
            match self.wait_with_pwait2(events, timeout) {
                Err(error) if is_missing(&error) => {
                    PRECISE.store(false, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        self.wait_with_ppoll(events, timeout)
    }

    /// Waits for so many milliseconds; for ever, if that is negative.
    fn wait_coarsely(&self, events: &mut Events, timeout: c_int) -> io::Result<usize> {
        let buffer = events.buffer.as_mut_ptr().cast();
        // SAFETY: the buffer has room for CAPACITY events.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), buffer, CAPACITY as c_int, timeout) };
        Ok(check(count)? as usize)
    }

    fn wait_with_pwait2(&self, events: &mut Events, timeout: Duration) -> io::Result<usize> {
        let timespec = KernelTimespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: timeout.subsec_nanos().into(),
        };
        // SAFETY: the buffer has room for CAPACITY events, the timespec is the kernel's own, there is no signal mask.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                events.buffer.as_mut_ptr(),
                CAPACITY as c_int,
                &raw const timespec,
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        Ok(check(count as c_int)? as usize)
    }

    /// In two system calls, as `epoll_wait` takes whole milliseconds only.
    fn wait_with_ppoll(&self, events: &mut Events, timeout: Duration) -> io::Result<usize> {
        let timespec = libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos() as _,
        };
        let mut poll = libc::pollfd {
            fd: self.epoll.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid entry, a valid timespec, and no signal mask.
        check(unsafe { libc::ppoll(&mut poll, 1, &timespec, ptr::null()) })?;
        self.wait_coarsely(events, 0)
    }
}

fn interest(writes: bool) -> c_int {
    let reads = libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLET;
    match writes {
        true => reads | libc::EPOLLOUT,
        false => reads,
    }
}

/// How much longer than `timeout` Linux lets a wait last, to wake up less often: a thousandth, 100 ms at most. A wait ends
/// so much early, and who waits then waits again, for less. Not for microseconds, which another wake-up takes as well.
fn slack(timeout: Duration) -> Duration {
    const LONG: Duration = Duration::from_millis(5);
    const MOST: Duration = Duration::from_millis(100);
    if timeout < LONG {
        return Duration::ZERO;
    }
    (timeout / 1000).min(MOST)
}

/// Has the waits of the calling OS thread last no longer than by their [`slack`]; by default Linux adds 50 us.
pub(crate) fn wait_exactly() {
    // SAFETY: no pointers.
    let before = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
    if before > EXACTLY {
        TIMER_SLACK.store(before, Ordering::Relaxed);
    }
    set_timer_slack(EXACTLY);
}

/// Has the calling OS thread wait as those do that corde has nothing to do with. Threads inherit what the one that starts them has, and so do
/// processes.
pub(crate) fn wait_as_usual() {
    let usual = TIMER_SLACK.load(Ordering::Relaxed);
    if usual != 0 {
        set_timer_slack(usual);
    }
}

/// The timer slack of worker threads, in ns; 0 would be the default.
const EXACTLY: c_int = 1;

/// That of the threads before they became workers; 0 while there have been none.
static TIMER_SLACK: AtomicI32 = AtomicI32::new(0);

fn set_timer_slack(nanos: c_int) {
    // SAFETY: no pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanos) };
    debug_assert!(result == 0, "a thread may not set its own timer slack");
}

/// Tells whether `epoll_pwait2` itself is missing: Linux before 5.11 has none, and a filter may not know it.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// Whether `epoll_pwait2` works here.
static PRECISE: AtomicBool = AtomicBool::new(true);

/// `struct __kernel_timespec`: 64 bits on every architecture.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// A buffer for events.
pub(crate) struct Events {
    buffer: Box<[MaybeUninit<libc::epoll_event>; CAPACITY]>,
    len: usize,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events {
            buffer: Box::new([MaybeUninit::uninit(); CAPACITY]),
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn all(&self) -> impl Iterator<Item = libc::epoll_event> + '_ {
        let events = self.buffer[..self.len].iter();
        // SAFETY: the kernel has filled the first `len` events.
        events.map(|event| unsafe { event.assume_init() })
    }

    /// Returns whether there is a notification among them.
    pub(crate) fn notified(&self) -> bool {
        self.all().any(|event| event.u64 == NOTIFICATION)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.all()
            .filter(|event| event.u64 != NOTIFICATION)
            .map(|event| {
                let bits = event.events as c_int;
                let broken = bits & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
                let exceptional = broken || bits & (libc::EPOLLRDHUP | libc::EPOLLPRI) != 0;
                Event {
                    token: event.u64,
                    readable: exceptional || bits & libc::EPOLLIN != 0,
                    writable: broken || bits & libc::EPOLLOUT != 0,
                    exceptional,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Instant;

    use rstest::rstest;

    use super::*;

    type Wait = fn(&Poller, &mut Events, Duration) -> io::Result<usize>;

    #[rstest]
    #[case::pwait2(Poller::wait_with_pwait2, true)]
    #[case::ppoll(Poller::wait_with_ppoll, false)]
    fn a_wait_lasts_until_its_timeout_or_an_event(
        #[case] wait: Wait,
        #[case] may_be_missing: bool,
    ) {
        let (poller, mut events) = (Poller::new().expect("epoll"), Events::new());
        let (short, before) = (Duration::from_micros(1500), Instant::now());
        let count = match wait(&poller, &mut events, short) {
            Err(error) if may_be_missing && is_missing(&error) => {
                return eprintln!("left out: there is no epoll_pwait2 here");
            }
            result => result.expect("no event"),
        };
        assert_eq!(count, 0);
        assert!(before.elapsed() >= short);

        for _ in 0..2 {
            poller.notify();
            let count = wait(&poller, &mut events, Duration::MAX);
            assert_eq!(count.expect("a notification"), 1);
        }

        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        poller.add(socket.as_fd(), 7, true).expect("it is added");
        let count = wait(&poller, &mut events, Duration::MAX).expect("it can be written to");
        events.len = count;
        assert!(
            events
                .iter()
                .any(|event| event.token == 7 && event.writable)
        );
    }

    #[rstest]
    #[case::microseconds(Duration::from_micros(1500), 1)]
    #[case::a_second(Duration::from_secs(1), 3)]
    #[case::a_year(Duration::from_secs(86400 * 365), 6)]
    fn a_long_wait_is_split_into_few(#[case] mut timeout: Duration, #[case] most: u32) {
        let mut waits = 1;
        while !slack(timeout).is_zero() {
            // As late as Linux lets it be.
            let wait = timeout - slack(timeout);
            let late = (wait / 1000).min(Duration::from_millis(100));
            assert!(wait + late <= timeout);
            timeout = slack(timeout);
            waits += 1;
        }
        assert!(waits <= most, "{waits}");
    }
}
