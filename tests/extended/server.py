"""The program under test, started as a person would, on a free port."""

import os
import re
import subprocess
import tempfile
import threading
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HANG = 60


class Server:
    """`with Server(DIRECTORY) as server:` serves it; `server.url` is where.

    With `sites`, those of a configuration are served instead.
    """

    def __init__(self, directory, sites=None):
        self.arguments = [directory, "--cgi", "--listen", "127.0.0.1:0"]
        if sites is not None:
            config = Path(directory) / ".pywebd.toml"
            config.write_text(f'version = 1\nserver.listen = ["127.0.0.1:0"]\n{sites}')
            self.arguments = ["--config", config]
        self.state = tempfile.TemporaryDirectory()
        self.lines = []
        self.more = threading.Condition()

    def __enter__(self):
        self.process = subprocess.Popen(
            [os.environ["PYWEBD"], "serve", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": self.state.name},
        )
        printed = self.process.stdout.readline()
        self.url = re.search(r"http://\S+/", printed).group()
        self.host, self.port = re.search(r"//([^:/]+):(\d+)/", self.url).groups()
        self.reader = threading.Thread(target=self._read_log)
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(HANG) == 0, "the server did not end well"
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
