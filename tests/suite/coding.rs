//! Content codings: who gets which, and that fields, tags and bytes agree (RFC 9110 §8.4, §12.5.3).

use std::{
    fs,
    io::Read,
    time::{Duration, SystemTime},
};

use crate::support::{Response, Server, Site};

fn text() -> String {
    let lines = (0..2000).map(|n| format!("line {n} of a text that repeats itself"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A site with a text, a short text, a picture, and a large text.
fn site() -> Server {
    Site::new()
        .file("text.txt", text())
        .file("short.txt", "short")
        .file("picture.png", text())
        .file("large.css", text().repeat(40))
        .serve()
}

fn get(server: &Server, target: &str, accept: &str) -> Response {
    server.request("GET", target, &format!("Accept-Encoding: {accept}\r\n"), "")
}

fn decoded(response: &Response) -> Vec<u8> {
    let content = &response.content[..];
    let mut plain = Vec::new();
    let read = match response.field("content-encoding") {
        Some("br") => brotli::Decompressor::new(content, 4096).read_to_end(&mut plain),
        Some("zstd") => zstd::Decoder::new(content).unwrap().read_to_end(&mut plain),
        Some("gzip") => flate2::read::GzDecoder::new(content).read_to_end(&mut plain),
        None => return content.to_vec(),
        other => panic!("coding {other:?}"),
    };
    read.expect("a complete coding");
    plain
}

#[test]
fn a_client_gets_the_best_coding_it_takes() {
    let server = site();
    for (accept, expected) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("gzip, deflate, br, zstd", Some("br")),
        ("gzip, br;q=0.5", Some("gzip")),
        ("*", Some("br")),
        ("br;q=0, *;q=0.1", Some("zstd")),
        ("identity", None),
        ("identity, gzip;q=0.9", None),
        ("gzip;q=0", None),
        ("deflate", None),
        ("gzip;q=5", None),
        ("", None),
    ] {
        for (path, length) in [
            ("/text.txt", text().len()),
            ("/large.css", text().len() * 40),
        ] {
            let response = get(&server, path, accept);
            assert_eq!(response.status(), 200, "{path} {accept}");
            assert_eq!(
                response.field("content-encoding"),
                expected,
                "{path} {accept}"
            );
            assert_eq!(
                response.field("vary"),
                Some("accept-encoding"),
                "{path} {accept}"
            );
            let plain = decoded(&response);
            assert!(
                plain.len() == length && plain.starts_with(text().as_bytes()),
                "{path} {accept}"
            );
            if expected.is_some() {
                assert!(response.content.len() < length / 4, "{path} {accept}");
                assert_eq!(response.field("accept-ranges"), None);
            }
        }
    }
}

#[test]
fn what_is_short_or_compressed_already_is_left_as_it_is() {
    let server = site();
    let short = get(&server, "/short.txt", "br");
    assert_eq!(
        (short.field("content-encoding"), &*short.text()),
        (None, "short")
    );
    assert_eq!(short.field("vary"), Some("accept-encoding"));
    let picture = get(&server, "/picture.png", "br");
    assert_eq!(picture.field("content-encoding"), None);
    assert_eq!(picture.field("vary"), None);
}

#[test]
fn who_does_not_take_it_as_it_is_gets_it_coded_or_406() {
    let server = site();
    let short = get(&server, "/short.txt", "gzip, identity;q=0");
    assert_eq!(short.field("content-encoding"), Some("gzip"));
    assert_eq!(short.field("vary"), Some("accept-encoding"));
    assert_eq!(decoded(&short), b"short");
    for (path, accept) in [
        ("/short.txt", "identity;q=0"),
        ("/short.txt", "*;q=0"),
        ("/picture.png", "gzip, identity;q=0"),
        ("/picture.png", "*;q=0"),
    ] {
        assert_eq!(get(&server, path, accept).status(), 406, "{path} {accept}");
    }
}

#[test]
fn each_coding_has_its_own_tag_and_304_and_head_agree() {
    let server = site();
    let mut tags = Vec::new();
    for accept in ["identity", "gzip", "br", "zstd"] {
        let response = get(&server, "/text.txt", accept);
        let tag = response.field("etag").unwrap().to_owned();
        assert!(tag.starts_with('"'), "{tag} is strong");
        let fields = format!("Accept-Encoding: {accept}\r\nIf-None-Match: {tag}\r\n");
        let unchanged = server.request("GET", "/text.txt", &fields, "");
        assert_eq!(unchanged.status(), 304, "{accept}");
        assert_eq!(unchanged.field("etag"), Some(&*tag));
        assert_eq!(unchanged.field("vary"), Some("accept-encoding"));
        let head = server.request(
            "HEAD",
            "/text.txt",
            &format!("Accept-Encoding: {accept}\r\n"),
            "",
        );
        for field in [
            "etag",
            "vary",
            "content-type",
            "content-encoding",
            "last-modified",
        ] {
            assert_eq!(head.field(field), response.field(field), "{accept} {field}");
        }
        if let Some(length) = head.field("content-length") {
            assert_eq!(length, response.content.len().to_string(), "{accept}");
        }
        assert!(!tags.contains(&tag), "{tag} twice");
        tags.push(tag);
    }
    // The tag of one coding says nothing of another.
    let other = format!("Accept-Encoding: br\r\nIf-None-Match: {}\r\n", tags[1]);
    assert_eq!(server.request("GET", "/text.txt", &other, "").status(), 200);
}

#[test]
fn ranges_are_of_the_file_as_it_is() {
    let server = site();
    let fields = "Accept-Encoding: gzip, br\r\nRange: bytes=0-3\r\n";
    let part = server.request("GET", "/text.txt", fields, "");
    assert_eq!((part.status(), &*part.text()), (206, "line"));
    assert_eq!(part.field("content-encoding"), None);
    let coded = get(&server, "/text.txt", "gzip");
    let fields = format!("{fields}If-Range: {}\r\n", coded.field("etag").unwrap());
    let whole = server.request("GET", "/text.txt", &fields, "");
    assert_eq!(
        whole.status(),
        200,
        "the tag of a coding is not that of the file"
    );
    assert!(decoded(&whole) == text().as_bytes());
}

/// A file's content in gzip, so that it can be told from what the server would make.
fn stored(content: &str) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn touch(server: &Server, name: &str, ago: u64) {
    let file = fs::File::open(server.site().root().join(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(ago))
        .unwrap();
}

#[test]
fn a_stored_sibling_is_sent_unless_it_is_outdated() {
    let server = Site::new()
        .file("page.html", "<p>short</p>")
        .file("page.html.gz", stored("stored"))
        .file("font.ttf.br", "any bytes at all")
        .file("font.ttf", "font")
        .file("picture.png.gz", "not asked for")
        .file("picture.png", "picture")
        .serve();
    touch(&server, "page.html", 3600);
    touch(&server, "page.html.gz", 3600);
    touch(&server, "font.ttf.br", 60);
    let response = get(&server, "/page.html", "gzip, br");
    assert_eq!(response.field("content-encoding"), Some("gzip"));
    assert_eq!(response.field("content-type"), Some("text/html"));
    let length = response.content.len().to_string();
    assert_eq!(response.field("content-length"), Some(&*length));
    assert_eq!(decoded(&response), b"stored");
    let tag = response.field("etag").unwrap();
    assert_ne!(
        Some(tag),
        get(&server, "/page.html", "identity").field("etag")
    );
    let head = server.request("HEAD", "/page.html", "Accept-Encoding: gzip\r\n", "");
    assert_eq!(head.field("content-length"), Some(&*length));
    assert_eq!(get(&server, "/font.ttf", "br").content, b"any bytes at all");
    assert_eq!(get(&server, "/picture.png", "gzip").text(), "picture");
    assert_eq!(get(&server, "/page.html", "br").text(), "<p>short</p>");
    // An edit outdates the sibling at once.
    fs::write(server.site().root().join("page.html"), "<p>edited</p>").unwrap();
    assert_eq!(get(&server, "/page.html", "gzip").text(), "<p>edited</p>");
    touch(&server, "page.html.gz", 0);
    assert_eq!(decoded(&get(&server, "/page.html", "gzip")), b"stored");
    // By its own name it is a file like any other.
    let plain = get(&server, "/page.html.gz", "gzip");
    assert_eq!(plain.field("content-type"), Some("application/gzip"));
    assert_eq!(plain.field("content-encoding"), None);
}

#[test]
fn a_sibling_that_cannot_be_read_or_is_none_does_not_matter() {
    let server = Site::new().file("a.txt", "text").serve();
    let root = server.site().root();
    fs::create_dir(root.join("a.txt.gz")).unwrap();
    fs::write(server.site().directory().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("a.txt.br")).unwrap();
    std::os::unix::fs::symlink("a.txt.zst", root.join("a.txt.zst")).unwrap();
    assert_eq!(get(&server, "/a.txt", "gzip, br, zstd").text(), "text");
}

#[test]
fn compression_can_be_turned_off() {
    let server = Site::new()
        .file("a/a.txt", text())
        .file("b/b.txt", text())
        .configured(
            "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\ncompress = false\n\
         [site.a.path.\"/b/\"]\ncompress = true\n",
        );
    let response = get(&server, "/a/a.txt", "gzip");
    assert_eq!(
        (response.field("content-encoding"), response.field("vary")),
        (None, None)
    );
    assert_eq!(
        get(&server, "/b/b.txt", "gzip").field("content-encoding"),
        Some("gzip")
    );
}

#[test]
fn compression_does_not_hold_up_other_requests() {
    let words = (0..400_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)));
    let large = words.collect::<Vec<_>>().join(" ");
    let server = Site::new()
        .file("large.txt", large)
        .file("a.txt", "small")
        .serve();
    let mut readers: Vec<_> = (0..24).map(|_| server.connect()).collect();
    for reader in &mut readers {
        reader.send("GET /large.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\n\r\n");
    }
    // None of them reads: a worker that compressed for them, or waited for them, would not answer.
    for _ in 0..20 {
        assert_eq!(server.get("/a.txt").text(), "small");
    }
}

#[test]
fn a_client_of_http_1_0_gets_a_coding_that_ends_with_the_connection() {
    let server = site();
    let mut connection = server.connect();
    connection.send("GET /large.css HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = connection.response();
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(decoded(&response).len(), text().len() * 40);
}

#[test]
fn an_empty_sibling_is_not_sent_for_a_file_that_has_content() {
    let server = Site::new()
        .file("b.txt", "not empty")
        .file("b.txt.gz", "")
        .serve();
    touch(&server, "b.txt", 3600);
    assert_eq!(get(&server, "/b.txt", "gzip").text(), "not empty");
}

#[test]
fn there_are_only_so_many_encoders_and_then_files_come_as_they_are() {
    let server = Site::new().file("large.txt", noise(12 << 20)).serve();
    let request = "GET /large.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n";
    // A head that says `gzip` has taken one, and keeps it while nobody reads.
    let mut readers: Vec<_> = (0..80).map(|_| server.connect()).collect();
    let mut coded = 0;
    for reader in &mut readers {
        reader.send(request);
        let head = reader.read_until(b"\r\n\r\n");
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("vary: accept-encoding"),
            "{head}"
        );
        coded += usize::from(head.contains("content-encoding: gzip"));
    }
    assert_eq!(coded, 64);
}

/// Text that does not shrink much.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b' ' + u8::try_from(state >> 24).unwrap() % 95
    };
    std::iter::repeat_with(next).take(length).collect()
}
