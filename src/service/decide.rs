//! The one function that says what a request means: the server acts on it, `pywebd explain`
//! prints it.
//!
//! It reads the filesystem and changes nothing. Nothing is found for whom the rule of the path does not
//! admit; an index, a fallback or a script is then found only for whom its own rule admits.

use std::net::IpAddr;

use http::{HeaderValue, Method, StatusCode};

use crate::{
    cgi,
    files::{self, Found, Look},
    semantics::{
        authority::{Authority, Host},
        failure::{Cause, Failure},
        target::Path,
    },
    service::decision::{Decision, Resource, Step, Trace},
    site::{
        Action, Origin, Route, RouteId, Site, SiteId, Snapshot,
        auth::{Unverified, User, Verdict},
    },
    transport::Listen,
};

/// What a request asks, and who asks it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The listener it came in by.
    pub listener: &'q Listen,
    /// The client's address; absent on a Unix socket.
    pub client: Option<IpAddr>,
    /// What the client shows of a password.
    pub authorization: Authorization<'q>,
    /// The method.
    pub method: &'q Method,
    /// The authority of the target.
    pub authority: Option<&'q Authority>,
    /// The path of the target.
    pub path: &'q Path<'q>,
    /// The query of the target.
    pub query: Option<&'q str>,
}

/// What a client shows of a password.
#[derive(Debug, Clone, Copy)]
pub enum Authorization<'q> {
    /// This value of `Authorization`.
    Shown(Option<&'q HeaderValue>),
    /// Whatever is asked for: to explain what a user would get.
    Assumed,
}

/// Why there is no decision.
#[derive(Debug)]
pub enum Undecided {
    /// The look-up, in this site, would wait, and was told not to.
    WouldWait(SiteId),
    /// A password has to be verified before: this route of the site asks for it.
    Unverified(SiteId, RouteId, Unverified),
    /// No site takes the host.
    NoSite(Failure),
}

/// Why a resource is not reached.
enum Stop {
    WouldWait,
    Unverified(Unverified),
    Failure(Failure),
}

/// Decides what a request comes to.
pub fn decide(
    snapshot: &Snapshot,
    question: Question<'_>,
    look: Look<'_>,
    trace: &mut impl Trace,
) -> Result<Decision, Undecided> {
    let host = question.authority.map(|authority| &authority.host);
    let id = snapshot
        .select(question.listener, host)
        .map_err(Undecided::NoSite)?;
    let site = &snapshot[id];
    trace.step(|| site_step(site, host));
    if let Some(resource) = canonical(site, question) {
        return Ok(Decision {
            site: id,
            route: None,
            user: None,
            is_for_all: true,
            outcome: Ok(resource),
        });
    }
    let mut walk = Walk {
        site,
        route: site.routes.find(question.path.as_bytes()),
        user: None,
        is_for_all: true,
        look,
    };
    trace.step(|| route_step(walk.rule()));
    let outcome = match walk.reach(question, trace) {
        Ok(resource) => Ok(resource),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::WouldWait) => return Err(Undecided::WouldWait(id)),
        Err(Stop::Unverified(unverified)) => {
            return Err(Undecided::Unverified(id, walk.route, unverified));
        }
    };
    let decision = Decision {
        site: id,
        route: Some(walk.route),
        user: walk.user,
        is_for_all: walk.is_for_all,
        outcome,
    };
    trace.step(|| resource_step(&decision, site, question.path));
    Ok(decision)
}

/// A site with a canonical host sends its other hosts there.
fn canonical(site: &Site, question: Question<'_>) -> Option<Resource> {
    let authority = question.authority?;
    let canonical = site.canonical.as_ref()?;
    if authority.host == *canonical {
        return None;
    }
    let port = authority.port.map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    let location = format!("http://{canonical}{port}{}", question.path.to_uri());
    Some(Resource::Redirect {
        location: with_query(location, question.query),
        status: StatusCode::MOVED_PERMANENTLY,
    })
}

/// The way to a resource.
struct Walk<'s> {
    site: &'s Site,
    /// The route that decides, so far.
    route: RouteId,
    /// Who has shown a password.
    user: Option<User>,
    /// Whether no rule so far has looked at the client.
    is_for_all: bool,
    look: Look<'s>,
}

impl<'s> Walk<'s> {
    fn rule(&self) -> &'s Route {
        &self.site.routes[self.route]
    }

    /// What a path names under its route, for whom the route admits.
    fn reach(&mut self, question: Question<'_>, trace: &mut impl Trace) -> Result<Resource, Stop> {
        self.pass(question, trace)?;
        match &self.rule().action {
            Action::Deny => Err(denied(self.rule())),
            Action::Redirect(redirect) => Ok(Resource::Redirect {
                location: redirect.location(question.path, question.query),
                status: redirect.status,
            }),
            Action::Files(options) => self.reach_file(options, question, trace),
            Action::Cgi(options) => self.reach_script(options, question, trace),
        }
    }

    /// A file, and an index or a fallback under its own rule: one that denies it is not passed by,
    /// and one that runs it takes every method.
    fn reach_file(
        &mut self,
        options: &files::Options,
        question: Question<'_>,
        trace: &mut impl Trace,
    ) -> Result<Resource, Stop> {
        let admitted = files::admit(question.method);
        let resource = match self.file(options, question) {
            Err(Stop::Failure(failure)) => return Err(admitted.err().unwrap_or(failure).into()),
            outcome => outcome?,
        };
        if let Some(path) = own_path(&resource) {
            let own = self.site.routes.find(path.as_bytes());
            // A redirect leads away from its name, very likely to here.
            let is_redirect = matches!(self.site.routes[own].action, Action::Redirect(_));
            if !is_redirect && self.turn_to(own, question, trace)? {
                return self.own_resource(Question { path, ..question });
            }
        }
        admitted?;
        Ok(resource)
    }

    /// A script, under its own rule where the path goes on after its name or is its directory's.
    fn reach_script(
        &mut self,
        options: &cgi::Options,
        question: Question<'_>,
        trace: &mut impl Trace,
    ) -> Result<Resource, Stop> {
        let path = question.path.as_bytes();
        let resource = self.script(options, path, question)?;
        let Resource::Script { script, .. } = resource else {
            return Ok(resource);
        };
        // The one program of a key has no path of its own.
        if !matches!(options.programs, cgi::Programs::One { .. }) {
            let own = self.site.routes.find(&script.name);
            if self.turn_to(own, question, trace)? {
                let Action::Cgi(own) = &self.rule().action else {
                    return Err(denied(self.rule()));
                };
                let path = [&*script.name, &*script.path_info].concat();
                return self.script(own, &path, question);
            }
        }
        let route = self.route;
        Ok(Resource::Script { route, script })
    }

    fn file(&self, options: &files::Options, question: Question<'_>) -> Result<Resource, Stop> {
        let route = self.route;
        match files::locate(options, question.path, self.look) {
            Ok(found) => Ok(Resource::Files { route, found }),
            Err(files::LocateError::Failure(failure)) => Err(Stop::Failure(failure)),
            Err(files::LocateError::WouldWait) => Err(Stop::WouldWait),
            Err(files::LocateError::MissingSlash) => Ok(to_directory(question)),
        }
    }

    fn script(
        &self,
        options: &cgi::Options,
        path: &[u8],
        question: Question<'_>,
    ) -> Result<Resource, Stop> {
        if matches!(*question.method, Method::CONNECT | Method::TRACE) {
            // The one asks for a tunnel, the other what the server itself was sent.
            let cause = Cause::UnknownMethod(question.method.clone());
            return Err(Stop::Failure(Failure::new(
                StatusCode::NOT_IMPLEMENTED,
                cause,
            )));
        }
        let route = self.route;
        match cgi::locate::locate(options, path, self.look.wait) {
            Ok(script) => Ok(Resource::Script { route, script }),
            Err(cgi::locate::LocateError::Failure(failure)) => Err(Stop::Failure(failure)),
            Err(cgi::locate::LocateError::WouldWait) => Err(Stop::WouldWait),
            Err(cgi::locate::LocateError::MissingSlash) => Ok(to_directory(question)),
        }
    }

    /// What an index's own rule makes of it.
    fn own_resource(&self, question: Question<'_>) -> Result<Resource, Stop> {
        match &self.rule().action {
            Action::Files(options) => {
                files::admit(question.method)?;
                let mut resource = self.file(options, question)?;
                if let Resource::Files {
                    found: Found::File { own_path, .. },
                    ..
                } = &mut resource
                {
                    *own_path = Some(question.path.clone().into_owned());
                }
                Ok(resource)
            }
            Action::Cgi(options) => self.script(options, question.path.as_bytes(), question),
            Action::Deny | Action::Redirect(_) => Err(denied(self.rule())),
        }
    }

    /// Goes on under another route, if it is another one and admits the client.
    fn turn_to(
        &mut self,
        route: RouteId,
        question: Question<'_>,
        trace: &mut impl Trace,
    ) -> Result<bool, Stop> {
        if route == self.route {
            return Ok(false);
        }
        self.route = route;
        trace.step(|| route_step(self.rule()));
        self.pass(question, trace)?;
        Ok(true)
    }

    /// Passes the rule, if it admits the client.
    fn pass(&mut self, question: Question<'_>, trace: &mut impl Trace) -> Result<(), Stop> {
        let rule = self.rule();
        self.is_for_all &= rule.allow.is_empty() && rule.auth.is_none();
        if let Some(user) = admit(rule, question, trace)? {
            self.user = Some(user);
        }
        Ok(())
    }
}

/// The path of a file that was found by another one.
fn own_path(resource: &Resource) -> Option<&Path<'static>> {
    match resource {
        Resource::Files {
            found: Found::File { own_path, .. },
            ..
        } => own_path.as_ref(),
        _ => None,
    }
}

/// Every address list that applies must have the client, and then a password may be needed.
fn admit(
    route: &Route,
    question: Question<'_>,
    trace: &mut impl Trace,
) -> Result<Option<User>, Stop> {
    let client = question.client;
    let allowed = route.allow.iter().all(|networks| networks.contains(client));
    if !route.allow.is_empty() {
        trace.step(|| {
            Step::access(match (allowed, client) {
                (true, _) => "the client's address is allowed".to_owned(),
                (false, Some(client)) => format!("{client} is not in every `allow` that applies"),
                (false, None) => "a client on a Unix socket is not allowed".to_owned(),
            })
        });
    }
    if !allowed {
        let cause = Cause::NotAllowed(route.text.to_string());
        return Err(Stop::Failure(Failure::new(StatusCode::FORBIDDEN, cause)));
    }
    let Some(auth) = &route.auth else {
        return Ok(None);
    };
    let Authorization::Shown(authorization) = question.authorization else {
        trace.step(|| Step::access("a password is needed; what follows is with one".to_owned()));
        return Ok(None);
    };
    match auth.check(authorization) {
        Verdict::Granted(user) => Ok(Some(user)),
        Verdict::Refused(failure) => Err(Stop::Failure(failure)),
        Verdict::Unverified(unverified) => Err(Stop::Unverified(unverified)),
    }
}

/// The path of a directory that was asked for without its slash.
fn to_directory(question: Question<'_>) -> Resource {
    Resource::Redirect {
        location: with_query(question.path.to_uri() + "/", question.query),
        status: StatusCode::MOVED_PERMANENTLY,
    }
}

/// A reference with the query of the request.
fn with_query(mut location: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    location
}

fn denied(route: &Route) -> Stop {
    let cause = Cause::Denied(route.text.to_string());
    Stop::Failure(Failure::new(StatusCode::FORBIDDEN, cause))
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

fn site_step(site: &Site, host: Option<&Host>) -> Step {
    let host = host.map_or_else(|| "no host".to_owned(), |host| format!("host {host}"));
    Step {
        topic: "site",
        finding: format!("site `{}` takes {host}", site.name),
        origin: place(&site.origin),
    }
}

fn route_step(route: &Route) -> Step {
    let action = match &route.action {
        Action::Files(_) => "serve files",
        Action::Cgi(_) => "run scripts",
        Action::Redirect(_) => "redirect",
        Action::Deny => "deny",
    };
    Step {
        topic: "rule",
        finding: format!("path key \"{}\": {action}", route.text),
        origin: place(&route.origin),
    }
}

fn resource_step(decision: &Decision, site: &Site, path: &Path<'_>) -> Step {
    let finding = match &decision.outcome {
        Ok(Resource::Files { route, found }) => {
            let options = site.routes.files(*route);
            let (kind, path) = match found {
                Found::File { own_path, .. } => {
                    let path = own_path.as_ref().unwrap_or(path);
                    let name = options.place.relative(path.as_bytes());
                    let media_type = options.types.of(name).value;
                    let media_type = media_type.to_str().unwrap_or("?");
                    (format!("file, {media_type}"), path)
                }
                Found::Directory(_) => ("directory, listed".to_owned(), path),
            };
            let file = options.place.absolute(path.as_bytes());
            format!("{kind}: {}", file.display())
        }
        Ok(Resource::Script { script, .. }) => format!("script: {}", script.file.display()),
        Ok(Resource::Redirect { location, status }) => format!("{status} to {location}"),
        Err(failure) => failure.to_string(),
    };
    Step {
        topic: "resource",
        finding,
        origin: None,
    }
}

fn place(origin: &Origin) -> Option<String> {
    (origin.line > 0).then(|| format!("{}:{}", origin.file, origin.line))
}
