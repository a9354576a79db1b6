//! Another configuration, as one transaction: load, bind, open the log, ask the launcher, swap.
//!
//! Whatever fails before the swap leaves everything as it was, but for a new access log: it is there,
//! and empty, when the launcher then refuses.

use std::sync::Arc;

use crate::{
    cgi::Gateway,
    config::{self, Report, Seen, Values},
    records::writer::Target,
    server::{
        current::Current,
        error::StartError,
        listener::Listener,
        listeners::Listeners,
        logs,
        workers::{self, Workers},
    },
    site::Snapshot,
};

/// What a successful reload changed.
#[derive(Debug)]
pub struct Reloaded {
    /// What is to be put in the place of what there is.
    pub prepared: Prepared,
    /// What to watch.
    pub seen: Vec<Seen>,
    /// Warnings.
    pub report: Report,
    /// What is in force now.
    pub values: Values,
}

/// What the new configuration needs of the operating system.
#[derive(Debug)]
pub struct Prepared {
    /// Its listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// Its workers.
    pub workers: workers::Prepared,
    /// Where records go.
    pub records: Target,
}

/// Why the old configuration stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new one has errors.
    #[error("{}", lines(.0))]
    Configuration(Report),
    /// A listener or a log that the new one wants cannot be had.
    #[error(transparent)]
    Refused(#[from] StartError),
    /// The launcher does not take it.
    #[error("the launcher does not take the configuration: {0}")]
    Launcher(String),
}

/// One line for each finding, as the log takes them.
fn lines(report: &Report) -> String {
    let lines: Vec<String> = report.diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Reads the configuration again and puts it in force.
pub fn reload(
    source: &config::Source,
    running: (&Listeners, &mut Workers),
    gateway: &Gateway,
    current: &Current,
) -> Result<Reloaded, (ReloadError, Vec<Seen>)> {
    let loaded = config::load(source, &config::environment::variable);
    let Some(mut snapshot) = loaded.snapshot else {
        return Err((ReloadError::Configuration(loaded.report), loaded.seen));
    };
    match prepare(&snapshot, running, gateway) {
        Ok(prepared) => {
            // From here on nothing can fail.
            snapshot.succeed(&current.snapshot());
            current.swap(Arc::new(snapshot));
            Ok(Reloaded {
                prepared,
                seen: loaded.seen,
                report: loaded.report,
                values: loaded.values,
            })
        }
        Err(error) => Err((error, loaded.seen)),
    }
}

fn prepare(
    snapshot: &Snapshot,
    (listeners, workers): (&Listeners, &mut Workers),
    gateway: &Gateway,
) -> Result<Prepared, ReloadError> {
    let prepared = Prepared {
        listeners: listeners.prepare(&snapshot.listen)?,
        workers: workers.prepare(snapshot.workers, snapshot.listen.len())?,
        records: logs::open(&snapshot.log)?,
    };
    // Last, for it does not go back.
    gateway.reload().map_err(ReloadError::Launcher)?;
    Ok(prepared)
}
