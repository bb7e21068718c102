//! Files and directories: that no worker is held up while a call waits, what needs no hand-off, and cancellation.
#![cfg(feature = "runtime")]

mod util;

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use corde::fs::{self, File, OpenOptions};
use corde::os::unix::fs::{FileExt, OpenOptionsExt};
use corde::runtime::{Builder, LocalRuntime};
use corde::thread::{self, Cancelled, without_cancel, yield_now};
use corde::time;
use rstest::rstest;
use util::LIMIT;
use util::place::{LARGE, Place, pattern};
use util::threads::{Kind, OnDrop, is_quiet_panic, panic_quietly, wait_until};

/// Runs `body`, and fails if it does not end: a worker that is held up never ends it.
#[track_caller]
fn within_limit<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || done.send(catch_unwind(AssertUnwindSafe(body))));
    let ended = is_done.recv_timeout(LIMIT);
    ended
        .expect("the worker is held up")
        .unwrap_or_else(|payload| resume_unwind(payload))
}

/// Runs `body` on the only worker of a runtime.
#[track_caller]
fn on_one_worker<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let runtime = Builder::new().workers(1).build().unwrap();
    within_limit(move || runtime.block_on(body))
}

/// Runs `body` on the only worker of a runtime, whose pool has one OS thread.
#[track_caller]
fn on_one_of_each<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let builder = Builder::new().workers(1).max_blocking_threads(1);
    let runtime = builder.build().unwrap();
    within_limit(move || runtime.block_on(body))
}

/// Tells whether `f` makes a call in the pool, which has one OS thread: keeps that busy until something else runs on the only worker.
fn is_handed_off<T>(f: impl FnOnce() -> T) -> (bool, T) {
    let (open, gate) = mpsc::channel();
    let (begun, ran) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let theirs = begun.clone();
    let busy = thread::spawn(move || {
        thread::blocking(move || {
            theirs.store(true, Ordering::Relaxed);
            gate.recv_timeout(LIMIT).unwrap();
        });
    });
    wait_until(|| begun.load(Ordering::Relaxed));
    let theirs = ran.clone();
    let opener = thread::spawn(move || {
        theirs.store(true, Ordering::Relaxed);
        open.send(()).unwrap();
    });
    let value = f();
    let handed_off = ran.load(Ordering::Relaxed);
    opener.join().unwrap();
    busy.join().unwrap();
    (handed_off, value)
}

// Workers go on.

/// More than a FIFO or a socket holds.
const MORE: usize = 1 << 20;

/// What the other end does, for which a call waits.
#[derive(Clone, Copy)]
enum Other {
    Gives(&'static str),
    /// A pattern of so many bytes.
    Takes(usize),
}

impl Other {
    /// Does it, without blocking its worker. Whoever gives closes its end.
    fn act<E: Read + Write>(self, mut end: E) -> Option<E> {
        match self {
            Other::Gives(text) => {
                // In two parts, which are not one read.
                let (first, second) = text.split_at(text.len() / 2);
                end.write_all(first.as_bytes()).unwrap();
                (0..10).for_each(|_| yield_now());
                end.write_all(second.as_bytes()).unwrap();
                None
            }
            Other::Takes(count) => {
                let (mut taken, mut buffer) = (Vec::new(), vec![0; 65_536]);
                while taken.len() < count {
                    match end.read(&mut buffer) {
                        Ok(read) => taken.extend_from_slice(&buffer[..read]),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                    yield_now();
                }
                assert!(taken == pattern(count));
                Some(end)
            }
        }
    }

    /// The same for a FIFO.
    fn act_at(self, path: &Path) -> Option<std::fs::File> {
        let mut options = std::fs::OpenOptions::new();
        options.custom_flags(libc::O_NONBLOCK);
        match self {
            Other::Gives(_) => options.write(true),
            Other::Takes(_) => options.read(true),
        };
        // There is somebody to write to as soon as the call waits.
        let mut end = None;
        wait_until(|| {
            end = options.open(path).ok();
            end.is_some()
        });
        self.act(end.unwrap())
    }

    /// What the call returns then.
    fn result(self) -> String {
        match self {
            Other::Gives(text) => text.to_owned(),
            Other::Takes(count) => count.to_string(),
        }
    }
}

/// Has `call` wait in a green thread, and another one of the same worker do what it waits for. If it is cancelled meanwhile, it has its
/// result nevertheless, and only then ends.
fn calls_while_others_run<E>(
    call: impl FnOnce() -> io::Result<String> + Send + 'static,
    other: impl FnOnce() -> E,
    expected: &str,
    cancelled: bool,
) {
    let (begun, result) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (has_begun, their_result) = (begun.clone(), result.clone());
    let caller = thread::spawn(move || {
        has_begun.store(true, Ordering::Relaxed);
        let returned = call();
        *their_result.lock().unwrap() = Some(returned);
        yield_now();
    });
    // It does not suspend between this and the call.
    wait_until(|| begun.load(Ordering::Relaxed));
    assert!(!caller.is_finished());
    if cancelled {
        caller.cancel();
    }
    let end = other();
    let ended = caller.join();
    drop(end);
    match cancelled {
        true => assert!(ended.unwrap_err().is::<Cancelled>()),
        false => ended.unwrap(),
    }
    let result = result.lock().unwrap().take();
    assert_eq!(result.expect("the call has a result").unwrap(), expected);
}

#[rstest]
#[case::open_to_read(|path: &Path| File::open(path).map(|_| String::new()), Other::Gives(""))]
#[case::open_to_write(|path: &Path| OpenOptions::new().write(true).open(path).map(|_| "0".into()), Other::Takes(0))]
#[case::read(|path: &Path| fs::read(path).map(|read| String::from_utf8(read).unwrap()), Other::Gives("all of it"))]
#[case::read_to_string(|path: &Path| fs::read_to_string(path), Other::Gives("all of it"))]
#[case::write(|path: &Path| fs::write(path, pattern(MORE)).map(|()| MORE.to_string()), Other::Takes(MORE))]
fn calls_that_wait_for_a_fifo_hold_nobody_up(
    #[case] call: fn(&Path) -> io::Result<String>,
    #[case] other: Other,
    #[values(false, true)] cancelled: bool,
) {
    let (place, path) = Place::with_fifo();
    on_one_worker(move || {
        let theirs = path.clone();
        let act = || other.act_at(&path);
        calls_while_others_run(move || call(&theirs), act, &other.result(), cancelled);
    });
    drop(place);
}

#[rstest]
#[case::read(|mut file: &File| { let mut to = [0]; file.read(&mut to).map(|_| text_of(&to)) }, Other::Gives("x"))]
#[case::read_vectored(|mut file: &File| { let mut to = [0]; file.read_vectored(&mut [IoSliceMut::new(&mut to)]).map(|_| text_of(&to)) }, Other::Gives("x"))]
#[case::read_exact(|mut file: &File| { let mut to = [0; 9]; file.read_exact(&mut to).map(|()| text_of(&to)) }, Other::Gives("all of it"))]
#[case::read_to_end(|mut file: &File| { let mut to = Vec::new(); file.read_to_end(&mut to).map(|_| text_of(&to)) }, Other::Gives("all of it"))]
#[case::read_to_string(|mut file: &File| { let mut to = String::new(); file.read_to_string(&mut to).map(|_| to) }, Other::Gives("all of it"))]
#[case::write(|mut file: &File| file.write(&pattern(MORE)).map(|count| count.to_string()), Other::Takes(MORE))]
#[case::write_vectored(|mut file: &File| file.write_vectored(&[IoSlice::new(&pattern(MORE))]).map(|count| count.to_string()), Other::Takes(MORE))]
#[case::write_all(|mut file: &File| file.write_all(&pattern(MORE)).map(|()| MORE.to_string()), Other::Takes(MORE))]
fn calls_that_wait_on_a_file_hold_nobody_up(
    #[case] call: fn(&File) -> io::Result<String>,
    #[case] other: Other,
    #[values(false, true)] cancelled: bool,
) {
    on_one_worker(move || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let file = File::from(OwnedFd::from(ours));
        let act = || other.act(theirs);
        calls_while_others_run(move || call(&file), act, &other.result(), cancelled);
    });
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_runtime_on_the_calling_thread_goes_on_too() {
    let (_place, path) = Place::with_fifo();
    within_limit(move || {
        LocalRuntime::new().unwrap().block_on(|| {
            let theirs = path.clone();
            let other = thread::spawn_local(move || Other::Gives("content").act_at(&theirs));
            assert_eq!(fs::read_to_string(&path).unwrap(), "content");
            other.join().unwrap();
        });
    });
}

#[test]
fn green_threads_and_os_threads_meet_at_a_fifo() {
    let (_place, path) = Place::with_fifo();
    for (reader, writer) in [(Kind::Green, Kind::Os), (Kind::Os, Kind::Green)] {
        let (from, to) = (path.clone(), path.clone());
        let reader = reader.spawn(move || fs::read(from).unwrap());
        writer.run(move || fs::write(to, pattern(MORE)).unwrap());
        assert!(reader.join() == pattern(MORE));
    }
}

/// Whether the system reads in place here: not on every file system.
fn reads_in_place(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open(path).unwrap();
        let mut byte = 0_u8;
        let part = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        // SAFETY: what is written to is `byte`.
        let read = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, 0, libc::RWF_NOWAIT) };
        if read == 1 {
            return true;
        }
    }
    eprintln!("left out: the system does not read {path:?} in place");
    false
}

#[test]
fn what_is_in_memory_is_read_in_place() {
    let (_place, path) = Place::with(pattern(LARGE));
    if !reads_in_place(&path) {
        return;
    }
    on_one_of_each(move || {
        let mut file = File::open(&path).unwrap();
        let mut buffer = [0; 1000];
        assert!(is_handed_off(|| fs::metadata(&path).unwrap()).0);
        assert!(!is_handed_off(|| file.read(&mut buffer).unwrap()).0);
        assert!(!is_handed_off(|| file.read_exact(&mut buffer).unwrap()).0);
        assert!(!is_handed_off(|| file.read_at(&mut buffer, 7).unwrap()).0);
        assert!(!is_handed_off(|| file.read_exact_at(&mut buffer, 8).unwrap()).0);
        assert_eq!(file.stream_position().unwrap(), 2000);
        assert_eq!(buffer, pattern(LARGE)[8..][..1000]);
        // So do clones; a read that is large is left to others.
        let mut clone = file.try_clone().unwrap();
        assert!(!is_handed_off(|| clone.read(&mut buffer).unwrap()).0);
        assert!(is_handed_off(|| file.read(&mut vec![0; LARGE]).unwrap()).0);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_opened_past_the_memory_is_read() {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let (_place, path) = Place::with(pattern(8192));
    on_one_of_each(move || {
        let mut options = OpenOptions::new();
        let Ok(mut file) = options.read(true).custom_flags(libc::O_DIRECT).open(path) else {
            eprintln!("left out: this file system has no O_DIRECT");
            return;
        };
        let mut page = Page([0; 4096]);
        for part in pattern(8192).chunks(4096) {
            // In place the worker would wait for the disk.
            let (handed_off, read) = is_handed_off(|| file.read(&mut page.0));
            assert!(handed_off);
            assert_eq!(read.unwrap(), 4096);
            assert_eq!(page.0, part);
        }
    });
}

#[test]
fn whoever_reads_in_place_lets_others_run() {
    let (_place, path) = Place::with("x");
    on_one_worker(move || {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = done.clone();
        let other = thread::spawn(move || theirs.store(true, Ordering::Relaxed));
        let file = File::open(path).unwrap();
        while !done.load(Ordering::Relaxed) {
            file.read_exact_at(&mut [0], 0).unwrap();
        }
        other.join().unwrap();
    });
}

#[test]
fn whoever_reads_in_place_can_be_cancelled() {
    let (_place, path) = Place::with("x");
    on_one_worker(move || {
        let reads = Arc::new(AtomicUsize::new(0));
        let theirs = reads.clone();
        let reader = thread::spawn(move || {
            let file = File::open(path).unwrap();
            loop {
                file.read_exact_at(&mut [0], 0).unwrap();
                theirs.fetch_add(1, Ordering::Relaxed);
            }
        });
        wait_until(|| reads.load(Ordering::Relaxed) > 0);
        reader.cancel();
        assert!(reader.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn seeking_is_done_in_place_unless_another_call_is_under_way() {
    let (_place, path) = Place::with("some content");
    on_one_of_each(move || {
        let mut file = File::open(path).unwrap();
        assert!(!is_handed_off(|| file.seek(SeekFrom::Start(1)).unwrap()).0);
        assert!(!is_handed_off(|| file.seek(SeekFrom::Current(1)).unwrap()).0);
        assert!(!is_handed_off(|| file.stream_position().unwrap()).0);
        // The file system may have to ask for the length.
        assert!(is_handed_off(|| file.seek(SeekFrom::End(0)).unwrap()).0);
        assert!(!is_handed_off(|| file.rewind().unwrap()).0);

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let file = Arc::new(File::from(OwnedFd::from(ours)));
        let other = file.clone();
        // Has the only thread of the pool.
        let reader = thread::spawn(move || (&*other).read(&mut [0]).unwrap());
        yield_now();
        let ran = Arc::new(AtomicBool::new(false));
        let has_run = ran.clone();
        let writer = thread::spawn(move || {
            has_run.store(true, Ordering::Relaxed);
            theirs.write_all(b"x").unwrap();
        });
        let seek = || (&*file).rewind().unwrap_err().kind();
        assert_eq!(seek(), ErrorKind::NotSeekable);
        assert!(ran.load(Ordering::Relaxed));
        assert_eq!(reader.join().unwrap(), 1);
        writer.join().unwrap();
        assert_eq!(is_handed_off(seek), (false, ErrorKind::NotSeekable));
    });
}

// Cancellation.

#[test]
fn whoever_is_cancelled_does_not_begin_a_call() {
    let place = Place::new();
    let path = place.0.join("never");
    on_one_worker(move || {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (theirs, is_cancelled) = (path.clone(), cancelled.clone());
        let writer = thread::spawn(move || {
            // It strikes at the first wait after this.
            without_cancel(|| wait_until(|| is_cancelled.load(Ordering::Relaxed)));
            fs::write(theirs, "").unwrap();
        });
        yield_now();
        writer.cancel();
        cancelled.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap_err().is::<Cancelled>());
        assert!(!path.exists());
    });
    drop(place);
}

#[test]
fn a_call_that_waits_for_its_turn_can_be_left() {
    let (_place, path) = Place::with_fifo();
    on_one_of_each(move || {
        let theirs = path.clone();
        let first = thread::spawn(move || fs::read(theirs).unwrap());
        yield_now();
        let second = thread::spawn(|| fs::metadata("/").map(drop).unwrap());
        yield_now();
        second.cancel();
        // The only thread of the pool is busy.
        assert!(second.join().unwrap_err().is::<Cancelled>());
        assert!(!first.is_finished());
        Other::Gives("content").act_at(&path);
        assert_eq!(first.join().unwrap(), b"content");
    });
}

#[test]
fn whoever_unwinds_may_still_write() {
    let (_place, path) = Place::with("");
    let writer = {
        let path = path.clone();
        thread::spawn(move || {
            let mut file = File::create(path).unwrap();
            let _last = OnDrop(move || file.write_all(b"last words").unwrap());
            panic_quietly();
        })
    };
    assert!(is_quiet_panic(&*writer.join().unwrap_err()));
    assert_eq!(std::fs::read(path).unwrap(), b"last words");
}

#[test]
fn an_exact_read_that_is_interrupted_has_taken_nothing() {
    let (_place, path) = Place::with("12345");
    on_one_worker(move || {
        let mut file = File::open(&path).unwrap();
        // In place it gets what there is, and has to look for the rest in the pool.
        let read = time::timeout(Duration::ZERO, || file.read_exact(&mut [0; 10]));
        let position = file.stream_position().unwrap();
        match read {
            Err(_) => assert_eq!(position, 0),
            Ok(read) => {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::UnexpectedEof);
                assert_eq!(position, 5);
            }
        }
    });
}
