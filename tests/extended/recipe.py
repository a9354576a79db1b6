"""A recipe of recipes/, served as a person would serve it, but for the paths on this machine."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from server import HANG, Server

RECIPES = Path(__file__).with_name("recipes")


def run(*command, **options):
    """What a command that must succeed writes to its standard output."""
    options = {"check": True, "timeout": HANG, "stdout": subprocess.PIPE, **options}
    return subprocess.run(list(map(str, command)), **options).stdout


def curl(*arguments):
    """The content that curl gets."""
    return run("curl", "-sS", "--fail", "--max-time", HANG, *arguments)


def status(*arguments):
    """The status that curl gets, and the content."""
    content = run("curl", "-sS", "--max-time", HANG, "-w", "%{http_code}", *arguments)
    return int(content[-3:]), content[:-3]


def executable(path, text):
    """Writes a script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Recipe(unittest.TestCase):
    """Tests of what recipes/NAME.toml serves, with a `server` for all of them.

    `prepare` makes what is served below `directory`, and returns what stands for which path.
    """

    name = None

    @classmethod
    def setUpClass(cls):
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        text = (RECIPES / f"{cls.name}.toml").read_text()
        text = re.sub(r'"\w+\.example\.org"', '"127.0.0.1"', text)
        for path, stand_in in cls.prepare().items():
            assert path in text, f"{path} is not in the recipe"
            text = text.replace(path, str(stand_in))
        cls.server = cls.enterClassContext(Server(cls.directory, text))
        config = cls.directory / ".pywebd.toml"
        run(os.environ["PYWEBD"], "check", "--strict", "--config", config)

    def url(self, path=""):
        return self.server.url + path
