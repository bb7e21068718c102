//! As [`std::os::android`].

/// What sockets have on this system alone; as [`std::os::android::net`].
pub mod net {
    pub use std::os::android::net::SocketAddrExt;

    pub use crate::net::tcp_linux::TcpStreamExt;
}
