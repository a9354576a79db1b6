"""What is shipped, where it is installed: the default configuration with the welcome site.

The site has a fixed place, so this runs in a mount namespace with a /usr/share of its own.
"""

import os
import subprocess
import sys
import tempfile
import unittest

from server import HANG, REPOSITORY

WWW = "/usr/share/pywebd/www"
CONFIG = REPOSITORY / "etc/pywebd/pywebd.toml"


def pywebd(*arguments, user=None):
    program = [os.environ["PYWEBD"], *map(str, arguments)]
    if user is not None:
        program = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *program]
    return subprocess.run(program, capture_output=True, text=True, timeout=HANG, check=False)


class Shipped(unittest.TestCase):
    def test_the_default_configuration_passes_check(self):
        outcome = pywebd("check", "--strict", "--config", CONFIG)
        self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))

    def test_the_default_configuration_shows_its_values_and_explains_its_scripts(self):
        shown = pywebd("show", "--config", CONFIG)
        self.assertIn(f'site.default.root = "{WWW}"', shown.stdout)
        explained = pywebd("explain", "/cgi-bin/env.sh/x?y", "--config", CONFIG)
        self.assertIn(f"script: {WWW}/cgi-bin/env.sh", explained.stdout)
        self.assertIn("PATH_INFO=/x", explained.stdout)
        refused = pywebd(
            "explain", "/cgi-bin/env.sh", "--config", CONFIG, "--client", "192.0.2.1"
        )
        self.assertIn("403", refused.stdout)

    def test_a_low_port_without_the_right_is_one_line_and_77(self):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            outcome = pywebd("serve", directory, "--listen", "127.0.0.1:81", user=65534)
            self.assertEqual(outcome.returncode, 77, outcome.stderr)
            self.assertEqual(outcome.stderr.count("\n"), 1, outcome.stderr)
            self.assertIn("127.0.0.1:81", outcome.stderr)

    def test_a_directory_that_may_not_be_read_is_77(self):
        with tempfile.TemporaryDirectory() as directory:
            outcome = pywebd("serve", directory, "--listen", "127.0.0.1:0", user=65534)
            self.assertEqual(outcome.returncode, 77, outcome.stderr)


if __name__ == "__main__":
    if "OWN_SHARE" not in os.environ:
        own = f'mount -t tmpfs none /usr/share && mkdir -p {WWW} && mount --bind "$1" {WWW} && shift && exec "$@"'
        www = str(REPOSITORY / "www")
        command = ["unshare", "--mount", "sh", "-c", own, "sh", www, sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, "OWN_SHARE": "1"})
    unittest.main()
