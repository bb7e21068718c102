//! Which workers sleep, and whom to wake when there is a fresh green thread to steal.
//!
//! At most one worker is woken to search at a time; when it finds something it passes the search on, so a burst of
//! spawns wakes one worker after the other instead of all at once. The README beside this file tells why no fresh green thread is left
//! lying while a worker sleeps.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sleeping workers of a runtime.
pub(super) struct Idle {
    /// Sleeping workers that nobody has assigned to search.
    sleeping: Mutex<Vec<usize>>,
    /// Length of `sleeping`, to be read without the lock.
    sleepers: AtomicUsize,
    /// Workers assigned to search that have not found anything yet: 0 or 1.
    searchers: AtomicUsize,
}

impl Idle {
    pub(super) fn new() -> Idle {
        Idle {
            sleeping: Mutex::new(Vec::new()),
            sleepers: AtomicUsize::new(0),
            searchers: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<usize>> {
        // Nothing panics between two consistent states.
        self.sleeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Picks a sleeping worker to search, for the caller to notify; none, if one searches already or none sleeps.
    ///
    /// Called after a fresh green thread has been made visible.
    pub(super) fn assign_searcher(&self) -> Option<usize> {
        // README, "Search", step 2.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) == 0 || self.searchers.load(Ordering::Relaxed) != 0
        {
            return None;
        }
        let mut sleeping = self.lock();
        if self.searchers.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let worker = sleeping.pop()?;
        self.sleepers.store(sleeping.len(), Ordering::Relaxed);
        self.searchers.store(1, Ordering::Relaxed);
        Some(worker)
    }

    /// Ends a search, successful or not.
    pub(super) fn end_search(&self) {
        let sleeping = self.lock();
        self.searchers.store(0, Ordering::Relaxed);
        drop(sleeping);
        // README, "Search", step 5.
        fence(Ordering::SeqCst);
    }

    /// Lists a worker as sleeping. Afterwards it has to look once more for fresh green threads.
    pub(super) fn enter(&self, worker: usize) {
        let mut sleeping = self.lock();
        sleeping.push(worker);
        self.sleepers.store(sleeping.len(), Ordering::Relaxed);
        drop(sleeping);
        // README, "Search", step 4.
        fence(Ordering::SeqCst);
    }

    /// Takes a worker off the list; returns whether it was assigned to search meanwhile.
    pub(super) fn leave(&self, worker: usize) -> bool {
        let mut sleeping = self.lock();
        let Some(place) = sleeping.iter().position(|&sleeper| sleeper == worker) else {
            return true;
        };
        sleeping.swap_remove(place);
        self.sleepers.store(sleeping.len(), Ordering::Relaxed);
        false
    }
}
