//! Which program a path runs: one for a whole subtree, interpreters by ending, index scripts; and
//! what becomes of content whose length is not known.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::{Response, Server, Site};

/// A program that tells what it was given.
const TELL: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n\
    echo \"0=$0 1=$1 2=$2\"\nenv | sort\n";

/// The lines of an answer that begin with one of these names, without what is before the root.
fn told(response: &Response, server: &Server, names: &[&str]) -> Vec<String> {
    let root = server.site().root();
    let text = response.text().replace(root.to_str().unwrap(), "ROOT");
    let is_wanted = |line: &&str| {
        names
            .iter()
            .any(|name| line.starts_with(&format!("{name}=")))
    };
    text.lines().filter(is_wanted).map(str::to_owned).collect()
}

fn site() -> Site {
    Site::new().script("../tell", TELL).file("x.txt", "x")
}

const ONE: &str = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
    [site.a.path.\"/git/\"]\nscript = \"tell\"\n\
    [site.a.path.\"/exact\"]\nscript = \"tell\"\n\
    [site.a.path.\"/git/*.secret\"]\nallow = [\"192.0.2.1\"]\n\
    [site.a.path.\"/git/*.open\"]\nallow = [\"127.0.0.1\"]\n";

#[test]
fn one_program_answers_for_a_whole_subtree_and_the_rest_is_path_info() {
    let server = site().configured(ONE);
    let names = ["SCRIPT_NAME", "PATH_INFO", "PATH_TRANSLATED"];
    for (path, expected) in [
        ("/git", &["SCRIPT_NAME=/git"][..]),
        (
            "/git/",
            &["PATH_INFO=/", "PATH_TRANSLATED=ROOT/", "SCRIPT_NAME=/git"],
        ),
        (
            "/git/a%20b/.git~",
            &[
                "PATH_INFO=/a b/.git~",
                "PATH_TRANSLATED=ROOT/a b/.git~",
                "SCRIPT_NAME=/git",
            ],
        ),
        ("/exact", &["SCRIPT_NAME=/exact"]),
    ] {
        let response = server.get(path);
        assert_eq!(told(&response, &server, &names), expected, "{path}");
    }
    assert_eq!(server.get("/exact/x").status(), 404);
}

#[test]
fn a_more_specific_key_adds_its_options_to_the_program_of_another() {
    let server = site().configured(ONE);
    assert_eq!(server.get("/git/x.secret").status(), 403);
    let response = server.get("/git/x.open");
    let names = ["SCRIPT_NAME", "PATH_INFO"];
    let expected = ["PATH_INFO=/x.open", "SCRIPT_NAME=/git"];
    assert_eq!(told(&response, &server, &names), expected);
}

#[test]
fn a_program_can_answer_for_the_whole_site() {
    let server = site().configured(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n[site.a.path.\"/\"]\nscript = \"tell\"\n",
    );
    let names = ["SCRIPT_NAME", "PATH_INFO"];
    for (path, expected) in [
        ("/", ["PATH_INFO=/", "SCRIPT_NAME="]),
        ("/x.txt", ["PATH_INFO=/x.txt", "SCRIPT_NAME="]),
    ] {
        assert_eq!(told(&server.get(path), &server, &names), expected);
    }
}

const ENDING: &str = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
    index = [\"index.tell\", \"index.html\"]\n\
    [site.a.path.\"*.tell\"]\ninterpreter = \"tell\"\n\
    [site.a.path.\"/front/\"]\nfallback = \"/front.tell\"\n";

fn interpreted() -> Server {
    site()
        .file("a/x.tell", "source")
        .file("a/picture.jpg", "picture")
        .file("a/index.tell", "source")
        .file("front.tell", "source")
        .file("front/x.txt", "x")
        .file("dir.tell/y.tell", "source")
        .configured(ENDING)
}

#[test]
fn an_interpreter_gets_files_with_its_ending_and_never_a_query_as_an_argument() {
    let server = interpreted();
    let names = ["0", "SCRIPT_NAME", "PATH_INFO", "SCRIPT_FILENAME"];
    let interpreter = server.site().directory().join("tell");
    let first = |file: &str| format!("0={} 1=ROOT/{file} 2=", interpreter.display());
    let response = server.get("/a/x.tell?-s+-d");
    let expected = [
        first("a/x.tell"),
        "SCRIPT_FILENAME=ROOT/a/x.tell".into(),
        "SCRIPT_NAME=/a/x.tell".into(),
    ];
    assert_eq!(told(&response, &server, &names), expected);
    let response = server.get("/a/x.tell/more/y.tell");
    let expected = [
        first("a/x.tell"),
        "PATH_INFO=/more/y.tell".into(),
        "SCRIPT_FILENAME=ROOT/a/x.tell".into(),
        "SCRIPT_NAME=/a/x.tell".into(),
    ];
    assert_eq!(told(&response, &server, &names), expected);
    let response = server.get("/dir.tell/y.tell");
    assert_eq!(told(&response, &server, &["0"]), [first("dir.tell/y.tell")]);
}

#[test]
fn a_file_of_another_ending_is_never_interpreted() {
    let server = interpreted();
    for path in [
        "/a/picture.jpg/x.tell",
        "/a/none.tell",
        "/a/.tell",
        "/a/x.tell~",
        "/x.txt/.tell",
    ] {
        let response = server.get(path);
        assert_eq!(response.status(), 404, "{path}");
        assert!(!response.text().contains("source"), "{path}");
    }
    assert_eq!(server.get("/a/picture.jpg").text(), "picture");
}

#[test]
fn an_index_or_a_fallback_can_be_a_script_for_every_method() {
    let server = interpreted();
    let names = ["SCRIPT_NAME", "REQUEST_URI", "REQUEST_METHOD"];
    for (method, path, name) in [
        ("GET", "/a/?q", "/a/index.tell"),
        ("POST", "/a/", "/a/index.tell"),
        ("DELETE", "/a/", "/a/index.tell"),
        ("GET", "/front/any/thing", "/front.tell"),
        ("POST", "/front/any/thing", "/front.tell"),
    ] {
        let response = server.request(method, path, "", "");
        let expected = [
            format!("REQUEST_METHOD={method}"),
            format!("REQUEST_URI={path}"),
            format!("SCRIPT_NAME={name}"),
        ];
        assert_eq!(
            told(&response, &server, &names),
            expected,
            "{method} {path}"
        );
    }
    // A file still takes no POST, nor does a directory without its slash.
    assert_eq!(
        server.request("POST", "/a/picture.jpg", "", "").status(),
        405
    );
    assert_eq!(server.request("POST", "/a", "", "").status(), 405);
}

#[test]
fn an_index_script_stands_for_its_directory_below_cgi() {
    let server = site()
        .script("bin/app/index.cgi", TELL)
        .file("bin/other/index.cgi", "not executable")
        .configured(
            "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/bin/\"]\ncgi = true\nindex = [\"index.cgi\"]\n\
             [site.a.path.\"/bin/app/index.cgi\"]\nenv = { OWN = \"rule\" }\n",
        );
    let response = server.get("/bin/app/?q");
    let names = ["SCRIPT_NAME", "QUERY_STRING", "PATH_INFO", "OWN"];
    let expected = [
        "OWN=rule",
        "QUERY_STRING=q",
        "SCRIPT_NAME=/bin/app/index.cgi",
    ];
    assert_eq!(told(&response, &server, &names), expected);
    let redirect = server.get("/bin/app?q");
    assert_eq!(redirect.status(), 301);
    assert_eq!(redirect.field("location"), Some("/bin/app/?q"));
    for path in ["/bin/other/", "/bin/other", "/bin/", "/bin"] {
        assert_eq!(server.get(path).status(), 403, "{path}");
    }
}

#[test]
fn a_program_that_can_only_be_executed_is_run() {
    let site = Site::new().file("cgi-bin/none", "");
    let program = site.root().join("cgi-bin/env");
    fs::copy("/usr/bin/env", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o711)).unwrap();
    let server = site.serve_as_nobody();
    // It writes variables and no header.
    let response = server.get("/cgi-bin/env");
    assert_eq!(response.status(), 502);
    assert!(response.text().contains("GATEWAY_INTERFACE=CGI/1.1"));
}

#[test]
fn chunked_content_is_spooled_where_the_configuration_says_so() {
    let text = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n\
        echo \"length=$CONTENT_LENGTH\"\nhead -c \"${CONTENT_LENGTH:-0}\"\n";
    let server = Site::new()
        .script("spool/read", text)
        .script("stream/read", text)
        .configured(
            "limits.request-body-size = \"1K\"\n\
             [site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
             [site.a.path.\"/spool/\"]\ncgi = true\nspool = true\n\
             [site.a.path.\"/stream/\"]\ncgi = true\n",
        );
    let chunked = |path: &str, content: &str| {
        server.raw(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n{content}"
        ))
    };
    let answer = chunked("/spool/read", "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n");
    assert!(answer.contains("length=12\n"), "{answer}");
    assert!(answer.contains("hello, world"), "{answer}");
    let answer = chunked("/spool/read", "0\r\n\r\n");
    assert!(answer.contains("length=0\n"), "{answer}");
    let answer = chunked("/stream/read", "5\r\nhello\r\n0\r\n\r\n");
    assert!(answer.contains("length=\n"), "{answer}");
    let large = format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(0x401));
    assert!(chunked("/spool/read", &large).starts_with("HTTP/1.1 413 "));
    // With a length it streams, and says so as it is.
    let response = server.request("POST", "/spool/read", "", "four");
    assert_eq!(response.text(), "length=4\nfour");
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    for (rule, part) in [
        ("\"*.php\"]\nscript = \"tell\"", "`script` is one program"),
        (
            "\"/a/\"]\ninterpreter = \"tell\"",
            "`interpreter` is for files",
        ),
        ("\"/a/\"]\nscript = \"tell\"\ncgi = true", "does one thing"),
        (
            "\"/a/\"]\nscript = \"tell\"\nuser = \"root\"",
            "do not run as user \"root\"",
        ),
        (
            "\"/a/\"]\nscript = \"tell\"\nuser = \"no-such\"",
            "there is no user",
        ),
        ("\"/a/\"]\nscript = \"tell\"\ntasks = 0", "from 1 to"),
        (
            "\"/a/\"]\nscript = \"tell\"\nmemory = \"1K\"",
            "from \"1M\" to",
        ),
        (
            "\"/a/\"]\nscript = \"tell\"\ncpu-weight = 0",
            "from 1 to 10000",
        ),
    ] {
        let text = format!("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n[site.a.path.{rule}\n");
        let site = site();
        let config = site.config(&text);
        let outcome = Server::run(&["check", "--config", config.to_str().unwrap()]);
        assert_eq!(outcome.status.code(), Some(78), "{rule}");
        let findings = outcome.stdout + &outcome.stderr;
        assert!(findings.contains(part), "{rule}: {findings}");
    }
}

#[test]
fn sources_that_a_longer_key_shows_are_warned_of() {
    let site = site().file("front/x.tell", "source");
    let config = site.config(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
         [site.a.path.\"*.tell\"]\ninterpreter = \"tell\"\n\
         [site.a.path.\"/front/\"]\nfallback = \"/x.tell\"\n\
         [site.a.path.\"/plain/\"]\nallow = [\"127.0.0.1\"]\n",
    );
    let outcome = Server::run(&["check", "--config", config.to_str().unwrap()]);
    let findings = outcome.stdout + &outcome.stderr;
    let expected = "files of \"*.tell\" are shown below \"/front/\", not run";
    assert_eq!(findings.matches("are shown below").count(), 1, "{findings}");
    assert!(findings.contains(expected), "{findings}");
}

#[test]
fn an_index_that_nothing_runs_is_warned_of() {
    let text =
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\nindex = [\"index.php\", \"index.html\"]\n";
    let run = "[site.a.path.\"*.php\"]\ninterpreter = \"tell\"\n";
    for (text, expected) in [(text.to_owned(), 1), (format!("{text}{run}"), 0)] {
        let site = site();
        let config = site.config(&text);
        let outcome = Server::run(&["check", "--config", config.to_str().unwrap()]);
        let findings = outcome.stdout + &outcome.stderr;
        let found = findings.matches("\"index.php\" would be shown").count();
        assert_eq!(found, expected, "{findings}");
    }
}

#[test]
fn neither_a_tunnel_nor_an_echo_is_for_scripts() {
    let server = site().configured(ONE);
    for method in ["CONNECT", "TRACE"] {
        assert_eq!(
            server.request(method, "/git/x", "", "").status(),
            501,
            "{method}"
        );
    }
}

#[test]
fn a_program_that_is_not_there_is_a_warning_and_each_request_says_why() {
    let text = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n\
        [site.a.path.\"/a/\"]\nscript = \"none\"\n\
        [site.a.path.\"*.txt\"]\ninterpreter = \"none\"\n";
    let site = site();
    let config = site.config(text);
    let outcome = Server::run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let findings = outcome.stdout + &outcome.stderr;
    assert!(findings.contains("/none does not exist"), "{findings}");
    let server = site.configured(text);
    assert_eq!(server.get("/a/b").status(), 404);
    let response = server.get("/x.txt");
    assert_eq!(response.status(), 500);
    assert!(response.text().contains("none does not exist"));
}
