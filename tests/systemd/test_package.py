"""The package in the hands of apt: installed, upgraded, removed, purged, and on machines of other kinds."""

import subprocess
import tempfile
import unittest

from machine import ENVIRONMENT, PACKAGES, ROOT, Machine, ask, ip, until

CONFIG = "/etc/pywebd/pywebd.toml"
GUESTBOOK = "/cgi-bin/guestbook.py"
APT = ["apt-get", "--yes", "--no-install-recommends"]

# What a removal leaves behind, as Debian has it: users keep their numbers, so that nobody else gets
# the files that they have left. The rest is the work of apt, of systemd and of the journal.
LEFT = "/var/log/journal/", "/var/log/apt/", "/var/log/dpkg.log", "/var/lib/dpkg/", "/var/lib/apt/"
LEFT += "/var/cache/", "/var/lib/systemd/", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"
LEFT += "/var/log/alternatives.log", "/etc/.pwd.lock", "/var/log/lastlog", "/etc/subuid", "/etc/subgid"
LEFT += ("/var/backups/",)


def write_in_guestbook(name, **where):
    status, _, _ = ask(
        GUESTBOOK,
        **where,
        method="POST",
        content=f"name={name}&message=was+here".encode(),
        fields=["Content-Type: application/x-www-form-urlencoded"],
    )
    assert status == 303, status


class Package(unittest.TestCase):
    def setUp(self):
        self.machine = self.enterContext(Machine())
        # A machine that has never been told what other packages there are.
        self.machine.run("sh", "-c", "rm -rf /var/lib/apt/lists/*")

    def files(self):
        # What goes meanwhile is no matter.
        lines = self.machine.text("find", "/", "-xdev", "-not", "-type", "s").splitlines()
        return {line for line in lines if line.startswith("/") and not line.startswith(LEFT)}

    def test_a_purge_leaves_nothing_behind(self):
        before = self.files()
        self.machine.install()
        write_in_guestbook("Ada")
        self.machine.write(
            CONFIG,
            self.machine.path(CONFIG).read_text().replace(
                "[log]", '[log]\naccess = { file = "/var/log/pywebd/access.log", format = "json" }'
            ),
        )
        self.machine.run("systemctl", "reload", "pywebd.service")
        self.assertEqual(ask("/")[0], 200)
        until(
            lambda: "GET / HTTP" in self.machine.text("cat", "/var/log/pywebd/access.log"),
            "the access log",
        )

        self.machine.run(*APT, "remove", "pywebd")
        until(lambda: 80 not in self.machine.listeners(), "the end of the sockets")
        # The launcher stops after the server, and nobody waits for that job.
        until(lambda: not self.machine.text("pgrep", "pywebd"), "the end of the launcher")
        for path in CONFIG, "/var/lib/pywebd-cgi/guestbook.db", "/var/log/pywebd/access.log":
            self.assertTrue(self.machine.path(path).exists(), path)

        self.machine.install()
        self.assertIn("Ada", ask(GUESTBOOK)[2])
        self.machine.run(*APT, "purge", "pywebd")
        until(lambda: 80 not in self.machine.listeners(), "the end of the sockets")
        until(lambda: not self.machine.text("pgrep", "pywebd"), "the end of the launcher")
        # systemd removes its private directories in a thread.
        private = "/var/tmp/systemd-private-*-pywebd*"
        until(lambda: self.machine.status("sh", "-c", f"ls -d {private}"), "the end of its files")
        self.assertEqual(self.files() - before, set())
        self.assertEqual(before - self.files(), set())
        self.assertEqual(self.machine.text("systemctl", "--failed", "--plain", "--no-legend"), "")
        self.assertNotIn("pywebd", self.machine.text("systemctl", "list-unit-files"))

    def test_an_upgrade_keeps_the_edited_configuration_and_the_guestbook(self):
        self.machine.install()
        write_in_guestbook("Ada")
        edited = "# The administrator was here.\n" + self.machine.path(CONFIG).read_text()
        self.machine.write(CONFIG, edited)
        self.machine.run(
            *APT, "--option=Dpkg::Options::=--force-confold", "install", "/opt/packages/pywebd-next.deb"
        )
        self.assertIn("+next", self.machine.run("dpkg-query", "--show", "pywebd"))
        self.assertEqual(self.machine.path(CONFIG).read_text(), edited)
        self.assertIn("Ada", ask(GUESTBOOK)[2])
        self.assertEqual(self.machine.state(), "active")

    def test_an_untouched_configuration_is_upgraded(self):
        self.machine.install()
        self.machine.install("pywebd-next.deb")
        self.assertIn("# A line of the next version.", self.machine.path(CONFIG).read_text())
        self.assertEqual(ask("/")[0], 200)

    def test_an_upgrade_of_a_stopped_service_leaves_it_stopped(self):
        self.machine.install()
        self.machine.run("systemctl", "disable", "--now", "pywebd.service")
        self.machine.install("pywebd-next.deb")
        self.assertNotIn(80, self.machine.listeners())
        self.assertEqual(self.machine.text("systemctl", "is-enabled", "pywebd.service"), "disabled")

    def test_a_port_that_is_taken_does_not_fail_the_installation(self):
        other = ["systemd-run", "--unit=other", "--quiet", "python3", "-m", "http.server", "80"]
        self.machine.run(*other)
        until(lambda: 80 in self.machine.listeners(), "the other server")
        self.machine.install()
        self.assertIn("ok installed", self.machine.run("dpkg-query", "--status", "pywebd"))
        self.assertEqual(self.machine.status("dpkg", "--audit"), 0)
        messages = self.machine.messages("--unit=pywebd.service", "--unit=pywebd.socket")
        self.assertTrue(any("in use" in each for each in messages), messages)
        self.machine.run("systemctl", "stop", "other.service")
        self.machine.run("systemctl", "restart", "pywebd.service")
        self.assertEqual(ask("/cgi-bin/env.sh")[0], 200)

    def test_the_service_comes_back_with_the_machine(self):
        self.machine.install()
        # As far as a container can: all is stopped that a boot starts, and started as it does.
        self.machine.run("systemctl", "stop", "pywebd.service")
        self.machine.run("systemctl", "isolate", "multi-user.target")
        until(lambda: self.machine.state() == "active", "the service")
        self.assertEqual(ask("/cgi-bin/env.sh")[0], 200)


class Elsewhere(unittest.TestCase):
    def test_the_package_works_where_no_systemd_runs(self):
        """In a plain chroot: in the foreground, as the user to whom the guestbook belongs."""
        ip("link", "set", "lo", "up")
        inside = "\n".join([
            f"env --ignore-environment {' '.join(ENVIRONMENT)} chroot $1 sh -e <<'END'",
            "apt-get install --yes --no-install-recommends /tmp/pywebd.deb",
            f"""sed -i '/^\\[server\\]/a listen = ["127.0.0.1:8000"]' {CONFIG}""",
            f"pywebd check --strict --config {CONFIG}",
            "exec setpriv --reuid=pywebd-cgi --regid=pywebd-cgi --clear-groups \\",
            f"  pywebd serve --config {CONFIG}",
            "END",
        ])
        mounts = "\n".join([
            "mkdir $2 && mount -t tmpfs none $2 && mkdir $2/upper $2/work $2/root",
            "mount -t overlay none -o lowerdir=$1,upperdir=$2/upper,workdir=$2/work $2/root",
            "mount -t proc none $2/root/proc",
            "mount --rbind /dev $2/root/dev",
            f"cp {PACKAGES}/pywebd.deb $2/root/tmp",
            "set -- $2/root",
        ])
        directory = self.enterContext(tempfile.TemporaryDirectory(prefix="pywebd-systemd-"))
        log = self.enterContext(open(f"{directory}/log", "w+b"))
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-ec"]
            + [f"{mounts}\n{inside}", "sh", ROOT, f"{directory}/mounts"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        here = {"host": "127.0.0.1", "client": "127.0.0.1", "port": 8000}
        try:
            until(lambda: process.poll() is not None or answers(**here), "an answer")
            self.assertIsNone(process.poll(), "it has ended")
            status, _, page = ask("/", **here)
            self.assertEqual(status, 200)
            self.assertIn("pywebd", page)
            write_in_guestbook("Ada", **here)
            self.assertIn("Ada", ask(GUESTBOOK, **here)[2])
        finally:
            process.kill()
            process.wait()
            log.seek(0)
            printed = log.read().decode()
        self.assertIn("GET / HTTP/1.1", printed)


def answers(**where):
    try:
        return ask("/", **where)
    except ConnectionRefusedError:
        return None


if __name__ == "__main__":
    unittest.main()
