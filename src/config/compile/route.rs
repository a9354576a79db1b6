//! Cells into [`Route`]s: the handler's options, complete.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    cgi,
    config::{
        compile::{
            resolver::Resolver,
            rule::{Location, Verb},
            site::Scope,
        },
        inherit::{Cell, Effective, Rule, cells},
        notation::{quoted, quoted_all, quoted_key},
        sources::Span,
        units::DURATION,
    },
    files,
    fs::{Place, Root},
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
        record(site, &cell, resolver);
        let allow = cell.options.allow.iter();
        Route {
            action: action(&cell, root),
            allow: allow
                .map(|allow| allow.get_ref().networks.clone())
                .collect(),
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
    match verb.get_ref() {
        Verb::Files(location) => Action::Files(files::Options {
            place: place(location, root, &cell.decider.key),
            index: options.index.get_ref().clone(),
            listing: *options.listing.get_ref(),
        }),
        Verb::Cgi(location) => Action::Cgi(cgi::Options {
            place: place(location, root, &cell.decider.key),
            key_length: prefix(&cell.decider.key).len(),
            env: variables(options),
            timeout: *options.timeout.get_ref(),
            max_time: *options.max_time.get_ref(),
            pass_authorization: *options.pass_authorization.get_ref(),
        }),
        Verb::Redirect(redirect) => Action::Redirect(moved(redirect, cell)),
        Verb::Deny => Action::Deny,
    }
}

/// Below the site's root, a path without its slash; elsewhere, what follows the key.
fn place(location: &Location, root: &Arc<Root>, key: &Key) -> Place {
    match location {
        Location::Site => Place {
            root: Arc::clone(root),
            strip: 1,
        },
        Location::Elsewhere(root) => Place {
            root: Arc::clone(root),
            strip: prefix(key).len(),
        },
    }
}

fn variables(options: &Effective) -> Vec<(Box<str>, Box<str>)> {
    let variable = |(name, value): (&String, &serde_spanned::Spanned<String>)| {
        (name.as_str().into(), value.get_ref().as_str().into())
    };
    options.env.iter().map(variable).collect()
}

/// RFC 3986 §3.3: what stands for itself in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A redirect as a more specific key inherits it: what that key has more than the one with the
/// redirect is no longer part of the rest that `*` stands for.
fn moved(redirect: &Redirect, cell: &Cell<'_, Verb>) -> Redirect {
    let (Some(target), Some(more)) = (
        redirect.to.strip_suffix('*'),
        prefix(&cell.key).strip_prefix(prefix(&cell.decider.key)),
    ) else {
        return redirect.clone();
    };
    let more = String::from_utf8_lossy(more);
    let more = utf8_percent_encode(&more, PATH);
    let rest = if matches!(cell.key, Key::Exact(_)) {
        ""
    } else {
        "*"
    };
    Redirect {
        to: format!("{target}{more}{rest}").into(),
        status: redirect.status,
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
fn record(site: &Scope<'_>, cell: &Cell<'_, Verb>, resolver: &mut Resolver<'_>) {
    let options = &cell.options;
    let table = site.path_key(&cell.text);
    let mut record = |key: &str, value: String, span: &Span| {
        resolver.record(&format!("{table}.{key}"), value, span);
    };
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
    match verb.get_ref() {
        Verb::Files(location) => {
            record("static", mapping(location), &verb.span());
            let index = &options.index;
            record("index", quoted_all(index.get_ref()), &index.span());
            let listing = &options.listing;
            record("listing", listing.get_ref().to_string(), &listing.span());
        }
        Verb::Cgi(location) => {
            record("cgi", mapping(location), &verb.span());
            for (name, value) in &options.env {
                let key = quoted_key(name);
                record(
                    &format!("env.{key}"),
                    quoted(value.get_ref()),
                    &value.span(),
                );
            }
            for (key, time) in [
                ("timeout", &options.timeout),
                ("max-time", &options.max_time),
            ] {
                record(key, (DURATION.write)(time.get_ref()), &time.span());
            }
            let pass = &options.pass_authorization;
            record(
                "pass-authorization",
                pass.get_ref().to_string(),
                &pass.span(),
            );
        }
        Verb::Redirect(redirect) => {
            let Redirect { to, status } = moved(redirect, cell);
            let value = format!("{{ to = {}, status = {} }}", quoted(&to), status.as_u16());
            record("redirect", value, &verb.span());
        }
        Verb::Deny => record("deny", "true".into(), &verb.span()),
    }
}
