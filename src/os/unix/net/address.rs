//! Addresses that are not made by std.

use std::io;
use std::os::unix::net::SocketAddr;

/// The address of a socket without a name.
///
/// # Errors
/// None: an empty path is how std makes it.
pub(super) fn unnamed() -> io::Result<SocketAddr> {
    SocketAddr::from_pathname("")
}
