//! The page for a failure: the site's own, or one that the server makes.

use std::sync::Arc;

use http::{Method, Response, StatusCode};

use crate::{
    body::Body,
    files::{self, LocateError},
    fs::Wait,
    page::{self, Escaped},
    semantics::{failure::Cause, target::Path},
    site::{SiteId, Snapshot},
};

/// The site's own page, if there is one to be had: `check` and the start have warned if there is none.
/// Rules about who may do not count for it: the configuration says that it is to be seen.
pub(super) async fn configured(
    snapshot: &Arc<Snapshot>,
    id: SiteId,
    path: &Path<'static>,
    method: &Method,
) -> Option<Response<Body>> {
    let site = &snapshot[id];
    let options = site.routes.files_for_page(path, &site.files)?;
    let found = match files::file_at(options, path, Wait::Never) {
        Err(LocateError::WouldWait) => {
            let (options, path) = (options.clone(), path.clone());
            let waiting = move || files::file_at(&options, &path, Wait::Allowed);
            tokio::task::spawn_blocking(waiting).await.ok()?
        }
        outcome => outcome,
    };
    let page = files::page(found.ok()??, options, path).await.ok()?;
    Some(page.map(|body| body.for_method(method)))
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
        401 => "A name and a password are needed here.",
        403 => "You may not see this.",
        404 => "There is nothing here by this name.",
        405 => "This cannot be done here. Only scripts take what a form sends.",
        406 => "There is nothing here in a form that the request takes.",
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
