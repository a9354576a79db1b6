//! The pages the server makes itself: one frame, and the escaping of what goes into it.

#![forbid(unsafe_code)]

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.2rem .8rem .2rem 0;overflow-wrap:anywhere}\
.n{text-align:right;white-space:nowrap}\
.w{white-space:nowrap}\
@media(max-width:40rem){.w{display:none}}\
nav{margin-bottom:1rem;overflow-wrap:anywhere}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}\
dt{font-weight:bold;margin-top:.8rem}\
dd{margin:0;overflow-wrap:anywhere}\
footer{margin-top:2rem;opacity:.6;font-size:.9rem}";

/// A whole page. The title is escaped here; `content` is markup.
pub fn html(title: &str, content: &str) -> String {
    let title = Escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n{content}<footer>pywebd</footer>\n</body>\n</html>\n"
    )
}

/// Text as it can stand in HTML, between tags and in quoted attributes.
pub struct Escaped<'t>(pub &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            out.write_str(&rest[..at])?;
            out.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        out.write_str(rest)
    }
}

/// Text of unknown origin for people: what is no text, and what would not be seen or would change how
/// the rest is seen, is escaped. Lines and tabs stay.
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_seen(c) {
                text.push(c);
            } else {
                text.extend(c.escape_default());
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

/// Whether a character is none of those that steer: control characters, marks of direction and those
/// without width.
fn is_seen(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => false,
        c => !c.is_control(),
    }
}

/// What is encoded in one segment of a relative reference: everything but the unreserved
/// characters of RFC 3986 §2.3, so that a name can be neither a scheme nor a path of its own.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'!')
    .add(b'"')
    .add(b'#')
    .add(b'$')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'*')
    .add(b'+')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A file's name, of any bytes, as one segment of a relative reference.
pub fn segment(name: &[u8]) -> impl fmt::Display {
    percent_encode(name, SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            Escaped("<a href=\"x\">'&'").to_string(),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;"
        );
    }

    #[test]
    fn what_would_not_be_seen_is_made_visible() {
        assert_eq!(visible("über\t<b>\n".as_bytes()), "über\t<b>\n");
        assert_eq!(visible(b"a\r\n\x1b[31m\0"), "a\\r\n\\u{1b}[31m\\u{0}");
        assert_eq!(visible(b"\xfcber \xe2\x80"), "\\xfcber \\xe2\\x80");
        assert_eq!(visible("\u{202e}txt".as_bytes()), "\\u{202e}txt");
    }

    #[test]
    fn a_name_of_any_bytes_is_one_segment() {
        assert_eq!(
            segment(b"javascript:a b/\xff?#.txt").to_string(),
            "javascript%3Aa%20b%2F%FF%3F%23.txt"
        );
    }
}
