//! What a request comes to before anything is done about it.

use http::StatusCode;

use crate::{
    cgi::locate::Script,
    files::Found,
    semantics::failure::Failure,
    site::{RouteId, SiteId, auth::User},
};

/// Which site, and what is there.
#[derive(Debug)]
pub struct Decision {
    /// The site.
    pub site: SiteId,
    /// The route that decided; none where the whole site is elsewhere.
    pub route: Option<RouteId>,
    /// The user, where a password was asked for.
    pub user: Option<User>,
    /// Whether everybody gets the same who asks the same: no rule on the way looks at the client.
    pub is_for_all: bool,
    /// What is there, or why the client does not get it.
    pub outcome: Result<Resource, Failure>,
}

/// What a path names (RFC 9110 §3.1).
#[derive(Debug)]
pub enum Resource {
    /// A file or a directory to list.
    Files {
        /// The route, one for files, that says how.
        route: RouteId,
        /// What was found.
        found: Found,
    },
    /// A program to run.
    Script {
        /// The route, one for programs, that says how.
        route: RouteId,
        /// The program.
        script: Script,
    },
    /// Another place.
    Redirect {
        /// Where: a URI reference.
        location: String,
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
    },
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
