//! What the two ends of a channel share: the messages, and who waits.
//!
//! # Who waits, and for what
//!
//! A message goes straight to a receiver that waits, or else into the buffer if there is room; otherwise the sender waits with it.
//! So under the lock, between two operations:
//!
//! 1. While the buffer holds a message, no receiver waits but those that have been promised one.
//! 2. While a sender waits, the buffer is full (of a capacity of 0 it always is).
//! 3. Who was granted something has been taken out of its list: a receiver with a message, or without one when there are no senders any more; a
//!    sender whose message was taken, or left when there are no receivers any more.
//! 4. While somebody *watches* an end that would not have to wait, one of those who watched it has been told so, and has not passed that on yet.
//!
//! # Selecting
//!
//! A thread that selects waits as an [`Arm`] in the lists of several channels. Who has something for it *claims* it first, as others may at the
//! same moment (`select/mod.rs`). Which message an arm gets, or which room, is noted here until the thread comes for it, under the *token* of its
//! selection ([`Pending`]). That is the ticket of the arm, or one that was drawn when nobody had to wait: no two of a channel have the same. The sending arm
//! of a selection has no message before it is chosen; so a receiver that waits may be *promised* to it, and gets no message from
//! others until then. It waits for that one even if its own time is over meanwhile, or it is cancelled: whoever has chosen to send
//! must not be left waiting. That lasts only as long as the sender takes to make its message.
//!
//! # Watching
//!
//! Who wants to know only when an end is ready ([`Select::ready`](super::Select::ready)) watches it: its arm is in a list apart, and takes no part in what those
//! who wait hand each other. When the end becomes ready, and nobody takes the opportunity, the first who watches is told. It passes that on to the
//! next, if the end is still ready then: so one that is told is enough, and no crowd wakes up for one message.

use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use super::glance::Found;
use super::select::{Arm, Token};
use crate::runtime::interrupt;
use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, Left, Node, WaitList, Wake};
use crate::runtime::worker;

/// Messages that a bounded channel has room for from the beginning; more is allocated when it is needed.
const PREALLOCATED: usize = 1024;

pub(super) struct Channel<T> {
    state: Lock<State<T>>,
    /// Also in the state, where it is at hand.
    capacity: Capacity,
    /// Whether messages come through a buffer alone: neither from sender to receiver, for want of one, nor by themselves.
    buffered: bool,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Capacity {
    Bounded(usize),
    Unbounded,
}

struct State<T> {
    buffer: VecDeque<T>,
    capacity: Capacity,
    /// Whether one of the two ends is gone.
    disconnected: bool,
    waiting_senders: WaitList<Sending<T>>,
    waiting_receivers: WaitList<Receiving<T>>,
    selecting_senders: WaitList<Arm>,
    selecting_receivers: WaitList<Arm>,
    watching_senders: WaitList<Arm>,
    watching_receivers: WaitList<Arm>,
    /// What selections have been chosen for and have not come for yet.
    pending: Vec<Pending<T>>,
    /// Receivers in `waiting_receivers` that have been promised to a sender.
    promised: usize,
    /// Counts those who wait or are chosen, so that who came first in two lists can be told, and selections can be told apart.
    tickets: u64,
    /// Makes messages at certain times: then there is no sender.
    clock: Option<Clock<T>>,
}

struct Sending<T> {
    message: Option<T>,
    ticket: u64,
}

struct Receiving<T> {
    message: Option<T>,
    ticket: u64,
    /// The selection that has a message for it.
    promised_to: Option<Token>,
}

/// What a selection has been chosen for.
enum Pending<T> {
    /// A receiving one: for this message.
    Message { receiver: Token, message: T },
    /// A sending one: for a place in the buffer.
    Room { sender: Token },
    /// A sending one and a receiving one: for each other.
    Pair { sender: Token, receiver: Token },
    /// A sending one: for the receiver that it has been promised.
    Promise { sender: Token },
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Sender,
    Receiver,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Sender => Side::Receiver,
            Side::Receiver => Side::Sender,
        }
    }
}

impl<T> Pending<T> {
    /// The selection on this side.
    fn of(&self, side: Side) -> Option<Token> {
        let (sender, receiver) = match *self {
            Pending::Message { receiver, .. } => (None, Some(receiver)),
            Pending::Room { sender } | Pending::Promise { sender } => (Some(sender), None),
            Pending::Pair { sender, receiver } => (Some(sender), Some(receiver)),
        };
        match side {
            Side::Sender => sender,
            Side::Receiver => receiver,
        }
    }
}

/// The sender of a channel that gives messages at certain times.
struct Clock<T> {
    /// When the next message is due; none, if there will not be any.
    next: Option<Instant>,
    period: Option<Duration>,
    message: fn(Instant) -> T,
}

impl<T> Clock<T> {
    fn is_due(&self) -> bool {
        self.next.is_some_and(|next| next <= Instant::now())
    }

    /// Makes the message that is due, for who has waited since `since`.
    fn tick(&mut self, since: Instant, now: Instant) -> Option<T> {
        let due = self.next.filter(|&next| next <= now)?;
        // Those that nobody has waited for do not heap up; who waits gets them in time with each other.
        let from = due.max(since);
        self.next = self.period.and_then(|period| from.checked_add(period));
        Some((self.message)(due))
    }
}

impl<T> State<T> {
    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Hands the message to a receiver that waits, if one does.
    #[inline(always)]
    fn hand_over(&mut self, message: T) -> Result<Wake, T> {
        if self.selecting_receivers.is_empty() && self.promised == 0 {
            let mut message = Some(message);
            let granted = self
                .waiting_receivers
                .grant_first(|receiving| receiving.message = message.take());
            return match (granted, message) {
                (Some(((), wake)), _) => Ok(wake),
                (None, Some(message)) => Err(message),
                (None, None) => unreachable!("only a receiver takes it"),
            };
        }
        self.hand_over_to_any(message)
    }

    #[cold]
    #[inline(never)]
    fn hand_over_to_any(&mut self, message: T) -> Result<Wake, T> {
        let unpromised = |receiving: &Receiving<T>| receiving.promised_to.is_none();
        let plain = self.waiting_receivers.find_mut(unpromised);
        let plain = plain.map(|receiving| receiving.ticket);
        if let Some((token, wake)) = Arm::claim_first(&mut self.selecting_receivers, plain) {
            self.pending.push(Pending::Message {
                receiver: token,
                message,
            });
            return Ok(wake);
        }
        let mut message = Some(message);
        let granted = self
            .waiting_receivers
            .grant_where(unpromised, |receiving| receiving.message = message.take());
        match (granted, message) {
            (Some(((), wake)), _) => Ok(wake),
            (None, Some(message)) => Err(message),
            (None, None) => unreachable!("only a receiver takes it"),
        }
    }

    /// Takes a message, and lets a sender that waits put its own in the place.
    #[inline(always)]
    fn take(&mut self) -> Option<(T, Wake)> {
        if let Some(message) = self.buffer.pop_front() {
            return Some((message, self.refill()));
        }
        if self.waiting_senders.is_empty() {
            return None;
        }
        // The capacity is 0.
        let (message, wake) = self.take_from_sender()?;
        Some((message, wake))
    }

    /// Takes the message of the sender that has waited longest.
    fn take_from_sender(&mut self) -> Option<(T, Wake)> {
        let (message, wake) = self
            .waiting_senders
            .grant_first(|sending| sending.message.take())?;
        match message {
            Some(message) => Some((message, wake)),
            None => unreachable!("a sender waits with its message"),
        }
    }

    /// Lets a sender that waits have a place in the buffer that has become free.
    #[inline(always)]
    fn refill(&mut self) -> Wake {
        if self.waiting_senders.is_empty()
            && self.selecting_senders.is_empty()
            && self.watching_senders.is_empty()
        {
            return Wake::none();
        }
        self.refill_by_any()
    }

    #[inline(never)]
    fn refill_by_any(&mut self) -> Wake {
        if !self.has_room() {
            return Wake::none();
        }
        let plain = self.waiting_senders.first_mut();
        let plain = plain.map(|sending| sending.ticket);
        if let Some((token, wake)) = Arm::claim_first(&mut self.selecting_senders, plain) {
            self.pending.push(Pending::Room { sender: token });
            return wake;
        }
        match self.take_from_sender() {
            Some((message, wake)) => {
                self.buffer.push_back(message);
                wake
            }
            None => self.tell(Side::Sender),
        }
    }

    /// Tells the first who watches this end that it is ready.
    #[inline(always)]
    fn tell(&mut self, side: Side) -> Wake {
        if self.watching(side).is_empty() {
            return Wake::none();
        }
        self.tell_first(side)
    }

    #[cold]
    #[inline(never)]
    fn tell_first(&mut self, side: Side) -> Wake {
        let told = Arm::claim_first(self.watching(side), None);
        told.map_or(Wake::none(), |(_, wake)| wake)
    }

    /// Places in the buffer that have been promised.
    fn reserved(&self) -> usize {
        let reserved = |pending: &&Pending<T>| matches!(pending, Pending::Room { .. });
        self.pending.iter().filter(reserved).count()
    }

    /// Takes out what a selection has been chosen for.
    fn take_pending(&mut self, side: Side, token: Token) -> Option<Pending<T>> {
        let of_it = |pending: &Pending<T>| pending.of(side) == Some(token);
        let index = self.pending.iter().position(of_it)?;
        Some(self.pending.swap_remove(index))
    }

    /// Lets the receiver go on that was promised to `sender`, with a message or without.
    fn keep_promise(&mut self, sender: Token, message: Option<T>) -> Result<Wake, Option<T>> {
        let mut message = message;
        let granted = self.waiting_receivers.grant_where(
            |receiving| receiving.promised_to == Some(sender),
            |receiving| receiving.message = message.take(),
        );
        match granted {
            Some(((), wake)) => {
                self.promised -= 1;
                Ok(wake)
            }
            None => Err(message),
        }
    }

    /// Returns whether there is room for one more message in the buffer.
    #[inline(always)]
    fn has_room(&self) -> bool {
        match self.capacity {
            Capacity::Unbounded => true,
            Capacity::Bounded(capacity) if self.pending.is_empty() => self.buffer.len() < capacity,
            Capacity::Bounded(capacity) => self.buffer.len() + self.reserved() < capacity,
        }
    }
}

/// Drops messages, one after the other. If one panics, the rest is leaked: if another one did so, too, that would end the process.
fn discard<T>(messages: VecDeque<T>) {
    let mut messages = ManuallyDrop::new(messages);
    while let Some(message) = messages.pop_front() {
        drop(message);
    }
    // Their place.
    drop(ManuallyDrop::into_inner(messages));
}

fn senders<T>(state: &mut State<T>) -> &mut WaitList<Sending<T>> {
    &mut state.waiting_senders
}

fn receivers<T>(state: &mut State<T>) -> &mut WaitList<Receiving<T>> {
    &mut state.waiting_receivers
}

type Guard<'a, T> = LockGuard<'a, State<T>>;

impl<T> Channel<T> {
    fn with(capacity: Capacity, clock: Option<Clock<T>>) -> Channel<T> {
        let room = match capacity {
            Capacity::Bounded(capacity) => capacity.min(PREALLOCATED),
            Capacity::Unbounded => 0,
        };
        Channel {
            buffered: capacity != Capacity::Bounded(0) && clock.is_none(),
            state: Lock::new(State {
                buffer: VecDeque::with_capacity(room),
                capacity,
                disconnected: false,
                waiting_senders: WaitList::new(),
                waiting_receivers: WaitList::new(),
                selecting_senders: WaitList::new(),
                selecting_receivers: WaitList::new(),
                watching_senders: WaitList::new(),
                watching_receivers: WaitList::new(),
                pending: Vec::new(),
                promised: 0,
                tickets: 0,
                clock,
            }),
            capacity,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    pub(super) fn bounded(capacity: usize) -> Channel<T> {
        Channel::with(Capacity::Bounded(capacity), None)
    }

    pub(super) fn unbounded() -> Channel<T> {
        Channel::with(Capacity::Unbounded, None)
    }

    /// A channel of which nobody has the sending end: `message` makes a message at `next`, and then after each `period`.
    pub(super) fn clock(
        next: Option<Instant>,
        period: Option<Duration>,
        message: fn(Instant) -> T,
    ) -> Channel<T> {
        let clock = Clock {
            next,
            period,
            message,
        };
        // One that never has a message has no room for one, either.
        let capacity = usize::from(next.is_some());
        Channel::with(Capacity::Bounded(capacity), Some(clock))
    }

    /// Returns whether both are the same, as all are that never have a message.
    pub(super) fn is_same(&self, other: &Channel<T>) -> bool {
        ptr::eq(self, other) || self.is_never() && other.is_never()
    }

    fn is_never(&self) -> bool {
        self.has_no_capacity() && self.state.lock().clock.is_some()
    }

    fn has_no_capacity(&self) -> bool {
        self.capacity == Capacity::Bounded(0)
    }

    /// Sends without waiting, if that is possible.
    #[inline(always)]
    fn send_now<'a>(
        &'a self,
        mut state: Guard<'a, T>,
        message: T,
    ) -> Result<(), (T, Guard<'a, T>)> {
        let message = match state.hand_over(message) {
            Ok(wake) => {
                drop(state);
                wake.wake();
                return Ok(());
            }
            Err(message) => message,
        };
        if !state.has_room() {
            return Err((message, state));
        }
        state.buffer.push_back(message);
        let wake = state.tell(Side::Receiver);
        drop(state);
        wake.wake();
        Ok(())
    }

    pub(super) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let state = self.state.lock();
        if state.disconnected {
            drop(state);
            return Err(TrySendError::Disconnected(message));
        }
        self.send_now(state, message).map_err(|(message, state)| {
            drop(state);
            TrySendError::Full(message)
        })
    }

    /// Sends, waiting until `deadline` at most if there is one.
    #[inline]
    pub(super) fn send(
        &self,
        message: T,
        deadline: Option<Instant>,
    ) -> Result<(), SendTimeoutError<T>> {
        // Beforehand: who is struck there has not sent.
        if self.capacity != Capacity::Unbounded {
            worker::spend();
        }
        let state = self.state.lock();
        if state.disconnected {
            drop(state);
            return Err(SendTimeoutError::Disconnected(message));
        }
        match self.send_now(state, message) {
            Ok(()) => Ok(()),
            Err((message, state)) => Self::wait_to_send(state, message, deadline),
        }
    }

    #[inline(never)]
    fn wait_to_send(
        mut state: Guard<'_, T>,
        message: T,
        deadline: Option<Instant>,
    ) -> Result<(), SendTimeoutError<T>> {
        let sending = Sending {
            message: Some(message),
            ticket: state.ticket(),
        };
        let wake = state.tell(Side::Receiver);
        match wait_list::wait_after(state, senders, End::Last, sending, deadline, || wake.wake()) {
            Ok(sending) => match sending.message {
                None => Ok(()),
                Some(message) => Err(SendTimeoutError::Disconnected(message)),
            },
            Err((left, sending, state)) => {
                drop(state);
                left.strike();
                match sending.message {
                    Some(message) => Err(SendTimeoutError::Timeout(message)),
                    None => unreachable!("it was not granted"),
                }
            }
        }
    }

    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        loop {
            let mut state = self.state.lock();
            if let Some((message, wake)) = state.take() {
                drop(state);
                wake.wake();
                return Ok(message);
            }
            if state.disconnected {
                return Err(TryRecvError::Disconnected);
            }
            if let Some(clock) = &mut state.clock {
                let now = Instant::now();
                return clock.tick(now, now).ok_or(TryRecvError::Empty);
            }
            // To wait for its message would hold up the worker, which may be the one that it needs.
            if thread::panicking() {
                return Err(TryRecvError::Empty);
            }
            let Some((sender, wake)) = self.claim_sender(&mut state) else {
                return Err(TryRecvError::Empty);
            };
            if let Some(message) = Self::receive_promised(state, sender, wake) {
                return Ok(message);
            }
        }
    }

    /// Receives for a selection that has not begun to wait; otherwise says what to do instead.
    #[inline]
    pub(super) fn glance(&self) -> Result<Result<T, RecvError>, Found> {
        let mut state = self.state.lock();
        if let Some((message, wake)) = state.take() {
            drop(state);
            wake.wake();
            return Ok(Ok(message));
        }
        if state.disconnected {
            return Ok(Err(RecvError));
        }
        if self.buffered {
            return Err(Found::Nothing);
        }
        if let Some(clock) = &mut state.clock {
            let now = Instant::now();
            return clock.tick(now, now).map(Ok).ok_or(Found::Nothing);
        }
        Err(if state.selecting_senders.is_empty() {
            Found::Nothing
        } else {
            Found::Selection
        })
    }

    /// Receives, waiting until `deadline` at most if there is one.
    #[inline]
    pub(super) fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        // Beforehand: who is struck there has no message in the hand.
        worker::spend();
        let mut state = self.state.lock();
        if let Some((message, wake)) = state.take() {
            drop(state);
            wake.wake();
            return Ok(message);
        }
        self.wait_to_receive(state, deadline)
    }

    #[inline(never)]
    fn wait_to_receive<'a>(
        &'a self,
        mut state: Guard<'a, T>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        if !self.buffered {
            return self.wait_to_meet(state, deadline);
        }
        while !state.disconnected {
            let receiving = Receiving {
                message: None,
                ticket: state.ticket(),
                promised_to: None,
            };
            match wait_list::wait(state, receivers, End::Last, receiving, deadline) {
                Ok(Receiving {
                    message: Some(message),
                    ..
                }) => return Ok(message),
                // There are no senders any more.
                Ok(_) => state = self.state.lock(),
                Err((left, _, guard)) => {
                    drop(guard);
                    left.strike();
                    return Err(RecvTimeoutError::Timeout);
                }
            }
        }
        // A selection may have given a message back meanwhile.
        let message = state.buffer.pop_front();
        message.ok_or(RecvTimeoutError::Disconnected)
    }

    /// Receives from a channel without a buffer, or one that makes its messages itself.
    #[inline(never)]
    fn wait_to_meet<'a>(
        &'a self,
        mut state: Guard<'a, T>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        if state.clock.is_some() {
            return self.wait_for_clock(state, deadline);
        }
        loop {
            if let Some((message, wake)) = state.take() {
                drop(state);
                wake.wake();
                return Ok(message);
            }
            if state.disconnected {
                return Err(RecvTimeoutError::Disconnected);
            }
            if let Some((sender, wake)) = self.claim_sender(&mut state) {
                if let Some(message) = Self::receive_promised(state, sender, wake) {
                    return Ok(message);
                }
                state = self.state.lock();
                continue;
            }
            let receiving = Receiving {
                message: None,
                ticket: state.ticket(),
                promised_to: None,
            };
            let wake = state.tell(Side::Sender);
            match wait_list::wait_after(state, receivers, End::Last, receiving, deadline, || {
                wake.wake()
            }) {
                Ok(Receiving {
                    message: Some(message),
                    ..
                }) => return Ok(message),
                // There are no senders any more, or the one that has promised a message was not able to.
                Ok(_) => state = self.state.lock(),
                Err((left, receiving, guard)) => {
                    state = match receiving.promised_to {
                        None => guard,
                        Some(sender) => match Self::wait_for_promise(guard, sender, Wake::none()) {
                            Some(message) => return Ok(message),
                            None => self.state.lock(),
                        },
                    };
                    let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if late || matches!(left, Left::Interrupted(_)) {
                        drop(state);
                        left.strike();
                        return Err(RecvTimeoutError::Timeout);
                    }
                }
            }
        }
    }

    /// Receives from a channel that makes its messages itself.
    #[cold]
    fn wait_for_clock<'a>(
        &'a self,
        mut state: Guard<'a, T>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        let since = Instant::now();
        loop {
            if let Some((message, _)) = state.take() {
                return Ok(message);
            }
            let next = state.clock.as_mut().and_then(|clock| {
                let message = clock.tick(since, Instant::now());
                message.map_or_else(|| clock.next.map(Err), |message| Some(Ok(message)))
            });
            let until = match next {
                Some(Ok(message)) => return Ok(message),
                Some(Err(next)) => Some(next),
                None => None,
            };
            let until = until.into_iter().chain(deadline).min();
            let receiving = Receiving {
                message: None,
                ticket: 0,
                promised_to: None,
            };
            match wait_list::wait(state, receivers, End::Last, receiving, until) {
                // A message that was given back.
                Ok(receiving) => match receiving.message {
                    Some(message) => return Ok(message),
                    None => state = self.state.lock(),
                },
                Err((left, _, guard)) => {
                    state = guard;
                    if matches!(left, Left::Interrupted(_)) {
                        drop(state);
                        left.strike();
                        return Err(RecvTimeoutError::Timeout);
                    }
                    let due = state.clock.as_ref().and_then(|clock| clock.next);
                    let now = Instant::now();
                    if due.is_none_or(|due| due > now)
                        && deadline.is_some_and(|deadline| deadline <= now)
                    {
                        return Err(RecvTimeoutError::Timeout);
                    }
                }
            }
        }
    }

    /// Finds a selection that waits to send, and claims it for a receiver.
    #[inline(always)]
    fn claim_sender(&self, state: &mut State<T>) -> Option<(Token, Wake)> {
        if state.selecting_senders.is_empty() || !self.has_no_capacity() {
            return None;
        }
        // No plain sender waits: its message would have been taken.
        Arm::claim_first(&mut state.selecting_senders, None)
    }

    /// Receives from a selection that has just been claimed for it; none, if that was not able to send.
    #[cold]
    fn receive_promised(mut state: Guard<'_, T>, sender: Token, wake: Wake) -> Option<T> {
        state.pending.push(Pending::Promise { sender });
        state.promised += 1;
        Self::wait_for_promise(state, sender, wake)
    }

    /// Waits for the message that `sender` has promised, and wakes it; none, if it was not able to send. Nothing interrupts that: the sender
    /// has chosen to send, and would not know where to.
    fn wait_for_promise(state: Guard<'_, T>, sender: Token, wake: Wake) -> Option<T> {
        let receiving = Receiving {
            message: None,
            ticket: 0,
            promised_to: Some(sender),
        };
        let granted = interrupt::masked(|| {
            wait_list::wait_after(state, receivers, End::Last, receiving, None, || wake.wake())
        });
        match granted {
            Ok(receiving) => receiving.message,
            Err(_) => unreachable!("there is no deadline, and nothing interrupts it"),
        }
    }

    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        match &state.clock {
            Some(clock) => usize::from(!state.buffer.is_empty() || clock.is_due()),
            None => state.buffer.len(),
        }
    }

    /// Returns whether there is no room; places that a selection has been promised are taken.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        match &state.clock {
            // A clock is full when it has struck; one that never does, for ever.
            Some(clock) => self.has_no_capacity() || !state.buffer.is_empty() || clock.is_due(),
            None => !state.has_room(),
        }
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        match self.capacity {
            Capacity::Bounded(capacity) => Some(capacity),
            Capacity::Unbounded => None,
        }
    }

    pub(super) fn add(&self, side: Side) {
        let count = self.handles(side);
        // Relaxed: who has a handle already knows the channel; as `Arc`.
        if count.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
            std::process::abort();
        }
    }

    /// Notes that a handle is gone; with the last one of a side the channel is disconnected.
    pub(super) fn remove(&self, side: Side) {
        // AcqRel: what was done through the others comes before the end.
        if self.handles(side).fetch_sub(1, Ordering::AcqRel) == 1 {
            self.disconnect(side);
        }
    }

    fn handles(&self, side: Side) -> &AtomicUsize {
        match side {
            Side::Sender => &self.senders,
            Side::Receiver => &self.receivers,
        }
    }

    #[cold]
    fn disconnect(&self, gone: Side) {
        let mut state = self.state.lock();
        state.disconnected = true;
        // Nobody will receive them. Not under the lock: destructors may do anything.
        let messages = match gone {
            Side::Receiver => mem::take(&mut state.buffer),
            Side::Sender => VecDeque::new(),
        };
        wait_list::grant_all(state, State::let_go);
        discard(messages);
    }

    /// Has a selection chosen, if this end would not have to wait; returns under which token.
    pub(super) fn try_select(&self, side: Side) -> Option<Token> {
        let mut state = self.state.lock();
        let token = Token::new(state.ticket());
        let wake = match side {
            Side::Sender => self.choose_sender(&mut state, token),
            Side::Receiver => self.choose_receiver(&mut state, token),
        };
        drop(state);
        wake?.wake();
        Some(token)
    }

    fn choose_sender(&self, state: &mut State<T>, sender: Token) -> Option<Wake> {
        if state.disconnected {
            return Some(Wake::none());
        }
        if state.has_room() {
            state.pending.push(Pending::Room { sender });
            return Some(Wake::none());
        }
        if !self.has_no_capacity() {
            return None;
        }
        let unpromised = |receiving: &Receiving<T>| receiving.promised_to.is_none();
        let plain = state.waiting_receivers.find_mut(unpromised);
        let plain = plain.map(|receiving| receiving.ticket);
        if let Some((receiver, wake)) = Arm::claim_first(&mut state.selecting_receivers, plain) {
            state.pending.push(Pending::Pair { sender, receiver });
            return Some(wake);
        }
        let receiving = state.waiting_receivers.find_mut(unpromised)?;
        receiving.promised_to = Some(sender);
        state.promised += 1;
        state.pending.push(Pending::Promise { sender });
        Some(Wake::none())
    }

    fn choose_receiver(&self, state: &mut State<T>, receiver: Token) -> Option<Wake> {
        if let Some((message, wake)) = state.take() {
            state.pending.push(Pending::Message { receiver, message });
            return Some(wake);
        }
        if state.disconnected {
            return Some(Wake::none());
        }
        if let Some(clock) = &mut state.clock {
            let now = Instant::now();
            let message = clock.tick(now, now)?;
            state.pending.push(Pending::Message { receiver, message });
            return Some(Wake::none());
        }
        let (sender, wake) = self.claim_sender(state)?;
        state.pending.push(Pending::Pair { sender, receiver });
        Some(wake)
    }

    /// Returns whether this end would not have to wait.
    pub(super) fn is_ready(&self, side: Side) -> bool {
        self.would_go(&mut self.state.lock(), side, |_| true)
    }

    /// Returns whether this end would not have to wait. The arms of `others` count as the other side, as far as they still wait.
    fn would_go(&self, state: &mut State<T>, side: Side, others: impl Fn(&Arm) -> bool) -> bool {
        if state.disconnected {
            return true;
        }
        let waits = |arm: &Arm| arm.is_open() && others(arm);
        match side {
            Side::Sender => {
                state.has_room()
                    || self.has_no_capacity()
                        && (state
                            .waiting_receivers
                            .find_mut(|receiving| receiving.promised_to.is_none())
                            .is_some()
                            || state.selecting_receivers.find_mut(waits).is_some())
            }
            Side::Receiver => {
                !state.buffer.is_empty()
                    || !state.waiting_senders.is_empty()
                    || state.clock.as_ref().is_some_and(Clock::is_due)
                    || self.has_no_capacity() && state.selecting_senders.find_mut(waits).is_some()
            }
        }
    }

    /// Tells the next one who watches this end, if it is still ready.
    pub(super) fn pass_on(&self, side: Side) {
        let mut state = self.state.lock();
        if state.watching(side).is_empty() || !self.would_go(&mut state, side, |_| true) {
            return;
        }
        let wake = state.tell(side);
        drop(state);
        wake.wake();
    }

    /// When the next message comes by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        self.state.lock().clock.as_ref()?.next
    }

    /// Puts an arm of a selection among those who wait, unless it would not have to.
    ///
    /// # Safety
    /// As [`WaitList::link`]: it is in no list, and `unregister` follows.
    pub(super) unsafe fn register(&self, side: Side, arm: &mut Node<Arm>) -> bool {
        let mut state = self.state.lock();
        let value = arm.value_mut();
        if self.would_go(&mut state, side, |other| !other.is_of_same(value)) {
            return false;
        }
        value.ticket = state.ticket();
        let watches = value.watches;
        // SAFETY: passed on.
        unsafe { state.arms(side, watches).link(arm) };
        // The other side may meet with it here, if there is no buffer. (If there is, it waits for others than those who watch.)
        if !watches && self.has_no_capacity() {
            let wake = state.tell(side.other());
            drop(state);
            wake.wake();
        }
        true
    }

    /// Takes the arm out, if it is still there; afterwards nobody touches it any more.
    ///
    /// # Safety
    /// It is that of the latest `register`.
    pub(super) unsafe fn unregister(&self, side: Side, watches: bool, arm: &Node<Arm>) {
        let mut state = self.state.lock();
        // SAFETY: passed on: if it is in a list, it is this one.
        unsafe { state.arms(side, watches).unlink_if_linked(arm) };
    }

    /// Sends for a selection that was chosen.
    pub(super) fn send_selected(&self, sender: Token, message: T) -> Result<(), SendError<T>> {
        let mut state = self.state.lock();
        let (wake, other) = match state.take_pending(Side::Sender, sender) {
            Some(Pending::Room { .. }) if !state.disconnected => match state.hand_over(message) {
                Ok(wake) => (wake, state.refill()),
                Err(message) => {
                    state.buffer.push_back(message);
                    (state.tell(Side::Receiver), Wake::none())
                }
            },
            Some(Pending::Pair { receiver, .. }) => {
                state.pending.push(Pending::Message { receiver, message });
                (Wake::none(), Wake::none())
            }
            Some(Pending::Promise { .. }) => match state.keep_promise(sender, Some(message)) {
                Ok(wake) => (wake, Wake::none()),
                Err(_) => unreachable!("who was promised a message waits for it"),
            },
            // Whoever it was meant for has left, or all have.
            _ => {
                drop(state);
                return self
                    .send(message, None)
                    .map_err(|error| SendError(error.into_inner()));
            }
        };
        drop(state);
        wake.wake();
        other.wake();
        Ok(())
    }

    /// Receives for a selection that was chosen.
    pub(super) fn receive_selected(&self, receiver: Token) -> Result<T, RecvError> {
        let mut state = self.state.lock();
        match state.take_pending(Side::Receiver, receiver) {
            Some(Pending::Message { message, .. }) => return Ok(message),
            Some(Pending::Pair { sender, .. }) => {
                if let Some(message) = Self::receive_promised(state, sender, Wake::none()) {
                    return Ok(message);
                }
                state = self.state.lock();
            }
            _ => {}
        }
        // Whoever has promised a message has left, or all have.
        self.wait_to_receive(state, None).map_err(|_| RecvError)
    }

    /// Gives back what a selection was chosen for.
    pub(super) fn give_back(&self, side: Side, token: Token) {
        let mut state = self.state.lock();
        let mut kept = None;
        let wake = match state.take_pending(side, token) {
            Some(Pending::Message { message, .. }) => match state.hand_over(message) {
                Ok(wake) => wake,
                Err(message) if state.disconnected && self.receivers_are_gone() => {
                    kept = Some(message);
                    Wake::none()
                }
                Err(message) => {
                    state.buffer.push_front(message);
                    state.tell(Side::Receiver)
                }
            },
            Some(Pending::Room { .. }) => state.refill(),
            Some(Pending::Promise { sender }) => {
                state.keep_promise(sender, None).unwrap_or(Wake::none())
            }
            // The other one will find that this has left.
            Some(Pending::Pair { .. }) | None => Wake::none(),
        };
        drop(state);
        wake.wake();
        drop(kept);
    }

    fn receivers_are_gone(&self) -> bool {
        self.receivers.load(Ordering::Relaxed) == 0
    }
}

impl<T> State<T> {
    /// The arms of those that select on this side, or only watch it.
    fn arms(&mut self, side: Side, watches: bool) -> &mut WaitList<Arm> {
        match side {
            _ if watches => self.watching(side),
            Side::Sender => &mut self.selecting_senders,
            Side::Receiver => &mut self.selecting_receivers,
        }
    }

    #[inline(always)]
    fn watching(&mut self, side: Side) -> &mut WaitList<Arm> {
        match side {
            Side::Sender => &mut self.watching_senders,
            Side::Receiver => &mut self.watching_receivers,
        }
    }

    /// A receiver is let go that may have been promised a message.
    fn give_promise_back(&mut self, sender: Option<Token>) {
        if let Some(sender) = sender {
            self.promised -= 1;
            let promise = |pending: &Pending<T>| matches!(pending, Pending::Promise { sender: theirs } if *theirs == sender);
            if let Some(index) = self.pending.iter().position(promise) {
                self.pending.swap_remove(index);
            }
        }
    }

    /// Lets one go of those who wait for a side that is gone.
    fn let_go(&mut self) -> Option<Wake> {
        if let Some((promised, wake)) = self
            .waiting_receivers
            .grant_first(|receiving| receiving.promised_to)
        {
            self.give_promise_back(promised);
            return Some(wake);
        }
        if let Some(((), wake)) = self.waiting_senders.grant_first(|_| ()) {
            return Some(wake);
        }
        let arm = Arm::claim_first(&mut self.selecting_senders, None)
            .or_else(|| Arm::claim_first(&mut self.selecting_receivers, None))
            .or_else(|| Arm::claim_first(&mut self.watching_senders, None))
            .or_else(|| Arm::claim_first(&mut self.watching_receivers, None));
        arm.map(|(_, wake)| wake)
    }
}
