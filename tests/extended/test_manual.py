"""The manual pages, as mandoc judges and man shows them."""

import subprocess
import unittest

from server import REPOSITORY

PAGES = sorted((REPOSITORY / "packaging" / "man").iterdir())
# Whether other pages are there is a matter of the machine.
ELSEWHERE = "referenced manual not found"


class Pages(unittest.TestCase):
    def test_they_are_there(self):
        self.assertEqual([page.name for page in PAGES], ["pywebd.8", "pywebd.toml.5"])

    def test_mandoc_has_nothing_to_say(self):
        lint = subprocess.run(["mandoc", "-T", "lint", *PAGES], capture_output=True, text=True).stdout
        self.assertEqual([line for line in lint.splitlines() if ELSEWHERE not in line], [])

    def test_groff_has_nothing_to_say_and_shows_the_whole(self):
        for page in PAGES:
            with self.subTest(page=page.name):
                shown = subprocess.run(
                    ["groff", "-mandoc", "-T", "utf8", "-P", "-cbou", "-w", "mac", "-w", "syntax", page],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                self.assertEqual(shown.stderr, "")
                self.assertTrue("\nSEE ALSO\n" in shown.stdout)


if __name__ == "__main__":
    unittest.main()
