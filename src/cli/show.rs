//! `pywebd show`: the effective configuration, each value with where it comes from.

use crate::{
    cli::{Exit, outcome::Outcome},
    config::{self, Setting, Source, environment},
};

/// Origins stand in one column, unless a value is too long for that.
const WIDEST: usize = 64;

/// Loads a configuration and writes out every value that holds; nothing when it has errors.
pub fn show(source: &Source) -> Outcome {
    let loaded = config::load(source, &environment::variable);
    let findings = loaded.report.render();
    match loaded.snapshot {
        Some(_) => Outcome {
            output: table(&loaded.values.settings()),
            findings,
            exit: Exit::Success,
        },
        None => Outcome {
            output: String::new(),
            findings,
            exit: Exit::Config,
        },
    }
}

fn table(settings: &[Setting]) -> String {
    let assignments: Vec<_> = settings
        .iter()
        .map(|setting| format!("{} = {}", setting.key, setting.value))
        .collect();
    let widths = assignments.iter().map(|text| text.chars().count());
    let width = widths.filter(|&width| width <= WIDEST).max().unwrap_or(0);
    let lines: Vec<_> = assignments
        .iter()
        .zip(settings)
        .map(|(text, setting)| format!("{text:width$}  # {}\n", origin(setting)))
        .collect();
    lines.concat()
}

fn origin(setting: &Setting) -> String {
    match &setting.origin {
        Some(origin) => format!("{}:{}", origin.file, origin.line),
        None => "default".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_stand_in_one_column() {
        let setting = |key: &str| Setting {
            key: key.into(),
            value: "1".into(),
            origin: None,
        };
        let expected = "a = 1       # default\nlonger = 1  # default\n";
        let long = "x".repeat(WIDEST);
        let table = table(&[setting("a"), setting("longer"), setting(&long)]);
        assert_eq!(table, format!("{expected}{long} = 1  # default\n"));
    }
}
