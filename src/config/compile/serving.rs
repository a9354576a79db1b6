//! Options about how answers look, from what was written to what is served by.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_spanned::Spanned;

use crate::{
    config::{
        compile::{auth, resolver::Resolver},
        findings::Mistake,
        notation::{quoted, quoted_key},
        raw::{self, Quantity},
        serving::{Cache, Header, Serving},
        sources::{NOWHERE, Span},
        units::{DURATION, Notation},
    },
    files::{Types, media_type::essence},
    semantics::target::Path,
    site::{ErrorPages, HeaderRules},
};

/// Reads the options of a site or of a path key, the table with this path.
pub(super) fn read(raw: raw::Serving<'_>, path: &[&str], resolver: &mut Resolver<'_>) -> Serving {
    let auth = raw.auth.as_ref();
    Serving {
        auth: auth.and_then(|written| auth::read(written, path, resolver)),
        cache: resolver.read(raw.cache.as_ref(), &CACHE),
        compress: raw.compress.clone(),
        error_pages: table(raw.error_page, error_page, resolver).collect(),
        headers: table(raw.headers, header, resolver)
            .map(|(name, header)| (name.to_ascii_lowercase(), header))
            .collect(),
        types: table(raw.types, media_type, resolver).collect(),
    }
}

/// Every entry of a table that is right.
fn table<K: Ord, T>(
    raw: &BTreeMap<Spanned<String>, Spanned<String>>,
    read: impl Fn(&str, &str) -> Result<(K, T), (Part, Mistake)>,
    resolver: &mut Resolver<'_>,
) -> impl Iterator<Item = (K, Spanned<T>)> {
    let mut entries = Vec::new();
    for (key, value) in raw {
        match read(key.get_ref(), value.get_ref()) {
            Ok((key, entry)) => entries.push((key, Spanned::new(value.span(), entry))),
            Err((Part::Key, mistake)) => resolver.findings.error(&key.span(), mistake),
            Err((Part::Value, mistake)) => resolver.findings.error(&value.span(), mistake),
        }
    }
    entries.into_iter()
}

/// Which part of an entry is wrong.
enum Part {
    Key,
    Value,
}

/// `404 = "/404.html"`
fn error_page(key: &str, value: &str) -> Result<(StatusCode, Path<'static>), (Part, Mistake)> {
    if key == "400" {
        let mistake = Mistake::new("400 is told before it is known which site is meant");
        return Err((
            Part::Key,
            mistake.help("leave it out: there is no page for it"),
        ));
    }
    let status = key
        .parse::<u16>()
        .ok()
        .filter(|code| (400..600).contains(code));
    let status = status
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| {
            let mistake = Mistake::new(format!("{key:?} is not the status of an error"));
            (Part::Key, mistake.help("write a number from 400 to 599"))
        })?;
    Ok((
        status,
        path(value).map_err(|mistake| (Part::Value, mistake))?,
    ))
}

/// The path of a file of the site.
pub(super) fn path(text: &str) -> Result<Path<'static>, Mistake> {
    match Path::parse(text) {
        Ok(path) if !path.is_directory() && !text.contains(['?', '#']) => Ok(path.into_owned()),
        _ => Err(
            Mistake::new(format!("{text:?} is not the path of a file of the site"))
                .help("write a path such as \"/404.html\""),
        ),
    }
}

/// `X-Frame-Options = "DENY"`; an empty value takes the field away.
fn header(key: &str, value: &str) -> Result<(String, Header), (Part, Mistake)> {
    let name: HeaderName = key.parse().map_err(|_| {
        let mistake = Mistake::new(format!("{key:?} is not the name of a field"));
        (Part::Key, mistake)
    })?;
    if let Some(reason) = objection(&name) {
        let mistake = Mistake::new(format!("`{key}` is not set here: {reason}"));
        return Err((Part::Key, mistake));
    }
    let parsed = HeaderValue::from_str(value).map_err(|_| {
        let mistake = Mistake::new(format!("{value:?} is not the value of a field"));
        (
            Part::Value,
            mistake.help("write visible ASCII characters and spaces"),
        )
    })?;
    if name == header::VARY && parsed.is_empty() {
        let mistake = Mistake::new("what an answer varies by cannot be taken away");
        return Err((Part::Value, mistake));
    }
    let header = Header {
        name,
        value: Some(parsed).filter(|value| !value.is_empty()),
        text: key.to_owned(),
    };
    Ok((key.to_owned(), header))
}

/// Why a field cannot be given by the configuration; none where it can.
fn objection(name: &HeaderName) -> Option<&'static str> {
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "upgrade"
        | "transfer-encoding" | "content-length" => Some("it frames the message"),
        "content-range" | "content-encoding" | "accept-ranges" | "etag" | "last-modified"
        | "date" | "www-authenticate" | "location" | "allow" => Some("the server knows it better"),
        "content-type" => Some("`types` gives media types to endings"),
        _ => None,
    }
}

/// `webp = "image/webp"`, `"tar.gz" = …`, `"*" = …`
fn media_type(key: &str, value: &str) -> Result<(String, HeaderValue), (Part, Mistake)> {
    let ending = key
        .strip_prefix("*.")
        .or(key.strip_prefix('.'))
        .unwrap_or(key);
    if ending.is_empty() || ending.contains(['/', '\0']) || (ending.contains('*') && ending != "*")
    {
        let mistake = Mistake::new(format!("{key:?} is not the ending of a name"));
        return Err((
            Part::Key,
            mistake.help("write an ending such as \"webp\" or \"tar.gz\""),
        ));
    }
    let is_token = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    let is_type = |value: &HeaderValue| {
        let essence = essence(value);
        let parts = essence.split_once('/');
        parts.is_some_and(|(kind, name)| is_token(kind) && is_token(name))
    };
    let parsed = HeaderValue::from_str(value).ok().filter(is_type);
    let parsed = parsed.ok_or_else(|| {
        let mistake = Mistake::new(format!("{value:?} is not a media type"));
        let help = "write one such as \"text/plain; charset=utf-8\"";
        (Part::Value, mistake.help(help))
    })?;
    Ok((ending.to_ascii_lowercase(), parsed))
}

const CACHE: Notation<Quantity, Cache> = Notation {
    read: |written| match written {
        Quantity::Text(text) if text == "immutable" => Ok(Cache::Immutable),
        Quantity::Text(text) if text == "revalidate" => Ok(Cache::Revalidate),
        Quantity::Text(text) if text == "never" => Ok(Cache::Never),
        _ => (DURATION.read)(written).map(Cache::For).map_err(|mistake| {
            let help = "write how long browsers may keep it (\"1h\", \"30d\"), or \"immutable\", \
                        \"revalidate\" or \"never\"";
            mistake.help(help)
        }),
    },
    write: |cache| match cache {
        Cache::For(duration) => (DURATION.write)(duration),
        Cache::Immutable => quoted("immutable"),
        Cache::Revalidate => quoted("revalidate"),
        Cache::Never => quoted("never"),
    },
};

/// The value of `Cache-Control` (RFC 9111 §5.2.2, RFC 8246).
fn cache_control(cache: Cache) -> HeaderValue {
    let seconds = |duration: Duration| duration.as_secs();
    match cache {
        Cache::For(duration) => HeaderValue::try_from(format!("max-age={}", seconds(duration)))
            .unwrap_or(HeaderValue::from_static("no-cache")),
        Cache::Immutable => HeaderValue::from_static("max-age=31536000, immutable"),
        Cache::Revalidate => HeaderValue::from_static("no-cache"),
        Cache::Never => HeaderValue::from_static("no-store"),
    }
}

impl Serving {
    /// The fields that answers get. `cache` is for files: a script says itself how long its answer
    /// holds.
    pub(super) fn header_rules(&self, is_file: bool) -> HeaderRules {
        let cache = self.cache.as_ref().filter(|_| is_file);
        let cache =
            cache.map(|cache| (header::CACHE_CONTROL, Some(cache_control(*cache.get_ref()))));
        let headers = self.headers.values().map(Spanned::get_ref);
        let headers = headers.map(|header| (header.name.clone(), header.value.clone()));
        // What comes later takes the place of what came before.
        HeaderRules::new(cache.into_iter().chain(headers))
    }

    /// The pages for errors.
    pub(super) fn error_pages(&self) -> ErrorPages {
        let pages = self.error_pages.iter();
        pages
            .map(|(status, path)| (*status, path.get_ref().clone()))
            .collect()
    }

    /// The media types.
    pub(super) fn types(&self) -> Types {
        let otherwise = self.types.get("*").map(|value| value.get_ref().clone());
        let endings = self.types.iter().filter(|(ending, _)| *ending != "*");
        let endings = endings.map(|(ending, value)| (ending.clone(), value.get_ref().clone()));
        Types::new(endings, otherwise)
    }

    /// Whether text is compressed.
    pub(super) fn compresses(&self) -> bool {
        self.compress
            .as_ref()
            .is_none_or(|compress| *compress.get_ref())
    }

    /// Tells what holds, for `pywebd show`.
    pub(super) fn record(&self, is_file: bool, record: &mut impl FnMut(&str, String, &Span)) {
        if let Some(auth) = &self.auth {
            record("auth", auth.get_ref().text.clone(), &auth.span());
        }
        if is_file {
            if let Some(cache) = &self.cache {
                record("cache", (CACHE.write)(cache.get_ref()), &cache.span());
            }
            let span = self.compress.as_ref().map_or(NOWHERE, Spanned::span);
            record("compress", self.compresses().to_string(), &span);
            for (ending, value) in &self.types {
                let key = format!("types.{}", quoted_key(ending));
                let text = value.get_ref().to_str().unwrap_or_default();
                record(&key, quoted(text), &value.span());
            }
        }
        for header in self.headers.values() {
            let Header { value, text, .. } = header.get_ref();
            let value = value.as_ref().and_then(|value| value.to_str().ok());
            let key = format!("headers.{}", quoted_key(text));
            record(&key, quoted(value.unwrap_or_default()), &header.span());
        }
        for (status, path) in &self.error_pages {
            let key = format!("error-page.{}", status.as_u16());
            record(&key, quoted(&path.get_ref().to_uri()), &path.span());
        }
    }
}
