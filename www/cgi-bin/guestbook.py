#!/usr/bin/env python3
"""A guestbook in an SQLite database, in the directory that STATE_DIRECTORY names."""

import html
import os
import sqlite3
import sys
import urllib.parse
from contextlib import closing
from pathlib import Path

LONGEST = 10_000
NEWEST = 50

TABLE = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    written TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name TEXT NOT NULL,
    message TEXT NOT NULL
)
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<link rel="stylesheet" href="../style.css">
</head>
<body>
<h1>Guestbook</h1>
{content}
<p><a href="../">Back</a></p>
</body>
</html>
"""

FORM = """\
<form method="post">
<label for="name">Name</label> <input id="name" name="name" required maxlength="100">
<label for="message">Message</label> <input id="message" name="message" required maxlength="1000">
<button type="submit">Write</button>
</form>
"""

NO_PLACE = """\
<p>{reason}</p>
<p>Give this script a directory that it may write to, at the path key of its folder:
<code>env = {{ STATE_DIRECTORY = "/var/lib/pywebd-cgi" }}</code></p>
"""


def answer(content, *fields):
    """Writes the whole answer; `content` is markup."""
    page = PAGE.format(content=content).encode()
    head = [*fields, "Content-Type: text/html; charset=utf-8", "Cache-Control: no-store"]
    sys.stdout.buffer.write("\n".join(head).encode() + b"\n\n" + page)


def database():
    """Opens the database, and makes it when it is not there.

    Writers wait for each other: SQLite locks the file, and the time-out is how long one waits.
    """
    # systemd separates several directories by colons.
    directory = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if not directory:
        raise OSError("STATE_DIRECTORY is not set.")
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(Path(directory) / "guestbook.db", timeout=20)
    connection.execute(TABLE)
    return connection


def write(connection):
    """Keeps what was sent, and sends the browser back to the page."""
    length = int(os.environ.get("CONTENT_LENGTH") or 0)
    if length > LONGEST:
        return answer("<p>That is too long.</p>", "Status: 413 Content Too Large")
    sent = sys.stdin.buffer.read(length).decode("ascii", "replace")
    fields = urllib.parse.parse_qs(sent)
    name = fields.get("name", [""])[0].strip()[:100]
    message = fields.get("message", [""])[0].strip()[:1000]
    if not (name and message):
        return answer("<p>Name and message are needed.</p>" + FORM, "Status: 400 Bad Request")
    with connection:
        connection.execute("INSERT INTO entry (name, message) VALUES (?, ?)", (name, message))
    # With a status the browser follows; a Location alone would be followed by the server.
    here = urllib.parse.quote(os.environ["SCRIPT_NAME"])
    return answer("<p>Thank you.</p>", "Status: 303 See Other", f"Location: {here}")


def read(connection):
    """Shows the newest entries."""
    rows = connection.execute(
        "SELECT written, name, message FROM entry ORDER BY id DESC LIMIT ?", (NEWEST,)
    )
    entries = "".join(
        f"<dt><strong>{html.escape(name)}</strong> {written} UTC</dt><dd>{html.escape(message)}</dd>\n"
        for written, name, message in rows
    )
    answer(FORM + (f"<dl>\n{entries}</dl>" if entries else "<p>Be the first to write.</p>"))


def main():
    try:
        connection = database()
    except (OSError, sqlite3.Error) as error:
        reason = html.escape(f"There is no place to write to: {error}")
        return answer(NO_PLACE.format(reason=reason), "Status: 500 Internal Server Error")
    with closing(connection):
        if os.environ.get("REQUEST_METHOD") == "POST":
            return write(connection)
        return read(connection)


if __name__ == "__main__":
    main()
