//! What a configuration names on disk: roots, directories of scripts, the scripts and their
//! interpreters. Looks only; a script is never run, and a FIFO is never waited for.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry, File, Metadata},
    io::Read as _,
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use crate::{
    config::{findings::Mistake, looks::Looks, read::reason},
    fs::policy::{hidden_component, is_hidden},
};

/// So many files are looked at below one path key.
const MOST_FILES: usize = 4096;

/// Levels of directories: those that a key names, and one below.
const DEPTH: usize = 2;

/// Where `env` of a `#!` line looks for its program.
const SEARCHED: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Whether a directory is there and can be read; the error completes a sentence about it.
pub(super) fn directory(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => return Err("is not a directory".into()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("does not exist".into());
        }
        Err(error) => return Err(format!("cannot be read: {}", reason(&error))),
    }
    rustix::fs::access(path, Access::READ_OK | Access::EXEC_OK)
        .map_err(|error| format!("cannot be read: {}", reason(&error.into())))
}

/// The directory that a path key names below a root; none for a key that is never served.
pub(super) fn below(root: &Path, key: &[u8]) -> Option<PathBuf> {
    let relative = key.strip_prefix(b"/")?;
    let named = hidden_component(relative).is_none() && !relative.contains(&0);
    named.then(|| root.join(OsStr::from_bytes(relative)))
}

/// The path, ending with a slash, by which a directory is below a root; none where it is not.
pub(super) fn path_below(root: &Path, directory: &Path) -> Option<Vec<u8>> {
    let (root, directory) = (root.canonicalize().ok()?, directory.canonicalize().ok()?);
    let relative = directory.strip_prefix(root).ok()?.as_os_str().as_bytes();
    Some(match relative {
        b"" => b"/".to_vec(),
        _ => [b"/", relative, b"/"].concat(),
    })
}

/// What is wrong with the scripts of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Somebody else can change what would run: it must not be run.
    Unsafe(Mistake),
    /// It would not run.
    Broken(Mistake),
}

/// Looks at a directory of scripts and those directly below it. Links may lead to what is in it or
/// in one of the other directories. Nothing comes of a directory that cannot be looked into.
pub(super) fn scripts<'d>(
    directory: &'d Path,
    followed: impl Iterator<Item = &'d Path>,
    looks: &'d Looks,
) -> Option<Vec<Finding>> {
    let followed = followed.filter(|place| !looks.is_silent(place));
    let places = std::iter::once(directory).chain(followed);
    let mut look = Look {
        looks,
        places: places.collect(),
        left: MOST_FILES,
        findings: Vec::new(),
    };
    look.directory(directory, DEPTH)?;
    Some(look.findings)
}

/// A look at the scripts of a path key.
struct Look<'d> {
    looks: &'d Looks,
    /// Where links may lead.
    places: Vec<&'d Path>,
    /// How many files may still be looked at.
    left: usize,
    findings: Vec<Finding>,
}

/// Whether a directory has a file whose name ends so.
pub(super) fn has_ending(directory: &Path, ending: &[u8]) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names = entries
        .take(MOST_FILES)
        .flatten()
        .map(|entry| entry.file_name());
    names.any(|name| name.as_bytes().ends_with(ending))
}

/// What is wrong with a program that the configuration names itself.
pub(super) fn program(file: &Path, looks: &Looks) -> Option<Finding> {
    let name = file.display();
    let broken = |message: String| Some(Finding::Broken(Mistake::new(message)));
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return broken(format!("program {name} does not exist"));
        }
        Err(error) => return broken(format!("program {name} cannot be seen: {}", reason(&error))),
    };
    if !metadata.is_file() {
        return broken(format!("{name} is not a program"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        let mistake = Mistake::new(format!("program {name} is not executable"));
        return Some(Finding::Broken(mistake.help(format!("chmod +x {name}"))));
    }
    if file.file_name() == Some(OsStr::new("php")) {
        // Debian's is the one for the command line.
        let mistake = Mistake::new(format!("{name} writes no header, as scripts must"));
        return Some(Finding::Broken(mistake.help("write /usr/bin/php-cgi")));
    }
    inspect_file(file, &metadata, looks)
}

impl Look<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) -> Option<()> {
        // What cannot be read here cannot be run by name either, or is no business of ours.
        let metadata = fs::metadata(directory).ok()?;
        let entries = fs::read_dir(directory).ok()?;
        self.findings
            .extend(writable("directory", directory, &metadata));
        let mut entries: Vec<_> = entries.take(self.left).flatten().collect();
        self.left -= entries.len();
        entries.sort_by_cached_key(DirEntry::file_name);
        for entry in entries {
            if is_hidden(entry.file_name().as_bytes()) {
                continue;
            }
            let path = entry.path();
            let Some(Ok(metadata)) = self.looks.at(&path, || fs::metadata(&path)) else {
                continue;
            };
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let leads_out = is_link.then(|| self.leads_out(&path, &metadata)).flatten();
            if let Some(mistake) = leads_out {
                self.findings.push(Finding::Broken(mistake));
            } else if metadata.is_file() {
                self.findings
                    .extend(inspect_file(&path, &metadata, self.looks));
            } else if metadata.is_dir() && depth > 1 {
                self.directory(&path, depth - 1);
            }
        }
        Some(())
    }

    /// A link to a program that is somewhere else.
    fn leads_out(&self, path: &Path, metadata: &Metadata) -> Option<Mistake> {
        if metadata.permissions().mode() & 0o111 == 0 {
            return None;
        }
        let target = path.canonicalize().ok()?;
        let places = self.places.iter();
        let mut places = places.filter_map(|place| place.canonicalize().ok());
        if places.any(|place| target.starts_with(place)) {
            return None;
        }
        let (path, parent) = (path.display(), target.parent()?.display());
        let message = format!("{path} is not run: it is a link out of its directory");
        let target = target.display();
        let help = format!(
            "write a path key for it with script = \"{target}\", or follow = [\"{parent}\"] for the site"
        );
        Some(Mistake::new(message).help(help))
    }
}

fn inspect_file(path: &Path, metadata: &Metadata, looks: &Looks) -> Option<Finding> {
    let is_executable = metadata.permissions().mode() & 0o111 != 0;
    let line = first_line(path);
    let interpreter = line.strip_prefix(b"#!").map(<[u8]>::to_owned);
    if !is_executable {
        let is_script = interpreter.is_some() || path.extension() == Some(OsStr::new("cgi"));
        return is_script.then(|| {
            let mistake = Mistake::new(format!("script {} is not executable", path.display()));
            Finding::Broken(mistake.help(format!("chmod +x {}", path.display())))
        });
    }
    if let Some(finding) = writable("script", path, metadata) {
        return Some(finding);
    }
    missing_interpreter(path, &interpreter?, looks).map(Finding::Broken)
}

fn writable(what: &str, path: &Path, metadata: &Metadata) -> Option<Finding> {
    (metadata.permissions().mode() & 0o002 != 0).then(|| {
        let path = path.display();
        let mistake = Mistake::new(format!("{what} {path} can be written by every user"));
        Finding::Unsafe(mistake.help(format!("chmod o-w {path}")))
    })
}

/// The beginning of a file's first line, without its newline; empty where it cannot be read.
fn first_line(path: &Path) -> Vec<u8> {
    const LONGEST: usize = 256;
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut start = vec![0; LONGEST];
    // Of a regular file the first read has all that is wanted.
    let length = options
        .open(path)
        .and_then(|mut file| file.read(&mut start));
    start.truncate(length.unwrap_or_default());
    let end = start.iter().position(|&byte| byte == b'\n');
    start.truncate(end.unwrap_or(start.len()));
    start
}

/// What follows `#!`: a program that must exist; with `env`, a name that must be found.
fn missing_interpreter(script: &Path, line: &[u8], looks: &Looks) -> Option<Mistake> {
    let script = script.display();
    let mut words = line
        .split(|&byte| byte == b' ' || byte == b'\t')
        .filter(|word| !word.is_empty());
    let program = Path::new(OsStr::from_bytes(words.next().unwrap_or_default()));
    if line.ends_with(b"\r") {
        let mistake = Mistake::new(format!(
            "the `#!` line of {script} ends with a carriage return"
        ));
        return Some(mistake.help(format!("sed -i 's/\\r$//' {script}")));
    }
    if !may_be_file(program, looks) {
        let message = format!(
            "interpreter {} of {script} does not exist",
            program.display()
        );
        let mistake = Mistake::new(message);
        return Some(match instead(program, looks) {
            Some(instead) => mistake.help(format!("{} does", instead.display())),
            None => mistake,
        });
    }
    let searched = words
        .next()
        .filter(|_| program.file_name() == Some(OsStr::new("env")))?;
    // Options of env and assignments are for whoever writes them to know.
    if searched.starts_with(b"-") || searched.contains(&b'=') {
        return None;
    }
    let name = Path::new(OsStr::from_bytes(searched));
    if found(name, looks).is_some() {
        return None;
    }
    let mistake = Mistake::new(format!(
        "interpreter {} of {script} is not found",
        name.display()
    ));
    Some(match instead(name, looks) {
        Some(instead) => mistake.help(format!("{} exists", instead.display())),
        None => mistake.help(format!("looked for in {}", SEARCHED.join(", "))),
    })
}

/// Whether a program is there, or is somewhere that does not answer.
fn may_be_file(path: &Path, looks: &Looks) -> bool {
    looks.at(path, || path.is_file()).unwrap_or(true)
}

fn found(name: &Path, looks: &Looks) -> Option<PathBuf> {
    SEARCHED
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| may_be_file(path, looks))
}

/// The same interpreter under another name or in another place: `python3` for `python`.
fn instead(program: &Path, looks: &Looks) -> Option<PathBuf> {
    let name = program.file_name()?.to_str()?;
    let bare =
        name.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
    let names = [name.to_owned(), format!("{bare}3"), bare.to_owned()];
    let mut found = names
        .iter()
        .filter_map(|name| found(Path::new(name), looks));
    // Nobody knows what is where nothing answers.
    found.find(|path| !looks.is_silent(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_with(name: &str, mode: u32, content: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        (directory, file)
    }

    fn messages(directory: &Path) -> Vec<String> {
        let message = |finding| match finding {
            Finding::Unsafe(mistake) => format!("unsafe: {}", mistake.message),
            Finding::Broken(mistake) => format!("broken: {}", mistake.message),
        };
        let findings = scripts(directory, std::iter::empty(), &Looks::new()).unwrap();
        findings.into_iter().map(message).collect()
    }

    #[test]
    fn scripts_that_would_not_run_are_found() {
        for (name, mode, content, expected) in [
            ("a", 0o755, "#!/bin/sh\n", ""),
            ("a", 0o755, "#! /usr/bin/env sh\n", ""),
            ("a", 0o755, "\u{7f}ELF", ""),
            ("a", 0o755, "#!/usr/bin/env -S sh -e\n", ""),
            ("module.py", 0o644, "x = 1\n", ""),
            (".hidden", 0o666, "#!/none", ""),
            (
                "a",
                0o644,
                "#!/bin/sh\n",
                "broken: script PATH is not executable",
            ),
            ("a.cgi", 0o644, "", "broken: script PATH is not executable"),
            (
                "a",
                0o757,
                "#!/bin/sh\n",
                "unsafe: script PATH can be written by every user",
            ),
            (
                "a",
                0o755,
                "#!/none\n",
                "broken: interpreter /none of PATH does not exist",
            ),
            (
                "a",
                0o755,
                "#!",
                "broken: interpreter  of PATH does not exist",
            ),
            (
                "a",
                0o755,
                "#!/usr/bin/env none-such\n",
                "broken: interpreter none-such of PATH is not found",
            ),
            (
                "a",
                0o755,
                "#!/bin/sh\r\n",
                "broken: the `#!` line of PATH ends with a carriage return",
            ),
        ] {
            let (directory, file) = directory_with(name, mode, content);
            let expected = expected.replace("PATH", &file.display().to_string());
            let expected: Vec<_> = Some(expected)
                .filter(|text| !text.is_empty())
                .into_iter()
                .collect();
            assert_eq!(
                messages(directory.path()),
                expected,
                "{name} {mode:o} {content:?}"
            );
        }
    }

    #[test]
    fn directories_one_level_deeper_are_looked_at_and_no_deeper() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("one/two");
        fs::create_dir_all(&deep).unwrap();
        for path in ["one/a.cgi", "one/two/b.cgi"] {
            fs::write(directory.path().join(path), "").unwrap();
        }
        let found = messages(directory.path());
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("one/a.cgi"));
    }

    #[test]
    fn a_directory_that_everybody_can_write_is_unsafe() {
        let directory = tempfile::tempdir().unwrap();
        let mode = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(directory.path(), mode).unwrap();
        let found = messages(directory.path());
        assert!(found[0].starts_with("unsafe: directory"), "{found:?}");
    }

    #[test]
    fn another_name_of_an_interpreter_is_suggested() {
        let missing = Path::new("/usr/local/none/sh");
        assert!(instead(missing, &Looks::new()).is_some_and(|path| path.ends_with("sh")));
    }
}
