//! Passwords: who is asked, who passes, what is remembered and what is never written down.

use std::fs;

use rustix::process::Signal;

use crate::support::{Response, Server, Site};

/// `secret`, by bcrypt with a low cost and by SHA-512.
const ALICE: &str = "alice:$2b$04$pVhEpzP74YVLoHPJ424JquqF2./2yVjTflY8n1ed.xuQ22DHmZeyS\n";
const BOB: &str = "bob:$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1\n";

/// `Basic` credentials of `alice`, `bob` and others with a password.
fn basic(user: &str, password: &str) -> String {
    let encoded = match (user, password) {
        ("alice", "secret") => "YWxpY2U6c2VjcmV0",
        ("bob", "secret") => "Ym9iOnNlY3JldA==",
        ("alice", "wrong") => "YWxpY2U6d3Jvbmc=",
        ("carol", "secret") => "Y2Fyb2w6c2VjcmV0",
        ("alice", "changed") => "YWxpY2U6Y2hhbmdlZA==",
        _ => panic!("no such pair"),
    };
    format!("Authorization: Basic {encoded}\r\n")
}

fn site() -> Server {
    let site = Site::new()
        .file("a.txt", "open")
        .file("private/b.txt", "private")
        .file("private/bob/c.txt", "bob's")
        .script(
            "private/cgi/env",
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n",
        );
    fs::write(
        site.directory().join("users"),
        format!("# who\n{ALICE}{BOB}"),
    )
    .unwrap();
    fs::write(site.directory().join("bob"), BOB).unwrap();
    site.configured(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
         [site.a.path.\"/private/\"]\nauth = { basic = \"users\", realm = \"The \\\"club\\\"\" }\n\
         [site.a.path.\"/private/bob/\"]\nauth = { basic = \"bob\" }\n\
         [site.a.path.\"/private/cgi/\"]\ncgi = true\n",
    )
}

fn get(server: &Server, target: &str, fields: &str) -> Response {
    server.request("GET", target, fields, "")
}

#[test]
fn only_who_shows_the_password_passes() {
    let server = site();
    assert_eq!(server.get("/a.txt").text(), "open");
    let asked = server.get("/private/b.txt");
    assert_eq!(asked.status(), 401);
    assert_eq!(
        asked.field("www-authenticate"),
        Some("Basic realm=\"The 'club'\", charset=\"UTF-8\"")
    );
    for (fields, status) in [
        (basic("alice", "secret"), 200),
        (basic("bob", "secret"), 200),
        (basic("alice", "secret"), 200),
        (basic("alice", "wrong"), 401),
        (basic("carol", "secret"), 401),
        ("Authorization: Basic !!!\r\n".to_owned(), 401),
        ("Authorization: Bearer YWxpY2U6c2VjcmV0\r\n".to_owned(), 401),
        ("Authorization: Basic\r\n".to_owned(), 401),
        ("Authorization:\r\n".to_owned(), 401),
    ] {
        let response = get(&server, "/private/b.txt", &fields);
        assert_eq!(response.status(), status, "{fields}");
        assert_eq!(response.field("www-authenticate").is_some(), status == 401);
    }
}

#[test]
fn nothing_below_tells_what_is_there() {
    let server = site();
    for target in [
        "/private/",
        "/private",
        "/private/nothing",
        "/private/cgi/env",
        "/private/bob/c.txt",
    ] {
        assert_eq!(server.get(target).status(), 401, "{target}");
    }
    assert_eq!(
        get(&server, "/private/nothing", &basic("bob", "secret")).status(),
        404
    );
}

#[test]
fn a_more_specific_key_asks_for_its_own_password() {
    let server = site();
    assert_eq!(
        get(&server, "/private/bob/c.txt", &basic("alice", "secret")).status(),
        401
    );
    let response = get(&server, "/private/bob/c.txt", &basic("bob", "secret"));
    assert_eq!(response.text(), "bob's");
}

#[test]
fn a_script_knows_its_user_and_not_the_password() {
    let server = site();
    let environment = get(&server, "/private/cgi/env", &basic("alice", "secret")).text();
    assert!(environment.contains("REMOTE_USER=alice\n"), "{environment}");
    assert!(environment.contains("AUTH_TYPE=Basic\n"), "{environment}");
    assert!(!environment.contains("YWxpY2U6"), "{environment}");
}

#[test]
fn what_is_secret_is_never_written_down() {
    let server = site();
    get(&server, "/private/b.txt", &basic("alice", "secret"));
    get(&server, "/private/b.txt", &basic("alice", "wrong"));
    let log = server.end(Signal::TERM).stderr;
    for secret in ["secret", "wrong", "YWxpY2U6", "$2b$"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn a_new_password_counts_and_the_old_one_no_more() {
    let server = site();
    assert_eq!(
        get(&server, "/private/b.txt", &basic("alice", "secret")).status(),
        200
    );
    let changed = "alice:$2b$04$2nEatfpbuQY8kkMeIyLLz.IRyi1LCTOCQkGLPnsG4d7.0BXfM0zKK\n";
    fs::write(server.site().directory().join("users"), changed).unwrap();
    server.logged(&["configuration reloaded"]);
    assert_eq!(
        get(&server, "/private/b.txt", &basic("alice", "secret")).status(),
        401
    );
    assert_eq!(
        get(&server, "/private/b.txt", &basic("alice", "changed")).status(),
        200
    );
    assert_eq!(
        get(&server, "/private/b.txt", &basic("bob", "secret")).status(),
        401
    );
}

#[test]
fn a_file_of_passwords_with_a_slip_is_told_with_its_line() {
    let site = Site::new();
    fs::write(
        site.directory().join("users"),
        "alice:secret\nbob:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n",
    )
    .unwrap();
    let config =
        site.config("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\nauth = { basic = \"users\" }\n");
    let outcome = Server::run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(outcome.status.code(), Some(78));
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.contains("users:1: the hash is neither"), "{said}");
    assert!(said.contains("users:2: MD5 does not protect"), "{said}");
    assert!(
        !said.contains("secret") && !said.contains("h9FWg"),
        "{said}"
    );
}

#[test]
fn of_two_credentials_none_counts() {
    let server = site();
    let (right, wrong) = (basic("alice", "secret"), basic("alice", "wrong"));
    for fields in [
        format!("{right}{wrong}"),
        format!("{wrong}{right}"),
        format!("{right}{right}"),
    ] {
        assert_eq!(
            get(&server, "/private/b.txt", &fields).status(),
            401,
            "{fields}"
        );
    }
}

#[test]
fn an_index_and_its_directory_may_ask_for_different_passwords() {
    let site = Site::new()
        .file("open/index.html", "behind an open directory")
        .file("both/index.html", "behind both")
        .file("401.html", "ours");
    fs::write(site.directory().join("users"), format!("{ALICE}{BOB}")).unwrap();
    fs::write(site.directory().join("bob"), BOB).unwrap();
    let config = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
         error-page = { 401 = \"/401.html\" }\n\
         [site.a.path.\"/open/index.html\"]\nauth = { basic = \"users\" }\n\
         [site.a.path.\"/both/\"]\nauth = { basic = \"users\" }\n\
         [site.a.path.\"/both/index.html\"]\nauth = { basic = \"bob\" }\n";
    let server = site.configured(config);
    // Each for the first time.
    let fields = basic("bob", "secret");
    assert_eq!(
        get(&server, "/open/", &fields).text(),
        "behind an open directory"
    );
    assert_eq!(get(&server, "/both/", &fields).text(), "behind both");
    assert_eq!(
        get(&server, "/both/", &basic("alice", "secret")).status(),
        401
    );
    for fields in [
        String::new(),
        basic("bob", "secret").replace("Ym9", "Ym8"),
        basic("alice", "wrong"),
    ] {
        let refused = get(&server, "/open/", &fields);
        assert_eq!(
            (refused.status(), &*refused.text()),
            (401, "ours"),
            "{fields}"
        );
    }
    let config = server.site().directory().join("pywebd.toml");
    let config = config.to_str().unwrap();
    let explained = Server::run(&["explain", "http://x/open/", "--config", config]).stdout;
    assert!(
        explained.contains("/open/index.html") && explained.contains("a password is needed"),
        "{explained}"
    );
}
