//! Stackful green threads.
#![warn(missing_debug_implementations)]

mod arch;
pub mod coroutine;
pub mod stack;

#[cfg(feature = "runtime")]
mod reactor;
#[cfg(feature = "runtime")]
mod runtime;

#[cfg(feature = "runtime")]
pub mod net;
#[cfg(feature = "runtime")]
pub mod thread;

#[cfg(feature = "runtime")]
#[macro_use]
mod macros;

#[cfg(feature = "runtime")]
pub use thread::run;
