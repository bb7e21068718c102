//! A channel for one value, from one thread to another; as `tokio::sync::oneshot`.
//!
//! The sender never waits to send. Both ends work from green threads and OS threads. [`select!`](crate::select) waits for an answer beside other things.
//!
//! # Examples
//!
//! An answer to each request:
//!
//! ```
//! use corde::sync::oneshot;
//! use corde::thread;
//!
//! let (answer, answered) = oneshot::channel();
//! thread::spawn(move || answer.send(6 * 7));
//! assert_eq!(answered.recv(), Ok(42));
//! ```
//!
//! If one end is gone, the other learns of it:
//!
//! ```
//! use corde::sync::oneshot;
//!
//! let (sender, receiver) = oneshot::channel::<i32>();
//! drop(sender);
//! assert!(receiver.recv().is_err());
//!
//! let (sender, receiver) = oneshot::channel();
//! drop(receiver);
//! assert_eq!(sender.send(7), Err(7));
//! ```
// # State
//
// One word of bits, in one allocation with the place for the value:
//
// | bit | set by | cleared by | means |
// | --- | --- | --- | --- |
// | SENT | the sender, unless CLOSED is set | the receiver | there is a value; it is the receiver's |
// | DONE | the sender, when it sends or goes | nobody | there will be no (further) value |
// | CLOSED | the receiver, when it closes or goes | nobody | no value will be taken any more |
// | RECEIVER_WAITS, SENDER_WAITS | that end, under the lock | that end, under the lock | who sets DONE, or CLOSED, finds it in its queue |
//
// The place is the sender's until it sets SENT, and the receiver's from then on.

pub mod error;
mod select;

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::runtime::lock::{Lock, LockGuard};
use crate::runtime::wait_list::{self, End, Left, WaitList};

use error::{RecvError, RecvTimeoutError, TryRecvError};

const SENT: u8 = 1;
const DONE: u8 = 2;
const CLOSED: u8 = 4;
const RECEIVER_WAITS: u8 = 8;
const SENDER_WAITS: u8 = 16;

/// Makes a channel for one value.
///
/// # Examples
///
/// ```
/// use corde::sync::oneshot;
///
/// let (sender, receiver) = oneshot::channel();
/// sender.send("it").unwrap();
/// assert_eq!(receiver.recv(), Ok("it"));
/// ```
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: AtomicU8::new(0),
        value: UnsafeCell::new(MaybeUninit::uninit()),
        waiting: Lock::new(Waiting {
            sender: WaitList::new(),
            receiver: WaitList::new(),
        }),
    });
    let sender = Sender {
        shared: shared.clone(),
    };
    (sender, Receiver { shared })
}

struct Shared<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
    waiting: Lock<Waiting>,
}

// SAFETY: the value goes from the sender to the receiver, or is dropped with either; it is never shared. The rest is Sync.
unsafe impl<T: Send> Sync for Shared<T> {}

struct Waiting {
    sender: WaitList<()>,
    receiver: WaitList<()>,
}

/// One of the two ends, as the other sees it.
#[derive(Clone, Copy)]
struct Side {
    /// While it waits.
    waits: u8,
    /// What it waits for: any of them.
    news: u8,
    list: fn(&mut Waiting) -> &mut WaitList<()>,
}

const SENDER: Side = Side {
    waits: SENDER_WAITS,
    news: CLOSED,
    list: |waiting| &mut waiting.sender,
};

const RECEIVER: Side = Side {
    waits: RECEIVER_WAITS,
    news: SENT | DONE | CLOSED,
    list: |waiting| &mut waiting.receiver,
};

impl<T> Shared<T> {
    fn load(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// Waits until there is news for `side`; until `deadline` at most, if there is one.
    ///
    /// # Errors
    ///
    /// The time was over.
    #[cold]
    #[inline(never)]
    fn wait(&self, side: Side, deadline: Option<Instant>) -> Result<(), ()> {
        let waiting = self.waiting.lock();
        // Who brings news afterwards sees the bit, and locks.
        if self.state.fetch_or(side.waits, Ordering::AcqRel) & side.news != 0 {
            return Ok(());
        }
        let result = wait_list::wait(waiting, side.list, End::Last, (), deadline);
        result.map_or_else(|(left, (), waiting)| self.leave(side, left, waiting), Ok)
    }

    fn leave(&self, side: Side, left: Left, waiting: LockGuard<'_, Waiting>) -> Result<(), ()> {
        let state = self.state.fetch_and(!side.waits, Ordering::AcqRel);
        waiting.unlock();
        if state & side.news != 0 {
            return Ok(());
        }
        left.strike();
        Err(())
    }

    /// Lets `side` go on, if it waits.
    #[cold]
    fn wake(&self, side: Side) {
        let mut waiting = self.waiting.lock();
        let granted = (side.list)(&mut waiting).grant_first(|()| ());
        waiting.unlock();
        if let Some(((), wake)) = granted {
            wake.wake();
        }
    }

    /// Takes the value, if there is one. For the receiver alone.
    #[inline]
    fn take(&self) -> Result<T, TryRecvError> {
        let state = self.load();
        if state & SENT != 0 {
            // From SENT on only the receiver changes the state.
            self.state.store(state & !SENT, Ordering::Relaxed);
            // SAFETY: SENT was set, so the place is the receiver's, which has it to itself here.
            let value = unsafe { &*self.value.get() };
            // SAFETY: the sender has put it there before it set SENT; as that is reset, it is read once.
            return Ok(unsafe { value.assume_init_read() });
        }
        match state & (DONE | CLOSED) {
            0 => Err(TryRecvError::Empty),
            _ => Err(TryRecvError::Closed),
        }
    }
}

/// The end that sends.
///
/// Dropping it closes the channel.
///
/// # Examples
///
/// ```
/// use corde::sync::oneshot::{self, Sender};
///
/// fn answer(sender: Sender<u32>) {
///     // If nobody waits for it any more, there is nothing to do.
///     let _ = sender.send(42);
/// }
///
/// let (sender, receiver) = oneshot::channel();
/// answer(sender);
/// assert_eq!(receiver.recv(), Ok(42));
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends the value. Does not wait.
    ///
    /// That it returns `Ok` does not mean that the value will be received: the receiver may be dropped with it.
    ///
    /// # Errors
    ///
    /// The value, if the receiver is gone or has [closed](Receiver::close) the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot;
    ///
    /// let (sender, receiver) = oneshot::channel();
    /// assert_eq!(sender.send(1), Ok(()));
    /// assert_eq!(receiver.recv(), Ok(1));
    /// ```
    #[inline]
    pub fn send(self, value: T) -> Result<(), T> {
        let shared = &*self.shared;
        let mut state = shared.state.load(Ordering::Relaxed);
        if state & CLOSED != 0 {
            return Err(value);
        }
        // SAFETY: SENT has not been set, which only this one does, once: so the place is the sender's.
        let place = unsafe { &mut *shared.value.get() };
        place.write(value);
        loop {
            // Release: the receiver sees the value.
            let sent = shared.state.compare_exchange_weak(
                state,
                state | SENT | DONE,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match sent {
                Ok(_) => break,
                Err(now) if now & CLOSED != 0 => {
                    // SAFETY: it has just been put there, and SENT was not set: nobody else reads it.
                    return Err(unsafe { place.assume_init_read() });
                }
                Err(now) => state = now,
            }
        }
        if state & RECEIVER_WAITS != 0 {
            shared.wake(RECEIVER);
        }
        Ok(())
    }

    /// Waits until the receiver is gone or has [closed](Receiver::close) the channel, suspending the calling green thread.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot;
    /// use corde::thread;
    ///
    /// let (mut sender, receiver) = oneshot::channel::<u32>();
    /// let gives_up = thread::spawn(move || drop(receiver));
    /// sender.closed();
    /// gives_up.join().unwrap();
    /// ```
    pub fn closed(&mut self) {
        while !self.is_closed() {
            // There is no deadline.
            let _ = self.shared.wait(SENDER, None);
        }
    }

    /// Returns whether the receiver is gone or has [closed](Receiver::close) the channel: sending would fail.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot;
    ///
    /// let (sender, receiver) = oneshot::channel::<u32>();
    /// assert!(!sender.is_closed());
    /// drop(receiver);
    /// assert!(sender.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.load() & CLOSED != 0
    }
}

impl<T> Drop for Sender<T> {
    #[inline]
    fn drop(&mut self) {
        // Only this one sets DONE.
        if self.shared.state.load(Ordering::Relaxed) & DONE != 0 {
            return;
        }
        // Release: who sees it sees what came before.
        let state = self.shared.state.fetch_or(DONE, Ordering::Release);
        if state & RECEIVER_WAITS != 0 {
            self.shared.wake(RECEIVER);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// The end that receives.
///
/// Dropping it closes the channel, and drops a value that was sent.
///
/// # Examples
///
/// ```
/// use corde::sync::oneshot::{self, Receiver};
/// use corde::thread;
///
/// fn compute() -> Receiver<u32> {
///     let (sender, receiver) = oneshot::channel();
///     thread::spawn(move || sender.send(42));
///     receiver
/// }
///
/// assert_eq!(compute().recv(), Ok(42));
/// ```
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Waits for the value, suspending the calling green thread.
    ///
    /// # Errors
    ///
    /// If the sender has gone without sending, or the channel was [closed](Receiver::close) before it sent.
    ///
    /// # Cancellation
    ///
    /// A value that is there is returned. Who unwinds before that drops the receiver, and with it whatever is sent later;
    /// [`recv_timeout`](Receiver::recv_timeout) leaves it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot;
    ///
    /// let (sender, receiver) = oneshot::channel();
    /// corde::thread::spawn(move || sender.send(7));
    /// assert_eq!(receiver.recv(), Ok(7));
    /// ```
    #[inline]
    pub fn recv(self) -> Result<T, RecvError> {
        self.recv_until(None).map_err(|_| RecvError(()))
    }

    /// Waits for the value for `timeout` at most, suspending the calling green thread.
    ///
    /// # Errors
    ///
    /// [`Timeout`](RecvTimeoutError::Timeout), if it did not come in that time: it may come later. [`Closed`](RecvTimeoutError::Closed), if none will come.
    ///
    /// # Cancellation
    ///
    /// A value that is there is returned. One that comes later is not lost, if the receiver is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot::{self, error::RecvTimeoutError};
    /// use corde::time::Duration;
    ///
    /// let (sender, mut receiver) = oneshot::channel();
    /// let soon = Duration::from_millis(1);
    /// assert_eq!(receiver.recv_timeout(soon), Err(RecvTimeoutError::Timeout));
    /// sender.send(7).unwrap();
    /// assert_eq!(receiver.recv_timeout(soon), Ok(7));
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match self.try_recv() {
            Err(TryRecvError::Empty) => self.recv_until(Instant::now().checked_add(timeout)),
            result => result.map_err(|_| RecvTimeoutError::Closed),
        }
    }

    /// Like [`recv_timeout`](Receiver::recv_timeout), with the time at which it ends.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Receiver::recv_timeout).
    ///
    /// # Cancellation
    ///
    /// As for [`recv_timeout`](Receiver::recv_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot::{self, error::RecvTimeoutError};
    /// use corde::time::Instant;
    ///
    /// let (_sender, mut receiver) = oneshot::channel::<u32>();
    /// assert_eq!(receiver.recv_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    /// Takes the value, if it has come.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty), if it may come later; [`Closed`](TryRecvError::Closed), if none will come: also after it has been received.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot::{self, error::TryRecvError};
    ///
    /// let (sender, mut receiver) = oneshot::channel();
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send(7).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(7));
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    /// ```
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.shared.take()
    }

    /// Closes the channel: sending fails from now on. A value that has been sent already can still be received.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot;
    ///
    /// let (sender, mut receiver) = oneshot::channel();
    /// receiver.close();
    /// assert_eq!(sender.send(7), Err(7));
    /// assert!(receiver.try_recv().is_err());
    /// ```
    pub fn close(&mut self) {
        // AcqRel: the sender sees what came before; and if it has sent, its value is seen here.
        let state = self.shared.state.fetch_or(CLOSED, Ordering::AcqRel);
        if state & SENDER_WAITS != 0 {
            self.shared.wake(SENDER);
        }
    }

    /// Returns whether there is no value to receive now.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::sync::oneshot;
    ///
    /// let (sender, receiver) = oneshot::channel();
    /// assert!(receiver.is_empty());
    /// sender.send(7).unwrap();
    /// assert!(!receiver.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.load() & SENT == 0
    }

    #[inline]
    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        loop {
            match self.shared.take() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Closed) => return Err(RecvTimeoutError::Closed),
                Err(TryRecvError::Empty) => {}
            }
            if self.shared.wait(RECEIVER, deadline).is_err() {
                return Err(RecvTimeoutError::Timeout);
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    #[inline]
    fn drop(&mut self) {
        if self.shared.load() & (SENT | DONE) == DONE {
            // It has been received, or there is no sender to be told.
            return;
        }
        self.close();
        // From now on no other is sent.
        drop(self.shared.take());
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
