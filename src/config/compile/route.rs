//! Cells into [`Route`]s: the handler's options, complete.

use std::sync::Arc;

use crate::{
    cgi::Programs,
    config::{
        Reader,
        compile::{
            resolver::Resolver,
            rule::{Location, Verb},
            site::Scope,
        },
        inherit::{Cell, Effective, Rule, cells},
        notation::{quoted, quoted_all},
        sources::Span,
    },
    files,
    fs::{Place, Root},
    semantics::target::Path,
    site::{Action, Key, Route, Routes, route::Redirect},
};

/// The routes of a site.
pub(super) fn routes(
    site: &Scope<'_>,
    (rules, base): (&[Rule<Verb>], &Effective),
    root: &Arc<Root>,
    resolver: &mut Resolver<'_>,
) -> Routes {
    let route = |cell: Cell<'_, Verb>| {
        let action = action(&cell, root);
        record(site, &cell, &action, resolver);
        let allow = cell.options.allow.iter();
        Route {
            action,
            allow: allow
                .map(|allow| allow.get_ref().networks.clone())
                .collect(),
            auth: cell
                .options
                .serving
                .auth
                .as_ref()
                .map(|auth| Arc::clone(&auth.get_ref().basic)),
            headers: cell.options.serving.header_rules(is_file(&cell)),
            error_pages: cell.options.serving.error_pages(),
            origin: resolver.origin(&cell.span),
            key: cell.key,
            text: cell.text,
        }
    };
    Routes::new(cells(rules, base).into_iter().map(route).collect())
}

fn action(cell: &Cell<'_, Verb>, root: &Arc<Root>) -> Action {
    let options = &cell.options;
    let Some(verb) = &cell.decider.verb else {
        return Action::Deny;
    };
    let key = &cell.decider.key;
    let run = |programs| Action::Cgi(options.running.options(programs));
    match verb.get_ref() {
        Verb::Files(location) => {
            let place = place(location, root, &cell.decider.key);
            Action::Files(files(options, place, None))
        }
        Verb::Fallback(path) => Action::Files(files(options, below_site(root), Some(path.clone()))),
        Verb::Cgi(location) => run(Programs::Below {
            place: place(location, root, key),
            key_length: prefix(key).len(),
            index: options.index.get_ref().clone(),
        }),
        Verb::Script(file) => run(Programs::One {
            file: file.clone(),
            name: {
                let name = prefix(key);
                name.strip_suffix(b"/").unwrap_or(name).into()
            },
        }),
        Verb::Interpreter(interpreter) => {
            let (directory, ending) = split(key);
            run(Programs::Interpreted {
                place: below_site(root),
                prefix_length: directory.len(),
                ending: ending.into(),
                interpreter: interpreter.clone(),
            })
        }
        Verb::Redirect(redirect) => Action::Redirect(redirect.clone()),
        Verb::Deny => Action::Deny,
    }
}

/// A key as a directory and what names in it end with.
fn split(key: &Key) -> (&[u8], &[u8]) {
    match key {
        Key::Ending { prefix, ending } => (prefix, ending),
        Key::Exact(path) | Key::Prefix(path) => {
            let slash = path.iter().rposition(|&byte| byte == b'/');
            path.split_at(slash.map_or(0, |slash| slash + 1))
        }
    }
}

/// What holds for files.
pub(super) fn files(
    options: &Effective,
    place: Place,
    fallback: Option<Path<'static>>,
) -> files::Options {
    files::Options {
        place,
        index: options.index.get_ref().clone(),
        listing: *options.listing.get_ref(),
        types: options.serving.types(),
        compress: options.serving.compresses(),
        fallback,
    }
}

fn is_file(cell: &Cell<'_, Verb>) -> bool {
    let verb = cell.decider.verb.as_ref();
    verb.is_some_and(|verb| matches!(verb.get_ref(), Verb::Files(_) | Verb::Fallback(_)))
}

/// Files of the site's root, by their paths without the slash.
pub(super) fn below_site(root: &Arc<Root>) -> Place {
    Place {
        root: Arc::clone(root),
        strip: 1,
    }
}

/// Below the site's root, a path without its slash; elsewhere, what follows the key.
fn place(location: &Location, root: &Arc<Root>, key: &Key) -> Place {
    match location {
        Location::Site => below_site(root),
        Location::Elsewhere(root) => Place {
            root: Arc::clone(root),
            strip: prefix(key).len(),
        },
    }
}

/// The path of an exact key, the prefix of another.
fn prefix(key: &Key) -> &[u8] {
    match key {
        Key::Exact(path) => path,
        Key::Prefix(prefix) | Key::Ending { prefix, .. } => prefix,
    }
}

/// Records what a route does, for `pywebd show`.
fn record(site: &Scope<'_>, cell: &Cell<'_, Verb>, action: &Action, resolver: &mut Resolver<'_>) {
    if resolver.reader == Reader::Launcher {
        return;
    }
    let options = &cell.options;
    resolver.begin(&site.table, Some(&cell.text));
    let mut record = |key: &str, value: String, span: &Span| resolver.record(key, &value, span);
    for allow in &options.allow {
        record("allow", allow.get_ref().text.clone(), &allow.span());
    }
    let Some(verb) = &cell.decider.verb else {
        return;
    };
    let mapping = |location: &Location| match location {
        Location::Site => "true".into(),
        Location::Elsewhere(root) => quoted(&root.path().to_string_lossy()),
    };
    let is_file = is_file(cell);
    options.serving.record(is_file, &mut record);
    if is_file {
        let (index, listing) = (&options.index, &options.listing);
        record("index", quoted_all(index.get_ref()), &index.span());
        record("listing", listing.get_ref().to_string(), &listing.span());
    }
    match verb.get_ref() {
        Verb::Files(location) => record("static", mapping(location), &verb.span()),
        Verb::Fallback(path) => record("fallback", quoted(&path.to_uri()), &verb.span()),
        Verb::Cgi(location) => {
            record("cgi", mapping(location), &verb.span());
            let index = &options.index;
            record("index", quoted_all(index.get_ref()), &index.span());
        }
        Verb::Script(file) => {
            record("script", quoted(&file.to_string_lossy()), &verb.span());
        }
        Verb::Interpreter(file) => {
            record("interpreter", quoted(&file.to_string_lossy()), &verb.span());
        }
        Verb::Redirect(redirect) => {
            let Redirect {
                to,
                rest_from,
                status,
            } = redirect;
            let to = quoted(&format!(
                "{to}{}",
                if rest_from.is_some() { "*" } else { "" }
            ));
            let value = format!("{{ to = {to}, status = {} }}", status.as_u16());
            record("redirect", value, &verb.span());
        }
        Verb::Deny => record("deny", "true".into(), &verb.span()),
    }
    if let Action::Cgi(scripts) = action {
        options.running.record(scripts, &mut record);
    }
}
