//! `Select`: a selection of what is known only when the program runs.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::time::{Duration, Instant};

use super::super::{
    ReadyTimeoutError, Receiver, RecvError, SelectTimeoutError, SendError, Sender, TryReadyError,
    TrySelectError,
};
use super::{Case, Ended, Patience, Selectable, Token, random_below, run, select, wait_once};
use crate::runtime::wait_list::Left;

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
    pub(super) fn new(token: Token, case: Case<'a>) -> SelectedOperation<'a> {
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
