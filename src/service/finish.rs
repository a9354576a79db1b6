//! The last touch to an answer: a failure becomes a page.

use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::{
    body::Body,
    cgi::queue::RETRY_AFTER,
    page::{self, Escaped},
    records::Pending,
    semantics::failure::{Cause, Failure},
    site::Snapshot,
};

/// Fields by which a proxy in front of the server says whom it asks for. With one of them the
/// address of the connection is not the client's, and says nothing about who may see a diagnosis.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Completes the answer and notes its status.
pub(super) fn finish(
    outcome: Result<Response<Body>, Failure>,
    snapshot: &Snapshot,
    pending: &Pending,
) -> Response<Body> {
    let response = outcome.unwrap_or_else(|failure| {
        let trusted = is_trusted(snapshot, pending);
        let response = error_page(&failure, trusted, &pending.head().method);
        pending.note(|outcome| outcome.cause = Some(failure.cause));
        response
    });
    pending.note(|outcome| {
        // Nobody gets the answer to a request whose client has left.
        let left = outcome.cause == Some(Cause::ClientLeft);
        outcome.status = (!left).then_some(response.status());
    });
    response
}

/// Whether the client is one of those who see what went wrong.
fn is_trusted(snapshot: &Snapshot, pending: &Pending) -> bool {
    let site = pending.site();
    let Some(site) = site.and_then(|name| snapshot.site_named(&name)) else {
        return false;
    };
    let fields = &pending.head().headers;
    site.trusted.contains(pending.connection().remote.0.ip())
        && !FORWARDED.iter().any(|name| fields.contains_key(*name))
}

/// The page for a failure, with its cause for those who are trusted.
fn error_page(failure: &Failure, trusted: bool, method: &Method) -> Response<Body> {
    let cause = trusted.then_some(&failure.cause);
    let page = page_for(failure.status, cause);
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = failure.status;
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    fields.insert(header::CONTENT_LENGTH, page.len().into());
    match &failure.cause {
        Cause::MethodNotAllowed { allow, .. } => {
            fields.insert(header::ALLOW, allow.clone());
        }
        Cause::TooManyScripts { .. } => {
            fields.insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
        }
        _ => {}
    }
    if ends_connection(failure.status) {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if *method != Method::HEAD {
        *response.body_mut() = page.into();
    }
    response
}

/// Where the client and the server may not agree on what comes next: after a request that is
/// malformed, and one whose content was not read to its end.
fn ends_connection(status: StatusCode) -> bool {
    [400, 408, 413, 417].contains(&status.as_u16())
}

/// The page for a status, also for connections whose first bytes were no request.
pub fn page_for(status: StatusCode, cause: Option<&Cause>) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    let title = format!("{} {reason}", status.as_u16());
    let mut content = format!("<p>{}</p>\n", explanation(status));
    if let Some(cause) = cause {
        content.push_str("<h2>Why</h2>\n<pre>");
        content.push_str(&Escaped(&cause.to_string()).to_string());
        content.push_str("</pre>\n<p>Only clients in <code>trusted</code> are told.</p>\n");
    }
    page::html(&title, &content)
}

/// A sentence for the person in front of the browser.
fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "The server could not make sense of this request.",
        403 => "You may not see this.",
        404 => "There is nothing here by this name.",
        405 => "This cannot be done here. Only scripts take what a form sends.",
        408 => "The request did not arrive in time.",
        412 | 416 => "What was asked for does not fit what is here now.",
        413 => "The request carries more than this server takes.",
        414 => "The address is too long.",
        417 => "The server cannot do what the request expects of it.",
        421 => "This server is not responsible for that host.",
        431 => "The request's header fields are too long.",
        500 => "Something on the server went wrong. Its operator finds the reason in the log.",
        501 => "The server does not know how to do this.",
        502 => "A script on the server gave an answer that is none.",
        503 => "The server is busy. Try again in a moment.",
        504 => "A script on the server did not answer in time.",
        505 => "The server speaks HTTP/1.1.",
        _ => "The request could not be answered.",
    }
}
