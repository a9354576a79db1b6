"""pywebd as a service: what a service manager and the journal have is a socket that the test reads.

The journal's socket has a fixed name, so this runs in a mount namespace with a /run of its own.
"""

import os
import socket
import subprocess
import sys
import tempfile
import unittest
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
        found[name.decode()] = value
    return found


class Service(unittest.TestCase):
    """Has a site, a socket for it, and what stands for the service manager and the journal."""

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

    def next_entry(self):
        """The next entry of the journal, as bytes."""
        entry, files, _, _ = socket.recv_fds(self.journal, 1 << 18, 1)
        for descriptor in files:
            with open(descriptor, "rb"):
                entry = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return fields(entry)

    def entry(self, **wanted):
        """The next entry of the journal with these fields."""
        wanted = {name: value.encode() for name, value in wanted.items()}
        while True:
            found = self.next_entry()
            if all(found.get(name) == value for name, value in wanted.items()):
                return {name: value.decode(errors="replace") for name, value in found.items()}


def main():
    """Runs the tests of the program with a /run of its own."""
    if "OWN_RUN" not in os.environ:
        own = 'mount -t tmpfs none /run && exec "$0" "$@"'
        command = ["unshare", "--mount", "sh", "-c", own, sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, "OWN_RUN": "1"})
    unittest.main()
