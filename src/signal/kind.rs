//! Which signals there are.

use std::ffi::c_int;
use std::fmt;

/// A kind of signal, by its number.
///
/// # Examples
///
/// ```
/// use corde::signal::SignalKind;
///
/// let kind = SignalKind::terminate();
/// assert_eq!(kind, SignalKind::from_raw(15));
/// assert_eq!(format!("{kind:?}"), "SIGTERM");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalKind(c_int);

/// The kinds with a name of their own: the method, the signal, what it tells.
macro_rules! kinds {
    ($($method:ident $signal:ident $meaning:literal)*) => {
        impl SignalKind {
            $(
                #[doc = concat!("`", stringify!($signal), "`: ", $meaning)]
                ///
                /// # Examples
                ///
                /// ```
                #[doc = concat!("let kind = corde::signal::SignalKind::", stringify!($method), "();")]
                #[doc = concat!("assert_eq!(format!(\"{kind:?}\"), \"", stringify!($signal), "\");")]
                /// ```
                #[must_use]
                pub const fn $method() -> SignalKind {
                    SignalKind(libc::$signal)
                }
            )*

            fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(libc::$signal => Some(stringify!($signal)),)*
                    libc::SIGKILL => Some("SIGKILL"),
                    libc::SIGSTOP => Some("SIGSTOP"),
                    libc::SIGSEGV => Some("SIGSEGV"),
                    libc::SIGBUS => Some("SIGBUS"),
                    libc::SIGILL => Some("SIGILL"),
                    libc::SIGFPE => Some("SIGFPE"),
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    alarm SIGALRM "a timer of the process is over."
    child SIGCHLD "a child has ended, stopped or gone on."
    hangup SIGHUP "the terminal is gone; servers read their settings anew."
    interrupt SIGINT "Ctrl-C."
    io SIGIO "a file descriptor has become ready."
    pipe SIGPIPE "nobody reads what was written."
    quit SIGQUIT "Ctrl-\\\\."
    terminate SIGTERM "the process is asked to end."
    user_defined1 SIGUSR1 "what the program says it does."
    user_defined2 SIGUSR2 "what the program says it does."
    window_change SIGWINCH "the terminal has another size."
}

impl SignalKind {
    /// Makes one from the number of a signal, whether or not there is such a signal.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::signal::SignalKind;
    ///
    /// assert_eq!(SignalKind::from_raw(2), SignalKind::interrupt());
    /// ```
    #[must_use]
    pub const fn from_raw(signal: c_int) -> SignalKind {
        SignalKind(signal)
    }

    /// Returns the number.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corde::signal::SignalKind::interrupt().as_raw(), 2);
    /// ```
    #[must_use]
    pub const fn as_raw(self) -> c_int {
        self.0
    }
}

impl fmt::Debug for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl From<c_int> for SignalKind {
    fn from(signal: c_int) -> SignalKind {
        SignalKind(signal)
    }
}

impl From<SignalKind> for c_int {
    fn from(kind: SignalKind) -> c_int {
        kind.0
    }
}
