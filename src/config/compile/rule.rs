//! Path keys and redirects of a site into [`Rule`]s: the key, at most one verb, the options.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use serde_spanned::Spanned;

use crate::{
    config::{
        Reader,
        compile::{
            redirect,
            resolver::Resolver,
            running, scripts, serving,
            site::{Scope, index, networks, open_root},
        },
        findings::{Findings, Mistake},
        inherit::{Allow, Options, Rule, work},
        raw::{self, Mapping},
        sources::{NOWHERE, Span},
    },
    fs::Root,
    semantics::target::Path,
    site::{Key, route::Redirect},
};

/// What a path key does.
#[derive(Debug)]
pub(super) enum Verb {
    Files(Location),
    /// Files of the site, and this one where nothing is.
    Fallback(Path<'static>),
    Cgi(Location),
    /// One program.
    Script(PathBuf),
    /// Files of the site that this program reads.
    Interpreter(PathBuf),
    Redirect(Redirect),
    Deny,
}

/// Where the files or programs of a path key are.
#[derive(Debug)]
pub(super) enum Location {
    /// Below the site's root, as the path says.
    Site,
    /// Below this root, where the path goes on after the key.
    Elsewhere(Arc<Root>),
}

/// Thousands of path keys that are below each other, or hundreds that cross endings; more are a slip.
const MOST_WORK: usize = 50_000_000;

/// The rules of a site, each key once, with one for `/` that has a verb.
pub(super) fn rules(
    site: &Scope<'_>,
    (span, raw): (&Span, &raw::Site),
    root: &Root,
    resolver: &mut Resolver<'_>,
) -> Vec<Rule<Verb>> {
    let mut rules = Rules::default();
    for (text, written) in &raw.path {
        let key = Key::parse(text.get_ref()).map_err(Mistake::new);
        let table = ["site", site.name, "path", text.get_ref()];
        if key.is_err() && resolver.findings.is_incomplete(&table) {
            // An unquoted dot in the key was reported with what it made of the key.
            continue;
        }
        if let Some(key) = resolver.findings.accept(&text.span(), key) {
            let rule = Rule {
                verb: verb(&key, written.get_ref(), root, resolver),
                options: options(written.get_ref(), &table, resolver),
                key,
                text: text.get_ref().as_str().into(),
                span: text.span(),
            };
            if resolver.reader == Reader::Server {
                scripts::inspect(&rule, root, resolver);
            }
            rules.add(rule, resolver);
        }
    }
    for (text, written) in &raw.redirect {
        let key = redirect::key(text.get_ref());
        if let Some(key) = resolver.findings.accept(&text.span(), key) {
            let verb = redirect::compile(&key, written, resolver.findings);
            rules.add(redirect_rule(key, text, verb), resolver);
        }
    }
    rules.add_site(span);
    if resolver.reader == Reader::Server {
        scripts::report_exposed(site, &rules.list, root, resolver);
        scripts::report_sources(&rules.list, root, resolver);
    }
    if work(&rules.list) > MOST_WORK {
        let message = format!("site `{}` has too many path keys", site.name);
        resolver.findings.error(span, Mistake::new(message));
        // The site's own is enough to go on with.
        rules = Rules::default();
        rules.add_site(span);
    }
    rules.list
}

fn redirect_rule(key: Key, text: &Spanned<String>, verb: Option<Redirect>) -> Rule<Verb> {
    let written = text.get_ref();
    Rule {
        // As a path key writes it; none writes a directory without what is below, and the launcher
        // must not take it for the key that does.
        text: match &key {
            Key::Exact(path) if path.ends_with(b"/") => format!("{written} (exactly)").into(),
            _ => written.trim_end_matches('*').into(),
        },
        key,
        span: text.span(),
        verb: verb.map(|verb| Spanned::new(text.span(), Verb::Redirect(verb))),
        options: Options::default(),
    }
}

#[derive(Default)]
struct Rules {
    list: Vec<Rule<Verb>>,
    places: HashMap<Key, usize>,
}

impl Rules {
    /// Adds a rule. A redirect may add a verb to a path key that has none; else a key stands once.
    fn add(&mut self, rule: Rule<Verb>, resolver: &mut Resolver<'_>) {
        let Some(&at) = self.places.get(&rule.key) else {
            self.places.insert(rule.key.clone(), self.list.len());
            self.list.push(rule);
            return;
        };
        let first = &mut self.list[at];
        if first.verb.is_none() && matches!(&rule.verb, Some(verb) if is_redirect(verb)) {
            first.verb = rule.verb;
            return;
        }
        let place = resolver.origin(&first.span);
        let message = format!("{:?} is a path that has a key already", rule.text);
        let help = format!("it is {:?} at {}:{}", first.text, place.file, place.line);
        let mistake = Mistake::new(message).help(help);
        resolver.findings.error(&rule.span, mistake);
    }

    /// The site itself serves files wherever no key says otherwise.
    fn add_site(&mut self, span: &Span) {
        let files = Spanned::new(NOWHERE, Verb::Files(Location::Site));
        let key = Key::Prefix((*b"/").into());
        match self.places.get(&key) {
            Some(&at) => {
                self.list[at].verb.get_or_insert(files);
            }
            None => self.list.push(Rule {
                key,
                text: "/".into(),
                span: span.clone(),
                verb: Some(files),
                options: Options::default(),
            }),
        }
    }
}

fn is_redirect(verb: &Spanned<Verb>) -> bool {
    matches!(verb.get_ref(), Verb::Redirect(_))
}

/// The one verb of a path key.
fn verb(
    key: &Key,
    raw: &raw::PathKey,
    root: &Root,
    resolver: &mut Resolver<'_>,
) -> Option<Spanned<Verb>> {
    let mut written = Vec::new();
    written.extend(raw.cgi.as_ref().map(|verb| (verb.span(), "cgi")));
    written.extend(raw.files.as_ref().map(|verb| (verb.span(), "static")));
    written.extend(raw.redirect.as_ref().map(|verb| (verb.span(), "redirect")));
    written.extend(raw.deny.as_ref().map(|verb| (verb.span(), "deny")));
    written.extend(raw.fallback.as_ref().map(|verb| (verb.span(), "fallback")));
    written.extend(raw.script.as_ref().map(|verb| (verb.span(), "script")));
    let interpreter = raw.interpreter.as_ref();
    written.extend(interpreter.map(|verb| (verb.span(), "interpreter")));
    written.sort_by_key(|(span, _)| span.start);
    if let [(_, first), (second_span, second), ..] = &written[..] {
        let message = format!("a path key does one thing: `{first}` or `{second}`");
        resolver.findings.error(second_span, Mistake::new(message));
        return None;
    }
    let (span, _) = written.into_iter().next()?;
    let verb = if let Some(mapping) = &raw.cgi {
        Verb::Cgi(mapped(("cgi", mapping), key, root, resolver)?)
    } else if let Some(mapping) = &raw.files {
        Verb::Files(mapped(("static", mapping), key, root, resolver)?)
    } else if let Some(written) = &raw.redirect {
        Verb::Redirect(redirect::compile(key, written, resolver.findings)?)
    } else if let Some(path) = &raw.fallback {
        let path = serving::path(path.get_ref());
        Verb::Fallback(resolver.findings.accept(&span, path)?)
    } else if let Some(program) = &raw.script {
        Verb::Script(script(key, program, resolver)?)
    } else if let Some(program) = interpreter {
        Verb::Interpreter(self::interpreter(key, program, resolver)?)
    } else {
        if raw.deny.as_ref().is_some_and(|deny| !deny.get_ref()) {
            report_false("deny", &span, resolver.findings);
            return None;
        }
        Verb::Deny
    };
    Some(Spanned::new(span, verb))
}

fn mapped(
    (name, mapping): (&str, &Spanned<Mapping>),
    key: &Key,
    root: &Root,
    resolver: &mut Resolver<'_>,
) -> Option<Location> {
    let span = mapping.span();
    let is_prefix = matches!(key, Key::Prefix(_));
    match mapping.get_ref() {
        Mapping::Switch(false) => {
            report_false(name, &span, resolver.findings);
            None
        }
        Mapping::Switch(true) if is_prefix || name != "cgi" => Some(Location::Site),
        Mapping::Directory(path) if is_prefix => Some(Location::Elsewhere(open_root(
            path,
            &span,
            root.followed().map(std::path::Path::to_owned).collect(),
            resolver,
        ))),
        _ => {
            let mistake = Mistake::new(format!("`{name}` is for a directory of paths here"));
            let mistake = mistake.help("write a path key that ends with a slash");
            resolver.findings.error(&span, mistake);
            None
        }
    }
}

/// The program of every path of a key.
fn script(key: &Key, written: &Spanned<PathBuf>, resolver: &mut Resolver<'_>) -> Option<PathBuf> {
    if matches!(key, Key::Ending { .. }) {
        let mistake = Mistake::new("`script` is one program for all paths of a key");
        let help = "to run files by their ending write `interpreter`; for one path, or for all \
                    below a directory, a key such as \"/git/\"";
        resolver.findings.error(&written.span(), mistake.help(help));
        return None;
    }
    Some(scripts::program(written, resolver))
}

/// The program that reads the files of a key.
fn interpreter(
    key: &Key,
    written: &Spanned<PathBuf>,
    resolver: &mut Resolver<'_>,
) -> Option<PathBuf> {
    if matches!(key, Key::Prefix(_)) {
        let mistake = Mistake::new("`interpreter` is for files with an ending");
        let help = "write it below a key such as \"*.php\" or \"/app/*.php\", so that no other \
                    file is taken for a program";
        resolver.findings.error(&written.span(), mistake.help(help));
        return None;
    }
    Some(scripts::program(written, resolver))
}

fn report_false(name: &str, span: &Span, findings: &mut Findings) {
    let mistake = Mistake::new(format!("`{name} = false` does nothing"));
    let help = "leave it out; to serve files below a key that does something else, write a more \
                specific key with `static = true`";
    findings.error(span, mistake.help(help));
}

/// The options of a path key, each checked once, however many routes they reach.
fn options(raw: &raw::PathKey, table: &[&str], resolver: &mut Resolver<'_>) -> Options {
    let allow = raw.allow.as_ref().and_then(|written| {
        let (networks, text) = networks(written, resolver)?;
        Some(Spanned::new(written.span(), Allow { networks, text }))
    });
    Options {
        allow,
        index: index(raw.index.as_ref(), resolver),
        listing: raw.listing.clone(),
        running: running::read(raw, resolver),
        serving: serving::read(raw.serving(), table, resolver),
    }
}
