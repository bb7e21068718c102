//! Sets of green threads, joined in the order in which they end.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use super::builder::{self, Builder};
use super::handle::{JoinHandle, Thread, ThreadId};
use super::{Cancelled, Result};
use crate::runtime::extras;
use crate::runtime::park::{self, Waiter};
use crate::runtime::{self, Handle, interrupt};

/// Green threads that are joined in the order in which they end; as Tokio's `JoinSet`, without its futures.
///
/// Dropping it cancels all that are in it, without waiting for their end.
///
/// # Examples
///
/// ```
/// use corde::thread::JoinSet;
///
/// let mut set = JoinSet::new();
/// for n in 0..10 {
///     set.spawn(move || n * n);
/// }
/// let mut sum = 0;
/// while let Some(square) = set.join_next() {
///     sum += square.unwrap();
/// }
/// assert_eq!(sum, 285);
/// ```
pub struct JoinSet<T> {
    /// Those that have not been joined.
    members: Slab<JoinHandle<()>>,
    ended: Arc<Ended<T>>,
}

impl<T> JoinSet<T> {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> JoinSet<T> {
        JoinSet {
            members: Slab::new(),
            ended: Arc::default(),
        }
    }

    /// Returns how many green threads are in the set: those that were not joined, whether they have ended or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether there is no green thread in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Waits until one of the green threads has ended, suspending the calling one, and takes it out of the set; none, if the set is empty.
    ///
    /// They come in the order in which they have ended. May be called from any thread, green or not.
    ///
    /// # Errors
    ///
    /// The inner error is that of [`JoinHandle::join`]: the payload of a panic, [`Cancelled`], or an [`io::Error`].
    ///
    /// # Cancellation
    ///
    /// If the caller is interrupted here, nothing is taken out of the set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, JoinSet};
    ///
    /// let mut set = JoinSet::new();
    /// let slow = set.spawn(|| { thread::park(); "slow" });
    /// set.spawn(|| "quick");
    /// assert_eq!(set.join_next().unwrap().unwrap(), "quick");
    /// slow.unpark();
    /// assert_eq!(set.join_next().unwrap().unwrap(), "slow");
    /// assert!(set.join_next().is_none());
    /// ```
    pub fn join_next(&mut self) -> Option<Result<T>> {
        self.join_next_with_id().map(|(_, result)| result)
    }

    /// Like [`join_next`](JoinSet::join_next), with the identifier of the green thread that has ended: that of the [`Thread`] which
    /// [`spawn`](JoinSet::spawn) has returned.
    ///
    /// # Errors
    ///
    /// The inner error is as with [`join_next`](JoinSet::join_next). In contrast to Tokio's the identifier stands beside the result, as both may be wanted.
    ///
    /// # Cancellation
    ///
    /// As for [`join_next`](JoinSet::join_next).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use corde::thread::JoinSet;
    ///
    /// let mut set = JoinSet::new();
    /// let names: HashMap<_, _> = ["12", "x"]
    ///     .into_iter()
    ///     .map(|text| (set.spawn(move || text.parse::<i32>().is_ok()).id(), text))
    ///     .collect();
    /// while let Some((id, is_number)) = set.join_next_with_id() {
    ///     assert_eq!(is_number.unwrap(), names[&id] == "12");
    /// }
    /// ```
    pub fn join_next_with_id(&mut self) -> Option<(ThreadId, Result<T>)> {
        if self.is_empty() {
            return None;
        }
        let (key, result) = self.ended.wait();
        Some(self.take_out(key, result))
    }

    /// Takes a green thread that has ended out of the set; none, if there is none at the moment. Does not wait.
    ///
    /// # Errors
    ///
    /// The inner error is as with [`join_next`](JoinSet::join_next).
    pub fn try_join_next(&mut self) -> Option<Result<T>> {
        self.try_join_next_with_id().map(|(_, result)| result)
    }

    /// Like [`try_join_next`](JoinSet::try_join_next), with the identifier of the green thread that has ended.
    ///
    /// # Errors
    ///
    /// The inner error is as with [`join_next`](JoinSet::join_next).
    pub fn try_join_next_with_id(&mut self) -> Option<(ThreadId, Result<T>)> {
        let (key, result) = self.ended.list().done.pop_front()?;
        Some(self.take_out(key, result))
    }

    fn take_out(&mut self, key: usize, result: Option<Result<T>>) -> (ThreadId, Result<T>) {
        let handle = self.members.remove(key);
        let id = handle.thread().id();
        let result = match result {
            Some(result) => result,
            // It never ran: a moment later its end tells why.
            None => match interrupt::masked(|| handle.join()) {
                Err(payload) => Err(payload),
                Ok(()) => unreachable!("what has run has left a result"),
            },
        };
        (id, result)
    }

    /// Waits until all have ended, and returns their results in the order in which they did.
    ///
    /// # Panics
    ///
    /// With the panic of the first that panicked, and with a message if one was cancelled or could not get a stack. The others are cancelled then.
    ///
    /// # Cancellation
    ///
    /// If the caller is interrupted here, the green threads are cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// let set: corde::thread::JoinSet<u32> = (1..=4).map(|n| move || n).collect();
    /// assert_eq!(set.join_all().iter().sum::<u32>(), 10);
    /// ```
    pub fn join_all(mut self) -> Vec<T> {
        let mut results = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next() {
            match result {
                Ok(result) => results.push(result),
                Err(payload) if payload.is::<Cancelled>() => {
                    panic!("a green thread of the set was cancelled")
                }
                Err(payload) => match payload.downcast::<io::Error>() {
                    Ok(error) => panic!("a green thread of the set could not start: {error}"),
                    Err(payload) => resume_unwind(payload),
                },
            }
        }
        results
    }

    /// Cancels one green thread of the set, as [`JoinHandle::cancel`]; returns whether it is in the set. Does not wait.
    ///
    /// It is looked for among all that are in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Cancelled, JoinSet};
    ///
    /// let mut set = JoinSet::<()>::new();
    /// let ids = [(); 2].map(|()| set.spawn(|| loop { thread::park() }).id());
    /// assert!(set.cancel(ids[1]));
    /// let (id, ended) = set.join_next_with_id().unwrap();
    /// assert!(id == ids[1] && ended.unwrap_err().is::<Cancelled>());
    /// assert_eq!((set.cancel(ids[1]), set.len()), (false, 1));
    /// ```
    pub fn cancel(&self, id: ThreadId) -> bool {
        let mut members = self.members.iter().map(|(_, member)| member);
        let found = members.find(|member| member.thread().id() == id);
        found.inspect(|member| member.cancel()).is_some()
    }

    /// Cancels all green threads of the set, which [`join_next`](JoinSet::join_next) then returns with [`Cancelled`] as the error, or with
    /// their result, if they end all the same. Does not wait. Tokio's `abort_all`.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Cancelled, JoinSet};
    ///
    /// let mut set = JoinSet::new();
    /// set.spawn(|| loop { thread::park() });
    /// set.cancel_all();
    /// let ended: thread::Result<()> = set.join_next().unwrap();
    /// assert!(ended.unwrap_err().is::<Cancelled>());
    /// ```
    pub fn cancel_all(&self) {
        for (_, member) in &self.members {
            member.cancel();
        }
    }

    /// Cancels all green threads of the set, waits until they have ended, and drops their results.
    ///
    /// # Cancellation
    ///
    /// If the caller is interrupted here, those that have not ended stay in the set.
    pub fn shutdown(&mut self) {
        self.cancel_all();
        while self.join_next().is_some() {}
    }

    /// Takes all green threads out of the set, without ending them.
    pub fn detach_all(&mut self) {
        self.members.clear();
        mem::take(&mut self.ended).close();
    }
}

impl<T: Send + 'static> JoinSet<T> {
    /// Spawns a green thread in the set, as [`thread::spawn`](super::spawn).
    ///
    /// By the identifier of what is returned one knows it again when it has [ended](JoinSet::join_next_with_id), and can [cancel](JoinSet::cancel) it
    /// alone.
    ///
    /// # Panics
    ///
    /// As [`thread::spawn`](super::spawn).
    pub fn spawn<F>(&mut self, f: F) -> Thread
    where
        F: FnOnce() -> T + Send + 'static,
    {
        self.spawn_with(Builder::new(), f)
            .expect("the green thread could not be spawned")
    }

    /// Spawns a green thread in the set, with settings.
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, Builder, JoinSet};
    ///
    /// let mut set = JoinSet::new();
    /// let builder = Builder::new().name("member".into());
    /// set.spawn_with(builder, || thread::current().name().map(str::to_owned))?;
    /// assert_eq!(set.join_all(), [Some("member".to_owned())]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_with<F>(&mut self, builder: Builder, f: F) -> io::Result<Thread>
    where
        F: FnOnce() -> T + Send + 'static,
    {
        // Before there is a member, which reports its end even if it cannot be spawned.
        let shared = runtime::current()?;
        let settings = builder.settings(shared)?;
        // SAFETY: everything is 'static.
        let handle = unsafe { builder::spawn_with(shared, settings, self.member(f), |_| ()) };
        Ok(self.insert(handle))
    }

    /// Spawns a green thread in the set and in the runtime of `handle`.
    pub fn spawn_on<F>(&mut self, f: F, handle: &Handle) -> Thread
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let handle = handle.spawn(self.member(f));
        self.insert(handle)
    }

    /// The body of the next member.
    fn member<F>(&self, body: F) -> impl FnOnce() + Send + 'static
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let member = Member::new(body, self.members.vacant_key(), &self.ended);
        move || drop(member.run())
    }

    fn insert(&mut self, handle: JoinHandle<()>) -> Thread {
        let thread = handle.thread().clone();
        self.members.insert(handle);
        thread
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
        drop(self.ended.close());
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T, F> FromIterator<F> for JoinSet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// Spawns a green thread for each closure.
    fn from_iter<I: IntoIterator<Item = F>>(closures: I) -> JoinSet<T> {
        let mut set = JoinSet::new();
        for f in closures {
            set.spawn(f);
        }
        set
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Where the members of a set leave their results.
pub(super) struct Ended<T>(Mutex<List<T>>);

/// Which have ended, and with what; nothing, if they never ran.
type Done<T> = VecDeque<(usize, Option<Result<T>>)>;

struct List<T> {
    done: Done<T>,
    /// Waits for the next one.
    waiter: Option<Waiter>,
    /// Nobody wants the results any more.
    closed: bool,
}

impl<T> Default for Ended<T> {
    fn default() -> Ended<T> {
        Ended(Mutex::new(List {
            done: VecDeque::new(),
            waiter: None,
            closed: false,
        }))
    }
}

impl<T> Ended<T> {
    fn list(&self) -> MutexGuard<'_, List<T>> {
        // Nothing panics between two consistent states.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next one to end. May be left by unwinding.
    pub(super) fn wait(&self) -> (usize, Option<Result<T>>) {
        struct Waiting<'a, T>(&'a Ended<T>);
        impl<T> Drop for Waiting<'_, T> {
            fn drop(&mut self) {
                self.0.list().waiter = None;
            }
        }
        if let Some(ended) = self.list().done.pop_front() {
            return ended;
        }
        let _waiting = Waiting(self);
        loop {
            let mut list = self.list();
            if let Some(ended) = list.done.pop_front() {
                return ended;
            }
            list.waiter = Some(Waiter::current());
            drop(list);
            park::park();
        }
    }

    /// Leaves a result; returns it, if nobody wants it any more.
    fn push(&self, key: usize, result: Option<Result<T>>) -> Option<Result<T>> {
        let mut list = self.list();
        if list.closed {
            return result;
        }
        list.done.push_back((key, result));
        let waiter = list.waiter.take();
        drop(list);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        None
    }

    /// Lets no more results in, and returns those that nobody has taken.
    pub(super) fn close(&self) -> Done<T> {
        let mut list = self.list();
        list.closed = true;
        mem::take(&mut list.done)
    }
}

/// The body of a green thread with what follows it, dropped in this order.
pub(super) struct Member<F, T> {
    body: F,
    ending: Ending<T>,
}

impl<F: FnOnce() -> T, T> Member<F, T> {
    /// What is to leave the result of `body` under `key`.
    pub(super) fn new(body: F, key: usize, ended: &Arc<Ended<T>>) -> Member<F, T> {
        let ending = Ending {
            key,
            has_run: false,
            ended: ended.clone(),
        };
        Member { body, ending }
    }

    /// Returns the result, if nobody wants it any more.
    pub(super) fn run(self) -> Option<Result<T>> {
        let Member { body, mut ending } = self;
        let result = catch_unwind(AssertUnwindSafe(body));
        // Before anybody takes it for ended.
        extras::end_current();
        ending.has_run = true;
        ending.ended.push(ending.key, Some(result))
    }
}

/// The last that a green thread of a set does, also one that never ran.
struct Ending<T> {
    key: usize,
    has_run: bool,
    ended: Arc<Ended<T>>,
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        if !self.has_run {
            self.ended.push(self.key, None);
        }
    }
}
