//! A directory as a page: works without scripts, on a phone, in the dark.

use std::{fmt::Write, io, os::fd::OwnedFd, time::Duration};

use rustix::fs::{AtFlags, Dir, FileType};

use crate::{fs::policy, page};

/// How many names a listing shows at most.
const MOST: usize = 10_000;

struct Entry {
    name: Vec<u8>,
    directory: bool,
    size: u64,
    modified: i64,
}

/// The page for an open directory; `path` is the decoded path it was asked for by.
pub fn page(directory: &OwnedFd, path: &[u8]) -> io::Result<String> {
    let (entries, complete) = entries(directory)?;
    let title = format!("Index of {}", String::from_utf8_lossy(path));
    let mut table = String::from(
        "<table>\n<thead><tr><th>Name<th class=\"n\">Size<th>Changed (UTC)</thead>\n<tbody>\n",
    );
    if path != b"/" {
        table.push_str("<tr><td><a href=\"../\">..</a><td><td>\n");
    }
    for entry in &entries {
        row(&mut table, entry);
    }
    table.push_str("</tbody>\n</table>\n");
    if !complete {
        let _ = writeln!(table, "<p>Only the first {MOST} names are shown.</p>");
    }
    Ok(page::html(&title, &table))
}

/// Directories first, then by name. Names that are never served are not shown.
fn entries(directory: &OwnedFd) -> io::Result<(Vec<Entry>, bool)> {
    let mut entries = Vec::new();
    let mut complete = true;
    for item in Dir::read_from(directory)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if policy::is_hidden(name) {
            continue;
        }
        if entries.len() == MOST {
            complete = false;
            break;
        }
        // The target of a link counts; what cannot be followed is not shown.
        let Ok(stat) = rustix::fs::statat(directory, item.file_name(), AtFlags::empty()) else {
            continue;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(kind, FileType::Directory | FileType::RegularFile) {
            continue;
        }
        entries.push(Entry {
            name: name.to_vec(),
            directory: kind == FileType::Directory,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: stat.st_mtime,
        });
    }
    entries.sort_by(|a, b| (!a.directory, &a.name).cmp(&(!b.directory, &b.name)));
    Ok((entries, complete))
}

fn row(table: &mut String, entry: &Entry) {
    let slash = if entry.directory { "/" } else { "" };
    let name = String::from_utf8_lossy(&entry.name);
    let size = if entry.directory {
        String::new()
    } else {
        size(entry.size)
    };
    let _ = writeln!(
        table,
        "<tr><td><a href=\"{}{slash}\">{}{slash}</a><td class=\"n\">{size}<td>{}",
        page::segment(&entry.name),
        page::Escaped(&name),
        date(entry.modified),
    );
}

/// A size for people: three figures and a unit of 1024.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 {
        tenths /= 1024;
        unit += 1;
    }
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

fn date(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    jiff::Timestamp::try_from(std::time::UNIX_EPOCH + since)
        .map(|time| time.strftime("%Y-%m-%d %H:%M").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 * 1024, "10 KiB"),
            (1024 * 1024 - 1, "1023 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn dates_are_in_utc() {
        assert_eq!(date(1_700_000_000), "2023-11-14 22:13");
    }
}
