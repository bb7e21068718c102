//! corde's servers: a green thread for each connection.

use std::io::{self, Read, Write};

use ::corde::go;
use ::corde::net::{TcpListener, TcpStream, UdpSocket};

use super::{ANY_PORT, BUFFER, BULK, MESSAGE, REQUESTS, Service, announce, answer};

pub(super) fn serve(service: Service) -> io::Result<()> {
    ::corde::run(|| {
        if service == Service::Udp {
            return datagrams();
        }
        let listener = TcpListener::bind(ANY_PORT)?;
        announce(listener.local_addr())?;
        for stream in listener.incoming() {
            let stream = stream?;
            go!({
                match service {
                    Service::Echo => echo(stream),
                    Service::Bulk => bulk(stream),
                    Service::Http => http(stream),
                    Service::Once | Service::Udp => once(stream),
                }
            });
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

fn bulk(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BULK];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn http(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (vec![0; REQUESTS], Vec::new());
    let mut filled = 0;
    loop {
        match stream.read(&mut input[filled..])? {
            0 => return Ok(()),
            length => filled += length,
        }
        let used = answer(&input[..filled], &mut output);
        input.copy_within(used..filled, 0);
        filled -= used;
        stream.write_all(&output)?;
        output.clear();
    }
}

fn once(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    stream.read_exact(&mut message)?;
    stream.write_all(&message)
}

fn datagrams() -> io::Result<()> {
    let socket = UdpSocket::bind(ANY_PORT)?;
    announce(socket.local_addr())?;
    let mut buffer = [0; BUFFER];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], from)?;
    }
}
