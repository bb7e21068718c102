//! The value of a channel: many may look at it, or one change it.
//!
//! Whoever has to wait does so in one queue, in the order in which they come, so that neither those who look nor those who change it starve.
//! What is granted is counted by who grants it.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, WaitList, Wake};

pub(super) struct Guarded<T> {
    access: Lock<Access>,
    value: UnsafeCell<T>,
}

// SAFETY: several threads may have `&T` at a time, or one of them `&mut T`, and so take the value.
unsafe impl<T: Send + Sync> Sync for Guarded<T> {}

struct Access {
    readers: usize,
    /// Excludes readers.
    writing: bool,
    queue: WaitList<Wants>,
}

#[derive(Clone, Copy)]
enum Wants {
    Read,
    Write,
}

impl Access {
    fn enter(&mut self, wants: Wants) -> bool {
        let can = match wants {
            Wants::Read => !self.writing,
            Wants::Write => !self.writing && self.readers == 0,
        };
        if can {
            match wants {
                Wants::Read => self.readers += 1,
                Wants::Write => self.writing = true,
            }
        }
        can
    }

    fn grant_next(&mut self) -> Option<Wake> {
        let wants = *self.queue.first_mut()?;
        if !self.enter(wants) {
            return None;
        }
        let ((), wake) = self.queue.grant_first(|_| ())?;
        Some(wake)
    }
}

impl<T> Guarded<T> {
    pub(super) fn new(value: T) -> Guarded<T> {
        Guarded {
            access: Lock::new(Access {
                readers: 0,
                writing: false,
                queue: WaitList::new(),
            }),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits until nobody changes it.
    pub(super) fn read(&self) -> ReadGuard<'_, T> {
        self.enter(Wants::Read);
        ReadGuard {
            guarded: self,
            _not_send: PhantomData,
        }
    }

    /// Waits until nobody else has it.
    pub(super) fn write(&self) -> WriteGuard<'_, T> {
        self.enter(Wants::Write);
        WriteGuard {
            guarded: self,
            _not_send: PhantomData,
        }
    }

    fn enter(&self, wants: Wants) {
        let mut access = self.access.lock();
        if !access.queue.is_empty() || !access.enter(wants) {
            Guarded::<T>::wait(access, wants);
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(access: LockGuard<'_, Access>, wants: Wants) {
        let waited = wait_list::wait(access, |access| &mut access.queue, End::Last, wants, None);
        if let Err((left, _, access)) = waited {
            // Those behind it may have waited for it alone.
            wait_list::grant_all(access, Access::grant_next);
            left.strike();
            unreachable!("there is no deadline");
        }
    }
}

/// The right to look at the value; stays on its thread, as std's guards do.
pub(super) struct ReadGuard<'a, T> {
    guarded: &'a Guarded<T>,
    _not_send: PhantomData<MutexGuard<'a, ()>>,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this one is counted as a reader, so nobody changes it.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        let mut access = self.guarded.access.lock();
        access.readers -= 1;
        wait_list::grant_all(access, Access::grant_next);
    }
}

/// The right to change the value; stays on its thread.
pub(super) struct WriteGuard<'a, T> {
    guarded: &'a Guarded<T>,
    _not_send: PhantomData<MutexGuard<'a, ()>>,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `writing` is set for this one, so nobody else has it.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        let mut access = self.guarded.access.lock();
        access.writing = false;
        wait_list::grant_all(access, Access::grant_next);
    }
}
