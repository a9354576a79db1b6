//! Records as entries of the journal, in its native protocol.
//!
//! Every value is written with its length in front, so no value, whatever its bytes, can add a
//! field of its own.

use std::fmt::Write;

use http::header::{HOST, REFERER, USER_AGENT};

use crate::records::{
    AccessRecord, ConnectionRecord, Record, Request, ScriptLine, ScriptUse,
    format::{RequestLine, field, terminal},
};

/// syslog(3): informational.
const INFO: &str = "6";
/// syslog(3): warning.
const WARNING: &str = "4";
/// syslog(3): error.
const ERROR: &str = "3";

/// What every access record has as its `MESSAGE_ID`.
const ACCESS: &str = "096eb3214eea45cfb2b184240dbe186d";

/// How much of a value is kept; a journal entry larger than a datagram would be lost.
const VALUE: usize = 8 * 1024;

/// The datagram for a record.
pub fn entry(record: &Record) -> Vec<u8> {
    let mut entry = Entry(Vec::with_capacity(512));
    entry.field("SYSLOG_IDENTIFIER", "pywebd");
    match record {
        Record::Request(Request::Access(record)) => access(&mut entry, record),
        Record::Request(Request::Connection(record)) => connection(&mut entry, record),
        Record::Script(record) => script(&mut entry, record),
        Record::Message(text) => entry.bytes("MESSAGE", text.trim_ascii_end()),
    }
    entry.0
}

fn access(entry: &mut Entry, record: &AccessRecord) {
    let outcome = &record.outcome;
    let status = outcome.status.map_or(0, |status| status.as_u16());
    entry.field("PRIORITY", if status >= 500 { ERROR } else { INFO });
    entry.field("MESSAGE_ID", ACCESS);
    let mut message = String::with_capacity(160);
    // Writing to a string does not fail; the colors of the terminal are taken out.
    let _ = terminal::message(record, &mut message);
    entry.display("MESSAGE", anstream::adapter::strip_str(&message));
    entry.display("PYWEBD_CLIENT", record.connection.remote);
    entry.display("PYWEBD_REQUEST_LINE", RequestLine(record));
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
    for (name, header) in [
        ("PYWEBD_HOST", HOST),
        ("PYWEBD_REFERER", REFERER),
        ("PYWEBD_USER_AGENT", USER_AGENT),
    ] {
        if let Some(value) = field(record, &header) {
            entry.bytes(name, value);
        }
    }
    if let Some(script) = &outcome.script {
        script_use(entry, script);
    }
}

fn script_use(entry: &mut Entry, script: &ScriptUse) {
    entry.bytes("PYWEBD_SCRIPT", script.file.as_os_str().as_encoded_bytes());
    if let Some(end) = &script.end {
        entry.field("PYWEBD_EXIT", end);
    }
    entry.display("PYWEBD_CPU_US", script.cpu_us);
    entry.display("PYWEBD_MAX_RSS", script.max_rss_kib);
}

fn connection(entry: &mut Entry, record: &ConnectionRecord) {
    entry.field("PRIORITY", INFO);
    let mut message = String::new();
    // Writing to a string does not fail.
    let _ = terminal::connection_message(record, &mut message);
    entry.field("MESSAGE", &message);
    entry.display("PYWEBD_CLIENT", record.remote);
    entry.bytes("PYWEBD_REQUEST_LINE", &record.line);
    if let Some(status) = record.status {
        entry.display("PYWEBD_STATUS", status);
    }
}

fn script(entry: &mut Entry, record: &ScriptLine) {
    entry.field("PRIORITY", WARNING);
    entry.bytes("MESSAGE", &record.line);
    entry.display("PYWEBD_REQUEST_ID", record.request);
    entry.field("PYWEBD_SITE", &record.site);
    entry.bytes(
        "PYWEBD_SCRIPT",
        record.script.as_os_str().as_encoded_bytes(),
    );
    entry.display("PYWEBD_PID", record.pid);
}

struct Entry(Vec<u8>);

impl Entry {
    fn field(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    fn display(&mut self, name: &str, value: impl std::fmt::Display) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value}");
        self.field(name, &text);
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        let value = &value[..value.len().min(VALUE)];
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0
            .extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_add_a_field() {
        let mut entry = Entry(Vec::new());
        entry.field("MESSAGE", "a\nPRIORITY=0");
        assert_eq!(entry.0, b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }
}
