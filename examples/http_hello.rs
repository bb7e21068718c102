//! An HTTP/1.1 server that says hello: keep-alive, pipelining, no allocation for a request.
//! Run it with `cargo run --release --example http_hello [ADDRESS]`, and ask it with `curl http://127.0.0.1:8080/`.

use std::env;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::str;
use std::time::Duration;

use corde::go;
use corde::net::{Shutdown, TcpListener, TcpStream};

/// The longest request head in bytes, and the most header lines: larger ones are refused.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;

/// What is read of a connection after its last answer.
const MAX_LEFTOVER: u64 = 1024 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const HELLO_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n";
const HELLO_BODY: &[u8] = b"Hello, World!";
const CLOSE: &[u8] = b"Connection: close\r\n";

/// The status of an answer after which the connection is closed.
type Refusal = &'static str;

/// What there is to know of a request.
#[derive(Default)]
struct Request {
    /// Length of the head in bytes.
    head: usize,
    /// Length of the body in bytes.
    body: Option<u64>,
    wants_no_body: bool,
    wants_continue: bool,
    wants_close: bool,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    corde::run(|| {
        let listener = TcpListener::bind(&address)?;
        let address = listener.local_addr()?;
        writeln!(io::stdout(), "listening on http://{address}/")?;
        for stream in listener.incoming() {
            match stream {
                // An error on a connection ends that connection, and concerns nobody else.
                Ok(stream) => drop(go!({ serve(stream) })),
                // Out of file descriptors, most likely: some will be closed.
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    corde::thread::sleep(Duration::from_millis(100));
                }
            }
        }
        Ok(())
    })
}

/// Answers what comes in on a connection, with one write for all that came in by one read.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = [0; MAX_HEAD];
    let mut filled = 0;
    let mut body_left = 0;
    let mut output = Vec::new();
    loop {
        let count = stream.read(&mut input[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        output.clear();
        let (used, close) = answer(&input[..filled], &mut body_left, &mut output);
        stream.write_all(&output)?;
        if close {
            return finish(stream);
        }
        input.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Puts the answers to all requests in `input` into `output`. Returns how many bytes of input are done with, and whether the
/// connection is to be closed.
fn answer(input: &[u8], body_left: &mut u64, output: &mut Vec<u8>) -> (usize, bool) {
    let mut used = 0;
    loop {
        let skipped = (input.len() - used).min(usize::try_from(*body_left).unwrap_or(usize::MAX));
        used += skipped;
        *body_left -= skipped as u64;
        match parse(&input[used..]) {
            Ok(None) => return (used, false),
            Ok(Some(request)) => {
                say_hello(&request, output);
                used += request.head;
                *body_left = request.body.unwrap_or(0);
                if request.wants_close {
                    return (used, true);
                }
            }
            Err(status) => {
                for part in ["HTTP/1.1 ", status, "\r\nContent-Length: 0\r\n"] {
                    output.extend_from_slice(part.as_bytes());
                }
                output.extend_from_slice(CLOSE);
                output.extend_from_slice(b"\r\n");
                return (used, true);
            }
        }
    }
}

/// Reads the head of a request; none, if there is only a part of it.
fn parse(input: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut headers = [MaybeUninit::uninit(); MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let head = match parsed.parse_with_uninit_headers(input, &mut headers) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err("431 Request Header Fields Too Large");
        }
        Err(_) => return Err("400 Bad Request"),
    };
    let mut request = Request {
        head,
        wants_no_body: parsed.method == Some("HEAD"),
        wants_close: parsed.version == Some(0),
        ..Request::default()
    };
    for header in parsed.headers {
        request.heed(header)?;
    }
    Ok(Some(request))
}

impl Request {
    fn heed(&mut self, header: &httparse::Header<'_>) -> Result<(), Refusal> {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        if is("connection") {
            let mut options = header.value.split(|byte| *byte == b',');
            self.wants_close |=
                options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        } else if is("content-length") {
            let length = content_length(header.value).ok_or("400 Bad Request")?;
            // Two lengths that differ are an attempt to smuggle a request in.
            if self
                .body
                .replace(length)
                .is_some_and(|other| other != length)
            {
                return Err("400 Bad Request");
            }
        } else if is("transfer-encoding") {
            return Err("501 Not Implemented");
        } else if is("expect") {
            self.wants_continue = header.value.eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }
}

/// The number that `value` is, if it consists of digits only.
fn content_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(value).ok()?.parse().ok())?
}

fn say_hello(request: &Request, output: &mut Vec<u8>) {
    if request.wants_continue {
        output.extend_from_slice(CONTINUE);
    }
    output.extend_from_slice(HELLO_HEAD);
    if request.wants_close {
        output.extend_from_slice(CLOSE);
    }
    output.extend_from_slice(b"\r\n");
    if !request.wants_no_body {
        output.extend_from_slice(HELLO_BODY);
    }
}

/// Closes a connection so that the last answer arrives: to close it with unread input would reset it.
fn finish(stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream.take(MAX_LEFTOVER), &mut io::sink())?;
    Ok(())
}
