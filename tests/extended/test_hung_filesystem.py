"""A filesystem that never answers, as of a server that is gone, is the trouble of whoever asks for what
is on it. Runs in a mount namespace of its own."""

import concurrent.futures
import ctypes
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from server import Server

# More than one site may have waiting.
REQUESTS = 40

HANG = 60

# Look-ups of one site that wait at once, and sites.
TURNS = 8
SITES = 4

SITE = '[site.{0}]\nhosts = ["{0}"]\nroot = "{1}"\n'


def mount_what_never_answers(place):
    """A filesystem of a program (fuse(4)) that says it is there, and no more. Returns what holds it."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hung", os.fsencode(place), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    # FUSE_INIT: version 7.31, and limits.
    unique = struct.unpack_from("<IIQ", os.read(device, 1 << 17))[2]
    content = struct.pack("<IIIIHHI", 7, 31, 0, 0, 12, 12, 1 << 16) + bytes(40)
    os.write(device, struct.pack("<IiQ", 16 + len(content), 0, unique) + content)
    return device


@unittest.skipIf(os.geteuid(), "only root mounts")
class Hung(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        (self.root / "mount").mkdir()
        (self.root / "file").write_text("text")
        device = mount_what_never_answers(self.root / "mount")
        # The end of the device ends every wait.
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.root / "mount"], check=True)
        self.addCleanup(os.close, device)

    def test_it_keeps_nothing_else_waiting_and_requests_for_it_fail(self):
        with Server(self.root) as server:
            url = f"http://127.0.0.1:{server.port}"
            statuses = []

            def ask():
                try:
                    urllib.request.urlopen(f"{url}/mount/x", timeout=HANG)
                except urllib.error.HTTPError as error:
                    statuses.append(error.code)

            # What is not in memory has the same turns.
            urllib.request.urlopen(f"{url}/file", timeout=HANG).close()
            threads = [threading.Thread(target=ask) for _ in range(REQUESTS)]
            for thread in threads:
                thread.start()
            for _ in range(REQUESTS):
                with urllib.request.urlopen(f"{url}/file", timeout=HANG / 6) as response:
                    self.assertEqual(response.read(), b"text")
            for thread in threads:
                thread.join(HANG)
            self.assertEqual(statuses, [503] * REQUESTS)
            # The end of the server waits for none of them either.

    def test_a_site_on_it_keeps_no_other_from_being_served_or_reloaded(self):
        good = SITE.format("good", self.root)
        hung = SITE.format("hung", self.root / "mount/www") + 'path."/cgi-bin/".cgi = true\n'
        with Server(self.root, good + hung) as server:
            silent = f"{self.root}/mount does not answer"
            server.logged("warning", silent)
            url = f"http://127.0.0.1:{server.port}/file"

            def ask(host):
                request = urllib.request.Request(url, headers={"Host": host})
                return urllib.request.urlopen(request, timeout=HANG)

            with ask("good") as response:
                self.assertEqual(response.read(), b"text")
            with self.assertRaises(urllib.error.HTTPError) as failed:
                ask("hung")
            self.assertEqual(failed.exception.code, 503)
            failed.exception.close()
            config = self.root / ".pywebd.toml"
            config.write_text(config.read_text() + SITE.format("more", self.root))
            server.logged("configuration reloaded")
            with ask("more") as response:
                self.assertEqual(response.read(), b"text")
            # However often the configuration is read, only one thread waits.
            tasks = Path(f"/proc/{server.process.pid}/task").glob("*/comm")
            names = [task.read_text() for task in tasks]
            self.assertEqual(names.count("mount\n"), 1, names)

    def test_what_a_site_names_there_keeps_no_worker(self):
        there = self.root / "mount"
        named = f"""path."/program".script = "{there}/program"
path."/interpreted".script = "{self.root}/script"
error-page = {{ 404 = "/mount/404.html" }}
"""
        script = self.root / "script"
        script.write_text(f"#!{there}/python\n")
        script.chmod(0o755)
        (self.root / ".env").write_text("secret")
        hung = [SITE.format(f"hung{number}", there) for number in range(SITES)]
        cold = SITE.format("cold", self.root)
        with Server(self.root, SITE.format("good", self.root) + named + "".join(hung) + cold) as server:

            def ask(host, target):
                url = f"http://127.0.0.1:{server.port}{target}"
                request = urllib.request.Request(url, headers={"Host": host})
                try:
                    with urllib.request.urlopen(request, timeout=HANG) as response:
                        return response.status
                except urllib.error.HTTPError as error:
                    error.close()
                    return error.code

            # What is not in memory has the same turns as the rest of its site.
            self.assertEqual(ask("good", "/file"), 200)
            wanted = [("good", "/program", 503), ("good", "/.env", 404)] * (TURNS // 2)
            wanted += [(f"hung{number}", "/x", 503) for number in range(SITES) for _ in range(TURNS)]
            tasks = Path(f"/proc/{server.process.pid}/task")
            before = len(os.listdir(tasks))
            end = time.monotonic() + HANG
            with concurrent.futures.ThreadPoolExecutor(len(wanted)) as clients:
                answers = [clients.submit(ask, host, target) for host, target, _ in wanted]
                # One may have been there already.
                while len(os.listdir(tasks)) < before + len(wanted) - 1:
                    self.assertLess(time.monotonic(), end, "not all of them wait")
                    time.sleep(0.01)
                # The root of the other was not asked for yet.
                for host in "good", "cold":
                    self.assertEqual(ask(host, "/file"), 200)
                statuses = [answer.result() for answer in answers]
            self.assertEqual(statuses, [status for _, _, status in wanted])


if __name__ == "__main__":
    if os.geteuid() == 0 and "OWN_MOUNTS" not in os.environ:
        command = ["unshare", "--mount", sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, "OWN_MOUNTS": "1"})
    unittest.main()
