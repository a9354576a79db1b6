//! Streams of requests, whole and in pieces.

use proptest::prelude::*;

use super::*;

/// The sections of a stream, as they are told when it comes in pieces of `step` bytes.
fn sections(stream: &[u8], step: usize) -> Result<Vec<Vec<u8>>, Violation> {
    let mut framing = Framing::default();
    let mut sections = vec![Vec::new()];
    for piece in stream.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            let before = std::mem::discriminant(&framing.section);
            let count = framing.admit(rest)?;
            assert!(count > 0, "nothing of {rest:?} is taken");
            sections
                .last_mut()
                .unwrap()
                .extend_from_slice(&rest[..count]);
            let is_new = count < rest.len() || before != std::mem::discriminant(&framing.section);
            if is_new {
                sections.push(Vec::new());
            }
            rest = &rest[count..];
        }
    }
    sections.retain(|section| !section.is_empty());
    Ok(sections)
}

#[test]
fn each_head_and_each_content_is_a_section() {
    let requests = [
        "\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /b HTTP/1.1\r\nContent-length:5\r\n\r\n",
        "a\nb\rc",
        "POST /c HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
        "5;x=\"y\"\r\nhello\r\n0A \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
        "GET /d HTTP/1.0\r\n\r\n",
    ];
    let stream = requests.concat();
    // A GET that follows a GET is told as one with it only where they came in one piece.
    let told = sections(stream.as_bytes(), stream.len()).unwrap();
    assert_eq!(told, requests.map(|section| section.as_bytes().to_vec()));
    for step in 1..stream.len() {
        let told = sections(stream.as_bytes(), step).unwrap().concat();
        assert_eq!(told, stream.as_bytes(), "in pieces of {step}");
    }
}

#[test]
fn doubt_about_a_request_is_a_violation() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    for (head, status) in [
        // RFC 9112 §2.2
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nA: b\rHost: x\r\n\r\n".to_owned(), 400),
        // RFC 9112 §6.1, §6.3
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
        (post("Transfer-Encoding: chunked\r\ncontent-length: 0"), 400),
        (post("Content-Length: 5\r\nContent-Length: 6"), 400),
        (post("Content-Length: 5\r\nContent-Length: 5"), 400),
        (post("Content-Length: 5, 5"), 400),
        (post("Content-Length: +5"), 400),
        (post("Content-Length: 0x5"), 400),
        (post("Content-Length:"), 400),
        (post("Content-Length: 18446744073709551616"), 400),
        (post("Transfer-Encoding: identity"), 400),
        (post("Transfer-Encoding: chunked, gzip"), 400),
        (post("Transfer-Encoding: chunked, chunked"), 400),
        (post("Transfer-Encoding: xchunked"), 400),
        (post("Transfer-Encoding: \"chunked\""), 400),
        (
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            400,
        ),
        (post("Transfer-Encoding:"), 400),
        (
            post("Content-Length : 5\r\nTransfer-Encoding: chunked"),
            400,
        ),
        (post("Transfer-Encoding: gzip, chunked"), 501),
        // RFC 9112 §3.2
        ("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        // RFC 9110 §15.6.6
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n".to_owned(), 505),
    ] {
        for step in [1, 7, head.len()] {
            let violation = sections(head.as_bytes(), step).expect_err(&head);
            assert_eq!(violation.status.as_u16(), status, "{head:?}: {violation:?}");
        }
    }
}

#[test]
fn malformed_chunks_are_a_violation() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "\r\n",
        ";\r\n",
        "x\r\n",
        "5\nhello",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5\r\nhello\r5",
        "5;a\nb\r\n",
        "10000000000000000\r\n",
        "0\r\nTrailer: x\n\r\n",
        "0\n\n",
        "-1\r\n",
        "+1\r\n",
    ] {
        let stream = format!("{head}{chunks}");
        sections(stream.as_bytes(), stream.len()).expect_err(chunks);
    }
}

proptest! {
    #[test]
    fn no_bytes_are_lost_and_the_pieces_do_not_matter(stream: Vec<u8>, step in 1_usize..40) {
        let whole = sections(&stream, stream.len().max(1));
        let pieces = sections(&stream, step);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => {
                prop_assert_eq!(whole.concat(), pieces.concat());
            }
            (Err(whole), Err(pieces)) => prop_assert_eq!(whole.status, pieces.status),
            (whole, pieces) => prop_assert!(false, "{:?} and {:?}", whole, pieces),
        }
    }
}

#[test]
fn the_request_line_is_kept_whatever_follows() {
    for (stream, line, has_ended) in [
        ("can you hear me?", "can you hear me?", false),
        ("\r\nGET / HTTP/1.1\r\nHost: x", "GET / HTTP/1.1", true),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1",
            true,
        ),
        (
            "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
            "GET /b HTTP/1.1",
            true,
        ),
        ("", "", false),
    ] {
        for step in 1..=stream.len().max(1) {
            let mut framing = Framing::default();
            for piece in stream.as_bytes().chunks(step) {
                let mut rest = piece;
                while !rest.is_empty() {
                    rest = &rest[framing.admit(rest).unwrap()..];
                }
            }
            let kept = framing.request_line();
            assert_eq!(
                (kept.text(), !kept.is_longer_than(4096)),
                (line.as_bytes(), has_ended)
            );
        }
    }
    let mut framing = Framing::default();
    framing.admit(&[b'a'; 10_000]).unwrap();
    let line = framing.request_line();
    assert_eq!(line.text().len(), 4096);
    assert!(
        line.is_longer_than(9_999) && line.is_longer_than(10_000),
        "it has not ended"
    );
}
