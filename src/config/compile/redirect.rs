//! Where a redirect leads: a path or a URI with a host (RFC 9110 §10.2.2), and its status (§15.4).

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_spanned::Spanned;

use crate::{
    config::{
        findings::{Findings, Mistake},
        raw,
        sources::{NOWHERE, Span},
    },
    semantics::target::Path,
    site::{Key, route::Redirect},
};

/// Reads the key of a `redirect` table: an exact path, or one with a trailing `*` for all below.
pub(super) fn key(text: &str) -> Result<Key, Mistake> {
    let key = |path: &str| Key::parse(path).map_err(Mistake::new);
    match text.strip_suffix('*') {
        Some(prefix) if prefix.ends_with('/') => match key(prefix)? {
            prefix @ Key::Prefix(_) => return Ok(prefix),
            Key::Exact(_) | Key::Ending { .. } => {}
        },
        Some(_) => {}
        None => match key(text)? {
            Key::Exact(path) | Key::Prefix(path) => return Ok(Key::Exact(path)),
            Key::Ending { .. } => {}
        },
    }
    let mistake = Mistake::new(format!("{text:?} is not a path to redirect"));
    Err(mistake.help("write an exact path (\"/old\") or all below one (\"/blog/*\")"))
}

/// Checks where a redirect leads; `key` says whether there is a rest of the path for `*`.
pub(super) fn compile(
    key: &Key,
    written: &Spanned<raw::Redirect>,
    findings: &mut Findings,
) -> Option<Redirect> {
    let raw::Redirect { to, status } = written.get_ref();
    let span = match to.span() {
        NOWHERE => written.span(),
        span => span,
    };
    let to = findings.accept(&span, target(key, to.get_ref()));
    let code = match status {
        None => Some(StatusCode::MOVED_PERMANENTLY),
        Some(status) => findings.accept(&status.span(), redirect_status(*status.get_ref())),
    };
    let to = to?;
    report_loop(key, to, &span, findings);
    let (base, rest_from) = match (to.strip_suffix('*'), key) {
        (Some(base), Key::Prefix(prefix)) => (base, Some(prefix.len())),
        _ => (to, None),
    };
    Some(Redirect {
        to: base.into(),
        rest_from,
        status: code?,
    })
}

fn target<'t>(key: &Key, to: &'t str) -> Result<&'t str, Mistake> {
    let mistake =
        |reason: &str| Mistake::new(format!("{to:?} is no place to redirect to: {reason}"));
    let after_scheme = to
        .strip_prefix("https://")
        .or_else(|| to.strip_prefix("http://"));
    let is_path = to.starts_with('/') && !to.starts_with("//");
    if !is_path && after_scheme.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        let help = "write a path (\"/new\") or a URI (\"https://example.org/new\")";
        return Err(mistake("it is neither a path nor a URI with a host").help(help));
    }
    if let Some(authority) = after_scheme.and_then(|rest| rest.strip_suffix('*'))
        && !authority.contains('/')
    {
        // Else the rest of the path could make another host of it.
        let help = format!("write \"{}/*\"", to.trim_end_matches('*'));
        return Err(mistake("the rest of the path would follow the host").help(help));
    }
    let odd = |character: char| !character.is_ascii_graphic() || "\"<>\\^`{|}".contains(character);
    if let Some(character) = to.chars().find(|&character| odd(character)) {
        let mut buffer = [0; 4];
        let encoded = percent_encode(
            character.encode_utf8(&mut buffer).as_bytes(),
            NON_ALPHANUMERIC,
        );
        let reason = format!("{character:?} does not stand in a URI");
        return Err(mistake(&reason).help(format!("write {encoded}")));
    }
    match to.find('*') {
        None => Ok(to),
        Some(at) if at + 1 == to.len() && matches!(key, Key::Prefix(_)) => Ok(to),
        Some(at) if at + 1 == to.len() => {
            let help = "end the key with `/*` in `redirect`, or with `/` in `path`";
            Err(mistake("`*` is the rest of the path, and the key leaves none").help(help))
        }
        Some(_) => Err(mistake("`*` stands only at the end")),
    }
}

/// A redirect to a path that is redirected by the same key never ends.
fn report_loop(key: &Key, to: &str, span: &Span, findings: &mut Findings) {
    let path = to.split(['?', '#', '*']).next().unwrap_or_default();
    let leads_back = Path::parse(path).is_ok_and(|path| key.matches(path.as_bytes()));
    if leads_back {
        let mistake = Mistake::new(format!("{to:?} is redirected again, without an end"));
        findings.warning(span, mistake);
    }
}

fn redirect_status(status: i64) -> Result<StatusCode, Mistake> {
    match status {
        301 => Ok(StatusCode::MOVED_PERMANENTLY),
        302 => Ok(StatusCode::FOUND),
        303 => Ok(StatusCode::SEE_OTHER),
        307 => Ok(StatusCode::TEMPORARY_REDIRECT),
        308 => Ok(StatusCode::PERMANENT_REDIRECT),
        _ => Err(
            Mistake::new(format!("{status} is not the status of a redirect"))
                .help("write 301, 302, 303, 307 or 308"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_exact_or_everything_below() {
        for (text, expected) in [
            ("/old", Key::Exact((*b"/old").into())),
            ("/old/", Key::Exact((*b"/old/").into())),
            ("/blog/*", Key::Prefix((*b"/blog/").into())),
        ] {
            assert_eq!(key(text), Ok(expected), "{text}");
        }
        for text in [
            "*.html", "/*.html", "/blog*", "old", "", "/*/x", "*", "/*/*",
        ] {
            assert!(key(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn targets_are_paths_or_uris_with_a_host() {
        let prefix = Key::Prefix((*b"/a/").into());
        for fine in [
            "/",
            "/new?x=1#y",
            "/new/*",
            "https://example.org",
            "http://[::1]:80/*",
        ] {
            assert_eq!(target(&prefix, fine), Ok(fine));
        }
        for bad in [
            "",
            "new",
            "//x",
            "https://",
            "https:///x",
            "ftp://x",
            "/a b",
            "/*/",
            "/\n",
        ] {
            assert!(target(&prefix, bad).is_err(), "{bad:?}");
        }
    }
}
