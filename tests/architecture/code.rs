//! Rust code as tokens and paths, read from its text: as much as the rules need.

/// A word, a `::`, or another character of the code.
#[derive(Debug, Clone, Copy)]
pub struct Token<'t> {
    /// From 1.
    pub line: usize,
    /// As it stands in the code.
    pub text: &'t str,
}

/// The tokens of a source, without comments, strings, characters and lifetimes' quotes.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let (text, following) = match skipped(rest) {
            Some(length) => ("", &rest[length..]),
            None => rest.split_at(token_length(rest)),
        };
        if !text.trim().is_empty() {
            tokens.push(Token { line, text });
        }
        let passed = rest.len() - following.len();
        line += rest[..passed].matches('\n').count();
        rest = following;
    }
    tokens
}

/// The length of the token or white space that the text begins with.
fn token_length(text: &str) -> usize {
    let character = text.chars().next().map_or(0, char::len_utf8);
    if text.starts_with("::") {
        2
    } else {
        word(text).max(character)
    }
}

/// The length of the word that the text begins with.
fn word(text: &str) -> usize {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text.find(|character| !is_word(character))
        .unwrap_or(text.len())
}

/// The length of the comment or literal that the text begins with.
fn skipped(text: &str) -> Option<usize> {
    let to_end = |length: Option<usize>| length.unwrap_or(text.len());
    if text.starts_with("//") {
        return Some(to_end(text.find('\n')));
    }
    if text.starts_with("/*") {
        return Some(to_end(text.find("*/").map(|at| at + 2)));
    }
    if let Some(raw) = raw_string(text) {
        return Some(raw);
    }
    if let Some(content) = text.strip_prefix('"') {
        return Some(to_end(closing(content, '"').map(|at| at + 1)));
    }
    let quoted = text.strip_prefix('\'')?;
    let is_character = quoted.starts_with('\\') || quoted.chars().nth(1) == Some('\'');
    Some(if is_character {
        to_end(closing(quoted, '\'').map(|at| at + 1))
    } else {
        1
    })
}

/// Where a literal ends: after the quote that no backslash escapes.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if character == quote && !escaped {
            return Some(at + 1);
        }
        escaped = character == '\\' && !escaped;
    }
    None
}

/// The length of the raw string that the text begins with.
fn raw_string(text: &str) -> Option<usize> {
    let start = ["r", "br", "cr"]
        .iter()
        .find(|prefix| word(text) == prefix.len() && text.starts_with(**prefix))?
        .len();
    let hashes = text[start..].len() - text[start..].trim_start_matches('#').len();
    let content = start + hashes + 1;
    if !text[start + hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let length = text[content..].find(&end)?;
    Some(content + length + end.len())
}

/// Every path of two or more segments, with the groups of `use` written out.
pub fn paths(tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = read_path(tokens, at, "", &mut paths);
    }
    paths
}

/// Reads the path that begins at a token, below a prefix; the token after it.
fn read_path(
    tokens: &[Token<'_>],
    at: usize,
    prefix: &str,
    paths: &mut Vec<(usize, String)>,
) -> usize {
    let token = tokens[at];
    let path = format!("{prefix}{}", token.text);
    let follows = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let continues = tokens.get(at + 2).is_some_and(|next| word(next.text) > 0);
    if word(token.text) == 0 {
        return at + 1;
    }
    if follows(at + 1, "::") && continues {
        return read_path(tokens, at + 2, &format!("{path}::"), paths);
    }
    if follows(at + 1, "::") && follows(at + 2, "{") {
        let mut at = at + 3;
        while at < tokens.len() && !follows(at, "}") {
            at = if follows(at, "as") {
                at + 2
            } else {
                read_path(tokens, at, &format!("{path}::"), paths)
            };
        }
        return at + 1;
    }
    if path.contains("::") {
        paths.push((token.line, path));
    }
    at + 1
}

mod the_reader {
    use super::*;

    #[test]
    fn every_path_is_found_with_its_line() {
        let text = r##"use std::{fs, io::{self, Read as R}, // crate::a
    path::*};
/* crate::b */ const A: &str = "crate::c \" crate::d"; const B: &str = r#"" crate::e"#;
fn f<'a>(x: &'a str) -> Vec<u8> { let y = ('"', '\'', b'x'); crate::g::h(x) }"##;
        let found: Vec<_> = paths(&tokens(text))
            .into_iter()
            .map(|(line, path)| format!("{line} {path}"))
            .collect();
        let expected = [
            "1 std::fs",
            "1 std::io::self",
            "1 std::io::Read",
            "2 std::path",
            "4 crate::g::h",
        ];
        assert_eq!(found, expected);
    }
}
