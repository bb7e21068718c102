//! Names and addresses: what `connect` and `bind` take.

use std::io;
use std::iter;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::option;
use std::panic::resume_unwind;
use std::slice;
use std::vec;

use crate::runtime::worker;
use crate::thread::{Cancelled, blocking, spawn_blocking};

/// What is, or can be resolved to, socket addresses; as [`std::net::ToSocketAddrs`], for the same types.
///
/// Addresses, and strings that spell one, are taken as they are. A host name is looked up by the system (`getaddrinfo`: `/etc/hosts`, DNS, and
/// whatever else it is set up for), which blocks an OS thread: on a green thread that is one of those for
/// [blocking closures](crate::thread::blocking()), and the green thread is suspended meanwhile; an OS thread does it itself, as with std.
///
/// How long a look-up takes is up to the system: with servers that do not answer half a minute is usual.
/// [`time::timeout`](crate::time::timeout) bounds the wait.
///
/// # Cancellation
///
/// A green thread that is cancelled, or whose time is over, leaves at once. The look-up that nobody waits for any more goes on to its end, on
/// its OS thread.
///
/// # Examples
///
/// ```
/// use corde::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
///
/// corde::run(|| -> std::io::Result<()> {
///     let expected = SocketAddr::from(([127, 0, 0, 1], 443));
///     assert!("localhost:443".to_socket_addrs()?.any(|address| address == expected));
///     assert!("127.0.0.1:443".to_socket_addrs()?.eq([expected]));
///     assert!((Ipv4Addr::LOCALHOST, 443).to_socket_addrs()?.eq([expected]));
///
///     let no_port = "localhost".to_socket_addrs().unwrap_err();
///     assert_eq!(no_port.kind(), std::io::ErrorKind::InvalidInput);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Giving up after a while:
///
/// ```
/// use corde::net::TcpStream;
/// use corde::time::timeout;
/// use std::time::Duration;
///
/// corde::run(|| match timeout(Duration::from_secs(1), || TcpStream::connect("localhost:1")) {
///     Ok(connected) => assert!(connected.is_err(), "nobody listens there"),
///     Err(_elapsed) => println!("looking up or connecting takes too long"),
/// });
/// ```
pub trait ToSocketAddrs {
    /// The addresses.
    type Iter: Iterator<Item = SocketAddr>;

    /// Returns the addresses; there may be none.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a string that is no address and has no port at its end; and those of the look-up.
    ///
    /// # Examples
    ///
    /// ```
    /// use corde::net::ToSocketAddrs;
    ///
    /// let mut addresses = ("::1", 80).to_socket_addrs()?;
    /// assert_eq!(addresses.next().unwrap().to_string(), "[::1]:80");
    /// assert_eq!(addresses.next(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Addresses that need no look-up.
macro_rules! is_one_address {
    ($($address:ty: $from:expr),* $(,)?) => {
        $(impl ToSocketAddrs for $address {
            type Iter = option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<option::IntoIter<SocketAddr>> {
                Ok(Some($from(*self)).into_iter())
            }
        })*
    };
}

is_one_address! {
    SocketAddr: SocketAddr::from,
    SocketAddrV4: SocketAddr::from,
    SocketAddrV6: SocketAddr::from,
    (IpAddr, u16): SocketAddr::from,
    (Ipv4Addr, u16): SocketAddr::from,
    (Ipv6Addr, u16): SocketAddr::from,
}

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)].into_iter()),
            Err(_) => look_up(host, port),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
        (&*self.0, self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
        if let Ok(address) = self.parse() {
            return Ok(vec![address].into_iter());
        }
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
        let (host, port) = self
            .rsplit_once(':')
            .ok_or_else(|| invalid("invalid socket address"))?;
        let port = port.parse().map_err(|_| invalid("invalid port value"))?;
        look_up(host, port)
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
        (**self).to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Cloned<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<T::Iter> {
        (**self).to_socket_addrs()
    }
}

/// Looks a host up: a function for [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs), as Tokio has it. The host goes with a port, which the
/// addresses get; 0 will do where that is of no interest.
///
/// # Errors
///
/// Those of [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs).
///
/// # Cancellation
///
/// A green thread that is cancelled, or whose time is over, leaves at once.
///
/// # Examples
///
/// ```
/// use corde::net::lookup_host;
///
/// corde::run(|| -> std::io::Result<()> {
///     let mut addresses = lookup_host(("localhost", 0))?;
///     assert!(addresses.any(|address| address.ip().is_loopback()));
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lookup_host<A: ToSocketAddrs>(host: A) -> io::Result<impl Iterator<Item = SocketAddr>> {
    host.to_socket_addrs()
}

/// Has the system look a name up.
fn look_up(host: &str, port: u16) -> io::Result<vec::IntoIter<SocketAddr>> {
    if worker::current_green().is_none() {
        return net::ToSocketAddrs::to_socket_addrs(&(host, port));
    }
    let host = host.to_owned();
    abandonable(move || net::ToSocketAddrs::to_socket_addrs(&(&*host, port)))
}

/// Runs `f` on an OS thread for blocking closures while the calling green thread waits, which leaves at once when it is interrupted.
fn abandonable<T, F>(f: F) -> T
where
    F: Fn() -> T + Clone + Send + 'static,
    T: Send + 'static,
{
    let result = spawn_blocking(f.clone()).join();
    result.unwrap_or_else(|payload| match payload.is::<Cancelled>() {
        // The runtime ends, and takes nothing that is not waited for. So this either unwinds, or waits, in a destructor.
        true => blocking(f),
        false => resume_unwind(payload),
    })
}

/// Calls `each` with one address after the other until one works; as std does, with std's error for no address.
///
/// # Errors
/// That of the last address, or of the look-up.
pub(super) fn first_of<A: ToSocketAddrs, T>(
    addresses: A,
    mut each: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses.to_socket_addrs()? {
        match each(address) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "could not resolve to any addresses",
        )
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// What a name server that does not answer is like.
    #[test]
    fn who_is_interrupted_leaves_a_look_up_that_goes_on() {
        let answered = Arc::new(AtomicBool::new(false));
        let theirs = answered.clone();
        let (done, ended) = std::sync::mpsc::channel();
        crate::run(|| {
            let looked_up = crate::time::timeout(Duration::from_millis(1), || {
                abandonable(move || {
                    while !theirs.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    done.send(())
                })
            });
            assert!(looked_up.is_err(), "nobody has answered");
            answered.store(true, Ordering::Relaxed);
        });
        ended.recv().expect("it has gone on to its end");
    }
}
