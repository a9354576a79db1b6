//! One tree from many files: spans made global, variables replaced, tables merged.
//!
//! Tables of the same name merge across files; any other key stands once. What cannot be taken
//! over is reported and left out, so that later stages see only what was meant.

use std::borrow::Cow;

use serde_spanned::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::config::{
    findings::{Findings, Mistake},
    read::FILE_KEYS,
    sources::{Sources, Span},
};

/// Resolves `${NAME}`.
pub(super) type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Merges the trees of files, in their order.
pub(super) fn merged<'s>(
    sources: &Sources,
    trees: Vec<DeTable<'s>>,
    findings: &mut Findings,
) -> DeTable<'s> {
    let mut tree = DeTable::new();
    for table in trees {
        merge(&mut tree, table, &mut Vec::new(), (sources, findings));
    }
    tree
}

/// Takes over the tree of the file with this base, which is known to parse.
pub(super) fn adopted<'s>(
    mut table: DeTable<'s>,
    base: usize,
    variables: Variables<'_>,
    findings: &mut Findings,
) -> DeTable<'s> {
    for key in FILE_KEYS {
        table.remove(key);
    }
    let mut adoption = Adoption {
        base,
        variables,
        findings,
        path: Vec::new(),
    };
    adoption.table(table)
}

struct Adoption<'a> {
    base: usize,
    variables: Variables<'a>,
    findings: &'a mut Findings,
    /// The keys that lead to the table at hand.
    path: Vec<String>,
}

impl Adoption<'_> {
    fn table<'s>(&mut self, table: DeTable<'s>) -> DeTable<'s> {
        let mut adopted = DeTable::new();
        for (key, value) in table {
            let key = Spanned::new(self.global(&key.span()), key.into_inner());
            let is_above = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
            if is_above {
                self.path.push(key.get_ref().to_string());
            }
            let value = self.value(value);
            if is_above {
                self.path.pop();
            }
            match value {
                Some(value) => {
                    adopted.insert(key, value);
                }
                None => self.findings.note_incomplete(&self.path),
            }
        }
        adopted
    }

    /// The value with global spans and without variables; none where that was impossible.
    fn value<'s>(&mut self, value: Spanned<DeValue<'s>>) -> Option<Spanned<DeValue<'s>>> {
        let span = self.global(&value.span());
        let adopted = match value.into_inner() {
            DeValue::String(text) => {
                let replaced = replace_variables(text, self.variables);
                DeValue::String(self.findings.accept(&span, replaced)?)
            }
            DeValue::Array(array) => {
                // Collected before it is judged, so that every element is looked at.
                let values: Vec<_> = array.into_iter().map(|value| self.value(value)).collect();
                DeValue::Array(values.into_iter().collect::<Option<DeArray>>()?)
            }
            DeValue::Table(table) if is_credential(&table) => {
                let mistake = Mistake::new("`credential` is not in this version of pywebd");
                let mistake = mistake.help("write the value, or \"${NAME}\" for a variable");
                self.findings.error(&span, mistake);
                return None;
            }
            DeValue::Table(table) => DeValue::Table(self.table(table)),
            scalar => scalar,
        };
        Some(Spanned::new(span, adopted))
    }

    fn global(&self, span: &Span) -> Span {
        span.start + self.base..span.end + self.base
    }
}

/// `{ credential = "name" }`
fn is_credential(table: &DeTable<'_>) -> bool {
    let name = table.get("credential");
    table.len() == 1 && name.is_some_and(|name| name.get_ref().is_str())
}

/// Replaces each `${NAME}`; any other `$` stands for itself.
pub(super) fn replace_variables<'t>(
    text: Cow<'t, str>,
    variables: Variables<'_>,
) -> Result<Cow<'t, str>, Mistake> {
    if !text.contains("${") {
        return Ok(text);
    }
    let mut replaced = String::new();
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once("${") {
        replaced.push_str(before);
        let name = after.split_once('}').filter(|(name, _)| is_name(name));
        let Some((name, after)) = name else {
            replaced.push_str("${");
            rest = after;
            continue;
        };
        let value = variables(name).ok_or_else(|| {
            let mistake = Mistake::new(format!("variable `{name}` is not set"));
            mistake.help(remedy(name))
        })?;
        replaced.push_str(&value);
        rest = after;
    }
    replaced.push_str(rest);
    Ok(Cow::Owned(replaced))
}

fn remedy(name: &str) -> String {
    if name == "CREDENTIALS_DIRECTORY" {
        return "it is set in a service that has LoadCredential= in its unit; the launcher's unit \
                needs Environment=CREDENTIALS_DIRECTORY=/run/credentials/pywebd.service, and so \
                does who checks the configuration by hand"
            .to_owned();
    }
    format!("set {name} in the environment of pywebd")
}

fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(letter)
        && text
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// Merges a table into the tree; a key that is there already is an error that names both places.
fn merge<'s>(
    tree: &mut DeTable<'s>,
    table: DeTable<'s>,
    path: &mut Vec<String>,
    (sources, findings): (&Sources, &mut Findings),
) {
    for (key, value) in table {
        let Some((first_key, first)) = tree.get_key_value(&key) else {
            tree.insert(key, value);
            continue;
        };
        if first.get_ref().is_table() && value.get_ref().is_table() {
            path.push(key.get_ref().to_string());
            if let Some(DeValue::Table(first)) = tree.get_mut(&key).map(Spanned::get_mut)
                && let DeValue::Table(second) = value.into_inner()
            {
                merge(first, second, path, (sources, findings));
            }
            path.pop();
            continue;
        }
        let mistake = Mistake::new(format!("key `{}` is set twice", key.get_ref()));
        let first = sources.place(&first_key.span());
        let first = first.map(|place| place.to_string()).unwrap_or_default();
        let mistake = mistake.help(format!("it is set first at {first}; keep one of them"));
        findings.error(&key.span(), mistake);
        findings.note_incomplete(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, Mistake> {
        let variables = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
        replace_variables(text.into(), &variables).map(Cow::into_owned)
    }

    #[test]
    fn variables_in_braces_are_replaced_and_other_dollars_stay() {
        for (text, expected) in [
            ("${HOME}/www", "/home/a/www"),
            ("a${HOME}b${HOME}", "a/home/ab/home/a"),
            ("$HOME", "$HOME"),
            ("${", "${"),
            ("${}", "${}"),
            ("${1}", "${1}"),
            ("${A B}", "${A B}"),
            ("${${HOME}}", "${/home/a}"),
            ("5$", "5$"),
        ] {
            assert_eq!(replaced(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_a_mistake() {
        assert!(replaced("${HOME}${NONE}").is_err());
    }
}
