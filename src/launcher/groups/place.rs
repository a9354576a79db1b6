//! Where processes are in the tree of control groups, and whether a place in it is ours.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::launcher::groups::{MAIN, PREFIX};

/// Where this process was started in the tree: not in `main` of a launcher that was before it.
pub fn own_place() -> Result<PathBuf, String> {
    let place = place_of(std::process::id())?;
    let launcher = place.parent().filter(|_| place.ends_with(MAIN));
    let launcher = launcher.filter(|path| is_of_launcher(path));
    Ok(launcher.and_then(Path::parent).unwrap_or(&place).to_owned())
}

/// Where a process is in the tree.
pub fn place_of(process: u32) -> Result<PathBuf, String> {
    let read = |path: String| fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"));
    let mounts = read("/proc/self/mountinfo".into())?;
    let groups = read(format!("/proc/{process}/cgroup"))?;
    place_in(&mounts, &groups).ok_or_else(|| "there are no control groups of version 2".into())
}

/// Whether a process is somewhere below a directory.
pub fn is_below(process: u32, directory: &Path) -> bool {
    place_of(process).is_ok_and(|place| place.starts_with(directory))
}

/// Whether a directory has the name of a launcher's part of the tree.
pub fn is_of_launcher(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(PREFIX)
}

/// The directory of a process's group, by the text of its `mountinfo` and `cgroup` files.
fn place_in(mounts: &str, groups: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then_some(())?;
        let mut fields = fields.split(' ').skip(3);
        // Only a part of the tree may be mounted.
        let (root, mounted) = (Path::new(fields.next()?), Path::new(fields.next()?));
        let below = Path::new(group).strip_prefix(root).ok()?;
        Some(mounted.join(below))
    })
}

/// systemd marks what it leaves to others.
pub fn is_delegated(place: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(place, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_place_is_found_below_the_mount() {
        for (mounts, groups, expected) in [
            (
                HYBRID,
                "1:name=systemd:/x\n0::/\n",
                Some("/sys/fs/cgroup/unified/"),
            ),
            (
                HYBRID,
                "0::/a.slice/b.service\n",
                Some("/sys/fs/cgroup/unified/a.slice/b.service"),
            ),
            (
                "1 2 0:3 /a /c rw - cgroup2 x rw\n",
                "0::/a/b\n",
                Some("/c/b"),
            ),
            ("1 2 0:3 /other /c rw - cgroup2 x rw\n", "0::/a/b\n", None),
            ("1 2 0:3 / /c rw - cgroup x rw\n", "0::/a\n", None),
            (HYBRID, "4:memory:/x\n", None),
        ] {
            assert_eq!(
                place_in(mounts, groups),
                expected.map(PathBuf::from),
                "{groups}"
            );
        }
    }
}
