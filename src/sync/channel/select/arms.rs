//! What can be an arm of a selection, but for what `sync` has besides channels.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::time::Instant;

use super::super::shared::Side;
use super::super::{Receiver, Sender};
use super::{Arm, Case, Selectable, Token};
use crate::net::Socket;
use crate::reactor::{Announcement, Direction, Pollable};
use crate::runtime::wait_list::Node;
use crate::thread::{
    BlockingHandle, CancelToken, JoinHandle, LocalJoinHandle, ScopedJoinHandle, TryScopedJoinHandle,
};

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

/// A handle that can be joined.
#[doc(hidden)]
pub trait Join: sealed::Join {}

mod sealed {
    use super::Selectable;

    #[doc(hidden)]
    pub trait Join {
        /// What tells that it has ended; only to be used while the handle is borrowed mutably.
        #[allow(private_interfaces, reason = "nobody else can call it")]
        fn end(&self) -> &dyn Selectable;
    }
}

impl<'a> Case<'a> {
    /// The handle is borrowed mutably, so that nobody else waits for it.
    #[doc(hidden)]
    #[inline]
    pub fn join(handle: &'a mut impl Join, index: usize) -> Case<'a> {
        let what = handle.end();
        Case { what, index }
    }
}

macro_rules! join {
    ($($handle:ty, $this:ident => $end:expr;)+) => {$(
        impl<T> Join for $handle {}

        impl<T> sealed::Join for $handle {
            #[allow(private_interfaces, reason = "nobody else can call it")]
            fn end(&self) -> &dyn Selectable {
                let $this = self;
                $end
            }
        }
    )+};
}

join! {
    JoinHandle<T>, this => this;
    LocalJoinHandle<T>, this => this.handle();
    ScopedJoinHandle<'_, T>, this => this.handle();
    TryScopedJoinHandle<'_, T>, this => this.handle();
    BlockingHandle<T>, this => this;
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

// SAFETY: it does not use the node.
unsafe impl<T> Selectable for BlockingHandle<T> {
    fn try_select(&self) -> Option<Token> {
        self.is_finished().then_some(Token::NONE)
    }

    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    unsafe fn register(&self, _arm: &mut Node<Arm>) -> bool {
        !self.is_finished_or_wakes()
    }

    // It may wake the thread later, which does no harm.
    unsafe fn unregister(&self, _watches: bool, _arm: &Node<Arm>) {}

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

    fn has_woken(&self) -> bool {
        // Ready or not: somebody else may have been quicker, and then the next event is to be announced anew.
        self.announcement.get().is_some_and(Announcement::is_over)
    }
}

/// The cancellation of a token, for the macro `select!`.
#[doc(hidden)]
pub struct Cancelling<'a> {
    token: &'a CancelToken,
    /// Where it is listed there.
    place: Cell<Option<usize>>,
}

impl<'a> Cancelling<'a> {
    #[doc(hidden)]
    pub fn new(token: &'a CancelToken) -> Cancelling<'a> {
        Cancelling {
            token,
            place: Cell::new(None),
        }
    }
}

impl fmt::Debug for Cancelling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancelling").field(self.token).finish()
    }
}

// SAFETY: it does not use the node.
unsafe impl Selectable for Cancelling<'_> {
    fn try_select(&self) -> Option<Token> {
        self.is_ready().then_some(Token::NONE)
    }

    fn is_ready(&self) -> bool {
        self.token.is_cancelled()
    }

    unsafe fn register(&self, _arm: &mut Node<Arm>) -> bool {
        self.place.set(self.token.announce());
        self.place.get().is_some()
    }

    unsafe fn unregister(&self, _watches: bool, _arm: &Node<Arm>) {
        if let Some(place) = self.place.take() {
            self.token.withdraw(place);
        }
    }

    fn give_back(&self, _token: Token) {}

    fn only_wakes(&self) -> bool {
        true
    }
}
