//! Answers to what is no request: garbage, a head that is too long, another protocol.

use http::StatusCode;

use crate::service;

/// How much of a line is written down.
const LINE: usize = 4096;

/// The status for a head that hyper did not take; absent when the connection just broke.
pub fn status(
    error: &hyper::Error,
    refused: Option<StatusCode>,
    unread: &[u8],
) -> Option<StatusCode> {
    if let Some(status) = refused {
        return Some(match status {
            StatusCode::BAD_REQUEST if has_other_version(unread) => {
                StatusCode::HTTP_VERSION_NOT_SUPPORTED
            }
            status => status,
        });
    }
    // The preface of HTTP/2, which hyper recognizes and leaves to us.
    error
        .is_parse()
        .then_some(StatusCode::HTTP_VERSION_NOT_SUPPORTED)
}

/// Why, in words for the log.
pub fn reason(error: &hyper::Error, status: StatusCode, unread: &[u8]) -> String {
    if is_tls(unread) {
        return "TLS bytes on a port for plain HTTP".to_owned();
    }
    match status {
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => "another version of HTTP".to_owned(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the head is longer than `request-head-size`, or has more fields than \
             `request-headers`"
                .to_owned()
        }
        StatusCode::URI_TOO_LONG => "the request target is too long".to_owned(),
        _ => format!("not a request: {error}"),
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
fn is_tls(unread: &[u8]) -> bool {
    unread.starts_with(&[0x16, 0x03])
}

/// Whether the line ends as a request line does, with a version other than 1.0 and 1.1.
fn has_other_version(unread: &[u8]) -> bool {
    let version = line(unread).rsplit(|&byte| byte == b' ').next();
    matches!(version, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit() && *major != b'1')
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

    #[test]
    fn other_versions_are_told_from_garbage() {
        assert!(has_other_version(b"GET / HTTP/2.0\r\n"));
        assert!(has_other_version(b"GET / HTTP/3.7"));
        assert!(!has_other_version(b"GET / HTTP/1.1\r\n"));
        assert!(!has_other_version(b"can you hear me?"));
    }
}
