//! What a configuration comes to, as far as people see it: each value as TOML writes it, and where it
//! was written.
//!
//! A server keeps this to tell what a reload changes, so it is small: the values of a table of a site, or
//! of a path key, are one text. What is the same in two configurations is found by comparing two texts.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{config::Setting, site::Origin};

/// The effective values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    sections: Vec<Section>,
    /// A hash of the content of each file that was read beside the configuration itself.
    pub contents: BTreeMap<PathBuf, u64>,
}

/// The values of a table, or of a path key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// The table as TOML writes it: `limits`, `site.example`.
    pub table: Arc<str>,
    /// The path key of a site as TOML writes it.
    pub path: Option<Box<str>>,
    /// Keys and values, one after the other.
    text: String,
    entries: Vec<Entry>,
}

/// Where a key and its value end in the text, and where the value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: usize,
    value: usize,
    origin: Option<Origin>,
}

/// A key with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held<'v> {
    pub key: &'v str,
    pub value: &'v str,
    /// Absent for a default.
    pub origin: Option<&'v Origin>,
}

impl Values {
    /// Begins a table, or one of its path keys.
    pub(super) fn begin(&mut self, table: &Arc<str>, path: Option<Box<str>>) {
        if let Some(last) = self.sections.last_mut() {
            last.text.shrink_to_fit();
            last.entries.shrink_to_fit();
        }
        self.sections.push(Section {
            table: Arc::clone(table),
            path,
            text: String::new(),
            entries: Vec::new(),
        });
    }

    /// Adds a value to what was begun.
    pub(super) fn record(&mut self, key: &str, value: &str, origin: Option<Origin>) {
        if let Some(Section { text, entries, .. }) = self.sections.last_mut() {
            text.push_str(key);
            let key = text.len();
            text.push_str(value);
            entries.push(Entry {
                key,
                value: text.len(),
                origin,
            });
        }
    }

    /// The table that was begun last.
    pub(super) fn table(&self) -> Option<&str> {
        self.sections.last().map(|section| &*section.table)
    }

    /// All in the order in which they were recorded.
    pub(super) fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    /// Every value with its whole key.
    pub fn settings(&self) -> Vec<Setting> {
        let settings = |section: &Section| -> Vec<Setting> {
            let table = match &section.path {
                Some(path) => format!("{}.path.{path}", section.table),
                None => section.table.to_string(),
            };
            let setting = |held: Held<'_>| Setting {
                key: format!("{table}.{}", held.key),
                value: held.value.to_owned(),
                origin: held.origin.cloned(),
            };
            section.held().map(setting).collect()
        };
        self.sections.iter().flat_map(settings).collect()
    }
}

impl Section {
    /// The keys with their values.
    pub fn held(&self) -> impl Iterator<Item = Held<'_>> {
        let starts = std::iter::once(0).chain(self.entries.iter().map(|entry| entry.value));
        let entries = starts.zip(&self.entries);
        entries.map(|(start, entry)| Held {
            key: &self.text[start..entry.key],
            value: &self.text[entry.key..entry.value],
            origin: entry.origin.as_ref(),
        })
    }

    /// Whether both say the same, wherever it is written.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let parts = |entry: &Entry| (entry.key, entry.value, entry.origin.is_some());
        self.text == other.text
            && self.path == other.path
            && self
                .entries
                .iter()
                .map(parts)
                .eq(other.entries.iter().map(parts))
    }
}
