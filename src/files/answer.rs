//! The answer for a file: a representation of it, or what the preconditions say instead.

use std::{borrow::Cow, cell::Cell, sync::Arc};

use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::{
    body::{Body, Piece},
    files::{
        Options, Sight, Source,
        compress::{self, Place},
        content::{Content, ReadError, Whole, read_copy},
        media_type::MediaType,
        multipart::{content_range, multipart},
        variant::{self, Coded},
    },
    semantics::{
        coding::Coding,
        failure::{Cause, Failure},
        range::Selection,
        representation::{self, Answer},
        validator::{self, Validators},
    },
};

/// A file that is asked for.
pub(super) struct Asked<'a> {
    /// Its path below the root.
    pub name: &'a [u8],
    pub media_type: MediaType,
    pub options: &'a Options,
    pub head: &'a Parts,
    pub cache: Option<&'a Sight<'a>>,
}

/// Answers with a file.
pub(super) async fn answer(file: Source, asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let choice = variant::choose(&file, asked).await?;
    let content = Content::of(choice.sibling.unwrap_or(file)).await?;
    let place = Cell::new(choice.place);
    let answer = async |content: &Content| {
        let representation = Representation::new(content, asked, choice.coded, &place);
        representation.answer(asked.head).await
    };
    let mut response = content.begin(answer).await?;
    if variant::varies(asked.options, &asked.media_type) {
        let accept_encoding = HeaderValue::from_static("accept-encoding");
        response.headers_mut().insert(header::VARY, accept_encoding);
    }
    Ok(response)
}

/// The content of a file with its length and media type.
pub(super) async fn whole(
    file: Source,
    media_type: &HeaderValue,
) -> Result<Response<Body>, Failure> {
    let answer = async |content: &Content| {
        let body = content.pieces(vec![Piece::File(0..content.size)]).await?;
        let mut response = Response::new(body);
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, media_type.clone());
        fields.insert(header::CONTENT_LENGTH, content.size.into());
        Ok(response)
    };
    Content::of(file).await?.begin(answer).await
}

/// A representation, chosen.
struct Representation<'c> {
    content: &'c Content,
    asked: &'c Asked<'c>,
    coded: Coded,
    /// For the encoder, if one is needed.
    place: &'c Cell<Option<Place>>,
    validators: Cow<'c, Validators>,
}

impl<'c> Representation<'c> {
    fn new(
        content: &'c Content,
        asked: &'c Asked<'c>,
        coded: Coded,
        place: &'c Cell<Option<Place>>,
    ) -> Self {
        let mut validators = Cow::Borrowed(&content.validators);
        if let Coded::Stored(coding) | Coded::Made(coding) = coded {
            let tag = validators.tag.coded(coding.name());
            validators.to_mut().tag = tag;
        }
        Self {
            content,
            asked,
            coded,
            place,
            validators,
        }
    }

    async fn answer(&self, head: &Parts) -> Result<Response<Body>, ReadError> {
        let size = self.content.size;
        // Ranges are of the file as it is.
        let length = (self.coded == Coded::Identity).then_some(size);
        let failure = |status, cause| Err(ReadError::Failure(Failure::new(status, cause)));
        match representation::select(&head.method, &head.headers, &self.validators, length) {
            Answer::PreconditionFailed => {
                failure(StatusCode::PRECONDITION_FAILED, Cause::PreconditionFailed)
            }
            Answer::Content(Selection::Unsatisfiable) => failure(
                StatusCode::RANGE_NOT_SATISFIABLE,
                Cause::UnsatisfiableRange(size),
            ),
            // No content, whose length could be told (RFC 9110 §15.4.5, §8.6).
            Answer::NotModified => Ok(self.response(StatusCode::NOT_MODIFIED, Body::Empty)),
            Answer::Content(Selection::Whole) => self.whole(&head.method).await,
            Answer::Content(Selection::Part(part)) => {
                let range = HeaderValue::try_from(content_range(&part, size));
                let body = self.pieces(vec![Piece::File(part)]).await?;
                let mut response = self.described(StatusCode::PARTIAL_CONTENT, body);
                if let Ok(range) = range {
                    response.headers_mut().insert(header::CONTENT_RANGE, range);
                }
                Ok(response)
            }
            Answer::Content(Selection::Parts(parts)) => {
                let multipart = multipart(parts, size, &self.asked.media_type.value)?;
                let body = self.pieces(multipart.pieces).await?;
                let mut response = self.described(StatusCode::PARTIAL_CONTENT, body);
                let fields = response.headers_mut();
                fields.insert(header::CONTENT_TYPE, multipart.media_type);
                Ok(response)
            }
        }
    }

    /// 200, for HEAD without the content.
    async fn whole(&self, method: &Method) -> Result<Response<Body>, ReadError> {
        let size = self.content.size;
        let body = match self.coded {
            _ if method == Method::HEAD => Body::Empty,
            Coded::Made(coding) => Box::pin(self.made(coding)).await?,
            Coded::Identity | Coded::Stored(_) => match self.content.bytes() {
                Some(bytes) => Body::Bytes(bytes.clone()),
                None => self.pieces(vec![Piece::File(0..size)]).await?,
            },
        };
        let mut response = self.described(StatusCode::OK, body);
        // The length of what is made shows only then, and HEAD may leave it out (RFC 9110 §9.3.2).
        if !matches!(self.coded, Coded::Made(_)) {
            let fields = response.headers_mut();
            fields.insert(header::CONTENT_LENGTH, size.into());
        }
        Ok(response)
    }

    /// Boxed: what is in memory needs no room for the rest.
    async fn pieces(&self, pieces: Vec<Piece>) -> Result<Body, ReadError> {
        Box::pin(self.content.pieces(pieces)).await
    }

    async fn made(&self, coding: Coding) -> Result<Body, ReadError> {
        let failed = |error| Failure::system("compressing a file", &error);
        let cache = self.asked.cache.zip(self.content.in_cache());
        if let Some(coded) = cache.and_then(|(cache, kept)| cache.cache().coded(kept, coding)) {
            return Ok(Body::Bytes(coded));
        }
        let coded = match self.content.whole() {
            Whole::Memory(bytes) => compress::whole(move || Ok(bytes), coding).await,
            Whole::Copy(copy) => {
                let (copy, _place) = (Arc::clone(copy), self.place.take());
                compress::whole(move || read_copy(&copy, 0..copy.length()), coding).await
            }
            Whole::File(file, version) => {
                let (source, place) = ((Arc::clone(file), version), self.place.take());
                let encoded = compress::Encoded::new(source, coding, place).map_err(failed)?;
                return Ok(Body::Stream(Box::pin(encoded)));
            }
        };
        let coded = coded.map_err(failed)?;
        if let Some((cache, kept)) = cache {
            cache.cache().keep_coded(kept, coding, coded.clone());
        }
        Ok(Body::Bytes(coded))
    }

    /// A response with the fields that describe the content.
    fn described(&self, status: StatusCode, body: Body) -> Response<Body> {
        let mut response = self.response(status, body);
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, self.asked.media_type.value.clone());
        match self.coded {
            Coded::Stored(coding) | Coded::Made(coding) => {
                let name = HeaderValue::from_static(coding.name());
                fields.insert(header::CONTENT_ENCODING, name);
            }
            Coded::Identity => {
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
        fields.insert(header::ETAG, self.validators.tag.0.clone());
        if let Some(time) = self.validators.last_modified {
            let kept = self.content.in_cache();
            let value = kept.map_or_else(|| validator::date(time), |kept| kept.last_modified(time));
            fields.insert(header::LAST_MODIFIED, value);
        }
        response
    }
}
