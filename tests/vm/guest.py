"""What runs in the machine of tests/vm/run: pywebd in cgroups that systemd delegates to it.

Each test starts it as root and as a user, in a unit with `Delegate=yes`, and as the package has it,
in units of its own. After a request its part of the tree, directories and processes, has to be what
it was before.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
HANG = 60

SITE = """\
[site.example]
hosts = ["127.0.0.1"]
root = "/srv"
path."/cgi-bin/" = { cgi = true, memory = "64M", tasks = 20, cpu-weight = 50 }
path."/cgi-bin/bomb" = { timeout = "10s" }  # time for the emulation to start it
"""

CONFIG = """\
version = 1
server.listen = ["127.0.0.1:8000"]
"""

# What each script begins with: where it is, and how it answers.
BEGINNING = """\
#!/usr/bin/python3
import errno, json, os, time

cgroup = "/sys/fs/cgroup" + open("/proc/self/cgroup").read().strip().removeprefix("0::")

def read(name):
    try:
        return open(f"{cgroup}/{name}").read().strip()
    except FileNotFoundError:
        return None

def answer(**values):
    print("Content-Type: application/json\\n")
    print(json.dumps({"cgroup": cgroup, **values}), flush=True)

"""

SCRIPTS = {
    "limits": """
        names = "cpu.weight", "memory.max", "memory.swap.max", "pids.max"
        answer(**{name: read(name) for name in names})
    """,
    "memory": """
        if os.fork() == 0:
            content = b"x" * (200 << 20)
        os.wait()
        answer(alone=True)  # not reached: the limit ends all of the script
    """,
    "tasks": """
        started = 0
        refused = None
        for _ in range(200):
            try:
                if os.fork() == 0:
                    time.sleep(1000)
                started += 1
            except OSError as error:
                refused = errno.errorcode[error.errno]
        tasks = read("cgroup.procs").split()
        answer(started=started, refused=refused, tasks=len(tasks), peak=read("pids.peak"))
    """,
    "daemon": """
        known, tell = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for descriptor in 0, 1, 2:
                    os.close(descriptor)
                os.write(tell, b"%d" % os.getpid())
                time.sleep(1000)
            os._exit(0)
        os.wait()
        answer(daemon=int(os.read(known, 20)))
    """,
    "endless": """
        if os.fork() == 0:
            os.setsid()
        answer()
        time.sleep(1000)
    """,
    "nested": """
        os.makedirs(f"{cgroup}/a/b")
        with open(f"{cgroup}/a/b/cgroup.procs", "w") as file:
            file.write("0")
        answer()
    """,
    "bomb": """
        while True:
            try:
                if os.fork() == 0:
                    os.setsid()  # no signal to a process group reaches them all
            except OSError:
                pass
    """,
}


def run(*command):
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=HANG
    ).stdout


def goes(path):
    """Whether it goes away, or has gone, in time."""
    until = time.monotonic() + HANG
    while path.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return not path.exists()


def messages(unit):
    run("journalctl", "--sync")
    return run("journalctl", f"--unit={unit}", "--output=cat")


class Watch(threading.Thread):
    """`with Watch(COUNT) as watch:` has in `watch.most` the most that was counted meanwhile."""

    def __init__(self, count):
        super().__init__()
        self.count = count
        self.most = 0
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            self.most = max(self.most, self.count())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class Delegated:
    """What holds wherever pywebd has a part of the tree."""

    def setUp(self):
        self.start()
        # A script of the start may end a moment after its answer.
        until = time.monotonic() + HANG
        while list(self.cgroup.glob("pywebd.*/example.*")) and time.monotonic() < until:
            time.sleep(0.05)
        self.before = self.cgroups(), self.processes()

    def cgroups(self):
        return {directory for directory, _, _ in os.walk(self.cgroup)}

    def processes(self):
        found = set()
        for directory in self.cgroups():
            try:
                found.update(Path(directory, "cgroup.procs").read_text().split())
            except OSError:  # it went away
                pass
        return found

    def get(self, script):
        """Status and content of the answer."""
        try:
            with urllib.request.urlopen(self.url + script, timeout=HANG) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def assert_nothing_left(self):
        """Where nobody waits for the end of a script, it may come a moment after the answer."""
        until = time.monotonic() + HANG
        while (self.cgroups(), self.processes()) != self.before and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual((self.cgroups(), self.processes()), self.before)

    def assert_logged(self, *parts):
        # The server writes it behind the answer.
        until = time.monotonic() + HANG
        found = False
        while not found and time.monotonic() < until:
            log = messages(self.unit)
            found = any(all(part in line for part in parts) for line in log.splitlines())
        self.assertTrue(found, f"no line with {parts} in\n{log}")

    def test_systemd_delegates_the_controllers(self):
        controllers = (self.cgroup / "cgroup.controllers").read_text().split()
        self.assertLessEqual({"cpu", "memory", "pids"}, set(controllers))

    def test_a_script_has_a_cgroup_with_the_limits_of_the_configuration(self):
        status, found = self.get("limits")
        self.assertEqual(status, 200)
        self.assertEqual(found["cpu.weight"], "50")
        self.assertEqual(found["memory.max"], str(64 << 20))
        self.assertEqual(found["memory.swap.max"], "0")
        self.assertEqual(found["pids.max"], "20")
        self.assert_nothing_left()
        self.assertFalse(Path(found["cgroup"]).exists())

    def test_too_much_memory_ends_the_script_and_is_logged(self):
        status, _ = self.get("memory")
        self.assertIn(status, (500, 502))
        self.assert_logged("/cgi-bin/memory", "memory limit 64M")
        self.assert_nothing_left()
        self.assertEqual(self.get("limits")[0], 200)

    def test_a_script_never_has_more_tasks_than_it_may(self):
        with Watch(lambda: len(self.processes() - self.before[1])) as watch:
            status, found = self.get("tasks")
        self.assertEqual(status, 200)
        self.assertEqual(found["refused"], "EAGAIN")
        self.assertEqual((found["started"], found["tasks"]), (19, 20))
        self.assertEqual(found["peak"], "20")
        self.assertLessEqual(watch.most, 20)
        self.assert_logged("/cgi-bin/tasks", "tasks limit 20")
        self.assert_nothing_left()

    def test_a_daemon_does_not_outlive_the_request(self):
        status, found = self.get("daemon")
        self.assertEqual(status, 200)
        self.assert_nothing_left()
        # It is reaped when its control group has gone.
        self.assertTrue(goes(Path("/proc", str(found["daemon"]))))
        self.assertFalse(Path(found["cgroup"]).exists())

    def test_no_process_outlives_a_client_that_leaves(self):
        with urllib.request.urlopen(self.url + "endless", timeout=HANG) as response:
            response.readline()
            self.assertNotEqual(self.processes(), self.before[1])
        self.assert_nothing_left()

    def test_cgroups_of_a_script_go_with_it(self):
        # The user of the launcher may make some in what is his.
        self.assertEqual(self.get("nested")[0], 200)
        self.assert_nothing_left()

    def test_a_fork_bomb_is_killed(self):
        with Watch(lambda: len(self.processes() - self.before[1])) as watch:
            status, _ = self.get("bomb")
        self.assertEqual(status, 504)
        self.assertGreater(watch.most, 10, "it was no fork bomb")
        self.assert_nothing_left()


class Foreground(Delegated):
    """One unit for both processes; the launcher is the server's child."""

    url = "http://127.0.0.1:8000/cgi-bin/"

    def start(self):
        name = self.id().rpartition(".")[2]
        self.unit = f"pywebd-{self.user}-{name}.service"
        self.cgroup = CGROUPS / "system.slice" / self.unit
        config = Path("/srv/pywebd.toml")
        config.write_text(CONFIG + SITE)
        # A unit of this type has started when the server says that it serves. TasksMax is for a
        # bomb that gets away: it must not take the machine along.
        properties = [f"User={self.user}", "Type=notify", "Delegate=yes"]
        properties += ["TasksMax=200", "TimeoutStopSec=20"]
        unit = [f"--unit={self.unit}", *(f"--property={each}" for each in properties)]
        run("systemd-run", "--quiet", *unit, PYWEBD, "serve", "--config", config)
        self.addCleanup(self.stop)

    def stop(self):
        run("systemctl", "stop", self.unit)
        log = messages(self.unit)
        print("", log, sep="\n", end="")
        self.assertNotIn("Failed with result", log)
        self.assertTrue(goes(self.cgroup))

    def test_a_launcher_that_is_killed_leaves_nothing(self):
        server = run("systemctl", "show", "--value", "--property=MainPID", self.unit).strip()
        (launcher,) = self.before[1] - {server}
        with urllib.request.urlopen(self.url + "endless", timeout=HANG) as response:
            content = json.loads(response.readline())
            os.kill(int(launcher), signal.SIGKILL)
            with self.assertRaises(http.client.IncompleteRead):
                response.read()
        self.assertEqual(self.get("limits")[0], 200)
        self.assertTrue(goes(Path(content["cgroup"]).parent))


class Root(Foreground, unittest.TestCase):
    user = "root"


class User(Foreground, unittest.TestCase):
    user = "nobody"


class Package(Delegated, unittest.TestCase):
    """What a person has who has installed the package and added a site."""

    url = "http://127.0.0.1/cgi-bin/"
    unit = "pywebd*"
    cgroup = CGROUPS / "system.slice/pywebd-cgi.service"

    @classmethod
    def setUpClass(cls):
        run("dpkg", "--install", PACKAGE)
        Path("/etc/pywebd/sites.d/example.toml").write_text(SITE)
        cls.addClassCleanup(lambda: print("", messages(cls.unit), sep="\n", end=""))
        run("systemctl", "reload", "pywebd.service")

    @classmethod
    def tearDownClass(cls):
        # The launcher's unit stops with the server's, but its job is one that nobody waits for.
        run("systemctl", "stop", "pywebd.service")
        assert goes(cls.cgroup)

    def start(self):
        # The first script may have to wait for the launcher.
        self.assertEqual(self.get("limits")[0], 200)

    def test_the_journal_explains_why_a_script_was_killed(self):
        self.get("memory")
        self.assert_logged("/cgi-bin/memory", "memory limit 64M")
        limit = ["MESSAGE_ID=70543117d5f74330a01c81c2a8881600", "PYWEBD_KILLED=memory limit 64M"]
        entry = run("journalctl", "--catalog", "--lines=1", *limit)
        self.assertIn("memory = ", entry)


if __name__ == "__main__":
    PYWEBD, PACKAGE = sys.argv[1:3]
    del sys.argv[1:3]
    os.mkdir("/srv/cgi-bin")
    for name, text in SCRIPTS.items():
        path = Path("/srv/cgi-bin", name)
        path.write_text(BEGINNING + textwrap.dedent(text))
        path.chmod(0o755)
    unittest.main(verbosity=2)
