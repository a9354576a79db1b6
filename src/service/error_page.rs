//! The page for a failure: the site's own, or one that the server makes.

use std::sync::Arc;

use http::{Method, Response, StatusCode};

use crate::{
    body::Body,
    files::{self, LocateError, Look},
    fs::Wait,
    page::{self, Escaped},
    semantics::{
        failure::{Cause, Diagnosis, Failure},
        target::Path,
    },
    service::elsewhere,
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
    let found = match files::file_at(options, path, Look::plain(Wait::Never)) {
        Err(LocateError::WouldWait) => {
            let (options, path) = (options.clone(), path.clone());
            let waiting = move || files::file_at(&options, &path, Look::plain(Wait::Allowed));
            elsewhere::look_up(&site.name, waiting).await.ok()?
        }
        outcome => outcome,
    };
    let page = files::page(found.ok()??, options, path).await.ok()?;
    Some(page.map(|body| body.for_method(method)))
}

/// Whether those who are trusted are told of this failure even where there is a page of the site's
/// own: what went wrong in the server or its scripts, and is theirs to mend.
pub(super) fn is_for_the_trusted(failure: &Failure) -> bool {
    failure.status.is_server_error()
        || failure.diagnosis.is_some()
        || matches!(failure.cause, Cause::NotExecutable(_))
}

/// The page for a status, also for connections whose first bytes were no request. With a failure it
/// says why, which is for those who are trusted.
pub fn page_for(status: StatusCode, failure: Option<&Failure>) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    let title = format!("{} {reason}", status.as_u16());
    let mut content = format!("<p>{}</p>\n", explanation(status));
    if let Some(failure) = failure {
        content.push_str("<h2>Why</h2>\n");
        content.push_str(&why(failure));
        content.push_str("<p>Only clients in <code>trusted</code> are told.</p>\n");
    }
    page::html(&title, &content)
}

fn why(failure: &Failure) -> String {
    match (&failure.diagnosis, &failure.cause) {
        (Some(diagnosis), _) => list(diagnosis),
        (None, Cause::NotExecutable(script)) => list(&Diagnosis {
            script: script.clone(),
            what: "it is not executable".to_owned(),
            end: "it was not started".to_owned(),
            remedy: Some(format!(
                "run chmod +x {script}, or keep it in another place if it is no program"
            )),
            output: Vec::new(),
            stderr: Vec::new(),
        }),
        (None, cause) => format!("<pre>{}</pre>\n", shown(cause.to_string().as_bytes())),
    }
}

/// A diagnosis, as markup.
fn list(diagnosis: &Diagnosis) -> String {
    let remedy = diagnosis.remedy.as_deref().unwrap_or_default();
    let lines = [
        ("Script", &*diagnosis.script),
        ("What is wrong", &*diagnosis.what),
        ("How it ended", &*diagnosis.end),
        ("What to do", remedy),
    ];
    let words = [
        ("How its output begins", &*diagnosis.output),
        ("How its standard error ends", &*diagnosis.stderr),
    ];
    let lines = lines.into_iter().filter(|(_, text)| !text.is_empty());
    let lines = lines.map(|(term, text)| {
        let text = shown(text.as_bytes());
        format!("<dt>{term}</dt>\n<dd>{text}</dd>\n")
    });
    let words = words.into_iter().filter(|(_, bytes)| !bytes.is_empty());
    let words = words.map(|(term, bytes)| {
        let text = shown(bytes);
        // A line end after the tag is not content.
        format!("<dt>{term}</dt>\n<dd><pre>\n{text}</pre></dd>\n")
    });
    let items: Vec<_> = lines.chain(words).collect();
    format!("<dl>\n{}</dl>\n", items.concat())
}

/// Anything, as text between tags.
fn shown(bytes: &[u8]) -> String {
    Escaped(&page::visible(bytes)).to_string()
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
        502 => "A script on the server failed to answer.",
        503 => "The server is busy. Try again in a moment.",
        504 => "A script on the server did not answer in time.",
        505 => "The server speaks HTTP/1.1.",
        _ => "The request could not be answered.",
    }
}
