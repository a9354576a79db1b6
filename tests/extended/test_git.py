"""Git over HTTP, and the programs that show repositories, each by its recipe."""

import hashlib
import os
import re
import shutil
import subprocess
import time
import unittest
from pathlib import Path

from recipe import Recipe, curl, run, status
from server import HANG

SOURCE = "#include <stdio.h>\n\nint main(void) { puts(\"oats & <barley>\"); }\n"


def environment(home):
    """Nothing that this machine or its user has set for git."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Zoë",
        "GIT_AUTHOR_EMAIL": "zoe@example.org",
        "GIT_COMMITTER_NAME": "Zoë",
        "GIT_COMMITTER_EMAIL": "zoe@example.org",
    }


class Repository(Recipe):
    """Serves a repository with a commit, which is shared with the user of the scripts.

    Where that is possible it belongs to somebody else.
    """

    @classmethod
    def prepare(cls):
        cls.environment = environment(cls.directory)
        cls.repositories = cls.directory / "git"
        cls.repository = cls.repositories / "project.git"
        seed = cls.directory / "seed"
        cls.git("init", "--quiet", "--bare", "--shared=group", "--initial-branch=main", cls.repository)
        cls.git("init", "--quiet", "--initial-branch=main", seed)
        (seed / "main.c").write_text(SOURCE)
        cls.commit(seed, "Add a program")
        cls.git("push", "--quiet", cls.repository, "main", cwd=seed)
        (cls.repository / "description").write_text("About oats\n")
        if os.geteuid() == 0:
            for path in [cls.repository, *cls.repository.rglob("*")]:
                shutil.chown(path, "nobody")

    @classmethod
    def git(cls, *arguments, trace=None, committed=None, **options):
        variables = dict(cls.environment)
        if committed:
            variables["GIT_COMMITTER_DATE"] = f"@{committed} +0000"
        if trace:
            variables |= {"GIT_TRACE_CURL": str(trace), "GIT_TRACE_CURL_NO_DATA": "1"}
        return run("git", *arguments, env=variables, **options)

    @classmethod
    def commit(cls, work, message):
        cls.git("add", "--all", cwd=work)
        cls.git("commit", "--quiet", "--allow-empty", "-m", message, cwd=work)


class HttpBackend(Repository):
    name = "git"

    @classmethod
    def prepare(cls):
        super().prepare()
        passwords = cls.directory / "git.htpasswd"
        run("htpasswd", "-B", "-b", "-c", passwords, "alice", "secret", stderr=subprocess.DEVNULL)
        return {"/srv/git": cls.repositories, "/etc/pywebd/git.htpasswd": passwords}

    def remote(self, credentials=""):
        return self.url("project.git").replace("//", f"//{credentials}")

    def clone(self, name):
        work = self.directory / name
        self.git("clone", "--quiet", self.remote(), work)
        return work

    def test_a_large_push_arrives_as_it_was(self):
        work = self.clone("work")
        self.assertEqual((work / "main.c").read_text(), SOURCE)
        content = os.urandom(50 << 20)
        (work / "large.bin").write_bytes(content)
        self.commit(work, "Add random data")
        trace = self.directory / "push-trace"
        self.git("push", "--quiet", self.remote("alice:secret@"), "main", cwd=work, trace=trace)
        self.assertRegex(trace.read_text(errors="replace"), "(?i)send header: transfer-encoding: chunked")
        self.server.logged('"POST /project.git/git-receive-pack HTTP/1.1" 401')
        fresh = self.clone("fresh")
        received = (fresh / "large.bin").read_bytes()
        self.assertEqual(hashlib.sha256(received).digest(), hashlib.sha256(content).digest())
        self.git("fsck", "--strict", cwd=fresh)

    def test_a_compressed_request_is_understood(self):
        """Git compresses a request of more than 1024 bytes, such as one with many commits.

        It offers those of a later second than the newest that both sides have.
        """
        work, other = self.clone("many"), self.clone("other")
        later = int(time.time()) + 10
        for number in range(80):
            self.git("commit", "--quiet", "--allow-empty", "-m", str(number), cwd=work, committed=later)
        (other / "news").write_text("news\n")
        self.commit(other, "Add news")
        self.git("push", "--quiet", self.remote("alice:secret@"), "HEAD:refs/heads/news", cwd=other)
        trace = self.directory / "fetch-trace"
        self.git("fetch", "--quiet", "origin", cwd=work, trace=trace)
        self.assertRegex(trace.read_text(errors="replace"), "(?i)send header: content-encoding: gzip")
        self.assertEqual(self.git("show", "origin/news:news", cwd=work), b"news\n")

    def test_a_push_needs_the_password(self):
        work = self.clone("refused")
        (work / "more").write_text("more\n")
        self.commit(work, "Add more")
        for credentials, reason in [
            ("", "terminal prompts disabled"),
            ("alice:wrong@", "HTTP 401"),
            ("bob:secret@", "HTTP 401"),
        ]:
            with self.subTest(credentials):
                command = ["git", "push", self.remote(credentials), "HEAD:refs/heads/refused"]
                outcome = subprocess.run(
                    command, cwd=work, env=self.environment, capture_output=True, text=True,
                    timeout=HANG, check=False,
                )
                self.assertNotEqual(outcome.returncode, 0)
                self.assertIn(reason, outcome.stderr)
        self.assertNotIn(b"refused", self.git("ls-remote", self.remote()))
        for path in ["project.git/git-receive-pack", "project.git/git-receive%2Dpack"]:
            self.assertEqual(status("-d", "0000", self.url(path))[0], 401)

    def test_what_is_no_repository_is_not_found(self):
        self.assertEqual(status(self.url("none.git/info/refs?service=git-upload-pack"))[0], 404)
        self.assertEqual(status(self.url("project.git/description"))[0], 404)
        self.assertEqual(curl(self.url("project.git/HEAD")), b"ref: refs/heads/main\n")


class Cgit(Repository):
    name = "cgit"

    @classmethod
    def prepare(cls):
        super().prepare()
        config = cls.directory / "cgitrc"
        text = Path("/etc/cgitrc").read_text()
        config.write_text(f"{text}\nscan-path={cls.repositories}\n")
        return {"/etc/cgitrc": config}

    def test_repositories_a_repository_and_a_file(self):
        page = curl(self.url()).decode()
        self.assertIn("About oats", page)
        self.assertIn("href='/project.git/'", page)
        style = re.search(r"href='/(cgit-css/[^']+\.css)'", page)[1]
        self.assertIn(b"div#cgit", curl(self.url(style)))
        self.assertIn("Add a program", curl(self.url("project.git/")).decode())
        tree = curl(self.url("project.git/tree/main.c")).decode()
        self.assertIn("oats &amp; &lt;barley&gt;", tree)
        self.assertEqual(curl(self.url("project.git/plain/main.c")).decode(), SOURCE)

    def test_a_clone_without_another_program(self):
        work = self.directory / "work"
        self.git("clone", "--quiet", self.url("project.git"), work)
        self.assertEqual((work / "main.c").read_text(), SOURCE)

    def test_what_is_not_there(self):
        self.assertEqual(status(self.url("none.git/"))[0], 404)


class Gitweb(Repository):
    name = "gitweb"

    @classmethod
    def prepare(cls):
        super().prepare()
        config = cls.directory / "gitweb.conf"
        text = Path("/etc/gitweb.conf").read_text()
        config.write_text(text.replace("/var/lib/git", str(cls.repositories)))
        return {"/etc/gitweb.conf": config}

    def test_repositories_a_repository_and_a_file(self):
        page = curl(self.url()).decode()
        self.assertIn("About oats", page)
        self.assertIn("project.git", page)
        summary = curl(self.url("?p=project.git;a=summary")).decode()
        self.assertIn("Add a program", summary)
        self.assertIn("Add a program", curl(self.url("project.git/log")).decode())
        blob = curl(self.url("project.git/blob_plain/main:/main.c")).decode()
        self.assertEqual(blob, SOURCE)

    def test_its_own_files(self):
        page = curl(self.url()).decode()
        for name in ["gitweb.css", "gitweb.js", "git-logo.png", "git-favicon.png"]:
            with self.subTest(name):
                self.assertIn(f"static/{name}", page)
                self.assertGreater(len(curl(self.url(f"static/{name}"))), 100)


if __name__ == "__main__":
    unittest.main()
