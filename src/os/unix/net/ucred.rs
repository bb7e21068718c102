//! `UCred`.

use libc::{gid_t, pid_t, uid_t};

/// Who is at the other end of a [`UnixStream`](super::UnixStream); as `std::os::unix::net::UCred`, which is not stable yet.
///
/// # Examples
///
/// ```
/// use corde::os::unix::net::UnixStream;
///
/// let (near, far) = UnixStream::pair()?;
/// let cred = near.peer_cred()?;
/// assert_eq!(cred, far.peer_cred()?);
/// assert_eq!(cred.pid.unwrap_or_default() as u32, std::process::id());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UCred {
    /// The effective user id that the other end's process had when it connected, or began to listen.
    pub uid: uid_t,
    /// Its effective group id then.
    pub gid: gid_t,
    /// Its process id; `None` where the system does not tell (FreeBSD).
    pub pid: Option<pid_t>,
}
