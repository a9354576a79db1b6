//! What is said of scripts that fail: all of it in the log, for those in `trusted` in the page, and
//! nothing for everybody else.

use std::{fs, os::unix::fs::PermissionsExt, thread};

use crate::support::{Response, Server, Site};

/// A configuration with these lines for the path of the scripts.
fn config(trusted: &str, rule: &str) -> String {
    format!(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n{trusted}\
         [site.a.path.\"/cgi-bin/\"]\ncgi = true\n{rule}"
    )
}

const DEFAULT: &str = "";
const NOBODY: &str = "trusted = []\n";

/// What is expected of a script.
struct Case {
    text: &'static str,
    rule: &'static str,
    status: u16,
    /// The end, the remedy and more that the page has, as it stands in HTML.
    page: &'static [&'static str],
    /// What the log has.
    log: &'static [&'static str],
}

const SIMPLE: Case = Case {
    text: "",
    rule: "",
    status: 502,
    page: &[],
    log: &[],
};

/// A part of a page that says why.
const TELLING: [&str; 4] = ["<dl>", "<pre>", "Why", "cgi-bin"];

impl Case {
    fn holds(&self) {
        // At the same time, for some take theirs.
        thread::scope(|scope| {
            for trusted in [DEFAULT, NOBODY] {
                scope.spawn(move || {
                    let site = Site::new().script("cgi-bin/failing", self.text);
                    let server = site.configured(&config(trusted, self.rule));
                    self.holds_at(&server, trusted == DEFAULT);
                });
            }
        });
    }

    fn holds_at(&self, server: &Server, is_trusted: bool) {
        let response = server.get("/cgi-bin/failing");
        let page = response.text();
        assert_eq!(response.status(), self.status, "{page}");
        if is_trusted {
            let script = fs::canonicalize(server.site().root().join("cgi-bin/failing")).unwrap();
            assert!(
                page.contains(&format!("<dd>{}</dd>", script.display())),
                "{page}"
            );
            for part in self.page {
                assert!(page.contains(part), "{part} in {page}");
            }
        } else {
            is_plain(&response, self.page);
        }
        let status = self.status.to_string();
        let line = [
            "\"GET /cgi-bin/failing HTTP/1.1\"",
            &status,
            "cgi-bin/failing",
        ];
        server.logged(&[&line[..], self.log].concat());
    }
}

/// Neither the script nor anything of it is told.
fn is_plain(response: &Response, secret: &[&str]) {
    let page = response.text();
    assert!(page.contains("<h1>5") || page.contains("<h1>403"), "{page}");
    for part in TELLING.iter().chain(secret) {
        assert!(!page.contains(part), "{part} in {page}");
    }
}

#[test]
fn a_script_without_its_execute_bit_is_told_to_get_it() {
    for trusted in [DEFAULT, NOBODY] {
        let server = Site::new()
            .file("cgi-bin/failing", "#!/bin/sh\n")
            .configured(&config(trusted, ""));
        let case = Case {
            status: 403,
            page: &["<dd>it was not started</dd>", "run chmod +x "],
            log: &["run chmod +x"],
            ..SIMPLE
        };
        case.holds_at(&server, trusted == DEFAULT);
    }
}

#[test]
fn python_without_a_three_is_told_its_name() {
    // A PATH without any program, whatever this machine has.
    let by_env = Case {
        text: "#!/usr/bin/env python\nprint()\n",
        rule: "env = { PATH = \"/nonexistent\" }\n",
        page: &[
            "<dd>exit status 127</dd>",
            "write #!/usr/bin/env python3</dd>",
            "No such file or directory\n</pre>",
        ],
        log: &[
            "exit status 127",
            "write #!/usr/bin/env python3",
            "No such file",
        ],
        ..SIMPLE
    };
    by_env.holds();
    let by_path = Case {
        text: "#!/nonexistent/bin/python\nprint()\n",
        status: 500,
        page: &[
            "<dd>it was not started</dd>",
            "write #!/usr/bin/env python3</dd>",
        ],
        log: &["/nonexistent/bin/python", "write #!/usr/bin/env python3"],
        ..SIMPLE
    };
    by_path.holds();
}

#[test]
fn an_interpreter_that_does_not_exist_is_named() {
    let by_env = Case {
        text: "#!/usr/bin/env no-such-interpreter\n",
        page: &[
            "<dd>exit status 127</dd>",
            "not found in PATH",
            "no-such-interpreter",
        ],
        log: &[
            "exit status 127",
            "not found in PATH",
            "no-such-interpreter",
        ],
        ..SIMPLE
    };
    by_env.holds();
    let by_path = Case {
        text: "#!/no/such/interpreter\n",
        status: 500,
        page: &[
            "<dd>it was not started</dd>",
            "/no/such/interpreter",
            "install it",
        ],
        log: &["/no/such/interpreter", "install it"],
        ..SIMPLE
    };
    by_path.holds();
}

#[test]
fn windows_line_ends_are_told_with_the_command_that_converts_them() {
    let by_path = Case {
        text: "#!/bin/sh\r\necho\r\n",
        status: 500,
        page: &["<dd>it was not started</dd>", "sed -i &#39;s/\\r$//&#39;"],
        log: &["CR LF", "sed -i"],
        ..SIMPLE
    };
    by_path.holds();
    let by_env = Case {
        text: "#!/usr/bin/env python3\r\nprint()\r\n",
        page: &["<dd>exit status 127</dd>", "sed -i &#39;s/\\r$//&#39;"],
        log: &["exit status 127", "CR LF", "sed -i"],
        ..SIMPLE
    };
    by_env.holds();
}

#[test]
fn an_output_without_an_empty_line_is_shown() {
    let none = Case {
        text: "#!/bin/sh\necho Content-Type: text/plain\n",
        page: &[
            "<dd>exit status 0</dd>",
            "an empty line must come between the header and the rest",
            "<pre>\nContent-Type: text/plain\n</pre>",
        ],
        log: &["exit status 0", "an empty line must come"],
        ..SIMPLE
    };
    none.holds();
    let text = Case {
        text: "#!/bin/sh\necho Content-Type: text/plain\necho 'Hello & goodbye'\necho more\n",
        page: &[
            "<dd>exit status 0</dd>",
            "an empty line must come between the header and the rest",
            "<pre>\nContent-Type: text/plain\nHello &amp; goodbye\n",
        ],
        log: &[
            "exit status 0",
            "an empty line must come",
            "Hello & goodbye",
        ],
        ..SIMPLE
    };
    text.holds();
}

#[test]
fn an_output_without_content_type_is_told_to_have_one() {
    let case = Case {
        text: "#!/bin/sh\nprintf 'X-Mine: yes\\n\\nhello\\n'\n",
        page: &[
            "<dd>exit status 0</dd>",
            "write Content-Type: text/html first",
            "<pre>\nX-Mine: yes\n\nhello\n</pre>",
        ],
        log: &["exit status 0", "write Content-Type: text/html first"],
        ..SIMPLE
    };
    case.holds();
}

#[test]
fn a_page_without_a_header_is_shown_as_text() {
    let case = Case {
        text: "#!/bin/sh\nprintf '<html>\\n<script>alert(1)</script>\\033[1m\\n'\necho '<b>' >&2\n",
        page: &[
            "<dd>exit status 0</dd>",
            "before the page it must write Content-Type: text/html",
            "<pre>\n&lt;html&gt;\n&lt;script&gt;alert(1)&lt;/script&gt;\\u{1b}[1m\n</pre>",
            "<pre>\n&lt;b&gt;\n</pre>",
        ],
        log: &[
            "exit status 0",
            "before the page it must write",
            "stderr: <b>",
        ],
        ..SIMPLE
    };
    case.holds();
}

#[test]
fn a_file_that_the_script_may_not_read_is_a_matter_of_rights() {
    let expected = [
        "<dd>exit status 1</dd>",
        "look at the rights of the file",
        "secret: Permission denied",
    ];
    for trusted in ["trusted = [\"127.0.0.1\"]\n", NOBODY] {
        let site = Site::new()
            .file("cgi-bin/secret", "secret")
            .script("cgi-bin/failing", "#!/bin/sh\ncat ./secret\n");
        let secret = site.root().join("cgi-bin/secret");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
        let server = site.configured_as_nobody(&config(trusted, ""));
        let response = server.get("/cgi-bin/failing");
        let page = response.text();
        assert_eq!(response.status(), 502, "{page}");
        if trusted == NOBODY {
            is_plain(&response, &expected);
        } else {
            assert!(page.contains("cgi-bin/failing</dd>"), "{page}");
            for part in expected {
                assert!(page.contains(part), "{part} in {page}");
            }
        }
        server.logged(&[
            "cgi-bin/failing:",
            "exit status 1",
            "look at the rights",
            "secret: Perm",
        ]);
    }
}

#[test]
fn modules_that_python_has_no_longer_are_told_with_what_takes_their_place() {
    let case = Case {
        text: "#!/bin/sh\nprintf 'Traceback (most recent call last):\\n' >&2\n\
               echo \"ModuleNotFoundError: No module named 'cgi'\" >&2\nexit 1\n",
        page: &[
            "<dd>exit status 1</dd>",
            "Python 3.13 removed the modules cgi and cgitb: use urllib.parse",
            "<pre>\nTraceback (most recent call last):\nModuleNotFoundError: No module named \
             &#39;cgi&#39;\n</pre>",
        ],
        log: &[
            "exit status 1",
            "Python 3.13 removed",
            "stderr: ModuleNotFoundError",
        ],
        ..SIMPLE
    };
    case.holds();
}

#[test]
fn a_script_that_writes_nothing_is_told_what_is_missed() {
    let quiet = Case {
        text: "#!/bin/sh\nexit 0\n",
        page: &[
            "it ended without output",
            "<dd>exit status 0</dd>",
            "it must write a header",
        ],
        log: &[
            "it ended without output",
            "exit status 0",
            "it must write a header",
        ],
        ..SIMPLE
    };
    quiet.holds();
    let given_up = Case {
        text: "#!/bin/sh\necho no database >&2\nexit 3\n",
        page: &[
            "<dd>exit status 3</dd>",
            "the end of its stderr tells why",
            "no database\n</pre>",
        ],
        log: &["exit status 3", "stderr: no database"],
        ..SIMPLE
    };
    given_up.holds();
}

#[test]
fn a_crash_is_told_with_the_name_of_its_signal() {
    let crash = Case {
        text: "#!/bin/sh\nkill -SEGV $$\n",
        page: &["<dd>signal 11 (SIGSEGV)</dd>", "it crashed"],
        log: &["signal 11", "it crashed"],
        ..SIMPLE
    };
    crash.holds();
    let killed = Case {
        text: "#!/bin/sh\necho so far so good >&2\nkill -KILL $$\n",
        page: &[
            "<dd>signal 9 (SIGKILL)</dd>",
            "want of memory",
            "so far so good\n</pre>",
        ],
        log: &["signal 9", "want of memory", "so far so good"],
        ..SIMPLE
    };
    killed.holds();
}

#[test]
fn a_script_that_takes_too_long_is_shown_with_what_it_wrote() {
    let silent = Case {
        text: "#!/bin/sh\necho waiting for '<db>' >&2\nsleep 1000\n",
        rule: "timeout = \"3s\"\n",
        status: 504,
        page: &[
            "<dd>no output for 3s (timeout)</dd>",
            "<dd>the server killed it</dd>",
            "raise timeout",
            "<pre>\nwaiting for &lt;db&gt;\n</pre>",
        ],
        log: &[
            "no output for 3s",
            "raise timeout",
            "stderr: waiting for <db>",
        ],
    };
    let headless = Case {
        text: "#!/bin/sh\necho Content-Type: text/plain\nsleep 1000\n",
        page: &[
            "<pre>\nContent-Type: text/plain\n</pre>",
            "an empty line must come",
        ],
        log: &["no output for 3s", "an empty line must come"],
        ..silent
    };
    let endless = Case {
        text: "#!/bin/sh\nwhile echo X-Again: and again; do sleep 0.1; done\n",
        rule: "max-time = \"1s\"\n",
        page: &[
            "it ran for 1s (max-time)",
            "raise max-time",
            "X-Again: and again\nX-Again",
        ],
        log: &["it ran for 1s", "raise max-time"],
        ..headless
    };
    thread::scope(|scope| {
        for case in [&silent, &headless, &endless] {
            scope.spawn(|| case.holds());
        }
    });
}

#[test]
fn a_script_that_goes_on_after_nonsense_is_shown_as_far_as_it_came() {
    let case = Case {
        text: "#!/bin/sh\necho because >&2\nsleep 0.2\necho nonsense\nsleep 1000\n",
        rule: "timeout = \"3s\"\n",
        page: &[
            "<dd>it had not ended yet</dd>",
            "it must begin with a header",
            "<pre>\nnonsense\n</pre>",
            "<pre>\nbecause\n</pre>",
        ],
        log: &["it must begin with a header", "stderr: because"],
        ..SIMPLE
    };
    case.holds();
}

#[test]
fn the_words_of_a_script_are_not_taken_for_those_of_the_one_it_redirects_to() {
    let redirect = "#!/bin/sh\necho mine >&2\nprintf 'Location: /cgi-bin/slow\\n\\n'\n";
    let server = Site::new()
        .script("cgi-bin/redirect", redirect)
        .script("cgi-bin/slow", "#!/bin/sh\nsleep 1000\n")
        .configured(&config(DEFAULT, "timeout = \"3s\"\n"));
    let page = server.get("/cgi-bin/redirect").text();
    assert!(page.contains("cgi-bin/slow</dd>"), "{page}");
    assert!(!page.contains("mine"), "{page}");
}

#[test]
fn no_more_is_shown_than_the_first_of_the_output_and_the_last_of_stderr() {
    let server = Site::new()
        .script(
            "cgi-bin/failing",
            "#!/bin/sh\nseq -f e%g 1000 2999 >&2\nseq -f o%g 1000 2999\n",
        )
        .serve();
    let page = server.get("/cgi-bin/failing").text();
    assert!(page.contains("<pre>\no1000\n"), "{page}");
    assert!(page.contains("e2999\n</pre>"), "{page}");
    for part in ["o1200", "e2600"] {
        assert!(!page.contains(part), "{page}");
    }
    assert!(page.len() < 6000, "{}", page.len());
}

#[test]
fn a_page_of_the_sites_own_does_not_hide_what_is_wrong_from_the_trusted() {
    for (trusted, is_told) in [(DEFAULT, true), (NOBODY, false)] {
        let pages = "[site.a.error-page]\n403 = \"/own.html\"\n502 = \"/own.html\"\n";
        let server = Site::new()
            .file("own.html", "our own page")
            .file("cgi-bin/plain", "#!/bin/sh\n")
            .script("cgi-bin/failing", "#!/bin/sh\n")
            .configured(&config(trusted, pages));
        for name in ["plain", "failing"] {
            let page = server.get(&format!("/cgi-bin/{name}")).text();
            assert_eq!(page == "our own page", !is_told, "{page}");
        }
    }
}
