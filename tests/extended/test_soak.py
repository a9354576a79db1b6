"""Memory and descriptors stay where they are, over many requests and over large files."""

import socket
import tempfile
import time
import unittest
from pathlib import Path

from server import HANG, Server

REQUESTS = 100_000
CONNECTIONS = 20
PIPELINE = 25
MIB = 1 << 20


def resident(server):
    """Resident memory of the server in bytes, and its open descriptors."""
    process = Path(f"/proc/{server.process.pid}")
    status = (process / "status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kib) * 1024, len(list((process / "fd").iterdir()))


def read_exactly(connection, count):
    while count:
        received = len(connection.recv(min(count, MIB)))
        assert received, "the server closed too early"
        count -= received


class Soak(unittest.TestCase):
    def test_many_requests_leave_nothing_behind(self):
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            (root / "a.txt").write_text("0123456789" * 100)
            (root / "page.html").write_text("<p>the same again</p>" * 200)
            (root / "b.bin").write_bytes(bytes(200_000))
            requests = [
                "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
                "HEAD /b.bin HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1,5-6\r\n\r\n",
                "GET /b.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99999\r\n\r\n",
            ]
            with Server(root) as server:
                _, descriptors = resident(server)
                self.send(server, requests, REQUESTS // 2)
                memory, _ = resident(server)
                self.send(server, requests, REQUESTS)
                # The server sees a moment later that the last clients have left.
                begun = time.monotonic()
                while resident(server)[1] > descriptors + 2:
                    self.assertLess(time.monotonic() - begun, HANG, "descriptors stay open")
                after, _ = resident(server)
                print(f"after {REQUESTS} requests: {after / MIB:.1f} MiB, before {memory / MIB:.1f}")
                # What an allocator keeps settles later; 40 bytes a request would show here.
                self.assertLess(after - memory, 4 * MIB)

    def send(self, server, requests, count):
        """Sends so many requests, some at a time on each of some connections."""
        pipeline = "".join(requests[n % len(requests)] for n in range(PIPELINE)).encode()
        address = (server.host, int(server.port))
        with socket.create_connection(address, timeout=HANG) as first:
            first.sendall(pipeline + b"GET /a.txt HTTP/1.0\r\n\r\n")
            length = 0
            while received := len(first.recv(MIB)):
                length += received
            with socket.create_connection(address, timeout=HANG) as last:
                last.sendall(b"GET /a.txt HTTP/1.0\r\n\r\n")
                while received := len(last.recv(MIB)):
                    length -= received
        # Boundaries, dates and tags are as long each time.
        for _ in range(count // (CONNECTIONS * PIPELINE)):
            connections = [socket.create_connection(address, timeout=HANG) for _ in range(CONNECTIONS)]
            for connection in connections:
                connection.sendall(pipeline)
            for connection in connections:
                read_exactly(connection, length)
                connection.close()

    def test_the_size_of_a_file_does_not_matter(self):
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            (root / "small.bin").write_bytes(bytes(100_000))
            with open(root / "large.bin", "wb") as large:
                large.truncate(2 << 30)
            (root / "large.txt").write_text("all work and no play\n" * 700_000)
            with Server(root) as server:
                address = (server.host, int(server.port))
                self.download(address, "/small.bin", "identity")
                before, _ = resident(server)
                for path, coding in [("/large.bin", "identity"), ("/large.txt", "br")]:
                    most = self.download(address, path, coding, lambda: resident(server)[0])
                    print(f"{path}: at most {(most - before) / MIB:.1f} MiB more")
                    self.assertLess(most - before, 16 * MIB)

    def download(self, address, path, coding, look=lambda: 0):
        most = 0
        with socket.create_connection(address, timeout=HANG) as connection:
            request = f"GET {path} HTTP/1.0\r\nAccept-Encoding: {coding}\r\n\r\n"
            connection.sendall(request.encode())
            buffer = bytearray(4 * MIB)
            total = 0
            while received := connection.recv_into(buffer):
                total += received
                if total % 64 < 8:
                    most = max(most, look())
        return max(most, look())


if __name__ == "__main__":
    unittest.main()
