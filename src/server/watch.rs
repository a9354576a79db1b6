//! Watching the files of the configuration: any settled change of one is an event.
//!
//! Directories are watched, not files: an editor's rename would end a file's watch at once. Only
//! here is `notify` used; it asks the kernel for opens too, which would be ruinous for content.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
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
    followed: Arc<ArcSwap<BTreeSet<PathBuf>>>,
}

impl Watch {
    /// Begins to watch nothing; changes will be told to `events`.
    pub fn start(events: Sender<Event>) -> Self {
        let (sender, changes) = channel();
        let followed = Arc::new(ArcSwap::from_pointee(BTreeSet::new()));
        let names = Arc::clone(&followed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if is_change(&event, &names.load()) {
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
            followed,
        }
    }

    /// Follows exactly these files, and what appears in those that are directories, from now on.
    pub fn follow(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let names: BTreeSet<PathBuf> = files.iter().flat_map(|file| names(file)).collect();
        let wanted: BTreeSet<PathBuf> = names.iter().map(|name| directory(name)).collect();
        self.followed.store(Arc::new(names));
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

/// The names by which a file can change: its own, and that of what it is a link to.
fn names(file: &Path) -> impl Iterator<Item = PathBuf> {
    let own = std::path::absolute(file).ok();
    let target = std::fs::canonicalize(file).ok();
    own.into_iter().chain(target)
}

fn directory(name: &Path) -> PathBuf {
    match name.parent() {
        Some(parent) if !name.is_dir() => parent.to_owned(),
        _ => name.to_owned(),
    }
}

/// Reading is no change, nor is one of another file nearby, such as our own log; a lost event may
/// have been one.
fn is_change(event: &notify::Result<notify::Event>, followed: &BTreeSet<PathBuf>) -> bool {
    let Ok(event) = event else { return true };
    let is_followed = |path: &PathBuf| {
        followed.contains(path)
            || path
                .parent()
                .is_some_and(|parent| followed.contains(parent))
    };
    event.need_rescan()
        || (!matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(is_followed))
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

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, Event, Flag, ModifyKind};

    use super::*;

    #[test]
    fn only_a_change_of_what_is_followed_counts() {
        let followed = ["/etc/a.toml", "/etc/sites.d"].map(PathBuf::from).into();
        let changed = EventKind::Modify(ModifyKind::Any);
        for (kind, path, counts) in [
            (changed, "/etc/a.toml", true),
            (changed, "/etc/a.log", false),
            (
                EventKind::Create(CreateKind::File),
                "/etc/sites.d/b.toml",
                true,
            ),
            (
                EventKind::Create(CreateKind::File),
                "/etc/sites.d/c/b.toml",
                false,
            ),
            (EventKind::Access(AccessKind::Any), "/etc/a.toml", false),
        ] {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(is_change(&Ok(event), &followed), counts, "{kind:?} {path}");
        }
    }

    #[test]
    fn a_lost_event_counts() {
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(is_change(&Ok(lost), &BTreeSet::new()));
        assert!(is_change(
            &Err(notify::Error::generic("overflow")),
            &BTreeSet::new()
        ));
    }
}
