"""What is served is what is on the disk, held to a model (tests/suite/model) where files may lie, and
where the kernel tells little or nothing of changes."""

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from server import REPOSITORY, own

ANSWERS = 13_000
TEST = "model::every_answer_is_of_a_moment_between_the_request_and_its_end"
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")

# Who has a user namespace, and in it no rights.
USER = "nobody" if os.geteuid() == 0 else None


def built():
    """The suite's program."""
    command = ["cargo", "test", "--test", "suite", "--no-run", "--message-format=json"]
    messages = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE).stdout
    programs = [json.loads(line).get("executable") for line in messages.splitlines()]
    return next(path for path in programs if path and "/suite-" in path)


class Held(unittest.TestCase):
    answers = 0

    @classmethod
    def setUpClass(cls):
        cls.suite = built()

    def hold(self, *wrapper, place=None, user=None, **settings):
        """Runs the model, its files in a place, its server perhaps without rights."""
        with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as directory:
            # Where they were built, nobody else may be able to run them.
            suite, program = (shutil.copy(path, directory) for path in [self.suite, os.environ["PYWEBD"]])
            files = Path(directory, "files")
            files.mkdir()
            os.chmod(directory, 0o755)
            identity = {}
            if user is not None:
                account = pwd.getpwnam(user)
                own(directory, account)
                identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            variables = {f"PYWEBD_MODEL_{name.upper()}": str(value) for name, value in settings.items()}
            environment = {
                **os.environ, "PYWEBD": program, "TMPDIR": str(files), "RUST_BACKTRACE": "0",
                "PYWEBD_MODEL_ANSWERS": str(ANSWERS), **variables,
            }
            outcome = subprocess.run(
                [*wrapper, suite, "--exact", TEST, "--nocapture"],
                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=120, check=False, **identity,
            )
        self.assertEqual(outcome.returncode, 0, outcome.stdout)
        told = re.search(r"(\d+) answers are right.*", outcome.stdout)
        print(f"{self.id().split('.')[-1]}: {told[0]}")
        Held.answers += int(told[1])


def tearDownModule():
    print(f"{Held.answers} answers in all")
    # A part that was asked for by its name has fewer.
    assert len(sys.argv) > 1 or Held.answers >= 100_000


class Model(Held):
    def test_on_the_disk(self):
        self.hold()

    def test_in_memory(self):
        self.hold(place="/dev/shm")

    def test_over_many_connections(self):
        self.hold(connections=100)

    def hold_with(self, **limits):
        """Runs the model where the kernel allows a user so much; as somebody who cannot raise it."""
        lines = [f"echo {value} > /proc/sys/user/max_inotify_{name}" for name, value in limits.items()]
        lines.append('exec setpriv --inh-caps=-all --ambient-caps=-all "$0" "$@"')
        namespace = ["unshare", "--user", "--map-current-user", "--keep-caps"]
        self.hold(*namespace, "sh", "-ec", "\n".join(lines), user=USER)

    def test_without_a_single_watch(self):
        self.hold_with(watches=0)

    def test_with_few_watches(self):
        self.hold_with(watches=5)

    def test_without_events(self):
        self.hold_with(instances=0)


@unittest.skipIf(os.geteuid(), "only root mounts, and says how many events are kept")
class ModelOfRoot(Held):
    def test_over_an_overlay(self):
        self.hold("unshare", "--mount", place="/dev/shm", mount="overlay")

    def test_written_to_by_another_mount(self):
        self.hold("unshare", "--mount", mount="bind")

    def test_with_a_queue_that_overflows(self):
        before = QUEUE.read_text()
        try:
            QUEUE.write_text("3")
            self.hold()
        finally:
            QUEUE.write_text(before)


if __name__ == "__main__":
    unittest.main()
