"""Scripts that people write themselves, in the languages they are written in."""

import hashlib
import http.client
import os
import sysconfig
import time
import unittest
from pathlib import Path

from recipe import Recipe, curl, executable, run, status
from server import HANG

UPLOAD = os.urandom(3 << 20)
SUM = hashlib.sha256(UPLOAD).hexdigest()

PERL = """#!/usr/bin/perl -T
use strict; use warnings;
use CGI;
use Digest::SHA qw(sha256_hex);
$CGI::POST_MAX = 8 << 20;
my $cgi = CGI->new;
my $name = $cgi->param('name') // '';
print $cgi->header(-type => 'text/plain', -charset => 'utf-8',
    -cookie => $cgi->cookie(-name => 'seen', -value => $name));
print "name=$name method=", $cgi->request_method, " info=", $cgi->path_info,
    " url=", $cgi->url(-absolute => 1), "\\n";
print "cookie=", scalar($cgi->cookie('seen')) // '', "\\n";
if (my $handle = $cgi->upload('file')) {
    binmode $handle;
    local $/;
    print "file=", scalar($cgi->param('file')), " sum=", sha256_hex(<$handle>), "\\n";
}
"""

SHELL = """#!/bin/sh
# The variables are the whole environment; the query is never an argument.
printf 'Status: 201 Made\\nContent-Type: text/plain\\n\\n'
echo "arguments=$# directory=$(pwd) home=${HOME-unset} user=${USER-unset}"
echo "query=$QUERY_STRING info=$PATH_INFO name=$SCRIPT_NAME"
head -c "${CONTENT_LENGTH:-0}"
"""

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *given = getenv("CONTENT_LENGTH");
    long length = given ? atol(given) : 0, sum = 0, count = 0;
    for (int byte; count < length && (byte = getchar()) != EOF; count++)
        sum += byte;
    printf("Content-Type: text/plain\\r\\n\\r\\n%s %ld of %ld, sum %ld\\n",
           getenv("REQUEST_METHOD"), count, length, sum);
    return 0;
}
"""

PYTHON = """#!/usr/bin/python3
import cgi
import hashlib

form = cgi.FieldStorage()
print("Content-Type: text/plain; charset=utf-8\\n")
print("module", cgi.__file__)
print("name", ascii(form.getfirst("name")), "all", form.getlist("many"))
if "file" in form:
    file = form["file"]
    print("file", file.filename, file.type, hashlib.sha256(file.file.read()).hexdigest())
"""

EVENTS = """#!/bin/sh
# Events with the time they are written at, each when somebody has let the script go on.
printf 'Content-Type: text/event-stream\\nCache-Control: no-cache\\n\\n'
while printf 'data: %s\\n\\n' "$(date +%s.%N)"
      read -r word && [ "$word" != end ]
do :
done <"../$QUERY_STRING"
"""


class Scripts(Recipe):
    name = "scripts"

    @classmethod
    def prepare(cls):
        root = cls.directory / "www"
        scripts = root / "cgi-bin"
        for name, text in [("form.pl", PERL), ("shell", SHELL), ("form.py", PYTHON), ("events", EVENTS)]:
            executable(scripts / name, text)
        (cls.directory / "program.c").write_text(PROGRAM)
        run("gcc", "-Wall", "-Werror", "-o", scripts / "program", cls.directory / "program.c")
        (cls.directory / "upload.bin").write_bytes(UPLOAD)
        return {"/srv/www/scripts": root}

    def script(self, name):
        return self.url(f"cgi-bin/{name}")

    def upload(self):
        return ["-F", f"file=@{self.directory}/upload.bin", "-F", "name=Zoë"]

    def test_perl_with_cgi_pm(self):
        got = curl(self.script("form.pl/a%20b?name=Zo%C3%AB")).decode()
        self.assertIn("name=Zoë method=GET info=/a b url=/cgi-bin/form.pl\n", got)
        got = curl("--data-urlencode", "name=a&b", self.script("form.pl")).decode()
        self.assertIn("name=a&b method=POST info= url=/cgi-bin/form.pl\n", got)
        got = curl(*self.upload(), self.script("form.pl")).decode()
        self.assertIn("name=Zoë method=POST", got)
        self.assertIn(f"file=upload.bin sum={SUM}\n", got)

    def test_perl_gets_its_cookie_back(self):
        jar = self.directory / "jar"
        curl("-c", jar, self.script("form.pl?name=oats"))
        self.assertIn(b"cookie=oats\n", curl("-b", jar, self.script("form.pl")))

    def test_shell(self):
        code, content = status("--data-binary", "abc", self.script("shell/x/y?-s+1"))
        self.assertEqual(code, 201)
        first, second, rest = content.decode().split("\n")
        directory = self.directory / "www/cgi-bin"
        self.assertEqual(first, f"arguments=0 directory={directory} home=unset user=unset")
        self.assertEqual(second, "query=-s+1 info=/x/y name=/cgi-bin/shell")
        self.assertEqual(rest, "abc")

    def test_a_compiled_program(self):
        total, length = sum(UPLOAD), len(UPLOAD)
        self.assertEqual(curl(self.script("program")), b"GET 0 of 0, sum 0\n")
        got = curl("--data-binary", f"@{self.directory}/upload.bin", self.script("program"))
        self.assertEqual(got.decode(), f"POST {length} of {length}, sum {total}\n")

    def test_python_with_cgi(self):
        assert_form(self, Path(sysconfig.get_path("stdlib")) / "cgi.py")

    def test_events_come_when_they_are_written(self):
        for name, coding in [("plain", "identity"), ("coded", "gzip, deflate, br, zstd")]:
            with self.subTest(coding):
                delays = self.delays(name, coding)
                print("events take", *[f"{delay * 1000:.1f}" for delay in delays], "ms")
                # Some are late where the machine has other things to do; of a server that waits all are.
                self.assertLess(sorted(delays)[len(delays) // 4], 0.1)

    def delays(self, name, coding):
        """How long after they are written events come, none of which another one follows by itself."""
        pipe = self.directory / "www" / name
        os.mkfifo(pipe)
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=HANG)
        self.addCleanup(connection.close)
        # Open for both, it waits for nobody.
        with open(pipe, "r+b", buffering=0) as go:
            headers = {"Accept": "text/event-stream", "Accept-Encoding": coding}
            connection.request("GET", f"/cgi-bin/events?{name}", headers=headers)
            response = connection.getresponse()
            self.assertEqual(response.getheader("Content-Type"), "text/event-stream")
            self.assertIsNone(response.getheader("Content-Encoding"))
            delays = []
            for word in [b"on\n"] * 8 + [b"end\n"]:
                written = float(response.readline().removeprefix(b"data: "))
                delays.append(time.time() - written)
                self.assertEqual(response.readline(), b"\n")
                go.write(word)
            self.assertEqual(response.read(), b"")
        return delays


class LegacyCgi(Recipe):
    name = "legacy-cgi"

    @classmethod
    def prepare(cls):
        root, package = cls.directory / "www", cls.directory / "legacy-cgi"
        executable(root / "cgi-bin" / "form.py", PYTHON)
        (cls.directory / "upload.bin").write_bytes(UPLOAD)
        pip = ["/usr/bin/python3", "-m", "pip", "install", "--quiet", "--root-user-action", "ignore"]
        run(*pip, "--disable-pip-version-check", "--target", package, "legacy-cgi", timeout=240)
        return {"/srv/www/forms": root, "/usr/local/lib/legacy-cgi": package}

    def test_python_with_legacy_cgi(self):
        assert_form(self, self.directory / "legacy-cgi/cgi.py")


def assert_form(test, module):
    """form.py parses what browsers send, with this module."""
    script = test.url("cgi-bin/form.py")
    got = curl(f"{script}?name=Zo%C3%AB&many=1&many=2").decode()
    test.assertEqual(got, f"module {module}\nname 'Zo\\xeb' all ['1', '2']\n")
    got = curl("-d", "name=a%26b", "-d", "many=1", script).decode()
    test.assertEqual(got, f"module {module}\nname 'a&b' all ['1']\n")
    file = f"file=@{test.directory}/upload.bin;type=image/png"
    got = curl("-F", file, "-F", "name=x", "-F", "many=1", script).decode()
    expected = f"module {module}\nname 'x' all ['1']\nfile upload.bin image/png {SUM}\n"
    test.assertEqual(got, expected)


if __name__ == "__main__":
    unittest.main()
