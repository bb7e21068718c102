//! Tokio's servers: a task for each connection.

use std::io;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpListener, TcpStream, UdpSocket};
use ::tokio::runtime::Builder;

use super::{ANY_PORT, BUFFER, BULK, MESSAGE, REQUESTS, Service, announce, answer};

pub(super) fn serve(service: Service) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        if service == Service::Udp {
            return datagrams().await;
        }
        let listener = TcpListener::bind(ANY_PORT).await?;
        announce(listener.local_addr())?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A task for each, none of which has room for the buffers of another.
            match service {
                Service::Echo => ::tokio::spawn(echo(stream)),
                Service::Bulk => ::tokio::spawn(bulk(stream)),
                Service::Http => ::tokio::spawn(http(stream)),
                Service::Once | Service::Udp => ::tokio::spawn(once(stream)),
            };
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

async fn bulk(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BULK];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

async fn http(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (vec![0; REQUESTS], Vec::new());
    let mut filled = 0;
    loop {
        match stream.read(&mut input[filled..]).await? {
            0 => return Ok(()),
            length => filled += length,
        }
        let used = answer(&input[..filled], &mut output);
        input.copy_within(used..filled, 0);
        filled -= used;
        stream.write_all(&output).await?;
        output.clear();
    }
}

async fn once(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    stream.read_exact(&mut message).await?;
    stream.write_all(&message).await
}

async fn datagrams() -> io::Result<()> {
    let socket = UdpSocket::bind(ANY_PORT).await?;
    announce(socket.local_addr())?;
    let mut buffer = [0; BUFFER];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..length], from).await?;
    }
}
