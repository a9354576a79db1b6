//! Keys and values as TOML writes them.

/// A key path as TOML writes it.
pub(super) fn dotted(path: &[impl AsRef<str>]) -> String {
    let keys: Vec<_> = path.iter().map(|key| quoted_key(key.as_ref())).collect();
    keys.join(".")
}

/// A key as TOML writes it: with quotes where it needs them.
pub(super) fn quoted_key(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// A string as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// An array of strings as TOML writes it.
pub(super) fn quoted_all(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<_> = texts
        .into_iter()
        .map(|text| quoted(text.as_ref()))
        .collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_where_they_must_be() {
        let path = ["site", "example.org", "path", "/a\"b/", ""];
        assert_eq!(dotted(&path), r#"site."example.org".path.'/a"b/'."""#);
    }
}
