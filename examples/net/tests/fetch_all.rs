//! The example `fetch_all`, as a process of its own, against servers of this process: green threads, with and without TLS.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;

use corde::net::{TcpListener, TcpStream};
use corde::sync::atomic::{AtomicUsize, Ordering};
use corde::sync::{Arc, Barrier, Condvar, Mutex};
use corde::{go, thread};
use rstest::rstest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use util::program::Program;

mod util;

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A file of `tests/data`.
fn data(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/data").join(name)
}

fn server_config(certificate: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(data(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(data("server.key")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key);
    Arc::new(config.unwrap())
}

/// A server, which goes on until the process ends.
struct Server {
    scheme: &'static str,
    address: SocketAddr,
}

impl Server {
    /// One that has `answer` write what it answers to a request for a path, and closes the connection: in order, unless that is an error.
    fn start<F>(tls: Option<Arc<ServerConfig>>, answer: F) -> Server
    where
        F: Fn(&str, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            scheme: if tls.is_some() { "https" } else { "http" },
            address: listener.local_addr().unwrap(),
        };
        let answer = Arc::new(answer);
        go!({
            for stream in listener.incoming() {
                let (stream, tls, answer) = (stream.unwrap(), tls.clone(), answer.clone());
                // Clients that distrust it are none of its business.
                go!({ drop(serve(stream, tls, &*answer)) });
            }
        });
        server
    }

    fn with_tls<F>(answer: F) -> Server
    where
        F: Fn(&str, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    {
        Server::start(Some(server_config("server.pem")), answer)
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }
}

fn serve<F>(stream: TcpStream, tls: Option<Arc<ServerConfig>>, answer: &F) -> io::Result<()>
where
    F: Fn(&str, &mut dyn Write) -> io::Result<()>,
{
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        let mut stream = stream;
        let path = read_request(&mut stream)?;
        return answer(&path, &mut stream);
    };
    let session = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, stream);
    let path = read_request(&mut stream)?;
    answer(&path, &mut stream)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Returns the path that is asked for.
fn read_request(stream: &mut impl Read) -> io::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Host: 127.0.0.1:"))
    );
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("GET", "HTTP/1.1"));
    Ok(words[1].to_owned())
}

fn fetch(options: &[&str], urls: &[&str]) -> Program {
    let ca = data("ca.pem");
    let trust = ["--ca", ca.to_str().unwrap()];
    let args = [&trust, options, urls].concat();
    Program::start(Path::new(env!("CARGO_BIN_EXE_fetch_all")), &args)
}

/// What is printed about a URL: status or `error`, length, and the URL with the error.
#[derive(Debug)]
struct Line {
    status: String,
    length: String,
    rest: String,
}

/// Returns what is printed of each URL, and the summary up to the time, and whether the program ends well.
fn run(mut program: Program) -> (Vec<Line>, String, bool) {
    program.end_input();
    let mut lines = program.rest();
    let success = program.wait().success();
    let Some(summary) = lines.pop() else {
        panic!("it complains: {:?}", program.errors());
    };
    let (counts, _time) = summary.rsplit_once(", ").unwrap();
    let parse = |line: &String| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (status, length) = (words.next().unwrap(), words.next().unwrap());
        let _time: f64 = words.next().unwrap().parse().unwrap();
        let rest = words.collect::<Vec<_>>().join(" ");
        Line {
            status,
            length,
            rest,
        }
    };
    (
        lines.iter().map(parse).collect(),
        counts.to_owned(),
        success,
    )
}

/// Fetches one URL, and expects that it works.
#[track_caller]
fn expect(url: &str, status: &str, length: usize) {
    let (lines, counts, success) = run(fetch(&[], &[url]));
    assert_eq!((&*lines[0].status, &*lines[0].rest), (status, url));
    assert_eq!(lines[0].length, length.to_string());
    assert_eq!(counts, "1 fetched, 0 failed");
    assert!(success);
}

/// Fetches one URL, and expects an error.
#[track_caller]
fn expect_error(options: &[&str], url: &str, expected: &str) {
    let (lines, counts, success) = run(fetch(options, &[url]));
    assert_eq!(lines.len(), 1);
    assert_eq!((&*lines[0].status, &*lines[0].length), ("error", "-"));
    let url = url.escape_debug();
    let error = lines[0].rest.strip_prefix(&format!("{url}: ")).unwrap();
    assert!(error.contains(expected), "{error:?} without {expected:?}");
    assert_eq!(counts, "0 fetched, 1 failed");
    assert!(!success);
}

#[rstest]
fn results_are_in_the_order_of_the_list(#[values(false, true)] tls: bool) {
    let served = (Mutex::new(0), Condvar::new());
    let tls = tls.then(|| server_config("server.pem"));
    let server = Server::start(tls, move |path, stream| {
        let (count, changed) = &served;
        if path == "/1" {
            // The first one comes last.
            drop(changed.wait_while(count.lock().unwrap(), |count| *count < 3));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        stream.write_all(path.repeat(100).as_bytes())?;
        *count.lock().unwrap() += 1;
        changed.notify_all();
        Ok(())
    });
    let urls = ["/1", "/22", "/333", "/4444"].map(|path| server.url(path));
    let (lines, counts, success) = run(fetch(&[], &urls.each_ref().map(|url| &**url)));
    assert_eq!(counts, "4 fetched, 0 failed");
    assert!(success);
    for (index, (line, url)) in lines.iter().zip(&urls).enumerate() {
        assert_eq!((&*line.status, &line.rest), ("200", url));
        assert_eq!(line.length, ((index + 2) * 100).to_string());
    }
}

#[rstest]
#[case::with_a_length("Content-Length: 5\r\n\r\nhello", "hello")]
#[case::with_a_length_twice("Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello", "hello")]
#[case::empty("Content-Length: 0\r\n\r\n", "")]
#[case::until_the_end("\r\nhello", "hello")]
#[case::in_chunks(
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n,\r\n0b\r\n\r\nhow are u\r\n0\r\n\r\n",
    "hello,\r\nhow are u"
)]
#[case::in_chunks_with_trailers(
    "transfer-encoding: Chunked\r\nContent-Length: 1\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    "hello"
)]
fn bodies_are_what_was_sent(
    #[values(false, true)] tls: bool,
    #[values(false, true)] in_pieces: bool,
    #[case] answer: &'static str,
    #[case] expected: &str,
) {
    let tls = tls.then(|| server_config("server.pem"));
    let server = Server::start(tls, move |_, stream| {
        let answer = format!("HTTP/1.1 200 OK\r\n{answer}");
        for piece in answer.as_bytes().chunks(if in_pieces { 1 } else { 1000 }) {
            stream.write_all(piece)?;
            stream.flush()?;
        }
        Ok(())
    });
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("corde-fetch-{}-{number}", process::id()));
    fs::create_dir(&folder).unwrap();
    let url = server.url("/");
    let options = ["--save", folder.to_str().unwrap()];
    let (_, _, success) = run(fetch(&options, &[&url, &url]));
    let bodies = ["1", "2"].map(|name| fs::read_to_string(folder.join(name)));
    fs::remove_dir_all(&folder).unwrap();
    assert!(success);
    for body in bodies {
        assert_eq!(body.unwrap(), expected);
    }
}

#[rstest]
#[case::no_content("204 No Content\r\n\r\n", "204", 0)]
#[case::not_modified("304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304", 0)]
#[case::not_found("404 Not Found\r\nContent-Length: 4\r\n\r\ngone", "404", 4)]
#[case::early_hints(
    "103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
    "200",
    5
)]
#[case::redirect_without_a_place("302 Found\r\nContent-Length: 4\r\n\r\nhere", "302", 4)]
fn every_status_is_a_result(
    #[case] answer: &'static str,
    #[case] status: &str,
    #[case] length: usize,
) {
    let server = Server::start(None, move |_, stream| write!(stream, "HTTP/1.1 {answer}"));
    expect(&server.url("/"), status, length);
}

#[rstest]
fn large_bodies_arrive_whole(#[values(false, true)] tls: bool) {
    let tls = tls.then(|| server_config("server.pem"));
    let server = Server::start(tls, |_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")?;
        stream.write_all(&[b'x'; 3_000_000])
    });
    expect(&server.url("/"), "200", 3_000_000);
}

#[rstest]
#[case::beside("d", "/a/b/d")]
#[case::beside_with_a_query("d?y=//z", "/a/b/d?y=//z")]
#[case::above("../d", "/a/d")]
#[case::above_all("../../../d", "/d")]
#[case::the_folder(".", "/a/b/")]
#[case::the_folder_above("..", "/a/")]
#[case::from_the_top("/d/./e/../f", "/d/f")]
#[case::another_query("?y=2", "/a/b/c?y=2")]
#[case::same_scheme("//HOST/d", "/d")]
#[case::whole("http://HOST/d", "/d")]
#[case::whole_without_a_path("HTTP://HOST?y=2", "/?y=2")]
#[case::with_a_fragment("d#e", "/a/b/d")]
fn redirects_lead_where_they_say(#[case] location: &'static str, #[case] target: &'static str) {
    let host = Arc::new(Mutex::new(String::new()));
    let theirs = host.clone();
    let server = Server::start(None, move |path, stream| match path {
        "/a/b/c?x=1" => {
            let location = location.replace("HOST", &theirs.lock().unwrap());
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            )
        }
        path => {
            assert_eq!(path, target);
            stream.write_all(HELLO.as_bytes())
        }
    });
    *host.lock().unwrap() = server.address.to_string();
    expect(&server.url("/a/b/c?x=1"), "200", 5);
}

#[rstest]
fn all_kinds_of_redirects_are_followed(#[values(301, 302, 303, 307, 308)] status: u16) {
    let secure = Server::with_tls(|_, stream| stream.write_all(HELLO.as_bytes()));
    let target = secure.url("/");
    let plain = Server::start(None, move |_, stream| {
        write!(stream, "HTTP/1.1 {status} x\r\nLocation: {target}\r\n\r\n")
    });
    expect(&plain.url("/"), "200", 5);
}

#[test]
fn redirects_have_an_end() {
    // Each path has one x less than what it leads to.
    let server = Server::start(None, |path, stream| match path {
        "/xxx" => stream.write_all(HELLO.as_bytes()),
        _ => write!(stream, "HTTP/1.1 302 x\r\nLocation: {path}x\r\n\r\n"),
    });
    let url = server.url("/");
    let (lines, ..) = run(fetch(&["--redirects", "3"], &[&url]));
    assert_eq!(lines[0].status, "200");
    expect_error(&["--redirects", "2"], &url, "it has more than 2 redirects");
}

#[test]
fn an_error_after_a_redirect_names_the_place() {
    let server = Server::start(None, |_, stream| {
        stream.write_all(b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\n\r\n")
    });
    expect_error(&[], &server.url("/"), "at http://127.0.0.1:1/: ");
}

#[rstest]
#[case::no_head("", "the head of the answer has no end")]
#[case::half_a_head("HTTP/1.1 200 OK\r\nConte", "the head of the answer has no end")]
#[case::an_endless_head(&format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(100_000)), "the head of the answer has no end")]
#[case::no_http("SSH-2.0-OpenSSH\r\n\r\n", "invalid HTTP version")]
#[case::two_lengths(
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the body has two lengths"
)]
#[case::no_length("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "invalid digit")]
#[case::too_short(
    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
    "the body ends after 5 bytes, too early"
)]
#[case::too_long(
    "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nhello",
    "the body is too long"
)]
#[case::unknown_encoding(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nhello",
    "encoded in an unknown way"
)]
#[case::chunk_without_a_size(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
    "a chunk has no size"
)]
#[case::chunk_too_short(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello",
    "the body ends after 5 bytes, too early"
)]
#[case::chunk_too_long(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
    "a chunk is longer than its size"
)]
#[case::chunks_that_are_too_long(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nffffffffffffffff\r\n",
    "the body is too long"
)]
#[case::chunks_without_an_end(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "the body ends between two chunks"
)]
#[case::redirect_to_nonsense(
    "HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\n\r\n",
    "only http and https are known"
)]
fn a_wrong_answer_is_an_error(#[case] answer: &str, #[case] expected: &str) {
    let answer = answer.to_owned();
    let server = Server::start(None, move |_, stream| stream.write_all(answer.as_bytes()));
    expect_error(&[], &server.url("/"), expected);
}

#[rstest]
#[case::no_url("nonsense", "a URL begins with http://")]
#[case::unknown_scheme("ftp://127.0.0.1/", "only http and https are known")]
#[case::no_host("http:///path", "the URL has no host")]
#[case::no_port("http://127.0.0.1:x/", "invalid digit")]
#[case::too_large_port("http://127.0.0.1:65536/", "too large")]
#[case::half_a_bracket("http://[::1/", "a bracket is missing")]
#[case::with_a_user("http://me:secret@127.0.0.1/", "a user's name is not sent to anybody")]
#[case::with_a_line_end("http://127.0.0.1/\r\nHeader:injected", "a URL has no such characters")]
#[case::nobody_listens("http://127.0.0.1:1/", "refused")]
#[case::nobody_listens_at_v6("http://[::1]:1/", "")]
fn a_url_that_leads_nowhere_is_an_error(#[case] url: &str, #[case] expected: &str) {
    expect_error(&[], url, expected);
}

#[rstest]
#[case::of_an_unknown_authority("server.pem", "stranger.pem", "UnknownIssuer")]
#[case::for_another_name("other.pem", "ca.pem", "not valid for name")]
#[case::that_has_expired("expired.pem", "ca.pem", "expired")]
fn a_certificate_that_is_not_to_be_trusted_is_an_error(
    #[case] certificate: &str,
    #[case] trusted: &str,
    #[case] expected: &str,
) {
    let config = server_config(certificate);
    let server = Server::start(Some(config), |_, stream| stream.write_all(HELLO.as_bytes()));
    let trusted = data(trusted);
    let options = ["--ca", trusted.to_str().unwrap()];
    expect_error(&options, &server.url("/"), expected);
}

#[rstest]
#[case::that_is_missing("none.pem", "none.pem: ")]
#[case::without_a_certificate("make", "make: there is no certificate in it")]
fn a_file_of_authorities_is_looked_at_for_https_only(#[case] file: &str, #[case] expected: &str) {
    let secure = Server::with_tls(|_, stream| stream.write_all(HELLO.as_bytes()));
    let plain = Server::start(None, |_, stream| stream.write_all(HELLO.as_bytes()));
    let file = data(file);
    let options = ["--ca", file.to_str().unwrap()];
    let (lines, counts, _) = run(fetch(&options, &[&secure.url("/"), &plain.url("/")]));
    assert_eq!(counts, "1 fetched, 1 failed");
    assert!(lines[0].rest.contains(expected), "{lines:?}");
}

#[test]
fn a_secure_connection_that_is_cut_off_is_no_end_of_the_body() {
    let server = Server::with_tls(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")?;
        stream.flush()?;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    expect_error(&[], &server.url("/"), "close_notify");
}

#[test]
fn http_at_a_port_of_https_is_an_error() {
    let server = Server::start(None, |_, stream| stream.write_all(HELLO.as_bytes()));
    let url = format!("https://{}/", server.address);
    expect_error(&[], &url, "");
}

#[rstest]
fn one_that_takes_too_long_is_left(#[values(false, true)] tls: bool) {
    let tls = tls.then(|| server_config("server.pem"));
    let server = Server::start(tls, |path, stream| {
        if path == "/in_the_body" {
            stream.write_all(&HELLO.as_bytes()[..HELLO.len() - 1])?;
            stream.flush()?;
        }
        loop {
            thread::park();
        }
    });
    let urls = ["/at_once", "/in_the_body"].map(|path| server.url(path));
    let urls = urls.each_ref().map(|url| &**url);
    let (lines, counts, success) = run(fetch(&["--timeout", "0.3"], &urls));
    for (line, url) in lines.iter().zip(urls) {
        assert_eq!(line.rest, format!("{url}: it takes longer than 300ms"));
    }
    assert_eq!(counts, "0 fetched, 2 failed");
    assert!(!success);
}

#[test]
fn an_error_stops_nobody_else() {
    let server = Server::with_tls(|_, stream| stream.write_all(HELLO.as_bytes()));
    let url = server.url("/");
    let (lines, counts, success) = run(fetch(
        &["--at-once", "1"],
        &["http://127.0.0.1:1/", &url, "nonsense", &url],
    ));
    let statuses: Vec<&str> = lines.iter().map(|line| &*line.status).collect();
    assert_eq!(statuses, ["error", "200", "error", "200"]);
    assert_eq!(counts, "2 fetched, 2 failed");
    assert!(!success);
}

#[test]
fn as_many_are_fetched_at_once_as_may_be_and_no_more() {
    // Three that wait for each other: with two at once they would for ever, with four one could be early.
    let (meet, under_way) = (Barrier::new(3), AtomicUsize::new(0));
    let server = Server::start(None, move |_, stream| {
        let others = under_way.fetch_add(1, Ordering::SeqCst);
        meet.wait();
        under_way.fetch_sub(1, Ordering::SeqCst);
        write!(stream, "HTTP/1.1 {} x\r\n\r\n", 200 + others)
    });
    let urls: Vec<String> = (0..12)
        .map(|number| server.url(&format!("/{number}")))
        .collect();
    let urls: Vec<&str> = urls.iter().map(|url| &**url).collect();
    let (lines, ..) = run(fetch(&["--at-once", "3"], &urls));
    assert_eq!(lines.len(), 12);
    for line in &lines {
        assert!(["200", "201", "202"].contains(&&*line.status), "{lines:?}");
    }
}

#[test]
fn many_are_fetched_over_tls() {
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let theirs = asked.clone();
    let server = Server::with_tls(move |path, stream| {
        theirs.lock().unwrap().insert(path.to_owned());
        stream.write_all(HELLO.as_bytes())
    });
    let mut program = fetch(&["--at-once", "25"], &[]);
    for number in 0..100 {
        program.send(&format!("{}\n\n", server.url(&format!("/{number}"))));
    }
    let (lines, counts, success) = run(program);
    assert_eq!(counts, "100 fetched, 0 failed");
    assert!(success);
    assert!(lines.iter().all(|line| line.status == "200"));
    assert_eq!(asked.lock().unwrap().len(), 100);
}

#[rstest]
#[case::without_a_value(&["--timeout"])]
#[case::unknown(&["--colour", "red"])]
#[case::none_at_once(&["--at-once", "0"])]
#[case::no_time(&["--timeout", "-1"])]
fn wrong_options_are_refused(#[case] options: &[&str]) {
    let program = Path::new(env!("CARGO_BIN_EXE_fetch_all"));
    let mut program = Program::start(program, options);
    program.end_input();
    assert_eq!(program.wait().code(), Some(1));
    assert_eq!(program.rest(), [""; 0]);
}
