//! One connection: commands in, replies and messages out.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use corde::net::{Shutdown, TcpStream};
use corde::select;
use corde::thread::CancelToken;
use corde::time::timeout;

use crate::commands::{Database, Session};
use crate::reply;
use crate::request::Parser;

/// How much is read at once, and how much is gathered before it is written though there is input left to reply to.
const READ: usize = 16 * 1024;
const FLUSH_AT: usize = 64 * 1024;

/// How many messages are taken over before they are written.
const MESSAGES: usize = 256;

/// What is read of a connection after its last reply, and for how long.
const MAX_LEFTOVER: u64 = 1024 * 1024;
const MAX_LINGER: Duration = Duration::from_secs(1);

pub(crate) struct Connection<'a> {
    stream: &'a TcpStream,
    session: Session<'a>,
    parser: Parser,
    input: Input,
    /// Replies and messages that are not written yet. They are when there is nothing left to reply to.
    output: Vec<u8>,
    commands: u64,
    write_time: Duration,
}

impl<'a> Connection<'a> {
    /// The client may take `write_time` to receive some more of the replies.
    pub(crate) fn new(
        stream: &'a TcpStream,
        database: &'a Database,
        write_time: Duration,
    ) -> Connection<'a> {
        Connection {
            stream,
            session: Session::new(database),
            parser: Parser::default(),
            input: Input::default(),
            output: Vec::new(),
            commands: 0,
            write_time,
        }
    }

    /// How many commands have been replied to.
    pub(crate) fn commands(&self) -> u64 {
        self.commands
    }

    /// Replies to commands until the client has closed the connection, or wants that done; or `stop` is cancelled, and there is nothing left to
    /// reply to.
    pub(crate) fn serve(&mut self, stop: &CancelToken) -> io::Result<()> {
        while !self.session.quit {
            match self.parser.parse(self.input.unread()) {
                Ok(Some(length)) => self.execute(length)?,
                Ok(None) => {
                    self.flush()?;
                    match stop.run_until_cancelled(|| self.wait()) {
                        Some(Ok(true)) => {}
                        Some(Ok(false)) | None => return Ok(()),
                        Some(Err(error)) => return Err(error),
                    }
                }
                Err(error) => {
                    reply::error(
                        &format!("ERR Protocol error: {}", error.0),
                        &mut self.output,
                    );
                    break;
                }
            }
        }
        self.flush()?;
        self.finish()
    }

    /// Has the last reply arrive before the connection is closed: to close it while there is unread input would reset it.
    fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let mut leftover = self.stream.take(MAX_LEFTOVER);
        timeout(MAX_LINGER, || io::copy(&mut leftover, &mut io::sink()))??;
        Ok(())
    }

    /// Replies to a command of so many bytes.
    fn execute(&mut self, length: usize) -> io::Result<()> {
        let arguments = self.parser.arguments(self.input.unread());
        if !arguments.is_empty() {
            self.session.execute(arguments, &mut self.output);
            self.commands += 1;
        }
        self.parser.reset();
        self.input.consume(length);
        if self.output.len() >= FLUSH_AT {
            self.flush()?;
        }
        Ok(())
    }

    /// Waits for more input, or for messages. Returns false when nothing will come any more.
    fn wait(&mut self) -> io::Result<bool> {
        let Some(subscriber) = &self.session.subscriber else {
            return self.input.fill(self.stream);
        };
        select! {
            recv(subscriber.messages()) -> message => {
                let further = subscriber.messages().try_iter();
                for message in message.into_iter().chain(further).take(MESSAGES) {
                    self.output.extend_from_slice(&message);
                }
                // Who does not keep up would never know what it has missed.
                Ok(!subscriber.is_overrun())
            }
            readable(self.stream) => self.input.fill(self.stream),
        }
    }

    /// Writes all that there is. Whoever is about to wait calls it first: so the replies to all commands that came at once leave at once.
    fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.output[..];
        while !rest.is_empty() {
            match timeout(self.write_time, || { self.stream }.write(rest))? {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(2 * FLUSH_AT);
        Ok(())
    }
}

/// What has been read, and not been replied to.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Input {
    fn unread(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.begin += count;
    }

    /// Reads once, behind what is unread. The buffer grows with what has come, not with what is promised. Returns false at the end of input.
    fn fill(&mut self, mut stream: &TcpStream) -> io::Result<bool> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        if self.end == 0 && self.buffer.len() > FLUSH_AT {
            self.buffer = Vec::new();
        }
        if self.end + READ / 2 > self.buffer.len() {
            self.buffer.resize(2 * self.end + READ, 0);
        }
        loop {
            match stream.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
            }
        }
    }
}
