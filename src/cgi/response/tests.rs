//! What scripts write, and what it comes to (RFC 3875 §6).

use proptest::prelude::*;

use super::*;

/// What a parser comes to after all of `output`, in one comparable value.
fn parse(header: Header, chunks: &[&[u8]]) -> Result<String, ResponseError> {
    let mut parser = Parser::new(header);
    for (index, chunk) in chunks.iter().enumerate() {
        if let Some((response, first)) = parser.feed(chunk)? {
            let content = [&first[..], &chunks[index + 1..].concat()].concat();
            return Ok(format!("{response:?} {}", content.escape_ascii()));
        }
    }
    Err(parser.end())
}

fn head(output: &str) -> Head {
    let mut parser = Parser::new(Header::Parsed);
    match parser.feed(output.as_bytes()) {
        Ok(Some((ScriptResponse::Document(head), _))) => head,
        other => panic!("{output:?} is {other:?}"),
    }
}

fn error(output: &[u8]) -> ResponseError {
    parse(Header::Parsed, &[output]).expect_err("it is no answer")
}

fn rule(output: &[u8]) -> String {
    match error(output) {
        ResponseError::BadLine { number, rule, .. } => format!("{number}: {rule}"),
        other => other.to_string(),
    }
}

#[test]
fn the_status_follows_section_6() {
    let table = [
        // A document (6.2.1).
        ("Content-Type: text/plain\n\n", 200),
        ("Content-Type: text/plain\r\n\r\n", 200),
        ("content-type:text/plain\nStatus: 404 Not found\n\n", 404),
        ("Status: 404\nContent-Type: text/plain\n\n", 404),
        ("Status: 204 No content\n\n", 204),
        ("Status:503\n\n", 503),
        // A redirect for the client (6.2.3).
        ("Location: http://example.org/a?b\n\n", 302),
        ("Location: //example.org/a\n\n", 302),
        ("Location: relative\n\n", 302),
        // The same with a document (6.2.4), or with a status of its own.
        (
            "Location: http://example.org/\nStatus: 301 Moved\nContent-Type: text/html\n\n",
            301,
        ),
        ("Status: 303 See other\nLocation: /done\n\n", 303),
        (
            "Location: http://example.org/\nContent-Type: text/html\n\n",
            302,
        ),
        // A status line.
        ("HTTP/1.1 404 Not found\nContent-Type: text/plain\n\n", 404),
        ("HTTP/1.0 200 OK\r\n\r\n", 200),
    ];
    for (output, status) in table {
        assert_eq!(head(output).status.as_u16(), status, "{output:?}");
    }
}

#[test]
fn a_bare_path_in_location_is_a_local_redirect() {
    let local = |output: &str| match Parser::new(Header::Parsed).feed(output.as_bytes()) {
        Ok(Some((ScriptResponse::LocalRedirect(reference), _))) => Some(reference),
        Ok(Some(_)) => None,
        other => panic!("{output:?} is {other:?}"),
    };
    let table = [
        ("Location: /a/b?c=d\n\n", Some("/a/b?c=d")),
        ("Location: /\r\n\r\n", Some("/")),
        // With anything else it is for the client, which must see the rest.
        ("Location: /a\nSet-Cookie: a=b\n\n", None),
        ("Location: /a\nStatus: 303 See other\n\n", None),
        ("Location: /a\nContent-Type: text/html\n\n", None),
        ("Location: //other.example/a\n\n", None),
        ("Location: /a#fragment\n\n", None),
        ("Location: /caf\u{e9}\n\n", None),
    ];
    for (output, reference) in table {
        assert_eq!(local(output).as_deref(), reference, "{output:?}");
    }
}

#[test]
fn the_reason_phrase_is_the_scripts() {
    let reason = |output| head(output).reason.map(|r| r.as_bytes().to_vec());
    assert_eq!(
        reason("Status: 404 Gone fishing\n\n"),
        Some(b"Gone fishing".to_vec())
    );
    assert_eq!(reason("Status: 404\n\n"), None);
}

#[test]
fn fields_are_passed_but_for_the_servers_own() {
    let head = head(
        "Content-Type: text/html\nSet-Cookie: a=1\nSet-Cookie: b=2\nX-Mine:  two words \n\
         Connection: close\nKeep-Alive: timeout=5\nUpgrade: h2c\nDate: whenever\n\n",
    );
    let mut fields: Vec<_> = head
        .fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort();
    let expected = [
        "content-type: text/html",
        "date: whenever",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "x-mine: two words",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_length_is_a_number() {
    let output = |value: &str| format!("Content-Type: a/b\nContent-Length: {value}\n\n");
    for (value, length) in [
        ("12", 12),
        ("0", 0),
        ("007", 7),
        ("7\nContent-Length: 07", 7),
    ] {
        let head = head(&output(value));
        assert_eq!(head.length, Some(length), "{value:?}");
        let passed: Vec<_> = head.fields.get_all(header::CONTENT_LENGTH).iter().collect();
        assert_eq!(passed, [&length.to_string()], "{value:?}");
    }
    for value in ["", "-1", "+1", "1 2", "1,1", "0x10", "99999999999999999999"] {
        let rule = rule(output(value).as_bytes());
        assert_eq!(rule, "2: the length is no number", "{value:?}");
    }
}

#[test]
fn of_cgi_fields_that_stand_there_twice_the_last_one_counts() {
    let head = head(
        "Content-Type: text/plain\nStatus: 404 Not here\nLocation: http://a/\n\
         content-type: text/html\nStatus: 303 There\nLOCATION: http://b/\n\n",
    );
    assert_eq!(head.status, StatusCode::SEE_OTHER);
    assert_eq!(head.reason.unwrap().as_bytes(), b"There");
    let all = |name| head.fields.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(all(header::CONTENT_TYPE), ["text/html"]);
    assert_eq!(all(header::LOCATION), ["http://b/"]);
}

#[test]
fn a_bad_line_is_named_with_its_rule() {
    let table: [(&[u8], &str); 16] = [
        (b"<html>\n", "1: there is no colon"),
        (b"\nhello", "1: the header is empty"),
        (b"\r\nhello", "1: the header is empty"),
        (b"Content-Type: a/b\nhello\n", "2: there is no colon"),
        (b"Content-Type : a/b\n\n", "1: the name is no token"),
        (
            b"Content-Type: a/b\n folded: yes\n\n",
            "2: the name is no token",
        ),
        (b": a\n\n", "1: the name is no token"),
        (
            b"X: a\rSet-Cookie: b\n\n",
            "1: the value has a control character",
        ),
        (b"X: a\0b\n\n", "1: the value has a control character"),
        (b"Status: OK\n\n", "1: a status has three digits"),
        (b"Status: 2000\n\n", "1: a status has three digits"),
        (b"Status: 20\n\n", "1: a status has three digits"),
        (
            b"Status: 100 Continue\n\n",
            "1: the status is not between 200 and 599",
        ),
        (
            b"Status: 600 Odd\n\n",
            "1: the status is not between 200 and 599",
        ),
        (
            b"Content-Length: 1\nContent-Length: 2\n\n",
            "2: there is another Content-Length",
        ),
        (
            b"Transfer-Encoding: chunked\n\n",
            "1: the transfer coding is the server's business",
        ),
    ];
    for (output, expected) in table {
        assert_eq!(rule(output), expected, "{}", output.escape_ascii());
    }
}

#[test]
fn a_bad_line_is_shown_escaped_and_cut() {
    let output = [&b"\x1b[31m\xff"[..], &[b'a'; 200], b"\n"].concat();
    let ResponseError::BadLine { line, .. } = error(&output) else {
        panic!("it has no colon");
    };
    assert!(line.starts_with("\\x1b[31m\\xffaaa"), "{line}");
    assert!(line.ends_with("a…") && line.len() < 100, "{line}");
}

#[test]
fn an_output_that_ends_too_early_says_so() {
    assert_eq!(error(b""), ResponseError::Nothing);
    assert_eq!(error(b"Content-Type: a/b"), ResponseError::NoBlankLine);
    assert_eq!(error(b"Content-Type: a/b\n"), ResponseError::NoBlankLine);
    assert_eq!(
        error(b"Cache-Control: no-store\n\n"),
        ResponseError::NoContentType
    );
}

#[test]
fn a_header_without_end_is_given_up() {
    assert_eq!(error(&vec![b'a'; HEAD_SIZE]), ResponseError::TooLong);
    assert_eq!(
        error(&b"X: y\n".repeat(HEAD_FIELDS + 1)),
        ResponseError::TooLong
    );
    let within = [
        &b"X: y\n".repeat(HEAD_FIELDS - 1)[..],
        b"Content-Type: a/b\n\n",
    ]
    .concat();
    assert!(parse(Header::Parsed, &[&within]).is_ok());
}

#[test]
fn a_script_that_speaks_for_the_server_begins_with_a_status_line() {
    let good: &[u8] = b"HTTP/1.1 202 Taken\nX-A: b\n\nHTTP content";
    assert!(parse(Header::NonParsed, &[good]).is_ok());
    let bad = parse(Header::NonParsed, &[b"Content-Type: a/b\n\n"]);
    assert!(matches!(bad, Err(ResponseError::BadLine { number: 1, .. })));
    let local = parse(
        Header::NonParsed,
        &[b"HTTP/1.1 302 Found\nLocation: /a\n\n"],
    );
    assert!(local.unwrap().starts_with("Document"));

    assert_eq!(header_of(b"/srv/cgi-bin/nph-clock"), Header::NonParsed);
    assert_eq!(header_of(b"/srv/nph-bin/clock"), Header::Parsed);
}

#[test]
fn content_begins_after_the_blank_line() {
    let outcome = parse(Header::Parsed, &[b"Content-Type: a/b\n\n\nfirst\n\n"]);
    assert!(outcome.unwrap().ends_with(" \\nfirst\\n\\n"));
}

/// Bytes that look like a header for a while.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(&b"Content-Type: text/plain"[..]),
        Just(&b"Status: 404 Not found"[..]),
        Just(&b"Location: /a"[..]),
        Just(&b"Content-Length: 5"[..]),
        Just(&b"HTTP/1.1 200 OK"[..]),
        Just(&b"X: \xff\t"[..]),
        Just(&b"no field"[..]),
        Just(&b"\r"[..]),
        Just(&b""[..]),
    ];
    let end = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..]), Just(&b""[..])];
    let lines = prop::collection::vec((line, end), 0..8);
    prop_oneof![
        lines.prop_map(|lines| lines.iter().flat_map(|(l, e)| [*l, *e].concat()).collect()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #[test]
    fn the_outcome_does_not_depend_on_how_the_output_is_cut(
        output in output(),
        nph in any::<bool>(),
        at in any::<prop::sample::Index>(),
    ) {
        let header = if nph { Header::NonParsed } else { Header::Parsed };
        let whole = parse(header, &[&output]);
        let single: Vec<&[u8]> = output.chunks(1).collect();
        prop_assert_eq!(&whole, &parse(header, &single));
        let (one, two) = output.split_at(at.index(output.len() + 1));
        prop_assert_eq!(&whole, &parse(header, &[one, two]));
    }

    #[test]
    fn a_long_output_comes_to_the_same_however_it_is_cut(
        line in 1..200_usize,
        size in 1..5000_usize,
    ) {
        let line = [&b"X: "[..], &vec![b'y'; line], b"\n"].concat();
        let output = line.repeat(HEAD_SIZE / line.len() + 2);
        let whole = parse(Header::Parsed, &[&output]);
        let cut: Vec<&[u8]> = output.chunks(size).collect();
        prop_assert_eq!(whole, parse(Header::Parsed, &cut));
    }
}
