//! The answer for a file: a representation of it, or what the preconditions say instead.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::{
    body::{Body, Piece},
    files::{
        Options, compress,
        content::{Content, ReadError, unreadable},
        multipart::{content_range, multipart},
        variant::{self, File, Variant},
    },
    fs::Opened,
    semantics::{
        coding::Coding,
        failure::{Cause, Failure},
        representation::{self, Answer},
        validator::Validators,
    },
};

/// How often an answer is begun anew because the file was changed under it.
const ATTEMPTS: usize = 16;

/// A representation, chosen.
struct Representation {
    content: Content,
    media_type: HeaderValue,
    validators: Validators,
    coding: Option<Coding>,
    /// Whether the coding is still to be made.
    is_made: bool,
}

/// Answers with a file. `relative` is its path below the root.
pub(super) async fn answer(
    opened: Opened,
    media_type: HeaderValue,
    relative: &[u8],
    options: &Options,
    head: &Parts,
) -> Result<Response<Body>, Failure> {
    let file = File {
        metadata: &opened.metadata,
        media_type: &media_type,
        relative,
    };
    let variant = variant::choose(&file, options, head).await?;
    let varies = variant::varies(options, &media_type);
    let mut representation = Representation::of(variant, opened, media_type).await?;
    for _ in 0..ATTEMPTS {
        match representation.answer(head).await {
            Ok(mut response) => {
                if varies {
                    let accept_encoding = HeaderValue::from_static("accept-encoding");
                    response.headers_mut().insert(header::VARY, accept_encoding);
                }
                return Ok(response);
            }
            Err(Refusal::Changed) => representation = representation.again().await?,
            Err(Refusal::Failure(failure)) => return Err(failure),
        }
    }
    Err(Failure::changing())
}

/// The content of a file with its length and media type.
pub(super) async fn whole(
    opened: Opened,
    media_type: HeaderValue,
) -> Result<Response<Body>, Failure> {
    let mut content = Content::of(opened).await?;
    for _ in 0..ATTEMPTS {
        let size = content.size;
        match content.pieces(vec![Piece::File(0..size)]).await {
            Ok(body) => {
                let mut response = Response::new(body);
                let fields = response.headers_mut();
                fields.insert(header::CONTENT_TYPE, media_type);
                fields.insert(header::CONTENT_LENGTH, size.into());
                return Ok(response);
            }
            Err(ReadError::Changed) => content = content.again().await?,
            Err(ReadError::System(error)) => return Err(unreadable(error)),
        }
    }
    Err(Failure::changing())
}

/// Why there is no answer.
enum Refusal {
    /// The file has another version by now.
    Changed,
    /// What the client is told.
    Failure(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Changed => Self::Changed,
            ReadError::System(error) => Self::Failure(unreadable(error)),
        }
    }
}

impl Representation {
    async fn of(
        variant: Variant,
        opened: Opened,
        media_type: HeaderValue,
    ) -> Result<Self, Failure> {
        let (opened, coding, is_made) = match variant {
            Variant::Identity => (opened, None, false),
            Variant::Stored(coding, sibling) => (sibling, Some(coding), false),
            Variant::Made(coding) => (opened, Some(coding), true),
        };
        let content = Content::of(opened).await?;
        Ok(Self::new(content, media_type, coding, is_made))
    }

    fn new(
        content: Content,
        media_type: HeaderValue,
        coding: Option<Coding>,
        is_made: bool,
    ) -> Self {
        let mut validators = content.validators.clone();
        if let (Some(coding), true) = (coding, is_made) {
            validators.tag = validators.tag.coded(coding.name());
        }
        Self {
            content,
            media_type,
            validators,
            coding,
            is_made,
        }
    }

    /// The same of the version that the file has by now.
    async fn again(self) -> Result<Self, Failure> {
        let content = self.content.again().await?;
        Ok(Self::new(
            content,
            self.media_type,
            self.coding,
            self.is_made,
        ))
    }

    async fn answer(&self, head: &Parts) -> Result<Response<Body>, Refusal> {
        let size = self.content.size;
        // Ranges are of the file as it is.
        let length = self.coding.is_none().then_some(size);
        match representation::select(&head.method, &head.headers, &self.validators, length) {
            Answer::PreconditionFailed => Err(Refusal::Failure(Failure::new(
                StatusCode::PRECONDITION_FAILED,
                Cause::PreconditionFailed,
            ))),
            Answer::Unsatisfiable => Err(Refusal::Failure(Failure::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                Cause::UnsatisfiableRange(size),
            ))),
            // No content, whose length could be told (RFC 9110 §15.4.5, §8.6).
            Answer::NotModified => Ok(self.response(StatusCode::NOT_MODIFIED, Body::Empty)),
            Answer::Whole => self.whole(&head.method).await,
            Answer::Part(part) => {
                let value = content_range(&part, size);
                let body = self.content.pieces(vec![Piece::File(part)]).await?;
                let mut response = self.described(StatusCode::PARTIAL_CONTENT, body);
                insert(response.headers_mut(), header::CONTENT_RANGE, value);
                Ok(response)
            }
            Answer::Parts(parts) => {
                let multipart = multipart(parts, size, &self.media_type)?;
                let body = self.content.pieces(multipart.pieces).await?;
                let mut response = self.described(StatusCode::PARTIAL_CONTENT, body);
                let fields = response.headers_mut();
                fields.insert(header::CONTENT_TYPE, multipart.media_type);
                Ok(response)
            }
        }
    }

    /// 200, for HEAD without the content.
    async fn whole(&self, method: &Method) -> Result<Response<Body>, Refusal> {
        let size = self.content.size;
        let is_head = method == Method::HEAD;
        let body = match self.coding {
            Some(coding) if self.is_made => {
                // Its length shows only when it is made, which HEAD leaves out (RFC 9110 §9.3.2).
                let body = if is_head {
                    Body::Empty
                } else {
                    self.made(coding).await?
                };
                return Ok(self.described(StatusCode::OK, body));
            }
            _ if is_head => Body::Empty,
            _ => self.content.pieces(vec![Piece::File(0..size)]).await?,
        };
        let mut response = self.described(StatusCode::OK, body);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, size.into());
        Ok(response)
    }

    async fn made(&self, coding: Coding) -> Result<Body, Refusal> {
        let failed = |error| Refusal::Failure(Failure::system("compressing a file", &error));
        if self.content.is_small() {
            let bytes = self.content.read(0..self.content.size).await?;
            let bytes = compress::whole(bytes, coding).await.map_err(failed)?;
            return Ok(Body::Bytes(bytes));
        }
        let encoded = compress::Encoded::new(self.content.source(), coding).map_err(failed)?;
        Ok(Body::Stream(Box::pin(encoded)))
    }

    /// A response with the fields that describe the content.
    fn described(&self, status: StatusCode, body: Body) -> Response<Body> {
        let mut response = self.response(status, body);
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, self.media_type.clone());
        match self.coding {
            Some(coding) => {
                let name = HeaderValue::from_static(coding.name());
                fields.insert(header::CONTENT_ENCODING, name);
            }
            None => {
                fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            }
        }
        response
    }

    /// A response with the validators.
    fn response(&self, status: StatusCode, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let fields = response.headers_mut();
        insert(fields, header::ETAG, self.validators.tag.to_string());
        if let Some(time) = self.validators.last_modified {
            insert(fields, header::LAST_MODIFIED, httpdate::fmt_http_date(time));
        }
        response
    }
}

/// Inserts a value that is made of visible characters.
fn insert(fields: &mut HeaderMap, name: header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        fields.insert(name, value);
    }
}
