//! `include` patterns: `*` and `?` in the last component, relative to the including file.

use std::{
    ffi::OsString,
    fs::{self, FileType},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The files that one entry of `include` names.
#[derive(Debug)]
pub(super) enum Included {
    /// A plain path, whether it exists or not.
    File(PathBuf),
    /// What a pattern matches, sorted by name.
    Matches {
        /// The files.
        files: Vec<PathBuf>,
        /// Whether anything else is there, which the pattern does not match.
        others: bool,
    },
}

/// Why a pattern cannot be followed.
#[derive(Debug)]
pub(super) enum PatternError {
    /// A wildcard before the last slash.
    WildcardInDirectory,
    /// The directory cannot be read.
    Directory(PathBuf, io::Error),
}

/// Looks up a pattern. Names that begin with a dot match only a pattern that does, as in a shell:
/// editors keep their own files under such names.
pub(super) fn expand(pattern: &str, including: &Path) -> Result<Included, PatternError> {
    let path = including.parent().unwrap_or(Path::new("")).join(pattern);
    let (Some(last), Some(directory)) = (path.file_name(), path.parent()) else {
        return Ok(Included::File(path));
    };
    if has_wildcard(&directory_part(pattern)) {
        return Err(PatternError::WildcardInDirectory);
    }
    if !has_wildcard(pattern) {
        return Ok(Included::File(path));
    }
    let wanted = last.as_bytes();
    let mut files = Vec::new();
    let mut others = false;
    let entries =
        entries(directory).map_err(|error| PatternError::Directory(directory.into(), error))?;
    for (name, kind) in entries {
        if name.as_bytes().starts_with(b".") && !wanted.starts_with(b".") {
            continue;
        }
        if !matches(wanted, name.as_bytes()) {
            others = true;
            continue;
        }
        let file = directory.join(&name);
        // Where the directory itself does not say what a name is, or that it is a link.
        let is_directory = match kind {
            Some(kind) if !kind.is_symlink() => kind.is_dir(),
            _ => file.is_dir(),
        };
        if is_directory {
            others = true;
        } else {
            files.push(file);
        }
    }
    // Of one directory, so their bytes tell the order.
    files.sort_unstable_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    Ok(Included::Matches { files, others })
}

/// The names in a directory, and what the directory says they are.
fn entries(directory: &Path) -> io::Result<Vec<(OsString, Option<FileType>)>> {
    let here = Path::new(".");
    let directory = if directory.as_os_str().is_empty() {
        here
    } else {
        directory
    };
    fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| (entry.file_name(), entry.file_type().ok())))
        .collect()
}

fn directory_part(pattern: &str) -> String {
    pattern
        .rsplit_once('/')
        .map_or_else(String::new, |(directory, _)| directory.to_owned())
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a name matches a pattern; remembers only the last `*`, which is enough and linear.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, star_from)) = star else {
                    return false;
                };
                star = Some((star_at, star_from + 1));
                at = star_at + 1;
                from = star_from + 1;
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml~", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b", "xayab", true),
            ("*a*b", "xaya", false),
            ("", "", true),
            ("a", "", false),
            ("**.toml", ".toml", true),
        ] {
            let outcome = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(outcome, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn matches_are_sorted_and_leave_hidden_names_and_directories_out() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", ".c.toml", "d.txt"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("e.toml")).unwrap();
        let main = directory.path().join("pywebd.conf");
        let Ok(Included::Matches { files, others, .. }) = expand("*.toml", &main) else {
            panic!("a pattern in a directory that exists");
        };
        let expected = ["a.toml", "b.toml"].map(|name| directory.path().join(name));
        assert_eq!(files, expected);
        assert!(others);
    }
}
