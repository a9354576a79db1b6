//! `pywebd completions`: scripts that have a shell complete verbs, options and names of files.
//!
//! They come from the definition that the command line is parsed with.

use clap::{Command, CommandFactory};
use clap_complete::aot::{Generator, generate};
use clap_complete::shells::{Bash, Fish, Zsh};

use crate::cli::{
    Exit,
    arguments::{Arguments, Shell},
    outcome::Outcome,
};

/// What is offered besides options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operands {
    /// What each operand says of itself.
    Described,
    /// What the shell offers by itself.
    Unsaid,
}

/// The script for a shell.
pub fn completions(shell: Shell) -> Outcome {
    let script = match shell {
        // Described to bash, an operand is offered as the word that stands for it: `[DIR]`.
        Shell::Bash => script(Bash, Operands::Unsaid),
        Shell::Zsh => script(Zsh, Operands::Described),
        Shell::Fish => script(Fish, Operands::Described),
    };
    Outcome {
        output: String::from_utf8_lossy(&script).into_owned(),
        findings: String::new(),
        exit: Exit::Success,
    }
}

fn script(shell: impl Generator, operands: Operands) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = offered(&Arguments::command(), operands);
    generate(shell, &mut command, "pywebd", &mut script);
    script
}

/// A command without what is not for people: generators offer hidden verbs, too.
fn offered(command: &Command, operands: Operands) -> Command {
    let arguments = command
        .get_arguments()
        .filter(|argument| operands == Operands::Described || !argument.is_positional());
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let mut offered = Command::new(command.get_name().to_owned())
        .args(arguments.cloned())
        .subcommands(verbs.map(|verb| self::offered(verb, operands)));
    if let Some(about) = command.get_about() {
        offered = offered.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        offered = offered.version(version.to_owned());
    }
    offered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_options_are_offered_and_hidden_verbs_are_not() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(shell).output;
            for word in ["serve", "explain", "config", "listen", "strict"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
            for verb in [
                "completions",
                "pywebd__launcher",
                "-a \"launcher\"",
                "'launcher:",
            ] {
                assert!(!script.contains(verb), "{shell:?}: {verb}");
            }
        }
    }
}
