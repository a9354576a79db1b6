//! The process that starts scripts: when it dies, when it is somebody else's, and what is told about
//! what it would do.

use std::{
    fs,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Pid, Signal, kill_process},
};

use crate::support::{Server, Site};

const HEADER: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n";

#[test]
fn a_launcher_that_dies_is_started_again_and_nothing_else_is_lost() {
    let server = Site::new()
        .file("a.txt", "file")
        .script("cgi-bin/good", &format!("{HEADER}echo good\n"))
        .script("cgi-bin/wait", "#!/bin/sh\necho waiting >&2\nread line\n")
        .script("cgi-bin/half", &format!("{HEADER}echo half\nread line\n"))
        .serve();
    // Neither script ends: each waits for content that does not come.
    let head = "HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    let mut waiting = server.connect();
    waiting.send(format!("POST /cgi-bin/wait {head}"));
    server.logged(&["waiting"]);
    let mut half = server.connect();
    half.send(format!("POST /cgi-bin/half {head}"));
    half.read_until(b"half\n");
    let launcher = server.launcher();
    kill_process(Pid::from_raw(launcher.cast_signed()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(waiting.response().status(), 502);
    // Not as if that were all.
    let rest = half.read_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    assert_eq!(server.get("/a.txt").text(), "file");
    assert_eq!(server.get("/cgi-bin/good").text(), "good\n");
    server.logged(&["launcher has ended", "started again"]);
    assert_ne!(server.launcher(), launcher);
    assert_eq!(server.end(Signal::TERM).status.code(), Some(0));
}

#[test]
fn a_script_that_stops_who_started_it_holds_up_nobody() {
    // The launcher, or its copy for this script.
    let server = Site::new()
        .script(
            "cgi-bin/stop",
            &format!("{HEADER}kill -STOP $PPID\necho still here\n"),
        )
        .script("cgi-bin/good", &format!("{HEADER}echo good\n"))
        .serve();
    for _ in 0..3 {
        assert_eq!(server.get("/cgi-bin/stop").text(), "still here\n");
        assert_eq!(server.get("/cgi-bin/good").text(), "good\n");
    }
    server.logged(&["was stopped, and goes on"]);
    assert_eq!(server.end(Signal::TERM).status.code(), Some(0));
}

#[test]
fn a_script_cannot_look_into_the_processes_that_have_started_it() {
    let text = format!(
        "{HEADER}for fact in environ maps fd; do\n\
         cat /proc/$PPID/$fact/. /proc/$PPID/$fact 2>&1 | tr -d '\\0'\ndone\n"
    );
    let server = Site::new().script("cgi-bin/look", &text).serve_as_nobody();
    let response = server.get("/cgi-bin/look");
    assert_eq!(response.status(), 200);
    let seen = response.text();
    assert!(seen.contains("denied"), "{seen}");
    assert!(
        !seen.contains("PATH=") && !seen.contains("pywebd\n"),
        "{seen}"
    );
}

#[test]
fn a_configuration_that_changes_while_the_launcher_is_dead_is_taken() {
    let server = Site::new()
        .script("cgi-bin/a", &format!("{HEADER}echo a\n"))
        .script("more/b", &format!("{HEADER}echo b\n"))
        .configured(&mapped("cgi-bin"));
    let launcher = Pid::from_raw(server.launcher().cast_signed()).unwrap();
    kill_process(launcher, Signal::KILL).unwrap();
    server
        .site()
        .config(&(mapped("cgi-bin") + "[site.a.path.\"/more/\"]\ncgi = true\n"));
    server.signal(Signal::HUP);
    server.logged(&["started again"]);
    server.logged(&["path.\"/more/\" added"]);
    assert_eq!(server.get("/cgi-bin/a").text(), "a\n");
    assert_eq!(server.get("/more/b").text(), "b\n");
}

fn mapped(directory: &str) -> String {
    format!(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n[site.a.path.\"/{directory}/\"]\ncgi = true\n"
    )
}

/// A launcher as a service of its own, which listens at this path.
pub fn service(path: &Path, config: &str) -> std::process::Child {
    passed(socket(path), config)
}

/// A socket that a launcher can be asked by.
pub fn socket(path: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 16).unwrap();
    listener
}

/// A launcher as a service manager starts it, with its socket as descriptor 3.
fn passed(listener: OwnedFd, config: &str) -> std::process::Child {
    let start =
        "exec 3<&0 0</dev/null\nLISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" launcher --config \"$1\"";
    Command::new("/bin/sh")
        .args(["-c", start, env!("CARGO_BIN_EXE_pywebd"), config])
        .stdin(Stdio::from(listener))
        .process_group(0)
        .spawn()
        .expect("the launcher starts")
}

#[test]
fn a_launcher_reads_the_configuration_when_the_server_has() {
    let site = Site::new().script("cgi-bin/a", &format!("{HEADER}echo here\n"));
    let path = site.directory().join("cgi.sock");
    let file = site.directory().join("pywebd.toml");
    // There is none yet, and then one with errors: it is not for the launcher to say so.
    let mut launcher = service(&path, file.to_str().unwrap());
    let socket = path.to_str().unwrap();
    let arguments = [
        "serve",
        "--config",
        file.to_str().unwrap(),
        "--launcher",
        socket,
    ];
    assert_eq!(Server::run(&arguments).status.code(), Some(66));
    site.config("nonsense = 1\n");
    assert_eq!(Server::run(&arguments).status.code(), Some(78));
    site.config(&mapped("cgi-bin"));
    let server = Server::start(&arguments);
    assert_eq!(server.get("/cgi-bin/a").text(), "here\n");
    assert!(launcher.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&launcher), Signal::TERM).unwrap();
    assert_eq!(launcher.wait().unwrap().code(), Some(0));
}

#[test]
fn a_launcher_can_be_a_service_of_its_own() {
    let site = Site::new().script("cgi-bin/a", &format!("{HEADER}echo here\n"));
    let config = site.config(&mapped("cgi-bin"));
    let config = config.to_str().unwrap().to_owned();
    let path = site.directory().join("cgi.sock");
    let mut launcher = service(&path, &config);
    let socket = path.to_str().unwrap();
    let server = Server::start(&["serve", "--config", &config, "--launcher", socket]);
    assert_eq!(server.get("/cgi-bin/a").text(), "here\n");
    // It is not the server's, and goes on without it.
    assert_eq!(server.end(Signal::TERM).status.code(), Some(0));
    assert!(launcher.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&launcher), Signal::TERM).unwrap();
    assert_eq!(launcher.wait().unwrap().code(), Some(0));
}

#[test]
fn explain_tells_each_check_of_a_script_and_how_it_would_run() {
    let site = Site::new()
        .script("cgi-bin/good", HEADER)
        .script("cgi-bin/broken", "#!/none/perl\n")
        .script("cgi-bin/open", HEADER);
    let open = site.root().join("cgi-bin/open");
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o757)).unwrap();
    let config = site.config(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
         [site.a.path.\"/cgi-bin/\"]\ncgi = true\nmemory = \"64M\"\ntasks = 9\ntimeout = \"5s\"\n",
    );
    // With a file that others can write, the configuration as a whole is refused.
    let explain = |path: &str| {
        let outcome = Server::run(&["explain", path, "--config", config.to_str().unwrap()]);
        outcome.stdout + &outcome.stderr
    };
    let text = explain("/cgi-bin/good");
    assert!(text.contains("can be written by every user"), "{text}");
    fs::remove_file(open).unwrap();
    for (path, parts) in [
        (
            "/cgi-bin/good?x",
            &[
                "command   ",
                "user      that of the launcher",
                "limit     timeout: 5s",
                "limit     memory: 64M",
                "limit     tasks: 9",
                "check     who may write to it: passed",
                "check     what runs it: passed",
                "variable  QUERY_STRING=x",
            ][..],
        ),
        (
            "/cgi-bin/broken",
            &[
                "500: it is not started",
                "FAILED: its interpreter \"/none/perl\"",
            ],
        ),
    ] {
        let text = explain(path);
        for part in parts {
            assert!(text.contains(part), "{path}: {part} in {text}");
        }
    }
    let outcome = Server::run(&[
        "explain",
        "/cgi-bin/broken",
        "--json",
        "--config",
        config.to_str().unwrap(),
    ]);
    let explained: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let checks = explained["script"]["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["passed"] == false));
}
