"""The comparison with other servers runs to its end with whatever of them is here."""

import json
import subprocess
import unittest

from server import REPOSITORY

# All of it, with 10,000 sites, on a machine that is slow.
HANG = 560

COMMAND = [REPOSITORY / "benches/run", "--seconds", "0.2", "--rounds", "1"]


def benches(*arguments):
    command = [*COMMAND, *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


class Benches(unittest.TestCase):
    def test_each_work_has_a_row_of_pywebd_and_no_request_fails(self):
        found = json.loads(benches("--json"))
        shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
        for name, work in found["works"].items():
            with self.subTest(name):
                self.assertIn(name, shown)
                row = work["rows"]["pywebd"]
                self.assertEqual(row.get("failed", 0), 0, row)
        self.assertEqual(len(found["works"]), 13)
        self.assertEqual(found["works"]["small"]["rows"]["pywebd"]["an edit shows"], "at once")
        self.assertEqual(found["works"]["records"]["rows"]["pywebd with journal"]["records missing"], 0)

    def test_a_table_is_markdown_with_the_machine_before_it(self):
        machine, heading, head, rule, *rows = filter(
            None, benches("--only", "small", "--servers", "pywebd,floor").splitlines()
        )
        self.assertIn("Linux", machine)
        self.assertTrue(heading.startswith("### "), heading)
        self.assertEqual({line.count("|") for line in [head, rule, *rows]}, {head.count("|")})
        self.assertEqual([row.split()[1] for row in rows], ["pywebd", "floor"])

    def test_a_name_that_is_none_is_said(self):
        for option in ["--only", "--servers"]:
            command = [*COMMAND, option, "nothing"]
            outcome = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertNotEqual(outcome.returncode, 0)
            self.assertIn("nothing", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
