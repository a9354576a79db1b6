//! Answers to what is no request: garbage, a head that is too long, another protocol.

use http::StatusCode;

use crate::{
    service,
    transport::framing::{RequestLine, Violation, has_other_version},
};

/// The status for a head that was not taken and for which hyper's own answer was held back, and why,
/// in words for the log. `most` is the limit of a head.
pub fn refusal(
    error: &hyper::Error,
    held_back: StatusCode,
    violation: Option<&Violation>,
    line: &RequestLine,
    most: usize,
) -> (StatusCode, String) {
    if let Some(violation) = violation {
        let is_tls = is_tls(line.text());
        let reason = if is_tls { TLS } else { violation.reason };
        return (violation.status, reason.to_owned());
    }
    match held_back {
        // hyper does not tell where in the head it was.
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG
            if line.is_longer_than(most) =>
        {
            let reason = "the request target is longer than `request-head-size`";
            (StatusCode::URI_TOO_LONG, reason.to_owned())
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let reason = "the head is longer than `request-head-size`, or has more fields than \
                          `request-headers`";
            (held_back, reason.to_owned())
        }
        StatusCode::BAD_REQUEST if is_tls(line.text()) => (held_back, TLS.to_owned()),
        StatusCode::BAD_REQUEST if has_other_version(line.text()) => {
            let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            (status, "another version of HTTP".to_owned())
        }
        status => (status, format!("not a request: {error}")),
    }
}

const TLS: &str = "TLS bytes on a port for plain HTTP";

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
