//! Names that are never served (design: hidden files and editors' backups).

/// Whether a path component is never served: it begins with a dot (but `.well-known`) or ends as
/// backups do (`~`, `.bak`, `.swp`, `.orig`).
pub fn is_hidden(name: &[u8]) -> bool {
    (name.first() == Some(&b'.') && name != b".well-known")
        || [&b"~"[..], b".bak", b".swp", b".orig"]
            .iter()
            .any(|ending| name.ends_with(ending))
}

/// The first component of a decoded path that is never served.
pub fn hidden_component(path: &[u8]) -> Option<&[u8]> {
    path.split(|&byte| byte == b'/')
        .find(|name| is_hidden(name))
}
