//! Differences, from two lists of values to lines.

use std::sync::Arc;

use super::*;
use crate::site::Origin;

/// Values from lines `key = value`; one with `# default` is not written.
fn values(lines: &str) -> Values {
    let mut values = Values::default();
    for line in lines.lines() {
        let (line, default) = match line.strip_suffix(" # default") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (key, value) = line.split_once(" = ").unwrap();
        let origin = Origin {
            file: "a.toml".into(),
            line: 1,
        };
        let (table, path, key) = parts(key.trim());
        values.begin(&Arc::from(table), path.map(Box::from));
        values.record(key, value, (!default).then_some(origin));
    }
    values
}

/// A dotted key as its table, its path key, and the rest.
fn parts(key: &str) -> (&str, Option<&str>, &str) {
    let dots: Vec<usize> = dots(key).collect();
    let is_site = key.starts_with("site.");
    match dots[..] {
        [_, name, path, end, ..] if is_site && &key[name + 1..path] == "path" => {
            (&key[..name], Some(&key[path + 1..end]), &key[end + 1..])
        }
        [_, name, ..] if is_site => (&key[..name], None, &key[name + 1..]),
        [first, ..] => (&key[..first], None, &key[first + 1..]),
        [] => (key, None, ""),
    }
}

/// Where the dots between the keys of a dotted key are: those that are not quoted.
fn dots(key: &str) -> impl Iterator<Item = usize> {
    let mut is_quoted = false;
    key.bytes().enumerate().filter_map(move |(at, byte)| {
        is_quoted ^= byte == b'"';
        (byte == b'.' && !is_quoted).then_some(at)
    })
}

fn told(old: &str, new: &str) -> Vec<String> {
    lines(&compare(&values(old), &values(new)), usize::MAX)
}

#[test]
fn each_difference_is_a_line() {
    for (old, new, expected) in [
        ("site.a.root = \"/a\"", "site.a.root = \"/a\"", &[][..]),
        (
            "site.a.root = \"/a\"",
            "site.a.root = \"/b\"",
            &["site.a: root \"/a\" -> \"/b\""],
        ),
        (
            "limits.idle-timeout = \"60s\" # default",
            "limits.idle-timeout = \"30s\"",
            &["limits: idle-timeout \"60s\" -> \"30s\""],
        ),
        (
            "site.a.root = \"/a\"\nsite.b.root = \"/b\"\nsite.b.listen = []",
            "site.a.root = \"/a\"\nsite.\"c.d\".root = \"/c\"\nsite.\"c.d\".listen = []",
            &["site.\"c.d\" added", "site.b removed"],
        ),
        (
            "site.a.root = \"/a\"\nsite.a.path.\"/x/\".cgi = true",
            "site.a.root = \"/a\"\nsite.a.path.\"*.y\".deny = true",
            &["site.a: path.\"*.y\" added", "site.a: path.\"/x/\" removed"],
        ),
        (
            "site.a.path.\"/\".headers.A = \"1\"",
            "site.a.path.\"/\".headers.B = \"2\"",
            &[
                "site.a: path.\"/\".headers.A removed: \"1\"",
                "site.a: path.\"/\".headers.B added: \"2\"",
            ],
        ),
    ] {
        assert_eq!(told(old, new), expected, "{old}\n{new}");
    }
}

#[test]
fn defaults_that_come_with_another_change_are_not_told() {
    let old = "site.a.path.\"/\".static = true\nsite.a.path.\"/\".listing = false # default";
    let new = "site.a.path.\"/\".cgi = true\nsite.a.path.\"/\".memory = \"512M\" # default";
    assert_eq!(
        told(old, new),
        [
            "site.a: path.\"/\".cgi added: true",
            "site.a: path.\"/\".static removed: true",
        ]
    );
}

#[test]
fn values_of_variables_are_never_told() {
    let key = "site.a.path.\"/\".env";
    let old = format!("{key}.A = \"secret\"\n{key}.B = \"secret\"");
    let new = format!("{key}.A = \"changed secret\"\n{key}.\"C.D\" = \"new secret\"");
    assert_eq!(
        told(&old, &new),
        [
            "site.a: path.\"/\".env.\"C.D\" added",
            "site.a: path.\"/\".env.A changed",
            "site.a: path.\"/\".env.B removed",
        ]
    );
}

#[test]
fn the_same_change_of_several_paths_is_told_once() {
    let site = |value: &str| {
        let lines = (1..=6).map(|n| format!("site.a.path.\"/{n}/\".timeout = {value}\n"));
        lines.collect::<String>() + "site.b.path.\"/1/\".timeout = " + value
    };
    assert_eq!(
        told(&site("\"1s\""), &site("\"2s\"")),
        [
            "site.a: path.\"/1/\".timeout \"1s\" -> \"2s\", also for \"/2/\", \"/3/\", \"/4/\" and 2 more",
            "site.b: path.\"/1/\".timeout \"1s\" -> \"2s\"",
        ]
    );
}

#[test]
fn restrictions_of_one_path_are_compared_together() {
    let old = "site.a.path.\"/\".allow = [\"::1\"]\nsite.a.path.\"/\".allow = [\"10.0.0.0/8\"]";
    assert_eq!(told(old, old), [""; 0]);
    assert_eq!(
        told(old, "site.a.path.\"/\".allow = [\"::1\"]"),
        ["site.a: path.\"/\".allow [\"::1\"] and [\"10.0.0.0/8\"] -> [\"::1\"]"]
    );
}

#[test]
fn a_file_that_says_something_else_is_told() {
    let contents = |users, old| {
        let mut values = Values::default();
        values.contents = BTreeMap::from([("/users".into(), users), (old, 1)]);
        values
    };
    let changes = compare(&contents(1, "/a".into()), &contents(2, "/b".into()));
    assert_eq!(lines(&changes, 9), ["/users has other content"]);
}

#[test]
fn lines_are_bounded_in_number_and_length_and_have_no_control_characters() {
    let old: Vec<_> = (0..5).map(|n| format!("site.s{n}.root = \"\"")).collect();
    let changes = compare(&values(&old.join("\n")), &Values::default());
    assert_eq!(lines(&changes, 4)[3..], ["site.s3 removed", "and 1 more"]);
    assert_eq!(lines(&changes, 5).len(), 5);
    let long = format!("site.a.root = \"\u{1b}{}\"", "é".repeat(1000));
    let line = told("site.a.root = \"\"", &long).concat();
    assert!(line.chars().count() < SHOWN_VALUE + 60, "{line}");
    assert!(!line.contains('\u{1b}'));
}
