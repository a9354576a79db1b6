//! What is left of a script where no control group holds it together: the children of its attendant,
//! a process that does nothing else. It is their subreaper, so that nothing a script does takes a
//! process out of its family (prctl(2), `PR_SET_CHILD_SUBREAPER`).

use std::{
    fs, io,
    os::unix::fs::FileExt,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::sys::wait::{self, Children};

/// How soon the children are looked at again after they were killed.
const MOMENT: Duration = Duration::from_millis(1);

/// How much of a list is read at once, in bytes.
const LIST: usize = 1024;

/// Kills all children of this process and theirs, and returns when there are none, or when the time is
/// over: the kernel may take long for one that waits for a disk.
pub fn end(by: Instant) -> io::Result<()> {
    while Instant::now() < by {
        match wait::children()? {
            Children::None => return Ok(()),
            Children::Ended(pid) => drop(wait::reap(pid)?),
            Children::Running => {
                for child in children()? {
                    // It may have ended by itself. One that runs as root cannot be killed without
                    // root's rights, and is waited for.
                    let _ = kill_process(child, Signal::KILL);
                }
                // Not for the end of one: the kernel's list may have missed those that came to this
                // process while it was read.
                thread::sleep(MOMENT);
            }
        }
    }
    Ok(())
}

/// The children of a process of one thread, where they are looked at again and again.
#[derive(Debug)]
pub struct Family {
    /// Absent where the kernel does not list them.
    list: Option<fs::File>,
}

impl Family {
    /// That of this process. A copy of it has its own.
    pub fn new() -> Self {
        let list = fs::File::open(list_of(std::process::id()));
        Self { list: list.ok() }
    }

    /// The children as they are now.
    pub fn children(&self) -> io::Result<Vec<Pid>> {
        let Some(list) = &self.list else {
            return children();
        };
        let (mut text, mut length) = (vec![0; LIST], 0);
        loop {
            match list.read_at(&mut text[length..], length as u64)? {
                0 => break,
                count => length += count,
            }
            text.resize(length + LIST, 0);
        }
        Ok(pids(&String::from_utf8_lossy(&text[..length])))
    }
}

/// Where the kernel lists the children of a process of one thread.
fn list_of(process: u32) -> String {
    format!("/proc/self/task/{process}/children")
}

fn pids(list: &str) -> Vec<Pid> {
    let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// The children of this process, which has one thread.
pub fn children() -> io::Result<Vec<Pid>> {
    let this = std::process::id();
    match fs::read_to_string(list_of(this)) {
        Ok(list) => Ok(pids(&list)),
        Err(_) => children_by_parent(&this.to_string()),
    }
}

/// The same where the kernel does not list them (`CONFIG_PROC_CHILDREN`), as `/proc/PID/stat` tells.
fn children_by_parent(this: &str) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        // The second field is a name in parentheses that may have spaces.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if fields.split_whitespace().nth(1) == Some(this) {
            children.push(pid);
        }
    }
    Ok(children)
}
