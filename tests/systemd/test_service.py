"""The service in the hands of its administrator: browsed, edited, broken, repaired, stopped, started."""

import itertools
import json
import re
import unittest

import machine
from machine import HOST, HOST_6, PRIVATE_6, PUBLIC, PUBLIC_HOST, Machine, ask, until

CONFIG = "/etc/pywebd/pywebd.toml"
SITES = "/etc/pywebd/sites.d"
UNITS = "pywebd.socket", "pywebd.service", "pywebd-cgi.socket", "pywebd-cgi.service"

# The most that `systemd-analyze security` may say of the exposure of a service.
EXPOSURE = {"pywebd.service": 1.5, "pywebd-cgi.service": 2.5}

SITE = """\
[site.example]
hosts = ["example.org"]
root = "/srv/example"
"""

# Does as the network process what that never does, in its view of the files, and prints what it could.
PROBE = """\
import ctypes, os, pwd, sys

pid, user = sys.argv[1:]
libc = ctypes.CDLL(None)
account = pwd.getpwnam(user)
assert libc.setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0) == 0
read_only = "/", "/etc", "/usr", "/usr/bin", "/var/lib", "/srv", "/home", "/root"
its_own = "/run/pywebd", "/var/log/pywebd", "/var/lib/pywebd", "/tmp", "/var/tmp", "/dev", "/proc", "/sys"

def attempt(directory):
    try:
        os.close(os.open(f"{directory}/probe", os.O_WRONLY | os.O_CREAT))
        print("write", directory, flush=True)
    except OSError:
        pass

for directory in read_only:
    attempt(directory)
os.setgroups([])
os.setresgid(*[account.pw_gid] * 3)
os.setresuid(*[account.pw_uid] * 3)
for directory, names, _ in os.walk("/"):
    names[:] = [name for name in names if os.path.join(directory, name) not in its_own]
    attempt(directory)
if not os.fork():
    try:
        os.execv("/usr/bin/touch", ["touch", "/tmp/probe"])
    except OSError:
        os._exit(0)
if os.wait()[1] or os.path.exists("/tmp/probe"):
    print("execute", flush=True)
for directory in "/tmp", "/var/tmp":
    if os.path.exists(f"{directory}/others"):
        print("see", directory)
print("done")
"""


DROP_INS = "/usr/share/doc/pywebd/drop-ins"
OTHER_DROP_INS = [
    "log-namespace.conf",
    "memory.conf",
    "mounts.conf",
    "no-home.conf",
    "setuid.conf",
    "strict.conf",
    "www-data.conf",
]

# Says how much content there is, where it lies, and what it is.
UPLOAD = """\
#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
echo "$CONTENT_LENGTH"
stat --file-system --dereference --format=%T /dev/stdin
cat
"""

# The user ada with the password "secret".
MEMBERS = (
    "ada:$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM"
    "/O6IND4WQhG.\n"
)


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())
        cls.machine.install()
        cls.shipped = cls.machine.path(CONFIG).read_text()

    def setUp(self):
        self.addCleanup(self.repair)

    def repair(self):
        """Leaves the service to the next test as it was installed."""
        for site in self.machine.path(SITES).glob("*.toml"):
            site.unlink()
        self.machine.write(CONFIG, self.shipped)
        self.machine.run("systemctl", "reset-failed")
        self.machine.run("systemctl", "restart", "pywebd.service")

    def since(self):
        """Arguments of journalctl: what comes from now on."""
        cursor = self.machine.run("journalctl", "--lines=0", "--show-cursor")
        return "--after-cursor=" + re.search(r"cursor: (\S+)", cursor)[1]

    def complaints(self):
        """What the network process has said by stderr, as it does before it has its log."""
        return self.machine.messages(f"_PID={self.machine.main_pid()}", "_TRANSPORT=stdout")

    def get(self, target, **how):
        status, _, content = ask(target, **how)
        return status, content

    def test_a_fresh_installation_serves_its_welcome_page_at_port_80(self):
        for unit in UNITS:
            self.assertEqual(self.machine.state(unit), "active", unit)
        self.machine.run("systemctl", "is-enabled", "pywebd.service")
        status, fields, page = ask("/")
        self.assertEqual((status, fields["content-type"].split(";")[0]), (200, "text/html"))
        self.assertIn("pywebd", page)
        self.assertEqual(self.get("/", host=HOST_6, client=PRIVATE_6), (200, page))
        self.assertEqual(self.get("/", host=PUBLIC_HOST, client=PUBLIC), (200, page))
        linked = re.findall(r'(?:src|href)="(?!http|#|mailto)([^"]+)"', page)
        self.assertTrue(linked)
        for target in linked:
            with self.subTest(target=target):
                self.assertEqual(self.get("/" + target.removeprefix("/"))[0], 200)

    def test_the_scripts_of_the_welcome_page_are_for_private_addresses(self):
        for target in "/cgi-bin/time.py", "/cgi-bin/env.sh", "/cgi-bin/guestbook.py":
            with self.subTest(target=target):
                self.assertEqual(self.get(target)[0], 200)
                self.assertEqual(self.get(target, host=HOST_6, client=PRIVATE_6)[0], 200)
                self.assertEqual(self.get(target, host=PUBLIC_HOST, client=PUBLIC)[0], 403)
        status, sent = self.get(
            "/cgi-bin/post.py",
            method="POST",
            content=b"firstname=Ada+Lovelace",
            fields=["Content-Type: application/x-www-form-urlencoded"],
        )
        self.assertEqual(status, 200)
        self.assertIn("Ada", sent)

    def test_scripts_run_as_a_user_of_their_own(self):
        _, page = self.get("/cgi-bin/env.sh")
        self.assertIn("(pywebd-cgi)", page)
        self.assertNotIn("(pywebd)", page)

    def test_an_edit_of_content_shows_in_the_next_request(self):
        for root in "/srv/example", "/home/somebody/www", "/var/www/html":
            with self.subTest(root=root):
                self.machine.write(f"{root}/index.html", "first")
                self.machine.write(CONFIG, self.shipped.replace("/usr/share/pywebd/www", root))
                self.machine.run("systemctl", "reload", "pywebd.service")
                for text in "first", "second", "third and longer":
                    self.machine.write(f"{root}/index.html", text)
                    self.assertEqual(self.get("/"), (200, text))
                self.machine.path(f"{root}/index.html").unlink()
                self.assertIn(self.get("/")[0], (403, 404))

    def test_an_edit_of_the_configuration_is_taken_up_by_itself(self):
        self.machine.write("/srv/example/index.html", "the example")
        here = self.since()
        self.machine.write(f"{SITES}/example.toml", SITE)
        until(
            lambda: any("site.example" in each for each in self.machine.messages(here)),
            "a message about the site",
        )

    def test_a_reload_prints_what_has_changed(self):
        self.machine.write("/srv/example/index.html", "the example")
        numbers = itertools.count()

        def is_told():
            # Another change each time: what the watch has taken up before is not told again.
            self.machine.write(f"{SITES}/example.toml", f'{SITE}index = ["{next(numbers)}.html"]\n')
            return "example" in self.machine.run("pywebd", "reload")

        until(is_told, "a reload before that of the watch")
        self.assertEqual(self.machine.show("pywebd.service", "ActiveState"), ["active"])

    def test_a_broken_configuration_fails_the_reload_and_changes_nothing(self):
        _, page = self.get("/")
        pid = self.machine.main_pid()
        here = self.since()
        self.machine.write(CONFIG, self.shipped + "\n[site.other]\nrot = 5\n")
        line = self.shipped.count("\n") + 3
        self.assertNotEqual(self.machine.status("systemctl", "reload", "pywebd.service"), 0)
        self.assertEqual(self.get("/"), (200, page))
        self.assertEqual(self.machine.main_pid(), pid)
        self.assertEqual(self.machine.state(), "active")
        place = f"pywebd.toml:{line}:"

        def is_logged():
            entries = self.machine.journal(here, "--unit=pywebd.service")
            found = [entry for entry in entries if place in str(entry["MESSAGE"])]
            return "3" in {entry["PRIORITY"] for entry in found}

        until(is_logged, "an error with the place of the mistake")
        status = self.machine.text("systemctl", "status", "pywebd.service")
        self.assertRegex(status, r"Status: .*(?i:reload failed)")

        self.machine.write(CONFIG, self.shipped)
        self.machine.run("systemctl", "reload", "pywebd.service")
        status = self.machine.text("systemctl", "status", "pywebd.service")
        self.assertNotRegex(status, r"Status: .*(?i:reload failed)")
        self.assertEqual(self.machine.main_pid(), pid)

    def test_a_stop_leaves_no_listener_and_a_start_brings_all_back(self):
        self.machine.run("systemctl", "stop", "pywebd.service")
        until(lambda: 80 not in self.machine.listeners(), "the end of the listener")
        with self.assertRaises(ConnectionRefusedError):
            self.get("/")
        for unit in "pywebd.service", "pywebd.socket", "pywebd-cgi.service":
            self.assertNotEqual(self.machine.state(unit), "active", unit)
        self.machine.run("systemctl", "start", "pywebd.service")
        self.assertEqual(self.get("/cgi-bin/env.sh")[0], 200)

    def test_a_start_right_behind_a_stop_has_the_port(self):
        # The removal of what that makes holds the socket for a moment (packaging/README.md).
        self.assertEqual(self.machine.show("pywebd.service", "PrivateTmp"), ["no"])
        for _ in range(8):
            self.machine.run("sh", "-ec", "systemctl stop pywebd.service; systemctl start pywebd.service")
            self.assertEqual(self.get("/")[0], 200)

    def test_an_upload_that_is_taken_in_first_lies_on_disk(self):
        self.machine.write("/srv/example/cgi-bin/upload", UPLOAD, mode=0o755)
        self.machine.write(f"{SITES}/example.toml", f'{SITE}path."/cgi-bin/" = {{ cgi = true, spool = true }}\n')
        self.machine.run("systemctl", "reload", "pywebd.service")
        fields = ["--header", "Host: example.org", "--header", "Transfer-Encoding: chunked"]
        sent = [*fields, "--data", "words"]
        answer = self.machine.run("curl", "--silent", *sent, "http://127.0.0.1/cgi-bin/upload")
        length, filesystem, content = answer.split()
        self.assertEqual((length, content), ("5", "words"))
        self.assertNotEqual(filesystem, "tmpfs")
        self.assertEqual(self.machine.text("ls", "-A", "/var/lib/pywebd"), "")

    def test_a_broken_configuration_fails_the_start_for_good(self):
        self.machine.run("systemctl", "stop", "pywebd.service")
        self.machine.write(CONFIG, "version = 1\nnonsense = true\n")
        here = self.since()
        self.assertNotEqual(self.machine.status("systemctl", "start", "pywebd.service"), 0)
        state = self.machine.show("pywebd.service", "ActiveState", "ExecMainStatus", "NRestarts")
        self.assertEqual(state, ["failed", "78", "0"])
        # Nothing is tried again by the rest of it.
        for unit in "pywebd-cgi.service", "pywebd.socket", "pywebd-cgi.socket":
            until(lambda unit=unit: self.machine.state(unit) == "inactive", f"the end of {unit}")
        status = self.machine.text("systemctl", "status", "pywebd.service")
        self.assertIn("CONFIG", status)
        # Not in the status: a journal that is late cannot tell any more whose message it was.
        said = [each for each in self.machine.messages(here) if "does not start" in each]
        self.assertTrue(any("pywebd.toml:2:" in each for each in said), said)
        self.machine.write(CONFIG, self.shipped)
        self.machine.run("systemctl", "start", "pywebd.service")
        self.assertEqual(self.get("/cgi-bin/env.sh")[0], 200)

    def test_a_broken_configuration_at_a_restart_fails_visibly_too(self):
        self.machine.write(CONFIG, "version = 1\nnonsense = true\n")
        self.assertNotEqual(self.machine.status("systemctl", "restart", "pywebd.service"), 0)
        self.assertEqual(self.machine.show("pywebd.service", "NRestarts"), ["0"])
        self.assertEqual(self.machine.state(), "failed")

    def test_a_port_that_another_server_has_is_told_by_both_units(self):
        self.machine.run("systemctl", "stop", "pywebd.service")
        until(lambda: 80 not in self.machine.listeners(), "the end of the listener")
        self.machine.run("systemd-run", "--unit=other", "python3", "-m", "http.server", "80")
        self.addCleanup(self.machine.text, "systemctl", "stop", "other.service")
        until(lambda: 80 in self.machine.listeners(), "the other server")
        here = self.since()
        self.assertNotEqual(self.machine.status("systemctl", "start", "pywebd.service"), 0)
        state = self.machine.show("pywebd.service", "ActiveState", "ExecMainStatus", "NRestarts")
        self.assertEqual(state, ["failed", "77", "0"])
        said = [each for each in self.machine.messages(here) if "cannot listen on" in each]
        self.assertIn("`systemctl status pywebd.socket` tells why", said[0])
        status = self.machine.text("systemctl", "status", "pywebd.socket")
        self.assertIn("Address already in use", status)
        self.machine.run("systemctl", "stop", "other.service")
        self.machine.run("systemctl", "start", "pywebd.service")
        self.assertEqual(self.get("/")[0], 200)

    def drop_in(self, name):
        """Changes the units by an example, as that says itself."""
        example = self.machine.path(f"{DROP_INS}/{name}").read_text()
        self.addCleanup(self.machine.run, "systemctl", "daemon-reload")
        for unit in re.findall(r"/etc/systemd/system/(\S+)\.d/", example):
            place = f"/etc/systemd/system/{unit}.d/{name}"
            self.machine.write(place, example)
            self.addCleanup(self.machine.path(place).unlink)
        self.machine.run("systemctl", "daemon-reload")

    def test_the_drop_in_for_low_ports_lets_the_service_bind_them(self):
        self.drop_in("low-ports.conf")
        self.machine.write(
            CONFIG, self.shipped.replace("[server]\n", '[server]\nlisten = ["[::]:80", "[::]:81"]\n')
        )
        self.machine.run("systemctl", "restart", "pywebd.service")
        self.assertEqual(self.get("/", port=81)[0], 200)
        status = self.machine.process_status(self.machine.main_pid())
        self.assertEqual({int(status[name], 16) for name in ("CapInh", "CapAmb")}, {0})
        self.assertEqual(self.complaints(), [])

    def test_the_drop_in_for_another_port_moves_the_server(self):
        # Before the example is taken back, which would leave no unit with that port. Nobody waits for the
        # socket's stop, and a start that comes before it keeps the old socket.
        self.addCleanup(until, lambda: 8080 not in self.machine.listeners(), "the end of the socket")
        self.addCleanup(self.machine.run, "systemctl", "stop", "pywebd.service")
        self.drop_in("port.conf")
        self.machine.run("systemctl", "stop", "pywebd.service")
        until(lambda: 80 not in self.machine.listeners(), "the end of the socket")
        self.machine.write(
            CONFIG, self.shipped.replace("[server]\n", '[server]\nlisten = ["[::]:8080"]\n')
        )
        self.machine.run("systemctl", "start", "pywebd.service")
        self.assertEqual(self.get("/", port=8080)[0], 200)
        with self.assertRaises(ConnectionRefusedError):
            ask("/")

    def test_sockets_of_addresses_to_come_and_of_names_outlive_a_restart(self):
        name, later = "/run/pywebd/http.sock", "203.0.113.9"
        drop_in = "/etc/systemd/system/pywebd.socket.d/more.conf"
        self.machine.run("systemctl", "stop", "pywebd.service")
        until(lambda: 80 not in self.machine.listeners(), "the end of the socket")
        self.addCleanup(until, lambda: 81 not in self.machine.listeners(), "the end of the socket")
        self.addCleanup(self.machine.run, "systemctl", "stop", "pywebd.service")
        self.addCleanup(self.machine.run, "systemctl", "daemon-reload")
        self.addCleanup(self.machine.path(drop_in).unlink)
        self.machine.write(drop_in, f"[Socket]\nListenStream={later}:81\nListenStream={name}\n")
        listen = json.dumps(["[::]:80", f"{later}:81", f"unix:{name}"])
        self.machine.write(CONFIG, self.shipped.replace("[server]\n", f"[server]\nlisten = {listen}\n"))
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "start", "pywebd.service")
        self.machine.run("systemctl", "restart", "pywebd.service")
        self.machine.run("ip", "address", "add", f"{later}/32", "dev", "lo")
        self.addCleanup(self.machine.run, "ip", "address", "delete", f"{later}/32", "dev", "lo")
        for place in [f"http://{later}:81/"], ["--unix-socket", name, "http://localhost/"]:
            self.machine.run("curl", "--silent", "--fail", "--output", "/dev/null", *place)

    def test_the_drop_in_for_credentials_gives_a_file_that_only_root_can_read(self):
        self.drop_in("credentials.conf")
        self.machine.write("/root/members.htpasswd", MEMBERS, mode=0o600)
        place = "${CREDENTIALS_DIRECTORY}/members.htpasswd"
        auth = f'[site.default.path."/"]\nauth = {{ basic = "{place}", realm = "Members" }}\n'
        self.machine.write(CONFIG, self.shipped + auth)
        self.machine.run("systemctl", "restart", "pywebd.service")
        self.assertEqual(self.get("/")[0], 401)
        for target in "/", "/cgi-bin/time.py":
            self.assertEqual(self.get(target, fields=["Authorization: Basic YWRhOnNlY3JldA=="])[0], 200)

    def test_the_drop_in_for_users_lets_scripts_run_as_others(self):
        self.drop_in("users.conf")
        self.machine.write(CONFIG, self.shipped.replace("cgi = true\n", 'cgi = true\nuser = "nobody"\n', 1))
        self.machine.run("systemctl", "restart", "pywebd.service")
        self.assertIn("(nobody)", self.get("/cgi-bin/env.sh")[1])

    def test_the_service_runs_with_each_of_the_other_drop_ins(self):
        for name in OTHER_DROP_INS:
            with self.subTest(name=name):
                self.drop_in(name)
                self.machine.run("systemctl", "restart", "pywebd.service")
                self.assertEqual(self.get("/")[0], 200)
                self.assertEqual(self.get("/cgi-bin/time.py")[0], 200)
                self.doCleanups()
        tried = {"low-ports.conf", "port.conf", "credentials.conf", "users.conf", *OTHER_DROP_INS}
        self.assertEqual({path.name for path in self.machine.path(DROP_INS).iterdir()}, tried)

    def test_an_access_log_can_be_read_by_its_group(self):
        log = "/var/log/pywebd/access.log"
        access = f'[log]\naccess = {{ file = "{log}" }}\n'
        self.machine.write(CONFIG, self.shipped.replace("[log]\n", access))
        self.machine.run("systemctl", "reload", "pywebd.service")
        self.assertEqual(self.machine.text("stat", "--format=%a %U %G", log), "640 pywebd pywebd")

    def test_a_server_that_is_killed_is_started_again(self):
        pid = self.machine.main_pid()
        self.machine.run("kill", "-KILL", pid)
        until(lambda: self.machine.main_pid() != pid, "the end")
        # What comes meanwhile waits in the socket.
        self.assertEqual(self.get("/")[0], 200)
        self.assertNotIn(self.machine.main_pid(), (0, pid))
        self.assertEqual(self.machine.show("pywebd.service", "NRestarts"), ["1"])

    def test_a_launcher_that_is_killed_is_started_again(self):
        pid = self.machine.main_pid("pywebd-cgi.service")
        self.machine.run("kill", "-KILL", pid)
        self.assertEqual(self.get("/cgi-bin/env.sh")[0], 200)
        self.assertNotIn(self.machine.main_pid("pywebd-cgi.service"), (0, pid))

    def test_the_status_is_told_to_root_while_the_server_runs(self):
        told = json.loads(self.machine.run("pywebd", "status", "--json"))
        self.assertEqual(told["pid"], self.machine.main_pid())
        self.assertEqual([each["origin"] for each in told["listeners"]], ["passed"])
        self.assertIn("default", self.machine.run("pywebd", "status"))
        self.machine.run("systemctl", "stop", "pywebd.service")
        self.assertEqual(self.machine.status("pywebd", "status"), 69)

    def test_the_watchdog_restarts_a_server_that_stands_still(self):
        drop_in = "/run/systemd/system/pywebd.service.d/watchdog.conf"
        self.assertNotEqual(self.machine.show("pywebd.service", "WatchdogUSec"), ["0"])
        self.machine.write(drop_in, "[Service]\nWatchdogSec=10s\n")
        self.addCleanup(self.machine.run, "systemctl", "daemon-reload")
        self.addCleanup(self.machine.path(drop_in).unlink)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "restart", "pywebd.service")
        pid = self.machine.main_pid()
        here = self.since()
        self.machine.run("kill", "-STOP", pid)
        # systemd wakes the server that it aborts, which may take a connection before its end.
        until(lambda: self.machine.main_pid() != pid, "the end")
        self.assertEqual(self.get("/")[0], 200)
        self.assertNotIn(self.machine.main_pid(), (0, pid))
        self.assertTrue(any("atchdog" in each for each in self.machine.messages(here)))

    def test_a_launcher_that_stands_still_is_told_of_and_restarted(self):
        unit = "pywebd-cgi.service"
        directory = f"/run/systemd/system/{unit}.d"
        self.machine.write(f"{directory}/watchdog.conf", "[Service]\nWatchdogSec=16s\n")
        self.addCleanup(self.machine.run, "systemctl", "daemon-reload")
        self.addCleanup(self.machine.path(f"{directory}/watchdog.conf").unlink)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "restart", "pywebd.service")
        self.assertEqual(self.get("/cgi-bin/time.py")[0], 200)
        for command in [
            "kill -STOP {pid}",
            # What a script of the launcher's own user could do to it.
            "echo 1 > /sys/fs/cgroup$(sed -n s/^0:://p /proc/{pid}/cgroup)/cgroup.freeze",
        ]:
            pid = self.machine.main_pid(unit)
            self.machine.run("sh", "-c", command.format(pid=pid))
            self.assertIn("problem: the launcher does not answer", self.machine.run("pywebd", "status"))
            until(lambda: self.machine.main_pid(unit) not in (0, pid), "another launcher")
            self.assertEqual(self.get("/cgi-bin/time.py")[0], 200)
            until(
                lambda: "problem: the launcher" not in self.machine.run("pywebd", "status"),
                "a launcher that answers",
            )

    def test_the_network_process_can_do_nothing_but_serve(self):
        self.assertEqual(self.complaints(), [], "it could not give up what it wanted to")
        pid = self.machine.main_pid()
        status = self.machine.process_status(pid)
        for name in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
            self.assertEqual(int(status[name], 16), 0, name)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        self.assertNotIn("0", status["Uid"].split())
        self.machine.write("/root/probe.py", PROBE)
        for directory in "/tmp", "/var/tmp":
            self.machine.write(f"{directory}/others", "temporary files of others")
        probed = self.machine.run("python3", "/root/probe.py", pid, "pywebd")
        self.assertEqual(probed.split(), ["done"], "it can do these")

    def test_scripts_cannot_gain_rights(self):
        status = self.machine.process_status(self.machine.main_pid("pywebd-cgi.service"))
        self.assertEqual((status["NoNewPrivs"], int(status["CapEff"], 16)), ("1", 0))

    def test_the_units_are_right_and_not_exposed(self):
        self.assertEqual(self.machine.run("systemd-analyze", "verify", "--man=no", *UNITS), "")
        for unit, most in EXPOSURE.items():
            analysis = self.machine.text("systemd-analyze", "security", "--no-pager", unit)
            exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", analysis)[1])
            print(f"{machine.RELEASE}: systemd-analyze security {unit}: {exposure}")
            self.assertLessEqual(exposure, most, unit)


if __name__ == "__main__":
    unittest.main()
