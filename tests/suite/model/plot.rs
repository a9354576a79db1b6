//! A site that one thread changes, in its tree and on the disk alike.

use std::{
    fmt::Display,
    fs::{self, File, FileTimes},
    io::{self, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    asker::Asker,
    history::History,
    random::Random,
    tree::{Id, NAMES, Node, ROOT, Tree},
};

/// The two trees that the root may be.
pub const SITES: [&str; 2] = ["one", "two"];

/// The directories of a site.
pub const DIRECTORIES: [&str; 3] = ["", "/sub", "/sub/deep"];

/// A file with a sibling that is its compressed form, in the site itself.
pub const STORED: &str = "stored.css";

/// Content up to this length is written over in place: what is longer is sent by reference once the
/// file rests, and such a write shows in what is on its way (ARCHITECTURE.md, "The path of a file").
pub const SMALL: usize = 64 * 1024;

/// Where files lie that have names outside of every site as well.
pub const ELSEWHERE: &str = "elsewhere";

/// One more way to the first site, where the machine lets us mount it.
pub const BOUND: &str = "bound";

/// The thread's own site.
pub struct Plot {
    pub base: PathBuf,
    pub tree: Tree,
    pub history: Arc<History>,
    pub random: Random,
    pub asker: Asker,
    pub is_bound: bool,
    /// How many contents were made, so that no two are the same.
    pub generation: usize,
}

/// Makes a site, in a tree and on the disk.
pub fn plant(base: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    for directory in [SITES[0], SITES[1], ELSEWHERE] {
        fs::create_dir(base.join(directory))?;
        tree.put_directory(directory);
    }
    std::os::unix::fs::symlink(SITES[0], base.join(ROOT))?;
    tree.put_link(ROOT, SITES[0]);
    for site in SITES {
        for directory in &DIRECTORIES[1..] {
            fs::create_dir(base.join(format!("{site}{directory}")))?;
            tree.put_directory(&format!("{site}{directory}"));
        }
        for directory in DIRECTORIES {
            // Half of the names have a file; a directory without an index is listed.
            for name in NAMES.iter().step_by(2) {
                let path = format!("{site}{directory}/{name}");
                fs::write(base.join(&path), path.repeat(50))?;
                tree.put_file(&path, path.repeat(50).as_bytes());
            }
        }
    }
    Ok(tree)
}

/// All paths that are asked for.
pub fn asked() -> Vec<String> {
    let mut paths = vec![STORED.to_owned(), "sub".to_owned()];
    for directory in ["", "sub/", "sub/deep/", "ways/", "nothing/"] {
        paths.push(directory.to_owned());
        let names = NAMES.iter().filter(|_| directory != "nothing/");
        paths.extend(names.map(|name| format!("{directory}{name}")));
    }
    paths
}

impl Plot {
    /// A site that was planted.
    pub fn new(base: &Path, asker: Asker, random: Random) -> Self {
        let tree = asker.history.last();
        Self {
            base: base.to_owned(),
            is_bound: tree.find(BOUND).is_ok(),
            tree,
            history: Arc::clone(&asker.history),
            random,
            asker,
            generation: 0,
        }
    }

    pub fn real(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// One operation that has happened when it returns, and not before it begins. What it changes is
    /// asked for before, so that the server may remember it, and after.
    pub fn step(
        &mut self,
        what: impl Display,
        change: impl FnOnce(&mut Tree),
        act: impl FnOnce() -> io::Result<()>,
    ) {
        let mut next = self.tree.clone();
        change(&mut next);
        let mut changed = asked();
        changed.retain(|path| self.tree.answer(path) != next.answer(path));
        while changed.len() > 3 {
            changed.swap_remove(self.random.below(changed.len()));
        }
        for _ in 0..self.random.below(3) {
            for path in &changed {
                self.asker.ask(path);
            }
        }
        self.tree = next.clone();
        self.history.begin(what.to_string(), next);
        act().unwrap_or_else(|error| panic!("{what}: {error}\n{}", self.history.told(0)));
        self.history.settle();
        if self.random.percent(30) {
            let mut any = asked();
            changed.push(any.swap_remove(self.random.below(any.len())));
        }
        for path in &changed {
            self.asker.ask(path);
        }
    }

    /// The site that is served, mostly.
    pub fn site(&mut self) -> &'static str {
        let served = match self.tree.find_itself(ROOT).map(|id| self.tree.node(id)) {
            Ok(Node::Link(target)) if target == SITES[1] => SITES[1],
            _ => SITES[0],
        };
        if self.random.percent(80) {
            return served;
        }
        self.random.of(&SITES)
    }

    /// A name in a directory that is there, for a file.
    pub fn place(&mut self) -> Option<String> {
        let site = self.site();
        let directory = format!("{site}{}", self.random.of(&DIRECTORIES));
        let name = self.random.of(&NAMES);
        let path = format!("{directory}/{name}");
        self.tree.directory(&directory)?;
        let is_directory = |id| matches!(self.tree.node(id), Node::Directory(_));
        let found = self.tree.find_itself(&path);
        (!found.is_ok_and(is_directory)).then_some(path)
    }

    /// The same, perhaps by the other way to it, over which nothing can be renamed or linked.
    pub fn place_to_write(&mut self) -> Option<String> {
        let place = self.place()?;
        if self.is_bound && self.random.percent(30) {
            let path = place.replacen(SITES[0], BOUND, 1);
            let (directory, _) = super::tree::split(&path);
            self.tree.directory(directory)?;
            let is_link = |id| !matches!(self.tree.node(id), Node::File(_));
            return (!self.tree.find_itself(&path).is_ok_and(is_link)).then_some(path);
        }
        Some(place)
    }

    /// A file that is there, with its content.
    pub fn file(&mut self) -> Option<(String, Id, Arc<[u8]>)> {
        for _ in 0..8 {
            if let Some(path) = self.place_to_write()
                && let Some((id, file)) = self.tree.file(&path)
                && let Some(content) = file.content.clone()
            {
                return Some((path, id, content));
            }
        }
        None
    }

    /// The same, of a size that may be changed in place.
    pub fn small_file(&mut self) -> Option<(String, Id, Arc<[u8]>)> {
        self.file().filter(|(_, _, content)| content.len() <= SMALL)
    }

    /// New content of some length, that tells what it is.
    pub fn content(&mut self, path: &str) -> Vec<u8> {
        let length = match self.random.below(100) {
            0..=4 => 0,
            5..=24 => self.random.below(300),
            25..=69 => 900 + self.random.below(6_000),
            70..=86 => self.random.below(SMALL),
            87..=91 => SMALL - 1 + self.random.below(3),
            _ => SMALL + self.random.below(150_000),
        };
        self.content_of(path, length)
    }

    pub fn content_of(&mut self, path: &str, length: usize) -> Vec<u8> {
        self.generation += 1;
        let told = format!("{path} {:06} of {length};", self.generation);
        let mut content = told.repeat(length.div_ceil(told.len())).into_bytes();
        content.truncate(length);
        content
    }

    /// Puts new content into an open file, in some pieces.
    pub fn fill(&mut self, path: &str, id: Id, mut file: &File, content: &[u8]) {
        let pieces = 1 + self.random.below(3);
        let size = content.len().div_ceil(pieces).max(1);
        let mut end = 0;
        for piece in content.chunks(size) {
            end += piece.len();
            self.step(
                format!("write to {path} until {end} of {}", content.len()),
                |tree| tree.set_content(id, Some(content[..end].into())),
                || file.write_all(piece),
            );
        }
    }

    /// Writes over what is there, in some pieces.
    pub fn write_over(&mut self, path: &str, id: Id, file: &File) {
        let Node::File(super::tree::File {
            content: Some(content),
            ..
        }) = self.tree.node(id)
        else {
            return;
        };
        let mut content = content.to_vec();
        let new = self.content_of(path, content.len());
        let size = new.len().div_ceil(1 + self.random.below(3)).max(1);
        for (at, piece) in new.chunks(size).enumerate() {
            let offset = at * size;
            content[offset..offset + piece.len()].copy_from_slice(piece);
            self.step(
                format!("write over {path} from {offset}"),
                |tree| tree.set_content(id, Some(content.as_slice().into())),
                || file.write_all_at(piece, u64::try_from(offset).expect("small")),
            );
        }
    }

    /// Sets the time of a file to another, which changes no answer.
    pub fn set_time(&mut self, path: &str, time: SystemTime) {
        let real = self.real(path);
        let set = || File::open(&real)?.set_times(FileTimes::new().set_modified(time));
        self.step(format!("set the time of {path}"), |_| {}, set);
    }

    pub fn chmod(&mut self, path: &str, id: Id, open: bool) {
        let closed = if open { "open" } else { "close" };
        let mode = match (open, self.tree.node(id)) {
            (false, _) => 0,
            (true, Node::Directory(_)) => 0o755,
            (true, _) => 0o644,
        };
        let real = self.real(path);
        self.step(
            format!("{closed} {path}"),
            |tree| tree.set_open(id, open),
            || fs::set_permissions(&real, fs::Permissions::from_mode(mode)),
        );
    }

    /// A moment that is earlier or later than every other.
    pub fn moment(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000 + seconds)
    }
}
