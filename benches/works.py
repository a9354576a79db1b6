"""The works: what each asks for, and the table that comes of it."""

import statistics
from contextlib import ExitStack
from dataclasses import dataclass

import load
import process
from load import Load
from servers import Running, Setup

# What is compared with pywebd; the floor is no server.
FLOOR = "floor"

# A server knows its files before it is measured, for a part of the time of a round.
WARM = 0.5


@dataclass
class Table:
    """What a work has found: a row for each server, of values by the names of columns."""

    title: str
    columns: list
    rows: dict
    note: str = ""


@dataclass
class Bench:
    """What all works are given: servers, the place of files, and how long to measure."""

    servers: list
    directory: object
    root: object
    seconds: float
    rounds: int

    def run(self, stack, setup, server, **options):
        running = Running(server, setup, self.directory, **options)
        return stack.enter_context(running)

    def fit(self, setup, *wanted):
        """The servers that are here and do what the attributes say."""
        return [
            server
            for server in self.servers
            if not server.missing(setup)
            and server.records == ("records" in wanted)
            and all(getattr(server, name) for name in wanted)
        ]


@dataclass
class Requests:
    """A work of requests, one after the other on many connections."""

    title: str
    load: Load
    content: bytes
    # What the floor does, where it is to be compared with.
    floor: tuple = None
    # Whether it is looked at how soon an edit shows.
    edit: bool = False
    scripts: bool = False
    # Whether the time is that of the server's processor, since not all wait for their children.
    whole_processor: bool = False

    def __call__(self, bench):
        setup = Setup(bench.root, scripts=self.scripts, floor=self.floor or ())
        wanted = ["has_scripts"] if self.scripts else []
        chosen = bench.fit(setup, *wanted)
        if self.floor is None:
            chosen = [server for server in chosen if server.name != FLOOR]
        found = {server.name: [] for server in chosen}
        with ExitStack() as stack:
            running = [bench.run(stack, setup, server) for server in chosen]
            for one in running:
                one.await_answer(self.load.path, None if one.server.name == FLOOR else self.content)
                load.wrk(self.load, one.port, min(WARM, bench.seconds), bench.directory)
            # Noise of the machine meets all alike.
            for _ in range(bench.rounds):
                for one in running:
                    found[one.server.name].append(measure(bench, one, self.load, self.whole_processor))
            table = Table(self.title, *compare(found))
            if self.edit:
                self.look_at_an_edit(bench, running, table)
        return table

    def look_at_an_edit(self, bench, running, table):
        """Replaces the file, and notes who answers with the new one at once."""
        file, other = bench.root / self.load.path[1:], bench.root / "other"
        table.columns.append("an edit shows")
        for number, one in enumerate(running, 1):
            edited = number.to_bytes(2, "big") * number
            other.write_bytes(edited)
            # It was asked for just now.
            one.ask(self.load.path)
            other.replace(file)
            at_once = one.ask(self.load.path) == (200, edited)
            answer = "–" if one.server.name == FLOOR else "at once" if at_once else "later"
            table.rows[one.server.name]["an edit shows"] = answer
        file.write_bytes(self.content)


def measure(bench, running, asked, whole_processor=False):
    """One round of one server."""
    before = used(running, whole_processor)
    counted = load.wrk(asked, running.port, bench.seconds, bench.directory)
    seconds = used(running, whole_processor) - before
    return {
        "requests/s": counted.requests / counted.seconds,
        "CPU µs/request": 1e6 * seconds / max(counted.requests, 1),
        "memory MiB": process.memory(running.tree()) / 1024,
        "failed": counted.failed,
    }


def used(running, whole_processor):
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


def compare(found):
    """The columns and rows of servers, with their processor time beside that of the best peer and of the
    floor."""
    rows = {name: medians(rounds) for name, rounds in found.items()}
    cost = {name: row["CPU µs/request"] for name, row in rows.items()}
    peers = [value for name, value in cost.items() if name != FLOOR and not name.startswith("pywebd")]
    for name, row in rows.items():
        if peers:
            row["CPU ÷ best peer"] = cost[name] / max(min(peers), 1e-9)
        if FLOOR in cost:
            row["CPU ÷ floor"] = cost[name] / max(cost[FLOOR], 1e-9)
    return list(next(iter(rows.values()), {})), rows


WORKS = {
    "small": Requests(
        "A file of 1 KiB, 64 connections", Load("/1k.bin"), bytes(1024), floor=(), edit=True
    ),
}
