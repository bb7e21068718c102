//! As [`std::os::linux`].

/// What sockets have on this system alone; as [`std::os::linux::net`].
pub mod net {
    pub use std::os::linux::net::SocketAddrExt;
}
