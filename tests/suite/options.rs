//! What a configuration may say about answers: fields, pages, media types, redirects, fallbacks.

use std::fs;

use crate::support::{SITE, Server, Site};

#[test]
fn fields_are_set_replaced_taken_away_and_inherited() {
    let server = Site::new()
        .file("a.txt", "a")
        .file("app/b.txt", "b")
        .file("app/open/c.txt", "c")
        .configured(&format!(
            "{SITE}headers = {{ X-Frame-Options = \"DENY\", X-One = \"1\", Vary = \"Cookie\" }}\n\
             [site.a.path.\"/app/\"]\nheaders = {{ x-one = \"2\", Referrer-Policy = \"no-referrer\" }}\n\
             [site.a.path.\"/app/open/\"]\nheaders = {{ X-Frame-Options = \"\" }}\n"
        ));
    let field = |target: &str, name: &str| server.get(target).field(name).map(str::to_owned);
    assert_eq!(field("/a.txt", "x-frame-options").as_deref(), Some("DENY"));
    assert_eq!(field("/a.txt", "x-one").as_deref(), Some("1"));
    assert_eq!(field("/app/b.txt", "x-one").as_deref(), Some("2"));
    assert_eq!(
        field("/app/b.txt", "referrer-policy").as_deref(),
        Some("no-referrer")
    );
    assert_eq!(
        field("/app/b.txt", "x-frame-options").as_deref(),
        Some("DENY")
    );
    assert_eq!(field("/app/open/c.txt", "x-frame-options"), None);
    assert_eq!(
        field("/app", "x-one").as_deref(),
        Some("2"),
        "redirects too"
    );
    assert_eq!(field("/nothing", "x-one"), None, "errors not");
    let vary: Vec<_> = server
        .get("/a.txt")
        .fields
        .into_iter()
        .filter(|(name, _)| name == "vary")
        .collect();
    assert_eq!(vary.len(), 2, "what it varied by before stays");
    let tag = field("/a.txt", "etag").unwrap();
    let unchanged = server.request("GET", "/a.txt", &format!("If-None-Match: {tag}\r\n"), "");
    assert_eq!(
        (unchanged.status(), unchanged.field("x-one")),
        (304, Some("1"))
    );
}

#[test]
fn how_long_files_may_be_kept_is_said_in_one_word() {
    let script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nx'\n";
    let server = Site::new()
        .file("a.txt", "a")
        .file("assets/b.txt", "b")
        .file("no/c.txt", "c")
        .file("ask/d.txt", "d")
        .file("own/e.txt", "e")
        .script("cgi-bin/x", script)
        .configured(&format!(
            "{SITE}cache = \"1h\"\n\
             [site.a.path.\"/assets/\"]\ncache = \"immutable\"\n\
             [site.a.path.\"/no/\"]\ncache = \"never\"\n\
             [site.a.path.\"/ask/\"]\ncache = \"revalidate\"\n\
             [site.a.path.\"/own/\"]\nheaders = {{ Cache-Control = \"private\" }}\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\n"
        ));
    for (target, expected) in [
        ("/a.txt", Some("max-age=3600")),
        ("/assets/b.txt", Some("max-age=31536000, immutable")),
        ("/no/c.txt", Some("no-store")),
        ("/ask/d.txt", Some("no-cache")),
        ("/own/e.txt", Some("private")),
        ("/nothing", None),
        ("/cgi-bin/x", None),
    ] {
        assert_eq!(
            server.get(target).field("cache-control"),
            expected,
            "{target}"
        );
    }
}

#[test]
fn media_types_can_be_given_to_endings() {
    let server = Site::new()
        .file("a.foo", "")
        .file("a.tar.gz", "")
        .file("a.txt", "")
        .file("README", "")
        .file("x.d/README", "")
        .file("sub/a.foo", "")
        .configured(&format!(
            "{SITE}[site.a.types]\nfoo = \"application/x-foo\"\n\"tar.gz\" = \"application/x-tgz\"\n\
             \".TXT\" = \"text/plain; charset=iso-8859-1\"\n\"*\" = \"text/plain\"\n\
             [site.a.path.\"/sub/\"]\ntypes = {{ foo = \"text/x-other\" }}\n"
        ));
    for (target, expected) in [
        ("/a.foo", "application/x-foo"),
        ("/a.tar.gz", "application/x-tgz"),
        ("/a.txt", "text/plain; charset=iso-8859-1"),
        ("/README", "text/plain"),
        ("/x.d/README", "text/plain"),
        ("/sub/a.foo", "text/x-other"),
    ] {
        assert_eq!(
            server.get(target).field("content-type"),
            Some(expected),
            "{target}"
        );
    }
}

#[test]
fn errors_have_the_pages_of_the_site() {
    let server = Site::new()
        .file("404.html", "<p>ours, not here</p>")
        .file("errors/403.html", "<p>ours, no</p>")
        .file("errors/big.html", "x".repeat(100_000))
        .file("private/x", "")
        .configured(&format!(
            "{SITE}[site.a.error-page]\n404 = \"/404.html\"\n403 = \"/errors/403.html\"\n\
             405 = \"/errors/big.html\"\n416 = \"/missing.html\"\n\
             [site.a.path.\"/private/\"]\ndeny = true\n[site.a.path.\"/errors/\"]\ndeny = true\n"
        ));
    let missing = server.get("/nothing");
    assert_eq!(
        (missing.status(), &*missing.text()),
        (404, "<p>ours, not here</p>")
    );
    assert_eq!(missing.field("content-type"), Some("text/html"));
    assert_eq!(
        missing.field("etag"),
        None,
        "it is not the page that was asked for"
    );
    let denied = server.get("/private/x");
    assert_eq!((denied.status(), &*denied.text()), (403, "<p>ours, no</p>"));
    let post = server.request("POST", "/404.html", "", "x");
    assert_eq!((post.status(), post.content.len()), (405, 100_000));
    assert_eq!(post.field("allow"), Some("GET, HEAD, OPTIONS"));
    let head = server.request("HEAD", "/nothing", "", "");
    assert_eq!(head.field("content-length"), Some("21"));
    let range = server.request("GET", "/404.html", "Range: bytes=999-\r\n", "");
    assert_eq!(range.status(), 416);
    assert_eq!(range.field("content-range"), Some("bytes */21"));
    assert!(
        range.text().contains("416"),
        "the server's own where there is none"
    );
    server.logged(&["warning", "/missing.html cannot be shown"]);
    assert_eq!(server.get("/404.html").status(), 200);
    fs::write(server.site().root().join("404.html"), "edited").unwrap();
    assert_eq!(server.get("/nothing").text(), "edited");
}

#[test]
fn a_script_is_no_error_page_and_its_source_is_not_shown() {
    let script = "#!/bin/sh\necho source\n";
    let site = Site::new().script("cgi-bin/missing", script);
    let server = site.configured(&format!(
        "{SITE}[site.a.error-page]\n404 = \"/cgi-bin/missing\"\n\
         [site.a.path.\"/cgi-bin/\"]\ncgi = true\n"
    ));
    let response = server.get("/nothing");
    assert_eq!(response.status(), 404);
    assert!(!response.text().contains("source"), "{}", response.text());
    server.logged(&["warning", "/cgi-bin/missing cannot be shown"]);
}

#[test]
fn a_fallback_answers_where_nothing_is() {
    let server = Site::new()
        .file("app/index.html", "the app")
        .file("app/main.js", "code")
        .file("app/assets/x", "")
        .file("other/index.html", "other")
        .configured(&format!(
            "{SITE}[site.a.path.\"/app/\"]\nfallback = \"/app/index.html\"\n"
        ));
    for (target, status, content) in [
        ("/app/", 200, "the app"),
        ("/app/main.js", 200, "code"),
        ("/app/users/42?tab=1", 200, "the app"),
        ("/app/assets/", 200, "the app"),
        ("/other/nothing", 404, ""),
        ("/app/.git/config", 404, ""),
    ] {
        let response = server.get(target);
        assert_eq!(response.status(), status, "{target}");
        if status == 200 {
            assert_eq!(response.text(), content, "{target}");
        }
    }
    let route = server.get("/app/users/42");
    assert_eq!(route.field("content-type"), Some("text/html"));
    assert_eq!(server.request("POST", "/app/users", "", "x").status(), 405);
    let tag = route.field("etag").unwrap();
    let fields = format!("If-None-Match: {tag}\r\n");
    assert_eq!(
        server.request("GET", "/app/users/42", &fields, "").status(),
        304
    );
}

#[test]
fn an_index_is_reached_under_its_own_rule() {
    let server = Site::new()
        .file("private/index.html", "private")
        .file("near/index.html", "near")
        .file("typed/index.html", "typed")
        .file("moved/index.html", "moved")
        .file("source/index.cgi", "#!/bin/sh\n")
        .configured(&format!(
            "{SITE}index = [\"index.cgi\", \"index.html\"]\n\
             [site.a.path.\"/private/index.html\"]\ndeny = true\n\
             [site.a.path.\"/near/index.html\"]\nallow = [\"10.0.0.0/8\"]\n\
             [site.a.path.\"/typed/index.html\"]\nheaders = {{ X-Own = \"yes\" }}\n\
             [site.a.path.\"*.cgi\"]\ndeny = true\n\
             [site.a.redirect]\n\"/moved/index.html\" = \"/moved/\"\n"
        ));
    for (target, status) in [
        ("/private/", 403),
        ("/private/index.html", 403),
        ("/near/", 403),
        ("/source/", 403),
        ("/moved/", 200),
        ("/moved/index.html", 301),
    ] {
        assert_eq!(server.get(target).status(), status, "{target}");
    }
    assert_eq!(server.get("/typed/").field("x-own"), Some("yes"));
}

#[test]
fn redirects_keep_the_rest_and_the_query_and_never_lead_elsewhere() {
    let server = Site::new().file("blog/x.php", "").configured(&format!(
        "{SITE}[site.a.redirect]\n\"/old\" = \"/new#part\"\n\"/query\" = \"/new?a=b\"\n\
         \"/blog/*\" = \"/journal/*\"\n\"/away/*\" = \"https://example.org/*\"\n\
         \"/season\" = {{ to = \"/winter\", status = 307 }}\n\
         [site.a.path.\"*.php\"]\nallow = [\"127.0.0.0/8\"]\n"
    ));
    for (target, status, location) in [
        ("/old", 301, "/new#part"),
        ("/old?x=1", 301, "/new?x=1#part"),
        ("/query?x=1", 301, "/new?a=b"),
        ("/blog/", 301, "/journal/"),
        ("/blog/a/b?x=1", 301, "/journal/a/b?x=1"),
        ("/blog/x.php", 301, "/journal/x.php"),
        ("/blog/%FF%20%3F", 301, "/journal/%FF%20%3F"),
        ("/away//evil.org", 301, "https://example.org/evil.org"),
        ("/away/%5Cevil.org", 301, "https://example.org/%5Cevil.org"),
        ("/season", 307, "/winter"),
    ] {
        let response = server.get(target);
        assert_eq!(response.status(), status, "{target}");
        assert_eq!(response.field("location"), Some(location), "{target}");
    }
    assert_eq!(server.get("/old/").status(), 404);
}

#[test]
fn options_for_the_server_as_a_whole_needs_no_path() {
    let server = Site::new().configured(&format!("{SITE}[site.a.path.\"/\"]\ndeny = true\n"));
    let response = server.request("OPTIONS", "*", "", "");
    assert_eq!(
        (response.status(), response.field("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
}

/// A request whose path has a great many directories.
fn deep(server: &Server) -> u16 {
    server.get(&format!("/{}", "q/".repeat(15_000))).status()
}

#[test]
fn a_path_of_many_directories_costs_little() {
    let server = Site::new().configured(&format!(
        "{SITE}[site.a.path.\"/a/\"]\nlisting = true\n[site.a.path.\"/a/b/c/\"]\ndeny = true\n"
    ));
    for _ in 0..200 {
        assert_eq!(deep(&server), 404);
    }
}

#[test]
fn what_fails_before_a_file_is_looked_at_has_the_pages_of_the_site_too() {
    let server = Site::new().file("ours.html", "ours").configured(&format!(
        "limits.request-body-size = \"1K\"\n{SITE}[site.a.error-page]\n413 = \"/ours.html\"\n\
         417 = \"/ours.html\"\n501 = \"/ours.html\"\n"
    ));
    let content = "x".repeat(2000);
    for (method, fields, content, status) in [
        ("POST", "", &*content, 413),
        ("GET", "Expect: tea\r\n", "", 417),
        ("FROB", "", "", 501),
    ] {
        let response = server.request(method, "/ours.html", fields, content);
        // This client is trusted: of what the server cannot do it is told why.
        let text = if status < 500 { "ours" } else { "FROB" };
        assert_eq!(response.status(), status);
        assert!(response.text().contains(text), "{}", response.text());
    }
}
