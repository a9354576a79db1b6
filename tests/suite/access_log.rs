//! The access log in a file: the bytes of its lines, its rotation, files that take nothing, and
//! `[log]` at a reload.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
};
use serde_json::Value;

use crate::support::{HANG, SITE, Server, Site};

/// `al "ice` with the password `secret`.
const USER: &str = "al \"ice:$2b$04$pVhEpzP74YVLoHPJ424JquqF2./2yVjTflY8n1ed.xuQ22DHmZeyS\n";

/// A directory for logs, which outlives the server.
struct Logs(tempfile::TempDir);

impl Logs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A pipe that has this name.
    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        path
    }

    /// A configuration with the access log in a file here.
    fn config(&self, name: &str, format: &str) -> String {
        let path = self.path(name);
        let path = path.to_str().unwrap();
        format!("log.access = {{ file = \"{path}\", format = \"{format}\" }}\n{SITE}")
    }

    fn serve(&self, format: &str) -> Server {
        let site = Site::new().file("a", "x");
        site.configured(&self.config("access.log", format))
    }
}

/// The lines of a log once it has so many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap();
        if text.matches('\n').count() >= count && text.ends_with('\n') {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(start.elapsed() < HANG, "no {count} lines in {text:?}");
        thread::yield_now();
    }
}

/// A combined line without its time, and the time.
fn timeless(line: &str) -> (String, jiff::Timestamp) {
    let (before, rest) = line.split_once('[').unwrap();
    let (time, after) = rest.split_once(']').unwrap();
    let time = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).unwrap();
    (format!("{before}[]{after}"), time.to_timestamp().unwrap())
}

/// Runs `work` while a client asks for `/a?0`, `/a?1` and so on, of which there are `count` at least;
/// returns how many there were.
fn under_requests(server: &Server, count: usize, work: impl FnOnce()) -> usize {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut connection = server.connect();
            let mut number = 0;
            while number < count || !is_done.load(Ordering::Relaxed) {
                connection.send(format!("GET /a?{number} HTTP/1.1\r\nHost: x\r\n\r\n"));
                assert_eq!(connection.response().text(), "x");
                number += 1;
            }
            number
        });
        work();
        is_done.store(true, Ordering::Relaxed);
        client.join().unwrap()
    })
}

/// Asks for a target until a request is written in this file: the log has come there.
fn ask_until_written(server: &Server, target: &str, path: &Path) {
    let start = Instant::now();
    while fs::read(path).unwrap_or_default().is_empty() {
        assert!(start.elapsed() < HANG, "nothing is written");
        server.get(target);
    }
}

/// A hundred requests whose lines have 16 KiB each: more than is kept for a file.
fn ask_for_much(server: &Server) {
    let mut connection = server.connect();
    for _ in 0..100 {
        let request = format!("GET /a?{:016384} HTTP/1.1\r\nHost: x\r\n\r\n", 0);
        connection.send(request);
        assert_eq!(connection.response().text(), "x");
    }
}

/// How often the requests of [`under_requests`] stand in these lines.
fn tally<'t>(lines: impl IntoIterator<Item = &'t str>) -> BTreeMap<usize, usize> {
    let mut times = BTreeMap::new();
    for line in lines {
        if let Some((_, rest)) = line.split_once("\"GET /a?")
            && let Some((number, _)) = rest.split_once(" HTTP/1.1\"")
        {
            *times.entry(number.parse().unwrap()).or_default() += 1;
        } else if let Ok(object) = serde_json::from_str::<Value>(line) {
            let request = object["request_line"].as_str().unwrap();
            let number = request.split(['?', ' ']).nth(2).unwrap();
            *times.entry(number.parse().unwrap()).or_default() += 1;
        }
    }
    times
}

fn each_once(count: usize) -> BTreeMap<usize, usize> {
    (0..count).map(|number| (number, 1)).collect()
}

#[test]
fn a_combined_line_has_the_bytes_that_apache_would_write() {
    let logs = Logs::new();
    let site = Site::new().file("a", "x").file("p/a", "secret");
    fs::write(site.directory().join("users"), USER).unwrap();
    let config = logs.config("access.log", "combined");
    let auth = "[site.a.path.\"/p/\"]\nauth = { basic = \"users\" }\n";
    let server = site.configured(&format!("{config}{auth}"));
    let long = "y".repeat(20_000);
    let cases = [
        (
            b"GET /a HTTP/1.1\r\nHost: x\r\nReferer: http://r/?\"\\\tq\r\n\
              User-Agent: \xffZo\xc3\xab \"q\"\r\n"
                .to_vec(),
            r#"- [] "GET /a HTTP/1.1" 200 1 "http://r/?\"\\\tq" "\xffZo\xc3\xab \"q\"""#.to_owned(),
        ),
        (
            b"HEAD /a?%22%0a HTTP/1.0\r\n".to_vec(),
            r#"- [] "HEAD /a?%22%0a HTTP/1.0" 200 - "-" "-""#.to_owned(),
        ),
        (
            b"GET /p/a HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWwgImljZTpzZWNyZXQ=\r\n"
                .to_vec(),
            r#"al\x20\"ice [] "GET /p/a HTTP/1.1" 200 6 "-" "-""#.to_owned(),
        ),
        (
            format!("GET /a?{long} HTTP/1.1\r\nHost: x\r\nReferer: \r\n").into_bytes(),
            format!(r#"- [] "GET /a?{long} HTTP/1.1" 200 1 "-" "-""#),
        ),
    ];
    for (number, (head, expected)) in cases.iter().enumerate() {
        let request = [head.as_slice(), b"Connection: close\r\n\r\n"].concat();
        server.raw(&request);
        let line = lines(&logs.path("access.log"), number + 1).remove(number);
        let (line, time) = timeless(&line);
        assert_eq!(line, format!("127.0.0.1 - {expected}"));
        let age = jiff::Timestamp::now().duration_since(time);
        assert!((0..60).contains(&age.as_secs()), "{time}");
    }
}

#[test]
fn what_is_no_request_has_a_line_with_a_status() {
    let logs = Logs::new();
    let server = logs.serve("combined");
    server.raw(b"\x16\x03\x01\"\\\r\n\r\n");
    let tls = lines(&logs.path("access.log"), 1).remove(0);
    let expected = r#"127.0.0.1 - - [] "\x16\x03\x01\"\\" 400 - "-" "-""#;
    assert_eq!(timeless(&tls).0, expected);
    server.connect().finish_sending().read_to_end();
    let silent = lines(&logs.path("access.log"), 2).remove(1);
    assert_eq!(timeless(&silent).0, r#"127.0.0.1 - - [] "-" 408 - "-" "-""#);
}

#[test]
fn a_json_line_is_an_object_with_the_fields_of_the_record() {
    let logs = Logs::new();
    let script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nout'\n";
    let config = logs.config("access.log", "json");
    let rule = "[site.a.path.\"/run/\"]\ncgi = true\n";
    let site = Site::new().script("run/s", script);
    let server = site.configured(&format!("{config}{rule}"));
    let fields = "Referer: \"\\\tr\r\nUser-Agent: Zo\u{eb}\u{202e}\r\n";
    assert_eq!(server.request("GET", "/run/s?q", fields, "").text(), "out");
    server.raw(b"GET /none HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\r\nConnection: close\r\n\r\n");
    server.raw(b"\x16\x03\xff\r\n\r\n");
    let lines = lines(&logs.path("access.log"), 3);
    let objects: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let run = &objects[0];
    for (name, expected) in [
        ("client", "127.0.0.1"),
        ("request_line", "GET /run/s?q HTTP/1.1"),
        ("host", "localhost"),
        ("site", "a"),
        ("referer", "\"\\\tr"),
        ("user_agent", "Zo\u{eb}\u{202e}"),
        ("exit", "exit status 0"),
    ] {
        assert_eq!(run[name], expected, "{name} in {run}");
    }
    assert!(run["script"].as_str().unwrap().ends_with("/root/run/s"));
    assert_eq!((&run["status"], &run["bytes"]), (&200.into(), &3.into()));
    for name in ["duration_us", "cpu_us", "max_rss"] {
        assert!(run[name].is_u64(), "{name} in {run}");
    }
    assert!(run["request_id"].is_string());
    let time = run["time"].as_str().unwrap();
    assert_eq!(time.find('.'), time.len().checked_sub(8), "{time}");
    let age = jiff::Timestamp::now().duration_since(time.parse().unwrap());
    assert!((0..60).contains(&age.as_secs()), "{time}");

    assert_eq!(objects[1]["user_agent"], "\\xff");
    assert_eq!(objects[1]["status"], 404);
    assert_eq!(objects[1].get("script"), None);
    assert_eq!(objects[2]["request_line"], "\u{16}\u{3}\\xff");
    assert_eq!(objects[2]["status"], 400);
    assert!(objects[2]["cause"].as_str().unwrap().contains("TLS"));
    assert!(lines[0].contains(r"Zoë\u202e"), "{}", lines[0]);
}

#[test]
fn the_file_lies_beside_the_configuration_and_is_not_for_others() {
    let site = Site::new().file("a", "x");
    let access = "log.access = { file = \"access.log\" }\n";
    let server = site.configured(&format!("{access}{SITE}"));
    server.get("/a");
    let path = server.site().directory().join("access.log");
    let line = lines(&path, 1).remove(0);
    assert!(line.contains("\"GET /a HTTP/1.1\" 200 1 "), "{line}");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    assert!(!server.log().contains("GET /a"), "{}", server.log());
}

#[test]
fn rotation_by_rename_has_every_request_exactly_once() {
    const ROTATIONS: usize = 20;
    let logs = Logs::new();
    let server = logs.serve("combined");
    let path = logs.path("access.log");
    let asked = under_requests(&server, 2000, || {
        for number in 0..ROTATIONS {
            lines(&path, 1);
            fs::rename(&path, logs.path(&number.to_string())).unwrap();
            server.signal(Signal::USR1);
        }
        lines(&path, 1);
    });
    server.end(Signal::TERM);
    let files = (0..ROTATIONS).map(|number| logs.path(&number.to_string()));
    let texts: Vec<_> = files
        .chain([path])
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert!(texts.iter().all(|text| text.ends_with('\n')));
    assert_eq!(
        tally(texts.iter().flat_map(|text| text.lines())),
        each_once(asked)
    );
}

#[test]
fn a_log_that_is_copied_and_truncated_begins_again() {
    let logs = Logs::new();
    let server = logs.serve("combined");
    let path = logs.path("access.log");
    let first = under_requests(&server, 100, || {});
    let copied = lines(&path, first);
    fs::File::options()
        .write(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    let second = under_requests(&server, 50, || {});
    assert_eq!(tally(copied.iter().map(String::as_str)), each_once(first));
    let rest = lines(&path, second);
    assert_eq!(tally(rest.iter().map(String::as_str)), each_once(second));
    assert!(rest[0].starts_with("127.0.0.1 "), "{}", rest[0]);
}

#[test]
fn without_a_signal_lines_go_on_into_the_file_that_was_moved() {
    let logs = Logs::new();
    let server = logs.serve("combined");
    server.get("/a");
    lines(&logs.path("access.log"), 1);
    fs::rename(logs.path("access.log"), logs.path("moved")).unwrap();
    server.get("/a");
    lines(&logs.path("moved"), 2);
    assert!(!logs.path("access.log").exists());
}

#[test]
fn a_log_that_cannot_be_opened_again_goes_on_and_is_opened_when_it_can() {
    let logs = Logs::new();
    let directory = logs.path("directory");
    let moved = logs.path("moved");
    fs::create_dir(&directory).unwrap();
    let site = Site::new().file("a", "x");
    let server = site.configured(&logs.config("directory/access.log", "combined"));
    fs::rename(&directory, &moved).unwrap();
    server.signal(Signal::USR1);
    server.logged(&["directory/access.log cannot be written", "does not exist"]);
    server.get("/a");
    lines(&moved.join("access.log"), 1);
    fs::create_dir(&directory).unwrap();
    server.logged(&["directory/access.log is written again", "no record is lost"]);
    server.get("/a");
    lines(&directory.join("access.log"), 1);
}

#[test]
fn a_full_disk_holds_up_nobody_and_what_waited_is_written() {
    let logs = Logs::new();
    let path = logs.path("access.log");
    symlink("/dev/full", &path).unwrap();
    let server = logs.serve("combined");
    let first = under_requests(&server, 10, || {});
    server.logged(&["access.log cannot be written", "No space left on device"]);
    fs::remove_file(&path).unwrap();
    server.signal(Signal::USR1);
    server.logged(&["access.log is written again", "no record is lost"]);
    let written = lines(&path, first);
    assert_eq!(tally(written.iter().map(String::as_str)), each_once(first));
    assert_eq!(server.log().matches("cannot be written").count(), 1);
}

#[test]
fn what_does_not_fit_is_counted() {
    let logs = Logs::new();
    let path = logs.path("access.log");
    symlink("/dev/full", &path).unwrap();
    let server = logs.serve("combined");
    ask_for_much(&server);
    fs::remove_file(&path).unwrap();
    server.signal(Signal::USR1);
    let told = server.logged(&["access.log is written again", "records are lost"]);
    let lost = told.split_whitespace().rev().nth(3).unwrap();
    let written = fs::read_to_string(&path).unwrap().lines().count();
    assert_eq!(lost.parse::<usize>().unwrap() + written, 100, "{told}");
    assert!(written > 50, "{written}");
}

#[test]
fn records_that_are_lost_at_the_end_are_told() {
    let logs = Logs::new();
    symlink("/dev/full", logs.path("access.log")).unwrap();
    let server = logs.serve("combined");
    server.get("/a");
    let stderr = server.end(Signal::TERM).stderr;
    assert!(
        stderr.contains("1 records could not be written"),
        "{stderr}"
    );
}

#[test]
fn a_pipe_that_nobody_empties_holds_up_nobody() {
    let logs = Logs::new();
    let path = logs.fifo("access.log");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let reader = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    let server = logs.serve("json");
    // The pipe takes 64 KiB, the writer keeps 1 MiB, and a line has 16 KiB.
    ask_for_much(&server);
    server.logged(&["access.log cannot be written", "does not keep up"]);
    drop(reader);
    assert_eq!(server.end(Signal::TERM).status.code(), Some(0));
}

#[test]
fn a_log_that_cannot_be_had_is_one_clear_line_at_the_start() {
    let logs = Logs::new();
    fs::create_dir(logs.path("directory")).unwrap();
    logs.fifo("fifo");
    let site = Site::new();
    for (name, reason) in [
        ("missing/access.log", "does not exist; make it"),
        ("directory", "Is a directory"),
        ("fifo", "nothing reads from it"),
    ] {
        let config = site.config(&logs.config(name, "combined"));
        let outcome = Server::run(&["serve", "--config", config.to_str().unwrap()]);
        assert_eq!(outcome.status.code(), Some(71), "{}", outcome.stderr);
        let path = logs.path(name);
        let expected = format!("pywebd: cannot write the access log {}: ", path.display());
        assert!(outcome.stderr.starts_with(&expected), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn a_reload_that_cannot_open_the_log_changes_nothing() {
    let logs = Logs::new();
    let server = logs.serve("combined");
    let listing = format!("{}listing = true\n", logs.config("missing/log", "json"));
    server.site().config(&listing);
    server.signal(Signal::HUP);
    server.logged(&[
        "not reloaded",
        "missing/log",
        "its directory does not exist",
    ]);
    assert_eq!(server.get("/").status(), 403);
    let line = lines(&logs.path("access.log"), 1).remove(0);
    assert!(line.contains("\"GET / HTTP/1.1\" 403"), "{line}");
}

#[test]
fn whose_the_directory_must_be_is_told_where_the_server_may_not_write() {
    let logs = Logs::new();
    let closed = logs.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let server = Site::new().configured_as_nobody(SITE);
    server.site().config(&logs.config("closed/log", "json"));
    server.logged(&[
        "not reloaded",
        "permission denied; give its directory",
        "uid",
        "LogsDirectory=pywebd",
    ]);
}

#[test]
fn no_request_is_lost_or_doubled_when_a_reload_moves_the_log() {
    let logs = Logs::new();
    let site = Site::new().file("a", "x");
    let server = site.configured(&format!("log.access = \"stderr\"\n{SITE}"));
    let asked = under_requests(&server, 1000, || {
        server.logged(&["GET /a?9 "]);
        for (name, format) in [
            ("1", "combined"),
            ("2", "json"),
            ("3", "json"),
            ("4", "combined"),
        ] {
            server.site().config(&logs.config(name, format));
            server.signal(Signal::HUP);
            lines(&logs.path(name), 1);
        }
        server
            .site()
            .config(&format!("log.access = \"stderr\"\n{SITE}"));
        server.signal(Signal::HUP);
    });
    let stderr = server.end(Signal::TERM).stderr;
    let files = ["1", "2", "3", "4"].map(|name| fs::read_to_string(logs.path(name)).unwrap());
    let lines = files
        .iter()
        .flat_map(|text| text.lines())
        .chain(stderr.lines());
    assert_eq!(tally(lines), each_once(asked));
}

#[test]
fn requests_are_ignored_and_written_again_as_a_reload_says() {
    let logs = Logs::new();
    let server = logs.serve("combined");
    server.get("/a?before");
    lines(&logs.path("access.log"), 1);
    server
        .site()
        .config(&format!("log.access = \"off\"\n{SITE}"));
    server.logged(&["configuration reloaded"]);
    server.get("/a?off");
    server.site().config(&logs.config("second.log", "combined"));
    ask_until_written(&server, "/a?after", &logs.path("second.log"));
    assert_eq!(lines(&logs.path("access.log"), 1).len(), 1);
    let text = fs::read_to_string(logs.path("second.log")).unwrap();
    assert!(!text.contains("?off") && text.contains("?after"), "{text}");
    assert!(!server.log().contains("?off"), "{}", server.log());
}

#[test]
fn a_reload_changes_how_much_is_said() {
    let logs = Logs::new();
    let server = logs.serve("combined");
    let quiet = format!(
        "log.level = \"error\"\n{}",
        logs.config("quiet.log", "combined")
    );
    server.site().config(&quiet);
    server.signal(Signal::HUP);
    ask_until_written(&server, "/a", &logs.path("quiet.log"));
    server.site().config("no configuration");
    server.logged(&["configuration not reloaded"]);
    assert!(
        !server.log().contains("configuration reloaded"),
        "{}",
        server.log()
    );
    server.site().config(&logs.config("access.log", "combined"));
    server.logged(&["configuration reloaded"]);
}
