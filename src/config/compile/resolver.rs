//! What was written or the default, recorded for `pywebd show` either way.

use std::ops::RangeInclusive;

use serde_spanned::Spanned;

use crate::config::{
    PasswordFiles, Seen, Setting,
    compare::Values,
    findings::{Findings, Mistake},
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
    /// Whether files of passwords are read.
    pub passwords: PasswordFiles,
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
        self.record(key, (notation.write)(value.get_ref()), &value.span());
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

    /// Records a value for `pywebd show`.
    pub fn record(&mut self, key: &str, value: String, span: &Span) {
        self.values.settings.push(Setting {
            key: key.to_owned(),
            value,
            origin: self.sources.origin(span),
        });
    }
}
