"""What `pywebd completions` prints, in the shells that it is for: somebody types, with the key TAB, and
the shell runs what the line has become."""

import os
import pty
import select
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from server import HANG

BASH = """\
. /usr/share/bash-completion/bash_completion
bind 'set enable-bracketed-paste off'
PS1='READY> '
"""
ZSH = """\
fpath=("$PWD" $fpath)
autoload -Uz compinit
compinit -u -D
unset zle_bracketed_paste
unsetopt auto_remove_slash
PS1='READY> '
"""
# Takes the place of the program.
TELL = "pywebd() { printf 'GOT:%s:\\n' \"$*\"; }\n"


class Typed(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        (self.directory / "my site.toml").touch()
        (self.directory / "folder").mkdir()

    def script(self, shell, name):
        script = subprocess.run([os.environ["PYWEBD"], "completions", shell], check=True, capture_output=True).stdout
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(script)

    def typed(self, shell, line):
        """What a command is run with once a line is typed."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.directory)
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "XDG_DATA_HOME": str(self.directory),
                "TERM": "dumb",
            }
            os.execvpe(shell[0], shell, environment)
        try:
            self.until(terminal, b"READY> ")
            os.write(terminal, line.encode() + b"\n")
            output = self.until(terminal, b":\r\n", b"GOT:")
            return output.rpartition(b"GOT:")[2].partition(b":\r\n")[0].decode()
        finally:
            os.close(terminal)
            os.waitpid(child, 0)

    def until(self, terminal, *wanted):
        """What a shell prints until it has printed something."""
        output, end = b"", time.monotonic() + HANG
        while not all(text in output for text in wanted):
            ready, _, _ = select.select([terminal], [], [], end - time.monotonic())
            self.assertTrue(ready, output)
            output += os.read(terminal, 4096)
        return output

    def completes(self, shell):
        for line, command in [
            ("pywebd expl\thttp://a --cl\t::1", "explain http://a --client ::1"),
            ("pywebd check --conf\tmy\t --stri\t", "check --config my site.toml --strict"),
            ("pywebd serve fol\t --lis\t:80", "serve folder/ --listen :80"),
            ("pywebd --color ne\tdif\t", "--color never diff"),
            ("pywebd launch\tx", "launchx"),
            ("pywebd comple\tx", "complex"),
        ]:
            with self.subTest(line=line):
                # The Z shell prefers `--option=value`.
                self.assertEqual(self.typed(shell, line).replace("=", " "), command)


class Bash(Typed):
    def test_it_completes(self):
        self.script("bash", "bash-completion/completions/pywebd")
        (self.directory / "start").write_text(BASH + TELL)
        self.completes(["bash", "--noprofile", "--rcfile", "start", "-i"])


class Zsh(Typed):
    def test_it_completes(self):
        self.script("zsh", "_pywebd")
        (self.directory / ".zshrc").write_text(ZSH + TELL)
        self.completes(["zsh", "-d", "-i"])


class Fish(Typed):
    def test_it_completes(self):
        self.script("fish", "pywebd.fish")
        for line, offered in [
            ("pywebd expl", ["explain"]),
            ("pywebd check --conf", ["--config"]),
            ("pywebd check --config my", ["my site.toml"]),
            ("pywebd serve fol", ["folder/"]),
            ("pywebd launch", []),
            ("pywebd comple", []),
        ]:
            with self.subTest(line=line):
                self.assertEqual(self.offered(line), offered)

    def offered(self, line):
        script = "source pywebd.fish; complete --do-complete $argv"
        command = ["fish", "--no-config", "--command", script, line]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        output = subprocess.run(
            command, cwd=self.directory, env=environment, check=True, capture_output=True, text=True
        ).stdout
        return [option.partition("\t")[0] for option in output.splitlines()]


if __name__ == "__main__":
    unittest.main()
