"""Scripts that do not end by themselves, as the installed service runs them, and what the journal says."""

import gzip
import re
import unittest

from machine import Machine, ask, until

PLACE = "/etc/pywebd/pywebd.toml"
CONFIG = """\
version = 1
[site.example]
hosts = ["*"]
root = "/srv/example"
path."/cgi-bin/" = { cgi = true, memory = "64M" }
path."/cgi-bin/deaf" = { timeout = "1s" }
path."/cgi-bin/endless" = { max-time = "5s" }
"""

# Each leaves processes behind that are known by their argument: its name.
SCRIPTS = {
    "leaver": """\
#!/bin/sh
# Two generations away, in a session of its own, with no stream of the request.
setsid sh -c 'exec python3 -c "import time; time.sleep(1000)" mark-leaver &' </dev/null >/dev/null 2>&1
printf 'Content-Type: text/plain\\n\\nleft\\n'
""",
    "deaf": """\
#!/bin/sh
exec python3 -c '
import os, signal, time
for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE:
    signal.signal(number, signal.SIG_IGN)
os.fork()
while True:
    time.sleep(1000)
' mark-deaf
""",
    "endless": """\
#!/bin/sh
exec python3 -c '
import os, time
print("Content-Type: text/plain", end="\\n\\n", flush=True)
os.fork()
while True:
    print("more", flush=True)
    time.sleep(0.1)
' mark-endless
""",
    "hungry": """\
#!/usr/bin/python3
import sys
held = []
while True:
    held.append(bytearray(b"x" * (1 << 20)))
""",
}


# How a line of the catalog begins in what journalctl prints.
PROSE = "░░ "


class Scripts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())
        cls.machine.install()
        for name, text in SCRIPTS.items():
            cls.machine.write(f"/srv/example/cgi-bin/{name}", text, mode=0o755)
        cls.machine.write(PLACE, CONFIG)
        cls.machine.run("systemctl", "reload", "pywebd.service")

    def processes(self, name):
        """The processes that a script has left, and the control groups that scripts have."""
        found = self.machine.text("pgrep", "--full", f"mark-{name}").split()
        groups = self.machine.path("/sys/fs/cgroup/system.slice/pywebd-cgi.service")
        own = [path for path in groups.glob("pywebd.*/*") if path.is_dir() and path.name != "main"]
        return found + own

    def assert_killed(self, name, *parts):
        """Nothing is left, and the journal has a record that says why."""
        until(lambda: not self.processes(name), f"the end of all of {name}")
        line = f"PYWEBD_REQUEST_LINE=GET /cgi-bin/{name} HTTP/1.1"
        (record,) = until(lambda: self.machine.journal(line), f"the record of {name}")
        for part in parts:
            self.assertIn(part, record["MESSAGE"])
        return record

    def test_a_daemon_ends_with_its_request(self):
        status, _, content = ask("/cgi-bin/leaver")
        self.assertEqual((status, content), (200, "left\n"))
        self.assert_killed("leaver", "200")

    def test_a_script_that_ignores_signals_is_killed(self):
        status, _, _ = ask("/cgi-bin/deaf")
        self.assertEqual(status, 504)
        record = self.assert_killed("deaf", "504", "(timeout)")
        self.assertIn("timeout", record["PYWEBD_KILLED"])

    def test_a_script_without_an_end_is_killed(self):
        with self.assertRaises(ConnectionError):
            ask("/cgi-bin/endless")
        record = self.assert_killed("endless", "(max-time)")
        self.assertIn("max-time", record["PYWEBD_KILLED"])

    def test_a_script_that_takes_memory_without_end_is_ended(self):
        # No controller of memory is in the container's control groups: each process has its limit.
        status, _, _ = ask("/cgi-bin/hungry")
        self.assertIn(status, (500, 502))
        record = self.assert_killed("hungry")
        self.assertNotEqual(record["PYWEBD_EXIT"], "exit status 0")
        self.assertLess(int(record["PYWEBD_MAX_RSS"]), 128 << 10)

    def test_the_journal_explains_what_it_says(self):
        ask("/cgi-bin/deaf")
        self.addCleanup(self.machine.write, PLACE, CONFIG)
        self.machine.write(PLACE, CONFIG + "nonsense\n")
        self.assertEqual(self.machine.status("systemctl", "reload", "pywebd.service"), 1)
        catalog = self.machine.path("/usr/lib/systemd/catalog/pywebd.catalog").read_text()
        kinds = set(re.findall(r"^-- ([0-9a-f]{32})$", catalog, re.MULTILINE))

        def told_kinds():
            own = self.machine.journal("_COMM=pywebd")
            return {entry["MESSAGE_ID"] for entry in own if "MESSAGE_ID" in entry}

        until(lambda: len(told_kinds()) > 3, "more than three kinds of messages")
        told = told_kinds()
        self.assertEqual(told - kinds, set())
        for kind in told:
            explained = self.machine.run("journalctl", "--catalog", "--lines=1", f"MESSAGE_ID={kind}")
            prose = [line for line in explained.splitlines() if line.startswith(PROSE)]
            with self.subTest(kind=kind, prose="\n".join(prose)):
                self.assertGreater(len(prose), 4)
                self.assertIn("man:pywebd(8)", explained)
                # Each field that the prose speaks of is in the entry.
                self.assertNotRegex(explained, "@[A-Z_]+@")

    def test_the_queries_of_the_manual_are_understood(self):
        page = self.machine.path("/usr/share/man/man8/pywebd.8.gz").read_bytes()
        queries = re.findall(r"^\.It Li (journalctl .*)", gzip.decompress(page).decode(), re.MULTILINE)
        self.assertGreaterEqual(len(queries), 10)
        for query in queries:
            with self.subTest(query=query):
                # As the page shows it; one of them follows what comes.
                shown = query.replace(r"\e", "\\")
                command = f"timeout 1 {shown} 2>&1 >/dev/null || true"
                self.assertEqual(self.machine.text("sh", "-c", command), "")


if __name__ == "__main__":
    unittest.main()
