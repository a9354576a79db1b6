//! `auth`: a file of passwords, read now, so that a slip is found before the first request.

use std::{path::Path, sync::Arc};

use rapidhash::v3::rapidhash_v3;
use serde_spanned::Spanned;

use crate::{
    config::{
        Reader, Seen, compile::resolver::Resolver, findings::Mistake, notation::quoted, raw, read,
        serving::Auth,
    },
    site::{BasicAuth, passwords::Passwords},
};

/// So many mistakes of one file are told.
const SHOWN: usize = 10;

/// Reads an `auth` table and its file; `within` is the path of the table it is in.
pub(super) fn read(
    written: &Spanned<raw::Auth>,
    within: &[&str],
    resolver: &mut Resolver<'_>,
) -> Option<Spanned<Auth>> {
    let raw::Auth { basic, realm, weak } = written.get_ref();
    let Some(basic) = basic else {
        if !resolver
            .findings
            .is_incomplete(&[within, &["auth"]].concat())
        {
            let mistake = Mistake::new("`auth` says nothing of who may pass");
            let help = "write { basic = \"users.htpasswd\", realm = \"Members\" }";
            resolver.findings.error(&written.span(), mistake.help(help));
        }
        return None;
    };
    let is_weak = weak.as_ref().is_some_and(|weak| *weak.get_ref());
    let text = realm.as_ref().map_or("Restricted", |realm| realm.get_ref());
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let span = realm.as_ref().map_or(written.span(), Spanned::span);
        let mistake = Mistake::new(format!("{text:?} is not a realm"));
        let help = "write ASCII characters: it is what a browser asks the password for";
        resolver.findings.error(&span, mistake.help(help));
    }
    let path = resolver.sources.resolve(basic.get_ref(), &basic.span());
    let shown = basic.get_ref().display().to_string();
    let content = match content(&path, resolver) {
        Ok(content) => content,
        Err(reason) => {
            let mistake = Mistake::new(format!("cannot read {shown}: {reason}"));
            resolver.findings.error(&basic.span(), mistake);
            return None;
        }
    };
    let passwords = Passwords::parse(&content, is_weak);
    let passwords = match passwords {
        Ok(passwords) => passwords,
        Err(malformed) => {
            for fault in malformed.iter().take(SHOWN) {
                let message = format!("{shown}:{}: {}", fault.line, fault.reason);
                resolver
                    .findings
                    .error(&basic.span(), Mistake::new(message));
            }
            return None;
        }
    };
    if passwords.is_empty() && resolver.reader == Reader::Server {
        let mistake = Mistake::new(format!("{shown} has no users: nobody can pass"));
        resolver.findings.warning(&basic.span(), mistake);
    }
    let weak = if is_weak { ", weak = true" } else { "" };
    let auth = Auth {
        basic: Arc::new(BasicAuth::new(passwords, text)),
        text: format!(
            "{{ basic = {}, realm = {}{weak} }}",
            quoted(&path.to_string_lossy()),
            quoted(text)
        ),
    };
    Some(Spanned::new(written.span(), auth))
}

/// The content of a file of passwords, which some processes do without.
fn content(path: &Path, resolver: &mut Resolver<'_>) -> Result<Vec<u8>, String> {
    if resolver.reader == Reader::Launcher {
        return Ok(Vec::new());
    }
    resolver.seen.push(Seen::path(path));
    let content = read::bounded(path)?;
    let digest = rapidhash_v3(&content);
    resolver.values.contents.insert(path.to_owned(), digest);
    Ok(content)
}
