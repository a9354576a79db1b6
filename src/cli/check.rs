//! `pywebd check`: every error and warning of a configuration.

use crate::{
    cli::{Exit, outcome::Outcome},
    config::{self, Report, Severity, Source, environment},
};

/// What a warning does to the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warnings {
    /// Nothing.
    Pass,
    /// It fails the check (`--strict`).
    Fail,
}

/// Loads a configuration and says what is wrong with it.
pub fn check(source: &Source, warnings: Warnings) -> Outcome {
    let loaded = config::load(source, &environment::variable);
    let report = &loaded.report;
    let fails =
        report.has_errors() || (warnings == Warnings::Fail && report.count(Severity::Warning) > 0);
    Outcome {
        output: match &loaded.snapshot {
            Some(snapshot) => format!("{}; {}\n", count(snapshot.sites.len(), "site"), sum(report)),
            None => String::new(),
        },
        findings: match loaded.snapshot {
            Some(_) => report.render(),
            None => format!("{}{}\n", report.render(), sum(report)),
        },
        exit: if fails { Exit::Config } else { Exit::Success },
    }
}

/// `2 errors, 1 warning`
fn sum(report: &Report) -> String {
    let errors = report.count(Severity::Error);
    let warnings = report.count(Severity::Warning);
    match (errors, warnings) {
        (0, 0) => "nothing is wrong".into(),
        (0, _) => count(warnings, "warning"),
        (_, 0) => count(errors, "error"),
        _ => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
