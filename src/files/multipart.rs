//! Several ranges of a file in one answer (RFC 9110 §14.6).

use std::{fmt::Write, ops::Range};

use http::HeaderValue;

use crate::{body::Piece, semantics::failure::Failure};

/// The content of an answer with several parts.
pub(super) struct Multipart {
    /// The answer's media type, with the boundary.
    pub media_type: HeaderValue,
    /// The parts with their heads, and the end.
    pub pieces: Vec<Piece>,
}

/// Puts parts of a file of `size` bytes together, each with its range and the file's media type.
pub(super) fn multipart(
    parts: Vec<Range<u64>>,
    size: u64,
    media_type: &HeaderValue,
) -> Result<Multipart, Failure> {
    // Random, so that no content can have it.
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Failure::system("making a boundary", &error.into()))?;
    let boundary = format!("{:032x}", u128::from_ne_bytes(random));
    let media_type_text = media_type.to_str().unwrap_or("application/octet-stream");
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    let mut line_end = "";
    for part in parts {
        let mut head = String::new();
        let _ = write!(
            head,
            "{line_end}--{boundary}\r\nContent-Type: {media_type_text}\r\n\
             Content-Range: {}\r\n\r\n",
            content_range(&part, size)
        );
        pieces.push(Piece::Memory(head.into()));
        pieces.push(Piece::File(part));
        line_end = "\r\n";
    }
    pieces.push(Piece::Memory(format!("\r\n--{boundary}--\r\n").into()));
    let media_type = format!("multipart/byteranges; boundary={boundary}");
    let media_type = HeaderValue::try_from(media_type)
        .map_err(|error| Failure::system("making a boundary", &std::io::Error::other(error)))?;
    Ok(Multipart { media_type, pieces })
}

/// The value of `Content-Range` for a range that is not empty (RFC 9110 §14.4).
pub(super) fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end - 1)
}
