//! The green threads of a worker that have begun and not ended: a list linked through themselves.
//!
//! Invariant: a listed task is alive, as a count of it is held from its first run to its end (task.rs). The worker takes it off when it ends.
//! Only the worker's OS thread touches list and links.

use std::cell::Cell;
use std::iter;
use std::ptr;

use super::task::Task;

/// The list.
pub(super) struct Started {
    newest: Cell<*const Task>,
    len: Cell<usize>,
}

/// A task's neighbours in the list.
pub(super) struct Links {
    newer: Cell<*const Task>,
    older: Cell<*const Task>,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            newer: Cell::new(ptr::null()),
            older: Cell::new(ptr::null()),
        }
    }
}

impl Started {
    pub(super) fn new() -> Started {
        Started {
            newest: Cell::new(ptr::null()),
            len: Cell::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// Lists a task that begins.
    #[inline]
    pub(super) fn add(&self, task: &Task) {
        let older = self.newest.replace(task);
        task.links.older.set(older);
        // SAFETY: null, or listed and so alive.
        if let Some(older) = unsafe { older.as_ref() } {
            older.links.newer.set(task);
        }
        self.len.set(self.len.get() + 1);
    }

    /// Takes a task off that ends.
    #[inline]
    pub(super) fn remove(&self, task: &Task) {
        let (newer, older) = (task.links.newer.get(), task.links.older.get());
        // SAFETY: null, or listed and so alive.
        if let Some(older) = unsafe { older.as_ref() } {
            older.links.newer.set(newer);
        }
        // SAFETY: as above.
        match unsafe { newer.as_ref() } {
            Some(newer) => newer.links.older.set(older),
            None => self.newest.set(older),
        }
        self.len.set(self.len.get() - 1);
    }

    /// All of them, the newest first. None may begin or end meanwhile.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        // SAFETY: null, or listed and so alive.
        let newest = unsafe { self.newest.get().as_ref() };
        iter::successors(newest, |task| {
            // SAFETY: as above.
            unsafe { task.links.older.get().as_ref() }
        })
    }
}
