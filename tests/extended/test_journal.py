"""The journal's side of what pywebd writes down: a journald that stands still or is restarted, values
of any bytes and length.

None of the sockets is read unless the test says so: that is what a stopped journald does.
"""

import signal
import socket
import time
from pathlib import Path

import service
from server import HANG

DROPPED = "104b382bbadb4c4db8b87b1c406efc2e"
LIMIT = "70543117d5f74330a01c81c2a8881600"
REFUSED = "a4506b0267924dcb81c72baf8847379d"

# More records of this length than there is memory for.
LONG = 30_000
MANY = 6_000


class Journal(service.Service):
    def setUp(self):
        super().setUp()
        text = self.config.read_text().replace("[site", '[limits]\nrequest-head-size = "1M"\n[site', 1)
        self.config.write_text(text)

    def serve(self):
        process = self.start()
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.notification("READY=1")
        return process

    def ask(self, target, agent=b"test", times=1):
        """Asks for a target again and again on one connection, without waiting between."""
        request = (
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ".encode() + agent + b"\r\n\r\n"
        )
        end = b"GET /end HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answers = 0
        for begin in range(0, times, 100):
            count = min(100, times - begin)
            with socket.create_connection(("127.0.0.1", self.port), HANG) as connection:
                got = bytearray()
                for _ in range(count):
                    connection.sendall(request)
                connection.sendall(end)
                while data := connection.recv(1 << 16):
                    got += data
            self.assertEqual(got.count(b"HTTP/1.1 "), count + 1)
            answers += count + 1
        return answers

    def memory(self, process):
        status = Path(f"/proc/{process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)

    def test_a_journal_that_stands_still_keeps_no_request_waiting_and_what_is_dropped_is_said(self):
        process = self.serve()
        before = self.memory(process)
        asked = self.ask("/", b"x" * LONG, MANY)
        self.assertLess(self.memory(process) - before, 200 << 10, "KiB for what waits")
        written = dropped = 0
        while written + dropped < asked:
            entry = self.next_entry()
            written += b"PYWEBD_STATUS" in str(entry.keys()).encode()
            if entry.get("MESSAGE_ID") == DROPPED.encode():
                dropped += int(entry["PYWEBD_DROPPED"])
                self.assertEqual(entry["PRIORITY"], b"4")
        self.assertGreater(dropped, 0)
        self.assertEqual(written + dropped, asked)
        self.ask("/after")
        self.entry(PYWEBD_REQUEST_LINE="GET /after HTTP/1.1")

    def test_a_stop_waits_a_bounded_time_for_a_journal_that_stands_still(self):
        process = self.serve()
        self.ask("/", times=MANY)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(HANG), 0)
        self.assertLess(time.monotonic() - begin, 15)

    def test_a_start_does_not_wait_for_a_journal_that_stands_still(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                while True:
                    other.sendto(b"MESSAGE=x\n", str(service.JOURNAL))
            except BlockingIOError:
                pass
        self.serve()
        self.ask("/")

    def test_nothing_is_lost_while_there_is_no_journald(self):
        self.serve()
        self.ask("/before")
        self.entry(PYWEBD_REQUEST_LINE="GET /before HTTP/1.1")
        self.entry(PYWEBD_REQUEST_LINE="GET /end HTTP/1.1")
        self.journal.close()
        service.JOURNAL.unlink()
        asked = self.ask("/meanwhile", times=MANY)
        self.config.write_text("version = 2\n")
        self.notification("STATUS=reload failed")
        self.journal = self.enter(service.datagrams(service.JOURNAL))
        written = 0
        while written < asked:
            written += "PYWEBD_STATUS" in self.next_entry()
        self.entry(MESSAGE_ID="37e07d5e9cc84c08a18f23971c17ed11")

    def test_long_and_binary_values_come_whole(self):
        self.serve()
        agent = bytes(byte for byte in range(0x21, 0x100) if byte != 0x7F) * 1000
        self.ask("/", agent)
        while True:
            entry = self.next_entry()
            if len(entry.get("PYWEBD_USER_AGENT", b"")) > 4:
                break
        self.assertEqual(entry["PYWEBD_USER_AGENT"], agent)

        every = bytes(byte for byte in range(0x100) if byte != 0x0A)
        (self.directory / "bytes").write_bytes(every + b"\n")
        script = self.directory / "cgi-bin" / "binary"
        script.write_text(f"#!/bin/sh\ncat {self.directory}/bytes >&2\nprintf 'Status: 204\\n\\n'\n")
        script.chmod(0o755)
        self.ask("/cgi-bin/binary")
        while "PYWEBD_STDERR" not in (entry := self.next_entry()):
            pass
        self.assertEqual(entry["PYWEBD_STDERR"], every)
        self.assertTrue(entry["MESSAGE"].decode().isprintable() or b"\t" in entry["MESSAGE"])

    def test_the_launcher_waits_for_no_journal_and_says_what_it_has_dropped(self):
        self.serve()
        script = self.directory / "cgi-bin" / "broken"
        script.write_text("#!/nonexistent\n")
        script.chmod(0o755)
        asked = self.ask("/cgi-bin/broken", times=1500)
        written = answered = dropped = 0
        while answered < asked:
            entry = self.next_entry()
            answered += "PYWEBD_STATUS" in entry
            written += entry.get("MESSAGE_ID") == REFUSED.encode()
        self.ask("/cgi-bin/broken")
        while written + dropped < 1501:
            entry = self.next_entry()
            written += entry.get("MESSAGE_ID") == REFUSED.encode()
            if entry.get("MESSAGE_ID") == DROPPED.encode():
                self.assertEqual(entry["SYSLOG_IDENTIFIER"], b"pywebd-cgi")
                dropped += int(entry["PYWEBD_DROPPED"])
        self.assertGreater(dropped, 0)

    def test_a_script_that_is_killed_at_a_limit_is_a_warning_of_its_own(self):
        text = self.config.read_text().replace("cgi = true", 'cgi = true, timeout = "200ms"')
        self.config.write_text(text)
        script = self.directory / "cgi-bin" / "script"
        script.write_text("#!/bin/sh\nexec sleep 1000\n")
        self.serve()
        self.ask("/cgi-bin/script")
        warning = self.entry(MESSAGE_ID=LIMIT)
        self.assertEqual(warning["PRIORITY"], "4")
        self.assertEqual(warning["PYWEBD_SITE"], "example")
        self.assertEqual(warning["PYWEBD_SCRIPT"], str(script))
        record = self.entry(PYWEBD_REQUEST_LINE="GET /cgi-bin/script HTTP/1.1")
        for name in ["PYWEBD_KILLED", "PYWEBD_REQUEST_ID", "PYWEBD_PID"]:
            self.assertEqual(warning[name], record[name])
        self.assertIn("(timeout)", record["PYWEBD_KILLED"])
        self.assertIn("was killed", record["PYWEBD_CAUSE"])


if __name__ == "__main__":
    service.main()
