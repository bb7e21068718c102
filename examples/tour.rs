//! What green threads cost beside OS threads: 100,000 that wait for each other, and 1,000 clients of an echo server.
//! Run it with `cargo run --release --example tour`: it needs no arguments and takes a few seconds.

use std::fs;
use std::io;
use std::panic::resume_unwind;
use std::time::Duration;

/// Size of every thread's stack in bytes; only what is touched of it takes memory.
const STACK: usize = corde::stack::DEFAULT_SIZE;

/// The length of the chain of OS threads; 100,000 are more than most systems allow.
const OS_CHAIN: usize = 10_000;

const CLIENTS: usize = 1_000;

/// Sizes in bytes of the messages that a client sends in each round.
const MESSAGES: [usize; 6] = [1, 64, 500, 7, 1_460, 4_096];
const ROUNDS: usize = 5;

/// The figures of a row, or why there are none.
type Figures = io::Result<[String; 3]>;

/// The work, written once: `workload!(corde)` does it on green threads, `workload!(std)` on OS threads.
macro_rules! workload {
    ($library:ident) => {
        use super::*;
        use std::io::{Read, Write};
        use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
        use std::time::Instant;

        use $library::net::{SocketAddr, TcpListener, TcpStream};
        use $library::thread::{self, Builder, JoinHandle};

        type Spawned<T> = io::Result<JoinHandle<io::Result<T>>>;

        fn spawn<T: Send + 'static>(
            body: impl FnOnce() -> io::Result<T> + Send + 'static,
        ) -> Spawned<T> {
            Builder::new().stack_size(STACK).spawn(body)
        }

        fn join_all<T>(threads: impl Iterator<Item = Spawned<T>>) -> io::Result<()> {
            let threads: Vec<_> = threads.collect::<io::Result<_>>()?;
            for thread in threads {
                value(thread.join())?;
            }
            Ok(())
        }

        /// Threads of the chain that have started, and whether its last one may end.
        static REACHED: AtomicUsize = AtomicUsize::new(0);
        static OPEN: AtomicBool = AtomicBool::new(false);

        /// Makes a chain of `length` threads that wait for each other, then lets it end.
        pub(super) fn chain(length: usize) -> Figures {
            REACHED.store(0, Relaxed);
            OPEN.store(false, Relaxed);
            let before = memory_in_use();
            let begun = Instant::now();
            let first = spawn(move || link(length))?;
            while REACHED.load(Relaxed) < length && !first.is_finished() {
                thread::park_timeout(Duration::from_millis(1));
            }
            let waiting = begun.elapsed();
            let memory = memory_in_use().saturating_sub(before) / length;
            OPEN.store(true, Relaxed);
            let counted = value(first.join()).map_err(|error| {
                let reached = grouped(REACHED.load(Relaxed));
                io::Error::other(format!("only {reached}: {error}"))
            })?;
            assert_eq!(counted, length);
            let joined = begun.elapsed() - waiting;
            let memory = match memory {
                0 => "unknown".into(),
                bytes => grouped(bytes),
            };
            Ok([milliseconds(waiting), milliseconds(joined), memory])
        }

        /// A thread of the chain: spawns the next one and joins it; returns how many of the `left` ones there were.
        fn link(left: usize) -> io::Result<usize> {
            REACHED.fetch_add(1, Relaxed);
            if left > 1 {
                let next = spawn(move || link(left - 1))?;
                return Ok(1 + value(next.join())?);
            }
            while !OPEN.load(Relaxed) {
                thread::park_timeout(Duration::from_millis(1));
            }
            Ok(1)
        }

        /// Runs an echo server and its clients, with a thread for each end of each connection.
        pub(super) fn echo(clients: usize) -> Figures {
            let (begun, used_before) = (Instant::now(), processor_time());
            let listener = TcpListener::bind("127.0.0.1:0")?;
            // All call at once: where std's queue of 128 overflows, TCP tries again a second later.
            socket2::SockRef::from(&listener).listen(CLIENTS as i32)?;
            let address = listener.local_addr()?;
            let server = spawn(move || serve(&listener, clients))?;
            join_all((0..clients).map(|client| spawn(move || visit(address, client))))?;
            value(server.join())?;
            let time = begun.elapsed();
            let rate = (clients * ROUNDS * MESSAGES.len()) as f64 / time.as_secs_f64();
            let used = processor_time() - used_before;
            Ok([
                milliseconds(time),
                grouped(rate as usize),
                milliseconds(used),
            ])
        }

        /// Echoes for `clients` clients, once all of them are connected.
        fn serve(listener: &TcpListener, clients: usize) -> io::Result<()> {
            let streams: io::Result<Vec<_>> = listener.incoming().take(clients).collect();
            let echo = |stream: TcpStream| spawn(move || io::copy(&mut &stream, &mut &stream));
            join_all(streams?.into_iter().map(echo))
        }

        fn visit(address: SocketAddr, client: usize) -> io::Result<()> {
            let bytes = client..client + ROUNDS + 4_096;
            let noise: Vec<u8> = bytes.map(|byte| (byte % 251) as u8).collect();
            let mut answer = [0; 4_096];
            let mut stream = TcpStream::connect(address)?;
            for round in 0..ROUNDS {
                for size in MESSAGES {
                    let message = &noise[round..][..size];
                    stream.write_all(message)?;
                    stream.read_exact(&mut answer[..size])?;
                    if answer[..size] != *message {
                        return Err(io::Error::other("an echo differs from its message"));
                    }
                }
            }
            Ok(())
        }
    };
}

mod green {
    workload!(corde);
}

mod os {
    workload!(std);
}

fn main() -> io::Result<()> {
    println!("A chain: each thread starts the next one and joins it, the last one waits.\n");
    let clients = possible_clients();
    // OS threads first: the guards of the green threads' stacks may leave them too few memory mappings.
    let os_chain = os::chain(OS_CHAIN);
    let os_echo = os::echo(clients);

    println!("               threads    all waiting     all joined     bytes each");
    let green_chain = |length| {
        print_row(
            "green threads",
            length,
            &corde::run(|| green::chain(length)),
        )
    };
    // Fewer where the guard of each stack takes two of the memory mappings that a process may have.
    if !green_chain(100_000) && !green_chain(20_000) {
        return Err(io::Error::other("no chain of green threads was possible"));
    }
    print_row("OS threads", OS_CHAIN, &os_chain);

    let [called, messages] = [clients, clients * ROUNDS * MESSAGES.len()].map(grouped);
    println!("\nAn echo server and {called} clients, connected all at once over loopback sockets:");
    println!("{messages} messages of 1 to 4,096 bytes, every byte of each echo checked.\n");
    if clients < CLIENTS {
        println!("(The limit on open files allows no more clients: see `ulimit -Hn`.)\n");
    }
    println!("               threads           time     messages/s       CPU time");
    let green_echo = corde::run(|| green::echo(clients));
    print_row("green threads", 2 * clients + 1, &green_echo);
    print_row("OS threads", 2 * clients + 1, &os_echo);
    green_echo.map(drop)
}

/// Prints a row; returns whether it has figures.
fn print_row(name: &str, threads: usize, figures: &Figures) -> bool {
    let threads = grouped(threads);
    match figures {
        Ok([first, second, third]) => {
            println!("{name:14}{threads:>8}{first:>15}{second:>15}{third:>15}");
        }
        Err(error) => println!("{name:14}{threads:>8}    {error}"),
    }
    figures.is_ok()
}

/// A number with its digits in groups of three.
fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", grouped(duration.as_millis() as usize))
}

/// What a thread returned. A green thread that got no stack leaves an error for whoever joins it.
fn value<T>(joined: std::thread::Result<io::Result<T>>) -> io::Result<T> {
    joined.unwrap_or_else(|payload| match payload.downcast() {
        Ok(error) => Err(*error),
        Err(panic) => resume_unwind(panic),
    })
}

/// Bytes in the process's resident pages and page tables and in all kernel stacks, as far as the system tells; Linux does.
fn memory_in_use() -> usize {
    let kilobytes = |file: &str, name: &str| -> Option<usize> {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let process = ["VmRSS:", "VmPTE:"].map(|name| kilobytes("/proc/self/status", name));
    let kernel = kilobytes("/proc/meminfo", "KernelStack:");
    process.iter().chain([&kernel]).flatten().sum::<usize>() * 1024
}

/// How long processors have worked for the process.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the call to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How many clients fit under the limit on open files, which is raised as far as need be and may be.
fn possible_clients() -> usize {
    const RESERVE: libc::rlim_t = 64;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for the call to write to.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let wanted = 2 * CLIENTS as libc::rlim_t + RESERVE;
    limit.rlim_cur = limit.rlim_cur.max(wanted.min(limit.rlim_max));
    // SAFETY: `limit` is valid for the call to read.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    (limit.rlim_cur.saturating_sub(RESERVE) as usize / 2).min(CLIENTS)
}
