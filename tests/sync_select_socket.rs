//! `select!` over the readiness of sockets.
#![cfg(feature = "runtime")]

mod util;

use std::io::{Read, Write};
use std::time::Duration;

use corde::net::{TcpListener, TcpStream};
use corde::select;
use corde::sync::channel::{after, never};
use rstest::rstest;
use util::LIMIT;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Runs `f` on an OS thread, or on a green one.
fn on(green: bool, f: impl FnOnce() + Send) {
    if green { corde::run(f) } else { f() }
}

#[rstest]
#[timeout(LIMIT)]
fn a_socket_is_selected_when_there_is_something_to_read(#[values(false, true)] green: bool) {
    on(green, || {
        let (mut near, mut far) = pair();
        for round in 0..3 {
            let late = after(Duration::from_millis(2));
            let idle = select! {
                readable(near) => false,
                recv(late) -> _ => true,
            };
            assert!(idle, "nothing has come");
            let sender = corde::go!({
                far.write_all(&[round]).unwrap();
                far
            });
            select! {
                readable(near) => {}
                recv(never::<()>()) -> _ => unreachable!(),
            }
            let mut byte = [9];
            near.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [round]);
            far = sender.join().unwrap();
        }
    });
}

#[rstest]
#[timeout(LIMIT)]
fn what_is_left_unread_is_selected_again(#[values(false, true)] green: bool) {
    on(green, || {
        let (mut near, mut far) = pair();
        far.write_all(b"ab").unwrap();
        for expected in *b"ab" {
            select! { readable(near) => {} }
            let mut byte = [0];
            near.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [expected]);
        }
        drop(far);
        select! { readable(&near) => {} }
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_full_socket_is_selected_for_writing_when_it_is_read(#[values(false, true)] green: bool) {
    on(green, || {
        let (mut near, mut far) = pair();
        let mut written = 0;
        loop {
            let full = select! {
                writable(near) => false,
                default(Duration::from_millis(20)) => true,
            };
            if full {
                break;
            }
            written += near.write(&[0; 65536]).unwrap();
        }
        let reader = corde::go!({
            let mut buffer = vec![0; written];
            far.read_exact(&mut buffer).unwrap();
            far
        });
        select! { writable(near) => {} }
        assert!(near.write(&[0]).unwrap() == 1);
        drop(reader.join());
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_listener_is_selected_when_somebody_connects(#[values(false, true)] green: bool) {
    on(green, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connected = corde::go!({ TcpStream::connect(address).unwrap() });
        select! { readable(listener) => {} }
        listener.accept().unwrap();
        connected.join().unwrap();
    });
}

#[rstest]
#[timeout(LIMIT)]
fn it_waits_for_several_sockets_at_once() {
    corde::run(|| {
        let (one, mut other_of_one) = pair();
        let (two, mut other_of_two) = pair();
        for round in 0..20 {
            let which = if round % 2 == 0 {
                &mut other_of_one
            } else {
                &mut other_of_two
            };
            which.write_all(b"x").unwrap();
            let got = select! {
                readable(one) => { (&one).read_exact(&mut [0]).unwrap(); 0 }
                readable(two) => { (&two).read_exact(&mut [0]).unwrap(); 1 }
            };
            assert_eq!(got, round % 2);
        }
    });
}
