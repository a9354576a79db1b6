//! Keys of the schema that this version does not act on yet. Using one is an error that says so;
//! a key that begins to work moves from here to `raw`.

use toml::de::{DeTable, DeValue};

use crate::config::findings::{Findings, Mistake};

/// Keys by the table they stand in, where `*` is any name.
const LATER: [(&[&str], &[&str]); 1] = [(
    &["site", "*", "path", "*"],
    &[
        // Verbs.
        "fastcgi",
        "proxy",
        // Options.
        "max-queued",
        "max-running",
        "request-body-size",
        "warm",
    ],
)];

/// Reports and removes every key of a later version.
pub(super) fn remove(tree: &mut DeTable<'_>, findings: &mut Findings) {
    remove_below(tree, &mut Vec::new(), findings);
}

fn remove_below(table: &mut DeTable<'_>, path: &mut Vec<String>, findings: &mut Findings) {
    for key in later_keys(path) {
        if let Some((key, _)) = table.remove_entry(*key) {
            let message = format!("`{}` is not in this version of pywebd", key.get_ref());
            findings.error(&key.span(), Mistake::new(message));
            findings.note_incomplete(path);
        }
    }
    for (key, value) in table.iter_mut() {
        if let DeValue::Table(table) = value.get_mut() {
            path.push(key.get_ref().to_string());
            remove_below(table, path, findings);
            path.pop();
        }
    }
}

fn later_keys(path: &[String]) -> &'static [&'static str] {
    let is_here = |table: &[&str]| {
        table.len() == path.len()
            && table
                .iter()
                .zip(path)
                .all(|(wanted, name)| *wanted == "*" || *wanted == name)
    };
    LATER
        .iter()
        .find(|(table, _)| is_here(table))
        .map_or(&[], |(_, keys)| keys)
}
