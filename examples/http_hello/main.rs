//! An HTTP/1.1 server in plain blocking code, a green thread for each connection: keep-alive, pipelining, chunked bodies, limits, timeouts, and
//! an orderly stop.
//! Run it with `cargo run --release --example http_hello [ADDRESS]`, ask it with `curl http://127.0.0.1:8080/`, and end it with Ctrl-C.
//!
//! | path | method | answer |
//! | --- | --- | --- |
//! | `/` | GET, HEAD | Hello, World! |
//! | `/echo` | POST, PUT | the request's body |
//! | `/stream` | GET, HEAD | many lines, in chunks, as if they were just being made |
//!
//! `server.rs` accepts, bounds and stops; `connection.rs` reads requests and writes answers; `request.rs` and `chunked.rs` understand what has been read;
//! `response.rs` composes answers; `routes.rs` is what this server is about.

use std::env;
use std::io::{self, Write};
use std::process;

use corde::net::TcpListener;
use corde::thread::CancelToken;

mod chunked;
mod connection;
mod request;
mod response;
mod routes;
mod server;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    corde::run(|| {
        let stop = CancelToken::new();
        let wish = stop.clone();
        ctrlc::set_handler(move || {
            // Who asks twice does not want to wait for the requests in flight.
            if wish.is_cancelled() {
                process::exit(130);
            }
            wish.cancel();
        })
        .map_err(io::Error::other)?;
        let listener = TcpListener::bind(&address)?;
        writeln!(
            io::stdout(),
            "listening on http://{}/",
            listener.local_addr()?
        )?;
        let served = server::serve(listener, &server::Limits::default(), &stop);
        writeln!(io::stdout(), "{served}")
    })
}
