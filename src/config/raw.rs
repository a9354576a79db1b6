//! What was written: serde's mirror of the TOML, with the span of every value.
//!
//! Only keys that work in this version are here; `later` knows the others. No defaults, no
//! `flatten` and no untagged enums: those lose spans.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use serde_spanned::Spanned;

use crate::{config::sources::NOWHERE, transport::Listen};

/// A value that may be left out.
pub(super) type Written<T> = Option<Spanned<T>>;

/// The merged tables of all files.
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct Raw {
    pub server: Server,
    pub log: Log,
    pub limits: Limits,
    pub cache: Cache,
    pub cgi: Cgi,
    pub site: BTreeMap<Spanned<String>, Spanned<Site>>,
}

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct Server {
    pub listen: Written<Texts>,
    pub workers: Written<Quantity>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct Log {
    pub access: Written<Access>,
    pub level: Written<String>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct Limits {
    pub request_head_timeout: Written<Quantity>,
    pub request_body_timeout: Written<Quantity>,
    pub response_timeout: Written<Quantity>,
    pub idle_timeout: Written<Quantity>,
    pub request_head_size: Written<Quantity>,
    pub request_headers: Written<Quantity>,
    pub request_body_size: Written<Quantity>,
    pub connections: Written<Quantity>,
}

/// `[cache]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct Cache {
    pub size: Written<Quantity>,
}

/// `[cgi]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct Cgi {
    pub cpu_weight: Written<Quantity>,
    pub max_time: Written<Quantity>,
    pub memory: Written<Quantity>,
    pub tasks: Written<Quantity>,
    pub timeout: Written<Quantity>,
    pub max_running: Written<Quantity>,
    pub max_queued: Written<Quantity>,
}

/// `[site.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct Site {
    pub hosts: Written<Texts>,
    pub canonical: Written<String>,
    pub root: Written<PathBuf>,
    pub index: Written<Texts>,
    pub listing: Written<bool>,
    pub listen: Written<Texts>,
    pub trusted: Written<Texts>,
    pub follow: Written<Texts>,
    pub redirect: BTreeMap<Spanned<String>, Spanned<Redirect>>,
    pub path: BTreeMap<Spanned<String>, Spanned<PathKey>>,
    // What path keys may add to.
    pub auth: Written<Auth>,
    pub cache: Written<Quantity>,
    pub compress: Written<bool>,
    pub error_page: BTreeMap<Spanned<String>, Spanned<String>>,
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    pub types: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// `[site.NAME.path."KEY"]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(super) struct PathKey {
    // The verbs: one of them at most.
    pub cgi: Written<Mapping>,
    #[serde(rename = "static")]
    pub files: Written<Mapping>,
    pub redirect: Written<Redirect>,
    pub deny: Written<bool>,
    pub fallback: Written<String>,
    pub interpreter: Written<PathBuf>,
    pub script: Written<PathBuf>,
    // The options.
    pub allow: Written<Texts>,
    pub cpu_weight: Written<Quantity>,
    pub detach: Written<bool>,
    pub env: BTreeMap<Spanned<String>, Spanned<String>>,
    pub index: Written<Texts>,
    pub listing: Written<bool>,
    pub max_time: Written<Quantity>,
    pub memory: Written<Quantity>,
    pub pass_authorization: Written<bool>,
    pub setuid: Written<bool>,
    pub spool: Written<bool>,
    pub tasks: Written<Quantity>,
    pub timeout: Written<Quantity>,
    pub user: Written<String>,
    pub auth: Written<Auth>,
    pub cache: Written<Quantity>,
    pub compress: Written<bool>,
    pub error_page: BTreeMap<Spanned<String>, Spanned<String>>,
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    pub types: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// `auth = { basic = "FILE", realm = "TEXT", weak = true }`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { basic = \"users.htpasswd\", realm = \"Members\" }"
)]
pub(super) struct Auth {
    pub basic: Written<PathBuf>,
    pub realm: Written<String>,
    pub weak: Written<bool>,
}

/// What a site and a path key say alike about how answers look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Serving<'r> {
    pub auth: &'r Written<Auth>,
    pub cache: &'r Written<Quantity>,
    pub compress: &'r Written<bool>,
    pub error_page: &'r BTreeMap<Spanned<String>, Spanned<String>>,
    pub headers: &'r BTreeMap<Spanned<String>, Spanned<String>>,
    pub types: &'r BTreeMap<Spanned<String>, Spanned<String>>,
}

macro_rules! serving {
    ($table:ty) => {
        impl $table {
            /// What it says about how answers look.
            pub fn serving(&self) -> Serving<'_> {
                Serving {
                    auth: &self.auth,
                    cache: &self.cache,
                    compress: &self.compress,
                    error_page: &self.error_page,
                    headers: &self.headers,
                    types: &self.types,
                }
            }
        }
    };
}

serving!(Site);
serving!(PathKey);

/// What `[cgi]` and a path key say alike about what scripts may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confined<'r> {
    pub cpu_weight: &'r Written<Quantity>,
    pub max_time: &'r Written<Quantity>,
    pub memory: &'r Written<Quantity>,
    pub tasks: &'r Written<Quantity>,
    pub timeout: &'r Written<Quantity>,
}

macro_rules! confined {
    ($table:ty) => {
        impl $table {
            /// What it says about what scripts may take.
            pub fn confined(&self) -> Confined<'_> {
                Confined {
                    cpu_weight: &self.cpu_weight,
                    max_time: &self.max_time,
                    memory: &self.memory,
                    tasks: &self.tasks,
                    timeout: &self.timeout,
                }
            }
        }
    };
}

confined!(Cgi);
confined!(PathKey);

/// An array of strings.
#[derive(Debug, Default, Clone)]
pub(super) struct Texts(pub Vec<Spanned<String>>);

/// A number, or a number with its unit in a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Quantity {
    Number(i64),
    Text(String),
}

/// `true`: below the site's root; a directory: there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mapping {
    Switch(bool),
    Directory(PathBuf),
}

/// `"/new"` or `{ to = "/new", status = 302 }`.
#[derive(Debug, Clone)]
pub(super) struct Redirect {
    pub to: Spanned<String>,
    pub status: Written<i64>,
}

/// `"journal"` or `{ file = "access.log", format = "json" }`.
#[derive(Debug, Clone)]
pub(super) enum Access {
    Name(String),
    File {
        file: Spanned<PathBuf>,
        format: Written<String>,
    },
}

impl Raw {
    /// One site for every host, as the command line describes it; programs run below `scripts`.
    pub fn directory(
        root: &Path,
        listen: &Listen,
        scripts: &[&str],
        env: &[(String, String)],
    ) -> Self {
        let path = |key: &&str| {
            let key = Spanned::new(NOWHERE, (*key).to_owned());
            (key, Spanned::new(NOWHERE, PathKey::scripts(env)))
        };
        let site = Site {
            hosts: unplaced(texts(["*"])),
            root: unplaced(root.to_owned()),
            index: unplaced(texts(["index.html", "index.htm"])),
            listing: unplaced(true),
            path: scripts.iter().map(path).collect(),
            ..Site::default()
        };
        let name = Spanned::new(NOWHERE, "default".to_owned());
        Self {
            server: Server {
                listen: unplaced(texts([listen.to_string().as_str()])),
                ..Server::default()
            },
            site: BTreeMap::from([(name, Spanned::new(NOWHERE, site))]),
            ..Self::default()
        }
    }
}

impl PathKey {
    fn scripts(env: &[(String, String)]) -> Self {
        let variable = |(name, value): &(String, String)| {
            let name = Spanned::new(NOWHERE, name.clone());
            (name, Spanned::new(NOWHERE, value.clone()))
        };
        Self {
            cgi: unplaced(Mapping::Switch(true)),
            env: env.iter().map(variable).collect(),
            ..Self::default()
        }
    }
}

// The result is what fields hold.
#[allow(clippy::unnecessary_wraps)]
fn unplaced<T>(value: T) -> Written<T> {
    Some(Spanned::new(NOWHERE, value))
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Texts {
    let spanned = |text: &str| Spanned::new(NOWHERE, text.to_owned());
    Texts(texts.into_iter().map(spanned).collect())
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an array of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                let expected = format!("an array, [{text:?}]");
                Err(E::invalid_type(Unexpected::Str(text), &expected.as_str()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantityVisitor;
        impl Visitor<'_> for QuantityVisitor {
            type Value = Quantity;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number or a string with a number and a unit")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(QuantityVisitor)
    }
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MappingVisitor;
        impl Visitor<'_> for MappingVisitor {
            type Value = Mapping;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("`true` or the path of a directory")
            }

            fn visit_bool<E: de::Error>(self, switch: bool) -> Result<Mapping, E> {
                Ok(Mapping::Switch(switch))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mapping, E> {
                Ok(Mapping::Directory(PathBuf::from(text)))
            }
        }
        deserializer.deserialize_any(MappingVisitor)
    }
}

impl<'de> Deserialize<'de> for Redirect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            to: Spanned<String>,
            status: Written<i64>,
        }

        struct RedirectVisitor;
        impl<'de> Visitor<'de> for RedirectVisitor {
            type Value = Redirect;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string or a table such as { to = \"/new\", status = 302 }")
            }

            fn visit_str<E: de::Error>(self, to: &str) -> Result<Redirect, E> {
                // Whoever holds the value has the span of the whole of it.
                let to = Spanned::new(NOWHERE, to.to_owned());
                Ok(Redirect { to, status: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Redirect, A::Error> {
                let Table { to, status } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Redirect { to, status })
            }
        }
        deserializer.deserialize_any(RedirectVisitor)
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            file: Spanned<PathBuf>,
            format: Written<String>,
        }

        struct AccessVisitor;
        impl<'de> Visitor<'de> for AccessVisitor {
            type Value = Access;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string or a table such as { file = \"access.log\" }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Access, E> {
                Ok(Access::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Access, A::Error> {
                let Table { file, format } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Access::File { file, format })
            }
        }
        deserializer.deserialize_any(AccessVisitor)
    }
}

#[cfg(test)]
mod tests;
