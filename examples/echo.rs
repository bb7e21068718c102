//! A TCP echo server with a green thread for each connection; Ctrl-C ends it cleanly.
//! Run it with `cargo run --release --example echo [ADDRESS]`, and talk to it with `nc 127.0.0.1 7777`.

use std::collections::HashMap;
use std::env;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corde::net::{Shutdown, TcpListener, TcpStream};
use corde::thread::{self, JoinHandle};

/// The open connections by number, with their green threads; none at all once the server stops.
type Open = Option<HashMap<u64, (Arc<TcpStream>, JoinHandle<()>)>>;

struct Server {
    connections: AtomicU64,
    bytes: AtomicU64,
    open: Mutex<Open>,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:7777".into());
    corde::run(|| {
        let main = thread::current();
        ctrlc::set_handler(move || main.unpark()).map_err(io::Error::other)?;
        let listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr()?);
        let server = Arc::new(Server {
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            open: Mutex::new(Some(HashMap::new())),
        });
        let acceptor = server.clone();
        thread::spawn(move || acceptor.accept_from(&listener));
        thread::park();
        server.stop();
        let [connections, bytes] =
            [&server.connections, &server.bytes].map(|count| count.load(Ordering::Relaxed));
        println!("served {connections} connections, {bytes} bytes");
        Ok(())
    })
}

impl Server {
    /// Not to be held across a suspension: the lock is std's.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_from(self: Arc<Server>, listener: &TcpListener) {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => {
                    // Locked until the connection is listed, for it takes itself off the list when it ends.
                    let mut open = self.open();
                    let Some(open) = &mut *open else { return };
                    let number = self.connections.fetch_add(1, Ordering::Relaxed);
                    let stream = Arc::new(stream);
                    let (server, theirs) = (self.clone(), stream.clone());
                    let thread = thread::spawn(move || server.serve(number, &theirs));
                    open.insert(number, (stream, thread));
                }
                // Out of file descriptors, most likely: some will be closed.
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn serve(&self, number: u64, stream: &TcpStream) {
        if let Err(error) = self.echo(stream) {
            eprintln!("connection {number}: {error}");
        }
        // Taken off the list under the lock, closed without it.
        let ended = self.open().as_mut().and_then(|open| open.remove(&number));
        drop(ended);
    }

    fn echo(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..count])?;
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Takes in no further connections, shuts the open ones down and waits for their green threads.
    fn stop(&self) {
        let open = self.open().take().unwrap_or_default();
        for (stream, _) in open.values() {
            // Fails if the peer has gone: then there is nothing to shut down.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for (_, thread) in open.into_values() {
            // Fails if it has panicked, which was reported then.
            let _ = thread.join();
        }
    }
}
