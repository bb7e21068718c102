//! WebSockets by `tungstenite`, which knows nothing of corde, over a `TcpStream` of corde: a server that echoes and broadcasts, and a client.
//! Run it with `cargo run --release -p corde-examples-net --bin websocket -- serve [ADDRESS [PATIENCE]]`, and talk to it by
//! `... -- connect ws://127.0.0.1:9001/echo`, whose messages are the lines of standard input. Ctrl-C ends the server, with a close frame to all.
//!
//! `/echo` sends every message back, `/room` passes it on to all others that are there. Who is silent for `PATIENCE` seconds, 30 if not given, is sent a
//! ping, and is given up after as many more. Nobody waits for a client that reads too slowly: it is put out.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{self, Read, Write};

use corde::net::{Shutdown, TcpListener, TcpStream};
use corde::select;
use corde::sync::atomic::{AtomicU64, Ordering};
use corde::sync::channel::{Receiver, Sender, bounded, never};
use corde::sync::{Mutex, MutexGuard, PoisonError};
use corde::thread::{self, CancelToken};
use corde::time::{Duration, Instant, timeout};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::{StatusCode, Uri};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// The longest message in bytes.
const LONGEST: usize = 1024 * 1024;

/// How many messages wait to be sent to a client.
const WAITING: usize = 64;

/// What is read of a connection after the last frame that counts.
const MAX_LEFTOVER: u64 = 1024 * 1024;

const DEFAULT_ADDRESS: &str = "127.0.0.1:9001";
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        ["serve"] => corde::run(|| serve(DEFAULT_ADDRESS, DEFAULT_PATIENCE)),
        ["serve", address] => corde::run(|| serve(address, DEFAULT_PATIENCE)),
        ["serve", address, patience] => {
            let patience = Duration::try_from_secs_f64(patience.parse()?)?;
            corde::run(|| serve(address, patience))
        }
        ["connect", url] => corde::run(|| connect(url)),
        _ => Err("usage: websocket serve [ADDRESS [PATIENCE]], or websocket connect URL".into()),
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST))
        // Per connection.
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024)
}

// Both sides.

/// A connection for `tungstenite`. Where a read would wait, it gives way to messages that are to be sent: then it fails with `WouldBlock`, which leaves
/// the WebSocket as it is. So one green thread does both.
struct Line {
    stream: TcpStream,
    /// What is to be sent. When there is no sender any more, the connection is to be closed.
    mail: Receiver<Message>,
    patience: Duration,
    heard: Instant,
    /// Nothing has been heard since we have sent a ping.
    pinged: bool,
    gave_way_to: Option<Interruption>,
}

enum Interruption {
    Mail(Message),
    NoMoreMail,
    Silence,
}

impl Line {
    fn new(stream: TcpStream, patience: Duration) -> io::Result<Line> {
        stream.set_nodelay(true)?;
        Ok(Line {
            stream,
            mail: never(),
            patience,
            heard: Instant::now(),
            pinged: false,
            gave_way_to: None,
        })
    }

    /// Closes the connection so that what was sent arrives: to close it with unread input would reset it.
    fn finish(self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let mut rest = (&self.stream).take(MAX_LEFTOVER);
        timeout(self.patience, || io::copy(&mut rest, &mut io::sink()))??;
        Ok(())
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = self.patience * if self.pinged { 2 } else { 1 };
        let left = limit.saturating_sub(self.heard.elapsed());
        self.gave_way_to = Some(select! {
            readable(self.stream) => {
                let count = (&self.stream).read(buffer)?;
                self.heard = Instant::now();
                self.pinged = false;
                return Ok(count);
            }
            recv(self.mail) -> message => match message {
                Ok(message) => Interruption::Mail(message),
                Err(_) => Interruption::NoMoreMail,
            },
            default(left) => Interruption::Silence,
        });
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        timeout(self.patience, || self.stream.write(buffer))?
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Has `hear` every message that comes, and sends the mail, until the connection has been closed. When there is no more mail it is closed by us.
fn converse(
    socket: &mut WebSocket<Line>,
    mut hear: impl FnMut(&mut WebSocket<Line>, Message) -> tungstenite::Result<()>,
    farewell: impl Fn() -> CloseFrame,
) -> tungstenite::Result<()> {
    loop {
        match socket.read() {
            Ok(message) => hear(socket, message)?,
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                let line = socket.get_mut();
                match line.gave_way_to.take() {
                    Some(Interruption::Mail(message)) => socket.send(message)?,
                    Some(Interruption::NoMoreMail) => {
                        // What remains is the other side's close frame.
                        line.mail = never();
                        socket.close(Some(farewell()))?;
                    }
                    Some(Interruption::Silence) if !line.pinged && socket.can_write() => {
                        socket.get_mut().pinged = true;
                        socket.send(Message::Ping("are you there?".into()))?;
                    }
                    Some(Interruption::Silence) => {
                        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                    }
                    None => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn close_frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

// The server.

fn serve(address: &str, patience: Duration) -> Result<()> {
    let main = thread::current();
    ctrlc::set_handler(move || main.unpark())?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let server = Server {
        patience,
        ends: CancelToken::new(),
        served: AtomicU64::new(0),
        members: Mutex::default(),
    };
    // Ends when all connections have.
    thread::scope(|scope| {
        let acceptor = scope.spawn(|| {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => drop(scope.spawn(|| {
                        if let Err(error) = server.attend(stream) {
                            eprintln!("no handshake: {error}");
                        }
                    })),
                    // Out of file descriptors, most likely: some will be closed.
                    Err(error) => {
                        eprintln!("cannot accept: {error}");
                        thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        });
        thread::park();
        acceptor.cancel();
        server.end();
    });
    println!("served {} connections", server.served.into_inner());
    Ok(())
}

struct Server {
    patience: Duration,
    /// Cancelled when it does.
    ends: CancelToken,
    served: AtomicU64,
    /// The open connections by number.
    members: Mutex<HashMap<u64, Member>>,
}

struct Member {
    service: Service,
    mail: Sender<Message>,
}

#[derive(Clone, Copy, PartialEq)]
enum Service {
    Echo,
    Room,
}

impl Server {
    fn members(&self) -> MutexGuard<'_, HashMap<u64, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees a connection through, from the handshake to the close frames.
    fn attend(&self, stream: TcpStream) -> Result<()> {
        let handshake = || timeout(self.patience, || self.shake_hands(stream));
        let Some(greeted) = self.ends.run_until_cancelled(handshake) else {
            return Ok(());
        };
        let (service, mut socket) = greeted??;
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        socket.get_mut().mail = self.enter(number, service);
        let result = self.talk(number, service, &mut socket);
        self.members().remove(&number);
        if let Err(error) = result {
            eprintln!("connection {number} failed: {error}");
            if let Some(frame) = complaint(&error) {
                // Fails if the other side is gone.
                let _ = socket.close(Some(frame));
            }
        }
        // As well, or if it does not go in time.
        let _ = socket.into_inner().finish();
        Ok(())
    }

    fn shake_hands(&self, stream: TcpStream) -> Result<(Service, WebSocket<Line>)> {
        let mut service = Service::Echo;
        #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
        let check = |request: &Request, response: Response| {
            service = match request.uri().path() {
                "/echo" => Service::Echo,
                "/room" => Service::Room,
                _ => {
                    let mut refusal =
                        ErrorResponse::new(Some("there are /echo and /room\n".into()));
                    *refusal.status_mut() = StatusCode::NOT_FOUND;
                    return Err(refusal);
                }
            };
            Ok(response)
        };
        let line = Line::new(stream, self.patience)?;
        let socket = tungstenite::accept_hdr_with_config(line, check, Some(config()))
            .map_err(|error| error.to_string())?;
        Ok((service, socket))
    }

    /// Lists a connection, and returns its mail.
    fn enter(&self, number: u64, service: Service) -> Receiver<Message> {
        let (mail, receiver) = bounded(WAITING);
        let mut members = self.members();
        // Else nobody would tell it that the server ends: it has no sender then.
        if !self.ends.is_cancelled() {
            members.insert(number, Member { service, mail });
        }
        receiver
    }

    fn talk(
        &self,
        number: u64,
        service: Service,
        socket: &mut WebSocket<Line>,
    ) -> tungstenite::Result<()> {
        let hear = |socket: &mut WebSocket<Line>, message: Message| {
            if message.is_text() || message.is_binary() {
                match service {
                    Service::Echo => socket.send(message)?,
                    Service::Room => self.pass_on(number, &message),
                }
            }
            // tungstenite answers pings and close frames by itself.
            Ok(())
        };
        let farewell = || {
            if self.ends.is_cancelled() {
                close_frame(CloseCode::Away, "the server ends")
            } else {
                close_frame(CloseCode::Policy, "too slow")
            }
        };
        converse(socket, hear, farewell)
    }

    /// Sends a message to all others in the room. Waits for nobody: who has no place for it is put out.
    fn pass_on(&self, from: u64, message: &Message) {
        self.members().retain(|number, member| {
            *number == from
                || member.service != Service::Room
                || member.mail.try_send(message.clone()).is_ok()
        });
    }

    fn end(&self) {
        self.ends.cancel();
        // Without a sender there is no more mail, and the connections are closed.
        self.members().clear();
    }
}

/// What a client is told about its mistake.
fn complaint(error: &tungstenite::Error) -> Option<CloseFrame> {
    use tungstenite::Error;
    match error {
        Error::Capacity(_) => Some(close_frame(CloseCode::Size, "the message is too long")),
        Error::Utf8(_) => Some(close_frame(CloseCode::Invalid, "the text is not UTF-8")),
        Error::Protocol(_) => Some(close_frame(CloseCode::Protocol, "that is no WebSocket")),
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Some(close_frame(CloseCode::Policy, "no sign of life"))
        }
        _ => None,
    }
}

// The client.

fn connect(url: &str) -> Result<()> {
    let uri: Uri = url.parse()?;
    if uri.scheme_str() != Some("ws") {
        return Err("the URL begins with ws://".into());
    }
    let host = uri.host().ok_or("the URL has no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80)))?;
    let line = Line::new(stream, DEFAULT_PATIENCE)?;
    let (mut socket, _) = tungstenite::client::client_with_config(uri, line, Some(config()))
        .map_err(|error| error.to_string())?;
    socket.get_mut().mail = lines_of_stdin();
    let hear = |_: &mut WebSocket<Line>, message: Message| {
        match message {
            Message::Text(text) => writeln!(io::stdout(), "{text}")?,
            Message::Binary(data) => writeln!(io::stdout(), "({} bytes)", data.len())?,
            Message::Close(Some(frame)) => {
                let code = u16::from(frame.code);
                writeln!(io::stdout(), "closed: {code} {}", frame.reason)?;
            }
            Message::Close(None) => writeln!(io::stdout(), "closed")?,
            _ => {}
        }
        Ok(())
    };
    converse(&mut socket, hear, || close_frame(CloseCode::Normal, ""))?;
    Ok(())
}

/// The lines of standard input as messages, until its end. An OS thread waits for them.
fn lines_of_stdin() -> Receiver<Message> {
    let (mail, receiver) = bounded(WAITING);
    thread::spawn_blocking(move || {
        for line in io::stdin().lines().map_while(io::Result::ok) {
            if mail.send(Message::text(line)).is_err() {
                // The connection is closed.
                return;
            }
        }
    });
    receiver
}
