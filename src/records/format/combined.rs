//! Requests as lines of the "combined" log format, as Apache writes it and analyzers read it:
//! `%h - %u [%t] "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`.
//!
//! Bytes from outside are escaped as by Apache, and a space in a user's name as well, since the name
//! stands without quotes: whatever came, a request is one line of visible ASCII with the same fields.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use crate::{
    records::{AccessRecord, ConnectionRecord, Request},
    transport::{Address, Remote},
};

/// What nginx writes for a client that left before its answer began. Analyzers know it, and take no
/// line without a status.
const CLIENT_LEFT: u16 = 499;

/// What Apache writes for a connection on which no request came.
const NO_REQUEST: u16 = 408;

/// The line of a request, or of a connection without one, with its end.
pub fn line(request: &Request) -> String {
    match request {
        Request::Access(record) => access(record),
        Request::Connection(record) => connection(record),
    }
}

fn access(record: &AccessRecord) -> String {
    let outcome = &record.outcome;
    let status = outcome.status.map(|status| status.as_u16());
    let entry = Entry {
        client: record.connection.remote,
        user: outcome.user.as_deref(),
        time: record.time,
        request_line: record.words.request_line.as_bytes(),
        status: status.unwrap_or(CLIENT_LEFT),
        bytes: outcome.bytes,
        referer: record.words.referer.as_deref(),
        user_agent: record.words.user_agent.as_deref(),
    };
    format!("{entry}\n")
}

fn connection(record: &ConnectionRecord) -> String {
    let entry = Entry {
        client: record.remote,
        user: None,
        time: record.time,
        request_line: record.line.trim_ascii_end(),
        status: record.status.unwrap_or(NO_REQUEST),
        bytes: 0,
        referer: None,
        user_agent: None,
    };
    format!("{entry}\n")
}

/// A line without its end.
struct Entry<'r> {
    client: Remote<Address>,
    user: Option<&'r [u8]>,
    time: SystemTime,
    request_line: &'r [u8],
    status: u16,
    bytes: u64,
    referer: Option<&'r [u8]>,
    user_agent: Option<&'r [u8]>,
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} - ", self.client)?;
        match self.user {
            None => out.write_char('-')?,
            Some(b"") => out.write_str("\"\"")?,
            Some(name) => escape(name, Space::Escaped, out)?,
        }
        write!(out, " [{}] ", time(self.time))?;
        quoted(Some(self.request_line), out)?;
        write!(out, " {} ", self.status)?;
        match self.bytes {
            0 => out.write_char('-')?,
            bytes => write!(out, "{bytes}")?,
        }
        for value in [self.referer, self.user_agent] {
            out.write_char(' ')?;
            quoted(value, out)?;
        }
        Ok(())
    }
}

/// Local time with its offset.
fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_zoned(jiff::tz::TimeZone::system()))
        .map(|time| time.strftime("%d/%b/%Y:%H:%M:%S %z").to_string())
        .unwrap_or_default()
}

fn quoted(value: Option<&[u8]>, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    match value {
        None | Some(b"") => out.write_char('-')?,
        Some(value) => escape(value, Space::Kept, out)?,
    }
    out.write_char('"')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Kept,
    Escaped,
}

fn escape(bytes: &[u8], space: Space, out: &mut impl Write) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => write!(out, "\\{}", char::from(byte))?,
            b'\x08' => out.write_str("\\b")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            b'\x0b' => out.write_str("\\v")?,
            b' ' if space == Space::Kept => out.write_char(' ')?,
            b'!'..=b'~' => out.write_char(char::from(byte))?,
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'r>(user: Option<&'r [u8]>, request_line: &'r [u8]) -> Entry<'r> {
        Entry {
            client: Remote(Address::Tcp(([192, 0, 2, 1], 5000).into())),
            user,
            time: SystemTime::UNIX_EPOCH,
            request_line,
            status: 200,
            bytes: 0,
            referer: Some(b""),
            user_agent: Some(b"a \"b\" \\ \xff"),
        }
    }

    #[test]
    fn a_line_has_the_same_fields_whatever_came() {
        for (user, line, expected) in [
            (None, &b"GET / HTTP/1.1"[..], r#"- [] "GET / HTTP/1.1""#),
            (Some(&b""[..]), b"", r#""" [] "-""#),
            (
                Some(b"al ice\"\n\x00"),
                b"\x16\x03\x08\t\x0b\r\n\x7f\xc3\xb6",
                r#"al\x20ice\"\n\x00 [] "\x16\x03\b\t\v\r\n\x7f\xc3\xb6""#,
            ),
        ] {
            let text = entry(user, line).to_string();
            let start = text.find('[').unwrap();
            let end = text.find(']').unwrap();
            let text = format!("{}{}", &text[..=start], &text[end..]);
            let expected = format!("192.0.2.1 - {expected} 200 - \"-\" \"a \\\"b\\\" \\\\ \\xff\"");
            assert_eq!(text, expected);
        }
    }
}
