//! A listing for people: works without scripts, on a phone, in the dark.

use std::fmt::Write;

use jiff::Timestamp;

use crate::{
    files::listing::{
        Entry, MOST,
        order::{Column, Order},
    },
    page::{self, Escaped},
    semantics::target,
};

/// The page for a directory that was asked for by `path`.
pub(super) fn page(entries: &[Entry], path: &[u8], order: Order, is_complete: bool) -> String {
    let title = format!("Index of {}", String::from_utf8_lossy(path));
    let mut content = breadcrumbs(path);
    content.push_str("<table>\n<thead><tr>");
    for column in Column::ALL {
        heading(&mut content, column, order);
    }
    content.push_str("</thead>\n<tbody>\n");
    if path != b"/" {
        content.push_str("<tr><td><a href=\"../\">..</a><td class=\"w\"><td><td class=\"w\">\n");
    }
    for entry in entries {
        row(&mut content, entry);
    }
    content.push_str("</tbody>\n</table>\n");
    if !is_complete {
        let _ = writeln!(content, "<p>Only {MOST} names are shown.</p>");
    }
    page::html(&title, &content)
}

/// The directories on the way here, each a link.
fn breadcrumbs(path: &[u8]) -> String {
    let mut crumbs = String::from("<nav aria-label=\"Path\"><a href=\"/\">/</a>");
    let mut end = 1;
    for name in path[1..].split_inclusive(|&byte| byte == b'/') {
        end += name.len();
        let text = String::from_utf8_lossy(name.strip_suffix(b"/").unwrap_or(name));
        let reference = target::encode(&path[..end]).to_string();
        let _ = write!(
            crumbs,
            " <a href=\"{}\">{}</a> /",
            Escaped(&reference),
            Escaped(&text)
        );
    }
    crumbs.push_str("</nav>\n");
    crumbs
}

fn heading(table: &mut String, column: Column, order: Order) {
    let text = match column {
        Column::Name => "Name",
        Column::Type => "Type",
        Column::Size => "Size",
        Column::Date => "Changed (UTC)",
    };
    let (sorted, arrow) = match (order.column == column, order.is_descending) {
        (false, _) => ("", ""),
        (true, false) => (" aria-sort=\"ascending\"", " ↑"),
        (true, true) => (" aria-sort=\"descending\"", " ↓"),
    };
    let query = order.choosing(column).query();
    let _ = write!(
        table,
        "<th{}{sorted}><a href=\"?{}\">{text}</a>{arrow}",
        class(column),
        Escaped(&query)
    );
}

/// Numbers stand to the right; what a phone has no room for is wide.
fn class(column: Column) -> &'static str {
    match column {
        Column::Name => "",
        Column::Size => " class=\"n\"",
        Column::Type | Column::Date => " class=\"w\"",
    }
}

fn row(table: &mut String, entry: &Entry) {
    let slash = if entry.is_directory { "/" } else { "" };
    let name = String::from_utf8_lossy(&entry.name);
    let (kind, size) = if entry.is_directory {
        ("directory", String::new())
    } else {
        (&*entry.media_type, size(entry.size))
    };
    let _ = writeln!(
        table,
        "<tr><td><a href=\"{}{slash}\"><bdi>{}</bdi>{slash}</a><td class=\"w\">{}<td class=\"n\">{size}\
         <td class=\"w\">{}",
        page::segment(&entry.name),
        Escaped(&name),
        Escaped(kind),
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
    Timestamp::from_second(seconds)
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

    #[test]
    fn every_directory_on_the_way_is_a_link() {
        let crumbs = breadcrumbs(b"/a b/<c>/");
        assert!(crumbs.contains("<a href=\"/\">/</a>"), "{crumbs}");
        assert!(crumbs.contains("<a href=\"/a%20b/\">a b</a>"), "{crumbs}");
        assert!(
            crumbs.contains("<a href=\"/a%20b/%3Cc%3E/\">&lt;c&gt;</a>"),
            "{crumbs}"
        );
    }
}
