"""Ask an older httpd.py and this one the same, and compare every byte.

    python3 .ci/replay.py OLD [--count N] [--seed N]

OLD is an older httpd.py: `git show COMMIT:httpd.py > FILE`.  Both serve the
same folder, with several sets of options.  Each gets the heads of the tests'
table of requests, what real clients send, and mutations of both, each on a
connection of its own with another request behind it.  The answers and the log
lines must be equal but for what VARIES, and for MEANT, which lists what is
meant to differ and why.  What differs is printed; the exit status is 1 then.
"""

import argparse
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, HERE)
import test_httpd

PATIENCE = 10           # seconds for an answer
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OPTIONS = [[], ["--head", "--spa", "--dotfiles", "--log-format", "json"],
           ["--no-listing", "-H", "Cache-Control: max-age=60",
            "--trusted-proxy", "127.0.0.1", "--log-format", "common"]]
FILES = {
    "index.html": b"<!DOCTYPE html>\n<title>Home</title>\n" + b"home " * 99,
    "style.css": b"body { color: red }\n" * 50, "small.txt": b"small\n",
    "empty": b"", "data.bin": bytes(range(256)) * 1000,
    "large.bin": bytes(range(256)) * 5000, "app.js": b"let a = 1;\n" * 9000,
    "app.js.br": b"as br", "latin.txt": b"caf\xe9\n", "404.html": b"not here",
    "list/f10.txt": b"ten", "list/f2.txt": b"two", "list/a b&c.txt": b"",
    "list/.hidden": b"hidden", "folder/index.htm": b"in the folder"}
CURL = b"User-Agent: curl/7.88.1\r\nAccept: */*\r\n"
WGET = (b"User-Agent: Wget/1.21.3\r\nAccept: */*\r\n"
        b"Accept-Encoding: identity\r\nConnection: Keep-Alive\r\n")
BROWSER = (
    b"Connection: keep-alive\r\nsec-ch-ua-mobile: ?0\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux"
    b" x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
    b" Safari/537.36\r\nAccept: text/html,application/xhtml+xml,"
    b"application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.9\r\n")
MORE = [b"", b"Range: bytes=0-99\r\n", b"Range: bytes=5-9,100-,-3\r\n",
        b"Range: bytes=9999999-\r\n", b"If-None-Match: *\r\n",
        b"If-Modified-Since: Sat, 29 Oct 2050 19:43:31 GMT\r\n",
        b"Accept: application/json\r\n", b"X-Forwarded-For: 192.0.2.7\r\n",
        b"Want-Repr-Digest: sha-256=1\r\n", b"Connection: close\r\n",
        b"Content-Length: 5\r\n", b'If-Range: "x"\r\nRange: bytes=1-2\r\n']

# What differs between any two servers and moments.
VARIES = [(rb"(?m)^Date: .*\r$", b"Date"),
          (rb"\b[0-9a-f]{32}\b(?=[\r\-])", b"BOUNDARY"),
          (rb"[0-9]{2}/[A-Z][a-z]{2}/[0-9:]{13} [+-][0-9]{4}", b"TIME"),
          (rb"\"(port|duration_us)\", [0-9]+", b"NUMBER")]
# What is meant to differ: a pattern, what stands for it, and the reason.
MEANT = [
    (rb"<p>[^<]*</p>", b"<p>", "error pages say it in other words"),
    (rb"(HTTP/1\.1 [45][^\r]*\r\n(?:[^\r]+\r\n)*?Content-Length: )[0-9]+",
     rb"\1N", "so their lengths differ"),
    (rb'(" [45]..) [0-9]+', rb"\1 N", "in the log, too"),
    (rb'("bytes", )[0-9]+(.*"status", [45])', rb"\1N\2", "and in JSON"),
]


def requests(chance, count):
    """Yield *count* heads: the tables', real ones, then mutations of both."""
    targets = ["/", *("/" + name.replace(" ", "%20") for name in FILES),
               "/list", "/list/", "/list/?sort=size&order=desc", "/folder",
               "/folder/", "/nothing", "/app/route", "/%2e%2e/x", "/a%zz"]
    real = [b"GET %s HTTP/1.1\r\nHost: localhost:8080\r\n%s%s\r\n" % (
        target.encode(), client, more)
        for target in targets for client in (CURL, WGET, BROWSER)
        for more in MORE]
    known = [head for head, *_ in test_httpd.REQUESTS] + real
    yield from known[:count]
    for _ in range(count - len(known)):
        yield test_httpd.spoiled(chance, real)


class Replayed:
    """An httpd.py that is asked, as a process; its log goes to a file."""

    def __init__(self, log, program, folder, options):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, program, "-d", folder, "-b", "127.0.0.1",
             *options, "0"], stdout=self.log, stderr=subprocess.PIPE)
        start = b""
        while b"Ctrl-C" not in start:
            start += self.process.stderr.readline()
        self.port = int(re.search(rb":([0-9]+)/\n", start).group(1))

    def answer(self, head):
        """Return all that comes for *head*, until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port),
                                      PATIENCE) as sock:
            blocks = []
            with contextlib.suppress(ConnectionError):
                sock.sendall(head + LAST)
                blocks = list(iter(lambda: sock.recv(1 << 18), b""))
        return b"".join(blocks)

    def lines(self):
        """End it; return its log."""
        self.process.terminate()
        said = self.process.communicate(timeout=60)[1]
        self.log.seek(0)
        return self.log.read().splitlines(), said


def alike(data):
    """Return *data* without what VARIES or is MEANT to differ.

    JSON in any order of its names.
    """
    if data.startswith(b"{"):
        data = json.dumps(sorted(json.loads(data.decode()).items()),
                          separators=(", ", ": ")).encode()
    for pattern, replacement, *_ in VARIES + MEANT:
        data = re.sub(pattern, replacement, data)
    return data


def differences(old, new, what):
    """Print what differs; return how many of them do."""
    found = 0
    for before, after, subject in zip(old, new, what):
        if alike(before) != alike(after):
            found += 1
            print("%.500r\n  old: %.700r\n  new: %.700r" % (
                subject, before, after))
    if len(old) != len(new):
        print("%d and %d of them" % (len(old), len(new)))
        found += 1
    return found


def main():
    """Compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory() as folder, (
            contextlib.ExitStack()) as stack:
        for name, content in FILES.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        time.sleep(0.2)     # or their times would say nothing yet
        for options in OPTIONS:
            heads = list(requests(random.Random(args.seed), args.count))
            servers = [Replayed(
                stack.enter_context(tempfile.TemporaryFile()), program, folder,
                options) for program in (
                    args.old, os.path.join(HERE, "httpd.py"))]
            answers = [list(map(server.answer, heads)) for server in servers]
            logs, said = zip(*[server.lines() for server in servers])
            found += differences(*answers, heads)
            found += differences(*logs, ["the log"] * max(map(len, logs)))
            print("%s: %d requests, %d differ; said: %r" % (
                " ".join(options) or "no options", len(heads), found, said))
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
