//! What was written or the default, recorded for `pywebd show` either way.

use std::{ops::RangeInclusive, sync::Arc};

use serde_spanned::Spanned;

use crate::config::{
    Reader, Seen, Values,
    findings::{Findings, Mistake},
    looks::Looks,
    notation::quoted_key,
    raw::Texts,
    sources::{NOWHERE, Sources, Span},
    units::Notation,
};

/// Resolves the values of all tables.
pub(in crate::config) struct Resolver<'a> {
    /// Where the values stand.
    pub sources: &'a Sources,
    /// Takes what is wrong with them.
    pub findings: &'a mut Findings,
    /// Whom this is for.
    pub reader: Reader,
    /// How to look at what is named.
    pub looks: &'a Looks,
    /// Every value that holds.
    pub values: Values,
    /// What was read beside the configuration itself, or is missing.
    pub seen: Vec<Seen>,
}

impl Resolver<'_> {
    /// The value that is written, or the default; also where what is written is wrong.
    pub fn resolve<R, T>(
        &mut self,
        key: &str,
        written: Option<&Spanned<R>>,
        notation: &Notation<R, T>,
        default: T,
    ) -> Spanned<T> {
        let value = self
            .read(written, notation)
            .unwrap_or_else(|| Spanned::new(NOWHERE, default));
        self.record_of(key, &(notation.write)(value.get_ref()), &value.span());
        value
    }

    /// As [`Self::resolve`], for a value with bounds.
    pub fn resolve_within<R, T: PartialOrd>(
        &mut self,
        key: &str,
        written: Option<&Spanned<R>>,
        notation: &Notation<R, T>,
        (default, bounds): (T, RangeInclusive<T>),
    ) -> T {
        let value = self.resolve(key, written, notation, default);
        if !bounds.contains(value.get_ref()) {
            let [least, most] = [bounds.start(), bounds.end()].map(notation.write);
            let message = format!("the value must be from {least} to {most}");
            self.findings.error(&value.span(), Mistake::new(message));
        }
        value.into_inner()
    }

    /// The value, where one is written and right.
    pub fn read<R, T>(
        &mut self,
        written: Option<&Spanned<R>>,
        notation: &Notation<R, T>,
    ) -> Option<Spanned<T>> {
        let written = written?;
        let span = written.span();
        let value = (notation.read)(written.get_ref());
        let value = self.findings.accept(&span, value)?;
        Some(Spanned::new(span, value))
    }

    /// Every text of an array that is right.
    pub fn read_all<T>(
        &mut self,
        texts: &Texts,
        read: impl Fn(&str) -> Result<T, Mistake>,
    ) -> Vec<Spanned<T>> {
        let mut values = Vec::new();
        for text in &texts.0 {
            if let Some(value) = self.findings.accept(&text.span(), read(text.get_ref())) {
                values.push(Spanned::new(text.span(), value));
            }
        }
        values
    }

    /// Begins the values of a table, or of a path key in it.
    pub fn begin(&mut self, table: &Arc<str>, path: Option<&str>) {
        if self.reader == Reader::Server {
            self.values
                .begin(table, path.map(|path| quoted_key(path).into()));
        }
    }

    /// Records a value of what was begun, for `pywebd show`.
    pub fn record(&mut self, key: &str, value: &str, span: &Span) {
        if self.reader == Reader::Server {
            let origin = self.sources.origin(span);
            self.values.record(key, value, origin);
        }
    }

    /// Records a value by its table and key, with a dot between them.
    pub fn record_of(&mut self, key: &str, value: &str, span: &Span) {
        let (table, key) = key.split_once('.').unwrap_or(("", key));
        if self.values.table() != Some(table) {
            self.begin(&table.into(), None);
        }
        self.record(key, value, span);
    }
}
