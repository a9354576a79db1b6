//! Requests that are none, limits of connections, and what is written down of them.

use crate::support::{Server, Site};

fn site() -> Server {
    Site::new().file("a.txt", "0123456789").serve()
}

#[test]
fn a_plain_question_gets_a_400_at_once_and_a_record() {
    let server = site();
    let mut connection = server.connect();
    let answer = connection.send("can you hear me?").response();
    assert_eq!(answer.status(), 400);
    assert!(
        answer.text().contains("could not make sense"),
        "{}",
        answer.text()
    );
    server.logged(&["127.0.0.1", "\"can you hear me?\"", "400"]);
}

#[test]
fn every_request_is_recorded_in_one_line() {
    let server = site();
    server.get("/a.txt?x=1");
    server.logged(&[
        "127.0.0.1",
        "\"GET /a.txt?x=1 HTTP/1.1\"",
        "200",
        " 10 ",
        "ms",
    ]);
    server.get("/%0anothing");
    server.logged(&["\"GET /%0anothing HTTP/1.1\"", "404"]);
}

#[test]
fn a_record_of_garbage_is_one_line_of_visible_characters() {
    let server = site();
    server.raw("\x1b[31mred\u{7}\r\n\r\n");
    server.logged(&["\\u{1b}[31mred\\u{7}\"", "400"]);
}

#[test]
fn a_connection_without_a_request_is_recorded() {
    let server = site();
    drop(server.connect());
    server.logged(&["127.0.0.1", "\"\"", "no request"]);
}

#[test]
fn tls_bytes_get_a_400_and_a_record_that_says_so() {
    let server = site();
    let answer = server.raw(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    server.logged(&["TLS"]);
}

#[test]
fn heads_that_break_the_grammar_are_refused() {
    let server = site();
    for (head, status) in [
        ("GET /a.txt\r\n\r\n", 400),
        ("GET  /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\n\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        ("GET /a.txt HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (
            "GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n",
            417,
        ),
    ] {
        let answer = server.raw(head);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{head:?}: {answer}");
    }
}

#[test]
fn a_head_that_is_too_long_is_431() {
    let server = site();
    let long = "x".repeat(40_000);
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = "A: b\r\n".repeat(200);
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    server.logged(&["431", "request-head-size"]);
}

#[test]
fn a_head_that_never_ends_is_cut_at_its_deadline() {
    let server = Site::new().configured(
        "limits.request-head-timeout = \"200ms\"\n\
         [site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n",
    );
    let mut connection = server.connect();
    connection.send("GET / HTTP/1.1\r\n");
    let answer = connection.read_to_end();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
    server.logged(&["408", "\"GET / HTTP/1.1\"", "request-head-timeout"]);
}

#[test]
fn an_idle_connection_is_closed_at_its_deadline() {
    let server = Site::new()
        .file("a", "x")
        .configured("limits.idle-timeout = \"3s\"\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n");
    let mut connection = server.connect();
    connection.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.response().text(), "x");
    assert!(connection.read_to_end().is_empty());
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let server = Site::new().file("a", "first").file("b", "second").serve();
    let mut connection = server.connect();
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.send(request("/a") + &request("/nothing") + &request("/b"));
    assert_eq!(connection.response().text(), "first");
    assert_eq!(connection.response().status(), 404);
    assert_eq!(connection.response().text(), "second");
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let server = site();
    let answer = server.raw("GET /a.txt HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("0123456789"), "{answer}");
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send("GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(connection.response().text(), "0123456789");
    }
}

#[test]
fn a_client_that_shuts_its_sending_side_gets_its_answer() {
    let server = site();
    let mut connection = server.connect();
    connection
        .send("GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .finish_sending();
    assert_eq!(connection.response().text(), "0123456789");
}

#[test]
fn connections_over_the_limit_are_turned_away_and_recorded() {
    let server = Site::new()
        .file("a", "x")
        .configured("limits.connections = 2\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n");
    let mut held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for connection in &mut held {
        connection.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.response().text(), "x");
    }
    let turned_away = server.connect().read_to_end();
    assert!(turned_away.starts_with(b"HTTP/1.1 503 "), "{turned_away:?}");
    server.logged(&["503", "connections"]);
    for connection in &mut held {
        connection.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.response().text(), "x");
    }
}

#[test]
fn records_can_be_turned_off_and_scripts_are_still_heard() {
    let script = "#!/bin/sh\necho heard >&2\nprintf 'Content-Type: text/plain\\n\\n'\n";
    let server = Site::new().script("cgi-bin/script", script).configured(
        "log.access = \"off\"\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
         [site.a.path.\"/cgi-bin/\"]\ncgi = true\n",
    );
    assert_eq!(server.get("/cgi-bin/script").status(), 200);
    server.logged(&["script[", "]: heard"]);
    let outcome = server.end(rustix::process::Signal::TERM);
    assert!(!outcome.stderr.contains("GET"), "{}", outcome.stderr);
}

#[test]
fn a_client_that_still_sends_gets_the_answer_it_was_given() {
    let server = site();
    let content = "x".repeat(3 << 20);
    for (target, status) in [("/a.txt", 405), ("/nothing", 405), ("/%00", 400)] {
        let response = server.request("POST", target, "", &content);
        assert_eq!(response.status(), status, "{target}");
    }
}
