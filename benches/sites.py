"""10,000 sites: how long a check, a start and a reload take, and what a request costs."""

import os
import shutil
import subprocess
import time

import load
import process
from bench import COST, Table, medians
from load import Load, shuffled
from servers import HANG, Setup

SITES = 10_000
PATH = "/k.bin"

# Seconds in which each site is asked once.
VISIT = 4

KIB = 1024


def sites(bench):
    """One server after the other, since each takes memory and a start has the processor for itself."""
    roots = bench.directory / "sites"
    hosts = {f"site{number}.example": roots / str(number) for number in range(SITES)}
    for number, root in enumerate(hosts.values()):
        root.mkdir(parents=True)
        (root / PATH[1:]).write_bytes(content(number))
    setup = Setup(bench.root, sites=hosts)
    rows = {server.name: measure(bench, setup, server) for server in bench.fit(setup, "has_sites")}
    shutil.rmtree(roots)
    return Table(f"{SITES:,} sites with a root each, in one file of configuration", rows)


def content(number):
    return str(number).encode().ljust(KIB)


def measure(bench, setup, server):
    first, last = list(setup.sites)[0], list(setup.sites)[-1]
    one = Load(PATH, requests=((PATH, last),))
    every = Load(PATH, requests=shuffled((PATH, host) for host in setup.sites))
    running = bench.running(setup, server)
    checked = check(running)
    begun = time.monotonic()
    with running:
        running.await_answer(PATH, content(SITES - 1), last)
        started = time.monotonic() - begun
        memory = process.memory(running.tree()) / KIB
        rounds = {"one": [], "every": []}
        # What a site's first request has to look up is not measured: all are asked once before.
        load.wrk(every, running.port, VISIT, bench.directory)
        bench.warm(running, one)
        for _ in range(bench.rounds):
            rounds["one"].append(bench.measure(running, one))
            rounds["every"].append(bench.measure(running, every))
        # The last site has the root of the first from now on.
        changed = {**setup.sites, last: setup.sites[first]}
        server.configure(Setup(setup.root, sites=changed), running.directory, running.port)
        begun = time.monotonic()
        server.reload(running)
        running.await_answer(PATH, content(0), last)
        reloaded = time.monotonic() - begun
    of_one, of_every = medians(rounds["one"]), medians(rounds["every"])
    return {
        "check ms": 1000 * checked,
        "start ms": 1000 * started,
        "reload ms": 1000 * reloaded,
        "memory MiB": memory,
        f"{COST}, one site": of_one[COST],
        f"{COST}, all sites": of_every[COST],
        "requests/s, all sites": of_every["requests/s"],
        "failed": of_one["failed"] + of_every["failed"],
    }


def check(running):
    """Seconds that a check of the configuration takes."""
    command = list(map(str, running.server.check(running.directory)))
    begun = time.monotonic()
    outcome = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=HANG,
        preexec_fn=lambda: os.sched_setaffinity(0, running.processors),
    )
    if outcome.returncode:
        said = outcome.stdout.decode(errors="replace")
        raise SystemExit(f"benches/run: {running.server.name} finds a mistake:\n{said[-2000:]}")
    return time.monotonic() - begun
