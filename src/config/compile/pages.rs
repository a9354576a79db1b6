//! Whether the files are there that a configuration names by their paths.

use serde_spanned::Spanned;

use crate::{
    config::{
        compile::rule::Verb,
        findings::{Findings, Mistake},
        inherit::{Effective, Rule},
    },
    files::{self, Found, LocateError},
    fs::Wait,
    semantics::target::Path,
    site::{Action, Routes},
};

/// Warns of error pages and fallbacks that cannot be shown now. They may come later, as any file.
pub(super) fn check(
    routes: &Routes,
    (rules, base): (&[Rule<Verb>], &Effective),
    site: &files::Options,
    findings: &mut Findings,
) {
    let of_rules = rules
        .iter()
        .flat_map(|rule| rule.options.serving.error_pages.values());
    let pages: Vec<_> = base.serving.error_pages.values().chain(of_rules).collect();
    let fallbacks: Vec<_> = rules.iter().filter_map(fallback).collect();
    for (what, path) in pages
        .into_iter()
        .map(|page| ("error page", page.clone()))
        .chain(fallbacks.into_iter().map(|path| ("fallback", path)))
    {
        let options = match &routes[routes.find(path.get_ref().as_bytes())].action {
            Action::Files(options) => options,
            _ => site,
        };
        let found = files::locate(options, path.get_ref(), Wait::Allowed);
        let reason = match found {
            Ok(Found::File { .. }) => continue,
            Ok(Found::Directory(_)) | Err(LocateError::MissingSlash | LocateError::WouldWait) => {
                "it is not a file".to_owned()
            }
            Err(LocateError::Failure(failure)) => failure.to_string(),
        };
        let message = format!("the {what} cannot be shown: {reason}");
        findings.warning(&path.span(), Mistake::new(message));
    }
}

fn fallback(rule: &Rule<Verb>) -> Option<Spanned<Path<'static>>> {
    let verb = rule.verb.as_ref()?;
    match verb.get_ref() {
        Verb::Fallback(path) => Some(Spanned::new(verb.span(), path.clone())),
        _ => None,
    }
}
