//! Answers to what is no request: garbage, a head that is too long, another protocol.

use http::StatusCode;

use crate::{
    service,
    transport::framing::{RequestLine, Violation, has_other_version},
};

/// The status for a head that was not taken; absent when the connection just broke, or when hyper
/// has answered already.
pub fn status(
    error: &hyper::Error,
    held_back: Option<StatusCode>,
    violation: Option<&Violation>,
    line: &RequestLine,
) -> Option<StatusCode> {
    match (held_back, violation) {
        (Some(_), Some(violation)) => Some(violation.status),
        // hyper does not tell where in the head it was.
        (Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), None) if !line.has_ended() => {
            Some(StatusCode::URI_TOO_LONG)
        }
        (Some(StatusCode::BAD_REQUEST), None) if has_other_version(line.text()) => {
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
    line: &RequestLine,
) -> String {
    if is_tls(line.text()) {
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

/// The first byte of every TLS connection is the content type of a handshake record, and the
/// second the major version (RFC 8446 §5.1).
fn is_tls(line: &[u8]) -> bool {
    line.starts_with(&[0x16, 0x03])
}
