//! A script's output comes to the same answer and the same content, or to the same error, however it is
//! cut into pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pywebd::cgi::response::{Header, Parser, ResponseError, ScriptResponse};

fuzz_target!(|input: (bool, Vec<u8>, &[u8])| {
    let (is_non_parsed, cuts, output) = input;
    let header = if is_non_parsed { Header::NonParsed } else { Header::Parsed };
    let whole = outcome(header, [output]);
    let pieces = outcome(header, Pieces { cuts: cuts.into_iter(), rest: output });
    assert_eq!(whole, pieces);
    match whole {
        Ok((ScriptResponse::Document(head), content)) => {
            assert!((200..600).contains(&head.status.as_u16()));
            assert!(output.ends_with(&content));
        }
        Ok((ScriptResponse::LocalRedirect(reference), _)) => {
            assert!(reference.starts_with('/') && !reference.starts_with("//"));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
});

/// What the output comes to: the answer and its content, or what is wrong with it.
fn outcome<'o>(
    header: Header,
    pieces: impl IntoIterator<Item = &'o [u8]>,
) -> Result<(ScriptResponse, Vec<u8>), ResponseError> {
    let mut parser = Parser::new(header);
    let mut pieces = pieces.into_iter();
    while let Some(piece) = pieces.next() {
        if let Some((response, first)) = parser.feed(piece)? {
            let rest: Vec<_> = pieces.collect();
            return Ok((response, [&first, &*rest.concat()].concat()));
        }
    }
    Err(parser.end())
}

/// The output in pieces of these lengths, which may be 0; the last one is what is left.
struct Pieces<'o> {
    cuts: std::vec::IntoIter<u8>,
    rest: &'o [u8],
}

impl<'o> Iterator for Pieces<'o> {
    type Item = &'o [u8];

    fn next(&mut self) -> Option<&'o [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.cuts.next().map_or(self.rest.len(), usize::from);
        let (piece, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}
