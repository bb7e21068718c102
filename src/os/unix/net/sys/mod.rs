//! What Unix systems do differently with Unix domain sockets.
//!
//! A system has, under these names:
//!
//! * `stream_socket()`: a new stream socket, non-blocking and closed on exec;
//! * `accept(listener)`: accepts a connection that is non-blocking and closed on exec, and tells from where;
//! * `receive(stream, bufs)`: reads into the buffers; returns how many bytes, and whether a read that got fewer than it could have has
//!   certainly left nothing behind;
//! * `peer_cred(stream)`: who is at the other end;
//! * `to_raw(address)`, `from_raw(address)`: an address as socket2 has it, and back.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{accept, from_raw, peer_cred, receive, stream_socket, to_raw};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod bsd;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use bsd::{accept, from_raw, peer_cred, receive, stream_socket, to_raw};
