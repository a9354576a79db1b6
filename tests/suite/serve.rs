//! Start, errors at the start, stop and reload.

use std::{fs, net::TcpListener};

use rustix::process::Signal;

use crate::support::{SITE, Server, Site};

#[test]
fn the_address_and_how_to_stop_are_printed() {
    let site = Site::new().file("index.html", "x");
    let server = site.serve();
    assert_eq!(server.get("/").text(), "x");
}

#[test]
fn a_port_in_use_is_one_clear_line_and_71() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = Site::new();
    let root = site.root();
    let outcome = Server::run(&["serve", root.to_str().unwrap(), "--listen", &address]);
    assert_eq!(outcome.status.code(), Some(71), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&address) && outcome.stderr.contains("in use"));
}

#[test]
fn a_missing_directory_or_configuration_is_66() {
    for arguments in [
        &["serve", "/no/such/directory"][..],
        &["serve", "/etc/passwd"],
        &["serve", "--config", "/no/such/file"],
        &["check", "--config", "/no/such/file"],
    ] {
        let outcome = Server::run(arguments);
        assert_eq!(
            outcome.status.code(),
            Some(66),
            "{arguments:?}: {}",
            outcome.stderr
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(arguments[arguments.len() - 1]));
    }
}

#[test]
fn a_wrong_command_line_is_64_and_help_is_0() {
    assert_eq!(Server::run(&["no-such-verb"]).status.code(), Some(64));
    assert_eq!(
        Server::run(&["serve", "--listen", "8080"]).status.code(),
        Some(64)
    );
    let help = Server::run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(help.stdout.contains("Exit status"), "{}", help.stdout);
    let version = Server::run(&["--version"]);
    assert_eq!(
        version.stdout,
        format!("pywebd {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_broken_configuration_is_78_with_every_error_and_its_place() {
    let site = Site::new();
    let config = site.config("[site.a]\nhost = [\"*\"]\nroot = \"ROOT/nothing\"\n[limts]\n");
    let outcome = Server::run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(outcome.status.code(), Some(78), "{}", outcome.stderr);
    for part in [
        "pywebd.toml:4:1",
        "`hosts`",
        "pywebd.toml:5:",
        "pywebd.toml:6:",
        "`limits`",
    ] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}

#[test]
fn a_stop_finishes_the_request_in_flight_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let text = "#!/bin/sh\necho Content-Type: text/plain\necho\necho begun\nread line < gate\necho done\n";
        let server = Site::new().script("cgi-bin/script", text).serve();
        let gate = server.site().root().join("cgi-bin/gate");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&gate)
                .status()
                .unwrap()
                .success()
        );
        let mut connection = server.connect();
        connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
        connection.read_until(b"begun\n");
        server.signal(signal);
        server.logged(&["stopping"]);
        fs::write(&gate, "\n").unwrap();
        connection.read_until(b"done\n");
        let outcome = server.end(signal);
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("GET /cgi-bin/script"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_stop_ends_idle_connections() {
    let server = Site::new().file("a", "x").serve();
    let mut idle = server.connect();
    idle.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(idle.response().text(), "x");
    let outcome = server.end(Signal::TERM);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert!(idle.read_to_end().is_empty());
}

#[test]
fn hangup_reads_the_configuration_again() {
    let server = Site::new().file("a/x", "x").configured(SITE);
    assert_eq!(server.get("/a/").status(), 403);
    let mut open = server.connect();
    server.site().config(&format!("{SITE}listing = true\n"));
    server.signal(Signal::HUP);
    server.logged(&["configuration reloaded"]);
    assert_eq!(server.get("/a/").status(), 200);
    open.send("GET /a/ HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(open.response().status(), 200);
}

#[test]
fn a_changed_configuration_is_noticed() {
    let server = Site::new().file("a/x", "x").configured(SITE);
    let site = server.site();
    let new = site.directory().join("new.toml");
    let config = site.config(&format!("{SITE}listing = true\n"));
    // As editors do: a new file takes the old one's place.
    fs::rename(&config, &new).unwrap();
    fs::rename(&new, &config).unwrap();
    server.logged(&["configuration reloaded"]);
    assert_eq!(server.get("/a/").status(), 200);
}

#[test]
fn a_broken_configuration_changes_nothing_and_is_told() {
    let server = Site::new().file("a", "x").configured(SITE);
    server.site().config(&format!("{SITE}listing = maybe\n"));
    server.signal(Signal::HUP);
    server.logged(&["not reloaded", "pywebd.toml:6"]);
    assert_eq!(server.get("/a").text(), "x");
    server.site().config(&format!("{SITE}listing = true\n"));
    server.logged(&["configuration reloaded"]);
}

#[test]
fn a_reload_maps_a_new_script_for_the_launcher_too() {
    let script = "#!/bin/sh\necho Content-Type: text/plain\necho\necho ran\n";
    let server = Site::new().script("run/a", script).configured(SITE);
    assert_eq!(server.get("/run/a").text(), script);
    let mapped = format!("{SITE}[site.a.path.\"/run/\"]\ncgi = true\n");
    server.site().config(&mapped);
    server.signal(Signal::HUP);
    server.logged(&["configuration reloaded"]);
    assert_eq!(server.get("/run/a").text(), "ran\n");
}

#[test]
fn the_launcher_ends_with_its_server() {
    let server = Site::new().serve();
    let launcher = server.launcher();
    let outcome = server.end(Signal::KILL);
    assert!(!outcome.status.success());
    let start = std::time::Instant::now();
    while fs::metadata(format!("/proc/{launcher}")).is_ok() {
        assert!(start.elapsed().as_secs() < 20, "the launcher still runs");
        std::thread::yield_now();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_stop() {
    let site = Site::new().file("a", "x");
    let root = site.root();
    let arguments = ["serve", root.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let server = Server::start_with_unread_log(&arguments);
    let mut connection = server.connect();
    // The pipe takes 64 KiB, some 1,000 lines.
    for _ in 0..3000 {
        connection.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.response().text(), "x");
    }
    drop(connection);
    assert_eq!(server.end(Signal::TERM).status.code(), Some(0));
}

#[test]
fn a_file_is_not_taken_for_an_old_socket() {
    let site = Site::new();
    let (root, file) = (site.root(), site.directory().join("live"));
    fs::write(&file, "precious").unwrap();
    let listen = format!("unix:{}", file.display());
    let outcome = Server::run(&["serve", root.to_str().unwrap(), "--listen", &listen]);
    assert_eq!(outcome.status.code(), Some(71), "{}", outcome.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_socket_of_the_filesystem_goes_with_its_server() {
    let site = Site::new();
    let socket = site.directory().join("http.sock");
    let unix = format!("unix:{}", socket.display());
    let config = site.config_at(SITE, &["127.0.0.1:0", &unix]);
    let server = Server::start(&["serve", "--config", config.to_str().unwrap()]);
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    server.end(Signal::TERM);
    assert!(!socket.exists());
}
