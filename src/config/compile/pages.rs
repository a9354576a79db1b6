//! Whether the files are there that a configuration names by their paths.

use serde_spanned::Spanned;

use crate::{
    config::{
        compile::{resolver::Resolver, rule::Verb},
        findings::{Findings, Mistake},
        inherit::{Effective, Rule},
        looks::Looks,
    },
    files::{self, LocateError, Look},
    fs::{Place, Wait},
    semantics::target::Path,
    site::{Action, Key, Routes},
};

/// Warns of error pages and fallbacks that cannot be shown now. They may come later, as any file.
pub(super) fn check(
    routes: &Routes,
    (rules, base): (&[Rule<Verb>], &Effective),
    site: &files::Options,
    resolver: &mut Resolver<'_>,
) {
    let of_rules = rules
        .iter()
        .flat_map(|rule| rule.options.serving.error_pages.values());
    let pages: Vec<_> = base.serving.error_pages.values().chain(of_rules).collect();
    let look = Look::plain(Wait::Allowed);
    let fallbacks: Vec<_> = rules.iter().filter_map(fallback).collect();
    for (what, path) in pages
        .into_iter()
        .map(|page| ("error page", page.clone()))
        .chain(fallbacks.into_iter().map(|path| ("fallback", path)))
    {
        let options = routes.files_for_page(path.get_ref(), site);
        let place = options.map(|options| &options.place);
        if place.is_some_and(|place| is_silent(place, path.get_ref(), resolver.looks)) {
            continue;
        }
        let found = options.map(|options| files::file_at(options, path.get_ref(), look));
        let reason = match found {
            Some(Ok(Some(_))) => continue,
            Some(Err(LocateError::Failure(failure))) => failure.to_string(),
            Some(_) => "there is no such file".to_owned(),
            // One that is run for whatever is not there.
            None if what == "fallback" => continue,
            None => "it is a script".to_owned(),
        };
        let name = path.get_ref().to_uri();
        let message = format!("the {what} {name} cannot be shown: {reason}");
        let mistake = Mistake::new(message);
        resolver.findings.warning(&path.span(), mistake);
    }
}

/// Whether a file may be somewhere that does not answer.
fn is_silent(place: &Place, path: &Path<'_>, looks: &Looks) -> bool {
    let mut followed = place.root.followed();
    looks.is_silent(&place.absolute(path.as_bytes()))
        || followed.any(|place| looks.is_silent(place))
}

/// Endings of files that are hardly ever meant to be read.
const SOURCES: [&str; 7] = [".cgi", ".fcgi", ".php", ".pl", ".py", ".rb", ".sh"];

/// Warns of an index that is a script by its name, and that no key runs.
pub(super) fn check_index(
    routes: &Routes,
    (rules, base): (&[Rule<Verb>], &Effective),
    findings: &mut Findings,
) {
    let own = rules
        .iter()
        .filter_map(|rule| match (&rule.key, &rule.options.index) {
            (Key::Prefix(directory), Some(index)) => Some((&**directory, index)),
            _ => None,
        });
    for (directory, index) in own.chain([(&b"/"[..], &base.index)]) {
        let names = index.get_ref().iter();
        for name in names.filter(|name| SOURCES.iter().any(|ending| name.ends_with(ending))) {
            let path = [directory, name.as_bytes()].concat();
            if matches!(routes[routes.find(&path)].action, Action::Files(_)) {
                let message = format!("the index {name:?} would be shown, not run");
                let help = "write a path key that runs it, with `interpreter` or `cgi`";
                let mistake = Mistake::new(message).help(help);
                findings.warning(&index.span(), mistake);
            }
        }
    }
}

fn fallback(rule: &Rule<Verb>) -> Option<Spanned<Path<'static>>> {
    let verb = rule.verb.as_ref()?;
    match verb.get_ref() {
        Verb::Fallback(path) => Some(Spanned::new(verb.span(), path.clone())),
        _ => None,
    }
}
