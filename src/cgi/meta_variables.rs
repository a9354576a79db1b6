//! The environment of a script: RFC 3875 section 4.1, and what scripts expect beyond it.
//!
//! A pure function of the request, the script and the options, so that `pywebd explain` prints
//! what a script gets. Nothing of the server's own environment is ever passed, and no field that
//! could pass for another one (`Proxy`, names with an underscore) becomes a variable.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{
    cgi::{Options, locate::Script, wire::FIXED_VARIABLES},
    semantics::target::Target,
    transport::Connection,
};

const SOFTWARE: &str = concat!("pywebd/", env!("CARGO_PKG_VERSION"));

/// Fields about the connection that brought the request (RFC 9110 §7.6.1), which the server deals
/// with. Those that the client lists in `Connection` are passed: nobody may take away fields that
/// a proxy in between has added.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// All that the environment depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'r> {
    /// The request's head.
    pub head: &'r Parts,
    /// Its target.
    pub target: &'r Target<'r>,
    /// The connection it came by.
    pub connection: &'r Connection,
    /// The script.
    pub script: &'r Script,
    /// What the path key says.
    pub options: &'r Options,
    /// The site's root.
    pub document_root: &'r Path,
    /// The user, where a password was asked for.
    pub user: Option<&'r [u8]>,
    /// The length of content that is here as a whole, and whose head does not tell it.
    pub length: Option<u64>,
}

/// The whole environment of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Names and values, in the order of the names.
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
    /// Fields that were not passed because their names could pass for others.
    pub ambiguous: Vec<HeaderName>,
}

/// Names and values, sorted.
#[derive(Default)]
struct Variables(BTreeMap<Vec<u8>, Vec<u8>>);

/// Makes the environment. What comes later takes the place of what came before: the
/// configuration's `env` overrules all but the variables of RFC 3875 section 4.1, and no field
/// of a request overrules anything.
pub fn meta_variables(facts: &Facts<'_>) -> Environment {
    let mut variables = Variables::default();
    let ambiguous = fields(&mut variables, facts);
    for (name, value) in FIXED_VARIABLES {
        variables.set(name, value);
    }
    customary(&mut variables, facts);
    for (name, value) in &facts.options.env {
        variables.set(name.as_bytes(), value.as_bytes());
    }
    standard(&mut variables, facts);
    // The parsers of the request and of the configuration let no NUL through; if one ever did,
    // the value would end there without notice.
    variables.0.retain(|_, value| !value.contains(&0));
    Environment {
        variables: variables.0.into_iter().collect(),
        ambiguous,
    }
}

/// Sections 4.1.1 to 4.1.17. `REMOTE_IDENT` is never known here.
fn standard(variables: &mut Variables, facts: &Facts<'_>) {
    let Facts { head, script, .. } = facts;
    // A chunked message has no length, whatever else it says (RFC 9112 §6.3).
    let is_chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    if let (Some(length), false) = (head.headers.get(header::CONTENT_LENGTH), is_chunked) {
        variables.set("CONTENT_LENGTH", length);
    }
    if let Some(length) = facts.length {
        variables.set("CONTENT_LENGTH", length.to_string());
    }
    if let Some(media_type) = head.headers.get(header::CONTENT_TYPE) {
        variables.set("CONTENT_TYPE", media_type);
    }
    if let Some(user) = facts.user {
        variables.set("AUTH_TYPE", "Basic");
        variables.set("REMOTE_USER", user);
    }
    variables.set("GATEWAY_INTERFACE", "CGI/1.1");
    if !script.path_info.is_empty() {
        variables.set("PATH_INFO", &script.path_info);
        variables.set("PATH_TRANSLATED", path_translated(facts));
    }
    variables.set("QUERY_STRING", facts.target.query.unwrap_or_default());
    // The variable is required (§4.1.8); a Unix socket's client is on this machine.
    let remote = facts.connection.remote.0.ip();
    let remote = remote.unwrap_or(IpAddr::from([127, 0, 0, 1])).to_string();
    variables.set("REMOTE_HOST", &remote);
    variables.set("REMOTE_ADDR", remote);
    variables.set("REQUEST_METHOD", head.method.as_str());
    variables.set("SCRIPT_NAME", &script.name);
    variables.set("SERVER_NAME", server_name(facts));
    variables.set("SERVER_PORT", server_port(facts).to_string());
    // `Debug` is how the type writes the protocol's name and version.
    variables.set("SERVER_PROTOCOL", format!("{:?}", head.version));
    variables.set("SERVER_SOFTWARE", SOFTWARE);
}

/// Section 4.1.6: the path as if it named a file of the site.
fn path_translated(facts: &Facts<'_>) -> Vec<u8> {
    let root = facts.document_root.as_os_str().as_bytes();
    let root = root.strip_suffix(b"/").unwrap_or(root);
    [root, &facts.script.path_info].concat()
}

/// Section 4.1.14: the host that the client named, or the address that it came to.
fn server_name(facts: &Facts<'_>) -> String {
    match (&facts.target.authority, facts.connection.local.0.ip()) {
        (Some(authority), _) => authority.host.to_string(),
        (None, Some(IpAddr::V4(address))) => address.to_string(),
        (None, Some(IpAddr::V6(address))) => format!("[{address}]"),
        (None, None) => "localhost".into(),
    }
}

/// Section 4.1.15. The Script-URI is made of it, so where the client names a port, that one
/// counts: behind a forwarded port it is the one that the client can reach. Else it is the port
/// that the request came in by, and 80 for a Unix socket, which has none.
fn server_port(facts: &Facts<'_>) -> u16 {
    let named = facts.target.authority.as_ref().and_then(|a| a.port);
    named
        .or_else(|| facts.connection.local.0.port())
        .unwrap_or(80)
}

/// What the standard does not know and every server gives.
fn customary(variables: &mut Variables, facts: &Facts<'_>) {
    let root = facts.document_root.as_os_str().as_bytes();
    variables.set("DOCUMENT_ROOT", root);
    variables.set("SCRIPT_FILENAME", facts.script.file.as_os_str().as_bytes());
    let reference = facts.head.uri.path_and_query();
    variables.set("REQUEST_URI", reference.map_or("/", |r| r.as_str()));
    variables.set("REQUEST_SCHEME", "http");
    if let Some(port) = facts.connection.remote.0.port() {
        variables.set("REMOTE_PORT", port.to_string());
    }
    if let Some(address) = facts.connection.local.0.ip() {
        variables.set("SERVER_ADDR", address.to_string());
    }
    // php-cgi does not run without it.
    variables.set("REDIRECT_STATUS", "200");
}

/// Section 4.1.18: a variable for each field of the request. Returns the names that were refused
/// because they, or others, map to one variable.
fn fields(variables: &mut Variables, facts: &Facts<'_>) -> Vec<HeaderName> {
    let fields = &facts.head.headers;
    let unclear: BTreeSet<String> = fields
        .keys()
        .filter(|name| !is_unmistakable(name))
        .map(variable_name)
        .collect();
    let mut ambiguous = Vec::new();
    for name in fields.keys() {
        let variable = variable_name(name);
        if unclear.contains(&variable) {
            ambiguous.push(name.clone());
        } else if passes(name, facts.options) {
            variables.set_field(&variable, fields, name);
        }
    }
    // The target decides, not a `Host` that says something else (RFC 9112 §3.2.2).
    if let Some(authority) = facts.head.uri.authority() {
        variables.set("HTTP_HOST", authority.as_str());
    }
    ambiguous
}

/// Whether a name is the only one that maps to its variable.
fn is_unmistakable(name: &HeaderName) -> bool {
    let is_clear = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    name.as_str().as_bytes().iter().all(is_clear)
}

fn variable_name(name: &HeaderName) -> String {
    let to_variable = |byte: char| match byte {
        'a'..='z' | '0'..='9' => byte.to_ascii_uppercase(),
        _ => '_',
    };
    let name = name.as_str().chars().map(to_variable);
    "HTTP_".chars().chain(name).collect()
}

fn passes(name: &HeaderName, options: &Options) -> bool {
    match name.as_str() {
        // The first two have variables of their own. HTTP_PROXY is where programs look for the
        // proxy that they are to use themselves (httpoxy, CVE-2016-5385).
        "content-type" | "content-length" | "proxy" => false,
        "authorization" | "proxy-authorization" => options.pass_authorization,
        name => !HOP_BY_HOP.contains(&name),
    }
}

impl Variables {
    fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref().to_vec(), value.as_ref().to_vec());
        self.0.insert(name, value);
    }

    /// Sets the variable to a field's value, if the request has the field; several lines are
    /// joined to one value that means the same (RFC 9110 §5.3, RFC 6265 §5.4 for cookies).
    fn set_field(&mut self, variable: &str, fields: &HeaderMap, name: &HeaderName) {
        let separator: &[u8] = match name {
            &header::COOKIE => b"; ",
            _ => b", ",
        };
        let values: Vec<&[u8]> = fields
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if !values.is_empty() {
            self.set(variable, values.join(separator));
        }
    }
}

#[cfg(test)]
mod tests;
