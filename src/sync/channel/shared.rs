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
//!
//! # Selecting
//!
//! A thread that selects waits as an [`Arm`] in the lists of several channels. Who has something for it *claims* it first, as others may at the
//! same moment (`select.rs`). Which message an arm gets, or which room, is noted here until the thread comes for it, under the *token* of its
//! selection ([`Pending`]). The sending arm of a selection has no message before it is chosen; so a receiver that
//! waits may be *promised* to it, and gets no message from others until then.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use super::select::{Arm, Token};
use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, Left, Node, WaitList, Wake, Wakes};
use crate::runtime::worker;

/// Messages that a bounded channel has room for from the beginning; more is allocated when it is needed.
const PREALLOCATED: usize = 1024;

pub(super) struct Channel<T> {
    state: Lock<State<T>>,
    /// Also in the state, where it is at hand.
    capacity: Capacity,
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
    /// What selections have been chosen for and have not come for yet.
    pending: Vec<Pending<T>>,
    /// Receivers in `waiting_receivers` that have been promised to a sender.
    promised: usize,
    /// Counts those who wait, so that who came first in two lists can be told.
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
    /// Makes the message that is due.
    fn tick(&mut self, now: Instant) -> Option<T> {
        let due = self.next.filter(|&next| next <= now)?;
        // What comes too late to take does not heap up.
        self.next = self.period.and_then(|period| now.checked_add(period));
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
        if self.waiting_senders.is_empty() && self.selecting_senders.is_empty() {
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
            None => Wake::none(),
        }
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

    /// Finds the selection that wants to send which has waited longest, and claims it for a receiver. The capacity is 0.
    fn claim_sender(&mut self) -> Option<(Token, Wake)> {
        let plain = self.waiting_senders.first_mut();
        let plain = plain.map(|sending| sending.ticket);
        Arm::claim_first(&mut self.selecting_senders, plain)
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
            state: Lock::new(State {
                buffer: VecDeque::with_capacity(room),
                capacity,
                disconnected: false,
                waiting_senders: WaitList::new(),
                waiting_receivers: WaitList::new(),
                selecting_senders: WaitList::new(),
                selecting_receivers: WaitList::new(),
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
        Channel::with(Capacity::Bounded(1), Some(clock))
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
        Ok(())
    }

    pub(super) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let state = self.state.lock();
        if state.disconnected {
            drop(state);
            return Err(TrySendError::Disconnected(message));
        }
        match self.send_now(state, message) {
            Ok(()) => {
                worker::spend();
                Ok(())
            }
            Err((message, state)) => {
                drop(state);
                Err(TrySendError::Full(message))
            }
        }
    }

    /// Sends, waiting until `deadline` at most if there is one.
    #[inline]
    pub(super) fn send(
        &self,
        message: T,
        deadline: Option<Instant>,
    ) -> Result<(), SendTimeoutError<T>> {
        let state = self.state.lock();
        if state.disconnected {
            drop(state);
            return Err(SendTimeoutError::Disconnected(message));
        }
        match self.send_now(state, message) {
            Ok(()) => {
                worker::spend();
                Ok(())
            }
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
        match wait_list::wait(state, senders, End::Last, sending, deadline) {
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
        let mut state = self.state.lock();
        if let Some((message, wake)) = state.take() {
            drop(state);
            wake.wake();
            worker::spend();
            return Ok(message);
        }
        if state.disconnected {
            return Err(TryRecvError::Disconnected);
        }
        if let Some(clock) = &mut state.clock {
            if let Some(message) = clock.tick(Instant::now()) {
                return Ok(message);
            }
        }
        if self.has_no_capacity() && !state.selecting_senders.is_empty() {
            if let Some((sender, wake)) = state.claim_sender() {
                return self.receive_promised(state, sender, wake, None).map_err(
                    |error| match error {
                        RecvTimeoutError::Timeout => TryRecvError::Empty,
                        RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                    },
                );
            }
        }
        Err(TryRecvError::Empty)
    }

    /// Receives, waiting until `deadline` at most if there is one.
    #[inline]
    pub(super) fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let mut state = self.state.lock();
        if let Some((message, wake)) = state.take() {
            drop(state);
            wake.wake();
            worker::spend();
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
        loop {
            if let Some((message, wake)) = state.take() {
                drop(state);
                wake.wake();
                return Ok(message);
            }
            if state.disconnected {
                return Err(RecvTimeoutError::Disconnected);
            }
            if self.has_no_capacity() && !state.selecting_senders.is_empty() {
                if let Some((sender, wake)) = state.claim_sender() {
                    return self.receive_promised(state, sender, wake, deadline);
                }
            }
            let mut until = deadline;
            if let Some(clock) = &mut state.clock {
                if let Some(message) = clock.tick(Instant::now()) {
                    return Ok(message);
                }
                until = clock.next.into_iter().chain(deadline).min();
            }
            let receiving = Receiving {
                message: None,
                ticket: state.ticket(),
                promised_to: None,
            };
            match wait_list::wait(state, receivers, End::Last, receiving, until) {
                Ok(Receiving {
                    message: Some(message),
                    ..
                }) => return Ok(message),
                // There are no senders any more, or the one that has promised a message was not able to.
                Ok(_) => state = self.state.lock(),
                Err((left, receiving, mut guard)) => {
                    // Meanwhile it may have been promised one.
                    guard.give_promise_back(receiving.promised_to);
                    let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if late || matches!(left, Left::Interrupted(_)) {
                        drop(guard);
                        left.strike();
                        return Err(RecvTimeoutError::Timeout);
                    }
                    state = guard;
                }
            }
        }
    }

    /// Receives from a selection that has just been claimed for it.
    #[cold]
    fn receive_promised<'a>(
        &'a self,
        mut state: Guard<'a, T>,
        sender: Token,
        wake: Wake,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        state.pending.push(Pending::Promise { sender });
        let state = self.wait_for_promise(state, sender, Some(wake), deadline)?;
        match state {
            Ok(message) => Ok(message),
            Err(state) => self.wait_to_receive(state, deadline),
        }
    }

    /// Waits for the message that `sender` has promised; the lock, if that does not come.
    fn wait_for_promise<'a>(
        &'a self,
        mut state: Guard<'a, T>,
        sender: Token,
        wake: Option<Wake>,
        deadline: Option<Instant>,
    ) -> Result<Result<T, Guard<'a, T>>, RecvTimeoutError> {
        state.promised += 1;
        let receiving = Receiving {
            message: None,
            ticket: state.ticket(),
            promised_to: Some(sender),
        };
        // Under the lock: it must not find that nobody waits for its message.
        if let Some(wake) = wake {
            wake.wake();
        }
        match wait_list::wait(state, receivers, End::Last, receiving, deadline) {
            Ok(Receiving {
                message: Some(message),
                ..
            }) => Ok(Ok(message)),
            Ok(_) => Ok(Err(self.state.lock())),
            Err((left, _, mut guard)) => {
                guard.give_promise_back(Some(sender));
                drop(guard);
                left.strike();
                Err(RecvTimeoutError::Timeout)
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        match &state.clock {
            Some(clock) => usize::from(clock.next.is_some_and(|next| next <= Instant::now())),
            None => state.buffer.len(),
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
        let mut wakes = Wakes::new();
        while let Some(wake) = state.let_go() {
            wakes.push(wake);
            if wakes.is_full() {
                drop(state);
                wakes.wake();
                state = self.state.lock();
            }
        }
        drop(state);
        wakes.wake();
        drop(messages);
    }

    /// Has a selection chosen, if this end would not have to wait.
    pub(super) fn try_select(&self, side: Side, token: Token) -> bool {
        let mut state = self.state.lock();
        let wake = match side {
            Side::Sender => self.choose_sender(&mut state, token),
            Side::Receiver => self.choose_receiver(&mut state, token),
        };
        drop(state);
        match wake {
            Some(wake) => {
                wake.wake();
                true
            }
            None => false,
        }
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
            let message = clock.tick(Instant::now())?;
            state.pending.push(Pending::Message { receiver, message });
            return Some(Wake::none());
        }
        if !self.has_no_capacity() {
            return None;
        }
        let (sender, wake) = state.claim_sender()?;
        state.pending.push(Pending::Pair { sender, receiver });
        Some(wake)
    }

    /// Returns whether this end would not have to wait. `but` is a selection that does not count as the other side.
    pub(super) fn is_ready(&self, side: Side, but: Option<Token>) -> bool {
        self.would_go(&mut self.state.lock(), side, but)
    }

    fn would_go(&self, state: &mut State<T>, side: Side, but: Option<Token>) -> bool {
        if state.disconnected {
            return true;
        }
        let others = |arm: &Arm| Some(arm.token()) != but;
        match side {
            Side::Sender => {
                state.has_room()
                    || self.has_no_capacity()
                        && (state
                            .waiting_receivers
                            .find_mut(|receiving| receiving.promised_to.is_none())
                            .is_some()
                            || state.selecting_receivers.find_mut(others).is_some())
            }
            Side::Receiver => {
                !state.buffer.is_empty()
                    || !state.waiting_senders.is_empty()
                    || (state.clock.as_ref())
                        .and_then(|clock| clock.next)
                        .is_some_and(|next| next <= Instant::now())
                    || self.has_no_capacity() && state.selecting_senders.find_mut(others).is_some()
            }
        }
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
        if self.would_go(&mut state, side, Some(value.token())) {
            return false;
        }
        value.ticket = state.ticket();
        // SAFETY: passed on.
        unsafe { state.arms(side).link(arm) };
        true
    }

    /// Takes the arm out, if it is still there; afterwards nobody touches it any more.
    ///
    /// # Safety
    /// It is that of the latest `register`.
    pub(super) unsafe fn unregister(&self, side: Side, arm: &Node<Arm>) {
        let mut state = self.state.lock();
        // SAFETY: passed on: if it is in a list, it is this one.
        unsafe { state.arms(side).unlink_if_linked(arm) };
    }

    /// Sends for a selection that was chosen.
    pub(super) fn send_selected(&self, sender: Token, message: T) -> Result<(), SendError<T>> {
        let mut state = self.state.lock();
        let (wake, other) = match state.take_pending(Side::Sender, sender) {
            Some(Pending::Room { .. }) if !state.disconnected => match state.hand_over(message) {
                Ok(wake) => (wake, state.refill()),
                Err(message) => {
                    state.buffer.push_back(message);
                    (Wake::none(), Wake::none())
                }
            },
            Some(Pending::Pair { receiver, .. }) => {
                state.pending.push(Pending::Message { receiver, message });
                (Wake::none(), Wake::none())
            }
            Some(Pending::Promise { .. }) => match state.keep_promise(sender, Some(message)) {
                Ok(wake) => (wake, Wake::none()),
                Err(_) => unreachable!("who leaves takes the promise along"),
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
            Some(Pending::Message { message, .. }) => {
                drop(state);
                worker::spend();
                return Ok(message);
            }
            Some(Pending::Pair { sender, .. }) => {
                state.pending.push(Pending::Promise { sender });
                match self.wait_for_promise(state, sender, None, None) {
                    Ok(Ok(message)) => return Ok(message),
                    Ok(Err(guard)) => state = guard,
                    Err(_) => unreachable!("there was no deadline"),
                }
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
                    Wake::none()
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
    fn arms(&mut self, side: Side) -> &mut WaitList<Arm> {
        match side {
            Side::Sender => &mut self.selecting_senders,
            Side::Receiver => &mut self.selecting_receivers,
        }
    }

    /// A receiver leaves that may have been promised a message.
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
            .or_else(|| Arm::claim_first(&mut self.selecting_receivers, None));
        arm.map(|(_, wake)| wake)
    }
}
