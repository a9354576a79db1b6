//! How groups end: what is in them is killed, and they are removed.
//!
//! A script of the launcher's own user can write to the launcher's part of the tree, too: it can take
//! away the rights to its group, remove it and make it again, or make others. So nothing here relies on
//! what a directory was before.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::launcher::groups::{Groups, MAIN, place::place_of};

impl Groups {
    /// Whether there are other groups than so many of scripts. The kernel counts a directory's links, so
    /// that no directory is read for this.
    pub fn may_have_others(&self, scripts: usize) -> bool {
        let has_others = |directory: &OwnedFd, known: usize| {
            let links = rustix::fs::fstat(directory).map(|status| status.st_nlink);
            // Its own two names, and one in each below.
            links.map(usize::try_from) != Ok(Ok(2 + known))
        };
        let main = usize::from(self.main.is_some());
        has_others(&self.directory, main + scripts)
            || self.main.iter().any(|main| has_others(main, 0))
    }

    /// Ends what is in groups that some script has made: in all but these, and below that of the launcher.
    pub fn end_others(&self, scripts: &HashSet<&OsStr>) {
        let is_other = |path: &PathBuf| {
            !path.ends_with(MAIN) && path.file_name().is_none_or(|name| !scripts.contains(name))
        };
        let beside = directories(&self.path).filter(is_other);
        for path in beside.chain(directories(&self.path.join(MAIN))) {
            // One that has nothing in it, or nothing that lives any more, does no harm.
            if !remove(&path) {
                let path_shown = path.display();
                match kill(&path) {
                    Ok(()) => tracing::warn!(
                        "{path_shown} is of no script that runs: what is in it is killed"
                    ),
                    Err(error) => tracing::error!("{path_shown} cannot be killed: {error}"),
                }
            }
        }
    }

    /// Whether a process is in one of these groups, or below.
    pub fn hold(&self, process: u32, scripts: &HashSet<&OsStr>) -> bool {
        let place = place_of(process).unwrap_or_default();
        let below = place.strip_prefix(&self.path).ok();
        let group = below.and_then(|below| below.iter().next());
        group.is_some_and(|group| scripts.contains(group))
    }
}

/// Makes way for a group of this name, which a script has made first or taken away the right to make.
pub fn make_way(path: &Path) {
    regain(path);
    // The next attempt tells what is in the way still.
    let _ = kill(path);
    remove(path);
}

/// Kills all that is in a group, at once.
pub fn kill(path: &Path) -> io::Result<()> {
    let file = path.join("cgroup.kill");
    let write = || fs::write(&file, "1");
    match write() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            regain(path);
            allow(&file, 0o600)?;
            write()
        }
        // One that was removed meanwhile had nothing in it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Removes a group and those that a script has made in it, if no process is in them.
pub fn remove(path: &Path) -> bool {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => true,
        // Processes or groups.
        Err(Errno::BUSY) => {
            let mut below = directories(path).peekable();
            below.peek().is_some()
                && below.all(|group| remove(&group))
                && rustix::fs::rmdir(path).is_ok()
        }
        Err(_) => false,
    }
}

/// The groups in a group.
pub fn directories(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).or_else(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            regain(path);
            fs::read_dir(path)
        }
        _ => Err(error),
    });
    let entries = entries.into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path())
}

/// Gives the owner, who is this process's user, the rights back to a group that a script has taken away,
/// down from where the launcher was started.
fn regain(path: &Path) {
    let above: Vec<_> = path.ancestors().zip([0o700, 0o700, 0o500]).collect();
    for (group, rights) in above.into_iter().rev() {
        // What is not this user's was not a script's to change either.
        let _ = allow(group, rights);
    }
}

fn allow(path: &Path, rights: u32) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(mode | rights))
}
