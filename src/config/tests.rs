//! Loading as a whole: odd files, mangled text, and the command line's directory.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{cgi::Programs, site::Action};

fn no_variables(_: &str) -> Option<String> {
    None
}

/// Loads these bytes as the main file, beside a directory `www`.
fn load_bytes(bytes: &[u8]) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("www")).unwrap();
    fs::create_dir(directory.path().join("sites.d")).unwrap();
    let file = directory.path().join("pywebd.toml");
    fs::write(&file, bytes).unwrap();
    load(&Source::File(file), &no_variables)
}

fn messages(loaded: &Loaded) -> Vec<&str> {
    let diagnostics = loaded.report.diagnostics.iter();
    diagnostics.map(|diagnostic| &*diagnostic.message).collect()
}

const SITE: &str = "version = 1\n[site.a]\nhosts = [\"*\"]\nroot = \"www\"\n";

#[test]
fn files_that_are_no_text_are_one_finding_each() {
    let mut huge = SITE.as_bytes().to_vec();
    huge.resize(9 << 20, b'\n');
    for (bytes, expected) in [
        (&b"version = 1\n# caf\xe9\n"[..], "the file is not UTF-8"),
        (&huge, "it is larger than 8 MiB"),
    ] {
        let loaded = load_bytes(bytes);
        let found = messages(&loaded);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with(expected), "{found:?}");
    }
    let loaded = load_bytes(b"version = 1\n# caf\xe9\n");
    let place = loaded.report.diagnostics[0].place.as_ref().unwrap();
    assert_eq!((place.line, place.column), (2, 6));
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    for (path, expected) in [
        (directory.path(), "it is a directory"),
        (&fifo, "it is not a regular file"),
        (Path::new("/none/such"), "No such file or directory"),
        (Path::new("/dev/null/x"), "Not a directory"),
    ] {
        let loaded = load(&Source::File(path.to_owned()), &no_variables);
        assert!(loaded.snapshot.is_none());
        let expected = format!("cannot read {}: {expected}", path.display());
        assert_eq!(messages(&loaded), [expected]);
        assert_eq!(loaded.seen, [Seen::path(path)]);
    }
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_mistake() {
    let text = format!("\u{feff}{}", SITE.replace('\n', "\r\n"));
    let loaded = load_bytes(text.as_bytes());
    assert_eq!(messages(&loaded), [""; 0]);
}

#[test]
fn every_file_and_every_pattern_is_watched_and_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("www")).unwrap();
    fs::create_dir(at("sites.d")).unwrap();
    fs::write(at("sites.d/a.toml"), SITE.replace("www", "../www")).unwrap();
    fs::write(at("main"), "version = 1\ninclude = [\"sites.d/*.toml\"]").unwrap();
    let loaded = load(&Source::File(at("main")), &no_variables);
    assert!(loaded.snapshot.is_some(), "{:?}", loaded.report);
    let main = at("main");
    let file = Seen::path(&at("sites.d/a.toml"));
    let seen = [
        Seen::path(&main),
        Seen::pattern("sites.d/*.toml", &main),
        file,
    ];
    assert_eq!(loaded.seen, seen);
    fs::remove_dir(at("www")).unwrap();
    let loaded = load(&Source::File(main), &no_variables);
    assert!(loaded.snapshot.is_none());
    assert_eq!(loaded.seen[..3], seen);
    assert_eq!(loaded.seen[3..], [Seen::path(&at("sites.d/../www"))]);
}

#[test]
fn findings_of_many_mistakes_are_bounded() {
    let keys: Vec<_> = (0..500).map(|number| format!("key{number} = 1")).collect();
    let loaded = load_bytes(format!("{}\n{SITE}", keys.join("\n")).as_bytes());
    assert_eq!(loaded.report.diagnostics.len(), 101);
}

fn serve(root: &Path, cgi: bool) -> Loaded {
    let source = Source::Directory {
        root: root.to_owned(),
        listen: units::listen("127.0.0.1:8000").unwrap(),
        cgi,
        env: vec![("NAME".into(), "value".into())],
    };
    load(&source, &no_variables)
}

#[test]
fn a_directory_of_the_command_line_is_one_site_for_every_host() {
    let directory = tempfile::tempdir().unwrap();
    let loaded = serve(directory.path(), true);
    assert_eq!(messages(&loaded), [""; 0]);
    let snapshot = loaded.snapshot.unwrap();
    let site = snapshot.site_named("default").unwrap();
    assert_eq!(&**site.root.path(), directory.path());
    assert_eq!((&*site.origin.file, site.origin.line), ("command line", 0));
    let Action::Files(files) = &site.routes.keyed("/").unwrap().action else {
        panic!("the site serves files");
    };
    assert_eq!(files.index, ["index.html".into(), "index.htm".into()]);
    assert!(files.listing);
    for key in ["/cgi-bin/", "/htbin/", "/ht-bin/"] {
        let Action::Cgi(cgi) = &site.routes.keyed(key).unwrap().action else {
            panic!("{key} runs programs");
        };
        assert_eq!(cgi.env, [("NAME".into(), "value".into())]);
        let Programs::Below {
            place, key_length, ..
        } = &cgi.programs
        else {
            panic!("{key} has a directory of programs");
        };
        assert_eq!((*key_length, place.strip), (key.len(), 1));
    }
}

#[test]
fn without_cgi_no_program_runs() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = serve(directory.path(), false).snapshot.unwrap();
    assert_eq!(snapshot.sites[0].routes.iter().count(), 1);
}

#[test]
fn a_missing_directory_of_the_command_line_is_an_error_without_a_place() {
    let loaded = serve(Path::new("/none/such"), true);
    let [diagnostic] = &loaded.report.diagnostics[..] else {
        panic!("one finding: {:?}", loaded.report);
    };
    assert_eq!(diagnostic.message, "directory /none/such does not exist");
    assert_eq!(diagnostic.place, None);
}

/// Everything a configuration can say, for mangling.
const RICH: &str = r#"version = 1
include = ["sites.d/*.toml"]
[server]
listen = ["[::]:80", "unix:/run/x.sock"]
workers = 2
[limits]
idle-timeout = "5s"
[log]
access = { file = "/x" }
[site."example.org"]
hosts = ["example.org", "*.example.net", "*"]
canonical = "example.org"
root = "www"
[site."example.org".redirect]
"/old" = { to = "/new", status = 302 }
"/blog/*" = "https://blog.example.org/*"
[site."example.org".path."/"]
allow = ["192.168.0.0/16", "::1"]
env = { A = "${B}", C = { credential = "d" } }
[site."example.org".path."/a/"]
cgi = true
timeout = "1s"
[site."example.org".path."/a/*.php"]
deny = true
[site."example.org".path."*.inc"]
static = "www"
"#;

/// Whatever stands in the file: no panic, places that exist, and a snapshot unless an error says
/// why not.
fn check_invariants(bytes: &[u8]) -> Result<(), TestCaseError> {
    let loaded = load_bytes(bytes);
    prop_assert_eq!(loaded.snapshot.is_none(), loaded.report.has_errors());
    let lines = String::from_utf8_lossy(bytes).matches('\n').count() + 1;
    for diagnostic in &loaded.report.diagnostics {
        if let Some(place) = &diagnostic.place {
            prop_assert!((1..=lines).contains(&(place.line as usize)));
            prop_assert!(place.column >= 1 && place.width >= 1);
        }
        prop_assert!(!diagnostic.to_string().contains('\n'));
    }
    loaded.report.render();
    Ok(())
}

proptest! {
    #[test]
    fn mangled_configurations_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, any::<prop::sample::Index>(), 0..12_usize), 1..6),
    ) {
        let mut text = RICH.as_bytes().to_vec();
        for (at, removed, from, length) in edits {
            let at = at.index(text.len());
            let from = from.index(text.len());
            let piece = text[from..(from + length).min(text.len())].to_vec();
            let end = (at + removed).min(text.len());
            text.splice(at..end, piece);
            text.push(b'\n');
        }
        check_invariants(&text)?;
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_invariants(&bytes)?;
    }

    #[test]
    fn any_toml_punctuation_never_panics(text in "[\\[\\]{}=.,\"'#$*/a-c0-9 \n\u{e9}]{0,120}") {
        check_invariants(format!("version = 1\n{text}").as_bytes())?;
    }
}

#[test]
fn a_mistake_in_each_of_several_sites_is_told() {
    let site = |n: usize, key: &str| {
        format!("[site.s{n}]\nhosts = [\"s{n}\"]\nroot = \"www\"\n{key} = {n}\n")
    };
    let sites: String = (0..20)
        .map(|n| site(n, if n % 2 == 0 { "rooot" } else { "listing" }))
        .collect();
    let loaded = load_bytes(format!("version = 1\n{sites}").as_bytes());
    let found = messages(&loaded);
    let unknown = found
        .iter()
        .filter(|message| message.starts_with("unknown key `rooot` in [site.s"));
    assert_eq!((found.len(), unknown.count()), (20, 10), "{found:?}");
    let lines = loaded
        .report
        .diagnostics
        .iter()
        .map(|found| found.place.as_ref().unwrap().line);
    assert!(lines.eq((0..20).map(|n| n * 4 + 5)));
}

#[test]
fn thousands_of_path_keys_of_one_site_are_read() {
    let keys = (0..3000).map(|n| format!("[site.a.path.\"/{n}/\"]\nlisting = true\n"));
    let redirects = (0..3000).map(|n| format!("\"/old/{n}\" = \"/{n}/\"\n"));
    let redirects: String = redirects.collect();
    let text = format!(
        "{SITE}path.\"*.inc\".deny = true\n[site.a.redirect]\n{redirects}{}",
        keys.collect::<String>()
    );
    let loaded = load_bytes(text.as_bytes());
    assert_eq!(messages(&loaded), Vec::<&str>::new());
    let snapshot = loaded.snapshot.unwrap();
    let routes = &snapshot.sites[0].routes;
    for (path, key) in [
        ("/7/x", "/7/"),
        ("/7/x.inc", "/7/*.inc"),
        ("/old/7", "/old/7"),
    ] {
        assert_eq!(&*routes[routes.find(path.as_bytes())].text, key);
        assert!(routes.keyed(key).is_some_and(|route| &*route.text == key));
    }
}
