//! What the steps of a request cost by themselves: `cargo bench --bench micro`.
//!
//! Times say which step to look at; what a request costs in all is measured by `benches/run`.

use std::{fmt::Write, fs, sync::Arc};

use divan::{Bencher, black_box};
use http::{Request, request::Parts};
use pywebd::{
    config::{self, Source},
    files::{self, Cache, Look, Sight},
    fs::{Root, Wait},
    semantics::target::{Path, Target},
    site::{Site, Snapshot},
    transport::Listen,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::runtime;

const SITES: [usize; 3] = [1, 100, 10_000];
const FILE: &str = "/docs/guide/page.html";
const ABSENT: &str = "/docs/guide/absent.html";

fn main() {
    // Each site keeps its root open.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("more descriptors");
    divan::main();
}

/// Sites of a configuration, with rules, and a file in their root.
struct Sites {
    root: TempDir,
    snapshot: Snapshot,
    listener: Listen,
    cache: Arc<Cache>,
}

impl Sites {
    fn new(count: usize) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let directory = root.path().join("docs/guide");
        fs::create_dir_all(&directory).expect("directories");
        fs::write(directory.join("page.html"), [b'x'; 1024]).expect("a file");
        let mut text = String::from("version = 1\nserver.listen = [\"127.0.0.1:8000\"]\n");
        let path = root.path().display();
        for site in 0..count {
            writeln!(
                text,
                "[site.s{site}]\nhosts = [\"s{site}.example\"]\nroot = \"{path}\""
            )
            .expect("a String takes everything");
        }
        // A file of a configuration has 1 MiB at most; so only the site that is asked for has rules.
        let rules = "\"/docs/\" = { cache = \"1h\" }\n\"*.inc\" = { deny = true }";
        writeln!(text, "[site.s{}.path]\n{rules}", count / 2).expect("a String takes everything");
        let file = root.path().join("pywebd.toml");
        fs::write(&file, text).expect("a file");
        let loaded = config::load(&Source::File(file), &|_| None);
        let snapshot = loaded.snapshot.expect("a configuration without errors");
        Self {
            listener: snapshot.listen[0].clone(),
            cache: Arc::new(Cache::new(snapshot.cache)),
            root,
            snapshot,
        }
    }

    fn site(&self, target: &Target<'_>) -> &Site {
        let host = target.authority.as_ref().map(|authority| &authority.host);
        let id = self.snapshot.select(&self.listener, host);
        &self.snapshot[id.expect("a site for the host")]
    }
}

/// What a browser asks.
fn head(site: usize, path: &str) -> Parts {
    let request = Request::builder()
        .uri(path)
        .header("host", format!("s{site}.example"))
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .header("accept-language", "en-US,en;q=0.5")
        .header("connection", "keep-alive");
    request.body(()).expect("a request").into_parts().0
}

#[divan::bench]
fn parse_a_target(bencher: Bencher) {
    let head = head(0, FILE);
    bencher.bench_local(|| Target::parse(black_box(&head)).is_ok());
}

#[divan::bench(args = SITES)]
fn find_the_site_and_the_route(bencher: Bencher, count: usize) {
    let sites = Sites::new(count);
    let head = head(count / 2, FILE);
    let target = Target::parse(&head).expect("a target");
    bencher.bench_local(|| {
        let site = sites.site(black_box(&target));
        site.routes.find(target.path.as_bytes())
    });
}

#[divan::bench]
fn open_beneath_the_root(bencher: Bencher) {
    let sites = Sites::new(1);
    let root = Root::new(sites.root.path());
    let name = &FILE.as_bytes()[1..];
    bencher.bench_local(|| root.open(black_box(name), Wait::Allowed).expect("the file"));
}

/// Whether anything has happened since the last request.
#[divan::bench]
fn look_at_what_has_happened(bencher: Bencher) {
    let sites = Sites::new(1);
    locate(&sites, FILE, sites.cache.current().as_ref());
    bencher.bench_local(|| sites.cache.current().is_some());
}

#[divan::bench(args = [FILE, ABSENT])]
fn locate_what_is_known(bencher: Bencher, path: &str) {
    let sites = Sites::new(1);
    remember(&sites, path);
    bencher.bench_local(|| locate(&sites, black_box(path), Some(&Sight::of(&sites.cache))));
}

#[divan::bench(args = [FILE, ABSENT])]
fn locate_without_a_cache(bencher: Bencher, path: &str) {
    let sites = Sites::new(1);
    bencher.bench_local(|| locate(&sites, black_box(path), None));
}

#[divan::bench]
fn answer_with_a_known_file(bencher: Bencher) {
    let sites = Sites::new(1);
    remember(&sites, FILE);
    let (runtime, head) = (runtime(), head(0, FILE));
    bencher.bench_local(|| runtime.block_on(answer(&sites, black_box(&head))));
}

/// Whether a file is found.
fn locate(sites: &Sites, path: &str, cache: Option<&Sight<'_>>) -> bool {
    let path = Path::parse(path).expect("a path");
    let site = &sites.snapshot.sites[0];
    let options = site.routes.files(site.routes.find(path.as_bytes()));
    let wait = Wait::Allowed;
    files::locate(options, &path, Look { wait, cache }).is_ok()
}

async fn answer(sites: &Sites, head: &Parts) {
    let path = Path::parse(head.uri.path()).expect("a path");
    let site = &sites.snapshot.sites[0];
    let options = site.routes.files(site.routes.find(path.as_bytes()));
    let sight = sites.cache.current();
    let look = Look {
        wait: Wait::Allowed,
        cache: sight.as_ref(),
    };
    let found = files::locate(options, &path, look).expect("the file");
    let answered = files::respond(found, options, &path, head, look.cache).await;
    answered.expect("an answer");
}

/// Has a name known, and of a file its content.
fn remember(sites: &Sites, path: &str) {
    if locate(sites, path, sites.cache.current().as_ref()) {
        runtime().block_on(answer(sites, &head(0, path)));
    }
}

fn runtime() -> runtime::Runtime {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}
