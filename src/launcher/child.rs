//! A script that runs: its start, the ladder that ends it, and its burial with all it started.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    cgi::wire::{End, Exit, Met, Refusal},
    launcher::{
        admission::Admitted,
        groups::{Counts, Group, Groups},
        interpreter,
        limits::limits,
    },
    sys::{
        spawn::{Identity, Program, Spawner},
        wait::{self, Ended, How},
    },
};

/// How long a script may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// How soon a group is looked at again that is not empty yet.
const AGAIN: Duration = Duration::from_millis(20);

/// How long the end of a script is not told while the kernel has not ended all that was killed.
const BURIAL: Duration = Duration::from_secs(5);

/// A script that is not reaped yet, so that its process id and group are its own, or whose control
/// group is not empty yet. One that is dropped before its end is killed: nothing outlives the
/// launcher, even one that fails.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    rung: Rung,
    group: Option<Group>,
    detach: bool,
    /// The limits that its group holds it to.
    limits: (u64, u32),
}

/// How far up the ladder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    Running,
    Terminated { kill_at: Instant },
    Killed,
    Reaped { exit: Exit, at: Instant },
    Disowned,
}

impl Child {
    /// Starts the script. Its file is run by its path, since an interpreter must be able to open
    /// it again; who can replace it after it was checked could have written it before.
    pub fn start(
        spawner: &mut Spawner,
        admitted: &Admitted<'_>,
        streams: &[OwnedFd; 3],
        (groups, name): (Option<&Groups>, &str),
    ) -> Result<Self, Refusal> {
        let confinement = admitted.confinement;
        let limits = limits(confinement, groups);
        let group = groups.map(|groups| groups.make(name, confinement));
        let group = group
            .transpose()
            .map_err(|error| Refusal::system("cgroup", &error))?;
        let program = Program {
            arguments: &admitted.arguments,
            environment: &admitted.environment,
            directory: admitted.directory.as_fd(),
            streams: streams.each_ref().map(AsFd::as_fd),
            limits: &limits,
            group: group.as_ref().map(Group::directory),
            identity: admitted.account.map(|account| Identity {
                uid: account.uid,
                gid: account.gid,
                groups: &account.groups,
            }),
            keeps_rights: confinement.setuid,
        };
        match spawner.spawn(program) {
            Ok(pid) => Ok(Self {
                pid,
                rung: Rung::Running,
                group,
                detach: confinement.detach,
                limits: (confinement.memory, confinement.tasks),
            }),
            Err(error) => {
                group.map(|group| group.remove());
                Err(interpreter::refusal(error, || {
                    let program = admitted.arguments.first()?.as_bytes();
                    interpreter::beginning(Path::new(OsStr::from_bytes(program)))
                }))
            }
        }
    }

    /// The process id, which is the id of its group and of its session too.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The process id for messages and records.
    pub fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Its control group, if it has one.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Asks it and its process group to end, once; all is killed after the grace time.
    pub fn terminate(&mut self, now: Instant) {
        if self.rung == Rung::Running {
            self.signal(Signal::TERM);
            let kill_at = now + GRACE;
            self.rung = Rung::Terminated { kill_at };
        }
    }

    /// When [`Child::press`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.rung {
            Rung::Terminated { kill_at } => Some(kill_at),
            Rung::Reaped { .. } => Some(Instant::now() + AGAIN),
            Rung::Running | Rung::Killed | Rung::Disowned => None,
        }
    }

    /// Kills it and all it started if the grace time is over.
    pub fn press(&mut self, now: Instant) {
        if let Rung::Terminated { kill_at } = self.rung
            && kill_at <= now
        {
            self.kill();
            self.rung = Rung::Killed;
        }
    }

    /// The script has ended: kills what it has left behind, unless that may stay, and reaps it. Tells
    /// whether something may stay.
    pub fn end(&mut self) -> io::Result<bool> {
        self.detach &= self.rung == Rung::Running;
        // It counts as long as it is there.
        let counts = self.group.as_ref().map(Group::counts);
        if !self.detach {
            self.kill();
        }
        let ended = wait::reap(self.pid)?;
        self.rung = Rung::Reaped {
            exit: exit(&ended, counts.unwrap_or_default(), self.limits),
            at: Instant::now(),
        };
        Ok(self.detach)
    }

    /// Forgets it in a copy of the launcher: it is the original's.
    pub fn disown(&mut self) {
        self.rung = Rung::Disowned;
    }

    /// How it ended, when nothing of it is left that must not be, or the kernel takes long to end that.
    pub fn over(&self) -> Option<Exit> {
        let Rung::Reaped { exit, at } = self.rung else {
            return None;
        };
        let is_gone = || self.group.as_ref().is_none_or(is_ended);
        (self.detach || is_gone() || at.elapsed() >= BURIAL).then_some(exit)
    }

    /// The control group of what outlives it.
    pub fn leave(mut self) -> Option<Group> {
        self.group.take().filter(|group| !group.remove())
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
        // An empty one is gone, and then there is nothing to kill.
        if let Some(group) = &self.group {
            is_ended(group);
        }
    }

    fn signal(&self, signal: Signal) {
        // The group is there as long as the script is not reaped. A member that runs as another
        // user cannot be signaled; there is nothing to be done about that here.
        let _ = kill_process_group(self.pid, signal);
    }
}

/// Whether a group is gone. It is killed until it is: a script can hinder that for a moment.
fn is_ended(group: &Group) -> bool {
    group.remove() || {
        group.end();
        false
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !matches!(self.rung, Rung::Reaped { .. } | Rung::Disowned) {
            self.kill();
        }
    }
}

/// What a script took: its own and that of children it waited for, as the kernel told; and what its
/// group has counted, where that is more, for one that was killed has waited for nobody.
fn exit(ended: &Ended, counts: Counts, (memory, tasks): (u64, u32)) -> Exit {
    let end = match ended.how {
        How::Status(status) => End::Status(status),
        How::Signal(signal) => End::Signal(signal),
    };
    let cpu_us = u64::try_from(ended.cpu.as_micros()).unwrap_or(u64::MAX);
    let met = match counts {
        Counts {
            met_memory: true, ..
        } => Some(Met::Memory(memory)),
        Counts {
            met_tasks: true, ..
        } => Some(Met::Tasks(tasks)),
        Counts { .. } => None,
    };
    Exit {
        end,
        cpu_us: cpu_us.max(counts.cpu_us),
        max_rss_kib: match met {
            Some(Met::Memory(_)) => ended.max_rss_kib.max(counts.memory_kib),
            _ => ended.max_rss_kib,
        },
        met,
    }
}
