//! Fetches the URLs of a list, some of them at once, over HTTP/1.1 and HTTPS. The code is plain and blocking, and so is `rustls`, over a `TcpStream` of corde.
//! Run it with `cargo run --release -p corde-examples-net --bin fetch_all -- [OPTION...] [URL...]`; without URLs it reads them from standard input, a line each.
//!
//! Prints status, length in bytes, time in seconds and URL of each, in the order of the list. An error takes the place of that, and stops nobody else;
//! but then the program's own status is 1.
//!
//! | option | default | what it is |
//! | --- | --- | --- |
//! | `--at-once NUMBER` | 16 | how many are fetched at a time |
//! | `--timeout SECONDS` | 30 | for each URL, from the look-up of the name to the last byte, with all redirects |
//! | `--redirects NUMBER` | 5 | how many are followed |
//! | `--ca FILE` | `/etc/ssl/certs/ca-certificates.crt` | whom to trust, in PEM |
//! | `--save FOLDER` | | where the bodies go to, as files `1`, `2` and so on |

use std::env;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str;

use corde::net::TcpStream;
use corde::sync::{Arc, OnceLock};
use corde::thread;
use corde::time::{Duration, Instant, timeout};
use httparse::Status;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// The longest head of an answer in bytes, its most lines, and the longest body.
const MAX_HEAD: u64 = 64 * 1024;
const MAX_HEADERS: usize = 128;
const MAX_BODY: u64 = 64 * 1024 * 1024;

fn main() -> Result<ExitCode> {
    let (options, mut urls) = Options::from_args(env::args().skip(1))?;
    if urls.is_empty() {
        let list = io::read_to_string(io::stdin())?;
        let lines = list.lines().map(str::trim);
        urls.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let fetcher = Fetcher {
        options,
        tls: OnceLock::new(),
    };
    let failed = corde::run(|| fetcher.fetch_all(&urls))?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

struct Options {
    at_once: usize,
    timeout: Duration,
    redirects: usize,
    ca: PathBuf,
    save: Option<PathBuf>,
}

impl Options {
    /// Returns the URLs as well.
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<(Options, Vec<String>)> {
        let mut options = Options {
            at_once: 16,
            timeout: Duration::from_secs(30),
            redirects: 5,
            ca: "/etc/ssl/certs/ca-certificates.crt".into(),
            save: None,
        };
        let mut urls = Vec::new();
        while let Some(arg) = args.next() {
            if !arg.starts_with("--") {
                urls.push(arg);
                continue;
            }
            let value = args.next().ok_or("an option needs a value")?;
            match &*arg {
                "--at-once" => options.at_once = value.parse()?,
                "--timeout" => options.timeout = Duration::try_from_secs_f64(value.parse()?)?,
                "--redirects" => options.redirects = value.parse()?,
                "--ca" => options.ca = value.into(),
                "--save" => options.save = Some(value.into()),
                _ => return Err(format!("there is no option {arg}").into()),
            }
        }
        if options.at_once == 0 {
            return Err("--at-once is 1 at least".into());
        }
        Ok((options, urls))
    }
}

struct Fetcher {
    options: Options,
    /// Made for the first https URL.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Fetcher {
    /// Fetches all, and prints what comes of it. Returns how many have failed.
    fn fetch_all(&self, urls: &[String]) -> io::Result<usize> {
        let begun = Instant::now();
        let fetch = |(number, url): (usize, &String)| {
            let begun = Instant::now();
            (self.fetch_and_save(number, url), begun.elapsed())
        };
        let mut out = io::stdout();
        let mut failed = 0;
        thread::scope(|scope| {
            let results = scope.map((1..).zip(urls), self.options.at_once, fetch);
            for (url, (result, time)) in urls.iter().zip(results) {
                let time = time.as_secs_f64();
                match result {
                    Ok(Response { status, body, .. }) => {
                        writeln!(out, "{status:>5} {:>10} {time:>8.3}  {url}", body.len())?;
                    }
                    Err(error) => {
                        failed += 1;
                        // It may be anything, and is to stay on its line.
                        let url = url.escape_debug();
                        writeln!(out, "error {:>10} {time:>8.3}  {url}: {error}", "-")?;
                    }
                }
            }
            io::Result::Ok(())
        })?;
        let time = begun.elapsed().as_secs_f64();
        let fetched = urls.len() - failed;
        writeln!(out, "{fetched} fetched, {failed} failed, {time:.3} seconds")?;
        Ok(failed)
    }

    fn fetch_and_save(&self, number: usize, url: &str) -> Result<Response> {
        let limit = self.options.timeout;
        let response = timeout(limit, || self.follow(Url::parse(url)?))
            .map_err(|_| format!("it takes longer than {limit:?}"))??;
        if let Some(folder) = &self.options.save {
            let path = folder.join(number.to_string());
            thread::blocking(|| fs::write(path, &response.body))?;
        }
        Ok(response)
    }

    /// Fetches a URL, or the one that it leads to.
    fn follow(&self, mut url: Url) -> Result<Response> {
        for redirects in 0..=self.options.redirects {
            let response = self.get(&url).map_err(|error| match redirects {
                0 => error,
                _ => format!("at {url}: {error}").into(),
            })?;
            match (response.status, &response.location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => url = url.join(location)?,
                _ => return Ok(response),
            }
        }
        Err(format!("it has more than {} redirects", self.options.redirects).into())
    }

    /// Gets what the server answers for this very URL.
    fn get(&self, url: &Url) -> Result<Response> {
        let stream = TcpStream::connect((&*url.host, url.port))?;
        stream.set_nodelay(true)?;
        if url.secure {
            let name = ServerName::try_from(url.host.clone())?;
            let session = ClientConnection::new(self.tls()?, name)?;
            exchange(StreamOwned::new(session, stream), url)
        } else {
            exchange(stream, url)
        }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>> {
        let ca = &self.options.ca;
        let load = || {
            thread::blocking(|| load_tls(ca)).map_err(|error| format!("{}: {error}", ca.display()))
        };
        Ok(self.tls.get_or_init(load).clone()?)
    }
}

fn load_tls(ca: &Path) -> Result<Arc<ClientConfig>> {
    let certificates = CertificateDer::pem_file_iter(ca)?.collect::<Result<Vec<_>, _>>()?;
    let mut roots = RootCertStore::empty();
    // Bundles have some with oddities, which are left out.
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err("there is no certificate in it".into());
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

struct Response {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

/// Sends a request, and receives the answer.
fn exchange(mut stream: impl Read + Write, url: &Url) -> Result<Response> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: corde-fetch_all\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        url.target,
        url.authority(),
    );
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut reader = BufReader::new(stream);
    let head = loop {
        let head = Head::read(&mut reader)?;
        // What comes before the answer, as `103 Early Hints`.
        if !(100..200).contains(&head.status) {
            break head;
        }
    };
    let body = match head.body {
        Body::Length(length) => read_length(&mut reader, length)?,
        Body::Chunked => read_chunked(&mut reader)?,
        Body::UntilEnd => read_until_end(&mut reader)?,
    };
    Ok(Response {
        status: head.status,
        location: head.location,
        body,
    })
}

/// What there is to know of the head of an answer.
struct Head {
    status: u16,
    location: Option<String>,
    body: Body,
}

/// Where a body ends.
enum Body {
    Length(u64),
    Chunked,
    UntilEnd,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> Result<Head> {
        let mut text = Vec::new();
        let mut reader = reader.take(MAX_HEAD);
        while !text.ends_with(b"\n\r\n") && !text.ends_with(b"\n\n") {
            if reader.read_until(b'\n', &mut text)? == 0 {
                return Err("the head of the answer has no end".into());
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(&text)?;
        let status = parsed.code.ok_or("the answer has no status")?;
        let mut head = Head {
            status,
            location: None,
            body: Body::UntilEnd,
        };
        for header in &*parsed.headers {
            head.heed(header)?;
        }
        if matches!(status, 204 | 304) {
            head.body = Body::Length(0);
        }
        Ok(head)
    }

    fn heed(&mut self, header: &httparse::Header<'_>) -> Result<()> {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        let value = || str::from_utf8(header.value).map(|value| value.trim());
        if is("location") {
            self.location = Some(value()?.to_owned());
        } else if is("transfer-encoding") {
            if !value()?.eq_ignore_ascii_case("chunked") {
                return Err("the body is encoded in an unknown way".into());
            }
            self.body = Body::Chunked;
        } else if is("content-length") {
            let length = value()?.parse()?;
            match self.body {
                // It says more than any length.
                Body::Chunked => {}
                Body::Length(other) if other != length => {
                    return Err("the body has two lengths".into());
                }
                _ => self.body = Body::Length(length),
            }
        }
        Ok(())
    }
}

fn read_length(reader: &mut impl BufRead, length: u64) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    read_more(reader, length, &mut body)?;
    Ok(body)
}

/// Reads so many bytes into `body`, which must not grow too large.
fn read_more(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<()> {
    let before = body.len() as u64;
    if length > MAX_BODY.saturating_sub(before) {
        return Err("the body is too long".into());
    }
    let count = reader.take(length).read_to_end(body)? as u64;
    if count < length {
        return Err(format!("the body ends after {} bytes, too early", before + count).into());
    }
    Ok(())
}

fn read_chunked(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(reader)?;
        let Ok(Status::Complete((_, size))) = httparse::parse_chunk_size(&size) else {
            return Err("a chunk has no size".into());
        };
        if size == 0 {
            break;
        }
        read_more(reader, size, &mut body)?;
        if read_line(reader)? != b"\r\n" {
            return Err("a chunk is longer than its size".into());
        }
    }
    // What is left is headers, which nobody wants, and an empty line.
    while read_line(reader)? != b"\r\n" {}
    Ok(body)
}

fn read_line(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(MAX_HEAD).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Err("the body ends between two chunks".into());
    }
    Ok(line)
}

/// Reads until the server closes the connection. Over TLS it has to say so: else somebody may have cut it off, and `rustls` returns an error.
fn read_until_end(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(MAX_BODY + 1).read_to_end(&mut body)?;
    if body.len() as u64 > MAX_BODY {
        return Err("the body is too long".into());
    }
    Ok(body)
}

/// A URL of http or https, taken apart.
#[derive(Clone, Debug)]
struct Url {
    secure: bool,
    /// An IPv6 address is without its brackets.
    host: String,
    port: u16,
    /// Path and query.
    target: String,
}

impl Url {
    fn parse(text: &str) -> Result<Url> {
        // Others are to be escaped; line ends would end up in the request.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a URL has no such characters".into());
        }
        let (scheme, rest) = text.split_once("://").ok_or("a URL begins with http://")?;
        let secure = match &*scheme.to_ascii_lowercase() {
            "http" => false,
            "https" => true,
            _ => return Err("only http and https are known".into()),
        };
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("a user's name is not sent to anybody".into());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or("a bracket is missing")?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        if host.is_empty() {
            return Err("the URL has no host".into());
        }
        let port = match port {
            "" | ":" => default_port(secure),
            _ => {
                let number = port.strip_prefix(':').ok_or("a port has a colon")?;
                number.parse()?
            }
        };
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        Ok(Url {
            secure,
            host: host.to_owned(),
            port,
            target: without_dots(path) + query,
        })
    }

    /// The URL that `location` is, seen from this one.
    fn join(&self, location: &str) -> Result<Url> {
        let scheme = if self.secure { "https" } else { "http" };
        let is_whole = location
            .split_once(':')
            .is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if is_whole {
            return Url::parse(location);
        }
        if location.starts_with("//") {
            return Url::parse(&format!("{scheme}:{location}"));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some('#') | None => self.target.clone(),
            Some(_) => {
                let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
                format!("{folder}{location}")
            }
        };
        Url::parse(&format!("{scheme}://{}{target}", self.authority()))
    }

    /// The server, as the request names it.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.secure) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// A path without `.` and `..`, which begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(part),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}
