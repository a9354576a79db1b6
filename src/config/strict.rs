//! The merged tree into [`Raw`], with every unknown key and wrong type reported, not only the
//! first: serde stops at one, so the entry it stopped at is taken out and serde asked again.

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use crate::config::{
    findings::{Findings, Mistake},
    notation::dotted,
    raw::Raw,
    read::FILE_KEYS,
    sources::{NOWHERE, Span},
};

/// So many mistakes are shown; each costs a pass over the whole tree.
const SHOWN: usize = 100;

/// Reads the tree; what cannot be read is reported and left out.
pub(super) fn raw(mut tree: DeTable<'_>, findings: &mut Findings) -> Raw {
    for _ in 0..SHOWN {
        let deserializer = Deserializer::from(Spanned::new(NOWHERE, tree.clone()));
        let error = match Raw::deserialize(deserializer) {
            Ok(raw) => return raw,
            Err(error) => error,
        };
        let span = error.span().unwrap_or(NOWHERE);
        let unknown = Unknown::parse(error.message());
        let mut path = Vec::new();
        let taken = match unknown {
            Some(_) => take(&mut tree, &mut path, &|key, _| *key == span),
            None => take(&mut tree, &mut path, &|_, value| encloses(value, &span)),
        };
        let Some(entry) = taken else {
            // No entry is to blame, so that nothing can be left out.
            findings.error(&span, Mistake::new(error.message()));
            findings.note_incomplete(&[]);
            return Raw::default();
        };
        findings.note_incomplete(&path);
        match unknown {
            Some(unknown) => findings.error(&span, unknown.mistake(&path, &entry)),
            None => findings.error(&span, wrong_type(&entry.name, &error)),
        }
    }
    let message = format!("more than {SHOWN} mistakes; the rest is not shown");
    findings.error(&NOWHERE, Mistake::new(message));
    findings.note_incomplete(&[]);
    Raw::default()
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
