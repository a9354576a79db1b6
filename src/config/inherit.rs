//! Which path keys apply to which paths, and how their options add up.
//!
//! What is done with a path is decided by the most specific key that has a verb; options come from
//! every key that covers the path (design: rules 2 and 3). After this stage each route is complete
//! in itself: nothing is looked up or inherited while a request is answered.
//!
//! Never weaker than what was written: where an ending such as `*.inc` meets a longer prefix such
//! as `/a/`, neither covers the other, and a route for `/a/*.inc` is made that has both. Only for
//! a path with names of two endings (`/x.php/y.inc`) the first of them decides, as `Routes::find`
//! says.

use std::{collections::HashSet, sync::Arc};

use serde_spanned::Spanned;

use crate::{
    config::{running::Running, serving::Serving, sources::Span},
    site::{Key, Networks},
};

/// The options of one path key, as far as they are written there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub allow: Option<Spanned<Allow>>,
    pub index: Option<Spanned<Vec<Box<str>>>>,
    pub listing: Option<Spanned<bool>>,
    pub running: Running,
    pub serving: Serving,
}

/// An `allow` list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Allow {
    pub networks: Networks,
    /// As TOML writes it.
    pub text: String,
}

/// Every option of a route.
#[derive(Debug, Clone)]
pub(super) struct Effective {
    /// One list of each key that has one; the client must be in all.
    pub allow: Vec<Spanned<Allow>>,
    pub index: Spanned<Vec<Box<str>>>,
    pub listing: Spanned<bool>,
    pub running: Running,
    pub serving: Serving,
}

impl Effective {
    /// Adds the options of a more specific key.
    fn overlay(&mut self, options: &Options) {
        self.allow.extend(options.allow.clone());
        replace(&mut self.index, options.index.as_ref());
        replace(&mut self.listing, options.listing.as_ref());
        self.running.overlay(&options.running);
        self.serving.overlay(&options.serving);
    }
}

fn replace<T: Clone>(value: &mut Spanned<T>, written: Option<&Spanned<T>>) {
    if let Some(written) = written {
        value.clone_from(written);
    }
}

/// A path key with what is written below it.
#[derive(Debug)]
pub(super) struct Rule<V> {
    pub key: Key,
    /// The key as written.
    pub text: Arc<str>,
    /// Where the key is written.
    pub span: Span,
    pub verb: Option<Spanned<V>>,
    pub options: Options,
}

/// A path key that a route is made for.
#[derive(Debug)]
pub(super) struct Cell<'r, V> {
    pub key: Key,
    pub text: Arc<str>,
    pub span: Span,
    /// The rule whose verb decides.
    pub decider: &'r Rule<V>,
    pub options: Effective,
}

/// The cells of a site. The rules must have one for the prefix `/` with a verb, and no key twice.
/// `base` is what the site itself says.
pub(super) fn cells<'r, V>(rules: &'r [Rule<V>], base: &Effective) -> Vec<Cell<'r, V>> {
    let wide = Wide::new(rules);
    let written = rules.iter().map(|rule| {
        let own = Some(rule).filter(|rule| is_exact(&rule.key));
        let covering: Vec<_> = own.into_iter().chain(wide.covering(&rule.key)).collect();
        cell(rule.key.clone(), Arc::clone(&rule.text), &covering, base)
    });
    let crossings = crossings(&wide).into_iter().map(|(key, covering)| {
        let text = key.to_string().into();
        cell(key, text, &covering, base)
    });
    written.chain(crossings).collect()
}

fn cell<'r, V>(
    key: Key,
    text: Arc<str>,
    covering: &[&'r Rule<V>],
    base: &Effective,
) -> Cell<'r, V> {
    let mut options = base.clone();
    for rule in covering.iter().rev() {
        options.overlay(&rule.options);
    }
    Cell {
        decider: decider(covering),
        span: covering[0].span.clone(),
        key,
        text,
        options,
    }
}

/// The rules that cover more than a path: all but those of exact keys, of which there may be thousands.
///
/// There may be thousands of prefixes, too, so each knows the next shorter one that it is below; of
/// endings there are few, and all are tried.
struct Wide<'r, V> {
    /// The most specific first.
    rules: Vec<&'r Rule<V>>,
    /// In the order of their bytes.
    prefixes: Vec<Prefix<'r>>,
    /// The places in `rules` of endings.
    endings: Vec<usize>,
}

struct Prefix<'r> {
    path: &'r [u8],
    /// The place of its rule in `rules`.
    rule: usize,
    /// The place in `prefixes` of the longest one that it is below.
    parent: Option<usize>,
    /// How many it is below.
    depth: usize,
}

impl<'r, V> Wide<'r, V> {
    fn new(rules: &'r [Rule<V>]) -> Self {
        let mut rules: Vec<_> = rules.iter().filter(|rule| !is_exact(&rule.key)).collect();
        rules.sort_by(|one, other| one.key.rank().cmp(&other.key.rank()));
        let mut endings = Vec::new();
        let mut prefixes = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            match &rule.key {
                Key::Prefix(path) => prefixes.push(Prefix {
                    path,
                    rule: at,
                    parent: None,
                    depth: 0,
                }),
                Key::Ending { .. } | Key::Exact(_) => endings.push(at),
            }
        }
        prefixes.sort_unstable_by_key(|prefix| prefix.path);
        let mut wide = Self {
            rules,
            prefixes,
            endings,
        };
        for at in 1..wide.prefixes.len() {
            let parent = wide.longest(at - 1, wide.prefixes[at].path);
            wide.prefixes[at].depth = parent.map_or(0, |at| wide.prefixes[at].depth + 1);
            wide.prefixes[at].parent = parent;
        }
        wide
    }

    /// The longest prefix of a path that ends with a slash, among one and those that it is below.
    fn longest(&self, at: usize, path: &[u8]) -> Option<usize> {
        let above = std::iter::successors(Some(at), |&at| self.prefixes[at].parent);
        let mut above = above.skip_while(|&at| !path.starts_with(self.prefixes[at].path));
        above.next()
    }

    /// The rules that apply to all paths of a key, the most specific first.
    fn covering(&self, key: &Key) -> Vec<&'r Rule<V>> {
        let directory = match key {
            Key::Exact(path) if !path.ends_with(b"/") => [path, &b"/"[..]].concat(),
            Key::Exact(path) | Key::Prefix(path) => path.to_vec(),
            Key::Ending { prefix, .. } => prefix.to_vec(),
        };
        // What begins a path comes before it, and all between the two begin so, too.
        let after = self
            .prefixes
            .partition_point(|prefix| prefix.path <= &*directory);
        let longest = after
            .checked_sub(1)
            .and_then(|at| self.longest(at, &directory));
        let prefixes = std::iter::successors(longest, |&at| self.prefixes[at].parent);
        let prefixes = prefixes.map(|at| self.prefixes[at].rule);
        let endings = self.endings.iter().copied();
        let mut covering: Vec<_> = endings
            .filter(|&at| self.rules[at].key.covers(key))
            .chain(prefixes)
            .collect();
        covering.sort_unstable();
        covering.into_iter().map(|at| self.rules[at]).collect()
    }
}

fn decider<'r, V>(covering: &[&'r Rule<V>]) -> &'r Rule<V> {
    covering
        .iter()
        .find(|rule| rule.verb.is_some())
        .expect("the prefix `/` covers every path and has a verb")
}

/// A key that nobody wrote, and the rules that cover it.
type Crossing<'r, V> = (Key, Vec<&'r Rule<V>>);

/// Where an ending reaches below a longer prefix, of a key for all there or for a shorter ending,
/// and changes something.
fn crossings<'r, V>(wide: &Wide<'r, V>) -> Vec<Crossing<'r, V>> {
    let mut known: HashSet<Key> = wide.rules.iter().map(|rule| rule.key.clone()).collect();
    let mut crossings = Vec::new();
    for rule in wide.endings.iter().map(|&at| wide.rules[at]) {
        let Key::Ending { prefix, ending } = &rule.key else {
            continue;
        };
        for below in &wide.rules {
            let longer = match &below.key {
                Key::Prefix(longer) => longer,
                Key::Ending {
                    prefix: longer,
                    ending: shorter,
                } if ending.ends_with(shorter) => longer,
                _ => continue,
            };
            let key = Key::Ending {
                prefix: longer.clone(),
                ending: ending.clone(),
            };
            // Where the ending covers the whole of the prefix, the prefix has its options already.
            if !longer.starts_with(prefix) || rule.key.covers(&below.key) || known.contains(&key) {
                continue;
            }
            let of_crossing = wide.covering(&key);
            let of_prefix = decider(&wide.covering(&below.key));
            if rule.options != Options::default() || !std::ptr::eq(decider(&of_crossing), of_prefix)
            {
                known.insert(key.clone());
                crossings.push((key, of_crossing));
            }
        }
    }
    crossings
}

fn is_exact(key: &Key) -> bool {
    matches!(key, Key::Exact(_))
}

/// How many steps the cells of these rules take at most: the written and the crossing ones, each with
/// all endings and the prefixes that it may be below.
pub(super) fn work<V>(rules: &[Rule<V>]) -> usize {
    let wide = Wide::new(rules);
    let (all, endings) = (wide.rules.len(), wide.endings.len());
    let deepest = wide.prefixes.iter().map(|prefix| prefix.depth + 1).max();
    (rules.len() + all * endings) * (endings + deepest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::sources::NOWHERE,
        site::{Action, Route, Routes},
    };

    fn written<T>(value: T) -> Spanned<T> {
        Spanned::new(NOWHERE, value)
    }

    /// A rule with a verb (unless empty) and a variable named after its key.
    fn rule(text: &str, verb: &'static str) -> Rule<&'static str> {
        Rule {
            key: Key::parse(text).unwrap(),
            text: text.into(),
            span: NOWHERE,
            verb: Some(verb).filter(|verb| !verb.is_empty()).map(written),
            options: Options {
                running: Running {
                    env: BTreeMap::from([(text.to_owned(), written(String::new()))]),
                    ..Running::default()
                },
                ..Options::default()
            },
        }
    }

    fn base() -> Effective {
        Effective {
            allow: Vec::new(),
            index: written(Vec::new()),
            listing: written(false),
            running: Running::default(),
            serving: Serving::default(),
        }
    }

    /// Each cell: its text, its verb, and the keys whose options it has.
    fn table(rules: &[Rule<&'static str>]) -> Vec<(String, &'static str, String)> {
        let mut table: Vec<_> = cells(rules, &base())
            .into_iter()
            .map(|cell| {
                let verb = cell.decider.verb.as_ref().unwrap();
                let keys: Vec<_> = cell.options.running.env.into_keys().collect();
                (cell.text.to_string(), *verb.get_ref(), keys.join(" "))
            })
            .collect();
        table.sort();
        table
    }

    fn expect(rules: &[Rule<&'static str>], expected: &[(&str, &'static str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|&(text, verb, keys)| (text.to_owned(), verb, keys.to_owned()))
            .collect();
        assert_eq!(table(rules), expected);
    }

    #[test]
    fn options_of_every_covering_key_are_inherited() {
        expect(
            &[
                rule("/", "files"),
                rule("/a/", "cgi"),
                rule("/a/b", "deny"),
                rule("/ab/", "deny"),
            ],
            &[
                ("/", "files", "/"),
                ("/a/", "cgi", "/ /a/"),
                ("/a/b", "deny", "/ /a/ /a/b"),
                ("/ab/", "deny", "/ /ab/"),
            ],
        );
    }

    #[test]
    fn a_key_without_a_verb_does_what_the_next_one_does() {
        expect(
            &[rule("/", "files"), rule("/a/", "cgi"), rule("/a/b/", "")],
            &[
                ("/", "files", "/"),
                ("/a/", "cgi", "/ /a/"),
                ("/a/b/", "cgi", "/ /a/ /a/b/"),
            ],
        );
    }

    #[test]
    fn an_ending_reaches_below_longer_prefixes() {
        expect(
            &[
                rule("/", "files"),
                rule("*.inc", "deny"),
                rule("/a/", "cgi"),
                rule("/b/", ""),
            ],
            &[
                ("*.inc", "deny", "*.inc /"),
                ("/", "files", "/"),
                ("/a/", "cgi", "/ /a/"),
                ("/a/*.inc", "cgi", "*.inc / /a/"),
                ("/b/", "files", "/ /b/"),
                ("/b/*.inc", "deny", "*.inc / /b/"),
            ],
        );
    }

    #[test]
    fn a_longer_ending_is_more_specific() {
        expect(
            &[
                rule("/", "files"),
                rule("*.gz", "deny"),
                rule("*.tar.gz", ""),
                rule("/x.tar.gz", ""),
            ],
            &[
                ("*.gz", "deny", "*.gz /"),
                ("*.tar.gz", "deny", "*.gz *.tar.gz /"),
                ("/", "files", "/"),
                ("/x.tar.gz", "deny", "*.gz *.tar.gz / /x.tar.gz"),
            ],
        );
    }

    #[test]
    fn a_written_crossing_is_not_made_a_second_time() {
        expect(
            &[
                rule("/", "files"),
                rule("*.inc", "deny"),
                rule("/a/", "cgi"),
                rule("/a/*.inc", "run"),
            ],
            &[
                ("*.inc", "deny", "*.inc /"),
                ("/", "files", "/"),
                ("/a/", "cgi", "/ /a/"),
                ("/a/*.inc", "run", "*.inc / /a/ /a/*.inc"),
            ],
        );
    }

    fn routes(rules: &[Rule<&'static str>]) -> Routes {
        let route = |cell: Cell<'_, &'static str>| {
            // What the test looks at: the keys whose options the route has.
            let keys: Vec<_> = cell.options.running.env.into_keys().collect();
            Route::bare(cell.key, &keys.join(" "), Action::Deny)
        };
        Routes::new(cells(rules, &base()).into_iter().map(route).collect())
    }

    proptest! {
        /// A path with names of two different endings is left out: the first of them decides.
        #[test]
        fn the_route_of_a_path_has_the_options_of_every_key_that_matches_it(
            texts in prop::collection::btree_set("(/[ab](\\.x)?){0,2}/(\\*\\.x|\\*x|[ab]\\.x|)", 0..6),
            path in "(/[ab](\\.x)?){0,3}/?",
        ) {
            let path = if path.is_empty() { "/" } else { &path };
            let mut rules = vec![rule("/", "files")];
            for text in &texts {
                let key = Key::parse(text).unwrap();
                if rules.iter().all(|rule| rule.key != key) {
                    rules.push(rule(text, ""));
                }
            }
            let routes = routes(&rules);
            let found = &routes[routes.find(path.as_bytes())].text;
            for rule in rules.iter().filter(|rule| rule.key.matches(path.as_bytes())) {
                prop_assert!(found.split(' ').any(|key| key == &*rule.text), "{path}: {found}");
            }
        }
    }
}
