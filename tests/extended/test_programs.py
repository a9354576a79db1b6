"""Programs that people run as scripts, from Debian's packages, each by its recipe."""

import hashlib
import html
import os
import re
import shutil
import unittest
from urllib.parse import urljoin

from recipe import Recipe, curl, executable, run, status

LARGE = os.urandom(1 << 20) * 4


class Awstats(Recipe):
    name = "awstats"

    @classmethod
    def prepare(cls):
        # It looks for its configuration beside itself before it does in /etc/awstats.
        program = cls.directory / "cgi-bin" / "awstats.pl"
        program.parent.mkdir()
        shutil.copy("/usr/lib/cgi-bin/awstats.pl", program)
        data, log = cls.directory / "data", cls.directory / "access.log"
        data.mkdir()
        log.write_text(
            "".join(
                f'192.0.2.{n} - - [07/Oct/2023:10:00:{n:02} +0000] "GET /oats-{n}.html HTTP/1.1" 200 1000 '
                '"-" "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0"\n'
                for n in range(10, 17)
            )
        )
        (program.parent / "awstats.example.org.conf").write_text(
            f'LogFile="{log}"\nLogFormat=1\nSiteDomain="example.org"\nDirData="{data}"\n'
            'DirIcons="/awstats-icon"\n'
        )
        run(program, "-config=example.org", "-update")
        return {"/usr/lib/cgi-bin/awstats.pl": program}

    def test_a_month_and_the_pages_it_leads_to(self):
        frames = self.url("cgi-bin/awstats.pl?config=example.org&year=2023&month=10")
        page = self.linked(frames, r'src="([^"]*framename=mainright)"')
        content = curl(page).decode()
        self.assertIn("Statistics for example.org (2023-10)", content)
        self.assertIn("192.0.2.16", content)
        self.assertIn("/oats-12.html", content)
        hosts = self.linked(page, r'href="([^"]*output=lasthosts)"')
        self.assertIn("192.0.2.10", curl(hosts).decode())

    def test_its_icons(self):
        page = self.url("cgi-bin/awstats.pl?config=example.org&framename=mainright")
        icon = self.linked(page, r'<img src="(/awstats-icon/[^"]+\.png)"')
        self.assertTrue(curl(icon).startswith(b"\x89PNG"))

    def test_the_first_page_is_that_of_the_site(self):
        self.assertIn("Statistics for example.org", curl("-L", self.url()).decode())

    @staticmethod
    def linked(page, pattern):
        """Where a link of a page leads to."""
        link = re.search(pattern, curl(page).decode())
        return urljoin(page, html.unescape(link[1]))


class Fossil(Recipe):
    name = "fossil"

    @classmethod
    def prepare(cls):
        cls.repository = cls.directory / "project.fossil"
        cls.environment = {"PATH": "/usr/bin:/bin", "HOME": str(cls.directory), "USER": "alice"}
        executable(
            cls.directory / "project.cgi", f"#!/usr/bin/fossil\nrepository: {cls.repository}\n"
        )
        cls.fossil("init", "--admin-user", "alice", cls.repository)
        cls.fossil("user", "password", "alice", "secret", "-R", cls.repository)
        cls.work("seed", cls.repository, LARGE)
        return {"/srv/fossil": cls.directory}

    @classmethod
    def fossil(cls, *arguments, **options):
        return run("/usr/bin/fossil", *arguments, env=cls.environment, **options)

    @classmethod
    def work(cls, name, repository, content):
        """Opens a repository, and commits a file to it."""
        work = cls.directory / name
        work.mkdir()
        cls.fossil("open", repository, cwd=work)
        (work / f"{name}.bin").write_bytes(content)
        cls.fossil("add", f"{name}.bin", cwd=work)
        cls.fossil("commit", "-m", f"Add {name}", "--no-warnings", cwd=work)

    def test_pages(self):
        self.assertIn("Add seed", curl(self.url("timeline")).decode())
        self.assertEqual(curl(self.url("raw?ci=tip&filename=seed.bin")), LARGE)
        self.assertEqual(status(self.url("nothing-such"))[0], 404)
        # The first page is a redirect to what the repository says, made from its own idea of where it is.
        location = run("curl", "-sS", "-o", "/dev/null", "-w", "%{redirect_url}", self.url()).decode()
        self.assertTrue(location.startswith(self.url()), location)

    def test_clone_and_push(self):
        clone = self.directory / "clone.fossil"
        self.fossil("clone", self.url(), clone)
        self.fossil("setting", "autosync", "off", "-R", clone)
        self.work("work", clone, LARGE[::-1])
        self.assertEqual((self.directory / "work/seed.bin").read_bytes(), LARGE)
        for password, outcome, arrives in [("wrong", b"login failed", False), ("secret", b"done", True)]:
            remote = self.url().replace("//", f"//alice:{password}@")
            self.assertIn(outcome, self.fossil("push", remote, "--once", "-R", clone))
            self.assertEqual(b"Add work" in curl(self.url("timeline")), arrives)
        self.assertEqual(curl(self.url("raw?ci=tip&filename=work.bin")), LARGE[::-1])


class Php(Recipe):
    name = "php"

    @classmethod
    def prepare(cls):
        cls.root = cls.directory / "www"
        cls.root.mkdir()
        pages = {
            "index.php": "<?php echo 'the first page of ', $_SERVER['SCRIPT_NAME'];",
            "info.php": "<?php phpinfo();",
            "form.php": """<?php
                header('Content-Type: text/plain');
                setcookie('seen', 'yes');
                echo json_encode(['get' => $_GET, 'post' => $_POST], JSON_UNESCAPED_UNICODE), "\\n";
                foreach ($_FILES as $file)
                    echo $file['name'], ' ', $file['error'], ' ',
                        hash_file('sha256', $file['tmp_name']), "\\n";
                """,
            "where.php": """<?php
                header('Content-Type: text/plain');
                foreach (['PATH_INFO', 'SCRIPT_NAME', 'SCRIPT_FILENAME', 'PHP_SELF', 'REQUEST_URI'] as $name)
                    echo $name, '=', $_SERVER[$name] ?? '-', "\\n";
                echo 'directory=', getcwd(), "\\n";
                """,
            "gone.php": "<?php http_response_code(410); header('X-Why: moved'); echo 'gone';",
            "moved.php": "<?php header('Location: /where.php/moved');",
            "broken.php": "<?php echo 'before'; nothing_such();",
            "visits.php": "<?php session_start(); echo $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;",
            "evil.jpg": "<?php echo strrev('edoc live');",
            "sub/index.php": "<?php echo 'below ', $_SERVER['SCRIPT_NAME'];",
            ".user.ini": "upload_max_filesize = 64M\npost_max_size = 65M\n"
            f"session.save_path = {cls.directory}\n",
        }
        for name, text in pages.items():
            (cls.root / name).parent.mkdir(exist_ok=True)
            (cls.root / name).write_text(text)
        (cls.directory / "upload.bin").write_bytes(LARGE)
        return {"/srv/www/php": cls.root}

    def test_forms(self):
        got = curl(self.url("form.php?name=Zo%C3%AB&a[]=1&a[]=2")).decode()
        self.assertEqual(got, '{"get":{"name":"Zoë","a":["1","2"]},"post":[]}\n')
        got = curl("-d", "name=a%26b", self.url("form.php?x=y")).decode()
        self.assertEqual(got, '{"get":{"x":"y"},"post":{"name":"a&b"}}\n')

    def test_an_upload(self):
        self.assert_uploaded()

    def test_an_upload_of_unknown_length(self):
        self.assert_uploaded("-H", "Transfer-Encoding: chunked")

    def assert_uploaded(self, *options):
        form = ["-F", f"file=@{self.directory}/upload.bin", "-F", "name=x"]
        got = curl(*options, *form, self.url("form.php")).decode()
        total = hashlib.sha256(LARGE).hexdigest()
        self.assertEqual(got, f'{{"get":[],"post":{{"name":"x"}}}}\nupload.bin 0 {total}\n')

    def test_phpinfo(self):
        page = curl(self.url("info.php")).decode()
        self.assertIn("CGI/FastCGI", page)
        self.assertIn("pywebd/", page)

    def test_index_pages(self):
        self.assertEqual(curl(self.url()), b"the first page of /index.php")
        self.assertEqual(curl(self.url("sub/?x")), b"below /sub/index.php")
        self.assertEqual(curl("-L", self.url("sub")), b"below /sub/index.php")

    def test_a_session(self):
        jar = self.directory / "jar"
        visits = [curl("-b", jar, "-c", jar, self.url("visits.php")) for _ in range(3)]
        self.assertEqual(visits, [b"1", b"2", b"3"])

    def test_no_query_is_an_option_of_the_interpreter(self):
        prepend = "-d+allow_url_include%3d1+-d+auto_prepend_file%3d/etc/passwd"
        for query in ["-s", "-n+-s", "-i", "%2Ds", prepend]:
            with self.subTest(query):
                self.assertEqual(curl(self.url(f"index.php?{query}")), b"the first page of /index.php")

    def test_a_path_behind_the_page(self):
        got = curl(self.url("where.php/a%20b/c?d=e")).decode().splitlines()
        expected = [
            "PATH_INFO=/a b/c",
            "SCRIPT_NAME=/where.php",
            f"SCRIPT_FILENAME={self.root}/where.php",
            "PHP_SELF=/where.php/a b/c",
            "REQUEST_URI=/where.php/a%20b/c?d=e",
            f"directory={self.root}",
        ]
        self.assertEqual(got, expected)

    def test_what_is_no_page_is_not_run(self):
        for path in ["evil.jpg/x.php", "evil.jpg/.php", "evil.jpg%2Fx.php", "evil.jpg%00.php", "evil.jpg/"]:
            with self.subTest(path):
                code, content = status(self.url(path))
                self.assertIn(code, [400, 403, 404])
                self.assertNotIn(b"evil code", content)
        self.assertEqual(status(self.url("nothing.php"))[0], 404)
        self.assertEqual(status(self.url(".user.ini"))[0], 404)

    def test_status_redirect_and_error(self):
        self.assertEqual(status(self.url("gone.php")), (410, b"gone"))
        self.assertIn(b"PATH_INFO=/moved\n", curl("-L", self.url("moved.php")))
        self.assertEqual(status(self.url("broken.php"))[0], 500)
        self.server.logged("nothing_such()")


class PhpFront(Recipe):
    name = "php-front"

    @classmethod
    def prepare(cls):
        root = cls.directory / "www"
        (root / "wp-content/uploads").mkdir(parents=True)
        (root / "index.php").write_text(
            "<?php header('Content-Type: text/plain');"
            "echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'],"
            " ' ', file_get_contents('php://input');"
        )
        (root / "style.css").write_text("p { color: teal }")
        (root / "wp-content/uploads/evil.php").write_text("<?php echo strrev('edoc live');")
        return {"/srv/www/blog": root}

    def test_one_page_answers_for_all_that_is_no_file(self):
        for path in ["", "2026/11/oats?page=2", "a%20b/"]:
            with self.subTest(path):
                expected = f"GET /{path} /index.php "
                self.assertEqual(curl(self.url(path)).decode(), expected)
        got = curl("-d", "a=b", self.url("wp-json/wp/v2/posts")).decode()
        self.assertEqual(got, "POST /wp-json/wp/v2/posts /index.php a=b")
        self.assertEqual(curl(self.url("style.css")), b"p { color: teal }")

    def test_an_upload_is_not_run(self):
        self.assertNotIn(b"evil code", status(self.url("wp-content/uploads/evil.php"))[1])
        self.assertNotIn(b"evil code", status(self.url("wp-content/uploads/evil.php/x"))[1])


if __name__ == "__main__":
    unittest.main()
