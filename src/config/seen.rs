//! What a configuration was made from, and the state in which that was found: whoever looks again
//! knows whether another reading could find something else.
//!
//! A state is taken before the content is read. So a change in between is seen later, and none is
//! missed.

use std::path::{Path, PathBuf};

use rustix::{
    fs::{FileType, Stat, stat},
    io::Errno,
};

use crate::config::include::{Included, PatternError, expand};

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub what: What,
    state: State,
}

/// What the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A file or a directory by its name, there or not.
    Path(PathBuf),
    /// The files that an entry of `include` names.
    Pattern {
        /// The entry.
        pattern: String,
        /// The file in which it stands.
        including: PathBuf,
    },
}

/// As far as it matters for another reading.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Missing(Errno),
    Present {
        /// Device, inode, mode, user, group: of a directory nothing else counts.
        identity: (u64, u64, u32, u32, u32),
        /// Size, and the times of the last change in seconds and nanoseconds.
        content: Option<(i64, [i64; 4])>,
    },
    Matches(Vec<PathBuf>),
}

impl Seen {
    /// A file or a directory as it is now.
    pub fn path(path: &Path) -> Self {
        Self::now(What::Path(path.to_owned()))
    }

    /// A file as it is now, which was opened by its name just now.
    pub(super) fn opened(path: &Path, stat: &Stat) -> Self {
        let what = What::Path(path.to_owned());
        let state = State::present(stat);
        Self { what, state }
    }

    /// What a pattern matches now, and what there is to read.
    pub(super) fn expanded(
        pattern: &str,
        including: &Path,
    ) -> (Self, Result<Included, PatternError>) {
        let expanded = expand(pattern, including);
        let what = What::Pattern {
            pattern: pattern.to_owned(),
            including: including.to_owned(),
        };
        let state = State::of(&expanded);
        (Self { what, state }, expanded)
    }

    /// What a pattern matches now.
    #[cfg(test)]
    pub fn pattern(pattern: &str, including: &Path) -> Self {
        Self::now(What::Pattern {
            pattern: pattern.to_owned(),
            including: including.to_owned(),
        })
    }

    /// Whether it is now as it was.
    pub fn is_same(&self) -> bool {
        self.what.state() == self.state
    }

    /// The same thing as it is now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::now(self.what.clone())
    }

    fn now(what: What) -> Self {
        let state = what.state();
        Self { what, state }
    }
}

impl What {
    fn state(&self) -> State {
        match self {
            Self::Path(path) => {
                stat(path).map_or_else(State::Missing, |stat| State::present(&stat))
            }
            Self::Pattern { pattern, including } => State::of(&expand(pattern, including)),
        }
    }

    /// The name under which it is found, and for a pattern the directory it looks into.
    pub fn place(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Pattern { pattern, including } => {
                let path = including.parent().unwrap_or(Path::new("")).join(pattern);
                path.parent().map_or_else(PathBuf::new, Path::to_owned)
            }
        }
    }
}

impl State {
    fn present(stat: &Stat) -> Self {
        Self::Present {
            identity: (
                stat.st_dev,
                stat.st_ino,
                stat.st_mode,
                stat.st_uid,
                stat.st_gid,
            ),
            content: content(stat),
        }
    }

    fn of(expanded: &Result<Included, PatternError>) -> Self {
        match expanded {
            Ok(Included::Matches { files, .. }) => Self::Matches(files.clone()),
            Ok(Included::File(file)) => Self::Matches(vec![file.clone()]),
            Err(PatternError::Directory(_, error)) => {
                Self::Missing(Errno::from_io_error(error).unwrap_or(Errno::IO))
            }
            Err(PatternError::WildcardInDirectory) => Self::Missing(Errno::INVAL),
        }
    }
}

/// What comes and goes in a directory is for a pattern to say.
fn content(stat: &Stat) -> Option<(i64, [i64; 4])> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return None;
    }
    // The kernel counts nanoseconds below a second; where it would not, another value is enough.
    let part = |nanoseconds| i64::try_from(nanoseconds).unwrap_or(-1);
    let times = [
        stat.st_mtime,
        part(stat.st_mtime_nsec),
        stat.st_ctime,
        part(stat.st_ctime_nsec),
    ];
    Some((stat.st_size, times))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn another_look_tells_every_change_that_matters_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a.toml"), "one").unwrap();
        let file = Seen::path(&at("a.toml"));
        let here = Seen::path(directory.path());
        let pattern = Seen::pattern("*.toml", &at("main"));
        fs::read(at("a.toml")).unwrap();
        fs::write(at(".a.toml.swp"), "").unwrap();
        for seen in [&file, &here, &pattern] {
            assert_eq!(seen.again(), *seen);
        }
        fs::write(at("a.toml"), "two").unwrap();
        assert_ne!(file.again(), file);
        assert_eq!(pattern.again(), pattern);
        fs::write(at("b.toml"), "").unwrap();
        assert_ne!(pattern.again(), pattern);
        assert_eq!(here.again(), here);
        drop(directory);
        for seen in [file, here, pattern] {
            assert_ne!(seen.again(), seen);
        }
    }
}
