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

mod ending;
mod place;

use std::{
    cell::Cell,
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::cgi::Confinement;

use ending::{directories, kill, make_way, remove};
use place::{is_below, is_delegated, is_of_launcher, own_place};

/// What the groups of launchers are called, before their process ids.
const PREFIX: &str = "pywebd.";

/// The group of the processes that are no scripts.
const MAIN: &str = "main";

/// The controllers that limits need.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// How often, and how soon after another, a group is looked at that was killed at the start.
const CLEARING: u32 = 100;
const MOMENT: Duration = Duration::from_millis(5);

/// The tree of one launcher.
#[derive(Debug)]
pub struct Groups {
    /// D
    place: PathBuf,
    path: PathBuf,
    directory: OwnedFd,
    /// Absent where that has the launcher itself.
    main: Option<OwnedFd>,
    controllers: HashSet<&'static str>,
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
    /// Set when it was removed.
    is_gone: Cell<bool>,
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
        let path = place.join(format!("{PREFIX}{}", std::process::id()));
        let directory = claim(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut groups = Self {
            place,
            path,
            directory,
            main: None,
            controllers: HashSet::new(),
            owner: std::process::id(),
        };
        // What was made is removed when it is dropped.
        has_kill(&groups.directory)
            .map_err(|error| format!("{}: {error}", groups.path.display()))?;
        if is_delegated {
            let processes = [Some(std::process::id()), server];
            groups.move_to_main(processes.into_iter().flatten());
            groups.main = open(&groups.path.join(MAIN)).ok();
        }
        remove_stale(&groups.place);
        let usable = |name: &&str| enable(&groups.place, &groups.path, name);
        groups.controllers = CONTROLLERS.into_iter().filter(usable).collect();
        Ok(groups)
    }

    /// Whether the limits of this controller hold.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.contains(controller)
    }

    /// The group for a script, with its limits.
    pub fn make(&self, name: &str, limits: &Confinement) -> io::Result<Group> {
        let path = self.path.join(name);
        let make = || rustix::fs::mkdirat(&self.directory, name, Mode::from_raw_mode(0o755));
        make().or_else(|error| match error {
            Errno::EXIST | Errno::ACCESS => {
                make_way(&path);
                make()
            }
            _ => Err(error),
        })?;
        let group = Group {
            directory: open_at(self.directory.as_fd(), Path::new(name))?,
            path,
            holds: (self.has("memory"), self.has("pids")),
            is_gone: Cell::new(false),
        };
        match self.limit(&group, limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                group.remove();
                Err(error)
            }
        }
    }

    /// The group of a script whose attendant has ended, if it is still there.
    pub fn find(&self, name: &str) -> Option<Group> {
        let path = self.path.join(name);
        let directory = open(&path).ok()?;
        Some(Group {
            path,
            directory,
            holds: (false, false),
            is_gone: Cell::new(false),
        })
    }

    fn limit(&self, group: &Group, limits: &Confinement) -> io::Result<()> {
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
        Ok(())
    }

    /// Leaves D without the launcher's processes.
    fn move_to_main(&self, processes: impl Iterator<Item = u32>) {
        let main = self.path.join(MAIN);
        let moved = fs::create_dir(&main).and_then(|()| {
            for process in processes {
                if is_below(process, &self.place) {
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
            remove(&self.path);
        }
    }
}

impl Group {
    /// What its directory is called.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Its directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Kills all that is in the group, at once.
    pub fn end(&self) {
        if let Err(error) = kill(&self.path) {
            tracing::error!("{} cannot be killed: {error}", self.path.display());
        }
    }

    /// Removes the group, if no process is in it any longer. One that has its name afterwards is another.
    pub fn remove(&self) -> bool {
        if !self.is_gone.get() {
            self.is_gone.set(remove(&self.path));
        }
        self.is_gone.get()
    }

    /// Whether it was removed.
    pub fn is_gone(&self) -> bool {
        self.is_gone.get()
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
            // Such a file comes in one piece, and its names here are among the first.
            let mut text = [0; 1024];
            let length = rustix::io::read(self.open(file, OFlags::RDONLY).ok()?, &mut text).ok()?;
            let text = str::from_utf8(&text[..length]).ok()?;
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

fn open(path: &Path) -> io::Result<OwnedFd> {
    open_at(rustix::fs::CWD, path)
}

fn open_at(directory: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, path, flags, Mode::empty())?)
}

/// Makes a launcher's part of the tree, and locks it. Another launcher that starts now may take it for
/// one that is left, and remove it before it is locked.
fn claim(path: &Path) -> io::Result<OwnedFd> {
    for _ in 0..CLEARING {
        match fs::create_dir(path) {
            // Of a launcher that had the same process id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => outcome?,
        }
        let directory = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            outcome => outcome?,
        };
        let is_locked = lock(&directory).is_ok();
        let here = rustix::fs::stat(path).is_ok_and(|now| {
            rustix::fs::fstat(&directory).is_ok_and(|opened| opened.st_ino == now.st_ino)
        });
        if is_locked && here {
            clear(path);
            return Ok(directory);
        }
        thread::sleep(MOMENT);
    }
    Err(io::Error::other("another launcher has it"))
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

/// Ends the scripts of launchers that have ended themselves.
fn remove_stale(place: &Path) {
    for path in directories(place).filter(|path| is_of_launcher(path)) {
        // Locked until it is gone: its launcher may just have made it.
        let Ok(directory) = open(&path) else {
            continue;
        };
        if lock(&directory).is_err() {
            continue;
        }
        tracing::info!("{} is left of another launcher", path.display());
        clear(&path);
        // `main` has this process's server, if it had the other's.
        let _ = fs::remove_dir(path);
    }
}

/// Ends the scripts of a launcher.
fn clear(path: &Path) {
    let main = path.join(MAIN);
    let scripts = directories(path).filter(|group| *group != main);
    for group in scripts.chain(directories(&main)) {
        let _ = kill(&group);
        // What is killed may need a moment. What takes longer is left to the next launcher.
        for _ in 0..CLEARING {
            if remove(&group) {
                break;
            }
            thread::sleep(MOMENT);
        }
    }
    // The server may be in it that this launcher works for.
    let _ = fs::remove_dir(main);
}
