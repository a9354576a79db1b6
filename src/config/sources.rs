//! The texts a configuration was read from, in one space of offsets.
//!
//! Each file gets a base; base plus offset in the file is unique over all files, so that a span
//! alone names file and place. No file begins at 0: [`NOWHERE`] is the span of what no text says.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{config::diagnostic::Place, site::Origin};

/// A range of global offsets.
pub(super) type Span = Range<usize>;

/// The span of what stands in no file: defaults and the command line.
pub(super) const NOWHERE: Span = 0..0;

/// Longer lines are not shown in diagnostics.
const SHOWN_LINE: usize = 240;

/// Every file that was read, in the order of reading.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<SourceFile>,
}

#[derive(Debug)]
struct SourceFile {
    name: Arc<str>,
    directory: PathBuf,
    base: usize,
    text: String,
    line_starts: Vec<usize>,
}

impl Sources {
    /// Adds a file; returns its base.
    pub fn add(&mut self, path: &Path, text: String) -> usize {
        // One more than the text: its end is a place too, where things are missing.
        let base = self
            .files
            .last()
            .map_or(1, |file| file.base + file.text.len() + 1);
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        self.files.push(SourceFile {
            name: path.to_string_lossy().into(),
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            base,
            text,
            line_starts,
        });
        base
    }

    /// The text of the file with this base; empty where there is none.
    pub fn text(&self, base: usize) -> &str {
        self.file(&(base..base)).map_or("", |file| &file.text)
    }

    /// The index of the line with this offset in its file.
    pub fn line(&self, at: usize) -> usize {
        self.file(&(at..at))
            .map_or(0, |file| file.line(at - file.base))
    }

    /// The place a span names; none for [`NOWHERE`].
    pub fn place(&self, span: &Span) -> Option<Place> {
        let file = self.file(span)?;
        let (start, end) = (span.start - file.base, span.end - file.base);
        let line = file.line(start);
        let line_start = file.line_starts[line];
        let text = file.text[line_start..]
            .split(['\n', '\r'])
            .next()
            .unwrap_or_default();
        let shown = if text.len() > SHOWN_LINE { "" } else { text };
        let line_end = line_start + text.len();
        Some(Place {
            file: file.name.to_string(),
            line: number(line + 1),
            column: number(file.characters(line_start..start) + 1),
            width: number(file.characters(start..end.min(line_end)).max(1)),
            text: shown.to_owned(),
        })
    }

    /// Where something was written; none for [`NOWHERE`].
    pub fn origin(&self, span: &Span) -> Option<Origin> {
        self.file(span).map(|file| Origin {
            file: Arc::clone(&file.name),
            line: number(file.line(span.start - file.base) + 1),
        })
    }

    /// A path as written at a span, made absolute: relative ones are relative to their file.
    pub fn resolve(&self, path: &Path, span: &Span) -> PathBuf {
        let directory = self.file(span).map(|file| file.directory.as_path());
        let path = directory.unwrap_or(Path::new("")).join(path);
        // Fails for an empty path and without a current directory; then the path stays as it is,
        // and whoever opens it finds nothing.
        std::path::absolute(&path).unwrap_or(path)
    }

    fn file(&self, span: &Span) -> Option<&SourceFile> {
        let after = self.files.partition_point(|file| file.base <= span.start);
        self.files.get(after.checked_sub(1)?)
    }
}

impl SourceFile {
    /// The index of the line with this offset.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset) - 1
    }

    fn characters(&self, range: Range<usize>) -> usize {
        let bytes = self.text.as_bytes().get(range).unwrap_or_default();
        let continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        bytes.len() - bytes.iter().filter(continuation).count()
    }
}

/// Files are bounded far below 4 GiB.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_names_file_line_and_column() {
        let mut sources = Sources::default();
        sources.add(Path::new("a.toml"), "one\n".into());
        let base = sources.add(Path::new("d/b.toml"), "x\r\né = 1\r\n".into());
        let start = base + "x\r\né ".len();
        let place = sources.place(&(start..start + 3)).unwrap();
        assert_eq!(
            (&*place.file, place.line, place.column, place.width),
            ("d/b.toml", 2, 3, 3)
        );
        assert_eq!(place.text, "é = 1");
    }

    #[test]
    fn the_end_of_a_file_is_a_place_in_it() {
        let mut sources = Sources::default();
        let first = sources.add(Path::new("a.toml"), "x = ".into());
        sources.add(Path::new("b.toml"), String::new());
        let place = sources.place(&(first + 4..first + 4)).unwrap();
        assert_eq!((&*place.file, place.line, place.column), ("a.toml", 1, 5));
        assert_eq!(place.width, 1);
    }

    #[test]
    fn what_no_text_says_has_no_place() {
        let mut sources = Sources::default();
        sources.add(Path::new("a.toml"), "x".into());
        assert_eq!(sources.place(&NOWHERE), None);
        assert_eq!(sources.origin(&NOWHERE), None);
    }

    #[test]
    fn a_relative_path_is_relative_to_its_file() {
        let mut sources = Sources::default();
        let base = sources.add(Path::new("/etc/pywebd/a.toml"), "x".into());
        let at = base..base + 1;
        assert_eq!(
            sources.resolve(Path::new("www"), &at),
            Path::new("/etc/pywebd/www")
        );
        assert_eq!(sources.resolve(Path::new("/srv"), &at), Path::new("/srv"));
    }
}
