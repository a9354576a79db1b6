//! Scripts: variables, answers, streams, ends.

use std::{fs, time::Instant};

use crate::support::{Connection, Server, Site};

const HEADER: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n";

fn script(body: &str) -> Server {
    let text = format!("{HEADER}{body}");
    Site::new().script("cgi-bin/script", &text).serve()
}

fn environment(response: &str, name: &str) -> Option<String> {
    let prefix = format!("{name}=");
    let line = response.lines().find(|line| line.starts_with(&prefix));
    line.map(|line| line[prefix.len()..].to_owned())
}

#[test]
fn a_script_answers_below_each_of_the_three_names() {
    let text = format!("{HEADER}echo here");
    let server = Site::new()
        .script("cgi-bin/a", &text)
        .script("htbin/a", &text)
        .script("ht-bin/a", &text)
        .serve();
    for path in ["/cgi-bin/a", "/htbin/a", "/ht-bin/a"] {
        assert_eq!(server.get(path).text(), "here\n", "{path}");
    }
}

#[test]
fn the_meta_variables_are_those_of_rfc_3875() {
    let server = script("env");
    let address = server.address;
    let target = "/cgi-bin/script/info%20here/x?a=b&c%20d";
    let fields = "Host2: x\r\nUser-Agent: test\r\nProxy: evil\r\nAuthorization: secret\r\n\
                  X_Under: no\r\nCookie: a=1\r\nCookie: b=2\r\nContent-Type: text/x\r\n";
    let text = server.request("POST", target, fields, "four").text();
    let root = fs::canonicalize(server.site().root()).unwrap();
    let root = root.to_str().unwrap();
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/cgi-bin/script"),
        ("PATH_INFO", "/info here/x"),
        ("PATH_TRANSLATED", &format!("{root}/info here/x")),
        ("QUERY_STRING", "a=b&c%20d"),
        ("CONTENT_LENGTH", "4"),
        ("CONTENT_TYPE", "text/x"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "localhost"),
        ("REQUEST_URI", target),
        ("DOCUMENT_ROOT", root),
        ("SCRIPT_FILENAME", &format!("{root}/cgi-bin/script")),
        ("SERVER_ADDR", "127.0.0.1"),
        ("REQUEST_SCHEME", "http"),
        ("HTTP_USER_AGENT", "test"),
        ("HTTP_HOST", "localhost"),
        ("HTTP_COOKIE", "a=1; b=2"),
    ] {
        assert_eq!(
            environment(&text, name).as_deref(),
            Some(value),
            "{name} in {text}"
        );
    }
    let software = environment(&text, "SERVER_SOFTWARE").unwrap();
    assert!(software.starts_with("pywebd/"), "{software}");
    assert!(environment(&text, "SERVER_PORT").is_some());
    assert!(environment(&text, "REMOTE_PORT").unwrap() != address.port().to_string());
    for name in [
        "HTTP_PROXY",
        "HTTP_AUTHORIZATION",
        "HTTP_X_UNDER",
        "HTTP_CONTENT_LENGTH",
        "HOME",
    ] {
        assert_eq!(environment(&text, name), None, "{name}");
    }
}

#[test]
fn a_request_without_content_and_query_has_no_length_and_an_empty_query() {
    let server = script("env");
    let text = server.get("/cgi-bin/script").text();
    assert_eq!(environment(&text, "CONTENT_LENGTH"), None);
    assert_eq!(environment(&text, "CONTENT_TYPE"), None);
    assert_eq!(environment(&text, "QUERY_STRING").as_deref(), Some(""));
    assert_eq!(environment(&text, "PATH_INFO").as_deref().unwrap_or(""), "");
}

#[test]
fn content_reaches_the_script_and_its_output_the_client() {
    let server = script("cat");
    let content = "0123456789".repeat(100_000);
    let response = server.request("POST", "/cgi-bin/script", "", &content);
    assert_eq!(response.status(), 200);
    assert!(
        response.text() == content,
        "{} bytes came back",
        response.content.len()
    );
}

#[test]
fn a_chunked_upload_reaches_the_script() {
    let server = script("cat");
    let mut connection = server.connect();
    connection.send(
        "POST /cgi-bin/script HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\nfour\r\n3\r\nand\r\n0\r\n\r\n",
    );
    assert_eq!(connection.response().text(), "fourand");
}

#[test]
fn output_is_sent_as_it_comes() {
    let server = Site::new().serve();
    let gate = server.site().directory().join("gate");
    let status = std::process::Command::new("mkfifo").arg(&gate).status();
    assert!(status.unwrap().success());
    let body = format!(
        "{HEADER}echo first\nread line < {}\necho $line",
        gate.display()
    );
    let script = server.site().root().join("cgi-bin/script");
    fs::create_dir(script.parent().unwrap()).unwrap();
    fs::write(&script, body).unwrap();
    executable(&script);
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.read_until(b"first\n");
    fs::write(&gate, "second\n").unwrap();
    connection.read_until(b"second\n");
}

fn executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_script_says_the_status_and_the_fields() {
    let text = "#!/bin/sh\nprintf 'Status: 418 I am a teapot\\nContent-Type: text/plain\\n\
                X-Mine: yes\\nSet-Cookie: a=1\\nSet-Cookie: b=2\\n\\nshort and stout'\n";
    let server = Site::new().script("cgi-bin/script", text).serve();
    let response = server.get("/cgi-bin/script");
    assert_eq!(response.status(), 418);
    assert_eq!(response.field("x-mine"), Some("yes"));
    let cookies = response
        .fields
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    assert_eq!(cookies.count(), 2);
    assert_eq!(response.text(), "short and stout");
}

#[test]
fn a_location_redirects() {
    let say = |line: &str| format!("#!/bin/sh\nprintf '{line}'\n");
    let server = Site::new()
        .file("there.txt", "the file there")
        .script("cgi-bin/away", &say("Location: http://example.org/x\\n\\n"))
        .script("cgi-bin/here", &say("Location: /there.txt?q\\n\\n"))
        .script(
            "cgi-bin/seen",
            &say("Status: 303 See Other\\nLocation: /there.txt\\nContent-Type: text/plain\\n\\n"),
        )
        .script("cgi-bin/loop", &say("Location: /cgi-bin/loop\\n\\n"))
        .serve();
    let away = server.get("/cgi-bin/away");
    assert_eq!(
        (away.status(), away.field("location")),
        (302, Some("http://example.org/x"))
    );
    let seen = server.get("/cgi-bin/seen");
    assert_eq!(
        (seen.status(), seen.field("location")),
        (303, Some("/there.txt"))
    );
    let here = server.request("POST", "/cgi-bin/here", "", "content");
    assert_eq!((here.status(), &*here.text()), (200, "the file there"));
    assert_eq!(server.get("/cgi-bin/loop").status(), 500);
}

#[test]
fn head_runs_the_script_and_sends_no_content() {
    let server = script("echo content; echo ran > ran");
    let response = server.request("HEAD", "/cgi-bin/script", "", "");
    assert_eq!(response.status(), 200);
    server.logged(&["\"HEAD /cgi-bin/script HTTP/1.1\"", "200"]);
    assert_eq!(
        fs::read_to_string(server.site().root().join("cgi-bin/ran")).unwrap(),
        "ran\n"
    );
}

#[test]
fn a_script_runs_in_its_directory_with_standard_streams_only() {
    let server = script("pwd; ls /proc/self/fd | wc -l; umask; echo $#; ls -l /proc/$$/fd");
    let text = server.get("/cgi-bin/script?a+b").text();
    let mut lines = text.lines();
    let directory = fs::canonicalize(server.site().root().join("cgi-bin")).unwrap();
    assert_eq!(lines.next(), directory.to_str(), "{text}");
    // Standard input, output, error, and the directory that ls reads.
    assert_eq!(lines.next().map(str::trim), Some("4"), "{text}");
    assert_eq!(lines.next(), Some("0022"), "{text}");
    assert_eq!(
        lines.next(),
        Some("0"),
        "no argument comes from the query: {text}"
    );
}

#[test]
fn stderr_is_logged_line_by_line_with_the_script() {
    let server = script("echo one >&2; echo two >&2; echo out");
    assert_eq!(server.get("/cgi-bin/script").text(), "out\n");
    server.logged(&["script[", "]: one"]);
    server.logged(&["script[", "]: two"]);
}

#[test]
fn a_script_that_cannot_answer_gives_an_answer_and_a_line_that_say_so() {
    let server = Site::new()
        .file("cgi-bin/plain", "#!/bin/sh\necho secret source\n")
        .script("cgi-bin/missing", "#!/no/such/interpreter\n")
        .script("cgi-bin/crlf", "#!/bin/sh\r\necho\r\n")
        .script("cgi-bin/binary", "\u{7f}ELF, but not really")
        .script("cgi-bin/nonsense", "#!/bin/sh\necho this is no header\n")
        .script("cgi-bin/silent", "#!/bin/sh\nexit 3\n")
        .script("cgi-bin/killed", "#!/bin/sh\nkill -9 $$\n")
        .serve();
    for (name, status, reason) in [
        ("plain", 403, "execut"),
        ("missing", 500, "/no/such/interpreter"),
        ("crlf", 500, "CR"),
        ("binary", 500, "binary"),
        ("nonsense", 502, "this is no header"),
        ("silent", 502, "exit status 3"),
        ("killed", 502, "signal 9"),
    ] {
        let response = server.get(&format!("/cgi-bin/{name}"));
        assert_eq!(response.status(), status, "{name}: {}", response.text());
        assert!(
            response.text().contains(reason),
            "{name}: {}",
            response.text()
        );
        assert!(!response.text().contains("secret source"), "{name}");
        server.logged(&[&format!("/cgi-bin/{name} "), &status.to_string(), reason]);
    }
}

#[test]
fn a_stranger_is_not_told_what_is_wrong() {
    let server = Site::new()
        .script("cgi-bin/nonsense", "#!/bin/sh\necho secret\n")
        .serve();
    for field in [
        "X-Forwarded-For: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-Proto: https",
        "CF-Connecting-IP: 192.0.2.1",
        "Via: 1.1 proxy",
    ] {
        let fields = format!("{field}\r\n");
        let response = server.request("GET", "/cgi-bin/nonsense", &fields, "");
        assert_eq!(response.status(), 502);
        assert!(!response.text().contains("secret"), "{field}");
    }
}

#[test]
fn the_source_of_a_script_is_never_served() {
    let server = Site::new()
        .file("cgi-bin/data.db", "secret")
        .script(
            "cgi-bin/sub/script.py",
            "#!/bin/sh\necho Content-Type: text/plain\necho\necho ran\n",
        )
        .script("cgi-bin/.hidden", "#!/bin/sh\necho secret\n")
        .script("cgi-bin/script.py~", "#!/bin/sh\necho secret\n")
        .serve();
    assert_eq!(server.get("/cgi-bin/sub/script.py").text(), "ran\n");
    for path in [
        "/cgi-bin",
        "/cgi-bin/",
        "/cgi-bin/sub/",
        "/cgi-bin/data.db",
        "/cgi-bin/data.db/x",
        "//cgi-bin/data.db",
        "/cgi%2dbin/data.db",
        "/cgi-bin/.hidden",
        "/cgi-bin/script.py~",
        "/cgi-bin/../cgi-bin/data.db",
        "/./cgi-bin/data.db",
    ] {
        let response = server.get(path);
        assert!([301, 400, 403, 404].contains(&response.status()), "{path}");
        assert!(
            !response.text().contains("secret"),
            "{path}: {}",
            response.text()
        );
        assert!(
            !response.text().contains("data.db</a>"),
            "{path}: {}",
            response.text()
        );
    }
}

/// A script that tells its process ids and then does not end by itself.
fn endless(first: &str) -> String {
    format!("{HEADER}sleep 1000 &\necho $$ $!\n{first}wait\n")
}

fn pids(connection: &mut Connection) -> Vec<u32> {
    connection.read_until(b"\r\n\r\n");
    connection.read_until(b"\r\n");
    let line = connection.read_until(b"\n");
    let line = String::from_utf8(line).unwrap();
    line.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn wait_until_gone(pids: &[u32]) {
    let start = Instant::now();
    let runs = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/stat"));
        // A zombie has ended; who reaps it is not the point.
        status.is_ok_and(|status| !status.contains(") Z "))
    };
    while pids.iter().any(runs) {
        assert!(start.elapsed().as_secs() < 20, "{pids:?} still run");
        std::thread::yield_now();
    }
}

#[test]
fn a_script_whose_client_leaves_is_killed_with_what_it_started() {
    for reaction in ["", "trap '' TERM\n"] {
        let server = Site::new()
            .script("cgi-bin/script", &endless(reaction))
            .serve();
        let mut connection = server.connect();
        connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
        let pids = pids(&mut connection);
        assert_eq!(pids.len(), 2);
        drop(connection);
        wait_until_gone(&pids);
        server.logged(&["GET /cgi-bin/script", "client left"]);
    }
}

#[test]
fn a_script_whose_client_leaves_before_the_first_byte_is_killed() {
    let server = Site::new()
        .script(
            "cgi-bin/script",
            "#!/bin/sh\necho $$ > pid.new; mv pid.new pid\nsleep 1000\n",
        )
        .serve();
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
    let file = server.site().root().join("cgi-bin/pid");
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed().as_secs() < 20, "the script does not start");
        std::thread::yield_now();
    }
    let pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    drop(connection);
    wait_until_gone(&[pid]);
}

#[test]
fn a_silent_script_is_504_and_killed() {
    let server = Site::new()
        .script("cgi-bin/script", "#!/bin/sh\necho $$ >&2\nsleep 1000\n")
        .configured(
            "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\ntimeout = \"3s\"\n",
        );
    let response = server.get("/cgi-bin/script");
    assert_eq!(response.status(), 504);
    let line = server.logged(&["script["]);
    let pid = line.rsplit(' ').next().unwrap().parse().unwrap();
    wait_until_gone(&[pid]);
    server.logged(&["GET /cgi-bin/script", "504", "no output"]);
}

#[test]
fn a_script_that_falls_silent_ends_the_connection_without_the_last_chunk() {
    let server = Site::new()
        .script(
            "cgi-bin/script",
            &format!("{HEADER}echo begun\nsleep 1000\n"),
        )
        .configured(
            "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\ntimeout = \"3s\"\n",
        );
    let answer = server.raw("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("begun"), "{answer}");
    assert!(!answer.contains("\r\n0\r\n"), "{answer}");
}

#[test]
fn a_script_that_answers_without_reading_is_heard() {
    let server = script("echo done");
    let content = "x".repeat(4 << 20);
    let mut connection = server.connect();
    connection.send(format!(
        "POST /cgi-bin/script HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        content.len()
    ));
    assert_eq!(connection.response().text(), "done\n");
}

#[test]
fn a_script_outside_of_the_root_can_be_mapped() {
    let server = Site::new()
        .script(
            "../programs/hello",
            &format!("{HEADER}echo $SCRIPT_NAME $PATH_INFO $COLOR"),
        )
        .configured(
            "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/run/\"]\ncgi = \"programs\"\nenv = { COLOR = \"green\" }\n",
        );
    assert_eq!(server.get("/run/hello/x").text(), "/run/hello /x green\n");
}

#[test]
fn scripts_beyond_the_queue_are_503_with_retry_after() {
    let server = Site::new()
        .script("cgi-bin/script", &endless(""))
        .configured(
            "cgi.max-running = 1\ncgi.max-queued = 0\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\n",
        );
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
    pids(&mut connection);
    let response = server.get("/cgi-bin/script");
    assert_eq!(response.status(), 503);
    assert!(response.field("retry-after").is_some());
}

#[test]
fn content_over_the_limit_is_413() {
    let server = Site::new()
        .script("cgi-bin/script", &format!("{HEADER}cat"))
        .configured(
            "limits.request-body-size = \"1K\"\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\n",
        );
    let content = "x".repeat(2000);
    let response = server.request("POST", "/cgi-bin/script", "", &content);
    assert_eq!(response.status(), 413);
}

#[test]
fn a_rule_for_a_script_holds_for_the_paths_below_it() {
    let echo = format!("{HEADER}echo $KIND");
    let server = Site::new()
        .script("cgi-bin/denied", &echo)
        .script("cgi-bin/limited", &echo)
        .script("cgi-bin/own", &echo)
        .configured(
            "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\n\
             [site.a.path.\"/cgi-bin/denied\"]\ndeny = true\n\
             [site.a.path.\"/cgi-bin/limited\"]\nallow = [\"10.0.0.0/8\"]\n\
             [site.a.path.\"/cgi-bin/own\"]\nenv = { KIND = \"mine\" }\n",
        );
    for path in ["denied", "denied/info", "limited", "limited/info"] {
        assert_eq!(
            server.get(&format!("/cgi-bin/{path}")).status(),
            403,
            "{path}"
        );
    }
    for path in ["own", "own/info"] {
        assert_eq!(
            server.get(&format!("/cgi-bin/{path}")).text(),
            "mine\n",
            "{path}"
        );
    }
}
