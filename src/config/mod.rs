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
mod looks;
mod notation;
mod raw;
mod read;
mod running;
pub mod seen;
mod serving;
mod sources;
mod strict;
mod texts;
mod tree;
pub mod units;
pub mod values;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::{
    site::{Origin, Snapshot},
    transport::Listen,
};

pub use diagnostic::{Diagnostic, Report, Severity};
pub use findings::Mistake;
pub use seen::Seen;
pub use values::Values;

use findings::Findings;
use raw::Raw;
use sources::Sources;
use texts::Texts;

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

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Who answers requests, or speaks to a person.
    Server,
    /// Who starts scripts. It asks nobody for a password and may not read those that are asked for: such
    /// files are not opened, and nobody can pass. What is named is not looked at: the server has done so
    /// just before, and whatever is started is looked at then. Values are not recorded.
    Launcher,
}

/// Reads, checks and compiles a configuration. `variables` resolves `${NAME}`.
pub fn load(source: &Source, variables: &dyn Fn(&str) -> Option<String>) -> Loaded {
    load_with(source, variables, Reader::Server)
}

/// The same for the process that starts scripts: less, since it asks nobody for a password, and looks at
/// a script when it starts it.
pub fn load_for_launcher(source: &Source, variables: &dyn Fn(&str) -> Option<String>) -> Loaded {
    load_with(source, variables, Reader::Launcher)
}

fn load_with(
    source: &Source,
    variables: &dyn Fn(&str) -> Option<String>,
    reader: Reader,
) -> Loaded {
    match source {
        Source::File(path) => load_file(path, variables, reader),
        Source::Directory {
            root,
            listen,
            cgi,
            env,
        } => {
            let keys: &[&str] = if *cgi { &SCRIPT_KEYS } else { &[] };
            let raw = Raw::directory(root, listen, keys, env);
            compiled(&raw, &Sources::default(), Findings::default(), reader)
        }
    }
}

/// Where scripts are by old custom.
const SCRIPT_KEYS: [&str; 3] = ["/cgi-bin/", "/htbin/", "/ht-bin/"];

fn load_file(path: &Path, variables: &dyn Fn(&str) -> Option<String>, reader: Reader) -> Loaded {
    let mut findings = Findings::default();
    let texts = Texts::default();
    let files = read::read(path, &texts, variables, &mut findings);
    let sources = &files.sources;
    let (bases, trees): (Vec<_>, Vec<_>) = files.intact.into_iter().unzip();
    let tree = merged(trees, sources, &mut findings);
    let again = || {
        let parsed = bases.iter().map(|&base| {
            let (table, _) = DeTable::parse_recoverable(sources.text(base));
            let table = table.into_inner();
            tree::adopted(table, base, variables, &mut Findings::default())
        });
        merged(parsed.collect(), sources, &mut Findings::default())
    };
    let raw = strict::raw(tree, &again, &mut findings);
    let loaded = if files.incomplete {
        // What is missing may stand in the file that could not be read.
        Loaded {
            snapshot: None,
            report: findings.into_report(sources),
            values: Values::default(),
            seen: Vec::new(),
        }
    } else {
        compiled(&raw, sources, findings, reader)
    };
    Loaded {
        seen: files.seen.into_iter().chain(loaded.seen).collect(),
        ..loaded
    }
}

fn merged<'t>(trees: Vec<DeTable<'t>>, sources: &Sources, findings: &mut Findings) -> DeTable<'t> {
    let mut tree = tree::merged(sources, trees, findings);
    later::remove(&mut tree, findings);
    tree
}

fn compiled(raw: &Raw, sources: &Sources, mut findings: Findings, reader: Reader) -> Loaded {
    let compiled = compile::compile(raw, sources, &mut findings, reader);
    Loaded {
        snapshot: (!findings.has_errors()).then_some(compiled.snapshot),
        report: findings.into_report(sources),
        values: compiled.values,
        seen: compiled.seen,
    }
}

#[cfg(test)]
mod tests;
