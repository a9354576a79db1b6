//! A small file system in memory, and what a server must answer over it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What the server's root is called in the base directory.
pub const ROOT: &str = "current";

/// Names that may lie in any directory.
pub const NAMES: [&str; 6] = [
    "a.txt",
    "b.html",
    "c.bin",
    "index.html",
    "link.txt",
    "page.css",
];

/// So many links are followed: the model's trees have no loops, but a look-up must end.
const LINKS: usize = 8;

pub type Id = usize;

/// The bytes of a file; none while they may be anything, since somebody writes through a mapping.
pub type Content = Option<Arc<[u8]>>;

#[derive(Debug, Clone)]
pub enum Node {
    File(File),
    Directory(Directory),
    Link(String),
}

#[derive(Debug, Clone)]
pub struct File {
    pub content: Content,
    pub is_open: bool,
    /// Set where it matters: for a file and the sibling that is its compressed form.
    pub modified: u64,
}

#[derive(Debug, Clone)]
pub struct Directory {
    pub entries: BTreeMap<String, Id>,
    pub is_open: bool,
}

/// Why a path names nothing that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    Absent,
    Denied,
}

/// What a request must be answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A file.
    Content {
        plain: Content,
        /// The bytes of its current sibling `.gz`.
        stored: Content,
    },
    /// The names of a directory that are never hidden.
    Listing(BTreeSet<String>),
    Status(u16),
}

/// Directories, files and links. Cheap to copy: what did not change is shared.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: BTreeMap<Id, Arc<Node>>,
    next: Id,
}

const BASE: Id = 0;

impl Tree {
    /// An empty base directory.
    pub fn new() -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
            next: BASE,
        };
        tree.add(Node::Directory(Directory {
            entries: BTreeMap::new(),
            is_open: true,
        }));
        tree
    }

    fn add(&mut self, node: Node) -> Id {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, Arc::new(node));
        id
    }

    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        Arc::make_mut(self.nodes.get_mut(&id).expect("a node"))
    }

    /// What a path names, with or without following a link at its end.
    pub fn find(&self, path: &str) -> Result<Id, Miss> {
        self.walk(BASE, path, true, LINKS)
    }

    pub fn find_itself(&self, path: &str) -> Result<Id, Miss> {
        self.walk(BASE, path, false, LINKS)
    }

    fn walk(&self, start: Id, path: &str, follow_last: bool, links: usize) -> Result<Id, Miss> {
        let mut here = start;
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let Node::Directory(directory) = self.node(here) else {
                return Err(Miss::Absent);
            };
            if !directory.is_open {
                return Err(Miss::Denied);
            }
            let found = *directory.entries.get(name).ok_or(Miss::Absent)?;
            here = match self.node(found) {
                Node::Link(target) if follow_last || names.peek().is_some() => {
                    let left = links.checked_sub(1).ok_or(Miss::Absent)?;
                    self.walk(here, target, true, left)?
                }
                _ => found,
            };
        }
        Ok(here)
    }

    /// The file at a path that is no link, if it can be read.
    pub fn file(&self, path: &str) -> Option<(Id, &File)> {
        let id = self.find_itself(path).ok()?;
        match self.node(id) {
            Node::File(file) if file.is_open => Some((id, file)),
            _ => None,
        }
    }

    /// The directory at a path that is no link, if it can be searched.
    pub fn directory(&self, path: &str) -> Option<(Id, &Directory)> {
        let id = self.find_itself(path).ok()?;
        match self.node(id) {
            Node::Directory(directory) if directory.is_open => Some((id, directory)),
            _ => None,
        }
    }

    /// Gives a name to a node, in the place of what has it.
    pub fn put(&mut self, path: &str, id: Id) {
        self.name(path, id);
        self.forget_unnamed();
    }

    fn name(&mut self, path: &str, id: Id) {
        let (parent, name) = split(path);
        let parent = self.find(parent).expect("a directory");
        let Node::Directory(directory) = self.node_mut(parent) else {
            panic!("{path} is in no directory");
        };
        directory.entries.insert(name.to_owned(), id);
    }

    pub fn put_file(&mut self, path: &str, content: &[u8]) -> Id {
        let id = self.add(Node::File(File {
            content: Some(content.into()),
            is_open: true,
            modified: 0,
        }));
        self.put(path, id);
        id
    }

    pub fn put_directory(&mut self, path: &str) {
        let id = self.add(Node::Directory(Directory {
            entries: BTreeMap::new(),
            is_open: true,
        }));
        self.put(path, id);
    }

    pub fn put_link(&mut self, path: &str, target: &str) {
        let id = self.add(Node::Link(target.to_owned()));
        self.put(path, id);
    }

    /// Takes a name away, and returns what had it.
    pub fn take(&mut self, path: &str) -> Id {
        let (parent, name) = split(path);
        let parent = self.find(parent).expect("a directory");
        let Node::Directory(directory) = self.node_mut(parent) else {
            panic!("{path} is in no directory");
        };
        directory.entries.remove(name).expect("a name")
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        let id = self.take(from);
        self.put(to, id);
    }

    pub fn exchange(&mut self, one: &str, other: &str) {
        let first = self.take(one);
        let second = self.take(other);
        self.name(one, second);
        self.name(other, first);
    }

    pub fn set_content(&mut self, id: Id, content: Content) {
        if let Node::File(file) = self.node_mut(id) {
            file.content = content;
        }
    }

    pub fn set_open(&mut self, id: Id, open: bool) {
        match self.node_mut(id) {
            Node::File(file) => file.is_open = open,
            Node::Directory(directory) => directory.is_open = open,
            Node::Link(_) => {}
        }
    }

    fn forget_unnamed(&mut self) {
        let mut named = BTreeSet::from([BASE]);
        let mut open = vec![BASE];
        while let Some(id) = open.pop() {
            if let Node::Directory(directory) = self.node(id) {
                open.extend(directory.entries.values().filter(|id| named.insert(**id)));
            }
        }
        self.nodes.retain(|id, _| named.contains(id));
    }

    /// What a request for a path below the root must be answered with.
    pub fn answer(&self, path: &str) -> Answer {
        let is_directory = path.is_empty() || path.ends_with('/');
        let inner = format!("{ROOT}/{path}");
        let id = match self.find(&inner) {
            Ok(id) => id,
            Err(miss) => return miss.into(),
        };
        match self.node(id) {
            Node::File(_) if is_directory => Miss::Absent.into(),
            Node::File(file) => self.content(file, &inner),
            Node::Directory(_) if !is_directory => {
                let readable = |node: &Node| !matches!(node, Node::Directory(d) if !d.is_open);
                Answer::Status(if readable(self.node(id)) { 301 } else { 403 })
            }
            Node::Directory(directory) => {
                let index = format!("{inner}index.html");
                match self.find(&index).map(|id| self.node(id)) {
                    Err(Miss::Denied) => Miss::Denied.into(),
                    Ok(Node::File(file)) => self.content(file, &index),
                    _ => {
                        let names = directory.entries.keys();
                        Answer::Listing(names.filter(|n| is_listed(n)).cloned().collect())
                    }
                }
            }
            Node::Link(_) => unreachable!("links are followed"),
        }
    }

    fn content(&self, file: &File, path: &str) -> Answer {
        if !file.is_open {
            return Miss::Denied.into();
        }
        let sibling = self.find(&format!("{path}.gz")).map(|id| self.node(id));
        let stored = match sibling {
            Ok(Node::File(sibling)) if sibling.is_open && sibling.modified >= file.modified => {
                sibling.content.clone()
            }
            _ => None,
        };
        Answer::Content {
            plain: file.content.clone(),
            stored,
        }
    }
}

/// Whether a listing tells more of a name than that it may lead nowhere, as a link does.
pub fn is_listed(name: &str) -> bool {
    NAMES.contains(&name) && !name.starts_with("link")
}

impl From<Miss> for Answer {
    fn from(miss: Miss) -> Self {
        Self::Status(match miss {
            Miss::Absent => 404,
            Miss::Denied => 403,
        })
    }
}

pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
