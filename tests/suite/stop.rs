//! What becomes of requests and connections when the server is told to stop.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
};

use rustix::process::Signal;

use crate::support::{Connection, Response, Server, Site};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

/// One worker, so that what is true of one connection is true of all.
const SITE: &str = "server.workers = 1\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
                    [site.a.path.\"/cgi-bin/\"]\ncgi = true\n";

/// A script that says `begun`, and ends when something is written to the gate.
const GATED: &str = "#!/bin/sh\necho Content-Type: text/plain\necho\necho begun\n\
                     read line < gate\necho done\n";

/// One that says nothing before; its gate is named by the query.
const SLOW: &str =
    "#!/bin/sh\nread line < $QUERY_STRING\necho Content-Type: text/plain\necho\necho done\n";

fn server(script: &str) -> Server {
    let site = Site::new().file("a", "x").script("cgi-bin/script", script);
    let gates = ["gate", "other"].map(|name| site.root().join("cgi-bin").join(name));
    assert!(
        Command::new("mkfifo")
            .args(gates)
            .status()
            .unwrap()
            .success()
    );
    site.configured(SITE)
}

fn gate(server: &Server, name: &str) -> PathBuf {
    server.site().root().join("cgi-bin").join(name)
}

fn says_close(response: &Response) -> bool {
    response.field("connection") == Some("close")
}

/// Tells the server to stop, and waits until the connections know.
fn stop(server: &Server) {
    let mut witness = server.connect();
    witness.send(GET);
    assert!(!says_close(&witness.response()));
    server.signal(Signal::TERM);
    loop {
        witness.send(GET);
        let response = witness.response();
        assert_eq!(response.text(), "x");
        if says_close(&response) {
            assert!(witness.read_to_end().is_empty());
            return;
        }
    }
}

fn ended(server: Server) {
    let outcome = server.ended();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
}

#[test]
fn an_idle_connection_has_one_more_answer_which_says_close() {
    let server = server(GATED);
    let (mut idle, mut fresh) = (server.connect(), server.connect());
    idle.send(GET);
    assert!(!says_close(&idle.response()));
    stop(&server);
    for connection in [&mut idle, &mut fresh] {
        connection.send(GET);
        let response = connection.response();
        assert_eq!(response.text(), "x");
        assert!(says_close(&response), "{response:?}");
        assert!(!connection.is_reset());
    }
    ended(server);
}

#[test]
fn all_requests_that_were_sent_together_are_answered_and_the_last_says_close() {
    let server = server(SLOW);
    let script = |gate| format!("GET /cgi-bin/script?{gate} HTTP/1.1\r\nHost: x\r\n\r\n");
    // Read together, and left in the socket.
    let (mut connection, mut apart) = (server.connect(), server.connect());
    connection.send(format!("{}{GET}{GET}", script("gate")));
    apart.send(script("other"));
    stop(&server);
    apart.send(GET);
    for name in ["gate", "other"] {
        fs::write(gate(&server, name), "\n").unwrap();
    }
    for (connection, count) in [(&mut connection, 3), (&mut apart, 2)] {
        let responses: Vec<_> = (0..count).map(|_| connection.response()).collect();
        let closes: Vec<_> = responses.iter().map(says_close).collect();
        let (last, earlier) = closes.split_last().unwrap();
        assert!(*last && !earlier.contains(&true), "{closes:?}");
        assert!(!connection.is_reset());
    }
    ended(server);
}

#[test]
fn a_request_that_comes_in_pieces_during_the_stop_is_answered() {
    let cat = "#!/bin/sh\necho Content-Type: text/plain\necho\ncat\n";
    let server = server(cat);
    let (mut head, mut content) = (server.connect(), server.connect());
    head.send(&GET[..20]);
    content.send("POST /cgi-bin/script HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    stop(&server);
    head.send(&GET[20..]);
    content.send("def");
    for (connection, text) in [(&mut head, "x"), (&mut content, "abcdef")] {
        let response = connection.response();
        assert_eq!(response.text(), text);
        assert!(!connection.is_reset());
    }
    ended(server);
}

#[test]
fn an_answer_that_had_begun_before_the_stop_ends_well() {
    let server = server(GATED);
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.read_until(b"begun\n");
    stop(&server);
    fs::write(gate(&server, "gate"), "\n").unwrap();
    connection.read_until(b"done\n\r\n0\r\n\r\n");
    // It could not say `close`, so that the next one must.
    connection.send(GET);
    assert!(says_close(&connection.response()));
    ended(server);
}

#[test]
fn a_script_goes_on_after_its_answer_although_the_server_stops() {
    let text = "#!/bin/sh\necho Status: 204\necho\nread line < gate\necho done > proof\n";
    let server = server(text);
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(connection.response().status(), 204);
    drop(connection);
    let proof = server.site().root().join("cgi-bin/proof");
    let gate = gate(&server, "gate");
    stop(&server);
    // Nothing is left but the script.
    while TcpStream::connect(server.address).is_ok() {}
    fs::write(&gate, "\n").unwrap();
    server.logged(&["GET /cgi-bin/script", "204"]);
    assert!(proof.exists(), "the script was ended in the middle");
    ended(server);
}

#[test]
fn a_second_signal_ends_at_once_and_no_part_passes_for_the_whole() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = server(GATED);
        // Of HTTP/1.0, which knows no other end of such content than that of the connection.
        let mut connection = server.connect();
        connection.send("GET /cgi-bin/script HTTP/1.0\r\n\r\n");
        connection.read_until(b"begun\n");
        server.signal(signal);
        server.logged(&["stopping"]);
        let outcome = server.end(signal);
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
        assert!(connection.is_reset());
        assert!(
            outcome.stderr.contains("the server stopped"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn connections_that_wait_to_be_accepted_are_served_before_the_socket_is_closed() {
    let site = Site::new().file("a", "x");
    let socket = site.directory().join("http.sock");
    let unix = format!("unix:{}", socket.display());
    let config = site.config_at(SITE, &["127.0.0.1:0", &unix]);
    let server = Server::start(&["serve", "--config", config.to_str().unwrap()]);
    // While it stands still, connections wait, and it is told to stop before it goes on.
    server.signal(Signal::STOP);
    let mut tcp: Vec<Connection> = (0..40).map(|_| server.connect()).collect();
    let mut unix: Vec<UnixStream> = (0..40)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for connection in &mut tcp {
        assert_eq!(connection.send(GET).response().text(), "x");
    }
    for connection in &mut unix {
        connection.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nx"), "{answer}");
    }
    drop(tcp);
    ended(server);
}

#[test]
fn what_a_client_sends_behind_the_last_answer_does_not_destroy_it() {
    let server = server(GATED);
    let mut connection = server.connect();
    connection.send(format!("GET / HTTP/1.1\r\n\r\n{}", GET.repeat(20_000)));
    assert_eq!(connection.response().status(), 400);
    connection.finish_sending();
    assert!(!connection.is_reset());
}

#[test]
fn a_stop_overtakes_reloads_that_wait_and_many_of_them_are_one() {
    // A client that is slow gives each of its signals the time for a reload.
    assert!((0..5).any(|_| (1..25).contains(&reloads_by_fifty_signals())));
}

/// How many reloads there are until a stop that comes at once after them.
fn reloads_by_fifty_signals() -> usize {
    let mut sites = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n".to_owned();
    for number in 0..300 {
        let site = format!("[site.s{number}]\nhosts = [\"s{number}\"]\nroot = \"ROOT\"\n");
        sites.push_str(&site);
    }
    let server = Site::new().file("a", "x").configured(&sites);
    // One has begun, and the others come while it goes on, or a few after it.
    for _ in 0..50 {
        server.signal(Signal::HUP);
        assert_eq!(server.get("/a").text(), "x");
    }
    let outcome = server.end(Signal::TERM);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    outcome.stderr.matches("configuration reloaded").count()
}
