//! What a script writes before its content: RFC 3875 section 6.
//!
//! The parser takes bytes as they come and decides line by line, so its outcome does not depend
//! on how they were cut. Nothing that it passes on can hold a line end: names, values and the
//! reason phrase go through types that refuse one. It reads no further than the blank line.
//!
//! No CGI field may stand there twice (section 6.3). Of two, the last one counts, as in Apache, so
//! that a script may replace what a library has written before it; the client gets one.
//!
//! Beyond the standard: a line may end in LF alone, and any script may begin with a status line as
//! `nph-` scripts must (section 5); the server frames the answer for both.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::ext::ReasonPhrase;

/// Bytes before the content.
const HEAD_SIZE: usize = 64 * 1024;

/// Fields before the content.
const HEAD_FIELDS: usize = 100;

/// How much of a bad line is shown.
const SHOWN: usize = 80;

/// Fields about the connection to the client, which is the server's (section 6.3.4).
const OF_THE_SERVER: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// What a script answers (section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptResponse {
    /// A document or a redirect for the client: this head, and content after it
    /// (sections 6.2.1, 6.2.3, 6.2.4).
    Document(Head),
    /// Path and query of what the server is to answer with instead (section 6.2.2).
    LocalRedirect(String),
}

/// The head of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// From `Status`, from the status line, 302 for a bare `Location`, or 200.
    pub status: StatusCode,
    /// The script's own words for the status.
    pub reason: Option<ReasonPhrase>,
    /// Fields for the client.
    pub fields: HeaderMap,
    /// The length of the content, if the script gave a usable one; it is among the fields too.
    pub length: Option<u64>,
}

/// What is wrong with a script's output, in words that fit after `script NAME: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The output ended where it should have begun.
    #[error("it ended without output")]
    Nothing,
    /// The output ended before the blank line.
    #[error("its output ended before the blank line that ends the header")]
    NoBlankLine,
    /// No blank line within the bounds.
    #[error("its header is longer than {HEAD_SIZE} bytes or {HEAD_FIELDS} fields")]
    TooLong,
    /// A line that is no header field.
    #[error("line {number} of its output is no header field ({rule}): \"{line}\"")]
    BadLine {
        /// From 1.
        number: usize,
        /// Its first bytes, escaped.
        line: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// Nothing says what the content is.
    #[error("its header has neither Content-Type nor Status nor Location")]
    NoContentType,
}

/// Whether the script speaks for the server (section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Parsed by the server: what nearly every script writes.
    Parsed,
    /// Begins with a status line: the script's name begins with `nph-`.
    NonParsed,
}

/// Reads the header of a script's output.
#[derive(Debug)]
pub struct Parser {
    header: Header,
    /// All that came so far.
    bytes: Vec<u8>,
    /// Where the line begins that is not yet complete.
    line: usize,
    /// Where to look on for its end.
    searched: usize,
    lines: usize,
    parts: Parts,
}

/// The rule that a line breaks which is no field at all.
pub const NO_COLON: &str = "there is no colon";

/// What the lines so far have said.
#[derive(Debug, Default)]
struct Parts {
    status: Option<(StatusCode, Option<ReasonPhrase>)>,
    location: Option<HeaderValue>,
    fields: HeaderMap,
}

impl Parser {
    /// A parser for the output of a script.
    pub fn new(header: Header) -> Self {
        Self {
            header,
            bytes: Vec::new(),
            line: 0,
            searched: 0,
            lines: 0,
            parts: Parts::default(),
        }
    }

    /// Takes the next bytes. After the blank line it answers with what the header comes to and
    /// the first bytes of the content.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<(ScriptResponse, Bytes)>, ResponseError> {
        self.bytes.extend_from_slice(bytes);
        while let Some(range) = self.next_line()? {
            let line = &self.bytes[range];
            if line.is_empty() && self.lines > 1 {
                let content = Bytes::copy_from_slice(&self.bytes[self.line..]);
                let response = std::mem::take(&mut self.parts).response()?;
                return Ok(Some((response, content)));
            }
            let taken = match self.lines {
                1 => self.parts.first_line(line, self.header),
                _ => self.parts.field_line(line),
            };
            taken.map_err(|rule| bad_line(self.lines, line, rule))?;
            if self.parts.fields.len() > HEAD_FIELDS {
                return Err(ResponseError::TooLong);
            }
        }
        Ok(None)
    }

    /// Takes the end of the output, which came too early.
    pub fn end(&self) -> ResponseError {
        if self.bytes.is_empty() {
            ResponseError::Nothing
        } else {
            ResponseError::NoBlankLine
        }
    }

    /// The first bytes of the output, for a diagnosis.
    pub fn seen(&self) -> &[u8] {
        &self.bytes
    }

    /// The next complete line, without its end.
    fn next_line(&mut self) -> Result<Option<std::ops::Range<usize>>, ResponseError> {
        let within = &self.bytes[..self.bytes.len().min(HEAD_SIZE)];
        let Some(found) = within[self.searched..].iter().position(|&b| b == b'\n') else {
            self.searched = within.len();
            return match within.len() {
                HEAD_SIZE => Err(ResponseError::TooLong),
                _ => Ok(None),
            };
        };
        let end = self.searched + found;
        let start = std::mem::replace(&mut self.line, end + 1);
        self.searched = self.line;
        self.lines += 1;
        let is_crlf = self.bytes[start..end].ends_with(b"\r");
        Ok(Some(start..end - usize::from(is_crlf)))
    }
}

/// The name that a script's file has if it speaks for the server.
pub fn header_of(script: &[u8]) -> Header {
    match script.rsplit(|&byte| byte == b'/').next() {
        Some(name) if name.starts_with(b"nph-") => Header::NonParsed,
        _ => Header::Parsed,
    }
}

fn bad_line(number: usize, line: &[u8], rule: &'static str) -> ResponseError {
    let cut = if line.len() > SHOWN { "…" } else { "" };
    let line = line[..line.len().min(SHOWN)].escape_ascii();
    let line = format!("{line}{cut}");
    ResponseError::BadLine { number, line, rule }
}

/// The rule that a line breaks.
type Rule = &'static str;

impl Parts {
    fn first_line(&mut self, line: &[u8], header: Header) -> Result<(), Rule> {
        if line.is_empty() {
            return Err("the header is empty");
        }
        if line.starts_with(b"HTTP/") {
            return self.status_line(line);
        }
        match header {
            Header::NonParsed => Err("a script whose name begins with nph- begins with HTTP/1.1"),
            Header::Parsed => self.field_line(line),
        }
    }

    /// `HTTP/1.x CODE reason`
    fn status_line(&mut self, line: &[u8]) -> Result<(), Rule> {
        let rest = line.strip_prefix(b"HTTP/1.1 ");
        let rest = rest.or_else(|| line.strip_prefix(b"HTTP/1.0 "));
        self.take_status(rest.ok_or("a status line is HTTP/1.1, a code and a reason")?)
    }

    /// `name: value`
    fn field_line(&mut self, line: &[u8]) -> Result<(), Rule> {
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(colon.ok_or(NO_COLON)?);
        let name = HeaderName::from_bytes(name).map_err(|_| "the name is no token")?;
        let value = HeaderValue::from_bytes(value[1..].trim_ascii())
            .map_err(|_| "the value has a control character")?;
        match name.as_str() {
            "status" => self.take_status(value.as_bytes()),
            "location" => {
                self.location = Some(value);
                Ok(())
            }
            "content-type" => {
                self.fields.insert(name, value);
                Ok(())
            }
            // Its content would have to be decoded first.
            "transfer-encoding" => Err("the transfer coding is the server's business"),
            "content-length" => self.take_length(&value),
            owned if OF_THE_SERVER.contains(&owned) => Ok(()),
            _ => {
                self.fields.append(name, value);
                Ok(())
            }
        }
    }

    /// `CODE` or `CODE reason` (section 6.3.3).
    fn take_status(&mut self, value: &[u8]) -> Result<(), Rule> {
        let (code, reason) = value.split_at(value.len().min(3));
        if reason.first().is_some_and(|&byte| byte != b' ') {
            return Err("a status has three digits");
        }
        let status = StatusCode::from_bytes(code).map_err(|_| "a status has three digits")?;
        if !(200..600).contains(&status.as_u16()) {
            return Err("the status is not between 200 and 599");
        }
        let reason = match reason.trim_ascii() {
            b"" => None,
            words => Some(ReasonPhrase::try_from(words).map_err(|_| "the reason is no text")?),
        };
        self.status = Some((status, reason));
        Ok(())
    }

    /// Where a length is in doubt, so is what the client would take for the content.
    fn take_length(&mut self, value: &HeaderValue) -> Result<(), Rule> {
        let length = parse_length(value).ok_or("the length is no number")?;
        let other = self.fields.insert(header::CONTENT_LENGTH, length.into());
        match other.as_ref().and_then(parse_length) {
            Some(other) if other != length => Err("there is another Content-Length"),
            _ => Ok(()),
        }
    }

    /// Which of the four kinds of answer this is (section 6.2).
    fn response(mut self) -> Result<ScriptResponse, ResponseError> {
        let status = self.status.take();
        let status = match (self.location.take(), status) {
            (Some(location), None) if self.fields.is_empty() && is_local(&location) => {
                // `is_local` has seen that it is ASCII.
                let reference = String::from_utf8_lossy(location.as_bytes()).into_owned();
                return Ok(ScriptResponse::LocalRedirect(reference));
            }
            (Some(location), status) => {
                self.fields.insert(header::LOCATION, location);
                status.unwrap_or((StatusCode::FOUND, None))
            }
            (None, Some(status)) => status,
            (None, None) if self.fields.contains_key(header::CONTENT_TYPE) => {
                (StatusCode::OK, None)
            }
            (None, None) => return Err(ResponseError::NoContentType),
        };
        let length = self.fields.get(header::CONTENT_LENGTH);
        Ok(ScriptResponse::Document(Head {
            status: status.0,
            reason: status.1,
            length: length.and_then(parse_length),
            fields: self.fields,
        }))
    }
}

/// Whether a location is a path of this server: `//` begins an authority, and a fragment is for
/// the client to keep.
fn is_local(location: &HeaderValue) -> bool {
    let location = location.as_bytes();
    location.starts_with(b"/")
        && !location.starts_with(b"//")
        && location.iter().all(|&b| b.is_ascii_graphic() && b != b'#')
}

fn parse_length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
