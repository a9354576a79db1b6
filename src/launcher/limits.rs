//! The limits of a script's processes (setrlimit(2)): those that every script has, and those that
//! stand in for what no controller of a control group holds. Those are for each process, not for all
//! together, and the number of tasks does not bind root.

use std::{fs::File, sync::LazyLock};

use rustix::process::Resource;

use crate::{cgi::Confinement, launcher::groups::Groups};

/// The most files that a script may open: what `select` can wait for, and what login shells give.
const OPEN_FILES: u64 = 1024;

/// The limits for a script.
pub fn limits(confinement: &Confinement, groups: Option<&Groups>) -> Vec<(Resource, u64)> {
    let has = |controller| groups.is_some_and(|groups| groups.has(controller));
    let memory = (Resource::Data, confinement.memory);
    let memory = (!has("memory")).then_some(memory);
    let tasks = || {
        (
            Resource::Nproc,
            running_tasks() + u64::from(confinement.tasks),
        )
    };
    let tasks = (!has("pids")).then(tasks);
    let always = [(Resource::Nofile, OPEN_FILES)];
    always.into_iter().chain(memory).chain(tasks).collect()
}

/// How many tasks there are in the whole system. The limit counts all of a user, and they cannot be
/// more. The file stays open, since it is read for every script.
fn running_tasks() -> u64 {
    static LOAD: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/loadavg").ok());
    let mut load = [0; 64];
    let length = LOAD
        .as_ref()
        .map_or(Ok(0), |file| rustix::io::pread(file, &mut load, 0));
    let load = str::from_utf8(&load[..length.unwrap_or_default()]).unwrap_or_default();
    let tasks = load.split_whitespace().nth(3);
    let tasks = tasks.and_then(|tasks| tasks.split_once('/'));
    tasks
        .and_then(|(_, all)| all.parse().ok())
        .unwrap_or(10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_groups_each_process_is_limited() {
        let confinement = Confinement {
            memory: 1 << 20,
            tasks: 5,
            ..Confinement::default()
        };
        let limits = limits(&confinement, None);
        assert!(limits.contains(&(Resource::Data, 1 << 20)));
        let tasks = limits
            .iter()
            .find(|(resource, _)| *resource == Resource::Nproc);
        // This program has a task at least.
        assert!(tasks.is_some_and(|(_, limit)| (6..1_000_000).contains(limit)));
    }
}
