//! What would be done with a script: how it is run, as whom, within which limits, with which
//! variables, and what it is looked at for before.

use std::fmt;

use serde::Serialize;

use crate::{
    cgi::{
        Account, Confinement, QueueLimits, Size,
        meta_variables::{Facts, meta_variables},
    },
    launcher::checks::examine,
    site::Site,
};

/// What would be done with a script.
#[derive(Serialize)]
pub(super) struct Plan {
    arguments: Vec<String>,
    directory: String,
    user: String,
    limits: Vec<(&'static str, String)>,
    checks: Vec<Looked>,
    environment: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Looked {
    at: &'static str,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Plan {
    /// The plan for a request.
    pub fn new(facts: &Facts<'_>, site: &Site) -> Self {
        let examined = examine(facts.script, facts.options);
        let checks = examined.checks.into_iter().map(|(at, verdict)| Looked {
            at,
            passed: verdict.is_ok(),
            reason: verdict.err(),
        });
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let variables = meta_variables(facts).variables.into_iter();
        Self {
            arguments: examined.arguments,
            directory: examined.directory.display().to_string(),
            user: user(facts.options.confinement.account.as_ref()),
            limits: limits(facts, site),
            checks: checks.collect(),
            environment: variables
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
        }
    }

    /// Whether it would be started.
    pub fn passes(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

fn user(account: Option<&Account>) -> String {
    match account {
        Some(Account { name, uid, gid, .. }) => format!("{name} (uid {uid}, gid {gid})"),
        None => "that of the launcher".into(),
    }
}

fn limits(facts: &Facts<'_>, site: &Site) -> Vec<(&'static str, String)> {
    let options = facts.options;
    let Confinement {
        memory,
        tasks,
        cpu_weight,
        detach,
        setuid,
        ..
    } = &options.confinement;
    let QueueLimits { running, queued } = site.scripts.limits();
    vec![
        ("timeout", format!("{:?} without output", options.timeout)),
        ("max-time", format!("{:?} in all", options.max_time)),
        ("memory", Size(*memory).to_string()),
        ("tasks", tasks.to_string()),
        ("cpu-weight", cpu_weight.to_string()),
        ("detach", detach.to_string()),
        ("setuid", setuid.to_string()),
        ("max-running", format!("{running} scripts of the site")),
        ("max-queued", format!("{queued} requests of the site")),
    ]
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<9} {}", "command", self.arguments.join(" "))?;
        writeln!(out, "{:<9} {}", "directory", self.directory)?;
        writeln!(out, "{:<9} {}", "user", self.user)?;
        for (name, value) in &self.limits {
            writeln!(out, "{:<9} {name}: {value}", "limit")?;
        }
        for Looked { at, reason, .. } in &self.checks {
            let verdict = match reason {
                None => "passed".into(),
                Some(reason) => format!("FAILED: {reason}"),
            };
            writeln!(out, "{:<9} {at}: {verdict}", "check")?;
        }
        for (name, value) in &self.environment {
            writeln!(out, "{:<9} {name}={value}", "variable")?;
        }
        Ok(())
    }
}
