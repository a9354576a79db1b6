//! What happens to a file with a compressed sibling: either is replaced, aged, or removed.

use std::{
    fs::{self, File},
    io::Write,
};

use super::{
    operations::NEXT,
    plot::{Plot, STORED},
    tree::{Id, Node},
};

impl Plot {
    pub fn change_stored(&mut self) -> Option<()> {
        let site = self.site();
        self.tree.directory(site)?;
        let path = format!("{site}/{STORED}");
        let sibling = format!("{path}.gz");
        let modified = self.tree.file(&path).map(|(_, file)| file.modified);
        let Some(modified) = modified.filter(|_| self.random.percent(75)) else {
            let later = modified.unwrap_or(1) + self.moment_later();
            let content = self.content(&path);
            // A sibling that came to its place long before the file is none.
            self.renew(&sibling);
            self.put_stored(&path, &content, later);
            return Some(());
        };
        match (
            self.tree.file(&sibling).map(|(id, _)| id),
            self.random.below(4),
        ) {
            (Some(_), 0) => {
                let real = self.real(&sibling);
                self.step(
                    format!("unlink {sibling}"),
                    |tree| _ = tree.take(&sibling),
                    || fs::remove_file(&real),
                );
            }
            (Some(id), 1) => self.set_stored_time(&sibling, id, modified - 1),
            (Some(id), 2) => self.set_stored_time(&sibling, id, modified),
            _ => {
                let content = self.content(&sibling);
                let mut encoder =
                    flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
                encoder.write_all(&content).expect("memory");
                let content = encoder.finish().expect("memory");
                let later = modified + self.moment_later() % 2;
                self.put_stored(&sibling, &content, later);
            }
        }
        Some(())
    }

    fn moment_later(&mut self) -> u64 {
        1 + u64::try_from(self.random.below(5)).expect("few")
    }

    fn renew(&mut self, sibling: &str) {
        if let Some((id, _)) = self.tree.file(sibling) {
            self.chmod(sibling, id, true);
        }
    }

    /// Renames a file with a given time to its place.
    fn put_stored(&mut self, path: &str, content: &[u8], modified: u64) {
        let (next, real) = (self.real(NEXT), self.real(path));
        fs::write(&next, content).expect("a file");
        let file = File::open(&next).expect("a file");
        file.set_modified(Self::moment(modified)).expect("the time");
        self.step(
            format!(
                "rename {} bytes of time {modified} over {path}",
                content.len()
            ),
            |tree| {
                let id = tree.put_file(path, content);
                if let Node::File(file) = tree.node_mut(id) {
                    file.modified = modified;
                }
            },
            || fs::rename(&next, &real),
        );
    }

    fn set_stored_time(&mut self, path: &str, id: Id, modified: u64) {
        let file = File::open(self.real(path)).expect("a file");
        self.step(
            format!("set the time of {path} to {modified}"),
            |tree| {
                if let Node::File(file) = tree.node_mut(id) {
                    file.modified = modified;
                }
            },
            || file.set_modified(Self::moment(modified)),
        );
    }
}
