"""What a service manager and the journal see, with sockets in their place that the test reads.

The journal's socket has a fixed name, so this runs in a mount namespace with a /run of its own.
"""

import os
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

from server import HANG

JOURNAL = Path("/run/systemd/journal/socket")

CONFIG = """\
version = 1
server.listen = ["127.0.0.1:{port}"]
[site.example]
hosts = ["*"]
root = "{root}"
path."/cgi-bin/" = {{ cgi = true }}
"""

SCRIPT = "#!/bin/sh\necho a line of stderr >&2\nprintf 'Content-Type: text/plain\\n\\nhello'\n"


def datagrams(path):
    """A socket that receives what others send to this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.settimeout(HANG)
    return receiver


def fields(entry):
    """An entry of the journal's native protocol, taken apart."""
    found = {}
    while entry:
        line, entry = entry.split(b"\n", 1)
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + length], entry[9 + length :]
        found[name.decode()] = value.decode()
    return found


class Service(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enter(tempfile.TemporaryDirectory()))
        self.journal = self.enter(datagrams(JOURNAL))
        self.addCleanup(JOURNAL.unlink)
        self.notified = self.enter(datagrams(self.directory / "notify"))
        self.listener = self.enter(socket.create_server(("127.0.0.1", 0), backlog=128))
        self.port = self.listener.getsockname()[1]
        script = self.directory / "cgi-bin" / "script"
        script.parent.mkdir()
        script.write_text(SCRIPT)
        script.chmod(0o755)
        self.config = self.directory / "pywebd.toml"
        self.config.write_text(CONFIG.format(port=self.port, root=self.directory))

    def enter(self, context):
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def start(self):
        """Starts the service as systemd does: its stderr is the journal, descriptor 3 a socket."""
        stream, ours = os.pipe()
        self.addCleanup(os.close, stream)
        place = os.fstat(ours)
        passed = self.listener.fileno()
        command = f'LISTEN_PID=$$ exec "$0" "$@" 3<&{passed}'
        process = subprocess.Popen(
            ["sh", "-c", command, os.environ["PYWEBD"], "serve", "--config", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=ours,
            pass_fds=[passed],
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(self.directory / "notify"),
                "LISTEN_FDS": "1",
                "JOURNAL_STREAM": f"{place.st_dev}:{place.st_ino}",
            },
        )
        os.close(ours)
        return process

    def notification(self, part):
        """The next notification with this in it."""
        while True:
            text = self.notified.recv(4096).decode()
            if part in text:
                return text

    def entry(self, **wanted):
        """The next entry of the journal with these fields."""
        while True:
            found = fields(self.journal.recv(1 << 16))
            if all(found.get(name) == value for name, value in wanted.items()):
                return found

    def test_readiness_records_reload_and_stop(self):
        process = self.start()
        try:
            status = self.notification("READY=1")
            self.assertIn(f"STATUS=Serving 1 site on 127.0.0.1:{self.port}", status)

            url = f"http://127.0.0.1:{self.port}/cgi-bin/script?a"
            with urllib.request.urlopen(url, timeout=HANG) as response:
                self.assertEqual(response.read(), b"hello")
            line = self.entry(MESSAGE="a line of stderr")
            record = self.entry(PYWEBD_REQUEST_LINE="GET /cgi-bin/script?a HTTP/1.1")
            self.assertEqual(line["PYWEBD_REQUEST_ID"], record["PYWEBD_REQUEST_ID"])
            self.assertEqual(record["PYWEBD_CLIENT"], "127.0.0.1")
            self.assertEqual(record["PYWEBD_STATUS"], "200")
            self.assertEqual(record["PYWEBD_BYTES"], "5")
            self.assertEqual(record["PYWEBD_SITE"], "example")
            self.assertEqual(record["PYWEBD_EXIT"], "exit status 0")
            self.assertEqual(record["PRIORITY"], "6")
            self.assertIn('127.0.0.1 "GET /cgi-bin/script?a HTTP/1.1" 200', record["MESSAGE"])

            self.config.write_text("version = 2\n")
            reloading = self.notification("RELOADING=1")
            self.assertIn("MONOTONIC_USEC=", reloading)
            self.assertIn("READY=1", self.notification("STATUS=Reload failed"))
            self.assertEqual(self.entry(PRIORITY="3")["SYSLOG_IDENTIFIER"], "pywebd")
        finally:
            process.terminate()
        self.notification("STOPPING=1")
        self.assertEqual(process.wait(HANG), 0)


if __name__ == "__main__":
    if "OWN_RUN" not in os.environ:
        own = 'mount -t tmpfs none /run && exec "$0" "$@"'
        command = ["unshare", "--mount", "sh", "-c", own, sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, "OWN_RUN": "1"})
    unittest.main()
