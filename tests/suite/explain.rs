//! `pywebd explain`: what it says is what the server does.

use crate::support::{Server, Site};

const SITES: &str = "\
[site.a]
hosts = [\"a.example\"]
root = \"ROOT\"
listing = true
[site.a.path.\"/cgi-bin/\"]
cgi = true
env = { COLOR = \"green\" }
timeout = \"5s\"
[site.a.path.\"/private/\"]
allow = [\"10.0.0.0/8\"]
";

fn explain(config: &str, arguments: &[&str]) -> String {
    let arguments = [&["explain", "--config", config], arguments].concat();
    let outcome = Server::run(&arguments);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    outcome.stdout
}

#[test]
fn each_request_is_explained_with_the_rule_and_its_line() {
    let site = Site::new()
        .file("a.txt", "x")
        .file("private/b", "x")
        .script("cgi-bin/run", "#!/bin/sh\n");
    let config = site.config(SITES);
    let config = config.to_str().unwrap();
    for (url, parts) in [
        (
            "http://a.example/a.txt",
            &["site `a`", "pywebd.toml:3", "text/plain", "/a.txt", "200"][..],
        ),
        ("http://a.example/nothing", &["404", "does not exist"]),
        ("http://a.example/cgi-bin", &["403", "pywebd.toml:7"]),
        (
            "http://a.example/private/b",
            &["\"/private/\"", "pywebd.toml:11", "127.0.0.1", "403"],
        ),
        (
            "http://a.example/cgi-bin/run/info?q",
            &[
                "run scripts",
                "script: ",
                "5s",
                "SCRIPT_NAME=/cgi-bin/run",
                "PATH_INFO=/info",
                "QUERY_STRING=q",
                "COLOR=green",
            ],
        ),
        ("http://b.example/", &["421", "b.example"]),
        ("/a%2fb", &["400", "slash"]),
    ] {
        let text = explain(config, &[url]);
        for part in parts {
            assert!(text.contains(part), "{url}: {part} in {text}");
        }
    }
}

#[test]
fn method_and_client_are_those_that_were_asked_for() {
    let site = Site::new().file("a.txt", "x").file("private/b", "x");
    let config = site.config(SITES);
    let config = config.to_str().unwrap();
    let text = explain(config, &["http://a.example/a.txt", "--method", "POST"]);
    assert!(text.contains("405"), "{text}");
    let text = explain(
        config,
        &["http://a.example/private/b", "--client", "10.1.2.3"],
    );
    assert!(text.contains("200"), "{text}");
}

#[test]
fn json_says_the_same() {
    let site = Site::new().file("a.txt", "x");
    let config = site.config(SITES);
    let text = explain(
        config.to_str().unwrap(),
        &["http://a.example/a.txt", "--json"],
    );
    let explained: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(explained["status"], 200);
    assert_eq!(explained["steps"][0]["topic"], "site");
}
