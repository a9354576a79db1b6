//! The forms a record is written in.

pub mod combined;
pub mod journal;
pub mod json;
pub mod terminal;

use std::fmt::{self, Write};

use http::HeaderName;

use crate::{
    records::AccessRecord,
    transport::{Address, Remote},
};

/// The form of an access log in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// Apache's "combined" lines.
    Combined,
    /// An object on each line.
    Json,
}

/// Bytes from outside, as one line for people: what could end the line, move the cursor or fake
/// other text is escaped, so that one request is one record.
pub struct Line<'b>(pub &'b [u8]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => write!(out, "\\{character}")?,
                    _ if is_invisible(character) => {
                        write!(out, "{}", character.escape_unicode())?;
                    }
                    _ => out.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, and the format characters that reorder or hide text.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The client as records name it: its address, or `unix`.
impl fmt::Display for Remote<Address> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            Some(address) => address.fmt(out),
            None => out.write_str("unix"),
        }
    }
}

/// The request line as received: hyper takes only lines that this gives back to the byte.
struct RequestLine<'r>(&'r AccessRecord);

impl fmt::Display for RequestLine<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.0.head;
        write!(out, "{} {} {:?}", head.method, head.uri, head.version)
    }
}

/// The value of a field of the request's head; the first, where there are several.
fn field<'r>(record: &'r AccessRecord, name: &HeaderName) -> Option<&'r [u8]> {
    record
        .head
        .headers
        .get(name)
        .map(http::HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1"[..], "GET / HTTP/1.1"),
            (b"a\r\nb\x1b[31m", "a\\u{d}\\u{a}b\\u{1b}[31m"),
            (b"\"quoted\\\"", "\\\"quoted\\\\\\\""),
            (b"\x16\x03\xff", "\\u{16}\\u{3}\\xff"),
            ("Zoë \u{202e}".as_bytes(), "Zoë \\u{202e}"),
        ] {
            assert_eq!(Line(bytes).to_string(), expected);
        }
    }
}
