//! Path keys to actions: exact, then the longest prefix, then at the same prefix an ending.
//!
//! A look-up costs one hash for the path and one for each of its directories that is as long as a key,
//! however many routes there are, and allocates nothing. It never looks at the filesystem.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use http::StatusCode;

use crate::{
    cgi, files,
    semantics::target::{self, Path},
    site::{BasicAuth, HeaderRules, Key, Networks, Origin},
};

/// What a path key does, with every inherited option merged in: complete in itself.
#[derive(Debug)]
pub struct Route {
    /// The key.
    pub key: Key,
    /// The key as written.
    pub text: Arc<str>,
    /// Where it is written.
    pub origin: Origin,
    /// Every address list that applies, of this key and of the less specific ones: the client
    /// must be in each, so that a restriction on `/` cannot be lost below.
    pub allow: Vec<Networks>,
    /// The password that applies: that of the most specific key that asks for one.
    pub auth: Option<Arc<BasicAuth>>,
    /// Fields of answers that are no errors.
    pub headers: HeaderRules,
    /// Pages for errors.
    pub error_pages: ErrorPages,
    /// The verb.
    pub action: Action,
}

#[cfg(test)]
impl Route {
    /// A route that says nothing but what to do.
    pub fn bare(key: Key, text: &str, action: Action) -> Self {
        Self {
            key,
            text: text.into(),
            origin: Origin {
                file: "test".into(),
                line: 0,
            },
            allow: Vec::new(),
            auth: None,
            headers: HeaderRules::default(),
            error_pages: ErrorPages::new(),
            action,
        }
    }
}

/// The paths of pages of the site, by the status they are for.
pub type ErrorPages = BTreeMap<StatusCode, Path<'static>>;

/// Everything that can answer.
#[derive(Debug)]
pub enum Action {
    /// Files below a root.
    Files(files::Options),
    /// Programs below a directory.
    Cgi(cgi::Options),
    /// Somewhere else.
    Redirect(Redirect),
    /// 403.
    Deny,
}

/// A configured redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Where to: a path or an absolute URI, without the `*` at its end.
    pub to: Box<str>,
    /// With a `*` at its end: how much of a path's beginning is left off before the rest follows.
    pub rest_from: Option<usize>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

impl Redirect {
    /// Where a path and query lead to. The query goes along where the target has none of its own;
    /// it stands before a fragment.
    pub fn location(&self, path: &Path<'_>, query: Option<&str>) -> String {
        let (to, fragment) = match self.to.find('#') {
            Some(at) => self.to.split_at(at),
            None => (&*self.to, ""),
        };
        let mut location = to.to_owned();
        if let Some(rest) = self.rest_from.and_then(|from| path.as_bytes().get(from..)) {
            location.extend(target::encode(rest));
        }
        if let Some(query) = query
            && !location.contains('?')
        {
            location.push('?');
            location.push_str(query);
        }
        location + fragment
    }
}

/// The place of a route in its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteId(pub usize);

/// The routes of one site. There is always one for the prefix `/`.
#[derive(Debug)]
pub struct Routes {
    /// The most specific first.
    all: Vec<Route>,
    exact: HashMap<Box<[u8]>, RouteId>,
    /// By the prefix without its trailing slash, so that the directory's own path finds it too.
    below: HashMap<Box<[u8]>, Level>,
    /// The lengths of the keys of `below`, the greatest first: only beginnings of a path that are as
    /// long are looked for, however many directories it has.
    lengths: Vec<usize>,
    root: RouteId,
}

/// The routes at one prefix.
#[derive(Debug, Default)]
struct Level {
    whole: Option<RouteId>,
    /// The longest first.
    endings: Vec<(Box<[u8]>, RouteId)>,
}

impl Routes {
    /// Takes the routes in any order; the compiler of the configuration has made sure that no key
    /// stands twice.
    ///
    /// # Panics
    ///
    /// When the prefix `/` has no route: the compiler adds it where nobody wrote it.
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by(|one, other| one.key.rank().cmp(&other.key.rank()));
        let mut exact = HashMap::new();
        let mut below: HashMap<Box<[u8]>, Level> = HashMap::new();
        for (at, route) in routes.iter().enumerate() {
            let id = RouteId(at);
            match &route.key {
                Key::Exact(path) => {
                    exact.insert(path.clone(), id);
                }
                Key::Prefix(prefix) => {
                    below.entry(directory(prefix).into()).or_default().whole = Some(id);
                }
                Key::Ending { prefix, ending } => {
                    let level = below.entry(directory(prefix).into()).or_default();
                    level.endings.push((ending.clone(), id));
                }
            }
        }
        let root = below.get(&b""[..]).and_then(|level| level.whole);
        let mut lengths: Vec<_> = below.keys().map(|prefix| prefix.len()).collect();
        lengths.sort_unstable_by(|one, other| other.cmp(one));
        lengths.dedup();
        Self {
            root: root.expect("every site has a route for the prefix `/`"),
            all: routes,
            exact,
            below,
            lengths,
        }
    }

    /// The most specific route for a decoded path: an exact key, then the longest prefix, and at
    /// the same prefix an ending before none. Of endings, the one of the leftmost name decides,
    /// for that is the script and what follows its `PATH_INFO`; for the same name, the longest.
    pub fn find(&self, path: &[u8]) -> RouteId {
        if let Some(&id) = self.exact.get(path) {
            return id;
        }
        self.lengths
            .iter()
            .filter(|&&length| is_directory(path, length))
            .map(|&length| path.split_at(length))
            .find_map(|(directory, rest)| self.below.get(directory)?.find(rest))
            .unwrap_or(self.root)
    }

    /// How the file of a page is found that the configuration itself names, such as one for errors:
    /// also where a rule keeps others from it, for which `site` says how files are served. Not where
    /// it is a script, whose source is never shown.
    pub fn files_for_page<'r>(
        &'r self,
        page: &Path<'_>,
        site: &'r files::Options,
    ) -> Option<&'r files::Options> {
        match &self[self.find(page.as_bytes())].action {
            Action::Files(options) => Some(options),
            Action::Deny | Action::Redirect(_) => Some(site),
            Action::Cgi(_) => None,
        }
    }

    /// What a route for files says.
    ///
    /// # Panics
    ///
    /// When the route is for something else: whoever asks has decided by its action.
    pub fn files(&self, id: RouteId) -> &files::Options {
        match &self[id].action {
            Action::Files(options) => options,
            _ => unreachable!("the route is one for files"),
        }
    }

    /// What a route for programs says.
    ///
    /// # Panics
    ///
    /// As [`Self::files`].
    pub fn programs(&self, id: RouteId) -> &cgi::Options {
        match &self[id].action {
            Action::Cgi(options) => options,
            _ => unreachable!("the route is one for programs"),
        }
    }

    /// The route whose key is written so.
    pub fn keyed(&self, text: &str) -> Option<&Route> {
        let id = match Key::parse(text).ok()? {
            Key::Exact(path) => self.exact.get(&path).copied(),
            Key::Prefix(prefix) => self.below.get(directory(&prefix))?.whole,
            Key::Ending { prefix, ending } => {
                let mut endings = self.below.get(directory(&prefix))?.endings.iter();
                endings.find(|(own, _)| *own == ending).map(|&(_, id)| id)
            }
        };
        let route = &self[id?];
        (&*route.text == text).then_some(route)
    }

    /// All routes, most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.all.iter()
    }
}

impl Level {
    /// The route for what a path has below this prefix.
    fn find(&self, rest: &[u8]) -> Option<RouteId> {
        let fitting = |name: &[u8]| {
            let mut endings = self.endings.iter();
            endings.find(|(ending, _)| name.ends_with(ending))
        };
        if self.endings.is_empty() {
            return self.whole;
        }
        rest.split(|&byte| byte == b'/')
            .find_map(fitting)
            .map(|&(_, id)| id)
            .or(self.whole)
    }
}

/// A path that ends with a slash, without it.
fn directory(prefix: &[u8]) -> &[u8] {
    prefix.strip_suffix(b"/").unwrap_or(prefix)
}

/// Whether so many bytes of a path are a directory that the path is at or below, without its slash.
fn is_directory(path: &[u8], length: usize) -> bool {
    path.get(length)
        .map_or(path.len() == length, |&byte| byte == b'/')
}

impl std::ops::Index<RouteId> for Routes {
    type Output = Route;

    fn index(&self, id: RouteId) -> &Route {
        &self.all[id.0]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes(keys: &[&str]) -> Routes {
        let route = |text: &&str| Route::bare(Key::parse(text).unwrap(), text, Action::Deny);
        Routes::new(keys.iter().map(route).collect())
    }

    fn find<'r>(routes: &'r Routes, path: &str) -> &'r str {
        &routes[routes.find(path.as_bytes())].text
    }

    #[test]
    fn the_most_specific_key_decides() {
        let routes = routes(&[
            "/",
            "*.php",
            "*.inc.php",
            "*.cgi",
            "/a/",
            "/a/b/",
            "/a/b/*.php",
            "/a/b",
            "/a/x.php",
            "/.well-known/",
        ]);
        for (path, key) in [
            ("/", "/"),
            ("/x", "/"),
            ("/x.php", "*.php"),
            ("/x.inc.php", "*.inc.php"),
            ("/x.php/info", "*.php"),
            ("/x.cgi/y.inc.php", "*.cgi"),
            ("/d/x.php", "*.php"),
            ("/a", "/a/"),
            ("/a/", "/a/"),
            ("/ab", "/"),
            ("/a/y.php", "/a/"),
            ("/a/x.php", "/a/x.php"),
            ("/a/x.php/", "/a/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a/b/c/d", "/a/b/"),
            ("/a/b/c/x.php/d", "/a/b/*.php"),
            ("/.well-known", "/.well-known/"),
        ] {
            assert_eq!(find(&routes, path), key, "{path}");
        }
    }

    #[test]
    fn routes_are_listed_from_the_most_specific() {
        let routes = routes(&["/", "/a/", "*.b", "/a/*.c", "/a/*.cc", "/z", "/a/b"]);
        let texts: Vec<_> = routes.iter().map(|route| &*route.text).collect();
        assert_eq!(
            texts,
            ["/a/b", "/z", "/a/*.cc", "/a/*.c", "/a/", "*.b", "/"]
        );
    }

    /// The rule once more, by trying every key: exact, the longest prefix, an ending before none,
    /// the leftmost name, the longest ending.
    fn naive<'k>(keys: &[&'k str], path: &str) -> &'k str {
        let specificity = |text: &&&str| match Key::parse(text).unwrap() {
            Key::Exact(_) => (1, 0, false, std::cmp::Reverse(0), 0),
            Key::Prefix(prefix) => (0, prefix.len(), false, std::cmp::Reverse(0), 0),
            Key::Ending { prefix, ending } => {
                let names = path[prefix.len()..].split('/');
                let place = names.take_while(|name| !name.as_bytes().ends_with(&ending));
                let place = std::cmp::Reverse(place.count());
                (0, prefix.len(), true, place, ending.len())
            }
        };
        keys.iter()
            .filter(|text| Key::parse(text).unwrap().matches(path.as_bytes()))
            .max_by_key(specificity)
            .unwrap()
    }

    proptest! {
        #[test]
        fn finding_agrees_with_trying_every_key(
            texts in proptest::collection::btree_set(
                "/([ab]\\.x?/){0,2}(\\*(\\.x|x|\\.)|[ab]\\.x?)?", 0..9),
            path in "(/[ab]\\.x?){0,3}/?",
        ) {
            let path = if path.is_empty() { "/" } else { &path };
            let mut keys: Vec<_> = texts.iter().map(|text| &**text).collect();
            if !texts.contains("/") {
                keys.push("/");
            }
            let routes = routes(&keys);
            prop_assert_eq!(find(&routes, path), naive(&keys, path));
        }
    }
}
