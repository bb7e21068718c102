//! Sockets: an echo server on loopback, 64 bytes a request, one request under way on each connection.
//!
//! Peers: Tokio, may. Bound: a loop over epoll written by hand. The server is a process of its own on one processor, with one
//! worker; the load comes from one loop over epoll on another processor, the same for all. Counted is the server's
//! CPU time, in user and kernel mode, which the load generator disturbs least, and the rate of the requests.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::harness::{Metric, Row, Sampler, whole};
use crate::system;

/// The argument that makes a process a server.
pub(crate) const SERVER: &str = "--server";

const SERVER_PROCESSOR: usize = 0;
const LOAD_PROCESSOR: usize = 1;

/// Bytes of a request and of its answer.
const MESSAGE: usize = 64;

/// Bytes that a server is ready to read at once.
const BUFFER: usize = 1024;

/// How long one sample sends requests.
const SAMPLE: Duration = Duration::from_millis(50);

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

const ECHO: &[Metric] = &[
    Metric {
        unit: "ns CPU/request",
        more_is_better: false,
    },
    Metric {
        unit: "requests/s",
        more_is_better: true,
    },
];

type Server = fn() -> io::Result<()>;

const SERVERS: [(&str, Server); 4] = [
    ("corde", corde::serve),
    ("tokio-ct", tokio::serve),
    ("may", may::serve),
    ("epoll", epoll::serve),
];

pub(crate) fn rows() -> Vec<Row> {
    let row = |connections| {
        Row::new(format!("echo/{connections}"), ECHO)
            .corde(move || load("corde", connections))
            .peer("tokio-ct", move || load("tokio-ct", connections))
            .peer("may", move || load("may", connections))
            .bound("epoll", move || load("epoll", connections))
    };
    vec![row(64), row(1000)]
}

/// The main function of a server's process, which ends with its standard input.
pub(crate) fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    let server = SERVERS.iter().find(|(known, _)| *known == name);
    let (_, serve) = server.ok_or("there is no such server")?;
    system::pin([SERVER_PROCESSOR]);
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    Ok(serve()?)
}

/// Tells the load generator where the server listens.
fn announce(address: io::Result<SocketAddr>) -> io::Result<()> {
    println!("{}", address?);
    Ok(())
}

/// Starts a server and samples it under load.
fn load(server: &'static str, connections: usize) -> Sampler {
    // The server's process inherits the affinity and then sets its own.
    system::pin([LOAD_PROCESSOR]);
    let mut load = Load::start(server, connections).expect("a server can be started");
    whole(move || load.sample().expect("the server answers"))
}

/// A server and the connections to it.
struct Load {
    server: Child,
    cpu_clock: ClockId,
    epoll: Epoll,
    connections: Vec<TcpStream>,
}

impl Load {
    fn start(name: &str, count: usize) -> io::Result<Load> {
        let mut server = Command::new(env::current_exe()?)
            .args([SERVER, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        BufReader::new(server.stdout.take().expect("it is piped")).read_line(&mut address)?;
        let address: SocketAddr = address.trim().parse().map_err(io::Error::other)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for place in 0..count {
            let mut connection = TcpStream::connect(address)?;
            connection.set_nodelay(true)?;
            // A first answer, so that no connection is left waiting to be accepted when the queue for that is full.
            connection.write_all(&[0; MESSAGE])?;
            connection.read_exact(&mut [0; MESSAGE])?;
            connection.set_nonblocking(true)?;
            epoll.add(
                &connection,
                EpollEvent::new(EpollFlags::EPOLLIN, place as u64),
            )?;
            connections.push(connection);
        }
        let pid = i32::try_from(server.id()).expect("a process id fits");
        Ok(Load {
            server,
            cpu_clock: ClockId::pid_cpu_clock_id(Pid::from_raw(pid))?,
            epoll,
            connections,
        })
    }

    fn cpu_time(&self) -> io::Result<Duration> {
        Ok(self.cpu_clock.now()?.into())
    }

    /// Keeps all connections busy for a while, and waits for the last answers.
    fn sample(&mut self) -> io::Result<Vec<f64>> {
        let message = [b'c'; MESSAGE];
        let mut answer = [0; MESSAGE + 1];
        let mut events = [EpollEvent::empty(); 256];
        let (cpu_before, start) = (self.cpu_time()?, Instant::now());
        for mut connection in &self.connections {
            connection.write_all(&message)?;
        }
        let (mut answers, mut under_way) = (0, self.connections.len());
        while under_way > 0 {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            let go_on = start.elapsed() < SAMPLE;
            for event in &events[..ready] {
                let mut connection = &self.connections[event.data() as usize];
                let length = connection.read(&mut answer)?;
                if answer[..length] != message {
                    return Err(io::Error::new(ErrorKind::InvalidData, "not an echo"));
                }
                answers += 1;
                if go_on {
                    connection.write_all(&message)?;
                } else {
                    under_way -= 1;
                }
            }
        }
        let (took, cpu) = (start.elapsed(), self.cpu_time()? - cpu_before);
        let answers = f64::from(answers);
        Ok(vec![
            cpu.as_nanos() as f64 / answers,
            answers / took.as_secs_f64(),
        ])
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Closes its standard input, at which it ends.
        let _ = self.server.wait();
    }
}

mod corde {
    use ::corde::go;
    use ::corde::net::{TcpListener, TcpStream};

    use super::*;

    pub(super) fn serve() -> io::Result<()> {
        ::corde::run(|| {
            let listener = TcpListener::bind(ANY_PORT)?;
            announce(listener.local_addr())?;
            for stream in listener.incoming() {
                let stream = stream?;
                go!({ echo(stream) });
            }
            Ok(())
        })
    }

    fn echo(mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                length => stream.write_all(&buffer[..length])?,
            }
        }
    }
}

mod tokio {
    use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
    use ::tokio::net::{TcpListener, TcpStream};
    use ::tokio::runtime::Builder;

    use super::*;

    pub(super) fn serve() -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind(ANY_PORT).await?;
            announce(listener.local_addr())?;
            loop {
                let (stream, _) = listener.accept().await?;
                ::tokio::spawn(echo(stream));
            }
        })
    }

    async fn echo(mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                length => stream.write_all(&buffer[..length]).await?,
            }
        }
    }
}

mod may {
    use ::may::go;
    use ::may::net::{TcpListener, TcpStream};

    use super::*;

    pub(super) fn serve() -> io::Result<()> {
        ::may::config().set_workers(1).set_worker_pin(false);
        let server = go!(|| {
            let listener = TcpListener::bind(ANY_PORT)?;
            announce(listener.local_addr())?;
            for stream in listener.incoming() {
                let stream = stream?;
                go!(move || echo(stream));
            }
            Ok(())
        });
        server.join().expect("no panic")
    }

    fn echo(mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                length => stream.write_all(&buffer[..length])?,
            }
        }
    }
}

mod epoll {
    use std::net::TcpListener;

    use super::*;

    /// The least that the kernel can be asked: one `epoll_wait` for many requests, a `read` and a `write` for each.
    pub(super) fn serve() -> io::Result<()> {
        const LISTENER: u64 = u64::MAX;
        let listener = TcpListener::bind(ANY_PORT)?;
        announce(listener.local_addr())?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        let mut connections = Vec::new();
        let mut events = [EpollEvent::empty(); 256];
        let mut buffer = [0; BUFFER];
        loop {
            let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..ready] {
                if event.data() == LISTENER {
                    let (stream, _) = listener.accept()?;
                    stream.set_nodelay(true)?;
                    let interest = EpollEvent::new(EpollFlags::EPOLLIN, connections.len() as u64);
                    epoll.add(&stream, interest)?;
                    connections.push(stream);
                    continue;
                }
                let mut stream = &connections[event.data() as usize];
                match stream.read(&mut buffer)? {
                    0 => epoll.delete(stream)?,
                    length => stream.write_all(&buffer[..length])?,
                }
            }
        }
    }
}
