//! `pywebd explain URL`: what a request would come to, from the very function the server decides
//! with.

mod script;

use std::{fmt, sync::Arc};

use http::{Request, Uri, Version, header, request::Parts};
use serde::Serialize;

use crate::{
    cgi::meta_variables::Facts,
    cli::{Exit, arguments::Explain, outcome::Outcome},
    config::{self, Source},
    files::Look,
    fs::Wait,
    semantics::{failure::Failure, target::Target},
    service::{
        decide::{Authorization, Question, Undecided, decide},
        decision::{Resource, Step},
    },
    site::{Site, Snapshot},
    transport::{Address, Connection, Listen, Local, Remote},
};

use script::Plan;

#[derive(Serialize)]
struct Explanation {
    steps: Vec<Explained>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<Plan>,
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
        script: verdict.script,
    }
}

/// What the decision comes to.
struct Verdict {
    status: Option<u16>,
    text: String,
    script: Option<Plan>,
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
    let decision = match decide(snapshot, asked, Look::plain(Wait::Allowed), steps) {
        Ok(decision) => decision,
        Err(Undecided::NoSite(failure)) => return Verdict::of(&failure),
        Err(Undecided::WouldWait(_)) => unreachable!("the look-up was allowed to wait"),
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
                length: None,
            };
            run(&facts, site)
        }
        Err(failure) => Verdict::of(failure),
    }
}

/// What would become of a script.
fn run(facts: &Facts<'_>, site: &Site) -> Verdict {
    let plan = Plan::new(facts, site);
    let (status, text) = if plan.passes() {
        (None, "the script says".to_owned())
    } else {
        (Some(500), "it is not started: a check failed".to_owned())
    };
    Verdict {
        status,
        text,
        script: Some(plan),
    }
}

impl Verdict {
    fn plain(status: Option<u16>, text: String) -> Self {
        Self {
            status,
            text,
            script: None,
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
        match &self.script {
            Some(plan) => plan.fmt(out),
            None => Ok(()),
        }
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
