//! What happens to directories, to links and to the root.

use std::{fs, os::unix::fs::symlink};

use super::{
    operations::NEXT,
    plot::{DIRECTORIES, ELSEWHERE, Plot, SITES},
    tree::ROOT,
};

impl Plot {
    pub fn close_and_open_directory(&mut self) -> Option<()> {
        let path = self.subdirectory();
        let (id, _) = self.tree.directory(&path)?;
        self.chmod(&path, id, false);
        self.chmod(&path, id, true);
        Some(())
    }

    fn subdirectory(&mut self) -> String {
        format!("{}{}", self.site(), self.random.of(&DIRECTORIES[1..]))
    }

    pub fn make_or_remove_directory(&mut self) -> Option<()> {
        let path = self.subdirectory();
        let real = self.real(&path);
        self.tree.directory(super::tree::split(&path).0)?;
        match self.tree.directory(&path) {
            None => self.step(
                format!("make {path}"),
                |tree| tree.put_directory(&path),
                || fs::create_dir(&real),
            ),
            Some((_, directory)) if directory.entries.is_empty() => self.step(
                format!("remove {path}"),
                |tree| _ = tree.take(&path),
                || {
                    // What was on its way to a name in it.
                    let _ = fs::remove_file(real.join(NEXT));
                    fs::remove_dir(&real)
                },
            ),
            Some(_) => return None,
        }
        Some(())
    }

    pub fn move_directory(&mut self) -> Option<()> {
        let path = self.subdirectory();
        self.tree.directory(&path)?;
        let away = format!("{ELSEWHERE}/directory");
        let real_away = self.real(&away);
        if self.tree.find_itself(&away).is_ok() {
            self.tree.take(&away);
            fs::remove_dir_all(&real_away).expect("a directory");
        }
        let real = self.real(&path);
        self.step(
            format!("rename {path} to {away}"),
            |tree| tree.rename(&path, &away),
            || fs::rename(&real, &real_away),
        );
        match self.random.below(3) {
            0 => {}
            // Another in its place.
            1 => self.step(
                format!("make {path}"),
                |tree| tree.put_directory(&path),
                || fs::create_dir(&real),
            ),
            _ => self.step(
                format!("rename {away} to {path}"),
                |tree| tree.rename(&away, &path),
                || fs::rename(&real_away, &real),
            ),
        }
        Some(())
    }

    pub fn exchange_directories(&mut self) -> Option<()> {
        let below = self.random.of(&DIRECTORIES[1..]);
        let [one, other] = SITES.map(|site| format!("{site}{below}"));
        self.swap(&one, &other)
    }

    pub fn turn_file_into_directory(&mut self) -> Option<()> {
        let path = self.place().filter(|path| !path.contains("index"))?;
        let content = self.content(&path);
        let real = self.real(&path);
        if self.tree.find_itself(&path).is_ok() {
            self.step(
                format!("unlink {path}"),
                |tree| _ = tree.take(&path),
                || fs::remove_file(&real),
            );
        }
        self.step(
            format!("make {path} a directory"),
            |tree| tree.put_directory(&path),
            || fs::create_dir(&real),
        );
        self.step(
            format!("remove the directory {path}"),
            |tree| _ = tree.take(&path),
            || fs::remove_dir(&real),
        );
        let next = self.real(NEXT);
        fs::write(&next, &content).expect("a file");
        self.step(
            format!("make {path} a file"),
            |tree| _ = tree.put_file(&path, &content),
            || fs::rename(&next, &real),
        );
        Some(())
    }

    pub fn turn_link(&mut self) -> Option<()> {
        let path = self.place()?;
        let path = format!("{}/link.txt", super::tree::split(&path).0);
        let target = self.random.of(&["a.txt", "c.bin", "page.css", "sub/a.txt"]);
        self.put_link(&path, target)
    }

    pub fn turn_directory_link(&mut self) -> Option<()> {
        let path = format!("{}/ways", self.site());
        let target = self.random.of(&["sub", "sub/deep", "nothing"]);
        self.put_link(&path, target)
    }

    pub fn deploy(&mut self) -> Option<()> {
        let target = self.random.of(&SITES);
        self.put_link(ROOT, target)
    }

    fn put_link(&mut self, path: &str, target: &str) -> Option<()> {
        self.tree.directory(super::tree::split(path).0)?;
        let next = self.real(NEXT);
        let _ = fs::remove_file(&next);
        symlink(target, &next).expect("a link");
        let real = self.real(path);
        self.step(
            format!("link {path} to {target}"),
            |tree| tree.put_link(path, target),
            || fs::rename(&next, &real),
        );
        Some(())
    }

    pub fn move_root(&mut self) -> Option<()> {
        let path = self.site();
        self.tree.directory(path)?;
        let away = "away";
        let (real, real_away) = (self.real(path), self.real(away));
        self.step(
            format!("rename {path} to {away}"),
            |tree| tree.rename(path, away),
            || fs::rename(&real, &real_away),
        );
        self.step(
            format!("rename {away} to {path}"),
            |tree| tree.rename(away, path),
            || fs::rename(&real_away, &real),
        );
        Some(())
    }

    pub fn exchange_roots(&mut self) -> Option<()> {
        self.swap(SITES[0], SITES[1])
    }
}
