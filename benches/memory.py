"""What servers keep in memory: from the start, for connections that wait, for a large file."""

import resource
import time
from contextlib import ExitStack

import load
import process
from bench import Table, compare
from servers import Setup

CONNECTIONS = 2000

# Descriptors that are not of those connections.
OTHERS = 200

KIB = 1024
LARGE = 200 * KIB**2


def idle(bench):
    """Keep-alive connections that have had an answer each, to all servers at once, after some time."""
    setup = Setup(bench.root, connections=2 * CONNECTIONS)
    servers = bench.fit(setup)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(CONNECTIONS, (most - OTHERS) // max(len(servers), 1))
    wait = 8 * bench.seconds
    rows = {
        server.name: {"after the start MiB": after_start(bench, setup, server)} for server in servers
    }
    with ExitStack() as stack:
        started = [stack.enter_context(bench.running(setup, server)) for server in servers]
        for running in started:
            running.await_answer("/1k.bin")
        before = [process.memory(running.tree()) for running in started]
        opened = [
            stack.enter_context(load.Idle(running.port, count, "/1k.bin")) for running in started
        ]
        time.sleep(wait)
        for running, less, connections in zip(started, before, opened):
            more = process.memory(running.tree()) - less
            rows[running.server.name] |= {
                "more with the connections MiB": more / KIB,
                "KiB/connection": more / count,
                "failed": connections.failed,
            }
    what = f"{count:,} connections {wait:.3g} s after an answer on each"
    return Table(f"Memory after the start, and with {what}", rows)


def after_start(bench, setup, server):
    """By itself, since processes of one program share their memory."""
    with bench.running(setup, server) as running:
        running.await_answer("/1k.bin")
        return process.memory(running.tree()) / KIB


def large(bench):
    """One file of 200 MB after the other."""
    setup = Setup(bench.root)
    servers = [server for server in bench.fit(setup) if server.name != "floor"]
    rounds = {server.name: [] for server in servers}
    with ExitStack() as stack:
        running = [stack.enter_context(bench.running(setup, server)) for server in servers]
        for one in running:
            one.await_answer("/1k.bin")
            load.fetch(one.port, "/200m.bin", LARGE)
        for _ in range(bench.rounds):
            for one in running:
                rounds[one.server.name].append(fetches(one, bench.seconds))
    return Table("A file of 200 MB, one after the other", compare(rounds, "CPU ms/file"))


def fetches(running, seconds):
    """So many as there is time for."""
    before = process.processor_time(running.tree())
    took = []
    while sum(took) < seconds:
        took.append(load.fetch(running.port, "/200m.bin", LARGE))
    used = process.processor_time(running.tree()) - before
    return {
        "MB/s": len(took) * LARGE / 1e6 / sum(took),
        "CPU ms/file": 1000 * used / len(took),
        "peak memory MiB": process.peak(running.tree()) / KIB,
    }
