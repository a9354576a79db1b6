//! The whole environment of a script, for a table of requests: RFC 3875 section 4.1, what is given
//! beyond it, and nothing else.

use crate::support::{Server, Site};

/// The environment as the kernel handed it over: a shell adds to its own.
const ENVIRONMENT: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n\
    tr '\\0' '\\n' < /proc/$$/environ | LC_ALL=C sort\n";

/// What every request below has; it may be overruled.
const ALWAYS: &str = "\
    DOCUMENT_ROOT=ROOT GATEWAY_INTERFACE=CGI/1.1 HTTP_HOST=a.example LANG=C.UTF-8 \
    PATH=/usr/local/bin:/usr/bin:/bin QUERY_STRING= REDIRECT_STATUS=200 REMOTE_ADDR=127.0.0.1 \
    REMOTE_HOST=127.0.0.1 REMOTE_PORT=* REQUEST_METHOD=GET REQUEST_SCHEME=http \
    SCRIPT_FILENAME=ROOT/cgi-bin/env SCRIPT_NAME=/cgi-bin/env SERVER_ADDR=127.0.0.1 \
    SERVER_NAME=a.example SERVER_PORT=PORT SERVER_PROTOCOL=HTTP/1.1 SERVER_SOFTWARE=*";

/// A request's first line and fields, and what its script gets beside [`ALWAYS`]; spaces within a
/// value are written as `~`.
const TABLE: &[(&str, &str)] = &[
    ("GET /cgi-bin/env HTTP/1.1", "REQUEST_URI=/cgi-bin/env"),
    (
        "GET /cgi-bin/env?a=b&c=%20+d HTTP/1.1",
        "REQUEST_URI=/cgi-bin/env?a=b&c=%20+d QUERY_STRING=a=b&c=%20+d",
    ),
    ("GET /cgi-bin/env? HTTP/1.1", "REQUEST_URI=/cgi-bin/env?"),
    (
        "GET /cgi-bin/env/ HTTP/1.1",
        "REQUEST_URI=/cgi-bin/env/ PATH_INFO=/ PATH_TRANSLATED=ROOT/",
    ),
    (
        "GET /cgi-bin/%65nv/a%20b/%C3%A9/.x~?q HTTP/1.1",
        "REQUEST_URI=/cgi-bin/%65nv/a%20b/%C3%A9/.x\\~?q PATH_INFO=/a~b/\u{e9}/.x\\~ \
         PATH_TRANSLATED=ROOT/a~b/\u{e9}/.x\\~ QUERY_STRING=q",
    ),
    (
        "GET http://A.Example:81/cgi-bin/env HTTP/1.1",
        "REQUEST_URI=/cgi-bin/env HTTP_HOST=A.Example:81 SERVER_PORT=81",
    ),
    (
        "DELETE /cgi-bin/env/thing HTTP/1.1",
        "REQUEST_URI=/cgi-bin/env/thing REQUEST_METHOD=DELETE PATH_INFO=/thing \
         PATH_TRANSLATED=ROOT/thing",
    ),
    (
        "POST /cgi-bin/env HTTP/1.1\r\nContent-Type: text/x; a=b\r\nContent-Length: 0",
        "REQUEST_URI=/cgi-bin/env REQUEST_METHOD=POST CONTENT_LENGTH=0 CONTENT_TYPE=text/x;~a=b",
    ),
    (
        "GET /cgi-bin/env HTTP/1.1\r\nCookie: a=1\r\nCookie: b=2\r\nAccept: x\r\nAccept: y",
        "REQUEST_URI=/cgi-bin/env HTTP_COOKIE=a=1;~b=2 HTTP_ACCEPT=x,~y",
    ),
    (
        "GET /cgi-bin/env HTTP/1.1\r\nProxy: evil\r\nAuthorization: Basic eDp5\r\nTE: trailers\r\n\
         X_Two: a\r\nX-Two: b\r\nKeep-Alive: 1\r\nUpgrade: h2c",
        "REQUEST_URI=/cgi-bin/env",
    ),
    (
        "GET /cgi-bin/env HTTP/1.0",
        "REQUEST_URI=/cgi-bin/env SERVER_PROTOCOL=HTTP/1.0",
    ),
    (
        "GET /own/env HTTP/1.1\r\nAuthorization: Basic eDp5",
        "REQUEST_URI=/own/env SCRIPT_NAME=/own/env SCRIPT_FILENAME=ROOT/own/env COLOR=green \
         LANG=de_DE.UTF-8 HTTP_AUTHORIZATION=Basic~eDp5",
    ),
];

fn server() -> Server {
    Site::new()
        .script("cgi-bin/env", ENVIRONMENT)
        .script("own/env", ENVIRONMENT)
        .configured(
            "[site.a]\nhosts = [\"a.example\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/cgi-bin/\"]\ncgi = true\n\
             [site.a.path.\"/own/\"]\ncgi = true\npass-authorization = true\n\
             env = { COLOR = \"green\", LANG = \"de_DE.UTF-8\", SERVER_NAME = \"not this\" }\n",
        )
}

fn expected(own: &str) -> Vec<String> {
    let mut variables = std::collections::BTreeMap::new();
    for variable in ALWAYS.split(' ').chain(own.split(' ')) {
        let (name, value) = variable.split_once('=').unwrap();
        let value = value
            .replace("\\~", "\0")
            .replace('~', " ")
            .replace('\0', "~");
        variables.insert(name, value);
    }
    let line = |(name, value)| format!("{name}={value}");
    variables.into_iter().map(line).collect()
}

#[test]
fn a_script_gets_these_variables_and_no_others() {
    let server = server();
    let root = server.site().root();
    let port = format!("SERVER_PORT={}", server.address.port());
    for (request, own) in TABLE {
        let mut connection = server.connect();
        connection.send(format!(
            "{request}\r\nHost: a.example\r\nConnection: close\r\n\r\n"
        ));
        let response = connection.response();
        assert_eq!(response.status(), 200, "{request}");
        let text = response.text().replace(root.to_str().unwrap(), "ROOT");
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some((name @ ("REMOTE_PORT" | "SERVER_SOFTWARE"), _)) => format!("{name}=*"),
            _ if line == port => "SERVER_PORT=PORT".to_owned(),
            _ => line.to_owned(),
        });
        assert_eq!(lines.collect::<Vec<_>>(), expected(own), "{request}");
    }
}
