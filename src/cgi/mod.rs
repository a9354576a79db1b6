//! Scripts: RFC 3875 from the server's side. The launcher, another process, starts them.
//!
//! [`respond`] is the line of every request for a script: wait for a place in the queue, make the
//! meta-variables, have the script started, read its header, answer. From the start on a task of
//! its own attends to the script until it is over, whatever becomes of the answer. The address of
//! the launcher is all this knows of it; what a URL means was decided before.

#![forbid(unsafe_code)]

mod content;
mod diagnosis;
pub mod locate;
pub mod meta_variables;
mod options;
mod process;
pub mod queue;
pub mod response;
mod spool;
pub mod wire;

use std::{os::unix::ffi::OsStrExt, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};

use crate::{
    body::Body,
    records::Pending,
    semantics::{failure::Failure, target::Target},
    sys::seqpacket,
};

use content::ScriptContent;
use locate::Script;
use meta_variables::{Environment, Facts, meta_variables};
use process::{LastWords, Output, Start};
use queue::Client;
use response::{Head, Parser, ResponseError, ScriptResponse};
use spool::{Spooled, spool};

pub use options::{Account, Confinement, Options, Programs, Size};
pub use queue::Limits as QueueLimits;
pub use queue::Queue;

/// How long the end of a script is waited for that has already failed, to tell its exit status
/// and its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What stands between the server and its scripts.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Where the launcher listens.
    pub launcher: seqpacket::Address,
}

impl Gateway {
    /// Has the launcher read its configuration again, and waits for it. The error is the
    /// launcher's, for people. Blocks: not for a worker.
    pub fn reload(&self) -> Result<(), String> {
        process::reload(&self.launcher)
    }

    /// Whether a launcher is there and at work: a socket unit listens without one, too. Blocks for a
    /// second at most: not for a worker.
    pub fn is_reachable(&self) -> bool {
        process::is_at_work(&self.launcher)
    }
}

/// A request for a script, as decided.
#[derive(Debug, Clone, Copy)]
pub struct ScriptRequest<'r> {
    /// The script.
    pub script: &'r Script,
    /// What the path key says.
    pub options: &'r Options,
    /// The path key as written.
    pub key: &'r str,
    /// The site's name.
    pub site: &'r str,
    /// The site's root.
    pub document_root: &'r Path,
    /// The head of the request: the client's, or that of a local redirect.
    pub head: &'r http::request::Parts,
    /// The request's target.
    pub target: &'r Target<'r>,
    /// The user, where a password was asked for.
    pub user: Option<&'r [u8]>,
    /// The request's record, with its head and its connection.
    pub pending: &'r Pending,
}

/// What a script's answer comes to.
pub enum Answer {
    /// This is sent to the client.
    Response(Response<Body>),
    /// The answer to a GET of this path and query is sent instead (RFC 3875 §6.2.2). The script
    /// is over.
    LocalRedirect(String),
}

/// Answers a request with what a script makes of it. Must be called inside a `LocalSet`.
///
/// An error of the content, such as one that is too long or breaks off, ends the script and is
/// the outcome. Dropping the future, or the content of the response before its end, ends the
/// script too: its client has left.
pub async fn respond<C>(
    gateway: &Gateway,
    request: ScriptRequest<'_>,
    mut content: C,
    queue: &Queue,
) -> Result<Answer, Failure>
where
    C: http_body::Body<Data = Bytes, Error = Failure> + Unpin + 'static,
{
    // Before it takes a place that others wait for.
    let is_spooled = request.options.spool && has_no_length(&request.head.headers);
    let spooled = if is_spooled {
        let place = queue.spooling();
        let _place = place.inspect_err(|failure| queue.tell(request.site, failure))?;
        Some(spool(&mut content).await?)
    } else {
        None
    };
    let client = Client::new(request.pending.connection().remote.0.ip());
    let permit = queue.enter(client).await;
    let permit = permit.inspect_err(|failure| queue.tell(request.site, failure))?;
    let launch = wire::Launch {
        site: request.site.into(),
        key: request.key.into(),
        script_name: request.script.name.to_vec(),
        environment: environment(&request, spooled.as_ref()).variables,
    };
    let start = Start {
        launch,
        file: &request.script.file,
        timeout: request.options.timeout,
        max_time: request.options.max_time,
        pending: request.pending,
        permit,
        stdin: spooled.map(|spooled| spooled.file),
    };
    let output = process::start(&gateway.launcher, start, content).await?;
    let (response, first, output) = read_head(output, &request).await?;
    match response {
        ScriptResponse::Document(head) => {
            let method = &request.head.method;
            Ok(Answer::Response(document(head, first, output, method)))
        }
        ScriptResponse::LocalRedirect(reference) => {
            // It may not have content, so what it still does comes before the next script.
            output.discard().await?;
            Ok(Answer::LocalRedirect(reference))
        }
    }
}

/// Whether content comes without a word about how much (RFC 9112 §6.3).
fn has_no_length(fields: &HeaderMap) -> bool {
    fields.contains_key(header::TRANSFER_ENCODING)
}

fn environment(request: &ScriptRequest<'_>, spooled: Option<&Spooled>) -> Environment {
    let environment = meta_variables(&Facts {
        head: request.head,
        target: request.target,
        connection: request.pending.connection(),
        script: request.script,
        options: request.options,
        document_root: request.document_root,
        user: request.user,
        length: spooled.map(|spooled| spooled.length),
    });
    for name in &environment.ambiguous {
        let id = request.pending.id();
        tracing::debug!("request {id}: field {name:?} is not passed, its name is ambiguous");
    }
    environment
}

/// Reads the header and hands on what was read beyond it.
async fn read_head(
    mut output: Output,
    request: &ScriptRequest<'_>,
) -> Result<(ScriptResponse, Bytes, Output), Failure> {
    let name = request.script.file.as_os_str().as_bytes();
    let mut parser = Parser::new(response::header_of(name));
    let failure = loop {
        let error = match output.next().await {
            Err(failure) => break failure,
            Ok(None) => parser.end(),
            Ok(Some(bytes)) => match parser.feed(&bytes) {
                Ok(None) => continue,
                Ok(Some((response, first))) => return Ok((response, first, output)),
                Err(error) => error,
            },
        };
        break bad_response(&error, parser.seen(), output, request).await;
    };
    let stderr = request.pending.last_script_lines();
    Err(diagnosis::interrupted(failure, parser.seen(), stderr))
}

/// The failure for an output that is no answer. The script may go on, as far as its limits let it.
async fn bad_response(
    error: &ResponseError,
    seen: &[u8],
    output: Output,
    request: &ScriptRequest<'_>,
) -> Failure {
    let last_words = match tokio::time::timeout(LAST_WORDS, output.discard()).await {
        Ok(Ok(last_words)) => last_words,
        Ok(Err(failure)) if *error == ResponseError::Nothing => return failure,
        Ok(Err(_)) | Err(_) => LastWords {
            end: None,
            met: None,
            stderr: request.pending.last_script_lines(),
        },
    };
    diagnosis::bad_response(&request.script.file, error, seen, &last_words)
}

/// The response to send. A script's content is left out where HTTP has none, but the script may
/// finish: it was asked to do something, not only to talk.
fn document(head: Head, first: Bytes, output: Output, method: &Method) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.fields;
    if let Some(reason) = head.reason {
        response.extensions_mut().insert(reason);
    }
    let is_empty = matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT
    );
    if is_empty {
        // RFC 9110 §8.6, §15.3.6
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if is_empty || head.status == StatusCode::NOT_MODIFIED || method == Method::HEAD {
        drop(output.discard());
    } else {
        let content = ScriptContent::new(first, output, head.length);
        *response.body_mut() = Body::Stream(Box::pin(content));
    }
    response
}

#[cfg(test)]
mod tests;
