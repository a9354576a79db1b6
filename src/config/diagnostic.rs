//! Errors and warnings about a configuration, each with its place and its remedy.
//!
//! Two renderings: [`Report::render`] for a terminal, in the shape that rustc made familiar, with
//! ANSI styles that the caller's stream keeps or strips; and [`Diagnostic`]'s `Display`, one line
//! for the journal. What stands in a configuration never reaches a terminal as a control character.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but probably does not do what was meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may have several lines.
    pub help: Option<String>,
    /// File, line from 1, column from 1, and the text of the line; absent where no text is to
    /// blame.
    pub place: Option<Place>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters are meant; at least 1.
    pub width: u32,
    /// The line's text; empty where the line is too long to show.
    pub text: String,
}

/// All findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings are so bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    /// All findings for a terminal, with ANSI styles, an empty line after each.
    pub fn render(&self) -> String {
        let rendered = self.diagnostics.iter().map(|diagnostic| {
            let mut out = String::new();
            // Writing to a String cannot fail.
            let _ = diagnostic.render(&mut out);
            out.push('\n');
            out
        });
        rendered.collect()
    }
}

const BOLD: Style = Style::new().bold();
const FRAME: Style = AnsiColor::Blue.on_default().bold();
const HELP: Style = AnsiColor::Green.on_default().bold();

impl Severity {
    fn style(self) -> Style {
        match self {
            Self::Error => AnsiColor::Red.on_default().bold(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl Diagnostic {
    fn render(&self, out: &mut impl Write) -> fmt::Result {
        let style = self.severity.style();
        let severity = self.severity;
        let message = Printable(&self.message);
        writeln!(out, "{style}{severity}{style:#}{BOLD}: {message}{BOLD:#}")?;
        let margin = match &self.place {
            Some(place) => place.render(style, out)?,
            None => 0,
        };
        if let Some(help) = &self.help {
            let mut lines = help.lines();
            let first = Printable(lines.next().unwrap_or_default());
            writeln!(out, "{:margin$} {HELP}help{HELP:#}: {first}", "")?;
            for line in lines {
                writeln!(out, "{:margin$}       {}", "", Printable(line))?;
            }
        }
        Ok(())
    }
}

impl Place {
    /// Writes the arrow, the line and the carets; returns the width of the line number's column.
    fn render(&self, style: Style, out: &mut impl Write) -> Result<usize, fmt::Error> {
        let margin = self.line.to_string().len();
        writeln!(out, "{:margin$}{FRAME}-->{FRAME:#} {self}", "")?;
        if !self.text.is_empty() {
            let line = self.line;
            // Tabs stay tabs below the text, so that the carets stand where the terminal puts it.
            let indent: String = self
                .text
                .chars()
                .take(self.column as usize - 1)
                .map(|character| if character == '\t' { '\t' } else { ' ' })
                .collect();
            let carets = "^".repeat(self.width as usize);
            let text = Printable(&self.text);
            writeln!(out, "{:margin$} {FRAME}|{FRAME:#}", "")?;
            writeln!(out, "{FRAME}{line} |{FRAME:#} {text}")?;
            writeln!(
                out,
                "{:margin$} {FRAME}|{FRAME:#} {indent}{style}{carets}{style:#}",
                ""
            )?;
        }
        Ok(margin)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = Printable(&self.file);
        write!(out, "{file}:{}:{}", self.line, self.column)
    }
}

/// One line: `file:line:column: error: message (help)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        write!(out, "{}: {}", self.severity, Printable(&self.message))?;
        if let Some(help) = &self.help {
            let lines: Vec<_> = help.lines().map(str::trim).collect();
            write!(out, " ({})", Printable(&lines.join("; ")))?;
        }
        Ok(())
    }
}

/// Text with its control characters (but tabs) replaced one for one, so that columns stay right.
pub(super) struct Printable<'t>(pub &'t str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            let control = character.is_control() && character != '\t';
            out.write_char(if control { '\u{fffd}' } else { character })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown_key() -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: "unknown key `rooot`".into(),
            help: Some("did you mean `root`?".into()),
            place: Some(Place {
                file: "a.toml".into(),
                line: 12,
                column: 2,
                width: 5,
                text: "\trooot = \"\u{1b}[2J\"".into(),
            }),
        }
    }

    fn plain(diagnostic: Diagnostic) -> String {
        let report = Report {
            diagnostics: vec![diagnostic],
        };
        anstream::adapter::strip_str(&report.render()).to_string()
    }

    #[test]
    fn a_finding_shows_its_line_with_carets_below_it() {
        let expected = "\
error: unknown key `rooot`
  --> a.toml:12:2
   |
12 | \trooot = \"\u{fffd}[2J\"
   | \t^^^^^
   help: did you mean `root`?

";
        assert_eq!(plain(unknown_key()), expected);
    }

    #[test]
    fn a_finding_without_a_place_is_its_message() {
        let diagnostic = Diagnostic {
            place: None,
            help: Some("one\ntwo".into()),
            ..unknown_key()
        };
        let expected = "error: unknown key `rooot`\n help: one\n       two\n\n";
        assert_eq!(plain(diagnostic), expected);
    }

    #[test]
    fn the_journal_gets_one_line() {
        let diagnostic = Diagnostic {
            message: "unknown\nkey".into(),
            help: Some("write\n  x = 1".into()),
            ..unknown_key()
        };
        assert_eq!(
            diagnostic.to_string(),
            "a.toml:12:2: error: unknown\u{fffd}key (write; x = 1)"
        );
    }
}
