//! The example `echo`, as a process of its own, driven over std's sockets.
#![cfg(feature = "runtime")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use util::example::{FEW_FILES, Server};
use util::left_out_under_valgrind;

mod util;

static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..30_011).map(|place| (place % 251) as u8).collect());

/// Sends the pattern over and over until no more can be sent, as nobody reads; returns how many bytes that were.
fn send_until_full(mut stream: &TcpStream) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut sent = 0;
    loop {
        match stream.write(&PATTERN[sent % PATTERN.len()..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return sent;
            }
        }
    }
}

/// Sends `message` and checks that it comes back.
#[track_caller]
fn exchange(mut stream: &TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
}

#[test]
fn sends_every_byte_back_and_then_closes() {
    let server = Server::start("echo");
    let message = PATTERN.repeat(100);
    let mut stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    let mut answer = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&message).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut answer).unwrap();
    });
    assert!(answer == message, "the echo differs from the message");
}

#[test]
fn sends_every_byte_back_to_a_client_that_reads_late() {
    let server = Server::start("echo");
    let mut stream = server.connect();
    let sent = send_until_full(&stream);
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), sent);
    for part in answer.chunks(PATTERN.len()) {
        assert!(part == &PATTERN[..part.len()], "the echo differs");
    }
}

#[test]
fn serves_connections_at_the_same_time() {
    let server = Server::start("echo");
    let streams: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for message in [&b"first"[..], b"second"] {
        for stream in streams.iter().rev() {
            exchange(stream, message);
        }
    }
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn ends_cleanly_on_ctrl_c_while_connections_are_open() {
    let mut server = Server::start("echo");
    exchange(&server.connect(), b"closed before");
    let streams = [server.connect(), server.connect()];
    for stream in &streams {
        exchange(stream, b"hello");
    }
    server.interrupt();
    for mut stream in &streams {
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    }
    let summary = server.line();
    assert_eq!(summary, "served 3 connections, 23 bytes");
    server.assert_ends_well();
}

#[test]
#[cfg_attr(
    feature = "tsan",
    ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
)]
fn ends_cleanly_on_ctrl_c_while_a_peer_does_not_read() {
    let mut server = Server::start("echo");
    let stream = server.connect();
    send_until_full(&stream);
    server.interrupt();
    let summary = server.line();
    assert!(summary.starts_with("served 1 connections, "), "{summary}");
    assert_eq!(server.wait().code(), Some(0));
    // The write that did not get on ended before the process did.
    let error = server.error_line();
    assert!(error.starts_with("connection 0: "), "{error}");
}

#[test]
fn outlives_a_connection_that_is_reset() {
    let server = Server::start("echo");
    let reset = server.connect();
    exchange(&reset, b"hello");
    SockRef::from(&reset)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(reset);
    let error = server.error_line();
    assert!(error.starts_with("connection 0: "), "{error}");
    exchange(&server.connect(), b"still there");
}

#[test]
fn goes_on_when_file_descriptors_are_available_again() {
    if left_out_under_valgrind("it accepts, and then closes, what there is no descriptor for") {
        return;
    }
    let server = Server::start_by(FEW_FILES, "echo", &["127.0.0.1:0"]);
    let mut streams: Vec<_> = (0..48).map(|_| server.connect()).collect();
    let error = server.error_line();
    assert!(error.starts_with("cannot accept: "), "{error}");
    exchange(&streams[0], b"served before");
    let last = streams.pop().unwrap();
    drop(streams);
    exchange(&last, b"served now");
}
