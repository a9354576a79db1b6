//! What `--help` tells beyond the options: examples, files, where to go on.

/// Of the program.
pub const PROGRAM: &str = "\
Examples:
  pywebd serve                         serve the current directory on http://127.0.0.1:8000/
  pywebd serve site --cgi              the same for a folder, and run what is in its cgi-bin
  pywebd serve --config /etc/pywebd/pywebd.toml
  pywebd check                         every error and warning of the configuration
  pywebd reload                        have the server read it again, tell what has changed
  pywebd status                        how it does: connections, requests, scripts, the last reload
  pywebd explain http://localhost/a    what a request for this would come to, and why

Files:
  /etc/pywebd/pywebd.toml   the configuration: pywebd.toml(5)
  /run/pywebd/control       where `pywebd reload` reaches the server

More: pywebd(8), `pywebd VERB --help`; under systemd: systemctl status pywebd, journalctl -u pywebd

Exit status: 0; 64 usage; 66 input missing; 69 no server to ask; 70 a bug;
71 the operating system refused; 77 permission; 78 configuration.";

/// Of `serve`.
pub const SERVE: &str = "\
Examples:
  pywebd serve                              this directory, for this machine alone
  pywebd serve site --listen '[::]:8080'    a directory, for the whole network
  pywebd serve site --cgi                   and run the programs in its cgi-bin
  pywebd serve --config pywebd.toml         the sites of a configuration: pywebd.toml(5)

Ctrl-C stops when requests in flight have finished, a second Ctrl-C at once.";

/// Of `check`.
pub const CHECK: &str = "\
Looks with your own rights and environment. As the server sees it:
  runuser -u pywebd -- pywebd check

Exit status: 0 when nothing is wrong, also with warnings unless --strict; 78 when something is.
Next: `pywebd diff` tells what would change, `pywebd reload` puts it in force.";

/// Of `show`.
pub const SHOW: &str = "\
Each line is a key, its value, and the file and line that it comes from, or `default`:
  limits.idle-timeout = \"60s\"  # default

What the keys mean is in pywebd.toml(5).";

/// Of `diff`.
pub const DIFF: &str = "\
Nothing is changed. The server looks, with its own rights and environment; for root and its user.
Next: `pywebd reload` puts it in force.";

/// Of `reload`.
pub const RELOAD: &str = "\
Ends when the new configuration is in force; with an error all stays as it was, and the exit status
is 78. `systemctl reload pywebd` does the same. For root and the server's user.
Next: `pywebd check` looks at a configuration without a server.";

/// Of `status`.
pub const STATUS: &str = "\
What is wrong comes first, a line `problem: ...` for each. Programs read what --json prints.
For root and the server's user.
Next: `journalctl -u pywebd -p warning` has what went wrong.";

/// Of `explain`.
pub const EXPLAIN: &str = "\
Examples:
  pywebd explain /cgi-bin/time.py
  pywebd explain http://example.org/private/ --client 192.0.2.7
  pywebd explain http://example.org/upload --method POST --json

Nothing is run, and no server is asked. Of a script it tells the command, the user, the limits, the
checks that it passes or fails, and its variables.";
