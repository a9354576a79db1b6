"""Scripts that do all that scripts do wrong, for clients that leave when they like: nothing is left.

SOAK_SEED chooses what happens; a failure tells the seed and the number of its request.
"""

import hashlib
import http.client
import os
import random
import socket
import struct
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from processes import (
    NO_GROUPS,
    USERS,
    children,
    control_group,
    groups_of_scripts,
    launcher,
    marked,
    status,
    until,
)
from recipe import executable
from server import HANG, Server

SEED = int(os.environ.get("SOAK_SEED", "1"))
WARM_UP = 300
REQUESTS = 2_000
AT_ONCE = 50
# So many connections between server and launcher wait for the next script at most.
KEPT = 64
MIB = 1 << 20

CONFIG = """
log.level = "warn"
[cgi]
max-running = 16
max-queued = 1000
[site.soak]
hosts = ["*"]
root = "{root}"
[site.soak.path."/cgi-bin/"]
cgi = true
env = {{ MARK = "{mark}" }}
[site.soak.path."/hang/"]
cgi = true
timeout = "1s"
env = {{ MARK = "{mark}" }}
[site.soak.path."/spool/"]
cgi = true
spool = true
env = {{ MARK = "{mark}" }}
"""

# What is left of a script is in its directory, has its variables, or sleeps for as many seconds as
# the mark says.
HEADER = "printf 'Content-Type: text/plain\\n\\n'\n"
NUMBERS = 'seq 1 "$QUERY_STRING"\n'
SLEEP = 'sleep "1$MARK"'
SCRIPTS = {
    # Scripts that behave.
    "cgi-bin/good": HEADER + NUMBERS,
    "cgi-bin/echo": HEADER + "exec cat\n",
    "spool/sum": HEADER + 'echo "$CONTENT_LENGTH"\nsha256sum\n',
    # Scripts that crash.
    "cgi-bin/signal": "kill -SEGV $$\n",
    "cgi-bin/status": "exit 1\n",
    "cgi-bin/silent": "exit 0\n",
    "cgi-bin/headless": "echo hello\n",
    "cgi-bin/late": HEADER + NUMBERS + "kill -SEGV $$\n",
    # Scripts that hang.
    "hang/asleep": f"exec {SLEEP}\n",
    "hang/deaf": f"trap '' TERM\n{SLEEP}\n",
    "hang/half": HEADER + NUMBERS + f"exec {SLEEP}\n",
    "hang/unread": f"exec {SLEEP}\n",
    # Scripts that write a flood.
    "cgi-bin/flood": HEADER + "exec head -c 4000000 /dev/zero\n",
    "cgi-bin/endless": HEADER + "exec yes\n",
    "cgi-bin/stderr": "yes 'a line of stderr' | head -c 3000000 >&2\n" + HEADER + NUMBERS,
    # Scripts that leave something behind.
    "cgi-bin/daemon": f"""trap '' TERM
(setsid {SLEEP} </dev/null >/dev/null 2>&1 &)
(cd / && exec env -i setsid sh -c '{SLEEP} & {SLEEP}' </dev/null >/dev/null 2>&1 &)
sleep 0.0$((QUERY_STRING % 10))
{HEADER}{NUMBERS}""".replace("env -i", 'env -i "MARK=$MARK" "PATH=$PATH"'),
    "cgi-bin/holder": HEADER + NUMBERS + f"{SLEEP} &\nexit 0\n",
    "cgi-bin/unread": HEADER + NUMBERS,
}
UPLOADS = {"cgi-bin/echo", "spool/sum", "cgi-bin/unread", "hang/unread"}
BROKEN = {"cgi-bin/late", "hang/half"}
# So long the server waits behind the end of the output for how the script has ended.
EXIT = 0.5
# Clients that stay see this, if it is not 200.
STATUS = {
    **dict.fromkeys(
        ["cgi-bin/signal", "cgi-bin/status", "cgi-bin/silent", "cgi-bin/headless"], 502
    ),
    **dict.fromkeys(["hang/asleep", "hang/deaf", "hang/unread"], 504),
}
# These cost a second or three of one of the 16 places.
RARE = {"hang/deaf": 0.2, "hang/asleep": 0.5, "hang/half": 0.5, "hang/unread": 0.5}
LEAVING = ["stay"] * 5 + ["at once", "soon", "in the answer", "half-closed", "in the request"]


class Request:
    """One request and what its client does, as its number says."""

    def __init__(self, number):
        chance = random.Random(f"{SEED}.{number}")
        names = list(SCRIPTS)
        self.name = chance.choices(names, [RARE.get(name, 1) for name in names])[0]
        self.client = chance.choice(LEAVING)
        if self.name == "cgi-bin/endless" and self.client in ("stay", "half-closed"):
            self.client = "in the answer"
        self.count = chance.randint(1, 5_000)
        self.content = chance.randbytes(chance.choice([0, 10, 70_000, 400_000]))
        self.is_chunked = self.name == "spool/sum" or chance.random() < 0.3
        self.pause = chance.random() * 0.2
        self.resets = chance.random() < 0.5
        self.part = chance.random()

    def __str__(self):
        return f"/{self.name}?{self.count}, {len(self.content)} bytes, client: {self.client}"

    def encoded(self):
        """All that is sent."""
        method = "POST" if self.name in UPLOADS else "GET"
        lines = [f"{method} /{self.name}?{self.count} HTTP/1.1", "Host: x", "Connection: close"]
        content = b""
        if method == "POST" and self.is_chunked:
            lines.append("Transfer-Encoding: chunked")
            pieces = [self.content[n : n + 50_000] for n in range(0, len(self.content), 50_000)]
            content = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        elif method == "POST":
            lines.append(f"Content-Length: {len(self.content)}")
            content = self.content
        return "\r\n".join([*lines, "\r\n"]).encode() + content

    def expected(self):
        """The content of a good answer."""
        if self.name == "cgi-bin/echo":
            return self.content
        if self.name == "spool/sum":
            digest = hashlib.sha256(self.content).hexdigest()
            return f"{len(self.content)}\n{digest}  -\n".encode()
        if self.name == "cgi-bin/flood":
            return bytes(4_000_000)
        return b"".join(b"%d\n" % n for n in range(1, self.count + 1))

    def run(self, address):
        """Is the client. Answers whether it was answered well; fails where it was not as it must be."""
        with socket.create_connection(address, timeout=HANG) as connection:
            try:
                return self.talk(connection)
            finally:
                if self.resets and self.client != "stay":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def talk(self, connection):
        request = self.encoded()
        if self.client == "in the request":
            connection.sendall(request[: int(len(request) * self.part)])
            time.sleep(self.pause)
            return False
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            # A script that does not read has ended; its answer has come before.
            assert self.name in UPLOADS, "the server stopped reading"
        if self.client == "in the answer":
            connection.recv(1 + int(self.part * 200_000))
            return False
        if self.client in ("at once", "soon"):
            time.sleep(self.pause if self.client == "soon" else 0)
            return False
        if self.client == "half-closed":
            connection.shutdown(socket.SHUT_WR)
        return self.answer(connection)

    def answer(self, connection):
        response = http.client.HTTPResponse(connection)
        begin = time.monotonic()
        # To the server, a client that sends no more may have left: it need not be answered.
        may_fail = self.client == "half-closed"
        try:
            response.begin()
            content = response.read()
        except (http.client.HTTPException, ConnectionError):
            if may_fail or self.name in BROKEN:
                return False
            raise
        if self.name == "hang/half" and response.status == 504:
            # It came to nothing before its second was over.
            return False
        if self.name == "cgi-bin/late" and time.monotonic() - begin >= EXIT:
            # Where the launcher has to wait for a processor, the crash may be known too late.
            return False
        wanted = STATUS.get(self.name, 200)
        assert response.status == wanted, f"status {response.status}, not {wanted}: {content[:2000]}"
        assert self.name not in BROKEN, "an answer that was broken off looks whole"
        if wanted == 200:
            assert content == self.expected(), f"{len(content)} bytes, and not the right ones"
        return wanted == 200


def resident(process):
    """Resident memory in bytes."""
    return int(status(process, "VmRSS")) * 1024


def descriptors(process):
    """What a process has open, by number."""
    found = {}
    directory = f"/proc/{process}/fd"
    for number in os.listdir(directory):
        try:
            found[int(number)] = os.readlink(f"{directory}/{number}")
        except FileNotFoundError:
            # Closed meanwhile, as that of the listing is.
            pass
    return found


def is_within(after, before):
    """Whether no more is open, but for what is kept of connections between server and launcher."""

    def count(found):
        sockets = sum(file.startswith("socket:") for file in found.values())
        return sockets, len(found) - sockets

    (sockets, others), (sockets_before, others_before) = count(after), count(before)
    return sockets <= sockets_before + KEPT and others <= others_before


class Soak:
    """The test, for one way to run the server."""

    user = None

    def setUp(self):
        self.mark = str(random.SystemRandom().randrange(10**9, 10**10))
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name, text in SCRIPTS.items():
            executable(self.root / name, "#!/bin/sh\n" + text)
        self.temporary = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.temporary.chmod(0o777)

    def test_nothing_is_left(self):
        names = set(os.listdir("/var/tmp"))
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(self.temporary)
        config = CONFIG.format(root=self.root, mark=self.mark)
        server = Server(self.root, config, self.user)
        self.enterContext(server)
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        self.server, self.launcher = server, launcher(server)
        self.address = (server.host, int(server.port))
        self.has_groups = self.user is None and control_group() is not None
        self.numbers = iter(range(10**9))

        self.send(WARM_UP)
        self.settle()
        processes = {"server": server.process.pid, "launcher": self.launcher}
        opened = {name: descriptors(pid) for name, pid in processes.items()}
        memory = {name: resident(pid) for name, pid in processes.items()}
        self.send(REQUESTS)
        self.settle()
        for name, pid in processes.items():
            until(
                lambda: is_within(descriptors(pid), opened[name]),
                lambda: f"{name}: {descriptors(pid)} are open, and {opened[name]} were",
            )
            deleted = [file for file in descriptors(pid).values() if file.endswith(" (deleted)")]
            self.assertEqual(deleted, [], name)
            # Some seconds after a burst memory is given back.
            until(
                lambda: resident(pid) - memory[name] < self.bounds[name],
                lambda: f"{name}: {resident(pid) / MIB:.1f} MiB, before {memory[name] / MIB:.1f}",
            )
            print(f"{name}: {resident(pid) / MIB:.1f} MiB, before {memory[name] / MIB:.1f}")
        self.assertEqual(self.launcher, launcher(server), "it has ended and was started again")
        # Services of the machine may have made directories.
        new = [Path("/var/tmp", name) for name in set(os.listdir("/var/tmp")) - names]
        self.assertEqual([path for path in new if path.is_file()], [])
        self.assertEqual(os.listdir(self.temporary), [])

    # Who forgets to free a request leaves its head, its record and its environment, of 2 KiB at least: 4
    # MiB of 2000. Of a script the launcher knows little more than the environment, of some 600 bytes.
    bounds = {"server": 4 * MIB, "launcher": 1 * MIB}

    def send(self, count):
        """Sends so many requests, some at once."""

        def run(number):
            request = Request(number)
            try:
                return request.run(self.address)
            except Exception as error:
                text = f"SOAK_SEED={SEED}, request {number} ({request}): {error!r}"
                raise AssertionError(text) from error

        begin = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as clients:
            answers = [clients.submit(run, next(self.numbers)) for _ in range(count)]
        failed = [str(one.exception()) for one in answers if one.exception()]
        self.assertEqual(failed, [])
        well = sum(one.result() for one in answers)
        print(f"{count} requests in {time.monotonic() - begin:.1f} s, {well} answered well")
        self.assertGreater(well, count // 5)

    def settle(self):
        """Waits until nothing is left of scripts, and a good one is answered."""
        pids = [self.server.process.pid, self.launcher]
        until(
            lambda: not marked(self.mark, self.root),
            lambda: f"{marked(self.mark, self.root)} are left",
        )
        # An attendant ends after its script, and a process that nobody reaps is a child still.
        for pid, wanted in zip(pids, ([self.launcher], []), strict=True):
            until(lambda: children(pid) == wanted, lambda: f"{pid} has {children(pid)}")
        until(
            lambda: not groups_of_scripts(self.launcher),
            lambda: f"{groups_of_scripts(self.launcher)} are left",
        )
        if self.has_groups:
            own = control_group() / f"pywebd.{self.launcher}"
            self.assertTrue(own.is_dir(), NO_GROUPS)
        request = Request(0)
        request.name, request.client = "cgi-bin/good", "stay"
        self.assertTrue(request.run(self.address))


for name, user in USERS.items():
    globals()[name] = type(name, (Soak, unittest.TestCase), {"user": user})


if __name__ == "__main__":
    unittest.main()
