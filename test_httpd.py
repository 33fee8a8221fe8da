"""Tests of httpd.py and httpget.py, from the pure to the impure.

    .venv/bin/pytest                        fast tests, under two minutes
    .venv/bin/pytest -m slow                tests that need minutes, gigabytes,
                                            browsers or other servers
    .venv/bin/pytest -k range               tests with "range" in their names
    .venv/bin/python -X dev -m pytest       with Python's own checks

Warnings are errors.  Tests use only what is promised: options, the wire, the
pure functions, and the documented API with its seams: Server(limits=, clock=,
wrap=) and wake(), and main(delays=) of the client.  Tables have a row for
each case; its last column says why the case is there.
"""

import atexit
import base64
import collections
import concurrent.futures
import contextlib
import doctest
import errno
import functools
import gzip
import hashlib
import html.parser
import inspect
import io
import itertools
import json
import ntpath
import os
import posixpath
import py_compile
import random
import re
import select
import selectors
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
import urllib.parse
import urllib.request

import pytest

# What a platform may lack, and how to take it away.  The fast tests also run
# without some of it: HTTPD_TEST_WITHOUT=sendfile,MSG_MORE.
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
        "        one = socket.create_connection(listener.getsockname())\n"
        "        return one, listener.accept()[0]\n"
        "socket.socketpair = pair\ndel socket.AF_UNIX"),
    "SO_REUSEPORT": "import socket\nvars(socket).pop('SO_REUSEPORT', None)",
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
WITHOUT = re.findall("[^,]+", os.environ.get("HTTPD_TEST_WITHOUT", ""))


def lacking(folder, features):
    """Return an environment in which Python lacks *features*: it first runs
    code that is written to *folder*."""
    with open(os.path.join(str(folder), "sitecustomize.py"), "w") as file:
        file.writelines(MISSING[feature] + "\n" for feature in features)
    return dict(os.environ, PYTHONPATH=str(folder))


def needs(feature):
    """Return the mark of a test that needs *feature*."""
    return pytest.mark.skipif(feature in WITHOUT,
                              reason="HTTPD_TEST_WITHOUT=" + feature)


SCRATCH = tempfile.mkdtemp()    # of this run
atexit.register(shutil.rmtree, SCRATCH, True)
if WITHOUT:     # this process does, too, and all that it starts
    os.environ.update(lacking(SCRATCH, WITHOUT))
    for _feature in WITHOUT:
        exec(MISSING[_feature], {})
    if "sendfile" in WITHOUT:
        shutil._USE_CP_SENDFILE = False     # it has looked already

import httpd
import httpget

HERE = os.path.dirname(os.path.abspath(__file__))
PYPY = sys.implementation.name == "pypy"
# Where daemons are; not in every user's PATH.
SBIN = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
PATIENCE = 30       # seconds until a test that waits for an event gives up
NOW = 1700000000.0  # 2023-11-14 22:13:20
DEV = ["-X", "dev", "-W", "error"]      # Python's own checks
HAS_IPV6 = "IPv6" not in WITHOUT and os.path.exists("/proc/net/if_inet6")

# ---- Helpers ----------------------------------------------------------------


def table(names, rows):
    """Parametrise by *rows*; the last column says why the row is there and
    becomes the test's id.  *names* are the names of the other columns."""
    return pytest.mark.parametrize(
        names, [row[:-1] if "," in names else row[0] for row in rows],
        ids=[row[-1] for row in rows])


def wait_until(condition, what):
    """Return the first true value of condition(); fail after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "no sign of " + what
        time.sleep(0.002)


def wait_until_settled(path):
    """Wait until *path* has been unchanged for long enough to be cached."""
    status = os.stat(str(path))
    latest = max(status.st_mtime, status.st_ctime) + 2 * httpd.SETTLED_NS / 1e9
    wait_until(lambda: time.time() > latest, "the clock")


@functools.lru_cache(maxsize=None)
def compiled(program):
    """Return the path of *program*, compiled, so that it starts faster."""
    path = os.path.join(SCRATCH, program + "c")
    py_compile.compile(os.path.join(HERE, program), path, doraise=True)
    return path


def need_descriptors(count):
    """Let this process open *count* files; skip if it may not."""
    resource = pytest.importorskip("resource")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count * 8 // 7 + 100:
        pytest.skip("the open-file limit here is %d" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class LogReader:
    """Reads the access log *log_file*, which may have lines of other tests, so
    each test finds its lines by a mark of its own."""

    def log_lines(self, mark=""):
        """Return the lines that contain *mark* now."""
        with open(self.log_file.name, encoding="ascii") as file:
            return [line for line in file.read().splitlines() if mark in line]

    def logged(self, mark, count=1):
        """Wait for *count* lines with *mark*; return them, or the only one;
        fail if there are more."""
        wait_until(lambda: len(self.log_lines(mark)) >= count,
                   "%d log lines with %r" % (count, mark))
        lines = self.log_lines(mark)
        assert len(lines) == count, lines
        return lines[0] if count == 1 else lines


class Running(LogReader):
    """httpd.py in a process of its own, on a free port.

    Its access log is a file.  After the start, all that it writes to standard
    error must match the regular expression *says*: no traceback, no warning.
    A shell runs the command *shell* first, such as "ulimit -n 64".
    """

    def __init__(self, directory, *options, flags=DEV, says="", shell="",
                 port=0, **popen):
        if "fork" in WITHOUT and {"-w", "--workers"}.intersection(options):
            pytest.skip("HTTPD_TEST_WITHOUT=fork")
        self.says = says
        self.log_file = tempfile.NamedTemporaryFile("ab")
        command = [sys.executable, *flags, compiled("httpd.py"), "-d",
                   str(directory), *options, str(port)]
        if shell:
            command = ["sh", "-c", shell + '; exec "$@"', "sh", *command]
        popen.setdefault("stdout", self.log_file)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE,
                                        **popen)
        self.pid = self.process.pid
        self.start_message = ""
        for line in iter(self.process.stderr.readline, b""):
            self.start_message += line.decode()
            if b"Ctrl-C" in line:
                break
        assert "sitecustomize" not in self.start_message
        assert "Ctrl-C" in self.start_message, self.start_message
        found = re.search(r"https?://\S+:([0-9]+)/", self.start_message)
        self.port = int(found.group(1)) if found else None

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        messages = self.stop()
        if kind is None:
            assert re.fullmatch(self.says, messages, re.DOTALL), messages
            assert self.process.returncode == 0

    def stop(self, number=signal.SIGTERM):
        """Stop the process if it runs; return its messages since the start."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            messages = self.process.communicate(timeout=2 * PATIENCE)[1]
        except ValueError:  # stopped before
            messages = b""
        self.log_file.close()
        return messages.decode()

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def memory(self, name="VmRSS"):
        """Return its memory in KiB: the line *name* in /proc."""
        with open("/proc/%d/status" % self.pid) as file:
            return int(re.search(name + r":\s+([0-9]+)", file.read()).group(1))


class Clock:
    """A clock for Server(clock=): it stands still until a test turns it."""
    now = 1000.0

    def __call__(self):
        return self.now


class Serving(LogReader):
    """An httpd.Server in a thread of this process, with *options*.  It starts
    in a millisecond.  Its messages must match *says*."""

    def __init__(self, directory, says="", log_format="combined", **options):
        self.says = says
        self.log_file = tempfile.NamedTemporaryFile("ab")
        self.clock = options.get("clock")
        options.setdefault("bind", "127.0.0.1")
        self.log = httpd.AccessLog(self.log_file.fileno(), log_format)
        self.server = httpd.Server(str(directory), 0, access_log=self.log,
                                   **options)
        self.port = int((self.server.url.split(":") + ["0"])[2].strip("/"))

    def __enter__(self):
        self.messages = tempfile.TemporaryFile("w+")
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(contextlib.redirect_stderr(self.messages))
        self.stack.enter_context(self.server)
        return self

    def __exit__(self, kind, *rest):
        self.stack.__exit__(kind, *rest)
        self.messages.seek(0)
        said = self.messages.read()
        self.messages.close()
        self.log_file.close()
        if kind is None:
            assert re.fullmatch(self.says, said, re.DOTALL), said

    def turn(self, seconds):
        """Advance the clock by *seconds*, and wake the server."""
        self.clock.now += seconds
        self.server.wake()

    def sync(self):
        """Return once the server has read all that was sent to it before."""
        for _ in range(2):      # what a new connection sends is read late
            with Wire(self.port) as wire:
                wire.get("/?sync", "Connection: close")
                wire.end()


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

    def __repr__(self):
        return "%s\n%r" % (self.head.decode("latin-1"), self.content[:500])

    def same_as(self, other):
        """Return whether both are equal but for the Date."""
        return (self.status, self.content, dict(self.fields, date="")) == (
            other.status, other.content, dict(other.fields, date=""))


def reset(sock):
    """Close *sock* by RST, as when a program crashes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    sock.close()


class Wire:
    """A raw connection to the server at *port*; *host* may be a path."""

    def __init__(self, port, host="127.0.0.1"):
        if host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE)
            self.sock.connect(host)
        else:
            self.sock = socket.create_connection((host, port), PATIENCE)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def get(self, target, *lines, method="GET"):
        self.send(request_for(target, *lines, method=method))
        return self.response(method)

    def has_input(self):
        return bool(select.select([self.sock], [], [], 0)[0])

    def more(self):
        """Read what has arrived, at least one byte."""
        data = self.sock.recv(1 << 18)
        assert data, "closed after %r" % self.received[-200:]
        self.received += data

    def head(self, end=b"\r\n\r\n"):
        """Return exactly one response head, or bytes up to another *end*."""
        while end not in self.received:
            self.more()
        return self.take(self.received.index(end) + len(end))

    def response(self, method="GET"):
        """Return exactly one response."""
        answer = Answer(self.head(), b"")
        if method == "HEAD" or answer.status == 304:
            return answer
        if answer.fields.get("transfer-encoding") == "chunked":
            assert "content-length" not in answer.fields
            answer.content = b"".join(iter(self.chunk, b""))
        else:
            answer.content = self.take(int(answer.fields["content-length"]))
        return answer

    def take(self, length):
        """Return exactly *count* bytes."""
        while len(self.received) < length:
            self.more()
        data = bytes(self.received[:length])
        del self.received[:length]
        return data

    def chunk(self):
        """Return one chunk of a chunked body."""
        size = self.head(b"\r\n")
        assert re.fullmatch(b"[0-9a-f]+\r\n", size)
        data = self.take(int(size, 16) + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    def rest(self):
        """Return all bytes until the server closes."""
        for data in iter(lambda: self.sock.recv(1 << 18), b""):
            self.received += data
        return self.take(len(self.received))

    def end(self):
        """Assert that the server closes without sending anything more."""
        assert self.received == b""
        assert self.sock.recv(1000) == b""

    def reset(self):
        reset(self.sock)


class TLSWire(Wire):
    """The same over TLS; an end without close_notify is an error."""

    def __init__(self, port, cafile, tls_1_2=False):
        super().__init__(port)
        import ssl
        context = ssl.create_default_context(cafile=cafile)
        if tls_1_2 and hasattr(context, "maximum_version"):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        elif tls_1_2:  # Python 3.6
            context.options |= ssl.OP_NO_TLSv1_3
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.sock = context.wrap_socket(     # it closes what fails
            self.sock, server_hostname="localhost", suppress_ragged_eofs=False)


def request_for(target, *lines, method="GET"):
    """Return the bytes of a request for *target* with more field lines."""
    return "\r\n".join(["%s %s HTTP/1.1" % (method, target), "Host: test",
                        *lines, "", ""]).encode("latin-1")


class wrapped:
    """Return *sock* with other *methods*, as Server(wrap=) may do."""

    def __init__(self, sock, **methods):
        self.sock = sock
        vars(self).update(methods)

    def __getattr__(self, name):
        return getattr(self.sock, name)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost, and its key, in two files."""
    if "ssl" in WITHOUT or not shutil.which("openssl"):
        pytest.skip("needs ssl and openssl")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days",
         "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
         str(folder / "key"), "-out", str(folder / "certificate")],
        check=True, stderr=subprocess.DEVNULL)
    return str(folder / "certificate"), str(folder / "key")


# ---- Helpers for httpget.py -------------------------------------------------


# An answer that breaks off after *count* bytes.  *how*: "close", "reset", or
# "stall" until the client leaves.
Cut = collections.namedtuple("Cut", "answer count how")
CUT = functools.partial(Cut, how="close")
RESET = functools.partial(Cut, how="reset")
STALL = functools.partial(Cut, count=1 << 60, how="stall")


class ScriptedServer:
    """Answers requests by *script*; closes the connection after each answer.

    *script* is one answer to all requests, a list with an answer for each, or
    a function that returns the answer to a request head.  An answer is bytes,
    a tuple of pieces that are sent one by one, or a Cut.  The list *requests*
    has the heads received.  *keep*: keep the connection open.  *context*: use
    TLS; *ragged*: end without close_notify.  *tunnel*: TLS begins after the
    answer to CONNECT.
    """

    def __init__(self, script, keep=False, context=None, ragged=False,
                 tunnel=False, family=socket.AF_INET, address="127.0.0.1"):
        self.script, self.keep = script, keep
        self.context, self.ragged, self.tunnel = context, ragged, tunnel
        self.requests, self.results, self.leaving = [], [], False
        self.pool = concurrent.futures.ThreadPoolExecutor(99)
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind((address, 0))
        self.listener.listen(16)
        self.host, self.port = self.listener.getsockname()[:2]

    def url(self, path="/file"):
        return "%s://%s:%d%s" % ("https" if self.context else "http",
                                 self.host, self.port, path)

    def __enter__(self):
        self.results.append(self.pool.submit(self._accept))
        return self

    def __exit__(self, *exc):
        # Closing a listener does not wake its accept(); a connection does.
        self.leaving = True
        with contextlib.suppress(OSError), socket.socket(
                self.listener.family) as sock:
            sock.connect(self.listener.getsockname())
        for result in self.results:     # or what has failed
            result.result(PATIENCE)
        self.pool.shutdown()
        self.listener.close()

    def _accept(self):
        while not self.leaving:
            self.results.append(self.pool.submit(
                self._serve, self.listener.accept()[0]))

    def _serve(self, sock):
        with contextlib.suppress(OSError), sock:    # clients may leave
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context and not self.tunnel:
                sock = self.context.wrap_socket(sock, server_side=True)
            with contextlib.ExitStack() as stack:
                stack.callback(lambda: sock.close())
                head = self._serve_once(sock)
                if self.tunnel and head.startswith(b"CONNECT "):
                    sock = self.context.wrap_socket(sock, server_side=True)
                while head and self.keep:
                    head = self._serve_once(sock)
                if hasattr(sock, "unwrap") and not self.ragged:
                    sock.unwrap()

    def _serve_once(self, sock):
        """Answer one request; return its head if another may follow."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = sock.recv(65536)
            if not data:
                return b""
            head += data
        self.requests.append(head)
        answer = self.script
        if callable(answer):
            answer = answer(head)
        elif isinstance(answer, list):
            assert len(self.requests) <= len(answer), "one request too many"
            answer = answer[len(self.requests) - 1]
        if not isinstance(answer, Cut):
            for piece in answer if isinstance(answer, tuple) else (answer,):
                sock.sendall(piece)
            return head
        sock.sendall(answer.answer[:answer.count])
        if answer.how == "reset":
            reset(sock)
        elif answer.how == "stall":
            sock.recv(1)
        return b""


def ok(content, *fields, status=b"200 OK"):
    """Return an answer 200 with *content* and Content-Length."""
    lines = [b"HTTP/1.1 " + status, *fields,
             b"Content-Length: %d" % len(content)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def field_of(head, name):
    """Return the value of field *name* in a request's *head*, or None."""
    found = re.search(rb"(?i)\r\n%s: *([^\r]*)" % name.encode(), head)
    return found.group(1).decode("latin-1") if found else None


class Ended:
    """The end of a run of httpget.py: output and exit status."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, (err or b"").decode()
        assert not re.search(
            "Traceback|Warning|[\0-\x09\x0b-\x1f\x7f-\x9f]", self.err), self

    def __repr__(self):
        return "status %r, out %r\n%s" % (
            self.status, (self.out or b"")[:2000], self.err)

    def message(self):
        """Return the last line, which says what went wrong."""
        lines = self.err.splitlines()
        assert [n for n in lines if n.startswith("httpget.py: ")] == lines[-1:]
        return lines[-1]


@contextlib.contextmanager
def descriptors_replaced(*files):
    """Redirect descriptors 1 and 2, and Python's streams, to *files*."""
    saved = [os.dup(1), os.dup(2)]
    streams = sys.stdout, sys.stderr
    try:
        for fd, file in zip((1, 2), files):
            os.dup2(file.fileno(), fd)
        sys.stdout, sys.stderr = [
            open(fd, "w", encoding="utf-8", closefd=False) for fd in (1, 2)]
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.close()
        sys.stdout, sys.stderr = streams
        for fd, copy in zip((1, 2), saved):
            os.dup2(copy, fd)
            os.close(copy)


def run_here(main, *arguments, **settings):
    """Run the *main* of a program in this process, which is fast."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with descriptors_replaced(out, err):
            try:
                status = main([str(each) for each in arguments], **settings)
            except SystemExit as exc:
                status = exc.code
        out.seek(0)
        err.seek(0)
        return Ended(status, out.read(), err.read())


# The seconds between its tries are *delays*.
get_here = functools.partial(run_here, httpget.main, delays=(0,))


def start_httpget(*arguments, **popen):
    popen.setdefault("stdout", subprocess.PIPE)
    popen.setdefault("stderr", subprocess.PIPE)
    environment = dict(os.environ, PYTHONIOENCODING="utf-8")
    environment.pop("PYTHONUNBUFFERED", None)   # some tests are about it
    environment.update(popen.pop("environment", {}))
    return subprocess.Popen(
        [sys.executable, compiled("httpget.py"), *map(str, arguments)],
        stdin=subprocess.DEVNULL, env=environment, **popen)


def ended(process):
    """Wait for a process of httpget.py; return how it ended."""
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)    # or `with` would wait for it
        out, err = process.communicate(timeout=2 * PATIENCE)
    return Ended(process.returncode, out, err)


def get(*arguments, **popen):
    return ended(start_httpget(*arguments, **popen))


def fetch_from(script, *options, name="/file", **settings):
    """Run httpget.py against *script*, without retries unless *options* ask
    for them; return how it ended, and the heads of its requests."""
    with ScriptedServer(script, **settings) as server:
        result = get_here("--retries", "0", *options, server.host,
                          server.port, name)
        result.requests = server.requests
    return result


@contextlib.contextmanager
def terminal():
    """Yield a terminal as a file, and the list of what it shows, which is
    complete after the block."""
    import pty
    import tty
    master, slave = pty.openpty()
    tty.setraw(slave)       # or the terminal would turn LF into CR LF
    shown = []

    def read():         # along with it: a terminal buffers only 4 KiB
        with contextlib.suppress(OSError):  # EIO: Linux's end of a terminal
            shown.extend(iter(lambda: os.read(master, 65536), b""))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with open(slave, "wb", 0) as screen:
            yield screen, shown
    finally:
        reader.join(PATIENCE)
        os.close(master)


# ---- Helpers for httpd.py ---------------------------------------------------

HAS_SCRYPT = hasattr(hashlib, "scrypt")     # not in every Python


def basic(user, password, scheme="Basic"):
    """Return the Authorization field line of *user* with *password*."""
    pair = ("%s:%s" % (user, password)).encode("utf-8")
    return "Authorization: %s %s" % (scheme, base64.b64encode(pair).decode())


def hash_line(user, password, n=2, r=1, p=1, salt=b"s" * 16, size=16):
    """Return a line for --auth-file with a hash that is quick to verify."""
    made = b"h" * size
    if HAS_SCRYPT:
        made = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p,
                              dklen=size)
    return "%s:scrypt$%d$%d$%d$%s$%s\n" % (user, n, r, p, *[
        base64.b64encode(data).decode() for data in (salt, made)])


BIG = 8 << 20       # more than sockets take
GET_PROBE = request_for("/probe.txt")


def after(code):
    """Return flags that let Python run *code* before the program."""
    return [*DEV, "-c", code + "\nimport runpy, sys\ndel sys.argv[0]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')"]


# Run httpd.py, which is to end by itself, in this process.
start_here = functools.partial(run_here, httpd.main)


def check_refusal(ended, *words):
    """Check that the server did not start; its one line must have *words*."""
    assert (ended.status, ended.out) == (1, b""), ended
    assert re.fullmatch(r"httpd\.py: [^\n]+\n", ended.err), ended
    for word in words:
        assert word in ended.err, ended


def given(sock, pid="os.getpid()", count="1"):
    """Return Popen's arguments to hand *sock* to httpd.py as systemd does."""
    return {"pass_fds": [sock.fileno()], "flags": after(
        "import os\nos.dup2(%d, 3)\nos.environ.update(LISTEN_PID=str(%s),"
        " LISTEN_FDS=%r)" % (sock.fileno(), pid, count))}


needs_workers = pytest.mark.skipif(
    "fork" in WITHOUT or not os.path.exists("/proc/self/task"),
    reason="needs fork() and /proc")
both_kinds = pytest.mark.parametrize("count", [
    1, pytest.param(2, marks=needs_workers)])


def children(pid):
    """Return the child processes of *pid*."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return set(map(int, file.read().split()))


def workers_of(running, count=2, but=()):
    """Wait for *count* workers of *running*, not counting those in *but*;
    return them.  If *count* is 1, that is the server itself."""
    if count == 1 and not but:
        return {running.pid}

    def workers():
        found = children(running.pid) - set(but)
        return len(found) == count and found
    return wait_until(workers, "%d workers" % count)


def is_refused(port):
    """Return whether nothing listens there any more."""
    with socket.socket() as sock:   # ECONNRESET: it met the end on its way in
        return sock.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


@contextlib.contextmanager
def stopped(pids):
    """Stop the processes *pids* during the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def open_below(folder):
    """Return which files below *folder* this process has open."""
    paths = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            paths.append(os.readlink("/proc/self/fd/" + fd))
    return [path for path in paths if path.startswith(str(folder) + "/")]


# ---- Helpers for the pure functions -----------------------------------------

FUZZ_SEED = int(os.environ.get("FUZZ_SEED", "9112"))
# The number of heads, and of other inputs in proportion; a million at night.
FUZZ_HEADS = int(os.environ.get("FUZZ_HEADS", "10000"))
TCHARS = (b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
          b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")     # RFC 9110, 5.6.2
CONTROLS = bytes(range(32)) + b"\x7f"
MODIFIED = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"      # that
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
ETAG = '"17979cfe,2a0000-400"'      # a comma separates nothing in a tag
# Raw heads with a place for the bytes that a test is about.
HEAD = b"%s\r\n\r\n"
LINE = b"%s\r\nHost: a\r\n\r\n"
TARGET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
HOST = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"
FIELD = b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n"
LENGTH = FIELD % b"Content-Length: %s"
CODING = FIELD % b"Transfer-Encoding: %s"
CONNECTION = FIELD % b"Connection: %s"
OLD = b"GET / HTTP/1.0\r\n%s\r\n\r\n"


def spread(groups):
    """Return rows for a table: one for each value of each group (values, ...,
    why); the value becomes a part of the row's why."""
    return [(value, *facts, "%s: %.60r" % (why, value))
            for values, *facts, why in groups
            for value in (values if isinstance(values, list) else [values])]


def outcome(function, *args):
    """Return what *function* returns, or the status of its HTTPError."""
    try:
        return function(*args)
    except httpd.HTTPError as error:
        return error.status


# What the fuzz tests insert into heads and values.
CHANGES = [piece.encode("latin-1") for piece in [
    "\r\n", "\n", "\r", "\0", " ", "\t", ", ", "\x1b[2J", "\xff", "\xb2",
    "%00", "%2e%2e/", "../", '""', "9" * 19, "9" * 30, "Host: b\r\n",
    "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "W/", ETAG,
    "http://", DATE, *":,;=-%/?#*\"\\<@[]+_.&01", "0-", "-5", "3-7", "HTTP/",
    "1.1", "GMT", "bytes=", ";q=", ";q=0", ";q=1.000", "gzip", "br",
    "identity;q=0", "*;q=0", "text/*", "*/*", "sha-256="]]


def spoiled(chance, samples):
    """Return one of *samples*, bytes, with a few random changes."""
    data = bytearray(chance.choice(samples))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.choice((0, 1, 1, 2, 8)))
        other = chance.choice(samples)
        cut = chance.randrange(len(other))
        data[start:stop] = chance.choice((
            chance.choice(CHANGES), bytes([chance.randrange(256)]),
            data[start:stop] * 2, other[cut:cut + chance.randrange(40)]))
    return bytes(data)


# ---- Pure functions of httpd.py ---------------------------------------------

RFC850 = "Sunday, 06-Nov-94 08:49:3%d GMT"
ASCTIME = "Sun Nov  6 08:49:3%d 1994"
WEAK = "W/" + ETAG
LONG = b"n" * 8178      # with it in "GET /%s HTTP/1.1" a line has 8 KiB
META = b"<!DOCTYPE html><title>a</title><meta charset=%s>"
PART_OF_EURO = b"a" * (httpd.SMALL - 2) + b"\xe2\x82"


def date(text):
    found = httpd.parse_http_date(text, NOW)
    # The client's knows no clock, and no time that no file could have.
    if found is None or 0 <= found < 2**31:
        assert httpget.http_time(text) == found
    return found


def weight_of_html(accept):
    return httpd.media_weight(httpd.parse_weights(accept), "text/html")


def codings(value, *others):
    fields = dict(others, **{"accept-encoding": value})
    return " ".join(httpd.acceptable_codings(fields))


def digest(value):
    return httpd.wants_digest({"want-repr-digest": value})


def judged(field, *values, etag=ETAG, modified=MODIFIED):
    """Return the set of results of *field*, a format, with each value."""
    return {httpd.evaluate_preconditions(dict(
        line.split(": ") for line in (field % value).split("\n")), etag,
        modified, NOW) for value in values}


def if_range(value, now=NOW, etag=ETAG, modified=MODIFIED):
    return httpd.range_applies({"if-range": value}, etag, modified, now)


def ranges(specs, length=10, unit="bytes="):
    return httpd.select_ranges(unit + specs, length)


def alternate(count):
    """Return *count* ranges of one byte each, with one byte between them."""
    return ",".join("%d-%d" % (2 * i, 2 * i) for i in range(count))


def lead(path, windows=False):
    """Return the names on *path*, joined by "/", with a "/" at the end for a
    folder; or the status that refuses the path."""
    found = outcome(httpd.path_segments, path, windows)
    if isinstance(found, int):
        return found
    return b"/".join(found[0]).decode("latin-1") + "/" * found[1]


def hidden(path):
    return httpd.is_hidden(httpd.path_segments(path)[0])


def are_refused_on_windows(names):
    """Return whether all are refused, or none: at any place in a path, even if
    ".." removes them again; on other systems they are never refused."""
    paths = [path % name for name in names.split(" ")
             for path in ("/%s", "/%s/a", "/a/%s", "/%s/../a")]
    assert 404 not in map(lead, paths)
    refused = {lead(path, True) == 404 for path in paths}
    return refused.pop() if len(refused) == 1 else refused


def in_order(names):
    names = names.split(b" ")
    return all(sorted(other, key=httpd.natural_key) == names
               for other in (names[::-1], names[1:] + names[:1]))


def settled(changed, modified):
    """Times are in milliseconds before now."""
    return httpd.is_settled(types.SimpleNamespace(
        st_ctime_ns=int(NOW) * 10**9 - changed * 10**6,
        st_mtime_ns=int(NOW) * 10**9 - modified * 10**6), NOW)


# The same of a media type that is known, and of what has no validators.
of_text = functools.partial(httpd.content_type, "text/css")
of_html = functools.partial(httpd.content_type, "text/html")
judged_without = functools.partial(judged, etag=None, modified=None)


@table("function, inputs, expected", [
    (*row[:-1], "%s: %s" % (getattr(row[0], "func", row[0]).__name__, row[-1]))
    for row in [
    # RFC 9110, 5.6.7.
    (httpd.http_date, [253402300799], "Fri, 31 Dec 9999 23:59:59 GMT", "last"),
    (date, [DATE, RFC850 % 7, ASCTIME % 7], MODIFIED, "the three forms"),
    (date, ["Wed Nov 16 08:49:37 1994"], 784975777, "asctime, two digits"),
    (date, ["Tue, 29 Feb 2000 00:00:00 GMT"], 951782400, "a leap day"),
    (date, ["Wed, 31 Dec 1969 23:59:59 GMT"], -1, "before 1970"),
    (date, ["Tuesday, 14-Nov-73 22:13:20 GMT"], 3277923200, "50 years ahead"),
    (date, ["Tuesday, 14-Nov-73 22:13:21 GMT"], 122163201, "or in the past"),
    (date, ["Sat, 31 Dec 2016 23:59:60 GMT"], 1483228800, "a leap second"),
    (date, ["", DATE.lower(), "Fooday" + (RFC850 % 7)[6:], *(
        DATE.replace(part, other) for part, *others in [
            ("GMT", "UTC", "", "GMT\n", "GMT, " + DATE), ("Sun, ", "Foo, "),
            ("06", "6", "\xb26", "0_6"), ("1994", "94", "0000"),
            ("08:49:37", "08:49", "24:00:00", "08:60:00", "08:49:61"),
            ("06 Nov 1994", "31 Nov 1994", "29 Feb 1900")]
        for other in others)], None, "not a date"),
    # RFC 9110, 12.4.2 and 12.5.1.
    (httpd.parse_weights, [
        ",, a ,,", "A", "a;Q=1", "a;q=1.", "a;q=1.000", "a;b;q=1", "a;xq=0.5",
        'a;b=";q=0.3"'], {"a": 1000}, "1"),
    (httpd.parse_weights, ["a;q=0.5,c;q=0", 'a \t;\t q=0.5, c;b="d,e";q=0.00'],
     {"a": 500, "c": 0}, "less"),
    (httpd.parse_weights, ["a;q=0.1, a;b, c;d;q=0.5, c"],
     {"a": 100, "c": 1000}, "those with parameters count less"),
    (httpd.parse_weights, [", ".join("a%d;q=0.%03d" % (i, i)
                                     for i in range(1000))],
     {"a%d" % i: i for i in range(1000)}, "no float is off by a thousandth"),
    (httpd.parse_weights, ["a;q =0.5", ";q=0.5", *("a;q=" + weight for weight
        in ("1.001", "2", "00", "0.0001", ".5", "", "-1", "nan", "0_1",
            '"0.5"', " 0.5", "\xb9", "0.\u0665", "0.5;q=0.7", "2;q=0.7"))],
     {}, "malformed, so ignored"),
    (weight_of_html, ["", "TEXT/HTML, *;q=.2"], 1000, "no Accept, or Java's"),
    (weight_of_html, ["text/*, */*, text/html;q=0", "text/htm"], 0, "refused"),
    (weight_of_html, ["*/*;q=0.5, text/*;q=0.3"], 300, "the most specific"),
    # RFC 9110, 12.5.3.
    (codings, ["*", "*;q=0.1, identity;q=0.1"], "br zstd gzip identity",
     "our order, if the client does not care"),
    (codings, ["br;q=0.001, zstd;q=0.002"], "zstd br identity", "by weight"),
    (codings, ["GZip", "x-gzip", "gzip;q=0.001"], "gzip identity", "gzip"),
    (codings, ["*;q=0, gzip", "gzip, identity;q=0"], "gzip", "gzip alone"),
    (codings, ["gzip;q=0, br;q=0.5, *"], "zstd identity br", "* is the rest"),
    (codings, ["", "deflate", "gzip;q=2", '"gzip"', "gzipx, xgzip, \xa0gzip",
               "gzip br"], "identity", "none"),
    (codings, ["*;q=0", "identity;q=0"], "", "nothing is acceptable"),
    (codings, [("gzip, br;q=0.5", ("range", "x"))], "identity", "for a range"),
    (codings, [("gzip, identity;q=0", ("range", "x"))], "gzip",
     "for a range, if identity is refused"),
    # RFC 9530, 4; RFC 8941, 3.1.2 and 3.2.
    (digest, ["sha-256=1", "md5=1, sha-256=10,sha-512=1",
              "sha-256=0,sha-256=5"], True, "wanted; the last counts"),
    (digest, ["", "sha-256=5,sha-256=0", *("sha-256=" + value for value in (
        "0", "11", "1.5", "", "\xb9")), "SHA-256=5", "sha-256x=5",
        "sha-256 = 5"], False, "not 1 to 10"),
    # RFC 9110, 13.1 and 13.2.2.
    (judged, [("if-match: %s", ETAG, '"x",,%s ,%s' % (WEAK, ETAG), "*"),
              ("if-unmodified-since: %s", DATE, LATER),
              ("if-match: %s\nif-unmodified-since: " + EARLIER, ETAG)], {0},
     "it matches"),
    (judged, [("if-match: %s", WEAK, '"x", "y"', '"x%sy"' % ETAG, '"*"', "",
               "x", ETAG.upper(), '*, "x"'),
              ("if-match: %s\nif-none-match: " + ETAG, '"x"'),
              ("if-match: %s\nif-unmodified-since: " + LATER, '"x"'),
              ("if-unmodified-since: %s", EARLIER, RFC850 % 6, ASCTIME % 6)],
     {412}, "no match"),
    (judged, [("if-none-match: %s", ETAG, WEAK, '"x",%s,"y"' % WEAK, "*",
               ', "x",, ' + ETAG + " ,", '"x, y", ' + ETAG),
              ("if-match: *\nif-none-match: %s", ETAG),
              ("if-none-match: %s\nif-modified-since: " + EARLIER, ETAG),
              ("if-modified-since: %s", DATE, LATER, RFC850 % 7)], {304},
     "known"),
    (judged, [("if-none-match: %s", '"x", "y"', ETAG.strip('"'), ETAG[:-1],
               ETAG.partition(",")[0], ETAG.upper(), '"x%sy"' % ETAG, "",
               '"*"', '*, "x"', "w/" + ETAG),
              ("if-none-match: %s\nif-modified-since: " + LATER, '"x"'),
              ("if-modified-since: %s", EARLIER, "", DATE + ", " + DATE),
              ("if-unmodified-since: %s", "x", EARLIER + ", " + EARLIER)],
     {0}, "not known, or no date"),
    (judged_without, [("if-match: %s", ETAG, '"None"')], {412}, "only *"),
    (judged_without, [
        ("if-match: %s", "*"), ("if-none-match: %s", '"None"'),
        ("if-modified-since: %s", DATE), ("if-unmodified-since: %s", EARLIER)],
     {0}, "nothing to compare"),
    # RFC 9110, 13.1.5 and 8.8.2.2.
    (if_range, [ETAG, DATE, RFC850 % 7, (DATE, MODIFIED + 1.5)], True, "same"),
    (if_range, ['"x"', "*", ETAG.strip('"'), "", LATER, EARLIER, WEAK, ETAG
                + ", " + ETAG], False, "different, or weak"),
    (if_range, [(DATE, MODIFIED + 1)], False, "weak for a second"),
    (if_range, [(value, NOW, None, None) for value in (
        ETAG, DATE, '"None"')], False, "without validators"),
    # RFC 9110, 14.1.2, 14.2, 15.3.7.2 and 15.5.17.
    (ranges, ["000-004", ("0-4", 10, "BYTES=")], [(0, 4)], "the same"),
    (ranges, ["0-9223372036854775807", "-9223372036854775807"], [(0, 9)],
     "2^63 - 1"),
    (ranges, [("4294967295-4294967296", 2**33)], [(2**32 - 1, 2**32)], "2^32"),
    (ranges, ["0-1 ,\t5-6", ",0-1,, ,5-6,", "0-0,5-6,20-,1-1"],
     [(0, 1), (5, 6)], "a list"),
    (ranges, ["-1,4-5,0-1", "9-,5-5,0-0,4-4,1-1"], [(9, 9), (4, 5), (0, 1)],
     "in this order"),
    (ranges, ["2-4,3-8", "2-5,6-8", "3-3,2-8", "2-8,3-4", "2-3,7-8,4-6"],
     [(2, 8)], "adjacent or overlapping, so merged"),
    (ranges, ["10-", "-0", "10-,20-30,", ("0-", 0)], 416, "no such byte"),
    (ranges, [("-5", 0), ("0-,-5", 0)], None, "empty content"),
    (ranges, ["5-4", "20-15", "0-1,5-4"], None, "last before first (14.1.1)"),
    (ranges, ["", "-", "--5", "-1-5", "5", "1-2-3", "0-1,x", "x,99-", "0-1,-",
              "0-1;5-6", "0-1 5-6", "0-1, bytes=5-6", ", ,\t,", " 0-4",
              "0 - 4", "0-4\n"], None, "malformed (GHSA-gcqf-3g44-vc9p)"),
    (ranges, ["a-b", "0x0-0x4", "+0-+4", "0.0-4.0", "1_0-2_0", "\xb9-\xb2",
              "\uff10-\uff14"], None, "not ASCII digits (CVE-2025-69225)"),
    (ranges, [("0-4", 10, unit) for unit in (
        "", "bytes =", "bytes:", "lines=", "xbytes=")], None, "another unit"),
    (ranges, ["99999999999999999999-", "-99999999999999999999",
              "9" * 5000 + "-"], None, "over 64 bits (CVE-2017-7529)"),
    (ranges, [(alternate(256), 512), (",, ," + alternate(256), 512)],
     [(2 * i, 2 * i) for i in range(256)], "256"),
    (ranges, [(alternate(257), 514), ",".join(["0-1"] * 257),
              ",".join(["999-"] * 257)], None, "257"),
    # The part of a head that has arrived.
    (httpd.check_partial, [
        (b"\r\nGET /%s HTTP/1.1\r" % LONG, 0), (b"GET / HTTP/1.1\r\n", 15),
        (b"GET /\r\n" + b"x" * 32761, 0)], None, "longest, half a line end"),
    (httpd.check_partial, [(b"GET / HTTP/1.1\n", 14), (b"\r\n\nGET", 0), (
        b"\x80\x2e\x01", 0)], 400, "bare LF, no token as in a ClientHello"),
    (httpd.check_partial, [(b"\r\nGET /n%s HTTP/1.1\r\n" % LONG, 0)], 414,
     "more than 8 KiB"),
    (httpd.check_partial, [(b"GET /\r\n" + b"x" * 32762, 0)], 431,
     "more than 32 KiB"),
    # RFC 3986, 5.2.4.
    (lead, ["/", "", "/.", "/..", "/a/.."], "/", "the root"),
    (lead, ["//a//", "/a/.", "/a/%2e", "/a/b/..", "/a/b/%2E%2e"], "a/",
     "a folder"),
    (lead, ["/a/b", "//a///b", "/a/./b", "/../a/c/../b", "/c/../../../a/b"],
     "a/b", "a name in it"),
    (lead, ["/%C3%a9%ff%20", "/\xc3\xa9\xff%20"], "\xc3\xa9\xff ", "bytes"),
    (lead, ["/%2532%65%2541+%0a/*/a:b;c=d/..."], "%32e%41+\n/*/a:b;c=d/...",
     "decoded once; a plus, no globs (CVE-2026-27585), no parameters"),
    (lead, ["/%00", "/a%00.html", "/a%00/../b", "/\0"], 400, "NUL"),
    (lead, ["/%2f", "/a%2Fb", "/a%2fb/../c"], 404, "an encoded slash"),
    (lead, ["/%", "/%%", "/%a/b", "/%ag", "/%\xb2\xb3", "/%u0041", "/% 1",
            "/%+1", "/%1_"], 400, "not an escape"),
    (hidden, ["/", "/a./b.c", "/.git/..", "/.well-known/",
              "/%2ewell-known/a/b"], False, "no dot, or RFC 8615"),
    (hidden, ["/.a", "/...", "/a/.b/c", "/./.git", "/%2egit/config",
              "/a/../.git", "/.well-known/a/.b", "/a/.well-known",
              "/.well-known/.well-known", "/.well-known2/a", "/.Well-Known/a",
              "/.well-known/../.git"], True,
     "a dot (CVE-2018-3718, CVE-2019-5415)"),
    (are_refused_on_windows, [
        "a a.b .a a%20b a;b %c3%a9 %25", "console acon a.con nul1 com com10"],
     False, "no devices"),
    (are_refused_on_windows, [
        "a\\b a%5cb %5C C: C:a a:b a::$DATA a%3a%3a$DATA nul: a:$I30"], True,
     "backslashes (CVE-2026-52844), drives, streams (CVE-2009-3898)"),
    (are_refused_on_windows, [
        "con prn aux nul %63on Con.txt con.tar.gz nul. con%20.txt com1"
        " COM9.log lpt1 lpt0 com%c2%b9 lpt%c2%b3.txt conin$ CONOUT$ con.%0a",
        "a. a.. a%20 a.%20. ... ..%20", 'a~1 a* a%3f " < > | %01 a%0ab%0ac'],
     True, "devices, short names, wild cards, ends that Windows drops"),
    # The same on every machine: tables of the system are not used.
    (httpd.media_type, [b"a.x.html", b"a.HTM"], "text/html", "any case"),
    (httpd.media_type, [b"a.mjs"], "text/javascript", "modules need this"),
    (httpd.media_type, [b"a.wasm"], "application/wasm", "new in Python 3.8"),
    (httpd.media_type, [b"a.tar.gz"], "application/gzip", "no coding"),
    (httpd.media_type, [b"a.srt"], "application/x-subrip", "subtitles"),
    (httpd.media_type, [b"a.m4b", b"a.m4a"], "audio/mp4", "a spoken book"),
    (httpd.media_type, [b"a.usdz"], "model/vnd.usdz+zip", "for iPhones"),
    (httpd.media_type, [b"a.efi"], "application/efi", "what UEFI boots"),
    (httpd.media_type, [b"html", b"", b"a.", b"a.html.none", b"a.html/js",
                        b"a.\xff", b"a.html\r\nX: "], None, "unknown"),
    # A charset in the field outranks what a page declares.
    (of_text, [b"a", b"", b"\xe2\x82\xac", PART_OF_EURO, META % b"koi8-r"],
     "text/css; charset=utf-8", "UTF-8, or the start of it; no HTML"),
    (of_text, [b"caf\xe9", b"\xe2\x82", bytes(9), b"\x1b$B1Q\x1b(B",
               PART_OF_EURO[:-2] + b"\x82\xac"], "text/css",
     "other text, half a character, NUL (UTF-16), ESC (ISO-2022-JP)"),
    (of_html, [META % b"windows-1251", META % b"'windows-1251'" + b"<p>\xcf",
               b"<META content='text/html; Charset = Shift_JIS'>",
               b'<?xml version="1.0" encoding="ISO-8859-1"?>'], "text/html",
     "another charset is declared"),
    (of_html, [META % b'"UTF-8"', META % b"utf8",
               b"<?xml version='1.0' encoding='utf-8'?>" + META % b"utf-8"],
     "text/html; charset=utf-8", "UTF-8 is declared"),
    (of_html, [b"<!-- " + META % b"koi8-r" + b" -->" + META % b"utf-8",
               META % b"utf-8" + META % b"koi8-r",
               b" " * 1024 + META % b"koi8-r", b"<p>charset=koi8-r"],
     "text/html; charset=utf-8",
     "another charset in a comment, after the first, too late, in words"),
    (httpd.content_type, [
        (None, b""), (None, b"a\tb\r\n\f\xc3\xa9"), (None, PART_OF_EURO)],
     "text/plain; charset=utf-8", "a text's suffix need not be known"),
    (httpd.content_type, [
        (None, b"caf\xe9"), (None, b"\xe2\x82"), *[
            (None, b"a%c" % byte)
            for byte in CONTROLS.translate(None, b"\t\n\f\r")]],
     "application/octet-stream", "no text"),
    (of_text, [b"a\x01\x0b\x7f"], "text/css; charset=utf-8",
     "what is called text may have controls"),
    # RFC 7617.
    (httpd.parse_credentials, ["Basic dGVzdDoxMjPCow=="],
     (b"test", "123\xa3".encode()), "its example"),
    (httpd.parse_credentials, ["bASIC  QTo6Yg=="], (b"A", b":b"), "colons"),
    (httpd.parse_credentials, ["Basic QTo=, Basic QTo=",
                               "basic QTo=, Bearer x"], 400, "two of these"),
    (httpd.parse_credentials, [
        "", "Basic", "Basic\tQTo=", "Basic QTo", "Basic QTo= ", "Basic QT_=",
        "Basic QTo=QTo=", "QTo=", "Basic QQ==", "Basic QToA",
        "Basic QTpiCg=="], None, "no base64, no colon, a control character"),
    # What people read.
    (in_order, [
        b"A a B c", b"1 2 10 a", b"f f1 fa", b"a1b2 a1b10 a2b1 a10b1",
        b"f0 f00 f1 f01x f2", b"x\xfe2 x\xfe10", b"1\xc2\xb2 2\xd9\xa1",
        b"n1" + b"0" * 253 + b" n" + b"9" * 254], True,
     "numbers of any length; else case, zeros, bytes; no other digits"),
    (httpd.size_for_people, [1023], "1023 B", "no fraction"),
    (httpd.size_for_people, [102297], "99.9 KiB", "three digits"),
    (httpd.size_for_people, [102376], "100 KiB", "not four digits"),
    (httpd.size_for_people, [1023488, 1024**2 - 1], "1.0 MiB", "not 1000 KiB"),
    (httpd.size_for_people, [1 << 63], "8.0 EiB", "the largest"),
    (httpd.listing_time, [253402300799], "9999-12-31 23:59:59", "the last"),
    (httpd.listing_time, [253402300800, -2**63], "", "impossible for a file"),
    # Whether the next change will have another time.
    (settled, [(51, 51), (3000, 3000)], True, "just long enough ago"),
    (settled, [(-501, 10**10)], True, "in the future: the clock was set"),
    (settled, [(49, 10**12)], False, "old times, but set just now"),
    (settled, [(10**10 + 1, 49), (10**10 + 1, -49)], False,
     "the time ticks on, or is about to come, though not changed"),
    (settled, [(-49, 10**10)], False, "the clock is a bit behind"),
    (settled, [(2000, 2000), (-2000, 10**10)], False, "whole seconds: two"),
]])
def test_pure_function_of_the_server(function, inputs, expected):
    for each in inputs:
        args = each if isinstance(each, tuple) else (each,)
        assert outcome(function, *args) == expected, each


def test_entity_tag_of_a_large_file():
    """It changes when the size or the time changes."""
    assert len({httpd.entity_tag(types.SimpleNamespace(
        st_size=size, st_mtime_ns=10**18 + nanoseconds), None)
        for size in (99999, 100000) for nanoseconds in (0, 1)}) == 4


# ---- Requests ---------------------------------------------------------------


def of_path(path, query=""):
    return "GET", path, "", False, query


PLAIN = of_path("/")
BODY = ("GET", "/", "close", True, "")
CLOSING = ("GET", "/", "close", False, "")
ROOM = 32768 - len(FIELD % b"")

# Raw heads, each with either (method, path, connection, has_body, query) or
# the status of its refusal, and why.  The tests on the wire use them too.
REQUESTS = [(form % value, expected, why) for value, form, expected, why in
            spread([
    # The request line: RFC 9112, 3.
    ([b"", b"\r\n"], b"%s" + LINE % b"GET / HTTP/1.1", PLAIN,
     "the shortest, an empty line before it (9112, 2.2)"),
    ([b"\nGET / HTTP/1.1", b"\rGET / HTTP/1.1", b"\xef\xbb\xbfGET / HTTP/1.1"],
     LINE, 400, "something else before it"),
    ([b"GET  / HTTP/1.1", b"GET\t/\tHTTP/1.1", b"GET\xa0/ HTTP/1.1", b"GET",
      b"GET / HTTP/1.1 ", b"GET / HTTP/1.1\r", b"GET /", b" / HTTP/1.1"], LINE,
     400, "not three words"),
    (b"//%41%2f\xc3\xa9//b?c?d=e&", TARGET, of_path(
        "//%41%2f\xc3\xa9//b", "c?d=e&"), "it stays as it was sent"),
    ([b"/a b", b"/a\0b", b"/a\x1b[2Jb", b"/a\rb", b"/a#b", b"/a?b#c",
      b"http://a#b"], TARGET, 400, "space (CVE-2013-4547), control, fragment"),
    # The forms of the target: RFC 9112, 3.2.
    ([b"http://a/b", b"https://a/b", b"HTTP://A.EXAMPLE:8080/b",
      b"http://[::1]:80/b"], TARGET, of_path("/b"), "absolute-form"),
    ([b"http://a", b"http://b/"], TARGET, PLAIN,
     "its empty path (3986, 6.2.3); it outranks Host (9112, 3.2.2)"),
    (b"http://a?b/c", TARGET, of_path("/", "b/c"), "no path, but a query"),
    (b"/http://b/c?http://d/e", TARGET, of_path("/http://b/c", "http://d/e"),
     "not absolute-form"),
    (b"http:// http:///b http://:80/b http://?b http://u:p@a/b http://a:b/c"
     b" http://a\\b/c http:/a/b ftp://a/b file:///etc/passwd * a:80 ../a ?a"
     .split(), TARGET, 400, "not a host and port (9110, 4.2), not for GET"),
    # Methods: RFC 9110, 9.1.
    (b"HEAD / HTTP/1.1", LINE, ("HEAD", "/", "", False, ""), "HEAD"),
    # With content, the client would read it as another answer (9110, 9.3.2).
    ([b"HEAD / HTTP/1.1", b"\r\nHEAD / HTTP/1.1\r\nHost: a\r\nHost: a",
      b"HEAD / HTTP/1.1\r\nHost: a\r\nX : y",
      b"HEAD /  HTTP/1.1\r\nHost: a"], HEAD, 400, "HEAD, Host or not"),
    (b"OPTIONS * HTTP/1.1", LINE, ("OPTIONS", "", "", False, ""), "another"),
    (b"CONNECT a:80 HTTP/1.1", LINE, ("CONNECT", "", "", False, ""), "a:80"),
    (b"POST / HTTP/1.1\r\nContent-Length: 5", LINE,
     ("POST", "", "close", True, ""), "POST with content"),
    # Versions: RFC 9112, 2.3; DESIGN, 3.
    (b"GET / HTTP/1.2", LINE, PLAIN, "a later minor version"),
    ([b"GET / HTTP/0.9", b"PRI * HTTP/2.0", b"HEAD / HTTP/2.0"], HEAD, 505,
     "another major version"),
    (b"P/1 P/1. P/.1 P/1.10 P/01.1 P/1,1 P/1.x P/1.\xb9 PS/1.1 p/1.1".split(),
     LINE % b"GET / HTT%s", 400, "not HTTP/digit.digit (9112, 2.3)"),
    (b"GET / HTTP/1.0", HEAD, CLOSING, "HTTP/1.0 closes, needs no Host"),
    # Host: RFC 9112, 3.2; RFC 9110, 7.2; RFC 3986, 3.2.2.
    ([b"GET / HTTP/1.2", b"GET / HTTP/1.1\r\nX-Host: a",
      b"GET http://a/ HTTP/1.1"], HEAD, 400, "no Host"),
    ([b"a\r\nHOST: a", b"a\r\nHost:", b"\r\nHost: a"], HOST, 400, "two Hosts"),
    ([b"Host: a\r\nHost: b", b"Host: a b"], OLD, 400, "invalid Host in 1.0"),
    (b"GET / HTTP/1.1\r\nhOsT:a", HEAD, PLAIN, "any case, no OWS"),
    ([b"\ta \t", *b"a.example:8080 a.example: a_b.example .. 127.0.0.1 [::1]"
      b" [2001:db8::1]:8080 [::ffff:192.0.2.1]".split()], HOST, PLAIN, "Host"),
    ([b"", *b":80 a:80:80 a:b a:-1 a:\xb2 a:123456".split()], HOST, 400,
     "an empty Host (9110, 4.2.1), or no port"),
    ([b"a b", b"a, a", *b"a/b ../a a\\b a?b a#b u@a \xc3\xa9 <a> a%zz ::1 [::1"
      b" [::1]80 [] [::g]".split()], HOST, 400, "not a host"),
    # Field lines: RFC 9112, 5; RFC 9110, 5.
    ([b"X:", b"X: \xe9\xff\tb:  c"], FIELD, PLAIN, "a value"),
    ([b"Host : b", b"X\t: a", b" X: a", b"\tX: a", b"X: a\r\n b",
      b"X: a\r\n "], FIELD, 400, "white space before the colon, obs-fold"),
    ([b"GET / HTTP/1.1\r\n X: b\r\nHost: a", b"GET / HTTP/1.1\nHost: a",
      b"GET / HTTP/1.1\rHost: a"], HEAD, 400,
     "white space before the first field, half a line end (9112, 2.2)"),
    ([b": a", b"X", b"X: a\rb", b"X: a\r", b"X: a\nY: b", b"X: a\n",
      b"X: a\n\nGET /b HTTP/1.1"], FIELD, 400,
     "no token, no colon, CR or LF (9112, 2.2)"),
    # Content-Length: RFC 9110, 8.6; RFC 9112, 6.3.
    ([b"5", b"\t5 \t", b"007", b"9223372036854775807",
      b"5\r\nContent-Length: 5", b"5, 5"], LENGTH, BODY, "one length"),
    ([b"0", b"000", b"0\r\ncontent-length:0"], LENGTH, PLAIN, "no content"),
    ([b"5\r\nContent-Length: 6", b"5\r\ncontent-length: 0", b"0,5",
      b"\r\nContent-Length: 5"], LENGTH, 400, "differing Content-Lengths"),
    ([b"", b"5 6", b"5\x0b", b"5\0", b"5\r", b"5\r\n 6", b"9" * 20,
      b"9" * 5000, *b", 5, +5 -0 0x5 5e1 5.0 1_0 \"5\" 5;x=y \xb2 \xa05"
      .split(b" ")], LENGTH, 400, "not 1 to 19 digits (CVE-2022-24801)"),
    # Transfer-Encoding: RFC 9112, 6.1.
    ([b"chunked", b"\tchunked \t", b"ChUnKeD"], CODING, BODY, "chunked"),
    ([b"Connection: keep-alive\r\ntransfer-encoding:chunked",
      b"Connection: keep-alive\r\nContent-Length: 5"], OLD, BODY,
     "content in 1.0: closes (9112, 6.1)"),
    ([b"chunked\r\nContent-Length: 5", b"chunked\r\nContent-Length: 0",
      b"identity\r\nContent-Length: 5", b"\r\nContent-Length: 5"], CODING, 400,
     "TE.CL (9112, 6.3)"),
    (b"5\r\nTransfer-Encoding: chunked", LENGTH, 400, "CL.TE (9112, 6.3)"),
    ([b"chunked\r\nTransfer-Encoding: chunked", b"gzip, chunked", b"gzip",
      b"chunked\r\nTransfer-encoding: x", b"identity", b"xchunked", b"",
      b"chunked;q=1", b'"chunked"', b"\x0bchunked", b"\xa0chunked",
      b"\x85chunked", b"chunked\0", b"chunked\r"], CODING, 400,
     "TE.TE, nothing but chunked (9112, 7)"),
    ([b"Transfer-Encoding\r\n chunked", b"Transfer-Encoding : chunked",
      b"Transfer-Encoding\r: chunked", b"Transfer-Encoding\xa0: chunked",
      b" Transfer-Encoding: chunked", b"X: x\nTransfer-Encoding: chunked",
      b"X: x\rTransfer-Encoding: chunked"], FIELD, 400, "some miss it"),
    ([b"Transfer_Encoding: chunked", b"X-Transfer-Encoding: chunked",
      b"Expect: 100-continue", b"Content_Length: 5",
      b"Connection: Upgrade\r\nUpgrade: h2c",   # ignored (9110, 7.8)
      b"Range: bytes=0-0\r\nX-Range: bytes=5-"], FIELD, PLAIN, "no content"),
    # Connection: RFC 9110, 7.6.1; RFC 9112, 9.3.
    ([b"close", b"CLOSE", b"x\r\nConnection: close", b"x,close",
      b",,\t, close ,,", b"keep-alive, close"], CONNECTION, CLOSING,
     "close, empty members aside (CVE-2012-5533)"),
    ([b"keep-alive", b"closed", b"not close", b"", b"," * 1000], CONNECTION,
     PLAIN, "not close"),
    (b"content-length\r\nContent-Length: 5", CONNECTION, BODY, "no option"),
    ([b"Connection: Keep-Alive", b"Connection: x, keep-alive"], OLD,
     ("GET", "/", "keep-alive", False, ""), "1.0 with keep-alive"),
    ([b"Connection: keep-alive, close", b"Keep-Alive: timeout=5",
      b"Proxy-Connection: keep-alive"], OLD, CLOSING,
     "1.0 without it, or with close too (9112, C.2.2)"),
    # Limits: DESIGN, 6.
    ([b"GET /%s HTTP/1.1" % LONG, b"\r\nGET /%s HTTP/1.1" % LONG], LINE,
     of_path("/" + LONG.decode()), "a request line of 8 KiB"),
    ([b"GET /n%s HTTP/1.1" % LONG, b"\r\nGET /n%s HTTP/1.1" % LONG,
      b"HEAD /longer%s%s HTTP/1.1" % (LONG, LONG)], LINE, 414, "too long"),
    (b"X:%s" % (b"x" * (ROOM - 2)), FIELD, PLAIN, "a head of 32 KiB"),
    (b"X:%s" % (b"x" * (ROOM - 1)), FIELD, 431, "a head of 32 KiB and 1"),
    (b"GET / HTTP/1.1" + b"\r\nX: x" * 99, LINE, PLAIN, "100 fields"),
    ([b"HEAD / HTTP/1.1" + b"\r\nX: x" * 100, b"GET / HTTP/1.1%s" % b"".join(
        b"\r\nX-%d: x" % i for i in range(100))], LINE, 431, "101 fields"),
])]


@table("head, expected", [*REQUESTS, (b"\r\n\r\n\r\n", 400, "nothing")])
def test_parse_request(head, expected):
    """Bytes in, a Request or an HTTPError out: nothing else happens."""
    request = outcome(httpd.parse_request, head)
    if not isinstance(request, int):
        request = (request.method, request.path, request.connection,
                   request.has_body, request.query)
    assert request == expected


def test_each_byte_of_names_and_values():
    """RFC 9110, 5.1 and 5.5: in the middle and at both ends."""
    for byte, form in itertools.product(range(256), (b"a%sa", b"%sa", b"a%s")):
        text = form % bytes([byte])
        if byte != ord(":"):
            assert outcome(httpd.parse_fields, [text + b": v"]) == (
                {text.decode().lower(): "v"} if byte in TCHARS else 400), text
        assert outcome(httpd.parse_fields, [b"a:" + text]) == (
            400 if byte in CONTROLS and byte != ord("\t")
            else {"a": text.strip(b" \t").decode("latin-1")}), text


GOOD_LINES = [line.encode() for line in [
    'If-Match: "x", ' + ETAG, "If-Match: *", 'If-None-Match: "x", ' + WEAK,
    "If-Modified-Since: " + DATE, "If-Unmodified-Since: " + EARLIER,
    "Range: bytes=0-0,2-3", "Range: bytes=-3", "Range: bytes=9-, 0-, 4-5",
    "If-Range: " + ETAG, "If-Range: " + DATE, "Accept: text/*;q=0.5, */*",
    "Accept-Encoding: br;q=0.5, gzip", "Accept-Encoding: identity;q=0",
    "Want-Repr-Digest: sha-512=1, sha-256=10"]]


def fuzz_heads(chance, count):
    """Any bytes are refused properly, or become a Request that is safe."""
    heads = [head for head, _, _ in REQUESTS if len(head) < 400]
    seen = set()
    for _ in range(count):
        good = FIELD % b"\r\n".join(chance.sample(GOOD_LINES, 5))
        head = chance.choice((good, spoiled(chance, [good]),
                              spoiled(chance, heads))) + b"\r\n\r\n"
        # A connection cuts it at the first.
        head = head[:head.find(b"\r\n\r\n", 2) + 4]
        request = outcome(httpd.parse_request, head)
        if request in (400, 414, 431, 505):
            seen.add("refused")
            continue
        assert request.connection == "close" or not request.has_body, head
        assert request.path.startswith("/") == (
            request.method in ("GET", "HEAD")), head
        fields, length = request.fields, chance.choice((0, 1, 10, 2**40))
        assert 0 <= weight_of_html(fields.get("accept", "")) <= 1000, head
        found = outcome(httpd.select_ranges, fields.get("range", ""), length)
        if isinstance(found, list):
            assert all(first <= last < length for first, last in found), head
            found = len(found)
        validators = (chance.choice((None, ETAG)),
                      chance.choice((None, 0, MODIFIED)), NOW)
        seen |= {found, httpd.acceptable_codings(fields), (
            httpd.range_applies(fields, *validators), httpd.wants_digest(
                fields), httpd.evaluate_preconditions(fields, *validators))}
    # Every outcome must have occurred, or the fuzz tests little.
    assert seen.issuperset(["refused", None, 416, 2, (), *itertools.product(
        (False, True), (False, True), (0, 304, 412))]), seen


def test_fuzz_of_pure_functions():
    fuzz_heads(random.Random(FUZZ_SEED), FUZZ_HEADS)


# ---- Target path ------------------------------------------------------------

# Spellings of a way out: dots and slashes, encoded once, twice, overlong, wide
# or with NULs, in every form of target; then Windows' ways.
WAYS_OUT = r"""
    /../../etc/passwd /a/b/../../../../etc/passwd //../..//etc/passwd
    //etc/passwd /%2e%2e/%2e%2E/etc/passwd /../../%65tc/pass%77d
    http://a/../../etc/passwd http://../../../etc/passwd http:///etc/passwd
    HTTPS://A:1/%2e%2e/etc/passwd ../../etc/passwd file:///etc/passwd
    /%2e%2e%2f%2e%2e%2Fetc%2fpasswd /%2fetc%2fpasswd /a%2f../../etc/passwd
    /..%00/..%00/etc/passwd /../../etc/passwd%00.html /%u002e%u002e/etc/passwd
    /%%32%65%%32%65/etc/passwd /%2/../etc/passwd /%252e%252e/etc/passwd
    /..%252f..%252fetc%252fpasswd /%c0%ae%c0%ae/etc /..%c0%af..%c1%9cetc/passwd
    /%ef%bc%8e%ef%bc%8e/etc /..%e2%88%95..%ef%bc%8fetc/passwd
    /..;a=b/etc/passwd /~root/etc/passwd /.../.../etc/passwd
    /....//....//etc/passwd /..%20/..%20/etc/passwd /%20../etc/passwd
    \..\etc\passwd /..\..\etc\passwd /..%5c..%5Cetc%5cpasswd
    /..%255c..%255cetc/passwd /%5c%5chost%5cshare%5cpasswd
    /%5c%5c%3f%5cC:%5cpasswd /C:/etc/passwd /C%3a%5cetc%5cpasswd
    """
PATHS_OUTSIDE = WAYS_OUT.split() + ["/../" * 40 + "etc", "/\xc0\xae\xc0\xae/a"]


@pytest.mark.parametrize("target", PATHS_OUTSIDE)
def test_paths_outside(target):
    """Joined to the root by the system's own rules, they stay below it."""
    for system, root in (posixpath, "/srv/www"), (ntpath, "D:\\srv\\www"):
        request = outcome(httpd.parse_request, request_for(target))
        names = request == 400 or lead(request.path, system is ntpath)
        if isinstance(names, str):
            path = system.normpath(system.join(root, *names.split("/")))
            assert path.startswith(root + system.sep)


def test_no_redirect_leads_to_another_host(tmp_path):
    """Resolved as a Location (RFC 9110, 10.2.2): no open redirect."""
    with Serving(tmp_path) as serving, Wire(serving.port) as wire:
        for target in (
                "///evil.example", "/\\evil.example", "/%5cevil.example",
                "//evil.example/%2e%2e/a", "/a/..//evil.example", "/http:",
                "/%09/evil.example", "/a%3fb%23c%25?b=\xff%", "/a?//b",
                "/%0d%0aLocation:%20//evil.example?a%0d%0ab"):
            path, _, query = target.partition("?")
            names = httpd.path_segments(path)[0]
            os.makedirs(os.path.join(os.fsencode(str(tmp_path)), *names),
                        exist_ok=True)
            answer = wire.get(target)
            place, _, found = answer.fields["location"].partition("?")
            assert re.fullmatch(r"\./[\w.~%-]+/", place, re.ASCII), answer
            assert re.fullmatch("[!-~]*", found), answer
            assert (answer.status, httpd.path_segments(
                path.rpartition("/")[0] + "/" + place)) == (
                    301, (names, True)), answer
            assert urllib.parse.unquote(found, "latin-1") == (
                urllib.parse.unquote(query, "latin-1")), answer


# ---- Pages ------------------------------------------------------------------

HOSTILE = [
    b"<script>alert(1)<", b"<td><script>", b'"onmouseover="alert(1)',
    b"' onclick='x", b"&lt;b&gt;", b"&amp", b"<!--", b"]]>", b"<title>",
    b"javascript:alert(1)", b"http:", b"a:b", b"a?b", b"a#b", b"a%2eb", b"%00",
    b"a b", b"a\r\nb", b"\x1b[2J", b"...", b"..\\a", b"{title}", b"%s",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xaegpj.exe", b"\xc2\x9b\xc2\xa0",
    b"\xf0\x9f\x98\x80", b"\xd7\xa9\xe2\x80\x8f", b"a" * 255, b"\xe9" * 255]
# The elements that pages may have, and their attributes.
ELEMENTS = set(re.findall("[^ ]+", (
    "html html.lang head meta meta.charset meta.name meta.content title style"
    " link link.rel link.href body h1 p nav nav.aria-label bdi div div.id"
    " div.role div.aria-label ul ul.role li a a.href a.class i i.title time"
    " time.title form form.id form.role input input.type input.name"
    " input.value input.aria-label input.placeholder button button.form"
    " button.name button.value button.title button.aria-current")))
NEVER_CLOSED = {"meta", "link", "li", "input"}


class Page(html.parser.HTMLParser):
    """What a browser sees of a page: the elements with their text."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.inside = [], []
        self.feed(content.decode("utf-8"))
        self.close()
        assert not self.inside

    def handle_starttag(self, tag, attrs):
        assert {tag}.union(tag + "." + name for name, _ in attrs) <= ELEMENTS
        assert len(dict(attrs)) == len(attrs)
        self.elements.append(types.SimpleNamespace(
            tag=tag, text="", **dict(attrs)))
        if tag not in NEVER_CLOSED:
            self.inside.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.inside.pop().tag == tag

    def handle_data(self, data):
        for element in self.inside:
            element.text += data

    def all(self, tag):
        return [each for each in self.elements if each.tag == tag]

    def texts(self, tag):
        return [each.text for each in self.all(tag)]


def test_error_page():
    """It says what to do next, and nothing in it is taken for HTML."""
    for status, detail, (path, links) in zip(
            itertools.cycle(httpd.REASONS), [
                *HOSTILE, b"</style><b>", b"</title><script>"],
            itertools.cycle([
                ("", []), ("/", []), ("/a", ["./"]), ("/a/", ["../"]),
                ("//a/b%2Fc", ["../../"])])):
        page = Page(httpd.error_page(status, detail.decode("latin-1"), path))
        assert page.texts("title") == page.texts("h1") == [
            "%d %s" % (status, httpd.REASONS[status])]
        said, *remedy = page.texts("p")
        assert said.encode("latin-1") == detail
        assert not links or remedy.pop() == "Go to the first page"
        assert bool(remedy) == (status >= 400), status
        assert [link.href for link in page.all("a")] == links, path
    page = Page(httpd.error_page(301, "", "/a", "./a/?b&c"))
    assert [link.href for link in page.all("a")] == page.texts("p")[-1:] == [
        "./a/?b&c"]


def test_policy_allows_no_script(tmp_path):
    """It allows only our own style, by the hash of its text."""
    with Serving(tmp_path) as serving, Wire(serving.port) as wire:
        answers = [wire.get("/"), wire.get("/none")]
    styles = {"'sha256-%s'" % base64.b64encode(
        hashlib.sha256(style.encode()).digest()).decode()
        for answer in answers for style in Page(answer.content).texts("style")}
    for answer in answers:
        policy = {name: set(values) for name, *values in map(
            str.split, answer.fields["content-security-policy"].split(";"))}
        assert policy == {
            "style-src": styles, "default-src": {"'none'"},
            "img-src": {"data:"},       # those in the styles
            "base-uri": {"'none'"}, "frame-ancestors": {"'none'"},
            "form-action": {"'self'"}}, answer      # a listing's, which sorts


def shown(name):
    """Return *name* as text, with "\ufffd" for invalid UTF-8 and controls."""
    return re.sub("[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd",
                  name.decode("utf-8", "replace"))


def fill(folder, entries):
    """Create *entries* there: (name, size or None for a folder, mtime)."""
    for name, size, mtime in entries:
        path = os.path.join(os.fsencode(folder), name)
        if size is None:
            os.mkdir(path)
        else:
            with open(path, "wb") as file:
                file.truncate(size)
        os.utime(path, (mtime, mtime))


def names_in(wire, target):
    """Return the names in the JSON of the listing at *target*."""
    content = wire.get(target, "Accept: application/json").content
    return [item["name"].encode("utf-8", "surrogateescape")
            for item in json.loads(content.decode("ascii"))]


@pytest.mark.parametrize("folder", [
    [], [b"<b>", b"a?b#c%2e", b"\xff", b"{title}", b"http:", b"a.example"]])
def test_listing_of_hostile_names(folder, tmp_path):
    """Each is shown, and JSON has its exact bytes.  Its link is the name, and
    nothing else is in quotes: fsspec appends all of it to a folder's URL."""
    names = sorted({*HOSTILE, *(
        bytes([byte]) for byte in range(1, 256) if byte not in b"./")})
    place = os.path.join(os.fsencode(str(tmp_path)), *folder)
    os.makedirs(place, exist_ok=True)
    fill(place, [(name, None if name in names[::3] else 1, NOW)
                 for name in names])
    target = "/" + "".join(urllib.parse.quote(name, "") + "/"
                           for name in folder)
    with Serving(tmp_path, dotfiles=True) as serving, (
            Wire(serving.port)) as wire:
        content = wire.get(target).content
        listed = names_in(wire, target)
    page = Page(content)
    assert sorted(listed) == names
    title = shown(folder[-1] if folder else b"Files")
    assert page.texts("title") == page.texts("h1") == [title]
    assert [link.text for link in page.all("a")[:len(folder)]] == [
        shown(name) for name in [b"Files", *folder][:len(folder)]]
    rows = [("../", "")] if folder else []      # without the time
    rows += [(urllib.parse.quote(name, "") + end[0].strip(), shown(name) + end)
             for name in listed for end in [
                 "/ " if name in names[::3] else " 1 B"]]
    links = page.all("a")       # at first those that lead up, relative, so
    for count in range(len(folder), 0, -1):     # they hold below a proxy too
        assert links.pop(0).href == "../" * count
    assert [(link.href, link.text[:-17]) for link in links] == rows
    assert re.findall('<a href="(.*?)"', content.decode()) == [
        href for href, _ in rows]


def test_listing_rows(tmp_path, monkeypatch):
    """Sizes and times for people, the exact ones beside; JSON as in nginx.

    Times are in the server's zone, with UTC beside them.
    """
    fill(tmp_path, [
        (b"a.JPG", 12345, MODIFIED), (b"b.tar.gz", 2**33, MODIFIED),
        (b"c", 0, -1), (b"d", None, MODIFIED), (b"e.py", 1, 0),
        (b"f.pdf", 1023, MODIFIED)])
    with monkeypatch.context() as patch, Serving(tmp_path) as serving, (
            Wire(serving.port)) as wire:
        patch.setenv("TZ", "XXX-2")
        getattr(time, "tzset", int)()
        page, empty = [Page(wire.get(each).content) for each in ("/", "/d/")]
        as_json = wire.get("/", "Accept: application/json").content
        assert names_in(wire, "/d/") == []
    getattr(time, "tzset", int)()
    assert page.texts("button") == ["Download .tar", "Download .zip", "Filter",
                                    "Name \u2191", "Size", "Modified"]
    assert [each.title for each in page.all("button")[3:]] == [
        "Z to A", "Largest first", "Newest first"]
    assert [getattr(each, "class", "") for each in page.all("a")] == list(
        "diz") + ["", "c", "t"]
    assert [(getattr(size, "title", ""), size.text)
            for size in page.all("i")] == [
        ("", ""), ("12345 bytes", "12.1 KiB"),
        ("8589934592 bytes", "8.0 GiB"), ("", "0 B"), ("", "1 B"),
        ("", "1023 B")]
    times = [("1994-11-06 08:49:37 UTC", "1994-11-06 10:49")] * 3
    assert [(each.title, each.text) for each in page.all("time")] == times + [
        ("1970-01-01 00:00:00 UTC", "1970-01-01 02:00")] + times[:1]
    assert json.loads(as_json.decode("ascii"))[2:-1] == [
        {"name": "b.tar.gz", "type": "file", "mtime": DATE, "size": 2**33},
        {"name": "c", "type": "file", "size": 0},
        {"name": "e.py", "type": "file", "mtime": httpd.http_date(0),
         "size": 1}]
    assert (page.texts("p"), empty.texts("p"), empty.texts("a")) == (
        ["1 folder \xb7 5 files \xb7 8.0 GiB"], ["This folder is empty."],
        ["Files", "../"])


COLUMNS = "name", "size", "time"
ORDERS = {
    "name asc": "d9 d10 a F2 f9 f10", "name desc": "d10 d9 f10 f9 F2 a",
    "size asc": "d9 d10 f9 f10 a F2", "size desc": "d9 d10 F2 a f9 f10",
    "time asc": "d9 d10 F2 a f10 f9", "time desc": "d10 d9 f9 a f10 F2"}


@table("queries, sort, order", [
    (["?order=desc", "?sort=name&order=desc"], "name", "desc", "by name"),
    (["?sort=size", "?sort=size&order=asc", "?&&x&=&sort=size&y=z",
      "?sort=size&order=DESC"], "size", "asc", "by size"),
    (["?order=desc&sort=size"], "size", "desc", "largest first"),
    (["?sort=time"], "time", "asc", "by time"),
    (["?order=desc&sort=time"], "time", "desc", "newest first"),
    (["", "?sort=", "?sort", "?sort=Size", "?sort=%ff&order=",
      '?sort="></a><b>', "?" + "order=asc&" * 700], "name", "asc", "unknown"),
])
def test_listing_is_sorted(queries, sort, order, tmp_path):
    """Folders first, then by the key, and equal ones by name.

    A click sorts by a column, the largest and newest first; a second click
    reverses the order, as the button says.  It is a form's button, since
    crawlers follow links.  Links to folders lead to the same order.
    """
    fill(tmp_path, [(b"d10", None, 3), (b"d9", None, 1), (b"f10", 1, 2),
                    (b"f9", 1, 5), (b"F2", 3, 1), (b"a", 2, 2)])
    names = ORDERS[sort + " " + order].encode().split()
    with Serving(tmp_path) as serving, Wire(serving.port) as wire:
        for query in queries:
            assert names_in(wire, "/" + query) == names, query
            page = Page(wire.get("/" + query).content)
            forms = {each.value: "?order=%s&" % each.value
                     for each in page.all("input")[-2:]}
            assert [form.id for form in page.all("form")[2:]] == list(forms)
            turned = {"asc": "desc", "desc": "asc"}[order]
            buttons = page.all("button")[3:]
            assert [forms[each.form] + each.name + "=" + each.value
                    for each in buttons] == [
                "?order=%s&sort=%s" % (
                    turned if key == sort else
                    "asc" if key == "name" else "desc", key)
                    for key in COLUMNS]
            assert [hasattr(each, "aria-current") for each in buttons] == [
                key == sort for key in COLUMNS]
            asked = ["sort=" + sort] * (sort != "name") + (
                ["order=desc"] * (order == "desc"))
            assert page.all("a")[0].href == names[0].decode() + "/" + (
                "?" + "&".join(asked) if asked else "")


def test_answer_in_another_second(tmp_path, monkeypatch):
    """Only the Date field differs; headers= replaces fields of the same name,
    in any case, and may have two fields of one name."""
    now, heads = int(time.time()) + 10, set()
    content = b"\r\nDate: %s\r\n" % httpd.http_date(now).encode()
    (tmp_path / "a.bin").write_bytes(content)
    with Serving(tmp_path, headers=[("X-A", "b"), ("X-A", "c"), (
            "x-content-type-options", "")]) as server:
        for at in (now, now, now + 1, now + 1):
            monkeypatch.setattr(time, "time", lambda at=at: at)
            with Wire(server.port) as wire:
                head = wire.send(request_for("/a.bin")).head().decode()
                assert wire.take(len(content)) == content
            before, date, after = head.partition(
                "\r\nDate: " + httpd.http_date(at))
            heads.add(before + after)
            assert date and "\nDate" not in before + after, head
    assert re.findall("\n(?i:x-)[^\r]*", *heads) == [
        "\nX-A: b", "\nX-A: c", "\nx-content-type-options: "], heads


# ---- Archive formats --------------------------------------------------------

LONG_NAME = b"n" * 200 + b"/" + b"m" * 255
# name, mode, size, mtime; what Python's readers make of ZIP's time; why
ENTRIES = [
    (b"top/", 0o755, 0, 1700000000, (2023, 11, 14, 22, 13, 20), "folder"),
    (b"top/a", 0o104755, 5, 1700000001, (2023, 11, 14, 22, 13, 20), "setuid"),
    (b"a" * 100, 0, 0, 0, (1980, 1, 1, 0, 0, 0), "1970, name just fits"),
    (b"a" * 101, 0o100777, 1, -5, (1980, 1, 1, 0, 0, 0), "before 1970"),
    (LONG_NAME, 0o100400, 2**32 - 2, 315532799, (1980, 1, 1, 0, 0, 0),
     "long name, before 1980, just below 4 GiB"),
    (LONG_NAME + b"/", 0o700, 0, 2**31, (2038, 1, 19, 3, 14, 8),
     "long folder, 2038"),
    ("\u00e9/\U0001f600".encode(), 0o644, 2**32 - 1, 4354819199,
     (2107, 12, 31, 23, 59, 58), "UTF-8, 4 GiB, 2108"),
    (b"\xff\xfe", 0o644, 8**11 - 1, 8**11 - 1, (2107, 12, 31, 23, 59, 58),
     "no UTF-8, just below 8 GiB, 2242"),
    (b"\xff" * 101, 0o644, 8**11, 8**11, (2107, 12, 31, 23, 59, 58),
     "long and no UTF-8, 8 GiB"),
    (b"\n\x01 \\", 0o644, 2**63, 2**40, (2107, 12, 31, 23, 59, 58), "huge"),
]


@table("name, mode, size, mtime, zipped", ENTRIES)
def test_archive_entry(name, mode, size, mtime, zipped):
    """Python's readers find what was put in, without further rights."""
    import tarfile
    import zipfile
    head = httpd.tar_head(name, mode, size, mtime)
    assert len(head) % 512 == 0
    found = tarfile.TarFile(fileobj=io.BytesIO(head + httpd.TAR_END)).next()
    is_folder = name.endswith(b"/")
    assert os.fsencode(found.name) == name.rstrip(b"/")
    assert (found.mode, found.size, found.mtime, found.isdir(), found.uid,
            found.uname) == (mode & 0o777, size, mtime, is_folder, 0, "")
    local = httpd.zip_head(name, mode, size, mtime, 7)
    offset = size if size > 2**32 else 0
    central = httpd.zip_head(name, mode, size, mtime, 7, offset)
    data = central + httpd.zip_end(1, offset, offset + len(central))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (info,) = archive.infolist()
    utf8 = info.flag_bits & 0x800 > 0
    assert info.filename.encode("utf-8" if utf8 else "cp437") == name
    assert utf8 == (b"\xff" not in name)
    assert (info.file_size, info.compress_size, info.CRC, info.date_time,
            info.external_attr >> 16 & 0o7777, info.is_dir()) == (
        size, size, 7, zipped, mode & 0o777, is_folder)
    assert local[6:26] == central[8:28]     # but for a size in Zip64
    exact = struct.pack("<2HBL", 0x5455, 5, 1, mtime % 2**32)
    for each in (local, central):
        assert (exact in each) == (0 <= mtime < 2**31)
    assert (struct.pack("<2H2Q", 1, 16, size, size) in local) == (
        size > 2**32 - 2)


@table("count, start, stop, large", [
    (65534, 2**32 - 100, 2**32 - 2, False, "just below"),
    (65535, 0, 9, True, "many entries"),
    (1, 2**32 - 9, 2**32 - 1, True, "4 GiB"),
])
def test_end_of_zip(count, start, stop, large):
    end = httpd.zip_end(count, start, stop)
    assert len(end) == (98 if large else 22)
    if large:
        assert struct.unpack("<4sQ2H2L4Q", end[:56]) == (
            b"PK\6\6", 44, 0x32d, 45, 0, 0, count, count, stop - start, start)
        assert end[56:76] == struct.pack("<4sLQL", b"PK\6\7", 0, stop, 1)
    assert end[-22:] == struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, *[min(count, 65535)] * 2, stop - start,
        min(start, 2**32 - 1), 0)


# ---- Access log lines -------------------------------------------------------

LATIN_1 = bytes(range(256)).decode("latin-1")
LOG_TIME = r"\d\d/[A-Z][a-z]{2}/\d{4}(:\d\d){3} [+-]\d{4}"


def escaped(text, but=r" !#-\[\]-~"):
    return re.sub("[^%s]" % but, lambda found: "\\x%02x" % ord(found.group()),
                  text)


@pytest.mark.parametrize("form", ["combined", "common", "json"])
@table("user, line, referer, agent", [
    ("a b", "GET /?mark HTTP/1.1", None, None, "neither field"),
    ("j\xe9", "GET /mark HTTP/1.1", "", "", "empty fields"),
    ('"\\', 'GET /mark"_\\ HTTP/1.1', '\\"', "\\x0a", "quotes, backslashes"),
    ("me", "GET /mark" + LATIN_1[36:127] + LATIN_1[128:] + " HTTP/1.1",
     LATIN_1[33:127], "a\t" + LATIN_1[128:], "all that requests may have"),
    (None, "GET /mark\n127.0.0.1 - - [x] \r", None, None, "line ends"),
    (None, "mark" + LATIN_1, None, None, "every byte, and no request"),
])
def test_log_lines(user, line, referer, agent, form, tmp_path):
    """One line of printable ASCII, in a format that log readers know."""
    user = user if HAS_SCRYPT else None
    users = tmp_path / ".users"
    users.write_bytes(hash_line(user, "x").encode())
    lines = [line, "Host: a", "" if user is None else basic(user, "x"),
             "" if referer is None else "Referer: %s" % referer,
             "" if agent is None else "User-Agent: %s" % agent]
    with Serving(tmp_path, log_format=form, auth_file=user and str(
            users)) as serving, Wire(serving.port) as wire:
        wire.send(HEAD % "\r\n".join(filter(None, lines)).encode("latin-1"))
        answer = wire.response()
        logged = re.sub(LOG_TIME, "TIME", serving.logged("mark"), count=1)
        port = wire.sock.getsockname()[1]
    size = len(answer.content)
    if form == "json":
        assert re.fullmatch("[ -~]+", logged)
        entry = json.loads(logged)
        assert entry.pop("duration_us") >= 0
        assert entry == {
            "time": "TIME", "address": "127.0.0.1", "port": port, "user": user,
            "request": line, "status": answer.status, "bytes": size,
            "referer": referer, "user_agent": agent, "aborted": False}
    else:
        user = (user or "-").encode().decode("latin-1")
        assert logged == '127.0.0.1 - %s [TIME] "%s" %d %d%s' % (
            escaped(user, "!#-\\[\\]-~"), escaped(line), answer.status, size,
            "".join(' "%s"' % escaped(value or "-") for value in (
                referer, agent) if form == "combined"))


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no tzset here")
@table("zone, date", [
    ("XXX-5:30", "06/Nov/1994:14:19:37 +0530", "east, and half an hour"),
    ("XXX0:30", "06/Nov/1994:08:19:37 -0030", "west, less than an hour")])
def test_log_date(zone, date, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        found = httpd.log_date(MODIFIED)
    time.tzset()
    assert found == date


@needs("fork")
@pytest.mark.parametrize("form", ["combined", "json"])
def test_long_lines_of_workers_are_cut(form, tmp_path):
    """To what a pipe takes in one piece; the rest of a line is complete."""
    with Running(tmp_path, "-w", "2", "--log-format", form,
                 stdout=subprocess.PIPE) as running, (
                     Wire(running.port)) as wire:
        def log_line(length, value):
            wire.get("/?" + "x" * length, "Referer: " + value,
                     "User-Agent: " + value)
            return running.process.stdout.readline().decode("ascii")
        most = (select.PIPE_BUF - 200) // 4 - len('"GET /? HTTP/1.1"')
        for length, value, is_cut in (
                (most, "x" * most, False), (most + 3, "", True),
                (0, '"' * 9000, True), (5000, "\xff" * 9000, True)):
            line = log_line(length, value)
            assert len(line) <= select.PIPE_BUF and line.endswith("\n")
            assert ("..." in line) is is_cut, line
            assert re.search(r'"GET /\?x*(\.\.\.x*)? HTTP/1\.1"', line), line
            assert form != "json" or json.loads(line)["status"] == 200, line


# Requests come from 127.0.0.1, a trusted proxy, like all of 10.0.0.0/8.
@table("values, client", [
    (["192.0.2.1", "::ffff:192.0.2.1", "6.6.6.6, 192.0.2.1", "192.0.2.1,,",
      "192.0.2.1\t ,10.0.0.1 , 127.0.0.3",
      "192.0.2.1," + "10.0.0.1," * 30 + "10.0.0.2"], ("192.0.2.1", None),
     "the last that is no trusted proxy's"),
    (["192.0.2.1:65535"], ("192.0.2.1", 65535), "with a port"),
    (["2001:DB8:0::1", "[2001:db8::1]", "[2001:db8::1], 10.1.1.1:9"],
     ("2001:db8::1", None), "IPv6"),
    (["[2001:db8::1]:9"], ("2001:db8::1", 9), "IPv6 with a port"),
    (["10.5.5.5, 10.9.9.9", "192.0.2.1, nonsense, 10.5.5.5",
      "192.0.2.1," + "10.5.5.5," * 32], ("10.5.5.5", None),
     "all are trusted, nonsense before, more than are read"),
    (["", " , ,", "192.0.2.1, nonsense", "192.0.2.1:65536", "192.0.2.1:",
      "[::1", "[192.0.2.1]x", "192.0.2", "192.0.2.256", "::1%eth0", "\xb2",
      '"192.0.2.1"', "1" * 5000], None, "no address: the proxy's own"),
])
def test_log_has_the_client_behind_proxies(values, client, tmp_path):
    with Serving(tmp_path, log_format="json", trusted_proxies=[
            "127.0.0.0/8", "10.0.0.0/8"]) as serving, (
                Wire(serving.port)) as wire:
        for number, value in enumerate(values):
            wire.get("/?mark%d-" % number, "X-Forwarded-For: " + value)
            entry = json.loads(serving.logged("mark%d-" % number))
            assert (entry["address"], entry["port"]) == (
                client or wire.sock.getsockname()), value


@pytest.mark.skipif(PYPY, reason="no tracemalloc there")
def test_long_forwarded_is_not_remembered():
    """A client can write what its first proxy passes on."""
    import tracemalloc
    trusted = httpd.TrustedProxies(["127.0.0.1"])
    tracemalloc.start()
    for number in range(100):
        trusted.client(("127.0.0.1", 1), "%20000d" % number)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 1000000


# ---- Passwords --------------------------------------------------------------


def test_parse_users():
    """Comments, blank lines, any line end, a BOM; the smallest and largest."""
    lines = [hash_line("a b", "x", size=64), hash_line(
        "j\xe9", "x", salt=bytes(8)), hash_line("m", "x", salt=bytes(
            64)).replace("$2$1$1$", "$4096$8$16$")[:-1] + " \r\n"]
    for start in ("\ufeff", "# x\r\n\r\n  \n"):
        users = httpd.parse_users((start + "".join(lines)).encode())
        assert list(users) == [b"a b", "j\xe9".encode(), b"m"]


def test_bad_line_of_users_is_named_but_not_shown():
    good = hash_line("me", "x", 16, 8, 1, size=32).strip()
    for line in [
            "me", "me:secret", "me:$6$x$y", hash_line("other", "x"),
            ":" + good[3:], "m\x00e" + good[2:], "me :" + good[3:],
            good[:-24], good[:-2], good + "$", good.replace("c3N", ""),
            *(good.replace("$16$8$1$", work) for work in (     # too little
                "$17$8$1$", "$1$8$1$", "$16$0$1$", "$16$8$0$",
                "$4194304$1$1$", "$4096$8$17$")),
            *(hash_line("me", "x", salt=bytes(size)) for size in (7, 65)),
            *(hash_line("me", "x", size=size) for size in (15, 65))]:
        data = "# secret\n\n%s%s\n" % (hash_line("other", "secret"), line)
        with pytest.raises(ValueError) as caught:
            httpd.parse_users(data.encode())
        assert re.fullmatch("line 4: (?!.*(secret|other|me:)).*",
                            str(caught.value)), line


# ---- Time, and what is written down -----------------------------------------


def trickle(text):
    """Let a head come byte by byte: old bytes are not searched again."""
    received = bytearray(b"GET / HTTP/1.1\r\n")
    for byte in text.encode():
        received.append(byte)
        httpd.check_partial(received, len(received) - 1)


@table("function, inputs", [
    (date, ["Sun, { }"], "dates"),
    (lambda text: httpd.parse_request(FIELD % text.encode("latin-1")),
     ["Host:{a.} ", "X:{ \t}\0", "{a} : b", "X:{ }\r\n" * 90 + "X:",
      "Connection:{,}", "Content-Length:{1, }1", "Accept-Encoding:{gzip,}"],
     "requests"),
    (lambda text: httpd.parse_request(HOST % text.encode("latin-1")),
     ["{a.} ", "[{:}", "a:{0}"], "hosts"),
    (httpd.TARGET.fullmatch, ["http://{a:}", "http://{%41}%"], "targets"),
    (trickle, ["{a}"], "a drip of bytes"),
    (httpd.parse_credentials, ["Basic{ }", "Basic {A}A"], "credentials"),
    (functools.partial(judged, "if-none-match: %s"),
     ['{"}', '"{a}', '{"a", }', '{W/"a}', "{ ,}"], "tags"),
    (ranges, ["{0}", "0-{0}", "{0-0,}", "{, \t}", "0{ }-1"], "ranges"),
    (httpd.parse_weights,
     ["{a,}", "a{;q=0}", "a;q=0.{0}", "a;{ }x", "a{ };q =1", "a;q=1{ ;}",
      'a;b="{\\"};q=1', '{a;b="};q=1'], "weights"),
    (lead, ["{/a}{/..}", "{%41}", "{%}"], "paths (CVE-2016-10703)"),
    (functools.partial(lead, windows=True), ["/{ .}a", "/con{.con}"],
     "paths on Windows"),
    (lambda text: of_html(text.encode()),
     ["{<!--}", "{<meta }", "{<meta charset}", "{<?xml }"], "charsets"),
    (lambda text: httpget.parse_arguments(
        ["-O", "h", "80", *map(str, range(len(text) // 8))]), ["{a}"],
     "client: names"),
    (lambda text: httpget.parse_arguments(
        ["-r", *map("http://h/{}".format, range(len(text) // 8))]), ["{a}"],
     "client: copies"),
    (httpget.without_dots, ["{/a}{/..}"], "client: dots"),
])
def test_time_is_linear(function, inputs):
    """Even of the worst input, 16 times as much must not take 256 times as
    long.  The text in braces is repeated."""
    def seconds(pattern, size):
        size //= pattern.count("{")
        text = re.sub("(?s){(.*?)}", lambda found: (
            found.group(1) * (size // len(found.group(1)))), pattern)
        start = time.process_time()
        outcome(function, text)
        return time.process_time() - start
    for pattern in inputs:
        seconds(pattern, 1900)      # what is compiled at first
        # Less than 0.1 ms is noise; what is quadratic takes half a second.
        small = max(1e-4, min(seconds(pattern, 1900) for _ in range(5)))
        assert any(seconds(pattern, 16 * 1900) <= 64 * small
                   for _ in range(5)), pattern      # unless it is disturbed


@pytest.mark.parametrize("module", [httpd, httpget])
def test_doctests(module):
    result = doctest.testmod(module)
    assert result.attempted > 5 and result.failed == 0


# ---- Helpers for what a client is told and saves ----------------------------

ONE, OTHER = b"abcdefghi", b"ABCDEFGHI"     # two versions of a file
MANY_BYTES = bytes(range(256)) * 1200
TAG_A = b'ETag: "a"'
TIME_FIELD = b"Last-Modified: " + DATE.encode()
GZIP = b"Content-Encoding: gzip"
JSON_TYPE = b"Content-Type: application/json"
NONE_THERE = ok(b"none", status=b"404 Not Found")
EVIL = ok(b"evil")
PART_NOTES = "the notes beside a part"


def served(content=ONE, etag='"a"', cut=None, how="close", digest=None,
           ranges=True):
    """Return a function that answers requests for a file.

    *cut*: send only so many bytes of each answer; *how*: see Cut.
    *digest*: send a right or wrong digest, or none; or answer this status.
    """
    def answer(head):
        if isinstance(digest, bytes) and field_of(head, "Want-Repr-Digest"):
            return ok(b"", status=digest)
        fields = ["Last-Modified: " + DATE, "ETag: " + etag]
        fields += ["Accept-Ranges: bytes"] * ranges
        if digest is not None and field_of(head, "Want-Repr-Digest"):
            value = hashlib.sha256(content).digest()
            fields.append("Repr-Digest: sha-256=:%s:" % base64.b64encode(
                value if digest else value[::-1]).decode())
        part, status = content, b"200 OK"
        wanted = ranges and field_of(head, "Range")
        if wanted and field_of(head, "If-Range") in (None, etag):
            first, last = wanted[len("bytes="):].split("-")
            part = content[int(first):int(last) + 1 if last else None]
            status = b"206 Partial" if part else b"416 No Range"
            fields.append("Content-Range: bytes %s/%d" % ("%s-%d" % (
                first, int(first) + len(part) - 1) if part else "*",
                len(content)))
        whole = ok(part, *[field.encode() for field in fields], status=status)
        if cut is None or wanted == "bytes=0-0":
            return whole
        return Cut(whole, len(whole) - len(part) + cut, how)
    return answer


def script_of(paths):
    """Return a script with an answer for each of *paths*, or for all paths.

    An answer may be a list of answers to successive requests; its last one is
    repeated.  "*" stands for all other paths.
    """
    taken = {}

    def script(head):
        method, path = head.decode("latin-1").split(" ")[:2]
        assert method == "GET"      # not every server answers others
        answer = paths
        if isinstance(paths, dict):
            answer = paths.get(path, paths.get("*", NONE_THERE))
        if isinstance(answer, list):
            taken[path] = min(taken.get(path, 0) + 1, len(answer))
            answer = answer[taken[path] - 1]
        return answer(head) if callable(answer) else answer
    return script


def in_chunks(*chunks, status=b"200 OK", where=b""):
    """Return an answer in *chunks*; an empty chunk ends it."""
    return b"HTTP/1.1 %s\r\n%s\r\n%sTransfer-Encoding: chunked\r\n\r\n" % (
        status, TAG_A, where) + b"".join(
            b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def until_close(content, status=b"200 OK", field=b"Accept-Ranges: bytes"):
    """Return an answer with *content* that ends when the server closes."""
    return b"\r\n".join([b"HTTP/1.1 " + status, TAG_A, field, b"", content])


def piece_of(where, *fields, more=0):
    """Return the part *where* of OTHER, with *fields* or a tag.

    Its body is longer by *more* bytes, or shorter.
    """
    first, last = re.match("([0-9]*)-?([0-9]*)", where).groups()
    content = b""
    if last:
        content = (OTHER + b"JKLMN")[int(first):int(last) + 1 + more]
    return ok(content, b"Content-Range: bytes " + where.encode(),
              *(fields or [TAG_A]), status=b"206 Part")


def moved_to(location):
    """Return a redirect to *location*."""
    return ok(b"", b"Location: " + location.encode(), status=b"302 Found")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, made the current folder."""
    monkeypatch.chdir(str(tmp_path))
    return tmp_path


def files_in(folder):
    """Return {path below *folder*: content}, with PART_NOTES for notes."""
    found = {}
    for path, _, names in os.walk(str(folder)):
        for where in filter(os.path.isfile, (os.path.join(path, name)
                                             for name in names)):
            with open(where, "rb") as file:
                content = file.read()
            if where.endswith(".part.json") and b'"validator"' in content:
                content = PART_NOTES
            found[os.path.relpath(where, str(folder))] = content
    return found


def write_to(name, content):
    """Write *content* to the file *name*."""
    with open(str(name), "wb") as file:
        file.write(content)


def part_kept(content, name="t"):
    """Return the files left after *content* of a file has arrived."""
    return {name + ".part": content, name + ".part.json": PART_NOTES}


def check_end(result, status, said, left):
    """Compare how httpget.py ended, and the files here; "-" is its output.

    *said*: words of the message, or of its other lines if all is well or
    several things went wrong.
    """
    files = dict(files_in("."), **({"-": result.out} if result.out else {}))
    assert result.status == status, result
    assert said in (result.err if status < 2 else result.message()), result
    assert files == left, result


def check_requests(requests, wanted, by_user=False):
    """Compare the ranges of *requests* with *wanted*; "all" means no range.

    Unless a range is *by_user*, If-Range must protect what will be joined.
    """
    ranges = [(field_of(head, "Range") or "bytes=all")[len("bytes="):]
              for head in requests]
    assert ranges == wanted.split(), requests
    for number, head in enumerate(requests):
        if ranges[number] not in ("all", "0-0"):
            assert field_of(head, "If-Range") == (None if by_user else '"a"')
            assert field_of(head, "Accept-Encoding") == "identity", head


class Pieces(tuple):
    """Made of [make]: the pieces of an answer that make() yields, each one
    after the pieces before it are sent."""

    def __iter__(self):
        return self[0]()


def endless(start, piece):
    """Return an answer of *start*, then *piece* without end."""
    return Pieces([lambda: itertools.chain([start], itertools.repeat(piece))])


def parsed(function, *args):
    """Return what *function* returns; None if it refuses with a message."""
    try:
        return function(*args)
    except (ValueError, httpget.Failure) as exc:
        said = str(exc)
        assert httpget.printable(said) == said != "" and "secret" not in said
        return None


def in_sips(monkeypatch, size):
    """Let sockets give at most *size* bytes at a time."""
    recv, recv_into = socket.socket.recv, socket.socket.recv_into
    monkeypatch.setattr(socket.socket, "recv", lambda self, count, *flags: (
        recv(self, min(count, size), *flags)))
    monkeypatch.setattr(
        socket.socket, "recv_into", lambda self, buffer, count=0, *flags: (
            recv_into(self, buffer, min(count or len(buffer), size), *flags)))


# ---- httpget.py: pure functions ---------------------------------------------

SAME = "just as it is"
BASE = httpget.parse_url("http://h/a/b")
PURE = {
    httpget.parse_host: [
        (["localhost", "a_b.de.", "127.0.0.1", "a" * 63, "fe80::1%eth0",
          "a." * 126 + "a"], SAME, "taken"),
        ("B\xdcCHER\u3002de", "xn--bcher-kva.de", "idna, another full stop"),
        ("[::1]", "::1", "brackets"),
        (["fa\xdf.de", "\u03bf\u03c2.com", "a\u200db.com"], None,
         "another host by IDNA 2003"),
        (["", "localhost:8080", "user@host", "a/b", "a b", "host\n", "a\0b",
          "[localhost]", "[::1", "::1]", "-a", "a-", "a..b", "a" * 64,
          "a." * 126 + "aa", "::1%a/b", "123", "\udcff",
          "\uff11\uff12\uff0f"], None, "no host")],
    httpget.parse_port: [
        ("1", 1, "smallest"), ("65535", 65535, "largest"),
        (["0", "65536", "", "-1", "+8", "8_0", "\u0668", "8\n"], None, "no")],
    httpget.request_target: [
        (["/", "//a/../b", "/~!$&'()*+,;=:@-._"], SAME, "allowed in a path"),
        ("", "/", "empty"), ("a b?c#d%20", "/a%20b%3Fc%23d%2520", "special"),
        ("\xe9\u20ac\udcff", "/%C3%A9%E2%82%AC%FF", "beyond ASCII"),
        ("\\\"<^`{|}[]", "/%5C%22%3C%5E%60%7B%7C%7D%5B%5D", "not in a path"),
        (["a\nb", "a\rb", "\x7f", "\x9f", "\0"], None, "controls")],
    httpget.parse_url: [
        (["http://h/a?b", "https://h:80/a", "http://[::1]:81/",
          "http://127.1/", "http://h/?a%20b?"], SAME, "URL"),
        (["http://h", "http://h:80/#a", "http://h:/"], "http://h/", "short"),
        ("HTTPS://H.de:443/a", "https://H.de/a", "default port of TLS"),
        ("http://h?q", "http://h/?q", "query without a path"),
        ("http://[fe80::1%25lo]:80/", "http://[fe80::1]/", "zone is local"),
        ("http://h/a%2fb?c=%20&d#e", "http://h/a%2fb?c=%20&d", "encoded"),
        ("http://h/a b<\xe9>\udcff", "http://h/a%20b%3C%C3%A9%3E%FF", "odd"),
        (["ftp://h/a", "//h/a", "http:/h/a", "http:///a", "http://user@h/",
          "http://user:secret@h/", "http://h\\@evil/", "http://h:99999/",
          "http://h:8 0/", "http://h:80:80/", "http://h/a\r\nX: y",
          "http://h\t/", "http://fe80::1:2/x", "http://::1/",
          "http://[::1]2/", "http://123/"], None, "no URL, or one in doubt")],
    functools.partial(httpget.redirected, BASE): [
        ("/c", "http://h/c", "absolute"), ("c", "http://h/a/c", "relative"),
        ("../../c", "http://h/c", "above the root"),
        (["..", "/../x/.."], "http://h/", "the root"),
        (["./d/../", "."], "http://h/a/", "the folder"),
        (["", "#f"], "http://h/a/b", "here"), ("/c?", "http://h/c?", "query"),
        ("?//e/../x", "http://h/a/b?//e/../x", "query of any kind"),
        ("/c;", "http://h/c;", "semicolon"), (";x", "http://h/a/;x", "params"),
        ("x//y/./z", "http://h/a/x//y/z", "an empty segment"),
        ("/.//evil/x", "http://h//evil/x", "what looks like a host"),
        ("//o/x", "http://o/x", "host"), ("./a:b", "http://h/a/a:b", "colon"),
        ("/\xc3\xa9", "http://h/%C3%A9", "UTF-8, read as Latin-1"),
        ("https://h/x", SAME, "to TLS"),
        (["a:b", "ftp://h/x", "http://u@h/", "/a\nb", "//a b/", "http://h:x/",
          "//\xe2\x80\xae\xe2\x84\x80/"], None, "refused")],
    functools.partial(httpget.redirected, httpget.parse_url("https://h/a")): [
        ("http://h/a", None, "never from TLS to plain text")],
    lambda url: {httpget.redirected(httpget.parse_url(url), each).host
                 for each in ("b", url.replace("%25e", ""))}: [
        (["http://[fe80::1%25e]:81/", "http://[fe80::1%25e]/"], {"fe80::1%e"},
         "the zone is kept")],
    lambda line: " ".join(map(str, httpget.proxy_for(httpget.parse_url(
            line.split()[0]), dict(each.split("=") for each in line.split()[
                1:])) or ["none"])): [
        (["http://h http_proxy=http://p/x", "https://h HTTPS_PROXY=p all_proxy"
          "=q", "http://h all_proxy=p ALL_PROXY=q http_proxy= no_proxy=",
          "https://h https_proxy=p HTTPS_PROXY=q"], "http://p:1080/ []", "1"),
        ("http://h http_proxy=HTTP://u%40:p%2f@[::1]:81", "http://[::1]:81/ "
         "[('Proxy-Authorization', 'Basic dUA6cC8=')]", "a user"),
        (["http://h HTTP_PROXY=p https_proxy=p", "https://h http_proxy=p",
          "http://h all_proxy=p no_proxy=h NO_PROXY="], "none", "not for it"),
        (["http://h http_proxy=" + each for each in (
            "socks5://p", "https://p:1", "secret:80:1", "u:secret@p:x", "//",
            "http://", "u:secret@")], None, "refused")],
    lambda line: httpget.is_direct(*line.split(" ", 1)): [
        (["h *", "h.de h.de", "a.h.DE g,H.de.", "a.h.de. x, .h.de", "::2 ::2",
          "10.2.3.4 10.0.0.0/8", "10.2.3.4 10.2.3.4", "fe80::1%e fe80::/10",
          "localhost ", "a.localhost ", "127.9.9.9 ", "127.1 ", "::1 ",
          "::ffff:127.0.0.1 ", "::ffff:10.1.1.1 10.1.1.1"], True, "direct"),
        (["h ", "h x,*", "gh.de h.de", "h.de a.h.de", "h.de h.de:80", "h .",
          "10.2.3.4 10.3.0.0/16", "10.2.3.4 3.4", "10.2.3.4 ::/0", "h ::/0",
          "localhost.de "], False, "by the proxy")],
    httpget.parse_range: [
        ("0-0", "bytes=0-0", "one byte"), ("-5", "bytes=-5", "the last"),
        ("9" * 18 + "-", "bytes=" + "9" * 18 + "-", "the most digits"),
        (["", "-", "5-4", "1-2,4-5", "+1-2", "1_0-20", "1-2\n",
          "1" * 19 + "-", "\u0661-"], None, "no range")],
    httpget.http_time: [    # for others see test_parse_http_date
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1, "old"),
        (DATE.replace("1994", "9999"), None, "none that a file could have")],
    lambda value: httpget.seconds_to_wait(
            {"retry-after": value, "date": DATE}, 0): [
        (["0", "1", DATE, "Thu, 01 Jan 1970 00:00:00 GMT"], 1, "at once"),
        (["120", DATE.replace(":49:", ":51:")], 120, "two minutes"),
        (["121", DATE.replace("08:", "09:"), "1.5", "-1", "", "soon", "5, 5"],
         0, "none of use")],
    lambda value: httpget.seconds_to_wait(
        {"retry-after": value}, MODIFIED - 9): [(DATE, 9, "by our clock")],
    httpget.strong_validator: [
        ({"etag": '"a"'}, '"a"', "a tag"),
        ([{"etag": tag, "last-modified": DATE, "date": LATER} for tag in (
            'W/"a"', "a", '"a", "b"')], "", "no strong tag, so no time"),
        ({"last-modified": DATE, "date": LATER}, DATE, "an old time"),
        ([{"last-modified": DATE, "date": DATE}, {"last-modified": DATE},
          {"last-modified": "31 Feb", "date": LATER}, {}], "", "too weak")],
    httpget.parse_digest: [
        (["sha-256=:%s=:" % ("A" * 43), "md5=:AA==:, sha-256=:%s=:" % (
            "A" * 43)], bytes(32), "a digest"),
        (["sha-256=:%s=:" % ("A" * 42), "sha-256=%s=" % ("A" * 43), "",
          "SHA-256=:%s=:" % ("A" * 43), "sha-512=:%s=:" % ("A" * 43)], None,
         "none")],
    httpget.parse_content_range: [
        ({"content-range": "bytes 0-4/10"}, (0, 4, 10), "a part"),
        ({"content-range": "bytes 0-4/*"}, (0, 4, -1), "of nobody knows what"),
        ({"content-range": "bytes */9"}, (-1, -1, 9), "no part"),
        ([{"content-range": value} for value in (
            "bytes 5-4/10", "bytes 0-10/10", "bytes=0-4/10", "bytes 0-4",
            "bytes +0-4/10", "bytes 0-4/10, bytes 5-6/10")], None, "no")],
    httpget.timestamp: [
        (["1994-11-06T08:49:37Z", "1994-11-06T08:49:37.9Z"], MODIFIED, "UTC"),
        (["x", "1994-11-06T08:49:37+01:00", "1994-02-31T08:49:37Z",
          "9994-11-06T08:49:37Z"], None, "none")],
    httpget.safe_name: [
        ("a/b.txt", "b.txt", "folders cut off"), ("a\\b", "b", "backslash"),
        (["..", "/", "a/", ". ."], "", "no name"), ("...x", "x", "hidden"),
        ("a. .", "a", "end"), ("c:x", "c_x", "drive"),
        ("con", "_con", "device"), ("NUL.txt", "_NUL.txt", "its suffix"),
        ("a\x1b[2J\r\nb\u202ec", "a[2Jbc", "controls"),
        (["caf\xe9 \u20ac", "\udcff", "50%"], SAME, "letters")],
    httpget.local_name: [
        (["100% sure.txt", "%41", "a\\b", "x.", "x ", "c:?", "\u3000\u200d"],
         SAME, "good"), (".x\t\n\x7f", "%2Ex%09%0A%7F", "hidden, controls")],
    lambda name: httpget.local_name(name, True): [
        (["100% sure.txt", "\udcff", "conx", "com10", "lpt"], SAME, "good"),
        ("..", "%2E%2E", "parent"), ("x ", "x%20", "space at the end"),
        ('\\<:"|?*>', "%5C%3C%3A%22%7C%3F%2A%3E", "no names have")],
    httpget.printable: [
        ("a\tb\n\x7f\x9b\x1b[", "a\\x09b\\x0a\\x7f\\x9b\\x1b[", "controls"),
        ("\u202e\u2028\udcff", "\\u{202e}\\u{2028}\\u{dcff}", "unseen"),
        ("\xe9\u6f22", SAME, "letters")],
}


@table("function, given, expected", [
    (function, given, given if expected is SAME else expected, why)
    for function, groups in PURE.items()
    for given, expected, why in spread(groups)])
def test_pure_function_of_the_client(function, given, expected):
    """None stands for what is refused."""
    found = parsed(function, given)
    if isinstance(found, httpget.URL):
        found = str(found)
    assert found == expected


@pytest.mark.parametrize("name", [
    "C:\\x", "\\\\host\\share\\x", "\\\\.\\COM1", "//host/x", "a:b:$DATA",
    "nul:", "Aux .c", "prn. .x", "nul ", "com\xb9", "lpt9.a.b", "CONOUT$.x",
    "..\\con", ".con", "a. .", "con\x1b", "a*|b", "<a>", '"a"'], ids=ascii)
def test_names_that_windows_takes_for_something_else(name):
    """They become names that are plain for Python and for httpd.py."""
    for made in (httpget.safe_name(name), httpget.local_name(name, True)):
        assert ntpath.split(made) == ntpath.splitdrive(made) == ("", made)
        assert not re.search(r'[\x00-\x1f<>:"|?*]|[. ]$', made)
        assert not isinstance(outcome(
            httpd.path_segments, "/" + urllib.parse.quote(made), True), int)


# ---- httpget.py: listings ---------------------------------------------------


def check_asked_by_copy(page, fields, status, below, said=""):
    """Copy the folder "a b" whose listing is *page*, with *fields*.

    Compare the paths requested below it; folders need not be requested.
    """
    def script(head):
        if b"GET /a%20b/ " in head:
            return ok(page, *fields)
        return ok(b"[]", JSON_TYPE) if b"/ HTTP" in head else ok(b"abc")
    with ScriptedServer(script) as server:
        result = get_here("-r", "-P", ".", server.url("/a%20b"))
    assert result.status == status and said in result.err, result
    found = {head.split(b" ")[1].decode() for head in server.requests}
    assert found - {"/a%20b/", "/a%20b/index.html"} in (
        {"/a%20b/" + each for each in below.split()},
        {"/a%20b/" + each for each in below.split() if each[-1] != "/"})


# Pages, and the names that they list below the folder.
PAGES = {"<a href='%s'>" % link: below for link, below in {
    "x.txt": "x.txt", "./x": "x", "/a%20b/x": "x", " y ": "y", "d/": "d/",
    "%E2%82%AC&amp;": "%E2%82%AC&", "%FF": "%FF", "x;": "x;"}.items()}
PAGES.update(("<a href='%s'>" % link, "") for link in [
    "../", "/", "/a%20b/", "/a%20c/x", "d//x", "d/%2e%2E/x", "./%2e/x", "x?y",
    "#top", "http://h:82/a%20b/x", "https://127.0.0.1/a%20b/x", "mailto:a@b"])
PAGES.update({
    "<A HREF=b>b</A><a href=d/>d</a><a name=x><a href='b'>": "b d/",
    '<a title="a > b" href="gt"><a\nhref\n=\n"nl">': "gt nl",
    '<!-- <a href="n"> --><script>"<a href=n>"</script><![if x]><a href=c></x'
    "<?x?></x <>": "c",
    "<area href=f>": "f", "<link rel=icon href=f>": "f", "<img src=f>": "f",
    "<script src=f></script>": "f", "<audio src=f>": "f", "<embed src=f>": "f",
    "<video src=f poster=g><track src=h><source src=i>": "f g h i",
    "<iframe src=f>": "f", "<object data=f>": "f", "<source srcset=f>": "f",
    "<img src=f srcset='g, h 1x,i 2x,\n j 100w 50h, data:a;b,c 3x'>":
        "f g h i j",
    "<img srcset=',,f,, , 2x,g,'>": "2x,g f", "<img href=f><p src=f>": "",
    "<img src=f?v=1><a href=g?v=1>": "f", "<base href=/x/><img src=f>": "",
    "<img src=data:image/gif;base64,AA><img src=//x/f><form action=f>": "",
    "<base href=d/><img src=e/f>": "d/ d/e/ d/e/f",
    # Python refuses to read a number of thousands of digits.
    "<p title='&#%s;'><a href=f>" % ("1" * 5000): "f"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: ascii(page)[:80])
def test_links_of_a_page(here, page):
    check_asked_by_copy(page.encode(), [], 0, PAGES[page])


@table("page, status, below", spread([
    (b" [ ]\n", 0, "", "empty"),
    ([b'[{"name": "d", "type": "directory", "mtime": "%s"},\n {"name": "f", '
      b'"type": "file", "mtime": "%s", "size": 3}]' % ((DATE.encode(),) * 2),
      b'[{"name": "d/", "size": 4096, "is_dir": true, "mod_time": "x"},{"na'
      b'me":"f","size":3,"is_dir":false,"mod_time":"1994-11-06T08:49:37Z"}]'],
     0, "d/", "nginx, caddy"),
    (b'[{"name": "f", "size": 4}]', 0, "f", "another size"),
    (b'[{"name": "f", "size": 3, "mtime": "x"}]', 0, "f", "no time"),
    (b'[{"name": "f", "size": 3, "mtime": "%s"}]' % EARLIER.replace(
        ":36", ":35").encode(), 0, "", "a second before, as FAT rounds"),
    (b'[{"name": "f", "size": 3, "mtime": "%s"}]' % LATER.encode(), 0, "f",
     "two seconds later"),
    ([b"", b"null", b"{}x", b"3", b"[1]", b"[{}]", b'["a"]', b'{"a": 1}', b"[",
      b"[" * 100000, b'[{"name": "a"}', b"[]]", b'[{"name": "a"},]',
      b'[,{"name": "a"}]', b'[{"name": "%s"}]' % (b"a" * 10000)], 4, "",
     "none")]))
def test_listing_of_another_server(here, page, status, below):
    """Files that have the size and time in the listing are not requested."""
    os.mkdir("a b")
    write_to("a b/f", b"abc")
    os.utime("a b/f", (MODIFIED - 1, MODIFIED - 1))
    check_asked_by_copy(page, [JSON_TYPE], status, below,
                        "not a listing" if status else "")


# ---- httpget.py: success ----------------------------------------------------

AGENT = "User-Agent: httpget.py/" + httpget.__version__
AS_USUAL = ["Host: HERE", AGENT, "Accept: */*", "Accept-Encoding: gzip"]


@table("options, lines", [
    ([], AS_USUAL, "no"),
    # RFC 9110, 7.2: Host is the first.
    (["-H", "accept: a", "-H", "X: \xe9", "-H", "X:", "-H", "host: Z"],
     ["host: Z", AGENT, "Accept-Encoding: gzip", "accept: a", "X: \xe9",
      "X: "], "fields of the user"),
    (["--auth", "me"], [*AS_USUAL, "Authorization: Basic bWU6/w=="], "a user"),
    (["--auth", "me", "-H", "Authorization: y"],
     [*AS_USUAL, "Authorization: y"], "a user, but one's own field"),
])
def test_request(monkeypatch, options, lines):
    monkeypatch.setenv("HTTPGET_PASSWORD", "\udcff")   # which is no text
    with ScriptedServer(ok(b"x")) as server:
        get_here(*options, server.host, server.port, "a b")
    assert server.requests[0].decode("latin-1") == "\r\n".join(
        ["GET /a%20b HTTP/1.1", *lines, "", ""]).replace(
            "HERE", server.url("")[7:])


def test_what_is_reported():
    answer = (b"HTTP/1.1 102 Processing\r\nServer: y\r\n\r\n"
              b"HTTP/1.1 200 \xc3\xa9\x20\xc2\x9b\r\nServer: x\r\nX-Y: z\r\n"
              b"ETag: \"\xff\"\r\nContent-Length: 3\r\n\r\nabc")
    result = fetch_from(answer)
    assert re.fullmatch(
        "Connected to 127.0.0.1, address 127.0.0.1 port [0-9]+, from 127.0.0.1"
        " port [0-9]+\nHTTP/1.1 200 \xe9 \\\\x9b\nServer: x\nETag: "
        "\"\\\\xff\"\nContent-Length: 3\n3 bytes in .* s, .*/s\n", result.err)
    lines = fetch_from(answer, "-v").err.splitlines()
    assert lines[1] == "> GET /file HTTP/1.1"
    assert "< X-Y: z" in lines and "> Accept: */*" in lines
    assert fetch_from(answer, "-q").err == ""
    assert re.fullmatch(".*404 Not.*\n", fetch_from(NONE_THERE, "-q").err)


IPV4, IPV6 = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")
NOT_THERE = [(9999, "odd"), (socket.AF_INET, "127.0.0.9")]


@table("serving, found, argv, status, words", [
    (IPV4, [*NOT_THERE, IPV4], "many", 0, "to many, address 127.0.0.1",
     "a family that nobody knows, one that refuses, and it"),
    (IPV4, NOT_THERE, "many", 3, r"\(odd: .*, 127.0.0.9: .*refused\)", "none"),
    (IPV4, [IPV6, *NOT_THERE], "-4 many", 3, r"\(127.0.0.9: [^,]*\)", "IPv4"),
    (IPV4, [IPV6, IPV4], "-6 many", 3, r"\(::1: [^,]*\)", "IPv6 alone"),
    (IPV4, None, "-6 127.0.0.1", 3, "no address for host", "none of IPv6"),
    (IPV6, None, "::1", 0, "address ::1 port", "IPv6"),
    (IPV6, None, "-6 [::1]", 0, "address ::1 port", "in brackets"),
])
def test_addresses(monkeypatch, serving, found, argv, status, words):
    if serving is IPV6 and not HAS_IPV6:
        pytest.skip("no IPv6 here")
    if found:
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, port, family=0, *rest: [
                (each, socket.SOCK_STREAM, 0, "", (address, port))
                for each, address in found if family in (0, each)])
    with ScriptedServer(ok(b"x"), family=serving[0],
                        address=serving[1]) as server:
        result = get_here(*argv.split(), server.port)
    assert result.status == status and re.search(words, result.err), result
    assert status or field_of(server.requests[0], "Host") == "%s:%d" % (
        "[::1]" if serving is IPV6 else "many", server.port)


def test_timeout_while_connecting():
    """With a full backlog, and with a server that does not begin TLS."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(listener.getsockname())
        results = [get_here("--timeout", "0.2", *listener.getsockname())]
    if "ssl" not in WITHOUT:
        results.append(fetch_from(b"", "--tls", "--timeout", "0.2"))
    for result in results:
        assert result.status == 3, result
        assert "(127.0.0.1: timed out)" in result.message()


MEBIBYTE = bytes(1 << 20)
TELLING_PEAK = (    # of memory, in KiB
    "import re, sys, httpget\nstatus = httpget.main()\n"
    "with open('/proc/self/status') as file:\n    sys.stderr.write(re.search("
    "r'VmHWM:\\s+([0-9]+)', file.read()).group(1))\nsys.exit(status)")


@pytest.mark.skipif(PYPY or not os.path.exists("/proc/self/status"),
                    reason="no /proc, or a collector that needs 300 MiB")
@table("start, piece, end, options", [
    (CHUNKED_HEAD, b"100000\r\n%s\r\n" % MEBIBYTE, b"0\r\n\r\n", [], "chunks"),
    (until_close(b"", field=GZIP), gzip.compress(
        os.urandom(1 << 15) + MEBIBYTE[1 << 15:]), b"", [], "gzip"),
    (until_close(b""), MEBIBYTE, b"", ["-o", "t"], "to the end, and proved"),
])
def test_memory_is_flat(here, start, piece, end, options):
    def script(head):
        if b"bytes=0-0" in head:
            return ok(b"\0", TAG_A, b"Content-Range: bytes 0-0/52428800",
                      b"Repr-Digest: sha-256=:%s:" % base64.b64encode(
                          hashlib.sha256(MEBIBYTE * 50).digest()),
                      status=b"206 Part")
        return (start, *[piece] * 50, end)
    with ScriptedServer(script) as server:
        result = ended(subprocess.Popen(
            [sys.executable, "-c", TELLING_PEAK, *options, server.url("/")],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=HERE)))
    assert result.status == 0 and "52428800 bytes in" in result.err, result
    assert ("verified" in result.err) == bool(options)
    # Python itself takes 10 to 25 MiB.
    assert int(result.err.split()[-1]) < 40 * 1024, result


# ---- httpget.py: failure ----------------------------------------------------


@table("line, words", spread([
    ("a/b", "host", "host"), ("", "host", "empty host"),
    ("h 0", "port '0'", "port"), ("h 80 a\nb", "control", "name of the file"),
    (["http://h/ x", "h:1/a b"], "not a URL", "a name after a URL"),
    (["http://me:secret@h/", "me@h:80"], "a user's", "user in the URL"),
    (["9200", ":9200"], "write localhost:9200", "a port alone"),
    ("-r http://h/ all", "'all' is not a URL, as", "a folder after a URL"),
    ("-r http://h/?q=a", "leave out the ?", "a part of a listing"),
    ("me:secret@h", "'@h' is not a host", "user before a host"),
    (["ftp://me:secret@h/", "h:1/a me:secret@h/", "h http://me:secret@h/",
      "h:1 http://me:secret@h/", "http://me:secret\1@h/"], "'@h/'", "URLs"),
    (["h:80 80 a", "h:80 x g:80", "h:80 http://h/"], "h:80/FILE", "which?"),
    (["h:99999", "h:0/a"], "port '", "no port"), ("h:", "'h:' is", "none"),
    ("https://fa\xdf.de/", "write it as xn--", "two names for one"),
    (["-O h 80", "-O h 80 a/..", "-O h:80/"], "http://h/", "-O without one"),
    (["-O -o x", "-P d h", "-c h", "-c -o -", "--force -r h", "-r -o x",
      "-r -O", "-r -v h", "--tls http://h/", "--range 5- -c -o x",
      "--range 5- -r"], "-", "they do not go together"),
    ("-o x h 80 a b", "several", "one name for two files"),
    (["-O h 80 a.part a", "-O h 80 a a.part.json"], "'a.part", "a part"),
    ("-r h 80 x/s y/s", "'s'", "one copy for two folders"),
    ("-r http://CON.x/ https://con.x", "'%63on.x'", "one for two servers"),
    (["-O -P ", "-o ", "--cafile=", "--auth ", "-o--"], "needs a value", "no"),
    (["--range 5-4", "--range=", "--range=--"], "range '", "no range"),
    ("--auth me:secret", "colon", "a password behind the user"),
    (["--sha256=", "--sha256=--", "--sha256 " + "a" * 63, "--sha256=" + "g" *
      64], "64 hexadecimal digits", "no digest"),
    ([line + " --sha256 " + "aB" * 32 for line in (
        "-r h", "--range 0-1 h", "h 1 a b")], "one whole file", "a digest"),
    (["--retries -1", "--retries=-1"], "retries", "fewer than none"),
    (["--timeout 0", "--timeout nan", "--timeout 86401"], "timeout", "time"),
    (["-H%s:x" % name for name in (
        "connection", "Content-Length", "Range", "If-Range",
        "Transfer-Encoding", "Want-Repr-Digest")], "-H cannot set", "ours"),
    (["-Ha", "-H--", "-Ha\t: b", "-Ha:\nsecret", "-Ha:secret\n", "-H:b",
      "-Ha:\u20ac"], "Name: value", "no field"),
    ("-HHost:x -Hhost:y", "Host", "which of the two?"),
    (["-4 -6", "-q -v"], "not allowed", "one or the other"),
    ("--nonsense", "error: unknown option --nonsense", "unknown"),
    (["--insec 1", "-insecure 1", "--inescure"], "mean --insecure?", "near"),
    (["--time=3", "--timeuot 3"], "did you mean --timeout?", "with a value"),
    (["--recursive h", "--mirror"], "did you mean -r?", "wget's"),
    (["-u me:secret h", "--user me"], "did you mean --auth?", "curl's")]))
def test_usage_error(line, words):
    result = get_here(*line.split(" "))
    assert (result.status, result.out) == (2, b""), result
    assert "secret" not in result.err, result
    assert words in result.err.splitlines()[-1], result
    assert "usage: httpget.py [options] [host] [port] [file ...]" in result.err


def test_percent_sign_in_a_url():
    with ScriptedServer(ok(b"", status=b"400 x")) as server:
        result = get_here(server.url("/50%off"))
    assert "; in a URL write % as %25" in result.err, result


def test_command_line():
    """Options stand anywhere, and the program may come where `-` stands."""
    with ScriptedServer(ok(b"x")) as server, open(os.path.join(
            HERE, "httpget.py"), "rb") as program:
        words = [server.host, "-q", str(server.port), "-o", "-", "--", "-n"]
        assert get_here(*words).out == b"x" == subprocess.check_output(
            [sys.executable, "-", *words], stdin=program)
    assert server.requests[0].startswith(b"GET /-n HTTP/1.1\r\n")


def in_form(form, *values):
    """Return a list of answers: each of *values* in *form*."""
    return [form % value for value in values]


def drip():
    """Yield a head, byte by byte, without end."""
    yield b"HTTP/1.1 200 OK\r\nA: "
    while True:
        time.sleep(0.05)
        yield b"b"


BINARY = bytes(range(256)) * 3
LONGEST_HEAD = ok(b"x").replace(b"\r\n", b"\r\nA: %s\r\n" % (
    b"a" * (65536 - len(ok(b"")) - 5)), 1)
LONG_TRAILERS = b"A:%s\r\n" % (b"b" * 60) * 1023
FIELDS = b"HTTP/1.1 200 OK\r\n%s\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
CHUNKS = CHUNKED_HEAD + b"%s\r\nhello\r\n0\r\n\r\n"
CHUNK_5 = CHUNKED_HEAD + b"5\r\nhello"
GOOD_START = (rb"OK\r\n(Content-Length: 10\r\n|Transfer-Encoding: chunked\r\n"
              rb"\r\n5)\r\nhello")
AT_ONCE = ["--timeout", "0.5"]

# What the server sends; exit status; words of the message, or the content.
ANSWERS_OF_SERVERS = spread([(answers, [], 4, *rest) for answers, *rest in [
    (ok(b"helloworld")[:-5], "5 of 10 bytes: ", "cut"),
    (in_form(CHUNK_5 + b"%s", b"", b"\r\n", b"\r\n0\r\n"), "after 5 bytes",
     "cut"),
    (CHUNKED_HEAD + b"5\r\nhello\r\nx\r\n", "chunk size", "a bad size"),
    (in_form(b"%s\r\n\r\ncontent", b"<html>hello", b"\r\nHTTP/1.1 200 OK",
             b"http/1.1 200 OK", b"HTTP/2.0 200 OK"), "not HTTP/1", "no HTTP"),
    (in_form(b"HTTP/1.%s\r\n\r\ncontent", b"10 200 OK", b"1  200 OK",
             b"1 20 OK", b"1 099 OK", b"1 200 O\x1bK"), "status line", "no"),
    (in_form(b"HTTP/1.1 200 OK%s\r\n\r\ncontent", b"\nA: b", b"\r\nA: b\n"),
     "of its head does not end with CR LF", "bare LF"),
    (in_form(FIELDS, b"A: b\rc", b"A: b\r", b"A: b\0c", b"A: \xff\x7f"),
     "field line", "control"),
    (in_form(FIELDS, b"A: b\r\n c", b" A: b", b"A : b", b"A", b": b",
             b"\xc3\xa9: c"), "field line", "no field"),
    (in_form(FIELDS % b"Content-Length: %s", b"5\r\nContent-Length: 6",
             b"5, 05", b"+5", b"5_0", b"5 5", b"", b"5,", b"\xb2", b"9" * 19),
     "Content-Length", "no length"),
    (FIELDS % b"Content-Length: 20\r\nTransfer-Encoding: chunked", "both",
     "length and coding"),
    (in_form(FIELDS % b"Transfer-Encoding: %s", b"gzip, chunked", b"",
             b"chunked, chunked", b"xchunked"), "transfer coding", "another"),
    (in_form(CHUNKS, b"", b"g", b"0x5", b"+5", b"5_0", b" 5", b"\xd9\xa5",
             b"5;\0", b"5;a\rb", b"0" * 16 + b"5"), "chunk size", "no size"),
    (in_form(CHUNKS, b"5\nhello", b"5\r\nhello\n0"), "CR LF", "bare LF"),
    (in_form(CHUNKS, b"5\r\nhelloworld", b"5;" + b"x" * 4093, b"0\r\n"
             + LONG_TRAILERS + b"A:" + b"b" * 61), "is too long", "long"),
    (in_form(CHUNKS, b"0\r\nA", b"0\r\nA: b\r\n c"), "field line", "trailer"),
    ([b"HTTP", b"HTTP/1.1 103 Early\r\n\r\n"], "in its head", "cut"),
    (RESET(ok(b"helloworld"), len(ok(b"helloworld")) - 5),
     "5 of 10 bytes: Connection reset", "reset"),
    ([LONGEST_HEAD.replace(b"\r\nA: ", b"\r\nA: a"), endless(
        b"HTTP/1.1 200 OK\r\n", b"A: b\r\n")], "head is too long", "a head"),
    ([b"HTTP/1.1 100 Continue\r\n\r\n" * 65 + ok(b"x"), endless(
        b"", b"HTTP/1.1 102 Processing\r\n\r\n")], "interim", "too many"),
    ([endless(CHUNKED_HEAD, b"0" * 99), endless(
        CHUNKED_HEAD + b"0\r\n", b"A: b\r\n")], "is too long", "endless"),
    (b"HTTP/1.1 101 Switch\r\n\r\n", "protocol", "another protocol"),
    ([piece_of("5-8/9"), ok(b"x", status=b"206 x")], "another", "206"),
    (b"\x15\x03\x01\0\x02\x02\x46", "but TLS; ask for https", "an alert")]
] + [(answers, [], 0, *rest) for answers, *rest in [
    ([ok(BINARY), CLOSE_HEAD + BINARY, CHUNKED_HEAD + b"300;x\r\n" + BINARY
      + b"\r\n0\r\nA: b\r\n\r\n"], BINARY, "whole"),
    ([ok(b""), b"HTTP/1.0 204\r\nContent-Length: 5\r\n\r\nxxxxx", CHUNKED_HEAD
      .replace(b"chunk", b"Chunk") + b"0\r\n%s\r\n" % LONG_TRAILERS,
      b"HTTP/1.7 203 \r\nA:\r\na: \t2 \t\r\n\r\n"], b"", "no content"),
    ([ok(b"x") + b"HTTP/1.1 200 OK\r\n\r\nevil", LONGEST_HEAD,
      ok(b"x", b"content-length: 1,1"), ok(b"x", status=b"299 \xe9\tx"),
      b"HTTP/1.1 100 Continue\r\n\r\n" * 64 + ok(b"x")], b"x", "x"),
    (in_form(CHUNKED_HEAD + b"%s\r\nx\r\n0\r\n\r\n", b"1;a=b;c=\"d;\xff\"",
             b"1 \t", b"0" * 15 + b"1", b"1;" + b"x" * 4092), b"x", "a chunk"),
    (CHUNKED_HEAD + b"2\r\nab\r\n00A\r\n%s000 ; z\r\nA: b\r\n\r\n" % (
        b"\r\n" * 6), b"ab" + b"\r\n" * 5, "two chunks")]
] + [
    ([b"", RESET(b"", 0)], [], 3, "no response", "left at once"),
    (STALL(b""), AT_ONCE, 3, "no response", "silence"),
    ([STALL(b"HTTP/1."), Pieces([drip])], AT_ONCE, 4, "in its head", "stalls"),
    (STALL(ok(b"helloworld")[:-5]), AT_ONCE, 4, "no data for", "a stall"),
    (ok(b"error", status=b"301 Moved"), [], 1, "301", "no Location"),
    (ok(b"error", status=b"304 Same"), [], 1, "304", "304"),
    (ok(b"error: plain HTTP request was sent to HTTPS port", status=b"400 x"),
     [], 1, "400 x for /file; the port is for https: try https://12", "nginx"),
    (ok(b"error", status=b"401 No"), [], 1, "use --auth USER with http://",
     ""),
    (ok(b"error", b"WWW-Authenticate: BASIC", status=b"401 No"), ["-HAuthoriz"
     "ation: x"], 1, "the user or the password is wrong", "another one"),
    (ok(b"error", b"WWW-Authenticate: Digest x", status=b"401 No"), [], 1,
     "it asks for Digest, and --auth", "not by --auth"),
    (ok(b"error", status=b"999 \xc2\x9b1m"), [], 1, "999 \\x9b1m", "unknown"),
    (ok(b"error", b"Content-Encoding: br", status=b"404 No"), [], 1, "404 No",
     "an error in a coding that nobody knows"),
    (STALL(ok(b"error", status=b"404 No")[:-1]), AT_ONCE, 1, "404 No",
     "an error without all of its content: who waits for that"),
    (b"HTTP/1.1 404 No\r\n\r\none\r\n\x1b[2J\xff\xe2\x80\xae\n", ["-v"], 1,
     "\none\n\\x1b[2J\\xff\\u{202e}\nhttpget.py: ", "-v: escaped"),
    (ok(b"?" * 65537, status=b"404 No"), ["-v"], 1, "?" * 65536
     + "\n(and more)\n", "-v: bounded"),
    (ok(b"abc", status=b"404 No")[:-1], ["-v"], 1, "\nab\n(the response broke",
     "-v: broken"),
    (endless(moved_to("/file").partition(b"Content")[0] + b"\r\n", b"x" * 99),
     [], 1, "10 redirects", "a circle, each without end"),
    ([moved_to(url) for url in ("http://[::1/", "/a\tb", "ftp://h/")], [], 1,
     "refused", "redirect"),
    (piece_of("5-8/10"), ["--range", "5-8"], 0, b"FGHI", "all of it"),
    (piece_of("5-8/*"), ["--range", "5-99"], 0, b"FGHI", "no total"),
    (piece_of("5-9/10"), ["--range=-5"], 0, b"FGHIJ", "the last"),
    (piece_of("5-8/10"), ["--range", "-4"], 4, "another part", "not the last"),
    (piece_of("5-8/10"), ["--range", "5-"], 4, "another part", "cut"),
    (ok(b"x"), ["--range", "0-0"], 4, "does not send ranges", "no range"),
    (ok(b"error", status=b"416 x"), ["--range", "9-"], 1, "416", "nothing"),
])


@table("answer, options, status, words", ANSWERS_OF_SERVERS)
def test_answer_of_a_server(here, monkeypatch, answer, options, status, words):
    """It ends as documented, whole or byte by byte, with no wrong file."""
    for step in range(1 + (isinstance(answer, bytes) and len(answer) < 2000)):
        files = {"t": b"old", "t.part": b"stale, and longer" * 99}
        for name, content in files.items():
            write_to(name, content)
            os.chmod(name, 0o600)
        if step:
            in_sips(monkeypatch, 1)
        to_file = status or not step
        result = fetch_from(answer, *options, "-o", "t" if to_file else "-")
        assert result.status == status, result
        assert "error" not in result.err
        kept = "; 5 bytes kept in t.part" in result.err
        found = files_in(".")
        if not to_file:
            assert (result.out, found) == (words, files), result
        elif not status:
            assert found == {"t": words}, result
        else:   # what was there is left, or what came, and that is said
            assert words in (result.err if "-v" in options
                             else result.message())
            assert found.pop("t") == files.pop("t")
            assert found in (files, {}, {"t.part": b"hello" if kept else 0})
        if step and status:     # each good byte has come before the bad one
            assert kept == bool(re.search(GOOD_START, answer)), result
        assert stat.S_IMODE(os.stat("t").st_mode) == 0o600  # as it was


# ---- httpget.py: output -----------------------------------------------------


def on_full_disk(fd):
    """Let *fd* of the next program write to a full disk."""
    return lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), fd)


def to_nobody():
    """Let standard output of the next program be a pipe without a reader."""
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)


def small_files():
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def heed_permissions():
    """Let permissions stop root's next program, as they stop others."""
    import ctypes
    drop_capability, override = 24, 1   # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
    ctypes.CDLL(None).prctl(drop_capability, override, 0, 0, 0)


CLOSE_1, CLOSE_2 = [functools.partial(os.close, fd) for fd in (1, 2)]


# URL stands for the URL of a file.
@table("before, argv, status, said, requests", [
    (CLOSE_1, "URL", 5, "is closed", 0, "closed"),
    # The connection, or the part, may get the free number.
    (CLOSE_2, "URL", 0, "", 1, "messages closed"),
    (on_full_disk(1), "URL URL", 5, "No space", 1, "full; it is tried once"),
    (on_full_disk(2), "URL", 0, "", 1, "messages full"),
    (to_nobody, "--help", 141, "", 0, "no reader, and the help"),
    (to_nobody, "URL", 141, "Connected", 1, "no reader"),
    (None, "-o d URL", 5, "d is a folder", 0, "a folder"),
    (None, "-O URL/../d", 5, "d is a folder", 0, "a folder named by a URL"),
    (None, "-o no/t URL", 5, "there is no folder no; make", 0, "none there"),
    (None, "-O -P t URL", 5, "t is there, but it is not a fol", 0, "a file"),
    (None, "-r -P t/d URL", 5, "t/d: Not a directory", 0, "below a file"),
    (small_files, "-o t URL", 5, "4.0 KiB kept in t.part", 1, "a full disk"),
    (heed_permissions, "-o locked/t URL", 5, "t.part: Permission denied", 1,
     "-o in a folder that is read-only"),
    (heed_permissions, "-r -P locked URLu", 5, "tu: Permission denied", 1,
     "-r in a folder that is read-only"),
])
def test_output_that_fails(here, before, argv, status, said, requests):
    """One line says so, if possible, and existing files stay unchanged."""
    os.mkdir("d")
    os.mkdir("locked")
    for name in ("t", "locked/t"):
        write_to(name, b"old")
    os.chmod("locked", 0o555)
    with ScriptedServer(ok(b"x" * 9999)) as server:
        run = functools.partial(get, preexec_fn=before) if before else get_here
        result = run(*argv.replace("URL", server.url("/t")).split())
    assert result.status == status and said in result.err, result
    assert result.err.count("httpget.py: ") == {5: 1, 1: 2}.get(status, 0)
    assert len(server.requests) == requests
    assert result.out == (b"x" * 9999 if argv == "URL" and not status else b"")
    found = files_in(".")
    assert (found.pop("t"), found.pop("locked/t")) == (b"old", b"old")
    assert found == ({"t.part": b"x" * 4096} if before is small_files else {})


def test_pipes():
    """A reader may leave, or have made its pipe non-blocking."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with ScriptedServer([ok(b"x" * 10**6), endless(CLOSE_HEAD, b"x" * 65536)]
                        ) as server:
        process = start_httpget(server.url(), stdout=write)
        os.close(write)
        with open(read, "rb") as file:
            assert file.read() == b"x" * 10**6
        assert ended(process).status == 0
        process = start_httpget("-q", server.url())
        assert process.stdout.read(5) == b"xxxxx"
        process.stdout.close()
        with process.stderr as err:
            assert err.read() == b"" and process.wait(PATIENCE) == 141


def test_what_is_no_file_is_neither_followed_nor_replaced(here):
    write_to("victim", b"old")
    os.symlink("victim", "t.part")
    assert fetch_from(ok(b"new"), "-o", "t").status == 0
    assert files_in(".") == {"t": b"new", "victim": b"old"}
    assert os.stat("t").st_mode == os.stat("victim").st_mode    # as is usual
    os.mkfifo("pipe")
    with open(os.open("pipe", os.O_RDWR | os.O_NONBLOCK), "rb", 0) as reader:
        assert fetch_from(ok(b"new"), "-o", "pipe").status == 0
        assert reader.read(9) == b"new"
    os.symlink("/dev/stdout", "link")
    assert fetch_from(ok(b"new"), "-o", "link").out == b"new"
    assert stat.S_ISFIFO(os.stat("pipe").st_mode) and os.path.islink("link")


# ---- httpget.py: whatever comes ---------------------------------------------


def fuzz_responses(chance, count):
    """Whole or byte by byte, a response means the same, or is refused."""
    def heard():
        response = parsed(httpget.fetch, server.url())
        if response:
            with response:
                return (response.status, response.reason, response.fields,
                        parsed(b"".join, response))
        return None
    samples = [row[0] for row in ANSWERS_OF_SERVERS if isinstance(
        row[0], bytes) and 0 < len(row[0]) < 500 and b"Location" not in row[0]]
    samples.append(ok(gzip.compress(b"text" * 1000), GZIP))
    whole = []
    with ScriptedServer(b"") as server:
        for _ in range(count):
            server.script = spoiled(chance, samples)
            whole.append(heard())
            with pytest.MonkeyPatch.context() as patch:
                in_sips(patch, 1)
                assert heard() == whole[-1], server.script
    assert 0.1 < whole.count(None) / count < 0.9


LISTINGS = [
    b'<a href="x%2Fy">x</a> <a href=\'../\'>up</a><A HREF=z>z</A>',
    b'<a title=1 href="//h/q">q</a><img srcset="a 1x,b/c" src=d>',
    b'[{"name": "a b", "type": "file", "mtime": "%s", "size": 5},\n'
    b'{"name": "..", "is_dir": true}, {"name": "\\ud83d\\ude00"}]' % (
        DATE.encode())]


def fuzz_listings(chance, count):
    """Each entry that is accepted has one name, below its folder."""
    entries = []
    for _ in range(count):
        text = spoiled(chance, LISTINGS).decode("utf-8", "surrogateescape")
        entries += parsed(list, httpget.parse_html_listing(text, BASE)) or []
        entries += parsed(list, httpget.parse_json_listing(text)) or []
    names = [each.name for each in entries if httpget.is_name(each.name)]
    for name in names:
        local = httpget.local_name(name)
        assert not re.search("^[.]|^$|[/\0-\x1f\x7f-\x9f\u202e]", local), name
        assert not set(httpget.local_name(name, True)) & set('\\:<>"|?*')
    assert len(names) > count / 3


def fuzz_urls(chance, count):
    """A URL that is accepted parses to itself again; names are safe."""
    samples = [b"http://[fe80::1%25eth0]:8080/a%20b?c#d", b"../x/./y//z",
               "https://b\xfccher.de/\u20ac".encode(), b"http://a:80",
               b"//host/x", b"con.txt", b"\xff\xfe"]
    taken = []
    for _ in range(count):
        text = spoiled(chance, samples).decode("utf-8", "surrogateescape")
        taken += filter(None, [parsed(httpget.parse_url, text),
                               parsed(httpget.joined, BASE, text)])
        name = httpget.safe_name(text)
        assert not set(name) & set("/\\\0\n\x1b") and name[:1] != ".", text
        assert httpget.safe_name(name) == name, text
    for url in taken:
        if "%" not in url.host:     # a zone is this machine's own
            assert str(httpget.parse_url(str(url))) == str(url)
        assert re.fullmatch("/[!-~]*", url.target)
    assert len(taken) > count / 3


@pytest.mark.parametrize("fuzz, share", [
    (fuzz_responses, 50), (fuzz_listings, 10), (fuzz_urls, 5)])
def test_fuzz_of_the_client(fuzz, share):
    fuzz(random.Random(FUZZ_SEED), FUZZ_HEADS // share)


# ---- Requests on the wire ---------------------------------------------------

CLOSE = "Connection: close"
PROBE, HELLO, DIGITS = b"probe\n", b"hello, world\n", b"0123456789"
INDEX = b"<!DOCTYPE html>\n<title>Root</title>\n"
LARGE = random.Random(1).getrandbits(8 * 300000).to_bytes(300000, "big")
MANY_LINES = b"".join(b"var x%d = %d;\n" % (i, i * 7919) for i in range(9000))
RUSSIAN = "<meta charset=windows-1251><p>\u042f".encode("cp1251") * 50
SITE = {    # what is in the folder `site`; what ends in a slash is a folder
    "index.html": INDEX, "probe.txt": PROBE, "hello.txt": HELLO,
    "empty.txt": b"", "digits": DIGITS, "large.bin": LARGE,
    "a b%3F#c.txt": b"odd name", "latin\udce9.txt": b"no UTF-8",
    ".well-known/ok.txt": b"ok", "folder/.well-known/ok.txt": b"secret",
    "Makefile": b"all:\n" * 20000, "Makefile.gz": gzip.compress(b"all:\n"),
    ".hidden": b"secret", ".hidden-folder/x.txt": b"secret",
    ".hidden.html": b"secret", ".hidden-folder/x.html": b"secret",
    "folder/about.html": b"about", "latin\udce9.html": b"no UTF-8",
    "n" * 250 + ".html": b"long", "coded.html": MANY_LINES, "coded.br": b"no",
    "coded.html.br": b"as br", "only.html.gz": b"no", "digits.html": b"no",
    "folder.html": b"no", "fifo.html": b"no", "link-none.html": b"no",
    "folder/sub.html/": None,
    ".hidden-folder/": None, "list/empty/": None, "list/b.txt": b"bb",
    "folder/index.html": b"folder's own", "folder/sub/deep.css": b"body {}",
    'list/<i>&".txt': b"escaped", "list/.dot": b"secret", "page-v1": b"v1",
    "script.js": MANY_LINES, "tiny.js": MANY_LINES[:255],
    "least.js": MANY_LINES[:256], "most.js": (2 * MANY_LINES)[:256 << 10],
    "more.js": (2 * MANY_LINES)[:(256 << 10) + 1],
    "image.png": MANY_LINES, "image.png.gz": b"never sent for image.png",
    "all.css": MANY_LINES, "all.css.br": b"as br", "all.css.zst": b"as zstd",
    "all.css.gz": gzip.compress(b"as gzip"), "old.css": MANY_LINES,
    "dir.css": MANY_LINES, "dir.css.br/": None, "link.css": MANY_LINES,
    "app/index.html": b"application", "app/404.html": RUSSIAN, "app/here.txt":
    PROBE, "../secret.txt": b"secret", "../site-secret/secret.txt": b"secret",
    "../site-secret/page.html": b"secret", "app/about.html": b"about"}
OUTDATED = dict.fromkeys(["old.css.br", "old.css.zst", "old.css.gz"], b"old")
SITE_LINKS = {
    "link-in": "hello.txt", "link-to-folder": "folder", "link-hidden":
    ".hidden", "link-to-link": "link-to-folder/../link-in", "link-loop":
    "link-loop", "link-none": "none", "to-page.html": "folder/about.html",
    "out.html": "../site-secret/page.html", "to-hidden.html": ".hidden.html",
    "link-absolute": "{site}/hello.txt", "page.html": "page-v1",
    "link-out": "../secret.txt", "link-out-folder": "../site-secret",
    "link-out-absolute": "{site}/../secret.txt", "link.css.br":
    "../secret.txt", "list/in": "../hello.txt", "list/out": "../../secret.txt",
    "list/hidden": "../.hidden", "list/hidden-folder": "../.hidden-folder"}


def write_files(root, files, mtime=MODIFIED):
    """Write *files*, {path below *root*: content, or None for a folder}."""
    for name, content in files.items():
        path = os.path.join(str(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        os.utime(path, (mtime, mtime))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with files of every kind, which no test changes."""
    root = tmp_path_factory.mktemp("around") / "site"
    write_files(root, SITE)
    for name, target in SITE_LINKS.items():
        (root / name).symlink_to(target.format(site=root))
    os.mkfifo(str(root / "fifo"))
    if hasattr(socket, "AF_UNIX"):
        os.mknod(str(root / "socket"), stat.S_IFSOCK)
    write_files(root, OUTDATED, MODIFIED - 1)
    wait_until_settled(root / "old.css.gz")
    return root


@pytest.fixture(scope="session")
def server(site):
    """A server of the site, shared by all tests that need no options."""
    with Running(site) as running:
        yield running


@pytest.fixture(scope="session")
def tls_server(site, certificate):
    """The same over TLS."""
    cert, key = certificate
    with Running(site, "--tls-cert", cert, "--tls-key", key) as running:
        yield running


@table("head, expected", REQUESTS)
def test_request_and_another_behind_it(server, head, expected):
    """A refused head ends the connection; after a good head more may follow,
    unless it asks to close.  Slicing the bytes changes nothing."""
    behind = request_for("/probe.txt", CLOSE)
    method = "HEAD" if head.lstrip(b"\r\n").startswith(b"HEAD ") else "GET"
    for size in (len(head), 1 if len(head) < 400 else 1009):
        with Wire(server.port) as wire:
            for i in range(0, len(head), size):
                with contextlib.suppress(ConnectionError):  # refused already
                    wire.send(head[i:i + size] + behind * (
                        i + size >= len(head)))
            answer = wire.response(method)
            if isinstance(expected, int):
                assert answer.status == expected, answer
                assert answer.fields["connection"] == "close", answer
            else:
                assert answer.status in (200, 206, 400, 404, 405, 501), answer
                if expected[2] != "close":
                    assert wire.response().content == PROBE
            wire.end()


@table("received, status", [
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "TLS on the plain port"),
    (b"GET / HTTP/1.1\r\nHost: a\n", 400, "bare LF in a field line"),
    (b"GET /" + b"a" * 9000, 414, "request line without an end"),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 6000, 431, "head without an end")])
def test_hopeless_part_of_a_head_is_refused_at_once(server, received, status):
    for before in (0, 1):
        with Wire(server.port) as wire:
            wire.send(GET_PROBE * before + received)
            assert not before or wire.response().content == PROBE
            assert wire.response().status == status
            wire.end()


# ---- Semantics on the wire --------------------------------------------------


@pytest.fixture(params=["closing", "kept alive", "pipelined", "over TLS"])
def ask(request, server):
    """Ask a shared server by ask([method and] target, *lines)."""
    way, connect = request.param, functools.partial(Wire, server.port)
    if way == "over TLS":
        connect = functools.partial(
            TLSWire, request.getfixturevalue("tls_server").port,
            request.getfixturevalue("certificate")[0])

    def ask(target, *lines):
        method, target = ("GET " + target).split(" ")[-2:]
        close = [CLOSE] * (way == "closing")
        last = b"" if close else request_for("/probe.txt", CLOSE)
        with connect() as wire:
            if way == "kept alive":
                assert wire.get("/probe.txt").content == PROBE
            wire.send(request_for(target, *lines, *close, method=method)
                      + last * (way == "pipelined"))
            answer = wire.response(method)
            wire.send(last * (way != "pipelined"))
            assert not last or wire.response().content == PROBE
            wire.end()
        assert answer.fields.pop("connection", "") == "".join(close)[12:]
        return answer
    return ask


def many(form, *values):
    """Return the *form* filled in with each of the *values*."""
    return [form % value for value in values]


def expand(groups):
    """Return a row for each target with each of the fields of a group."""
    return [(target, lines, *facts, "%s: %.40s %.60s" % (why, target, lines))
            for targets, fields, *facts, why in groups
            for target in ([targets] if isinstance(targets, str) else targets)
            for lines in ([fields] if isinstance(fields, str) else fields)]


def digest_of(data):
    """Return the value of Repr-Digest: RFC 9530."""
    return "sha-256=:%s:" % base64.b64encode(
        hashlib.sha256(data).digest()).decode()


def coded(coding, media="text/css; charset=utf-8"):
    return {"content-encoding": coding, "accept-ranges": None,
            "content-type": media}


TXT, PAGE = "text/plain; charset=utf-8", "text/html; charset=utf-8"
HTML, CSS = {"content-type": PAGE}, {"content-type": "text/css; charset=utf-8"}
JS = {"content-type": "text/javascript; charset=utf-8"}
JS_GZIP = coded("gzip", JS["content-type"])
BYTES = {"content-type": "application/octet-stream", "vary": None}
LISTED = {"content-type": PAGE, "content-security-policy": ...,
          "vary": "Accept, Accept-Encoding", "etag": None,
          "last-modified": None, "accept-ranges": None}
FILTERED = dict(LISTED, vary="Accept, Accept-Encoding, Sec-Fetch-Site")
AS_JSON = {"content-type": "application/json"}
LISTING = [dict(zip(("name", "type", "mtime", "size"), row)) for row in (
    ("empty", "directory", DATE), ('<i>&".txt', "file", DATE, 7),
    ("b.txt", "file", DATE, 2), ("in", "file", DATE, 13))]
NOTHING = "There is nothing here with this name."
WANT = "Want-Repr-Digest: sha-256=5"
BROWSER_ACCEPTS = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

# (target, fields, status, content, fields of the answer, why).  A target may
# have a method before it; there may be several targets, and several fields.
# TAG is the target's ETag.  Content: bytes, without gzip; a str that it must
# contain; tuples for the parts of multipart/byteranges; dicts for JSON.
# Fields of the answer are those that differ from USUALLY; None: missing.
ANSWERS = expand([
    # What is there.
    (["/hello.txt", "/hello.txt?a=/../b", "/folder/./sub/..//../hello.txt",
      "/../../hello.txt", "http://elsewhere.example/hello.txt",
      "/link-to-link", "/link-absolute"], "", 200, HELLO,
     {"content-length": "13"}, "a file"),
    ("/empty.txt", "", 200, b"", {"content-length": "0"}, "no bytes"),
    ("/large.bin", "", 200, LARGE, BYTES, "many bytes"),
    ("/a%20b%253F%23c.txt", "", 200, b"odd name", {}, "encoded"),
    (["/latin%e9.txt", "/latin\xe9.txt"], "", 200, b"no UTF-8", {}, "a name"),
    ("/.well-known/ok.txt", "", 200, b"ok", {}, "RFC 8615"),
    (["/", "/index.html", "/?query"], "", 200, INDEX, HTML, "default file"),
    (["/folder/", "/link-to-folder/"], "", 200, b"folder's own", HTML,
     "a folder's index"),
    ("/link-to-folder/sub/deep.css", "", 200, b"body {}", CSS, "in a folder"),
    ("/digits", "", 200, DIGITS, {}, "no suffix, but text"),
    ("/page.html", "", 200, b"v1", HTML, "a link of this name"),
    # Pages without their suffix.
    (["/folder/about", "/folder/about?x", "/folder/../folder/%61bout",
      "/link-to-folder/about", "/to-page"], "", 200, b"about", HTML, "a page"),
    (["/latin%e9", "/latin\xe9"], "", 200, b"no UTF-8", HTML, "its name"),
    ("/" + "n" * 250, "", 200, b"long", HTML, "just not too long"),
    ("/page", "", 200, b"v1", HTML, "a link of the page's name"),
    ("/folder/index", "", 200, b"folder's own", HTML, "a default file"),
    ("/coded", "Accept-Encoding: br", 200, b"as br", coded("br", PAGE),
     "its sidecar"),
    ("/coded", "If-None-Match: TAG", 304, b"", {}, "its tag"),
    (["/folder/about/", "/only", "/folder/sub.html/x", "/link-none", "/fifo",
      "/" + "n" * 251, "/out", "/to-hidden", "/link-out-folder/page",
      "/.hidden-folder/x", "/none/about", "/digits.html/x"], "", 404, NOTHING,
     {}, "no such page"),
    ("/folder/sub.html", "", 301, "./sub.html/", {"location": "./sub.html/"},
     "a folder of such a name"),
    # What is not there, or not for everyone.
    (["/nothing", "/nothing/", "/hello.txt/", "/hello.txt/x",
      "/" + "n" * 300, "/" + "n/" * 3000], "", 404, NOTHING, {},
     "no such name"),
    (["/.hidden", "/%2ehidden", "/.hidden-folder/x.txt", "/folder/../.hidden",
      "/folder/.well-known/ok.txt", "/link-hidden",
      "/list/hidden-folder/x.txt"], "", 404, NOTHING, {}, "hidden"),
    (["/fifo", "/socket", "/fifo/", "/link-loop"], "", 404, NOTHING, {},
     "special"),
    (["/link-out", "/link-out-absolute", "/link-out-folder",
      "/link-out-folder/", "/link-out-folder/secret.txt", "/list/out",
      "/..%2fsecret.txt", "/folder%2findex.html",
      "/..%2Fsite-secret/secret.txt"], "", 404, NOTHING, {}, "outside"),
    (["/%", "/a%00b"], "", 400, None, {}, "no path"),
    # Folders without a slash: a relative Location names no other host.
    (["/folder", "//evil.example/..//folder", "http://evil.example/folder"],
     "", 301, "./folder/", {"location": "./folder/"}, "a folder"),
    ("/list/../folder/sub?a=/../b", "", 301, "./sub/?",
     {"location": "./sub/?a=/../b"}, "in a folder"),
    # Other methods.
    (["HEAD /hello.txt", "HEAD /nothing"], "", 405, b"", {"allow": "GET"},
     "without --head"),
    (["POST /hello.txt", "PUT /new", "DELETE /hello.txt", "OPTIONS /",
      "TRACE /", "PATCH /", "CONNECT /"], "", 405, "GET only",
     {"allow": "GET"}, "not offered"),
    (["BREW /", "get /hello.txt"], "", 501, "method", {}, "unknown"),
    # Preconditions: RFC 9110, 13.
    ("/hello.txt", ["If-Modified-Since: " + DATE] + many(
        "If-None-Match: %s", "TAG", "*", "TAG\nRange: bytes=0-1"), 304, b"",
     {}, "current"),
    ("/hello.txt", ["If-Modified-Since: " + EARLIER, 'If-None-Match: "x"'],
     200, HELLO, {}, "outdated"),
    ("/hello.txt", ["If-Unmodified-Since: " + EARLIER] + many(
        "If-Match: %s", '"x"', '"x"\nIf-None-Match: TAG', "W/TAG",
        '"x"\nRange: bytes=0-1'), 412, "not what you expected", {},
     "not as expected"),
    # Ranges: RFC 9110, 14.
    ("/digits", many("Range: bytes=2-5%s", "", ",3-4", ",10-") + many(
        "Range: bytes=2-5\n%s", "If-Match: TAG", "If-Range: TAG",
        "If-Range: " + DATE), 206, b"2345", {}, "part"),
    ("/digits", many("Range: bytes=%s", "5-2", "0-0,9-9") + many(
        "Range: bytes=0-1\nIf-Range: %s", "W/TAG", EARLIER), 200, DIGITS, {},
     "ignored, or as long as the whole"),
    ("/digits", many("Range: bytes=%s", "10-", "-0", "10-,20-30"), 416, "10",
     {}, "no such byte"),
    ("/large.bin", "Range: bytes=1000-250000", 206, LARGE[1000:250001], BYTES,
     "a large part"),
    ("/large.bin", "Range: bytes=5-150005,200000-299998 , 1-1,,400000-", 206,
     [(5, 150005), (200000, 299998), (1, 1)],
     {"content-type": ..., "vary": None}, "in the requested order"),
    # Codings: RFC 9110, 12.5.3.
    ("/script.js", "Accept-Encoding: br, zstd", 200, MANY_LINES, JS, "none"),
    ("/script.js", many("Accept-Encoding: %s", "gzip, br", "identity;q=0, *"),
     200, MANY_LINES, JS_GZIP, "made here"),
    (["/least.js", "/most.js"], "Accept-Encoding: gzip", 200, "var x0 = 0;\n",
     JS_GZIP, "256 bytes, 256 KiB"),
    (["/tiny.js", "/more.js"], "Accept-Encoding: gzip", 200, "var x0 = 0;\n",
     JS, "too small, too large"),
    ("/Makefile", "Accept-Encoding: gzip", 200, b"all:\n", coded("gzip", TXT),
     "a sidecar has the type of its original"),
    ("/image.png", "Accept-Encoding: gzip", 200, MANY_LINES,
     {"content-type": "image/png", "vary": None}, "compressed already"),
    ("/all.css", many("Accept-Encoding: %s", "gzip, br, zstd", "*"), 200,
     b"as br", coded("br"), "the best available"),
    ("/all.css", "Accept-Encoding: br, gzip\nRange: bytes=0-9", 206,
     MANY_LINES[:10], CSS, "identity for a range"),
    (["/old.css", "/dir.css", "/link.css"], "Accept-Encoding: br, gzip", 200,
     MANY_LINES, coded("gzip"), "outdated, a folder, a link out: made here"),
    ("/tiny.js", "Accept-Encoding: identity;q=0, gzip", 406,
     "no content coding", {}, "none is acceptable"),
    ("/list/", "Accept-Encoding: *;q=0", 406, "no content coding",
     {"vary": "Accept, Accept-Encoding"}, "none is acceptable for a listing"),
    # Digests: RFC 9530, of the whole representation, whatever is sent.
    ("/hello.txt", WANT, 200, HELLO, {}, "all"),
    ("/large.bin", WANT + "\nRange: bytes=0-0", 206, LARGE[:1], BYTES,
     "of the whole, with a part"),
    ("/script.js", WANT + "\nAccept-Encoding: gzip", 200, MANY_LINES, JS_GZIP,
     "of compressed content"),
    # Listings.
    ("/list/", ["X: y"] + many(
        "Accept: %s", "*/*", "application/json;q=0.5, text/html",
        "application/json;q=0", "application/json;q=0.9, */*"), 200,
     '"%3Ci%3E%26%22.txt" class=t>&lt;i&gt;&amp;&quot;.txt <i>', LISTED,
     "a listing"),
    ("/list/", many(
        "Accept: %s", "application/json", "application/*, */*",
        "application/json, text/plain, */*"), 200, LISTING,
     dict(LISTED, **AS_JSON), "axios, too"),
    ("/list/", many("Accept-Encoding: %s", "gzip", "br, x-gzip;q=0.5"), 200,
     '<i>13 B</i>', dict(LISTED, **coded("gzip", PAGE)), "compressed here"),
    ("/list/", "Accept: application/json\nAccept-Encoding: gzip", 200, LISTING,
     dict(LISTED, **coded("gzip", "application/json")), "of any size"),
    ("/list/", many("Accept-Encoding: %s", "br", "gzip;q=0",
                    "gzip\nRange: bytes=0-9"), 200, '<i>13 B</i>', LISTED,
     "not compressed"),
    ("/list/?q=B.Tx", "", 200, "<p>1 file \xc2\xb7 2 B</p>", FILTERED,
     "by name, whatever the letters' size"),
    ("/list/?q=B.Tx", "Accept: application/json", 200, LISTING[2:3],
     dict(FILTERED, **AS_JSON), "the same"),
    ("/list/?q=%22%3C+%ff&sort=size", "Accept-Encoding: gzip", 200,
     '<input type="hidden" name="sort" value="size">\n<input type="search"'
     ' name="q" value="&quot;&lt; \xef\xbf\xbd"', FILTERED,
     "what is reflected is not compressed"),
    ("/list/?q=b.t", "Sec-Fetch-Site: cross-site", 200,
     "<p>1 folder \xc2\xb7 3 files \xc2\xb7 22 B</p>", FILTERED,
     "other sites cannot search"),
    ("/no/such/name", "", 404, 'href="../../"', {}, "below a prefix, too"),
])


USUAL = {"server": "httpd.py", "cache-control": "no-cache", "date": ...,
         "x-content-type-options": "nosniff", "content-length": ...}
FILE = dict(USUAL, etag=..., vary="Accept-Encoding", **{
    "content-type": TXT, "last-modified": DATE, "accept-ranges": "bytes"})
OWN_PAGE = dict(USUAL, **HTML, **{"content-security-policy": ...})
ERROR = dict(OWN_PAGE, **{"cache-control": "no-store"})
NEGOTIATED = dict(ERROR, vary="Accept-Encoding")
USUALLY = {200: FILE, 206: FILE, 301: OWN_PAGE, 304: dict(
    USUAL, etag=..., vary="Accept-Encoding", **{"content-length": None}),
    406: NEGOTIATED, 412: NEGOTIATED, 416: NEGOTIATED}


def check_content(target, answer, content):
    """Check that *answer* has the *content* that a row of ANSWERS has."""
    found = answer.content
    if answer.fields.get("content-encoding") == "gzip":
        found = gzip.decompress(found)
    if isinstance(content, str):
        assert content in found.decode("latin-1"), answer
    elif isinstance(content, bytes):
        assert found == content, answer
    elif content and isinstance(content[0], dict):
        assert json.loads(found.decode()) == content, answer
    elif content:   # to the byte; zsync wants CRLF before the first delimiter
        data = SITE[target[1:]]
        end = b"\r\n--" + answer.fields["content-type"].partition(
            "multipart/byteranges; boundary=")[2].encode()
        assert found == b"".join(
            end + b"\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Range: bytes %d-%d/%d\r\n\r\n%s" % (
                first, last, len(data), data[first:last + 1])
            for first, last in content) + end + b"--\r\n", answer


@table("target, lines, status, content, fields", ANSWERS)
def test_answer(ask, target, lines, status, content, fields):
    """Names outside, hidden or special are 404, like missing names."""
    lines = lines.split("\n") if lines else []
    if "TAG" in "".join(lines):
        tag = ask(target).fields["etag"]
        lines = [line.replace("TAG", tag) for line in lines]
    answer = ask(target, *lines)
    assert (answer.status, answer.reason) == (
        status, httpd.REASONS[status]), answer
    assert b"secret" not in answer.content, answer
    check_content(target, answer, content)
    expected, data = dict(USUALLY.get(status, ERROR)), SITE.get(target[1:])
    if status == 416:
        expected["content-range"] = "bytes */%d" % len(data)
    elif status == 206 and isinstance(content, bytes):
        first = data.index(content)
        expected["content-range"] = "bytes %d-%d/%d" % (
            first, first + len(content) - 1, len(data))
    if WANT in lines:
        expected["repr-digest"] = digest_of(
            data if status == 206 else answer.content)
    expected.update(fields)
    assert answer.fields == {     # ... stands for any value
        name: answer.fields.get(name) if value is ... else value
        for name, value in expected.items() if value is not None}, answer


@pytest.mark.parametrize("target", PATHS_OUTSIDE)
def test_nothing_outside_is_served(server, target):
    with open("/etc/passwd", "rb") as file:     # or this could not fail
        assert b"root:" in file.read()
    with Wire(server.port) as wire:
        answer = wire.get(target)
    assert answer.status in (400, 404), answer
    assert b"root:" not in answer.content, answer


@table("target, line, root, option, status, content", expand([
    (["/.hidden", "/link-hidden", "/.hidden-folder/x.txt", "/list/.dot",
      "/.hidden-folder/x", "/to-hidden"], "",
     ".", "dotfiles", 200, b"secret", "hidden names"),
    (["/link-out", "/link-out-absolute", "/link-out-folder/secret.txt",
      "/link-out-folder/page", "/out"], "",
     ".", "follow_symlinks", 200, b"secret", "links that leave"),
    (["/link-out", "/out"], "", ".", "dotfiles", 404, NOTHING, "no others"),
    (["/.hidden", "/.hidden-folder/x", "/link-none"], "",
     ".", "follow_symlinks", 404, NOTHING, "no others, too"),
    ("/about", BROWSER_ACCEPTS, "app", "spa", 200, b"about", "a page"),
    (["/users/42", "/a/b/c/", "/a.b/c", "/.hidden/x", "/users/a%2Fb"],
     BROWSER_ACCEPTS, "app", "spa", 200, b"application", "routes"),
    ("/users/42", "Accept: */*", "app", "spa", 200, b"application", "curl"),
    ("/here.txt", BROWSER_ACCEPTS, "app", "spa", 200, PROBE, "there is one"),
    (["/a/missing.js", "/@me.b", "/a%2Eb"], [BROWSER_ACCEPTS] + many(
        "Accept: */*\r\nSec-Fetch-Mode: %s", "no-cors", "cors"), "app", "spa",
     404, RUSSIAN, "no file"),
    ("/api/x", many("Accept: */*\r\nSec-Fetch-Mode: %s", "no-cors", "cors"),
     "app", "spa", 404, RUSSIAN, "a script wants it, says the browser"),
    ("/users/j.b", BROWSER_ACCEPTS + "\r\nSec-Fetch-Mode: navigate", "app",
     "spa", 200, b"application", "a route with a dot, says the browser"),
    ("/users/42", "Accept: image/png\r\nSec-Fetch-Mode: navigate", "app",
     "spa", 404, RUSSIAN, "no page"),
    (["/b", "/a%2Fb"], many(
        "Accept: %s", "image/png", "application/json", "text/html;q=0",
        "application/json, text/plain, */*"), "app", "spa", 404, RUSSIAN,
     "no page; axios"),
    ("/%", BROWSER_ACCEPTS, "app", "spa", 400, "%", "no path"),
    ("/users/42", BROWSER_ACCEPTS, "list", "spa", 404, NOTHING, "no index")]))
def test_option(site, target, line, root, option, status, content):
    with asking(site / root, **{option: True}) as (_, wire):
        wire.get(target, line.partition("\r\n")[0] or "X: y")
        for _ in range(2):      # may be one that was kept, if for the same
            answer = wire.get(target, line or "X: y")
            assert answer.status == status, answer
            check_content(target, answer, content)
    if content == RUSSIAN:      # the own 404, in its own charset
        assert answer.fields["content-type"] == "text/html", answer
    if content in (RUSSIAN, b"application"):
        assert answer.fields["vary"].startswith("Accept, Sec-Fetch-Mode")


def test_error_page_tells_no_path_of_this_machine(site, monkeypatch):
    plain, failure = os.open, []

    def failing(path, *args, **kwargs):
        if os.path.basename(path) == b"probe.txt":
            raise OSError(*failure, "x", "/srv/private")
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "open", failing)
    with asking(site, r"(httpd\.py: [^\n]*private[^\n]*\n){2}") as (_, wire):
        for status, names in [
                (404, "ENOENT ENOTDIR ELOOP ENAMETOOLONG"),
                (403, "EACCES EPERM"), (500, "EIO ESTALE"),
                (503, "EMFILE ENFILE ENOMEM")]:
            for name in names.split():
                failure[:] = [getattr(errno, name)]
                answer = wire.get("/probe.txt?" + name)
                assert answer.status == status, answer
                assert "private" not in repr(answer)


def test_header_option(site):
    """For all answers, except what lets a cache keep an error (9111, 3)."""
    for_caches = ["cdn-cache-control", "surrogate-control", "expires",
                  "x-accel-expires"]
    with Serving(site, headers=[
            ("X-Empty", ""), ("cache-control", "max-age=60"),
            ("Content-Security-Policy", "y"), *[
                (name, "x") for name in for_caches]]) as serving:
        for asked in [("/hello.txt",), ("/list/",), ("/folder",), ("",),
                      ("/hello.txt", "If-None-Match: *"), ("/nothing",),
                      ("/digits", "Range: bytes=99-")] * 2:
            with Wire(serving.port) as wire:
                answer = wire.get(*asked)
            assert [answer.fields.get(name) for name in (
                "x-empty", "content-security-policy", "cache-control",
                *for_caches)] == ["", "y"] + (
                    ["no-store"] + [None] * 4 if answer.status >= 400
                    else ["max-age=60"] + ["x"] * 4), answer


def test_header_option_refused(capsys):
    """An owner cannot set the fields that describe or frame an answer."""
    names = ["Connection", "Date", "Content-Type", "ETag", "Content-Encoding",
             "Content-Range", "Content-Length", "Transfer-Encoding", "Allow",
             "last-modified", "Location", "Vary", "Accept-Ranges", "Upgrade",
             "Repr-Digest", "Content-Location", "WWW-Authenticate", "Trailer",
             "Keep-Alive"]
    for text in ["no colon", "a b: c", ": c", "a: b\r\nc: d", "a: \u20ac",
                 *many("%s: x", *names)]:
        with pytest.raises(SystemExit):
            httpd.main(["-H", text])
        assert capsys.readouterr().err.startswith("usage:"), text
    for name, value in [("A", "b\r\nC: d"), *((each, "x") for each in names)]:
        with pytest.raises(ValueError):
            httpd.Server(HERE, 0, headers=[(name, value)])


def test_head_option(site):
    """The fields of GET, no content, and no ranges (9110, 14.2)."""
    with asking(site, head=True) as (_, wire):
        for target, *lines in [
                ("/hello.txt",), ("/large.bin",), ("/nothing",), ("/folder",),
                ("/list/",), ("/digits", "If-Match: x"), ("/digits", WANT),
                ("/script.js", "Accept-Encoding: gzip")] * 2:
            got = wire.get(target, *lines)
            got.content = b""
            for more in ("X: y", "Range: bytes=0-1", "Range: bytes=999999-"):
                answer = wire.get(target, *lines, more, method="HEAD")
                assert answer.same_as(got), answer
        assert wire.get("/", method="PUT").fields["allow"] == "GET, HEAD"
        assert len(open_below(site)) <= 1   # for others who may ask


# ---- Listings and digests on the wire ---------------------------------------


def folders_below(wire, path):
    """Return *path* and all folders to which its listings lead from there."""
    listing = wire.get(path, "Accept: application/json").content.decode()
    return [path] + [
        found for entry in json.loads(listing) if entry["type"] == "directory"
        for found in folders_below(wire, path + entry["name"] + "/")]


@pytest.mark.parametrize("follow", [False, True])
def test_listing_leads_to_no_folder_again(tmp_path, follow):
    """Crawlers would descend for ever: Debian's mirrors have `debian -> .`."""
    write_files(tmp_path, {"a/b/": None, "x/": None, "y/": None})
    for name, target in [
            ("debian", "."), ("again", "debian"), ("other", "a"),
            ("a/self", "."), ("a/b/up", "../../debian/a"),
            ("x/to-y", "../y"), ("y/to-x", "../x")]:
        (tmp_path / name).symlink_to(target)
    with asking(tmp_path, follow_symlinks=follow) as (_, wire):
        for top in ("/", "/debian/"):   # it is there, though it is not listed
            assert folders_below(wire, top) == [top + path for path in (
                "", "a/", "a/b/", "other/", "other/b/", "x/", "x/to-y/",
                "y/", "y/to-x/")]


@pytest.mark.parametrize("follow", [False, True])
def test_path_comes_through_16_links_to_folders(tmp_path, follow):
    """Even without a loop, folders that link to folders multiply."""
    for number in range(19):
        write_files(tmp_path / str(number), {"file": PROBE})
        (tmp_path / str(number) / "next").symlink_to("../%d" % (number + 1))
    with asking(tmp_path, follow_symlinks=follow) as (_, wire):
        deepest = folders_below(wire, "/0/")[-1]
        assert deepest == "/0/" + 16 * "next/"
        assert wire.get(deepest + "file").content == PROBE
        for name in ("next/", "next/file") * 2:
            assert wire.get(deepest + name).status == 404


SLICES = {"TURN_SECONDS": 1e-5}     # about one in each turn


def test_large_listing(tmp_path):
    """It is made in many turns, and shared, but never stale for that."""
    write_files(tmp_path, {"%0200d" % i: b"" for i in range(300)})
    turns, due = [], []

    def tick():     # in each turn
        turns.append(1)
        if due and len(turns) >= due[0]:
            (tmp_path / ("new-%d" % len(turns))).write_bytes(b"")
            wire.send(request_for("/"))
            del due[0]
        return time.monotonic()
    with asking(tmp_path, clock=tick, limits=SLICES) as (serving, wire), (
            Wire(serving.port)) as other:
        for i in range(40):
            due.append(len(turns) + i)
            other.send(request_for("/")).response()
            wait_until(lambda: serving.server.wake() or not due, "turns")
            content = wire.response().content
            assert content.count(b"<li><a ") == 301 + i, content
    assert len(turns) > 600


def test_short_listing_waits_behind_no_long_ones(tmp_path):
    write_files(tmp_path, {"long/%040d" % i: b"" for i in range(3500)})
    write_files(tmp_path, {"short/f": b""})
    with asking(tmp_path, limits=SLICES) as (serving, wire), (
            contextlib.ExitStack()) as stack:
        others = [stack.enter_context(Wire(serving.port)) for _ in range(4)]
        for number, other in enumerate(others):
            other.send(request_for("/long/?q=" + "0" * number))
        for _ in range(10):     # turns in which the others begin
            assert wire.get("/none").status == 404
        assert names_in(wire, "/short/") == [b"f"]
        assert not any(other.has_input() for other in others)


@needs("AF_UNIX")       # TCP's buffers would take most of it
@pytest.mark.skipif(PYPY, reason="makes 25 MB of JSON in half a minute there")
def test_listings_are_bounded(tmp_path):
    """In bytes; then others wait, and clients that take nothing are closed."""
    write_files(tmp_path, {"%04d" % i + "\udcff" * 250: b""
                           for i in range(2000)})
    path, as_json = SCRATCH + "/listings", "Accept: application/json"
    with Serving(tmp_path, bind="unix:" + path, clock=Clock()) as serving, (
            contextlib.ExitStack()) as stack:
        # Seven: with one more, it is by chance whether one waits before the
        # reader, and takes the room that is made.
        other, reader, *greedy = [stack.enter_context(Wire(0, path))
                                  for _ in range(9)]
        size = len(other.get("/", as_json).content)

        def served():
            return size * sum(wire.has_input() for wire in greedy)
        for number, wire in enumerate(greedy):
            wire.send(request_for("/?q=" + "%ff" * (number + 1), as_json))
        wait_until(lambda: served() >= 16 << 20, "many listings")
        reader.send(request_for("/?sort=size", as_json))
        for _ in range(50):     # turns in which more could be made
            assert other.get("/none").status == 404
        assert not reader.has_input()
        serving.turn(1.1)
        wait_until(lambda: serving.server.wake() or reader.has_input(), "room")
        assert len(reader.response().content) == size


@pytest.mark.slow
def test_listing_of_100000_names_delays_nobody(tmp_path):
    count = 20000 if PYPY else 100000
    for i in range(count):
        os.close(os.open(str(tmp_path / ("f%d" % i)), os.O_CREAT, 0o644))
    with Running(tmp_path, flags=[]) as running, Wire(running.port) as wire, (
            Wire(running.port)) as other:
        wire.send(request_for("/"))
        waits = []
        while not wire.has_input():
            start = time.monotonic()
            assert other.get("/f1").status == 200
            waits.append(time.monotonic() - start)
        assert wire.response().content.count(b"<li>") == count
        assert sorted(waits)[len(waits) * 9 // 10] < 0.05


def test_digest_is_made_once_and_delays_nobody(tmp_path, monkeypatch):
    """In slices that open the file each time, so waiting holds no descriptor;
    it pauses when all clients have left, and resumes with the next request."""
    write_files(tmp_path, {"small": b"small", "large": bytes(40 << 20)})
    wait_until_settled(tmp_path / "large")
    plain, opened, wires = os.open, [], []
    asked = request_for("/large", WANT, "Range: bytes=0-0")

    def counting(path, *args, **kwargs):
        if os.path.basename(path) == b"large":
            opened.append(len(open_below(tmp_path)))
            if len(opened) == 30:
                for wire in wires:
                    wire.sock.close()
                serving.clock.now += 2
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "open", counting)
    with asking(tmp_path, clock=Clock(), limits=SLICES) as (serving, wire):
        wires += [Wire(serving.port) for _ in range(5)]
        for each in wires:
            each.send(asked)
        wait_until(lambda: len(opened) >= 30, "slices")
        for _ in range(40):
            assert wire.get("/small").content == b"small"
        assert len(opened) < 40
        assert wire.send(asked).response().fields["repr-digest"] == digest_of(
            bytes(40 << 20))
        assert 40 < len(opened) < 60 and max(opened) <= 1


# ---- Archives ---------------------------------------------------------------

# The content of the folder for archives; None for a folder.
TREE = {
    "empty/": None, "a.txt": b"a" * 10, "b/.hidden": b"x", "b/c/d": b"",
    "b/" + "n" * 200 + "/" + "m" * 100: b"long", "\u00e9 \u4e2d": b"e",
    "large": b"large" * 40000, "one over": bytes(65537), "zero": b"",
    "paged/index.html": b"page", "paged/hidden": b"x", "z" * 100: b"z"}
IN_ARCHIVE = {"top/" + name: content for name, content in TREE.items()
              if name[:2] not in ("b/", "pa") or name[2] in "cn"}
LEFT_OUT = (
    b"This is not in the archive:\r\n\r\n"
    b"top/fifo: it is neither a file nor a folder\r\n"
    b"top/to-folder/: it is a link to a folder\r\n"
    b"top/up/: it is a link to a folder\r\n"
    b"top/paged/: it has a page of its own\r\n")


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A folder `top` with TREE, links and a FIFO."""
    root = tmp_path_factory.mktemp("tree")
    write_files(root / "top", TREE)
    write_files(root, {"outside": b"x", ".secret": b"x"})
    for name, target in [("to-file", "a.txt"), ("to-folder", "b"),
                         ("up", ".."), ("out", "/etc/passwd"),
                         ("to-hidden", "../.secret"), ("nowhere", "no")]:
        (root / "top" / name).symlink_to(target)
    os.mkfifo(str(root / "top" / "fifo"))
    (root / "top" / "a.txt").chmod(0o4751)
    wait_until_settled(root / "top")
    return root


def read_tar(content):
    """Return {name: content, or None for a folder} of a tar archive."""
    import tarfile
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [(each.name + "/" * each.isdir(), None if each.isdir()
                 else archive.extractfile(each).read()) for each in archive]


def read_zip(content):
    """The same of a ZIP."""
    import zipfile
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return [(name, None if name.endswith("/") else archive.read(name))
                for name in archive.namelist()]


READ = {"tar": read_tar, "zip": read_zip}
both_forms = pytest.mark.parametrize("kind", ["tar", "zip"])


@both_forms
def test_archive(kind, tree):
    """It has what listings show, in order, and names what it leaves out."""
    with asking(tree) as (_, wire):
        answer = wire.get("/top/?" + kind)
        again = wire.get("/top/?%s=" % kind, "If-None-Match: "
                         + answer.fields["etag"])
        entries = READ[kind](answer.content)
    assert entries[0] == ("top/LEFT-OUT.txt", LEFT_OUT)
    folders = ["top/", "top/b/", "top/b/c/", "top/b/%s/" % (200 * "n")]
    expected = dict(IN_ARCHIVE, **{"top/to-file": TREE["a.txt"]},
                    **{name: None for name in folders})
    assert dict(entries[1:]) == expected and len(entries) == len(expected) + 1
    assert [name for name, _ in entries[1:]].index("top/empty/") > 7
    assert answer.status == 200 and again.status == 304
    assert answer.fields["content-type"] == {
        "tar": "application/x-tar", "zip": "application/zip"}[kind]
    assert answer.fields["content-disposition"] == (
        'attachment; filename="top.%s"; filename*=UTF-8\'\'top.%s' % (
            kind, kind))
    assert answer.fields["accept-ranges"] == "bytes"
    assert "last-modified" not in answer.fields
    assert "vary" not in answer.fields


# How each reader unpacks the archive %s in the current folder.
READERS = [
    ("tar", "tar xf %s"), ("tar", "bsdtar xf %s"), ("tar", "7z x -y %s"),
    ("tar", "busybox tar xf %s"), ("tar", "cat %s | bsdtar xf -"),
    ("zip", "unzip -q %s"), ("zip", "bsdtar xf %s"), ("zip", "7z x -y %s"),
    ("zip", "busybox unzip -q %s"), ("zip", "jar xf %s"),
    ("zip", "cat %s | jar x"), ("zip", "cat %s | bsdtar xf -")]


@pytest.mark.parametrize("kind, command", READERS)
def test_archive_is_unpacked(kind, command, tree, tmp_path):
    """By every reader installed here; all bytes, and times if it sets them."""
    need(*re.findall("(?:^|[|] )([a-z0-9]+)", command))
    with asking(tree) as (_, wire):
        (tmp_path / "it").write_bytes(wire.get("/top/?" + kind).content)
    (tmp_path / "out").mkdir()
    subprocess.run(command % "../it", shell=True, check=True,
                   cwd=str(tmp_path / "out"), stdout=subprocess.DEVNULL,
                   env=dict(os.environ, LC_ALL="C.UTF-8"))
    for name, content in IN_ARCHIVE.items():
        path = str(tmp_path / "out" / name)
        if "busybox unzip" in command and max(name) > "\x7f":
            continue    # it has question marks for them
        if content is None:
            assert os.listdir(path) == []
            continue
        with open(path, "rb") as file:
            assert file.read() == content, name
        assert os.path.getmtime(path) == MODIFIED or "busybox unz" in command
    left_out = (tmp_path / "out" / "top" / "LEFT-OUT.txt").read_bytes()
    assert left_out == LEFT_OUT


@both_forms
def test_ranges_of_an_archive(kind, tree):
    """At every boundary between its parts."""
    with asking(tree) as (_, wire):
        whole = wire.get("/top/?" + kind)
        content, tag = whole.content, whole.fields["etag"]
        marks = {0, len(content), content.find(b"large" * 9), 66000, 1000}
        marks.update(found.start() for found in re.finditer(
            b"ustar\x0000|PK\1\2|PK\3\4|PK\5\6", content))
        places = sorted({min(max(mark + step, 0), len(content) - 1)
                         for mark in marks for step in (-1, 0, 1, 30)})
        for first, last in [*zip(places, places[1:]), *zip(places, places),
                            *zip(places, places[7:])]:
            answer = wire.get("/top/?" + kind, "If-Range: " + tag,
                              "Range: bytes=%d-%d" % (first, last))
            assert answer.status == 206
            assert answer.content == content[first:last + 1], (first, last)
        answer = wire.get("/top/?" + kind, "Range: bytes=1-5,-7,70000-199999")
        parts = re.findall(b"\r\n\r\n(.*?)\r\n--", answer.content, re.DOTALL)
        assert parts == [content[1:6], content[-7:], content[70000:200000]]
        beyond = wire.get("/top/?" + kind, "Range: bytes=%d-" % len(content))
        assert beyond.fields["content-range"] == "bytes */%d" % len(content)
        assert wire.get("/top/?" + kind, "Range: bytes=1-2",
                        'If-Range: "other"').content == content
        assert wire.get("/top/?" + kind, 'If-Match: "other"').status == 412
        proved = wire.get("/top/?" + kind, "Range: bytes=9-9", WANT)
        assert proved.fields["repr-digest"] == digest_of(content)
        assert wire.get("/top/?" + kind, WANT).content == content


def rewrite(path):
    with open(path, "r+b") as file:
        file.write(b"!")


def link(path):
    os.remove(path)
    os.symlink("other", path)


# What may happen to a file between the plan and the end of its turn.
MISHAPS = {
    "shrinks": lambda path: os.truncate(path, 100),
    "grows": lambda path: os.truncate(path, 9 << 20),
    "goes": os.remove,
    "is replaced": lambda path: shutil.copy2(path, path + "2") and os.replace(
        path + "2", path),
    "is written in place": rewrite,
    "becomes a link": link,
    "changes its mode": lambda path: os.chmod(path, 0o600),
}


@needs("AF_UNIX")       # TCP's buffers may take all of it
@both_forms
@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize("change", MISHAPS)
def test_archive_of_what_changes(kind, name, change, tmp_path):
    """The connection ends; a client that resumes gets the whole new version.
    A range that ends in the file breaks off, too, without its last byte."""
    files = {"top/a": bytes(BIG), "top/b": bytes(1 << 17), "top/c": b"small"}
    write_files(tmp_path, dict(files, **{"top/other": b"small"}))
    wait_until_settled(tmp_path / "top/other")
    target, path = "/top/?" + kind, SCRATCH + "/changes"
    with Serving(tmp_path, r"(httpd\.py: a file changed or became shorter"
                 r" while [^\n]* GET /top/\?\w+ HTTP/1.1\n){1,2}",
                 bind="unix:" + path) as serving, Wire(0, path) as wire, (
                     Wire(0, path)) as part, Wire(0, path) as other:
        wire.send(request_for(target))
        head = Answer(wire.head(), b"")
        part.send(request_for(target, "Range: bytes=0-8000000",
                              "Connection: close"))
        part.head()
        wait_until(lambda: wire.has_input() and part.has_input(), "content")
        MISHAPS[change](str(tmp_path / "top" / name))
        assert len(wire.rest()) < int(head.fields["content-length"])
        assert (len(part.rest()) < 8000001) == (name == "a")
        for each in os.listdir(str(tmp_path / "top")):
            wait_until_settled(tmp_path / "top" / each)
        new = other.get(target, "Range: bytes=9-",
                        "If-Range: " + head.fields["etag"])
        assert new.status == 200
        assert new.fields["etag"] != head.fields["etag"]
        found = dict(READ[kind](new.content))
        assert found["top/other"] == b"small"
        assert len(found) == 5 - (change == "goes")
        serving.logged(target + " ", 3)
        assert open_below(tmp_path) == []


@needs("AF_UNIX")
def test_archive_of_what_changes_on_its_way(tmp_path):
    """Once sent, the pages of a file are only lent to the socket, until the
    client has them: a change meanwhile ends the connection, too."""
    write_files(tmp_path, {"a": bytes(1 << 17), "b": b""})
    os.truncate(str(tmp_path / "b"), 48 << 20)
    wait_until_settled(tmp_path / "b")
    path = SCRATCH + "/lent"
    with Serving(tmp_path, r"httpd\.py: a file changed or [^\n]*\n",
                 bind="unix:" + path) as serving, Wire(0, path) as wire:
        wire.send(request_for("/?tar", "Connection: close"))
        wait_until(lambda: str(tmp_path / "b") in open_below(tmp_path), "b")
        rewrite(str(tmp_path / "a"))
        head = Answer(wire.head(), b"")
        assert len(wire.rest()) < int(head.fields["content-length"])
        serving.logged("/?tar")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archive_for_several_at_once(tree, kind):
    """One plan, and to each client its own content."""
    with Serving(tree, limits=SLICES) as serving, (
            contextlib.ExitStack()) as stack:
        wires = [stack.enter_context(Wire(serving.port)) for _ in range(4)]
        for wire in wires:
            wire.send(request_for("/top/?" + kind))
        first, *others = [wire.response() for wire in wires]
        assert first.status == 200 and len(first.content) > 200000
        for answer in others:
            assert answer.same_as(first)


def test_digest_of_what_changes(tmp_path, monkeypatch):
    """It is left out: a folder that changes all the time would never end."""
    write_files(tmp_path, {"large": b"", "log": b"x"})
    os.truncate(str(tmp_path / "large"), 400 << 20)
    wait_until_settled(tmp_path / "large")
    plain, opened = os.open, []

    def opening(path, *args, **kwargs):
        opened.extend(["large"] * (path == b"large"))
        if path == b"large" and len(opened) % 400 == 40:    # once for each
            (tmp_path / "log").write_bytes(b"x" * len(opened))
        return plain(path, *args, **kwargs)
    with asking(tmp_path) as (_, wire):
        monkeypatch.setattr(os, "open", opening)
        answer = wire.get("/?tar", WANT, "Range: bytes=0-0")
        assert answer.status == 206 and len(opened) in range(400, 500), (
            len(opened))
        assert "repr-digest" not in answer.fields


@needs("AF_UNIX")
def test_archives_are_bounded(tmp_path):
    """In names: too many in one archive is 413, in all together they wait; a
    client that takes nothing while others wait is closed."""
    write_files(tmp_path, {"%s/%d" % (top, i): bytes(100 << 10)
                           for top in "abc" for i in range(30)})
    write_files(tmp_path, {"few/d": b"", "many/0/1/2": b"", **{
        "long/%0250d" % i: b"" for i in range(33)}})
    write_files(tmp_path, {"many/%d/" % i: None for i in range(40)})
    for path in ("a", "b", "c", "few", "many"):
        wait_until_settled(tmp_path / path)
    path = SCRATCH + "/archives"
    with Serving(tmp_path, bind="unix:" + path, clock=Clock(),
                 limits={"ARCHIVE_NAMES_MAX": 40}) as serving, (
            contextlib.ExitStack()) as stack:
        first, twin, second, third, other = [
            stack.enter_context(Wire(0, path)) for _ in range(5)]
        for target in ("/many/?tar", "/long/?tar"):
            assert other.get(target).status == 413
        for wire, target in [(first, "/a/?tar"), (twin, "/a/?tar"),
                             (second, "/b/?zip")]:
            wire.send(request_for(target))
            wait_until(wire.has_input, "its beginning")
        third.send(request_for("/few/?tar"))
        for _ in range(50):     # turns in which it could be made
            assert other.get("/none").status == 404
        assert not third.has_input()
        serving.turn(1.1)
        wait_until(lambda: serving.server.wake() or third.has_input(), "room")
        assert len(read_tar(third.response().content)) == 2
        head = Answer(first.head(), b"")
        assert len(first.rest()) < int(head.fields["content-length"])
        assert len(serving.log_lines("?zip")) == 0


def test_crcs_are_made_once_and_delay_nobody(tmp_path, monkeypatch):
    """In slices, shared; after a client has left they resume for the next
    request; a client that waits for them is not cut off."""
    write_files(tmp_path, {"small": b"small", "large": bytes(40 << 20)})
    wait_until_settled(tmp_path / "large")
    plain, counts = os.read, [0]
    asked = request_for("/?zip")

    def counting(fd, size):
        counts[0] += size > 4 * httpd.SMALL
        if counts[0] == 20:
            wire.sock.close()
            serving.turn(2)
        elif counts[0] in (28, 35):
            serving.turn(61)
        return plain(fd, size)
    monkeypatch.setattr(os, "read", counting)
    with asking(tmp_path, clock=Clock(), limits=SLICES) as (serving, wire), (
            Wire(serving.port)) as other:
        wire.send(asked)
        serving.logged("/?zip")
        for _ in range(10):
            assert other.get("/small").content == b"small"
        assert 20 <= counts[0] < 25
        content = other.send(asked).response().content
        assert counts[0] <= 41
        assert other.send(asked).response().content == content
        assert counts[0] <= 41
    assert dict(read_zip(content))["files/large"] == bytes(40 << 20)
    assert open_below(tmp_path) == []


@table("options, target, outcome", [
    ({}, "/?tar", "files.tar", "the root"),
    ({}, "/a/?zip=", "a.zip", "as a form sends it"),
    ({}, "/?zip=1", None, "no such query"),
    ({}, "/?tar&zip", None, "two"),
    ({}, "/paged/?tar", None, "a folder with a page"),
    ({"archives": "all"}, "/paged/?tar", "paged.tar", "all folders"),
    ({"archives": "none"}, "/?tar", None, "turned off"),
    ({"listing": False}, "/a/?tar", None, "no listing"),
    ({"listing": False, "archives": "all"}, "/a/?tar", None, "no names"),
    ({}, "/b.txt?tar", None, "a file"),
    ({}, "/%22%c3%a9%5c%ff/?tar", "___?_.tar", "odd name"),
])
def test_which_archives_there_are(options, target, outcome, tmp_path):
    write_files(tmp_path, {
        "a/b": b"b", "paged/index.html": b"page", "paged/sub/index.htm": b"",
        "b.txt": b"b"})
    os.makedirs(os.path.join(os.fsencode(str(tmp_path)), b'"\xc3\xa9\\\xff'))
    wait_until_settled(tmp_path)
    with asking(tmp_path, head=True, **options) as (_, wire):
        answer = wire.get(target)
        has_button = b'name="tar"' in wire.get("/").content
        head = wire.get(target, method="HEAD")
    assert has_button == (not options or options == {"archives": "all"})
    disposition = answer.fields.get("content-disposition")
    assert disposition == (outcome and disposition) and head.head.replace(
        head.fields["date"].encode(), b"") == answer.head.replace(
        answer.fields["date"].encode(), b"")
    if outcome:
        name = re.search('filename="(.*?)"', disposition).group(1)
        assert name == outcome.replace("?", "__")[-len(name):]
    if "paged" in target and outcome:
        assert [name for name, _ in read_tar(answer.content)] == [
            "paged/", "paged/index.html", "paged/sub/", "paged/sub/index.htm"]


def test_what_is_left_out_is_told(tmp_path, monkeypatch):
    """Also what cannot be read or would do harm, under a free name; but
    nothing that a listing would hide."""
    names = [b"LEFT-OUT.txt", b"secret", b"a\\..\\b", b"..\\evil", b"c\nd",
             b"locked/x", b"LEFT-OUT.txt.txt/y"]
    for name in names:
        write_files(tmp_path, {os.fsdecode(name): b"1"})
    plain = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **others: (
        not path.endswith((b"secret", b"locked")) and plain(path, mode)))
    os.mkfifo(os.path.join(os.fsencode(str(tmp_path)), b"f\n\xff"))
    with asking(tmp_path, dotfiles=True) as (_, wire):
        entries = read_tar(wire.get("/?tar").content)
    told = entries[0][1].decode().split("\r\n")[2:-1]
    assert entries[0][0] == "files/LEFT-OUT.txt.txt.txt"
    harm = ": its name would do harm"
    assert told == [
        "files/..\\evil" + harm, "files/a\\..\\b" + harm,
        "files/f\ufffd\ufffd: it is neither a file nor a folder",
        "files/locked/: the server may not read it",
        "files/secret: the server may not read it"]
    assert [name for name, _ in entries[1:]] == [
        "files/", "files/LEFT-OUT.txt", "files/c\nd",
        "files/LEFT-OUT.txt.txt/", "files/LEFT-OUT.txt.txt/y"]


@both_forms
def test_much_is_left_out(kind, tmp_path):
    """More text than is sent in one piece; and two texts of equal length."""
    for letter in "ab":
        write_files(tmp_path, {letter + "/": None})
        for i in range(400):
            os.mkfifo(str(tmp_path / letter / (letter * 200 + str(i + 100))))
        os.utime(str(tmp_path / letter), (MODIFIED, MODIFIED))
    with asking(tmp_path) as (_, wire):
        for letter in "ab":
            told = READ[kind](wire.get("/%s/?%s" % (letter, kind)).content)[0]
            assert told[1].count(b"\r\n%s/%s" % (
                letter.encode(), letter.encode() * 200)) == 400


def test_etag_of_an_archive(tmp_path):
    """It changes with anything in the archive, exists only at rest, is equal
    on another server, and differs between tar and ZIP."""
    write_files(tmp_path, {"a/b": b"b", "a/c": b"c", "a/d/e": b"e"})
    seen = set()

    def tag(kind="tar"):
        with asking(tmp_path) as (_, wire):
            return wire.get("/a/?" + kind).fields.get("etag")
    for change in [
            lambda: None, lambda: (tmp_path / "a/c").chmod(0o600),
            lambda: os.utime(str(tmp_path / "a/c"), (9, 9)),
            lambda: (tmp_path / "a/d/new").write_bytes(b""),
            lambda: (tmp_path / "a/b").rename(tmp_path / "a/x"),
            lambda: (tmp_path / "a/d").rename(tmp_path / "a/y")]:
        change()
        wait_until_settled(tmp_path / "a")
        wait_until(tag, "an ETag")
        seen.update([tag(), tag(), tag("zip")])
    assert len(seen) == 12 and None not in seen
    (tmp_path / "a/b").write_bytes(b"now")
    assert tag() is None or time.time() > os.path.getmtime(
        str(tmp_path / "a/b")) + httpd.SETTLED_NS / 1e9

def test_deep_folders_delay_nobody(tmp_path, monkeypatch):
    """Names on the way to a folder are not resolved again for each file."""
    write_files(tmp_path, {"d/" * 100 + "f": b"f"})
    wait_until_settled(tmp_path / ("d/" * 100 + "f"))
    plain, looks = os.stat, []
    monkeypatch.setattr(os, "stat", lambda *args, **others: (
        looks.append(1), plain(*args, **others))[1])
    with asking(tmp_path) as (_, wire):
        assert len(read_tar(wire.get("/?tar").content)) == 102
    assert len(looks) < 3 * 100 ** 2 / 2 + 2000


@pytest.mark.slow
@both_forms
def test_archive_of_many_names(kind, tmp_path):
    """More than fit into a ZIP once; others are served meanwhile."""
    count, folder = 65600, tmp_path / "top"
    write_files(tmp_path, {"top/": None, "small": b"small"})
    for i in range(count):
        os.close(os.open(str(folder / ("f%05d" % i)), os.O_CREAT, 0o644))
    with Running(tmp_path, flags=[]) as running, (
            Wire(running.port)) as wire, Wire(running.port) as other:
        before = running.memory()
        waits = []

        def fetch():
            entries.extend(READ[kind](wire.get("/top/?" + kind).content))
        entries = []
        thread = threading.Thread(target=fetch)
        thread.start()
        while thread.is_alive():
            start = time.monotonic()
            assert other.get("/small").content == b"small"
            waits.append(time.monotonic() - start)
            time.sleep(0.005)
        thread.join()
        assert sorted(waits)[len(waits) * 9 // 10] < 0.05
        assert PYPY or running.memory("VmHWM") < before + (
            10 << 10) + 300 * count // 1024
    assert [name for name, _ in entries] == ["top/"] + [
        "top/f%05d" % i for i in range(count)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind, command", [
    ("tar", "tar tvf -"), ("tar", "bsdtar tvf -"), ("zip", "bsdtar tvf -"),
    ("zip", "cat > %s && unzip -tq %s && unzip -Zs %s"),
    ("zip", "cat > %s && 7z t %s && 7z l %s")])
def test_archive_of_large_files(kind, command, tmp_path):
    """Beyond 4 and 8 GiB, where both formats write numbers differently."""
    need("curl", *re.findall("^bsdtar|unzip|7z", command))
    sizes = {"a": 2**33 + 1 if kind == "tar" else 2**32 + 5, "b": 1}
    for name, size in sizes.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    path = str(tmp_path / "out")
    if shutil.disk_usage(str(tmp_path)).free < 5 << 30 and "cat" in command:
        pytest.skip("needs 5 GB")
    with Running(tmp_path) as running:
        found = subprocess.run(
            "curl -s 'http://127.0.0.1:%d/?%s' | ( %s )" % (
                running.port, kind, command.replace("%s", path)),
            shell=True, check=True, stdout=subprocess.PIPE).stdout.decode()
    for size in sizes.values():
        assert re.search(r"\b%d\b" % size, found), found


@pytest.mark.slow
@both_forms
@pytest.mark.parametrize("command", [
    "curl -s -C - -o it %s", "aria2c -q -x4 -s4 -k1M -c -o it %s",
    "{python} {httpget} -q -c -o it %s"])
def test_archive_resumes_after_a_restart(command, kind, tmp_path):
    """By other clients and ours, after a cut, with another process."""
    need(command.split(" ")[0].strip("{}").replace("python", "sh"))
    write_files(tmp_path, {"top/%d" % i: os.urandom(3 << 20)
                           for i in range(20)})
    wait_until_settled(tmp_path / "top/19")
    here = command.format(python=sys.executable, httpget=os.path.join(
        HERE, "httpget.py"))
    with Running(tmp_path) as running:
        port, target = running.port, "/top/?" + kind
        with Wire(port) as wire:
            content = wire.get(target).content
        url = "'http://127.0.0.1:%d%s'" % (port, target)
        client = subprocess.Popen(
            "exec " + here.replace("it %s", "it ").replace(
                "aria2c", "aria2c --max-download-limit=20M").replace(
                "curl", "curl --limit-rate 20M") + url,
            shell=True, cwd=str(tmp_path), stderr=subprocess.DEVNULL)

        def size():
            with contextlib.suppress(FileNotFoundError):    # renamed just now
                return sum(each.stat().st_blocks * 512 for each in
                           tmp_path.iterdir() if each.name.startswith("it"))
            return 0
        wait_until(lambda: size() > 1 << 20, "a part")
        client.terminate()
        client.wait()
    with Running(tmp_path, port=port):
        subprocess.run(here.replace("%s", url), shell=True, check=True,
                       cwd=str(tmp_path), stderr=subprocess.DEVNULL)
    assert (tmp_path / "it").read_bytes() == content


# ---- Freshness --------------------------------------------------------------


def test_file_is_always_the_new_one(tmp_path):
    """Of equal length, changed as fast as possible; no ETag names two."""
    page, new, tags = tmp_path / "page.txt", tmp_path / "new", set()
    with asking(tmp_path) as (_, wire):
        for i in range(400):
            (page if i < 200 else new).write_bytes(b"%07d" % i)
            if i >= 200:
                os.replace(str(new), str(page))
            answer = wire.get("/page.txt")
            assert answer.content == b"%07d" % i, answer
            tags.add(answer.fields.get("etag", i))
        assert len(tags) == 400 and not open_below(tmp_path)


SWAP = "ln -s %s new; mv -T new now"


@table("root, target, steps", [     # (what is done, status or content)
    ("1", "/sub/page", [
        (":", "one"), ("echo other > 1/sub/page", "other"),
        ("rm 1/sub/page", 404), ("echo three > 1/sub/page", "three"),
        ("mv 1/sub .; ln -s ../sub 1/sub", 404),
        ("rm 1/sub; mv sub 1", "three"),
        ("rm 1/sub/page; mkfifo 1/sub/page", 404),
        ("rm 1/sub/page; mkdir 1/sub/page", 301)], "a file in a folder"),
    ("1", "/", [(":", "<li>"), ("echo short > 1/index.htm", "short"),
                ("echo long > 1/index.html", "long"),
                ("rm 1/index.html", "short")], "default files"),
    ("1", "/sub/about", [
        (":", 404), ("echo page > 1/sub/about.html", "page"),
        ("echo other > 1/sub/about.html", "other"),
        ("echo file > 1/sub/about", "file"), ("rm 1/sub/about", "other"),
        ("mkdir 1/sub/about", 301),
        ("rmdir 1/sub/about; ln -s none 1/sub/about", 404),
        ("rm 1/sub/about", "other"), ("rm 1/sub/about.html", 404)],
     "a page without its suffix"),
    (".", "/also/sub/page", [(":", "one"), (SWAP % 2, "two"),
                             (SWAP % 1, "one")], "a link to a link"),
    ("now", "/sub/page", [(":", "one"), (SWAP % 2, "two"), (SWAP % 1, "one")],
     "the served folder is a link: a deployment"),
    ("now", "/one", [(":", "one"), (SWAP % 2, 404), ("rm now", 404),
                     ("ln -s 1 now", "one")],
     "so a link leads out of it, and then it is away for a moment")])
def test_answer_follows_every_change(tmp_path, root, target, steps):
    """Also an answer that was kept; digests follow, too."""
    path = str(tmp_path / root) + target

    def do(command):
        subprocess.run(["sh", "-ec", command], cwd=str(tmp_path), check=True)
    do("mkdir -p 1/sub 2/sub; echo one > 1/sub/page; echo two > 2/sub/page;"
       " ln -s 1 now; ln -s now also; ln -s $PWD/1/sub/page 1/one;"
       " ln -P 1/one 2/one")
    with asking(tmp_path / root) as (_, wire):
        for command, outcome in steps:
            do(command)
            for line in ("X: y", "X: y", WANT) * 2:
                answer = wire.get(target, line)
                assert answer.status == (
                    200 if isinstance(outcome, str) else outcome), answer
                assert str(outcome) in answer.content.decode(), answer
                if line == WANT and os.path.exists(path):
                    wait_until_settled(path)
            if answer.status == 200 and os.path.isfile(path):
                assert answer.fields["repr-digest"] == digest_of(
                    answer.content), answer


@table("data", [(DIGITS * 99, "small"), (DIGITS * 6554, "large")])
def test_young_file_has_no_time(tmp_path, data):
    """Its next change may have the same time.  Small files have a digest."""
    page = tmp_path / "page.txt"

    def in_time():
        page.write_bytes(data)
        answer = wire.get("/page.txt")
        return time.time() - os.stat(str(page)).st_ctime < 0.04 and answer
    with asking(tmp_path) as (_, wire):
        young = wait_until(in_time, "a quick answer").fields
        wait_until_settled(page)
        fields = wire.get("/page.txt").fields
    assert "last-modified" in fields and "last-modified" not in young
    assert young.get("etag") == (
        fields["etag"] if len(data) <= httpd.SMALL else None)


def test_etag_names_one_content(tmp_path):
    """When a release replaces another, with equal sizes and with the times
    that build systems write, no client keeps the old one."""
    plain, gz, old, tags = "X: y", "Accept-Encoding: gzip", [], set()
    # They say nothing (npm, Bazel), something, or the impossible.
    times = [-1, 0, 1, 315532800, 499162500, 946684800, 10**9, 4 * 10**9]
    for mtime, digit in itertools.product(times, (b"1", b"2")):
        write_files(tmp_path / digit.decode() / str(mtime), {
            "small": digit * 9, "large": digit * (httpd.SMALL + 1),
            "made.css": digit * 999, "big.css": digit * 99999,
            "side.css": b"o" * 999, "huge.css": b"o" * 9}, mtime)
        # Where times say nothing, an older sidecar is as good.
        write_files(tmp_path / digit.decode() / str(mtime), {
            "side.css.gz": digit * 99, "huge.css.gz": digit * 99999},
                    mtime if mtime >= 10**9 else min(times))
    (tmp_path / "now").symlink_to("1")
    wait_until_settled(tmp_path)
    with asking(tmp_path / "now") as (_, wire):
        for mtime, (name, line) in itertools.product(times, [
                ("small", plain), ("made.css", plain), ("made.css", gz),
                ("side.css", gz), ("large", plain), ("big.css", gz),
                ("huge.css", gz)]):
            if mtime >= 10**9 and name in ("large", "big.css", "huge.css"):
                continue    # nothing else tells
            target = "/%d/%s" % (mtime, name)
            answer = wire.get(target, line)
            fields, tag = answer.fields, answer.fields["etag"]
            assert ("content-encoding" in fields) == (line == gz), answer
            assert fields.get("last-modified") == {
                10**9: httpd.http_date(10**9), 4 * 10**9: fields["date"]
                }.get(mtime), answer
            assert wire.get(target, line, "If-None-Match: " + tag
                            ).status == 304
            old.append((target, line, tag, answer.content))
            if name in ("small", "made.css"):
                tags.add(tag)
        # By the content of what is small, so it is equal on replicas; each
        # coding has its own (9110, 8.8.3.3).
        assert len(tags) == 3
        subprocess.run(["ln", "-sfn", "2", str(tmp_path / "now")])
        for target, line, tag, content in old:
            for condition in ("If-None-Match: %s",
                              "Range: bytes=0-0\r\nIf-Range: %s"):
                new = wire.get(target, line, condition % tag)
                assert new.status == 200 and new.content != content, new


@needs("AF_UNIX")       # TCP's buffers may take all of it
def test_file_that_shrinks_while_it_is_sent(big):
    """The connection ends too early: no padding, and it does not hang."""
    path = SCRATCH + "/shrinks"
    with Serving(big, r"httpd\.py: [^\n]* became shorter [^\n]*\n",
                 bind="unix:" + path) as serving, Wire(0, path) as wire:
        wire.send(request_for("/big"))
        assert b"\r\nContent-Length: %d\r\n" % BIG in wire.head()
        os.truncate(str(big / "big"), 1000)
        assert len(wire.rest()) < BIG
        assert int(serving.logged("GET /big ").split()[9]) < BIG


# ---- Connections ------------------------------------------------------------


@pytest.fixture
def big(tmp_path):
    """A folder with a file `big` in it."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(BIG)      # sparse
    return tmp_path


@contextlib.contextmanager
def asking(folder, *args, **options):
    """Serve *folder*; yield the server and a connection to it."""
    with Serving(folder, *args, **options) as serving, (
            Wire(serving.port)) as wire:
        yield serving, wire


def test_pipelined_answers_come_in_order(site):
    """More than all buffers hold, to a client that has shut down its side."""
    asked = ["probe.txt", "large.bin", "digits", "folder/index.html"] * 30

    def send():
        wire.send(b"".join(request_for("/" + name) for name in asked))
        wire.sock.shutdown(socket.SHUT_WR)
    with asking(site) as (_, wire):
        thread = threading.Thread(target=send)
        thread.start()
        for name in asked:
            assert wire.response().content == SITE[name]
        wire.end()
        thread.join()


def test_pipelined_answers_are_sent_together(site):
    """Up to about 64 KiB; more are made when these have been sent."""
    def wrap(sock):
        return wrapped(sock, send=lambda data, flags=0: (
            sizes.append(len(data)) or sock.send(data, flags)))
    sizes = []
    with asking(site, wrap=wrap) as (_, wire):
        wire.send(b"GET /x HTTP/1.1\r\nHost:a\r\n\r\n" * 600)
        most = max(len(repr(wire.response())) for _ in range(600))
        assert 8 << 10 < max(sizes) < (64 << 10) + 2 * most


@table("head, status", [
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n", 405,
     "content that nobody wants"),
    (request_for("/big", CLOSE), 200, "more behind the last request")])
def test_answer_survives_what_the_client_still_sends(big, head, status):
    """Closing with unread input would reset the connection, and lose it."""
    with asking(big) as (_, wire):
        answer = Answer(wire.send(head).head(), b"")
        wire.send(b"x" * 500000)
        wire.sock.shutdown(socket.SHUT_WR)
        assert (answer.status, len(wire.rest())) == (
            status, int(answer.fields["content-length"])), answer


# ---- TLS --------------------------------------------------------------------


@pytest.fixture
def secure(certificate):
    """The options of a Server with the certificate."""
    return {"tls_cert": certificate[0], "tls_key": certificate[1]}


@table("version, sent, said", [
    ("-tls1_3", request_for("/probe.txt", CLOSE),
     r"TLSv1\.3, Cipher.*ALPN protocol: http/1\.1\n.*\nprobe\n", "1.3"),
    ("-tls1_2", request_for("/probe.txt", CLOSE),
     r"ALPN protocol: http/1\.1\n.*TLSv1\.2.*\nprobe\n", "1.2"),
    ("-tls1_1", b"", "protocol version", "an alert, no cut"),
    ("-tls1_2", b"R\n", "RENEGOTIATING.*no renegotiation",
     "a new handshake in the old connection")])
def test_tls_as_openssl_sees_it(site, secure, version, sent, said):
    with Serving(site, **secure) as serving, subprocess.Popen(
            ["openssl", "s_client", "-connect", "127.0.0.1:%d" % serving.port,
             "-CAfile", secure["tls_cert"], "-alpn", "h2,http/1.1", version,
             "-cipher", "ALL:@SECLEVEL=0"],     # or it refuses 1.1 itself
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0) as process:
        process.stdin.write(sent)
        shown = process.stdout.read().decode("latin-1")
    assert re.search(said, shown, re.DOTALL), shown


def test_many_records(site, certificate, secure):
    """All are read, also when they arrive together, or with close_notify."""
    requests = (GET_PROBE * 3 + request_for("/large.bin")
                + request_for("/hello.txt", CLOSE))
    with Serving(site, **secure) as serving, TLSWire(
            serving.port, certificate[0]) as wire:
        for start in range(0, len(requests), 7):
            wire.send(requests[start:start + 7])
        for content in (*3 * [PROBE], LARGE, HELLO):
            assert wire.response().content == content
        wire.end()


@table("data, told", [
    (b"\x16\x03\x01\x00\x05hello", False, "garbage"),
    (GET_PROBE, True, "plain HTTP"), (b"\r\n", True, "an empty line"),
    (b"x" * 60000, True, "no request")])
def test_what_is_no_handshake(site, secure, data, told):
    """It ends quietly, but plain HTTP is told where to go."""
    with Serving(site, clock=Clock(), **secure) as serving, (
            Wire(serving.port)) as wire:
        with contextlib.suppress(*[] if told else [ConnectionError]):
            wire.send(data)
            received = wire.rest()
            assert received[:12] == b"HTTP/1.1 400" if told else (
                received[:1] in (b"", b"\x15")), received   # an alert
            assert told == (b"https://" in received)
        assert not told or serving.logged('" 400 ')


# ---- Passwords on the wire --------------------------------------------------

needs_scrypt = pytest.mark.skipif(
    not HAS_SCRYPT, reason="no hashlib.scrypt in this Python")
USERS = {"Aladdin": "open sesame", "j\xe9 b": "123\xa3", "me": ":secret:"}
RIGHT = basic("me", ":secret:")


@pytest.fixture(scope="session")
def users_file(tmp_path_factory):
    """An --auth-file of USERS."""
    if not HAS_SCRYPT:
        pytest.skip("no hashlib.scrypt in this Python")
    path = tmp_path_factory.mktemp("users") / ".users"
    path.write_text("".join(map(hash_line, USERS, USERS.values())), "utf-8")
    return str(path)


@pytest.fixture
def hashing(users_file, monkeypatch):
    """What hashes here: it takes *seconds* of *clock*, or raises *failure*."""
    def scrypt(password, **settings):
        scrypt.made.append((password, settings["n"]))   # and its cost
        scrypt.clock.now += scrypt.seconds
        if scrypt.failure:
            raise scrypt.failure
        return plain(password, **settings)
    plain = hashlib.scrypt
    scrypt.made, scrypt.clock = [], Clock()
    scrypt.seconds, scrypt.failure = 0, None
    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    return scrypt


CREDENTIALS = [     # field lines, status, the user in the log, and why
    ([RIGHT], 200, "me", "right, with colons"),
    ([basic("j\xe9 b", "123\xa3", "bAsIc")], 200, r"j\xc3\xa9\x20b", "UTF-8"),
    ([], 401, "-", "nothing"), ([basic("me", "wrong")], 401, "-", "wrong"),
    ([basic("nobody", ":secret:")], 401, "-", "no such user"),
    ([basic("me", ":secret:\0")], 401, "-", "NUL"),
    (["Authorization: Basic ="], 401, "-", "no base64"),
    (["Authorization: " + "A" * 20000], 401, "-", "a long word"),
    ([basic("me", "x" * 20000)], 401, "-", "a long password"),
    ([RIGHT, RIGHT], 400, "-", "twice")]


@table("lines, status, user", CREDENTIALS)
def test_credentials(site, users_file, lines, status, user):
    """They hold for one request.  Who is refused is told nothing else."""
    with asking(site, auth_file=users_file, head=True) as (serving, wire):
        without = wire.get("/")
        assert without.fields["www-authenticate"] == (
            'Basic realm="files", charset="UTF-8"')
        for text, usual in (
                ("GET /probe.txt", 200), ("GET /probe.txt", 200),
                ("GET /x", 404), ("GET /folder", 301), ("GET /.hidden", 404),
                ("GET /%00", 400), ("BREW /", 501), ("POST /", 405)):
            method, target = text.split()
            answer = wire.get(target, *lines, method=method)
            assert answer.status == (usual if status == 200 else status)
            assert answer.same_as(without) == (status == 401), answer
        assert wire.get("/", *lines, method="HEAD").status == status
        for each in ([RIGHT], lines, []):
            wire.send(request_for("/digits", *each))
        for expected in (200, status, 401):
            answer = wire.response()
            assert answer.status == expected, answer
            assert (answer.content == DIGITS) == (expected == 200), answer
        for line in serving.logged("probe", 2):
            assert line.startswith("127.0.0.1 - %s [" % user)


def test_each_credential_costs_the_same_and_once(site, tmp_path, hashing,
                                                 monkeypatch):
    """Whoever the user is, or is not: a hash of each cost that there is,
    compared in constant time.  What is no credential costs nothing."""
    import hmac
    compared, plain = [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: (
        compared.append(pair) or plain(*pair)))
    path = tmp_path / "users"
    path.write_text(hash_line("old", "right", 2) + hash_line("new", "right", 4)
                    + hash_line("newer", "right", 4))
    with asking(site, auth_file=str(path)) as (_, wire):
        for user, password in itertools.product(
                ["old", "new", "newer", "nobody"], ["right", "wrong"]):
            del hashing.made[:], compared[:]
            for target in ("/probe.txt", "/digits", "/probe.txt"):
                assert wire.get(target, basic(user, password)).status == (
                    401 if "wrong" in password or user == "nobody" else 200)
            assert sorted(hashing.made) == [
                (password.encode(), cost) for cost in (2, 4)]
            assert len(compared) == 2
        for lines, _, _, why in CREDENTIALS:
            if why in ("nothing", "NUL", "no base64", "a long word"):
                wire.get("/probe.txt", *lines)
        assert len(hashing.made) == 2


@table("limits, count", [
    ({}, 6, "all are remembered"),
    ({"VERIFIED_MAX": 1}, 10, "one that is right, and one that is wrong")])
def test_what_is_remembered_of_passwords_is_bounded(site, users_file, hashing,
                                                    limits, count):
    """More is forgotten, and hashed again where another head has it."""
    number = itertools.count()
    with asking(site, auth_file=users_file, limits=limits) as (_, wire):
        for user, password in list(USERS.items()) + list(USERS.items())[::2]:
            for words, status in 2 * [(password, 200)] + 2 * [("wrong", 401)]:
                assert wire.get("/digits", basic(user, words), "X: %d" % next(
                    number)).status == status
    assert len(hashing.made) == count


def test_passwords_wait_for_their_share_of_the_time(site, tmp_path, hashing):
    """Hashing gets a quarter.  One address may have so many that wait, and so
    may all; more are told to come later.  Others are served meanwhile."""
    path = tmp_path / ".users"
    path.write_text(hash_line("me", ":secret:"))
    with asking(site, auth_file=str(path), clock=hashing.clock, limits={
            "CHECKS_OF_ONE_MAX": 2, "CHECKS_MAX": 3},
            trusted_proxies=["127.0.0.1"]) as (serving, user), (
                contextlib.ExitStack()) as stack:
        hashing.seconds = 1
        assert user.get("/digits", RIGHT).content == DIGITS
        waiting = []
        for number, address, status in (
                (1, "", 401), (2, "", 401), (1, "", 401), (3, "", 503),
                (4, "192.0.2.1", 401), (5, "192.0.2.2", 503)):
            wire = stack.enter_context(Wire(serving.port))
            wire.send(request_for("/", basic("me", str(number)),
                                  "X-Forwarded-For: " + address))
            serving.sync()
            if status == 503:
                assert b"\r\nRetry-After: " in wire.head()
            else:
                waiting.append(wire)
        one, left, twin, other = waiting
        left.sock.close()
        for wires in ((one, twin), (other,)):
            serving.turn(2.9)
            assert user.get("/probe.txt", RIGHT).content == PROBE
            serving.sync()
            assert not wires[0].has_input()
            serving.turn(0.2)
            for wire in wires:
                assert wire.response().status == 401
    assert [password for password, _ in hashing.made[1:]] == [
        b":secret:", b"1", b"4"]


@pytest.mark.parametrize("failure", [MemoryError(), ValueError("too much")],
                         ids=repr)
def test_password_that_cannot_be_verified(site, users_file, hashing, failure):
    """It is 503 once, and not for ever."""
    with asking(site, "httpd.py: a password could not be verified: [^\n]*\n",
                auth_file=users_file, clock=hashing.clock) as (serving, wire):
        hashing.failure = failure
        answer = wire.get("/probe.txt", RIGHT)
        assert answer.status == 503 and "retry-after" in answer.fields, answer
        hashing.failure = None
        serving.turn(1.1)
        assert wire.get("/probe.txt", RIGHT).content == PROBE


# ---- Files that are named: at the start and at SIGHUP -----------------------


@pytest.fixture(scope="session")
def named(certificate, request, tmp_path_factory):
    """Paths of files of use and of none, by their names in tables."""
    folder = tmp_path_factory.mktemp("named")
    texts = {"GARBAGE": "CERTIFICATE----- PRIVATE KEY-----",
             "RIGHT": "open sesame\r\nx", "WRONG": "open\n",
             "BAD": "# one\nme:open sesame\n", "EMPTY": "# nobody\n",
             "REFUSED": hash_line("me", "x").replace("$2$1$", "$65536$1$")}
    for name, text in texts.items():
        (folder / name).write_text(text)
    paths = {name: str(folder / name)
             for name in [*texts, "NONE", "OTHER", "ENCRYPTED"]}
    if HAS_SCRYPT:
        paths["USERS"] = request.getfixturevalue("users_file")
        paths["BELOW"] = os.path.dirname(paths["USERS"])
    paths["CERT"], paths["KEY"] = certificate
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "2", "-subj", "/CN=localhost",
         "-newkey", "rsa:2048", "-addext", "subjectAltName=DNS:localhost",
         "-out", paths["OTHER"], "-keyout", paths["ENCRYPTED"], "-passout",
         "pass:open sesame"], check=True, stderr=subprocess.DEVNULL)
    return paths


@table("options, words", [
    ("--tls-cert OTHER --tls-key ENCRYPTED", "ENCRYPTED --tls-password-file",
     "an encrypted key"),
    ("--tls-cert OTHER --tls-key ENCRYPTED --tls-password-file WRONG",
     "ENCRYPTED WRONG", "the wrong password"),
    ("--tls-cert OTHER --tls-key ENCRYPTED --tls-password-file NONE",
     "NONE No_such_file", "no password file"),
    ("--tls-cert NONE", "NONE No_such_file", "no certificate"),
    ("--tls-cert CERT", "CERT private_key --tls-key", "no key"),
    ("--tls-cert KEY", "KEY certificate", "a key without a certificate"),
    ("--tls-cert GARBAGE", "GARBAGE cannot_use_the_certificate", "garbage"),
    ("--tls-cert CERT --tls-key NONE", "NONE No_such_file", "no key's file"),
    ("--tls-cert CERT --tls-key OTHER", "OTHER private_key", "not a key"),
    ("--tls-cert OTHER --tls-key KEY", "OTHER KEY not_belong", "another key"),
    ("--auth-file BAD", "BAD line_2:_", "a password in the clear"),
    ("--auth-file EMPTY", "EMPTY no_user", "no user"),
    ("--auth-file REFUSED", "REFUSED scrypt_refuses", "n is too large for r"),
    ("--auth-file NONE", "NONE No_such_file", "no file"),
    ("--auth-file=", "No_such_file", "no name")])
def test_files_of_no_use(site, named, options, words):
    """It does not start with them, and says why in one line."""
    if "--auth" in options and not HAS_SCRYPT:
        pytest.skip("no hashlib.scrypt in this Python")
    ended = start_here("-d", str(site), *[
        named.get(word, word) for word in options.split()], "0")
    check_refusal(ended, *[named.get(word, word.replace("_", " "))
                           for word in words.split()])
    assert "sesame" not in ended.err


@needs("SIGHUP")
@needs_scrypt
@needs_workers
def test_sighup_replaces_certificate_and_users(site, certificate, named,
                                               tmp_path):
    """In all workers, also in one to come, and for connections that go on."""
    place, users = tmp_path / "place", tmp_path / ".users"
    before, after = hash_line("old", "x"), hash_line("new", "x")
    old = certificate[0], [200, 401]
    new = named["OTHER"], [401, 200]

    def put(pair, text):
        place.write_bytes(b"".join((tmp_path / name).read_bytes()
                                   for name in pair))
        users.write_text(text)

    def statuses(wire):
        return [wire.get("/digits", basic(name, "x")).status
                for name in ("old", "new")]

    def serves(cafile, expected):
        """Whoever answers now."""
        with contextlib.suppress(OSError):      # the other certificate
            with TLSWire(running.port, cafile) as wire:
                return statuses(wire) == expected
    put(certificate, before)
    with Running(site, "-w", "2", "-b", "127.0.0.1", "--tls-cert", str(place),
                 "--tls-password-file", named["RIGHT"], "--auth-file",
                 str(users)) as running, TLSWire(
                     running.port, certificate[0]) as kept:
        assert statuses(kept) == [200, 401]
        pids = workers_of(running)
        for pair, text, wrong, served in (
                (certificate, "me:nonsense", users, old),
                ([named["BAD"]], after, place, old),
                ([named["OTHER"], named["ENCRYPTED"]], after, None, new)):
            put(pair, text)
            running.process.send_signal(signal.SIGHUP)
            if wrong:
                said = running.process.stderr.readline().decode()
                assert str(wrong) in said and "goes on with what" in said
            for pid in pids:
                with stopped(pids - {pid}):
                    wait_until(functools.partial(serves, *served), "the files")
        assert statuses(kept) == [401, 200]
        dead, other = pids
        os.kill(dead, signal.SIGKILL)
        assert b"takes its place" in running.process.stderr.readline()
        workers_of(running, 1, pids)
        with stopped([other]):
            assert serves(*new)


@needs_scrypt
@table("options, inside, clear", [
    ("--auth-file USERS", False, False, "this machine alone"),
    ("--auth-file USERS -b 0.0.0.0", False, True, "all machines"),
    ("--auth-file USERS -b 0.0.0.0 --tls-cert CERT --tls-key KEY", False,
     False, "TLS"),
    ("--auth-file USERS", True, False, "users in the folder")])
def test_warnings_about_passwords(site, named, options, inside, clear):
    with Running(named["BELOW"] if inside else site, *[
            named.get(word, word) for word in options.split()]) as running:
        said = running.start_message
    assert ("passwords travel in the clear" in said) == clear, said
    assert (named["USERS"] + " is in the folder that is" in said) == inside


@needs_scrypt
@table("given, status", [
    (b"s\xc3\xa9same\n", 0, "UTF-8"), (b"x" * 1024, 0, "the longest"),
    (b"", 1, "nothing"), (b"\n", 1, "empty"), (b"a\tb\n", 1, "a control"),
    (b"x" * 1025, 1, "too long")])
def test_hash_password(site, tmp_path, monkeypatch, given, status):
    """Never the same; it lets in who knows the password."""
    def make():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        return start_here("--hash-password")
    result = make()
    if status:
        check_refusal(result, "empty, or longer than 1024 bytes")
        return
    assert (result.status, result.err) == (0, ""), result
    assert result.out != make().out
    users = tmp_path / ".users"
    users.write_bytes(b"me:" + result.out)
    with asking(site, auth_file=str(users)) as (_, wire):
        field = basic("me", given.decode("utf-8").strip())
        assert wire.get("/probe.txt", field).content == PROBE


@needs_scrypt
@table("options, again, status, expected", [
    ("--hash-password", "secret", 0, "scrypt$", "a hash"),
    ("--hash-password", "secrets", 1, "differ", "mistyped"),
    ("--auth me 0", "secret", 0, "press Ctrl-C to stop", "a server"),
    ("--auth me 0", "secrets", 1, "differ", "mistyped, for a server"),
    ("--auth me 0", "\x03", 130, "Again: \r\n", "given up"),
    ("--hash-password", "\x03", 130, "Again: \r\n", "the same")])
def test_password_on_a_terminal(options, again, status, expected):
    """It is asked for twice, and not shown."""
    pid, master = pytest.importorskip("pty").fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, compiled("httpd.py"),
                                  *options.split()])
    shown = b""
    with open(master, "rb+", 0) as file, contextlib.suppress(OSError):
        for prompt, text in ((b"Password", b"secret\n"),
                             (b"Again: ", again.encode() + b"\n"),
                             (expected.encode(),
                              b"\x03" * ("Ctrl-C" in expected))):
            while prompt not in shown:
                shown += file.read(1000)
            file.write(text)
        while True:     # until EIO: the end
            shown += file.read(1000)
    assert os.waitpid(pid, 0)[1] >> 8 == status
    assert b"secret" not in shown and expected.encode() in shown


@needs("SIGHUP")
@needs_scrypt
@both_kinds
def test_auth_of_one_user(site, tmp_path, count):
    """By a password in the environment, also after a SIGHUP."""
    path = tmp_path / "log"
    with Running(site, "--auth", "j\xe9", "-w", str(count), "--log-file",
                 str(path), env=dict(os.environ, HTTPD_PASSWORD="a:e\u0301")
                 ) as running:
        for _ in range(2):
            with Wire(running.port) as wire:
                assert [wire.get("/probe.txt", *lines).status for lines in (
                    [basic("j\xe9", "a:\xe9")], [basic("j\xe9", "b")], [])
                    ] == [200, 401, 401]
            path.rename(tmp_path / "old")
            running.process.send_signal(signal.SIGHUP)
            wait_until(path.exists, "a new log")


@needs_scrypt
@table("environment, words", [
    ({}, "no password for me; HTTPD_PASSWORD", "nobody to ask"),
    ({"HTTPD_PASSWORD": ""}, "no password for me", "empty"),
    ({"HTTPD_PASSWORD": "a\n"}, "in HTTPD_PASSWORD; a control", "a line")])
def test_no_password(environment, words):
    """One line without a terminal, of which the session has none."""
    check_refusal(start("--auth", "me", "0", stdin=subprocess.DEVNULL,
                        start_new_session=True,
                        env=dict(os.environ, **environment)),
                  *words.split("; "))


@table("options, word", [
    (["--auth-file", os.devnull], "scrypt", "--auth-file"),
    (["--hash-password"], "scrypt", "--hash-password"),
    (["--auth", "me"], "scrypt", "--auth"),
    (["--tls-cert", os.devnull], "ssl", "--tls-cert")])
def test_what_this_python_lacks_is_said(monkeypatch, options, word):
    monkeypatch.setenv("HTTPD_PASSWORD", "secret")
    monkeypatch.delattr(hashlib, "scrypt", raising=False)
    monkeypatch.setitem(sys.modules, "ssl", None)
    check_refusal(start_here(*options, "0"), word)
    assert ("HTTPD_PASSWORD" in os.environ) == ("--auth" not in options)


# ---- Access log -------------------------------------------------------------


@table("sent, status, size, line", [
    (b"GET /incompl", 400, 0, "GET /incompl", "a part"),
    (b"GET /a HTTP/1.0EVIL", 408, ..., "GET /a HTTP/1.0EVIL",
     "as it came, not as what it might have become"),
    (b"GET /b HTTP/1.1\r\nHost: h\r\nUser-Agent: me/8.0", 408, ...,
     "GET /b HTTP/1.1", "a field that may be longer"),
    (request_for("/big"), 200, ..., "GET /big HTTP/1.1", "really sent")])
def test_log_of_incomplete_exchanges(big, sent, status, size, line):
    with Serving(big, clock=Clock(), log_format="json") as serving:
        with Wire(serving.port) as wire:
            wire.send(sent)
            serving.sync()
            if status == 408:
                serving.turn(11)
                assert wire.response().status == 408
            elif status == 400:
                wire.sock.shutdown(socket.SHUT_WR)
                wire.end()
        entry = json.loads(serving.logged(line))
    assert entry["referer"] is entry["user_agent"] is None
    assert (entry["request"], entry["status"]) == (line, status)
    assert entry["aborted"] == (status != 408)
    assert entry["bytes"] == size or size is ... and 0 < entry["bytes"] < BIG


def test_log_of_a_client_that_is_gone_when_its_answer_is_sent(tmp_path):
    """It had its listing: no other request was begun."""
    def shutdown(how):
        raise OSError(errno.ENOTCONN, "")
    with Serving(tmp_path, wrap=lambda sock: wrapped(
            sock, shutdown=shutdown)) as serving:
        with Wire(serving.port) as wire:
            wire.send(request_for("/", CLOSE)).response()
            wire.end()
        serving.logged("")


@needs("AF_UNIX")
@pytest.mark.parametrize("trusted", ["127.0.0.1", "unix:"])
def test_log_behind_a_trusted_proxy(site, tmp_path, trusted):
    """Equal heads and others; no other proxy is believed."""
    hosts = {"127.0.0.1": "127.0.0.1", "unix:": str(tmp_path / "socket")}
    field, ends = "X-Forwarded-For: 6.6.6.6, ", ["::1", "nonsense", "::1"]
    clients = ["192.0.2.%d" % (number % 2) for number in range(50)]
    with Serving(site, trusted_proxies=[trusted, "10.0.0.0/8"], bind=[
            "127.0.0.1", "unix:" + hosts["unix:"]]) as serving:
        for place, name in enumerate(hosts):
            with Wire(serving.port, hosts[name]) as wire:
                for number, client in enumerate(clients):
                    wire.get("/probe.txt?%d" % (number // 4), field + client,
                             "X-Forwarded-For: 10.0.0.1")
                wire.get("/large.bin", field + client)
                wire.send(b"".join(request_for("/probe.txt", field + end)
                                   for end in ends))
                lines = serving.logged("", 54 * (place + 1))[-54:]
            assert [line.split()[0] for line in lines] == (
                [*clients, client, "::1", name, "::1"] if name == trusted
                else [name] * 54)


LOST = r"httpd\.py: the access log has lost ([0-9]+) lines\n"
FAILS = r"httpd\.py: cannot write to the access log: %s\n"


@table("pair, count, size, reads, said", [
    (os.pipe, 200, 225, "late", "", "a pipe with a reader that is late"),
    (os.pipe, 60, 7900, "in time", LOST, "later than 1 MiB"),
    (os.pipe, 50, 1, "left", FAILS % "Broken pipe" + LOST, "no reader"),
    (os.openpty, 100, 90, "never", LOST, "a stopped terminal"),
    (lambda: (os.open(os.devnull, os.O_RDONLY), os.open(
        "/dev/full", os.O_WRONLY)), 50, 1, "never",
     FAILS % "No space[^\n]*" + LOST, "a full disk")])
def test_log_reader_holds_nobody_up(site, pair, count, size, reads, said):
    """Whole lines wait, for a second at the end; what is lost is counted."""
    def read():
        with open(reader, "rb", closefd=False) as file:
            lines.extend(file)
    lines, messages = [], ""
    thread = threading.Thread(target=read)
    reader, writer = pair()
    with Running(site, "--log-format", "combined", stdout=writer,
                 says=".*") as running:
        os.close(writer)
        if reads == "left":
            os.close(reader)
        with Wire(running.port) as wire:
            for _ in range(count):
                assert wire.get("/probe.txt", "User-Agent: "
                                + '"' * size).content == PROBE
        if reads == "in time":      # it need not end to say it
            thread.start()
            messages = running.process.stderr.readline().decode()
        running.process.terminate()
        if reads == "late":
            thread.start()
        messages += running.stop()
    if thread.ident:
        thread.join()
    if reads != "left":
        os.close(reader)
    found = re.fullmatch(said, messages)
    assert found, messages
    lost = int(found.group(1)) if said else 0
    assert pair is os.openpty or len(lines) + lost == count
    assert all(re.match(b'127.* 200 6 .*"\n', line) for line in lines)
    assert (0 < lost <= count) == bool(said)


def test_terminal_that_may_not_be_opened_again(site, monkeypatch):
    """Another user's, as with `su user -c`."""
    plain = os.open
    monkeypatch.setattr(os, "open", lambda path, *args, **kwargs: plain(
        re.sub("^/dev/pts/", "/none/", path) if isinstance(path, str)
        else path, *args, **kwargs))
    master, slave = os.openpty()
    with httpd.Server(str(site), 0, access_log=httpd.AccessLog(slave)
                      ) as server:
        with Wire(int(server.url.split(":")[2].strip("/"))) as wire:
            assert wire.get("/probe.txt").content == PROBE
            assert b'"GET /probe.txt HTTP/1.1" 200 6 ' in os.read(master, 200)
    os.close(slave)
    os.close(master)


@needs_workers
@needs("AF_UNIX")
@pytest.mark.parametrize("closed", ["", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_standard_descriptors_that_nobody_reads(site, tmp_path, closed):
    """Or that are closed: no client's socket takes their numbers."""
    path = str(tmp_path / "socket")
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
            ["sh", "-c", 'exec "$@" ' + closed, "sh", sys.executable,
             compiled("httpd.py"), "-b", "unix:" + path, "-d", str(site)],
            stdout=writer, stderr=writer) as process, (
                contextlib.ExitStack()) as stack:
        stack.callback(process.kill)
        os.close(writer)
        probe = stack.enter_context(socket.socket(socket.AF_UNIX))
        wait_until(lambda: probe.connect_ex(path) == 0, "the server")
        wire = stack.enter_context(Wire(0, path))
        for _ in range(3):
            assert wire.get("/probe.txt").content == PROBE
        for fd in "012":
            assert not os.readlink("/proc/%d/fd/%s" % (
                process.pid, fd)).startswith("socket:")
        process.terminate()
        assert process.wait(PATIENCE) == 0


@needs("SIGHUP")
def test_log_is_reopened_at_sighup(site, tmp_path):
    """No line is lost, nor where it cannot be opened: it goes on as it was."""
    path, count = tmp_path / "log", 200
    with Running(site, "--log-file", str(path)) as running:
        with Wire(running.port) as wire:
            for number in range(count):
                wire.get("/probe.txt")
                if number % 50 == 10:
                    path.rename(tmp_path / ("log.%d" % number))
                    if number > 150:
                        path.mkdir()
                    running.process.send_signal(signal.SIGHUP)
                    wait_until(path.exists, "a new log")
        assert b"cannot write the access log" in (
            running.process.stderr.readline())
        assert running.log_lines() == []
    logs = [log for log in tmp_path.iterdir() if log.is_file()]
    lines = [line for log in logs for line in log.read_text().splitlines()]
    assert (len(logs), len(lines)) == (4, count)
    assert all(line.endswith('200 6 "-" "-"') for line in lines)
    assert {log.stat().st_mode & 0o027 for log in logs} == {0}


# ---- The end ----------------------------------------------------------------


@needs_workers
def test_worker_that_hangs_is_killed_in_time(site):
    """Five seconds after the second signal, which pass faster here."""
    hurried = after("import time\nplain = time.monotonic\n"
                    "time.monotonic = lambda: 10 * plain()")
    running = Running(site, "--workers", "2", flags=hurried)
    with stopped([min(workers_of(running))]):
        for _ in range(100):
            running.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(0.1)
                break
    assert "killed by signal 9 before it had finished" in running.stop()
    assert running.process.returncode == 1


@pytest.mark.parametrize("way", ["one process", pytest.param(
    "workers", marks=needs_workers), "systemd"])
def test_who_has_connected_before_the_end_is_answered(site, way):
    """However many: they are accepted before the listeners are closed."""
    count = 2 if way == "workers" else 1
    with contextlib.ExitStack() as stack:
        settings = {}
        if way == "systemd":
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            sock.listen(200)
            settings = given(sock)
        running = stack.enter_context(Running(
            site, "-w", str(count), "-b", "127.0.0.1", "-q", **settings))
        with stopped({running.pid, *workers_of(running, count)}):
            wires = [stack.enter_context(Wire(running.port))
                     for _ in range(200)]
            for wire in wires:
                wire.send(GET_PROBE)
            running.process.terminate()
        for wire in wires:
            assert wire.response().content == PROBE
        assert running.process.wait(PATIENCE) == 0
        assert running.log_lines() == []    # by -q


def test_who_has_connected_before_the_end_may_still_ask(site):
    """For a second, which holds nobody up; half a head keeps its time."""
    with Serving(site, clock=Clock()) as serving, (
            contextlib.ExitStack()) as stack:
        idle, silent, half, *early = [
            stack.enter_context(Wire(serving.port)) for _ in range(6)]
        idle.get("/probe.txt")
        half.send(GET_PROBE[:20])
        serving.sync()
        serving.server.stop()
        idle.end()
        serving.turn(0.9)
        for wire in early:      # in one turn each
            assert wire.send(GET_PROBE).response().content == PROBE
        assert not silent.has_input()
        serving.turn(0.2)
        silent.end()
        serving.turn(8)
        answer = half.send(GET_PROBE[20:]).response()
        assert (answer.content, answer.fields["connection"]) == (
            PROBE, "close"), answer


def test_who_has_connected_before_the_end_may_still_shake_hands(
        site, certificate, secure):
    """Over TLS, for three seconds."""
    import ssl
    with Serving(site, clock=Clock(), **secure) as serving, TLSWire(
            serving.port, certificate[0]) as idle, Wire(
                serving.port) as early, Wire(serving.port) as silent:
        idle.get("/probe.txt")
        serving.server.stop()
        idle.end()
        serving.turn(2.9)
        early.sock = ssl.create_default_context(
            cafile=certificate[0]).wrap_socket(
                early.sock, server_hostname="localhost")
        assert early.get("/probe.txt").content == PROBE
        assert not silent.has_input()
        serving.turn(0.2)
        silent.end()


@needs("SIGHUP")
@both_kinds
def test_closed_terminal_ends_the_server(big, count):
    """Else nobody would see that it holds its port."""
    master, slave = os.openpty()
    with subprocess.Popen(      # the leader of a session takes what it opens
            ["sh", "-c", 'exec "$@" <"$0"', os.ttyname(slave), sys.executable,
             compiled("httpd.py"), "-d", str(big), "-w", str(count), "0"],
            stdout=slave, stderr=slave, start_new_session=True) as process, (
                contextlib.ExitStack()) as stack:
        stack.callback(process.kill)
        os.close(slave)
        shown = b""
        while b"Ctrl-C" not in shown:
            shown += os.read(master, 65536)
        port = int(re.search(rb"127.0.0.1:([0-9]+)", shown).group(1))
        with Wire(port) as wire:    # it is one more than its start
            assert wire.get("/nothing").status == 404
            wire.send(request_for("/big")).head()
            os.close(master)
            wait_until(lambda: is_refused(port), "its end")
            process.send_signal(signal.SIGHUP)  # as a shell says it, too
            assert len(wire.take(BIG)) == BIG
        assert process.wait(PATIENCE) == 0


# ---- Limits and faults ------------------------------------------------------

BARE, RAW, TLS = "http", "no TLS to an https server", "https"
NO_TIME = {"TURN_SECONDS": 0}   # one step of long work in each turn
PLACES = dict(SITE, **{"style.css": b"body {}", "style.css.br": b"as br"})


@pytest.fixture(scope="session")
def ground(tmp_path_factory):
    """A folder as `site`, with large files, too, which nobody changes."""
    root = tmp_path_factory.mktemp("around") / "ground"
    write_files(root, PLACES)
    for name, target in dict(SITE_LINKS, **{
            "list/link-in": "b.txt", "list/link-out": "../../secret.txt"
            }).items():
        (root / name).symlink_to(target.format(site=root))
    for name, size in [("big", BIG), ("digest", 32 << 20), ("vast", 64 << 30),
                       ("middle", (1 << 20) + 1),
                       *(("big%d" % number, BIG) for number in range(40))]:
        with (root / name).open("wb") as file:
            file.truncate(size)     # sparse
    os.mkfifo(str(root / "fifo"))
    wait_until_settled(root / "fifo")
    return root


def promised(row):
    """Return the seconds that README's table of limits has in *row*."""
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
        return int(re.search(r"\n\| %s[^|]*\| ([0-9]+) s \|" % row,
                             file.read()).group(1))


class Turns(Clock):
    """A Clock that tells when it is read, as it is in each turn."""

    def __init__(self):
        super().__init__()
        self.read, self.reads = threading.Event(), 0

    def __call__(self):
        self.reads += 1
        self.read.set()
        return self.now


class Stepped(Serving):
    """A server whose clock a test turns; socks are the descriptors, and their
    inodes, of what it has accepted.

    Its socket in the file system takes so much of what nobody reads and then
    no more.  At its end it does not wait for what is in flight.
    """

    def __init__(self, directory, **options):
        if "AF_UNIX" in WITHOUT:
            pytest.skip("HTTPD_TEST_WITHOUT=AF_UNIX")
        self.socks, self.path = [], tempfile.mktemp(dir=SCRATCH)
        self.cafile = options.get("tls_cert")
        super().__init__(
            directory, clock=Turns(), bind=["127.0.0.1", "unix:" + self.path],
            wrap=lambda sock: self.socks.append((
                sock.fileno(), os.fstat(sock.fileno()).st_ino)) or sock,
            **options)

    def __exit__(self, *exc_info):
        self.server.stop()      # so the one to come is the second
        super().__exit__(*exc_info)

    def wire(self):
        """Return a connection to it."""
        return Wire(0, self.path)

    def reach(self, way):
        """Return a connection that has come as far as *way* says."""
        sent, scheme, answers = WAYS[way]
        wire = (TLSWire(self.port, self.cafile, tls_1_2=True)
                if scheme == TLS else self.wire())
        wire.send(sent)
        for _ in range(answers):
            assert wire.response().content == PROBE
        self.turn(0)
        return wire

    def turn(self, seconds):
        """Turn its clock on; return when it has noticed all that is new."""
        self.clock.now += seconds
        for _ in range(10):     # a turn may read it twice
            self.clock.read.clear()
            wait_until(lambda: self.server.wake() or self.clock.read.wait(
                0.001), "a turn")   # again, where it came in the midst of one

    def has_closed(self, number):
        """Return whether it has closed a connection, by order of coming."""
        fd, inode = self.socks[number]
        try:
            return os.fstat(fd).st_ino != inode
        except OSError:
            return True


WAYS = {    # how a client gets a connection into each state
    # what it sends, how, and how many answers it reads
    "new": (b"", BARE, 0),
    "head": (b"GET /head HT", BARE, 0),
    "empty": (b"\r", BARE, 0),
    "idle": (GET_PROBE, BARE, 1),
    "preparing": (request_for("/vast", "Want-Repr-Digest: sha-256=1"), BARE,
                  0),
    "sending": (request_for("/big"), BARE, 0),
    "lingering": (request_for("/probe.txt", "Content-Length: 9"), BARE, 1),
    "new to TLS": (b"", RAW, 0),
    "half a hello": (b"\x16\x03\x01\x02\x00\x01", RAW, 0),
    "new over TLS": (b"", TLS, 0),
    "idle over TLS": (GET_PROBE, TLS, 1)}


@pytest.fixture
def stepped(ground, request):
    """stepped(way, ...): a Stepped server of `ground` for a way of WAYS."""
    def start(way, **options):
        if WAYS[way][1] != BARE:
            options.update(request.getfixturevalue("secure"))
        return Stepped(ground, **options)
    return start


HEAD_TIME = promised("time for a whole head")
SEND_TIME = promised("no progress in sending")
TLS_TIME = promised("time for a TLS handshake")


@table("way, options, seconds, end", [
    ("new", {}, HEAD_TIME, "silence", "connected and silent"),
    ("new", {"request_timeout": 0.5}, 0.5, "silence", "--request-timeout"),
    ("empty", {}, HEAD_TIME, "silence", "a part of an empty line"),
    ("head", {}, HEAD_TIME, 408, "a head"),
    ("head", {"request_timeout": 1 << 40}, 1 << 40, 408, "for a head, too"),
    ("idle", {}, promised("idle between requests"), "silence", "idle"),
    ("idle", {"idle_timeout": 1 << 40}, 1 << 40, "silence",
     "--idle-timeout, longer than the system's calls take"),
    ("preparing", {}, 600, 503, "a digest that takes very long"),
    ("sending", {}, SEND_TIME, "cut", "takes nothing of a large file"),
    ("lingering", {}, 2, "cut", "answered, and does not close"),
    ("new to TLS", {}, TLS_TIME, "silence", "no handshake"),
    ("half a hello", {}, TLS_TIME, "silence", "half a handshake"),
    ("new over TLS", {}, HEAD_TIME, "silence", "close_notify after silence"),
    ("idle over TLS", {"idle_timeout": 7}, 7, "silence",
     "close_notify when idle")])
def test_each_state_has_its_time(stepped, way, options, seconds, end):
    with stepped(way, **options) as serving, serving.reach(way) as wire:
        serving.turn(seconds - 0.1)
        assert not serving.has_closed(0)
        assert end == "cut" or not wire.has_input()
        serving.turn(0.2)
        if end in (408, 503):
            assert wire.response().status == end
        if end != "cut":
            wire.end()
        else:
            assert serving.has_closed(0)
        if way == "sending":
            line = serving.logged("GET /")
            assert int(re.search('" 200 ([0-9]+)', line).group(1)) < BIG, line


def test_drip_is_cut_off_and_hurts_nobody(ground):
    """The head's deadline is absolute: a byte more does not move it."""
    with Stepped(ground) as serving:
        with serving.wire() as drip, serving.wire() as honest:
            for _ in range(2 * HEAD_TIME):
                assert not drip.has_input()
                drip.send(b"G")
                assert honest.get("/probe.txt").content == PROBE
                serving.turn(0.5)
            assert drip.response().status == 408
            assert honest.get("/probe.txt").content == PROBE
        assert '" 408 ' in serving.logged("G" * 19)


def test_slow_reader_is_cut_off_only_without_progress(ground):
    with Stepped(ground) as serving, serving.reach("sending") as wire:
        wire.head()
        for _ in range(4):
            serving.turn(SEND_TIME - 1)
            wire.take(1 << 20)      # more than the buffers hold
            serving.turn(0)
        assert len(wire.take(BIG - (4 << 20))) == BIG - (4 << 20)


def test_who_never_stops_sending_is_cut_off(ground):
    """Each byte gives one that was answered some more time, up to a limit."""
    with Stepped(ground) as serving, serving.reach("lingering") as wire:
        for seconds in range(35):
            if serving.has_closed(0):
                break
            wire.send(b"x")
            serving.turn(0)
            serving.turn(1)
        assert 30 <= seconds < 34


def test_end_does_not_wait_for_ever(ground):
    """Who takes nothing of an answer is cut off after 30 s."""
    with Stepped(ground) as serving, serving.reach("sending"):
        serving.server.stop()
        serving.turn(29.9)
        assert not serving.has_closed(0)
        serving.turn(0)
        serving.clock.now += 0.2
        serving.server.shutdown()
        assert serving.has_closed(0)


def spins(serving):
    """Return whether it takes turns for nothing."""
    reads = serving.clock.reads
    time.sleep(0.1)     # a span in which that would show
    return serving.clock.reads - reads > 100


@table("way, grace", [
    ("new", "some", "silent"), ("head", "some", "a head"),
    ("idle", "none", "idle"), ("lingering", "none", "answered"),
    ("sending", "some", "reads not"), ("preparing", "all", "waits itself"),
    ("new to TLS", "some", "no handshake")])
def test_each_state_gives_way_in_time(stepped, way, grace):
    """First the one that has been so for longest; nothing spins meanwhile."""
    with stepped(way, max_connections=2) as serving, (
            contextlib.ExitStack()) as stack:
        wires = []
        for _ in range(2):
            wires.append(stack.enter_context(serving.reach(way)))
            serving.turn(0.02)
        other = stack.enter_context(serving.wire()).send(GET_PROBE)
        serving.turn(0)
        if grace != "none":
            assert len(serving.socks) == 2
            assert way == "preparing" or not spins(serving)
            serving.turn(1)
        if grace == "all":
            assert len(serving.socks) == 2
            wires[0].sock.close()
            serving.turn(1)
        assert len(serving.socks) == 3
        assert serving.has_closed(0) and not serving.has_closed(1)
        if WAYS[way][1] == BARE:
            assert other.response().content == PROBE


def test_room_is_made_by_who_is_least_needed(ground):
    """Idle, answered, with a slow head, taking nothing; never who reads."""
    with Stepped(ground, max_connections=6) as serving, (
            contextlib.ExitStack()) as stack:
        reading, *_, idle, _ = [stack.enter_context(serving.reach(way))
                                for way in ("sending", "sending", "head",
                                            "lingering", "idle", "idle")]
        reading.head()
        serving.turn(1)
        assert idle.get("/probe.txt").content == PROBE  # now the younger one
        reading.take(1 << 20)
        serving.turn(0.02)
        for number in (5, 4, 3, 2, 1):
            assert not serving.has_closed(number)
            stack.enter_context(serving.reach("sending"))
            assert serving.has_closed(number)
        other = stack.enter_context(serving.wire()).send(GET_PROBE)
        serving.turn(0.02)
        assert len(serving.socks) == 11     # nobody is slow now: it waits
        assert len(reading.take(BIG - (1 << 20))) == BIG - (1 << 20)
        serving.turn(1)
        assert other.response().content == PROBE
        assert serving.has_closed(0)        # idle now: the next one to go
        serving.logged('GET /big HTTP/1.1" 200 %d ' % BIG)


@pytest.mark.parametrize("places", [3, 1000])
def test_burst_is_answered_a_part_in_each_turn(site, places):
    """Who is connected already is served, however many want to connect."""
    turns, clock = [], Turns()
    serving = Serving(site, clock=clock, max_connections=places, wrap=(
        lambda sock: turns.append(clock.reads) or sock))
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(serving.port)) for _ in range(150)]
        for wire in wires:
            wire.send(GET_PROBE)
        with serving:
            for wire in wires:
                assert wire.response().content == PROBE
                wire.sock.close()
    assert len(turns) == 150 and max(map(turns.count, turns)) < 100


def test_without_descriptors_nothing_spins(ground, monkeypatch):
    """The idle one makes room; then service returns."""
    def exhausted(sock):
        raise OSError(errno.EMFILE, "too many open files")
    with Stepped(ground) as serving, serving.reach("idle") as old:
        monkeypatch.setattr(socket.socket, "accept", exhausted)
        with serving.wire() as wire:
            wire.send(GET_PROBE)
            serving.turn(1)
            old.end()
            assert not spins(serving) and not wire.has_input()
            monkeypatch.undo()
            serving.turn(1)
            assert wire.response().content == PROBE


@needs("sendfile")
def test_many_large_files_take_turns(ground, monkeypatch):
    """None is slow, though each waits for seconds, and others for room."""
    sent, plain = [], os.sendfile

    def sendfile(out, file, start, count):
        sent.append((serving.clock.reads, out))
        if len(sent) > 15:
            return plain(out, file, start, min(count, 1 << 20))
        serving.clock.now += 1
        return plain(out, file, start, 4000)    # a socket takes three of these
    monkeypatch.setattr(os, "sendfile", sendfile)
    serving = Stepped(ground, limits=NO_TIME, max_connections=5)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(serving.wire()) for _ in range(6)]
        for wire in wires:
            wire.send(request_for("/big", CLOSE))
        with serving:
            for wire in wires:      # one by one: each has what it needs
                assert len(wire.rest()) > BIG
                wire.sock.close()
    turns = [turn for turn, _ in sent]
    assert len(set(turns)) == len(turns) > 40
    assert len({fd for _, fd in sent[:6]}) == 5


# ---- Crowds, descriptors and memory -----------------------------------------


def short_of_descriptors(folder, scratch, count):
    """Return a server of *folder* that has *count*, and thinks it has 512."""
    return Running(folder, shell="ulimit -n %d" % count,
                   env=lacking(scratch, ["resource"]))


# As macOS, which gives so many, whatever it says is the hard limit.
MACOS_LIMIT = """if True:
    import resource
    plain = resource.setrlimit
    def setrlimit(what, limits):
        if not 0 <= limits[0] <= 10240:
            raise ValueError("current limit exceeds maximum limit")
        plain(what, limits)
    resource.setrlimit = setrlimit"""


@pytest.mark.parametrize("code", ["", MACOS_LIMIT], ids=["Linux", "macOS"])
def test_many_clients_at_once(ground, code):
    """The limit of open files is raised; under select() the last has room."""
    need_descriptors(1100)
    with Running(ground, shell="ulimit -Sn 64", flags=after(code)
                 ) as running, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(1050)]
        if "poll" in WITHOUT:
            wires = wires[-1:]
        for wire in wires * 2:      # nobody has given way
            answer = wire.get("/large.bin", "Range: bytes=0-2000")
            assert answer.content == LARGE[:2001]


@needs("resource")
def test_server_in_a_program_leaves_its_limit_of_open_files(tmp_path):
    code = ("import resource, sys; sys.path.insert(0, %r); import httpd\n"
            "httpd.Server(%r, 0, '127.0.0.1').server_close()\n"
            "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])")
    assert subprocess.check_output(
        ["sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", sys.executable, "-c",
         code % (HERE, str(tmp_path))], timeout=PATIENCE) == b"64\n"


def test_too_few_open_files_to_serve(tmp_path):
    """It does not start, where it would accept nobody; 17 suffice."""
    resource = pytest.importorskip("resource")
    check_refusal(start(
        "-d", str(tmp_path), "0", flags=[], preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))),
        "only 16 files may be open: the server needs at least 17, and one"
        " more for each client. Raise the limit: ulimit -n 1024")
    with Running(tmp_path, "--log-file", os.devnull, flags=[],
                 shell="ulimit -n 17") as running:
        with Wire(running.port) as wire:
            assert wire.get("/nothing").status == 404


def test_running_out_of_descriptors(ground, tmp_path):
    """Service returns; after a signal what is in flight is completed."""
    with short_of_descriptors(ground, tmp_path, 40) as running, (
            contextlib.ExitStack()) as stack:
        def crowd():
            wires = [stack.enter_context(Wire(running.port))
                     for _ in range(60)]
            wait_until(lambda: running.descriptors() >= 39, "a full table")
            return wires

        def busy():
            with contextlib.suppress(OSError, AssertionError):
                wire = stack.enter_context(Wire(running.port))
                assert b" 200 " in wire.send(request_for("/big")).head()
                return wire
        for wire in crowd():
            wire.sock.close()
        wire = wait_until(busy, "service")
        crowd()
        running.process.send_signal(signal.SIGTERM)
        assert len(wire.take(BIG)) == BIG


def test_failure_for_lack_of_descriptors_passes(ground, tmp_path):
    """503 while nothing can be opened; the right answer afterwards."""
    with short_of_descriptors(ground, tmp_path, 30) as running, (
            Wire(running.port)) as wire:
        assert wire.get("/nothing").status == 404
        free = 30 - running.descriptors()
        with contextlib.ExitStack() as stack:
            for _ in range(free):
                other = stack.enter_context(Wire(running.port))
                assert other.get("/nothing").status in (404, 503)
            for target in ("/probe.txt", "/list/", "/probe.txt", "/list/"):
                assert wire.get(target).status == 503
        wait_until(lambda: running.descriptors() <= 30 - free, "closing")
        for target in ("/probe.txt", "/list/", "/large.bin"):
            assert wire.get(target).status == 200


HARM = {    # what a client that does harm sends at first
    "silent": b"", "idle": GET_PROBE, "drips": b"G",
    "lingers": request_for("/probe.txt", "Content-Length: 9"),
    "never reads": request_for("/big%d")}


def slowest_in_crowd(folder, kinds, limit):
    """Return how long one waits at most while three times *limit* come."""
    with Running(folder, "--max-connections", "1000",   # more than it can
                 shell="ulimit -n %d" % limit) as running:
        def ask():
            began = time.monotonic()
            with Wire(running.port) as wire:
                assert wire.get("/probe.txt").content == PROBE
                assert wire.get("/%s" % began).status == 404    # a new name
            return time.monotonic() - began
        slowest = [ask()]
        before, dripping = running.descriptors(), []
        with contextlib.ExitStack() as stack:
            for number, kind in zip(range(3 * limit), itertools.cycle(kinds)):
                wire = stack.enter_context(Wire(running.port))
                with contextlib.suppress(OSError):
                    wire.send(HARM[kind].replace(b"%d", b"%d" % (number % 40)))
                if kind in ("drips", "lingers"):
                    dripping.append(wire)
                if number % (limit // 4) == 0 and number > limit:
                    for wire in dripping:
                        with contextlib.suppress(OSError):
                            wire.send(b"G")
                    slowest.append(ask())
        wait_until(lambda: running.descriptors() <= before, "closing")
        return max(slowest)


@needs("resource")     # else it knows no limit
@pytest.mark.parametrize("kinds", [*([kind] for kind in sorted(HARM)),
                                   sorted(HARM)], ids=lambda kinds: kinds[-1])
def test_honest_client_in_a_hostile_crowd(ground, kinds):
    slowest_in_crowd(ground, kinds, 64)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [64, 256])
def test_honest_client_waits_less_than_a_second(ground, limit):
    assert slowest_in_crowd(ground, sorted(HARM), limit) < 1


# A server with small limits; its sockets take so many bytes.
SMALL_SERVER = """if True:
    import socket, sys
    sys.path.insert(0, %r)
    import httpd
    cert, key = (sys.argv[4:-1] or [None, None])[:2]
    server = httpd.Server(
        sys.argv[3], 0, tls_cert=cert, tls_key=key, wrap=lambda sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, %d) or sock,
        access_log=httpd.AccessLog(1), head=True, limits=dict.fromkeys(
            ["KNOWN_MAX", "KEPT_MAX", "MADE_MAX"], 1 << 18))
    server.handle_signals()
    print(server.url, "Ctrl-C", file=sys.stderr, flush=True)
    server.serve_forever()
"""
KINDS_OF_HEADS = {      # from a number to a request
    "short": lambda n: ("/probe.txt?%d" % n,),
    "escaped": lambda n: ("/" + "\xff" * 1800 + "?%d" % n,),
    "names": lambda n: ("/digits", *["X%d-%d:" % (k, n) for k in range(95)]),
    "tag": lambda n: ("/digits", 'If-None-Match: "%01000x"' % n),
    "long": lambda n: ("/digits", 'If-None-Match: "%04000x"' % n),
    "coding": lambda n: ("/digits", "Accept-Encoding: x-%01000d" % n)}
KINDS_OF_ANSWERS = {
    "range": lambda n: ("/large.bin", "Range: bytes=%d-%d" % (n, n + 9000)),
    "ranges": lambda n: ("/large.bin", "Range: bytes=" + ",".join(
        "%d-%d" % (n + k, n + k + 100) for k in range(0, 6000, 200))),
    "large ranges": lambda n: ("/large.bin", "Range: bytes=%d-" % n),
    "parts": lambda n: ("/lines", "Range: bytes=%d-%d" % (n, n + 66000)),
    "listing": lambda n: ("/names/?%d" % n,),
    "coded": lambda n: ("/names/%0200d.txt" % (n // 4),
                        "Accept-Encoding: gzip"),
    "HEAD": lambda n: ("/names/%0200d.txt" % (n % 75),
                       "Accept-Encoding: gzip", 'If-None-Match: "%d"' % n)}
no_pypy = pytest.mark.skipif(PYPY, reason="its collector lets garbage wait")


def small_server(folder, size, *pair):
    """Return SMALL_SERVER, not compiled by itself: that takes memory."""
    where = os.path.dirname(compiled("httpd.py"))
    return Running(folder, *pair, flags=["-c", SMALL_SERVER % (where, size)])


@no_pypy
@table("kinds, count, kib", [(KINDS_OF_HEADS, 500, 5000, "heads"),
                             (KINDS_OF_ANSWERS, 300, 3000, "answers")])
def test_memory_is_bounded_for(tmp_path, kinds, count, kib):
    """No more of it is kept than the limits say: three of 256 KiB each."""
    write_files(tmp_path, {"digits": b"0", "large.bin": LARGE, "probe.txt":
                           PROBE, "lines": bytes(1 << 20)})
    write_files(tmp_path / "names", {
        "%0200d.txt" % n: LARGE[n:n + 40000].hex().encode()
        for n in range(75)})
    with small_server(tmp_path, 1 << 20) as running, Wire(
            running.port) as wire:
        before, descriptors = running.memory("RssAnon"), running.descriptors()
        for kind, chosen in kinds.items():
            method = "HEAD" if kind == "HEAD" else "GET"
            for start in range(0, count, 25):
                wire.send(b"".join(request_for(*chosen(n), method=method)
                                   for n in range(start, start + 25)))
                for _ in range(25):
                    assert wire.response(method).status in (200, 206, 404)
            assert running.memory("RssAnon") - before < kib, kind
            assert running.descriptors() < descriptors + 12     # large files


def test_nothing_is_compressed_while_memory_is_full(tmp_path):
    write_files(tmp_path, {str(n): bytes(1 << 20) for n in range(64)})
    write_files(tmp_path, {"text.txt": LARGE[:60000].hex().encode()})
    text = "/text.txt", "Accept-Encoding: gzip"
    with small_server(tmp_path, 9000) as running, (
            contextlib.ExitStack()) as stack, Wire(running.port) as wire:
        for n in range(64):
            reader = stack.enter_context(Wire(running.port))
            reader.send(request_for("/%d" % n)).head()
        assert "content-encoding" not in wire.get(*text).fields
        stack.close()
        wire.get("/0")
        assert wire.get(*text).fields["content-encoding"] == "gzip"


@no_pypy
@needs("epoll")      # others take as long for each call as there are clients
@needs("poll")
@table("sent, scheme, count, kib", [
    (GET_PROBE, BARE, 2000, 1, "idle ones are small"),
    (request_for("/vast"), BARE, 100, 70, "slow ones"),
    (request_for("/vast"), TLS, 100, 110, "slow ones over TLS")])
def test_memory_for_readers_is_bounded(ground, request, sent, scheme, count,
                                       kib):
    """64 KiB may wait to be sent, and what TLS takes."""
    need_descriptors(count)
    pair = request.getfixturevalue("certificate") if scheme == TLS else ()
    with small_server(ground, 9000, *pair) as running, (
            contextlib.ExitStack()) as stack:
        def come(count):
            for _ in range(count):
                wire = stack.enter_context(
                    TLSWire(running.port, pair[0]) if pair
                    else Wire(running.port))
                wire.send(sent).head()
        come(count // 5)
        before = running.memory("RssAnon")
        come(count)
        assert running.memory("RssAnon") - before < count * kib


# ---- Faults at every call ---------------------------------------------------

ON_SOCKETS = ["accept", "recv", "send", "sendfile"]
ON_FILES = ["open", "stat", "lstat", "fstat", "read", "lseek", "dup",
            "scandir", "listdir"]


class Fault:
    """Lets call *number* of *names* that a server makes fail, once.

    By *error*, or, where that is None, by doing less than it was asked for.
    `named` is the one that failed.
    """

    def __init__(self, number, error, names):
        self.number, self.error, self.names = number, error, names
        self.calls, self.named = 0, None

    def failing(self, name, plain, place=-1):
        """Return *plain*, whose argument at *place* says how much to do."""
        def call(*args, **kwargs):
            self.calls += name in self.names
            if name in self.names and self.calls == self.number:
                self.named = name
                if self.error:
                    raise OSError(self.error, os.strerror(self.error))
                args = list(args)
                args[place] = (args[place][:7] if name == "send"
                               else min(args[place], 7))
            return plain(*args, **kwargs)
        return call

    def patch(self, patch):
        """Let the calls that are not of a client's socket go through it."""
        selector = httpd.selectors.DefaultSelector
        for where, name in [(os, name) for name in ON_FILES + ["sendfile"]] + [
                (socket.socket, "accept"), (selector, "register"),
                (selector, "modify")]:
            if hasattr(where, name):
                patch.setattr(where, name, self.failing(
                    name, getattr(where, name)))

    def wrap(self, sock):
        """Return *sock*, whose calls go through it."""
        self.failing("wrap", id)(sock)
        return wrapped(sock, recv=self.failing("recv", sock.recv, 0),
                       send=self.failing("send", sock.send, 0))


EXPECTED = [("/probe.txt", 200), ("/probe.txt", 200), ("/middle", 200),
            ("/list/", 200), ("/link-in", 200), ("/nothing", 404)]


def exchanged(port):
    """Return the (status, content) of all that is answered of EXPECTED.

    The first two are asked for one by one, so that the second is kept; the
    others are pipelined.
    """
    answers = []
    with contextlib.suppress(OSError, AssertionError), Wire(port) as wire:
        for target, _ in EXPECTED[:2]:
            answers.append(wire.get(target))
        for target, status in EXPECTED[2:]:
            wire.send(request_for(target, *[CLOSE][:status == 404]))
        for _ in EXPECTED[2:]:
            answers.append(wire.response())
        wire.end()
    return [(answer.status, answer.content) for answer in answers]


def is_harmless(answer, right, fault):
    """Return whether *answer*, in place of the *right* one, does no harm.

    os.path.realpath() takes what it cannot look at for no link, so a link is
    not there for once, on its own or in the listing; what is outside never is.
    """
    unseen = fault.named == "lstat" or fault.error == errno.EIO
    rows, all_rows = [set(re.findall(b"<li>.*", content))
                      for _, content in (answer, right)]
    return answer == right or answer[0] in (500, 503) or unseen and (
        answer[0] == 404 or rows < all_rows)


@table("error, names", [(*row, row[0] or "short") for row in [
    ("EAGAIN", ON_SOCKETS), ("", ["recv", "send", "sendfile", "read"]),
    ("ECONNRESET", ON_SOCKETS), ("EHOSTUNREACH", ON_SOCKETS),
    ("EINVAL", ["sendfile"]), ("ENOMEM", ON_SOCKETS + ON_FILES + ["wrap"]),
    ("ENOSPC", ["register", "modify"]), ("EMFILE", ["accept", "open", "dup"]),
    ("EIO", ["sendfile", *ON_FILES])]])
def test_failure_of_any_call_is_one_clients_matter(ground, monkeypatch, error,
                                                   names):
    """At each n: no traceback, nothing left open, no wrong byte; the log has
    what was answered, and the next client gets everything.
    """
    if names == ["sendfile"] and not hasattr(os, "sendfile"):
        pytest.skip("no sendfile()")
    whole = None
    for number in itertools.count():
        one = Fault(number, getattr(errno, error, None), names)
        with monkeypatch.context() as patch, Serving(
                ground, r"(httpd\.py: (connection closed|cannot)[^\n]*\n)*",
                wrap=one.wrap) as serving:
            one.patch(patch)
            answers = exchanged(serving.port)
            is_over, one.number = one.calls < number, -1
            whole = whole or answers
            told = "%s at call %d, %s" % (error, number, one.named)
            assert exchanged(serving.port) == whole, told
            lines = serving.log_lines()
        assert not open_below(ground), told
        assert all(is_harmless(answer, right, one) for answer, right in zip(
            answers, whole)), told
        assert error not in ("EAGAIN", "", "EINVAL") or answers == whole, told
        statuses = [int(line.split('" ')[1].split()[0]) for line in lines]
        assert statuses[:len(answers)] == [code for code, _ in answers], told
        assert len(lines) <= 2 * len(whole), told
        if is_over:
            break
    assert [code for code, _ in whole] == [code for _, code in EXPECTED]
    assert number > (5 if names == ON_SOCKETS else 1)


@pytest.mark.parametrize("before", [0, 1])
def test_bug_in_one_request_is_500_and_the_server_goes_on(
        ground, monkeypatch, before):
    """Behind another one in the same connection, too."""
    plain = os.stat

    def broken(path, *args, **kwargs):
        if os.path.basename(path) == b"bug":
            raise RuntimeError("a bug")
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "stat", broken)
    with Serving(ground, r".*Traceback.*RuntimeError: a bug\s*") as serving:
        with Wire(serving.port) as wire:
            wire.send(before * GET_PROBE + request_for("/bug") + GET_PROBE)
            for _ in range(before):
                assert wire.response().content == PROBE
            assert wire.response().status == 500
            wire.end()
        with Wire(serving.port) as wire:
            assert wire.get("/probe.txt").content == PROBE
        assert '" 500 ' in serving.logged("GET /bug")


@pytest.mark.parametrize("leave", [
    lambda wire: wire.sock.shutdown(socket.SHUT_WR), Wire.reset,
    lambda wire: wire.sock.close()], ids=["half-closed", "reset", "closed"])
@table("data, count", [
    (b"", 0, "connected"), (b"GET /left HT", 1, "head"),
    (GET_PROBE, 1, "idle"), (request_for("/big"), 1, "sending"),
    (GET_PROBE + request_for("/big"), 2, "behind another"),
    (request_for("/digest", "Want-Repr-Digest: sha-256=1"), 1, "preparing"),
    (request_for("/probe.txt", "Content-Length: 9"), 1, "lingering")])
def test_clients_that_leave_in_every_state(ground, leave, data, count):
    """None is kept, nor a descriptor of it, nor a line of the log lost."""
    socks = []
    with Serving(ground, wrap=lambda sock: socks.append(sock) or sock,
                 clock=Clock(), limits={"TURN_SECONDS": 0.0001}) as serving:
        with Wire(serving.port) as wire:
            wire.send(data)
            serving.sync()
            leave(wire)
            if wire.sock.fileno() >= 0:
                wire.rest()
            wait_until(lambda: socks[0].fileno() < 0, "its end")
        serving.logged("", count + 2)   # two of sync()
    assert not open_below(ground)


# ---- Files and folders that change ------------------------------------------


@pytest.mark.parametrize("size", [8 << 10, 128 << 10])
def test_file_that_is_replaced_under_load(tmp_path, size):
    """Each body is one whole version, and no ETag ever names two.

    A 503 is given where ten versions in a row were gone as they were read.
    """
    page, spare = tmp_path / "page.txt", tmp_path / "spare"
    page.write_bytes(b"original" * (size // 8))
    seen, end = {}, threading.Event()

    def replace():
        for number in itertools.count():
            spare.write_bytes(b"%07d\n" % number * (size // 8))
            os.replace(str(spare), str(page))
            if end.wait(0 if number % 50 else 0.08):    # to get an ETag
                return
    thread = threading.Thread(target=replace)
    with Running(tmp_path) as running, Wire(running.port) as wire:
        thread.start()
        try:
            while len(seen) < 50 or not any(
                    '"' in tag and coded for tag, (coded, _) in seen.items()):
                for coding in ("identity", "gzip"):
                    answer = wire.get("/page.txt",
                                      "Accept-Encoding: " + coding)
                    if answer.status == 503:
                        continue
                    content = answer.content
                    is_coded = "content-encoding" in answer.fields
                    if is_coded:
                        content = gzip.decompress(content)
                    assert content == content[:8] * (size // 8), answer
                    facts = is_coded, content[:8]
                    assert facts == seen.setdefault(
                        answer.fields.get("etag", str(facts)), facts)
        finally:
            end.set()
            thread.join()


@pytest.mark.parametrize("times", [1, 1000])
def test_file_that_is_rewritten_while_it_is_read(tmp_path, monkeypatch, times):
    """In place, after the first half: the answer is the new version; 503 if
    it changes each time that it is read.
    """
    page, plain, done = tmp_path / "page", os.read, []
    page.write_bytes(b"a" * 1000)
    os.utime(str(page), (1, 1))

    def half(fd, size):
        if size != 1000 or len(done) == times:
            return plain(fd, size)
        done.append(plain(fd, 500))
        page.write_bytes(b"b" * 1000)
        os.utime(str(page), (1, len(done) + 1))
        return done[-1]
    monkeypatch.setattr(os, "read", half)
    with Serving(tmp_path) as serving, Wire(serving.port) as wire:
        answer = wire.get("/page")
        if times == 1000:
            assert answer.status == 503 and 1 < len(done) < 100, answer
            times = len(done)
            answer = wire.get("/page")
        assert answer.content == b"b" * 1000, answer


@pytest.mark.parametrize("change", ["grow", "replace"])
def test_file_that_changes_while_it_is_sent(tmp_path, change):
    """What was open is sent to its end, and not a byte of anything else."""
    path, new = tmp_path / "changing", tmp_path / "new"
    path.write_bytes(b"a" * BIG)
    new.write_bytes(b"b" * BIG)
    with Stepped(tmp_path) as serving, serving.wire() as wire:
        assert b"Content-Length: %d\r\n" % BIG in wire.send(
            request_for("/changing", CLOSE)).head()
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"b" * 1000)
        else:
            os.replace(str(new), str(path))
        assert wire.rest() == b"a" * BIG
        with serving.wire() as other:
            answer = other.get("/changing", "Range: bytes=-1")
            assert (answer.status, answer.content) == (206, b"b")


@table("swap, later", [
    (os.mkdir, 301, "a folder"), (os.mkfifo, 404, "a FIFO"),
    (lambda path: os.mknod(path, stat.S_IFSOCK), 404, "a socket"),
    (lambda path: None, 404, "nothing"),
    (lambda path: os.symlink("../secret.txt", path), 404, "a link out")])
def test_file_that_is_swapped_between_check_and_open(tmp_path, monkeypatch,
                                                     swap, later):
    """It is 404, nothing blocks, and nothing outside is ever served."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (root / "page").write_text("inside")
    page, plain, swapped = str(root / "page"), os.open, []

    def swapping(path, *args, **kwargs):
        if os.path.basename(path) == b"page" and not swapped:
            swapped.append(True)
            os.unlink(page)
            swap(page)
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "open", swapping)
    with Serving(root) as serving, Wire(serving.port) as wire:
        assert wire.get("/page").status == 404 and swapped
        assert wire.get("/page").status == later
    assert not open_below(tmp_path)


def test_special_file_is_not_even_opened(ground, monkeypatch):
    """To open a device can set it going."""
    opened, plain = [], os.open

    def recording(path, *args, **kwargs):
        opened.append(os.path.basename(path))
        return plain(path, *args, **kwargs)
    monkeypatch.setattr(os, "open", recording)
    with Serving(ground) as serving, Wire(serving.port) as wire:
        assert wire.get("/fifo").status == 404
        assert wire.get("/probe.txt").status == 200
    assert b"fifo" not in opened and b"probe.txt" in opened


class Midway(Clock):
    """A clock that calls act() once, as it is read in a turn in the midst of
    the listing of a folder of 300 files: the first thing asked for.
    """

    def __init__(self, folder, act):
        super().__init__()
        self.reads, self.act = 0, act
        folder.mkdir()
        for number in range(300):
            (folder / ("%03d.txt" % number)).write_bytes(b"")

    def __call__(self):
        self.reads += 1
        if self.reads == 12:
            self.act()
        return self.now


@pytest.mark.parametrize("scheme", [BARE, TLS])
def test_listing_ends_when_its_client_is_gone(tmp_path, request, scheme):
    """Within a second, though nothing is sent meanwhile."""
    def act():
        wires[0].reset()
        clock.now += 1.1
    options, wires = {}, []
    if scheme == TLS:
        cert, key = request.getfixturevalue("certificate")
        options.update(tls_cert=cert, tls_key=key)
    clock = Midway(tmp_path / "folder", act)
    with Serving(tmp_path, clock=clock, limits=NO_TIME, **options) as serving:
        wires.append(TLSWire(serving.port, cert) if options
                     else Wire(serving.port))
        wires[0].send(request_for("/folder/"))
        serving.logged("GET /folder/")
        assert clock.reads < 18     # it would take more to finish
    assert not open_below(tmp_path)


@table("change, status", [
    ("rename", 404, "renamed"), ("replace", 200, "replaced")])
def test_folder_that_goes_while_it_is_listed(tmp_path, change, status):
    """Its listing is whole, or an error that is said, as no bug."""
    folder = tmp_path / "folder"

    def act():
        folder.rename(tmp_path / "away")
        if change == "replace":
            folder.mkdir()
            (folder / "other.txt").write_bytes(b"")
    with Serving(tmp_path, clock=Midway(folder, act), limits=NO_TIME
                 ) as serving, Wire(serving.port) as wire:
        answer = wire.get("/folder/")
        assert (tmp_path / "away").exists() and answer.status == status, answer
        if change == "replace":     # one of them, and that alone
            assert answer.content.count(b".txt <i>") == (
                1 if b"other" in answer.content else 300)
        assert wire.get("/folder/").status == status


# ---- Where a platform lacks something ---------------------------------------

# Targets, a field line, the status; the content is that of PLACES, or as told.
ASKED = [
    ("/probe.txt /digits /large.bin /empty.txt /folder/sub/deep.css", "X: y",
     200, None),
    ("/link-in", "X: y", 200, HELLO), ("/folder", "X: y", 301, None),
    ("/folder/", "X: y", 200, b"folder's own"),
    ("/latin%E9.txt", "X: y", 200, b"no UTF-8"),
    ("/nothing /digits/x /fifo /%2e%2e/secret.txt /.hidden /link-out"
     " /link-out-folder/secret.txt /link-loop /link-hidden", "X: y", 404,
     None),
    ("/digits", "Range: bytes=2-4", 206, b"234"),
    ("/digits", "If-None-Match: *", 304, b""),
    ("/large.bin", "Range: bytes=-100000", 206, LARGE[-100000:])]


@pytest.mark.parametrize("missing", sorted(MISSING))
def test_platform_without(ground, tmp_path, missing):
    """Where the platform lacks something, all that is asked for is there."""
    if missing == "O_PATH" and not hasattr(os, "O_PATH"):
        pytest.skip("it is missing here anyway")
    if missing == "poll" and PYPY:
        pytest.skip("PyPy's own hashlib needs select.poll()")
    with Running(ground, env=lacking(tmp_path, [missing])) as running, (
            contextlib.ExitStack()) as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(30)]
        for targets, field, status, content in ASKED:
            for target in targets.split():
                answer = wires[0].get(target, field)
                assert answer.status == status, (target, answer)
                if status < 300 or content is not None:
                    assert answer.content == (
                        PLACES[target[1:]] if content is None else content)
        assert re.findall(b'<li><a href="([^"]*)"', wires[0].get(
            "/list/").content) == [b"../", b"empty/", b"%3Ci%3E%26%22.txt",
                               b"b.txt", b"in", b"link-in"]
        answer = wires[0].get("/script.js", "Accept-Encoding: gzip")
        assert gzip.decompress(answer.content) == MANY_LINES
        for wire in wires:      # pipelined, and the last one half-closed
            wire.send(request_for("/large.bin") + GET_PROBE)
        wire.sock.shutdown(socket.SHUT_WR)
        for wire in wires:
            assert wire.response().content == LARGE
            assert wire.response().content == PROBE
        wire.end()


def test_platform_without_is_so(tmp_path):
    """What is to be missing in other tests is missing."""
    code = ("import os, selectors, socket; print(hasattr(os, 'sendfile'),"
            " hasattr(socket, 'MSG_MORE'), selectors.DefaultSelector)")
    out = subprocess.check_output(
        [sys.executable, "-c", code], timeout=PATIENCE,
        env=lacking(tmp_path, ["sendfile", "MSG_MORE", "poll"]))
    assert out == b"False False <class 'selectors.SelectSelector'>\n"


# ---- Whatever comes ---------------------------------------------------------


def test_fuzz_what_comes_from_servers(tmp_path):
    """The client ends in order, and writes nothing but in its folder."""
    chance, statuses, sent = random.Random(FUZZ_SEED), [], []
    samples = [
        ok(ONE, TIME_FIELD, TAG_A), piece_of("3-8/9"), in_chunks(ONE, b""),
        ok(b"", b"Content-Range: bytes */3", status=b"416 ")]
    listings = [ok(page, *[JSON_TYPE] * page.startswith(b"["))
                for page in LISTINGS]
    home = tmp_path / "home"

    def script(head):
        sent.append(spoiled(
            chance, listings if b"/folder/ " in head else samples))
        return sent[-1]
    with ScriptedServer(script) as server:
        for number in range(FUZZ_HEADS // 50):
            home.mkdir()
            (home / "file.part").write_bytes(b"hel")
            sent.clear()
            result = get_here(
                "-q", "--retries", "1", "--timeout", PATIENCE,
                *(["-c", "-o", home / "file", server.url()] if number % 2
                  else ["-r", "-P", home, server.url("/folder/")]))
            assert result.status in range(1 << 3), (sent, result)
            assert os.listdir(str(tmp_path)) == ["home"], (sent, result)
            statuses.append(result.status)
            shutil.rmtree(str(home))
    assert len(set(statuses)) > 2 and statuses.count(0) > number // 20


def fuzz_targets(chance, count):
    """No target leads above the root, or to a name that is none."""
    seen = []
    for windows in [False, True] * count:
        target = spoiled(chance, [
            b"/a/b%20c?x=y", b"/%2e%2e/x", b"/a/../b/./c/", b"//a//b",
            b"/%C3%A9/%FF", b"http://a/b", b"/.well-known/x", b"/a%2f%5cb",
            b"/con.txt::$DATA", b"/%c0%ae/~/%u002e"])
        try:
            request = httpd.parse_request(TARGET % target)
            segments, _ = httpd.path_segments(request.path, windows)
        except httpd.HTTPError as error:
            seen.append(error.status)
            continue
        seen.append(200)
        for name in segments:
            assert name not in (b"", b".", b".."), target
            assert not set(name) & set(b"/\0\\:" if windows else b"/\0"), (
                target)
            location = httpd.folder_reference(name)
            assert re.fullmatch(r"\./[\w.~%-]+/", location, re.ASCII), target
    assert {200, 400, 404} <= set(seen) and seen.count(200) > count // 10


def test_fuzz_targets():
    fuzz_targets(random.Random(FUZZ_SEED), FUZZ_HEADS // 2)


HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
    http-reuse always
listen front
    bind unix@%s
    http-request set-header User-Agent front
    server one 127.0.0.1:%d
"""


@pytest.mark.slow
@needs("AF_UNIX")
def test_no_request_is_smuggled_past_a_front_end(ground, tmp_path):
    """HAProxy and the server agree where each of REQUESTS ends, with a
    request as its content, or behind that.

    What the front end takes for a request has its User-Agent: one that only
    the server sees has not.  And each client gets its own answers, which
    tell by Location what was asked.
    """
    need("haproxy")
    front, config = tempfile.mktemp(dir=SCRATCH), tmp_path / "config"
    length = b": %d\r\n" % len(GET_PROBE)
    with Running(ground) as running:
        config.write_text(HAPROXY % (front, running.port))
        with subprocess.Popen(["haproxy", "-db", "-f", str(config)],
                              env=dict(os.environ, PATH=SBIN)) as process:
            try:
                wait_until(lambda: os.path.exists(front), "HAProxy")
                for number, ((head, _, why), last) in enumerate(
                        itertools.product(REQUESTS, (b"", b"0\r\n\r\n"))):
                    with Wire(0, front) as wire, contextlib.suppress(OSError):
                        wire.send(head.replace(b": 5\r\n", length) + last
                                  + GET_PROBE)
                        wire.sock.shutdown(socket.SHUT_WR)
                        wire.rest()
                    with Wire(0, front) as wire:
                        answer = wire.get("/folder?%d" % number)
                        assert answer.fields["location"].endswith(
                            "/folder/?%d" % number), (why, answer)
            finally:
                process.terminate()
        running.logged("/folder?%d " % number)
        lines = running.log_lines()
    assert len(lines) > 1.2 * number
    for line in lines:
        assert re.search('" (400|414|431|505) | "front"$', line), line


def test_readme_names_tests_that_there_are():
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
        text = file.read().split("### What its security rests on\n")[1]
    cells = re.findall(r"^\|.*\|.*\|(.*)\|$", text.split("\n### ")[0],
                       re.MULTILINE)
    names = re.findall("`([a-z0-9_]+)`", "".join(cells[2:]))
    assert len(names) > 25
    assert not [name for name in names if "test_" + name not in globals()]


# ---- Costs, counted ---------------------------------------------------------

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/task"),
                                reason="needs Linux's /proc")


def check_serves(*where):
    """Check that a connection to *where* gets probe.txt."""
    with Wire(*where) as wire:
        answer = wire.get("/probe.txt")
        assert answer.content == PROBE, answer


def put_large(path, content=b"", size=2 * BIG):
    """Put a file at *path* that goes out by sendfile; of zeros at its end."""
    with open(str(path), "wb") as file:
        file.write(content)
        file.truncate(size)


class Counting(Serving):
    """A server whose calls are counted, and which a test can hold up: what
    is sent meanwhile comes to it at once.
    """

    def __init__(self, directory, patch):
        self.calls = dict.fromkeys(
            ["recv", "send", "look", "open", "read", "write", "watch"], 0)
        self.is_held, self.barrier = False, threading.Barrier(2, None, 30)
        super().__init__(directory, clock=self._hold, wrap=lambda sock: (
            wrapped(sock, recv=self.counted(sock.recv, "recv"),
                    send=self.counted(sock.send, "send"))))
        for owner, name, kind in (
                (os, "stat", "look"), (os, "lstat", "look"),
                (os, "fstat", "look"), (os, "open", "open"),
                (os, "read", "read"), (os, "write", "write"),
                (selectors.DefaultSelector, "register", "watch")):
            patch.setattr(owner, name, self.counted(
                getattr(owner, name), kind))

    def counted(self, plain, kind):
        """Return *plain* that counts its calls as *kind*."""
        def call(*args, **kwargs):
            self.calls[kind] += 1
            return plain(*args, **kwargs)
        return call

    def _hold(self):    # as a clock it is called in each turn
        if self.is_held:
            self.barrier.wait()
            self.barrier.wait()
        return 1000.0

    @contextlib.contextmanager
    def held(self):
        """Let the server do nothing in the block."""
        self.is_held = True
        self.server.wake()
        self.barrier.wait()
        self.is_held = False
        yield
        self.barrier.wait()


PIECES = dict.fromkeys(["send", "read", "watch"])     # as it happens


@table("clients, data, dearer", [
    (1, GET_PROBE, {}, "a small file"),
    (1, request_for("/probe.txt", "If-None-Match: *"), {}, "304"),
    (1, request_for("/probe.txt", "Range: bytes=1-"), {}, "a small part"),
    (1, request_for("/folder"), {}, "a redirect"),
    (1, request_for("/none"), {"look": 3}, "404, no none.html, no 404.html"),
    (1, request_for("/.none"), {}, "hidden: only 404.html is looked for"),
    (1, request_for("/page"), {"look": 2}, "no page, but page.html"),
    (1, request_for("/folder/"), {"look": 2}, "a folder and its page"),
    (1, request_for("/large.bin"), PIECES, "a large file"),
    (1, request_for("/large.bin", "Range: bytes=9-"), PIECES, "a large part"),
    (1, GET_PROBE * 10, {}, "ten together"),
    (2, GET_PROBE, {"recv": 2, "send": 2}, "two look once, and log once"),
    (0, request_for("/probe.txt", "Connection: close"), {},
     "a new connection, which is not watched")])
def test_cost(tmp_path, monkeypatch, clients, data, dearer):
    """Asked again: one recv, one look at the file, one send, one write."""
    (tmp_path / "folder").mkdir()
    for name, content in (("large.bin", LARGE), ("probe.txt", PROBE),
                          ("page.html", b"page"),
                          ("folder/index.html", b"page")):
        (tmp_path / name).write_bytes(content)
    wait_until_settled(tmp_path / name)
    with Counting(tmp_path, monkeypatch) as serving, (
            contextlib.ExitStack()) as stack:
        def connect():
            return stack.enter_context(Wire(serving.port))
        kept = [connect() for _ in range(clients)]
        dates = []

        def ask(times):
            """Return how many calls of each kind so many steps take."""
            before = dict(serving.calls)
            for _ in range(times):
                with serving.held():
                    wires = kept or [connect()]
                    for wire in wires:
                        wire.send(data)
                dates.extend(wire.response().fields["date"] for wire in wires
                             for _ in range(data.count(b"GET")))
            serving.logged("GET /", len(dates))
            return {kind: calls - before[kind]
                    for kind, calls in serving.calls.items()}
        ask(2)
        found = ask(10)
        while dates[-1] != dates[-10]:  # a file may be opened in each second
            found = ask(10)
    expected = dict.fromkeys(serving.calls, 0)
    expected.update({"recv": 1, "look": 1, "send": 1, "write": 1}, **dearer)
    for kind, calls in expected.items():
        assert calls is None or found[kind] == 10 * calls, (kind, found)


@needs_proc
def test_open_large_files_are_few(tmp_path, monkeypatch):
    """However many are asked for.  They are closed where descriptors lack,
    and soon.
    """
    for number in range(24):
        put_large(tmp_path / str(number), size=3 << 20)
    wait_until_settled(tmp_path / "23")
    plain = os.open

    def scarce(path, *args, **kwargs):
        if open_below(tmp_path):
            raise OSError(errno.EMFILE, "too many open files")
        return plain(path, *args, **kwargs)
    with Serving(tmp_path) as serving, Wire(serving.port) as wire:
        for number in range(24):
            assert len(wire.get("/%d" % number).content) == 3 << 20
            assert len(open_below(tmp_path)) <= 8
        monkeypatch.setattr(os, "open", scarce)
        assert wire.get("/1").status == 200
        wait_until(lambda: not open_below(tmp_path), "closing")


@needs_proc
def test_clients_of_a_large_file_share_its_descriptor(tmp_path):
    """Whatever part they ask for, or half as many would find room."""
    put_large(tmp_path / "large")
    with Serving(tmp_path) as serving, contextlib.ExitStack() as stack:
        for number in range(20):
            wire = stack.enter_context(Wire(serving.port))
            wire.send(request_for("/large", "Range: bytes=%d-" % number))
            assert b" 206 " in wire.head()
        assert len(open_below(tmp_path)) == 1


def test_block_that_raises_ends_at_once(tmp_path):
    """What that cuts off is logged.  The clock stands still: no deadline."""
    put_large(tmp_path / "big")
    serving = Serving(tmp_path, clock=Clock())
    with open(serving.log_file.name) as log:
        with pytest.raises(ZeroDivisionError), serving:
            with Wire(serving.port) as wire:
                wire.send(request_for("/big")).head()
                1 / 0
        assert re.search(r'"GET /big HTTP/1\.1" 200 [0-9]+ ', log.read())


# ---- Processes and command line ---------------------------------------------


@pytest.fixture(scope="session")
def open_folder():
    """A folder that every user can read, and nobody changes."""
    folder = tempfile.mkdtemp()     # not in pytest's, which is its user's
    atexit.register(shutil.rmtree, folder, True)
    put_large(os.path.join(folder, "big"))
    for name, content in (("index.html", b"page"), ("probe.txt", PROBE),
                          ("private.txt", b"private"),
                          (".hidden", b"hidden"), ("text.js", b"text" * 1000)):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    os.mkdir(os.path.join(folder, "list"))
    os.symlink("/etc/passwd", os.path.join(folder, "link-out"))
    os.chmod(os.path.join(folder, "private.txt"), 0o600)
    os.chmod(folder, 0o755)
    return folder


def start(*argv, flags=DEV, **popen):
    """Run httpd.py, which is to end by itself, as a process."""
    done = subprocess.run(
        [sys.executable, *flags, compiled("httpd.py"), *argv],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE,
        **popen)
    return Ended(done.returncode, done.stdout, done.stderr)


@table("options, status, words", [
    ("65536", 2, "'65536'; from 0 to 65535", "no port above"),
    ("-p http", 2, "'http'; from 0 to 65535", "no port's number"),
    ("1 -q 2", 2, "two ports, 1 and 2; ./ before", "two words of digits"),
    ("-p 1 2", 2, "two ports, 1 and 2", "a word and an option"),
    ("a -q b", 2, "two folders, a and b", "two words"),
    ("-d a b", 2, "two folders, a and b", "the same"),
    ("-d a /b:80", 2, "two folders, a and /b:80", "a port in a path"),
    ("-d a -d none", 1, "cannot serve none", "the last one of two"),
    ("--auth a --auth b", 2, "one user; --auth-file", "two users"),
    ("a 0.0.0.0:80", 2, "address; write --bind 0.0.0.0 80", "no folder"),
    ("http://localhost:9000/", 2, "--bind localhost 9000", "a URL"),
    ("localhost", 2, "address; write --bind localhost", "a name alone"),
    ("127.0.0.1", 2, "write --bind 127.0.0.1", "an address alone"),
    ("::", 2, "address; write --bind ::", "of IPv6"),
    ("C:80", 1, "cannot serve C:80", "a drive"),
    ("--dir .", 2, "option --dir; mean --directory?", "abbreviated"),
    ("--log-form=json", 2, "option --log-form; --log-format?", "with a value"),
    ("--prot 80", 2, "option --prot; mean --port?", "mistyped"),
    ("--bnid=::", 2, "option --bnid; mean --bind?", "mistyped, with a value"),
    ("-bind ::", 2, "option -bind; mean --bind?", "not -b ind"),
    ("-directroy a", 2, "option -directroy; --directory?", "not -d irectroy"),
    ("-prot 80", 2, "option -prot; mean --port?", "not -p rot"),
    ("-quite", 2, "option -quite; mean --quiet?", "not -q -u"),
    ("-dprot", 1, "cannot serve prot", "a folder at its option"),
    ("---port 80", 2, "option ---port; mean --port?", "three dashes"),
    ("-8080", 2, "error: unknown option -8080", "no port"),
    ("--8000", 2, "error: unknown option --8000", "nor this"),
    ("--listen 80", 2, "mean --bind or --port?", "as in serve"),
    ("-s dist", 2, "mean --spa?", "as in serve"),
    ("--cors", 2, "mean -H 'Access-Control-Allow-Origin: *'?", "no such"),
    ("-P 80", 2, "option -P; mean -p?", "a capital letter"),
    ("-x 80", 2, "error: unknown option -x", "like no other"),
    ("-qx 80", 2, "error: ; x", "like no other, behind one that is known"),
    ("--auth me:secret", 2, "--auth; alone; HTTPD_PASSWORD", "a password"),
    ("--auth= ", 2, "name is empty", "nobody"),
    ("--auth me --auth-file x", 2, "--auth; only one", "both"),
    ("--log-format x", 2, "'x'; 'common', 'json'", "no form of a log"),
    ("--idle-timeout 0", 2, "'0'; above 0", "no time"),
    ("--request-timeout inf", 2, "'inf'; above 0", "for ever"),
    ("--max-connections 0", 2, "'0'; above 0", "no connection"),
    ("--workers 0", 2, "'0'; auto; 1 to 256", "no worker"),
    ("--workers 257", 2, "'257'", "too many workers"),
    ("--trusted-proxy 10.0.0.1/8", 2, "10.0.0.1/8", "host bits"),
    ("--tls-key x", 2, "need --tls-cert", "a key alone"),
    ("-b 127.0.0.1 {port}", 1, "127.0.0.1 port {port}; in use; another port",
     "a port in use"),
    ("--auth me -b 127.0.0.1 {port}", 1, "in use",
     "the same, before a password is asked for"),
    ("-qw1 -d/nonexistent", 1, "/nonexistent; httpd.py DIR", "no folder"),
    ("-d ./file", 1, "is a file; httpd.py .", "a file"),
    ("-d a\x1bb", 1, "a\\x1bb", "a control character, escaped"),
    ("-- -file", 1, "-file; No such file", "a word behind --"),
    ("-b 127.0.0..1", 1, "at 127.0.0..1; not a name", "dots"),
    ("-b \udcff", 1, "not a name", "a byte that is no character"),
    ("-b 127.0.0.1:80", 1, "port stands alone; --bind 127.0.0.1 80", "both"),
    ("-b [::1]:80", 1, "port stands alone; --bind ::1 80", "both, IPv6"),
    ("-b [::1]", 1, "at [::1]; without brackets or", "in brackets"),
    ("-b ", 1, "at ''; without brackets or a port", "no address"),
    ("-b localhost -b 127.0.0.1", 1, "127.0.0.1; another --bind", "address"),
    ("-b 127.0.0.1 -b 0.0.0.0", 1, "at 0.0.0.0; another --bind", "and all"),
    ("-b :: -b 127.0.0.1", 1, "at 127.0.0.1; another --bind", "other family"),
    ("-b ::ffff:127.0.0.1", 1, "write; ::ffff:1.2.3.4 as 1.2.3.4", "mapped"),
    ("-b fe80::1:80", 1, "fe80::1%eth0", "without its interface"),
    ("-b unix:", 1, "unix:PATH", "a socket without a path"),
    ("-b unix:file", 1, "unix:file; not a socket", "a file's path"),
    ("-b unix:" + 200 * "s", 1, "sss; too long", "a long path"),
    ("-b unix:live", 1, "unix:live; in use", "another's socket"),
    ("-b unix:new -b 192.0.2.1", 1, "192.0.2.1", "one that was made before"),
    ("--log-file link", 1, "it is a link", "a log that is a link"),
    ("--log-file=", 1, "access log ''; No such file", "no log's name"),
    ("--user no-one", 1, "become no-one; no user", "no user"),
    ("--user root", 1, "that is root", "root")])
def test_what_keeps_it_from_starting(tmp_path, monkeypatch, options, status,
                                     words):
    """It names the thing and the remedy, and leaves nothing behind."""
    if "::" in options and not HAS_IPV6 or (
            "unix:" in options and "AF_UNIX" in WITHOUT):
        pytest.skip("none here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to("file")
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        if "unix:live" in options:
            live = stack.enter_context(socket.socket(socket.AF_UNIX))
            live.bind("live")
            live.listen(1)
        port = str(taken.getsockname()[1])
        options = options.replace("{port}", port).split(" ")
        ended = start_here(*options, *["0"][:not options[-1].isdigit()])
    said = ended.err.splitlines()
    assert (ended.status, ended.out) == (status, b""), ended
    assert len(said) == 1 if status == 1 else said[0] == (
        "usage: httpd.py [options] [port] [folder]"), ended
    assert "secret" not in ended.err
    for word in words.replace("{port}", port).split("; "):
        assert word in said[-1], ended
    assert {"file", "link"} == set(os.listdir(".")) - {"live"}, ended
    assert (tmp_path / "file").read_text() == "precious"


# What the kernel refuses: a method of sockets, why, and which arguments.
NO_IPV6 = ("__init__", errno.EAFNOSUPPORT,
           lambda family=0, *rest: family == socket.AF_INET6)
NO_RIGHT = "bind", errno.EACCES, lambda address: True
BINDS = itertools.count()
UNLUCKY = ("bind", errno.EADDRINUSE,    # three times
           lambda address: address[1] and next(BINDS) < 3)


def refuse(patch, method, number, does_apply):
    """Let sockets' *method* fail by *number* where that *does_apply*."""
    def changed(sock, *args, **settings):
        if does_apply(*args):
            raise OSError(number, os.strerror(number))
        return plain(sock, *args, **settings)
    plain = getattr(socket.socket, method)
    patch.setattr(socket.socket, method, changed)


@table("refused, options, words", [
    (NO_IPV6, "-b :: 0", "at ::; no IPv6; 0.0.0.0", "no IPv6"),
    (NO_RIGHT, "-b 127.0.0.1 80", "127.0.0.1 port 80: Perm; try 8080; --user",
     "80"),
    (NO_RIGHT, "-b 127.0.0.1 8080", "127.0.0.1 port 8080: Perm", "8080")])
def test_what_the_kernel_does_not_allow(monkeypatch, refused, options, words):
    refuse(monkeypatch, *refused)
    ended = start_here(*options.split())
    check_refusal(ended, *words.split("; "))
    assert ("try 8080" in ended.err) == ("try 8080" in words)


def test_workers_need_fork(monkeypatch):
    monkeypatch.delattr(os, "fork", raising=False)
    check_refusal(start_here("-w2", "0"), "cannot start 2 workers", "no fork")
    check_refusal(start_here("-w", "auto", "-d", "/nonexistent", "0"),
                  "cannot serve /nonexistent")      # one does without


@pytest.mark.skipif(not sys.platform.startswith("linux"),
                    reason="others do not remove it")
def test_current_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(str(tmp_path / "gone"))
    check_refusal(start_here("0"), "cannot serve .: ", "httpd.py DIR",
                  "current folder is gone")


RUN = {httpd: start_here, httpget: get_here}
each_program = pytest.mark.parametrize("module", RUN, ids=["httpd", "get"])


@each_program
def test_help(module, monkeypatch):
    """It fits a terminal, and its examples are right."""
    monkeypatch.setenv("COLUMNS", "80")
    run = RUN[module]
    ended = run("--help")
    text = ended.out.decode()
    assert (ended.status, ended.err) == (0, ""), ended
    assert max(map(len, text.splitlines())) <= 79
    examples = re.findall(r"(?m)^  python3 \S+ (.*?)(?:  |\||$)", text)
    assert len(examples) >= 5
    for example in examples:
        said = run(*example.split(), "--nonsense").err
        assert said.endswith("error: unknown option --nonsense\n")
    assert run("--version").out.decode().split() == [
        module.__name__ + ".py", module.__version__]


# What a socket of datagrams knows of a route.
ROUTES = """if True:
    import socket
    class Socket(socket.socket):
        def connect(self, address):
            if address[0] in %r:
                raise OSError("no route")
            if self.type == socket.SOCK_DGRAM:
                address = "::1" if ":" in address[0] else "127.0.0.1", 9
            super().connect(address)
    socket.socket = Socket
"""


@table("without, options, hosts", [
    ([], "-b 0.0.0.0", ["127.0.0.1"], "all of IPv4"),
    ([], "-b ::", ["127.0.0.1", "[::1]"], "all of both"),
    (["192.0.2.1"], "-b ::", ["[::1]"], "no route of IPv4"),
    (["192.0.2.1", "2001:db8::1"], "-b ::", [socket.gethostname()], "none"),
    ([], "-b 127.0.0.1 -b 127.0.0.2", [], "this machine alone"),
    ([], "-b unix:{path}", None, "a path")])
def test_what_others_can_type(open_folder, tmp_path, without, options, hosts):
    """It is said first, and last how to stop."""
    if "::" in options and not HAS_IPV6:
        pytest.skip("no IPv6")
    options = options.format(path=tmp_path / "socket")
    if "unix:" in options and "AF_UNIX" in WITHOUT:
        pytest.skip("no AF_UNIX")
    with Running(open_folder, *options.split(), flags=after(
            ROUTES % without)) as running:
        running.process.terminate()
        said = (running.start_message + running.process.stderr.read().decode()
                ).splitlines()
    assert [line for line in said if "can open" in line] == said[
        :len(hosts or [])] == [
            "httpd.py: other machines can open http://%s:%d/" % (
                host, running.port) for host in hosts or []]
    assert said[-1] == "httpd.py: press Ctrl-C to stop."
    assert ("add --bind ::" in said[-2]) == (hosts == [])


DOT = "; dot files are served only with --dotfiles"
TO_ALL = "other machines can connect and read this folder"
OPEN = ["-q", "-b", "0.0.0.0"]


@table("folder, options, warnings", [
    ("full", [], ["{full}/log"], "a log that the shell puts into the folder"),
    ("full", ["--log-file", "{link}/log"], ["{link}/log"],
     "a log through a link"),
    ("full", ["--log-file", "{full}/../log"], [], "a log elsewhere"),
    ("none", OPEN, [TO_ALL], "open to others"),
    ("full", OPEN, ["this folder holds .env, .git, a\\x1b.pem, all.pem,"
                    " id_ed25519 and 1 more" + DOT, TO_ALL],
     "private names, escaped"),
    ("home", OPEN, ["this is a home folder", "this folder holds .env" + DOT,
                    TO_ALL], "a home"),
    ("home", [*OPEN, "--dotfiles"], [
        "this is a home folder", "this folder holds .env", TO_ALL], "all"),
    ("none", ["-q", "--spa"], [
        "--spa serves /index.html, which this folder does not have",
        "HTTPD_PASSWORD is not used without --auth"], "what has no effect"),
    ("/", OPEN, ["this is the whole file system", TO_ALL], "all files")])
def test_warnings(tmp_path, folder, options, warnings):
    """What should not be seen by others is named."""
    paths = {name: str(tmp_path / name)
             for name in ("full", "none", "home", "link")}
    for name in ("full", "none", "home", "full/.git"):
        (tmp_path / name).mkdir()
    for name in ("server.key", "id_ed25519", "all.pem", "a\x1b.pem", ".env",
                 "key.txt", "id_rsa.pub", "../home/.env"):
        (tmp_path / "full" / name).write_text("")
    (tmp_path / "link").symlink_to("full")
    with (tmp_path / "full" / "log").open("ab") as log, Running(
            paths.get(folder, folder),
            *[word.format(**paths) for word in options],
            stdout=log, env=dict(os.environ, HOME=paths["home"], **{
                "HTTPD_PASSWORD": "x"} if "--spa" in options else {})
            ) as running:
        found = re.findall(r"WARNING: (.*)\.\n", running.start_message)
    if options or sys.platform.startswith("linux"):     # which tells the name
        assert found == [text.format(**paths) + (
            " is in the folder that is served; keep it elsewhere"
            if text.endswith("log") else "") for text in warnings]


def test_machine_without_dev_null(open_folder):
    """As a container may be; standard output is closed, too."""
    code = "import os\nos.devnull = '/nonexistent'\nos.close(0), os.close(1)"
    with Running(open_folder, says=r"(httpd\.py: [^\n]*log[^\n]*\n)*",
                 flags=after(code)) as running:
        check_serves(running.port)


@table("refused, bind, hosts", [
    (None, "::1", ["::1"], "IPv6"), (None, "localhost", ["127.0.0.1"], "name"),
    (None, "::", ["::1", "127.0.0.1"], "all of both"),
    (None, "0.0.0.0", ["127.0.0.1", "127.0.0.2"], "all of IPv4"),
    (NO_IPV6, "localhost", ["127.0.0.1"], "a name with an address too many"),
    (UNLUCKY, ["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "127.0.0.2"],
     "a free port that is taken at the other address")])
def test_bind(open_folder, tmp_path, monkeypatch, refused, bind, hosts):
    if "::1" in hosts and not HAS_IPV6:
        pytest.skip("no IPv6")
    info = socket.getaddrinfo
    if refused:
        refuse(monkeypatch, *refused)
    if refused is NO_IPV6:
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest: info(
            "::1", *rest) + info("127.0.0.1", *rest))
    with (tmp_path / "log").open("ab") as log, httpd.Server(
            open_folder, 0, bind,
            access_log=httpd.AccessLog(log.fileno())) as server:
        monkeypatch.undo()
        for host in hosts:
            check_serves(int(server.url.split(":")[-1][:-1]), host)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [
        "127.0.0.1" if "." in host else host for host in hosts]


@needs("AF_UNIX")
def test_bind_to_a_path(open_folder, tmp_path):
    """Beside a port; what nobody listens at any more is replaced.  It is its
    owner's and a group's alone, and is removed, but never what is another's.
    """
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    for another in (False, True):
        with Serving(open_folder, log_format="json",
                     bind=["unix:" + path, "127.0.0.1"]) as serving:
            assert stat.S_IMODE(os.lstat(path).st_mode) == 0o660
            assert serving.server.url == "unix:" + path
            check_serves(0, path)
            entry = json.loads(serving.logged("probe.txt"))
            assert (entry["address"], entry["port"]) == ("unix:", None)
            check_serves(int(serving.server.urls[1].split(":")[2][:-1]))
            if another:
                os.remove(path)
                open(path, "x").close()
        assert os.path.exists(path) == another


@pytest.mark.parametrize("family", [
    "AF_INET", pytest.param("AF_UNIX", marks=needs("AF_UNIX"))])
def test_sockets_of_systemd(open_folder, tmp_path, family):
    """They win over --bind, and outlive the server: nobody is refused."""
    path = str(tmp_path / "socket")
    with socket.socket(getattr(socket, family)) as sock:
        sock.bind(("127.0.0.1", 0) if family == "AF_INET" else path)
        sock.listen(8)
        where = (sock.getsockname()[1], "127.0.0.1") if (
            family == "AF_INET") else (0, path)
        for _ in range(2):
            with Wire(*where) as early:
                early.send(GET_PROBE)
                with Running(open_folder, "-b", "192.0.2.1",
                             **given(sock)) as running:
                    assert running.port == (where[0] or None)
                    assert early.response().content == PROBE
        assert family == "AF_INET" or os.path.exists(path)
        with Running(open_folder, "-b", "127.0.0.1",
                     **given(sock, pid=1)) as running:      # another's
            assert running.port != where[0]


@table("kind, count, words", [
    (socket.SOCK_STREAM, "1", "descriptor 3", "does not listen"),
    (socket.SOCK_DGRAM, "1", "descriptor 3", "of datagrams"),
    (None, "1", "descriptor 3", "a file"),
    (socket.SOCK_STREAM, "1_0", "'1_0'", "no number"),
    (socket.SOCK_STREAM, "-1", "'-1'", "less than one")])
def test_sockets_of_systemd_that_are_none(kind, count, words):
    with open(os.devnull) if kind is None else socket.socket(
            type=kind) as sock:
        check_refusal(start("0", **given(sock, count=count)), "LISTEN_FDS",
                      words)


@table("words, folder", [
    ("-q 0", ".", "the current folder, which has no htdocs"),
    ("0 -q sub", "sub", "a port and a folder"),
    ("sub -q 0", "sub", "turned round"), ("-qp0 -dsub", "sub", "options"),
    ("-p 0 -q -- sub", "sub", "an option and a word")])
def test_copied_alone(tmp_path, words, folder):
    """It serves what the command says."""
    shutil.copy(os.path.join(HERE, "httpd.py"), str(tmp_path))
    (tmp_path / "sub").mkdir()
    (tmp_path / folder / "probe.txt").write_bytes(PROBE)
    with subprocess.Popen([sys.executable, "-I", "httpd.py", *words.split()],
                          cwd=str(tmp_path), stderr=subprocess.PIPE
                          ) as process:
        said = process.stderr.readline().decode()
        found = re.search(r"serving (.*) at .*:([0-9]+)/\n", said)
        check_serves(int(found.group(2)))
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert found.group(1) == os.path.realpath(str(tmp_path / folder))


def test_each_option_has_its_effect(open_folder):
    with Running(
            open_folder, "-b", "127.0.0.1", "--no-listing", "--dotfiles",
            "--follow-symlinks", "--spa", "--head", "-H", "X-Test: yes", "-H",
            "X-Two: 2", "--log-format", "json", "--trusted-proxy",
            "127.0.0.1", "--idle-timeout", "0.2", "--request-timeout", "0.4",
            "--max-connections", "1") as running:
        for target, status in (("/list/", 404), ("/.hidden", 200),
                               ("/link-out", 200)):
            with Wire(running.port) as wire:
                answer = wire.get(target, "Accept: text/plain",
                                  "X-Forwarded-For: 192.0.2.1")
                assert answer.status == status, answer
        with Wire(running.port) as wire:
            answer = wire.get("/none", "Accept: text/html", method="HEAD")
            assert (answer.status, answer.fields["x-test"],
                    answer.fields["x-two"]) == (200, "yes", "2"), answer
            with Wire(running.port) as other:   # for which the first one goes
                other.send(GET_PROBE).response()
                wire.end()
                other.end()     # idle for long
        with Wire(running.port) as late:
            assert late.send(b"GET").response().status == 408
        entry = json.loads(running.logged("/list/"))
        assert entry["address"] == "192.0.2.1"


@both_kinds
@table("number, kill, again", [
    (signal.SIGINT, os.killpg, False, "Ctrl-C"),    # comes to the whole group
    (signal.SIGTERM, os.kill, False, "SIGTERM"),
    (signal.SIGTERM, os.killpg, True, "twice")])
def test_stop_finishes_what_is_in_flight(open_folder, count, number, kill,
                                         again):
    """New clients are refused, idle ones closed, answers completed; the
    second signal ends it all.
    """
    with Running(open_folder, "-w", str(count), "-b", "127.0.0.1",
                 start_new_session=True) as running, (
                     contextlib.ExitStack()) as stack:
        workers_of(running, count)
        busy = [stack.enter_context(Wire(running.port)) for _ in range(6)]
        for wire in busy:
            wire.send(request_for("/big") + GET_PROBE).head()
        with Wire(running.port) as idle:
            idle.get("/probe.txt?idle")
            kill(running.pid, number)
            idle.end()
        wait_until(lambda: is_refused(running.port), "the end of accepting")
        for wire in [] if again else busy:
            assert running.process.poll() is None
            wire.take(2 * BIG)
            answer = wire.response()
            assert (answer.content, answer.fields["connection"]) == (
                PROBE, "close"), answer
            wire.end()
            wire.sock.close()   # or the server waits for that
        if again:
            kill(running.pid, number)
        assert running.process.wait(PATIENCE) == 0
        assert len(running.log_lines("/probe.txt")) == (1 if again else 7)


@needs_workers
@pytest.mark.skipif(PYPY, reason="it forgets at its start what was ignored")
@both_kinds
def test_interrupt_that_was_ignored(open_folder, count):
    """As in the background of a shell: its Ctrl-C is meant for others."""
    with Running(open_folder, "-w", str(count),
                 shell="trap '' INT") as running:
        for pid in workers_of(running, count) | {running.pid}:
            with open("/proc/%d/status" % pid) as file:
                ignored = re.search(r"SigIgn:\s+(\w+)", file.read()).group(1)
            assert int(ignored, 16) >> signal.SIGINT - 1 & 1


def test_server_in_a_program(open_folder):
    """In a block, or as one of socketserver, with sockets of its owner.  Once
    used it is of no use any more, and says so: it would serve nobody.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        servers = [httpd.Server(open_folder, 0) for _ in range(3)] + [
            httpd.Server(directory=open_folder, sockets=[sock])]
        block, _, closed, owned = servers
        assert owned.url.endswith(":%d/" % sock.getsockname()[1])
        closed.server_close()
        with block as entered:
            assert entered is block
            with pytest.raises(RuntimeError), block:
                pass
            with urllib.request.urlopen(block.url + "probe.txt") as file:
                assert file.read() == PROBE
        for server in (servers[1], owned):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            with urllib.request.urlopen(server.url + "probe.txt") as file:
                assert file.read() == PROBE
            server.shutdown()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            server.server_close()
    for port in (-1, 65536):
        with pytest.raises(ValueError, match="0 to 65535"):
            httpd.Server(open_folder, port)
    for server in servers:
        with pytest.raises(OSError):
            urllib.request.urlopen(server.url)
        for use in (server.serve_forever, server.__enter__):
            with pytest.raises(RuntimeError):
                use()
        for harmless in (server.server_close, server.shutdown, server.stop,
                         server.reload, server.wake):
            harmless()


# What tests use of the programs, beside the wire and the command line: what
# README and docstrings promise, and pure functions.  "=": has a default.
NAMES = {httpd: """\
    acceptable_codings fields; AccessLog fd form= path=
    check_partial received start; content_type kind head
    entity_tag status data coding=
    error_page status detail path location=
    evaluate_preconditions fields etag modified now; folder_reference name
    http_date seconds; HTTP_DATE_MAX
    HTTPError status detail fields=; is_hidden segments
    is_settled status now; listing_time mtime zone=; log_date seconds
    main argv=
    media_type name; media_weight weights media; natural_key name
    parse_credentials value; parse_fields lines; parse_http_date value now
    parse_request head; parse_users data; parse_weights value
    path_segments path windows=; PREPARE_TIMEOUT
    range_applies fields etag modified now; REASONS; REQUEST_TIMEOUT
    select_ranges value length
    Server directory= port= bind= * sockets= listing= dotfiles= \
follow_symlinks= spa= head= archives= headers= access_log= \
trusted_proxies= max_connections= idle_timeout= request_timeout= tls_cert= \
tls_key= tls_password_file= auth= auth_file= limits= clock= wrap=
    Server.handle_signals self; Server.reload self
    Server.serve_forever self; Server.server_close self
    Server.shutdown self; Server.stop self; Server.wake self; SETTLED_NS
    size_for_people size; SMALL; STATES; tar_head name mode size mtime kind=
    TAR_END; TARGET; TrustedProxies names; unparsed_request received
    wants_digest fields; zip_end count start stop
    zip_head name mode size mtime crc offset=""", httpget: """\
    __version__; CONNECTIONS; Failure text advice= status= again=
    fetch url * fields= timeout= user= cafile= insecure= raw= environ=
    http_time value; is_direct host no_proxy; is_name text
    joined url reference
    local_name name windows=; main argv= delays=; parse_arguments argv
    parse_content_range fields; parse_digest value; parse_field text
    parse_host text; parse_html_listing text url; parse_json_listing text
    parse_port text; parse_range text; parse_url text; printable text
    proxy_for url environ; redirected url location; request_target name
    safe_name text; seconds_to_wait fields now; strong_validator fields
    timestamp value
    URL scheme host port target; without_dots path"""}


@each_program
def test_names_that_stay(module):
    """Each has the arguments that tests, and perhaps programs, give it."""
    listed = {"__name__", "__doc__"}
    for name, *wanted in map(str.split, re.split("[;\n]", NAMES[module])):
        listed.add(name)
        thing = functools.reduce(getattr, name.split("."), module)
        found = []
        for each in inspect.signature(thing).parameters.values() if (
                wanted) else []:
            found += ["*"] * (each.kind == each.KEYWORD_ONLY and (
                "*" not in found))
            found.append(each.name + "=" * (each.default is not each.empty))
        assert found == wanted, name
    with open(__file__, encoding="utf-8") as file:
        used = set(re.findall(r"\b%s\.(\w+)" % module.__name__, file.read()))
    assert {name for name in used - listed if hasattr(module, name)
            and not inspect.ismodule(getattr(module, name))} == set()


# ---- Rights -----------------------------------------------------------------

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
# Python's own files may be root's alone, as those in /root are.
NO_IMPORTS = """if True:
    import os, sys
    class Finder:
        def find_spec(self, name, *rest):
            if os.geteuid():
                raise ImportError("no right to read " + name)
    sys.meta_path.insert(0, Finder())"""


@needs_root
@needs_scrypt
@both_kinds
@pytest.mark.parametrize("may", [True, False], ids=["may", "may not"])
def test_user_keeps_no_right_of_root(open_folder, tmp_path, count, may):
    """It has the log and the socket that it got as root.  SIGHUP opens the
    log anew as the user, where that may, and changes no right.
    """
    import pwd
    account = pwd.getpwnam("nobody")
    uid, gid = account.pw_uid, account.pw_gid
    folder = tempfile.mkdtemp(dir=os.path.dirname(open_folder))
    socket_file, log = [os.path.join(folder, name) for name in ("s", "log")]
    os.chmod(folder, 0o755)
    if may:
        os.chown(folder, uid, gid)
    users = tmp_path / "users"
    users.write_text(hash_line("me", "x"))
    fields = [basic("me", "x"), "X-Forwarded-For: 192.0.2.1"]
    with Running(open_folder, "--user", "nobody", "-w", str(count), "-b",
                 "127.0.0.1", "-b", "unix:" + socket_file, "--log-file", log,
                 "--trusted-proxy", "127.0.0.1", "--auth-file", str(users),
                 flags=after(NO_IMPORTS),
                 preexec_fn=lambda: os.setgroups([0, 4])) as running:
        pids = workers_of(running, count) | {running.pid}
        assert "WARNING: nobody cannot read " in running.start_message
        assert os.stat(socket_file).st_uid == uid
        for where in ((running.port,), (0, socket_file)):
            with Wire(*where) as wire:
                for target, field, status in (
                        ("/probe.txt", "Want-Repr-Digest: sha-256=1", 200),
                        ("/private.txt", "Range: bytes=0-", 403),
                        ("/text.js", "Accept-Encoding: gzip", 200),
                        ("/list/", "Accept: application/json", 200),
                        ("/list/?sort=size", "Accept: text/html", 200)):
                    answer = wire.get(target, field, *fields)
                    assert answer.status == status, answer
        os.rename(log, log + ".1")
        running.process.send_signal(signal.SIGHUP)
        if not may:     # once, for all processes
            assert running.process.stderr.readline().decode() == (
                "httpd.py: cannot write the access log %s: Permission denied."
                " The server goes on with what it had.\n" % log)
        assert running.process.stderr.readline().decode() == (
            "httpd.py: cannot read %s: Permission denied. The server goes"
            " on with what it had.\n" % users)
        if may:
            wait_until(lambda: all(log in files_of(pid) for pid in pids),
                       "the new log")
            assert os.stat(log).st_uid == uid
        with Wire(running.port) as wire:
            wire.get("/probe.txt?later", *fields)
        for pid in pids:
            with open("/proc/%d/status" % pid) as file:
                found = {name: set(map(int, values)) for name, *values in map(
                    str.split, file) if name in ("Uid:", "Gid:", "Groups:")}
            assert (found["Uid:"], found["Gid:"]) == ({uid}, {gid})
            assert found["Groups:"] <= {gid}
    with open(log if may else log + ".1") as file:
        assert re.search(r"(?m)^192\.0\.2\.1 - me .*\?later ", file.read())
    shutil.rmtree(folder)


@needs_root
def test_user_who_cannot_read_the_folder(tmp_path):
    os.chmod(str(tmp_path), 0o700)
    check_refusal(start("--user", "nobody", "-d", str(tmp_path), "0"),
                  "cannot serve %s: " % tmp_path)


def test_only_root_can_become_another_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65534, raising=False)
    check_refusal(start_here("--user", "nobody", "0"),
                  "cannot become nobody: only root")


# ---- Workers ----------------------------------------------------------------


def files_of(pid):
    """Return what *pid* has open, as /proc names it."""
    names = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(FileNotFoundError):    # closed meanwhile
            names.append(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
    return names


@needs_workers
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"),
                    reason="needs sched_setaffinity(), which PyPy lacks")
@pytest.mark.parametrize("cores", [1, 2])
def test_auto_is_a_worker_for_each_core(open_folder, cores):
    """That it may use; for one there is no process above it."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    with Running(open_folder, "-w", "auto", preexec_fn=lambda:
                 os.sched_setaffinity(0, allowed)) as running:
        workers_of(running, len(allowed))
        check_serves(running.port)
        assert len(children(running.pid)) == len(allowed) - (
            len(allowed) == 1)


@needs_workers
def test_workers_share_connections(open_folder):
    """64 at once within 60:40, and again when all of these are gone; not
    always, where others keep one from running for the 20 ms that it has.
    """
    with Running(open_folder, "-w", "2", "-b", "127.0.0.1") as running:
        workers = workers_of(running)
        check_serves(running.port)
        assert running.start_message.count("serving") == 1

        def counts():
            return [sum(name.startswith("socket:") for name in files_of(pid))
                    for pid in workers]
        idle = wait_until(lambda: len(set(counts())) == 1 and counts(), "rest")

        def are_shared():
            with contextlib.ExitStack() as stack:
                with stopped(workers):
                    wires = [stack.enter_context(Wire(running.port))
                             for _ in range(64)]
                for wire in wires:
                    assert wire.get("/probe.txt").content == PROBE
                shares = [count - idle[0] for count in counts()]
            wait_until(lambda: counts() == idle, "the end of all connections")
            return sum(shares) == 64 and min(shares) >= 64 * 0.4
        shared = []
        while shared.count(True) < 2:
            shared.append(are_shared())
            assert shared.count(False) < 6, shared


@needs_workers
@needs("AF_UNIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_worker_that_dies_is_replaced(open_folder, tmp_path, number):
    """Who is connected to others notices nothing; a socket's path stays.  The
    log is the one that SIGHUP has opened, for the new one, too.
    """
    path, log = str(tmp_path / "socket"), str(tmp_path / "log")
    with Running(open_folder, "-w", "2", "-b", "127.0.0.1", "-b",
                 "unix:" + path, "--log-file", log) as running, (
                     contextlib.ExitStack()) as stack:
        workers = workers_of(running)
        os.rename(log, log + ".1")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: all(log in files_of(pid) for pid in
                               workers | {running.pid}), "the new log")
        wires = [stack.enter_context(Wire(running.port)) for _ in range(20)]
        for wire in wires:
            assert wire.get("/probe.txt").content == PROBE
        victim, other = sorted(workers)
        running.says = (r"httpd\.py: worker [12] \(process %d\) [a-z 0-9]+;"
                        r" another takes its place( in 0\.1 s)?\n" % victim)
        os.kill(victim, number)
        wait_until(lambda: victim not in children(running.pid), "its end")
        ended = 0
        for wire in wires:
            try:
                assert wire.get("/probe.txt").content == PROBE
            except (AssertionError, ConnectionError):
                ended += 1
        assert 0 < ended < 20
        (new,) = workers_of(running, 1, workers)
        with stopped([other]):      # so the new one has to answer
            check_serves(running.port)
            check_serves(0, path)
        assert log in files_of(new)
    assert not os.path.exists(path)


# Before httpd.py: of 24 forks only the last two succeed.  Until then its clock
# is turned on where it would wait; and then by a worker's long life.
HURRIED = """if True:
    import os, selectors, time
    plain, select, fork = (
        time.monotonic, selectors.DefaultSelector.select, os.fork)
    skipped, forks, first = 0, 0, os.getpid()
    time.monotonic = lambda: plain() + skipped
    def hurried(self, timeout=None):
        global skipped
        if forks > 23 or os.getpid() != first:
            return select(self, timeout)
        skipped += timeout
        return []
    def forked():
        global forks, skipped
        forks += 1
        os.write(1, b"fork %f\\n" % time.monotonic())
        if forks <= 22:
            raise OSError(11, "no more processes")
        skipped += 60
        return fork()
    selectors.DefaultSelector.select, os.fork = hurried, forked"""


@needs_workers
def test_how_soon_a_worker_is_replaced(open_folder):
    """Less and less soon, where they do not live; at once after a long life.
    """
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
    with Running(open_folder, "-w", "2", flags=after(HURRIED)) as running:
        said = running.process.stderr
        for wait in sorted(2 * expected):
            assert said.readline().endswith(
                b"; another takes its place in %.1f s\n" % wait)
        workers = workers_of(running)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        for _ in workers:
            assert said.readline().endswith(b"another takes its place\n")
        workers_of(running, 2, workers)
        check_serves(running.port)
        began = [float(line.split()[1]) for line in running.log_lines("fork")]
    for wait, one, another in zip(expected, began[::2], began[2::2]):
        assert another - one >= wait


@needs_workers
def test_workers_end_when_their_supervisor_is_killed(open_folder):
    running = Running(open_folder, "-w", "2")
    workers_of(running)
    with Wire(running.port) as wire:
        assert wire.get("/probe.txt").content == PROBE
        # When this returns, nobody has its standard error any more.
        assert running.stop(signal.SIGKILL) == ""
        wire.end()
    assert is_refused(running.port)


@needs_workers
def test_worker_that_drains_outlives_its_supervisor(big):
    running = Running(big, "-w", "2")
    with Wire(running.port) as wire:
        wire.send(request_for("/big")).head()
        running.process.terminate()
        wait_until(lambda: is_refused(running.port), "the end of accepting")
        running.process.kill()
        assert len(wire.take(BIG)) == BIG
    running.stop()


@needs_workers
@pytest.mark.parametrize("where", ["file", "pipe", "stalled pipe"])
def test_log_lines_of_workers_never_mingle(open_folder, tmp_path, where):
    """Long ones neither; into a pipe they are cut to fit, and one that nobody
    reads stalls no worker.
    """
    sizes, path = (1, 900, 3800, 6000), str(tmp_path / "log")
    requests = b"".join(request_for("/probe.txt", "User-Agent: " + (
        str(size % 10) * size)) for size in sizes)
    reader, writer = os.pipe()
    with open(path, "wb") as file, subprocess.Popen(
            ["cat"], stdin=reader, stdout=file) as cat:
        os.close(reader)
        with stopped([cat.pid] if where == "stalled pipe" else []), Running(
                open_folder, "-w", "3", "-b", "127.0.0.1",
                *["--log-file", path][:2 * (where == "file")],
                stdout=writer, says=r"(%s)*" % LOST) as running, (
                    contextlib.ExitStack()) as stack:
            os.close(writer)
            wires = [stack.enter_context(Wire(running.port))
                     for _ in range(24)]
            for _ in range(10):     # at once
                for wire in wires:
                    wire.send(requests)
                for wire in wires * len(sizes):
                    assert wire.response().content == PROBE
    with open(path, "rb") as file:
        lines = list(file)
    assert (0 < len(lines) < 960) if where == "stalled pipe" else (
        len(lines) == 960)
    for line in lines:
        assert re.fullmatch(
            r'127\.0\.0\.1 - - \[[^]]*\] "GET /probe\.txt HTTP/1\.1" 200 6 "-"'
            r' "(1|0+(\.\.\.0+)?)"\n', line.decode()), line


# ---- README, help and docstring ---------------------------------------------

HTDOCS = os.path.join(HERE, "htdocs")


def need(*programs):
    """Skip where one of *programs* is not installed."""
    for name in programs:
        if not shutil.which(name, path=SBIN):
            pytest.skip(name + " is not installed")


def found_in(pattern, text):
    """Return what *pattern* finds in *text*, line by line or across lines."""
    return re.findall(pattern, text, re.DOTALL | re.MULTILINE)


def readme():
    """Return README's text."""
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
        return file.read()


def readme_blocks(language):
    """Return README's blocks of code in *language*."""
    return found_in(r"^```%s\n(.*?)^```$" % language, readme())


def readme_recipes():
    """Return {heading: [(command, lines that it prints, or None), ...]}."""
    recipes = {}
    for heading, text in found_in("^#+ ([^\n]*)\n(.*?)(?=^#|\\Z)", readme()):
        for kind, block in found_in("^```(sh|console)\n(.*?)^```$", text):
            recipes.setdefault(heading, []).extend(
                [(line, None) for line in block.splitlines()]
                if kind == "sh" else
                [(command, shown.splitlines()) for command, shown in found_in(
                    r"^\$ ([^\n]*)\n(.*?)(?=^\$|\Z)", block)])
    return recipes


RECIPES = readme_recipes()
LONG_RECIPES = {"HTTPS"}
# What a recipe needs that not every machine has, by a word in it.
LACKS = {"unix:": "AF_UNIX" in WITHOUT, "--workers": "fork" in WITHOUT,
         "https": "ssl" in WITHOUT, "--bind ::": not HAS_IPV6,
         "--hash-password": not hasattr(hashlib, "scrypt"),
         "--user": os.geteuid() != 0}
VARIES = re.compile(    # from one run, or machine, to the next
    r"\d\d/[A-Z][a-z]+/\d{4}:[\d:]{8}|[A-Z][a-z]+, \d\d \w+ \d{4} [\d:]{8}"
    r"|(?<= port )\d+$|[\d.]+ ([KM]iB|bytes)/s|\d+\.\d+ s\b|ETag: .*"
    r'|(?<=" 200 )\d{3,}|(?<=-Length: )\d{3,}|(?<=page.html: )\d+ bytes'
    r"|(?<=machines can open http://)((\d+\.){3}\d+|%s)" % re.escape(
        socket.gethostname()), re.MULTILINE)


def run_recipe(folder, commands, stack):
    """Run *commands* of README in *folder*, as a user would; each server at a
    free port and on a terminal, until the end of *stack*."""
    ports = {}

    def compare(process, command, shown, seen):
        """Compare what *process* wrote, in pieces, with what is *shown*."""
        said = b"".join(seen).decode()
        said = said.replace(os.path.realpath(folder), "/home/me")
        for port, here in ports.items():
            said = re.sub(r"\b%s\b" % here, port, said)
        if shown is None:
            assert process.returncode == 0, (command, said)
        else:   # not every machine has a route of IPv6
            assert [line for line in VARIES.sub("*", said).splitlines()
                    if "can open http://[" not in line] == [
                VARIES.sub("*", line) for line in shown
                if HAS_IPV6 or "[::1]" not in line], command
    for command, shown in commands:
        is_server = re.search(r"httpd\.py(?!.*--hash-password)", command)
        here = command
        if is_server:
            here = re.sub("(?<= )[0-9]+(?= <|$)", "0", command.replace(
                "python3", "exec python3", 1))
        for old, new in ports.items():
            here = re.sub(r"(?<![\w.])%s\b" % old, new, here)
        for old, new in [("3 httpd.py", "3 " + compiled("httpd.py")),
                         ("3 httpget.py", "3 " + compiled("httpget.py")),
                         ("python3", sys.executable), ("/srv/www", "htdocs"),
                         ("192.0.2.7", "127.0.0.1"), ("www-data", "nobody")]:
            here = here.replace(old, new)
        run = functools.partial(
            subprocess.Popen, here, shell=True, cwd=folder,
            stdin=subprocess.DEVNULL, env=dict(os.environ, HOME=folder))
        if not is_server:
            with run(stdout=subprocess.PIPE,
                     stderr=subprocess.STDOUT) as process:
                said = process.communicate(timeout=PATIENCE)[0]
            compare(process, command, shown, [said])
            continue
        opened = terminal()
        screen, seen = opened.__enter__()
        process = run(stdout=screen, stderr=screen)
        stack.callback(compare, process, command, shown, seen)
        stack.push(opened)      # its end lets `seen` be complete
        stack.callback(process.wait, PATIENCE)
        stack.callback(process.terminate)
        wait_until(lambda seen=seen: b"Ctrl-C" in b"".join(seen), "it")
        said = b"".join(seen).decode()
        for port in re.findall(" ([0-9]+)(?= <|$)", command):
            ports[port] = re.search(":([0-9]+)/", said).group(1)


@pytest.mark.parametrize("heading", [
    pytest.param(heading, marks=[pytest.mark.slow] * (heading in LONG_RECIPES))
    for heading in sorted(RECIPES)])
def test_readme_commands(heading):
    """All in their order; and what README shows of their output is so."""
    text = "\n".join(command for command, _ in RECIPES[heading])
    need(*re.findall("^(curl|wget|openssl) ", text, re.MULTILINE))
    for word, is_lacking in LACKS.items():
        if is_lacking and word in text:
            pytest.skip("not on this machine: " + word)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)     # for --user
        shutil.copy(os.path.join(HERE, "httpd.py"), folder)
        os.mkdir(os.path.join(folder, "photos"))
        for name in ("htdocs", "dist"):
            shutil.copytree(HTDOCS, os.path.join(folder, name))
        for name in ("one.jpg", "two.jpg"):
            with open(os.path.join(folder, "photos", name), "wb") as file:
                file.write(b"\xff\xd8" * 2500)
        with contextlib.ExitStack() as stack:
            run_recipe(folder, RECIPES[heading], stack)


def test_readme_has_no_block_that_nobody_runs():
    assert LONG_RECIPES < set(RECIPES)
    assert set(found_in("^```([a-z]+)$", readme())) == {
        "console", "haproxy", "ini", "logrotate", "nginx", "python", "sh"}


def test_readme_python(monkeypatch, capsys):
    monkeypatch.chdir(HERE)
    for block in readme_blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out == "200 b'<!DOCTYPE html>'\n"


OPTION = r"(?<![\w-])--?[a-zA-Z0-9][a-z-]*"


def chapter_of(module):
    """Return README's chapter of a program."""
    return found_in("^## %s.py\n(.*?)^## " % module.__name__, readme())[0]


def paragraph_of(module, heading):
    """Return what stands below *heading* in a program's docstring."""
    return module.__doc__.partition("\n%s\n" % heading)[2].partition("\n\n")[0]


@each_program
def test_options(module):
    """--help, README and docstring have the same in the same order, and the
    first two the same defaults."""
    helped = [line.strip().partition("  ") for line in re.sub(
        r"\n {10,}", "  ", RUN[module]("--help").out.decode()).splitlines()
        if line.startswith("  -")]
    options = [re.findall(OPTION, names) for names, _, _ in helped]
    rows = [(re.findall(OPTION, names), default.replace("`", ""))
            for names, default in re.findall(
                r"^\| (`-.*?) \|.*\| ?(.*?) ?\|$", chapter_of(module),
                re.MULTILINE)]
    assert [*itertools.chain(*options[2:], ["--version"], options[0])] == [
        *itertools.chain(*(names for names, _ in rows))]
    told = paragraph_of(module, "Options, which --help explains")
    assert re.findall(OPTION, told) == [max(names, key=len)
                                        for names in options[2:]]
    defaults = {names[0]: default for names, (_, _, text) in zip(
        options, helped) for default in re.findall(
            r"\(default(?:, and at most)?: (.*)\)", " ".join(text.split()))}
    assert len(defaults) >= 3 and defaults == {
        names[0]: default for names, default in rows if names[0] in defaults}


@each_program
def test_exit_statuses(module):
    text = chapter_of(module).rpartition("xit status")[2].partition("After")[0]
    told = found_in("^    ([0-9]+) ", paragraph_of(module, "Exit status"))
    assert len(told) >= 3 and told == found_in(
        r"(?:: |; |^\| )([0-9]+) ", text.partition(". At")[0])


# What README says of each number of the docstring's "Limits"; "" is nothing.
@pytest.mark.parametrize("module, rows", [
    (httpd, ["| request line | N KiB", "| head | N KiB", "KiB, N fields",
             "TLS handshake | N s", "after connecting too | N s",
             "idle between requests | N s", "no progress in sending | N s"]),
    (httpget, ["heads of at most N KiB", "KiB, N interim", "",
               "At most N redirects", "gzip of at most N times",
               "listings of N MiB", "and N names", "", "between bytes | N |",
               "brought nothing | N |", "-After`, up to N minutes",
               "waits up to N minutes"])],
    ids=["httpd", "get"])
def test_limits_of_docstring_and_readme(module, rows):
    numbers = re.findall(r"\b[0-9]+(?:,[0-9]{3})*\b",
                         paragraph_of(module, "Limits"))
    text = " ".join(chapter_of(module).split())
    assert len(numbers) == len(rows)
    for number, row in zip(numbers, rows):
        assert row.replace("N", number) in text


# ---- Both programs together, and others -------------------------------------


@pytest.mark.slow
def test_five_gib():
    """What memory the client takes, test_memory_is_flat tells."""
    size, memory = 5 << 30, "/dev/shm"      # where holes are read quickly
    with tempfile.TemporaryDirectory(
            dir=memory if os.path.isdir(memory) else None) as folder:
        with open(os.path.join(folder, "sparse"), "wb") as file:
            file.seek(size - 5)
            file.write(b"tail\n")
        with Running(folder, flags=[]) as running:
            before, total = running.memory("VmHWM"), 0
            process = start_httpget("127.0.0.1", running.port, "sparse",
                                    stderr=subprocess.DEVNULL)
            with process.stdout as pipe:
                for block in iter(lambda: pipe.read(1 << 20), b""):
                    total, tail = total + len(block), block[-5:]
            assert (total, tail, process.wait()) == (size, b"tail\n", 0)
            assert running.memory("VmHWM") - before < (
                64 if PYPY else 8) << 10


# ---- The page and the listing in a browser ----------------------------------


ANSWERS = ["206 Partial Content", "304 Not Modified", "200 OK",
           "404 Not Found"]     # to the requests of learn.html, in their order


def page_of(name):
    """Return the text of a page of htdocs."""
    with open(os.path.join(HTDOCS, name), encoding="utf-8") as file:
        return file.read()


def boxes(page):
    """Return what the boxes of *page* show: requests, answers, commands."""
    return [html.unescape(re.sub("<.*?>", "", text))
            for text in found_in("<pre.*?>(.*?)</pre>", page)]


def test_links_of_the_pages():
    """Relative ones hold below a proxy's prefix, but not in 404.html, which
    answers at any depth.  No file is there for nothing.
    """
    links = {name: set(re.findall('(?:href|src)="(?!data:)(.*?)"',
                                  page_of(name)))
             for name in ("index.html", "learn.html", "404.html")}
    assert links.pop("404.html") == set()
    assert set.union({"404.html"}, *links.values()) == set(os.listdir(HTDOCS))


def test_what_the_page_teaches():
    """The answers to its requests, and the states."""
    page, answers = page_of("learn.html"), []
    with Serving(HTDOCS) as serving:
        for request in boxes(page):
            with Wire(serving.port) as wire:
                wire.send(request.replace("\n", "\r\n").encode()
                          + b"\r\n\r\n")
                answers.append(wire.head().partition(b"\r\n")[0].decode())
    assert answers == ["HTTP/1.1 " + answer for answer in ANSWERS]
    assert found_in("<b>(.*?)</b>(?: <small>(.*?) s<)?", page) == [
        (name, str(seconds or "")) for name, _, seconds, _ in httpd.STATES]


def browsed(tmp_path, url):
    """Return what *url* comes to in a browser, which does not complain."""
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--enable-logging=stderr",
         "--user-data-dir=%s" % (tmp_path / "profile"),
         "--virtual-time-budget=10000", "--dump-dom", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=2 * PATIENCE)
    assert b"CONSOLE" not in done.stderr, done.stderr
    return done.stdout.decode()


@pytest.mark.slow
def test_in_a_browser(tmp_path):
    """The pages ask nobody else, also from a parent folder, and show at a
    click what comes; the listing's style passes its own policy.
    """
    need("chromium")
    root = tmp_path / "root"
    shutil.copytree(HTDOCS, str(root / "htdocs"))
    (root / "folder").mkdir()
    with (root / "htdocs" / "script.js").open("a") as file:
        file.write("for (const button of document.querySelectorAll('button'))"
                   " button.click();")
    with Serving(root, headers=[("Content-Security-Policy",
                                 "default-src 'self'")]) as serving:
        host = "127.0.0.1:%d" % serving.port
        url = "http://%s/htdocs/" % host
        commands = boxes(browsed(tmp_path, url))
        shown = boxes(browsed(tmp_path, url + "learn.html"))
        for name in ("style.css", "script.js", "icon.svg"):
            assert serving.log_lines('"GET /htdocs/%s HTTP/1.1" 200' % name)
    assert [command.count(url) for command in commands] == [0, 1, 1, 1]
    assert len(shown) == 2 * len(ANSWERS)
    for request, response, expected in zip(shown[::2], shown[1::2], ANSWERS):
        assert request.startswith("GET /htdocs/")
        assert request.split("\n")[1] == "Host: " + host
        assert response.startswith("HTTP/1.1 %s\n" % expected)
        assert "\ncache-control: no-" in response
    with Serving(root) as serving:
        assert "<title>folder</title>" in browsed(
            tmp_path, "http://127.0.0.1:%d/folder/" % serving.port)


# ---- Beyond one machine -----------------------------------------------------


def test_equal_folders_give_equal_answers(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    folders[0].mkdir()
    (folders[0] / "a.css").write_bytes(b"body { color: red }" * 500)
    (folders[0] / "large.bin").write_bytes(b"large" * 20000)
    shutil.copytree(*map(str, folders))     # as cp -p
    wait_until_settled(folders[1] / "large.bin")
    with Serving(folders[0]) as one, Serving(folders[1]) as two, (
            Wire(one.port)) as wire, Wire(two.port) as other:
        for target in ("/a.css", "/large.bin"):
            first = wire.get(target, "Accept-Encoding: gzip")
            second = other.get(target, "Accept-Encoding: gzip")
            assert first.same_as(second), (first, second)
            assert {"etag", "last-modified"} < set(first.fields)


IN_NGINX = (
    "pid pid; events { } http { access_log off; client_body_temp_path 1;"
    " proxy_temp_path 2; fastcgi_temp_path 3; uwsgi_temp_path 4;"
    " scgi_temp_path 5; include nginx; }")


@pytest.mark.slow
@table("names, command", [
    (["nginx"], "nginx -t -q -e stderr -p {0} -c {0}/conf", "nginx"),
    (["haproxy"], "haproxy -c -q -f {0}/haproxy", "HAProxy"),
    (["logrotate"], "logrotate -s {0}/state {0}/logrotate", "logrotate"),
    (["ini.socket", "ini.service"],
     "systemd-analyze verify {0}/ini.socket {0}/ini.service", "systemd")])
def test_configurations_are_taken(tmp_path, names, command):
    """Without a word."""
    need(command.split()[0])
    for name, text in zip(names, readme_blocks(names[0].split(".")[0])):
        for old, new in [("/var/cache/nginx", str(tmp_path)),
                         ("listen 80", "listen unix:%s/s" % tmp_path),
                         ("create .*", "create"),   # for who is there
                         ("httpd.socket", "ini.socket"),
                         ("/usr/bin/python3", sys.executable)]:
            text = re.sub(old, new, text)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "conf").write_text(IN_NGINX)
    assert subprocess.check_output(
        command.format(tmp_path).split(), stderr=subprocess.STDOUT,
        env=dict(os.environ, PATH=SBIN), timeout=PATIENCE) == b""


def test_options_in_the_unit_of_systemd():
    options = re.search(r"ExecStart=\S+ \S+ (.*) \S+\n", readme()).group(1)
    check_refusal(start_here(*options.split(), "/nonexistent/log"),
                  "cannot write the access log /nonexistent/log")


# ---- httpget.py: resuming and proof -----------------------------------------

CUT_4 = served(cut=4)
FOUR = part_kept(ONE[:4])           # what is left of it
UNKNOWN_END = in_chunks(ONE[:4])    # cut, and nobody knows where it ends
WEAK_4 = served(cut=4, etag='W/"a"')
BY_TIME = ok(ONE, TIME_FIELD, b"Date: " + LATER.encode())[:-5]
CUT_GZIP = ok(ONE, TAG_A, GZIP)[:-5]
NO_RANGES = served(ranges=False)
CHANGED = served(OTHER, '"b"')
PROVED = served(digest=True)
WRONG = served(digest=False)
VERIFIED = ", verified sha-256\n"
RANGE_FIELD = b"Content-Range: bytes 3-8/9"
GIVEN, GIVEN_OTHER = [" --sha256 " + hashlib.sha256(content).hexdigest()
                      for content in (ONE, OTHER)]
AS_GIVEN = ", sha-256 as given\n"
NOT_AS_GIVEN = "has the sha-256 %s, not %s as given" % (
    GIVEN[10:], GIVEN_OTHER[10:])
BUSY = ok(b"", b"Retry-After: 5", status=b"429 Busy")
WAITS = "429 Busy for /file; the server asks to wait 5 s\n"
IN_PART = {"status": b"206 x", "where": RANGE_FIELD + b"\r\n"}
JOINED = ONE[:4] + OTHER[4:]
ANEW = b"fetched anew"


@table("second, first, outcome", spread([
    ([piece_of("3-8/9"), piece_of("3-8/*"), in_chunks(
        OTHER[3:], b"", **IN_PART)], CUT_4, JOINED, "the rest"),
    (piece_of("3-8/9"), UNKNOWN_END, JOINED, "of a length not known before"),
    (piece_of("3-8/9", TIME_FIELD), BY_TIME, JOINED, "the same time"),
    ([ok(OTHER, TAG_A), in_chunks(OTHER, b"")], CUT_4, JOINED, "no ranges"),
    (ok(OTHER, TAG_A), served(cut=1), ONE[:1] + OTHER[1:], "one is there"),
    (ok(OTHER[:3], TAG_A), UNKNOWN_END, OTHER[:3], "now shorter"),
    (ok(OTHER[:4], TAG_A), UNKNOWN_END, ONE[:4], "all was there"),
    (piece_of("3-7/9"), CUT_4, ANEW, "not to the end"),
    (piece_of("3-8/*"), UNKNOWN_END, ANEW, "to which end"),
    ([piece_of("3-9/10"), ok(b"", b"Content-Range: bytes */3",
                             status=b"416 x")], CUT_4, ANEW, "another total"),
    ([piece_of("3-8/9", b'ETag: "b"'), piece_of("3-8/9", TIME_FIELD)], CUT_4,
     ANEW, "another tag, or none"),
    (piece_of("3-8/9", b"Last-Modified: " + LATER.encode()), BY_TIME, ANEW,
     "another time"),
    ([ok(OTHER, b'ETag: "b"'), ok(OTHER)], CUT_4, OTHER, "another version"),
    (ok(OTHER, b'ETag: W/"a"'), WEAK_4, OTHER, "a weak tag is no validator"),
    # Careless servers give all codings the same tag.
    (ok(OTHER, TAG_A, GZIP), CUT_4, OTHER, "now coded"),
    (piece_of("3-8/9", TAG_A, GZIP), CUT_4, ANEW, "a part that is coded"),
    (ok(OTHER, TAG_A), CUT_GZIP, OTHER, "no longer coded"),
    (piece_of("3-8/9"), CUT_GZIP, ANEW, "a part that is no longer coded"),
    ([piece_of("3-8/9", more=3), piece_of("3-8/9", more=-3), piece_of("4-8/9"),
      piece_of("*/9"), piece_of("3-8/8")], CUT_4, "asked for", "another part"),
    ([ok(OTHER, TAG_A, status=b"202 x"), ok(b"", status=b"204 x")], CUT_4,
     "is not the rest", "no content"),
]))
def test_versions_are_never_joined(here, second, first, outcome):
    """Nor is a part taken for the whole."""
    with ScriptedServer(script_of([first, second, ok(ANEW)])) as server:
        result = get_here("-o", "t", server.url())
    if isinstance(outcome, bytes):
        check_end(result, 0, "", {"t": outcome})
        assert ("not a part" in result.err) == (outcome == ANEW), result
    else:
        check_end(result, 4, outcome, FOUR)


def written(content, name="t.part"):
    """Return what writes *content* to *name*."""
    return lambda: write_to(name, content)


def appearing(make, answer=PROVED):
    """Return *answer*'s; something else appears by *make* meanwhile."""
    return lambda head: (make(), answer(head))[1]


PART_TAKEN = appearing(lambda: os.unlink("t.part") or written(b"mine")())
PART_SPOILED = appearing(written(ONE), served(ranges=False))
FILE_APPEARS = appearing(written(b"mine", "file"))
SAVED, MINE = {"file": ONE}, {"file": b"mine"}
PART = part_kept(ONE, "file")
SAME_TIME, OTHER_TIME = (ONE, MODIFIED), (ONE, MODIFIED + 2)


@table("before, answers, argv, status, said, left, ranges", [
    (None, *row) for row in [
        ([CUT_4, served(cut=0)], "-o t --retries 2", 4,
         "4 bytes kept in t.part", FOUR, "all 3- 3-", "no progress"),
        ([WEAK_4], "-o t --retries 1", 4, "broke off", {"t.part": ONE[:4]},
         "all all", "to begin anew is no progress"),
        ([b"", PROVED], "-o t", 3, "no response", {}, "all",
         "no answer ever began: is it the right server?"),
        ([CUT_4, NONE_THERE], "-o t", 1, "404 Not", FOUR, "all 3-", "gone"),
        ([CUT_4, CHANGED], "", 4, "changed after 4 bytes", {"-": ONE[:4]},
         "all 3-", "changes between, to standard output"),
        ([CUT_4, until_close(b"X", b"206 x", RANGE_FIELD)],
         "-o t --retries 1", 4, "shorter than it said", FOUR, "all 3-",
         "fewer bytes than it says"),
        ([CUT_4, in_chunks(OTHER, b"", **IN_PART)], "-o t", 4,
         "more bytes than there are", FOUR, "all 3-", "more than it says"),
        ([until_close(ONE[:4]), PROVED] * 2, "-o t --retries 1", 4,
         "4 of 9 bytes without a sign", FOUR, "all 0-0 3- 0-0",
         "an end without a sign, each time"),
        # To ask again would bring the same again.
        ([until_close(ONE + b"more"), PROVED], "-o t", 4,
         "not what the server has: 13 bytes, not 9", {}, "all 0-0",
         "more than there is of the file"),
        (WRONG, "-o t", 4, "sha-256", {}, "all 0-0", "a wrong digest"),
        (WRONG, "", 4, "sha-256", {"-": ONE}, "all 0-0", "wrong, to output"),
        ([until_close(ONE), served(ONE, '"b"', digest=False)], "-o t", 0,
         ", not verified: it is another version", {"t": ONE}, "all 0-0",
         "the digest of another version proves nothing"),
        (WRONG, "-o t" + GIVEN.upper().replace("SHA", "sha"), 0, AS_GIVEN,
         {"t": ONE}, "all", "the author's digest, so no other is asked for"),
        (ok(gzip.compress(ONE), GZIP), GIVEN, 0, AS_GIVEN, {"-": ONE}, "all",
         "the author's, and it is coded unasked, to output"),
        (ok(ONE, GZIP), "-o t" + GIVEN, 0, ", saved as sent, gzip" + AS_GIVEN,
         {"t": ONE}, "all", "the author's, and it is called coded"),
        ([CUT_4, PROVED], "-o t" + GIVEN_OTHER, 4, NOT_AS_GIVEN, {}, "all 3-",
         "not the author's file"),
        (PROVED, GIVEN_OTHER, 4, NOT_AS_GIVEN, {"-": ONE}, "all",
         "not the author's, to output"),
        (served(digest=b"416 x"), "-o t", 0, ", not verified: the server"
         " answered 416", {"t": ONE}, "all 0-0", "no answer for the digest"),
        (served(b"", digest=True), "-o t", 0, "", {"t": b""}, "all", "empty"),
        ([BUSY, PROVED, BUSY, PROVED], "-o t", 0, WAITS, {"t": ONE},
         "all all 0-0 0-0", "a server that asks for patience"),
        ([BUSY, piece_of("2-8/9")], "--range 2-8", 0, WAITS, {"-": OTHER[2:]},
         "2-8 2-8", "patience for a range"),
        (BUSY.replace(b"429", b"503"), "-o t --retries 1", 1, "503 Busy", {},
         "all all", "no more"),
        (BUSY.replace(b"429", b"404"), "-o t", 1, "404 Busy", {}, "all",
         "another status"),
        (BUSY.replace(b"5", b"121"), "-o t", 1, "429 Busy", {}, "all",
         "who asks for more than two minutes"),
        # One entity tag means nothing at another address: RFC 9110, 8.8.3.
        ({"/file": [moved_to("/m1"), moved_to("/m2")], "/m2": served(OTHER),
          "/m1": [CUT_4, NONE_THERE]}, "-o t", 0, "9 bytes (13 "
         "came now) in", {"t": OTHER}, "all all 3- 3- 3- all all 0-0",
         "the first mirror is gone"),
        (piece_of("4-8/9", GZIP), "--range 4-8", 4, "another part", {}, "4-8",
         "a range that is coded"),
        (CUT_4, "--range 2-8", 4, "broke off after 4 of 7", {"-": ONE[2:6]},
         "2-8", "a break of a range is not resumed")]
] + [   # one that breaks off goes on by itself, to a file and to others
    (None, answers, argv + " --timeout 0.3" * ("stall" in why), 0,
     VERIFIED if PROVED in answers else "/s\n", {"t" if argv else "-": ONE},
     ranges, why + ", " + argv)
    for argv in ("-o t", "") for answers, ranges, why in [
        # Of one byte the last is the first: then all is asked for.
        ([served(digest=True, cut=each) for each in (1, 2, 3)] + [PROVED],
         "all all 1- 3- 0-0", "breaks"),
        ([served(cut=4, how="reset"), PROVED], "all 3- 0-0", "a reset"),
        ([served(cut=4, how="stall"), PROVED], "all 3- 0-0", "a stall"),
        ([CUT(ok(ONE), 30), PROVED], "all all 0-0", "half a head"),
        ([CUT_4, b"", PROVED], "all 3- 3- 0-0", "no answer, but one before"),
        ([CUT_4, ok(b"", status=b"503 x"), PROVED], "all 3- 3- 0-0", "busy"),
        ([served(cut=4, ranges=False), served(cut=6, ranges=False),
          NO_RANGES], "all 3- 5-", "without ranges"),
        # The question for the digest tells how long the file is.
        ([until_close(ONE[:4]), PROVED], "all 0-0 3- 0-0", "no sign of end"),
        ([until_close(ONE), PROVED], "all 0-0", "no sign, but the end")]
] + [
    (None, ok(ONE, b"Content-Encoding: GZIP, br"), "-o t", 0,
     ", saved as sent, gzip, br", {"t": ONE}, "all",
     "a.tar.gz stays what it is, whatever the server calls it"),
    # What is complete is not asked for; nor does -O replace what is there.
    (ONE, PROVED, "-c -o file", 0, "complete already", SAVED, "0-0", "proved"),
    (ONE, [BUSY, PROVED], "-c -O", 0, WAITS, SAVED, "0-0 0-0", "patience"),
    (ONE, BUSY, "-c -O --retries 1", 1, "429 Busy", SAVED, "0-0 0-0", "busy"),
    (ONE, EVIL, "-c -O" + GIVEN, 0, "complete already" + AS_GIVEN, SAVED, "",
     "the author's, so nothing is asked"),
    (ONE, PROVED, "-c -O" + GIVEN_OTHER, 4, NOT_AS_GIVEN, SAVED, "0-0",
     "what the server has, but not the author's"),
    (OTHER, PROVED, "-c -o file" + GIVEN, 0, AS_GIVEN, SAVED, "0-0 all",
     "neither the server's nor the author's"),
    (SAME_TIME, served(digest=b"412 Changed"), "-c -O", 0, "complete already,"
     " not verified: the server answered 412", SAVED, "0-0 0-0", "no proof"),
    ((OTHER, MODIFIED - 1), served(), "-c -o file", 0, "complete already",
     {"file": OTHER}, "0-0", "the same by size and time, of two seconds"),
    ((OTHER, MODIFIED), PROVED, "-c -o file", 0, "file: 9 bytes in", SAVED,
     "0-0 all 0-0", "an edit that kept size and time"),
    (OTHER_TIME, served(), "-c -o file", 0, "file: 9 bytes in", SAVED,
     "0-0 all 0-0", "another by time"),
    (ONE + b"x", PROVED, "-c -o file", 0, "file is longer than what the",
     SAVED, "0-0 all 0-0", "longer"),
    (b"", served(b""), "-c -O", 0, "complete already", {"file": b""}, "0-0",
     "an empty one"),
    (SAME_TIME, NO_RANGES, "-c -O", 0, "complete already", SAVED, "0-0",
     "without ranges"),
    (b"mine", PROVED, "-O", 5, "--force", MINE, "", "there"),
    (b"mine", PROVED, "-c -O", 5, "--force", MINE, "0-0", "there, and -c"),
    (b"mine", PROVED, "-O --force", 0, VERIFIED, SAVED, "all 0-0", "forced"),
    (os.mkfifo, PROVED, "-O", 5, "is there already", {}, "", "a pipe there"),
    (None, [CUT_4, FILE_APPEARS], "-O", 5, "; all of it is in file.part",
     dict(PART, **MINE), "all 3- 0-0", "what appears meanwhile"),
    # Our notes beside another's part would let -c join to it.
    (None, [CUT_4, PART_TAKEN], "-o t", 5, "another program",
     {"t.part": b"mine"}, "all 3- 0-0", "another program takes the part"),
    (None, [CUT_4, PART_SPOILED], "-o t", 5, "another program wrote to t.part",
     {}, "all 3-", "another writes to it, where there are no locks"),
])
def test_what_a_transfer_leaves(here, before, answers, argv, status, said,
                                left, ranges):
    if callable(before):
        before("file")
    elif before is not None:
        content, mtime = before if isinstance(before, tuple) else (before, 0)
        write_to("file", content)
        os.utime("file", (0, mtime))
    with ScriptedServer(script_of(answers)) as server:
        result = get_here(*argv.split(), server.url())
    check_end(result, status, said, left)
    check_requests(server.requests, ranges, "--range" in argv)
    for head in server.requests[:1]:    # what goes to a file is not coded
        assert field_of(head, "Accept-Encoding") == (
            "identity" if re.search("-o|-c|-O|--range|--sha", argv)
            else "gzip")


@table("questions, status, said", [
    (2, 0, "verified sha-256", "a server that is alive"),
    (None, 0, "not verified: the server does not answer any more", "dead"),
    (0, 0, "not verified: no digest from the server within 600 s", "slow"),
])
def test_digest_that_takes_longer_than_the_timeout(here, monkeypatch,
                                                   questions, status, said):
    """One byte, asked for meanwhile, tells whether to wait for it.

    *questions*: so many are answered until there is the digest; 0: it takes
    more than ten minutes of the clock; None: the server hangs.
    """
    real, held, over = time.monotonic, [], threading.Event()

    def script(head):
        if field_of(head, "Want-Repr-Digest") or held:
            held.append(head)
        if held and questions is None:
            return STALL(b"")
        if len(held) == 1:
            assert over.wait(PATIENCE)
        elif len(held) == 1 + (questions or 0):
            over.set()
        return PROVED(head)
    monkeypatch.setattr(time, "monotonic", lambda: real() + (
        700 if held and questions == 0 else 0))
    with ScriptedServer(script) as server:
        result = get_here(*AT_ONCE, "--retries", "0", "-O", server.url())
        over.set()
    check_end(result, status, said, {"file": ONE})
    assert questions is None or len(held) == 1 + questions


@table("change, server, status, said, left, ranges", [
    (written(ONE[:4]), PROVED, 0, "t: 9 bytes (5 came now) in ", ONE,
     "3- 0-0", "as it was"),
    (written(ONE[:4]), CHANGED, 0, "", OTHER, "3- 0-0", "another version"),
    (written(ONE), PROVED, 0, VERIFIED, ONE, "8- 0-0", "all is there"),
    (written(OTHER[:4]), PROVED, 4, "sha-256", None, "3- 0-0", "wrong"),
    (written(ONE + b"more"), served(), 0, "is not a part", ONE,
     "12- all 0-0", "more than the server has"),
    (written(b""), PROVED, 0, VERIFIED, ONE, "all 0-0", "nothing"),
    (written(ONE[:4]), script_of({"/file": moved_to("/m"), "/m": PROVED}), 0,
     "beginning anew", ONE, "3- 3- all all 0-0", "at another address by now"),
] + [   # then it is fetched anew, and what is not ours is left alone
    (change, PROVED, 0, VERIFIED, ONE, "all 0-0", why) for change, why in [
        (lambda: os.unlink("t.part.json"), "no notes"),
        (written(b"[" * 60000, "t.part.json"), "notes that cannot be read"),
        (written(b"{}", "t.part.json"), "nothing in the notes"),
        (None, "of another address"),
        (lambda: os.link("t.part", "x"), "a second name of the part"),
        (lambda: [os.rename("t.part", "x"), os.symlink("x", "t.part")],
         "a link for the part")]
])
def test_part_of_an_earlier_run(here, change, server, status, said, left,
                                ranges):
    """It is gone on with, proved, and gets its time."""
    with ScriptedServer(CUT_4) as scripted:
        result = get_here("-o", "t", "--retries", "0", scripted.url())
        check_end(result, 4, "4 bytes kept", FOUR)
        if change:
            change()
        del scripted.requests[:]
        scripted.script = server
        result = get_here("-c", "-o", "t", scripted.url(
            "/file" if change else "/other"))
    left = {"t": left} if left else {}
    if os.path.exists("x"):     # it stays as it is
        left["x"] = ONE[:4]
    check_end(result, status, said, left)
    check_requests(scripted.requests, ranges)
    assert not left or os.stat("t").st_mtime == MODIFIED


@pytest.mark.parametrize("late", [False, True])
def test_two_runs_of_the_same_download(here, monkeypatch, late):
    """The second is told so, and neither harms what the first saves: even
    where it comes as the part is renamed, *late*."""
    def again():
        second.append(get_here("-q", "-o", "t", server.url()))

    def halves():
        yield ok(ONE)[:-2]
        wait_until(lambda: files_in(".").get("t.part"), "the part, locked")
        again()
        yield ONE[-2:]

    def replaced(*names, replace=os.replace):
        if not second:
            again()
        replace(*names)
    if late:
        monkeypatch.setattr(os, "replace", replaced)
    second = []
    with ScriptedServer([ok(ONE) if late else Pieces([halves]),
                         ok(OTHER)]) as server:
        result = (get_here if late else get)("-o", "t", server.url())
    check_end(result, 0, "", {"t": ONE})
    assert second[0].status == 5
    assert "another program is writing t.part" in second[0].message()


@pytest.mark.parametrize("seed", range(6))
def test_over_a_bad_way_from_a_server_that_is_restarted(here, seed):
    """All arrives in one command, though each answer breaks off at random;
    if the file changes meanwhile, the new one does."""
    def change():
        write_to("site/file", bytes(map(chance.getrandbits, [8] * 300000)))
        wait_until_settled("site/file")     # its tag is a strong one then

    def answer(head):
        if next(count) == 3 and seed % 2:
            change()
        with Serving("site") as server, Wire(server.port) as wire:
            data = wire.send(head[:-2] + b"Connection: close\r\n\r\n").rest()
        return Cut(data, chance.randrange(1000, 100000),
                   chance.choice(["close", "reset"]))
    chance, count = random.Random(seed), itertools.count()
    os.mkdir("site")
    change()
    with ScriptedServer(answer) as way:
        result = get_here("-o", "t", "--retries", "9", way.url())
    assert result.status == 0 and VERIFIED in result.err, result
    assert next(count) > 4
    assert files_in(".")["t"] == files_in("site")["file"]


# ---- httpget.py: more than one file, redirects, names -----------------------


@table("answers, status, out, connections", [
    ([ok(b"1"), ok(b"2")], 0, b"12", 1, "one connection"),
    ([NONE_THERE, ok(b"2")], 1, b"2", 1, "one that fails stops no other"),
    ([ok(b"1"), CUT(b"", 0), ok(b"2")], 0, b"12", 2, "closed after the first"),
    # Only where the server closed it is the request made again.
    ([ok(b"1"), STALL(b"")], 1, b"1", 1, "a stall after the first"),
    ([ok(b"1", b"Connection: close"), ok(b"2")], 0, b"12", 2, "close"),
    ([ok(b"1").replace(b"1.1", b"1.0"), ok(b"2")], 0, b"12", 2, "HTTP/1.0"),
    # What came in one segment with it is no answer to the next request.
    ([ok(b"1") + EVIL, ok(b"2")], 0, b"12", 2, "more after content"),
    ([in_chunks(b"1", b"") + EVIL, ok(b"2")], 0, b"12", 2, "after chunks"),
])
def test_two_files(answers, status, out, connections):
    limit = ["--timeout", "0.3"] * isinstance(answers[1], Cut)
    with ScriptedServer(answers, keep=True) as server:
        result = get_here("--retries", "0", *limit, server.host, server.port,
                          "a b", "c?d")
    assert (result.status, result.out) == (status, out), result
    assert result.err.count("Connected to") == connections, result
    assert [head.split(b" ")[1] for head in server.requests] == [
        b"/a%20b"] + [b"/c%3Fd"] * (len(answers) - 1), result


def test_ten_redirects():
    def answer(head):
        number = int(head.split(b" ")[1][1:])
        return ok(b"", b"Location: %d" % (number - 1), status=b"30%d x" % (
            1, 2, 3, 7, 8)[number % 5]) if number else ok(b"here")
    result = fetch_from(answer, name="/10")
    assert (result.status, result.out) == (0, b"here")
    assert "Redirected to http://127.0.0.1:" in result.err


def test_credentials_are_for_the_first_origin(monkeypatch):
    monkeypatch.setenv("HTTPGET_PASSWORD", "secret")
    with ScriptedServer(ok(b"x")) as other:
        with ScriptedServer(moved_to(other.url())) as server:
            result = get_here(
                "-v", "--auth", "me", "-HCookie: a=b", "-HX-A: b", "-HHost: z",
                server.url(), other.url())
    assert result.status == 0 and len(other.requests) == 2, result
    for head in server.requests:
        assert field_of(head, "Authorization") == "Basic bWU6c2VjcmV0"
        assert field_of(head, "Cookie") == "a=b"
        assert field_of(head, "Host") == "z"
    for head in other.requests:
        assert field_of(head, "X-A") == "b"
        assert not re.search(b"(?i)authorization|cookie|host: z", head), head
    assert not re.search("secret|bWU6|a=b", result.err)
    assert result.err.count("(not shown)") == 2
    with ScriptedServer(ok(b"", status=b"401 x")) as other, ScriptedServer(
            moved_to(other.url())) as server:
        for url, words in (other.url(), "the user or the password is wrong"), (
                server.url(), "use --auth USER with " + other.url()):
            assert words in get_here("--auth", "me", url).message()


def test_password_without_a_terminal():
    result = get("--auth", "me", start_new_session=True)
    assert result.status == 2 and "HTTPGET_PASSWORD" in result.message()
    assert len(result.err.splitlines()) == 1


def test_name_of_the_user(here, monkeypatch):
    monkeypatch.setattr(httpget, "shown", None)     # with -q it costs nothing
    name = "100%" + "n" * 246       # too long for a suffix
    result = fetch_from(ok(ONE), "-q", "-O", "-P", "a/to", name=name)
    assert (result.status, result.err) == (0, ""), result
    assert files_in("a/to") == {name: ONE}
    assert result.requests[0].startswith(b"GET /100%25nnn")


TEXT = b"text" * 1000
PACKED = gzip.compress(TEXT)


@table("content, coding, options, status, out", [
    (PACKED, "gzip", [], 0, TEXT, "decoded"),
    (PACKED, "gzip", ["--raw"], 0, PACKED, "as it is"),
    (PACKED + gzip.compress(b"") * 50 + PACKED, "gzip", [], 0, TEXT * 2,
     "members, and empty ones"),
    (b"", "gzip", [], 0, b"", "empty"),
    (PACKED[:-8] + b"x" * 8, "gzip", [], 4, None, "a wrong sum"),
    (PACKED[:-1], "gzip", [], 4, None, "without its end"),
    (PACKED + b"junk", "gzip", [], 4, None, "more than gzip"),
    (b"junk", "gzip", [], 4, b"", "no gzip"),
    (ONE, "br", [], 4, b"", "another coding"),
    (gzip.compress(bytes(1 << 25)), "gzip", [], 4, None, "a bomb"),
    (gzip.compress(bytes(1 << 24)), "gzip", [], 0, bytes(1 << 24), "16 MiB"),
])
def test_gzip(monkeypatch, content, coding, options, status, out):
    """In small blocks, however it is cut."""
    for size in (1 << 20, 7, 1)[:1 if len(content) > 9999 else 3]:
        in_sips(monkeypatch, size)
        result = fetch_from(ok(content, b"Content-Encoding: "
                               + coding.encode()), *options)
        assert result.status == status, (result.err, len(result.out))
        assert out is None or result.out == out
        assert field_of(result.requests[0], "Accept-Encoding") == (
            "identity" if options else "gzip")


@table("path, name", [
    ("/top/?zip", "top.zip", "a folder"),
    ("/top/?tar=", "top.tar", "a form's"),
    ("/?tar", "127.0.0.1_PORT.tar", "the root, after the host"),
    ("/t%6Fp//?zip", "top.zip", "decoded"),
    ("/paged/?zip", None, "a page, as if there were no query"),
])
def test_archive_is_saved_by_the_name_of_its_folder(path, name, tmp_path,
                                                    monkeypatch):
    """By -O; proved, as every file."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "site", {"top/a": b"a", "paged/index.html": b"p"})
    wait_until_settled(tmp_path / "site" / "top" / "a")
    with Serving(tmp_path / "site") as serving:
        result = get_here("-O", "http://127.0.0.1:%d%s" % (
            serving.port, path))
    if not name:
        assert result.status == 1 and "a page, not an archive" in result.err
        assert os.listdir(".") == ["site"]
        return
    assert result.status == 0 and "verified sha-256" in result.err, result
    name = name.replace("PORT", str(serving.port))
    content = (tmp_path / name).read_bytes()
    assert READ[name[-3:]](content)[-1][1] == b"a"


def test_fetch_from_a_program():
    """Any status, blocks of content, and the documented errors."""
    with ScriptedServer(ok(MANY_BYTES, b"A: b")) as server:
        url = server.url()
        with httpget.fetch(url, fields=[("X-Y", "z")]) as response:
            assert (response.status, response.reason) == (200, "OK")
            assert response.fields["a"] == "b"
            assert next(iter(response)) != b""
        assert field_of(server.requests[-1], "X-Y") == "z"
        with pytest.raises(httpget.Failure, match="closed"):    # no end
            b"".join(response)
        with httpget.fetch(url, timeout=None) as response:
            assert b"".join(response) == MANY_BYTES
        server.script, count = BUSY, len(server.requests)
        with httpget.fetch(url) as response:
            assert response.fields["retry-after"] == "5"
        assert len(server.requests) == count + 1
        server.script = NONE_THERE[:-1]
        with httpget.fetch(url) as response:
            assert response.status == 404
            with pytest.raises(httpget.Failure, match="broke off"):
                b"".join(response)
        for server.script, status in ((b"junk", 4), (b"", 3)):
            with pytest.raises(httpget.Failure) as info:
                httpget.fetch(url)
            assert info.value.status == status
    for where, name, value in [
            ("ftp://h/", "X", ""), (url, "X", "\u20ac"), (url, "a b", ""),
            (url, "X", "a\r\nHost: evil")]:
        with pytest.raises(ValueError):
            httpget.fetch(where, fields=[(name, value)])


@pytest.fixture
def tls(certificate):
    """A context to serve TLS by."""
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


# CA stands for the server's own certificate.
@table("host, options, status, said", [
    ("localhost", ["--cafile", "CA"], 0, "TLSv1.", "trusted"),
    ("127.0.0.1", ["--cafile", "CA"], 0, "TLSv1.", "by its address"),
    ("127.0.0.2", ["--cafile", "CA"], 3, "certificate", "of another host"),
    ("localhost", [], 3, "; --cafile FILE names certificates", "of nobody"),
    ("127.0.0.2", ["--insecure"], 0, "TLSv1.", "verified by nobody"),
    ("localhost", ["--cafile", "/none"], 3, "/none", "no such file"),
])
def test_tls(certificate, tls, host, options, status, said):
    options = [certificate[0] if each == "CA" else each for each in options]
    with ScriptedServer(ok(b"secret"), context=tls, address=host.replace(
            "localhost", "127.0.0.1")) as server:
        for words in (["https://%s:%d/" % (host, server.port)],
                      ["--tls", host, server.port]):
            result = get_here(*options, *words)
            assert result.status == status and said in result.err, result
            assert "_ssl" not in result.err
            assert result.out == (b"" if status else b"secret")


@needs("ssl")
@pytest.mark.parametrize("scheme, other, where", [
    ("http", "https", "tls_server"), ("https", "http", "server")])
def test_port_of_the_other_scheme(scheme, other, where, request):
    url = "://127.0.0.1:%d/?a" % request.getfixturevalue(where).port
    message = get_here("-v", scheme + url).message()
    assert message.endswith("try " + other + url), message


@table("answer, settings, status, out", [
    (until_close(b"cut"), {}, 0, b"cut", "an end that TLS vouches for"),
    (until_close(b"cut"), {"ragged": True}, 4, b"cut", "one that it does not"),
    (ok(b"cut"), {"ragged": True}, 0, b"cut", "after which nothing can come"),
    (ok(b"plain"), {"context": None}, 3, b"", "a server without TLS"),
])
def test_ends_of_tls(tls, answer, settings, status, out):
    result = fetch_from(answer, "--insecure", "--tls", *(
        AT_ONCE * ("context" in settings)), **dict(
            {"context": tls}, **settings))
    assert (result.status, result.out) == (status, out), result


def proxy_answer(head):
    return (moved_to("http://b.test/") if b"/to " in head else
            ok(b"<a href=a>") if b"/d/ " in head else
            ok(b"", status=b"407 x") if b"/407 " in head else
            ok(b"x"[:not head.startswith(b"CONNECT ")]))


def test_proxies(tls, monkeypatch, here):
    """Who is asked for what, on which connections, and who gets passwords."""
    words = ["-v", "--insecure", "http://a.test/to", "http://b.test:81/?q",
             "https://c.test/y", "https://c.test/", "https://[2001:db8::1]:1"]
    with ScriptedServer(proxy_answer, True, tls, tunnel=True) as proxy:
        where = "%s:%d" % (proxy.host, proxy.port)
        monkeypatch.setenv("all_proxy", "me:secret@" + where)
        for options, value in ([], "Basic bWU6c2VjcmV0"), (
                ["-HProxy-Authorization: my secret"], "my secret"):
            del proxy.requests[:]
            result = get_here(*options, *words)
            assert (result.status, result.out) == (0, b"x" * 5), result
            assert re.findall("Connected to (.*) through the proxy %s, .*?"
                              "(TLS|\n)" % where, result.err) == [
                ("a.test", "\n"), ("c.test", "TLS"), ("2001:db8::1", "TLS")]
            assert not re.search("secret|bWU6", result.err), result
            assert len(re.findall("\n<.* 200|not shown", result.err)) == 12
            assert [(head.partition(b" HTTP")[0], field_of(head, "Host"),
                     field_of(head, "Proxy-Authorization"))
                    for head in proxy.requests] == [
                (b"GET http://a.test/to", "a.test", value),
                (b"GET http://b.test/", "b.test", value),
                (b"GET http://b.test:81/?q", "b.test:81", value),
                (b"CONNECT c.test:443", "c.test:443", value),
                (b"GET /y", "c.test", None), (b"GET /", "c.test", None),
                (b"CONNECT [2001:db8::1]:1", "[2001:db8::1]:1", value),
                (b"GET /", "[2001:db8::1]:1", None)]
        for scheme in "http", "https":
            assert not get_here("-r", "--insecure", scheme + "://h/d/").status
            assert files_in("d").pop("a") == b"x"
            shutil.rmtree("d")
        assert get_here("--insecure", "https://h/407").status == 1
        monkeypatch.delenv("all_proxy")
        httpget.fetch("http://h/f", environ={"http_proxy": where}).close()
        assert proxy.requests[-1].startswith(b"GET http://h/f HTTP/1.1")
    with ScriptedServer(ok(b"x")) as server:    # on this machine
        assert not get_here("-HProxy-Authorization: x", server.url()).status
    assert field_of(server.requests[0], "Proxy-Authorization") is None


WANTED, DENIED, NO_PROXY, NO_TARGET = in_form(
    b"HTTP/1.1 %s x\r\n\r\n", b"407", b"403", b"405", b"502")
BOTH = ["http", "https"]


@table("scheme, user, answer, status, words", spread([
    (BOTH, "", WANTED, 3, "_proxy to http://USER:PASSWORD@127.", "a password"),
    (BOTH, "u:secret@", WANTED, 3, "for the proxy is wrong", "another one"),
    ("https", "u:secret@", ok(b"", status=b"401 x"), 3,
     "for the proxy is wrong", "tinyproxy"),
    ("http", "u:secret@", ok(b"", status=b"401 x"), 1,
     "--auth USER with http://h/, or check", "tinyproxy, or the server"),
    ("http", "", DENIED, 1, "r or the proxy 127.0.0.1:PORT answered 403 x for",
     "denied"),
    ("https", "", DENIED, 3, "h:443 through the proxy 127.0.0.1:PORT: 403 x",
     "denied"),
    ("https", "", b"HTTP/1.1 100 x\r\n\r\n" + DENIED, 3, "PORT: 403 x",
     "denied after an interim response"),
    ("https", "", NO_PROXY, 3, "405 x; is this a proxy", "a web server"),
    ("https", "", ok(b"") + b"x", 3, "sent more", "more than a tunnel"),
    ("http", "", b"SSH-2.0\r\n", 4, "the proxy 127.0.0.1:PORT", "garbage"),
    ("https", "", b"SSH-2.0\r\n", 3, "PORT: the answer is not HTTP",
     "garbage"),
    (BOTH, "", CUT(b"", 0), 3, "closed; is this a proxy", "closed"),
    (BOTH, "", STALL(b""), 3, "s (--timeout); is this", "silence"),
    (BOTH, "", None, 3, "is the proxy that", "nobody there"),
    (BOTH, "socks5://u:secret@", b"", 2, "_proxy is not http://", "kind")]))
def test_proxy_that_fails(scheme, user, answer, status, words, monkeypatch):
    """One clear line, and the password is not in it."""
    with ScriptedServer(answer) as proxy:
        port = 1 if answer is None else proxy.port
        monkeypatch.setenv(scheme + "_proxy", "%s127.0.0.1:%d" % (user, port))
        result = get_here("--timeout", "0.3", scheme + "://h/")
    assert result.status == status, result
    assert words.replace("PORT", str(port)) in result.message(), result
    assert "secret" not in result.err and len(proxy.requests) < 2


HALF_CAME = [ok(b""), CUT(ok(MANY_BYTES), 99)]


@table("answers, status", [
    ([*HALF_CAME, NO_TARGET], 0, "the proxy could not reach the server"),
    ([*HALF_CAME, DENIED], 3, "denied"),
    ([BUSY], 0, "the proxy asks for patience"),
])
def test_tunnel_that_is_asked_for_again(tls, monkeypatch, here, answers,
                                        status):
    with ScriptedServer([*answers, ok(b""), ok(ONE)],
                        True, tls, tunnel=True) as proxy:
        monkeypatch.setenv("https_proxy", "127.0.0.1:%d" % proxy.port)
        assert get_here("--insecure", "-o", "t", "https://h/").status == status


# ---- httpget.py: copying a folder -------------------------------------------


def listed(*names, kind="file", **members):
    """Return a listing of *names*; those of folders end with a slash."""
    return ok(json.dumps([dict(members, name=name, type=(
        "directory" if str(name).endswith("/") else kind)) for name in names]
        ).encode(), JSON_TYPE)


COPIED_NAMES = {    # the names of the copies, where those would do harm
    "nl\nx": "nl%0Ax", "esc\x1b[2J": "esc%1B[2J", "a\rb": "a%0Db",
    "\u202erl": "%E2%80%AErl", "con": "%63on", "aux.txt": "%61ux.txt"}
COPIED_NAMES.update(zip(*[[
    "a b", "c#d?e", "50%", "%41", "quo\"te'", "<b>&amp;", "caf\xe9", "-dash",
    "\u20ac\U0001f600", "back\\slash", "a:b", "semi;colon", "~tilde", "end.",
    "end ", "\udcff\udcfe", "a" * 200, "*|$(id)", "+plus", "a&b=c"]] * 2))


def test_copy_of_a_folder(here, monkeypatch):
    """Names and times of all kinds: all come once, then what has changed."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)   # disks are slow
    files = {"odd & <names>/" + name: b"odd" for name in COPIED_NAMES}
    times = {"dated/half": 1600000001.5, "dated/old": -315360000,
             "dated/one": 1, "dated/future": 4 * 10**9, "dated/page/empty": 9,
             "dated/page/index.html": 1}
    files.update((name, b"<a href=empty>" * ("empty" not in name))
                 for name in times)
    files.update(("d%d/%d/%d.bin" % (n % 7, n % 10, n), b"x\n" * n)
                 for n in range(300 - len(files)))
    for name, content in files.items():
        os.makedirs(os.path.dirname("from/top/" + name), exist_ok=True)
        write_to("from/top/" + name, content)
        os.utime("from/top/" + name, (times.get(name, NOW),) * 2)
    expected = {os.path.join("top", *(COPIED_NAMES.get(word, word)
                                      for word in name.split("/"))): content
                for name, content in files.items()}
    with Serving("from") as server:
        def check_copy(fetched, replaced, unchanged):
            result = get_here("-r", "-P", "to", "127.0.0.1", server.port,
                              "top")
            assert result.status == 0, result
            assert re.search(r"(?m)^%d files?, .* into to.top; %d replaced;"
                             " %d unchanged; 0 failed$" % (
                                 fetched, replaced, unchanged), result.err)
            assert result.err.count("top/dated/page/index.html is an index"
                                    " page, ") == 1, result
            assert sorted(files_in("to").items() ^ expected.items()) == []
        check_copy(300, 0, 0)
        check_copy(0, 0, 300)
        server.logged("/d1/1/1.bin ")   # one request, with its digest
        write_to("to/top/d1/1/1.bin", b"edited")
        os.unlink("to/top/d1/1/71.bin")
        check_copy(2, 1, 298)
    for name in ("d1/1/1.bin", "dated/half", "dated/one", "dated/future"):
        assert os.stat("to/top/" + name).st_mtime == int(
            times.get(name, NOW))


LINKS = b"".join(b'<a href="%s">x</a>' % link for link in [
    b"../x", b"/../x", b"//evil/x", b"http://evil/x", b"%2e%2e/x", b"%2E%2E",
    b"a/../../x", b"/in/a//", b"..%2fx", b"..\\x", b".bashrc", b"good",
    b"javascript:x", b"?C=M", b"con", b"a%00b"])
SAME_LINKS = ok(b"<a href=f><a href=x/>")


def slashed(head):
    """Redirect to a path with one more slash."""
    return moved_to("http://%s%s/" % (
        field_of(head, "Host"), head.split(b" ")[1].decode()))


@table("paths, status, said, left", [
    ({"": ok(json.dumps([{"name": name, "type": kind}, {"name": "good"}]
                        ).encode(), JSON_TYPE)}, 1, "be a file name",
     ["good"], "the name of a %s: %s" % (kind, why)) for name, why in [
         ("../up", "parent"), ("/abs", "absolute"), ("..", "two dots"),
         (".", "dot"), ("", "empty"), ("a\0b", "nul"),
         ("\ud800", "half a character"), (5, "number")
     ] for kind in ("file", "directory")
] + [
    ({"": listed("f"), "f": moved_to(location)}, 1, "leads out", [],
     "a redirect: " + why) for location, why in [
         ("/out/x", "a parent"), ("http://127.0.0.2:9/in/f", "another origin"),
         ("/in/../x", "dots"), ("/in/%2e%2e?x", "encoded dots, a query"),
         ("/in-other/x", "a folder whose name begins alike")]
] + [
    ({"": lambda head: ok(b"<a href=f>") if field_of(head, "Accept")
      == "text/html" else ok(b'[{"name": "f"}, "f"]', JSON_TYPE)}, 0,
     "1 file, ", ["f"], "JSON of another kind"),
    ({"": ok(b'[{"name": "f"}]', b"Content-Type: Text/JSON")}, 0, "1 file, ",
     ["f"], "JSON by its type"),
    # As h2o and serve-index list it.
    ({"": ok(b"<a href=d%c3%a9>d</a>"), "d%c3%a9": slashed, "index.html":
      NONE_THERE, "d%C3%A9": slashed, "d%C3%A9/": ok(b"<a href=f>")}, 0, "",
     ["d\xe9/f", "d\xe9/index.html"], "a folder listed without a slash"),
    ({"*": slashed}, 1, "more than 10 redirects", [], "a folder to itself"),
    ({"": listed("a", "a.part", "a.part.json", ".a.part", "a", "b", "b",
                 "%2Ea.part")}, 1,
     "'%2Ea.part', which has the file name of another", [
         "%2Ea.part", "a", "a.part", "a.part.json", "b"],
     "names that parts have, and names twice"),
    ({"": ok(LINKS)}, 1, " 3 failed\n", [
        "good", "%2Ebashrc", "%63on", "%2E.\\x", "index.html"],
     "links that lead elsewhere"),
    ({"": ok(b"<img src=i><a href=f>"), "index.html": [b"", NONE_THERE]}, 0,
     "1 file, ", ["f"], "icons of a listing are the server's"),
    ({"": listed("f"), "f": [ok(ONE), b"", ok(ONE)]}, 0, "", {"f": ONE},
     "a second run that is broken off as it asks for the time"),
    ({"": listed("f"), "f": served(digest=b"503 x")}, 0, "f: not verified: "
     "the server answered 503", {"f": ONE}, "no answer for the digest"),
    ({"": listed("f"), "f": ok(PACKED, GZIP)}, 0, "f: saved as sent, gzip\n",
     {"f": PACKED}, "content that is coded unasked"),
    # What pages need comes once, wherever below they name it.
    ({"": ok(b"<link href=a.css?1><img src=i/x/p><a href=i/x/q><a href=i/>"
             b"<a href=n/o/>"), "i/": ok(b"<img src=x/p><a href=y><a href=/in/"
                                         b"i/x/>"), "i/x/": ok(b"<a href=p>"),
      "n/": NONE_THERE, "n/o/": ok(b"<a href=r>")}, 0, "9 files, ", [
          "index.html", "a.css", "i/x/p", "i/x/q", "i/index.html", "i/y",
          "i/x/index.html", "n/o/index.html", "n/o/r"], "pages of a site"),
    ({"": ok(b"<a href=d/><a href=d/f><a href=f>"), "d/": ok(
        b"", status=b"403 No")}, 1, "/d/: the server answered 403", [
            "f", "d/f", "index.html"], "a folder without a listing"),
    ({"": [listed("d/")[:-1], listed("d/")], "d/": [b"", b"", listed("f")],
      "d/f": [CUT(EVIL, 20), EVIL]}, 0, " 0 failed\n", ["d/f"],
     "a listing that breaks off, a server that comes back, half a head"),
    ({"": [BUSY, listed("f")], "f": [BUSY, EVIL]}, 0, WAITS.replace(
        "file", "in/") + "1 file, ", ["f"], "patience, and that is said once"),
    ({"*": lambda head: listed("d%d/" % head.count(b"/"))}, 1,
     "nested more than 64 deep", [], "nested folders, each of another name"),
    ({"": SAME_LINKS, "x/": SAME_LINKS, "x/x/": listed(), "f": ok(ONE),
      "index.html": NONE_THERE, "x/index.html": NONE_THERE}, 0, "2 files, ",
     {"f": ONE, "x/f": b"evil"}, "no loop: the same links, but other files"),
    ({"": ok(b"x" * (17 << 20))}, 4, "longer than", [], "a long page"),
    ({"": listed("x" * 256, "good")}, 1, ": File name too long", ["good"],
     "a long name, of which no part stays"),
    ({"": listed("a/"), "a/": ok(ONE, b"Content-Type: text/plain")}, 1,
     "a listing of a folder, but text/plain", [], "a folder that is a file"),
    ({"": ok(b"[" + b'{"name":"f"},' * 200000 + b'{"name":"f"}]', JSON_TYPE)},
     4, "more than", [], "too many names"),
] + [   # what takes quadratic time takes hours here
    ({"": ok(page), "index.html": NONE_THERE}, 0, "0 files, ", [],
     "linear time: %r" % page[:9]) for page in [
         b"<!--" * 200000, b"<a " * 200000, b"<a href=\"" * 10**5]
])
def test_what_a_copy_leaves(here, paths, status, said, left):
    """Nothing that a server says leads elsewhere, or to no end; a second run
    has no more."""
    script = {name if name == "*" else "/in/" + name: answer
              for name, answer in paths.items()}
    left = {os.path.join("in", name): left[name] if isinstance(left, dict)
            else b"evil" for name in left}
    with ScriptedServer(script_of(dict({"*": EVIL}, **script))) as server:
        result = get_here("-r", "-P", ".", server.url("/in"))
        check_end(result, status, said, left)
        assert "nested" not in said or len(server.requests) == 65
        if left and not status:
            result = get_here("-r", "-P", ".", server.url("/in"))
            check_end(result, 0, "", left)
    for head in server.requests:
        assert head.split(b" ")[1].startswith(b"/in/")
        assert not re.search(rb"(?i)/(\.|%2e){1,2}[/? ]", head)


@table("page, other, count", [
    (b'[{"name": "up", "type": "directory"}, {"name": "f", "type": "file",'
     b'"size": 4, "mtime": "%s"}]' % DATE.encode(), b"", 1, "sizes and times"),
    (b"<a href=up/><a href=f>", b"", 1, "names alone"),
    (b"<a href=up/>", b"", 3, "no name of a file: four in a row"),
    (b"<a href=up><a href=f>", b"", 1, "folders without a slash"),
    (b"<a href=up/>", b"<a href=up/><a href=x/>", 14, "in turns, and no file"),
])
def test_copy_ends_where_folders_loop(here, page, other, count):
    """A link leads to the folder above, or *page* shows *other* and so on."""
    def script(head):
        path = head.decode().split(" ")[1]
        name = path.rpartition("/")[2]
        if name == "index.html":
            return NONE_THERE
        if name:
            return moved_to(path + "/") if name == "up" else EVIL
        return ok(page if path.count("/") % 2 else other or page, *[
            JSON_TYPE] * page.startswith(b"["))
    with ScriptedServer(script) as server:
        result = get_here("-r", "-P", ".", server.url("/"))
    assert result.status == 1 and ": it lists the same as http" in result.err
    assert len(list(os.walk("."))) == count, result
    assert len(files_in(".")) == (b"f>" in page or b'"f"' in page)


def test_copy_onto_what_is_there(here):
    """No link is followed but the user's own, permissions stay, and edits
    are seen where there is no time to compare."""
    for name in ("outside", "to"):
        os.mkdir(name)
    for name, target in [("link", "to"), ("to/linked", "../outside"),
                         ("to/file", "../outside/file")]:
        os.symlink(target, name)
    for name, content in [("to/f", b"mine"), ("usual", b"evil")]:
        write_to(name, content)
    os.chmod("to/f", 0o600)
    with ScriptedServer(script_of({
            "/": listed("linked/", "file", "f", "g"), "*": EVIL,
            "/linked/": listed("f")})) as server:
        for _ in range(2):
            result = get_here("-r", "-P", "link", server.url("/"))
            assert result.status == 1 and "2 files, 8 bytes" in result.err
            assert "linked is there, but it is not a folder" in result.err
            assert "file is there, but it is not a file" in result.err
    assert files_in(".") == dict.fromkeys(["to/f", "to/g", "usual"], b"evil")
    assert stat.S_IMODE(os.stat("to/f").st_mode) == 0o600
    assert os.stat("to/g").st_mode == os.stat("usual").st_mode


@table("at_slash", [
    (NONE_THERE, "as nginx"), (ok(ONE, b"Content-Type: a/b"), "as lighttpd"),
    (lambda head: moved_to("/d/f"), "as npm's serve")])
def test_copy_of_a_file(here, at_slash):
    with ScriptedServer(script_of({
            "/d/f": ok(ONE, b"Content-Type: a/b"), "/d/f/": at_slash,
            "*": NONE_THERE})) as server:
        for name in ("/d/f", "/d/f/"):
            result = get_here("-r", server.url(name))
            check_end(result, 1, "httpget.py: %s is a file, not a folder;"
                      " leave -r out\n" % server.url("/d/f"), {})
            assert result.err.count("\n") == 1, result
        result = get_here("-r", server.url("/d/g"))
        assert result.status == 1 and result.err == (
            "httpget.py: the server answered 404 Not Found for /d/g/\n")


def test_copy_of_a_server_has_its_name(here):
    with ScriptedServer(script_of({"/": listed("f"), "*": EVIL})) as server:
        for options in (["-r"], ["-r", "-P", "a/to"]):
            result = get_here(*options, server.host, server.port)
            assert result.status == 0 and result.err.count("\n") == 1, result
    assert files_in(".") == dict.fromkeys([
        "127.0.0.1_%d/f" % server.port, "a/to/f"], b"evil")


def test_copy_in_any_locale(tmp_path):
    with ScriptedServer(script_of({"/%C3%A9/": listed("\xe9"),
                                   "*": EVIL})) as server:
        result = get("-r", "-P", tmp_path, server.url("/%C3%A9/"),
                     environment={"PYTHONUTF8": "0", "LC_ALL": "C",
                                  "PYTHONCOERCECLOCALE": "0"})
    assert result.status == 0, result
    assert [names for _, *names in os.walk(os.fsencode(str(tmp_path)))] == [
        [[b"\xc3\xa9"], []], [[], [b"\xc3\xa9"]]]


def test_copy_from_a_server_that_is_gone(here):
    """It ends before each name that waits has been asked for in vain."""
    with ScriptedServer(script_of({"/": listed(*map(str, range(50))),
                                   "*": b""})) as server:
        result = get_here("-r", "-P", ".", "--retries", "0", server.url("/"))
    assert result.status == 3 and files_in(".") == {}, result
    assert result.err.endswith("; the same command resumes the copy\n")
    assert len(server.requests) <= 2 * httpget.CONNECTIONS + 1


def test_copy_onto_a_full_disk(here, monkeypatch):
    """It ends at once: no other file would fare better."""
    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with ScriptedServer(script_of({"*": EVIL, "/": listed("..", *map(
            str, range(100)))})) as server:
        result = get_here("-r", "-P", ".", server.url("/"))
    assert result.status == 5 and "No space" in result.err, result
    assert len(server.requests) < 10
    # What failed before is listed all the same.
    assert "it lists '..', which cannot be a file name" in result.err


STALL_4 = served(cut=4, how="stall")


@table("argv, script, parts, said", [
    ("-o t", STALL(b""), {}, "", "before the response"),
    ("-o t", STALL_4, FOUR, "; 4 bytes kept in t.part", "in the content"),
    ("-r -P .", {"/": listed("f", "g"), "/f": [STALL_4, served()],
                 "/g": [STALL_4, served()]},
     dict(part_kept(ONE[:4], ".f"), **part_kept(ONE[:4], ".g")),
     "; 0 files copied, and what came of others is kept; the same command"
     " resumes it", "in a copy"),
])
def test_interrupted(here, argv, script, parts, said):
    """One line; what came of each file is kept, and gone on with."""
    with ScriptedServer(script_of(script)) as server:
        where = [*argv.split(), server.url("/")]
        process = start_httpget(*where, preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL))     # in a shell's background, too
        wait_until(lambda: server.requests and files_in(".") == parts,
                   "the parts")
        process.send_signal(signal.SIGINT)
        check_end(ended(process), 130, "httpget.py: interrupted" + said, parts)
        if "-r" in argv:
            check_end(get_here(*where), 0, "2 files, 10 bytes",
                      {"f": ONE, "g": ONE})


def test_interrupted_at_the_start(here):
    """While it imports selectors, here its stand-in: no traceback."""
    write_to("selectors.py",
             b"import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    result = get("--version", environment={"PYTHONPATH": "."},
                 preexec_fn=lambda: signal.signal(
                     signal.SIGINT, signal.SIG_DFL))
    assert (result.status, result.err) == (-signal.SIGINT, ""), result


# ---- Both programs on a terminal --------------------------------------------

PROGRESS = r"\r[0-9]+ %  [0-9.]+ (bytes|[KM]iB) of 300.0 KiB  "
IN_TWO = [served(MANY_BYTES, cut=200000), served(MANY_BYTES)]


@table("script, argv, step, columns, shown", [
    (IN_TWO, ["-o", "t"], 0.3, 0, PROGRESS, "a terminal of unknown size"),
    (IN_TWO, ["-o", "t"], 0.3, 20, r"\r[0-9]+ %  [^\r]{,13}\r",
     "a narrow one: what has wrapped could not be taken off"),
    (IN_TWO, ["-o", "t"], 0, 0, "",
     "what is quick: a line that is gone at once would flicker"),
    (ok(b"text\n" * 60000), [], 0.3, 0, "", "not beside the content"),
    ({"/file/": listed("a"), "/file/a": EVIL}, ["-r", "-P", "."], 0.3, 0,
     r"\r[01] of 1 file, 4 bytes; 0 unchanged", "a copy"),
    ({"/file/": listed("a", "b", size=307200), "*": ok(MANY_BYTES)},
     ["-r", "-P", "."], 0.3, 0, r"\r0 of 2 files, \d+.* of 600.0 KiB; 0 unch",
     "a copy, whose first file has not come yet"),
    ({"/file/": listed("a", size=10**400), "*": EVIL}, ["-r", "-P", "."], 0.3,
     0, r"\r[01] of 1 file, 4 bytes; 0 unchanged", "a size that cannot be"),
])
def test_progress(here, monkeypatch, script, argv, step, columns, shown):
    """It is shown, and taken off again.  Each request takes *step* seconds
    of a clock that stands still if that is none."""
    import fcntl
    import termios
    real = time.monotonic
    with ScriptedServer(script_of(script)) as server, terminal() as (
            screen, said), tempfile.TemporaryFile() as out:
        fcntl.ioctl(screen, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 24, columns, 0, 0))
        with descriptors_replaced(out if argv else screen, screen), (
                monkeypatch.context()) as patch:
            patch.setattr(time, "monotonic", lambda: step and real()
                          + step * len(server.requests))
            status = httpget.main([*argv, server.url()], delays=(0,))
    said = b"".join(said).decode()
    assert status == 0 and "\x1b" not in said, said
    assert re.search(shown, said) if shown else "%" not in said, said
    for line in said.split("\n"):   # what stays
        assert not re.search("%|unchanged$", line.rpartition("\r")[2]), said


@table("content, argv, status, expected", [
    (b"no end", [], 0, b"no end\n", "text"),
    (b"a\x1b]0;x\x07\tb\r\nc\rd\xc2\x9b\xe2\x80\xae\n", [], 0,
     b"a\\x1b]0;x\\x07\tb\nc\\x0dd\\x9b\\u{202e}\n", "escape characters"),
    (b"a\r\n\xc3\xa9\rb\r", [], 0, b"a\n\xc3\xa9\\x0db\\x0d\n", "CR"),
    (b"caf\xe9 is not UTF-8", [], 5, b"", "not UTF-8"),
    (b"x" * 400000 + b"\n" + bytes(9), [], 5, b"x", "a NUL, late"),
    (b"x" * 400000 + b"\xc3", [], 5, b"x", "half a character, late"),
    (BINARY, ["-o", "-"], 0, BINARY, "forced"),
])
def test_content_on_a_terminal(monkeypatch, content, argv, status, expected):
    """However it is cut; of what is binary only the text before is shown."""
    for size in (9999, 3, 2, 1)[:1 if len(content) > 9999 else 4]:
        in_sips(monkeypatch, size)
        with terminal() as (screen, shown), tempfile.TemporaryFile() as err:
            with ScriptedServer(ok(content)) as server, (
                    descriptors_replaced(screen, err)):
                assert httpget.main([*argv, server.url()]) == status
            err.seek(0)
            assert (b"-o FILE" in err.read()) == (status == 5)
        shown = b"".join(shown)
        if len(content) > 9999:
            assert set(shown) <= set(b"x\n") and len(shown) > 1000
        elif size == 9999 or not status:
            assert shown == expected


def on_a_terminal(screen, program, *options, **environment):
    """Start *program* with its output on the terminal *screen*."""
    return subprocess.Popen(
        [sys.executable, compiled(program), *map(str, options)], stdout=screen,
        stderr=screen, stdin=subprocess.DEVNULL,
        env=dict(os.environ, PYTHONIOENCODING="utf-8", **environment))


def test_ctrl_c_says_what_is_waited_for(tmp_path):
    """On a terminal, where the log is short."""
    write_to(tmp_path / "big", b"")
    os.truncate(str(tmp_path / "big"), 64 << 20)
    with terminal() as (screen, shown), on_a_terminal(
            screen, "httpd.py", "-d", tmp_path, "-b", "127.0.0.1", "0"
            ) as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        port = wait_until(lambda: re.search(
            rb"127.0.0.1:([0-9]+)/(?s:.*)Ctrl-C", b"".join(shown)), "it")
        with Wire(int(port.group(1))) as wire:
            wire.send(request_for("/big")).head()
            process.send_signal(signal.SIGINT)
            wait_until(lambda: b"serving clients: 1; " in b"".join(shown),
                       "the message")
        assert process.wait(PATIENCE) == 0
    assert re.search(rb'"GET /big HTTP/1.1" 200 [0-9]+\n', b"".join(shown))


def test_terminals_get_no_escape_sequence():
    """Whatever the terminal can do, and Python's own argparse would do."""
    with terminal() as (screen, shown), ScriptedServer(
            ok(b"\x1b[31m\n", b"X: \x9b1m", status=b"404 \x1b")) as server:
        for words, status in [
                (["httpd.py", "-h"], 0), (["httpd.py", "-x"], 2),
                (["httpget.py", "-h"], 0), (["httpget.py", "-4", "-6"], 2),
                (["httpget.py", "-v", server.host, server.port, "\x1b"], 2),
                (["httpget.py", "-v", server.url()], 4)]:
            assert on_a_terminal(screen, *words, TERM="xterm-256color").wait(
                PATIENCE) == status, words
    text = b"".join(shown).decode()
    assert "examples:" in text and "usage: httpget.py" in text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text)
