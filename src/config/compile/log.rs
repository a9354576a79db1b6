//! `[log]`: where records go, and how much the server says.

use std::path::PathBuf;

use serde_spanned::Spanned;
use tracing::Level;

use crate::{
    config::{
        compile::resolver::Resolver,
        findings::Mistake,
        notation::quoted,
        raw::{self, Access},
        sources::NOWHERE,
        units::Notation,
    },
    records::format::AccessFormat,
    site::{AccessLog, Log},
};

/// Compiles the table.
pub(super) fn compile(raw: &raw::Log, resolver: &mut Resolver<'_>) -> Log {
    Log {
        access: access(raw.access.as_ref(), resolver),
        level: resolver
            .resolve("log.level", raw.level.as_ref(), &LEVEL, Level::INFO)
            .into_inner(),
    }
}

fn access(written: Option<&Spanned<Access>>, resolver: &mut Resolver<'_>) -> AccessLog {
    let (access, span) = match written {
        Some(written) => (read(written, resolver), written.span()),
        None => (AccessLog::Auto, NOWHERE),
    };
    resolver.record_of("log.access", &notation(&access), &span);
    access
}

fn read(written: &Spanned<Access>, resolver: &mut Resolver<'_>) -> AccessLog {
    match written.get_ref() {
        Access::Name(name) => {
            let access = resolver.findings.accept(&written.span(), named(name));
            access.unwrap_or(AccessLog::Auto)
        }
        Access::File { file, format } => in_file(file, format.as_ref(), resolver),
    }
}

fn named(name: &str) -> Result<AccessLog, Mistake> {
    match name {
        "auto" => Ok(AccessLog::Auto),
        "journal" => Ok(AccessLog::Journal),
        "stderr" => Ok(AccessLog::Stderr),
        "off" => Ok(AccessLog::Off),
        _ => {
            let mistake = Mistake::new(format!("{name:?} is no place for access records"));
            Err(mistake.help(
                "write \"auto\", \"journal\", \"stderr\", \"off\", or a table such as \
                 { file = \"/var/log/pywebd/access.log\" }",
            ))
        }
    }
}

fn in_file(
    file: &Spanned<PathBuf>,
    format: Option<&Spanned<String>>,
    resolver: &mut Resolver<'_>,
) -> AccessLog {
    let path = file.get_ref();
    if path.as_os_str().is_empty() {
        let mistake = Mistake::new("the access log has no name");
        let mistake = mistake.help("write a path, such as \"/var/log/pywebd/access.log\"");
        resolver.findings.error(&file.span(), mistake);
    }
    AccessLog::File {
        path: resolver.sources.resolve(path, &file.span()),
        format: resolver
            .read(format, &FORMAT)
            .map_or(AccessFormat::Combined, Spanned::into_inner),
    }
}

fn notation(access: &AccessLog) -> String {
    quoted(match access {
        AccessLog::Auto => "auto",
        AccessLog::Journal => "journal",
        AccessLog::Stderr => "stderr",
        AccessLog::Off => "off",
        AccessLog::File { path, format } => {
            let file = quoted(&path.to_string_lossy());
            return format!("{{ file = {file}, format = {} }}", (FORMAT.write)(format));
        }
    })
}

const FORMAT: Notation<String, AccessFormat> = Notation {
    read: |text| match text.as_str() {
        "combined" => Ok(AccessFormat::Combined),
        "json" => Ok(AccessFormat::Json),
        _ => Err(
            Mistake::new(format!("{text:?} is no format of access records"))
                .help("write \"combined\" or \"json\""),
        ),
    },
    write: |format| {
        quoted(match format {
            AccessFormat::Combined => "combined",
            AccessFormat::Json => "json",
        })
    },
};

const LEVEL: Notation<String, Level> = Notation {
    read: |text| match text.as_str() {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        "trace" => Ok(Level::TRACE),
        _ => Err(Mistake::new(format!("{text:?} is not a level"))
            .help("write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"")),
    },
    write: |level| quoted(&level.as_str().to_ascii_lowercase()),
};
