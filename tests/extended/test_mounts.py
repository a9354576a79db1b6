"""A mount changes what paths name, and the kernel tells nobody who watches files: the next answer is of
what is there now. Runs in a mount namespace of its own."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from server import Server
from test_editors import CONNECTIONS, Client

# How often each connection asks, so that an answer is remembered.
TIMES = 3


@unittest.skipIf(os.geteuid(), "only root mounts")
class Mounts(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name, "root")
        self.other = Path(directory.name, "other")
        for site, text in [(self.root, b"below"), (self.other, b"above")]:
            (site / "a/b").mkdir(parents=True)
            (site / "a/b/file").write_bytes(text)
            (site / "a/b/index.html").write_bytes(text)
        (self.root / "a/b/old").write_bytes(b"old")
        (self.other / "a/b/new").write_bytes(b"new")

    def mounted(self, what, place, names):
        """Asks for files before a mount, with it, and without it again."""
        expected = [
            [Path(site, name).read_bytes() if Path(site, name).is_file() else None for name in names]
            for site in (self.root, self.other)
        ]
        with Server(self.root) as server:
            clients = [Client(server) for _ in range(CONNECTIONS)]
            try:
                for _ in range(2):
                    self.assertEqual(self.seen(clients, names), expected[0])
                    subprocess.run(["mount", "--bind", what, place], check=True)
                    try:
                        self.assertEqual(self.seen(clients, names), expected[1])
                    finally:
                        subprocess.run(["umount", "--lazy", place], check=True)
                self.assertEqual(self.seen(clients, names), expected[0])
            finally:
                for client in clients:
                    client.connection.close()

    def seen(self, clients, names):
        """What every connection is answered each time."""
        answers = {
            tuple(client.get(name) for name in names) for _ in range(TIMES) for client in clients
        }
        self.assertEqual(len(answers), 1, "not all are told the same")
        return list(answers.pop())

    def test_a_directory(self):
        names = ["a/b/file", "a/b/old", "a/b/new", "a/b/index.html"]
        self.mounted(self.other / "a/b", self.root / "a/b", names)

    def test_a_directory_above(self):
        self.mounted(self.other / "a", self.root / "a", ["a/b/file", "a/b/old", "a/b/new"])

    def test_the_root(self):
        self.mounted(self.other, self.root, ["a/b/file", "a/b/old", "a/b/new"])

    def test_a_file(self):
        self.mounted(self.other / "a/b/file", self.root / "a/b/file", ["a/b/file"])


if __name__ == "__main__":
    if os.geteuid() == 0 and "OWN_MOUNTS" not in os.environ:
        command = ["unshare", "--mount", sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, "OWN_MOUNTS": "1"})
    unittest.main()
