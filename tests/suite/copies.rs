//! Larger files that are asked for often, of which the server has copies: every byte is the file's,
//! and none is of what it was.

use std::{fs, path::PathBuf, time::Instant};

use crate::{
    coherence::edits::{EDITS, NEW, OLD},
    support::{HANG, SITE, Server, Site},
};

/// A server that tells how much it keeps.
struct Keeping {
    server: Server,
    control: PathBuf,
}

impl Keeping {
    fn start(site: Site) -> Self {
        let control = site.directory().join("run/control");
        let config = site.config(SITE);
        let [config, path] = [&config, &control].map(|path| path.to_str().unwrap());
        let arguments = ["serve", "--config", config, "--control", path];
        let server = Server::start(&arguments).keep(site);
        Self { server, control }
    }

    fn used(&self) -> u64 {
        let control = self.control.to_str().unwrap();
        let outcome = Server::run(&["status", "--json", "--control", control]);
        let status: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        status["cache"]["used"].as_u64().unwrap()
    }

    /// Asks for the targets until so many bytes are kept. What was just written rests for two seconds
    /// before that.
    fn ask_until_kept(&self, targets: &[String], bytes: usize) {
        let begun = Instant::now();
        while self.used() < bytes as u64 {
            for target in targets.iter().flat_map(|target| [target; 8]) {
                assert_eq!(self.server.get(target).status(), 200);
            }
            assert!(begun.elapsed() < HANG, "{} of {bytes}", self.used());
        }
    }
}

fn content() -> Vec<u8> {
    let numbers = 0..100_000_u32;
    let mix = |n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8;
    numbers.map(mix).collect()
}

#[test]
fn every_byte_of_a_copy_is_the_files() {
    let content = content();
    let sizes = [65_537, 90_000, 100_000];
    let site = Site::new();
    let site = sizes.iter().fold(site, |site, size| {
        site.file(&format!("{size}.bin"), &content[..*size])
    });
    let keeping = Keeping::start(site);
    let targets = sizes.map(|size| format!("/{size}.bin"));
    let first = targets.each_ref().map(|target| keeping.server.get(target));
    keeping.ask_until_kept(&targets, sizes.iter().sum());
    for ((size, target), first) in sizes.into_iter().zip(&targets).zip(first) {
        let fields = |range: &str| format!("Range: bytes={range}\r\n");
        let get = |fields: &str| keeping.server.request("GET", target, fields, "");
        let whole = get("");
        assert_eq!(whole.content, content[..size]);
        for field in ["etag", "last-modified", "content-type", "accept-ranges"] {
            assert_eq!(whole.field(field), first.field(field), "{field}");
        }
        for (from, to) in [(0, 9), (64, 65_535), (0, size - 1), (65_530, size - 1)] {
            let part = get(&fields(&format!("{from}-{to}")));
            assert_eq!(part.status(), 206);
            assert_eq!(part.content, content[from..=to], "{from}-{to}");
        }
        let parts = get(&fields("0-0,5-65536"));
        let has = |bytes: &[u8]| parts.content.windows(bytes.len()).any(|part| part == bytes);
        assert!(has(&content[5..=65_536]));
        let head = keeping.server.request("HEAD", target, "", "");
        assert_eq!(head.field("content-length"), Some(&*size.to_string()));
    }
}

#[test]
fn every_way_to_edit_a_copied_file_shows_at_once() {
    let old = format!("{OLD}{}", "and more of it; ".repeat(6_000));
    let names = || (0..EDITS.len()).map(|number| format!("{number}/a.txt"));
    let site = names().fold(Site::new(), |site, name| site.file(&name, &old));
    let keeping = Keeping::start(site);
    let targets: Vec<_> = names().map(|name| format!("/{name}")).collect();
    keeping.ask_until_kept(&targets, EDITS.len() * old.len());
    let site = keeping.server.site();
    for ((name, edit), target) in EDITS.iter().zip(&targets) {
        let gzip = "Accept-Encoding: gzip\r\n";
        let [before, coded] =
            ["", gzip].map(|fields| keeping.server.request("GET", target, fields, ""));
        assert_eq!(before.text(), old, "{name}");
        edit(&site.root().join(&target[1..]), site.directory());
        let after = keeping.server.get(target);
        assert!(after.text().starts_with(NEW), "{name}");
        assert_ne!(after.field("etag"), before.field("etag"), "{name}");
        let tag = coded.field("etag").unwrap();
        let fields = format!("{gzip}If-None-Match: {tag}\r\n");
        assert_eq!(
            keeping.server.request("GET", target, &fields, "").status(),
            200,
            "{name}"
        );
    }
}

#[test]
fn what_was_replaced_is_not_kept_twice() {
    let content = content();
    let keeping = Keeping::start(Site::new().file("a.bin", &content));
    let path = keeping.server.site().root().join("a.bin");
    let target = ["/a.bin".to_owned()];
    for round in 1..3 {
        keeping.ask_until_kept(&target, content.len());
        fs::write(&path, &content[round..]).unwrap();
        assert_eq!(keeping.server.get(&target[0]).content, content[round..]);
        assert!(keeping.used() < content.len() as u64);
    }
}
