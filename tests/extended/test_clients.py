"""Clients that people use: CPython's own, curl, and a bare socket."""

import hashlib
import http.client
import os
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

from server import HANG, REPOSITORY, Server

LARGE = os.urandom(1 << 20) * 50


def curl(*arguments):
    """The standard output of curl, which must succeed."""
    command = ["curl", "-sS", "--fail", "--max-time", str(HANG), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def wget(*arguments):
    """wget, which must succeed."""
    command = ["wget", "-q", "-T", str(HANG), "-t", "1", *arguments]
    subprocess.run(command, check=True)


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = cls.enter(tempfile.TemporaryDirectory())
        root = Path(cls.directory)
        (root / "a.txt").write_text("0123456789")
        (root / "large.bin").write_bytes(LARGE)
        (root / "text.html").write_text("<p>the same again and again</p>\n" * 20000)
        (root / "tree" / "sub").mkdir(parents=True)
        (root / "tree" / "a.txt").write_text("beside")
        (root / "tree" / "sub" / "b c.txt").write_text("below")
        # A date says which version a file has only when its second is over.
        os.utime(root / "a.txt", (1_700_000_000, 1_700_000_000))
        cls.directory_path = root
        (root / "cgi-bin").mkdir()
        script = root / "cgi-bin" / "sum"
        script.write_text("#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nsha256sum\n")
        script.chmod(0o755)
        cls.server = cls.enter(Server(root))

    @classmethod
    def enter(cls, context):
        cls.addClassCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def url(self, path):
        return self.server.url + path

    def test_http_client_keeps_its_connection(self):
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=HANG)
        for method, content in [("GET", b"0123456789"), ("HEAD", b""), ("GET", b"0123456789")]:
            connection.request(method, "/a.txt")
            response = connection.getresponse()
            self.assertEqual((response.status, response.read()), (200, content))
            self.assertEqual(response.getheader("Content-Length"), "10")
        connection.close()

    def test_urllib_gets_posts_and_is_told_what_is_wrong(self):
        with urllib.request.urlopen(self.url("a.txt"), timeout=HANG) as response:
            self.assertEqual(response.read(), b"0123456789")
        with urllib.request.urlopen(self.url("cgi-bin/sum"), b"x", timeout=HANG) as response:
            self.assertIn(hashlib.sha256(b"x").hexdigest(), response.read().decode())
        with self.assertRaises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(self.url("nothing"), timeout=HANG)
        self.assertEqual(raised.exception.code, 404)

    def test_curl_downloads_to_the_byte_and_resumes(self):
        with tempfile.TemporaryDirectory() as directory:
            target = Path(directory) / "large.bin"
            curl("-o", str(target), self.url("large.bin"))
            self.assertEqual(target.read_bytes(), LARGE)
            target.write_bytes(LARGE[: len(LARGE) // 3])
            curl("-C", "-", "-o", str(target), self.url("large.bin"))
            self.assertEqual(target.read_bytes(), LARGE)
        self.assertEqual(curl("-r", "2-4", self.url("a.txt")), b"234")

    def test_wget_continues_where_it_was_cut_off_and_mirrors(self):
        with tempfile.TemporaryDirectory() as directory:
            target = Path(directory) / "large.bin"
            target.write_bytes(LARGE[: len(LARGE) // 5])
            wget("-c", "-O", str(target), self.url("large.bin"))
            self.assertEqual(target.read_bytes(), LARGE)
            wget("-r", "-np", "-nH", "-R", "*sort=*", "-P", directory, self.url("tree/"))
            mirrored = Path(directory) / "tree"
            self.assertEqual((mirrored / "sub" / "b c.txt").read_text(), "below")
            self.assertEqual((mirrored / "a.txt").read_text(), "beside")
            # The second time the dates say that there is nothing new.
            wget("-N", "-P", directory, self.url("a.txt?again"))
            wget("-N", "-P", directory, self.url("a.txt?again"))
            self.server.logged('"GET /a.txt?again HTTP/1.1" 304')

    def test_aria2_puts_a_file_together_from_ranges(self):
        with tempfile.TemporaryDirectory() as directory:
            command = ["aria2c", "--no-conf", "-q", "-x", "8", "-s", "8", "-k", "1M"]
            command += ["-d", directory, self.url("large.bin")]
            subprocess.run(command, check=True, timeout=HANG)
            self.assertEqual((Path(directory) / "large.bin").read_bytes(), LARGE)
        self.server.logged('"GET /large.bin HTTP/1.1" 206')

    def test_curl_takes_every_coding(self):
        text = (self.directory_path / "text.html").read_bytes()
        for coding in ["gzip", "br", "zstd"]:
            with self.subTest(coding):
                got = curl("--compressed", "-H", f"Accept-Encoding: {coding}", self.url("text.html"))
                self.assertEqual(got, text)
                head = curl("-I", "-H", f"Accept-Encoding: {coding}", self.url("text.html"))
                self.assertIn(f"content-encoding: {coding}\r\n".encode(), head)

    def test_curl_gets_several_ranges(self):
        parts = curl("-r", "0-1,5-6,-1", self.url("a.txt"))
        for part in [b"bytes 0-1/10\r\n\r\n01\r\n", b"bytes 5-6/10\r\n\r\n56\r\n", b"bytes 9-9/10\r\n\r\n9\r\n"]:
            self.assertIn(part, parts)

    def test_curl_is_told_when_it_has_the_file_already(self):
        with tempfile.TemporaryDirectory() as directory:
            tag = str(Path(directory) / "tag")
            file = str(Path(directory) / "a.txt")
            curl("--etag-save", tag, "--remote-time", "-o", file, self.url("a.txt"))
            self.assertEqual(curl("--etag-compare", tag, self.url("a.txt")), b"")
            self.assertEqual(curl("--time-cond", file, self.url("a.txt")), b"")

    def test_curl_uploads_with_and_without_a_length(self):
        expected = hashlib.sha256(LARGE).hexdigest().encode()
        with tempfile.NamedTemporaryFile() as file:
            file.write(LARGE)
            file.flush()
            data = ["--data-binary", f"@{file.name}", self.url("cgi-bin/sum")]
            self.assertIn(expected, curl(*data))
            self.assertIn(expected, curl("-H", "Transfer-Encoding: chunked", *data))

    def test_a_plain_question_is_answered_and_recorded(self):
        address = (self.server.host, int(self.server.port))
        with socket.create_connection(address, timeout=HANG) as plain:
            plain.sendall(b"can you hear me?")
            self.assertTrue(plain.recv(64).startswith(b"HTTP/1.1 400 "))
        self.server.logged("127.0.0.1", '"can you hear me?"', "400")


class Guestbook(unittest.TestCase):
    def test_writers_at_once_lose_nothing(self):
        with Server(REPOSITORY / "www") as server:
            url = server.url + "cgi-bin/guestbook.py"

            def write(number):
                form = urlencode({"name": f"guest {number}.", "message": "hello"}).encode()
                with urllib.request.urlopen(url, form, timeout=HANG) as response:
                    return response.status

            with ThreadPoolExecutor(20) as writers:
                self.assertEqual(set(writers.map(write, range(20))), {200})
            with urllib.request.urlopen(url, timeout=HANG) as response:
                page = response.read().decode()
            for number in range(20):
                self.assertIn(f"guest {number}.", page)


if __name__ == "__main__":
    unittest.main()
