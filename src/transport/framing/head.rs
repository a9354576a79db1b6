//! The head of a request: the ends of its lines, its version, and what it says about the length of
//! its content. Everything else about it is hyper's to check.

use http::StatusCode;
use memchr::memchr2;

use crate::transport::framing::{Length, Violation};

const BARE_LF: &str = "a line ends in a bare LF (RFC 9112 §2.2)";
const BARE_CR: &str = "a CR stands without its LF (RFC 9112 §2.2)";

/// The request line of the head that came last, for the log.
#[derive(Debug, Default)]
pub struct RequestLine {
    text: Vec<u8>,
    length: usize,
    ended: bool,
}

/// How much of a line is kept.
const LONGEST_LINE: usize = 4096;

impl RequestLine {
    /// As much of it as came, and is kept.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether it is longer than so many bytes, as far as it came, or has not come to its end.
    pub fn is_longer_than(&self, most: usize) -> bool {
        !self.ended || self.length > most
    }

    /// Takes the next bytes of the head.
    fn feed(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let empty_lines = if self.length == 0 {
            bytes.iter().take_while(|byte| is_end(byte)).count()
        } else {
            0
        };
        let rest = &bytes[empty_lines..];
        let end = rest.iter().position(is_end);
        self.ended = end.is_some();
        let length = end.unwrap_or(rest.len());
        self.length += length;
        let room = LONGEST_LINE - self.text.len();
        self.text.extend_from_slice(&rest[..length.min(room)]);
    }
}

/// A head as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// What came before, where a head comes in pieces.
    earlier: Vec<u8>,
    /// Whether a line came that is not empty: empty ones before it do not count (§2.2).
    begun: bool,
    /// Bytes of the line that has not ended.
    line: usize,
    after_cr: bool,
}

impl Head {
    /// Whether nothing of it has come.
    pub fn is_ahead(&self) -> bool {
        self.earlier.is_empty()
    }

    /// Takes the next bytes, also into `line`. Returns where among them the head ends, and the length
    /// of the content that follows; nothing while the head goes on.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        line: &mut RequestLine,
    ) -> Result<Option<(usize, Length)>, Violation> {
        if self.earlier.is_empty() {
            line.text.clear();
            line.length = 0;
            line.ended = false;
        }
        line.feed(bytes);
        match self.end(bytes).map_err(Violation::bad_request)? {
            None => {
                self.earlier.extend_from_slice(bytes);
                Ok(None)
            }
            Some(end) if self.earlier.is_empty() => Ok(Some((end, length(&bytes[..end])?))),
            Some(end) => {
                self.earlier.extend_from_slice(&bytes[..end]);
                Ok(Some((end, length(&self.earlier)?)))
            }
        }
    }

    /// Where the empty line ends that ends the head.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let mut at = 0;
        loop {
            if std::mem::take(&mut self.after_cr) {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => return Err(BARE_CR),
                    None => {
                        self.after_cr = true;
                        return Ok(None);
                    }
                }
                let is_empty = std::mem::take(&mut self.line) == 0;
                if is_empty && self.begun {
                    return Ok(Some(at));
                }
                self.begun |= !is_empty;
            }
            let Some(length) = memchr2(b'\r', b'\n', &bytes[at..]) else {
                self.line += bytes.len() - at;
                return Ok(None);
            };
            self.line += length;
            at += length + 1;
            if bytes[at - 1] == b'\n' {
                return Err(BARE_LF);
            }
            self.after_cr = true;
        }
    }
}

/// What a whole head says about the length of the content.
fn length(head: &[u8]) -> Result<Length, Violation> {
    let mut lines = head
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .skip_while(|line| line.is_empty());
    let request_line = lines.next().unwrap_or_default();
    if request_line.contains(&b'#') {
        let reason = "the target has a fragment (RFC 9112 §3.2)";
        return Err(Violation::bad_request(reason));
    }
    if has_other_version(request_line) {
        return Err(Violation {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            ..Violation::bad_request("another version of HTTP")
        });
    }
    let mut content_length = None;
    let mut transfer_encoding = None;
    for line in lines {
        if let Some(value) = value_of(line, b"content-length") {
            let is_second = content_length.replace(value).is_some();
            if is_second {
                return Err(Violation::bad_request(
                    "there are two Content-Length fields",
                ));
            }
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            let is_second = transfer_encoding.replace(value).is_some();
            if is_second {
                let reason = "there are two Transfer-Encoding fields";
                return Err(Violation::bad_request(reason));
            }
        }
    }
    match (content_length, transfer_encoding) {
        (None, None) => Ok(Length::Known(0)),
        (Some(value), None) => number(value).map(Length::Known).ok_or_else(|| {
            Violation::bad_request("Content-Length is not one number (RFC 9110 §8.6)")
        }),
        (None, Some(value)) => chunked(value),
        (Some(_), Some(_)) => Err(Violation::bad_request(
            "there are both Transfer-Encoding and Content-Length (RFC 9112 §6.1)",
        )),
    }
}

/// The value of a field line with this name, which is in lower case.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (written, rest) = line.split_at_checked(name.len())?;
    if !written.eq_ignore_ascii_case(name) {
        return None;
    }
    // White space before the colon is for hyper to refuse (RFC 9112 §5.1); until then the field
    // counts as what it seems to be.
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii())
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// `chunked` alone is understood. Before it another coding may stand that this server does not
/// know (501, RFC 9112 §6.1); a list that does not end with it leaves the length open (400, §6.3).
fn chunked(value: &[u8]) -> Result<Length, Violation> {
    let codings: Vec<&[u8]> = value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .collect();
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    match &codings[..] {
        [only] if is_chunked(only) => Ok(Length::Chunked),
        [before @ .., last] if is_chunked(last) && !before.iter().any(is_chunked) => {
            Err(Violation {
                status: StatusCode::NOT_IMPLEMENTED,
                ..Violation::bad_request("a transfer coding other than chunked")
            })
        }
        _ => Err(Violation::bad_request(
            "the transfer codings do not end with one `chunked` (RFC 9112 §6.3)",
        )),
    }
}

/// Whether the line ends as a request line does, with a version that is none of ours (RFC 9110
/// §15.6.6): the preface of HTTP/2 is one. Any other fault of the line is hyper's to find.
pub fn has_other_version(line: &[u8]) -> bool {
    let version = line.rsplit(|&byte| byte == b' ').next();
    match version.and_then(|version| version.strip_prefix(b"HTTP/")) {
        Some(b"1.0" | b"1.1") => false,
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}
