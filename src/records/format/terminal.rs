//! Records as lines for people.

use std::{
    fmt::{self, Write},
    time::{Duration, SystemTime},
};

use anstyle::{AnsiColor, Style};
use http::StatusCode;

use crate::records::{
    AccessRecord, ConnectionRecord, Record, Request, ScriptLine, ScriptUse,
    format::{Line, RequestLine},
};

/// A record as one line, with its end. Colors are for the writer to take out where they do not
/// belong.
pub fn line(record: &Record) -> String {
    let mut line = String::with_capacity(160);
    let written = match record {
        Record::Request(Request::Access(record)) => access(&mut line, record),
        Record::Request(Request::Connection(record)) => connection(&mut line, record),
        Record::Script(record) => script(&mut line, record),
        Record::Message(text) => line.write_str(String::from_utf8_lossy(text).trim_end()),
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
    line.push('\n');
    line
}

/// A time as it stands at the beginning of a line: local, to the second.
pub fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_zoned(jiff::tz::TimeZone::system()))
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// What stands in the journal as `MESSAGE`, and on a terminal after the time.
pub fn message(record: &AccessRecord, out: &mut impl Write) -> fmt::Result {
    let outcome = &record.outcome;
    let request = RequestLine(record).to_string();
    let remote = record.connection.remote;
    write!(out, "{remote} \"{}\" ", Line(request.as_bytes()))?;
    match outcome.status {
        Some(status) => {
            let style = color(status);
            write!(out, "{style}{}{style:#}", status.as_u16())?;
        }
        None => out.write_char('-')?,
    }
    write!(out, " {} {}", outcome.bytes, Milliseconds(record.duration))?;
    if let Some(script) = &outcome.script {
        script_use(out, script)?;
    }
    if let Some(cause) = &outcome.cause {
        write!(out, " ({})", Line(cause.to_string().as_bytes()))?;
    } else if !outcome.complete {
        out.write_str(" (incomplete)")?;
    }
    Ok(())
}

fn access(out: &mut String, record: &AccessRecord) -> fmt::Result {
    write!(out, "{} ", time(record.time))?;
    message(record, out)
}

fn script_use(out: &mut impl Write, script: &ScriptUse) -> fmt::Result {
    let end = script.end.as_deref().unwrap_or("still running");
    if end != "exit status 0" {
        write!(out, " [{end}]")?;
    }
    match &script.killed {
        Some(reason) => {
            let (milliseconds, kib) = (script.cpu_us / 1000, script.max_rss_kib);
            write!(
                out,
                " [killed: {reason}] [{milliseconds} ms of processor time, {kib} KiB]"
            )
        }
        None => Ok(()),
    }
}

/// What stands for a connection without a request, after the time.
pub fn connection_message(record: &ConnectionRecord, out: &mut impl Write) -> fmt::Result {
    write!(out, "{} \"{}\" ", record.remote, Line(&record.line))?;
    match record.status {
        Some(status) => write!(out, "{status}")?,
        None => out.write_char('-')?,
    }
    write!(out, " ({})", Line(record.reason.as_bytes()))
}

fn connection(out: &mut String, record: &ConnectionRecord) -> fmt::Result {
    write!(out, "{} ", time(record.time))?;
    connection_message(record, out)
}

fn script(out: &mut String, record: &ScriptLine) -> fmt::Result {
    let name = record.script.file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    write!(
        out,
        "{} {}[{}]: {}",
        time(record.time),
        Line(name.as_bytes()),
        record.pid,
        Line(&record.line)
    )
}

fn color(status: StatusCode) -> Style {
    let color = match status.as_u16() / 100 {
        2 => AnsiColor::Green,
        3 => AnsiColor::Cyan,
        4 => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    color.on_default()
}

struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_micros() / 100;
        write!(out, "{}.{}ms", tenths / 10, tenths % 10)
    }
}
