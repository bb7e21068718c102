//! Stackful green threads: plain blocking Rust, without `async`, on few OS threads.
//!
//! A green thread runs on a stack of its own, in guarded, memory-mapped memory, and is switched by hand-written assembly. Where
//! `std` would block the OS thread (reading a socket, joining, sleeping) corde suspends the green thread, and
//! the OS thread runs others. Names, signatures and errors are those of `std`: porting is mostly replacing `std::` by
//! `corde::`.
//!
#![cfg_attr(feature = "runtime", doc = "```")]
#![cfg_attr(not(feature = "runtime"), doc = "```ignore")]
//! use std::io::{Read, Write};
//! use corde::{go, net::{TcpListener, TcpStream}};
//!
//! corde::run(|| -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     go!({ listener.accept()?.0.write_all(b"hello") });
//!     let mut greeting = String::new();
//!     TcpStream::connect(address)?.read_to_string(&mut greeting)?;
//!     assert_eq!(greeting, "hello");
//!     Ok(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Where to find it
//!
//! | you look for | read |
//! | --- | --- |
//! | starting: [`run`], [`go!`](go) | `thread/mod.rs`, `macros.rs` |
//! | green threads and their handles, cancelling them | [`thread`] |
//! | several things at once: [`join!`](join), [`try_join!`](try_join); many of them, some at a time | [`thread::map`](thread::map()) |
//! | values for each thread: [`green_local!`](green_local); values that children inherit | [`thread::Inherited`] |
//! | locks, channels, and other ways of waiting for each other | [`sync`] |
//! | timeouts, intervals | [`time`] |
//! | a runtime with settings of its own, or with an end | [`runtime`] |
//! | sockets | [`net`], [`os::unix::net`] |
//! | files and directories | [`fs`], [`os::unix::fs`] |
//! | child processes | [`process`], [`os::unix::process`] |
//! | signals: Ctrl-C and others | [`signal`] |
//! | pipes, other file descriptors, standard input and output | [`io`] |
//! | who waits for a socket, and epoll, kqueue | `reactor/` |
//! | what runs next; parking, waking, interrupting | `runtime/`, and the README there |
//! | generators and other coroutines, without the scheduler | [`coroutine`] |
//! | stacks: sizes, guards, overflow | [`stack`] |
//! | the switch | `arch/`, `asm/` |
//!
//! A `read` on a [`net::TcpStream`] goes down through `reactor::Source::retry`, `runtime::park`, `Task::suspend` and
//! `Yielder::suspend` to `asm/`.
//!
//! # Platforms
//!
//! | target | coroutines and stacks | green threads and sockets |
//! | --- | --- | --- |
//! | x86_64 Linux | tested | tested |
//! | aarch64 Linux | tested under emulation | tested under emulation |
//! | x86_64 and aarch64 macOS, x86_64 FreeBSD | assembled, type-checked, linked; not run | the same; the kqueue backend is run on Linux, against libkqueue |
//! | others | a build error | a build error |
//!
//! # Features
//!
//! | feature | what it is |
//! | --- | --- |
//! | `runtime` (default) | everything but [`coroutine`] and [`stack`], which stand alone without it |
//! | `futures-core` | [`coroutine::AsyncGenerator`] is a `Stream` |
//! | `backtrace` | functions and lines instead of addresses in the report of a stuck worker |
//! | `asan`, `tsan` | tell AddressSanitizer, ThreadSanitizer of stack switches: for builds with that sanitizer alone |
//!
//! # Hazards
//!
//! What green threads make different is told in [`thread`], under "What to watch".
#![warn(missing_debug_implementations)]
// Without the runtime this page still tells of it; the links would lead nowhere.
#![cfg_attr(not(feature = "runtime"), allow(rustdoc::broken_intra_doc_links))]

mod arch;
pub mod coroutine;
mod report;
pub mod stack;

#[cfg(feature = "runtime")]
mod reactor;
#[cfg(feature = "runtime")]
pub mod runtime;

#[cfg(feature = "runtime")]
pub mod fs;
#[cfg(feature = "runtime")]
pub mod io;
#[cfg(feature = "runtime")]
pub mod net;
#[cfg(feature = "runtime")]
pub mod os;
#[cfg(feature = "runtime")]
pub mod process;
#[cfg(feature = "runtime")]
pub mod signal;
#[cfg(feature = "runtime")]
pub mod sync;
#[cfg(feature = "runtime")]
pub mod thread;
#[cfg(feature = "runtime")]
pub mod time;

#[cfg(feature = "runtime")]
#[macro_use]
mod macros;

pub use coroutine::generator;
#[cfg(feature = "runtime")]
pub use thread::run;

/// Compiles the example of the README.
#[cfg(all(doctest, feature = "runtime"))]
#[doc = include_str!("../README.md")]
struct Readme;
