#!/usr/bin/env python3
"""Tells the date and time of the server."""

from datetime import datetime

now = datetime.now().astimezone()

print(
    f"""\
Content-Type: text/html; charset=utf-8
Cache-Control: no-store

<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The time on the server</title>
<link rel="stylesheet" href="../style.css">
</head>
<body>
<h1>{now:%H:%M:%S}</h1>
<p><time datetime="{now.isoformat(timespec='seconds')}">{now:%A, %d %B %Y, %Z}</time></p>
<p><a href="../">Back</a></p>
</body>
</html>"""
)
