//! `[limits]`: each with its status, its record, and what goes on beside it.

use std::{thread, time::Duration};

use crate::support::{Server, Site};

const ECHO: &str =
    "#!/bin/sh\ncontent=$(cat)\nprintf 'Content-Type: text/plain\\n\\n%s' \"$content\"\n";

fn limited(limits: &str) -> Server {
    Site::new()
        .file("a.txt", "0123456789")
        .file("large.bin", vec![b'x'; 32 << 20])
        .script("cgi-bin/echo", ECHO)
        .configured(&format!(
            "[limits]\n{limits}\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             path.\"/cgi-bin/\" = {{ cgi = true }}\n"
        ))
}

#[test]
fn content_that_is_too_long_is_413_and_recorded() {
    let server = limited("request-body-size = \"1K\"");
    let length = server.request("POST", "/cgi-bin/echo", "", &"x".repeat(2000));
    assert_eq!(length.status(), 413);
    server.logged(&["413", "request-body-size", "1024"]);
    let mut connection = server.connect();
    connection.send("POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..4 {
        connection.send(format!("200\r\n{}\r\n", "x".repeat(512)));
    }
    assert_eq!(connection.response().status(), 413);
    assert!(
        connection.read_to_end().is_empty(),
        "the connection is closed"
    );
    let fitting = server.request("POST", "/cgi-bin/echo", "", &"x".repeat(1024));
    assert_eq!((fitting.status(), fitting.content.len()), (200, 1024));
}

#[test]
fn content_that_pauses_is_408_and_recorded() {
    let server = limited("request-body-timeout = \"200ms\"");
    let mut connection = server.connect();
    connection.send("POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
    assert_eq!(connection.response().status(), 408);
    assert!(
        connection.read_to_end().is_empty(),
        "the connection is closed"
    );
    server.logged(&["408", "request-body-timeout"]);
}

#[test]
fn a_head_with_too_many_fields_is_431() {
    let server = limited("request-headers = 10\nrequest-head-size = \"8K\"");
    let fields = |count: usize| "A: b\r\n".repeat(count);
    let fitting = server.request("GET", "/a.txt", &fields(8), "");
    assert_eq!(fitting.status(), 200);
    assert_eq!(
        server.request("GET", "/a.txt", &fields(9), "").status(),
        431
    );
    let long = format!("A: {}\r\n", "b".repeat(9000));
    assert_eq!(server.request("GET", "/a.txt", &long, "").status(), 431);
    server.logged(&["431", "request-headers"]);
    let target = format!("/{}", "a".repeat(9000));
    assert_eq!(server.get(&target).status(), 414);
    server.logged(&["414", "request target"]);
}

#[test]
fn a_head_that_trickles_is_cut_at_its_deadline() {
    let server = limited("request-head-timeout = \"300ms\"");
    let mut connection = server.connect();
    connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n");
    // However often a byte comes, the head has its time and no more.
    let answer = thread::scope(|scope| {
        let mut trickle = connection.again();
        scope.spawn(move || {
            while trickle.try_send(b"A: b\r\n") {
                thread::sleep(Duration::from_millis(20));
            }
        });
        connection.read_to_end()
    });
    assert!(
        answer.starts_with(b"HTTP/1.1 408 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    server.logged(&["408", "request-head-timeout"]);
}

#[test]
fn a_client_that_takes_nothing_is_let_go_and_recorded() {
    let server = limited("response-timeout = \"300ms\"");
    let mut connection = server.connect();
    connection.send("GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    server.logged(&["\"GET /large.bin HTTP/1.1\"", "response-timeout"]);
    assert!(connection.read_to_end().len() < 32 << 20);
}

#[test]
fn a_client_that_is_slow_and_goes_on_gets_everything() {
    let server = limited("response-timeout = \"5s\"");
    let mut connection = server.connect();
    connection.send("GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.read_until(b"\r\n\r\n");
    let mut left = 32 << 20;
    // The kernel says that there is room only when there is plenty; every 300 ms some is taken.
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(300));
        left -= connection.read_some(100_000);
    }
    assert_eq!(connection.read_to_end().len(), left);
}

#[test]
fn half_sent_requests_do_not_keep_others_waiting() {
    let server = limited("");
    let mut slow: Vec<_> = (0..400).map(|_| server.connect()).collect();
    for connection in &mut slow {
        connection.send("GET /a.txt HTTP/1.1\r\nHost");
    }
    assert_eq!(server.get("/a.txt").text(), "0123456789");
    for connection in &mut slow {
        connection.send(": x\r\n\r\n");
        assert_eq!(connection.response().text(), "0123456789");
    }
}

#[test]
fn without_descriptors_those_who_are_there_are_served_and_others_turned_away() {
    let site = Site::new()
        .file("a.txt", "0123456789")
        .file("large.bin", vec![b'x'; 1 << 20]);
    let root = site.root();
    let arguments = ["serve", root.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let server = Server::start_with_descriptors(60, &arguments);
    let get = "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut clients = Vec::new();
    let mut turned_away = 0;
    for _ in 0..100 {
        let mut connection = server.connect();
        let answer = connection.try_request(get);
        match answer {
            Some(200) => clients.push(connection),
            Some(503) | None => turned_away += 1,
            status => panic!("{status:?}"),
        }
    }
    assert!(
        clients.len() >= 5 && turned_away >= 50,
        "{} and {turned_away}",
        clients.len()
    );
    server.logged(&["503", "descriptors"]);
    for connection in &mut clients {
        connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.response().text(), "0123456789");
    }
    drop(clients);
    // What was taken is given back as soon as it is free.
    while server.connect().try_request(get) != Some(200) {
        thread::yield_now();
    }
}

#[test]
fn content_that_breaks_off_over_http_1_0_does_not_look_complete() {
    let script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\npartial'\nsleep 60\n";
    let server = Site::new().script("cgi-bin/part", script).configured(
        "cgi.timeout = \"3s\"\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
         path.\"/cgi-bin/\" = { cgi = true }\n",
    );
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/part HTTP/1.0\r\n\r\n");
    assert!(
        connection.is_reset(),
        "the end of the connection would be that of the content"
    );
}
