"""Pages are valid HTML: those of the welcome site and those the server makes itself."""

import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from server import HANG, REPOSITORY, Server

TIDY = ["tidy", "-quiet", "-errors", "--warn-proprietary-attributes", "no"]


def page(url):
    try:
        with urllib.request.urlopen(url, timeout=HANG) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        return error.read()


class Pages(unittest.TestCase):
    def assert_valid(self, content):
        found = subprocess.run(TIDY, input=content, capture_output=True, check=False)
        self.assertEqual(found.stderr.decode(), "", content.decode())

    def test_the_welcome_site(self):
        with Server(REPOSITORY / "www") as server:
            for path in ["", "cgi-bin/time.py", "cgi-bin/guestbook.py", "cgi-bin/post.py"]:
                with self.subTest(path):
                    self.assert_valid(page(server.url + path))

    def test_pages_of_the_server(self):
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "<odd> & 'name'").write_text("x")
            (Path(directory) / "folder").mkdir()
            with Server(directory) as server:
                for path in ["", "?sort=size&order=desc", "folder/", "nothing", "%00"]:
                    with self.subTest(path):
                        self.assert_valid(page(server.url + path))


if __name__ == "__main__":
    unittest.main()
