//! Records as entries of the journal, in its native protocol.
//!
//! Every value is written with its length in front, so no value, whatever its bytes, can add a
//! field of its own. Values are as they came; only `MESSAGE` is made for people.

use std::{fmt, io::Write};

use tracing::Level;

use crate::records::{
    AccessRecord, ConnectionRecord, Request, ScriptLine, ScriptUse,
    format::{Printable, terminal},
    message::Message,
    message_id,
};

/// syslog(3): informational.
const INFO: &str = "6";
/// syslog(3): warning.
const WARNING: &str = "4";
/// syslog(3): error.
const ERROR: &str = "3";
/// syslog(3): for those who look for a mistake.
const DEBUG: &str = "7";

/// Writes the entry of a request, or of a connection without one, to an empty buffer.
pub fn request(request: &Request, buffer: &mut Vec<u8>) {
    let mut entry = Entry(buffer);
    entry.field("SYSLOG_IDENTIFIER", "pywebd");
    match request {
        Request::Access(record) => access(&mut entry, record),
        Request::Connection(record) => connection(&mut entry, record),
    }
}

/// Writes the entry of a line of a script's stderr to an empty buffer.
pub fn script(record: &ScriptLine, buffer: &mut Vec<u8>) {
    let mut entry = Entry(buffer);
    entry.field("SYSLOG_IDENTIFIER", "pywebd");
    entry.field("PRIORITY", WARNING);
    entry.field("MESSAGE_ID", message_id::SCRIPT_STDERR);
    // With its name in front no line passes for the server's own.
    let name = record.script.file_name().unwrap_or_default();
    let (name, line) = (Printable(name.as_encoded_bytes()), Printable(&record.line));
    entry.display("MESSAGE", format_args!("{name}: {line}"));
    entry.bytes("PYWEBD_STDERR", &record.line);
    entry.display("PYWEBD_REQUEST_ID", record.request);
    entry.field("PYWEBD_SITE", &record.site);
    let script = record.script.as_os_str().as_encoded_bytes();
    entry.bytes("PYWEBD_SCRIPT", script);
    entry.display("PYWEBD_PID", record.pid);
}

/// Writes the entry of a message of the program that has this identifier to an empty buffer.
pub fn message(message: &Message, identifier: &str, buffer: &mut Vec<u8>) {
    let mut entry = Entry(buffer);
    entry.field("SYSLOG_IDENTIFIER", identifier);
    let priority = match message.level() {
        Level::ERROR => ERROR,
        Level::WARN => WARNING,
        Level::INFO => INFO,
        Level::DEBUG | Level::TRACE => DEBUG,
    };
    entry.field("PRIORITY", priority);
    for (name, value) in message.values() {
        // The text; the names of fields are the journal's already.
        let name = if name == "message" { "MESSAGE" } else { name };
        entry.field(name, value);
    }
}

/// Says to an empty buffer that so many messages were not taken.
pub fn dropped(count: u64, identifier: &str, buffer: &mut Vec<u8>) {
    let mut entry = Entry(buffer);
    entry.field("SYSLOG_IDENTIFIER", identifier);
    entry.field("PRIORITY", WARNING);
    entry.field("MESSAGE_ID", message_id::RECORDS_DROPPED);
    let said = format_args!("{count} messages were dropped: the journal did not take them");
    entry.display("MESSAGE", said);
    entry.display("PYWEBD_DROPPED", count);
}

fn access(entry: &mut Entry<'_>, record: &AccessRecord) {
    let outcome = &record.outcome;
    let status = outcome.status.map_or(0, |status| status.as_u16());
    entry.field("PRIORITY", if status >= 500 { ERROR } else { INFO });
    entry.field("MESSAGE_ID", message_id::ACCESS);
    entry.display("MESSAGE", terminal::Access::plain(record));
    entry.display("PYWEBD_CLIENT", record.connection.remote);
    entry.field("PYWEBD_REQUEST_LINE", &record.words.request_line);
    entry.display("PYWEBD_REQUEST_ID", record.id);
    entry.display("PYWEBD_STATUS", status);
    entry.display("PYWEBD_BYTES", outcome.bytes);
    entry.display("PYWEBD_DURATION_US", record.duration.as_micros());
    if let Some(site) = &outcome.site {
        entry.field("PYWEBD_SITE", site);
    }
    if let Some(user) = &outcome.user {
        entry.bytes("PYWEBD_USER", user);
    }
    for (name, value) in [
        ("PYWEBD_HOST", &record.words.host),
        ("PYWEBD_REFERER", &record.words.referer),
        ("PYWEBD_USER_AGENT", &record.words.user_agent),
    ] {
        if let Some(value) = value {
            entry.bytes(name, value);
        }
    }
    if let Some(script) = &outcome.script {
        script_use(entry, script);
    }
    if let Some(cause) = &outcome.cause {
        entry.display("PYWEBD_CAUSE", cause);
    } else if !outcome.complete {
        entry.field("PYWEBD_CAUSE", "incomplete");
    }
}

fn script_use(entry: &mut Entry<'_>, script: &ScriptUse) {
    entry.bytes("PYWEBD_SCRIPT", script.file.as_os_str().as_encoded_bytes());
    entry.display("PYWEBD_PID", script.pid);
    if let Some(end) = &script.end {
        entry.field("PYWEBD_EXIT", end);
    }
    if let Some(reason) = &script.killed {
        entry.field("PYWEBD_KILLED", reason);
    }
    entry.display("PYWEBD_CPU_US", script.cpu_us);
    entry.display("PYWEBD_MAX_RSS", script.max_rss_kib);
}

fn connection(entry: &mut Entry<'_>, record: &ConnectionRecord) {
    entry.field("PRIORITY", INFO);
    entry.field("MESSAGE_ID", message_id::CONNECTION);
    entry.display("MESSAGE", terminal::Connection(record));
    entry.display("PYWEBD_CLIENT", record.remote);
    entry.bytes("PYWEBD_REQUEST_LINE", &record.line);
    if let Some(status) = record.status {
        entry.display("PYWEBD_STATUS", status);
    }
    entry.field("PYWEBD_CAUSE", &record.reason);
}

/// An entry that is being written.
struct Entry<'b>(&'b mut Vec<u8>);

impl Entry<'_> {
    fn field(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.put(name, |buffer| buffer.extend_from_slice(value));
    }

    fn display(&mut self, name: &str, value: impl fmt::Display) {
        self.put(name, |buffer| {
            // Writing to memory does not fail.
            let _ = write!(buffer, "{value}");
        });
    }

    /// Adds a field; its length is known once its value is there.
    fn put(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        let length = self.0.len();
        self.0.extend_from_slice(&[0; 8]);
        let begin = self.0.len();
        value(self.0);
        let bytes = (self.0.len() - begin) as u64;
        self.0[length..begin].copy_from_slice(&bytes.to_le_bytes());
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_add_a_field() {
        let mut buffer = Vec::new();
        let mut entry = Entry(&mut buffer);
        entry.field("MESSAGE", "a\nPRIORITY=0");
        entry.display("A", 10);
        assert_eq!(
            buffer,
            b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\nA\n\x02\0\0\0\0\0\0\x0010\n"
        );
    }

    #[test]
    fn a_line_of_stderr_is_shown_behind_its_script_and_kept_as_it_came() {
        let entry_of = |line: &[u8]| {
            let mut buffer = Vec::new();
            script(&ScriptLine::of(line.to_vec()), &mut buffer);
            buffer
        };
        let has = |entry: &[u8], part: &[u8]| entry.windows(part.len()).any(|at| at == part);
        let plain = entry_of(b"\tFile \"a.py\" \\");
        assert!(has(&plain, b"a: \tFile \"a.py\" \\\n"));
        let binary: Vec<u8> = (0..=255).collect();
        let odd = entry_of(&binary);
        assert!(has(&odd, b"\\u{1b}"));
        assert!(has(
            &odd,
            &[b"PYWEBD_STDERR\n\0\x01\0\0\0\0\0\0", &binary[..], b"\n"].concat()
        ));
    }
}
