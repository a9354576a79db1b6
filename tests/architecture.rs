//! The repository tests itself: which module may import which, and where certain things may stand.
//!
//! The tables in this file are the rules. Sources are read as tokens, not parsed: comments,
//! strings and test modules do not count, and a name that a macro would make is not seen.

#[path = "architecture/code.rs"]
mod code;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use code::{Token, paths, tokens};

/// The modules from the lowest layer to the highest. A module imports only from layers below its
/// own, so siblings do not know each other; inside a module everything goes.
const LAYERS: &[&[&str]] = &[
    &["sys"],
    &["semantics", "fs", "page", "systemd"],
    &["body", "transport"],
    &["records"],
    &["files", "cgi"],
    &["site"],
    &["service", "config"],
    &["server", "launcher"],
    &["cli"],
];

/// Non-test lines of a file: what one person can hold in mind.
const LONGEST_FILE: usize = 500;

/// Names that say nothing, and so collect everything.
const EMPTY_NAMES: &[&str] = &[
    "common", "core", "helper", "helpers", "manager", "misc", "types", "util", "utils",
];

/// Something that may stand only in some places.
struct Confinement {
    /// Paths in the code; one that begins with `::` is the name of a crate.
    paths: &'static [&'static str],
    place: Place,
    reason: &'static str,
}

/// Modules, as their paths below `src`; each has all that is below it.
enum Place {
    Only(&'static [&'static str]),
    Nowhere(&'static [&'static str]),
}

const CONFINEMENTS: &[Confinement] = &[
    Confinement {
        paths: &["::tokio", "::hyper", "::hyper_util"],
        place: Place::Nowhere(&[
            "launcher",
            "config",
            "site",
            "fs",
            "semantics",
            "files/locate",
            "cgi/locate",
            "cgi/meta_variables",
            "cgi/wire",
        ]),
        reason: "the launcher and `explain` use this without a runtime and without a network",
    },
    Confinement {
        paths: &["fs", "SystemTime::now", "Instant::now"],
        place: Place::Nowhere(&["semantics"]),
        reason: "semantics are pure: files and time come in as arguments",
    },
    Confinement {
        paths: &["::notify"],
        place: Place::Only(&["server/watch"]),
        reason: "the configuration's files are watched in one place",
    },
    Confinement {
        paths: &["fs::inotify"],
        place: Place::Only(&["files/cache"]),
        reason: "only the cache chooses its events, and looks at the queue itself before each hit",
    },
    Confinement {
        paths: &["process::Command"],
        place: Place::Only(&["sys", "server/launcher"]),
        reason: "the network process starts nothing but the launcher",
    },
    Confinement {
        paths: &["env::var", "env::var_os", "env::vars", "env::vars_os"],
        place: Place::Only(&["config", "cli", "systemd"]),
        reason: "the environment comes in through the door",
    },
];

#[test]
fn modules_import_only_from_lower_layers() {
    report(&each_source(layering));
}

#[test]
fn confined_things_stay_where_they_belong() {
    report(&each_source(confinement));
}

#[test]
fn unsafe_code_is_only_in_sys() {
    report(&each_source(unsafety));
}

#[test]
fn files_begin_with_a_doc_and_have_a_bounded_length_and_a_telling_name() {
    report(&each_source(shape));
}

/// One offense, at its place.
#[derive(Debug)]
struct Violation {
    file: String,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "src/{}:{}: {}", self.file, self.line, self.message)
    }
}

fn report(violations: &[Violation]) {
    let lines: Vec<_> = violations.iter().map(Violation::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// A source file.
struct Source {
    /// Relative to `src`.
    file: String,
    text: String,
}

impl Source {
    fn violation(&self, line: usize, message: impl Into<String>) -> Violation {
        Violation {
            file: self.file.clone(),
            line,
            message: message.into(),
        }
    }

    /// The module of the crate that the file belongs to.
    fn module(&self) -> &str {
        let name = self.file.split('/').next().unwrap_or_default();
        name.trim_end_matches(".rs")
    }

    /// The text before the test module; nothing in a file that is one.
    fn non_test(&self) -> &str {
        if self.file.ends_with("tests.rs") {
            return "";
        }
        let end = self.text.find("\n#[cfg(test)]\nmod ");
        &self.text[..end.unwrap_or(self.text.len())]
    }

    fn is_below(&self, places: &[&str]) -> bool {
        let path = self.file.trim_end_matches(".rs").trim_end_matches("/mod");
        places.iter().any(|place| {
            path.strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

fn each_source(check: fn(&Source) -> Vec<Violation>) -> Vec<Violation> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 20, "the sources are not where they were");
    files.sort();
    let sources = files.iter().map(|path| Source {
        file: path
            .strip_prefix(&root)
            .expect("collected below it")
            .display()
            .to_string(),
        text: fs::read_to_string(path).expect("a source is readable"),
    });
    sources.flat_map(|source| check(&source)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory is readable") {
        let path = entry.expect("a directory is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn layering(source: &Source) -> Vec<Violation> {
    let module = source.module();
    if matches!(module, "lib" | "main") {
        return Vec::new();
    }
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let Some(own) = layer(module) else {
        return vec![source.violation(1, format!("`{module}` is in no layer: give it one"))];
    };
    let is_top = source.file == format!("{module}.rs") || source.file == format!("{module}/mod.rs");
    let mut violations = Vec::new();
    for (line, path) in paths(&tokens(source.non_test())) {
        let mut segments = path.split("::");
        let imported = match (segments.next(), segments.next()) {
            (Some("crate"), Some(imported)) => imported,
            (Some("super"), Some(next)) if is_top || next == "super" => {
                violations.push(source.violation(line, "write `crate::` to leave the module"));
                continue;
            }
            _ => continue,
        };
        if imported != module && layer(imported).is_none_or(|layer| layer >= own) {
            violations.push(source.violation(
                line,
                format!("`{module}` imports `{imported}`, which is not in a lower layer"),
            ));
        }
    }
    violations
}

fn confinement(source: &Source) -> Vec<Violation> {
    let tokens = tokens(source.non_test());
    let paths = paths(&tokens);
    let mut violations = Vec::new();
    for rule in CONFINEMENTS {
        let allowed = match rule.place {
            Place::Only(places) => source.is_below(places),
            Place::Nowhere(places) => !source.is_below(places),
        };
        if allowed {
            continue;
        }
        for (line, path) in &paths {
            let offends = rule
                .paths
                .iter()
                .any(|wanted| match wanted.strip_prefix("::") {
                    Some(name) => begins_with(path, name) && !is_bound(name, &tokens, &paths),
                    None => has(path, wanted),
                });
            if offends {
                let message = format!("`{path}` does not belong here: {}", rule.reason);
                violations.push(source.violation(*line, message));
            }
        }
    }
    violations
}

fn begins_with(path: &str, name: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with("::"))
}

/// Whether these segments stand next to each other in a path.
fn has(path: &str, segments: &str) -> bool {
    format!("::{path}::").contains(&format!("::{segments}::"))
}

/// Whether the file gives a crate's name to something else.
fn is_bound(name: &str, tokens: &[Token<'_>], paths: &[(usize, String)]) -> bool {
    let imported = |(_, path): &(usize, String)| {
        let path = path.strip_suffix("::self").unwrap_or(path);
        path.ends_with(&format!("::{name}"))
    };
    let declared = |pair: &[Token<'_>]| pair[0].text == "mod" && pair[1].text == name;
    paths.iter().any(imported) || tokens.windows(2).any(declared)
}

fn unsafety(source: &Source) -> Vec<Violation> {
    if source.module() == "sys" {
        return Vec::new();
    }
    tokens(&source.text)
        .iter()
        .filter(|token| token.text == "unsafe")
        .map(|token| source.violation(token.line, "unsafe code is only below `sys`"))
        .collect()
}

fn shape(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !source.text.starts_with("//! ") {
        violations.push(source.violation(1, "the file does not begin with `//!`: what is it?"));
    }
    let length = source.non_test().lines().count();
    if length > LONGEST_FILE {
        let message = format!("{length} lines without tests: split it by topic");
        violations.push(source.violation(LONGEST_FILE + 1, message));
    }
    for name in source.file.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&name) {
            violations.push(source.violation(1, format!("`{name}` does not say what is in it")));
        }
    }
    violations
}

mod the_rules_themselves {
    use super::*;

    fn source(file: &str, text: &str) -> Source {
        Source {
            file: file.to_owned(),
            text: text.to_owned(),
        }
    }

    fn lines(violations: &[Violation]) -> Vec<usize> {
        violations.iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn an_import_from_the_same_or_a_higher_layer_is_found() {
        let text = "use crate::{\n    cgi::Queue,\n    fs::Root,\n    site,\n};\n\
                    fn f() { crate::files::g(); crate::new::h() }\n\
                    #[cfg(test)]\nmod tests { use crate::cli; }\n";
        assert_eq!(lines(&layering(&source("files/mod.rs", text))), [2, 4, 6]);
        assert_eq!(lines(&layering(&source("cgi/mod.rs", text))), [4, 6, 6]);
        assert_eq!(lines(&layering(&source("new/mod.rs", "\n"))), [1]);
        let text = "use super::cgi;\nuse super::super::cgi;";
        assert_eq!(lines(&layering(&source("files/mod.rs", text))), [1, 2]);
        assert_eq!(lines(&layering(&source("files/a.rs", text))), [2]);
    }

    #[test]
    fn a_thing_in_the_wrong_place_is_found() {
        for (file, text, expected) in [
            ("site/mod.rs", "use tokio::time;", &[1][..]),
            ("site/mod.rs", "/// tokio::time\n", &[]),
            ("server/mod.rs", "use tokio::time;", &[]),
            ("cgi/wire.rs", "\nfn f() { hyper::x() }", &[2]),
            ("cgi/mod.rs", "use hyper::x;", &[]),
            (
                "semantics/a.rs",
                "use std::{\nfs,\ntime::SystemTime};",
                &[2],
            ),
            ("semantics/a.rs", "fn f() { SystemTime::now(); }", &[1]),
            ("server/reload.rs", "use rustix::fs::inotify;", &[1]),
            ("server/watch/a.rs", "use rustix::fs::inotify;", &[1]),
            ("files/cache/a.rs", "use rustix::fs::inotify;", &[]),
            ("files/cache/a.rs", "use notify::Watcher;", &[1]),
            ("server/reload.rs", "use notify::Watcher;", &[1]),
            ("server/watch/a.rs", "use notify::Watcher;", &[]),
            (
                "server/mod.rs",
                "use crate::systemd::notify;\nfn f() { notify::ready() }",
                &[],
            ),
            (
                "site/mod.rs",
                "use crate::sys::hyper;\nfn f() { hyper::g() }",
                &[],
            ),
            ("site/mod.rs", "mod tokio;\npub use tokio::Runtime;", &[]),
            ("cgi/mod.rs", "use std::process::{self, Command};", &[1]),
            ("server/launcher.rs", "use std::process::Command;", &[]),
            ("sys/spawn.rs", "use std::process::Command;", &[]),
            ("site/mod.rs", "fn f() { std::env::var_os(\"A\"); }", &[1]),
            ("cli/mod.rs", "fn f() { std::env::var_os(\"A\"); }", &[]),
        ] {
            let found = confinement(&source(file, text));
            assert_eq!(lines(&found), expected, "{file} {text}");
        }
    }

    #[test]
    fn unsafe_code_is_found() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nfn f() { unsafe { g() } }";
        assert_eq!(lines(&unsafety(&source("site/mod.rs", text))), [3]);
        assert_eq!(lines(&unsafety(&source("sys/mod.rs", text))), []);
    }

    #[test]
    fn a_file_without_doc_too_long_or_with_an_empty_name_is_found() {
        let long = format!("//! A file.\n{}", "\n".repeat(LONGEST_FILE));
        let tested = format!("//! A file.\n#[cfg(test)]\nmod tests {{{long}}}");
        assert_eq!(lines(&shape(&source("a.rs", "use b;\n"))), [1]);
        assert_eq!(lines(&shape(&source("a.rs", &long))), [LONGEST_FILE + 1]);
        assert_eq!(lines(&shape(&source("a.rs", &tested))), []);
        assert_eq!(lines(&shape(&source("a/util/b.rs", "//! A file.\n"))), [1]);
        assert_eq!(lines(&shape(&source("a/helpers.rs", "//! A file.\n"))), [1]);
    }
}
