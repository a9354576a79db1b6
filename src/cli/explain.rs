//! `pywebd explain URL`: what a request would come to, from the very function the server decides
//! with.

use std::{fmt, sync::Arc};

use http::{Request, Uri, Version, header, request::Parts};
use serde::Serialize;

use crate::{
    cgi::meta_variables::{Facts, meta_variables},
    cli::{Exit, arguments::Explain, outcome::Outcome},
    config::{self, Source},
    fs::Wait,
    semantics::{failure::Failure, target::Target},
    service::{
        decide::{Authorization, Question, Undecided, decide},
        decision::{Resource, Step},
    },
    site::{Site, Snapshot},
    transport::{Address, Connection, Listen, Local, Remote},
};

#[derive(Serialize)]
struct Explanation {
    steps: Vec<Explained>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    verdict: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    environment: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Explained {
    topic: &'static str,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// The steps to the decision, and the decision.
pub fn explain(question: &Explain, source: &Source) -> Outcome {
    let loaded = config::load(source, &config::environment::variable);
    let Some(snapshot) = loaded.snapshot else {
        return Outcome {
            output: String::new(),
            findings: loaded.report.render(),
            exit: Exit::Config,
        };
    };
    let head = match head(question) {
        Ok(head) => head,
        Err(message) => {
            return Outcome {
                output: String::new(),
                findings: format!("pywebd: {}: {message}\n", question.url),
                exit: Exit::Usage,
            };
        }
    };
    let explanation = explanation(&snapshot, question, &head);
    Outcome {
        output: if question.json {
            serde_json::to_string_pretty(&explanation).unwrap_or_default() + "\n"
        } else {
            explanation.to_string()
        },
        findings: String::new(),
        exit: Exit::Success,
    }
}

/// The head of the request that a browser would send for the URL.
fn head(question: &Explain) -> Result<Parts, String> {
    let uri: Uri = question
        .url
        .parse()
        .map_err(|error| format!("not a URL: {error}"))?;
    let host = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::builder()
        .method(question.method.clone())
        .version(Version::HTTP_11)
        .uri(target)
        .header(header::HOST, host)
        .body(())
        .map_err(|error| error.to_string())?;
    Ok(request.into_parts().0)
}

fn explanation(snapshot: &Snapshot, question: &Explain, head: &Parts) -> Explanation {
    let mut steps = Vec::new();
    let verdict = match Target::parse(head) {
        Ok(target) => verdict(snapshot, question, head, &target, &mut steps),
        Err(failure) => Verdict::of(&failure),
    };
    Explanation {
        steps: steps.into_iter().map(Explained::from).collect(),
        status: verdict.status,
        verdict: verdict.text,
        environment: verdict.environment,
    }
}

/// What the decision comes to.
struct Verdict {
    status: Option<u16>,
    text: String,
    environment: Vec<(String, String)>,
}

fn verdict(
    snapshot: &Snapshot,
    question: &Explain,
    head: &Parts,
    target: &Target<'_>,
    steps: &mut Vec<Step>,
) -> Verdict {
    let connection = connection(snapshot, question, target);
    let asked = Question {
        listener: &connection.listener,
        client: connection.remote.0.ip(),
        authorization: Authorization::Assumed,
        method: &head.method,
        authority: target.authority.as_ref(),
        path: &target.path,
        query: target.query,
    };
    let decision = match decide(snapshot, asked, Wait::Allowed, steps) {
        Ok(decision) => decision,
        Err(Undecided::NoSite(failure)) => return Verdict::of(&failure),
        Err(Undecided::WouldWait) => unreachable!("the look-up was allowed to wait"),
        Err(Undecided::Unverified(..)) => unreachable!("passwords are assumed"),
    };
    let site = &snapshot[decision.site];
    match &decision.outcome {
        Ok(Resource::Files { .. }) => Verdict::plain(Some(200), "it is served".to_owned()),
        Ok(Resource::Redirect { location, status }) => {
            Verdict::plain(Some(status.as_u16()), format!("redirected to {location}"))
        }
        Ok(Resource::Script { route, script }) => {
            let facts = Facts {
                head,
                target,
                connection: &connection,
                script,
                options: site.routes.programs(*route),
                document_root: site.root.path(),
                user: None,
            };
            run(&facts, site)
        }
        Err(failure) => Verdict::of(failure),
    }
}

/// What a script would get.
fn run(facts: &Facts<'_>, site: &Site) -> Verdict {
    let (running, queued) = site.scripts.limits();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Verdict {
        status: None,
        text: format!(
            "the script says; it is run in {}, killed after {:?} without output and after {:?} \
             in all; {running} scripts of the site run at once, {queued} wait",
            facts
                .script
                .file
                .parent()
                .unwrap_or(site.root.path())
                .display(),
            facts.options.timeout,
            facts.options.max_time,
        ),
        environment: meta_variables(facts)
            .variables
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
    }
}

impl Verdict {
    fn plain(status: Option<u16>, text: String) -> Self {
        Self {
            status,
            text,
            environment: Vec::new(),
        }
    }

    fn of(failure: &Failure) -> Self {
        Self::plain(Some(failure.status.as_u16()), failure.to_string())
    }
}

/// The connection that such a request would come by: to the listener with its port, else the first.
fn connection(snapshot: &Snapshot, question: &Explain, target: &Target<'_>) -> Connection {
    let port = target.authority.as_ref().and_then(|host| host.port);
    let port = port.unwrap_or(80);
    let has_port =
        |listen: &&Listen| matches!(listen, Listen::Tcp(address) if address.port() == port);
    let mut listeners = snapshot.listen.iter();
    let listener = listeners.find(has_port).unwrap_or(&snapshot.listen[0]);
    let local = match listener {
        Listen::Tcp(address) => Address::Tcp(*address),
        Listen::Unix(_) => Address::Unix,
    };
    Connection {
        id: 0,
        listener: Arc::new(listener.clone()),
        local: Local(local),
        remote: Remote(Address::Tcp((question.client, 0).into())),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            write!(out, "{:<9} {}", step.topic, step.finding)?;
            match &step.origin {
                Some(origin) => writeln!(out, "  ({origin})")?,
                None => writeln!(out)?,
            }
        }
        write!(out, "{:<9} ", "verdict")?;
        if let Some(status) = self.status {
            write!(out, "{status}: ")?;
        }
        writeln!(out, "{}", self.verdict)?;
        for (name, value) in &self.environment {
            writeln!(out, "{:<9} {name}={value}", "")?;
        }
        Ok(())
    }
}

impl From<Step> for Explained {
    fn from(step: Step) -> Self {
        Self {
            topic: step.topic,
            finding: step.finding,
            origin: step.origin,
        }
    }
}
