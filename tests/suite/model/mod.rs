//! The coherence of what is served with what is on the disk: threads do to files at random what people
//! and programs do, each in a site of its own, and every answer must be that of a state which the
//! site had between the request and its answer.
//!
//! `PYWEBD_MODEL_SEED` makes it the same again, but for the order of the threads; with
//! `PYWEBD_MODEL_ANSWERS` it is longer. `PYWEBD_MODEL_MOUNT` lays an overlay over each site (`overlay`) or
//! mounts a second way to a part of it (`bind`). The files lie in `TMPDIR`.

#![allow(clippy::print_stdout)]

mod asker;
mod client;
mod directories;
mod history;
mod operations;
mod plot;
mod random;
mod stored;
mod tree;

use std::{
    env, fs,
    path::Path,
    process::Command,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::SystemTime,
};

use crate::support::Site;
use asker::{Asker, Tally};
use client::Client;
use history::History;
use plot::{BOUND, Plot, SITES};
use random::Random;

/// Sites that are changed at once.
const PLOTS: usize = 3;

/// Connections that a thread keeps, so that each worker of the server has some.
const CONNECTIONS: usize = 6;

/// So many answers are looked at, which takes some seconds.
const ANSWERS: usize = 4_000;

#[test]
fn every_answer_is_of_a_moment_between_the_request_and_its_end() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = setting("SEED").unwrap_or_else(|| now.unwrap().as_secs());
    println!("PYWEBD_MODEL_SEED={seed}");
    let site = Site::new();
    let mut config = "server.workers = 2\n".to_owned();
    let mut plots = Vec::new();
    for n in 0..PLOTS {
        plots.push((n, site.root().join(n.to_string())));
        let of_site =
            "[site.sN]\nhosts = [\"sN.test\"]\nroot = \"ROOT/N/current\"\nlisting = true\n";
        config += &of_site.replace('N', &n.to_string());
    }
    let histories = plots
        .iter()
        .map(|(_, base)| planted(base))
        .collect::<Vec<_>>();
    let server = site.configured_as_nobody(&config);
    let end = Ending {
        left: AtomicUsize::new(setting("ANSWERS").unwrap_or(ANSWERS)),
    };
    let connections = setting("CONNECTIONS").unwrap_or(CONNECTIONS);
    let tallies: Vec<_> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for ((n, base), history) in plots.iter().zip(&histories) {
            let asker = |kind| {
                let seed = seed.wrapping_mul(100) + u64::try_from(n * 10 + kind).unwrap();
                let client = Client::new(server.address, connections);
                let host = format!("s{n}.test");
                Asker::new(client, host, Arc::clone(history), Random::new(seed))
            };
            let (changer, reader, end) = (asker(0), asker(1), &end);
            let random = Random::new(seed.wrapping_mul(100) + u64::try_from(*n).unwrap());
            threads.push(scope.spawn(move || change(base, changer, random, end)));
            threads.push(scope.spawn(move || read(reader, end)));
        }
        let ends = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ends.map(|end| end.expect("all answers are right"))
            .collect()
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (checks, strict) = (sum(|tally| tally.checks), sum(|tally| tally.strict));
    let broken = sum(|tally| tally.broken);
    println!("{checks} answers are right, {strict} of them the only right one, {broken} broke off");
    assert!(strict > 100 && strict < checks, "hardly anything was asked");
}

/// When the threads stop.
struct Ending {
    /// So many answers are still to be looked at.
    left: AtomicUsize,
}

impl Ending {
    fn has_come(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// So many answers more were right.
    fn count(&self, answers: usize) {
        let less = |left: usize| Some(left.saturating_sub(answers));
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Stops the others after a failure.
struct OnPanic<'e>(&'e Ending);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.left.store(0, Ordering::Relaxed);
        }
    }
}

/// Changes a site, and asks for what was changed.
fn change(base: &Path, asker: Asker, random: Random, end: &Ending) -> Tally {
    let _failure = OnPanic(end);
    let mut plot = Plot::new(base, asker, random);
    while !end.has_come() {
        let before = plot.asker.tally.checks;
        plot.operate();
        end.count(plot.asker.tally.checks - before);
    }
    plot.asker.tally
}

/// Asks for anything while it changes.
fn read(mut asker: Asker, end: &Ending) -> Tally {
    let _failure = OnPanic(end);
    let paths = plot::asked();
    while !end.has_come() {
        for path in &paths {
            asker.ask(path);
        }
        end.count(paths.len());
    }
    asker.tally
}

/// A new site in a directory, perhaps under an overlay or with a second way to a part of it.
fn planted(base: &Path) -> Arc<History> {
    fs::create_dir(base).unwrap();
    let mut tree = plot::plant(base).unwrap();
    match setting::<String>("MOUNT").as_deref() {
        None => {}
        Some("overlay") => {
            let [upper, work] = ["upper", "work"].map(|name| base.with_extension(name));
            fs::create_dir(&upper).unwrap();
            fs::create_dir(&work).unwrap();
            let [lower, upper, work] = [base, &upper, &work].map(Path::display);
            // Without the last option, directories of the lower layer could not be renamed.
            let layers =
                format!("lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=on");
            mount(
                ["-t", "overlay", "-o", &layers, "overlay"].map(Path::new),
                base,
            );
        }
        Some("bind") => {
            let bound = base.join(BOUND);
            fs::create_dir(&bound).unwrap();
            mount([Path::new("--bind"), &base.join(SITES[0])], &bound);
            let same = tree.find(SITES[0]).unwrap();
            tree.put(BOUND, same);
        }
        Some(other) => panic!("PYWEBD_MODEL_MOUNT is bind or overlay, not {other:?}"),
    }
    Arc::new(History::new(tree))
}

/// Mounts in this process's namespace, which has to be its own.
fn mount<const N: usize>(what: [&Path; N], place: &Path) {
    let outcome = Command::new("mount").args(what).arg(place).status();
    assert!(outcome.unwrap().success(), "{what:?} is not mounted");
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(format!("PYWEBD_MODEL_{name}")).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {value:?} does not fit")),
    )
}
