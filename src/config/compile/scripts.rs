//! Checks of the programs that path keys map: who can change the programs, whether they would run, and whether
//! another path would show them.

use std::{collections::HashSet, path::PathBuf};

use serde_spanned::Spanned;

use crate::{
    config::{
        Reader, Seen,
        compile::{
            resolver::Resolver,
            rule::{Location, Verb},
            site::Scope,
        },
        findings::Mistake,
        inherit::Rule,
        inspect,
        sources::{NOWHERE, Span},
    },
    fs::Root,
    site::Key,
};

/// The absolute path of a program that the configuration names.
pub(super) fn program(written: &Spanned<PathBuf>, resolver: &mut Resolver<'_>) -> PathBuf {
    let span = written.span();
    let file = resolver.sources.resolve(written.get_ref(), &span);
    if written.get_ref().as_os_str().is_empty() {
        let mistake = Mistake::new("the path of a program is empty");
        resolver.findings.error(&span, mistake);
    } else if resolver.reader == Reader::Server {
        let look = || (Seen::path(&file), inspect::program(&file, resolver.looks));
        if let Some((seen, Some(finding))) = resolver.looks.at(&file, look) {
            report(finding, &span, resolver);
            // It may be mended where it is.
            resolver.seen.push(seen);
        }
    }
    file
}

fn report(finding: inspect::Finding, span: &Span, resolver: &mut Resolver<'_>) {
    match finding {
        inspect::Finding::Unsafe(mistake) => resolver.findings.error(span, mistake),
        inspect::Finding::Broken(mistake) => resolver.findings.warning(span, mistake),
    }
}

/// Looks at the programs of a path key.
pub(super) fn inspect(rule: &Rule<Verb>, site_root: &Root, resolver: &mut Resolver<'_>) {
    let (Some(verb), Key::Prefix(prefix)) = (&rule.verb, &rule.key) else {
        return;
    };
    let Verb::Cgi(location) = verb.get_ref() else {
        return;
    };
    let span = verb.span();
    let Some(directory) = place(location, prefix, site_root) else {
        return;
    };
    if resolver.looks.is_silent(&directory) {
        return;
    }
    let followed = site_root.followed();
    if let Some(findings) = inspect::scripts(&directory, followed, resolver.looks) {
        for finding in findings {
            report(finding, &span, resolver);
        }
        return;
    }
    // By the command line, directories of scripts may be there or not; elsewhere and below a
    // root that is missing itself, it was reported.
    let is_expected = matches!(location, Location::Site) && span != NOWHERE;
    if is_expected && !directory.exists() && site_root.path().is_dir() {
        let message = format!("directory {} does not exist", directory.display());
        resolver.findings.warning(&span, Mistake::new(message));
    }
}

/// Programs of a directory elsewhere that is in fact below the site's root: another path would
/// show what they are made of.
pub(super) fn report_exposed(
    site: &Scope<'_>,
    rules: &[Rule<Verb>],
    root: &Root,
    resolver: &mut Resolver<'_>,
) {
    for verb in rules.iter().filter_map(|rule| rule.verb.as_ref()) {
        let Verb::Cgi(Location::Elsewhere(directory)) = verb.get_ref() else {
            continue;
        };
        let (root, directory) = (root.path(), directory.path());
        let mut places = [&**root, &**directory].into_iter();
        if places.any(|place| resolver.looks.is_silent(place)) {
            continue;
        }
        let Some(path) = inspect::path_below(root, directory) else {
            continue;
        };
        let covering = rules
            .iter()
            .filter_map(|rule| match (&rule.key, &rule.verb) {
                (Key::Prefix(prefix), Some(verb)) if path.starts_with(prefix) => {
                    Some((prefix, verb))
                }
                _ => None,
            });
        let decider = covering.max_by_key(|(prefix, _)| prefix.len());
        if decider.is_some_and(|(_, verb)| matches!(verb.get_ref(), Verb::Files(Location::Site))) {
            let path = String::from_utf8_lossy(&path);
            let message = format!("the programs of {} are shown as files", directory.display());
            let help = format!(
                "the directory is {path:?} of the site: move it out of the root, or write \
                 deny = true below [{}]",
                site.path_key(&path)
            );
            let mistake = Mistake::new(message).help(help);
            resolver.findings.warning(&verb.span(), mistake);
        }
    }
}

/// Files of an interpreter that a longer key shows: the longer one decides (design: rule 2), which may
/// not be what is meant.
pub(super) fn report_sources(rules: &[Rule<Verb>], root: &Root, resolver: &mut Resolver<'_>) {
    let interpreted = rules
        .iter()
        .filter_map(|rule| match (&rule.key, &rule.verb) {
            (Key::Ending { prefix, ending }, Some(verb))
                if matches!(verb.get_ref(), Verb::Interpreter(_)) =>
            {
                Some((rule, prefix, ending))
            }
            _ => None,
        });
    let mut interpreted = interpreted.peekable();
    if interpreted.peek().is_none() {
        return;
    }
    let decided = rules.iter().filter(|rule| rule.verb.is_some());
    let decided: HashSet<&Key> = decided.map(|rule| &rule.key).collect();
    for (rule, prefix, ending) in interpreted {
        let longer =
            |directory: &[u8]| directory.len() > prefix.len() && directory.starts_with(prefix);
        for (place, directory, span) in shown(rules, root) {
            let own = Key::Ending {
                prefix: directory.into(),
                ending: ending.clone(),
            };
            let is_meant = decided.contains(&own);
            let look = |place: PathBuf| {
                let looks = resolver.looks;
                looks.at(&place, || inspect::has_ending(&place, ending))
            };
            let has_such = || place.and_then(look).unwrap_or_default();
            if longer(directory) && !is_meant && has_such() {
                let (ending, key) = (&rule.text, String::from_utf8_lossy(directory));
                let message = format!("files of {ending:?} are shown below {key:?}, not run");
                let help = format!("the longer key decides: write one for \"{own}\" too");
                let mistake = Mistake::new(message).help(help);
                resolver.findings.warning(&span, mistake);
            }
        }
    }
}

/// The directories of keys that show files: where they are, and their paths.
fn shown<'r>(
    rules: &'r [Rule<Verb>],
    root: &Root,
) -> impl Iterator<Item = (Option<PathBuf>, &'r [u8], Span)> {
    rules.iter().filter_map(move |rule| {
        let (Key::Prefix(path), Some(verb)) = (&rule.key, &rule.verb) else {
            return None;
        };
        let place = match verb.get_ref() {
            Verb::Files(location) => place(location, path, root),
            Verb::Fallback(_) => place(&Location::Site, path, root),
            _ => return None,
        };
        Some((place, &**path, verb.span()))
    })
}

/// The directory of a key for a directory.
fn place(location: &Location, path: &[u8], root: &Root) -> Option<PathBuf> {
    match location {
        Location::Site => inspect::below(root.path(), path),
        Location::Elsewhere(root) => Some(root.path().to_path_buf()),
    }
}
