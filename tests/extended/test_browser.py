"""The welcome site in a real browser: headless Chromium, driven over the WebDriver protocol."""

import json
import re
import subprocess
import tempfile
import unittest
import urllib.request
from pathlib import Path

from server import HANG, REPOSITORY, Server

NAME = 'Zoë <b>&"'

CHROMIUM = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    """One session of the W3C WebDriver protocol."""

    def __enter__(self):
        # Processes of the browser may write there after the driver's end.
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            ["/usr/bin/chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True
        )
        for line in self.driver.stdout:
            if started := re.search(r"started successfully on port (\d+)", line):
                break
        self.base = f"http://127.0.0.1:{started.group(1)}/session"
        options = {"args": [*CHROMIUM, f"--user-data-dir={self.profile.name}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.base += "/" + session["sessionId"]
        # A click returns before the next page is there: elements are waited for.
        self.call("POST", "/timeouts", {"implicit": HANG * 1000})
        return self

    def __exit__(self, *_):
        self.call("DELETE", "")
        self.driver.terminate()
        self.driver.wait(HANG)
        self.driver.stdout.close()
        self.profile.cleanup()

    def call(self, method, path, data=None):
        content = None if data is None else json.dumps(data).encode()
        fields = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, content, fields, method=method)
        with urllib.request.urlopen(request, timeout=HANG) as response:
            return json.load(response)["value"]

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def element(self, selector):
        """The first element for a CSS selector, or for an XPath expression."""
        using = "xpath" if selector.startswith("//") else "css selector"
        found = self.call("POST", "/element", {"using": using, "value": selector})
        return "/element/" + next(iter(found.values()))

    def type(self, selector, text):
        self.call("POST", self.element(selector) + "/value", {"text": text})

    def click(self, selector):
        self.call("POST", self.element(selector) + "/click", {})

    def text(self, selector):
        return self.call("GET", self.element(selector) + "/text")

    def complaints(self):
        log = self.call("POST", "/se/log", {"type": "browser"})
        return [entry for entry in log if "favicon.ico" not in entry["message"]]


class Welcome(unittest.TestCase):
    def test_a_visitor_sees_the_page_and_uses_its_scripts(self):
        with Server(REPOSITORY / "www") as server, Browser() as browser:
            browser.open(server.url)
            self.assertIn("pywebd", browser.run("return document.title"))
            self.assertGreater(browser.run("return document.images[0].naturalWidth"), 0)

            browser.type("input[name=firstname]", NAME)
            browser.click("form button")
            self.assertIn(NAME, browser.text("//h1[starts-with(., 'Hello')]"))
            self.assertEqual(browser.run("return document.querySelectorAll('b').length"), 0)
            server.logged("POST /cgi-bin/post.py", "200")

            browser.open(server.url + "cgi-bin/guestbook.py")
            browser.type("input[name=name]", NAME)
            browser.type("input[name=message]", "I was <i>here</i>")
            browser.click("form button")
            self.assertIn("I was <i>here</i>", browser.text("dl"))
            self.assertIn(NAME, browser.text("dl"))

            browser.open(server.url + "cgi-bin/time.py")
            self.assertTrue(browser.text("time"))
            self.assertEqual(browser.complaints(), [])


class Files(unittest.TestCase):
    def test_a_visitor_sorts_a_listing_and_walks_back(self):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory) / "a folder" / "deeper"
            folder.mkdir(parents=True)
            for name, size in [("one.txt", 3), ("two.txt", 1), ("three.txt", 2)]:
                (folder / name).write_text("x" * size)
            with Server(directory) as server, Browser() as browser:
                names = "return [...document.querySelectorAll('tbody a')].slice(1).map(a => a.text)"
                browser.open(server.url + "a%20folder/deeper/")
                self.assertEqual(browser.run(names), ["one.txt", "three.txt", "two.txt"])
                browser.click("//th/a[. = 'Size']")
                browser.element("//th[@aria-sort = 'ascending']/a[. = 'Size']")
                self.assertEqual(browser.run(names), ["two.txt", "three.txt", "one.txt"])
                browser.click("//th/a[. = 'Size']")
                browser.element("//th[@aria-sort = 'descending']")
                self.assertEqual(browser.run(names), ["one.txt", "three.txt", "two.txt"])
                browser.click("//nav/a[. = 'a folder']")
                browser.element("//td/a[. = 'deeper/']")
                self.assertEqual(browser.complaints(), [])

    def test_a_page_arrives_compressed_and_changes_when_it_is_edited(self):
        with tempfile.TemporaryDirectory() as directory:
            page = Path(directory) / "index.html"
            text = "<!DOCTYPE html><html lang=en><title>t</title><h1>first</h1>" + "<p>more</p>" * 500
            page.write_text(text)
            with Server(directory) as server, Browser() as browser:
                browser.open(server.url)
                self.assertEqual(browser.text("h1"), "first")
                size = "return performance.getEntriesByType('navigation')[0].encodedBodySize"
                self.assertLess(browser.run(size), len(text) / 4)
                # The same length, as soon as possible.
                for word in ["other", "third", "forth"]:
                    page.write_text(text.replace("first", word))
                    # What the browser itself keeps for a moment, it keeps by the URL.
                    browser.open(f"{server.url}?{word}")
                    self.assertEqual(browser.text("h1"), word)

    def test_a_password_opens_what_it_protects(self):
        with tempfile.TemporaryDirectory() as directory:
            private = Path(directory) / "private"
            private.mkdir()
            (private / "index.html").write_text("<h1>inside</h1>")
            hashed = subprocess.run(
                ["openssl", "passwd", "-6", "secret"], check=True, capture_output=True, text=True
            )
            (Path(directory) / ".users").write_text(f"zoe:{hashed.stdout}")
            site = f"""
                [site.a]
                hosts = ["*"]
                root = "{directory}"
                [site.a.path."/private/"]
                auth = {{ basic = ".users", realm = "club" }}
            """
            with Server(directory, site) as server, Browser() as browser:
                address = server.url.removeprefix("http://")
                browser.open(f"http://zoe:secret@{address}private/")
                self.assertEqual(browser.text("h1"), "inside")
                browser.open(f"http://zoe:wrong@{address}private/?again")
                self.assertNotIn("inside", browser.run("return document.documentElement.outerHTML"))


if __name__ == "__main__":
    unittest.main()
