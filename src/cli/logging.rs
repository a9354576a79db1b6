//! Own messages: to the journal when it is what standard error is connected to, else as lines.
//!
//! Only the thread that writes records waits for the journal or for whoever reads standard error. The
//! launcher, which has no other thread, does not wait for the journal either: what that does not take
//! is counted.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwapOption;
use tracing::{Dispatch, Event, Level, Subscriber, field::Field};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    fmt::{
        MakeWriter,
        format::{self, Writer},
    },
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use crate::{
    records::{
        Record, Sink,
        format::{journal, terminal},
        journal::Journal,
        message::Message,
    },
    server::logs::LevelHandle,
    systemd,
};

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

/// Begins to hand own messages of this level and above to the writer of records.
pub fn queued(level: Level, sink: Sink) -> Messages {
    let queue = Arc::new(ArcSwapOption::from_pointee(sink));
    let queued = Queued(Arc::clone(&queue));
    let layer = if systemd::journal::is_stderr() {
        queued.boxed()
    } else {
        lines(queued).boxed()
    };
    let level = begin(level, layer);
    Messages { queue, level }
}

/// What the writer of records writes messages down by. It waits for the journal, already here.
pub fn waiting() -> Dispatch {
    let journal = systemd::journal::is_stderr().then(journal);
    match journal.flatten() {
        Some(journal) => registry().with(journal).into(),
        None => registry().with(lines(anstream::stderr)).into(),
    }
}

/// Begins to write own messages of this level and above, in a process of one thread, whose entries in the
/// journal have this identifier.
pub fn direct(level: Level, identifier: &'static str) -> LevelHandle {
    let journal = systemd::journal::is_stderr().then(Journal::open);
    let layer = match journal {
        Some(Ok(journal)) => Unwaiting::new(journal, identifier).boxed(),
        Some(Err(_)) | None => lines(anstream::stderr).boxed(),
    };
    begin(level, layer)
}

fn begin(level: Level, layer: Box<dyn Layer<Registry> + Send + Sync>) -> LevelHandle {
    let (filter, level) = reload::Layer::new(LevelFilter::from_level(level));
    // A second subscriber in the process would be a bug, and no reason to stop.
    let _ = registry().with(layer.with_filter(filter)).try_init();
    level
}

fn registry() -> Registry {
    tracing_subscriber::registry()
}

/// Writes to the journal, and waits for it.
fn journal() -> Option<tracing_journald::Layer> {
    let layer = tracing_journald::layer().ok()?;
    let priorities = tracing_journald::PriorityMappings {
        info: tracing_journald::Priority::Informational,
        debug: tracing_journald::Priority::Debug,
        ..tracing_journald::PriorityMappings::new()
    };
    let layer = layer
        // With a prefix, `MESSAGE_ID` would be another field.
        .with_field_prefix(None)
        .with_priority_mappings(priorities)
        .with_syslog_identifier("pywebd".to_owned());
    Some(layer)
}

fn lines<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_timer(LocalTime)
        .fmt_fields(format::debug_fn(text))
        .with_writer(writer)
}

/// A line has no place for the journal's fields; the text says it all.
fn text(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(out, "{value:?}"),
        _ => Ok(()),
    }
}

/// Hands messages in as records.
struct Queued(Arc<ArcSwapOption<Sink>>);

impl<S: Subscriber> Layer<S> for Queued {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(sink) = &*self.0.load() {
            sink.send(Record::Message(Message::of(event)));
        }
    }
}

impl MakeWriter<'_> for Queued {
    type Writer = QueuedLine;

    fn make_writer(&self) -> QueuedLine {
        QueuedLine(self.0.load_full())
    }
}

/// Where one line is written.
struct QueuedLine(Option<Arc<Sink>>);

impl io::Write for QueuedLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(sink) = &self.0 {
            sink.send(Record::Line(line.to_vec()));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the launcher's messages to the journal if that takes them at once.
struct Unwaiting(Mutex<Attempts>);

struct Attempts {
    journal: Journal,
    identifier: &'static str,
    /// How many messages were not taken since that was said, of the process with this id: a copy of
    /// the launcher does not say what the launcher says.
    dropped: (u32, u64),
}

impl Unwaiting {
    fn new(journal: Journal, identifier: &'static str) -> Self {
        Self(Mutex::new(Attempts {
            journal,
            identifier,
            dropped: (0, 0),
        }))
    }
}

impl<S: Subscriber> Layer<S> for Unwaiting {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.write(&Message::of(event));
    }
}

impl Attempts {
    fn write(&mut self, message: &Message) {
        let process = std::process::id();
        let mut dropped = match self.dropped {
            (of, count) if of == process => count,
            _ => 0,
        };
        let mut entry = Vec::new();
        if dropped > 0 {
            journal::dropped(dropped, self.identifier, &mut entry);
            if self.journal.try_send(&entry).is_ok() {
                dropped = 0;
            }
            entry.clear();
        }
        journal::message(message, self.identifier, &mut entry);
        if self.journal.try_send(&entry).is_err() {
            dropped += 1;
        }
        self.dropped = (process, dropped);
    }
}

/// The time as it stands before access records.
struct LocalTime;

impl tracing_subscriber::fmt::time::FormatTime for LocalTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&terminal::time(SystemTime::now()))
    }
}
