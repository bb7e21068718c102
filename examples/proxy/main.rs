//! A TCP proxy: half-closed connections, an idle timeout, byte counts, an orderly stop; two green threads for each connection.
//! Run it with `cargo run --release --example proxy [ADDRESS] UPSTREAM`, for instance `proxy 127.0.0.1:8888 example.org:80`, and end it with Ctrl-C.
//!
//! `server.rs` accepts, bounds and stops; `relay.rs` passes bytes on.

use std::env;
use std::io::{self, Write};

use corde::net::TcpListener;
use corde::thread::CancelToken;

mod relay;
mod server;

fn main() -> io::Result<()> {
    let mut arguments: Vec<_> = env::args().skip(1).collect();
    let Some(upstream) = arguments.pop() else {
        return Err(io::Error::other("usage: proxy [ADDRESS] UPSTREAM"));
    };
    let address = arguments.pop().unwrap_or("127.0.0.1:8888".into());
    corde::run(|| {
        let stop = CancelToken::new();
        let wish = stop.clone();
        ctrlc::set_handler(move || wish.cancel()).map_err(io::Error::other)?;
        let listener = TcpListener::bind(&address)?;
        writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
        // Whether somebody reads what it writes is none of its clients' business.
        let report = |relayed| drop(writeln!(io::stdout(), "{relayed}"));
        server::serve(
            listener,
            &upstream,
            &server::Limits::default(),
            &stop,
            report,
        );
        Ok(())
    })
}
