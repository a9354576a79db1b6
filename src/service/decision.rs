//! What a request comes to before anything is done about it.

use http::StatusCode;

use crate::{
    cgi::{self, locate::Script},
    files::{self, Found},
    semantics::failure::Failure,
    site::{Action, Route, RouteId, Site, SiteId, auth::User},
};

/// Which site, and what is there.
#[derive(Debug)]
pub struct Decision {
    /// The site.
    pub site: SiteId,
    /// The route that says how the resource is answered with; none where the whole site is
    /// elsewhere.
    pub route: Option<RouteId>,
    /// The user, where a password was asked for.
    pub user: Option<User>,
    /// What is there, or why the client does not get it.
    pub outcome: Result<Resource, Failure>,
}

/// What a path names (RFC 9110 §3.1).
#[derive(Debug)]
pub enum Resource {
    /// A file or a directory to list.
    Files(Found),
    /// A program to run.
    Script(Script),
    /// Another place.
    Redirect {
        /// Where: a URI reference.
        location: String,
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
    },
}

impl Decision {
    /// What the route of a file says about files.
    pub fn files<'s>(&self, site: &'s Site) -> &'s files::Options {
        match self.route(site).map(|route| &route.action) {
            Some(Action::Files(options)) => options,
            _ => unreachable!("only a route for files leads to a file"),
        }
    }

    /// The route of a script, and what it says about running it.
    pub fn scripts<'s>(&self, site: &'s Site) -> (&'s Route, &'s cgi::Options) {
        match self.route(site).map(|route| (route, &route.action)) {
            Some((route, Action::Cgi(options))) => (route, options),
            _ => unreachable!("only a `cgi` route leads to a script"),
        }
    }

    /// The route.
    pub fn route<'s>(&self, site: &'s Site) -> Option<&'s Route> {
        self.route.map(|id| &site.routes[id])
    }
}

/// One thing that was considered on the way, for `pywebd explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is about: `site`, `rule`, `access`, `resource`.
    pub topic: &'static str,
    /// What was found.
    pub finding: String,
    /// Where the configuration says so: `file:line`.
    pub origin: Option<String>,
}

impl Step {
    /// A step about who may.
    pub fn access(finding: String) -> Self {
        Self {
            topic: "access",
            finding,
            origin: None,
        }
    }
}

/// Who wants to know the steps. `()` does not, and pays nothing for them.
pub trait Trace {
    /// A step was taken.
    fn step(&mut self, make: impl FnOnce() -> Step);
}

impl Trace for () {
    fn step(&mut self, _: impl FnOnce() -> Step) {}
}

impl Trace for Vec<Step> {
    fn step(&mut self, make: impl FnOnce() -> Step) {
        self.push(make());
    }
}
