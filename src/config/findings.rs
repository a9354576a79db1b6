//! What the stages find while they go on: severity, words and a span, turned into a [`Report`] in
//! the order of files and lines at the end.

use std::collections::HashSet;

use crate::config::{
    diagnostic::{Diagnostic, Report, Severity},
    sources::{Sources, Span},
};

/// Stands in no key that somebody writes.
const JOINT: &str = "\0";

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    findings: Vec<Finding>,
    /// Paths of tables, joined.
    incomplete: HashSet<String>,
}

/// One finding, before its place is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    severity: Severity,
    message: String,
    help: Option<String>,
    span: Span,
}

/// What is wrong with one value, from a parser that does not know where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

impl Findings {
    /// Adds an error.
    pub fn error(&mut self, span: &Span, mistake: Mistake) {
        self.add(Severity::Error, span, mistake);
    }

    /// Adds a warning.
    pub fn warning(&mut self, span: &Span, mistake: Mistake) {
        self.add(Severity::Warning, span, mistake);
    }

    fn add(&mut self, severity: Severity, span: &Span, mistake: Mistake) {
        self.findings.push(Finding {
            severity,
            message: mistake.message,
            help: mistake.help,
            span: span.clone(),
        });
    }

    /// Takes the value of a result, or adds its mistake.
    pub fn accept<T>(&mut self, span: &Span, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.error(span, mistake)).ok()
    }

    /// Notes that an entry of this table was reported and left out: what is missing there is not
    /// to be reported a second time.
    pub fn note_incomplete(&mut self, table: &[String]) {
        self.incomplete.insert(table.join(JOINT));
    }

    /// Whether an entry of this very table was left out.
    pub fn is_incomplete(&self, table: &[&str]) -> bool {
        !self.incomplete.is_empty() && self.incomplete.contains(&table.join(JOINT))
    }

    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// The report, in the order of files and lines.
    pub fn into_report(mut self, sources: &Sources) -> Report {
        self.findings.sort_by_key(|finding| finding.span.start);
        self.findings.dedup();
        let diagnostic = |finding: Finding| Diagnostic {
            severity: finding.severity,
            message: finding.message,
            help: finding.help,
            place: sources.place(&finding.span),
        };
        Report {
            diagnostics: self.findings.into_iter().map(diagnostic).collect(),
        }
    }
}
