//! What `pywebd status` tells: how the server does, as serde types.
//!
//! All of it is looked up when somebody asks. Times are RFC 3339, in UTC.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    cgi::Gateway,
    config::Source,
    records::format::terminal,
    server::{Server, launcher::LauncherChild, listener::Origin, outcome::Latest},
    site::{Site, Snapshot},
    transport::Listen,
};

/// A server and how it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The server's process.
    pub pid: u32,
    /// When it has started.
    pub started: String,
    /// For how many seconds it runs.
    pub uptime_seconds: u64,
    /// The configuration in force.
    pub configuration: Configuration,
    /// The last reload; absent when there was none.
    pub last_reload: Option<Reload>,
    /// Where the server listens.
    pub listeners: Vec<Listening>,
    /// Sockets that were passed in and that `listen` does not name: who connects is turned away.
    pub unused_sockets: Vec<String>,
    /// The sites.
    pub sites: Vec<SiteStatus>,
    /// Connections.
    pub connections: Connections,
    /// Requests whose head has come, since the start.
    pub requests: u64,
    /// Answers by the class of their status (`2xx`), also to what was no request.
    pub answers: BTreeMap<String, u64>,
    /// Threads that serve connections.
    pub workers: usize,
    /// Files in memory.
    pub cache: Cache,
    /// The process that starts scripts.
    pub launcher: Launcher,
    /// Records that the log had no room for, since the start.
    pub records_dropped: u64,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Its file, or the directory that is served without one.
    pub source: String,
    /// When it was put in force.
    pub in_force_since: String,
}

/// A reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When it has ended.
    pub time: String,
    /// What came of it.
    #[serde(flatten)]
    pub result: ReloadResult,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum ReloadResult {
    /// The new configuration is in force.
    Done {
        /// Values that are others than before.
        changes: usize,
    },
    /// The old one stays.
    Failed {
        /// The first error.
        error: String,
    },
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Where it really listens.
    pub address: String,
    /// Whose it is.
    pub origin: Origin,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its handle.
    pub name: String,
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Its scripts.
    pub scripts: Scripts,
}

/// The scripts of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripts {
    /// How many run.
    pub running: usize,
    /// How many may.
    pub max_running: usize,
    /// How many requests wait.
    pub queued: usize,
    /// How many may.
    pub max_queued: usize,
}

/// Connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// How many are open.
    pub open: usize,
    /// How many may be, by the configuration and by the descriptors.
    pub limit: usize,
}

/// The cache of files, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// What is kept.
    pub used: u64,
    /// What may be.
    pub size: u64,
}

/// The process that starts scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launcher {
    /// Whether it can be asked.
    pub reachable: bool,
    /// How often it was started again; absent where it is a service of its own.
    pub restarts: Option<u64>,
}

impl Server {
    /// How this server does.
    pub(super) fn look(&self) -> Status {
        let snapshot = self.current.snapshot();
        let sum = self.workers.sum();
        let classes = (1..).map(|class| format!("{class}xx"));
        let (open, fitting) = self.workers.connections();
        let (used, size) = self.cache.usage();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: time(self.started.0),
            uptime_seconds: self.started.1.elapsed().as_secs(),
            configuration: Configuration {
                source: match &self.source {
                    Source::File(path) => path.display().to_string(),
                    Source::Directory { root, .. } => root.display().to_string(),
                },
                in_force_since: time(self.in_force_since),
            },
            last_reload: self.latest.as_ref().map(reload),
            listeners: self.listeners(),
            unused_sockets: self.listeners.aside().map(Listen::to_string).collect(),
            sites: sites(&snapshot),
            connections: Connections {
                open,
                limit: fitting.min(snapshot.limits.connections),
            },
            requests: sum.requests,
            answers: classes.zip(sum.answers).collect(),
            workers: self.workers.count(),
            cache: Cache { used, size },
            launcher: launcher(&self.gateway, self.launcher.as_ref()),
            records_dropped: self.logs.sink.dropped(),
        }
    }

    /// A line for `systemctl status`: what is wrong, what is served, how much there is to do, and what
    /// the last reload has changed.
    pub(super) fn summary(&self) -> String {
        let snapshot = self.current.snapshot();
        let addresses: Vec<String> = self.addresses().map(Listen::to_string).collect();
        let scripts: usize = snapshot
            .sites
            .iter()
            .map(|site| site.scripts.load().running)
            .sum();
        let served = format!(
            "{} on {}; {}, {}, {}",
            counted(snapshot.sites.len() as u64, "site"),
            addresses.join(", "),
            counted(self.workers.sum().requests, "request"),
            counted(self.workers.connections().0 as u64, "connection"),
            counted(scripts as u64, "script"),
        );
        let Some(latest) = &self.latest else {
            return served;
        };
        let at = clock(latest.time);
        match &latest.outcome {
            Ok(changes) => format!(
                "{served}; reloaded {at}: {}",
                counted(*changes as u64, "change")
            ),
            Err(error) => format!("reload failed {at}: {error}; still {served}"),
        }
    }

    fn listeners(&self) -> Vec<Listening> {
        let listeners = self.listeners.current().iter();
        let listeners = listeners.map(|listener| Listening {
            address: listener.bound.to_string(),
            origin: listener.origin(),
        });
        listeners.collect()
    }
}

fn reload(latest: &Latest) -> Reload {
    Reload {
        time: time(latest.time),
        result: match &latest.outcome {
            Ok(changes) => ReloadResult::Done { changes: *changes },
            Err(error) => ReloadResult::Failed {
                error: error.clone(),
            },
        },
    }
}

fn sites(snapshot: &Snapshot) -> Vec<SiteStatus> {
    let hosts = snapshot.hosts.by_site(snapshot.sites.len());
    let status = |(site, hosts): (&Site, Vec<String>)| SiteStatus {
        name: site.name.to_string(),
        hosts,
        scripts: scripts(site),
    };
    snapshot.sites.iter().zip(hosts).map(status).collect()
}

fn scripts(site: &Site) -> Scripts {
    let (load, limits) = (site.scripts.load(), site.scripts.limits());
    Scripts {
        running: load.running,
        max_running: limits.running,
        queued: load.queued,
        max_queued: limits.queued,
    }
}

fn launcher(gateway: &Gateway, child: Option<&LauncherChild>) -> Launcher {
    match child {
        Some(child) => Launcher {
            reachable: child.runs(),
            restarts: Some(child.restarts()),
        },
        None => Launcher {
            reachable: gateway.is_reachable(),
            restarts: None,
        },
    }
}

/// A number with its noun: `1 site`, `1,204 requests`.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// A number with a comma between thousands.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The time of this day, or of another with its date.
fn clock(time: SystemTime) -> String {
    let (time, today) = (terminal::time(time), terminal::time(SystemTime::now()));
    match (time.split_once(' '), today.split_once(' ')) {
        (Some((day, clock)), Some((today, _))) if day == today => clock.to_owned(),
        _ => time,
    }
}

fn time(time: SystemTime) -> String {
    let to_the_second = |time: jiff::Timestamp| jiff::Timestamp::from_second(time.as_second());
    jiff::Timestamp::try_from(time)
        .and_then(to_the_second)
        .map(|time| time.to_string())
        .unwrap_or_default()
}
