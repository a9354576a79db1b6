//! The forms a record is written in.

pub mod combined;
pub mod journal;
pub mod json;
pub mod terminal;

use std::fmt::{self, Write};

use crate::transport::{Address, Remote};

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
        escape(self.0, out, |character| {
            matches!(character, '"' | '\\') || is_invisible(character)
        })
    }
}

/// The same for what stands between no quotation marks, as programs write for people.
struct Printable<'b>(&'b [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, out, |character| {
            character != '\t' && is_invisible(character)
        })
    }
}

/// Writes bytes as text without the characters that are odd.
fn escape(bytes: &[u8], out: &mut impl Write, is_odd: fn(char) -> bool) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((at, character)) = rest.char_indices().find(|&(_, c)| is_odd(c)) {
            out.write_str(&rest[..at])?;
            match character {
                '"' | '\\' => write!(out, "\\{character}")?,
                _ => write!(out, "{}", character.escape_unicode())?,
            }
            rest = &rest[at + character.len_utf8()..];
        }
        out.write_str(rest)?;
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Writes all it is given as [`Line`] does.
struct Escaping<'w, W>(&'w mut W);

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", Line(text.as_bytes()))
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
