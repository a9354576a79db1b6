//! What is known of names, before and after something happens to them.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;
use crate::files::{Source, content::Content};

struct Site {
    directory: TempDir,
    root: Root,
    cache: Arc<Cache>,
}

impl Site {
    /// A root in which `d/x` is there.
    fn new(size: Size) -> Self {
        Self::with(size, "one")
    }

    /// The same with this content.
    fn with(size: Size, content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("root/d")).unwrap();
        fs::write(directory.path().join("root/d/x"), content).unwrap();
        let root = Root::new(directory.path().join("root"));
        let cache = Arc::new(Cache::new(size));
        Self {
            directory,
            root,
            cache,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("root").join(name)
    }

    /// What a request for the name gets, and whether it was in memory.
    fn ask(&self, name: &str) -> (Option<String>, bool) {
        let sight = self.cache.current();
        let look = Look {
            wait: Wait::Allowed,
            cache: sight.as_ref(),
        };
        let source = match look.open(&self.root, name.as_bytes()) {
            Ok(Named::Kept(kept)) => {
                return (Some(read(Source::Kept(kept))), true);
            }
            Ok(Named::Directory) => return (Some("a directory".to_owned()), true),
            Ok(Named::Opened(opened, _)) if opened.metadata.kind == Kind::Directory => {
                return (Some("a directory".to_owned()), false);
            }
            Ok(Named::Opened(opened, vacancy)) => Source::Opened(opened, vacancy),
            Err(OpenError::NotFound) => {
                let is_known = self.cache.known(&self.root, name.as_bytes()).is_some();
                return (None, is_known);
            }
            Err(error) => return (Some(error.to_string()), false),
        };
        (Some(read(source)), false)
    }

    /// The same when it has been asked for before.
    fn known(&self, name: &str) -> Option<String> {
        loop {
            let generation = self.cache.generation();
            self.ask(name);
            if let (content, true) = self.ask(name) {
                return content;
            }
            // Everything is forgotten when something is mounted anywhere meanwhile.
            assert_ne!(self.cache.generation(), generation, "{name} is not kept");
        }
    }

    /// The same for a larger file, which rests for two seconds before it is copied.
    fn copied(&self, name: &str) -> Option<String> {
        let begun = Instant::now();
        loop {
            if let (content, true) = self.ask(name) {
                return content;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{name}");
        }
    }

    /// How many directories and files are watched, and for how many names.
    fn watched(&self) -> (usize, usize) {
        self.cache.watch.as_ref().unwrap().count()
    }
}

/// All of the content.
fn read(source: Source) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let content = runtime.block_on(Content::of(source)).unwrap();
    let bytes = runtime.block_on(content.read(0..content.size)).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// Something that happens to `d/x`, and what is there then.
type Change = (&'static str, fn(&Site), Option<&'static str>);

const CHANGES: [Change; 13] = [
    (
        "a write",
        |site| fs::write(site.path("d/x"), "two").unwrap(),
        Some("two"),
    ),
    (
        "a write at its end",
        |site| {
            let mut file = File::options().append(true).open(site.path("d/x")).unwrap();
            file.write_all(b"+").unwrap();
        },
        Some("one+"),
    ),
    (
        "a cut",
        |site| {
            let file = File::options().write(true).open(site.path("d/x")).unwrap();
            file.set_len(1).unwrap();
        },
        Some("o"),
    ),
    (
        "a rename over it",
        |site| replace(&site.path("d/x"), "two"),
        Some("two"),
    ),
    (
        "a rename of it",
        |site| fs::rename(site.path("d/x"), site.path("d/y")).unwrap(),
        None,
    ),
    (
        "its end",
        |site| fs::remove_file(site.path("d/x")).unwrap(),
        None,
    ),
    (
        "a write by another name",
        |site| {
            let link = site.directory.path().join("link");
            fs::hard_link(site.path("d/x"), &link).unwrap();
            fs::write(link, "two").unwrap();
        },
        Some("two"),
    ),
    (
        "its directory moved",
        |site| fs::rename(site.path("d"), site.path("e")).unwrap(),
        None,
    ),
    (
        "another directory in the place of its own",
        |site| {
            fs::create_dir(site.path("new")).unwrap();
            fs::write(site.path("new/x"), "two").unwrap();
            fs::rename(site.path("d"), site.path("old")).unwrap();
            fs::rename(site.path("new"), site.path("d")).unwrap();
        },
        Some("two"),
    ),
    (
        "another root in the place of its own",
        |site| {
            let other = site.directory.path().join("other");
            fs::create_dir_all(other.join("d")).unwrap();
            fs::write(other.join("d/x"), "two").unwrap();
            fs::rename(
                site.directory.path().join("root"),
                site.directory.path().join("old"),
            )
            .unwrap();
            fs::rename(other, site.directory.path().join("root")).unwrap();
        },
        Some("two"),
    ),
    (
        "a link in its place",
        |site| {
            fs::write(site.path("y"), "two").unwrap();
            fs::remove_file(site.path("d/x")).unwrap();
            symlink("../y", site.path("d/x")).unwrap();
        },
        Some("two"),
    ),
    (
        "a link out of the root",
        |site| {
            fs::remove_file(site.path("d/x")).unwrap();
            symlink("/etc/hostname", site.path("d/x")).unwrap();
        },
        Some("a symbolic link leads out of the root or into a loop"),
    ),
    (
        "a directory in its place",
        |site| {
            fs::remove_file(site.path("d/x")).unwrap();
            fs::create_dir(site.path("d/x")).unwrap();
        },
        Some("a directory"),
    ),
];

#[test]
fn every_change_shows_at_once() {
    for (what, change, expected) in CHANGES {
        let site = Site::new(Size::Auto);
        assert_eq!(site.known("d/x").as_deref(), Some("one"));
        change(&site);
        assert_eq!(site.ask("d/x").0.as_deref(), expected, "{what}");
        assert_eq!(site.ask("d/x").0.as_deref(), expected, "{what}, again");
    }
}

#[test]
fn every_change_of_a_larger_file_shows_at_once() {
    let content = format!("o{}", "n".repeat(100_000));
    // All of them rest at once.
    let sites = CHANGES.map(|_| Site::with(Size::Auto, &content));
    for (site, (what, change, expected)) in sites.iter().zip(CHANGES) {
        assert_eq!(site.copied("d/x").as_ref(), Some(&content));
        let usage = site.cache.usage().0;
        assert!(usage > 100_000, "{usage}");
        change(site);
        let appended = expected.filter(|&text| text == "one+");
        let appended = appended.map(|_| format!("{content}+"));
        let expected = appended.as_deref().or(expected);
        assert_eq!(site.ask("d/x").0.as_deref(), expected, "{what}");
        assert_eq!(site.ask("d/x").0.as_deref(), expected, "{what}, again");
    }
}

#[test]
fn a_file_that_would_drive_out_many_is_not_kept() {
    let content = "x".repeat(100_000);
    let [small, large] = [1 << 20, 64 << 20].map(|size| Site::with(Size::Bytes(size), &content));
    large.copied("d/x");
    for _ in 0..4 * OFTEN {
        assert!(!small.ask("d/x").1);
    }
}

#[test]
fn what_is_not_there_is_known_until_it_is() {
    let site = Site::new(Size::Auto);
    for name in ["y", "d/y", "e/f/y", "d/x/y"] {
        assert_eq!(site.ask(name).0, None);
    }
    for name in ["y", "d/y", "e/f/y"] {
        assert_eq!(site.known(name), None);
    }
    fs::create_dir_all(site.path("e/f")).unwrap();
    for name in ["y", "d/y", "e/f/y"] {
        assert_eq!(site.ask(name).0, None);
        fs::write(site.path(name), name).unwrap();
        assert_eq!(site.ask(name).0.as_deref(), Some(name));
    }
}

#[test]
fn a_file_with_a_slash_at_its_end_is_not_there() {
    let site = Site::new(Size::Auto);
    assert_eq!(site.ask("d/x/").0, None);
    assert_eq!(site.known("d/x").as_deref(), Some("one"));
    assert_eq!(site.ask("d/x/").0, None);
    assert_eq!(site.known("d/").as_deref(), Some("a directory"));
    assert_eq!(site.known("d").as_deref(), Some("a directory"));
    assert_eq!(site.known("").as_deref(), Some("a directory"));
}

#[test]
fn a_name_over_a_link_is_looked_at_each_time() {
    let site = Site::new(Size::Auto);
    fs::create_dir_all(site.path("releases/2")).unwrap();
    fs::write(site.path("releases/2/x"), "two").unwrap();
    symlink("../d", site.path("releases/1")).unwrap();
    let swap = |target: &str| {
        symlink(target, site.path("next")).unwrap();
        fs::rename(site.path("next"), site.path("current")).unwrap();
    };
    swap("d");
    assert_eq!(site.ask("current/x").0.as_deref(), Some("one"));
    swap("releases/2");
    assert_eq!(site.ask("current/x").0.as_deref(), Some("two"));
    swap("releases/1");
    assert_eq!(site.ask("current/x").0.as_deref(), Some("one"));
    for name in ["current", "current/"] {
        assert_eq!(site.ask(name).0.as_deref(), Some("a directory"));
    }
    fs::write(site.path("d/x"), "new").unwrap();
    assert_eq!(site.ask("current/x").0.as_deref(), Some("new"));
}

#[test]
fn a_root_that_is_a_link_is_followed() {
    let site = Site::new(Size::Auto);
    let current = site.directory.path().join("current");
    let other = site.directory.path().join("other");
    fs::create_dir_all(other.join("d")).unwrap();
    fs::write(other.join("d/x"), "two").unwrap();
    symlink("root", &current).unwrap();
    let site = Site {
        root: Root::new(&current),
        ..site
    };
    assert_eq!(site.known("d/x").as_deref(), Some("one"));
    let next = site.directory.path().join("next");
    symlink(&other, &next).unwrap();
    fs::rename(next, &current).unwrap();
    assert_eq!(site.ask("d/x").0.as_deref(), Some("two"));
    fs::rename(&other, site.directory.path().join("away")).unwrap();
    assert_eq!(site.ask("d/x").0, None);
}

#[test]
fn what_may_not_be_read_any_more_is_not_kept() {
    if rustix::process::geteuid().is_root() {
        // For whom everything may be read; see the tests of the program.
        return;
    }
    let site = Site::new(Size::Auto);
    for path in ["d/x", "d"] {
        assert_eq!(site.known("d/x").as_deref(), Some("one"));
        let permissions = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(site.path(path), permissions(0o000)).unwrap();
        assert_eq!(site.ask("d/x").0.as_deref(), Some("permission denied"));
        fs::set_permissions(site.path(path), permissions(0o755)).unwrap();
    }
}

#[test]
fn a_lost_event_is_as_good_as_one() {
    let site = Site::new(Size::Auto);
    assert_eq!(site.known("d/x").as_deref(), Some("one"));
    // More than a queue holds, and no two alike behind each other.
    let files = ["a", "b"].map(|name| File::create(site.path("d").join(name)).unwrap());
    for name in ["a", "b"] {
        site.known(&format!("d/{name}"));
    }
    let length: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    if length > 100_000 {
        return;
    }
    for count in 0..length + 10 {
        (&files[count % 2]).write_all(b".").unwrap();
    }
    fs::write(site.path("d/x"), "two").unwrap();
    assert_eq!(site.ask("d/x").0.as_deref(), Some("two"));
    assert_eq!(site.known("d/x").as_deref(), Some("two"));
}

#[test]
fn the_budget_holds_and_watches_go_with_what_they_are_for() {
    let site = Site::new(Size::Bytes(1 << 20));
    let content = "x".repeat(8 * 1024);
    for number in 0..400 {
        let directory = format!("many/{number}");
        fs::create_dir_all(site.path(&directory)).unwrap();
        fs::write(site.path(&directory).join("x"), &content).unwrap();
        assert_eq!(
            site.ask(&format!("{directory}/x")).0.as_ref(),
            Some(&content)
        );
        site.ask(&format!("{directory}/absent"));
        assert!(site.cache.store().as_ref().unwrap().weight() <= 1 << 20);
    }
    // Of 400 files, 400 directories, and three names for each. An entry takes a KiB at least.
    let (watched, names) = site.watched();
    assert!(watched < 600 && names <= 1_024, "{watched}, {names}");
    for number in 0..5_000 {
        assert_eq!(site.ask(&format!("absent-{number}")).0, None);
    }
    let (_, names) = site.watched();
    assert!(names <= 1_024, "{names}");
    site.cache.resize(Size::Bytes(0));
    assert!(site.cache.current().is_none());
    assert_eq!(site.watched(), (0, 0));
}

#[test]
fn what_many_threads_are_told_is_never_older_than_their_question() {
    let site = Arc::new(Site::new(Size::Auto));
    let counter = Arc::new(AtomicU64::new(0));
    let known = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    fs::write(site.path("d/x"), "0").unwrap();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (site, counter) = (Arc::clone(&site), Arc::clone(&counter));
            let known = Arc::clone(&known);
            thread::spawn(move || {
                while counter.load(Ordering::SeqCst) < ROUNDS {
                    let before = counter.load(Ordering::SeqCst);
                    let (content, is_known) = site.ask("d/x");
                    let told: u64 = content.unwrap().parse().unwrap();
                    assert!(told >= before, "{told} after {before}");
                    known.fetch_add(u64::from(is_known), Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        replace(&site.path("d/x"), &round.to_string());
        counter.store(round, Ordering::SeqCst);
        // Now and then it is in memory when it is replaced.
        let before = known.load(Ordering::SeqCst);
        while round % 20 == 1 && known.load(Ordering::SeqCst) == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is kept");
            thread::yield_now();
        }
    }
    for reader in readers {
        reader.join().unwrap();
    }
}

const ROUNDS: u64 = 1_000;
