//! The last touch to an answer: a failure becomes a page, and the configuration's fields are set.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body::Body as _;

use crate::{
    body::Body,
    cgi::queue::RETRY_AFTER,
    records::Pending,
    semantics::failure::{Cause, Failure},
    service::{Origin, Reached, error_page},
    site::Snapshot,
};

/// Fields by which a proxy in front of the server says whom it asks for. With one of them the
/// address of the connection is not the client's, and says nothing about who may see a diagnosis.
const FORWARDED: [&str; 9] = [
    "cf-connecting-ip",
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// All that an answer is finished by.
pub(super) struct Finish<'f> {
    pub snapshot: &'f Arc<Snapshot>,
    pub reached: Reached,
    pub pending: &'f Pending,
    pub origin: &'f Origin,
}

impl Finish<'_> {
    /// Completes the answer and notes its status.
    pub async fn finish(&self, outcome: Result<Response<Body>, Failure>) -> Response<Body> {
        let mut response = match outcome {
            Ok(response) => response,
            Err(failure) => {
                let response = Box::pin(self.page(&failure)).await;
                self.pending
                    .note(|outcome| outcome.cause = Some(failure.cause));
                response
            }
        };
        let status = response.status();
        if status.as_u16() < 400
            && let Some(route) = self.reached.route(self.snapshot)
        {
            route.headers.apply(response.headers_mut());
        }
        let is_old = self.pending.head().version < Version::HTTP_11;
        let state = &self.origin.state;
        if ends_connection(status)
            || state.unread_content.get()
            || is_old && ends_with_connection(response.body())
            || self.is_last()
        {
            state.said_close.set(true);
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            if is_old {
                // Else hyper adds `keep-alive` for a client that asked for it.
                *response.version_mut() = Version::HTTP_10;
            }
        }
        self.pending.note(|outcome| outcome.status = Some(status));
        response
    }

    /// Whether no other request of the connection is answered, since the server stops. Those that have
    /// come already are, for a while: a client that has sent them could not know.
    fn is_last(&self) -> bool {
        let Origin { state, socket, .. } = self.origin;
        let last_call = state.last_call.get();
        last_call.is_some_and(|until| Instant::now() >= until || !state.has_next(socket))
    }

    /// The page for a failure: the site's own, if those who are trusted need not be told more.
    async fn page(&self, failure: &Failure) -> Response<Body> {
        let is_trusted = self.is_trusted();
        let method = &self.pending.head().method;
        let status = failure.status;
        let own = self.reached.route(self.snapshot).and_then(|route| {
            let is_told = is_trusted && error_page::is_for_the_trusted(failure);
            route.error_pages.get(&status).filter(|_| !is_told)
        });
        let own = match (own, self.reached.site) {
            (Some(path), Some(site)) => {
                error_page::configured(self.snapshot, site, path, method).await
            }
            _ => None,
        };
        let mut response = own.unwrap_or_else(|| {
            let told = is_trusted.then_some(failure);
            let page = Body::page(error_page::page_for(status, told));
            page.map(|body| body.for_method(method))
        });
        *response.status_mut() = status;
        describe(response.headers_mut(), &failure.cause);
        response
    }

    /// Whether the client is one of those who see what went wrong.
    fn is_trusted(&self) -> bool {
        let fields = &self.pending.head().headers;
        let address = self.pending.connection().remote.0.ip();
        let site = self.reached.site(self.snapshot);
        site.is_some_and(|site| site.trusted.contains(address))
            && !FORWARDED.iter().any(|name| fields.contains_key(*name))
    }
}

/// Sets the fields that go with a failure.
fn describe(fields: &mut HeaderMap, cause: &Cause) {
    match cause {
        Cause::MethodNotAllowed { allow, .. } => {
            fields.insert(header::ALLOW, allow.clone());
        }
        Cause::Unauthenticated { challenge } => {
            fields.insert(header::WWW_AUTHENTICATE, challenge.clone());
        }
        // RFC 9110 §14.4
        Cause::UnsatisfiableRange(size) => {
            if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
                fields.insert(header::CONTENT_RANGE, value);
            }
        }
        Cause::TooManyScripts { .. } | Cause::TooManyPasswords | Cause::Changing => {
            fields.insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
        }
        _ => {}
    }
}

/// Whether only the end of the connection can end this content for a client of HTTP/1.0, which knows
/// no chunks (RFC 9112 §6.3).
fn ends_with_connection(body: &Body) -> bool {
    body.size_hint().exact().is_none()
}

/// Where the client and the server may not agree on what comes next: after a request that is
/// malformed, and one whose content was not read to its end.
fn ends_connection(status: StatusCode) -> bool {
    [400, 408, 413, 417].contains(&status.as_u16())
}
