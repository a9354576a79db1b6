//! Configurations and what `pywebd check` or `pywebd show` says of them: `tests/golden/config`.
//!
//! A golden file begins with what it shows, then come files, each after a line `-- NAME --`
//! (`-- NAME 0755 --` with a mode, `-- NAME/ --` for a directory), then a line `-- check --` or
//! `-- show --` and the expected output. `UPDATE_GOLDEN=1` writes what comes out instead.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use pywebd::{
    cli::{
        Exit,
        check::{Warnings, check},
        outcome::Outcome,
        show::show,
    },
    config::Source,
};

#[test]
fn golden_files_say_what_comes_out() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (input, expected) = split(&text);
        let actual = outcome(input);
        if update {
            fs::write(&path, format!("{input}{actual}")).unwrap();
        } else if actual != expected {
            wrong.push(format!("{}:\n{actual}", path.display()));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 0, "the golden files are not where they were");
}

/// The shipped configuration, with its directories moved to where they exist, and programs that do.
fn shipped(root: &Path) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/pywebd/pywebd.toml");
    let mut text = fs::read_to_string(file).unwrap();
    for program in ["/usr/bin/php-cgi", "/usr/lib/git-core/git-http-backend"] {
        text = text.replace(program, "/bin/sh");
    }
    fs::create_dir_all(root.join("sites.d")).unwrap();
    for (written, directory) in [
        ("/usr/share/pywebd/www", "www/cgi-bin/.."),
        ("/srv/www/example", "example"),
        ("/srv/downloads", "downloads"),
        ("/srv/shared", "shared"),
        ("/usr/local/lib/tools", "tools"),
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
        text = text.replace(written, root.join(directory).to_str().unwrap());
    }
    for file in [
        "example/404.html",
        "example/app/index.html",
        "members.htpasswd",
    ] {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(
            file,
            "alice:$2b$04$pVhEpzP74YVLoHPJ424JquqF2./2yVjTflY8n1ed.xuQ22DHmZeyS",
        )
        .unwrap();
    }
    text
}

/// What `show` says, without where it comes from.
fn values(root: &Path, text: &str) -> Vec<String> {
    let file = root.join("pywebd.toml");
    fs::write(&file, text).unwrap();
    let outcome = show(&Source::File(file));
    assert_eq!(outcome.findings, "");
    let value = |line: &str| line.split("  # ").next().unwrap().trim_end().to_owned();
    outcome.output.lines().map(value).collect()
}

#[test]
fn the_shipped_configuration_passes_strict_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pywebd.toml");
    fs::write(&file, shipped(directory.path())).unwrap();
    let outcome = check(&Source::File(file), Warnings::Fail);
    assert_eq!((&*outcome.findings, outcome.exit), ("", Exit::Success));
}

#[test]
fn keys_that_are_commented_out_in_the_shipped_configuration_are_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let text = shipped(directory.path());
    let is_key = |line: &&str| line.starts_with('#') && line[1..].starts_with(char::is_alphabetic);
    assert!(text.lines().filter(is_key).count() > 20);
    let written: String = text
        .lines()
        .map(|line| if is_key(&line) { &line[1..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    let defaults = values(directory.path(), &text);
    assert_eq!(values(directory.path(), &written), defaults);
}

#[test]
fn the_examples_in_the_shipped_configuration_load() {
    let directory = tempfile::tempdir().unwrap();
    let text = shipped(directory.path()).replace("#: ", "");
    let values = values(directory.path(), &text);
    assert!(
        values
            .iter()
            .any(|line| line == "site.example.canonical = \"example.org\"")
    );
    assert!(
        values
            .iter()
            .any(|line| line == "site.example.path.\"*.inc\".deny = true")
    );
}

#[test]
fn a_warning_fails_only_a_strict_check() {
    let directory = tempfile::tempdir().unwrap();
    let text = shipped(directory.path());
    fs::remove_dir(directory.path().join("sites.d")).unwrap();
    let file = directory.path().join("pywebd.toml");
    fs::write(&file, text).unwrap();
    let source = Source::File(file);
    assert_eq!(check(&source, Warnings::Pass).exit, Exit::Success);
    assert_eq!(check(&source, Warnings::Fail).exit, Exit::Config);
}

/// The input with the line that names the command, and the expected output.
fn split(text: &str) -> (&str, &str) {
    ["-- check --\n", "-- show --\n"]
        .iter()
        .find_map(|command| {
            let end = text.find(command)? + command.len();
            Some(text.split_at(end))
        })
        .expect("a golden file names a command")
}

/// Lays out the files of an input and runs its command, with the directory's path taken out.
fn outcome(input: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let command = input.lines().last().unwrap();
    let source = Source::File(root.join("pywebd.toml"));
    lay_out(input, &root);
    let outcome = match command {
        "-- check --" => check(&source, Warnings::Pass),
        _ => show(&source),
    };
    let Outcome {
        output,
        findings,
        exit,
    } = outcome;
    let status = exit as u8;
    let findings = anstream::adapter::strip_str(&findings).to_string();
    let text = format!("{findings}{output}exit status {status}\n");
    let root = root.display();
    let mut text = text
        .replace(&format!("--> {root}/"), "--> ")
        .replace(&format!("# {root}/"), "# ")
        .replace(&format!("{root}/"), "$DIRECTORY/");
    // The column of the origins depends on the directory's name.
    while text.contains("   # ") {
        text = text.replace("   # ", "  # ");
    }
    text
}

fn lay_out(input: &str, root: &Path) {
    let mut lines = input.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(name) = line
            .strip_prefix("-- ")
            .and_then(|line| line.strip_suffix(" --"))
        else {
            continue;
        };
        let mut content = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("-- ")) {
            content.push_str(line);
            content.push('\n');
        }
        let (name, mode) = name.split_once(' ').unwrap_or((name, ""));
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content.replace("$DIRECTORY", root.to_str().unwrap())).unwrap();
        }
        if let Ok(mode) = u32::from_str_radix(mode, 8) {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}
