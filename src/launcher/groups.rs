//! Control groups (cgroups(7), version 2): one for each running script, so that its limits hold for
//! all it starts, and that all of it can be killed, whatever it does.
//!
//! They are used where this part of the tree is the launcher's own: systemd says so by an attribute
//! (`Delegate=yes`), and where there is no systemd, as in containers, it is when it can be written.
//!
//! ```text
//! D                        where the launcher was started
//! └─ pywebd.PID            this launcher's, locked as long as it runs
//!    ├─ main               the launcher and the server, where D is delegated: a group with limits
//!    │                     for others has no processes of its own
//!    └─ SITE.N             one script
//! ```
//!
//! A group whose launcher has ended without cleaning up is emptied by the next one in D.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::cgi::Confinement;

/// What the groups of launchers are called, before their process ids.
const PREFIX: &str = "pywebd.";

/// The controllers that limits need.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The tree of one launcher.
#[derive(Debug)]
pub struct Groups {
    path: PathBuf,
    directory: OwnedFd,
    controllers: HashSet<&'static str>,
    made: u64,
    /// The launcher, which a copy of it is not.
    owner: u32,
}

/// The group of one script.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    directory: OwnedFd,
    /// Whether memory is limited, and tasks.
    holds: (bool, bool),
}

/// What a script's group has counted; nothing where its controller is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processor time in microseconds, of all that was in it.
    pub cpu_us: u64,
    /// The most memory at once in KiB.
    pub memory_kib: u64,
    /// Whether the kernel has killed something at the limit of memory.
    pub met_memory: bool,
    /// Whether something could not be started at the limit of tasks.
    pub met_tasks: bool,
}

impl Groups {
    /// Makes the launcher's own part of the tree. The error says why there is none to be had.
    /// `server` is the process that this one works for, which may be in the same group.
    pub fn prepare(server: Option<u32>) -> Result<Self, String> {
        let place = own_place()?;
        let is_delegated = is_delegated(&place);
        if !is_delegated && Path::new("/run/systemd/system").exists() {
            return Err(format!(
                "{} is not delegated (Delegate=yes in its unit, or systemd-run -p Delegate=yes)",
                place.display()
            ));
        }
        remove_stale(&place);
        let path = place.join(format!("{PREFIX}{}", std::process::id()));
        let made = fs::create_dir(&path).and_then(|()| open(&path));
        let directory = made.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut groups = Self {
            path,
            directory,
            controllers: HashSet::new(),
            made: 0,
            owner: std::process::id(),
        };
        if let Err(error) = lock(&groups.directory).and_then(|()| has_kill(&groups.directory)) {
            let _ = fs::remove_dir(&groups.path);
            return Err(format!("{}: {error}", place.display()));
        }
        if is_delegated {
            let processes = [Some(std::process::id()), server];
            groups.move_to_main(&place, processes.into_iter().flatten());
        }
        let usable = |name: &&str| enable(&place, &groups.path, name);
        groups.controllers = CONTROLLERS.into_iter().filter(usable).collect();
        Ok(groups)
    }

    /// Whether the limits of this controller hold.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.contains(controller)
    }

    /// The group for one script, with its limits.
    pub fn make(&mut self, site: &str, limits: &Confinement) -> io::Result<Group> {
        self.made += 1;
        let name = format!("{site}.{}", self.made);
        rustix::fs::mkdirat(&self.directory, &name, Mode::from_raw_mode(0o755))?;
        let path = self.path.join(&name);
        let directory = open(&path)?;
        let holds = (self.has("memory"), self.has("pids"));
        let group = Group {
            path,
            directory,
            holds,
        };
        if self.has("memory") {
            group.write("memory.max", &limits.memory.to_string())?;
            // All of the script or nothing: half of it would hang.
            group.write("memory.oom.group", "1")?;
            // Without a swap controller there is no such file.
            let _ = group.write("memory.swap.max", "0");
        }
        if self.has("pids") {
            group.write("pids.max", &limits.tasks.to_string())?;
        }
        if self.has("cpu") {
            group.write("cpu.weight", &limits.cpu_weight.to_string())?;
        }
        Ok(group)
    }

    fn move_to_main(&self, place: &Path, processes: impl Iterator<Item = u32>) {
        let main = self.path.join("main");
        let inside = fs::read_to_string(place.join("cgroup.procs")).unwrap_or_default();
        let moved = fs::create_dir(&main).and_then(|()| {
            for process in processes {
                if inside.lines().any(|line| line == process.to_string()) {
                    fs::write(main.join("cgroup.procs"), process.to_string())?;
                }
            }
            Ok(())
        });
        if let Err(error) = moved {
            tracing::warn!("moving to {}: {error}", main.display());
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // With `main` in it, which has this process, it is left to the next launcher or to systemd.
        if self.owner == std::process::id() {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl Group {
    /// What a process writes itself into to be in the group.
    pub fn entrance(&self) -> io::Result<OwnedFd> {
        self.open("cgroup.procs", OFlags::WRONLY)
    }

    /// Kills all that is in the group, at once.
    pub fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Removes the group, if nothing is in it any longer.
    pub fn remove(&self) -> bool {
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => true,
            Err(_) => false,
        }
    }

    /// What the group has counted up to now.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            cpu_us: self.number("cpu.stat", "usage_usec "),
            ..Counts::default()
        };
        if self.holds.0 {
            counts.memory_kib = self.number("memory.peak", "") / 1024;
            counts.met_memory = self.number("memory.events", "oom_kill ") > 0;
        }
        if self.holds.1 {
            counts.met_tasks = self.number("pids.events", "max ") > 0;
        }
        counts
    }

    /// The number behind a name in a file; zero where an older kernel does not count it.
    fn number(&self, file: &str, name: &str) -> u64 {
        let number = || {
            let mut text = String::new();
            let mut file = fs::File::from(self.open(file, OFlags::RDONLY).ok()?);
            file.read_to_string(&mut text).ok()?;
            let number = text.lines().find_map(|line| line.strip_prefix(name))?;
            number.trim().parse().ok()
        };
        number().unwrap_or_default()
    }

    fn open(&self, file: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(
            &self.directory,
            file,
            flags,
            Mode::empty(),
        )?)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::File::from(self.open(file, OFlags::WRONLY)?).write_all(text.as_bytes())
    }
}

/// Where this process is in the tree.
fn own_place() -> Result<PathBuf, String> {
    let read = |path| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    place_in(&mounts, &groups).ok_or_else(|| "there are no control groups of version 2".into())
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
fn is_delegated(place: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(place, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    })
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn lock(directory: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::flock(
        directory,
        FlockOperation::NonBlockingLockExclusive,
    )?)
}

/// Since Linux 5.14; without it a group could not be ended for certain.
fn has_kill(directory: &OwnedFd) -> io::Result<()> {
    rustix::fs::statat(directory.as_fd(), "cgroup.kill", AtFlags::empty())?;
    Ok(())
}

/// Lets a controller limit the groups of scripts.
fn enable(place: &Path, path: &Path, controller: &str) -> bool {
    let is_there = |path: &Path| {
        let there = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
        there.split_whitespace().any(|name| name == controller)
    };
    let switch = |path: &Path| {
        fs::write(
            path.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
    };
    is_there(place) && (is_there(path) || switch(place).is_ok()) && switch(path).is_ok()
}

/// Ends what is left of launchers that have ended themselves.
fn remove_stale(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let is_ours = name.to_string_lossy().starts_with(PREFIX);
        let is_stale = || open(&path).and_then(|directory| lock(&directory)).is_ok();
        if is_ours && is_stale() {
            tracing::debug!("{} is left of another launcher", path.display());
            remove_tree(&path);
        }
    }
}

fn remove_tree(path: &Path) {
    // What is killed may need a moment; what is left then is left for the next launcher.
    let _ = fs::write(path.join("cgroup.kill"), "1");
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
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
