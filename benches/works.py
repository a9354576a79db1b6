"""The works: what each asks for."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import process
from bench import COST, FLOOR, Table, compare, medians
from journal import records
from load import Load, shuffled
from memory import idle, large
from servers import Setup
from sites import sites

KIB = 1024
FILES = 10_000
HELLO = b"hello from a script\n"


@dataclass
class Requests:
    """A work of requests, one after the other on many connections."""

    title: str
    load: Load
    content: bytes
    # What the floor does, where it is to be compared with.
    floor: Optional[tuple] = None
    # Whether it is looked at how soon an edit shows.
    edit: bool = False
    # What has to be there beforehand.
    prepare: Callable = lambda bench: None
    # Scripts: then the time is that of the server's processor, since not every server waits for its
    # children, and who is not waited for leaves its time to nobody.
    scripts: bool = False

    def __call__(self, bench):
        self.prepare(bench)
        floor = [str(word).format(root=bench.root) for word in self.floor or ()]
        setup = Setup(bench.root, scripts=self.scripts, floor=floor)
        servers = bench.fit(setup, *(["has_scripts"] if self.scripts else []))
        servers = [server for server in servers if server.name != FLOOR or self.floor is not None]
        rounds = {server.name: [] for server in servers}
        with ExitStack() as stack:
            running = [stack.enter_context(bench.running(setup, server)) for server in servers]
            for one in running:
                one.await_answer(self.load.path, None if one.server.name == FLOOR else self.content)
                bench.warm(one, self.load)
            # Noise of the machine meets all alike.
            for _ in range(bench.rounds):
                for one in running:
                    rounds[one.server.name].append(bench.measure(one, self.load, self.scripts))
            rows = compare(rounds)
            if self.edit:
                for one in running:
                    rows[one.server.name]["an edit shows"] = self.look_at_edits(bench, one)
        return Table(self.title, rows)

    def look_at_edits(self, bench, running):
        """Replaces the file again and again, and says whether the next answer is always the new one."""
        if running.server.name == FLOOR:
            return "–"
        file, other = bench.root / self.load.path[1:], bench.root / "other"
        late = 0
        for number in range(1, 6):
            # It was asked for just now.
            running.ask(self.load.path)
            other.write_bytes(bytes(number))
            other.replace(file)
            late += running.ask(self.load.path) != (200, bytes(number))
        file.write_bytes(self.content)
        return "later" if late else "at once"


def workers(bench):
    """Two workers and one, on two processors, which are the client's too where there are no others."""
    both, others = process.PROCESSORS[:2], process.PROCESSORS[2:] or process.PROCESSORS
    asked = Load("/1k.bin")
    rows = {}
    with ExitStack() as stack:
        running = {}
        for count in [1, 2]:
            setup = Setup(bench.root, workers=count)
            for server in bench.fit(setup, "has_workers"):
                place = bench.running(setup, server, processors=both, suffix=f"-{count}")
                one = running[server.name, count] = stack.enter_context(place)
                one.await_answer(asked.path)
                bench.warm(one, asked, processors=others)
        rounds = {key: [] for key in running}
        for _ in range(bench.rounds):
            for key, one in running.items():
                rounds[key].append(bench.measure(one, asked, processors=others))
    for name, count in rounds:
        found = medians(rounds[name, count])
        row = rows.setdefault(name, {})
        row[f"requests/s, {count}"] = found["requests/s"]
        row[f"{COST}, {count}"] = found[COST]
        row["failed"] = row.get("failed", 0) + found["failed"]
    for row in rows.values():
        row["requests/s, 2 ÷ 1"] = row["requests/s, 2"] / row["requests/s, 1"]
    shared = "" if len(process.PROCESSORS) > 2 else ", the client on the same two processors"
    return Table(f"A file of 1 KiB, 64 connections, with 1 and 2 workers{shared}", rows)


def many_files(bench):
    """10,000 files of 4 KiB."""
    directory = bench.root / "many"
    if not directory.exists():
        directory.mkdir()
        for number in range(FILES):
            (directory / f"{number}.bin").write_bytes(bytes(4 * KIB))


def compiled(bench):
    """The script in C."""
    source = Path(__file__).with_name("hello.c")
    script = bench.root / "cgi-bin/hello"
    subprocess.run(["cc", "-O2", "-static", "-o", script, source], check=True)


def interpreted(bench):
    """The same for Python, that of the system where there is one."""
    python = shutil.which("python3", path=os.defpath) or sys.executable
    script = bench.root / "cgi-bin/hello.py"
    script.write_text(f"#!{python}\nprint('Content-Type: text/plain\\n\\n{HELLO.decode().strip()}')\n")
    script.chmod(0o755)


WORKS = {
    "small": Requests(
        "A file of 1 KiB, 64 connections", Load("/1k.bin"), bytes(KIB), floor=(), edit=True
    ),
    "numbered": Requests(
        "The same, no two requests alike",
        Load("/1k.bin", numbered=True),
        bytes(KIB),
        floor=(),
    ),
    "records": records,
    "files": Requests(
        "10,000 files of 4 KiB in random order, 64 connections",
        Load(
            "/many/0.bin",
            requests=shuffled((f"/many/{number}.bin", "localhost") for number in range(FILES)),
        ),
        bytes(4 * KIB),
        prepare=many_files,
    ),
    "connections": Requests(
        "A connection for each request of 1 KiB, 64 at once",
        Load("/1k.bin", close=True),
        bytes(KIB),
        floor=("close",),
    ),
    "100k": Requests(
        "A file of 100 KiB, 64 connections", Load("/100k.bin"), bytes(100 * KIB)
    ),
    "1m": Requests(
        "A file of 1 MiB, 16 connections", Load("/1m.bin", connections=16), bytes(KIB**2)
    ),
    "large": large,
    "idle": idle,
    "cgi": Requests(
        "A script in C (static), 8 at once",
        Load("/cgi-bin/hello", connections=8),
        HELLO,
        floor=("spawn", "{root}/cgi-bin/hello"),
        prepare=compiled,
        scripts=True,
    ),
    "python": Requests(
        "A script in Python, 8 at once",
        Load("/cgi-bin/hello.py", connections=8),
        HELLO,
        floor=("spawn", "{root}/cgi-bin/hello.py"),
        prepare=interpreted,
        scripts=True,
    ),
    "sites": sites,
    "workers": workers,
}
