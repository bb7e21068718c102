//! Waiting for several channels at once.
//!
//! # How a selection goes
//!
//! 1. *Try.* In a random order each arm is tried under the lock of its channel. The first that would not have to wait is chosen, and what it is
//!    chosen for noted there ([`Pending`](super::shared)). Nobody can choose this selection meanwhile, as it waits nowhere.
//! 2. *Register.* A node for each arm is put into its channel's list, again unless the arm would not have to wait by now: then all are taken out, and it
//!    begins anew. So of two selections that would go with each other, the one that registers second sees the first.
//! 3. *Wait.* Who has something for an arm takes its node out and *claims* the selection for it: one atomic exchange decides, if several channels
//!    do so at once. Who loses goes on as if the node had not been there.
//! 4. *Leave.* When the time is over, or an interrupt comes, the selection claims itself. Whoever has claimed it first is right, and the arm counts as chosen.
//!    Then the nodes are taken out of all lists, each under its lock: so whoever has claimed it is done with it.
//!
//! An arm that is not chosen has no effect: its message does not exist yet, or is where it was.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::shared::Side;
use super::{Receiver, RecvError, SendError, Sender};
use crate::net::Socket;
use crate::reactor::{Announcement, Direction, Pollable};
use crate::runtime::park;
use crate::runtime::wait_list::{Left, Node, WaitList, Wake};
use crate::runtime::worker;
use crate::thread::JoinHandle;

/// Names a selection to the channel that it was chosen for, until what that is has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Token {
    /// Of what has nothing to be taken.
    const NONE: Token = Token(0);

    /// `ticket` is one of the channel's, which gives none twice, nor 0.
    pub(super) fn new(ticket: u64) -> Token {
        Token(ticket)
    }
}

/// Which arm of a selection is chosen.
struct Claim {
    chosen: AtomicUsize,
}

/// None yet.
const OPEN: usize = usize::MAX;

/// None, and none will be.
const CLOSED: usize = usize::MAX - 1;

impl Claim {
    fn new() -> Claim {
        Claim {
            chosen: AtomicUsize::new(OPEN),
        }
    }

    /// Chooses an arm, if none has been.
    fn claim(&self, arm: usize) -> bool {
        self.chosen
            .compare_exchange(OPEN, arm, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn is_open(&self) -> bool {
        self.chosen.load(Ordering::Acquire) == OPEN
    }

    /// Lets no arm be chosen any more; returns the one that has been.
    fn close(&self) -> Option<usize> {
        let closed =
            self.chosen
                .compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        closed.err().filter(|&chosen| chosen != CLOSED)
    }
}

/// One of the operations of a selection that waits, in a channel's list.
#[derive(Debug)]
pub(crate) struct Arm {
    claim: NonNull<Claim>,
    index: usize,
    pub(super) ticket: u64,
    /// It wants to be told when it would not have to wait, and nothing more.
    pub(super) watches: bool,
}

// SAFETY: the claim may be shared, and is there for as long as the arm is in a list: the selection takes its arms out first (`Registered`).
unsafe impl Send for Arm {}

impl Arm {
    /// Returns whether nothing has been chosen yet.
    pub(super) fn is_open(&self) -> bool {
        // SAFETY: whoever sees the arm has it from a list (above), or is the selection itself.
        unsafe { self.claim.as_ref() }.is_open()
    }

    /// Returns whether both belong to the same selection.
    pub(super) fn is_of_same(&self, other: &Arm) -> bool {
        self.claim == other.claim
    }

    /// Claims the selection that has waited longest in `arms`, if it came before `other`.
    pub(super) fn claim_first(
        arms: &mut WaitList<Arm>,
        other: Option<u64>,
    ) -> Option<(Token, Wake)> {
        loop {
            let first = arms.first_mut()?;
            if other.is_some_and(|other| other < first.ticket) {
                return None;
            }
            let token = Token::new(first.ticket);
            let mut claimed = false;
            let wake = arms.try_grant_first(|arm| {
                // SAFETY: it is in the list, of which we have the lock.
                claimed = unsafe { arm.claim.as_ref() }.claim(arm.index);
                claimed
            })?;
            if claimed {
                return Some((token, wake));
            }
        }
    }
}

/// What can be waited for in a selection.
///
/// # Safety
/// After `unregister` nobody touches the node any more.
pub(crate) unsafe trait Selectable {
    /// Chooses this one, if it would not have to wait, and notes what for.
    fn try_select(&self) -> Option<Token>;

    /// Returns whether it would not have to wait.
    fn is_ready(&self) -> bool;

    /// Has the thread of `arm` woken, and the selection claimed; false if that is not needed, because it would not have to wait.
    ///
    /// # Safety
    /// The node is in no list, and not moved until `unregister`, which follows.
    unsafe fn register(&self, arm: &mut Node<Arm>) -> bool;

    /// Takes the node out, of which it says again whether it only watches.
    ///
    /// # Safety
    /// It is that of the latest `register`, which returned true.
    unsafe fn unregister(&self, watches: bool, arm: &Node<Arm>);

    /// Gives back what it was chosen for.
    fn give_back(&self, token: Token);

    /// Tells others who watch that it is ready, if it is still. For who was told, watching.
    fn pass_on(&self) {}

    /// When it may be ready without being told.
    fn next(&self) -> Option<Instant> {
        None
    }

    /// Whether it wakes the thread without claiming the selection.
    fn only_wakes(&self) -> bool {
        false
    }
}

// SAFETY: `Channel::unregister` takes it out under the lock.
unsafe impl<T> Selectable for Sender<T> {
    fn try_select(&self) -> Option<Token> {
        self.channel.try_select(Side::Sender)
    }

    fn is_ready(&self) -> bool {
        self.channel.is_ready(Side::Sender)
    }

    unsafe fn register(&self, arm: &mut Node<Arm>) -> bool {
        // SAFETY: passed on.
        unsafe { self.channel.register(Side::Sender, arm) }
    }

    unsafe fn unregister(&self, watches: bool, arm: &Node<Arm>) {
        // SAFETY: passed on.
        unsafe { self.channel.unregister(Side::Sender, watches, arm) };
    }

    fn give_back(&self, token: Token) {
        self.channel.give_back(Side::Sender, token);
    }

    fn pass_on(&self) {
        self.channel.pass_on(Side::Sender);
    }
}

// SAFETY: as above.
unsafe impl<T> Selectable for Receiver<T> {
    fn try_select(&self) -> Option<Token> {
        self.channel.try_select(Side::Receiver)
    }

    fn is_ready(&self) -> bool {
        self.channel.is_ready(Side::Receiver)
    }

    unsafe fn register(&self, arm: &mut Node<Arm>) -> bool {
        // SAFETY: passed on.
        unsafe { self.channel.register(Side::Receiver, arm) }
    }

    unsafe fn unregister(&self, watches: bool, arm: &Node<Arm>) {
        // SAFETY: passed on.
        unsafe { self.channel.unregister(Side::Receiver, watches, arm) };
    }

    fn give_back(&self, token: Token) {
        self.channel.give_back(Side::Receiver, token);
    }

    fn pass_on(&self) {
        self.channel.pass_on(Side::Receiver);
    }

    fn next(&self) -> Option<Instant> {
        self.channel.next()
    }
}

// SAFETY: it does not use the node.
unsafe impl<T> Selectable for JoinHandle<T> {
    fn try_select(&self) -> Option<Token> {
        self.is_finished().then_some(Token::NONE)
    }

    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    unsafe fn register(&self, _arm: &mut Node<Arm>) -> bool {
        // SAFETY: the selection has borrowed the handle mutably (`Case::join`), and calls this once before `unregister`.
        unsafe { self.task().announce() }
    }

    unsafe fn unregister(&self, _watches: bool, _arm: &Node<Arm>) {
        self.task().withdraw();
    }

    fn give_back(&self, _token: Token) {}

    fn only_wakes(&self) -> bool {
        true
    }
}

/// The readiness of a socket, for the macro `select!`.
#[doc(hidden)]
pub struct Ready<'a> {
    source: &'a dyn Pollable,
    direction: Direction,
    announcement: OnceCell<Announcement>,
    /// It could not be registered: the call that follows will tell why.
    failed: Cell<bool>,
}

impl<'a> Ready<'a> {
    #[doc(hidden)]
    pub fn readable(socket: &'a impl Socket) -> Ready<'a> {
        Ready::new(socket.source(), Direction::Read)
    }

    #[doc(hidden)]
    pub fn writable(socket: &'a impl Socket) -> Ready<'a> {
        Ready::new(socket.source(), Direction::Write)
    }

    fn new(source: &'a dyn Pollable, direction: Direction) -> Ready<'a> {
        Ready {
            source,
            direction,
            announcement: OnceCell::new(),
            failed: Cell::new(false),
        }
    }
}

impl fmt::Debug for Ready<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ready").field(&self.direction).finish()
    }
}

// SAFETY: it does not use the node, but its own in the same way.
unsafe impl Selectable for Ready<'_> {
    fn try_select(&self) -> Option<Token> {
        self.is_ready().then_some(Token::NONE)
    }

    fn is_ready(&self) -> bool {
        self.failed.get() || self.source.is_ready(self.direction)
    }

    unsafe fn register(&self, _arm: &mut Node<Arm>) -> bool {
        let announcement = self.announcement.get_or_init(Announcement::new);
        // SAFETY: the caller's promise; this is not moved while it is borrowed by a case.
        let announced = unsafe { self.source.announce(self.direction, announcement) };
        self.failed.set(announced.is_err());
        announced.unwrap_or(false)
    }

    unsafe fn unregister(&self, _watches: bool, _arm: &Node<Arm>) {
        let announcement = self.announcement.get().expect("it was announced");
        // SAFETY: the caller's promise.
        unsafe { self.source.withdraw(self.direction, announcement) };
    }

    fn give_back(&self, _token: Token) {}

    fn only_wakes(&self) -> bool {
        true
    }
}

/// One operation of a selection, with its number. For the macro `select!`.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Case<'a> {
    what: &'a dyn Selectable,
    index: usize,
}

impl<'a> Case<'a> {
    #[doc(hidden)]
    #[inline]
    pub fn send<T>(sender: &'a Sender<T>, index: usize) -> Case<'a> {
        Case {
            what: sender,
            index,
        }
    }

    #[doc(hidden)]
    #[inline]
    pub fn recv<T>(receiver: &'a Receiver<T>, index: usize) -> Case<'a> {
        Case {
            what: receiver,
            index,
        }
    }
}

impl<'a> Case<'a> {
    #[doc(hidden)]
    #[inline]
    pub fn ready(what: &'a Ready<'a>, index: usize) -> Case<'a> {
        Case { what, index }
    }

    /// The handle is borrowed mutably, so that nobody else waits for it.
    #[doc(hidden)]
    #[inline]
    pub fn join<T>(handle: &'a mut JoinHandle<T>, index: usize) -> Case<'a> {
        Case {
            what: handle,
            index,
        }
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.index).finish()
    }
}

/// For the macro `select!`: waits for one of the cases.
#[doc(hidden)]
#[inline]
pub fn select<'a>(cases: &mut [Case<'a>], biased: bool) -> SelectedOperation<'a> {
    match run(cases, Patience::Until(None), biased) {
        Some(selected) => selected,
        None => unreachable!("a selection without a deadline ends with a choice"),
    }
}

/// For the macro `select!`: does not wait.
#[doc(hidden)]
#[inline]
pub fn try_select<'a>(cases: &mut [Case<'a>], biased: bool) -> Option<SelectedOperation<'a>> {
    run(cases, Patience::None, biased)
}

/// For the macro `select!`: waits for `timeout` at most.
#[doc(hidden)]
#[inline]
pub fn select_timeout<'a>(
    cases: &mut [Case<'a>],
    biased: bool,
    timeout: Duration,
) -> Option<SelectedOperation<'a>> {
    run(cases, Patience::timeout(timeout), biased)
}

/// How long a selection waits.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    None,
    Until(Option<Instant>),
}

impl Patience {
    pub(super) fn timeout(timeout: Duration) -> Patience {
        Patience::Until(Instant::now().checked_add(timeout))
    }
}

/// The nodes of a selection that waits; takes them out.
struct Registered<'a, 'c> {
    cases: &'c [Case<'a>],
    nodes: Vec<Node<Arm>>,
    count: usize,
    watches: bool,
}

impl<'a, 'c> Registered<'a, 'c> {
    fn new(cases: &'c [Case<'a>], claim: &Claim, watches: bool) -> Registered<'a, 'c> {
        let node = |place: usize| {
            Node::new(Arm {
                claim: NonNull::from(claim),
                index: place,
                ticket: 0,
                watches,
            })
        };
        Registered {
            cases,
            nodes: (0..cases.len()).map(node).collect(),
            count: 0,
            watches,
        }
    }

    /// Registers all; false, as soon as one would not have to wait.
    fn register(&mut self) -> bool {
        for (case, node) in self.cases.iter().zip(&mut self.nodes) {
            // SAFETY: it is new, and stays where it is until `drop` has unregistered it.
            if !unsafe { case.what.register(node) } {
                return false;
            }
            self.count += 1;
        }
        true
    }

    /// Takes all out, and returns the token of the one with this number.
    fn leave(mut self, place: Option<usize>) -> Token {
        self.unregister();
        place.map_or(Token::NONE, |place| {
            Token(self.nodes[place].value_mut().ticket)
        })
    }

    fn unregister(&mut self) {
        let count = mem::take(&mut self.count);
        for (case, node) in self.cases.iter().zip(&self.nodes).take(count) {
            // SAFETY: it was registered there.
            unsafe { case.what.unregister(self.watches, node) };
        }
    }
}

impl Drop for Registered<'_, '_> {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Selects one of the cases, which are brought into a random order, unless it is to be `biased`.
pub(super) fn run<'a>(
    cases: &mut [Case<'a>],
    patience: Patience,
    biased: bool,
) -> Option<SelectedOperation<'a>> {
    if matches!(patience, Patience::Until(_)) {
        // Beforehand: what strikes there must not find it chosen.
        worker::spend();
    }
    if let Some(selected) = try_all(cases, biased) {
        return Some(selected);
    }
    match patience {
        Patience::None => None,
        Patience::Until(deadline) => wait(cases, deadline, biased),
    }
}

#[inline]
fn try_all<'a>(cases: &mut [Case<'a>], biased: bool) -> Option<SelectedOperation<'a>> {
    for first in 0..cases.len() {
        if !biased {
            // The order is drawn as far as it is needed.
            cases.swap(first, first + random_below(cases.len() - first));
        }
        if let Some(token) = cases[first].what.try_select() {
            return Some(SelectedOperation::new(token, cases[first]));
        }
    }
    None
}

#[inline(never)]
fn wait<'a>(
    cases: &mut [Case<'a>],
    deadline: Option<Instant>,
    biased: bool,
) -> Option<SelectedOperation<'a>> {
    loop {
        match wait_once(cases, deadline, false) {
            Ended::Chosen(place, token) => {
                return Some(SelectedOperation::new(token, cases[place]));
            }
            Ended::Left(Left::Interrupted(interrupt)) => interrupt.strike(),
            // Once more, as anything may have happened.
            Ended::Left(Left::TimedOut) => return try_all(cases, biased),
            Ended::Again => {}
        }
        if let Some(selected) = try_all(cases, biased) {
            return Some(selected);
        }
    }
}

enum Ended {
    /// For the case with this number, under this token.
    Chosen(usize, Token),
    Left(Left),
    /// Something has happened that may have made a case ready.
    Again,
}

fn wait_once(cases: &[Case<'_>], deadline: Option<Instant>, watches: bool) -> Ended {
    let claim = Claim::new();
    let mut registered = Registered::new(cases, &claim, watches);
    let mut ended = Ended::Again;
    if registered.register() {
        let next = cases.iter().filter_map(|case| case.what.next());
        let until = next.chain(deadline).min();
        let wakes = |case: &Case<'_>| case.what.only_wakes() && case.what.is_ready();
        while claim.is_open() && !cases.iter().any(wakes) {
            if let Err(interrupt) = park::try_park(until) {
                ended = Ended::Left(Left::Interrupted(interrupt));
                break;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                if deadline == until {
                    ended = Ended::Left(Left::TimedOut);
                }
                break;
            }
        }
    }
    let chosen = claim.close();
    let token = registered.leave(chosen);
    match chosen {
        Some(place) => Ended::Chosen(place, token),
        None => ended,
    }
}

/// A number below `bound`, which is not 0. Never inlined: a green thread that has moved must not find the other thread's state.
#[inline(never)]
pub(super) fn random_below(bound: usize) -> usize {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    if bound == 1 {
        return 0;
    }
    // Marsaglia's xorshift64 ("Xorshift RNGs", 2003), begun at an address.
    let next = |mut x: u64| {
        if x == 0 {
            x = ptr::from_ref(&bound).addr() as u64 | 1;
        }
        x ^= x << 13;
        x ^= x >> 7;
        x ^ (x << 17)
    };
    let random = STATE
        .try_with(|state| {
            state.set(next(state.get()));
            state.get()
        })
        .unwrap_or_else(|_| next(0));
    // Lemire's reduction, without the correction: the bounds are small.
    ((u128::from(random) * bound as u128) >> 64) as usize
}

/// Selects one of several operations on channels that need not be known before the program runs; as crossbeam's.
///
/// Where they are known, the macro [`select!`](crate::select) is shorter. An operation is *selected* when it would not have to wait; then it has
/// to be completed on the [`SelectedOperation`], with the same end of the channel. The others have no effect. If several could be selected, one of
/// them is chosen at random.
///
/// Waiting suspends a green thread. If it is cancelled, or its time is over, no operation has been selected.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, unbounded};
///
/// let channels: Vec<_> = (0..10).map(|_| unbounded()).collect();
/// channels[7].0.send("seven").unwrap();
///
/// let mut select = Select::new();
/// for (_, receiver) in &channels {
///     select.recv(receiver);
/// }
/// let operation = select.select();
/// let index = operation.index();
/// assert_eq!((index, operation.recv(&channels[index].1)), (7, Ok("seven")));
/// ```
pub struct Select<'a> {
    cases: Vec<Case<'a>>,
    next: usize,
    biased: bool,
}

// SAFETY: the cases are ends of channels, whose state lies under a lock. If they are of a message that is not Send: here it is only moved inside of
// the channel, neither used nor dropped, as the end is borrowed; and to complete an operation the end itself is needed, which is not shared then.
unsafe impl Send for Select<'_> {}
// SAFETY: nothing can be done with a reference but to clone it.
unsafe impl Sync for Select<'_> {}

impl<'a> Select<'a> {
    /// Makes an empty list of operations.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// sender.send(1).unwrap();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert_eq!(select.select().recv(&receiver), Ok(1));
    /// ```
    #[must_use]
    pub fn new() -> Select<'a> {
        Select {
            cases: Vec::with_capacity(4),
            next: 0,
            biased: false,
        }
    }

    /// Makes an empty list of operations, of which the first that is ready is selected, and none at random.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (urgent, usual) = (unbounded(), unbounded());
    /// urgent.0.send("urgent").unwrap();
    /// usual.0.send("usual").unwrap();
    /// let mut select = Select::new_biased();
    /// select.recv(&urgent.1);
    /// select.recv(&usual.1);
    /// assert_eq!(select.select().recv(&urgent.1), Ok("urgent"));
    /// ```
    #[must_use]
    pub fn new_biased() -> Select<'a> {
        Select {
            biased: true,
            ..Select::new()
        }
    }

    /// Adds a send operation, and returns its number.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, bounded};
    ///
    /// let (sender, receiver) = bounded(1);
    /// let mut select = Select::new();
    /// let sending = select.send(&sender);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), sending);
    /// operation.send(&sender, 7).unwrap();
    /// assert_eq!(receiver.recv(), Ok(7));
    /// ```
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(sender)
    }

    /// Adds a receive operation, and returns its number.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (one, two) = (unbounded(), unbounded());
    /// two.0.send(2).unwrap();
    ///
    /// let mut select = Select::new();
    /// let (first, second) = (select.recv(&one.1), select.recv(&two.1));
    /// assert_ne!(first, second);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), second);
    /// assert_eq!(operation.recv(&two.1), Ok(2));
    /// # one.0.send(1).unwrap();
    /// ```
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(receiver)
    }

    fn add(&mut self, what: &'a dyn Selectable) -> usize {
        let index = self.next;
        self.next += 1;
        self.cases.push(Case { what, index });
        index
    }

    /// Takes an operation out again. The numbers of the others stay.
    ///
    /// # Panics
    ///
    /// If there is none with this number.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (one, two) = (unbounded(), unbounded());
    /// two.0.send(2).unwrap();
    ///
    /// let mut select = Select::new();
    /// select.recv(&one.1);
    /// let second = select.recv(&two.1);
    /// select.remove(second);
    /// assert!(select.try_select().is_err());
    /// # one.0.send(1).unwrap();
    /// ```
    pub fn remove(&mut self, index: usize) {
        assert!(
            index < self.next,
            "index out of bounds; {index} >= {}",
            self.next
        );
        let place = self.cases.iter().position(|case| case.index == index);
        let place = place.expect("no operation with this index");
        // Not `swap_remove`: a biased selection keeps its order.
        self.cases.remove(place);
    }

    /// Selects an operation that would not have to wait.
    ///
    /// # Errors
    ///
    /// If there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert!(select.try_select().is_err());
    /// sender.send(1).unwrap();
    /// assert_eq!(select.try_select().unwrap().recv(&receiver), Ok(1));
    /// ```
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        run(&mut self.cases, Patience::None, self.biased).ok_or(TrySelectError)
    }

    /// Waits until an operation can be selected.
    ///
    /// # Panics
    ///
    /// If the list is empty: it would wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// corde::go!({ sender.send(1).unwrap() });
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert_eq!(select.select().recv(&receiver), Ok(1));
    /// ```
    pub fn select(&mut self) -> SelectedOperation<'a> {
        assert!(
            !self.cases.is_empty(),
            "no operations have been added to `Select`"
        );
        select(&mut self.cases, self.biased)
    }

    /// Waits until an operation can be selected, for `timeout` at most.
    ///
    /// # Errors
    ///
    /// If none could be.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, never};
    /// use std::time::Duration;
    ///
    /// let receiver = never::<()>();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert!(select.select_timeout(Duration::from_millis(1)).is_err());
    /// ```
    pub fn select_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        run(&mut self.cases, Patience::timeout(timeout), self.biased).ok_or(SelectTimeoutError)
    }

    /// Waits until an operation can be selected, until `deadline` at most.
    ///
    /// # Errors
    ///
    /// If none could be.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, never};
    /// use std::time::{Duration, Instant};
    ///
    /// let receiver = never::<()>();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert!(select.select_deadline(deadline).is_err());
    /// ```
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        let patience = Patience::Until(Some(deadline));
        run(&mut self.cases, patience, self.biased).ok_or(SelectTimeoutError)
    }

    /// Returns the number of an operation that would not have to wait. By the time it is tried, another thread may have been faster.
    ///
    /// # Errors
    ///
    /// If there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// let mut select = Select::new();
    /// let index = select.recv(&receiver);
    /// assert!(select.try_ready().is_err());
    /// sender.send(1).unwrap();
    /// assert_eq!(select.try_ready(), Ok(index));
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// ```
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        for first in 0..self.cases.len() {
            if !self.biased {
                let other = first + random_below(self.cases.len() - first);
                self.cases.swap(first, other);
            }
            if self.cases[first].what.is_ready() {
                return Ok(self.cases[first].index);
            }
        }
        Err(TryReadyError)
    }

    /// Waits until an operation would not have to wait, and returns its number. By the time it is tried, another thread may have been
    /// faster.
    ///
    /// # Panics
    ///
    /// If the list is empty: it would wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// corde::go!({ sender.send(1).unwrap() });
    /// let mut select = Select::new();
    /// let index = select.recv(&receiver);
    /// assert_eq!(select.ready(), index);
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// ```
    pub fn ready(&mut self) -> usize {
        assert!(
            !self.cases.is_empty(),
            "no operations have been added to `Select`"
        );
        self.ready_until(None)
            .expect("a wait without a deadline ends when one is ready")
    }

    /// Like [`ready`](Select::ready), for `timeout` at most.
    ///
    /// # Errors
    ///
    /// If none was ready in time.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, never};
    /// use std::time::Duration;
    ///
    /// let receiver = never::<()>();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert!(select.ready_timeout(Duration::from_millis(1)).is_err());
    /// ```
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        let deadline = Instant::now().checked_add(timeout);
        self.ready_until(deadline).ok_or(ReadyTimeoutError)
    }

    /// Like [`ready`](Select::ready), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// If none was ready in time.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, never};
    /// use std::time::{Duration, Instant};
    ///
    /// let receiver = never::<()>();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert!(select.ready_deadline(deadline).is_err());
    /// ```
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.ready_until(Some(deadline)).ok_or(ReadyTimeoutError)
    }

    fn ready_until(&mut self, deadline: Option<Instant>) -> Option<usize> {
        if let Ok(index) = self.try_ready() {
            return Some(index);
        }
        loop {
            match wait_once(&self.cases, deadline, true) {
                Ended::Chosen(place, _) => {
                    let case = self.cases[place];
                    case.what.pass_on();
                    return Some(case.index);
                }
                Ended::Left(Left::Interrupted(interrupt)) => interrupt.strike(),
                Ended::Left(Left::TimedOut) => return self.try_ready().ok(),
                Ended::Again => {}
            }
            if let Ok(index) = self.try_ready() {
                return Some(index);
            }
        }
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl Clone for Select<'_> {
    fn clone(&self) -> Self {
        Select {
            cases: self.cases.clone(),
            next: self.next,
            biased: self.biased,
        }
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Select { .. }")
    }
}

/// An operation that was selected, and has to be completed.
///
/// Completing it does not wait, except where the other side of a channel with capacity 0 was selected in the same way: then receiving waits for
/// that one to send. If it gives up instead (the message of a `send` panics, say), or the receiver does, the other one
/// waits for whoever comes next.
///
/// # Panics
///
/// If it is dropped without having been completed; what it was selected for goes back to the channel.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, unbounded};
///
/// let (sender, receiver) = unbounded();
/// sender.send(1).unwrap();
/// let mut select = Select::new();
/// let receiving = select.recv(&receiver);
/// let operation = select.select();
/// assert_eq!(operation.index(), receiving);
/// assert_eq!(operation.recv(&receiver), Ok(1));
/// ```
#[must_use = "it has to be completed"]
pub struct SelectedOperation<'a> {
    token: Token,
    case: Case<'a>,
    _not_send: PhantomData<*const ()>,
}

// As crossbeam's: whatever it is used for, a panic leaves the channel whole.
impl UnwindSafe for SelectedOperation<'_> {}
impl RefUnwindSafe for SelectedOperation<'_> {}

impl<'a> SelectedOperation<'a> {
    fn new(token: Token, case: Case<'a>) -> SelectedOperation<'a> {
        SelectedOperation {
            token,
            case,
            _not_send: PhantomData,
        }
    }

    /// The number of the operation.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, unbounded};
    ///
    /// let (one, two) = (unbounded(), unbounded());
    /// two.0.send(2).unwrap();
    ///
    /// let mut select = Select::new();
    /// select.recv(&one.1);
    /// select.recv(&two.1);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), 1);
    /// # one.0.send(1).unwrap();
    /// operation.recv(&two.1).unwrap();
    /// ```
    #[must_use]
    pub fn index(&self) -> usize {
        self.case.index
    }

    /// Completes a send operation.
    ///
    /// # Errors
    ///
    /// If all receivers are gone.
    ///
    /// # Panics
    ///
    /// If `sender` is not the one that was selected.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{Select, SendError, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// drop(receiver);
    /// let mut select = Select::new();
    /// select.send(&sender);
    /// assert_eq!(select.select().send(&sender, 7), Err(SendError(7)));
    /// ```
    pub fn send<T>(self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        self.assert_is(ptr::from_ref(sender).addr(), "sender");
        let token = self.complete();
        sender.channel.send_selected(token, message)
    }

    /// Completes a receive operation.
    ///
    /// # Errors
    ///
    /// If the channel is empty and all senders are gone.
    ///
    /// # Panics
    ///
    /// If `receiver` is not the one that was selected.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::channel::{RecvError, Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded::<()>();
    /// drop(sender);
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert_eq!(select.select().recv(&receiver), Err(RecvError));
    /// ```
    pub fn recv<T>(self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        self.assert_is(ptr::from_ref(receiver).addr(), "receiver");
        let token = self.complete();
        receiver.channel.receive_selected(token)
    }

    /// Completes an operation that has no more to give than that it was selected.
    #[doc(hidden)]
    pub fn done(self) {
        self.complete();
    }

    fn assert_is(&self, address: usize, what: &str) {
        let selected = ptr::from_ref(self.case.what).addr();
        assert!(
            selected == address,
            "passed in a {what} that wasn't selected"
        );
    }

    fn complete(self) -> Token {
        let token = self.token;
        mem::forget(self);
        token
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        self.case.what.give_back(self.token);
        if !std::thread::panicking() {
            panic!("dropped `SelectedOperation` without completing the operation");
        }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}

/// No operation could be selected at once.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, TrySelectError};
///
/// assert_eq!(Select::new().try_select().err(), Some(TrySelectError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrySelectError;

/// No operation could be selected in time.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, SelectTimeoutError};
/// use std::time::Duration;
///
/// let nothing = Select::new().select_timeout(Duration::ZERO);
/// assert_eq!(nothing.err(), Some(SelectTimeoutError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectTimeoutError;

/// No operation was ready.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{Select, TryReadyError};
///
/// assert_eq!(Select::new().try_ready(), Err(TryReadyError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryReadyError;

/// No operation was ready in time.
///
/// # Examples
///
/// ```
/// use corde::sync::channel::{ReadyTimeoutError, Select};
/// use std::time::Duration;
///
/// assert_eq!(Select::new().ready_timeout(Duration::ZERO), Err(ReadyTimeoutError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyTimeoutError;

impl fmt::Display for TrySelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("all operations in select would block")
    }
}

impl fmt::Display for SelectTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("timed out waiting on select")
    }
}

impl fmt::Display for TryReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("no operation is ready")
    }
}

impl fmt::Display for ReadyTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("timed out waiting on ready")
    }
}

impl std::error::Error for TrySelectError {}
impl std::error::Error for SelectTimeoutError {}
impl std::error::Error for TryReadyError {}
impl std::error::Error for ReadyTimeoutError {}
