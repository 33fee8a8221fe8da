#!/usr/bin/env python3
"""httpget.py - fetch one file over HTTP, in one file.

    python3 httpget.py [options] [host] [port] [file]

Fetches a file from a web server and writes it to standard output, byte for
byte; what happened on the way goes to standard error.  Without arguments it
asks 127.0.0.1, port 8080, for /, the server's default file.  Needs Python
3.6 or newer and nothing else; copy the file and run it.

What it does
    One GET request, by HTTP/1.1.  host is a name or an address, IPv6 with
    or without brackets; all its addresses are tried in turn.  file is a
    name, not a URL: ?, #, %, spaces and letters beyond ASCII in it are
    encoded on the wire.  With -o FILE the content is collected in FILE.part,
    which becomes FILE only when it is whole and on the disk; a device or a
    pipe is written to, never replaced.
    Only the content of a success (2xx) is written.  To a terminal only text
    is, with control characters escaped; "-o -" writes it unchanged.

What it does not do
    No TLS, no redirects, no resuming.  Nothing the server says chooses a
    file name or reaches the terminal unescaped.  A malformed response is
    refused, not guessed at.

Limits
    A head of 64 KiB, 64 interim (1xx) responses, chunk sizes of 16 digits,
    30 s to connect to each address and 30 s between bytes (--timeout); the
    resolver's own patience for looking up a name.  Content has no limit,
    and memory stays the same whatever its size.

Exit status
    0    success
    1    the server answered with a status that is not 2xx
    2    usage
    3    could not connect, or no byte of a response came
    4    the response broke off, stalled or was malformed
    5    could not write the content
    130  interrupted by Ctrl-C
    141  the reader of the output went away
    After 4, 5 and 130 what had come is kept in FILE.part, unless nothing
    had.  FILE itself is untouched until the end.

Licence: MIT

Map of the sections
    Limits and vocabulary, Target, Request, Response head, Body length,
    Body decoders, Display
    - up to here pure: no socket, no file, no clock -
    Connection, Exchange, Output, Command line
"""

import os
import re
import socket
import stat
import sys
import time

TYPE_CHECKING = False  # `typing` is for mypy alone: importing it takes 3 ms.
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import (Dict, Iterable, Iterator, List, Optional, Sequence,
                        Tuple, Union)
    Block = Union[bytes, memoryview]

__version__ = "1.0"

# ---- Limits and vocabulary --------------------------------------------------

KIB = 1024

HOST = "127.0.0.1"
PORT = 8080             # as httpd.py
HTTP_PORT = 80          # the one a Host field leaves out; RFC 9110, 4.2.1

TIMEOUT = 30.0          # seconds, to connect and between bytes
TIMEOUT_MAX = 86400.0   # seconds; a day, and no system's timers overflow

HEAD_MAX = 64 * KIB     # bytes of one head; browsers take 256 KiB, curl 300
INTERIM_MAX = 64        # 1xx responses before the final one; real ones: 1
LENGTH_DIGITS = 18      # of a Content-Length: below 2**63, a file's largest
CHUNK_DIGITS = 16       # hexadecimal, of a chunk size: 64 bits
CHUNK_LINE_MAX = 4 * KIB        # bytes of a chunk size and its extensions
TRAILERS_MAX = HEAD_MAX         # bytes of all trailers together
RECEIVE_SIZE = 128 * KIB        # bytes of one read; more is no faster, and what
                                # PyPy collects too rarely
ERROR_SHOWN_MAX = 64 * KIB      # bytes of an error's content that -v shows
GARBAGE_SHOWN_MAX = 40          # bytes of something malformed in a message

# What body_length returns besides a number of bytes.
CHUNKED = -1
UNTIL_CLOSE = -2

# The fields that are shown without -v.
MAIN_FIELDS = (b"content-type", b"content-length", b"last-modified", b"etag",
               b"location", b"server")

PART_SUFFIX = ".part"
STDOUT, STDERR = 1, 2   # descriptors


class Failure(Exception):
    """Why the content was not fetched, in one line for the user."""

    exit_status = 1


class StatusError(Failure):
    """The server answered with a status that is not 2xx."""


class ConnectError(Failure):
    """No connection, or one on which no byte of a response came."""

    exit_status = 3


class ResponseError(Failure):
    """The response is malformed, or it ended too early."""

    exit_status = 4


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

# An IPv6 address has two colons at least, which "localhost:8080" has not.
# A zone (fe80::1%eth0) names the interface; RFC 4007, 11.
IPV6 = re.compile(r"([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)"
                  r"(%[A-Za-z0-9._~-]+)?")

# pchar without pct-encoded, and "/"; RFC 3986, 3.3.
PATH_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       b"0123456789-._~!$&'()*+,;=:@/")


def parse_host(text: str) -> str:
    """Return host *text* as the resolver takes it: ASCII, without brackets.

    Raise ValueError for what is neither a host name nor an address: user
    names, ports, slashes, controls.

    >>> parse_host("[::1]"), parse_host("B\\xfccher.example")
    ('::1', 'xn--bcher-kva.example')
    """
    bracketed = text.startswith("[") and text.endswith("]")
    host = text[1:-1] if bracketed else text
    if IPV6.fullmatch(host):
        return host
    try:
        host.encode("ascii")
    except UnicodeEncodeError:
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            host = ""
    # The resolver would take a number alone for an IPv4 address.
    if (bracketed or len(host) > HOST_NAME_MAX or host.isdigit()
            or not HOST_NAME.fullmatch(host)):
        raise ValueError("'%s' is not a host name or an address; write host,"
                         " port and file as three words" % printable(text))
    return host


def parse_port(text: str) -> int:
    """Return the port number *text*, 1 to 65535, or raise ValueError."""
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError("port '%s' is not a number from 1 to 65535"
                     % printable(text))


def parse_timeout(text: str) -> float:
    """Return the seconds *text*, more than 0, or raise ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0 < seconds <= TIMEOUT_MAX:      # false for a NaN
        return seconds
    raise ValueError("timeout '%s' is not a number of seconds from more than"
                     " 0 to %d" % (printable(text), TIMEOUT_MAX))


def request_target(name: str) -> str:
    """Return the request target, in origin-form, for file *name*.

    All that is special in a URL is encoded, for *name* is a name.  Bytes
    that are no UTF-8 are expected as surrogate escapes, as in sys.argv.
    Raise ValueError when there is a control character in *name*.
    Source: RFC 9112, 3.2.1; RFC 3986, 2.1 and 3.3.

    >>> request_target("50% off?.txt")
    '/50%25%20off%3F.txt'
    """
    if any(char < " " or "\x7f" <= char <= "\x9f" for char in name):
        raise ValueError("control character in the file name '%s'"
                         % printable(name))
    path = "".join(chr(byte) if byte in PATH_BYTES else "%%%02X" % byte
                   for byte in name.encode("utf-8", "surrogateescape"))
    return path if path.startswith("/") else "/" + path


# ---- Request ----------------------------------------------------------------

def host_field(host: str, port: int) -> str:
    """Return the value of the Host field.

    A zone means something on this machine only and is left out.
    Source: RFC 9110, 7.2; RFC 6874, 4.

    >>> host_field("::1", 8080), host_field("fe80::1%eth0", 80)
    ('[::1]:8080', '[fe80::1]')
    """
    if ":" in host:
        host = "[%s]" % host.partition("%")[0]
    return host if port == HTTP_PORT else "%s:%d" % (host, port)


def render_request(host: str, port: int, target: str) -> bytes:
    """Return the head of the GET request for *target*.

    Source: RFC 9112, 3; RFC 9110, 9.3.1.
    """
    lines = [
        "GET %s HTTP/1.1" % target,
        "Host: " + host_field(host, port),
        "User-Agent: httpget.py/" + __version__,
        "Accept: */*",
        "Connection: close",
    ]
    return "".join(line + "\r\n" for line in lines + [""]).encode("ascii")


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
    fields = {}  # type: Dict[str, str]
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            raise malformed("field line", line)
        if NOT_FIELD_CONTENT.search(value):
            raise malformed("field value", line)
        key = name.decode("ascii").lower()
        text = value.strip(b" \t").decode("latin-1")
        fields[key] = fields[key] + ", " + text if key in fields else text
    return fields


def malformed(what: str, data: bytes) -> ResponseError:
    """Return the error that says that *what*, which is *data*, is wrong."""
    more = "..." if len(data) > GARBAGE_SHOWN_MAX else ""
    return ResponseError("malformed response: bad %s '%s'%s" % (
        what, shown(data[:GARBAGE_SHOWN_MAX]), more))


# ---- Body length ------------------------------------------------------------

def body_length(method: str, status: int, fields: "Dict[str, str]") -> int:
    """Return the length of a response's body: bytes, CHUNKED or UNTIL_CLOSE.

    Raise ResponseError where the length is in doubt.  The cases are in the
    order of RFC 9112, 6.3; it would let Transfer-Encoding win over
    Content-Length, but the two together are a sign of an attack.

    >>> body_length("GET", 200, {"content-length": "5, 5"})
    5
    """
    if method == "HEAD" or status < 200 or status in (204, 304):
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

    def decode(self, data: memoryview) -> "Block":
        """Return the content in *data*; what is beyond its end is left."""
        if self.length is not None:
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


# ---- Display ----------------------------------------------------------------

# What can do harm in a text of many lines: C0 without tab and LF, DEL, C1,
# and the controls that turn the direction of writing (Unicode, UAX 9).
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f"
                    "\u202a-\u202e\u2066-\u2069]")


def escape(char: str) -> str:
    r"""Return *char* as \xHH or, above U+00FF, as \u{H...}."""
    code = ord(char)
    return "\\x%02x" % code if code < 256 else "\\u{%x}" % code


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


def join_address(address: "Tuple[object, ...]") -> str:
    """Return a socket address as text: address and port.

    >>> join_address(("::1", 80, 0, 0))
    '::1 port 80'
    """
    return "%s port %s" % (address[0], address[1])


def size_text(count: float) -> str:
    """Return *count* bytes for people.

    >>> size_text(999), size_text(1536)
    ('999 bytes', '1.5 KiB')
    """
    if count < KIB:
        return "%d byte%s" % (count, "" if int(count) == 1 else "s")
    units = ["KiB", "MiB", "GiB", "TiB"]
    count /= KIB
    while count >= KIB and len(units) > 1:
        count /= KIB
        del units[0]
    return "%.1f %s" % (count, units[0])


# ======== Border: only below this line is the operating system touched =======

# ---- Connection -------------------------------------------------------------

class ConnectionLost(Exception):
    """The connection stalled or broke; the text says how."""


class Connection:
    """A connection to a server, and what has been read from it."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        """Connect to the first address of *host* that accepts.

        *timeout* is in seconds, for each address and between bytes.  Raise
        ConnectError, which names every address that failed.
        """
        self.timeout = timeout
        self.sock = connect(host, port, timeout)
        self.heard = False      # whether any byte has come
        self.buffer = memoryview(bytearray(RECEIVE_SIZE))
        self.pending = self.buffer[:0]      # read, but not yet taken

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of *data*, or raise ConnectError."""
        try:
            self.sock.sendall(data)
        except OSError as exc:
            raise ConnectError("could not send the request: %s; is this a"
                               " web server?" % reason_of(exc))

    def receive(self) -> memoryview:
        """Return the next bytes, which stay valid until the next call.

        Nothing means that the server closed the connection.  Raise
        ConnectionLost when it stalls or breaks.
        """
        if self.pending:
            data, self.pending = self.pending, self.buffer[:0]
            return data
        try:
            count = self.sock.recv_into(self.buffer)
        except socket.timeout:
            raise ConnectionLost("nothing came for %g s (--timeout)"
                                 % self.timeout)
        except OSError as exc:
            raise ConnectionLost(reason_of(exc))
        self.heard = self.heard or count > 0
        return self.buffer[:count]

    def receive_head(self) -> bytes:
        """Return the next head, with the empty line at its end.

        Raise ConnectError when no byte comes, ResponseError when it breaks
        off or cannot be a head.
        """
        data = bytearray()
        length = 0
        while not length:
            try:
                block = self.receive()
            except ConnectionLost as exc:
                raise self._no_head(str(exc))
            if not block:
                raise self._no_head("the server closed the connection")
            searched = len(data)
            data += block
            length = head_length(data, searched)
        self.pending = memoryview(bytes(data[length:]))
        return bytes(data[:length])

    def _no_head(self, reason: str) -> Failure:
        if self.heard:
            return ResponseError("the response broke off in its head: %s; try"
                                 " again" % reason)
        return ConnectError("no response: %s; is this a web server?" % reason)


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Return a socket connected to the first address that accepts.

    Raise ConnectError when none does.
    """
    try:
        # As bytes: for a str Python loads its IDNA tables, ASCII or not.
        found = socket.getaddrinfo(host.encode("ascii"), port, 0,
                                   socket.SOCK_STREAM)
    except OSError as exc:
        raise ConnectError("no address for host '%s': %s; check the name"
                           % (host, reason_of(exc)))
    failures = []
    for family, kind, protocol, _, address in found:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as exc:      # a family that this system lacks
            failures.append("%s: %s" % (address[0], reason_of(exc)))
            continue
        try:
            sock.settimeout(timeout)
            sock.connect(address)
            return sock
        except OSError as exc:
            failures.append("%s: %s" % (address[0], reason_of(exc)))
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise ConnectError("could not connect to %s port %d (%s); is the server"
                       " running there?" % (host, port, ", ".join(failures)))


def reason_of(exc: OSError) -> str:
    """Return what the system says about *exc*, without its number."""
    return exc.strerror or str(exc) or type(exc).__name__


# ---- Exchange ---------------------------------------------------------------

def read_heads(connection: Connection) -> "Iterator[Head]":
    """Yield the heads of the interim responses and of the final one.

    Source: RFC 9110, 15.2.
    """
    for _ in range(INTERIM_MAX + 1):
        head = parse_head(connection.receive_head())
        yield head
        if not head.interim:
            return
        if head.status == 101:
            raise ResponseError("the server switched to another protocol,"
                                " though nobody asked for it")
    raise ResponseError("more than %d interim responses" % INTERIM_MAX)


def read_content(connection: Connection, length: int) -> "Iterator[Block]":
    """Yield the content in blocks, each valid until the next is asked for.

    *length* is what body_length returned.  Raise ResponseError, with the
    number of bytes so far, when the content ends too early or is malformed.
    """
    decoder = make_decoder(length)
    while not decoder.done:
        try:
            data = connection.receive()
            if data:
                block = decoder.decode(data)
                if block:
                    yield block
            elif not decoder.close():
                raise ConnectionLost("the server closed the connection")
        except ConnectionLost as exc:
            whole = "" if decoder.length is None else " of %d" % decoder.length
            raise ResponseError("the response broke off after %d%s bytes: %s;"
                                " try again" % (decoder.count, whole, exc))


def get(options: "Namespace") -> None:
    """Make the request that *options* asks for and write its content.

    Raise Failure when that does not succeed.
    """
    report = Report(options.verbose, options.quiet)
    request = render_request(options.host, options.port, options.target)
    started = time.monotonic()
    connection = Connection(options.host, options.port, options.timeout)
    try:
        report.connected(options.host, connection.sock)
        report.request(request)
        connection.send(request)
        for head in read_heads(connection):
            report.head(head)
        length = body_length("GET", head.status, head.fields)
        content = read_content(connection, length)
        if not head.success:
            report.error_content(content)
            raise StatusError("the server answered %s for %s" % (
                shown(head.lines[0].partition(b" ")[2]), options.target))
        if head.status == 206:
            raise ResponseError("the server sent a part of the file, though"
                                " nobody asked for a part")
        count = save(content, options.output)
    finally:
        connection.close()
    report.end(count, time.monotonic() - started, options.output)


# ---- Output -----------------------------------------------------------------

# Each where the system has it: O_CLOEXEC and O_NOFOLLOW are not on Windows,
# O_BINARY only there.
OPEN_FLAGS = os.O_WRONLY
for _flag in ("O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
    OPEN_FLAGS |= getattr(os, _flag, 0)
CREATE_FLAGS = (OPEN_FLAGS | os.O_CREAT | os.O_EXCL
                | getattr(os, "O_NOFOLLOW", 0))


class Output:
    """Writes content, unchanged, to a descriptor: a pipe, a device."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    def write(self, block: "Block") -> None:
        """Write all of *block*; raise OutputError or ReaderGone."""
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

    def finish(self) -> None:
        """Complete the output, after the last block."""
        self._close()

    def abandon(self) -> str:
        """Give up; return what the user should know about what is left."""
        self._close()
        return ""

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

    def finish(self) -> None:
        """Show what was held back, and end the line."""
        self._show(b"", True)
        self.abandon()

    def abandon(self) -> str:
        """End the line, for the message that follows."""
        if self.line_open:
            super().write(b"\n")
            self.line_open = False
        return ""

    def _show(self, data: bytes, final: bool) -> None:
        try:
            text = self.held + self.decoder.decode(data, final)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise OutputError("the content is binary and would upset the"
                              " terminal; save it with -o FILE (or force it"
                              " with -o -)")
        self.held = "\r" if text.endswith("\r") and not final else ""
        text = safe_text(text[:len(text) - len(self.held)])
        if text:
            self.line_open = not text.endswith("\n")
            super().write(text.encode(self.encoding, "backslashreplace"))


class FileOutput(Output):
    """Collects content in NAME.part, and renames that when it is whole."""

    def __init__(self, name: str, mode: int) -> None:
        """Create the part, with permissions *mode* less the umask."""
        super().__init__(-1, name)
        self.part = name + PART_SUFFIX
        try:
            try:
                os.unlink(self.part)    # left over from an earlier run
            except FileNotFoundError:
                pass
            # O_EXCL: what is opened is new, and nobody's link or device.
            self.fd = os.open(self.part, CREATE_FLAGS, mode)
        except OSError as exc:
            raise not_written(self.part, exc)

    def finish(self) -> None:
        """Rename the part, once all of it is on the disk."""
        try:
            os.fsync(self.fd)
            if not self._is_mine():
                raise OutputError("%s was replaced by another program, so %s"
                                  " is left as it was; try again" % (
                                      printable(self.part),
                                      printable(self.name)))
            self._close()
            os.replace(self.part, self.name)
        except OSError as exc:
            raise not_written(self.name, exc)

    def abandon(self) -> str:
        """Close the part; keep it if there is anything in it."""
        try:
            self._close()
            size = os.stat(self.part).st_size
            if size:
                return "; %s kept in %s" % (size_text(size),
                                            printable(self.part))
            os.unlink(self.part)
        except (OSError, OutputError):
            return "; %s may be left over" % printable(self.part)
        return ""

    def _is_mine(self) -> bool:
        """Whether the part's name still means the file that is open."""
        return os.path.samestat(os.lstat(self.part), os.fstat(self.fd))


def open_output(name: "Optional[str]") -> Output:
    """Return the Output for -o *name*; None means that -o was not given.

    Raise OutputError.
    """
    if name is None or name == "-":
        if sys.stdout is None:
            # The number may by now belong to the connection.
            raise OutputError("standard output is closed; use -o FILE")
        if name is None and os.isatty(STDOUT):
            return TerminalOutput(STDOUT, sys.stdout.encoding or "utf-8")
        return Output(STDOUT, "standard output")
    try:
        state = os.stat(name)
        if stat.S_ISDIR(state.st_mode):
            raise OutputError("%s is a folder; name a file in it"
                              % printable(name))
        if not stat.S_ISREG(state.st_mode):
            return Output(os.open(name, OPEN_FLAGS), name)
    except FileNotFoundError:
        return FileOutput(name, 0o666)
    except OSError as exc:
        raise not_written(name, exc)
    if sys.stdout is not None and os.path.samestat(state, os.fstat(STDOUT)):
        # As /dev/stdout, whose link must not be replaced.
        return Output(STDOUT, name)
    # What was private stays private.
    return FileOutput(name, stat.S_IMODE(state.st_mode) & 0o777)


def save(content: "Iterable[Block]", name: "Optional[str]") -> int:
    """Write *content* to -o *name*; return its length in bytes.

    Raise Failure, whose text then says what became of the part.
    """
    count = 0
    output = open_output(name)
    try:
        for block in content:
            output.write(block)
            count += len(block)
        output.finish()
    except KeyboardInterrupt:
        raise Interrupted("interrupted" + output.abandon())
    except Failure as exc:
        raise type(exc)(str(exc) + output.abandon())
    return count


def not_written(name: str, exc: OSError) -> OutputError:
    """Return the error that says that *name* could not be written."""
    return OutputError("could not write %s: %s; make room or choose another"
                       " -o FILE" % (printable(name), reason_of(exc)))


# ---- Command line -----------------------------------------------------------

EXAMPLES = """\
examples:
  python3 httpget.py                               what 127.0.0.1:8080 serves
  python3 httpget.py ::1 9000 /docs/notes.txt      show a file
  python3 httpget.py -o a.iso example.org 80 a.iso save a file
  python3 httpget.py example.org 80 a.tar | tar x  use it in a pipe
"""


class Report:
    """Tells the user on standard error how the exchange goes on."""

    def __init__(self, verbose: bool, quiet: bool) -> None:
        self.verbose = verbose
        self.quiet = quiet

    def connected(self, host: str, sock: socket.socket) -> None:
        """Say where the connection goes, and from where."""
        try:
            peer, own = sock.getpeername(), sock.getsockname()
        except OSError:     # gone already; sending will say so
            return
        self._say("Connected to %s, address %s, from %s" % (
            host, join_address(peer), join_address(own)))

    def request(self, data: bytes) -> None:
        """Show the request, when asked to."""
        if self.verbose:
            for line in data[:-4].split(b"\r\n"):
                self._say("> " + shown(line))

    def head(self, head: Head) -> None:
        """Show the status line and the fields that matter."""
        if self.verbose:
            for line in head.lines:
                self._say("< " + shown(line))
        elif not head.interim:
            self._say(shown(head.lines[0]))
            for line in head.lines[1:]:
                if line.partition(b":")[0].lower() in MAIN_FIELDS:
                    self._say(shown(line))

    def error_content(self, content: "Iterable[Block]") -> None:
        """Show the beginning of an error's content, when asked to."""
        if not self.verbose:
            return
        data = b""
        note = ""
        try:
            for block in content:
                data += block
                if len(data) > ERROR_SHOWN_MAX:
                    note = "(and more)"
                    break
        except ResponseError as exc:    # the status is the news, not this
            note = "(%s)" % exc
        text = data[:ERROR_SHOWN_MAX].decode("utf-8", "backslashreplace")
        for line in (safe_text(text).rstrip("\n"), note):
            if line:
                self._say(line)

    def end(self, count: int, seconds: float, name: "Optional[str]") -> None:
        """Sum up: *count* bytes in so many *seconds*, saved as *name*."""
        self._say("%s%d bytes in %.3f s, %s/s" % (
            "" if name is None or name == "-" else printable(name) + ": ",
            count, seconds, size_text(count / max(seconds, 1e-6))))

    def _say(self, text: str) -> None:
        if not self.quiet:
            say(text)


def say(text: str) -> None:
    """Write a line to standard error."""
    if sys.stderr is None:
        return      # closed: its number may by now belong to the connection
    line = (text + "\n").encode(sys.stderr.encoding or "utf-8",
                                "backslashreplace")
    try:
        # Not by sys.stderr: what that cannot write makes Python exit with
        # a status of its own.
        os.write(STDERR, line)
    except OSError:
        return      # nobody is left to be told


def make_parsers() -> "Tuple[ArgumentParser, ArgumentParser]":
    """Return the parser of the options alone and the one of everything.

    A single one would not find a second word behind an option, as in
    "host -v 80": argparse takes all optional words from the first group.
    """
    import argparse
    usage = "httpget.py [options] [host] [port] [file]"
    first = argparse.ArgumentParser("httpget.py", usage, add_help=False)
    add = first.add_argument
    add("-o", dest="output", metavar="FILE",
        help="save as FILE, by FILE.part renamed when whole; - is standard"
        " output, for binary content too")
    noise = first.add_mutually_exclusive_group()
    noise.add_argument("-v", dest="verbose", action="store_true",
                       help="show the request and all fields of the response")
    noise.add_argument("-q", dest="quiet", action="store_true",
                       help="show nothing but one line for an error")
    add("--timeout", metavar="SECONDS", default=str(TIMEOUT),
        help="to connect, and between bytes (default: %g)" % TIMEOUT)
    add("--version", action="version", version="httpget.py " + __version__)
    parser = argparse.ArgumentParser(
        "httpget.py", usage, parents=[first], epilog=EXAMPLES,
        description="Fetch one file over HTTP.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("host", nargs="?", default=HOST,
        help="name or address (default: %s)" % HOST)
    add("port", nargs="?", default=str(PORT), help="default: %d" % PORT)
    add("file", nargs="?", default="/", help="name of the file, in which ?,"
        " # and %% stand for themselves (default: /, the server's choice)")
    return first, parser


def parse_arguments(argv: "Optional[Sequence[str]]") -> "Namespace":
    """Return the options in *argv*, or exit with a message."""
    first, parser = make_parsers()
    known, words = first.parse_known_args(argv)
    options = parser.parse_args(words, known)
    try:
        options.host = parse_host(options.host)
        options.port = parse_port(options.port)
        options.target = request_target(options.file)
        options.timeout = parse_timeout(options.timeout)
        if options.output == "":
            raise ValueError("-o needs the name of a file")
    except ValueError as exc:
        parser.error(str(exc))
    return options


def stdout_lost(exc: OSError) -> Failure:
    """Return the error that says that what --help printed was not taken."""
    # Python tries again at its exit, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    if isinstance(exc, BrokenPipeError):
        return ReaderGone()
    return not_written("standard output", exc)


def parse_or_exit(argv: "Optional[Sequence[str]]") -> "Namespace":
    """Return the options in *argv*, or raise SystemExit or Failure."""
    try:
        try:
            return parse_arguments(argv)
        except SystemExit:
            if sys.stdout is not None:
                sys.stdout.flush()
            raise
    except OSError as exc:
        raise stdout_lost(exc)


def main(argv: "Optional[Sequence[str]]" = None) -> int:
    """Run the program with arguments *argv*; return its exit status.

    --help, --version and usage errors end it with SystemExit.
    """
    try:
        get(parse_or_exit(argv))
        return 0
    except ReaderGone as exc:
        return exc.exit_status
    except Failure as exc:
        say("httpget.py: %s" % exc)
        return exc.exit_status
    except KeyboardInterrupt:
        say("httpget.py: interrupted")
        return Interrupted.exit_status


if __name__ == "__main__":
    sys.exit(main())
