//! What was answered a moment ago is not answered any more once the file is another: each way to change
//! what a path names, by itself. `model` has them at random and all at once.

pub mod edits;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::fs::{CWD, FallocateFlags, RenameFlags};

use crate::support::{Response, Server, Site};
use edits::{EDITS, NEW, OLD};

/// How often something is asked for: often enough for each worker to remember it.
const TIMES: usize = 8;

/// Whether somebody takes a coding.
const PLAIN: &str = "";
const GZIP: &str = "Accept-Encoding: gzip\r\n";

/// The answer to each of several requests.
fn answer(server: &Server, target: &str, fields: &str) -> Response {
    let first = server.request("GET", target, fields, "");
    for _ in 1..TIMES {
        let next = server.request("GET", target, fields, "");
        let [was, is] = [&first, &next].map(|response| (response.status(), response.text()));
        assert_eq!(was, is, "{target} has two answers");
    }
    first
}

fn status(server: &Server, target: &str) -> u16 {
    answer(server, target, PLAIN).status()
}

fn text(server: &Server, target: &str) -> String {
    answer(server, target, PLAIN).text()
}

fn exchange(one: &Path, other: &Path) {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

fn opened(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// A link that takes the place of another.
fn relink(target: &str, link: &Path) {
    let next = link.with_file_name(".next");
    symlink(target, &next).unwrap();
    fs::rename(next, link).unwrap();
}

#[test]
fn every_way_to_edit_a_file_shows_at_once() {
    assert_eq!(OLD.len(), NEW.len());
    for (name, edit) in EDITS {
        let server = Site::new().file("folder/a.txt", OLD).serve();
        let (site, target) = (server.site(), "/folder/a.txt");
        let before = answer(&server, target, PLAIN);
        assert_eq!(before.text(), OLD, "{name}");
        edit(&site.root().join("folder/a.txt"), site.directory());
        let after = answer(&server, target, PLAIN);
        assert_eq!(after.text(), NEW, "{name}");
        let tag = before.field("etag").unwrap();
        assert_ne!(after.field("etag"), Some(tag), "{name}");
        let fields = format!("If-None-Match: {tag}\r\n");
        assert_eq!(answer(&server, target, &fields).status(), 200, "{name}");
    }
}

#[test]
fn a_size_that_changes_is_told_at_once() {
    let server = Site::new().file("a.txt", "").serve();
    let path = server.site().root().join("a.txt");
    for size in [0, 1, 5_000, 65_536, 65_537, 200_000, 65_536, 900, 0] {
        fs::write(&path, vec![b'a'; size]).unwrap();
        assert_eq!(text(&server, "/a.txt").len(), size);
        opened(&path).set_len(size as u64 + 7).unwrap();
        assert_eq!(text(&server, "/a.txt").len(), size + 7);
        let append = OpenOptions::new().append(true).open(&path);
        append.unwrap().write_all(b"more").unwrap();
        assert_eq!(text(&server, "/a.txt").len(), size + 11);
        let (file, all) = (opened(&path), size as u64 + 11);
        rustix::fs::fallocate(&file, FallocateFlags::empty(), all, 5).unwrap();
        assert_eq!(text(&server, "/a.txt").len(), size + 16);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, hole, all - 2, 2).unwrap();
        assert!(
            text(&server, "/a.txt").ends_with("mo\0\0\0\0\0\0\0"),
            "{size}"
        );
    }
}

#[test]
fn what_is_removed_is_gone_and_what_comes_back_is_there() {
    let server = Site::new().file("a/b/c.txt", "old").serve();
    let root = server.site().root();
    let away = server.site().directory().join("away");
    for path in ["a/b/c.txt", "a/b", "a"] {
        assert_eq!(text(&server, "/a/b/c.txt"), "old");
        fs::rename(root.join(path), &away).unwrap();
        assert_eq!(status(&server, "/a/b/c.txt"), 404, "{path}");
        fs::rename(&away, root.join(path)).unwrap();
    }
    assert_eq!(text(&server, "/a/b/c.txt"), "old");
    fs::remove_dir_all(root.join("a")).unwrap();
    assert_eq!(status(&server, "/a/b/c.txt"), 404);
}

#[test]
fn what_was_not_there_is_found_at_once() {
    type Make = fn(&Path);
    let ways: [(&str, &[&str], Make); 8] = [
        ("created", &["/new"], |root| {
            fs::write(root.join("new"), "x").unwrap();
        }),
        ("renamed", &["/new"], |root| {
            fs::rename(root.join("a.txt"), root.join("new")).unwrap();
        }),
        ("linked", &["/new"], |root| {
            fs::hard_link(root.join("a.txt"), root.join("new")).unwrap();
        }),
        ("a link", &["/new"], |root| {
            symlink("a.txt", root.join("new")).unwrap();
        }),
        ("a directory", &["/new", "/new/"], |root| {
            fs::create_dir(root.join("new")).unwrap();
        }),
        (
            "a directory from elsewhere",
            &["/new", "/new/", "/new/b.txt", "/new/c/d.txt"],
            |root| {
                fs::rename(root.join("folder"), root.join("new")).unwrap();
            },
        ),
        (
            "a link to a directory",
            &["/new", "/new/", "/new/b.txt", "/new/c/d.txt"],
            |root| {
                symlink("folder", root.join("new")).unwrap();
            },
        ),
        (
            "a link in the place of another",
            &["/new/", "/new/b.txt"],
            |root| {
                relink("nothing", &root.join("new"));
                relink("folder", &root.join("new"));
            },
        ),
    ];
    for (name, targets, make) in ways {
        let site = Site::new().file("a.txt", "x").file("folder/b.txt", "x");
        let server = site.file("folder/c/d.txt", "x").serve();
        for target in targets {
            assert_eq!(status(&server, target), 404, "{name} {target}");
        }
        make(&server.site().root());
        for target in targets {
            let status = status(&server, target);
            assert!([200, 301].contains(&status), "{name} {target}: {status}");
        }
    }
}

#[test]
fn the_target_of_a_link_that_was_missing_is_found_when_it_appears() {
    let server = Site::new().file("folder/x", "").serve();
    let root = server.site().root();
    symlink("folder/late.txt", root.join("link")).unwrap();
    symlink("folder/late", root.join("ways")).unwrap();
    let targets = ["/link", "/ways/", "/ways/a.txt"];
    assert_eq!(targets.map(|target| status(&server, target)), [404; 3]);
    fs::write(root.join("folder/late.txt"), "x").unwrap();
    assert_eq!(
        targets.map(|target| status(&server, target)),
        [200, 404, 404]
    );
    fs::create_dir(root.join("folder/late")).unwrap();
    assert_eq!(
        targets.map(|target| status(&server, target)),
        [200, 200, 404]
    );
    fs::write(root.join("folder/late/a.txt"), "x").unwrap();
    assert_eq!(
        targets.map(|target| status(&server, target)),
        [200, 200, 200]
    );
}

#[test]
fn an_index_that_comes_or_goes_changes_the_directory() {
    let server = Site::new().file("folder/a.txt", "").serve();
    let index = server.site().root().join("folder/index.html");
    for round in 0..3 {
        assert!(text(&server, "/folder/").contains("a.txt"), "{round}");
        fs::write(&index, "the index").unwrap();
        assert_eq!(text(&server, "/folder/"), "the index");
        fs::write(&index, "another").unwrap();
        assert_eq!(text(&server, "/folder/"), "another");
        fs::remove_file(&index).unwrap();
    }
    fs::create_dir(&index).unwrap();
    assert!(text(&server, "/folder/").contains("index.html/"));
}

#[test]
fn a_stored_coding_is_sent_while_it_is_of_the_file() {
    let server = Site::new().file("a.css", "a {}\n".repeat(500)).serve();
    let path = server.site().root().join("a.css");
    let stored = server.site().root().join("a.css.gz");
    let sends_stored = || answer(&server, "/a.css", GZIP).content == b"as stored";
    let time = path.metadata().unwrap().modified().unwrap();
    assert!(!sends_stored());
    fs::write(&stored, "as stored").unwrap();
    assert!(sends_stored(), "it has appeared");
    let earlier = time - std::time::Duration::from_secs(1);
    File::open(&stored).unwrap().set_modified(earlier).unwrap();
    assert!(!sends_stored(), "it is older now");
    File::open(&stored).unwrap().set_modified(time).unwrap();
    assert!(sends_stored(), "it is as old as the file");
    fs::write(&path, "b {}\n".repeat(500)).unwrap();
    assert!(!sends_stored(), "the file is newer");
    fs::write(&stored, "as stored").unwrap();
    assert!(sends_stored(), "it was made again");
    fs::write(&stored, "").unwrap();
    assert!(!sends_stored(), "it is being made");
    fs::write(&stored, "as stored").unwrap();
    fs::remove_file(&stored).unwrap();
    assert!(!sends_stored(), "it is gone");
}

#[test]
fn a_coding_that_is_made_is_of_the_file_as_it_is() {
    let server = Site::new().file("a.css", "").serve();
    let path = server.site().root().join("a.css");
    let mut tags = Vec::new();
    for letter in ["a", "b", "c"] {
        // Of one size, and compressed to one size.
        fs::write(&path, letter.repeat(5_000)).unwrap();
        let response = answer(&server, "/a.css", GZIP);
        let gzip = flate2::read::GzDecoder::new(&*response.content);
        assert_eq!(std::io::read_to_string(gzip).unwrap(), letter.repeat(5_000));
        tags.push(response.field("etag").unwrap().to_owned());
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 3, "{tags:?}");
}

#[test]
fn a_file_that_becomes_a_directory_and_one_again_is_what_it_is() {
    let server = Site::new().file("a", "file").serve();
    let path = server.site().root().join("a");
    for _ in 0..3 {
        assert_eq!((status(&server, "/a"), status(&server, "/a/")), (200, 404));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!((status(&server, "/a"), status(&server, "/a/")), (301, 200));
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "file").unwrap();
    }
}

#[test]
fn a_directory_in_the_place_of_another_shows_its_own_files() {
    let site = Site::new().file("a/b/x", "of a").file("c/b/x", "of c");
    let server = site.file("a/b/only", "of a").serve();
    let root = server.site().root();
    for round in 0..4 {
        let (expected, only) = [("of a", 200), ("of c", 404)][round % 2];
        assert_eq!(text(&server, "/a/b/x"), expected, "{round}");
        assert_eq!(status(&server, "/a/b/only"), only, "{round}");
        exchange(&root.join("a"), &root.join("c"));
    }
}

#[test]
fn a_link_that_turns_leads_to_its_new_target() {
    let site = Site::new()
        .file("one/a.txt", "one")
        .file("two/a.txt", "two");
    let server = site.serve();
    let root = server.site().root();
    for target in ["one", "two", "one", "two"] {
        relink(target, &root.join("ways"));
        relink(&format!("{target}/a.txt"), &root.join("link"));
        assert_eq!(text(&server, "/ways/a.txt"), target);
        assert_eq!(text(&server, "/link"), target);
    }
    fs::write(root.join("two/a.txt"), "edited").unwrap();
    assert_eq!(text(&server, "/ways/a.txt"), "edited");
    assert_eq!(text(&server, "/link"), "edited");
    fs::rename(root.join("two"), root.join("three")).unwrap();
    assert_eq!(
        [status(&server, "/ways/a.txt"), status(&server, "/link")],
        [404; 2]
    );
}

#[test]
fn a_root_that_is_another_shows_its_own_files() {
    let site = Site::new()
        .file("one/a.txt", "one")
        .file("two/a.txt", "two");
    let root = site.root();
    let current = root.join("current");
    symlink("one", &current).unwrap();
    let server = site.configured("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT/current\"\n");
    for target in ["one", "two", "one", "two"] {
        relink(target, &current);
        assert_eq!(text(&server, "/a.txt"), target);
        assert_eq!(status(&server, "/late"), 404);
        fs::write(root.join(target).join("late"), "x").unwrap();
        assert_eq!(status(&server, "/late"), 200);
        fs::remove_file(root.join(target).join("late")).unwrap();
    }
    exchange(&root.join("one"), &root.join("two"));
    assert_eq!(text(&server, "/a.txt"), "one");
    fs::rename(root.join("two"), root.join("away")).unwrap();
    assert_eq!(status(&server, "/a.txt"), 404);
    fs::rename(root.join("one"), root.join("two")).unwrap();
    assert_eq!(text(&server, "/a.txt"), "two");
}

#[test]
fn the_files_that_stand_in_for_others_are_as_they_are() {
    let site = Site::new()
        .file("app.html", "the app")
        .file("sorry.html", "sorry");
    let server = site.configured(
        "[site.app]\nhosts = [\"app\"]\nroot = \"ROOT\"\npath.\"/\".fallback = \"/app.html\"\n\
         [site.plain]\nhosts = [\"*\"]\nroot = \"ROOT\"\nerror-page.404 = \"/sorry.html\"\n",
    );
    let root = server.site().root();
    let app = || {
        let mut connection = server.connect();
        connection.send("GET /page HTTP/1.1\r\nHost: app\r\n\r\n");
        let first = connection.response().text();
        for _ in 1..TIMES {
            connection.send("GET /page HTTP/1.1\r\nHost: app\r\n\r\n");
            assert_eq!(connection.response().text(), first);
        }
        first
    };
    assert_eq!(
        (app(), text(&server, "/page")),
        ("the app".into(), "sorry".into())
    );
    fs::write(root.join("app.html"), "its next version").unwrap();
    fs::write(root.join("sorry.html"), "so sorry").unwrap();
    assert_eq!(
        (app(), text(&server, "/page")),
        ("its next version".into(), "so sorry".into())
    );
    fs::write(root.join("page"), "the page").unwrap();
    assert_eq!(
        (app(), text(&server, "/page")),
        ("the page".into(), "the page".into())
    );
    fs::remove_file(root.join("page")).unwrap();
    assert_eq!(
        (app(), text(&server, "/page")),
        ("its next version".into(), "so sorry".into())
    );
}

#[test]
fn what_must_not_be_read_any_more_is_not_answered() {
    let server = Site::new().file("a/b/c.txt", "secret").serve_as_nobody();
    let root = server.site().root();
    let set = |path: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(root.join(path), mode).unwrap();
    };
    for (path, closed, open) in [
        ("a/b/c.txt", 0o000, 0o644),
        ("a/b", 0o000, 0o755),
        ("a/b", 0o744, 0o755),
        ("a", 0o600, 0o755),
        (".", 0o700, 0o755),
    ] {
        // Without root, files are this user's own.
        let closed = if rustix::process::geteuid().is_root() {
            closed
        } else {
            closed & 0o677
        };
        assert_eq!(text(&server, "/a/b/c.txt"), "secret", "{path}");
        set(path, closed);
        assert_eq!(status(&server, "/a/b/c.txt"), 403, "{path} {closed:o}");
        set(path, open);
    }
    assert_eq!(text(&server, "/a/b/c.txt"), "secret");
}

#[test]
fn more_changes_than_the_kernel_tells_of_are_seen_all_the_same() {
    let server = Site::new().file("a.txt", "old").file("gone", "").serve();
    let root = server.site().root();
    assert_eq!(text(&server, "/a.txt"), "old");
    assert_eq!(
        [status(&server, "/gone"), status(&server, "/new")],
        [200, 404]
    );
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    // Of two events that are alike, one is told.
    let files = ["x", "y"].map(|name| File::create(root.join(name)).unwrap());
    for n in 0..limit + 10 {
        files[n % 2].write_all_at(b"x", 0).unwrap();
    }
    fs::write(root.join("a.txt"), "new").unwrap();
    fs::remove_file(root.join("gone")).unwrap();
    fs::write(root.join("new"), "").unwrap();
    assert_eq!(text(&server, "/a.txt"), "new");
    assert_eq!(
        [status(&server, "/gone"), status(&server, "/new")],
        [404, 200]
    );
    // And afterwards.
    fs::write(root.join("a.txt"), "newer").unwrap();
    assert_eq!(text(&server, "/a.txt"), "newer");
}

#[test]
fn a_directory_is_not_listed_for_want_of_an_index_that_another_had() {
    let site = Site::new().file("listed/only.txt", "x");
    let server = site.file("indexed/index.html", "index").serve();
    let [listed, indexed] = ["listed", "indexed"].map(|name| server.site().root().join(name));
    let is_over = AtomicBool::new(false);
    let wrong = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                exchange(&listed, &indexed);
                // So that most answers come between two exchanges.
                thread::sleep(Duration::from_micros(300));
            }
        });
        let mut client = server.connect();
        let answers = (0..5000).map(|_| {
            client.send("GET /listed/ HTTP/1.1\r\nHost: x\r\n\r\n");
            client.response().text()
        });
        let is_wrong = |text: &String| text != "index" && text.contains("index.html");
        let wrong = answers.filter(is_wrong).count();
        is_over.store(true, Ordering::Relaxed);
        wrong
    });
    assert_eq!(wrong, 0, "listings of the directory that has an index");
}
