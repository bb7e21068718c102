//! The other side: sending commands, and receiving replies.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};

use corde::net::{TcpStream, ToSocketAddrs};

use crate::reply;
use crate::request::{self, MAX_COMMAND};

/// How deep arrays may be nested.
const MAX_DEPTH: usize = 8;

/// How much is sent before a reply is asked for.
const FLUSH_AT: usize = 64 * 1024;

/// A reply, or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nil,
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
}

/// A connection to a server.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// Commands that have not been sent yet.
    output: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: impl ToSocketAddrs) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client {
            stream: BufReader::new(stream),
            output: Vec::new(),
        })
    }

    /// Has a command answered.
    pub(crate) fn call(&mut self, command: &[impl AsRef<[u8]>]) -> io::Result<Value> {
        self.send(command)?;
        self.receive()
    }

    /// Sends a command. It leaves with others, at the latest when a reply is received. Each has a reply, in the order of the commands.
    ///
    /// Do not send without end without receiving: the server does not take in more when its replies are not taken.
    pub(crate) fn send(&mut self, command: &[impl AsRef<[u8]>]) -> io::Result<()> {
        reply::array(command.len(), &mut self.output);
        for argument in command {
            reply::bulk(argument.as_ref(), &mut self.output);
        }
        if self.output.len() >= FLUSH_AT {
            self.flush()?;
        }
        Ok(())
    }

    /// Receives the next reply, or, for a subscriber, the next message.
    pub(crate) fn receive(&mut self) -> io::Result<Value> {
        self.flush()?;
        self.value(MAX_DEPTH)
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.get_mut().write_all(&self.output);
        self.output.clear();
        sent
    }

    fn value(&mut self, depth: usize) -> io::Result<Value> {
        let line = self.line()?;
        let [kind, rest @ ..] = &line[..] else {
            return Err(invalid("an empty line"));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        let number = || request::integer(rest).ok_or(invalid("no number"));
        match kind {
            b'+' => Ok(Value::Status(text())),
            b'-' => Ok(Value::Error(text())),
            b':' => Ok(Value::Integer(number()?)),
            b'$' | b'*' if rest == b"-1" => Ok(Value::Nil),
            b'$' => {
                let length = usize::try_from(number()?).unwrap_or(usize::MAX);
                if length > MAX_COMMAND {
                    return Err(invalid("a value that is too long"));
                }
                let mut bytes = Vec::new();
                (&mut self.stream)
                    .take(length as u64 + 2)
                    .read_to_end(&mut bytes)?;
                if bytes.len() < length + 2 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                bytes.truncate(length);
                Ok(Value::Bulk(bytes))
            }
            b'*' if depth > 0 => {
                let values = (0..number()?).map(|_| self.value(depth - 1));
                values.collect::<io::Result<_>>().map(Value::Array)
            }
            _ => Err(invalid("a reply of an unknown kind")),
        }
    }

    /// Receives a line, and leaves its end out.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let limit = MAX_COMMAND as u64;
        (&mut self.stream)
            .take(limit)
            .read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(whole) => line.truncate(whole.len()),
            None => return Err(ErrorKind::UnexpectedEof.into()),
        }
        Ok(line)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("the server has sent {what}"),
    )
}

/// As `redis-cli` shows it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(0, f)
    }
}

impl Value {
    /// Shows it behind so many columns, with which further lines begin.
    fn show(&self, column: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("(nil)"),
            Value::Status(text) => f.write_str(text),
            Value::Error(text) => write!(f, "(error) {text}"),
            Value::Integer(number) => write!(f, "(integer) {number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Array(values) if values.is_empty() => f.write_str("(empty array)"),
            Value::Array(values) => {
                let width = values.len().to_string().len();
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        write!(f, "\n{:column$}", "")?;
                    }
                    write!(f, "{:>width$}) ", index + 1)?;
                    value.show(column + width + 2, f)?;
                }
                Ok(())
            }
        }
    }
}
