//! Records as lines for people.

use std::{
    fmt::{self, Write},
    time::{Duration, SystemTime},
};

use anstyle::{AnsiColor, Style};
use http::StatusCode;

use crate::records::{
    AccessRecord, ConnectionRecord, Request, ScriptLine, ScriptUse,
    format::{Escaping, Line},
};

/// A request, or a connection without one, as a line with its end. Colors are for the writer to take
/// out where they do not belong.
pub fn request(request: &Request) -> String {
    let mut line = String::with_capacity(160);
    let written = match request {
        Request::Access(record) => {
            writeln!(line, "{} {}", time(record.time), Access::colored(record))
        }
        Request::Connection(record) => {
            writeln!(line, "{} {}", time(record.time), Connection(record))
        }
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
    line
}

/// A line of a script's stderr, with its end.
pub fn script(record: &ScriptLine) -> String {
    let name = record.script.file_name().unwrap_or_default();
    let name = Line(name.as_encoded_bytes()).to_string();
    let (time, line) = (time(record.time), Line(&record.line));
    format!("{time} {name}[{}]: {line}\n", record.pid)
}

/// A time as it stands at the beginning of a line: local, to the second.
pub fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_zoned(jiff::tz::TimeZone::system()))
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// What stands in the journal as `MESSAGE` of a request, and on a terminal after the time.
pub struct Access<'r> {
    record: &'r AccessRecord,
    style: Style,
}

impl<'r> Access<'r> {
    /// Without a color.
    pub fn plain(record: &'r AccessRecord) -> Self {
        let style = Style::new();
        Self { record, style }
    }

    fn colored(record: &'r AccessRecord) -> Self {
        let style = record.outcome.status.map(color).unwrap_or_default();
        Self { record, style }
    }
}

impl fmt::Display for Access<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, style } = self;
        let outcome = &record.outcome;
        let line = Line(record.words.request_line.as_bytes());
        write!(out, "{} \"{line}\" ", record.connection.remote)?;
        match outcome.status {
            Some(status) => write!(out, "{style}{}{style:#}", status.as_u16())?,
            None => out.write_char('-')?,
        }
        write!(out, " {} {}", outcome.bytes, Milliseconds(record.duration))?;
        if let Some(script) = &outcome.script {
            script_use(out, script)?;
        }
        if let Some(cause) = &outcome.cause {
            out.write_str(" (")?;
            write!(Escaping(out), "{cause}")?;
            out.write_char(')')?;
        } else if !outcome.complete {
            out.write_str(" (incomplete)")?;
        }
        Ok(())
    }
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
pub struct Connection<'r>(pub &'r ConnectionRecord);

impl fmt::Display for Connection<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        write!(out, "{} \"{}\" ", record.remote, Line(&record.line))?;
        match record.status {
            Some(status) => write!(out, "{status}")?,
            None => out.write_char('-')?,
        }
        write!(out, " ({})", Line(record.reason.as_bytes()))
    }
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
