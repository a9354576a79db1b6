//! Keys of a site's rules that this version does not act on yet. Using one is an error that says so;
//! a key that begins to work moves from here to `raw`.

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::findings::{Findings, Mistake};

const LATER: [&str; 6] = [
    // Verbs.
    "fastcgi",
    "proxy",
    // Options.
    "max-queued",
    "max-running",
    "request-body-size",
    "warm",
];

/// Reports and removes every key of a later version.
pub(super) fn remove(tree: &mut DeTable<'_>, findings: &mut Findings) {
    for (site, table) in tables_in(tree, "site") {
        for (pattern, rule) in tables_in(table, "path") {
            for key in LATER {
                if let Some((key, _)) = rule.remove_entry(key) {
                    let message = format!("`{}` is not in this version of pywebd", key.get_ref());
                    findings.error(&key.span(), Mistake::new(message));
                    let path = ["site", &site, "path", &pattern];
                    findings.note_incomplete(&path.map(str::to_owned));
                }
            }
        }
    }
}

/// The tables in the table of this name, with their own names.
fn tables_in<'t, 's>(
    table: &'t mut DeTable<'s>,
    name: &str,
) -> impl Iterator<Item = (String, &'t mut DeTable<'s>)> {
    let entries = match table.get_mut(name).map(Spanned::get_mut) {
        Some(DeValue::Table(table)) => Some(table.iter_mut()),
        _ => None,
    };
    let entries = entries.into_iter().flatten();
    entries.filter_map(|(name, value)| match value.get_mut() {
        DeValue::Table(table) => Some((name.get_ref().to_string(), table)),
        _ => None,
    })
}
