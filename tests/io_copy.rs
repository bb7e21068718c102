//! `corde::io`: copying, in one direction and in both.
#![cfg(all(feature = "runtime", target_os = "linux"))]

mod util;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use corde::io::{
    self, HalfClose, Read, Seek, SeekFrom, Write, copy, copy_bidirectional, send_file,
};
use corde::net::{Shutdown, TcpStream};
use corde::{thread, time};
use rstest::{Context, rstest};
use util::fds::{raw_pipe, temporary_file};
use util::net::{pair, reset};
use util::threads::Kind;
use util::{LIMIT, with_workers};

const MUCH: usize = 1 << 20;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

/// Gives at most so many bytes a read, every other read none because of a signal; notes how many are asked for at most.
struct Reader<'a> {
    bytes: &'a [u8],
    step: usize,
    interrupts: bool,
    most: usize,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.interrupts = !self.interrupts;
        if self.interrupts {
            return Err(ErrorKind::Interrupted.into());
        }
        self.most = self.most.max(buf.len());
        let len = self.step.min(buf.len());
        self.bytes.read(&mut buf[..len])
    }
}

#[rstest]
#[case::nothing(0, 100, 8 << 10)]
#[case::little(100, 100, 8 << 10)]
#[case::much_in_small_parts(MUCH, 1000, 8 << 10)]
#[case::much_at_once(MUCH, usize::MAX, 64 << 10)]
fn everything_is_copied(#[case] len: usize, #[case] step: usize, #[case] buffer: usize) {
    let bytes = pattern(len);
    let mut reader = Reader {
        bytes: &bytes,
        step,
        interrupts: false,
        most: 0,
    };
    let mut written = Vec::new();
    assert_eq!(copy(&mut reader, &mut written).unwrap(), len as u64);
    assert!(written == bytes);
    assert_eq!(reader.most, buffer);
}

/// The signature is that of std.
#[test]
fn trait_objects_are_copied() {
    let mut bytes = &b"dyn"[..];
    let mut written = Vec::new();
    let (reader, writer): (&mut dyn Read, &mut dyn Write) = (&mut bytes, &mut written);
    // As with `std::io::copy::<dyn Read, dyn Write>`.
    assert_eq!(copy::<dyn Read, dyn Write>(reader, writer).unwrap(), 3);
    assert_eq!(written, b"dyn");
}

#[test]
fn errors_end_it() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::ConnectionReset.into())
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let read = copy(&mut Broken, &mut io::sink()).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::ConnectionReset);
    let written = copy(&mut &b"x"[..], &mut Broken).unwrap_err();
    assert_eq!(written.kind(), ErrorKind::BrokenPipe);
}

#[rstest]
#[timeout(LIMIT)]
fn streams_are_copied_to_the_end(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (mut near, mut far) = pair();
    let (mut reader, mut writer) = io::pipe().unwrap();
    let writing = thread::spawn(move || near.write_all(&pattern(MUCH)).unwrap());
    let copying = kind.spawn(move || copy(&mut far, &mut writer).unwrap());
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == pattern(MUCH));
    assert_eq!(copying.join(), MUCH as u64);
    writing.join().unwrap();
}

/// A client, a server, and what copies between them, on a thread of this kind.
fn proxied(kind: Kind) -> (TcpStream, TcpStream, util::threads::Handle<Counts>) {
    let ((client, front), (back, server)) = (pair(), pair());
    let proxy = kind.spawn(move || copy_bidirectional(&front, &back));
    (client, server, proxy)
}

type Counts = io::Result<(u64, u64)>;

#[rstest]
#[timeout(LIMIT)]
fn both_directions_go_on_at_once(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (client, server, proxy) = proxied(kind);
    let ends = [client, server].map(|end| {
        let end = Arc::new(end);
        let reading = end.clone();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            (&*reading).read_to_end(&mut read).unwrap();
            assert!(read == pattern(MUCH));
        });
        let writing = thread::spawn(move || {
            (&*end).write_all(&pattern(MUCH)).unwrap();
            end.shutdown(Shutdown::Write).unwrap();
        });
        [reading, writing]
    });
    for thread in ends.into_iter().flatten() {
        thread.join().unwrap();
    }
    assert_eq!(proxy.join().unwrap(), (MUCH as u64, MUCH as u64));
}

#[rstest]
#[case::that_of_the_client(false)]
#[case::that_of_the_server(true)]
#[timeout(LIMIT)]
fn one_direction_ends_and_the_other_goes_on(
    #[case] swapped: bool,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (mut first, mut second, proxy) = proxied(kind);
    if swapped {
        std::mem::swap(&mut first, &mut second);
    }
    first.write_all(b"question").unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(io::read_to_string(&mut second).unwrap(), "question");
    // Only now that the first direction has ended.
    for _ in 0..3 {
        second.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        first.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }
    drop(second);
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    let counts = proxy.join().unwrap();
    assert_eq!(counts, if swapped { (18, 8) } else { (8, 18) });
}

/// Also the one that waits for ever.
#[rstest]
#[timeout(LIMIT)]
fn an_error_stops_both(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (client, mut server, proxy) = proxied(kind);
    reset(client);
    let error = proxy.join().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

#[rstest]
fn it_is_stopped_from_outside(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let ((_client, front), (back, mut server)) = (pair(), pair());
            let proxy = thread::spawn(move || copy_bidirectional(&front, &back));
            thread::yield_now();
            proxy.cancel();
            assert!(proxy.join().unwrap_err().is::<thread::Cancelled>());
            assert_eq!(server.read(&mut [0]).unwrap(), 0);

            let ((mut client, front), (back, mut server)) = (pair(), pair());
            let short = Duration::from_millis(1);
            let idle = time::timeout(short, || copy_bidirectional(&front, &back));
            assert!(idle.is_err());
            // Nothing has been lost, as there was nothing.
            client.write_all(b"later").unwrap();
            drop(client);
            let copying = thread::spawn(move || copy_bidirectional(&front, &back));
            assert_eq!(io::read_to_string(&mut server).unwrap(), "later");
            drop(server);
            assert_eq!(copying.join().unwrap().unwrap(), (5, 0));
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn it_is_stopped_by_the_clock(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let ((_client, front), (back, mut server)) = (pair(), pair());
    let idle = kind.run(move || {
        time::timeout(Duration::from_millis(1), || {
            copy_bidirectional(&front, &back)
        })
    });
    assert!(idle.is_err());
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

/// A writer is not read from while what it has written has no place.
#[rstest]
#[timeout(LIMIT)]
fn a_slow_reader_holds_the_writer_back() {
    let (mut client, mut server, proxy) = proxied(Kind::Green);
    let mut written = 0;
    while let Ok(count) = time::timeout(Duration::from_millis(30), || client.write(&[1; 1 << 16])) {
        written += count.unwrap();
        assert!(written < 1 << 28, "somebody takes everything");
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(copy(&mut server, &mut io::sink()).unwrap(), written as u64);
    drop(server);
    assert_eq!(proxy.join().unwrap(), (written as u64, 0));
}

/// Whatever reads and writes by reference can be copied between.
#[rstest]
#[timeout(LIMIT)]
fn streams_of_ones_own_are_copied_between() {
    struct Shouting(TcpStream);
    impl Read for &Shouting {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = (&self.0).read(buf)?;
            buf[..len].make_ascii_uppercase();
            Ok(len)
        }
    }
    impl Write for &Shouting {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            (&self.0).write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl HalfClose for Shouting {
        fn end_writing(&self) -> io::Result<()> {
            self.0.end_writing()
        }
    }
    let ((mut client, front), (back, mut server)) = (pair(), pair());
    let proxy = thread::spawn(move || copy_bidirectional(&Shouting(front), &back));
    client.write_all(b"quiet").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(io::read_to_string(&mut server).unwrap(), "QUIET");
    drop(server);
    assert_eq!(proxy.join().unwrap().unwrap(), (5, 0));
}

/// A file with this in it, standing at the second byte.
fn file_with(bytes: &[u8]) -> File {
    let (mut file, path) = temporary_file("copy");
    fs::remove_file(path).unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(1)).unwrap();
    file
}

#[rstest]
#[timeout(LIMIT)]
fn a_file_is_sent_to_its_end(
    #[values(0, 1, MUCH)] len: usize,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (near, mut far) = pair();
    let sending = kind.spawn(move || {
        let mut file = file_with(&pattern(len + 1));
        let sent = send_file(&file, &near).unwrap();
        assert_eq!(file.stream_position().unwrap(), len as u64 + 1);
        sent
    });
    let mut read = Vec::new();
    far.read_to_end(&mut read).unwrap();
    assert!(read == pattern(len + 1)[1..]);
    assert_eq!(sending.join(), len as u64);
}

/// The only worker goes on; and what is sent after a cancellation follows what was sent before.
#[rstest]
fn a_slow_reader_of_a_file_holds_up_nobody(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let bytes = pattern(8 << 20);
            let file = Arc::new(file_with(&bytes));
            let (near, mut far) = pair();
            let near = Arc::new(near);
            let send = || {
                let (file, near) = (file.clone(), near.clone());
                thread::spawn(move || send_file(&*file, &*near).unwrap())
            };
            let sending = send();
            let mut read = vec![0; 1];
            far.read_exact(&mut read).unwrap();
            thread::sleep(Duration::from_millis(5));
            assert!(!sending.is_finished());
            sending.cancel();
            assert!(sending.join().unwrap_err().is::<thread::Cancelled>());
            let sending = send();
            let theirs = near.clone();
            let ending = thread::spawn(move || {
                let sent = sending.join().unwrap();
                theirs.shutdown(Shutdown::Write).unwrap();
                sent
            });
            far.read_to_end(&mut read).unwrap();
            assert!(read == bytes[1..]);
            assert!(ending.join().unwrap() < 8 << 20);
        });
    });
}

/// Where the kernel cannot send by itself: from a pipe, to the end of a file.
#[rstest]
#[timeout(LIMIT)]
fn what_cannot_be_sent_is_read_and_written(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    const LEN: usize = 60_000;
    let from_pipe = || {
        let (reader, writer) = raw_pipe();
        File::from(writer).write_all(&pattern(LEN)).unwrap();
        reader
    };
    let (near, mut far) = pair();
    // It is full.
    let mut before = 0;
    while let Ok(count) = time::timeout(Duration::from_millis(5), || (&near).write(&[1; 1 << 16])) {
        before += count.unwrap();
    }
    let reader = from_pipe();
    let sending = kind.spawn(move || send_file(reader, &near).unwrap());
    far.read_exact(&mut vec![0; before]).unwrap();
    let mut read = Vec::new();
    far.read_to_end(&mut read).unwrap();
    assert!(read == pattern(LEN));
    assert_eq!(sending.join(), LEN as u64);

    let (_, path) = temporary_file("append");
    let reader = from_pipe();
    let end = File::options().append(true).open(&path).unwrap();
    assert_eq!(
        kind.run(move || send_file(reader, end).unwrap()),
        LEN as u64
    );
    assert!(fs::read(&path).unwrap() == pattern(LEN));
    fs::remove_file(path).unwrap();
}

#[rstest]
#[timeout(LIMIT)]
fn errors_of_sending_are_told(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let error = kind.run(move || send_file(file_with(b"nobody reads"), writer).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}
