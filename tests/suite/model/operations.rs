//! What people and programs do to files, each once at a time, picked at random.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags};

use crate::support::write_through_mapping;

use super::{
    plot::{ELSEWHERE, Plot, SITES, SMALL, asked},
    tree::Id,
};

/// What is written before it gets its name.
pub const NEXT: &str = ".next";

impl Plot {
    /// Some operation; nothing where it does not fit what is there.
    pub fn operate(&mut self) {
        if self.random.percent(2) {
            self.rest();
        }
        // An operation that has nothing to do returns early.
        let _ = match self.random.below(200) {
            0..=29 => self.replace(),
            30..=49 => self.rewrite(),
            50..=69 => self.write_in_place(),
            70..=79 => self.append(),
            80..=87 => self.truncate(),
            88..=99 => self.unlink(),
            100..=107 => self.rename(),
            108..=112 => self.exchange(),
            113..=119 => self.link_elsewhere(),
            120..=127 => self.write_elsewhere(),
            128..=131 => self.link_from_elsewhere(),
            132..=137 => self.close_and_open(),
            138..=141 => self.close_and_open_directory(),
            142..=147 => self.make_or_remove_directory(),
            148..=152 => self.move_directory(),
            153..=155 => self.exchange_directories(),
            156..=158 => self.turn_file_into_directory(),
            159..=166 => self.turn_link(),
            167..=170 => self.turn_directory_link(),
            171..=173 => self.deploy(),
            174 => self.move_root(),
            175 => self.exchange_roots(),
            176..=179 => self.copy_into(),
            180..=184 => self.punch_or_extend(),
            185..=188 => self.write_after_rename(),
            189..=191 => self.link_unnamed(),
            192..=197 => self.change_stored(),
            _ if self.random.percent(30) => self.map(),
            _ => self.flood(),
        };
    }

    /// Nothing for a moment, so that files come to rest and answers are remembered.
    fn rest(&mut self) {
        let paths = asked();
        for _ in 0..3 {
            for path in &paths {
                self.asker.ask(path);
            }
        }
    }

    fn replace(&mut self) -> Option<()> {
        let path = self.place()?;
        let content = self.content(&path);
        let directory = super::tree::split(&path).0.to_owned();
        // Some write beside the file, some elsewhere.
        let near = self.random.percent(50).then_some(directory);
        let next = self.real(&near.unwrap_or_default()).join(NEXT);
        fs::write(&next, &content).expect("a file");
        let real = self.real(&path);
        self.step(
            format!("rename {} bytes over {path}", content.len()),
            |tree| _ = tree.put_file(&path, &content),
            || fs::rename(&next, &real),
        );
        Some(())
    }

    fn rewrite(&mut self) -> Option<()> {
        let path = self.place_to_write()?;
        let content = self.content(&path);
        let old = match self.tree.find_itself(&path) {
            Ok(id) => Some(self.tree.file(&path).map(|_| id)?),
            Err(_) => None,
        };
        let mut id = 0;
        let mut file = None;
        let real = self.real(&path);
        self.step(
            format!("create {path}, or truncate it"),
            |tree| match old {
                Some(old) => {
                    id = old;
                    tree.set_content(id, Some([].into()));
                }
                None => id = tree.put_file(&path, &[]),
            },
            || {
                file = Some(File::create(&real)?);
                Ok(())
            },
        );
        self.fill(&path, id, &file?, &content);
        Some(())
    }

    fn write_in_place(&mut self) -> Option<()> {
        let (path, id, _) = self.small_file()?;
        let file = self.opened(&path);
        let time = file.metadata().and_then(|data| data.modified());
        self.write_over(&path, id, &file);
        if self.random.percent(40) {
            self.set_time(&path, time.expect("a time"));
        }
        if self.random.percent(40) {
            // At once, in the same tick of the clock.
            self.write_over(&path, id, &file);
        }
        Some(())
    }

    fn append(&mut self) -> Option<()> {
        let (path, id, old) = self.file()?;
        let more = self.random.below(4_000).max(1);
        let more = self.content_of(&path, more);
        let content = [&old, &*more].concat();
        let real = self.real(&path);
        self.step(
            format!("append {} bytes to {path}", more.len()),
            |tree| tree.set_content(id, Some(content.into())),
            || OpenOptions::new().append(true).open(real)?.write_all(&more),
        );
        Some(())
    }

    fn truncate(&mut self) -> Option<()> {
        let (path, id, old) = self.small_file()?;
        let length = self.random.below(old.len() + 500);
        let mut content = old.to_vec();
        content.resize(length, 0);
        let file = self.opened(&path);
        self.step(
            format!("truncate {path} to {length}"),
            |tree| tree.set_content(id, Some(content.into())),
            || file.set_len(u64::try_from(length).expect("small")),
        );
        Some(())
    }

    fn unlink(&mut self) -> Option<()> {
        let path = self.place()?;
        self.tree.find_itself(&path).ok()?;
        let real = self.real(&path);
        self.step(
            format!("unlink {path}"),
            |tree| _ = tree.take(&path),
            || fs::remove_file(&real),
        );
        Some(())
    }

    fn rename(&mut self) -> Option<()> {
        let (from, to) = (self.place()?, self.place()?);
        let (moved, _) = self.tree.file(&from)?;
        // Two names of one file: nothing would happen.
        if self.tree.find_itself(&to) == Ok(moved) {
            return None;
        }
        let (real_from, real_to) = (self.real(&from), self.real(&to));
        self.step(
            format!("rename {from} to {to}"),
            |tree| tree.rename(&from, &to),
            || fs::rename(&real_from, &real_to),
        );
        Some(())
    }

    fn exchange(&mut self) -> Option<()> {
        let (one, other) = (self.place()?, self.place()?);
        self.tree.file(&one).and(self.tree.file(&other))?;
        self.swap(&one, &other)
    }

    pub fn swap(&mut self, one: &str, other: &str) -> Option<()> {
        let (first, second) = (
            self.tree.find_itself(one).ok()?,
            self.tree.find_itself(other).ok()?,
        );
        if first == second {
            return None;
        }
        let (real_one, real_other) = (self.real(one), self.real(other));
        self.step(
            format!("exchange {one} and {other}"),
            |tree| tree.exchange(one, other),
            || {
                let flags = RenameFlags::EXCHANGE;
                Ok(rustix::fs::renameat_with(
                    CWD,
                    &real_one,
                    CWD,
                    &real_other,
                    flags,
                )?)
            },
        );
        Some(())
    }

    fn link_elsewhere(&mut self) -> Option<()> {
        let path = self.place()?;
        let (id, _) = self.tree.file(&path)?;
        let link = self.elsewhere();
        let (real, real_link) = (self.real(&path), self.real(&link));
        let _ = fs::remove_file(&real_link);
        self.step(
            format!("link {path} to {link}"),
            |tree| tree.put(&link, id),
            || fs::hard_link(&real, &real_link),
        );
        Some(())
    }

    fn write_elsewhere(&mut self) -> Option<()> {
        let path = self.elsewhere();
        let (id, file) = self.tree.file(&path)?;
        file.content.as_ref().filter(|old| old.len() <= SMALL)?;
        let file = self.opened(&path);
        self.write_over(&path, id, &file);
        Some(())
    }

    fn link_from_elsewhere(&mut self) -> Option<()> {
        let (link, path) = (self.elsewhere(), self.place()?);
        let (id, _) = self.tree.file(&link)?;
        if self.tree.find_itself(&path) == Ok(id) {
            return None;
        }
        let (real_link, real) = (self.real(&link), self.real(&path));
        let next = self.real(NEXT);
        let _ = fs::remove_file(&next);
        fs::hard_link(&real_link, &next).expect("a link");
        self.step(
            format!("rename a link of {link} over {path}"),
            |tree| tree.put(&path, id),
            || fs::rename(&next, &real),
        );
        Some(())
    }

    fn elsewhere(&mut self) -> String {
        format!("{ELSEWHERE}/{}", self.random.below(3))
    }

    fn close_and_open(&mut self) -> Option<()> {
        let (path, id, _) = self.file()?;
        self.chmod(&path, id, false);
        self.chmod(&path, id, true);
        Some(())
    }

    fn copy_into(&mut self) -> Option<()> {
        let (path, id, old) = self.small_file()?;
        let new = self.content_of(&path, old.len());
        let source = self.real(NEXT);
        fs::write(&source, &new).expect("a file");
        let source = File::open(source).expect("a file");
        let file = self.opened(&path);
        let is_sent = self.random.percent(50);
        let copy = || {
            let mut left = new.len();
            while left > 0 {
                left -= if is_sent {
                    rustix::fs::sendfile(&file, &source, None, left)?
                } else {
                    rustix::fs::copy_file_range(&source, None, &file, None, left)?
                };
            }
            Ok(())
        };
        self.while_anything(&format!("copy into {path}"), id, &new, copy);
        Some(())
    }

    fn map(&mut self) -> Option<()> {
        let (path, id, old) = self.small_file().filter(|(_, _, old)| !old.is_empty())?;
        let new = self.content_of(&path, old.len());
        let real = self.real(&path);
        let write = || write_through_mapping(&real, &new);
        self.while_anything(&format!("map {path}"), id, &new, write);
        Some(())
    }

    /// An operation in whose course the content may be any mixture of old and new.
    fn while_anything(
        &mut self,
        what: &str,
        id: Id,
        new: &[u8],
        act: impl FnOnce() -> io::Result<()>,
    ) {
        let begin = format!("begin to {what}");
        self.step(begin, |tree| tree.set_content(id, None), || Ok(()));
        self.step(what, |tree| tree.set_content(id, Some(new.into())), act);
    }

    fn punch_or_extend(&mut self) -> Option<()> {
        let (path, id, old) = self.small_file().filter(|(_, _, old)| !old.is_empty())?;
        let mut content = old.to_vec();
        let begin = self.random.below(old.len());
        let end;
        let flags;
        if self.random.percent(60) {
            end = begin + 1 + self.random.below(old.len() - begin);
            flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            content[begin..end].fill(0);
        } else {
            end = old.len() + self.random.below(500);
            flags = FallocateFlags::empty();
            content.resize(end, 0);
        }
        let file = self.opened(&path);
        let [offset, length] = [begin, end - begin].map(|n| u64::try_from(n).expect("small"));
        self.step(
            format!("fallocate {path} from {begin} to {end} with {flags:?}"),
            |tree| tree.set_content(id, Some(content.into())),
            || Ok(rustix::fs::fallocate(&file, flags, offset, length)?),
        );
        Some(())
    }

    fn write_after_rename(&mut self) -> Option<()> {
        let (from, to) = (self.place()?, self.place()?);
        let (id, file) = self.tree.file(&from)?;
        file.content.as_ref().filter(|old| old.len() <= SMALL)?;
        if self.tree.find_itself(&to) == Ok(id) {
            return None;
        }
        let file = self.opened(&from);
        let (real_from, real_to) = (self.real(&from), self.real(&to));
        self.step(
            format!("rename {from}, which is open, to {to}"),
            |tree| tree.rename(&from, &to),
            || fs::rename(&real_from, &real_to),
        );
        self.write_over(&to, id, &file);
        Some(())
    }

    /// A file that has no name until it is whole.
    fn link_unnamed(&mut self) -> Option<()> {
        let path = self.place()?;
        let content = self.content(&path);
        let directory = self.real(super::tree::split(&path).0);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&directory, flags, Mode::from_raw_mode(0o644));
        // Some filesystems have none.
        let file = File::from(file.ok()?);
        (&file).write_all(&content).expect("written");
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        if self.tree.find_itself(&path).is_ok() {
            let real = self.real(&path);
            self.step(
                format!("unlink {path}"),
                |tree| _ = tree.take(&path),
                || fs::remove_file(&real),
            );
        }
        let real = self.real(&path);
        self.step(
            format!("give an unnamed file the name {path}"),
            |tree| _ = tree.put_file(&path, &content),
            || {
                Ok(rustix::fs::linkat(
                    CWD,
                    &name,
                    CWD,
                    &real,
                    AtFlags::SYMLINK_FOLLOW,
                )?)
            },
        );
        Some(())
    }

    /// More events than the kernel keeps, and then one more.
    fn flood(&mut self) -> Option<()> {
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
        let limit: usize = limit.expect("inotify").trim().parse().expect("a number");
        let directory = self.real(self.tree.directory(SITES[0]).map(|_| SITES[0])?);
        // The kernel keeps one of two that are alike.
        let files = [1, 2].map(|n| File::create(directory.join(format!(".{n}"))).expect("a file"));
        for n in 0..limit + 10 {
            (&files[n % 2]).write_all(b"x").expect("written");
            if n % 1000 == 0 {
                for file in &files {
                    file.set_len(0).expect("empty");
                }
            }
        }
        self.replace()
    }

    fn opened(&self, path: &str) -> File {
        let options = OpenOptions::new().write(true).open(self.real(path));
        options.unwrap_or_else(|error| panic!("opening {path}: {error}"))
    }
}
