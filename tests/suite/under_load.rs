//! Restarts and reloads while clients are served: no request is lost, and nothing grows.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::process::Signal;

use crate::support::{Server, Site, Traffic};

const SCRIPT: &str = "#!/bin/sh\necho Content-Type: text/plain\necho\necho ran\n";

const SITE: &str = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
                    [site.a.path.\"/cgi-bin/\"]\ncgi = true\n";

const TARGETS: [(&str, &str); 2] = [("/a", "x"), ("/cgi-bin/script", "ran\n")];

fn site() -> Site {
    let site = Site::new().file("a", "x");
    site.script("cgi-bin/script", SCRIPT)
}

#[test]
fn a_restart_with_a_passed_socket_loses_no_request() {
    let site = site();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let root = site.root();
    let listen = address.to_string();
    let arguments = [
        "serve",
        root.to_str().unwrap(),
        "--cgi",
        "--listen",
        &listen,
    ];
    let start =
        || Server::start_with_socket(OwnedFd::from(socket.try_clone().unwrap()), &arguments);
    let mut server = start();
    let traffic = Traffic::to(address, &TARGETS);
    for round in 0..10 {
        traffic.flow();
        if round % 2 == 0 {
            let outcome = server.end(Signal::TERM);
            assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
            server = start();
        } else {
            // The next one begins before the last has ended.
            let next = start();
            let outcome = server.end(Signal::TERM);
            assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
            server = next;
        }
    }
    traffic.flow();
    assert!(traffic.end() > 10 * 6);
}

#[test]
fn a_passed_unix_socket_is_handed_over() {
    let site = site();
    let path = site.directory().join("http.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let unix = format!("unix:{}", path.display());
    let config = site.config_at(SITE, &["127.0.0.1:0", &unix]);
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let start =
        || Server::start_with_socket(OwnedFd::from(socket.try_clone().unwrap()), &arguments);
    let mut server = start();
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let mut connection = UnixStream::connect(&path).unwrap();
                connection.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
                let mut answer = String::new();
                connection.read_to_string(&mut answer).unwrap();
                assert!(answer.ends_with("\r\n\r\nx"), "{answer:?}");
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..5 {
            let before = answers.load(Ordering::Relaxed);
            while answers.load(Ordering::Relaxed) == before && !client.is_finished() {
                thread::yield_now();
            }
            let outcome = server.end(Signal::TERM);
            assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
            server = start();
        }
        is_over.store(true, Ordering::Relaxed);
        // Before the server is gone.
        client.join().unwrap();
    });
    assert!(path.exists(), "the name belongs to whoever made the socket");
}

#[test]
fn a_passed_socket_is_the_servers_alone() {
    let site = site();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = socket.local_addr().unwrap().to_string();
    let root = site.root();
    let arguments = ["serve", root.to_str().unwrap(), "--listen", &listen];
    let server = Server::start_with_socket(OwnedFd::from(socket.try_clone().unwrap()), &arguments);
    let own = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let inode = fs::read_link(own).unwrap();
    let held = |process: u32| {
        let fds = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        // One may be closed meanwhile.
        let mut links = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        links.any(|link| link == inode)
    };
    assert!(held(server.id()));
    assert!(!held(server.launcher()));
}

/// Connections to the launcher that are kept for the next scripts at most.
const KEPT: usize = 64;

/// Threads and descriptors of the server.
fn holdings(server: &Server) -> (usize, usize) {
    let count = |name| {
        let entries = fs::read_dir(format!("/proc/{}/{name}", server.id()));
        entries.unwrap().count()
    };
    (count("task"), count("fd"))
}

#[test]
fn reloads_under_load_lose_no_request_and_leave_nothing_behind() {
    let sites = format!("server.workers = 2\nlog.access = \"off\"\n{SITE}");
    let server = site().configured(&sites);
    // What is started once for good is started.
    assert_eq!(server.get("/a").text(), "x");
    let before = holdings(&server);
    let traffic = Traffic::to(server.address, &TARGETS);
    for round in 1..=10 {
        server.site().config(&format!("{sites}listing = maybe\n"));
        server.signal(Signal::HUP);
        server.logged_times(round, "configuration not reloaded");
        server.site().config(&sites);
        server.signal(Signal::HUP);
        server.logged_times(round, "configuration reloaded");
        traffic.flow();
    }
    assert!(traffic.end() > 10 * 6);
    // Descriptors of connections go when the server sees that their clients have left, threads of the
    // pool when they have been idle for long: there are 16 for each worker.
    let begun = std::time::Instant::now();
    while holdings(&server).1 > before.1 + KEPT {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", holdings(&server));
        thread::yield_now();
    }
    assert!(
        holdings(&server).0 <= before.0 + 32,
        "{:?}",
        holdings(&server)
    );
}

#[test]
fn a_request_in_flight_keeps_its_configuration_and_the_next_has_the_new_one() {
    let script = "#!/bin/sh\necho Content-Type: text/plain\necho\necho begun\n\
                  read line < gate\necho done\n";
    let site = Site::new()
        .file("a/x", "x")
        .script("cgi-bin/script", script);
    let gate = site.root().join("cgi-bin/gate");
    let made = std::process::Command::new("mkfifo").arg(&gate).status();
    assert!(made.unwrap().success());
    let server = site.configured(SITE);
    let mut connection = server.connect();
    connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.read_until(b"begun\n");
    // Scripts are none any more, and directories are listed.
    let sites = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\nlisting = true\n";
    server.site().config(sites);
    server.signal(Signal::HUP);
    server.logged(&["configuration reloaded"]);
    fs::write(&gate, "\n").unwrap();
    connection.read_until(b"done\n\r\n0\r\n\r\n");
    connection.send("GET /a/ HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.response().status(), 200);
    connection.send("GET /cgi-bin/script HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.response().text(), script);
}
