//! Files of a configuration: reads them, follows `include`, and checks `version`.
//!
//! Each file is parsed here for its syntax errors, all of them at once, and for the two keys that
//! concern the file itself. Never waits for a FIFO, never reads more than [`LARGEST_FILE`] of one.

use std::{
    borrow::Cow,
    collections::HashSet,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::config::{
    findings::{Findings, Mistake},
    include::{Included, PatternError},
    seen::Seen,
    sources::{NOWHERE, Sources, Span},
    texts::Texts,
    tree::{Variables, adopted, replace_variables},
};

/// The keys of a file, which do not take part in the merged tree.
pub(super) const FILE_KEYS: [&str; 2] = ["version", "include"];

/// The version of the schema.
const VERSION: &str = "1";

/// Bytes of one file: some 40,000 sites.
const LARGEST_FILE: usize = 8 << 20;

/// Includes within includes.
const DEEPEST_INCLUDE: usize = 8;

/// Syntax errors shown of one file: after that many, it is not TOML at all.
const SYNTAX_ERRORS: usize = 20;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Files<'t> {
    /// The texts.
    pub sources: Sources,
    /// The files without a syntax error: where their texts begin, and their trees.
    pub intact: Vec<(usize, DeTable<'t>)>,
    /// Whether a file could not be read or has syntax errors.
    pub incomplete: bool,
    /// Every file and pattern that was asked for.
    pub seen: Vec<Seen>,
}

/// Reads the main file and what it includes.
pub(super) fn read<'t>(
    path: &Path,
    texts: &'t Texts,
    variables: Variables<'_>,
    findings: &mut Findings,
) -> Files<'t> {
    let mut reader = Reader {
        files: Files::default(),
        texts,
        read: HashSet::new(),
        variables,
        findings,
    };
    reader.file(path, &NOWHERE, 0);
    reader.files
}

struct Reader<'a, 't> {
    files: Files<'t>,
    texts: &'t Texts,
    /// Device and inode of each file.
    read: HashSet<(u64, u64)>,
    variables: Variables<'a>,
    findings: &'a mut Findings,
}

impl Reader<'_, '_> {
    /// Reads a file that was asked for at a span: the main file, at depth 0, or an included one.
    fn file(&mut self, path: &Path, asked: &Span, depth: usize) {
        let (seen, opened) = match open(path) {
            Ok((file, stat)) => (Seen::opened(path, &stat), content(file, &stat)),
            // What is there is to be as bad as what is seen now.
            Err(_) => (Seen::path(path), read_whole(path)),
        };
        self.files.seen.push(seen);
        let (identity, bytes) = match opened {
            Ok(opened) => opened,
            Err(reason) => {
                self.files.incomplete = true;
                let message = format!("cannot read {}: {reason}", path.display());
                self.findings.error(asked, Mistake::new(message));
                return;
            }
        };
        if !self.read.insert(identity) {
            let message = format!("{} is read already", path.display());
            let help = "a file must not include itself or be included twice";
            self.findings.error(asked, Mistake::new(message).help(help));
            return;
        }
        let base = self.text(path, bytes);
        let text = self.texts.keep(self.files.sources.text(base).to_owned());
        let (table, errors) = DeTable::parse_recoverable(text);
        let table = table.into_inner();
        self.syntax_errors(&errors, text, base);
        // A broken file may hide its version behind the error.
        if errors.is_empty() || table.contains_key("version") {
            self.version(&table, base, depth);
        }
        let include = table.get("include").cloned();
        if errors.is_empty() {
            let tree = adopted(table, base, self.variables, self.findings);
            self.files.intact.push((base, tree));
        } else {
            self.files.incomplete = true;
        }
        if let Some(include) = include {
            self.include(&include, path, base, depth);
        }
    }

    /// Reports the first error of each line: what follows in it is mostly a consequence.
    fn syntax_errors(&mut self, errors: &[Error], text: &str, base: usize) {
        let mut lines = HashSet::new();
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let line = self.files.sources.line(base + span.start);
            if lines.insert(line) {
                let mistake = syntax_mistake(error.message(), text, (span.start, line));
                self.findings
                    .error(&(base + span.start..base + span.end), mistake);
            }
            if lines.len() == SYNTAX_ERRORS {
                return;
            }
        }
    }

    /// Adds the text of a file; what is not UTF-8 is reported.
    fn text(&mut self, path: &Path, bytes: Vec<u8>) -> usize {
        match String::from_utf8(bytes) {
            Ok(text) => self.files.sources.add(path, text),
            Err(error) => {
                // The text before the first bad byte is the same in the lossy one.
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let base = self.files.sources.add(path, text);
                let help = "save the file as UTF-8";
                let mistake = Mistake::new("the file is not UTF-8").help(help);
                self.findings.error(&(base + at..base + at), mistake);
                self.files.incomplete = true;
                base
            }
        }
    }

    fn version(&mut self, table: &DeTable<'_>, base: usize, depth: usize) {
        let Some(version) = table.get("version") else {
            if depth == 0 {
                let mistake = Mistake::new("`version` is missing");
                let mistake = mistake.help(format!("begin the file with `version = {VERSION}`"));
                self.findings.error(&(base..base), mistake);
            }
            return;
        };
        let span = base + version.span().start..base + version.span().end;
        let number = version.get_ref().as_integer();
        if number.is_none_or(|number| number.to_string() != VERSION) {
            let message = format!("this pywebd reads `version = {VERSION}` only");
            self.findings.error(
                &span,
                Mistake::new(message).help(match number {
                    Some(_) => "a newer pywebd may read this file",
                    None => "the version is a number without quotes",
                }),
            );
        }
    }

    fn include(&mut self, include: &Spanned<DeValue<'_>>, path: &Path, base: usize, depth: usize) {
        let global = |span: Span| base + span.start..base + span.end;
        let Some(patterns) = include.get_ref().as_array() else {
            let mistake = Mistake::new("`include` is not an array");
            let mistake = mistake.help("write include = [\"sites.d/*.toml\"]");
            return self.findings.error(&global(include.span()), mistake);
        };
        for pattern in patterns {
            let span = global(pattern.span());
            let Some(text) = pattern.get_ref().as_str() else {
                let mistake = Mistake::new("an entry of `include` is not a string");
                self.findings.error(&span, mistake);
                continue;
            };
            let replaced = replace_variables(Cow::Borrowed(text), self.variables);
            let Some(text) = self.findings.accept(&span, replaced) else {
                continue;
            };
            if depth == DEEPEST_INCLUDE {
                let message = format!("more than {DEEPEST_INCLUDE} includes within each other");
                self.findings.error(&span, Mistake::new(message));
                continue;
            }
            self.pattern(&text, path, &span, depth);
        }
    }

    fn pattern(&mut self, pattern: &str, path: &Path, span: &Span, depth: usize) {
        let (seen, expanded) = Seen::expanded(pattern, path);
        match expanded {
            Ok(Included::File(file)) => self.file(&file, span, depth + 1),
            Ok(Included::Matches { files, others }) => {
                self.files.seen.push(seen);
                // An empty directory waits for its first file; one where others lie, but none
                // that matches, shows a slip in the pattern or in their names.
                if files.is_empty() && others {
                    let message = format!("{pattern:?} matches no file");
                    let help = "other files are there: compare their names with the pattern";
                    self.findings
                        .warning(span, Mistake::new(message).help(help));
                }
                for file in files {
                    self.file(&file, span, depth + 1);
                }
            }
            Err(PatternError::Directory(directory, error)) => {
                let message = format!("{pattern:?} matches no file");
                let help = format!("{}: {}", directory.display(), reason(&error));
                self.files.seen.push(seen);
                self.findings
                    .warning(span, Mistake::new(message).help(help));
            }
            Err(PatternError::WildcardInDirectory) => {
                let message = format!("{pattern:?} has a wildcard before the last slash");
                let help = "name each directory, and use `*` and `?` for the files in it";
                self.findings.error(span, Mistake::new(message).help(help));
            }
        }
    }
}

/// The content of a regular file that is not large, or why not.
pub(super) fn bounded(path: &Path) -> Result<Vec<u8>, String> {
    read_whole(path).map(|(_, bytes)| bytes)
}

/// Device and inode, and the content.
type Whole = ((u64, u64), Vec<u8>);

fn read_whole(path: &Path) -> Result<Whole, String> {
    let (file, stat) = open(path)?;
    content(file, &stat)
}

/// Opens a regular file, or says why not.
fn open(path: &Path) -> Result<(File, Stat), String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| reason(&io::Error::from(error)))?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| reason(&io::Error::from(error)))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((File::from(fd), stat)),
        FileType::Directory => Err("it is a directory".into()),
        _ => Err("it is not a regular file".into()),
    }
}

fn content(file: File, stat: &Stat) -> Result<Whole, String> {
    let size = usize::try_from(stat.st_size).unwrap_or_default();
    let mut bytes = Vec::with_capacity(size.min(LARGEST_FILE) + 1);
    file.take(LARGEST_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| reason(&error))?;
    if bytes.len() > LARGEST_FILE {
        return Err(format!("it is larger than {} MiB", LARGEST_FILE >> 20));
    }
    Ok(((stat.st_dev, stat.st_ino), bytes))
}

/// The system's words without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// A syntax error, with what people usually forget.
fn syntax_mistake(message: &str, text: &str, (start, line): (usize, usize)) -> Mistake {
    let mistake = Mistake::new(message);
    if message == "duplicate key" {
        return match first_of_two(text, line) {
            Some(first) => mistake.help(format!("it is in line {} already", first + 1)),
            None => mistake,
        };
    }
    match text.get(start..).and_then(|rest| rest.chars().next()) {
        Some('/' | '*') => mistake.help("a key or value with `/`, `.` or `*` needs quotes"),
        _ => mistake,
    }
}

/// The line above that begins as this one does: the same table, or the same key in one table.
fn first_of_two(text: &str, line: usize) -> Option<usize> {
    let lines: Vec<_> = text.lines().map(str::trim).take(line + 1).collect();
    let (last, above) = lines.split_last()?;
    let is_table = last.starts_with('[');
    let name = |line: &str| -> String {
        let end = if is_table {
            line.find(']')
        } else {
            line.find('=')
        };
        line[..end.unwrap_or(line.len())].trim().to_owned()
    };
    let first = above.iter().rposition(|above| name(above) == name(last))?;
    let is_same_table = !above[first..].iter().any(|line| line.starts_with('['));
    (is_table || is_same_table).then_some(first)
}
