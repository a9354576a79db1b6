"""No request fails while the service is restarted, reloaded and upgraded under it."""

import threading
import time
import unittest

from clients import Clients
from machine import AGAIN, PRIVATE, Machine, ask, until

CONFIG = "/etc/pywebd/pywebd.toml"
TARGETS = {"/file": "x" * 2000, "/cgi-bin/script": "ran\n"}
SCRIPT = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nran\\n'\n"
SITE = """\
version = 1
[site.example]
hosts = ["*"]
root = "/srv/example"
path."/cgi-bin/" = { cgi = true }
"""

# How apt installs a package where a configuration file was edited: it is kept.
KEEP = ["apt-get", "install", "--yes", "--option=Dpkg::Options::=--force-confold"]


class Load(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())
        cls.machine.install()
        cls.machine.write("/srv/example/file", TARGETS["/file"])
        cls.machine.write("/srv/example/cgi-bin/script", SCRIPT, mode=0o755)

    def setUp(self):
        self.machine.run("systemctl", "reset-failed")
        self.machine.write(CONFIG, SITE)
        self.machine.run("systemctl", "reload", "pywebd.service")

    def test_restarts_lose_no_request(self):
        with Clients(TARGETS) as clients:
            for _ in range(3):
                pids = self.machine.main_pid(), self.machine.main_pid("pywebd-cgi.service")
                self.machine.run("systemctl", "restart", "pywebd.service")
                clients.flow()
                self.assertNotIn(self.machine.main_pid(), (0, pids[0]))
                self.assertNotIn(self.machine.main_pid("pywebd-cgi.service"), (0, pids[1]))
        print(f"{sum(clients.answers)} answers, none failed")

    def test_reloads_lose_no_request(self):
        pid = self.machine.main_pid()
        with Clients(TARGETS) as clients:
            for number in range(10):
                self.machine.write(CONFIG, SITE + f'headers = {{ X-Number = "{number}" }}\n')
                self.machine.run("systemctl", "reload", "pywebd.service")
                self.machine.write(CONFIG, SITE + "nonsense\n")
                self.assertNotEqual(self.machine.status("systemctl", "reload", "pywebd.service"), 0)
                clients.flow()
        self.assertEqual(self.machine.main_pid(), pid)
        print(f"{sum(clients.answers)} answers, none failed")

    def test_an_upgrade_loses_no_request(self):
        pids = self.machine.main_pid(), self.machine.main_pid("pywebd-cgi.service")
        with Clients(TARGETS) as clients:
            self.machine.run(*KEEP, "/opt/packages/pywebd-next.deb")
            clients.flow()
            self.assertNotIn(self.machine.main_pid(), (0, pids[0]))
            self.assertNotIn(self.machine.main_pid("pywebd-cgi.service"), (0, pids[1]))
            # And back, in the way of whom the next version does not please.
            self.machine.run(*KEEP, "--allow-downgrades", "/opt/packages/pywebd.deb")
        print(f"{sum(clients.answers)} answers, none failed")

    def test_a_stop_under_load_is_a_stop(self):
        over = threading.Event()
        clients = [threading.Thread(target=knock, args=(each, over)) for each in PRIVATE]
        for client in clients:
            client.start()
        try:
            for _ in range(3):
                self.machine.run("systemctl", "reset-failed")
                self.machine.run("systemctl", "start", "pywebd.service")
                self.machine.run("systemctl", "stop", "pywebd.service")
                until(self.idle, "the end of systemd's jobs")
                # Whoever knocked meanwhile has not brought it back.
                self.assertNotIn(80, self.machine.listeners())
                self.assertEqual(self.machine.state(), "inactive")
                self.assertEqual(self.machine.state("pywebd.socket"), "inactive")
        finally:
            over.set()
            for client in clients:
                client.join()
            self.machine.run("systemctl", "start", "pywebd.service")

    def idle(self):
        return "No jobs" in self.machine.text("systemctl", "list-jobs")

    def test_a_listener_of_the_configuration_outlives_a_restart(self):
        self.machine.write(CONFIG, SITE + '[server]\nlisten = ["[::]:80", "[::]:8080"]\n')
        self.machine.run("systemctl", "reload", "pywebd.service")
        with Clients({"/file": TARGETS["/file"]}, port=8080) as clients:
            for _ in range(2):
                self.machine.run("systemctl", "restart", "pywebd.service")
                clients.flow()
        self.machine.run("systemctl", "stop", "pywebd.service")
        until(lambda: not self.machine.listeners() & {80, 8080}, "the end of the listeners")
        self.machine.run("systemctl", "start", "pywebd.service")
        self.assertLessEqual({80, 8080}, self.machine.listeners())
        self.machine.write(CONFIG, SITE)
        self.machine.run("systemctl", "reload", "pywebd.service")
        # Those who are waiting at it are served.
        until(lambda: 8080 not in self.machine.listeners(), "the end of the listener")
        self.machine.run("systemctl", "restart", "pywebd.service")
        self.assertNotIn(8080, self.machine.listeners())


def knock(client, over):
    """Asks again and again, whether somebody answers or not."""
    while not over.is_set():
        try:
            ask("/file", client=client)
        except (OSError, ValueError):
            time.sleep(AGAIN)


if __name__ == "__main__":
    unittest.main()
