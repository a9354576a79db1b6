//! `pywebd status`: how a server does, for people and for programs.

use std::{fs, path::PathBuf, time::Instant};

use serde_json::Value;

use crate::support::{HANG, SITE, Server, Site};

/// A server with a control socket.
struct Asked {
    server: Server,
    control: PathBuf,
}

impl Asked {
    fn start(site: Site, sites: &str) -> Self {
        let control = site.directory().join("run/control");
        let config = site.config(sites);
        let [config, path] = [&config, &control].map(|path| path.to_str().unwrap());
        let arguments = ["serve", "--config", config, "--control", path];
        let server = Server::start(&arguments).keep(site);
        Self { server, control }
    }

    fn text(&self) -> String {
        let outcome = Server::run(&["status", "--control", self.control.to_str().unwrap()]);
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
        outcome.stdout
    }

    fn json(&self) -> Value {
        let control = self.control.to_str().unwrap();
        let outcome = Server::run(&["status", "--json", "--control", control]);
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// The same once so many answers are counted: who has one may be faster than the worker's count.
    fn json_after(&self, answers: u64) -> Value {
        let start = Instant::now();
        loop {
            let status = self.json();
            let classes = status["answers"].as_object().unwrap().values();
            let counted: u64 = classes.filter_map(Value::as_u64).sum();
            if counted >= answers {
                return status;
            }
            assert!(start.elapsed() < HANG, "{status}");
        }
    }
}

#[test]
fn what_is_served_and_what_was_asked_is_told() {
    let site = Site::new().file("a", "x");
    let asked = Asked::start(site, &SITE.replace("\"*\"", "\"*\", \"*.example.org\""));
    for _ in 0..3 {
        assert_eq!(asked.server.get("/a").status(), 200);
    }
    assert_eq!(asked.server.get("/none").status(), 404);
    // What is no request is answered, too.
    assert!(asked.server.raw("nonsense\r\n\r\n").contains(" 400 "));
    let open = asked.server.connect();
    let status = asked.json_after(5);
    assert_eq!(status["pid"], asked.server.id());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["requests"], 4);
    assert_eq!(status["answers"]["2xx"], 3);
    assert_eq!(status["answers"]["4xx"], 2);
    let site = &status["sites"][0];
    assert_eq!(site["name"], "a");
    assert_eq!(site["hosts"].to_string(), r#"["*","*.example.org"]"#);
    assert_eq!(site["scripts"]["max_running"], 64);
    let listener = &status["listeners"][0];
    assert_eq!(listener["address"], asked.server.address.to_string());
    assert_eq!(listener["origin"], "own");
    assert_eq!(status["launcher"]["reachable"], true);
    assert_eq!(status["last_reload"], Value::Null);
    drop(open);
    let text = asked.text();
    assert!(text.starts_with("process "), "{text}");
    assert!(text.contains("3 2xx, 2 4xx"), "{text}");
}

#[test]
fn counts_survive_the_workers_that_made_them() {
    let site = Site::new().file("a", "x");
    let asked = Asked::start(site, &format!("server.workers = 4\n{SITE}"));
    for _ in 0..8 {
        assert_eq!(asked.server.get("/a").status(), 200);
    }
    asked
        .server
        .site()
        .config(&format!("server.workers = 1\n{SITE}"));
    let control = asked.control.to_str().unwrap();
    let reload = Server::run(&["reload", "--control", control]);
    assert_eq!(reload.status.code(), Some(0), "{}", reload.stderr);
    let status = asked.json();
    assert_eq!(
        (&status["workers"], &status["requests"]),
        (&1.into(), &8.into())
    );
    assert_eq!(status["last_reload"]["result"], "done");
}

#[test]
fn scripts_that_run_and_requests_that_wait_are_told() {
    let site = Site::new().script("cgi-bin/wait", "#!/bin/sh\necho on >&2\nread line\n");
    let sites = format!("cgi.max-running = 1\n{SITE}path.\"/cgi-bin/\" = {{ cgi = true }}\n");
    let asked = Asked::start(site, &sites);
    let waiting = [(); 2].map(|()| {
        let mut connection = asked.server.connect();
        connection.send("POST /cgi-bin/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
        connection
    });
    asked.server.logged(&["on"]);
    let scripts = loop {
        let scripts = asked.json()["sites"][0]["scripts"].clone();
        if scripts["queued"] == 1 {
            break scripts;
        }
    };
    assert_eq!(scripts["running"], 1);
    let text = asked.text();
    assert!(
        text.starts_with("problem: as many scripts of site a"),
        "{text}"
    );
    drop(waiting);
}

#[test]
fn what_is_wrong_comes_first() {
    let asked = Asked::start(Site::new(), SITE);
    let config = asked.server.site().directory().join("pywebd.toml");
    fs::write(config, "version = 1\nnonsense").unwrap();
    asked.server.logged(&["not reloaded"]);
    let text = asked.text();
    assert!(text.starts_with("problem: the reload of "), "{text}");
    assert!(text.contains("pywebd.toml:2:"), "{text}");
    let reload = &asked.json()["last_reload"];
    assert_eq!(reload["result"], "failed");
    assert!(reload["error"].as_str().unwrap().contains("pywebd.toml:2:"));
}

#[test]
fn where_no_server_is_the_status_is_69() {
    let outcome = Server::run(&["status", "--control", "/none/control"]);
    assert_eq!(outcome.status.code(), Some(69), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("no server listens"),
        "{}",
        outcome.stderr
    );
}
