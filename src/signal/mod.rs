//! Signals of the system, as events that a thread waits for.
//!
//! [`ctrl_c`] waits for the next Ctrl-C; [`Signals`] is a stream of signals of some kinds. Waiting suspends the calling green thread, and blocks a
//! plain OS thread. Names and manners are those of Tokio's `signal`.
//!
//! # What to know of signals
//!
//! * From the first time that a kind is listened to, it no longer does what it does by default, to the end of the process: when nobody
//!   listens any more, a Ctrl-C does nothing.
//! * They are events, not messages: several of one kind that come before a listener has looked are *one* for it. The system does so, too.
//! * Each listener gets each signal that comes while it is there, whether it waits or not. Several threads that wait for one listener share
//!   its signals.
//! * Handlers that the program has installed before are called, too, on the alternate stack of the thread and with other signals blocked. One that is
//!   installed later in another way, and does not call those before it, leaves listeners without signals.
//! * A child process has the default actions again when its program has begun, as with std. A signal that comes to it before that may be lost.
//!
//! # How it works
//!
//! The crate `signal-hook-registry` shares the process's one handler of each kind among all that want to know. Ours does what is allowed there: it
//! marks the kind as pending and, if it was not, writes a byte to a socket. The other end is waited for as any socket is; there is no thread for it.
//!
//! 1. A handler marks, then writes. Who looks reads the bytes away, then takes a mark. So a mark that a look misses is followed by a byte that it
//!    has not read.
//! 2. Who has taken a mark and sees another one writes a byte himself: the bytes may have been for both, and another thread may wait.
//! 3. So while there is a mark there is a byte, or a handler is about to write one, or a thread to take the mark. A byte without a mark makes a
//!    thread look once in vain.
//!
//! # Examples
//!
//! ```
//! use corde::signal::{SignalKind, Signals};
//!
//! let signals = Signals::new([SignalKind::interrupt(), SignalKind::terminate()])?;
//! // Work goes on here, and now and then looks whether it is to end.
//! assert_eq!(signals.try_recv(), None);
//! # Ok::<(), std::io::Error>(())
//! ```

mod kind;

use std::fmt;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use signal_hook_registry::SigId;

pub use kind::SignalKind;

use crate::net::{self, sealed};
use crate::reactor::{Direction, Pollable, Source};
use crate::stack::overflow;

/// Waits for the next Ctrl-C, which is `SIGINT`.
///
/// One that came before the call does not count, nor does one between two calls: for that keep [`Signals`]. From the first call on
/// Ctrl-C no longer ends the process.
///
/// # Cancellation
///
/// Nothing is lost, but a signal that comes when nobody listens.
///
/// # Errors
///
/// Those of the system, when it has no further file descriptor.
///
/// # Examples
///
/// ```no_run
/// use corde::{go, net::TcpListener, signal};
///
/// corde::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:7777")?;
///     let server = go!({
///         for stream in listener.incoming() {
///             let stream = stream?;
///             go!({ std::io::copy(&mut &stream, &mut &stream) });
///         }
///         std::io::Result::Ok(())
///     });
///     signal::ctrl_c()?;
///     server.cancel();
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// One that the program sends itself:
///
/// ```
/// use corde::{go, signal, thread, time::Duration};
///
/// let waiting = go!(|| signal::ctrl_c());
/// # // Until somebody listens the signal would end the process.
/// # let _first = signal::signal(signal::SignalKind::interrupt())?;
/// while !waiting.is_finished() {
///     let kill = corde::process::Command::new("kill").args(["-INT", &corde::process::id().to_string()]).status()?;
///     assert!(kill.success());
///     thread::sleep(Duration::from_millis(1));
/// }
/// waiting.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn ctrl_c() -> io::Result<()> {
    signal(SignalKind::interrupt())?.recv().map(drop)
}

/// Listens to signals of one kind; the same as [`Signals::new`] with it.
///
/// # Errors
///
/// As [`Signals::new`].
///
/// # Examples
///
/// ```
/// use corde::signal::{SignalKind, signal};
///
/// let hangups = signal(SignalKind::hangup())?;
/// assert_eq!(hangups.try_recv(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn signal(kind: SignalKind) -> io::Result<Signals> {
    Signals::new([kind])
}

/// The signals of some kinds that come from its making on.
///
/// There is no limit to how many listen to one kind; each gets each signal. Any number of threads may wait for one listener, each of whose signals
/// one of them gets. An iterator over it waits for one after the other, and does not end. In [`select!`](crate::select) it is an event
/// that may be `readable`; after that [`try_recv`](Signals::try_recv) tells whether it was.
///
/// # Examples
///
/// ```
/// use corde::signal::{SignalKind, Signals};
///
/// corde::run(|| -> std::io::Result<()> {
///     let signals = Signals::new([SignalKind::user_defined1(), SignalKind::terminate()])?;
/// #   let me = corde::process::id().to_string();
///     // From another process:
///     corde::process::Command::new("kill").args(["-TERM", &me]).status()?;
///     for signal in &signals {
///         match signal? {
///             kind if kind == SignalKind::terminate() => break,
///             kind => println!("got {kind:?}"),
///         }
///     }
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// With other events, or for some time:
///
/// ```
/// use corde::signal::{SignalKind, signal};
/// use corde::sync::channel::unbounded;
/// use corde::time::Duration;
///
/// let (jobs, queue) = unbounded();
/// let quit = signal(SignalKind::quit())?;
/// jobs.send(7).unwrap();
/// let mut sum = 0;
/// loop {
///     corde::select! {
///         recv(queue) -> job => sum += job.unwrap(),
///         readable(quit) => if quit.try_recv().is_some() { break },
///         default(Duration::from_millis(10)) => break,
///     }
/// }
/// assert_eq!(sum, 7);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Signals {
    /// The end of the socket that is read.
    source: Source<UnixStream>,
    mailbox: Arc<Mailbox>,
    /// What the handlers are registered as.
    registered: Vec<SigId>,
}

/// What the handlers have of one listener.
struct Mailbox {
    /// Of different kinds.
    kinds: Box<[(SignalKind, AtomicBool)]>,
    /// The place of the kind that was taken last: the next one comes first then, so that none waits for ever.
    last: AtomicUsize,
    /// The end of the socket that is written to.
    bell: UnixStream,
}

impl Mailbox {
    /// Notes a signal: what the handler does. It must be async-signal-safe, so it does not even panic.
    fn deliver(&self, place: usize) {
        // Release: what was done before the signal was sent by this process is seen by who takes it.
        let noted = self.kinds.get(place);
        if noted.is_some_and(|(_, pending)| !pending.swap(true, Ordering::AcqRel)) {
            self.ring();
        }
    }

    /// Writes a byte.
    fn ring(&self) {
        // A full socket is readable as it is. The other end is open as long as there are handlers: no SIGPIPE.
        // SAFETY: one valid byte, an open descriptor.
        unsafe { libc::write(self.bell.as_raw_fd(), ptr::from_ref(&1_u8).cast(), 1) };
    }

    /// Takes a pending signal.
    fn take(&self) -> Option<SignalKind> {
        let count = self.kinds.len();
        let last = self.last.load(Ordering::Relaxed);
        let place = (1..=count)
            .map(|step| (last + step) % count)
            .find(|&place| self.kinds[place].1.swap(false, Ordering::AcqRel))?;
        self.last.store(place, Ordering::Relaxed);
        Some(self.kinds[place].0)
    }

    fn is_empty(&self) -> bool {
        let mut kinds = self.kinds.iter();
        !kinds.any(|(_, pending)| pending.load(Ordering::Acquire))
    }
}

impl Signals {
    /// Listens to signals of some kinds; with none it never gets any.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for what nobody can listen to: `SIGKILL` and `SIGSTOP`, which no process gets to see; `SIGSEGV`,
    /// `SIGBUS`, `SIGILL` and `SIGFPE`, which tell a thread of a fault that it would repeat for ever; and numbers of no signal. Others are those
    /// of the system, when it has no further file descriptor (it takes two).
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::signal::{SignalKind, Signals};
    ///
    /// let signals = Signals::new([SignalKind::hangup(), SignalKind::terminate()])?;
    /// assert_eq!(signals.try_recv(), None);
    /// assert!(Signals::new([SignalKind::from_raw(9)]).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new<I>(kinds: I) -> io::Result<Signals>
    where
        I: IntoIterator<Item = SignalKind>,
    {
        let mut different: Vec<SignalKind> = Vec::new();
        for kind in kinds {
            check(kind)?;
            if !different.contains(&kind) {
                different.push(kind);
            }
        }
        let (near, bell) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        let pending = different.iter().map(|&kind| (kind, AtomicBool::new(false)));
        let mailbox = Arc::new(Mailbox {
            kinds: pending.collect(),
            last: AtomicUsize::new(0),
            bell,
        });
        let mut signals = Signals {
            source: Source::new(near),
            mailbox,
            registered: Vec::with_capacity(different.len()),
        };
        for (place, &kind) in different.iter().enumerate() {
            let mailbox = signals.mailbox.clone();
            // SAFETY: the action stores to an atomic and writes to a socket, which is async-signal-safe; the registry keeps `errno`.
            let registered = unsafe {
                signal_hook_registry::register(kind.as_raw(), move || mailbox.deliver(place))
            };
            // What is registered already ends with `signals`.
            signals
                .registered
                .push(registered.map_err(|error| invalid(kind, error))?);
            use_alternate_stack(kind);
        }
        Ok(signals)
    }

    /// Waits for a signal, and returns its kind; at once, if there was one that nobody has got.
    ///
    /// Of several that are pending it takes one kind after the other.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: a signal that comes meanwhile is pending.
    ///
    /// # Errors
    ///
    /// Those of waiting: a reactor may have no room for a further file descriptor. No signal is lost then.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::signal::{SignalKind, signal};
    /// use corde::time::{Duration, timeout};
    ///
    /// corde::run(|| -> std::io::Result<()> {
    ///     let resized = signal(SignalKind::window_change())?;
    ///     let none = timeout(Duration::from_millis(5), || resized.recv());
    ///     assert!(none.is_err());
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv(&self) -> io::Result<SignalKind> {
        let attempt = |near: &UnixStream| self.try_take(near).ok_or_else(would_block);
        self.source.retry(Direction::Read, attempt)
    }

    /// Returns the kind of a pending signal, if there is one, without waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::signal::{SignalKind, signal};
    ///
    /// let alarms = signal(SignalKind::alarm())?;
    /// assert_eq!(alarms.try_recv(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_recv(&self) -> Option<SignalKind> {
        self.try_take(self.source.get())
    }

    fn try_take(&self, near: &UnixStream) -> Option<SignalKind> {
        silence(near);
        let taken = self.mailbox.take()?;
        if !self.mailbox.is_empty() {
            self.mailbox.ring();
        }
        Some(taken)
    }

    /// Calls `attempt` until it does not answer that it would block, at each signal, whatever its kind.
    ///
    /// # Errors
    /// Those of `attempt`; [`TimedOut`](io::ErrorKind::TimedOut) when the deadline has passed.
    pub(crate) fn retry_until<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.source.retry_until(deadline, Direction::Read, |near| {
            silence(near);
            while self.mailbox.take().is_some() {}
            attempt()
        })
    }
}

/// Refuses what would be refused by a panic, or harm the program.
fn check(kind: SignalKind) -> io::Result<()> {
    let why = match kind.as_raw() {
        libc::SIGKILL | libc::SIGSTOP => "no process gets to see it",
        // Some systems report the overflow of a stack by SIGBUS.
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE => {
            "it tells of a fault that the thread would repeat for ever"
        }
        _ => return Ok(()),
    };
    Err(invalid(kind, why))
}

fn invalid(kind: SignalKind, why: impl fmt::Display) -> io::Error {
    let message = format!("{kind:?} cannot be listened to: {why}");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

/// Reads all bytes that are there.
fn silence(mut near: &UnixStream) {
    let mut bytes = [0; 64];
    // What cannot be read is not there.
    while near
        .read(&mut bytes)
        .is_ok_and(|count| count == bytes.len())
    {}
}

/// Has the handler run on the alternate stack that each thread has: the stack of a green thread may have no room left for it.
fn use_alternate_stack(kind: SignalKind) {
    // SAFETY: sigaction is plain data for which zero is valid.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: a null second argument only asks.
    let known = unsafe { libc::sigaction(kind.as_raw(), ptr::null(), &mut action) } == 0;
    if known && action.sa_flags & libc::SA_ONSTACK == 0 {
        overflow::use_alternate_stack(&mut action);
        // SAFETY: the action is the one in force, but for a flag and a mask that any handler can do with.
        unsafe { libc::sigaction(kind.as_raw(), &action, ptr::null_mut()) };
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            // Returns when no handler uses the mailbox.
            signal_hook_registry::unregister(id);
        }
    }
}

impl Iterator for Signals {
    type Item = io::Result<SignalKind>;

    fn next(&mut self) -> Option<io::Result<SignalKind>> {
        Some(self.recv())
    }
}

impl Iterator for &Signals {
    type Item = io::Result<SignalKind>;

    fn next(&mut self) -> Option<io::Result<SignalKind>> {
        Some(self.recv())
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.mailbox.kinds.iter().map(|(kind, _)| kind);
        f.debug_tuple("Signals")
            .field(&kinds.collect::<Vec<_>>())
            .finish()
    }
}

impl sealed::Sealed for Signals {
    #[allow(private_interfaces, reason = "nobody else can call it")]
    fn source(&self) -> &dyn Pollable {
        &self.source
    }
}

impl net::Socket for Signals {}

// Who is listed as waiting is struck off when it unwinds.
impl UnwindSafe for Signals {}
impl RefUnwindSafe for Signals {}
