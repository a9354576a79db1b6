//! What a request comes to before anything is done about it.

use http::StatusCode;

use crate::{
    cgi::{self, locate::Script},
    files::Found,
    semantics::failure::Failure,
    site::{Action, RouteId, Site, SiteId},
};

/// Which site, and what is there.
#[derive(Debug)]
pub struct Decision {
    /// The site.
    pub site: SiteId,
    /// What is there, or why the client does not get it.
    pub outcome: Result<Resource, Failure>,
}

/// What a path names (RFC 9110 §3.1).
#[derive(Debug)]
pub enum Resource {
    /// A file or a directory to list.
    Files(Found),
    /// A program to run.
    Script(ScriptResource),
    /// Another place.
    Redirect {
        /// Where: a URI reference, without the query.
        location: String,
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
    },
}

/// A program to run, and the route that says how.
#[derive(Debug)]
pub struct ScriptResource {
    /// The program.
    pub script: Script,
    /// The route that led to it.
    pub route: RouteId,
}

impl ScriptResource {
    /// What the route says about running it.
    pub fn options<'s>(&self, site: &'s Site) -> &'s cgi::Options {
        match &site.routes[self.route].action {
            Action::Cgi(options) => options,
            _ => unreachable!("only a `cgi` route leads to a script"),
        }
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
