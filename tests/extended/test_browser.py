"""The welcome site in a real browser: headless Chromium, driven over the WebDriver protocol."""

import json
import re
import subprocess
import tempfile
import unittest
import urllib.request

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
        self.profile = tempfile.TemporaryDirectory()
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


if __name__ == "__main__":
    unittest.main()
