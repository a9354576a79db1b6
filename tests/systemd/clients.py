"""Clients of a load: they keep to HTTP, and what they get has to be right."""

import itertools
import socket
import threading
import time

from machine import AGAIN, HANG, HOST, PRIVATE

# So many answers of each client are a flow.
FLOW = 20

# A server that stops waits for a second for the next request of a connection, so who was silent for about
# as long may find it closed, and has to ask again (RFC 9112, 9.3.1).
SILENT = 0.5


class Clients:
    """Clients that ask without a pause, each from an address of its own, and note everything but
    the right answer: some keep their connection until they are told that it closes, some make one
    for each request.
    """

    def __init__(self, targets, host=HOST, port=80):
        self.place = (host, port)
        self.over = threading.Event()
        self.failures = []
        addresses = itertools.cycle(PRIVATE)
        ways = itertools.product(targets.items(), ["", "Connection: close\r\n"], range(2))
        self.threads = [
            threading.Thread(target=self.run, args=(number, next(addresses), target, fields))
            for number, (target, fields, _) in enumerate(ways)
        ]
        self.answers = [0] * len(self.threads)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.flow()
        return self

    def __exit__(self, *failed):
        if not any(failed):
            self.flow()
        self.over.set()
        for thread in self.threads:
            thread.join(HANG)
        assert not self.failures, self.failures[:5]

    def run(self, number, client, target, fields):
        target, text = target
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()
        while not self.over.is_set():
            try:
                last = time.monotonic()
                with socket.create_connection(self.place, HANG, (client, 0)) as connection:
                    reader = connection.makefile("rb")
                    goes_on = True
                    while goes_on and not self.over.is_set():
                        before, last = last, time.monotonic()
                        connection.sendall(request)
                        if time.monotonic() - before > SILENT and is_closed(reader):
                            break
                        goes_on = self.answer(reader, text)
                        self.answers[number] += 1
                    else:
                        # An end, and no reset.
                        assert goes_on or not reader.read(), "more than an answer"
            except (OSError, AssertionError, ValueError) as error:
                self.failures.append(f"{target} {fields!r} at {time.time():.3f}: {error!r}")
                return

    def answer(self, reader, text):
        """Takes an answer, and says whether another one may follow on its connection."""
        head = []
        while line := reader.readline().rstrip():
            head.append(line.decode().lower())
        assert head, "closed before an answer"
        fields = dict(line.split(": ", 1) for line in head[1:])
        if "content-length" in fields:
            content = reader.read(int(fields["content-length"]))
        else:
            content = b""
            while length := int(reader.readline(), 16):
                content += reader.read(length)
                reader.readline()
            reader.readline()
        assert (head[0], content.decode()) == ("http/1.1 200 ok", text), (head, content)
        return fields.get("connection") != "close"

    def flow(self):
        """Waits until each has got some more answers."""
        wanted = [answers + FLOW for answers in self.answers]
        end = time.monotonic() + HANG
        while any(have < want for have, want in zip(self.answers, wanted)):
            assert not self.failures, self.failures[:5]
            assert time.monotonic() < end, f"no answers: {self.answers}, wanted {wanted}"
            time.sleep(AGAIN)


def is_closed(reader):
    """Whether a connection ends before an answer."""
    try:
        return not reader.peek(1)
    except ConnectionResetError:
        return True
