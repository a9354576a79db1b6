//! Asks for what a tree has, and judges the answers.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    ops::Range,
    sync::Arc,
};

use super::{
    client::{Client, Response},
    history::History,
    random::Random,
    tree::{Answer, NAMES, Tree, is_listed},
};

/// So many tags are remembered.
const TAGS: usize = 50_000;

/// The part that is asked for of a file.
const PART: Range<usize> = 10..20;

/// Asks over connections of its own.
pub struct Asker {
    client: Client,
    host: String,
    pub history: Arc<History>,
    random: Random,
    tags: HashMap<(String, String), u64>,
    last: HashMap<String, Remembered>,
    pub tally: Tally,
}

/// What was asked, and how it went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Answers that were judged.
    pub checks: usize,
    /// Those that broke off or were refused because of a change in the same moment.
    pub broken: usize,
    /// Those that were asked for while nothing changed: only one answer was right.
    pub strict: usize,
}

/// A tag that was given for a content.
#[derive(Debug, Clone)]
struct Remembered {
    tag: String,
    coding: Option<&'static str>,
    print: u64,
}

/// How a path is asked for.
enum Question {
    Whole,
    Head,
    Coded(&'static str),
    UnlessStill(Remembered),
    Part,
}

impl Asker {
    pub fn new(client: Client, host: String, history: Arc<History>, random: Random) -> Self {
        Self {
            client,
            host,
            history,
            random,
            tags: HashMap::new(),
            last: HashMap::new(),
            tally: Tally::default(),
        }
    }

    /// Asks for a path in some way; fails the test where no state of the tree since then is answered.
    pub fn ask(&mut self, path: &str) {
        let question = self.question(path);
        let request = self.request(path, &question);
        let which = self.random.below(usize::MAX);
        let begin = self.history.now();
        let outcome = self.client.ask(which, &request);
        let Some(states) = self.history.since(begin) else {
            return;
        };
        self.tally.checks += 1;
        self.tally.strict += usize::from(states.len() == 1);
        let answers: Vec<_> = states.iter().map(|tree| tree.answer(path)).collect();
        let verdict = match &outcome {
            Ok(response) if response.status != 503 => {
                self.judge(path, &question, response, &answers)
            }
            outcome if states.len() > 1 && !is_hang(outcome) => {
                self.tally.broken += 1;
                Ok(())
            }
            Ok(_) => Err("refused though nothing changes".to_owned()),
            Err(error) => Err(format!("broken off though nothing changes: {error}")),
        };
        if let Err(reason) = verdict {
            let age = |response| {
                let was = |tree: &Tree| fits(&tree.answer(path), &question, response, true);
                self.history.age(begin, |tree| was(tree).is_some())
            };
            let age = outcome.as_ref().ok().and_then(age);
            panic!(
                "{request}{reason}\nanswered: {}\nright: {}\nit would have been right {}\n{}",
                shown(&outcome),
                answers
                    .iter()
                    .map(described)
                    .collect::<Vec<_>>()
                    .join(", or "),
                age.map_or("never".to_owned(), |age| format!("{age} states before")),
                self.history.told(begin),
            );
        }
    }

    fn question(&mut self, path: &str) -> Question {
        match self.random.below(20) {
            0..=8 => Question::Whole,
            9..=10 => Question::Head,
            11..=13 => Question::Coded("gzip"),
            14 => Question::Coded(self.random.of(&["br", "zstd"])),
            15 => Question::Part,
            _ => match self.last.get(path) {
                Some(remembered) => Question::UnlessStill(remembered.clone()),
                None => Question::Whole,
            },
        }
    }

    fn request(&self, path: &str, question: &Question) -> String {
        let method = if matches!(question, Question::Head) {
            "HEAD"
        } else {
            "GET"
        };
        let field = match question {
            Question::Whole | Question::Head => String::new(),
            Question::Coded(coding) => format!("Accept-Encoding: {coding}\r\n"),
            Question::Part => format!("Range: bytes={}-{}\r\n", PART.start, PART.end - 1),
            Question::UnlessStill(Remembered { tag, coding, .. }) => {
                let accept = coding.map(|coding| format!("Accept-Encoding: {coding}\r\n"));
                format!("If-None-Match: {tag}\r\n{}", accept.unwrap_or_default())
            }
        };
        format!(
            "{method} /{path} HTTP/1.1\r\nHost: {}\r\n{field}\r\n",
            self.host
        )
    }

    /// Whether one of these answers was given, with a tag that no other content has.
    fn judge(
        &mut self,
        path: &str,
        question: &Question,
        response: &Response,
        answers: &[Answer],
    ) -> Result<(), String> {
        let is_strict = answers.len() == 1;
        let mut prints = answers
            .iter()
            .filter_map(|answer| fits(answer, question, response, is_strict))
            .peekable();
        if prints.peek().is_none() {
            return Err("no state since the request began has this answer".to_owned());
        }
        // Content that may be anything has no print, as has what is no content of a file.
        let prints: Option<Vec<u64>> = prints.collect();
        let (Some(prints), 200) = (prints, response.status) else {
            return Ok(());
        };
        let Some(tag) = &response.tag else {
            return Err("a file without a tag".to_owned());
        };
        let known = self.tags.get(&(path.to_owned(), tag.clone()));
        if known.is_some_and(|known| !prints.contains(known)) {
            return Err("the tag was given for another content".to_owned());
        }
        if !matches!(question, Question::Head) {
            self.remember(path, tag, question, prints[0]);
        }
        Ok(())
    }

    fn remember(&mut self, path: &str, tag: &str, question: &Question, print: u64) {
        if self.tags.len() > TAGS {
            self.tags.clear();
        }
        self.tags.insert((path.to_owned(), tag.to_owned()), print);
        let coding = match question {
            Question::Coded(coding) => Some(*coding),
            Question::UnlessStill(remembered) => remembered.coding,
            _ => None,
        };
        // An older one is kept for a while: it must not come to be right again.
        if self.random.percent(40) || !self.last.contains_key(path) {
            let tag = tag.to_owned();
            self.last
                .insert(path.to_owned(), Remembered { tag, coding, print });
        }
    }
}

/// Whether this is the answer, and if so, a print of its content; that is none where the content may
/// be anything or is no file's.
#[allow(clippy::option_option)]
fn fits(
    answer: &Answer,
    question: &Question,
    response: &Response,
    is_strict: bool,
) -> Option<Option<u64>> {
    match answer {
        Answer::Status(status) => (response.status == *status).then_some(None),
        Answer::Listing(_) if response.status != 200 => None,
        Answer::Listing(names) => {
            let is_right = !is_strict
                || matches!(question, Question::Head)
                || tells(&String::from_utf8_lossy(&response.decoded().ok()?), names);
            is_right.then_some(None)
        }
        Answer::Content { plain, stored } => {
            let (Some(plain), accepts_stored) = (plain, question.coding() == Some("gzip")) else {
                return Some(None);
            };
            match stored.as_deref().filter(|_| accepts_stored) {
                Some(stored) => fits_stored(stored, question, response),
                None => fits_plain(plain, question, response),
            }
            .map(Some)
        }
    }
}

/// Whether a listing tells of these names and of no others.
fn tells(page: &str, names: &BTreeSet<String>) -> bool {
    NAMES.iter().filter(|name| is_listed(name)).all(|name| {
        let links = ["\"", "/\""].map(|end| format!("href=\"{name}{end}"));
        let is_told = links.iter().any(|link| page.contains(link));
        is_told == names.contains(*name)
    })
}

/// Whether this is the answer that a stored sibling gives.
fn fits_stored(stored: &[u8], question: &Question, response: &Response) -> Option<u64> {
    let print = print(Some("gzip"), stored);
    let is_right = match (response.status, question) {
        (304, Question::UnlessStill(remembered)) => remembered.print == print,
        (200, _) => response.coding.as_deref() == Some("gzip") && response.content == stored,
        _ => false,
    };
    is_right.then_some(print)
}

/// Whether this is the answer that the file gives, perhaps in a coding that was made.
fn fits_plain(plain: &[u8], question: &Question, response: &Response) -> Option<u64> {
    let coding = response.coding.as_deref();
    let is_right = match (response.status, question) {
        (304, Question::UnlessStill(remembered)) => {
            let prints = [print(remembered.coding, plain), print(None, plain)];
            prints.contains(&remembered.print)
        }
        (206, Question::Part) => {
            let end = PART.end.min(plain.len());
            plain.get(PART.start..end) == Some(&*response.content)
        }
        (416, Question::Part) => plain.len() <= PART.start,
        (200, Question::Head) => response.length == Some(plain.len()),
        // A part of nothing is all of it.
        (200, Question::Part) => plain.is_empty() && response.content.is_empty(),
        (200, _) if coding.is_none() => response.content == plain,
        (200, _) => response.decoded().is_ok_and(|decoded| decoded == plain),
        _ => false,
    };
    is_right.then_some(print(coding, plain))
}

impl Question {
    /// The coding that is accepted.
    fn coding(&self) -> Option<&'static str> {
        match self {
            Self::Coded(coding) => Some(coding),
            Self::UnlessStill(remembered) => remembered.coding,
            _ => None,
        }
    }
}

fn print(coding: Option<&str>, content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (coding, content).hash(&mut hasher);
    hasher.finish()
}

fn is_hang(outcome: &io::Result<Response>) -> bool {
    let error = outcome.as_ref().err().map(io::Error::kind);
    matches!(
        error,
        Some(
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused
        )
    )
}

/// An answer of the server, its content by its length and its ends, which tell what it is.
fn shown(outcome: &io::Result<Response>) -> String {
    match outcome {
        Err(error) => error.to_string(),
        Ok(response) => {
            let content = response.decoded().unwrap_or_default();
            format!(
                "{} coding {:?} tag {:?} length {:?}, content {}",
                response.status,
                response.coding,
                response.tag,
                response.length,
                ends(&content),
            )
        }
    }
}

fn described(answer: &Answer) -> String {
    match answer {
        Answer::Content { plain, stored } => {
            let stored = stored
                .as_deref()
                .map(|stored| format!(" or the stored {}", ends(stored)));
            let plain = plain.as_deref().map_or("anything".to_owned(), ends);
            format!("{plain}{}", stored.unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}

fn ends(content: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    let length = content.len();
    let (first, last) = (
        &content[..length.min(60)],
        &content[length.saturating_sub(60)..],
    );
    format!("of {length} bytes \"{}…{}\"", text(first), text(last))
}
