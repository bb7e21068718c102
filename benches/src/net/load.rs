//! The load: a loop over epoll that keeps one request under way on each connection.

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};
use nix::time::ClockId;
use nix::unistd::Pid;

use super::{ANSWER, BULK, LOAD_PROCESSOR, Load, MESSAGE, REQUEST, SERVER, Service};
use crate::harness::{Sampler, whole};
use crate::system;

/// Starts a server and samples it under load.
pub(super) fn sampler(server: &'static str, load: Load) -> Sampler {
    // The server's process inherits the affinity and then sets its own.
    system::pin([LOAD_PROCESSOR]);
    let mut run = Run::start(server, load).expect("a server can be started");
    whole(move || run.sample().expect("the server answers"))
}

/// Asks a server for a while, and returns for how many requests, the first ones included.
pub(super) fn requests(server: &str, load: Load) -> io::Result<usize> {
    system::pin([LOAD_PROCESSOR]);
    // Tracing is slow, and what is done once should not count.
    let sample = Duration::from_secs(2);
    let mut run = Run::start(server, Load { sample, ..load })?;
    run.sample()?;
    Ok(run.connections.len() + run.took.len() * load.pipelined)
}

/// A server and the connections to it.
struct Run {
    load: Load,
    server: Child,
    cpu_clock: ClockId,
    address: SocketAddr,
    epoll: Epoll,
    request: Vec<u8>,
    answer: Vec<u8>,
    connections: Vec<Connection>,
    /// The server's memory before there were connections.
    memory: f64,
    took: Vec<Duration>,
}

/// One connection, and how far the request on it has come.
struct Connection {
    /// None while there is none, between two requests of which each has its own.
    peer: Option<Peer>,
    sent: usize,
    received: usize,
    began: Instant,
}

enum Peer {
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

impl Peer {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Peer::Stream(stream) => (&*stream).read(buffer),
            Peer::Datagrams(socket) => socket.recv(buffer),
        }
    }

    fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Peer::Stream(stream) => (&*stream).write(buffer),
            Peer::Datagrams(socket) => socket.send(buffer),
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Peer::Stream(stream) => stream.as_fd(),
            Peer::Datagrams(socket) => socket.as_fd(),
        }
    }
}

fn wrong() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not the answer")
}

impl Run {
    fn start(name: &str, load: Load) -> io::Result<Run> {
        let mut server = match env::var("BENCH_TRACER") {
            Ok(tracer) => {
                let mut words = tracer.split_whitespace();
                let mut command = Command::new(words.next().ok_or(ErrorKind::NotFound)?);
                command.args(words).arg(env::current_exe()?);
                command
            }
            Err(_) => Command::new(env::current_exe()?),
        };
        let mut server = server
            .args([SERVER, name, load.service.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        BufReader::new(server.stdout.take().expect("it is piped")).read_line(&mut address)?;
        let pid = i32::try_from(server.id()).expect("a process id fits");
        let (request, answer) = match load.service {
            Service::Http => (REQUEST, ANSWER),
            Service::Bulk => (&[b'c'; BULK][..], &[b'c'; BULK][..]),
            _ => (&[b'c'; MESSAGE][..], &[b'c'; MESSAGE][..]),
        };
        let mut run = Run {
            load,
            server,
            cpu_clock: ClockId::pid_cpu_clock_id(Pid::from_raw(pid))?,
            address: address.trim().parse().map_err(io::Error::other)?,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            request: request.repeat(load.pipelined),
            answer: answer.repeat(load.pipelined),
            connections: Vec::new(),
            memory: system::resident_memory_of(pid),
            took: Vec::new(),
        };
        for place in 0..load.connections {
            let peer = match load.service {
                Service::Once => None,
                _ => Some(run.connected(place)?),
            };
            run.connections.push(Connection {
                peer,
                sent: 0,
                received: 0,
                began: Instant::now(),
            });
        }
        Ok(run)
    }

    /// A connection that has had a first answer: none is left waiting to be accepted.
    fn connected(&self, place: usize) -> io::Result<Peer> {
        let peer = if self.load.service == Service::Udp {
            let socket = UdpSocket::bind(super::ANY_PORT)?;
            socket.connect(self.address)?;
            Peer::Datagrams(socket)
        } else {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            Peer::Stream(stream)
        };
        // Small enough for any buffer.
        let (request, answer) = match self.load.service {
            Service::Http => (REQUEST, ANSWER),
            _ => (&[b'c'; MESSAGE][..], &[b'c'; MESSAGE][..]),
        };
        peer.write(request)?;
        let (mut received, mut buffer) = (0, [0; BULK]);
        while received < answer.len() {
            received += peer.read(&mut buffer)?;
        }
        match &peer {
            Peer::Stream(stream) => stream.set_nonblocking(true)?,
            Peer::Datagrams(socket) => socket.set_nonblocking(true)?,
        }
        self.watch(&peer, place)?;
        Ok(peer)
    }

    fn watch(&self, peer: &Peer, place: usize) -> io::Result<()> {
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        Ok(self
            .epoll
            .add(peer, EpollEvent::new(interest, place as u64))?)
    }

    /// Begins to connect.
    fn connect(&self, place: usize) -> io::Result<Peer> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
        let SocketAddr::V4(address) = self.address else {
            unreachable!("servers listen on IPv4");
        };
        let address = SockaddrIn::from(address);
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let peer = Peer::Stream(socket.into());
        self.watch(&peer, place)?;
        Ok(peer)
    }

    fn cpu_time(&self) -> io::Result<Duration> {
        Ok(self.cpu_clock.now()?.into())
    }

    /// Begins a request.
    fn begin(&mut self, place: usize) -> io::Result<()> {
        if self.load.service == Service::Once {
            let peer = self.connect(place)?;
            self.connections[place].peer = Some(peer);
        }
        let connection = &mut self.connections[place];
        (connection.sent, connection.received) = (0, 0);
        connection.began = Instant::now();
        // What is being connected is written to when it stands.
        if self.load.service == Service::Once {
            return Ok(());
        }
        self.send(place)
    }

    /// Sends what is left of the request.
    fn send(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        let peer = connection.peer.as_ref().expect("it is there");
        while connection.sent < self.request.len() {
            match peer.write(&self.request[connection.sent..]) {
                Ok(count) => connection.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what is there; returns whether the answer is complete.
    fn receive(&mut self, place: usize, buffer: &mut [u8]) -> io::Result<bool> {
        let connection = &mut self.connections[place];
        let peer = connection.peer.as_ref().expect("it is there");
        loop {
            let closes = self.load.service == Service::Once;
            if connection.received == self.answer.len() && !closes {
                break;
            }
            match peer.read(buffer) {
                Ok(0) if connection.received == self.answer.len() => break,
                Ok(count) => {
                    let expected = self.answer[connection.received..].get(..count);
                    if count == 0 || expected != Some(&buffer[..count]) {
                        return Err(wrong());
                    }
                    connection.received += count;
                    // A read that got less than there could be has got all.
                    if count < buffer.len() && connection.received < self.answer.len() {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.took.push(connection.began.elapsed());
        if self.load.service == Service::Once {
            connection.peer = None;
        }
        Ok(true)
    }

    /// Keeps all connections busy for a while, and waits for the last answers.
    fn sample(&mut self) -> io::Result<Vec<f64>> {
        let mut buffer = vec![0; BULK];
        let mut events = [EpollEvent::empty(); 256];
        self.took.clear();
        let (cpu_before, start) = (self.cpu_time()?, Instant::now());
        for place in 0..self.connections.len() {
            self.begin(place)?;
        }
        let mut under_way = self.connections.len();
        while under_way > 0 {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            let go_on = start.elapsed() < self.load.sample;
            for event in &events[..ready] {
                let place = event.data() as usize;
                if self.connections[place].peer.is_none() {
                    continue;
                }
                if event.events().contains(EpollFlags::EPOLLOUT) {
                    self.send(place)?;
                }
                if !event.events().contains(EpollFlags::EPOLLIN) {
                    continue;
                }
                if self.connections[place].received == self.answer.len()
                    && self.load.service != Service::Once
                {
                    continue;
                }
                if !self.receive(place, &mut buffer)? {
                    continue;
                }
                if go_on {
                    self.begin(place)?;
                } else {
                    under_way -= 1;
                }
            }
        }
        let (took, cpu) = (start.elapsed(), self.cpu_time()? - cpu_before);
        let answers = (self.took.len() * self.load.pipelined) as f64;
        self.took.sort_unstable();
        let p99 = self.took[self.took.len() * 99 / 100];
        let mut values = vec![
            cpu.as_nanos() as f64 / answers,
            answers / took.as_secs_f64(),
            p99.as_secs_f64() * 1e6,
        ];
        if self.load.memory {
            let pid = i32::try_from(self.server.id()).expect("a process id fits");
            let used = system::resident_memory_of(pid) - self.memory;
            values.push(used / self.load.connections as f64);
        }
        Ok(values)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Closes its standard input, at which it ends.
        let _ = self.server.wait();
    }
}
