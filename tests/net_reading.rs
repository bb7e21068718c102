//! Reads that get less than they asked for: the next one waits without trying, and yet misses nothing that no event tells of again.
#![cfg(feature = "runtime")]

mod util;

use std::io::{ErrorKind, Read, Write};
use std::net as std_net;
use std::os::fd::AsRawFd;

use corde::net::TcpStream;
use corde::runtime::LocalRuntime;
use corde::thread::{spawn_local, yield_now};
use rstest::rstest;
use util::net::{reset, std_pair, wait_for_hangup};

/// A connection with one end of corde, on a runtime of its own.
fn with_pair(f: impl FnOnce(TcpStream, std_net::TcpStream)) {
    LocalRuntime::new().unwrap().block_on(|| {
        let (near, far) = std_pair();
        f(near.into(), far);
    });
}

/// Reads once, with much room.
fn read(mut stream: &TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut buffer = [0; 1000];
    let count = stream.read(&mut buffer).map_err(|error| error.kind())?;
    Ok(buffer[..count].to_vec())
}

/// Registers the socket with the reactor, by a read that has to wait.
fn register(stream: &TcpStream, far: &mut std_net::TcpStream) {
    let mut far = far.try_clone().unwrap();
    let writer = spawn_local(move || far.write_all(b"first").unwrap());
    assert_eq!(read(stream).unwrap(), b"first");
    writer.join().unwrap();
}

#[test]
fn what_comes_after_a_short_read_is_read() {
    with_pair(|near, mut far| {
        register(&near, &mut far);
        for round in 0..100_u8 {
            far.write_all(&[round; 10]).unwrap();
            assert_eq!(read(&near).unwrap(), [round; 10]);
        }
    });
}

#[rstest]
#[case::unregistered(false)]
#[case::registered(true)]
fn the_end_that_came_together_with_the_data_is_seen_after_it(#[case] registered: bool) {
    with_pair(|near, mut far| {
        if registered {
            register(&near, &mut far);
        }
        far.write_all(b"last").unwrap();
        drop(far);
        wait_for_hangup(&near);
        // The event of the end may be told before the data is read, or after.
        yield_now();
        assert_eq!(read(&near).unwrap(), b"last");
        assert_eq!(read(&near).unwrap(), b"");
        assert_eq!(read(&near).unwrap(), b"");
    });
}

#[test]
fn the_end_that_was_told_before_the_data_was_read_is_seen_after_it() {
    with_pair(|near, mut far| {
        register(&near, &mut far);
        far.write_all(b"last").unwrap();
        drop(far);
        wait_for_hangup(&near);
        // The worker looks at its sockets every 256 turns.
        (0..600).for_each(|_| yield_now());
        assert_eq!(read(&near).unwrap(), b"last");
        assert_eq!(read(&near).unwrap(), b"");
    });
}

#[test]
fn a_reset_after_a_short_read_is_an_error() {
    with_pair(|near, mut far| {
        register(&near, &mut far);
        far.write_all(b"data").unwrap();
        assert_eq!(read(&near).unwrap(), b"data");
        reset(&far);
        drop(far);
        assert_eq!(read(&near).unwrap_err(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn data_behind_urgent_data_is_read() {
    with_pair(|near, mut far| {
        register(&near, &mut far);
        far.write_all(b"before").unwrap();
        // SAFETY: one byte of a constant.
        let sent = unsafe { libc::send(far.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        far.write_all(b"behind").unwrap();
        let mut all = Vec::new();
        while all.len() < 12 {
            // A read stops at the mark, though there is more.
            all.extend(read(&near).unwrap());
        }
        assert_eq!(all, b"beforebehind");
    });
}

#[test]
fn an_os_thread_reads_what_came_after_a_short_read_of_a_green_one() {
    with_pair(|near, mut far| {
        register(&near, &mut far);
        far.write_all(b"one").unwrap();
        assert_eq!(read(&near).unwrap(), b"one");
        far.write_all(b"two").unwrap();
        // The only worker waits here, and tells of no event meanwhile.
        let read = std::thread::spawn(move || read(&near).unwrap());
        assert_eq!(read.join().unwrap(), b"two");
    });
}

#[test]
fn vectored_reads_count_all_their_buffers() {
    with_pair(|near, mut far| {
        register(&near, &mut far);
        far.write_all(b"0123456789").unwrap();
        let (mut first, mut second) = ([0; 4], [0; 4]);
        let mut buffers = [
            std::io::IoSliceMut::new(&mut first),
            std::io::IoSliceMut::new(&mut second),
        ];
        assert_eq!((&near).read_vectored(&mut buffers).unwrap(), 8);
        assert_eq!(read(&near).unwrap(), b"89");
    });
}

#[test]
fn a_read_into_more_buffers_than_a_system_takes_does_not_count_as_short() {
    with_pair(|near, mut far| {
        register(&near, &mut far);
        far.write_all(&[7; 3000]).unwrap();
        let mut bytes = [0; 3000];
        let mut left = 3000;
        while left > 0 {
            let parts = bytes[..left].chunks_mut(1);
            let mut buffers: Vec<_> = parts.map(std::io::IoSliceMut::new).collect();
            left -= (&near).read_vectored(&mut buffers).unwrap();
        }
    });
}
