#!/usr/bin/env python3
"""httpget.py - fetch files over HTTP, in one file.

    python3 httpget.py [options] [host] [port] [file ...]
    python3 httpget.py [options] URL ...

Fetches files from a web server and writes them to standard output, byte for
byte; what happened on the way goes to standard error.  Without arguments it
asks 127.0.0.1, port 8080, for /, the server's default file.  Needs Python
3.6 or newer and nothing else; copy the file and run it.

What it does
    GET requests by HTTP/1.1, over TLS where asked to (--tls, https://).
    host is a name or an address, whose addresses are tried in turn.  file is
    a name: ?, #, % and what is not ASCII are encoded in the request; a URL
    is taken as it is.  HOST:PORT stands for host and port, HOST:PORT/PATH
    for a URL.  Redirects are followed.  Only the content of a success (2xx)
    is written, to a terminal only text, with control characters escaped
    ("-o -" writes all of it, and unchanged).

    With -o FILE or -O it is collected, as it was sent, in FILE.part, which
    becomes FILE only when it is whole and on the disk.  An interrupted
    transfer resumes automatically, and with -c in a later run; versions are
    never joined.  What was saved is compared with the server's digest
    (Repr-Digest), where it gives one.  -r copies a folder by the listings
    that the server gives, and leaves alone what has not changed since.

Options, which --help explains
    where to        -o, -O, -P, --force, -c, -r
    how             -H, --range, --raw, --retries, --timeout, --auth, --tls,
                    --cafile, --insecure, -4, -6
    what is shown   -v, -q

What it does not do
    Nothing the server says chooses a file name, but with -r, where it can
    name nothing outside the folder of the copy; nothing it says reaches the
    terminal unescaped.  A malformed response is refused, not guessed at.

Limits
    A head of 64 KiB, 64 interim (1xx) responses, chunk sizes of 16 digits,
    10 redirects, gzip content of 100 times its coded size, listings of
    16 MiB and 200,000 names, folders 64 deep; 30 s to connect to each
    address, for a head, and between bytes (--timeout); 5 retries in a
    row (--retries); 10 minutes for a digest.  Content has no limit, and memory
    stays the same whatever its size.

Exit status
    0    success
    1    the server answered with a status that is not 2xx, or a redirect
         that is refused; or one of several files was not fetched
    2    usage
    3    could not connect, or no byte of a response came
    4    the response broke off, stalled or was malformed, or is not what the
         server's digest says
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
    main, fetch_all, fetch_file, Transfer.run, Client.get, Response.read,
    Output.write; from Transfer.run on all that waits is a task, see Tasks.

Map of the sections
    Limits and vocabulary, Target, Request, Response head, Body length,
    Body decoders, What is there already, File names, Listings, Display
    - up to here pure: no socket, no file, no clock -
    Report, Tasks, Connection, Exchange, Output, Transfer, Copying a folder,
    Command line
"""

import errno
import os
import re
import selectors
import socket
import stat
import sys
import time
from collections import OrderedDict, namedtuple
from contextlib import contextmanager
from functools import partial
from itertools import islice

TYPE_CHECKING = False  # `typing` is for mypy alone: importing it takes 3 ms.
if TYPE_CHECKING:
    import ssl
    from argparse import ArgumentParser, Namespace
    from typing import (Any, Callable, Dict, FrozenSet, Generator, Iterable,
                        Iterator, List, Mapping, Optional, Sequence, Tuple,
                        Union)
    from typing import Set  # noqa: F401 - in type comments
    Block = Union[bytes, memoryview]
    Fields = List[Tuple[str, str]]      # names and values, in order
    Wait = Tuple[Optional[socket.socket], int, float]
    Task = Generator[Wait, None, Any]
    Job = Tuple["URL", str, Tuple[Tuple[int, "URL"], ...], "Entry"]

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
REDIRECTS_MAX = 10
REDIRECTS = frozenset([301, 302, 303, 307, 308])

HEAD_MAX = 64 * KIB     # bytes of one head; browsers take 256 KiB, curl 300
INTERIM_MAX = 64        # 1xx responses before the final one; real ones: 1
LENGTH_DIGITS = 18      # of a Content-Length: below 2**63, a file's largest
CHUNK_DIGITS = 16       # hexadecimal, of a chunk size: 64 bits
CHUNK_LINE_MAX = 4 * KIB        # bytes of a chunk size and its extensions
TRAILERS_MAX = HEAD_MAX         # bytes of all trailers together
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
INDEX = "index.html"

IGNORE_UNEXPECTED_EOF = 0x80    # of OpenSSL's options; in ssl since 3.10
GZIP = 31               # zlib's word for gzip's head and the largest window

# What body_length returns besides a number of bytes.
CHUNKED = -1
UNTIL_CLOSE = -2

# The fields that are shown without -v.
MAIN_FIELDS = (b"content-type", b"content-length", b"last-modified", b"etag",
               b"location", b"server")

PART_SUFFIX = ".part"
NOTES_SUFFIX = ".json"
STDOUT, STDERR = 1, 2   # descriptors

# What a message advises.
TRY_AGAIN = "try again"
IS_IT_A_SERVER = "is this a web server?"


class Failure(Exception):
    """Why the content was not fetched, in one line for the user.

    The first argument says what happened, the others what can be done about
    it and what is left.
    """

    exit_status = 1
    hopeless = False        # whether no other file would fare better

    def __str__(self) -> str:
        return "; ".join(part for part in self.args if part)


class StatusError(Failure):
    """A status that is not 2xx, a redirect refused, or not all of a folder."""

    status = 0              # the server's, where that is the reason


class IsFolder(StatusError):
    """A redirect leads to the folder by the name that was asked for."""


class Unavailable(StatusError):
    """One after which another request may do better."""


class ConnectError(Failure):
    """No connection, or one on which no byte of a response came."""

    exit_status = 3


class ResponseError(Failure):
    """The response is malformed, or it ended too early."""

    exit_status = 4


class NoDigest(ConnectError):
    """The server was asked for a digest, and has no answer to that."""


class BrokenOff(ResponseError):
    """The response ended too early."""


class NoListing(ResponseError):
    """The JSON is no listing of a folder."""


class DigestError(ResponseError):
    """The content is not what the server has."""


class UsageError(Failure):
    """The user has not said all that is needed."""

    exit_status = 2


class OutputError(Failure):
    """The content could not be written."""

    exit_status = 5


class Interrupted(Failure):
    """Ctrl-C."""

    exit_status = 130


class ReaderGone(Failure):
    """Nobody reads the output any more; not worth a message."""

    exit_status = 141


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

# Where a proxy is, and the fields for it alone: Proxy-Authorization, or none.
Proxy = namedtuple("Proxy", "url fields")
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

    __slots__ = ("scheme", "host", "port", "target")

    def __init__(self, scheme: str, host: str, port: int,
                 target: str) -> None:
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
    def origin(self) -> "Tuple[str, str, int]":
        """What connections and credentials are for (RFC 9110, 4.3.1)."""
        return self.scheme, self.host, self.port

    @property
    def host_and_port(self) -> str:
        """The request target of CONNECT (RFC 9112, 3.2.3).

        A zone means something on this machine only and is left out; RFC
        6874, 4.
        """
        host = self.host.partition("%")[0]
        return "%s:%d" % ("[%s]" % host if ":" in host else host, self.port)

    @property
    def authority(self) -> str:
        """The value of the Host field (RFC 9110, 7.2).

        >>> URL("http", "fe80::1%eth0", 8080, "/").authority
        '[fe80::1]:8080'
        """
        if self.port == DEFAULT_PORTS[self.scheme]:
            return self.host_and_port.rpartition(":")[0]
        return self.host_and_port


def parse_host(text: str) -> str:
    """Return host *text* as the resolver takes it: ASCII, without brackets.

    Raise ValueError for what is neither a host name nor an address: user
    names, ports, slashes, controls.

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
    # The resolver would take a number alone for an IPv4 address.  What stands
    # before an "@" may be a password.
    if (len(host) > HOST_NAME_MAX or host.isdigit()
            or not HOST_NAME.fullmatch(host)):
        raise ValueError("'%s' is not a host name or an address; write host,"
                         " port and file as three words, or a URL"
                         % printable(text[max(0, text.rfind("@")):]))
    return host


def parse_port(text: str) -> int:
    """Return the port number *text*, 1 to 65535, or raise ValueError."""
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError("port '%s' is not a number from 1 to 65535"
                     % printable(text))


def refuse_controls(text: str, what: str) -> None:
    """Raise ValueError when there is a control character in *text*."""
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in text):
        raise ValueError("control character in %s '%s'"
                         % (what, printable(text)))


def percent_encode(text: str, safe: "FrozenSet[int]") -> str:
    """Return *text* with all bytes but the *safe* ones encoded.

    Bytes that are no UTF-8 are expected as surrogate escapes, as in sys.argv.
    """
    return "".join(chr(byte) if byte in safe else "%%%02X" % byte
                   for byte in text.encode("utf-8", "surrogateescape"))


def request_target(name: str) -> str:
    """Return the request target, in origin-form, for file *name*.

    All that is special in a URL is encoded, for *name* is a name.  Raise
    ValueError when there is a control character in it.
    Source: RFC 9112, 3.2.1; RFC 3986, 2.1 and 3.3.

    >>> request_target("50% off?.txt")
    '/50%25%20off%3F.txt'
    """
    refuse_controls(name, "the file name")
    path = percent_encode(name, PATH_BYTES)
    return path if path.startswith("/") else "/" + path


def parse_authority(text: str, port: int) -> "Tuple[str, int]":
    """Return host and port of *text*, HOST or HOST:PORT; else that *port*.

    Raise ValueError.

    >>> parse_authority("[::1]:81", 80)
    ('::1', 81)
    """
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
    user's name, which makes a host look like another.
    Source: RFC 9110, 4.2; RFC 3986, 3.

    >>> str(parse_url("HTTP://[::1]:8080/a%20b c?q#f"))
    'http://[::1]:8080/a%20b%20c?q'
    """
    refuse_controls(text, "the URL")
    scheme, authority, path, query = REFERENCE.findall(text)[0]
    scheme, authority = scheme.lower(), authority[2:]
    if not authority or scheme not in DEFAULT_PORTS:
        raise ValueError("'%s' is not a URL for http or https"
                         % printable(text))
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

    >>> str(proxy_for(parse_url("http://h/"), {"all_proxy": "p:3128"}).url)
    'http://p:3128/'
    """
    name = next(filter(environ.get, PROXY_VARIABLES[url.scheme]), "")
    if not name or is_direct(url.host, environ.get("no_proxy") or environ.get(
            "NO_PROXY", "")):
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
        fields.append(("Proxy-Authorization", basic(
            *map(decoded, user.partition(":")[::2]))))
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
    try:    # inet_aton() takes 127.1, too, as the resolver does
        address = ip_address(host.partition("%")[0] if ":" in host
                             else socket.inet_aton(host))
    except (OSError, ValueError):
        name = "." + host.lower().rstrip(".")
        return any(name.endswith("." + word.strip("."))
                   for word in [*words, "localhost"])   # RFC 6761, 6.3
    address = getattr(address, "ipv4_mapped", None) or address

    def is_within(word: str) -> bool:
        try:
            return address in ip_network(word, strict=False)
        except ValueError:      # a domain
            return False
    return address.is_loopback or any(map(is_within, words))


def redirected(url: URL, location: str) -> URL:
    """Return where *location*, of a redirect from *url*, leads.

    Raise StatusError when it may not be followed.
    Source: RFC 9110, 10.2.2 and 15.4.
    """
    try:
        # Fields are read as latin-1, but many servers mean UTF-8.
        new = joined(url, location.encode("latin-1").decode(
            "utf-8", "surrogateescape"))
    except ValueError as exc:
        raise StatusError("the redirect of %s is refused: %s" % (url, exc))
    if url.scheme == "https" and new.scheme == "http":
        raise StatusError("the redirect of %s is refused: %s is not https"
                          % (url, new))
    return new


def joined(url: URL, reference: str) -> URL:
    """Return the URL that *reference* means on the page at *url*.

    Raise ValueError, see parse_url().  Source: RFC 3986, 5.

    >>> str(joined(parse_url("http://a/b/c?d"), "../e?f"))
    'http://a/e?f'
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
CREDENTIALS = frozenset(["authorization", "cookie", "proxy-authorization"])
# What one origin may know and another may not, or not take for its own.
FOR_ONE_ORIGIN = CREDENTIALS | {"host"}

WANT_DIGEST = ("Want-Repr-Digest", "sha-256=10")    # RFC 9530, 4

# FIRST-LAST, FIRST- or -COUNT; RFC 9110, 14.1.2.
_NUMBER = "([0-9]{1,%d})" % LENGTH_DIGITS
RANGE = re.compile("%s-(?:%s)?|-%s" % (_NUMBER, _NUMBER, _NUMBER))


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
    """Return the Range value for *text*: FIRST-LAST, FIRST- or -COUNT.

    Positions are bytes, from 0, inclusive.  Raise ValueError.
    Source: RFC 9110, 14.1.2.

    >>> parse_range("0-99")
    'bytes=0-99'
    """
    match = RANGE.fullmatch(text)
    if not match or match.group(2) and int(match.group(1)) > int(
            match.group(2)):
        raise ValueError("range '%s' is not FIRST-LAST, FIRST- or -COUNT"
                         % printable(text))
    return "bytes=" + text


def render_request(url: URL, fields: "Fields",
                   user_fields: "Sequence[Tuple[str, str]]",
                   proxy: "Optional[Proxy]" = None) -> bytes:
    """Return the head of a request for *url*, with *fields* of ours.

    They replace what every request says, and *user_fields* replace both.
    *proxy*: the one that it is sent to; none is where there is a tunnel.
    Source: RFC 9112, 3; RFC 9110, 9.3; 7.2: Host comes first.

    >>> proxy = Proxy(parse_url("http://p:3128"), [("A", "b")])
    >>> render_request(parse_url("http://h/a"), [], [], proxy).split()[1::9]
    [b'http://h/a', b'b']
    """
    ours = OrderedDict([("Host", url.authority),
                        ("User-Agent", "httpget.py/" + __version__),
                        ("Accept", "*/*")])
    ours.update(fields)
    ours.update(proxy.fields if proxy else [])
    said = {name.lower() for name, _ in user_fields}
    rest = [field for field in ours.items() if field[0].lower() not in said]
    rest.extend(user_fields)
    rest.sort(key=lambda field: field[0].lower() != "host")
    return render_head("GET", str(url) if proxy else url.target, rest)


def render_connect(url: URL, proxy: Proxy) -> bytes:
    """Return the head that asks *proxy* for a tunnel to the host of *url*.

    Source: RFC 9110, 9.3.6.

    >>> proxy = Proxy(parse_url("http://p:3128"), [("A", "b")])
    >>> render_connect(parse_url("https://h/a"), proxy).split()[1::3]
    [b'h:443', b'h:443', b'A:']
    """
    return render_head("CONNECT", url.host_and_port, [
        ("Host", url.host_and_port),
        ("User-Agent", "httpget.py/" + __version__), *proxy.fields])


def render_head(method: str, target: str, fields: "Fields") -> bytes:
    """Return the head of a request."""
    lines = ["%s %s HTTP/1.1" % (method, target)]
    lines += ["%s: %s" % field for field in fields]
    return "".join(line + "\r\n" for line in lines + [""]).encode("latin-1")


# ---- Response head ----------------------------------------------------------

HTTP_1 = b"HTTP/1."

# status-line = HTTP-version SP status-code SP [reason-phrase]; RFC 9112, 4.
# Many servers leave out the second space where there is no reason phrase.
STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9][0-9])"
                         rb"(?: ([\t\x20-\x7e\x80-\xff]*))?")

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
NOT_FIELD_CONTENT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
BARE_LF = re.compile(rb"(?<!\r)\n")


class Head:
    """The head of a response."""

    __slots__ = ("fields", "lines", "reason", "status")

    def __init__(self, status: int, reason: str, fields: "Dict[str, str]",
                 lines: "List[bytes]") -> None:
        self.status = status    # 100 to 999
        self.reason = reason    # "" where there is none
        self.fields = fields    # by names in lower case
        self.lines = lines      # as received, the status line first

    @property
    def interim(self) -> bool:
        """Whether the final response is still to come (1xx)."""
        return self.status < 200

    @property
    def success(self) -> bool:
        """Whether the content is what was asked for (2xx)."""
        return 200 <= self.status < 300

    @property
    def persistent(self) -> bool:
        """Whether the connection stays for another request (9112, 9.3)."""
        options = [option.strip(" \t") for option in self.fields.get(
            "connection", "").lower().split(",")]
        if self.lines[0].startswith(b"HTTP/1.0"):
            return "keep-alive" in options
        return "close" not in options


def head_length(data: "Union[bytes, bytearray]", searched: int) -> int:
    """Return how many bytes of *data* are the head, or 0 for not yet known.

    The empty line at its end is counted.  The first *searched* bytes were
    looked at before, so a head that drips in costs no more than any other.
    Raise ResponseError for what will never be a head: no HTTP/1.x, a line
    that ends in a bare LF, more than HEAD_MAX bytes.
    Source: RFC 9112, 2.1 and 2.2.

    >>> head_length(b"HTTP/1.1 204 \\r\\n\\r\\nmore", 0)
    17
    >>> head_length(b"HTTP/1.1 204 \\r\\n\\r", 0)
    0
    """
    start = bytes(data[:GARBAGE_SHOWN_MAX])
    if not (start.startswith(HTTP_1) or HTTP_1.startswith(start)):
        raise ResponseError("the answer is not HTTP/1, it begins with '%s'"
                            % shown(start))
    end = data.find(b"\r\n\r\n", max(0, searched - 3))
    stop = len(data) if end < 0 else end + 4
    if BARE_LF.search(data, searched, stop):
        raise ResponseError("malformed response: a line of its head does not"
                            " end with CR LF")
    if stop > HEAD_MAX:
        raise ResponseError("the response head is longer than %d bytes"
                            % HEAD_MAX)
    return 0 if end < 0 else stop


def parse_head(data: bytes) -> Head:
    """Return the Head in *data*, which ends with the empty line.

    Raise ResponseError when it is malformed.  Source: RFC 9112, 4 and 5.
    """
    lines = data[:-4].split(b"\r\n")
    match = STATUS_LINE.fullmatch(lines[0])
    if not match:
        raise malformed("status line", lines[0])
    reason = (match.group(2) or b"").decode("latin-1")
    fields = parse_fields(lines[1:])
    return Head(int(match.group(1)), reason, fields, lines)


def parse_fields(lines: "Iterable[bytes]") -> "Dict[str, str]":
    """Return the fields of *lines*, names in lower case.

    The values of a repeated name are joined with ", " in order.  White space
    before the colon, a continuation line (obs-fold) and control characters
    are refused.  Source: RFC 9110, 5.1-5.6; RFC 9112, 5.
    """
    fields = {}  # type: Dict[str, List[str]]
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            raise malformed("field line", line)
        if NOT_FIELD_CONTENT.search(value):
            raise malformed("field value", line)
        fields.setdefault(name.decode("ascii").lower(), []).append(
            value.strip(b" \t").decode("latin-1"))
    return {name: ", ".join(values) for name, values in fields.items()}


def malformed(what: str, data: bytes) -> ResponseError:
    """Return the error that says that *what*, which is *data*, is wrong."""
    more = "..." if len(data) > GARBAGE_SHOWN_MAX else ""
    return ResponseError("malformed response: bad %s '%s'%s" % (
        what, shown(data[:GARBAGE_SHOWN_MAX]), more))


# ---- Body length ------------------------------------------------------------

def body_length(status: int, fields: "Dict[str, str]") -> int:
    """Return the length of a response's body: bytes, CHUNKED or UNTIL_CLOSE.

    Raise ResponseError where the length is in doubt.  The cases are in the
    order of RFC 9112, 6.3; it would let Transfer-Encoding win over
    Content-Length, but the two together are a sign of an attack.

    >>> body_length(200, {"content-length": "5, 5"})
    5
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
    if values or not re.fullmatch("[0-9]{1,%d}" % LENGTH_DIGITS, value):
        raise malformed("Content-Length", length.encode("latin-1"))
    return int(value)


# ---- Body decoders ----------------------------------------------------------

class PlainDecoder:
    """Takes the content out of a body without a transfer coding.

    *length* is in bytes; None means until the connection closes.  A decoder
    is fed bytes, in pieces of any size, until it is `done`.
    """

    def __init__(self, length: "Optional[int]") -> None:
        self.length = length
        self.count = 0          # bytes of content so far
        self.done = length == 0
        self.excess = False     # whether bytes came after the end

    def decode(self, data: memoryview) -> "Block":
        """Return the content in *data*; what is beyond its end is left."""
        if self.length is not None:
            self.excess = len(data) > self.length - self.count
            data = data[:self.length - self.count]
        self.count += len(data)
        self.done = self.count == self.length
        return data

    def close(self) -> bool:
        """Take note that the connection was closed; return self.done."""
        self.done = self.done or self.length is None
        return self.done


# What a ChunkedDecoder waits for.
SIZE, DATA, DATA_END, TRAILER, DONE = range(5)

# chunk-size [ chunk-ext ]; RFC 9112, 7.1.  Extensions are skipped.
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,%d})[\t ]*(?:;[^\x00-\x08\x0a-\x1f"
                        rb"\x7f]*)?" % CHUNK_DIGITS)


class ChunkedDecoder:
    """Takes the content out of a chunked body.  Source: RFC 9112, 7.1.

    Trailer fields are checked and dropped.

    >>> decoder = ChunkedDecoder()
    >>> decoder.decode(b"5;x=y\\r\\nhello\\r\\n0\\r\\n\\r\\n"), decoder.done
    (b'hello', True)
    """

    length = None   # nobody knows it beforehand

    def __init__(self) -> None:
        self.count = 0          # bytes of content so far
        self.state = SIZE
        self.excess = False     # whether bytes came after the end
        self.left = 0           # bytes of this chunk still to come
        self.line = b""         # the beginning of a line
        self.room = {SIZE: CHUNK_LINE_MAX, DATA_END: 2,
                     TRAILER: TRAILERS_MAX}     # bytes that a line may have

    @property
    def done(self) -> bool:
        """Whether the last chunk and the trailers have been read."""
        return self.state == DONE

    def decode(self, data: "Block") -> bytes:
        """Return the content in *data*; what is beyond its end is left.

        Raise ResponseError when the chunks are malformed.
        """
        data = bytes(data)
        content = []
        start = 0
        while start < len(data) and self.state != DONE:
            if self.state == DATA:
                piece = data[start:start + self.left]
                content.append(piece)
                start += len(piece)
                self.left -= len(piece)
                if not self.left:
                    self.state = DATA_END
            else:
                start = self._read_line(data, start)
        self.excess = start < len(data)
        block = b"".join(content)
        self.count += len(block)
        return block

    def close(self) -> bool:
        """Take note that the connection was closed; return self.done."""
        return self.done

    def _read_line(self, data: bytes, start: int) -> int:
        """Take a line, or the beginning of one; return where it stops."""
        end = data.find(b"\n", start)
        stop = len(data) if end < 0 else end + 1
        room = self.room[self.state]
        # Checked before joining, so that drips do not add up beyond it.
        if len(self.line) + stop - start > room:
            raise malformed("chunk", self.line + data[start:start + room])
        self.line += data[start:stop]
        if end >= 0:
            line, self.line = self.line, b""
            if not line.endswith(b"\r\n"):
                raise malformed("line among the chunks", line)
            self._take_line(line[:-2])
        return stop

    def _take_line(self, line: bytes) -> None:
        """Do what the whole *line*, without its CR LF, says."""
        if self.state == SIZE:
            match = CHUNK_SIZE.fullmatch(line)
            if not match:
                raise malformed("chunk size", line)
            self.left = int(match.group(1), 16)
            self.state = DATA if self.left else TRAILER
        elif self.state == DATA_END:    # its room is for an empty line only
            self.state = SIZE
        elif line:
            parse_fields([line])
            self.room[TRAILER] -= len(line) + 2
        else:
            self.state = DONE


def make_decoder(length: int) -> "Union[PlainDecoder, ChunkedDecoder]":
    """Return the decoder for *length*, which body_length returned."""
    if length == CHUNKED:
        return ChunkedDecoder()
    return PlainDecoder(None if length == UNTIL_CLOSE else length)


class GzipDecoder:
    """Takes the content out of gzip (RFC 9110, 8.4.1.3; RFC 1952)."""

    def __init__(self) -> None:
        import zlib
        self._zlib = zlib
        self._unpacker = zlib.decompressobj(GZIP)
        self._held = b""        # fed, but not yet decoded
        self._fed = 0           # bytes that came in, and that went out
        self._count = 0

    def feed(self, data: "Block") -> None:
        """Take *data*; more() then gives the content."""
        self._fed += len(data)
        self._held += bytes(data)

    def more(self) -> bytes:
        """Return some of the content, b"" where more is to be fed first.

        Raise ResponseError when it is malformed, or grows beyond measure.
        """
        block = b""
        while not block:
            if self._unpacker.eof and self._held:   # another member follows
                self._unpacker = self._zlib.decompressobj(GZIP)
            try:
                block = self._unpacker.decompress(self._held, EXPANDED_BLOCK)
            except self._zlib.error:
                raise ResponseError("malformed response: bad gzip coding",
                                    "--raw saves it as it is")
            self._held = (self._unpacker.unused_data if self._unpacker.eof
                          else self._unpacker.unconsumed_tail)
            if not self._held:
                break
        self._count += len(block)
        if self._count > max(EXPANSION_FREE, EXPANSION_MAX * self._fed):
            raise ResponseError("the content expands to more than %d times"
                                " what was sent" % EXPANSION_MAX,
                                "--raw saves it as it is")
        return block

    def end(self) -> None:
        """All was fed: raise BrokenOff unless that was all of it."""
        if self._fed and not self._unpacker.eof:
            raise BrokenOff("the response broke off in its gzip coding",
                            TRY_AGAIN)


# ---- What is there already --------------------------------------------------

# RFC 9110, 14.4.
CONTENT_RANGE = re.compile(r"bytes (?:%s-%s|\*)/(?:%s|\*)"
                           % (_NUMBER, _NUMBER, _NUMBER))
# HTTP-date: IMF-fixdate, rfc850-date, asctime-date (RFC 9110, 5.6.7).
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_MONTH = "(" + "|".join(MONTHS) + ")"
_DAY = "(?:" + "|".join(DAYS) + ")"
_DAY_L = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
# Compiled when they are first needed: at the start it takes 2 ms.
IMF_FIXDATE = r"%s, ([0-9]{2}) %s ([0-9]{4}) %s GMT" % (_DAY, _MONTH, _CLOCK)
RFC850_DATE = r"%s, ([0-9]{2})-%s-([0-9]{2}) %s GMT" % (_DAY_L, _MONTH, _CLOCK)
ASCTIME_DATE = r"%s %s ([0-9 ][0-9]) %s ([0-9]{4})" % (_DAY, _MONTH, _CLOCK)
# date-time in UTC; RFC 3339, 5.6.
TIMESTAMP = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T"
                       r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?Z")
# entity-tag, but no weak one; RFC 9110, 8.8.3.
STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]*"')


class ContentRange(namedtuple("ContentRange", "first last length")):
    """Where a response's content stands in the file.

    Positions are inclusive; first and last are -1 for "bytes */LENGTH", and
    length, the file's, is -1 where it is not known.
    """

    __slots__ = ()

    @property
    def size(self) -> int:
        """How many bytes there are from first to last."""
        return int(self.last + 1 - self.first)


def parse_content_range(fields: "Dict[str, str]") -> "Optional[ContentRange]":
    """Return what Content-Range says, None if it is malformed or not there.

    Source: RFC 9110, 14.4.

    >>> parse_content_range({"content-range": "bytes 0-4/10"})
    ContentRange(first=0, last=4, length=10)
    """
    match = CONTENT_RANGE.fullmatch(fields.get("content-range", ""))
    if not match:
        return None
    first, last, length = (int(number) if number else -1
                           for number in match.groups())
    if first > last or last >= length >= 0:
        return None
    return ContentRange(first, last, length)


def is_selected(wanted: str, first: int, last: int, length: int) -> bool:
    """Return whether Range *wanted* means the other three of a ContentRange.

    >>> is_selected("bytes=5-", 5, 9, 10), is_selected("bytes=-3", 6, 9, 10)
    (True, False)
    """
    match = RANGE.fullmatch(wanted[len("bytes="):])
    assert match, "see parse_range()"
    start, stop, count = match.groups()
    at_end = length < 0 or last == length - 1
    if count is not None:
        return at_end and (last - first + 1 == int(count)
                           or first == 0 and last + 1 <= int(count))
    return first == int(start) and (at_end if not stop or last < int(stop)
                                    else last == int(stop))


def http_time(value: str) -> "Optional[int]":
    """Return the seconds since 1970 of HTTP-date *value*, None if it is none.

    Source: RFC 9110, 5.6.7.

    >>> http_time("Sun, 06 Nov 1994 08:49:37 GMT"), http_time("soon")
    (784111777, None)
    """
    from datetime import datetime, timezone
    match = re.fullmatch(IMF_FIXDATE, value) or re.fullmatch(RFC850_DATE,
                                                             value)
    if match:
        day, month, year, hour, minute, second = match.groups()
    else:
        match = re.fullmatch(ASCTIME_DATE, value)
        if not match:
            return None
        month, day, hour, minute, second, year = match.groups()
    if len(year) == 2:
        year = ("19" if int(year) >= CENTURY else "20") + year
    leap = int(second == "60")  # datetime knows no 60th second
    try:
        date = datetime(int(year), MONTHS.index(month) + 1, int(day),
                        int(hour), int(minute), int(second) - leap,
                        tzinfo=timezone.utc)
    except ValueError:
        return None
    seconds = int(date.timestamp()) + leap
    return seconds if abs(seconds) <= TIME_MAX else None


def timestamp(value: str) -> "Optional[int]":
    """Return the whole seconds since 1970 of RFC 3339's *value* in UTC.

    None where it is none.

    >>> timestamp("1994-11-06T08:49:37.9Z"), timestamp("soon")
    (784111777, None)
    """
    from datetime import datetime, timezone
    if not TIMESTAMP.fullmatch(value):
        return None
    try:
        moment = datetime.strptime(value[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    seconds = int(moment.replace(tzinfo=timezone.utc).timestamp())
    return seconds if abs(seconds) <= TIME_MAX else None


def is_same_time(mtime: int, found: int) -> bool:
    """Return whether a file of *mtime*, in seconds, has *found*, in ns, here.

    FAT rounds to an even second.
    """
    second = 10**9
    return found // second == mtime or (
        found % (2 * second) == 0 and abs(found - mtime * second) <= second)


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


def is_validator(text: str) -> bool:
    """Return whether *text* may be one that strong_validator() returned."""
    return (STRONG_ETAG.fullmatch(text) is not None
            or http_time(text) is not None)


def is_same_version(fields: "Dict[str, str]", validator: str) -> bool:
    """Return whether a response with *fields* is of the version *validator*.

    It has to say so: a server that does not know If-Range may not, either.
    """
    name = "etag" if validator.startswith('"') else "last-modified"
    return validator != "" and fields.get(name) == validator


# How many bytes of a file are there, from which position the rest was asked
# for (0: all of it; else the last byte that is there, see Transfer), the
# validator of the version that is there ("": none), and that version's length
# (None: nobody knows).
Have = namedtuple("Have", "written asked validator length")

# What is to be done with a response: APPEND to what is there, RESTART with
# this, or ask for the file AGAIN, from its start.
APPEND, RESTART, AGAIN = range(3)

# Which of these, how many bytes of the content to skip, and how many must come
# then, None where nobody knows.
Plan = namedtuple("Plan", "action skip expected")


def plan(status: int, fields: "Dict[str, str]", length: "Optional[int]",
         coded: bool, have: Have) -> Plan:
    """Return the Plan for a response to the request that *have* tells of.

    *length* is the body's, *coded* whether it has a content coding.  Raise
    ResponseError for what was not asked for.  So two versions of a file are
    never joined, and none is taken for whole that is not.
    """
    if status == 206:           # RFC 9110, 14.4 and 15.3.7
        part = parse_content_range(fields)
        if (not part or not have.asked or coded or part.first != have.asked
                or length not in (None, part.size)):
            raise other_part(fields)
        total = have.length if part.length < 0 else part.length
        if (not is_same_version(fields, have.validator)
                or total != part.last + 1
                or have.length not in (None, total)):
            return Plan(AGAIN, 0, None)
        return Plan(APPEND, have.written - have.asked, total - have.written)
    if status == 416:           # RFC 9110, 15.5.17: it is shorter now
        return Plan(AGAIN, 0, None)
    if status not in (200, 203) and have.written:
        raise ResponseError("the server answered %d, which is not the rest of"
                            " the file" % status, TRY_AGAIN)
    total = None if coded else length
    if (have.written and not coded and have.validator != ""
            and strong_validator(fields) == have.validator
            and (total is None or have.length in (None, total))
            and (total is None or total >= have.written)):
        # RFC 9110, 14.2: a server without ranges sends all of it.
        total = have.length if total is None else total
        return Plan(APPEND, have.written,
                    None if total is None else total - have.written)
    return Plan(RESTART, 0, total)


def other_part(fields: "Dict[str, str]") -> ResponseError:
    """Return the error for a part that was not asked for."""
    return ResponseError("the server sent another part of the file than it"
                         " was asked for: '%s'" % printable(
                             fields.get("content-range", "")))


def parse_digest(value: str) -> "Optional[bytes]":
    """Return the SHA-256 in Repr-Digest *value*, None without one.

    Source: RFC 9530, 3; RFC 8941, 3.3.5.

    >>> parse_digest("md5=:AA==:") is None
    True
    """
    import base64
    found = None
    for member in value.split(","):
        key, _, item = member.strip(" \t").partition("=")
        if key == "sha-256" and re.fullmatch(":[A-Za-z0-9+/]{43}=:", item):
            found = base64.b64decode(item[1:-1])
    return found


# ---- File names -------------------------------------------------------------

# Names that Windows takes for devices.
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$"
                    "|(com|lpt)[0-9\xb9\xb2\xb3])[ .]*(\\..*)?")


def safe_name(text: str) -> str:
    """Return the file name that *text*, a user's word, stands for.

    What comes before the last slash is cut off, and characters that could do
    harm in a name are, too.  "" where nothing is left.

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

    The same one; only what could do harm is written as %XX, so that none
    becomes hidden, a device's or another folder's.  On *windows* more
    characters do harm.

    >>> local_name(".bashrc"), local_name("a\\n%b"), local_name("c:", True)
    ('%2Ebashrc', 'a%0A%b', 'c%3A')
    """
    unsafe = '\t\n/\\<>:"|?*' if windows else "\t\n/"
    safe = "".join(percent_encode(char, frozenset())
                   if char in unsafe or UNSAFE.match(char) else char
                   for char in name)
    if safe[:1] == ".":
        safe = "%2E" + safe[1:]
    if windows and safe[-1:] in (" ", "."):     # Windows would drop it
        safe = safe[:-1] + "%%%02X" % ord(safe[-1])
    if DEVICE.fullmatch(safe):
        safe = "%%%02X" % ord(safe[0]) + safe[1:]
    return safe


# ---- Listings ---------------------------------------------------------------

JSON_SPACE = re.compile("[ \t\r\n]*")

# The attributes of a page's elements that are links.
LINKS = {"a": ("href",), "area": ("href",), "link": ("href",),
         "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",),
         "source": ("src", "srcset"), "video": ("src", "poster"),
         "audio": ("src",), "track": ("src",), "embed": ("src",),
         "object": ("data",)}

# "." or ".." in a path, encoded or not.
DOTS = re.compile(r"(?i)/(\.|%2e){1,2}(/|$)")

class Entry:
    """A name in a folder's listing.

    name       decoded; surrogate escapes for bad UTF-8
    size       bytes; None where the listing does not tell
    mtime      seconds since 1970, or None
    folders    names of the folders below this one in which it is
    is_linked  whether it is listed itself, or is a folder of another one
    of_page    whether only a page would name it: a picture, a script
    """

    __slots__ = ("name", "is_folder", "size", "mtime", "folders", "is_linked",
                 "of_page")

    def __init__(self, name: str, is_folder: bool,
                 size: "Optional[int]" = None, mtime: "Optional[int]" = None,
                 folders: "Tuple[str, ...]" = (), is_linked: bool = True,
                 of_page: bool = False) -> None:
        self.name = name
        self.is_folder = is_folder
        self.size = size
        self.mtime = mtime
        self.folders = folders
        self.is_linked = is_linked
        self.of_page = of_page


def parse_json_listing(text: str) -> "Iterator[Entry]":
    """Yield the entries of a listing as nginx's or caddy's JSON has it.

    One at a time: all together take fifty times what the text does.  Raise
    NoListing when it is none.
    """
    import json
    decode = json.JSONDecoder().raw_decode
    try:
        start = after_space(text, 0)
        separator = "["
        while text[start] == separator:
            start = after_space(text, start + 1)
            if text[start] != "]" or separator == ",":
                item, length = decode(text[start:start + ENTRY_MAX])
                yield json_entry(item)
                start = after_space(text, start + length)
            separator = ","
        whole = text[start] == "]" and after_space(text, start + 1) == len(
            text)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError,
            RecursionError):
        whole = False
    if not whole:
        raise NoListing("this is no listing of a folder")


def after_space(text: str, start: int) -> int:
    """Return the position of what follows JSON's white space at *start*."""
    match = JSON_SPACE.match(text, start)
    assert match, "it matches nothing, too"
    return match.end()


def json_entry(item: "Dict[str, Any]") -> Entry:
    """Return one member of a JSON listing; raise what bad types raise.

    Its name is "" where it has another type: then the rest may do.
    """
    name = item["name"]
    if not isinstance(name, str):
        name = ""
    is_folder = item.get("is_dir", item.get("type") == "directory")
    if is_folder and name.endswith("/"):
        name = name[:-1]
    size = item.get("size")
    if is_folder or isinstance(size, bool) or not isinstance(size, int):
        size = None
    mtime = http_time(str(item.get("mtime")))
    if mtime is None:           # caddy's
        mtime = timestamp(str(item.get("mod_time")))
    return Entry(name, bool(is_folder), size, mtime)


def parse_html_listing(text: str, url: URL) -> "Iterator[Entry]":
    """Yield what an index page at *url* links to that is below it.

    Links to a parent or another origin are left out, as are those with a
    query, by which listings sort themselves.
    """
    base, links = page_links(text, url)
    for link, of_page in links.items():
        name = name_below(url, link, base)
        if name:
            names = [decoded(part) for part in name.rstrip("/").split("/")]
            yield Entry(names[-1], name.endswith("/"), of_page=of_page,
                        folders=tuple(names[:-1]))


def page_links(text: str, url: URL) -> "Tuple[URL, Dict[str, bool]]":
    """Return (where links begin, {link: whether only a page has such a one}).

    Of the page *text* at *url*; raise ResponseError for too many.
    """
    from html.parser import HTMLParser
    links = OrderedDict()  # type: OrderedDict[str, bool]
    bases = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: "Any") -> None:
            for name, value in attrs:
                if value and tag == "base" and name == "href":
                    bases.append(value)
                elif value and name in LINKS.get(tag, ()):
                    of_page = tag not in ("a", "area")
                    for link in (split_srcset(value) if name == "srcset"
                                 else [value]):
                        if of_page:     # a?version is a file for all that
                            link = link.partition("?")[0]
                        links[link] = links.get(link, True) and of_page
            if len(links) > LINKS_MAX:
                raise ResponseError("more than %d links on a page" % LINKS_MAX)

        def parse_marked_section(self, i: int, report: int = 1) -> int:
            # Browsers take <![...> for a comment; until 3.9 this raises.
            return self.parse_bogus_comment(i)

    # Without close(), which reads what has no end again for each of its "<".
    # Python refuses to read a number of thousands of digits.
    Parser().feed(re.sub("&#[0-9]{8,}", "&#xfffd", text))
    try:
        base = joined(url, bases[0].strip()) if bases else url
    except ValueError:
        base = url
    return base, links


def split_srcset(value: str) -> "Iterator[str]":
    """Yield the links in *value*, of a srcset.

    Source: HTML, 4.8.4.2.1.

    >>> list(split_srcset("a.png 1x,b.png 2x, c,d"))
    ['a.png', 'b.png', 'c,d']
    """
    is_link = True
    for word in value.split():
        comma = ","
        if not is_link:     # but behind its comma the next one may begin
            _, comma, word = word.partition(",")
        link = word.strip(",")
        if link:
            yield link
        is_link = comma != "" and (link == "" or word.endswith(","))


def name_below(url: URL, link: str, base: "Optional[URL]" = None) -> str:
    """Return what *link*, on the page at *url*, names below it.

    Encoded, with its slash for a folder; "" where it leads elsewhere.
    Relative links begin at *base*, where that is another one.
    """
    try:
        target = joined(base or url, link.strip())
    except ValueError:
        return ""
    folder = url.path.rpartition("/")[0] + "/"
    name = target.target[len(folder):]
    if (target.origin != url.origin or not target.target.startswith(folder)
            or "?" in name or not name.strip("/") or "//" in "/" + name
            or "/" in name.rstrip("/") and DOTS.search("/" + name)):
        return ""
    return name


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
# and the controls that turn the direction of writing (Unicode, UAX 9).
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
    text = "%s  %s/s" % (size_text(count), size_text(rate))
    if length:
        text = "%d %%  %s of %s  %s/s" % (
            100 * count // length, size_text(count), size_text(length),
            size_text(rate))
        if rate > 0:
            text += "  %d:%02d left" % divmod(int((length - count) / rate), 60)
    return text


# ======== Border: only below this line is the operating system touched =======

# ---- Report -----------------------------------------------------------------

class Report:
    """Tells the user on standard error how the exchange goes on."""

    def __init__(self, verbose: bool = False, quiet: bool = False,
                 bar: bool = False) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self.bar = bar          # whether to show progress
        self.aside = False      # whether the request is one of our own
        self._shown = 0         # characters of the progress line
        # When it is to be shown again; what is quick needs none.
        self._due = time.monotonic() + PROGRESS_WAIT
        self.begin(0)

    def begin(self, count: int) -> None:
        """A transfer begins, with *count* bytes that are there."""
        self._began = time.monotonic()
        self._before = count

    def connected(self, url: URL, sock: socket.socket) -> None:
        """Say where the connection goes, and from where."""
        try:
            peer, own = sock.getpeername(), sock.getsockname()
        except OSError:     # gone already; sending will say so
            return
        version = getattr(sock, "version", None)    # of TLS
        self.note("Connected to %s, address %s port %s, from %s port %s%s" % (
            url.host, *peer[:2], *own[:2],
            ", " + version() if version else ""))

    def request(self, data: bytes) -> None:
        """Show the request, when asked to."""
        if self.verbose:
            for line in data[:-4].split(b"\r\n"):
                name = line.partition(b":")[0]
                if name.lower().decode("latin-1") in CREDENTIALS:
                    line = name + b": (not shown)"
                self.note("> " + shown(line))

    def head(self, head: Head) -> None:
        """Show the status line and the fields that matter."""
        if self.verbose:
            for line in head.lines:
                self.note("< " + shown(line))
        elif not (head.interim or self.aside):
            self.note(shown(head.lines[0]))
            for line in head.lines[1:]:
                if line.partition(b":")[0].lower() in MAIN_FIELDS:
                    self.note(shown(line))

    def redirected(self, url: URL) -> None:
        """Say where a redirect leads."""
        self.note("Redirected to %s" % printable(str(url)))

    def retry(self, exc: Failure, delay: float) -> None:
        """Say that a transfer goes on after a break."""
        self.note("%s; going on in %g s" % (exc.args[0], delay))

    def error_content(self, data: bytes, note: str) -> None:
        """Show the beginning of an error's content."""
        text = data.decode("utf-8", "backslashreplace")
        for line in (safe_text(text).rstrip("\n"), note):
            if line:
                self.note(line)

    def progress(self, count: int, length: "Optional[int]") -> None:
        """Show on the terminal how far a transfer is."""
        if self._is_due():
            self._line(progress_text(count, length, count - self._before,
                                     time.monotonic() - self._began))

    def copied(self, fetched: int, unchanged: int, count: int) -> None:
        """Show on the terminal how far the copying of a folder is."""
        if self._is_due():
            self._line("%s, %s; %d unchanged" % (
                counted(fetched, "file"), size_text(count), unchanged))

    def _is_due(self) -> bool:
        return self.bar and time.monotonic() >= self._due

    def _line(self, text: str) -> None:
        self._due = time.monotonic() + PROGRESS_WAIT
        try:
            columns = os.get_terminal_size(STDERR).columns
        except OSError:
            columns = 0
        # What went on in the next line would stay there.
        text = text[:(columns or COLUMNS) - 1]
        write_stderr("\r" + text.ljust(self._shown))
        self._shown = len(text)

    def clear(self) -> None:
        """Take the progress off the terminal."""
        if self._shown:
            write_stderr("\r" + " " * self._shown + "\r")
            self._shown = 0

    def end(self, count: int, seconds: float, name: "Optional[str]",
            says: str) -> None:
        """Sum up: *count* bytes in so many *seconds*, saved as *name*.

        *says* is what else there is to say; see Transfer.run().
        """
        self.note("%s%d bytes in %.3f s, %s/s%s" % (
            "" if name is None or name == "-" else printable(name) + ": ",
            count, seconds, size_text(count / max(seconds, 1e-6)),
            ", " + says if says else ""))

    def note(self, text: str) -> None:
        """Say *text*, unless nothing is to be said."""
        if not self.quiet:
            self.clear()
            say(text)


def say(text: str) -> None:
    """Write a line to standard error."""
    write_stderr(text + "\n")


def write_stderr(text: str) -> None:
    """Write *text* to standard error."""
    data = text.encode(sys.stderr.encoding or "utf-8", "backslashreplace")
    try:
        # Not by sys.stderr: what that cannot write makes Python exit with
        # a status of its own.
        os.write(STDERR, data)
    except OSError:
        return      # nobody is left to be told


# ---- Tasks ------------------------------------------------------------------

# What waits for the network is written as a task: a generator that yields a
# Wait where it has to wait for something.  One task, or several side by side,
# are run by one loop over a selector.  Only looking up a name, the disk, and
# reading a listing hold up all of them.

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def run(*tasks: "Task") -> "Any":
    """Run *tasks* side by side to their ends; return what the first returns.

    A Wait is (socket, READ or WRITE, deadline): the task goes on when the
    socket is ready, or has a socket.timeout thrown in at the deadline, a
    monotonic time.  Without a socket it goes on then.  What a task raises is
    raised here, once the others are closed; KeyboardInterrupt is thrown into
    all.
    """
    loop = Loop(tasks)
    try:
        while loop.waits:
            loop.turn()
    except KeyboardInterrupt as interrupt:
        loop.interrupt(interrupt)
        raise
    finally:
        loop.close()
    return loop.results.get(tasks[0])


class Loop:
    """The tasks that run() runs.

    waits    what each waits for; those that have ended are gone
    results  what those that have ended returned
    """

    def __init__(self, tasks: "Sequence[Task]") -> None:
        self.selector = selectors.DefaultSelector()
        self.waits = OrderedDict()  # type: OrderedDict[Task, Wait]
        self.results = {}  # type: Dict[Task, Any]
        self.watched = {}  # type: Dict[Task, Tuple[socket.socket, int]]
        for task in tasks:
            self.waits[task] = None, 0, 0.0

    def turn(self) -> None:
        """Wait until a task can go on, and let all that can do so."""
        deadline = min(deadline for _, _, deadline in self.waits.values())
        # It knows no wait without end, nor of many years.
        ready = self.selector.select(
            min(max(0, deadline - time.monotonic()), TIMEOUT_MAX))
        going = [key.data for key, _ in ready]
        now = time.monotonic()
        for task, (sock, _, deadline) in list(self.waits.items()):
            if task in going or deadline <= now and not sock:
                self.resume(task, None)
            elif deadline <= now:
                self.resume(task, socket.timeout("timed out"))

    def resume(self, task: "Task", exc: "Optional[BaseException]") -> None:
        """Let *task* go on until it waits again, or ends."""
        try:
            wait = task.throw(exc) if exc else task.send(None)
        except StopIteration as stop:
            self.results[task] = stop.value
            wait = None
        if wait:
            self.waits[task] = wait
        else:
            del self.waits[task]
        self.watch(task, wait)

    def watch(self, task: "Task", wait: "Optional[Wait]") -> None:
        """Let the selector look for what *task* waits for.

        What it waits for again stays registered: most of the time nothing
        is to be done.
        """
        old = self.watched.get(task)
        new = (wait[0], wait[1]) if wait and wait[0] else None
        if new == old:
            return
        if old:
            self.selector.unregister(old[0])
            del self.watched[task]
        if new:
            self.selector.register(new[0], new[1], task)
            self.watched[task] = new

    def interrupt(self, exc: KeyboardInterrupt) -> None:
        """Throw *exc* into all tasks; raise what the first makes of it."""
        first = None  # type: Optional[Failure]
        for task in list(self.waits):
            try:
                task.throw(exc)
            except (KeyboardInterrupt, StopIteration):
                pass
            except Failure as failure:
                first = first or failure
        if first:
            raise first

    def close(self) -> None:
        """Close what is left of the tasks."""
        for task in list(self.waits):
            task.close()
        self.selector.close()


def pause(seconds: float) -> "Task":
    """Wait for so many *seconds*."""
    yield None, 0, time.monotonic() + seconds


# ---- Connection -------------------------------------------------------------

class ConnectionLost(Exception):
    """The connection stalled or broke; the text says how."""


class Connection:
    """A connection to a server, and what has been read from it."""

    def __init__(self, sock: socket.socket,
                 origin: "Tuple[str, str, int]", timeout: float) -> None:
        self.sock = sock
        self.origin = origin    # see URL.origin
        self.timeout = timeout  # seconds, see Settings
        self.heard = False      # whether any byte has come since a request
        self.stalled = False    # whether one was waited for in vain
        self.taken = 0          # bytes read since others had their turn
        self.buffer = memoryview(bytearray(RECEIVE_SIZE))
        self.pending = self.buffer[:0]      # read, but not yet taken

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def has_input(self) -> bool:
        """Return whether something came that nobody asked for, or its end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, READ)
            return bool(selector.select(0))

    def due(self) -> float:
        """Return the monotonic time until which something must happen."""
        return time.monotonic() + self.timeout

    def when_ready(self, deadline: "Optional[float]", event: int,
                   call: "Callable[..., Any]", *args: object) -> "Task":
        """Return call(*args), as soon as it need not wait for the socket.

        Raise OSError, or socket.timeout where that is not before *deadline*.
        With None each wait for the socket has a timeout of its own: a record
        of TLS, of up to 16 KiB, may need several.
        """
        while True:
            try:
                return call(*args)
            except OSError as exc:
                awaited = event_of(exc, event)
                if not awaited:
                    raise
            yield self.sock, awaited, deadline or self.due()

    def send(self, data: bytes) -> "Task":
        """Send all of *data*, or raise ConnectionLost."""
        self.heard = False
        try:
            while data:
                count = yield from self.when_ready(None, WRITE,
                                                   self.sock.send, data)
                data = data[count:]
        except OSError as exc:
            raise ConnectionLost("could not send the request: %s"
                                 % self._lost(exc))

    def receive(self, deadline: "Optional[float]") -> "Task":
        """Return the next bytes, which stay valid until the next call.

        Nothing means that the server closed the connection.  Raise
        ConnectionLost when it breaks, or nothing comes before *deadline*; see
        when_ready().
        """
        if self.pending:
            data, self.pending = self.pending, self.buffer[:0]
            return data
        if self.taken >= TURN_SIZE:     # one that is always ready never waits
            self.taken = 0
            yield from pause(0)
        try:
            count = yield from self.when_ready(
                deadline, READ, self.sock.recv_into, self.buffer)
        except OSError as exc:
            raise self._lost(exc)
        self.heard = self.heard or count > 0
        self.taken += count
        return self.buffer[:count]

    def _lost(self, exc: OSError) -> ConnectionLost:
        self.stalled = isinstance(exc, socket.timeout)
        return ConnectionLost(
            "waited %g s in vain (--timeout)" % self.timeout if self.stalled
            else reason_of(exc))

    def receive_head(self, patience: "Callable[[], Task]") -> "Task":
        """Return the next head, with the empty line at its end.

        All of it must come within one timeout after its first bytes: those
        that drip would add up to hours.  Raise ConnectError when no byte
        comes, ResponseError when it breaks off or cannot be a head.  After
        each timeout without a byte *patience*, a task, tells whether to wait
        for another.
        """
        data = bytearray()
        length = 0
        deadline = None  # type: Optional[float]
        while not length:
            try:
                block = yield from self.receive(deadline)
            except ConnectionLost as exc:
                if self.stalled and not data and (yield from patience()):
                    continue
                raise self._no_head(str(exc))
            if not block:
                raise self._no_head("the server closed the connection")
            if not data:
                deadline = self.due()
            searched = len(data)
            data += block
            length = head_length(data, searched)
        self.pending = memoryview(bytes(data[length:]))
        return bytes(data[:length])

    def _no_head(self, reason: str) -> Failure:
        if self.heard:
            return BrokenOff("the response broke off in its head: %s" % reason,
                             TRY_AGAIN)
        return ConnectError("no response: %s" % reason, IS_IT_A_SERVER)


def event_of(exc: OSError, event: int) -> int:
    """Return what to wait for after *exc*: 0 for nothing, it is an error.

    *event* is what a plain socket waits for.  TLS may have to read where it
    is to write, and the other way round.
    """
    if isinstance(exc, BlockingIOError):
        return event
    ssl = sys.modules.get("ssl")    # loaded only where it is needed
    if ssl and isinstance(exc, ssl.SSLWantReadError):
        return READ
    if ssl and isinstance(exc, ssl.SSLWantWriteError):
        return WRITE
    return 0


def connect(url: URL, settings: "Settings") -> "Task":
    """Return a Connection to the first address of *url* that accepts.

    Raise ConnectError, which names every address that failed.
    """
    try:
        # As bytes: for a str Python loads its IDNA tables, ASCII or not.
        found = socket.getaddrinfo(url.host.encode("ascii"), url.port,
                                   settings.family, socket.SOCK_STREAM)
    except OSError as exc:
        raise ConnectError("no address for host '%s': %s" % (
            url.host, reason_of(exc)), "check the name")
    failures = []
    for family, kind, protocol, _, address in found:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as exc:      # a family that this system lacks
            failures.append("%s: %s" % (address[0], reason_of(exc)))
            continue
        connection = Connection(sock, url.origin, settings.timeout)
        try:
            sock.setblocking(False)
            yield from connect_to(connection, address)
            if url.scheme == "https":
                yield from start_tls(connection, url.host, settings)
            return connection
        except OSError as exc:
            failures.append("%s: %s" % (address[0], reason_of(exc)))
            connection.close()
        except BaseException:
            connection.close()
            raise
    raise ConnectError("could not connect to %s port %d (%s)" % (
        url.host, url.port, ", ".join(failures)),
        "is the server running there?")


def connect_to(connection: Connection, address: "Any") -> "Task":
    """Connect the socket of *connection* to *address*, or raise OSError."""
    sock = connection.sock
    try:
        sock.connect(address)
    except BlockingIOError:
        yield sock, WRITE, connection.due()
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))


def start_tls(connection: Connection, host: str,
              settings: "Settings") -> "Task":
    """Begin TLS on *connection*, or raise OSError."""
    sock = settings.tls_context().wrap_socket(
        connection.sock, server_hostname=host.partition("%")[0],
        do_handshake_on_connect=False, suppress_ragged_eofs=False)
    connection.sock = sock
    try:
        yield from connection.when_ready(connection.due(), READ,
                                         sock.do_handshake)
    except OSError:     # among them CertificateError, from Python 3.7 on
        raise
    except ValueError as exc:   # what that was in 3.6
        raise OSError("its certificate is not to be trusted: %s" % exc)


def reason_of(exc: OSError) -> str:
    """Return what the system says about *exc*, without its number."""
    if isinstance(exc, socket.timeout):
        return "timed out"
    verification = getattr(exc, "verify_message", "")
    if verification:
        return "its certificate is not to be trusted: %s" % verification
    return exc.strerror or str(exc) or type(exc).__name__


# ---- Exchange ---------------------------------------------------------------

class Settings:
    """How requests are made: what holds for all of them.

    timeout   seconds to connect, for a head, and between bytes; None for
              no limit
    family    of addresses, 0 for any
    fields    (name, value) pairs for every request
    user      (name, password), or None
    cafile    certificates to trust in place of the system's
    insecure  trust any certificate
    raw       take content as it is, without content coding
    delays    seconds to wait after each break in a row; the last one stays
    """

    def __init__(self, timeout: "Optional[float]" = TIMEOUT, family: int = 0,
                 fields: "Sequence[Tuple[str, str]]" = (),
                 user: "Optional[Tuple[str, str]]" = None,
                 cafile: "Optional[str]" = None, insecure: bool = False,
                 raw: bool = False,
                 delays: "Sequence[float]" = RETRY_DELAYS) -> None:
        self.delays = delays
        self.timeout = float("inf") if timeout is None else timeout
        self.family = family
        self.fields = fields
        self.user = user
        self.cafile = cafile
        self.insecure = insecure
        self.raw = raw
        self._context = None  # type: Optional[ssl.SSLContext]

    def tls_context(self) -> "ssl.SSLContext":
        """Return the context for all connections by TLS.

        Raise ConnectError when the certificates cannot be read.
        """
        if self._context is None:
            try:
                import ssl
                self._context = ssl.create_default_context(cafile=self.cafile)
                # Python 3.8 to 3.10 take the end of a connection for TLS's.
                self._context.options &= ~IGNORE_UNEXPECTED_EOF
            except ImportError:
                raise ConnectError("this Python has no TLS", "use http")
            except OSError as exc:
                raise ConnectError("could not read the certificates in %s: %s"
                                   % (printable(str(self.cafile)),
                                      reason_of(exc)))
            if self.insecure:
                self._context.check_hostname = False
                self._context.verify_mode = ssl.CERT_NONE
        return self._context


class Client:
    """Makes requests, one after another, and keeps a connection for the next.

    report is told of what happens.  Credentials are for the origin of *url*
    alone.  A redirect is followed where *allowed* says so.
    """

    def __init__(self, settings: Settings, report: Report, url: URL,
                 allowed: "Callable[[URL], bool]" = lambda _: True
                 ) -> None:
        self.settings = settings
        self.report = report
        self.trusted = url.origin
        self.allowed = allowed
        self._idle = None  # type: Optional[Connection]
        self._patient_until = 0.0   # a monotonic time; see _is_alive()
        self._waits = False         # whether the user was told so

    def get(self, url: URL, fields: "Fields",
            aside: bool = False) -> "Task":
        """Return the Response for *url*, redirects followed.

        *fields* are for this request, beside those of the settings.  One
        that is made *aside* is not what the user has asked for.  Raise
        Failure.
        """
        self.report.aside = aside
        patient = aside and WANT_DIGEST in fields
        self._patient_until = time.monotonic() + DIGEST_WAIT if patient else 0
        self._waits = False
        for _ in range(REDIRECTS_MAX + 1):
            response = yield from self._get_once(url, fields)
            if response.status not in REDIRECTS or (
                    "location" not in response.fields):
                return response
            yield from response.discard()
            url = redirected(url, response.fields["location"])
            if not self.allowed(url):
                raise StatusError("it leads out of the folder, to %s" % url)
            self.report.redirected(url)
        raise StatusError("more than %d redirects" % REDIRECTS_MAX)

    def _get_once(self, url: URL, fields: "Fields") -> "Task":
        """Return the Response for *url*, whatever it is."""
        request = self._request(url, fields)
        while True:
            connection, kept = yield from self._connection(url)
            try:
                return (yield from self._exchange(connection, url, request))
            except ConnectError:
                connection.close()
                # What was kept the server may close at any time, even as the
                # request is on its way.  The next one is new.
                if not kept or connection.stalled:
                    raise
            except BaseException:
                connection.close()
                raise

    def _request(self, url: URL, fields: "Fields") -> bytes:
        """Return the head of a request; credentials are for one origin."""
        user_fields = self.settings.fields
        if url.origin != self.trusted:
            user_fields = [field for field in user_fields
                           if field[0].lower() not in FOR_ONE_ORIGIN]
        elif self.settings.user:
            fields = [*fields, ("Authorization", basic(*self.settings.user))]
        return render_request(url, fields, user_fields)

    def _connection(self, url: URL) -> "Task":
        """Return a connection for *url*, and whether it was kept."""
        connection, self._idle = self._idle, None
        if connection:
            if connection.origin == url.origin and not connection.has_input():
                return connection, True
            connection.close()
        connection = yield from connect(url, self.settings)
        self.report.connected(url, connection.sock)
        return connection, False

    def _exchange(self, connection: Connection, url: URL,
                  request: bytes) -> "Task":
        """Send *request*; return the Response, after the interim ones."""
        self.report.request(request)
        try:
            yield from connection.send(request)
        except ConnectionLost as exc:
            raise ConnectError(str(exc), IS_IT_A_SERVER)
        for _ in range(INTERIM_MAX + 1):
            head = parse_head((yield from connection.receive_head(
                lambda: self._is_alive(connection, url))))
            self.report.head(head)
            if not head.interim:
                return Response(self, connection, url, head)
            if head.status == 101:
                raise ResponseError("the server switched to another protocol,"
                                    " though nobody asked for it")
        raise ResponseError("more than %d interim responses" % INTERIM_MAX)

    def _is_alive(self, connection: Connection, url: URL) -> "Task":
        """Return whether to wait on for what was asked for on *connection*.

        Only for a digest, which may take minutes to make.  One byte that
        comes on a second connection shows that the server is there.  Raise
        NoDigest when it is not, or took too long.
        """
        if not self._patient_until:
            return False
        if time.monotonic() >= self._patient_until:
            raise NoDigest("no digest from the server within %d s"
                           % DIGEST_WAIT)
        if not self._waits:
            self.report.note("Waiting for the server's digest")
        self._waits = True
        other = Client(self.settings, Report(quiet=True), url)
        other.trusted = self.trusted
        try:
            response = yield from other._get_once(
                url, [("Range", "bytes=0-0")])
            response.close()
        except Failure as exc:
            if not connection.has_input():      # or it was busy with this
                raise NoDigest("the server does not answer any more: %s"
                               % exc.args[0])
        finally:
            other.close()
        return True

    def keep(self, connection: Connection) -> None:
        """Take back *connection*, for the next request."""
        self.close()
        self._idle = connection

    def close(self) -> None:
        """Close the connection that waits for another request."""
        if self._idle:
            self._idle.close()
            self._idle = None


class Response:
    """What a server answered: its head, and its content to be read.

    status, reason, fields   as in Head
    url                      where it came from, after redirects
    length                   bytes of the body, None where nobody knows
    coded                    the content coding it came in, "" for none
    """

    def __init__(self, client: Client, connection: Connection, url: URL,
                 head: Head) -> None:
        self.client = client
        self.connection = connection
        self.url = url
        self.head = head
        self.status = head.status
        self.reason = head.reason
        self.fields = head.fields
        self.decoder = make_decoder(body_length(head.status, head.fields))
        self.length = self.decoder.length
        coding = head.fields.get("content-encoding", "").strip().lower()
        self.coded = "" if coding == "identity" else coding
        self.coding = None  # type: Optional[GzipDecoder]
        if coding in ("gzip", "x-gzip"):
            self.coding = GzipDecoder()
        self._unknown = self.coded not in ("", "gzip", "x-gzip")
        if client.settings.raw:
            self.take_as_sent()
        self._ended = False
        self._failure = None  # type: Optional[Failure]
        if self.decoder.done:
            self._end()

    @property
    def count(self) -> int:
        """How many bytes of the body have come."""
        return self.decoder.count

    def read(self) -> "Task":
        """Return the next block of the content, b"" at its end.

        It stays valid until the next is asked for.  Raise ResponseError when
        the content is malformed, or BrokenOff, with the number of bytes so
        far, when it ends too early.
        """
        self.check_coding()
        while True:
            if self.coding:
                content = self.coding.more()
                if content:
                    return content
            if self._ended:
                if self.coding:
                    self.coding.end()
                return b""
            block = yield from self._read_body()
            if self.coding:
                self.coding.feed(block)
            elif block:
                return block

    def take_as_sent(self) -> None:
        """Do not decode the content, whatever its coding."""
        self.coding, self._unknown = None, False

    def check_coding(self) -> None:
        """Raise ResponseError for a content coding that cannot be decoded."""
        if self._unknown:
            raise ResponseError("unknown content coding '%s'" % printable(
                self.fields["content-encoding"]), "--raw saves it as it is")

    def read_into(self, data: bytearray, limit: int) -> "Task":
        """Add the content to *data*; return whether that was all of it.

        It ends with the block that makes *data* longer than *limit* bytes.
        Raise ResponseError as read() does; what had come is in *data*.
        """
        block = yield from self.read()
        while block:
            data += block
            if len(data) > limit:
                return False
            block = yield from self.read()
        return True

    def _read_body(self, deadline: "Optional[float]" = None) -> "Task":
        """Return the next block of the body, b"" where it only ended.

        For *deadline* see Connection.when_ready().
        """
        decoder = self.decoder
        if self._failure:   # it is no end, however often one asks
            raise self._failure
        try:
            data = yield from self.connection.receive(deadline)
            block = decoder.decode(data) if data else b""
            if not data and not decoder.close():
                raise ConnectionLost("the server closed the connection")
        except ConnectionLost as exc:
            self.connection.close()
            total = "" if self.length is None else " of %d" % self.length
            self._failure = BrokenOff(
                "the response broke off after %d%s bytes: %s" % (
                    self.count, total, exc), TRY_AGAIN)
            raise self._failure
        except Failure as exc:
            self.connection.close()
            self._failure = exc
            raise
        except BaseException:
            self.close()
            raise
        if decoder.done:
            self._end()
        return block

    def _end(self) -> None:
        """All of the body is read: leave the connection to the next."""
        self._ended = True
        delimited = self.length is not None or self.head.fields.get(
            "transfer-encoding")
        if (delimited and self.head.persistent and not self.decoder.excess
                and not self.connection.pending):
            self.client.keep(self.connection)
        else:
            self.connection.close()

    def discard(self) -> "Task":
        """Read what is left, if that is little; else close the connection."""
        seconds = min(DISCARD_WAIT, self.connection.timeout)
        deadline = time.monotonic() + seconds
        while not self._ended:
            if self.count > DISCARD_MAX or (self.length or 0) > DISCARD_MAX:
                self.close()
                return
            try:
                yield from self._read_body(deadline)
            except Failure:
                return

    def close(self) -> None:
        """Read no more of it."""
        if not self._ended:
            self._failure = self._failure or BrokenOff(
                "the response was closed")
            self.connection.close()

    # For those who import this file; see fetch().

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        self.client.close()

    def __iter__(self) -> "Iterator[bytes]":
        block = run(self.read())
        while block:
            yield bytes(block)
            block = run(self.read())


def fetch(url: str, *, fields: "Sequence[Tuple[str, str]]" = (),
          timeout: "Optional[float]" = TIMEOUT,
          user: "Optional[Tuple[str, str]]" = None,
          cafile: "Optional[str]" = None, insecure: bool = False,
          raw: bool = False) -> Response:
    """Return the Response for *url*; iterate over it for the content.

        with httpget.fetch("http://127.0.0.1:8080/a.txt") as response:
            content = b"".join(response)

    For the arguments see Settings.  Any status is returned, redirects are
    followed.  Raise ValueError for what is no URL, Failure when there is no
    proper response; so does the iteration.
    """
    for name, value in fields:
        parse_field("%s: %s" % (name, value))
    where = parse_url(url)
    client = Client(Settings(timeout, 0, fields, user, cafile, insecure, raw),
                    Report(quiet=True), where)
    try:
        response = run(client.get(where, []))  # type: Response
    except BaseException:   # what a redirect came by was kept
        client.close()
        raise
    return response


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
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)     # a FIFO must not hold us up
WINDOWS = os.name == "nt"
DISK_FULL = frozenset([errno.ENOSPC, errno.EROFS, getattr(
    errno, "EDQUOT", errno.ENOSPC)])
CREATE_FLAGS = OPEN_FLAGS | NOFOLLOW | os.O_RDWR | os.O_CREAT | os.O_EXCL


class Output:
    """Writes content, unchanged, to a descriptor: a pipe, a device.

    written    bytes of content that are there
    validator  by which to ask for the rest of the same version, "" for none
    length     bytes of that version, None where nobody knows
    source     where it came from, see source_of(); "" for not known
    """

    # Whether it can begin anew although something is written.
    is_file = False

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.written = 0
        self.validator = self.source = ""
        self.length = None  # type: Optional[int]

    def write(self, block: "Block") -> None:
        """Write all of *block*; raise OutputError or ReaderGone."""
        self._write(block)
        self.written += len(block)

    def _write(self, block: "Block") -> None:
        while len(block):
            try:
                count = os.write(self.fd, block)
            except BlockingIOError:     # a pipe whose other end made it so
                import select
                select.select([], [self.fd], [])
                continue
            except BrokenPipeError:
                raise ReaderGone()
            except OSError as exc:
                raise not_written(self.name, exc)
            block = block[count:]

    def remember(self, validator: str, length: "Optional[int]",
                 source: str) -> None:
        """Note which version is being written."""
        self.validator, self.length, self.source = validator, length, source

    def blocks(self) -> "Iterator[bytes]":
        """Yield what an earlier run has written."""
        return iter(())

    def restart(self) -> None:
        """Begin, or begin anew, for the file has changed.

        Raise ResponseError where that is too late, or OutputError.
        """
        if self.written:
            raise ResponseError("the file changed after %d bytes of it were"
                                " written" % self.written, TRY_AGAIN)

    def finish(self, modified: str = "") -> None:
        """Complete the output, after the last block.

        A file's time is that of the HTTP-date *modified*, if it is one.
        """
        self._close()

    def abandon(self) -> str:
        """Give up; return what the user should know about what is left."""
        self._close()
        return ""

    def destroy(self) -> None:
        """Give up, and leave nothing, for it is wrong."""
        self.abandon()

    def _close(self) -> None:
        if self.fd not in (-1, STDOUT, STDERR):
            fd, self.fd = self.fd, -1   # closed for good, even on an error
            try:
                os.close(fd)
            except OSError as exc:
                raise not_written(self.name, exc)


class TerminalOutput(Output):
    """Shows content that is text, with control characters escaped."""

    def __init__(self, fd: int, encoding: str) -> None:
        import codecs
        super().__init__(fd, "the terminal")
        self.encoding = encoding
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.held = ""          # a CR, until it is known whether LF follows
        self.line_open = False  # whether the cursor stands within a line

    def write(self, block: "Block") -> None:
        """Show *block*; raise OutputError, and show nothing, if binary."""
        self._show(bytes(block), False)
        self.written += len(block)

    def finish(self, modified: str = "") -> None:
        """Show what was held back, and end the line."""
        self._show(b"", True)
        self.abandon()

    def abandon(self) -> str:
        """End the line, for the message that follows."""
        if self.line_open:
            self._write(b"\n")
            self.line_open = False
        return ""

    def _show(self, data: bytes, final: bool) -> None:
        try:
            text = self.held + self.decoder.decode(data, final)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise OutputError("the content is binary and would upset the"
                              " terminal", "save it with -o FILE (or force it"
                              " with -o -)")
        self.held = "\r" if text.endswith("\r") and not final else ""
        text = safe_text(text[:len(text) - len(self.held)])
        if text:
            self.line_open = not text.endswith("\n")
            self._write(text.encode(self.encoding, "backslashreplace"))


class FileOutput(Output):
    """Collects content in NAME.part, and renames that when it is whole.

    Its version is noted beside it, in NAME.part.json, for a later run.
    """

    is_file = True

    def __init__(self, name: str, mode: int, url: str = "",
                 resume: bool = False, prefix: str = "",
                 replace: bool = True) -> None:
        """Prepare for a part with permissions *mode* less the umask.

        restart() creates it.  *resume*: or go on with the one that is there,
        if it is noted to be one of *url*.  The part's name begins with
        *prefix*.  *replace*: whether it may become NAME where there is one.
        Raise OutputError when another program is writing it.
        """
        super().__init__(-1, name)
        self.mode = mode
        self.url = url
        self.replace = replace
        self.part = part_name(name, prefix)
        self.notes = self.part + NOTES_SUFFIX
        self.whole = False      # whether the part has all of the content
        if resume:
            self._resume()

    def _resume(self) -> None:
        """Open the part of an earlier run, if its version is known."""
        import json
        try:
            notes = json.loads(read_small(self.notes))
            validator, length = notes["validator"], notes["length"]
            source = notes["source"]
            if (notes["url"] != self.url or not isinstance(source, str)
                    or not isinstance(validator, str)
                    or not is_validator(validator)
                    or not isinstance(length, (int, type(None)))):
                return
            fd = os.open(self.part, OPEN_FLAGS | NOFOLLOW | os.O_RDWR
                         | NONBLOCK)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1 or (
                hasattr(os, "getuid") and state.st_uid != os.getuid()):
            os.close(fd)
            return
        self.fd = fd
        self._lock()
        super().remember(validator, length, source)
        self.written = os.lseek(fd, 0, os.SEEK_END)

    def _lock(self) -> None:
        """Raise OutputError if another program writes this part."""
        try:
            lock_file(self.fd)
        except BlockingIOError:
            self._close()
            raise self._in_use()

    def _in_use(self) -> OutputError:
        return OutputError("another program is writing %s"
                           % printable(self.part), "wait for it")

    def remember(self, validator: str, length: "Optional[int]",
                 source: str) -> None:
        """Note which version is being written."""
        import json
        super().remember(validator, length, source)
        try:
            remove(self.notes)
            if validator:
                fd = os.open(self.notes, CREATE_FLAGS, 0o600)
                with open(fd, "w", encoding="utf-8") as file:
                    json.dump({"url": self.url, "source": source,
                               "validator": validator, "length": length},
                              file)
        except OSError as exc:
            raise not_written(self.notes, exc)

    def blocks(self) -> "Iterator[bytes]":
        """Yield what an earlier run has written."""
        left = self.written
        if left:
            os.lseek(self.fd, 0, os.SEEK_SET)
        while left:
            try:
                block = os.read(self.fd, min(left, RECEIVE_SIZE))
            except OSError as exc:
                raise not_read(self.part, exc)
            if not block:
                raise OutputError("%s became shorter meanwhile"
                                  % printable(self.part), TRY_AGAIN)
            left -= len(block)
            yield block

    def restart(self) -> None:
        """Begin, or begin anew, for the file has changed.

        With a new file: the old one may by now be another program's.
        """
        self._close()
        try:
            remove(self.notes)
            with locked(self.part):
                remove(self.part)
            # O_EXCL: what is opened is new, nobody's link or device.
            self.fd = os.open(self.part, CREATE_FLAGS, self.mode)
        except BlockingIOError:
            raise self._in_use()
        except OSError as exc:
            raise not_written(exc.filename, exc)
        self._lock()
        self.written = 0

    def finish(self, modified: str = "") -> None:
        """Rename the part, once all of it is on the disk."""
        try:
            os.fsync(self.fd)
            if not self._is_mine():
                raise OutputError("%s was replaced by another program, so %s"
                                  " is left as it was" % (
                                      printable(self.part),
                                      printable(self.name)), TRY_AGAIN)
            self.whole = True
            self._close()
            mtime = http_time(modified)
            if mtime is not None:
                os.utime(self.part, (mtime, mtime))
            if self.replace:
                os.replace(self.part, self.name)
            else:
                rename(self.part, self.name)
            remove(self.notes)
        except FileExistsError:
            raise OutputError(
                "%s is there already" % printable(self.name),
                "--force replaces it")
        except OSError as exc:
            raise not_written(self.name, exc)

    def abandon(self) -> str:
        """Close the part; keep it if there is anything in it."""
        if self.fd < 0:
            return ("all of it is in %s" % printable(self.part)
                    if self.whole and os.path.lexists(self.part) else "")
        size = os.fstat(self.fd).st_size
        if not size:
            self.destroy()
            return ""
        mine = self._is_mine()
        self._close()
        if not mine:
            return ""
        return "%s kept in %s" % (size_text(size), printable(self.part))

    def destroy(self) -> None:
        """Give up, and leave nothing, for it is wrong."""
        if self.fd < 0:
            return
        mine = self._is_mine()
        self._close()
        try:
            if mine:
                remove(self.part)
                remove(self.notes)
        except OSError as exc:
            raise not_written(self.part, exc)

    def _is_mine(self) -> bool:
        """Whether the part's name still means the file that is open."""
        try:
            return os.path.samestat(os.lstat(self.part), os.fstat(self.fd))
        except OSError:     # gone, or out of reach
            return False


def lock_file(fd: int) -> None:
    """Raise BlockingIOError if another program has locked the file *fd*."""
    try:
        import fcntl
    except ImportError:     # Windows
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass    # a file system without locks


@contextmanager
def locked(path: str) -> "Iterator[None]":
    """Hold the lock of the file at *path*, if it is one.

    Raise BlockingIOError where another program holds it.
    """
    try:
        # Windows has no locks of this kind, nor removes what is open.
        fd = -1 if WINDOWS else os.open(path, OPEN_FLAGS | NOFOLLOW | NONBLOCK)
    except OSError:
        fd = -1
    if fd < 0:
        yield
        return
    try:
        lock_file(fd)
        yield
    finally:
        os.close(fd)


def rename(old: str, new: str) -> None:
    """Rename file *old*; raise FileExistsError where *new* is there."""
    try:
        os.link(old, new)
    except FileExistsError:
        raise
    except (OSError, AttributeError):   # a file system without links
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        os.replace(old, new)
    else:
        os.unlink(old)


def remove(path: str) -> None:
    """Remove the file at *path*, if there is one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def read_small(path: str) -> str:
    """Return the text of the regular file *path*, of NOTES_MAX bytes.

    Raise OSError, or ValueError for what is no such file.
    """
    fd = os.open(path, OPEN_FLAGS | NOFOLLOW | NONBLOCK | os.O_RDONLY)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("%s is no file" % path)
        return file.read(NOTES_MAX).decode("utf-8")


def part_name(name: str, prefix: str = "") -> str:
    """Return where the content of file *name* is collected.

    A name that is too long for more suffixes gives way to its digest.
    """
    folder, base = os.path.split(name)
    if len(os.fsencode(prefix + base + PART_SUFFIX + NOTES_SUFFIX)) > NAME_MAX:
        import hashlib
        base = hashlib.sha256(os.fsencode(base)).hexdigest()
    return os.path.join(folder, prefix + base + PART_SUFFIX)


def open_output(name: "Optional[str]", url: str, resume: bool,
                replace: bool) -> Output:
    """Return the Output for -o *name*; None means that -o was not given.

    *resume*: go on with a part of *url*.  *replace*: whether a file that is
    there may be replaced.  Raise OutputError.
    """
    if name is None or name == "-":
        if sys.stdout is None:
            raise OutputError("standard output is closed", "use -o FILE")
        if name is None and os.isatty(STDOUT):
            return TerminalOutput(STDOUT, sys.stdout.encoding or "utf-8")
        return Output(STDOUT, "standard output")
    try:
        state = os.stat(name)
        if stat.S_ISDIR(state.st_mode):
            raise OutputError("%s is a folder" % printable(name),
                              "name a file in it")
        if not stat.S_ISREG(state.st_mode):
            return Output(os.open(name, OPEN_FLAGS | os.O_WRONLY), name)
    except FileNotFoundError:
        return FileOutput(name, 0o666, url, resume, replace=replace)
    except OSError as exc:
        raise not_written(name, exc)
    if sys.stdout is not None and os.path.samestat(state, os.fstat(STDOUT)):
        # As /dev/stdout, whose link must not be replaced.
        return Output(STDOUT, name)
    return FileOutput(name, permissions(state), url, resume, replace=replace)


def permissions(state: os.stat_result) -> int:
    """Return those of a file that is replaced: the private stays private."""
    return stat.S_IMODE(state.st_mode) & 0o777


def not_read(name: str, exc: OSError) -> OutputError:
    """Return the error that says that *name* could not be read."""
    return OutputError("could not read %s: %s" % (printable(name),
                                                  reason_of(exc)))


def not_written(name: str, exc: OSError) -> OutputError:
    """Return the error that says that *name* could not be written."""
    error = OutputError(
        "could not write %s: %s" % (printable(name), reason_of(exc)),
        "make room or choose another -o FILE")
    error.hopeless = exc.errno in DISK_FULL
    return error


# ---- Transfer ---------------------------------------------------------------

# Who asks again when something breaks, how often, and what counts anew after:
#
#   a kept connection closes    Client._get_once   once, at once
#   a file breaks off           Transfer._fetch    --retries; a new byte
#   what is there is no part    Transfer._fetch    at once, from the start
#   a listing breaks off, or    Mirror._do         --retries for all of the
#     the server is gone                           copy; a job done


def retry_delay(breaks: int, delays: "Sequence[float]") -> float:
    """Return the seconds to wait where there were so many *breaks* before.

    >>> [retry_delay(breaks, RETRY_DELAYS) for breaks in (0, 1, 9)]
    [1, 2, 30]
    """
    return delays[min(breaks, len(delays) - 1)]


class NotProved(Exception):
    """Why the content could not be compared with the server's digest."""


class Transfer:
    """One file on its way: fetched, resumed where it breaks, and proved.

    wanted    value of a Range field, or "" for the whole file
    retries   breaks in a row, without a byte between, that are coped with
    fields    for each request
    hasher    for the SHA-256 of what is written, or None for a range
    response  the last one that was of use
    fetched   bytes of content that have come
    """

    def __init__(self, client: Client, url: URL, output: Output,
                 wanted: str, retries: int,
                 fields: "Sequence[Tuple[str, str]]" = ()) -> None:
        import hashlib
        self.client = client
        self.url = url
        self.output = output
        self.wanted = wanted
        self.retries = retries
        self.fields = fields
        self.hasher = None if wanted else hashlib.sha256()
        self.response = None  # type: Optional[Response]
        self.fetched = 0

    def run(self) -> "Task":
        """Write the content; return what is to be said of it.

        Raise Failure, whose text then says what became of the part.
        """
        try:
            for block in self.output.blocks():
                if self.hasher:
                    update(self.hasher, block)
            self.client.report.begin(self.output.written)
            proof = yield from self._fetch()
            assert self.response
            self.output.finish(self.response.fields.get("last-modified", ""))
            return ", ".join(part for part in (self._as_sent(), proof) if part)
        except KeyboardInterrupt:
            raise Interrupted("interrupted", self.output.abandon())
        except DigestError:
            self.output.destroy()
            raise
        except GeneratorExit:
            self.output.abandon()
            raise
        except Failure as exc:
            exc.args += (self.output.abandon(),)
            raise

    def _as_sent(self) -> str:
        """Return what is to be said of a file that is coded, else ""."""
        assert self.response
        coded = self.response.coded if self.output.is_file else ""
        return coded and "saved as sent, " + printable(coded)

    def _fetch(self) -> "Task":
        """Make requests until all is written; return its proof."""
        breaks = 0
        most = self.output.written
        while True:
            try:
                # The second break in a row: perhaps where a redirect led is
                # gone.
                if not (yield from self._attempt(stuck=breaks > 1)):
                    continue
                return (yield from self._prove())
            except (BrokenOff, ConnectError, Unavailable) as exc:
                # To begin anew is no progress: that could go on for ever.
                if self.output.written > most:
                    breaks, most = 0, self.output.written
                if breaks == self.retries or not self._can_go_on(exc):
                    raise
                delay = retry_delay(breaks, self.client.settings.delays)
                breaks += 1
                self.client.report.retry(exc, delay)
                yield from pause(delay)

    def _can_go_on(self, exc: Failure) -> bool:
        """Whether another request, after *exc*, can complete what is there.

        Not where no answer ever began: the user may have the wrong host.
        """
        answered = self.response is not None or isinstance(exc, BrokenOff)
        return (answered and not self.wanted
                and (self.output.is_file or not self.output.written
                     or self.output.validator != ""))

    def _attempt(self, stuck: bool) -> "Task":
        """Make one request and write its content.

        Return whether all is there now; else another one must be made.
        """
        url, fields, asked = self._next_request(stuck)
        response = yield from self.client.get(url, fields)
        try:
            if not (response.head.success or asked and response.status == 416):
                yield from self._refuse(response, str(url) != str(self.url))
            planned = self._plan(response, asked)
            if planned.action != APPEND:
                self._begin(response, planned)
            if planned.action == AGAIN:
                return False
            self.response = response
            yield from self._copy(response, planned.skip, planned.expected)
        finally:
            response.close()
        return True

    def _next_request(self, stuck: bool) -> "Tuple[URL, Fields, int]":
        """Return where to ask, with which fields, and from which position.

        The rest is asked for where the beginning came from, unless that is
        *stuck*: a redirect may lead to another server each time.
        """
        output = self.output
        url = self.url
        fields = [*self.fields]
        asked = 0
        coding = "identity"
        if self.wanted:
            fields.append(("Range", self.wanted))
        elif output.written and output.validator:
            # One byte is asked for twice: of a file that is complete "N-"
            # would be a 416, which tells nothing about the version.  Where
            # it is the only one, that is no part but the whole file.
            asked = output.written - 1
            if asked:
                fields += [("Range", "bytes=%d-" % asked),
                           ("If-Range", output.validator)]
            if self.response and not stuck:
                url = self.response.url
        elif not (self.client.settings.raw or output.is_file):
            coding = "gzip"
        fields.append(("Accept-Encoding", coding))
        return url, fields, asked

    def _plan(self, response: Response, asked: int) -> Plan:
        """Return the Plan for *response*; a file gets it as it was sent."""
        if self.output.is_file:
            response.take_as_sent()
        response.check_coding()
        if self.wanted:
            return Plan(RESTART, 0, self._selected(response))
        output = self.output
        same = output.source in ("", source_of(response))
        return plan(response.status, response.fields, response.length,
                    response.coding is not None,
                    Have(output.written, asked,
                         output.validator if same else "", output.length))

    def _begin(self, response: Response, planned: Plan) -> None:
        """Begin, or begin anew, as *planned*."""
        import hashlib
        validator = source = ""     # of a range there is no rest to ask for
        if planned.action == AGAIN:
            self.client.report.note(
                "%s is not a part of what the server has; beginning anew"
                % printable(self.output.name))
        elif not self.wanted:
            source = source_of(response)
            if not response.coding:
                validator = strong_validator(response.fields)
        self.output.restart()
        self.output.remember(validator, planned.expected, source)
        self.hasher = None if self.wanted else hashlib.sha256()
        self.client.report.begin(0)

    def _selected(self, response: Response) -> int:
        """Return how many bytes the 206 for the wanted range has.

        Raise ResponseError unless it is one.
        """
        if response.status != 206:
            raise ResponseError("the server does not send ranges of this")
        part = parse_content_range(response.fields)
        if (not part or part.first < 0 or response.coding
                or not is_selected(self.wanted, *part)
                or response.length not in (None, part.size)):
            raise other_part(response.fields)
        return part.size

    def _copy(self, response: Response, skip: int,
              expected: "Optional[int]") -> "Task":
        """Write the content, but for the first *skip* bytes of it.

        Raise BrokenOff or ResponseError unless *expected* bytes come then;
        None where nobody knows how many.
        """
        count = -skip
        block = yield from response.read()
        while block:
            count += len(block)
            if expected is not None and count > expected:
                raise ResponseError("malformed response: more bytes than"
                                    " there are of the file")
            if count > 0:
                block = block[max(0, len(block) - count):]
                self.output.write(block)
                self.fetched += len(block)
                if self.hasher:
                    update(self.hasher, block)
                self.client.report.progress(self.output.written,
                                            self.output.length)
            block = yield from response.read()
        if count < 0 or expected is not None and count < expected:
            raise BrokenOff("the response broke off after %d bytes: it was"
                            " shorter than it said" % self.output.written,
                            TRY_AGAIN)

    def _refuse(self, response: Response, elsewhere: bool) -> "Task":
        """Show the content of an error, and raise the StatusError for it.

        It is Unavailable where another request may do better: of a server in
        trouble, or of the one to which an earlier redirect led (*elsewhere*).
        """
        if self.client.report.verbose:
            yield from show_error(self.client.report, response)
        else:
            yield from response.discard()
        text = "the server answered %s for %s" % (
            shown(response.head.lines[0].partition(b" ")[2]),
            response.url.target)
        again = self.response and (response.status >= 500 or elsewhere)
        error = (Unavailable if again else StatusError)(text)
        error.status = response.status
        raise error

    def _prove(self) -> "Task":
        """Compare with the server's digest, where it has one.

        Return "verified sha-256", "not verified" and why, or "" where the
        server gives none; raise DigestError, or BrokenOff where the file
        turns out to be longer.
        """
        response = self.response
        assert response
        if not self.hasher:
            return ""
        digest = None
        why = ""
        if not response.coding:
            digest = parse_digest(response.fields.get("repr-digest", ""))
        if not digest and self.output.written and (
                response.status == 206 or "bytes" in response.fields.get(
                    "accept-ranges", "").lower()):
            try:
                digest = yield from self._ask_digest(response)
            except NotProved as exc:
                why = "not verified: %s" % exc
        if not digest:
            return why
        if digest != self.hasher.digest():
            raise DigestError("the content is not what the server has, by its"
                              " sha-256", TRY_AGAIN)
        return "verified sha-256"

    def _ask_digest(self, response: Response) -> "Task":
        """Return the SHA-256 of this version, by a request for one byte.

        None without one.  Raise NotProved where that cannot be known,
        DigestError or BrokenOff where this version has another length.
        """
        validator = self.output.validator
        fields = []
        if validator.startswith('"'):
            fields.append(("If-Match", validator))
        try:
            answer, length, digest = yield from ask_version(
                self.client, response.url, [WANT_DIGEST, *fields])
        except Failure as exc:  # the content is there; only the proof is not
            raise NotProved(exc.args[0])
        if answer.status == 200 or length is None:
            return None
        written = self.output.written
        if length != written and is_same_version(answer.fields, validator):
            if length < written:
                raise DigestError("the content is not what the server has:"
                                  " %d bytes, not %d" % (written, length))
            raise BrokenOff("the response broke off after %d of %d bytes"
                            " without a sign" % (written, length), TRY_AGAIN)
        # Gzip made on the way out has an ETag of its own; this is not coded.
        names = ["last-modified"] if response.coding else [
            "last-modified", "etag"]
        same = [answer.fields.get(name) == response.fields.get(name)
                for name in names if name in response.fields]
        if (length != written or not all(same)
                or not response.coding and answer.coded != response.coded):
            raise NotProved("it is another version by now")
        return digest if same else None     # else nobody knows


def source_of(response: Response) -> str:
    """Return from where, and in which coding, *response* is.

    Careless servers give the same entity tag to all codings.
    """
    return " ".join([str(response.url), response.coded]).rstrip()


def ask_version(client: Client, url: URL, fields: "Fields") -> "Task":
    """Ask for one byte of *url*, with *fields*; see WANT_DIGEST.

    Return (the response, the file's length or None, its SHA-256 or None).
    Raise Failure, NoDigest among them.
    """
    answer = yield from client.get(url, [
        *fields, ("Range", "bytes=0-0"), ("Accept-Encoding", "identity")],
        aside=True)
    yield from answer.discard()
    if answer.status not in (200, 206, 416) and WANT_DIGEST in fields:
        raise NoDigest("the server answered %d to the question for its digest"
                       % answer.status)
    length = None
    part = parse_content_range(answer.fields)
    if answer.status in (206, 416) and part and part.length >= 0:
        length = part.length    # 416: there is no first byte
    elif answer.status == 200:
        length = answer.length
    return answer, length, parse_digest(answer.fields.get("repr-digest", ""))


def is_complete(client: Client, url: URL, name: str) -> "Task":
    """Return "complete already" if file *name*, without a part, is *url*'s.

    Else "".  By the server's digest, or, where it gives none, by size and
    time.  Compare Mirror._is_current().
    """
    try:
        state = os.stat(name)
        if os.path.exists(part_name(name)) or not stat.S_ISREG(state.st_mode):
            return ""
    except OSError:
        return ""
    length, says = None, "complete already"
    try:
        answer, length, digest = yield from ask_version(client, url,
                                                        [WANT_DIGEST])
    except (ConnectError, BrokenOff) as exc:
        says += ", not verified: %s" % exc.args[0]
    if length is None:      # perhaps only for want of its digest
        answer, length, digest = yield from ask_version(client, url, [])
    if length is None or length != state.st_size:
        if length is not None and length < state.st_size:
            client.report.note("%s is longer than what the server has"
                               % printable(name))
        return ""
    if digest:
        same = digest == digest_of(name)
        says += ", verified sha-256"
    else:
        mtime = http_time(answer.fields.get("last-modified", ""))
        same = not length or mtime is not None and is_same_time(
            mtime, state.st_mtime_ns)
    return says if same else ""


def digest_of(name: str) -> bytes:
    """Return the SHA-256 of the file *name*; raise OutputError."""
    import hashlib
    hasher = hashlib.sha256()
    try:
        with open(name, "rb") as file:
            for block in iter(lambda: file.read(RECEIVE_SIZE), b""):
                update(hasher, block)
    except OSError as exc:
        raise not_read(name, exc)
    return hasher.digest()


def update(hasher: "Any", block: "Block") -> None:
    """Feed *block* to *hasher*."""
    # As a copy, for PyPy makes one of anything but a bytearray, which it
    # collects too rarely.
    hasher.update(bytearray(block))


def show_error(report: Report, response: Response) -> "Task":
    """Show the beginning of the content of *response*."""
    data = bytearray()
    note = ""
    try:
        if not (yield from response.read_into(data, ERROR_SHOWN_MAX)):
            note = "(and more)"
    except ResponseError as exc:    # the status is the news, not this
        note = "(%s)" % exc
    report.error_content(bytes(data[:ERROR_SHOWN_MAX]), note)


# ---- Copying a folder -------------------------------------------------------

class Mirror:
    """Copies what a server lists below a folder into a folder here.

    jobs      what is still to be done: (URL, path here, above, entry).  The
              first three are those of the folder that lists the entry, and
              one object for all of its entries, for there may be many.
              above has the mark and the URL of this folder and those above
    below     what a page above has named in a folder: {path here: entries}
    failures  one line for each thing that could not be copied
    breaks    in a row, of the server: until a job is done
    """

    TOP = Entry("", True)   # stands for the folder itself: nothing lists it

    def __init__(self, url: URL, folder: str, name: str, client: Client,
                 retries: int) -> None:
        """Prepare to copy *url* as *name* in *folder*, "" for right there.

        *client* tells how requests are made, and for whom credentials are.
        """
        self.url = url
        self.folder = folder
        self.settings = client.settings
        self.report = client.report
        self.trusted = client.trusted   # not always the origin of *url*
        self.retries = retries
        path = os.path.join(folder, name) if name else folder
        self.jobs = [(url, path, (), self.TOP)]  # type: List[Job]
        self.busy = 0           # tasks that may yet add jobs: those that they
                                # find in a folder, or their own once more
        self.below = {}  # type: Dict[str, List[Entry]]
        self.held = 0           # entries in it
        self.failures = []  # type: List[str]
        self.fetched = self.unchanged = self.bytes = 0
        self.answered = False   # whether the server has, ever
        self.breaks = 0
        self.until = 0.0        # when it is to be asked again

    def run(self) -> None:
        """Copy everything; raise Failure when something could not be."""
        started = time.monotonic()
        try:
            run(*[self._work() for _ in range(CONNECTIONS)])
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(
                "interrupted", "%s %s copied, and what has come of others"
                " is kept" % (counted(self.fetched, "file"),
                              "is" if self.fetched == 1 else "are"),
                "the same command goes on")
        finally:
            self.report.clear()
            for line in self.failures:
                say("httpget.py: %s" % line)
        self.report.note("%s, %s in %.1f s; %d unchanged; %d failed" % (
            counted(self.fetched, "file"), size_text(self.bytes),
            time.monotonic() - started, self.unchanged, len(self.failures)))
        if self.failures:
            raise StatusError("not all of %s was copied" % self.url)

    def _work(self) -> "Task":
        """Do jobs, over one connection, until there are no more."""
        client = Client(self.settings, Report(quiet=True), self.url)
        client.trusted = self.trusted
        try:
            while self.jobs or self.busy:
                if not self.jobs:
                    yield from pause(LISTING_WAIT)
                    continue
                self.busy += 1
                try:
                    yield from self._do(client, self.jobs.pop())
                finally:
                    self.busy -= 1
                self.report.copied(self.fetched, self.unchanged, self.bytes)
        finally:
            client.close()

    def _do(self, client: Client, job: "Job") -> "Task":
        """Do *job*, or note why it could not be done."""
        url, path, above, entry = job
        if entry is not self.TOP:
            url = entry_url(url, entry)
            path = os.path.join(path, file_name(entry.name))
        client.allowed = partial(self._may_follow, url)
        try:
            if entry.is_folder:
                yield from self._folder(client, url, path, above, entry)
            else:
                yield from self._file(client, url, path, entry)
            self.breaks = 0
        except Interrupted:
            raise
        except IsFolder:
            entry.is_folder = True
            self.jobs.append(job)
        except Failure as exc:
            if exc.hopeless or not self.answered:
                raise
            if self._ask_again(job, exc):
                yield from pause(self.until - time.monotonic())
            elif self.breaks > self.retries + CONNECTIONS:
                exc.args += ("the same command goes on",)
                raise
            else:
                self.failures.append("%s: %s" % (url, exc))

    def _ask_again(self, job: "Job", exc: Failure) -> bool:
        """Put *job* back after *exc*, if that is a break and not the last.

        Of the tasks that notice it at the same time the first counts.  For a
        file that broke off its Transfer has asked again already.  Of those
        after the last, which fail, only a server that is gone counts: each
        name that waits would take a timeout more.
        """
        if not (isinstance(exc, ConnectError)
                or isinstance(exc, BrokenOff) and job[3].is_folder):
            return False
        now = time.monotonic()
        if now >= self.until:
            if self.breaks >= self.retries:
                if isinstance(exc, ConnectError):
                    self.breaks += 1
                return False
            delay = retry_delay(self.breaks, self.settings.delays)
            self.breaks += 1
            self.until = now + delay
            self.report.retry(exc, delay)
        self.jobs.append(job)
        return True

    def _folder(self, client: Client, url: URL, path: str,
                above: "Tuple[Tuple[int, URL], ...]",
                folder: Entry) -> "Task":
        """Read the listing at *url*; note what is to be done for it."""
        base, listed = url, []  # type: Tuple[URL, List[Entry]]
        if folder.is_linked:
            try:
                base, listed = yield from self._listing(client, url)
            except StatusError as exc:
                if path not in self.below:
                    raise
                self.failures.append("%s: %s" % (url, exc))
        mark = hash(frozenset((each.name, each.folders, each.is_folder,
                               each.size, each.mtime) for each in listed))
        yield from self._check_loop(client, base, listed, mark, above)
        if path != self.folder:     # which may be a link: the user named it
            make_folder(path)
        if len(above) == DEPTH_MAX:
            raise ResponseError("folders are nested more than %d deep"
                                % DEPTH_MAX)
        above += ((mark, base),)
        taken = set()  # type: Set[str]
        for name, entry in self._gather(path, listed).items():
            here = os.path.normcase(file_name(name)) if is_name(name) else ""
            if here and here not in taken:
                taken.add(here)
                self.jobs.append((base, path, above, entry))
            else:
                self.failures.append("%s: it lists '%s', which %s" % (
                    base, printable(name), "would be saved as another one"
                    if here else "is no name"))

    def _check_loop(self, client: Client, base: URL, listed: "List[Entry]",
                    mark: int, above: "Tuple[Tuple[int, URL], ...]"
                    ) -> "Task":
        """Raise StatusError if a link has led back to a folder above.

        Its listing is the same, by its *mark*, and a file in both, too.
        Where there is no file, it takes LOOP_MIN of them on the way.
        """
        same = [url for its_mark, url in above if its_mark == mark]
        if not same or not listed:
            return
        text = "it lists the same as %s: a loop of links" % same[-1]
        for entry in listed:
            if entry.is_folder or entry.folders:
                continue
            if None not in (entry.size, entry.mtime):
                raise StatusError(text)
            try:
                found = []
                for url in (base, same[-1]):
                    url = entry_url(url, entry)
                    client.allowed = partial(self._may_follow, url)
                    found.append((yield from self._ask(client, url, 0)))
            except IsFolder:
                entry.is_folder = True
            except StatusError:
                pass
            else:
                if found[0] != found[1]:
                    return
                if found[0][0] is not None:
                    raise StatusError(text)
        if len(same) >= LOOP_MIN - 1:
            raise StatusError(text)

    def _gather(self, path: str,
                listed: "List[Entry]") -> "OrderedDict[str, Entry]":
        """Return what is to be done in the folder *path*, by name.

        That is what is *listed*, and what pages above have named in it.
        What is deeper waits until its folder is done, so that nothing is
        done twice.
        """
        named = self.below.pop(path, [])
        self.held -= len(named)
        entries = OrderedDict()  # type: OrderedDict[str, Entry]
        for entry in listed + named:
            if entry.folders:
                name = entry.folders[0]
                entry.folders = entry.folders[1:]
                self.below.setdefault(os.path.join(path, file_name(name)),
                                      []).append(entry)
                self.held += 1
                entry = Entry(name, True, is_linked=False)
            known = entries.setdefault(entry.name, entry)
            if known.is_folder or entry.is_folder:
                known.is_folder = True
                known.is_linked = known.is_linked or entry.is_linked
            else:
                entries[entry.name] = entry
        return entries

    def _listing(self, client: Client, url: URL) -> "Task":
        """Read the listing at *url*.

        Return (where it came from, its entries).  It is asked for as JSON,
        and, where that is of another shape, as HTML.
        """
        for media in ("application/json, text/html;q=0.9", "text/html"):
            response = yield from client.get(url, [("Accept", media)])
            self.answered = True
            try:
                if response.status != 200:
                    raise StatusError("the server answered %d"
                                      % response.status)
                data = bytearray()
                if not (yield from response.read_into(data, LISTING_MAX)):
                    raise ResponseError("the listing is longer than %d bytes"
                                        % LISTING_MAX)
            finally:
                response.close()
            text = bytes(data).decode("utf-8", "surrogateescape")
            is_json = "json" in response.fields.get("content-type", "")
            try:
                listed = list(islice(
                    parse_json_listing(text) if is_json else
                    parse_html_listing(text, response.url), JOBS_MAX + 1))
            except NoListing:
                if media == "text/html":
                    raise
                continue
            break
        if len(listed) + len(self.jobs) + self.held > JOBS_MAX:
            raise ResponseError("more than %d names are listed" % JOBS_MAX)
        if not is_json and media == "text/html" or (
                any(entry.of_page for entry in listed)
                and not (yield from self._has_page(client, response.url))):
            listed = [entry for entry in listed if not entry.of_page]
        elif not is_json and INDEX not in [entry.name for entry in listed
                                           if not entry.folders]:
            listed.append(Entry(INDEX, False))      # perhaps this page
        return response.url, listed

    def _has_page(self, client: Client, url: URL) -> "Task":
        """Return whether what is at *url* is a page, and no listing.

        Then its pictures are part of the folder, not of the server.
        """
        try:
            answer = yield from client.get(
                entry_url(url, Entry(INDEX, False)), [("Range", "bytes=0-0")])
        except StatusError:
            return False
        yield from answer.discard()
        return answer.status in (200, 206, 416)

    def _may_follow(self, asked: URL, url: URL) -> bool:
        """Whether *url* is in the folder that is copied.

        Raise IsFolder where it is the folder by the name that was *asked*
        for: some servers list folders without their slash.
        """
        top = self.url.target.rstrip("/") + "/"
        inside = (url.origin == self.url.origin
                  and (url.target + "/").startswith(top)
                  and not DOTS.search(url.path))
        if (inside and not asked.path.endswith("/")     # or it would not end
                and decoded(url.path) == decoded(asked.path) + "/"):
            raise IsFolder("it is a folder")
        return inside

    def _file(self, client: Client, url: URL, path: str,
              entry: Entry) -> "Task":
        """Copy one file, unless the copy that is there is as new."""
        mode = 0o666
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise not_written(path, exc)
        else:
            is_file = stat.S_ISREG(state.st_mode)
            # Of a folder that is there the server may tell that it is one.
            current = (is_file or stat.S_ISDIR(state.st_mode)) and (
                yield from self._is_current(client, url, entry, path, state))
            if not is_file:
                raise OutputError("%s is there and no file" % printable(path))
            if current:
                self.unchanged += 1
                return
            mode = permissions(state)
        fields = []  # type: Fields
        if entry.size is not None and entry.size <= DIGEST_ASKED_MAX:
            fields.append(WANT_DIGEST)
        # No name in a copy begins with a dot, so that of no part is one.
        output = FileOutput(path, mode, str(url), resume=True, prefix=".")
        transfer = Transfer(client, url, output, "", self.retries, fields)
        try:
            yield from transfer.run()
        except StatusError as exc:
            if entry.name == INDEX and entry.size is None and (
                    exc.status == 404):
                return      # the page was a listing
            raise
        assert transfer.response
        if transfer.response.coded:
            self.report.note("%s: saved as sent, %s" % (
                printable(path), printable(transfer.response.coded)))
        self.fetched += 1
        self.bytes += transfer.fetched
        if entry.mtime is not None:     # Last-Modified may be another
            try:
                os.utime(path, (entry.mtime, entry.mtime))
            except OSError as exc:
                raise not_written(path, exc)

    def _is_current(self, client: Client, url: URL, entry: Entry,
                    path: str, state: os.stat_result) -> "Task":
        """Return whether the file that is there has the same size and time.

        The server is asked for what the listing does not tell of them.  A
        digest counts, too: some times say nothing, and are not sent.
        """
        size, mtime, digest = entry.size, entry.mtime, None
        if size is None or size == state.st_size and mtime is None:
            size, mtime, digest = yield from self._ask(client, url,
                                                       state.st_size)
        if size != state.st_size:
            return False
        if mtime is not None and is_same_time(mtime, state.st_mtime_ns):
            return True
        return digest == digest_of(path) if digest else not size and (
            mtime is None)

    def _ask(self, client: Client, url: URL, expected: int) -> "Task":
        """Return size, time and SHA-256 of the file at *url*, or None each.

        By a GET for one byte: not every server answers HEAD.  The digest is
        asked for where the file is small, if it has the *expected* size.
        """
        fields = [("Range", "bytes=0-0"), ("Accept-Encoding", "identity")]
        if expected <= DIGEST_ASKED_MAX:
            fields.append(WANT_DIGEST)
        answer = yield from client.get(url, fields)
        yield from answer.discard()
        part = parse_content_range(answer.fields)
        size = None
        if answer.status == 416:    # there is no first byte
            size = 0
        elif part and answer.status == 206:
            size = part.length
        elif answer.status == 200:  # coded or not: it is saved as it is sent
            size = answer.length
        return (size, http_time(answer.fields.get("last-modified", "")),
                parse_digest(answer.fields.get("repr-digest", "")))


def is_name(text: str) -> bool:
    """Return whether a file can have the name *text* on some system."""
    return text not in ("", ".", "..") and not re.search(
        "[/\0\ud800-\udc7f\udd00-\udfff]", text)


def file_name(name: str) -> str:
    """Return the file name under which *name*, of a server, is kept here.

    As UTF-8, whatever the file system's own encoding is.
    """
    return os.fsdecode(local_name(name, WINDOWS).encode(
        "utf-8", "surrogateescape"))


def make_folder(path: str) -> None:
    """Make the folder *path*, unless it is there; raise OutputError."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise OutputError("%s is there and no folder" % printable(path))
    except OSError as exc:
        raise not_written(path, exc)


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
  -P DIR             folder for -O and -r (default: this one)
  --force            let -O replace a file that is there
  -c                 resume FILE.part, if the file is still the same
  -r                 copy the folder and all that is in it

how:
  -H 'NAME: VALUE'   field for every request; repeatable
  --range RANGE      these bytes only: FIRST-LAST, FIRST- or -COUNT, from 0
  --raw              do not ask for gzip, nor decode what is shown
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

# What does not go together: an option, or what check_combinations() calls so,
# with any of the others, or without all of them; and why.
WITH, WITHOUT = True, False
NOT_TOGETHER = [
    ("-4", WITH, "-6", "-4 is not allowed with -6"),
    ("-v", WITH, "-q", "-v is not allowed with -q"),
    ("-o", WITH, "-O", "-o and -O both name a file"),
    ("FILE", WITH, "several",
     "-o names one file, but there are several; use -O"),
    ("-P", WITHOUT, "-O -r", "-P is for -O and -r"),
    ("--force", WITHOUT, "-O", "--force is for -O"),
    ("--tls", WITH, "http://",
     "--tls is for host and port; write https:// in a URL"),
    ("-c", WITHOUT, "FILE -O", "-c needs -o FILE or -O"),
    ("--range", WITH, "-c -r", "--range does not go with -c or -r"),
    ("-r", WITH, "-o -O", "-r takes names from the server; use -P DIR"),
    ("-r", WITH, "-v", "-v shows one request at a time; not with -r"),
]


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
        check_values(options)
        check_combinations(options)
        check_names(options)
    except ValueError as exc:
        parser.error(str(exc))
    return options


def parse_words(words: "Sequence[str]",
                tls: bool = False) -> "List[Tuple[str, URL]]":
    """Return what is to be fetched: the user's word for it, and its URL.

    Raise ValueError, also where a word behind HOST:PORT, in place of a file,
    may be a port or another server.

    >>> [str(url) for _, url in parse_words(["h", "81", "a b", "c"])]
    ['http://h:81/a%20b', 'http://h:81/c']
    >>> [str(url) for _, url in parse_words(["[::1]:81", "a?", "b"], True)]
    ['https://[::1]:81/a%3F', 'https://[::1]:81/b']
    >>> parse_words(["h:81/d/a%20b?c#d", "[::1]:82/", "https://h/"])[0][0]
    'd/a%20b'
    """
    scheme = "https" if tls else "http"
    first = words[0] if words else HOST
    address = ADDRESS.fullmatch(first)
    if "://" in first or address and address.group(1):
        urls = [scheme + "://" + word if ADDRESS.fullmatch(word) else word
                for word in words]
        return [(REFERENCE.findall(url)[0][2][1:], parse_url(url))
                for url in urls]
    if not address:
        names = words[2:]
        top = URL(scheme, parse_host(first),
                  parse_port(words[1]) if len(words) > 1 else PORT, "/")
    else:
        names = words[1:]
        top = parse_url(scheme + "://" + first)
        for name in names:
            if "://" in name or ADDRESS.fullmatch(name) or name.isdigit():
                raise ValueError("'%s' after HOST:PORT may be a file or not;"
                                 " write it as a URL" % printable(name))
    return [(name, top.with_target(request_target(name)))
            for name in names or ["/"]]


def check_values(options: "Namespace") -> None:
    """Raise ValueError for a value that its option cannot have."""
    needed = options.output, options.folder, options.cafile, options.auth
    fields = [name.lower() for name, _ in options.fields]
    for is_wrong, why in [
            (any(value in ("", "--", []) for value in needed),
             "-o, -P, --cafile and --auth: each needs a value"),
            (not 0 < options.timeout <= TIMEOUT_MAX,    # or a NaN
             "--timeout is a number of seconds from more than 0 to %d"
             % TIMEOUT_MAX),
            (options.retries < 0, "--retries is not a number below 0"),
            (OWN_FIELDS.intersection(fields),
             "not to be set by -H: " + ", ".join(sorted(OWN_FIELDS))),
            (fields.count("host") > 1, "Host is to be set once"),
            (":" in (options.auth or ""),       # RFC 7617, 2
             "no colon in --auth: the password is HTTPGET_PASSWORD or typed")]:
        if is_wrong:
            raise ValueError(why)


def check_combinations(options: "Namespace") -> None:
    """Raise ValueError for options that do not go together."""
    facts = {"FILE": options.output not in (None, "-"),
             "several": len(options.urls) > 1,
             "http://": any(url.scheme == "http" for _, url in options.urls)}

    def is_given(word: str) -> bool:
        return bool(facts[word] if word in facts else
                    getattr(options, ATTRIBUTES.get(word, word.strip("-"))))
    for word, together, others, why in NOT_TOGETHER:
        if is_given(word) and together == any(map(is_given, others.split())):
            raise ValueError(why)


def check_names(options: "Namespace") -> None:
    """Raise ValueError unless each file has a name, and one of its own."""
    seen = set()  # type: Set[str]
    for word, url in options.urls:
        names = [copy_name(url)] if options.recursive else []
        if options.remote_name:
            name = safe_name(word)
            if not name:
                raise ValueError("'%s' ends with no name for -O; use -o FILE"
                                 % printable(word))
            part = part_name(name)
            names = [name, part, part + NOTES_SUFFIX]
        for name in seen.intersection(names):
            raise ValueError("two of these would be saved as '%s'"
                             % printable(name or "."))
        seen.update(names)


def copy_name(url: URL) -> str:
    """Return the name of a copy of the folder *url*, "" for that of "/"."""
    return file_name(decoded(url.path.strip("/").rpartition("/")[2]))


def copy_folder(client: Client, url: URL, options: "Namespace") -> None:
    """Copy one folder; raise Failure."""
    folder = options.folder or "."
    if not os.path.isdir(folder):
        raise OutputError("there is no folder %s" % printable(folder))
    client.report.bar = options.progress
    top = url.with_target(url.path.rstrip("/") + "/")
    Mirror(top, folder, copy_name(url), client, options.retries).run()


def fetch_file(client: Client, word: str, url: URL,
               options: "Namespace") -> None:
    """Fetch one file, which the user calls *word*; raise Failure."""
    name = options.output
    if options.remote_name:
        name = os.path.join(options.folder or "", safe_name(word))
    started = time.monotonic()
    complete = run(is_complete(client, url, name)) if options.resume else ""
    if complete:
        client.report.note("%s: %s" % (printable(name), complete))
        return
    if options.remote_name and os.path.lexists(name) and not options.force:
        raise OutputError("%s is there already" % printable(name),
                          "--force replaces it")
    output = open_output(name, str(url), options.resume,
                         options.force or not options.remote_name)
    client.report.bar = options.progress and not os.isatty(output.fd)
    transfer = Transfer(client, url, output, options.wanted or "",
                        options.retries)
    says = run(transfer.run())
    client.report.clear()
    client.report.end(transfer.fetched, time.monotonic() - started, name,
                      says)


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
    """Do what *options* ask for; return the exit status.

    Raise Failure when the only file was not fetched, or none could be.
    """
    report = Report(options.verbose, options.quiet)
    user = None
    if options.auth:
        user = options.auth, password_of(options.auth)
    settings = Settings(options.timeout, options.family, options.fields, user,
                        options.cafile, options.insecure, options.raw, delays)
    client = Client(settings, report, options.urls[0][1])
    status = 0
    try:
        for word, url in options.urls:
            try:
                if options.recursive:
                    copy_folder(client, url, options)
                else:
                    fetch_file(client, word, url, options)
            except (StatusError, ConnectError, ResponseError,
                    OutputError) as exc:
                report.clear()
                if exc.hopeless or len(options.urls) == 1:
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
    # open() takes the lowest number that is free.
    while True:
        try:
            fd = os.open(os.devnull, os.O_RDWR)
        except OSError:     # a container may lack it; this takes no message
            fd = os.open(os.sep, os.O_RDONLY)
        if fd > STDERR:
            os.close(fd)
            return


def main(argv: "Optional[Sequence[str]]" = None,
         delays: "Sequence[float]" = RETRY_DELAYS) -> int:
    """Run the program with arguments *argv*; return its exit status.

    *delays* are the seconds to wait after each break in a row.  --help,
    --version and usage errors end it with SystemExit.
    """
    fill_standard_descriptors()
    if sys.stderr is None:      # so that nobody has to ask
        sys.stderr = open(STDERR, "w", closefd=False)  # noqa: SIM115
    try:
        return fetch_all(parse_arguments(argv), delays)
    except ReaderGone as exc:
        return exc.exit_status
    except Failure as exc:
        say("httpget.py: %s" % exc)
        return exc.exit_status
    except OSError as exc:
        if exc.errno not in EXHAUSTED:
            raise
        say("httpget.py: %s; close other programs" % reason_of(exc))
        return OutputError.exit_status
    except KeyboardInterrupt:
        say("httpget.py: interrupted")
        return Interrupted.exit_status


if __name__ == "__main__":
    sys.exit(main())
