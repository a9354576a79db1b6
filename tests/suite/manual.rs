//! The manual pages say what the program does: `packaging/man`. That they have every key of the
//! configuration is a test of `config::raw`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use clap::{Arg, Command, CommandFactory};
use pywebd::{
    cli::{
        Exit,
        arguments::Arguments,
        check::{Warnings, check},
        show::show,
    },
    config::Source,
};

/// What a site needs, and a path key whose scripts have every option.
const SITE: &str = "version = 1\n[site.example]\nhosts = [\"*\"]\nroot = \"/srv/www\"\n";
const PATH: &str = "[site.example.path.\"/cgi-bin/\"]\n";

/// A page as text: without what mandoc needs to tell text from macros.
fn page(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man");
    let page = fs::read_to_string(file.join(name)).unwrap();
    page.replace("\\&", "")
        .replace("\\(dq", "\"")
        .replace("\\e", "\\")
}

/// The parts of a page that begin with this macro, by what stands after it.
fn parts<'p>(page: &'p str, heading: &str) -> Vec<(&'p str, &'p str)> {
    let parts = page.split(heading).skip(1);
    parts.filter_map(|part| part.split_once('\n')).collect()
}

fn section<'p>(page: &'p str, name: &str) -> &'p str {
    let mut parts = parts(page, "\n.Sh ").into_iter();
    let section = parts.find_map(|(heading, text)| (heading == name).then_some(text));
    section.unwrap_or_else(|| panic!("there is no section {name}"))
}

/// What the entries of a list are headed with.
fn entries(text: &str) -> BTreeSet<String> {
    let entries = text.lines().filter_map(|line| line.strip_prefix(".It "));
    entries.map(str::to_owned).collect()
}

/// As the head of an entry writes an option.
fn entry(option: &Arg) -> String {
    let short = option.get_short().map(|short| format!("{short} , Fl "));
    let long = option.get_long().unwrap_or_default();
    let takes_value = option.get_action().takes_values();
    let value = option.get_value_names().filter(|_| takes_value);
    let value = value.map(|names| format!(" Ar {}", names[0]));
    let [short, value] = [short, value].map(Option::unwrap_or_default);
    format!("Fl {short}-{long}{value}")
}

/// The options of a command, as a list of the page has them.
fn options(command: &Command, shown: impl Fn(&Arg) -> bool) -> BTreeSet<String> {
    let options = command
        .get_arguments()
        .filter(|option| !option.is_hide_set() && !option.is_positional() && shown(option));
    options.map(entry).collect()
}

#[test]
fn every_verb_and_option_is_in_the_manual_and_no_other() {
    let page = page("pywebd.8");
    let mut command = Arguments::command();
    command.build();
    let general: BTreeSet<_> = command.get_arguments().map(Arg::get_id).collect();
    let verbs = section(&page, "VERBS");
    let text_before = verbs.split("\n.Ss ").next().unwrap();
    assert_eq!(entries(text_before), options(&command, |_| true));
    let described: BTreeMap<_, _> = parts(verbs, "\n.Ss ").into_iter().collect();
    let visible = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    let visible: Vec<_> = visible.collect();
    let names: BTreeSet<_> = visible.iter().map(|verb| verb.get_name()).collect();
    assert_eq!(described.keys().copied().collect::<BTreeSet<_>>(), names);
    for verb in visible {
        let text = described[verb.get_name()];
        let own = options(verb, |option| !general.contains(option.get_id()));
        assert_eq!(entries(text), own, "{}", verb.get_name());
        for operand in verb.get_positionals() {
            let name = format!(".Ar {}", operand.get_value_names().unwrap()[0]);
            assert!(text.contains(&name), "{} {name}", verb.get_name());
        }
    }
}

/// The exit status with the next number: a new one does not compile without its place here.
fn next(exit: Exit) -> Option<Exit> {
    match exit {
        Exit::Success => Some(Exit::Usage),
        Exit::Usage => Some(Exit::NoInput),
        Exit::NoInput => Some(Exit::Unavailable),
        Exit::Unavailable => Some(Exit::Software),
        Exit::Software => Some(Exit::OsError),
        Exit::OsError => Some(Exit::NoPermission),
        Exit::NoPermission => Some(Exit::Config),
        Exit::Config => None,
    }
}

#[test]
fn every_exit_status_is_in_the_manual_and_no_other() {
    let statuses = std::iter::successors(Some(Exit::Success), |exit| next(*exit));
    let statuses = statuses.map(|exit| (exit as u8).to_string()).collect();
    let page = page("pywebd.8");
    assert_eq!(entries(section(&page, "EXIT STATUS")), statuses);
}

/// A configuration with its directories and files moved below a root, where they are made.
fn moved(text: &str, root: &Path) -> String {
    let mut moved = text.to_owned();
    let places = ["/srv/", "/etc/pywebd/", "/usr/local/lib/"];
    let strings = text.split('"').skip(1).step_by(2);
    let paths: BTreeSet<_> = strings
        .filter(|string| places.iter().any(|place| string.starts_with(place)))
        .collect();
    for path in paths {
        let place = root.join(path.trim_start_matches('/'));
        if path.ends_with(".htpasswd") {
            let hash = "$2b$04$pVhEpzP74YVLoHPJ424JquqF2./2yVjTflY8n1ed.xuQ22DHmZeyS";
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, format!("alice:{hash}\n")).unwrap();
        } else {
            fs::create_dir_all(&place).unwrap();
        }
        let written = format!("\"{}\"", place.display());
        moved = moved.replace(&format!("\"{path}\""), &written);
    }
    moved
}

/// What `show` tells of a configuration.
fn values(text: &str) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pywebd.toml");
    fs::write(&file, moved(text, directory.path())).unwrap();
    let outcome = show(&Source::File(file));
    assert_eq!(outcome.exit, Exit::Success, "{}", outcome.findings);
    let value = |line: &str| {
        let (key, value) = line.split_once(" = ").unwrap();
        let value = value.split("  # ").next().unwrap().trim_end();
        (key.to_owned(), value.to_owned())
    };
    outcome.output.lines().map(value).collect()
}

#[test]
fn the_defaults_in_the_manual_are_those_of_the_program() {
    let page = page("pywebd.toml.5");
    let values = values(&format!(
        "{SITE}redirect = {{ \"/old\" = \"/new\" }}\n{PATH}cgi = true\n"
    ));
    let mut compared = 0;
    for (heading, text) in parts(&page, "\n.Sh ") {
        let Some(table) = heading.strip_prefix('[').and_then(|h| h.strip_suffix(']')) else {
            continue;
        };
        let places: &[&str] = match table {
            "site.NAME" => &["site.example", "site.example.path.\"/\""],
            "site.NAME.path.\"KEY\"" => &["site.example.path.\"/cgi-bin/\""],
            // The default stands in the value of the key.
            "site.NAME.redirect" => continue,
            table => &[table],
        };
        for (key, entry) in parts(text, "\n.It Ic ") {
            let entry = entry.split("\n.It ").next().unwrap();
            let mut shown = places
                .iter()
                .filter_map(|place| values.get(&format!("{place}.{key}")));
            let shown = shown.next().map(String::as_str);
            let default = entry
                .lines()
                .find_map(|line| line.strip_prefix("Default: "));
            let default = default.map(|default| default.trim_end_matches('.'));
            let is_told = entry.lines().any(|line| line == "Not set by default.");
            if default.is_some() || is_told {
                assert_eq!(default, shown, "{table} {key}");
                compared += 1;
            }
        }
    }
    assert!(compared > 30, "only {compared} keys have a default");
    let redirect = &values["site.example.path.\"/old\".redirect"];
    let status = section(&page, "[site.NAME.redirect]");
    assert!(status.contains("\nDefault: 301.\n") && redirect.contains("status = 301"));
}

#[test]
fn every_piece_of_configuration_in_the_manual_passes_the_check() {
    let mut checked = 0;
    for name in ["pywebd.8", "pywebd.toml.5"] {
        let page = page(name);
        for (heading, text) in parts(&page, "\n.Sh ") {
            for (_, literal) in parts(text, "\n.Bd -literal") {
                let literal = literal.split("\n.Ed").next().unwrap();
                // A unit, or lines for a shell.
                if literal.starts_with("[Socket]") || !literal.contains(" = ") {
                    continue;
                }
                let text = whole(heading, literal);
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join("pywebd.toml");
                fs::write(&file, moved(&text, directory.path())).unwrap();
                let outcome = check(&Source::File(file), Warnings::Pass);
                assert_eq!(outcome.exit, Exit::Success, "{text}\n{}", outcome.findings);
                checked += 1;
            }
        }
    }
    assert!(checked > 12, "only {checked} pieces are found");
}

/// A piece of configuration in the table that its section is about.
fn whole(heading: &str, piece: &str) -> String {
    if heading == "EXAMPLES" {
        return format!("version = 1\n{piece}");
    }
    let table = match heading {
        _ if piece.starts_with('[') => "",
        "[site.NAME]" => "",
        "[site.NAME.path.\"KEY\"]" => PATH,
        heading => heading,
    };
    format!("{SITE}{table}\n{piece}")
}

/// A file or directory of `contrib/systemd`.
fn shipped(name: &str) -> std::path::PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    directory.join(name)
}

#[test]
fn every_kind_of_entry_in_the_journal_is_in_the_manual_and_no_other() {
    let catalog = fs::read_to_string(shipped("pywebd.catalog")).unwrap();
    let ids = catalog
        .lines()
        .filter_map(|line| line.strip_prefix("-- "))
        .map(|id| format!("Li {id}"));
    let page = page("pywebd.8");
    let journal = parts(section(&page, "THE JOURNAL"), "\n.Ss ");
    let kinds = journal
        .into_iter()
        .find(|(heading, _)| *heading == "Kinds of entries");
    assert_eq!(entries(kinds.unwrap().1), ids.collect());
}

#[test]
fn every_drop_in_is_in_the_manual_and_no_other() {
    let files = fs::read_dir(shipped("drop-ins")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names = names.map(|name| format!("Pa {name}")).collect();
    let page = page("pywebd.8");
    let systemd = parts(section(&page, "SYSTEMD"), "\n.Ss ");
    let drop_ins = systemd
        .into_iter()
        .find(|(heading, _)| *heading == "Drop-ins");
    assert_eq!(entries(drop_ins.unwrap().1), names);
}
