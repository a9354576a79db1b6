"""The access log in a file: what analyzers read, what logrotate does to it, and a disk that is full.

It runs in a mount namespace of its own, where it may mount a small disk.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter
from pathlib import Path

from recipe import curl, run, status
from server import HANG, Server

SITE = '[site.a]\nhosts = ["*"]\nroot = "root"\n'

# Who sends what no log should show as it is.
HOSTILE = 'Mozilla/5.0 "X11\\" \t\udcff'


class AccessLog(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.directory / "root").mkdir()
        (self.directory / "root" / "a.html").write_text("x")
        self.log = self.directory / "logs" / "access.log"
        self.log.parent.mkdir()

    def server(self, sites=SITE):
        return Server(self.directory, f'log.access = {{ file = "{self.log}" }}\n{sites}')

    def ask(self, server, work):
        """Asks for a.html?0, a.html?1 and so on until `work` is done; returns how often."""
        is_done = threading.Event()
        asked = 0

        def client():
            nonlocal asked
            while not is_done.is_set():
                curl(f"{server.url}a.html?{asked}")
                asked += 1

        thread = threading.Thread(target=client)
        thread.start()
        try:
            work()
        finally:
            is_done.set()
            thread.join()
        return asked

    def wait_for(self, condition):
        begun = time.monotonic()
        while not condition():
            self.assertLess(time.monotonic() - begun, HANG)

    def requests(self, *paths):
        """How often each request stands in these files."""
        text = "".join(path.read_text() for path in paths)
        self.assertEqual(text[-1:], "\n")
        return Counter(int(number) for number in re.findall(r'"GET /a\.html\?(\d+) HTTP/1\.1" 200 1 ', text))

    def test_goaccess_reads_every_line_and_awstats_every_request(self):
        password = run("htpasswd", "-nbB", "-C", "4", 'al "ice', "secret")
        (self.directory / "users").write_bytes(password)
        auth = '[site.a.path."/a.html"]\nauth = { basic = "users" }\n'
        with self.server(SITE + auth) as server:
            for number in range(60):
                curl("-u", 'al "ice:secret', "-A", HOSTILE, "-e", HOSTILE, f"{server.url}a.html?{number}")
            self.assertEqual(status(server.url + "a.html")[0], 401)
            run("curl", "-s", "-o", os.devnull, "--http1.0", server.url + "none")
            # What is no request: TLS.
            command = ["curl", "-s", server.url.replace("http:", "https:")]
            self.assertNotEqual(subprocess.run(command, timeout=HANG, check=False).returncode, 0)
        self.assertEqual(len(self.log.read_text().splitlines()), 63)

        report = self.directory / "report.json"
        options = ["--log-format=COMBINED", "--no-global-config", "-p", os.devnull, "-o", report]
        run("goaccess", self.log, *options)
        general = json.loads(report.read_text())["general"]
        self.assertEqual((general["valid_requests"], general["failed_requests"]), (63, 0))

        program = Path(shutil.copy("/usr/lib/cgi-bin/awstats.pl", self.directory))
        (self.directory / "awstats.a.conf").write_text(
            f'LogFile="{self.log}"\nLogFormat=1\nSiteDomain="a"\nDirData="{self.directory}"\n'
        )
        outcome = run(program, "-config=a", "-update").decode()
        # Lines of what is no request are none to it, as they are from Apache.
        self.assertIn("Found 62 new qualified records", outcome)

    def rotate(self, how, process):
        config = self.directory / "logrotate.conf"
        config.write_text(
            f"{self.log} {{\nrotate 100\n{how}\npostrotate\nkill -USR1 {process}\nendscript\n}}\n"
        )
        run("logrotate", "--force", "--state", self.directory / "state", config)

    def test_logrotate_loses_and_doubles_nothing(self):
        with self.server() as server:

            def work():
                for _ in range(10):
                    self.wait_for(lambda: self.log.exists() and self.log.stat().st_size)
                    self.rotate("nocreate", server.process.pid)

            asked = self.ask(server, work)
        logs = list(self.log.parent.iterdir())
        self.assertGreater(len(logs), 10)
        self.assertEqual(self.requests(*logs), Counter(range(asked)))

    def test_logrotate_may_copy_and_truncate(self):
        with self.server() as server:
            for number in range(20):
                curl(f"{server.url}a.html?{number}")
                if number % 5 == 0:
                    # Another worker may hand in an earlier one later.
                    self.wait_for(lambda: number < len(
                        re.findall(r"\?\d+ ", "".join(path.read_text() for path in self.log.parent.iterdir()))
                    ))
                    self.rotate("copytruncate", server.process.pid)
        logs = list(self.log.parent.iterdir())
        self.assertEqual(len(logs), 5)
        self.assertEqual(self.requests(*logs), Counter(range(20)))

    def test_a_full_disk_stops_nobody_and_the_log_goes_on_when_there_is_room(self):
        run("mount", "-t", "tmpfs", "-o", "size=64k", "none", self.log.parent)
        self.addCleanup(run, "umount", self.log.parent)
        other = self.log.parent / "other"
        other.write_bytes(bytes(56 << 10))
        with self.server() as server:
            said = ("access.log cannot be written", "No space left")
            asked = self.ask(server, lambda: server.logged(*said))
            other.unlink()
            server.logged("access.log is written again", "no record is lost")
        self.assertEqual(self.requests(self.log), Counter(range(asked)))


if __name__ == "__main__":
    if os.environ.get("PYWEBD_MOUNTS") is None:
        os.environ["PYWEBD_MOUNTS"] = "own"
        namespace = ["unshare", "--mount", "--map-root-user"]
        os.execvp(namespace[0], [*namespace, sys.executable, *sys.argv])
    unittest.main()
