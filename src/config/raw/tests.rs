//! The manual page has the keys that are known, and no others.

use std::{collections::BTreeSet, fs, path::Path};

use serde::de::DeserializeOwned;

use super::*;
use crate::config::read::FILE_KEYS;

/// The keys of a table, as the error about one that is none of them tells.
fn known<T: DeserializeOwned>() -> BTreeSet<String> {
    let error = toml::from_str::<T>("none-of-them = 1").err();
    let message = error.expect("no table has this key").message().to_owned();
    let (_, expected) = message
        .split_once("expected ")
        .expect("it tells the others");
    let names = expected.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// The lines of a section of pywebd.toml(5).
fn section(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man/pywebd.toml.5");
    let page = fs::read_to_string(file).expect("the page");
    let mut sections = page.split("\n.Sh ");
    let section = sections.find_map(|section| {
        let (heading, lines) = section.split_once('\n')?;
        (heading.trim_end_matches(r"\&") == name).then_some(lines)
    });
    section.expect("the section").to_owned()
}

/// The keys that a section has entries for.
fn documented(name: &str) -> BTreeSet<String> {
    let section = section(name);
    let entries = section
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "));
    let keys = entries.flat_map(|entry| entry.split(" , "));
    keys.map(str::to_owned).collect()
}

#[test]
fn the_manual_has_every_key_and_no_other() {
    assert_eq!(documented("TOP LEVEL"), FILE_KEYS.map(str::to_owned).into());
    assert_eq!(documented("[server]"), known::<Server>());
    assert_eq!(documented("[limits]"), known::<Limits>());
    assert_eq!(documented("[cgi]"), known::<Cgi>());
    assert_eq!(documented("[cache]"), known::<Cache>());
    assert_eq!(documented("[log]"), known::<Log>());
    assert_eq!(documented("[site.NAME.redirect]"), known::<Redirect>());
    assert_eq!(documented("[site.NAME.path.\"KEY\"]"), known::<PathKey>());
    let mut site = documented("[site.NAME]");
    // These have sections of their own.
    site.extend(["path", "redirect"].map(str::to_owned));
    assert_eq!(site, known::<Site>());
    let tables = ["server", "limits", "cgi", "cache", "log", "site"];
    assert_eq!(known::<Raw>(), tables.map(str::to_owned).into());
}

#[test]
fn the_manual_names_the_keys_of_values_that_are_tables() {
    for (section, keys) in [
        (section("[site.NAME]"), known::<Auth>()),
        (section("[log]"), known::<Access>()),
    ] {
        for key in keys {
            let name = format!(".Ic {key}");
            assert!(section.lines().any(|line| line == name), "{name}");
        }
    }
}
