//! The example `websocket`, as processes of its own: the server with clients of this process on std's sockets, the client with a server here and with its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use rstest::rstest;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Error, Message, WebSocket};
use util::LIMIT;
use util::program::Program;

mod util;

type Socket = WebSocket<Stream>;

/// A connection on which nobody waits for ever. With a limit the system ends a wait as well whenever the process is stopped, which `tungstenite` takes for
/// an error.
#[derive(Debug)]
struct Stream(TcpStream);

impl Stream {
    fn new(stream: TcpStream) -> Stream {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Stream(stream)
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.read(buffer))
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn start(args: &[&str]) -> Program {
    Program::start(Path::new(env!("CARGO_BIN_EXE_websocket")), args)
}

struct Server {
    program: Program,
    address: String,
}

impl Server {
    /// Starts one with so many seconds of patience.
    fn start(patience: &str) -> Server {
        let program = start(&["serve", "127.0.0.1:0", patience]);
        let address = program.line_after("listening on ");
        Server { program, address }
    }

    fn stream(&self) -> Stream {
        Stream::new(TcpStream::connect(&self.address).unwrap())
    }

    fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    fn connect(&self, path: &str) -> Socket {
        tungstenite::client(self.url(path), self.stream())
            .unwrap()
            .0
    }

    /// Joins the room, and is in there when this returns.
    fn join(&self) -> Socket {
        let mut socket = self.connect("/room");
        // Who is answered is listed.
        exchange_ping(&mut socket, b"");
        socket
    }
}

#[track_caller]
fn expect(socket: &mut Socket, expected: Message) {
    let message = socket.read().unwrap();
    assert!(
        message == expected,
        "a message differs: {} bytes",
        message.len()
    );
}

#[track_caller]
fn exchange_ping(socket: &mut Socket, payload: &'static [u8]) {
    socket.send(Message::Ping(payload.into())).unwrap();
    expect(socket, Message::Pong(payload.into()));
}

/// Expects a close frame from the server, and then the end of the connection.
#[track_caller]
fn expect_close(socket: &mut Socket, code: u16, reason: &str) {
    match socket.read() {
        Ok(Message::Close(Some(frame))) => {
            assert_eq!(
                (u16::from(frame.code), frame.reason.as_str()),
                (code, reason)
            );
        }
        other => panic!("no close frame: {other:?}"),
    }
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}

/// A frame of a client, unlike those that `tungstenite` would send: masked with zeros.
fn raw_frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[first_byte, 0x80 | 126], &length[..], &[0; 4], payload].concat()
}

#[rstest]
#[case::text(Message::text("hello"))]
#[case::text_beyond_ascii(Message::text("żółw 🐢"))]
#[case::no_text(Message::text(""))]
#[case::binary(Message::binary(vec![0, 159, 146, 150]))]
#[case::no_bytes(Message::binary(vec![]))]
#[case::large_text(Message::text("x".repeat(100_000)))]
#[case::as_large_as_may_be(Message::binary(vec![7; 1024 * 1024]))]
fn messages_come_back(#[case] message: Message) {
    let server = Server::start("60");
    let mut socket = server.connect("/echo");
    for _ in 0..3 {
        socket.send(message.clone()).unwrap();
        expect(&mut socket, message.clone());
    }
}

#[test]
fn messages_that_come_together_are_all_answered() {
    let server = Server::start("60");
    let mut socket = server.connect("/echo");
    let messages = (0..1000).map(|number| Message::text(format!("{number}")));
    for message in messages.clone() {
        socket.write(message).unwrap();
    }
    socket.flush().unwrap();
    for message in messages {
        expect(&mut socket, message);
    }
}

#[test]
fn a_message_may_come_in_fragments_with_pings_in_between() {
    let server = Server::start("60");
    let mut socket = server.connect("/echo");
    let text = "żółw 🐢".as_bytes();
    let last = text.len() - 1;
    for (index, byte) in text.iter().enumerate() {
        let kind = if index == 0 {
            Data::Text
        } else {
            Data::Continue
        };
        // In the middle of characters.
        let frame = Frame::message(vec![*byte], OpCode::Data(kind), index == last);
        socket.send(Message::Frame(frame)).unwrap();
        if index < last {
            exchange_ping(&mut socket, b"still there?");
        }
    }
    expect(&mut socket, Message::text("żółw 🐢"));
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let server = Server::start("60");
    let mut socket = server.connect("/echo");
    for byte in raw_frame(0x81, b"slowly but surely") {
        socket.get_mut().write_all(&[byte]).unwrap();
    }
    expect(&mut socket, Message::text("slowly but surely"));
}

#[test]
fn pings_are_answered_with_their_payload() {
    let server = Server::start("60");
    let mut socket = server.connect("/echo");
    exchange_ping(&mut socket, b"");
    exchange_ping(&mut socket, b"are you there?");
    exchange_ping(&mut socket, &[b'x'; 125]);
}

#[rstest]
#[case::normal(1000, "bye")]
#[case::away(1001, "")]
#[case::an_application_s_own(4321, "why not")]
fn a_close_frame_is_answered_with_the_same(#[case] code: u16, #[case] reason: &'static str) {
    let server = Server::start("60");
    let mut socket = server.connect("/echo");
    let frame = CloseFrame {
        code: code.into(),
        reason: reason.into(),
    };
    socket.close(Some(frame)).unwrap();
    expect_close(&mut socket, code, reason);
}

#[test]
fn a_close_frame_without_a_code_is_answered_with_the_same() {
    let server = Server::start("60");
    let mut socket = server.connect("/echo");
    socket.close(None).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(None));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}

#[rstest]
#[case::too_long(&[&[0x82, 0xff], &(1024_u64 * 1024 + 1).to_be_bytes()[..], &[0; 4]].concat(), 1009, "the message is too long")]
#[case::too_long_in_fragments(
    &[raw_frame(0x02, &[0; 60_000]), raw_frame(0x00, &[0; 60_000]).repeat(17)].concat(),
    1009,
    "the message is too long"
)]
#[case::text_that_is_none(&raw_frame(0x81, b"\xff"), 1007, "the text is not UTF-8")]
#[case::without_a_mask(&[0x81, 0x01, b'a'], 1002, "that is no WebSocket")]
#[case::of_an_unknown_kind(&raw_frame(0x83, b"?"), 1002, "that is no WebSocket")]
#[case::that_goes_on_with_nothing(&raw_frame(0x80, b"?"), 1002, "that is no WebSocket")]
fn a_wrong_frame_is_complained_about(
    #[case] bytes: &[u8],
    #[case] code: u16,
    #[case] reason: &str,
) {
    let server = Server::start("60");
    let mut other = server.join();
    let mut socket = server.connect("/echo");
    socket.get_mut().write_all(bytes).unwrap();
    // More, which is not read as frames any more.
    socket
        .get_mut()
        .write_all(&raw_frame(0x81, b"more"))
        .unwrap();
    expect_close(&mut socket, code, reason);
    server.program.wait_for_error("connection 1 failed: ");
    exchange_ping(&mut other, b"still there?");
}

#[test]
fn an_unknown_path_is_not_found() {
    let server = Server::start("60");
    match tungstenite::client(server.url("/other"), server.stream()) {
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            assert_eq!(response.status(), 404);
        }
        other => panic!("no refusal: {other:?}"),
    }
}

#[rstest]
#[case::another_request("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")]
#[case::nonsense("nonsense\r\n\r\n")]
#[case::nothing("")]
fn who_does_not_shake_hands_is_let_go(#[case] request: &str) {
    let server = Server::start("60");
    let mut stream = server.stream();
    stream.write_all(request.as_bytes()).unwrap();
    stream.0.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // Perhaps with a reset.
    let _ = stream.read_to_end(&mut answer);
    server.program.wait_for_error("no handshake: ");
    assert!(!answer.starts_with(b"HTTP/1.1 101"));
}

#[test]
fn who_does_not_shake_hands_in_time_is_let_go() {
    let server = Server::start("0.1");
    let mut stream = server.stream();
    stream.write_all(b"GET /echo HT").unwrap();
    let mut answer = Vec::new();
    // Perhaps with a reset.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
}

#[test]
fn a_message_in_the_room_goes_to_all_others_there() {
    let server = Server::start("60");
    let mut echo = server.connect("/echo");
    let mut sockets: Vec<Socket> = (0..30).map(|_| server.join()).collect();
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(format!("{number}"))).unwrap();
    }
    for (own, socket) in sockets.iter_mut().enumerate() {
        let texts = (1..30).map(|_| socket.read().unwrap().into_text().unwrap());
        let mut heard: Vec<usize> = texts.map(|text| text.parse().unwrap()).collect();
        heard.sort();
        let others: Vec<usize> = (0..30).filter(|number| *number != own).collect();
        assert_eq!(heard, others);
        exchange_ping(socket, b"no more?");
    }
    exchange_ping(&mut echo, b"nothing?");
}

#[test]
fn messages_of_the_room_come_while_a_message_is_half_sent() {
    let server = Server::start("60");
    let (mut half, mut other) = (server.join(), server.join());
    let frame = raw_frame(0x82, &[7; 1000]);
    let (begin, rest) = frame.split_at(500);
    half.get_mut().write_all(begin).unwrap();
    other.send(Message::text("meanwhile")).unwrap();
    expect(&mut half, Message::text("meanwhile"));
    half.get_mut().write_all(rest).unwrap();
    expect(&mut other, Message::binary(vec![7; 1000]));
}

#[test]
fn who_reads_too_slowly_is_put_out_of_the_room() {
    let server = Server::start("60");
    let (mut talker, mut listener, mut slow) = (server.join(), server.join(), server.join());
    let message = Message::binary(vec![7; 100_000]);
    // Far more than its place in the room and the buffers of both sides take.
    for _ in 0..300 {
        talker.send(message.clone()).unwrap();
        expect(&mut listener, message.clone());
    }
    let mut heard = 0;
    let close = loop {
        match slow.read().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            other => assert!(other == message, "a message differs"),
        }
        heard += 1;
    };
    assert_eq!(
        (close.code, &*close.reason),
        (CloseCode::Policy, "too slow")
    );
    assert!((64..300).contains(&heard), "{heard} heard");
    assert!(matches!(slow.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn who_is_silent_is_asked_and_given_up() {
    let server = Server::start("0.3");
    // As bytes, since `tungstenite` would answer.
    let mut stream = server.connect("/room").into_inner();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let question = b"are you there?";
    let reason = b"no sign of life";
    let expected = [
        &[0x89, question.len() as u8][..],
        question,
        &[0x88, reason.len() as u8 + 2],
        &1008_u16.to_be_bytes(),
        reason,
    ];
    assert_eq!(bytes, expected.concat());
    server.program.wait_for_error("connection 0 failed: ");
}

#[test]
fn who_answers_pings_stays() {
    let server = Server::start("0.4");
    let mut socket = server.connect("/echo");
    for _ in 0..3 {
        expect(&mut socket, Message::Ping("are you there?".into()));
    }
    socket.send(Message::text("yes")).unwrap();
    while socket.read().unwrap() != Message::text("yes") {}
}

#[test]
fn ctrl_c_closes_all_connections_in_order() {
    let mut server = Server::start("60");
    let mut sockets = [server.connect("/echo"), server.join()];
    exchange_ping(&mut sockets[0], b"");
    // One that has not shaken hands.
    let mut stranger = server.stream();
    server.program.interrupt();
    for socket in &mut sockets {
        expect_close(socket, 1001, "the server ends");
        let _ = socket.get_ref().0.shutdown(Shutdown::Both);
    }
    assert_eq!(server.program.line(), "served 2 connections");
    assert!(server.program.wait().success());
    assert_eq!(stranger.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn many_clients_talk_at_once() {
    let server = Server::start("60");
    let mut sockets: Vec<Socket> = (0..50).map(|_| server.connect("/echo")).collect();
    thread::scope(|scope| {
        for (client, socket) in sockets.iter_mut().enumerate() {
            scope.spawn(move || {
                for number in 0..20 {
                    let message = Message::text(format!("{client}: {number}"));
                    socket.send(message.clone()).unwrap();
                    expect(socket, message);
                }
            });
        }
    });
}

#[test]
fn ctrl_c_does_not_wait_longer_than_patience_for_a_close_frame() {
    let mut server = Server::start("0.3");
    // Nobody reads from it, or answers.
    let _silent = server.connect("/echo");
    server.program.interrupt();
    assert_eq!(server.program.line(), "served 1 connections");
    assert!(server.program.wait().success());
}

mod client {
    use super::*;

    #[test]
    fn sends_its_lines_and_prints_what_comes() {
        let server = Server::start("60");
        let mut client = start(&["connect", &server.url("/echo")]);
        client.send("hello\n\nżółw 🐢\n");
        assert_eq!(client.line(), "hello");
        assert_eq!(client.line(), "");
        assert_eq!(client.line(), "żółw 🐢");
        client.end_input();
        assert_eq!(client.rest(), ["closed: 1000 "]);
        assert!(client.wait().success());
        assert_eq!(client.errors(), [""; 0]);
    }

    #[test]
    fn hears_the_others_and_the_end_of_the_server() {
        let server = Server::start("60");
        let mut first = server.join();
        let mut client = start(&["connect", &server.url("/room")]);
        client.send("I am here\n");
        expect(&mut first, Message::text("I am here"));
        first.send(Message::text("welcome")).unwrap();
        first.send(Message::binary(vec![1, 2, 3])).unwrap();
        assert_eq!(client.line(), "welcome");
        assert_eq!(client.line(), "(3 bytes)");
        server.program.interrupt();
        assert_eq!(client.line(), "closed: 1001 the server ends");
        assert!(client.wait().success());
    }

    #[test]
    fn answers_pings_and_takes_fragments() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let mut client = start(&["connect", &url]);
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(Stream::new(stream)).unwrap();
        let parts = [(Data::Text, "in ", false), (Data::Continue, "parts", true)];
        for (kind, text, last) in parts {
            exchange_ping(&mut socket, b"ping");
            let frame = Frame::message(text, OpCode::Data(kind), last);
            socket.send(Message::Frame(frame)).unwrap();
        }
        assert_eq!(client.line(), "in parts");
        client.send("got it\n");
        expect(&mut socket, Message::text("got it"));
        socket.close(None).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Close(None));
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
        drop(socket);
        assert_eq!(client.line(), "closed");
        assert!(client.wait().success());
    }

    #[test]
    fn fails_if_the_connection_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let mut client = start(&["connect", &url]);
        let (stream, _) = listener.accept().unwrap();
        drop(tungstenite::accept(Stream::new(stream)).unwrap());
        assert_eq!(client.wait().code(), Some(1));
    }

    #[rstest]
    #[case::not_found("/other", "404")]
    fn tells_why_it_is_refused(#[case] path: &str, #[case] expected: &str) {
        let server = Server::start("60");
        let mut client = start(&["connect", &server.url(path)]);
        assert_eq!(client.wait().code(), Some(1));
        client.wait_for_error(expected);
    }

    #[rstest]
    #[case::nothing(&[])]
    #[case::unknown(&["serve", "127.0.0.1:0", "1", "2"])]
    #[case::no_seconds(&["serve", "127.0.0.1:0", "long"])]
    #[case::another_scheme(&["connect", "wss://127.0.0.1/"])]
    #[case::nobody_there(&["connect", "ws://127.0.0.1:1/"])]
    fn wrong_arguments_are_refused(#[case] args: &[&str]) {
        let mut program = start(args);
        assert_eq!(program.wait().code(), Some(1));
        assert_eq!(program.rest(), [""; 0]);
    }
}
