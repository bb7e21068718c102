//! The bound: loops over epoll, level-triggered, which ask the kernel for the least that there can be: one `epoll_wait` for many requests, a
//! `read` and a `write` for each.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use std::mem;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{ANY_PORT, BUFFER, BULK, REQUESTS, Service, announce, answer};

struct Connection {
    stream: TcpStream,
    /// Requests that are not complete.
    input: Vec<u8>,
    /// What the other end had no room for.
    unsent: Vec<u8>,
}

pub(super) fn serve(service: Service) -> io::Result<()> {
    if service == Service::Udp {
        return datagrams();
    }
    let listener = TcpListener::bind(ANY_PORT)?;
    // As many may wait as in corde.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096)?)?;
    announce(listener.local_addr())?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, event(EpollFlags::EPOLLIN, listener.as_raw_fd()))?;
    // By the file descriptor.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = [EpollEvent::empty(); 256];
    let size = match service {
        Service::Bulk => BULK,
        Service::Http => REQUESTS,
        _ => BUFFER,
    };
    let (mut buffer, mut output) = (vec![0; size], Vec::new());
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            let fd = event.data() as RawFd;
            if fd == listener.as_raw_fd() {
                let connection = accept(service, &listener, &epoll)?;
                let place = connection.stream.as_raw_fd() as usize;
                if connections.len() <= place {
                    connections.resize_with(place + 1, || None);
                }
                connections[place] = Some(connection);
                continue;
            }
            let place = &mut connections[fd as usize];
            let connection = place.as_mut().expect("it is watched");
            if !connection.go_on(service, &epoll, &mut buffer, &mut output)? {
                // Closing it takes it out of the epoll instance.
                *place = None;
            }
        }
    }
}

fn event(interest: EpollFlags, fd: RawFd) -> EpollEvent {
    EpollEvent::new(interest, fd as u64)
}

fn accept(service: Service, listener: &TcpListener, epoll: &Epoll) -> io::Result<Connection> {
    let (stream, _) = listener.accept()?;
    if service == Service::Bulk {
        // Small answers always find room.
        stream.set_nonblocking(true)?;
    }
    stream.set_nodelay(true)?;
    epoll.add(&stream, event(EpollFlags::EPOLLIN, stream.as_raw_fd()))?;
    Ok(Connection {
        stream,
        input: Vec::new(),
        unsent: Vec::new(),
    })
}

impl Connection {
    /// Does what can be done; false at the end of the connection.
    fn go_on(
        &mut self,
        service: Service,
        epoll: &Epoll,
        buffer: &mut [u8],
        output: &mut Vec<u8>,
    ) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let unsent = mem::take(&mut self.unsent);
            self.send(epoll, &unsent)?;
            if self.unsent.is_empty() {
                let fd = self.stream.as_raw_fd();
                epoll.modify(&self.stream, &mut event(EpollFlags::EPOLLIN, fd))?;
            }
            return Ok(true);
        }
        let length = match self.stream.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        };
        if service != Service::Http {
            self.send(epoll, &buffer[..length])?;
            return Ok(service != Service::Once);
        }
        output.clear();
        if self.input.is_empty() {
            let used = answer(&buffer[..length], output);
            self.input.extend_from_slice(&buffer[used..length]);
        } else {
            self.input.extend_from_slice(&buffer[..length]);
            let used = answer(&self.input, output);
            self.input.drain(..used);
        }
        self.send(epoll, output)?;
        Ok(true)
    }

    fn send(&mut self, epoll: &Epoll, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent = bytes.to_vec();
                    let fd = self.stream.as_raw_fd();
                    epoll.modify(&self.stream, &mut event(EpollFlags::EPOLLOUT, fd))?;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn datagrams() -> io::Result<()> {
    let socket = UdpSocket::bind(ANY_PORT)?;
    socket.set_nonblocking(true)?;
    announce(socket.local_addr())?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&socket, event(EpollFlags::EPOLLIN, socket.as_raw_fd()))?;
    let mut events = [EpollEvent::empty(); 1];
    let mut buffer = [0; BUFFER];
    loop {
        epoll.wait(&mut events, EpollTimeout::NONE)?;
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    socket.send_to(&buffer[..length], from)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
