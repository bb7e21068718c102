//! Many items, some at once: a green thread for each, a limited number at a time.

use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use slab::Slab;

use super::Result;
use super::builder::Builder;
use super::join::__unwrap as unwrap;
use super::join_set::{Ended, Member};
use super::scope::{Scope, ScopedJoinHandle, scope};
use crate::runtime::interrupt;

/// Calls `f` with each of `items`, in green threads of which `limit` run at once, and returns the results in the order of the items.
///
/// The items are taken one by one by the calling thread, each when there is room for it. `f` may borrow, and runs on all workers. For
/// results one by one, in an order or as they come, see [`Scope::map`] and [`Scope::map_unordered`].
///
/// # Panics
///
/// If `limit` is 0. With the first panic of `f`, or that of `items`: then the others are cancelled, and waited for. With a message, if a green thread
/// could not get a stack, or was cancelled by the end of its runtime. And as [`spawn`](super::spawn).
///
/// # Cancellation
///
/// If the caller is interrupted here, the green threads are cancelled, and waited for.
///
/// # Examples
///
/// ```
/// use corde::{net::TcpStream, thread};
///
/// let addresses = ["127.0.0.1:1", "nonsense"];
/// let reachable = thread::map(&addresses, 100, |address| TcpStream::connect(address).is_ok());
/// assert_eq!(reachable, [false, false]);
/// ```
#[track_caller]
pub fn map<I, F, T>(items: I, limit: usize, f: F) -> Vec<T>
where
    I: IntoIterator,
    I::Item: Send,
    F: Fn(I::Item) -> T + Sync,
    T: Send,
{
    check(limit);
    scope(|scope| {
        let mut results = Results::new();
        let mut running = Running::new(scope, items.into_iter(), limit, &f);
        while let Some((index, result)) = running.next() {
            results.put(index, unwrap(result));
        }
        results.into_vec()
    })
}

/// Calls `f` with each of `items`, as [`map`], until it returns an error.
///
/// # Errors
///
/// The first error. No further items are taken then, and the green threads that run are cancelled, waited for, and their results dropped.
///
/// # Panics
///
/// As [`map`].
///
/// # Cancellation
///
/// As [`map`].
///
/// # Examples
///
/// ```
/// use std::num::ParseIntError;
/// use corde::thread;
///
/// let parse = |words: &[&str]| thread::try_map(words, 2, |word| word.parse::<i32>());
/// assert_eq!(parse(&["1", "2", "3"])?, [1, 2, 3]);
/// assert!(parse(&["1", "two", "3"]).is_err());
/// # Ok::<(), ParseIntError>(())
/// ```
#[track_caller]
pub fn try_map<I, F, T, E>(items: I, limit: usize, f: F) -> std::result::Result<Vec<T>, E>
where
    I: IntoIterator,
    I::Item: Send,
    F: Fn(I::Item) -> std::result::Result<T, E> + Sync,
    T: Send,
    E: Send,
{
    check(limit);
    scope(|scope| {
        let mut results = Results::new();
        let mut running = Running::new(scope, items.into_iter(), limit, &f);
        while let Some((index, result)) = running.next() {
            match unwrap(result) {
                Ok(value) => results.put(index, value),
                Err(error) => {
                    running.stop();
                    return Err(error);
                }
            }
        }
        Ok(results.into_vec())
    })
}

/// Calls `f` with each of `items`, in green threads of which `limit` run at once, and returns when all have ended.
///
/// As [`map`], without results.
///
/// # Panics
///
/// As [`map`].
///
/// # Cancellation
///
/// As [`map`].
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let sum = AtomicU32::new(0);
/// corde::thread::for_each(1..=100, 8, |number| {
///     sum.fetch_add(number, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 5050);
/// ```
#[track_caller]
pub fn for_each<I, F>(items: I, limit: usize, f: F)
where
    I: IntoIterator,
    I::Item: Send,
    F: Fn(I::Item) + Sync,
{
    check(limit);
    scope(|scope| {
        let mut running = Running::new(scope, items.into_iter(), limit, &f);
        while let Some((_, result)) = running.next() {
            unwrap(result);
        }
    });
}

/// Calls `f` with each of `items`, as [`for_each`], until it returns an error.
///
/// # Errors
///
/// As [`try_map`].
///
/// # Panics
///
/// As [`map`].
///
/// # Cancellation
///
/// As [`map`].
///
/// # Examples
///
/// ```
/// let checked = corde::thread::try_for_each([2, 4, 5], 2, |number| match number % 2 {
///     0 => Ok(()),
///     _ => Err(format!("{number} is odd")),
/// });
/// assert_eq!(checked.unwrap_err(), "5 is odd");
/// ```
#[track_caller]
pub fn try_for_each<I, F, E>(items: I, limit: usize, f: F) -> std::result::Result<(), E>
where
    I: IntoIterator,
    I::Item: Send,
    F: Fn(I::Item) -> std::result::Result<(), E> + Sync,
    E: Send,
{
    check(limit);
    scope(|scope| {
        let mut running = Running::new(scope, items.into_iter(), limit, &f);
        while let Some((_, result)) = running.next() {
            if let Err(error) = unwrap(result) {
                running.stop();
                return Err(error);
            }
        }
        Ok(())
    })
}

#[track_caller]
fn check(limit: usize) {
    assert!(
        limit > 0,
        "the limit is how many run at once: with 0 nothing would ever run"
    );
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Returns an iterator over what `f` makes of `items`, in their order: as [`Iterator::map`], but `f` runs in green threads of the scope, ahead
    /// of whoever asks for the results.
    ///
    /// Nothing runs before the first result is asked for. Each time one is, as many items are taken as there is room for: `limit` at most are under way,
    /// counting results that nobody has asked for yet. Then the caller waits for the first of them.
    ///
    /// Dropping the iterator cancels what is under way, without waiting for its end; the scope does.
    ///
    /// # Panics
    ///
    /// If `limit` is 0. The iterator passes a panic of `f` on in the place of that result. It panics with a message if a green thread could
    /// not get a stack, or was cancelled by the end of its runtime; and as [`Scope::spawn`].
    ///
    /// # Cancellation
    ///
    /// If the caller is interrupted while it waits for a result, none is lost: the iterator may be asked again.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread;
    ///
    /// let words = ["one", "three", "seventeen", "forty"];
    /// let first_long = thread::scope(|scope| {
    ///     let mut lengths = scope.map(&words, 2, |word| (word, word.len()));
    ///     // What is under way when it has been found is cancelled.
    ///     lengths.find(|(_, length)| *length > 4)
    /// });
    /// assert_eq!(first_long, Some((&"three", 5)));
    /// ```
    #[track_caller]
    pub fn map<I, F, T>(
        &'scope self,
        items: I,
        limit: usize,
        f: F,
    ) -> Map<'scope, 'env, I::IntoIter, F, T>
    where
        I: IntoIterator,
        I::Item: Send + 'scope,
        F: Fn(I::Item) -> T + Send + Sync + 'scope,
        T: Send + 'scope,
    {
        check(limit);
        Map {
            running: Running::new(self, items.into_iter(), limit, f),
            begun: VecDeque::new(),
            taken: 0,
        }
    }

    /// Like [`map`](Scope::map), but the results come as they are ready.
    ///
    /// # Panics
    ///
    /// As [`map`](Scope::map), but a panic of `f` comes as soon as the results that were ready before have been taken.
    ///
    /// # Cancellation
    ///
    /// As [`map`](Scope::map).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread;
    ///
    /// thread::scope(|scope| {
    ///     let slow_first = [true, false];
    ///     let mut ready = scope.map_unordered(slow_first, 2, |slow| {
    ///         (0..if slow { 1000 } else { 0 }).for_each(|_| thread::yield_now());
    ///         slow
    ///     });
    ///     assert_eq!(ready.by_ref().count(), 2);
    ///     assert_eq!(ready.next(), None);
    /// });
    /// ```
    #[track_caller]
    pub fn map_unordered<I, F, T>(
        &'scope self,
        items: I,
        limit: usize,
        f: F,
    ) -> MapUnordered<'scope, 'env, I::IntoIter, F, T>
    where
        I: IntoIterator,
        I::Item: Send + 'scope,
        F: Fn(I::Item) -> T + Send + Sync + 'scope,
        T: Send + 'scope,
    {
        check(limit);
        MapUnordered {
            running: Running::new(self, items.into_iter(), limit, f),
        }
    }
}

/// The results of [`Scope::map`].
///
/// # Examples
///
/// ```
/// let squares: Vec<u64> = corde::thread::scope(|scope| scope.map(1..=3, 2, |n| n * n).collect());
/// assert_eq!(squares, [1, 4, 9]);
/// ```
#[must_use = "nothing runs before results are asked for"]
pub struct Map<'scope, 'env, I, F, T> {
    running: Running<'scope, 'env, I, F, T>,
    /// For each item from `taken` on the result, if it is there.
    begun: VecDeque<Option<Result<T>>>,
    /// Results that have been asked for.
    taken: usize,
}

impl<'scope, I, F, T> Iterator for Map<'scope, '_, I, F, T>
where
    I: Iterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> T + Send + Sync + 'scope,
    T: Send + 'scope,
{
    type Item = T;

    fn next(&mut self) -> Option<T> {
        while self.begun.len() < self.running.limit && self.running.spawn_next() {
            self.begun.push_back(None);
        }
        while self.begun.front()?.is_none() {
            let (index, result) = self.running.wait();
            self.begun[index - self.taken] = Some(result);
        }
        let result = self.begun.pop_front()??;
        self.taken += 1;
        Some(unwrap(result))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.running.size_hint(self.begun.len())
    }
}

impl<'scope, I, F, T> FusedIterator for Map<'scope, '_, I, F, T>
where
    I: Iterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> T + Send + Sync + 'scope,
    T: Send + 'scope,
{
}

impl<I, F, T> fmt::Debug for Map<'_, '_, I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("limit", &self.running.limit)
            .field("under_way", &self.begun.len())
            .finish_non_exhaustive()
    }
}

/// The results of [`Scope::map_unordered`].
///
/// # Examples
///
/// ```
/// let sum: u64 = corde::thread::scope(|scope| scope.map_unordered(1..=3, 2, |n| n * n).sum());
/// assert_eq!(sum, 14);
/// ```
#[must_use = "nothing runs before results are asked for"]
pub struct MapUnordered<'scope, 'env, I, F, T> {
    running: Running<'scope, 'env, I, F, T>,
}

impl<'scope, I, F, T> Iterator for MapUnordered<'scope, '_, I, F, T>
where
    I: Iterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> T + Send + Sync + 'scope,
    T: Send + 'scope,
{
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (_, result) = self.running.next()?;
        Some(unwrap(result))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.running.size_hint(self.running.members.len())
    }
}

impl<'scope, I, F, T> FusedIterator for MapUnordered<'scope, '_, I, F, T>
where
    I: Iterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> T + Send + Sync + 'scope,
    T: Send + 'scope,
{
}

impl<I, F, T> fmt::Debug for MapUnordered<'_, '_, I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered")
            .field("limit", &self.running.limit)
            .field("under_way", &self.running.members.len())
            .finish_non_exhaustive()
    }
}

/// The green threads that are under way, and the items that are yet to come.
struct Running<'scope, 'env, I, F, T> {
    scope: &'scope Scope<'scope, 'env>,
    items: Fuse<I>,
    limit: usize,
    /// Shared with the green threads, which may outlive this.
    f: Arc<F>,
    /// Items that have begun.
    begun: usize,
    /// Those whose results have not been taken, with the index of the item.
    members: Slab<(usize, ScopedJoinHandle<'scope, ()>)>,
    ended: Arc<Ended<T>>,
}

impl<'scope, 'env, I, F, T> Running<'scope, 'env, I, F, T>
where
    I: Iterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> T + Send + Sync + 'scope,
    T: Send + 'scope,
{
    fn new(
        scope: &'scope Scope<'scope, 'env>,
        items: I,
        limit: usize,
        f: F,
    ) -> Running<'scope, 'env, I, F, T> {
        Running {
            scope,
            items: items.fuse(),
            limit,
            f: Arc::new(f),
            begun: 0,
            members: Slab::new(),
            ended: Arc::default(),
        }
    }

    /// Has the next item begin; false if there is none.
    fn spawn_next(&mut self) -> bool {
        let Some(item) = self.items.next() else {
            return false;
        };
        let f = self.f.clone();
        let key = self.members.vacant_key();
        let member = Member::new(move || f(item), key, &self.ended);
        // A panic that nobody will hear of any more is left to the scope.
        let body = || match member.run() {
            None => Ok(()),
            Some(Err(payload)) => Err(payload),
            Some(Ok(value)) => catch_unwind(AssertUnwindSafe(|| drop(value))),
        };
        let handle = self
            .scope
            .spawn_child(Builder::new(), body)
            .unwrap_or_else(|error| panic!("the green thread could not be spawned: {error}"));
        self.members.insert((self.begun, handle));
        self.begun += 1;
        true
    }

    /// The index and the result of the next one to end; none, if all items have come.
    fn next(&mut self) -> Option<(usize, Result<T>)> {
        while self.members.len() < self.limit && self.spawn_next() {}
        if self.members.is_empty() {
            return None;
        }
        Some(self.wait())
    }

    /// Waits for the next one to end. There has to be one.
    fn wait(&mut self) -> (usize, Result<T>) {
        let (key, result) = self.ended.wait();
        let (index, handle) = self.members.remove(key);
        let result = result.unwrap_or_else(|| {
            // It never ran: a moment later its end tells why.
            match interrupt::masked(|| handle.join()) {
                Err(payload) => Err(payload),
                Ok(()) => unreachable!("what has run has left a result"),
            }
        });
        (index, result)
    }

    /// Cancels what is under way, and waits until it has ended.
    fn stop(&mut self) {
        self.cancel();
        while !self.members.is_empty() {
            drop(self.wait());
        }
    }

    fn size_hint(&self, under_way: usize) -> (usize, Option<usize>) {
        let (least, most) = self.items.size_hint();
        let most = most.and_then(|most| most.checked_add(under_way));
        (least.saturating_add(under_way), most)
    }
}

impl<I, F, T> Running<'_, '_, I, F, T> {
    fn cancel(&self) {
        for (_, (_, handle)) in &self.members {
            handle.cancel();
        }
    }
}

impl<I, F, T> Drop for Running<'_, '_, I, F, T> {
    fn drop(&mut self) {
        // Before they are cancelled, so that the scope hears of what panics while it is.
        let untaken = self.ended.close();
        self.cancel();
        // Last, as this may panic.
        drop(untaken);
    }
}

/// Results in the order of their items.
struct Results<T>(Vec<Option<T>>);

impl<T> Results<T> {
    fn new() -> Results<T> {
        Results(Vec::new())
    }

    fn put(&mut self, index: usize, value: T) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(value);
    }

    /// The results, when all have come.
    fn into_vec(self) -> Vec<T> {
        self.0.into_iter().flatten().collect()
    }
}
