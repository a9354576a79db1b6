//! Virtual hosts.

use crate::support::{Server, Site};

fn sites() -> Server {
    let site = Site::new();
    let sites = ["exact", "wild", "deep", "any"].map(|name| {
        std::fs::create_dir(site.root().join(name)).unwrap();
        std::fs::write(site.root().join(name).join("name"), name).unwrap();
        let hosts = match name {
            "exact" => "\"www.example.org\", \"example.net\", \"[::1]\"",
            "wild" => "\"*.example.org\"",
            "deep" => "\"*.deep.example.org\"",
            _ => "\"*\"",
        };
        format!("[site.{name}]\nhosts = [{hosts}]\nroot = \"ROOT/{name}\"\n")
    });
    site.configured(&sites.concat())
}

#[test]
fn the_most_specific_host_wins() {
    let server = sites();
    for (host, name) in [
        ("www.example.org", "exact"),
        ("WWW.Example.ORG", "exact"),
        ("www.example.org.", "exact"),
        ("www.example.org:8080", "exact"),
        ("example.net", "exact"),
        ("[::1]", "exact"),
        ("[0:0:0:0:0:0:0:1]:80", "exact"),
        ("ftp.example.org", "wild"),
        ("a.b.example.org", "wild"),
        ("a.deep.example.org", "deep"),
        ("deep.example.org", "wild"),
        ("example.org", "any"),
        ("other", "any"),
        ("127.0.0.1:8000", "any"),
    ] {
        let mut connection = server.connect();
        connection.send(format!("GET /name HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(connection.response().text(), name, "{host}");
    }
}

#[test]
fn each_of_thousands_of_sites_answers() {
    let sites = (0..2000).map(|n| {
        format!(
            "[site.s{n}]\nhosts = [\"s{n}.example.org\", \"*.s{n}.example.org\"]\nroot = \"ROOT\"\n\
             [site.s{n}.redirect]\n\"/who\" = \"/{n}\"\n"
        )
    });
    let server = Site::new().configured(&sites.collect::<String>());
    let mut connection = server.connect();
    for n in 0..2000 {
        for host in [format!("s{n}.example.org"), format!("www.s{n}.example.org")] {
            connection.send(format!("GET /who HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let location = format!("/{n}");
            assert_eq!(
                connection.response().field("location"),
                Some(&*location),
                "{host}"
            );
        }
    }
}

#[test]
fn more_roots_than_descriptors_are_served() {
    let mut site = Site::new();
    let mut sites = Vec::new();
    for n in 0..300 {
        site = site.file(&format!("s{n}/name"), n.to_string()).script(
            &format!("s{n}/cgi-bin/name"),
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n%s' $SERVER_NAME\n",
        );
        sites.push(format!(
            "[site.s{n}]\nhosts = [\"s{n}\"]\nroot = \"ROOT/s{n}\"\n[site.s{n}.path.\"/cgi-bin/\"]\ncgi = true\n"
        ));
    }
    let config = site.config(&sites.concat());
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let server = Server::start_with_descriptors(200, &arguments);
    let mut connection = server.connect();
    let mut get = |host: &str, target: &str| {
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        connection.response().text()
    };
    for n in (0..300).chain(0..300) {
        assert_eq!(get(&format!("s{n}"), "/name"), n.to_string());
    }
    for n in 0..300 {
        let host = format!("s{n}");
        assert_eq!(get(&host, "/cgi-bin/name"), host);
    }
}

#[test]
fn an_absolute_target_names_the_host() {
    let server = sites();
    let mut connection = server.connect();
    connection.send("GET http://www.example.org/name HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(connection.response().text(), "exact");
}

#[test]
fn a_missing_doubled_or_malformed_host_is_400() {
    let server = sites();
    for fields in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a b\r\n",
        "Host: \r\n",
        "Host: a/b\r\n",
    ] {
        let answer = server.raw(format!(
            "GET /name HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields:?}: {answer}");
    }
}

#[test]
fn an_unknown_host_is_421() {
    let server = Site::new().configured("[site.a]\nhosts = [\"example.org\"]\nroot = \"ROOT\"\n");
    let answer = server.raw("GET / HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let answer = server.raw("GET / HTTP/1.0\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 421 ") || answer.starts_with("HTTP/1.0 421 "),
        "{answer}"
    );
}

#[test]
fn a_site_can_have_one_canonical_host() {
    let server = Site::new().file("a", "x").configured(
        "[site.a]\nhosts = [\"example.org\", \"*.example.org\"]\n\
         canonical = \"example.org\"\nroot = \"ROOT\"\n",
    );
    let mut connection = server.connect();
    connection.send("GET /a?b HTTP/1.1\r\nHost: www.example.org:81\r\n\r\n");
    let response = connection.response();
    assert_eq!(response.status(), 301);
    assert_eq!(
        response.field("location"),
        Some("http://example.org:81/a?b")
    );
}

#[test]
fn the_most_specific_path_key_decides() {
    let server = Site::new()
        .file("open/a", "a")
        .file("open/closed/b", "b")
        .file("open/exact", "c")
        .file("n/x.txt", "x")
        .configured(
            "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/open/closed/\"]\ndeny = true\n\
             [site.a.path.\"/open/closed/b\"]\nstatic = true\n\
             [site.a.path.\"/open/\"]\nstatic = true\n\
             [site.a.path.\"/n/\"]\nallow = [\"10.0.0.0/8\"]\n\
             [site.a.path.\"/n/x.txt\"]\nstatic = true\n\
             [site.a.redirect]\n\"/old\" = \"/new\"\n\"/blog/*\" = \"https://blog.example/*\"\n",
        );
    for (path, status) in [
        ("/open/a", 200),
        ("/open/closed/x", 403),
        ("/open//closed/x", 403),
        ("/open/closed", 403),
        ("/open/%63losed/x", 403),
        ("/open/closed/b", 200),
        // A restriction of a less specific key cannot be lost below.
        ("/n/x.txt", 403),
        ("/old", 301),
    ] {
        assert_eq!(server.get(path).status(), status, "{path}");
    }
    assert_eq!(server.get("/old").field("location"), Some("/new"));
    let response = server.get("/blog/2024/a%20b?c");
    assert_eq!(
        response.field("location"),
        Some("https://blog.example/2024/a%20b?c")
    );
}
