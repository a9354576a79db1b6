"""Clients: wrk for requests, one after the other on many connections, and what wrk does not do."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import process

HANG = 60
AGAIN = 0.002
MIB = 1 << 20

# Prints what wrk has counted. Of answers it tells those above 399; the others are looked at beforehand.
SUMMARY = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %f, "failed": %d, "p99": %f}\\n',
    summary.requests, summary.duration / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(99)))
end
"""


@dataclass
class Load:
    """What is asked for: a path, or one of `requests` after the other, each a path and its host. No two
    requests are the same where they are `numbered`."""

    path: str
    connections: int = 64
    close: bool = False
    requests: tuple = ()
    numbered: bool = False


@dataclass
class Counted:
    requests: int
    seconds: float
    failed: int
    p99: float


def script(load, directory):
    """wrk's script, written into the directory; visits requests in an order that is random and always
    the same."""
    text = SUMMARY
    if load.requests:
        lines = "".join(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n\n" for path, host in load.requests
        )
        (directory / "requests").write_text(lines, newline="")
        text += (
            f'local requests = {{}}\nlocal file = io.open("{directory}/requests", "rb")\n'
            'for request in file:read("*a"):gmatch("(.-\\r\\n\\r\\n)\\n") do '
            "requests[#requests + 1] = request end\n"
            "local next = 0\n"
            "request = function() next = next % #requests + 1; return requests[next] end\n"
        )
    if load.numbered:
        text += (
            "local number = 0\n"
            "request = function() number = number + 1; "
            f'return "GET {load.path} HTTP/1.1\\r\\nHost: localhost\\r\\nX-Number: " .. number .. '
            '"\\r\\n\\r\\n" end\n'
        )
    (directory / "wrk.lua").write_text(text)
    return directory / "wrk.lua"


def shuffled(requests):
    requests = list(requests)
    random.Random(1).shuffle(requests)
    return tuple(requests)


def wrk(load, port, seconds, directory, processors=(process.CLIENT,)):
    """Asks for so long, and returns what was counted."""
    command = ["wrk", "-t", "1", "-c", str(load.connections), "-d", f"{HANG}s", "--timeout", "10s"]
    command += ["-s", script(load, directory)]
    if load.close:
        command += ["-H", "Connection: close"]
    with subprocess.Popen(
        [*command, f"http://127.0.0.1:{port}{load.path}"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, processors),
    ) as client:
        # It knows whole seconds only; at an interrupt it ends as if its time were over, once it waits for
        # that: before, it is killed by it or does not notice.
        try:
            end = time.monotonic() + HANG
            while client.poll() is None and not waits(client.pid) and time.monotonic() < end:
                time.sleep(AGAIN)
            time.sleep(seconds)
        finally:
            client.send_signal(signal.SIGINT)
        said, _ = client.communicate(timeout=HANG)
    try:
        return Counted(**json.loads(said.splitlines()[-1]))
    except (ValueError, IndexError):
        raise SystemExit(f"benches/run: wrk has not counted anything, but said:\n{said}") from None


def waits(client):
    """Whether wrk's first thread takes interrupts and sleeps until its time is over."""
    lines = Path(f"/proc/{client}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    taken = int(status["SigCgt"], 16) >> (signal.SIGINT - 1) & 1
    return bool(taken) and status["State"].strip().startswith("S")


def fetch(port, path, size):
    """Takes a large file once, and returns the seconds from the request to its last byte."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), HANG) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        buffer = bytearray(MIB)
        head = b""
        while b"\r\n\r\n" not in head and (received := connection.recv_into(buffer)):
            head += buffer[:received]
        missing = size - len(head.partition(b"\r\n\r\n")[2])
        while missing > 0 and (received := connection.recv_into(buffer)):
            missing -= received
    if missing or b" 200 " not in head[:16]:
        raise SystemExit(f"benches/run: {path} came without {missing} of its bytes: {head[:64]}")
    return time.monotonic() - begun


class Idle:
    """`with Idle(PORT, COUNT, PATH):` so many connections are open, with an answer on each."""

    def __init__(self, port, count, path):
        self.address, self.count = ("127.0.0.1", port), count
        self.request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self.connections = []
        self.failed = 0

    def __enter__(self):
        for _ in range(self.count):
            connection = socket.create_connection(self.address, HANG)
            self.connections.append(connection)
            connection.sendall(self.request)
            self.failed += b" 200 " not in connection.recv(1 << 16)[:16]
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()
