//! What a command that only looks has to say, for the caller to print.

use std::io::Write;

use crate::cli::Exit;

/// What a command prints, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output.
    pub output: String,
    /// For standard error, with ANSI styles.
    pub findings: String,
    /// How the program ends.
    pub exit: Exit,
}

impl Outcome {
    /// Prints it, without styles where nobody sees them.
    pub fn print(&self) -> Exit {
        // A closed stream is no reason to fail differently.
        let _ = anstream::stderr().write_all(self.findings.as_bytes());
        let _ = anstream::stdout().write_all(self.output.as_bytes());
        self.exit
    }
}
