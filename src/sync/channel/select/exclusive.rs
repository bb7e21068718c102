//! Receivers that one thread has to itself, as arms: those of oneshot, broadcast and watch channels.
//!
//! What such a receiver has got stays until its owner takes it. So its channel only wakes the selection, by a node in the list in which `recv` waits;
//! the selection looks itself, and takes what is there when it has chosen this arm.

use std::cell::OnceCell;
use std::fmt;

use super::{Arm, Case, Selectable, Token};
use crate::runtime::wait_list::Node;

/// What is there once an arm has been chosen.
#[doc(hidden)]
pub trait Take {
    /// What it receives.
    type Output;

    /// Receives what is there, which it is.
    fn take(&mut self) -> Self::Output;
}

/// A receiver that is borrowed mutably to receive.
pub(in crate::sync) trait Exclusive: Take {
    /// What a node says in the list of the channel.
    type Entry;

    /// What it waits with.
    fn entry(&self) -> Self::Entry;

    /// Returns whether [`take`](Take::take) may be called; so it stays until then.
    fn is_ready(&self) -> bool;

    /// Has the thread of `node` woken when it may be ready; false, if it is.
    ///
    /// # Safety
    /// The node is in no list, has this `entry`, and is not moved until `withdraw`, which follows.
    unsafe fn announce(&self, node: &Node<Self::Entry>) -> bool;

    /// Afterwards nobody touches the node any more.
    ///
    /// # Safety
    /// It is that of the latest `announce`, which returned true.
    unsafe fn withdraw(&self, node: &Node<Self::Entry>);
}

/// What `recv(&mut ..)` receives from.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`recv(&mut ..)` does not receive from `{Self}`",
    label = "neither a `oneshot::Receiver` nor a `broadcast::Receiver`",
    note = "an end of a `sync::channel` is not borrowed mutably: `recv(receiver)`",
    note = "for changes of a `watch::Receiver` there is `changed(&mut receiver)`",
    note = "a variable that is a reference itself is lent by `&mut *receiver`"
)]
#[allow(private_bounds, reason = "nobody else can implement it")]
pub trait Receive: Exclusive {
    /// Always `Taking<Self>`. So the compiler says of another type that it is the wrong one, and no more.
    type Arm<'a>: From<&'a mut Self>
    where
        Self: 'a;
}

/// What `changed(&mut ..)` waits for.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`changed(&mut ..)` does not wait for `{Self}`",
    label = "not a `watch::Receiver`",
    note = "a variable that is a reference itself is lent by `&mut *receiver`"
)]
#[allow(private_bounds, reason = "nobody else can implement it")]
pub trait Change: Exclusive {
    /// As of [`Receive`].
    type Arm<'a>: From<&'a mut Self>
    where
        Self: 'a;
}

/// For the macro `select!`: the arm `recv(&mut receiver)`.
#[doc(hidden)]
#[inline]
pub fn receiving<R: Receive>(receiver: &mut R) -> R::Arm<'_> {
    receiver.into()
}

/// For the macro `select!`: the arm `changed(&mut receiver)`.
#[doc(hidden)]
#[inline]
pub fn changing<R: Change>(receiver: &mut R) -> R::Arm<'_> {
    receiver.into()
}

/// A receiver with its place in the list of its channel.
#[doc(hidden)]
#[allow(private_bounds, reason = "nobody else can make one")]
pub struct Taking<'a, R: Exclusive> {
    receiver: &'a mut R,
    node: OnceCell<Node<R::Entry>>,
}

#[allow(private_bounds, reason = "nobody else can make one")]
impl<R: Exclusive> Taking<'_, R> {
    /// What was received, once it has been chosen.
    #[doc(hidden)]
    #[inline]
    pub fn take(&mut self) -> R::Output {
        self.receiver.take()
    }
}

impl<'a, R: Exclusive> From<&'a mut R> for Taking<'a, R> {
    fn from(receiver: &'a mut R) -> Taking<'a, R> {
        Taking {
            receiver,
            node: OnceCell::new(),
        }
    }
}

impl<R: Exclusive> fmt::Debug for Taking<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Taking { .. }")
    }
}

impl<'a> Case<'a> {
    /// The receiver is borrowed mutably, so that nobody else takes what it has.
    #[doc(hidden)]
    #[inline]
    #[allow(private_bounds, reason = "nobody else can make one")]
    pub fn take<R: Exclusive>(what: &'a mut Taking<'_, R>, index: usize) -> Case<'a> {
        Case { what, index }
    }
}

// SAFETY: it does not use the node, but its own, which `withdraw` takes out.
unsafe impl<R: Exclusive> Selectable for Taking<'_, R> {
    fn try_select(&self) -> Option<Token> {
        self.is_ready().then_some(Token::NONE)
    }

    fn is_ready(&self) -> bool {
        self.receiver.is_ready()
    }

    unsafe fn register(&self, _arm: &mut Node<Arm>) -> bool {
        let node = self.node.get_or_init(|| Node::new(self.receiver.entry()));
        // SAFETY: the caller's promise; this is not moved while it is borrowed by a case, nor does its entry change.
        unsafe { self.receiver.announce(node) }
    }

    unsafe fn unregister(&self, _watches: bool, _arm: &Node<Arm>) {
        let node = self.node.get().expect("it was announced");
        // SAFETY: the caller's promise.
        unsafe { self.receiver.withdraw(node) };
    }

    fn give_back(&self, _token: Token) {}

    fn only_wakes(&self) -> bool {
        true
    }
}
