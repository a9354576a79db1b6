//! A listing for programs.

use jiff::Timestamp;
use serde::Serialize;

use crate::{files::listing::Entry, page};

#[derive(Serialize)]
struct Item<'e> {
    /// As far as it is text.
    name: String,
    /// A reference to it, relative to the directory: exact for any bytes.
    href: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "media-type", skip_serializing_if = "Option::is_none")]
    media_type: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    modified: Option<String>,
}

/// An array with an object for each entry.
pub(super) fn document(entries: &[Entry]) -> String {
    let items: Vec<_> = entries.iter().map(item).collect();
    // Strings and numbers always become JSON.
    serde_json::to_string(&items).unwrap_or_default() + "\n"
}

fn item(entry: &Entry) -> Item<'_> {
    let is_file = !entry.is_directory;
    let slash = if is_file { "" } else { "/" };
    Item {
        name: String::from_utf8_lossy(&entry.name).into_owned(),
        href: format!("{}{slash}", page::segment(&entry.name)),
        kind: if is_file { "file" } else { "directory" },
        media_type: is_file.then_some(&entry.media_type),
        size: is_file.then_some(entry.size),
        modified: Timestamp::from_second(entry.modified)
            .ok()
            .map(|time| time.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_what_a_program_needs() {
        let entries = [
            Entry {
                name: b"a \xff\"".to_vec(),
                is_directory: false,
                media_type: "text/plain".into(),
                size: 7,
                modified: 1_700_000_000,
            },
            Entry {
                name: b"sub".to_vec(),
                is_directory: true,
                media_type: String::new(),
                size: 4096,
                modified: 0,
            },
        ];
        assert_eq!(
            document(&entries),
            "[{\"name\":\"a \u{fffd}\\\"\",\"href\":\"a%20%FF%22\",\"type\":\"file\",\
             \"media-type\":\"text/plain\",\"size\":7,\"modified\":\"2023-11-14T22:13:20Z\"},\
             {\"name\":\"sub\",\"href\":\"sub/\",\"type\":\"directory\",\
             \"modified\":\"1970-01-01T00:00:00Z\"}]\n"
        );
    }
}
