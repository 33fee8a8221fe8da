#!/usr/bin/env python3
"""httpget.py - fetch files over HTTP, in one file.

    python3 httpget.py [options] [host] [port] [file ...]
    python3 httpget.py [options] URL ...

Fetches files from a web server and writes them to standard output, byte for
byte; what happened on the way goes to standard error.  Without arguments it
asks 127.0.0.1, port 8080, for /, the server's default file.  Needs Python
3.6 or newer and nothing else; copy the file and run it.

What it does
    GET requests by HTTP/1.1, over TLS where asked to (--tls, https://), and
    through the proxies that http_proxy, https_proxy (by CONNECT), all_proxy
    and no_proxy name, but for this machine.  file is a name: ?, #, % and what
    is not ASCII are encoded in the request; a URL is taken as it is.
    HOST:PORT stands for host and port, HOST:PORT/PATH for a URL.  Redirects
    are followed.  Only the content of a success (2xx) is written, to a
    terminal only text, with control characters escaped ("-o -" writes all of
    it, and unchanged).

    With -o FILE or -O it is collected, as it was sent, in FILE.part, which
    becomes FILE only when it is whole and on the disk.  An interrupted
    transfer resumes automatically, and with -c in a later run; versions are
    never joined.  A busy server that asks to wait (Retry-After) is given that
    time.  What was saved is compared with the server's digest (Repr-Digest),
    or with that of --sha256.  -r copies a folder by the listings that the
    server gives, and leaves alone what has not changed.

    Nothing the server says chooses a file name, but with -r, where it can
    name nothing outside the folder of the copy; nothing it says reaches the
    terminal unescaped.  A malformed response is refused, not guessed at.

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
    1    the server answered with a status that is not 2xx, or a redirect
         that is refused; or one of several files was not fetched
    2    usage
    3    could not connect, or no byte of a response came
    4    the response broke off, stalled or was malformed, or is not what the
         server's digest, or --sha256, says
    5    could not write the content
    130  interrupted by Ctrl-C
    141  the reader of the output went away
    After 4, 5 and 130 what had come is kept in FILE.part, unless nothing
    had, or it is wrong.  FILE itself is untouched until the end.

In a program
    with httpget.fetch("http://127.0.0.1:8080/a.txt") as response:
        print(response.status, sum(len(block) for block in response))

Licence: MIT

The way of one file
    main -> fetch_all -> fetch_file, which prepares by open_output
    -> Transfer.run (from here on these are tasks, see there) -> persistently
    -> _attempt, which asks by Client.get -> _get_once -> _exchange
    and goes on by _place, _copy (Response.read to Output.write) and _prove
    -> FileOutput.finish, which renames

Map of the sections
    Limits and vocabulary, Target, Request, Response head,
    What is there already, File names, Listings, Display
    - up to here pure: no socket, no file, no clock -
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

TYPE_CHECKING = False  # `typing` is for mypy alone: importing it takes 3 ms.
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
PROXY_PORT = 1080       # where none is given, as curl's

TIMEOUT = 30.0          # seconds to connect, for a head, between bytes
TIMEOUT_MAX = 86400.0   # seconds; a day, and no system's timers overflow
RETRIES = 5             # breaks in a row, without a byte between
RETRY_DELAYS = (1, 2, 4, 8, 16, 30)     # seconds after each; then the last
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
TURN_SIZE = MIB         # bytes that are read before others have their turn
DISCARD_MAX = 64 * KIB          # bytes read to keep a connection for others
DISCARD_WAIT = 1        # seconds for them: a new connection takes less
EXPANDED_BLOCK = 256 * KIB      # bytes of decoded content at a time
EXPANSION_MAX = 100             # times what was sent; text has 3 to 20
EXPANSION_FREE = 16 * MIB       # bytes that are decoded whatever was sent
ERROR_SHOWN_MAX = 64 * KIB      # bytes of an error's content that -v shows
GARBAGE_SHOWN_MAX = 40          # bytes of something malformed in a message
CENTURY = 70            # years of two digits are from 1970 to 2069
TIME_MAX = 2**33        # seconds since 1970 that every file system takes
NOTES_MAX = 64 * KIB    # bytes of FILE.part.json
WRITE_BACK = 8 * MIB    # bytes of a part that go to the disk together
NAME_MAX = 255          # bytes of a file's name, in most file systems
DIGEST_WAIT = 600       # seconds; 200 GB and more are hashed in them
PROGRESS_WAIT = 0.2     # seconds between two looks at the progress
COLUMNS = 80            # of a terminal that does not tell

# Copying a folder.
CONNECTIONS = 4
LISTING_MAX = 16 * MIB  # bytes; 100,000 names have 10
ENTRY_MAX = 8 * KIB     # bytes of one in JSON; of a name six for each of 255
JOBS_MAX = 200000       # files and folders that wait; each takes 300 bytes
LINKS_MAX = JOBS_MAX    # of a page, wherever they lead; that takes 20 s
LISTING_WAIT = 0.01     # seconds between two looks for more to do
DEPTH_MAX = 64          # folders in folders
LOOP_MIN = 4            # folders on one path that list the same, and no file
DIGEST_ASKED_MAX = MIB  # bytes that a server hashes without much delay

IGNORE_UNEXPECTED_EOF = 0x80    # of OpenSSL's options; in ssl since 3.10
GZIP = 31               # zlib's word for gzip's head and the largest window

# What body_length returns besides a number of bytes.
CHUNKED = -1
UNTIL_CLOSE = 2**60     # more than a Content-Length has

# The lines of a head that are shown without -v.
MAIN_LINES = re.compile(rb"(?i)HTTP/|(content-type|content-length|"
                        rb"last-modified|etag|location|server):")

PART_SUFFIX = ".part"
NOTES_SUFFIX = ".json"
STDOUT, STDERR = 1, 2   # descriptors

TRY_AGAIN = "try again"     # what a message advises
IS_IT_A_PROXY = "is this a proxy for http?"


class Failure(Exception):
    """Why the content was not fetched, in one line for the user.

    args      what happened, what can be done about it, and what is left
    status    the program's exit status for it
    again     whether another request may do better
    hopeless  whether no other file would fare better
    """

    code = 0        # the server's status, where that is the reason
    wait = 0        # seconds after which the server asks to try again

    def __init__(self, text: str, advice: str = "", status: int = 1,
                 again: bool = False) -> None:
        super().__init__(text, advice)
        self.status = status
        self.again = again
        self.hopeless = status > 5      # nobody is there, or wants more

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
    """A redirect leads to the folder by the name that was asked for."""


# ---- Target -----------------------------------------------------------------

# Looser than RFC 1123 by the underscore, which names in use have.
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(r"%s(?:\.%s)*\.?" % (LABEL, LABEL))
HOST_NAME_MAX = 253     # characters; RFC 1035, 2.3.4

# What IDNA 2003, Python's, takes for "ss", a sigma, or nothing, and IDNA 2008
# for letters of their own: so the name may be another host's.  UTS 46, 7.
DEVIATIONS = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")

# An IPv6 address, in brackets or not, has at least two colons, which
# "localhost:8080" has not.  A zone (fe80::1%eth0) names the interface; RFC
# 4007, 11.
IPV6 = re.compile(r"(\[)?([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*"
                  r"(?:%[A-Za-z0-9._~-]+)?)(?(1)\])")

# Of any text: scheme, authority with its "//", path, query with its "?"; the
# fragment is for the reader alone.  RFC 3986, 4.1.  Not by urllib.parse: that
# takes 4 ms to import, and its urljoin() drops a last ";" or "?", and "//".
REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(//[^/?#]*)?"
                       r"([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([^:]*))?")    # host, port
# HOST:PORT and what may follow: a URL but for its scheme.
ADDRESS = re.compile(r"(?:\[[^\]]*\]|[^]:/?#[]+):[0-9]+([/?#].*)?", re.DOTALL)
DEFAULT_PORTS = {"http": 80, "https": 443}      # RFC 9110, 4.2

# Not HTTP_PROXY: it is what a CGI program gets of a request's field "Proxy".
PROXY_VARIABLES = {
    "http": ("http_proxy", "all_proxy", "ALL_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")}

# pchar without pct-encoded, and "/"; RFC 3986, 3.3.
PATH_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       b"0123456789-._~!$&'()*+,;=:@/")
TARGET_BYTES = PATH_BYTES | frozenset(b"?%")    # what is encoded stays so
NAME_BYTES = PATH_BYTES - frozenset(b"/")


class URL:
    """Where a file is."""

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
        """Return where *target* is of the same origin."""
        return URL(self.scheme, self.host, self.port, target)

    @property
    def other_scheme(self) -> str:
        """What to try where the port is for the other scheme."""
        scheme = "http" if self.scheme == "https" else "https"
        return "the port is for %s: try %s" % (
            scheme, URL(scheme, self.host, self.port, self.target))

    @property
    def origin(self) -> "Tuple[str, str, int]":
        """What connections and credentials are for (RFC 9110, 4.3.1)."""
        return self.scheme, self.host, self.port

    @property
    def host_and_port(self) -> str:
        """The request target of CONNECT (RFC 9112, 3.2.3)."""
        # A zone means something on this machine only; RFC 6874, 4.
        host = self.host.partition("%")[0]
        return "%s:%d" % ("[%s]" % host if ":" in host else host, self.port)

    @property
    def authority(self) -> str:
        """The value of the Host field (RFC 9110, 7.2)."""
        if self.port == DEFAULT_PORTS[self.scheme]:
            return self.host_and_port.rpartition(":")[0]
        return self.host_and_port


class Proxy(namedtuple("Proxy", "url fields")):
    """Where a proxy is, and the fields for it alone: a password, or none."""

    def __str__(self) -> str:
        """Return what to say of the way to a host."""
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
    if any(char > "\x7f" for char in text):     # else no tables are loaded
        try:
            host = text.encode("idna").decode("ascii")
        except UnicodeError:
            host = ""
    # The resolver would take a number alone for an IPv4 address.
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
    """Return *text* as one line; what is before an "@" may be a password."""
    return printable(text[max(0, text.rfind("@")):])


def refuse_controls(text: str, what: str) -> None:
    """Raise ValueError when there is a control character in *text*."""
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in text):
        raise ValueError("control character in %s '%s'"
                         % (what, without_password(text)))


def percent_encode(text: str, safe: "FrozenSet[int]") -> str:
    """Return *text*, as sys.argv has it, with all but *safe* bytes encoded."""
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
    # A zone's "%" is encoded (RFC 6874, 2), or, as people have it, not.
    return (parse_host(host.replace("%25", "%", 1)),
            parse_port(digits) if digits else port)


def parse_url(text: str) -> URL:
    """Return the URL that *text* is; what it has encoded stays so.

    Raise ValueError unless it is a proper one for http or https, without a
    user's name, which makes a host look like another (RFC 9110, 4.2).

    >>> str(parse_url("HTTP://[::1]:8080/a%20b c?q#f"))
    'http://[::1]:8080/a%20b%20c?q'
    """
    refuse_controls(text, "the URL")
    scheme, authority, path, query = REFERENCE.findall(text)[0]
    scheme, authority = scheme.lower(), authority[2:]
    if not authority or scheme not in DEFAULT_PORTS:
        raise ValueError("'%s' is not a URL for http or https"
                         % without_password(text))
    if "@" in authority:    # and perhaps a password, which is not to be shown
        raise ValueError("a user's name in the URL of '%s'; use --auth"
                         % printable(authority.rpartition("@")[2] + path))
    host, port = parse_authority(authority, DEFAULT_PORTS[scheme])
    return URL(scheme, host, port,
               percent_encode((path or "/") + query, TARGET_BYTES))


def proxy_for(url: URL, environ: "Mapping[str, str]") -> "Optional[Proxy]":
    """Return the proxy through which *url* is fetched, or None.

    *environ* is os.environ, read as curl does, but for loopback: that has no
    proxy.  Raise ValueError for one that is not http://HOST:PORT; the text
    does not show its value, which may have a password in it.
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
    login = map(decoded, user.partition(":")[::2])
    return Proxy(URL("http", host, port, "/"), [
        ("Proxy-Authorization", basic(*login))] if user else [])


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
    try:    # inet_aton() takes 127.1, too, as the resolver does
        address = ip_address(host.partition("%")[0] if ":" in host
                             else socket.inet_aton(host))
    except (OSError, ValueError):
        name = "." + host.lower().rstrip(".")
        return any(name.endswith("." + word.strip("."))
                   for word in [*words, "localhost"])   # RFC 6761, 6.3
    address = getattr(address, "ipv4_mapped", None) or address
    for word in words:
        with suppress(ValueError):      # a domain
            if address in ip_network(word, strict=False):
                return True
    return address.is_loopback


def redirected(url: URL, location: str) -> URL:
    """Return where *location*, of a redirect from *url*, leads.

    Raise StatusError when it may not be followed.  Source: RFC 9110, 15.4.
    """
    try:
        # Fields are read as latin-1, but many servers mean UTF-8.
        new = joined(url, location.encode("latin-1").decode(
            "utf-8", "surrogateescape"))
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
            new.host = url.host     # with its zone, which no URL has
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
            del kept[max(1, len(kept) - 1):]    # not what is before "/"
        elif segment != ".":
            kept.append(segment)
    if segment in (".", ".."):
        kept.append("")
    return "/".join(kept)


# ---- Request ----------------------------------------------------------------

# What the client itself says, and relies upon.
OWN_FIELDS = frozenset([
    "connection", "content-length", "if-range", "range",
    "transfer-encoding", "want-repr-digest"])
CREDENTIALS = re.compile(rb"(?i)^((?:proxy-)?authorization|cookie):.*")
# What one origin may know and another may not, or not take for its own.
FOR_ONE_ORIGIN = frozenset(["authorization", "cookie", "host"])
FOR_PROXIES = "proxy-authorization"     # which no server may know

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
    if not match or match.group(2) and int(match.group(1)) > int(
            match.group(2)):
        raise ValueError("range '%s' is not FIRST-LAST, FIRST- or -COUNT"
                         % printable(text))
    return "bytes=" + text


def render_request(method: str, target: str, host: str, fields: "Fields",
                   user_fields: "Sequence[Tuple[str, str]]" = ()) -> bytes:
    """Return the head of a request for *target* of *host*.

    Each of the *fields* replaces those of its name before it, and
    *user_fields* replace all.
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

# How a port for https answers: by an alert of TLS (RFC 8446, 5.1), which may
# come byte by byte, or by the pages of nginx, Apache, Go and httpd.py.
TLS_ALERT = b"\x15"
FOR_HTTPS = rb"(?i)plain HTTP|HTTPS (port|server)|speaks HTTPS"

# field-name ":" field-value; RFC 9112, 5.
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):"
                        rb"([^\x00-\x08\x0a-\x1f\x7f]*)")

# The head of a response: its status, 100 to 999; its reason, "" where there is
# none; its fields, by names in lower case; and its lines as received, the
# status line first.
Head = namedtuple("Head", "status reason fields lines")


def check_start(data: bytes) -> None:
    """Raise ResponseError when a response of HTTP/1 does not begin so."""
    if data.startswith(TLS_ALERT):
        raise ResponseError("the answer is not HTTP/1 but TLS",
                            "ask for https, by --tls or https://")
    if not (data.startswith(HTTP_1) or HTTP_1.startswith(data)):
        raise ResponseError("the answer is not HTTP/1, it begins with '%s'"
                            % shown(data[:GARBAGE_SHOWN_MAX]))


def parse_head(lines: "List[bytes]") -> Head:
    """Return the Head in *lines*, or raise ResponseError (RFC 9112, 4)."""
    check_start(lines[0])   # again: it may have come byte by byte
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
    """Return the error that says that *what*, which is *data*, is wrong."""
    return ResponseError("malformed response: bad %s '%s'%s" % (
        what, shown(data[:GARBAGE_SHOWN_MAX]),
        "..." if len(data) > GARBAGE_SHOWN_MAX else ""))


def body_length(status: int, fields: "Dict[str, str]") -> int:
    """Return the length of a response's body: bytes, CHUNKED or UNTIL_CLOSE.

    Raise ResponseError where the length is in doubt.  The cases are in the
    order of RFC 9112, 6.3; it would let Transfer-Encoding win over
    Content-Length, but the two together are a sign of an attack.
    """
    if status < 200 or status in (204, 304):
        return 0
    coding, length = map(fields.get, ("transfer-encoding", "content-length"))
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
    """Return whether the connection stays for another request (9112, 9.3)."""
    options = re.split("[ \t]*,[ \t]*", head.fields.get(
        "connection", "").lower())
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
# Compiled when they are first needed: at the start it takes 2 ms.
HTTP_DATES = (
    "%s, (?P<d>[0-9]{2}) %s (?P<Y>[0-9]{4}) %s GMT" % (_DAY, _MONTH, _CLOCK),
    "%s, (?P<d>[0-9]{2})-%s-(?P<Y>[0-9]{2}) %s GMT" % (_DAY_L, _MONTH, _CLOCK),
    "%s %s (?P<d>[0-9 ][0-9]) %s (?P<Y>[0-9]{4})" % (_DAY, _MONTH, _CLOCK))
# date-time in UTC; RFC 3339, 5.6.
TIMESTAMPS = ("(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})T%s"
              r"(?:\.[0-9]+)?Z" % _CLOCK,)
# entity-tag, but no weak one; RFC 9110, 8.8.3.
STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]*"')

# Where content stands in a file.  The positions are inclusive, -1 for "bytes
# */LENGTH"; length, the file's, is -1 where it is not known.
ContentRange = namedtuple("ContentRange", "first last length")


def parse_content_range(fields: "Dict[str, str]") -> "Optional[ContentRange]":
    """Return what Content-Range says, None if it is malformed or not there."""
    match = CONTENT_RANGE.fullmatch(fields.get("content-range", ""))
    if not match:
        return None
    first, last, length = map(int, match.groups("-1"))
    if first > last or last >= length >= 0:
        return None
    return ContentRange(first, last, length)


def is_selected(wanted: str, first: int, last: int, length: int) -> bool:
    """Return whether Range *wanted* means the rest, of a ContentRange."""
    start, stop = wanted[len("bytes="):].split("-")
    end = last if length < 0 else length - 1
    if not start:
        return (first, last) == (max(0, end + 1 - int(stop)), end)
    return (first, last) == (int(start), min(end, int(stop or end)))


def seconds_of(patterns: "Iterable[str]", value: str) -> "Optional[int]":
    """Return the seconds since 1970 of *value*, if it has such a pattern.

    >>> http_time("Sun, 06 Nov 1994 08:49:37 GMT"), http_time("soon")
    (784111777, None)
    """
    from datetime import datetime, timezone
    match = next(filter(None, (re.fullmatch(pattern, value)
                               for pattern in patterns)), None)
    if not match:
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
    """Return how long Retry-After asks to wait, 0 where that is no use.

    Less than a second counts as one.  *now*: the time, where the response has
    none.  Source: RFC 9110, 10.2.3.
    """
    value = fields.get("retry-after", "")
    until, date = http_time(value), http_time(fields.get("date", ""))
    if re.fullmatch(_NUMBER, value):
        seconds = int(value)
    elif until is not None:
        seconds = until - int(now if date is None else date)
    else:
        return 0
    return max(1, seconds) if seconds <= WAIT_MAX else 0


def is_same_time(mtime: int, found: int) -> bool:
    """Return whether *found*, in ns, may be *mtime*: FAT has even seconds."""
    return found // 10**9 == mtime or (
        found % (2 * 10**9) == 0 and abs(found - mtime * 10**9) <= 10**9)


def strong_validator(fields: "Dict[str, str]") -> str:
    """Return the value for If-Range that tells this version from any other.

    "" where there is none: an ETag that is weak, or a Last-Modified within
    the second of its Date.  Source: RFC 9110, 8.8.2.2 and 13.1.5.
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

    It has to say so: a server that does not know If-Range may not, either.
    """
    name = "etag" if validator.startswith('"') else "last-modified"
    return validator != "" and fields.get(name) == validator


# What content is a part of: the validator of that version ("": none), its
# length (None: nobody knows), and where it came from, see Transfer._place().
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

    Without characters that could do harm; "" where nothing is left.

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

    The same one; only what could do harm, on *windows* more, is written as
    %XX, so that none becomes hidden, a device's or another folder's.

    >>> local_name(".bashrc"), local_name("a\\n%b"), local_name("c:", True)
    ('%2Ebashrc', 'a%0A%b', 'c%3A')
    """
    encode = partial(percent_encode, safe=frozenset())
    unsafe = '\t\n/\\<>:"|?*' if windows else "\t\n/"
    safe = "".join(encode(char) if char in unsafe or UNSAFE.match(char)
                   else char for char in name)
    if windows and safe.endswith((" ", ".")):   # Windows would drop it
        safe = safe[:-1] + encode(safe[-1])
    if safe.startswith(".") or DEVICE.fullmatch(safe):
        safe = encode(safe[0]) + safe[1:]
    return safe


# ---- Listings ---------------------------------------------------------------

# What stands in a JSON list before the first item, and after each.
JSON_START = re.compile(r"[ \t\r\n]*\[[ \t\r\n]*(\]?)[ \t\r\n]*")
JSON_NEXT = re.compile(r"[ \t\r\n]*([,\]])[ \t\r\n]*")

# The attributes that are links, and the elements of a page that have them.
LINKS = {"href": ("base", "a", "area", "link"), "srcset": ("img", "source"),
         "src": ("script", "iframe", "img", "source", "video", "audio",
                 "track", "embed"), "poster": ("video",), "data": ("object",)}

# A link in a srcset, and its descriptor, if no comma comes first; HTML,
# 4.8.4.2.1.
SRCSET_LINK = r"([^\s,](?:\S*[^\s,])?)(?:,|[^,]*)"

# "." or ".." in a path, encoded or not.
DOTS = re.compile(r"(?i)/(\.|%2e){1,2}(/|$)")

# What a folder lists.
#   name       decoded, with surrogate escapes for bad UTF-8
#   size       in bytes; mtime in seconds since 1970; None: it does not tell
#   folders    those below this one that lead to it, of a link on a page
#   is_linked  False for a folder that is only on the way to something else
#   of_page    whether only a page would name it: a picture, a script
Entry = namedtuple(
    "Entry", "name is_folder size mtime folders is_linked of_page")
UNKNOWN = Entry("", False, None, None, (), True, False)
FOLDER = UNKNOWN._replace(is_folder=True)
INDEX = UNKNOWN._replace(name="index.html")


def parse_json_listing(text: str) -> "Iterator[Entry]":
    """Yield the entries of a listing in JSON as nginx or caddy writes it.

    One at a time: all of them take fifty times the memory of the text.
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
    """Return one member of a JSON listing; raise what bad types raise.

    A name that is no text becomes "": the other entries may be good.
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
    """Yield what an index page at *url* links to that is below it.

    Not what has a query, with which listings sort themselves.
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
            # Browsers take <![...> for a comment; until 3.9 this raises.
            return self.parse_bogus_comment(i)

    # Without close(), which reads what has no end again for each of its "<".
    # Python refuses to read a number of thousands of digits.
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
    path = target.target[len(folder):]
    if (target.origin != url.origin or not target.target.startswith(folder)
            or "?" in path or not path.strip("/") or "//" in "/" + path
            or "/" in path.rstrip("/") and DOTS.search("/" + path)):
        return ""
    return path


def sorted_out(entries: "Iterable[Entry]") -> (
        "Tuple[OrderedDict[str, Entry], Dict[str, List[Entry]]]"):
    """Return what of *entries* is in the folder itself, by name, and the rest.

    That waits for the folder here that leads to it, or would come twice.
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
    return url.with_target(
        url.path.rpartition("/")[0] + "/" + percent_encode(
            entry.name, NAME_BYTES) + ("/" if entry.is_folder else ""))


def decoded(name: str) -> str:
    """Return *name* without percent encoding, as file names are in Python."""
    from urllib.parse import unquote_to_bytes
    return unquote_to_bytes(name).decode("utf-8", "surrogateescape")


# ---- Display ----------------------------------------------------------------

# What can do harm in a text of many lines: C0 without tab and LF, DEL, C1,
# and controls that reverse the direction of writing (Unicode, UAX 9).
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f"
                    "\u202a-\u202e\u2066-\u2069]")


def escape(char: str) -> str:
    r"""Return *char* as \xHH or, above U+00FF, as \u{H...}."""
    return ("\\x%02x" if char <= "\xff" else "\\u{%x}") % ord(char)


def printable(text: str) -> str:
    r"""Return *text* as one line with all that does not print escaped.

    >>> print(printable("a\x1b[2Jb\u202ec"))
    a\x1b[2Jb\u{202e}c
    """
    return "".join(char if char.isprintable() else escape(char)
                   for char in text)


def shown(data: bytes) -> str:
    """Return bytes from the server as one printable line."""
    return printable(data.decode("utf-8", "backslashreplace"))


def safe_text(text: str) -> str:
    """Return *text*, of many lines, with what is unsafe to show escaped."""
    return UNSAFE.sub(lambda match: escape(match.group()),
                      text.replace("\r\n", "\n"))


def counted(count: int, noun: str) -> str:
    """Return so many of *noun*, as "1 file" or "2 files"."""
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
    """Return the line of progress: *new* of *count* bytes in *seconds*.

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
    """Tells the user on standard error how the exchange goes on."""

    def __init__(self, verbose: bool = False, quiet: bool = False) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self.bar = False        # whether to show progress
        self.aside = False      # whether the request is one of our own
        self._shown = 0         # characters of the progress line
        # When it is to be shown again; what is quick needs none.
        self._due = time.monotonic() + PROGRESS_WAIT

    def connected(self, where: str, sock: socket.socket) -> None:
        """Say *where* the connection goes, and from where."""
        try:
            peer, own = sock.getpeername(), sock.getsockname()
        except OSError:     # gone already; sending will say so
            return
        self.note("Connected to %s, address %s port %s, from %s port %s%s" % (
            where, *peer[:2], *own[:2], ", " + sock.version()   # of TLS
            if hasattr(sock, "version") else ""))

    def request(self, data: bytes) -> None:
        """Show the request, when asked to."""
        if self.verbose:
            for line in data[:-4].split(b"\r\n"):
                self.note("> " + shown(CREDENTIALS.sub(
                    rb"\1: (not shown)", line)))

    def head(self, head: Head) -> None:
        """Show the status line and the fields that matter."""
        if self.quiet:      # of many small files this took a fifth of the time
            return
        if self.verbose:
            for line in head.lines:
                self.note("< " + shown(line))
        elif head.status >= 200 and not self.aside:
            for line in filter(MAIN_LINES.match, head.lines):
                self.note(shown(line))

    def retry(self, exc: Failure, delay: float) -> None:
        """Say that a transfer goes on after a break."""
        self.note("%s; %s %g s" % (
            exc.args[0], "the server asks to wait" if exc.wait
            else "going on in", exc.wait or delay))

    def progress(self, text: "Callable[..., str]", *values: "Any") -> None:
        """Show text(*values) on the terminal, if it is time for that."""
        now = time.monotonic()
        if not self.bar or now < self._due:
            return
        self._due = now + PROGRESS_WAIT
        columns = 0
        with suppress(OSError):
            columns = os.get_terminal_size(STDERR).columns
        # What went on in the next line would stay there.
        line = text(*values)[:(columns or COLUMNS) - 1]
        say("\r" + line.ljust(self._shown), "")
        self._shown = len(line)

    def clear(self) -> None:
        """Take the progress off the terminal."""
        if self._shown:
            say("\r" + " " * self._shown, "\r")
            self._shown = 0

    def note(self, text: str) -> None:
        """Say *text*, unless nothing is to be said."""
        if not self.quiet:
            self.clear()
            say(text)


def say(text: str, end: str = "\n") -> None:
    """Write *text* and *end* to standard error, if anybody reads it."""
    # What sys.stderr cannot write makes Python exit with a status of its own.
    with suppress(OSError):
        os.write(STDERR, (text + end).encode(
            sys.stderr.encoding or "utf-8", "backslashreplace"))


# ---- Tasks ------------------------------------------------------------------

# Code that waits for the network is written as a task: a generator that yields
# a Wait.  One loop runs a single task, or several side by side.  Three things
# hold up all tasks: looking up a name, a read or write of a file, and parsing
# a listing.

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# Of few sockets it needs no calls to the system but the one that waits.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def run(*tasks: "Task") -> "Any":
    """Run *tasks* side by side to their ends; return what the first returns.

    A Wait is (socket, READ or WRITE, deadline): the task goes on when the
    socket is ready, or has a socket.timeout thrown in at the deadline, a
    monotonic time.  Without a socket it goes on then.  What a task raises is
    raised here, and ends the others; KeyboardInterrupt goes to the first.
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
    """Yield each of the tasks that can go on, and what to throw into it."""
    ready = []
    deadline = min(wait[2] for wait in waits.values())
    # A selector knows no wait without end, nor of many years.
    seconds = min(max(0, deadline - time.monotonic()), TIMEOUT_MAX)
    with Selector() as selector:
        for task, (sock, event, _) in waits.items():
            if sock:
                selector.register(sock, event, task)
        if selector.get_map():
            ready = [key.data for key, _ in selector.select(seconds)]
        else:       # for which that of Windows cannot wait
            time.sleep(seconds)
    now = time.monotonic()
    for task, (sock, _, deadline) in list(waits.items()):
        if task in ready or deadline <= now and not sock:
            yield task, None
        elif deadline <= now:
            yield task, socket.timeout("timed out")


def pause(seconds: float) -> "Task":
    """Wait for so many *seconds*."""
    yield None, 0, time.monotonic() + seconds


def sync(fd: int) -> "Task":
    """Return when file *fd* is on the disk; raise OSError.

    A thread waits for the disk, so that the other tasks go on meanwhile: in a
    copy of small files that wait takes longer than all the rest.
    """
    from _thread import start_new_thread
    errors = []  # type: List[OSError]
    here, there = socket.socketpair()

    def wait() -> None:
        with there:     # its end tells the task
            try:
                os.fsync(fd)
            except OSError as exc:
                errors.append(exc)

    with here:
        start_new_thread(wait, ())
        yield here, READ, float("inf")
    if errors:
        raise errors[0]


# ---- Connection -------------------------------------------------------------

# Errors that say what to wait for, 0 for what is to be done: TLS may have to
# read where it is to write, and the other way round.  By name, for ssl is
# loaded only where it is needed.
NOT_READY = {"BlockingIOError": 0, "SSLWantReadError": READ,
             "SSLWantWriteError": WRITE}


class Connection:
    """A connection to a server, and what has been read from it."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self.sock = sock
        self.timeout = timeout  # seconds
        # The monotonic time at which all waits end.  None: each has a timeout
        # of its own; a record of TLS, of up to 16 KiB, may need several.
        self.deadline = None  # type: Optional[float]
        self.idle = False       # whether it is left for another request
        self.heard = False      # whether any byte has come since a request
        self.taken = 0          # bytes read since others had their turn
        # What has been read but not taken is from start to stop.
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
        """Return whether something came that nobody asked for, or its end."""
        try:
            # Not by a method of TLS, which cannot peek.
            socket.socket.recv(self.sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def reason(self, exc: OSError) -> str:
        """Return what *exc*, of this connection, means to the user."""
        if isinstance(exc, socket.timeout):
            return "nothing came for %g s (--timeout)" % self.timeout
        return reason_of(exc)

    def due(self) -> float:
        """Return the monotonic time until which something must happen."""
        return time.monotonic() + self.timeout

    def when_ready(self, event: int, call: "Callable[..., Any]",
                   *args: object) -> "Task":
        """Return call(*args), as soon as it need not wait; raise OSError."""
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
        if self.taken >= TURN_SIZE:     # one that is always ready never waits
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
        """Return the next Head; raise OSError, or ResponseError for none.

        After its first bytes all of it must come within one timeout: drips
        would add up to hours.
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
    peer = proxy.url if proxy else url
    try:
        # As bytes: for a str Python loads its IDNA tables, ASCII or not.
        found = socket.getaddrinfo(peer.host.encode("ascii"), peer.port,
                                   settings.family, socket.SOCK_STREAM)
    except OSError as exc:
        raise ConnectError("no address for %s '%s': %s" % (
            "proxy" if proxy else "host", peer.host, reason_of(exc)),
            "check the name")
    failures = []
    advice = ("is the proxy that %s_proxy or all_proxy names running there?"
              % url.scheme if proxy else "is the server running there?")
    for *kind, _, address in found:
        connection = None
        try:    # it may be of a family that this system lacks
            connection = Connection(socket.socket(*kind), settings.timeout)
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
    status, advice = 0, IS_IT_A_PROXY
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
            why = "more came than the word that there is one"
        if status in (401, 407):    # some answer 401 to a wrong password
            advice = password_advice(url, proxy)
        elif status not in (400, 404, 405, 501):    # a web server's
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
    """Return what to do where *proxy* asks for a password."""
    if proxy.fields:
        return "the user or the password for the proxy is wrong"
    return "set %s_proxy to http://USER:PASSWORD@%s" % (
        url.scheme, proxy.url.host_and_port)


def start_tls(connection: Connection, host: str,
              settings: "Settings") -> "Task":
    """Begin TLS on *connection*; raise OSError, or ConnectError without it."""
    try:    # one context is for all connections
        import ssl
        context = settings.context or ssl.create_default_context(
            cafile=settings.cafile)
    except ImportError:
        raise ConnectError("this Python has no TLS", "use http")
    except OSError as exc:
        raise ConnectError("could not read the certificates in %s: %s" % (
            printable(str(settings.cafile)), reason_of(exc)))
    settings.context = context
    # Python 3.8 to 3.10 take the end of a connection for that of TLS.
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
    except OSError:     # among them CertificateError, from Python 3.7 on
        raise
    except ValueError as exc:   # what that was in 3.6
        raise OSError("%s: %s" % (NOT_TRUSTED, exc))


# What OpenSSL says, in this version or that, of a certificate that is not to
# be trusted, and of an answer that is not TLS.  Most runs need neither.
NOT_TRUSTED = "certificate verify failed"
NOT_TLS = "wrong version number|unknown protocol|record layer fail"


def tls_advice(exc: OSError, url: URL) -> str:
    """Return what to do about *exc* if TLS did not begin for it, else ""."""
    if NOT_TRUSTED in str(exc):
        return ("--cafile FILE names certificates to trust, --insecure trusts"
                " any")
    if not hasattr(exc, "library"):     # which errors of OpenSSL have
        return ""
    return (url.other_scheme if re.search(NOT_TLS, str(exc)) else
            "is it a port for https?")


def reason_of(exc: OSError) -> str:
    """Return what the system says about *exc*, without its number."""
    text = exc.strerror or str(exc) or type(exc).__name__
    if hasattr(exc, "library"):
        if re.search(NOT_TLS, text):
            return "it does not speak TLS"
        # OpenSSL's words without where they are from.
        text = re.sub(r"^\[.*?\] | \(_ssl\.c:[0-9]+\)$", "", text)
    return text.replace(NOT_TRUSTED, "its certificate is not to be trusted")


# ---- Body -------------------------------------------------------------------

# What takes the content out of a body is a generator: of blocks that stay
# valid until the next, and, where it has to wait between them, of Waits.

# chunk-size [ chunk-ext ]; RFC 9112, 7.1.  Extensions are skipped.
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,%d})[\t ]*(?:;[^\x00-\x08\x0a-\x1f"
                        rb"\x7f]*)?" % CHUNK_DIGITS)
# The end of a chunk, and the size of another one that is not the last.
NEXT_CHUNK = re.compile(rb"\r\n(?!0+[\t \r])([0-9A-Fa-f]{1,%d})[\t ]*\r\n"
                        % CHUNK_DIGITS)


def read_plain(connection: Connection, length: int) -> "Iterator[Any]":
    """Yield *length* bytes, or UNTIL_CLOSE; raise OSError without them."""
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
            while not left:     # small ones behind it that are there already
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
    """Yield the content of *blocks* (RFC 9110, 8.4.1.3; RFC 1952)."""
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
    """Makes requests, one after another, over one connection if it can.

    *settings* are as fetch() makes them.  *report* is told of what happens.
    Credentials are for the *trusted* origin alone.  A redirect is followed
    where *allowed* says so, of what was asked for and where it leads.
    """

    def __init__(self, settings: "Settings", report: Report,
                 trusted: "Tuple[str, str, int]") -> None:
        self.settings = settings
        self.report = report
        self.trusted = trusted
        self.allowed = lambda *_: True  # type: Callable[[URL, URL], bool]
        self._last = None  # type: Optional[Connection]
        # The origin that it is for; by a proxy many come, but for TLS.
        self._serves = ("", "", 0)
        self._patient_until = 0.0   # a monotonic time; see _await_digest()

    def get(self, url: URL, fields: "Fields", aside: bool = False) -> "Task":
        """Return the Response for *url*, redirects followed; raise Failure.

        *fields*: beside those of the settings.  A request that is made
        *aside* is not what the user has asked for.
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
        """Return the Response for *url*, whatever it is."""
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
                # What was kept the server may close at any time, even as the
                # request is on its way.  The next one is new.
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
        url = response.url
        proxy = self.proxy_of(url) if url.scheme == "http" else None
        error = StatusError("the server%s answered %s for %s" % (
            # Nothing tells which of the two.
            " or the proxy " + proxy.url.host_and_port if proxy else "",
            shown(response.head.lines[0].partition(b" ")[2]), url.target),
            self._advice(response, content, proxy))
        error.code = response.status
        if proxy and error.code == 407:     # no server has seen the request
            error.status = 3
        return heeding_retry_after(error, response.head)

    def _advice(self, response: "Response", content: bytes,
                proxy: "Optional[Proxy]") -> str:
        """Return what to do about an error of a server, or of *proxy*."""
        url, status = response.url, response.status
        if proxy and status == 407:
            return password_advice(url, proxy)
        if status == 400 and url.scheme == "http" and re.search(
                FOR_HTTPS, content):
            return url.other_scheme
        if status != 401:
            return ""
        asked = response.fields.get("www-authenticate", "Basic")
        if "basic" not in asked.lower():
            return ("it asks for %s, and --auth is for Basic"
                    % printable(asked.partition(" ")[0]))
        if url.origin == self.trusted and (self.settings.user or any(
                name.lower() == "authorization"
                for name, _ in self.settings.fields)):
            return "the user or the password is wrong"
        return "use --auth USER with %s%s" % (
            url, ", or check the password for the proxy"    # see open_tunnel()
            if proxy and proxy.fields else "")

    def _request(self, url: URL, fields: "Fields",
                 proxy: "Optional[Proxy]") -> bytes:
        """Return the head of a request; credentials are for one origin."""
        refused = {FOR_PROXIES}
        fields = [("Accept", "*/*"), *fields]
        target = url.target
        if url.origin != self.trusted:
            refused |= FOR_ONE_ORIGIN
        elif self.settings.user:
            fields.append(("Authorization", basic(*self.settings.user)))
        if proxy and url.scheme == "http":      # else there is a tunnel
            target = str(url)
            fields += proxy.fields
        return render_request("GET", target, url.authority, fields, [
            field for field in self.settings.fields
            if field[0].lower() not in refused])

    def _connection(self, url: URL, proxy: "Optional[Proxy]") -> "Task":
        """Return a connection for *url*: the last one, or a new one."""
        last = self._last
        origin = (proxy.url if proxy and url.scheme == "http" else url).origin
        if not (last and last.idle and self._serves == origin
                and not last.has_input()):
            self.close()
            last = yield from connect(url, proxy, self.settings, self.report)
            self._last, self._serves = last, origin
            self.report.connected("%s%s" % (url.host, proxy or ""), last.sock)
        return last

    def _exchange(self, connection: Connection, url: URL,
                  request: bytes) -> "Task":
        """Send *request*; return the Response, after the interim ones."""
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

        To make a digest may take minutes.  One byte that comes on a second
        connection after each timeout shows that the server is there.
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
                if not connection.has_input():      # or it was busy with this
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
    length, count            bytes of the body (None: nobody knows); so far
    coded                    the content coding it came in, "" for none
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
        self._closed = False    # whether the rest of it will not

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
        malformed content, BrokenOff where it ends too early.
        """
        if self._closed:    # it is no end, however often one asks
            raise BrokenOff("the response was closed")
        try:
            for block in self._content:
                if not isinstance(block, tuple):
                    return block
                yield block     # a Wait
            return b""
        except BaseException as exc:
            self.close()
            if not isinstance(exc, OSError):
                raise
            raise BrokenOff("the response broke off after %d%s bytes: %s" % (
                self.count, "" if self.length is None else " of %d"
                % self.length, self.connection.reason(exc)), TRY_AGAIN)

    def read_into(self, data: bytearray, limit: int) -> "Task":
        """Add the content to *data*; return whether that was all of it.

        It ends with the block that makes *data* longer than *limit* bytes.
        """
        while True:
            block = yield from self.read()
            data += block
            if not block or len(data) > limit:
                return not block

    def _decode(self, body: "Iterator[Any]") -> "Generator[Any, None, None]":
        """Yield the blocks of the content, as what is set then wants them."""
        self.check_coding()
        yield from gunzip(body) if self.decoded else body

    def _receive(self, length: int) -> "Iterator[Any]":
        """Yield the blocks of the body, whose *length* body_length() told."""
        connection = self.connection
        for block in (read_chunks(connection) if length == CHUNKED
                      else read_plain(connection, length)):
            if not isinstance(block, tuple):
                self.count += len(block)
            yield block
        self._ended = True
        connection.idle = (length != UNTIL_CLOSE and is_persistent(self.head)
                           and connection.start == connection.stop)
        if not connection.idle:
            connection.sock.close()

    def discard(self) -> "Task":
        """Return what is left, if that is little; else close the connection.

        It has no use, or is a hint, so it may end early, and stays coded.
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
        """Read no more of it."""
        if not self._ended:
            self._closed = True
            self._content.close()   # which refers to this one
            self.connection.sock.close()

    # For those who import this file; see fetch().

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
    connect, for a head, and between bytes, or None.  *user*: (name, password).
    *cafile*: certificates to trust in place of the system's; *insecure*:
    trust any.  *raw*: do not decode content.  *environ*: where http_proxy and
    the like are looked up, if not in os.environ; {} means no proxy.

    Any status is returned, redirects are followed, nothing is tried again.
    Raise ValueError for what is no URL, and Failure, which has the program's
    exit status, when there is no proper response; so does the iteration.
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
    except BaseException:   # what a redirect came by was kept
        client.close()
        raise
    return response


# The response to the question below, and what it tells of the file: length,
# mtime in seconds since 1970, SHA-256; or None.
Version = namedtuple("Version", "answer length mtime digest")


def version_of(client: Client, url: URL, digest: bool,
               persistent: bool = False) -> "Task":
    """Return the Version of *url* that the server has now; raise Failure.

    By a GET for one byte: not every server answers HEAD.  *digest*: ask for
    its SHA-256.  *persistent*: ask again after a break, too, not only where
    the server asks for it.
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

# Each where the system has it: O_CLOEXEC and O_NOFOLLOW are not on Windows,
# O_BINARY only there.
OPEN_FLAGS = 0
for _flag in ("O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
    OPEN_FLAGS |= getattr(os, _flag, 0)
# A FIFO must not hold us up.
READ_FLAGS = (OPEN_FLAGS | getattr(os, "O_NOFOLLOW", 0)
              | getattr(os, "O_NONBLOCK", 0))
# A part is written at its end, wherever it has been read.
PART_FLAGS = READ_FLAGS | os.O_RDWR | os.O_APPEND
CREATE_FLAGS = PART_FLAGS | os.O_CREAT | os.O_EXCL
WINDOWS = os.name == "nt"
DISK_FULL = frozenset([errno.ENOSPC, errno.EROFS, getattr(
    errno, "EDQUOT", errno.ENOSPC)])


@contextmanager
def writing(name: str) -> "Iterator[None]":
    """Let an OSError say, as an OutputError, that *name* was not written."""
    try:
        yield
    except OSError as exc:
        hopeless = exc.errno in DISK_FULL
        error = OutputError(
            "could not write %s: %s" % (printable(name), reason_of(exc)),
            "make room or choose another place" if hopeless else
            "choose another place")
        error.hopeless = hopeless
        raise error


class Output:
    """Writes content, unchanged, to a descriptor: a pipe, a device.

    written  bytes of content that are there
    whole    that of which they are a part
    """

    is_file = False         # which gets content as it is sent, coded or not
    can_restart = False     # although something is written

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
            except BlockingIOError:     # a pipe whose other end made it so
                import select
                select.select([], [self.fd], [])
                continue
            except BrokenPipeError:
                raise ReaderGone()
            block = block[count:]

    def finish(self, mtime: "Optional[int]") -> None:
        """End the output; a file gets the time *mtime*, if there is one."""
        self.write(b"")
        self.close()

    def abandon(self, keep: bool = True) -> str:
        """Give up; return what is left, if what is there is to be *kept*."""
        self.close()
        return ""

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd not in (-1, STDOUT, STDERR):
            fd, self.fd = self.fd, -1   # closed for good, even on an error
            with writing(self.name):
                os.close(fd)


class TerminalOutput(Output):
    """Shows content that is text, with control characters escaped."""

    def __init__(self) -> None:
        import codecs
        import io
        super().__init__(STDOUT, "the terminal")
        # It holds a CR back, until it is known whether LF follows.
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
            raise OutputError("the content is binary and would upset the"
                              " terminal", "save it with -o FILE (or force it"
                              " with -o -)")
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
    """Collects a listing in data."""

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
    """Collects content in NAME.part, and renames that when it is whole."""

    is_file = can_restart = True
    mtime = None  # type: Optional[int]     # if not that of the response

    def __init__(self, name: str, url: str, resume: bool,
                 replace: bool = True, prefix: str = "") -> None:
        """Prepare for a part, whose name begins with *prefix*.

        *resume*: go on with the one that is there, if it is noted to be of
        *url*.  *replace*: whether it may become NAME where there is one.
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
            if (notes["url"] != self.url
                    or not (STRONG_ETAG.fullmatch(whole.validator)
                            or http_time(whole.validator))
                    or not isinstance(whole.length, (int, type(None)))):
                return
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
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
        # What comes in one block needs no notes: in a copy of many small
        # files they would take a third of the time.
        if not before and self.written != self.whole.length:
            self._note()
        if before // WRITE_BACK != self.written // WRITE_BACK:
            # Linux begins to write what came before, and forgets only what is
            # on the disk, which nothing of it is yet.  Not all systems have
            # this hint.
            with suppress(AttributeError, OSError):
                os.posix_fadvise(self.fd, before - before % WRITE_BACK,
                                 WRITE_BACK, os.POSIX_FADV_DONTNEED)

    def _note(self) -> None:
        """Note of what the part is, if its version can be told."""
        if not self.whole.validator:
            return
        import json
        with writing(self.notes), open(os.open(
                self.notes, CREATE_FLAGS, 0o600), "w") as file:
            json.dump(dict(self.whole._asdict(), url=self.url), file)

    def finish(self, mtime: "Optional[int]") -> None:
        """Rename the part, all of which is on the disk."""
        if self.mtime is not None:
            mtime = self.mtime
        with writing(self.name):
            if not self._is_mine():
                raise OutputError("%s was replaced by another program, so %s"
                                  " is left as it was" % (
                                      printable(self.part),
                                      printable(self.name)), TRY_AGAIN)
            if os.fstat(self.fd).st_size != self.written:
                self.abandon(keep=False)
                raise OutputError("another program wrote to %s, too"
                                  % printable(self.part), TRY_AGAIN)
            self.complete = True
            if WINDOWS:     # which renames nothing that is open
                self.close()
            if mtime is not None:
                os.utime(self.part, (mtime, mtime))
            (os.replace if self.replace else rename)(self.part, self.name)
            self.close()    # and so unlock it: until now it was the part
            remove(self.notes)

    def abandon(self, keep: bool = True) -> str:
        """Close the part; keep it if there is anything in it."""
        if self.complete or self.fd < 0:
            self.close()
            return ("all of it is in %s" % printable(self.part)
                    if self.complete and os.path.lexists(self.part) else "")
        # Of a write that failed a part may be there.
        size, mine = os.fstat(self.fd).st_size, self._is_mine()
        self.close()
        if keep and size and mine:
            return "%s kept in %s" % (size_text(size), printable(self.part))
        with writing(self.part):
            if mine:
                remove(self.part)
            remove(self.notes)      # or -c would join to another's part
        return ""

    def _is_mine(self) -> bool:
        """Whether the part's name still means the file that is open."""
        with suppress(OSError):     # gone, or out of reach
            return os.path.samestat(os.lstat(self.part), os.fstat(self.fd))
        return False


def open_part(path: str, name: str = "") -> int:
    """Return a descriptor of the part at *path*, locked for this program.

    Of the one that is there, -1 unless it is a regular file of ours with one
    name; or of a new one, without notes, for the file *name*: the old one may
    have other permissions, and be still written where there are no locks.
    """
    fd = -1
    with suppress(OSError):     # nothing, a link, or not to be written
        fd = os.open(path, PART_FLAGS)
    with writing(path):
        if fd >= 0:
            lock(fd, path)
            state = os.fstat(fd)
            ours = not hasattr(os, "getuid") or state.st_uid == os.getuid()
            if (not name and ours and stat.S_ISREG(state.st_mode)
                    and state.st_nlink == 1):
                return fd
            os.close(fd)    # Windows does not remove what is open
        if not name:
            return -1
        remove(path + NOTES_SUFFIX)
        remove(path)
        mode = 0o666
        with suppress(OSError):     # the private stays private
            mode = os.stat(name).st_mode & 0o777
        # O_EXCL: what is opened is new, nobody's link or device.
        fd = os.open(path, CREATE_FLAGS, mode)
    lock(fd, path)
    return fd


def lock(fd: int, path: str) -> None:
    """Lock the part *fd*; raise OutputError if another program has done so."""
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
    except (OSError, AttributeError):   # or a file system without links
        refuse_existing(new)
        os.replace(old, new)
    else:
        os.unlink(old)


def refuse_existing(path: str) -> None:
    """Raise OutputError where there is something at *path*."""
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
    # A name that is too long for more suffixes gives way to its digest.
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
    if not replace:
        refuse_existing(name)
    folder = os.path.dirname(name)
    with writing(name), suppress(FileNotFoundError):
        state = os.stat(name)
        if stat.S_ISDIR(state.st_mode):
            raise OutputError("%s is a folder" % printable(name),
                              "name a file in it")
        # As /dev/stdout, whose link must not be replaced.
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
    """Return what the task that attempt(BREAKS) starts returns.

    After a break it starts another one, if can_go_on(exc), and as often in a
    row, with no more *written*, as the user allows.  Nothing else asks again,
    but for what was asked on a kept connection that the server closed.
    """
    settings = client.settings
    breaks, most = 0, written()
    while True:
        try:
            return (yield from attempt(breaks))
        except Failure as exc:
            # To begin anew is no progress: that could go on for ever.
            if written() > most:
                breaks, most = 0, written()
            if breaks == settings.retries or not (
                    exc.again and can_go_on(exc)):
                raise
            delays = settings.delays or (
                [exc.wait] if exc.wait else RETRY_DELAYS)
            delay = delays[min(breaks, len(delays) - 1)]
            breaks += 1
            client.report.retry(exc, delay)
            yield from pause(delay)


class Transfer:
    """One file on its way: fetched, resumed where it breaks, and proved.

    options   of the client
    fields    for each request
    answered  whether this server is known to answer
    hasher    for the SHA-256 of what is written to a stream
    response  the last one that was of use
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
        """Write the content; return what is to be said of it.

        Raise Failure, which then says what became of the part.
        """
        output = self.output
        try:
            proof = yield from persistently(
                self.client, self._attempt, self._can_go_on,
                lambda: output.written)
            assert self.response
            if output.is_file:
                with writing(output.name):
                    yield from sync(output.fd)
            output.finish(http_time(self.response.fields.get(
                "last-modified", "")))
        except BaseException as exc:
            left = output.abandon()
            if isinstance(exc, KeyboardInterrupt):
                raise Interrupted("interrupted", left)
            if isinstance(exc, Failure):
                exc.args += (left,)
            raise
        coded = self.response.coded if output.is_file else ""
        return ", ".join(filter(None, [
            coded and "saved as sent, " + printable(coded), proof]))

    def _can_go_on(self, exc: Failure) -> bool:
        """Whether another request, after *exc*, can complete what is there."""
        output = self.output
        if exc.status == 3 and not (
                exc.wait or self.answered or self.response):
            return False        # the user may have the wrong host
        return not output.written or not self.options.wanted and (
            output.can_restart or output.whole.validator != "")

    def _attempt(self, breaks: int) -> "Task":
        """Make one request, write its content, and return its proof."""
        url, fields, asked = self._next_request(breaks)
        response = yield from self.client.get(url, fields)
        try:
            if response.status // 100 != 2 and not (
                    asked and response.status == 416):
                yield from self._refuse(response, str(url) != str(self.url))
            if self.output.is_file:     # which gets it as it was sent
                response.as_sent = True
            response.check_coding()
            content = self._place(response, asked)
            if content:
                self.response = response
                yield from self._copy(response, *content)
        finally:
            response.close()
        # Another one asks for all of it.
        return (yield from self._prove() if content else self._attempt(breaks))

    def _next_request(self, breaks: int) -> "Tuple[URL, Fields, int]":
        """Return where to ask, with which fields, and from which position."""
        output, url, asked = self.output, self.url, 0
        fields = [*self.fields]
        coding = "identity"
        if self.options.wanted:
            fields.append(("Range", self.options.wanted))
        elif output.written and output.whole.validator:
            # One byte is asked for twice: of a file that is complete "N-"
            # would be a 416, which tells nothing about the version.  Where
            # it is the only one, that is no part but the whole file.
            asked = output.written - 1
            if asked:
                fields += [("Range", "bytes=%d-" % asked),
                           ("If-Range", output.whole.validator)]
            # Where the beginning came from: a redirect may lead to another
            # server each time; but after two breaks perhaps that one is gone.
            if self.response and breaks < 2:
                url = self.response.url
        elif not (self.options.raw or self.options.sha256 or output.is_file):
            coding = "gzip"
        fields.append(("Accept-Encoding", coding))
        return url, fields, asked

    def _place(self, response: Response,
               asked: int) -> "Optional[Tuple[int, Optional[int]]]":
        """Return how many bytes of *response* to skip, and how many to write.

        None for the second where nobody knows, for both where all must be
        asked for again.  The output begins anew where this is not the rest of
        what is there: so no two versions are ever joined.
        """
        output, length, whole = self.output, response.length, self.output.whole
        # Careless servers give the same entity tag to all codings.
        source = " ".join([str(response.url), response.coded]).rstrip()
        if whole.source not in ("", source):    # nothing else tells
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
        sent = Whole("", None, source) if response.decoded else Whole(
            strong_validator(response.fields), length, source)
        if output.written and sent.validator and (
                sent.validator == whole.validator) and (
                length is None or length >= output.written
                and whole.length in (None, length)):
            # RFC 9110, 14.2: a server without ranges sends all of it.
            total = whole.length if length is None else length
            return output.written, total and total - output.written
        output.begin(sent)
        return 0, sent.length

    def _part(self, response: Response, asked: int) -> ContentRange:
        """Return which part of the file *response* has, if it is as *asked*.

        Else raise ResponseError.  Source: RFC 9110, 14.4 and 15.3.7.
        """
        wanted = self.options.wanted
        if response.status != 206:
            raise ResponseError("the server does not send ranges of this")
        part = parse_content_range(response.fields)
        if (not part or part.first < 0 or response.decoded
                or response.length not in (None, part.last + 1 - part.first)
                or not (is_selected(wanted, *part) if wanted
                        else asked and part.first == asked)):
            raise ResponseError("the server sent another part of the file than"
                                " it was asked for: '%s'" % printable(
                                    response.fields.get("content-range", "")))
        return part

    def _copy(self, response: Response, skip: int,
              expected: "Optional[int]") -> "Task":
        """Write the content; for *skip* and *expected* bytes see _place()."""
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
                    # As a copy, for PyPy makes one of anything but a
                    # bytearray, which it collects too rarely.
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

        Another request may do better where the server asks for it; or, after
        an answer, where it is in trouble, or a redirect led *elsewhere*.
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
        """Compare with the user's digest, or the server's; say what came out.

        Raise ResponseError, or BrokenOff where the file is longer.
        """
        response, output = self.response, self.output
        assert response
        if self.options.wanted or not (self.hasher or output.is_file):
            return ""
        import hashlib
        hasher = self.hasher or hashlib.sha256()
        hashing = iter(()) if self.hasher else digest_of(
            output.name, output.fd, hasher)
        given, why = self.options.sha256, ""
        digest = given if given or response.decoded else parse_digest(
            response.fields.get("repr-digest", ""))
        if not digest and output.written and (
                response.status == 206 or "bytes" in response.fields.get(
                    "accept-ranges", "").lower()):
            # The server takes as long for its digest as we for ours.
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
        """Ask for the SHA-256 of this version; or return None, and why.

        Raise ResponseError or BrokenOff where it has another length.
        """
        written, whole = self.output.written, self.output.whole
        try:
            answer, length, _, digest = yield from version_of(
                self.client, response.url, True)
        except Failure as exc:  # the content is there; only the proof is not
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
        # Gzip made on the way out has an ETag of its own; this is not coded.
        names = ["last-modified", "etag"][:1 if response.decoded else 2]
        same = [answer.fields.get(name) == response.fields.get(name)
                for name in names if name in response.fields]
        if (length != written or not all(same)
                or not response.decoded and answer.coded != response.coded):
            return None, "it is another version by now"
        return digest if same else None, ""     # else nobody knows


def is_complete(client: Client, url: URL, name: str) -> "Task":
    """Return "complete already", or "", for file *name* without a part.

    By the user's digest, else by what the server says of *url*.
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
    if now.length is None:      # perhaps only for want of its digest
        says += ", not verified: " + why
        now = yield from version_of(client, url, False)
    if now.length is not None and now.length < state.st_size:
        client.report.note("%s is longer than what the server has"
                           % printable(name))
    if not now.length:      # a time says nothing of what is empty
        now = now._replace(mtime=None)
    if not (yield from is_same_file(name, state, now)):
        return ""
    if given:
        raise not_as_given(found, given)
    return says + ", " + VERIFIED if now.digest else says


def is_same_file(path: str, state: "os.stat_result",
                 version: Version) -> "Task":
    """Return whether the file at *path*, in this *state*, is of *version*.

    A digest counts for more than a time: some times say nothing.
    """
    _, length, mtime, digest = version
    if length != state.st_size:
        return False
    if digest:
        return digest == (yield from digest_of(path))
    return not length if mtime is None else is_same_time(
        mtime, state.st_mtime_ns)


def not_as_given(found: bytes, given: bytes) -> Failure:
    """Return the error that says that SHA-256 *found* is not the *given*."""
    return ResponseError("the content has the sha-256 %s, not %s as given" % (
        found.hex(), given.hex()), "try again, or check URL and digest")


def digest_of(name: str, fd: int = -1, hasher: "Any" = None) -> "Task":
    """Return the SHA-256 of file *name*, or of *fd*; raise OutputError."""
    import hashlib
    hasher = hasher or hashlib.sha256()
    block = bytearray(RECEIVE_SIZE)     # others make PyPy copy them
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
    """Return what *task* returns; while it waits, take steps of *work*."""
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
        except BaseException as exc:    # a timeout, or the end of us all
            go_on, value = task.throw, exc


# ---- Copying a folder -------------------------------------------------------

# A folder whose listing is read: its URL, its path here, a hash of what it
# lists, and the Folders above it.
Folder = namedtuple("Folder", "url path mark above")


class Mirror(Report):
    """Copies a folder of a server, as that lists it, to a folder here.

    It is what its transfers report to: of them the user hears little.

    jobs      what is still to be done: (Folder that lists it, Entry); None
              lists the folder of all
    doing     entries that are being done, which may yet add jobs
    transfers files that are on their way
    below     entries of deeper folders that pages named: {path here: entries}
    failures  one line for each thing that could not be copied
    lost      jobs in a row for which the server could not be reached
    """

    def __init__(self, url: URL, path: str, client: Client) -> None:
        """Prepare to copy *url* as *path*, with requests as of *client*."""
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
        self.answered = False   # whether the server has, ever
        self.retried = ("", 0.0)        # the last break that was told

    def run(self) -> None:
        """Copy everything; raise Failure when something could not be."""
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
            self.report.note("%s is an index page: of such a folder only what"
                             " the page links to was copied" % self.page)
        self.report.note("%s, %s in %.1f s into %s; %d replaced; %d unchanged;"
                         " %d failed" % (
                             counted(self.fetched, "file"),
                             size_text(self.bytes), time.monotonic() - started,
                             printable(self.path), self.replaced,
                             self.unchanged, len(self.failures)))
        if self.failures:
            raise StatusError("not all of %s was copied" % self.url)

    def _work(self) -> "Task":
        """Do jobs, over one connection, until there are no more."""
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
        """Say that transfers go on after a break, once for all of them."""
        retried = str(exc.wait or exc.args[0]), delay
        if self.retried != retried:
            self.retried = retried
            self.report.retry(exc, delay)

    def progress(self, *_: "Any") -> None:
        """Show how far the copy is, not the file."""
        self.report.progress(self._so_far)

    def _so_far(self) -> str:
        """Return how much of what is known by now is done."""
        done = self.fetched + self.unchanged + len(self.failures)
        fetched = self.bytes + sum(each.fetched for each in self.transfers)
        entries = self.doing + [entry for _, entry in self.jobs]
        files = [entry for entry in entries if not entry.is_folder]
        # Not all listings tell sizes: then there is nothing to compare with.
        left = sum(entry.size or 0 for entry in files) - sum(
            each.output.written for each in self.transfers)
        return "%d of %s, %s%s; %d unchanged" % (
            done, counted(done + len(files), "file"), size_text(fetched),
            " of " + size_text(fetched + left) if left > 0 else "",
            self.unchanged)

    def _do(self, client: Client, folder: "Optional[Folder]",
            entry: Entry) -> "Task":
        """Do what *folder* lists as *entry*, or note why that is not done."""
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
            if self.lost == CONNECTIONS:    # nobody answers any more
                exc.args += ("the same command resumes the copy",)
            if exc.hopeless or self.lost == CONNECTIONS or not (
                    self.answered or exc.status == 1):
                raise
            self.failures.append("%s: %s" % (url, exc))

    def _folder(self, client: Client, url: URL, path: str, is_linked: bool,
                above: "Tuple[Folder, ...]") -> "Task":
        """Read the listing at *url*; note what is to be done for it."""
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
            saved = os.path.normcase(file_name(name)) if is_name(name) else ""
            if saved and saved not in taken:
                taken.add(saved)
                self.jobs.append((folder, entry))
                if name in deeper:
                    self.below[os.path.join(path, file_name(name))] = (
                        deeper[name])
            else:
                self.failures.append("%s: it lists '%s', which %s" % (
                    url, printable(name), "would be saved as another one"
                    if saved else "cannot be a file name"))

    def _check_loop(self, client: Client, url: URL, listed: "List[Entry]",
                    same: "List[URL]") -> "Task":
        """Raise StatusError if a link led back to one of the *same* folders.

        It did if a file is the same, too, or if LOOP_MIN folders have none.
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
                continue        # a folder, perhaps
            if found[0] != found[1]:
                return
            if found[0][0] is not None:
                raise loop
        if len(same) >= LOOP_MIN - 1:
            raise loop

    def _listing(self, client: Client, url: URL) -> "Task":
        """Return where the listing of *url* came from, and its entries.

        It is asked for as JSON, and, where that is of another shape, as HTML.
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
            except Failure:     # of another shape
                if media == "text/html":
                    raise
        held = sum(map(len, self.below.values()))
        if len(listed) + len(self.jobs) + held > JOBS_MAX:
            raise ResponseError("more than %d names are listed" % JOBS_MAX)
        # A server that has JSON of any shape lists the folder itself.
        is_page = not is_json and media != "text/html"
        if is_page and any(entry.of_page for entry in listed):
            # Pictures in a listing are the server's icons.
            is_page = yield from self._is_file(
                client, entry_url(response.url, INDEX))
        return response.url, [INDEX] * is_page + [
            entry for entry in listed if is_page or not entry.of_page]

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
        """Whether *url* is in the folder that is copied.

        Raise IsFolder where only a slash was missing in what was *asked*.
        """
        inside = (url.origin == self.url.origin
                  and (url.target + "/").startswith(self.url.target)
                  and not DOTS.search(url.path))
        if (inside and not asked.path.endswith("/")     # or it would not end
                and decoded(url.path) == decoded(asked.path) + "/"):
            raise IsFolder("it is a folder")
        return inside

    def _file(self, client: Client, url: URL, path: str,
              entry: Entry) -> "Task":
        """Copy one file, unless the copy that is there is as new."""
        is_there = os.path.lexists(path)
        if (yield from is_current(client, url, path, entry)):
            self.unchanged += 1
        else:
            # No name in a copy begins with a dot, so that of no part is one.
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
    """Return whether the file that is at *path* is the server's.

    The server is asked for what *entry* does not tell.  Raise OutputError for
    what is no file, unless it is a folder there, too.
    """
    with writing(path):     # a name that cannot be is not asked for
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            return False
    is_file = stat.S_ISREG(state.st_mode)
    version = Version(None, entry.size, entry.mtime, None)
    if (entry.size is None or entry.mtime is None
            and entry.size == state.st_size) and (
            is_file or stat.S_ISDIR(state.st_mode)):
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
    # As UTF-8, whatever the file system's own encoding is.
    return os.fsdecode(local_name(name, WINDOWS).encode(
        "utf-8", "surrogateescape"))


def make_folder(path: str, may_be_link: bool) -> None:
    """Make the folder *path*, and those above it, or raise OutputError.

    A link to one that is there will do only where the user named it.
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

  host   name or address (default: %s)
  port   default: %d
  file   name, in which ?, # and %% stand for themselves; several, too
         (default: /, the server's choice)
  URL    in place of the three, with its own escapes; several, too.
         HOST:PORT will do in place of host and port, HOST:PORT/PATH for a URL

options:
  -h, --help         show this help message and exit
  --version          show program's version number and exit

where to:
  -o FILE            save as FILE, by FILE.part renamed when whole; - is
                     standard output, for binary content too
  -O                 save under the last part of the name you gave
  -P DIR             folder for -O and -r; made if missing (default: this one)
  --force            let -O replace a file that is there
  -c                 resume FILE.part, if the file is still the same
  -r                 copy the folder and all that is in it; without -P, /
                     goes into a folder named after the host

how:
  -H 'NAME: VALUE'   field for every request; repeatable
  --range RANGE      these bytes only: FIRST-LAST, FIRST- or -COUNT, from 0
  --raw              do not ask for gzip, nor decode what is shown
  --sha256 HEX       save nothing but a file with this digest
  --retries N        retries in a row without progress (default: %d)
  --timeout SECONDS  to connect, for a head, and between bytes (default: %g)
  --auth USER        user for HTTP Basic; the password is asked for, or in
                     HTTPGET_PASSWORD
  --tls              HTTPS (with host and port)
  --cafile FILE      certificates to trust, instead of the system's
  --insecure         trust any certificate: anyone in between can read and
                     write
  -4                 IPv4 only
  -6                 IPv6 only

what is shown:
  -v                 show the request and all fields of the response
  -q                 show nothing but one line for an error

environment:
  HTTPGET_PASSWORD, and http_proxy, https_proxy, all_proxy (http://HOST:PORT
  or http://USER:PASSWORD@HOST:PORT) and no_proxy, as curl's; this machine
  itself (localhost, 127.0.0.1, ::1) is reached without a proxy

examples:
  python3 httpget.py                                   show what 127.0.0.1
                                                       has at port 8080
  python3 httpget.py localhost:9000/docs/notes.txt     show a file
  python3 httpget.py -O example.org 80 a.iso           save a file as a.iso
  python3 httpget.py -c -O https://example.org/a.iso   resume it
  python3 httpget.py -r -P copy 192.0.2.7 8080 photos  copy a folder
  python3 httpget.py example.org 80 a.tar | tar x      use it in a pipe
""" % (HOST, PORT, RETRIES, TIMEOUT)

# Where the value of an option is kept; the others have their own names.
ATTRIBUTES = {
    "-o": "output", "-O": "remote_name", "-P": "folder", "-c": "resume",
    "-r": "recursive", "-H": "fields", "--range": "wanted", "-4": "ipv4",
    "-6": "ipv6", "-v": "verbose", "-q": "quiet"}
TYPES = {"N": int, "SECONDS": float}    # by what HELP says an option takes


def make_parser() -> "ArgumentParser":
    """Return the parser of the options in HELP."""
    import argparse
    # A formatter without a width looks for the terminal's: that takes 4 ms.
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


def parse_arguments(argv: "Optional[Sequence[str]]") -> "Namespace":
    """Return the options in *argv*, or raise SystemExit.

    Raise Failure where what --help prints cannot be written.
    """
    from itertools import takewhile
    parser = make_parser()
    argv = sys.argv[1:] if argv is None else argv
    # Not by allow_abbrev=False, which before Python 3.8 refuses "-cO", too.
    for word in takewhile("--".__ne__, argv):
        if re.match("--[^=]", word) and not re.search(
                " %s\\s" % re.escape(word.partition("=")[0]), HELP):
            parser.error("unrecognized arguments: %s" % word)
    # argparse would take the "-5" behind "--range" for an option.
    line = "".join("\0" + word for word in argv)
    line = line.replace("\0--range\0-", "\0--range=-")
    # The options first, then what is left: argparse takes all words from the
    # first place that has any, and would not find the 80 in "host -v 80".
    options, words = parser.parse_known_args(line.split("\0")[1:])
    parser.add_argument("words", nargs="*")
    parser.parse_args(words, options)
    if options.help or options.version:
        text = ("httpget.py %s\n" % __version__ if options.version else
                "usage: %s\n\n%s" % (USAGE, HELP))
        Output(STDOUT, "standard output").write(text.encode("ascii"))
        raise SystemExit(0)
    try:
        options.urls = parse_words(options.words, options.tls)
        # Before Python 3.13 argparse takes the "--" in "-o--" for [].
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
    """Return what is to be fetched: the user's word for it, and its URL.

    Raise ValueError, also for what behind HOST:PORT may be no file.

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
    if "://" in first or address and address.group(1):
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
                raise ValueError("'%s' after HOST:PORT may be a file or not;"
                                 " write a URL for each, such as %s/FILE"
                                 % (without_password(name),
                                    printable(first)))
    return [(name, top.with_target(request_target(name)))
            for name in names or ["/"]]


def check_options(options: "Namespace") -> None:
    """Raise ValueError for a value, or for options, that cannot be meant."""
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
             "--sha256 is a number of 64 hexadecimal digits"),
            (OWN_FIELDS.intersection(fields),
             "not to be set by -H: " + ", ".join(sorted(OWN_FIELDS))),
            (fields.count("host") > 1, "-H sets Host more than once"),
            (":" in (options.auth or ""),       # RFC 7617, 2
             "--auth takes a name without a colon, and no password"),
            (options.ipv4 and options.ipv6, "-4 is not allowed with -6"),
            (options.verbose and options.quiet, "-v is not allowed with -q"),
            (options.output and options.remote_name,
             "-o and -O both name a file"),
            (to_file and len(schemes) > 1,
             "-o names one file, but there are several; use -O"),
            (options.folder and not (options.remote_name or options.recursive),
             "-P is for -O and -r"),
            (options.force and not options.remote_name, "--force is for -O"),
            (options.tls and "http" in schemes,
             "--tls is for host and port; write https:// in a URL"),
            (options.resume and not (to_file or options.remote_name),
             "-c needs -o FILE or -O"),
            (options.wanted and (options.resume or options.recursive),
             "--range does not go with -c or -r"),
            (options.sha256 and (options.recursive or options.wanted
                                 or len(schemes) > 1),
             "--sha256 is for one whole file"),
            (options.recursive and (options.output or options.remote_name),
             "-r takes names from the server; use -P DIR"),
            (options.recursive and options.verbose,
             "-v is not allowed with -r, which asks for several at a time")]:
        if is_wrong:
            raise ValueError(why)


def name_files(options: "Namespace") -> "Iterator[Tuple[str, URL]]":
    """Yield where each file, or copy, goes ("": nowhere), and its URL.

    Raise ValueError unless each has a name, and one of its own.
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
    """Return where a copy of the folder *url* goes; *folder* is that of -P.

    A copy of "/" goes right into that; without -P it gets the name of its
    host, so that its files do not lie loose in the current folder.

    >>> copy_path(parse_url("http://[::1]:81"), None)
    '__1_81'
    """
    name = file_name(decoded(url.path.strip("/").rpartition("/")[2]))
    if folder and not name:
        return folder
    host = re.sub(r"[][]", "", url.authority).replace(":", "_").lower()
    return os.path.join(folder or "", name or local_name(host, windows=True))


def saved_name(word: str, url: URL) -> str:
    """Return the name for *url* under -O, as the user wrote it in *word*.

    A folder's archive, which httpd.py has at ?tar and ?zip, has the name of a
    copy of the folder.

    >>> saved_name("h/a%20b/?zip", parse_url("http://h/a%20b/?zip"))
    'a b.zip'
    """
    archive = re.fullmatch(r"[^?]*/\?(tar|zip)=?", url.target)
    if archive:
        return copy_path(url, None) + "." + archive.group(1)
    return safe_name(word)


def fetch_file(client: Client, path: str, url: URL) -> None:
    """Fetch one file, to *path*; raise Failure."""
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
    count, new = output.written, transfer.fetched
    seconds = time.monotonic() - transfer.started
    client.report.note("%s%d bytes%s in %.3f s, %s/s%s" % (
        "" if path in ("", "-") else printable(path) + ": ", count,
        "" if new == count else " (%d came now)" % new, seconds,
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
    """Return the exit status of what *options* ask for, or raise Failure."""
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

    Else the connection, or a file, would get its number, and messages.
    """
    fd = -1
    while fd <= STDERR:     # open() takes the lowest number that is free
        try:
            fd = os.open(os.devnull, os.O_RDWR)
        except OSError:     # a container may lack it; this takes no message
            fd = os.open(os.sep, os.O_RDONLY)
    os.close(fd)


def main(argv: "Optional[Sequence[str]]" = None,
         delays: "Sequence[float]" = ()) -> int:
    """Run the program with arguments *argv*; return its exit status.

    *delays*: seconds to wait after each break in a row, in place of
    RETRY_DELAYS.  --help, --version and usage errors raise SystemExit.
    """
    fill_standard_descriptors()
    if sys.stderr is None:      # so that nobody has to ask
        sys.stderr = open(STDERR, "w", closefd=False)  # noqa: SIM115
    try:
        return fetch_all(parse_arguments(argv), delays)
    except Failure as exc:
        if exc.status != 141:   # nobody is there to read it
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
