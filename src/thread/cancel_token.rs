//! Tokens that cancel what was asked to heed them, in trees.
//!
//! # The tree
//!
//! A token is a handle to a node; its clones are handles to the same one. Parent and child nodes refer to each other until one of them
//! goes: a node goes when its last handle does, and hands its children over to its parent ([`Node::leave`]); so a tree is never larger than the
//! number of its tokens. A node that is cancelled lets go of its children, which are then cancelled.
//!
//! Locks are taken from older nodes to younger ones; a parent, also one by adoption, is older than its children. A node is cancelled, and its
//! children and waiters taken, in one go under its lock: so a child that finds its parent not cancelled is still listed there, and who finds a node
//! not cancelled can still register.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use crate::runtime::interrupt::{self, Signal};
use crate::runtime::park::{self, Waiter};

/// A token that cancels whatever heeds it; as `CancellationToken` of `tokio-util`.
///
/// Clones are the same token. A [child](CancelToken::child_token) is cancelled with its parent, and can be cancelled alone. What heeds a token asks
/// [`is_cancelled`](CancelToken::is_cancelled), waits with [`cancelled`](CancelToken::cancelled), or runs in
/// [`run_until_cancelled`](CancelToken::run_until_cancelled). All of it works from green threads and OS threads.
///
/// # Examples
///
/// ```
/// use corde::thread::{self, CancelToken};
///
/// let stop = CancelToken::new();
/// let workers: Vec<_> = (0..10)
///     .map(|_| {
///         let stop = stop.child_token();
///         thread::spawn(move || stop.run_until_cancelled(|| loop { thread::park() }))
///     })
///     .collect();
/// stop.cancel();
/// for worker in workers {
///     assert!(worker.join().unwrap().is_none());
/// }
/// ```
pub struct CancelToken {
    node: Arc<Node>,
}

impl CancelToken {
    /// Makes a token that is not cancelled.
    #[must_use]
    pub fn new() -> CancelToken {
        CancelToken {
            node: Arc::new(Node::new(false, None)),
        }
    }

    /// Makes a token that is cancelled when this one is, at once if that is so already. Cancelling it does not concern this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::CancelToken;
    ///
    /// let all = CancelToken::new();
    /// let (one, other) = (all.child_token(), all.child_token());
    /// one.cancel();
    /// assert!(!all.is_cancelled() && !other.is_cancelled());
    /// all.cancel();
    /// assert!(other.is_cancelled());
    /// ```
    #[must_use]
    pub fn child_token(&self) -> CancelToken {
        let mut state = self.node.state();
        if self.node.is_raised() {
            return CancelToken {
                node: Arc::new(Node::new(true, None)),
            };
        }
        let entry = state.children.vacant_entry();
        let parent = Listing {
            parent: self.node.clone(),
            place: entry.key(),
        };
        let node = Arc::new(Node::new(false, Some(parent)));
        entry.insert(node.clone());
        CancelToken { node }
    }

    /// Cancels the token, and all its children with theirs. Whatever heeds it is woken. May be called from any thread; does not wait.
    ///
    /// If another thread is just cancelling it, that one sees to the children, which may not be cancelled yet when this returns.
    pub fn cancel(&self) {
        self.node.cancel();
    }

    /// Returns whether the token is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.node.is_raised()
    }

    /// Waits until the token is cancelled, suspending the calling green thread. Beside other things: `cancelled(token)` in [`select!`](crate::select).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, CancelToken};
    ///
    /// let token = CancelToken::new();
    /// let theirs = token.clone();
    /// let waits = thread::spawn(move || theirs.cancelled());
    /// token.cancel();
    /// waits.join().unwrap();
    /// ```
    pub fn cancelled(&self) {
        let Some(_registered) = self.node.register() else {
            return;
        };
        while !self.is_cancelled() {
            park::park();
        }
    }

    /// Runs `f` until the token is cancelled: then any wait inside of it ends by unwinding out of `f`, and there is no result.
    ///
    /// It holds for every wait of the calling thread in `f`, however deep, as with [`timeout`](crate::time::timeout). Destructors run, no panic is
    /// reported. A wait that has its answer returns it, and a computation that does not wait is not ended: `f` may end with a result
    /// though the token is cancelled. If it is cancelled already, `f` is not called.
    ///
    /// So it strikes at waits only, and where the green thread lets others run, as in [`yield_now`](super::yield_now). A call that may wait but never has to (an
    /// `accept` where connections queue, a `recv` where messages do) lets others run now and then, too: a loop of such calls is ended, though not at once. What
    /// loops without any of these should ask [`is_cancelled`](CancelToken::is_cancelled); so should such a loop on an OS thread, which has no need to let others run.
    ///
    /// Green threads that `f` spawns are not concerned, but for those in a [`scope`](super::scope()), which are cancelled when that is left. In
    /// [`without_cancel`](super::without_cancel) a token from outside does not strike. An OS thread that waits for a socket is not reached either: it is
    /// blocked in the system.
    ///
    /// # Panics
    ///
    /// With the panic of `f`. In a program built with `panic = "abort"` the process ends when the token strikes.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::{self, CancelToken};
    /// use corde::net::TcpListener;
    ///
    /// let stop = CancelToken::new();
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let theirs = stop.clone();
    /// let server = thread::spawn(move || {
    ///     theirs.run_until_cancelled(|| while listener.accept().is_ok() {});
    ///     "stopped"
    /// });
    /// stop.cancel();
    /// assert_eq!(server.join().unwrap(), "stopped");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn run_until_cancelled<F, T>(&self, f: F) -> Option<T>
    where
        F: FnOnce() -> T,
    {
        let _registered = self.node.register()?;
        interrupt::limited_by(self.node.clone(), f)
    }

    /// Has the calling thread woken when the token is cancelled, until it [withdraws](CancelToken::withdraw) from the place that is returned; none, if it is
    /// cancelled already.
    pub(crate) fn announce(&self) -> Option<usize> {
        self.node.enlist()
    }

    pub(crate) fn withdraw(&self, place: usize) {
        self.node.delist(place);
    }

    /// Makes a guard that cancels the token when it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::thread::CancelToken;
    ///
    /// let token = CancelToken::new();
    /// let guard = token.clone().drop_guard();
    /// assert!(!token.is_cancelled());
    /// drop(guard);
    /// assert!(token.is_cancelled());
    /// ```
    pub fn drop_guard(self) -> DropGuard {
        DropGuard { token: Some(self) }
    }
}

impl Clone for CancelToken {
    fn clone(&self) -> CancelToken {
        // Relaxed: there is a handle that keeps the node; as `Arc`, whose count is never lower and aborts when it overflows.
        self.node.handles.fetch_add(1, Ordering::Relaxed);
        CancelToken {
            node: self.node.clone(),
        }
    }
}

impl Drop for CancelToken {
    fn drop(&mut self) {
        if self.node.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.node.leave();
        }
    }
}

impl Default for CancelToken {
    fn default() -> CancelToken {
        CancelToken::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Cancels a token when it is dropped; see [`CancelToken::drop_guard`].
#[derive(Debug)]
#[must_use = "the token is cancelled at once if the guard is not kept"]
pub struct DropGuard {
    token: Option<CancelToken>,
}

impl DropGuard {
    /// Gives the token back, which is not cancelled then.
    #[must_use]
    pub fn disarm(mut self) -> CancelToken {
        match self.token.take() {
            Some(token) => token,
            None => unreachable!("the token is taken once"),
        }
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            token.cancel();
        }
    }
}

/// What the clones of a token share.
struct Node {
    /// Written under the lock.
    cancelled: AtomicBool,
    handles: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parent: Option<Listing>,
    children: Slab<Arc<Node>>,
    waiters: Slab<Waiter>,
}

/// Where a node is listed as a child; if the parent is cancelled, no more.
struct Listing {
    parent: Arc<Node>,
    place: usize,
}

impl Node {
    fn new(cancelled: bool, parent: Option<Listing>) -> Node {
        Node {
            cancelled: AtomicBool::new(cancelled),
            handles: AtomicUsize::new(1),
            state: Mutex::new(State {
                parent,
                ..State::default()
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self) {
        let mut below = self.cancel_alone();
        while let Some(node) = below.pop() {
            below.append(&mut node.cancel_alone());
            // It is not listed any more.
            let listing = node.state().parent.take();
            drop(listing);
        }
    }

    /// Cancels it without its children, and returns those.
    fn cancel_alone(&self) -> Vec<Arc<Node>> {
        let mut state = self.state();
        // Release: who sees it sees what came before.
        self.cancelled.store(true, Ordering::Release);
        let children = mem::take(&mut state.children);
        let waiters = mem::take(&mut state.waiters);
        drop(state);
        for (_, waiter) in &waiters {
            interrupt::alert(waiter);
        }
        children.into_iter().map(|(_, child)| child).collect()
    }

    /// Takes it out of the tree, now that it has no handle: its children become those of its parent.
    fn leave(&self) {
        loop {
            let parent = self.parent();
            let above = parent.as_ref().map(|parent| (parent, parent.state()));
            let mut state = self.state();
            let still = state.parent.as_ref().map(|it| Arc::as_ptr(&it.parent));
            if still != parent.as_ref().map(Arc::as_ptr) {
                // Meanwhile the parent has left, or was cancelled.
                continue;
            }
            let Some((parent, mut above)) = above else {
                for (_, child) in mem::take(&mut state.children) {
                    child.state().parent = None;
                }
                return;
            };
            if parent.is_raised() {
                // It is not listed there any more: who cancels the parent has it, and its children with it.
                return;
            }
            if let Some(listing) = state.parent.take() {
                above.children.remove(listing.place);
            }
            for (_, child) in mem::take(&mut state.children) {
                let place = above.children.insert(child.clone());
                let parent = parent.clone();
                child.state().parent = Some(Listing { parent, place });
            }
            return;
        }
    }

    fn parent(&self) -> Option<Arc<Node>> {
        let state = self.state();
        state.parent.as_ref().map(|listing| listing.parent.clone())
    }

    /// Has the calling thread alerted when the token is cancelled; none, if it is already.
    fn register(&self) -> Option<Registered<'_>> {
        let place = self.enlist()?;
        Some(Registered { node: self, place })
    }

    fn enlist(&self) -> Option<usize> {
        let mut state = self.state();
        if self.is_raised() {
            return None;
        }
        Some(state.waiters.insert(Waiter::current()))
    }

    fn delist(&self, place: usize) {
        let waiter = self.state().waiters.try_remove(place);
        drop(waiter);
    }
}

impl Signal for Node {
    fn is_raised(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// A waiter in the list of a node; in no list, if the node has been cancelled.
struct Registered<'a> {
    node: &'a Node,
    place: usize,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.node.delist(self.place);
    }
}
