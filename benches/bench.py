"""What all works have in common: the servers, a measured round, and the table that comes of rounds."""

import statistics
from dataclasses import dataclass
from pathlib import Path

import load
import process
from servers import Running

# What is compared with, but is no server.
FLOOR = "floor"

COST = "CPU µs/request"

# A server is asked for so many seconds before it is measured, if a round is as long.
WARM = 0.5


@dataclass
class Table:
    """What a work has found: a row for each server, of values by the names of columns."""

    title: str
    rows: dict
    note: str = ""

    @property
    def columns(self):
        return list(next(iter(self.rows.values()), {}))


@dataclass
class Bench:
    """What all works are given: servers, the place of files, and how long to measure."""

    servers: list
    directory: Path
    root: Path
    seconds: float
    rounds: int

    def running(self, setup, server, **options):
        return Running(server, setup, self.directory, **options)

    def fit(self, setup, *wanted):
        """The servers that are here and do what these attributes of theirs say."""
        return [
            server
            for server in self.servers
            if not server.missing(setup)
            and server.records == ("records" in wanted)
            and all(getattr(server, name) for name in wanted)
        ]

    def warm(self, running, asked, **options):
        load.wrk(asked, running.port, min(WARM, self.seconds), self.directory, **options)

    def measure(self, running, asked, whole_processor=False, settle=None, **options):
        """One round of one server; what it still does until `settle` returns belongs to it."""
        before = used(running, whole_processor)
        counted = load.wrk(asked, running.port, self.seconds, self.directory, **options)
        if settle:
            settle()
        seconds = used(running, whole_processor) - before
        return {
            "requests/s": counted.requests / counted.seconds,
            COST: 1e6 * seconds / max(counted.requests, 1),
            "p99 ms": counted.p99 / 1000,
            "memory MiB": process.memory(running.tree()) / 1024,
            "failed": counted.failed,
        }


def used(running, whole_processor):
    """Seconds that a server has used; with `whole_processor`, that its processor was busy."""
    if whole_processor:
        return process.busy_time(process.SERVER)
    return process.processor_time(running.tree())


def medians(rounds):
    """The median of each value; of failures the sum."""
    return {
        name: sum(one[name] for one in rounds)
        if name == "failed"
        else statistics.median(one[name] for one in rounds)
        for name in rounds[0]
    }


def compare(found, cost=COST):
    """A row for each server, with what it costs beside the best peer and the floor."""
    rows = {name: medians(rounds) for name, rounds in found.items()}
    costs = {name: max(row[cost], 1e-9) for name, row in rows.items()}
    peers = [value for name, value in costs.items() if name != FLOOR and not name.startswith("pywebd")]
    for name, row in rows.items():
        if peers:
            row["CPU ÷ best peer"] = costs[name] / min(peers)
        if FLOOR in costs:
            row["CPU ÷ floor"] = costs[name] / costs[FLOOR]
    return rows
