//! Whether an answer is also the one to every later request that is the same to the byte.
//!
//! It is where it follows from the head and from what is kept of files alone, and no rule looked at the
//! client. What a time, a condition or a range decides is decided each time.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, Version, header};

use crate::{
    body::Body,
    records::{Pending, Words},
    sys::kernel_copy::KernelCopy,
};

/// Fields of a request whose answer depends on the time, or is more than one.
const TOO_MUCH: [HeaderName; 4] = [
    header::EXPECT,
    header::IF_MODIFIED_SINCE,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
];

/// What an answer can be given again with.
#[derive(Debug)]
pub struct Repeatable {
    /// For as long as [`crate::files::Cache::generation`] says this.
    pub generation: u64,
    /// The site that answers.
    pub site: Arc<str>,
    /// What records have of the request; absent where none are wanted.
    pub words: Option<Words>,
    /// The content of the answer.
    pub content: Content,
    /// Whether the connection ends with the answer.
    pub ends: bool,
    /// Whether it holds beyond the second that its date tells: when the file was changed is not told at
    /// once (RFC 9110 §8.8.2.1).
    pub outlasts_its_date: bool,
}

/// Content that never changes.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In the kernel's.
    Copy(Arc<KernelCopy>),
}

impl Content {
    fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Body::File(file) => Some(Self::Copy(Arc::clone(file.whole_copy()?))),
            Body::Empty | Body::Stream(_) => None,
        }
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Copy(copy) => copy.length(),
        }
    }
}

impl Repeatable {
    /// An answer to the request of `pending` that belongs to a generation, if it can be given again.
    pub(super) fn of(
        response: &Response<Body>,
        generation: u64,
        site: &Arc<str>,
        pending: &Pending,
    ) -> Option<Self> {
        let head = pending.head();
        let ends = ends(&head.headers)?;
        let is_plain = head.method == Method::GET
            && head.version == Version::HTTP_11
            && !TOO_MUCH.iter().any(|name| head.headers.contains_key(name));
        if !is_plain || response.status() != StatusCode::OK {
            return None;
        }
        Some(Self {
            generation,
            site: Arc::clone(site),
            words: pending.is_wanted().then(|| Words::of(head)),
            content: Content::of(response.body())?,
            ends,
            outlasts_its_date: response.headers().contains_key(header::LAST_MODIFIED),
        })
    }
}

/// Whether a request ends its connection; none where it says something else about it.
fn ends(fields: &HeaderMap) -> Option<bool> {
    let mut said = fields.get_all(header::CONNECTION).iter();
    let Some(option) = said.next() else {
        return Some(false);
    };
    let is = |name: &str| option.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    match said.next() {
        None if is("keep-alive") => Some(false),
        None if is("close") => Some(true),
        _ => None,
    }
}
