//! The one function that says what a request means: the server acts on it, `pywebd explain`
//! prints it.
//!
//! It reads the filesystem and changes nothing. Access is decided before any file is touched.

use std::net::IpAddr;

use http::{Method, StatusCode};

use crate::{
    cgi::{self, locate::Script},
    files::{self, LocateError},
    fs::Wait,
    semantics::{
        authority::{Authority, Host},
        failure::{Cause, Failure},
        target::{self, Path},
    },
    service::decision::{Decision, Resource, ScriptResource, Step, Trace},
    site::{Action, Key, Origin, Redirect, Route, RouteId, Site, Snapshot},
    transport::Listen,
};

/// What a request asks, and who asks it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The listener it came in by.
    pub listener: &'q Listen,
    /// The client's address; absent on a Unix socket.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: &'q Method,
    /// The authority of the target.
    pub authority: Option<&'q Authority>,
    /// The path of the target.
    pub path: &'q Path<'q>,
}

/// Why there is no decision.
#[derive(Debug)]
pub enum Undecided {
    /// The look-up would wait, and was told not to.
    WouldWait,
    /// No site takes the host.
    NoSite(Failure),
}

/// Decides what a request comes to.
pub fn decide(
    snapshot: &Snapshot,
    question: Question<'_>,
    wait: Wait,
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
            outcome: Ok(resource),
        });
    }
    let route_id = site.routes.find(question.path.as_bytes());
    let route = &site.routes[route_id];
    trace.step(|| route_step(route));
    let outcome = match admit(route, question.client, trace) {
        Ok(()) => {
            let outcome = resource(site, route_id, question, wait)?;
            trace.step(|| resource_step(&outcome, route, question.path));
            outcome
        }
        Err(failure) => Err(failure),
    };
    Ok(Decision { site: id, outcome })
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
    Some(Resource::Redirect {
        location: format!("http://{canonical}{port}{}", question.path.to_uri()),
        status: StatusCode::MOVED_PERMANENTLY,
    })
}

/// Every address list that applies must have the client.
fn admit(route: &Route, client: Option<IpAddr>, trace: &mut impl Trace) -> Result<(), Failure> {
    let allowed = route.allow.iter().all(|networks| networks.contains(client));
    if !route.allow.is_empty() {
        trace.step(|| Step {
            topic: "access",
            finding: match (allowed, client) {
                (true, _) => "the client's address is allowed".to_owned(),
                (false, Some(client)) => format!("{client} is not in every `allow` that applies"),
                (false, None) => "a client on a Unix socket is not allowed".to_owned(),
            },
            origin: None,
        });
    }
    if allowed {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        Cause::NotAllowed(route.text.to_string()),
    ))
}

fn resource(
    site: &Site,
    id: RouteId,
    question: Question<'_>,
    wait: Wait,
) -> Result<Result<Resource, Failure>, Undecided> {
    let route = &site.routes[id];
    Ok(match &route.action {
        Action::Deny => Err(Failure::new(
            StatusCode::FORBIDDEN,
            Cause::Denied(route.text.to_string()),
        )),
        Action::Redirect(redirect) => Ok(redirection(redirect, &route.key, question.path)),
        Action::Files(options) => file(options, question, wait)?,
        Action::Cgi(options) => {
            match cgi::locate::locate(options, question.path.as_bytes(), wait) {
                Ok(script) => script_resource(site, id, script, question.client),
                Err(cgi::locate::LocateError::WouldWait) => return Err(Undecided::WouldWait),
                Err(cgi::locate::LocateError::Failure(failure)) => Err(failure),
            }
        }
    })
}

/// The script under its own rule: a key for the script itself, such as one that denies it, is not
/// passed by with a path that goes on after its name.
fn script_resource(
    site: &Site,
    id: RouteId,
    script: Script,
    client: Option<IpAddr>,
) -> Result<Resource, Failure> {
    let own = site.routes.find(&script.name);
    if own != id {
        let route = &site.routes[own];
        admit(route, client, &mut ())?;
        if !matches!(route.action, Action::Cgi(_)) {
            let cause = Cause::Denied(route.text.to_string());
            return Err(Failure::new(StatusCode::FORBIDDEN, cause));
        }
    }
    Ok(Resource::Script(ScriptResource { script, route: own }))
}

fn file(
    options: &files::Options,
    question: Question<'_>,
    wait: Wait,
) -> Result<Result<Resource, Failure>, Undecided> {
    if let Err(failure) = files::admit(question.method) {
        return Ok(Err(failure));
    }
    match files::locate(options, question.path, wait) {
        Ok(found) => Ok(Ok(Resource::Files(found))),
        Err(LocateError::Failure(failure)) => Ok(Err(failure)),
        Err(LocateError::WouldWait) => Err(Undecided::WouldWait),
        Err(LocateError::MissingSlash) => Ok(Ok(Resource::Redirect {
            location: format!("{}/", question.path.to_uri()),
            status: StatusCode::MOVED_PERMANENTLY,
        })),
    }
}

/// A trailing `*` of the target takes what the path has beyond the key.
fn redirection(redirect: &Redirect, key: &Key, path: &Path<'_>) -> Resource {
    let location = match (redirect.to.strip_suffix('*'), key) {
        (Some(base), Key::Prefix(prefix)) => {
            let rest = path.as_bytes().get(prefix.len()..).unwrap_or_default();
            format!("{base}{}", target::encode(rest))
        }
        _ => redirect.to.to_string(),
    };
    Resource::Redirect {
        location,
        status: redirect.status,
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

fn resource_step(outcome: &Result<Resource, Failure>, route: &Route, path: &Path<'_>) -> Step {
    let finding = match outcome {
        Ok(Resource::Files(found)) => {
            let kind = match found {
                files::Found::File { media_type, .. } => {
                    format!("file, {}", media_type.to_str().unwrap_or("?"))
                }
                files::Found::Directory(_) => "directory, listed".to_owned(),
            };
            let file = match &route.action {
                Action::Files(options) => options.place.absolute(path.as_bytes()),
                _ => std::path::PathBuf::new(),
            };
            format!("{kind}: {}", file.display())
        }
        Ok(Resource::Script(found)) => format!("script: {}", found.script.file.display()),
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
