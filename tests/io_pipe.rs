//! `corde::io`: anonymous pipes.
#![cfg(all(feature = "runtime", target_os = "linux"))]

mod util;

use std::fs::File;
use std::io::{self as std_io, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corde::io::{
    self, BufRead, BufReader, BufWriter, Green, IoSlice, IoSliceMut, LineWriter, PipeReader,
    PipeWriter, Read, Write,
};
use corde::{select, thread, time};
use rstest::{Context, rstest};
use util::fds::{is_nonblocking, pipe_with, raw_pipe, unread};
use util::threads::{Kind, wait_until};
use util::{LIMIT, net, with_workers};

/// More than a pipe takes.
const MUCH: usize = 1 << 20;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

/// Writes as much as there is room for.
fn fill(mut writer: &PipeWriter) -> usize {
    let mut written = 0;
    while let Ok(count) = time::timeout(Duration::from_millis(1), || writer.write(&[7; 4096])) {
        written += count.unwrap();
    }
    written
}

#[rstest]
#[timeout(LIMIT)]
fn what_is_written_is_read_in_order(
    #[values(Kind::Green, Kind::Os)] writing: Kind,
    #[values(Kind::Green, Kind::Os)] reading: Kind,
) {
    let (mut reader, mut writer) = io::pipe().unwrap();
    let writing = writing.spawn(move || writer.write_all(&pattern(MUCH)).unwrap());
    let read = reading.run(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        read
    });
    assert!(read == pattern(MUCH));
    writing.join();
}

/// With blocking descriptors the only worker would be held up by the first of the two.
#[rstest]
fn neither_end_holds_up_the_worker(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let (there, mut back) = (io::pipe().unwrap(), io::pipe().unwrap());
            let mut echo = (there.0, back.1);
            let echoing = thread::spawn(move || std_io::copy(&mut echo.0, &mut echo.1).unwrap());
            let mut writer = there.1;
            let writing = thread::spawn(move || writer.write_all(&pattern(MUCH)).unwrap());
            let mut read = Vec::new();
            back.0.read_to_end(&mut read).unwrap();
            assert!(read == pattern(MUCH));
            writing.join().unwrap();
            assert_eq!(echoing.join().unwrap(), MUCH as u64);
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn slices_are_read_and_written_in_one_call() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    let slices = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    assert_eq!(writer.write_vectored(&slices).unwrap(), 6);
    let (mut first, mut second) = ([0; 2], [0; 8]);
    let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(reader.read_vectored(&mut slices).unwrap(), 6);
    assert_eq!((&first, &second[..4]), (b"on", &b"etwo"[..]));
}

#[rstest]
#[timeout(LIMIT)]
fn the_end_is_read_when_all_writers_are_gone() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut second = writer.try_clone().unwrap();
    let reading = thread::spawn(move || io::read_to_string(&mut reader).unwrap());
    drop(writer);
    second.write_all(b"still there").unwrap();
    assert!(!reading.is_finished());
    drop(second);
    assert_eq!(reading.join().unwrap(), "still there");
}

#[rstest]
#[timeout(LIMIT)]
fn a_writer_that_waits_learns_that_the_readers_are_gone() {
    let (reader, mut writer) = io::pipe().unwrap();
    let second = reader.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&[0; MUCH]).unwrap_err().kind());
    wait_until(|| unread(&reader) > 0);
    drop(reader);
    assert!(!writing.is_finished());
    drop(second);
    assert_eq!(writing.join().unwrap(), ErrorKind::BrokenPipe);
}

#[rstest]
#[timeout(LIMIT)]
fn a_reader_that_is_cancelled_has_taken_nothing() {
    let (reader, mut writer) = io::pipe().unwrap();
    let reader = Arc::new(reader);
    let theirs = reader.clone();
    let reading = thread::spawn(move || (&*theirs).read(&mut [0; 8]).unwrap());
    reading.cancel();
    assert!(reading.join().unwrap_err().is::<thread::Cancelled>());
    writer.write_all(b"kept").unwrap();
    drop(writer);
    assert_eq!(io::read_to_string(&*reader).unwrap(), "kept");
}

#[rstest]
#[timeout(LIMIT)]
fn what_a_timeout_ends_has_written_nothing(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (reader, writer) = io::pipe().unwrap();
    let written = kind.run(move || fill(&writer));
    assert_eq!(unread(&reader), written);
    assert!(written >= 4096);
}

#[rstest]
#[timeout(LIMIT)]
fn any_number_may_read_and_write(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    const EACH: usize = 200;
    let (reader, writer) = io::pipe().unwrap();
    let (reader, writer) = (Arc::new(reader), Arc::new(writer));
    let writing: Vec<_> = (0..4)
        .map(|_| {
            let writer = writer.clone();
            kind.spawn(move || (0..EACH).for_each(|_| (&*writer).write_all(&[1; 1000]).unwrap()))
        })
        .collect();
    drop(writer);
    let reading: Vec<_> = (0..4)
        .map(|_| {
            let reader = reader.clone();
            kind.spawn(move || {
                let mut read = Vec::new();
                (&*reader).read_to_end(&mut read).unwrap();
                read.len()
            })
        })
        .collect();
    writing.into_iter().for_each(|writing| writing.join());
    let read: usize = reading.into_iter().map(|reading| reading.join()).sum();
    assert_eq!(read, 4 * EACH * 1000);
}

#[rstest]
#[timeout(LIMIT)]
fn a_selection_waits_for_either_end() {
    corde::run(|| {
        let (reader, mut writer) = io::pipe().unwrap();
        fill(&writer);
        let can_write = |wait| {
            select! {
                writable(writer) => true,
                default(wait) => false,
            }
        };
        assert!(!can_write(Duration::from_millis(1)));
        let mut buffer = vec![0; MUCH];
        let emptied = (&reader).read(&mut buffer).unwrap();
        assert!(emptied > 0 && can_write(LIMIT));
        writer.write_all(b"x").unwrap();
        select! {
            readable(reader) => {},
            default(LIMIT) => panic!("there is something to read"),
        }
    });
}

/// The child's end must not answer that it would block, which programs do not expect.
#[rstest]
#[timeout(LIMIT)]
fn a_child_gets_blocking_ends() {
    let (child_reads, mut writer) = io::pipe().unwrap();
    let (mut reader, child_writes) = io::pipe().unwrap();
    let mut cat = Command::new("cat")
        .stdin(child_reads)
        .stdout(child_writes)
        .spawn()
        .unwrap();
    let writing = thread::spawn(move || writer.write_all(&pattern(MUCH)).unwrap());
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == pattern(MUCH));
    writing.join().unwrap();
    assert!(cat.wait().unwrap().success());
}

#[rstest]
fn descriptors_are_blocking_outside() {
    let (reader, writer) = io::pipe().unwrap();
    assert!(is_nonblocking(&reader) && is_nonblocking(&writer));
    let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
    assert!(!is_nonblocking(&reader) && !is_nonblocking(&writer));
    let (reader, writer) = (PipeReader::from(reader), PipeWriter::from(writer));
    assert!(is_nonblocking(&reader) && is_nonblocking(&writer));
}

#[rstest]
#[timeout(LIMIT)]
fn a_pipe_made_elsewhere_is_taken_over(#[values(false, true)] waits_first: bool) {
    let (reader, writer) = raw_pipe();
    let mut reader = PipeReader::from(reader);
    let reading = thread::spawn(move || io::read_to_string(&mut reader).unwrap());
    if waits_first {
        thread::sleep(Duration::from_millis(1));
    }
    PipeWriter::from(writer).write_all(b"adopted").unwrap();
    assert_eq!(reading.join().unwrap(), "adopted");
}

/// A read that gets less than it asks for has not emptied such a pipe.
#[rstest]
#[timeout(LIMIT)]
fn a_pipe_of_packets_is_read_packet_by_packet() {
    let (reader, writer) = pipe_with(libc::O_CLOEXEC | libc::O_DIRECT);
    let mut writer = PipeWriter::from(writer);
    let reading = thread::spawn(move || {
        let mut reader = PipeReader::from(reader);
        let mut lens = Vec::new();
        let mut buffer = [0; 64];
        // The first read waits.
        while let Ok(len @ 1..) = reader.read(&mut buffer) {
            lens.push(len);
            if lens.len() == 1 {
                wait_until(|| unread(&reader) == 2 + 3);
            }
        }
        lens
    });
    for packet in [&b"1"[..], b"22", b"333"] {
        writer.write_all(packet).unwrap();
    }
    wait_until(|| unread(&writer) == 0);
    drop(writer);
    assert_eq!(reading.join().unwrap(), [1, 2, 3]);
}

#[rstest]
fn a_child_of_std_may_be_piped_by_either_end() {
    // Both are `Into<Stdio>`, as std's.
    let (reader, writer) = io::pipe().unwrap();
    let _: (Stdio, Stdio) = (reader.into(), writer.into());
}

fn lines_come_through(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) {
    let reading = thread::spawn(move || {
        let lines = BufReader::with_capacity(7, reader).lines();
        lines.map(|line| line.unwrap()).collect::<Vec<_>>()
    });
    let mut writer = LineWriter::new(BufWriter::with_capacity(5, writer));
    for number in 0..1000 {
        writeln!(writer, "line {number}").unwrap();
    }
    drop(writer);
    let expected: Vec<_> = (0..1000).map(|number| format!("line {number}")).collect();
    assert_eq!(reading.join().unwrap(), expected);
}

#[rstest]
#[case::pipe(|| {
    let (reader, writer) = io::pipe().unwrap();
    lines_come_through(reader, writer);
})]
#[case::green(|| {
    let (reader, writer) = raw_pipe();
    lines_come_through(Green::new(reader).unwrap(), Green::new(writer).unwrap());
})]
#[case::tcp(|| {
    let (near, far) = net::pair();
    lines_come_through(near, far);
})]
#[timeout(LIMIT)]
fn the_buffers_of_std_work_over_everything(#[case] scenario: fn()) {
    Kind::Green.run(scenario);
    Kind::Os.run(scenario);
}

#[test]
fn ends_have_the_traits_of_std() {
    fn check<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + std::fmt::Debug + AsFd>() {}
    check::<PipeReader>();
    check::<PipeWriter>();
    check::<Green<File>>();
    let (reader, _writer) = io::pipe().unwrap();
    assert!(format!("{reader:?}").starts_with("PipeReader("));
}

/// A wait in one of them leaves the other's alone.
#[rstest]
fn clones_wait_on_their_own(#[context] context: Context) {
    with_workers(2, &context, || {
        let (reader, mut writer) = io::pipe().unwrap();
        let begun = Arc::new(AtomicBool::new(false));
        let (mut clone, theirs) = (reader.try_clone().unwrap(), begun.clone());
        let reading = thread::spawn(move || {
            theirs.store(true, Ordering::SeqCst);
            clone.read(&mut [0; 1]).unwrap()
        });
        wait_until(|| begun.load(Ordering::SeqCst));
        drop(reader);
        writer.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap(), 1);
    });
}
