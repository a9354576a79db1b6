"""A record of each request to the journal, and what stands there for journald."""

import json
import socket
import subprocess
import threading
import time
from contextlib import ExitStack

from bench import COST, Table, compare
from load import Load
from servers import HANG, Setup

AGAIN = 0.01

ASKED = Load("/1k.bin")


class Journal:
    """`with Journal(RUN) as journal:` counts the records that come to the socket in this /run.

    A journald that writes them down is neither measured nor filled with them.
    """

    def __init__(self, run):
        self.path = run / "systemd/journal/socket"
        self.records = 0

    def __enter__(self):
        self.path.parent.mkdir(parents=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        threading.Thread(target=self.read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)

    def read(self):
        buffer = bytearray(1 << 16)
        while received := self.socket.recv_into(buffer):
            self.records += buffer.find(b"\nPYWEBD_STATUS", 0, received) >= 0
        self.socket.close()

    def missing(self, running):
        """How many of the requests that the server has counted have no record, in the end."""
        command = [running.server.programs[0], "status", "--json", "--control", running.control]
        outcome = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=HANG)
        requests = json.loads(outcome.stdout)["requests"]
        end = time.monotonic() + HANG
        while self.records < requests and time.monotonic() < end:
            time.sleep(AGAIN)
        # What was on its way when the server was asked has one, too.
        return max(requests - self.records, 0)


def records(bench):
    """1 KiB without records and with them; what the writer of records does later is counted, too."""
    setup = Setup(bench.root)
    servers = [server for server in bench.fit(setup) if server.name == "pywebd"]
    servers += bench.fit(setup, "records")
    rounds = {server.name: [] for server in servers}
    with ExitStack() as stack:
        running = []
        for server in servers:
            one = bench.running(setup, server)
            one.journal = None
            if server.records:
                one.journal = stack.enter_context(Journal(one.directory / "run"))
            running.append(stack.enter_context(one))
            one.await_answer(ASKED.path)
            bench.warm(one, ASKED)
        for _ in range(bench.rounds):
            for one in running:
                rounds[one.server.name].append(measure(bench, one))
    rows = compare(rounds)
    for row in rows.values():
        row["÷ without"] = row[COST] / rows["pywebd"][COST] if "pywebd" in rows else "–"
    return Table("A file of 1 KiB, 64 connections, with a record of each request", rows)


def measure(bench, running):
    """A round, until all is written down."""
    missing = 0

    def settle():
        nonlocal missing
        missing = running.journal.missing(running)

    settle = settle if running.journal else None
    return bench.measure(running, ASKED, settle=settle) | {"records missing": missing}
