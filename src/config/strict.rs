//! The merged tree into [`Raw`], with every unknown key and wrong type reported, not only the
//! first: serde stops at one, so the entry it stopped at is taken out and serde asked again.

use std::cell::OnceCell;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer, Error};

use crate::config::{
    findings::{Findings, Mistake},
    notation::dotted,
    raw::Raw,
    read::FILE_KEYS,
    sources::{NOWHERE, Span},
};

/// So many mistakes are shown; each costs a pass over its site.
const SHOWN: usize = 100;

/// Reads the tree; what cannot be read is reported and left out. `again` makes the same tree, where
/// that was so.
///
/// Each site is read by itself, so that a mistake in one costs no second reading of 10,000 others.
pub(super) fn raw<'t>(
    mut tree: DeTable<'t>,
    again: &dyn Fn() -> DeTable<'t>,
    findings: &mut Findings,
) -> Raw {
    let sites = take_sites(&mut tree);
    let mut reading = Reading {
        again,
        copy: OnceCell::new(),
        left: SHOWN,
        findings,
    };
    let rest = |copy: &DeTable<'t>| {
        let mut rest = copy.clone();
        take_sites(&mut rest);
        rest
    };
    let Some(mut raw) = reading.read(tree, rest) else {
        return Raw::default();
    };
    let Some((table, sites)) = sites else {
        return raw;
    };
    for (name, site) in sites {
        let same = |copy: &DeTable<'t>| {
            let sites = copy.get("site")?.get_ref().as_table()?;
            let site = sites.get(&name)?;
            Some(alone(&table, name.clone(), site.clone()))
        };
        let one = alone(&table, name.clone(), site);
        let Some(read) = reading.read(one, |copy| same(copy).unwrap_or_default()) else {
            return Raw::default();
        };
        raw.site.extend(read.site);
    }
    raw
}

/// The key and the place of the table of sites.
type Table<'t> = (Spanned<DeString<'t>>, Span);

/// Takes out the table of sites, if it is one.
fn take_sites<'t>(tree: &mut DeTable<'t>) -> Option<(Table<'t>, DeTable<'t>)> {
    let (key, value) = tree.get_key_value("site")?;
    if !value.get_ref().is_table() {
        return None;
    }
    let table = (key.clone(), value.span());
    match tree.remove("site")?.into_inner() {
        DeValue::Table(sites) => Some((table, sites)),
        _ => None,
    }
}

/// A tree with nothing but one site.
fn alone<'t>(
    (key, span): &Table<'t>,
    name: Spanned<DeString<'t>>,
    site: Spanned<DeValue<'t>>,
) -> DeTable<'t> {
    let mut sites = DeTable::new();
    sites.insert(name, site);
    let mut tree = DeTable::new();
    let sites = Spanned::new(span.clone(), DeValue::Table(sites));
    tree.insert(key.clone(), sites);
    tree
}

struct Reading<'r, 't> {
    again: &'r dyn Fn() -> DeTable<'t>,
    /// The whole tree, where something was wrong with it.
    copy: OnceCell<DeTable<'t>>,
    /// How many mistakes may still be shown.
    left: usize,
    findings: &'r mut Findings,
}

impl<'t> Reading<'_, 't> {
    /// Reads a part of the tree, which `part` finds in a copy of it. Nothing comes of it where nothing
    /// can be left out, or too much.
    fn read(
        &mut self,
        tree: DeTable<'t>,
        part: impl FnOnce(&DeTable<'t>) -> DeTable<'t>,
    ) -> Option<Raw> {
        let mut error = match deserialized(tree) {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        let mut tree = part(self.copy.get_or_init(self.again));
        while self.left > 0 {
            self.left -= 1;
            self.leave_out(&mut tree, &error)?;
            match deserialized(tree.clone()) {
                Ok(raw) => return Some(raw),
                Err(next) => error = next,
            }
        }
        let message = format!("more than {SHOWN} mistakes; the rest is not shown");
        self.findings.error(&NOWHERE, Mistake::new(message));
        self.findings.note_incomplete(&[]);
        None
    }

    /// Takes out what is to blame, and reports it.
    fn leave_out(&mut self, tree: &mut DeTable<'_>, error: &Error) -> Option<()> {
        let span = error.span().unwrap_or(NOWHERE);
        let unknown = Unknown::parse(error.message());
        let mut path = Vec::new();
        let taken = match unknown {
            Some(_) => take(tree, &mut path, &|key, _| *key == span),
            None => take(tree, &mut path, &|_, value| encloses(value, &span)),
        };
        let Some(entry) = taken else {
            // No entry is to blame, so that nothing can be left out.
            self.findings.error(&span, Mistake::new(error.message()));
            self.findings.note_incomplete(&[]);
            return None;
        };
        self.findings.note_incomplete(&path);
        let mistake = match unknown {
            Some(unknown) => unknown.mistake(&path, &entry),
            None => wrong_type(&entry.name, error),
        };
        self.findings.error(&span, mistake);
        Some(())
    }
}

fn deserialized(tree: DeTable<'_>) -> Result<Raw, Error> {
    Raw::deserialize(Deserializer::from(Spanned::new(NOWHERE, tree)))
}

/// What was taken out of the tree.
struct Entry<'t> {
    name: String,
    value: DeValue<'t>,
}

/// Takes out the deepest entry whose spans of key and value are as wanted; `path` then leads to
/// its table.
fn take<'t>(
    table: &mut DeTable<'t>,
    path: &mut Vec<String>,
    wanted: &dyn Fn(&Span, &Span) -> bool,
) -> Option<Entry<'t>> {
    for (key, value) in table.iter_mut() {
        if let DeValue::Table(below) = value.get_mut() {
            path.push(key.get_ref().to_string());
            if let Some(entry) = take(below, path, wanted) {
                return Some(entry);
            }
            path.pop();
        }
    }
    let (key, _) = table
        .iter()
        .find(|(key, value)| wanted(&key.span(), &value.span()))?;
    let name = key.get_ref().to_string();
    let value = table.remove(name.as_str())?.into_inner();
    Some(Entry { name, value })
}

fn encloses(outer: &Span, inner: &Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// serde's words for an unknown key: the key, and those that exist there.
struct Unknown<'m> {
    key: &'m str,
    known: Vec<&'m str>,
}

impl<'m> Unknown<'m> {
    /// ``unknown field `a`, expected one of `b`, `c` ``
    fn parse(message: &'m str) -> Option<Self> {
        let rest = message.strip_prefix("unknown field `")?;
        let (key, rest) = rest.rsplit_once("`, expected ").map_or_else(
            || (rest.split('`').next().unwrap_or(rest), ""),
            |(key, rest)| (key, rest),
        );
        let known = rest.split('`').skip(1).step_by(2).collect();
        Some(Self { key, known })
    }

    fn mistake(&self, path: &[String], entry: &Entry<'_>) -> Mistake {
        let key = self.key;
        let mistake = match path {
            [] => Mistake::new(format!("unknown key `{key}`")),
            _ => Mistake::new(format!("unknown key `{key}` in [{}]", dotted(path))),
        };
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        match path[..] {
            ["site", site] if entry.value.is_table() => {
                let name = unquoted_name(site, entry, &self.known);
                mistake.help(format!("quote the name of the site: [site.\"{name}\"]"))
            }
            ["site", _, "path", text] if entry.value.is_table() => {
                mistake.help(format!("quote the path key: path.\"{text}.{key}\""))
            }
            ["site", site] if PATH_OPTIONS.contains(&key) => {
                let table = dotted(&["site", site, "path", "/"]);
                mistake.help(format!(
                    "it belongs to a path key: write it below [{table}]"
                ))
            }
            _ => mistake.help(self.suggestion(path.is_empty())),
        }
    }

    /// The known key that is meant, or all of them.
    fn suggestion(&self, at_top: bool) -> String {
        let file_keys: &[&str] = if at_top { &FILE_KEYS } else { &[] };
        let known: Vec<_> = self.known.iter().chain(file_keys).copied().collect();
        let distance = |known: &&str| strsim::damerau_levenshtein(self.key, known);
        let longest = (self.key.chars().count() / 3).max(1);
        match known.iter().copied().min_by_key(distance) {
            Some(meant) if distance(&meant) <= longest => format!("did you mean `{meant}`?"),
            _ => format!("keys there: {}", known.join(", ")),
        }
    }
}

/// Keys that people look for in a site's own table.
const PATH_OPTIONS: [&str; 17] = [
    "allow",
    "cgi",
    "cpu-weight",
    "deny",
    "detach",
    "env",
    "interpreter",
    "max-time",
    "memory",
    "pass-authorization",
    "script",
    "setuid",
    "spool",
    "static",
    "tasks",
    "timeout",
    "user",
];

/// The name that became several keys: `[site.www.example.org]` is a table `org` in a table
/// `example` of the site `www`.
fn unquoted_name(site: &str, entry: &Entry<'_>, known: &[&str]) -> String {
    let mut name = format!("{site}.{}", entry.name);
    let mut value = &entry.value;
    while let Some(table) = value.as_table()
        && let Some((key, below)) = table.iter().next()
        && table.len() == 1
        && below.get_ref().is_table()
        && !known.contains(&key.get_ref().as_ref())
    {
        name = format!("{name}.{}", key.get_ref());
        value = below.get_ref();
    }
    name
}

/// serde's words for a wrong type, turned to those of TOML.
fn wrong_type(name: &str, error: &Error) -> Mistake {
    let message = error.message();
    let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return Mistake::new(format!("`{name}`: {message}"));
    };
    let expected = match expected {
        "a map" => "a table",
        "a sequence" => "an array",
        "path string" => "a path, as a string",
        "a boolean" => "true or false, without quotes",
        "i64" => "a number",
        other => other,
    };
    let found = match found {
        "map" => "a table",
        "sequence" => "an array",
        other => other,
    };
    let mistake = Mistake::new(format!("`{name}` has the wrong type: {found}"));
    mistake.help(format!("expected {expected}"))
}
