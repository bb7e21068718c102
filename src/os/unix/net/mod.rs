//! Unix domain sockets, with the names and the manners of [`std::os::unix::net`].
//!
//! Reading, writing, accepting and connecting suspend the calling green thread where std would block the OS thread; a plain OS thread blocks
//! as with std. Down from here: `reactor`.
//!
//! # Waiting for what no event tells of
//!
//! The system tells when a socket can be read or written, but not when *another* socket has room: for a connection, where the queue of a
//! listener is full ([`UnixStream::connect`]), or for a datagram that is sent to an address ([`UnixDatagram::send_to`]). Linux answers
//! "try again", and so it is tried again, after pauses that grow from a tenth of a millisecond to 20. Other threads run in between.
//! Those who wait in this way have no order among each other; the threads of a blocking program have one.
//! (A datagram socket that is [connected](UnixDatagram::connect) is told, and [`send`](UnixDatagram::send) waits for that.)
//!
//! # Passing descriptors
//!
//! std has not stabilised control messages (`SocketAncillary`), so they are not here. They can be sent and received by other means, such as
//! `sendmsg` and `recvmsg` in `libc`, on the [descriptor](std::os::fd::AsFd), which is non-blocking: where such a call
//! would block, `select! { readable(socket) => .. }` waits until it can be repeated; see [`select!`](crate::select).
//! As with std, a plain read takes the bytes that came with a control message, and drops the message.
//!
//! # Examples
//!
//! ```
//! use std::io::{Read, Write};
//! use corde::os::unix::net::UnixStream;
//!
//! corde::run(|| -> std::io::Result<()> {
//!     let (mut near, mut far) = UnixStream::pair()?;
//!     corde::go!({ near.write_all(b"from one green thread") });
//!     let mut text = String::new();
//!     far.read_to_string(&mut text)?;
//!     assert_eq!(text, "from one green thread");
//!     Ok(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod address;
mod datagram;
mod listener;
mod pauses;
mod peek;
mod stream;
mod sys;
mod ucred;

pub use std::os::unix::net::SocketAddr;

pub use datagram::UnixDatagram;
pub use listener::{Incoming, UnixListener};
pub use stream::UnixStream;
pub use ucred::UCred;
