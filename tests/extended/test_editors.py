"""Editors and deploys as people use them: once the command has ended, the next answer is the new file,
and none in its course is anything that the file has not been."""

import contextlib
import http.client
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from server import HANG, Server
from test_git import environment

ROUNDS = 8
READERS = 2

# Each worker of the server has some of them, very likely.
CONNECTIONS = 6

NAMES = ["index.html", "a.txt", "style/b.css", "style/deep/c.bin"]
EDITED = "a.txt"


def content(name, version):
    """Of the same length in each version, and longer than what programs write at once."""
    return "".join(f"version {version:03} of {name}, line {line:04}\n" for line in range(400)).encode()


def tree(version):
    """A version of the site. Each second one has a file more."""
    files = {name: content(name, version) for name in NAMES}
    if version % 2:
        files["odd.txt"] = content("odd.txt", version)
    return files


def write(directory, files):
    for name, data in files.items():
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def run(*command, **options):
    options = {"check": True, "timeout": HANG, "stdout": subprocess.DEVNULL, **options}
    subprocess.run([str(word) for word in command], **options)


class Client:
    def __init__(self, server):
        self.connection = http.client.HTTPConnection(server.host, int(server.port), timeout=HANG)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def get(self, name):
        """The content of a file; nothing where there is none."""
        self.connection.request("GET", f"/{name}")
        response = self.connection.getresponse()
        data = response.read()
        # A directory without its index may not be listed.
        absent = 404 if name else 403
        assert response.status in (200, absent), f"{name}: {response.status}"
        return data if response.status == 200 else None


class Readers:
    """Ask for everything all the time, and judge it by what may be on the disk."""

    def __init__(self, server, files, rewrites):
        self.server = server
        self.rewrites = rewrites
        self.versions = (files, files)
        self.wrong = []
        self.answers = 0
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.read) for _ in range(READERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def read(self):
        try:
            with Client(self.server) as client:
                while not self.ended.is_set():
                    for name in [*NAMES, "odd.txt", ""]:
                        self.ask(client, name)
        # It is told by the test's own thread.
        except Exception as error:
            self.wrong.append(error)

    def ask(self, client, name):
        before = self.versions
        data = client.get(name)
        file = name or "index.html"
        pairs = [(old.get(file), new.get(file)) for old, new in (before, self.versions)]
        if not any(self.may_be(data, *pair) for pair in pairs):
            self.wrong.append((name, data))
        self.answers += 1

    def may_be(self, data, old, new):
        return data in (old, new) or self.rewrites(data, old or b"", new or b"")


# What of a file may be seen while it is written, beside its old and its new version.


def nothing_else(_data, _old, _new):
    return False


def a_beginning(data, _old, new):
    """Truncated, then written from its beginning."""
    return data is not None and new.startswith(data)


def nothing_or_a_beginning(data, _old, new):
    """Removed, created, and written."""
    return data is None or new.startswith(data)


def old_behind_new(data, old, new):
    """Written over."""
    if data is None or len(data) != len(old):
        return False
    # Where the first line of the old version is.
    changes = (at for at in range(len(data)) if data[at] != new[at])
    first = next(changes, len(data))
    return data[first:] == old[first:]


class Editors(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.root = self.directory / "root"
        self.path = self.root / EDITED
        write(self.root, tree(0))

    def edit(self, command, rewrites=nothing_else, whole=False, served="root"):
        """Makes each version of a file, or of the whole site, by a command."""
        files = tree(0)
        sites = f'[site.all]\nhosts = ["*"]\nroot = "{self.directory / served}"\n'
        with (
            Server(self.directory, sites) as server,
            Readers(server, files, rewrites) as readers,
            contextlib.ExitStack() as open_clients,
        ):
            clients = [open_clients.enter_context(Client(server)) for _ in range(CONNECTIONS)]
            for version in range(1, ROUNDS + 1):
                new = tree(version) if whole else files | {EDITED: content(EDITED, version)}
                readers.versions = (files, new)
                command(version, new)
                self.expect(clients, new)
                files = new
                readers.versions = (files, files)
        self.assertEqual(readers.wrong, [])
        print(f"{self.id().split('.')[-1]}: {readers.answers} answers meanwhile")

    def expect(self, clients, files):
        for client in clients:
            for name in [*NAMES, "odd.txt"]:
                self.assertEqual(client.get(name), files.get(name), name)
            self.assertEqual(client.get(""), files["index.html"])

    def source(self, files):
        """The new version of the edited file, elsewhere."""
        path = self.directory / "source"
        path.write_bytes(files[EDITED])
        return path

    def substitute(self, *command):
        """A command with the old and the new version's number."""

        def act(version, _):
            numbers = {"OLD": f"{version - 1:03}", "NEW": f"{version:03}"}
            words = [word.replace("OLD", numbers["OLD"]).replace("NEW", numbers["NEW"]) for word in command]
            run(*words, self.path)

        return act

    def vim(self, *options):
        vim = ["vim", "-es", "-u", "NONE", "-N", *options]
        return self.substitute(*vim, "-c", "%s/version OLD/version NEW/", "-c", "wq")

    def test_vim(self):
        self.edit(self.vim(), nothing_or_a_beginning)

    def test_vim_in_place(self):
        self.edit(self.vim("--cmd", "set backupcopy=yes"), a_beginning)

    def test_sed(self):
        self.edit(self.substitute("sed", "-i", "s/version OLD/version NEW/"))

    def test_perl(self):
        self.edit(
            self.substitute("perl", "-i", "-pe", "s/version OLD/version NEW/"), nothing_or_a_beginning
        )

    def test_patch(self):
        def act(_, new):
            diff = subprocess.run(
                ["diff", "-u", self.path, self.source(new)], stdout=subprocess.PIPE, check=False
            )
            run("patch", "--quiet", self.path, input=diff.stdout)

        self.edit(act, nothing_or_a_beginning)

    def test_cp(self):
        self.edit(lambda _, new: run("cp", self.source(new), self.path), a_beginning)

    def test_tee(self):
        self.edit(lambda _, new: run("tee", self.path, input=new[EDITED]), a_beginning)

    def test_dd_without_truncation(self):
        def act(_, new):
            source = self.source(new)
            run("dd", "status=none", "bs=4k", "conv=notrunc", f"if={source}", f"of={self.path}")

        self.edit(act, old_behind_new)

    def test_install(self):
        def act(_, new):
            run("install", "-m", "644", self.source(new), self.path)

        self.edit(act, nothing_or_a_beginning)

    def test_mv(self):
        self.edit(lambda _, new: run("mv", self.source(new), self.path))

    def synchronize(self, *options):
        def act(version, new):
            source = self.directory / f"new-{version}"
            write(source, new)
            run("rsync", "--archive", "--checksum", "--delete", *options, f"{source}/", f"{self.root}/")

        return act

    def test_rsync(self):
        self.edit(self.synchronize(), whole=True)

    def test_rsync_in_place(self):
        def rewrites(data, old, new):
            return old_behind_new(data, old, new) or nothing_or_a_beginning(data, old, new)

        self.edit(self.synchronize("--inplace"), rewrites, whole=True)

    def test_tar(self):
        def act(version, new):
            source, archive = self.directory / f"new-{version}", self.directory / "new.tar"
            write(source, new)
            run("tar", "-C", source, "-cf", archive, ".")
            run("tar", "-C", self.root, "-xf", archive)
            if "odd.txt" not in new:
                (self.root / "odd.txt").unlink()

        self.edit(act, nothing_or_a_beginning, whole=True)

    def test_git_checkout(self):
        def git(*arguments):
            run("git", "-C", self.root, *arguments, env=environment(self.directory))

        git("init", "--quiet")
        for version in range(ROUNDS + 1):
            (self.root / "odd.txt").unlink(missing_ok=True)
            write(self.root, tree(version))
            git("add", "--all")
            git("commit", "--quiet", "-m", version)
            git("branch", f"v{version}")
        git("checkout", "--quiet", "v0")

        def act(version, _):
            git("checkout", "--quiet", f"v{version}")

        self.edit(act, nothing_or_a_beginning, whole=True)

    def test_a_deploy_by_a_link(self):
        (self.directory / "current").symlink_to("root")

        def act(version, new):
            write(self.directory / f"release-{version}", new)
            run("ln", "-sfn", f"release-{version}", self.directory / "current")

        self.edit(act, whole=True, served="current")


if __name__ == "__main__":
    unittest.main()
