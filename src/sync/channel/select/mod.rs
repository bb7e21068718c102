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
//!
//! # What is no channel
//!
//! The end of a thread, the readiness of a socket, a token's cancellation (`arms.rs`), and what a receiver has got that one thread has to itself
//! (`exclusive.rs`) stay as they are until somebody does something with them. So these arms *only wake* the thread, which then leaves and tries anew. A
//! `Notify` has to give its notification to who takes it, so it claims the selection as a channel does (`sync/notify/select.rs`).

mod arms;
mod dynamic;
mod exclusive;

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use arms::{Cancelling, Ready};
pub use dynamic::{Select, SelectedOperation};
pub(in crate::sync) use exclusive::{Change, Exclusive, Receive, Take, Taking};
pub use exclusive::{changing, receiving};

use super::{Receiver, Sender};
use crate::runtime::park;
use crate::runtime::wait_list::{Left, Node, WaitList, Wake};
use crate::runtime::worker;

/// Names a selection to the channel that it was chosen for, until what that is has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Token {
    /// Of what has nothing to be taken.
    pub(in crate::sync) const NONE: Token = Token(0);

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

/// One of the operations of a selection that waits, in a channel's list, or in that of a `Notify`.
#[derive(Clone, Copy, Debug)]
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

    /// Has the selection choose this one, if nothing has been chosen yet.
    pub(in crate::sync) fn claim(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.claim.as_ref() }.claim(self.index)
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
                claimed = arm.claim();
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

    /// For one that only wakes: whether it may have, since it was registered. It does so once.
    fn has_woken(&self) -> bool {
        self.is_ready()
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
    /// One that has nothing to be taken.
    #[doc(hidden)]
    #[inline]
    #[allow(private_bounds, reason = "what has it is made for the macro")]
    pub fn ready(what: &'a impl Selectable, index: usize) -> Case<'a> {
        Case { what, index }
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
        let woken = |case: &Case<'_>| case.what.only_wakes() && case.what.has_woken();
        while claim.is_open() && !cases.iter().any(woken) {
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
