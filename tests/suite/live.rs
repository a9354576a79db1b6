//! Files that change while they are served: one version, or none.

use std::{
    fs,
    io::Write,
    mem::MaybeUninit,
    os::unix::fs::{FileExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};

use crate::support::{HANG, Server, Site};

#[test]
fn every_edit_changes_the_tag_also_of_the_same_size_at_the_same_time() {
    for size in [10, 200_000] {
        let server = Site::new().file("a.txt", vec![b'a'; size]).serve();
        let path = server.site().root().join("a.txt");
        let time = SystemTime::now() - Duration::from_secs(7200);
        let mut tags = Vec::new();
        for round in 0..60_u8 {
            let file = fs::File::create(&path).unwrap();
            (&file).write_all(&vec![b'a' + round % 26; size]).unwrap();
            file.set_modified(time).unwrap();
            let response = server.get("/a.txt");
            assert_eq!(response.content[0], b'a' + round % 26);
            let fields = format!("If-None-Match: {}\r\n", tags.join(", "));
            let again = server.request("GET", "/a.txt", &fields, "");
            if round < 26 {
                assert_eq!(again.status(), 200, "round {round}: {fields}");
                let tag = response.field("etag").unwrap().to_owned();
                assert!(!tags.contains(&tag), "round {round}: {tag} twice");
                tags.push(tag);
            }
        }
    }
}

#[test]
fn a_time_that_says_nothing_is_not_told() {
    let server = Site::new().file("a.txt", "a").serve();
    let path = server.site().root().join("a.txt");
    let set = |time| fs::File::open(&path).unwrap().set_modified(time).unwrap();
    let is_told = || server.get("/a.txt").field("last-modified").is_some();
    let now = SystemTime::now();
    for (time, told) in [
        (now - Duration::from_secs(5), true),
        (SystemTime::UNIX_EPOCH + Duration::from_secs(1), true),
        (SystemTime::UNIX_EPOCH, false),
        (now + Duration::from_secs(3600), false),
    ] {
        set(time);
        assert_eq!(is_told(), told, "{time:?}");
    }
    // Another edit within this second would have the same date. The second may turn meanwhile.
    let begun = Instant::now();
    loop {
        let now = SystemTime::now();
        set(now);
        let date = httpdate::fmt_http_date(now);
        let told = is_told();
        let statuses = [
            format!("If-Modified-Since: {date}\r\n"),
            format!("Range: bytes=0-0\r\nIf-Range: {date}\r\n"),
        ]
        .map(|fields| server.request("GET", "/a.txt", &fields, "").status());
        if httpdate::fmt_http_date(SystemTime::now()) == date {
            assert!(!told);
            assert_eq!(statuses, [200; 2]);
            break;
        }
        assert!(begun.elapsed() < HANG);
    }
}

const LARGE: usize = 64 << 20;

/// A download that has begun and waits for its client.
fn begun(server: &Server) -> crate::support::Connection {
    let mut connection = server.connect();
    connection.send("GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = connection.read_until(b"\r\n\r\n");
    let expected = format!("content-length: {LARGE}\r\n");
    assert!(String::from_utf8_lossy(&head).contains(&expected));
    connection
}

fn large() -> Server {
    Site::new().file("large", vec![b'a'; LARGE]).serve()
}

#[test]
fn a_file_that_is_replaced_by_a_rename_goes_on_as_it_was() {
    let server = large();
    let root = server.site().root();
    let mut connection = begun(&server);
    fs::write(root.join("new"), vec![b'b'; LARGE]).unwrap();
    fs::rename(root.join("new"), root.join("large")).unwrap();
    let content = connection.read_to_end();
    assert_eq!(content.len(), LARGE);
    assert!(content.iter().all(|&byte| byte == b'a'));
    assert_eq!(server.get("/large").content[0], b'b');
}

#[test]
fn a_file_that_is_removed_or_made_unreadable_goes_on_as_it_was() {
    let server = large();
    let mut connection = begun(&server);
    fs::remove_file(server.site().root().join("large")).unwrap();
    assert_eq!(connection.read_to_end().len(), LARGE);
    assert_eq!(server.get("/large").status(), 404);
}

#[test]
fn a_file_that_is_written_to_ends_the_connection_and_never_the_content() {
    type Change = fn(&fs::File);
    let changes: [(&str, Change); 5] = [
        ("truncated", |file| file.set_len(1024).unwrap()),
        ("grown", |file| {
            file.write_all_at(b"bbbb", LARGE as u64).unwrap();
        }),
        ("overwritten at its end", |file| {
            file.write_all_at(b"bbbb", LARGE as u64 - 4).unwrap();
        }),
        ("overwritten and its time set back", |file| {
            let time = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&vec![b'b'; LARGE], 0).unwrap();
            file.set_modified(time).unwrap();
        }),
        ("rewritten", |file| {
            file.set_len(0).unwrap();
            file.write_all_at(&vec![b'b'; LARGE], 0).unwrap();
        }),
    ];
    for (name, change) in changes {
        let server = large();
        let mut connection = begun(&server);
        let path = server.site().root().join("large");
        change(&fs::OpenOptions::new().write(true).open(path).unwrap());
        let content = connection.read_to_end();
        assert!(
            content.len() < LARGE,
            "{name}: {} bytes came",
            content.len()
        );
        server.logged(&["\"GET /large HTTP/1.1\"", "changed while it was sent"]);
    }
}

/// Ends what waits for it, also when the test fails.
struct OnDrop<'e>(&'e AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_never_see_a_mixture_while_a_file_is_rewritten() {
    for size in [3_000, 60_000, 300_000] {
        let server = Site::new().file("a.bin", vec![b'a'; size]).serve();
        let path = server.site().root().join("a.bin");
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut letter = b'a';
                while !ended.load(Ordering::Relaxed) {
                    letter = if letter == b'z' { b'a' } else { letter + 1 };
                    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                    // In place: no reader is safe from it by itself.
                    file.write_all_at(&vec![letter; size], 0).unwrap();
                    thread::sleep(Duration::from_millis(3));
                }
            });
            let _end = OnDrop(&ended);
            let mut whole = 0;
            for _ in 0..300 {
                let mut connection = server.connect();
                connection.send("GET /a.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                let answer = connection.read_to_end();
                let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
                // Closed before anything was sent: the file was changed in this moment.
                let Some(head) = head else { continue };
                let content = &answer[head + 4..];
                if answer.starts_with(b"HTTP/1.1 200 ") && content.len() == size {
                    whole += 1;
                    assert!(
                        content.iter().all(|byte| *byte == content[0]),
                        "a mixture of {size} bytes"
                    );
                }
            }
            assert!(whole > 0, "{size}: not one whole answer");
        });
    }
}

#[test]
fn a_root_that_is_swapped_is_followed_at_once() {
    let site = Site::new()
        .file("one/a.txt", "one")
        .file("two/a.txt", "two");
    let root = site.root();
    symlink("one", root.join("current")).unwrap();
    let server = site.configured("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT/current\"\n");
    for round in 0..50 {
        let (target, expected) = [("one", "one"), ("two", "two")][round % 2];
        symlink(target, root.join("next")).unwrap();
        fs::rename(root.join("next"), root.join("current")).unwrap();
        assert_eq!(server.get("/a.txt").text(), expected);
    }
    // And by a rename of the directory itself.
    fs::remove_file(root.join("current")).unwrap();
    assert_eq!(server.get("/a.txt").status(), 404);
    fs::rename(root.join("two"), root.join("current")).unwrap();
    assert_eq!(server.get("/a.txt").text(), "two");
}

#[test]
fn the_start_reads_nothing_of_the_tree() {
    let site = Site::new()
        .file("a.txt", "a")
        .file("below/b.txt", "b")
        .file("below/index.html", "index");
    let told = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    // Whether the root can be opened is found out; what is in it is not.
    inotify::add_watch(&told, site.root(), WatchFlags::ACCESS).unwrap();
    for name in ["a.txt", "below", "below/b.txt", "below/index.html"] {
        let path = site.root().join(name);
        inotify::add_watch(&told, path, WatchFlags::OPEN | WatchFlags::ACCESS).unwrap();
    }
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut opened = inotify::Reader::new(&told, &mut buffer);
    let server = site.serve();
    let first = opened.next().map(|event| format!("{event:?}"));
    assert_eq!(first, Err(Errno::AGAIN));
    assert_eq!(server.get("/below/b.txt").text(), "b");
    assert!(opened.next().is_ok());
}

#[test]
fn watches_that_are_used_up_are_told_once_and_every_edit_shows() {
    let names: Vec<_> = (0..20).map(|number| format!("{number}/a.txt")).collect();
    let site = names
        .iter()
        .fold(Site::new(), |site, name| site.file(name, "old"));
    let root = site.root();
    let config = site.config("[site.default]\nhosts = [\"*\"]\nroot = \"ROOT\"");
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let Some(server) = Server::start_with_inotify(("watches", 15), &arguments) else {
        return;
    };
    for text in ["old", "new", "newer"] {
        for name in &names {
            fs::write(root.join(name), text).unwrap();
            for _ in 0..3 {
                assert_eq!(server.get(&format!("/{name}")).text(), text, "{name}");
            }
        }
    }
    assert_eq!(server.get("/last").status(), 404);
    server.logged(&["/last"]);
    assert_eq!(server.count_logged("no more files can be watched"), 1);
}
