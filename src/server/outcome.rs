//! What is told of a reload: in the log, in the unit's status, and to whoever has asked for it.

use std::time::SystemTime;

use crate::{
    config::{
        self, Diagnostic, Report, Severity, Values,
        compare::{self, Change, compare},
    },
    records::message_id,
    server::{
        control::{Answer, Ending},
        reload::ReloadError,
        status::{Status, counted},
    },
};

/// Changes that the log names of one reload.
const LOGGED: usize = 50;

/// Changes that whoever asks is told.
const ANSWERED: usize = 1000;

/// Characters of an error in the status of the unit.
const STATUS: usize = 200;

/// What is answered where a reload has changed nothing, as after one by the watch.
pub const UNCHANGED: &str = "nothing has changed: this configuration is in force already";

/// The last reload.
#[derive(Debug)]
pub struct Latest {
    /// When it has ended.
    pub time: SystemTime,
    /// How many values have changed, or the first error.
    pub outcome: Result<usize, String>,
}

impl Latest {
    /// One that has put these changes in force.
    pub fn done(time: SystemTime, changes: &[Change]) -> Self {
        let outcome = Ok(changes.len());
        Self { time, outcome }
    }

    /// One that has failed.
    pub fn failed(time: SystemTime, error: &ReloadError) -> Self {
        let outcome = Err(error.brief());
        Self { time, outcome }
    }
}

/// How the server does, as JSON.
pub fn status(status: &Status) -> Answer {
    let json = serde_json::to_string_pretty(status);
    Answer {
        ending: Ending::Done,
        output: json.unwrap_or_default() + "\n",
        findings: String::new(),
    }
}

/// What a reload would change; nothing is put in force.
pub fn preview(source: &config::Source, values: &Values) -> Answer {
    let loaded = config::load(source, &config::environment::variable);
    if loaded.snapshot.is_none() {
        return ReloadError::Configuration(loaded.report).answer();
    }
    let changes = compare(values, &loaded.values);
    answer(&changes, &loaded.report, "a reload would change nothing")
}

/// Writes down what a reload has changed.
pub fn log(changes: &[Change], report: &Report) {
    for warning in &report.diagnostics {
        tracing::warn!("{warning}");
    }
    let count = match changes.len() {
        0 => "no value has changed".to_owned(),
        count => counted(count as u64, "change"),
    };
    tracing::info!(
        MESSAGE_ID = message_id::RELOADED,
        "configuration reloaded: {count}"
    );
    for line in compare::lines(changes, LOGGED) {
        tracing::info!("{line}");
    }
}

/// Tells what has changed or would.
pub fn answer(changes: &[Change], report: &Report, unchanged: &str) -> Answer {
    let lines = match changes {
        [] => vec![unchanged.to_owned()],
        _ => compare::lines(changes, ANSWERED),
    };
    Answer {
        ending: Ending::Done,
        output: lines.join("\n") + "\n",
        findings: report.render(),
    }
}

impl ReloadError {
    /// Tells whoever asked for it, with all there is to know.
    pub fn answer(&self) -> Answer {
        let (ending, findings) = match self {
            Self::Configuration(report) => (Ending::Configuration, report.render()),
            Self::Refused(error) if error.is_permission() => {
                (Ending::Permission, format!("pywebd: {self}\n"))
            }
            Self::Refused(_) => (Ending::Refused, format!("pywebd: {self}\n")),
            Self::Launcher(_) => (Ending::Launcher, format!("pywebd: {self}\n")),
        };
        Answer {
            ending,
            output: String::new(),
            findings: findings + "pywebd: the configuration in force stays as it is\n",
        }
    }

    /// Tells the log, of many errors the first.
    pub fn log(&self) {
        let all = self.to_string();
        for line in all.lines().take(LOGGED) {
            tracing::error!(
                MESSAGE_ID = message_id::RELOAD_FAILED,
                "configuration not reloaded: {line}"
            );
        }
        let more = all.lines().count().saturating_sub(LOGGED);
        if more > 0 {
            tracing::error!(
                MESSAGE_ID = message_id::RELOAD_FAILED,
                "configuration not reloaded: and {more} more; see `pywebd check`"
            );
        }
    }

    /// A line: the first error, and how many more there are.
    fn brief(&self) -> String {
        let (error, more) = match self {
            Self::Configuration(report) => {
                let is_error = |finding: &&Diagnostic| finding.severity == Severity::Error;
                let first = report.diagnostics.iter().find(is_error);
                let first = first.map(Diagnostic::to_string).unwrap_or_default();
                (first, report.count(Severity::Error).saturating_sub(1))
            }
            Self::Refused(_) | Self::Launcher(_) => (self.to_string(), 0),
        };
        let error: String = error.chars().take(STATUS).collect();
        match more {
            0 => error,
            _ => format!("{error} (and {})", counted(more as u64, "more error")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str, severity: Severity) -> Diagnostic {
        Diagnostic {
            severity,
            message: message.to_owned(),
            help: None,
            place: None,
        }
    }

    #[test]
    fn the_status_is_the_first_error_cut_to_a_line_and_counts_the_others() {
        let status = |diagnostics| ReloadError::Configuration(Report { diagnostics }).brief();
        let warning = error("odd", Severity::Warning);
        let [first, second] = ["first", "second"].map(|message| error(message, Severity::Error));
        let more = " (and 1 more error)";
        assert_eq!(
            status(vec![warning, first, second]),
            format!("error: first{more}")
        );
        let long = status(vec![error(&"é".repeat(9000), Severity::Error)]);
        assert!(long.chars().count() < STATUS + 20, "{long}");
    }
}
