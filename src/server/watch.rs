//! Watching the files of the configuration: any settled change of one is an event.
//!
//! Directories are watched, not files: an editor's rename would end a file's watch at once. Only
//! here is `notify` used; it asks the kernel for opens too, which would be ruinous for content.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::server::event::Event;

/// A change counts when nothing has moved for so long…
const SETTLE: Duration = Duration::from_millis(200);

/// …or after so long in any case.
const AT_MOST: Duration = Duration::from_secs(2);

/// The watch over the files of the configuration in force.
#[derive(Debug)]
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    /// Begins to watch nothing; changes will be told to `events`.
    pub fn start(events: Sender<Event>) -> Self {
        let (sender, changes) = channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if is_change(&event) {
                let _ = sender.send(());
            }
        })
        .map_err(|error| tracing::warn!("the configuration is not watched: {error}"))
        .ok();
        let settling = thread::Builder::new()
            .name("watch".into())
            .spawn(move || settle(&changes, &events));
        if let Err(error) = settling {
            tracing::warn!("the configuration is not watched: {error}");
        }
        Self {
            watcher,
            directories: BTreeSet::new(),
        }
    }

    /// Watches the directories of exactly these files from now on.
    pub fn follow(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<PathBuf> = files.iter().map(|file| directory(file)).collect();
        for gone in self.directories.difference(&wanted) {
            // It may be gone from the disk as well.
            let _ = watcher.unwatch(gone);
        }
        for new in &wanted {
            // Also those already followed: a directory that was replaced has lost its watch.
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!("changes in {} are not noticed: {error}", new.display());
            }
        }
        self.directories = wanted;
    }
}

fn directory(file: &Path) -> PathBuf {
    if file.is_dir() {
        return file.to_owned();
    }
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => file.to_owned(),
    }
}

/// Reading is no change; a lost event may have been one.
fn is_change(event: &notify::Result<notify::Event>) -> bool {
    match event {
        Ok(event) => event.need_rescan() || !matches!(event.kind, EventKind::Access(_)),
        Err(_) => true,
    }
}

/// Turns a burst of changes into one event.
fn settle(changes: &Receiver<()>, events: &Sender<Event>) {
    while changes.recv().is_ok() {
        let first = Instant::now();
        while first.elapsed() < AT_MOST {
            match changes.recv_timeout(SETTLE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if events.send(Event::Changed).is_err() {
            return;
        }
    }
}
