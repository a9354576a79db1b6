"""Processor time and memory of processes, as /proc tells them, and on which processors they run."""

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")

# Processors for the server and for the client; one is both where there is no other.
PROCESSORS = sorted(os.sched_getaffinity(0))
SERVER, CLIENT = PROCESSORS[0], PROCESSORS[-1]


def fields(process):
    """The fields of a process's stat from its state on, or none where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def tree(*roots):
    """These processes and all that descend from them."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := fields(name)):
            parents[int(name)] = int(found[1])
    members = {root for root in roots if root in parents}
    while more := {child for child, parent in parents.items() if parent in members} - members:
        members |= more
    return members


def processor_time(members):
    """Seconds that they have used, and the children that they have waited for."""
    return sum(int(ticks) for process in members for ticks in fields(process)[11:15]) / TICK


def busy_time(processor):
    """Seconds in which a processor was not idle, from an arbitrary beginning."""
    now = time.monotonic()
    with open("/proc/stat", encoding="ascii") as lines:
        line = next(line.split() for line in lines if line.startswith(f"cpu{processor} "))
    idle, wait, stolen = int(line[4]), int(line[5]), int(line[8])
    return now - (idle + wait + stolen) / TICK


def kib(process, file, name):
    """A value of one of a process's files."""
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def memory(members):
    """KiB that they have in memory, what is shared with others by halves; whole where a process hides
    its map from its user, as pywebd does from all but root."""
    total = 0
    for process in members:
        try:
            total += kib(process, "smaps_rollup", "Pss")
        except PermissionError:
            total += kib(process, "status", "VmRSS")
    return total


def peak(members):
    """KiB that they have had in memory at most, each by itself."""
    return sum(kib(process, "status", "VmHWM") for process in members)
