#!/usr/bin/env python3
"""Answers the form of the welcome page with the name that was sent."""

import html
import os
import sys
import urllib.parse

LONGEST = 10_000

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="../style.css">
</head>
<body>
<h1>{title}</h1>
<p>{text}</p>
<p><a href="../">Back</a></p>
</body>
</html>
"""


def answer(status, title, text):
    """Writes the whole answer; `title` and `text` are escaped here."""
    page = PAGE.format(title=html.escape(title), text=html.escape(text))
    content = page.encode()
    sys.stdout.buffer.write(
        b"Status: %s\n"
        b"Content-Type: text/html; charset=utf-8\n"
        b"Content-Length: %d\n"
        b"\n" % (status.encode(), len(content))
    )
    sys.stdout.buffer.write(content)


def main():
    if os.environ.get("REQUEST_METHOD") != "POST":
        return answer("405 Method Not Allowed", "Nothing was sent", "Use the form on the welcome page.")
    length = int(os.environ.get("CONTENT_LENGTH") or LONGEST)
    if length > LONGEST:
        return answer("413 Content Too Large", "That is too long", f"At most {LONGEST} bytes are read.")
    try:
        fields = urllib.parse.parse_qs(sys.stdin.buffer.read(length).decode("ascii"), errors="strict")
    except ValueError:
        return answer("400 Bad Request", "That is no form", "It is not encoded as browsers do it.")
    name = fields.get("firstname", [""])[0].strip()
    if not name:
        return answer("400 Bad Request", "The name is missing", "The field firstname is empty.")
    return answer("200 OK", f"Hello, {name}!", "This page was made by cgi-bin/post.py.")


if __name__ == "__main__":
    main()
