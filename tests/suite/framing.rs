//! Where one request ends and the next begins: RFC 9112, over a raw socket.

use crate::support::{Server, Site};

/// Reads before it answers: what answers first does without a `100 Continue`.
const ECHO: &str =
    "#!/bin/sh\ncontent=$(cat)\nprintf 'Content-Type: text/plain\\n\\n%s' \"$content\"\n";

fn site() -> Server {
    Site::new()
        .file("a.txt", "0123456789")
        .script("cgi-bin/echo", ECHO)
        .serve()
}

/// What would be answered if the request in front of it were misunderstood.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn doubt_about_the_end_of_a_request_is_400_and_close() {
    let server = site();
    for (section, fields) in [
        (
            "9112 6.1",
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
        ),
        (
            "9112 6.1",
            "Transfer-Encoding: chunked\r\nContent-Length: 6",
        ),
        (
            "9112 6.1",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
        ),
        ("9112 6.3", "Content-Length: 0\r\nContent-Length: 44"),
        ("9112 6.3", "Content-Length: 5\r\nContent-Length: 5"),
        ("9112 6.3", "Content-Length: 0, 44"),
        ("9110 8.6", "Content-Length: +5"),
        ("9110 8.6", "Content-Length: -5"),
        ("9110 8.6", "Content-Length: 5 5"),
        ("9110 8.6", "Content-Length: 99999999999999999999"),
        ("9112 6.3", "Transfer-Encoding: chunked, identity"),
        ("9112 6.3", "Transfer-Encoding: identity, chunked, identity"),
        ("9112 6.3", "Transfer-Encoding: identity"),
        ("9112 7.1", "Transfer-Encoding: chunked, chunked"),
        (
            "9112 6.3",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ),
        ("9112 6.3", "Transfer-Encoding: xchunked"),
        ("9112 6.3", "Transfer-Encoding: \u{b}chunked"),
        ("9112 5.1", "Transfer-Encoding : chunked"),
        ("9112 5.1", "Content-Length : 0"),
        ("9112 5.1", "Content-Length\t: 0"),
        ("9112 5.2", "A: b\r\n Content-Length: 0"),
        ("9112 5.2", "A:\r\n\tb"),
        ("9112 5.2", " A: b"),
        ("9112 2.2", "A: b\nContent-Length: 0"),
        ("9112 2.2", "A: b\rContent-Length: 0"),
        ("9112 2.2", "A: b\r\r\nC: d"),
        ("9110 5.5", "A: b\0"),
        ("9110 5.1", "A b: c"),
        ("9110 5.1", ": c"),
        ("9110 5.1", "no colon"),
        ("9112 3.2", "Host: y"),
    ] {
        let request = format!("POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        let answer = server.raw(format!("{request}0\r\n\r\n{SMUGGLED}"));
        assert!(
            answer.starts_with("HTTP/1.1 400 "),
            "{section} {fields:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{section} {fields:?}: {answer}"
        );
        assert!(
            answer.contains("connection: close\r\n"),
            "{section} {fields:?}: {answer}"
        );
    }
}

#[test]
fn lines_end_in_crlf_and_nothing_else() {
    let server = site();
    for request in [
        "GET /a.txt HTTP/1.1\nHost: x\n\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\n\n",
        "GET /a.txt HTTP/1.1\nHost: x\r\n\r\n",
        "GET /a.txt HTTP/1.1\rHost: x\r\r",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\n\n",
        "\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let answer = server.raw(request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
    }
    // RFC 9112 §2.2: empty lines before a request are borne.
    let answer = server.raw("\r\n\r\nGET /a.txt HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("0123456789"), "{answer}");
    server.logged(&["400", "bare LF"]);
}

#[test]
fn what_cannot_be_done_has_its_status() {
    let server = site();
    let long = "x".repeat(70_000);
    for (section, request, status) in [
        (
            "9110 15.6.2",
            "POST /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
            501,
        ),
        (
            "9110 9.1",
            "FROB /a.txt HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            501,
        ),
        (
            "9110 9.3.6",
            "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n".into(),
            501,
        ),
        (
            "9110 15.5.6",
            "PUT /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".into(),
            405,
        ),
        (
            "9110 15.6.6",
            "GET /a.txt HTTP/1.2\r\nHost: x\r\n\r\n".into(),
            505,
        ),
        (
            "9110 15.6.6",
            "GET /a.txt HTTP/2.0\r\nHost: x\r\n\r\n".into(),
            505,
        ),
        ("9110 15.6.6", "GET /a.txt HTTP/0.9\r\n\r\n".into(), 505),
        (
            "9110 15.5.18",
            "GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n".into(),
            417,
        ),
        (
            "9110 15.5.15",
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
            414,
        ),
        (
            "6585 5",
            format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"),
            431,
        ),
        ("9112 3.2", "GET /a.txt HTTP/1.1\r\n\r\n".into(), 400),
        (
            "9112 3.2",
            "GET /a.txt HTTP/1.1\r\nHost: x, y\r\n\r\n".into(),
            400,
        ),
        (
            "9112 3.2",
            "GET /a.txt HTTP/1.1\r\nHost: a@b\r\n\r\n".into(),
            400,
        ),
        (
            "9112 3.2",
            "GET a.txt HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
        ),
        (
            "9112 3.2",
            "GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
        ),
        (
            "9112 3.2",
            "GET /a.txt#part HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
        ),
        (
            "9110 10.1.1",
            "GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nExpect: tea\r\n\r\n".into(),
            417,
        ),
        ("9112 3", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        (
            "9112 3",
            "GET\t/a.txt\tHTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
        ),
        (
            "9112 3",
            "GET /a.txt http/1.1\r\nHost: x\r\n\r\n".into(),
            400,
        ),
        (
            "9112 3",
            "G(T /a.txt HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
        ),
    ] as [(&str, String, u16); 21]
    {
        let shown = &request[..request.len().min(80)];
        let mut connection = server.connect();
        let response = connection.send(&request).response();
        assert_eq!(
            response.status(),
            status,
            "{section} {shown:?}: {}",
            response.text()
        );
    }
}

#[test]
fn the_absolute_form_counts_more_than_the_host_field() {
    let server = site();
    for target in ["http://x/a.txt", "HTTP://other:81/a.txt", "http://x:/a.txt"] {
        let response = server.request("GET", target, "", "");
        assert_eq!(response.text(), "0123456789", "{target}");
    }
}

#[test]
fn requests_in_one_write_are_answered_in_order_whatever_their_content() {
    let server = site();
    let mut connection = server.connect();
    connection.send(
        "POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst\
         POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;a=b\r\nsec\r\n3\r\nond\r\n0\r\nX-Trailer: GET / HTTP/1.1\r\n\r\n\
         GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n\
         HEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(connection.response().text(), "first");
    assert_eq!(connection.response().text(), "second");
    assert_eq!(connection.response().text(), "01");
    assert_eq!(connection.response_to("HEAD").status(), 200);
    assert_eq!(connection.response().status(), 404);
    assert!(connection.read_to_end().is_empty());
}

#[test]
fn a_request_that_comes_byte_by_byte_is_the_same_request() {
    let server = site();
    let mut connection = server.connect();
    let request = "POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    for byte in request.bytes() {
        connection.send([byte]);
    }
    assert_eq!(connection.response().text(), "hello");
    assert_eq!(connection.response().text(), "0123456789");
}

#[test]
fn malformed_chunks_end_the_connection() {
    let server = site();
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
    ] {
        for path in ["/cgi-bin/echo", "/a.txt"] {
            let answer = server.raw(format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}"
            ));
            assert!(!answer.contains(" 404 "), "{path} {chunks:?}: {answer}");
        }
    }
}

#[test]
fn what_follows_an_answer_that_is_still_being_read_is_refused_behind_it() {
    let content = vec![b'x'; 8 << 20];
    let server = Site::new().file("large", &content).serve();
    let mut connection = server.connect();
    connection.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\nno request\r\n\r\n");
    let answer = connection.response();
    assert!(answer.content == content, "the content is whole");
    let rest = connection.read_to_end();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.starts_with("HTTP/1.1 400 "), "{rest}");
    assert_eq!(rest.matches("HTTP/1.1 ").count(), 1, "{rest}");
    server.logged(&["\"no request\"", "400"]);
}

#[test]
fn a_continue_is_sent_only_to_whoever_reads_the_content() {
    let server = site();
    let expect = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    // RFC 9110 §10.1.1
    let mut connection = server.connect();
    connection.send(format!("POST /cgi-bin/echo HTTP/1.1\r\n{expect}\r\n"));
    let interim = connection.read_until(b"\r\n\r\n");
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{interim:?}");
    assert_eq!(connection.send("hello").response().text(), "hello");
    for (method, path, status) in [("POST", "/a.txt", 405), ("POST", "/cgi-bin/none", 404)] {
        let mut connection = server.connect();
        connection.send(format!("{method} {path} HTTP/1.1\r\n{expect}\r\n"));
        let head = connection.read_until(b"\r\n\r\n");
        let expected = format!("HTTP/1.1 {status} ");
        assert!(head.starts_with(expected.as_bytes()), "{head:?}");
    }
    // A client of HTTP/1.0 does not know of it.
    let answer = server.raw(format!("POST /cgi-bin/echo HTTP/1.0\r\n{expect}\r\nhello"));
    assert!(
        answer.starts_with("HTTP/1.") && !answer.contains(" 100 "),
        "{answer}"
    );
    assert!(answer.ends_with("hello"), "{answer}");
}

#[test]
fn content_that_nobody_wants_is_drained_or_ends_the_connection() {
    let server = site();
    let get = |length: usize| {
        format!(
            "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{}{SMUGGLED}",
            "G".repeat(length)
        )
    };
    for length in [1, 5_000, 300_000] {
        let answer = server.raw(get(length) + "QUIT\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{length}: {answer}");
        let answers = answer.matches("HTTP/1.1 ").count();
        let next = answer.matches("HTTP/1.1 404 ").count();
        assert!(answers == 1 || next == 1, "{length}: {answer}");
    }
}

#[test]
fn a_fault_within_content_ends_the_content_and_adds_nothing_to_it() {
    let server = site();
    for (first, second) in [
        ("10\r\n12345678", "90123456\nX"),
        ("5;a", "\nhello\r\n0\r\n\r\n"),
        ("5\r\nhello\r\n", "x\r\n"),
        ("0\r\nTrailer: x", "\n\r\n"),
    ] {
        let mut connection = server.connect();
        connection.send(format!(
            "POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{first}"
        ));
        // Until the first part has been read on its own.
        std::thread::sleep(std::time::Duration::from_millis(50));
        connection.send(second);
        let response = connection.response();
        assert_eq!(
            response.status(),
            400,
            "{first:?} {second:?}: {}",
            response.text()
        );
        assert!(connection.read_to_end().is_empty());
    }
}

#[test]
fn a_target_that_is_too_long_is_414_in_one_piece_and_in_many() {
    let server = site();
    for length in [33_000, 40_000, 60_000] {
        for step in [4_000, 100_000] {
            let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length));
            let mut connection = server.connect();
            for piece in request.as_bytes().chunks(step) {
                if !connection.try_send(piece) {
                    break;
                }
            }
            assert_eq!(
                connection.response().status(),
                414,
                "{length} in pieces of {step}"
            );
        }
    }
}
