//! Options about how answers look: fields, pages, media types, passwords. A site has them, and every
//! path key may add to them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use serde_spanned::Spanned;

use crate::{config::running::replace, semantics::target::Path, site::BasicAuth};

/// The options as far as they are written in one place, or add up from several.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Serving {
    pub auth: Option<Spanned<Auth>>,
    pub cache: Option<Spanned<Cache>>,
    pub compress: Option<Spanned<bool>>,
    pub error_pages: BTreeMap<StatusCode, Spanned<Path<'static>>>,
    /// By the name in lower case; a field without a value is taken away.
    pub headers: BTreeMap<String, Spanned<Header>>,
    /// By the ending without its first dot; `*` is for names that say nothing.
    pub types: BTreeMap<String, Spanned<HeaderValue>>,
}

/// An `auth` table.
#[derive(Debug, Clone)]
pub(super) struct Auth {
    pub basic: Arc<BasicAuth>,
    /// As TOML writes it.
    pub text: String,
}

/// A field of `headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub name: HeaderName,
    pub value: Option<HeaderValue>,
    /// The name as written.
    pub text: String,
}

/// How long others may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// For so long.
    For(Duration),
    /// For ever: what is at this path never changes.
    Immutable,
    /// Only to ask whether it has changed.
    Revalidate,
    /// Not at all.
    Never,
}

impl Serving {
    /// Adds what a more specific key says.
    pub fn overlay(&mut self, more: &Self) {
        replace(&mut self.auth, more.auth.as_ref());
        replace(&mut self.cache, more.cache.as_ref());
        replace(&mut self.compress, more.compress.as_ref());
        self.error_pages.extend(more.error_pages.clone());
        self.headers.extend(more.headers.clone());
        self.types.extend(more.types.clone());
    }
}

/// The same file, read once.
impl PartialEq for Auth {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.basic, &other.basic)
    }
}
