//! Own messages: to the journal when it is what standard error is connected to, else as lines.

use std::{fmt, time::SystemTime};

use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer, filter::LevelFilter, fmt::format::Writer, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::records::format::terminal;

/// Begins to write own messages of this level and above.
pub fn start(level: Level) {
    let journal = under_journal().then(journal).flatten();
    let layer = journal.unwrap_or_else(|| lines().boxed());
    let filter = LevelFilter::from_level(level);
    // A second subscriber in the process would be a bug, and no reason to stop.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
}

/// Whether standard error goes to the journal (systemd.exec(5), `JOURNAL_STREAM`).
pub fn under_journal() -> bool {
    let Ok(stat) = rustix::fs::fstat(rustix::stdio::stderr()) else {
        return false;
    };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn journal<S>() -> Option<BoxedLayer<S>>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let layer = tracing_journald::layer().ok()?;
    let priorities = tracing_journald::PriorityMappings {
        info: tracing_journald::Priority::Informational,
        ..tracing_journald::PriorityMappings::new()
    };
    Some(
        layer
            // With a prefix, `MESSAGE_ID` would be another field.
            .with_field_prefix(None)
            .with_priority_mappings(priorities)
            .with_syslog_identifier("pywebd".to_owned())
            .boxed(),
    )
}

fn lines<S>() -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_timer(LocalTime)
        .with_writer(anstream::stderr)
}

/// The time as it stands before access records.
struct LocalTime;

impl tracing_subscriber::fmt::time::FormatTime for LocalTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&terminal::time(SystemTime::now()))
    }
}
