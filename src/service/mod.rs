//! A request becomes an answer, in one straight line.
//!
//! target → decision → handler → finish → record. Nothing after the decision asks again what a
//! URL means; the only way back is the local redirect of a script (RFC 3875 §6.2.2).

#![forbid(unsafe_code)]

mod content;
pub mod decide;
pub mod decision;
mod departure;
mod finish;
mod record;

use std::{borrow::Cow, rc::Rc, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use crate::{
    body::Body,
    cgi::{self, Gateway, ScriptRequest},
    files,
    fs::Wait,
    records::{Pending, Sink},
    semantics::{
        failure::{Cause, Failure},
        target::{self, Target},
    },
    site::{Site, Snapshot},
    transport::{
        Connection,
        stream::{Socket, State},
    },
};

use content::Content;
use decide::{Question, Undecided, decide};
use decision::{Decision, Resource};
use departure::Attended;
pub use finish::page_for;
pub use record::Recorded;

/// How often scripts may redirect one request to another resource of the server.
const LOCAL_REDIRECTS: usize = 5;

/// What a worker serves requests with.
#[derive(Debug, Clone)]
pub struct Service {
    /// The way to the launcher.
    pub gateway: Gateway,
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

/// Answers the `number`th request of a connection with the configuration it began with.
pub async fn respond(
    service: &Service,
    snapshot: Arc<Snapshot>,
    origin: Origin,
    number: u32,
    request: Request<Incoming>,
) -> Response<Recorded> {
    let (head, incoming) = request.into_parts();
    let pending = Pending::begin(
        service.sink.clone(),
        Arc::clone(&origin.connection),
        number,
        head,
    );
    let outcome = answer(service, &snapshot, &origin, &pending, incoming).await;
    let response = finish::finish(outcome, &snapshot, &pending);
    response.map(|body| Recorded::new(body, pending, origin.state))
}

/// What is asked for: the client's request, or what a script redirected it to.
struct Asked<'r> {
    head: Cow<'r, Parts>,
    content: Content,
}

/// The line from target to answer. It is walked again only for the local redirect of a script.
async fn answer(
    service: &Service,
    snapshot: &Arc<Snapshot>,
    origin: &Origin,
    pending: &Pending,
    incoming: Incoming,
) -> Result<Response<Body>, Failure> {
    let head = pending.head();
    let limits = &snapshot.limits;
    let state = &origin.state;
    let mut asked = Asked {
        head: Cow::Borrowed(head),
        content: Content::new(
            incoming,
            limits.request_body_size,
            limits.request_body_timeout,
            Rc::clone(state),
        ),
    };
    expectation(head.headers.get(header::EXPECT))?;
    asked.content.admit()?;
    for _ in 0..=LOCAL_REDIRECTS {
        let target = Target::parse(&asked.head)?;
        let decision = decide_for(snapshot, &origin.connection, &asked.head, &target).await?;
        let site = &snapshot[decision.site];
        pending.note(|outcome| outcome.site = Some(Arc::clone(&site.name)));
        let script = match decision.outcome? {
            Resource::Files(found) => {
                return files::respond(found, target.path.as_bytes(), &asked.head).await;
            }
            Resource::Redirect { location, status } => {
                return redirect(location, status, target.query);
            }
            Resource::Script(script) => script,
        };
        let request = ScriptRequest {
            script: &script.script,
            options: script.options(site),
            key: &site.routes[script.route].text,
            site: &site.name,
            document_root: site.root.path(),
            head: &asked.head,
            target: &target,
            pending,
        };
        let answer = run(service, request, asked.content, site, origin).await?;
        match answer {
            cgi::Answer::Response(response) => return Ok(attend(response, origin)),
            cgi::Answer::LocalRedirect(reference) => {
                asked = Asked {
                    head: Cow::Owned(redirected(head, &reference)?),
                    content: Content::none(Rc::clone(state)),
                };
            }
        }
    }
    Err(Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        Cause::RedirectLoop(LOCAL_REDIRECTS),
    ))
}

/// Runs a script for as long as its client is there.
async fn run(
    service: &Service,
    request: ScriptRequest<'_>,
    content: Content,
    site: &Site,
    origin: &Origin,
) -> Result<cgi::Answer, Failure> {
    tokio::select! {
        answer = cgi::respond(&service.gateway, request, content, &site.scripts) => answer,
        () = origin.socket.departed() => {
            Err(Failure::new(StatusCode::BAD_REQUEST, Cause::ClientLeft))
        }
    }
}

/// RFC 9110 §10.1.1: `100-continue` is hyper's business, anything else cannot be met.
fn expectation(value: Option<&HeaderValue>) -> Result<(), Failure> {
    match value {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(
            Failure::new(StatusCode::EXPECTATION_FAILED, Cause::Expectation),
        ),
        _ => Ok(()),
    }
}

/// Decides with what the kernel has in memory, and on another thread where it has to wait.
async fn decide_for(
    snapshot: &Arc<Snapshot>,
    connection: &Arc<Connection>,
    head: &Parts,
    target: &Target<'_>,
) -> Result<Decision, Failure> {
    let question = Question {
        listener: &connection.listener,
        client: connection.remote.0.ip(),
        method: &head.method,
        authority: target.authority.as_ref(),
        path: &target.path,
    };
    let decided = match decide(snapshot, question, Wait::Never, &mut ()) {
        Err(Undecided::WouldWait) => {
            let (snapshot, connection) = (Arc::clone(snapshot), Arc::clone(connection));
            let (method, authority) = (head.method.clone(), target.authority.clone());
            let path = target.path.clone().into_owned();
            let waiting = tokio::task::spawn_blocking(move || {
                let question = Question {
                    listener: &connection.listener,
                    client: connection.remote.0.ip(),
                    method: &method,
                    authority: authority.as_ref(),
                    path: &path,
                };
                decide(&snapshot, question, Wait::Allowed, &mut ())
            });
            waiting
                .await
                .map_err(|error| Failure::system("looking up a file", &error.into()))?
        }
        decided => decided,
    };
    match decided {
        Ok(decision) => Ok(decision),
        Err(Undecided::NoSite(failure)) => Err(failure),
        Err(Undecided::WouldWait) => unreachable!("the look-up was allowed to wait"),
    }
}

/// The answer that names another place. A query goes along where the place has none of its own.
fn redirect(
    mut location: String,
    status: StatusCode,
    query: Option<&str>,
) -> Result<Response<Body>, Failure> {
    if let Some(query) = query
        && !location.contains('?')
    {
        location.push('?');
        location.push_str(query);
    }
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

/// The request that a script's local redirect stands for: a GET of another path, without content.
fn redirected(head: &Parts, reference: &str) -> Result<Parts, Failure> {
    let mut head = head.clone();
    head.uri = target::local(reference)?;
    head.method = Method::GET;
    for field in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::TRANSFER_ENCODING,
    ] {
        head.headers.remove(field);
    }
    Ok(head)
}
