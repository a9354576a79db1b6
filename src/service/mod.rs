//! A request becomes an answer, in one straight line.
//!
//! target → decision → handler → finish → record. Nothing after the decision asks again what a
//! URL means; the only way back is the local redirect of a script (RFC 3875 §6.2.2).

#![forbid(unsafe_code)]

mod content;
pub mod decide;
pub mod decision;
mod departure;
mod elsewhere;
mod error_page;
mod finish;
mod record;
mod repeatable;
mod unlock;

use std::{borrow::Cow, path::Path, rc::Rc, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts};
use hyper::body::Incoming;

use crate::{
    body::Body,
    cgi::{self, Gateway, ScriptRequest},
    files::{self, Cache, Look, Sight},
    fs::Wait,
    records::{Pending, Sink},
    semantics::{
        failure::{Cause, Failure},
        fields,
        target::{self, Target},
    },
    site::{Route, RouteId, Site, SiteId, Snapshot, auth::Unverified},
    transport::{Connection, socket::Socket, stream::State},
};

use content::Content;
use decide::{Authorization, Question, Undecided, decide};
use decision::{Decision, Resource};
use departure::Attended;
pub use error_page::page_for;
use finish::Finish;
pub use record::Recorded;
pub use repeatable::{Content as RepeatableContent, Repeatable};

/// How often scripts may redirect one request to another resource of the server.
const LOCAL_REDIRECTS: usize = 5;

/// What a worker serves requests with.
#[derive(Debug, Clone)]
pub struct Service {
    /// The way to the launcher.
    pub gateway: Gateway,
    /// What is known of files.
    pub cache: Arc<Cache>,
    /// Where records go.
    pub sink: Sink,
}

/// The connection a request came by.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What is known of it.
    pub connection: Arc<Connection>,
    /// Its socket, to notice that the client leaves.
    pub socket: Rc<Socket>,
    /// How far it has come.
    pub state: Rc<State>,
}

impl Origin {
    /// Whether nobody but the connection, and hyper if it has come to that, has to do with it. A script that
    /// has answered may still read the content of its request: what comes next is the rest of that, and no
    /// request.
    pub fn is_alone(&self) -> bool {
        Rc::strong_count(&self.state) <= 2
    }
}

/// Nobody gets an answer: the client has left. What it has asked for before is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client left")]
pub struct Departed;

/// An answer, and what it can be given again with.
pub type Answered = (Response<Recorded>, Option<Repeatable>);

/// A request of a connection.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub request: Request<Incoming>,
    /// From 1, in the order of the connection.
    pub number: u32,
    /// Whether it has come before to the byte, so that it may be worth giving its answer again.
    pub has_come_before: bool,
}

/// Answers a request with the configuration it began with.
pub async fn respond(
    service: &Service,
    snapshot: Arc<Snapshot>,
    origin: Origin,
    asked: Asked,
) -> Result<Answered, Departed> {
    let (head, incoming) = asked.request.into_parts();
    let pending = Pending::begin(
        service.sink.clone(),
        Arc::clone(&origin.connection),
        asked.number,
        head,
    );
    let exchange = Exchange {
        service,
        snapshot: &snapshot,
        origin: &origin,
        pending: &pending,
    };
    let mut reached = Reached::default();
    let outcome = exchange.answer(incoming, &mut reached).await;
    if let Err(failure) = &outcome
        && failure.cause == Cause::ClientLeft
    {
        pending.note(|outcome| outcome.cause = Some(Cause::ClientLeft));
        // An error makes hyper forget the answers to earlier requests that it has not sent.
        origin.state.progress.until_flushed().await;
        return Err(Departed);
    }
    let finish = Finish {
        snapshot: &snapshot,
        reached,
        pending: &pending,
        origin: &origin,
    };
    let response = finish.finish(outcome).await;
    let lasting = reached.lasting.filter(|_| asked.has_come_before);
    let repeatable = lasting.and_then(|generation| {
        let site = &reached.site(&snapshot)?.name;
        let says_more = origin.state.said_close.get();
        let of = || Repeatable::of(&response, generation, site, &pending);
        (!says_more).then(of).flatten()
    });
    let response = response.map(|body| Recorded::new(body, pending, origin.state));
    Ok((response, repeatable))
}

/// How far into the configuration a request came: what its answer is finished by.
#[derive(Debug, Default, Clone, Copy)]
struct Reached {
    site: Option<SiteId>,
    route: Option<RouteId>,
    /// The generation of what is kept that the answer is made of, where it is made of nothing else.
    lasting: Option<u64>,
}

impl Reached {
    fn site(self, snapshot: &Snapshot) -> Option<&Site> {
        self.site.map(|id| &snapshot[id])
    }

    fn route(self, snapshot: &Snapshot) -> Option<&Route> {
        Some(&self.site(snapshot)?.routes[self.route?])
    }
}

/// What is asked for: the client's request, or what a script redirected it to.
struct Wanted<'r> {
    head: Cow<'r, Parts>,
    content: Content,
}

/// One request on its way to its answer.
struct Exchange<'r> {
    service: &'r Service,
    snapshot: &'r Arc<Snapshot>,
    origin: &'r Origin,
    pending: &'r Pending,
}

impl Exchange<'_> {
    /// The line from target to answer. It is walked again only for the local redirect of a script.
    async fn answer(
        &self,
        incoming: Incoming,
        reached: &mut Reached,
    ) -> Result<Response<Body>, Failure> {
        let head = self.pending.head();
        let mut asked = Wanted {
            head: Cow::Borrowed(head),
            content: self.content(incoming),
        };
        for _ in 0..=LOCAL_REDIRECTS {
            let target = Target::parse(&asked.head)?;
            if target.is_server {
                return Ok(files::allowed());
            }
            let sight = self.service.cache.current();
            let sight = sight.as_ref();
            let decision = self.decide(&asked.head, &target, sight, reached).await?;
            expectation(head)?;
            asked.content.admit()?;
            let site = &self.snapshot[decision.site];
            let (route, script) = match decision.outcome? {
                Resource::Redirect { location, status } => return redirect(&location, status),
                Resource::Files { route, found } => {
                    let options = site.routes.files(route);
                    let path = &target.path;
                    // What a script has redirected to is not what was asked for.
                    let is_own = matches!(asked.head, Cow::Borrowed(_));
                    let is_kept = is_own && decision.is_for_all && found.is_kept();
                    let response = files::respond(found, options, path, &asked.head, sight).await?;
                    reached.lasting = sight.filter(|_| is_kept).and_then(Sight::lasting);
                    return Ok(response);
                }
                Resource::Script { route, script } => (route, script),
            };
            let request = ScriptRequest {
                script: &script,
                options: site.routes.programs(route),
                key: &site.routes[route].text,
                site: &site.name,
                document_root: site.root.path(),
                head: &asked.head,
                target: &target,
                user: decision.user.as_ref().map(|user| &*user.0),
                pending: self.pending,
            };
            // Boxed, as all that is rare or takes long: a request for a file moves its future about.
            match Box::pin(self.run(request, asked.content, site)).await? {
                cgi::Answer::Response(response) => return Ok(attend(response, self.origin)),
                cgi::Answer::LocalRedirect(reference) => {
                    let Some(head) = redirected(&asked.head, &reference) else {
                        return Err(bad_redirect(&script.file, &reference));
                    };
                    asked = Wanted {
                        head: Cow::Owned(head),
                        content: Content::none(Rc::clone(&self.origin.state)),
                    };
                }
            }
        }
        Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Cause::RedirectLoop(LOCAL_REDIRECTS),
        ))
    }

    fn content(&self, incoming: Incoming) -> Content {
        let limits = &self.snapshot.limits;
        let state = Rc::clone(&self.origin.state);
        let (size, timeout) = (limits.request_body_size, limits.request_body_timeout);
        Content::new(incoming, size, timeout, state)
    }

    /// Runs a script for as long as its client is there.
    async fn run(
        &self,
        request: ScriptRequest<'_>,
        content: Content,
        site: &Site,
    ) -> Result<cgi::Answer, Failure> {
        let gateway = &self.service.gateway;
        tokio::select! {
            // A client that has left before has no script started.
            biased;
            () = self.origin.socket.departed() => Err(client_left()),
            answer = cgi::respond(gateway, request, content, &site.scripts) => answer,
        }
    }
}

/// RFC 9110 §10.1.1: `100-continue` is hyper's business, anything else cannot be met. HTTP/1.0 does
/// not know of it.
fn expectation(head: &Parts) -> Result<(), Failure> {
    let mut expectations = head.headers.get_all(header::EXPECT).iter();
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.version < Version::HTTP_11 || expectations.all(is_met) {
        return Ok(());
    }
    let status = StatusCode::EXPECTATION_FAILED;
    Err(Failure::new(status, Cause::Expectation))
}

/// So often a decision is begun anew: with another password verified, or allowed to wait.
const ROUNDS: usize = 5;

impl Exchange<'_> {
    /// Decides with what the kernel has in memory, and on another thread where it has to wait; a
    /// password that was not seen before is verified in between.
    async fn decide(
        &self,
        head: &Parts,
        target: &Target<'_>,
        cache: Option<&Sight<'_>>,
        reached: &mut Reached,
    ) -> Result<Decision, Failure> {
        let connection = &self.origin.connection;
        let mut waits_in = None;
        let mut refusal = None;
        for _ in 0..ROUNDS {
            let decided = if let Some(site) = waits_in {
                Box::pin(self.decide_elsewhere(site, head, cache)).await?
            } else {
                let question = question(connection, head, target);
                let wait = Wait::Never;
                decide(self.snapshot, question, Look { wait, cache }, &mut ())
            };
            match decided {
                Ok(decision) => {
                    self.reach(decision.site, decision.route, reached);
                    if let Some(user) = &decision.user {
                        let user = Some(user.0.clone());
                        self.pending.note(|outcome| outcome.user = user);
                    }
                    return Ok(decision);
                }
                Err(Undecided::NoSite(failure)) => return Err(failure),
                Err(Undecided::WouldWait(site)) => waits_in = Some(site),
                Err(Undecided::Unverified(site, route, unverified)) => {
                    self.reach(site, Some(route), reached);
                    refusal = Some(unverified.refusal());
                    Box::pin(self.unlock(unverified)).await?;
                }
            }
        }
        // Another request of the user shows another password, which takes the place of this one.
        let changing = || Failure::new(StatusCode::SERVICE_UNAVAILABLE, Cause::TooManyPasswords);
        Err(refusal.unwrap_or_else(changing))
    }

    /// Notes how far the request came, also for its record.
    fn reach(&self, site: SiteId, route: Option<RouteId>, reached: &mut Reached) {
        let name = Arc::clone(&self.snapshot[site].name);
        self.pending.note(|outcome| outcome.site = Some(name));
        *reached = Reached {
            site: Some(site),
            route,
            lasting: None,
        };
    }

    /// Decides on a thread that may wait.
    async fn decide_elsewhere(
        &self,
        site: SiteId,
        head: &Parts,
        cache: Option<&Sight<'_>>,
    ) -> Result<Result<Decision, Undecided>, Failure> {
        let cache = cache.map(|sight| Arc::clone(sight.cache()));
        let snapshot = Arc::clone(self.snapshot);
        let connection = Arc::clone(&self.origin.connection);
        let head = head.clone();
        let decision = move || {
            // The same head makes the same target.
            let target = Target::parse(&head).map_err(Undecided::NoSite)?;
            let question = question(&connection, &head, &target);
            let sight = cache.as_ref().map(Sight::of);
            let look = Look {
                wait: Wait::Allowed,
                cache: sight.as_ref(),
            };
            decide(&snapshot, question, look, &mut ())
        };
        elsewhere::look_up(&self.snapshot[site].name, decision).await
    }

    /// Verifies a password for as long as its client is there.
    async fn unlock(&self, unverified: Unverified) -> Result<(), Failure> {
        let client = self.origin.connection.remote.0.ip();
        tokio::select! {
            outcome = unlock::unlock(unverified, client) => outcome,
            () = self.origin.socket.departed() => Err(client_left()),
        }
    }
}

fn question<'q>(
    connection: &'q Connection,
    head: &'q Parts,
    target: &'q Target<'q>,
) -> Question<'q> {
    Question {
        listener: &connection.listener,
        client: connection.remote.0.ip(),
        // Of two, nobody could say which one another server would take.
        authorization: Authorization::Shown(fields::single(&head.headers, header::AUTHORIZATION)),
        method: &head.method,
        authority: target.authority.as_ref(),
        path: &target.path,
        query: target.query,
    }
}

/// The answer that names another place.
fn redirect(location: &str, status: StatusCode) -> Result<Response<Body>, Failure> {
    let location = HeaderValue::try_from(location)
        .map_err(|_| Failure::bad_target("the target cannot stand in a redirect"))?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, location);
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(response)
}

/// A script that is still writing is told when its client leaves.
fn attend(response: Response<Body>, origin: &Origin) -> Response<Body> {
    response.map(|body| match body {
        Body::Stream(stream) => {
            Body::Stream(Box::pin(Attended::new(stream, Rc::clone(&origin.socket))))
        }
        body => body,
    })
}

/// The request that a script's local redirect stands for: a GET of another path, or HEAD if it was
/// that, without content.
fn redirected(head: &Parts, reference: &str) -> Option<Parts> {
    let mut head = head.clone();
    head.uri = target::redirected(&head.uri, reference)?;
    if head.method != Method::HEAD {
        head.method = Method::GET;
    }
    for field in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::TRANSFER_ENCODING,
    ] {
        head.headers.remove(field);
    }
    Some(head)
}

/// Nobody gets an answer, and nobody sees the status.
fn client_left() -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, Cause::ClientLeft)
}

fn bad_redirect(script: &Path, reference: &str) -> Failure {
    let cause = Cause::BadScriptResponse {
        script: script.display().to_string(),
        reason: format!("its local redirect to {reference:?} names no path of this server"),
    };
    Failure::new(StatusCode::BAD_GATEWAY, cause)
}
