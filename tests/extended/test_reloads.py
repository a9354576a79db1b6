"""A hundred reloads in ten seconds, and ten restarts, under load: nothing fails and nothing grows."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from server import HANG, Server

RELOADS = 100
INTERVAL = 0.1
RESTARTS = 10
PIPELINE = 10
MIB = 1 << 20

# The server closes a connection that is silent for a second while it stops; so long a pause of this
# machine is no failure of it.
PATIENCE = 0.9
CLOSED = "closed before an answer"

SCRIPT = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nran'\n"


class Clients:
    """Clients that ask without a pause, and note everything but the right answer."""

    def __init__(self, address, targets):
        self.address = address
        self.over = threading.Event()
        self.failures = []
        self.answers = 0
        self.threads = [
            threading.Thread(target=self.run, args=(target, text, fields, count))
            for target, text in targets
            for fields, count in [("Connection: close\r\n", 1), ("", 1), ("", PIPELINE)]
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(HANG)

    def run(self, target, text, fields, count):
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode() * count
        while not self.over.is_set():
            # What the server has heard last of this connection was not sent before.
            before = asked = time.monotonic()
            try:
                with socket.create_connection(self.address, timeout=HANG) as connection:
                    reader = connection.makefile("rb")
                    goes_on = True
                    while goes_on and not self.over.is_set():
                        before, asked = asked, time.monotonic()
                        connection.sendall(request)
                        goes_on = all(self.answer(reader, text) for _ in range(count))
                    # An end, and no reset.
                    assert goes_on or not reader.read()
            except (OSError, AssertionError) as error:
                is_end = isinstance(error, ConnectionError) or CLOSED in error.args
                if not is_end or time.monotonic() - before < PATIENCE:
                    self.failures.append(f"{target} x{count} {fields!r}: {error!r}")

    def answer(self, reader, text):
        """Takes an answer, and says whether another one follows on its connection."""
        head = []
        while line := reader.readline().rstrip():
            head.append(line.decode().lower())
        assert head, CLOSED
        fields = dict(line.split(": ", 1) for line in head[1:])
        content = b""
        if "content-length" in fields:
            content = reader.read(int(fields["content-length"]))
        else:
            while length := int(reader.readline(), 16):
                content += reader.read(length)
                reader.readline()
            reader.readline()
        assert (head[0], content.decode()) == ("http/1.1 200 ok", text), (head, content)
        self.answers += 1
        return fields.get("connection") != "close"

    def flow(self):
        """Waits for another hundred answers."""
        wanted = self.answers + 100
        begun = time.monotonic()
        while self.answers < wanted:
            # Who is stopped before it answers ends by the signal, and that would be told instead.
            assert not self.failures, self.failures
            assert time.monotonic() - begun < HANG, "no answers"
            time.sleep(0.01)


def fill(root):
    (root / "a").write_text("x" * 2000)
    (root / "cgi-bin").mkdir()
    script = root / "cgi-bin" / "run"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    return [("/a", "x" * 2000), ("/cgi-bin/run", "ran")]


def holdings(pid):
    """Resident memory in bytes, threads and descriptors of a process."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    descriptors = len(list((process / "fd").iterdir()))
    return int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"]), descriptors


def children(pid):
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


class UnderLoad(unittest.TestCase):
    def test_reloads_lose_no_request_and_leave_nothing_behind(self):
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            targets = fill(root)
            sites = (
                f'log.access = "off"\n[site.a]\nhosts = ["*"]\nroot = "{root}"\n'
                '[site.a.path."/cgi-bin/"]\ncgi = true\n'
            )
            with Server(root, sites=sites) as server:
                config = root / ".pywebd.toml"
                good = config.read_text()
                address = (server.host, int(server.port))
                (launcher,) = children(server.process.pid)
                with Clients(address, targets) as clients:
                    for broken in ["", "listing = maybe\n"]:
                        with self.subTest(broken=broken):
                            self.reload(server, config, (good, good + broken), RELOADS // 5)
                            before = holdings(server.process.pid), holdings(launcher)
                            self.reload(server, config, (good, good + broken), RELOADS)
                            clients.flow()
                            after = holdings(server.process.pid), holdings(launcher)
                            self.compare(before, after)
                self.assertEqual(clients.failures, [])
                print(f"{clients.answers} answers, none failed")

    def reload(self, server, config, texts, count):
        """Every second time with the second text."""
        begun = time.monotonic()
        for number in range(count):
            config.write_text(texts[number % 2])
            server.process.send_signal(signal.SIGHUP)
            rest = begun + (number + 1) * INTERVAL - time.monotonic()
            time.sleep(max(0, rest))
        config.write_text(texts[0])
        time.sleep(1)

    def compare(self, before, after):
        for name, (was, threads, fds), (memory, more_threads, more_fds) in zip(
            ["server", "launcher"], before, after
        ):
            print(
                f"{name}: {was / MIB:.1f} MiB, {threads} threads, {fds} descriptors; "
                f"after {RELOADS} reloads {memory / MIB:.1f} MiB, {more_threads}, {more_fds}"
            )
            # A snapshot that is kept would show: each has its sites, its opened roots and its rules.
            self.assertLess(memory - was, 3 * MIB, name)
            self.assertLessEqual(more_threads, threads + 8, name)
            # Of connections and scripts some are open now that were not then.
            self.assertLess(more_fds, fds + 40, name)

    def test_restarts_with_a_passed_socket_lose_no_request(self):
        with tempfile.TemporaryDirectory() as directory:
            targets = fill(Path(directory))
            with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
                address = listener.getsockname()
                process = self.start(listener, directory)
                with Clients(address, targets) as clients:
                    for number in range(RESTARTS):
                        clients.flow()
                        old = process
                        # Every second time the next one starts before the last has ended.
                        if number % 2:
                            process = self.start(listener, directory)
                        begun = time.monotonic()
                        old.terminate()
                        self.assertEqual(old.wait(HANG), 0)
                        print(f"stopped within {time.monotonic() - begun:.2f} s")
                        if not number % 2:
                            process = self.start(listener, directory)
                    clients.flow()
                process.terminate()
                self.assertEqual(process.wait(HANG), 0)
                self.assertEqual(clients.failures, [])

    def start(self, listener, directory):
        """Starts the server as a service manager does, with the socket as its fourth descriptor."""
        host, port = listener.getsockname()
        script = 'exec 3<&0 </dev/null && LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
        arguments = ["serve", directory, "--cgi", "--listen", f"{host}:{port}"]
        return subprocess.Popen(
            ["/bin/sh", "-c", script, os.environ["PYWEBD"], *arguments],
            stdin=listener,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


if __name__ == "__main__":
    unittest.main()
