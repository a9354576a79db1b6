//! What was written into the [`Snapshot`]: one function for each table, each default beside the
//! field it is for. Everything wrong is reported; the snapshot is good only when nothing was.

mod auth;
mod cache;
mod log;
mod pages;
mod redirect;
mod resolver;
mod route;
mod rule;
mod running;
mod scripts;
mod serving;
mod site;

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use serde_spanned::Spanned;

use crate::{
    cgi,
    config::{
        Reader, Seen, Values,
        findings::{Findings, Mistake},
        looks::Looks,
        notation::{quoted, quoted_all},
        raw::{self, Quantity, Raw, Texts, Written},
        running::Running,
        sources::{NOWHERE, Sources},
        units::{self, COUNT, DURATION, Notation, SIZE},
    },
    site::{HostPattern, Hosts, Limits, Site, SiteId, Snapshot},
    transport::Listen,
};

use resolver::Resolver;

/// What comes of compiling.
pub(super) struct Compiled {
    /// Not to be used when an error was found.
    pub snapshot: Snapshot,
    pub values: Values,
    /// What was read for it, or is missing.
    pub seen: Vec<Seen>,
}

/// Compiles what was written.
pub(super) fn compile(
    raw: &Raw,
    sources: &Sources,
    findings: &mut Findings,
    reader: Reader,
) -> Compiled {
    let looks = Looks::new();
    let mut resolver = Resolver {
        sources,
        findings,
        reader,
        looks: &looks,
        values: Values::default(),
        seen: Vec::new(),
    };
    let listen = listeners(&raw.server, &mut resolver);
    let workers = workers(&raw.server, &mut resolver);
    let log = log::compile(&raw.log, &mut resolver);
    let limits = limits(&raw.limits, &mut resolver);
    let cache = cache::size(&raw.cache, &mut resolver);
    let scripts = scripts(&raw.cgi, &mut resolver);
    let mut sites = Vec::new();
    let mut hosts = Vec::new();
    for (name, site) in &raw.site {
        let compiled = site::compile(name, site, (&listen, &scripts), &mut resolver);
        let id = SiteId(sites.len());
        for host in compiled.hosts {
            hosts.push((host, compiled.listen.clone(), id));
        }
        sites.push(compiled.site);
    }
    if sites.is_empty() {
        report_no_site(resolver.findings);
    }
    report_shared_hosts(&hosts, &sites, &mut resolver);
    report_silent(&looks, resolver.findings);
    let hosts = hosts
        .into_iter()
        .map(|(host, listen, site)| (host.into_inner(), listen, site));
    let snapshot = Snapshot {
        listen,
        workers,
        log,
        limits,
        cache,
        hosts: Hosts::new(hosts),
        sites,
    };
    Compiled {
        snapshot,
        values: resolver.values,
        seen: resolver.seen,
    }
}

/// `server.listen`
fn listeners(raw: &raw::Server, resolver: &mut Resolver<'_>) -> Vec<Listen> {
    let default = Texts(vec![Spanned::new(NOWHERE, "[::]:80".to_owned())]);
    let (texts, span) = match &raw.listen {
        Some(written) => (written.get_ref(), written.span()),
        None => (&default, NOWHERE),
    };
    if texts.0.is_empty() {
        let mistake = Mistake::new("`listen` is empty: nobody could connect");
        let mistake = mistake.help("write an address, or leave the key out for \"[::]:80\"");
        resolver.findings.error(&span, mistake);
    }
    let listen = listen_list(texts, resolver);
    let value = quoted_all(listen.iter().map(Listen::to_string));
    resolver.record_of("server.listen", &value, &span);
    listen
}

/// The addresses of an array, each once.
fn listen_list(texts: &Texts, resolver: &mut Resolver<'_>) -> Vec<Listen> {
    let mut list = Vec::new();
    for address in resolver.read_all(texts, units::listen) {
        let span = address.span();
        let address = match address.into_inner() {
            Listen::Unix(path) => Listen::Unix(resolver.sources.resolve(&path, &span)),
            tcp @ Listen::Tcp(_) => tcp,
        };
        if list.contains(&address) {
            let message = format!("address {address} stands twice");
            resolver.findings.error(&span, Mistake::new(message));
        } else {
            list.push(address);
        }
    }
    list
}

/// `server.workers`
fn workers(raw: &raw::Server, resolver: &mut Resolver<'_>) -> Option<usize> {
    resolver
        .resolve("server.workers", raw.workers.as_ref(), &WORKERS, None)
        .into_inner()
}

/// None is one for each processor.
const WORKERS: Notation<Quantity, Option<usize>> = Notation {
    read: |written| match written {
        Quantity::Text(text) if text == "auto" => Ok(None),
        Quantity::Number(count @ 1..=1024) => Ok(usize::try_from(*count).ok()),
        Quantity::Number(count) => Err(Mistake::new(format!("{count} is no number of workers"))
            .help("write a number from 1 to 1024, or \"auto\"")),
        Quantity::Text(text) => Err(Mistake::new(format!("{text:?} is no number of workers"))
            .help("write \"auto\", or a number without quotes")),
    },
    write: |workers| match workers {
        Some(count) => count.to_string(),
        None => quoted("auto"),
    },
};

/// What hyper's buffer needs at least, and what a connection may take of the memory.
const HEAD_SIZES: RangeInclusive<u64> = 8 << 10..=16 << 20;

/// `[limits]`
fn limits(raw: &raw::Limits, resolver: &mut Resolver<'_>) -> Limits {
    let mut duration = |key: &str, written: &Written<Quantity>, default| {
        let key = format!("limits.{key}");
        let default = Duration::from_secs(default);
        resolver
            .resolve(&key, written.as_ref(), &DURATION, default)
            .into_inner()
    };
    let request_head_timeout = duration("request-head-timeout", &raw.request_head_timeout, 10);
    let request_body_timeout = duration("request-body-timeout", &raw.request_body_timeout, 30);
    let response_timeout = duration("response-timeout", &raw.response_timeout, 30);
    let idle_timeout = duration("idle-timeout", &raw.idle_timeout, 60);
    let mut size = |key: &str, written: &Written<Quantity>, default| {
        let key = format!("limits.{key}");
        resolver.resolve_within(&key, written.as_ref(), &SIZE, default)
    };
    let head = size(
        "request-head-size",
        &raw.request_head_size,
        (32 << 10, HEAD_SIZES),
    );
    let body = size(
        "request-body-size",
        &raw.request_body_size,
        (1 << 30, 0..=u64::MAX),
    );
    let mut count = |key: &str, written: &Written<Quantity>, default| {
        let key = format!("limits.{key}");
        resolver.resolve_within(&key, written.as_ref(), &COUNT, default)
    };
    Limits {
        request_head_timeout,
        request_body_timeout,
        response_timeout,
        idle_timeout,
        // Bounded above.
        request_head_size: usize::try_from(head).unwrap_or(usize::MAX),
        request_body_size: body,
        request_headers: count("request-headers", &raw.request_headers, (100, 1..=10_000)),
        connections: count("connections", &raw.connections, (20_000, 1..=1_000_000)),
    }
}

/// `[cgi]`: what holds for every script that does not say otherwise.
struct Scripts {
    running: Running,
    queue: cgi::QueueLimits,
}

fn scripts(raw: &raw::Cgi, resolver: &mut Resolver<'_>) -> Scripts {
    let running = running::read_defaults(raw, resolver);
    let mut count = |key, written: &Written<Quantity>, default| {
        resolver.resolve_within(key, written.as_ref(), &COUNT, default)
    };
    Scripts {
        running,
        queue: cgi::QueueLimits {
            running: count("cgi.max-running", &raw.max_running, (64, 1..=100_000)),
            queued: count("cgi.max-queued", &raw.max_queued, (256, 0..=100_000)),
        },
    }
}

/// What does not answer now may when it is asked for, so it keeps nothing else from being served.
fn report_silent(looks: &Looks, findings: &mut Findings) {
    for mount in looks.silent() {
        let mount = mount.display();
        let message =
            format!("the filesystem at {mount} does not answer: nothing there was looked at");
        let help =
            "requests for it are answered 503 until it does; `findmnt` tells what it waits for";
        findings.warning(&NOWHERE, Mistake::new(message).help(help));
    }
}

fn report_no_site(findings: &mut Findings) {
    // A site that could not be read was reported already.
    if findings.is_incomplete(&[]) || findings.is_incomplete(&["site"]) {
        return;
    }
    let example = "write, for example:\n\
                   [site.example]\n\
                   hosts = [\"example.org\", \"*\"]\n\
                   root = \"/srv/www/example\"\n\
                   index = [\"index.html\"]\n\
                   listing = false";
    let mistake = Mistake::new("there is no site").help(example);
    findings.error(&NOWHERE, mistake);
}

/// A host of a site, and the listeners it is for.
type Taken = (Spanned<HostPattern>, Vec<Listen>, SiteId);

/// A host belongs to one site on each listener.
fn report_shared_hosts(hosts: &[Taken], sites: &[Site], resolver: &mut Resolver<'_>) {
    let mut taken: HashMap<&HostPattern, Vec<&Taken>> = HashMap::new();
    let mut in_order: Vec<_> = hosts.iter().collect();
    in_order.sort_by_key(|(host, ..)| host.span().start);
    for entry in in_order {
        let (host, listen, site) = entry;
        let others = taken.entry(host.get_ref()).or_default();
        let shares = |(_, theirs, _): &&&Taken| share_listener(theirs, listen);
        match others.iter().find(shares) {
            Some((.., other)) if other == site => {
                let twice = Mistake::new("the host stands twice in this site");
                resolver.findings.warning(&host.span(), twice);
            }
            Some((first, _, other)) => {
                let host_text = host.get_ref();
                let name = &sites[other.0].name;
                let message = format!("host \"{host_text}\" belongs to site `{name}` already");
                let place = resolver.origin(&first.span());
                let help = format!("it is taken at {}:{}", place.file, place.line);
                let mistake = Mistake::new(message).help(help);
                resolver.findings.error(&host.span(), mistake);
            }
            None => {}
        }
        others.push(entry);
    }
}

/// An empty list is every listener.
fn share_listener(one: &[Listen], other: &[Listen]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|listen| other.contains(listen))
}
