//! Linux, for tests alone: libkqueue, under the names that `libc` has for kqueue.
//!
//! What libkqueue 2.3.1 lacks, and this makes up for:
//!
//! * a queue takes one filter for a descriptor only: the one for writing gets a duplicate;
//! * a wait may use a filter that is removed meanwhile: nobody waits while one is removed;
//! * the first two queues, made at the same time, may wait for each other for ever: only one is made at a time;
//! * closing a queue may block for ever while another is made: queues stay, and only duplicates of their descriptors are closed.
//!
//! Not made up for here: a descriptor has to be removed before it is closed; the pending error of a socket is lost, as libkqueue asks for it
//! itself; errors of changes are `EFAULT`.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::kqueue::NOTIFICATION;

pub(super) const EVFILT_READ: i16 = -1;
pub(super) const EVFILT_WRITE: i16 = -2;
pub(super) const EVFILT_USER: i16 = -11;
pub(super) const EV_ADD: u16 = 0x1;
pub(super) const EV_DELETE: u16 = 0x2;
pub(super) const EV_ONESHOT: u16 = 0x10;
pub(super) const EV_CLEAR: u16 = 0x20;
pub(super) const EV_ERROR: u16 = 0x4000;
pub(super) const EV_EOF: u16 = 0x8000;
pub(super) const NOTE_TRIGGER: u32 = 0x0100_0000;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct kevent {
    pub(super) ident: usize,
    pub(super) filter: i16,
    pub(super) flags: u16,
    pub(super) fflags: u32,
    pub(super) data: isize,
    pub(super) udata: *mut c_void,
}

#[link(name = "kqueue", kind = "static")]
unsafe extern "C" {
    #[link_name = "kqueue"]
    fn real_kqueue() -> c_int;
    #[link_name = "kevent"]
    fn real_kevent(
        queue: c_int,
        changes: *const kevent,
        change_count: c_int,
        events: *mut kevent,
        event_count: c_int,
        timeout: *const libc::timespec,
    ) -> c_int;
}

/// A queue.
struct Queue {
    fd: RawFd,
    /// Held while somebody waits for events, and while filters are removed.
    waiting: Mutex<()>,
    /// How many threads are about to remove filters.
    removing: AtomicUsize,
    /// The duplicate of each descriptor that is to be written to.
    writers: Mutex<HashMap<usize, OwnedFd>>,
}

/// The queue behind each duplicate that was handed out.
static QUEUES: Mutex<Option<HashMap<RawFd, &Queue>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As `kqueue`.
///
/// # Safety
/// None is needed; it is `unsafe` as `libc`'s is.
pub(super) unsafe fn kqueue() -> c_int {
    let mut queues = lock(&QUEUES);
    // SAFETY: no arguments.
    let fd = unsafe { real_kqueue() };
    // SAFETY: no pointers; what is no descriptor is answered with an error.
    let handed_out = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    let queue = Queue {
        fd,
        waiting: Mutex::default(),
        removing: AtomicUsize::new(0),
        writers: Mutex::default(),
    };
    let queue = Box::leak(Box::new(queue));
    queues.get_or_insert_default().insert(handed_out, queue);
    handed_out
}

/// As `kevent`.
///
/// # Safety
/// The lists have so many entries, and the timeout is valid or null.
pub(super) unsafe fn kevent(
    queue: c_int,
    changes: *const kevent,
    change_count: c_int,
    events: *mut kevent,
    event_count: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    let queue = lock(&QUEUES)
        .as_ref()
        .and_then(|it| it.get(&queue).copied());
    let queue = queue.expect("it was made here");
    for index in 0..change_count as usize {
        // SAFETY: passed on.
        let change = unsafe { changes.add(index) };
        // SAFETY: passed on.
        let change = unsafe { *change };
        if queue.apply(change).is_err() {
            return -1;
        }
    }
    if event_count == 0 {
        return 0;
    }
    while queue.removing.load(Ordering::SeqCst) != 0 {
        thread::yield_now();
    }
    // Who only looks does not wait for one who waits.
    let Ok(_waiting) = queue.waiting.try_lock() else {
        return 0;
    };
    // SAFETY: passed on.
    unsafe { real_kevent(queue.fd, ptr::null(), 0, events, event_count, timeout) }
}

impl Queue {
    /// Makes one change.
    fn apply(&self, mut change: kevent) -> io::Result<()> {
        let descriptor = change.ident;
        let mut writer = None;
        if change.filter == EVFILT_WRITE {
            let duplicate = match change.flags & EV_ADD {
                0 => lock(&self.writers).remove(&descriptor),
                // SAFETY: whoever adds a descriptor has it open.
                _ => Some(
                    unsafe { BorrowedFd::borrow_raw(descriptor as RawFd) }.try_clone_to_owned()?,
                ),
            };
            let duplicate = duplicate.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
            change.ident = duplicate.as_raw_fd() as usize;
            writer = Some(duplicate);
        }
        if change.flags & EV_DELETE != 0 {
            return self.remove(change);
        }
        self.apply_as_it_is(change)?;
        if let Some(writer) = writer {
            lock(&self.writers).insert(descriptor, writer);
        }
        Ok(())
    }

    /// Removes a filter while nobody waits.
    fn remove(&self, change: kevent) -> io::Result<()> {
        self.removing.fetch_add(1, Ordering::SeqCst);
        let mut end_of_wait = change;
        end_of_wait.ident = NOTIFICATION;
        end_of_wait.filter = EVFILT_USER;
        end_of_wait.flags = 0;
        end_of_wait.fflags = NOTE_TRIGGER;
        let waiting = loop {
            match self.waiting.try_lock() {
                Ok(waiting) => break waiting,
                // It may have taken the last one for something else.
                Err(_) => drop(self.apply_as_it_is(end_of_wait)),
            }
            thread::yield_now();
        };
        let removed = self.apply_as_it_is(change);
        drop(waiting);
        self.removing.fetch_sub(1, Ordering::SeqCst);
        removed
    }

    fn apply_as_it_is(&self, change: kevent) -> io::Result<()> {
        // SAFETY: one valid change, no room for events.
        match unsafe { real_kevent(self.fd, &change, 1, ptr::null_mut(), 0, ptr::null()) } {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
