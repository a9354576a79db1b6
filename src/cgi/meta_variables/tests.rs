//! The environment of scripts as a whole, for a table of requests.

use std::{path::PathBuf, sync::Arc};

use http::Request;
use proptest::prelude::*;

use super::*;
use crate::{
    fs::{Kind, Metadata, Place, Root},
    transport::{Address, Listen, Local, Remote},
};

/// What a test varies; the rest is the same everywhere.
struct Case {
    request: http::request::Builder,
    path_info: &'static str,
    env: Vec<(Box<str>, Box<str>)>,
    pass_authorization: bool,
    local: Address,
    remote: Address,
}

fn case(request: http::request::Builder) -> Case {
    Case {
        request,
        path_info: "",
        env: Vec::new(),
        pass_authorization: false,
        local: Address::Tcp(([192, 0, 2, 1], 8000).into()),
        remote: Address::Tcp(([192, 0, 2, 99], 40_000).into()),
    }
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

impl Case {
    fn environment(self) -> Environment {
        let (head, ()) = self.request.body(()).unwrap().into_parts();
        let root = Arc::new(Root::new("/srv/www"));
        meta_variables(&Facts {
            target: &Target::parse(&head).unwrap(),
            user: None,
            length: None,
            head: &head,
            connection: &Connection {
                id: 1,
                listener: Arc::new(Listen::Unix(PathBuf::new())),
                local: Local(self.local),
                remote: Remote(self.remote),
            },
            script: &Script {
                name: b"/cgi-bin/env.sh"[..].into(),
                path_info: self.path_info.as_bytes().into(),
                file: "/srv/www/cgi-bin/env.sh".into(),
                metadata: METADATA,
            },
            options: &Options {
                env: self.env,
                pass_authorization: self.pass_authorization,
                ..Options::below(Place { root, strip: 1 }, 9)
            },
            document_root: Path::new("/srv/www"),
        })
    }

    fn value(self, name: &str) -> Option<String> {
        let variables = self.environment().variables;
        let (_, value) = variables.into_iter().find(|(n, _)| n == name.as_bytes())?;
        Some(String::from_utf8(value).unwrap())
    }
}

const METADATA: Metadata = Metadata {
    kind: Kind::File,
    device: 1,
    inode: 1,
    size: 1,
    modified: (0, 0),
    changed: (0, 0),
    links: 1,
    permissions: 0o755,
    uid: 0,
};

#[test]
fn a_form_sees_exactly_these_variables() {
    let request = Request::post("/cgi-bin/env.sh/a%20b?x=%41&y")
        .header("Host", "Example.org:8080")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Content-Length", "9")
        .header("Accept", "text/html")
        .header("Accept", "*/*;q=0.1")
        .header("Cookie", "a=1")
        .header("Cookie", "b=2")
        .header("X-Request-ID2", "7")
        .header("Connection", "keep-alive, X-Mine")
        .header("X-Mine", "kept")
        .header("Keep-Alive", "timeout=5")
        .header("TE", "trailers")
        .header("Upgrade", "h2c")
        .header("Proxy", "http://attacker.example/")
        .header("Proxy-Connection", "keep-alive")
        .header("Authorization", "Basic c2VjcmV0");
    let environment = Case {
        path_info: "/a b",
        env: vec![("DATA".into(), "/var/lib/data".into())],
        ..case(request)
    }
    .environment();
    let lines: Vec<_> = environment
        .variables
        .iter()
        .map(|(name, value)| {
            format!(
                "{}={}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            )
        })
        .collect();
    let expected = [
        "CONTENT_LENGTH=9",
        "CONTENT_TYPE=application/x-www-form-urlencoded",
        "DATA=/var/lib/data",
        "DOCUMENT_ROOT=/srv/www",
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_ACCEPT=text/html, */*;q=0.1",
        "HTTP_COOKIE=a=1; b=2",
        "HTTP_HOST=Example.org:8080",
        "HTTP_X_MINE=kept",
        "HTTP_X_REQUEST_ID2=7",
        "LANG=C.UTF-8",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PATH_INFO=/a b",
        "PATH_TRANSLATED=/srv/www/a b",
        "QUERY_STRING=x=%41&y",
        "REDIRECT_STATUS=200",
        "REMOTE_ADDR=192.0.2.99",
        "REMOTE_HOST=192.0.2.99",
        "REMOTE_PORT=40000",
        "REQUEST_METHOD=POST",
        "REQUEST_SCHEME=http",
        "REQUEST_URI=/cgi-bin/env.sh/a%20b?x=%41&y",
        "SCRIPT_FILENAME=/srv/www/cgi-bin/env.sh",
        "SCRIPT_NAME=/cgi-bin/env.sh",
        "SERVER_ADDR=192.0.2.1",
        "SERVER_NAME=example.org",
        "SERVER_PORT=8080",
        "SERVER_PROTOCOL=HTTP/1.1",
        concat!("SERVER_SOFTWARE=pywebd/", env!("CARGO_PKG_VERSION")),
    ];
    assert_eq!(lines, expected);
    assert_eq!(environment.ambiguous, Vec::<HeaderName>::new());
}

#[test]
fn server_name_and_port_are_what_the_client_can_reach() {
    let six = Address::Tcp("[2001:db8::1]:8000".parse().unwrap());
    let mapped = Address::Tcp("[::ffff:192.0.2.1]:8000".parse().unwrap());
    let four = Address::Tcp("192.0.2.1:8000".parse().unwrap());
    let table = [
        (Some("example.org:81"), four, "example.org", "81"),
        (Some("example.org"), four, "example.org", "8000"),
        (Some("[2001:db8::2]:81"), four, "[2001:db8::2]", "81"),
        (None, four, "192.0.2.1", "8000"),
        (None, mapped, "192.0.2.1", "8000"),
        (None, six, "[2001:db8::1]", "8000"),
        (None, Address::Unix, "localhost", "80"),
    ];
    for (host, local, name, port) in table {
        for (variable, expected) in [("SERVER_NAME", name), ("SERVER_PORT", port)] {
            let mut request = get("/cgi-bin/env.sh").version(http::Version::HTTP_10);
            if let Some(host) = host {
                request = request.header("Host", host);
            }
            let value = Case {
                local,
                ..case(request)
            }
            .value(variable);
            assert_eq!(value.as_deref(), Some(expected), "{host:?} {variable}");
        }
    }
}

#[test]
fn a_client_on_a_unix_socket_counts_as_loopback() {
    let unix = || Case {
        remote: Address::Unix,
        local: Address::Unix,
        ..case(get("/").header("Host", "a"))
    };
    assert_eq!(unix().value("REMOTE_ADDR").as_deref(), Some("127.0.0.1"));
    assert_eq!(unix().value("REMOTE_PORT"), None);
    assert_eq!(unix().value("SERVER_ADDR"), None);
}

#[test]
fn the_absolute_form_decides_over_the_host_field() {
    let request = || case(get("http://a.example:81/x?y").header("Host", "b.example"));
    assert_eq!(
        request().value("HTTP_HOST").as_deref(),
        Some("a.example:81")
    );
    assert_eq!(request().value("SERVER_NAME").as_deref(), Some("a.example"));
    assert_eq!(request().value("REQUEST_URI").as_deref(), Some("/x?y"));
}

#[test]
fn a_chunked_message_has_no_content_length() {
    let request = get("/")
        .header("Host", "a")
        .header("Transfer-Encoding", "chunked")
        .header("Content-Length", "5");
    assert_eq!(case(request).value("CONTENT_LENGTH"), None);
}

#[test]
fn what_is_empty_is_left_out_but_for_the_query() {
    let names: Vec<_> = case(get("/cgi-bin/env.sh").header("Host", "a"))
        .environment()
        .variables
        .into_iter()
        .map(|(name, _)| String::from_utf8(name).unwrap())
        .collect();
    for absent in [
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "PATH_INFO",
        "PATH_TRANSLATED",
        "AUTH_TYPE",
        "REMOTE_USER",
        "REMOTE_IDENT",
        "HTTPS",
    ] {
        assert!(!names.contains(&absent.into()), "{absent}");
    }
    assert!(names.contains(&"QUERY_STRING".into()));
}

#[test]
fn of_names_that_map_to_one_variable_none_passes() {
    let request = get("/")
        .header("Host", "a")
        .header("X-User", "honest")
        .header("X_User", "forged")
        .header("X.Other", "odd")
        .header("X-Third", "passes");
    let environment = case(request).environment();
    let passed: Vec<_> = environment
        .variables
        .iter()
        .filter(|(name, _)| name.starts_with(b"HTTP_X"))
        .map(|(name, _)| String::from_utf8_lossy(name))
        .collect();
    assert_eq!(passed, ["HTTP_X_THIRD"]);
    let mut refused = environment.ambiguous;
    refused.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(refused, ["x-user", "x.other", "x_user"]);
}

#[test]
fn credentials_pass_only_when_the_configuration_says_so() {
    for passes in [false, true] {
        let request = get("/")
            .header("Host", "a")
            .header("Authorization", "Basic eA==");
        let value = Case {
            pass_authorization: passes,
            ..case(request)
        }
        .value("HTTP_AUTHORIZATION");
        assert_eq!(value.is_some(), passes);
    }
}

#[test]
fn the_configuration_overrules_customs_and_fields_but_not_the_standard() {
    let env = |name: &str| Case {
        env: vec![(name.into(), "mine".into())],
        ..case(get("/").header("Host", "a").header("X-A", "client"))
    };
    for name in ["PATH", "LANG", "DOCUMENT_ROOT", "HTTP_X_A", "HTTPS", "X"] {
        assert_eq!(env(name).value(name).as_deref(), Some("mine"), "{name}");
    }
    for name in [
        "REQUEST_METHOD",
        "REMOTE_ADDR",
        "SCRIPT_NAME",
        "QUERY_STRING",
    ] {
        assert_ne!(env(name).value(name).as_deref(), Some("mine"), "{name}");
    }
}

proptest! {
    #[test]
    fn no_field_becomes_anything_but_an_http_variable(
        fields in prop::collection::vec(("[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,12}", "[ -~]{0,12}"), 0..8),
    ) {
        let plain = case(get("/").header("Host", "a")).environment().variables;
        let mut request = get("/").header("Host", "a");
        for (name, value) in &fields {
            let own = ["host", "content-length", "content-type"];
            if !own.contains(&name.to_ascii_lowercase().as_str()) {
                request = request.header(name, value);
            }
        }
        let mut variables = case(request).environment().variables;
        variables.retain(|variable| !plain.contains(variable));
        for (name, _) in variables {
            prop_assert!(name.starts_with(b"HTTP_"));
            prop_assert!(name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_'));
        }
    }
}
