"""The program under test, started as a person would, on a free port."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HANG = 60

# So many lines of the log are kept; a script may write a flood of them.
LINES = 10_000


def own(directory, account):
    """Gives a directory and all in it to a user."""
    for path in [Path(directory), *Path(directory).rglob("*")]:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


class Server:
    """`with Server(DIRECTORY) as server:` serves it; `server.url` is where.

    With `sites`, those of a configuration are served instead. As another user it runs where that
    one may: the directory is given to it.
    """

    def __init__(self, directory, sites=None, user=None):
        self.arguments = [directory, "--cgi", "--listen", "127.0.0.1:0"]
        if sites is not None:
            config = Path(directory) / ".pywebd.toml"
            config.write_text(f'version = 1\nserver.listen = ["127.0.0.1:0"]\n{sites}')
            self.arguments = ["--config", config]
        self.state = tempfile.TemporaryDirectory()
        self.program = Path(os.environ["PYWEBD"])
        self.identity = {}
        if user is not None:
            # Where it was built, nobody else may be able to run it.
            self.program = Path(shutil.copy(self.program, self.state.name))
            account = pwd.getpwnam(user)
            own(directory, account)
            own(self.state.name, account)
            self.identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        # What a test that ends it otherwise than by SIGTERM expects.
        self.status = 0
        self.lines = deque(maxlen=LINES)
        self.more = threading.Condition()

    def __enter__(self):
        self.process = subprocess.Popen(
            [self.program, "serve", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "XDG_STATE_HOME": self.state.name},
            **self.identity,
        )
        printed = self.process.stdout.readline()
        self.url = re.search(r"http://\S+/", printed).group()
        self.host, self.port = re.search(r"//([^:/]+):(\d+)/", self.url).groups()
        self.reader = threading.Thread(target=self._read_log)
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(HANG) == self.status, "the server did not end well"
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        self.state.cleanup()

    def _read_log(self):
        for line in self.process.stderr:
            with self.more:
                self.lines.append(line)
                self.more.notify_all()

    def logged(self, *parts):
        """Waits for a line of the log with all of these parts, and returns it."""

        def found():
            return next((line for line in self.lines if all(part in line for part in parts)), None)

        with self.more:
            assert self.more.wait_for(found, HANG), f"no line with {parts} in {self.lines}"
            return found()
