//! Answers to what is no request: garbage, a head that is too long, another protocol.

use http::StatusCode;

use crate::{
    service,
    transport::framing::{Violation, has_other_version},
};

/// How much of a line is written down.
const LINE: usize = 4096;

/// The status for a head that was not taken; absent when the connection just broke, or when hyper
/// has answered already.
pub fn status(
    error: &hyper::Error,
    held_back: Option<StatusCode>,
    violation: Option<&Violation>,
    unread: &[u8],
) -> Option<StatusCode> {
    match (held_back, violation) {
        (Some(_), Some(violation)) => Some(violation.status),
        // hyper does not tell where in the head it was.
        (Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), None) if !unread.contains(&b'\n') => {
            Some(StatusCode::URI_TOO_LONG)
        }
        (Some(StatusCode::BAD_REQUEST), None) if has_other_version(line(unread)) => {
            Some(StatusCode::HTTP_VERSION_NOT_SUPPORTED)
        }
        (Some(status), None) => Some(status),
        (None, _) => error
            .is_parse_version_h2()
            .then_some(StatusCode::HTTP_VERSION_NOT_SUPPORTED),
    }
}

/// Why, in words for the log.
pub fn reason(
    error: &hyper::Error,
    status: StatusCode,
    violation: Option<&Violation>,
    line: &[u8],
) -> String {
    if is_tls(line) {
        return "TLS bytes on a port for plain HTTP".to_owned();
    }
    match (violation, status) {
        (Some(violation), _) => violation.reason.to_owned(),
        (None, StatusCode::HTTP_VERSION_NOT_SUPPORTED) => "another version of HTTP".to_owned(),
        (None, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
            "the head is longer than `request-head-size`, or has more fields than \
             `request-headers`"
                .to_owned()
        }
        (None, StatusCode::URI_TOO_LONG) => {
            "the request target is longer than `request-head-size`".to_owned()
        }
        (None, _) => format!("not a request: {error}"),
    }
}

/// The whole answer, head and page.
pub fn answer(status: StatusCode) -> String {
    let page = service::page_for(status, None);
    let reason = status.canonical_reason().unwrap_or("Error");
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    format!(
        "HTTP/1.1 {} {reason}\r\ndate: {date}\r\ncontent-type: text/html; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{page}",
        status.as_u16(),
        page.len()
    )
}

/// The line that stands in the record: up to its end, or as much as there is room for.
pub fn line(unread: &[u8]) -> &[u8] {
    let end = unread
        .iter()
        .position(|&byte| byte == b'\n' || byte == b'\r')
        .unwrap_or(unread.len());
    &unread[..end.min(LINE)]
}

/// The first byte of every TLS connection is the content type of a handshake record, and the
/// second the major version (RFC 8446 §5.1).
fn is_tls(line: &[u8]) -> bool {
    line.starts_with(&[0x16, 0x03])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_ends_where_it_ends() {
        for (bytes, expected) in [
            (&b"can you hear me?"[..], &b"can you hear me?"[..]),
            (b"GET / HTTP/1.1\r\nHost: x", b"GET / HTTP/1.1"),
            (b"", b""),
        ] {
            assert_eq!(line(bytes), expected);
        }
        assert_eq!(line(&[b'a'; 10_000]).len(), LINE);
    }
}
