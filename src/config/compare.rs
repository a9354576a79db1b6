//! What one configuration changes in another, a line for each difference.
//!
//! It is the effective values that are compared: what is written elsewhere or in other words makes
//! no difference. What holds for several paths of a site and changes alike is told once. Values of
//! `env` may be secrets and are never told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::config::{
    diagnostic::Printable,
    values::{Section, Values},
};

/// Longer values are cut.
const SHOWN_VALUE: usize = 160;

/// So many other paths with the same change are named.
const SHOWN_PATHS: usize = 3;

/// One difference. Its `Display` is a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The site as `site.example`, or another table; for a file's content, the file.
    pub table: String,
    /// The path key of a site, as TOML writes it, where it is about one.
    pub path: Option<String>,
    /// The dotted key; empty when the table or the path key as a whole is meant.
    pub key: String,
    /// What is different.
    pub difference: Difference,
    /// Other path keys of the site for which the same is different.
    pub also: Vec<String>,
}

/// What is different. A value that is not to be told is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It was not there.
    Added(Option<String>),
    /// It is not there any more.
    Removed(Option<String>),
    /// It was the first value and is the second.
    Changed(Option<(String, String)>),
    /// The content of a file is another.
    Content,
}

/// What `new` changes in `old`, in the order of tables, paths and keys.
pub fn compare(old: &Values, new: &Values) -> Vec<Change> {
    let (old_tables, new_tables) = (tables(old), tables(new));
    let mut changes = Vec::new();
    for table in union(&old_tables, &new_tables) {
        match (old_tables.get(table), new_tables.get(table)) {
            (Some(old), Some(new)) if is_same(old, new) => {}
            (Some(old), Some(new)) => {
                changes.extend(changes_of_table(table, &by_path(old), &by_path(new)));
            }
            (old, _) => changes.push(whole(table, None, old.is_some())),
        }
    }
    changes.extend(changed_contents(old, new));
    changes
}

/// The changes as lines, at most so many and one that says how many more there are.
pub fn lines(changes: &[Change], most: usize) -> Vec<String> {
    let mut lines: Vec<_> = changes.iter().take(most).map(Change::to_string).collect();
    if changes.len() > most {
        lines.push(format!("and {} more", changes.len() - most));
    }
    lines
}

/// A table by its path keys; what is not in one stands at `None`.
type Table<'s> = BTreeMap<Option<&'s str>, Keys<'s>>;

type Keys<'s> = BTreeMap<&'s str, Held>;

/// The value of a key.
#[derive(Debug, Default)]
struct Held {
    text: String,
    /// Whether it is more than a default.
    is_written: bool,
}

fn tables(values: &Values) -> BTreeMap<&str, Vec<&Section>> {
    let mut tables: BTreeMap<&str, Vec<&Section>> = BTreeMap::new();
    for section in values.sections() {
        tables.entry(&section.table).or_default().push(section);
    }
    tables
}

/// Of thousands of sites most are as they were.
fn is_same(old: &[&Section], new: &[&Section]) -> bool {
    let mut pairs = old.iter().zip(new);
    old.len() == new.len() && pairs.all(|(old, new)| old.says_the_same(new))
}

fn by_path<'s>(sections: &[&'s Section]) -> Table<'s> {
    let mut table = Table::new();
    for section in sections {
        let keys = table.entry(section.path.as_deref()).or_default();
        for entry in section.held() {
            let held = keys.entry(entry.key).or_default();
            // Restrictions of several keys hold together, each with a line of its own.
            if !held.text.is_empty() {
                held.text.push_str(" and ");
            }
            held.text.push_str(entry.value);
            held.is_written |= entry.origin.is_some();
        }
    }
    table
}

fn union<'m, K: Ord, V>(old: &'m BTreeMap<K, V>, new: &'m BTreeMap<K, V>) -> BTreeSet<&'m K> {
    old.keys().chain(new.keys()).collect()
}

fn whole(table: &str, path: Option<&str>, is_removed: bool) -> Change {
    Change {
        table: table.to_owned(),
        path: path.map(str::to_owned),
        key: String::new(),
        difference: if is_removed {
            Difference::Removed(None)
        } else {
            Difference::Added(None)
        },
        also: Vec::new(),
    }
}

fn changes_of_table(table: &str, old: &Table<'_>, new: &Table<'_>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for path in union(old, new) {
        let (old, new) = match (old.get(path), new.get(path)) {
            (Some(old), Some(new)) => (old, new),
            (old, _) => {
                changes.push(whole(table, *path, old.is_some()));
                continue;
            }
        };
        for key in union(old, new) {
            let Some(difference) = difference(key, old.get(key), new.get(key)) else {
                continue;
            };
            let same = changes.iter_mut().find(|change| {
                path.is_some()
                    && change.path.is_some()
                    && change.key == *key
                    && change.difference == difference
            });
            match (same, path) {
                (Some(change), Some(path)) => change.also.push((*path).to_owned()),
                _ => changes.push(Change {
                    table: table.to_owned(),
                    path: path.map(str::to_owned),
                    key: (*key).to_owned(),
                    difference,
                    also: Vec::new(),
                }),
            }
        }
    }
    changes
}

/// A default that begins or ceases to hold follows from another change.
fn difference(key: &str, old: Option<&Held>, new: Option<&Held>) -> Option<Difference> {
    let is_secret = key.starts_with("env.");
    let told = |held: &Held| (!is_secret).then(|| held.text.clone());
    match (old, new) {
        (Some(old), Some(new)) if old.text != new.text => {
            Some(Difference::Changed(told(old).zip(told(new))))
        }
        (Some(old), None) if old.is_written => Some(Difference::Removed(told(old))),
        (None, Some(new)) if new.is_written => Some(Difference::Added(told(new))),
        _ => None,
    }
}

/// Files that are read by both and say something else now.
fn changed_contents(old: &Values, new: &Values) -> impl Iterator<Item = Change> {
    let changed = new.contents.iter().filter(|(path, hash)| {
        let before = old.contents.get(*path);
        before.is_some_and(|before| before != *hash)
    });
    changed.map(|(path, _)| Change {
        table: path.display().to_string(),
        path: None,
        key: String::new(),
        difference: Difference::Content,
        also: Vec::new(),
    })
}

/// `site.example: path."/app/".listing false -> true, also for "/blog/"`
impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", Printable(&self.table))?;
        let keys = [
            self.path.as_ref().map(|path| format!("path.{path}")),
            Some(self.key.clone()).filter(|key| !key.is_empty()),
        ];
        let key = keys.into_iter().flatten().collect::<Vec<_>>().join(".");
        if !key.is_empty() {
            write!(out, ": {}", Printable(&key))?;
        }
        write!(out, " {}", self.difference)?;
        if !self.also.is_empty() {
            let named = self.also[..self.also.len().min(SHOWN_PATHS)].join(", ");
            write!(out, ", also for {}", Printable(&named))?;
            if self.also.len() > SHOWN_PATHS {
                write!(out, " and {} more", self.also.len() - SHOWN_PATHS)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(None) => out.write_str("added"),
            Self::Added(Some(value)) => write!(out, "added: {}", Shown(value)),
            Self::Removed(None) => out.write_str("removed"),
            Self::Removed(Some(value)) => write!(out, "removed: {}", Shown(value)),
            Self::Changed(None) => out.write_str("changed"),
            Self::Changed(Some((old, new))) => write!(out, "{} -> {}", Shown(old), Shown(new)),
            Self::Content => out.write_str("has other content"),
        }
    }
}

/// A value in one line, cut where it is long.
struct Shown<'v>(&'v str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_VALUE) {
            Some((end, _)) => write!(out, "{}…", Printable(&self.0[..end])),
            None => write!(out, "{}", Printable(self.0)),
        }
    }
}

#[cfg(test)]
mod tests;
