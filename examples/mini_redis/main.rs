//! A server that speaks Redis' protocol (RESP2), with strings, lists, expiry, publish and subscribe, and pipelining; and a client for it.
//! Run it with `cargo run --release --example mini_redis [ADDRESS]`, ask it with `redis-cli -p 6380` or with `mini_redis client ADDRESS [COMMAND ARGUMENT..]`,
//! and end it with Ctrl-C. Without a command the client takes one from each line of its input.
//!
//! `server.rs` accepts, bounds and stops; `connection.rs` reads commands and writes replies; `request.rs` understands what has been read, `reply.rs`
//! composes what is written; `commands.rs` is what there is to ask for, over `store.rs`, which holds the data, and `pubsub.rs`, which delivers messages.
//! `client.rs` is the other side.

use std::env;
use std::io::{self, Write};

use corde::net::TcpListener;
use corde::thread::{self, CancelToken};

use client::{Client, Value};

mod client;
mod commands;
mod connection;
mod pubsub;
mod reply;
mod request;
mod server;
mod store;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    corde::run(|| match &arguments[..] {
        [] => serve("127.0.0.1:6380"),
        [mode, address, command @ ..] if mode == "client" => ask(address, command),
        [address] => serve(address),
        _ => Err(io::Error::other(
            "usage: mini_redis [ADDRESS], or mini_redis client ADDRESS [COMMAND ARGUMENT..]",
        )),
    })
}

fn serve(address: &str) -> io::Result<()> {
    let stop = CancelToken::new();
    let wish = stop.clone();
    ctrlc::set_handler(move || wish.cancel()).map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    let served = server::serve(listener, &server::Limits::default(), &stop);
    writeln!(io::stdout(), "{served}")
}

/// Has a command answered, or those on standard input, one on a line.
fn ask(address: &str, command: &[String]) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    if !command.is_empty() {
        return show(&mut client, command);
    }
    loop {
        // This waits for somebody at a keyboard, and would hold up the green threads of its worker.
        let line = thread::blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        })?;
        if line.is_empty() {
            return Ok(());
        }
        match request::split(line.as_bytes()) {
            Some(command) if command.is_empty() => {}
            Some(command) => show(&mut client, &command)?,
            None => println!("unbalanced quotes"),
        }
    }
}

/// Shows the reply to a command; if it subscribes, also all messages that come.
fn show(client: &mut Client, command: &[impl AsRef<[u8]>]) -> io::Result<()> {
    let mut reply = client.call(command)?;
    if command[0].as_ref().eq_ignore_ascii_case(b"subscribe") && !matches!(reply, Value::Error(_)) {
        loop {
            writeln!(io::stdout(), "{reply}")?;
            reply = client.receive()?;
        }
    }
    writeln!(io::stdout(), "{reply}")
}
