//! A notification in a selection.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{EMPTY, KIND, NOTIFIED, Notified, Notify, WAITING, Waiting, round};
use crate::runtime::wait_list::Node;
use crate::sync::channel::select::{Arm, Selectable, Token};

/// What `notified(..)` waits for.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`notified(..)` does not wait for `{Self}`",
    label = "neither a `Notify` nor a `Notified`"
)]
pub trait Notifies: sealed::Notifies {}

mod sealed {
    use super::Notified;

    #[doc(hidden)]
    pub trait Notifies {
        fn notified(&self) -> Notified<'_>;
    }
}

/// For the macro `select!`: the arm `notified(notify)`.
#[doc(hidden)]
pub fn notified<N: Notifies + ?Sized>(notify: &N) -> Notification<'_> {
    Notification {
        notified: notify.notified(),
        node: OnceCell::new(),
    }
}

macro_rules! notifies {
    ($([$($generics:tt)*] $type:ty, $this:ident => $notified:expr;)+) => {$(
        impl<$($generics)*> Notifies for $type {}

        impl<$($generics)*> sealed::Notifies for $type {
            fn notified(&self) -> Notified<'_> {
                let $this = self;
                $notified
            }
        }
    )+};
}

notifies! {
    [] Notify, this => this.listen();
    [] Notified<'_>, this => Notified { ..*this };
    [N: Notifies + ?Sized] &N, this => N::notified(this);
    [N: Notifies + ?Sized] Arc<N>, this => N::notified(this);
}

/// A notification that comes once, with its place in the queue.
#[doc(hidden)]
pub struct Notification<'a> {
    /// Since when notifications of all count: they do while the selection leaves the queue and comes again, too.
    notified: Notified<'a>,
    node: OnceCell<Node<Waiting>>,
}

impl fmt::Debug for Notification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notification").field(&self.notified).finish()
    }
}

// SAFETY: it does not use the node, but its own, which `Notify::withdraw` takes out.
unsafe impl Selectable for Notification<'_> {
    fn try_select(&self) -> Option<Token> {
        let Notified { notify, round } = self.notified;
        notify.try_notified(round).then_some(Token::NONE)
    }

    fn is_ready(&self) -> bool {
        let state = self.notified.notify.state.load(Ordering::SeqCst);
        state & KIND == NOTIFIED || round(state) != self.notified.round
    }

    unsafe fn register(&self, arm: &mut Node<Arm>) -> bool {
        let Notified { notify, round } = self.notified;
        let new = || Node::new(Waiting { round, arm: None });
        let node = self.node.get_or_init(new);
        // SAFETY: the caller's promise; this is not moved while it is borrowed by a case.
        unsafe { notify.announce(round, node, *arm.value_mut()) }
    }

    unsafe fn unregister(&self, _watches: bool, _arm: &Node<Arm>) {
        let node = self.node.get().expect("it was announced");
        // SAFETY: the caller's promise.
        unsafe { self.notified.notify.withdraw(node) };
    }

    // What is chosen is always completed: there is nothing in between that could fail.
    fn give_back(&self, _token: Token) {}
}

impl Notify {
    /// Takes the permit, if there is one; otherwise returns whether all have been notified since the round `since`.
    fn try_notified(&self, since: usize) -> bool {
        let mut state = self.state.load(Ordering::SeqCst);
        while state & KIND == NOTIFIED {
            match self.replace(state, round(state) | EMPTY) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        round(state) != since
    }

    /// Has `arm` chosen when it is notified; false, if it need not wait.
    ///
    /// # Safety
    /// The node is in no list, and not moved until `withdraw`, which follows.
    unsafe fn announce(&self, since: usize, node: &Node<Waiting>, arm: Arm) -> bool {
        let mut queue = self.queue.lock();
        let mut state = self.state.load(Ordering::SeqCst);
        loop {
            if state & KIND == NOTIFIED || round(state) != since {
                return false;
            }
            if state & KIND == WAITING {
                break;
            }
            match self.replace(state, since | WAITING) {
                Ok(()) => break,
                Err(now) => state = now,
            }
        }
        let waiting = Waiting {
            round: since,
            arm: Some(arm),
        };
        // SAFETY: passed on.
        unsafe { queue.link_with(node, waiting) };
        true
    }

    /// # Safety
    /// It is the node of the latest `announce`, which returned true.
    unsafe fn withdraw(&self, node: &Node<Waiting>) {
        let mut queue = self.queue.lock();
        // SAFETY: passed on.
        unsafe { queue.unlink_if_linked(node) };
        self.note_if_empty(&queue);
    }
}
