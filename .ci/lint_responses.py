"""lint_responses.py - judge httpd.py's responses by httplint

SYNOPSIS
    python .ci/lint_responses.py

Needs httplint (PyPI).  Exit status 1 if it says anything at its levels "bad"
or "warning" that EXPLAINED has no reason for.
"""

import gzip
import http.client
import os
import sys
import tempfile
import time

import httplint
from httplint.note import levels

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import httpd

# Note's class: why it is right as it is.
EXPLAINED = {
    "PARTIAL_WITHOUT_RANGE":
        "RFC 9110, 15.3.7.2: each part has it, the whole must not",
    "FRESHNESS_NO_CACHE_NO_VALIDATOR":
        "a folder changes without a time to tell it by: ask each time",
    "STATUS_BAD_REQUEST": "it is one",
}

REQUESTS = [
    # what, target, fields
    ("file", "/page.html", {}),
    ("file by gzip", "/page.html", {"Accept-Encoding": "gzip"}),
    ("sidecar", "/style.css", {"Accept-Encoding": "gzip"}),
    ("large file", "/large.bin", {}),
    ("empty file", "/empty.txt", {}),
    ("not modified", "/page.html", {"If-None-Match": "*"}),
    ("precondition failed", "/page.html", {"If-Match": '"x"'}),
    ("one range", "/large.bin", {"Range": "bytes=5-9"}),
    ("several ranges", "/large.bin", {"Range": "bytes=5-9,20-29"}),
    ("range not satisfiable", "/page.html", {"Range": "bytes=9999999-"}),
    ("digest", "/page.html", {"Want-Repr-Digest": "sha-256=1"}),
    ("redirect", "/folder", {}),
    ("listing", "/folder/", {}),
    ("listing as JSON", "/folder/", {"Accept": "application/json"}),
    ("not found", "/nothing", {}),
    ("not acceptable", "/empty.txt", {"Accept-Encoding": "identity;q=0"}),
    ("bad path", "/%zz", {}),
]


def write_site(root):
    """Write the files that REQUESTS names into the folder *root*."""
    os.mkdir(os.path.join(root, "folder"))
    for name, content in [
            ("page.html", b"<!DOCTYPE html><title>Page</title>" * 20),
            ("style.css", b"body {}"),
            ("style.css.gz", gzip.compress(b"body {}")),
            ("large.bin", os.urandom(200000)), ("empty.txt", b""),
            ("folder/a b.txt", b"a")]:
        with open(os.path.join(root, name), "wb") as file:
            file.write(content)


def notes_on(connection, target, fields):
    """Return httplint's notes on the answer to a GET of *target*."""
    connection.request("GET", target, headers=fields)
    response = connection.getresponse()
    content = response.read()
    linter = httplint.HttpResponseLinter()
    linter.process_response_topline(
        b"HTTP/1.1", str(response.status).encode(), response.reason.encode())
    linter.process_headers([(name.encode(), value.encode())
                            for name, value in response.getheaders()])
    linter.feed_content(content)
    linter.finish_content(True)
    return linter.notes


def main():
    """Judge all; return the exit status."""
    status = 0
    with tempfile.TemporaryDirectory() as root:
        write_site(root)
        time.sleep(0.1)     # younger files have no validators
        with httpd.Server(root, 0, "127.0.0.1") as server:
            connection = http.client.HTTPConnection(
                server.url.split("/")[2], timeout=10)
            for what, target, fields in REQUESTS:
                for note in notes_on(connection, target, fields):
                    name = type(note).__name__
                    if note.level not in (levels.BAD, levels.WARN):
                        continue
                    why = EXPLAINED.get(name)
                    print("%s: %s: %s%s" % (what, name, note.summary,
                                            " - " + why if why else ""))
                    if not why:
                        status = 1
            connection.close()
    print("%d kinds of response were judged" % len(REQUESTS))
    return status


if __name__ == "__main__":
    sys.exit(main())
