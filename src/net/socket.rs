//! What all sockets share with those of std: conversions, file descriptors, `Debug`, settings of the handle, `select!`.

/// For a type with a field `source: Source<$std>`: everything that does not depend on what kind of socket it is.
macro_rules! like_std {
    ($socket:ident, $std:ty) => {
        impl $socket {
            fn std(&self) -> &$std {
                self.source.get()
            }

            /// Sets whether calls that would wait answer [`WouldBlock`](std::io::ErrorKind::WouldBlock) at once instead; as with std, for all
            /// handles to this socket.
            ///
            /// The descriptor itself is non-blocking in any case: that is how a green thread finds out that it has to wait.
            ///
            /// # Errors
            ///
            /// None; std's may fail.
            ///
            /// # Examples
            ///
            /// As for all sockets:
            ///
            /// ```
            /// use corde::net::UdpSocket;
            ///
            /// let socket = UdpSocket::bind("127.0.0.1:0")?;
            /// socket.set_nonblocking(true)?;
            /// let error = socket.recv(&mut [0]).unwrap_err();
            /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.source.set_nonblocking(nonblocking);
                Ok(())
            }
        }

        /// Takes over a socket of std, and sets it to non-blocking, as well as all duplicates of its descriptor.
        ///
        /// # Panics
        ///
        /// If the system refuses that, which it has no reason to.
        impl From<$std> for $socket {
            fn from(socket: $std) -> $socket {
                let set = socket.set_nonblocking(true);
                set.expect("an open socket can be set to non-blocking");
                $socket {
                    // Nobody knows whether there are duplicates.
                    source: $crate::reactor::Source::new_shared(socket),
                }
            }
        }

        /// Gives the socket up to std, set back to blocking: so should be the only handle to it, as others would block a worker.
        ///
        /// # Panics
        ///
        /// If the system refuses that, which it has no reason to.
        impl From<$socket> for $std {
            fn from(socket: $socket) -> $std {
                let socket = socket.source.into_inner();
                let set = socket.set_nonblocking(false);
                set.expect("an open socket can be set to blocking");
                socket
            }
        }

        /// Gives the descriptor up, set back to blocking, as for std's socket.
        impl From<$socket> for std::os::fd::OwnedFd {
            fn from(socket: $socket) -> std::os::fd::OwnedFd {
                <$std>::from(socket).into()
            }
        }

        /// Takes over a descriptor, which has to be that of such a socket, as for std's.
        impl From<std::os::fd::OwnedFd> for $socket {
            fn from(fd: std::os::fd::OwnedFd) -> $socket {
                <$std>::from(fd).into()
            }
        }

        impl std::os::fd::AsFd for $socket {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(self.std())
            }
        }

        impl std::os::fd::AsRawFd for $socket {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(self.std())
            }
        }

        impl std::os::fd::IntoRawFd for $socket {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::IntoRawFd::into_raw_fd(std::os::fd::OwnedFd::from(self))
            }
        }

        impl std::os::fd::FromRawFd for $socket {
            unsafe fn from_raw_fd(fd: std::os::fd::RawFd) -> $socket {
                // SAFETY: the caller's promise.
                unsafe { <$std>::from_raw_fd(fd) }.into()
            }
        }

        impl std::fmt::Debug for $socket {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.std().fmt(f)
            }
        }

        impl $crate::net::sealed::Sealed for $socket {
            #[allow(private_interfaces, reason = "nobody else can call it")]
            fn source(&self) -> &dyn $crate::reactor::Pollable {
                &self.source
            }
        }

        impl $crate::net::Socket for $socket {}
    };
}

/// For a socket that data goes through: for how long reading and writing may wait.
macro_rules! timeouts {
    ($socket:ident) => {
        impl $socket {
            /// Sets for how long reading may wait; `None` is for ever. After that it ends with [`WouldBlock`](std::io::ErrorKind::WouldBlock), as std's
            /// does on Unix. All handles to this socket share the timeout.
            ///
            /// For a time limit of several calls together there is [`time::timeout`](crate::time::timeout).
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](std::io::ErrorKind::InvalidInput), if the timeout is 0.
            ///
            /// # Examples
            ///
            /// As for all sockets:
            ///
            /// ```
            /// use std::time::Duration;
            /// use corde::net::UdpSocket;
            ///
            /// let socket = UdpSocket::bind("127.0.0.1:0")?;
            /// socket.set_read_timeout(Some(Duration::from_millis(1)))?;
            /// let error = socket.recv(&mut [0]).unwrap_err();
            /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn set_read_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                let direction = $crate::reactor::Direction::Read;
                self.source.set_timeout(direction, timeout)
            }

            /// Sets for how long writing may wait; `None` is for ever. After that it ends with [`WouldBlock`](std::io::ErrorKind::WouldBlock), as std's
            /// does on Unix. All handles to this socket share the timeout.
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](std::io::ErrorKind::InvalidInput), if the timeout is 0.
            ///
            /// # Examples
            ///
            /// As for all sockets:
            ///
            /// ```
            /// use std::time::Duration;
            /// use corde::net::UdpSocket;
            ///
            /// let socket = UdpSocket::bind("127.0.0.1:0")?;
            /// let error = socket.set_write_timeout(Some(Duration::ZERO)).unwrap_err();
            /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn set_write_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                let direction = $crate::reactor::Direction::Write;
                self.source.set_timeout(direction, timeout)
            }

            /// Returns for how long reading may wait.
            ///
            /// # Errors
            ///
            /// None; std's may fail.
            ///
            /// # Examples
            ///
            /// As for all sockets:
            ///
            /// ```
            /// use std::time::Duration;
            /// use corde::net::UdpSocket;
            ///
            /// let socket = UdpSocket::bind("127.0.0.1:0")?;
            /// let timeout = Some(Duration::from_secs(1));
            /// socket.set_read_timeout(timeout)?;
            /// assert_eq!(socket.try_clone()?.read_timeout()?, timeout);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.source.timeout($crate::reactor::Direction::Read))
            }

            /// Returns for how long writing may wait.
            ///
            /// # Errors
            ///
            /// None; std's may fail.
            ///
            /// # Examples
            ///
            /// As for all sockets:
            ///
            /// ```
            /// use std::time::Duration;
            /// use corde::net::UdpSocket;
            ///
            /// let socket = UdpSocket::bind("127.0.0.1:0")?;
            /// let timeout = Some(Duration::from_secs(1));
            /// socket.set_write_timeout(timeout)?;
            /// assert_eq!(socket.try_clone()?.write_timeout()?, timeout);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.source.timeout($crate::reactor::Direction::Write))
            }
        }
    };
}

pub(crate) use {like_std, timeouts};
