//! How the output of a script becomes an answer: its head, its content, and how it ends.

use std::{fs, path::Path, process::Command, thread};

use crate::support::{Connection, Server, Site};

const HEADER: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n";

/// So often a race is run.
const TRIES: usize = 40;

fn script(text: &str) -> Server {
    Site::new().script("cgi-bin/script", text).serve()
}

/// A script that says these lines and then does the rest.
fn saying(head: &str, rest: &str) -> String {
    format!("#!/bin/sh\nprintf '{head}\\n\\n'\n{rest}\n")
}

fn get(fields: &str) -> String {
    format!("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

fn fifo(directory: &Path, name: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    let status = Command::new("mkfifo").arg(&path).status();
    assert!(status.unwrap().success());
    path
}

/// Everything until the end of the connection, as text.
fn all(connection: &mut Connection) -> String {
    String::from_utf8_lossy(&connection.read_to_end()).into_owned()
}

#[test]
fn an_answer_shorter_than_its_length_arrives_as_far_as_it_goes_with_those_before_it() {
    let short = saying(
        "Content-Type: text/plain\\nContent-Length: 10",
        "printf four",
    );
    let server = Site::new()
        .file("file", "before")
        .script("cgi-bin/script", &short)
        .serve();
    let file = "GET /file HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..TRIES {
        let answers = server.raw(format!("{file}{file}{}{file}", get("")));
        assert_eq!(answers.matches("before").count(), 2, "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
        assert!(answers.contains("content-length: 10\r\n"), "{answers}");
        assert!(answers.ends_with("\r\n\r\nfour"), "{answers}");
    }
    server.logged(&["GET /cgi-bin/script", "200 4", "6 bytes before"]);
}

#[test]
fn a_client_that_ends_its_sending_side_has_left_and_gets_what_it_asked_for_before() {
    let server = Site::new()
        .file("file", "before")
        .script("cgi-bin/script", &format!("{HEADER}exec sleep 1000"))
        .serve();
    let file = "GET /file HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /cgi-bin/script HTTP/1.1\r\nHost: x\r\n";
    for request in [
        get(""),
        format!("{post}Content-Length: 4\r\n\r\nfour"),
        format!("{post}Content-Length: 40\r\n\r\nfour"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n28\r\nfour"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n"),
    ] {
        for _ in 0..TRIES / 4 {
            let mut connection = server.connect();
            connection.send(format!("{file}{request}")).finish_sending();
            let answers = all(&mut connection);
            assert!(answers.ends_with("\r\n\r\nbefore"), "{request}: {answers}");
        }
    }
    server.logged(&["POST /cgi-bin/script", "\" - 0 ", "(the client left)"]);
}

#[test]
fn a_client_that_ends_its_sending_side_while_a_script_writes_sees_no_good_end() {
    let body = format!("{HEADER}echo begun\nexec sleep 1000");
    let server = script(&body);
    for version in ["1.0", "1.1"] {
        let mut connection = server.connect();
        connection.send(format!(
            "GET /cgi-bin/script HTTP/{version}\r\nHost: x\r\n\r\n"
        ));
        connection.read_until(b"begun\n");
        connection.finish_sending();
        if version == "1.0" {
            assert!(connection.is_reset());
        } else {
            assert_eq!(all(&mut connection), "\r\n");
        }
        let request = format!("HTTP/{version}\" 200 6");
        server.logged(&[&request, "[killed: the client left]"]);
    }
}

#[test]
fn a_crash_breaks_the_answer_off() {
    let server = script(&format!("{HEADER}printf partial\nkill -SEGV $$\n"));
    for _ in 0..TRIES {
        let answer = server.raw(get(""));
        assert!(answer.ends_with("\r\n\r\n7\r\npartial\r\n"), "{answer}");
    }
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/script HTTP/1.0\r\n\r\n");
    connection.read_until(b"partial");
    assert!(connection.is_reset());
    server.logged(&["200 7", "[signal 11]", "was ended by signal 11"]);
}

#[test]
fn an_exit_status_is_written_down_and_does_not_spoil_the_answer() {
    let server = script(&format!("{HEADER}printf whole\nexit 3\n"));
    let mut connection = server.connect();
    for _ in 0..TRIES {
        connection.send(get(""));
        assert_eq!(connection.response().text(), "whole");
    }
    server.logged(&["200 5", "[exit status 3]"]);
}

#[test]
fn a_script_that_closes_its_output_has_answered_and_may_work_on_until_its_timeout() {
    let site = Site::new().script(
        "cgi-bin/script",
        &format!("{HEADER}printf whole\nexec >&-\nexec sleep 1000\n"),
    );
    let server = site.configured(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
         [site.a.path.\"/cgi-bin/\"]\ncgi = true\ntimeout = \"2s\"\n",
    );
    let mut connection = server.connect();
    connection.send(get(""));
    assert_eq!(connection.response().text(), "whole");
    // The connection serves others meanwhile.
    connection.send("GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.response().status(), 404);
    server.logged(&["GET /cgi-bin/script", "200 5", "killed: no output for 2s"]);
}

#[test]
fn of_fields_that_stand_there_twice_the_client_gets_the_last() {
    let server = Site::new()
        .script(
            "cgi-bin/script",
            &saying(
                "Content-Type: text/html\\nStatus: 500 No\\nContent-Type: text/plain\\n\
                 Status: 404 Not here",
                "",
            ),
        )
        .script(
            "cgi-bin/away",
            &saying("Location: http://a/\\nLocation: http://b/", ""),
        )
        .serve();
    let response = server.get("/cgi-bin/script");
    assert_eq!(response.status_line, "HTTP/1.1 404 Not here");
    let values = |response: &crate::support::Response, name: &str| {
        let values = response.fields.iter().filter(|(field, _)| field == name);
        values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(values(&response, "content-type"), ["text/plain"]);
    assert_eq!(values(&response, "status"), [""; 0]);
    let away = server.get("/cgi-bin/away");
    assert_eq!(values(&away, "location"), ["http://b/"]);
}

#[test]
fn fields_of_the_connection_are_not_the_scripts() {
    let fields = "Connection: upgrade, X\\nKeep-Alive: timeout=5\\nUpgrade: h2c\\nTrailer: X\\n\
                  Proxy-Connection: close\\nTE: trailers\\nContent-Type: text/plain";
    let server = script(&saying(fields, "printf whole"));
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(get(""));
        let response = connection.response();
        assert_eq!(response.text(), "whole");
        let mut names: Vec<_> = response.fields.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "date", "transfer-encoding"]);
    }
}

#[test]
fn a_framing_that_the_script_gets_wrong_is_502() {
    for fields in [
        "Content-Length: four",
        "Content-Length: -4",
        "Content-Length: 4, 4",
        "Content-Length: 4\\nContent-Length: 5",
        "Content-Length:",
        "Transfer-Encoding: chunked",
    ] {
        let head = format!("Content-Type: text/plain\\n{fields}");
        let server = script(&saying(&head, "printf four"));
        let mut connection = server.connect();
        connection.send(get(""));
        assert_eq!(connection.response().status(), 502, "{fields}");
    }
}

#[test]
fn content_without_a_length_closes_an_old_connection_and_says_so() {
    let server = script(&format!("{HEADER}printf whole"));
    let request = "GET /cgi-bin/script HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answer = server.raw(request);
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(!answer.contains("keep-alive"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwhole"), "{answer}");

    let sized = saying(
        "Content-Type: text/plain\\nContent-Length: 5",
        "printf whole",
    );
    let server = script(&sized);
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(request);
        let response = connection.response();
        assert_eq!(response.field("connection"), Some("keep-alive"));
        assert_eq!(response.text(), "whole");
    }
}

#[test]
fn a_script_that_writes_without_end_what_nobody_wants_is_ended() {
    for (method, head) in [
        ("HEAD", "Content-Type: text/plain"),
        ("GET", "Status: 204 Nothing"),
        ("GET", "Status: 304 Nothing new"),
        ("GET", "Content-Type: text/plain\\nContent-Length: 4"),
        ("GET", "Location: /file"),
    ] {
        let server = Site::new()
            .file("file", "yes\n")
            .script("cgi-bin/script", &saying(head, "exec yes yes"))
            .serve();
        let mut connection = server.connect();
        for _ in 0..2 {
            connection.send(get("").replace("GET", method));
            let response = connection.response_to(method);
            assert!(response.status() < 400, "{head}");
            assert!(["", "yes\n"].contains(&&*response.text()), "{head}");
        }
        if head.starts_with("Location") {
            // The record tells of what answered in the end.
            continue;
        }
        let reason = "killed: wrote more than 1 MiB that nobody wants";
        server.logged(&["/cgi-bin/script", reason]);
    }
}

#[test]
fn a_script_may_finish_what_nobody_wants() {
    let work = "head -c 1000000 /dev/zero\necho done > done.new\nmv done.new done";
    let server = script(&saying("Content-Type: text/plain", work));
    assert_eq!(
        server.request("HEAD", "/cgi-bin/script", "", "").status(),
        200
    );
    let line = server.logged(&["HEAD /cgi-bin/script"]);
    assert!(!line.contains("killed"), "{line}");
    assert!(server.site().root().join("cgi-bin/done").exists());
}

#[test]
fn a_nonsense_that_does_not_end_is_502_and_the_script_is_ended() {
    let server = script("#!/bin/sh\nexec yes\n");
    assert_eq!(server.get("/cgi-bin/script").status(), 502);
    server.logged(&[
        "/cgi-bin/script",
        "502",
        "more than 1 MiB that nobody wants",
    ]);
}

#[test]
fn a_script_that_speaks_for_the_server_is_framed_like_any_other() {
    let head = "HTTP/1.1 203 Half right\\nContent-Type: text/plain";
    let server = Site::new()
        .script("cgi-bin/nph-script", &saying(head, "printf whole"))
        .serve();
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(get("").replace("script", "nph-script"));
        let response = connection.response();
        assert_eq!(response.status_line, "HTTP/1.1 203 Half right");
        assert_eq!(response.text(), "whole");
    }
}

#[test]
fn the_first_event_of_a_stream_arrives_while_the_script_waits() {
    let site = Site::new();
    let gate = fifo(site.directory(), "gate");
    let body = format!("printf 'data: 1\\n\\n'\ncat '{}'", gate.display());
    let server = site
        .script(
            "cgi-bin/script",
            &saying("Content-Type: text/event-stream", &body),
        )
        .serve();
    let mut connection = server.connect();
    connection.send(get("Accept-Encoding: gzip\r\n"));
    connection.read_until(b"data: 1\n\n");
    fs::write(&gate, "data: 2\n\n").unwrap();
    connection.read_until(b"data: 2\n\n\r\n0\r\n\r\n");
}

/// The most memory that the server has needed so far, in bytes.
fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

/// What a flood of 64 MiB may add to it.
const BOUND: u64 = 16 << 20;

#[test]
fn a_flood_to_a_client_that_takes_nothing_waits_in_the_script() {
    let server = Site::new()
        .script("cgi-bin/script", &format!("{HEADER}exec yes"))
        .configured(
            "limits.response-timeout = \"500ms\"\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\n",
        );
    server.get("/none");
    let before = peak(&server);
    let mut connection = server.connect();
    connection.send(get(""));
    server.logged(&[
        "GET /cgi-bin/script",
        "killed: the client left",
        "took nothing",
    ]);
    let grown = peak(&server) - before;
    assert!(grown < BOUND, "{grown} bytes more");
}

#[test]
fn a_flood_to_stderr_neither_holds_the_answer_up_nor_fills_the_memory() {
    let body = format!("{HEADER}echo first\nhead -c 64M /dev/zero | tr '\\0' x >&2\necho last\n");
    let site = Site::new().script("cgi-bin/script", &body);
    let root = site.root();
    let root = root.to_str().unwrap();
    let server =
        Server::start_with_unread_log(&["serve", root, "--cgi", "--listen", "127.0.0.1:0"]);
    server.get("/none");
    let before = peak(&server);
    assert_eq!(server.get("/cgi-bin/script").text(), "first\nlast\n");
    let grown = peak(&server) - before;
    assert!(grown < BOUND, "{grown} bytes more");
}

/// An upload of 64 MiB.
const UPLOAD: usize = 64 << 20;

/// Sends the head of an upload and, by another thread, its content.
fn upload(connection: &mut Connection, is_chunked: bool) -> thread::JoinHandle<()> {
    let framing = if is_chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {UPLOAD}")
    };
    connection.send(format!(
        "POST /cgi-bin/script HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n"
    ));
    let mut sending = connection.again();
    thread::spawn(move || {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..UPLOAD / piece.len() {
            if is_chunked {
                sending.send(format!("{:x}\r\n", piece.len()));
            }
            sending.send(&piece);
            if is_chunked {
                sending.send("\r\n");
            }
        }
        if is_chunked {
            sending.send("0\r\n\r\n");
        }
    })
}

#[test]
fn an_upload_passes_through_little_memory() {
    // One counts it, one answers before it reads.
    for (body, answer) in [
        ("cat | wc -c", format!("{UPLOAD}\n")),
        ("echo early\ncat | wc -c >&2", "early\n".to_owned()),
    ] {
        for is_chunked in [false, true] {
            let text = format!("{HEADER}{body}");
            let site = Site::new().script("cgi-bin/script", &text);
            let server = site.configured(
                "limits.request-body-size = \"1G\"\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
                 [site.a.path.\"/cgi-bin/\"]\ncgi = true\n",
            );
            server.get("/none");
            let before = peak(&server);
            let mut connection = server.connect();
            let sending = upload(&mut connection, is_chunked);
            assert_eq!(connection.response().text(), answer, "{body}");
            sending.join().unwrap();
            if body != "cat | wc -c" {
                server.logged(&["script[", &format!("]: {UPLOAD}")]);
            }
            let grown = peak(&server) - before;
            assert!(grown < BOUND, "{body}: {grown} bytes more");
        }
    }
}
