//! Connections over which nobody asks for anything.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Server, Site};

/// A test that waits longer has failed.
const HANG: Duration = Duration::from_secs(20);

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

fn site() -> Site {
    Site::new().file("a", "x")
}

fn limited(limit: &str) -> Server {
    site().configured(&format!(
        "{limit}\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n"
    ))
}

/// Sockets in those tables of events of the server that are not the runtime's, which asks for edges.
fn resting(server: &Server) -> usize {
    let process = format!("/proc/{}", server.id());
    let descriptors = fs::read_dir(format!("{process}/fdinfo")).unwrap();
    let tables = descriptors.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    // EPOLLIN, EPOLLRDHUP, EPOLLERR and EPOLLHUP.
    let is_resting = |line: &str| line.starts_with("tfd:") && line.contains("events:     2019 ");
    tables
        .map(|text| text.lines().filter(|line| is_resting(line)).count())
        .sum()
}

/// Memory of the server that is no file's, in KiB.
fn memory(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let field = line.and_then(|line| line.split_whitespace().nth(1));
    field.unwrap().parse().unwrap()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANG, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_connection_that_rests_is_served_again_and_its_requests_are_counted_on() {
    let site = site();
    let log = site.directory().join("access.log");
    let server = site.configured(&format!(
        "log.access = {{ file = \"{}\", format = \"json\" }}\n\
         [site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n",
        log.display()
    ));
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(GET);
        assert_eq!(connection.response().text(), "x");
        wait_for("it rests", || resting(&server) == 1);
    }
    // A request that comes in pieces, and another behind it.
    connection.send(&GET[..9]);
    wait_for("it is served", || resting(&server) == 0);
    connection.send(format!("{}{GET}", &GET[9..]));
    for _ in 0..2 {
        assert_eq!(connection.response().text(), "x");
    }
    wait_for("it rests", || resting(&server) == 1);
    connection.finish_sending();
    assert!(connection.read_to_end().is_empty());
    let numbered = "\"request_id\":\"1-4\"";
    wait_for(numbered, || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains(numbered))
    });
}

#[test]
fn connections_that_rest_take_little_memory_which_is_given_back() {
    const COUNT: usize = 300;
    let server = site().serve();
    let open = || {
        let mut connection = server.connect();
        connection.send(GET);
        assert_eq!(connection.response().text(), "x");
        connection
    };
    open();
    let before = memory(&server);
    let connections: Vec<_> = (0..COUNT).map(|_| open()).collect();
    wait_for("they rest", || resting(&server) == COUNT);
    // One that is being served takes 20 KiB.
    wait_for("4 KiB for each at most", || {
        memory(&server) < before + 4 * COUNT
    });
    drop(connections);
    wait_for("all are closed", || resting(&server) == 0);
}

#[test]
fn a_connection_that_rests_is_closed_at_its_deadline_and_recorded() {
    let server = limited("limits.idle-timeout = \"6s\"");
    let (mut silent, mut idle) = (server.connect(), server.connect());
    idle.send(GET);
    assert_eq!(idle.response().text(), "x");
    wait_for("both rest", || resting(&server) == 2);
    for connection in [&mut silent, &mut idle] {
        assert!(connection.read_to_end().is_empty());
    }
    server.logged(&["no request came within `idle-timeout`"]);
    server.logged_times(1, "idle-timeout");
}

#[test]
fn a_client_that_leaves_a_connection_that_rests_is_noticed_and_recorded() {
    let server = site().serve();
    let connection = server.connect();
    wait_for("it rests", || resting(&server) == 1);
    drop(connection);
    server.logged(&["the connection carried no request"]);
}

#[test]
fn a_connection_that_rests_has_one_more_answer_when_the_server_stops() {
    let server = site().serve();
    let (mut asking, mut silent) = (server.connect(), server.connect());
    wait_for("both rest", || resting(&server) == 2);
    server.signal(Signal::TERM);
    // Until its worker knows of it.
    wait_for("the last answer", || {
        asking.send(GET);
        let response = asking.response();
        assert_eq!(response.text(), "x");
        response.field("connection") == Some("close")
    });
    assert!(asking.read_to_end().is_empty());
    assert!(silent.read_to_end().is_empty());
    let outcome = server.ended();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let silence = "no request came before the server stopped";
    assert!(outcome.stderr.contains(silence), "{}", outcome.stderr);
}

#[test]
fn a_connection_that_rests_counts_as_open() {
    let server = limited("limits.connections = 1");
    let mut resting_one = server.connect();
    wait_for("it rests", || resting(&server) == 1);
    assert!(server.connect().read_to_end().starts_with(b"HTTP/1.1 503 "));
    resting_one.send(GET);
    assert_eq!(resting_one.response().text(), "x");
}

/// The rest of a request's content is none, whatever it looks like.
#[test]
fn a_connection_does_not_rest_while_a_script_still_reads_the_content_of_its_request() {
    const SCRIPT: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\nContent-Length: 2\\n\\nok'\n\
                          cat > \"$(dirname \"$0\")/../got\"\n";
    let server = site().script("cgi-bin/early", SCRIPT).serve();
    let mut connection = server.connect();
    let length = GET.len();
    connection.send(format!(
        "POST /cgi-bin/early HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{}",
        &GET[..1]
    ));
    assert_eq!(connection.response().text(), "ok");
    // Another one that has been idle for as long rests by now.
    let _idle = server.connect();
    wait_for("the other one rests", || resting(&server) == 1);
    connection.send(&GET[1..]);
    let got = server.site().root().join("got");
    wait_for("the script has all of it", || {
        fs::read_to_string(&got).is_ok_and(|got| got == GET)
    });
    connection.send(GET);
    assert_eq!(connection.response().text(), "x");
}
