//! The places for scripts, between clients.

use std::{fs, net::Ipv4Addr, sync::mpsc, thread};

use rustix::process::Signal;

use crate::support::{Connection, Site};

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn a_client_with_many_requests_does_not_keep_out_another() {
    let server = Site::new()
        .script(
            "cgi-bin/script",
            "#!/bin/sh\nwhile [ ! -e ../gate ]; do sleep 0.02; done\n\
             printf 'Content-Type: text/plain\\n\\ndone'\n",
        )
        .configured(
            "cgi.max-running = 1\ncgi.max-queued = 2\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\n",
        );
    let (tell, told) = mpsc::channel();
    let ask = |source: Ipv4Addr| {
        let (tell, address) = (tell.clone(), server.address);
        thread::spawn(move || {
            let mut connection = Connection::open_from(source, address);
            connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
            let response = connection.response();
            let again = response.field("retry-after").is_some();
            tell.send((source, response.status(), again)).unwrap();
        });
    };
    for _ in 0..4 {
        ask(ONE);
    }
    // One runs, two wait, and one is told to come again.
    assert_eq!(told.recv().unwrap(), (ONE, 503, true));
    ask(OTHER);
    assert_eq!(told.recv().unwrap(), (ONE, 503, true), "it makes room");
    fs::write(server.site().root().join("gate"), "").unwrap();
    let mut answered: Vec<_> = told.iter().take(3).collect();
    answered.sort_unstable();
    assert_eq!(
        answered,
        [(ONE, 200, false), (ONE, 200, false), (OTHER, 200, false)]
    );
}

#[test]
fn scripts_that_run_count_after_a_reload_too() {
    let text = |running: usize, queued: usize| {
        format!(
            "cgi.max-running = {running}\ncgi.max-queued = {queued}\n[site.a]\nhosts = [\"*\"]\n\
             root = \"ROOT\"\n[site.a.path.\"/cgi-bin/\"]\ncgi = true\n"
        )
    };
    let server = Site::new()
        .script(
            "cgi-bin/script",
            "#!/bin/sh\necho began >&2\nwhile [ ! -e ../gate ]; do sleep 0.02; done\n\
             printf 'Content-Type: text/plain\\n\\ndone'\n",
        )
        .configured(&text(2, 2));
    let reload = |times: usize, running: usize, queued: usize| {
        server.site().config(&text(running, queued));
        server.signal(Signal::HUP);
        server.logged_times(times, "configuration reloaded");
    };
    let ask = || {
        let mut connection = server.connect();
        connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
        connection
    };
    let mut waiting = vec![ask(), ask()];
    server.logged_times(2, "began");
    reload(1, 2, 1);
    // One of them waits, so the other is turned away: neither runs.
    waiting.extend([ask(), ask()]);
    server.logged(&["\"GET /cgi-bin/script HTTP/1.1\" 503 "]);
    // Who waits begins as soon as more may run.
    reload(2, 3, 0);
    server.logged_times(3, "began");
    reload(3, 1, 0);
    assert_eq!(ask().response().status(), 503);
    fs::write(server.site().root().join("gate"), "").unwrap();
    let answers = waiting
        .iter_mut()
        .map(|connection| connection.response().status());
    let mut answers: Vec<_> = answers.collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 503]);
    assert_eq!(server.get("/cgi-bin/script").status(), 200);
}
