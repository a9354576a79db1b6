//! `[site.NAME]` into a [`Site`].

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_spanned::Spanned;

use crate::{
    cgi,
    config::{
        Reader, Seen,
        compile::{Scripts, listen_list, pages, resolver::Resolver, route, rule, serving},
        findings::Mistake,
        inherit::Effective,
        inspect,
        notation::{dotted, quoted, quoted_all},
        raw::{self, Texts},
        sources::{NOWHERE, Span},
    },
    fs::Root,
    semantics::authority::Host,
    site::{HostPattern, Networks, Origin, Site},
    transport::Listen,
};

/// A site, and its hosts with their places.
pub(super) struct Compiled {
    pub site: Site,
    pub hosts: Vec<Spanned<HostPattern>>,
    /// Only on these listeners; empty: on all.
    pub listen: Vec<Listen>,
}

/// Compiles one site with what the tables above it say.
pub(super) fn compile(
    name: &Spanned<String>,
    raw: &Spanned<raw::Site>,
    (server, scripts): (&[Listen], &Scripts),
    resolver: &mut Resolver<'_>,
) -> Compiled {
    let span = name.span();
    let raw = raw.get_ref();
    let site = Scope::new(name.get_ref());
    check_name(name, resolver);
    resolver.begin(&site.table, None);
    let hosts = site.hosts(raw, &span, resolver);
    let canonical = site.canonical(raw, &hosts, resolver);
    let root = site.root(raw, &span, resolver);
    let listen = listen(raw, server, resolver);
    let trusted = trusted(raw, resolver);
    let base = base_options((site.name, raw), scripts, resolver);
    let rules = rule::rules(&site, (&span, raw), &root, resolver);
    let files = route::files(&base, route::below_site(&root), None);
    let routes = route::routes(&site, (&rules, &base), &root, resolver);
    if resolver.reader == Reader::Server {
        pages::check(&routes, (&rules, &base), &files, resolver);
        pages::check_index(&routes, (&rules, &base), resolver.findings);
    }
    let site = Site {
        name: name.get_ref().as_str().into(),
        origin: resolver.origin(&span),
        canonical,
        files,
        root,
        trusted,
        routes,
        scripts: Arc::new(cgi::Queue::new(scripts.queue)),
    };
    Compiled {
        site,
        hosts,
        listen,
    }
}

/// A site while it is compiled: what its keys are called.
pub(super) struct Scope<'s> {
    pub name: &'s str,
    /// Its table as TOML writes it.
    pub table: Arc<str>,
}

impl<'s> Scope<'s> {
    fn new(name: &'s str) -> Self {
        let table = dotted(&["site", name]).into();
        Self { name, table }
    }

    /// A path key of the site, dotted.
    pub fn path_key(&self, text: &str) -> String {
        dotted(&["site", self.name, "path", text])
    }

    fn hosts(
        &self,
        raw: &raw::Site,
        span: &Span,
        resolver: &mut Resolver<'_>,
    ) -> Vec<Spanned<HostPattern>> {
        let none = Texts::default();
        let (texts, place) = match &raw.hosts {
            Some(written) => (written.get_ref(), written.span()),
            None => (&none, span.clone()),
        };
        if texts.0.is_empty() && !self.is_incomplete(resolver) {
            let mistake = Mistake::new(format!("site `{}` has no hosts", self.name));
            let help =
                "write hosts = [\"example.org\"], or [\"*\"] for whatever no other site takes";
            resolver.findings.error(&place, mistake.help(help));
        }
        let hosts = resolver.read_all(texts, |text| HostPattern::parse(text).map_err(Mistake::new));
        let value = quoted_all(hosts.iter().map(|host| host.get_ref().to_string()));
        resolver.record("hosts", &value, &place);
        hosts
    }

    fn canonical(
        &self,
        raw: &raw::Site,
        hosts: &[Spanned<HostPattern>],
        resolver: &mut Resolver<'_>,
    ) -> Option<Host> {
        let written = raw.canonical.as_ref()?;
        let host = resolver
            .findings
            .accept(&written.span(), single_host(written.get_ref()))?;
        let takes = |pattern: &Spanned<HostPattern>| match pattern.get_ref() {
            HostPattern::Exact(exact) => *exact == host,
            HostPattern::Wildcard(suffix) => host.as_str().ends_with(&**suffix),
            HostPattern::Any => true,
        };
        if !hosts.iter().any(takes) && !self.is_incomplete(resolver) {
            let message = format!("`canonical` is \"{host}\", which is not among the site's hosts");
            let mistake = Mistake::new(message).help(format!("add \"{host}\" to `hosts`"));
            resolver.findings.error(&written.span(), mistake);
        }
        resolver.record("canonical", &quoted(host.as_str()), &written.span());
        Some(host)
    }

    fn root(&self, raw: &raw::Site, span: &Span, resolver: &mut Resolver<'_>) -> Arc<Root> {
        let Some(written) = &raw.root else {
            if !self.is_incomplete(resolver) {
                let mistake = Mistake::new(format!("site `{}` has no root", self.name));
                let mistake = mistake.help("write root = \"/srv/www/example\"");
                resolver.findings.error(span, mistake);
            }
            return Arc::new(Root::new(PathBuf::new()));
        };
        let follow = follow(raw, resolver);
        let root = open_root(written.get_ref(), &written.span(), follow, resolver);
        let value = quoted(&root.path().to_string_lossy());
        resolver.record("root", &value, &written.span());
        root
    }

    /// Whether a key of the site was left out because of a mistake.
    fn is_incomplete(&self, resolver: &Resolver<'_>) -> bool {
        resolver.findings.is_incomplete(&["site", self.name])
    }
}

/// Directories elsewhere that symbolic links may lead to.
fn follow(raw: &raw::Site, resolver: &mut Resolver<'_>) -> Vec<PathBuf> {
    let Some(written) = &raw.follow else {
        return Vec::new();
    };
    let mut directories = Vec::new();
    for text in &written.get_ref().0 {
        let path = resolver
            .sources
            .resolve(Path::new(text.get_ref()), &text.span());
        if resolver.reader == Reader::Server
            && let Some(Err(reason)) = resolver.looks.at(&path, || inspect::directory(&path))
        {
            let message = format!("directory {} {reason}", text.get_ref());
            resolver
                .findings
                .warning(&text.span(), Mistake::new(message));
        }
        directories.push(path);
    }
    let shown = directories.iter().map(|path| path.to_string_lossy());
    resolver.record("follow", &quoted_all(shown), &written.span());
    directories
}

fn listen(raw: &raw::Site, server: &[Listen], resolver: &mut Resolver<'_>) -> Vec<Listen> {
    let Some(written) = &raw.listen else {
        resolver.record("listen", "[]", &NOWHERE);
        return Vec::new();
    };
    let listen = listen_list(written.get_ref(), resolver);
    for address in listen.iter().filter(|address| !server.contains(address)) {
        let mistake = Mistake::new(format!("{address} is not in `server.listen`"));
        let known = quoted_all(server.iter().map(Listen::to_string));
        let mistake = mistake.help(format!("the server listens on {known}"));
        resolver.findings.error(&written.span(), mistake);
    }
    let value = quoted_all(listen.iter().map(Listen::to_string));
    resolver.record("listen", &value, &written.span());
    listen
}

fn trusted(raw: &raw::Site, resolver: &mut Resolver<'_>) -> Networks {
    const DEFAULT: [&str; 2] = ["127.0.0.0/8", "::1"];
    let written = raw.trusted.as_ref();
    let written = written.and_then(|list| Some((networks(list, resolver)?, list.span())));
    let ((networks, text), span) = written.unwrap_or_else(|| {
        let networks = DEFAULT
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        ((networks, quoted_all(DEFAULT)), NOWHERE)
    });
    resolver.record("trusted", &text, &span);
    networks
}

/// What holds for every path of the site that does not say otherwise.
fn base_options(
    (name, raw): (&str, &raw::Site),
    scripts: &Scripts,
    resolver: &mut Resolver<'_>,
) -> Effective {
    let index = index(raw.index.as_ref(), resolver);
    let listing = raw.listing.clone();
    Effective {
        allow: Vec::new(),
        index: index.unwrap_or_else(|| Spanned::new(NOWHERE, vec!["index.html".into()])),
        listing: listing.unwrap_or_else(|| Spanned::new(NOWHERE, false)),
        running: scripts.running.clone(),
        serving: serving::read(raw.serving(), &["site", name], resolver),
    }
}

impl Resolver<'_> {
    /// Where something is written, also when that is the command line.
    pub(super) fn origin(&self, span: &Span) -> Origin {
        self.sources.origin(span).unwrap_or_else(|| Origin {
            file: "command line".into(),
            line: 0,
        })
    }
}

/// The name stands in logs, in the names of cgroups and in `explain`.
fn check_name(name: &Spanned<String>, resolver: &mut Resolver<'_>) {
    let fits = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    let text = name.get_ref();
    if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.chars().all(fits) {
        let mistake = Mistake::new(format!("{text:?} is not a name for a site"));
        let mistake = mistake.help("use letters, digits, `-`, `_` and `.`");
        resolver.findings.error(&name.span(), mistake);
    }
}

/// A host that stands for itself alone.
fn single_host(text: &str) -> Result<Host, Mistake> {
    match HostPattern::parse(text) {
        Ok(HostPattern::Exact(host)) => Ok(host),
        Ok(_) => Err(Mistake::new(format!("{text:?} is not one host"))),
        Err(reason) => Err(Mistake::new(reason)),
    }
}

/// A directory that is looked into now, so that a slip is found before the first request.
pub(super) fn open_root(
    path: &Path,
    span: &Span,
    follow: Vec<PathBuf>,
    resolver: &mut Resolver<'_>,
) -> Arc<Root> {
    let absolute = resolver.sources.resolve(path, span);
    if path.as_os_str().is_empty() {
        let mistake = Mistake::new("the path of a directory is empty");
        resolver.findings.error(span, mistake);
    } else if resolver.reader == Reader::Server
        && let Some(Some((seen, reason))) = resolver.looks.at(&absolute, || fault(&absolute))
    {
        let mistake = Mistake::new(format!("directory {} {reason}", path.display()));
        let mistake = if path == absolute {
            mistake
        } else {
            mistake.help(format!("it is looked for at {}", absolute.display()))
        };
        resolver.findings.error(span, mistake);
        // It may be mended where it is.
        resolver.seen.push(seen);
    }
    Arc::new(Root::new(absolute).following(follow))
}

/// Why a directory cannot be served, and how it was before that was found.
fn fault(directory: &Path) -> Option<(Seen, String)> {
    inspect::directory(directory).err()?;
    let seen = Seen::path(directory);
    let reason = inspect::directory(directory).err()?;
    Some((seen, reason))
}

/// A list of addresses and networks, and its text.
pub(super) fn networks(
    written: &Spanned<Texts>,
    resolver: &mut Resolver<'_>,
) -> Option<(Networks, String)> {
    let texts = written.get_ref();
    let networks = resolver.read_all(texts, |text| text.parse().map_err(Mistake::new));
    if networks.len() < texts.0.len() {
        return None;
    }
    let networks = networks.into_iter().map(Spanned::into_inner).collect();
    Some((networks, quoted_all(texts.0.iter().map(Spanned::get_ref))))
}

/// Names of index files.
pub(super) fn index(
    written: Option<&Spanned<Texts>>,
    resolver: &mut Resolver<'_>,
) -> Option<Spanned<Vec<Box<str>>>> {
    let written = written?;
    let name = |text: &str| match text {
        "" | "." | ".." => Err(Mistake::new(format!("{text:?} is not the name of a file"))),
        _ if text.contains(['/', '\0']) => {
            let mistake = Mistake::new(format!("{text:?} is not a name in the directory itself"));
            Err(mistake.help("write names without a slash, such as \"index.html\""))
        }
        _ => Ok(Box::from(text)),
    };
    let names = resolver.read_all(written.get_ref(), name);
    let names = names.into_iter().map(Spanned::into_inner).collect();
    Some(Spanned::new(written.span(), names))
}
