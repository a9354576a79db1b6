//! What is left of a script where no control group holds it together: the children of its attendant,
//! a process that does nothing else. It is their subreaper, so that nothing a script does takes a
//! process out of its family (prctl(2), `PR_SET_CHILD_SUBREAPER`).

use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};

use crate::sys::wait::{self, Children};

/// Kills all children of this process and theirs, and returns when there are none. Blocks as long as
/// the kernel takes for that.
pub fn end() -> io::Result<()> {
    loop {
        match wait::children()? {
            Children::None => return Ok(()),
            Children::Ended(pid) => drop(wait::reap(pid)?),
            Children::Running => {
                for child in children()? {
                    // It may have ended by itself. One that runs as root cannot be killed without
                    // root's rights, and is waited for.
                    let _ = kill_process(child, Signal::KILL);
                }
                wait::any()?;
            }
        }
    }
}

/// The children of this process, as `/proc/PID/stat` tells: not every kernel lists them.
fn children() -> io::Result<Vec<Pid>> {
    let this = std::process::id().to_string();
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
        if fields.split_whitespace().nth(1) == Some(&this) {
            children.push(pid);
        }
    }
    Ok(children)
}
