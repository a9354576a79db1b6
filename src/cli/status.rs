//! `pywebd status`: how the server that runs does, for people or as JSON.
//!
//! What is wrong comes first.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use crate::{
    cli::{Exit, arguments::Running, control, outcome::Outcome},
    records::format::terminal,
    server::{
        control::Request,
        listener::Origin,
        status::{Listening, ReloadResult, SiteStatus, Status, counted, grouped},
    },
};

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Text,
    /// What the server has answered.
    Json,
}

/// Asks a server how it does.
pub fn status(server: &Running, form: Form) -> Outcome {
    let answered = control::ask(server, Request::Status);
    if form == Form::Json || answered.exit != Exit::Success {
        return answered;
    }
    match serde_json::from_str(&answered.output) {
        Ok(status) => Outcome {
            output: text(&status),
            ..answered
        },
        Err(error) => Outcome {
            output: String::new(),
            findings: format!(
                "pywebd: the server is of another version and tells something else ({error}): \
                 restart it, or see what it tells with --json\n"
            ),
            exit: Exit::Unavailable,
        },
    }
}

fn text(status: &Status) -> String {
    let mut out = String::new();
    let written = problems(&mut out, status).and_then(|()| facts(&mut out, status));
    debug_assert!(written.is_ok(), "writing to a string does not fail");
    out
}

fn problems(out: &mut String, status: &Status) -> fmt::Result {
    if let Some(reload) = &status.last_reload
        && let ReloadResult::Failed { error } = &reload.result
    {
        let time = local(&reload.time);
        writeln!(out, "problem: the reload of {time} has failed: {error}")?;
    }
    if !status.launcher.reachable {
        writeln!(out, "problem: the launcher does not answer: no script runs")?;
    }
    if status.connections.open >= status.connections.limit {
        writeln!(
            out,
            "problem: new connections are turned away: no more may be open"
        )?;
    }
    for site in &status.sites {
        if site.scripts.running >= site.scripts.max_running {
            writeln!(
                out,
                "problem: as many scripts of site {} run as may, and others have to wait",
                site.name
            )?;
        }
    }
    for socket in &status.unused_sockets {
        writeln!(
            out,
            "problem: a socket on {socket} was passed that is not in `listen`"
        )?;
    }
    if status.records_dropped > 0 {
        let lost = counted(status.records_dropped, "record");
        writeln!(out, "problem: the log had no room for {lost}")?;
    }
    Ok(())
}

fn facts(out: &mut String, status: &Status) -> fmt::Result {
    let mut fact = |name: &str, value: &dyn fmt::Display| writeln!(out, "{name:<14} {value}");
    let since = duration(status.uptime_seconds);
    let process = format_args!(
        "pywebd {}, {}, running for {since}",
        status.version, status.pid
    )
    .to_string();
    fact("process", &process)?;
    let configuration = &status.configuration;
    let since = local(&configuration.in_force_since);
    fact(
        "configuration",
        &format_args!("{}, in force since {since}", configuration.source),
    )?;
    if let Some(reload) = &status.last_reload {
        let result = match &reload.result {
            ReloadResult::Done { changes } => counted(*changes as u64, "change"),
            ReloadResult::Failed { .. } => "failed".to_owned(),
        };
        fact(
            "last reload",
            &format_args!("{}, {result}", local(&reload.time)),
        )?;
    }
    let listeners: Vec<_> = status.listeners.iter().map(listening).collect();
    fact("listening on", &listeners.join(", "))?;
    let (open, limit) = (status.connections.open, status.connections.limit);
    let [open, limit] = [open, limit].map(|count| grouped(count as u64));
    fact("connections", &format_args!("{open} of {limit}"))?;
    fact("requests", &grouped(status.requests))?;
    fact("answers", &answers(status))?;
    fact("workers", &status.workers)?;
    let [used, size] = [status.cache.used, status.cache.size].map(mebibytes);
    fact("files kept", &format_args!("{used} of {size} MiB"))?;
    fact("launcher", &launcher(status))?;
    for site in &status.sites {
        fact("site", &of_site(site))?;
    }
    Ok(())
}

fn listening(listening: &Listening) -> String {
    let origin = match listening.origin {
        Origin::Own => "",
        Origin::Stored => " (kept by systemd)",
        Origin::Passed => " (from systemd)",
    };
    format!("{}{origin}", listening.address)
}

fn answers(status: &Status) -> String {
    let counted = status.answers.iter().filter(|(_, count)| **count > 0);
    let counted: Vec<_> = counted
        .map(|(class, count)| format!("{} {class}", grouped(*count)))
        .collect();
    match &*counted {
        [] => "none".to_owned(),
        _ => counted.join(", "),
    }
}

fn launcher(status: &Status) -> String {
    let state = if status.launcher.reachable {
        "there"
    } else {
        "not there"
    };
    match status.launcher.restarts {
        None => format!("{state}, a service of its own"),
        Some(0) => state.to_owned(),
        Some(times) => format!("{state}, started again {}", counted(times, "time")),
    }
}

fn of_site(site: &SiteStatus) -> String {
    let scripts = &site.scripts;
    format!(
        "{}: {}; scripts: {} of {} running, {} of {} waiting",
        site.name,
        site.hosts.join(", "),
        scripts.running,
        scripts.max_running,
        scripts.queued,
        scripts.max_queued
    )
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} {} h", counted(days, "day"), hours % 24),
    }
}

/// With one digit behind the point.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}

/// A time as it stands in logs.
fn local(time: &str) -> String {
    let parsed = time.parse::<jiff::Timestamp>();
    parsed.map_or(time.to_owned(), |time| {
        terminal::time(SystemTime::from(time))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3600, "1 h 0 min"),
            (90_000, "1 day 1 h"),
            (31 * 86400, "31 days 0 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn memory_is_told_in_mebibytes() {
        for (bytes, text) in [(0, "0.0"), (1 << 19, "0.5"), (3 << 30, "3,072.0")] {
            assert_eq!(mebibytes(bytes), text);
        }
    }
}
