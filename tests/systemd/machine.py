"""A machine with systemd in which pywebd is installed as a person would: one of Debian's releases in a
container of systemd-nspawn. Its root is an overlay, so that each begins anew.

The tests are its clients: they run in a network namespace that is joined to the container's by a pair
of interfaces, and have several addresses there.
"""

import atexit
import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HANG = 60

# How soon something is looked at again that nobody tells about.
AGAIN = 0.02

RELEASE = os.environ.get("RELEASE", "")
ROOT = Path(os.environ.get("ROOT", "."))
PACKAGES = Path(os.environ.get("PACKAGES", "."))

# The addresses of the machine, and of the clients: some that are private and one that is public, of
# those that RFC 5737 keeps for documentation.
HOST = "10.20.0.100"
PRIVATE = [f"10.20.0.{number}" for number in range(1, 9)]
PUBLIC_HOST = "198.51.100.100"
PUBLIC = "198.51.100.1"
HOST_6 = "fd00:20::100"
PRIVATE_6 = "fd00:20::1"

ADDRESSES = {
    "web": [f"{HOST}/24", f"{PUBLIC_HOST}/24", f"{HOST_6}/64"],
    "clients": [*(f"{each}/24" for each in PRIVATE), f"{PUBLIC}/24", f"{PRIVATE_6}/64"],
}

# What a program in the container sees of the environment of the tests: nothing.
ENVIRONMENT = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "TERM=dumb",
    "DEBIAN_FRONTEND=noninteractive",
    "SYSTEMD_COLORS=0",
]

# The journal of a machine has room for what the tests ask for. Lines about units alone are left: the
# kernel's are those of the machine that all containers run on.
JOURNALD = "[Journal]\nStorage=persistent\nSystemMaxUse=1G\nSystemKeepFree=1M\nReadKMsg=no\n"


def until(condition, what, patience=HANG):
    """Waits until something is true, and returns that."""
    end = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < end, f"it was waited for in vain: {what}"
        time.sleep(AGAIN)
    return value


def control_groups():
    """Where this process is in the hierarchies that systemd works in."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, kind = line.split(" - ")
        _, _, _, root, mounted, *_ = fields.split()
        if kind.startswith("cgroup2 "):
            yield Path(mounted) / os.path.relpath(own[""], root)
        elif "name=systemd" in kind:
            yield Path(mounted) / os.path.relpath(own["name=systemd"], root)


class Machine:
    """`with Machine() as machine:` boots one, and powers it off."""

    # Those that have booted.
    running = []

    def __init__(self):
        self.name = f"pywebd-{RELEASE}-{os.getpid()}"
        self.groups = [group / self.name for group in control_groups()]

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="pywebd-systemd-")
        journald = Path(self.directory.name, "journald.conf")
        journald.write_text(JOURNALD)
        self.boot_log = Path(self.directory.name, "boot.log")
        # A group of its own: containers side by side in one would share all groups of their units.
        for group in self.groups:
            group.mkdir()
        enter = 'n=$1; shift; while [ $n -gt 0 ]; do echo $$ >"$1"; shift; n=$((n - 1)); done'
        self.process = subprocess.Popen(
            # However the tests end, the container is told to power off.
            ["setpriv", "--pdeathsig=TERM", "sh", "-ec", f'{enter}; exec "$@"', "sh"]
            + [str(len(self.groups)), *(group / "cgroup.procs" for group in self.groups)]
            + ["systemd-nspawn", "--quiet", "--boot", "--private-network", "--volatile=overlay"]
            + [f"--directory={ROOT}", f"--machine={self.name}", "--register=no", "--keep-unit"]
            + [f"--bind-ro={PACKAGES}:/opt/packages"]
            + [f"--bind-ro={journald}:/etc/systemd/journald.conf.d/tests.conf"],
            stdin=subprocess.DEVNULL,
            stdout=self.boot_log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        atexit.register(self.power_off)
        try:
            state = until(self.booted, "the boot")
            assert state == "running", self.text("systemctl", "--failed")
        except AssertionError:
            print(self.boot_log.read_text(errors="replace"))
            self.power_off()
            raise
        self.join_networks()
        self.running.append(self)
        return self

    def __exit__(self, *_):
        begun = time.monotonic()
        self.running.remove(self)
        self.power_off()
        assert time.monotonic() - begun < HANG, "the machine was not powered off by itself"

    def power_off(self):
        """As a machine's button does."""
        atexit.unregister(self.power_off)
        if self.process.returncode is None:
            self.process.terminate()
            try:
                self.process.wait(HANG)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        # It goes with the container's end of it, which the kernel takes apart later.
        subprocess.run(["ip", "link", "delete", "clients"], stderr=subprocess.DEVNULL, check=False)
        for group in self.groups:
            for directory, _, _ in os.walk(group, topdown=False):
                os.rmdir(directory)
        self.directory.cleanup()

    def booted(self):
        """How the machine has started, once it has. Its first process is systemd-nspawn's only child,
        but for one that makes it.
        """
        assert self.process.poll() is None, "the container has ended"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for self.leader in children.split():
            state = self.text("systemctl", "is-system-running")
            if state in ("running", "degraded"):
                return state
        return None

    def join_networks(self):
        ip("link", "set", "lo", "up")
        pair = ["add", "clients", "type", "veth", "peer", "name", "web", "netns", self.leader]
        ip("link", *pair)
        for name, addresses in ADDRESSES.items():
            entered = ["nsenter", f"--net=/proc/{self.leader}/ns/net"] if name == "web" else []
            for address in addresses:
                options = ["nodad"] if ":" in address else []
                ip("address", "add", address, "dev", name, *options, through=entered)
            ip("link", "set", name, "up", through=entered)

    def run(self, *command, expected=0):
        """Runs a command as root in the container; its exit status has to be the one expected,
        unless that is absent.
        """
        enter = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        done = subprocess.run(
            [*enter, "--cgroup", "env", "--ignore-environment", *ENVIRONMENT, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=3 * HANG,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        assert expected in (None, done.returncode), (
            f"{shlex.join(map(str, command))} ended with {done.returncode}:\n{text}"
        )
        return text

    def text(self, *command):
        """What a command prints, whatever its exit status is."""
        return self.run(*command, expected=None).strip()

    def status(self, *command):
        """A command's exit status."""
        return int(self.text("sh", "-c", '"$@" >/dev/null 2>&1; echo $?', "sh", *command))

    def path(self, name):
        """Where the tests find a file of the container."""
        return Path(f"/proc/{self.leader}/root{name}")

    def write(self, name, text, mode=0o644):
        """Replaces a file in the way of most editors: another file takes its name."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.chmod(mode)
        beside.rename(path)

    def install(self, package="pywebd.deb"):
        """What apt prints when it installs one of the packages that were built."""
        command = ["apt-get", "install", "--yes", "--no-install-recommends"]
        return self.run(*command, f"/opt/packages/{package}")

    def show(self, unit, *properties):
        """Properties of a unit, as text."""
        lines = self.run("systemctl", "show", unit, f"--property={','.join(properties)}")
        found = dict(line.split("=", 1) for line in lines.splitlines())
        return [found[name] for name in properties]

    def main_pid(self, unit="pywebd.service"):
        """The id of a unit's process in the container."""
        return int(self.show(unit, "MainPID")[0])

    def process_status(self, pid):
        """The fields of /proc/PID/status of a process of the container."""
        text = self.run("cat", f"/proc/{pid}/status")
        fields = (line.split(":", 1) for line in text.splitlines())
        return {name: value.strip() for name, value in fields}

    def journal(self, *arguments):
        """Entries of the journal, all that was sent until now among them."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--output=json", "--no-pager", "--all", *arguments)
        return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]

    def messages(self, *arguments):
        """The messages of these entries, as lines."""
        found = (entry.get("MESSAGE") for entry in self.journal(*arguments))
        return [each if isinstance(each, str) else str(bytes(each or [])) for each in found]

    def listeners(self):
        """The ports that something in the container listens at."""
        lines = self.run("ss", "--no-header", "--listening", "--tcp", "--numeric").splitlines()
        return {int(line.split()[3].rpartition(":")[2]) for line in lines}

    def state(self, unit="pywebd.service"):
        return self.text("systemctl", "is-active", unit)


def ip(*arguments, through=()):
    subprocess.run([*through, "ip", *arguments], check=True, timeout=HANG)


def ask(target, client=PRIVATE[0], host=HOST, port=80, method="GET", content=None, fields=()):
    """Asks on a connection of its own: the status, the fields and the content of the answer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(HANG)
        connection.bind((client, 0))
        connection.connect((host, port))
        name = f"[{host}]" if ":" in host else host
        lines = [f"{method} {target} HTTP/1.1", f"Host: {name}", "Connection: close", *fields]
        if content is not None:
            lines.append(f"Content-Length: {len(content)}")
        head = "".join(f"{line}\r\n" for line in [*lines, ""])
        connection.sendall(head.encode("latin-1") + (content or b""))
        answer = connection.makefile("rb").read()
    head, _, content = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    if fields.get("transfer-encoding") == "chunked":
        content = b"".join(chunks(content))
    return int(status.split()[1]), fields, content.decode(errors="replace")


def chunks(content):
    """The chunks of a chunked content, which has to have an end."""
    while True:
        size, newline, content = content.partition(b"\r\n")
        if not newline:
            raise ConnectionError("the content was cut off")
        length = int(size, 16)
        if length == 0:
            return
        yield content[:length]
        content = content[length + 2 :]
