//! Which variables a script is given, by the launcher's own knowledge.
//!
//! The network process makes the environment, for it knows the request. But a variable can decide
//! what runs (`LD_PRELOAD`, `PATH`, `PYTHONPATH`), so only the names of RFC 3875 and of custom
//! pass, and what the configuration says is taken from the configuration. All values that are left
//! to the network process are facts of the request, which a client could choose as well.

use std::{ffi::CString, os::unix::ffi::OsStrExt};

use crate::cgi::{
    Options,
    locate::Script,
    wire::{FIXED_VARIABLES, Refusal},
};

/// RFC 3875 §4.1.1 to §4.1.17. The configuration does not overrule these.
const META_VARIABLES: [&str; 17] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "GATEWAY_INTERFACE",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
];

/// What servers give beyond the standard.
const CUSTOMARY: [&str; 8] = [
    "DOCUMENT_ROOT",
    "HTTPS",
    "REDIRECT_STATUS",
    "REMOTE_PORT",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_FILENAME",
    "SERVER_ADDR",
];

/// The environment as `execve` takes it, in the order given.
pub fn environment(
    given: &[(Vec<u8>, Vec<u8>)],
    script: &Script,
    options: &Options,
) -> Result<Vec<CString>, Refusal> {
    let variables = given.iter().map(|(name, given)| {
        let refusal = || {
            let name = String::from_utf8_lossy(name);
            Refusal::Malformed(format!("the variable {name:?} is not for scripts"))
        };
        let value = value(name, given, script, options).ok_or_else(refusal)?;
        CString::new([name, &b"="[..], value].concat()).map_err(|_| refusal())
    });
    variables.collect()
}

/// The value for a variable; absent if no script is given it.
fn value<'v>(
    name: &[u8],
    given: &'v [u8],
    script: &'v Script,
    options: &'v Options,
) -> Option<&'v [u8]> {
    let configured = options.env.iter().map(|(name, value)| (&**name, &**value));
    let mut known = configured.chain(FIXED_VARIABLES);
    let is_among = |names: &[&str]| names.iter().any(|one| one.as_bytes() == name);
    if name == b"SCRIPT_NAME" {
        Some(&script.name)
    } else if is_among(&META_VARIABLES) {
        Some(given)
    } else if let Some((_, value)) = known.find(|(one, _)| one.as_bytes() == name) {
        Some(value.as_bytes())
    } else if name == b"SCRIPT_FILENAME" {
        Some(script.file.as_os_str().as_bytes())
    } else {
        (is_among(&CUSTOMARY) || is_of_a_field(name)).then_some(given)
    }
}

/// Whether a variable stands for a field of the request (RFC 3875 §4.1.18). Programs take
/// `HTTP_PROXY` for the proxy that they are to use themselves (httpoxy, CVE-2016-5385).
fn is_of_a_field(name: &[u8]) -> bool {
    let is_usual = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    name.strip_prefix(b"HTTP_")
        .is_some_and(|field| !field.is_empty() && field.iter().all(is_usual) && field != b"PROXY")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::{Kind, Metadata, Place, Root};

    fn made(given: &[(&str, &str)]) -> Result<Vec<String>, Refusal> {
        let place = Place {
            root: Arc::new(Root::new("/srv")),
            strip: 1,
        };
        let options = Options {
            env: [
                ("LD_LIBRARY_PATH", "/opt/lib"),
                ("LANG", "de_DE.UTF-8"),
                ("QUERY_STRING", "no"),
            ]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
            ..Options::below(place, 1)
        };
        let script = Script {
            name: (*b"/x.cgi").into(),
            path_info: (*b"").into(),
            file: "/srv/x.cgi".into(),
            metadata: Metadata {
                kind: Kind::File,
                device: 0,
                inode: 0,
                size: 0,
                modified: (0, 0),
                changed: (0, 0),
                links: 1,
                permissions: 0o755,
                uid: 0,
            },
        };
        let given = given
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let given: Vec<_> = given.collect();
        let made = environment(&given, &script, &options)?;
        Ok(made
            .into_iter()
            .map(|one| one.into_string().unwrap())
            .collect())
    }

    #[test]
    fn what_tells_of_the_request_passes_as_it_is() {
        for name in META_VARIABLES
            .iter()
            .chain(&CUSTOMARY)
            .chain(&["HTTP_X_A1", "HTTP_COOKIE"])
        {
            if !["SCRIPT_NAME", "SCRIPT_FILENAME"].contains(name) {
                assert_eq!(made(&[(name, "a=b")]).unwrap(), [format!("{name}=a=b")]);
            }
        }
    }

    #[test]
    fn what_the_launcher_knows_itself_cannot_be_forged() {
        for (name, value) in [
            ("SCRIPT_NAME", "/x.cgi"),
            ("SCRIPT_FILENAME", "/srv/x.cgi"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "de_DE.UTF-8"),
            ("LD_LIBRARY_PATH", "/opt/lib"),
        ] {
            assert_eq!(
                made(&[(name, "/tmp/evil")]).unwrap(),
                [format!("{name}={value}")]
            );
        }
    }

    #[test]
    fn any_other_variable_is_refused() {
        for name in [
            "",
            "LD_PRELOAD",
            "PYTHONPATH",
            "BASH_ENV",
            "LC_ALL",
            "path",
            "HTTP_",
            "HTTP_PROXY",
            "HTTP_x",
            "HTTP_A-B",
            "HTTP_A=B",
            "SCRIPT_NAME=",
            "QUERY_STRING\0",
        ] {
            let refusal = made(&[("QUERY_STRING", ""), (name, "x")]);
            assert!(matches!(refusal, Err(Refusal::Malformed(_))), "{name}");
        }
    }

    #[test]
    fn a_value_with_a_nul_is_refused() {
        assert!(made(&[("QUERY_STRING", "a\0b")]).is_err());
    }
}
