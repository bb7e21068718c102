//! Permits that have been taken, and go back by themselves.

use std::ptr;
use std::sync::Arc;

use super::Semaphore;

/// Permits of a [`Semaphore`], which are given back when this is dropped.
///
/// # Examples
///
/// ```
/// use corde::sync::{Semaphore, SemaphorePermit};
///
/// let semaphore = Semaphore::new(1);
/// let permit: SemaphorePermit<'_> = semaphore.acquire().unwrap();
/// drop(permit);
/// assert_eq!(semaphore.available_permits(), 1);
/// ```
#[derive(Debug)]
#[must_use = "the permits are given back at once if this is not kept"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: u32,
}

impl<'a> SemaphorePermit<'a> {
    /// Of permits that have been taken.
    pub(super) fn new(semaphore: &'a Semaphore, permits: u32) -> SemaphorePermit<'a> {
        SemaphorePermit { semaphore, permits }
    }

    /// Gives the permits up without giving them back: the semaphore has fewer from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(2);
    /// semaphore.acquire().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// Takes the permits of `other` over.
    ///
    /// # Panics
    ///
    /// If they are of another semaphore.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(2);
    /// let mut permit = semaphore.acquire().unwrap();
    /// permit.merge(semaphore.acquire().unwrap());
    /// assert_eq!(permit.num_permits(), 2);
    /// ```
    #[track_caller]
    pub fn merge(&mut self, mut other: Self) {
        assert!(
            ptr::eq(self.semaphore, other.semaphore),
            "merging permits from different semaphore instances"
        );
        self.permits += other.permits;
        other.permits = 0;
    }

    /// Splits `n` permits off; none, if there are fewer.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(3);
    /// let mut permit = semaphore.acquire_many(3).unwrap();
    /// let two = permit.split(2).unwrap();
    /// assert_eq!((permit.num_permits(), two.num_permits()), (1, 2));
    /// assert!(permit.split(2).is_none());
    /// ```
    pub fn split(&mut self, n: usize) -> Option<Self> {
        Some(SemaphorePermit {
            semaphore: self.semaphore,
            permits: split_off(&mut self.permits, n)?,
        })
    }

    /// Returns the semaphore.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(2);
    /// let permit = semaphore.acquire().unwrap();
    /// assert_eq!(permit.semaphore().available_permits(), 1);
    /// ```
    #[must_use]
    pub fn semaphore(&self) -> &'a Semaphore {
        self.semaphore
    }

    /// Returns how many permits these are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(2);
    /// assert_eq!(semaphore.acquire_many(2).unwrap().num_permits(), 2);
    /// ```
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.permits as usize
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.permits as usize);
    }
}

/// Permits of a [`Semaphore`] in an [`Arc`], which are given back when this is dropped.
///
/// # Examples
///
/// ```
/// use corde::sync::{Arc, OwnedSemaphorePermit, Semaphore};
///
/// let semaphore = Arc::new(Semaphore::new(1));
/// let permit: OwnedSemaphorePermit = semaphore.clone().acquire_owned().unwrap();
/// drop(permit);
/// assert_eq!(semaphore.available_permits(), 1);
/// ```
#[derive(Debug)]
#[must_use = "the permits are given back at once if this is not kept"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    permits: u32,
}

impl OwnedSemaphorePermit {
    /// Of permits that have been taken.
    pub(super) fn new(semaphore: Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
        OwnedSemaphorePermit { semaphore, permits }
    }

    /// As [`SemaphorePermit::forget`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(2));
    /// semaphore.clone().acquire_owned().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// As [`SemaphorePermit::merge`].
    ///
    /// # Panics
    ///
    /// If they are of another semaphore.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(2));
    /// let mut permit = semaphore.clone().acquire_owned().unwrap();
    /// permit.merge(semaphore.acquire_owned().unwrap());
    /// assert_eq!(permit.num_permits(), 2);
    /// ```
    #[track_caller]
    pub fn merge(&mut self, mut other: Self) {
        assert!(
            Arc::ptr_eq(&self.semaphore, &other.semaphore),
            "merging permits from different semaphore instances"
        );
        self.permits += other.permits;
        other.permits = 0;
    }

    /// As [`SemaphorePermit::split`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(3));
    /// let mut permit = semaphore.acquire_many_owned(3).unwrap();
    /// assert_eq!(permit.split(2).unwrap().num_permits(), 2);
    /// ```
    pub fn split(&mut self, n: usize) -> Option<Self> {
        Some(OwnedSemaphorePermit {
            permits: split_off(&mut self.permits, n)?,
            semaphore: self.semaphore.clone(),
        })
    }

    /// Returns the semaphore.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// let permit = semaphore.clone().acquire_owned().unwrap();
    /// assert!(Arc::ptr_eq(permit.semaphore(), &semaphore));
    /// ```
    #[must_use]
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Returns how many permits these are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::{Arc, Semaphore};
    ///
    /// let semaphore = Arc::new(Semaphore::new(2));
    /// assert_eq!(semaphore.acquire_many_owned(2).unwrap().num_permits(), 2);
    /// ```
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.permits as usize
    }
}

impl Drop for OwnedSemaphorePermit {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.permits as usize);
    }
}

fn split_off(permits: &mut u32, n: usize) -> Option<u32> {
    let n = u32::try_from(n).ok()?;
    *permits = permits.checked_sub(n)?;
    Some(n)
}
