//! `corde::io`: any file descriptor made green, and waiting for those of others.
#![cfg(all(feature = "runtime", target_os = "linux"))]

mod util;

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self as std_io, ErrorKind, Read, Write};
use std::net as std_net;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::thread as std_thread;
use std::time::{Duration, Instant};

use corde::io::{self, Green, Interest, IoSlice, IoSliceMut};
use corde::thread::{self, JoinHandle};
use corde::{select, time};
use rstest::{Context, rstest};
use util::fds::{is_nonblocking, owned, pty, raw_pipe, sockets, temporary_path};
use util::threads::Kind;
use util::{LIMIT, net, with_workers};

/// Something that can be read from after a call of the function.
type Device = (OwnedFd, Box<dyn FnOnce() + Send>);

fn pipe() -> Device {
    let (reader, writer) = raw_pipe();
    let mut writer = File::from(writer);
    (reader, Box::new(move || writer.write_all(b"x").unwrap()))
}

fn terminal() -> Device {
    let (master, slave) = pty();
    let trigger = move || {
        let mut master = File::from(master);
        master.write_all(b"typed\n").unwrap();
        // Closing it would end the terminal.
        std::mem::forget(master);
    };
    (slave, Box::new(trigger))
}

fn terminal_program() -> Device {
    let (master, slave) = pty();
    let trigger = move || {
        let mut slave = File::from(slave);
        slave.write_all(b"printed").unwrap();
        std::mem::forget(slave);
    };
    (master, Box::new(trigger))
}

fn socket() -> Device {
    let (near, far) = sockets();
    let mut far = File::from(far);
    (near, Box::new(move || far.write_all(b"x").unwrap()))
}

fn named_pipe() -> Device {
    let path = temporary_path("fifo");
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the name is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    // With both ends in one it opens at once.
    let fifo = File::options().read(true).write(true).open(&path).unwrap();
    let mut writer = File::options().write(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    (
        fifo.into(),
        Box::new(move || writer.write_all(b"x").unwrap()),
    )
}

fn inotify() -> Device {
    let path = temporary_path("inotify");
    fs::create_dir(&path).unwrap();
    // SAFETY: no pointers.
    let inotify = owned(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) });
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the name is a C string.
    let watch =
        unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), name.as_ptr(), libc::IN_CREATE) };
    assert!(watch >= 0);
    let trigger = move || {
        File::create(path.join("new")).unwrap();
        fs::remove_dir_all(&path).unwrap();
    };
    (inotify, Box::new(trigger))
}

fn timerfd() -> Device {
    // SAFETY: no pointers.
    let timer = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) });
    let second = timer.try_clone().unwrap();
    let trigger = move || {
        let soon = libc::timespec {
            tv_sec: 0,
            tv_nsec: 1,
        };
        let once = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: soon,
        };
        // SAFETY: the pointers are valid or null.
        let set = unsafe { libc::timerfd_settime(second.as_raw_fd(), 0, &once, ptr::null_mut()) };
        assert_eq!(set, 0);
    };
    (timer, Box::new(trigger))
}

fn eventfd() -> Device {
    // SAFETY: no pointers.
    let event = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) });
    let mut second = File::from(event.try_clone().unwrap());
    let trigger = move || second.write_all(&1_u64.to_ne_bytes()).unwrap();
    (event, Box::new(trigger))
}

/// For a child with one test alone, as the signal is blocked for its thread, and those that it starts.
fn signalfd() -> Device {
    // SAFETY: all zeros is a valid set.
    let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid.
    unsafe { libc::sigemptyset(&mut signals) };
    // SAFETY: the set is valid.
    unsafe { libc::sigaddset(&mut signals, libc::SIGUSR1) };
    // SAFETY: the set is valid.
    let blocked = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &signals, ptr::null_mut()) };
    assert_eq!(blocked, 0);
    // SAFETY: the set is valid.
    let signals = owned(unsafe { libc::signalfd(-1, &signals, libc::SFD_CLOEXEC) });
    let trigger = || {
        // SAFETY: no pointers. The thread itself has it blocked.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
    };
    (signals, Box::new(trigger))
}

/// Begins to read, on a worker that can do nothing else if that blocks.
fn read_in_background(green: &Arc<Green<OwnedFd>>) -> JoinHandle<usize> {
    let theirs = green.clone();
    let reading = thread::spawn(move || (&*theirs).read(&mut [0; 256]).unwrap());
    // One worker: it has got to its wait.
    thread::yield_now();
    reading
}

#[rstest]
#[case::pipe(pipe)]
#[case::terminal(terminal)]
#[case::terminal_program(terminal_program)]
#[case::socket(socket)]
#[case::named_pipe(named_pipe)]
#[case::inotify(inotify)]
#[case::timerfd(timerfd)]
#[case::eventfd(eventfd)]
#[case::signalfd(signalfd)]
fn a_read_suspends_until_there_is_something(
    #[context] context: Context,
    #[case] device: fn() -> Device,
) {
    with_workers(1, &context, || {
        // On the main thread, before others: signals.
        let (fd, trigger) = device();
        let green = Arc::new(Green::new(fd).unwrap());
        corde::run(|| {
            // A read that is cancelled takes nothing from the next one.
            let cancelled = read_in_background(&green);
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<thread::Cancelled>());

            let nothing = time::timeout(Duration::from_millis(1), || {
                (&*green).read(&mut [0; 256]).unwrap()
            });
            assert!(nothing.is_err());

            let reading = read_in_background(&green);
            assert!(!reading.is_finished());
            trigger();
            assert!(reading.join().unwrap() > 0);
        });
        let (fd, trigger) = device();
        let mut green = Green::new(fd).unwrap();
        trigger();
        assert!(green.read(&mut [0; 256]).unwrap() > 0, "on an OS thread");
    });
}

#[rstest]
#[case::pipe(pipe)]
#[case::terminal(terminal)]
#[case::timerfd(timerfd)]
#[case::eventfd(eventfd)]
#[case::inotify(inotify)]
#[timeout(LIMIT)]
fn readiness_is_waited_for_without_touching_the_descriptor(
    #[case] device: fn() -> Device,
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    let (fd, trigger) = device();
    let fd = Arc::new(fd);
    let theirs = fd.clone();
    let error = kind.run(move || {
        let short = Duration::from_millis(1);
        io::wait_readable_timeout(&*theirs, short).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let theirs = fd.clone();
    let waiting = kind.spawn(move || io::wait_readable(&*theirs));
    trigger();
    waiting.join().unwrap();
    assert!(!is_nonblocking(&*fd));
}

/// Its reactor knows the descriptor already, and must go on knowing it.
#[rstest]
fn a_descriptor_of_a_source_can_be_waited_for_by_others(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let (near, mut far) = net::pair();
            let near = Arc::new(near);
            for _ in 0..3 {
                let theirs = near.clone();
                let reading = thread::spawn(move || (&*theirs).read(&mut [0; 8]).unwrap());
                let waiting: Vec<_> = (0..3)
                    .map(|_| {
                        let theirs = near.clone();
                        thread::spawn(move || io::wait_readable(&*theirs))
                    })
                    .collect();
                // They wait; then two of them leave, one way and the other.
                thread::yield_now();
                let mut waiting = waiting.into_iter();
                let first = waiting.next().unwrap();
                first.cancel();
                assert!(first.join().is_err());
                let short = Duration::from_millis(1);
                let error = io::wait_readable_timeout(&*near, short).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(!reading.is_finished());
                far.write_all(b"x").unwrap();
                // Who waits may be late, and wait for the next byte.
                assert_eq!(reading.join().unwrap(), 1);
                far.write_all(b"y").unwrap();
                waiting.for_each(|waiting| waiting.join().unwrap().unwrap());
                assert_eq!((&*near).read(&mut [0; 8]).unwrap(), 1);
            }
        });
    });
}

#[rstest]
fn many_wait_for_one_descriptor_from_everywhere(#[context] context: Context) {
    with_workers(3, &context, || {
        let (near, mut far) = std_net_pair();
        let near = Arc::new(near);
        let waiting: Vec<_> = (0..30)
            .map(|number| {
                let near = near.clone();
                let kind = if number % 10 == 0 {
                    Kind::Os
                } else {
                    Kind::Green
                };
                kind.spawn(move || io::wait_readable(&*near).unwrap())
            })
            .collect();
        io::wait_writable(&*near).unwrap();
        far.write_all(b"for all").unwrap();
        waiting.into_iter().for_each(|waiting| waiting.join());
        assert!(!is_nonblocking(&*near));
    });
}

fn std_net_pair() -> (std_net::TcpStream, std_net::TcpStream) {
    net::std_pair()
}

#[rstest]
#[timeout(LIMIT)]
fn room_is_waited_for(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let (reader, writer) = raw_pipe();
    let writer = Arc::new(writer);
    let theirs = writer.clone();
    let left = kind.run(move || {
        let mut written = 0;
        loop {
            let timeout = Duration::from_millis(1);
            match io::wait_writable_timeout(&*theirs, timeout) {
                // What it says is true: this does not block.
                Ok(()) => {
                    written += (&File::from(theirs.try_clone().unwrap()))
                        .write(&[0; 4096])
                        .unwrap()
                }
                Err(error) => break (written, error.kind()),
            }
        }
    });
    assert!(left.0 >= 4096);
    assert_eq!(left.1, ErrorKind::TimedOut);
    let waiting = kind.spawn(move || io::wait_writable(&*writer));
    let mut reader = File::from(reader);
    reader.read_exact(&mut vec![0; left.0]).unwrap();
    waiting.join().unwrap();
}

#[rstest]
#[case::file(env::current_exe().unwrap())]
#[case::directory(env::temp_dir())]
#[timeout(LIMIT)]
fn files_are_refused(#[case] path: PathBuf, #[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(move || {
        let file = File::open(path).unwrap();
        for error in [
            io::wait_readable(&file).unwrap_err(),
            io::wait_writable_timeout(&file, LIMIT).unwrap_err(),
            Green::new(&file).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("corde::fs"), "{error}");
        }
        assert!(!is_nonblocking(&file));
    });
}

#[rstest]
#[timeout(LIMIT)]
fn devices_that_are_always_ready_need_no_wait(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    kind.run(|| {
        let device = |path| File::options().read(true).write(true).open(path).unwrap();
        let mut null = Green::new(device("/dev/null")).unwrap();
        assert_eq!(null.write(b"gone").unwrap(), 4);
        assert_eq!(null.read(&mut [0; 4]).unwrap(), 0);
        null.wait_readable().unwrap();
        null.wait_writable().unwrap();
        let mut zeros = [1; 1000];
        let mut zero = Green::new(device("/dev/zero")).unwrap();
        zero.read_exact(&mut zeros).unwrap();
        assert_eq!(zeros, [0; 1000]);
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_writer_waits_for_room(
    #[values(raw_pipe, sockets, pty)] ends: fn() -> (OwnedFd, OwnedFd),
    #[values(Kind::Green, Kind::Os)] kind: Kind,
) {
    const MUCH: usize = 1 << 18;
    let (reader, writer) = ends();
    let mut writer = Green::new(writer).unwrap();
    let writing = kind.spawn(move || {
        writer.write_all(&[b'.'; MUCH]).unwrap();
        writer.flush().unwrap();
        // A terminal that is closed forgets what is in it.
        writer
    });
    let mut read = vec![0; MUCH];
    let reader = Green::new(reader).unwrap();
    (&reader).read_exact(&mut read).unwrap();
    assert!(read.iter().all(|&byte| byte == b'.'));
    writing.join();
}

#[rstest]
#[timeout(LIMIT)]
fn slices_are_read_and_written_in_one_call() {
    let (near, far) = sockets();
    let (mut near, mut far) = (Green::new(near).unwrap(), Green::new(far).unwrap());
    let slices = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    assert_eq!(near.write_vectored(&slices).unwrap(), 6);
    let (mut first, mut second) = ([0; 2], [0; 8]);
    let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(far.read_vectored(&mut slices).unwrap(), 6);
    assert_eq!((&first, &second[..4]), (b"on", &b"etwo"[..]));
}

#[rstest]
#[case::blocking(false)]
#[case::nonblocking(true)]
fn the_flag_is_as_before_in_the_end(#[case] before: bool) {
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(before).unwrap();
    let green = Green::new(near).unwrap();
    assert!(is_nonblocking(&green));
    assert_eq!(is_nonblocking(green.into_inner()), before);
}

/// The registration ends with it, though the descriptor lives on.
#[rstest]
fn one_descriptor_can_be_made_green_again_and_again(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let (mut near, far) = sockets();
            let mut far = File::from(far);
            for round in 0..3 {
                let green = Arc::new(Green::new(near).unwrap());
                let reading = read_in_background(&green);
                far.write_all(b"x").unwrap();
                assert_eq!(reading.join().unwrap(), 1, "round {round}");
                near = Arc::into_inner(green).unwrap().into_inner();
                let borrowed = Green::new(near.as_fd()).unwrap();
                let short = Duration::from_millis(1);
                let nothing = time::timeout(short, || borrowed.wait_readable());
                assert!(nothing.is_err());
            }
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn any_call_can_be_made_green(#[values(Kind::Green, Kind::Os)] kind: Kind) {
    let near = Green::new(std_net::UdpSocket::bind(net::LOCALHOST).unwrap()).unwrap();
    let address = near.get_ref().local_addr().unwrap();
    let receiving = kind.spawn(move || {
        let mut tries = 0;
        let received = near.with(Interest::Readable, |socket| {
            tries += 1;
            socket.recv_from(&mut [0; 8])
        });
        let error = near.with(Interest::Writable, |_| {
            Err::<(), _>(std_io::Error::from(ErrorKind::Other))
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Other);
        (received.unwrap(), tries)
    });
    let far = std_net::UdpSocket::bind(net::LOCALHOST).unwrap();
    far.send_to(b"hello", address).unwrap();
    let ((len, from), tries) = receiving.join();
    assert_eq!((len, from), (5, far.local_addr().unwrap()));
    assert!(tries <= 3, "{tries}");
}

#[rstest]
#[timeout(LIMIT)]
fn a_selection_waits_for_it() {
    corde::run(|| {
        let (fd, trigger) = eventfd();
        let green = Green::new(fd).unwrap();
        let is_ready = |wait| {
            select! {
                readable(green) => true,
                default(wait) => false,
            }
        };
        assert!(!is_ready(Duration::from_millis(1)));
        trigger();
        assert!(is_ready(LIMIT));
    });
}

/// Each duplicates a descriptor, and has to close it.
#[rstest]
fn waits_leave_no_descriptors_behind(#[context] context: Context) {
    with_workers(1, &context, || {
        let (near, _far) = sockets();
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        corde::run(|| {
            let wait = || io::wait_readable_timeout(&near, Duration::from_micros(10));
            wait().unwrap_err();
            let before = open();
            (0..100).for_each(|_| assert_eq!(wait().unwrap_err().kind(), ErrorKind::TimedOut));
            assert_eq!(open(), before);
        });
    });
}

#[rstest]
fn a_wait_without_a_further_descriptor_is_an_error(#[context] context: Context) {
    with_workers(1, &context, || {
        let (near, _far) = sockets();
        corde::run(|| {
            let next = near.try_clone().unwrap().as_raw_fd();
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: the pointer is valid.
            let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
            limit.rlim_cur = next.try_into().unwrap();
            // SAFETY: the limit is valid.
            let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
            assert_eq!((got, set), (0, 0));
            let error = io::wait_readable(&near).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        });
    });
}

#[rstest]
#[timeout(LIMIT)]
fn a_wait_on_an_os_thread_ends_at_its_limit() {
    let (near, _far) = sockets();
    let before = Instant::now();
    let short = Duration::from_millis(5);
    let waited = std_thread::spawn(move || time::timeout(short, || io::wait_readable(&near)));
    assert!(waited.join().unwrap().is_err());
    assert!(before.elapsed() >= short);
}

/// Has a descriptor registered that is lent, and forgets that.
fn leak_registered(fd: &OwnedFd) {
    let green = Green::new(fd.as_fd()).unwrap();
    let waiting = time::timeout(Duration::from_millis(1), || green.wait_readable());
    waiting.unwrap_err();
    std::mem::forget(green);
}

#[rstest]
fn numbers_of_descriptors_whose_greens_were_leaked_come_back(#[context] context: Context) {
    with_workers(1, &context, || {
        corde::run(|| {
            let leaked = [sockets(), sockets()];
            leaked.iter().for_each(|(near, _far)| leak_registered(near));
            drop(leaked);
            // They get the same numbers, and so do duplicates of them.
            let (near, far) = sockets();
            let (near, mut far) = (Green::new(near).unwrap(), File::from(far));
            let reading = thread::spawn(move || (&near).read_exact(&mut [0]).unwrap());
            thread::yield_now();
            far.write_all(b"x").unwrap();
            reading.join().unwrap();
        });
    });
}
