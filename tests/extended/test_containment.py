"""What a script may take with it, leave behind and become: with control groups and with attendants."""

import contextlib
import http.client
import json
import os
import pwd
import random
import socket
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from processes import (
    NO_GROUPS,
    USERS,
    children,
    control_group,
    groups_of_scripts,
    is_launcher,
    launcher,
    marked,
    read,
    until,
)
from recipe import executable
from server import HANG, Server, own

CONFIG = """
[site.contained]
hosts = ["*"]
root = "{root}"
[site.contained.path."/cgi-bin/"]
cgi = true
env = {{ MARK = "{mark}" }}
{options}
"""

# A program of root's: a server without rights can give no file away.
OTHER = """
[site.contained.path."/other"]
script = "/usr/bin/true"
user = "{}"
"""

HEADER = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n"
PYTHON = "#!/usr/bin/python3\nprint('Content-Type: text/plain\\n', flush=True)\n"

# A session of its own, and a parent that has ended. It tells its number, and the script waits for that.
DAEMON = """#!/bin/sh
trap '' TERM HUP
(setsid sh -c 'echo $$ >daemon.new; mv daemon.new daemon; sleep 1000; :' </dev/null >/dev/null 2>&1 &)
until [ -e daemon ]; do sleep 0.01; done
printf 'Content-Type: text/plain\\n\\n'
cat daemon
rm daemon
"""

# Sleeping children until there can be no more, and never more than the machine can bear.
FORKS = """#!/usr/bin/python3
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
count, error = 0, "none"
while count < 300:
    try:
        if os.fork() == 0:
            os.setsid()
            while True:
                signal.pause()
    except OSError as failure:
        error = failure.strerror
        break
    count += 1
print(f"Content-Type: text/plain\\n\\n{count} {error}\\n", flush=True)
while True:
    signal.pause()
"""

ALLOCATE = """
try:
    bytearray(200 << 20)
    print("it was allowed")
except MemoryError as error:
    print(repr(error))
"""

WHO = """
import json, os
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
mask = os.umask(0)
found = {
    "ids": [*os.getresuid(), *os.getresgid()],
    "groups": os.getgroups(),
    # With no_new_privs, those of CapBnd cannot be had.
    "capabilities": {name: int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Amb")},
    "no_new_privs": status["NoNewPrivs"],
    "mask": mask,
    "session": os.getsid(0) == os.getpgid(0) == os.getpid(),
    "descriptors": [],
    "group": open("/proc/self/cgroup").read(),
    "directory": os.getcwd(),
}
for number in range(os.sysconf("SC_OPEN_MAX")):
    try:
        os.fstat(number)
        found["descriptors"].append(number)
    except OSError:
        pass
print(json.dumps(found))
"""

WAIT = "#!/bin/sh\n(setsid sleep 1000 &)\necho >waits\nexec sleep 1000\n"


class Case(unittest.TestCase):
    user = None

    def setUp(self):
        self.mark = str(random.SystemRandom().randrange(10**9, 10**10))
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root.chmod(0o755)
        (self.root / "file.txt").write_text("a file")

    def script(self, text, name="script"):
        executable(self.root / "cgi-bin" / name, text)

    @contextlib.contextmanager
    def serving(self, *options):
        """A server of the scripts, under these options; when it has stopped, nothing is left."""
        text = CONFIG.format(root=self.root, mark=self.mark, options="\n".join(options))
        with Server(self.root, text, self.user) as server:
            yield server
            process = launcher(server)
        self.nothing_is_left()
        if control_group():
            self.assertFalse((control_group() / f"pywebd.{process}").exists())

    def left(self):
        return marked(self.mark, self.root)

    def nothing_is_left(self):
        until(lambda: not self.left(), lambda: f"the end of {self.left()}")

    def get(self, server, path="/cgi-bin/script"):
        """Status and content; of a content that is broken off, what has come."""
        connection = http.client.HTTPConnection(server.host, int(server.port), timeout=HANG)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            try:
                return response.status, response.read().decode()
            except http.client.IncompleteRead as error:
                return response.status, error.partial.decode()

    def who(self, server):
        code, content = self.get(server)
        self.assertEqual(code, 200, content)
        return json.loads(content)


class Ways:
    """What holds however the server runs."""

    @property
    def has_groups(self):
        return self.user is None and control_group() is not None

    def test_nothing_survives_a_request(self):
        self.script(DAEMON)
        with self.serving() as server:
            for _ in range(5):
                code, number = self.get(server)
                self.assertEqual(code, 200)
                # The answer may come before the end of the script is seen to.
                until(
                    lambda: read(int(number), "cmdline") == b"",
                    lambda: f"the end of {read(int(number), 'cmdline')}",
                )
                self.nothing_is_left()
            until(lambda: not groups_of_scripts(launcher(server)), lambda: "no groups")

    def test_what_may_stay_stays_until_the_server_stops(self):
        self.script(DAEMON)
        self.script(HEADER, "another")
        with self.serving("detach = true") as server:
            code, number = self.get(server)
            self.assertEqual(code, 200)
            # By then the launcher has seen to the end of the first.
            server.logged("/cgi-bin/script", " 200 ")
            self.assertEqual(self.get(server, "/cgi-bin/another")[0], 200)
            self.assertIn(int(number), self.left())
        self.assertNotIn(int(number), self.left())

    def test_memory(self):
        self.script(PYTHON + ALLOCATE)
        with self.serving('memory = "64M"') as server:
            code, content = self.get(server)
            if self.has_groups and has_controller("memory"):
                # The kernel kills the script there.
                self.assertEqual(content, "")
            else:
                self.assertEqual((code, content), (200, "MemoryError()\n"))

    def test_what_a_script_has(self):
        self.script(PYTHON + WHO)
        with self.serving() as server:
            found = self.who(server)
            self.assertEqual(set(found["capabilities"].values()), {0}, found["capabilities"])
            self.assertEqual(found["no_new_privs"], "1")
            self.assertEqual(found["mask"], 0o022)
            self.assertEqual(found["descriptors"], [0, 1, 2])
            self.assertTrue(found["session"])
            self.assertEqual(found["directory"], str(self.root / "cgi-bin"))
            groups = read(server.process.pid, "cgroup").decode()
            if self.has_groups:
                self.assertNotEqual(found["group"], groups, NO_GROUPS)
                self.assertRegex(found["group"], rf"0::.*/pywebd\.{launcher(server)}/contained\.1\n")
            else:
                self.assertEqual(found["group"], groups)

    def test_the_launcher_is_killed(self):
        self.script(WAIT)
        self.script(HEADER + "echo good\n", "good")
        with self.serving() as server:
            address = (server.host, int(server.port))
            waiting = http.client.HTTPConnection(*address, timeout=HANG)
            with contextlib.closing(waiting):
                waiting.request("GET", "/cgi-bin/script")
                until((self.root / "cgi-bin" / "waits").exists, lambda: "the script")
                before = set(self.left())
                self.assertGreaterEqual(len(before), 2)
                first = launcher(server)
                os.kill(first, signal.SIGKILL)
                self.assertEqual(waiting.getresponse().status, 502)
            self.assertEqual(self.get(server, "/file.txt"), (200, "a file"))
            self.assertEqual(self.get(server, "/cgi-bin/good"), (200, "good\n"))
            server.logged("the launcher has ended", "started again")
            self.assertNotEqual(launcher(server), first)
            self.nothing_is_left()
            self.assertEqual(children(server.process.pid), [launcher(server)])
        # What is killed may need a moment, and then its group is left to the next launcher.
        with self.serving():
            until(lambda: not groups_of_scripts(first), lambda: f"{groups_of_scripts(first)}")

    def test_the_server_is_killed(self):
        self.script(WAIT)
        text = CONFIG.format(root=self.root, mark=self.mark, options="")
        with Server(self.root, text, self.user) as server:
            waiting = http.client.HTTPConnection(server.host, int(server.port), timeout=HANG)
            with contextlib.closing(waiting):
                waiting.request("GET", "/cgi-bin/script")
                until((self.root / "cgi-bin" / "waits").exists, lambda: "the script")
                first = launcher(server)
                server.status = -signal.SIGKILL
                server.process.kill()
                # The launcher has the log open until it ends.
        self.nothing_is_left()
        until(lambda: not is_launcher(first), lambda: "the end of the launcher")
        self.assertEqual(groups_of_scripts(first), [])


class Forks:
    """For one whose number of processes the kernel limits: not root's."""

    def test_a_fork_bomb(self):
        self.script(FORKS)
        with self.serving("tasks = 20", 'timeout = "6s"') as server:
            begin = time.monotonic()
            code, content = self.get(server)
            self.assertEqual(code, 200)
            count, error = content.split(maxsplit=1)
            print(f"{count} children: {error.strip()}")
            # The limit counts all processes of the user, and is as much above those of the machine.
            self.assertTrue(int(count) == 300 or "temporarily unavailable" in error, content)
            self.nothing_is_left()
            # Six seconds until the timeout, two from SIGTERM to SIGKILL.
            self.assertGreater(time.monotonic() - begin, 7.5)
            server.logged("/cgi-bin/script", "killed")


class Attended:
    """For scripts that run as the user that their attendant runs as, and may do to it what they like."""

    def turned_on(self, name):
        self.script(f"#!/bin/sh\n(setsid sleep 1000 &)\nkill -{name} $PPID\nexec sleep 1000\n")
        with self.serving('timeout = "1s"') as server:
            try:
                self.assertIn(self.get(server)[0], (502, 504))
                # Not only when the server stops.
                self.nothing_is_left()
                until(
                    lambda: not children(launcher(server)),
                    lambda: f"the end of {children(launcher(server))}",
                )
            finally:
                # The test ends them where the server does not.
                for process in [*self.left(), *children(launcher(server))]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)

    def test_a_script_kills_its_attendant(self):
        self.turned_on("KILL")

    def test_a_script_stops_its_attendant(self):
        self.turned_on("STOP")


class OtherUsers:
    """For root's server: `user`."""

    def test_it_runs_as_that_user(self):
        self.script(PYTHON + WHO)
        nobody = pwd.getpwnam("nobody")
        with self.serving('user = "nobody"') as server:
            found = self.who(server)
            ids = [nobody.pw_uid] * 3 + [nobody.pw_gid] * 3
            self.assertEqual(found["ids"], ids)
            self.assertEqual(found["groups"], os.getgrouplist("nobody", nobody.pw_gid))
            self.assertEqual(set(found["capabilities"].values()), {0}, found["capabilities"])
            self.assertEqual(found["no_new_privs"], "1")
            self.assertEqual(found["descriptors"], [0, 1, 2])
            if control_group():
                self.assertNotEqual(found["group"], read(server.process.pid, "cgroup").decode())

    def test_several_run_at_once_beside_others(self):
        self.script("#!/bin/sh\nread line\necho 'Content-Type: text/plain'\necho\necho $line\n")
        executable(self.root / "own" / "script", HEADER + "echo here; read line; echo $line\n")
        rule = '[site.contained.path."/own/"]\ncgi = true'
        with self.serving('user = "nobody"', rule) as server:
            head = "POST {} HTTP/1.0\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
            paths = ["/own/script"] + ["/cgi-bin/script"] * 5 + ["/own/script"]
            address = (server.host, int(server.port))
            clients = [socket.create_connection(address, timeout=HANG) for _ in paths]
            for client, path in zip(clients, paths):
                client.sendall(head.format(path).encode())
            # All run when the last has begun.
            until(lambda: len(self.left()) == len(paths), lambda: f"their start: {self.left()}")
            for client in clients:
                client.sendall(b"end\n")
            for client in clients:
                with client, client.makefile("rb") as answer:
                    whole = answer.read()
                    self.assertTrue(whole.startswith(b"HTTP/1.0 200 "), whole)
                    self.assertTrue(whole.endswith(b"end\n"), whole)

    def test_nothing_of_that_user_survives(self):
        self.script(DAEMON)
        directory = self.root / "cgi-bin"
        own(directory, pwd.getpwnam("nobody"))
        with self.serving('user = "nobody"') as server:
            code, number = self.get(server)
            self.assertEqual(code, 200)
            self.nothing_is_left()
            self.assertEqual(read(int(number), "cmdline"), b"")

    def test_whose_scripts_are_refused(self):
        self.script(HEADER)
        script = self.root / "cgi-bin" / "script"
        with self.serving('user = "nobody"') as server:
            self.assertEqual(self.get(server)[0], 200)
            os.chown(script, pwd.getpwnam("daemon").pw_uid, 0)
            code, content = self.get(server)
            self.assertEqual(code, 500)
            self.assertIn("belongs neither to user nobody, as whom it runs, nor to root", content)
            self.assertIn(f"chown nobody {script}", content)
            os.chown(script, pwd.getpwnam("nobody").pw_uid, 0)
            self.assertEqual(self.get(server)[0], 200)
            script.chmod(0o775)
            code, content = self.get(server)
            self.assertEqual(code, 500)
            self.assertIn("can be written by its group", content)
            server.logged("can be written by its group", str(script))

    def test_root_is_refused(self):
        config = self.root / "pywebd.toml"
        text = CONFIG.format(root=self.root, mark=self.mark, options='user = "root"')
        config.write_text("version = 1\n" + text)
        done = subprocess.run(
            [os.environ["PYWEBD"], "serve", "--config", config],
            stderr=subprocess.PIPE,
            text=True,
            timeout=HANG,
            check=False,
        )
        self.assertEqual(done.returncode, 78)
        self.assertIn('scripts do not run as user "root"', done.stderr)


class NoOtherUsers:
    """For a server without rights: `user`."""

    def test_another_user(self):
        another = next(one.pw_name for one in pwd.getpwall() if is_another(one))
        with self.serving(OTHER.format(another)) as server:
            code, content = self.get(server, "/other")
            self.assertEqual(code, 500)
            self.assertIn("the launcher may not change users", content)
            server.logged(f"it runs as user {another}", "the launcher may not change users")


def is_another(account):
    ids = (account.pw_uid, account.pw_gid)
    return min(ids) >= 100 and account.pw_name != "nobody" and account.pw_uid != os.geteuid()


def has_controller(name):
    place = control_group()
    return name in (place / "cgroup.controllers").read_text().split()


for name, user in USERS.items():
    own_cases = (OtherUsers,) if user is None and os.geteuid() == 0 else (Forks, Attended, NoOtherUsers)
    globals()[name] = type(name, (Ways, *own_cases, Case), {"user": user})


if __name__ == "__main__":
    unittest.main()
