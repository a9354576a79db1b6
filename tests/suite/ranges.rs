//! Ranges, one and several, and `If-Range` (RFC 9110 §13.1.5, §14).

use crate::support::{Response, Server, Site};

fn content() -> Vec<u8> {
    (0..300_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn site() -> Server {
    Site::new()
        .file("a.txt", "0123456789")
        .file("large.bin", content())
        .serve()
}

fn get(server: &Server, target: &str, range: &str) -> Response {
    server.request("GET", target, &format!("Range: {range}\r\n"), "")
}

/// The parts of an answer: each part's `Content-Range` and its bytes.
fn parts(response: &Response) -> Vec<(String, Vec<u8>)> {
    let media_type = response.field("content-type").unwrap();
    let boundary = media_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let mut rest = &response.content[..];
    let mut parts = Vec::new();
    let mut delimiter = format!("--{boundary}\r\n");
    loop {
        if let Some(after) = rest.strip_prefix(format!("\r\n--{boundary}--\r\n").as_bytes()) {
            assert!(after.is_empty(), "nothing follows the end");
            return parts;
        }
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a boundary");
        delimiter = format!("\r\n--{boundary}\r\n");
        let end = rest
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .expect("a head");
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let (media_type, range) = head.split_once("\r\n").unwrap();
        assert!(media_type.starts_with("Content-Type: "), "{head}");
        let range = range
            .strip_prefix("Content-Range: bytes ")
            .expect("a range");
        let (positions, _) = range.split_once('/').unwrap();
        let (first, last) = positions.split_once('-').unwrap();
        let length = last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap();
        let start = end + 4;
        parts.push((range.to_owned(), rest[start..start + length].to_vec()));
        rest = &rest[start + length..];
    }
}

#[test]
fn several_ranges_are_parts_in_their_order() {
    let server = site();
    let response = get(&server, "/a.txt", "bytes=0-1, 4-5,-2");
    assert_eq!(response.status(), 206);
    let length = response.content.len().to_string();
    assert_eq!(response.field("content-length"), Some(&*length));
    assert_eq!(response.field("content-range"), None);
    let expected = [("0-1/10", "01"), ("4-5/10", "45"), ("8-9/10", "89")];
    let expected = expected.map(|(range, bytes)| (range.to_owned(), bytes.as_bytes().to_vec()));
    assert_eq!(parts(&response), expected);
    let reversed = get(&server, "/a.txt", "bytes=5-6,0-0");
    assert_eq!(parts(&reversed)[0], ("5-6/10".to_owned(), b"56".to_vec()));
}

#[test]
fn parts_of_a_large_file_have_its_bytes() {
    let server = site();
    let content = content();
    let response = get(&server, "/large.bin", "bytes=0-99999,150000-250000,299000-");
    assert_eq!(response.status(), 206);
    let length = response.content.len().to_string();
    assert_eq!(response.field("content-length"), Some(&*length));
    for ((range, bytes), expected) in parts(&response).iter().zip([
        &content[..100_000],
        &content[150_000..=250_000],
        &content[299_000..],
    ]) {
        assert!(bytes == expected, "{range}");
    }
    let middle = get(&server, "/large.bin", "bytes=100000-270000");
    assert!(middle.content == content[100_000..=270_000]);
}

#[test]
fn sets_of_ranges_have_the_answer_that_fits_them() {
    let server = site();
    let many = |count: usize| {
        let ranges: Vec<_> = (0..count).map(|n| format!("{}-{}", 2 * n, 2 * n)).collect();
        format!("bytes={}", ranges.join(","))
    };
    for (section, target, range, status) in [
        ("14.1.2", "/a.txt", "bytes=0-1,50-60".to_owned(), 206),
        ("15.5.17", "/a.txt", "bytes=10-,50-60".to_owned(), 416),
        ("14.2", "/a.txt", "bytes=0-1,x".to_owned(), 200),
        ("14.2", "/a.txt", "bytes=0-1,5-4".to_owned(), 200),
        ("17.15", "/a.txt", "bytes=0-5,3-9".to_owned(), 200),
        ("17.15", "/a.txt", "bytes=0-,0-,0-,0-".to_owned(), 200),
        ("17.15", "/large.bin", many(16), 206),
        ("17.15", "/large.bin", many(17), 200),
        ("17.15", "/large.bin", many(1300), 200),
    ] {
        let response = get(&server, target, &range);
        assert_eq!(response.status(), status, "{section} {target} {range:.60}");
        if status == 416 {
            assert_eq!(response.field("content-range"), Some("bytes */10"));
        }
    }
    let one = get(&server, "/a.txt", "bytes=0-1,50-60");
    assert_eq!(one.field("content-range"), Some("bytes 0-1/10"));
    assert_eq!(one.text(), "01");
}

#[test]
fn if_range_takes_the_tag_or_the_very_date() {
    let server = site();
    let first = server.get("/a.txt");
    let tag = first.field("etag").unwrap();
    let date = first.field("last-modified").unwrap();
    for (value, status) in [
        (tag.to_owned(), 206),
        (format!("W/{tag}"), 200),
        ("\"other\"".to_owned(), 200),
        (format!("{tag}, \"other\""), 200),
        ("*".to_owned(), 200),
        (date.to_owned(), 206),
        ("Sat, 01 Jan 2000 00:00:00 GMT".to_owned(), 200),
        ("Tue, 01 Jan 2199 00:00:00 GMT".to_owned(), 200),
        ("yesterday".to_owned(), 200),
    ] {
        let fields = format!("Range: bytes=0-3\r\nIf-Range: {value}\r\n");
        let response = server.request("GET", "/a.txt", &fields, "");
        assert_eq!(response.status(), status, "{value}");
        let beyond = format!("Range: bytes=50-\r\nIf-Range: {value}\r\n");
        let expected = if status == 206 { 416 } else { 200 };
        assert_eq!(
            server.request("GET", "/a.txt", &beyond, "").status(),
            expected,
            "{value}"
        );
    }
}

#[test]
fn preconditions_are_evaluated_in_their_order() {
    let server = site();
    let first = server.get("/a.txt");
    let tag = first.field("etag").unwrap();
    let date = first.field("last-modified").unwrap();
    let old = "Sat, 01 Jan 2000 00:00:00 GMT";
    // RFC 9110 §13.2.2
    for (fields, status) in [
        (format!("If-Match: {tag}"), 200),
        ("If-Match: *".to_owned(), 200),
        ("If-Match: \"x\"".to_owned(), 412),
        (format!("If-Match: W/{tag}"), 412),
        (format!("If-Match: \"x\", {tag}"), 200),
        (format!("If-Match: \"x\"\r\nIf-Match: {tag}"), 200),
        (
            format!("If-Match: {tag}\r\nIf-Unmodified-Since: {old}"),
            200,
        ),
        (format!("If-Unmodified-Since: {old}"), 412),
        (format!("If-Unmodified-Since: {date}"), 200),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {tag}"), 412),
        (format!("If-Match: {tag}\r\nIf-None-Match: {tag}"), 304),
        (
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}"),
            200,
        ),
        (format!("If-Modified-Since: {date}"), 304),
        (format!("If-Modified-Since: {old}"), 200),
        (format!("If-None-Match: {tag}\r\nRange: bytes=0-1"), 304),
        (format!("If-Match: {tag}\r\nRange: bytes=0-1"), 206),
        ("If-Match: \"x\"\r\nRange: bytes=50-".to_owned(), 412),
    ] {
        for method in ["GET", "HEAD"] {
            let response = server.request(method, "/a.txt", &format!("{fields}\r\n"), "");
            let expected = if method == "HEAD" && status == 206 {
                200
            } else {
                status
            };
            assert_eq!(response.status(), expected, "{method} {fields}");
        }
    }
}
