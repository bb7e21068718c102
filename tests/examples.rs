//! The servers of `examples/`, as processes of their own, driven over std's sockets.
#![cfg(feature = "runtime")]

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rstest::rstest;
use socket2::SockRef;
use util::{child, left_out_under_valgrind};

mod util;

/// After this a server is taken for hung. It decides no test that passes.
const LIMIT: Duration = Duration::from_secs(30);

/// A server that is killed when the test is done with it, or has failed.
struct Server {
    process: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    address: String,
}

impl Server {
    /// Starts an example on a port of its own.
    fn start(example: &str) -> Server {
        Server::start_by("exec $RUNNER \"$0\" 127.0.0.1:0", example)
    }

    /// Has a shell start an example, which is its `$0`, by the `$RUNNER` that this target needs.
    fn start_by(script: &str, example: &str) -> Server {
        let program = env::current_exe().unwrap();
        let target = program.ancestors().nth(2).unwrap();
        let path = target.join("examples").join(example);
        assert!(path.exists(), "{path:?} is missing: cargo build --examples");
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(path)
            .env("RUNNER", child::runner())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines(process.stdout.take().unwrap());
        let stderr = lines(process.stderr.take().unwrap());
        let mut server = Server {
            process,
            stdout,
            stderr,
            address: String::new(),
        };
        let line = server.stdout.recv_timeout(LIMIT).unwrap();
        let address = line.strip_prefix("listening on ").unwrap();
        let address = address.strip_prefix("http://").unwrap_or(address);
        server.address = address.trim_end_matches('/').to_owned();
        server
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends what Ctrl-C sends.
    fn interrupt(&self) {
        let pid = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: the process has not been waited for, so the number is still its own.
        let result = unsafe { libc::kill(pid, libc::SIGINT) };
        assert_eq!(result, 0);
    }

    /// Waits for the process to end.
    fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "the server goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended, and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The lines that come from a pipe, until it is closed.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Fails if the test has ended.
            let _ = sender.send(line);
        }
    });
    receiver
}

mod echo {
    use super::*;

    /// Each worker takes two file descriptors.
    const FEW_FILES: &str = "ulimit -n 32; CORDE_WORKERS=2 exec $RUNNER \"$0\" 127.0.0.1:0";

    static PATTERN: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..30_011).map(|place| (place % 251) as u8).collect());

    /// Sends the pattern over and over until no more can be sent, as nobody reads; returns how many bytes that were.
    fn send_until_full(mut stream: &TcpStream) -> usize {
        stream
            .set_write_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut sent = 0;
        loop {
            match stream.write(&PATTERN[sent % PATTERN.len()..]) {
                Ok(count) => sent += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return sent;
                }
            }
        }
    }

    /// Sends `message` and checks that it comes back.
    #[track_caller]
    fn exchange(mut stream: &TcpStream, message: &[u8]) {
        stream.write_all(message).unwrap();
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, message);
    }

    #[test]
    fn sends_every_byte_back_and_then_closes() {
        let server = Server::start("echo");
        let message = PATTERN.repeat(100);
        let mut stream = server.connect();
        let mut writer = stream.try_clone().unwrap();
        let mut answer = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&message).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            stream.read_to_end(&mut answer).unwrap();
        });
        assert!(answer == message, "the echo differs from the message");
    }

    #[test]
    fn sends_every_byte_back_to_a_client_that_reads_late() {
        let server = Server::start("echo");
        let mut stream = server.connect();
        let sent = send_until_full(&stream);
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), sent);
        for part in answer.chunks(PATTERN.len()) {
            assert!(part == &PATTERN[..part.len()], "the echo differs");
        }
    }

    #[test]
    fn serves_connections_at_the_same_time() {
        let server = Server::start("echo");
        let streams: Vec<_> = (0..100).map(|_| server.connect()).collect();
        for message in [&b"first"[..], b"second"] {
            for stream in streams.iter().rev() {
                exchange(stream, message);
            }
        }
    }

    #[test]
    #[cfg_attr(
        feature = "tsan",
        ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
    )]
    fn ends_cleanly_on_ctrl_c_while_connections_are_open() {
        let mut server = Server::start("echo");
        exchange(&server.connect(), b"closed before");
        let streams = [server.connect(), server.connect()];
        for stream in &streams {
            exchange(stream, b"hello");
        }
        server.interrupt();
        for mut stream in &streams {
            assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
        }
        let summary = server.stdout.recv_timeout(LIMIT).unwrap();
        assert_eq!(summary, "served 3 connections, 23 bytes");
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(server.stderr.recv_timeout(LIMIT).ok(), None);
    }

    #[test]
    #[cfg_attr(
        feature = "tsan",
        ignore = "the sanitizer keeps a signal until its thread calls a function of C, and the main thread sleeps"
    )]
    fn ends_cleanly_on_ctrl_c_while_a_peer_does_not_read() {
        let mut server = Server::start("echo");
        let stream = server.connect();
        send_until_full(&stream);
        server.interrupt();
        let summary = server.stdout.recv_timeout(LIMIT).unwrap();
        assert!(summary.starts_with("served 1 connections, "), "{summary}");
        assert_eq!(server.wait().code(), Some(0));
        // The write that did not get on ended before the process did.
        let error = server.stderr.recv_timeout(LIMIT).unwrap();
        assert!(error.starts_with("connection 0: "), "{error}");
    }

    #[test]
    fn outlives_a_connection_that_is_reset() {
        let server = Server::start("echo");
        let reset = server.connect();
        exchange(&reset, b"hello");
        SockRef::from(&reset)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(reset);
        let error = server.stderr.recv_timeout(LIMIT).unwrap();
        assert!(error.starts_with("connection 0: "), "{error}");
        exchange(&server.connect(), b"still there");
    }

    #[test]
    fn goes_on_when_file_descriptors_are_available_again() {
        if left_out_under_valgrind("it accepts, and then closes, what there is no descriptor for") {
            return;
        }
        let server = Server::start_by(FEW_FILES, "echo");
        let mut streams: Vec<_> = (0..48).map(|_| server.connect()).collect();
        let error = server.stderr.recv_timeout(LIMIT).unwrap();
        assert!(error.starts_with("cannot accept: "), "{error}");
        exchange(&streams[0], b"served before");
        let last = streams.pop().unwrap();
        drop(streams);
        exchange(&last, b"served now");
    }
}

mod http_hello {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

    /// An answer as it came.
    #[derive(Debug, PartialEq)]
    struct Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    }

    impl Answer {
        fn header(&self, name: &str) -> Option<&str> {
            let mut headers = self.headers.iter();
            let (_, value) = headers.find(|(other, _)| other == name)?;
            Some(value)
        }

        #[track_caller]
        fn assert_is_hello(&self) {
            assert_eq!(self.status, 200, "{self:?}");
            assert_eq!(self.header("Content-Type"), Some("text/plain"));
            assert_eq!(self.body, "Hello, World!");
        }
    }

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn new(server: &Server) -> Client {
            Client(BufReader::new(server.connect()))
        }

        fn send(&mut self, text: &str) {
            self.0.get_mut().write_all(text.as_bytes()).unwrap();
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            line.strip_suffix("\r\n").expect("a whole line").to_owned()
        }

        /// Receives the head of an answer.
        fn head(&mut self) -> Answer {
            let status = self.line();
            let status = status.strip_prefix("HTTP/1.1 ").expect("a status line");
            let mut answer = Answer {
                status: status[..3].parse().unwrap(),
                headers: Vec::new(),
                body: String::new(),
            };
            loop {
                let line = self.line();
                if line.is_empty() {
                    return answer;
                }
                let (name, value) = line.split_once(": ").expect("a header");
                answer.headers.push((name.to_owned(), value.to_owned()));
            }
        }

        /// Receives an answer.
        fn answer(&mut self) -> Answer {
            let mut answer = self.head();
            let length = answer.header("Content-Length").expect("a length");
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).unwrap();
            answer.body = String::from_utf8(body).unwrap();
            answer
        }

        #[track_caller]
        fn assert_is_closed(&mut self) {
            let mut rest = Vec::new();
            self.0.read_to_end(&mut rest).unwrap();
            assert_eq!(String::from_utf8_lossy(&rest), "");
        }

        /// Checks that the connection is open, and that no answer but those received has been sent.
        #[track_caller]
        fn assert_is_in_step(mut self) {
            self.send("HEAD / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            assert_eq!(self.head().header("Connection"), Some("close"));
            self.assert_is_closed();
        }
    }

    #[test]
    fn keeps_the_connection_for_further_requests() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        for _ in 0..3 {
            client.send(GET);
            let answer = client.answer();
            answer.assert_is_hello();
            assert_eq!(answer.header("Connection"), None);
        }
        client.assert_is_in_step();
    }

    #[test]
    fn answers_pipelined_requests() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        client.send(&GET.repeat(3));
        for _ in 0..3 {
            client.answer().assert_is_hello();
        }
        client.assert_is_in_step();
    }

    #[test]
    fn answers_more_pipelined_requests_than_it_reads_at_once() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        client.send(&GET.repeat(1000));
        for _ in 0..1000 {
            client.answer().assert_is_hello();
        }
        client.assert_is_in_step();
    }

    #[test]
    fn waits_for_the_rest_of_a_request() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        for split in 1..GET.len() {
            let (begin, rest) = GET.split_at(split);
            // The first answer tells that the server has read what came with its request.
            client.send(&[GET, begin].concat());
            client.answer().assert_is_hello();
            client.send(rest);
            client.answer().assert_is_hello();
        }
        client.assert_is_in_step();
    }

    #[test]
    fn serves_connections_at_the_same_time() {
        let server = Server::start("http_hello");
        let mut clients: Vec<_> = (0..100).map(|_| Client::new(&server)).collect();
        for _ in 0..2 {
            for client in clients.iter_mut().rev() {
                client.send(GET);
                client.answer().assert_is_hello();
            }
        }
    }

    #[rstest]
    #[case::none(0)]
    #[case::short(30)]
    #[case::longer_than_its_buffer(100_000)]
    fn skips_a_body(#[case] length: usize) {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        let post = format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
        // Taken for a request it would be answered.
        let body = &GET.repeat(length / GET.len() + 1)[..length];
        let (begin, rest) = body.split_at(length / 2);
        client.send(&[&post, body, GET, &post, begin].concat());
        for _ in 0..3 {
            client.answer().assert_is_hello();
        }
        client.send(rest);
        client.assert_is_in_step();
    }

    #[test]
    fn sends_no_body_with_the_answer_to_head() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = client.head();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("Content-Length"), Some("13"));
        client.assert_is_in_step();
    }

    #[test]
    fn asks_for_the_body_of_a_client_that_waits_to_be_asked() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        client.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.head().status, 100);
        client.answer().assert_is_hello();
        client.send("hello");
        client.assert_is_in_step();
    }

    #[rstest]
    #[case::close("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")]
    #[case::close_as_one_of_several("GET / HTTP/1.1\r\nconnection: TE, Close\r\n\r\n")]
    #[case::http_1_0("GET / HTTP/1.0\r\n\r\n")]
    fn closes_after_the_answer_when_asked_to(#[case] request: &str) {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        client.send(&[GET, request, GET].concat());
        client.answer().assert_is_hello();
        let last = client.answer();
        last.assert_is_hello();
        assert_eq!(last.header("Connection"), Some("close"));
        client.assert_is_closed();
    }

    #[rstest]
    #[case::no_request("nonsense\r\n\r\n", 400)]
    #[case::no_header("GET / HTTP/1.1\r\nno header\r\n\r\n", 400)]
    #[case::length_with_a_sign("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", 400)]
    #[case::length_without_digits("POST / HTTP/1.1\r\nContent-Length:\r\n\r\nhello", 400)]
    #[case::length_past_64_bits(
        "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        400
    )]
    #[case::two_lengths(
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        400
    )]
    #[case::chunked_body("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501)]
    #[case::too_large_head(&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(8192)), 431)]
    #[case::endless_head(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(500_000)), 431)]
    #[case::too_many_headers(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: a\r\n".repeat(65)), 431)]
    fn refuses_and_closes(#[case] request: &str, #[case] status: u16) {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        client.send(&[GET, request].concat());
        client.answer().assert_is_hello();
        let refusal = client.answer();
        assert_eq!(refusal.status, status, "{refusal:?}");
        assert_eq!(refusal.header("Connection"), Some("close"));
        client.assert_is_closed();
        Client::new(&server).assert_is_in_step();
    }

    #[test]
    fn lets_a_client_finish_that_still_sends_after_the_last_answer() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        client.send("nonsense\r\n\r\n");
        assert_eq!(client.answer().status, 400);
        client.assert_is_closed();
        // Answered with a reset, all but the first would fail.
        for _ in 0..100 {
            client.send(GET);
        }
    }

    #[test]
    fn takes_the_largest_head_that_it_promises() {
        let server = Server::start("http_hello");
        let mut client = Client::new(&server);
        let frame = "GET / HTTP/1.1\r\nA: \r\n\r\n".len();
        let padding = "a".repeat(8192 - frame);
        let largest = format!("GET / HTTP/1.1\r\nA: {padding}\r\n\r\n");
        let (begin, last) = largest.split_at(8191);
        client.send(&[GET, begin].concat());
        client.answer().assert_is_hello();
        client.send(last);
        client.answer().assert_is_hello();
        let headers = "A: a\r\n".repeat(64);
        client.send(&format!("GET / HTTP/1.1\r\n{headers}\r\n"));
        client.answer().assert_is_hello();
        client.assert_is_in_step();
    }
}
