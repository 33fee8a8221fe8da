#!/usr/bin/env python3
"""httpget.py - fetch files over HTTP, in one file.

    python3 httpget.py [options] [host] [port] [file ...]
    python3 httpget.py [options] URL ...

Fetches files from a web server and writes them to standard output, byte for
byte; messages go to standard error.  Without arguments it asks 127.0.0.1,
port 8080, for /, the server's default file.  Needs Python 3.6 or newer and
nothing else; copy the file and run it.

What it does
    GET requests by HTTP/1.1, over TLS if wanted (--tls, https://), and
    through the proxies named by http_proxy, https_proxy (by CONNECT),
    all_proxy and no_proxy; this machine is reached without a proxy.  file is
    a plain name: ?, #, % and non-ASCII characters are encoded in the request;
    a URL is taken as it is.  HOST:PORT stands for host and port,
    HOST:PORT/PATH for a URL.  Redirects are followed.  Content is written
    only if the request succeeded (2xx).  On a terminal it must be text, and
    control characters are escaped ("-o -" writes everything unchanged).

    With -o FILE or -O the content is collected, as it was sent, in FILE.part,
    which is renamed to FILE once it is complete and on the disk.  An
    interrupted transfer resumes automatically, and with -c in a later run;
    two versions of a file are never joined.  A busy server that asks for time
    (Retry-After) is given it.  The saved file is compared with the server's
    digest (Repr-Digest), or with that of --sha256.  -r copies a folder by the
    server's listings, and leaves alone what has not changed.

    The server chooses no file name, except with -r, where no name leads
    outside the copy.  Nothing it sends reaches the terminal unescaped.  A
    malformed response is refused, not guessed at.

Options, which --help explains
    where to        -o, -O, -P, --force, -c, -r
    how             -H, --range, --raw, --sha256, --retries, --timeout,
                    --auth, --tls, --cafile, --insecure, -4, -6
    what is shown   -v, -q

Limits
    A head of 64 KiB, 64 interim (1xx) responses, chunk sizes of 16 digits,
    10 redirects, gzip content of 100 times its coded size, listings of
    16 MiB and 200,000 names, folders 64 deep; 30 s to connect to each
    address, for a head, and between bytes (--timeout); 5 retries in a
    row (--retries); 2 minutes for a server that asks to wait, 10 for a
    digest.  Content has no limit, and memory stays the same whatever its size.

Exit status
    0    success
    1    the status is not 2xx, a redirect was refused, or one of several
         files was not fetched
    2    usage
    3    could not connect, or no byte of a response came
    4    the response broke off, stalled or was malformed, or is not what the
         server's digest, or --sha256, says
    5    could not write the content
    130  interrupted by Ctrl-C
    141  the reader of the output went away
    After 4, 5 and 130 the bytes received so far are kept in FILE.part, unless
    they are wrong.  FILE itself is untouched until the end.

In a program
    with httpget.fetch("http://127.0.0.1:8080/a.txt") as response:
        print(response.status, sum(len(block) for block in response))

Licence: MIT

How one file is fetched
    main -> fetch_all -> fetch_file, which calls open_output
    -> Transfer.run (a task, as all that follow) -> persistently
    -> _attempt, which sends a request by Client.get -> _get_once -> _exchange
    and takes the response by _place, _copy (Response.read, Output.write) and
    _prove
    -> sync, then FileOutput.finish, which renames

Map of the sections
    Limits and vocabulary, Target, Request, Response head,
    What is there already, File names, Listings, Display
    - up to here the code is pure: no socket, no file, no clock -
    Report, Tasks, Connection, Body, Exchange, Output, Transfer,
    Copying a folder, Command line
"""

if __name__ == "__main__":
    # Until main() can report Ctrl-C, it ends the program without a traceback.
    try:
        import signal
        ON_CTRL_C = signal.getsignal(signal.SIGINT)
        if ON_CTRL_C != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        raise SystemExit(130)

import errno
import os
import re
import selectors
import socket
import stat
import sys
import time
from collections import OrderedDict, namedtuple
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from types import SimpleNamespace

TYPE_CHECKING = False  # Only mypy needs `typing`, which takes 3 ms to import.
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import (Any, Callable, Dict, FrozenSet, Generator, Iterable,
                        Iterator, List, Mapping, Optional, Sequence, Tuple,
                        Union)
    from typing import Set  # noqa: F401 - in type comments
    Block = Union[bytes, memoryview]
    Fields = List[Tuple[str, str]]      # names and values, in order
    Wait = Tuple[Optional[socket.socket], int, float]
    Task = Generator[Wait, None, Any]
    Settings = Union[Namespace, SimpleNamespace]    # see fetch()
    Job = Tuple[Optional["Folder"], "Entry"]

__version__ = "1.0"

# ---- Limits and vocabulary --------------------------------------------------

KIB, MIB = 1024, 1024 * 1024

HOST = "127.0.0.1"
PORT = 8080             # as httpd.py
PROXY_PORT = 1080       # of a proxy without a port, as in curl

TIMEOUT = 30.0          # seconds to connect, for a head, between bytes
TIMEOUT_MAX = 86400.0   # seconds; a day fits the timers of every system
RETRIES = 5             # failures in a row, without progress between them
RETRY_DELAYS = (1, 2, 4, 8, 16, 30)     # seconds after each; the last repeats
WAIT_MAX = 120          # seconds that a server may ask for (Retry-After)
REDIRECTS_MAX = 10
REDIRECTS = frozenset([301, 302, 303, 307, 308])

# Bytes of one head, or of all trailers; browsers take 256 KiB, curl 300.
HEAD_MAX = 64 * KIB
INTERIM_MAX = 64        # 1xx responses before the final one; real ones: 1
LENGTH_DIGITS = 18      # of a Content-Length: below 2**63, a file's largest
CHUNK_DIGITS = 16       # hexadecimal, of a chunk size: 64 bits
CHUNK_LINE_MAX = 4 * KIB        # bytes of a chunk size and its extensions
RECEIVE_SIZE = 128 * KIB        # bytes of one read; more is no faster
TURN_SIZE = MIB         # bytes read before other tasks have their turn
DISCARD_MAX = 64 * KIB          # bytes read to use the connection again
DISCARD_WAIT = 1        # seconds to read them; a new connection takes less
EXPANDED_BLOCK = 256 * KIB      # bytes of decoded content at a time
EXPANSION_MAX = 100             # decoded bytes for each sent; text has 3 to 20
EXPANSION_FREE = 16 * MIB       # bytes that are decoded whatever was sent
ERROR_SHOWN_MAX = 64 * KIB      # bytes of an error's content that -v shows
GARBAGE_SHOWN_MAX = 40          # bytes of a malformed response in a message
CENTURY = 70            # years of two digits are from 1970 to 2069
TIME_MAX = 2**33        # seconds since 1970 that every file system takes
NOTES_MAX = 64 * KIB    # bytes of FILE.part.json
WRITE_BACK = 8 * MIB    # bytes of a part that go to the disk together
NAME_MAX = 255          # bytes of a file's name, in most file systems
DIGEST_WAIT = 600       # seconds; long enough to hash 200 GB
PROGRESS_WAIT = 0.2     # seconds between two lines of progress
COLUMNS = 80            # of a terminal that does not tell its width

# Copying a folder.
CONNECTIONS = 4
LISTING_MAX = 16 * MIB  # bytes; 100,000 names have 10
ENTRY_MAX = 8 * KIB     # bytes of a JSON entry; its name may take 6 * NAME_MAX
JOBS_MAX = 200000       # files and folders that wait; each takes 300 bytes
LINKS_MAX = JOBS_MAX    # links on a page, of any kind; they take 20 s to read
LISTING_WAIT = 0.01     # seconds between two looks for new jobs
DEPTH_MAX = 64          # levels of folders
LOOP_MIN = 4            # nested folders with the same listing, without a file
DIGEST_ASKED_MAX = MIB  # bytes of a file that a server hashes without delay

IGNORE_UNEXPECTED_EOF = 0x80    # an option of OpenSSL; in ssl since 3.10
GZIP = 31               # tells zlib to expect gzip and the largest window

# What body_length() returns if not a number of bytes.
CHUNKED = -1
UNTIL_CLOSE = 2**60     # more than a Content-Length has

# The lines of a head that are shown without -v.
MAIN_LINES = re.compile(rb"(?i)HTTP/|(content-type|content-length|"
                        rb"last-modified|etag|location|server):")

PART_SUFFIX = ".part"
NOTES_SUFFIX = ".json"
STDOUT, STDERR = 1, 2   # descriptors

TRY_AGAIN = "try again"     # advice in messages
IS_IT_A_PROXY = "is this a proxy for http?"


class Failure(Exception):
    """Why the content was not fetched, in one line for the user.

    args      what happened, what can be done about it, and what is left
    status    the program's exit status for it
    again     whether another request may succeed
    hopeless  whether every other file would fail, too
    """

    code = 0        # the server's status, if that is the reason
    wait = 0        # seconds after which the server asks to try again

    def __init__(self, text: str, advice: str = "", status: int = 1,
                 again: bool = False) -> None:
        super().__init__(text, advice)
        self.status = status
        self.again = again
        self.hopeless = status > 5      # the user, or the reader, has left

    def __str__(self) -> str:
        return "; ".join(part for part in self.args if part)


# What to raise; for the status of each see "Exit status" above.
StatusError = partial(Failure, status=1)
UsageError = partial(Failure, status=2)
ConnectError = partial(Failure, status=3, again=True)
ResponseError = partial(Failure, status=4)
BrokenOff = partial(Failure, status=4, again=True)
OutputError = partial(Failure, status=5)
Interrupted = partial(Failure, status=130)
ReaderGone = partial(Failure, "nobody reads the output", status=141)


class IsFolder(Failure):
    """A redirect adds a slash to the name: so it is a folder's."""


# ---- Target -----------------------------------------------------------------

# RFC 1123 has no underscore, but names in use do.
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(r"%s(?:\.%s)*\.?" % (LABEL, LABEL))
HOST_NAME_MAX = 253     # characters; RFC 1035, 2.3.4

# IDNA 2003, which Python knows, reads these as "ss", a sigma or nothing; IDNA
# 2008 reads them as letters of their own, which may be another host.  UTS 46.
DEVIATIONS = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")

# An IPv6 address, in brackets or not, has at least two colons, unlike
# "localhost:8080".  A zone (fe80::1%eth0) names the interface; RFC 4007, 11.
IPV6 = re.compile(r"(\[)?([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*"
                  r"(?:%[A-Za-z0-9._~-]+)?)(?(1)\])")

# Any text: scheme, authority with its "//", path, and query with its "?"; no
# server gets the fragment.  RFC 3986, 4.1.  urllib.parse would take 4 ms to
# import, and its urljoin() drops a final ";" or "?", and "//".
REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(//[^/?#]*)?"
                       r"([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([^:]*))?")    # host, port
# HOST:PORT, or a URL without its scheme.
ADDRESS = re.compile(r"(?:\[[^\]]*\]|[^]:/?#[]+):[0-9]+([/?#].*)?", re.DOTALL)
DEFAULT_PORTS = {"http": 80, "https": 443}      # RFC 9110, 4.2

# Not HTTP_PROXY: in a CGI program that is the request's field "Proxy".
PROXY_VARIABLES = {
    "http": ("http_proxy", "all_proxy", "ALL_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")}

# pchar without pct-encoded, and "/"; RFC 3986, 3.3.
PATH_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       b"0123456789-._~!$&'()*+,;=:@/")
TARGET_BYTES = PATH_BYTES | frozenset(b"?%")    # escapes stay as they are
NAME_BYTES = PATH_BYTES - frozenset(b"/")


class URL:
    """The address of a file."""

    def __init__(self, scheme: str, host: str, port: int, target: str) -> None:
        self.scheme = scheme    # "http" or "https"
        self.host = host        # as parse_host() returns it
        self.port = port
        self.target = target    # in origin-form, encoded

    def __str__(self) -> str:
        return "%s://%s%s" % (self.scheme, self.authority, self.target)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def with_target(self, target: str) -> "URL":
        """Return the URL of *target* at the same origin."""
        return URL(self.scheme, self.host, self.port, target)

    @property
    def other_scheme(self) -> str:
        """What to advise when the port is for the other scheme."""
        scheme = "http" if self.scheme == "https" else "https"
        url = URL(scheme, self.host, self.port, self.target)
        return "the port is for %s: try %s" % (scheme, url)

    @property
    def origin(self) -> "Tuple[str, str, int]":
        """Whom connections and credentials belong to (RFC 9110, 4.3.1)."""
        return self.scheme, self.host, self.port

    @property
    def host_and_port(self) -> str:
        """The request target of CONNECT (RFC 9112, 3.2.3)."""
        # A zone means something on this machine only; RFC 6874, 4.
        host = self.host.partition("%")[0]
        if ":" in host:
            host = "[%s]" % host
        return "%s:%d" % (host, self.port)

    @property
    def authority(self) -> str:
        """The value of the Host field (RFC 9110, 7.2)."""
        if self.port == DEFAULT_PORTS[self.scheme]:
            return self.host_and_port.rpartition(":")[0]
        return self.host_and_port


class Proxy(namedtuple("Proxy", "url fields")):
    """The address of a proxy, and the fields for it alone (a password)."""

    def __str__(self) -> str:
        """Return the words that follow a host in messages."""
        return " through the proxy %s" % self.url.host_and_port


def parse_host(text: str) -> str:
    """Return host *text* as the resolver takes it: ASCII, without brackets.

    Raise ValueError for what is neither a host name nor an address.

    >>> parse_host("[::1]"), parse_host("B\\xfccher.example")
    ('::1', 'xn--bcher-kva.example')
    """
    address = IPV6.fullmatch(text)
    if address:
        return address.group(2)
    if DEVIATIONS.search(text):
        raise ValueError("'%s' is one host by IDNA 2003 and another by IDNA"
                         " 2008; write it as xn--..." % printable(text))
    host = text
    if any(char > "\x7f" for char in text):     # ASCII needs no IDNA tables
        try:
            host = text.encode("idna").decode("ascii")
        except UnicodeError:
            host = ""
    # The resolver would read a bare number as an IPv4 address.
    if (len(host) > HOST_NAME_MAX or host.isdigit()
            or not HOST_NAME.fullmatch(host)):
        raise ValueError("'%s' is not a host name or an address; write host,"
                         " port and file as three words, or a URL"
                         % without_password(text))
    return host


def parse_port(text: str) -> int:
    """Return the port number *text*, 1 to 65535, or raise ValueError."""
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError("port '%s' is not a number from 1 to 65535"
                     % without_password(text))


def without_password(text: str) -> str:
    """Return *text* from its last "@" on, which may end a password."""
    return printable(text[max(0, text.rfind("@")):])


def refuse_controls(text: str, what: str) -> None:
    """Raise ValueError when there is a control character in *text*."""
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in text):
        raise ValueError("control character in %s '%s'"
                         % (what, without_password(text)))


def percent_encode(text: str, safe: "FrozenSet[int]") -> str:
    """Return *text*, a word of sys.argv, with all but *safe* bytes encoded."""
    return "".join(chr(byte) if byte in safe else "%%%02X" % byte
                   for byte in text.encode("utf-8", "surrogateescape"))


def request_target(name: str) -> str:
    """Return the request target, in origin-form, for file *name*.

    Raise ValueError for control characters.  Source: RFC 9112, 3.2.1.

    >>> request_target("50% off?.txt")
    '/50%25%20off%3F.txt'
    """
    refuse_controls(name, "the file name")
    path = percent_encode(name, PATH_BYTES)
    return path if path.startswith("/") else "/" + path


def parse_authority(text: str, port: int) -> "Tuple[str, int]":
    """Return host and port of *text*, else that *port*; raise ValueError."""
    match = AUTHORITY.fullmatch(text)
    if not match:
        raise ValueError("'%s' is not a host name; an IPv6 address has"
                         " brackets in a URL, as in http://[::1]:8080/"
                         % printable(text))
    host, digits = match.groups()
    # A zone's "%" should be encoded (RFC 6874, 2), but few people do so.
    return (parse_host(host.replace("%25", "%", 1)),
            parse_port(digits) if digits else port)


def parse_url(text: str) -> URL:
    """Return the URL in *text*; its escapes stay as they are.

    Raise ValueError if it is not a URL for http or https, or has a user's
    name, which can make a host look like another (RFC 9110, 4.2).

    >>> str(parse_url("HTTP://[::1]:8080/a%20b c?q#f"))
    'http://[::1]:8080/a%20b%20c?q'
    """
    refuse_controls(text, "the URL")
    scheme, authority, path, query = REFERENCE.findall(text)[0]
    scheme, authority = scheme.lower(), authority[2:]
    if not authority or scheme not in DEFAULT_PORTS:
        raise ValueError("'%s' is not a URL for http or https"
                         % without_password(text))
    if "@" in authority:    # perhaps with a password, which is not shown
        raise ValueError("the URL of '%s' contains a user's name; use --auth"
                         % printable(authority.rpartition("@")[2] + path))
    host, port = parse_authority(authority, DEFAULT_PORTS[scheme])
    return URL(scheme, host, port,
               percent_encode((path or "/") + query, TARGET_BYTES))


def proxy_for(url: URL, environ: "Mapping[str, str]") -> "Optional[Proxy]":
    """Return the proxy through which *url* is fetched, or None.

    *environ* is os.environ, read as curl does, except that this machine needs
    no proxy.  Raise ValueError for a proxy that is not http://HOST:PORT; the
    message does not show it, as it may contain a password.
    """
    name = next(filter(environ.get, PROXY_VARIABLES[url.scheme]), "")
    no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY", "")
    if not name or is_direct(url.host, no_proxy):
        return None
    scheme, _, rest = environ[name].rpartition("://")
    user, _, where = rest.rpartition("@")
    try:
        if scheme.lower() not in ("", "http"):
            raise ValueError
        host, port = parse_authority(re.split("[/?#]", where)[0], PROXY_PORT)
    except ValueError:
        raise ValueError("the proxy in %s is not http://HOST:PORT, and others"
                         " are not supported; unset it, or set no_proxy"
                         % name)
    fields = []
    if user:
        login, _, password = user.partition(":")
        fields = [("Proxy-Authorization",
                   basic(decoded(login), decoded(password)))]
    return Proxy(URL("http", host, port, "/"), fields)


def is_direct(host: str, no_proxy: str) -> bool:
    """Return whether *host* is reached without a proxy.

    *no_proxy* is "*", or a list of domains, with or without a leading dot,
    addresses and networks, separated by commas or spaces.

    >>> is_direct("a.b.de", "c.de, .b.de"), is_direct("::1", "")
    (True, True)
    """
    from ipaddress import ip_address, ip_network
    if no_proxy == "*":
        return True
    words = no_proxy.lower().replace(",", " ").split()
    try:    # inet_aton() accepts 127.1, as the resolver does
        address = ip_address(host.partition("%")[0] if ":" in host
                             else socket.inet_aton(host))
    except (OSError, ValueError):
        name = "." + host.lower().rstrip(".")
        return any(name.endswith("." + word.strip("."))
                   for word in [*words, "localhost"])   # RFC 6761, 6.3
    address = getattr(address, "ipv4_mapped", None) or address
    for word in words:
        with suppress(ValueError):      # raised for a domain
            if address in ip_network(word, strict=False):
                return True
    return address.is_loopback


def redirected(url: URL, location: str) -> URL:
    """Return the URL to which *location*, in a redirect from *url*, leads.

    Raise StatusError when it must not be followed.  Source: RFC 9110, 15.4.
    """
    # Fields are read as latin-1, but many servers mean UTF-8.
    location = location.encode("latin-1").decode("utf-8", "surrogateescape")
    try:
        new = joined(url, location)
        if url.scheme == "https" and new.scheme == "http":
            raise ValueError("%s is not https" % new)
    except ValueError as exc:
        raise StatusError("the redirect of %s is refused: %s" % (url, exc))
    return new


def joined(url: URL, reference: str) -> URL:
    """Return the URL that *reference* means on the page at *url*.

    Raise ValueError, see parse_url().  Source: RFC 3986, 5.
    """
    refuse_controls(reference, "the reference")
    scheme, authority, path, query = REFERENCE.findall(reference)[0]
    if scheme or authority:
        new = parse_url(reference if scheme else url.scheme + ":" + reference)
        if new.authority == url.authority:
            new.host = url.host     # with its zone, which no reference has
        return new
    if not path:
        path, query = url.path, query or url.target[len(url.path):]
    elif not path.startswith("/"):
        path = url.path.rpartition("/")[0] + "/" + path
    return url.with_target(percent_encode(without_dots(path) + query,
                                          TARGET_BYTES))


def without_dots(path: str) -> str:
    """Return *path* without the segments "." and ".."; RFC 3986, 5.2.4.

    >>> without_dots("/a/./b/../c//"), without_dots("/../a/..")
    ('/a/c//', '/')
    """
    kept = []  # type: List[str]
    for segment in path.split("/"):
        if segment == "..":
            del kept[max(1, len(kept) - 1):]    # but not the first, the root
        elif segment != ".":
            kept.append(segment)
    if segment in (".", ".."):
        kept.append("")
    return "/".join(kept)


# ---- Request ----------------------------------------------------------------

# Fields that the client sets itself, and relies on.
OWN_FIELDS = frozenset([
    "connection", "content-length", "if-range", "range",
    "transfer-encoding", "want-repr-digest"])
CREDENTIALS = re.compile(rb"(?i)^((?:proxy-)?authorization|cookie):.*")
# Fields of the user that go to one origin alone.
FOR_ONE_ORIGIN = frozenset(["authorization", "cookie", "host"])
FOR_PROXIES = "proxy-authorization"     # no server may see this field

WANT_DIGEST = ("Want-Repr-Digest", "sha-256=10")    # RFC 9530, 4

# FIRST-LAST, FIRST- or -COUNT: bytes from 0, inclusive; RFC 9110, 14.1.2.
_NUMBER = "([0-9]{1,%d})" % LENGTH_DIGITS
RANGE = re.compile("N-N?|-N".replace("N", _NUMBER))


def parse_field(text: str) -> "Tuple[str, str]":
    """Return (name, value) of *text*, "Name: value", or raise ValueError."""
    name = text.partition(":")[0]
    try:
        (value,) = parse_fields([text.encode("latin-1")]).values()
    except (Failure, UnicodeEncodeError):
        # The value may be a secret.
        raise ValueError("field '%s' is not 'Name: value'" % printable(name))
    return name, value


def parse_range(text: str) -> str:
    """Return the Range value for *text*, or raise ValueError."""
    match = RANGE.fullmatch(text)
    if match:
        first, last, _ = match.groups()
        if last is None or int(first) <= int(last):
            return "bytes=" + text
    raise ValueError("range '%s' is not FIRST-LAST, FIRST- or -COUNT"
                     % printable(text))


def render_request(method: str, target: str, host: str, fields: "Fields",
                   user_fields: "Sequence[Tuple[str, str]]" = ()) -> bytes:
    """Return the head of a request for *target* of *host*.

    Of two *fields* with the same name the later counts; *user_fields* replace
    them all.
    Source: RFC 9112, 3; RFC 9110, 9.3; 7.2: Host comes first.
    """
    ours = OrderedDict([
        ("Host", host), ("User-Agent", "httpget.py/" + __version__), *fields])
    said = {name.lower() for name, _ in user_fields}
    rest = [field for field in ours.items() if field[0].lower() not in said]
    rest.extend(user_fields)
    rest.sort(key=lambda field: field[0].lower() != "host")
    lines = ["%s %s HTTP/1.1" % (method, target)]
    lines += ["%s: %s" % field for field in rest]
    return "".join(line + "\r\n" for line in lines + [""]).encode("latin-1")


# ---- Response head ----------------------------------------------------------

HTTP_1 = b"HTTP/1."

# status-line = HTTP-version SP status-code SP [reason-phrase]; RFC 9112, 4.
# Many servers leave out the second space where there is no reason phrase.
STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9][0-9])"
                         rb"(?: ([\t\x20-\x7e\x80-\xff]*))?")

# How a port for https answers plain HTTP: with an alert of TLS (RFC 8446,
# 5.1), or with words that the pages of nginx, Apache, Go and httpd.py have.
TLS_ALERT = b"\x15"
FOR_HTTPS = rb"(?i)plain HTTP|HTTPS (port|server)|speaks HTTPS"

# field-name ":" field-value; RFC 9112, 5.
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):"
                        rb"([^\x00-\x08\x0a-\x1f\x7f]*)")

# The head of a response: its status, 100 to 999; its reason, "" for none; its
# fields, by names in lower case; and its lines as received, the status line
# first.
Head = namedtuple("Head", "status reason fields lines")


def check_start(data: bytes) -> None:
    """Raise ResponseError if no response of HTTP/1 begins with *data*."""
    if data.startswith(TLS_ALERT):
        raise ResponseError("the answer is not HTTP/1 but TLS",
                            "ask for https, by --tls or https://")
    if not (data.startswith(HTTP_1) or HTTP_1.startswith(data)):
        raise ResponseError("the answer is not HTTP/1, it begins with '%s'"
                            % shown(data[:GARBAGE_SHOWN_MAX]))


def parse_head(lines: "List[bytes]") -> Head:
    """Return the Head in *lines*, or raise ResponseError (RFC 9112, 4)."""
    check_start(lines[0])   # again, for it may have come byte by byte
    match = STATUS_LINE.fullmatch(lines[0])
    if not match:
        raise malformed("status line", lines[0])
    reason = (match.group(2) or b"").decode("latin-1")
    return Head(int(match.group(1)), reason, parse_fields(lines[1:]), lines)


def parse_fields(lines: "Iterable[bytes]") -> "Dict[str, str]":
    """Return the fields of *lines*, names in lower case.

    The values of a repeated name are joined with ", ".  White space before
    the colon, a continuation line (obs-fold) and control characters are
    refused.  Source: RFC 9110, 5.1-5.6; RFC 9112, 5.
    """
    fields = {}  # type: Dict[str, List[str]]
    for line in lines:
        match = FIELD_LINE.fullmatch(line)
        if not match:
            raise malformed("field line", line)
        name, value = match.group(1, 2)
        fields.setdefault(name.decode("ascii").lower(), []).append(
            value.strip(b" \t").decode("latin-1"))
    return {name: ", ".join(values) for name, values in fields.items()}


def malformed(what: str, data: bytes) -> Failure:
    """Return the error for *data*, which is not a proper *what*."""
    more = "..." if len(data) > GARBAGE_SHOWN_MAX else ""
    return ResponseError("malformed response: bad %s '%s'%s" % (
        what, shown(data[:GARBAGE_SHOWN_MAX]), more))


def body_length(status: int, fields: "Dict[str, str]") -> int:
    """Return the length of a response's body: bytes, CHUNKED or UNTIL_CLOSE.

    Raise ResponseError if the length is in doubt.  The cases are in the order
    of RFC 9112, 6.3.  There Transfer-Encoding wins over Content-Length; here
    the two together are refused, as they are a sign of an attack.
    """
    if status < 200 or status in (204, 304):
        return 0
    coding = fields.get("transfer-encoding")
    length = fields.get("content-length")
    if coding is not None:
        if length is not None:
            raise ResponseError("malformed response: both Transfer-Encoding"
                                " and Content-Length")
        if coding.lower() != "chunked":
            raise ResponseError("unknown transfer coding '%s'"
                                % printable(coding[:GARBAGE_SHOWN_MAX]))
        return CHUNKED
    if length is None:
        return UNTIL_CLOSE
    # A repeated field with equal values is harmless.
    values = {value.strip(" \t") for value in length.split(",")}
    value = values.pop()
    if values or not re.fullmatch(_NUMBER, value):
        raise malformed("Content-Length", length.encode("latin-1"))
    return int(value)


def is_persistent(head: Head) -> bool:
    """Return whether another request may follow (RFC 9112, 9.3)."""
    value = head.fields.get("connection", "").lower()
    options = re.split("[ \t]*,[ \t]*", value)
    if head.lines[0].startswith(b"HTTP/1.0"):
        return "keep-alive" in options
    return "close" not in options


# ---- What is there already --------------------------------------------------

# RFC 9110, 14.4.
CONTENT_RANGE = re.compile(r"bytes (?:N-N|\*)/(?:N|\*)".replace("N", _NUMBER))
# HTTP-date: IMF-fixdate, rfc850-date, asctime-date (RFC 9110, 5.6.7).
MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_CLOCK = "(?P<H>[0-9]{2}):(?P<M>[0-9]{2}):(?P<S>[0-9]{2})"
_MONTH = "(?P<m>%s)" % MONTHS
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_DAY_L = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
# Compiled when they are first needed, which saves 2 ms at the start.
HTTP_DATES = (
    "%s, (?P<d>[0-9]{2}) %s (?P<Y>[0-9]{4}) %s GMT" % (_DAY, _MONTH, _CLOCK),
    "%s, (?P<d>[0-9]{2})-%s-(?P<Y>[0-9]{2}) %s GMT" % (_DAY_L, _MONTH, _CLOCK),
    "%s %s (?P<d>[0-9 ][0-9]) %s (?P<Y>[0-9]{4})" % (_DAY, _MONTH, _CLOCK))
# date-time in UTC; RFC 3339, 5.6.
TIMESTAMPS = ("(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})T%s"
              r"(?:\.[0-9]+)?Z" % _CLOCK,)
# entity-tag that is not weak; RFC 9110, 8.8.3.
STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]*"')

# Which bytes of a file the content is.  The positions are inclusive, and -1
# for "bytes */LENGTH"; the length is the file's, and -1 if unknown.
ContentRange = namedtuple("ContentRange", "first last length")


def parse_content_range(fields: "Dict[str, str]") -> "Optional[ContentRange]":
    """Return what Content-Range says, None if it is malformed or missing."""
    match = CONTENT_RANGE.fullmatch(fields.get("content-range", ""))
    if not match:
        return None
    first, last, length = map(int, match.groups("-1"))
    if first > last or last >= length >= 0:
        return None
    return ContentRange(first, last, length)


def is_selected(wanted: str, first: int, last: int, length: int) -> bool:
    """Return whether a ContentRange is what Range *wanted* asks for."""
    start, stop = wanted[len("bytes="):].split("-")
    end = last if length < 0 else length - 1
    if not start:
        return (first, last) == (max(0, end + 1 - int(stop)), end)
    return (first, last) == (int(start), min(end, int(stop or end)))


def seconds_of(patterns: "Iterable[str]", value: str) -> "Optional[int]":
    """Return the time *value* in seconds since 1970, None if no pattern fits.

    >>> http_time("Sun, 06 Nov 1994 08:49:37 GMT"), http_time("soon")
    (784111777, None)
    """
    from datetime import datetime, timezone
    for pattern in patterns:
        match = re.fullmatch(pattern, value)
        if match:
            break
    else:
        return None
    year, month = match.group("Y"), match.group("m")
    if len(year) == 2:
        year = ("19" if int(year) >= CENTURY else "20") + year
    if month in MONTHS:
        month = MONTHS.index(month) // 4 + 1
    day, hour, minute, second = map(int, match.group("d", "H", "M", "S"))
    leap = int(second == 60)    # datetime knows no 60th second
    try:
        date = datetime(int(year), int(month), day, hour, minute,
                        second - leap, tzinfo=timezone.utc)
    except ValueError:
        return None
    seconds = int(date.timestamp()) + leap
    return seconds if abs(seconds) <= TIME_MAX else None


http_time = partial(seconds_of, HTTP_DATES)
timestamp = partial(seconds_of, TIMESTAMPS)


def seconds_to_wait(fields: "Dict[str, str]", now: float) -> int:
    """Return the seconds that Retry-After asks for; 0 for none, or too many.

    Less than a second counts as one.  *now* is used if Date is missing.
    Source: RFC 9110, 10.2.3.
    """
    value = fields.get("retry-after", "")
    if re.fullmatch(_NUMBER, value):
        seconds = int(value)
    else:
        until = http_time(value)
        date = http_time(fields.get("date", ""))
        if until is None:
            return 0
        seconds = until - int(now if date is None else date)
    return max(1, seconds) if seconds <= WAIT_MAX else 0


def is_same_time(mtime: int, found: int) -> bool:
    """Return whether *found*, in ns, may be *mtime*: FAT has even seconds."""
    if found // 10**9 == mtime:
        return True
    is_even = found % (2 * 10**9) == 0
    return is_even and abs(found - mtime * 10**9) <= 10**9


def strong_validator(fields: "Dict[str, str]") -> str:
    """Return the value for If-Range that tells this version from any other.

    "" if there is none: the ETag is weak, or Last-Modified less than a second
    before Date.  Source: RFC 9110, 8.8.2.2 and 13.1.5.
    """
    etag = fields.get("etag", "")
    if etag:
        return etag if STRONG_ETAG.fullmatch(etag) else ""
    modified = http_time(fields.get("last-modified", ""))
    date = http_time(fields.get("date", ""))
    if modified is None or date is None or date - modified < 1:
        return ""
    return fields["last-modified"]


def is_same_version(fields: "Dict[str, str]", validator: str) -> bool:
    """Return whether a response with *fields* is of the version *validator*.

    The response must say so itself: a server may not know If-Range.
    """
    name = "etag" if validator.startswith('"') else "last-modified"
    return validator != "" and fields.get(name) == validator


# The version that content is a part of: its validator ("": none), its length
# (None: unknown), and its source, see Transfer._place().
Whole = namedtuple("Whole", "validator length source")
NOTHING = Whole("", None, "")


def parse_digest(value: str) -> "Optional[bytes]":
    """Return the SHA-256 in Repr-Digest *value* (RFC 9530, 3), or None."""
    import base64
    found = re.findall(r"(?:^|,)[ \t]*sha-256=:([A-Za-z0-9+/]{43}=):[ \t]*"
                       "(?=,|$)", value)
    return base64.b64decode(found[-1]) if found else None


# ---- File names -------------------------------------------------------------

# Names that Windows takes for devices.
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$"
                    "|(com|lpt)[0-9\xb9\xb2\xb3])[ .]*(\\..*)?")


def safe_name(text: str) -> str:
    """Return the file name that *text*, a user's word, ends with.

    Characters that could do harm are left out; "" if none is left.

    >>> safe_name("a/..\\\\.b\\x1b?c"), safe_name("..")
    ('b_c', '')
    """
    name = re.split(r"[/\\]", text)[-1]
    name = "".join("_" if char in '<>:"|?*' else char for char in name
                   if char.isprintable() or "\udc80" <= char <= "\udcff")
    name = name.lstrip(". ").rstrip(". ")
    return "_" + name if DEVICE.fullmatch(name) else name


def local_name(name: str, windows: bool = False) -> str:
    """Return the file name under which the copy of *name* is kept.

    Only characters that could do harm (more of them on *windows*) become %XX,
    so that no copy is hidden, a device, or in another folder.

    >>> local_name(".bashrc"), local_name("a\\n%b"), local_name("c:", True)
    ('%2Ebashrc', 'a%0A%b', 'c%3A')
    """
    encode = partial(percent_encode, safe=frozenset())
    unsafe = '\t\n/\\<>:"|?*' if windows else "\t\n/"
    safe = "".join(encode(char) if char in unsafe or UNSAFE.match(char)
                   else char for char in name)
    if windows and safe.endswith((" ", ".")):   # which Windows would drop
        safe = safe[:-1] + encode(safe[-1])
    if safe.startswith(".") or DEVICE.fullmatch(safe):
        safe = encode(safe[0]) + safe[1:]
    return safe


# ---- Listings ---------------------------------------------------------------

# What a JSON list has before its first item, and after each item.
JSON_START = re.compile(r"[ \t\r\n]*\[[ \t\r\n]*(\]?)[ \t\r\n]*")
JSON_NEXT = re.compile(r"[ \t\r\n]*([,\]])[ \t\r\n]*")

# The attributes that are links, and the elements of a page that have them.
LINKS = {"href": ("base", "a", "area", "link"), "srcset": ("img", "source"),
         "src": ("script", "iframe", "img", "source", "video", "audio",
                 "track", "embed"), "poster": ("video",), "data": ("object",)}

# A link in a srcset, and its descriptor, unless a comma ends the link; HTML,
# 4.8.4.2.1.
SRCSET_LINK = r"([^\s,](?:\S*[^\s,])?)(?:,|[^,]*)"

# "." or ".." in a path, encoded or not.
DOTS = re.compile(r"(?i)/(\.|%2e){1,2}(/|$)")

# A file or folder that a folder lists.
#   name       decoded, with surrogate escapes for bad UTF-8
#   size       in bytes; mtime in seconds since 1970; None: not told
#   folders    the subfolders that lead to it, if it is deeper down
#   is_linked  False for a folder that is only on the way to something else
#   of_page    whether only a page would name it: a picture, a script
Entry = namedtuple(
    "Entry", "name is_folder size mtime folders is_linked of_page")
UNKNOWN = Entry("", False, None, None, (), True, False)
FOLDER = UNKNOWN._replace(is_folder=True)
INDEX = UNKNOWN._replace(name="index.html")


def parse_json_listing(text: str) -> "Iterator[Entry]":
    """Yield the entries of a listing in JSON as nginx or caddy writes it.

    One at a time, as all of them take fifty times the memory of the text.
    """
    import json
    decode = json.JSONDecoder().raw_decode
    try:
        mark = JSON_START.match(text)  # type: Any
        while mark.group(1) != "]":
            start = mark.end()
            item, length = decode(text[start:start + ENTRY_MAX])
            yield json_entry(item)
            mark = JSON_NEXT.match(text, start + length)
        if mark.end() != len(text):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ResponseError("this is not a listing of a folder")


def json_entry(item: "Dict[str, Any]") -> Entry:
    """Return the Entry for *item* of a JSON listing.

    A name that is no text becomes "", as the other entries may be good.
    Raise whatever other types make Python raise.
    """
    name, size = item["name"], item.get("size")
    if not isinstance(name, str):
        name = ""
    is_folder = bool(item.get("is_dir", item.get("type") == "directory"))
    if is_folder and name.endswith("/"):
        name = name[:-1]
    if is_folder or type(size) is not int or not 0 <= size < UNTIL_CLOSE:
        size = None
    mtime = http_time(str(item.get("mtime")))
    if mtime is None:           # caddy's
        mtime = timestamp(str(item.get("mod_time")))
    return UNKNOWN._replace(name=name, is_folder=is_folder, size=size,
                            mtime=mtime)


def parse_html_listing(text: str, url: URL) -> "Iterator[Entry]":
    """Yield the files and folders below *url* that its index page links to.

    Links with a query are left out: listings sort themselves by them.
    """
    from html.parser import HTMLParser
    links = OrderedDict()  # type: OrderedDict[Tuple[str, str], None]

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: "Any") -> None:
            for name, value in attrs:
                if value and tag in LINKS.get(name, ()):
                    found = (re.findall(SRCSET_LINK, value)
                             if name == "srcset" else [value])
                    links.update(((tag, link), None) for link in found)
            if len(links) > LINKS_MAX:
                raise ResponseError("more than %d links on a page" % LINKS_MAX)

        def parse_marked_section(self, i: int, report: int = 1) -> int:
            # Browsers read <![...> as a comment; until 3.9 this raised.
            return self.parse_bogus_comment(i)

    # Nothing calls close(), which would read an unclosed tag again for each
    # "<" in it.  Python refuses to read a number of thousands of digits.
    Parser().feed(re.sub("&#[0-9]{8,}", "&#xfffd", text))
    bases = [link for tag, link in links if tag == "base"]
    try:
        base = joined(url, bases[0].strip()) if bases else url
    except ValueError:
        base = url
    for tag, link in links:
        of_page = tag not in ("a", "area")
        if of_page:     # style.css?version is still a file
            link = link.partition("?")[0]
        path = "" if tag == "base" else path_below(url, link, base)
        if path:
            *folders, name = map(decoded, path.rstrip("/").split("/"))
            yield UNKNOWN._replace(
                name=name, is_folder=path.endswith("/"),
                folders=tuple(folders), of_page=of_page)


def path_below(url: URL, link: str, base: URL) -> str:
    """Return the path, encoded, from *url* down to *link*, or "".

    Relative links begin at *base*.
    """
    try:
        target = joined(base, link.strip())
    except ValueError:
        return ""
    folder = url.path.rpartition("/")[0] + "/"
    if target.origin != url.origin or not target.target.startswith(folder):
        return ""
    path = target.target[len(folder):]
    if "?" in path or "//" in "/" + path or not path.strip("/"):
        return ""
    is_deep = "/" in path.rstrip("/")
    return "" if is_deep and DOTS.search("/" + path) else path


def sorted_out(entries: "Iterable[Entry]") -> (
        "Tuple[OrderedDict[str, Entry], Dict[str, List[Entry]]]"):
    """Return the *entries* of the folder itself, and those deeper down.

    Both by name; the deeper ones wait, under that of the subfolder that leads
    to them, until it is read: so nothing is copied twice.
    """
    here = OrderedDict()  # type: OrderedDict[str, Entry]
    deeper = {}  # type: Dict[str, List[Entry]]
    for entry in entries:
        if entry.folders:
            name, *rest = entry.folders
            deeper.setdefault(name, []).append(
                entry._replace(folders=tuple(rest)))
            entry = FOLDER._replace(name=name, is_linked=False)
        known = here.get(entry.name, entry)
        if known.is_folder or entry.is_folder:
            entry = known._replace(is_folder=True, is_linked=(
                known.is_linked or entry.is_linked))
        here[entry.name] = entry
    return here, deeper


def entry_url(url: URL, entry: Entry) -> URL:
    """Return the URL of *entry*, which the page at *url* lists."""
    folder = url.path.rpartition("/")[0]
    name = percent_encode(entry.name, NAME_BYTES)
    return url.with_target(folder + "/" + name + "/" * entry.is_folder)


def decoded(name: str) -> str:
    """Return *name* without percent encoding, as Python keeps file names."""
    from urllib.parse import unquote_to_bytes
    return unquote_to_bytes(name).decode("utf-8", "surrogateescape")


# ---- Display ----------------------------------------------------------------

# Characters that can do harm in a text of many lines: C0 without tab and LF,
# DEL, C1, and those that change the direction of writing (Unicode, UAX 9).
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f"
                    "\u202a-\u202e\u2066-\u2069]")


def escape(char: str) -> str:
    r"""Return *char* as \xHH or, above U+00FF, as \u{H...}."""
    return ("\\x%02x" if char <= "\xff" else "\\u{%x}") % ord(char)


def printable(text: str) -> str:
    r"""Return *text* as one line, with what does not print escaped.

    >>> print(printable("a\x1b[2Jb\u202ec"))
    a\x1b[2Jb\u{202e}c
    """
    return "".join(char if char.isprintable() else escape(char)
                   for char in text)


def shown(data: bytes) -> str:
    """Return bytes from the server as one printable line."""
    return printable(data.decode("utf-8", "backslashreplace"))


def safe_text(text: str) -> str:
    """Return *text*, of many lines, with UNSAFE characters escaped."""
    return UNSAFE.sub(lambda match: escape(match.group()),
                      text.replace("\r\n", "\n"))


def counted(count: int, noun: str) -> str:
    """Return *count* with its *noun*, as "1 file" or "2 files"."""
    return "%d %s%s" % (count, noun, "" if count == 1 else "s")


def size_text(count: float) -> str:
    """Return *count* bytes for people.

    >>> size_text(999), size_text(1536), size_text(2 << 20)
    ('999 bytes', '1.5 KiB', '2.0 MiB')
    """
    if count < KIB:
        return counted(int(count), "byte")
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= KIB
        if count < KIB:
            break
    return "%.1f %s" % (count, unit)


def progress_text(count: int, length: "Optional[int]", new: int,
                  seconds: float) -> str:
    """Return the line of progress: *count* bytes, *new* ones in *seconds*.

    >>> progress_text(512, 2048, 64, 4)
    '25 %  512 bytes of 2.0 KiB  16 bytes/s  1:36 left'
    """
    rate = new / max(seconds, 1e-6)
    done, left = size_text(count), ""
    if length:
        done = "%d %%  %s of %s" % (100 * count // length, done,
                                    size_text(length))
        if rate > 0:
            left = "  %d:%02d left" % divmod(int((length - count) / rate), 60)
    return "%s  %s/s%s" % (done, size_text(rate), left)


# ======== Border: only below this line is the operating system touched =======

# ---- Report -----------------------------------------------------------------

class Report:
    """Tells the user on standard error what happens."""

    def __init__(self, verbose: bool = False, quiet: bool = False) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self.bar = False        # whether to show progress
        self.aside = False      # whether the user did not ask for the request
        self._shown = 0         # characters of the progress line
        # When to show progress next; a quick transfer needs none.
        self._due = time.monotonic() + PROGRESS_WAIT

    def connected(self, where: str, sock: socket.socket) -> None:
        """Say *where* the connection goes, and from where."""
        try:
            peer, own = sock.getpeername(), sock.getsockname()
        except OSError:     # the peer has closed; sending will say so
            return
        tls = ", " + sock.version() if hasattr(sock, "version") else ""
        self.note("Connected to %s, address %s port %s, from %s port %s%s" % (
            where, *peer[:2], *own[:2], tls))

    def request(self, data: bytes) -> None:
        """Show the request, when asked to."""
        if self.verbose:
            for line in data[:-4].split(b"\r\n"):
                line = CREDENTIALS.sub(rb"\1: (not shown)", line)
                self.note("> " + shown(line))

    def head(self, head: Head) -> None:
        """Show the status line and the fields that matter."""
        if self.quiet:      # saves a fifth of the time for many small files
            return
        if self.verbose:
            for line in head.lines:
                self.note("< " + shown(line))
        elif head.status >= 200 and not self.aside:
            for line in filter(MAIN_LINES.match, head.lines):
                self.note(shown(line))

    def retry(self, exc: Failure, delay: float) -> None:
        """Say why, and after how many seconds, another request follows."""
        what = "the server asks to wait" if exc.wait else "trying again in"
        self.note("%s; %s %g s" % (exc.args[0], what, exc.wait or delay))

    def progress(self, text: "Callable[..., str]", *values: "Any") -> None:
        """Show text(*values) on the terminal, if it is due."""
        now = time.monotonic()
        if not self.bar or now < self._due:
            return
        self._due = now + PROGRESS_WAIT
        columns = 0
        with suppress(OSError):
            columns = os.get_terminal_size(STDERR).columns
        # \r cannot erase a line that has wrapped.
        line = text(*values)[:(columns or COLUMNS) - 1]
        say("\r" + line.ljust(self._shown), "")
        self._shown = len(line)

    def clear(self) -> None:
        """Erase the line of progress."""
        if self._shown:
            say("\r" + " " * self._shown, "\r")
            self._shown = 0

    def note(self, text: str) -> None:
        """Say *text*, unless the user wants quiet."""
        if not self.quiet:
            self.clear()
            say(text)


def say(text: str, end: str = "\n") -> None:
    """Write *text* and *end* to standard error, if anybody reads it."""
    # If sys.stderr cannot write, Python exits with a status of its own.
    with suppress(OSError):
        os.write(STDERR, (text + end).encode(
            sys.stderr.encoding or "utf-8", "backslashreplace"))


# ---- Tasks ------------------------------------------------------------------

# Code that waits for the network is written as a task: a generator that yields
# a Wait.  One loop runs a single task, or several side by side.  Three things
# hold up all tasks: looking up a name, a read or write of a file, and parsing
# a listing.

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# poll() needs one system call for each wait; epoll() would need four.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def run(*tasks: "Task") -> "Any":
    """Run *tasks* side by side to their ends; return what the first returns.

    A Wait is (socket, READ or WRITE, deadline): the task goes on when the
    socket is ready, or gets a socket.timeout at the deadline, a monotonic
    time.  Without a socket it just goes on at the deadline.  An exception of
    one task ends the others, too; KeyboardInterrupt goes to the first task.
    """
    waits = {task: (None, 0, 0.0) for task in tasks}  # type: Dict[Task, Wait]
    result = None
    try:
        while waits:
            for task, exc in due(waits):
                del waits[task]
                try:
                    waits[task] = task.throw(exc) if exc else next(task)
                except StopIteration as stop:
                    if task is tasks[0]:
                        result = stop.value
    except KeyboardInterrupt as interrupt:
        tasks[0].throw(interrupt)
        raise
    finally:
        for task in tasks:
            task.close()
    return result


def due(waits: "Dict[Task, Wait]"
        ) -> "Iterator[Tuple[Task, Optional[Exception]]]":
    """Yield each task that can go on, and what to throw into it, or None."""
    ready = []
    deadline = min(wait[2] for wait in waits.values())
    # No selector takes an infinite wait, or one of many years.
    seconds = min(max(0, deadline - time.monotonic()), TIMEOUT_MAX)
    with Selector() as selector:
        for task, (sock, event, _) in waits.items():
            if sock:
                selector.register(sock, event, task)
        if selector.get_map():
            ready = [key.data for key, _ in selector.select(seconds)]
        else:       # select() of Windows needs a socket
            time.sleep(seconds)
    now = time.monotonic()
    for task, (sock, _, deadline) in list(waits.items()):
        if task in ready or deadline <= now and not sock:
            yield task, None
        elif deadline <= now:
            yield task, socket.timeout("timed out")


def pause(seconds: float) -> "Task":
    """Wait for *seconds*."""
    yield None, 0, time.monotonic() + seconds


# ---- Connection -------------------------------------------------------------

# What each error asks to wait for, 0 for the readiness that the call needs
# anyway: TLS may have to read in order to write, and the other way round.  The
# errors stand here by name, as ssl is loaded only when it is needed.
NOT_READY = {"BlockingIOError": 0, "SSLWantReadError": READ,
             "SSLWantWriteError": WRITE}


class Connection:
    """A connection to a server, and what has been read from it."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self.sock = sock
        self.timeout = timeout  # seconds
        # Where requests go: to the server, or to a proxy without a tunnel.
        self.origin = ("", "", 0)
        # The monotonic time at which all waits end.  None: each has a timeout
        # of its own; a record of TLS, of up to 16 KiB, may need several.
        self.deadline = None  # type: Optional[float]
        self.idle = False       # whether another request may be sent
        self.heard = False      # whether any byte came after the last request
        self.taken = 0          # bytes read since other tasks had their turn
        # Bytes that are read but not yet taken stand from start to stop.
        self.data = bytearray(RECEIVE_SIZE)
        self.view = memoryview(self.data)
        self.start = self.stop = 0

    def open(self, address: "Any") -> "Task":
        """Connect to *address*; raise OSError."""
        self.sock.setblocking(False)
        try:
            self.sock.connect(address)
        except BlockingIOError:
            yield self.sock, WRITE, self.due()
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))

    def has_input(self) -> bool:
        """Return whether unexpected bytes have come, or the end."""
        try:
            # The method of an SSLSocket cannot peek.
            socket.socket.recv(self.sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def reason(self, exc: OSError) -> str:
        """Return what *exc*, of this connection, means to the user."""
        if isinstance(exc, socket.timeout):
            return "no data for %g s (--timeout)" % self.timeout
        return reason_of(exc)

    def due(self) -> float:
        """Return the monotonic time at which a wait that begins now ends."""
        return time.monotonic() + self.timeout

    def when_ready(self, event: int, call: "Callable[..., Any]",
                   *args: object) -> "Task":
        """Return call(*args) once it need not block; raise OSError."""
        while True:
            try:
                return call(*args)
            except OSError as exc:
                if type(exc).__name__ not in NOT_READY:
                    raise
                event = NOT_READY[type(exc).__name__] or event
            yield self.sock, event, self.deadline or self.due()

    def send(self, data: bytes) -> "Task":
        """Send all of *data*, a request; raise OSError."""
        self.heard = self.idle = False
        self.deadline = None
        while data:
            count = yield from self.when_ready(WRITE, self.sock.send, data)
            data = data[count:]

    def fill(self, may_end: bool = False) -> "Task":
        """Read more; raise OSError, also at the end, unless it *may_end*."""
        if self.taken >= TURN_SIZE:     # a fast peer would never let us wait
            self.taken = 0
            yield from pause(0)
        if self.stop in (self.start, RECEIVE_SIZE):
            rest = bytes(self.view[self.start:self.stop])   # of a line
            self.start, self.stop = 0, len(rest)
            self.view[:self.stop] = rest
        count = yield from self.when_ready(READ, self.sock.recv_into,
                                           self.view[self.stop:])
        if not count and not may_end:
            raise ConnectionError("the connection was closed")
        self.heard = self.heard or count > 0
        self.taken += count
        self.stop += count

    def take(self, limit: int) -> memoryview:
        """Return at most *limit* bytes; they are valid until more is read."""
        start = self.start
        self.start = min(start + limit, self.stop)
        return self.view[start:self.start]

    def block(self, limit: int, may_end: bool = False) -> "Task":
        """Return the next bytes, at most *limit*; see fill() and take()."""
        if self.start == self.stop:
            yield from self.fill(may_end)
        return self.take(limit)

    def line(self, limit: int, what: str) -> "Task":
        """Return the next line, of *what*, without its CR LF.

        It may have *limit* bytes, which are fewer than RECEIVE_SIZE.
        """
        searched = 0
        while True:
            end = 1 + self.data.find(b"\n", self.start + searched, self.stop)
            searched = (end or self.stop) - self.start
            if searched > limit:
                raise ResponseError("malformed response: its %s is too long"
                                    % what)
            if end:
                break
            yield from self.fill()
        line = bytes(self.take(searched))
        if not line.endswith(b"\r\n"):
            raise ResponseError("malformed response: a line of its %s does not"
                                " end with CR LF" % what)
        return line[:-2]

    def lines(self, limit: int, what: str) -> "Task":
        """Return the lines before an empty one, of *limit* bytes together."""
        lines = []  # type: List[bytes]
        while True:
            line = yield from self.line(limit, what)
            if not line:
                return lines
            lines.append(line)
            limit -= len(line) + 2

    def head(self) -> "Task":
        """Return the next Head; raise OSError, or ResponseError.

        After the first bytes the rest must come within one timeout: a server
        that sends byte by byte could take hours.
        """
        if self.start == self.stop:
            yield from self.fill()
        check_start(bytes(self.view[self.start:self.stop][:GARBAGE_SHOWN_MAX]))
        self.deadline = self.due()
        lines = yield from self.lines(HEAD_MAX, "head")
        self.deadline = None
        return parse_head(lines)


def connect(url: URL, proxy: "Optional[Proxy]", settings: "Settings",
            report: Report) -> "Task":
    """Return a Connection for *url*, to that host or to its *proxy*."""
    peer, kind = url, "host"
    advice = "is the server running there?"
    if proxy:
        peer, kind = proxy.url, "proxy"
        advice = ("is the proxy that %s_proxy or all_proxy names running"
                  " there?" % url.scheme)
    try:
        # As bytes: for a str Python loads its IDNA tables, ASCII or not.
        found = socket.getaddrinfo(peer.host.encode("ascii"), peer.port,
                                   settings.family, socket.SOCK_STREAM)
    except OSError as exc:
        raise ConnectError("no address for %s '%s': %s" % (
            kind, peer.host, reason_of(exc)), "check the name")
    failures = []
    for *family, _, address in found:
        connection = None
        try:    # the system may lack the family
            connection = Connection(socket.socket(*family), settings.timeout)
            yield from connection.open(address)
            if url.scheme == "https":
                if proxy:
                    yield from open_tunnel(connection, url, proxy, report)
                yield from start_tls(connection, url.host, settings)
            return connection
        except BaseException as exc:
            if connection:
                connection.sock.close()
            if not isinstance(exc, OSError):
                raise
            failures.append("%s: %s" % (address[0], reason_of(exc)))
            advice = tls_advice(exc, url) or advice
    raise ConnectError("could not connect to %s port %d%s (%s)" % (
        url.host, url.port, proxy or "", ", ".join(failures)), advice)


def open_tunnel(connection: Connection, url: URL, proxy: Proxy,
                report: Report) -> "Task":
    """Ask *proxy* for a tunnel to the host of *url*, or raise ConnectError."""
    target = url.host_and_port
    request = render_request("CONNECT", target, target, proxy.fields)
    report.request(request)
    status = 0      # of the answer, once that has come
    advice = IS_IT_A_PROXY
    try:
        yield from connection.send(request)
        for _ in range(INTERIM_MAX + 1):
            head = yield from connection.head()
            if report.verbose:
                report.head(head)
            if head.status >= 200:
                break
        status, why = head.status, shown(head.lines[0].partition(b" ")[2])
        if status // 100 == 2:      # RFC 9110, 9.3.6
            if connection.start == connection.stop:
                return
            why = "the proxy sent more than the head of its answer"
        if status in (401, 407):    # 401: tinyproxy, to a wrong password
            advice = password_advice(url, proxy)
        elif status not in (400, 404, 405, 501):    # as a web server does
            advice = ""
    except OSError as exc:
        why = connection.reason(exc)
    except Failure as exc:      # malformed
        why = exc.args[0]
    error = Failure("no tunnel to %s%s: %s" % (target, proxy, why), advice, 3,
                    again=not 100 <= status < 500)
    raise heeding_retry_after(error, head) if status else error


def heeding_retry_after(error: Failure, head: Head) -> Failure:
    """Return *error* with the wait that the response *head* asks for."""
    if head.status in (429, 503):
        error.wait = seconds_to_wait(head.fields, time.time())
        error.again = error.again or error.wait > 0
    return error


def password_advice(url: URL, proxy: Proxy) -> str:
    """Return what to advise when *proxy* asks for a password."""
    if proxy.fields:
        return "the user or the password for the proxy is wrong"
    return "set %s_proxy to http://USER:PASSWORD@%s" % (
        url.scheme, proxy.url.host_and_port)


def start_tls(connection: Connection, host: str,
              settings: "Settings") -> "Task":
    """Begin TLS on *connection*; raise OSError, or ConnectError."""
    try:    # all connections share one context
        import ssl
        context = settings.context or ssl.create_default_context(
            cafile=settings.cafile)
    except ImportError:
        raise ConnectError("this Python has no TLS", "use http")
    except OSError as exc:
        raise ConnectError("could not read the certificates in %s: %s" % (
            printable(str(settings.cafile)), reason_of(exc)))
    settings.context = context
    # Python 3.8 to 3.10 would take the end of a connection for that of TLS.
    context.options &= ~IGNORE_UNEXPECTED_EOF
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    connection.sock = sock = context.wrap_socket(
        connection.sock, server_hostname=host.partition("%")[0],
        do_handshake_on_connect=False, suppress_ragged_eofs=False)
    connection.deadline = connection.due()
    try:
        yield from connection.when_ready(READ, sock.do_handshake)
    except OSError:     # since Python 3.7 CertificateError, too, is one
        raise
    except ValueError as exc:   # CertificateError in 3.6
        raise OSError("%s: %s" % (NOT_TRUSTED, exc))


# What the versions of OpenSSL say about a certificate that is not trusted, and
# about an answer that is not TLS.
NOT_TRUSTED = "certificate verify failed"
NOT_TLS = "wrong version number|unknown protocol|record layer fail"


def tls_advice(exc: OSError, url: URL) -> str:
    """Return what to advise if *exc* kept TLS from beginning, else ""."""
    if NOT_TRUSTED in str(exc):
        return ("--cafile FILE names certificates to trust, --insecure trusts"
                " any")
    if not hasattr(exc, "library"):     # not an error of OpenSSL
        return ""
    if re.search(NOT_TLS, str(exc)):
        return url.other_scheme
    return "is it a port for https?"


def reason_of(exc: OSError) -> str:
    """Return what the system says about *exc*, without its number."""
    text = exc.strerror or str(exc) or type(exc).__name__
    if hasattr(exc, "library"):
        if re.search(NOT_TLS, text):
            return "it does not speak TLS"
        # OpenSSL's words, without the place in its source.
        text = re.sub(r"^\[.*?\] | \(_ssl\.c:[0-9]+\)$", "", text)
    return text.replace(NOT_TRUSTED, "its certificate is not trusted")


# ---- Body -------------------------------------------------------------------

# These generators take the content out of a body.  They yield blocks, each
# valid until the next, and a Wait whenever the network is not ready.

# chunk-size [ chunk-ext ]; RFC 9112, 7.1.  Extensions are skipped.
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,%d})[\t ]*(?:;[^\x00-\x08\x0a-\x1f"
                        rb"\x7f]*)?" % CHUNK_DIGITS)
# The end of a chunk, and the size of the next, if that is not the last chunk.
NEXT_CHUNK = re.compile(rb"\r\n(?!0+[\t \r])([0-9A-Fa-f]{1,%d})[\t ]*\r\n"
                        % CHUNK_DIGITS)


def read_plain(connection: Connection, length: int) -> "Iterator[Any]":
    """Yield *length* bytes, or UNTIL_CLOSE; raise OSError if fewer come."""
    may_end = length == UNTIL_CLOSE
    while length:
        block = yield from connection.block(length, may_end)
        if not block:
            return
        length -= len(block)
        yield block


def read_chunks(connection: Connection) -> "Iterator[Any]":
    """Yield the content of chunks; drop their trailer (RFC 9112, 7.1)."""
    while True:
        line = yield from connection.line(CHUNK_LINE_MAX, "chunk size")
        match = CHUNK_SIZE.fullmatch(line)
        if not match:
            raise malformed("chunk size", line)
        left = int(match.group(1), 16)
        if not left:
            break
        while left:
            content = [bytes((yield from connection.block(left)))]
            left -= len(content[0])
            # Join small chunks that have come already: one by one, those of
            # 64 bytes take five times as long, of 1 KiB three times.
            while not left:
                match = NEXT_CHUNK.match(connection.data, connection.start,
                                         connection.stop)
                if not match:
                    break
                connection.start = match.end()
                left = int(match.group(1), 16)
                content.append(bytes(connection.take(left)))
                left -= len(content[-1])
            yield b"".join(content)
        yield from connection.line(2, "chunk")
    parse_fields((yield from connection.lines(HEAD_MAX, "trailer")))


def gunzip(blocks: "Iterator[Any]") -> "Iterator[Any]":
    """Yield the content of gzip *blocks* (RFC 9110, 8.4.1.3; RFC 1952)."""
    import zlib
    advice = "--raw saves it as it is"
    member = zlib.decompressobj(GZIP)
    fed = count = 0
    for data in blocks:
        if isinstance(data, tuple):     # a Wait
            yield data
            continue
        fed += len(data)
        block = b""
        while data or block:
            if member.eof and data:     # another member follows
                member = zlib.decompressobj(GZIP)
            try:
                block = member.decompress(data, EXPANDED_BLOCK)
            except zlib.error:
                raise ResponseError("malformed response: bad gzip coding",
                                    advice)
            data = (member.unused_data if member.eof
                    else member.unconsumed_tail)
            count += len(block)
            if count > max(EXPANSION_FREE, EXPANSION_MAX * fed):
                raise ResponseError("the content expands to more than %d times"
                                    " what was sent" % EXPANSION_MAX, advice)
            if block:
                yield block
    if fed and not member.eof:
        raise BrokenOff("the response broke off in its gzip coding", TRY_AGAIN)


# ---- Exchange ---------------------------------------------------------------

class Client:
    """Makes requests, one after another, over one connection if possible.

    *settings* are as in fetch().  *report* is told what happens.  Only the
    *trusted* origin gets credentials.  A redirect is followed if
    allowed(URL_ASKED_FOR, NEW_URL) says so.
    """

    def __init__(self, settings: "Settings", report: Report,
                 trusted: "Tuple[str, str, int]") -> None:
        self.settings = settings
        self.report = report
        self.trusted = trusted
        self.allowed = lambda *_: True  # type: Callable[[URL, URL], bool]
        self._last = None  # type: Optional[Connection]
        self._patient_until = 0.0   # a monotonic time; see _await_digest()

    def get(self, url: URL, fields: "Fields", aside: bool = False) -> "Task":
        """Return the Response for *url*, redirects followed; raise Failure.

        *fields* are added to those of the settings.  *aside* tells that the
        user has not asked for this request.
        """
        self.report.aside = aside
        self._patient_until = (time.monotonic() + DIGEST_WAIT
                               if aside and WANT_DIGEST in fields else 0)
        asked = url
        for _ in range(REDIRECTS_MAX + 1):
            response = yield from self._get_once(url, fields)
            if response.status not in REDIRECTS or (
                    "location" not in response.fields):
                return response
            yield from response.discard()
            url = redirected(url, response.fields["location"])
            if not self.allowed(asked, url):
                raise StatusError("it leads out of the folder, to %s" % url)
            self.report.note("Redirected to %s" % printable(str(url)))
        raise StatusError("more than %d redirects" % REDIRECTS_MAX)

    def _get_once(self, url: URL, fields: "Fields") -> "Task":
        """Return the Response for *url*, redirect or not."""
        proxy = self.proxy_of(url)
        request = self._request(url, fields, proxy)
        while True:
            connection = yield from self._connection(url, proxy)
            kept = connection.idle
            try:
                return (yield from self._exchange(connection, url, request))
            except BaseException as exc:
                connection.sock.close()
                if proxy and isinstance(exc, Failure):
                    exc.args += ("it came" + str(proxy),)
                if not isinstance(exc, OSError):
                    raise
                reason = connection.reason(exc)
                if connection.heard:
                    raise BrokenOff("the response broke off in its head: %s"
                                    % reason, TRY_AGAIN)
                # The server may close an idle connection at any time, even
                # while a request is on its way.  The next one is new.
                if not kept or isinstance(exc, socket.timeout):
                    raise ConnectError(
                        "no response%s: %s" % (proxy or "", reason),
                        IS_IT_A_PROXY if proxy else
                        "is this a web server, or one for https?")

    def proxy_of(self, url: URL) -> "Optional[Proxy]":
        """Return the proxy through which *url* is fetched, or None."""
        try:
            proxy = proxy_for(url, self.settings.environ)
        except ValueError as exc:
            raise UsageError(str(exc))
        own = [field for field in self.settings.fields
               if field[0].lower() == FOR_PROXIES]
        return proxy._replace(fields=own) if proxy and own else proxy

    def refusal(self, response: "Response", content: bytes) -> Failure:
        """Return the error for *response*, no success, with *content*."""
        url, proxy, sender = response.url, None, "the server"
        if url.scheme == "http":
            proxy = self.proxy_of(url)
        if proxy:       # nothing tells which of the two has answered
            sender += " or the proxy " + proxy.url.host_and_port
        status = shown(response.head.lines[0].partition(b" ")[2])
        error = StatusError(
            "%s answered %s for %s" % (sender, status, url.target),
            self._advice(response, content, proxy))
        error.code = response.status
        if proxy and error.code == 407:     # no server has seen the request
            error.status = 3
        return heeding_retry_after(error, response.head)

    def _advice(self, response: "Response", content: bytes,
                proxy: "Optional[Proxy]") -> str:
        """Return what to advise about an error of a server or of *proxy*."""
        url, status = response.url, response.status
        if proxy and status == 407:
            return password_advice(url, proxy)
        if status == 400 and url.scheme == "http" and re.search(
                FOR_HTTPS, content):
            return url.other_scheme
        if status == 400 and re.search("%(?![0-9A-Fa-f]{2})", url.target):
            return "in a URL write % as %25, or give host, port and file"
        if status != 401:
            return ""
        asked = response.fields.get("www-authenticate", "Basic")
        if "basic" not in asked.lower():
            return ("it asks for %s, and --auth is for Basic"
                    % printable(asked.partition(" ")[0]))
        names = [name.lower() for name, _ in self.settings.fields]
        if url.origin == self.trusted and (
                self.settings.user or "authorization" in names):
            return "the user or the password is wrong"
        advice = "use --auth USER with %s" % url
        if proxy and proxy.fields:      # see open_tunnel()
            advice += ", or check the password for the proxy"
        return advice

    def _request(self, url: URL, fields: "Fields",
                 proxy: "Optional[Proxy]") -> bytes:
        """Return the head of a request, with credentials if trusted."""
        refused = {FOR_PROXIES}
        fields = [("Accept", "*/*"), *fields]
        target = url.target
        if url.origin != self.trusted:
            refused |= FOR_ONE_ORIGIN
        elif self.settings.user:
            fields.append(("Authorization", basic(*self.settings.user)))
        if proxy and url.scheme == "http":      # not through a tunnel
            target = str(url)
            fields += proxy.fields
        return render_request("GET", target, url.authority, fields, [
            field for field in self.settings.fields
            if field[0].lower() not in refused])

    def _connection(self, url: URL, proxy: "Optional[Proxy]") -> "Task":
        """Return a connection for *url*: the last one, or a new one."""
        last = self._last
        origin = (proxy.url if proxy and url.scheme == "http" else url).origin
        if (last and last.idle and last.origin == origin
                and not last.has_input()):
            return last
        self.close()
        new = yield from connect(url, proxy, self.settings, self.report)
        self._last, new.origin = new, origin
        self.report.connected("%s%s" % (url.host, proxy or ""), new.sock)
        return new

    def _exchange(self, connection: Connection, url: URL,
                  request: bytes) -> "Task":
        """Send *request*; return the Response that is not interim."""
        self.report.request(request)
        yield from connection.send(request)
        for _ in range(INTERIM_MAX + 1):
            if self._patient_until:
                yield from self._await_digest(connection, url)
            head = yield from connection.head()
            self.report.head(head)
            if head.status >= 200:
                return Response(connection, url, head, self.settings.raw)
            if head.status == 101:
                raise ResponseError("the server switched to another protocol,"
                                    " though nobody asked for it")
        raise ResponseError("more than %d interim responses" % INTERIM_MAX)

    def _await_digest(self, connection: Connection, url: URL) -> "Task":
        """Wait for the first bytes of a head, as long as the server is alive.

        A server may need minutes for a digest.  After each timeout a request
        for one byte on a second connection shows whether it is alive.
        """
        text = "Waiting for the server's digest"
        while connection.start == connection.stop:
            try:
                return (yield from connection.fill())
            except socket.timeout:
                if time.monotonic() >= self._patient_until:
                    raise ConnectError("no digest from the server within %d s"
                                       % DIGEST_WAIT)
            if text:
                self.report.note(text)
            text = ""
            other = Client(self.settings, Report(quiet=True), self.trusted)
            try:
                yield from other._get_once(url, [("Range", "bytes=0-0")])
            except Failure as exc:
                if not connection.has_input():      # else it was just busy
                    raise ConnectError("the server does not answer any more:"
                                       " %s" % exc.args[0])
            finally:
                other.close()

    def close(self) -> None:
        """Close the connection."""
        if self._last:
            self._last.sock.close()


class Response:
    """What a server answered: its head, and its content to be read.

    status, reason, fields   as in Head
    url                      where it came from, after redirects
    length, count            bytes of the body (None: unknown); those so far
    coded                    the content coding, "" for none
    as_sent                  whether the content is given in that coding
    """

    def __init__(self, connection: Connection, url: URL, head: Head,
                 as_sent: bool) -> None:
        self.connection = connection
        self.url = url
        self.head = head
        self.status, self.reason, self.fields, _ = head
        length = body_length(self.status, self.fields)
        self.length = length if 0 <= length < UNTIL_CLOSE else None
        self.count = 0
        coding = self.fields.get("content-encoding", "").strip().lower()
        self.coded = "" if coding == "identity" else coding
        self.as_sent = as_sent
        self._content = self._decode(self._receive(length))
        self._ended = False     # whether all of the body has come

    @property
    def decoded(self) -> bool:
        """Whether the content is given without its coding."""
        return self.coded != "" and not self.as_sent

    def check_coding(self) -> None:
        """Raise ResponseError for a content coding that cannot be decoded."""
        if self.decoded and self.coded not in ("gzip", "x-gzip"):
            raise ResponseError("unknown content coding '%s'" % printable(
                self.fields["content-encoding"]), "--raw saves it as it is")

    def read(self) -> "Task":
        """Return the next block of the content, b"" at its end.

        It is valid until the next is asked for.  Raise ResponseError for
        malformed content, BrokenOff if it ends too early.
        """
        try:
            for block in self._content:
                if not isinstance(block, tuple):
                    return block
                yield block     # a Wait
            if not self._ended:
                raise BrokenOff("the response was closed")
            return b""
        except BaseException as exc:
            self.close()
            if not isinstance(exc, OSError):
                raise
            of = "" if self.length is None else " of %d" % self.length
            raise BrokenOff("the response broke off after %d%s bytes: %s" % (
                self.count, of, self.connection.reason(exc)), TRY_AGAIN)

    def read_into(self, data: bytearray, limit: int) -> "Task":
        """Add the content to *data*; return whether that was all of it.

        Stop after the block that makes *data* longer than *limit* bytes.
        """
        while True:
            block = yield from self.read()
            data += block
            if not block or len(data) > limit:
                return not block

    def _decode(self, body: "Iterator[Any]") -> "Generator[Any, None, None]":
        """Yield the blocks of the content, decoded unless *as_sent* by now."""
        self.check_coding()
        yield from gunzip(body) if self.decoded else body

    def _receive(self, length: int) -> "Iterator[Any]":
        """Yield the blocks of the body, whose *length* is body_length()'s."""
        connection = self.connection
        blocks = (read_chunks(connection) if length == CHUNKED
                  else read_plain(connection, length))
        for block in blocks:
            if not isinstance(block, tuple):    # a Wait
                self.count += len(block)
            yield block
        self._ended = True
        connection.idle = (length != UNTIL_CLOSE and is_persistent(self.head)
                           and connection.start == connection.stop)
        if not connection.idle:
            connection.sock.close()

    def discard(self) -> "Task":
        """Return the rest if it is short; else close the connection.

        The content is at best a hint, so it may break off, and stays coded.
        """
        data = bytearray()
        if (self.length or 0) <= DISCARD_MAX:
            self.connection.deadline = time.monotonic() + min(
                DISCARD_WAIT, self.connection.timeout)
            self.as_sent = True
            with suppress(Failure):
                yield from self.read_into(data, DISCARD_MAX)
        self.close()
        return data

    def close(self) -> None:
        """Read no more of the content."""
        if not self._ended:
            self._content.close()   # which refers to this Response
            self.connection.sock.close()

    # For programs that import this file; see fetch().

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        self.connection.sock.close()

    def __iter__(self) -> "Iterator[bytes]":
        for block in iter(lambda: run(self.read()), b""):
            yield bytes(block)


def fetch(url: str, *, fields: "Sequence[Tuple[str, str]]" = (),
          timeout: "Optional[float]" = TIMEOUT,
          user: "Optional[Tuple[str, str]]" = None,
          cafile: "Optional[str]" = None, insecure: bool = False,
          raw: bool = False,
          environ: "Optional[Mapping[str, str]]" = None) -> Response:
    """Return the Response for *url*; iterate over it for the content.

    *fields*: (name, value) pairs for the request.  *timeout*: seconds to
    connect, for a head, and between bytes; None for no limit.  *user*: (name,
    password).  *cafile*: certificates to trust in place of the system's.
    *insecure*: trust any certificate.  *raw*: do not decode content.
    *environ*: where to look for http_proxy and the like, if not in os.environ;
    {} means no proxy.

    Redirects are followed; any other status is returned; nothing is tried
    again.  Raise ValueError if *url* or *fields* are malformed, and Failure,
    with the program's exit status, if there is no proper response; the
    iteration raises it, too.
    """
    for name, value in fields:
        parse_field("%s: %s" % (name, value))
    where = parse_url(url)
    settings = SimpleNamespace(
        timeout=float("inf") if timeout is None else timeout, family=0,
        fields=fields, user=user, cafile=cafile, insecure=insecure, raw=raw,
        environ=os.environ if environ is None else environ, context=None)
    client = Client(settings, Report(quiet=True), where.origin)
    try:
        response = run(client.get(where, []))  # type: Response
    except BaseException:   # the connection of a redirect was kept open
        client.close()
        raise
    return response


# What version_of() learns: the response, and the file's length, its mtime in
# seconds since 1970, and its SHA-256; each None if it is not told.
Version = namedtuple("Version", "answer length mtime digest")


def version_of(client: Client, url: URL, digest: bool,
               persistent: bool = False) -> "Task":
    """Return the Version of *url* that the server has now; raise Failure.

    A GET for one byte tells, since not every server answers HEAD.  *digest*:
    ask for the SHA-256, too.  *persistent*: ask again after any failure, not
    only when the server asks to wait.
    """
    fields = [("Range", "bytes=0-0"), ("Accept-Encoding", "identity")]
    if digest:
        fields.append(WANT_DIGEST)

    def ask(_: int) -> "Task":
        answer = yield from client.get(url, fields, aside=True)
        yield from answer.discard()
        error = client.refusal(answer, b"")
        if error.wait:
            raise error
        return answer
    answer = yield from persistently(
        client, ask, lambda exc: persistent or exc.wait > 0)
    part = parse_content_range(answer.fields)
    # 416: there is no first byte.
    length = {200: answer.length, 416: 0}.get(answer.status)
    if answer.status == 206 and part and part.length >= 0:
        length = part.length
    return Version(answer, length,
                   http_time(answer.fields.get("last-modified", "")),
                   parse_digest(answer.fields.get("repr-digest", "")))


def basic(name: str, password: str) -> str:
    """Return the Authorization value for Basic (RFC 7617, 2)."""
    import base64
    return "Basic " + base64.b64encode(
        ("%s:%s" % (name, password)).encode(
            "utf-8", "surrogateescape")).decode("ascii")


# ---- Output -----------------------------------------------------------------

# The flags that the system has: Windows lacks O_CLOEXEC and O_NOFOLLOW, and
# alone has O_BINARY.
OPEN_FLAGS = 0
for _flag in ("O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
    OPEN_FLAGS |= getattr(os, _flag, 0)
# O_NONBLOCK: opening a FIFO must not wait for a writer.
READ_FLAGS = (OPEN_FLAGS | getattr(os, "O_NOFOLLOW", 0)
              | getattr(os, "O_NONBLOCK", 0))
# O_APPEND: reading a part back must not move where it is written.
PART_FLAGS = READ_FLAGS | os.O_RDWR | os.O_APPEND
CREATE_FLAGS = PART_FLAGS | os.O_CREAT | os.O_EXCL
WINDOWS = os.name == "nt"
DISK_FULL = frozenset([errno.ENOSPC, errno.EROFS,
                       getattr(errno, "EDQUOT", errno.ENOSPC)])


@contextmanager
def writing(name: str) -> "Iterator[None]":
    """Turn an OSError into the OutputError that *name* was not written."""
    try:
        yield
    except OSError as exc:
        hopeless = exc.errno in DISK_FULL
        error = OutputError(
            "could not write %s: %s" % (printable(name), reason_of(exc)),
            "make room or " * hopeless + "choose another place")
        error.hopeless = hopeless
        raise error


class Output:
    """Writes content, unchanged, to a descriptor: a pipe, a device.

    written  bytes of content that are there
    whole    the version that they are a part of
    """

    is_file = False         # a file gets content as it was sent, coded or not
    can_restart = False     # whether begin() can undo what is written

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.written = 0
        self.whole = NOTHING

    def begin(self, whole: Whole) -> None:
        """Begin, or begin anew, to write *whole*; raise Failure."""
        if self.written and not self.can_restart:
            raise ResponseError("the file changed after %d bytes of it were"
                                " written" % self.written, TRY_AGAIN)
        self.whole = whole
        self.written = 0

    def write(self, block: "Block") -> None:
        """Write all of *block*, b"" at the end; raise Failure."""
        with writing(self.name):
            self._put(block)
        self.written += len(block)

    def _put(self, block: "Block") -> None:
        while len(block):
            try:
                count = os.write(self.fd, block)
            except BlockingIOError:     # another program made the pipe so
                import select
                select.select([], [self.fd], [])
                continue
            except BrokenPipeError:
                raise ReaderGone()
            block = block[count:]

    def finish(self, mtime: "Optional[int]") -> None:
        """End the output; a file gets the time *mtime* unless that is None."""
        self.write(b"")
        self.close()

    def abandon(self, keep: bool = True) -> str:
        """Give up; return what is left, which is nothing unless *keep*."""
        self.close()
        return ""

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd not in (-1, STDOUT, STDERR):
            fd, self.fd = self.fd, -1   # even an error of close() closes it
            with writing(self.name):
                os.close(fd)


class TerminalOutput(Output):
    """Shows content that is text, with control characters escaped."""

    def __init__(self) -> None:
        import codecs
        import io
        super().__init__(STDOUT, "the terminal")
        # It holds back a CR until it knows whether LF follows.
        self.decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder("utf-8")(), translate=False)
        self.line_open = False  # whether the cursor stands within a line

    def _put(self, block: "Block") -> None:
        """Show the text of *block*; raise OutputError if it is binary."""
        try:
            text = self.decoder.decode(bytes(block), not block)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise OutputError(
                "the content is binary and would upset the terminal",
                "save it with -o FILE (or force it with -o -)")
        if text:
            self.line_open = not text.endswith("\n")
        super()._put(safe_text(text).encode(sys.stdout.encoding or "utf-8",
                                            "backslashreplace"))

    def close(self) -> None:
        """End the line, for the message that follows."""
        if self.line_open:
            self.line_open = False
            with writing(self.name):
                super()._put(b"\n")


class ListingOutput(Output):
    """Collects a listing in memory."""

    can_restart = True

    def __init__(self) -> None:
        super().__init__(-1, "")
        self.data = bytearray()

    def begin(self, whole: Whole) -> None:
        """Begin, or begin anew, to collect *whole*."""
        del self.data[:]
        super().begin(whole)

    def _put(self, block: "Block") -> None:
        self.data += block
        if len(self.data) > LISTING_MAX:
            raise ResponseError("the listing is longer than %d bytes"
                                % LISTING_MAX)


class FileOutput(Output):
    """Collects content in NAME.part, and renames that when it is complete."""

    is_file = can_restart = True
    mtime = None  # type: Optional[int]     # in place of the response's

    def __init__(self, name: str, url: str, resume: bool,
                 replace: bool = True, prefix: str = "") -> None:
        """Prepare for a part, whose name begins with *prefix*.

        *resume*: continue a part that is there, if its notes name *url*.
        *replace*: whether it may replace an existing file NAME.
        """
        super().__init__(-1, name)
        self.url = url
        self.replace = replace
        self.part = part_name(name, prefix)
        self.notes = self.part + NOTES_SUFFIX
        self.complete = False   # whether the part has all of the content
        if resume:
            self._resume()

    def _resume(self) -> None:
        """Open the part of an earlier run, if its version is known."""
        import json
        try:
            with open(os.open(self.notes, READ_FLAGS), "rb") as file:
                notes = json.loads(file.read(NOTES_MAX).decode("utf-8"))
            whole = Whole(*[notes[key] for key in Whole._fields])
            is_valid = (STRONG_ETAG.fullmatch(whole.validator)
                        or http_time(whole.validator))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return
        if (notes.get("url") != self.url or not is_valid
                or not isinstance(whole.length, (int, type(None)))):
            return
        self.fd = open_part(self.part)
        if self.fd >= 0:
            self.whole = whole
            self.written = os.lseek(self.fd, 0, os.SEEK_END)

    def begin(self, whole: Whole) -> None:
        """Begin, or begin anew, to write *whole* to a new file."""
        self.close()
        self.fd = open_part(self.part, self.name)
        super().begin(whole)

    def write(self, block: "Block") -> None:
        """Write all of *block*; raise OutputError."""
        before = self.written
        super().write(block)
        # A file that comes in one block needs no notes: in a copy of many
        # small files they would take a third of the time.
        if not before and self.written != self.whole.length:
            self._note()
        if before // WRITE_BACK != self.written // WRITE_BACK:
            # It makes Linux begin to write these bytes to the disk.  They stay
            # cached until they are there.  Not all systems have this hint.
            with suppress(AttributeError, OSError):
                os.posix_fadvise(self.fd, before - before % WRITE_BACK,
                                 WRITE_BACK, os.POSIX_FADV_DONTNEED)

    def _note(self) -> None:
        """Note which version the part is of, if that can be told."""
        if not self.whole.validator:
            return
        import json
        with writing(self.notes), open(os.open(
                self.notes, CREATE_FLAGS, 0o600), "w") as file:
            json.dump(dict(self.whole._asdict(), url=self.url), file)

    def finish(self, mtime: "Optional[int]") -> None:
        """Rename the part, once all of it is on the disk."""
        part = printable(self.part)
        if self.mtime is not None:
            mtime = self.mtime
        with writing(self.name):
            os.fsync(self.fd)
            if not self._is_mine():
                raise OutputError("another program replaced %s, so %s is left"
                                  " as it was" % (part, printable(self.name)),
                                  TRY_AGAIN)
            if os.fstat(self.fd).st_size != self.written:
                self.abandon(keep=False)
                raise OutputError("another program wrote to %s, too" % part,
                                  TRY_AGAIN)
            self.complete = True
            if WINDOWS:     # Windows renames no file that is open
                self.close()
            if mtime is not None:
                os.utime(self.part, (mtime, mtime))
            if self.replace:
                os.replace(self.part, self.name)
            else:
                rename(self.part, self.name)
            self.close()    # which unlocks it, now that it is no part
            remove(self.notes)

    def abandon(self, keep: bool = True) -> str:
        """Close the part; keep it if there is anything in it."""
        if self.complete or self.fd < 0:
            self.close()
            return ("all of it is in %s" % printable(self.part)
                    if self.complete and os.path.lexists(self.part) else "")
        # Not self.written: a write that failed may have written something.
        size = os.fstat(self.fd).st_size
        mine = self._is_mine()
        self.close()
        if keep and size and mine:
            return "%s kept in %s" % (size_text(size), printable(self.part))
        with writing(self.part):
            if mine:
                remove(self.part)
            remove(self.notes)      # else -c would join another's part
        return ""

    def _is_mine(self) -> bool:
        """Return whether the part's name still means the file that is open."""
        with suppress(OSError):     # the name is gone, or out of reach
            return os.path.samestat(os.lstat(self.part), os.fstat(self.fd))
        return False


def open_part(path: str, name: str = "") -> int:
    """Return a descriptor of the part at *path*, locked for this program.

    Without a *name*, open the part that is there; return -1 unless it is a
    regular file of ours with one name.  Else make a new part for file *name*,
    and remove an old one, with its notes: that may have other permissions,
    and where there are no locks another program may still write to it.
    """
    fd = -1
    with suppress(OSError):     # missing, a link, or not ours to write
        fd = os.open(path, PART_FLAGS)
    with writing(path):
        if fd >= 0:
            lock(fd, path)
            state = os.fstat(fd)
            ours = not hasattr(os, "getuid") or state.st_uid == os.getuid()
            if (not name and ours and stat.S_ISREG(state.st_mode)
                    and state.st_nlink == 1):
                return fd
            os.close(fd)    # Windows removes no file that is open
        if not name:
            return -1
        remove(path + NOTES_SUFFIX)
        remove(path)
        mode = 0o666
        with suppress(OSError):     # a private file stays private
            mode = os.stat(name).st_mode & 0o777
        # O_EXCL: the file is new, not somebody's link or device.
        fd = os.open(path, CREATE_FLAGS, mode)
    lock(fd, path)
    return fd


def lock(fd: int, path: str) -> None:
    """Lock the part *fd*; raise OutputError if another program holds it."""
    try:
        import fcntl
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise OutputError("another program is writing %s" % printable(path),
                          "wait for it")
    except (ImportError, OSError):
        pass    # Windows, or a file system without locks


def rename(old: str, new: str) -> None:
    """Rename file *old*, unless *new* is there; see refuse_existing()."""
    try:
        os.link(old, new)
    except (OSError, AttributeError):   # perhaps there are no links here
        refuse_existing(new)
        os.replace(old, new)
    else:
        os.unlink(old)


def refuse_existing(path: str) -> None:
    """Raise OutputError if there is something at *path*."""
    if os.path.lexists(path):
        raise OutputError("%s is there already" % printable(path),
                          "--force replaces it")


def remove(path: str) -> None:
    """Remove the file at *path*, if there is one."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def part_name(name: str, prefix: str = "") -> str:
    """Return where the content of file *name* is collected."""
    folder, base = os.path.split(name)
    # If the suffixes would make the name too long, use its digest instead.
    if len(os.fsencode(prefix + base + PART_SUFFIX + NOTES_SUFFIX)) > NAME_MAX:
        import hashlib
        base = hashlib.sha256(os.fsencode(base)).hexdigest()
    return os.path.join(folder, prefix + base + PART_SUFFIX)


def open_output(name: str, url: str, resume: bool, replace: bool) -> Output:
    """Return the Output for -o *name*, "" without -o; or raise OutputError."""
    if name in ("", "-"):
        if sys.stdout is None:
            raise OutputError("standard output is closed", "use -o FILE")
        if not name and os.isatty(STDOUT):
            return TerminalOutput()
        return Output(STDOUT, "standard output")
    if os.path.isdir(name):
        raise OutputError("%s is a folder" % printable(name),
                          "choose another name with -o FILE")
    if not replace:
        refuse_existing(name)
    folder = os.path.dirname(name)
    with writing(name), suppress(FileNotFoundError):
        state = os.stat(name)
        # For /dev/stdout: the link must not be replaced.
        if sys.stdout and os.path.samestat(state, os.fstat(STDOUT)):
            return Output(STDOUT, name)
        if not stat.S_ISREG(state.st_mode):
            return Output(os.open(name, OPEN_FLAGS | os.O_WRONLY), name)
    if folder and not os.path.isdir(folder):
        raise OutputError("there is no folder %s" % printable(folder),
                          "make it, or choose another -o FILE")
    return FileOutput(name, url, resume, replace)


# ---- Transfer ---------------------------------------------------------------

VERIFIED = "verified sha-256"


def persistently(client: Client, attempt: "Callable[[int], Task]",
                 can_go_on: "Callable[[Failure], bool]",
                 written: "Callable[[], int]" = lambda: 0) -> "Task":
    """Return the result of the task attempt(FAILURES), tried repeatedly.

    After a failure it is tried again if can_go_on(exc), as often in a row,
    without more bytes *written*, as the user allows.  Nothing else is tried
    again, except a request on an idle connection that the server closed.
    """
    settings = client.settings
    failures, most = 0, written()
    while True:
        try:
            return (yield from attempt(failures))
        except Failure as exc:
            # Beginning anew is no progress: that could go on for ever.
            if written() > most:
                failures, most = 0, written()
            if failures == settings.retries or not (
                    exc.again and can_go_on(exc)):
                raise
            delays = RETRY_DELAYS  # type: Sequence[float]
            if settings.delays or exc.wait:
                delays = settings.delays or [exc.wait]
            delay = delays[min(failures, len(delays) - 1)]
            failures += 1
            client.report.retry(exc, delay)
            yield from pause(delay)


class Transfer:
    """Fetches one file, resumes it after failures, and proves it.

    options   the client's settings
    fields    added to each request
    answered  whether this server is known to answer
    hasher    of the SHA-256 of content that is not kept in a file
    response  the last one whose content was used
    fetched   bytes of content that have come
    """

    def __init__(self, client: Client, url: URL, output: Output,
                 fields: "Sequence[Tuple[str, str]]" = (),
                 answered: bool = False) -> None:
        self.client = client
        self.url = url
        self.output = output
        self.options = client.settings
        self.fields = fields
        self.answered = answered
        self.hasher = None  # type: Any
        self.response = None  # type: Optional[Response]
        self.fetched = 0
        self.started = time.monotonic()

    def run(self) -> "Task":
        """Write the content; return what to say about it.

        Raise Failure, which also says what became of the part.
        """
        output = self.output
        try:
            proof = yield from persistently(
                self.client, self._attempt, self._can_go_on,
                lambda: output.written)
            assert self.response
            output.finish(http_time(self.response.fields.get(
                "last-modified", "")))
        except BaseException as exc:
            left = output.abandon()
            if isinstance(exc, KeyboardInterrupt):
                raise Interrupted("interrupted", left)
            if isinstance(exc, Failure):
                exc.args += (left,)
            raise
        says = [proof] if proof else []
        if output.is_file and self.response.coded:
            says.insert(0, "saved as sent, " + printable(self.response.coded))
        return ", ".join(says)

    def _can_go_on(self, exc: Failure) -> bool:
        """Return whether another request may complete the file."""
        output = self.output
        if exc.status == 3 and not (
                exc.wait or self.answered or self.response):
            return False        # the host may be wrong
        if not output.written:
            return True
        return not self.options.wanted and (
            output.can_restart or output.whole.validator != "")

    def _attempt(self, failures: int) -> "Task":
        """Make one request, write its content, and return its proof."""
        url, fields, asked = self._next_request(failures)
        response = yield from self.client.get(url, fields)
        try:
            if response.status // 100 != 2 and not (
                    asked and response.status == 416):
                yield from self._refuse(response, str(url) != str(self.url))
            if self.output.is_file:     # a file gets content as it was sent
                response.as_sent = True
                if ARCHIVE.fullmatch(self.url.target) and response.fields.get(
                        "content-type", "").startswith("text/html"):
                    raise Failure("the server sent a page, not an archive",
                                  "a folder with an index page has none,"
                                  " unless httpd.py has --archives all")
            response.check_coding()
            content = self._place(response, asked)
            if content:
                self.response = response
                yield from self._copy(response, *content)
        finally:
            response.close()
        if not content:     # now all of the file is asked for
            return (yield from self._attempt(failures))
        return (yield from self._prove())

    def _next_request(self, failures: int) -> "Tuple[URL, Fields, int]":
        """Return the URL, the fields, and the first position to ask for."""
        output, url, asked = self.output, self.url, 0
        fields = [*self.fields]
        coding = "identity"
        if self.options.wanted:
            fields.append(("Range", self.options.wanted))
        elif output.written and output.whole.validator:
            # The last byte is asked for again: for a complete file "N-" would
            # be answered by 416, which tells nothing about the version.  If
            # it is the first byte, too, the whole file is asked for.
            asked = output.written - 1
            if asked:
                fields += [("Range", "bytes=%d-" % asked),
                           ("If-Range", output.whole.validator)]
            # The beginning came from there, and a redirect may lead to another
            # server each time.  After two failures that server may be gone.
            if self.response and failures < 2:
                url = self.response.url
        elif not (self.options.raw or self.options.sha256 or output.is_file):
            coding = "gzip"
        fields.append(("Accept-Encoding", coding))
        return url, fields, asked

    def _place(self, response: Response,
               asked: int) -> "Optional[Tuple[int, Optional[int]]]":
        """Return how many bytes of *response* to skip, and how many to write.

        The second is None if unknown; the result is None if all of the file
        must be asked for again.  The output begins anew unless *response* has
        the rest of what is there: so two versions are never joined.
        """
        output, length, whole = self.output, response.length, self.output.whole
        # Careless servers give the same entity tag to all codings.
        source = " ".join([str(response.url), response.coded]).rstrip()
        if whole.source not in ("", source):
            whole = whole._replace(validator="")
        if self.options.wanted or response.status == 206:
            part = self._part(response, asked)
            if self.options.wanted:
                output.begin(Whole("", part.last + 1 - part.first, ""))
                return 0, output.whole.length
            total = whole.length if part.length < 0 else part.length
            if (is_same_version(response.fields, whole.validator)
                    and total == part.last + 1
                    and whole.length in (None, total)):
                return output.written - asked, total - output.written
        if response.status in (206, 416):   # RFC 9110, 15.5.17: now shorter
            self.client.report.note(
                "%s is not a part of what the server has; beginning anew"
                % printable(output.name))
            output.begin(NOTHING)
            return None
        if response.status not in (200, 203) and output.written:
            raise ResponseError("the server answered %d, which is not the rest"
                                " of the file" % response.status, TRY_AGAIN)
        sent = Whole("", None, source)
        if not response.decoded:
            sent = Whole(strong_validator(response.fields), length, source)
        is_same = sent.validator != "" and sent.validator == whole.validator
        total = whole.length if length is None else length
        # RFC 9110, 14.2: a server without ranges sends all of the file.
        if output.written and is_same and whole.length in (None, total) and (
                total is None or total >= output.written):
            return output.written, total and total - output.written
        output.begin(sent)
        return 0, sent.length

    def _part(self, response: Response, asked: int) -> ContentRange:
        """Return which part of the file *response* has, if it is as *asked*.

        Else raise ResponseError.  Source: RFC 9110, 14.4 and 15.3.7.
        """
        wanted = self.options.wanted
        if response.status != 206:
            raise ResponseError("the server does not send ranges of this file")
        part = parse_content_range(response.fields)
        if part and part.first >= 0 and not response.decoded and (
                response.length in (None, part.last + 1 - part.first)):
            if wanted and is_selected(wanted, *part):
                return part
            if not wanted and asked and part.first == asked:
                return part
        raise ResponseError("the server sent another part of the file than it"
                            " was asked for: '%s'" % printable(
                                response.fields.get("content-range", "")))

    def _copy(self, response: Response, skip: int,
              expected: "Optional[int]") -> "Task":
        """Write the content; *skip* and *expected* are from _place()."""
        output = self.output
        if not (self.hasher or self.options.wanted or output.can_restart):
            import hashlib
            self.hasher = hashlib.sha256()
        count = -skip
        most = UNTIL_CLOSE if expected is None else expected
        block = yield from response.read()
        while block:
            count += len(block)
            if count > most:
                raise ResponseError("malformed response: more bytes than"
                                    " there are of the file")
            if count > 0:
                block = block[max(0, len(block) - count):]
                output.write(block)
                self.fetched += len(block)
                if self.hasher:
                    # PyPy copies all but a bytearray, and collects the copies
                    # too rarely.
                    self.hasher.update(bytearray(block))
                self.client.report.progress(
                    progress_text, output.written, output.whole.length,
                    self.fetched, time.monotonic() - self.started)
            block = yield from response.read()
        if count < (expected or 0):
            raise BrokenOff("the response broke off after %d bytes: it was"
                            " shorter than it said" % output.written,
                            TRY_AGAIN)

    def _refuse(self, response: Response, elsewhere: bool) -> "Task":
        """Raise the Failure for an error, and show its content, if asked to.

        Another request may succeed if the server asks for it; or, once some
        content has come, after a 5xx status, or if a redirect led *elsewhere*.
        """
        report = self.client.report
        if report.verbose:
            content, note = bytearray(), ""
            try:
                if not (yield from response.read_into(
                        content, ERROR_SHOWN_MAX)):
                    note = "(and more)"
            except Failure as exc:      # the status is the news, not this
                note = "(%s)" % exc
            text = content[:ERROR_SHOWN_MAX].decode(
                "utf-8", "backslashreplace")
            for line in filter(None, [safe_text(text).rstrip("\n"), note]):
                report.note(line)
        else:
            content = yield from response.discard()
        error = self.client.refusal(response, bytes(content))
        error.again = error.wait > 0 or self.response is not None and (
            response.status >= 500 or elsewhere)
        raise error

    def _prove(self) -> "Task":
        """Compare with the user's digest, or the server's; say how it went.

        Raise ResponseError, or BrokenOff if the server's file is longer.
        """
        response, output = self.response, self.output
        assert response
        if self.options.wanted or not (self.hasher or output.is_file):
            return ""
        import hashlib
        hasher, hashing = self.hasher, iter(())  # type: Any, Any
        if not hasher:
            hasher = hashlib.sha256()
            hashing = digest_of(output.name, output.fd, hasher)
        given, why = self.options.sha256, ""
        digest = given
        if not given and not response.decoded:
            digest = parse_digest(response.fields.get("repr-digest", ""))
        accepts = response.fields.get("accept-ranges", "").lower()
        if not digest and output.written and (
                response.status == 206 or "bytes" in accepts):
            # The server takes as long for its digest as we take for ours.
            digest, why = yield from beside(self._ask_digest(response),
                                            hashing)
        if not digest:
            return why and "not verified: " + why
        yield from hashing
        if digest == hasher.digest():
            return "sha-256 as given" if given else VERIFIED
        output.abandon(keep=False)
        raise not_as_given(hasher.digest(), given) if given else ResponseError(
            "the content is not what the server has, by its sha-256",
            TRY_AGAIN)

    def _ask_digest(self, response: Response) -> "Task":
        """Return the server's SHA-256 of this version, or None; and why.

        Raise ResponseError or BrokenOff if this version has another length.
        """
        written, whole = self.output.written, self.output.whole
        try:
            answer, length, _, digest = yield from version_of(
                self.client, response.url, True)
        except Failure as exc:  # only the proof is missing, not the content
            return None, exc.args[0]
        if answer.status not in (200, 206):
            return None, ("the server answered %d to the question for its"
                          " digest" % answer.status)
        if answer.status == 200 or length is None:
            return None, ""
        if length != written and is_same_version(answer.fields,
                                                 whole.validator):
            if length < written:
                self.output.abandon(keep=False)
                raise ResponseError("the content is not what the server has:"
                                    " %d bytes, not %d" % (written, length))
            raise BrokenOff("the response broke off after %d of %d bytes"
                            " without a sign" % (written, length), TRY_AGAIN)
        names = ["last-modified"]
        if not response.decoded:    # gzip made for sending has its own ETag
            names.append("etag")
        same = [answer.fields.get(name) == response.fields.get(name)
                for name in names if name in response.fields]
        if (length != written or not all(same)
                or not response.decoded and answer.coded != response.coded):
            return None, "it is another version by now"
        return digest if same else None, ""     # []: no field tells


def is_complete(client: Client, url: URL, name: str) -> "Task":
    """Return what to say if file *name* is complete, else "".

    The user's digest tells, or what the server says about *url*.  A file that
    has a part is not complete.
    """
    given, says = client.settings.sha256, "complete already"
    try:
        state = os.stat(name)
        if os.path.exists(part_name(name)) or not stat.S_ISREG(state.st_mode):
            return ""
    except OSError:
        return ""
    found = given and (yield from digest_of(name))
    if given and found == given:
        return says + ", sha-256 as given"
    try:
        now = yield from version_of(client, url, True)
        why = "the server answered %d" % now.answer.status
    except Failure as exc:
        if not exc.again or exc.wait:
            raise
        now, why = Version(None, None, None, None), exc.args[0]
    if now.length is None:      # perhaps only the digest is the problem
        says += ", not verified: " + why
        now = yield from version_of(client, url, False)
    if now.length is not None and now.length < state.st_size:
        client.report.note("%s is longer than what the server has"
                           % printable(name))
    if not now.length:      # a time says nothing about an empty file
        now = now._replace(mtime=None)
    if not (yield from is_same_file(name, state, now)):
        return ""
    if given:
        raise not_as_given(found, given)
    return says + ", " + VERIFIED if now.digest else says


def is_same_file(path: str, state: "os.stat_result",
                 version: Version) -> "Task":
    """Return whether the file at *path*, with this *state*, is of *version*.

    A digest counts more than a time: an edit can keep the time.
    """
    _, length, mtime, digest = version
    if length != state.st_size:
        return False
    if digest:
        return digest == (yield from digest_of(path))
    return not length if mtime is None else is_same_time(
        mtime, state.st_mtime_ns)


def not_as_given(found: bytes, given: bytes) -> Failure:
    """Return the error for a SHA-256 *found* that is not the *given* one."""
    return ResponseError("the content has the sha-256 %s, not %s as given" % (
        found.hex(), given.hex()), "try again, or check URL and digest")


def digest_of(name: str, fd: int = -1, hasher: "Any" = None) -> "Task":
    """Return the SHA-256 of file *name*, or of *fd*; raise OutputError."""
    import hashlib
    hasher = hasher or hashlib.sha256()
    block = bytearray(RECEIVE_SIZE)     # PyPy copies any other type
    try:
        with open(name if fd < 0 else fd, "rb", 0, closefd=fd < 0) as file:
            file.seek(0)
            while True:
                del block[file.readinto(block):]
                hasher.update(block)
                if len(block) < RECEIVE_SIZE:   # then this was the last
                    return hasher.digest()
                yield from pause(0)
    except OSError as exc:
        raise OutputError("could not read %s: %s" % (
            printable(name), reason_of(exc)))


def beside(task: "Task", work: "Iterator[Any]") -> "Task":
    """Return what *task* returns; do steps of *work* while it waits."""
    go_on, value = task.send, None  # type: Callable[[Any], Wait], Any
    while True:
        try:
            wait = go_on(value)
        except StopIteration as stop:
            return stop.value
        go_on, value = task.send, None
        try:
            for _ in work if wait[0] else ():
                try:
                    yield wait[0], wait[1], 0.0     # is it ready already?
                    break
                except socket.timeout:
                    continue
            else:
                yield wait
        except BaseException as exc:    # a timeout, or the end of this task
            go_on, value = task.throw, exc


# ---- Copying a folder -------------------------------------------------------

# A folder whose listing has been read: its URL, its path here, a hash of the
# listing, and the Folders above it.
Folder = namedtuple("Folder", "url path mark above")


class Mirror(Report):
    """Copies a folder of a server, as the server lists it, to a folder here.

    Its transfers report to it, and it passes little of that on to the user.

    jobs      what is still to do: (Folder that lists it, Entry); the first
              is the top folder, which None lists
    doing     entries that are being done, which may add jobs
    transfers those that are running
    below     entries of deeper folders that pages named: {path here: entries}
    failures  one line for each entry that could not be copied
    lost      jobs in a row for which the server could not be reached
    """

    def __init__(self, url: URL, path: str, client: Client) -> None:
        """Prepare to copy *url* as *path*, by clients like *client*."""
        super().__init__(quiet=True)
        self.url = url.with_target(url.path.rstrip("/") + "/")
        self.path = path
        self.client = client
        self.report = client.report
        self.jobs = [(None, FOLDER)]  # type: List[Job]
        self.doing = []  # type: List[Entry]
        self.transfers = []  # type: List[Transfer]
        self.below = {}  # type: Dict[str, List[Entry]]
        self.failures = []  # type: List[str]
        self.fetched = self.bytes = self.replaced = self.unchanged = 0
        self.page = ""          # the first index page
        self.lost = 0
        self.answered = False   # whether the server has ever answered
        self.retried = ("", 0.0)        # the last failure that was reported

    def run(self) -> None:
        """Copy everything; raise Failure if something was not copied."""
        started = time.monotonic()
        self.report.bar = self.client.settings.progress
        try:
            run(*[self._work() for _ in range(CONNECTIONS)])
        except (Failure, KeyboardInterrupt) as exc:
            if isinstance(exc, Failure) and exc.status != 130:
                raise
            raise Interrupted(
                "interrupted", "%s copied, and what came of others is kept;"
                " the same command resumes it" % counted(self.fetched, "file"))
        finally:
            self.report.clear()
            for line in self.failures:
                say("httpget.py: %s" % line)
        if self.page:
            self.report.note("%s is an index page, so only what it links to"
                             " was copied from that folder" % self.page)
        files, size = counted(self.fetched, "file"), size_text(self.bytes)
        seconds = time.monotonic() - started
        self.report.note(
            "%s, %s in %.1f s into %s; %d replaced; %d unchanged; %d failed"
            % (files, size, seconds, printable(self.path), self.replaced,
               self.unchanged, len(self.failures)))
        if self.failures:
            raise StatusError("not all of %s was copied" % self.url)

    def _work(self) -> "Task":
        """Do jobs over one connection, until there are no more."""
        client = Client(self.client.settings, self, self.client.trusted)
        client.allowed = self._may_follow
        try:
            while self.jobs or self.doing:
                if not self.jobs:
                    yield from pause(LISTING_WAIT)
                    continue
                folder, entry = self.jobs.pop()
                self.doing.append(entry)
                try:
                    yield from self._do(client, folder, entry)
                finally:
                    self.doing.remove(entry)
                self.progress()
        finally:
            client.close()

    def retry(self, exc: Failure, delay: float) -> None:
        """Report a failure, but not the same again for each transfer."""
        retried = str(exc.wait or exc.args[0]), delay
        if self.retried != retried:
            self.retried = retried
            self.report.retry(exc, delay)

    def progress(self, *_: "Any") -> None:
        """Show how far the copy has come, not the file."""
        self.report.progress(self._so_far)

    def _so_far(self) -> str:
        """Return the line of progress; it tells of what is known by now."""
        done = self.fetched + self.unchanged + len(self.failures)
        fetched = self.bytes + sum(each.fetched for each in self.transfers)
        entries = self.doing + [entry for _, entry in self.jobs]
        files = [entry for entry in entries if not entry.is_folder]
        left = sum(entry.size or 0 for entry in files)
        left -= sum(each.output.written for each in self.transfers)
        size = size_text(fetched)
        if left > 0:    # unknown if the listing tells no sizes
            size += " of " + size_text(fetched + left)
        return "%d of %s, %s; %d unchanged" % (
            done, counted(done + len(files), "file"), size, self.unchanged)

    def _do(self, client: Client, folder: "Optional[Folder]",
            entry: Entry) -> "Task":
        """Copy the *entry* of *folder*, or note why it was not copied."""
        url, path = self.url, self.path
        if folder:
            url = entry_url(folder.url, entry)
            path = os.path.join(folder.path, file_name(entry.name))
        try:
            if entry.is_folder:
                yield from self._folder(
                    client, url, path, entry.is_linked,
                    folder.above + (folder,) if folder else ())
            else:
                yield from self._file(client, url, path, entry)
            self.lost = 0
        except IsFolder:
            self.jobs.append((folder, entry._replace(is_folder=True)))
        except Failure as exc:
            file = url.with_target(url.target.rstrip("/") or "/")
            if not folder and (exc.code == 200 or exc.code == 404 and (
                    yield from self._is_file(client, file))):
                raise StatusError("%s is a file, not a folder" % file,
                                  "leave -r out")
            self.lost += exc.status == 3
            if self.lost == CONNECTIONS:    # the server is gone
                exc.args += ("the same command resumes the copy",)
                raise
            if not folder or exc.hopeless:      # nothing can be copied
                raise
            self.failures.append("%s: %s" % (url, exc))

    def _folder(self, client: Client, url: URL, path: str, is_linked: bool,
                above: "Tuple[Folder, ...]") -> "Task":
        """Read the listing at *url*, and add a job for each of its entries."""
        listed = []  # type: List[Entry]
        if is_linked:
            try:
                url, listed = yield from self._listing(client, url)
            except Failure as exc:
                if exc.status != 1 or path not in self.below:
                    raise
                self.failures.append("%s: %s" % (url, exc))
        mark = hash(frozenset(entry[:5] for entry in listed))
        yield from self._check_loop(client, url, listed, [
            folder.url for folder in above if folder.mark == mark])
        make_folder(path, path == self.client.settings.folder)
        if len(above) == DEPTH_MAX:
            raise ResponseError("folders are nested more than %d deep"
                                % DEPTH_MAX)
        folder = Folder(url, path, mark, above)
        taken = set()  # type: Set[str]
        here, deeper = sorted_out(listed + self.below.pop(path, []))
        for name, entry in here.items():
            why, saved = "cannot be a file name", ""
            if is_name(name):
                why, saved = "has the file name of another", file_name(name)
            key = os.path.normcase(saved)
            if not saved or key in taken:
                self.failures.append("%s: it lists '%s', which %s" % (
                    url, printable(name), why))
                continue
            taken.add(key)
            self.jobs.append((folder, entry))
            if name in deeper:
                self.below[os.path.join(path, saved)] = deeper[name]

    def _check_loop(self, client: Client, url: URL, listed: "List[Entry]",
                    same: "List[URL]") -> "Task":
        """Raise StatusError if a link led back to one of the *same* folders.

        They list the same.  It is a loop if a file in them is the same, too,
        or if LOOP_MIN of them have no file.
        """
        if not same or not listed:
            return
        loop = StatusError("it lists the same as %s: a loop of links"
                           % same[-1])
        for entry in listed:
            if entry.is_folder or entry.folders:
                continue
            if None not in (entry.size, entry.mtime):
                raise loop
            found = []
            try:
                for base in (url, same[-1]):
                    found.append((yield from version_of(
                        client, entry_url(base, entry), True, True))[1:])
            except Failure as exc:
                if exc.status != 1:
                    raise
                continue        # it may be a folder
            if found[0] != found[1]:
                return
            if found[0][0] is not None:
                raise loop
        if len(same) >= LOOP_MIN - 1:
            raise loop

    def _listing(self, client: Client, url: URL) -> "Task":
        """Return the URL that the listing of *url* came from, and its entries.

        It is asked for as JSON, and then as HTML if the JSON is no listing.
        """
        for media in ("application/json, text/html;q=0.9", "text/html"):
            page = ListingOutput()
            transfer = Transfer(client, url, page, [("Accept", media)],
                                self.answered)
            try:
                yield from transfer.run()
            finally:
                self.answered = self.answered or transfer.response is not None
            response = transfer.response  # type: Any
            text = page.data.decode("utf-8", "surrogateescape")
            kind = response.fields.get("content-type", "html").lower()
            is_json = "json" in kind
            if not re.search("json|html|xml", kind):
                error = StatusError("it is not a listing of a folder, but %s"
                                    % printable(kind))
                error.code = 200
                raise error
            try:
                listed = list(islice(
                    parse_json_listing(text) if is_json else
                    parse_html_listing(text, response.url), JOBS_MAX + 1))
                break
            except Failure:
                if media == "text/html":
                    raise
        held = sum(map(len, self.below.values()))
        if len(listed) + len(self.jobs) + held > JOBS_MAX:
            raise ResponseError("more than %d names are listed" % JOBS_MAX)
        # If the server has JSON of any shape, it made the listing itself.
        is_page = not is_json and media != "text/html"
        if is_page and any(entry.of_page for entry in listed):
            # Pictures may be the icons of a listing.
            is_page = yield from self._is_file(
                client, entry_url(response.url, INDEX))
        if is_page:
            return response.url, [INDEX, *listed]
        return response.url, [each for each in listed if not each.of_page]

    def _is_file(self, client: Client, url: URL) -> "Task":
        """Return whether the server has a file at *url*."""
        try:
            version = yield from version_of(client, url, False, True)
        except Failure as exc:
            if exc.status != 1:
                raise
            return False
        return version.answer.status in (200, 206, 416)

    def _may_follow(self, asked: URL, url: URL) -> bool:
        """Return whether *url* is in the folder that is copied.

        Raise IsFolder if only a slash was missing in what was *asked*.
        """
        inside = (url.origin == self.url.origin
                  and (url.target + "/").startswith(self.url.target)
                  and not DOTS.search(url.path))
        if (inside and not asked.path.endswith("/")     # else: without end
                and decoded(url.path) == decoded(asked.path) + "/"):
            raise IsFolder("it is a folder")
        return inside

    def _file(self, client: Client, url: URL, path: str,
              entry: Entry) -> "Task":
        """Copy one file, unless the copy that is there is up to date."""
        is_there = os.path.lexists(path)
        if (yield from is_current(client, url, path, entry)):
            self.unchanged += 1
        else:
            # No file of a copy has a name with a leading dot, as parts have.
            output = FileOutput(path, str(url), resume=True, prefix=".")
            output.mtime = entry.mtime
            is_small = entry.size is not None and (
                entry.size <= DIGEST_ASKED_MAX)
            transfer = Transfer(client, url, output,
                                [WANT_DIGEST] * is_small, True)
            self.transfers.append(transfer)
            try:
                says = yield from transfer.run()
            except Failure as exc:
                if entry == INDEX and exc.code == 404:
                    return      # the page was a listing
                raise
            finally:
                self.transfers.remove(transfer)
            self.bytes += transfer.fetched
            if says not in ("", VERIFIED):
                self.report.note("%s: %s" % (printable(path), says))
            self.fetched += 1
            self.replaced += is_there
        if entry == INDEX and not self.page:
            self.page = str(url)


def is_current(client: Client, url: URL, path: str, entry: Entry) -> "Task":
    """Return whether the file at *path* is the one that the server has.

    The server is asked for what *entry* does not tell.  Raise OutputError if
    something else is at *path*, unless the server, too, has a folder there.
    """
    with writing(path):     # no request for a name that is not possible here
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            return False
    is_file = stat.S_ISREG(state.st_mode)
    version = Version(None, entry.size, entry.mtime, None)
    is_unclear = entry.size is None or (
        entry.size == state.st_size and entry.mtime is None)
    if is_unclear and (is_file or stat.S_ISDIR(state.st_mode)):
        version = yield from version_of(
            client, url, state.st_size <= DIGEST_ASKED_MAX, True)
    if not is_file:
        raise OutputError("%s is there, but it is not a file"
                          % printable(path))
    return (yield from is_same_file(path, state, version))


def is_name(text: str) -> bool:
    """Return whether *text* can be a file's name on any system at all."""
    return text not in ("", ".", "..") and not re.search(
        "[/\0\ud800-\udc7f\udd00-\udfff]", text)


def file_name(name: str) -> str:
    """Return the file name under which *name*, of a server, is kept here."""
    name = local_name(name, WINDOWS)
    # As UTF-8, whatever the encoding of the file system is.
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def make_folder(path: str, may_be_link: bool) -> None:
    """Make the folder *path*, and those above it, or raise OutputError.

    *may_be_link*: whether a link to a folder will do, as the user named it.
    """
    is_folder = False
    with writing(path), suppress(FileExistsError):
        os.makedirs(path, exist_ok=True)
        is_folder = may_be_link or stat.S_ISDIR(os.lstat(path).st_mode)
    if not is_folder:
        raise OutputError("%s is there, but it is not a folder"
                          % printable(path))


# ---- Command line -----------------------------------------------------------

EXHAUSTED = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS,
                       errno.ENOMEM])

USAGE = """\
httpget.py [options] [host] [port] [file ...]
       httpget.py [options] URL ..."""

# make_parser() finds the options in it.
HELP = """\
Fetch files over HTTP.

  host   name or address of the server (default: %s)
  port   TCP port of the server (default: %d)
  file   file to fetch, or several; write ?, # and %% as they are
         (default: /, for the server's default file)
  URL    full address, or several, in place of host, port and file;
         HOST:PORT and HOST:PORT/PATH will do

options:
  -h, --help         show this help message and exit
  --version          show program's version number and exit

where to:
  -o FILE            save as FILE (FILE.part until it is complete), even if it
                     exists; without -o, -O and -r, or with -o -, content goes
                     to standard output, binary to a terminal only with -o -
  -O                 save under the file's own name, the last part of what
                     you wrote: b.iso for /a/b.iso
  -P DIR             save in DIR, for -O and -r; DIR is made if missing
                     (default: the current folder)
  --force            let -O replace an existing file
  -c                 resume from FILE.part, unless the file has changed
  -r                 copy a folder and everything in it; without -P, / goes
                     into a folder named after the host

how:
  -H 'NAME: VALUE'   add this field to every request; repeatable
  --range RANGE      fetch these bytes only: FIRST-LAST, FIRST- or -COUNT; the
                     first byte of a file is 0
  --raw              do not ask for gzip, and do not decode it
  --sha256 HEX       save the file only if it has this SHA-256
  --retries N        give up after N retries in a row without progress
                     (default: %d)
  --timeout SECONDS  give up if connecting takes longer, or if nothing comes
                     for as long (default: %g)
  --auth USER        log in as USER (HTTP Basic); asks for the password unless
                     HTTPGET_PASSWORD has it
  --tls              use HTTPS (with host and port)
  --cafile FILE      trust the certificates in FILE, not the system's
  --insecure         trust any certificate; anyone on the way can then read
                     and change everything
  -4                 use IPv4 only
  -6                 use IPv6 only

what is shown:
  -v                 show the request and all fields of the response
  -q                 show only errors, one line each

environment:
  HTTPGET_PASSWORD is the password of --auth.  http_proxy, https_proxy and
  all_proxy (http://HOST:PORT or http://USER:PASSWORD@HOST:PORT) and no_proxy
  work as in curl, but this machine (localhost, 127.0.0.1, ::1) is always
  reached without a proxy.

examples:
  python3 httpget.py                                   show the first page of
                                                       127.0.0.1:8080
  python3 httpget.py localhost:9000/docs/notes.txt     show a file
  python3 httpget.py -O example.org 80 a.iso           save a file as a.iso
  python3 httpget.py -c -O https://example.org/a.iso   resume a download
  python3 httpget.py -r -P copy 192.0.2.7 8080 photos  copy a folder
  python3 httpget.py example.org 80 a.tar | tar x      unpack an archive
""" % (HOST, PORT, RETRIES, TIMEOUT)

# The attributes of options, where they are not named as the option is.
ATTRIBUTES = {
    "-o": "output", "-O": "remote_name", "-P": "folder", "-c": "resume",
    "-r": "recursive", "-H": "fields", "--range": "wanted", "-4": "ipv4",
    "-6": "ipv6", "-v": "verbose", "-q": "quiet"}
TYPES = {"N": int, "SECONDS": float}    # of values, by their names in HELP
# What curl and wget call them, without the dashes.
OTHER_NAMES = {
    "output": "-o", "output-document": "-o", "remote-name": "-O",
    "directory-prefix": "-P", "output-dir": "-P", "continue": "-c",
    "recursive": "-r", "mirror": "-r", "header": "-H", "u": "--auth",
    "user": "--auth", "cacert": "--cafile", "k": "--insecure",
    "no-check-certificate": "--insecure", "verbose": "-v", "quiet": "-q",
    "s": "-q", "silent": "-q"}


def make_parser() -> "ArgumentParser":
    """Return the parser of the options in HELP."""
    import argparse
    # Without a width the formatter asks the terminal, which takes 4 ms.
    parser = argparse.ArgumentParser(
        "httpget.py", USAGE, add_help=False, formatter_class=partial(
            argparse.HelpFormatter, width=COLUMNS))
    for names, takes in re.findall(
            "(?m)^  ((?:-h, )?--?[A-Za-z0-9]+)(?: (.*?))?  ", HELP):
        *_, name = names.split(", ")
        add = partial(parser.add_argument, *names.split(", "),
                      dest=ATTRIBUTES.get(name, name.strip("-")))
        if not takes:
            add(action="store_true")
        else:
            add(type=TYPES.get(takes, str),
                action="append" if name == "-H" else "store")
    parser.set_defaults(fields=[], retries=RETRIES, timeout=TIMEOUT)
    return parser


def refuse_unknown(words: "Iterable[str]", known: "Sequence[str]") -> None:
    """Raise ValueError for an option in *words* that is none of the *known*.

    >>> refuse_unknown(["-rO", "--retires=5"], ["-r", "--retries"])
    Traceback (most recent call last):
    ValueError: unknown option --retires; did you mean --retries?
    """
    names = {**OTHER_NAMES, **{each.lstrip("-"): each for each in known}}
    for word in words:
        name = word.partition("=")[0]
        plain = name.lstrip("-")
        if (not re.match("-+[A-Za-z]", name) or " " in name or name in known
                or name[:2] in known and not plain[2:].isalpha()):
            continue
        import difflib
        found = [key for key in names if plain[1:] and key.startswith(plain)]
        found += difflib.get_close_matches(plain.lower(), names, 1)
        # "-dsrc" is "-d src", but "-prot" is not "-p rot".
        if name[:2] not in known or found and found[0][0] == plain[0].lower():
            raise ValueError("unknown option " + name + (
                "; did you mean %s?" % names[found[0]] if found else ""))


def parse_arguments(argv: "Optional[Sequence[str]]") -> "Namespace":
    """Return the options in *argv*, or raise SystemExit.

    Raise Failure if what --help prints cannot be written.
    """
    from itertools import takewhile
    parser = make_parser()
    argv = sys.argv[1:] if argv is None else argv
    # argparse would take the "-5" after "--range" for an option.
    line = "".join("\0" + word for word in argv)
    argv = line.replace("\0--range\0-", "\0--range=-").split("\0")[1:]
    # It would also take "--time" for --timeout, or blame a later word.  Before
    # Python 3.8 allow_abbrev=False would refuse "-cO", too.
    known = re.findall(r"(?<=\s)--?[A-Za-z0-9]+", HELP)
    try:
        refuse_unknown(takewhile("--".__ne__, argv), known)
    except ValueError as exc:
        parser.error(str(exc))
    # First the options, then the words that are left: in "host -v 80" argparse
    # would take "host" for all of the words.
    options, words = parser.parse_known_args(argv)
    parser.add_argument("words", nargs="*")
    parser.parse_args(words, options)
    if options.help or options.version:
        text = ("httpget.py %s\n" % __version__ if options.version else
                "usage: %s\n\n%s" % (USAGE, HELP))
        Output(STDOUT, "standard output").write(text.encode("ascii"))
        raise SystemExit(0)
    try:
        options.urls = parse_words(options.words, options.tls)
        # Before Python 3.13 argparse reads the "--" in "-o--" as [].
        options.fields = [parse_field(text or "") for text in options.fields]
        if options.wanted is not None:
            options.wanted = parse_range(options.wanted or "")
        options.family = (socket.AF_INET if options.ipv4 else
                          socket.AF_INET6 if options.ipv6 else 0)
        options.progress = not options.quiet and os.isatty(STDERR)
        check_options(options)
        options.files = list(name_files(options))
        options.sha256 = bytes.fromhex(options.sha256 or "")
    except ValueError as exc:
        parser.error(str(exc))
    return options


def parse_words(words: "Sequence[str]",
                tls: bool = False) -> "List[Tuple[str, URL]]":
    """Return what to fetch: the user's word for each file, and its URL.

    Raise ValueError, also for a word after HOST:PORT that may not be a file.

    >>> [str(url) for _, url in parse_words(["h", "81", "a b", "c"])]
    ['http://h:81/a%20b', 'http://h:81/c']
    >>> [str(url) for _, url in parse_words(["[::1]:81", "a?", "b"], True)]
    ['https://[::1]:81/a%3F', 'https://[::1]:81/b']
    >>> parse_words(["h:81/d/a%20b?c#d", "[::1]:82/", "https://h/"])[0][0]
    'd/a%20b'
    """
    scheme = "https" if tls else "http"
    first, *names = words or [HOST]
    address = ADDRESS.fullmatch(first)
    port = re.fullmatch(":?([0-9]+)", first)
    if port:
        raise ValueError("'%s' is not a host; for a port of this machine"
                         " write localhost:%s" % (first, port.group(1)))
    if "://" in first or address and address.group(1):
        for word in names:
            if "://" not in word and not ADDRESS.fullmatch(word):
                raise ValueError("'%s' is not a URL, as the first word is;"
                                 " for a folder here use -P DIR"
                                 % without_password(word))
        urls = [scheme + "://" + word if ADDRESS.fullmatch(word) else word
                for word in words]
        return [(REFERENCE.findall(url)[0][2][1:], parse_url(url))
                for url in urls]
    if not address:
        top = URL(scheme, parse_host(first),
                  parse_port(names.pop(0)) if names else PORT, "/")
    else:
        top = parse_url(scheme + "://" + first)
        for name in names:
            if "://" in name or ADDRESS.fullmatch(name) or name.isdigit():
                raise ValueError(
                    "'%s' after HOST:PORT may not be a file; write a URL for"
                    " each file, such as %s/FILE"
                    % (without_password(name), printable(first)))
    return [(name, top.with_target(request_target(name)))
            for name in names or ["/"]]


def check_options(options: "Namespace") -> None:
    """Raise ValueError for bad values, and options that do not go together."""
    needed = options.output, options.folder, options.cafile, options.auth
    fields = [name.lower() for name, _ in options.fields]
    to_file = options.output not in (None, "-")
    schemes = [url.scheme for _, url in options.urls]
    for is_wrong, why in [
            (any(value in ("", "--", []) for value in needed),
             "-o, -P, --cafile and --auth: each needs a value"),
            (not 0 < options.timeout <= TIMEOUT_MAX,    # or a NaN
             "--timeout takes more than 0 and at most %d seconds"
             % TIMEOUT_MAX),
            (options.retries < 0, "--retries cannot be below 0"),
            (options.sha256 is not None and not re.fullmatch(
                "[0-9A-Fa-f]{64}", options.sha256 or ""),
             "--sha256 takes 64 hexadecimal digits"),
            (OWN_FIELDS.intersection(fields),
             "-H cannot set these fields: " + ", ".join(sorted(OWN_FIELDS))),
            (fields.count("host") > 1, "-H sets Host more than once"),
            (":" in (options.auth or ""),       # RFC 7617, 2
             "--auth takes a name without a colon, and no password"),
            (options.ipv4 and options.ipv6, "-4 is not allowed with -6"),
            (options.verbose and options.quiet, "-v is not allowed with -q"),
            (options.output and options.remote_name,
             "-o and -O both name a file; use one of them"),
            (to_file and len(schemes) > 1,
             "-o names one file, but there are several; use -O"),
            (options.folder and not (options.remote_name or options.recursive),
             "-P needs -O or -r"),
            (options.force and not options.remote_name, "--force needs -O"),
            (options.tls and "http" in schemes,
             "--tls is for host and port; write https:// in a URL"),
            (options.resume and not (to_file or options.remote_name),
             "-c needs -o FILE or -O"),
            (options.wanted and (options.resume or options.recursive),
             "--range is not allowed with -c or -r"),
            (options.sha256 and (options.recursive or options.wanted
                                 or len(schemes) > 1),
             "--sha256 is for one whole file"),
            (options.recursive and (options.output or options.remote_name),
             "-r takes names from the server; use -P DIR"),
            (options.recursive and any("?" in url.target
                                       for _, url in options.urls),
             "-r copies a whole folder; leave out the ? and what follows it"),
            (options.recursive and options.verbose,
             "-v is not allowed with -r, which fetches several files at once"
             )]:
        if is_wrong:
            raise ValueError(why)


def name_files(options: "Namespace") -> "Iterator[Tuple[str, URL]]":
    """Yield the path of each file, or copy ("": none), and its URL.

    Raise ValueError if a path is missing, or two are the same.
    """
    taken = set()  # type: Set[str]
    for word, url in options.urls:
        path, names = options.output or "", []
        if options.recursive:
            path = copy_path(url, options.folder)
            names = [path]
        elif options.remote_name:
            name = saved_name(word, url)
            if not name:
                raise ValueError("%s ends with no name for -O; use -o FILE"
                                 % url)
            path = os.path.join(options.folder or "", name)
            part = part_name(path)
            names = [path, part, part + NOTES_SUFFIX]
        for name in taken.intersection(names):
            raise ValueError("two of these would be saved as '%s'"
                             % printable(name))
        taken.update(names)
        yield path, url


def copy_path(url: URL, folder: "Optional[str]") -> str:
    """Return the path for a copy of the folder *url*; *folder* is that of -P.

    A copy of "/" goes right into *folder*.  Without -P it goes into one named
    after the host, so that no files lie loose in the current folder.

    >>> copy_path(parse_url("http://[::1]:81"), None)
    '__1_81'
    """
    name = file_name(decoded(url.path.strip("/").rpartition("/")[2]))
    if folder and not name:
        return folder
    host = re.sub(r"[][]", "", url.authority).replace(":", "_").lower()
    return os.path.join(folder or "", name or local_name(host, windows=True))


# The target of a folder's archive: httpd.py gives it as one file.
ARCHIVE = re.compile(r"[^?]*/\?(tar|zip)=?")


def saved_name(word: str, url: URL) -> str:
    """Return the name for *url* under -O, as the user wrote it in *word*.

    The ARCHIVE of a folder is named as a copy of the folder would be.

    >>> saved_name("h/a%20b/?zip", parse_url("http://h/a%20b/?zip"))
    'a b.zip'
    """
    archive = ARCHIVE.fullmatch(url.target)
    if archive:
        return copy_path(url, None) + "." + archive.group(1)
    return safe_name(word)


def fetch_file(client: Client, path: str, url: URL) -> None:
    """Fetch one file to *path*; raise Failure."""
    options = client.settings
    complete = run(is_complete(client, url, path)) if options.resume else ""
    if complete:
        client.report.note("%s: %s" % (printable(path), complete))
        return
    output = open_output(path, str(url), options.resume,
                         options.force or not options.remote_name)
    client.report.bar = options.progress and not os.isatty(output.fd)
    transfer = Transfer(client, url, output)
    says = run(transfer.run())
    new = transfer.fetched
    seconds = time.monotonic() - transfer.started
    where = "" if path in ("", "-") else printable(path) + ": "
    now = "" if new == output.written else " (%d came now)" % new
    client.report.note("%s%d bytes%s in %.3f s, %s/s%s" % (
        where, output.written, now, seconds,
        size_text(new / max(seconds, 1e-6)), says and ", " + says))


def password_of(user: str) -> str:
    """Return the password of *user*: from the environment, or by asking."""
    password = os.environ.get("HTTPGET_PASSWORD")
    if password is None:
        import getpass
        import warnings
        try:
            with warnings.catch_warnings():     # without a terminal
                warnings.simplefilter("error", getpass.GetPassWarning)
                password = getpass.getpass("Password of %s: " % user)
        except (EOFError, getpass.GetPassWarning):
            raise UsageError("cannot ask for the password of %s without a"
                             " terminal" % printable(user),
                             "set HTTPGET_PASSWORD")
    return password


def fetch_all(options: "Namespace", delays: "Sequence[float]") -> int:
    """Do what *options* ask for; return the exit status, or raise Failure."""
    if options.folder:
        make_folder(options.folder, True)
    report = Report(options.verbose, options.quiet)
    options.delays, options.environ, options.context = delays, os.environ, None
    options.user = options.auth and (options.auth, password_of(options.auth))
    client = Client(options, report, options.files[0][1].origin)
    status = 0
    try:
        for path, url in options.files:
            try:
                if options.recursive:
                    Mirror(url, path, client).run()
                else:
                    fetch_file(client, path, url)
            except Failure as exc:
                report.clear()
                if exc.hopeless or len(options.files) == 1:
                    raise
                say("httpget.py: %s" % exc)
                status = 1
    finally:
        report.clear()
        client.close()
    return status


def fill_standard_descriptors() -> None:
    """Open the null device in place of a closed descriptor 0, 1 or 2.

    Otherwise a connection or file could get number 2, and so the messages.
    """
    fd = -1
    while fd <= STDERR:     # open() takes the lowest number that is free
        try:
            fd = os.open(os.devnull, os.O_RDWR)
        except OSError:     # a container may lack it; "/" takes no message
            fd = os.open(os.sep, os.O_RDONLY)
    os.close(fd)


def main(argv: "Optional[Sequence[str]]" = None,
         delays: "Sequence[float]" = ()) -> int:
    """Run the program with arguments *argv*; return its exit status.

    *delays*: seconds to wait after each break in a row, in place of
    RETRY_DELAYS.  --help, --version and usage errors raise SystemExit.
    """
    fill_standard_descriptors()
    if sys.stderr is None:      # descriptor 2 was closed
        sys.stderr = open(STDERR, "w", closefd=False)  # noqa: SIM115
    try:
        return fetch_all(parse_arguments(argv), delays)
    except Failure as exc:
        if exc.status != 141:   # quietly, as other programs in a pipe do
            say("httpget.py: %s" % exc)
        return exc.status
    except OSError as exc:
        if exc.errno not in EXHAUSTED:
            raise
        say("httpget.py: %s; close other programs" % reason_of(exc))
        return 5
    except KeyboardInterrupt:
        say("httpget.py: interrupted")
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGINT, ON_CTRL_C)
    sys.exit(main())
