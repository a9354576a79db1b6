//! Requests as JSON, an object on each line, for programs: the fields of the journal's entry in lower
//! case, each only where it applies.
//!
//! Text is as it came, with what does not show escaped. A byte that belongs to no UTF-8 stands as the
//! four characters `\xhh`, since JSON has no other place for it.

use std::fmt::{self, Write};

use jiff::Timestamp;

use crate::records::{AccessRecord, ConnectionRecord, Request, ScriptUse, format::is_invisible};

/// The object of a request, or of a connection without one, with the end of its line.
pub fn line(request: &Request) -> String {
    let mut object = Object(String::with_capacity(512));
    let written = match request {
        Request::Access(record) => access(record, &mut object),
        Request::Connection(record) => connection(record, &mut object),
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
    object.0.push_str("}\n");
    object.0
}

fn access(record: &AccessRecord, object: &mut Object) -> fmt::Result {
    let outcome = &record.outcome;
    object.time(record.time)?;
    object.text("client", &record.connection.remote)?;
    object.bytes("user", outcome.user.as_deref())?;
    object.bytes("request_line", Some(record.words.request_line.as_bytes()))?;
    object.bytes("host", record.words.host.as_deref())?;
    object.bytes("site", outcome.site.as_ref().map(|site| site.as_bytes()))?;
    if let Some(status) = outcome.status {
        object.number("status", status.as_u16())?;
    }
    object.number("bytes", outcome.bytes)?;
    object.number("duration_us", record.duration.as_micros())?;
    object.bytes("referer", record.words.referer.as_deref())?;
    object.bytes("user_agent", record.words.user_agent.as_deref())?;
    if let Some(script) = &outcome.script {
        script_use(script, object)?;
    }
    if let Some(cause) = &outcome.cause {
        object.text("cause", cause)?;
    } else if !outcome.complete {
        object.text("cause", &"incomplete")?;
    }
    object.text("request_id", &record.id)
}

fn script_use(script: &ScriptUse, object: &mut Object) -> fmt::Result {
    let file = script.file.as_os_str().as_encoded_bytes();
    object.bytes("script", Some(file))?;
    object.bytes("exit", script.end.as_ref().map(String::as_bytes))?;
    object.bytes("killed", script.killed.as_ref().map(String::as_bytes))?;
    object.number("cpu_us", script.cpu_us)?;
    object.number("max_rss", script.max_rss_kib)
}

fn connection(record: &ConnectionRecord, object: &mut Object) -> fmt::Result {
    object.time(record.time)?;
    object.text("client", &record.remote)?;
    object.bytes("request_line", Some(&record.line))?;
    if let Some(status) = record.status {
        object.number("status", status)?;
    }
    object.text("cause", &record.reason)
}

/// An object without its end.
struct Object(String);

impl Object {
    fn time(&mut self, time: std::time::SystemTime) -> fmt::Result {
        match Timestamp::try_from(time) {
            Ok(time) => self.text("time", &format_args!("{time:.6}")),
            Err(_) => Ok(()),
        }
    }

    fn text(&mut self, name: &str, value: &dyn fmt::Display) -> fmt::Result {
        self.bytes(name, Some(value.to_string().as_bytes()))
    }

    fn bytes(&mut self, name: &str, value: Option<&[u8]>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.name(name)?;
        write!(self.0, "\"{}\"", Text(value))
    }

    fn number(&mut self, name: &str, value: impl fmt::Display) -> fmt::Result {
        self.name(name)?;
        write!(self.0, "{value}")
    }

    fn name(&mut self, name: &str) -> fmt::Result {
        let before = if self.0.is_empty() { '{' } else { ',' };
        write!(self.0, "{before}\"{name}\":")
    }
}

/// The inside of a string (RFC 8259 §7).
struct Text<'b>(&'b [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => write!(out, "\\{character}")?,
                    // All of these have four digits at most.
                    _ if is_invisible(character) => write!(out, "\\u{:04x}", u32::from(character))?,
                    _ => out.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_reads_as_what_came() {
        for (bytes, expected) in [
            (&b"plain / text"[..], "plain / text"),
            (b"\"\\\n\x1b\x7f", "\"\\\n\u{1b}\u{7f}"),
            (
                "Zo\u{eb} \u{202e} \u{1f600}".as_bytes(),
                "Zo\u{eb} \u{202e} \u{1f600}",
            ),
            (b"a\xffb\xc3", "a\\xffb\\xc3"),
        ] {
            let written = format!("\"{}\"", Text(bytes));
            assert!(!written.chars().any(is_invisible), "{written}");
            let read: String = serde_json::from_str(&written).unwrap();
            assert_eq!(read, expected);
        }
    }
}
