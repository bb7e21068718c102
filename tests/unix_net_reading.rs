//! `corde::os::unix::net`: a read that gets less than it asked for has left nothing, or else the next one does not wait; descriptors.
#![cfg(feature = "runtime")]

mod util;

use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net as std_net;
use std::process;

use corde::os::unix::net::UnixStream;
use corde::runtime::LocalRuntime;
use corde::select;
use corde::sync::channel::never;
use corde::thread::{self, spawn_local, yield_now};
use rstest::rstest;
use util::LIMIT;
use util::threads::Kind;

/// More buffers than the system takes at once: the rest is not thought to be read.
#[test]
fn a_read_into_very_many_buffers_leaves_what_it_has_not_read() {
    LocalRuntime::new().unwrap().block_on(|| {
        let (near, mut far) = registered_pair();
        far.write_all(&[7; 3000]).unwrap();
        let mut bytes = [0; 3000];
        let mut bufs: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
        let mut count = 0;
        while count < 3000 {
            count += (&near).read_vectored(&mut bufs[count..]).unwrap();
        }
        assert_eq!(bytes, [7; 3000]);
    });
}

/// A pair whose first is registered with the reactor, by a read that had to wait.
fn registered_pair() -> (UnixStream, std_net::UnixStream) {
    let (near, far) = std_net::UnixStream::pair().unwrap();
    let near = UnixStream::from(near);
    register(&near, &far);
    (near, far)
}

fn register(near: &UnixStream, far: &std_net::UnixStream) {
    let mut far = far.try_clone().unwrap();
    let writer = spawn_local(move || far.write_all(b"first").unwrap());
    let mut buffer = [0; 100];
    assert_eq!({ near }.read(&mut buffer).unwrap(), 5);
    writer.join().unwrap();
}

fn read(mut stream: &UnixStream) -> Vec<u8> {
    let mut buffer = [0; 100];
    let count = stream.read(&mut buffer).unwrap();
    buffer[..count].to_vec()
}

/// One descriptor, in a control message of the layout that the system wants.
#[repr(C)]
struct Rights {
    header: libc::cmsghdr,
    fd: RawFd,
}

fn send_with_fd(stream: &std_net::UnixStream, data: &[u8], fd: RawFd) {
    let mut rights = MaybeUninit::<[Rights; 2]>::zeroed();
    let mut iov = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let mut message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: plain data, for which zero is valid.
    let message = unsafe { message.assume_init_mut() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = rights.as_mut_ptr().cast();
    // SAFETY: no more than arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    let header = rights.as_mut_ptr().cast::<libc::cmsghdr>();
    // SAFETY: there is room.
    let header = unsafe { &mut *header };
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: no more than arithmetic.
    header.cmsg_len = unsafe { libc::CMSG_LEN(4) } as _;
    // SAFETY: the message has room for one descriptor.
    let place = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: as above.
    unsafe { place.cast::<RawFd>().write_unaligned(fd) };
    // SAFETY: the message and all that it points to are valid.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), message, 0) };
    assert_eq!(sent, isize::try_from(data.len()).unwrap());
}

/// macOS has no such flag.
#[cfg(target_os = "macos")]
const CLOSE_ON_EXEC: std::ffi::c_int = 0;
#[cfg(not(target_os = "macos"))]
const CLOSE_ON_EXEC: std::ffi::c_int = libc::MSG_CMSG_CLOEXEC;

/// Receives one descriptor, if there is one with the data; without waiting.
fn receive_fd(socket: &impl AsFd, data: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut rights = MaybeUninit::<[Rights; 2]>::zeroed();
    let mut iov = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    let mut message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: plain data, for which zero is valid.
    let message = unsafe { message.assume_init_mut() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = rights.as_mut_ptr().cast();
    // SAFETY: no more than arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the message and all that it points to are valid.
    let count = unsafe { libc::recvmsg(fd, message, CLOSE_ON_EXEC) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the system has filled the message.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    if header.is_null() {
        return Ok((count, None));
    }
    // SAFETY: there is one, with one descriptor.
    let place = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: as above.
    let fd = unsafe { place.cast::<RawFd>().read_unaligned() };
    // SAFETY: the descriptor is new.
    Ok((count, Some(unsafe { OwnedFd::from_raw_fd(fd) })))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_passcred(socket: &impl AsFd) {
    let on: libc::c_int = 1;
    // SAFETY: the pointer is valid for that length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            size_of::<libc::c_int>().try_into().unwrap(),
        )
    };
    assert_eq!(result, 0);
}

/// What is behind a message that ends a read is read at once: no event tells of it.
#[rstest]
#[case::descriptors_in_front(&["fd 1", "data"])]
#[case::descriptors_behind(&["data", "fd 1"])]
#[case::descriptors_of_two(&["fd 1", "fd 2", "data"])]
#[case::urgent(&["data", "urgent", "data"])]
#[case::nothing_special(&["data", "data"])]
#[timeout(LIMIT)]
fn what_is_behind_the_end_of_a_read_is_read(
    #[case] messages: &'static [&'static str],
    #[values(false, true)] passcred: bool,
) {
    LocalRuntime::new().unwrap().block_on(|| {
        let (near, mut far) = registered_pair();
        if passcred {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            set_passcred(&near);
        }
        for _ in 0..3 {
            for message in messages {
                match *message {
                    "data" => far.write_all(b"data").unwrap(),
                    "urgent" => {
                        let (fd, byte) = (far.as_raw_fd(), b"!".as_ptr().cast());
                        // SAFETY: one byte of a constant. Some systems have no urgent data here.
                        unsafe { libc::send(fd, byte, 1, libc::MSG_OOB) };
                    }
                    fd => send_with_fd(&far, fd.as_bytes(), 0),
                }
            }
            // All events there will be are told before the first read.
            (0..600).for_each(|_| yield_now());
            let ordinary = messages.iter().filter(|message| **message != "urgent");
            let expected: Vec<u8> = ordinary.flat_map(|it| it.bytes()).collect();
            let mut all = Vec::new();
            while all.len() < expected.len() {
                all.extend(read(&near));
            }
            assert_eq!(all, expected);
        }
        drop(far);
        assert_eq!(read(&near), b"");
    });
}

/// With credentials asked for, a read ends where these change; a child has others.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[rstest]
#[timeout(LIMIT)]
fn what_another_process_has_written_is_read() {
    LocalRuntime::new().unwrap().block_on(|| {
        let (near, mut far) = registered_pair();
        set_passcred(&near);
        far.write_all(b"mine").unwrap();
        let theirs = far.try_clone().unwrap();
        let child = process::Command::new("sh")
            .args(["-c", "printf theirs"])
            .stdout(OwnedFd::from(theirs))
            .status();
        assert!(child.unwrap().success());
        (0..600).for_each(|_| yield_now());
        let mut all = Vec::new();
        while all.len() < 10 {
            all.extend(read(&near));
        }
        assert_eq!(all, b"minetheirs");
    });
}

#[test]
fn what_comes_after_a_short_read_is_read() {
    LocalRuntime::new().unwrap().block_on(|| {
        let (near, mut far) = registered_pair();
        for round in 0..100 {
            far.write_all(&[round; 10]).unwrap();
            assert_eq!(read(&near), [round; 10]);
        }
        far.write_all(b"last").unwrap();
        drop(far);
        assert_eq!(read(&near), b"last");
        assert_eq!(read(&near), b"");
        assert_eq!(read(&near), b"");
    });
}

#[test]
fn an_end_that_resets_is_an_error_after_a_short_read() {
    LocalRuntime::new().unwrap().block_on(|| {
        let (near, mut far) = registered_pair();
        far.write_all(b"data").unwrap();
        { &near }.write_all(b"unread").unwrap();
        assert_eq!(read(&near), b"data");
        drop(far);
        let error = { &near }.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_descriptor_can_be_received_by_a_call_of_ones_own(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let (near, far) = UnixStream::pair().unwrap();
        let sender = thread::spawn(move || {
            let (theirs, mut mine) = UnixStream::pair().unwrap();
            let far = std_net::UnixStream::from(far);
            send_with_fd(&far, b"take it", theirs.as_raw_fd());
            drop(theirs);
            mine.write_all(b"through it").unwrap();
        });
        let mut data = [0; 7];
        let (count, fd) = loop {
            match receive_fd(&near, &mut data) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => select! {
                    readable(near) => {}
                    recv(never::<()>()) -> _ => unreachable!(),
                },
                done => break done.unwrap(),
            }
        };
        assert_eq!(&data[..count], b"take it");
        let mut text = String::new();
        UnixStream::from(fd.unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "through it");
        sender.join().unwrap();
    });
}
