//! Own messages: to the journal when it is what standard error is connected to, else as lines.

use std::{fmt, io, sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    fmt::{MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use crate::{
    records::{Record, Sink, format::terminal},
    server::logs::LevelHandle,
    systemd,
};

/// Where messages go when there is no journal for them.
#[derive(Debug)]
pub enum Lines {
    /// Straight to standard error: for a process without a queue.
    Direct,
    /// Through the queue of records, so that nobody waits for whoever reads standard error.
    Queued(Sink),
}

/// Keeps the queue of records open for messages; dropped before the queue's end is waited for.
#[derive(Debug)]
pub struct Messages {
    queue: Arc<ArcSwapOption<Sink>>,
    /// The least important message that is written, to be changed at any time.
    pub level: LevelHandle,
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.queue.store(None);
    }
}

/// Begins to write own messages of this level and above.
pub fn start(level: Level, to: Lines) -> Messages {
    let queue = Arc::new(ArcSwapOption::empty());
    let journal = systemd::journal::is_stderr().then(journal).flatten();
    let layer = journal.unwrap_or_else(|| match to {
        Lines::Direct => lines(anstream::stderr).boxed(),
        Lines::Queued(sink) => {
            queue.store(Some(Arc::new(sink)));
            lines(QueuedLines(Arc::clone(&queue))).boxed()
        }
    });
    let (filter, level) = reload::Layer::new(LevelFilter::from_level(level));
    // A second subscriber in the process would be a bug, and no reason to stop.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
    Messages { queue, level }
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

fn lines<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_timer(LocalTime)
        .with_writer(writer)
}

/// Makes a record of each message.
struct QueuedLines(Arc<ArcSwapOption<Sink>>);

/// Where one message is written.
struct QueuedLine(Option<Arc<Sink>>);

impl MakeWriter<'_> for QueuedLines {
    type Writer = QueuedLine;

    fn make_writer(&self) -> QueuedLine {
        QueuedLine(self.0.load_full())
    }
}

impl io::Write for QueuedLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(sink) = &self.0 {
            sink.send(Record::Message(line.to_vec()));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time as it stands before access records.
struct LocalTime;

impl tracing_subscriber::fmt::time::FormatTime for LocalTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&terminal::time(SystemTime::now()))
    }
}
