//! Where one request ends and the next begins (RFC 9112 §6), told before hyper sees the bytes.
//!
//! hyper is lenient where an intermediary may not be: it takes a bare LF for the end of a line, and
//! of a request with both Transfer-Encoding and Content-Length it shows only the first. Whoever
//! makes two parties disagree about such a request smuggles another one past the first of them. So
//! every head is looked at here before it is handed on, one head at a time: any doubt about its
//! lines or about the length of its content is a [`Violation`].

mod chunks;
mod head;

use http::StatusCode;

use chunks::Chunks;
use head::Head;
pub use head::{RequestLine, has_other_version};

/// Why a request cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The status it is answered with.
    pub status: StatusCode,
    /// What is wrong, for the log.
    pub reason: &'static str,
}

/// How the content of a request is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// `Content-Length`, or none.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// The place in a stream of requests.
#[derive(Debug, Default)]
pub struct Framing {
    section: Section,
    line: RequestLine,
}

#[derive(Debug)]
enum Section {
    Head(Head),
    /// So many bytes of content are left; at least one.
    Content(u64),
    Chunks(Chunks),
}

impl Default for Section {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

impl Framing {
    /// The request line of the head that came last.
    pub fn request_line(&self) -> &RequestLine {
        &self.line
    }

    /// Whether a head is next, or has begun.
    pub fn is_at_head(&self) -> bool {
        matches!(self.section, Section::Head(_))
    }

    /// Whether a head is next, of which nothing has come.
    pub fn is_between_requests(&self) -> bool {
        matches!(&self.section, Section::Head(head) if head.is_ahead())
    }

    /// Whether a head has begun and not ended.
    pub fn has_begun_head(&self) -> bool {
        matches!(&self.section, Section::Head(head) if !head.is_ahead())
    }

    /// How many of the bytes that came next belong to the section of the stream that has begun: a
    /// head, or the content of a request. Never 0 for bytes, and to be asked again for what is
    /// beyond.
    pub fn admit(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        match &mut self.section {
            Section::Head(head) => {
                let Some((end, length)) = head.feed(bytes, &mut self.line)? else {
                    return Ok(bytes.len());
                };
                self.section = match length {
                    Length::Known(0) => Section::default(),
                    Length::Known(length) => Section::Content(length),
                    Length::Chunked => Section::Chunks(Chunks::default()),
                };
                Ok(end)
            }
            Section::Content(left) => {
                let count =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= count as u64;
                if *left == 0 {
                    self.section = Section::default();
                }
                Ok(count)
            }
            Section::Chunks(chunks) => match chunks.feed(bytes)? {
                Some(end) => {
                    self.section = Section::default();
                    Ok(end)
                }
                None => Ok(bytes.len()),
            },
        }
    }
}

/// Whether these bytes are the head of one request without content, and nothing else.
pub fn is_one_head(bytes: &[u8]) -> bool {
    let mut line = RequestLine::default();
    let head = Head::default().feed(bytes, &mut line);
    matches!(head, Ok(Some((end, Length::Known(0)))) if end == bytes.len())
}

impl Violation {
    fn bad_request(reason: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            reason,
        }
    }
}

#[cfg(test)]
mod tests;
