//! Waiting until a group of threads has done its work.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::runtime::lock::Lock;
use crate::runtime::wait_list::{self, End, WaitList};

/// Lets threads wait until all of a group have done their work; as crossbeam's `WaitGroup`.
///
/// Each clone is one member of the group, until it is dropped. [`wait`](WaitGroup::wait) gives the membership up, and waits for the others.
///
/// In Go's words: `clone` is `Add(1)`, dropping is `Done()` and cannot be forgotten, `wait` is `Wait()`. A group that every member has left is not used
/// again; that is a new one. Threads that all end in one place are [scoped](crate::thread::scope()) with less ado.
///
/// # Examples
///
/// ```
/// use corde::go;
/// use corde::sync::WaitGroup;
///
/// let group = WaitGroup::new();
/// for _ in 0..4 {
///     let member = group.clone();
///     go!({
///         // Some work.
///         drop(member);
///     });
/// }
/// group.wait();
/// ```
pub struct WaitGroup {
    shared: Arc<Shared>,
}

struct Shared {
    /// It never grows again from 0, as nobody is there to clone.
    members: AtomicUsize,
    waiting: Lock<WaitList<()>>,
}

// As crossbeam's: nothing of the user's runs while it changes.
impl UnwindSafe for WaitGroup {}
impl RefUnwindSafe for WaitGroup {}

impl WaitGroup {
    /// Makes a group of one.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::WaitGroup;
    ///
    /// let group = WaitGroup::new();
    /// group.wait();
    /// ```
    #[must_use]
    pub fn new() -> WaitGroup {
        WaitGroup {
            shared: Arc::new(Shared {
                members: AtomicUsize::new(1),
                waiting: Lock::new(WaitList::new()),
            }),
        }
    }

    /// Leaves the group, and waits until all others have left it, suspending the calling green thread.
    ///
    /// # Cancellation
    ///
    /// Who is cancelled, or out of [time](crate::time::timeout), has left the group all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::WaitGroup;
    /// use corde::thread;
    ///
    /// let group = WaitGroup::new();
    /// let member = group.clone();
    /// let works = thread::spawn(move || drop(member));
    /// group.wait();
    /// works.join().unwrap();
    /// ```
    pub fn wait(self) {
        let shared = self.shared.clone();
        drop(self);
        shared.wait();
    }
}

impl Shared {
    fn wait(&self) {
        if self.members.load(Ordering::Acquire) == 0 {
            return;
        }
        let waiting = self.waiting.lock();
        // The last one locks after that: either it finds this waiter, or is found here.
        if self.members.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Err((left, (), waiting)) =
            wait_list::wait(waiting, |waiting| waiting, End::Last, (), None)
        {
            waiting.unlock();
            left.strike();
        }
    }

    #[cold]
    fn wake(&self) {
        wait_list::grant_all(self.waiting.lock(), |waiting| {
            let ((), wake) = waiting.grant_first(|()| ())?;
            Some(wake)
        });
    }
}

impl Clone for WaitGroup {
    fn clone(&self) -> WaitGroup {
        // Relaxed: there is a member. As for `Arc`, whose count is never lower and aborts when it overflows.
        self.shared.members.fetch_add(1, Ordering::Relaxed);
        WaitGroup {
            shared: self.shared.clone(),
        }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        // Release: who waits sees what the members did. Acquire: so does the last one, who wakes it.
        if self.shared.members.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.wake();
        }
    }
}

impl Default for WaitGroup {
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("count", &self.shared.members.load(Ordering::Relaxed))
            .finish()
    }
}
