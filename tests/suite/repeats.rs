//! Requests that are the same to the byte as an earlier one: each gets the answer that it would have
//! got as the first.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{Connection, HANG, Response, SITE, Server, Site, free};

/// As often as is enough to be remembered.
const OFTEN: usize = 4;

const PAGE: &str = "GET /page.txt HTTP/1.1\r\nHost: example.org\r\n\r\n";

fn site() -> Site {
    Site::new().file("page.txt", "the page\n")
}

/// Serves it with one worker, since each remembers for itself.
fn serve(site: Site) -> Server {
    site.configured(&format!("server.workers = 1\n{SITE}"))
}

fn ask(client: &mut Connection, request: &str) -> Response {
    client.send(request).response()
}

/// Asks until the answer is one that was given before, and returns the last.
fn ask_often(client: &mut Connection, request: &str) -> Response {
    for _ in 1..OFTEN {
        ask(client, request);
    }
    ask(client, request)
}

#[test]
fn the_same_request_gets_the_same_answer_with_the_date_of_its_time() {
    let server = serve(site());
    let mut client = server.connect();
    let first = ask(&mut client, PAGE);
    assert_eq!((first.status(), &*first.text()), (200, "the page\n"));
    let date = first.field("date").unwrap().to_owned();
    let begun = Instant::now();
    loop {
        let next = ask(&mut client, PAGE);
        assert_eq!(next.content, first.content);
        for field in ["etag", "last-modified", "content-type", "content-length"] {
            assert_eq!(next.field(field), first.field(field), "{field}");
        }
        if next.field("date").unwrap() != date {
            break;
        }
        assert!(begun.elapsed() < HANG);
    }
}

#[test]
fn each_has_a_record_with_its_own_number() {
    let server = serve(site());
    let mut client = server.connect();
    for _ in 0..20 {
        assert_eq!(ask(&mut client, PAGE).status(), 200);
    }
    server.logged_times(20, "\"GET /page.txt HTTP/1.1\" 200");
    assert_eq!(ask(&mut server.connect(), PAGE).status(), 200);
    server.logged_times(21, "\"GET /page.txt HTTP/1.1\" 200");
}

#[test]
fn a_change_shows_in_the_next_answer() {
    let server = serve(site());
    let path = server.site().root().join("page.txt");
    let mut client = server.connect();
    for number in 0..50 {
        let text = format!("page {number}\n");
        fs::write(&path, &text).unwrap();
        // The time of the change is told at once only where it is long past.
        if number % 2 == 0 {
            let past = SystemTime::now() - Duration::from_secs(3600);
            File::open(&path).unwrap().set_modified(past).unwrap();
        }
        for _ in 0..OFTEN {
            assert_eq!(ask(&mut client, PAGE).text(), text);
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(ask(&mut client, PAGE).status(), 404);
}

#[test]
fn another_client_is_looked_at_for_itself() {
    let server = site().configured(
        r#"
        server.workers = 1
        [site.default]
        hosts = ["*"]
        root = "ROOT"
        [site.default.path."/page.txt"]
        allow = ["127.0.0.1"]
        "#,
    );
    let mut client = server.connect();
    assert_eq!(ask_often(&mut client, PAGE).status(), 200);
    let mut other = Connection::open_from(Ipv4Addr::new(127, 0, 0, 2), server.address);
    assert_eq!(ask(&mut other, PAGE).status(), 403);
    assert_eq!(ask_often(&mut client, PAGE).status(), 200);
}

#[test]
fn a_rule_looks_at_each_client_though_that_of_its_fallback_does_not() {
    let server = site().configured(
        r#"
        server.workers = 1
        [site.default]
        hosts = ["*"]
        root = "ROOT"
        [site.default.path."/private/"]
        allow = ["127.0.0.1"]
        fallback = "/page.txt"
        "#,
    );
    let request = PAGE.replace("page.txt", "private/any");
    let response = ask_often(&mut server.connect(), &request);
    assert_eq!(response.text(), "the page\n");
    let mut other = Connection::open_from(Ipv4Addr::new(127, 0, 0, 2), server.address);
    assert_eq!(ask(&mut other, &request).status(), 403);
}

#[test]
fn a_request_that_came_in_elsewhere_is_another_one() {
    let elsewhere = free();
    let site = site().file("other/page.txt", "the other page\n");
    let config = format!(
        "version = 1\n[server]\nworkers = 1\nlisten = [\"127.0.0.1:0\", \"{elsewhere}\"]\n\
         [site.one]\nhosts = [\"*\"]\nroot = \"root\"\nlisten = [\"127.0.0.1:0\"]\n\
         [site.other]\nhosts = [\"*\"]\nroot = \"root/other\"\nlisten = [\"{elsewhere}\"]\n"
    );
    let path = site.directory().join("pywebd.toml");
    fs::write(&path, config).unwrap();
    let server = Server::start(&["serve", "--config", path.to_str().unwrap()]).keep(site);
    for _ in 0..OFTEN {
        assert_eq!(ask(&mut server.connect(), PAGE).text(), "the page\n");
        let mut other = Connection::open(elsewhere);
        assert_eq!(ask(&mut other, PAGE).text(), "the other page\n");
    }
}

#[test]
fn what_a_script_redirects_to_is_answered_by_the_script_each_time() {
    let script =
        "#!/bin/sh\necho run >> \"$DOCUMENT_ROOT/../runs\"\nprintf 'Location: /page.txt\\n\\n'\n";
    let config = format!("server.workers = 1\n{SITE}[site.a.path.\"/cgi-bin/\"]\ncgi = true\n");
    let server = site()
        .script("cgi-bin/redirect", script)
        .configured(&config);
    let mut client = server.connect();
    let request = "GET /cgi-bin/redirect HTTP/1.1\r\nHost: example.org\r\n\r\n";
    assert_eq!(ask_often(&mut client, PAGE).status(), 200);
    for _ in 0..OFTEN {
        assert_eq!(ask(&mut client, request).text(), "the page\n");
    }
    let runs = fs::read_to_string(server.site().directory().join("runs")).unwrap();
    assert_eq!(runs.lines().count(), OFTEN);
}

#[test]
fn a_head_that_comes_in_pieces_is_the_same_request() {
    let server = serve(site());
    let mut client = server.connect();
    ask_often(&mut client, PAGE);
    for at in 1..PAGE.len() {
        let (begin, end) = PAGE.split_at(at);
        client.send(begin).send(end);
        assert_eq!(client.response().text(), "the page\n", "{at}");
    }
}

#[test]
fn a_request_behind_one_that_is_remembered_gets_its_own_answer() {
    let site = site().file("other.txt", "the other\n");
    let server = serve(site);
    let other = PAGE.replace("page", "other");
    let mut client = server.connect();
    for _ in 0..OFTEN {
        client.send(format!("{PAGE}{other}{PAGE}"));
        for text in ["the page\n", "the other\n", "the page\n"] {
            assert_eq!(client.response().text(), text);
        }
        // One of them, and one that goes on behind it.
        client.send(PAGE).send(&other);
        assert_eq!(client.response().text(), "the page\n");
        assert_eq!(client.response().text(), "the other\n");
        client
            .send(format!("{PAGE}{}", &other[..20]))
            .send(&other[20..]);
        assert_eq!(client.response().text(), "the page\n");
        assert_eq!(client.response().text(), "the other\n");
        for (request, text) in [(PAGE, "the page\n"), (&other, "the other\n")] {
            assert_eq!(ask(&mut client, request).text(), text);
        }
    }
}

#[test]
fn a_request_that_comes_while_another_is_answered_is_not_taken_for_that() {
    let server = serve(site().file("other.txt", "the other\n"));
    let other = PAGE.replace("page", "other");
    let page = server.site().root().join("page.txt");
    let mut client = server.connect();
    for pause in 0..200 {
        // It takes a moment to read; somewhere in it the next request comes.
        fs::write(&page, "the page\n").unwrap();
        client.send(PAGE);
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_micros(4 * pause) {
            std::hint::spin_loop();
        }
        client.send(&other);
        assert_eq!(client.response().text(), "the page\n");
        assert_eq!(client.response().text(), "the other\n");
        assert_eq!(ask(&mut client, PAGE).text(), "the page\n");
        assert_eq!(ask(&mut client, &other).text(), "the other\n");
    }
}

#[test]
fn a_request_that_looks_at_times_or_parts_is_answered_for_itself() {
    let server = serve(site());
    let mut client = server.connect();
    let first = ask_often(&mut client, PAGE);
    let tag = first.field("etag").unwrap();
    for (fields, status) in [
        (format!("If-None-Match: {tag}"), 304),
        ("If-None-Match: \"x\"".to_owned(), 200),
        ("Range: bytes=0-3".to_owned(), 206),
        ("If-Match: \"x\"".to_owned(), 412),
        ("Expect: nothing".to_owned(), 417),
    ] {
        let request = format!("GET /page.txt HTTP/1.1\r\nHost: example.org\r\n{fields}\r\n\r\n");
        for _ in 0..OFTEN {
            assert_eq!(
                ask(&mut server.connect(), &request).status(),
                status,
                "{fields}"
            );
        }
    }
    let request = "HEAD /page.txt HTTP/1.1\r\nHost: example.org\r\n\r\n";
    for _ in 0..OFTEN {
        let response = client.send(request).response_to("HEAD");
        assert_eq!(response.field("content-length"), Some("9"));
    }
    assert_eq!(ask(&mut client, PAGE).text(), "the page\n");
}

#[test]
fn a_connection_that_is_to_be_closed_is() {
    let server = serve(site());
    let request = PAGE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for _ in 0..OFTEN {
        let mut client = server.connect();
        let answer = String::from_utf8(client.send(&request).read_to_end()).unwrap();
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nthe page\n"), "{answer}");
    }
    let kept = PAGE.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
    let mut client = server.connect();
    for _ in 0..OFTEN {
        assert_eq!(ask(&mut client, &kept).text(), "the page\n");
    }
}

#[test]
fn a_client_that_reads_late_gets_every_byte_of_every_answer() {
    let numbers = (0..15_000_u32).flat_map(u32::to_le_bytes);
    let content: Vec<u8> = numbers.collect();
    let site = Site::new().file("large.bin", &content);
    let server = serve(site);
    let request = PAGE.replace("page.txt", "large.bin");
    let mut client = server.connect();
    ask_often(&mut client, &request);
    // More than the sockets take.
    let times = 500;
    for _ in 0..times {
        client.send(&request);
    }
    for at in 0..times {
        assert!(client.response().content == content, "{at}");
    }
}

#[test]
fn the_server_stops_in_the_midst_of_the_same_requests() {
    let server = serve(site());
    let mut client = server.connect();
    assert_eq!(ask_often(&mut client, PAGE).field("connection"), None);
    server.signal(rustix::process::Signal::TERM);
    let is_last = |response: Response| response.field("connection") == Some("close");
    let begun = Instant::now();
    while !is_last(ask(&mut client, PAGE)) {
        assert!(begun.elapsed() < HANG);
    }
    assert!(server.ended().status.success());
}

/// Serves the site with these limits, and with others as soon as the returned function is called.
fn limited(limits: &str, other: &'static str) -> (Server, impl Fn(&Server)) {
    let config = |limits: &str| format!("server.workers = 1\nlimits = {{ {limits} }}\n{SITE}");
    let server = site().configured(&config(limits));
    let change = move |server: &Server| {
        server.site().config(&config(other));
        server.logged(&["limits", "->"]);
    };
    (server, change)
}

#[test]
fn an_answer_by_the_limits_of_an_old_connection_is_not_for_a_new_one() {
    let (server, change) = limited("request-headers = 50", "request-headers = 3");
    let request = PAGE.replace("\r\n\r\n", "\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n");
    let mut old = server.connect();
    assert_eq!(ask(&mut old, &request).status(), 200);
    change(&server);
    for _ in 0..OFTEN {
        ask(&mut old, &request);
        assert_eq!(ask(&mut server.connect(), &request).status(), 431);
    }
}

#[test]
fn limits_of_time_hold_from_the_next_request_on_though_it_is_a_repeated_one() {
    let (server, change) = limited("idle-timeout = \"60s\"", "idle-timeout = \"5s\"");
    let (mut client, mut other) = (server.connect(), server.connect());
    assert_eq!(ask_often(&mut client, PAGE).status(), 200);
    assert_eq!(ask(&mut other, PAGE).status(), 200);
    change(&server);
    ask_often(&mut client, PAGE);
    ask(&mut other, PAGE);
    assert_eq!(other.read_to_end(), b"");
}

/// Answers before it reads its content, which it counts when somebody lets it.
const EARLY: &str = "#!/bin/sh\n\
    printf 'Content-Type: text/plain\\nContent-Length: 5\\n\\nearly'\n\
    exec >&-\n\
    while [ ! -e \"$DOCUMENT_ROOT/go\" ]; do sleep 0.01; done\n\
    wc -c > \"$DOCUMENT_ROOT/count.tmp\"\n\
    mv \"$DOCUMENT_ROOT/count.tmp\" \"$DOCUMENT_ROOT/count\"\n";

/// What it has counted.
fn counted(root: &Path) -> String {
    let begun = Instant::now();
    let count = root.join("count");
    while !count.exists() {
        assert!(begun.elapsed() < HANG);
        thread::yield_now();
    }
    fs::read_to_string(count).unwrap().trim().to_owned()
}

#[test]
fn requests_behind_content_that_a_script_reads_late_are_answered_in_their_order() {
    let site = site().file("other.txt", "the other\n");
    let config = format!("server.workers = 1\n{SITE}[site.a.path.\"/cgi-bin/\"]\ncgi = true\n");
    let server = site.script("cgi-bin/early", EARLY).configured(&config);
    let root = server.site().root();
    ask_often(&mut server.connect(), PAGE);
    // More than a pipe holds, and the rest in pieces that are read before anybody takes them.
    let chunk = "400\r\n".to_owned() + &"x".repeat(0x400) + "\r\n";
    let content = chunk.repeat(70) + "0\r\n\r\n";
    let mut client = server.connect();
    client.send(
        "POST /cgi-bin/early HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    client.send(&content);
    assert_eq!(client.response().text(), "early");
    client.send(PAGE.replace("page", "other"));
    for _ in 0..OFTEN {
        ask(&mut server.connect(), PAGE);
        client.send(PAGE);
    }
    fs::write(root.join("go"), "").unwrap();
    assert_eq!(client.response().text(), "the other\n");
    for _ in 0..OFTEN {
        assert_eq!(client.response().text(), "the page\n");
    }
    assert_eq!(counted(&root), (70 * 0x400).to_string());
}

#[test]
fn content_ends_behind_trailers_though_nothing_follows() {
    let config = format!("server.workers = 1\n{SITE}[site.a.path.\"/cgi-bin/\"]\ncgi = true\n");
    let server = site().script("cgi-bin/early", EARLY).configured(&config);
    let root = server.site().root();
    ask_often(&mut server.connect(), PAGE);
    let mut client = server.connect();
    client.send(
        "POST /cgi-bin/early HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(client.response().text(), "early");
    client.send("3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n");
    fs::write(root.join("go"), "").unwrap();
    assert_eq!(counted(&root), "3");
    assert_eq!(ask(&mut client, PAGE).text(), "the page\n");
}
