"""What runs on this machine, and what of it belongs to a server: by its family, by its control group
and, for what has left both, by a mark."""

import os
import time
from pathlib import Path

from server import HANG

# How soon something is looked at again that nobody tells about.
AGAIN = 0.02

NO_GROUPS = (
    "scripts have no control groups of their own; "
    "where systemd runs, start the tests by systemd-run --scope -p Delegate=yes"
)

# Ways to run the server: as the user of this test, and, where that is root, as one without rights.
# Then it has no control groups, and an attendant for each script instead.
USERS = {"Own": None} if os.geteuid() else {"Root": None, "Nobody": "nobody"}


def until(condition, what):
    """Waits until something is true, and returns that."""
    end = time.monotonic() + HANG
    while not (value := condition()):
        assert time.monotonic() < end, f"it was waited for in vain: {what()}"
        time.sleep(AGAIN)
    return value


def read(process, name):
    """A file of /proc; empty where the process is gone."""
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except OSError:
        return b""


def running():
    """The ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def status(process, name):
    """A field of a process's status."""
    lines = read(process, "status").decode().splitlines()
    return next((line.split()[1] for line in lines if line.startswith(f"{name}:")), None)


def children(process):
    """The ids of a process's children, also of those that are not reaped."""
    return [other for other in running() if status(other, "PPid") == str(process)]


def launcher(server):
    """The process that starts scripts: the server's only child."""
    return until(
        lambda: next((pid for pid in children(server.process.pid) if is_launcher(pid)), None),
        lambda: "the launcher",
    )


def is_launcher(process):
    return read(process, "cmdline").startswith(b"pywebd-launcher\0")


def marked(mark, directory):
    """The processes with a mark in their environment or arguments, or at work in a directory."""
    found = {}
    for process in running():
        try:
            place = os.readlink(f"/proc/{process}/cwd")
        except OSError:
            place = ""
        words = read(process, "cmdline")
        if mark.encode() in words + read(process, "environ") or Path(directory) in [
            Path(place),
            *Path(place).parents,
        ]:
            found[process] = words
    return found


def control_group(process="self"):
    """The directory of a process's control group; absent where no others can be made in it."""
    if os.geteuid():
        return None
    name = next(
        line[3:] for line in read(process, "cgroup").decode().splitlines() if line.startswith("0::")
    )
    for line in read("self", "mountinfo").decode().splitlines():
        fields, kind = line.split(" - ")
        if kind.startswith("cgroup2 ") and "rw" in fields.split()[5].split(","):
            _, _, _, root, mounted, *_ = fields.split()
            return Path(mounted) / os.path.relpath(name, root)
    return None


def groups_of_scripts(launcher):
    """The control groups that a launcher has made for its scripts."""
    place = control_group()
    if place is None:
        return []
    own = place / f"pywebd.{launcher}"
    return [path for path in own.glob("*") if path.is_dir() and path.name != "main"]
