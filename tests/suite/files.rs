//! Files, their metadata, ranges, preconditions, listings and containment.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use crate::support::{Server, Site};

fn site() -> Server {
    Site::new()
        .file("index.html", "<p>welcome</p>")
        .file("a.txt", "0123456789")
        .file("folder/b.txt", "b")
        .file("empty.txt", "")
        .serve()
}

#[test]
fn a_file_is_served_with_its_metadata() {
    let server = site();
    let response = server.get("/a.txt");
    assert_eq!(response.status_line, "HTTP/1.1 200 OK");
    assert_eq!(response.text(), "0123456789");
    assert_eq!(
        response.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(response.field("content-length"), Some("10"));
    assert_eq!(response.field("accept-ranges"), Some("bytes"));
    assert!(response.field("last-modified").unwrap().ends_with(" GMT"));
    assert!(response.field("date").unwrap().ends_with(" GMT"));
    let tag = response.field("etag").unwrap();
    assert!(
        tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2,
        "{tag}"
    );
}

#[test]
fn head_has_the_fields_of_get_and_no_content() {
    let server = site();
    for path in ["/a.txt", "/", "/folder", "/nothing", "/folder/"] {
        let mut connection = server.connect();
        connection.send(format!(
            "HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        let bytes = connection.read_to_end();
        let head = String::from_utf8(bytes).unwrap();
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        let get = server.get(path);
        for name in [
            "content-length",
            "content-type",
            "etag",
            "last-modified",
            "location",
        ] {
            if let Some(value) = get.field(name) {
                assert!(
                    head.contains(&format!("{name}: {value}\r\n")),
                    "{path} {name}: {head}"
                );
            }
        }
        assert!(head.starts_with(&get.status_line), "{path}: {head}");
    }
}

#[test]
fn a_directory_gives_its_index() {
    let response = site().get("/");
    assert_eq!(response.text(), "<p>welcome</p>");
    assert_eq!(response.field("content-type"), Some("text/html"));
}

#[test]
fn a_directory_without_its_slash_redirects_and_keeps_the_query() {
    let response = site().get("/folder?a=b");
    assert_eq!(response.status(), 301);
    assert_eq!(response.field("location"), Some("/folder/?a=b"));
}

#[test]
fn a_redirect_never_names_another_host() {
    let server = Site::new().file("evil.example/x", "x").serve();
    let response = server.get("//evil.example");
    assert_eq!(response.field("location"), Some("/evil.example/"));
}

#[test]
fn a_listing_names_what_is_there_and_escapes_it() {
    let server = Site::new()
        .file("folder/<b>&\"x.txt", "0123")
        .file("folder/sub/x", "")
        .file("folder/.hidden", "")
        .file("folder/old~", "")
        .serve();
    let response = server.get("/folder/");
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.field("content-type"),
        Some("text/html; charset=utf-8")
    );
    let page = response.text();
    assert!(page.contains("&lt;b&gt;&amp;&quot;x.txt"), "{page}");
    assert!(page.contains("href=\"%3Cb%3E%26%22x.txt\""), "{page}");
    assert!(page.contains("href=\"sub/\""), "{page}");
    assert!(page.contains("4 B"), "{page}");
    assert!(!page.contains("hidden") && !page.contains("old~"), "{page}");
}

#[test]
fn a_directory_without_index_and_listing_is_403() {
    let server = Site::new()
        .file("folder/x", "")
        .configured("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n");
    assert_eq!(server.get("/folder/").status(), 403);
}

#[test]
fn the_status_says_what_is_wrong() {
    let server = site();
    for (path, status) in [
        ("/nothing", 404),
        ("/a.txt/", 404),
        ("/a.txt/b", 404),
        ("/.git/config", 404),
        ("/folder/../a.txt", 400),
        ("/%2e%2e/a", 400),
        ("/a%2fb", 400),
        ("/a%00", 400),
        ("/a%zz", 400),
    ] {
        let response = server.get(path);
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(
            response.field("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(response.text().contains(&status.to_string()), "{path}");
    }
}

#[test]
fn names_of_any_bytes_are_served() {
    let server = Site::new().file("é ü", "x").serve();
    let odd = OsStr::from_bytes(b"\xff\n");
    fs::write(server.site().root().join(odd), "odd").unwrap();
    assert_eq!(server.get("/%c3%a9%20%C3%BC").text(), "x");
    assert_eq!(server.get("/%ff%0a").text(), "odd");
}

#[test]
fn other_methods_are_405_with_allow() {
    let server = site();
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let response = server.request(method, "/a.txt", "", "x");
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.field("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let options = server.request("OPTIONS", "*", "", "");
    assert_eq!(
        (options.status(), options.field("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
}

#[test]
fn an_unchanged_file_is_304() {
    let server = site();
    let first = server.get("/a.txt");
    let tag = first.field("etag").unwrap();
    let modified = first.field("last-modified").unwrap();
    for (field, status) in [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: \"x\", W/{tag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"other\"\r\n".to_owned(), 200),
        (format!("If-Modified-Since: {modified}\r\n"), 304),
        (
            "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT\r\n".to_owned(),
            200,
        ),
        ("If-Modified-Since: yesterday\r\n".to_owned(), 200),
        (
            format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {modified}\r\n"),
            200,
        ),
    ] {
        let response = server.request("GET", "/a.txt", &field, "");
        assert_eq!(response.status(), status, "{field}");
        assert_eq!(response.field("etag"), Some(tag), "{field}");
    }
}

#[test]
fn an_edit_changes_the_tag() {
    let server = site();
    let before = server.get("/a.txt");
    fs::write(server.site().root().join("a.txt"), "9876543210").unwrap();
    let after = server.get("/a.txt");
    assert_eq!(after.text(), "9876543210");
    assert_ne!(before.field("etag"), after.field("etag"));
}

#[test]
fn one_range_is_206_and_what_cannot_be_satisfied_416() {
    let server = site();
    for (range, status, content, content_range) in [
        ("bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("bytes=4-", 206, "456789", Some("bytes 4-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=8-99", 206, "89", Some("bytes 8-9/10")),
        ("bytes=10-", 416, "", Some("bytes */10")),
        ("bytes=-0", 416, "", Some("bytes */10")),
        ("bytes=3-1", 200, "0123456789", None),
        ("bytes=x", 200, "0123456789", None),
        ("lines=0-3", 200, "0123456789", None),
        (
            "bytes=0-18446744073709551616",
            206,
            "0123456789",
            Some("bytes 0-9/10"),
        ),
    ] {
        let response = server.request("GET", "/a.txt", &format!("Range: {range}\r\n"), "");
        assert_eq!(response.status(), status, "{range}");
        if status != 416 {
            assert_eq!(response.text(), content, "{range}");
        }
        assert_eq!(response.field("content-range"), content_range, "{range}");
    }
}

#[test]
fn a_large_file_arrives_whole_and_in_part() {
    let content: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let server = Site::new().file("large.bin", &content).serve();
    let response = server.get("/large.bin");
    assert!(response.content == content, "the bytes differ");
    let range = "Range: bytes=1000001-9999999\r\n";
    let response = server.request("GET", "/large.bin", range, "");
    assert_eq!(response.status(), 206);
    assert!(
        response.content == content[1_000_001..10_000_000],
        "the bytes differ"
    );
}

#[test]
fn nothing_outside_the_root_is_served() {
    let server = site();
    let root = server.site().root();
    fs::write(server.site().directory().join("secret"), "secret").unwrap();
    symlink("../secret", root.join("up")).unwrap();
    symlink("/etc/hostname", root.join("absolute")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("a.txt", root.join("inside")).unwrap();
    for path in ["/up", "/absolute", "/parent/secret", "/loop"] {
        let response = server.get(path);
        assert_eq!(response.status(), 403, "{path}");
        assert!(!response.text().contains("secret\n"), "{path}");
    }
    assert_eq!(server.get("/inside").text(), "0123456789");
}

#[test]
fn what_is_no_regular_file_is_403_and_does_not_block() {
    let server = site();
    let root = server.site().root();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for path in ["/fifo", "/socket"] {
        assert_eq!(server.get(path).status(), 403, "{path}");
    }
    assert!(Path::exists(&root.join("fifo")));
}

#[test]
fn a_file_that_shrinks_during_its_transfer_closes_the_connection() {
    let server = Site::new().file("large", vec![b'x'; 64 << 20]).serve();
    let mut connection = server.connect();
    connection.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = connection.read_until(b"\r\n\r\n");
    assert!(String::from_utf8_lossy(&head).contains("content-length: 67108864\r\n"));
    let file = fs::OpenOptions::new()
        .write(true)
        .open(server.site().root().join("large"))
        .unwrap();
    file.set_len(1024).unwrap();
    let content = connection.read_to_end();
    assert!(content.len() < 64 << 20, "a file of 1 KiB cannot give all");
}
