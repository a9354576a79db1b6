//! Where the server listens, while that changes: nobody who connects is lost.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::process::Signal;

use crate::support::{Connection, SITE, Server, Site, free, until_refused};

/// A server that listens at a free port, and can be told to listen elsewhere as well.
struct Listening {
    server: Server,
}

impl Listening {
    fn start(more: &[&str]) -> Self {
        let site = Site::new().file("a", "x");
        let config = written(&site, more);
        let server = Server::start(&["serve", "--config", &config]).keep(site);
        Self { server }
    }

    /// Has it listen there, and nowhere else but at its first address.
    fn listen(&self, more: &[&str]) {
        written(self.server.site(), more);
        self.reload("configuration reloaded");
    }

    fn reload(&self, outcome: &str) {
        let times = self.server.count_logged(outcome) + 1;
        self.server.signal(Signal::HUP);
        self.server.logged_times(times, outcome);
    }
}

fn written(site: &Site, more: &[&str]) -> String {
    let config = site.config_at(SITE, &[&["127.0.0.1:0"], more].concat());
    config.to_str().unwrap().to_owned()
}

fn on(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn ask(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_listener_comes_and_goes_with_a_reload() {
    let port = free().port();
    let address = format!("127.0.0.1:{port}");
    let listening = Listening::start(&[]);
    assert!(TcpStream::connect(on(port)).is_err());
    for _ in 0..3 {
        listening.listen(&[&address]);
        let mut kept = Connection::open(on(port));
        listening.listen(&[]);
        until_refused(on(port));
        // A connection that is open goes on.
        kept.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(kept.response().text(), "x");
    }
    // At once, too: whether the workers have closed it or not.
    for _ in 0..20 {
        listening.listen(&[&address]);
        assert!(
            ask(TcpStream::connect(on(port)).unwrap())
                .unwrap()
                .ends_with("\r\n\r\nx")
        );
        listening.listen(&[]);
    }
    assert_eq!(listening.server.get("/a").text(), "x");
}

#[test]
fn a_reload_that_cannot_bind_changes_nothing() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let (port, old) = (free().port(), free().port());
    let [address, old_address] = [port, old].map(|port| format!("127.0.0.1:{port}"));
    let listening = Listening::start(&[&old_address]);
    let socket = listening.server.site().directory().join("http.sock");
    let unix = format!("unix:{}", socket.display());
    written(listening.server.site(), &[&address, &unix, &taken]);
    listening.reload("configuration not reloaded");
    listening.server.logged(&["not reloaded", &taken, "in use"]);
    let refused = TcpStream::connect(on(port)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(!socket.exists());
    assert!(ask(TcpStream::connect(on(old)).unwrap()).is_ok());
}

#[test]
fn nobody_is_turned_away_while_an_address_becomes_wider_or_narrower() {
    let port = free().port();
    let forms = ["127.0.0.1", "[::]", "0.0.0.0"].map(|host| format!("{host}:{port}"));
    let listening = Listening::start(&[&forms[0]]);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let answer = TcpStream::connect(on(port)).and_then(ask);
                        assert!(answer.unwrap().ends_with("\r\n\r\nx"));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for round in 0..12 {
            let before = answered.load(Ordering::Relaxed);
            listening.listen(&[&forms[[1, 0, 2, 1, 2, 0][round % 6]]]);
            let is_over = || clients.iter().any(thread::ScopedJoinHandle::is_finished);
            while answered.load(Ordering::Relaxed) < before + 10 && !is_over() {
                thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    // And the port is not open to another program.
    assert!(TcpListener::bind(on(port)).is_err());
}

#[test]
fn who_waits_at_a_listener_that_is_removed_is_served() {
    let port = free().port();
    let listening = Listening::start(&[&format!("127.0.0.1:{port}")]);
    let socket = listening.server.site().directory().join("http.sock");
    let unix = format!("unix:{}", socket.display());
    for address in [format!("127.0.0.1:{port}"), unix] {
        listening.listen(&[&address]);
        listening.server.signal(Signal::STOP);
        // More than a worker accepts without a look at what else there is to do.
        let waiting: Vec<_> = (0..1000)
            .map(|_| match address.strip_prefix("unix:") {
                Some(path) => OwnedFd::from(UnixStream::connect(path).unwrap()),
                None => OwnedFd::from(TcpStream::connect(on(port)).unwrap()),
            })
            .collect();
        written(listening.server.site(), &[]);
        listening.server.signal(Signal::HUP);
        listening.server.signal(Signal::CONT);
        for socket in waiting {
            assert!(ask(fs::File::from(socket)).unwrap().ends_with("\r\n\r\nx"));
        }
    }
}

#[test]
fn the_name_of_a_socket_is_there_as_long_as_it_is_listened_at() {
    let listening = Listening::start(&[]);
    let socket = listening.server.site().directory().join("http.sock");
    let unix = format!("unix:{}", socket.display());
    for _ in 0..20 {
        listening.listen(&[&unix]);
        assert!(
            ask(UnixStream::connect(&socket).unwrap())
                .unwrap()
                .ends_with("\r\n\r\nx")
        );
        listening.listen(&[&unix, "127.0.0.2:0"]);
        assert!(UnixStream::connect(&socket).is_ok());
        listening.listen(&[]);
        assert!(!socket.exists());
    }
    // What has another owner by now stays.
    listening.listen(&[&unix]);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    listening.listen(&[]);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn a_passed_socket_is_kept_for_whichever_configuration_names_it() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let site = Site::new().file("a", "x");
    let config = written(&site, &[]);
    let server = Server::start_with_socket(passed.into(), &["serve", "--config", &config]);
    let server = server.keep(site);
    server.logged(&["passed", &address.to_string(), "not in `listen`"]);
    let listening = Listening { server };
    for _ in 0..3 {
        listening.listen(&[&address.to_string()]);
        assert!(
            ask(TcpStream::connect(address).unwrap())
                .unwrap()
                .ends_with("\r\n\r\nx")
        );
        listening.listen(&[]);
        // It is still bound; the connection may be reset at once.
        let outcome = TcpStream::connect(address).map_err(|error| error.kind());
        assert!(!matches!(outcome, Err(ErrorKind::ConnectionRefused)));
    }
}
