"""Tests of httpd.py and httpget.py, from the pure to the impure.

    .venv/bin/pytest                        all of them, about eight minutes
    .venv/bin/pytest -k range               those with "range" in their names
    .venv/bin/python -X dev -m pytest       with Python's own checks

Warnings are errors.

Both programs run as their users run them, as processes, with real sockets
and port 0; the servers always run with `-X dev -W error`, and a traceback or
a ResourceWarning on standard error fails the test that stops them.
"""

import ast
import atexit
import base64
import contextlib
import doctest
import email
import email.utils
import errno
import functools
import gzip
import hashlib
import html.parser
import inspect
import itertools
import json
import ntpath
import os
import posixpath
import random
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import unicodedata
import urllib.parse
import urllib.request
import zlib

import pytest

# What a platform may lack, and how to take it away.  The whole suite runs
# without some of it with, say, HTTPD_TEST_WITHOUT=sendfile,MSG_MORE.
MISSING = {
    "epoll": "import selectors as s\ns.DefaultSelector = s.PollSelector",
    "poll": ("import select, selectors as s\ndel select.poll\n"  # nor epoll
             "s.DefaultSelector = s.SelectSelector"),
    "sendfile": "import os\ndel os.sendfile",
    "MSG_MORE": "import socket\nvars(socket).pop('MSG_MORE', None)",
    "fork": "import os\ndel os.fork",
    "AF_UNIX": (    # socketpair() is then one of TCP, as on Windows
        "import socket\n"
        "def pair():\n"
        "    with socket.socket() as listener:\n"
        "        listener.bind(('127.0.0.1', 0))\n"
        "        listener.listen(1)\n"
        "        one = socket.socket()\n"
        "        one.connect(listener.getsockname())\n"
        "        return one, listener.accept()[0]\n"
        "socket.socketpair = pair\ndel socket.AF_UNIX"),
    "SO_REUSEPORT": "import socket\nvars(socket).pop('SO_REUSEPORT', None)",
    "set_wakeup_fd": ("import signal\n"
                      "signal.set_wakeup_fd = lambda *args, **kwargs: -1"),
    "SIGHUP": "import signal\ndel signal.SIGHUP",
    "dir_fd": "import os\nos.supports_dir_fd = frozenset()",
    "scandir of a descriptor": "import os\nos.supports_fd = frozenset()",
    "O_PATH": ("import os\nfor name in ('O_PATH', 'O_NOFOLLOW',"
               " 'O_DIRECTORY', 'O_NONBLOCK', 'O_NOCTTY'):\n"
               "    vars(os).pop(name, None)"),
    "resource": (   # and other modules of Unix alone
        "import sys\nfor name in ('resource', 'pwd', 'grp', 'mmap'):\n"
        "    sys.modules[name] = None"),
    "ssl": "import sys\nsys.modules['ssl'] = sys.modules['_ssl'] = None",
    "IPv6": ("import socket\nplain = socket.socket\n"
             "class IPv4(plain):\n"
             "    def __init__(self, family=2, *args, **kwargs):\n"
             "        if family == socket.AF_INET6:\n"
             "            raise OSError(97, 'no such family')\n"
             "        plain.__init__(self, family, *args, **kwargs)\n"
             "socket.socket = IPv4"),
}
WITHOUT = os.environ.get("HTTPD_TEST_WITHOUT", "")
WITHOUT = WITHOUT.split(",") if WITHOUT else []


def lacking(folder, features):
    """Return an environment whose Pythons lack *features*.

    They run what is written to *folder* before all else.
    """
    with open(os.path.join(str(folder), "sitecustomize.py"), "w") as file:
        file.writelines(MISSING[feature] + "\n" for feature in features)
    return dict(os.environ, PYTHONPATH=str(folder))


def needs(feature):
    """Return the mark of a test that is about *feature* itself."""
    return pytest.mark.skipif(feature in WITHOUT,
                              reason="HTTPD_TEST_WITHOUT=" + feature)


if WITHOUT:     # this process does, too, and all that it starts
    without = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, without)
    os.environ.update(lacking(without, WITHOUT))
    for _feature in WITHOUT:
        exec(MISSING[_feature], {})
    if "sendfile" in WITHOUT:
        shutil._USE_CP_SENDFILE = False     # it has looked already

import httpd
import httpget

HERE = os.path.dirname(os.path.abspath(__file__))
HTTPD = os.path.join(HERE, "httpd.py")
HTTPGET = os.path.join(HERE, "httpget.py")
PYPY = sys.implementation.name == "pypy"
# Where daemons are; not in every user's PATH.
SBIN = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
PATIENCE = 20       # seconds until a test that waits for an event gives up

# ---- Helpers ----------------------------------------------------------------


def wait_until(condition, what):
    """Return the first true value of condition(); fail after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "waited in vain for " + what
        time.sleep(0.005)


class Running:
    """httpd.py as a process of its own, on a free port.

    Its access log is a file.  After its start it says nothing on standard
    error, or what *says*, a regular expression, matches: so no traceback and
    no warning.
    """

    def __init__(self, directory, *options, **settings):
        if "fork" in WITHOUT and {"-w", "--workers"}.intersection(options):
            pytest.skip("HTTPD_TEST_WITHOUT=fork")
        flags = settings.pop("flags", ["-X", "dev", "-W", "error"])
        self.log_file = tempfile.NamedTemporaryFile("ab")
        shell_limit = settings.pop("shell_limit", None)
        prelude = settings.pop("prelude", None)
        self.says = settings.pop("says", rb"")
        port = str(settings.pop("port", 0))
        program = [HTTPD]
        if prelude:  # what to change in the module first
            program = ["-c", "import sys\nsys.path.insert(0, %r)\nimport httpd"
                       "\n%s\nsys.exit(httpd.main())" % (HERE, prelude)]
        command = [sys.executable] + flags + program + [
            "-d", str(directory)] + list(options) + [port]
        if shell_limit:
            command = ["sh", "-c", shell_limit, "sh"] + command
        settings.setdefault("stdout", self.log_file)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE,
                                        **settings)
        self.pid = self.process.pid
        self.start_message = b""
        for line in iter(self.process.stderr.readline, b""):
            self.start_message += line
            if b"Ctrl-C" in line:
                break
        assert b"sitecustomize" not in self.start_message
        found = re.search(rb"https?://\S+:([0-9]+)/", self.start_message)
        assert found, self.start_message
        self.port = int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        messages = self.stop()
        if kind is None:
            assert re.fullmatch(self.says, messages, re.DOTALL), messages
            assert self.process.returncode == 0

    def stop(self, number=signal.SIGTERM):
        """Stop it if it runs; return what it said after it had started."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            messages = self.process.communicate(timeout=40)[1]
        except ValueError:  # stopped before
            messages = b""
        self.log_file.close()
        return messages

    def log_lines(self):
        """Return what the access log holds at this moment."""
        with open(self.log_file.name, encoding="ascii") as file:
            return file.read().splitlines()

    def log(self, count):
        """Return the lines of the access log, once there are *count*."""
        def lines():
            lines = self.log_lines()
            return lines if len(lines) >= count else None
        found = wait_until(lines, "%d log lines" % count)
        assert len(found) == count, found
        return found

    def logged(self, text):
        """Return the first line of the access log that has *text* in it."""
        def line():
            for line in self.log_lines():
                if text in line:
                    return line
        return wait_until(line, "a log line with %r" % text)

    def descriptors(self):
        """Return how many descriptors it has open."""
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def memory(self, name="VmRSS"):
        """Return its memory in KiB, as /proc has it under *name*."""
        return memory_of(self.pid, name)


def memory_of(pid, name):
    """Return the memory of process *pid* in KiB, by its name in /proc."""
    with open("/proc/%d/status" % pid) as status:
        return int(re.search(name + r":\s+([0-9]+)", status.read()).group(1))


class Answer:
    """One response as it came over the wire."""

    def __init__(self, head, content):
        self.head = head
        self.content = content
        lines = head[:-4].split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 ([0-9]{3}) ([A-Za-z ]+)", lines[0])
        assert match, lines[0]
        self.status = int(match.group(1))
        self.reason = match.group(2).decode()
        self.fields = {}
        for line in lines[1:]:
            name, colon, value = line.decode("latin-1").partition(": ")
            assert colon and name.lower() not in self.fields, line
            self.fields[name.lower()] = value

    def same_as(self, other):
        """Return whether both are equal but for the Date."""
        return (self.status, self.content, dict(self.fields, date="")) == (
            other.status, other.content, dict(other.fields, date=""))


class Wire:
    """A raw connection to the server at *port*."""

    def __init__(self, port, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def send(self, data):
        """Send all of *data*."""
        self.sock.sendall(data)
        return self

    def get(self, target, *lines, **settings):
        """Send a GET and return its Answer."""
        self.send(request_for(target, *lines, **settings))
        return self.response()

    def has_input(self):
        """Return whether there is something to read."""
        return bool(select.select([self.sock], [], [], 0)[0])

    def _more(self):
        data = self.sock.recv(1 << 18)
        assert data, "closed after %r" % self.received[-200:]
        self.received += data

    def head(self):
        """Return exactly one response head."""
        while b"\r\n\r\n" not in self.received:
            self._more()
        head, end, self.received = self.received.partition(b"\r\n\r\n")
        return head + end

    def response(self, method="GET"):
        """Return exactly one response."""
        answer = Answer(self.head(), b"")
        if method == "HEAD" or answer.status == 304:
            return answer
        if answer.fields.get("transfer-encoding") == "chunked":
            assert "content-length" not in answer.fields
            answer.content = b"".join(iter(self._chunk, b""))
        else:
            answer.content = self._take(int(answer.fields["content-length"]))
        return answer

    def _take(self, length):
        blocks, self.received = [self.received], b""
        left = length - len(blocks[0])
        while left > 0:     # not joined each time: it may be 64 MiB
            self._more()
            blocks.append(self.received)
            left -= len(self.received)
            self.received = b""
        data = b"".join(blocks)
        self.received = data[length:]
        return data[:length]

    def _chunk(self):
        while b"\r\n" not in self.received:
            self._more()
        size, _, self.received = self.received.partition(b"\r\n")
        assert re.fullmatch(b"[0-9a-f]+", size)
        data = self._take(int(size, 16) + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    def rest(self):
        """Yield what comes until the server closes."""
        while True:
            data = self.sock.recv(1 << 18)
            if not data:
                return
            yield data

    def end(self):
        """Assert that the server closes, and sends nothing before."""
        assert self.received == b""
        assert self.sock.recv(1000) == b""


class TLSWire(Wire):
    """The same over TLS; an end that TLS does not vouch for is an error."""

    def __init__(self, port, cafile, tls_1_2=False, later=False):
        super().__init__(port)
        self.cafile, self.tls_1_2 = cafile, tls_1_2
        if not later:
            self.shake_hands()

    def shake_hands(self):
        """Do what follows the connecting; where *later* was asked for."""
        import ssl
        context = ssl.create_default_context(cafile=self.cafile)
        if self.tls_1_2 and hasattr(context, "maximum_version"):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        elif self.tls_1_2:  # Python 3.6
            context.options |= ssl.OP_NO_TLSv1_3
        context.set_alpn_protocols(["h2", "http/1.1"])
        try:
            self.sock = context.wrap_socket(
                self.sock, server_hostname="localhost",
                suppress_ragged_eofs=False)
        except BaseException:
            self.sock.close()
            raise


def request_for(target, *lines, **settings):
    """Return the bytes of a request for *target* with more field lines."""
    method = settings.get("method", "GET")
    if isinstance(target, str):
        target = target.encode("latin-1")
    return b"\r\n".join([method.encode() + b" " + target + b" HTTP/1.1",
                         b"Host: test"] + [line.encode("latin-1")
                                           for line in lines]) + b"\r\n\r\n"


def wait_until_settled(path):
    """Wait until *path* has rested for long enough to be cached."""
    status = os.stat(str(path))
    latest = max(status.st_mtime, status.st_ctime) + 2 * httpd.SETTLED_NS / 1e9
    wait_until(lambda: time.time() > latest, "the clock")


# ---- Helpers for the pure functions -----------------------------------------

FUZZ_SEED = int(os.environ.get("FUZZ_SEED", "9112"))
# So many heads, and as many of the rest in proportion; a million at night.
FUZZ_HEADS = int(os.environ.get("FUZZ_HEADS", "20000"))
EVERY_BYTE = bytes(range(256))
TCHARS = (b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
          b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")     # RFC 9110, 5.6.2
CONTROLS = bytes(range(32)) + b"\x7f"
NOW = 1700000000.0      # 2023-11-14 22:13:20


def table(names, rows):
    """Parametrise by *rows*; the last of each says why: the test's id."""
    values = [row[:-1] if "," in names else row[0] for row in rows]
    return pytest.mark.parametrize(names, values,
                                   ids=[row[-1] for row in rows])


def outcome(function, *args):
    """Return what *function* returns, or the status of its HTTPError."""
    try:
        return function(*args)
    except httpd.HTTPError as error:
        return error.status


def head_of(*lines):
    """Return the head that *lines* make."""
    return b"\r\n".join(lines) + b"\r\n\r\n"


def get(*fields):
    """Return the head of a GET of / with Host and *fields*."""
    return head_of(b"GET / HTTP/1.1", b"Host: a", *fields)


def get_of(target, version=b"HTTP/1.1"):
    """Return the head of a GET of *target*."""
    return head_of(b"GET " + target + b" " + version, b"Host: a")


def get_at(host):
    """Return the head of a GET with *host* in Host."""
    return head_of(b"GET / HTTP/1.1", b"Host: " + host)


def get_line(length):
    """Return the head of a GET whose request line has *length* bytes."""
    line = b"GET /%s HTTP/1.1"
    return head_of(line % (b"n" * (length - len(line) + 2)), b"Host: a")


def get_head(length):
    """Return the head of a GET with *length* bytes."""
    return get(b"X: " + b"x" * (length - len(get(b"X: "))))


def is_plain(text):
    """Return whether *text* is printable ASCII and nothing else."""
    return re.fullmatch("[ -~]*", text) is not None


# ---- Helpers for httpget.py -------------------------------------------------

class ScriptedServer:
    """Answers each connection with raw bytes, or by calling *script*.

    *script* is bytes, a list of pieces sent one by one, or a function of the
    connected socket.  `requests` has the heads that came.
    """

    def __init__(self, script, family=socket.AF_INET, address="127.0.0.1"):
        self.script = script
        self.requests = []
        self.errors = []
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind((address, 0))
        self.listener.listen(8)
        self.host, self.port = self.listener.getsockname()[:2]
        self.thread = threading.Thread(target=self.serve)
        self.thread.daemon = True

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        # Closing a listener does not wake its accept(); a connection does.
        with contextlib.suppress(OSError):
            with socket.socket(self.listener.family) as sock:
                sock.connect(self.listener.getsockname())
        self.thread.join(PATIENCE)
        self.listener.close()
        assert not self.thread.is_alive()
        assert not self.errors

    def serve(self):
        while True:
            sock, _ = self.listener.accept()
            with sock:
                sock.settimeout(PATIENCE)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        data = sock.recv(65536)
                        if not data:
                            return      # __exit__
                        head += data
                    self.requests.append(head)
                    self.answer(sock)
                except OSError:
                    pass            # the client may leave when it likes
                except BaseException as exc:
                    self.errors.append(exc)
                    raise

    def answer(self, sock):
        if callable(self.script):
            self.script(sock)
        elif isinstance(self.script, bytes):
            sock.sendall(self.script)
        else:
            for piece in self.script:
                sock.sendall(piece)


class Ended:
    """How a run of httpget.py ended."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, (err or b"").decode()
        assert "Traceback" not in self.err
        assert "Warning" not in self.err
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", self.err)

    def __repr__(self):
        return "status %r, out %r\n%s" % (
            self.status, (self.out or b"")[:2000], self.err)


def start_httpget(*arguments, **popen):
    popen.setdefault("stdout", subprocess.PIPE)
    popen.setdefault("stderr", subprocess.PIPE)
    environment = dict(os.environ, PYTHONIOENCODING="utf-8")
    environment.pop("PYTHONUNBUFFERED", None)   # some tests are about it
    environment.update(popen.pop("environment", {}))
    return subprocess.Popen(
        [sys.executable, HTTPGET] + list(arguments),
        stdin=subprocess.DEVNULL, env=environment, **popen)


def hear_ctrl_c():
    """Undo what a shell does to what runs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(process, patience=PATIENCE):
    with process:
        try:
            out, err = process.communicate(timeout=patience)
        except BaseException:
            process.kill()      # or `with` would wait for it
            raise
    return Ended(process.returncode, out, err)


def run_httpget(*arguments, **popen):
    return ended(start_httpget(*arguments, **popen))


def fetch_from(script, *options, **kwargs):
    """Run httpget.py against *script*; return how it ended.

    It does not try again, unless the options tell it to.
    """
    name = kwargs.pop("name", "/file")
    with ScriptedServer(script) as server:
        result = run_httpget(*(["--retries", "0"] + list(options) + [
            server.host, str(server.port), name]), **kwargs)
        result.requests = server.requests
    return result


def message(result):
    """Return the one line that says what went wrong."""
    lines = result.err.splitlines()
    assert [n for n in lines if n.startswith("httpget.py: ")] == lines[-1:]
    return lines[-1]


@contextlib.contextmanager
def terminal():
    """Yield a terminal and a list of what is shown on it.

    The list is complete after the block, when no process has it any more.
    """
    import pty
    import tty
    master, slave = pty.openpty()
    tty.setraw(slave)       # or the terminal would turn LF into CR LF
    shown = []

    def read():         # along with it: a terminal buffers only 4 KiB
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:     # EIO: Linux's end of a terminal
                return
            if not data:
                return
            shown.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield slave, shown
    finally:
        os.close(slave)
        reader.join(PATIENCE)
        os.close(master)


def on_terminal(script, *options):
    """Run httpget.py with its output on a terminal; return (ended, shown)."""
    with terminal() as (slave, shown):
        result = fetch_from(script, *options, stdout=slave)
    return result, b"".join(shown)


def rows(table):
    """Parametrise with a table whose last column is the reason."""
    return pytest.mark.parametrize(
        ",".join("abcdef"[:len(table[0]) - 1]),
        [pytest.param(*row[:-1], id=row[-1]) for row in table])


def ok(content, *fields):
    head = [b"HTTP/1.1 200 OK"] + list(fields) + [
        b"Content-Length: %d" % len(content)]
    return b"\r\n".join(head) + b"\r\n\r\n" + content


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


# ---- Dates ------------------------------------------------------------------


@table("seconds, expected", [
    (784111777, "Sun, 06 Nov 1994 08:49:37 GMT", "the RFC's example"),
    (0, "Thu, 01 Jan 1970 00:00:00 GMT", "the epoch"),
    (951782400, "Tue, 29 Feb 2000 00:00:00 GMT", "a leap day"),
    (2**31, "Tue, 19 Jan 2038 03:14:08 GMT", "beyond 31 bits"),
    (httpd.HTTP_DATE_MAX, "Fri, 31 Dec 9999 23:59:59 GMT", "the last one"),
])
def test_http_date(seconds, expected):
    assert httpd.http_date(seconds) == expected


@table("value, expected", [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777, "IMF-fixdate"),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777, "rfc850-date"),
    ("Sun Nov  6 08:49:37 1994", 784111777, "asctime-date"),
    ("Wed Nov 16 08:49:37 1994", 784975777, "asctime-date, day of two digits"),
    ("Tue, 29 Feb 2000 00:00:00 GMT", 951782400, "leap day of 2000"),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799, "the last one"),
    ("Wed, 31 Dec 1969 23:59:59 GMT", -1, "before 1970"),
    ("Tuesday, 01-Jan-74 00:00:00 GMT", 126230400, "two digits, the past"),
    ("Wednesday, 01-Jan-70 00:00:00 GMT", 3155760000, "the future"),
    ("Wednesday, 01-Nov-73 00:00:00 GMT", 3276720000, "just under 50 years"),
    ("Monday, 31-Dec-73 00:00:00 GMT", 126144000, "just over 50 years"),
    ("Friday, 01-Jan-99 00:00:00 GMT", 915148800, "the last century"),
    ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800, "a leap second (5.6.7)"),
    ("", None, "nothing"),
    ("0", None, "a number"),
    ("784111777", None, "seconds"),
    ("sun, 06 nov 1994 08:49:37 gmt", None, "case-sensitive (5.6.7)"),
    ("Sun, 06 Nov 1994 08:49:37 UTC", None, "a zone but GMT"),
    ("Sun, 06 Nov 1994 08:49:37 +0000", None, "a numeric zone"),
    ("Sun, 06 Nov 1994 08:49:37", None, "no zone"),
    ("Sun, 6 Nov 1994 08:49:37 GMT", None, "a day of one digit"),
    ("Sun,  6 Nov 1994 08:49:37 GMT", None, "a day with a space"),
    ("Sun, 06 Nov 94 08:49:37 GMT", None, "two-digit year in IMF-fixdate"),
    ("Sun, 06-Nov-1994 08:49:37 GMT", None, "four-digit year in rfc850-date"),
    ("Sun, 06 Nov 1994 8:49:37 GMT", None, "an hour of one digit"),
    ("Sun, 06 Nov 1994 24:00:00 GMT", None, "hour 24"),
    ("Sun, 06 Nov 1994 08:60:00 GMT", None, "minute 60"),
    ("Sun, 06 Nov 1994 08:49:61 GMT", None, "second 61"),
    ("Wed, 31 Nov 1994 08:49:37 GMT", None, "31 November"),
    ("Thu, 29 Feb 1900 08:49:37 GMT", None, "1900 was no leap year"),
    ("Sun, 00 Nov 1994 08:49:37 GMT", None, "day 0"),
    ("Sun, 32 Nov 1994 08:49:37 GMT", None, "day 32"),
    ("Sun, 06 Foo 1994 08:49:37 GMT", None, "no month"),
    ("Foo, 06 Nov 1994 08:49:37 GMT", None, "no day of the week"),
    ("Fooday, 06-Nov-94 08:49:37 GMT", None, "no day of the week, rfc850"),
    ("Foo Nov  6 08:49:37 1994", None, "no day of the week, asctime"),
    ("06 Nov 1994 08:49:37 GMT", None, "day of the week left out"),
    ("Sun, 06 Nov 1994 08:49:37 GMT ", None, "a space after it"),
    (" Sun, 06 Nov 1994 08:49:37 GMT", None, "a space before it"),
    ("Sun, 06 Nov 1994 08:49:37 GMT\n", None, "a line end after it"),
    ("Sun, 06 Nov 1994 08:49:37 GMT; length=5", None, "old Netscape's"),
    ("Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", None,
     "two fields joined"),
    ("Sun, 06 Nov 19940 08:49:37 GMT", None, "five-digit year"),
    ("Sun, 06 Nov -994 08:49:37 GMT", None, "a sign in the year"),
    ("Sun, \xb26 Nov 1994 08:49:37 GMT", None, "superscript digit"),
    ("Sun, \u0660\u0666 Nov 1994 08:49:37 GMT", None, "Arabic digits"),
    ("Sun, 0_6 Nov 1994 08:49:37 GMT", None, "int() would take 0_6"),
    ("\0" * 29, None, "NULs"),
])
def test_parse_http_date(value, expected):
    assert httpd.parse_http_date(value, NOW) == expected
    # The client's knows no clock, and no time that a file could not have.
    if expected is None or 0 <= expected < 2**31:
        assert httpget.http_time(value) == expected


def test_dates_round_trip():
    """Each date reads as the standard library writes it, in three forms."""
    chance = random.Random(FUZZ_SEED)
    for _ in range(2000):
        seconds = chance.randrange(httpd.HTTP_DATE_MAX + 1)
        text = httpd.http_date(seconds)
        assert text == email.utils.formatdate(seconds, usegmt=True)
        assert httpd.parse_http_date(text, NOW) == seconds
        assert httpget.http_time(text) == (
            seconds if seconds <= httpget.TIME_MAX else None)
        asctime = time.asctime(time.gmtime(seconds))
        assert httpd.parse_http_date(asctime, NOW) == seconds
        # A year of two digits can only mean one of a hundred.
        seconds = int(NOW) + chance.randrange(-49 * 31536000, 49 * 31536000)
        rfc850 = time.strftime("%A, %d-%b-%y %H:%M:%S GMT",
                               time.gmtime(seconds))
        assert httpd.parse_http_date(rfc850, NOW) == seconds


def test_date_parser_never_raises():
    """A date of no sense is no date, whatever it is (CVE-2015-9242)."""
    chance = random.Random(FUZZ_SEED)
    samples = ["Sun, 06 Nov 1994 08:49:37 GMT",
               "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    for _ in range(3000):
        text = list(chance.choice(samples))
        for _ in range(chance.randrange(1, 4)):
            text[chance.randrange(len(text))] = chance.choice("09 :-,aN\xb2")
        seconds = httpd.parse_http_date("".join(text), NOW)
        assert seconds is None or isinstance(seconds, int), "".join(text)
        if seconds is None:
            assert httpget.http_time("".join(text)) is None, "".join(text)


# ---- Requests ---------------------------------------------------------------

PLAIN = ("GET", "/", "", False)
BODY = ("GET", "/", "close", True)
CLOSING = ("GET", "/", "close", False)

# Raw heads, each with either (method, path, connection, has_body) or the
# status of its refusal, and why.  The tests on the wire use them too.
REQUESTS = [
    # The request line: RFC 9112, 3.
    (get(), PLAIN, "the least"),
    (get_of(b"/a/b.html?c=d"), ("GET", "/a/b.html", "", False), "with query"),
    (get_of(b"/%41%2f%00"), ("GET", "/%41%2f%00", "", False),
     "the path stays encoded"),
    (get_of(b"//a//b"), ("GET", "//a//b", "", False), "empty segments"),
    (get_of(b"/\xc3\xa9"), ("GET", "/\xc3\xa9", "", False),
     "raw bytes above 0x7f, as old clients send"),
    (b"\r\n" + get(), PLAIN, "leading empty line (9112, 2.2)"),
    (b"\n" + get(), 400, "leading bare LF"),
    (b"\r" + get(), 400, "leading bare CR"),
    (b" " + get(), 400, "leading space"),
    (b"\0" + get(), 400, "leading NUL"),
    (b"\xef\xbb\xbf" + get(), 400, "leading byte order mark"),
    (head_of(b"GET  / HTTP/1.1", b"Host: a"), 400, "two spaces, first"),
    (head_of(b"GET /  HTTP/1.1", b"Host: a"), 400, "two spaces, second"),
    (head_of(b"GET\t/\tHTTP/1.1", b"Host: a"), 400, "tabs for spaces"),
    (head_of(b"GET\x0b/\x0cHTTP/1.1", b"Host: a"), 400, "VT, FF for spaces"),
    (head_of(b"GET\xa0/ HTTP/1.1", b"Host: a"), 400, "NBSP for a space"),
    (head_of(b"GET / HTTP/1.1 ", b"Host: a"), 400, "a space at the end"),
    (head_of(b"GET / HTTP/1.1\t", b"Host: a"), 400, "a tab at the end"),
    (head_of(b"GET / HTTP/1.1\r", b"Host: a"), 400, "CR CR LF"),
    (head_of(b"GET / FOO/9", b"Host: a"), 400, "another protocol"),
    (head_of(b"GET /", b"Host: a"), 400, "no version: HTTP/0.9"),
    (head_of(b"GET", b"Host: a"), 400, "a method alone"),
    (head_of(b"GET HTTP/1.1", b"Host: a"), 400, "no target"),
    (head_of(b" / HTTP/1.1", b"Host: a"), 400, "no method"),
    (head_of(b"/ HTTP/1.1", b"Host: a"), 400, "no method, no space"),
    (get_of(b"/a b"), 400, "a space in the target (CVE-2013-4547)"),
    (get_of(b"/a\tb"), 400, "a tab in the target"),
    (get_of(b"/a\0b"), 400, "NUL in the target"),
    (get_of(b"/a\x1b[2Jb"), 400, "ESC in the target"),
    (get_of(b"/a\x7fb"), 400, "DEL in the target"),
    (get_of(b"/a\rb"), 400, "bare CR in the target"),
    (get_of(b"/a\nb"), 400, "bare LF in the target"),
    (get_of(b"/a#b"), 400, "a fragment"),
    (get_of(b"/a?b#c"), 400, "a fragment after a query"),
    # The forms of the target: RFC 9112, 3.2.
    (get_of(b"http://a/b"), ("GET", "/b", "", False), "absolute-form"),
    (get_of(b"https://a/b"), ("GET", "/b", "", False), "absolute-form, https"),
    (get_of(b"HTTP://A.EXAMPLE:8080/b"), ("GET", "/b", "", False),
     "absolute-form, capitals and port"),
    (get_of(b"http://a"), PLAIN, "absolute-form, empty path (3986, 6.2.3)"),
    (get_of(b"http://a?b/c"), PLAIN, "absolute-form, query alone"),
    (get_of(b"http://[::1]:80/b"), ("GET", "/b", "", False),
     "absolute-form, IPv6"),
    (get_of(b"http://b/c"), ("GET", "/c", "", False),
     "absolute-form outranks Host (9112, 3.2.2)"),
    (head_of(b"GET http://a/ HTTP/1.1"), 400, "absolute-form without Host"),
    (get_of(b"http://"), 400, "absolute-form without a host"),
    (get_of(b"http:///b"), 400, "empty host (9110, 4.2.1)"),
    (get_of(b"http://:80/b"), 400, "empty host with a port"),
    (get_of(b"http://?b"), 400, "empty host with a query"),
    (get_of(b"http://u@a/b"), 400, "userinfo (9110, 4.2.4)"),
    (get_of(b"http://u:p@a/b"), 400, "userinfo with a password"),
    (get_of(b"http://a:b/c"), 400, "a port that is no number"),
    (get_of(b"http://a\\b/c"), 400, "a backslash in the host"),
    (get_of(b"http://a#b"), 400, "absolute-form with a fragment"),
    (get_of(b"http:/a/b"), 400, "one slash after the scheme"),
    (get_of(b"http:a"), 400, "no slash after the scheme"),
    (get_of(b"ftp://a/b"), 400, "a scheme that is not ours"),
    (get_of(b"file:///etc/passwd"), 400, "a file URI"),
    (get_of(b"*"), 400, "asterisk-form is OPTIONS'"),
    (get_of(b"a:80"), 400, "authority-form is CONNECT's"),
    (get_of(b"a"), 400, "a relative path"),
    (get_of(b"../a"), 400, "a relative path that climbs"),
    (get_of(b"?a"), 400, "a query alone"),
    (get_of(b"\\a"), 400, "a backslash for the slash"),
    # Methods: RFC 9110, 9.1.
    (head_of(b"HEAD / HTTP/1.1", b"Host: a"), ("HEAD", "/", "", False),
     "HEAD"),
    # No content follows, or it is read as another answer (9110, 9.3.2).
    (head_of(b"HEAD / HTTP/1.1"), 400, "HEAD without Host"),
    (head_of(b"HEAD / HTTP/1.1", b"Host: a", b"X : y"), 400,
     "HEAD with a malformed field"),
    (b"\r\n" + head_of(b"HEAD / HTTP/1.1", b"Host: a", b"Host: a"), 400,
     "HEAD with two Hosts, behind an empty line"),
    (head_of(b"HEAD /  HTTP/1.1", b"Host: a"), 400, "HEAD, two spaces"),
    (head_of(b"HEAD / HTTP/2.0", b"Host: a"), 505, "HEAD, another version"),
    (head_of(b"HEAD /" + b"a" * 9000 + b" HTTP/1.1", b"Host: a"), 414,
     "HEAD of a long target"),
    (head_of(b"HEAD / HTTP/1.1", b"Host: a", *[b"X: y"] * 101), 431,
     "HEAD with too many fields"),
    (head_of(b"OPTIONS * HTTP/1.1", b"Host: a"), ("OPTIONS", "", "", False),
     "OPTIONS *"),
    (head_of(b"CONNECT a:80 HTTP/1.1", b"Host: a:80"),
     ("CONNECT", "", "", False), "CONNECT and its authority-form"),
    (head_of(b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5"),
     ("POST", "", "close", True), "POST with content"),
    (head_of(b"PUT / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked"),
     ("PUT", "", "close", True), "PUT with chunks"),
    (head_of(b"get / HTTP/1.1", b"Host: a"), ("get", "", "", False),
     "methods are case-sensitive: another method"),
    (head_of(b"!#$%&'*+-.^_`|~1 / HTTP/1.1", b"Host: a"),
     ("!#$%&'*+-.^_`|~1", "", "", False), "every mark a token may have"),
    (head_of(b"G(T / HTTP/1.1", b"Host: a"), 400, "a method that is no token"),
    (head_of(b"G\xc9T / HTTP/1.1", b"Host: a"), 400, "a method not ASCII"),
    (head_of(b"GET: / HTTP/1.1", b"Host: a"), 400, "a colon in the method"),
    # Versions: RFC 9112, 2.3; DESIGN, 3.
    (get_of(b"/", b"HTTP/1.0"), CLOSING, "HTTP/1.0 closes (9112, 9.3)"),
    (head_of(b"GET / HTTP/1.0"), CLOSING, "HTTP/1.0 needs no Host"),
    (get_of(b"/", b"HTTP/1.2"), PLAIN, "HTTP/1.2"),
    (get_of(b"/", b"HTTP/1.9"), PLAIN, "HTTP/1.9"),
    (get_of(b"/", b"HTTP/0.9"), 505, "HTTP/0.9"),
    (get_of(b"/", b"HTTP/2.0"), 505, "HTTP/2.0"),
    (get_of(b"/", b"HTTP/9.9"), 505, "HTTP/9.9"),
    (head_of(b"PRI * HTTP/2.0"), 505, "the preface of HTTP/2"),
    (get_of(b"/", b"HTTP/1"), 400, "no minor version"),
    (get_of(b"/", b"HTTP/1."), 400, "no digit after the dot"),
    (get_of(b"/", b"HTTP/.1"), 400, "no digit before the dot"),
    (get_of(b"/", b"HTTP/1.10"), 400, "two digits after the dot"),
    (get_of(b"/", b"HTTP/01.1"), 400, "two digits before the dot"),
    (get_of(b"/", b"HTTP/1,1"), 400, "a comma for the dot"),
    (get_of(b"/", b"HTTP/+1.1"), 400, "a sign before the version"),
    (get_of(b"/", b"HTTP/-1.1"), 400, "a negative version"),
    (get_of(b"/", b"HTTP/1.x"), 400, "a letter for a digit"),
    (get_of(b"/", b"HTTP/1.\xb9"), 400, "a superscript digit"),
    (get_of(b"/", b"HTTP/1.\xd9\xa1"), 400, "an Arabic digit"),
    (get_of(b"/", b"http/1.1"), 400, "the name is case-sensitive (9112, 2.3)"),
    (get_of(b"/", b"HTTP /1.1"), 400, "a space in the version"),
    (get_of(b"/", b"HTTPS/1.1"), 400, "HTTPS is no protocol name"),
    # Host: RFC 9112, 3.2; RFC 9110, 7.2; RFC 3986, 3.2.2.
    (head_of(b"GET / HTTP/1.1"), 400, "no Host in 1.1"),
    (head_of(b"GET / HTTP/1.2"), 400, "no Host in 1.2"),
    (head_of(b"GET / HTTP/1.1", b"X-Host: a"), 400, "X-Host is not Host"),
    (head_of(b"GET / HTTP/1.1", b"Hostage: a"), 400, "Hostage is not Host"),
    (get(b"Host: b"), 400, "two Hosts"),
    (get(b"Host: a"), 400, "two equal Hosts"),
    (get(b"HOST: b"), 400, "two Hosts, differing case"),
    (get(b"Host:"), 400, "a second Host that is empty"),
    (head_of(b"GET / HTTP/1.1", b"Host:", b"Host: a"), 400,
     "a first Host that is empty"),
    (head_of(b"GET / HTTP/1.0", b"Host: a", b"Host: b"), 400,
     "two Hosts in 1.0"),
    (head_of(b"GET / HTTP/1.0", b"Host: a b"), 400, "invalid Host in 1.0"),
    (head_of(b"GET / HTTP/1.1", b"hOsT:a"), PLAIN,
     "names are case-insensitive, OWS may be missing"),
    (get_at(b"\ta \t"), PLAIN, "tabs and spaces around the value"),
    (get_at(b"a.example:8080"), PLAIN, "Host with a port"),
    (get_at(b"a.example:"), PLAIN, "an empty port (3986, 3.2.3)"),
    (get_at(b"a_b.example"), PLAIN, "an underscore, as on many local nets"),
    (get_at(b"127.0.0.1"), PLAIN, "an IPv4 address"),
    (get_at(b"[::1]"), PLAIN, "an IPv6 address"),
    (get_at(b"[2001:db8::1]:8080"), PLAIN, "an IPv6 address and a port"),
    (get_at(b"[::ffff:192.0.2.1]"), PLAIN, "IPv4 in IPv6"),
    (get_at(b".."), PLAIN, "dots are a reg-name, and never a path"),
    (get_at(b""), 400, "an empty Host (9110, 4.2.1)"),
    (get_at(b":80"), 400, "a port alone"),
    (get_at(b"a b"), 400, "a space in Host"),
    (get_at(b"a, a"), 400, "a list of hosts"),
    (get_at(b"a:80:80"), 400, "two ports"),
    (get_at(b"a:b"), 400, "a port of letters"),
    (get_at(b"a:-1"), 400, "a negative port"),
    (get_at(b"a:\xb2"), 400, "a superscript port"),
    (get_at(b"a/b"), 400, "a slash in Host"),
    (get_at(b"../a"), 400, "a path in Host"),
    (get_at(b"a\\b"), 400, "a backslash in Host"),
    (get_at(b"a?b"), 400, "a query in Host"),
    (get_at(b"a#b"), 400, "a fragment in Host"),
    (get_at(b"u@a"), 400, "userinfo in Host"),
    (get_at(b"http://a"), 400, "a URI in Host"),
    (get_at(b"::1"), 400, "IPv6 without brackets"),
    (get_at(b"[::1"), 400, "a bracket without its pair"),
    (get_at(b"[::1]80"), 400, "no colon before the port"),
    (get_at(b"[]"), 400, "nothing in brackets"),
    (get_at(b"[::g]"), 400, "a g in IPv6"),
    (get_at(b"[a]"), 400, "a name in brackets"),
    (get_at(b"a%zz"), 400, "a broken escape in Host"),
    (get_at(b"a%"), 400, "an escape without digits in Host"),
    (get_at(b"\xc3\xa9"), 400, "Host not ASCII"),
    (get_at(b"a\xa0"), 400, "NBSP is no OWS"),
    (get_at(b"<a>"), 400, "angle brackets in Host"),
    (get_at(b'"a"'), 400, "quotes in Host"),
    # Field lines: RFC 9112, 5; RFC 9110, 5.
    (get(b"X: a\tb  c"), PLAIN, "tabs and spaces within a value"),
    (get(b"X:"), PLAIN, "an empty value"),
    (get(b"X: \xe9\xff"), PLAIN, "obs-text in a value"),
    (get(b"X: a:b: c"), PLAIN, "colons in a value"),
    (get(b"Host : b"), 400, "space before the colon (9112, 5.1)"),
    (get(b"X\t: a"), 400, "tab before the colon"),
    (get(b" X: a"), 400, "obs-fold by a space (9112, 5.2)"),
    (get(b"\tX: a"), 400, "obs-fold by a tab"),
    (get(b"X: a", b" b"), 400, "obs-fold without a colon"),
    (get(b"X: a", b" "), 400, "obs-fold of nothing"),
    (head_of(b"GET / HTTP/1.1", b" Host: a"), 400,
     "white space before the first field (9112, 2.2)"),
    (head_of(b"GET / HTTP/1.1", b" X: b", b"Host: a"), 400,
     "a first field to be skipped (9112, 2.2)"),
    (get(b": a"), 400, "an empty name"),
    (get(b"X"), 400, "no colon"),
    (get(b"GET /b HTTP/1.1"), 400, "a second request line"),
    (get(b"X Y: a"), 400, "a space in a name"),
    (get(b"X(Y): a"), 400, "parentheses in a name"),
    (get(b'"X": a'), 400, "quotes in a name"),
    (get(b"X\xc3\xa9: a"), 400, "a name not ASCII"),
    (get(b"X\xa0: a"), 400, "NBSP in a name"),
    (get(b"X\0: a"), 400, "NUL in a name"),
    (get(b"X: a\0b"), 400, "NUL in a value"),
    (get(b"X: a\rb"), 400, "bare CR in a value (9112, 2.2)"),
    (get(b"X: a\r"), 400, "CR CR LF after a value"),
    (get(b"X: a\nY: b"), 400, "bare LF between fields"),
    (get(b"X: a\n"), 400, "LF CR LF after a value"),
    (get(b"X: a\n\rY: b"), 400, "LF CR between fields"),
    (get(b"X: a\n\nGET /b HTTP/1.1"), 400, "an end of LF LF"),
    (get(b"X: a\r\rGET /b HTTP/1.1"), 400, "an end of CR CR"),
    (head_of(b"GET / HTTP/1.1\nHost: a"), 400, "LF after the request line"),
    (head_of(b"GET / HTTP/1.1\rHost: a"), 400, "CR after the request line"),
    (get(b"X: a\x0bb"), 400, "VT in a value"),
    (get(b"X: a\x1b[2J"), 400, "ESC in a value"),
    (get(b"X: a\x7f"), 400, "DEL in a value"),
    # Content-Length: RFC 9110, 8.6; RFC 9112, 6.3.
    (get(b"Content-Length: 5"), BODY, "Content-Length"),
    (get(b"content-length:5"), BODY, "Content-Length in small letters"),
    (get(b"Content-Length: \t5 \t"), BODY, "OWS around Content-Length"),
    (get(b"Content-Length: 007"), BODY, "zeros before the length"),
    (get(b"Content-Length: 0"), PLAIN, "no content"),
    (get(b"Content-Length: 000"), PLAIN, "no content, three zeros"),
    (get(b"Content-Length: 9223372036854775807"), BODY, "2^63 - 1"),
    (get(b"Content-Length: 5", b"Content-Length: 5"), BODY,
     "equal Content-Lengths (9110, 8.6)"),
    (get(b"Content-Length: 5, 5"), BODY, "a list of equal lengths"),
    (get(b"Content-Length: 0", b"Content-Length: 0"), PLAIN, "two zeros"),
    (get(b"Content-Length: 5", b"Content-Length: 6"), 400,
     "differing Content-Lengths"),
    (get(b"Content-Length: 0", b"Content-Length: 5"), 400,
     "zero, then another"),
    (get(b"Content-Length: 5", b"content-length: 0"), 400,
     "another, then zero"),
    (get(b"Content-Length: 5, 6"), 400, "a list of differing lengths"),
    (get(b"Content-Length: 0,5"), 400, "such a list without a space"),
    (get(b"Content-Length: 5 6"), 400, "a space in the length"),
    (get(b"Content-Length:"), 400, "an empty Content-Length"),
    (get(b"Content-Length:", b"Content-Length: 5"), 400,
     "an empty one and another"),
    (get(b"Content-Length: ,"), 400, "a comma for a length"),
    (get(b"Content-Length: 5,"), 400, "a comma after the length"),
    (get(b"Content-Length: +5"), 400, "a plus sign (CVE-2022-24801)"),
    (get(b"Content-Length: -5"), 400, "a minus sign"),
    (get(b"Content-Length: -0"), 400, "minus zero"),
    (get(b"Content-Length: 0x5"), 400, "hexadecimal"),
    (get(b"Content-Length: 0b1"), 400, "binary"),
    (get(b"Content-Length: 5e1"), 400, "an exponent"),
    (get(b"Content-Length: 5.0"), 400, "a fraction"),
    (get(b"Content-Length: 1_0"), 400, "an underscore, which int() takes"),
    (get(b"Content-Length: '5'"), 400, "single quotes"),
    (get(b'Content-Length: "5"'), 400, "double quotes"),
    (get(b"Content-Length: 5;x=y"), 400, "a parameter"),
    (get(b"Content-Length: five"), 400, "a word"),
    (get(b"Content-Length: \xb2"), 400, "superscript two in latin-1"),
    (get(b"Content-Length: \xb9\xb2"), 400, "two superscripts"),
    (get(b"Content-Length: \xd9\xa5"), 400, "an Arabic five"),
    (get(b"Content-Length: \xef\xbc\x95"), 400, "a fullwidth five"),
    (get(b"Content-Length: \xa05"), 400, "NBSP before the length"),
    (get(b"Content-Length: 5\x0b"), 400, "VT after the length"),
    (get(b"Content-Length: \x0c5"), 400, "FF before the length"),
    (get(b"Content-Length: 5\0"), 400, "NUL after the length"),
    (get(b"Content-Length: 5\r"), 400, "CR after the length"),
    (get(b"Content-Length: 5\n"), 400, "LF after the length"),
    (get(b"Content-Length: 5", b" 6"), 400, "obs-fold in Content-Length"),
    (get(b"Content-Length: 99999999999999999999"), 400, "beyond 64 bits"),
    (get(b"Content-Length: " + b"9" * 5000), 400,
     "more digits than int() takes"),
    (get(b"Content-Length : 5"), 400, "space before Content-Length's colon"),
    (get(b" Content-Length: 5"), 400, "space before Content-Length"),
    (get(b"Content-Length\0: 5"), 400, "NUL in its name"),
    (get(b"Content Length: 5"), 400, "space in its name"),
    (get(b"Content_Length: 5"), PLAIN, "underscore: another field"),
    (get(b"X-Content-Length: 5"), PLAIN, "X-Content-Length: another field"),
    # Transfer-Encoding: RFC 9112, 6.1.
    (get(b"Transfer-Encoding: chunked"), BODY, "chunked"),
    (get(b"transfer-encoding:ChUnKeD"), BODY, "chunked in mixed case"),
    (get(b"Transfer-Encoding:\tchunked \t"), BODY, "OWS around chunked"),
    (head_of(b"GET / HTTP/1.0", b"Host: a", b"Connection: keep-alive",
             b"Transfer-Encoding: chunked"), BODY,
     "chunked in 1.0: closes (9112, 6.1)"),
    (get(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400,
     "CL.TE (9112, 6.3)"),
    (get(b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400,
     "TE.CL (9112, 6.3)"),
    (get(b"Transfer-Encoding: chunked", b"Content-Length: 0"), 400,
     "TE with a length of zero"),
    (get(b"Transfer-Encoding: identity", b"Content-Length: 5"), 400,
     "identity with a length"),
    (get(b"Transfer-Encoding:", b"Content-Length: 5"), 400,
     "an empty coding with a length"),
    (get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400,
     "chunked twice"),
    (get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400,
     "chunked, then identity"),
    (get(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), 400,
     "identity, then chunked"),
    (get(b"Transfer-Encoding: chunked", b"Transfer-encoding: x"), 400,
     "chunked, then unknown (TE.TE)"),
    (get(b"Transfer-Encoding: gzip, chunked"), 400, "gzip is not known here"),
    (get(b"Transfer-Encoding: chunked, gzip"), 400, "chunked not last"),
    (get(b"Transfer-Encoding: gzip"), 400, "gzip alone"),
    (get(b"Transfer-Encoding: identity"), 400, "identity"),
    (get(b"Transfer-Encoding: xchunked"), 400, "xchunked"),
    (get(b"Transfer-Encoding: chunkedx"), 400, "chunkedx"),
    (get(b"Transfer-Encoding: chunke"), 400, "chunke"),
    (get(b"Transfer-Encoding: cow"), 400, "cow"),
    (get(b"Transfer-Encoding:"), 400, "an empty coding"),
    (get(b"Transfer-Encoding: chunked;q=1"), 400, "a parameter (9112, 7.1)"),
    (get(b'Transfer-Encoding: "chunked"'), 400, "quoted chunked"),
    (get(b"Transfer-Encoding: 'chunked'"), 400, "single-quoted chunked"),
    (get(b"Transfer-Encoding: chunked chunked"), 400, "no comma between"),
    (get(b"Transfer-Encoding: \x0bchunked"), 400, "VT before chunked"),
    (get(b"Transfer-Encoding: chunked\x0c"), 400, "FF after chunked"),
    (get(b"Transfer-Encoding: \xa0chunked"), 400, "NBSP before chunked"),
    (get(b"Transfer-Encoding: \x85chunked"), 400, "NEL before chunked"),
    (get(b"Transfer-Encoding: chunked\0"), 400, "NUL after chunked"),
    (get(b"Transfer-Encoding: chunked\r"), 400, "CR after chunked"),
    (get(b"Transfer-Encoding: \nchunked"), 400, "LF before chunked"),
    (get(b"Transfer-Encoding:\n chunked"), 400, "LF and space: a bare fold"),
    (get(b"Transfer-Encoding:", b" chunked"), 400, "obs-fold of the coding"),
    (get(b"Transfer-Encoding : chunked"), 400, "space before its colon"),
    (get(b"Transfer-Encoding\t: chunked"), 400, "tab before its colon"),
    (get(b"Transfer-Encoding\r: chunked"), 400, "CR before its colon"),
    (get(b"Transfer-Encoding\n: chunked"), 400, "LF before its colon"),
    (get(b"Transfer-Encoding\xa0: chunked"), 400, "NBSP before its colon"),
    (get(b" Transfer-Encoding: chunked"), 400, "space before the name"),
    (get(b"X: x\nTransfer-Encoding: chunked"), 400, "hidden behind an LF"),
    (get(b"X: x\rTransfer-Encoding: chunked"), 400, "hidden behind a CR"),
    (get(b"Transfer Encoding: chunked"), 400, "a space in the name"),
    (get(b"Transfer_Encoding: chunked"), PLAIN,
     "underscore: another field than Transfer-Encoding"),
    (get(b"X-Transfer-Encoding: chunked"), PLAIN,
     "X-Transfer-Encoding: another field"),
    (get(b"TE: chunked"), PLAIN, "TE announces no content"),
    (get(b"Trailer: X"), PLAIN, "Trailer announces no content"),
    (get(b"Expect: 100-continue"), PLAIN, "Expect announces no content"),
    (get(b"Expect: 100-continue", b"Content-Length: 5"), BODY,
     "Expect and content"),
    (get(b"Connection: Upgrade", b"Upgrade: h2c"), PLAIN,
     "Upgrade is ignored (9110, 7.8)"),
    (get(b"Range: bytes=0-0", b"X-Range: bytes=5-"), PLAIN, "fields alike"),
    # Connection: RFC 9110, 7.6.1; RFC 9112, 9.3.
    (get(b"Connection: close"), CLOSING, "close"),
    (get(b"connection: CLOSE"), CLOSING, "options are case-insensitive"),
    (get(b"Connection: keep-alive"), PLAIN, "keep-alive is 1.1's default"),
    (get(b"Connection: keep-alive, close"), CLOSING, "close outranks"),
    (get(b"Connection: close, keep-alive"), CLOSING, "close outranks, first"),
    (get(b"Connection: x", b"Connection: close"), CLOSING, "in two fields"),
    (get(b"Connection: ,,\t, close ,,"), CLOSING,
     "empty members (9110, 5.6.1; CVE-2012-5533)"),
    (get(b"Connection: x,close"), CLOSING, "no space after the comma"),
    (get(b"Connection: closed"), PLAIN, "closed is not close"),
    (get(b"Connection: not close"), PLAIN, "two words are no option"),
    (get(b"Connection:"), PLAIN, "no option"),
    (get(b"Connection: " + b"," * 1000), PLAIN, "nothing but commas"),
    (get(b"Connection: content-length", b"Content-Length: 5"), BODY,
     "an option hides no length"),
    (head_of(b"GET / HTTP/1.0", b"Connection: Keep-Alive"),
     ("GET", "/", "keep-alive", False), "1.0 with keep-alive"),
    (head_of(b"GET / HTTP/1.0", b"Connection: x, keep-alive"),
     ("GET", "/", "keep-alive", False), "1.0 with keep-alive in a list"),
    (head_of(b"GET / HTTP/1.0", b"Connection: keep-alive, close"), CLOSING,
     "1.0 with both"),
    (head_of(b"GET / HTTP/1.0", b"Connection: keep-alive",
             b"Content-Length: 5"), BODY, "1.0 with content"),
    (head_of(b"GET / HTTP/1.0", b"Keep-Alive: timeout=5"), CLOSING,
     "Keep-Alive is not the option"),
    (head_of(b"GET / HTTP/1.0", b"Proxy-Connection: keep-alive"), CLOSING,
     "Proxy-Connection is none (9112, C.2.2)"),
    # Limits: DESIGN, 6.
    (get_line(8 * 1024), ("GET", "/" + "n" * 8178, "", False),
     "a request line of 8 KiB"),
    (b"\r\n" + get_line(8 * 1024), ("GET", "/" + "n" * 8178, "", False),
     "such a line after an empty one"),
    (get_line(8 * 1024 + 1), 414, "a request line of 8 KiB and 1"),
    (b"\r\n" + get_line(8 * 1024 + 1), 414, "that after an empty line"),
    (get_line(16 * 1024), 414, "a request line of 16 KiB"),
    (get_head(32 * 1024), PLAIN, "a head of 32 KiB"),
    (get_head(32 * 1024 + 1), 431, "a head of 32 KiB and 1"),
    (get(*[b"X: %d" % i for i in range(99)]), PLAIN, "100 field lines"),
    (b"\r\n" + get(*[b"X: %d" % i for i in range(99)]), PLAIN,
     "100 field lines after an empty line"),
    (get(*[b"X: %d" % i for i in range(100)]), 431, "101 field lines"),
    (get(*[b"X-%d: x" % i for i in range(100)]), 431, "101 fields"),
]


def test_requests_table_is_sound():
    """Each head ends where a connection would cut it, and has its own why."""
    for head, _, why in REQUESTS:
        assert head.find(b"\r\n\r\n") == len(head) - 4, why
    assert len({why for _, _, why in REQUESTS}) == len(REQUESTS) > 100
    assert len({head for head, _, _ in REQUESTS}) == len(REQUESTS)


@table("head, expected", REQUESTS)
def test_parse_request(head, expected):
    request = outcome(httpd.parse_request, head)
    if isinstance(request, httpd.Request):
        request = (request.method, request.path, request.connection,
                   request.has_body)
    assert request == expected


@pytest.mark.parametrize("head", [b"\r\n\r\n", b"\r\n\r\n\r\n"])
def test_head_of_nothing_is_refused(head):
    """Bytes in, value or HTTPError out: there is no third."""
    assert outcome(httpd.parse_request, head) == 400


@table("target, path, query", [
    (b"/a?b=c&d", "/a", "b=c&d", "a query"),
    (b"/a?b?c", "/a", "b?c", "the first ? counts"),
    (b"/a?", "/a", "", "an empty query"),
    (b"/?/../b", "/", "/../b", "no dot segments in a query"),
    (b"/a%3fb", "/a%3fb", "", "an encoded ? is of the path"),
    (b"/a%23b", "/a%23b", "", "an encoded # too"),
    (b"/a;b=c", "/a;b=c", "", "a parameter is of the path"),
    (b"/http://b/c", "/http://b/c", "", "a URI in the path"),
    (b"//b/c", "//b/c", "", "no network-path reference (9112, 3.2.1)"),
    (b"http://b?c", "/", "c", "absolute-form without a path"),
    (b"http://b/c?http://d/e", "/c", "http://d/e", "a URI in the query"),
])
def test_target_parts(target, path, query):
    request = httpd.parse_request(get_of(target))
    assert (request.path, request.query) == (path, query)


@table("head, field, expected", [
    (get(b"Accept: a", b"accept: b"), "accept", "a, b", "joined in order"),
    (get(b"X:", b"X: a", b"X:"), "x", ", a, ", "joined with empty ones"),
    (get(b"X: \t a\t b \t"), "x", "a\t b", "OWS is no part of a value"),
    (get(b"X: \xa0a\x85"), "x", "\xa0a\x85", "NBSP and NEL are no OWS"),
    (get(b"X:a:b"), "x", "a:b", "the first colon counts"),
    (get(b"X-Range: a"), "range", None, "X-Range is not Range"),
])
def test_fields(head, field, expected):
    assert httpd.parse_request(head).fields.get(field) == expected


def test_request_keeps_its_line():
    request = httpd.parse_request(b"\r\n" + get_of(b"/\xe9?a"))
    assert request.line == "GET /\xe9?a HTTP/1.1"


def test_names_are_tokens():
    """RFC 9110, 5.1: byte for byte, in the middle and at both ends."""
    for byte in EVERY_BYTE:
        one = bytes([byte])
        for name in (one, b"a" + one, one + b"a", b"a" + one + b"a"):
            result = outcome(httpd.parse_fields, [name + b": v"])
            if byte in TCHARS:
                assert result == {name.decode().lower(): "v"}
            elif byte == ord(":") and name[:1] == b"a":
                assert list(result) == ["a"]
            else:
                assert result == 400, name


def test_values_have_no_controls():
    """RFC 9110, 5.5: byte for byte, in the middle and at both ends."""
    for byte in EVERY_BYTE:
        one = bytes([byte])
        for value in (one, b"v" + one, one + b"v", b"v" + one + b"v"):
            result = outcome(httpd.parse_fields, [b"a:" + value])
            if byte in CONTROLS and one != b"\t":
                assert result == 400, value
            else:
                text = value.strip(b" \t").decode("latin-1")
                assert result == {"a": text}


def test_targets_have_no_controls():
    """Neither do they have spaces, nor methods anything but tchars."""
    for byte in EVERY_BYTE:
        one = bytes([byte])
        refused = byte in CONTROLS + b" #"
        assert (outcome(httpd.parse_request, get_of(b"/a" + one + b"b"))
                == 400) == refused, one
        assert (outcome(httpd.parse_request, head_of(
            b"G" + one + b"T / HTTP/1.1", b"Host: a")) == 400) == (
                byte not in TCHARS), one


def test_lengths_are_ascii():
    """Digits of other scripts never come from the wire: it is latin-1."""
    for digit in "\u0665\u0967\uff15\U0001d7d3":
        assert outcome(httpd.announces_body, {"content-length": digit}) == 400


@table("value, expected", [
    ("", [], "nothing"),
    ("a", ["a"], "one"),
    ("a,b", ["a", "b"], "two"),
    (" a ,\tb\t", ["a", "b"], "OWS"),
    (",, ,a,,", ["a"], "empty members (9110, 5.6.1)"),
    ("a b", ["a b"], "a space does not separate"),
    ("\xa0a", ["\xa0a"], "NBSP is no OWS"),
])
def test_parse_list(value, expected):
    assert httpd.parse_list(value) == expected


@table("received, start, expected", [
    (b"", 0, None, "nothing yet"),
    (b"\r", 0, None, "half an empty line"),
    (b"\r\n", 0, None, "an empty line"),
    (b"\r\nG", 0, None, "a letter after an empty line"),
    (b"GE", 0, None, "part of a method"),
    (b"GET / HTTP/1.1\r", 0, None, "half a line end"),
    (b"GET / HTTP/1.1\r\nHos", 0, None, "part of a field"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0, None, "all but one byte"),
    (b"GET / HTTP/1.1\r\n", 15, None, "a line end cut in two"),
    (b"\x16\x03\x01\x02\x00\x01\x00", 0, 400, "a ClientHello"),
    (b"\x80\x2e\x01", 0, 400, "a ClientHello of SSL 2"),
    (b"\x00", 0, 400, "NUL"),
    (b"\n", 0, 400, "LF"),
    (b"\rG", 0, 400, "a bare CR first"),
    (b" GET", 0, 400, "a space first"),
    (b"\xff", 0, 400, "no ASCII"),
    (b"GET / HTTP/1.1\n", 0, 400, "bare LF"),
    (b"GET / HTTP/1.1\n", 14, 400, "bare LF, come alone"),
    (b"GET /\n", 3, 400, "bare LF in what is new"),
    (b"GET / HTTP/1.1\r\nHost: a\n", 0, 400, "bare LF after a field"),
    (b"\r\n\nGET", 0, 400, "bare LF after an empty line"),
    (b"GET / HTTP/1.1\r\n\n", 0, 400, "an empty line of LF alone"),
    (b"GET /" + b"n" * 8178, 0, None, "a line that may yet be 8 KiB"),
    (get_line(8 * 1024)[:-2], 0, None, "a line of 8 KiB, and fields"),
    (b"\r\n" + get_line(8 * 1024)[:-2], 0, None, "that after an empty line"),
    (b"GET /" + b"n" * 9000, 0, 414, "a line without an end"),
    (b"\r\nGET /" + b"n" * 9000, 0, 414, "that after an empty line, too long"),
    (b"G" * 9000, 0, 414, "a method without an end"),
    (get_head(32 * 1024)[:-1], 0, None, "32 KiB but for one byte"),
    (get_head(40 * 1024)[:-4], 0, 431, "40 KiB without an end"),
])
def test_check_partial(received, start, expected):
    assert outcome(httpd.check_partial, received, start) == expected


def test_no_part_of_a_good_head_is_refused():
    """However the bytes of an acceptable head arrive, they are waited for."""
    for head, expected, why in REQUESTS:
        if isinstance(expected, int):
            continue
        step = 1 if len(head) < 2000 else 1009
        for stop in range(step, len(head), step):
            httpd.check_partial(head[:stop], stop - step)


@table("received, line", [
    (b"GET / HTTP/1.1\r\nHost: a", "GET / HTTP/1.1", "its first line"),
    (b"\r\n\r\nGET /", "GET /", "without empty lines before"),
    (b"HEAD /\n\n", "HEAD /\n\n", "of HEAD, which gets no content"),
    (b"", "", "nothing"),
    (b"\x16\x03\xff\n\x1b", "\x16\x03\xff\n\x1b", "whatever it is"),
    (b"a" * 9000, "a" * 8192, "not more than a request line"),
])
def test_unparsed_request(received, line):
    request = httpd.unparsed_request(received)
    assert request.line == line
    assert request.method == ("HEAD" if line.startswith("HEAD ") else "")
    assert request.connection == "close"
    assert request.has_body, "what follows must not be read as a request"
    assert is_plain(request.log_line)


# The request fields that an answer may depend on, Accept-Encoding aside.
SELECTING = ("if-match", "if-unmodified-since", "if-none-match",
             "if-modified-since", "range", "if-range", "accept",
             "want-repr-digest")


def facts_of(request):
    """Return all of *request* that its answer may depend on."""
    return (request.method, request.path, request.query, request.connection,
            request.codings, [request.fields.get(name) for name in SELECTING])


def test_equal_keys_mean_equal_requests():
    """An answer is kept under the key, so what differs must differ in it."""
    fields = [(), (b"If-None-Match:",), (b"Connection: close",),
              (b"Range: bytes=0-", b"If-Range: bytes=0-"),
              (b"Range: a", b"Range: b"), (b"Range: a, b",),
              (b"Accept-Encoding: gzip",), (b"Accept-Encoding: br",),
              (b"Accept-Encoding: br, gzip",),
              (b"Accept-Encoding: gzip, br;q=0.1",),
              (b"Accept-Encoding: identity;q=0",),
              (b"Accept-Encoding: gzip", b"Range: bytes=0-"),
              (b"User-Agent: x",), (b"Referer: x", b"Cookie: y")]
    fields += [(name.title().encode() + value,) for name in SELECTING
               for value in (b":", b": bytes=0-")]
    targets = [b"/", b"/?", b"/?a", b"/a", b"/a?b", b"/ab",
               b"/?range:bytes=0-"]
    methods = [b"GET", b"HEAD", b"get", b"POST"]
    keys = {}
    for method in methods:
        for target in targets:
            for lines in fields:
                request = httpd.parse_request(head_of(
                    method + b" " + target + b" HTTP/1.1", b"Host: a", *lines))
                facts = facts_of(request)
                assert keys.setdefault(request.key, facts) == facts


@pytest.mark.parametrize("lines, others", [
    ([b"User-Agent: x", b"Cookie: y"], []),
    ([b"Accept-Encoding: gzip, deflate, br"], [b"Accept-Encoding: br,gzip"]),
    ([b"Accept-Encoding: identity"], []),
])
def test_key_holds_no_more(lines, others):
    """Who asks, and how the field is spelled, does not matter."""
    assert (httpd.parse_request(get(*lines)).key
            == httpd.parse_request(get(*others)).key)


@pytest.mark.parametrize("version, minor", [
    (b"HTTP/1.0", 0), (b"HTTP/1.1", 1), (b"HTTP/1.9", 9)])
def test_minor_version(version, minor):
    assert httpd.parse_request(get_of(b"/", version)).minor == minor


@table("lines, expected", [
    ([], ("identity",), "no field"),
    ([b"Accept-Encoding: gzip"], ("gzip", "identity"), "gzip"),
    ([b"Accept-Encoding: gzip", b"accept-encoding: br"],
     ("br", "gzip", "identity"), "two field lines"),
    ([b"Accept-Encoding: gzip", b"Range: bytes=0-1"], ("identity",),
     "a Range gets the identity"),
])
def test_codings_of_a_request(lines, expected):
    assert httpd.parse_request(get(*lines)).codings == expected


PIECES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"\x1b[2J",
          b"\x7f", b"\x85", b"\xa0", b"\xff", b"%", b"%00", b"%2e%2e/", b"../",
          b"/", b"?", b"#", b"*", b'"', b"\\", b"<", b"0", b"\xb2", b"HTTP/",
          b"1.1", b"GET ", b"http://", b"@", b"[", b"]", b"Host: b\r\n",
          b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
          b"Connection: close\r\n", b"Range: bytes=0-\r\n",
          b"Referer: \x80\r\n", b"User-Agent: \"\r\n", b"X",
          b"Accept-Encoding: gzip;q=0\r\n", b"Accept: */*;q=0.5\r\n",
          b"Accept-Encoding: *;\r\n", b"If-Match: *\r\n",
          b"Want-Repr-Digest: sha-256=5\r\n"]


def mutant(chance, heads):
    """Return one of *heads* with a few changes, cut as a connection would."""
    data = bytearray(chance.choice(heads))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.choice((0, 1, 1, 2, 8)))
        kind = chance.randrange(4)
        if kind == 0:
            data[start:stop] = chance.choice(PIECES)
        elif kind == 1:
            data[start:stop] = bytes([chance.randrange(256)])
        elif kind == 2:
            data[start:stop] = data[start:stop] * 2
        else:
            other = chance.choice(heads)
            cut = chance.randrange(len(other))
            data[start:stop] = other[cut:cut + chance.randrange(40)]
    head = bytes(data) + b"\r\n\r\n"
    return head[:head.find(b"\r\n\r\n", 2) + 4]


def test_fuzz_parse_request():
    """Whatever comes is refused in order, or is a Request that is safe."""
    chance = random.Random(FUZZ_SEED)
    heads = [head for head, _, _ in REQUESTS if len(head) < 400]
    # Most mutations spoil a head, so more of them begin with a good one.
    heads += 2 * [head for head, expected, _ in REQUESTS
                  if len(head) < 400 and isinstance(expected, tuple)]
    keys = {}  # emptied now and then, for memory's sake
    counts = [0, 0]
    for number in range(FUZZ_HEADS):
        head = mutant(chance, heads)
        told = "FUZZ_SEED=%d, number %d: %r" % (FUZZ_SEED, number, head)
        try:
            request = httpd.parse_request(head)
        except httpd.HTTPError as error:
            assert error.status in (400, 414, 431, 505), told
            assert is_plain(error.detail), told
            request = httpd.unparsed_request(head)
            counts[0] += 1
        except Exception as exc:
            pytest.fail("%r, %s" % (exc, told))
        else:
            counts[1] += 1
            facts = facts_of(request)
            if len(keys) == 50000:
                keys.clear()
            assert keys.setdefault(request.key, facts) == facts, told
            assert request.connection in ("", "keep-alive", "close"), told
            assert not request.has_body or request.connection == "close", told
            assert (request.path.startswith("/")
                    == (request.method in ("GET", "HEAD"))), told
        assert not re.search("[\0-\x08\x0b-\x1f\x7f]", request.key), told
        selecting = sum(name in request.fields for name in SELECTING)
        assert request.key.count("\n") == 4 + selecting, told
        assert is_plain(request.log_line), told
        assert is_plain(request.log_agents), told
    # Mutations that are all refused, or never, would test nothing.
    assert min(counts) > FUZZ_HEADS // 10, counts


# ---- Negotiation ------------------------------------------------------------


@table("value, expected", [
    ("", {}, "an empty field"),
    ("a", {"a": 1000}, "no weight is 1"),
    ("a, b;q=0.5,c;q=0", {"a": 1000, "b": 500, "c": 0}, "a list"),
    (",, a ,,", {"a": 1000}, "empty members (5.6.1)"),
    ("A/B;Q=0.5", {"a/b": 500}, "capitals"),
    ("a \t;\t q=0.5", {"a": 500}, "OWS around the semicolon"),
    ("a;q=0", {"a": 0}, "0"),
    ("a;q=0.", {"a": 0}, "0. is in the grammar"),
    ("a;q=0.000", {"a": 0}, "0.000"),
    ("a;q=0.001", {"a": 1}, "0.001, the least"),
    ("a;q=0.5", {"a": 500}, "0.5"),
    ("a;q=0.05", {"a": 50}, "0.05"),
    ("a;q=0.999", {"a": 999}, "0.999"),
    ("a;q=1", {"a": 1000}, "1"),
    ("a;q=1.", {"a": 1000}, "1."),
    ("a;q=1.000", {"a": 1000}, "1.000"),
    ("a;q=0.5, b;q=2, c", {"a": 500, "c": 1000}, "a malformed one of three"),
    ("a;q=1.001", {}, "1.001"),
    ("a;q=2", {}, "2"),
    ("a;q=10", {}, "10"),
    ("a;q=00", {}, "00"),
    ("a;q=0.0001", {}, "four digits"),
    ("a;q=1.0000", {}, "four zeros"),
    ("a;q=.5", {}, "no digit before the point"),
    ("a;q=.", {}, "a point alone"),
    ("a;q=", {}, "no weight after q="),
    ("a;q=-1", {}, "a negative weight"),
    ("a;q=+1", {}, "a sign"),
    ("a;q=1e0", {}, "an exponent"),
    ("a;q=nan", {}, "nan, which float() takes"),
    ("a;q=0_1", {}, "an underscore, which float() takes"),
    ("a;q=0.5.5", {}, "two points"),
    ('a;q="0.5"', {}, "a quoted weight"),
    ("a;q =0.5", {}, "a space before the equals sign"),
    ("a;q= 0.5", {}, "a space after the equals sign"),
    ("a;q=0. 5", {}, "a space in the number"),
    ("a;q=\xb9", {}, "a superscript digit"),
    ("a;q=0.\u0665", {}, "an Arabic digit"),
    ("a;q=0.5;q=0.7", {}, "two weights"),
    ("a;q=2;q=0.7", {}, "two weights, the first malformed"),
    ("a;q=0,5", {"a": 0, "5": 1000}, "a decimal comma"),
    ("a/b;c=d;q=0.5", {"a/b": 500}, "a parameter before the weight"),
    ("a/b;q=0.5;c=d", {"a/b": 500}, "a parameter after it (12.5.1)"),
    ("a/b;xq=0.5;c=q", {"a/b": 1000}, "parameters that look like weights"),
    ('a/b;c="d,e";q=0.5', {"a/b": 500}, "a comma in a quoted parameter"),
    ('a/b;c=";q=0.3"', {"a/b": 1000}, "a weight in a quoted parameter"),
])
def test_parse_weights(value, expected):
    """RFC 9110, 12.4.2; a member whose weight is malformed is ignored."""
    assert httpd.parse_weights(value) == expected


def test_every_weight():
    """A float is never off by one thousandth."""
    for weight in range(1001):
        value = "a;q=%d.%03d" % (weight // 1000, weight % 1000)
        assert httpd.parse_weights(value) == {"a": weight}


BROWSER = ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"
           "image/webp,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7")
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
RFC_ACCEPT = ("text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, "
              "text/plain;format=fixed;q=0.4, */*;q=0.5")


@table("accept, media, expected", [
    ("", "text/html", 1000, "no field"),
    ("text/html", "text/html", 1000, "itself"),
    ("TEXT/HTML", "text/html", 1000, "itself in capitals"),
    ("text/html", "application/json", 0, "another"),
    ("text/html", "text/htm", 0, "a prefix"),
    ("text/*;q=0.5", "text/html", 500, "its kind"),
    ("text/*", "application/json", 0, "another kind"),
    ("*/*;q=0.1", "application/json", 100, "any"),
    ("text/html;q=0.2, text/*;q=0.9, */*", "text/html", 200,
     "itself outranks its kind"),
    ("*/*, text/*;q=0.2", "text/html", 200, "its kind outranks any"),
    ("*/*, text/html;q=0", "text/html", 0, "any but itself"),
    ("text/*;q=0, */*", "text/html", 0, "any but its kind"),
    ("*/*;q=0", "text/html", 0, "not any"),
    (RFC_ACCEPT, "text/plain", 700, "the RFC's example: text/plain"),
    (RFC_ACCEPT, "text/html", 300, "the RFC's example: text/html"),
    (RFC_ACCEPT, "image/jpeg", 500, "the RFC's example: image/jpeg"),
    (BROWSER, "text/html", 1000, "a browser and HTML"),
    (BROWSER, "application/json", 800, "a browser and JSON"),
    (JAVA, "text/html", 1000, "Java and HTML"),
])
def test_media_weight(accept, media, expected):
    """RFC 9110, 12.5.1."""
    weights = httpd.parse_weights(accept)
    assert httpd.media_weight(weights, media) == expected


@table("value, expected", [
    (None, "identity", "no field"),
    ("", "identity", "an empty field: none wanted"),
    ("gzip", "gzip identity", "gzip"),
    ("GZip", "gzip identity", "capitals (8.4.1)"),
    ("x-gzip", "gzip identity", "x-gzip (8.4.1.3)"),
    ("x-gzip;q=0, *", "br zstd identity", "x-gzip excluded"),
    ("deflate, compress", "identity", "none that is known"),
    ("gzip, deflate, br, zstd", "br zstd gzip identity", "a browser"),
    ("br;q=0.1, zstd;q=0.5, gzip", "gzip zstd br identity", "by weight"),
    ("br;q=0.001, zstd;q=0.002", "zstd br identity", "by a thousandth"),
    ("br;q=1.000, gzip;q=1", "br gzip identity", "equal weights"),
    ("gzip;q=0", "identity", "gzip excluded"),
    ("gzip;q=0.000", "identity", "gzip excluded by 0.000"),
    ("gzip;q=0, br", "br identity", "gzip excluded, br not"),
    ("gzip;q=2", "identity", "a weight of 2"),
    ("gzip;q=.5, br;q=", "identity", "malformed weights"),
    ("gzip ; q=0.5 , br", "br gzip identity", "spaces"),
    ("*", "br zstd gzip identity", "any"),
    ("*;q=0.5", "br zstd gzip identity", "any, by half"),
    ("gzip;q=0.5, *", "br zstd identity gzip", "any rather than gzip"),
    ("gzip, *;q=0", "gzip", "gzip alone"),
    ("gzip;q=0, *", "br zstd identity", "any but gzip"),
    ("*;q=0", "", "not any, nor the identity"),
    ("*;q=0, identity", "identity", "the identity alone"),
    ("*;q=0, identity;q=0.1", "identity", "the identity alone, by a tenth"),
    ("identity;q=0", "", "not the identity, and nothing else"),
    ("identity;q=0, gzip", "gzip", "not the identity, but gzip"),
    ("identity;q=0, *", "br zstd gzip", "any but the identity"),
    ("identity;q=0.0, gzip;q=0.001", "gzip", "the least of weights"),
    ("identity", "identity", "the identity"),
    ("identity, gzip;q=0.5", "identity gzip", "the identity first"),
    ("identity;q=0.5, gzip", "gzip identity", "the identity last"),
    ("identity;q=0.5, gzip;q=0.2, br", "br identity gzip", "in between"),
    ("gzip;q=0.001", "gzip identity",
     "not mentioned, the identity is the last choice"),
    ("gzipx, xgzip, \xa0gzip", "identity", "names alike"),
    ('"gzip"', "identity", "a quoted name"),
    ("gzip br", "identity", "no comma between"),
])
def test_acceptable_codings(value, expected):
    """RFC 9110, 12.5.3."""
    fields = {} if value is None else {"accept-encoding": value}
    assert httpd.acceptable_codings(fields) == tuple(expected.split())


@table("value, expected", [
    (None, ["identity"], "no Accept-Encoding"),
    ("br, gzip", ["identity"], "codings"),
    ("gzip, identity;q=0.1", ["identity"], "the identity, by a tenth"),
    ("gzip, identity;q=0", ["gzip"], "the identity excluded"),
    ("*;q=0", [], "all excluded"),
])
def test_codings_for_a_range(value, expected):
    """DESIGN, 3: a Range gets the identity, unless that is refused."""
    fields = {} if value is None else {"accept-encoding": value}
    fields["range"] = "bytes=0-1"
    assert list(httpd.acceptable_codings(fields)) == expected


def test_codings_against_the_definition():
    """All combinations of these weights, judged as RFC 9110, 12.5.3 has it."""
    known = ["br", "zstd", "gzip", "identity"]
    choices = [None, 0, 0.5, 1]
    for weights in itertools.product(choices, repeat=5):
        said = {name: weight for name, weight in zip([*known, "*"], weights)
                if weight is not None}
        value = ", ".join("%s;q=%s" % pair for pair in said.items())
        found = httpd.acceptable_codings({"accept-encoding": value})
        found_weights = []
        for name in known:
            # "*" is each coding that is not listed; the identity needs none.
            weight = said.get(name, said.get("*"))
            if weight is None:
                weight = 0.0001 if name == "identity" else 0
            assert (name in found) == (weight > 0), value
            found_weights.append((-weight, known.index(name), name))
        assert list(found) == [name for weight, _, name
                               in sorted(found_weights) if weight], value


@table("value, expected", [
    (None, False, "no field"),
    ("", False, "an empty field"),
    ("sha-256=1", True, "the least preference"),
    ("sha-256=5", True, "a preference"),
    ("sha-256=10", True, "the greatest one"),
    ("sha-256=0", False, "0 is not acceptable (9530, 4)"),
    ("sha-256=11", False, "beyond 10"),
    ("sha-256=100", False, "far beyond 10"),
    ("sha-256=-1", False, "a negative one"),
    ("sha-256=", False, "none"),
    ("sha-256=1.5", False, "no integer"),
    ("sha-256=a", False, "a word"),
    ("sha-256=\xb9", False, "a superscript digit"),
    ("sha-256=\u0665", False, "an Arabic digit"),
    ("sha-256 = 5", False, "spaces (8941, 3.2)"),
    ("SHA-256=5", False, "keys are in lower case (8941, 3.1.2)"),
    ("sha-512=10", False, "an algorithm that is not ours"),
    ("xsha-256=5", False, "xsha-256"),
    ("sha-256x=5", False, "sha-256x"),
    ("sha=10, sha-256=3, unixsum=5", True, "in a list"),
    ("sha-512=10,sha-256=1", True, "the last of a list"),
    ("sha-512=10, sha-256=0", False, "refused in a list"),
    ("sha-256=0, sha-256=5", True, "twice: the last one counts (8941, 3.2)"),
    ("sha-256=5, sha-256=0", False, "twice: the last one refuses"),
])
def test_wants_digest(value, expected):
    """RFC 9530, 4."""
    fields = {} if value is None else {"want-repr-digest": value}
    assert httpd.wants_digest(fields) is expected


def test_repr_digest():
    """The example of RFC 9530, B.1."""
    digest = httpd.sha256(b'{"hello": "world"}\n')
    assert httpd.repr_digest(digest) == (
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:")


# ---- Responses --------------------------------------------------------------


def parts_of(head):
    """Return the status line of *head* and its fields in order."""
    assert head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1
    lines = head[:-4].decode("ascii").split("\r\n")
    return lines[0], [tuple(line.split(": ", 1)) for line in lines[1:]]


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


class Content:
    """Stands for a stream; nothing here may send it."""

    def __init__(self, length):
        self.length = length

    def is_done(self):
        raise AssertionError("not to be called")

    send = close = is_done


@table("status, content, connection, expected", [
    (200, b"12345", "", {"Content-Length": "5"}, "content"),
    (200, b"", "", {"Content-Length": "0"}, "content of no bytes"),
    (200, "\xe9\u20ac".encode(), "", {"Content-Length": "5"},
     "length in bytes (CVE-2026-34831)"),
    (200, Content(2**40), "", {"Content-Length": "1099511627776"},
     "content that is not in memory"),
    (200, Content(0), "", {"Content-Length": "0"}, "a stream of no bytes"),
    (304, None, "", {}, "304 has no content and no length"),
    (304, None, "close", {"Connection": "close"}, "304 and close"),
    (404, b"x", "close", {"Content-Length": "1", "Connection": "close"},
     "close is said"),
    (206, b"x", "keep-alive",
     {"Content-Length": "1", "Connection": "keep-alive"},
     "keep-alive is said"),
])
def test_render_head(status, content, connection, expected):
    response = httpd.Response(status, [("X-A", "b: c")], content)
    line, fields = parts_of(httpd.render_head(response, DATE, connection))
    assert line == "HTTP/1.1 %d %s" % (status, httpd.REASONS[status])
    assert len(dict(fields)) == len(fields), "a field is there twice"
    facts = dict(fields)
    assert (facts["Date"], facts["X-A"]) == (DATE, "b: c")
    assert facts["X-Content-Type-Options"] == "nosniff"
    assert {name: facts[name] for name in (
        "Content-Length", "Transfer-Encoding", "Connection")
            if name in facts} == expected


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\r\n\r\n", "\n\r"])
@pytest.mark.parametrize("place", ["a%s", "%sa", "a%sSet-Cookie: b", "%s"])
def test_render_head_refuses_line_ends(place, end):
    """RFC 9112, 11.1: whoever puts them there, they never go out."""
    text = place % end
    for fields in ([(text, "b")], [("X-A", text)],
                   [("X-A", "b"), ("X-B", text)]):
        response = httpd.Response(200, fields, b"")
        with pytest.raises(ValueError):
            httpd.render_head(response, DATE, "")
    response = httpd.Response(200, [], b"")
    with pytest.raises(ValueError):
        httpd.render_head(response, DATE + text, "")
    with pytest.raises(ValueError):
        httpd.render_head(response, DATE, "close" + text)
    for header in (("X-A", text), (text, "b")):
        with pytest.raises(ValueError):
            httpd.render_head(response, DATE, "", [header])


@table("headers, expected", [
    ([], [("X-A", "a"), ("X-B", "b"), ("X-Content-Type-Options", "nosniff")],
     "none"),
    ([("X-C", "c")], [("X-A", "a"), ("X-B", "b"), ("X-C", "c"),
                      ("X-Content-Type-Options", "nosniff")], "one more"),
    ([("x-a", "c")], [("X-B", "b"), ("X-Content-Type-Options", "nosniff"),
                      ("x-a", "c")], "in place of one, by any case"),
    ([("X-A", "c"), ("X-A", "d")],
     [("X-A", "c"), ("X-A", "d"), ("X-B", "b"),
      ("X-Content-Type-Options", "nosniff")], "two of a name"),
    ([("x-content-type-options", "")],
     [("X-A", "a"), ("X-B", "b"), ("x-content-type-options", "")],
     "in place of a default"),
])
def test_render_head_with_headers(headers, expected):
    """DESIGN, 2: -H adds a field, or replaces those of its name."""
    response = httpd.Response(200, [("X-A", "a"), ("X-B", "b")], b"")
    _, fields = parts_of(httpd.render_head(response, DATE, "", headers))
    assert sorted(field for field in fields
                  if field[0].lower().startswith("x-")) == sorted(expected)


@table("content, expected", [
    (None, 0, "none"), (b"", 0, "no bytes"), (b"12345", 5, "bytes"),
    (Content(2**40), 2**40, "a stream"),
])
def test_response_length(content, expected):
    assert httpd.Response(200, [], content).length() == expected


def test_every_reason_is_one_line():
    for status, reason in httpd.REASONS.items():
        head = httpd.render_head(httpd.Response(status, []), DATE, "")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert re.fullmatch("[A-Z][A-Za-z ]+", reason)


def test_message_of_bytes():
    response = httpd.Response(200, [], b"12345")
    message = httpd.Message(response, "close", DATE, 8)
    assert message.data == (httpd.render_head(response, DATE, "close")
                            + b"12345")
    assert (message.size, message.stream) == (5, None)
    assert message.response is response
    assert (message.connection, message.date, message.turn) == ("close", DATE,
                                                                8)


@pytest.mark.parametrize("length", [0, 10**6])
def test_message_of_a_stream(length):
    """The head goes first; the stream is left to the connection."""
    content = Content(length)
    response = httpd.Response(200, [], content)
    message = httpd.Message(response, "", DATE, 0)
    assert message.data == httpd.render_head(response, DATE, "")
    assert (message.size, message.stream) == (0, content)


@pytest.mark.parametrize("headers", [
    [], [("Date", "today")], [("X-A", "b")], [("Date", DATE)]], ids=str)
def test_message_with_another_date(headers):
    """All but Date is the same, the Last-Modified of that second, too."""
    response = httpd.Response(200, [("Last-Modified", DATE)],
                              b"\r\nDate: " + DATE.encode())
    message = httpd.Message(response, "", DATE, 1, True, headers)
    before = message.data
    later = message.redated(LATER)
    expected = httpd.Message(response, "", LATER, 1, True, headers)
    for name in set(httpd.Message.__slots__) - {"token"}:
        assert getattr(later, name) == getattr(expected, name), name
    assert later.token is not message.token     # its log line is another one
    assert message.data == before


def test_message_without_content():
    response = httpd.Response(304, [], None)
    message = httpd.Message(response, "", DATE, 0)
    assert message.data == httpd.render_head(response, DATE, "")
    assert (message.size, message.stream) == (0, None)


@pytest.mark.parametrize("content", [b"12345", Content(10**6)])
def test_message_to_head(content):
    """The head is that of GET, and nothing follows it (9110, 9.3.2)."""
    response = httpd.Response(200, [], content)
    message = httpd.Message(response, "", DATE, 0, content_sent=False)
    assert message.data == httpd.render_head(response, DATE, "")
    assert (message.size, message.stream) == (0, None)


def test_message_with_headers():
    response = httpd.Response(200, [], b"12345")
    headers = [("X-A", "b")]
    message = httpd.Message(response, "", DATE, 0, True, headers)
    assert message.data == (
        httpd.render_head(response, DATE, "", headers) + b"12345")
    assert b"\r\nX-A: b\r\n" in message.data


# ---- Preconditions and ranges -----------------------------------------------

ETAG = '"17979cfe362a0000-400"'
MODIFIED = 784111777    # DATE
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


def test_entity_tags():
    """Strong, well-formed (9110, 8.8.3), and different for all that differ.

    So they are for the codings of one file (8.8.3.3).
    """
    numbers = [0, 1, 3, 0x12, 2**31, 2**63]
    times = [-1, -2**63, 0, 1, 0x12, 784111777 * 10**9, 2**63 - 1, 2**80]
    codings = ["", *httpd.CODINGS]
    states = [types.SimpleNamespace(st_size=size, st_mtime_ns=mtime,
                                    st_ino=inode, st_ctime_ns=changed)
              for size in numbers for mtime in times for inode in numbers
              for changed in (1, 2)]
    tags = {httpd.entity_tag(state, None, coding)
            for state in states for coding in codings}
    telling = [mtime for mtime in times if mtime >= 504921600 * 10**9]
    assert len(tags) == len(codings) * (
        len(numbers) * len(telling) + 2 * len(numbers)**2)
    contents = [b"", b"a", b"b", bytes(9), bytes(10)]
    tags |= {httpd.entity_tag(states[0], data, coding)
             for data in contents for coding in codings}
    assert len(tags) == len(codings) * (len(contents) + 2 * len(numbers)**2
                                        + len(numbers) * len(telling))
    for tag in tags:
        assert re.fullmatch('"[!#-~]+"', tag)
    assert len({httpd.entity_tag(state, b"a") for state in states}) == 1


@table("fields, etag, modified, expected", [
    ({}, ETAG, MODIFIED, 0, "no condition"),
    ({"if-none-match": ETAG}, ETAG, MODIFIED, 304, "the tag"),
    ({"if-none-match": "W/" + ETAG}, ETAG, MODIFIED, 304,
     "a weak tag: the comparison is weak (13.1.2)"),
    ({"if-none-match": '"x"'}, ETAG, MODIFIED, 0, "another tag"),
    ({"if-none-match": '"x", ' + ETAG}, ETAG, MODIFIED, 304, "in a list"),
    ({"if-none-match": '"x",W/%s,"y"' % ETAG}, ETAG, MODIFIED, 304,
     "in a list without spaces"),
    ({"if-none-match": ', "x",, ' + ETAG + " ,"}, ETAG, MODIFIED, 304,
     "in a list with empty members"),
    ({"if-none-match": '"x, y", ' + ETAG}, ETAG, MODIFIED, 304,
     "a comma and a space in another tag"),
    ({"if-none-match": '"x", "y"'}, ETAG, MODIFIED, 0, "not in a list"),
    ({"if-none-match": "*"}, ETAG, MODIFIED, 304, "any"),
    ({"if-none-match": ETAG.strip('"')}, ETAG, MODIFIED, 0,
     "the quotes are part of it"),
    ({"if-none-match": ETAG[:-1]}, ETAG, MODIFIED, 0, "half a quote"),
    ({"if-none-match": ETAG[:-2] + '"'}, ETAG, MODIFIED, 0, "a prefix"),
    ({"if-none-match": ETAG.upper()}, ETAG, MODIFIED, 0,
     "tags are case-sensitive"),
    ({"if-none-match": '"x' + ETAG + 'y"'}, ETAG, MODIFIED, 0,
     "the tag, but as what stands between two others"),
    ({"if-none-match": '"a,b"'}, '"a,b"', MODIFIED, 304,
     "a comma in a tag separates nothing"),
    ({"if-none-match": '"a,b"'}, '"a', MODIFIED, 0, "half of such a tag"),
    ({"if-none-match": ""}, ETAG, MODIFIED, 0, "an empty field"),
    ({"if-none-match": '""'}, ETAG, MODIFIED, 0, "an empty tag"),
    ({"if-none-match": '"*"'}, ETAG, MODIFIED, 0, "a tag, not any"),
    ({"if-none-match": ETAG}, None, MODIFIED, 0, "no tag to compare"),
    ({"if-none-match": '"None"'}, None, None, 0, "no tag is not None"),
    ({"if-modified-since": DATE}, ETAG, MODIFIED, 304, "the date"),
    ({"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, ETAG, MODIFIED,
     304, "the date, rfc850"),
    ({"if-modified-since": "Sun Nov  6 08:49:37 1994"}, ETAG, MODIFIED, 304,
     "the date, asctime"),
    ({"if-modified-since": LATER}, ETAG, MODIFIED,
     304, "a later date"),
    ({"if-modified-since": EARLIER}, ETAG, MODIFIED,
     0, "an earlier date"),
    ({"if-modified-since": "yesterday"}, ETAG, MODIFIED, 0, "no date"),
    ({"if-modified-since": ""}, ETAG, MODIFIED, 0, "an empty date"),
    ({"if-modified-since": DATE + ", " + DATE}, ETAG, MODIFIED, 0,
     "two dates (13.1.3)"),
    ({"if-modified-since": DATE}, ETAG, None, 0, "no date to compare"),
    ({"if-modified-since": "Wed, 31 Dec 1969 23:59:59 GMT"}, ETAG, 0, 0,
     "before 1970, file of 1970"),
    ({"if-none-match": '"x"', "if-modified-since": DATE}, ETAG, MODIFIED,
     0, "the tag outranks the date (13.2.2)"),
    ({"if-none-match": "", "if-modified-since": DATE}, ETAG, MODIFIED,
     0, "an empty tag field outranks it too"),
    ({"if-none-match": "x", "if-modified-since": DATE}, ETAG, MODIFIED,
     0, "a malformed tag field outranks it too"),
    ({"if-none-match": ETAG,
      "if-modified-since": EARLIER}, ETAG, MODIFIED,
     304, "the tag outranks an earlier date"),
    ({"if-range": ETAG}, ETAG, MODIFIED, 0, "If-Range is another matter"),
    ({"if-none-match": '*, "x"'}, ETAG, MODIFIED, 0, "any is in no list"),
    ({"if-none-match": "w/" + ETAG}, ETAG, MODIFIED, 0,
     "w/ is no weak tag (8.8.3)"),
    ({"if-none-match": "*"}, None, None, 304, "any, of a file without tag"),
    ({"if-none-match": "*", "if-modified-since": EARLIER}, ETAG, MODIFIED,
     304, "any outranks an earlier date"),
    # If-Match: 13.1.1.
    ({"if-match": ETAG}, ETAG, MODIFIED, 0, "match: the tag"),
    ({"if-match": "W/" + ETAG}, ETAG, MODIFIED, 412,
     "match: a weak tag: the comparison is strong"),
    ({"if-match": "w/" + ETAG}, ETAG, MODIFIED, 412,
     "match: w/ is no weak tag, nor a strong one (8.8.3)"),
    ({"if-match": '"x"'}, ETAG, MODIFIED, 412, "match: another tag"),
    ({"if-match": '"x", ' + ETAG}, ETAG, MODIFIED, 0, "match: in a list"),
    ({"if-match": '"x",,W/%s ,%s' % (ETAG, ETAG)}, ETAG, MODIFIED, 0,
     "match: weak and strong in a list"),
    ({"if-match": '"x", W/' + ETAG}, ETAG, MODIFIED, 412,
     "match: weak in a list"),
    ({"if-match": '"x", "y"'}, ETAG, MODIFIED, 412, "match: not in a list"),
    ({"if-match": '"x' + ETAG + 'y"'}, ETAG, MODIFIED, 412,
     "match: the tag between two others"),
    ({"if-match": '"a,b"'}, '"a,b"', MODIFIED, 0, "match: a comma in a tag"),
    ({"if-match": "*"}, ETAG, MODIFIED, 0, "match: any"),
    ({"if-match": "*"}, None, None, 0, "match: any, of a file without tag"),
    ({"if-match": '"*"'}, ETAG, MODIFIED, 412, "match: a tag, not any"),
    ({"if-match": ""}, ETAG, MODIFIED, 412, "match: an empty field"),
    ({"if-match": "x"}, ETAG, MODIFIED, 412, "match: no quotes"),
    ({"if-match": ETAG.upper()}, ETAG, MODIFIED, 412, "match: capitals"),
    ({"if-match": ETAG}, None, MODIFIED, 412, "match: no tag to compare"),
    ({"if-match": '"None"'}, None, None, 412, "match: no tag is not None"),
    ({"if-match": ""}, None, None, 412, "match: none and no tag"),
    # If-Unmodified-Since: 13.1.4.
    ({"if-unmodified-since": DATE}, ETAG, MODIFIED, 0, "unmodified: the date"),
    ({"if-unmodified-since": LATER}, ETAG, MODIFIED, 0,
     "unmodified: a later date"),
    ({"if-unmodified-since": EARLIER}, ETAG, MODIFIED, 412,
     "unmodified: an earlier date"),
    ({"if-unmodified-since": "Sunday, 06-Nov-94 08:49:36 GMT"}, ETAG,
     MODIFIED, 412, "unmodified: an earlier one, rfc850"),
    ({"if-unmodified-since": "Sun Nov  6 08:49:36 1994"}, ETAG, MODIFIED, 412,
     "unmodified: an earlier one, asctime"),
    ({"if-unmodified-since": "yesterday"}, ETAG, MODIFIED, 0,
     "unmodified: no date"),
    ({"if-unmodified-since": ""}, ETAG, MODIFIED, 0,
     "unmodified: an empty date"),
    ({"if-unmodified-since": EARLIER + ", " + EARLIER}, ETAG, MODIFIED, 0,
     "unmodified: two dates"),
    ({"if-unmodified-since": EARLIER}, ETAG, None, 0,
     "unmodified: no date to compare"),
    ({"if-match": ETAG, "if-unmodified-since": EARLIER}, ETAG, MODIFIED, 0,
     "match outranks unmodified (13.2.2)"),
    ({"if-match": "*", "if-none-match": ETAG}, ETAG, MODIFIED, 304,
     "match goes on to none-match"),
    ({"if-match": '"x"', "if-none-match": ETAG}, ETAG, MODIFIED, 412,
     "match comes before none-match"),
    ({"if-unmodified-since": EARLIER, "if-modified-since": DATE}, ETAG,
     MODIFIED, 412, "unmodified comes before modified"),
    ({"if-unmodified-since": DATE, "if-modified-since": DATE}, ETAG,
     MODIFIED, 304, "unmodified goes on to modified"),
])
def test_evaluate_preconditions(fields, etag, modified, expected):
    """RFC 9110, 13.1."""
    assert httpd.evaluate_preconditions(fields, etag, modified,
                                        NOW) == expected


def test_preconditions_in_order():
    """All four together: RFC 9110, 13.2.2, step by step.

    Of each field every value, with what its condition is then; None where
    the field is not there, or to be ignored.
    """
    match = [(None, None), (ETAG, True), ("*", True), ('"x"', False),
             ("W/" + ETAG, False), ("", False)]
    unmodified = [(None, None), (DATE, True), (LATER, True), (EARLIER, False),
                  ("x", None)]
    none_match = [(None, None), ('"x"', True), ("", True), (ETAG, False),
                  ("W/" + ETAG, False), ("*", False)]
    modified = [(None, None), (EARLIER, True), (DATE, False), (LATER, False),
                ("x", None)]
    names = ["if-match", "if-unmodified-since", "if-none-match",
             "if-modified-since"]
    for four in itertools.product(match, unmodified, none_match, modified):
        fields = {name: value for name, (value, _) in zip(names, four)
                  if value is not None}
        holds = [condition for _, condition in four]
        if (holds[0] if "if-match" in fields else holds[1]) is False:
            expected = 412                              # steps 1 and 2
        elif holds[2] is False:
            expected = 304                              # step 3
        elif "if-none-match" not in fields and holds[3] is False:
            expected = 304                              # step 4
        else:
            expected = 0
        assert httpd.evaluate_preconditions(
            fields, ETAG, MODIFIED, NOW) == expected, fields


@table("validator, etag, modified, now, expected", [
    (None, ETAG, MODIFIED, NOW, True, "no If-Range"),
    (None, None, None, NOW, True, "no If-Range, no validator"),
    (ETAG, ETAG, MODIFIED, NOW, True, "the tag"),
    ('"x"', ETAG, MODIFIED, NOW, False, "another tag"),
    ("W/" + ETAG, ETAG, MODIFIED, NOW, False,
     "a weak tag: the comparison is strong (13.1.5)"),
    (ETAG, None, MODIFIED, NOW, False, "no tag to compare"),
    (ETAG + ", " + ETAG, ETAG, MODIFIED, NOW, False, "a list is none"),
    ("*", ETAG, MODIFIED, NOW, False, "any is none"),
    (ETAG.strip('"'), ETAG, MODIFIED, NOW, False, "a tag without quotes"),
    (DATE, ETAG, MODIFIED, NOW, True, "the date"),
    ("Sunday, 06-Nov-94 08:49:37 GMT", ETAG, MODIFIED, NOW, True,
     "the date, rfc850"),
    ("Sun, 06 Nov 1994 08:49:38 GMT", ETAG, MODIFIED, NOW, False,
     "a later date is no match"),
    ("Sun, 06 Nov 1994 08:49:36 GMT", ETAG, MODIFIED, NOW, False,
     "an earlier date is none"),
    (DATE, ETAG, MODIFIED, MODIFIED + 0.5, False,
     "a date is weak for a second (8.8.2.2)"),
    (DATE, ETAG, MODIFIED, MODIFIED + 2.5, True, "then it is strong"),
    (DATE, ETAG, None, NOW, False, "no date to compare"),
    ("x", None, None, NOW, False, "no validator, on neither side"),
    ("", ETAG, MODIFIED, NOW, False, "an empty field"),
])
def test_range_applies(validator, etag, modified, now, expected):
    fields = {} if validator is None else {"if-range": validator}
    assert httpd.range_applies(fields, etag, modified, now) is expected


@table("value, length, expected", [
    ("bytes=0-4", 10, [(0, 4)], "the first five"),
    ("bytes=5-9", 10, [(5, 9)], "the last five"),
    ("bytes=0-0", 10, [(0, 0)], "the first"),
    ("bytes=9-9", 10, [(9, 9)], "the last"),
    ("bytes=0-9", 10, [(0, 9)], "all"),
    ("bytes=5-", 10, [(5, 9)], "from 5 on"),
    ("bytes=0-", 10, [(0, 9)], "from 0 on"),
    ("bytes=9-", 10, [(9, 9)], "from the last on"),
    ("bytes=-3", 10, [(7, 9)], "the last three"),
    ("bytes=-1", 10, [(9, 9)], "the last, by a suffix"),
    ("bytes=-10", 10, [(0, 9)], "all, by a suffix"),
    ("bytes=-11", 10, [(0, 9)], "a suffix longer than the file (14.1.2)"),
    ("bytes=5-10", 10, [(5, 9)], "one beyond the end (14.1.2)"),
    ("bytes=0-999", 10, [(0, 9)], "far beyond the end"),
    ("bytes=000-004", 10, [(0, 4)], "zeros before the positions"),
    ("BYTES=0-4", 10, [(0, 4)], "units are case-insensitive (14.1)"),
    ("bytes=0-0", 1, [(0, 0)], "a file of one byte"),
    ("bytes=0-9223372036854775807", 10, [(0, 9)], "2^63 - 1"),
    ("bytes=-9223372036854775807", 10, [(0, 9)], "a suffix of 2^63 - 1"),
    ("bytes=4294967295-4294967296", 2**33, [(2**32 - 1, 2**32)],
     "across 2^32"),
    ("bytes=10-", 10, 416, "from the end on"),
    ("bytes=10-10", 10, 416, "behind the end"),
    ("bytes=10-20", 10, 416, "behind the end, two positions"),
    ("bytes=-0", 10, 416, "a suffix of nothing (14.1.2)"),
    ("bytes=-0", 0, 416, "a suffix of nothing, of nothing"),
    ("bytes=0-", 0, 416, "any position in an empty file"),
    ("bytes=0-0", 0, 416, "the first of an empty file"),
    ("bytes=9223372036854775807-", 10, 416, "2^63 - 1 on"),
    ("bytes=-5", 0, None, "all of nothing cannot be said"),
    ("bytes=5-4", 10, None, "last before first is invalid (14.1.1)"),
    ("bytes=1-0", 10, None, "1-0"),
    ("bytes=20-15", 10, None, "invalid, and behind the end too"),
    ("bytes=20-15", 0, None, "invalid, of an empty file"),
    ("", 10, None, "an empty field (GHSA-gcqf-3g44-vc9p)"),
    ("bytes", 10, None, "a unit alone"),
    ("bytes=", 10, None, "no range"),
    ("bytes=-", 10, None, "a hyphen"),
    ("bytes=--", 10, None, "two hyphens"),
    ("bytes=--5", 10, None, "a negative suffix"),
    ("bytes=-1-5", 10, None, "a negative position"),
    ("bytes=-5-", 10, None, "a suffix and a hyphen"),
    ("bytes=5", 10, None, "no hyphen"),
    ("bytes=1-2-3", 10, None, "three positions"),
    ("bytes=a-b", 10, None, "letters"),
    ("bytes=0x0-0x4", 10, None, "hexadecimal"),
    ("bytes=+0-+4", 10, None, "signs, which int() takes"),
    ("bytes=1_0-2_0", 100, None, "underscores, which int() takes"),
    ("bytes=0.0-4.0", 10, None, "fractions"),
    ("bytes= 0-4", 10, None, "a space before"),
    ("bytes=0 - 4", 10, None, "spaces around the hyphen"),
    ("bytes=0-4\n", 10, None, "a line end after"),
    ("bytes =0-4", 10, None, "a space after the unit"),
    ("bytes:0-4", 10, None, "a colon for the equals sign"),
    ("bytes 0-4/10", 10, None, "a Content-Range"),
    ("bytes=\xb9-\xb2", 10, None, "superscripts"),
    ("bytes=\u0660-\u0664", 10, None, "Arabic digits (CVE-2025-69225)"),
    ("bytes=\uff10-\uff14", 10, None, "fullwidth digits"),
    ("lines=0-4", 10, None, "another unit (14.2)"),
    ("xbytes=0-4", 10, None, "xbytes"),
    ("bytess=0-4", 10, None, "bytess"),
    ("none", 10, None, "none"),
    ("bytes=99999999999999999999-", 10, None, "more digits than 64 bits"),
    ("bytes=-99999999999999999999", 10, None, "such a suffix (CVE-2017-7529)"),
    ("bytes=" + "9" * 5000 + "-", 10, None, "more digits than int() takes"),
    # Several: 14.1.2, 14.2, 15.3.7.2.
    ("bytes=0-1,5-6", 10, [(0, 1), (5, 6)], "two"),
    ("bytes=0-0,-1", 10, [(0, 0), (9, 9)], "the first and the last (14.1.2)"),
    ("bytes=0-1 ,\t5-6", 10, [(0, 1), (5, 6)], "OWS around the comma"),
    ("bytes=0-1, 5-6, 8-", 10, [(0, 1), (5, 6), (8, 9)], "three"),
    ("bytes=,0-1,, ,5-6,", 10, [(0, 1), (5, 6)], "empty elements (5.6.1)"),
    ("bytes=,0-1,", 10, [(0, 1)], "one, and empty elements"),
    ("bytes=,", 10, None, "nothing but a comma"),
    ("bytes=, ,\t,", 10, None, "nothing but commas and OWS"),
    ("bytes=500-600,601-999", 10000, [(500, 999)], "adjacent (14.1.2)"),
    ("bytes=500-700,601-999", 10000, [(500, 999)], "overlapping (14.1.2)"),
    ("bytes=601-999,500-600", 10000, [(500, 999)], "adjacent, unordered"),
    ("bytes=601-999,500-700", 10000, [(500, 999)], "overlapping, unordered"),
    ("bytes=0-9,4-5", 10, [(0, 9)], "one within the other"),
    ("bytes=4-5,0-9", 10, [(0, 9)], "one around the other"),
    ("bytes=0-0,0-0,0-0", 10, [(0, 0)], "three equal ones"),
    ("bytes=0-,5-", 10, [(0, 9)], "from two positions on"),
    ("bytes=-1,-3", 10, [(7, 9)], "two suffixes"),
    ("bytes=-99,0-0", 10, [(0, 9)], "a suffix of all, and the first"),
    ("bytes=0-3,-7", 10, [(0, 9)], "overlapping a suffix"),
    ("bytes=0-2,2-4,4-6", 10, [(0, 6)], "a chain"),
    ("bytes=0-0,2-2", 10, [(0, 0), (2, 2)], "a byte between them"),
    ("bytes=5-6,0-1", 10, [(5, 6), (0, 1)],
     "in the order of the request (15.3.7.2)"),
    ("bytes=-1,4-5,0-1", 10, [(9, 9), (4, 5), (0, 1)], "backwards"),
    ("bytes=8-9,0-1,2-3", 10, [(8, 9), (0, 3)],
     "in that order, but for one that is coalesced (15.3.7.2)"),
    ("bytes=2-3,8-9,0-1", 10, [(0, 3), (8, 9)], "coalesced into the first"),
    ("bytes=0-1,10-", 10, [(0, 1)], "one behind the end (15.3.7.2)"),
    ("bytes=10-,0-1", 10, [(0, 1)], "the first behind the end"),
    ("bytes=-0,0-1", 10, [(0, 1)], "a suffix of nothing, and two bytes"),
    ("bytes=0-1,8-99", 10, [(0, 1), (8, 9)], "one beyond the end of two"),
    ("bytes=10-,20-30,-0", 10, 416, "none satisfiable (15.5.17)"),
    ("bytes=10-,20-30,", 10, 416, "none satisfiable, and an empty element"),
    ("bytes=0-,1-2,-0", 0, 416, "several of an empty file"),
    ("bytes=0-,-5", 0, None, "several, with a suffix, of an empty file"),
    ("bytes=0-1,5-4", 10, None, "one invalid"),
    ("bytes=5-4,0-1", 10, None, "the first invalid"),
    ("bytes=0-1,x", 10, None, "one is a letter"),
    ("bytes=10-,x", 10, None, "one is a letter, none satisfiable"),
    ("bytes=x,10-", 10, None, "a letter first, none satisfiable"),
    ("bytes=0-1,5", 10, None, "one without a hyphen"),
    ("bytes=0-1,-", 10, None, "one is a hyphen"),
    ("bytes=0-1;5-6", 10, None, "a semicolon"),
    ("bytes=0-1 5-6", 10, None, "no comma"),
    ("bytes=0-1,bytes=5-6", 10, None, "the unit twice"),
    ("bytes=0-1, bytes=5-6", 10, None, "two field lines"),
    ("bytes=0-0,\u0662-\u0664", 10, None, "Arabic digits in one"),
    ("bytes=0-0,\xb2-\xb3", 10, None, "superscripts in one"),
    ("bytes=0-0,1_0-", 100, None, "an underscore in one"),
    ("bytes=0-0,2-9223372036854775807", 10, [(0, 0), (2, 9)],
     "2^63 - 1 in one"),
    ("bytes=0-0,9223372036854775807-", 10, [(0, 0)], "2^63 - 1 on in one"),
    ("bytes=0-0,99999999999999999999-", 10, None, "more than 64 bits in one"),
    ("bytes=0-0," + "9" * 5000 + "-", 10, None, "5000 digits in one"),
    ("bytes=" + ",".join("%d-%d" % (2 * i, 2 * i) for i in range(256)), 512,
     [(2 * i, 2 * i) for i in range(256)], "256 (DESIGN, 3)"),
    ("bytes=,," + ", ,".join("%d-%d" % (2 * i, 2 * i) for i in range(256)), 512,
     [(2 * i, 2 * i) for i in range(256)], "256, and empty elements"),
    ("bytes=" + ",".join(["0-1"] * 256), 10, [(0, 1)], "256 equal ones"),
    ("bytes=" + ",".join("%d-%d" % (2 * i, 2 * i) for i in range(257)), 514,
     None, "257"),
    ("bytes=" + ",".join(["0-1"] * 257), 10, None, "257 equal ones"),
    ("bytes=" + ",".join(["0-1"] * 256 + ["99-"]), 10, None,
     "257, but for one behind the end"),
    ("bytes=" + ",".join(["99-"] * 257), 10, None, "257 behind the end"),
    ("lines=0-1,5-6", 10, None, "two of another unit"),
])
def test_select_ranges(value, length, expected):
    assert outcome(httpd.select_ranges, value, length) == expected


@table("value, length", [
    ("bytes=10-", 10, "one"), ("bytes=10-,20-", 10, "several"),
    ("bytes=0-", 0, "an empty file"), ("bytes=-0", 2**40, "a large file"),
])
def test_range_not_satisfiable_says_the_length(value, length):
    """RFC 9110, 15.5.17."""
    with pytest.raises(httpd.HTTPError) as caught:
        httpd.select_ranges(value, length)
    assert caught.value.status == 416
    assert list(caught.value.fields) == [
        ("Content-Range", "bytes */%d" % length)]


def test_ranges_against_the_definition():
    """Each range selects the very bytes that the RFC says it does."""
    numbers = ["", "0", "1", "2", "3", "4", "5"]
    for length in range(5):
        positions = list(range(length))
        for first in numbers:
            for last in numbers:
                value = "bytes=%s-%s" % (first, last)
                if first:
                    stop = int(last) + 1 if last else max(length, int(first)+1)
                    chosen = positions[int(first):stop]
                    invalid = stop <= int(first)
                else:
                    chosen = positions[-int(last):] if last else []
                    chosen = [] if last == "0" else chosen
                    invalid = last == "" or not length and last != "0"
                expected = 416
                if invalid:
                    expected = None
                elif chosen:
                    expected = [(chosen[0], chosen[-1])]
                found = outcome(httpd.select_ranges, value, length)
                assert found == expected, (value, length)


def test_several_ranges_against_the_definition():
    """Together they select the bytes that each does, and no byte twice."""
    chance = random.Random(FUZZ_SEED)
    for _ in range(3000):
        length = chance.choice((1, 5, 30, 200))
        specs, chosen = [], set()
        for _ in range(chance.choice((1, 2, 2, 3, 8, 64))):
            first = chance.randrange(length + 3)
            last = first + chance.randrange(min(length, 9))
            kind = chance.randrange(5)
            if kind == 0:
                specs.append("-%d" % first)
                chosen.update(range(max(0, length - first), length))
            elif kind == 1 and last < length:
                specs.append("%d-" % (length - 1 - last))
                chosen.update(range(length - 1 - last, length))
            else:
                specs.append("%d-%d" % (first, last))
                chosen.update(range(first, min(last + 1, length)))
        value = "bytes=" + ",".join(specs)
        found = outcome(httpd.select_ranges, value, length)
        if not chosen:
            assert found == 416, value
            continue
        bytes_found = [position for first, last in found
                       for position in range(first, last + 1)]
        assert sorted(bytes_found) == sorted(chosen), value
        # As few as can be: none overlap or touch.
        assert len(found) == sum(position - 1 not in chosen
                                 for position in chosen), value


def joined(pieces, representation):
    """Return the bytes that *pieces* of *representation* are."""
    return b"".join(piece if isinstance(piece, bytes)
                    else representation[piece[0]:piece[1]] for piece in pieces)


NASTY = b"\r\n--B--\r\n\r\n--\r\r\n\n" + EVERY_BYTE


@pytest.mark.parametrize("media", [
    "application/octet-stream", "text/html; charset=utf-8"])
@table("ranges", [
    ([(0, 0), (2, 2)], "two bytes"),
    ([(5, 9), (0, 1)], "unordered"),
    ([(0, len(NASTY) - 1)], "one"),
    ([(0, 2), (4, len(NASTY) - 1)], "what looks like a boundary"),
    ([(0, 0), (2, 13), (15, 15)], "line ends at both ends"),
    ([(i, i) for i in range(0, 128, 2)], "64"),
])
def test_multipart(ranges, media):
    """What a parser of mail reads from it is what was asked for.

    RFC 9110, 14.6 and 15.3.7.2; RFC 2046, 5.1.1.
    """
    pieces = httpd.multipart(ranges, len(NASTY), media, httpd.BOUNDARY)
    content = joined(pieces, NASTY)
    assert httpd.pieces_length(pieces) == len(content)
    message = email.message_from_bytes(
        b"Content-Type: multipart/byteranges; boundary=%s\r\n\r\n%s"
        % (httpd.BOUNDARY.encode(), content))
    assert not message.defects and not message.preamble
    parts = message.get_payload()
    assert len(parts) == len(ranges)
    for part, (first, last) in zip(parts, ranges):
        assert part.items() == [
            ("Content-Type", media),
            ("Content-Range", "bytes %d-%d/%d" % (first, last, len(NASTY)))]
        assert part.get_payload(decode=True) == NASTY[first:last + 1]
        assert not part.defects


def test_multipart_to_the_byte():
    """RFC 2046, 5.1.1: the delimiters' line ends belong to them.

    The first one has it, too: zsync looks for nothing else, and asks for the
    same ranges for ever.
    """
    pieces = httpd.multipart([(0, 1), (4, 4)], 5, "a/b", "BOUND")
    assert joined(pieces, b"01234") == (
        b"\r\n--BOUND\r\nContent-Type: a/b\r\nContent-Range: bytes 0-1/5\r\n\r\n"
        b"01\r\n"
        b"--BOUND\r\nContent-Type: a/b\r\nContent-Range: bytes 4-4/5\r\n\r\n"
        b"4\r\n"
        b"--BOUND--\r\n")
    assert [piece for piece in pieces if not isinstance(piece, bytes)] == [
        (0, 2), (4, 5)]


def test_boundary():
    """A token, so it needs no quotes (9110, 5.6.2), of at most 70 (2046)."""
    assert re.fullmatch("[0-9A-Za-z]{16,70}", httpd.BOUNDARY)


@table("pieces, expected", [
    ([], 0, "none"), ([b"abc"], 3, "bytes"), ([(5, 9)], 4, "a part"),
    ([(0, 2**40)], 2**40, "a large part"), ([b"ab", (3, 4), b""], 3, "both"),
])
def test_pieces_length(pieces, expected):
    assert httpd.pieces_length(pieces) == expected


# Pieces of the values that choose an answer.
VALUE_PIECES = [
    "", " ", "\t", ",", ", ", ";", "=", "-", "--", "*", "/", "W/", '"', '""',
    "\\", "q=", ";q=", ";q=0", ";q=1.000", ";q=.", "0", "1", "9", "10", "0-",
    "-5", "3-7", "9" * 19, "9" * 30, "bytes=", "BYTES=", "lines=", "gzip",
    "x-gzip", "br", "identity", "identity;q=0", "*;q=0", "text/html",
    "text/*", "*/*", "sha-256",
    "sha-256=", ETAG, DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "GMT", "+", "_",
    ".", "%", "&", "&amp;", "sort=", "order=desc", "size", "<", "\0", "\x7f",
    "\xb2", "\xff", "\u0665", "\uff15", "\u2028", "\ud800", "\U0001d7d3"]


GOOD_VALUES = {
    "if-match": [ETAG, '"x", %s' % ETAG, "*", "W/" + ETAG],
    "if-none-match": [ETAG, '"x", W/%s' % ETAG, "*", '"x"'],
    "if-modified-since": [DATE, EARLIER], "if-unmodified-since": [DATE, LATER],
    "range": ["bytes=0-0,2-3", "bytes=1-2", "bytes=-3", "bytes=9-, 0-, 4-5"],
    "if-range": [ETAG, DATE], "accept": ["text/html", "text/*;q=0.5, */*"],
    "accept-encoding": ["gzip", "br;q=0.5, gzip", "identity;q=0", "*;q=0"],
    "want-repr-digest": ["sha-256=5", "sha-512=1, sha-256=10"],
}


def some_value(chance, name):
    """Return a value for the field *name*: a good one, spoiled, or none."""
    value = chance.choice(GOOD_VALUES[name])
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        start = chance.randrange(len(value) + 1)
        stop = start + chance.choice((0, 0, 1, 1, 4))
        value = value[:start] + chance.choice(VALUE_PIECES) + value[stop:]
    return value


def test_fuzz_values():
    """Whatever the values are, the answer is one of those that there are.

    Nothing but HTTPError is raised, and that by ranges alone.
    """
    chance = random.Random(FUZZ_SEED)
    seen = {}
    for number in range(FUZZ_HEADS):
        fields = {name: some_value(chance, name)
                  for name in sorted(GOOD_VALUES) if chance.randrange(3)}
        told = "FUZZ_SEED=%d, number %d: %r" % (FUZZ_SEED, number, fields)
        length = chance.choice((0, 1, 10, 2**40))
        etag = chance.choice((None, ETAG))
        modified = chance.choice((None, 0, MODIFIED))
        try:
            code = httpd.evaluate_preconditions(fields, etag, modified, NOW)
            applies = httpd.range_applies(fields, etag, modified, NOW)
            codings = httpd.acceptable_codings(fields)
            digest = httpd.wants_digest(fields)
            weights = httpd.parse_weights(fields.get("accept", ""))
            weight = httpd.media_weight(weights, "text/html")
            ranges = outcome(httpd.select_ranges, fields.get("range", ""),
                             length)
        except Exception as exc:
            pytest.fail("%r, %s" % (exc, told))
        assert code in (0, 304, 412), told
        assert applies in (False, True) and digest in (False, True), told
        assert set(codings) <= {"br", "zstd", "gzip", "identity"}, told
        assert len(set(codings)) == len(codings), told
        assert {weight, *weights.values()} <= set(range(1001)), told
        if isinstance(ranges, list):
            ordered = sorted(ranges)
            assert 0 < len(ranges) <= 256, told
            assert 0 <= ordered[0][0] and ordered[-1][1] < length, told
            assert all(first <= last for first, last in ranges), told
            assert all(a[1] + 1 < b[0] for a, b in zip(ordered, ordered[1:])
                       ), told
        else:
            assert ranges in (None, 416), told
        for fact in (("code", code), ("applies", applies), ("digest", digest),
                     ("codings", codings), ("acceptable", weight > 0),
                     ("ranges", len(ranges) if isinstance(ranges, list)
                      else ranges)):
            seen[fact] = seen.get(fact, 0) + 1
    # Each outcome has been seen, or the fuzz would test little.
    for fact in [("code", 0), ("code", 304), ("code", 412), ("ranges", None),
                 ("ranges", 416), ("ranges", 1), ("ranges", 2),
                 ("codings", ()), ("codings", ("gzip", "identity")),
                 *((name, claim) for name in ("applies", "digest",
                                              "acceptable")
                   for claim in (False, True))]:
        assert seen.get(fact, 0) >= 5, (fact, seen)


# ---- Target path ------------------------------------------------------------

OVERLONG_DOT, OVERLONG_SLASH = "%c0%ae", "%c0%af"

# Spellings of a way out: the target, then the names that it leads through, or
# the status of its refusal, elsewhere and on Windows.  None leads out.
OUTSIDE = [
    ("/../../etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/../" * 40 + "etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/a/../../etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/a/b/../../../../etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/./.././../etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("//../..//etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("//etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("///etc///passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/%2e%2e/%2e%2e/etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/%2E%2e/%2e%2E/etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/.%2e/%2e./etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("/../../%65tc/pass%77d", ["etc", "passwd"], ["etc", "passwd"]),
    ("/../../etc/passwd?/index.html", ["etc", "passwd"], ["etc", "passwd"]),
    ("http://a/../../etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("http://../../../etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("HTTPS://A:1/%2e%2e/etc/passwd", ["etc", "passwd"], ["etc", "passwd"]),
    ("../../etc/passwd", 400, 400),
    ("%2e%2e/etc/passwd", 400, 400),
    ("\\..\\etc\\passwd", 400, 400),
    ("http:///etc/passwd", 400, 400),
    ("file:///etc/passwd", 400, 400),
    ("/..%2f..%2fetc%2fpasswd", 404, 404),
    ("/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, 404),
    ("/..%2F../etc/passwd", 404, 404),
    ("/%2f..%2f../etc/passwd", 404, 404),
    ("/a%2f../../etc/passwd", 404, 404),
    ("/%2fetc%2fpasswd", 404, 404),
    ("/..%00/..%00/etc/passwd", 400, 400),
    ("/%00/../../etc/passwd", 400, 400),
    ("/../../etc/passwd%00", 400, 400),
    ("/../../etc/passwd%00.html", 400, 400),
    ("/..%00%2f../etc/passwd", 400, 400),
    ("/..%u002f../etc/passwd", 400, 400),
    ("/%u002e%u002e/etc/passwd", 400, 400),
    ("/%%32%65%%32%65/etc/passwd", 400, 400),
    ("/%2/../etc/passwd", 400, 400),
    ("/..%/..%/etc/passwd", 400, 400),
    ("/%252e%252e/%252e%252e/etc/passwd",
     ["%2e%2e", "%2e%2e", "etc", "passwd"],
     ["%2e%2e", "%2e%2e", "etc", "passwd"]),
    ("/..%252f..%252fetc%252fpasswd", ["..%2f..%2fetc%2fpasswd"],
     ["..%2f..%2fetc%2fpasswd"]),
    ("/..%25252f../etc/passwd", ["..%252f..", "etc", "passwd"], 404),
    ("/" + OVERLONG_DOT * 2 + "/etc/passwd",
     ["\xc0\xae\xc0\xae", "etc", "passwd"],
     ["\xc0\xae\xc0\xae", "etc", "passwd"]),
    ("/%e0%80%ae%e0%80%ae/etc/passwd",
     ["\xe0\x80\xae\xe0\x80\xae", "etc", "passwd"],
     ["\xe0\x80\xae\xe0\x80\xae", "etc", "passwd"]),
    ("/.." + OVERLONG_SLASH + "..%c1%9cetc/passwd",
     ["..\xc0\xaf..\xc1\x9cetc", "passwd"],
     ["..\xc0\xaf..\xc1\x9cetc", "passwd"]),
    ("/%ef%bc%8e%ef%bc%8e/etc/passwd",
     ["\xef\xbc\x8e\xef\xbc\x8e", "etc", "passwd"],
     ["\xef\xbc\x8e\xef\xbc\x8e", "etc", "passwd"]),
    ("/..%e2%88%95..%ef%bc%8fetc/passwd",
     ["..\xe2\x88\x95..\xef\xbc\x8fetc", "passwd"],
     ["..\xe2\x88\x95..\xef\xbc\x8fetc", "passwd"]),
    ("/\xc0\xae\xc0\xae/etc/passwd",
     ["\xc0\xae\xc0\xae", "etc", "passwd"],
     ["\xc0\xae\xc0\xae", "etc", "passwd"]),
    ("/..\\..\\etc\\passwd", ["..\\..\\etc\\passwd"], 404),
    ("/..%5c..%5cetc%5cpasswd", ["..\\..\\etc\\passwd"], 404),
    ("/..%5C../etc/passwd", ["..\\..", "etc", "passwd"], 404),
    ("/%5c..%5c../etc/passwd", ["\\..\\..", "etc", "passwd"], 404),
    ("/..%255c..%255cetc/passwd", ["..%5c..%5cetc", "passwd"],
     ["..%5c..%5cetc", "passwd"]),
    ("/%5c%5chost%5cshare%5cpasswd", ["\\\\host\\share\\passwd"], 404),
    ("/%5c%5c%3f%5cC:%5cpasswd", ["\\\\?\\C:\\passwd"], 404),
    ("/C:/etc/passwd", ["C:", "etc", "passwd"], 404),
    ("/C%3a%5cetc%5cpasswd", ["C:\\etc\\passwd"], 404),
    ("/.../.../etc/passwd", ["...", "...", "etc", "passwd"], 404),
    ("/....//....//etc/passwd", ["....", "....", "etc", "passwd"], 404),
    ("/..%20/..%20/etc/passwd", [".. ", ".. ", "etc", "passwd"], 404),
    ("/%20../etc/passwd", [" ..", "etc", "passwd"], 404),
    ("/..%09/etc/passwd", ["..\t", "etc", "passwd"], 404),
    ("/..%0d%0a/etc/passwd", ["..\r\n", "etc", "passwd"], 404),
    ("/..;/..;/etc/passwd", ["..;", "..;", "etc", "passwd"],
     ["..;", "..;", "etc", "passwd"]),
    ("/..;a=b/etc/passwd", ["..;a=b", "etc", "passwd"],
     ["..;a=b", "etc", "passwd"]),
    ("/~root/etc/passwd", ["~root", "etc", "passwd"], 404),
    ("/$HOME/etc/passwd", ["$HOME", "etc", "passwd"],
     ["$HOME", "etc", "passwd"]),
]
PATHS_OUTSIDE = [target for target, _, _ in OUTSIDE]    # for the wire, too


def lead(target, windows):
    """Return the names that *target* leads through, or a status."""
    head = get_of(target.encode("latin-1"))
    try:
        path = httpd.parse_request(head).path
        segments = httpd.path_segments(path, windows)[0]
    except httpd.HTTPError as error:
        return error.status
    return [name.decode("latin-1") for name in segments]


@pytest.mark.parametrize("target, expected, on_windows", OUTSIDE,
                         ids=PATHS_OUTSIDE)
def test_paths_outside(target, expected, on_windows):
    """Joined to the root in the system's own way they stay below it."""
    names = lead(target, False)
    assert names == expected
    if isinstance(names, list):
        path = posixpath.normpath(posixpath.join("/srv/www", *names))
        assert path.startswith("/srv/www/")
    names = lead(target, True)
    assert names == on_windows
    if isinstance(names, list):
        path = ntpath.normpath(ntpath.join("D:\\srv\\www", *names))
        assert path.startswith("D:\\srv\\www\\")


@table("path, expected", [
    ("/", ([], True), "the root"),
    ("", ([], True), "the path of requests that have none"),
    ("/a", ([b"a"], False), "a name"),
    ("/a/", ([b"a"], True), "a folder"),
    ("/a/b", ([b"a", b"b"], False), "two names"),
    ("//a///b//", ([b"a", b"b"], True), "empty segments"),
    ("/a/./b/.", ([b"a", b"b"], True), "dots (3986, 5.2.4)"),
    ("/a/b/..", ([b"a"], True), "two dots at the end"),
    ("/a/b/../", ([b"a"], True), "two dots and a slash"),
    ("/a/../b", ([b"b"], False), "two dots within"),
    ("/a/%2e", ([b"a"], True), "an encoded dot at the end"),
    ("/a/b/%2E%2e", ([b"a"], True), "encoded dots at the end"),
    ("/..", ([], True), "above the root"),
    ("/a/../../../b", ([b"b"], False), "far above the root"),
    ("/%61%20b", ([b"a b"], False), "decoded"),
    ("/%C3%a9", ([b"\xc3\xa9"], False), "UTF-8, digits in both cases"),
    ("/%ff%fe", ([b"\xff\xfe"], False), "what is no UTF-8"),
    ("/\xe9", ([b"\xe9"], False), "a raw byte"),
    ("/a+b", ([b"a+b"], False), "a plus is a plus"),
    ("/%2541", ([b"%41"], False), "decoded once"),
    ("/%25%32%65", ([b"%2e"], False), "decoded once, escape by escape"),
    ("/%3f%23", ([b"?#"], False), "encoded ? and #"),
    ("/%0a%1b", ([b"\n\x1b"], False), "controls may be in names"),
    ("/a;b,c=d", ([b"a;b,c=d"], False), "sub-delims"),
    ("/...", ([b"..."], False), "three dots are a name"),
    ("/.a", ([b".a"], False), "a dot name is is_hidden's"),
    ("/*", ([b"*"], False), "no globs (CVE-2026-27585)"),
    ("/CON", ([b"CON"], False), "a device elsewhere is a name here"),
    ("/a:b", ([b"a:b"], False), "a colon is a colon here"),
    ("/%00", 400, "NUL"),
    ("/a%00.html", 400, "NUL within"),
    ("/a%00/../b", 400, "NUL in what is left out again"),
    ("/\0", 400, "a raw NUL"),
    ("/%2f", 404, "an encoded slash"),
    ("/a%2Fb", 404, "an encoded slash within"),
    ("/a%2fb/../c", 404, "an encoded slash in what is left out again"),
    ("/%", 400, "a % alone"),
    ("/%a", 400, "one digit"),
    ("/%a/b", 400, "one digit before a slash"),
    ("/%ag", 400, "a digit and a g"),
    ("/%zz", 400, "no digits"),
    ("/% 1", 400, "a space, which int() takes"),
    ("/%+1", 400, "a sign, which int() takes"),
    ("/%-1", 400, "a minus sign"),
    ("/%1_", 400, "an underscore"),
    ("/%\xb2\xb3", 400, "superscripts"),
    ("/%%", 400, "two of them"),
    ("/%25%", 400, "a good one and a bad one"),
    ("/a/%u0041", 400, "the escape of JavaScript"),
])
def test_path_segments(path, expected):
    assert outcome(httpd.path_segments, path) == expected


@table("name, is_refused", [
    ("a", False, "a name"),
    ("a.b", False, "a suffix"),
    (".a", False, "a dot first"),
    ("a b", False, "a space within"),
    ("console", False, "con is but its beginning"),
    ("acon", False, "con is but its end"),
    ("a.con", False, "con is but its suffix"),
    ("com", False, "no number"),
    ("com10", False, "two digits"),
    ("lpt.txt", False, "no number, a suffix"),
    ("nul1", False, "nul has no number"),
    ("\xc3\xa9", False, "UTF-8"),
    ("a;b", False, "a semicolon"),
    ("%25", False, "a per cent sign"),
    ("a\\b", True, "a backslash"),
    ("a%5cb", True, "an encoded backslash (CVE-2026-52844)"),
    ("%5C", True, "a backslash alone"),
    ("C:", True, "a drive"),
    ("C:a", True, "a name on a drive"),
    ("a:b", True, "a stream"),
    ("a::$DATA", True, "the stream of the content (CVE-2009-3898)"),
    ("a%3a%3a$DATA", True, "the same, encoded"),
    ("a:$I30:$INDEX_ALLOCATION", True, "the stream of a folder's names"),
    ("%5c%5chost%5cshare", True, "another machine's folder (UNC)"),
    ("%5c%5c.%5cCOM1", True, "a device's whole path"),
    ("%5c%5c%3f%5cC%3a", True, "a drive's whole path"),
    ("con", True, "a device"),
    ("CON", True, "a device in capitals"),
    ("Con.txt", True, "a device with a suffix"),
    ("con.tar.gz", True, "a device with two"),
    ("con%20.txt", True, "a device, a space and a suffix"),
    ("%63on", True, "a device, encoded"),
    ("prn", True, "the printer"),
    ("aux", True, "aux"),
    ("nul", True, "nul"),
    ("nul.", True, "nul and a dot"),
    ("nul:", True, "nul and a colon"),
    ("nul.txt::$DATA", True, "nul, a suffix and a stream"),
    ("com1", True, "com1"),
    ("COM9.log", True, "com9 with a suffix"),
    ("lpt1", True, "lpt1"),
    ("com%c2%b9", True, "a superscript counts as a digit"),
    ("lpt%c2%b3.txt", True, "another"),
    ("conin$", True, "the console's input"),
    ("CONOUT$", True, "the console's output"),
    ("a.", True, "a trailing dot is lost"),
    ("a..", True, "two"),
    ("a%20", True, "a trailing space is lost"),
    ("a.%20.", True, "a mixture"),
    ("...", True, "dots alone"),
    ("..%20", True, "two dots and a space"),
    ("a~1", True, "a short name"),
    ("a*", True, "a wild card"),
    ("a%3f", True, "another"),
    ('"', True, "a quote"),
    ("<", True, "less"),
    (">", True, "greater"),
    ("|", True, "a pipe"),
    ("%01", True, "a control"),
    ("a%0ab", True, "a line end"),
    ("a%1f", True, "the last control"),
    ("a%0ab%0ac", True, "two line ends"),
    ("con.%0a%0a", True, "a device and line ends"),
])
def test_windows_names(name, is_refused):
    """Refused wherever they stand, also where they are left out again."""
    for path in ("/" + name, "/" + name + "/", "/" + name + "/a", "/a/" + name,
                 "/" + name + "/../a"):
        result = outcome(httpd.path_segments, path, True)
        assert (result == 404) == is_refused, path
        assert outcome(httpd.path_segments, path, False) != 404


@table("path, expected", [
    ("/a/b", [b"a", b"b"], "names"),
    ("/a/../b/./", [b"b"], "dots"),
    ("/..", [], "above the root"),
])
def test_windows_paths(path, expected):
    assert httpd.path_segments(path, True)[0] == expected


@table("path, expected", [
    ("/", False, "the root"),
    ("/a/b", False, "names"),
    ("/a.b", False, "a dot within"),
    ("/a./b", False, "a dot last"),
    ("/.a", True, "a dot first"),
    ("/.git/config", True, "a hidden folder"),
    ("/a/.b", True, "deeper"),
    ("/a/.b/c", True, "in the middle"),
    ("/...", True, "three dots"),
    ("/%2egit/config", True, "encoded (CVE-2018-3718)"),
    ("/./.git", True, "after a dot segment (CVE-2019-5415)"),
    ("/a/../.git", True, "after two dots"),
    ("//.git", True, "after an empty segment"),
    ("/.git/..", False, "left again"),
    ("/.well-known/", False, "RFC 8615"),
    ("/.well-known/a/b", False, "in it"),
    ("/%2ewell-known/a", False, "encoded"),
    ("/.well-known/.a", True, "hidden in it"),
    ("/.well-known/a/.b", True, "hidden deeper in it"),
    ("/.well-known/.well-known", True, "itself in it"),
    ("/a/.well-known", True, "only at the root"),
    ("/.well-known/../.git", True, "left by two dots"),
    ("/.well-known2/a", True, "a name that begins alike"),
    ("/.Well-Known/a", True, "another name by its case"),
])
def test_is_hidden(path, expected):
    assert httpd.is_hidden(httpd.path_segments(path)[0]) is expected


def random_name(chance):
    """Return a name of any bytes that a file may have."""
    while True:
        name = bytes(chance.choice(b".%/\\:?#<>&\"' \n\r\x00\xff\xc3aZ0~")
                     if chance.random() < 0.5 else chance.randrange(256)
                     for _ in range(chance.choice((1, 2, 3, 8, 255))))
        name = name.replace(b"/", b"").replace(b"\0", b"")
        if name not in (b"", b".", b".."):
            return name


def test_paths_round_trip():
    """absolute_path writes what path_segments reads, whatever the names."""
    chance = random.Random(FUZZ_SEED)
    for number in range(1500):
        names = [random_name(chance) for _ in range(chance.randrange(4))]
        is_folder = not names or chance.random() < 0.5
        path = httpd.absolute_path(names, is_folder)
        told = "FUZZ_SEED=%d, number %d: %r" % (FUZZ_SEED, number, names)
        assert httpd.path_segments(path) == (names, is_folder), told
        # Only unreserved characters and escapes, so no other host either.
        assert re.fullmatch(r"/|(?:/(?:[\w.~-]|%[0-9A-F]{2})+)+/?", path,
                            re.ASCII), told


@table("path", [
    ("//evil.example", "two slashes"),
    ("///evil.example", "three slashes"),
    ("/\\evil.example", "a backslash"),
    ("/%5cevil.example", "an encoded backslash"),
    ("//evil.example/%2e%2e", "dots (CVE-2021-28861)"),
    ("/.//evil.example", "a dot segment first"),
    ("/a/..//evil.example", "two dots first"),
    ("/%09/evil.example", "a tab, which browsers drop"),
    ("/%0d%0aLocation:%20//evil.example", "a line end"),
    ("http://a//evil.example", "in absolute-form"),
])
def test_no_path_names_another_host(path):
    """As Location resolves it (RFC 9110, 10.2.2): no open redirect."""
    request = httpd.parse_request(get_of(path.encode()))
    segments = httpd.path_segments(request.path)[0]
    location = httpd.absolute_path(segments, True)
    assert not location.startswith(("//", "/\\"))
    there = urllib.parse.urlsplit(urllib.parse.urljoin("http://a/", location))
    assert (there.scheme, there.netloc) == ("http", "a")
    assert is_plain(location) and " " not in location


@table("name, expected", [
    (b"a.html", "text/html", "html"),
    (b"A.HTM", "text/html", "capitals"),
    (b"a.css", "text/css", "css"),
    (b"a.js", "text/javascript", "js (RFC 9239)"),
    (b"a.mjs", "text/javascript", "mjs"),
    (b"a.txt", "text/plain", "txt"),
    (b"a.md", "text/markdown", "md (RFC 7763)"),
    (b"a.csv", "text/csv", "csv"),
    (b"a.json", "application/json", "json (RFC 8259)"),
    (b"a.webmanifest", "application/manifest+json", "webmanifest"),
    (b"a.wasm", "application/wasm", "wasm"),
    (b"a.pdf", "application/pdf", "pdf"),
    (b"a.xml", "application/xml", "xml"),
    (b"a.svg", "image/svg+xml", "svg"),
    (b"a.png", "image/png", "png"),
    (b"a.JPG", "image/jpeg", "jpg"),
    (b"a.webp", "image/webp", "webp"),
    (b"a.avif", "image/avif", "avif"),
    (b"favicon.ico", "image/vnd.microsoft.icon", "ico"),
    (b"a.woff2", "font/woff2", "woff2"),
    (b"a.mp4", "video/mp4", "mp4"),
    (b"a.webm", "video/webm", "webm"),
    (b"a.mp3", "audio/mpeg", "mp3"),
    (b"a.tar.gz", "application/gzip", "the last suffix counts"),
    (b"a.html.unknown", None, "unknown"),
    (b"a.", None, "an empty suffix"),
    (b"a", None, "no suffix"),
    (b"html", None, "a name is no suffix"),
    (b"a.html/b", None, "a folder's suffix"),
    (b"a.html/js", None, "a name in a folder"),
    (b"a.\xff\xfe", None, "a suffix not UTF-8"),
    (b"a.html\r\nX: b", None, "a line end"),
    (b"", None, "no name"),
])
def test_media_type(name, expected):
    assert httpd.media_type(name) == expected


EURO = "\u20ac".encode()
META = b"<!DOCTYPE html><title>a</title><meta charset=%s>"
UTF_8 = "text/html; charset=utf-8"


@table("kind, head, expected", [
    ("text/html", b"<p>" + EURO, UTF_8, "UTF-8"),
    ("text/css", b"a", "text/css; charset=utf-8", "ASCII"),
    ("text/plain", b"", "text/plain; charset=utf-8", "nothing"),
    ("text/plain", b"caf\xe9", "text/plain", "ISO-8859-1, at its end"),
    ("text/plain", EURO[:2], "text/plain", "half a character, and no more"),
    ("text/plain", bytes(9), "text/plain", "NUL: no text, or UTF-16"),
    ("text/plain", b"\x1b$B1Q\x1b(B", "text/plain", "ESC: ISO-2022-JP"),
    ("text/plain", b"a" * (httpd.SMALL - 2) + EURO[:2],
     "text/plain; charset=utf-8", "a character that goes on behind"),
    ("text/plain", b"a" * (httpd.SMALL - 2) + EURO[1:], "text/plain",
     "one that begins nowhere"),
    ("text/html", META % b"windows-1251", "text/html", "another is declared"),
    ("text/html", META % b"'windows-1251'" + b"<p>\xcf", "text/html",
     "and is it, in quotes"),
    ("text/html", b"<META http-equiv=content-type content='text/html;"
     b" Charset = Shift_JIS'>", "text/html", "in the older form"),
    ("text/html", b'<?xml version="1.0" encoding="ISO-8859-1"?>', "text/html",
     "as XML does"),
    ("text/html", META % b'"UTF-8"', UTF_8, "UTF-8 is declared"),
    ("text/html", META % b"utf8", UTF_8, "by its other name"),
    ("text/html", b"<?xml version='1.0' encoding='utf-8'?>" + META
     % b"utf-8", UTF_8, "in both ways"),
    ("text/html", b"<!-- " + META % b"koi8-r" + b" -->" + META % b"utf-8",
     UTF_8, "another in a comment"),
    ("text/html", META % b"utf-8" + META % b"koi8-r", UTF_8,
     "the first counts"),
    ("text/html", b" " * 1024 + META % b"koi8-r", UTF_8, "too late"),
    ("text/html", b"<p>charset=koi8-r, encoding='x'", UTF_8, "in words"),
    ("text/javascript", META % b"koi8-r", "text/javascript; charset=utf-8",
     "in what is no HTML"),
    ("application/json", b"{}", "application/json", "no charset (RFC 8259)"),
    ("image/svg+xml", b"\xff", "image/svg+xml", "XML says its own"),
    (None, b"all: a.o\n" + EURO, "text/plain; charset=utf-8",
     "text of unknown suffix"),
    (None, b"caf\xe9", "application/octet-stream", "no UTF-8"),
    (None, b"\x7fELF\0", "application/octet-stream", "a program"),
    (None, b"\x1b[2J", "application/octet-stream", "ESC"),
])
def test_content_type(kind, head, expected):
    """A charset in the field outranks what a page declares."""
    assert httpd.content_type(kind, head) == expected


def test_every_media_type_is_one():
    for suffix, kind in httpd.MEDIA_TYPES.items():
        assert re.fullmatch("[a-z0-9]+", suffix)
        assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", kind)
        assert httpd.media_type(b"a." + suffix.encode()) == kind


# ---- Pages ------------------------------------------------------------------

HOSTILE = [
    b"<script>alert(1)</script>", b"</td><script>", b'"onmouseover="alert(1)',
    b"' onclick='x", b"<img src=x>", b"&lt;b&gt;", b"&amp", b"<!--",
    b"]]>", b"</title>",
    b"</style><b>", b"javascript:alert(1)", b"data:text", b"http:", b"a:b",
    b"a?b", b"a#b", b"a%2eb", b"%", b"%00", b"%2e%2e", b"a b", b" ", b"\n",
    b"a\r\nb", b"\t", b"\x1b[2J", b"\x7f", b"...", b". .", b"-", b"~", b"\\",
    b"..\\a", b"{title}", b"{}", b"{0}", b"%s", b"%(a)s", b"\xff\xfe",
    b"\xed\xa0\x80", b"\xc3\xa9", b"\xe2\x80\xae", b"\xf0\x9f\x98\x80",
    b"+", b";", b"=", b"@", b"*", b"a" * 255, b"\xe9" * 255,
]


# The elements that pages may have, and their attributes.
ELEMENTS = {
    "html": {"lang"}, "head": set(), "meta": {"charset", "name", "content"},
    "title": set(), "style": set(), "body": set(), "h1": set(), "p": set(),
    "nav": {"aria-label"}, "bdi": set(), "table": set(), "thead": set(), "tbody": set(), "tr": set(),
    "th": {"aria-sort"}, "td": set(), "a": {"href"}, "span": {"title"},
    "time": {"datetime"}, "form": {"id"}, "input": {"type", "name", "value"},
    "button": {"form", "name", "value"},
}


class Page(html.parser.HTMLParser):
    """What a browser sees of a page: its links, words and elements."""

    def __init__(self, content):
        super().__init__()
        self.links = []     # (href, text)
        self.path = []      # (href, text) of the folders above
        self.columns = []   # (aria-sort, query of its form, text) of each
        self.forms = {}     # by their ids
        self.times = []     # (datetime, text)
        self.sizes = []     # (title, text)
        self.words = {}     # of each element, joined
        self.inside = []
        self.feed(content.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert set(attributes) <= ELEMENTS[tag], (tag, attrs)
        assert len(attributes) == len(attrs)
        self.inside.append(tag)
        if tag == "th":
            self.columns.append([attributes.get("aria-sort"), None, ""])
        elif tag == "form":
            form = self.forms.setdefault(attributes["id"], {})
            assert not form
        elif tag == "input":
            list(self.forms.values())[-1][
                attributes["name"]] = attributes["value"]
        elif tag == "button":
            self.columns[-1][1] = dict(self.forms[attributes["form"]], **{
                attributes["name"]: attributes["value"]})
        elif tag == "time":
            self.times.append([attributes["datetime"], ""])
        elif tag == "span":
            self.sizes.append([attributes["title"], ""])
        elif tag == "a":
            self.anchors().append([attributes["href"], ""])
        elif tag == "tbody" and "thead" in self.inside:
            self.handle_endtag("thead")     # its end tag may be left out
            self.inside.append(tag)

    def anchors(self):
        """Return the list that a link belongs to."""
        return self.path if "nav" in self.inside else self.links

    def handle_endtag(self, tag):
        if tag in self.inside:
            del self.inside[len(self.inside)
                            - 1 - self.inside[::-1].index(tag):]

    def handle_data(self, data):
        tag = self.inside[-1] if self.inside else ""
        for name in {tag, "h1"}.intersection(self.inside):
            self.words[name] = self.words.get(name, "") + data
        lists = {"time": self.times, "span": self.sizes, "a": self.anchors(),
                 "button": self.columns}
        if tag in lists:
            lists[tag][-1][-1] += data

    def handle_comment(self, data):
        pytest.fail("a comment: %r" % data)


@pytest.mark.parametrize("status", sorted(httpd.REASONS))
def test_error_page(status):
    page = Page(httpd.error_page(status, "So it is."))
    title = "%d %s" % (status, httpd.REASONS[status])
    assert page.words["title"] == page.words["h1"] == title
    assert page.words["p"] == "So it is." + httpd.REMEDIES.get(status, "")
    assert page.links == [["/", "Go to the first page"]]


def test_every_error_says_what_to_do():
    assert {status for status in httpd.REASONS if status >= 400} == set(
        httpd.REMEDIES)


@pytest.mark.parametrize("name", HOSTILE)
def test_error_page_escapes(name):
    """What it shows comes out as words, never as markup."""
    detail = name.decode("latin-1")
    assert Page(httpd.error_page(404, detail)).words["p"] == (
        detail + httpd.REMEDIES[404])


def test_policy_allows_no_script():
    """The only styles are ours, by the hash of what is between the tags."""
    words = [directive.split() for directive in httpd.NO_SCRIPTS.split(";")]
    policy = {name: values for name, *values in words}
    assert policy["default-src"] == ["'none'"]
    assert policy["form-action"] == ["'self'"]  # the listing's, which sorts
    assert set(policy) == {"default-src", "style-src", "base-uri",
                           "form-action", "frame-ancestors"}
    pages = [httpd.error_page(404, "x"),
             httpd.Listing([b"a"], "", False).start().encode()]
    for count, page in enumerate(pages, 1):
        styles = re.findall(b"<style>(.*?)</style>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(style).digest()).decode()
                   for style in styles]
        assert policy["style-src"][:count] == [
            "'sha256-%s'" % digest for digest in digests]
    assert len(policy["style-src"]) == len(pages)


def luminance(colour):
    """Return the relative luminance of "#rrggbb" (WCAG 2.2)."""
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045
                        else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def palettes(style):
    """Return the colours of *style* by their names: the light, the dark."""
    found = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})\b", block))
             for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)]
    assert len(found) == 2 and len(found[0]) >= 6
    assert set(found[0]) - {"on-accent"} == set(found[1]) - {"on-accent"}
    return found


def site_style():
    """Return the style sheet of htdocs/."""
    with open(os.path.join(HERE, "htdocs", "style.css")) as file:
        return file.read().replace("#fff;", "#ffffff;")


@pytest.mark.parametrize("style, link, behind", [
    (httpd.STYLE, "link", "row"), (site_style(), "accent", "code")],
    ids=["pages", "htdocs"])
def test_contrast(style, link, behind):
    """Each word has a contrast of 4.5, in light and dark (WCAG 2.2, AA)."""
    for colours in palettes(style):
        pairs = [(text, ground) for text in ("ink", "quiet", link)
                 for ground in ("paper", behind)]
        if "on-accent" in colours:
            pairs.append(("on-accent", "accent"))
        for text, ground in pairs:
            dark, light = sorted([luminance(colours[text]),
                                  luminance(colours[ground])])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_pages_have_the_colours_of_the_site():
    for ours, its in zip(palettes(httpd.STYLE), palettes(site_style())):
        assert ours == dict(
            {name: its[name] for name in ("paper", "ink", "quiet", "line")},
            row=its["code"], link=its["accent"])


def listed(folder, entries, query="", as_json=False):
    """Return the listing of *entries* in their order, as it is sent."""
    listing = httpd.Listing(folder, query, as_json)
    rows_ = [listing.row(entry) for entry in entries]
    return (listing.start() + listing.separator.join(rows_)
            + listing.end()).encode("utf-8")


def shown(name):
    """Return *name* as text; "\ufffd" is what is no UTF-8, or a control."""
    return "".join("\ufffd" if unicodedata.category(character) == "Cc"
                   or unicodedata.bidirectional(character)
                   in ("LRE", "RLE", "LRO", "RLO", "PDF",
                       "LRI", "RLI", "FSI", "PDI") else character
                   for character in name.decode("utf-8", "replace"))


@table("name, expected", [
    (b"a b", "a b", "plain"),
    (b"\xc3\xa9\xf0\x9f\x98\x80", "\xe9\U0001f600", "UTF-8"),
    (b"a&b<c>\"'", "a&amp;b&lt;c&gt;&quot;&#x27;", "markup"),
    (b"\xff\xed\xa0\x80", "\ufffd\ufffd\ufffd\ufffd", "no UTF-8"),
    (b"\t\r\n\x1b[2J\x7f", "\ufffd\ufffd\ufffd\ufffd[2J\ufffd",
     "controls, which HTML may not have"),
    (b"\xc2\x9b\xc2\xa0", "\ufffd\xa0", "a C1 control, and NBSP"),
    (b"\xe2\x80\xaegpj.exe", "\ufffdgpj.exe", "what writes it backwards"),
    (b"\xd7\xa9\xe2\x80\x8f\xe2\x80\x8d", "\u05e9\u200f\u200d",
     "a mark of direction, and a joiner, which names need"),
])
def test_name_for_people(name, expected):
    assert httpd.name_for_people(name) == expected


def check_listing(folder, names):
    """Each link of the listing leads back to its name, and shows it.

    So does each object of its JSON, to the very bytes.
    """
    entries = [httpd.Entry(name, None if i % 3 == 0 else i, int(NOW))
               for i, name in enumerate(names)]
    html_ = listed(folder, entries)
    page = Page(html_)
    # What takes each quoted href for a name below, as fsspec does, is right.
    assert set(re.findall(r'href="(.*?)"', html_.decode())) == {
        urllib.parse.quote(entry.name, "") + "/" * (entry.size is None)
        for entry in entries} | {"../"} - ({"../"} if not folder else set())
    title = "/" + "".join(shown(name) + "/" for name in folder)
    assert page.words["title"] == page.words["h1"] == title
    base = "http://a" + httpd.absolute_path(folder, True)
    # The folders above, each by a link that holds below a proxy's path too.
    assert "".join(text for _, text in page.path) + page.words["bdi"] == title
    assert [urllib.parse.urljoin(base, href) for href, _ in page.path] == [
        "http://a" + httpd.absolute_path(folder[:i], True)
        for i in range(len(folder))]
    assert all(href.startswith("../") for href, _ in page.path)
    found = {}
    for href, text in page.links:
        there = urllib.parse.urlsplit(urllib.parse.urljoin(base, href))
        assert (there.scheme, there.netloc) == ("http", "a")
        assert not there.query and not there.fragment
        segments, is_folder = httpd.path_segments(there.path)
        found[tuple(segments)] = (is_folder, text)
    if folder:
        assert found.pop(tuple(folder[:-1])) == (True, "../")
    assert found == {
        tuple(folder) + (entry.name,): (
            entry.size is None,
            shown(entry.name) + ("/" if entry.size is None else ""))
        for entry in entries}
    text = listed(folder, entries, as_json=True).decode("ascii")
    assert [item["name"].encode("utf-8", "surrogateescape")
            for item in json.loads(text)] == names


@pytest.mark.parametrize("folder", [
    [], [b"a"], [b"a", b"b"], [b"<b>", b"a?b#c%2e"], [b"\xff", b"{title}"],
    [b"a:b"], [b"http:", b"evil.example"]])
def test_listing_of_hostile_names(folder):
    check_listing(folder, [name for name in HOSTILE if b"/" not in name])
    check_listing(folder, [bytes([byte]) for byte in range(1, 256)
                           if byte not in b"./"])


def test_listing_of_random_names():
    chance = random.Random(FUZZ_SEED)
    for _ in range(20):
        folder = [random_name(chance) for _ in range(chance.randrange(3))]
        names = sorted({random_name(chance) for _ in range(40)})
        chance.shuffle(names)
        check_listing(folder, names)


def test_listing_row():
    """The exact size is there for who wants it, and the time for machines.

    Shown is the minute in UTC, which the head of the column says.
    """
    page = Page(listed([], [httpd.Entry(b"a", 12345, MODIFIED),
                            httpd.Entry(b"b", None, MODIFIED),
                            httpd.Entry(b"c", 0, -1)]))
    assert page.sizes == [["12345 bytes", "12.1 KiB"], ["0 bytes", "0 B"]]
    assert page.times == 2 * [["1994-11-06T08:49:37Z", "1994-11-06 08:49"]]
    assert page.columns[2][2] == "Time (UTC)"
    assert "p" not in page.words
    assert [text for _, text in page.links] == ["a", "b/", "c"]


@pytest.mark.parametrize("as_json", [False, True])
def test_listing_of_nothing(as_json):
    content = listed([], [], as_json=as_json)
    if as_json:
        assert json.loads(content.decode("ascii")) == []
    else:
        page = Page(content)
        assert (page.links, page.path) == ([], [])
        assert page.words["p"] == "This folder is empty."
        assert Page(listed([b"a"], [])).links == [["../", "../"]]


def test_listing_as_json():
    """As nginx's autoindex has it: name, type, mtime, size (DESIGN, 3)."""
    entries = [httpd.Entry(b"d", None, MODIFIED),
               httpd.Entry(b'a"\\\n\xff\xc3\xa9', 2**40, MODIFIED),
               httpd.Entry(b"b", 0, httpd.HTTP_DATE_MAX + 1),
               httpd.Entry(b"c", 5, -1)]
    content = listed([b"x"], entries, as_json=True)
    assert json.loads(content.decode("ascii")) == [
        {"name": "d", "type": "directory", "mtime": DATE},
        {"name": 'a"\\\n\udcff\xe9', "type": "file", "mtime": DATE,
         "size": 2**40},
        {"name": "b", "type": "file", "size": 0},
        {"name": "c", "type": "file", "size": 5}]
    assert httpd.Listing([], "", True).media == "application/json"
    assert httpd.Listing([], "", False).media == httpd.HTML


@table("query, sort, order", [
    ("", "name", "asc", "none"),
    ("sort=name", "name", "asc", "name"),
    ("sort=size", "size", "asc", "size"),
    ("sort=time", "time", "asc", "time"),
    ("sort=size&order=desc", "size", "desc", "size, descending"),
    ("order=desc&sort=time", "time", "desc", "the order first"),
    ("order=desc", "name", "desc", "an order alone"),
    ("sort=size&order=asc", "size", "asc", "size, ascending"),
    ("&&x&=&sort=size&y=z", "size", "asc", "in between"),
    ("sort=", "name", "asc", "an empty key"),
    ("sort", "name", "asc", "no key"),
    ("sort=Size", "name", "asc", "a capital"),
    ("sort=mtime", "name", "asc", "an unknown key"),
    ("sort=__class__", "name", "asc", "a name of Python's"),
    ("sort=<script>&order=\"><b>", "name", "asc", "markup"),
    ("sort=size&order=DESC", "size", "asc", "an order in capitals"),
    ("sort=%ff&order=%00", "name", "asc", "escapes"),
])
def test_listing_columns(query, sort, order):
    """A click sorts by a column, another one turns the order.

    By a form, for what crawls follows links.  The column that is sorted says so (WAI-ARIA, 6.6: aria-sort).
    """
    page = Page(listed([b"a"], [], query))
    said = {"asc": "ascending", "desc": "descending"}
    turned = {"asc": "desc", "desc": "asc"}
    assert [(aria, text) for aria, _, text in page.columns] == [
        (said[order] if key == sort else None, text)
        for key, text in (("name", "Name"), ("size", "Size"),
                          ("time", "Time (UTC)"))]
    for (_, asked, _), key in zip(page.columns, ("name", "size", "time")):
        assert asked == {
            "sort": key, "order": turned[order] if key == sort else "asc"}
    listing = httpd.Listing([], query, True)
    assert (listing.sort, listing.reverse) == (sort, order == "desc")


def natural_order(one, other):
    """Compare names run by run: digits as numbers, the rest without case.

    Equal ones are told apart by their bytes.
    """
    runs = [re.findall("[0-9]+|[^0-9]+",
                       name.decode("utf-8", "surrogateescape").casefold())
            for name in (one, other)]
    for mine, its in zip(*runs):
        if mine[0] in "0123456789" and its[0] in "0123456789":
            mine, its = (text.lstrip("0") for text in (mine, its))
            mine, its = (len(mine), mine), (len(its), its)
        if mine != its:
            return -1 if mine < its else 1
    mine, its = [len(run) for run in runs], [one, other]
    if mine[0] == mine[1]:
        mine = its
    return (mine[0] > mine[1]) - (mine[0] < mine[1])


@table("names", [
    ([b"f1", b"f2", b"f10"], "f2 before f10 (DESIGN, 3)"),
    ([b"a", b"B", b"c"], "case does not count"),
    ([b"A", b"a", b"B"], "but for equal names"),
    ([b"1", b"2", b"10", b"a"], "numbers before letters"),
    ([b"a1b2", b"a1b10", b"a2b1", b"a10b1"], "the second number"),
    ([b"f0", b"f00", b"f1", b"f01x", b"f2"], "zeros first"),
    ([b"f", b"f1", b"fa"], "a prefix first"),
    ([b"v1.9", b"v1.10", b"v2.0"], "versions"),
    ([b"n" + b"9" * 254, b"n1" + b"0" * 253][::-1], "255 digits"),
    ([b"\xc3\x89a", b"\xc3\xa9b", b"\xc3\x89c"], "case of other letters"),
    ([b"x\xfe1", b"x\xfe2", b"x\xfe10"], "bytes that are no UTF-8"),
    ([b"1\xc2\xb2", b"2\xd9\xa1"], "digits that int() does not take"),
])
def test_natural_order(names):
    for order in (names, names[::-1], names[1:] + names[:1]):
        assert sorted(order, key=httpd.natural_key) == names


def some_name(chance):
    """Return a name; all characters but digits are beyond the digits."""
    return b"".join(chance.choice([
        b"a", b"A", b"b", b"_", b"\xc3\xa9", b"\xc3\x89", b"\xff",
        b"\xc3\x9f", b"0", b"1", b"2", b"9", b"10", b"007"])
        for _ in range(chance.choice((1, 2, 3, 6))))


def test_natural_order_against_the_definition():
    chance = random.Random(FUZZ_SEED)
    for _ in range(100):
        names = [some_name(chance) for _ in range(40)]
        assert (sorted(names, key=httpd.natural_key)
                == sorted(names, key=functools.cmp_to_key(natural_order)))


@pytest.mark.parametrize("order", ["", "&order=asc", "&order=desc"])
@pytest.mark.parametrize("sort", ["name", "size", "time"])
def test_listing_is_sorted(sort, order):
    """By the key; what is equal by name; and the same from the other end."""
    chance = random.Random(FUZZ_SEED)
    names = sorted({some_name(chance) for _ in range(300)})
    entries = [httpd.Entry(name, chance.randrange(5), chance.randrange(-1, 4))
               for name in names]
    folders = [httpd.Entry(name, None, chance.randrange(3)) for name in names]
    listing = httpd.Listing([], "sort=" + sort + order, False)

    def compare(one, other):
        value = {"name": 0, "size": (one.size or 0) - (other.size or 0),
                 "time": one.mtime - other.mtime}[sort]
        return value or natural_order(one.name, other.name)

    for group in (entries, folders):
        chance.shuffle(group)
        expected = sorted(group, key=functools.cmp_to_key(compare))
        if order == "&order=desc":
            expected.reverse()
        assert sorted(group, key=listing.key,
                      reverse=listing.reverse) == expected


@table("size, expected", [
    (0, "0 B", "nothing"),
    (1, "1 B", "one"),
    (999, "999 B", "three digits"),
    (1023, "1023 B", "just under 1 KiB"),
    (1024, "1.0 KiB", "1 KiB"),
    (1536, "1.5 KiB", "one and a half"),
    (10 * 1024, "10.0 KiB", "ten"),
    (99 * 1024 + 921, "99.9 KiB", "99.9"),
    (99 * 1024 + 1000, "100 KiB", "no 100.0"),
    (999 * 1024, "999 KiB", "999"),
    (1024**2 - 1, "1.0 MiB", "no 1024 KiB"),
    (1024**2, "1.0 MiB", "1 MiB"),
    (1024**3, "1.0 GiB", "1 GiB"),
    (1024**4, "1.0 TiB", "1 TiB"),
    (1024**5, "1.0 PiB", "1 PiB"),
    (2**63 - 1, "8.0 EiB", "the largest of files"),
])
def test_size_for_people(size, expected):
    assert httpd.size_for_people(size) == expected


def test_sizes_against_the_definition():
    """What it says is within five in a hundred; and it is never long."""
    chance = random.Random(FUZZ_SEED)
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    for _ in range(3000):
        size = int(2 ** chance.uniform(0, 63))
        text = httpd.size_for_people(size)
        number, unit = text.split(" ")
        assert len(number) <= 4, text
        said = float(number) * 1024 ** units.index(unit)
        assert abs(said - size) <= 0.05 * size, (size, text)


@table("mtime, expected", [
    (0, "1970-01-01 00:00:00", "the epoch"),
    (784111777, "1994-11-06 08:49:37", "the RFC's example"),
    (253402300799, "9999-12-31 23:59:59", "the last one"),
    (253402300800, "", "the year 10000"),
    (-1, "", "before the epoch"),
    (-2**63, "", "-2^63"),
    (2**63, "", "2^63"),
    (2**200, "", "2^200"),
])
def test_listing_time(mtime, expected):
    assert httpd.listing_time(mtime) == expected


def test_fuzz_listing():
    """Neither a query nor a name breaks out of its place."""
    chance = random.Random(FUZZ_SEED)
    for number in range(1000):
        query = "".join(chance.choice(VALUE_PIECES).encode(
            "ascii", "ignore").decode() for _ in range(8))
        folder = [random_name(chance) for _ in range(chance.randrange(3))]
        entries = [httpd.Entry(random_name(chance), chance.choice((None, 5)),
                               chance.choice((-2**70, 0, MODIFIED, 2**70)))
                   for _ in range(3)]
        told = "FUZZ_SEED=%d, number %d: %r, %r, %r" % (
            FUZZ_SEED, number, query, folder, [e.name for e in entries])
        try:
            page = Page(listed(folder, entries, query))
            text = listed(folder, entries, query, True).decode("ascii")
        except Exception as exc:
            pytest.fail("%r, %s" % (exc, told))
        assert len(page.links) == len(entries) + bool(folder), told
        assert len(page.columns) == 3, told
        assert [item["name"].encode("utf-8", "surrogateescape")
                for item in json.loads(text)] == [
                    entry.name for entry in entries], told


# ---- Access log lines -------------------------------------------------------

LATIN_1 = EVERY_BYTE.decode("latin-1")
QUOTED = r'"((?:[ !#-\[\]-~]|\\x[0-9a-f]{2})*)"'


def unescape(text):
    return re.sub(r"\\x([0-9a-f]{2})",
                  lambda match: chr(int(match.group(1), 16)), text)


@table("text, expected", [
    ("", "", "nothing"),
    ("GET /a HTTP/1.1", "GET /a HTTP/1.1", "plain"),
    ('a"b', "a\\x22b", "a quote would end the field"),
    ("a\\b", "a\\x5cb", "a backslash would be mistaken for ours"),
    ("a\r\nb", "a\\x0d\\x0ab", "a line end would begin a line"),
    ("\x1b[2J", "\\x1b[2J", "ESC (CVE-2009-4487)"),
    ("\x9b2J", "\\x9b2J", "CSI, a C1 control (gh-100001)"),
    ("\x7f\x85\xa0\xad", "\\x7f\\x85\\xa0\\xad", "DEL, NEL, NBSP, SHY"),
    ("\xe9", "\\xe9", "no ASCII"),
    ("\t\0", "\\x09\\x00", "tab and NUL"),
    ("\\x0a", "\\x5cx0a", "what looks escaped already"),
])
def test_escape(text, expected):
    assert httpd.escape(text) == expected
    assert unescape(expected) == text


def test_escape_of_every_character():
    for text in list(LATIN_1) + [LATIN_1, LATIN_1[::-1]]:
        escaped = httpd.escape(text)
        assert is_plain(escaped) and '"' not in escaped
        assert unescape(escaped) == text


def logged_request(line, referer, agent):
    fields = {"host": "a"}
    if referer is not None:
        fields["referer"] = referer
    if agent is not None:
        fields["user-agent"] = agent
    return httpd.Request(line, "GET", "/", "", 1, fields, "", False)


LOGGED = [
    ("GET / HTTP/1.1", "http://a/", "curl/8", "plain"),
    ("GET / HTTP/1.1", None, None, "neither field"),
    ("", "", "", "all empty"),
    ('" 200 5 "', '"', '" "', "quotes"),
    ("\r\n127.0.0.1 - - [x]", "\r\n", "\n\n", "line ends"),
    ("\\", "\\\"", "\\x0a", "backslashes"),
    ("\x1b]0;a\x07", "\x1b[2J", "\x9b2J", "a terminal's controls"),
    ("\x85", "\x1c", "\x1e\x0b\x0c", "line ends of Unicode"),
    (LATIN_1, LATIN_1, LATIN_1, "every byte"),
]


@table("line, referer, agent", LOGGED)
def test_ncsa_lines(line, referer, agent):
    """One line of printable ASCII, in the form that log readers know."""
    request = logged_request(line, referer, agent)
    date = "06/Nov/1994:08:49:37 +0000"
    start = r" - - \[06/Nov/1994:08:49:37 \+0000\] " + QUOTED + " 200 512"
    for rest, end in ((httpd.common_rest, ""),
                      (httpd.combined_rest, " %s %s" % (QUOTED, QUOTED))):
        text = rest(date, request, 200, 512)
        assert text[-1:] == "\n" and is_plain(text[:-1])
        match = re.fullmatch(start + end, text[:-1])
        assert match, text
        parts = [unescape(group) for group in match.groups()]
        # "-" is NCSA's word for a field that is not there.
        assert parts == [line, referer or "-", agent or "-"][:len(parts)]


@table("line, referer, agent", LOGGED)
def test_json_line(line, referer, agent):
    request = logged_request(line, referer, agent)
    text = httpd.json_line(("::1", 54321), "1994-11-06", request, 206, 7,
                           0.25, True)
    assert text[-1:] == "\n" and is_plain(text[:-1])
    assert json.loads(text) == {
        "time": "1994-11-06", "address": "::1", "port": 54321, "user": None,
        "request": line,
        "status": 206, "bytes": 7, "referer": referer, "user_agent": agent,
        "duration_us": 250000, "aborted": True}


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no tzset here")
@table("zone, expected", [
    ("UTC0", "06/Nov/1994:08:49:37 +0000", "UTC"),
    ("XXX-5:30", "06/Nov/1994:14:19:37 +0530", "east, half an hour"),
    ("XXX3:30", "06/Nov/1994:05:19:37 -0330", "west, half an hour"),
    ("XXX0:30", "06/Nov/1994:08:19:37 -0030", "west, less than an hour"),
    ("XXX-14", "06/Nov/1994:22:49:37 +1400", "farthest east"),
    ("XXX12", "05/Nov/1994:20:49:37 -1200", "farthest west, the day before"),
])
def test_log_date(zone, expected, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        try:
            assert httpd.log_date(784111777) == expected
        finally:
            patch.undo()
            time.tzset()


@table("member, expected", [
    ("192.0.2.1", ("192.0.2.1", None), "an address"),
    ("192.0.2.1:65535", ("192.0.2.1", 65535), "with a port"),
    ("192.0.2.1:65536", None, "no port"), ("192.0.2.1:", None, "empty port"),
    ("2001:DB8:0::1", ("2001:db8::1", None), "IPv6"),
    ("[::1]:123", ("::1", 123), "IPv6 with a port"),
    ("[::1]", ("::1", None), "in brackets"), ("[::1", None, "half open"),
    ("::ffff:192.0.2.1", ("192.0.2.1", None), "mapped"),
    ("[192.0.2.1]", ("192.0.2.1", None), "IPv4 in brackets"),
    ("unknown", None, "a word"), ("_hidden", None, "obfuscated"),
    ("192.0.2.256", None, "out of range"), ("192.0.2", None, "too short"),
    ("fe80::1%\x1b[2J", None, "a zone that is none"), ("\xb2", None, "digit"),
    ('"192.0.2.1"', None, "quoted"), ("", None, "nothing"),
    ("1" * 5000, None, "long")])
def test_parse_forwarded(member, expected):
    assert httpd.parse_forwarded(member) == expected


PROXY = ("10.1.2.3", 5)


@table("names, forwarded, expected", [
    ("10.0.0.0/8", "192.0.2.1", ("192.0.2.1", None), "one"),
    ("10.0.0.0/8", "6.6.6.6, 192.0.2.1", ("192.0.2.1", None), "forged"),
    ("10.0.0.0/8", "192.0.2.1, 10.9.9.9", ("192.0.2.1", None), "two proxies"),
    ("10.0.0.0/8 ::1", "192.0.2.1:7,[::1]:8\t, 10.9.9.9 ",
     ("192.0.2.1", 7), "three, of both families"),
    ("10.0.0.0/8", "10.5.5.5, 10.9.9.9", ("10.5.5.5", None), "all trusted"),
    ("10.0.0.0/8", "192.0.2.1, nonsense", PROXY, "nonsense at the right"),
    ("10.0.0.0/8", "192.0.2.1, nonsense, 10.9.9.9", ("10.9.9.9", None),
     "nonsense between"),
    ("10.0.0.0/8", "", PROXY, "no field"), ("10.0.0.0/8", " , ,", PROXY,
                                             "nothing in it"),
    ("10.0.0.0/8", "192.0.2.1,,", ("192.0.2.1", None), "empty members"),
    ("10.0.0.0/8", "192.0.2.1," + "10.0.0.1," * 1000 + "10.0.0.2",
     ("10.0.0.1", None), "more than are read"),
    ("0.0.0.0/0", "::1", ("::1", None), "another family")])
def test_client_behind_proxies(names, forwarded, expected):
    trusted = httpd.TrustedProxies(names.split())
    assert trusted.client(PROXY, forwarded) == expected


def test_long_forwarded_is_not_remembered():
    """A client chooses what its first proxy passes on."""
    trusted = httpd.TrustedProxies(["10.0.0.0/8"])
    for blanks, known in ((httpd.FORWARDED_KNOWN_SIZE, 0), (0, 1)):
        assert trusted.client(PROXY, "192.0.2.1" + " " * blanks) == (
            "192.0.2.1", None)
        assert trusted._known.cache_info().currsize == known


@table("name, is_trusted", [
    ("10.1.2.3", True, "itself"), ("10.0.0.0/8", True, "its network"),
    ("10.1.2.4", False, "another"), ("::/0", False, "another family"),
    ("unix:", False, "a path")])
def test_trusted_proxies(name, is_trusted):
    for strange in ("fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.1/8", ""):
        with pytest.raises(ValueError):
            httpd.TrustedProxies([strange])
    assert ("10.1.2.3" in httpd.TrustedProxies([name])) == is_trusted
    assert ("unix:" in httpd.TrustedProxies([name])) == (name == "unix:")
    assert "fe80::1%eth0" in httpd.TrustedProxies([name, "fe80::/10"])


@pytest.mark.parametrize("form", ["combined", "common", "json"])
@pytest.mark.parametrize("size", [4096, 512])
def test_shortened_line_keeps_user_and_date(form, size):
    head = httpd.parse_request(head_of(b"GET /%s HTTP/1.1" % (b"x" * 5000),
                                       b"Host: h"))
    head.user = "u" * 100
    if form == "json":
        line = httpd.json_line(("::1", 1), httpd.log_date(0), head, 200, 1, 1,
                               False)
    else:
        line = "::1" + httpd.NCSA_FORMATS[form](httpd.log_date(0), head, 200,
                                                1)
    short = httpd.shortened(line, size)
    assert "u" * 100 in short and httpd.log_date(0) in short
    assert len(short) <= size


@pytest.mark.parametrize("form", ["combined", "common", "json"])
@pytest.mark.parametrize("size", [4096, 512])
def test_shortened(form, size):
    for length in (10, 200, 5000):
        for byte in (b"a", b'"', b"\xff"):
            head = httpd.parse_request(head_of(
                b"GET /" + b"x" * length + b" HTTP/1.1", b"Host: h",
                b"Referer: " + byte * length, b"User-Agent: " + byte * length))
            peer = ("2001:db8:1111:2222:3333:4444:5555:6666", 65535)
            date = httpd.log_date(0)
            if form == "json":
                line = httpd.json_line(peer, date, head, 200, 10**12, 1, True)
            else:
                line = peer[0] + httpd.NCSA_FORMATS[form](date, head, 200,
                                                          10**12)
            short = httpd.shortened(line, size)
            assert len(short) <= size and short.endswith("\n")
            assert (short == line) == (len(line) <= size)
            if form == "json":
                entry = json.loads(short)
                assert list(entry) == list(json.loads(line))
                request = entry["request"]
                assert (entry["address"], entry["time"]) == (peer[0], date)
            else:
                assert short.count('"') == line.count('"')
                assert short.startswith(peer[0] + " - - [" + date + "] ")
                request = short.split('"')[1]
            if size == 4096:
                assert request.startswith("GET /xxx")
            assert request.endswith(" HTTP/1.1")


@table("user, word", [
    ("", "-", "none"), ("me", "me", "plain"), ("a b", "a\\x20b", "a space"),
    ("\"\n", "\\x22\\x0a", "quote and line end"),
    ("\xc3\xa9", "\\xc3\\xa9", "UTF-8")])
def test_log_user(user, word):
    """One word, in any of the formats; JSON has it as text."""
    request = logged_request("GET / HTTP/1.1", None, None)
    request.user = user
    for rest in (httpd.common_rest, httpd.combined_rest):
        assert rest("date", request, 200, 5).startswith(
            " - %s [date] " % word)
    line = httpd.json_line(("::1", 1), "", request, 200, 5, 0, False)
    assert (json.loads(line)["user"] or "") == (
        user.encode("latin-1").decode("utf-8"))


# ---- Passwords --------------------------------------------------------------


def basic(user, password, scheme="Basic"):
    """Return the Authorization field line of *user* with *password*."""
    pair = ("%s:%s" % (user, password)).encode("utf-8")
    return "Authorization: %s %s" % (scheme, base64.b64encode(pair).decode())


@table("value, expected", [
    ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", (b"Aladdin", b"open sesame"),
     "the RFC's example"),
    ("Basic dGVzdDoxMjPCow==", (b"test", "123\xa3".encode()), "UTF-8"),
    ("bASIC  QTo=", (b"A", b""), "case, two spaces, no password"),
    ("Basic OmE=", (b"", b"a"), "no user"),
    ("Basic QTo6Yg==", (b"A", b":b"), "a colon in the password"),
    ("Basic QQ==", None, "no colon"), ("Basic QToA", None, "NUL"),
    ("Basic QTpiCg==", None, "LF"), ("Basic QToJ", None, "HTAB in it"),
    ("", None, "nothing"),
    ("Basic", None, "the scheme alone"), ("Basic ", None, "and a space"),
    ("Basic\tQTo=", None, "HTAB"), ("Basic QTo", None, "no padding"),
    ("Basic QTo= ", None, "space behind"), ("Basic QT_=", None, "alphabet"),
    ("Basic QTo=QTo=", None, "padding in the middle"),
    ("Bearer QTo=", None, "another scheme"), ("QTo=", None, "no scheme"),
    ("Digest username=\"a\", uri=\"/\"", None, "a scheme with commas"),
    ("Basic QTo=, Basic QTo=", 400, "twice"),
    ("basic QTo=, Bearer x", 400, "twice, one of another scheme"),
])
def test_parse_credentials(value, expected):
    assert outcome(httpd.parse_credentials, value) == expected


GOOD_HASH = "scrypt$16$8$1$%s$%s" % (
    base64.b64encode(b"s" * 16).decode(), base64.b64encode(b"h" * 32).decode())


@table("line", [
    ("me", "no colon"), (":" + GOOD_HASH, "no user"),
    ("me :" + GOOD_HASH, "a space behind it"),
    ("me:" + GOOD_HASH + "\nme:" + GOOD_HASH, "twice"),
    ("m\x00e:" + GOOD_HASH, "a control character"),
    ("me:secret", "no hash"), ("me:$6$x$y", "crypt's"),
    ("me:" + GOOD_HASH.replace("$16$", "$17$"), "no power of two"),
    ("me:" + GOOD_HASH.replace("$16$", "$1$"), "no work"),
    ("me:" + GOOD_HASH.replace("$8$", "$0$"), "nothing"),
    ("me:" + GOOD_HASH.replace("$16$", "$4194304$"), "too much memory"),
    ("me:" + GOOD_HASH.replace("$1$", "$9999$").replace("$16$", "$4096$"),
     "too much time"),
    ("me:" + GOOD_HASH[:-24], "cut"), ("me:" + GOOD_HASH[:-2], "no padding"),
    ("me:" + GOOD_HASH + "$", "more"),
    ("me:" + GOOD_HASH.replace("c3N", ""), "base64")])
def test_bad_line_of_users_is_named_but_not_shown(line):
    data = "# secret\n\nother:%s\n%s\n" % (GOOD_HASH, line)
    with pytest.raises(ValueError) as caught:
        httpd.parse_users(data.encode())
    number = 5 if "\n" in line else 4
    assert str(caught.value).startswith("line %d: " % number)
    assert "me" not in str(caught.value).replace("name", "")
    assert "secret" not in str(caught.value)


def test_parse_users():
    users = httpd.parse_users(
        ("# comment\r\n\r\n  \nme:%s \na b:%s\nj\xe9:%s" % (
            GOOD_HASH, GOOD_HASH, GOOD_HASH)).encode())
    assert sorted(users) == [b"a b", b"j\xc3\xa9", b"me"]
    assert (users[b"me"].salt, users[b"me"].hash) == (b"s" * 16, b"h" * 32)
    assert httpd.parse_users(b"") == {}
    assert list(httpd.parse_users(b"\xef\xbb\xbfme:" + GOOD_HASH.encode())
                ) == [b"me"]


# ---- States of files --------------------------------------------------------

MS = 10**6      # nanoseconds
NOW_NS = int(NOW) * 10**9


@table("changed, modified, expected", [
    (500 * MS, 500 * MS, True, "half a second ago"),
    (51 * MS, 51 * MS, True, "just long enough ago"),
    (49 * MS, 49 * MS, False, "just too lately"),
    (0 * MS + 1, 1, False, "now"),
    (49 * MS, 10**18, False, "old times, but set lately"),
    (10**16 + MS, 49 * MS, False, "the time ticks on, though not changed"),
    (10**16 + MS, -49 * MS, False, "a time that is about to come"),
    (10**16 + MS, -10**16 - MS, True, "a time that is far off"),
    (-500 * MS, 10**16, True, "changed in the future: the clock was set"),
    (-10**16, -10**16, True, "all is in the future: a clock that lost its time"),
    (-49 * MS, 10**16, False, "changed in a moment: the clock is a bit behind"),
    (-2000 * MS, 10**16, False, "whole seconds in the future: two may not be"),
    (1000 * MS, 1000 * MS, False, "whole seconds: one is not enough"),
    (2000 * MS, 2000 * MS, False, "whole seconds: two may not be"),
    (3000 * MS, 3000 * MS, True, "whole seconds: three are"),
])
def test_is_settled(changed, modified, expected):
    """*changed* and *modified* are nanoseconds before now."""
    status = types.SimpleNamespace(st_ctime_ns=NOW_NS - changed,
                                   st_mtime_ns=NOW_NS - modified)
    assert httpd.is_settled(status, NOW) is expected


STATUS = {"st_mode": 0o100644, "st_dev": 1, "st_ino": 2, "st_size": 3,
          "st_mtime_ns": 4, "st_ctime_ns": 5, "st_nlink": 1, "st_atime_ns": 6}


@table("mode, change, differs", [
    (0o100644, {"st_mode": 0o100600}, True, "rights of a file"),
    (0o100644, {"st_mode": 0o120644}, True, "kind of a file"),
    (0o100644, {"st_dev": 9}, True, "another device"),
    (0o100644, {"st_ino": 9}, True, "another file"),
    (0o100644, {"st_size": 9}, True, "size"),
    (0o100644, {"st_mtime_ns": 9}, True, "mtime"),
    (0o100644, {"st_ctime_ns": 9}, True, "ctime, when mtime was set back"),
    (0o100644, {"st_atime_ns": 9}, False, "that it was read"),
    (0o040755, {"st_mode": 0o040700}, True, "rights of a folder"),
    (0o040755, {"st_ino": 9}, True, "another folder"),
    (0o040755, {"st_dev": 9}, True, "a folder on another device"),
    (0o040755, {"st_mode": 0o100755}, True, "a folder no more"),
    (0o040755, {"st_mtime_ns": 9, "st_ctime_ns": 9, "st_size": 9}, False,
     "what a folder holds"),
])
def test_signature(mode, change, differs):
    before = dict(STATUS, st_mode=mode)
    after = dict(before, **change)
    assert (httpd.signature(types.SimpleNamespace(**before))
            != httpd.signature(types.SimpleNamespace(**after))) is differs


# ---- Time, and what is written down -----------------------------------------


def with_request(line):
    return httpd.Request(line, "GET", "/", "", 1, {"referer": line}, "",
                         False)


def none_match(value):
    return httpd.evaluate_preconditions({"if-none-match": value}, ETAG, 0,
                                        NOW)


# Each makes the worst input of n bytes that one could think of for a function,
# and gives it to that function.
WORST = [
    (lambda n: httpd.parse_http_date("0" * n, NOW), "date: digits"),
    (lambda n: httpd.parse_http_date("A" + "a" * n, NOW), "date: letters"),
    (lambda n: httpd.parse_http_date("Sun, " + " " * n, NOW), "date: spaces"),
    (lambda n: httpd.parse_fields([b"a:" + b" \t" * (n // 2) + b"\0"]),
     "fields: OWS"),
    (lambda n: httpd.parse_fields([b"a" * n]), "fields: no colon"),
    (lambda n: httpd.parse_fields([b"a" * n + b" : b"]), "fields: name"),
    (lambda n: httpd.parse_fields([b"a:" + b"\x80" * n]), "fields: value"),
    (lambda n: httpd.parse_list("," * n), "list: commas"),
    (lambda n: httpd.parse_list(" ," * (n // 2)), "list: commas, spaces"),
    (lambda n: httpd.parse_list(" " * n), "list: spaces"),
    (lambda n: httpd.REQUEST_LINE.fullmatch(b"G" * n), "line: method"),
    (lambda n: httpd.REQUEST_LINE.fullmatch(b"G /" + b"a" * n),
     "line: target"),
    (lambda n: httpd.REQUEST_LINE.fullmatch(b"G " + b" HTTP/1." * (n // 8)),
     "line: versions"),
    (lambda n: httpd.TARGET.fullmatch("/" * n + "#"), "target: slashes"),
    (lambda n: httpd.TARGET.fullmatch("/" + "?" * n + "#"), "target: ?"),
    (lambda n: httpd.TARGET.fullmatch("http://" + "a" * n + "#"),
     "target: host"),
    (lambda n: httpd.TARGET.fullmatch("http://" + "a:" * (n // 2)),
     "target: ports"),
    (lambda n: httpd.TARGET.fullmatch("http://" + "%41" * (n // 3) + "%"),
     "target: escapes in the host"),
    (lambda n: httpd.HOST.fullmatch("a." * (n // 2) + " "), "host: names"),
    (lambda n: httpd.HOST.fullmatch("[" + ":" * n), "host: colons"),
    (lambda n: httpd.HOST.fullmatch("a:" + "0" * n), "host: port"),
    (lambda n: httpd.parse_request(get(*[b"a:" + b" " * (n // 100)] * 90)),
     "request: one name again and again"),
    (lambda n: httpd.parse_request(get(b"Connection:" + b"," * (n - 100))),
     "request: Connection"),
    (lambda n: httpd.parse_request(b"\r\n" * (n // 2) + get()),
     "request: empty lines"),
    (lambda n: httpd.parse_request(b":" * n + b"\r\n\r\n"), "request: colons"),
    (lambda n: httpd.announces_body({"content-length": "1" * n}),
     "length: digits"),
    (lambda n: httpd.announces_body({"content-length": "1," * (n // 2)}),
     "length: list with a comma last"),
    (lambda n: httpd.announces_body({
        "content-length": "1, " * (n // 3) + "1"}), "length: list"),
    (lambda n: httpd.announces_body({"content-length": "1," + " " * n}),
     "length: spaces"),
    (lambda n: httpd.announces_body({
        "transfer-encoding": "chunked," * (n // 8)}), "coding: list"),
    (lambda n: httpd.connection_option({"connection": "x," * (n // 2)}, 1,
                                       False), "connection: list"),
    (lambda n: httpd.unparsed_request(b"\r\n" * (n // 2)), "unparsed: CR LF"),
    (lambda n: httpd.parse_credentials("Basic" + " " * n),
     "credentials: spaces"),
    (lambda n: httpd.parse_credentials("Basic " + "A" * (n // 4 * 4 + 1)),
     "credentials: base64"),
    (lambda n: httpd.parse_credentials("Basic " + "Og" * (n // 2)),
     "credentials: colons"),
    (lambda n: httpd.unparsed_request(b"\0" * n), "unparsed: NULs"),
    (lambda n: httpd.check_partial(b"a" * n, 0), "partial: one word"),
    (lambda n: httpd.check_partial(b"\r\n" + b"\r" * n, 0), "partial: CRs"),
    (lambda n: httpd.check_partial(b"a\r\n" + b"\r\n" * (n // 2), 0),
     "partial: line ends"),
    (lambda n: none_match('"' * n), "tags: quotes"),
    (lambda n: none_match('"' + "a" * n), "tags: no closing quote"),
    (lambda n: none_match("W/" * (n // 2)), "tags: W/"),
    (lambda n: none_match('"a", ' * (n // 5)), "tags: list"),
    (lambda n: none_match('W/"a' * (n // 4)), "tags: halves"),
    (lambda n: none_match('""' * (n // 2)), "tags: empty ones"),
    (lambda n: none_match(" ," * (n // 2)), "tags: commas"),
    (lambda n: httpd.evaluate_preconditions({
        "if-match": '"a",' * (n // 4)}, ETAG, 0, NOW), "If-Match: list"),
    (lambda n: httpd.evaluate_preconditions({
        "if-match": '"' + "W/" * (n // 2)}, ETAG, 0, NOW),
     "If-Match: no closing quote"),
    (lambda n: httpd.evaluate_preconditions({
        "if-unmodified-since": "Sun, " * (n // 5)}, ETAG, 0, NOW),
     "If-Unmodified-Since: days"),
    (lambda n: httpd.range_applies({"if-range": '"' + "a" * n}, ETAG, 0, NOW),
     "If-Range: no closing quote"),
    (lambda n: httpd.select_ranges("bytes=" + "0" * n, 10), "range: digits"),
    (lambda n: httpd.select_ranges("bytes=0-" + "0" * n, 10), "range: last"),
    (lambda n: httpd.select_ranges("bytes=-" + "9" * n, 10), "range: suffix"),
    (lambda n: httpd.select_ranges("bytes=" + "0-0," * (n // 4), 10),
     "range: many"),
    (lambda n: httpd.select_ranges("bytes=0-0" + "," * n, 10),
     "range: empty elements"),
    (lambda n: httpd.select_ranges("bytes=" + ", \t" * (n // 3), 10),
     "range: nothing but empty elements"),
    (lambda n: httpd.select_ranges("bytes=0" + " " * n + "-1", 10),
     "range: spaces"),
    (lambda n: httpd.select_ranges("bytes=" + ",".join(
        ["0" * (n // 64 - 4) + "-9"] * 64), 10), "range: 64 long ones"),
    (lambda n: httpd.parse_weights("a," * (n // 2)), "weights: list"),
    (lambda n: httpd.parse_weights("a" + ";" * n), "weights: semicolons"),
    (lambda n: httpd.parse_weights("a" + ";q=" * (n // 3)), "weights: none"),
    (lambda n: httpd.parse_weights("a" + ";q=0" * (n // 4)), "weights: many"),
    (lambda n: httpd.parse_weights("a;q=0." + "0" * n), "weights: digits"),
    (lambda n: httpd.parse_weights("a;" + " " * n + "x"), "weights: spaces"),
    (lambda n: httpd.parse_weights("a" + " " * n + ";q =1"),
     "weights: spaces before the semicolon"),
    (lambda n: httpd.parse_weights("a;q=1" + " ;" * (n // 2)),
     "weights: spaces and semicolons"),
    (lambda n: httpd.parse_weights('a;b="' + '\\"' * (n // 2) + ";q=1"),
     "weights: quoted pairs"),
    (lambda n: httpd.parse_weights('a;b="' * (n // 5) + ";q=1"),
     "weights: no closing quote"),
    (lambda n: httpd.acceptable_codings({
        "accept-encoding": "gzip," * (n // 5)}), "codings: list"),
    (lambda n: httpd.acceptable_codings({
        "accept-encoding": "gzip;x=" + "\t" * n + ";q =0"}),
     "codings: tabs before a semicolon"),
    (lambda n: httpd.media_weight(httpd.parse_weights(
        "*/*;q=0," * (n // 8)), "text/html"), "media: list"),
    (lambda n: httpd.wants_digest({
        "want-repr-digest": "sha-256=0," * (n // 10)}), "digest: list"),
    (lambda n: httpd.wants_digest({
        "want-repr-digest": "sha-256=" + "1" * n}), "digest: digits"),
    (lambda n: httpd.wants_digest({
        "want-repr-digest": "sha-256" + " " * n + "=1"}), "digest: spaces"),
    (lambda n: httpd.Listing([], "&" * n, False).start(), "query: &"),
    (lambda n: httpd.Listing([], "sort=" * (n // 5), False).start(),
     "query: sort"),
    (lambda n: httpd.Listing([], "order=desc&" * (n // 11), True).start(),
     "query: orders"),
    (lambda n: httpd.path_segments("/" * n), "path: slashes"),
    (lambda n: httpd.path_segments("/a" * (n // 2)), "path: names"),
    (lambda n: httpd.path_segments("/.." * (n // 3)), "path: dots"),
    (lambda n: httpd.path_segments("/a" * (n // 4) + "/.." * (n // 6)),
     "path: names and dots"),
    (lambda n: httpd.path_segments("%41" * (n // 3)), "path: escapes"),
    (lambda n: httpd.path_segments("%" * n), "path: per cent signs"),
    (lambda n: httpd.path_segments("%00" * (n // 3)),
     "path: NULs (CVE-2016-10703)"),
    (lambda n: httpd.path_segments("/" + "." * n + "a", True),
     "Windows: dots"),
    (lambda n: httpd.path_segments("/" + " ." * (n // 2) + "a", True),
     "Windows: dots and spaces"),
    (lambda n: httpd.path_segments("/con" + ".con" * (n // 4), True),
     "Windows: devices"),
    (lambda n: httpd.path_segments("/con" * (n // 4), True),
     "Windows: folders"),
    (lambda n: httpd.is_hidden([b"a"] * (n // 2)), "hidden"),
    (lambda n: httpd.absolute_path([b"\xff" * n], True), "absolute: a name"),
    (lambda n: httpd.absolute_path([b"a"] * (n // 2), True), "absolute: many"),
    (lambda n: httpd.media_type(b"." * n), "media type"),
    (lambda n: httpd.error_page(404, "<" * n), "error page"),
    (lambda n: listed([b"<" * n], []), "listing: its title"),
    (lambda n: listed([], [httpd.Entry(b"<" * n, 1, 0)]), "listing: a name"),
    (lambda n: listed([], [httpd.Entry(b"\xff" * n, 1, 0)], "", True),
     "listing: JSON"),
    # No file system has names beyond 255 characters or so.
    (lambda n: [httpd.natural_key(b"9" * 255) for _ in range(n // 255)],
     "order: digits"),
    (lambda n: [httpd.natural_key(b"a1" * 127) for _ in range(n // 255)],
     "order: numbers"),
    (lambda n: httpd.escape("\x1b" * n), "escape"),
    (lambda n: httpd.escape("a" * n + "\\"), "escape: the last one"),
    (lambda n: httpd.json_line(("a", 1), "", with_request("\x1b" * n), 200, 0,
                               0, False), "JSON line"),
    (lambda n: httpd.render_head(httpd.Response(200, [("a", "b" * n)]), "",
                                 ""), "head: a value"),
    (lambda n: httpd.multipart([(i, i) for i in range(n // 100)], n, "a/b",
                               "b"), "multipart: many"),
    (lambda n: httpget.parse_arguments(["-O", "h", "80"] + [
        "%d" % i for i in range(n // 8)]), "client: names"),
    (lambda n: httpget.parse_arguments(["-r"] + [
        "http://h/%d" % i for i in range(n // 8)]), "client: copies"),
    (lambda n: httpget.without_dots("/a" * (n // 4) + "/.." * (n // 6)),
     "client: dots"),
]


def least_time(function, size):
    """Return the seconds of CPU that *function* needs, at best."""
    times = []
    for _ in range(3):
        start = time.process_time()
        outcome(function, size)
        times.append(time.process_time() - start)
    return min(times)


@table("function", WORST)
def test_time_is_linear(function):
    """Twice as much input costs about twice, and 32 KiB never much.

    What is quadratic needs four times as much, and mostly seconds for 32 KiB.
    """
    half = least_time(function, 16 * 1024)
    whole = least_time(function, 32 * 1024)
    assert whole < 0.2
    assert whole < 3 * half + 0.03  # a moment of another program's


def test_a_drip_of_bytes_costs_little():
    """A request line that comes byte by byte is not searched anew each time.

    Beyond its first 8 KiB nothing is looked at twice but for the line's end.
    """
    received = b"G" * 8192
    start = time.process_time()
    for stop in range(1, len(received)):
        httpd.check_partial(received[:stop], stop - 1)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("module", [httpd, httpget])
def test_doctests(module):
    """What the docstrings claim is so."""
    result = doctest.testmod(module)
    assert result.attempted > 5 and result.failed == 0


# ---- httpget.py: pure functions ---------------------------------------------

@rows([
    ("localhost", "localhost", "name"),
    ("a_b.example.", "a_b.example.", "underscore and final dot"),
    ("127.0.0.1", "127.0.0.1", "ipv4"),
    ("::1", "::1", "ipv6"),
    ("[::1]", "::1", "ipv6 in brackets"),
    ("::ffff:1.2.3.4", "::ffff:1.2.3.4", "ipv4 mapped"),
    ("fe80::1%eth0", "fe80::1%eth0", "zone"),
    ("b\u00fccher.example", "xn--bcher-kva.example", "idna"),
    ("B\u00dcCHER.example", "xn--bcher-kva.example", "idna, capitals"),
    ("\u65e5\u672c\u3002jp", "xn--wgv71a.jp", "idna, another full stop"),
    ("fa\u00df.de", None, "sharp s, which IDNA 2003 makes ss"),
    ("FA\u1e9e.de", None, "its capital"),
    ("\u03b2\u03cc\u03bb\u03bf\u03c2.com", None, "final sigma"),
    ("a\u200db.com", None, "joiner"), ("a\u200cb.com", None, "non-joiner"),
    ("xn--fa-hia.de", "xn--fa-hia.de", "as it is advised"),
    ("", None, "empty"),
    ("localhost:8080", None, "port"),
    ("1.2.3.4:80", None, "port after an address"),
    ("user@host", None, "user"),
    ("http://host/", None, "url"),
    ("a/b", None, "slash"),
    ("a b", None, "space"),
    ("a\r\nb", None, "cr lf"),
    ("host\n", None, "final lf"),
    ("a\x00b", None, "nul"),
    ("[localhost]", None, "name in brackets"),
    ("[::1", None, "open bracket"),
    ("::1]", None, "closing bracket"),
    ("-a", None, "leading hyphen"),
    ("a..b", None, "empty label"),
    ("a" * 64, None, "label of 64"),
    (".".join(["a" * 49] * 6), None, "name of 299"),
    ("a%2fb", None, "percent"),
    ("::1%a/b", None, "slash in a zone"),
    ("\udcff", None, "byte that is no utf-8"),
    ("\uff11\uff12\uff0f", None, "full-width slash"),
])
def test_get_parse_host(a, b):
    if b is None:
        with pytest.raises(ValueError):
            httpget.parse_host(a)
    else:
        assert httpget.parse_host(a) == b


@rows([
    ("/", "/", "default file"),
    ("", "/", "empty"),
    ("a", "/a", "slash added"),
    ("//a/../b", "//a/../b", "left alone"),
    ("a b?c#d%20", "/a%20b%3Fc%23d%2520", "special in a url"),
    ("\u00e9\u20ac", "/%C3%A9%E2%82%AC", "utf-8"),
    ("\udcff", "/%FF", "byte that is no utf-8"),
    ("\\\"<>^`{|}[]", "/%5C%22%3C%3E%5E%60%7B%7C%7D%5B%5D", "not in a path"),
    ("~!$&'()*+,;=:@-._", "/~!$&'()*+,;=:@-._", "allowed in a path"),
    ("a\nb", None, "lf"),
    ("a\rb", None, "cr"),
    ("\x7f", None, "del"),
    ("\x9b", None, "c1"),
    ("\x00", None, "nul"),
])
def test_get_request_target(a, b):
    if b is None:
        with pytest.raises(ValueError):
            httpget.request_target(a)
    else:
        assert httpget.request_target(a) == b


@rows([
    ("1", 1, "smallest"), ("65535", 65535, "largest"),
    ("0", None, "zero"), ("65536", None, "too large"), ("", None, "empty"),
    ("-1", None, "negative"), ("+80", None, "sign"), ("8_0", None, "score"),
    ("\u0668", None, "arabic digit"), ("80\n", None, "lf"),
])
def test_get_parse_port(a, b):
    if b is None:
        with pytest.raises(ValueError):
            httpget.parse_port(a)
    else:
        assert httpget.parse_port(a) == b


@rows([
    ("localhost", 80, "localhost", "default port"),
    ("localhost", 8080, "localhost:8080", "another port"),
    ("::1", 80, "[::1]", "ipv6"), ("::1", 8080, "[::1]:8080", "ipv6, port"),
    ("fe80::1%lo", 80, "[fe80::1]", "zone is local"),
])
def test_get_host_field(a, b, c):
    assert httpget.URL("http", a, b, "/").authority == c


@rows([
    ("http://h", "http://h/", "no path"),
    ("HTTPS://H.example:443/a", "https://H.example/a", "default port of TLS"),
    ("https://h:80/a", "https://h:80/a", "the other's default port"),
    ("http://[::1]:81/", "http://[::1]:81/", "ipv6"),
    ("http://[::1]/", "http://[::1]/", "ipv6 without a port"),
    ("http://h/a%2fb?c=%20&d#e", "http://h/a%2fb?c=%20&d", "encoded already"),
    ("http://h?q", "http://h/?q", "query without a path"),
    ("http://h/a b<\u00e9>\udcff", "http://h/a%20b%3C%C3%A9%3E%FF",
     "what no URL has"),
    ("http://h/?a b?#c", "http://h/?a%20b?", "question mark in the query"),
    ("http://h:/a", "http://h/a", "empty port"),
    ("ftp://h/a", None, "another scheme"),
    ("file:///etc/passwd", None, "a file"),
    ("//h/a", None, "no scheme"),
    ("http:/h/a", None, "one slash"),
    ("http:///a", None, "no host"),
    ("http://user@h/", None, "user"),
    ("http://a.example@h/", None, "a user that looks like a host"),
    ("http://user:secret@h/", None, "password"),
    ("http://h\\@evil/", None, "backslash"),
    ("http://h:99999/", None, "port too large"),
    ("http://h:8 0/", None, "space in the port"),
    ("http://h:80:80/", None, "two ports"),
    ("http://h/a\r\nX: y", None, "cr lf"),
    ("http://h/\x00", None, "nul"),
    ("http://h\t/", None, "tab, which browsers drop"),
    ("http://fe80::1:2/x", None, "no brackets: which port?"),
    ("http://::1/", None, "no brackets"), ("http://1::2:/", None, "no port"),
    ("http://[::1]2/", None, "something after the bracket"),
    ("http://127.1/", "http://127.1/", "the resolver may take it"),
    ("http://2130706433/", None, "a number, which is an address to some"),
])
def test_get_parse_url(a, b):
    if b is None:
        with pytest.raises(ValueError):
            httpget.parse_url(a)
    else:
        assert str(httpget.parse_url(a)) == b


@rows([
    ("/c", "http://h/c", "absolute path"), ("c", "http://h/a/c", "relative"),
    ("../../c", "http://h/c", "above the root"), ("?q", "http://h/a/b?q",
                                                  "query"),
    ("//other/x", "http://other/x", "another host"),
    ("/c;", "http://h/c;", "a semicolon at the end"),
    ("c;", "http://h/a/c;", "the same, relative"),
    ("/c?", "http://h/c?", "an empty query"), (";x", "http://h/a/;x", "params"),
    ("x//y/./z", "http://h/a/x//y/z", "an empty segment"),
    ("./d/../", "http://h/a/", "back to a folder"), (".", "http://h/a/", "dot"),
    ("..", "http://h/", "two dots"), ("/../x/..", "http://h/", "above the root"),
    ("", "http://h/a/b", "nothing"), ("#f", "http://h/a/b", "a fragment"),
    ("a:b", None, "what looks like a scheme"), ("./a:b", "http://h/a/a:b",
                                                "a colon"),
    ("/.//evil/x", "http://h//evil/x", "a path that looks like a host"),
    ("?//evil/../x", "http://h/a/b?//evil/../x", "a query of any kind"),
    ("https://h/x", "https://h/x", "to TLS"),
    ("ftp://h/x", None, "another scheme"), ("http://u@h/", None, "user"),
    ("javascript:x", None, "script"), ("/a\nb", None, "lf"),
    ("//\xe2\x80\xae\xe2\x84\x80/", None, "what urljoin quotes as it is"),
])
def test_get_redirected(a, b):
    url = httpget.parse_url("http://h/a/b")
    if b is None:
        with pytest.raises(httpget.StatusError) as caught:
            httpget.redirected(url, a)
        assert httpget.printable(str(caught.value)) == str(caught.value)
    else:
        assert str(httpget.redirected(url, a)) == b


def test_get_never_from_tls_to_plain():
    with pytest.raises(httpget.StatusError):
        httpget.redirected(httpget.parse_url("https://h/a"), "http://h/a")


@rows([
    ("0-0", "bytes=0-0", "one byte"), ("5-", "bytes=5-", "open"),
    ("-5", "bytes=-5", "suffix"), ("", None, "empty"), ("-", None, "dash"),
    ("5-4", None, "backwards"), ("1-2,4-5", None, "two"),
    ("+1-2", None, "sign"), ("1_0-20", None, "score"), (" 1-2", None, "space"),
    ("1-2\n", None, "lf"), ("1" * 19 + "-", None, "too many digits"),
    ("\u0661-", None, "arabic digit"),
])
def test_get_parse_range(a, b):
    if b is None:
        with pytest.raises(ValueError):
            httpget.parse_range(a)
    else:
        assert httpget.parse_range(a) == b


@rows([
    ("0-4", (0, 4, 10), True, "all of it"), ("0-4", (0, 3, 10), False, "short"),
    ("0-4", (1, 4, 10), False, "late"), ("0-99", (0, 9, 10), True, "clamped"),
    ("0-99", (0, 8, 10), False, "clamped too much"),
    ("0-99", (0, 8, -1), True, "length not known"),
    ("5-", (5, 9, 10), True, "open"), ("5-", (5, 8, 10), False, "cut"),
    ("-3", (7, 9, 10), True, "suffix"), ("-3", (6, 9, 10), False, "too much"),
    ("-30", (0, 9, 10), True, "suffix longer than the file"),
])
def test_get_is_selected(a, b, c):
    assert httpget.is_selected("bytes=" + a, *b) is c


@rows([
    ("bytes 0-4/10", (0, 4, 10), "plain"), ("bytes 0-4/*", (0, 4, -1), "star"),
    ("bytes */9", (-1, -1, 9), "unsatisfied"), ("bytes 5-4/10", None, "back"),
    ("bytes 0-10/10", None, "beyond the end"), ("bytes=0-4/10", None, "equals"),
    ("bytes 0-4", None, "no length"), ("lines 0-4/10", None, "unit"),
    ("bytes +0-4/10", None, "sign"), ("", None, "empty"),
    ("bytes 0-4/10, bytes 5-6/10", None, "two"),
])
def test_get_parse_content_range(a, b):
    assert httpget.parse_content_range({"content-range": a}) == b


@rows([
    ({"etag": '"a"'}, '"a"', "strong"), ({"etag": 'W/"a"'}, "", "weak"),
    ({"etag": "a"}, "", "no quotes"), ({"etag": '"a", "b"'}, "", "two"),
    ({"etag": 'W/"a"', "last-modified": DATE, "date": LATER}, "",
     "a weak one says that the date is no better"),
    ({"last-modified": DATE, "date": LATER}, DATE, "an old date"),
    ({"last-modified": DATE, "date": DATE}, "", "a date of this second"),
    ({"last-modified": DATE}, "", "a date alone"),
    ({"last-modified": "x", "date": LATER}, "", "no date"),
    ({"last-modified": "Sun, 31 Feb 1993 08:49:37 GMT", "date": LATER}, "",
     "a day that no month has"), ({}, "", "none"),
])
def test_get_strong_validator(a, b):
    assert httpget.strong_validator(a) == b


@rows([
    ("sha-256=:" + "A" * 43 + "=:", bytes(32), "plain"),
    ("md5=:AAAAAAAAAAAAAAAAAAAAAA==:, sha-256=:" + "A" * 43 + "=:",
     bytes(32), "second"),
    ("sha-256=:" + "A" * 42 + "=:", None, "short"),
    ("sha-256=" + "A" * 43 + "=", None, "no colons"),
    ("sha-512=:" + "A" * 43 + "=:", None, "another one"), ("", None, "empty"),
    ("SHA-256=:" + "A" * 43 + "=:", None, "keys are in lower case"),
])
def test_get_parse_digest(a, b):
    assert httpget.parse_digest(a) == b


@rows([
    ("a/b.txt", "b.txt", "folders cut off"), ("..", "", "parent"),
    ("/", "", "nothing"), ("a/", "", "folder"), ("...x", "x", "dots"),
    (".bashrc", "bashrc", "hidden"), ("a\\b", "b", "backslash"),
    ("c:x", "c_x", "drive"), ("con", "_con", "device"),
    ("NUL.txt", "_NUL.txt", "device with a suffix"),
    ("a\x1b[2J\r\nb", "a[2Jb", "controls"), ("a\u202eb", "ab", "bidi"),
    ("caf\u00e9 \u20ac", "caf\u00e9 \u20ac", "letters"),
    ("\udcff", "\udcff", "a byte that is no utf-8"), ("a. .", "a", "end"),
])
def test_get_safe_name(a, b):
    assert httpget.safe_name(a) == b


HOSTILE_NAMES = [
    "a b", "c#d?e", "50%", "%41", "quo\"te'", "<b>&amp;", "caf\u00e9",
    "\u20ac\U0001f600", "nl\nx", "tab\tx", "esc\x1b[2J", "back\\slash",
    "a:b", "semi;colon", "~tilde", "-dash", "con", "aux.txt", "end.", "end ",
    "\udcff\udcfe", "a" * 200, "\u202erl", "*star", "pipe|x", "a\rb",
    "=cmd", "$(id)", "`id`", "+plus", "a&b=c"]


@rows([
    ("100% sure.txt", "100% sure.txt", "100% sure.txt", "percent, space"),
    ("%41", "%41", "%41", "looks encoded"),
    ("\u65e5\u3000\u672c\u200d", "\u65e5\u3000\u672c\u200d",
     "\u65e5\u3000\u672c\u200d", "does not print, and belongs to scripts"),
    ("\udcff", "\udcff", "\udcff", "no UTF-8"),
    ("a\\b", "a\\b", "a%5Cb", "backslash"), ("x.", "x.", "x%2E", "dot"),
    ("x ", "x ", "x%20", "space at the end"), ("c:?", "c:?", "c%3A%3F", "colon"),
    ("a/b", "a%2Fb", "a%2Fb", "slash"), ("..", "%2E.", "%2E%2E", "parent"),
    (".bashrc", "%2Ebashrc", "%2Ebashrc", "hidden"),
    ("a\n\x7f\x9b", "a%0A%7F%C2%9B", "a%0A%7F%C2%9B", "controls"),
    ("\u202erl", "%E2%80%AErl", "%E2%80%AErl", "turns the direction"),
    ("con", "%63on", "%63on", "device"),
    ("nul .x", "%6Eul .x", "%6Eul .x", "device in disguise"),
])
def test_get_local_name(a, b, c):
    """Names stay, here and on Windows; only what does harm is encoded."""
    assert (httpget.local_name(a), httpget.local_name(a, True)) == (b, c)


WINDOWS_NAMES = [
    "C:", "C:x", "C:\\x", "\\\\host\\share\\x", "\\\\?\\C:\\x", "\\\\.\\COM1",
    "//host/share/x", "a::$DATA", "a:b:$DATA", "nul::$DATA", "nul:", "CON",
    "con.txt", "Aux .c", "prn. .x", "nul.", "nul ", "COM1", "com0", "lpt9.a.b",
    "com\xb9", "LPT\xb3.txt", "conin$", "CONOUT$.x", "a.", "a..", "a ", "a. .",
    "a/../con", "..\\con", ".con", "con\x1b", "a*", "a?", "a|b", "<a>", '"a"']


@pytest.mark.parametrize("name", WINDOWS_NAMES, ids=ascii)
def test_get_names_that_windows_takes_for_something_else(name):
    """What is made of them is a plain name, as Python's own rules see it."""
    for made in (httpget.safe_name(name), httpget.local_name(name, True)):
        assert ntpath.basename(made) == made
        assert ntpath.splitdrive(made) == ("", made)
        assert not re.search(r'[\x00-\x1f<>:"|?*]|[. ]$', made)
        assert not httpget.DEVICE.fullmatch(made)
        if hasattr(ntpath, "isreserved"):   # Python 3.13
            assert not ntpath.isreserved(made)


def test_get_devices_are_those_that_the_server_refuses():
    """Two programs, two patterns, the same names."""
    for name in ("con", "prn", "aux", "nul", "conin$", "conout$", "com", "lpt",
                 "com0", "com1", "com9", "com10", "lpt\xb9", "lpt5", "conx"):
        for suffix in ("", ".txt", " .txt", ".a.b"):
            assert bool(httpget.DEVICE.fullmatch(name + suffix)) == bool(
                re.fullmatch(httpd.WINDOWS_NAME, (name + suffix).encode()))


FOLDER_URL = "http://h:81/a%20b/"


@rows([
    ("x.txt", "x.txt", "relative"), ("./x", "x", "dot"),
    ("/a%20b/x%2Fy", "x%2Fy", "absolute; the slash is refused later"),
    ("http://h:81/a%20b/x", "x", "whole"), ("d/", "d/", "folder"),
    ("../", "", "parent"), ("/", "", "root"), ("/a%20b/", "", "itself"),
    ("/a%20c/x", "", "sibling"), ("d/x", "d/x", "deeper"), ("d/e/", "d/e/", "d"),
    ("/a%20b/d//x", "", "twice"), ("d/%2e%2E/x", "", "out of d"), ("./%2e/x", "", "."),
    ("?C=N;O=D", "", "sorting"), ("x?y", "", "query"), ("#top", "", "fragment"),
    ("http://h:82/a%20b/x", "", "another port"),
    ("https://h:81/a%20b/x", "", "another scheme"),
    ("//evil/a%20b/x", "", "another host"), ("mailto:a@b", "", "mail"),
    ("javascript:alert(1)", "", "script"), (" y ", "y", "blanks around"),
    ("x;", "x;", "semicolon at the end"), ("d;/", "d;/", "of a folder, too"),
    ("x/../../z", "", "out of it"), ("http://u@h:81/a%20b/x", "", "user"),
])
def test_get_name_below(a, b):
    assert httpget.name_below(httpget.parse_url(FOLDER_URL), a) == b


def test_get_html_listing():
    page = ('<a href="../">..</a><A HREF="b%20c.txt">x</A><a href=d/>d</a>'
            '<a name=x>no</a><img alt=e><a href="b%20c.txt">again</a>'
            '<a href="%E2%82%AC&amp;">&lt;</a><a href="%FF"><a href="\'q\'">'
            '<a title="a > b" href="gt"><a\nhref\n=\n"nl"><!-- <a href="no"> -->'
            '<script>"<a href=no>"</script><![if x]><a href="after"><?x?></x <>')
    entries = httpget.parse_html_listing(page, httpget.parse_url(FOLDER_URL))
    assert [(entry.name, entry.is_folder, entry.size) for entry in entries] == [
        ("b c.txt", False, None), ("d", True, None), ("\u20ac&", False, None),
        ("\udcff", False, None), ("'q'", False, None), ("gt", False, None),
        ("nl", False, None), ("after", False, None)]


@rows([
    ("<area href=f>", ["f"], "area"), ("<link rel=icon href=f>", ["f"], "link"),
    ("<script src=f></script>", ["f"], "script"), ("<img src=f>", ["f"], "img"),
    ("<video src=f poster=g><track src=h><source src=i>", ["f", "g", "h", "i"],
     "video"), ("<audio src=f>", ["f"], "audio"), ("<embed src=f>", ["f"], "embed"),
    ("<iframe src=f>", ["f"], "iframe"), ("<object data=f>", ["f"], "object"),
    ("<img src=f srcset='g, h 1x,i 2x,\n j 100w 50h, data:a;b,c 3x'>",
     ["f", "g", "h", "i", "j"], "srcset"), ("<source srcset=f>", ["f"], "source"),
    ("<img srcset=',,f,, , 2x,g,'>", ["f", "2x,g"], "commas as HTML has them"),
    ("<img src=f?v=1><a href=g?v=1>", ["f"], "a query, of a page's version"),
    ("<img src=data:image/gif;base64,AA><img src=//x/f><img src=/f>", [],
     "elsewhere"), ("<img href=f><p src=f><form action=f>", [], "no links"),
    ("<base href=/x/><img src=f>", [], "another base"),
    ("<base href=d/><img src=f>", ["d/f"], "a deeper base"),
    ("<img src=d/e/f><a href=d/g/>", ["d/e/f", "d/g"], "deeper"),
])
def test_get_links_of_a_page(a, b):
    entries = httpget.parse_html_listing(a, httpget.parse_url(FOLDER_URL))
    assert ["/".join(entry.folders + (entry.name,)) for entry in entries] == b


def test_get_json_listings():
    nginx = [{"name": "d", "type": "directory", "mtime": DATE},
             {"name": "f", "type": "file", "mtime": DATE, "size": 3}]
    caddy = [{"name": "d/", "size": 4096, "is_dir": True, "mod_time": "x"},
             {"name": "f", "size": 3, "is_dir": False,
              "mod_time": "1994-11-06T08:49:37.999999999Z"}]
    for listing in (nginx, caddy):
        entries = list(httpget.parse_json_listing(json.dumps(listing, indent=1)))
        assert [(entry.name, entry.is_folder, entry.size)
                for entry in entries] == [("d", True, None), ("f", False, 3)]
        assert entries[1].mtime == 784111777


@pytest.mark.parametrize("text", [
    "", "null", "{}x", "3", "[1]", "[{}]", '["a"]', '{"a": 1}', "[" * 100000, "[", '[{"name": "a"}', '[{"name": "a"},',
    '[{"name": "a"},]', '[,{"name": "a"}]', '[{"name": "a"}] x', "[]]",
    '[{"name": "%s"}]' % ("a" * 10000)],
    ids=lambda text: text[:20])
def test_get_no_json_listing(text):
    with pytest.raises(httpget.ResponseError):
        list(httpget.parse_json_listing(text))


def test_get_empty_json_listing():
    assert list(httpget.parse_json_listing(" [ ]\n")) == []


def unpacked(data, step):
    decoder = httpget.GzipDecoder()
    content = b""
    for start in range(0, len(data), step):
        decoder.feed(data[start:start + step])
        for block in iter(decoder.more, b""):
            assert len(block) <= httpget.EXPANDED_BLOCK
            content += block
    decoder.end()
    return content


@pytest.mark.parametrize("step", [1, 7, 10**9])
def test_get_gzip(step):
    text = b"".join(b"%d\n" % n for n in range(3000))
    packed = gzip.compress(text)
    assert unpacked(packed, step) == text
    assert unpacked(packed + gzip.compress(b"") * 50 + packed, step) == text * 2
    assert unpacked(b"", step) == b""
    for bad in (packed[:-1], packed[:50], packed[:-8] + b"x" * 8, b"x" * 50,
                packed + b"junk", packed + packed[:3]):
        with pytest.raises(httpget.ResponseError):
            unpacked(bad, step)


def test_get_gzip_expands_within_measure():
    assert len(unpacked(gzip.compress(bytes(10**7)), 10**9)) == 10**7
    with pytest.raises(httpget.ResponseError) as caught:
        unpacked(gzip.compress(bytes(10**8)), 10**9)
    assert "expands" in str(caught.value)


def test_get_gzip_comes_in_small_blocks():
    """However much a few bytes expand to."""
    decoder = httpget.GzipDecoder()
    decoder.feed(gzip.compress(bytes(10**7)))
    sizes = [len(block) for block in iter(decoder.more, b"")]
    assert sum(sizes) == 10**7
    assert max(sizes) <= httpget.EXPANDED_BLOCK


def test_get_render_request():
    url = httpget.parse_url("http://h:81/x")
    agent = b"User-Agent: httpget.py/%s\r\n" % httpget.__version__.encode()
    assert httpget.render_request("GET", url, [], []) == (
        b"GET /x HTTP/1.1\r\nHost: h:81\r\n" + agent + b"Accept: */*\r\n\r\n")
    fields = [("Accept", "b"), ("Range", "bytes=0-0")]
    assert httpget.render_request("HEAD", url, fields, []) == (
        b"HEAD /x HTTP/1.1\r\nHost: h:81\r\n" + agent
        + b"Accept: b\r\nRange: bytes=0-0\r\n\r\n")
    users = [("accept", "a"), ("X", "\xe9"), ("X", "y"), ("host", "Z")]
    assert httpget.render_request("GET", url, fields, users) == (
        b"GET /x HTTP/1.1\r\nhost: Z\r\n" + agent     # first: RFC 9110, 7.2
        + b"Range: bytes=0-0\r\naccept: a\r\nX: \xe9\r\nX: y\r\n\r\n")


@rows([
    ("X-A: b", ("X-A", "b"), "plain"), ("a:", ("a", ""), "empty"),
    ("a", None, "no colon"), ("a : b", None, "space before the colon"),
    ("a: b\r\nc: d", None, "cr lf"), ("Host: x", ("Host", "x"), "host"),
    ("content-length: 5", None, "length"), ("Range: bytes=0-1", None, "range"),
    ("a: \u20ac", None, "not latin-1"), (": b", None, "no name"),
])
def test_get_parse_field(a, b):
    if b is None:
        with pytest.raises(ValueError):
            httpget.parse_field(a)
    else:
        assert httpget.parse_field(a) == b


HEADS = [
    (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", (200, "OK", {"a": "b"}), "plain"),
    (b"HTTP/1.0 404 \r\n\r\n", (404, "", {}), "no reason"),
    (b"HTTP/1.1 204\r\n\r\n", (204, "", {}), "no second space"),
    (b"HTTP/1.7 299 \xe9\tx\r\n\r\n", (299, "\xe9\tx", {}), "obs-text"),
    (b"HTTP/1.1 200 OK\r\nA:\r\na: \t2 \t\r\n\r\n",
     (200, "OK", {"a": ", 2"}), "repeated, empty, white space"),
    (b"<html>hello\r\n\r\n", None, "http/0.9"),
    (b"\r\nHTTP/1.1 200 OK\r\n\r\n", None, "leading empty line"),
    (b"HTTP/2.0 200 OK\r\n\r\n", None, "version 2"),
    (b"ICY 200 OK\r\n\r\n", None, "icecast"),
    (b"http/1.1 200 OK\r\n\r\n", None, "lower case"),
    (b"HTTP/1.10 200 OK\r\n\r\n", None, "two-digit version"),
    (b"HTTP/1.1  200 OK\r\n\r\n", None, "two spaces"),
    (b"HTTP/1.1 20 OK\r\n\r\n", None, "two-digit status"),
    (b"HTTP/1.1 2000 OK\r\n\r\n", None, "four-digit status"),
    (b"HTTP/1.1 099 OK\r\n\r\n", None, "status below 100"),
    (b"HTTP/1.1 200 O\x1bK\r\n\r\n", None, "control in the reason"),
    (b"HTTP/1.1 200 O\rK\r\n\r\n", None, "bare cr in the reason"),
    (b"HTTP/1.1 200 OK\nA: b\r\n\r\n", None, "bare lf"),
    (b"HTTP/1.1 200 OK\r\nA: b\n\r\n\r\n", None, "bare lf after a field"),
    (b"HTTP/1.1 200 OK\nA: b\n\n", None, "bare lfs only"),
    (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", None, "bare cr in a value"),
    (b"HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n", None, "two crs"),
    (b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n", None, "nul"),
    (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", None, "obs-fold"),
    (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", None, "obs-fold at once"),
    (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", None, "space before the colon"),
    (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", None, "no colon"),
    (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", None, "no name"),
    (b"HTTP/1.1 200 OK\r\nA(b): c\r\n\r\n", None, "bad token"),
    (b"HTTP/1.1 200 OK\r\n\xc3\xa9: c\r\n\r\n", None, "name beyond ascii"),
]


def read_pieces(data, size):
    """Return the Head in *data* fed in pieces; fail if it never ends."""
    fed = b""
    while len(fed) < len(data):
        searched = len(fed)
        fed = data[:searched + size]
        length = httpget.head_length(fed, searched)
        if length:
            return httpget.parse_head(fed[:length]), length
    raise AssertionError("no end found")


@pytest.mark.parametrize("size", [10 ** 6, 1, 7])
@rows(HEADS)
def test_get_parse_head(a, b, size):
    if b is None:
        with pytest.raises(httpget.ResponseError):
            read_pieces(a, size)
        return
    head, length = read_pieces(a + (b"" if size == 1 else b"\nmore\n"), size)
    assert (head.status, head.reason, head.fields) == b
    assert length == len(a)


def test_get_head_limit():
    start = b"HTTP/1.1 200 OK\r\nA: "
    fits = start + b"x" * (httpget.HEAD_MAX - len(start) - 4) + b"\r\n\r\n"
    assert httpget.head_length(fits, 0) == httpget.HEAD_MAX
    for data in (fits[:-4] + b"x\r\n\r\n", fits[:-4] + b"x" * 5):
        with pytest.raises(httpget.ResponseError):
            httpget.head_length(data, 0)


@rows([
    ("GET", 200, {"content-length": "7"}, 7, "length"),
    ("GET", 200, {"content-length": "0"}, 0, "zero"),
    ("GET", 200, {"content-length": "7, 7,7"}, 7, "equal repeats"),
    ("GET", 200, {"content-length": "9" * 18}, 10 ** 18 - 1, "largest"),
    ("GET", 200, {}, httpget.UNTIL_CLOSE, "nothing said"),
    ("GET", 404, {"transfer-encoding": "Chunked"}, httpget.CHUNKED, "case"),
    ("GET", 204, {"content-length": "7"}, 0, "204 has none"),
    ("GET", 304, {"transfer-encoding": "chunked"}, 0, "304 has none"),
    ("GET", 100, {}, 0, "1xx has none"),
    ("HEAD", 200, {"content-length": "7"}, 0, "head has none"),
    ("GET", 200, {"content-length": "7, 8"}, None, "conflict"),
    ("GET", 200, {"content-length": "7, 07"}, None, "conflict in spelling"),
    ("GET", 200, {"content-length": ""}, None, "empty"),
    ("GET", 200, {"content-length": "7,"}, None, "empty element"),
    ("GET", 200, {"content-length": "+7"}, None, "sign"),
    ("GET", 200, {"content-length": "-7"}, None, "negative"),
    ("GET", 200, {"content-length": "1_0"}, None, "underscore"),
    ("GET", 200, {"content-length": "0x7"}, None, "hexadecimal"),
    ("GET", 200, {"content-length": "7 7"}, None, "space"),
    ("GET", 200, {"content-length": "\xb2"}, None, "superscript two"),
    ("GET", 200, {"content-length": "1" * 19}, None, "19 digits"),
    ("GET", 200, {"content-length": "7", "transfer-encoding": "chunked"},
     None, "both"),
    ("GET", 200, {"transfer-encoding": "gzip, chunked"}, None, "gzip"),
    ("GET", 200, {"transfer-encoding": "chunked, chunked"}, None, "twice"),
    ("GET", 200, {"transfer-encoding": "identity"}, None, "identity"),
    ("GET", 200, {"transfer-encoding": ""}, None, "empty coding"),
    ("GET", 200, {"transfer-encoding": "\x0bchunked"}, None, "control"),
    ("GET", 200, {"transfer-encoding": "xchunked"}, None, "other name"),
])
def test_get_body_length(a, b, c, d):
    if d is None:
        with pytest.raises(httpget.ResponseError):
            httpget.body_length(a, b, c)
    else:
        assert httpget.body_length(a, b, c) == d


CHUNKS = [
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", "one"),
    (b"0\r\n\r\n", b"", "none"),
    (b"1\r\na\r\n00A\r\n0123456789\r\n000\r\n\r\n", b"a0123456789", "zeros"),
    (b"a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n" * 5, "cr lf content"),
    (b"1;a=b;c=\"d;\xff\"\r\nx\r\n0 ; z\r\n\r\n", b"x", "extensions"),
    (b"1 \t\r\nx\r\n0\r\n\r\n", b"x", "white space after the size"),
    (b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", b"x", "trailers"),
    (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x", "16 digits"),
    (b"00000000000000001\r\nx\r\n0\r\n\r\n", None, "17 digits"),
    (b"\r\nx\r\n", None, "no size"),
    (b"g\r\nx\r\n", None, "not hexadecimal"),
    (b"0x1\r\nx\r\n", None, "prefix"),
    (b"-1\r\nx\r\n", None, "negative"),
    (b"+1\r\nx\r\n", None, "sign"),
    (b"1_0\r\nx\r\n", None, "underscore"),
    (b" 1\r\nx\r\n", None, "space before the size"),
    (b"1\nx\r\n0\r\n\r\n", None, "bare lf after a size"),
    (b"1;\x00\r\nx\r\n0\r\n\r\n", None, "nul in an extension"),
    (b"1;a\rb\r\nx\r\n0\r\n\r\n", None, "bare cr in an extension"),
    (b"1\r\nx\n0\r\n\r\n", None, "bare lf after a chunk"),
    (b"1\r\nxyz0", None, "chunk longer than it says"),
    (b"1\r\nx0\r\n\r\n", None, "no line end after a chunk"),
    (b"0\r\nA b\r\n\r\n", None, "bad trailer"),
    (b"0\r\n\n", None, "bare lf at the end"),
    (b"1;" + b"x" * httpget.CHUNK_LINE_MAX, None, "endless extension"),
    (b"0\r\n" + b"A: b\r\n" * (httpget.TRAILERS_MAX // 6 + 1), None,
     "endless trailers"),
]


@pytest.mark.parametrize("size", [10 ** 6, 1, 3])
@rows(CHUNKS)
def test_get_chunked_decoder(a, b, size):
    decoder = httpget.ChunkedDecoder()
    content = b""
    data = a + (b"" if b is None else b"beyond")
    pieces = [data[n:n + size] for n in range(0, len(data), size)]
    if b is None:
        with pytest.raises(httpget.ResponseError):
            for piece in pieces:
                decoder.decode(piece)
        return
    for number, piece in enumerate(pieces):
        assert decoder.done == (number * size >= len(a))
        content += decoder.decode(piece)
    assert (content, decoder.done, decoder.count) == (b, True, len(b))


def test_get_chunked_decoder_is_not_done_early():
    for data, _, why in CHUNKS[:8]:
        for stop in range(len(data)):
            decoder = httpget.ChunkedDecoder()
            decoder.decode(data[:stop])
            assert not decoder.close(), (why, stop)


def test_get_plain_decoder():
    decoder = httpget.PlainDecoder(5)
    assert bytes(decoder.decode(memoryview(b"abc"))) == b"abc"
    assert not decoder.done and not decoder.close()
    assert bytes(decoder.decode(memoryview(b"defg"))) == b"de"
    assert decoder.done and decoder.count == 5
    assert httpget.PlainDecoder(0).done
    endless = httpget.PlainDecoder(None)
    assert bytes(endless.decode(memoryview(b"abc"))) == b"abc"
    assert not endless.done and endless.close() and endless.done


@rows([
    ("a\tb\n", "a\\x09b\\x0a", "c0"),
    ("\x1b[2J\x7f", "\\x1b[2J\\x7f", "esc"),
    ("\x9b0m", "\\x9b0m", "c1"),
    ("\u202e\u2066", "\\u{202e}\\u{2066}", "bidi"),
    ("\u00e9\u6f22", "\u00e9\u6f22", "letters"),
    ("\udcff", "\\u{dcff}", "raw"),
    ("\u2028", "\\u{2028}", "line separator"),
])
def test_get_printable(a, b):
    assert httpget.printable(a) == b


@pytest.mark.parametrize("program", [HTTPD, HTTPGET], ids=["httpd", "httpget"])
def test_sections_are_those_of_the_map(program):
    with open(program, encoding="utf-8") as file:
        source = file.read()
    banners = re.findall(r"^# ---- ([^-]+) -+$", source, re.M)
    assert len({len(n) for n in re.findall(r"^# [-=]{4} .*", source, re.M)
                } | {79}) == 1
    parts = re.search(r'Map of the sections\n(.+?)\n(\n|""")', source,
                      re.DOTALL).group(1)
    parts = re.sub(r"- up to here .*", ",", parts)
    assert [" ".join(n.split()) for n in parts.split(",") if n.strip()
            ] == banners


def test_way_of_a_request_exists():
    """What the docstring names, in the order of a request, is there."""
    way = httpd.__doc__.split("The way of a request\n")[1].split("\nWords")[0]
    names = re.findall(r"^ +(\w+)\.(\w+)", way, re.M)
    assert len(names) == 11
    for cls, name in names:
        assert hasattr(getattr(httpd, cls), name), (cls, name)


def test_get_pure_part_is_pure():
    with open(HTTPGET, encoding="utf-8") as file:
        source = file.read()
    pure = source[source.index("# ---- Target"):source.index("# ====")]
    used = {n.id for n in ast.walk(ast.parse(pure)) if isinstance(n, ast.Name)}
    assert not used & {"os", "sys", "socket", "time", "stat", "open"}
    way = httpget.__doc__.split("The way of one file\n")[1].split("\n\n")[0]
    for name in re.findall("(?<=-> )[A-Za-z._]+|[A-Za-z]*[._][a-z_]+", way):
        assert re.search(r"(?m)^ *(def|class) %s\b" % name.split(".")[-1],
                         source), name


@pytest.mark.parametrize("program", [HTTPD, HTTPGET], ids=["httpd", "httpget"])
def test_functions_are_short(program):
    """None has more than 60 lines, and nine of ten have 25 at the most."""
    with open(program, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    lengths = [max(getattr(n, "lineno", 0) for n in ast.walk(f)) - f.lineno
               for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)]
    assert max(lengths) < 60
    assert sum(n < 25 for n in lengths) >= 0.9 * len(lengths)


# ---- Requests on the wire ---------------------------------------------------

PROBE = b"probe\n"
BIG = 24 << 20


SCRIPT = b"".join(b"var x%d = %d;\n" % (i, i * 7919) for i in range(9000))


def write_coded(root):
    """Write files in content codings beside their originals."""
    coded = root / "coded"
    coded.mkdir()
    (coded / "script.js").write_bytes(SCRIPT)           # compressed here
    (coded / "tiny.js").write_bytes(SCRIPT[:255])       # too small for it
    (coded / "least.js").write_bytes(SCRIPT[:256])
    (coded / "large.js").write_bytes(SCRIPT * 2)        # too large for it
    (coded / "random.txt").write_bytes(os.urandom(1000))
    (coded / "image.png").write_bytes(SCRIPT)           # compressed already
    (coded / "image.png.gz").write_bytes(b"never sent for image.png")
    for name in ("all.css", "old.css", "dir.css", "link.css"):
        (coded / name).write_bytes(SCRIPT)
    for coding, suffix in (("br", "br"), ("zstd", "zst"), ("gzip", "gz")):
        (coded / ("all.css." + suffix)).write_text("as " + coding)
        (coded / ("old.css." + suffix)).write_text("outdated")
        os.utime(str(coded / ("old.css." + suffix)), (1, 1))
    (coded / "dir.css.br").mkdir()
    (coded / "link.css.br").symlink_to("../../secret.txt")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with something of each kind in it, and files around it."""
    around = tmp_path_factory.mktemp("around")
    (around / "secret.txt").write_text("secret")
    (around / "site-secret").mkdir()
    (around / "site-secret" / "secret.txt").write_text("secret")
    root = around / "site"
    root.mkdir()
    (root / "index.html").write_text("<!DOCTYPE html>\n<title>Root</title>\n")
    (root / "probe.txt").write_bytes(PROBE)
    (root / "hello.txt").write_text("hello, world\n")
    (root / "empty.txt").write_text("")
    (root / "digits").write_text("0123456789")
    (root / "big.bin").write_bytes(random.Random(1).getrandbits(
        8 * 3000000).to_bytes(3000000, "big"))
    (root / "a b%3F#c.txt").write_text("odd name")
    no_utf8 = os.path.join(os.fsencode(str(root)), b"latin\xe9.txt")
    with open(no_utf8, "w") as file:
        file.write("no UTF-8")
    (root / ".hidden").write_text("hidden")
    (root / ".hidden-folder").mkdir()
    (root / ".hidden-folder" / "x.txt").write_text("hidden")
    (root / ".well-known").mkdir()
    (root / ".well-known" / "ok.txt").write_text("ok")
    for name in ("folder", "folder/sub", "list", "list/empty", "odd<&>",
                 "htm", "folder/index.html.d", "index-is-folder",
                 "index-is-folder/index.html"):
        (root / name).mkdir()
    (root / "folder" / "index.html").write_text("folder's own")
    (root / "htm" / "index.htm").write_text("short suffix")
    (root / "folder" / "sub" / "deep.css").write_text("body {}")
    (root / "list" / "b.txt").write_text("bb")
    write_coded(root)
    (root / "list" / "<i>&\".txt").write_text("escaped")
    (root / "list" / ".dot").write_text("hidden")
    (root / "list" / "link-in").symlink_to("../hello.txt")
    (root / "list" / "link-out").symlink_to("../../secret.txt")
    (root / "link-in").symlink_to("hello.txt")
    (root / "link-to-folder").symlink_to("folder")
    (root / "link-to-link").symlink_to("link-to-folder/../link-in")
    (root / "link-absolute").symlink_to(str(root / "hello.txt"))
    (root / "link-out").symlink_to("../secret.txt")
    (root / "link-out-folder").symlink_to("../site-secret")
    (root / "link-out-absolute").symlink_to(str(around / "secret.txt"))
    (root / "link-hidden").symlink_to(".hidden")
    (root / "link-loop").symlink_to("link-loop")
    (root / "link-dangling").symlink_to("nothing")
    os.mkfifo(str(root / "fifo"))
    if hasattr(socket, "AF_UNIX"):
        special = socket.socket(socket.AF_UNIX)
        special.bind(str(root / "socket"))
        special.close()
    return root


@pytest.fixture(scope="session")
def endless(tmp_path_factory):
    """A folder with a file that is larger than all socket buffers."""
    folder = tmp_path_factory.mktemp("endless")
    with (folder / "big").open("wb") as file:
        file.truncate(BIG)
    return folder


@pytest.fixture(scope="session")
def server(site):
    """A server of the site, for all tests that need no options."""
    with Running(site) as running:
        yield running


def exchange(port, pieces):
    """Send *pieces* one by one; return the statuses of all that comes back."""
    statuses = []
    with Wire(port) as wire:
        for piece in pieces:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                wire.send(piece)
        wire.sock.shutdown(socket.SHUT_WR)
        while wire.received or wire.sock.recv(1, socket.MSG_PEEK):
            is_head = not statuses and b"".join(pieces).lstrip(
                b"\r\n").startswith(b"HEAD ")
            statuses.append(wire.response("HEAD" if is_head else "GET").status)
    return statuses


@pytest.mark.parametrize("head, expected, why", REQUESTS,
                         ids=[row[2] for row in REQUESTS])
def test_request_whole_and_followed(server, head, expected, why):
    """A refused head ends the connection; a good one is followed by more."""
    probe = request_for("/probe.txt", "Connection: close")
    statuses = exchange(server.port, [head + probe])
    if isinstance(expected, int):
        assert statuses == [expected]
    elif expected[2] == "close":
        assert len(statuses) == 1
    else:
        assert len(statuses) == 2 and statuses[1] == 200


@pytest.mark.parametrize("head, expected, why",
                         [row for row in REQUESTS if len(row[0]) < 400],
                         ids=[row[2] for row in REQUESTS if len(row[0]) < 400])
def test_request_byte_by_byte(server, head, expected, why):
    """A head is judged alike however it is cut into pieces."""
    bytewise = [head[i:i + 1] for i in range(len(head))]
    assert exchange(server.port, bytewise) == exchange(server.port, [head])


@pytest.mark.parametrize("received, status, why", [
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "TLS on the plain port"),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bare LF"),
    (b"GET / HTTP/1.1\r\nHost: a\n", 400, "bare LF in a field line"),
    (b"GET /" + b"a" * 9000, 414, "request line without an end"),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 6000, 431, "head without an end"),
])
def test_hopeless_part_of_a_head_is_refused_at_once(server, received, status,
                                                    why):
    with Wire(server.port) as wire:
        assert wire.send(received).response().status == status
        wire.end()


@pytest.mark.parametrize("rest, status", [
    (b"GET / HTTP/1.1\nHost: a\n\n", 400), (b"\x16\x03\x01\x02", 400),
    (b"GET /" + b"a" * 9000, 414)])
def test_hopeless_part_behind_a_request_is_refused_at_once(server, rest,
                                                           status):
    with Wire(server.port) as wire:
        wire.send(request_for("/probe.txt") + rest)
        assert wire.response().content == PROBE
        assert wire.response().status == status
        wire.end()


def test_leading_empty_lines_are_skipped(server):
    with Wire(server.port) as wire:
        wire.send(b"\r\n\r\n\r\n")
        assert wire.get("/probe.txt").content == PROBE
        wire.send(b"\r\n\r\n")
        assert wire.get("/probe.txt").content == PROBE


# ---- Semantics on the wire --------------------------------------------------


def ask_closing(port, request):
    """Send *request* alone and assert that the server closes after it."""
    head, end, _ = request.partition(b"\r\n\r\n")
    with Wire(port) as wire:
        wire.send(head + b"\r\nConnection: close" + end)
        answer = wire.response(request.split()[0].decode())
        wire.end()
    assert answer.fields.pop("connection") == "close"
    return answer


def ask_kept_alive(port, request):
    """Send *request* second of three, each after the last one's answer."""
    with Wire(port) as wire:
        assert wire.get("/probe.txt").content == PROBE
        answer = wire.send(request).response(request.split()[0].decode())
        assert wire.get("/probe.txt").content == PROBE
    return answer


def ask_pipelined(port, request):
    """Send *request* second of three, all at once."""
    probe = request_for("/probe.txt")
    with Wire(port) as wire:
        wire.send(probe + request + probe)
        assert wire.response().content == PROBE
        answer = wire.response(request.split()[0].decode())
        assert wire.response().content == PROBE
    return answer


def ask_bytewise(port, request):
    """Send *request* a byte at a time."""
    with Wire(port) as wire:
        for i in range(len(request)):
            wire.send(request[i:i + 1])
        return wire.response(request.split()[0].decode())


def ask_over_tls(port, cafile, request):
    """Send *request* over TLS, then *request* again as the last one."""
    head, end, _ = request.partition(b"\r\n\r\n")
    method = request.split()[0].decode()
    with TLSWire(port, cafile) as wire:
        answer = wire.send(request).response(method)
        wire.send(head + b"\r\nConnection: close" + end)
        closing = wire.response(method)
        wire.end()
    assert closing.fields.pop("connection") == "close"
    assert closing.same_as(answer)
    return answer


@pytest.fixture(params=[ask_closing, ask_kept_alive, ask_pipelined,
                        ask_bytewise, ask_over_tls],
                ids=lambda way: way.__name__[4:])
def ask(request, server):
    """The way to ask the common server: ask(target, *field lines)."""
    place = [server.port]
    if request.param is ask_over_tls:
        place = [request.getfixturevalue("tls_server").port,
                 request.getfixturevalue("certificate")[0]]

    def ask(target, *lines, **settings):
        return request.param(*place + [request_for(target, *lines,
                                                   **settings)])
    return ask


@pytest.fixture(scope="session")
def tls_server(site, certificate):
    """A server of the site over TLS."""
    cert, key = certificate
    with Running(site, "--tls-cert", cert, "--tls-key", key) as running:
        yield running


def test_file_with_its_fields(ask, site):
    answer = ask("/hello.txt")
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.content == b"hello, world\n"
    date = answer.fields.pop("date")
    assert httpd.parse_http_date(date, time.time()) >= time.time() - 5
    mtime = os.stat(str(site / "hello.txt")).st_mtime
    assert answer.fields == {
        "server": "httpd.py",
        "content-type": "text/plain; charset=utf-8",
        "cache-control": "no-cache", "accept-ranges": "bytes",
        "etag": httpd.entity_tag(
            os.stat(str(site / "hello.txt")), b"hello, world\n"),
        "last-modified": httpd.http_date(int(mtime)),
        "x-content-type-options": "nosniff", "vary": "Accept-Encoding",
        "content-length": "13"}


@pytest.mark.parametrize("target, content", [
    ("/", b"<!DOCTYPE html>\n<title>Root</title>\n"),
    ("/index.html", b"<!DOCTYPE html>\n<title>Root</title>\n"),
    ("/?query", b"<!DOCTYPE html>\n<title>Root</title>\n"),
    ("/folder/", b"folder's own"),
    ("/htm/", b"short suffix"),
    ("/folder/./sub/..//../hello.txt", b"hello, world\n"),
    ("/../../hello.txt", b"hello, world\n"),
    ("/hello.txt?a=/../b", b"hello, world\n"),
    ("http://elsewhere.example/hello.txt", b"hello, world\n"),
    ("/empty.txt", b""),
    ("/a%20b%253F%23c.txt", b"odd name"),
    ("/latin%e9.txt", b"no UTF-8"),
    ("/latin\xe9.txt", b"no UTF-8"),
    ("/.well-known/ok.txt", b"ok"),
    ("/link-in", b"hello, world\n"),
    ("/link-to-folder/sub/deep.css", b"body {}"),
    ("/link-to-folder/", b"folder's own"),
    ("/link-to-link", b"hello, world\n"),
    ("/link-absolute", b"hello, world\n"),
])
def test_found(ask, target, content):
    answer = ask(target)
    assert (answer.status, answer.content) == (200, content)


@pytest.mark.parametrize("target", [
    "/nothing", "/nothing/", "/hello.txt/", "/hello.txt/x", "/folder/nothing",
    "/.hidden", "/%2ehidden", "/.hidden-folder/x.txt", "/folder/../.hidden",
    "/.hidden-folder/", "/folder/.well-known/ok.txt", "/link-hidden",
    "/fifo", "/socket", "/fifo/", "/link-loop", "/link-dangling",
    "/link-out", "/link-out-absolute", "/link-out-folder",
    "/link-out-folder/", "/link-out-folder/secret.txt",
    "/..%2fsecret.txt", "/folder%2findex.html", "/..%2Fsite-secret/secret.txt",
    "/" + "n" * 300, "/" + "n/" * 3000,
])
def test_not_found(ask, target):
    """What is outside, hidden or special is 404, like what does not exist."""
    answer = ask(target)
    assert (answer.status, answer.reason) == (404, "Not Found")
    assert b"There is nothing of this name here." in answer.content
    assert b"secret" not in answer.content
    assert answer.fields["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("target", PATHS_OUTSIDE)
def test_nothing_outside_is_served(server, target):
    answer = ask_closing(server.port, request_for(target))
    assert answer.status in (400, 404)
    assert b"root:" not in answer.content


def test_what_is_outside_exists():
    """Without this the test above could not fail."""
    with open("/etc/passwd", "rb") as file:
        assert b"root:" in file.read()


def test_links_lead_out_with_dotfiles_neither(site):
    """Though they hide names that begin with a dot, and so "..", no more."""
    dotfiles = httpd.Site(str(site), dotfiles=True)
    for path in ("link-out", "link-out-absolute", "link-out-folder",
                 "link-out-folder/secret.txt", "list/link-out"):
        with pytest.raises(httpd.HTTPError) as caught:
            dotfiles.open(os.fsencode(path).split(b"/"), {}).close()
        assert caught.value.status == 404, path


@pytest.mark.parametrize("dotfiles", [False, True])
def test_listing_has_no_links_to_what_is_hidden_or_outside(tmp_path,
                                                           dotfiles):
    root = tmp_path / "root"
    (root / ".folder").mkdir(parents=True)
    for path in (tmp_path / "outside", root / ".hidden", root / "file"):
        path.write_text("")
    for name, target in (("to-hidden", ".hidden"), ("to-folder", ".folder"),
                         ("to-file", "file"), ("out", "../outside")):
        (root / name).symlink_to(target)
    site = httpd.Site(str(root), dotfiles=dotfiles)
    with site.open([], {}) as folder:
        names = {entry.name for entry in site.entries(folder, [], {})}
    hidden = {b".folder", b".hidden", b"to-folder", b"to-hidden"}
    assert names == {b"file", b"to-file"} | (hidden if dotfiles else set())


@pytest.mark.parametrize("target, status", [
    ("/list/", 200), ("/folder", 301), ("/%", 400), ("/nothing", 404)])
def test_own_pages_have_the_policy(server, target, status):
    """Whatever is in a name or a path: no script of it runs."""
    with Wire(server.port) as wire:
        answer = wire.get(target)
    assert answer.status == status
    assert answer.fields["content-security-policy"] == httpd.NO_SCRIPTS


def test_own_page_of_a_refused_head_has_the_policy(server):
    with Wire(server.port) as wire:
        answer = wire.send(b"GET / HTTP/1.1\r\n\r\n").response()
    assert answer.status == 400
    assert answer.fields["content-security-policy"] == httpd.NO_SCRIPTS


@pytest.mark.parametrize("code", sorted(httpd.STATUS_OF_ERRNO) + [errno.EIO])
def test_error_page_tells_no_path_of_this_machine(tmp_path, code, capfd):
    failure = OSError(code, os.strerror(code), "/srv/private")
    error = httpd.Site(str(tmp_path)).failure(failure, {})
    page = httpd.error_response(error)
    assert b"private" not in page.content
    assert "private" not in repr(page.fields)
    assert ("private" in capfd.readouterr().err) == (code == errno.EIO)


@pytest.mark.parametrize("target, location", [
    ("/folder", "/folder/"),
    ("/folder?a=b&c=//d", "/folder/?a=b&c=//d"),
    ("//folder", "/folder/"),
    ("//evil.example/..//folder", "/folder/"),
    ("///evil.example/../folder/.%2e/folder", "/folder/"),
    ("/folder/sub", "/folder/sub/"),
    ("/odd%3c&%3E", "/odd%3C%26%3E/"),
    ("http://evil.example/folder", "/folder/"),
    ("/link-to-folder", "/link-to-folder/"),
])
def test_folder_without_slash_redirects(ask, target, location):
    """The Location is a path, so it can never name another host."""
    answer = ask(target)
    assert (answer.status, answer.reason) == (301, "Moved Permanently")
    assert answer.fields["location"] == location


@pytest.mark.parametrize("method, status", [
    ("HEAD", 405), ("POST", 405), ("PUT", 405), ("DELETE", 405),
    ("OPTIONS", 405), ("TRACE", 405), ("PATCH", 405), ("CONNECT", 405),
    ("BREW", 501), ("get", 501), ("GETS", 501),
])
def test_other_methods(ask, method, status):
    answer = ask("/hello.txt", method=method)
    assert answer.status == status
    assert answer.fields.get("allow") == ("GET" if status == 405 else None)
    assert (answer.content == b"") == (method == "HEAD")


@pytest.mark.parametrize("name, expected", [
    ("index.html", "text/html; charset=utf-8"),
    ("folder/sub/deep.css", "text/css; charset=utf-8"),
    ("digits", "text/plain; charset=utf-8"),
    ("big.bin", "application/octet-stream"),
])
def test_media_type_on_the_wire(ask, name, expected):
    assert ask("/" + name).fields["content-type"] == expected


def test_charset_is_not_said_of_what_is_not_utf_8(tmp_path):
    """Of a page's own 404 neither; what is sent compressed is the same."""
    russian = "<meta charset=windows-1251><p>\u042f".encode("cp1251") * 50
    for name, data in [("a.html", russian), ("404.html", russian),
                       ("Makefile", b"all:\n" * 20000), ("blob", bytes(9))]:
        (tmp_path / name).write_bytes(data)
    (tmp_path / "Makefile.gz").write_bytes(gzip.compress(b"all:\n"))
    with Running(tmp_path) as running, Wire(running.port) as wire:
        wait_until_settled(tmp_path / "Makefile.gz")
        for target, lines, media in [
                ("/a.html", [], "text/html"),
                ("/a.html", ["Accept-Encoding: gzip"], "text/html"),
                ("/nothing", [], "text/html"),
                ("/blob", [], "application/octet-stream"),
                ("/Makefile", [], "text/plain; charset=utf-8"),
                ("/Makefile", ["Accept-Encoding: gzip"],
                 "text/plain; charset=utf-8")]:
            answer = wire.get(target, *lines)
            assert answer.fields["content-type"] == media, target
            assert ("content-encoding" in answer.fields) == bool(lines)


def test_current_copy_gets_304(ask):
    fresh = ask("/hello.txt")
    for line in ("If-None-Match: " + fresh.fields["etag"],
                 "If-None-Match: W/" + fresh.fields["etag"],
                 'If-None-Match: "a,b", %s, "c"' % fresh.fields["etag"],
                 "If-None-Match: *",
                 "If-Modified-Since: " + fresh.fields["last-modified"],
                 "If-Modified-Since: " + fresh.fields["date"]):
        answer = ask("/hello.txt", line)
        assert (answer.status, answer.reason) == (304, "Not Modified")
        assert answer.fields["etag"] == fresh.fields["etag"]
        assert answer.fields["cache-control"] == "no-cache"
        assert "content-length" not in answer.fields


def test_other_copy_gets_the_file(ask):
    fresh = ask("/hello.txt")
    for lines in (['If-None-Match: "other"'], ["If-None-Match: "],
                  ["If-None-Match: " + fresh.fields["etag"].strip('"')],
                  ["If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"],
                  ["If-Modified-Since: yesterday"],
                  # If-None-Match decides alone.
                  ['If-None-Match: "other"',
                   "If-Modified-Since: " + fresh.fields["date"]]):
        assert ask("/hello.txt", *lines).same_as(fresh)


@pytest.mark.parametrize("value, content, content_range", [
    ("bytes=0-0", b"0", "bytes 0-0/10"),
    ("bytes=2-5", b"2345", "bytes 2-5/10"),
    ("bytes=7-", b"789", "bytes 7-9/10"),
    ("bytes=-4", b"6789", "bytes 6-9/10"),
    ("bytes=-999", b"0123456789", "bytes 0-9/10"),
    ("bytes=5-999", b"56789", "bytes 5-9/10"),
    ("Bytes=0-1", b"01", "bytes 0-1/10"),
])
def test_range(ask, value, content, content_range):
    answer = ask("/digits", "Range: " + value)
    assert (answer.status, answer.reason) == (206, "Partial Content")
    assert answer.content == content
    assert answer.fields["content-range"] == content_range


@pytest.mark.parametrize("value", [
    "bytes=5-2", "bytes=a-b", "bytes=--5", "bytes=1_0-", "bytes=+1-2",
    "bytes=", "bytes", "lines=1-2", "bytes=\xb2-\xb3", "0-4", "bytes=1-2-3",
])
def test_range_ignored(ask, value):
    answer = ask("/digits", "Range: " + value)
    assert (answer.status, answer.content) == (200, b"0123456789")


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_range_not_satisfiable(ask, value):
    answer = ask("/digits", "Range: " + value)
    assert (answer.status, answer.reason) == (416, "Range Not Satisfiable")
    assert answer.fields["content-range"] == "bytes */10"


def test_if_range(ask):
    fresh = ask("/digits").fields
    some = "Range: bytes=0-1"
    for validator, status in [
            (fresh["etag"], 206), (fresh["last-modified"], 206),
            ("W/" + fresh["etag"], 200), ('"other"', 200),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 200), ("nonsense", 200)]:
        wait_until(lambda: time.time() > 2 + httpd.parse_http_date(
            fresh["last-modified"], 0), "a date that is strong")
        assert ask("/digits", some, "If-Range: " + validator).status == status


def test_preconditions_in_their_order(ask):
    """RFC 9110, 13.2.2; what is invalid is ignored."""
    fresh = ask("/digits").fields
    etag, date = fresh["etag"], fresh["last-modified"]
    long_ago = "Thu, 01 Jan 1970 00:00:00 GMT"
    rfc850 = time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(
        httpd.parse_http_date(date, time.time())))
    for lines, status in [
            (["If-Match: " + etag], 200), (["If-Match: *"], 200),
            (['If-Match: "x", ' + etag], 200), (['If-Match: "x"'], 412),
            (["If-Match: W/" + etag], 412), (["If-Match: "], 412),
            (["If-Unmodified-Since: " + date], 200),
            (["If-Unmodified-Since: " + rfc850], 200),
            (["If-Unmodified-Since: " + long_ago], 412),
            (["If-Unmodified-Since: nonsense"], 200),
            # If-Match decides alone.
            (["If-Match: " + etag, "If-Unmodified-Since: " + long_ago], 200),
            (["If-Match: " + etag, "If-None-Match: " + etag], 304),
            (['If-Match: "x"', "If-None-Match: " + etag], 412),
            (["If-Unmodified-Since: " + long_ago,
              "If-Modified-Since: " + date], 412),
            (["If-Modified-Since: " + rfc850], 304),
            (["If-None-Match: " + etag, "Range: bytes=0-1"], 304),
            (['If-Match: "x"', "Range: bytes=0-1"], 412),
            (["If-Match: " + etag, "Range: bytes=0-1"], 206)]:
        answer = ask("/digits", *lines)
        assert answer.status == status, lines
        if status == 304:
            assert set(answer.fields) == {
                "date", "server", "cache-control", "etag", "vary",
                "x-content-type-options"}


@pytest.mark.parametrize("value, contents", [
    ("bytes=0-1,4-5", [b"01", b"45"]),
    ("bytes=4-5, 0-1", [b"45", b"01"]),
    ("bytes=-1,0-0", [b"9", b"0"]),
    ("bytes=0-0,2-2,,9999999-", [b"0", b"2"]),
])
def test_several_ranges(server, value, contents):
    """Of a file that is longer than what surrounds its parts."""
    parts = ["bytes=" + value[6:].replace(",", " , ")]
    with Wire(server.port) as wire:
        whole = wire.get("/big.bin").content
        for text in [value] + parts:
            answer = wire.get("/big.bin", "Range: " + text)
            assert answer.status == 206
            message = email.message_from_bytes(
                b"Content-Type: " + answer.fields["content-type"].encode()
                + b"\r\n\r\n" + answer.content)
            assert message.get_content_type() == "multipart/byteranges"
            found = message.get_payload()
            assert len(found) == len(contents)
            for part in found:
                assert part["content-type"] == "application/octet-stream"
                first, last, size = map(int, re.fullmatch(
                    "bytes ([0-9]+)-([0-9]+)/([0-9]+)",
                    part["content-range"]).groups())
                assert size == len(whole)
                assert len(part.get_payload(decode=True)) == last - first + 1


def test_several_large_ranges_are_sent_part_by_part(server, site):
    whole = (site / "big.bin").read_bytes()
    spans = [(5, 1000005), (2000000, 2999999), (1500000, 1500000)]
    with Wire(server.port) as wire:
        answer = wire.get("/big.bin", "Range: bytes=" + ",".join(
            "%d-%d" % span for span in spans))
        boundary = answer.fields["content-type"].partition("boundary=")[2]
        assert re.fullmatch("[0-9a-f]{32}", boundary)
        expected = b""
        for first, last in spans:
            expected += b"\r\n--%s\r\nContent-Type: application/octet-stream" \
                b"\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (
                    boundary.encode(), first, last, len(whole))
            expected += whole[first:last + 1]
        expected += b"\r\n--%s--\r\n" % boundary.encode()
        assert answer.content == expected
        assert wire.get("/probe.txt").content == PROBE


@pytest.mark.parametrize("value, status, length", [
    ("bytes=0-1,1-2", 206, 3),              # made one: no multipart
    ("bytes=0-4,5-9", 206, 10),
    ("bytes=0-0,9-9", 200, 10),             # the parts are larger than it
    ("bytes=" + "0-0," * 256, 206, 1),      # the most
    ("bytes=" + "0-0," * 257, 200, 10),
    ("bytes=0-1,x", 200, 10),
    ("bytes=10-,20-30", 416, None),
    ("bytes=0-1;x", 200, 10),
])
def test_several_ranges_of_a_small_file(ask, value, status, length):
    answer = ask("/digits", "Range: " + value)
    assert answer.status == status
    if length is not None:
        assert len(answer.content) == length
    assert "multipart" not in answer.fields["content-type"]


def test_ranges_of_an_empty_file(ask):
    for value, status in [("bytes=0-", 416), ("bytes=-1", 200),
                          ("bytes=-0", 416), ("bytes=0-0,-5", 200)]:
        answer = ask("/empty.txt", "Range: " + value)
        assert answer.status == status, value
        if status == 416:
            assert answer.fields["content-range"] == "bytes */0"


def test_gzip_made_here(ask):
    plain = ask("/coded/script.js")
    assert plain.content == SCRIPT
    assert "content-encoding" not in plain.fields
    coded = ask("/coded/script.js", "Accept-Encoding: gzip, deflate")
    assert coded.fields["content-encoding"] == "gzip"
    assert gzip.decompress(coded.content) == SCRIPT
    assert len(coded.content) < len(SCRIPT) / 2
    assert coded.fields["etag"] != plain.fields["etag"]
    for answer in (plain, coded):
        assert answer.fields["vary"] == "Accept-Encoding"
    again = ask("/coded/script.js", "Accept-Encoding: gzip",
                "If-None-Match: " + coded.fields["etag"])
    assert again.status == 304 and again.fields["vary"] == "Accept-Encoding"
    assert again.fields["etag"] == coded.fields["etag"]
    # A plain copy is another representation.
    assert ask("/coded/script.js", "Accept-Encoding: gzip",
               "If-None-Match: " + plain.fields["etag"]).status == 200


@pytest.mark.parametrize("name, value, coding", [
    ("least.js", "gzip", "gzip"), ("tiny.js", "gzip", None),
    ("large.js", "gzip", None), ("image.png", "gzip", None),
    ("script.js", "gzip;q=0", None), ("script.js", "identity, *;q=0", None),
    ("script.js", "GZIP;Q=0.001", "gzip"), ("script.js", "x-gzip", "gzip"),
    ("script.js", "*", "gzip"), ("script.js", "gzip;q=2", None),
    ("script.js", "identity;q=1, gzip;q=0.5", None),
    ("script.js", "identity;q=0.5, gzip", "gzip"),
    ("script.js", "deflate, compress", None), ("script.js", "", None),
    ("all.css", "gzip, br, zstd", "br"), ("all.css", "gzip, zstd", "zstd"),
    ("all.css", "gzip;q=1, br;q=0.9", "gzip"), ("all.css", "zstd", "zstd"),
    ("all.css", "br;q=0, *", "zstd"),
    ("old.css", "br, zstd", None), ("old.css", "br, gzip", "made gzip"),
    ("dir.css", "br", None), ("link.css", "br", None),
    ("dir.css", "br, gzip", "made gzip"),
])
def test_content_coding(ask, name, value, coding):
    answer = ask("/coded/" + name, "Accept-Encoding: " + value)
    assert answer.status == 200
    assert answer.fields.get("content-encoding") == (
        coding and coding.split()[-1])
    if name == "all.css" and coding:
        assert answer.content == b"as " + coding.encode()
    elif coding:
        assert SCRIPT.startswith(gzip.decompress(answer.content))
    else:
        assert b"secret" not in answer.content
        assert "accept-ranges" in answer.fields
    assert answer.fields.get("vary") == (
        None if name == "image.png" else "Accept-Encoding")


def test_no_acceptable_coding(ask):
    answer = ask("/coded/tiny.js", "Accept-Encoding: identity;q=0, gzip")
    assert answer.status == 406
    assert answer.fields["vary"] == "Accept-Encoding"
    answer = ask("/coded/script.js", "Accept-Encoding: identity;q=0, gzip")
    assert gzip.decompress(answer.content) == SCRIPT


def test_range_gets_the_identity(ask):
    answer = ask("/coded/all.css", "Accept-Encoding: br, gzip",
                 "Range: bytes=0-9")
    assert (answer.status, answer.content) == (206, SCRIPT[:10])
    assert "content-encoding" not in answer.fields


@pytest.mark.parametrize("name", ["hello.txt", "big.bin", "empty.txt",
                                  "coded/script.js"])
def test_digest(ask, site, name):
    """RFC 9530: of the whole representation, whatever part is sent."""
    expected = "sha-256=:%s:" % base64.b64encode(hashlib.sha256(
        (site / name).read_bytes()).digest()).decode()
    for lines in ([], ["Range: bytes=0-0"] if name != "empty.txt" else []):
        answer = ask("/" + name, "Want-Repr-Digest: sha-256=5", *lines)
        assert answer.fields["repr-digest"] == expected
    for value in ("sha-256=0", "md5=3", "sha-512=1", "", "sha-256=11"):
        answer = ask("/" + name, "Want-Repr-Digest: " + value)
        assert "repr-digest" not in answer.fields


def test_digest_of_a_coded_representation(ask):
    for name in ("script.js", "all.css"):
        answer = ask("/coded/" + name, "Want-Repr-Digest: sha-256=1",
                     "Accept-Encoding: gzip")
        assert answer.fields["content-encoding"] == "gzip"
        assert answer.fields["repr-digest"] == "sha-256=:%s:" % (
            base64.b64encode(hashlib.sha256(answer.content).digest()).decode())


def test_digest_of_a_large_file_delays_nobody(tmp_path):
    """It is made in slices, once, for all who ask."""
    size = 512 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    (tmp_path / "small").write_text("small")
    hashed = hashlib.sha256()
    for _ in range(size >> 20):
        hashed.update(bytes(1 << 20))
    expected = "sha-256=:%s:" % base64.b64encode(hashed.digest()).decode()
    wait_until_settled(tmp_path / "large")
    with Running(tmp_path) as running, contextlib.ExitStack() as stack:
        askers = [stack.enter_context(Wire(running.port)) for _ in range(4)]
        for wire in askers:
            wire.send(request_for("/small") + request_for(
                "/large", "Want-Repr-Digest: sha-256=1", "Range: bytes=0-0")
                + request_for("/small"))
            assert wire.response().content == b"small", "not held up by it"
        gone = Wire(running.port).send(request_for(
            "/large", "Want-Repr-Digest: sha-256=1"))
        gone.sock.close()
        waits = []
        with Wire(running.port) as other:
            askers[0].sock.setblocking(False)
            while True:
                start = time.monotonic()
                assert other.get("/small").content == b"small"
                waits.append(time.monotonic() - start)
                try:
                    if askers[0].sock.recv(1, socket.MSG_PEEK):
                        break
                except BlockingIOError:
                    pass
        assert len(waits) > 3
        assert sorted(waits)[len(waits) // 2] < 0.1
        askers[0].sock.settimeout(PATIENCE)
        for wire in askers:
            answer = wire.response()
            assert answer.fields["repr-digest"] == expected
            assert wire.response().content == b"small"


def test_digest_follows_a_change(tmp_path):
    page = tmp_path / "page"
    with Running(tmp_path) as running, Wire(running.port) as wire:
        for content in (b"one", b"two" * 10**6, b"six" * 10**6):
            page.write_bytes(content)
            wait_until_settled(page)
            for _ in range(2):
                answer = wire.get("/page", "Want-Repr-Digest: sha-256=1")
                assert answer.fields["repr-digest"] == "sha-256=:%s:" % (
                    base64.b64encode(hashlib.sha256(
                        content).digest()).decode())


def test_times_that_no_date_can_tell(tmp_path):
    """Before 1970 and after 9999: no Last-Modified rather than a wrong one."""
    page = tmp_path / "page"
    page.write_text("page")
    for seconds in (-1, -10**9, httpd.HTTP_DATE_MAX + 1, 2**40):
        try:
            os.utime(str(page), (0, seconds))
        except (OSError, OverflowError):
            continue  # not on this file system
        if int(os.stat(str(page)).st_mtime) != seconds:
            continue
        wait_until(lambda: time.time() > os.stat(str(page)).st_ctime + 0.1,
                   "the clock")
        with Running(tmp_path) as running, Wire(running.port) as wire:
            answer = wire.get("/page")
            assert answer.content == b"page"
            assert "last-modified" not in answer.fields
            etag = answer.fields["etag"]
            assert wire.get("/page", "If-None-Match: " + etag).status == 304
            assert wire.get("/page", "If-Modified-Since: " + answer.fields[
                "date"]).status == 200
            assert wire.get("/").status == 200
    os.utime(str(page), (0, time.time() + 10**6))
    with Running(tmp_path) as running, Wire(running.port) as wire:
        fields = wire.get("/page").fields
        assert (httpd.parse_http_date(fields["last-modified"], 0)
                <= httpd.parse_http_date(fields["date"], 0))


def test_listing_is_json_for_who_asks(ask, site):
    answer = ask("/list/", "Accept: application/json")
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["vary"] == "Accept"
    found = {entry["name"]: entry for entry in json.loads(
        answer.content.decode())}
    assert sorted(found) == ['<i>&".txt', "b.txt", "empty", "link-in"]
    status = os.stat(str(site / "list" / "b.txt"))
    assert found["b.txt"] == {
        "name": "b.txt", "type": "file", "size": 2,
        "mtime": httpd.http_date(int(status.st_mtime))}
    assert found["empty"]["type"] == "directory"
    assert "size" not in found["empty"]


@pytest.mark.parametrize("accept, media", [
    ("text/html", "text/html; charset=utf-8"),
    ("*/*", "text/html; charset=utf-8"),
    ("application/json;q=0.5, text/html", "text/html; charset=utf-8"),
    ("application/json, text/html;q=0.5", "application/json"),
    ("application/*", "application/json"),
    ("application/json;q=0", "text/html; charset=utf-8"),
    ("application/json, text/plain, */*", "application/json"),  # axios
    ("application/json, text/html", "text/html; charset=utf-8"),
    ("text/*, application/json", "application/json"),
    ("application/*, text/html", "text/html; charset=utf-8"),
    ("application/json;q=0.9, */*", "text/html; charset=utf-8"),
    ("application/*, */*", "application/json"),
])
def test_listing_is_negotiated(ask, accept, media):
    assert ask("/list/", "Accept: " + accept).fields["content-type"] == media


def folders_below(wire, path):
    """Return *path* and all folders to which its listings lead from there."""
    answer = wire.get(path, "Accept: application/json")
    assert answer.status == 200, path
    names = [entry["name"] for entry in json.loads(answer.content.decode())
             if entry["type"] == "directory"]
    return [path] + [found for name in sorted(names)
                     for found in folders_below(wire, path + name + "/")]


@pytest.mark.parametrize("options", [[], ["--follow-symlinks"]])
def test_listing_leads_to_no_folder_again(tmp_path, options):
    """Or crawlers descend for ever: Debian's mirrors have `debian -> .`."""
    for name in ("a/b", "x", "y"):
        (tmp_path / name).mkdir(parents=True)
    for name, target in [
            ("debian", "."), ("again", "debian"), ("a/up", ".."),
            ("a/self", "."), ("a/b/top", "../.."), ("a/b/up", "../../debian/a"),
            ("other", "a"), ("x/to-y", "../y"), ("y/to-x", "../x")]:
        (tmp_path / name).symlink_to(target)
    with Running(tmp_path, *options) as running, Wire(running.port) as wire:
        assert folders_below(wire, "/") == [
            "/", "/a/", "/a/b/", "/other/", "/other/b/", "/x/", "/x/to-y/",
            "/y/", "/y/to-x/"]
        # What is not listed is there.
        assert folders_below(wire, "/debian/a/") == [
            "/debian/a/", "/debian/a/b/"]


@pytest.mark.parametrize("options", [[], ["--follow-symlinks"]])
def test_path_comes_through_16_links_to_folders(tmp_path, options):
    """Folders that link to each other multiply without a loop."""
    for number in range(19):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "next").symlink_to("../%d" % (number + 1))
        (tmp_path / str(number) / "file").symlink_to("../probe")
    (tmp_path / "probe").write_bytes(PROBE)
    with Running(tmp_path, *options) as running, Wire(running.port) as wire:
        deepest = folders_below(wire, "/0/")
        assert deepest[-1] == "/0/" + 16 * "next/"
        assert wire.get(deepest[-1] + "file").content == PROBE
        for _ in range(2):
            assert wire.get(deepest[-1] + "next/").status == 404
            assert wire.get(deepest[-1] + "next/file").status == 404
        (tmp_path / "5" / "next").unlink()      # it counts as it is now
        (tmp_path / "6").rename(tmp_path / "5" / "next")
        (tmp_path / "5" / "next" / "next").unlink()
        (tmp_path / "5" / "next" / "next").symlink_to("../../7")
        assert wire.get(deepest[-1] + "next/file").content == PROBE


def test_listing_is_sorted_by_query(tmp_path):
    for i, name in enumerate(["f10", "f2", "F1", "a"]):
        (tmp_path / name).write_text("x" * ((i * 7) % 4))
        os.utime(str(tmp_path / name), (0, 10**9 + (i * 3) % 4))
    for name in ("d10", "d9"):
        (tmp_path / name).mkdir()
    with Running(tmp_path) as running, Wire(running.port) as wire:
        def names(query):
            """Both forms agree, folders stand first."""
            as_html = re.findall(r'href="([^"/]*)/?"', wire.get(
                "/" + query).content.decode())
            as_json = [entry["name"] for entry in json.loads(wire.get(
                "/" + query, "Accept: application/json").content.decode())]
            assert as_html == as_json
            assert {as_html[0], as_html[1]} == {"d9", "d10"}
            return as_html
        assert names("") == ["d9", "d10", "a", "F1", "f2", "f10"]
        assert names("?sort=name&order=desc") == [
            "d10", "d9", "f10", "f2", "F1", "a"]
        assert names("?sort=size")[2:] == ["f10", "a", "F1", "f2"]
        assert names("?sort=size&order=desc")[2:] == ["f2", "F1", "a", "f10"]
        assert names("?sort=time")[2:] == ["f10", "a", "F1", "f2"]
        assert names("?sort=nonsense&order=x") == names("")


def test_listing_of_names_of_any_bytes(tmp_path):
    names = [b"caf\xe9", b"a b", b"100%", b"q?", b"#", b"\"'", b"&amp;",
             b"<script>", b"\x01\x1b[2J", b"new\nline", b"caf\xc3\xa9", b":x",
             b"\xff\xfe", b"\\", b"~", b"a" * 255]
    for name in names:
        with open(os.path.join(os.fsencode(str(tmp_path)), name), "wb") as f:
            f.write(name)
    with Running(tmp_path) as running, Wire(running.port) as wire:
        page = wire.get("/").content
        hrefs = re.findall(rb'href="([^"]*)"', page)
        assert len(hrefs) == len(names)
        contents = {wire.get(b"/" + href).content for href in hrefs}
        assert contents == set(names)
        assert b"<script" not in page and b"\x1b" not in page
        entries = json.loads(wire.get(
            "/", "Accept: application/json").content.decode())
        assert {entry["name"].encode("utf-8", "surrogateescape")
                for entry in entries} == set(names)


def test_coding_refused_for_youth_is_not_refused_for_ever(tmp_path):
    """What is not compressed because it is young may be later."""
    page = tmp_path / "page.txt"
    line = "Accept-Encoding: gzip, identity;q=0"
    with Running(tmp_path) as running, Wire(running.port) as wire:
        def refused():
            page.write_bytes(SCRIPT[:1000])
            return wire.get("/page.txt", line).status == 406
        wait_until(refused, "an answer to a young file")
        wait_until_settled(page)
        assert gzip.decompress(wire.get("/page.txt", line).content) == (
            SCRIPT[:1000])


def test_digest_that_many_want_is_made_once(tmp_path, monkeypatch):
    """However many ask before it is there, only one open file waits for it."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 26)
    wait_until_settled(tmp_path / "large")
    plain, calls = httpd.digest_job, []

    def digest_job(*args):
        calls.append(args)
        return plain(*args)
    monkeypatch.setattr(httpd, "digest_job", digest_job)
    with httpd.Server(str(tmp_path), 0, "127.0.0.1") as server, (
            contextlib.ExitStack()) as stack:
        wires = [stack.enter_context(Wire(port_of(server))) for _ in range(50)]
        for number, wire in enumerate(wires):
            wire.send(request_for("/large?%d" % number, "Range: bytes=0-0",
                                  "Want-Repr-Digest: sha-256=1"))
        digests = {wire.response().fields["repr-digest"] for wire in wires}
    assert (len(digests), len(calls)) == (1, 1)


def test_jobs_do_nothing_in_the_turn_in_which_they_are_asked_for():
    """So that many of them cannot hold up anybody."""
    slices = []

    def job():
        slices.append(1)
        jobs.remember("key", b"made")
        yield from ()
    jobs = httpd.Jobs()
    with pytest.raises(httpd.NotReady):
        jobs.start("key", job())
    with pytest.raises(httpd.NotReady):
        jobs.made("key")
    assert not slices
    assert (jobs.run(lambda key: True), jobs.made("key")) == (["key"], b"made")


def test_digest_that_nobody_waits_for_goes_on_when_asked_for_again():
    jobs, slices = httpd.Jobs(), []

    def job():
        for _ in range(3):
            slices.append(1)
            yield
        jobs.remember(key, b"made")
    key = ("sha-256", b"/large", (1,))
    wanted = iter([True, False])
    for ended in ([key], [key]):
        with pytest.raises(httpd.NotReady):
            jobs.start(key, job())
        assert jobs.run(lambda _: next(wanted, True)) == ended
    assert (jobs.made(key), len(slices)) == (b"made", 3)


def test_waiting_for_a_digest_takes_no_descriptor(tmp_path):
    """Else it would be 503 for many clients who ask for many files at once."""
    for number in range(60):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
    wait_until_settled(tmp_path / "59")
    with Running(tmp_path, flags=[], prelude="httpd.JOBS_SECONDS = 1e-6",
                 shell_limit="ulimit -n 100; exec \"$@\"") as running, (
                     contextlib.ExitStack()) as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(60)]
        for number, wire in enumerate(wires):
            wire.send(request_for("/%d" % number,
                                  "Want-Repr-Digest: sha-256=1"))
        for number, wire in enumerate(wires):
            answer = wire.response()
            digest = base64.b64encode(hashlib.sha256(
                b"%d" % number).digest()).decode()
            assert answer.fields.get("repr-digest") == (
                "sha-256=:%s:" % digest)


def test_job_ends_with_its_last_client(tmp_path):
    """Though others wait for theirs; and its place can be taken."""
    for name in ("one", "two"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)
        wait_until_settled(tmp_path / name)
    digest = "Want-Repr-Digest: sha-256=1"
    with httpd.Server(str(tmp_path), 0, "127.0.0.1", max_connections=2
                      ) as server, Wire(port_of(server)) as one:
        one.send(request_for("/one", digest))
        with Wire(port_of(server)) as two:
            two.send(request_for("/two", digest))
            wait_until(lambda: len(server.waiting) == 2, "both jobs")
        with Wire(port_of(server)) as other:
            assert other.get("/none").status == 404
        wait_until(lambda: len(server.waiting) == 1, "the end of one")
        server.stop()   # the second one comes at the end of the block


def test_what_takes_too_long_to_prepare(tmp_path):
    """503, logged; the work ends when nobody waits for it any more."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    prelude = ("httpd.SECONDS = tuple(0.5 if state == "
               "httpd.PREPARING else time for state, time in "
               "enumerate(httpd.SECONDS))")
    line = "Want-Repr-Digest: sha-256=1"
    with Running(tmp_path, "--head", prelude=prelude) as running:
        before = running.descriptors()
        with Wire(running.port) as wire:
            wire.send(request_for("/huge", line, method="HEAD"))
            assert wire.head().startswith(b"HTTP/1.1 503 ")
            wire.end()      # HEAD gets no content
        wait_until(lambda: running.descriptors() == before, "closing")
        spent = cpu_seconds(running.pid)
        time.sleep(0.5)  # a span in which work for nobody would show
        assert cpu_seconds(running.pid) - spent < 0.25
        with Wire(running.port) as wire:
            wire.send(request_for("/huge?again", line))
            wait_until(lambda: running.descriptors() > before + 1, "the job")
            for _ in range(2):
                running.process.terminate()
                time.sleep(0.05)
            running.process.wait(PATIENCE)
        assert " 503 0 " in running.logged("HEAD /huge HTTP/1.1")
        assert " 503 0 " in running.logged("GET /huge?again HTTP/1.1")


def test_empty_line_behind_a_request_changes_nothing(site):
    with Running(site, "--request-timeout", "0.3") as running:
        with Wire(running.port) as wire:
            wire.send(request_for("/probe.txt") + b"\r\n")
            assert wire.response().content == PROBE
            time.sleep(0.6)  # longer than the limit for a head
            assert wire.get("/probe.txt").content == PROBE


def test_application_that_is_not_there(tmp_path):
    (tmp_path / "404.html").write_text("own page")
    with Running(tmp_path, "--spa") as running, Wire(running.port) as wire:
        for accept in ("text/html", "image/png"):
            for target in ("/users/42", "/users/a%2Fb"):
                answer = wire.get(target, "Accept: " + accept)
                assert (answer.status, answer.content) == (404, b"own page")


def test_large_listing_is_complete_and_delays_nobody(tmp_path):
    count = 20000 if PYPY else 100000
    for i in range(count):
        os.close(os.open(str(tmp_path / ("f%d" % i)),
                         os.O_CREAT | os.O_WRONLY, 0o644))
    with Running(tmp_path, flags=[]) as running:
        with Wire(running.port) as wire, Wire(running.port) as other:
            other.get("/f1")
            waits = []
            wire.send(request_for("/", "Accept: application/json"))
            end = threading.Event()

            def ask():
                while not end.is_set():
                    start = time.monotonic()
                    assert other.get("/f1").status == 200
                    waits.append(time.monotonic() - start)
            thread = threading.Thread(target=ask)
            thread.start()
            try:
                answer = wire.response()
            finally:
                end.set()
                thread.join()
            names = [entry["name"] for entry in json.loads(
                answer.content.decode())]
            assert names == ["f%d" % i for i in range(count)]
            assert sorted(waits)[len(waits) * 9 // 10] < 0.05
        # A client that goes away in the middle leaves nothing open.
        before = running.descriptors()
        for _ in range(5):
            with Wire(running.port) as wire:
                wire.send(request_for("/")).head()
        wait_until(lambda: running.descriptors() <= before, "closing")


def test_listing_is_read_in_many_turns(tmp_path, monkeypatch):
    """It stops where its time in one turn is over, also before any row."""
    monkeypatch.setattr(httpd, "LISTING_SECONDS", -1)
    for i in range(3 * httpd.LISTING_LOOK):
        (tmp_path / ("%d" % i)).write_text("")
    site = httpd.Site(str(tmp_path))
    blocks = list(httpd.listing_blocks(site, [],
                                       httpd.Listing([], "", False)))
    assert blocks[:3] == [b"", b"", b""]
    assert all(blocks[3:])


@pytest.mark.parametrize("request_line, connection", [
    (request_for("/"), None),
    (request_for("/", "Connection: close"), "close"),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive")])
def test_large_listing_has_a_length(tmp_path, request_line, connection):
    """So HTTP/1.0 is no special case, and a cut is seen as one."""
    count = 5000
    for i in range(count):
        (tmp_path / ("f%d" % i)).write_text("")
    with Running(tmp_path) as running, Wire(running.port) as wire:
        answer = wire.send(request_line).response()
        assert answer.fields.get("connection") == connection
        page = answer.content
        assert int(answer.fields["content-length"]) == len(page)
        assert page.startswith(b"<!DOCTYPE html>")
        assert page.count(b"<tr><td><a ") == count
        assert page.endswith(b"</html>\n")
        assert " 200 %d " % len(page) in running.logged("GET / ")
        if connection != "close":
            assert wire.get("/f1").status == 200


def test_listings_are_bounded(tmp_path):
    """In number, descriptors and bytes; who takes nothing of one makes room.

    With 30 clients that did not read, memory grew by 94 MB, and each eighth
    request for a small file was a 503.
    """
    count = 10000
    for i in range(count):
        os.close(os.open(str(tmp_path / ("%0200d" % i)),
                         os.O_CREAT | os.O_WRONLY, 0o644))
    with Running(tmp_path, flags=[], shell_limit="ulimit -n 64; exec \"$@\""
                 ) as running, contextlib.ExitStack() as stack:
        other, reader, *greedy = [stack.enter_context(Wire(running.port))
                                  for _ in range(18)]
        for wire in [other, reader, *greedy]:
            wire.get("/%0200d" % 1)     # it is accepted
        descriptors, memory = running.descriptors(), running.memory("RssAnon")
        for i, wire in enumerate(greedy):
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.send(request_for("/?%d" % i))
        reader.send(request_for("/?sort=size"))
        while not reader.has_input():
            assert other.get("/%0200d" % 1).status == 200
            assert running.descriptors() <= descriptors + 10
            assert running.memory("RssAnon") < memory + (48 << 10)
        assert reader.response().content.count(b"<tr><td><a ") == count
        running.logged("GET /?0 ")  # it was closed


def test_listing_shows_what_was_there_when_it_was_asked_for(tmp_path):
    """Though those who wait for one together share it."""
    for i in range(500):
        (tmp_path / ("f%d" % i)).write_text("")
    missed = []

    def ask(number):
        with Wire(running.port) as wire:
            for i in range(20):
                name = "new-%d-%d" % (number, i)
                (tmp_path / name).write_text("")
                if name.encode() not in wire.get("/").content:
                    missed.append(name)
    with Running(tmp_path, flags=[]) as running:
        threads = [threading.Thread(target=ask, args=(number,))
                   for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not missed


def test_header_option(site):
    with Running(site, "-H", "Access-Control-Allow-Origin: *", "--header",
                 "cache-control: max-age=60", "-H", "CDN-Cache-Control: x",
                 "-H", "Content-Security-Policy: y", "-H",
                 "X-Empty:") as running, Wire(running.port) as wire:
        for target, *lines in [
                ("/hello.txt",), ("/list/",), ("/folder",), ("/nothing",),
                ("/%",), ("/hello.txt", "If-Match: x"),
                ("/digits", "Range: bytes=99-")]:
            for _ in range(2):
                answer = wire.get(target, *lines)
                fields = answer.fields
                assert fields["access-control-allow-origin"] == "*"
                assert fields["x-empty"] == ""
                assert fields["content-security-policy"] == "y"
                # A cache would keep a failure of a moment (9111, 3).
                failed = answer.status >= 400
                assert failed == (target in ("/nothing", "/%") or bool(lines))
                assert fields["cache-control"] == (
                    "no-store" if failed else "max-age=60")
                assert fields.get("cdn-cache-control") == (
                    None if failed else "x")    # RFC 9213
        assert wire.send(request_for("/", method="PUT")).response().fields[
            "cache-control"] == "no-store"
        etag = wire.get("/hello.txt").fields["etag"]
        fields = wire.get("/hello.txt", "If-None-Match: " + etag).fields
        assert fields["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("text", [
    "no colon", "a b: c", ": c", "Content-Length: x", "Transfer-Encoding: x",
    "a: b\r\nc: d", "a: \u20ac"] + [name + ": x" for name in (
        "Connection", "Date", "Content-Type", "ETag", "Content-Encoding",
        "Content-Range", "last-modified", "Location", "Vary", "Accept-Ranges",
        "Repr-Digest", "Content-Location", "Allow", "WWW-Authenticate",
        "Trailer", "Upgrade", "Keep-Alive")])
def test_header_option_refused(text):
    """What describes an answer or frames it is not for an owner to say."""
    status, message = httpd_fails("-H", text)
    assert status == 2 and message.startswith("usage:")
    name, _, value = text.partition(": ")
    if value == "x":
        with pytest.raises(ValueError):
            httpd.Server(HERE, 0, headers=[(name, value)])


def test_single_page_application(tmp_path):
    (tmp_path / "index.html").write_text("the application")
    (tmp_path / "here.txt").write_text("here")
    page = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
    with Running(tmp_path, "--spa") as running, Wire(running.port) as wire:
        for target, line, status in [
                ("/users/42", page, 200), ("/a/b/c/", page, 200),
                ("/here.txt", page, 200), ("/", page, 200),
                ("/missing.js", page, 404), ("/a.b/c", page, 200),
                ("/users/42", "Accept: application/json", 404),
                ("/users/42", "Accept: text/html;q=0", 404),
                ("/.hidden/x", page, 200),
                ("/users/a%2Fb", page, 200),    # no name here, but a route
                ("/users/a%2Fb", "Accept: image/png", 404),
                # axios's default: a request for data, not for a page
                ("/users/42", "Accept: application/json, text/plain, */*",
                 404), ("/users/42", "Accept: */*", 200)]:
            answer = wire.get(target, line)
            assert answer.status == status, (target, line)
            if target != "/here.txt" and status == 200:
                assert answer.content == b"the application"
            if target in ("/users/42", "/missing.js"):
                assert "Accept" in answer.fields["vary"].split(", ")
        etag = wire.get("/users/42", page).fields["etag"]
        assert wire.get("/users/7", page,
                        "If-None-Match: " + etag).status == 304


def test_head_option(site):
    """The fields of GET, and no content."""
    with Running(site, "--head") as running, Wire(running.port) as wire:
        for target, *lines in [
                ("/hello.txt",), ("/big.bin",), ("/nothing",), ("/folder",),
                ("/list/",), ("/digits", "If-Match: x"),
                ("/coded/script.js", "Accept-Encoding: gzip")]:
            for _ in range(2):
                got = wire.get(target, *lines)
                wire.send(request_for(target, *lines, method="HEAD"))
                head = wire.response("HEAD")
                assert head.status == got.status
                assert dict(head.fields, date="") == dict(got.fields, date="")
        # RFC 9110, 14.2: ranges are for GET alone.
        for value in ("bytes=5-9", "bytes=99-"):
            wire.send(request_for("/digits", "Range: " + value,
                                  method="HEAD"))
            answer = wire.response("HEAD")
            assert answer.status == 200
            assert answer.fields["content-length"] == "10"
        wire.send(request_for("/", method="PUT"))
        assert wire.response().fields["allow"] == "GET, HEAD"
        before = running.descriptors()
        for _ in range(20):
            wire.send(request_for("/big.bin", method="HEAD"))
            wire.response("HEAD")
        assert running.descriptors() == before


@pytest.mark.parametrize("name, value", [
    (name, value) for name in (
        "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since",
        "If-Unmodified-Since", "Accept", "Accept-Encoding", "Want-Repr-Digest")
    for value in (
        "", ",", ";", "=", "\"", "\xff", "bytes=", "bytes=-", "W/", "*;q=",
        "a" * 2000, "," * 2000, "\"" * 2000, "bytes=" + "9" * 2000 + "-",
        "bytes=\u00b2-\u00b3", "Sun, 99 Nov 1994 99:99:99 GMT",
        "Sunday, 06-Nov-94 08:49:37", "gzip;q=1e3", "sha-256=:x:", "0")])
def test_malformed_field_is_no_server_error(server, name, value):
    """It gets what the RFC names, mostly the file as if it were not there."""
    with Wire(server.port) as wire:
        for target in ("/digits", "/list/", "/coded/script.js"):
            status = wire.get(target, name + ": " + value).status
            assert status == (412 if name == "If-Match" and target != "/list/"
                              else 200)


def test_range_of_a_large_file(ask, site):
    whole = (site / "big.bin").read_bytes()
    answer = ask("/big.bin", "Range: bytes=1000-2500000")
    assert answer.content == whole[1000:2500001]
    assert ask("/big.bin", "Range: bytes=-7").content == whole[-7:]
    assert ask("/big.bin").content == whole


def test_listing(ask):
    answer = ask("/list/")
    assert answer.status == 200
    assert answer.fields["content-type"] == "text/html; charset=utf-8"
    assert "script" not in answer.fields["content-security-policy"]
    hrefs = re.findall(rb'href="([^"?]*)"', answer.content)
    assert hrefs == [b"../", b"empty/", b"%3Ci%3E%26%22.txt", b"b.txt",
                     b"link-in"]
    assert b"<i>" not in answer.content
    assert b"&lt;i&gt;&amp;&quot;.txt" in answer.content


def test_listing_leads_to_every_name(ask, server):
    for href in re.findall(rb'href="([^"]*)"', ask("/list/").content):
        with Wire(server.port) as wire:
            assert wire.get(b"/list/" + href).status == 200


def test_folder_as_default_file_is_no_default_file(ask):
    assert b'href="index.html/"' in ask("/index-is-folder/").content


# ---- Connections ------------------------------------------------------------


def test_http_1_0(server):
    with Wire(server.port) as wire:
        wire.send(b"GET /probe.txt HTTP/1.0\r\n\r\n")
        assert wire.response().fields["connection"] == "close"
        wire.end()
    with Wire(server.port) as wire:
        for _ in range(3):
            wire.send(b"GET /probe.txt HTTP/1.0\r\n"
                      b"Connection: Keep-Alive\r\n\r\n")
            assert wire.response().fields["connection"] == "keep-alive"


def test_pipelined_answers_are_in_order_and_in_one_segment(server):
    targets = ["/digits", "/nothing", "/hello.txt", "/folder",
               "/probe.txt"] * 2
    with Wire(server.port) as wire:
        wire.send(b"".join(map(request_for, targets)))
        wire._more()
        assert [wire.response().status for _ in targets] == [
            200, 404, 200, 301, 200] * 2, "one recv() has all of them"


def test_pipelined_large_and_small(server, site):
    """More answers than fit in any buffer, from requests sent at once."""
    whole = (site / "big.bin").read_bytes()
    rounds = 20
    with Wire(server.port) as wire:
        wire.send((request_for("/probe.txt") + request_for("/big.bin")
                   + request_for("/x", method="HEAD")) * rounds)
        for _ in range(rounds):
            assert wire.response().content == PROBE
            assert wire.response().content == whole
            assert wire.response("HEAD").status == 405


def test_thousands_of_pipelined_requests(server):
    """Others are served meanwhile, and nothing is lost or out of order."""
    count = 5000
    def send():
        wire.send(b"".join(request_for("/probe.txt?%d" % i)
                           for i in range(count)))
    with Wire(server.port) as wire:
        thread = threading.Thread(target=send)
        thread.start()
        for _ in range(count):
            assert wire.response().content == PROBE
        thread.join()


def test_answers_are_made_as_they_are_sent(site, monkeypatch):
    """Who asks for much at once gets it by and by: no heap of answers."""
    queued = []
    plain = httpd.Connection.send_queue

    def send_queue(connection, queue):
        queued.append(sum(len(answer[httpd.MESSAGE].data)
                          for answer in queue))
        plain(connection, queue)
    monkeypatch.setattr(httpd.Connection, "send_queue", send_queue)
    head = b"GET /x HTTP/1.1\r\nHost:a\r\n\r\n"
    count = httpd.RECV_SIZE // len(head)
    with httpd.Server(str(site), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            wire.send(head * count)
            sizes = [len(wire.response().content) for _ in range(count)]
    assert sum(sizes) > 4 * httpd.QUEUE_MAX
    assert max(queued) < httpd.QUEUE_MAX + 2 * max(sizes)


@pytest.mark.parametrize("body", [
    b"Content-Length: 34\r\n\r\nGET /hello.txt HTTP/1.1\r\nHost: b\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
])
def test_content_is_never_taken_for_a_request(server, body):
    with Wire(server.port) as wire:
        wire.send(b"GET /probe.txt HTTP/1.1\r\nHost: a\r\n" + body
                  + request_for("/digits"))
        answer = wire.response()
        assert (answer.content, answer.fields["connection"]) == (
            PROBE, "close")
        wire.end()


def test_answer_survives_what_the_client_still_sends(server):
    """Lingering close: no reset destroys the answer in flight."""
    with Wire(server.port) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n"
                  b"\r\n" + b"x" * 1000000)
        assert wire.response().status == 405
        wire.send(b"x" * 2000000)
        wire.sock.shutdown(socket.SHUT_WR)
        wire.end()


def test_large_closing_answer_survives_what_the_client_still_sends(endless):
    with Running(endless) as running:
        for _ in range(3):
            with Wire(running.port) as wire:
                wire.send(request_for("/big", "Range: bytes=0-7999999",
                                      "Connection: close")).head()
                wire.send(b"x" * 100)
                assert len(wire.received) + sum(
                    map(len, wire.rest())) == 8000000


def test_half_closed_client_gets_its_answer(server, site):
    with Wire(server.port) as wire:
        wire.send(request_for("/big.bin"))
        wire.sock.shutdown(socket.SHUT_WR)
        assert len(wire.response().content) == 3000000
        wire.end()


def test_clients_that_go_away_leave_nothing_behind(site):
    with Running(site) as running:
        with Wire(running.port) as wire:
            wire.get("/probe.txt")
        before = running.descriptors()
        for data in (b"", b"GET", request_for("/big.bin"),
                     request_for("/probe.txt"), b"\x16\x03", b"\r\n",
                     request_for("/big.bin") * 9):
            for reset in (False, True):
                wire = Wire(running.port).send(data)
                if reset:
                    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                         b"\1\0\0\0\0\0\0\0")
                wire.sock.close()
        wait_until(lambda: running.descriptors() <= before, "closing")


# ---- TLS --------------------------------------------------------------------


class TLSRecords:
    """A TLS client whose bytes on the wire are the test's own matter."""

    def __init__(self, port, cafile):
        import ssl
        self.ssl = ssl
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ssl.create_default_context(cafile=cafile).wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def _until_done(self, call, send):
        """Return what call() does, feeding it; send() what it has to send."""
        while True:
            try:
                return call()
            except self.ssl.SSLWantReadError:
                send(self.outgoing.read())
                data = self.sock.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def hello(self):
        """Return the bytes that a handshake begins with."""
        with pytest.raises(self.ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def handshake(self, send):
        """Do the handshake but for its last bytes: return those."""
        self._until_done(self.tls.do_handshake, send)
        return self.outgoing.read()

    def encrypt(self, data):
        """Return the record that *data* is sent in."""
        self.tls.write(data)
        return self.outgoing.read()

    def close_notify(self):
        """Return the record that ends what we send."""
        with contextlib.suppress(self.ssl.SSLError):
            self.tls.unwrap()
        return self.outgoing.read()

    def read_to_end(self):
        """Return all that comes before a close_notify."""
        blocks = []
        with contextlib.suppress(self.ssl.SSLZeroReturnError):  # we, too
            while not blocks or blocks[-1]:
                blocks.append(self._until_done(
                    lambda: self.tls.read(65536), self.sock.sendall))
        return b"".join(blocks)


def s_client(port, certificate, *options, **settings):
    """Run openssl's client; return what it prints."""
    return subprocess.run(
        ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-CAfile",
         certificate[0]] + list(options), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=PATIENCE, **settings).stdout


def test_tls_versions(tls_server, certificate):
    request = request_for("/probe.txt", "Connection: close")
    for option, name in [("-tls1_2", b"TLSv1.2"), ("-tls1_3", b"TLSv1.3")]:
        shown = s_client(tls_server.port, certificate, option, "-ign_eof",
                         "-alpn", "h2,http/1.1", input=request)
        assert b"HTTP/1.1 200 OK" in shown and PROBE in shown
        assert b"New, " + name in shown or name + b", Cipher" in shown, shown
        assert b"Verify return code: 0 (ok)" in shown
        assert b"ALPN protocol: http/1.1" in shown
        assert b"unexpected eof" not in shown
    for option in ("-tls1", "-tls1_1"):
        shown = s_client(tls_server.port, certificate, option, "-cipher",
                         "ALL:@SECLEVEL=0", input=request)
        assert b"HTTP/1.1" not in shown and b"(NONE)" in shown
        assert b"protocol version" in shown, "an alert, not a cut"


def test_no_renegotiation(tls_server, certificate):
    """One that the client asks for is refused, and hurts nobody."""
    shown = s_client(tls_server.port, certificate, "-tls1_2", input=b"R\n")
    assert b"RENEGOTIATING" in shown and b"no renegotiation" in shown, shown
    with TLSWire(tls_server.port, certificate[0]) as wire:
        assert wire.get("/probe.txt").content == PROBE


def test_key_update(tls_server, certificate):
    """The client asks for new keys, in both directions, before its request."""
    with subprocess.Popen(
            ["openssl", "s_client", "-connect",
             "127.0.0.1:%d" % tls_server.port, "-tls1_3", "-CAfile",
             certificate[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as process:
        shown = b""
        for command, effect in [
                (b"K\n", b"KEYUPDATE"), (b"k\n", b"KEYUPDATE.*KEYUPDATE"),
                (request_for("/probe.txt"), PROBE)]:
            process.stdin.write(command)
            process.stdin.flush()
            while not re.search(effect, shown, re.DOTALL):
                data = os.read(process.stdout.fileno(), 65536)
                assert data, shown
                shown += data
        process.communicate(b"Q\n", timeout=PATIENCE)


def test_storm_of_handshakes_has_few_steps_a_turn(site, certificate,
                                                  monkeypatch):
    cert, key = certificate
    turns = []
    plain = httpd.TLSSocket.handshake

    def counted(self):
        turns.append(server.turn)
        return plain(self)
    monkeypatch.setattr(httpd.TLSSocket, "handshake", counted)
    server = httpd.Server(str(site), 0, "127.0.0.1", tls_cert=cert,
                          tls_key=key)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(TLSRecords(port_of(server), cert))
                   for _ in range(30)]
        for client in clients:
            client.sock.sendall(client.hello())
        with server:
            for client in clients:
                client.sock.sendall(client.handshake(client.sock.sendall)
                                    + client.encrypt(request_for(
                                        "/probe.txt", "Connection: close")))
                assert client.read_to_end().endswith(PROBE)
    counts = [turns.count(turn) for turn in set(turns)]
    assert sum(counts) >= 60
    assert max(counts) == httpd.HANDSHAKES_PER_TURN


@needs("ssl")
def test_plain_http_loads_no_ssl():
    """Nor what else only passwords need; it would make each start slower."""
    subprocess.run(
        [sys.executable, "-c", "import httpd, sys\n"
         "with httpd.Server(port=0):\n    pass\n"
         "assert not {'ssl', 'hashlib', 'hmac', 'getpass'} & set(sys.modules)"
         ], cwd=HERE, check=True, timeout=PATIENCE)


@pytest.mark.parametrize("command", [
    ["curl", "-sS", "--fail", "--cacert"],
    [sys.executable, HTTPGET, "-q", "--cafile"]],
    ids=lambda command: os.path.basename(command[-3]))
def test_other_clients_over_tls(tls_server, site, certificate, command):
    if not shutil.which(command[0]):
        pytest.skip(command[0] + " is not installed")
    for name in ("big.bin", "empty.txt", "hello.txt"):
        out = subprocess.run(
            command + [certificate[0], "https://127.0.0.1:%d/%s" % (
                tls_server.port, name)], stdout=subprocess.PIPE, check=True,
            timeout=PATIENCE).stdout
        assert out == (site / name).read_bytes()
    assert tls_server.logged("GET /hello.txt")


def test_handshake_byte_by_byte(tls_server, certificate):
    def bytewise(data):
        for i in range(len(data)):
            client.sock.sendall(data[i:i + 1])
    with TLSRecords(tls_server.port, certificate[0]) as client:
        bytewise(client.handshake(bytewise))
        bytewise(client.encrypt(request_for("/probe.txt")))
        bytewise(client.encrypt(request_for("/x", "Connection: close")))
        received = client.read_to_end()
    assert received.count(b"HTTP/1.1 ") == 2 and PROBE in received


@pytest.mark.parametrize("together", [False, True],
                         ids=["after the handshake", "with its end"])
def test_many_records_in_one_segment(tls_server, certificate, together):
    """What the TLS object holds is not forgotten: nothing more will come."""
    with TLSRecords(tls_server.port, certificate[0]) as client:
        last = client.handshake(client.sock.sendall)
        if not together:
            client.sock.sendall(last)
            last = client.encrypt(request_for("/probe.txt"))
        requests = (request_for("/probe.txt") * 3
                    + request_for("/hello.txt", "Connection: close"))
        client.sock.sendall(last + b"".join(
            client.encrypt(requests[i:i + 7])
            for i in range(0, len(requests), 7)))
        received = client.read_to_end()
    assert received.count(PROBE) == (3 if together else 4)
    assert received.endswith(b"hello, world\n")


def test_half_closed_tls_client_gets_its_answers(site, certificate):
    cert, key = certificate
    whole = (site / "big.bin").read_bytes()
    with Running(site, "--tls-cert", cert, "--tls-key", key) as running:
        before = running.descriptors()
        with TLSRecords(running.port, cert) as client:
            client.sock.sendall(
                client.handshake(client.sock.sendall)
                + client.encrypt(request_for("/big.bin")
                                 + request_for("/hello.txt"))
                + client.close_notify())
            received = client.read_to_end()
            assert whole in received
            assert received.endswith(b"hello, world\n")
            wait_until(lambda: running.descriptors() == before,
                       "the server's close")


def test_stalled_handshakes_end_and_hold_nobody_up(site, certificate):
    cert, key = certificate
    with Running(site, "--tls-cert", cert, "--tls-key", key,
                 prelude="httpd.SECONDS = [1 if state == httpd.HANDSHAKE else"
                 " seconds for state, seconds in enumerate(httpd.SECONDS)]"
                 ) as running:
        before = running.descriptors()
        with contextlib.ExitStack() as stack:
            stalled = [stack.enter_context(TLSRecords(running.port, cert))
                       for _ in range(30)]
            for i, client in enumerate(stalled):
                hello = client.hello()
                client.sock.sendall(hello[:i * len(hello) // 29])
            for _ in range(3):
                with TLSWire(running.port, cert) as wire:
                    assert wire.get("/probe.txt").content == PROBE
            for client in stalled:
                while client.sock.recv(65536):
                    pass
        wait_until(lambda: running.descriptors() == before, "descriptors")
        running.log(3)


@pytest.mark.parametrize("data", [
    b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" * 1000,
    b"\x16\x03\x01\x40\x00" + bytes(100000), b""],
    ids=["its first byte", "garbage", "more of it", "too much", "nothing"])
def test_what_is_no_handshake_ends_quietly(site, certificate, data):
    cert, key = certificate
    with Running(site, "--tls-cert", cert, "--tls-key", key) as running:
        with Wire(running.port) as wire:
            with contextlib.suppress(ConnectionError):
                wire.send(data)
                wire.sock.shutdown(socket.SHUT_WR)
                assert b"HTTP" not in b"".join(wire.rest())
        with TLSWire(running.port, cert) as wire:
            assert wire.get("/probe.txt").content == PROBE
        running.log(1)


@pytest.mark.parametrize("data", [
    request_for("/probe.txt"), b"G", b"\r\n\r\n", b"x" * 60000],
    ids=["a request", "a part of one", "empty lines", "no request"])
def test_plain_http_on_a_tls_port(site, certificate, data):
    cert, key = certificate
    with Running(site, "--tls-cert", cert, "--tls-key", key) as running:
        with Wire(running.port) as wire:
            answer = wire.send(data).response()
            assert answer.status == 400 and b"https://" in answer.content
            wire.end()
        (line,) = running.log(1)
        assert '" 400 ' in line


def test_slow_reader_of_a_large_file_over_tls(endless, certificate):
    cert, key = certificate
    with open(str(endless / "big"), "rb") as file:
        expected = hashlib.sha256(file.read()).digest()
    with Running(endless, "--tls-cert", cert, "--tls-key", key) as running:
        with TLSWire(running.port, cert) as slow:
            slow.send(request_for("/big", "Connection: close"))
            head = slow.head()
            for _ in range(100):
                slow.received += slow.sock.recv(1000)
                with TLSWire(running.port, cert) as other:
                    assert other.get("/nothing").status == 404
            content = slow.received + b"".join(slow.rest())  # to its end
            assert b"Content-Length: %d\r\n" % len(content) in head
            assert hashlib.sha256(content).digest() == expected


def test_tls_client_that_goes_away_leaves_nothing_behind(endless,
                                                         certificate):
    cert, key = certificate
    with Running(endless, "--tls-cert", cert, "--tls-key", key) as running:
        before = running.descriptors()
        for _ in range(10):
            with TLSWire(running.port, cert) as wire:
                wire.send(request_for("/big")).head()
                reset(wire.sock)
        wait_until(lambda: running.descriptors() == before, "descriptors")
        assert all('" 200 ' in line for line in running.log(10))


def test_end_of_an_idle_tls_connection_is_vouched_for(site, certificate):
    cert, key = certificate
    with Running(site, "--tls-cert", cert, "--tls-key", key,
                 "--idle-timeout", "0.2") as running:
        with TLSWire(running.port, cert) as idle:
            idle.get("/probe.txt")
            idle.end()
        with TLSWire(running.port, cert) as stopped:
            stopped.get("/probe.txt")
            running.process.send_signal(signal.SIGTERM)
            stopped.end()


def make_certificate(folder, name, *options):
    """Make another certificate for localhost; return its file and its key's.
    """
    cert, key = str(folder / (name + ".cert")), str(folder / (name + ".key"))
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "2", "-subj", "/CN=" + name,
         "-newkey", "rsa:2048", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", key, "-out", cert] + list(options),
        check=True, stderr=subprocess.DEVNULL)
    return cert, key


def test_tls_needs_ssl(site, certificate):
    done = subprocess.run(
        [sys.executable, "-c", "import runpy, sys\n"
         "sys.modules['ssl'] = None\n"
         "sys.argv = sys.argv[1:]\n"
         "runpy.run_path(sys.argv[0], run_name='__main__')", HTTPD,
         "--tls-cert", certificate[0], "--tls-key", certificate[1], "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1 and b"ssl" in done.stderr


def test_endless_handshake_is_cut_off(certificate):
    """A ClientHello in thousands of records, each of which is looked at."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        tls = httpd.TLSSocket(ours, httpd.tls_context(*certificate, None))
        sent = 0
        with pytest.raises(ConnectionAbortedError) as caught:
            for byte in b"\x01\x01\x00\x00\x03\x03" + bytes(20000):
                theirs.sendall(b"\x16\x03\x01\x00\x01" + bytes([byte]))
                sent += 6
                tls.fetch()
                assert not tls.handshake()
    assert "no data" in str(caught.value)
    assert httpd.TLS_BARREN_MAX < sent <= httpd.TLS_BARREN_MAX + 6


def test_tls_backlog_is_bounded(certificate):
    """Of what a client asks for and never reads, such as new keys."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        tls = httpd.TLSSocket(ours, httpd.tls_context(*certificate, None))
        with pytest.raises(ConnectionAbortedError) as caught:
            for _ in range(1000):
                tls._outgoing.write(bytes(httpd.TLS_RECORD))
                tls.push()
    assert "never reads" in str(caught.value)
    assert len(tls._waiting) <= httpd.TLS_BACKLOG_MAX + httpd.TLS_RECORD


def test_certificate_is_reloaded(site, certificate, tmp_path):
    """By SIGHUP, for new connections; one of no use changes nothing."""
    other = make_certificate(tmp_path, "localhost", "-nodes")
    place = str(tmp_path / "place")

    def put(*names):
        with open(place, "wb") as file:
            for name in names:
                with open(name, "rb") as part:
                    file.write(part.read())
    put(*certificate)
    with Running(site, "--tls-cert", place) as running:
        with TLSWire(running.port, certificate[0]) as wire:
            wire.get("/probe.txt")
            put(HTTPD)
            running.process.send_signal(signal.SIGHUP)
            said = running.process.stderr.readline()
            assert place.encode() in said and b"stays" in said
            TLSWire(running.port, certificate[0]).sock.close()
            put(*other)
            running.process.send_signal(signal.SIGHUP)

            def has_new():
                with contextlib.suppress(OSError):
                    TLSWire(running.port, other[0]).sock.close()
                    return True
            wait_until(has_new, "the new certificate")
            assert wire.get("/probe.txt").content == PROBE


def test_encrypted_key(site, certificate, tmp_path):
    cert, key = make_certificate(tmp_path, "localhost", "-passout",
                                 "pass:open sesame")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("open sesame\n")
    wrong.write_text("open\n")
    tls = ["--tls-cert", cert, "--tls-key", key]
    with Running(site, "--tls-password-file", str(right), *tls) as running:
        with TLSWire(running.port, cert) as wire:
            assert wire.get("/probe.txt").content == PROBE
    missing, key_of_other = str(tmp_path / "none"), certificate[1]
    for options, words in [
            (tls, [key, "--tls-password-file"]),
            (tls + ["--tls-password-file", str(wrong)], [key, str(wrong)]),
            (tls + ["--tls-password-file", missing], [missing]),
            (["--tls-cert", missing], [missing, "No such file"]),
            (["--tls-cert", cert], [cert, "private key"]),
            (["--tls-cert", key], [key, "certificate"]),
            (["--tls-cert", str(site)], [str(site), "directory"]),
            (["--tls-cert", cert, "--tls-key", missing], [missing]),
            (["--tls-cert", cert, "--tls-key", key_of_other],
             [cert, key_of_other, "not that of"])]:
        status, message = httpd_fails("-d", str(site), "0", *options)
        assert status == 1, message
        assert message.count("\n") == 1 and "Traceback" not in message
        for word in words:
            assert word in message


def test_tls_server_in_a_program(site, certificate):
    import ssl
    cert, key = certificate
    with httpd.Server(str(site), 0, tls_cert=cert, tls_key=key) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with urllib.request.urlopen(
                server.url + "probe.txt", context=ssl.create_default_context(
                    cafile=cert)) as response:
            assert response.read() == PROBE
    with pytest.raises(httpd.BadFile):
        httpd.Server(str(site), 0, tls_cert=str(site / "hello.txt"))
    with httpd.Server(str(site), 0) as server:
        assert server.tls is None


# ---- Passwords on the wire --------------------------------------------------

needs_scrypt = pytest.mark.skipif(
    not hasattr(hashlib, "scrypt"), reason="no hashlib.scrypt in this Python")
USERS = {"Aladdin": "open sesame", "j\xe9 b": "123\xa3", "me": ":secret:"}


def write_users(path, users):
    """Write an --auth-file; its hashes take little time."""
    lines = ["# users"]
    for user, password in users.items():
        salt = os.urandom(16)
        hashed = hashlib.scrypt(password.encode(), salt=salt, n=16, r=8, p=1)
        lines.append("%s:scrypt$16$8$1$%s$%s" % (
            user, base64.b64encode(salt).decode(),
            base64.b64encode(hashed).decode()))
    path.write_bytes("\n".join(lines).encode("utf-8") + b"\n")
    return str(path)


@pytest.fixture(scope="session")
def users_file(tmp_path_factory):
    return write_users(tmp_path_factory.mktemp("users") / "users", USERS)


@pytest.fixture
def guarded(site, users_file):
    """A server that answers USERS alone."""
    with Running(site, "--auth-file", users_file) as running:
        yield running


@needs_scrypt
def test_users_get_what_they_ask_for(guarded):
    for user, password in USERS.items():
        field = basic(user, password)
        with Wire(guarded.port) as wire:
            for _ in range(3):
                assert wire.get("/probe.txt", field).content == PROBE
            assert wire.get("/nothing", field).status == 404
            assert wire.get("/folder", field).status == 301
            assert wire.get("/", basic(user, password, "bAsIc")).status == 200
            wire.send(request_for("/probe.txt", field) * 3)
            assert [wire.response().content for _ in range(3)] == [PROBE] * 3
            assert wire.get("/probe.txt").status == 401, "the next without"
    assert len(guarded.log(30)) == 30
    for word in (" - Aladdin [", " - me [", " - j\\xc3\\xa9\\x20b ["):
        assert sum(word in line for line in guarded.log_lines()) == 9
    assert sum(' - - [' in line and '" 401 ' in line
               for line in guarded.log_lines()) == 3


REFUSED = [
    ([], "nothing"), ([basic("me", "wrong")], "a wrong password"),
    ([basic("nobody", ":secret:")], "no such user"),
    ([basic("me", "")], "no password"), ([basic("", "")], "no user"),
    ([basic("me", ":secret:\0")], "NUL"), ([basic("ME", ":secret:")], "case"),
    (["Authorization: Basic ="], "no base64"),
    (["Authorization: Basic bWU="], "no colon"),
    (["Authorization: Bearer bWU6OnNlY3JldDo="], "another scheme"),
    (["Authorization: " + "A" * 20000], "a long word"),
    ([basic("me", "x" * 20000)], "a long password")]


@needs_scrypt
def test_refused_alike_whatever_is_there(guarded):
    """Nothing is told of paths, methods or users before a right password."""
    seen = set()
    with Wire(guarded.port) as wire:
        for lines, why in REFUSED:
            for target in ("/probe.txt", "/nothing", "/folder", "/folder/",
                           "/.hidden", "/link-out", "/%00", "/%2e%2e/", "/%zz"):
                answer = wire.get(target, *lines)
                assert answer.status == 401, (target, why)
                seen.add(re.sub(b"Date: [^\r]*", b"", answer.head)
                         + answer.content)
        for method in ("POST", "DELETE", "BREW"):
            wire.send(request_for("/probe.txt", method=method))
            answer = wire.response()
            seen.add(re.sub(b"Date: [^\r]*", b"", answer.head)
                     + answer.content)
    assert len(seen) == 1
    assert answer.fields["www-authenticate"] == (
        'Basic realm="files", charset="UTF-8"')
    assert answer.fields["cache-control"] == "no-store"
    assert all(" - - [" in line for line in guarded.log_lines())


@needs_scrypt
def test_authorization_twice_lets_nobody_in(guarded):
    field = basic("me", ":secret:")
    for other in (field, basic("nobody", "x"), "Authorization: Bearer x"):
        with Wire(guarded.port) as wire:
            assert wire.get("/probe.txt", field, other).status == 400
            assert wire.get("/probe.txt", field).status == 200


@needs_scrypt
def test_user_in_json(site, users_file):
    with Running(site, "--auth-file", users_file, "--log-format",
                 "json") as running:
        with Wire(running.port) as wire:
            wire.get("/probe.txt", basic("j\xe9 b", "123\xa3"))
            wire.get("/probe.txt", basic("j\xe9 b", "no"))
        assert [json.loads(line)["user"] for line in running.log(2)] == [
            "j\xe9 b", None]


@needs_scrypt
def test_users_are_reloaded(site, tmp_path):
    """Who was let in is so no longer, on a connection that is open, too."""
    path = tmp_path / "users"
    write_users(path, {"me": "old", "you": "same"})
    with Running(site, "--auth-file", str(path)) as running:
        with Wire(running.port) as wire:
            for _ in range(2):
                assert wire.get("/probe.txt", basic("me", "old")).status == 200
            path.write_text("me:nonsense\n")
            running.process.send_signal(signal.SIGHUP)
            said = running.process.stderr.readline().decode()
            assert str(path) in said and "line 1: " in said
            assert "stays" in said and "nonsense" not in said
            assert wire.get("/probe.txt", basic("me", "old")).status == 200
            write_users(path, {"me": "new", "you": "same"})
            running.process.send_signal(signal.SIGHUP)
            wait_until(lambda: wire.get(
                "/probe.txt", basic("me", "old")).status == 401, "the new file")
            assert wire.get("/probe.txt", basic("me", "new")).status == 200
            assert wire.get("/probe.txt", basic("you", "same")).status == 200


@pytest.fixture
def hashes(monkeypatch):
    """The passwords that are hashed in this process, one by one."""
    made = []
    plain = httpd.PasswordHash.make

    def make(self, password):
        made.append(password)
        return plain(self, password)
    monkeypatch.setattr(httpd.PasswordHash, "make", make)
    return made


@needs_scrypt
def test_hashes_are_compared_in_constant_time(monkeypatch):
    import hmac
    compared = []
    plain = hmac.compare_digest

    def compare_digest(one, other):
        compared.append((one, other))
        return plain(one, other)
    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    known = httpd.PasswordHash(2, 8, 1, b"s" * 16, b"h" * 16)
    assert not known.is_of(b"guess")
    assert compared == [(known.make(b"guess"), b"h" * 16)]


@needs_scrypt
def test_each_credential_costs_one_hash(site, users_file, hashes):
    """As much for a user who is not there; none for what is no credential."""
    with httpd.Server(str(site), 0, "127.0.0.1",
                      auth_file=users_file) as server:
        with Wire(port_of(server)) as wire:
            for field in (basic("me", ":secret:"), basic("me", "wrong"),
                          basic("nobody", "guess")):
                for target in ("/probe.txt", "/nothing", "/probe.txt"):
                    wire.get(target, field)
        # The first at the start: whether scrypt takes what is in the file.
        assert hashes == [b"", b":secret:", b"wrong", b"guess"]
        for lines, why in REFUSED[:1] + REFUSED[5:6] + REFUSED[7:11]:
            with Wire(port_of(server)) as wire:
                assert wire.get("/probe.txt", *lines).status == 401, why
        assert len(hashes) == 4


@needs_scrypt
def test_all_users_cost_the_same(tmp_path, monkeypatch):
    """Also where their hashes differ; and who is not there."""
    path = tmp_path / "users"
    lines = []
    for user, n in (("old", 16), ("new", 64), ("newer", 64)):
        hashed = hashlib.scrypt(b"right", salt=b"s" * 16, n=n, r=8, p=1)
        lines.append("%s:scrypt$%d$8$1$%s$%s" % (
            user, n, base64.b64encode(b"s" * 16).decode(),
            base64.b64encode(hashed).decode()))
    path.write_text("\n".join(lines))
    users = httpd.Users(str(path))
    costs = []
    plain = httpd.PasswordHash.make
    monkeypatch.setattr(httpd.PasswordHash, "make", lambda self, password: (
        costs.append(self.cost) or plain(self, password)))
    for user in (b"old", b"new", b"newer", b"nobody"):
        for password in (b"right", b"wrong"):
            del costs[:]
            assert users._is_right(user, password) == (
                password == b"right" and user != b"nobody")
            assert sorted(costs) == [(16, 8, 1), (64, 8, 1)]


@needs_scrypt
def test_what_was_right_is_verified_again_in_time(site, users_file, hashes,
                                                  monkeypatch):
    monkeypatch.setattr(httpd, "LET_IN_SECONDS", 0.3)
    with httpd.Server(str(site), 0, "127.0.0.1",
                      auth_file=users_file) as server:
        with Wire(port_of(server)) as wire:
            for number in (1, 2):
                for _ in range(2):
                    wire.get("/probe.txt", basic("me", ":secret:"))
                assert len(hashes) == 1 + number
                assert server.known
                wait_until(lambda: not server.known, "its end")


@needs_scrypt
def test_what_is_remembered_of_passwords_is_bounded(site, users_file, hashes,
                                                    monkeypatch):
    monkeypatch.setattr(httpd, "LET_IN_MAX", 1)
    monkeypatch.setattr(httpd, "REFUSED_MAX", 1)
    with httpd.Server(str(site), 0, "127.0.0.1",
                      auth_file=users_file) as server:
        with Wire(port_of(server)) as wire:
            for _ in range(2):
                for user, password in sorted(USERS.items()):
                    field = basic(user, password)
                    assert wire.get("/probe.txt", field).status == 200
                    field = basic(user, "wrong")
                    assert wire.get("/probe.txt", field).status == 401
            assert len(hashes) == 1 + 12
            wait_until(lambda: len(server.users._let_in) == 1, "the turn")
            assert len(server.users._refused) == 1
            assert len(server.users._lapsed) <= 1


@needs_scrypt
def test_passwords_wait_in_a_fair_order(users_file):
    """Who was let in before comes first; one address has no more than its share.
    """
    def wait(user, password, address):
        request = httpd.parse_request(head_of(
            b"GET / HTTP/1.1", b"Host: h", basic(user, password).encode()))
        with pytest.raises((httpd.NotReady, httpd.HTTPError)) as caught:
            users.let_in(request, address)
        return caught.value
    users = httpd.Users(users_file)
    assert isinstance(wait("me", ":secret:", "192.0.2.1"), httpd.NotReady)
    users.check()
    users.expire(time.monotonic() + httpd.LET_IN_SECONDS + 1)
    for number in range(httpd.CHECKS_OF_ONE_MAX):
        assert isinstance(wait("me", "wrong %d" % number, "192.0.2.2"),
                          httpd.NotReady)
    assert wait("me", "one more", "192.0.2.2").status == 503
    known = wait("me", ":secret:", "192.0.2.3")
    assert users.next_check(time.monotonic() + 60) == known.key


@pytest.fixture
def slow_hashes(monkeypatch):
    """When each hash in this process begins and ends; it takes a while."""
    times = []
    plain = httpd.PasswordHash.make

    def make(self, password):
        began = time.monotonic()
        while time.monotonic() < began + 0.01:
            pass
        hashed = plain(self, password)
        times.append((began, time.monotonic()))
        return hashed
    monkeypatch.setattr(httpd.PasswordHash, "make", make)
    return times


@needs_scrypt
def test_hashes_get_a_quarter_of_the_time(site, users_file, slow_hashes):
    """Others are served between; what is too many is told to come later."""
    server = httpd.Server(str(site), 0, "127.0.0.1", auth_file=users_file)
    del slow_hashes[:]
    with server, contextlib.ExitStack() as stack:
        user = stack.enter_context(Wire(port_of(server)))
        assert user.get("/probe.txt", basic("me", ":secret:")).status == 200
        wires = [stack.enter_context(Wire(port_of(server)))
                 for _ in range(30)]
        for i, wire in enumerate(wires):
            wire.send(request_for("/", basic("me", "guess %d" % i)))
        while len(slow_hashes) < 5:
            user.get("/probe.txt", basic("me", ":secret:"))
        answers = [wire.response() for wire in wires]
        statuses = [answer.status for answer in answers]
        assert statuses.count(401) >= httpd.CHECKS_OF_ONE_MAX
        assert statuses.count(401) + statuses.count(503) == 30
        assert all("retry-after" in answer.fields for answer in answers
                   if answer.status == 503)
    assert len(slow_hashes) == statuses.count(401) + 1
    for (began, ended), (following, _) in zip(slow_hashes, slow_hashes[1:]):
        assert following - ended > 2.9 * (ended - began - 0.001)


@needs_scrypt
def test_flood_of_passwords_keeps_nobody_out(site, users_file, slow_hashes,
                                             monkeypatch):
    """One address has its share; who was let in before comes first."""
    monkeypatch.setattr(httpd, "LET_IN_SECONDS", 0.5)
    monkeypatch.setattr(httpd, "CHECKS_OF_ONE_MAX", 5)
    monkeypatch.setattr(httpd, "CHECKS_MAX", 6)
    server = httpd.Server(str(site), 0, "127.0.0.1", auth_file=users_file)
    done = threading.Event()
    right = basic("me", ":secret:")
    numbers = itertools.count()

    def guess(address):
        while not done.is_set():
            with contextlib.suppress(OSError), socket.create_connection(
                    server._listeners[0].sock.getsockname(), PATIENCE,
                    (address, 0)) as sock:
                sock.sendall(request_for("/", basic(
                    "me", "guess %d" % next(numbers))))
                sock.recv(65536)

    with server, Wire(port_of(server)) as user:
        assert user.get("/probe.txt", right).status == 200
        threads = [threading.Thread(target=guess, args=("127.0.0.%d" % n,))
                   for n in [2] * 8 + [3] * 8]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(server.users._waiting) == 6, "the flood")
            until = time.monotonic() + 1.5      # it lapses twice
            while time.monotonic() < until:
                assert user.get("/probe.txt", right).status == 200
        finally:
            done.set()
            for thread in threads:
                thread.join(PATIENCE)


@needs_scrypt
def test_refused_request_is_answered_as_what_it_is(site, users_file,
                                                   monkeypatch):
    """HEAD gets no content, and the log shows all that it shows of others."""
    monkeypatch.setattr(httpd, "CHECKS_MAX", 0)
    field = basic("me", ":secret:")
    rows = [((), 401), ((field,), 503), ((field, field), 400)]
    with tempfile.TemporaryFile("w+") as log:
        with httpd.Server(str(site), 0, "127.0.0.1", head=True,
                          auth_file=users_file,
                          access_log=httpd.AccessLog(log.fileno())) as server:
            with Wire(port_of(server)) as wire:
                for fields, status in rows:
                    wire.send(request_for("/", "User-Agent: me", *fields,
                                          method="HEAD"))
                    answer = wire.response("HEAD")
                    assert answer.status == status
                    assert "connection" not in answer.fields
                assert not wire.received
        log.seek(0)
        for line, (_, status) in itertools.zip_longest(log, rows):
            assert '"HEAD / HTTP/1.1" %d 0 "-" "me"\n' % status in line


@needs_scrypt
def test_password_that_cannot_be_verified(site, users_file, monkeypatch):
    """For lack of memory, say: once, and not for ever."""
    with httpd.Server(str(site), 0, "127.0.0.1",
                      auth_file=users_file) as server:
        def make(self, password):
            calls.append(password)
            raise MemoryError
        calls = []
        plain = httpd.PasswordHash.make
        monkeypatch.setattr(httpd.PasswordHash, "make", make)
        field = basic("me", ":secret:")
        with Wire(port_of(server)) as wire:
            assert wire.get("/probe.txt", field).status == 503
        assert len(calls) == 1
        monkeypatch.setattr(httpd.PasswordHash, "make", plain)
        with Wire(port_of(server)) as wire:
            assert wire.get("/probe.txt", field).status == 200


@needs_scrypt
def test_password_that_waits_while_users_are_reloaded(site, users_file):
    """Who waits is asked about anew: the old ones are forgotten."""
    with httpd.Server(str(site), 0, "127.0.0.1",
                      auth_file=users_file) as server:
        server.users._rest_until = time.monotonic() + 1000
        with Wire(port_of(server)) as wire:
            wire.send(request_for("/probe.txt", basic("me", ":secret:")))
            wait_until(lambda: server.connections[httpd.PREPARING], "it")
            server.reload()
            assert wire.response().content == PROBE


@needs_scrypt
def test_users_file_that_became_a_pipe(site, tmp_path):
    """It is not opened, which could wait for ever."""
    path = tmp_path / "users"
    write_users(path, {"me": "x"})
    with Running(site, "--auth-file", str(path)) as running:
        path.unlink()
        os.mkfifo(str(path))
        running.process.send_signal(signal.SIGHUP)
        assert b"stays" in running.process.stderr.readline()
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt", basic("me", "x")).status == 200


@needs_scrypt
def test_password_over_tls(site, users_file, certificate):
    cert, key = certificate
    with Running(site, "--auth-file", users_file, "--tls-cert", cert,
                 "--tls-key", key, "--bind", "127.0.0.1") as running:
        url = "https://127.0.0.1:%d/big.bin" % running.port
        expected = (site / "big.bin").read_bytes()
        out = subprocess.run(
            [sys.executable, HTTPGET, "-q", "--cafile", cert, "--auth", "me",
             url], env=dict(os.environ, HTTPGET_PASSWORD=":secret:"),
            stdout=subprocess.PIPE, check=True, timeout=PATIENCE).stdout
        assert out == expected
        if shutil.which("curl"):
            out = subprocess.run(
                ["curl", "-sS", "--fail", "--cacert", cert, "-u",
                 "Aladdin:open sesame", url], stdout=subprocess.PIPE,
                check=True, timeout=PATIENCE).stdout
            assert out == expected


@needs_scrypt
def test_warnings_about_passwords(site, users_file, certificate, tmp_path):
    cert, key = certificate
    clear = b"passwords travel in the clear"
    with Running(site, "--auth-file", users_file) as running:
        assert clear not in running.start_message
    with Running(site, "--auth-file", users_file, "-b",
                 "0.0.0.0") as running:
        assert clear in running.start_message
    with Running(site, "--auth-file", users_file, "-b", "0.0.0.0",
                 "--tls-cert", cert, "--tls-key", key) as running:
        assert clear not in running.start_message
        assert b"folder that is served; keep" not in running.start_message
    inside = write_users(tmp_path / ".users", USERS)
    with Running(tmp_path, "--auth-file", inside) as running:
        assert b"WARNING: %s is in the folder" % inside.encode() in (
            running.start_message)


@needs_scrypt
def test_bad_users_file_does_not_start(site, tmp_path):
    bad = tmp_path / "bad"
    bad.write_text("# one\nme:open sesame\n")
    empty = tmp_path / "empty"
    empty.write_text("# nobody\n")
    refused = tmp_path / "refused"  # n is too large for r: RFC 7914, 2
    refused.write_text("me:" + GOOD_HASH.replace("$16$8$", "$65536$1$"))
    for path, words in [(str(bad), [str(bad), "line 2: "]),
                        (str(empty), [str(empty), "no user"]),
                        (str(refused), [str(refused), "scrypt refuses"]),
                        (str(tmp_path / "none"), ["none", "No such file"]),
                        ("", ["No such file"]),
                        (str(site), [str(site), "directory"])]:
        status, message = httpd_fails("--auth-file", path, "0")
        assert status == 1 and message.count("\n") == 1, message
        assert "sesame" not in message
        for word in words:
            assert word in message


@needs_scrypt
def test_hash_password(site, tmp_path):
    """From standard input, and from a terminal, where it is asked for twice.
    """
    command = [sys.executable, HTTPD, "--hash-password"]
    hashes = [subprocess.run(
        command, input="s\xe9same\n".encode(), stdout=subprocess.PIPE,
        check=True, timeout=PATIENCE).stdout for _ in range(2)]
    assert hashes[0] != hashes[1]
    users = tmp_path / "users"
    users.write_bytes(b"me:" + hashes[0])
    with Running(site, "--auth-file", str(users)) as running:
        with Wire(running.port) as wire:
            field = basic("me", "s\xe9same")
            assert wire.get("/probe.txt", field).content == PROBE
    for password in (b"", b"\n", b"a\tb\n", b"x" * 1025):
        done = subprocess.run(command, input=password, timeout=PATIENCE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.count(b"\n") == 1
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, input=b"x\n", timeout=PATIENCE,
                              stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh"] + command,
                          input=b"x\n", stderr=subprocess.PIPE,
                          timeout=PATIENCE)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1


@needs_scrypt
@pytest.mark.parametrize("again, status", [("secret", 0), ("secrets", 1)])
def test_hash_password_on_a_terminal(again, status):
    import pty
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, HTTPD, "--hash-password"])
    shown = b""
    for prompt, text in ((b"Password: ", "secret"), (b"Again: ", again)):
        while prompt not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, text.encode() + b"\n")
    with contextlib.suppress(OSError):  # EIO: the end
        for data in iter(lambda: os.read(terminal, 1000), b""):
            shown += data
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] >> 8 == status
    assert b"secret" not in shown, "no echo"
    assert (b"scrypt$" in shown) == (status == 0)


def test_passwords_need_scrypt(site, tmp_path):
    users = tmp_path / "users"
    users.write_text("")
    for options in (["--auth-file", str(users), "0"], ["--hash-password"]):
        done = subprocess.run(
            [sys.executable, "-c", "import hashlib, runpy, sys\n"
             "vars(hashlib).pop('scrypt', None)\n"
             "sys.argv = sys.argv[1:]\n"
             "runpy.run_path(sys.argv[0], run_name='__main__')", HTTPD]
            + options, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=PATIENCE)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.count(b"\n") == 1 and b"scrypt" in done.stderr


# ---- Freshness --------------------------------------------------------------


def test_replaced_file_is_always_the_new_one(tmp_path):
    """3,000 times on one connection, with bodies of one length."""
    page = tmp_path / "page.txt"
    page.write_bytes(b"%07d" % 0)
    with Running(tmp_path) as running, Wire(running.port) as wire:
        for i in range(3000):
            new = tmp_path / "new"
            new.write_bytes(b"%07d" % i)
            os.replace(str(new), str(page))
            assert wire.get("/page.txt").content == b"%07d" % i


def test_rewritten_file_is_always_the_new_one(tmp_path):
    page = tmp_path / "page.txt"
    seen = {}
    with Running(tmp_path) as running, Wire(running.port) as wire:
        for i in range(1000):
            page.write_bytes(b"%07d" % i)
            answer = wire.get("/page.txt")
            assert answer.content == b"%07d" % i
            tag = answer.fields.get("etag", answer.content)
            assert seen.setdefault(tag, answer.content) == answer.content


def test_kept_answer_follows_every_change(tmp_path):
    """Each step changes what a kept answer rested on."""
    root = tmp_path / "root"
    folder, page = root / "folder", root / "folder" / "page.txt"
    folder.mkdir(parents=True)
    page.write_text("one")
    outside = tmp_path / "outside"

    def status():
        """Ask twice, so that an answer that may be kept is kept."""
        answers = [wire.get("/folder/page.txt") for _ in range(2)]
        assert answers[0].same_as(answers[1])
        return answers[0].status, answers[0].content[:9]
    missing = (404, b"<!DOCTYPE")
    with Running(root) as running, Wire(running.port) as wire:
        wait_until_settled(page)
        assert status() == (200, b"one")
        page.write_text("two")
        wait_until_settled(page)
        assert status() == (200, b"two")
        page.unlink()
        assert status() == missing
        page.write_text("three")
        wait_until_settled(page)
        assert status() == (200, b"three")
        folder.rename(outside)
        folder.symlink_to(outside)
        assert status() == missing, "the folder now is a link that leaves"
        folder.unlink()
        outside.rename(folder)
        assert status() == (200, b"three")
        page.unlink()
        os.mkfifo(str(page))
        assert status() == missing
        page.unlink()
        page.mkdir()
        assert status()[0] == 301


def test_default_file_that_appears_and_goes(tmp_path):
    with Running(tmp_path) as running, Wire(running.port) as wire:
        assert b"<table" in wire.get("/").content
        short = tmp_path / "index.htm"
        short.write_text("short")
        wait_until_settled(short)
        assert [wire.get("/").content for _ in range(2)] == [b"short"] * 2
        (tmp_path / "index.html").write_text("long")
        assert wire.get("/").content == b"long"
        (tmp_path / "index.html").unlink()
        assert wire.get("/").content == b"short"


def test_link_has_the_type_and_the_codings_of_its_own_name(tmp_path):
    """What lies beside another file of its target's name is not its own."""
    docs, pages = tmp_path / "docs", tmp_path / "pages"
    docs.mkdir()
    pages.mkdir()
    (pages / "main.html").write_text("right" * 100)
    (docs / "main.html.gz").write_bytes(gzip.compress(b"wrong"))
    (docs / "index.html").symlink_to("../pages/main.html")
    (docs / "page.html").symlink_to("../pages/v1")
    (pages / "v1").write_text("version 1")
    for path in (docs, pages):
        for name in path.iterdir():
            wait_until_settled(name)
    for options in ([], ["--follow-symlinks"]):
        with Running(tmp_path, *options) as running:
            with Wire(running.port) as wire:
                for target in ("/docs/", "/docs/index.html"):
                    answer = wire.get(target, "Accept-Encoding: gzip")
                    assert gzip.decompress(answer.content) == b"right" * 100
                fields = wire.get("/docs/page.html").fields
                assert fields["content-type"].startswith("text/html")


def test_link_that_is_pointed_elsewhere(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.txt").write_text(name)
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "alias").symlink_to("current")
    with Running(tmp_path) as running, Wire(running.port) as wire:
        wait_until_settled(tmp_path / "two" / "page.txt")
        for name in ("one", "two", "one") * 5:
            (tmp_path / "new").symlink_to(name)
            os.replace(str(tmp_path / "new"), str(tmp_path / "current"))
            for _ in range(2):
                answer = wire.get("/alias/page.txt")
                assert answer.content == name.encode()


def test_served_folder_may_be_a_link_that_is_swapped(tmp_path):
    """How sites are deployed: no restart, no moment without a site."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.txt").write_text(name)
    (tmp_path / "current").symlink_to("one")
    wait_until_settled(tmp_path / "two" / "page.txt")
    with Running(tmp_path / "current") as running:
        with Wire(running.port) as wire:
            for name in ("one", "two", "one"):
                (tmp_path / "new").symlink_to(name)
                os.replace(str(tmp_path / "new"), str(tmp_path / "current"))
                for _ in range(2):
                    assert wire.get("/page.txt").content == name.encode()


@pytest.mark.parametrize("size", [5, httpd.SMALL + 1])
def test_young_file_has_no_validator(tmp_path, size):
    """Its next change may have the same times.

    Where it is small its content tells it from others.
    """
    page = tmp_path / "page.txt"
    with Running(tmp_path) as running, Wire(running.port) as wire:
        def asked_in_time():
            page.write_text("y" * size)
            answer = wire.get("/page.txt")
            return time.time() - os.stat(str(page)).st_ctime < 0.04 and answer
        fields = wait_until(asked_in_time, "a quick answer").fields
        assert "last-modified" not in fields
        wait_until_settled(page)
        tag = wire.get("/page.txt").fields["etag"]
        assert fields.get("etag") == (tag if size == 5 else None)


SAYS_NOTHING = [-1, 0, 1, 315532800, 499162500, 946684800]  # ZIP, npm, Bazel


def write_release(folder, digit):
    """Write files whose sizes and times tell nothing of *digit*."""
    for mtime in SAYS_NOTHING + [10**9]:
        (folder / str(mtime)).mkdir(parents=True)
        for name, data in [
                ("small", digit * 9), ("large", digit * (httpd.SMALL + 1)),
                ("made.css", digit * 999), ("big.css", digit * 99999),
                ("side.css", "o" * 999), ("side.css.gz", digit * 99),
                ("huge.css", "o" * 9), ("huge.css.gz", digit * 99999)]:
            path = folder / str(mtime) / name
            path.write_text(data)
            os.utime(str(path), (0, mtime))
    wait_until_settled(path)


def test_etag_names_one_content(tmp_path):
    """Where a release takes another one's place, with files of the same sizes
    and of the times that build systems write, no client keeps the old."""
    for digit in "12":
        write_release(tmp_path / digit, digit)
    (tmp_path / "current").symlink_to("1")
    gzip = "Accept-Encoding: gzip"
    with Running(tmp_path / "current") as running, Wire(running.port) as wire:
        asked = [("/%d/%s" % (mtime, name), line)
                 for mtime in SAYS_NOTHING + [10**9]
                 for name, line in [
                     ("small", "X:"), ("large", "X:"), ("made.css", "X:"),
                     ("made.css", gzip), ("big.css", gzip),
                     ("side.css", gzip), ("huge.css", gzip)]
                 # Of large files nothing else tells.
                 if mtime < 10**9 or name in ("small", "made.css", "side.css")]
        old = {key: wire.get(*key) for key in asked}
        for (target, line), answer in old.items():
            assert answer.fields.get("content-encoding", "X:") in line
            tag = answer.fields["etag"]
            assert wire.get(target, line, "If-None-Match: " + tag
                            ).status == 304
            assert ("last-modified" in answer.fields) == (
                str(10**9) in target), target
        (tmp_path / "new").symlink_to("2")
        os.replace(str(tmp_path / "new"), str(tmp_path / "current"))
        for (target, line), answer in old.items():
            tag = answer.fields["etag"]
            for lines in [[line, "If-None-Match: " + tag],
                          ["Range: bytes=0-0", "If-Range: " + tag]]:
                new = wire.get(target, *lines)
                assert new.status == 200, (target, lines)
                if "side" not in target or lines[0] == gzip:
                    assert new.content != answer.content


def test_etag_is_equal_on_replicas_of_other_times(tmp_path):
    """Of what is read whole; each coding has its own."""
    tags, packed = [], gzip.compress(SCRIPT[:999])  # with a time of its own
    for mtime in (10**9, 1):
        folder = tmp_path / str(mtime)
        folder.mkdir()
        (folder / "page.css").write_bytes(SCRIPT[:999])
        (folder / "side.css").write_bytes(SCRIPT[:999])
        (folder / "side.css.gz").write_bytes(packed)
        for path in folder.iterdir():
            os.utime(str(path), (0, mtime))
            wait_until_settled(path)
        with Running(folder, "--head") as running:
            with Wire(running.port) as wire:
                tags.append([
                    wire.get("/" + name, "Accept-Encoding: " + coding).fields[
                        "etag"] for name in ("page.css", "side.css")
                    for coding in ("", "gzip")])
                wire.send(request_for("/page.css", method="HEAD"))
                assert wire.response("HEAD").fields["etag"] == tags[-1][0]
    assert tags[0] == tags[1]
    assert len(set(tags[0])) == 3 and tags[0][0] == tags[0][2]
    assert "gzip" in tags[0][1] and zlib.ZLIB_RUNTIME_VERSION in tags[0][1]
    assert "gzip" in tags[0][3]


@pytest.mark.parametrize("mtime, sidecar, coding", [
    (499162500, 1, "gzip"), (1, 0, "gzip"), (946684800, 1, "gzip"),
    (10**9, 1, None), (10**9, 10**9 - 1, None), (10**9, 10**9, "gzip")])
def test_sidecar_whose_time_says_nothing(tmp_path, mtime, sidecar, coding):
    (tmp_path / "a.css").write_text("a")
    (tmp_path / "a.css.gz").write_bytes(gzip.compress(b"a"))
    os.utime(str(tmp_path / "a.css"), (0, mtime))
    os.utime(str(tmp_path / "a.css.gz"), (0, sidecar))
    with Running(tmp_path) as running, Wire(running.port) as wire:
        assert wire.get("/a.css", "Accept-Encoding: gzip").fields.get(
            "content-encoding") == coding


def test_date_moves_on_in_kept_answers(server):
    with Wire(server.port) as wire:
        first = wire.get("/probe.txt").fields["date"]
        def other():
            return wire.get("/probe.txt").fields["date"] != first
        wait_until(other, "another second")


def test_folder_that_is_away_for_a_moment(tmp_path):
    """A failure that passes without any file changing is not kept."""
    root, away = tmp_path / "root", tmp_path / "away"
    root.mkdir()
    (root / "page.txt").write_text("page")
    wait_until_settled(root / "page.txt")
    with Running(root) as running, Wire(running.port) as wire:
        for _ in range(3):
            assert wire.get("/page.txt").status == 200
            root.rename(away)
            assert [wire.get("/page.txt").status for _ in "12"] == [404, 404]
            away.rename(root)
            assert wire.get("/page.txt").status == 200


def test_file_rewritten_all_the_time_leaks_no_descriptor(tmp_path):
    """Each answer is one version: all of it from one write."""
    page = tmp_path / "page"
    page.write_bytes(b"0" * 1000)
    end = threading.Event()

    def rewrite():
        digit = 0
        while not end.is_set():
            digit = (digit + 1) % 10
            page.write_bytes(b"%d" % digit * 1000)
    with Running(tmp_path) as running, Wire(running.port) as wire:
        wire.get("/page")
        before = running.descriptors()
        thread = threading.Thread(target=rewrite)
        thread.start()
        try:
            for _ in range(3000):
                answer = wire.get("/page")
                assert answer.status in (200, 503)
                if answer.status == 200:
                    assert len(set(answer.content)) <= 1
        finally:
            end.set()
            thread.join()
        assert running.descriptors() == before


def test_links_when_the_served_folder_is_a_link_that_is_swapped(tmp_path):
    """Whether a link leads out depends on where the root is."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(PROBE)
    root = tmp_path / "root"
    os.symlink("a", str(root))
    os.symlink(str(tmp_path / "a" / "f"), str(tmp_path / "a" / "in"))
    os.symlink(str(tmp_path / "b" / "f"), str(tmp_path / "a" / "out"))
    for name in ("in", "out"):  # the same links in both
        link = str(tmp_path / "a" / name)
        try:
            os.link(link, str(tmp_path / "b" / name), follow_symlinks=False)
        except OSError:  # PyPy; then it is another link to the same
            os.symlink(os.readlink(link), str(tmp_path / "b" / name))
    wait_until_settled(tmp_path / "b" / "f")
    with httpd.Server(str(root), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            for _ in range(2):
                assert wire.get("/in").content == PROBE
                assert wire.get("/out").status == 404
            os.symlink("b", str(tmp_path / "new"))
            os.rename(str(tmp_path / "new"), str(root))
            for _ in range(2):
                assert wire.get("/in").status == 404
                assert wire.get("/out").content == PROBE


def test_link_that_is_swapped_all_the_time(tmp_path):
    """Nothing outside is ever served, and nothing is said of a bug."""
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "inside" / "page").write_text("inside")
    (tmp_path / "page").write_text("secret")
    end = threading.Event()

    def swap():
        link, new = root / "link", root / "new"
        while not end.is_set():
            for target in ("inside", "..", "link", str(tmp_path)):
                new.symlink_to(target)
                os.replace(str(new), str(link))
            link.unlink()
            link.mkdir()
            link.rmdir()
    with Running(root) as running, Wire(running.port) as wire:
        thread = threading.Thread(target=swap)
        thread.start()
        try:
            for _ in range(2000):
                answer = wire.get("/link/page")
                assert answer.content == b"inside" or answer.status == 404
        finally:
            end.set()
            thread.join()


def test_file_that_shrinks_while_it_is_sent(tmp_path):
    """The connection ends short of Content-Length, neither padded nor hung."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(300 << 20)
    says = rb"httpd\.py: [^\n]* became shorter [^\n]*\n"
    with Running(tmp_path, says=says) as running:
        with Wire(running.port) as wire:
            wire.send(request_for("/big"))
            head = wire.head()
            assert b"Content-Length: %d\r\n" % (300 << 20) in head
            with big.open("r+b") as file:
                file.truncate(1000)
            total = len(wire.received)
            for data in iter(lambda: wire.sock.recv(1 << 20), b""):
                total += len(data)
            assert total < 300 << 20
        assert int(running.log(1)[0].split()[9]) < 300 << 20


# ---- Access log -------------------------------------------------------------


def test_request_in_which_a_bug_shows_has_one_line(site, capfd, monkeypatch):
    """Whatever its connection was doing."""
    def answer_to(self, data, connection):
        raise ZeroDivisionError
    monkeypatch.setattr(httpd.Server, "answer_to", answer_to)
    with tempfile.TemporaryFile("w+") as log:
        with httpd.Server(str(site), 0, "127.0.0.1",
                          access_log=httpd.AccessLog(log.fileno())) as server:
            for parts in [[b"GET /a HTTP/1.1\r\n\r\n"],
                          [b"GET /b HT", b"TP/1.1\r\n\r\n"]]:
                with Wire(port_of(server)) as wire:
                    for part in parts:
                        wait_until(lambda: any(server.connections), "it")
                        wire.send(part)
                        if part is not parts[-1]:
                            wait_until(lambda: any(
                                each.buffer for each in
                                server.connections[httpd.RECEIVING]), "half")
                    with contextlib.suppress(ConnectionResetError):
                        wire.end()
        log.seek(0)
        lines = log.read().splitlines()
    assert [line.split('"')[1:3] for line in lines] == [
        ["GET /a HTTP/1.1", " 500 0 "], ["GET /b HTTP/1.1", " 500 0 "]]
    assert capfd.readouterr().err.count("a bug, please report it") == 2


def test_log_duration_has_the_waiting_in_it(site):
    prelude = ("import time\nplain = httpd.digest_job\n"
               "def digest_job(*args):\n"
               "    time.sleep(0.1)\n"
               "    yield from plain(*args)\n"
               "httpd.digest_job = digest_job")
    with Running(site, "--log-format", "json", prelude=prelude) as running:
        wait_until_settled(site / "big.bin")
        with Wire(running.port) as wire:
            for target in ("/big.bin", "/probe.txt"):
                wire.get(target, "Want-Repr-Digest: sha-256=1")
        for line in running.log(2):
            assert json.loads(line)["duration_us"] >= 100000


def test_log_line_of_each_request(site):
    date = r"\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}(:[0-9]{2}){3} [+-][0-9]{4}\]"
    with Running(site) as running:
        with Wire(running.port) as wire:
            for _ in range(3):
                wire.get("/hello.txt", "User-Agent: a \"b\" \xe9\\",
                         "Referer: http://r/")
            wire.get("/nothing?q")
            wire.send(b"GET\x1b[2J\r\n\r\n").response()
        lines = running.log(5)
    agent = r'"http://r/" "a \\x22b\\x22 \\xe9\\x5c"'
    for line in lines[:3]:
        assert re.fullmatch(r"127\.0\.0\.1 - - " + date + r' "GET /hello.txt '
                            r'HTTP/1\.1" 200 13 ' + agent, line)
    assert re.fullmatch(r"127\.0\.0\.1 - - " + date + r' "GET /nothing\?q '
                        r'HTTP/1\.1" 404 [0-9]+ "-" "-"', lines[3])
    assert re.fullmatch(r"127\.0\.0\.1 - - " + date + r' "GET\\x1b\[2J" 400 '
                        r'[0-9]+ "-" "-"', lines[4])


def test_log_formats(site):
    with Running(site, "--log-format", "common") as running:
        with Wire(running.port) as wire:
            for _ in range(2):
                wire.get("/hello.txt", "User-Agent: x")
        for line in running.log(2):
            assert line.endswith('"GET /hello.txt HTTP/1.1" 200 13')
    with Running(site, "--log-format", "json") as running:
        with Wire(running.port) as wire:
            for _ in range(2):
                wire.get("/hello.txt", "User-Agent: x\xe9\"")
            port = wire.sock.getsockname()[1]
        for line in running.log(2):
            entry = json.loads(line)
            assert 0 <= entry.pop("duration_us") < 10**7
            assert entry.pop("time")
            assert entry == {
                "address": "127.0.0.1", "port": port, "user": None,
                "status": 200,
                "request": "GET /hello.txt HTTP/1.1", "bytes": 13,
                "referer": None, "user_agent": "x\xe9\"", "aborted": False}


def test_log_tells_the_bytes_really_sent(endless):
    with Running(endless, "--log-format", "json") as running:
        with Wire(running.port) as wire:
            wire.send(request_for("/big"))
            wire.head()
        entry = json.loads(running.log(1)[0])
    assert entry["aborted"]
    assert 0 < entry["bytes"] < BIG


def test_log_of_incomplete_requests(site):
    with Running(site) as running:
        with Wire(running.port) as wire:
            wire.send(b"GET /incompl").sock.shutdown(socket.SHUT_WR)
            wire.end()
        with Wire(running.port):
            pass  # nothing came: nothing to log
        assert '"GET /incompl" 400 0 ' in running.log(1)[0]
    # What is not whole is shown as it came, not as what it might have become.
    with Running(site, "--request-timeout", "0.2") as running:
        for part in ("GET /abc HTTP/1.0EVIL",
                     "GET /def HTTP/1.1\r\nHost: h\r\nUser-Agent: me/8.0"):
            with Wire(running.port) as wire:
                wire.send(part.encode()).response()
        lines = running.log(2)
        assert '"GET /abc HTTP/1.0EVIL" 408 ' in lines[0]
        assert '"GET /def HTTP/1.1" 408 ' in lines[1]
        assert lines[1].endswith('"-" "-"')
    with Running(site, "--log-format", "json") as running:
        with Wire(running.port) as wire:
            wire.send(b"GET").sock.shutdown(socket.SHUT_WR)
            wire.end()
        entry = json.loads(running.log(1)[0])
        assert entry["duration_us"] < 10**7 and entry["aborted"]


def test_log_to_a_file_and_quiet(site, tmp_path):
    path = tmp_path / "log"
    for options in (["--log-file", str(path)], ["-q"]):
        with Running(site, *options) as running:
            with Wire(running.port) as wire:
                for _ in range(2):
                    wire.get("/hello.txt")
            assert running.log_lines() == []
    assert path.read_text().count("GET /hello.txt") == 2
    assert stat.S_IMODE(os.stat(str(path)).st_mode) & 0o027 == 0


def test_slow_log_reader_gets_every_line(site):
    """Also those that still wait when the server stops."""
    reader, writer = os.pipe()
    count = 2000
    with Running(site, stdout=writer) as running:
        os.close(writer)
        with Wire(running.port) as wire:
            for _ in range(count):
                wire.get("/probe.txt")
        running.process.terminate()
        with os.fdopen(reader, "rb") as file:
            assert len(list(file)) == count


def test_stopped_terminal_stalls_nobody(site):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    says = rb"httpd\.py: the access log has lost [0-9]+ lines\n"
    with Running(site, stdout=slave, says=says) as running:
        with Wire(running.port) as wire:
            for _ in range(2000):
                assert wire.get("/probe.txt").content == PROBE
    os.close(slave)
    os.close(master)


def test_terminal_that_may_not_be_opened_again(site, monkeypatch):
    """Another user's, as with `su user -c`."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    plain = os.open

    def refusing(path, *args, **kwargs):
        if str(path).startswith("/dev/"):
            raise PermissionError(errno.EACCES, "not yours", path)
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "open", refusing)
    log = httpd.AccessLog(slave)
    log.write(["a line\n"])
    assert os.read(master, 100) == b"a line\r\n"
    os.close(slave)
    os.close(master)


def test_slow_log_reader_does_not_hold_up_the_end(monkeypatch):
    """All of closing has one second, not each piece that it writes."""
    reader, writer = os.pipe()
    log = httpd.AccessLog(writer)
    log.write(["a" * 99 + "\n"] * 10000)
    end = threading.Event()

    def read_slowly():
        while not end.is_set():
            os.read(reader, 8192)
            time.sleep(0.1)
    thread = threading.Thread(target=read_slowly)
    thread.start()
    start = time.monotonic()
    try:
        log.close()
        assert time.monotonic() - start < 3 * httpd.LOG_CLOSE_TIMEOUT
    finally:
        end.set()
        thread.join()
        os.close(writer)
        os.close(reader)


def test_line_cut_by_a_full_disk_spoils_no_other(tmp_path, capfd):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with (tmp_path / "log").open("ab", 0) as file:
        log = httpd.AccessLog(file.fileno())
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (25, limits[1]))
            log.write(["first line\n", "second line\n", "third line\n"])
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            log.write(["fourth line\n"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, previous)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == ["first line", "second line"]
    assert lines[-1] == "fourth line"
    capfd.readouterr()


def test_full_disk_is_said_once(site):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    says = (rb"httpd\.py: the access log fails: No space [^\n]*\n"
            rb"httpd\.py: the access log has lost 50 lines\n")
    with Running(site, "--log-file", "/dev/full", says=says) as running:
        with Wire(running.port) as wire:
            for _ in range(50):
                assert wire.get("/probe.txt").content == PROBE


def test_messages_whose_reader_is_gone(site):
    """httpd.py 2>&1 | head"""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, HTTPD, "-d", str(site), "0"], stdout=writer,
        stderr=writer)
    os.close(writer)
    with os.fdopen(reader, "rb", 0) as file:
        port = int(re.search(rb":([0-9]+)/", file.readline()).group(1))
    with Wire(port) as wire:
        for _ in range(3):
            assert wire.get("/probe.txt").content == PROBE
    process.terminate()
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors(site, closed):
    """No client's socket takes their numbers, nor messages meant for them."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        ["sh", "-c", "exec \"$@\" " + closed, "sh", sys.executable, HTTPD,
         "-b", "127.0.0.1", "-d", str(site), str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def connected():
        with contextlib.suppress(OSError):
            return Wire(port)
    with wait_until(connected, "the server") as wire:
        assert wire.get("/probe.txt").content == PROBE
        for fd in "012":
            assert not os.readlink("/proc/%d/fd/%s" % (
                process.pid, fd)).startswith("socket:")
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_stalled_log_reader_stalls_nobody(site):
    """Its lines wait, then are dropped, counted, and said."""
    reader, writer = os.pipe()
    agent = "User-Agent: " + "a" * 1900
    count = 1500
    with Running(site, stdout=writer) as running:
        os.close(writer)
        with Wire(running.port) as wire:
            for _ in range(count):
                assert wire.get("/probe.txt", agent).content == PROBE
        with os.fdopen(reader, "rb") as file:
            lines = []
            thread = threading.Thread(target=lambda: lines.extend(file))
            thread.start()
            messages = running.process.stderr.readline()
            running.process.terminate()
            thread.join()
        lost = int(re.search(rb"lost ([0-9]+) lines", messages).group(1))
        assert len(lines) + lost == count
        assert all(line.endswith(b'"\n') for line in lines)


def test_log_reader_that_goes_away(site):
    reader, writer = os.pipe()
    says = (rb"httpd\.py: the access log fails: Broken pipe\n"
            rb"httpd\.py: the access log has lost 5 lines\n")
    with Running(site, stdout=writer, says=says) as running:
        os.close(writer)
        os.close(reader)
        with Wire(running.port) as wire:
            for _ in range(5):
                assert wire.get("/probe.txt").content == PROBE


@pytest.mark.parametrize("form", ["combined", "json"])
def test_log_behind_a_trusted_proxy(site, form):
    """Equal heads and others, kept and large ones, one by one and together."""
    field = "X-Forwarded-For: 6.6.6.6, "
    with Running(site, "--trusted-proxy", "127.0.0.1", "--trusted-proxy",
                 "10.0.0.0/8", "--log-format", form) as running:
        with Wire(running.port) as wire:
            for number in range(50):
                client = field + "192.0.2.%d:77" % (number % 2)
                assert wire.get("/probe.txt?%d" % number, client,
                                "X-Forwarded-For: 10.0.0.1").content == PROBE
            wire.get("/big.bin", client)
            wire.send(b"".join(request_for("/probe.txt", field + name)
                               for name in ("::1", "nonsense", "::1")))
            for _ in range(3):
                assert wire.response().content == PROBE
            wire.get("/probe.txt")
        lines = running.log(55)
    if form == "json":
        entries = [json.loads(line) for line in lines]
        assert [entry["port"] for entry in entries[:51]] == [77] * 51
        assert entries[51]["port"] is None
        lines = [entry["address"] + " " for entry in entries]
    for number, line in enumerate(lines[:50]):
        assert line.startswith("192.0.2.%d " % (number % 2))
    assert [line.split()[0] for line in lines[50:]] == [
        "192.0.2.1", "::1", "127.0.0.1", "::1", "127.0.0.1"]


@needs("AF_UNIX")
def test_log_believes_no_other_proxy(site, tmp_path):
    path = tmp_path / "socket"
    with Running(site, "--trusted-proxy", "192.0.2.0/24", "-b", "127.0.0.1",
                 "-b", "unix:%s" % path) as running:
        for wire in (Wire(running.port), UnixWire(path)):
            with wire:
                for _ in range(3):
                    wire.get("/probe.txt", "X-Forwarded-For: 192.0.2.9")
        assert sorted({line.split()[0] for line in running.log(6)}) == [
            "127.0.0.1", "unix:"]
    with Running(site, "--trusted-proxy", "unix:", "-b", "127.0.0.1",
                 "-b", "unix:%s" % path) as running:
        with UnixWire(path) as wire:
            for _ in range(3):
                wire.get("/probe.txt", "X-Forwarded-For: 192.0.2.9")
        assert {line.split()[0] for line in running.log(3)} == {"192.0.2.9"}


def test_log_is_reopened_at_sighup(site, tmp_path):
    """As logrotate does it: rename, signal; no line is lost."""
    path, count = tmp_path / "log", 2000
    with Running(site, "--log-file", str(path)) as running:
        with Wire(running.port) as wire:
            for number in range(count):
                assert wire.get("/probe.txt").content == PROBE
                if number % 500 == 100:
                    path.rename(tmp_path / ("log.%d" % number))
                    running.process.send_signal(signal.SIGHUP)
                    wait_until(path.exists, "a new log")
    logs = list(tmp_path.iterdir())
    assert len(logs) == 5
    lines = [line for log in logs for line in log.read_text().splitlines()]
    assert len(lines) == count
    assert all(line.endswith('200 6 "-" "-"') for line in lines)


def test_log_that_cannot_be_reopened_goes_on(site, tmp_path):
    path, old = tmp_path / "log", tmp_path / "old"
    with Running(site, "--log-file", str(path)) as running:
        path.rename(old)
        path.mkdir()
        running.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(
            rb"httpd\.py: cannot reopen the access log \S*/log: .*\n",
            running.process.stderr.readline())
        with Wire(running.port) as wire:
            wire.get("/probe.txt")
    assert old.read_text().count("GET /probe.txt") == 1


def children_of(pid):
    """Return the processes that *pid* has started, and that still run."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
def test_worker_that_hangs_leaves_the_others_unhurt(site):
    """They have more than their share, and take new connections all the same.
    """
    with Running(site, "--workers", "2") as running:
        hung = wait_until(lambda: len(children_of(running.pid)) == 2
                          and children_of(running.pid), "workers")[0]
        os.kill(hung, signal.SIGSTOP)
        try:
            with contextlib.ExitStack() as stack:
                for _ in range(10):
                    stack.enter_context(Wire(running.port)).get("/probe.txt")
                began = time.monotonic()
                for _ in range(600):
                    with Wire(running.port) as wire:
                        assert wire.get("/probe.txt").content == PROBE
                # 70 a second would take eight.
                assert time.monotonic() - began < 5
        finally:
            os.kill(hung, signal.SIGCONT)


@needs("fork")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
def test_worker_that_hangs_is_killed_in_time(site):
    """However often one asks; and it is said that it has not finished."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys\nsys.path.insert(0, %r)\n"
             "import httpd\nhttpd.KILL_AFTER = 0.5\nsys.exit(httpd.main())"
             % HERE, "-d", str(site), "--workers", "2", "0"],
            stdout=log, stderr=subprocess.PIPE)
        for line in iter(process.stderr.readline, b""):
            if b"Ctrl-C" in line:
                break
        hung = wait_until(lambda: len(children_of(process.pid)) == 2
                          and children_of(process.pid), "workers")[0]
        os.kill(hung, signal.SIGSTOP)
        for _ in range(100):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                break
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert b"was killed by signal 9 before it had finished" in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_who_has_connected_before_the_end_is_answered(site, workers):
    """However many: 64 of each listener were, the rest was reset."""
    with Running(site, "--workers", workers, "-b", "127.0.0.1") as running:
        processes = [running.pid]
        if workers == "2":
            processes += wait_until(lambda: len(children_of(
                running.pid)) == 2 and children_of(running.pid), "workers")
        with contextlib.ExitStack() as stack:
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            wires = [stack.enter_context(Wire(running.port))
                     for _ in range(200)]
            for wire in wires:
                wire.send(request_for("/probe.txt"))
            running.process.send_signal(signal.SIGTERM)
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
            for wire in wires:
                assert wire.response().content == PROBE


@pytest.mark.parametrize("way", ["one process", "workers", "systemd", "Ctrl-C",
                                 "TLS"])
def test_who_has_connected_before_the_end_may_still_ask(site, request, way):
    """For a second, TLS's handshake and all for three; half a head keeps its
    deadline, and who says nothing holds nobody up."""
    options, settings, cert = ["-b", "127.0.0.1"], {}, None
    with contextlib.ExitStack() as stack:
        if way == "workers":
            options += ["--workers", "2"]
        elif way == "TLS":
            cert, key = request.getfixturevalue("certificate")
            options += ["--tls-cert", cert, "--tls-key", key]
        elif way == "systemd":
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            sock.listen(8)
            settings = handing_over(sock)
        running = stack.enter_context(Running(site, *options, **settings))
        idle, early, half, silent = [
            stack.enter_context(TLSWire(running.port, cert, later=i > 0)
                                if cert else Wire(running.port))
            for i in range(4)]
        idle.get("/probe.txt")
        if cert:
            half.shake_hands()
        half.send(request_for("/probe.txt")[:20])
        running.process.send_signal(
            signal.SIGINT if way == "Ctrl-C" else signal.SIGTERM)
        idle.end()
        if cert:
            early.shake_hands()
        early.send(request_for("/probe.txt"))
        assert early.response().content == PROBE
        silent.sock.settimeout(httpd.REQUEST_TIMEOUT / 2)
        assert silent.sock.recv(1000) == b""
        half.send(request_for("/probe.txt")[20:])
        answer = half.response()
        assert (answer.content, answer.fields["connection"]) == (
            PROBE, "close")
        assert running.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", ["1", pytest.param(
    "2", marks=needs("fork"))])
def test_closed_terminal_ends_the_server(endless, workers):
    """Else it would go on where nobody sees it, and hold its port."""
    import fcntl
    import pty
    import termios
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    process = subprocess.Popen(
        [sys.executable, HTTPD, "-d", str(endless), "-w", workers, "0"],
        stdout=slave, stderr=slave, preexec_fn=take_terminal)  # noqa: PLW1509
    os.close(slave)
    try:
        shown = b""
        while b"Ctrl-C" not in shown:
            shown += os.read(master, 65536)
        port = int(re.search(rb"127.0.0.1:([0-9]+)", shown).group(1))
        with Wire(port) as wire:    # it is one more than its start
            assert wire.get("/nothing").status == 404
            wire.send(request_for("/big"))
            head = wire.head()
            os.close(master)

            def is_ending():
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                except OSError:
                    return True
            wait_until(is_ending, "its end")
            # The shell says it as well as the kernel.
            process.send_signal(signal.SIGHUP)
            length = int(re.search(b"Content-Length: ([0-9]+)", head).group(1))
            assert len(wire._take(length)) == length
        assert process.wait(PATIENCE) == 0
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
    finally:
        process.kill()
        process.wait()


def test_sighup_without_a_log_file_is_no_end(site):
    with Running(site) as running:
        running.process.send_signal(signal.SIGHUP)
        with Wire(running.port) as wire:
            for _ in range(3):
                assert wire.get("/probe.txt").content == PROBE
        assert len(running.log(3)) == 3


@pytest.mark.skipif(not shutil.which("goaccess"),
                    reason="goaccess is not installed")
def test_goaccess_reads_every_line(site, tmp_path):
    """Hostile requests, too; but for those without a request line."""
    path, invalid = tmp_path / "log", tmp_path / "invalid"
    chance = random.Random(FUZZ_SEED)
    count = 300
    with Running(site, "--log-file", str(path)) as running:
        with Wire(running.port) as wire:
            for _ in range(count):
                name = bytes(chance.randrange(128, 256) for _ in range(5))
                agent = "".join(map(chr, chance.choices(
                    range(32, 256), k=chance.randrange(60))))
                wire.get(b"/" + name, "User-Agent: " + agent.replace(
                    "\x7f", ""), 'Referer: "\\" ' + agent[::-1].replace(
                    "\x7f", ""))
            wire.get("/probe.txt?" + "a" * 3000)  # it reads lines of 4 KiB
    assert len(path.read_text().splitlines()) == count + 1
    done = subprocess.run(
        ["goaccess", str(path), "--log-format=COMBINED", "-o",
         str(tmp_path / "report.json"), "--no-global-config",
         "--invalid-requests=" + str(invalid)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["general"]["failed_requests"] == 0, invalid.read_text()
    assert report["general"]["total_requests"] == count + 1


@pytest.mark.skipif(not shutil.which("logrotate", path=SBIN),
                    reason="logrotate is not installed")
def test_readme_logrotate(site, tmp_path):
    path = tmp_path / "httpd.log"
    with Running(site, "--log-file", str(path)) as running:
        with Wire(running.port) as wire:
            wire.get("/probe.txt?old")
            running_log = wait_until(path.read_text, "a log line")
            (block,) = readme_blocks("logrotate")
            block = block.replace("/var/log/httpd/access.log", str(path))
            block, count = re.subn("systemctl .*", "kill -HUP %d"
                                   % running.pid, block)
            assert count == 1 and str(path) in block
            block = re.sub("create .*", "create", block)  # who is there
            config = tmp_path / "logrotate.conf"
            config.write_text(block)
            config.chmod(0o600)
            tmp_path.chmod(0o755)
            done = subprocess.run(
                [shutil.which("logrotate", path=SBIN), "-f", "-s",
                 str(tmp_path / "state"), str(config)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert (done.returncode, done.stdout) == (0, b"")
            old = tmp_path / "httpd.log.1"

            def is_in_the_new_one():
                wire.get("/probe.txt?new")
                return "?new" in path.read_text()
            wait_until(is_in_the_new_one, "a line in the new log")
    assert old.read_text().startswith(running_log)


def test_log_to_a_fifo_whose_reader_stalls_and_leaves(site, tmp_path):
    """Serving goes on; a reader that comes later gets whole lines."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    says = rb"(httpd\.py: the access log has lost [0-9]+ lines\n)?"
    with Running(site, "--log-file", path, says=says) as running:
        with Wire(running.port) as wire:
            for _ in range(2000):
                assert wire.get("/probe.txt").content == PROBE
            os.close(reader)
            for _ in range(10):
                assert wire.get("/probe.txt").content == PROBE
            assert b"fails: Broken pipe" in running.process.stderr.readline()
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            assert wire.get("/probe.txt?last").content == PROBE
            with open(reader, "rb", 0) as file:
                lines = []

                def last_line():
                    lines.extend((file.read() or b"").splitlines(True))
                    return lines and b"?last" in lines[-1]
                wait_until(last_line, "the last line")
    assert all(line.endswith(b'" 200 6 "-" "-"\n') for line in lines)


# ---- Limits and faults ------------------------------------------------------


def test_drip_is_cut_off_and_hurts_nobody(site):
    """The head's deadline is absolute: a byte more does not move it."""
    with Running(site, "--request-timeout", "1") as running:
        with Wire(running.port) as drip, Wire(running.port) as honest:
            start = time.monotonic()
            drip.sock.setblocking(False)
            slowest = 0.0
            received = b""
            while not received and time.monotonic() < start + 10:
                with contextlib.suppress(BlockingIOError):
                    received = drip.sock.recv(10000)
                with contextlib.suppress(OSError):
                    drip.send(b"G")
                asked = time.monotonic()
                assert honest.get("/probe.txt").content == PROBE
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.01)
            assert received.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert 0.9 < time.monotonic() - start < 3
            assert slowest < 0.5
        assert running.logged('" 408 ')


def test_long_timeouts(site):
    with Running(site, "--idle-timeout", "999999999", "--request-timeout",
                 "999999999") as running:
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt").content == PROBE
            assert wire.get("/probe.txt").content == PROBE


def test_silent_client_is_closed(site):
    with Running(site, "--request-timeout", "0.3") as running:
        with Wire(running.port) as wire:
            wire.sock.settimeout(httpd.REQUEST_TIMEOUT / 2)
            wire.end()
    with Running(site, "--idle-timeout", "0.3") as running:
        with Wire(running.port) as wire:
            wire.get("/probe.txt")
            wire.end()


def test_slow_reader_is_cut_off_only_without_progress(endless):
    """Seen from inside, with the limit at half a second instead of 60."""
    with httpd.Server(str(endless), 0, ["127.0.0.1"]) as server:
        server.seconds[httpd.SENDING] = 0.5
        with Wire(port_of(server)) as slow, Wire(port_of(server)) as stalled:
            for wire in (slow, stalled):
                wire.send(request_for("/big", "Connection: close")).head()
            received, start = len(slow.received), time.monotonic()
            while time.monotonic() < start + 2:  # four times the limit
                received += len(slow.sock.recv(1 << 17))
                time.sleep(0.02)
            assert received < BIG, "too fast to be slow"
            received += sum(map(len, slow.rest()))
            assert received == BIG
            assert sum(map(len, stalled.rest())) < BIG


def port_of(server):
    """Return the port of an httpd.Server."""
    return int(server.url.split(":")[2].strip("/"))


def test_at_capacity_the_longest_idle_makes_room(site):
    with Running(site, "--max-connections", "3") as running:
        wires = [Wire(running.port) for _ in range(3)]
        for wire in wires:
            assert wire.get("/probe.txt").content == PROBE
        assert wires[0].get("/probe.txt").content == PROBE  # now the youngest
        wires.append(Wire(running.port))
        assert wires[3].get("/probe.txt").content == PROBE
        wires[1].end()
        for wire in (wires[0], wires[2], wires[3]):
            assert wire.get("/probe.txt").content == PROBE
            wire.sock.close()
        wires[1].sock.close()


def test_at_capacity_the_slowest_head_makes_room(site):
    with Running(site, "--max-connections", "2") as running:
        wires = [Wire(running.port).send(b"GET / HT") for _ in range(2)]
        with Wire(running.port) as wire:
            wire.sock.settimeout(httpd.REQUEST_TIMEOUT / 2)
            assert wire.get("/probe.txt").content == PROBE
        for wire in wires:
            wire.sock.close()


# With it slow clients need not make room.
PATIENT = "httpd.ROOM_GRACE = httpd.ROOM_GRACE_MIN = 60"


def test_at_capacity_with_busy_clients_accepting_waits(endless):
    with Running(endless, "--max-connections", "1",
                 prelude=PATIENT) as running:
        with Wire(running.port) as busy:
            busy.send(request_for("/big")).head()
            with Wire(running.port) as waiting:
                waiting.send(request_for("/nothing"))
                spent = cpu_seconds(running.pid)
                with pytest.raises(socket.timeout):
                    waiting.sock.settimeout(0.5)
                    waiting.response()
                assert cpu_seconds(running.pid) - spent < 0.25, "a busy loop"
                busy.sock.close()
                waiting.sock.settimeout(PATIENCE)
                assert waiting.response().status == 404


def test_at_capacity_service_returns_when_the_busy_become_idle(endless):
    """Not only when one of them closes."""
    with Running(endless, "--max-connections", "2",
                 prelude=PATIENT) as running:
        with contextlib.ExitStack() as stack:
            busy = [stack.enter_context(Wire(running.port)) for _ in "12"]
            for wire in busy:
                wire.send(request_for("/big")).head()
            waiting = stack.enter_context(Wire(running.port))
            waiting.send(request_for("/nothing"))
            for wire in busy:
                while len(wire.received) < BIG:
                    wire._more()
            assert waiting.response().status == 404


def test_burst_at_capacity_answers_everyone(site):
    with Running(site, "--max-connections", "3") as running:
        running.process.send_signal(signal.SIGSTOP)
        wires = [Wire(running.port).send(request_for("/probe.txt"))
                 for _ in range(30)]
        running.process.send_signal(signal.SIGCONT)
        for wire in wires:
            assert wire.response().content == PROBE
            wire.sock.close()


def cpu_seconds(pid):
    """Return the CPU time that process *pid* has used."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


# With it the server thinks that it has descriptors for everybody.
NO_LIMIT = "httpd.descriptors_possible = lambda: 1200"


def test_clients_at_capacity_may_think_before_they_ask(site):
    """A new client is not closed before it had the time to send a head."""
    with Running(site, "--max-connections", "3") as running:
        def ask():
            with Wire(running.port) as wire:
                time.sleep(0.05)
                answers.append(wire.get("/probe.txt").content)
        answers = []
        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [PROBE] * 20


def test_more_connections_than_descriptors_are_not_promised(site):
    with Running(site, "--max-connections", "1000", flags=[],
                 shell_limit="ulimit -n 64; exec \"$@\"") as running:
        idle = [Wire(running.port) for _ in range(100)]
        for _ in range(3):
            with Wire(running.port) as wire:
                assert wire.get("/probe.txt").content == PROBE
        for wire in idle:
            wire.sock.close()


def test_limit_of_open_files_is_raised_by_the_command_alone(site):
    """A program's own is not for a Server in it to change."""
    code = ("import resource, sys; sys.path.insert(0, %r); import httpd\n"
            "httpd.Server(%r, 0, '127.0.0.1').server_close()\n"
            "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])")
    out = subprocess.check_output(
        ["sh", "-c", "ulimit -Sn 64; exec \"$@\"", "sh", sys.executable, "-c",
         code % (HERE, str(site))], timeout=PATIENCE)
    assert out == b"64\n"


# As macOS: the hard limit is infinite, and infinite is refused as a soft one.
MACOS_LIMIT = """
import resource
plain = resource.setrlimit
real = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.getrlimit = lambda _: (real[0], resource.RLIM_INFINITY)
def setrlimit(what, limits):
    if limits[0] == resource.RLIM_INFINITY or limits[0] > 10240:
        raise ValueError("current limit exceeds maximum limit")
    resource.getrlimit = lambda _: limits
    plain(what, (min(limits[0], real[1]), real[1]))
resource.setrlimit = setrlimit
"""


@pytest.mark.parametrize("prelude", [None, MACOS_LIMIT], ids=["", "macOS"])
def test_limit_of_open_files_is_raised(site, prelude):
    need_descriptors(1000)
    with Running(site, prelude=prelude, shell_limit="ulimit -Sn 64;"
                 " exec \"$@\"") as running, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(100)]
        for wire in wires * 2:
            assert wire.get("/probe.txt").content == PROBE


@pytest.mark.parametrize("limit", [8, 12, 16])
def test_too_few_open_files_to_serve(site, limit):
    """It said that it was serving, and accepted nobody, for ever."""
    done = subprocess.run(
        ["sh", "-c", "ulimit -n %d; exec \"$@\"" % limit, "sh",
         sys.executable, HTTPD, "-d", str(site), "0"],
        stderr=subprocess.PIPE, timeout=PATIENCE)
    assert (done.returncode, done.stderr.decode()) == (
        1, "httpd.py: cannot serve with %d open files: it needs 17 at least,"
        " and one for each client more. Raise the limit: ulimit -n 1024\n"
        % limit)


def test_few_open_files_suffice(site):
    with Running(site, "--log-file", os.devnull, flags=[],
                 shell_limit="ulimit -n 17; exec \"$@\"") as running:
        for _ in range(3):
            with Wire(running.port) as wire:
                for target in ("/probe.txt", "/list/", "/big.bin"):
                    assert wire.get(target).status == 200


def test_running_out_of_descriptors(site):
    """No lost listener, no busy loop, and service returns."""
    limit = "ulimit -n 40; exec \"$@\""
    with Running(site, prelude=NO_LIMIT,
                 flags=["-W", "error"], shell_limit=limit) as running:
        wires = [Wire(running.port) for _ in range(60)]
        spent = cpu_seconds(running.pid)
        time.sleep(0.5)  # a span in which a busy loop would show
        assert cpu_seconds(running.pid) - spent < 0.25, "a busy loop"
        for wire in wires:
            wire.sock.close()
        def answered():
            with contextlib.suppress(OSError, AssertionError):
                with Wire(running.port) as wire:
                    return wire.get("/probe.txt").content == PROBE
        wait_until(answered, "service")


def test_two_clients_in_one_turn_of_which_one_takes_nothing(site):
    """The short way to a kept answer, step by step, where send() blocks."""
    wait_until_settled(site / "probe.txt")
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    full = [False]

    class Full(Scripted):
        def send(self, data, flags=0):
            if full[0]:
                raise BlockingIOError(errno.EAGAIN, "full")
            return self.sock.send(data, flags)

        def recv(self, size):
            return self.sock.recv(size)
    try:
        with Wire(port_of(server)) as one, Wire(port_of(server)) as two:
            answers = []
            for wire in (one, two):
                wire.send(request_for("/probe.txt"))
            wait_until(lambda: server._turn_once() or sum(
                len(state) for state in server.connections) == 2, "accepting")
            for connection in [*server.connections[httpd.ACCEPTED],
                               *server.connections[httpd.RECEIVING]]:
                connection.sock = Full(connection.sock, None)
            wait_until(lambda: server._turn_once() or len(
                server.connections[httpd.IDLE]) == 2, "the first answers")
            for wire in (one, two):
                wire.response()
                wire.send(request_for("/probe.txt"))
            full[0] = True
            wait_until(lambda: server._turn_once() or len(
                server.connections[httpd.SENDING]) == 2, "full sockets")
            full[0] = False
            wait_until(lambda: server._turn_once() or len(
                server.connections[httpd.IDLE]) == 2, "the second answers")
            answers = [wire.response().content for wire in (one, two)]
            assert answers == [PROBE, PROBE]
    finally:
        server.server_close()


def test_many_large_files_take_turns(site, monkeypatch):
    """When the time of a turn is over, who has sent least is first in others.

    A thousand slow readers that came at once held up all others for seconds.
    """
    large = (site / "big.bin").read_bytes()
    sent = []
    plain = httpd.FileStream.send

    def counted(self, sock):
        plain(self, sock)
        sent.append((server.turn, self))
    monkeypatch.setattr(httpd.FileStream, "send", counted)
    monkeypatch.setattr(httpd, "SENDING_SECONDS", 0)
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(port_of(server))) for _ in range(5)]
        for wire in wires:
            wire.send(request_for("/big.bin"))
        with server:
            for wire in wires:
                assert wire.response().content == large
    turns = [turn for turn, _ in sent]
    assert len(set(turns)) == len(turns) >= 15
    # One slice in the first turn, in which the others have sent their heads.
    assert len({stream for _, stream in sent[:6]}) == 5


def test_downloads_that_wait_for_their_turn_do_not_give_way(tmp_path):
    """It is not their clients who are slow, though others wait for room."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(4 << 20)
    slow = ("import time\nplain, times = httpd.FileStream.send, []\n"
            "def send(*args):\n"
            "    times.append(len(times) < 100 and time.sleep(0.015))\n"
            "    plain(*args)\n"
            "httpd.FileStream.send = send")
    with Running(tmp_path, "--max-connections", "40", flags=[],
                 prelude=slow) as running, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(40)]
        for wire in wires:
            wire.send(request_for("/large", "Connection: close"))
        for _ in range(5):
            stack.enter_context(Wire(running.port))
        lengths = []
        threads = [threading.Thread(target=lambda wire=wire: lengths.append(
            len(b"".join(wire.rest())))) for wire in wires]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lengths) == 40 and min(lengths) > 4 << 20


def test_stop_while_accepting_pauses(endless):
    """Out of descriptors, then SIGTERM: what is in flight is completed."""
    with Running(endless, prelude=NO_LIMIT, flags=[],
                 shell_limit="ulimit -n 40; exec \"$@\"") as running:
        busy = Wire(running.port).send(request_for("/big"))
        busy.head()
        wires = [Wire(running.port) for _ in range(60)]
        wait_until(lambda: running.descriptors() >= 40, "a full table")
        running.process.send_signal(signal.SIGTERM)
        while len(busy.received) < BIG:
            busy._more()
        for wire in wires + [busy]:
            wire.sock.close()
        assert running.process.wait(PATIENCE) == 0


def test_end_does_not_wait_for_ever(endless, monkeypatch):
    """Who takes nothing of an answer is cut off after a while."""
    monkeypatch.setattr(httpd, "DRAIN_TIMEOUT", 0.1)
    began = time.monotonic()
    with httpd.Server(str(endless), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            wire.send(request_for("/big")).head()
            server.shutdown()
    assert time.monotonic() - began < httpd.SEND_TIMEOUT / 2


class Flood:
    """A listening socket at which somebody always waits."""

    accepted = 0

    def accept(self):
        self.accepted += 1
        return None, ("192.0.2.1", 1)


@pytest.mark.parametrize("files, accepted", [
    (False, httpd.ACCEPTS_PER_TURN), (True, 0)],
    ids=["so many in a turn", "none while files use up the descriptors"])
def test_accepts_are_bounded(site, monkeypatch, files, accepted):
    """Who is connected already is served, however many want to connect."""
    monkeypatch.setattr(httpd.Server, "_welcome", lambda *_: None)
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    try:
        if files:
            server.site.files = dict.fromkeys(range(server._descriptors_max))
        flood = Flood()
        server._accept(flood)
        assert flood.accepted == accepted
        assert server._accepting == (not files)
    finally:
        server.server_close()


def test_worker_with_more_than_its_share_accepts_none(site, monkeypatch):
    """Until the others have as many."""
    monkeypatch.setattr(httpd.Server, "_welcome", lambda *_: None)
    monkeypatch.setattr(httpd.Server, "_count", lambda _: 40)
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    try:
        server._share = httpd.Share(2)
        server._share.index = 0
        for others, accepted in [(0, 0), (40, httpd.SHARE_STEP)]:
            server._share.publish(1, others)
            flood = Flood()
            server._accept(flood)
            assert flood.accepted == accepted
    finally:
        server._share = None
        server.server_close()


@contextlib.contextmanager
def connection_in(state, site):
    """Yield a Server, a Connection of its in *state*, and the other end."""
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        with theirs:
            connection = httpd.Connection(server, ours, ("192.0.2.1", 1))
            connection.enter(httpd.ACCEPTED)
            server.schedule(connection, state)
            connection.state = state
            yield server, connection, theirs
    finally:
        server.server_close()
        ours.close()


@pytest.mark.parametrize("name, seconds", [
    ("HANDSHAKE", 10), ("GREETING", 10), ("IDLE", 120), ("RECEIVING", 10),
    ("PREPARING", 600), ("SENDING", 60), ("FINISHING", 60), ("LINGERING", 2)])
def test_each_state_has_its_time(site, name, seconds):
    state = httpd.STATE_NAMES.index(name)
    with connection_in(state, site) as (server, connection, _):
        server.now = connection.began + seconds - 0.1
        server._expire()
        assert connection.state == state
        server.now = connection.began + seconds + 0.001
        server._expire()
        assert connection.state in (httpd.LINGERING, httpd.CLOSED) and (
            connection.state != state)


@pytest.mark.parametrize("name, grace", [
    ("HANDSHAKE", httpd.ROOM_GRACE), ("GREETING", httpd.ROOM_GRACE),
    ("IDLE", 0), ("RECEIVING", httpd.ROOM_GRACE), ("PREPARING", None),
    ("SENDING", httpd.ROOM_GRACE), ("FINISHING", httpd.ROOM_GRACE),
    ("LINGERING", 0)])
def test_each_state_gives_way_in_time(site, name, grace):
    """Where all places are taken; None: never, for the wait is not its own."""
    state = httpd.STATE_NAMES.index(name)
    with connection_in(state, site) as (server, connection, _):
        server.now = connection.began + (grace or 0)
        assert server._least_needed() is None
        server.now += 0.01
        assert server._least_needed() is (
            None if grace is None else connection)


def test_no_progress_wins_no_time(site):
    """A socket that seems to be ready and takes nothing, as TLS's may."""
    with connection_in(httpd.SENDING, site) as (server, connection, client):
        with contextlib.suppress(BlockingIOError):
            while True:
                connection.sock.send(bytes(65536))
        request = httpd.parse_request(request_for("/"))
        message = server.render_error(request, httpd.HTTPError(404, ""))
        connection.queue = ((request, message, "", None),)
        began = connection.began
        server.now += 1
        connection.send()
        assert (connection.state, connection.began) == (httpd.SENDING, began)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client.recv(65536)
        connection.send()
        assert client.recv(65536) == message.data


def test_who_never_stops_sending_is_cut_off(site):
    """LINGERING: each byte gives it some more time, up to a limit."""
    with connection_in(httpd.LINGERING, site) as (server, connection, client):
        began = connection.since = server.now
        while connection.state == httpd.LINGERING:
            assert server.now - began < httpd.LINGER_MAX + 5
            server.now += 1
            client.send(b"x")
            connection.linger()
            server._expire()
        assert server.now - began >= httpd.LINGER_MAX


def test_failure_for_lack_of_descriptors_passes(endless):
    """503 while nothing can be opened; the right answer afterwards."""
    (endless / "small").write_text("small")
    with Running(endless, prelude=NO_LIMIT, flags=[],
                 shell_limit="ulimit -n 30; exec \"$@\"") as running:
        with Wire(running.port) as wire:
            assert wire.get("/nothing").status == 404
            free = 30 - running.descriptors()
            with contextlib.ExitStack() as stack:
                for _ in range(free):
                    other = stack.enter_context(Wire(running.port))
                    assert other.get("/nothing").status in (404, 503)
                for target in ("/small", "/"):
                    for _ in range(2):
                        assert wire.get(target).status == 503
            wait_until(lambda: running.descriptors() <= 30 - free, "closing")
            for target, status in (("/small", 200), ("/nothing", 404),
                                   ("/", 200), ("/big", 200)):
                assert wire.get(target).status == status


@needs("poll")      # select() watches 1,024 descriptors, and some are files
def test_thousand_clients_at_once(server):
    need_descriptors(1000)
    wires = [Wire(server.port) for _ in range(1000)]
    for wire in wires:
        wire.send(request_for("/big.bin", "Range: bytes=0-2000"))
    for wire in wires:
        assert len(wire.response().content) == 2001
        wire.sock.close()


@needs("epoll")      # others take as long for each call as there are clients
@needs("poll")
@pytest.mark.skipif(PYPY, reason="PyPy's objects have sizes of their own")
def test_idle_connections_are_small(site):
    count = 5000
    need_descriptors(count)
    with Running(site, flags=[]) as running:
        with Wire(running.port) as wire:
            wire.get("/probe.txt")
        before = running.memory()
        wires = [Wire(running.port) for _ in range(count)]
        for wire in wires:
            wire.get("/probe.txt")
        used = (running.memory() - before) * 1024 / count
        for wire in wires:
            wire.sock.close()
    assert used < 1024


def need_descriptors(count):
    """Skip where this process or a server of its may not open so many."""
    resource = pytest.importorskip("resource")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count * 8 // 7 + 100:
        pytest.skip("the open-file limit here is %d" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Scripted:
    """A socket that fails at its n-th call, once, as told."""

    def __init__(self, sock, fault):
        self.sock = sock
        self.fault = fault

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def recv(self, size, flags=0):
        return self.fault.at("recv") or self.sock.recv(size, flags)

    def send(self, data, flags=0):
        if self.fault.at("send"):
            data = data[:7]
        return self.sock.send(data, flags)


class Fault:
    """Raise *error*, or for None ask for a short write, at call *number*."""

    def __init__(self, number, error):
        self.number = number
        self.error = error
        self.calls = 0

    def at(self, name):
        self.calls += 1
        if self.calls != self.number:
            return None
        if self.error:
            raise self.error
        return name == "send"


@pytest.fixture(params=["plain", "TLS", "TLS 1.2"])
def faulty(request, site, monkeypatch, capfd):
    """faulty(number, error): what three requests bring when a call fails."""
    wait_until_settled(site / "probe.txt")
    tls = {}
    if request.param != "plain":
        cert, key = request.getfixturevalue("certificate")
        tls = {"tls_cert": cert, "tls_key": key}

    def connect(port):
        if tls:  # in a handshake of 1.2 the server has the last word
            return TLSWire(port, tls["tls_cert"], "1.2" in request.param)
        return Wire(port)

    def run(number, error):
        fault = Fault(number, error)
        plain = httpd.Connection.__init__

        def scripted(self, server, sock, peer):
            plain(self, server, Scripted(sock, fault), peer)
        sendfile = getattr(os, "sendfile", None)

        def scripted_sendfile(out, file, offset, count):
            if fault.at("send"):
                count = 7
            return sendfile(out, file, offset, count)
        with monkeypatch.context() as patch:
            patch.setattr(httpd.Connection, "__init__", scripted)
            if sendfile:
                patch.setattr(os, "sendfile", scripted_sendfile)
            # Or TLS makes a hundred calls, and each of them fails once.
            patch.setattr(httpd, "TLS_SLICE", 2**20)
            patch.setattr(httpd, "TLS_BUFFER", 2**19)
            before = len(os.listdir("/proc/self/fd"))
            with httpd.Server(str(site), 0, ["127.0.0.1"], **tls) as server:
                port = port_of(server)
                received = b""
                with contextlib.suppress(OSError), connect(port) as wire:
                    wire.send(request_for("/big.bin"))
                    wire.send(request_for("/probe.txt"))
                    wire.send(request_for("/x", "Connection: close"))
                    for data in iter(lambda: wire.sock.recv(1 << 20), b""):
                        received += data
            assert len(os.listdir("/proc/self/fd")) == before
        assert capfd.readouterr().err == ""
        return re.sub(rb"Date: [^\r]*", b"", received), fault.calls < number
    return run


@pytest.mark.parametrize("error", [
    BlockingIOError(errno.EAGAIN, "not ready"), None],
    ids=["not ready", "short write"])
def test_interrupted_at_every_call_nothing_changes(faulty, error):
    whole, _ = faulty(10**6, None)
    assert whole.count(b"HTTP/1.1 ") == 3
    number, done = 0, False
    while not done:
        number += 1
        received, done = faulty(number, error)
        assert received == whole, "at call %d" % number
    assert number > 5


@pytest.mark.parametrize("error", [
    ConnectionResetError(errno.ECONNRESET, "reset"),
    BrokenPipeError(errno.EPIPE, "closed"),
    OSError(errno.EHOSTUNREACH, "no route")], ids=lambda error: str(error))
def test_peer_gone_at_every_call_is_quiet(faulty, error):
    whole, _ = faulty(10**6, None)
    number, done = 0, False
    while not done:
        number += 1
        received, done = faulty(number, error)
        assert whole.startswith(received), "at call %d" % number
    assert number > 5


def test_file_that_cannot_be_read_is_500(site, monkeypatch, capfd):
    """It is said what, and not called a bug; later it is asked again."""
    plain, broken = os.read, [True]

    def failing(fd, size):
        if broken[0]:
            raise OSError(errno.EIO, "Input/output error")
        return plain(fd, size)
    monkeypatch.setattr(os, "read", failing)
    with httpd.Server(str(site), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            for _ in range(2):
                assert wire.get("/probe.txt").status == 500
            broken[0] = False
            assert wire.get("/probe.txt").content == PROBE
    messages = capfd.readouterr().err
    assert "Input/output error" in messages and "bug" not in messages


def test_bug_in_one_request_is_500_and_the_server_goes_on(
        site, monkeypatch, capfd):
    plain = httpd.path_segments

    def broken(path, windows=False):
        if "bug" in path:
            raise RuntimeError("a bug")
        return plain(path, windows)
    monkeypatch.setattr(httpd, "path_segments", broken)
    with httpd.Server(str(site), 0, ["127.0.0.1"]) as server:
        port = port_of(server)
        with Wire(port) as wire:
            assert wire.get("/bug").status == 500
            wire.end()
        with Wire(port) as wire:
            assert wire.get("/probe.txt").content == PROBE
    assert "RuntimeError: a bug" in capfd.readouterr().err


def test_no_sendfile_no_msg_more(site, monkeypatch):
    monkeypatch.delattr(os, "sendfile", raising=False)
    monkeypatch.setattr(httpd, "MSG_MORE", 0)
    with httpd.Server(str(site), 0, ["127.0.0.1"]) as server:
        with urllib.request.urlopen(server.url + "big.bin") as response:
            assert response.read() == (site / "big.bin").read_bytes()


def test_platform_without_dir_fd(site, monkeypatch):
    """The other way to open names keeps what is outside out, too."""
    monkeypatch.setattr(httpd, "HAS_DIR_FD", False)
    with httpd.Server(str(site), 0, ["127.0.0.1"]) as server:
        port = port_of(server)
        with Wire(port) as wire:
            for target, status in [
                    ("/", 200), ("/folder/sub/deep.css", 200), ("/list/", 200),
                    ("/link-in", 200), ("/folder", 301), ("/nothing", 404),
                    ("/link-out", 404), ("/link-out-folder/secret.txt", 404),
                    ("/fifo", 404), ("/hello.txt/x", 404)]:
                assert wire.get(target).status == status, target


# What follows tries what the server's security rests on: README has the list.


# What a client that does harm sends at first.
HARM = {"silent": b"", "idle": request_for("/probe.txt"), "drips": b"G",
        "lingers": request_for("/probe.txt", "Content-Length: 9"),
        "never reads": b"GET /big?%d HTTP/1.1\r\nHost: a\r\n\r\n"}


class Crowd:
    """*count* clients of *port* that do harm, until the end of a block.

    Each is of one of the *kinds*, see HARM; one that is closed comes again, if
    it *returns*.
    """

    def __init__(self, port, kinds, count, returns):
        self.port, self.returns = port, returns
        self.kinds = itertools.cycle(kinds)
        self.poll = select.poll()
        self.socks = {}
        self.made = 0
        self.stop = threading.Event()
        for _ in range(count):
            self.come()
        self.thread = threading.Thread(target=self.harm)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.stop.set()
        self.thread.join()
        for sock, _ in self.socks.values():
            sock.close()

    def come(self):
        """Connect, without waiting for it."""
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self.port))
        self.made += 1
        self.socks[sock.fileno()] = sock, next(self.kinds)
        self.poll.register(sock, select.POLLOUT)

    def harm(self):
        """Do what they do."""
        dripped = time.monotonic()
        while not self.stop.is_set():
            for fd, event in self.poll.poll(20):
                sock, kind = self.socks[fd]
                try:
                    self.act(sock, kind, event)
                except OSError:
                    self.poll.unregister(fd)
                    del self.socks[fd]
                    sock.close()
                    if self.returns:
                        self.come()
            if time.monotonic() > dripped + 0.1:
                dripped = time.monotonic()
                for sock, kind in self.socks.values():
                    if kind in ("drips", "lingers"):
                        with contextlib.suppress(OSError):
                            sock.send(b"G")

    def act(self, sock, kind, event):
        """Send the first bytes, or see that the server has closed."""
        if event & select.POLLOUT:
            data = HARM[kind]
            sock.send(data % self.made if b"%d" in data else data)
            reads = kind not in ("lingers", "never reads")
            self.poll.modify(sock, select.POLLIN if reads else 0)
        elif not event & select.POLLIN or not sock.recv(1 << 16):
            raise ConnectionError


needs_poll = pytest.mark.skipif(not hasattr(select, "poll"),
                                reason="no poll() for so many clients")


@needs_poll
@pytest.mark.parametrize("limit, kinds", [
    (64, ["silent"]), (64, ["drips"]), (64, ["never reads"]),
    (64, ["lingers"]), (256, ["idle"]), (256, sorted(HARM))],
    ids=lambda value: str(value) if isinstance(value, int) else value[-1])
def test_honest_client_in_a_hostile_crowd(endless, limit, kinds):
    """It is answered within a second, though three times as many clients as
    there are descriptors fill the server, and come again when closed.
    """
    (endless / "probe.txt").write_bytes(PROBE)
    with Running(endless, flags=[], shell_limit='ulimit -n %d; exec "$@"'
                 % limit) as running:
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt").content == PROBE
        before = running.descriptors()
        slowest = []
        with Crowd(running.port, kinds, 3 * limit, True) as crowd:
            wait_until(lambda: crowd.made > 3 * limit
                       or running.descriptors() > limit / 2, "a crowd")
            end = time.monotonic() + 1
            while time.monotonic() < end:
                asked = time.monotonic()
                with Wire(running.port) as wire:
                    assert wire.get("/probe.txt").content == PROBE
                slowest.append(time.monotonic() - asked)
        # PyPy compiles what it has run often, and that takes its time.
        assert max(slowest) < (3 if PYPY else 1), slowest
        wait_until(lambda: running.descriptors() <= before, "closing")
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt").content == PROBE


@needs_poll
@pytest.mark.parametrize("kind", sorted(HARM))
def test_full_server_is_not_busy(endless, kind):
    """Nothing spins where clients keep what they have."""
    (endless / "probe.txt").write_bytes(PROBE)
    with Running(endless, "--max-connections", "50", flags=[]) as running:
        with Crowd(running.port, [kind], 50, False):
            wait_until(lambda: running.descriptors() > 50, "a crowd")
            with Wire(running.port) as wire:
                assert wire.get("/probe.txt").content == PROBE
            spent, start = cpu_seconds(running.pid), time.monotonic()
            while time.monotonic() < start + 0.5:
                time.sleep(0.05)  # a span in which a busy loop would show
            spent = cpu_seconds(running.pid) - spent
            assert spent < 0.2 * (time.monotonic() - start)


def test_no_turn_is_spent_on_who_has_to_wait(endless, monkeypatch):
    """A listening socket at which somebody waits in vain is not watched."""
    monkeypatch.setattr(httpd, "ROOM_GRACE", 60)
    server = httpd.Server(str(endless), 0, ["127.0.0.1"], max_connections=1)
    try:
        with Wire(port_of(server)) as busy, Wire(port_of(server)):
            busy.send(request_for("/big"))
            wait_until(lambda: server.connections[httpd.SENDING]
                       or server._turn_once(), "an answer")
            wait_until(lambda: not server._accepting or server._turn_once(),
                       "a pause")
            assert server.now < server._paused_until < server.now + 60
    finally:
        server.server_close()


def test_room_is_made_by_who_is_least_needed(endless):
    """The idle one, then the slow head, then one that reads nothing; never
    who reads.
    """
    (endless / "probe.txt").write_bytes(PROBE)
    large = request_for("/big", "Connection: close")
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(Running(
            endless, "--max-connections", "4"))
        idle, head, stalled, reading = [
            stack.enter_context(Wire(running.port)) for _ in range(4)]
        idle.get("/probe.txt")
        for wire in (stalled, reading):
            wire.send(large).head()
        head.send(b"GET / HT")
        got = len(reading.received)
        stopped = [stalled]
        for leaving in (idle, head):
            other = stack.enter_context(Wire(running.port))
            other.send(large).head()
            stopped.append(other)
            leaving.end()
        other = stack.enter_context(Wire(running.port))
        other.send(request_for("/probe.txt", "Connection: close"))
        while not other.has_input():
            got += len(reading.sock.recv(1 << 14))
            time.sleep(0.002)   # or it has all before the others are slow
        assert other.response().content == PROBE
        assert min(len(wire.received) + sum(map(len, wire.rest()))
                   for wire in stopped) < BIG
        assert got + sum(map(len, reading.rest())) == BIG
        assert re.match(r'.*"GET /big [^"]*" 200 [0-9]+ ',
                        running.logged("/big"))


RESET = b"\1\0\0\0\0\0\0\0"     # struct linger: on, 0 seconds


def half_close(sock):
    """End what is sent; go on reading."""
    sock.shutdown(socket.SHUT_WR)


def leave_by_reset(sock):
    """Leave with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


@pytest.mark.parametrize("leave", [half_close, leave_by_reset,
                                   socket.socket.close],
                         ids=["half-closed", "reset", "closed"])
def test_clients_that_leave_in_every_state(endless, leave):
    """None is kept, nor a descriptor of it, nor a line of the log lost."""
    (endless / "probe.txt").write_bytes(PROBE)
    with (endless / "digest").open("wb") as file:
        file.truncate(64 << 20)
    wait_until_settled(endless / "digest")
    log = os.open(str(endless / "log"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    states = [
        # reached by sending, the state, lines in the log
        (b"", httpd.RECEIVING, 0),
        (b"GET / HT", httpd.RECEIVING, 1),
        (request_for("/probe.txt"), httpd.IDLE, 1),
        (request_for("/big"), httpd.SENDING, 1),
        (request_for("/probe.txt") + request_for("/big"), httpd.SENDING, 2),
        (request_for("/digest", "Want-Repr-Digest: sha-256=1"),
         httpd.PREPARING, 1),
        (request_for("/probe.txt", "Content-Length: 9"), httpd.LINGERING, 1)]
    with httpd.Server(str(endless), 0, ["127.0.0.1"],
                      access_log=httpd.AccessLog(log)) as server:
        before = len(os.listdir("/proc/self/fd"))
        total = 0
        for data, state, lines in states:
            with Wire(port_of(server)) as wire:
                wire.send(data)
                wait_until(lambda state=state: server.connections[state],
                           httpd.STATE_NAMES[state])
                leave(wire.sock)
                if leave is half_close:
                    for _ in wire.rest():
                        pass
                wait_until(lambda: not any(server.connections), data)
            total += lines
            wait_until(lambda total=total: os.pread(log, 1 << 16, 0).count(
                b"\n") >= total, "a log line")
        # A file that was sent is closed when the second is over.
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before,
                   "closing")
    assert os.pread(log, 1 << 16, 0).count(b"\n") == total
    os.close(log)


FILE_CALLS = ["open", "stat", "lstat", "fstat", "read", "lseek", "dup"]
SOCKET_CALLS = ["accept", "recv", "send", "sendfile"]


class Faulty:
    """Lets the n-th call that a server makes fail, once, as told.

    Calls of the *names* are counted, in the thread that serves alone; `named`
    tells which one failed.
    """

    def __init__(self, monkeypatch, number, error, names):
        self.number, self.error, self.names = number, error, names
        self.calls, self.named, self.thread = 0, None, None
        for name in FILE_CALLS + ["sendfile"]:
            monkeypatch.setattr(os, name, self.failing(name,
                                                       getattr(os, name)))
        accept = socket.socket.accept
        monkeypatch.setattr(socket.socket, "accept",
                            self.failing("accept", accept))
        plain = httpd.Connection.__init__

        def init(connection, server, sock, peer):
            plain(connection, server, Scripted(sock, self), peer)
        monkeypatch.setattr(httpd.Connection, "__init__", init)

    def failing(self, name, plain):
        """Return *plain*, but for its failing."""
        def call(*args, **kwargs):
            if self.at(name) and name in ("read", "sendfile"):
                args = (*args[:-1], 7)      # fewer bytes than were asked for
            return plain(*args, **kwargs)
        return call

    def at(self, name):
        if (threading.current_thread() is not self.thread
                or name not in self.names):
            return None
        self.calls += 1
        if self.calls != self.number:
            return None
        self.named = name
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return name != "recv"


FAULTS = [
    ("EAGAIN", SOCKET_CALLS), ("ECONNRESET", SOCKET_CALLS),
    ("EPIPE", SOCKET_CALLS),
    ("ENOMEM", SOCKET_CALLS + FILE_CALLS), ("EMFILE", ["accept", "open", "dup"]),
    ("EIO", ["sendfile", "open", "stat", "fstat", "read"]),
    ("short", ["send", "sendfile", "read"])]    # fewer bytes than asked for
EXPECTED = [("/probe.txt", 200), ("/probe.txt", 200), ("/big.bin", 200),
            ("/list/", 200), ("/link-in", 200), ("/nothing", 404)]


def exchanged(port):
    """Return the (status, content) of all that is answered of EXPECTED.

    The first two are asked for one by one, so that the second is kept; the
    others are pipelined.
    """
    answers = []
    with contextlib.suppress(OSError, AssertionError):
        with Wire(port) as wire:
            for number, (target, _) in enumerate(EXPECTED):
                wire.send(request_for(target, *["Connection: close"][
                    :number == len(EXPECTED) - 1]))
                if number < 2:
                    answer = wire.response()
                    answers.append((answer.status, answer.content))
            for _ in EXPECTED[2:]:
                answer = wire.response()
                answers.append((answer.status, answer.content))
            wire.end()
    return answers


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="no sendfile()")
@pytest.mark.parametrize("fault, names", FAULTS,
                         ids=[fault for fault, _ in FAULTS])
def test_failure_of_any_call_is_one_clients_matter(
        site, tmp_path, fault, names, capfd):
    """At each n: no traceback, no descriptor lost, no wrong byte; the log has
    what was answered, and the next client gets everything.
    """
    wait_until_settled(site / "coded" / "link.css")
    log = os.open(str(tmp_path / "log"), os.O_RDWR | os.O_CREAT | os.O_APPEND)
    whole = None
    for number in itertools.count():
        os.ftruncate(log, 0)
        with pytest.MonkeyPatch.context() as patch:
            before = len(os.listdir("/proc/self/fd"))
            faulty = Faulty(patch, number, getattr(errno, fault, None),
                            names)
            access_log = httpd.AccessLog(log)
            with httpd.Server(str(site), 0, ["127.0.0.1"],
                              access_log=access_log) as server:
                server.seconds[httpd.RECEIVING] = 0.5
                faulty.thread = server._thread
                answers = exchanged(port_of(server))
                done, faulty.number = faulty.calls < number, -1
                whole = whole or answers
                told = "%s at call %d, %s" % (fault, number, faulty.named)
                assert exchanged(port_of(server)) == whole, told
            assert len(os.listdir("/proc/self/fd")) == before, told
        messages = capfd.readouterr().err
        assert "bug" not in messages and "Traceback" not in messages, (
            told, messages)
        for answer, right in zip(answers, whole):
            # os.path.realpath() takes what it cannot look at for no link, so
            # a link is not there for once; what is outside never is.
            unseen = faulty.named == "lstat" or fault == "EIO"
            assert answer == right or answer[0] in (500, 503) or unseen and (
                answer[0] == 404 or b"/list/" in right[1]
                and set(answer[1].split()) < set(right[1].split())), told
        if fault in ("EAGAIN", "short"):
            assert answers == whole, told
        lines = os.pread(log, 1 << 16, 0).decode().splitlines()
        statuses = [int(line.split('" ')[1].split()[0]) for line in lines]
        assert statuses[:len(answers)] == [code for code, _ in answers], told
        assert len(lines) <= 2 * len(whole), told
        if done:
            break
    assert [code for code, _ in whole] == [code for _, code in EXPECTED]
    assert number > len(EXPECTED)
    os.close(log)


def test_folder_that_fails_in_the_middle_of_its_listing(
        tmp_path, monkeypatch, capfd):
    """It is said, as no bug, and the client gets no part of it."""
    for number in range(500):
        (tmp_path / ("%d.txt" % number)).write_bytes(b"")
    left = [400]

    def names(site, folder):
        for name in sorted(os.listdir(str(tmp_path))):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.EIO, "Input/output error")
            yield os.fsencode(name)
    monkeypatch.setattr(httpd.Site, "_names", names)
    monkeypatch.setattr(httpd, "LISTING_SECONDS", 0)
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            assert wire.get("/").status == 500
        with Wire(port_of(server)) as wire:
            assert wire.get("/").content.count(b".txt</a>") == 500
    messages = capfd.readouterr().err
    assert "Input/output error" in messages and "bug" not in messages


def version(number, size):
    """Return content of which each part tells its version."""
    return (b"%07d\n" % number) * (size // 8)


@pytest.mark.parametrize("size, times", [(8 << 10, 2000), (128 << 10, 500)])
def test_file_that_is_replaced_under_load(tmp_path, size, times):
    """Each body is one whole version, and no ETag ever names two.

    A 503 is given where ten versions in a row were gone as they were read.
    """
    page, spare = str(tmp_path / "page.txt"), str(tmp_path / "spare")
    with open(page, "wb") as file:
        file.write(version(0, size))
    seen, failures, replaced = {}, [], [0]
    end = threading.Event()

    def replace():
        chance = random.Random(FUZZ_SEED)
        while not end.is_set():
            replaced[0] += 1
            with open(spare, "wb") as file:
                file.write(version(replaced[0], size))
            os.replace(spare, page)
            if chance.randrange(100) == 0:
                end.wait(0.08)      # for long enough to get an ETag

    def ask(port, coding):
        try:
            with Wire(port) as wire:
                while not end.is_set():
                    answer = wire.get("/page.txt", "Accept-Encoding: "
                                      + coding)
                    content = answer.content
                    if answer.status == 503:
                        continue    # it changed at each of READ_TRIES
                    assert answer.status == 200, answer.head
                    if "content-encoding" in answer.fields:
                        content = gzip.decompress(content)
                    assert content == content[:8] * (size // 8)
                    tag = answer.fields.get("etag", content[:8])
                    assert seen.setdefault(tag, content[:8]) == content[:8]
        except Exception as exc:
            failures.append(exc)
    with Running(tmp_path, flags=[]) as running:
        threads = [threading.Thread(target=replace)] + [
            threading.Thread(target=ask, args=(running.port, coding))
            for coding in ("identity", "gzip", "identity")]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: failures or replaced[0] > times and sum(
                tag.startswith('"') for tag in map(str, seen)) > 2, "ETags")
        finally:
            end.set()
            for thread in threads:
                thread.join()
    assert not failures, failures


def test_file_that_is_rewritten_while_it_is_read(tmp_path, monkeypatch):
    """In place, after the first half: the answer is the new version."""
    page, plain, done = tmp_path / "page", os.read, []
    page.write_bytes(b"a" * 1000)
    os.utime(str(page), (1, 1))
    wait_until_settled(page)

    def half(fd, size):
        if size != 1000 or done:
            return plain(fd, size)
        done.append(plain(fd, 500))
        with page.open("r+b") as file:
            file.write(b"b" * 1000)
        return done[0]
    monkeypatch.setattr(os, "read", half)
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            assert wire.get("/page").content == b"b" * 1000
    assert done == [b"a" * 500]


@pytest.mark.parametrize("change", ["grow", "delete", "replace"])
def test_file_that_changes_while_it_is_sent(endless, change):
    """What was open is sent to its end, and not a byte of anything else."""
    path = endless / "changing"
    with path.open("wb") as file:
        file.write(b"a" * BIG)
    with Running(endless) as running, Wire(running.port) as wire:
        head = wire.send(request_for("/changing", "Connection: close")).head()
        assert b"Content-Length: %d\r\n" % BIG in head
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"b" * 1000)
        elif change == "delete":
            path.unlink()
        else:
            (endless / "new").write_bytes(b"b" * BIG)
            os.replace(str(endless / "new"), str(path))
        content = wire.received + b"".join(wire.rest())
        assert content == b"a" * BIG
        with Wire(running.port) as other:
            answer = other.get("/changing", "Range: bytes=-1")
            assert (answer.status, answer.content) == (
                (404, answer.content) if change == "delete" else (206, b"b"))


def test_special_file_is_not_even_opened(tmp_path, monkeypatch):
    """To open a device can set it going."""
    os.mkfifo(str(tmp_path / "fifo"))
    opened = []
    plain = os.open

    def recording(path, *args, **kwargs):
        opened.append(path)
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "open", recording)
    with pytest.raises(httpd.HTTPError) as caught:
        httpd.Site(str(tmp_path)).open([b"fifo"], {})
    assert caught.value.status == 404
    assert opened == [os.fsencode(str(tmp_path))]


def test_link_that_comes_back_is_followed_once(tmp_path, monkeypatch):
    """Resolved, it is a link again: so somebody puts it there each time."""
    (tmp_path / "link").symlink_to("file")
    resolved = []

    def resolve(site, segments, facts):
        resolved.append(segments)
        return segments
    monkeypatch.setattr(httpd.Site, "_resolve", resolve)
    with pytest.raises(httpd.HTTPError) as caught:
        httpd.Site(str(tmp_path)).open([b"link"], {})
    assert caught.value.status == 404
    assert len(resolved) == 1


def put_socket(path):
    """Put a socket at *path*."""
    with socket.socket(socket.AF_UNIX) as sock:
        where = os.getcwd()
        os.chdir(os.path.dirname(path))     # a long path does not fit
        try:
            sock.bind(os.path.basename(path))
        finally:
            os.chdir(where)


SWAPS = {
    "a folder": os.mkdir, "a FIFO": os.mkfifo, "a socket": put_socket,
    "a link out": lambda path: os.symlink("../secret", path),
    "a link to a FIFO": lambda path: os.symlink("fifo", path),
    "a link to itself": lambda path: os.symlink("page", path),
    "nothing": lambda path: None}


@pytest.mark.parametrize("swap", [
    pytest.param(swap, marks=needs("AF_UNIX")) if swap == "a socket" else swap
    for swap in sorted(SWAPS)])
def test_file_that_is_swapped_between_check_and_open(tmp_path, monkeypatch,
                                                     swap):
    """It is 404, nothing blocks, and nothing outside is ever served."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    os.mkfifo(str(root / "fifo"))
    page, plain, swapped = str(root / "page"), os.open, []

    def swapping(path, *args, **kwargs):
        if path == b"page" and not swapped:
            swapped.append(True)
            os.unlink(page)
            SWAPS[swap](page)
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "open", swapping)
    (root / "page").write_text("inside")
    before = len(os.listdir("/proc/self/fd"))
    with httpd.Server(str(root), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            assert wire.get("/page").status == 404
            assert swapped
            later = wire.get("/page").status
            assert later == (301 if swap == "a folder" else 404)
            if os.path.isdir(page):
                os.rmdir(page)
            elif os.path.lexists(page):
                os.unlink(page)
            (root / "page").write_text("inside")
            assert wire.get("/page").content == b"inside"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("tls", [False, True])
def test_listing_ends_when_its_client_is_gone(tmp_path, request, monkeypatch,
                                              tls):
    """Within about a second, though nothing is sent meanwhile."""
    files = {}
    if tls:
        cert, key = request.getfixturevalue("certificate")
        files = {"tls_cert": cert, "tls_key": key}
    for number in range(3000):
        (tmp_path / ("%04d.txt" % number)).write_bytes(b"")
    listed = []
    plain = httpd.Site._entry

    def entry(*args):
        listed.append(args)
        if len(listed) == 50:
            began.set()
            left.wait(PATIENCE)
        time.sleep(0.001)
        return plain(*args)
    monkeypatch.setattr(httpd.Site, "_entry", entry)
    monkeypatch.setattr(httpd, "LISTING_SECONDS", 0)
    began, left = threading.Event(), threading.Event()
    with httpd.Server(str(tmp_path), 0, "127.0.0.1", **files) as server:
        port = port_of(server)
        with (TLSWire(port, cert) if tls else Wire(port)) as wire:
            wire.send(request_for("/"))
            assert began.wait(PATIENCE)
            leave_by_reset(wire.sock)
        left.set()
        wait_until(lambda: not any(server.connections), "the end")
        wait_until(lambda: not server.jobs.running, "the end of the work")
    assert len(listed) < 3000


@pytest.mark.parametrize("change", ["rename", "delete", "replace"])
def test_folder_that_goes_while_it_is_listed(tmp_path, change):
    """Its listing ends in order; nobody else's is shown."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(300):
        (folder / ("%03d.txt" % number)).write_bytes(b"")
    # Each entry is a turn, so that the change comes in between.
    prelude = ("httpd.LISTING_SECONDS = 0\nplain = httpd.Site._entry\n"
               "def entry(*args):\n"
               "    __import__('time').sleep(0.001)\n"
               "    return plain(*args)\n"
               "httpd.Site._entry = entry")
    with Running(tmp_path, prelude=prelude) as running:
        with Wire(running.port) as wire:
            wire.send(request_for("/folder/"))
            wait_until(lambda: str(folder) in files_of(running.pid),
                       "the listing")
            folder.rename(tmp_path / "away")
            if change == "delete":
                shutil.rmtree(str(tmp_path / "away"))
            elif change == "replace":
                folder.mkdir()
                (folder / "other.txt").write_bytes(b"")
            answer = wire.response()
            status = 200 if change == "replace" else 404
            assert answer.status == status
            if change == "replace":     # one of them whole, and that alone
                assert answer.content.count(b".txt</a>") == (
                    1 if b"other" in answer.content else 300)
            assert wire.get("/folder/").status == status


@pytest.mark.parametrize("missing", sorted(MISSING))
def test_platform_without(site, tmp_path, missing):
    """Where the platform lacks something, all that is asked for is there."""
    wait_until_settled(site / "coded" / "script.js")
    if missing == "O_PATH" and not hasattr(os, "O_PATH"):
        pytest.skip("it is missing here anyway")
    with Running(site, flags=[], env=lacking(tmp_path, [missing])) as running:
        check_everything(site, running)


def test_platform_without_is_so(tmp_path):
    """What is to be missing in other tests is missing."""
    code = ("import os, selectors, socket; print(hasattr(os, 'sendfile'),"
            " hasattr(socket, 'MSG_MORE'), selectors.DefaultSelector)")
    out = subprocess.check_output(
        [sys.executable, "-c", code], timeout=PATIENCE,
        env=lacking(tmp_path, ["sendfile", "MSG_MORE", "poll"]))
    assert out.split() == [b"False", b"False", b"<class",
                           b"'selectors.SelectSelector'>"]


def test_more_clients_than_select_can_watch(site, tmp_path):
    """Where there is nothing but select(), 1,024 descriptors are the end."""
    need_descriptors(1100)
    with Running(site, env=lacking(tmp_path, ["poll"])) as running:
        with contextlib.ExitStack() as stack:
            for _ in range(1050):
                stack.enter_context(Wire(running.port))
            with Wire(running.port) as wire:
                assert wire.get("/probe.txt").content == PROBE


def check_everything(site, running):
    """Ask for some of each kind, on connections that are kept."""
    large = (site / "big.bin").read_bytes()
    rows = [
        (("/probe.txt",), 200, PROBE), (("/folder/",), 200, b"folder's own"),
        (("/folder",), 301, None), (("/nothing",), 404, None),
        (("/link-in",), 200, b"hello, world\n"), (("/fifo",), 404, None),
        (("/socket",), 404, None), (("/%2e%2e/secret.txt",), 404, None),
        (("/.hidden",), 404, None), (("/latin%E9.txt",), 200, b"no UTF-8"),
        (("/digits", "Range: bytes=2-4"), 206, b"234"),
        (("/digits", "Range: bytes=99-"), 416, None),
        (("/big.bin", "Range: bytes=-100000"), 206, large[-100000:]),
        (("/digits", "If-None-Match: *"), 304, b""),
        (("/big.bin",), 200, large), (("/empty.txt",), 200, b"")]
    for target in ("/link-out", "/link-out-folder/secret.txt", "/link-loop",
                   "/link-out-absolute", "/link-hidden"):
        rows.append(((target,), 404, None))
    with Wire(running.port) as wire:
        for request, status, content in rows:
            answer = wire.get(*request)
            assert answer.status == status, request
            assert content in (None, answer.content), request
        names = wire.get("/list/").content
        assert b"b.txt" in names and b"link-in" in names
        assert b"link-out" not in names and b".dot" not in names
        answer = wire.get("/coded/script.js", "Accept-Encoding: gzip")
        assert gzip.decompress(answer.content) == SCRIPT
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(30)]
        for wire in wires:      # pipelined, and the last one half-closed
            wire.send(request_for("/big.bin") + request_for("/probe.txt"))
        wire.sock.shutdown(socket.SHUT_WR)
        for wire in wires:
            assert wire.response().content == large
            assert wire.response().content == PROBE
        wire.end()
    with Wire(running.port) as wire:
        assert wire.send(b"GET / HTTP/1.1\n\n").response().status == 400
        wire.end()
    assert len(running.log(len(rows) + 2 + 60 + 1)) == len(rows) + 63


# Pieces of what spoils a response.
SPOILED = [b"", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b"0", b"\0",
           b"\xff", b"-1", b"9" * 20, b"f" * 17, b"HTTP/1.1 200 OK\r\n",
           b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
           b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n\r\n", b'"', b"<a href=",
           b"[", b"]", b"{", b",", b'{"name": "x"}', b"&#x2f;", b"%2F", b"\\u"]


def spoiled(chance, good):
    """Return one of *good*, with a few changes."""
    data = bytearray(chance.choice(good))
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        start = chance.randrange(len(data) + 1)
        stop = start + chance.choice((0, 0, 1, 2, 8))
        data[start:stop] = chance.choice(
            [*SPOILED, bytes([chance.randrange(256)]), data[start:stop] * 2])
    return bytes(data)


def decode_all(decoder, data, size):
    """Return what *decoder* makes of *data*, fed in pieces."""
    return b"".join(bytes(decoder.decode(memoryview(data[n:n + size])))
                    for n in range(0, len(data), size))


def read_response(chance, data):
    """Read *data* as httpget.py does; return what came of it."""
    length = httpget.head_length(data, 0)
    if not length:
        return "no end"
    head = httpget.parse_head(data[:length])
    fields = head.fields
    size = httpget.body_length("GET", head.status, fields)
    decoder = httpget.make_decoder(size)
    rest = data[length:]
    content = decode_all(decoder, rest, chance.choice((1, 7, 1000)))
    assert len(content) <= len(rest) and decoder.count == len(content)
    have = httpget.Have(*chance.choice(((0, 0), (5, 0), (5, 5), (7, 5))),
                        chance.choice(("", ETAG, DATE)),
                        chance.choice((None, 7, 10)))
    what, skip, left = httpget.plan(
        head.status, fields, None if size < 0 else size,
        "content-encoding" in fields, have)
    assert what in range(3) and skip >= 0 and (left is None or left >= 0)
    assert what != httpget.RESTART or head.status != 206
    httpget.parse_digest(fields.get("repr-digest", ""))
    return what


RESPONSES = [head for head, _, _ in HEADS] + [
    CHUNKED_HEAD + chunks for chunks, _, _ in CHUNKS if len(chunks) < 200] + [
    ok(b"hello", *fields) for fields in (
        [b"ETag: " + ETAG.encode()], [b"Repr-Digest: sha-256=:%s=:"
                                      % (b"A" * 43)],
        [b"Date: " + DATE.encode(), b"Last-Modified: " + EARLIER.encode()],
        [b"Content-Encoding: gzip"])] + [
    b"HTTP/1.1 206 \r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n"
    b"ETag: %s\r\n\r\n56789" % ETAG.encode(),
    b"HTTP/1.1 416 \r\nContent-Range: bytes */4\r\n\r\n"]


def test_fuzz_responses():
    """Whatever a server sends: an answer, or ResponseError."""
    chance = random.Random(FUZZ_SEED)
    seen = {}
    for number in range(FUZZ_HEADS // 2):
        data = spoiled(chance, RESPONSES)
        try:
            what = read_response(chance, data)
        except httpget.ResponseError as exc:
            assert httpget.printable(str(exc)) == str(exc)
            what = "refused"
        except Exception as exc:
            pytest.fail("%r, FUZZ_SEED=%d, number %d: %r" % (
                exc, FUZZ_SEED, number, data))
        seen[what] = seen.get(what, 0) + 1
    assert min(seen.get(what, 0) for what in (
        "no end", "refused", httpget.APPEND, httpget.RESTART,
        httpget.AGAIN)) > FUZZ_HEADS // 10000, seen


LISTINGS = [
    b'[{"name": "a b", "type": "file", "mtime": "%s", "size": 5},\n'
    b'{"name": "d/", "is_dir": true}]' % DATE.encode(), b"[]",
    b"[" * 5000, b"<a href=\"x%2Fy\">x</a> <a href='../'>up</a> <A HREF=z/>z"
    b"</A><a title=1 href=\"http://other/q\">q</a><a href=\"?C=N\">N</a>"
    b"<base href=./><img src=p/q/r srcset='s 2x, t/u'>"]


def test_fuzz_listings():
    """Each entry is one name of the folder, however the page is spoiled."""
    chance = random.Random(FUZZ_SEED)
    url = httpget.parse_url("http://example.org/folder/")
    counts = [0, 0]
    for number in range(FUZZ_HEADS // 5):
        text = spoiled(chance, LISTINGS).decode("latin-1")
        told = "FUZZ_SEED=%d, number %d: %r" % (FUZZ_SEED, number, text)
        for parse in (httpget.parse_json_listing,
                      lambda text: httpget.parse_html_listing(text, url)):
            try:
                for entry in parse(text):
                    counts[0] += 1
                    name = httpget.local_name(entry.name)
                    assert not set(name) & set("/\0\n\x1b"), told
                    assert name not in ("", ".", "..") or not entry.name, told
                    assert entry.size is None or isinstance(entry.size, int)
            except httpget.ResponseError:
                counts[1] += 1
            except Exception as exc:
                pytest.fail("%r, %s" % (exc, told))
    assert min(counts) > FUZZ_HEADS // 100, counts


TARGETS = [b"/", b"/a/b%20c?x=y", b"/%2e%2e/x", b"/a/../b/./c/", b"//a//b",
           b"/%C3%A9/%FF", b"http://a/b", b"/a%00b", b"/.well-known/x",
           b"/con.txt::$DATA", b"/a%5cb"]
TARGET_PIECES = [b"/", b"..", b".", b"%2e", b"%2E%2e/", b"%2f", b"%5c", b"\\",
                 b"%", b"%%", b"%0", b"%00", b"%0d%0a", b"?", b"#", b":",
                 b"%c0%ae", b"\xff", b"~", b"http://", b"a" * 40, b"%u002e"]


@pytest.mark.parametrize("windows", [False, True])
def test_fuzz_targets(windows):
    """No target leads above the root, or to a name that is none."""
    chance = random.Random(FUZZ_SEED)
    counts = {}
    for number in range(FUZZ_HEADS // 2):
        data = bytearray(chance.choice(TARGETS))
        for _ in range(chance.choice((1, 1, 2, 4))):
            start = chance.randrange(len(data) + 1)
            data[start:start + chance.choice((0, 1, 3))] = chance.choice(
                TARGET_PIECES)
        told = "FUZZ_SEED=%d, number %d: %r" % (FUZZ_SEED, number,
                                                bytes(data))
        match = httpd.TARGET.fullmatch(data.decode("latin-1"))
        if not match:
            continue
        result = outcome(httpd.path_segments, match.group(1) or "/", windows)
        status = result if isinstance(result, int) else 200
        counts[status] = counts.get(status, 0) + 1
        if status == 200:
            segments, _ = result
            for name in segments:
                assert name not in (b"", b".", b".."), told
                assert b"/" not in name and b"\0" not in name, told
                assert not windows or not set(name) & set(b"\\:"), told
            location = httpd.absolute_path(segments, True)
            assert re.fullmatch("/([!-.0-~]+/)*", location), told
            assert not location.startswith("//"), told
    assert set(counts) == {200, 400, 404}, counts


# Requests of which a proxy and a server have disagreed where they end.
SMUGGLED = b"GET /folder?smuggled-## HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED_END = b"0\r\n\r\n"


def smuggling(*fields, **settings):
    """Return a GET with *fields*, its content, and what it hides."""
    content = settings.get("content", CHUNKED_END + SMUGGLED)
    return (b"GET /folder?first-## HTTP/1.1" + settings.get("end", b"\r\n")
            + b"Host: a\r\n" + b"".join(
                field + b"\r\n" for field in fields) + b"\r\n" + content)


SMUGGLING = [
    (smuggling(content=SMUGGLED), "pipelined, which is no smuggling"),
    (smuggling(b"Content-Length: 0", content=SMUGGLED), "length 0"),
    (smuggling(b"Content-Length: %d" % len(SMUGGLED), content=SMUGGLED),
     "length"),
    (smuggling(b"Content-Length: 5", b"Transfer-Encoding: chunked"), "CL.TE"),
    (smuggling(b"Transfer-Encoding: chunked", b"Content-Length: 5"), "TE.CL"),
    (smuggling(b"Content-Length: 0", b"Content-Length: 5"), "two lengths"),
    (smuggling(b"Content-Length: 5, 0"), "two lengths in one"),
    (smuggling(b"Content-Length: 5", b"Content-Length: 5"), "equal lengths"),
    (smuggling(b"Content-Length: +5"), "sign"),
    (smuggling(b"Content-Length: -5"), "negative length"),
    (smuggling(b"Content-Length: 0x5"), "hexadecimal length"),
    (smuggling(b"Content-Length: 5 "), "space behind the length"),
    (smuggling(b"Content-Length : 5"), "space before the colon"),
    (smuggling(b"Content-Length:\x0b5"), "vertical tab in the length"),
    (smuggling(b"Content-Length: 99999999999999999999"), "huge length"),
    (smuggling(b"Content_Length: 5"), "underscore"),
    (smuggling(b"Transfer-Encoding: chunked"), "chunked"),
    (smuggling(b"Transfer-Encoding : chunked", b"Content-Length: 5"),
     "space before the colon of the coding"),
    (smuggling(b"Transfer-Encoding: xchunked", b"Content-Length: 5"),
     "other coding"),
    (smuggling(b"Transfer-Encoding:\x0bchunked", b"Content-Length: 5"),
     "vertical tab before the coding"),
    (smuggling(b"Transfer-Encoding: chunked\x00", b"Content-Length: 5"),
     "NUL behind the coding"),
    (smuggling(b"Transfer-Encoding: \"chunked\"", b"Content-Length: 5"),
     "coding in quotes"),
    (smuggling(b"Transfer-Encoding: chunked, identity", b"Content-Length: 5"),
     "identity behind"),
    (smuggling(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
     "two codings"),
    (smuggling(b"Transfer-Encoding:", b" chunked"), "obs-fold"),
    (smuggling(b"X: y\rTransfer-Encoding: chunked"), "bare CR"),
    (smuggling(b"X: y\nTransfer-Encoding: chunked"), "bare LF"),
    (smuggling(b"X: y\n\nGET /folder?smuggled-## HTTP/1.1\nHost: a\n"),
     "LF LF"),
    (smuggling(b"\x20Transfer-Encoding: chunked"), "space before a name"),
    (smuggling(b"Transfer-Encoding: chunked", content=b"5;\n" + b"hello\r\n"
               + CHUNKED_END + SMUGGLED), "LF in an extension"),
    (smuggling(b"Transfer-Encoding: chunked", content=b"0\r\n\rX"
               + SMUGGLED), "CR behind the last chunk"),
    (smuggling(b"Transfer-Encoding: chunked", content=b"0x0\r\n\r\n"
               + SMUGGLED), "prefix of a chunk's size"),
    (smuggling(b"Transfer-Encoding: chunked", content=b"%x\r\n%s\r\n" % (
        2**64 + 1, b"a") + CHUNKED_END + SMUGGLED), "a chunk's size wraps"),
    (smuggling(b"Expect: 100-continue", b"Content-Length: 5"), "Expect"),
    (smuggling(b"Connection: content-length", b"Content-Length: %d"
               % len(SMUGGLED), content=SMUGGLED), "length named as a hop's"),
    (smuggling(b"Upgrade: h2c", b"Connection: Upgrade", content=SMUGGLED),
     "upgrade"),
    (smuggling(content=SMUGGLED, end=b"\n"), "request line ends with LF"),
]



FRONTS = {
    "haproxy": """
        defaults
            mode http
            timeout connect 2s
            timeout client 5s
            timeout server 5s
            http-reuse always
        frontend front
            bind 127.0.0.1:%(front)d
            http-request set-header User-Agent front
            default_backend httpd
        backend httpd
            server one 127.0.0.1:%(port)d
        """,
    "nginx": """
        daemon off; worker_processes 1; pid %(folder)s/pid; %(user)s
        error_log stderr crit; events { }
        http {
            access_log off; client_body_temp_path %(folder)s/1;
            proxy_temp_path %(folder)s/2; fastcgi_temp_path %(folder)s/3;
            uwsgi_temp_path %(folder)s/4; scgi_temp_path %(folder)s/5;
            upstream httpd { server 127.0.0.1:%(port)d; keepalive 4; }
            server {
                listen 127.0.0.1:%(front)d;
                location / {
                    proxy_pass http://httpd; proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    proxy_set_header User-Agent front;
                }
            }
        }"""}


@contextlib.contextmanager
def front_end(name, folder, port):
    """Run the proxy *name* before the server at *port*; give its port."""
    (front,) = free_ports(1)
    config = folder / "front"
    config.write_text(FRONTS[name] % {
        "front": front, "port": port, "folder": folder,
        "user": "" if os.geteuid() else "user root;"} + "\n")
    path = shutil.which(name, path=SBIN)
    command = {"haproxy": [path, "-db", "-f", str(config)],
               "nginx": [path, "-e", "stderr", "-p", str(folder), "-c",
                         str(config)]}
    with program(command[name], front):
        yield front


@pytest.mark.parametrize("name", sorted(FRONTS))
def test_no_request_is_smuggled_past_a_front_end(site, tmp_path, name):
    """It and the server agree where each request ends.

    What the front end takes for a request has its User-Agent: one that only
    the server sees has not.  And each client gets its own answers, which
    tell by Location what was asked.
    """
    if not shutil.which(name, path=SBIN):
        pytest.skip(name + " is not installed")
    with Running(site, "-b", "127.0.0.1") as running, front_end(
            name, tmp_path, running.port) as front:
        for number, (data, why) in enumerate(SMUGGLING):
            mark = b"%02d" % number
            received = b""
            with Wire(front) as wire, contextlib.suppress(ConnectionError):
                wire.send(data.replace(b"##", mark))
                wire.sock.shutdown(socket.SHUT_WR)
                for block in wire.rest():
                    received += block
            answered = re.findall(rb"[Ll]ocation: \S*/folder/\?(\S+)",
                                  received)
            assert answered == [b"first-" + mark, b"smuggled-" + mark
                                ][:len(answered)], (why, received)
            with Wire(front) as wire:
                answer = wire.get(b"/folder?next-" + mark)
                assert answer.fields["location"].endswith(
                    "/folder/?next-%02d" % number), (why, answer.head)
        running.logged("next-%02d" % number)
        lines = running.log_lines()
    seen = [re.search(r"\?(\S+)", line).group(1) for line in lines
            if '" 301 ' in line]
    assert len(set(seen)) == len(seen) >= len(SMUGGLING)
    for line in lines:
        assert line.endswith(' "front"') or '" 400 ' in line, line


def test_readme_names_tests_that_there_are():
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
        text = file.read().split("### What its security rests on\n")[1]
    cells = re.findall(r"^\|.*\|.*\|(.*)\|$", text.split("\nand that")[0],
                       re.MULTILINE)
    names = re.findall("`([a-z0-9_]+)`", "".join(cells[2:]))
    assert len(names) > 25
    assert not [name for name in names if "test_" + name not in globals()]


# ---- Costs, counted ---------------------------------------------------------


class Counted(Scripted):
    """A socket whose calls go into a list."""

    def __init__(self, sock, calls):
        self.sock = sock
        self.calls = calls

    def recv(self, size, flags=0):
        self.calls.append("recv")
        return self.sock.recv(size, flags)

    def send(self, data, flags=0):
        self.calls.append("send")
        return self.sock.send(data, flags)


@pytest.fixture
def system_calls(site, monkeypatch):
    """The names of the system calls that a server in this process makes."""
    calls = []

    def count(owner, name):
        plain = getattr(owner, name)

        def counting(*args, **kwargs):
            calls.append(name)
            return plain(*args, **kwargs)
        monkeypatch.setattr(owner, name, counting)
    plain = httpd.Connection.__init__
    monkeypatch.setattr(
        httpd.Connection, "__init__", lambda self, server, sock, peer:
        plain(self, server, Counted(sock, calls), peer))
    for name in ("register", "modify", "unregister"):
        count(httpd.selectors.DefaultSelector, name)
    for name in ("stat", "lstat", "fstat", "open", "read", "write"):
        count(os, name)
    wait_until_settled(site / "probe.txt")
    return calls


def calls_until(server, calls, last):
    """Let *server* have turns until the call *last* was made; return all."""
    wait_until(lambda: last in calls or server._turn_once(), last)
    made = calls[:]
    del calls[:]
    return made


def test_system_calls_of_a_kept_answer(site, system_calls, tmp_path):
    """A small file asked for again: one recv, one send, one look at the file
    and one write of the log, however many clients ask."""
    log = os.open(str(tmp_path / "log"), os.O_WRONLY | os.O_CREAT)
    server = httpd.Server(str(site), 0, ["127.0.0.1"],
                          access_log=httpd.AccessLog(log))
    try:
        with Wire(port_of(server)) as one, Wire(port_of(server)) as two:
            for wire in (one, two):
                wire.send(request_for("/probe.txt"))
                wait_until(lambda wire=wire: wire.has_input()
                           or server._turn_once(), "the first answer")
                wire.response()
            del system_calls[:]
            one.send(request_for("/probe.txt"))
            assert calls_until(server, system_calls, "write") == [
                "recv", "lstat", "send", "write"]
            one.response()
            for wire in (one, two):
                wire.send(request_for("/probe.txt"))
            assert calls_until(server, system_calls, "write") == [
                "recv", "recv", "lstat", "send", "send", "write"]
            for wire in (one, two):
                wire.response()
            one.send(request_for("/probe.txt") * 10)
            assert calls_until(server, system_calls, "write") == [
                "recv", "lstat", "send", "write"], "pipelined"
            for _ in range(10):
                assert one.response().content == PROBE
    finally:
        server.server_close()
        os.close(log)


def test_system_calls_of_a_kept_answer_over_tls(site, system_calls,
                                                certificate):
    """One recv and one send here, too: OpenSSL sees memory alone."""
    cert, key = certificate
    server = httpd.Server(str(site), 0, ["127.0.0.1"], tls_cert=cert,
                          tls_key=key)
    try:
        with TLSRecords(port_of(server), cert) as client:
            def send(data):
                client.sock.sendall(data)
                wait_until(lambda: select.select([client.sock], [], [], 0)[0]
                           or server._turn_once(), "an answer")
            client.sock.sendall(client.handshake(send))
            for _ in range(2):
                del system_calls[:]
                client.tls.write(request_for("/probe.txt"))
                answer = client._until_done(lambda: client.tls.read(65536),
                                            send)
                assert answer.endswith(PROBE)
            assert system_calls == ["recv", "lstat", "send"]
    finally:
        server.server_close()


def test_system_calls_of_a_connection_for_one_request(site, system_calls):
    """What has come with the connection is read without the selector."""
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    try:
        made = []
        for _ in range(2):
            with Wire(port_of(server)) as wire:
                wire.send(request_for("/probe.txt", "Connection: close"))
                del system_calls[:]
                made.append(calls_until(server, system_calls, "send"))
                assert wire.response().content == PROBE
                wire.end()
        assert made[1] == ["recv", "lstat", "send"]
        assert "register" not in made[0], "though nothing is known yet"
    finally:
        server.server_close()


LARGE = b"".join(b"%07d\n" % n for n in range(2 * httpd.SMALL // 8))


def open_files(folder):
    """Return how many files below *folder* this process has open."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of listdir()
            links.append(os.readlink("/proc/self/fd/" + fd))
    return len([link for link in links if link.startswith(str(folder) + "/")])


needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"),
    reason="only Linux lists open files in /proc")


def closed_within(seconds, folder):
    """Return whether no file below *folder* is open any more by then."""
    end = time.monotonic() + seconds
    while open_files(folder):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@needs_proc
def test_large_file_is_opened_once_in_a_second(tmp_path, system_calls):
    """For all that ask; it is looked at in each turn, and a new one opened."""
    (tmp_path / "large").write_bytes(LARGE)
    (tmp_path / "new").write_bytes(LARGE[::-1])
    wait_until_settled(tmp_path / "new")
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            def looks():
                """Answer two requests in one second; return the calls."""
                while True:
                    second = server._second
                    answers = [wire.get("/large")]
                    del system_calls[:]
                    answers.append(wire.get("/large"))
                    calls = [name for name in system_calls
                             if name.endswith("stat") or name == "open"]
                    if server._second == second:
                        return calls, answers
            calls, answers = looks()
            assert calls == ["lstat"]
            assert [answer.content for answer in answers] == [LARGE] * 2
            os.rename(str(tmp_path / "new"), str(tmp_path / "large"))
            assert wire.get("/large").content == LARGE[::-1]
            assert open_files(tmp_path) <= 1, "the old one is closed"
            os.remove(str(tmp_path / "large"))
            assert closed_within(3, tmp_path), "though nobody asks for more"
            assert wire.get("/large").status == 404


@needs_proc
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_open_large_files_are_few(tmp_path, method):
    """However many are asked for, and the least lately opened go first."""
    for number in range(3 * httpd.KEPT_FILES):
        (tmp_path / str(number)).write_bytes(LARGE)
    wait_until_settled(tmp_path / str(number))
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"], head=True) as server:
        with Wire(port_of(server)) as wire:
            for number in range(3 * httpd.KEPT_FILES):
                wire.send(request_for("/%d" % number, method=method))
                answer = wire.response(method)
                assert answer.fields["content-length"] == str(len(LARGE))
                assert open_files(tmp_path) <= httpd.KEPT_FILES
            assert closed_within(3, tmp_path)


@needs_proc
def test_clients_of_a_large_file_share_its_descriptor(tmp_path):
    """Whatever part they ask for, in answers that are not kept.

    Else each client takes two descriptors, and half as many find room.
    """
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 26)
    with Running(tmp_path) as running, contextlib.ExitStack() as stack:
        before = running.descriptors()
        wires = [stack.enter_context(Wire(running.port)) for _ in range(20)]
        for number, wire in enumerate(wires):
            wire.send(request_for("/large", "Range: bytes=%d-" % number))
            assert b" 206 " in wire.head()
        assert running.descriptors() == before + len(wires) + 1
        for number, wire in enumerate(wires[:2]):
            assert len(wire._take((1 << 26) - number)) == (1 << 26) - number


@needs_proc
def test_large_file_is_closed_in_time_whatever_else_is_due(tmp_path):
    """The time of another client that says nothing ends meanwhile."""
    (tmp_path / "large").write_bytes(LARGE)
    wait_until_settled(tmp_path / "large")
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"],
                      request_timeout=0.3) as server:
        with Wire(port_of(server)) as wire, Wire(port_of(server)) as silent:
            while not open_files(tmp_path):
                assert wire.get("/large").content == LARGE
            silent.end()
            assert closed_within(3, tmp_path)


def test_slow_reader_of_a_large_file_that_is_replaced(tmp_path):
    """It gets the old one whole, while others get the new one."""
    old = LARGE * (64 * httpd.MIB // len(LARGE))
    (tmp_path / "large").write_bytes(old)
    (tmp_path / "new").write_bytes(LARGE)
    wait_until_settled(tmp_path / "new")
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as slow, Wire(port_of(server)) as other:
            slow.send(request_for("/large")).head()
            assert other.get("/large").content == old
            os.rename(str(tmp_path / "new"), str(tmp_path / "large"))
            assert other.get("/large").content == LARGE
            second = server._second
            wait_until(lambda: other.get("/large").content == LARGE
                       and server._second != second, "another second")
            assert slow._take(len(old)) == old
            assert slow.get("/large").content == LARGE


def test_head_of_a_large_file_in_another_second(tmp_path):
    """It is the same but for its date, and nothing follows it."""
    (tmp_path / "large").write_bytes(LARGE)
    wait_until_settled(tmp_path / "large")
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"], head=True) as server:
        with Wire(port_of(server)) as wire:
            def another():
                wire.send(request_for("/large", method="HEAD"))
                answer = wire.response("HEAD")
                assert answer.fields["content-length"] == str(len(LARGE))
                return answer.fields["date"]
            first = another()
            wait_until(lambda: another() != first, "another second")
            assert wire.get("/large").content == LARGE


def test_place_for_who_has_been_sending_a_head_for_longest(site):
    """At capacity, also where the rest of its head came with another one."""
    with httpd.Server(str(site), 0, ["127.0.0.1"],
                      max_connections=1) as server:
        with Wire(port_of(server)) as first, Wire(port_of(server)) as next_:
            first.send(request_for("/probe.txt") + b"GET / HTT")
            assert first.response().content == PROBE
            began = time.monotonic()
            assert next_.get("/probe.txt").content == PROBE
            assert time.monotonic() - began < 4


def test_listening_that_fails_is_tried_again(site, capfd, monkeypatch):
    """epoll is out of watches for the listeners, once there is room again."""
    monkeypatch.setattr(httpd, "PAUSE", 0.1)
    plain = httpd.selectors.DefaultSelector.register
    faults = []

    def register(selector, fileobj, events, data=None):
        if isinstance(data, httpd.Listener) and faults:
            raise faults.pop()
        return plain(selector, fileobj, events, data)
    monkeypatch.setattr(httpd.selectors.DefaultSelector, "register", register)
    with httpd.Server(str(site), 0, ["127.0.0.1"],
                      max_connections=1) as server:
        with Wire(port_of(server)) as one:
            one.send(b"GET /pro")
            wait_until(lambda: any(server.connections), "a client")
            with Wire(port_of(server)) as two:
                wait_until(lambda: not server._accepting, "a full house")
                faults += [OSError(errno.ENOSPC, "no watches left")] * 2
                one.sock.close()
                assert two.get("/probe.txt").content == PROBE
    assert not faults
    error = capfd.readouterr().err
    assert error.count("httpd.py: cannot listen for a moment: ") == 2
    assert error.count("\n") == 2


def test_kept_files_give_way_to_others(tmp_path, monkeypatch):
    """Before a 503 for lack of descriptors they are closed."""
    for name in ("large", "other"):
        (tmp_path / name).write_bytes(LARGE)
    wait_until_settled(tmp_path / "other")
    plain = os.open

    def scarce_open(path, *args, **kwargs):
        if server._kept_files:
            raise OSError(errno.EMFILE, "too many open files")
        return plain(path, *args, **kwargs)
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            while not server._kept_files:
                assert wire.get("/large").content == LARGE
            monkeypatch.setattr(os, "open", scarce_open)
            assert wire.get("/other").content == LARGE


def test_client_that_leaves_while_its_answer_is_prepared(tmp_path):
    """Its request is logged once."""
    (tmp_path / "large").write_bytes(bytes(200 * httpd.MIB))
    wait_until_settled(tmp_path / "large")
    log = os.open(str(tmp_path / "log"), os.O_RDWR | os.O_CREAT)
    with httpd.Server(str(tmp_path), 0, ["127.0.0.1"],
                      access_log=httpd.AccessLog(log)) as server:
        with Wire(port_of(server)) as wire:
            wire.send(request_for("/large", "Want-Repr-Digest: sha-256=1"))
            wait_until(lambda: server.connections[httpd.PREPARING], "a job")
            reset(wire.sock)
        wait_until(lambda: not any(server.connections), "its end")
    assert os.pread(log, 4096, 0).count(b"\n") == 1
    os.close(log)


def test_bug_in_a_request_behind_another(site, tmp_path, capfd, monkeypatch):
    """The answer before it that was not yet sent is logged as cut off."""
    plain = httpd.Server.answer_to

    def answer_to(server, data, connection):
        assert b"/bug" not in data, "a bug"
        return plain(server, data, connection)
    monkeypatch.setattr(httpd.Server, "answer_to", answer_to)
    log = os.open(str(tmp_path / "log"), os.O_RDWR | os.O_CREAT)
    with httpd.Server(str(site), 0, ["127.0.0.1"],
                      access_log=httpd.AccessLog(log)) as server:
        with Wire(port_of(server)) as wire:
            wire.send(request_for("/probe.txt") + request_for("/bug"))
            wire.end()
    assert b'"GET /probe.txt HTTP/1.1" 200 0 ' in os.pread(log, 4096, 0)
    os.close(log)
    assert "AssertionError: a bug" in capfd.readouterr().err


def test_what_the_end_cuts_off_is_logged(site, tmp_path):
    """By server_close() alone, too."""
    log = os.open(str(tmp_path / "log"), os.O_RDWR | os.O_CREAT)
    server = httpd.Server(str(site), 0, ["127.0.0.1"],
                          access_log=httpd.AccessLog(log))
    with Wire(port_of(server)) as wire:
        wire.send(request_for("/big.bin"))
        wait_until(lambda: server.connections[httpd.SENDING]
                   or server._turn_once(), "a client that is behind")
        server.server_close()
    assert re.search(rb'"GET /big.bin HTTP/1.1" 200 [0-9]+ ',
                     os.pread(log, 4096, 0))
    os.close(log)


@pytest.mark.skipif(PYPY, reason="it has no tracemalloc")
@pytest.mark.parametrize("fields,path", [
    (b"", b"/"), (b"", b"/" + b"\xff" * 1800),
    (b"".join(b"a%d:\r\n" % n for n in range(98)), b"/"),
    (b"Cookie: " + b"c" * 1800 + b"\r\n", b"/")],
    ids=["short", "escaped", "many fields", "one long field"])
def test_memory_for_known_heads_is_bounded(site, fields, path):
    """They take about what they are counted for, whatever is in them."""
    import tracemalloc
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    try:
        tracemalloc.start()
        number = 0
        while number == len(server.known):
            head = b"GET %s?%d HTTP/1.1\r\nHost: h\r\n%s\r\n" % (
                path, number, fields)
            server._know(head, httpd.parse_request(head))
            number += 1
            assert number * httpd.KNOWN_OBJECTS <= httpd.KNOWN_MAX
        for head in server.known.values():  # as if each had been answered
            head.log_rest = httpd.combined_rest("x" * 26, head, 200, 1)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        server.server_close()
    assert taken < 1.2 * httpd.KNOWN_MAX
    assert number > 500


def test_what_is_kept_is_bounded(site, monkeypatch):
    monkeypatch.setattr(httpd, "KEPT_MAX", 64 * 1024)
    wait_until_settled(site / "probe.txt")
    with httpd.Server(str(site), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            for i in range(50):
                assert wire.get("/probe.txt?%d" % i).content == PROBE
            assert 1 < len(server.kept) < 50
            assert server._kept_size <= httpd.KEPT_MAX
            assert server._kept_size == sum(
                httpd.kept_size(*item) for item in server.kept.items())


def test_what_is_long_is_not_kept(site):
    wait_until_settled(site / "probe.txt")
    with httpd.Server(str(site), 0, ["127.0.0.1"]) as server:
        with Wire(port_of(server)) as wire:
            assert wire.get("/probe.txt", 'If-None-Match: "%s"' % (
                httpd.KNOWN_HEAD_MAX * "x")).content == PROBE
            assert (len(server.known), len(server.kept)) == (0, 0)
            assert wire.get("/probe.txt").content == PROBE
            assert (len(server.known), len(server.kept)) == (1, 1)


def test_what_is_made_is_bounded():
    jobs = httpd.Jobs()
    for i in range(100):
        jobs.remember(i, bytes(httpd.MADE_MAX // 50))
    assert jobs.made(0) is None and jobs.made(99)
    assert sum(map(len, jobs._made.values())) <= httpd.MADE_MAX


def test_client_that_cannot_be_watched_is_sent_away(site, capfd, monkeypatch):
    """epoll is out of watches: one line, no traceback, the others go on."""
    server = httpd.Server(str(site), 0, ["127.0.0.1"])
    plain = httpd.selectors.DefaultSelector.register
    faults = [OSError(errno.ENOSPC, "no watches left")]

    def register(selector, fileobj, events, data=None):
        if isinstance(data, httpd.Connection) and faults:
            raise faults.pop()
        return plain(selector, fileobj, events, data)
    monkeypatch.setattr(httpd.selectors.DefaultSelector, "register", register)
    try:
        with Wire(port_of(server)) as wire:
            wait_until(lambda: not faults or server._turn_once(), "a fault")
            wire.end()
        assert not any(server.connections)
        with Wire(port_of(server)) as wire:
            wait_until(lambda: any(server.connections)
                       or server._turn_once(), "another client")
            wire.send(request_for("/probe.txt"))
            wait_until(lambda: wire.has_input() or server._turn_once(),
                       "an answer")
            assert wire.response().content == PROBE
    finally:
        server.server_close()
    assert capfd.readouterr().err == (
        "httpd.py: a client is sent away: [Errno %d] no watches left\n"
        % errno.ENOSPC)


def test_memory_is_bounded_for_large_listings(tmp_path):
    """What may not be kept is kept nowhere."""
    for i in range(2000):
        (tmp_path / ("%060d" % i)).write_text("")
    with Running(tmp_path, "-q", flags=[]) as running:
        with Wire(running.port) as wire:
            for i in range(10):
                wire.get("/?%d" % i)
            before = running.memory()
            for i in range(10, 100):
                assert len(wire.get("/?%d" % i).content) > 2 * 10**5
            assert running.memory() - before < (64 if PYPY else 8) * 1024


def test_memory_is_flat_for_unique_targets(site):
    """Caches are bounded whatever clients think up."""
    with Running(site, "-q", flags=[]) as running:
        with Wire(running.port) as wire:
            def ask(first):
                for i in range(first, first + 20000, 50):
                    wire.send(b"".join(request_for("/digits?%0200d" % n)
                                       for n in range(i, i + 50)))
                    for _ in range(50):
                        wire.response()
            ask(0)
            before = running.memory()
            ask(20000)
            # PyPy's collector lets garbage wait for longer.
            assert running.memory() - before < (64 if PYPY else 8) * 1024


# Bounds that a test reaches soon.
SOON = "httpd.KNOWN_MAX = httpd.KEPT_MAX = httpd.MADE_MAX = httpd.MIB"


def ranges_at(start):
    """Return the Range of 30 parts, the first of them at *start*."""
    return "Range: bytes=" + ",".join(
        "%d-%d" % (first, first + 100)
        for first in range(start, start + 6000, 200))


# From the number of a request to its target and field lines.
CHOSEN = {
    "fields": lambda n: ("/digits", "X-%d: %01800d" % (n, n)),
    "values": lambda n: ("/digits", "Cookie: %01800d" % n),
    "tags": lambda n: ("/digits", 'If-None-Match: "%01000x"' % n),
    "range": lambda n: ("/64k", "Range: bytes=%d-%d" % (n, n + 5000)),
    "ranges": lambda n: ("/64k", ranges_at(n)),
    "ranges of a large file": lambda n: (
        "/large", "Range: bytes=%d-%d" % (n, n + 70000)),
    "codings": lambda n: ("/digits", "Accept-Encoding: x-%01000d, gzip;q=0.%03d"
                          % (n, n % 1000)),
    "coded files": lambda n: ("/text/%d.txt" % n,
                              "Accept-Encoding: gzip"),
}
CHOICES = dict.fromkeys(CHOSEN, 5000)
CHOICES.update({"coded files": 400, "range": 1000, "ranges": 1000,
                "ranges of a large file": 400})


@pytest.fixture(scope="module")
def chosen_from(tmp_path_factory):
    """A folder for clients that choose from it what they like."""
    root = tmp_path_factory.mktemp("chosen")
    (root / "digits").write_text("0123456789")
    (root / "64k").write_bytes(b"0123456789abcdef" * 4096)
    (root / "large").write_bytes(bytes(80000))
    (root / "text").mkdir()
    chance = random.Random(7)
    for n in range(CHOICES["coded files"]):
        (root / "text" / ("%d.txt" % n)).write_text(
            "%x" % chance.getrandbits(4 * 40000))
    return root


@pytest.mark.skipif(PYPY, reason="its collector lets garbage wait")
@pytest.mark.parametrize("choice", sorted(CHOSEN))
def test_memory_is_bounded_for(chosen_from, choice):
    """Whatever clients think up, no more of it is kept than the bounds say."""
    count = CHOICES[choice]
    with Running(chosen_from, "-q", prelude=SOON, flags=[]) as running, Wire(
            running.port) as wire:
        def ask(numbers):
            for start in numbers[::50]:
                wire.send(b"".join(request_for(*CHOSEN[choice](n))
                                   for n in range(start, start + 50)))
                for _ in range(50):
                    assert wire.response().status in (200, 206)
        descriptors = running.descriptors()
        ask(range(count // 4))
        before = running.memory("RssAnon")
        ask(range(count // 4, count))
        # Without their bounds they take from 3 to 14 MiB.
        assert running.memory("RssAnon") - before < 1024
        # Two for the connection and what it is being sent.
        assert running.descriptors() <= descriptors + httpd.KEPT_FILES + 2


@needs_scrypt
@pytest.mark.skipif(PYPY, reason="it has no tracemalloc")
def test_memory_for_wrong_passwords_is_bounded(tmp_path, monkeypatch):
    import tracemalloc
    monkeypatch.setattr(httpd, "REFUSED_MAX", 50)
    write_users(tmp_path / "users", {"me": "right"})
    users = httpd.Users(str(tmp_path / "users"))

    def ask(numbers):
        for n in numbers:
            request = httpd.parse_request(get(basic(
                "me", "%0900d" % n).encode()))
            with contextlib.suppress(httpd.NotReady):
                users.let_in(request, "192.0.2.1")
            users.check()
            assert not users.let_in(request, "192.0.2.1")
    tracemalloc.start()
    try:
        ask(range(100))
        before = tracemalloc.get_traced_memory()[0]
        ask(range(100, 500))
        # About 100 bytes each, if they were kept.
        assert tracemalloc.get_traced_memory()[0] - before < 10000
    finally:
        tracemalloc.stop()


# The kernel takes little, as over a slow way: the rest is with the server.
SLOW_WAY = """
import socket
class Slow(socket.socket):
    def accept(self):
        sock, address = super().accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 9000)
        return sock, address
socket.socket = Slow
"""


@pytest.mark.skipif(PYPY, reason="its collector lets garbage wait")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_memory_for_slow_readers_is_bounded(request, tmp_path, scheme):
    """64 KiB may wait to be sent; what else TLS takes is about 40 KiB."""
    with open(str(tmp_path / "large"), "wb") as file:
        file.truncate(10**8)
    options = []
    if scheme == "https":
        cert, key = request.getfixturevalue("certificate")
        options = ["--tls-cert", cert, "--tls-key", key]
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(Running(
            tmp_path, "-q", *options, flags=[], prelude=SLOW_WAY))

        def connect(count):
            for _ in range(count):
                wire = stack.enter_context(
                    TLSWire(running.port, cert) if options
                    else Wire(running.port))
                wire.send(request_for("/large"))
                wire.head()
        connect(20)
        before = running.memory("RssAnon")
        connect(100)
        assert running.memory("RssAnon") - before < 100 * 80


# ---- Processes and command line ---------------------------------------------


def httpd_fails(*options, **settings):
    """Run httpd.py, which is to end by itself; return (status, message)."""
    prelude = settings.pop("prelude", None)
    program = [HTTPD] if prelude is None else [
        "-c", "import sys\nsys.path.insert(0, %r)\n%s\nimport httpd\n"
        "sys.exit(httpd.main())" % (HERE, prelude)]
    done = subprocess.run([sys.executable] + program + list(options),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE, **settings)
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


def test_failures_to_start_are_one_clear_line(server, tmp_path):
    port = str(server.port)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    for options, words in [
            ([port], ["127.0.0.1 port " + port, "in use", "another port"]),
            (["-d", "/nonexistent", "0"], ["/nonexistent"]),
            (["-qw1", "-d/nonexistent", "0"], ["/nonexistent"]),
            (["-d", str(tmp_path / "file"), "0"], ["file", "not a folder"]),
            (["-b", "192.0.2.1", "0"], ["192.0.2.1"]),
            (["-b", "no such host", "0"], ["no such host"]),
            (["--log-file", str(tmp_path / "link"), "0"], ["it is a link"]),
            (["--log-file", "/nonexistent/log", "0"], ["/nonexistent/log"])]:
        status, message = httpd_fails(*options)
        assert status == 1
        assert message.count("\n") == 1 and "Traceback" not in message
        for word in words:
            assert word in message


# A kernel without IPv6.
NO_IPV6 = """
import errno, socket
plain = socket.socket
class IPv4Socket(plain):
    def __init__(self, family=socket.AF_INET, *rest, **settings):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        super().__init__(family, *rest, **settings)
socket.socket = IPv4Socket
"""
# One for whom ports below 1024 are not.
NO_RIGHT = """
import errno, socket
plain = socket.socket
class Unprivileged(plain):
    def bind(self, address):
        raise PermissionError(errno.EACCES, "Permission denied")
socket.socket = Unprivileged
"""
ADDRESS = "without brackets or a port"
TWICE = "another --bind has it already"


@table("options, status, words, prelude", [
    (["-b", "127.0.0..1"], 1, ["at 127.0.0..1", "no name"], None, "dots"),
    (["-b", "a" * 64 + ".b"], 1, ["a.b", "no name"], None, "a long label"),
    (["-b", "a" * 300], 1, ["aaa", "no name"], None, "a long name"),
    (["-b", "\xfc..x"], 1, ["..x", "no name"], None, "dots, not in ASCII"),
    (["-b", "\udcff"], 1, ["no name"], None, "a byte that is no character"),
    (["-b", "unix:"], 1, ["unix:PATH"], None, "a socket without a path"),
    (["-b", "[::1]"], 1, ["at [::1]", ADDRESS], None, "brackets"),
    (["-b", "127.0.0.1:80"], 1, ["127.0.0.1:80", ADDRESS], None, "a port"),
    (["-b", "http://localhost/"], 1, [ADDRESS], None, "a URL"),
    (["-b", ""], 1, ["at ''", ADDRESS], None, "no address"),
    (["-b", "localhost", "-b", "127.0.0.1"], 1, ["at 127.0.0.1", TWICE], None,
     "a name and its address"),
    (["-b", "0.0.0.0", "-b", "127.0.0.1"], 1, ["at 127.0.0.1", TWICE], None,
     "one of all"),
    (["-b", "127.0.0.1", "-b", "0.0.0.0"], 1, ["at 0.0.0.0", TWICE], None,
     "all, after one of them"),
    (["-b", "::", "-b", "127.0.0.1"], 1, ["at 127.0.0.1", TWICE], None,
     "one of all, of the other family"),
    (["-b", "::"], 1, ["at ::", "no IPv6", "0.0.0.0"], NO_IPV6, "no IPv6"),
    (["-b", "127.0.0.1", "80"], 1, ["127.0.0.1 port 80: Perm", "try 8080"],
     NO_RIGHT, "a port that is root's"),
    (["-b", "127.0.0.1", "8080"], 1, ["127.0.0.1 port 8080: Perm"], NO_RIGHT,
     "no right to any"),
    (["--user", ""], 1, ["become ''", "no user"], None, "no user's name"),
    (["--log-file", ""], 1, ["access log ''"], None, "no log's name"),
])
def test_what_keeps_it_from_starting_is_said(options, status, words, prelude):
    """One line names the thing and the remedy."""
    if "::" in options and not prelude and not has_ipv6():
        pytest.skip("no IPv6")
    if not options[-1].isdigit():
        options = options + ["0"]
    found, message = httpd_fails(*options, prelude=prelude)
    assert (found, message.count("\n")) == (status, 1), message
    for word in words:
        assert word in message, message


def test_name_of_which_the_machine_lacks_one_address(site):
    """As `localhost` is, with ::1, where the kernel has no IPv6."""
    prelude = NO_IPV6 + (
        "info = socket.getaddrinfo\nsocket.getaddrinfo = lambda host, *rest:"
        " info('::1', *rest) + info('127.0.0.1', *rest)")
    with Running(site, "-b", "localhost", prelude=prelude) as running:
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt").content == PROBE


@pytest.mark.skipif(not sys.platform.startswith("linux"),
                    reason="others do not remove it")
@pytest.mark.parametrize("options", [[], ["-d", "."], ["-d", "x"]], ids=str)
def test_current_folder_that_is_gone(tmp_path, options):
    done = subprocess.run(
        ["sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"",
         "sh", sys.executable, HTTPD, "0"] + options, cwd=str(tmp_path),
        stderr=subprocess.PIPE, timeout=PATIENCE)
    message = done.stderr.decode()
    assert (done.returncode, message.count("\n")) == (1, 1), message
    assert "cannot serve %s: " % (options or ["", "."])[1] in message
    assert "-d DIR" in message
    assert options[1:] == ["x"] or "current folder is gone" in message


@pytest.mark.parametrize("closed", [[], [1], [0, 1]], ids=str)
def test_machine_without_dev_null(site, closed):
    """As a container may be; then no socket gets a closed one's number."""
    prelude = "import os\nos.devnull = '/nonexistent'\n" + "".join(
        "os.close(%d)\n" % fd for fd in closed)
    says = rb"(httpd\.py: [^\n]*log[^\n]*\n)*"
    with Running(site, prelude=prelude, flags=[], says=says) as running:
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt").content == PROBE
        assert not any("socket" in os.readlink("/proc/%d/fd/%d" % (
            running.pid, fd)) for fd in closed)


@pytest.mark.parametrize("options", [
    ["-1"], ["65536"], ["http"], ["--nonsense"], ["80", "81"],
    ["--dir", "."], ["--log-form=json"], ["--dotfile"],
    ["--log-format", "x"], ["--idle-timeout", "0"], ["--idle-timeout", "nan"],
    ["--max-connections", "0"], ["--request-timeout", "inf"],
    ["--workers", "0"], ["--workers", "257"], ["--workers", "all"],
    ["--trusted-proxy", "proxy"], ["--trusted-proxy", "10.0.0.1/8"]],
    ids=lambda options: " ".join(options))
def test_wrong_options_show_the_usage(options):
    status, message = httpd_fails(*options)
    assert status == 2
    assert message.startswith("usage: httpd.py") and "Traceback" not in message


def test_version_and_help():
    for program, name in ((HTTPD, "httpd.py"), (HTTPGET, "httpget.py")):
        done = subprocess.run([sys.executable, program, "--version"],
                              stdout=subprocess.PIPE, timeout=PATIENCE)
        assert done.stdout.decode() == "%s %s\n" % (name, httpd.__version__)
        done = subprocess.run([sys.executable, program, "-h"],
                              stdout=subprocess.PIPE, timeout=PATIENCE,
                              env=dict(os.environ, COLUMNS="80"))
        text = done.stdout.decode()
        assert done.returncode == 0
        assert max(map(len, text.splitlines())) <= 79
        examples = re.findall("^  python3 %s(.*?)  " % name,
                              text, re.MULTILINE)
        assert len(examples) >= 5
        for example in examples:
            words = example.partition("|")[0].split()
            if program == HTTPD:
                httpd.make_parser().parse_args(words)
            else:
                httpget.parse_arguments(words)


programs = pytest.mark.parametrize("module", [httpd, httpget],
                                   ids=["httpd", "httpget"])


def parser_of(module):
    """Return the parser of a program's command line."""
    return (httpd.make_parser() if module is httpd
            else httpget.make_parsers()[1])


def option_groups(parser):
    """Return {title: long names of the options} as --help has them."""
    return {group.title: ", ".join(max(action.option_strings, key=len)
                                   for action in group._group_actions)
            for group in parser._action_groups[2:]}


@programs
def test_docstring_names_the_options_of_help(module):
    """In the same groups, and in the same order."""
    paragraph = re.search("^Options, which --help explains\n(.*?)\n\n",
                          module.__doc__, re.DOTALL | re.MULTILINE).group(1)
    paragraph = re.sub(",\n +", ", ", paragraph)     # a group is a line
    named = dict(re.split("  +", line.strip())
                 for line in paragraph.splitlines())
    assert named == option_groups(parser_of(module))


def test_start_message(site):
    with Running(site) as running:
        lines = running.start_message.decode().splitlines()
        assert all(str(site) in line for line in lines[:-1])
        urls = [line.rpartition(" at ")[2] for line in lines[:-1]]
        for url in urls:
            with urllib.request.urlopen(url + "probe.txt") as response:
                assert response.read() == PROBE
        assert "http://127.0.0.1:%d/" % running.port in urls
        assert "--bind :: opens it" in lines[-1]
        assert len(lines[-1]) < 80
    with Running(site, "--bind", "0.0.0.0") as running:
        assert b"WARNING" in running.start_message
        assert (b"httpd.py: other machines find it at http://%s:%d/\n" % (
            httpd.own_address().encode(), running.port)
            ) in running.start_message
        if httpd.own_address() != socket.gethostname():
            with Wire(running.port, httpd.own_address()) as wire:
                assert wire.get("/probe.txt").content == PROBE


def test_own_address_without_a_network(monkeypatch):
    def unreachable(*_):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")
    monkeypatch.setattr(httpd.socket, "socket", unreachable)
    assert httpd.own_address() == socket.gethostname()


def warnings_of(folder, *options, **settings):
    """Return what the server warns of at its start."""
    with Running(folder, *options, **settings) as running:
        return re.findall(r"WARNING: (.*)\.\n",
                          running.start_message.decode())


def test_warning_of_what_is_exposed(tmp_path):
    """What was found is named; only when others can connect."""
    key = "-----BEGIN EC PRIVATE KEY-----\n"
    everybody = ("-b", "0.0.0.0")
    assert len(warnings_of(tmp_path, *everybody)) == 1
    for name, content in [
            ("server.key", key), ("id_ed25519", "x\n" + key), ("all.pem", key),
            ("cert.pem", "-----BEGIN CERTIFICATE-----"), ("talk.key", "x"),
            ("key.txt", key), (".env", "SECRET=1"), ("id_rsa.pub", key)]:
        (tmp_path / name).write_text(content)
    (tmp_path / ".git").mkdir()
    (tmp_path / "dir.pem").mkdir()
    os.mkfifo(str(tmp_path / "fifo.key"))
    assert warnings_of(tmp_path, *everybody)[0] == (
        "it holds .env, .git, all.pem, id_ed25519, server.key")
    assert warnings_of(tmp_path) == []
    (tmp_path / "a\x1b.pem").write_text(key)
    assert warnings_of(tmp_path, *everybody)[0] == (
        "it holds .env, .git, a\\x1b.pem, all.pem, id_ed25519 and 1 more")
    home = warnings_of(tmp_path, *everybody,
                       env=dict(os.environ, HOME=str(tmp_path)))
    assert home[0] == "it is a home folder"
    assert "it is the whole file system" in warnings_of("/", *everybody)


@pytest.mark.parametrize("options, warned", [
    (["--log-file", "{folder}/log"], True), (["--log-file", "{link}/log"], True),
    ([], True), (["-q"], False), (["--log-file", "{folder}/../log"], False)],
    ids=str)
def test_warning_of_a_log_that_is_served(tmp_path, options, warned):
    """By its name, through a link, and as a shell's `> log` makes it."""
    folder, link = tmp_path / "served", tmp_path / "link"
    folder.mkdir()
    link.symlink_to("served")
    with (folder / "log").open("ab") as log:
        found = warnings_of(folder, *[word.format(folder=folder, link=link)
                                      for word in options], stdout=log)
    if not sys.platform.startswith("linux") and not options:
        return      # nothing tells where standard output leads
    assert len(found) == warned
    if found:
        assert re.search("/log is in the folder that is served", found[0])


@pytest.mark.parametrize("address, hosts", [
    ("127.0.0.1", ["127.0.0.1"]), ("::1", ["::1"]),
    ("::", ["::1", "127.0.0.1"]), ("localhost", ["127.0.0.1"]),
    ("0.0.0.0", ["127.0.0.1", "127.0.0.2"])])
def test_bind(site, address, hosts):
    if ":" in address and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with Running(site, "--bind", address) as running:
        for host in hosts:
            with Wire(running.port, host) as wire:
                assert wire.get("/probe.txt?" + host).content == PROBE
            source = "127.0.0.1" if "." in host else host
            assert running.logged("?" + host).startswith(source + " ")


needs_unix_sockets = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="no such sockets here")


class UnixWire(Wire):
    """A raw connection to the socket at *path*."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(path))
        self.received = b""


@needs_unix_sockets
def test_bind_to_a_path(site, tmp_path):
    """Beside a port; the socket is its owner's and a group's alone."""
    path = tmp_path / "socket"
    with Running(site, "-b", "unix:%s" % path, "-b", "127.0.0.1",
                 "--log-format", "json") as running:
        assert ("at unix:%s\n" % path).encode() in running.start_message
        assert stat.S_IMODE(os.lstat(str(path)).st_mode) == 0o660
        with UnixWire(path) as wire, Wire(running.port) as other:
            for _ in range(2):
                assert wire.get("/probe.txt").content == PROBE
            entry = json.loads(running.log(2)[0])
            assert (entry["address"], entry["port"]) == ("unix:", None)
            assert other.get("/probe.txt").content == PROBE
    assert not path.exists()


@needs_unix_sockets
def test_stale_socket_is_replaced_and_a_live_one_refused(site, tmp_path):
    path = tmp_path / "socket"
    options = ["-b", "unix:%s" % path, "-b", "127.0.0.1"]
    dead = Running(site, *options)
    dead.stop(signal.SIGKILL)
    assert path.exists()
    with Running(site, *options):
        status, message = httpd_fails("-b", "unix:%s" % path)
        assert (status, message.count("\n")) == (1, 1)
        assert str(path) in message and "in use" in message
        with UnixWire(path) as wire:
            assert wire.get("/probe.txt").content == PROBE
        path.rename(tmp_path / "other")
        with Running(site, *options):
            pass
        path.write_text("another's")  # not to be removed at the end
    assert path.read_text() == "another's"


@needs_unix_sockets
def test_failures_to_listen_at_a_path(site, tmp_path):
    (tmp_path / "file").write_text("precious")
    for path, words in [(tmp_path / "file", "no socket"),
                        (tmp_path / "none" / "socket", "No such file"),
                        (tmp_path / ("s" * 200), "too long")]:
        status, message = httpd_fails("-b", "unix:%s" % path)
        assert (status, message.count("\n")) == (1, 1), message
        assert str(path) in message and words in message
    assert (tmp_path / "file").read_text() == "precious"
    # One that was made is removed when another address fails.
    status, _ = httpd_fails("-b", "unix:%s" % (tmp_path / "socket"),
                            "-b", "192.0.2.1")
    assert status == 1 and not (tmp_path / "socket").exists()


@needs_unix_sockets
def test_server_at_a_path_in_a_program(site, tmp_path):
    path = str(tmp_path / "socket")
    reader, writer = os.pipe()
    log = httpd.AccessLog(writer)
    with httpd.Server(str(site), bind="unix:" + path, access_log=log,
                      trusted_proxies=["unix:"]) as server:
        assert server.url == "unix:" + path
        with UnixWire(path) as wire:
            answer = wire.get("/probe.txt", "X-Forwarded-For: 192.0.2.1")
            assert answer.content == PROBE
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read().startswith(b"192.0.2.1 - - ")
    assert not os.path.exists(path)
    with pytest.raises(ValueError):
        httpd.Server(str(site), 0, trusted_proxies=["nonsense"])


def handing_over(sock, pid="os.getpid()", count="1"):
    """Return how httpd.py is to begin, to get *sock* as from systemd."""
    return {"pass_fds": [sock.fileno()], "prelude":
            "import os\nos.dup2(%d, 3)\nos.environ.update(LISTEN_PID=str(%s),"
            " LISTEN_FDS='%s')" % (sock.fileno(), pid, count)}


@needs("AF_UNIX")
@pytest.mark.skipif(not hasattr(socket, "SO_ACCEPTCONN"), reason="no systemd")
def test_sockets_of_systemd(site, tmp_path):
    """They win over --bind, and outlive the server: nobody is refused."""
    family = socket.AF_INET6 if has_ipv6() else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind(("::1" if has_ipv6() else "127.0.0.1", 0))
        sock.listen(8)
        host, port = sock.getsockname()[:2]
        with Running(site, "-b", "192.0.2.1", **handing_over(sock)) as running:
            assert running.port == port
            for _ in range(2):
                with Wire(port, host) as wire:
                    assert wire.get("/probe.txt").content == PROBE
            assert running.logged("probe").startswith(host + " ")
        with Wire(port, host) as early:
            early.send(request_for("/probe.txt"))
            with Running(site, **handing_over(sock)):
                assert early.response().content == PROBE
        # Meant for another process.  At the same address no other socket gets
        # this port by chance.
        with Running(site, "-b", host,
                     **handing_over(sock, pid=1)) as running:
            assert running.port != port
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(8)
        with subprocess.Popen(
                [sys.executable, "-c", handing_over(sock)["prelude"]
                 + "\nimport sys\nos.execv(sys.argv[1], sys.argv[1:])",
                 sys.executable, HTTPD, "-d", str(site)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=[sock.fileno()]) as process:
            with UnixWire(path) as wire:
                assert wire.get("/probe.txt").content == PROBE
            process.terminate()
            assert b"Traceback" not in process.communicate()[1]
        assert os.path.exists(path)     # it is systemd's


@pytest.mark.skipif(not hasattr(socket, "SO_ACCEPTCONN"), reason="no systemd")
def test_sockets_of_systemd_that_are_none(site):
    with socket.socket() as plain, socket.socket(
            type=socket.SOCK_DGRAM) as datagram, open(os.devnull) as file:
        for given, count, words in [
                (plain, "1", "descriptor 3"), (datagram, "1", "descriptor 3"),
                (file, "1", "descriptor 3"), (plain, "1_0", "'1_0'"),
                (plain, "-1", "'-1'"), (plain, "many", "'many'")]:
            settings = handing_over(given, count=count)
            done = subprocess.run(
                [sys.executable, "-c", "import sys; sys.path.insert(0, %r)\n"
                 "%s\nimport httpd\nsys.exit(httpd.main(['0']))"
                 % (HERE, settings["prelude"])], stderr=subprocess.PIPE,
                pass_fds=settings["pass_fds"], timeout=PATIENCE)
            message = done.stderr.decode()
            assert (done.returncode, message.count("\n")) == (1, 1), message
            assert "LISTEN_FDS" in message and words in message


def test_server_with_sockets_of_its_owner(site):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        with httpd.Server(str(site), sockets=[sock]) as server:
            assert port_of(server) == sock.getsockname()[1]
            with urllib.request.urlopen(server.url + "probe.txt") as response:
                assert response.read() == PROBE


def has_ipv6():
    """Return whether ::1 can be listened at."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_default_folder(tmp_path):
    """./htdocs where there is one, else the current folder."""
    (tmp_path / "here.txt").write_text("here")
    for expected in (tmp_path, tmp_path / "htdocs"):
        process = subprocess.Popen([sys.executable, HTTPD, "0"],
                                   stderr=subprocess.PIPE, cwd=str(tmp_path))
        line = process.stderr.readline().decode()
        process.terminate()
        process.communicate(timeout=PATIENCE)
        assert "serving %s at " % os.path.realpath(str(expected)) in line
        (tmp_path / "htdocs").mkdir(exist_ok=True)


def test_options_for_what_is_served(site):
    with Running(site, "--no-listing", "--dotfiles",
                 "--follow-symlinks") as running:
        with Wire(running.port) as wire:
            for target, status in [
                    ("/list/", 404), ("/.hidden", 200), ("/link-out", 200),
                    ("/.hidden-folder/x.txt", 200), ("/link-in", 200),
                    ("/link-out-folder/secret.txt", 200), ("/fifo", 404),
                    ("/link-hidden", 200), ("/link-loop", 404)]:
                assert wire.get(target).status == status, target
            assert b"secret" == wire.get("/link-out").content


def test_own_page_for_404(tmp_path):
    (tmp_path / "404.html").write_text("<title>Own page</title>")
    with Running(tmp_path) as running, Wire(running.port) as wire:
        for target in ("/nothing", "/a/b/c"):
            for _ in range(2):
                answer = wire.get(target)
                assert (answer.status, answer.content) == (
                    404, b"<title>Own page</title>")
        (tmp_path / "404.html").write_text("<title>Other page</title>")
        assert b"Other" in wire.get("/nothing").content


def test_copied_alone_and_from_standard_input(site, tmp_path):
    shutil.copy(HTTPD, str(tmp_path))
    for command, stdin in (
            [["httpd.py", "-d", str(site), "0"], None],
            [["-", "-d", str(site), "0"], HTTPD]):
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(open(stdin)) if stdin else None
            process = subprocess.Popen(
                [sys.executable, "-I"] + command, cwd=str(tmp_path),
                stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            line = process.stderr.readline()
            port = int(re.search(rb":([0-9]+)/", line).group(1))
            with Wire(port) as wire:
                assert wire.get("/probe.txt").content == PROBE
            process.send_signal(signal.SIGINT)
            out, messages = process.communicate(timeout=PATIENCE)
            assert b'"GET /probe.txt HTTP/1.1" 200 6' in out
            assert process.returncode == 0 and b"Traceback" not in messages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_finishes_what_is_in_flight(endless, number):
    """New clients are refused, idle ones closed, answers completed."""
    with Running(endless) as running:
        with Wire(running.port) as busy, Wire(running.port) as idle:
            idle.get("/nothing")
            busy.send(request_for("/big") + request_for("/nothing")).head()
            running.process.send_signal(number)
            idle.end()
            with pytest.raises(ConnectionRefusedError):
                Wire(running.port)
            assert running.process.poll() is None
            while len(busy.received) < BIG:
                busy._more()
            busy.received = busy.received[BIG:]
            assert busy.response().fields["connection"] == "close"
            busy.end()
        assert running.process.wait(PATIENCE) == 0
        assert len(running.log_lines()) == 3


def test_second_signal_stops_at_once(endless):
    with Running(endless) as running:
        with Wire(running.port) as busy:
            busy.send(request_for("/big")).head()
            running.process.send_signal(signal.SIGINT)

            def refused():
                try:
                    Wire(running.port).sock.close()
                except ConnectionRefusedError:
                    return True
                except ConnectionResetError:  # met the end on its way in
                    return False
            wait_until(refused, "the end of accepting")
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(PATIENCE) == 0


def test_free_port_that_is_taken_at_the_other_address(monkeypatch, site):
    plain, taken = httpd.listening_socket, []

    def unlucky(family, sockaddr):
        if sockaddr[1] and len(taken) < 3:
            taken.append(sockaddr)
            raise OSError(errno.EADDRINUSE, "taken")
        return plain(family, sockaddr)
    monkeypatch.setattr(httpd, "listening_socket", unlucky)
    with httpd.Server(str(site), 0, ["127.0.0.1", "127.0.0.2"]) as server:
        assert len(taken) == 3
        assert len({url.split(":")[2] for url in server.urls}) == 1
        for url in server.urls:
            urllib.request.urlopen(url).close()


def test_server_in_a_block_that_raises_does_not_wait(endless):
    with pytest.raises(ZeroDivisionError):
        with httpd.Server(str(endless), 0, "127.0.0.1") as server:
            with Wire(port_of(server)) as wire:
                wire.send(request_for("/big")).head()
                start = time.monotonic()
                1 / 0
    assert time.monotonic() - start < httpd.DRAIN_TIMEOUT / 2


def test_server_in_a_program(site):
    with httpd.Server(directory=str(site), port=0) as server:
        with urllib.request.urlopen(server.url + "probe.txt") as response:
            assert response.read() == PROBE
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    with pytest.raises(OSError):
        urllib.request.urlopen(server.url)


def test_server_as_of_socketserver(site):
    """serve_forever(), shutdown() and server_close() without `with`."""
    server = httpd.Server(str(site), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with urllib.request.urlopen(server.url + "probe.txt") as response:
        assert response.read() == PROBE
    server.shutdown()
    thread.join(PATIENCE)
    with pytest.raises(RuntimeError):
        server.serve_forever()      # stopped; its sockets are closed
    server.server_close()
    server.server_close()
    server.shutdown()


def test_closed_server_is_not_used_again(site):
    """It served nobody and said nothing."""
    with httpd.Server(str(site), 0, "127.0.0.1") as server:
        pass
    closed = httpd.Server(str(site), 0, "127.0.0.1")
    closed.server_close()
    for each in (server, closed):
        with pytest.raises(RuntimeError):
            each.serve_forever()
        with pytest.raises(RuntimeError):
            with each:
                pass
        for harmless in (each.server_close, each.shutdown, each.stop,
                         each.reload):
            harmless()


def test_both_programs_read_fields_alike():
    rows = [b"A: b", b"a:b", b"A : b", b" a: b", b"a", b": b", b"a:\tb \t",
            b"a: b\x00", b"a: b\rc", b"\xe9: b", b"a: \xe9", b"a: b\x7f",
            b"a;: b", b"x-y: 1", b"a: b\tc"]
    for first in rows:
        for second in rows:
            results = []
            for module, error in ((httpd, httpd.HTTPError),
                                  (httpget, httpget.ResponseError)):
                try:
                    results.append(module.parse_fields([first, second]))
                except error:
                    results.append("refused")
            assert results[0] == results[1], (first, second)


# ---- Rights -----------------------------------------------------------------

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")


@pytest.fixture
def open_folder():
    """A folder that every user can read; those above it, too."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with open(os.path.join(folder, "probe.txt"), "wb") as file:
            file.write(PROBE)
        yield folder


def identity(pid):
    """Return the real, effective, saved IDs of *pid*, and its groups."""
    with open("/proc/%d/status" % pid) as file:
        text = file.read()
    return [re.search(name + r":\s+(.*)", text).group(1).split()[:3]
            for name in ("Uid", "Gid")] + [
        set(re.search("Groups:(.*)", text).group(1).split())]


@needs("AF_UNIX")
@needs_root
@pytest.mark.parametrize("count", ["1", "2"])
def test_user(open_folder, tmp_path, count):
    """It has no right of root's, but the log and the socket it got as root."""
    import pwd
    account = pwd.getpwnam("nobody")
    path = os.path.join(open_folder, "socket")
    log = tmp_path / "log"
    private = os.path.join(open_folder, "private.txt")
    with open(private, "w"):
        os.chmod(private, 0o600)
    with Running(open_folder, "--user", "nobody", "-b", "127.0.0.1", "-w",
                 count, "-b", "unix:%s" % path, "--log-file", str(log),
                 preexec_fn=lambda: os.setgroups([0, 4])) as running:
        pids = [running.pid]
        if count != "1":
            pids += workers_of(running, int(count))
        for pid in pids:
            users, groups, others = identity(pid)
            assert users == [str(account.pw_uid)] * 3
            assert groups == [str(account.pw_gid)] * 3
            assert others <= {str(account.pw_gid)}
        assert os.stat(path).st_uid == account.pw_uid
        for wire in (Wire(running.port), UnixWire(path)):
            with wire:
                assert wire.get("/probe.txt").content == PROBE
                assert wire.get("/private.txt").status == 403
                wire.get("/", "Accept: application/json")
    assert log.read_text().count("\n") == 6


def test_what_is_imported_later_is_known():
    """Else it is missing where only root can read Python's own files."""
    with open(HTTPD) as file:
        tree = ast.parse(file.read())
    found = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add(node.module)
    # Needed before; ssl makes its context by then.
    assert found - {"argparse", "fcntl", "getpass", "pwd", "resource", "ssl",
                    "unicodedata"} == set(httpd.IMPORTED_LATER)


@needs("AF_UNIX")
@needs_root
def test_user_who_cannot_read_the_folder(open_folder):
    os.chmod(open_folder, 0o700)
    path = os.path.join(open_folder, "socket")
    status, message = httpd_fails("--user", "nobody", "-d", open_folder, "-b",
                                  "unix:" + path)
    assert (status, message.count("\n")) == (1, 1)
    assert "cannot serve " + open_folder in message


def test_users_that_one_cannot_become(site):
    rows = [("no such user", "no such user: there is no user"),
            ("root", "that is root")]
    if os.geteuid():
        rows.append(("nobody", "only root"))
    for name, words in rows:
        status, message = httpd_fails("--user", name, "0")
        assert (status, message.count("\n")) == (1, 1)
        assert words in message


@needs_root
def test_only_root_can_become_another_user(open_folder):
    shutil.copy(HTTPD, open_folder)
    done = subprocess.run(
        [sys.executable, "-c", "import sys, os\nsys.path.insert(0, %r)\n"
         "import httpd, argparse, gettext, locale, pwd, shutil\n"
         "httpd.make_parser().format_help()\nos.setuid(65534)\n"
         "sys.exit(httpd.main(['--user', 'nobody', '0']))" % HERE],
        stderr=subprocess.PIPE, timeout=PATIENCE)
    assert done.returncode == 1
    assert re.fullmatch(rb"httpd\.py: cannot become nobody: only root .*\n",
                        done.stderr)


# ---- Workers ----------------------------------------------------------------

needs_workers = pytest.mark.skipif(
    not os.path.exists("/proc/self/task") or not hasattr(os, "fork"),
    reason="needs fork() and /proc")


def children(pid):
    """Return the processes that *pid* has forked."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return set(map(int, file.read().split()))


def workers_of(running, count):
    """Return the workers of *running*, once there are *count*."""
    def workers():
        found = children(running.pid)
        return found if len(found) == count else None
    return wait_until(workers, "%d workers" % count)


def files_of(pid):
    """Return what *pid* has open, as /proc names it."""
    names = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(FileNotFoundError):    # closed meanwhile
            names.append(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
    return names


def sockets_of(pid):
    """Return how many sockets *pid* has open."""
    return sum(name.startswith("socket:") for name in files_of(pid))


def is_alive(pid):
    """Return whether *pid* is there, and no zombie."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@needs_workers
@pytest.mark.parametrize("burst", [False, True],
                         ids=["one by one", "at once"])
def test_workers_share_connections(site, burst):
    """64 within 60:40, and again when all of these are gone."""
    with Running(site, "--workers", "2", "-b", "127.0.0.1") as running:
        workers = workers_of(running, 2)
        assert running.start_message.count(b"serving") == 1
        with Wire(running.port) as wire:
            wire.get("/probe.txt")
        idle = {}

        def none_left():
            counts = {pid: sockets_of(pid) for pid in workers}
            return counts if (counts == idle if idle else len(
                set(counts.values())) == 1) else None
        for _ in range(2):
            idle = wait_until(none_left, "the end of all connections")
            if burst:
                for pid in workers:
                    os.kill(pid, signal.SIGSTOP)
            wires = []
            for _ in range(64):
                wires.append(Wire(running.port))
                if not burst:
                    assert wires[-1].get("/probe.txt").content == PROBE
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
            for wire in wires:
                assert wire.get("/probe.txt").content == PROBE
            counts = [sockets_of(pid) - idle[pid] for pid in workers]
            assert sum(counts) == 64
            assert min(counts) >= 64 * 0.4, counts
            for wire in wires:
                wire.sock.close()


@needs_workers
def test_connections_of_a_worker_that_hangs_are_taken_by_others(site):
    with Running(site, "--workers", "2") as running:
        stopped = workers_of(running, 2).pop()
        with Wire(running.port) as wire:
            wire.get("/probe.txt")
        os.kill(stopped, signal.SIGSTOP)
        wires = []
        for _ in range(40):
            wires.append(Wire(running.port))
            assert wires[-1].get("/probe.txt").content == PROBE
        os.kill(stopped, signal.SIGCONT)
        for wire in wires:
            wire.sock.close()


@needs_workers
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_worker_that_dies_is_replaced(site, number):
    """And those who are connected to the others notice nothing."""
    says = (rb"httpd\.py: worker [12] \(process %d\) [a-z 0-9]+; another takes"
            rb" its place in 0\.1 s\n")
    with Running(site, "--workers", "2", "-b", "127.0.0.1") as running:
        workers = workers_of(running, 2)
        wires = [Wire(running.port) for _ in range(20)]
        for wire in wires:
            assert wire.get("/probe.txt").content == PROBE
        victim = min(workers)
        running.says = says % victim
        os.kill(victim, number)
        wait_until(lambda: not is_alive(victim), "its end")
        ended = 0
        for wire in wires:
            try:
                assert wire.get("/probe.txt").content == PROBE
            except (AssertionError, ConnectionError):
                ended += 1
        assert 0 < ended < 20
        new = wait_until(lambda: children(running.pid) - workers, "another")
        for pid in workers - {victim}:
            os.kill(pid, signal.SIGSTOP)    # so the new one has to answer
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt").content == PROBE
        for pid in workers - {victim}:
            os.kill(pid, signal.SIGCONT)
        assert len(new) == 1
        for wire in wires:
            wire.sock.close()


@needs_workers
def test_workers_that_keep_dying_are_started_less_and_less_often(site):
    prelude = ("def fail(server, *args):\n raise SystemExit\n"
               "httpd.Server.become_worker = fail\nhttpd.tell_traceback = "
               "lambda: None")
    says = rb"(httpd\.py: worker [12] .* in [0-9.]+ s\n)*"
    with Running(site, "--workers", "2", prelude=prelude,
                 says=says) as running:
        waits = [re.search(rb"status 1; .* in ([0-9.]+) s\n",
                           running.process.stderr.readline()).group(1)
                 for _ in range(8)]
        assert sorted(waits) == [b"0.1"] * 2 + [b"0.2"] * 2 + [
            b"0.4"] * 2 + [b"0.8"] * 2


@needs_workers
def test_worker_that_cannot_be_forked_is_tried_again(site):
    prelude = ("import os\nfork, tries = os.fork, []\ndef fail():\n"
               " tries.append(1)\n if len(tries) in (1, 3):\n"
               "  raise OSError(11, 'no more processes')\n return fork()\n"
               "os.fork = fail")
    # The first of them may have been read with the start message.
    says = (rb"(httpd\.py: worker 1 cannot be started: no more processes;"
            rb" another takes its place in 0\.[12] s\n){0,2}")
    with Running(site, "--workers", "2", prelude=prelude,
                 says=says) as running:
        workers_of(running, 2)
        with Wire(running.port) as wire:
            assert wire.get("/probe.txt").content == PROBE


@needs_workers
def test_workers_end_when_their_supervisor_is_killed(site):
    running = Running(site, "--workers", "2")
    workers = workers_of(running, 2)
    with Wire(running.port) as wire:
        assert wire.get("/probe.txt").content == PROBE
        assert running.stop(signal.SIGKILL) == b""
        wire.end()
        for pid in workers:
            wait_until(lambda pid=pid: not is_alive(pid), "a worker's end")
        with pytest.raises(ConnectionRefusedError):
            Wire(running.port)


@needs_workers
@pytest.mark.parametrize("whom", ["supervisor", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_finish_what_is_in_flight(endless, number, whom):
    """Also where the signal comes to all of them, as with Ctrl-C."""
    with Running(endless, "--workers", "2", "-b", "127.0.0.1",
                 start_new_session=True) as running:
        workers_of(running, 2)
        with contextlib.ExitStack() as stack:
            busy = [stack.enter_context(Wire(running.port)) for _ in range(8)]
            for wire in busy:
                wire.send(request_for("/big")).head()
            idle = stack.enter_context(Wire(running.port))
            idle.get("/nothing")
            if whom == "group":
                os.killpg(running.pid, number)
            else:
                running.process.send_signal(number)
            idle.end()

            def refused():
                try:
                    Wire(running.port).sock.close()
                except ConnectionRefusedError:
                    return True
                except ConnectionResetError:
                    return False
            wait_until(refused, "the end of accepting")
            for wire in busy:
                assert running.process.poll() is None
                assert len(wire.received) + sum(map(len, wire.rest())) == BIG
        assert running.process.wait(PATIENCE) == 0


@needs_workers
def test_second_signal_stops_workers_at_once(endless):
    with Running(endless, "--workers", "2") as running:
        workers_of(running, 2)
        with Wire(running.port) as busy, Wire(running.port) as idle:
            busy.send(request_for("/big")).head()
            idle.get("/nothing")
            running.process.send_signal(signal.SIGTERM)
            idle.end()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(PATIENCE) == 0


@needs_workers
@pytest.mark.parametrize("where", ["pipe", "file", "redirected", "json"])
def test_log_lines_of_workers_never_mingle(site, tmp_path, where):
    """Long ones neither; into a pipe they are cut to fit."""
    count, clients = 40, 12
    path = tmp_path / "log"
    reader, writer = os.pipe()
    options = ["--workers", "3", "-b", "127.0.0.1"]
    if where == "file":
        options += ["--log-file", str(path)]
    if where == "json":
        options += ["--log-format", "json"]
    lines = []
    with contextlib.ExitStack() as stack:
        output = (stack.enter_context(path.open("wb"))
                  if where == "redirected" else writer)
        running = stack.enter_context(Running(site, *options, stdout=output))
        os.close(writer)

        def collect():
            with open(reader, "rb") as file:
                lines.extend(file)
        collector = threading.Thread(target=collect)
        collector.start()

        def ask(number):
            with Wire(running.port) as wire:
                for _ in range(count):
                    wire.send(b"".join(request_for(
                        "/probe.txt", "User-Agent: %d:%s" % (
                            number, str(size % 10) * size))
                        for size in (1, 900, 3800, 6000)))
                    for _ in range(4):
                        assert wire.response().content == PROBE
        threads = [threading.Thread(target=ask, args=(number,))
                   for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    collector.join()
    if where in ("file", "redirected"):
        with path.open("rb") as file:
            lines = list(file)
    assert len(lines) == count * clients * 4
    for line in lines:
        if where == "json":
            agent = json.loads(line.decode())["user_agent"]
        else:
            agent = re.fullmatch(
                rb'127\.0\.0\.1 - - \[[^]]*\] "GET /probe\.txt HTTP/1\.1" 200 6'
                rb' "-" "(.*)"\n', line).group(1).decode()
        assert re.fullmatch(r"[0-9]+:(1|0+(\.\.\.0+)?)", agent)


@needs_workers
def test_sighup_reopens_the_log_of_all_workers(site, tmp_path):
    """And that of one which is forked later."""
    path = tmp_path / "log"
    with Running(site, "--workers", "2", "--log-file", str(path),
                 says=rb"httpd\.py: worker [^\n]*\n") as running:
        workers = workers_of(running, 2)
        path.rename(tmp_path / "old")
        running.process.send_signal(signal.SIGHUP)

        def reopened():
            return all(str(path) in files_of(pid)
                       for pid in workers | {running.pid})
        wait_until(reopened, "the new log")
        os.kill(min(workers), signal.SIGKILL)
        new = wait_until(lambda: children(running.pid) - workers, "another")
        assert str(path) in files_of(new.pop())


@needs_workers
@needs_unix_sockets
def test_workers_at_a_path(site, tmp_path):
    """The socket is removed at the end of all, not of one."""
    path = tmp_path / "socket"
    with Running(site, "--workers", "2", "-b", "unix:%s" % path, "-b",
                 "127.0.0.1", says=rb"httpd\.py: worker .*\n") as running:
        workers = workers_of(running, 2)
        os.kill(min(workers), signal.SIGTERM)
        wait_until(lambda: children(running.pid) - workers, "another")
        with UnixWire(path) as wire:
            assert wire.get("/probe.txt").content == PROBE
    assert not path.exists()


@needs_workers
def test_stalled_log_reader_stalls_no_worker(site):
    """Neither where both have seen the same room in the pipe."""
    reader, writer = os.pipe()
    agent = "User-Agent: " + "a" * 3000
    says = rb"(httpd\.py: the access log has lost [0-9]+ lines\n)*"
    with Running(site, "--workers", "2", "-b", "127.0.0.1", stdout=writer,
                 says=says) as running:
        os.close(writer)
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(running.port))
                     for _ in range(16)]
            for _ in range(60):
                for wire in wires:
                    wire.send(request_for("/probe.txt", agent))
                for wire in wires:
                    assert wire.response().content == PROBE
    with open(reader, "rb") as file:
        lines = list(file)
    assert lines and all(line.endswith(b'a"\n') for line in lines)


def test_workers_need_fork(site):
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys\nsys.path.insert(0, %r)\n"
         "vars(os).pop('fork', 0)\nimport httpd\n"
         "sys.exit(httpd.main(['-w2', '0']))"
         % HERE], stderr=subprocess.PIPE, timeout=PATIENCE)
    assert done.returncode == 1
    assert re.fullmatch(rb"httpd\.py: cannot start 2 workers: .*\n", done.stderr)


# ---- Both programs together, and others -------------------------------------


def test_main_job(tmp_path):
    """What a new user does first."""
    process = subprocess.Popen(
        [sys.executable, HTTPD, "0"], cwd=HERE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    port = re.search(rb":([0-9]+)/", process.stderr.readline()).group(1)
    done = subprocess.run(
        [sys.executable, HTTPGET, "localhost", port.decode(), "index.html"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
    process.terminate()
    out, _ = process.communicate(timeout=PATIENCE)
    with open(os.path.join(HERE, "htdocs", "index.html"), "rb") as file:
        assert done.stdout == file.read()
    assert done.returncode == 0
    assert b"HTTP/1.1 200 OK" in done.stderr
    assert b'"GET /index.html HTTP/1.1" 200' in out


def readme():
    """Return README's text."""
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
        return file.read()


def readme_blocks(language):
    """Return the README's blocks of code in *language*."""
    return re.findall(r"^```%s\n(.*?)^```$" % language, readme(),
                      re.DOTALL | re.MULTILINE)


def readme_recipes():
    """Return {heading: its sh and console blocks} of README's sections."""
    recipes, language, heading = {}, None, ""
    for line in readme().splitlines():
        fence = re.fullmatch("```([a-z]*)", line)
        if fence:
            language = fence.group(1) if language is None else None
        elif language is None and line.startswith("#"):
            heading = line.lstrip("# ")
        elif language == "sh" or (language == "console"
                                  and line.startswith("$ ")):
            line = line[2:] if language == "console" else line
            recipes.setdefault(heading, []).append([line, language, []])
        elif language == "console":
            recipes[heading][-1][2].append(line)
    return recipes


RECIPES = readme_recipes()
# What differs from one run, or machine, to the next.
VARIES = [
    ("[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8}", "TIME"),
    ("[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8}", "TIME"),
    (r"from (\S+) port [0-9]+", r"from \1 port ANY"),
    ("[0-9.]+ (bytes|[KM]iB)/s", "SPEED"),
    (r"[0-9]+\.[0-9]+ s\b", "DURATION"),
    ('ETag: ".*"', "ETag"),
    ('" 200 [0-9]{3,} "', '" 200 SIZE "'),
    ("Content-Length: [0-9]{3,}", "Content-Length: SIZE"),
    ("index.html: [0-9]+ bytes|page.html: [0-9]+ bytes", "NAME: SIZE"),
]


def without_what_varies(text):
    """Return *text* with a word in place of each time, size and so on."""
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return text


class Recipe:
    """The commands of a section of README, run in a folder as a user would.

    Servers stay until the end of the block; the others must succeed unless
    they say what is shown.  Ports, and what stands for something that is not
    on every machine, are replaced in the commands; what they print is
    translated back.
    """

    def __init__(self, folder, commands):
        self.folder, self.commands = folder, commands
        self.servers = []
        ports = sorted(set(re.findall(r"(?<![\w:.])(?:[89][0-9]{3}|80)\b(?!\.)"
                                      r"|(?<=:)[89][0-9]{3}(?=/)",
                                      " ".join(c[0] for c in commands))))
        self.ports = dict(zip(ports, map(str, free_ports(len(ports)))))
        for name in ("httpd.py", "httpget.py"):
            shutil.copy(os.path.join(HERE, name), folder)
        for name in ("htdocs", "dist"):
            shutil.copytree(os.path.join(HERE, "htdocs"),
                            os.path.join(folder, name))
        os.mkdir(os.path.join(folder, "photos"))
        for name in ("one.jpg", "two.jpg"):
            with open(os.path.join(folder, "photos", name), "wb") as file:
                file.write(b"\xff\xd8" * 2500)

    def local(self, command):
        """Return *command* as it can be run here."""
        for port, free in self.ports.items():
            command = re.sub(r"(?<![\w.])%s\b(?!\.)" % port, free, command)
        for word, stands_for in (
                ("python3", sys.executable), ("192.0.2.7", "127.0.0.1"),
                ("www-data", "nobody"), ("/srv/www", "htdocs")):
            command = command.replace(word, stands_for)
        return command

    def as_shown(self, output):
        """Return *output* as README shows it."""
        for port, free in self.ports.items():
            output = output.replace(free, port)
        return output.replace(os.path.realpath(self.folder), "/home/me"
                              ).replace("it at http://%s:"
                                        % httpd.own_address(),
                                        "it at http://192.0.2.7:")

    def run(self, command, language, shown):
        """Run one command; compare what it prints with what is *shown*."""
        process = subprocess.Popen(
            self.local(command), shell=True, cwd=self.folder,
            env=dict(os.environ, HOME=self.folder), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=os.setsid)  # noqa: PLW1509
        if re.search(r"httpd\.py(?!.*--hash-password)", command):
            lines = [process.stdout.readline()]
            while lines[-1] and b"Ctrl-C" not in lines[-1]:
                lines.append(process.stdout.readline())
            self.servers.append((process, lines, command, language, shown))
            assert lines[-1], (command, lines)
            return
        try:
            output = process.communicate(timeout=PATIENCE)[0]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if language == "console":
            self.compare(command, output, shown)
        else:
            assert process.returncode == 0, (command, output)

    def compare(self, command, output, shown):
        """Assert that *output* is what is *shown*, but for what varies."""
        shown = [line for line in shown if has_ipv6() or "[::1]" not in line]
        assert [without_what_varies(line) for line in self.as_shown(
            output.decode()).splitlines()] == [
                without_what_varies(line) for line in shown], command

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        for process, lines, command, language, shown in self.servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            lines.append(process.communicate(timeout=PATIENCE)[0])
            if kind is None and language == "console":
                self.compare(command, b"".join(lines), shown)


@pytest.mark.parametrize("heading", sorted(RECIPES))
def test_readme_commands(heading):
    """All in their order; and what README shows of their output is so."""
    commands = RECIPES[heading]
    text = "\n".join(command for command, _, _ in commands)
    for word in ("curl", "wget", "openssl"):
        if re.search("^%s " % word, text, re.MULTILINE) and (
                not shutil.which(word)):
            pytest.skip(word + " is not installed")
    for word, feature in [("unix:", "AF_UNIX"), ("--workers", "fork"),
                          ("https", "ssl")]:
        if word in text and feature in WITHOUT:
            pytest.skip("HTTPD_TEST_WITHOUT=" + feature)
    if "--hash-password" in text and not hasattr(hashlib, "scrypt"):
        pytest.skip("no hashlib.scrypt in this Python")
    if "--user" in text and os.geteuid():
        pytest.skip("it is for root")
    if "--bind ::" in text and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)     # for --user
        with Recipe(folder, commands) as recipe:
            for command in commands:
                recipe.run(*command)


def test_readme_has_no_command_that_nobody_runs():
    """Blocks are of a kind that a test runs; but for those that follow."""
    text = re.sub("```text\n.*?```", "", readme(), flags=re.DOTALL)
    kinds = re.findall("^```([a-z]*)\n(.*?)^```$", text,
                       re.DOTALL | re.MULTILINE)
    assert {kind for kind, _ in kinds} == {
        "", "console", "haproxy", "ini", "logrotate", "nginx", "python", "sh"}
    (command,) = [block for kind, block in kinds if not kind]
    with open(os.path.join(HERE, ".ci", "run")) as file:    # it runs this one
        assert "grep -m1 '^python3 -m venv ' README.md" in file.read()
    assert re.fullmatch("python3 -m venv .*\n", command)


def test_readme_begins_with_rows_of_its_table_of_speed():
    first, _, rest = readme().partition("\n## ")
    table = rest.partition("\n## Speed\n")[2].splitlines()
    rows = [line for line in first.splitlines() if line.startswith("|")]
    assert len(rows) >= 6 and not [row for row in rows if row not in table]


def test_readme_shows_how_it_works():
    """The steps of a turn in their order, and the table of states."""
    chapter = readme().partition("\n## How it works\n")[2].partition(
        "\n## ")[0]
    turn, ways = re.findall("^```text\n(.*?)^```$", chapter,
                            re.DOTALL | re.MULTILINE)
    code = inspect.getsource(httpd.Server._turn_once).split('"""')[2]
    steps = re.findall(r"^  (\w+)\b", turn, re.MULTILINE)
    found = [re.search(r"\b%s[(\[]" % step, code).start() for step in steps]
    assert len(steps) == 7 and found == sorted(set(found))
    names = httpd.STATE_NAMES
    for line in ways.splitlines():
        way = [names.index(name) for name in re.findall("[A-Z]{4,}", line)]
        for state, other in zip(way, way[1:]):
            assert other in httpd.FOLLOWS[state], line
    words = {0: "-", httpd.READ: "read", httpd.WRITE: "write"}
    assert re.findall("^[|] ([A-Z]+) [|] (.*) [|] (.*) [|] (.*) [|]$",
                      chapter, re.MULTILINE) == [
        (names[state], words[waits_for], str(seconds or "-"), ", ".join(
            names[other] for other in sorted(follows)) or "-")
        for state, waits_for, seconds, follows, _ in httpd.STATES
        if names[state] not in ("LISTENING", "WAKING", "OBEYING")]
    functions = chapter.rpartition("in this order:")[2]
    for name in re.findall("`(.*?)`", functions):
        found = httpd
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)


def test_readme_shows_the_ways_of_a_connection(tmp_path, monkeypatch):
    """Those that it has are watched here, one after the other; but for TLS."""
    with open(str(tmp_path / "large"), "wb") as file:
        file.truncate(16 << 20)
    way, enter = [], httpd.Connection.enter

    def watched(connection, state):
        name = httpd.STATE_NAMES[state]
        if way[-1:] != [name]:      # it is entered again as time goes on
            way.append(name)
        enter(connection, state)
    monkeypatch.setattr(httpd.Connection, "enter", watched)
    digest = "Want-Repr-Digest: sha-256=1"
    head = request_for("/large", "Range: bytes=0-0")
    shown = re.search("^  the first request.*?^```$", readme(),
                      re.DOTALL | re.MULTILINE).group().splitlines()[:-1]
    ways = [re.findall("[A-Z]{4,}", line) for line in shown
            if "TLS" not in line]

    def went(*names):
        wait_until(lambda: way == list(names), " -> ".join(names))
    with httpd.Server(str(tmp_path), 0, "127.0.0.1") as server:
        with Wire(urllib.parse.urlsplit(server.url).port) as wire:
            went("ACCEPTED", "RECEIVING")
            wire.send(head).response()
            went(*ways[0])
            del way[:-1]
            wire.send(head[:9])
            went("IDLE", "RECEIVING")
            wire.send(head[9:]).response()
            went(*ways[1])
            del way[:-1]
            # Or the kernel might make room for all of it.
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            wire.send(request_for("/large"))
            went("IDLE", "SENDING")
            wire.response()
            went(*ways[2])
            del way[:-1]
            wire.get("/large", "Range: bytes=0-0", digest)
            went(*ways[3])
    with httpd.Server(str(tmp_path), 0, "127.0.0.1", request_timeout=1
                      ) as server:
        with Wire(urllib.parse.urlsplit(server.url).port) as wire:
            assert wire.send(head).response().status == 206
            wait_until(lambda: way[-1] == "IDLE", "IDLE")
            del way[:-1]
            assert wire.send(head[:9]).response().status == 408
        went(*ways[4])
    assert len(ways) == 5


def test_readme_python(monkeypatch, capsys):
    blocks = readme_blocks("python")
    assert blocks
    monkeypatch.chdir(HERE)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out == (
        "200 b'<!DOCTYPE html>'\n" * len(blocks))


def chapter_of(module):
    """Return README's chapter of a program."""
    return re.search(r"^## %s.py\n(.*?)^## " % module.__name__, readme(),
                     re.DOTALL | re.MULTILINE).group(1)


@programs
def test_readme_and_help_name_the_same_options(module):
    """In the same order, and with the same defaults."""
    cells = [re.split(r" ?\| ?", row)[1:-1] for row in re.findall(
        r"^\| `-.*\|$", chapter_of(module), re.MULTILINE)]
    pattern = "(?<![\\w-])--?[a-zA-Z0-9][a-z-]*"
    named = [re.findall(pattern, cell[0]) for cell in cells]
    assert set(named.pop()) == {"--version", "-h", "--help"}
    actions = [action for group in parser_of(module)._action_groups[2:]
               for action in group._group_actions]
    assert list(itertools.chain(*named)) == [
        name for action in actions for name in action.option_strings]
    defaults = {option: cell[2].replace("`", "")
                for cell in cells for option in re.findall(pattern, cell[0])}
    told = 0
    for action in actions:
        default = re.search(r"\(default(?:, and at most)?: (.*)\)",
                            action.help % {"default": action.default})
        if default:
            told += 1
            assert defaults[action.option_strings[0]] == default.group(1)
    assert told >= 3


# What the docstring says of a limit, what README does, and what it is.
LIMITS = [
    (httpd, "Request line %d KiB", "| request line | %d KiB |",
     httpd.REQUEST_LINE_MAX // 1024),
    (httpd, "head %d KiB and", "| head | %d KiB,", httpd.HEAD_MAX // 1024),
    (httpd, "and %d fields", " KiB, %d fields |", httpd.FIELDS_MAX),
    (httpd, "%d s for a TLS handshake", "| time for a TLS handshake | %d s |",
     httpd.HANDSHAKE_TIMEOUT),
    (httpd, "%d s for a whole head", "after connecting too | %d s |",
     httpd.REQUEST_TIMEOUT),
    (httpd, "%d s idle between requests", "| idle between requests | %d s |",
     httpd.IDLE_TIMEOUT),
    (httpd, "%d s without progress in sending",
     "| no progress in sending | %d s |", httpd.SEND_TIMEOUT),
    (httpd, "at port %d.", "port %d unless given", httpd.PORT),
    (httpget, "port %d,", "127.0.0.1, %d and", httpget.PORT),
    (httpget, "A head of %d KiB", "heads of at most %d KiB",
     httpget.HEAD_MAX // 1024),
    (httpget, "%d interim", "%d interim", httpget.INTERIM_MAX),
    (httpget, "%d redirects", "At most %d redirects", httpget.REDIRECTS_MAX),
    (httpget, "gzip content of %d times", "gzip of at most %d times",
     httpget.EXPANSION_MAX),
    (httpget, "listings of %d MiB", "listings of %d MiB",
     httpget.LISTING_MAX >> 20),
    (httpget, "%d s to connect", "and between bytes | %d |", httpget.TIMEOUT),
    (httpget, "%d breaks in a row", "to cope with | %d |", httpget.RETRIES),
    (httpget, "%d minutes for a digest", "up to %d minutes",
     httpget.DIGEST_WAIT // 60),
]


@rows([row + (row[0].__name__ + ": " + row[1],) for row in LIMITS])
def test_limits_are_those_of_docstring_and_readme(a, b, c, d):
    assert b % d in " ".join(a.__doc__.split())
    assert c % d in " ".join(chapter_of(a).split())


@programs
def test_docstring_and_readme_name_the_same_exit_statuses(module):
    paragraph = module.__doc__.partition("\nExit status\n")[2].partition(
        "\n\n")[0]
    chapter = " ".join(chapter_of(module).split())
    if module is httpd:
        chapter = re.search("Exit status: .*? ###", chapter).group()
        named = re.findall("(?:: |; )([0-9]+) [a-z]", chapter)
    else:
        named = re.findall("[|] ([0-9]+) [|]", chapter.partition(
            "| exit status |")[2].partition("After 4")[0])
    assert named == re.findall("^    ([0-9]+) ", paragraph, re.MULTILINE)


@pytest.fixture
def holes(tmp_path):
    """A folder for sparse files: in memory, where holes are read quickly."""
    if not os.path.isdir("/dev/shm"):
        yield str(tmp_path)
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            yield folder


def test_five_gib_with_flat_memory_at_both_ends(holes):
    size = 5 << 30
    with open(os.path.join(holes, "sparse"), "wb") as file:
        file.truncate(size)
        file.seek(size - 5)
        file.write(b"tail\n")
    with Running(holes, flags=[]) as running:
        before = running.memory("VmHWM")
        process = subprocess.Popen(
            [sys.executable, HTTPGET, "127.0.0.1", str(running.port),
             "sparse"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        total, tail, used = 0, b"", 0
        with process.stdout as pipe:
            for block in iter(lambda: pipe.read(1 << 20), b""):
                total, tail = total + len(block), block[-5:]
                if total > size - (64 << 20) and not used:
                    used = memory_of(process.pid, "VmHWM")
        assert (total, tail, process.wait()) == (size, b"tail\n", 0)
        assert used < (400 if PYPY else 40) * 1024
        assert running.memory("VmHWM") - before < (64 if PYPY else 8) * 1024


@pytest.mark.parametrize("command", [
    ["curl", "-sS", "--fail"], ["wget", "-nv", "-O", "-"]],
    ids=lambda command: command[0])
def test_with_other_clients(server, site, command):
    if not shutil.which(command[0]):
        pytest.skip(command[0] + " is not installed")
    url = "http://127.0.0.1:%d/" % server.port
    for name in ("index.html", "big.bin", "empty.txt", "folder/"):
        out = subprocess.run(command + [url + name], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=True,
                             timeout=PATIENCE).stdout
        path = site / name
        if name.endswith("/"):
            path = path / "index.html"
        assert out == path.read_bytes()


def write_tree(root):
    """Write files below *root* for what copies it; return their names."""
    names = ["1.csv", "2.txt", "d/3.csv", "d/a:b",
             "d/e/4.csv", "d/e/\u20ac.csv"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "d" / "up").symlink_to("..")
    return sorted(names)


@pytest.mark.skipif(not shutil.which("wget"), reason="wget is not installed")
def test_wget_copies_each_listing_once(tmp_path):
    root, copy = tmp_path / "root", tmp_path / "copy"
    names = write_tree(root)
    copy.mkdir()
    with Running(root) as running:
        subprocess.run(
            ["wget", "-q", "-r", "-nH", "--restrict-file-names=nocontrol",
             "http://127.0.0.1:%d/" % running.port], check=True,
            cwd=str(copy), timeout=PATIENCE)
    assert sorted(path.relative_to(copy).as_posix()
                  for path in copy.rglob("*") if path.is_file()) == sorted(
        names + ["index.html", "d/index.html", "d/e/index.html"])


# pandas and dask read by fsspec.  Its get() of a folder fails at any server:
# it opens the copy of the folder itself for writing.
FSSPEC = """
import fsspec, json, sys
url, into = sys.argv[1:]
files = fsspec.filesystem("http")
csv = files.glob(url + "d/**/*.csv")
files.get(csv, into)
print(json.dumps([files.ls(url, detail=False), files.find(url), csv]))
"""


@pytest.mark.slow
@pytest.mark.skipif("HTTPD_TEST_FSSPEC" not in os.environ,
                    reason="HTTPD_TEST_FSSPEC names no Python with fsspec")
def test_fsspec_reads_the_listing(tmp_path):
    root, copy = tmp_path / "root", tmp_path / "copy"
    names = write_tree(root)
    copy.mkdir()
    with Running(root) as running:
        url = "http://127.0.0.1:%d/" % running.port
        result = subprocess.run(
            [os.environ["HTTPD_TEST_FSSPEC"], "-c", FSSPEC, url,
             str(copy) + "/"], stdout=subprocess.PIPE, timeout=60)
    assert result.returncode == 0
    listed, found, csv = json.loads(result.stdout.decode())
    urls = {name: url + urllib.parse.quote(name) for name in names}
    assert listed == [urls["1.csv"], urls["2.txt"], url + "d/"]
    assert found == sorted(urls.values())
    assert csv == sorted(urls[name] for name in names
                         if re.match("d/.*csv", name))
    assert {path.name for path in copy.iterdir()} == {
        address.rpartition("/")[2] for address in csv}


class Browser:
    """Headless Chromium, led over two pipes by its DevTools protocol."""

    def __init__(self, profile):
        import fcntl
        pipes = [os.pipe(), os.pipe()]
        (_, self.commands), (self.answers, _) = pipes
        # Its ends, where its 3 and 4 cannot be in their way.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10)
                  for fd in (pipes[0][0], pipes[1][1])]
        self.received = b""
        self.count = 0
        self.session = {}
        self.events = []    # since open(): (method, parameters)
        self.process = subprocess.Popen(
            # It reads commands from descriptor 3, and answers to 4.
            [sys.executable, "-c", "import os, sys; os.dup2(%d, 3);"
             " os.dup2(%d, 4); os.execvp(sys.argv[1], sys.argv[1:])"
             % tuple(theirs), "chromium", "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update",
             "--ignore-certificate-errors", "--hide-scrollbars",
             "--remote-debugging-pipe", "--user-data-dir=" + str(profile)],
            pass_fds=theirs, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        for fd in theirs + [pipes[0][0], pipes[1][1]]:
            os.close(fd)

    def __enter__(self):
        return self

    def attach(self):
        """Open a page, and hear what happens on it."""
        target = self.call("Target.createTarget", url="about:blank")
        session = self.call("Target.attachToTarget", flatten=True, **target)
        self.session = session
        for domain in ("Page", "Log", "Runtime"):
            self.call(domain + ".enable")

    def __exit__(self, *exc_info):
        self.session = {}
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        for fd in (self.commands, self.answers):
            os.close(fd)
        self.process.wait(PATIENCE)

    def _message(self):
        """Return the next message."""
        while b"\0" not in self.received:
            ready = select.select([self.answers], [], [], PATIENCE)[0]
            data = os.read(self.answers, 1 << 20) if ready else b""
            assert data, "Chromium says nothing"
            self.received += data
        message, _, self.received = self.received.partition(b"\0")
        message = json.loads(message.decode())
        self.events.append((message.get("method"), message.get("params")))
        return message

    def call(self, method, **params):
        """Return the result of *method*."""
        self.count += 1
        message = dict(self.session, id=self.count, method=method,
                       params=params)
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self.count:
                assert "result" in answer, answer
                return answer["result"]

    def open(self, url, width=1280, scheme="light"):
        """Show *url* in a window *width* pixels wide, and let it load."""
        self.call("Emulation.setDeviceMetricsOverride", width=width,
                  height=800, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in dict(self.events):
            self._message()

    def value(self, expression):
        """Return what a JavaScript *expression* comes to."""
        answer = self.call("Runtime.evaluate", expression=expression,
                           returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key):
        """Press a *key* and let go of it."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key])

    def exchange(self, number):
        """Click a button of htdocs/index.html; return both texts beside it."""
        place = "document.querySelectorAll('.exchange')[%d]" % number
        texts = ("Array.from(%s.querySelectorAll('pre'),"
                 " element => element.textContent)" % place)
        self.value(place + ".querySelector('button').click()")
        wait_until(lambda: "\n" in self.value(texts)[1], "a response")
        return self.value(texts)

    def complaints(self):
        """Return what the console says: errors, and what scripts print."""
        self.value("0")     # what was said before comes before its answer
        return [params for method, params in self.events if method in (
            "Log.entryAdded", "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled")]


@pytest.fixture
def browser(tmp_path):
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("a browser start is slow: one Python is enough")
    with Browser(tmp_path / "profile") as browser:
        browser.attach()
        yield browser


@pytest.mark.parametrize("scheme, options", [
    ("http", []),
    ("https", ["-H", "Content-Security-Policy: default-src 'self'"])],
    ids=["plain", "over TLS, with a policy"])
def test_site_in_a_browser_without_an_error(browser, certificate, scheme,
                                            options):
    if scheme == "https":
        options = options + ["--tls-cert", certificate[0],
                             "--tls-key", certificate[1]]
    with Running(os.path.join(HERE, "htdocs"), *options) as running:
        url = "%s://127.0.0.1:%d/" % (scheme, running.port)
        for width, colours in ((390, "light"), (1280, "dark")):
            browser.open(url, width, colours)
            assert browser.complaints() == []
            assert browser.value(
                "document.documentElement.scrollWidth") == width
        browser.open(url + "nothing-here")
        (said,) = browser.complaints()
        assert said["entry"]["url"] == url + "nothing-here"
        for name in ("style.css", "script.js", "icon.svg"):
            running.logged('"GET /%s HTTP/1.1" 200' % name)


def front_page():
    """Return htdocs/index.html."""
    with open(os.path.join(HERE, "htdocs", "index.html"),
              encoding="utf-8") as file:
        return file.read()


def exchanges():
    """Return the requests that the page shows, and what it says of each."""
    found = [[html.unescape(re.sub("<.*?>", "", text)) for text in pair]
             for pair in re.findall(
                 "<pre>(GET .*?)</pre>.*?<pre aria-live.*?>(.*?)</pre>",
                 front_page(), re.DOTALL)]
    assert len(found) == 4
    return found


def test_requests_of_the_page():
    """What can be read without a script is true."""
    with Running(os.path.join(HERE, "htdocs")) as running:
        for request, response in exchanges():
            with Wire(running.port) as wire:
                wire.send(request.replace("\n", "\r\n").encode()
                          + b"\r\n\r\n")
                assert wire.head().split(b"\r\n")[0] == response.encode()


def test_requests_of_the_page_in_a_browser(browser):
    """A click sends the request, and what comes is shown as it came."""
    with Running(os.path.join(HERE, "htdocs")) as running:
        url = "http://127.0.0.1:%d/" % running.port
        browser.open(url)
        shown = [browser.exchange(i) for i in range(len(exchanges()))]
        said = [entry["entry"]["url"] for entry in browser.complaints()]
        assert said == [url + "nothing-here"]
        for (request, response), (wrote, expected) in zip(shown, exchanges()):
            line, *fields = response.partition("\n\n")[0].split("\n")
            assert line == expected
            if "\nRange: " not in request:    # what the browser adds
                request += "\nAccept-Encoding: gzip"
            with Wire(running.port) as wire:
                wire.send("\r\n".join(request.split("\n")
                                      + ["", ""]).encode())
                answer = wire.response()
            assert "%d %s" % (answer.status, answer.reason) == line[9:]
            assert request.split("\n")[1] == "Host: " + url[7:-1]
            if answer.status == 304:
                assert '\nIf-None-Match: "' in request
            found = dict(field.split(": ", 1) for field in fields)
            for name in ("content-range", "content-encoding", "vary", "etag",
                         "cache-control"):
                assert found.get(name) == answer.fields.get(name), name


def test_page_without_scripts(browser):
    """It reads well: no button that does nothing, and another way."""
    with Running(os.path.join(HERE, "htdocs")) as running:
        browser.call("Emulation.setScriptExecutionDisabled", value=True)
        browser.open("http://127.0.0.1:%d/" % running.port)
        assert browser.complaints() == []
        text = browser.value("document.body.innerText")
        assert "Send it\n" not in text and "curl -i -r 0-9" in text
        assert all(request.split("\n")[0] in text
                   for request, _ in exchanges())


class Box:
    """A rectangle of the drawing, and the lines of text in it."""

    def __init__(self, element):
        self.left, self.top, width, height = (
            float(element.get(name)) for name in ("x", "y", "width", "height"))
        self.right, self.bottom = self.left + width, self.top + height
        self.text = []

    def holds(self, x, y):
        """Return whether a point is in it, its border included."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom

    def borders(self, x, y):
        """Return whether a point is on its border."""
        return self.holds(x, y) and (x in (self.left, self.right)
                                     or y in (self.top, self.bottom))


def test_machine_of_the_page():
    """The drawing has the states and transitions of STATES, and no other.

    They are read from where its lines begin and end.  A frame stands for the
    states in it.  Those of TLS are in the list alone.
    """
    of_tls = {"HANDSHAKE", "GREETING", "FINISHING"}
    from xml.etree import ElementTree
    drawing = ElementTree.fromstring(
        re.search("<svg .*?</svg>", front_page(), re.DOTALL).group())
    boxes = [Box(element) for element in drawing.iter("rect")]
    for element in drawing.iter("text"):
        x, y = float(element.get("x")), float(element.get("y"))
        (box,) = [box for box in boxes if box.holds(x, y)
                  and not any(box.holds(other.left, other.top)
                              for other in boxes if other is not box)]
        box.text.append(element.text)
    words = {0: [], httpd.READ: ["reads"], httpd.WRITE: ["writes"]}
    expected = {}
    for state, waits_for, seconds, follows, _ in httpd.STATES:
        limit = words[waits_for] + ["%d s" % seconds] * bool(seconds)
        name = httpd.STATE_NAMES[state]
        if name not in of_tls:
            expected[name] = ([", ".join(limit)] * bool(limit), {
                httpd.STATE_NAMES[other] for other in follows} - of_tls)
    found = {box.text[0]: (box.text[1:], set()) for box in boxes if box.text}

    def states(point):
        """Return the names of the states at the end of a line."""
        (box,) = [box for box in boxes if box.borders(*point)]
        return [other.text[0] for other in boxes if other.text
                and box.holds(other.left, other.top)]

    for element in drawing.iter("polyline"):
        points = [tuple(map(float, point.split(",")))
                  for point in element.get("points").split()]
        both = element.get("class") == "both"
        ends = [points[0], points[-1]]
        for start, end in [ends, ends[::-1]][:1 + both]:
            for state in states(start):
                found[state][1].update(states(end))
    assert found == expected
    named = re.findall("<dt>(.*?)</dt>", front_page())
    assert ", ".join(named).split(", ") == list(httpd.STATE_NAMES)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_listing_in_a_browser(browser, width, scheme, tmp_path):
    """It fits a phone and a desktop, and its style passes its own policy."""
    folder = tmp_path / "folder"
    (folder / ("d" * 200)).mkdir(parents=True)
    (folder / ("f" * 255)).write_text("")
    (folder / "small.txt").write_text("small")
    with Running(tmp_path) as running:
        browser.open("http://127.0.0.1:%d/folder/?sort=size&order=desc"
                     % running.port, width, scheme)
        assert browser.complaints() == []
        assert browser.value("document.documentElement.scrollWidth") == width
        ground = palettes(httpd.STYLE)[scheme == "dark"]["paper"]
        assert browser.value(
            "getComputedStyle(document.body).backgroundColor") == (
            "rgb(%d, %d, %d)" % tuple(bytes.fromhex(ground[1:])))
        # The numbers of a column end at one line, which is its head's too.
        for column in (2, 3):
            assert len(set(browser.value("""
                Array.from(document.querySelectorAll(
                    "th:nth-child(%d) button, td:nth-child(%d) > *"),
                    cell => Math.round(cell.getBoundingClientRect().right))
                """ % (column, column)))) == 1
        # The keyboard comes to links and buttons in order, and it shows.
        for expected in ("../", "name", "size"):
            browser.press("Tab")
            assert expected == browser.value(
                "document.activeElement.value"
                " || document.activeElement.getAttribute('href')")
            assert browser.value(
                "getComputedStyle(document.activeElement).outlineWidth"
                ) == "3px"
        # What a screen reader is told of the column that is sorted.
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        heads = [node["name"]["value"] for node in nodes
                 if node["role"]["value"] == "columnheader"]
        assert [head.strip("\u2191\u2193 ") for head in heads] == [
            "Name", "Size", "Time (UTC)"]
        # A click sorts the other way round: the policy lets the form go.
        browser.value("document.activeElement.click()")
        wait_until(lambda: browser.value("location.search")
                   == "?order=asc&sort=size", "the answer to the form")
        assert browser.complaints() == []


# ---- Beyond one machine -----------------------------------------------------


def free_ports(count):
    """Return ports of 127.0.0.1 that are free, for programs that need one."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


@contextlib.contextmanager
def program(command, port):
    """Run *command* until the end of the block, once it is at *port*."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)

    def listens():
        assert process.poll() is None, process.stdout.read()
        with contextlib.suppress(OSError):
            Wire(port).sock.close()
            return True
    try:
        wait_until(listens, command[0])
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def readme_config(language, folder, ports):
    """Write README's configuration for *folder* and *ports*; return it."""
    (block,) = readme_blocks(language)
    for old, new in (("192.0.2.11:8080", "127.0.0.1:%d" % ports[0]),
                     ("192.0.2.12:8080", "127.0.0.1:%d" % ports[1])):
        assert block.count(old) == 1
        block = block.replace(old, new)
    block, count = re.subn("(bind|listen) :?80(?=;|$)",
                           r"\1 127.0.0.1:%d" % ports[2], block,
                           flags=re.MULTILINE)
    assert count == 1
    path = folder / "conf"
    path.write_text(block.replace("/var/cache/nginx", str(folder)))
    return path


@pytest.fixture
def replicas(tmp_path):
    """Two folders with the same files, of the same times."""
    folders = [tmp_path / "one", tmp_path / "two"]
    folders[0].mkdir()
    (folders[0] / "probe.txt").write_bytes(PROBE)
    (folders[0] / "style.css").write_bytes(b"body { color: red }" * 500)
    wait_until_settled(folders[0] / "style.css")
    shutil.copytree(str(folders[0]), str(folders[1]))     # as cp -p
    wait_until_settled(folders[1] / "style.css")
    return folders


class Load:
    """Clients of *port* that ask for *target* until the end of a block."""

    def __init__(self, port, target, content, clients=8):
        self.port, self.target, self.content = port, target, content
        self.done = [0] * clients
        self.failures = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(number,))
                        for number in range(clients)]

    def ask(self, number):
        """Be one client."""
        try:
            while not self.stop.is_set():
                with Wire(self.port) as wire:
                    closes = False
                    while not (self.stop.is_set() or closes):
                        answer = wire.get(self.target)
                        assert answer.status == 200, answer.head
                        assert answer.content == self.content
                        self.done[number] += 1
                        closes = answer.fields.get("connection") == "close"
        except Exception as exc:
            self.failures.append(exc)

    def wait_for(self, count):
        """Wait until *count* more answers have come."""
        start = sum(self.done)
        wait_until(lambda: sum(self.done) >= start + count or self.failures,
                   "%d answers" % count)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc_info):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures


@pytest.mark.skipif(not shutil.which("haproxy", path=SBIN),
                    reason="haproxy is not installed")
def test_behind_haproxy_no_request_fails(tmp_path, replicas):
    """10,000 of them, while instances are killed, restarted and upgraded."""
    ports = free_ports(3)
    config = readme_config("haproxy", tmp_path, ports)

    def start(number):
        running = Running(
            replicas[number], "-b", "127.0.0.1", "--trusted-proxy",
            "127.0.0.1", port=ports[number])
        stack.callback(running.stop)
        return running
    with contextlib.ExitStack() as stack:
        instances = [start(0), start(1)]
        stack.enter_context(program(
            [shutil.which("haproxy", path=SBIN), "-db", "-f",
             str(config)], ports[2]))
        with Wire(ports[0]) as one, Wire(ports[1]) as two:
            assert one.get("/style.css", "Accept-Encoding: gzip").same_as(
                two.get("/style.css", "Accept-Encoding: gzip"))
        with Load(ports[2], "/probe.txt", PROBE) as load:
            load.wait_for(1000)
            instances[0].stop(signal.SIGKILL)
            load.wait_for(2000)
            instances[0] = start(0)
            wait_until(lambda: any("/probe.txt" in line for line in
                                   instances[0].log_lines()), "its return")
            load.wait_for(1000)
            for number in (1, 0):       # an upgrade
                instances[number].process.terminate()
                assert instances[number].process.wait(PATIENCE) == 0
                instances[number] = start(number)
                wait_until(lambda number=number: any(
                    "/probe.txt" in line for line in
                    instances[number].log_lines()), "its return")
                load.wait_for(1000)
            load.wait_for(max(1, 10000 - sum(load.done)))
        with Wire(ports[2]) as wire:    # another client, as the log has it
            wire.sock.close()
            wire.sock = socket.create_connection(
                ("127.0.0.1", ports[2]), PATIENCE, ("127.0.0.5", 0))
            assert wire.get("/probe.txt?other").content == PROBE
        wait_until(lambda: [line for running in instances
                            for line in running.log_lines()
                            if line.startswith("127.0.0.5 ")
                            and "?other" in line], "the client's address")


@pytest.mark.skipif(not shutil.which("nginx", path=SBIN),
                    reason="nginx is not installed")
def test_nginx_caches_and_revalidates(tmp_path, replicas):
    """And goes on from what it has when both instances are away."""
    ports = free_ports(3)
    config = readme_config("nginx", tmp_path, ports)
    site = tmp_path / "site.conf"
    config.rename(site)
    config.write_text(
        "daemon off; worker_processes 1; pid %s/pid; %s error_log stderr crit;"
        "events { } http { access_log off; %s include %s; }" % (
            tmp_path, "" if os.geteuid() else "user root;", "".join(
                "%s_temp_path %s/%s; " % (name, tmp_path, name) for name in (
                    "client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
            site))
    with contextlib.ExitStack() as stack:
        instances = [stack.enter_context(Running(
            folder, "-b", "127.0.0.1", "-H", "Cache-Control: max-age=1",
            "--trusted-proxy", "127.0.0.1", port=port))
            for folder, port in zip(replicas, ports)]
        stack.enter_context(program(
            [shutil.which("nginx", path=SBIN), "-e", "stderr", "-p",
             str(tmp_path), "-c", str(config)], ports[2]))
        wire = stack.enter_context(Wire(ports[2]))

        def ask(*lines):
            answer = wire.get("/style.css", *lines)
            assert answer.status == 200
            seen.append(answer.fields["x-cache-status"])
            return answer
        seen = []
        first = ask()
        assert "HIT" in [ask() and seen[-1] for _ in range(3)]
        wait_until(lambda: ask() and seen[-1] == "REVALIDATED", "old age")
        assert ask().fields["etag"] == first.fields["etag"]
        wait_until(lambda: any('" 304 0 ' in line for running in instances
                               for line in running.log_lines()), "a 304")
        coded = ask("Accept-Encoding: gzip")
        assert coded.fields["content-encoding"] == "gzip"
        assert gzip.decompress(coded.content) == ask().content
        for running in instances:
            running.process.terminate()
            running.process.wait(PATIENCE)
        wait_until(lambda: ask() and seen[-1] == "STALE", "old age")


@pytest.mark.skipif(not shutil.which("systemd-analyze"),
                    reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path):
    for block, name in zip(readme_blocks("ini"), ("socket", "service")):
        program = re.search("ExecStart=(.*)", block)
        if program:     # what it runs must be there
            command = program.group(1).split()
            done = subprocess.run(
                [sys.executable, HTTPD] + command[2:-1] + ["/nonexistent/log"],
                stderr=subprocess.PIPE, timeout=PATIENCE)
            assert done.returncode == 1 and b"access log" in done.stderr
            block = block.replace(command[0], sys.executable)
        (tmp_path / ("httpd." + name)).write_text(block)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "httpd.service"),
         str(tmp_path / "httpd.socket")], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, b"")


# ---- httpget.py: success ----------------------------------------------------

BINARY = bytes(range(256)) * 3

WHOLE = [
    (ok(BINARY), BINARY, "length"),
    (CLOSE_HEAD + BINARY, BINARY, "until close"),
    (CHUNKED_HEAD + b"300;x\r\n" + BINARY + b"\r\n0\r\nA: b\r\n\r\n", BINARY,
     "chunked"),
    (ok(b""), b"", "empty"),
    (b"HTTP/1.0 204 No Content\r\nContent-Length: 5\r\n\r\nxxxxx", b"", "204"),
    (ok(b"abc") + b"HTTP/1.1 200 OK\r\n\r\nmore", b"abc", "bytes beyond"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 64 + ok(b"abc"), b"abc", "64 interim"),
]


@rows(WHOLE)
def test_get_content_is_exact(a, b):
    result = fetch_from(a)
    assert (result.status, result.out) == (0, b), result


@rows(WHOLE[:3])
def test_get_byte_by_byte(a, b):
    result = fetch_from([a[n:n + 1] for n in range(len(a))])
    assert (result.status, result.out) == (0, b), result


@rows(WHOLE[:4])
def test_get_saves_exactly(a, b, tmp_path):
    target = tmp_path / "t"
    (tmp_path / "t.part").write_bytes(b"stale, and longer" * 1000)
    result = fetch_from(a, "-o", str(target))
    assert (result.status, result.out) == (0, b""), result
    assert target.read_bytes() == b
    assert os.listdir(str(tmp_path)) == ["t"]


def test_get_report():
    answer = (b"HTTP/1.1 200 \xc3\xa9\x20\xc2\x9b\r\nServer: x\r\nX-Y: z\r\n"
              b"ETag: \"\xff\"\r\nContent-Length: 3\r\n\r\nabc")
    with ScriptedServer(answer) as server:
        result = run_httpget("localhost", str(server.port), "a b")
        assert result.status == 0
        lines = result.err.splitlines()
        assert re.fullmatch(
            r"Connected to localhost, address 127\.0\.0\.1 port %d, from"
            r" 127\.0\.0\.1 port [0-9]+" % server.port, lines[0])
        assert lines[1:5] == ["HTTP/1.1 200 \u00e9 \\x9b", "Server: x",
                              'ETag: "\\xff"', "Content-Length: 3"]
        assert re.fullmatch(r"3 bytes in [0-9.]+ s, .*/s", lines[5])
        assert len(lines) == 6
        url = httpget.parse_url("http://localhost:%d/a%%20b" % server.port)
        request = httpget.render_request(
            "GET", url, [("Accept-Encoding", "gzip")], [])
        assert server.requests == [request]
        result = run_httpget("-v", "localhost", str(server.port), "a b")
        lines = result.err.splitlines()
        assert lines[1] == "> GET /a%20b HTTP/1.1"
        assert "< X-Y: z" in lines and "> Accept: */*" in lines


def test_get_quiet():
    assert fetch_from(ok(b"x"), "-q").err == ""
    result = fetch_from(b"HTTP/1.1 404 No\r\n\r\nbody", "-q")
    assert result.err.count("\n") == 1
    assert "404 No" in message(result)
    assert run_httpget("-q", "127.0.0.1", "1").err.count("\n") == 1


def test_get_ipv6():
    try:
        server = ScriptedServer(ok(b"six"), socket.AF_INET6, "::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        for host in ("::1", "[::1]"):
            result = run_httpget(host, str(server.port))
            assert (result.status, result.out) == (0, b"six"), result
            assert b"\r\nHost: [::1]:%d\r\n" % server.port in (
                server.requests[-1])


def test_get_addresses_in_turn(monkeypatch):
    def resolve(host, port, *rest):
        assert host == b"many"
        return [(family, socket.SOCK_STREAM, 0, "", (address, port))
                for family, address in addresses]

    addresses = [(9999, "strange"), (socket.AF_INET, "127.0.0.9"),
                 (socket.AF_INET, "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with ScriptedServer(ok(b"x")) as server:
        url = httpget.URL("http", "many", server.port, "/")
        connection = httpget.run(httpget.connect(url, httpget.Settings(5)))
        assert connection.sock.getpeername() == ("127.0.0.1", server.port)
        connection.close()
        del addresses[-1]
        with pytest.raises(httpget.ConnectError) as caught:
            httpget.run(httpget.connect(url, httpget.Settings(5)))
    assert "strange: " in str(caught.value)
    assert "127.0.0.9: " in str(caught.value)


def test_get_from_standard_input():
    with ScriptedServer(ok(b"x")) as server, open(HTTPGET, "rb") as program:
        out = subprocess.check_output(
            [sys.executable, "-", "-q", server.host, str(server.port)],
            stdin=program, timeout=PATIENCE)
    assert out == b"x"


MEBIBYTE = bytes(2 ** 20)
PART_HEAD = (b"HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\n"
             b"Content-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
             % ((200 << 20) + 1, (200 << 20) - 1, (400 << 20) - 1, 400 << 20))


@pytest.mark.skipif(PYPY, reason="its collector needs 300 MiB, see the test"
                    " with five GiB")
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
@rows([
    (CLOSE_HEAD, MEBIBYTE, b"", [], "until the end"),
    (CHUNKED_HEAD, b"100000\r\n" + MEBIBYTE + b"\r\n", b"0\r\n\r\n", [],
     "chunked"),
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
     gzip.compress(os.urandom(2 ** 15) + MEBIBYTE[2 ** 15:]), b"", [], "gzip"),
    (CLOSE_HEAD, MEBIBYTE, b"", ["--tls", "--insecure"], "TLS"),
    (PART_HEAD + b"x", MEBIBYTE, b"", ["-c"], "resumed"),
    (CLOSE_HEAD, MEBIBYTE, b"", ["-r"], "a folder"),
])
def test_get_memory_is_flat(a, b, c, d, certificate, tmp_path):
    peak = []

    def answer(sock):
        if b" / HTTP" in server.requests[-1] and "-r" in d:
            sock.sendall(ok(b'[{"name": "t", "type": "file"}]',
                            b"Content-Type: application/json",
                            b"Connection: close"))
        elif b"bytes=0-0" in server.requests[-1]:   # what digest it has
            sock.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")
        else:
            sock.sendall(a)
            for _ in range(200):
                sock.sendall(b)
            peak.append(memory_of(process.pid, "VmHWM"))
            sock.sendall(c)

    options = d + {"-r": ["-P", str(tmp_path)],
                   "-c": ["-o", str(tmp_path / "t")]}.get("".join(d), [])
    with (TLSServer(answer, certificate) if "--tls" in d
          else ScriptedServer(answer)) as server:
        if "-c" in d:
            write_large(tmp_path / "t.part", 200, b"x")
            (tmp_path / "t.part.json").write_text(json.dumps({
                "url": "http://%s:%d/" % (server.host, server.port),
                "source": "", "validator": '"x"', "length": 400 << 20}))
        process = start_httpget(server.host, str(server.port), *options,
                                stdout=subprocess.DEVNULL)
        result = ended(process)
    assert result.status == 0, result
    assert ("200.0 MiB in" if "-r" in d
            else "%d bytes in" % (200 << 20)) in result.err
    assert peak[0] < 40 * 1024      # KiB; Python itself takes 10 to 25 MiB


# ---- httpget.py: failure ----------------------------------------------------

@rows([
    ([], "a b", "host"), (["h", "0"], "port '0'", "port zero"),
    ([""], "host", "empty host"),
    (["h", "80", "a\nb"], "control character", "control in the name"),
    (["http://h/", "x"], "not a URL", "a name after a URL"),
    (["http://u@h/"], "user", "user in the URL"),
    (["-O", "h", "80"], "no name", "-O without a name"),
    (["-O", "h", "80", "a/.."], "no name", "-O of a parent"),
    (["-O", "-o", "x"], "-O", "two names"),
    (["-o", "x", "h", "80", "a", "b"], "several", "one name for two files"),
    (["-c", "h"], "-c", "-c without a file"),
    (["-P", "d", "h"], "-P", "-P without -O"),
    (["--force", "-r", "h"], "--force", "--force without -O"),
    (["--tls", "http://h/"], "--tls", "TLS for a URL without it"),
    (["--range", "5-4"], "range", "range backwards"),
    (["--range", ""], "range", "no range"), (["--range="], "range", "nor here"),
    (["--auth", ""], "--auth", "no user"), (["-O", "-P", ""], "-P", "no folder"),
    (["--cafile="], "--cafile", "no certificates"),
    (["--range", "5-", "-c", "-o", "x"], "--range", "range and -c"),
    (["-r", "-o", "x"], "-r", "-r with a name"),
    (["--retries", "-1"], "retries", "fewer than none"),
    (["-H", "Connection: x"], "Connection", "a field of ours"),
    (["-H", "Host: x", "-H", "Host: y"], "Host", "which of the two?"),
    (["-H", "secret"], "Name: value", "no field at all"),
    (["http://fe80::1:2/x"], "brackets", "an address without brackets"),
    (["https://fa\xdf.de/"], "write it as xn--", "two names for one"),
    (["--auth", "me:secret"], "colon", "a password behind the user"),
    (["-O", "h", "80", "a.part", "a"], "'a.part'", "a part as a name"),
    (["-r", "h", "80", "x/s", "y/s"], "'s'", "one copy for two folders"),
    (["-r", "http://h/", "http://i/"], "'.'", "one copy for two sites"),
    (["-r", "-v", "h"], "-v", "the requests of a copy"),
    (["-H", "x"], "Name: value", "no field"),
    (["-4", "-6"], "not allowed", "no family left"),
    (["--nonsense"], "unrecognized", "unknown option"),
    (["--insec"], "unrecognized", "abbreviated"),
    (["--time=3"], "unrecognized", "abbreviated, with a value"),
    (["--rang", "0-5"], "unrecognized", "abbreviated, before a value"),
    (["--timeout", "0"], "timeout", "no time"),
    (["--timeout", "nan"], "timeout", "not a number"),
    (["-q", "-v"], "not allowed", "quiet and verbose"),
    (["-o", ""], "-o", "no file name"),
])
def test_get_usage(a, b):
    result = run_httpget(*(a or ["a b"]))
    assert (result.status, result.out) == (2, b""), result
    assert b in result.err.splitlines()[-1]
    assert "usage: httpget.py [options] [host] [port] [file ...]" in (
        result.err)


def test_get_help_and_version():
    result = run_httpget("--help")
    assert result.status == 0 and b"examples:" in result.out
    assert run_httpget("--version").out.split() == [
        b"httpget.py", httpget.__version__.encode()]
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as gone, open("/dev/full", "wb") as full:
        assert run_httpget("--help", stdout=gone).status == 141
        assert run_httpget("--help", stdout=full).status == 5
        run_httpget("--help", stdout=full,      # no traceback
                    environment={"PYTHONUNBUFFERED": "1"})


def test_get_options_anywhere():
    with ScriptedServer(ok(b"x")) as server:
        result = run_httpget(server.host, "-q", str(server.port), "-o", "-",
                             "--", "-n")
        assert (result.status, result.out) == (0, b"x"), result
    assert server.requests[0].startswith(b"GET /-n HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [b"404 Not Found", b"301 Moved", b"304 x",
                                    b"500 \xc2\x9b1m", b"999 Strange"])
def test_get_other_status(status, tmp_path):
    target = tmp_path / "t"
    target.write_bytes(b"old")
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nerror"
    result = fetch_from(answer, "-o", str(target))
    assert (result.status, result.out) == (1, b""), result
    assert status[:3].decode() in message(result)
    assert "error" not in result.err.replace("httpget.py", "")
    assert target.read_bytes() == b"old"
    assert os.listdir(str(tmp_path)) == ["t"]


def test_get_error_content_is_shown_escaped_and_bounded():
    head = b"HTTP/1.1 404 Not Found\r\n\r\n"
    result = fetch_from(head + b"one\r\n\x1b[2J\xff\xe2\x80\xae\n", "-v")
    assert result.status == 1
    assert "\none\n\\x1b[2J\\xff\\u{202e}\nhttpget.py: " in result.err
    result = fetch_from(lambda sock: (sock.sendall(head + b"x" * 2 ** 20),
                                      stall(sock)), "-v", "--timeout", "1")
    assert result.status == 1 and "\n(and more)\n" in result.err
    assert result.err.count("x") < httpget.ERROR_SHOWN_MAX + 100
    broken = b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nabc"
    result = fetch_from(broken, "-v")
    assert result.status == 1 and "\nabc\n(the response broke" in result.err


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    b"\1\0\0\0\0\0\0\0")
    sock.close()


def stall(sock):
    sock.recv(1)        # until the client gives up


def test_get_could_not_connect():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))   # bound but not listening: refuses
        result = run_httpget("127.0.0.1", str(unused.getsockname()[1]))
        copy = run_httpget("-r", "127.0.0.1", str(unused.getsockname()[1]))
    assert (result.status, result.out) == (3, b"")
    assert "refused" in message(result)
    assert copy.status == 3 and message(copy) == message(result)
    result = run_httpget("no-such-host.invalid")
    assert result.status == 3 and "no-such-host.invalid" in message(result)


def without_end(piece):
    def answer(sock):
        while True:
            sock.sendall(piece)
    return answer


@rows([
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "5 of 10",
     "length"),
    (CHUNKED_HEAD + b"a\r\nhello", "5 bytes", "inside a chunk"),
    (CHUNKED_HEAD + b"5\r\nhello\r\n", "5 bytes", "after a chunk"),
    (CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n", "5 bytes", "before the end"),
    (CHUNKED_HEAD + b"5\r\nhello\r\nx\r\n", "chunk size", "bad size"),
    (CHUNKED_HEAD + b"5\r\nhelloX0\r\n\r\n", "chunk", "bad chunk end"),
])
def test_get_broken_content(a, b, tmp_path):
    result = fetch_from(a)
    assert result.status == 4 and result.out in (b"hello", b""), result
    assert b in message(result)
    target = tmp_path / "t"
    target.write_bytes(b"old")
    # In two pieces, so that what is good about it arrives first.
    cut = a.index(b"hello") + 5
    result = fetch_from([a[:cut], a[cut:]], "-o", str(target))
    assert result.status == 4 and target.read_bytes() == b"old"
    if (tmp_path / "t.part").exists():
        assert (tmp_path / "t.part").read_bytes() == b"hello"
        assert "5 bytes kept in %s.part" % target in message(result)


def drips(start, byte, seconds=0.05):
    """Return a script that sends *start*, and then *byte* without end."""
    def answer(sock):
        sock.sendall(start)
        while not select.select([sock], [], [], seconds)[0]:
            sock.sendall(byte)
    return answer


def then_stall(piece):
    return lambda sock: (sock.sendall(piece), stall(sock))


def then_endless(start, piece):
    return lambda sock: (sock.sendall(start), without_end(piece)(sock))


def head_with(*fields):
    return b"\r\n".join((b"HTTP/1.1 200 OK",) + fields) + b"\r\n\r\n"


def redirect(location, body=b""):
    return b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n%s" % (location, body)


GZIP_HEAD = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
BOMB = gzip.compress(bytes(2 ** 25), 9)
EXCESS = ok(b"12345") + b"HTTP/1.1 200 OK\r\n\r\nevil"

# What is sent, the exit status, what the message says, why.
HOSTILE_RESPONSES = [
    (head + b"content", 4, "", why)
    for head, parsed, why in HEADS if parsed is None
] + [
    # No response.
    (b"", 3, "no response", "closed at once"),
    (reset, 3, "no response", "reset at once"),
    (stall, 3, "no response", "silence"),
    (b"HTTP", 4, "in its head", "closed in the version"),
    (b"HTTP/1.1 200 OK\r\nA: ", 4, "in its head", "closed in the head"),
    (then_stall(b"HTTP/1."), 4, "in its head", "stalls in the head"),
    (drips(b"HTTP/1.1 200 OK\r\nA: ", b"b"), 4, "in its head",
     "head that drips without end"),
    (without_end(b"HTTP/1.1 200 OK\r\nA: b"), 4, "", "endless field line"),
    (then_endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), 4, "longer than",
     "endless fields"),
    (without_end(b"HTTP/1.1"), 4, "", "endless status line"),
    (without_end(b"\0"), 4, "not HTTP", "endless NUL"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 65 + ok(b"x"), 4, "interim",
     "65 interim responses"),
    (without_end(b"HTTP/1.1 102 Processing\r\n\r\n"), 4, "interim",
     "interim responses without end"),
    (b"HTTP/1.1 103 Early\r\n\r\n", 4, "", "nothing but an interim one"),
    (b"HTTP/1.1 101 Switch\r\n\r\n" + ok(b"x"), 4, "protocol",
     "another protocol"),
    # Framing in doubt.
    (head_with(b"Content-Length: 5", b"Content-Length: 6") + b"hello", 4,
     "Content-Length", "two lengths"),
    (head_with(b"Content-Length: 5", b"Transfer-Encoding: chunked")
     + b"0\r\n\r\n", 4, "both", "length and coding"),
    (b"HTTP/1.1 404 No\r\nContent-Length: x\r\n\r\n", 4, "Content-Length",
     "bad length of an error"),
] + [
    (head_with(b"Content-Length: " + length) + b"12345", 4, "Content-Length",
     "length %r" % length)
    for length in (b"+5", b"-5", b"5_0", b"0x5", b"5 5", b"", b"5;", b"\xb2",
                   b"9" * 19, b"\xd9\xa5")
] + [
    (head_with(b"Transfer-Encoding: " + coding) + b"0\r\n\r\n", 4, "coding",
     "transfer coding %r" % coding)
    for coding in (b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity",
                   b"xchunked", b"", b"\x0bchunked")
] + [
    (CHUNKED_HEAD + body, 4, "", "chunks: %r" % body[:20])
    for body in (b"-5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
                 b"5 5\r\nhello\r\n", b"5\nhello\r\n0\r\n\r\n", b"\r\n",
                 b"1" * 17 + b"\r\n", b"f" * 16 + b"\r\nhello",
                 b"\xd9\xa5\r\nhello\r\n", b"5\r\nhelloworld\r\n",
                 b"5;\0\r\nhello\r\n0\r\n\r\n", b"0\r\nA\r\n\r\n",
                 b"0\r\nA: b\r\n c\r\n\r\n", b"g\r\n")
] + [
    (then_endless(CHUNKED_HEAD, b"0"), 4, "chunk", "endless zeros"),
    (then_endless(CHUNKED_HEAD + b"5;", b"x"), 4, "chunk",
     "endless chunk extension"),
    (then_endless(CHUNKED_HEAD + b"0\r\n", b"A: b\r\n"), 4, "chunk",
     "endless trailers"),
    (then_stall(CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n"), 4, "5 bytes",
     "stalls before the end"),
    (then_stall(ok(b"x" * 9)[:-4]), 4, "5 of 9", "stalls in the content"),
    (EXCESS, 0, "", "more than it said"),
    # Statuses that were not asked for.
    (b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\n\r\nhello", 4, "part",
     "206 without Content-Range"),
    (b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-4/9\r\n"
     b"Content-Length: 5\r\n\r\nhello", 4, "part", "206 not asked for"),
    (b"HTTP/1.1 416 No\r\nContent-Range: bytes */0\r\n\r\n", 1, "416",
     "416 not asked for"),
    (b"HTTP/1.1 304 Same\r\n\r\n", 1, "304", "304 not asked for"),
    (b"HTTP/1.1 999 What\r\n\r\nx", 1, "999", "a status nobody knows"),
    # Redirects.
    (redirect(b"/file"), 1, "10 redirects", "redirects in a circle"),
    (redirect(b""), 1, "10 redirects", "redirect to nowhere"),
    (redirect(b"ftp://127.0.0.1/"), 1, "refused", "redirect to ftp"),
    (redirect(b"file:///etc/passwd"), 1, "refused", "redirect to a file"),
    (redirect(b"http://me@127.0.0.1/"), 1, "refused", "redirect with a user"),
    (redirect(b"http://127.0.0.1:x/"), 1, "refused", "redirect to no port"),
    (redirect(b"http://a b/"), 1, "refused", "redirect to no host"),
    (redirect(b"http://[::1/"), 1, "refused", "redirect to half an address"),
    (redirect(b"/" + b"x" * 60000), 1, "10 redirects", "long redirects"),
    (redirect(b"/a\tb"), 1, "refused", "redirect with a control character"),
    (then_endless(redirect(b"/file"), b"x" * 4096), 1, "10 redirects",
     "redirects with endless content"),
    # Codings.
    (GZIP_HEAD + BOMB, 0, "", "bomb, which is not decoded"),
    (head_with(b"Content-Encoding: \xff\x7f") + b"x", 4, "field value",
     "a coding that is no name"),
    # Digests.
    (ok(b"x", b"Repr-Digest: sha-256=:%s:" % base64.b64encode(bytes(32))), 4,
     "sha-256", "wrong digest"),
    (ok(b"x", b"Repr-Digest: sha-256=:AA==:"), 0, "", "a digest that is none"),
]
assert len(HOSTILE_RESPONSES) >= 50


@rows(HOSTILE_RESPONSES)
def test_get_hostile(a, b, c, tmp_path):
    """Each ends as documented, in time, and leaves no wrong file."""
    (tmp_path / "t").write_bytes(b"old")
    began = time.monotonic()
    result = fetch_from(a, "--timeout", "0.5", "-o", str(tmp_path / "t"))
    assert time.monotonic() - began < 10    # of that 0.5 s are the timeout's
    assert (result.status, result.out) == (b, b""), result
    if b:
        assert c in message(result)
        assert (tmp_path / "t").read_bytes() == b"old"
    left = sorted(os.listdir(str(tmp_path)))
    assert left in (["t"], ["t", "t.part"]), left
    if len(left) == 2:
        assert "kept in" in message(result)


def test_get_stalls_and_resets():
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    started = time.monotonic()
    result = fetch_from(then_stall(start), "--timeout", "0.3")
    assert time.monotonic() - started < 8   # a second and a slow machine
    assert (result.status, result.out) == (4, b"hello"), result
    assert "5 of 10" in message(result) and "0.3 s" in message(result)
    seen = threading.Event()

    def then_reset(sock):
        sock.sendall(start)
        seen.wait(PATIENCE)
        reset(sock)

    with ScriptedServer(then_reset) as server:
        process = start_httpget(server.host, str(server.port))
        assert os.read(process.stdout.fileno(), 5) == b"hello"
        seen.set()
        result = ended(process)
    assert (result.status, result.out) == (4, b""), result
    assert "5 of 10 bytes: Connection reset" in message(result)


def test_get_drip_is_no_stall():
    def drip(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for _ in range(4):
            # Each byte comes well within the timeout, all of them do not.
            time.sleep(0.4)
            sock.sendall(b"x")

    result = fetch_from(drip, "--timeout", "1")
    assert (result.status, result.out) == (0, b"xxxx"), result


# ---- httpget.py: output -----------------------------------------------------

def test_get_interrupted_keeps_the_part(tmp_path):
    part = tmp_path / "t.part"
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    with ScriptedServer(then_stall(start)) as server:
        process = start_httpget("-o", str(tmp_path / "t"), server.host,
                                str(server.port), preexec_fn=hear_ctrl_c)
        wait_until(lambda: part.exists() and part.stat().st_size == 5,
                   "five bytes in the part")
        process.send_signal(signal.SIGINT)
        result = ended(process)
    assert result.status == 130
    assert "5 bytes kept in %s" % part in message(result)
    assert os.listdir(str(tmp_path)) == ["t.part"]


def test_get_interrupted_before_the_response():
    asked = threading.Event()
    with ScriptedServer(lambda sock: (asked.set(), stall(sock))) as server:
        process = start_httpget(server.host, str(server.port),
                                preexec_fn=hear_ctrl_c)
        assert asked.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        result = ended(process)
    assert result.status == 130
    assert message(result) == "httpget.py: interrupted"


def test_get_reader_leaves():
    with ScriptedServer(without_end(b"x" * 65536)) as server:
        server.script = lambda sock: (sock.sendall(CLOSE_HEAD),
                                      without_end(b"x" * 65536)(sock))
        process = start_httpget("-q", server.host, str(server.port))
        assert process.stdout.read(5) == b"xxxxx"
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(PATIENCE) == 141


def test_get_local_errors(tmp_path):
    with open("/dev/full", "wb") as full:
        result = fetch_from(ok(b"x"), stdout=full)
    assert result.status == 5 and "No space" in message(result)
    folder = tmp_path / "d"
    folder.mkdir()
    blocked = tmp_path / "b"
    (tmp_path / "b.part").mkdir()
    # By a link: a broken version, run by root, would replace the device.
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    for name in (str(full), str(folder), str(tmp_path / "no" / "t"),
                 str(blocked), HTTPGET + "/x"):
        result = fetch_from(ok(b"x"), "-o", name)
        assert (result.status, result.out) == (5, b""), result
        assert name in message(result)
    assert sorted(os.listdir(str(tmp_path))) == ["b.part", "d", "full"]
    assert full.is_symlink()
    with open(os.devnull, "wb") as null:    # errors nobody can be told
        assert fetch_from(ok(b"x"), stdout=null).status == 0
    with open("/dev/full", "wb") as full:
        result = fetch_from(ok(b"x"), preexec_fn=lambda: os.dup2(
            full.fileno(), 2))
        assert (result.status, result.out) == (0, b"x")


def test_get_output_closed_and_usage_wrong():
    """Python's own message would come out elsewhere, or not at all."""
    result = run_httpget("--nonsense", preexec_fn=lambda: os.close(2))
    assert (result.status, result.out) == (2, b""), result


def test_get_closed_output_is_not_the_files(tmp_path):
    """A part that gets the number of standard output is one all the same."""
    with FileServer(MANY_BYTES, etag="", cuts=[1000, 1000]) as server:
        process = start_httpget(server.host, str(server.port), "file", "-o",
                                str(tmp_path / "t"),
                                preexec_fn=lambda: os.close(1))
        result = ended(process)
    assert result.status == 0, result
    assert (tmp_path / "t").read_bytes() == MANY_BYTES


@pytest.mark.parametrize("closed", [1, 2])
def test_get_closed_descriptors(closed):
    # The connection may get the number that is free.
    with ScriptedServer(ok(b"x" * 9)) as server:
        result = run_httpget(server.host, str(server.port),
                             preexec_fn=lambda: os.close(closed))
    assert len(server.requests) == (0 if closed == 1 else 1)
    assert result.status == (5 if closed == 1 else 0), result
    assert result.out == (b"" if closed == 1 else b"x" * 9)


def heed_permissions():
    """Let root's next program be kept out by permissions, as others are."""
    import ctypes
    drop_capability, override = 24, 1   # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
    ctypes.CDLL(None).prctl(drop_capability, override, 0, 0, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"),
                    reason="capabilities are Linux's")
@pytest.mark.parametrize("options", [["-o", "{}/t"], ["-O", "-P", "{}"],
                                     ["-c", "-o", "{}/t"], ["-r", "-P", "{}"]],
                         ids=" ".join)
def test_get_folder_that_is_read_only(options, tmp_path):
    """One line, and what is there is as it was."""
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "t").write_bytes(b"old")
    locked.chmod(0o555)
    options = [option.format(locked) for option in options]
    recursive = "-r" in options
    page = b'[{"name": "u", "type": "file"}]'
    with Listing(b"application/json", page) as server:
        result = run_httpget(server.host, str(server.port),
                             "" if recursive else "t", *options,
                             preexec_fn=heed_permissions)
    assert result.status == (1 if recursive else 5), result
    assert ("is there already" if "-O" in options
            else "Permission denied") in result.err
    assert result.err.count("httpget.py: ") == 1 + recursive
    assert copied(locked) == {"t": b"old"}


def test_get_names_what_is_in_the_way(tmp_path):
    (tmp_path / "t.part.json").mkdir()
    result = fetch_from(ok(b"x"), "-o", str(tmp_path / "t"))
    assert result.status == 5 and "t.part.json: " in message(result), result


def test_get_says_what_could_not_be_read(tmp_path, monkeypatch):
    with pytest.raises(httpget.OutputError) as caught:
        httpget.digest_of(str(tmp_path))
    assert "could not read %s: Is a dir" % tmp_path in str(caught.value)
    (tmp_path / "t.part").write_bytes(b"x")

    def broken(fd, count):
        raise OSError(errno.EIO, "Input/output error")
    output = httpget.FileOutput(str(tmp_path / "t"), 0o666)
    output.written = 1
    output.fd = os.open(str(tmp_path / "t.part"), os.O_RDONLY)
    monkeypatch.setattr(os, "read", broken)
    try:
        with pytest.raises(httpget.OutputError) as caught:
            list(output.blocks())
    finally:
        os.close(output.fd)
    assert str(caught.value) == (
        "could not read %s.part: Input/output error" % (tmp_path / "t"))


def test_get_disk_full_keeps_what_came(tmp_path):
    import resource

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    target = tmp_path / "t"
    target.write_bytes(b"old")
    result = fetch_from(ok(b"x" * 9999), "-o", str(target),
                        preexec_fn=small_files)
    assert result.status == 5, result
    assert "4.0 KiB kept in" in message(result)
    assert target.read_bytes() == b"old"


def test_get_tries_a_full_disk_once():
    """No other file would fare better."""
    with ScriptedServer(ok(b"x")) as server, open("/dev/full", "wb") as full:
        result = run_httpget(server.host, str(server.port), "a", "b",
                             stdout=full)
    assert result.status == 5 and "No space" in message(result), result
    assert len(server.requests) == 1


def test_get_never_follows_or_replaces_what_is_no_file(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"old")
    target = tmp_path / "t"
    (tmp_path / "t.part").symlink_to(victim)
    assert fetch_from(ok(b"new"), "-o", str(target)).status == 0
    assert (target.read_bytes(), victim.read_bytes()) == (b"new", b"old")
    assert not (tmp_path / "t.part").exists()

    pipe = tmp_path / "pipe"
    os.mkfifo(str(pipe))
    with ScriptedServer(ok(b"new")) as server:
        process = start_httpget("-o", str(pipe), server.host,
                                str(server.port))
        assert pipe.read_bytes() == b"new"
        assert ended(process).status == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)

    link = tmp_path / "stdout"
    link.symlink_to("/dev/stdout")
    with open(str(tmp_path / "out"), "wb") as out:
        assert fetch_from(ok(b"new"), "-o", str(link), stdout=out).status == 0
    assert link.is_symlink() and (tmp_path / "out").read_bytes() == b"new"


def test_get_part_is_opened_safely(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"old")
    unlink = os.unlink

    def unlink_and_lose_the_race(path):
        unlink(path)
        os.symlink(str(victim), path)

    (tmp_path / "t.part").write_bytes(b"stale")
    monkeypatch.setattr(os, "unlink", unlink_and_lose_the_race)
    with pytest.raises(httpget.OutputError):
        httpget.FileOutput(str(tmp_path / "t"), 0o666).restart()
    assert victim.read_bytes() == b"old"


def test_get_part_out_of_reach(tmp_path, monkeypatch):
    """Whether it is still there nobody knows; there is no traceback."""
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    for give_up in (httpget.FileOutput.abandon, httpget.FileOutput.destroy):
        output = httpget.FileOutput(str(tmp_path / "t"), 0o666)
        output.restart()
        output.write(b"x")
        with monkeypatch.context() as patched:
            patched.setattr(os, "lstat", denied)
            assert not give_up(output)
        assert output.fd == -1


def test_get_keeps_private_files_private(tmp_path):
    target = tmp_path / "t"
    target.write_bytes(b"old")
    target.chmod(0o600)
    assert fetch_from(ok(b"new"), "-o", str(target)).status == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    umask = os.umask(0o027)
    try:
        assert fetch_from(ok(b"new"), "-o", str(tmp_path / "u")).status == 0
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "u").stat().st_mode) == 0o640


def test_get_part_taken_by_another(tmp_path):
    part = tmp_path / "t.part"

    def answer(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        wait_until(part.exists, "the part")
        part.unlink()
        part.write_bytes(b"of another run")
        sock.sendall(b"def")

    result = fetch_from(answer, "-o", str(tmp_path / "t"))
    assert result.status == 5 and "another program" in message(result)
    assert os.listdir(str(tmp_path)) == ["t.part"]


def test_get_nonblocking_stdout():
    read, write = os.pipe()
    os.set_blocking(write, False)
    content = b"x" * 10 ** 6
    with ScriptedServer(ok(content)) as server:
        process = start_httpget(server.host, str(server.port), stdout=write)
        os.close(write)
        with open(read, "rb") as file:
            assert file.read() == content
        assert ended(process).status == 0


# ---- httpget.py: resuming and proof -----------------------------------------

LATE = {"last-modified": DATE, "date": LATER}
PART = dict(LATE, etag='"a"')


def part_of(value, **fields):
    return dict(PART, **dict(fields, **{"content-range": value}))


@rows([
    # status, fields, length of the body, coded, (written, asked, validator,
    # length), plan or None
    ((200, PART, 9, False, (0, 0, "", None)), (1, 0, 9), "the first"),
    ((200, PART, None, False, (0, 0, "", None)), (1, 0, None), "no length"),
    ((200, PART, 9, True, (0, 0, "", None)), (1, 0, None), "gzip"),
    ((206, part_of("bytes 3-8/9"), 6, False, (4, 3, '"a"', 9)), (0, 1, 5),
     "the rest"),
    ((206, part_of("bytes 8-8/9"), 1, False, (9, 8, '"a"', 9)), (0, 1, 0),
     "all is there"),
    ((206, part_of("bytes 3-8/9"), None, False, (4, 3, '"a"', None)),
     (0, 1, 5), "chunked"),
    ((206, part_of("bytes 3-8/*"), 6, False, (4, 3, '"a"', 9)), (0, 1, 5),
     "no total"),
    ((206, part_of("bytes 3-7/*"), 5, False, (4, 3, '"a"', 9)), (2, 0, None),
     "no total, and not to the end"),
    ((206, part_of("bytes 3-8/*"), 6, False, (4, 3, '"a"', None)),
     (2, 0, None), "nobody knows where it ends"),
    ((206, part_of("bytes 3-8/9"), 9, False, (4, 3, '"a"', 9)), None,
     "too long a body"),
    ((206, part_of("bytes 3-8/9"), 3, False, (4, 3, '"a"', 9)), None,
     "too short a body"),
    ((206, part_of("bytes 3-8/9"), 6, True, (4, 3, '"a"', 9)), None, "coded"),
    ((206, part_of("bytes 3-7/9"), 5, False, (4, 3, '"a"', 9)), (2, 0, None),
     "not to the end"),
    ((206, part_of("bytes 5-8/9"), 4, False, (4, 3, '"a"', 9)), None, "gap"),
    ((206, part_of("bytes */9"), 0, False, (4, 3, '"a"', 9)), None, "nothing"),
    ((206, part_of("bytes 3-9/10"), 7, False, (4, 3, '"a"', 9)), (2, 0, None),
     "another total"),
    ((206, part_of("bytes 3-8/9", etag='"b"'), 6, False, (4, 3, '"a"', 9)),
     (2, 0, None), "another tag"),
    ((206, {"content-range": "bytes 3-8/9"}, 6, False, (4, 3, '"a"', 9)),
     (2, 0, None), "no tag"),
    ((206, part_of("bytes 3-8/9", **{"last-modified": LATER}), 6, False,
      (4, 3, DATE, 9)), (2, 0, None), "another date"),
    ((206, {"content-range": "bytes 3-8/9"}, 6, False, (4, 3, DATE, 9)),
     (2, 0, None), "no date"),
    ((206, part_of("bytes 3-8/9"), 6, False, (4, 3, "", 9)), (2, 0, None),
     "from another place"),
    ((206, part_of("bytes 4-8/9"), 5, False, (4, 0, "", 9)), None, "unasked"),
    ((416, part_of("bytes */3"), 0, False, (4, 3, '"a"', 4)), (2, 0, None),
     "shorter now"),
    ((416, PART, 0, False, (4, 3, '"a"', None)), (2, 0, None), "says nothing"),
    ((202, PART, 9, False, (4, 3, '"a"', 9)), None, "accepted"),
    ((200, PART, 9, False, (4, 3, '"a"', 9)), (0, 4, 5), "no ranges"),
    ((200, PART, 9, False, (1, 0, '"a"', 9)), (0, 1, 8), "one byte is there"),
    ((200, PART, None, False, (4, 4, '"a"', 9)), (0, 4, 5),
     "no ranges, chunked"),
    ((200, PART, 3, False, (4, 4, '"a"', None)), (1, 0, 3), "now shorter"),
    ((200, PART, 8, False, (4, 4, '"a"', 9)), (1, 0, 8), "now of 8"),
    ((200, dict(PART, etag='"b"'), 9, False, (4, 4, '"a"', 9)), (1, 0, 9),
     "another version"),
    ((204, PART, 0, False, (4, 4, '"a"', 9)), None, "no content"),
    ((204, PART, 0, False, (0, 0, "", None)), (1, 0, 0), "none from the start"),
    ((200, PART, 9, True, (4, 4, '"a"', 9)), (1, 0, None), "now coded"),
    ((200, {}, 9, False, (4, 0, "", 9)), (1, 0, 9), "no validator"),
])
def test_get_plan(a, b):
    """Two versions are never joined, and none is taken for whole."""
    status, fields, length, coded, have = a
    if b is None:
        with pytest.raises(httpget.ResponseError):
            httpget.plan(status, fields, length, coded, httpget.Have(*have))
    else:
        assert httpget.plan(status, fields, length, coded,
                            httpget.Have(*have)) == b


class FileServer(ScriptedServer):
    """Serves one file with ranges, and cuts its answers as it is told.

    cuts    how many bytes of content the next answers have, each; then they
            are whole
    digest  whether to tell a digest, True, False or a wrong one
    coding  what it calls the content's coding, None for nothing
    """

    def __init__(self, content, etag='"one"', cuts=(), ranges=True,
                 digest=False, coding=None):
        super().__init__(self.serve_file)
        self.coding = coding
        self.content, self.etag = content, etag
        self.cuts, self.ranges, self.digest = list(cuts), ranges, digest

    def serve_file(self, sock):
        head = email.message_from_bytes(
            self.requests[-1].partition(b"\r\n")[2])
        fields = ["Last-Modified: " + DATE]
        if self.etag is not None:
            fields.append("ETag: " + self.etag)
        if self.coding is not None:
            fields.append("Content-Encoding: " + self.coding)
        if self.ranges:
            fields.append("Accept-Ranges: bytes")
        if self.digest and head["Want-Repr-Digest"]:
            digest = hashlib.sha256(self.content).digest()
            if self.digest == "wrong":
                digest = digest[::-1]
            fields.append("Repr-Digest: sha-256=:%s:"
                          % base64.b64encode(digest).decode())
        status, content = "200 OK", self.content
        if self.ranges and head["Range"] and (
                head["If-Range"] in (None, self.etag)):
            first, last = re.fullmatch("bytes=([0-9]+)-([0-9]*)",
                                       head["Range"]).groups()
            if int(first) >= len(content):
                status, content = "416 Range Not Satisfiable", b""
                fields.append("Content-Range: bytes */%d" % len(self.content))
            else:
                content = content[int(first):int(last) + 1 if last else None]
                status = "206 Partial Content"
                fields.append("Content-Range: bytes %s-%d/%d" % (
                    first, int(first) + len(content) - 1, len(self.content)))
        fields.append("Content-Length: %d" % len(content))
        if len(content) > 1 and self.cuts:
            content = content[:self.cuts.pop(0)]
        sock.sendall(("HTTP/1.1 %s\r\n%s\r\nConnection: close\r\n\r\n" % (
            status, "\r\n".join(fields))).encode() + content)

    def get(self, *options, **popen):
        return run_httpget(*(list(options) + [self.host, str(self.port),
                                              "file"]), **popen)

    def ranges_asked(self):
        return [re.search(b"\r\nRange: bytes=([0-9-]+)", each).group(1).decode()
                if b"\r\nRange" in each else "" for each in self.requests]


MANY_BYTES = bytes(range(256)) * 4000


@pytest.mark.parametrize("output", ["file", "stdout"])
def test_get_goes_on_after_breaks(tmp_path, output):
    """By itself, as long as there is progress; and it is proved."""
    target = tmp_path / "t"
    options = ["-o", str(target)] if output == "file" else []
    with FileServer(MANY_BYTES, cuts=[1, 2000, 3000], digest=True) as server:
        result = server.get("--retries", "1", *options)
    assert result.status == 0, result
    assert (target.read_bytes() if options else result.out) == MANY_BYTES
    # Of one byte the last one is the first: that is no part to ask for.
    assert server.ranges_asked() == ["", "", "1999-", "4998-", "0-0"]
    assert b"\r\nAccept-Encoding: identity\r\n" in server.requests[1]
    assert all(b'\r\nIf-Range: "one"\r\n' in each
               for each in server.requests[2:4])
    assert result.err.endswith(", verified sha-256\n")
    assert os.listdir(str(tmp_path)) == (["t"] if options else [])
    if options:
        assert target.stat().st_mtime == 784111777


def test_get_gives_up_without_progress(tmp_path):
    with FileServer(MANY_BYTES, cuts=[1000, 0, 0, 0]) as server:
        result = server.get("--retries", "2", "-o", str(tmp_path / "t"))
    assert result.status == 4 and "1000 bytes kept" in message(result)
    assert server.ranges_asked() == ["", "999-", "999-"]


@pytest.mark.parametrize("options", [["-o", "{}/file"], ["-r", "-P", "{}"]],
                         ids=" ".join)
def test_get_asks_again_after_half_a_head(tmp_path, monkeypatch, options):
    """Even of the first answer; see the table at Transfer."""
    class Breaking(Listing):
        def answer(self, sock):
            asked = [each.split(b" ")[1] for each in self.requests]
            if asked.count(b"/file") == 1:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-")
            else:
                super().answer(sock)
    monkeypatch.setattr(httpget, "RETRY_DELAY", 0)
    page = b'[{"name": "file", "type": "file"}]'
    with Breaking(b"application/json", page) as server:
        assert httpget.main([option.format(tmp_path) for option in options] + [
            "-q", "--retries", "1", server.host, str(server.port),
            "file" if "-o" in options else "/"]) == 0
    assert copied(tmp_path) == {"file": b"evil"}


@pytest.mark.parametrize("ranges", [True, False])
def test_get_file_that_changes_between(tmp_path, ranges):
    """The new one comes whole; on standard output two are never joined."""
    new = MANY_BYTES[::-1]

    class Changing(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 2:
                self.content, self.etag = new, '"two"'
            super().serve_file(sock)
    with Changing(MANY_BYTES, cuts=[1000], ranges=ranges) as server:
        result = server.get("-o", str(tmp_path / "t"))
    assert result.status == 0, result
    assert (tmp_path / "t").read_bytes() == new
    assert "t: %d bytes in" % (1000 + len(new)) in result.err
    with Changing(MANY_BYTES, cuts=[1000], ranges=ranges) as server:
        result = server.get()
    assert result.status == 4 and result.out == MANY_BYTES[:1000], result
    assert "changed after 1000 bytes" in message(result)


@pytest.mark.parametrize("etag", ['"two"', None])
def test_get_from_a_server_that_ignores_if_range(tmp_path, etag):
    """It sends the rest of another version, perhaps without a word."""
    new = MANY_BYTES[::-1]

    class Careless(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 2:
                self.requests[-1] = self.requests[-1].replace(b"If-R", b"X-R")
                self.content, self.etag = new, etag
            super().serve_file(sock)
    with Careless(MANY_BYTES, cuts=[1000]) as server:
        result = server.get("-o", str(tmp_path / "t"))
    assert result.status == 0, result
    assert (tmp_path / "t").read_bytes() == new


@pytest.mark.parametrize("sent", [1000, len(MANY_BYTES)])
def test_get_answer_that_ends_early_without_a_sign(tmp_path, sent):
    """The request for the digest tells how long the file is."""
    class Silent(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 1:
                sock.sendall(b"HTTP/1.1 200 OK\r\nETag: \"one\"\r\n"
                             b"Accept-Ranges: bytes\r\n\r\n"
                             + MANY_BYTES[:sent])
            else:
                super().serve_file(sock)
    for options in (["-o", str(tmp_path / "t")], []):
        with Silent(MANY_BYTES) as server:
            result = server.get(*options)
            assert result.status == 0, result
            assert (result.out or (tmp_path / "t").read_bytes()) == MANY_BYTES
            assert ("without a sign" in result.err) == (sent == 1000)

    class Lying(Silent):    # it never gives all of it
        def serve_file(self, sock):
            if b"\r\nRange: bytes=0-0" not in self.requests[-1]:
                self.requests[1:] = []
            super().serve_file(sock)
    if sent == 1000:
        with Lying(MANY_BYTES) as server:
            result = server.get("-o", str(tmp_path / "u"), "--retries", "1")
        assert result.status == 4 and not (tmp_path / "u").exists(), result


def test_get_more_than_there_is_of_the_file(tmp_path):
    """To ask again would bring the same again."""
    class Babbling(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 1:
                sock.sendall(b"HTTP/1.1 200 OK\r\nETag: \"one\"\r\n"
                             b"Accept-Ranges: bytes\r\n\r\n"
                             + self.content + b"more")
            else:
                super().serve_file(sock)
    with Babbling(b"text") as server:
        result = server.get("-o", str(tmp_path / "t"), "--retries", "1")
    assert server.ranges_asked() == ["", "0-0"]
    assert result.status == 4 and os.listdir(str(tmp_path)) == [], result
    assert "not what the server has: 8 bytes, not 4" in message(result)


@pytest.mark.parametrize("gone", [None, b"404 Not Found", b"503 Busy"])
def test_get_redirects_to_different_mirrors(tmp_path, gone):
    """One entity tag means nothing at another address: RFC 9110, 8.8.3."""
    class Mirrors(FileServer):
        def serve_file(self, sock):
            path = self.requests[-1].split(b" ")[1]
            if path == b"/file":
                name = b"/m%d" % len(self.requests)
                sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: " + name
                             + b"\r\nContent-Length: 0\r\n"
                             b"Connection: close\r\n\r\n")
                return
            self.asked.append(path)
            if gone and path == b"/m1" and len(self.asked) > 1:
                sock.sendall(b"HTTP/1.1 %s\r\n\r\n" % gone)
                return
            self.content = MANY_BYTES if path == b"/m1" else MANY_BYTES[::-1]
            super().serve_file(sock)
    with Mirrors(MANY_BYTES, cuts=[1000]) as server:
        server.asked = []
        result = server.get("-o", str(tmp_path / "t"))
        assert result.status == 0, result
        assert (tmp_path / "t").read_bytes() == (
            MANY_BYTES[::-1] if gone else MANY_BYTES)
        server.cuts, server.asked, server.requests = [1000], [], []
        result = server.get("-o", str(tmp_path / "u"), "--retries", "0")
        assert result.status == 4, result
        result = server.get("-c", "-o", str(tmp_path / "u"))
        assert result.status == 0, result
        assert (tmp_path / "u").read_bytes() == MANY_BYTES[::-1]


@pytest.mark.parametrize("right", [True, False])
def test_get_part_that_is_complete(tmp_path, site, right):
    """It is proved all the same, and gets its time."""
    target = tmp_path / "t"
    (tmp_path / "t.part").write_bytes(PROBE if right else PROBE[::-1])
    with Running(site) as server:
        url = "http://127.0.0.1:%d/probe.txt" % server.port
        with httpget.fetch(url) as response:
            (tmp_path / "t.part.json").write_text(json.dumps({
                "url": url, "source": url, "length": len(PROBE),
                "validator": response.fields["etag"]}))
        result = run_httpget("-c", "-o", str(target), url)
    if right:
        assert result.status == 0 and "verified sha-256" in result.err, result
        assert target.read_bytes() == PROBE
        assert int(target.stat().st_mtime) == int(
            os.stat(str(site / "probe.txt")).st_mtime)
    else:
        assert result.status == 4 and "sha-256" in message(result)
        assert os.listdir(str(tmp_path)) == []


def test_get_does_not_replace_what_appeared_meanwhile(tmp_path):
    def answer(sock):
        sock.sendall(ok(b"hello")[:-2])
        wait_until((tmp_path / "file.part").exists, "the part")
        (tmp_path / "file").write_bytes(b"precious")
        sock.sendall(b"lo")
    for options in ([], ["--force"]):
        result = fetch_from(answer, "-O", "-P", str(tmp_path), *options)
        if options:
            assert result.status == 0, result
            assert (tmp_path / "file").read_bytes() == b"hello"
        else:
            assert result.status == 5 and "file.part" in message(result)
            assert (tmp_path / "file").read_bytes() == b"precious"
            assert (tmp_path / "file.part").read_bytes() == b"hello"
            (tmp_path / "file").unlink()


def test_get_last_step_of_saving_that_fails(tmp_path):
    """Then all of it is in the part, as the message says."""
    target = tmp_path / "t"

    class Late(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 1:
                target.mkdir()
            super().serve_file(sock)
    with Late(MANY_BYTES) as server:
        result = server.get("-o", str(target))
        assert result.status == 5, result
        assert "; all of it is in %s.part" % target in message(result)
        target.rmdir()
        assert server.get("-c", "-o", str(target)).status == 0
        assert server.ranges_asked() == ["", "0-0", "1023999-", "0-0"]
    assert target.read_bytes() == MANY_BYTES


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "br", "GZIP, gzip"])
def test_get_saves_content_as_sent(tmp_path, coding):
    """A.tar.gz stays what it is, whatever the server calls it."""
    target = tmp_path / "file"
    content = gzip.compress(os.urandom(3000))
    with FileServer(content, cuts=[1000], digest=True,
                    coding=coding) as server:
        result = server.get("-O", "-P", str(tmp_path))
        assert result.status == 0 and target.read_bytes() == content, result
        assert server.ranges_asked() == ["", "999-", "0-0"]
        assert result.err.endswith(
            ", saved as sent, %s, verified sha-256\n" % coding.lower())
        result = server.get("-c", "-O", "-P", str(tmp_path))
        assert "complete already, verified" in result.err, result
        result = server.get("--range", "5-9", "-o", str(target))
        assert target.read_bytes() == content[5:10], result


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("first,then", [(None, "br"), ("gzip", None)])
def test_get_never_joins_two_codings(tmp_path, first, then, ranges):
    """Though a careless server gives both the same entity tag."""
    class Careless(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 2:
                self.content, self.coding = MANY_BYTES[::-1], then
            super().serve_file(sock)
    with Careless(MANY_BYTES, cuts=[1000], coding=first,
                  ranges=ranges) as server:
        result = server.get("-o", str(tmp_path / "t"))
    assert result.status == 0, result
    assert (tmp_path / "t").read_bytes() == MANY_BYTES[::-1]
    assert ("saved as sent, br" in result.err) == (then == "br")


@pytest.mark.parametrize("output", ["file", "stdout"])
def test_get_goes_on_without_ranges(tmp_path, output):
    """What is there already is skipped, if it is the same version."""
    options = ["-o", str(tmp_path / "t")] if output == "file" else []
    with FileServer(MANY_BYTES, cuts=[1000, 70000], ranges=False) as server:
        result = server.get(*options)
    assert result.status == 0, result
    assert ((tmp_path / "t").read_bytes() if options
            else result.out) == MANY_BYTES


@pytest.mark.parametrize("status", [b"204 No Content", b"205 Reset Content",
                                    b"200 OK"])
def test_get_no_content(tmp_path, status):
    """It is none to save, but no reason to throw away what has come."""
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    result = fetch_from(answer, "-o", str(tmp_path / "t"))
    assert result.status == 0 and (tmp_path / "t").read_bytes() == b"", result
    part = tmp_path / "u.part"
    part.write_bytes(b"123")
    with ScriptedServer(answer) as server:
        url = "http://%s:%d/file" % (server.host, server.port)
        (tmp_path / "u.part.json").write_text(json.dumps(
            {"url": url, "source": url, "validator": '"one"', "length": 9}))
        result = run_httpget("-c", "-o", str(tmp_path / "u"), url)
    if status == b"200 OK":     # the file is another one now
        assert (tmp_path / "u").read_bytes() == b"", result
    else:
        assert result.status == 4 and "not the rest" in message(result)
        assert part.read_bytes() == b"123"


def test_get_weak_validator_is_no_validator(tmp_path):
    with FileServer(MANY_BYTES, etag='W/"one"', cuts=[1000]) as server:
        result = server.get("-o", str(tmp_path / "t"))
        assert result.status == 0, result
        assert server.ranges_asked()[:2] == ["", ""]
        server.cuts = [1000]
        result = server.get()
    assert result.status == 4 and result.out == MANY_BYTES[:1000], result


def test_get_resumes_in_a_later_run(tmp_path):
    target, part = tmp_path / "t", tmp_path / "t.part"
    with FileServer(MANY_BYTES, cuts=[1000], digest=True) as server:
        result = server.get("--retries", "0", "-o", str(target))
        assert result.status == 4 and part.read_bytes() == MANY_BYTES[:1000]
        del server.requests[:]
        result = server.get("-c", "-o", str(target))
        assert (result.status, target.read_bytes()) == (0, MANY_BYTES), result
        assert server.ranges_asked() == ["999-", "0-0"]
        assert "verified sha-256" in result.err
        assert os.listdir(str(tmp_path)) == ["t"]
        del server.requests[:]
        result = server.get("-c", "-o", str(target))
        assert result.status == 0 and "complete already" in result.err
        assert server.ranges_asked() == ["0-0"]


class Hashing(FileServer):
    """Makes its digest until it has answered *questions* meanwhile.

    None: it answers none of them, and makes no digest.  Below 0: it answers
    so many, and closes the connection.
    """

    def __init__(self, content, questions):
        super().__init__(content, digest=True)
        self.questions, self.asked, self.held = questions, 0, None

    def serve_file(self, sock):
        request = self.requests[-1]
        if b"\r\nWant-Repr-Digest" in request and not self.held:
            self.held = sock.dup()      # stays open, unanswered
            self.digest_request = request
            return
        if self.held and self.questions is None:
            return
        super().serve_file(sock)
        self.asked += bool(self.held)
        if self.held and self.asked == abs(self.questions):
            if self.questions > 0:
                self.requests.append(self.digest_request)
                super().serve_file(self.held)
            self.held.shutdown(socket.SHUT_WR)

    def __exit__(self, *exc):
        super().__exit__(*exc)
        self.held.close()


@pytest.mark.parametrize("there", [False, True], ids=["fetched", "complete"])
@table("questions, wait, status, says", [
    (2, 600, 0, "verified sha-256", "a server that is alive"),
    (-1, 600, 0, "not verified: no response: the server closed", "a proxy"),
    (None, 600, 0, "not verified: the server does not answer any more",
     "a server that is not"),
    (0, 0, 0, "not verified: no digest from the server within 0 s",
     "a server that takes too long")])
def test_get_digest_that_takes_longer_than_the_timeout(
        tmp_path, monkeypatch, there, questions, wait, status, says):
    """One byte, asked for meanwhile, tells whether to wait for it."""
    target = tmp_path / "file"
    if there:
        target.write_bytes(MANY_BYTES)
        os.utime(str(target), (784111777, 784111777))
        if questions is None:       # then it has nothing to say of the file
            status, says = 3, "no response"
    monkeypatch.setattr(httpget, "DIGEST_WAIT", wait)
    shown = []
    monkeypatch.setattr(httpget, "write_stderr", shown.append)
    with Hashing(MANY_BYTES, questions) as server:
        assert httpget.main(["--timeout", "0.3", "-c", "-O", "-P",
                             str(tmp_path), server.host, str(server.port),
                             "file"]) == status
    assert says in "".join(shown), shown
    assert ("complete already" in "".join(shown)) == (there and status == 0)
    assert target.read_bytes() == MANY_BYTES
    again = there and status == 0 and questions != 2    # without the digest
    assert server.asked == abs(questions or 0) + again


@rows([
    (b"412 Changed", "the server answered 412", "changed meanwhile"),
    (b"503 Busy", "the server answered 503", "in trouble"),
    (b"206 Part\r\nETag: \"two\"\r\nContent-Range: bytes 0-0/9",
     "it is another version", "another version"),
    (b"HTTP/2", "malformed response", "no answer at all")])
def test_get_proof_that_is_lost(tmp_path, a, b):
    """It is said why; no digest at all is no loss."""
    class Losing(FileServer):
        def serve_file(self, sock):
            if b"\r\nWant-Repr-Digest" in self.requests[-1]:
                sock.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n"
                             b"Connection: close\r\n\r\n" % a)
            else:
                super().serve_file(sock)
    with Losing(b"text") as server:
        result = server.get()
        assert (result.status, result.out) == (0, b"text"), result
        assert ", not verified: " + b in result.err, result
        if "answered" in b:     # but has the file
            assert server.get("-O", "-P", str(tmp_path)).status == 0
            result = server.get("-c", "-O", "-P", str(tmp_path))
            assert "complete already, not verified: " + b in result.err, result


@rows([
    (b"", True, 0, 0, "an empty file, whose first byte is a 416"),
    (b"", False, 0, 0, "an empty file, without ranges"),
    (b"text", False, 784111777, 0, "the same size and time"),
    (b"text", False, 784111778, 5, "another time"),
    (b"texts", False, 784111777, 5, "another size"),
])
def test_get_complete_by_size_and_time(tmp_path, a, b, c, d):
    """Where the server gives no digest, nor even ranges."""
    target = tmp_path / "file"
    target.write_bytes(a[:4])
    os.utime(str(target), (c, c))
    with FileServer(a, ranges=b) as server:
        result = server.get("-cO", "-P", str(tmp_path))
    assert result.status == d, result
    assert ("complete already" in result.err) == (d == 0)


@rows([
    ("changed", "another version by now"), ("no notes", "of nobody knows what"),
    ("other notes", "of another address"), ("junk notes", "damaged notes"),
    ("other url", "of another address, from nobody knows where"),
    ("deep notes", "notes that Python cannot read"),
    ("odd notes", "a validator that is none"), ("pipe", "notes in a pipe"),
    ("longer", "more than the server has"), ("link", "a link to a file"),
    ("hard link", "a file that has another name, too"),
])
def test_get_part_that_is_no_part_of_this(tmp_path, a):
    """It is fetched anew, whatever there is."""
    target, part = tmp_path / "t", tmp_path / "t.part"
    notes = tmp_path / "t.part.json"
    with FileServer(MANY_BYTES, cuts=[1000]) as server:
        server.get("--retries", "0", "-o", str(target))
        if a == "changed":
            server.content, server.etag = MANY_BYTES[::-1], '"two"'
        elif a == "no notes":
            notes.unlink()
        elif a == "other notes":
            notes.write_text(notes.read_text().replace("/file", "/other"))
        elif a == "other url":
            notes.write_text(json.dumps(dict(
                json.loads(notes.read_text()), url="http://a/", source="")))
        elif a == "junk notes":
            notes.write_text("[" * 9)
        elif a == "deep notes":
            notes.write_text("[" * 100000)
        elif a == "odd notes":
            notes.write_text(notes.read_text().replace("one", "\\u20ac\\ud800"))
        elif a == "pipe":
            notes.unlink()
            os.mkfifo(str(notes))
        elif a == "longer":
            part.write_bytes(MANY_BYTES + b"more")
        elif a == "hard link":
            victim = tmp_path / "victim"
            os.link(str(part), str(victim))
        else:
            victim = tmp_path / "victim"
            part.rename(victim)
            part.symlink_to(victim)
        del server.requests[:]
        result = server.get("-c", "-o", str(target))
        assert result.status == 0, result
        assert target.read_bytes() == server.content
        assert not part.exists() and not notes.exists()
        if a == "other url":
            assert "999-" not in server.ranges_asked()
        if a == "longer":
            assert "is not a part of what the server has" in result.err
        if a in ("link", "hard link"):
            assert victim.read_bytes() == MANY_BYTES[:1000]


@pytest.mark.parametrize("digest", [True, False])
def test_get_copy_that_is_not_what_the_server_has(tmp_path, digest):
    """Longer, or other bytes: noticed, and fetched anew."""
    target = tmp_path / "t"
    with FileServer(MANY_BYTES, digest=digest) as server:
        for copy in (MANY_BYTES + b"x", MANY_BYTES[::-1], b"", b"short"):
            target.write_bytes(copy)
            result = server.get("-c", "-o", str(target))
            assert result.status == 0, result
            assert target.read_bytes() == MANY_BYTES
            assert ("longer than" in result.err) == (len(copy) > 10**6 + 24000)


def test_get_wrong_digest_leaves_nothing(tmp_path):
    target = tmp_path / "t"
    target.write_bytes(b"old")
    with FileServer(MANY_BYTES, digest="wrong") as server:
        result = server.get("-o", str(target))
        assert result.status == 4 and "sha-256" in message(result)
        assert server.get().status == 4
    assert target.read_bytes() == b"old"
    assert os.listdir(str(tmp_path)) == ["t"]


@rows([
    ("bytes 0-1023999/1024000", "from the start"),
    ("bytes 1001-1023999/1024000", "one late"),
    ("bytes 1000-1023999/1024001", "of another length"),
    ("bytes 1000-1023998/1024000", "cut"), ("", "of nothing"),
    ("bytes */1024000", "of no bytes"),
])
def test_get_other_part_than_was_asked_for(tmp_path, a):
    class Lying(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 1:
                super().serve_file(sock)
            else:
                sock.sendall(b"HTTP/1.1 206 x\r\nContent-Range: %s\r\n"
                             b"Content-Length: 5\r\n\r\nwrong" % a.encode())
    with Lying(MANY_BYTES, cuts=[1000]) as server:
        result = server.get("-o", str(tmp_path / "t"))
    assert result.status == 4 and "part of the file" in message(result)
    assert (tmp_path / "t.part").read_bytes() == MANY_BYTES[:1000]
    assert not (tmp_path / "t").exists()


@table("body, says", [
    (b"Transfer-Encoding: chunked\r\n\r\n1\r\nX\r\n0\r\n\r\n",
     "shorter than it said", "short"),
    (b"\r\nX", "shorter than it said", "cut"),
    (b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n" + b"X" * 0xffffff
     + b"\r\n0\r\n\r\n", "more bytes than there are", "long")])
def test_get_part_with_another_number_of_bytes(tmp_path, body, says):
    """Nothing is whole that has not as many bytes as it should have."""
    class Lying(FileServer):
        def serve_file(self, sock):
            if len(self.requests) == 1:
                super().serve_file(sock)
            else:
                sock.sendall(b"HTTP/1.1 206 x\r\nETag: \"one\"\r\nConnection:"
                             b" close\r\nContent-Range: bytes 999-1023999"
                             b"/1024000\r\n" + body)
    with Lying(MANY_BYTES, cuts=[1000]) as server:
        result = server.get("--retries", "1", "-o", str(tmp_path / "t"))
    assert result.status == 4, result
    assert says in message(result)
    assert "t" not in os.listdir(str(tmp_path))


def test_get_two_runs_of_the_same_download(tmp_path):
    """The second is told so, and neither harms what the first saves."""
    target = tmp_path / "t"
    asked, go = threading.Event(), threading.Event()

    class Slow(FileServer):
        def serve_file(self, sock):
            if b"\r\nRange: bytes=999-" in self.requests[-1]:
                asked.set()
                go.wait(PATIENCE)
            super().serve_file(sock)
    with Slow(MANY_BYTES, cuts=[1000]) as server:
        server.get("--retries", "0", "-o", str(target))
        first = start_httpget("-c", "-o", str(target), server.host,
                              str(server.port), "file")
        assert asked.wait(PATIENCE)
        result = server.get("-c", "-o", str(target))
        assert result.status == 5, result
        assert "another program is writing" in message(result)
        with pytest.raises(httpget.OutputError):
            httpget.FileOutput(str(target), 0o666).restart()
        go.set()
        assert ended(first).status == 0
    assert target.read_bytes() == MANY_BYTES
    assert os.listdir(str(tmp_path)) == ["t"]


def test_get_connection_with_bytes_nobody_asked_for():
    """It is not used for the next file."""
    class Chatty(ScriptedServer):
        def answer(self, sock):
            sock.sendall(ok(b"%d" % len(self.requests)))
            time.sleep(0.1)
            with contextlib.suppress(OSError):
                sock.sendall(ok(b"evil"))
                sock.recv(1)

    with Chatty(b"") as server:
        url = "http://127.0.0.1:%d/" % server.port
        client = httpget.Client(httpget.Settings(), httpget.Report(False, True),
                                httpget.parse_url(url))
        for number in (1, 2):
            response = httpget.run(client.get(httpget.parse_url(url), []))
            assert bytes(httpget.run(response.read())) == b"%d" % number
            assert httpget.run(response.read()) == b""
            wait_until(client._idle.has_input, "what nobody asked for")
        client.close()


@pytest.mark.parametrize("answer", [
    ok(b"1"), ok(b""), CHUNKED_HEAD + b"1\r\n1\r\n0\r\n\r\n"],
                         ids=["content", "no content", "chunks"])
def test_get_connection_with_more_than_the_answer(answer):
    """What came in one segment with it is no answer to the next request."""
    with ScriptedServer(answer + ok(b"evil")) as server:
        url = httpget.parse_url("http://127.0.0.1:%d/" % server.port)
        client = httpget.Client(httpget.Settings(),
                                httpget.Report(False, True), url)
        response = httpget.run(client.get(url, []))
        assert b"".join(response) in (b"1", b"")
        assert client._idle is None


def test_get_strange_fields_end_in_one_line(tmp_path):
    """A date that no clock shows, and a coding of an error's page."""
    target = str(tmp_path / "t")
    for zone in (b"+9999999999999999999999", b"-0000", b"x"):
        result = fetch_from(ok(b"x", b"Last-Modified: Sun, 06 Nov 1994 08:49:37 "
                               + zone), "-o", target)
        assert result.status == 0, result
    result = fetch_from(b"HTTP/1.1 404 No\r\nContent-Encoding: br\r\n\r\nx")
    assert result.status == 1, result
    result = fetch_from(b"HTTP/1.1 302 x\r\nLocation: /caf\xc3\xa9\r\n"
                        b"Content-Length: 0\r\n\r\n")
    assert b"GET /caf%C3%A9 " in result.requests[1]
    result = fetch_from(ok(b"x"), "--auth", "me", environment={
        "HTTPGET_PASSWORD": "\udcff"})
    assert result.status == 0 and b"Basic bWU6/w==" in result.requests[0]
    result = fetch_from(ok(b"x"), "-v", "-H", "Cookie: secret", "-H",
                        "Authorization: secret", "--auth", "me",
                        environment={"HTTPGET_PASSWORD": "x"})
    assert result.status == 0 and "secret" not in result.err
    assert result.requests[0].count(b"uthorization:") == 1


def test_get_does_not_write_to_what_is_there(tmp_path):
    """Nor asks for anything: a FIFO is neither replaced nor filled."""
    os.mkfifo(str(tmp_path / "file"))
    result = fetch_from(ok(b"x"), "-O", "-P", str(tmp_path))
    assert (result.status, result.requests) == (5, []), result
    assert "is there already" in message(result)


def test_get_does_not_replace_what_it_did_not_save(tmp_path):
    """-O leaves a file alone without --force, also with -c."""
    (tmp_path / "file").write_bytes(b"mine")
    with FileServer(MANY_BYTES) as server:
        result = server.get("-c", "-O", "-P", str(tmp_path))
        assert result.status == 5 and "--force" in message(result)
        assert (tmp_path / "file").read_bytes() == b"mine"
        result = server.get("-c", "--force", "-O", "-P", str(tmp_path))
        assert result.status == 0
    assert (tmp_path / "file").read_bytes() == MANY_BYTES


def test_get_error_without_its_content():
    """The status is what counts: nobody waits for long for the rest."""
    result = fetch_from(then_stall(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"))
    assert result.status == 1 and "404" in message(result)


def test_get_secrets_are_not_shown(tmp_path):
    for words in (["http://me:secret@h/"], ["-H", "Cookie:\nsecret"],
                  ["-H", "Cookie: secret\n"]):
        result = run_httpget(*words)
        assert result.status == 2 and "secret" not in result.err, result
    result = run_httpget("--auth", "me", start_new_session=True)
    assert result.status == 2 and "HTTPGET_PASSWORD" in message(result)
    assert len(result.err.splitlines()) == 1


def test_get_range():
    with FileServer(MANY_BYTES) as server:
        result = server.get("--range", "5-9")
        assert (result.status, result.out) == (0, MANY_BYTES[5:10]), result
        assert server.ranges_asked() == ["5-9"]
        result = server.get("--range", "1024000-")
        assert (result.status, result.out) == (1, b""), result
        server.ranges = False
        result = server.get("--range", "5-9")
    assert (result.status, result.out) == (4, b""), result


def test_get_other_range_than_was_wanted():
    result = fetch_from(b"HTTP/1.1 206 x\r\nContent-Range: bytes 5-9/10\r\n"
                        b"Content-Length: 5\r\n\r\nhello", "--range", "0-4")
    assert (result.status, result.out) == (4, b""), result
    assert "another part" in message(result)


@pytest.mark.parametrize("words", [["--range", "-5"], ["--range=-5"]])
def test_get_range_of_the_last_bytes(words):
    """Which argparse alone would take for an option."""
    result = fetch_from(b"HTTP/1.1 206 Part\r\nContent-Range: bytes 4-8/9\r\n"
                        b"Content-Length: 5\r\n\r\nhello", *words)
    assert (result.status, result.out) == (0, b"hello"), result
    assert b"\r\nRange: bytes=-5\r\n" in result.requests[0]


def write_large(path, mebibytes, mark):
    """Write a sparse file of which no two MiB are the same."""
    with open(str(path), "wb") as file:
        for number in range(mebibytes):
            file.seek(number << 20)
            file.write(mark + b"%d " % number)
        file.truncate(mebibytes << 20)


def same_content(first, second):
    """Return whether two files are the same, byte for byte."""
    with open(str(first), "rb") as one, open(str(second), "rb") as other:
        return all(a == b for a, b in itertools.zip_longest(
            iter(lambda: one.read(1 << 20), b""),
            iter(lambda: other.read(1 << 20), b"")))


class BadWay(ScriptedServer):
    """Passes requests on to httpd.py, whose answers often break off.

    *random* decides after how many bytes, and how.  After each number of
    bytes in *kills* the server is killed, and started again by start().
    """

    def __init__(self, start, kills, random):
        super().__init__(self.relay)
        self.start, self.kills, self.random = start, kills, random
        self.server, self.port_behind = start()
        self.count = self.breaks = 0

    def relay(self, sock):
        stop = self.count + self.random.randrange(16 << 20, 160 << 20)
        with socket.create_connection(
                ("127.0.0.1", self.port_behind)) as behind:
            behind.sendall(self.requests[-1].replace(
                b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            for data in iter(lambda: behind.recv(1 << 20), b""):
                sock.sendall(data)
                self.count += len(data)
                if self.kills and self.count > self.kills[0]:
                    del self.kills[0]
                    self.server.kill()
                    self.server.communicate()
                    self.server, self.port_behind = self.start()
                if self.count > stop:
                    self.breaks += 1
                    if self.random.randrange(2):
                        reset(sock)
                    return

    def __exit__(self, *exc):
        super().__exit__(*exc)
        self.server.kill()
        self.server.communicate()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mebibytes,changes", [(1024, False), (256, True)])
def test_get_over_a_bad_way_from_a_bad_server(tmp_path, mebibytes, changes):
    """The server is killed five times, connections break at random.

    All of it arrives in one command; if the file changes meanwhile, the new
    one does.
    """
    source = tmp_path / "site" / "file"
    source.parent.mkdir()
    write_large(source, mebibytes, b"old")
    wait_until_settled(source)
    starts = []

    def start():
        starts.append(1)
        if changes and len(starts) == 4:
            new = tmp_path / "new"
            write_large(new, mebibytes, b"new")
            wait_until_settled(new)
            os.replace(str(new), str(source))
        server = subprocess.Popen(
            [sys.executable, HTTPD, "-q", "-d", str(source.parent),
             "-b", "127.0.0.1", "0"], stderr=subprocess.PIPE)
        return server, int(re.search(rb"http://127.0.0.1:([0-9]+)/",
                                     server.stderr.readline()).group(1))
    kills = [(mebibytes << 20) * number // 6 for number in range(1, 6)]
    with BadWay(start, kills, random.Random(5)) as way:
        result = ended(start_httpget("-o", str(tmp_path / "t"), "127.0.0.1",
                                     str(way.port), "file"), 240)
    assert result.status == 0, result
    assert len(starts) == 6 and (way.breaks > 2 or changes), way.breaks
    assert "verified sha-256" in result.err and "going on in 1 s" in result.err
    assert same_content(source, tmp_path / "t")


# ---- httpget.py: more than one file, redirects, names -----------------------

def test_get_several_files_over_one_connection(tmp_path, site):
    with Running(site) as server:
        result = run_httpget("127.0.0.1", str(server.port), "probe.txt",
                             "none", "probe.txt")
        assert (result.status, result.out) == (1, PROBE * 2), result
        assert result.err.count("Connected to") == 1
        assert "404 Not Found for /none" in result.err
        url = "http://127.0.0.1:%d/" % server.port
        result = run_httpget("-q", url + "probe.txt", url + "probe.txt?x")
        assert (result.status, result.out) == (0, PROBE * 2), result


def test_get_waits_once_on_a_connection_that_was_kept():
    """Only one that the server has closed says nothing of the next."""
    asked = []

    def answer(sock):
        sock.sendall(ok(b"x"))
        asked.append(sock.recv(65536))
        stall(sock)
    with ScriptedServer(answer) as server:
        result = run_httpget("--timeout", "1", "--retries", "0",
                             server.host, str(server.port), "a", "b")
    assert (result.status, result.out) == (1, b"x"), result
    assert "waited 1 s in vain" in message(result)
    assert len(server.requests) == len(asked) == 1
    assert asked[0].startswith(b"GET /b ")


def test_get_follows_redirects():
    class Redirecting(ScriptedServer):
        def answer(self, sock):
            path = self.requests[-1].split(b" ")[1]
            if path == b"/end":
                sock.sendall(ok(b"here"))
                return
            number = int(path[1:])
            to = b"end" if number == 0 else b"%d" % (number - 1)
            sock.sendall(b"HTTP/1.1 30%d x\r\nLocation: %s\r\n"
                         b"Content-Length: 0\r\n\r\n" % (
                             (1, 2, 3, 7, 8)[number % 5], to))
    with Redirecting(b"") as server:
        result = run_httpget(server.host, str(server.port), "9")
        assert (result.status, result.out) == (0, b"here"), result
        assert result.err.count("Redirected to http://127.0.0.1:") == 10
        result = run_httpget(server.host, str(server.port), "10")
        assert (result.status, result.out) == (1, b""), result
        assert "10 redirects" in message(result)


@pytest.mark.parametrize("location", [
    b"ftp://h/x", b"http://u@h/", b"file:///etc/passwd", b"http://h:99999/",
    b"//[/x"])
def test_get_refused_redirect(location):
    result = fetch_from(b"HTTP/1.1 302 x\r\nLocation: %s\r\n\r\n" % location)
    assert (result.status, result.out) == (1, b""), result
    assert "redirect" in message(result) and "refused" in message(result)


def test_get_credentials_are_for_one_origin():
    with ScriptedServer(ok(b"x")) as other:
        to = "http://127.0.0.1:%d/x" % other.port
        script = [b"HTTP/1.1 302 x\r\nLocation: " + to.encode()
                  + b"\r\nContent-Length: 0\r\n\r\n"]
        with ScriptedServer(script) as server:
            result = run_httpget(
                "-v", "--auth", "me", "-H", "Cookie: a=b", "-H", "X-A: b",
                "-H", "Host: z", "127.0.0.1", str(server.port),
                environment={"HTTPGET_PASSWORD": "secret"})
    assert (result.status, result.out) == (0, b"x"), result
    assert b"\r\nAuthorization: Basic bWU6c2VjcmV0\r\n" in server.requests[0]
    assert b"\r\nCookie: a=b\r\n" in server.requests[0]
    assert b"\r\nHost: z\r\n" in server.requests[0]
    assert b"\r\nX-A: b\r\n" in other.requests[0]
    assert not re.search(b"(?i)authorization|cookie|host: z",
                         other.requests[0])
    assert not re.search("secret|bWU6|a=b", result.err)
    assert result.err.count("(not shown)") == 2


def test_get_copies_credentials_are_for_one_origin(tmp_path):
    """That of the first folder, of several that are copied."""
    secrets = re.compile(b"(?i)authorization|cookie")
    page = b'[{"name": "f", "type": "file"}]'
    with Listing(b"application/json", b"") as server, (
            Listing(b"application/json", b"")) as other:
        server.pages = other.pages = dict.fromkeys([b"/a/", b"/b/"], page)
        result = run_httpget(
            "-r", "-P", str(tmp_path), "--auth", "me", "-H", "Cookie: a=b",
            "-H", "X-A: b", "http://127.0.0.1:%d/a/" % server.port,
            "http://127.0.0.1:%d/b/" % other.port,
            environment={"HTTPGET_PASSWORD": "secret"})
    assert result.status == 0, result
    assert [len(secrets.findall(each)) for each in server.requests] == [2, 2]
    assert [len(secrets.findall(each)) for each in other.requests] == [0, 0]
    assert all(b"\r\nX-A: b\r\n" in each for each in other.requests)


def test_get_names_from_the_command_line(tmp_path, site):
    with Running(site) as server:
        address = ["127.0.0.1", str(server.port), "probe.txt"]
        folder = ["-O", "-P", str(tmp_path)]
        assert run_httpget(*(folder + address)).status == 0
        assert (tmp_path / "probe.txt").read_bytes() == PROBE
        (tmp_path / "probe.txt").write_bytes(b"mine")
        result = run_httpget(*(folder + address))
        assert result.status == 5 and "--force" in message(result)
        assert (tmp_path / "probe.txt").read_bytes() == b"mine"
        assert run_httpget(*(folder + ["--force"] + address)).status == 0
        assert (tmp_path / "probe.txt").read_bytes() == PROBE
        long = "n" * 250
        (site / long).write_bytes(PROBE)
        assert run_httpget(*(folder + address[:2] + [long])).status == 0
        assert (tmp_path / long).read_bytes() == PROBE
    assert sorted(os.listdir(str(tmp_path))) == sorted(
        ["around", "probe.txt", long] if (tmp_path / "around").exists()
        else ["probe.txt", long])


def test_get_decodes_gzip():
    text = b"text\n" * 1000
    fields = [b"Content-Encoding: gzip", b"ETag: \"a\""]
    result = fetch_from(ok(gzip.compress(text), *fields))
    assert (result.status, result.out) == (0, text), result
    assert b"\r\nAccept-Encoding: gzip\r\n" in result.requests[0]
    result = fetch_from(ok(gzip.compress(text), *fields), "--raw")
    assert gzip.decompress(result.out) == text
    assert b"\r\nAccept-Encoding: identity\r\n" in result.requests[0]
    result = fetch_from(ok(text), "-H", "Accept-Encoding: x", "-H", "accept: y")
    assert result.requests[0].lower().count(b"\r\naccept-encoding: ") == 1
    assert b"\r\naccept: y\r\n" in result.requests[0]
    for content in (gzip.compress(text)[:-3], b"junk", BOMB,
                    gzip.compress(text) + b"junk",
                    b"\x1f\x8bxxxxxxxxxxxx"):
        result = fetch_from(ok(content, *fields), stdout=subprocess.DEVNULL)
        assert result.status == 4, result
    for coding in (b"br", b"gzip, gzip"):
        result = fetch_from(ok(text, b"Content-Encoding: " + coding))
        assert (result.status, result.out) == (4, b""), result


@rows([(b"ftp://a/", "refused"), (b"/", "in a ring")])
def test_get_failed_fetch_leaves_no_connection(a):
    """That of the redirect was kept for the next request."""
    ends = []

    def answer(sock):
        for _ in range(httpget.REDIRECTS_MAX + 1):
            sock.sendall(b"HTTP/1.1 302 x\r\nContent-Length: 0\r\n"
                         b"Location: %s\r\n\r\n" % a)
            ends.append(sock.recv(65536) == b"")
    with ScriptedServer(answer) as server:
        with pytest.raises(httpget.Failure) as caught:  # which holds it
            httpget.fetch("http://127.0.0.1:%d/" % server.port)
        wait_until(lambda: ends and ends[-1], "the end of the connection")
    assert caught.value.exit_status == 1


def test_get_from_a_program():
    """fetch(): any status, blocks of content, and the documented errors."""
    with ScriptedServer(ok(b"x" * 300000, b"A: b")) as server:
        url = "http://127.0.0.1:%d/" % server.port
        with httpget.fetch(url, fields=[("X-Y", "z")]) as response:
            assert (response.status, response.reason) == (200, "OK")
            assert response.fields["a"] == "b"
            assert b"".join(response) == b"x" * 300000
        assert b"\r\nX-Y: z\r\n" in server.requests[0]
        with httpget.fetch(url) as response:
            assert next(iter(response)) != b""
        with pytest.raises(httpget.BrokenOff):      # not an end: it is closed
            b"".join(response)
        server.script = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"
        with httpget.fetch(url) as response:
            assert response.status == 404 and b"".join(response) == b"no"
        server.script = b"junk"
        with pytest.raises(httpget.ResponseError):
            httpget.fetch(url)
        server.script = ok(b"hello")[:-1]
        with httpget.fetch(url) as response:
            for _ in range(2):      # it does not become an end
                with pytest.raises(httpget.BrokenOff):
                    b"".join(response)
        server.script = ok(b"hello")
        for timeout in (None, 1e300):       # no limit, and as good as none
            with httpget.fetch(url, timeout=timeout) as response:
                assert b"".join(response) == b"hello"
    with pytest.raises(httpget.ConnectError):
        httpget.fetch(url)
    with pytest.raises(ValueError):
        httpget.fetch("ftp://h/")
    for field in (("X", "a\r\nHost: evil"), ("X", "\u20ac"), ("a b", "c")):
        with pytest.raises(ValueError):
            httpget.fetch(url, fields=[field])


def test_get_keeps_the_zone_of_an_address():
    url = httpget.URL("http", "fe80::1%eth0", 8080, "/a/")
    for text in ("http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]:8080/"):
        assert httpget.parse_url(text).host == url.host
    assert httpget.joined(url, "b").host == "fe80::1%eth0"
    assert httpget.joined(url, "//[fe80::2]:8080/").host == "fe80::2"
    assert httpget.name_below(url, "b") == "b"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost, and its key, in one file."""
    if "ssl" in WITHOUT:
        pytest.skip("HTTPD_TEST_WITHOUT=ssl")
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days",
         "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
         str(folder / "key"), "-out", str(folder / "certificate")],
        check=True, stderr=subprocess.DEVNULL)
    return str(folder / "certificate"), str(folder / "key")


class TLSServer(ScriptedServer):
    """The same over TLS; *ragged*: without an end that TLS vouches for."""

    def __init__(self, script, certificate, ragged=False):
        import ssl
        super().__init__(script)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.ragged = ragged

    def serve(self):
        while True:
            sock, _ = self.listener.accept()
            with sock:
                sock.settimeout(PATIENCE)
                with contextlib.suppress(OSError):
                    with self.context.wrap_socket(
                            sock, server_side=True,
                            do_handshake_on_connect=False) as tls:
                        tls.do_handshake()
                        self.requests.append(tls.recv(65536))
                        self.answer(tls)
                        if not self.ragged:
                            tls.unwrap()
                if self.leaving:
                    return

    leaving = False

    def __exit__(self, *exc):
        self.leaving = True
        return super().__exit__(*exc)


def test_get_over_tls(certificate):
    cafile = ["--cafile", certificate[0]]
    with TLSServer(ok(b"secret"), certificate) as server:
        url = "https://localhost:%d/x" % server.port
        result = run_httpget(*(cafile + [url]))
        assert (result.status, result.out) == (0, b"secret"), result
        assert "TLSv1." in result.err
        result = run_httpget(*(cafile + ["--tls", "127.0.0.1",
                                         str(server.port)]))
        assert (result.status, result.out) == (0, b"secret"), result
        result = run_httpget(url)
        assert (result.status, result.out) == (3, b""), result
        assert "certificate" in message(result)
        result = run_httpget("--insecure", url)
        assert (result.status, result.out) == (0, b"secret"), result
        result = run_httpget("--cafile", os.devnull, url)
        assert result.status == 3, result
        result = run_httpget("--cafile", "/none", url)
        assert result.status == 3 and "/none" in message(result)
    with TLSServer(CLOSE_HEAD + b"cut", certificate) as server:
        url = "https://localhost:%d/x" % server.port
        result = run_httpget(*(cafile + ["--retries", "0", url]))
        assert (result.status, result.out) == (0, b"cut"), result
        server.ragged = True
        result = run_httpget(*(cafile + ["--retries", "0", url]))
        assert (result.status, result.out) == (4, b"cut"), result
    with ScriptedServer(ok(b"plain")) as server:
        result = run_httpget("--tls", "--timeout", "2", "127.0.0.1",
                             str(server.port))
        assert result.status == 3, result


def test_get_over_slow_tls(certificate):
    """A record takes longer than --timeout, but something always comes."""
    with TLSServer(ok(os.urandom(15000)), certificate) as server:

        def slowly(sock):   # what came is TLS: its end is not looked for
            with socket.create_connection(server.listener.getsockname()
                                          ) as behind:
                behind.settimeout(PATIENCE)
                behind.sendall(first.pop())
                while True:
                    ready = select.select([sock, behind], [], [], PATIENCE)[0]
                    for one, other in ((sock, behind), (behind, sock)):
                        if one in ready:
                            data = one.recv(1000)
                            if not data:
                                return
                            other.sendall(data)
                            time.sleep(0.1 if one is behind else 0)

        class Relay(ScriptedServer):
            def serve(self):
                sock, _ = self.listener.accept()
                with sock, contextlib.suppress(OSError):
                    first.append(sock.recv(65536))
                    slowly(sock)

            def __exit__(self, *exc):
                self.thread.join(PATIENCE)
                self.listener.close()
        first = []
        with Relay(b"") as relay:
            result = run_httpget("--insecure", "--tls", "--timeout", "0.9",
                                 "--retries", "0", "127.0.0.1",
                                 str(relay.port), "-o", os.devnull)
    assert result.status == 0 and "15000 bytes in" in result.err, result


# ---- httpget.py: copying a folder -------------------------------------------

@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A folder of many files, with names of all kinds."""
    root = tmp_path_factory.mktemp("tree") / "top"
    for number in range(50):
        folder = root / ("d%d" % (number % 7)) / ("%d" % number)
        folder.mkdir(parents=True)
        for name in range(100):
            (folder / ("%d.bin" % name)).write_bytes(b"%d\n" % name * name)
    odd = root / "odd & <names>"
    odd.mkdir()
    for name in HOSTILE_NAMES:
        with contextlib.suppress(OSError):
            (odd / name).write_bytes(os.fsencode(name))
    put_dated_files(root / "dated")
    wait_until_settled(folder / "99.bin")
    return root


def put_dated_files(folder):
    """Make *folder*: times of all kinds, and one with an index page."""
    (folder / "page").mkdir(parents=True)
    for name, mtime in (("odd", 1600000001.5), ("old", -315360000), ("one", 1),
                        ("future", 4 * 10**9), ("page/index.html", 1),
                        ("page/empty", 1500000000)):
        (folder / name).write_bytes(b"" if "empty" in name
                                    else b"<a href=empty>")
        os.utime(str(folder / name), (mtime, mtime))


def copied(folder):
    """Return {path below *folder*: content}."""
    found = {}
    for path, _, names in os.walk(str(folder)):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                found[os.path.relpath(os.path.join(path, name),
                                      str(folder))] = file.read()
    return found


def expected_copy(tree):
    return {os.sep.join(httpget.local_name(part)
                        for part in path.split(os.sep)): content
            for path, content in copied(tree).items()}


def check_copies(tree, target, port, unseen="$^", failures=0):
    """Copy *tree* from *port* twice: all comes once, and then nothing.

    Names that match *unseen* come as other ones, or *failures* of them not.
    """
    def seen(files):
        return {path: content for path, content in files.items()
                if not re.search(unseen, path)}
    expected = expected_copy(tree)
    for unchanged in (0, len(expected) - failures):
        # Each file is synced to the disk, which may be a slow one.
        result = ended(start_httpget("-r", "-P", str(target), "127.0.0.1",
                                     str(port), tree.name), 10 * PATIENCE)
        assert result.status == (1 if failures else 0), result
        assert "%d unchanged; %d failed\n" % (unchanged, failures) in result.err
        assert seen(copied(target / tree.name)) == seen(expected)
    assert re.search("^0 files, 0 bytes in", result.err, re.MULTILINE), result


@pytest.mark.timeout(600)      # 5,000 files, each synced, twice
def test_get_copies_a_folder(tree, tmp_path):
    with Running(tree.parent) as server:
        check_copies(tree, tmp_path, server.port)
        sample = tmp_path / "top" / "d1" / "1" / "5.bin"
        assert int(sample.stat().st_mtime) == int(
            (tree / "d1" / "1" / "5.bin").stat().st_mtime)
        assert {"50%", "%41", "end ", "back\\slash", "c#d?e"} <= set(
            os.listdir(str(tmp_path / "top" / "odd & <names>")))
        sample.write_bytes(b"changed here")
        (tmp_path / "top" / "d1" / "1" / "6.bin").unlink()
        result = run_httpget("-r", "-P", str(tmp_path), "127.0.0.1",
                             str(server.port), "top/")
        assert result.status == 0 and "2 files, " in result.err, result
        assert copied(tmp_path / "top") == expected_copy(tree)


@pytest.mark.timeout(600)      # 5,000 files, each synced, twice
@pytest.mark.skipif(sys.version_info < (3, 7),
                    reason="its http.server knows no 304")
def test_get_copies_a_folder_of_http_server(tree, tmp_path):
    with subprocess.Popen(
            [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1",
             "0"], cwd=str(tree.parent), stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL) as process:
        try:
            port = re.search(b"port ([0-9]+)", process.stdout.readline())
            # It encodes bytes that are no UTF-8 in a way of its own.
            check_copies(tree, tmp_path, int(port.group(1)),
                         "[\udc80-\udcff]")
            # What was changed here is newer than what is there.
            sample = tmp_path / "top" / "d1" / "1" / "5.bin"
            sample.write_bytes(b"changed here")
            result = ended(start_httpget(
                "-r", "-P", str(tmp_path / "top"), "127.0.0.1",
                port.group(1).decode(), "top/d1"), PATIENCE)
            assert result.status == 0, result
            result = ended(start_httpget(
                "-r", "-P", str(tmp_path / "top" / "d1"), "127.0.0.1",
                port.group(1).decode(), "top/d1/1"), PATIENCE)
            assert sample.read_bytes() == b"5\n" * 5, result
        finally:
            process.terminate()


@pytest.mark.timeout(600)      # 5,000 files, each synced, twice
@pytest.mark.parametrize("form", ["html", "json"])
def test_get_copies_a_folder_of_nginx(tree, tmp_path, form):
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not nginx:
        pytest.skip("nginx is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "conf").write_text("""
        daemon off; worker_processes 1; pid %(folder)s/pid; user root;
        error_log stderr crit; events { }
        http { access_log off; client_body_temp_path %(folder)s/a;
        proxy_temp_path %(folder)s/b; fastcgi_temp_path %(folder)s/c;
        uwsgi_temp_path %(folder)s/d; scgi_temp_path %(folder)s/e;
        server { listen 127.0.0.1:%(port)d; root %(root)s; autoindex on;
        autoindex_format %(form)s; } }""" % {
            "folder": tmp_path, "port": port, "root": tree.parent,
            "form": form})
    check_copies_of(tree, tmp_path, port, [
        nginx, "-e", "stderr", "-p", str(tmp_path), "-c",
        str(tmp_path / "conf")])


@pytest.mark.timeout(600)      # 5,000 files, each synced, twice
def test_get_copies_a_folder_of_caddy(tree, tmp_path):
    caddy = shutil.which("caddy")
    if not caddy:
        pytest.skip("caddy is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "Caddyfile").write_text("""
        {
            admin off
            auto_https off
        }
        http://127.0.0.1:%d {
            root * %s
            file_server browse
        }
        """ % (port, tree.parent))
    # It cannot name what is no UTF-8.
    odd = [path for path in copied(tree) if re.search("[\udc80-\udcff]", path)]
    check_copies_of(tree, tmp_path, port, [
        caddy, "run", "--adapter", "caddyfile", "--config",
        str(tmp_path / "Caddyfile")], len(odd))


def check_copies_of(tree, folder, port, command, failures=0):
    """The same from a server that *command* runs at *port*."""
    target = folder / "target"
    target.mkdir()

    def answers():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
    with subprocess.Popen(command, stderr=subprocess.DEVNULL,
                          env=dict(os.environ, HOME=str(folder))) as process:
        try:
            wait_until(answers, command[0])
            check_copies(tree, target, port, "[\udc80-\udcff]", failures)
        finally:
            process.terminate()


class Listing(ScriptedServer):
    """Answers "/" with a listing and all else with a short file."""

    def __init__(self, media, page):
        super().__init__(b"")
        self.media, self.pages = media, {b"/": page}

    def answer(self, sock):
        method, path = self.requests[-1].split(b" ")[:2]
        assert method == b"GET"     # not every server answers others
        sock.sendall(ok(self.pages.get(path, b"evil"), b"Connection: close",
                        b"Content-Type: " + self.media))


@rows([
    (b'{"files": [{"base": "f", "type": "file"}]}', "an object, as npm serve"),
    (b'["f"]', "names alone, as serve-index"), (b'[{"n": 1}]', "other members"),
    (b'[{"name": "f"}, "f"]', "a text among them"), (b"[", "cut off"),
])
def test_get_listing_of_another_shape(tmp_path, a):
    """It is asked for as HTML, once, and is no index page."""
    class Other(Listing):
        def answer(self, sock):
            if b"\r\nAccept: text/html\r\n" in self.requests[-1]:
                self.media, self.pages = b"text/html", {b"/": b"<a href=f>"}
            super().answer(sock)
    with Other(b"application/json", a) as server:
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
        assert result.status == 0 and len(server.requests) == 3, result
    assert copied(tmp_path) == {"f": b"evil"}


@rows([
    (b"/d%%C3%%A9/", b"d%c3%a9", True, "as h2o and serve-index list it"),
    (b"http://127.0.0.1:%d/d%%C3%%A9/", b"d%C3%A9", True, "whole"),
    (b"/d%%C3%%A9/x/", b"d%C3%A9", False, "elsewhere: a file"),
])
def test_get_listing_of_folders_without_a_slash(tmp_path, a, b, c):
    """A redirect to the own path with a slash means a folder."""
    class Redirecting(Listing):
        def answer(self, sock):
            if self.requests[-1].lower().startswith(b"get /d%c3%a9 "):
                sock.sendall(b"HTTP/1.1 301 Moved\r\nConnection: close\r\n"
                             b"Content-Length: 0\r\nLocation: " + a.replace(
                                 b"%d", b"%d" % self.port).replace(
                                     b"%%", b"%") + b"\r\n\r\n")
            else:
                super().answer(sock)
    with Redirecting(b"text/html", b"<a href=/%s>d</a>" % b) as server:
        server.pages.update({b"/d%C3%A9/": b"<a href=f>", b"/index.html": b""})
        for _ in range(2):
            result = run_httpget("-r", "-P", str(tmp_path), server.host,
                                 str(server.port))
            assert result.status == 0, result
    assert set(copied(tmp_path)) == {"index.html"} | (
        {os.path.join("d\xe9", "f"), os.path.join("d\xe9", "index.html")}
        if c else {"d\xe9"})


@rows([
    ("../up", "parent"), ("/abs", "absolute"), ("..", "two dots"),
    (".", "dot"), ("", "empty"), ("a/b", "slash"), ("a\0b", "nul"),
    (5, "number"), (None, "null"), ({"name": "x"}, "object"),
])
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_get_listing_of_what_is_no_name(tmp_path, a, kind):
    """It is left out, and said; the rest is copied."""
    page = json.dumps([{"name": a, "type": kind, "size": 4},
                       {"name": "good", "type": "file", "size": 4}])
    target = tmp_path / "in" / "side"
    target.mkdir(parents=True)
    with Listing(b"application/json", page.encode()) as server:
        result = run_httpget("-r", "-P", str(target), server.host,
                             str(server.port))
    assert result.status == 1 and "which is no name" in result.err, result
    assert copied(tmp_path) == {os.path.join("in", "side", "good"): b"evil"}


def test_get_listing_cannot_lead_elsewhere(tmp_path):
    page = b"".join(b'<a href="%s">x</a>' % link for link in [
        b"../x", b"/../x", b"//evil/x", b"http://evil/x", b"%2e%2e/x",
        b"%2E%2E", b"a/../../x", b"..%2fx", b"..\\x", b".bashrc", b"good",
        b"javascript:x", b"?C=M", b"con", b"a%00b"])
    target = tmp_path / "in" / "side"
    target.mkdir(parents=True)
    with Listing(b"text/html", page) as server:
        result = run_httpget("-r", "-P", str(target), server.host,
                             str(server.port))
    assert result.status == 1, result
    names = {os.path.relpath(each, os.path.join("in", "side"))
             for each in copied(tmp_path)}
    assert {"good", "%2Ebashrc", "%63on"} <= names
    assert not [name for name in names
                if name.startswith("..") or os.sep in name]


def test_get_copies_what_a_page_needs(tmp_path):
    """Once, however often and wherever below the pages name it."""
    site, copy = tmp_path / "site", tmp_path / "copy"
    page = {
        "index.html": "<link href=a.css?1><img src=i/x/p><a href=i/x/q>"
                      "<a href=i/><a href=n/o/>", "a.css": "a", "i/x/p": "p",
        "i/x/q": "q", "i/y": "y", "i/index.html": "<img src=x/p><a href=y>"
                      "<a href=/i/x/><a href=x/>", "i/x/index.html": "<a href=p>",
        "n/o/r": "r", "n/hidden": "no page names it"}
    for name, content in page.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(content)
    copy.mkdir()
    del page["n/hidden"]
    with Running(site) as server:
        for told in ("%d files, " % len(page), "0 files, "):
            result = run_httpget("-r", "-P", str(copy), "127.0.0.1",
                                 str(server.port), "/")
            assert result.status == 0 and told in result.err, result
            assert copied(copy) == {name.replace("/", os.sep): content.encode()
                                    for name, content in page.items()}


@rows([(b"404 Not Found", {"f"}, "a listing, with icons of the server"),
       (b"200 OK", {"f", "i", "index.html"}, "a page")])
def test_get_copy_takes_pictures_of_pages_only(tmp_path, a, b):
    class Iconic(Listing):
        def answer(self, sock):
            if self.requests[-1].startswith(b"GET /index.html "):
                sock.sendall(b"HTTP/1.1 " + a + b"\r\nContent-Length: 0\r\n"
                             b"Connection: close\r\n\r\n")
            else:
                super().answer(sock)
    with Iconic(b"text/html", b"<img src=/i><a href=f>") as server:
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
    assert result.status == 0 and set(copied(tmp_path)) == b, result


def test_get_copy_of_links_below_a_folder_without_listing(tmp_path):
    """What else the page names is copied all the same."""
    class Forbidding(Listing):
        def answer(self, sock):
            if self.requests[-1].startswith(b"GET /d/ "):
                sock.sendall(b"HTTP/1.1 403 No\r\nConnection: close\r\n\r\n")
            else:
                super().answer(sock)
    with Forbidding(b"text/html", b"<a href=d/><a href=d/f><a href=f>") as (
            server):
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
    assert result.status == 1 and "/d/: the server answered 403" in result.err
    assert set(copied(tmp_path)) == {"f", os.path.join("d", "f"), "index.html"}


def test_get_copy_follows_no_link_here(tmp_path):
    """What is there and no folder, or no file, is left alone."""
    site = tmp_path / "site"
    (site / "linked").mkdir(parents=True)
    (site / "linked" / "f").write_bytes(PROBE)
    (site / "probe.txt").write_bytes(PROBE)
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "linked").symlink_to(outside)
    (target / "probe.txt").symlink_to(outside / "probe.txt")
    with Running(site) as server:
        result = run_httpget("-r", "-P", str(target), "127.0.0.1",
                             str(server.port), "/")
    assert result.status == 1 and "linked is there and no folder" in result.err
    assert "probe.txt is there and no file" in result.err
    assert os.listdir(str(outside)) == []


@rows([(b"/outside/x", "a parent"), (b"http://127.0.0.2:9/in/f", "another"),
       (b"/in/../x", "dots"), (b"/in/%2e%2e/x", "encoded dots"),
        (b"/in/%2e%2e?x", "dots before a query"),
        (b"/in-other/x", "a folder whose name begins alike")])
def test_get_copy_is_not_led_out(tmp_path, a):
    """By a redirect: it is not even asked for."""
    class Leading(Listing):
        def answer(self, sock):
            if self.requests[-1].startswith(b"GET /in/f "):
                sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: " + a +
                             b"\r\nConnection: close\r\n\r\n")
            else:
                super().answer(sock)
    page = b'[{"name": "f", "type": "file"}]'
    with Leading(b"application/json", b"") as server:
        server.pages = {b"/in/": page}
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port), "in")
        assert len(server.requests) == 2
    assert result.status == 1 and "leads out" in result.err, result
    assert copied(tmp_path) == {}


def test_get_copy_keeps_times(tmp_path):
    """As listed; where times are rounded to two seconds, as FAT does, too."""
    site, copy = tmp_path / "site", tmp_path / "copy"
    put_dated_files(site)
    copy.mkdir()
    with Running(site) as server:
        for shift, told in ((None, "6 files, "), (0, "0 files, "),
                            (-1, "0 files, "), (1, "0 files, "),
                            (2, "1 file, 14 bytes ")):
            if shift is not None:
                os.utime(str(copy / "odd"), (1600000001 + shift,) * 2)
            result = run_httpget("-r", "-P", str(copy), "127.0.0.1",
                                 str(server.port), "/")
            assert result.status == 0 and told in result.err, result
    for name in ("odd", "one", "future"):
        assert (copy / name).stat().st_mtime == int(
            (site / name).stat().st_mtime)


def test_get_copy_keeps_permissions_and_edits_are_seen(tmp_path):
    page = b'[{"name": "f", "type": "file"}]'
    (tmp_path / "f").write_bytes(b"mine")
    (tmp_path / "f").chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)   # the user's own
    with Listing(b"application/json", page) as server:
        for _ in range(2):      # there is no time to compare
            result = run_httpget("-r", "-P", str(link), server.host,
                                 str(server.port), "/")
            assert result.status == 0 and "1 file, 4 bytes" in result.err
    assert (tmp_path / "f").read_bytes() == b"evil"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


@pytest.mark.parametrize("version", [
    {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}, {}],
    ids=["ASCII", "UTF-8"])
def test_get_copy_in_any_locale(tmp_path, version):
    page = '[{"name": "\xe9", "type": "file"}]'.encode()
    with Listing(b"application/json", b"") as server:
        server.pages = {b"/%C3%A9/": page}
        result = run_httpget(
            "-r", "-P", str(tmp_path), "http://%s:%d/%%C3%%A9/" % (
                server.host, server.port), environment=version)
    assert result.status == 0, result
    folder = os.fsencode(str(tmp_path))
    assert list(os.walk(folder)) == [
        (folder, [b"\xc3\xa9"], []),
        (os.path.join(folder, b"\xc3\xa9"), [], [b"\xc3\xa9"])]


def test_get_copy_from_a_server_that_is_restarted(tmp_path):
    """All is copied, though most of it is asked for while nobody answers."""
    site = tmp_path / "site"
    site.mkdir()
    for number in range(200):
        (site / str(number)).write_bytes(b"%d" % number)
    (tmp_path / "copy").mkdir()
    server = Running(site)
    other = None
    try:
        process = start_httpget("-r", "-P", str(tmp_path / "copy"),
                                "127.0.0.1", str(server.port), "/")
        wait_until(lambda: len(os.listdir(str(tmp_path / "copy"))) > 20,
                   "some files")
        process.send_signal(signal.SIGSTOP)
        server.process.kill()
        server.stop()
        process.send_signal(signal.SIGCONT)
        lines = iter(process.stderr.readline, b"")
        assert any(b"refused); going on in" in line for line in lines)
        other = subprocess.Popen(
            [sys.executable, HTTPD, "-q", "-d", str(site), "-b", "127.0.0.1",
             str(server.port)], stderr=subprocess.DEVNULL)
        result = ended(process)
    finally:
        if other:
            other.kill()
            other.wait()
    assert result.status == 0, result
    assert len(copied(tmp_path / "copy")) == 200


def test_get_copy_asks_again_for_a_listing(tmp_path):
    """Where one breaks off, or the server is gone before the first file."""
    class Breaking(Listing):
        def answer(self, sock):
            path = self.requests[-1].split(b" ")[1]
            cut = {b"/": -1, b"/d/": 0}.get(path)
            if cut is not None and path not in self.broken:
                self.broken.append(path)
                sock.sendall(ok(self.pages[path])[:cut])
            else:
                super().answer(sock)
    with Breaking(b"application/json",
                  b'[{"name": "d", "type": "directory"}]') as server:
        server.pages[b"/d/"] = b'[{"name": "f", "type": "file"}]'
        server.broken = []
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
    assert result.status == 0 and " 0 failed\n" in result.err, result
    assert server.broken == [b"/", b"/d/"]
    assert copied(tmp_path) == {os.path.join("d", "f"): b"evil"}


@rows([
    ("file", b"", 3, httpget.CONNECTIONS, "gone"),
    ("directory", b"HTTP/1.1 200 OK\r\n", 1, 50, "breaks off"),
])
def test_get_copy_from_a_server_that_is_gone(tmp_path, capfd, a, b, c, d):
    """It ends before each name that waits has been asked for in vain.

    One that still answers, be it by half a head, is asked for all of them.
    """
    class Leaving(Listing):
        def answer(self, sock):
            if len(self.requests) == 1:
                super().answer(sock)
            else:
                sock.sendall(b)
    page = json.dumps([{"name": str(number), "type": a}
                       for number in range(50)]).encode()
    with Leaving(b"application/json", page) as server:
        assert httpget.main([
            "-r", "-P", str(tmp_path), "--retries", "0", server.host,
            str(server.port), "/"]) == c
        # Those on their way when it ends are not counted.
        assert d + 1 <= len(server.requests) <= d + 1 + httpget.CONNECTIONS
    lines = capfd.readouterr().err.splitlines()
    assert sum(": http://" in line for line in lines) == d
    assert lines[-1].endswith("; the same command goes on") == (c == 3)


def test_get_copy_onto_a_full_disk(tmp_path, monkeypatch, capfd):
    """It ends at once: no other file would fare better."""
    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    page = json.dumps([{"name": "..", "type": "file"}] + [
        {"name": str(number), "type": "file"}
        for number in range(100)]).encode()
    with Listing(b"application/json", page) as server:
        url = httpget.parse_url("http://127.0.0.1:%d/" % server.port)
        mirror = httpget.Mirror(url, str(tmp_path), "", httpget.Client(
            httpget.Settings(), httpget.Report(False, True), url), 0)
        with pytest.raises(httpget.OutputError) as caught:
            mirror.run()
        assert len(server.requests) < 10
    assert "No space" in str(caught.value)
    # What failed before is listed all the same.
    assert "it lists '..', which is no name" in capfd.readouterr().err


def numbered(before, after, count=250000):
    return b"".join(before + b"%d" % number + after for number in range(count))


@rows([
    (b"[" + b"[]," * 5000000 + b"[]]", "no listing", "lists in a list"),
    (b"[" + b'{"name":[[]]},' * 10**6 + b"{}]", "more than", "lists in names"),
    (b"[" + numbered(b'{"name":"', b'"},') + b"{}]", "more than", "names"),
    (b"x" * (17 << 20), "longer than", "bytes"),
])
@pytest.mark.skipif(PYPY, reason="it takes more memory for anything")
def test_get_endless_listing(tmp_path, a, b):
    """It ends, in 200 MiB more than Python takes for nothing."""
    import resource

    def little_memory():
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
    media = b"application/json" if a[:1] == b"[" else b"text/html"
    with Listing(media, a) as server:
        result = ended(start_httpget(
            "-r", "-P", str(tmp_path), server.host, str(server.port), "/",
            preexec_fn=little_memory), 4 * PATIENCE)
    assert result.status == 1 and b in result.err, result
    assert copied(tmp_path) == {}


@pytest.mark.parametrize("link", [b"<a href=", b"<a href=//h/"])
def test_get_page_with_endless_links(monkeypatch, link):
    """Wherever they lead; the same one again counts for nothing."""
    monkeypatch.setattr(httpget, "LINKS_MAX", 100)
    url = httpget.parse_url(FOLDER_URL)
    page = numbered(link, b">", 100).decode()
    for count in (1, 1000):
        assert len(list(httpget.parse_html_listing(page * count, url))) == (
            0 if b"//" in link else 100)
    with pytest.raises(httpget.ResponseError):
        list(httpget.parse_html_listing(page + "<a href=x>", url))


@pytest.mark.parametrize("files", [0, 3])
def test_get_copy_interrupted(tmp_path, files):
    """One line; what came of each file is kept, and gone on with."""
    page = json.dumps([{"name": "f%d" % n, "type": "file", "size": 10}
                       for n in range(files)]).encode()
    asked = []

    class Stalling(Listing):
        def serve(self):
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = self.listener.accept()
                    threading.Thread(target=self.one, args=(sock,),
                                     daemon=True).start()

        def one(self, sock):
            with sock:
                head = sock.recv(65536)
                if not head:
                    return
                asked.append(head)
                if head.startswith(b"GET / "):
                    if files:
                        sock.sendall(ok(page, b"Connection: close",
                                        b"Content-Type: application/json"))
                        return
                elif b"\r\nRange: bytes=4-\r\n" in head:
                    sock.sendall(b"HTTP/1.1 206 Part\r\nETag: \"x\"\r\n"
                                 b"Content-Range: bytes 4-9/10\r\n"
                                 b"Content-Length: 6\r\n\r\noworld")
                    return
                elif b"\r\nRange: bytes=0-0\r\n" in head:    # for a digest
                    sock.sendall(b"HTTP/1.1 404 No\r\n\r\n")
                    return
                else:
                    sock.sendall(b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\n"
                                 b"Content-Length: 10\r\n\r\nhello")
                with contextlib.suppress(OSError):
                    stall(sock)

        def __exit__(self, *exc):
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()

    def parts():
        return [name for name, content in copied(tmp_path).items()
                if name.endswith(".part") and content == b"hello"]
    with Stalling(b"application/json", page) as server:
        where = ["-r", "-P", str(tmp_path), server.host, str(server.port)]
        process = start_httpget(*where, preexec_fn=hear_ctrl_c)
        wait_until(lambda: asked and len(parts()) == files, "the parts")
        process.send_signal(signal.SIGINT)
        result = ended(process)
        assert result.status == 130, result
        assert message(result) == (
            "httpget.py: interrupted; 0 files are copied, and what has come"
            " of others is kept; the same command goes on")
        assert len(parts()) == files
        if files:
            result = run_httpget(*where)
            assert result.status == 0 and "3 files, 15 bytes" in result.err
            assert copied(tmp_path) == {"f%d" % n: b"helloworld"
                                        for n in range(files)}


def test_get_listing_with_names_that_collide(tmp_path):
    """With parts of the copy, with each other, or with no name at all."""
    names = ["a", "a.part", "a.part.json", ".a.part", "a", "b", "b", "\ud800",
             "%2Ea.part"]
    page = json.dumps([{"name": name, "type": "file"} for name in names])
    with Listing(b"application/json", page.encode()) as server:
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
    assert result.status == 1, result
    assert "5 files, " in result.err and "2 failed" in result.err
    assert "'%2Ea.part', which would be saved as another one" in result.err
    assert sorted(os.listdir(str(tmp_path))) == [
        "%2Ea.part", "a", "a.part", "a.part.json", "b"]


@pytest.mark.parametrize("page", [
    b"<!--" * 200000, b"<a " * 200000, b"<a href=" * 100000, b"<![foo[ x ]]>",
    b"<a" + b" " * 10**6, b"<a href" + b" " * 10**6, b"<a href=\"" * 10**5,
    b"<a " + b"href " * 200000], ids=lambda page: repr(page[:9]))
def test_get_listing_takes_linear_time(page):
    url = httpget.parse_url(FOLDER_URL)
    began = time.monotonic()
    assert list(httpget.parse_html_listing(page.decode(), url)) == []
    assert time.monotonic() - began < 8


def test_get_nested_folders_end():
    """A server whose every folder has another one in it."""
    class Endless(ScriptedServer):
        def answer(self, sock):
            sock.sendall(ok(b'[{"name": "d%d", "type": "directory"}]'
                            % len(self.requests), b"Connection: close",
                            b"Content-Type: application/json"))
    with tempfile.TemporaryDirectory() as folder, Endless(b"") as server:
        result = run_httpget("-r", "-P", folder, server.host,
                             str(server.port))
        assert len(server.requests) == httpget.DEPTH_MAX + 1
    assert result.status == 1 and "nested more than" in result.err, result


def test_get_copy_is_not_held_up_by_a_fast_file(tmp_path):
    """The others come while one is always there to be read."""
    done = threading.Event()

    class Streaming(Listing):
        def serve(self):
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=self.one, daemon=True,
                                     args=self.listener.accept()[:1]).start()

        def one(self, sock):
            with sock, contextlib.suppress(OSError):
                path = sock.recv(65536).split(b" ")[1:2]
                if path == [b"/"]:
                    sock.sendall(ok(page, b"Content-Type: application/json",
                                    b"Connection: close"))
                elif path == [b"/fast"]:
                    sock.sendall(CLOSE_HEAD)
                    while not done.is_set() and len(sent) < 400:
                        sock.sendall(MEBIBYTE)
                        sent.append(1)
                elif path:
                    sock.sendall(CLOSE_HEAD + path[0])
                    if path == [b"/last"]:
                        done.set()

        def __exit__(self, *exc):
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
    sent = []
    page = json.dumps([{"name": name, "type": "file"} for name in
                       ["last"] + [str(n) for n in range(20)] + ["fast"]]).encode()
    with Streaming(b"", b"") as server:
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
    assert result.status == 0 and "22 files, " in result.err, result
    assert len(sent) < 200


UP = b'{"name": "up", "type": "directory"}'
FILE = b'{"name": "f", "type": "file", "size": 4, "mtime": "%s"}' % DATE.encode()


@rows([
    (b"[%s, %s]" % (UP, FILE), b"", 1, "sizes and times"),
    (b"[%s]" % UP, b"", 3, "no file: four in a row"),
    (b'[%s, {"name": "b", "type": "directory"}]' % UP, b"", 7, "of two"),
    (b"<a href=up/><a href=f>", b"", 1, "names alone"),
    (b"<a href=up/>", b"", 3, "no name of a file"),
    (b"<a href=up><a href=f>", b"", 1, "folders without a slash"),
    (b"<a href=up/><a href=f>", b"<a href=up/><a href=g>", 2, "of two listings"),
    (b"<a href=up/>", b"<a href=up/><a href=x/>", 14, "in turns, and no file"),
])
def test_get_copy_ends_where_folders_loop(tmp_path, a, b, c):
    """A link leads to the folder above, or a shows b and b shows a."""
    class Looping(Listing):
        def answer(self, sock):
            path = self.requests[-1].split(b" ")[1]
            name = path.rpartition(b"/")[2]
            depth = path.count(b"/")
            self.pages = {path: b"evil"}
            if not name:
                self.pages = {path: (b or a) if depth % 2 == 0 else a}
            if name in (b"up", b"index.html"):
                sock.sendall(b"HTTP/1.1 %s\r\nLocation: %s/\r\nConnection: close"
                             b"\r\n\r\n" % (b"404 No" if name != b"up" else
                                           b"301 Moved", path))
            else:
                super().answer(sock)
    media = b"text/html" if a[:1] == b"<" else b"application/json"
    with Looping(media, b"") as server:
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
    assert result.status == 1 and ": it lists the same as http" in result.err
    folders = [path for path, _, _ in os.walk(str(tmp_path))]
    assert len(folders) == c, (folders, result)
    assert len(copied(tmp_path)) == (c if b"f>" in a or b'"f"' in a else 0)


@pytest.mark.parametrize("form", ["html", "json"])
def test_get_copy_of_folders_that_are_alike(tmp_path, form):
    """No loop: the same names all the way, but other files."""
    class Nested(Listing):
        def answer(self, sock):
            path = self.requests[-1].split(b" ")[1]
            depth = path.count(b"/")
            page = [b"<a href=f>"] + [b"<a href=x/>"] * (depth < 4)
            if form == "json":
                page = [b'{"name": "f", "type": "file", "size": %d}' % depth] + [
                    b'{"name": "x", "type": "directory"}'] * (depth < 4)
                page = [b"[" + b",".join(page) + b"]"]
            self.pages = {path: b"x" * depth if path.endswith(b"f")
                          else b"".join(page)}
            super().answer(sock)
    media = b"text/html" if form == "html" else b"application/json"
    with Nested(media, b"") as server:
        result = run_httpget("-r", "-P", str(tmp_path), server.host,
                             str(server.port))
    assert result.status == 0, result
    assert {name for name in copied(tmp_path) if name.endswith("f")} == {
        os.path.join(*["x"] * depth + ["f"]) for depth in range(4)}


@pytest.mark.parametrize("columns", [0, 20, 200])
def test_get_progress_on_a_terminal(tmp_path, columns):
    """It is shown, and taken off again; elsewhere nothing of it is."""
    import fcntl
    import pty
    import termios
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ,
                struct.pack("HHHH", 24, columns, 0, 0))
    with FileServer(MANY_BYTES * 40, cuts=[10**7]) as server:
        process = start_httpget(server.host, str(server.port), "file", "-o",
                                str(tmp_path / "t"), stderr=slave)
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: Linux's end of a terminal
            for data in iter(lambda: os.read(master, 65536), b""):
                shown += data
        process.communicate()
    os.close(master)
    assert process.returncode == 0 and b"\x1b" not in shown
    line = re.search(rb"\r[0-9]+ %  [0-9.]+ (bytes|[KM]iB) of 39.1 MiB"
                     rb"  [0-9.]+ [KM]iB/s", shown)
    if columns == 20:   # it would go on in the next line, and stay there
        assert not line and re.search(rb"\r[0-9]+ %  ", shown)
        assert all(len(each) < 20 for each in shown.split(b"\r")
                   if b" %  " in each)
    else:
        assert line
    for line in shown.decode().split("\r\n"):
        last = line.rpartition("\r")[2]     # what stays
        assert "%" not in last


def test_get_shows_no_progress_of_what_is_quick(monkeypatch):
    """A line that is gone at once would flicker."""
    lines, clock = [], [100.0]
    monkeypatch.setattr(httpget, "write_stderr", lines.append)
    monkeypatch.setattr(httpget.time, "monotonic", lambda: clock[0])
    report = httpget.Report(False, False, True)
    clock[0] += httpget.PROGRESS_WAIT / 2
    report.progress(1, 2)
    report.clear()
    assert lines == []
    clock[0] += httpget.PROGRESS_WAIT
    report.progress(2, 2)
    assert lines and lines[0].startswith("\r100 %")


def test_ctrl_c_says_what_is_waited_for(site):
    """On a terminal; a second one ends it at once."""
    with terminal() as (slave, shown):
        process = subprocess.Popen(
            [sys.executable, HTTPD, "-q", "-d", str(site), "-b", "127.0.0.1",
             "0"], stderr=slave)
        try:
            port = wait_until(lambda: re.search(
                rb":([0-9]+)/[^\0]*Ctrl-C", b"".join(shown)), "the start")
            with Wire(int(port.group(1))) as wire:
                wire.send(request_for("/big.bin"))
                assert wire.head()
                process.send_signal(signal.SIGINT)
                wait_until(lambda: b"still served: 1; " in b"".join(shown),
                           "the message")
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("environment", [
    {"TERM": "xterm-256color"}, {"TERM": "dumb", "NO_COLOR": "1"}],
    ids=["colours", "NO_COLOR"])
def test_terminals_get_no_escape_sequence(site, tmp_path, environment):
    """Neither program colours, whatever the terminal can do."""
    environment = dict(os.environ, PYTHONIOENCODING="utf-8", **environment)
    with terminal() as (slave, shown):
        def start(*command):
            return subprocess.Popen(
                (sys.executable,) + command, env=environment, stdout=slave,
                stderr=slave, stdin=subprocess.DEVNULL)

        def port():
            return re.search(rb"127.0.0.1:([0-9]+)/.*Ctrl-C", b"".join(shown),
                             re.DOTALL)
        asked = [start(HTTPD, "-h"), start(HTTPD, "-1"), start(HTTPGET, "-h"),
                 start(HTTPGET, "-4", "-6")]
        server = start(HTTPD, "-d", str(site), "-b", "127.0.0.1", "0")
        try:
            number = wait_until(port, "the start").group(1).decode()
            with Wire(int(number)) as wire:
                wire.send(b"GET /\x1b[31m HTTP/1.1\r\n\r\n")
                assert wire.response().status == 400
            for name, status in (("\x1b[31m", 2), ("no.file", 1),
                                 ("big.bin", 0)):
                process = start(HTTPGET, "-v", "-o", str(tmp_path / "x"),
                                "127.0.0.1", number, name)
                assert process.wait(PATIENCE) == status
        finally:
            server.terminate()
            server.wait(PATIENCE)
        assert [each.wait(PATIENCE) for each in asked] == [0, 2, 0, 2]
    text = b"".join(shown).decode()
    for part in ("examples:", "usage: httpget.py", " 400 ", "< HTTP/1.1 404",
                 "bytes in "):
        assert part in text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text)


def test_get_progress_of_a_copy(monkeypatch):
    shown = []
    monkeypatch.setattr(httpget, "write_stderr", shown.append)
    report = httpget.Report(False, False, True)
    report._due = 0.0
    report.copied(1, 0, 1)
    report.copied(2, 0, 2)      # too soon to be shown
    assert shown == ["\r1 file, 1 byte; 0 unchanged"]


# ---- httpget.py: terminal ---------------------------------------------------

@rows([
    ([ok(b"text\n")], b"text\n", 0, "text"),
    ([ok(b"no end")], b"no end\n", 0, "no line end"),
    ([ok(b"a\x1b]0;x\x07\tb\r\nc\rd\xc2\x9b\xe2\x80\xae\n")],
     b"a\\x1b]0;x\\x07\tb\nc\\x0dd\\x9b\\u{202e}\n", 0, "escape characters"),
    ([CLOSE_HEAD + b"a\r", b"\n\xc3", b"\xa9", b"\r"], b"a\n\xc3\xa9\\x0d\n",
     0, "cut within characters"),
    ([ok(b"\x89PNG\r\n\x1a\n\x00")], b"", 5, "image"),
    ([ok(b"a\x00b")], b"", 5, "nul"),
    ([ok(b"caf\xe9 is not UTF-8")], b"", 5, "not utf-8"),
    ([CLOSE_HEAD + b"cut \xc3"], b"cut \n", 5, "ends within a character"),
    ([ok(b"x" * 400000 + b"\n" + b"\x00" * 9)],
     b"x", 5, "binary late"),
])
def test_get_on_terminal(a, b, c):
    result, shown = on_terminal(a)
    assert result.status == c, result
    if len(a[0]) > 10000:
        assert set(shown) <= {ord("x"), ord("\n")} and len(shown) > 1000
    else:
        assert shown == b
    if c == 5:
        assert "-o FILE" in message(result)


def test_get_terminal_forced():
    result, shown = on_terminal(ok(BINARY), "-o", "-")
    assert (result.status, shown) == (0, BINARY)


def test_get_terminal_cut_anywhere():
    data = b"a\r\n\xc3\xa9\rb\x1b\r"
    for size in range(1, len(data) + 1):
        read, write = os.pipe()
        output = httpget.TerminalOutput(write, "utf-8")
        for start in range(0, len(data), size):
            output.write(data[start:start + size])
        output.finish()
        os.close(write)
        with open(read, "rb") as file:
            assert file.read() == b"a\n\xc3\xa9\\x0db\\x1b\\x0d\n"
