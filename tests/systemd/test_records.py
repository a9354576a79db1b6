"""Every request has its record in the journal: as many as were sent, each with what its client sent."""

import collections
import multiprocessing
import re
import signal
import socket
import time
import unittest

from machine import HANG, HOST, PRIVATE, PUBLIC, PUBLIC_HOST, RELEASE, Machine, ask, until

REQUESTS = 100_000
CLIENTS = 4
CONNECTIONS = 5

# So many requests are on their way to a client's connection at once.
PIPELINE = 50

# Request lines as nobody should send them. A connection ends with each that is refused.
ODD = [
    b'GET /"quoted"?a=\\x20&b=%22 HTTP/1.1',
    b"GET /%00%0a%ff HTTP/1.1",
    b"GET /\xc3\xa4\xff\xfe HTTP/1.1",
    b"GET /\x01\x1b[31m\x7f HTTP/1.1",
    b"GET / HTTP/9.9",
    b"M-SEARCH * HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /" + b"x" * 20_000 + b" HTTP/1.1",
]

FIELDS = "PYWEBD_CLIENT", "PYWEBD_REQUEST_LINE", "PYWEBD_STATUS"


# Where a process of clients is told to end, it has nothing to power off.
END_AT_ONCE = signal.SIGTERM, signal.SIG_DFL


def line(client, number, more=""):
    """The request line of a client's request: there is none like it."""
    return f"GET /style.css?{client}-{number}{more} HTTP/1.1"


def ask_all(client, host, numbers, more=""):
    """Sends these requests over one connection, and counts the answers that are right."""
    connection = socket.create_connection((host, 80), HANG, (client, 0))
    right = 0
    with connection:
        for begin in range(0, len(numbers), PIPELINE):
            some = numbers[begin : begin + PIPELINE]
            connection.sendall(
                b"".join(f"{line(client, number, more)}\r\nHost: x\r\n\r\n".encode() for number in some)
            )
            answers = Answers(connection)
            right += sum(answers.take() for _ in some)
    return right


class Answers:
    """Takes answers from a connection's stream."""

    def __init__(self, connection):
        self.connection = connection
        self.held = b""

    def take(self):
        """Takes one, and says whether it is right."""
        while (end := self.held.find(b"\r\n\r\n")) < 0:
            self.more()
        head = self.held[:end]
        end += 4 + int(re.search(rb"content-length: (\d+)", head)[1])
        while len(self.held) < end:
            self.more()
        self.held = self.held[end:]
        return head.startswith(b"HTTP/1.1 200 OK\r\n")

    def more(self):
        received = self.connection.recv(1 << 18)
        assert received, "the connection was closed"
        self.held += received


class Records(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())
        cls.machine.install()

    def setUp(self):
        # Of the unit: behind an entry of another one journalctl 252 passes over the first of the unit.
        self.machine.run("journalctl", "--sync")
        cursor = self.machine.run("journalctl", "--unit=pywebd.service", "--lines=0", "--show-cursor")
        self.begin = "--after-cursor=" + re.search(r"cursor: (\S+)", cursor)[1]

    def records(self, sent):
        """Client and request line of each record, as bytes, when there are as many as requests were
        sent: a record may come after its answer, and the journal be behind."""
        until(lambda: sum(self.count()) >= sent, "all records", 3 * HANG)
        fields = f"--output-fields={','.join(FIELDS)}"
        entries = self.machine.journal(self.begin, "--unit=pywebd.service", fields)
        return [tuple(as_bytes(entry[name]) for name in FIELDS) for entry in entries if FIELDS[1] in entry]

    def test_a_hundred_thousand_requests_are_a_hundred_thousand_records(self):
        clients = [*((client, HOST) for client in PRIVATE[: CLIENTS - 1]), (PUBLIC, PUBLIC_HOST)]
        each = REQUESTS // CLIENTS // CONNECTIONS
        jobs = [
            (client, host, range(number * each, (number + 1) * each))
            for client, host in clients
            for number in range(CONNECTIONS)
        ]
        begun = time.monotonic()
        with multiprocessing.Pool(CLIENTS, signal.signal, END_AT_ONCE) as pool:
            self.assertEqual(sum(pool.starmap(ask_all, jobs, chunksize=1)), REQUESTS)
        asked = time.monotonic()
        found = collections.Counter(self.records(REQUESTS))
        sent = collections.Counter(
            (client.encode(), line(client, number).encode(), b"200")
            for client, _, numbers in jobs
            for number in numbers
        )
        print(
            f"{RELEASE}: {REQUESTS} requests in {asked - begun:.1f} s, "
            f"{found.total()} records read in {time.monotonic() - asked:.1f} s"
        )
        self.assertEqual(found.total(), REQUESTS)
        self.assertEqual(found, sent)

    def test_a_request_line_is_recorded_as_it_was_received(self):
        for client, host in (PRIVATE[3], HOST), (PUBLIC, PUBLIC_HOST):
            for text in ODD:
                with socket.create_connection((host, 80), HANG, (client, 0)) as connection:
                    connection.sendall(text + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
                    connection.makefile("rb").read()
        found = self.records(2 * len(ODD))
        self.assertEqual(len(found), 2 * len(ODD), found)
        for client in PRIVATE[3], PUBLIC:
            lines = [text for address, text, _ in found if address == client.encode()]
            self.assertEqual(sorted(lines), sorted(ODD))

    def test_a_journal_that_stands_still_keeps_no_request_waiting(self):
        # More than the server has room for.
        sent, more = 12_000, "-" * 16_000
        pid = self.machine.main_pid("systemd-journald.service")
        self.machine.run("kill", "-STOP", pid)
        try:
            self.assertEqual(ask_all(PRIVATE[0], HOST, range(sent), more), sent)
        finally:
            self.machine.run("kill", "-CONT", pid)
        # What found no room is counted, and nothing else is lost.
        until(lambda: sum(self.count()) == sent, "the rest of the records")
        written, dropped = self.count()
        self.assertGreater(written, 1_000)
        self.assertGreater(dropped, 0)

    def count(self):
        """How many records there are, and how many the server says that it has dropped."""
        fields = "--output-fields=PYWEBD_STATUS,PYWEBD_DROPPED"
        entries = self.machine.journal(self.begin, "--unit=pywebd.service", fields)
        dropped = sum(int(entry.get("PYWEBD_DROPPED", 0)) for entry in entries)
        return sum("PYWEBD_STATUS" in entry for entry in entries), dropped

    def test_a_journal_that_is_restarted_loses_nothing_that_comes_later(self):
        self.machine.run("systemctl", "restart", "systemd-journald.service")
        for number in range(10):
            ask(f"/?{number}")
        self.assertEqual(len(self.records(10)), 10)


def as_bytes(value):
    """A field as journalctl gives it: text, or the numbers of its bytes."""
    return value.encode() if isinstance(value, str) else bytes(value or [])


if __name__ == "__main__":
    unittest.main()
