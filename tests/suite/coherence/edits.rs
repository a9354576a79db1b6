//! Ways to change the content of a file.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::support::write_through_mapping;

use super::{exchange, opened, relink};

/// A way to change a file with this path; beside the root is room for what it needs.
pub type Edit = fn(&Path, &Path);

pub const OLD: &str = "old content, as it was; ";
pub const NEW: &str = "new content, by an edit ";

pub const EDITS: [(&str, Edit); 15] = [
    ("written over", |path, _| {
        opened(path).write_all_at(NEW.as_bytes(), 0).unwrap();
    }),
    ("written anew", |path, _| fs::write(path, NEW).unwrap()),
    ("written over, its time set back", |path, _| {
        let file = opened(path);
        let time = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(NEW.as_bytes(), 0).unwrap();
        file.set_modified(time).unwrap();
    }),
    ("written over twice", |path, _| {
        let file = opened(path);
        file.write_all_at(&[b'x'; NEW.len()], 0).unwrap();
        file.write_all_at(NEW.as_bytes(), 0).unwrap();
    }),
    ("replaced by a rename", |path, beside| {
        fs::write(beside.join("next"), NEW).unwrap();
        fs::rename(beside.join("next"), path).unwrap();
    }),
    ("replaced by a link", |path, beside| {
        fs::write(beside.join("other"), NEW).unwrap();
        fs::remove_file(path).unwrap();
        fs::hard_link(beside.join("other"), path).unwrap();
    }),
    ("replaced by a symbolic link", |path, _| {
        fs::write(path.with_file_name("target"), NEW).unwrap();
        relink("target", path);
    }),
    ("exchanged", |path, beside| {
        fs::write(beside.join("next"), NEW).unwrap();
        exchange(&beside.join("next"), path);
    }),
    ("written through a link from elsewhere", |path, beside| {
        let link = beside.join("link");
        fs::hard_link(path, &link).unwrap();
        opened(&link).write_all_at(NEW.as_bytes(), 0).unwrap();
    }),
    ("written while it had another name", |path, beside| {
        let file = opened(path);
        fs::rename(path, beside.join("away")).unwrap();
        file.write_all_at(NEW.as_bytes(), 0).unwrap();
        fs::rename(beside.join("away"), path).unwrap();
    }),
    ("given a name at last", |path, beside| {
        let flags = OFlags::TMPFILE | OFlags::WRONLY;
        let file = rustix::fs::open(beside, flags, Mode::from_raw_mode(0o644));
        let mut file = File::from(file.expect("this filesystem has unnamed files"));
        file.write_all(NEW.as_bytes()).unwrap();
        fs::remove_file(path).unwrap();
        let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW).unwrap();
    }),
    ("copied into", |path, beside| {
        let source = source(beside);
        let copied = rustix::fs::copy_file_range(source, None, opened(path), None, NEW.len());
        assert_eq!(copied.unwrap(), NEW.len());
    }),
    ("sent into", |path, beside| {
        let sent = rustix::fs::sendfile(opened(path), source(beside), None, NEW.len());
        assert_eq!(sent.unwrap(), NEW.len());
    }),
    ("written through a mapping", |path, _| {
        write_through_mapping(path, NEW.as_bytes()).unwrap();
    }),
    ("shortened and written to again", |path, _| {
        let file = opened(path);
        file.set_len(3).unwrap();
        file.write_all_at(NEW.as_bytes(), 0).unwrap();
    }),
];

/// A file with the new content.
fn source(beside: &Path) -> File {
    fs::write(beside.join("source"), NEW).unwrap();
    File::open(beside.join("source")).unwrap()
}
