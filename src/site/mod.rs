//! The compiled configuration: an immutable snapshot, and which of its sites a request is for.

#![forbid(unsafe_code)]

pub mod access;
pub mod auth;
pub mod header_rules;
pub mod host;
pub mod key;
pub mod limits;
pub mod passwords;
pub mod route;

use std::{collections::HashMap, sync::Arc};

use http::StatusCode;

use crate::{
    cgi, files,
    fs::Root,
    semantics::{
        authority::Host,
        failure::{Cause, Failure},
    },
    transport::Listen,
};

pub use access::Networks;
pub use auth::BasicAuth;
pub use header_rules::HeaderRules;
pub use host::{HostPattern, Hosts};
pub use key::Key;
pub use limits::{AccessLog, Limits, Log};
pub use route::{Action, ErrorPages, Redirect, Route, RouteId, Routes};

/// Where something was written, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file; for a configuration from the command line, `command line`.
    pub file: Arc<str>,
    /// The line, from 1; 0 where there is none.
    pub line: u32,
}

/// One whole configuration, compiled. Requests hold the one they began with.
#[derive(Debug)]
pub struct Snapshot {
    /// Addresses to listen on.
    pub listen: Vec<Listen>,
    /// Threads; absent: one for each processor.
    pub workers: Option<usize>,
    /// Logging.
    pub log: Log,
    /// Limits of connections and requests.
    pub limits: Limits,
    /// What is kept of files in memory.
    pub cache: files::cache::Size,
    /// The sites, in the order of their names; [`SiteId`] indexes them.
    pub sites: Vec<Site>,
    /// Hosts to sites.
    pub hosts: Hosts,
}

/// The place of a site in its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SiteId(pub usize);

/// One virtual host.
#[derive(Debug)]
pub struct Site {
    /// The handle in logs and in `explain`.
    pub name: Arc<str>,
    /// Where the site's table begins.
    pub origin: Origin,
    /// The host that the others redirect to.
    pub canonical: Option<Host>,
    /// The root of its files.
    pub root: Arc<Root>,
    /// How files of the root are served where no path key is asked: pages for errors.
    pub files: files::Options,
    /// Who sees diagnosis pages.
    pub trusted: Networks,
    /// What to do with each path.
    pub routes: Routes,
    /// The queue that all scripts of the site share.
    pub scripts: Arc<cgi::Queue>,
}

impl Snapshot {
    /// The site for a host on a listener: exact beats wildcard (the longest wins) beats `*`.
    /// A request without a host is for `*`. Fails with 421 (RFC 9110 §15.5.20).
    pub fn select(&self, listener: &Listen, host: Option<&Host>) -> Result<SiteId, Failure> {
        self.hosts.find(listener, host).ok_or_else(|| {
            let host = host.map(Host::to_string).unwrap_or_default();
            Failure::new(StatusCode::MISDIRECTED_REQUEST, Cause::UnknownHost(host))
        })
    }

    /// Goes on with the queues of scripts of the configuration that was in force, each with the new
    /// limits: what runs and waits of a site counts as before.
    pub fn succeed(&mut self, former: &Self) {
        let former: HashMap<&str, &Site> = former
            .sites
            .iter()
            .map(|site| (&*site.name, site))
            .collect();
        for site in &mut self.sites {
            if let Some(former) = former.get(&*site.name) {
                former.scripts.limit(site.scripts.limits());
                site.scripts = Arc::clone(&former.scripts);
            }
        }
    }

    /// The site with this name.
    pub fn site_named(&self, name: &str) -> Option<&Site> {
        let place = self.sites.binary_search_by(|site| (*site.name).cmp(name));
        place.ok().map(|at| &self.sites[at])
    }
}

impl std::ops::Index<SiteId> for Snapshot {
    type Output = Site;

    fn index(&self, id: SiteId) -> &Site {
        &self.sites[id.0]
    }
}
