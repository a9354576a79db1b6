//! A configuration from text to [`Snapshot`].
//!
//! 1. `read`: the files, with `include`, their syntax errors and `version`.
//! 2. `tree`: one tree of all files, variables replaced; `later` takes out what is not yet there.
//! 3. `strict`: the tree as `raw`, what was written with its places.
//! 4. `compile`: checks, defaults and the handlers' options; `inherit` says which path keys reach
//!    which paths.
//!
//! Every stage reports all it finds to `findings`, and a stage does not judge what an earlier one
//! left out; a snapshot exists only when no error was found. Spans are global offsets into
//! `sources`, so that a value of any file names its place. A new key touches `raw`, `compile`, the
//! options it is for (`inherit` or `serving` where path keys inherit it), and a golden test.
//! `compare` says what one configuration changes in another.

#![forbid(unsafe_code)]

mod accounts;
pub mod compare;
mod compile;
pub mod diagnostic;
pub mod environment;
mod findings;
mod include;
mod inherit;
mod inspect;
mod later;
mod notation;
mod raw;
mod read;
mod running;
pub mod seen;
mod serving;
mod sources;
mod strict;
mod tree;
pub mod units;

use std::path::{Path, PathBuf};

use crate::{
    site::{Origin, Snapshot},
    transport::Listen,
};

pub use diagnostic::{Diagnostic, Report, Severity};
pub use findings::Mistake;
pub use seen::Seen;

use compare::Values;
use findings::Findings;
use raw::Raw;
use sources::Sources;

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, with what it includes.
    File(PathBuf),
    /// `pywebd serve DIR`: one site for every host.
    Directory {
        /// The root; made absolute by the command line.
        root: PathBuf,
        /// Where to listen.
        listen: Listen,
        /// Whether `/cgi-bin/`, `/htbin/` and `/ht-bin/` run programs.
        cgi: bool,
        /// Variables for those programs.
        env: Vec<(String, String)>,
    },
}

/// One value of the effective configuration, for `pywebd show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key, as TOML writes it: `limits.idle-timeout`, `site.example.path."/x/".cgi`.
    pub key: String,
    /// The value as TOML writes it.
    pub value: String,
    /// Where it was written; absent for a default.
    pub origin: Option<Origin>,
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The compiled configuration; absent when `report` has an error.
    pub snapshot: Option<Snapshot>,
    /// Errors and warnings, in the order of files and lines.
    pub report: Report,
    /// Every effective value.
    pub values: Values,
    /// All it was made from, also what is missing: what to watch.
    pub seen: Vec<Seen>,
}

/// What becomes of files of passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PasswordFiles {
    /// They are read.
    Read,
    /// They are not opened: nobody can pass.
    Ignored,
}

/// Reads, checks and compiles a configuration. `variables` resolves `${NAME}`.
pub fn load(source: &Source, variables: &dyn Fn(&str) -> Option<String>) -> Loaded {
    load_with(source, variables, PasswordFiles::Read)
}

/// The same for a process that asks nobody for a password and may not read those that are asked for.
pub fn load_without_passwords(
    source: &Source,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Loaded {
    load_with(source, variables, PasswordFiles::Ignored)
}

fn load_with(
    source: &Source,
    variables: &dyn Fn(&str) -> Option<String>,
    passwords: PasswordFiles,
) -> Loaded {
    match source {
        Source::File(path) => load_file(path, variables, passwords),
        Source::Directory {
            root,
            listen,
            cgi,
            env,
        } => {
            let keys: &[&str] = if *cgi { &SCRIPT_KEYS } else { &[] };
            let raw = Raw::directory(root, listen, keys, env);
            compiled(&raw, &Sources::default(), Findings::default(), passwords)
        }
    }
}

/// Where scripts are by old custom.
const SCRIPT_KEYS: [&str; 3] = ["/cgi-bin/", "/htbin/", "/ht-bin/"];

fn load_file(
    path: &Path,
    variables: &dyn Fn(&str) -> Option<String>,
    passwords: PasswordFiles,
) -> Loaded {
    let mut findings = Findings::default();
    let files = read::read(path, variables, &mut findings);
    let sources = &files.sources;
    let mut tree = tree::merged(sources, &files.intact, variables, &mut findings);
    later::remove(&mut tree, &mut findings);
    let raw = strict::raw(tree, &mut findings);
    let loaded = if files.incomplete {
        // What is missing may stand in the file that could not be read.
        Loaded {
            snapshot: None,
            report: findings.into_report(sources),
            values: Values::default(),
            seen: Vec::new(),
        }
    } else {
        compiled(&raw, sources, findings, passwords)
    };
    Loaded {
        seen: [files.seen, loaded.seen].concat(),
        ..loaded
    }
}

fn compiled(
    raw: &Raw,
    sources: &Sources,
    mut findings: Findings,
    passwords: PasswordFiles,
) -> Loaded {
    let compiled = compile::compile(raw, sources, &mut findings, passwords);
    Loaded {
        snapshot: (!findings.has_errors()).then_some(compiled.snapshot),
        report: findings.into_report(sources),
        values: compiled.values,
        seen: compiled.seen,
    }
}

#[cfg(test)]
mod tests;
