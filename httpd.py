#!/usr/bin/env python3
"""httpd.py - an event-driven static web server in one file.

    python3 httpd.py [options] [port] [folder]

Serves the files of one folder over HTTP/1.1 to many clients at once.  Each
process has one thread, one selectors loop over non-blocking sockets, and a
state machine for each connection.  Without arguments it serves ./htdocs (or
the current folder, if there is no ./htdocs) on port 8080, to this machine
only.  It needs Python 3.6 or newer and nothing else; copy the file and run it.

What it does
    GET for files, with TLS and passwords if you want; persistent connections
    and pipelining, preconditions and byte ranges, content codings (files
    beside the original, or gzip compressed once), digests, index.html,
    /about for about.html; for folders without an index a listing, which also
    offers the folder as one tar or ZIP file; an access log.
    An answer is never stale: each request has the file's times and size
    looked at again (README.md says what they cannot tell).

What it does not do
    No methods but GET (and HEAD, with --head), no scripts, no uploads.
    Without --dotfiles it opens no name that begins with a dot (except
    /.well-known/), without --follow-symlinks nothing outside the folder.  It
    never opens a FIFO, device or socket.

Options, which --help explains
    what is served         --directory, --no-listing, --archives, --dotfiles,
                           --follow-symlinks, --spa, --head, --header
    where, and for whom    --port, --bind, --tls-cert, --tls-key,
                           --tls-password-file, --auth, --auth-file,
                           --hash-password
    access log             --log-format, --log-file, --quiet, --trusted-proxy
    processes and limits   --user, --workers, --max-connections,
                           --idle-timeout, --request-timeout

Limits
    Request line 8 KiB, head 32 KiB and 100 fields, 10 s for a TLS handshake,
    10 s for a whole head, 120 s idle between requests, 60 s without progress
    in sending, as many connections as the limit on open files allows.

Signals
    SIGINT, SIGTERM  finish the requests in flight, then exit; a second signal
                     exits at once.  A client that has sent nothing yet gets
                     1 s, with TLS 3 s
    SIGHUP           reopen the log file by name; read the certificate, its key
                     and the users again.  If the terminal was closed, SIGHUP
                     means the same as SIGTERM

Exit status
    0  stopped by Ctrl-C or SIGTERM, after finishing what was in flight
    1  could not start: port in use, no such folder, permission denied, no
       such user, an unusable certificate or password file; or a worker died
       before it had finished
    2  wrong option
    130  Ctrl-C before it could serve

In a program
    with httpd.Server(directory="htdocs", port=0) as server:
        urllib.request.urlopen(server.url)

Licence: MIT

Map of the sections
    Limits and vocabulary, Grammar, Request, Answer, Preconditions and ranges,
    Target path, Passwords, Pages, Archive formats, Access log line, Proxies
    - up to here pure: no socket, no file, no clock -
    Site, Work, Archives, Users, Respond, Transport, Connection, Log,
    Listening sockets, Loop, Server, Processes, Command line

The path of a request
    Loop._turn              one select(), then on_ready() of each ready socket
    Loop._accept, _welcome  a client connects: make a Connection, and read from
                            it; this comes at the end of a pass
    Connection.receive      read into the buffer, and queue the Connection for
                            Loop._answer(), in the same pass
    Connection.answer       send the kept Answer to exactly one known head
    Connection.answer_heads or else answer all heads that take_answers() finds
      Loop.answer_to        look up the head, or parse_request() reads it and
                            Users.admit() checks its user
      Loop.renewed          reuse the kept Answer if its facts still hold;
      Responder.respond     if not, locate() and open the file, represent() it
                            in a coding, select() a range, read its content(),
      Answer.render         and turn all that into bytes
      NotReady              the answer needs the result of a Job: PREPARING,
                            until Job.step(), from Work.steps(), has the result
                            and answer() begins again
    Connection.send_later   the socket did not take all bytes: SENDING;
      Connection.flush      send the rest in steps, from Work.steps()
    Connection.log          make the log line; Loop._write_log() writes all
                            lines at the end of the turn
    Connection.next_request IDLE, or the next head, or close

Words
    turn    the time between two looks at the disk, in which each fact is
            checked only once: a pass of Loop._turn(), or its part for new
            clients
    fact    the state of one path that an answer depends on; see Site
    known   a head that was received before; its Request is remembered
    kept    an Answer that may be sent again as long as its facts hold
    job     slow work: digest, gzip, listing, archive's plan, password check
    made    results of jobs that read files, cached
    steady  unchanged for so long that the next change of a file must show in
            its times; what is made from it stays right until then
"""

# Modules that only some runs need are imported where they are used, so that
# the server starts faster.
import argparse
import codecs
import contextlib
import errno
import functools
import html
import os
import re
import select
import selectors
import signal
import socket
import stat
import struct
import sys
import threading
import time
from array import array
from bisect import bisect
from collections import OrderedDict, deque, namedtuple
from itertools import islice
from operator import attrgetter
from types import GeneratorType, SimpleNamespace

TYPE_CHECKING = False  # only mypy needs `typing`; importing it takes 3 ms
if TYPE_CHECKING:
    import ssl
    from typing import (Any, Callable, Deque, Dict, Generator, Iterable,
                        Iterator, List, Optional, Sequence, Set, Tuple, Union)
    Fields = List[Tuple[str, str]]      # names and values, in order
    ByteRange = Tuple[int, int]         # first and last, both inclusive
    # In memory; start, stop and descriptor of a file; or parts to come.
    Part = Union[bytes, memoryview, Tuple[int, ...], Iterator["Part"]]
    Content = Union[bytes, List[Part], None]
    Queue = Tuple[Tuple["Request", "Answer"], ...]
    Signature = Tuple[int, ...]         # what changes when a file changes
    # The kind of job; the path, or a digest of the credentials; the file's
    # signature, the type of listing or archive, or the client's address.
    JobKey = Tuple[str, bytes, object]
    Steps = Generator[None, None, object]   # see Job
    Facts = Dict[Tuple[Callable[[bytes], object], bytes], object]
    Peer = Tuple[str, Optional[int]]    # address and port, None without one

__version__ = "1.0"


# ---- Limits and vocabulary --------------------------------------------------

KIB, MIB = 1024, 1024 * 1024

# The most that a client may send in one request.
REQUEST_LINE_MAX = 8 * KIB      # as nginx; RFC 9112, 3 asks for 8000 bytes
HEAD_MAX = 32 * KIB             # room for several large cookies
FIELDS_MAX = 100                # field lines; browsers send about 15

# Seconds.  A state's limit is the same for all connections, see Loop.
REQUEST_TIMEOUT = 10            # for a TLS handshake; for a whole head
IDLE_TIMEOUT = 120              # between requests; clients' pools wait 90
PREPARE_TIMEOUT = 600           # for a job, such as a large file's digest
SEND_TIMEOUT = 60               # without progress; slow readers may take hours
LINGER_TIMEOUT = 2              # without input, after the answer
LINGER_MAX = 30                 # for all of LINGERING
ROOM_GRACE = 0.1                # for a slow client while others wait for room
DRAIN_TIMEOUT = 30              # to finish what is in flight before the exit
DRAIN_SILENT = 1                # the same for clients that have sent nothing:
                                # their first bytes come by then, or never
DRAIN_SILENT_TLS = 3            # the same with TLS, for its handshake
GONE_CHECK = 1                  # between checks whether waiting clients have
                                # left, or clients take nothing of a listing
JOB_SECONDS = 0.001             # of work on one job in one step
PATIENCE_MAX = 3600             # in one select(); epoll takes at most 2e6
PAUSE = 1                       # before trying again, when the selector or the
                                # hashing of a password has failed
RESTART_WAIT = 0.1              # before a worker is replaced; then doubled
RESTART_WAIT_MAX = 30           # the longest of these waits
STEADY = 5                      # a worker that lives longer started well
KILL_AFTER = 5                  # for workers to exit, before they are killed
SHARE_WAIT = 0.02               # for other workers to take a connection

# Bytes.
RECV_SIZE = 16 * KIB            # one read; a browser's head has about 1 KiB
SMALL = 64 * KIB                # sent in one piece: a head with content up to
                                # this, or pipelined answers of this total
CONTENTS_MAX = 64 * MIB         # of contents being sent from memory
LISTINGS_MAX = 16 * MIB         # of listings being sent; then others wait
SLICE = MIB                     # sent to one connection, or hashed, in one
                                # step; content up to this is sent from memory
TLS_SLICE = 256 * KIB           # the same over TLS
GZIP_MIN, GZIP_MAX = 256, 256 * KIB     # files between these are compressed
GZIP_SLICE = 32 * KIB           # compressed in one step: about 1 ms
LEFT_OUT_MAX = 4 * MIB          # of an archive's LEFT-OUT.txt
LENT_SLICE = 4 * MIB            # of a file in an archive, opened once
LENT_MAX = 36 * MIB             # of files in the buffers of two sockets; Linux
                                # allows 4 (tcp_wmem) and 32 (tcp_rmem)
NAME_MEAN_MAX = 200             # of names in an archive, if there are as many
                                # as can be
PASSWORD_MAX = 1024             # OpenSSL takes no more for a key
KNOWN_HEAD_MAX = 2 * KIB        # longer heads are parsed anew each time
LOG_BACKLOG_MAX = MIB           # of the log, while its reader stalls

# Counts.
SCRYPT_COST_MAX = 2**19         # n * r * p of a password hash: 0.2 s, and
                                # 128 * n * r bytes of memory: 64 MiB
WORKERS_MAX = 256               # more than any machine needs
SHARE_SLACK = 2                 # connections above its share, in a worker
FORWARDED_MAX = 32              # addresses read from X-Forwarded-For
RANGES_MAX = 256                # in one request; zsync asks for many
LINKS_MAX = 16                  # to folders, on one path: even without a loop,
                                # folders that link to folders multiply
JOBS_MAX = 2                    # heavy jobs of one kind at a time
LISTING_RUN = 1000              # entries sorted at a time
LISTING_FILES = 3               # descriptors open while one listing is made
TRIES_MAX = 10                  # when others interfere: a file changes while
                                # it is read, or take a port that was free
ACCEPTS_PER_TURN = 64           # at one listening socket, to be fair to others
LISTEN_BACKLOG = 1024           # connections that wait in the kernel
FD_RESERVE = 32                 # descriptors that no connection may take

PORT = 8080
PORT_MAX = 65535                # RFC 9293, 3.1: a port has 16 bits
LOOPBACK = ("127.0.0.1", "::1")
DEFAULT_FILES = (b"index.html", b"index.htm")
NOT_FOUND_FILE = b"404.html"
PAGE_SUFFIX = b".html"          # /about is about.html, if there is no about

METHODS = frozenset(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE",
     "PATCH"])

# The fields that describe or frame a response: --header cannot set them.
RESERVED_FIELDS = frozenset(
    ["accept-ranges", "allow", "connection", "content-encoding",
     "content-length", "content-location", "content-range", "content-type",
     "date", "etag", "keep-alive", "last-modified", "location", "repr-digest",
     "trailer", "transfer-encoding", "upgrade", "vary", "www-authenticate"])

# Request fields, besides Accept-Encoding, that an answer may depend on.
SELECTING_FIELDS = ("if-match", "if-unmodified-since", "if-none-match",
                    "if-modified-since", "range", "if-range", "accept",
                    "sec-fetch-mode", "want-repr-digest")

# Content codings, best first, with the suffixes of precompressed files.
CODINGS = OrderedDict([("br", b".br"), ("zstd", b".zst"), ("gzip", b".gz")])
COMPRESSIBLE = re.compile(
    r"text/|font/[ot]tf|font/collection|image/(bmp|svg\+xml|vnd\.microsoft)"
    r"|application/(.*json|.*\+xml|xml|javascript|wasm|postscript|rtf"
    r"|x-sh|x-subrip"
    r"|vnd\.apple\.mpegurl|vnd\.ms-fontobject)|model/gltf")

# What each status means, and what a reader can do about an error.  Our own
# table, because http.HTTPStatus differs between versions of Python.
STATUSES = {
    200: ("OK", ""),
    206: ("Partial Content", ""),
    301: ("Moved Permanently", ""),
    304: ("Not Modified", ""),
    400: ("Bad Request", "Check the address, or the program that sent it."),
    401: ("Unauthorized", "Reload the page and log in."),
    403: ("Forbidden", "Ask the server's operator to allow it."),
    404: ("Not Found",
          "Check the spelling and the capital letters. A link may be old."),
    405: ("Method Not Allowed", "Use GET."),
    406: ("Not Acceptable", "Send it without Accept-Encoding."),
    408: ("Request Timeout", "Try again; the connection may be slow."),
    412: ("Precondition Failed", "Reload to get it as it is now."),
    413: ("Content Too Large", "Ask for less at a time."),
    414: ("URI Too Long", "Shorten the address."),
    416: ("Range Not Satisfiable",
          "Ask for the whole file, or for a part that exists."),
    431: ("Request Header Fields Too Large",
          "Delete this site's cookies; they may be too long."),
    500: ("Internal Server Error",
          "Try again. The server's messages tell the operator why."),
    501: ("Not Implemented", "Use GET."),
    503: ("Service Unavailable", "Try again in a while."),
    505: ("HTTP Version Not Supported", "Use HTTP/1.1."),
}
REASONS = {status: reason for status, (reason, _) in STATUSES.items()}

# Subtypes, with their suffixes where they differ.  Our own table, because
# mimetypes gives other answers on other machines and versions.
MEDIA_TYPES = {
    suffix: kind + "/" + subtype
    for kind, words in [
        ("text", """
            calendar=ics css csv html=htm,html javascript=js,mjs
            markdown=markdown,md plain=conf,diff,ini,log,patch,text,txt
            plain=c,cc,cpp,go,h,hpp,java,py,rs,toml,yaml,yml
            tab-separated-values=tsv vcard=vcf vtt"""),
        ("image", """
            apng avif bmp gif heic heif jp2 jpeg=jfif,jpeg,jpg jxl ktx2 png
            svg+xml=svg tiff=tif,tiff vnd.adobe.photoshop=psd vnd.djvu=djvu
            vnd.microsoft.icon=cur,ico webp"""),
        ("audio", """
            aac aiff=aif,aiff flac midi=mid,midi mp4=m4a,m4b,m4r mpeg=mp3
            ogg=oga,ogg,opus wav webm=weba x-caf=caf x-matroska=mka
            x-ms-wma=wma"""),
        ("video", """
            3gpp=3gp iso.segment=m4s mp2t=m2ts,ts mp4=m4v,mp4 mpeg=mpeg,mpg
            ogg=ogv quicktime=mov webm x-flv=flv x-matroska=mkv
            x-ms-wmv=wmv x-msvideo=avi"""),
        ("font", "collection=ttc otf ttf woff woff2"),
        ("model", """
            3mf gltf+json=gltf gltf-binary=glb stl vnd.usdz+zip=usdz"""),
        ("application", """
            atom+xml=atom dash+xml=mpd efi epub+zip=epub geo+json=geojson
            gpx+xml=gpx gzip=gz,tgz java-archive=jar json=json,map
            ld+json=jsonld manifest+json=webmanifest msword=doc ogg=ogx pdf
            pkcs12=p12,pfx postscript=ai,eps,ps rss+xml=rss rtf ttml+xml=ttml
            vnd.android.package-archive=apk vnd.apple.mpegurl=m3u8
            vnd.comicbook+zip=cbz vnd.debian.binary-package=deb
            vnd.google-earth.kml+xml=kml vnd.google-earth.kmz=kmz
            vnd.microsoft.portable-executable=dll,exe vnd.ms-excel=xls
            vnd.ms-fontobject=eot vnd.ms-powerpoint=ppt
            vnd.oasis.opendocument.presentation=odp
            vnd.oasis.opendocument.spreadsheet=ods
            vnd.oasis.opendocument.text=odt
            vnd.openxmlformats-officedocument.presentationml.presentation=pptx
            vnd.openxmlformats-officedocument.spreadsheetml.sheet=xlsx
            vnd.openxmlformats-officedocument.wordprocessingml.document=docx
            vnd.rar=rar vnd.sqlite3=sqlite,sqlite3 wasm x-7z-compressed=7z
            x-apple-aspen-config=mobileconfig x-apple-diskimage=dmg
            x-bittorrent=torrent x-bzip2=bz2 x-iso9660-image=iso
            x-java-jnlp-file=jnlp x-mobipocket-ebook=mobi x-msi=msi x-rpm=rpm
            x-sh=sh x-subrip=srt x-tar=tar x-x509-ca-cert=crt,der,pem
            x-xpinstall=xpi x-xz=xz xhtml+xml=xhtml xml=xml,xsd,xsl zip
            zstd=zst"""),
    ]
    for subtype, _, others in [word.partition("=") for word in words.split()]
    for suffix in (others or subtype).split(",")
}

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Limits:
    """The limits of one server that its caller may change.

    *changes* maps names to new values; raise ValueError for an unknown name.
    """

    TURN_SECONDS = 0.01         # for the run queue in one turn; large answers
                                # begin at once only in a younger turn
    KNOWN_MAX = 16 * MIB        # bytes of parsed heads to remember
    KEPT_MAX = 64 * MIB         # bytes of Answers to keep for later turns
    MADE_MAX = 16 * MIB         # bytes of compressed files and digests to keep
    ARCHIVE_NAMES_MAX = 200000  # in one archive; twice as many in all archives
                                # being made or sent; each takes 300 bytes
    VERIFIED_MAX = 1000         # right credentials to remember, and as many
                                # wrong ones, which cannot displace the right
    CHECKS_MAX = 100            # passwords that wait for a check; then 503
    CHECKS_OF_ONE_MAX = 10      # the same from one client's address

    def __init__(self, changes: "Dict[str, Any]"):
        for name, number in changes.items():
            if not (name.isupper() and hasattr(Limits, name)):
                raise ValueError("%s is not a changeable limit" % name)
            setattr(self, name, number)


# ---- Grammar ----------------------------------------------------------------


class HTTPError(Exception):
    """An error or a redirect: *status*, *detail* for people, *fields*."""

    def __init__(self, status: int, detail: str,
                 fields: "Sequence[Tuple[str, str]]" = ()):
        self.status = status
        self.detail = detail
        self.fields = fields


# token = 1*tchar (RFC 9110, 5.6.2); field-content allows no control but HTAB.
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
NOT_FIELD_CONTENT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# request-line = method SP request-target SP HTTP-version (RFC 9112, 3).
# A URI has no bytes above 0x7f, but old clients send them.
REQUEST_LINE = re.compile(
    b"(" + TOKEN.pattern + rb") ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])")

# Host = uri-host [ ":" port ] (RFC 9110, 7.2; RFC 3986, 3.2.2), never empty:
# an http URI has a host (RFC 9110, 4.2.1).
AUTHORITY = (r"(?:\[[0-9A-Fa-f:.]{2,45}\]"
             r"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)"
             r"(?::[0-9]{0,5})?")
HOST = re.compile(AUTHORITY)

# request-target: origin-form or absolute-form (RFC 9112, 3.2.1, 3.2.2).
# Neither has a fragment.
TARGET = re.compile(
    r"(?:[Hh][Tt][Tt][Pp][Ss]?://" + AUTHORITY + r"(?=[/?]|$)|(?=/))"
    r"([^?#]*)(?:\?([^#]*))?")

# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE (RFC 9110, 8.8.3).
ENTITY_TAG = re.compile(
    r'(?<![^ \t,])(W/)?("[!#-~\x80-\xff]*")(?![^ \t,])')

HTTP_DATE_MAX = 253402300799    # 9999-12-31 23:59:59, the last four-digit year
# HTTP-date: IMF-fixdate, rfc850-date, asctime-date (RFC 9110, 5.6.7).
# Compiled on first use: at the start it would take 2 ms.
HTTP_DATES = [form % {
    "weekday": "(?:%s)" % "|".join(DAYS),
    "long": "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day",
    "month": "(?P<month>%s)" % "|".join(MONTHS),
    "time": "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})",
} for form in (
    "%(weekday)s, (?P<day>[0-9]{2}) %(month)s (?P<year>[0-9]{4}) %(time)s GMT",
    "%(long)s, (?P<day>[0-9]{2})-%(month)s-(?P<year>[0-9]{2}) %(time)s GMT",
    "%(weekday)s %(month)s (?P<day>[0-9 ][0-9]) %(time)s (?P<year>[0-9]{4})")]


def http_date(seconds: int) -> str:
    """Return *seconds* since 1970 as IMF-fixdate; at most HTTP_DATE_MAX.

    >>> http_date(784111777)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    year, month, day, hour, minute, second, weekday = time.gmtime(seconds)[:7]
    return "%s, %02d %s %04d %02d:%02d:%02d GMT" % (
        DAYS[weekday], day, MONTHS[month - 1], year, hour, minute, second)


def parse_http_date(value: str, now: float) -> "Optional[int]":
    """Return *value*, a date in any of the three forms, in seconds since 1970.

    Return None if it is not a valid date.  *now*, in the same unit, decides
    the century of a two-digit year: the date is at most 50 years ahead.

    >>> parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", 1.7e9)
    784111777
    >>> parse_http_date("Sun, 31 Feb 2021 00:00:00 GMT", 1.7e9)
    """
    from datetime import datetime, timezone
    found = filter(None, (re.fullmatch(form, value) for form in HTTP_DATES))
    match = next(found, None)
    if not match:
        return None
    year, day, hour, minute, second = map(
        int, match.group("year", "day", "hour", "minute", "second"))
    leap = second == 60     # datetime has no second 60
    date = [year, MONTHS.index(match.group("month")) + 1, day, hour, minute,
            second - leap]
    if len(match.group("year")) == 2:
        this_year, *rest = time.gmtime(now)[:6]
        date[0] += this_year // 100 * 100
        if date > [this_year + 50] + rest:
            date[0] -= 100
    try:
        moment = datetime(*date, tzinfo=timezone.utc)  # type: ignore
    except ValueError:
        return None
    return int(moment.timestamp()) + leap


def parse_fields(lines: "Iterable[bytes]") -> "Dict[str, str]":
    """Return the fields in *lines*, with names in lower case.

    The values of a repeated name are joined with ", " in order.  Raise
    HTTPError(400) for white space before a colon, a continuation line
    (obs-fold) or a control character.  Source: RFC 9110, 5.1-5.6; RFC 9112, 5.
    """
    fields: Dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            raise HTTPError(400, "A field line is not 'name: value'.")
        if NOT_FIELD_CONTENT.search(value):
            raise HTTPError(400, "A field contains a control character.")
        key = name.decode("ascii").lower()
        text = value.strip(b" \t").decode("latin-1")
        fields[key] = fields[key] + ", " + text if key in fields else text
    return fields


def parse_list(value: str, separator: str = ",") -> "List[str]":
    """Return the members of a list, without empty ones.

    Do not use it for quoted strings.  Source: RFC 9110, 5.6.1.

    >>> parse_list("close, ,\\tkeep-alive,")
    ['close', 'keep-alive']
    """
    members = (member.strip(" \t") for member in value.split(separator))
    return [member for member in members if member]


# weight = OWS ";" OWS "q=" qvalue (RFC 9110, 12.4.2).
WEIGHT = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?')     # quoted-string, 5.6.4


def parse_weights(value: str) -> "Dict[str, int]":
    """Return {member: weight} for the *value* of an Accept field.

    Members are in lower case, without parameters; weights are 0 to 1000.
    Members with a malformed weight are ignored.
    Source: RFC 9110, 12.4.2, 12.5.1 and 12.5.3.

    >>> sorted(parse_weights("gzip;q=0.5, BR, x;q=2").items())
    [('br', 1000), ('gzip', 500)]
    """
    weights: Dict[str, int] = {}
    for member in parse_list(QUOTED.sub('""', value.lower())):
        name, _, rest = member.partition(";")
        name = name.rstrip(" \t")
        parameters = parse_list(rest, ";")
        qvalues = [part for part in parameters if re.match("q[ \t]*=", part)]
        match = WEIGHT.fullmatch(qvalues[0] if qvalues else "q=1")
        if not name or not match or len(qvalues) > 1:
            continue
        # A member without other parameters wins over one with them.
        if name not in weights or parameters == qvalues:
            weights[name] = int(float(match.group(1)) * 1000 + 0.5)
    return weights


def acceptable_codings(fields: "Dict[str, str]") -> "Tuple[str, ...]":
    """Return the content codings that the client accepts, best first.

    Equal weights keep the order of CODINGS; "identity" is last unless the
    field gives it a weight.  With Range, return only "identity" if acceptable.
    Source: RFC 9110, 8.4.1.3, 12.5.3.

    >>> acceptable_codings({"accept-encoding": "gzip, br;q=0.9"})
    ('gzip', 'br', 'identity')
    >>> acceptable_codings({"accept-encoding": "*;q=0, gzip"})
    ('gzip',)
    """
    value = fields.get("accept-encoding")
    if value is None:
        return ("identity",)
    weights = parse_weights(value)
    others = weights.get("*", 0)
    weights.setdefault("gzip", weights.get("x-gzip", others))
    # 1: a client that does not mention identity accepts it as a last choice.
    weights.setdefault("identity", weights.get("*", 1))
    ranked = sorted([*CODINGS, "identity"],
                    key=lambda coding: -weights.get(coding, others))
    if "range" in fields and weights["identity"]:
        return ("identity",)
    return tuple(each for each in ranked if weights.get(each, others))


def media_weight(weights: "Dict[str, int]", media: str) -> int:
    """Return the weight of a media type; 0 is refused (RFC 9110, 12.5.1)."""
    # Without an Accept field everything is acceptable.
    others = weights.get("*/*", 0 if weights else 1000)
    kind = media.partition("/")[0] + "/*"
    return weights.get(media, weights.get(kind, others))


def prefers_json(fields: "Dict[str, str]") -> bool:
    """Return whether the client prefers JSON to HTML.

    At equal weights a type that Accept names wins over a type that only a
    range covers: axios, which names JSON beside "*/*", gets JSON.

    >>> prefers_json({"accept": "application/json, text/plain, */*"})
    True
    """
    weights = parse_weights(fields.get("accept", ""))
    json, html_ = [(media_weight(weights, media), media in weights,
                    media.partition("/")[0] + "/*" in weights)
                   for media in ("application/json", "text/html")]
    return json[0] > 0 and json > html_


def wants_digest(fields: "Dict[str, str]") -> bool:
    """Return whether the client wants a SHA-256 digest (RFC 9530, 4)."""
    members = parse_list(fields.get("want-repr-digest", ""))
    # If a key is repeated, the last one counts (RFC 8941, 3.2).
    preferences = dict(member.partition("=")[::2] for member in members)
    return bool(re.fullmatch("[1-9]|10", preferences.get("sha-256", "")))


# ---- Request ----------------------------------------------------------------


class Request:
    """A parsed request head.  No other code reads the head.

    A later head with the same bytes gets the same Request: only its last four
    attributes ever change.

    line        the request line as received, latin-1
    method      "" or "HEAD" if the head could not be parsed
    path, query from the request target, still encoded
    fields      {name in lower case: value}, see parse_fields
    connection  the answer's Connection field: "", "keep-alive" or "close"
    has_body    whether content, not another request, may follow the head
    codings     see acceptable_codings()
    key         requests with equal keys get equal answers
    user        the user's name, in latin-1; "" until Users.admit() sets it
    who, log_rest   parts of the access log line, see LogForm; *who* is set
                only if a proxy named the client
    token       the token of the Answer for which log_rest was made
    """

    __slots__ = ("line", "method", "path", "query", "fields",
                 "connection", "has_body", "codings", "key", "user", "who",
                 "log_rest", "token")

    def __init__(self, line: str, method: str, path: str, query: str,
                 fields: "Dict[str, str]", connection: str, has_body: bool):
        self.line = line
        self.user = self.who = self.log_rest = ""
        self.token: object = None
        self.method = method
        self.path = path
        self.query = query
        if method != "GET":  # RFC 9110, 14.2: ranges are for GET only
            fields = {name: value for name, value in fields.items()
                      if name not in ("range", "if-range")}
        self.fields = fields
        self.connection = connection
        self.has_body = has_body
        self.codings = acceptable_codings(fields)
        self.key = "\n".join(
            [method, path, query, connection, ",".join(self.codings)]
            + [name + ":" + fields[name]
               for name in SELECTING_FIELDS if name in fields])


def parse_request(head: bytes) -> Request:
    """Return the Request in *head*, which includes the empty line at its end.

    Raise HTTPError(400, 414, 431 or 505) if it is malformed; then the bytes
    that follow it on the connection cannot be trusted either.
    Source: RFC 9112, 2.2, 3, 5, 6.3, 9.3 and 11.2.
    """
    check_size(head)
    lines = head[:-4].split(b"\r\n")
    if not lines[0] and lines[1:]:
        del lines[0]  # RFC 9112, 2.2: skip an empty line at the start
    parts = REQUEST_LINE.fullmatch(lines[0])
    if not parts:
        raise HTTPError(400, "A request begins like 'GET /path HTTP/1.1'.")
    method, target, major, minor = [
        part.decode("latin-1") for part in parts.groups()]
    if major != "1":
        raise HTTPError(505, "This server speaks HTTP/1.1.")
    if len(lines) - 1 > FIELDS_MAX:
        raise HTTPError(431, "More than %d field lines." % FIELDS_MAX)
    fields = parse_fields(lines[1:])
    host = fields.get("host", "none" if minor == "0" else "")   # 9112, 3.2
    if not HOST.fullmatch(host):    # nor do two values joined with ", "
        raise HTTPError(400, "The request needs exactly one valid Host field.")
    has_body = announces_body(fields)
    path = query = ""
    if method in ("GET", "HEAD"):
        match = TARGET.fullmatch(target)
        if not match:
            raise HTTPError(400, "The request target is not a path or URI.")
        path, query = match.group(1) or "/", match.group(2) or ""
    return Request(
        lines[0].decode("latin-1"), method, path, query, fields,
        connection_option(fields, minor, has_body), has_body)


def announces_body(fields: "Dict[str, str]") -> bool:
    """Return whether content follows the head (RFC 9112, 6.1-6.3)."""
    length = fields.get("content-length")
    coding = fields.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise HTTPError(400, "Both Content-Length and Transfer-Encoding.")
        if coding.lower() != "chunked":
            raise HTTPError(400, "The only transfer coding here is chunked.")
        return True
    if length is None:
        return False
    if (not re.fullmatch("[0-9]{1,19}(, *[0-9]{1,19})*", length)
            or len(set(parse_list(length))) > 1):
        raise HTTPError(400, "Content-Length is not one number.")
    return length.strip("0, ") != ""


def connection_option(fields: "Dict[str, str]", minor: str,
                      has_body: bool) -> str:
    """Return the answer's Connection value: "", "keep-alive" or "close".

    It is "close" if content follows, as that is not read.  RFC 9112, 9.3.
    """
    options = parse_list(fields.get("connection", "").lower())
    if has_body or "close" in options:
        return "close"
    if minor != "0":
        return ""
    return "keep-alive" if "keep-alive" in options else "close"


def unparsed_request(received: bytes) -> Request:
    """Return a Request for bytes that are not a whole, valid head.

    Its method is "HEAD" if the bytes begin with that: the answer then has no
    content, whatever else is wrong (RFC 9110, 9.3.2).
    """
    line = received.lstrip(b"\r\n").split(b"\r\n", 1)[0][:REQUEST_LINE_MAX]
    method = "HEAD" if line.startswith(b"HEAD ") else ""
    return Request(line.decode("latin-1"), method, "", "", {}, "close", True)


def check_size(received: bytes) -> None:
    """Raise HTTPError if *received*, a head or part of one, is too long."""
    if len(received) > HEAD_MAX:
        raise HTTPError(431, "The head is longer than %d bytes." % HEAD_MAX)
    start = 2 if received.startswith(b"\r\n") else 0    # an empty line
    stop = start + REQUEST_LINE_MAX + 2
    if len(received) >= stop and received.find(b"\r\n", start, stop) < 0:
        raise HTTPError(414, "The request line is longer than %d bytes."
                        % REQUEST_LINE_MAX)


HEAD_END = b"\r\n\r\n"
BARE_LF = re.compile(rb"(?<!\r)\n")


def check_partial(received: bytes, start: int) -> None:
    """Raise HTTPError if no valid head begins with *received*.

    Bytes before *start* have been checked already.
    """
    if not TOKEN.match(received) and not b"\r\n".startswith(received[:2]):
        raise HTTPError(400, "This is not HTTP.")  # TLS, perhaps
    if BARE_LF.search(received, max(0, start - 1)):
        raise HTTPError(400, "A line ends with LF, not CRLF.")
    check_size(received)


# ---- Answer -----------------------------------------------------------------


class Answer:
    """The answer to a request, from Responder to the socket.

    status, fields  of the head; the fields in order
    content     bytes; or a list of parts; None if the status allows no
                content, and after render()
    facts       the states of files that the answer depends on; while they
                hold, it may be sent again.  None: send it only once
    source      the Source of the parts; None if no parts are sent
    length      bytes of the content

    Set by render(), ready for the wire:

    data        the head, and the content if that is bytes
    rest        the content if that is parts
    head_size, total    bytes of the head, and of the whole answer
    closes      whether the connection ends after it
    date        the value of the Date field
    turn        the last turn in which its facts were checked, and held
    token       identifies this date, status and size: log_rest in a Request
                with the same token is still right
    """

    __slots__ = ("status", "fields", "content", "length", "facts", "source",
                 "data", "rest", "head_size", "total", "closes", "date",
                 "turn", "token")

    def __init__(self, status: int, fields: "Fields", content: "Content",
                 facts: "Optional[Facts]" = None,
                 source: "Optional[Source]" = None, length: int = 0):
        self.status = status
        self.fields = fields
        self.content = content
        self.facts = facts
        self.source = source
        self.length = length or len(content or b"")

    def render(self, connection: str, date: str, turn: int, content_sent: bool,
               headers: "Sequence[Tuple[str, str]]") -> "Answer":
        """Make the answer ready for the wire; return it.

        *turn* is the current one, *content_sent* is false for HEAD; for the
        other arguments see render_head().
        """
        self.date = date
        self.turn = turn
        self.closes = connection == "close"
        self.data = render_head(self, date, connection, headers)
        self.head_size = self.total = len(self.data)
        self.rest: Sequence[Part] = ()
        if not content_sent:
            self.source = None
        elif isinstance(self.content, bytes):
            self.data += self.content
        else:
            self.rest = self.content or ()
        if content_sent:
            self.total += self.length
        self.content = None     # now in data or rest, or not sent at all
        self.token = object()
        return self

    def redate(self, date: str) -> None:
        """Change the Date, the first field.

        An answer being sent keeps its Date: the Connection has its bytes.
        """
        old, new = [b"\r\nDate: %s\r\n" % each.encode()
                    for each in (self.date, date)]
        self.data = self.data.replace(old, new, 1)
        self.date = date
        self.token = object()


def parts_length(parts: "Iterable[Any]") -> int:
    """Return how many bytes are in *parts*: bytes, or (start, stop)."""
    return sum(part[1] - part[0] if isinstance(part, tuple)
               else len(part) for part in parts)


# Fields whose names end with these tell caches how long to keep an answer.
# Some caches have their own, such as CDN-Cache-Control (RFC 9213, 2.1).
FOR_CACHES = "cache-control", "expires", "surrogate-control"


def render_head(answer: Answer, date: str, connection: str,
                headers: "Sequence[Tuple[str, str]]") -> bytes:
    """Return the head of *answer*; nothing else writes heads.

    *date* and *connection* are the values of these fields; "" leaves out
    Connection.  *headers* replace fields of the same name; errors leave out
    those for caches.  Raise ValueError for a control character, which could
    end a line too early (RFC 9112, 11.1).
    """
    fields = [("Date", date), ("Server", "httpd.py")]
    if connection:
        fields.append(("Connection", connection))
    fields += answer.fields
    fields.append(("X-Content-Type-Options", "nosniff"))
    if answer.content is not None:
        fields.append(("Content-Length", str(answer.length)))
    if answer.status >= 400:
        headers = [field for field in headers
                   if not field[0].lower().endswith(FOR_CACHES)]
    if headers:
        names = {name.lower() for name, _ in headers}
        fields = [field for field in fields if field[0].lower() not in names]
        fields += headers
    lines = ["HTTP/1.1 %d %s" % (answer.status, REASONS[answer.status])]
    lines += [name + ": " + value for name, value in fields]
    if any(NOT_FIELD_CONTENT.search(line.encode("latin-1")) for line in lines):
        raise ValueError("a control character in a field: %r" % fields)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


# ---- Preconditions and ranges -----------------------------------------------


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of *data*."""
    import hashlib
    return hashlib.sha256(data).digest()


# File times are coarse: two changes in quick succession can give a file the
# same times.  Until a file has been unchanged for this long, its times are not
# a validator, and nothing made from it is used after the turn.
SETTLED_NS = 50 * 10**6     # Linux ticks every 1 to 10 ms


def is_settled(status: os.stat_result, now: float) -> bool:
    """Return whether the file's next change will change its times.

    *now* is seconds since 1970, read before the *status*.
    """
    now_ns = int(now * 1e9)
    # Two seconds if times are whole seconds, or even ones (FAT).
    limit = SETTLED_NS if status.st_ctime_ns % 10**9 else 2 * 10**9
    return min(abs(now_ns - status.st_ctime_ns),
               abs(now_ns - status.st_mtime_ns)) > limit


def tells_change(mtime: int) -> bool:
    """Return whether *mtime*, in seconds, can be the time of a real change.

    Some build systems give all files the same time: Nix 1, OSTree 0, ZIP 1980,
    npm 1985, Bazel the first second of 2000.

    >>> tells_change(10**9), tells_change(1), tells_change(946684800)
    (True, False, False)
    """
    return mtime >= 504921600 and mtime != 946684800    # from 1986 on


def entity_tag(status: os.stat_result, data: "Optional[bytes]",
               coding: str = "") -> str:
    """Return the strong entity tag of a file (RFC 9110, 8.8.3).

    With the content *data* it is a digest, the same on all machines; without,
    it is made from *status*: mtime and size, or inode, ctime and size if the
    mtime says nothing.  Each content *coding* has its own tag.
    """
    if data is not None:
        state = sha256(data)[:16].hex()
    elif tells_change(status.st_mtime_ns // 10**9):
        state = "%x-%x" % (status.st_mtime_ns, status.st_size)
    else:
        state = "%x-%x-%x" % (status.st_ino, status.st_ctime_ns,
                              status.st_size)
    return '"%s%s"' % (state, coding and "-" + coding)


def evaluate_preconditions(fields: "Dict[str, str]", etag: "Optional[str]",
                           modified: "Optional[int]", now: float) -> int:
    """Return 304 or 412 if a precondition requires it, otherwise 0.

    *etag* and *modified* (seconds) are the validators of the representation,
    or None.  Invalid dates are ignored.
    Source: RFC 9110, 13.1; the order is that of 13.2.2.
    """
    def is_later(than: str) -> "Optional[bool]":     # None if unknown
        if modified is None or than not in fields:
            return None
        date = parse_http_date(fields[than], now)
        return None if date is None else modified > date

    tags = fields.get("if-match")
    if tags is None:
        failed = is_later("if-unmodified-since")
    else:   # a strong comparison: a weak tag matches nothing
        failed = tags != "*" and ("", etag) not in ENTITY_TAG.findall(tags)
    if failed:
        return 412
    tags = fields.get("if-none-match")
    if tags is None:
        return 304 if is_later("if-modified-since") is False else 0
    known = [tag for _, tag in ENTITY_TAG.findall(tags)]
    return 304 if tags == "*" or etag in known else 0


def range_applies(fields: "Dict[str, str]", etag: "Optional[str]",
                  modified: "Optional[int]", now: float) -> bool:
    """Return whether If-Range, if it is there, allows a range.

    The comparison is strong: a date must be more than a second old.
    Source: RFC 9110, 13.1.5 and 8.8.2.2.
    """
    validator = fields.get("if-range")
    if validator is None:
        return True
    if ENTITY_TAG.fullmatch(validator):
        return validator == etag
    return (modified is not None and modified < now - 1
            and parse_http_date(validator, now) == modified)


BYTE_RANGE = re.compile("(?!-$)([0-9]{0,19})-([0-9]{0,19})")


def select_ranges(value: str, length: int) -> "Optional[List[ByteRange]]":
    """Return the (first, last) byte positions that Range *value* selects.

    *length* is the size of the representation in bytes.  Positions count from
    0 and are inclusive; ranges are coalesced.  Return None if the field must
    be ignored: unknown unit, malformed, more than RANGES_MAX ranges.
    Raise HTTPError(416) if no byte is selected.
    Source: RFC 9110, 14.1.2, 14.2, 15.3.7.2 and 15.5.17.

    >>> select_ranges('bytes=0-4, -3', 10), select_ranges('bytes=5-,3-5', 10)
    ([(0, 4), (7, 9)], [(3, 9)])
    >>> select_ranges('bytes=1_0-20', 100), select_ranges('lines=1-2', 100)
    (None, None)
    """
    unit, _, specs = value.partition("=")
    members = parse_list(specs)
    # White space before a list is not allowed.
    if (unit.lower() != "bytes" or specs[:1] in " \t"
            or not 0 < len(members) <= RANGES_MAX):
        return None
    selected: List[ByteRange] = []
    for member in members:
        match = BYTE_RANGE.fullmatch(member)
        if not match:
            return None
        start, end = match.groups()
        if start:
            first, last = int(start), int(end or max(int(start), length))
        else:   # the last bytes; of empty content there are none: ignored
            first, last = max(0, length - int(end)), length - (int(end) > 0)
        if last < first:
            return None
        if first < length:
            selected.append((first, min(last, length - 1)))
    if not selected:
        raise HTTPError(416, "The file has %d bytes." % length,
                        [("Content-Range", "bytes */%d" % length)])
    return coalesce(selected)


def coalesce(ranges: "List[ByteRange]") -> "List[ByteRange]":
    """Merge the *ranges* that overlap or touch; keep the order of the rest.

    >>> coalesce([(5, 9), (0, 2)]), coalesce([(5, 9), (0, 2), (3, 3)])
    ([(5, 9), (0, 2)], [(5, 9), (0, 3)])
    """
    merged: List[ByteRange] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    starts = [first for first, _ in merged]
    order = [merged[bisect(starts, first) - 1] for first, _ in ranges]
    return list(OrderedDict.fromkeys(order))


def multipart(ranges: "Sequence[ByteRange]", length: int, media: str,
              boundary: str) -> "List[Part]":
    """Return multipart/byteranges content as a list of parts.

    Each part is bytes, or (start, stop) in the representation of *length*
    bytes.  The first delimiter begins with CRLF, too, as in nginx: without it
    zsync asks for ever.  Source: RFC 9110, 14.6; RFC 2046, 5.1.1.
    """
    parts: List[Part] = []
    for first, last in ranges:
        head = ("\r\n--%s\r\nContent-Type: %s\r\n"
                "Content-Range: bytes %d-%d/%d\r\n\r\n"
                % (boundary, media, first, last, length))
        parts += [head.encode("latin-1"), (first, last + 1)]
    return parts + [("\r\n--%s--\r\n" % boundary).encode("latin-1")]


# ---- Target path ------------------------------------------------------------

NOTHING_HERE = "There is nothing here with this name."

BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")

# Names that Windows would read differently: drives and streams (:), another
# separator (\), short names (~), devices, and dots or blanks at the end, which
# it drops.
WINDOWS_NAME = (
    rb"(?is).*[\\:*?\"<>|~\x00-\x1f].*|.*[. ]"
    rb"|(con|prn|aux|nul|conin\$|conout\$|(com|lpt)([0-9]|\xc2[\xb9\xb2\xb3]))"
    rb"([. ].*)?")


def path_segments(path: str,
                  windows: bool = False) -> "Tuple[List[bytes], bool]":
    """Return the names in *path*, and whether "/" or a dot segment ends it.

    *path* is decoded once; dot segments never lead above the root.
    Raise HTTPError(400) for a malformed escape or a NUL, and 404 for a name
    that no file can have.  Source: RFC 3986, 2.1, 5.2.4.

    >>> path_segments("/a/./b/..//c%20d/")
    ([b'a', b'c d'], True)
    >>> path_segments("/../%2e%2E/etc")
    ([b'etc'], False)
    """
    if BAD_ESCAPE.search(path):
        raise HTTPError(400, "The path has a % without two hex digits.")
    decoded = path.encode("latin-1")
    if "%" in path:
        from urllib.parse import unquote_to_bytes
        decoded = unquote_to_bytes(decoded)
    if b"\0" in decoded:
        raise HTTPError(400, "The path has a NUL.")
    segments: List[bytes] = []
    names = decoded.split(b"/")
    if len(names) > path.count("/") + 1:
        raise HTTPError(404, NOTHING_HERE)
    for name in names:
        if name == b"..":
            del segments[-1:]
        elif windows and re.fullmatch(WINDOWS_NAME, name) and name != b".":
            raise HTTPError(404, NOTHING_HERE)
        elif name not in (b"", b"."):
            segments.append(name)
    return segments, name in (b"", b".", b"..")


# What a query may contain (RFC 3986, 3.4); "%" begins an escape.
QUERY_CHARACTERS = "!$&'()*+,;=:@/?%-._~"


def percent_encode(data: bytes, safe: str = "") -> str:
    """Return *data* with all but unreserved and *safe* characters escaped."""
    import urllib.parse
    return urllib.parse.quote(data, safe)


def is_hidden(segments: "Sequence[bytes]") -> bool:
    """Return whether a name, other than /.well-known/, begins with a dot.

    >>> is_hidden([b".well-known", b"a"]), is_hidden([b"a", b".well-known"])
    (False, True)
    """
    rest = segments[1:] if segments[:1] == [b".well-known"] else segments
    return any(name.startswith(b".") for name in rest)


def folder_reference(name: bytes) -> str:
    """Return the reference to folder *name* from its path without "/".

    It is relative, so it works below a proxy's prefix, and never leads to
    another host, whatever the name is (RFC 3986, 4.2).

    >>> folder_reference(b"a:b?")
    './a%3Ab%3F/'
    """
    return "./" + percent_encode(name) + "/"


def media_type(name: bytes) -> "Optional[str]":
    """Return the media type of a file by the suffix of its *name*, or None.

    >>> media_type(b"a/INDEX.HTML"), media_type(b"x.tar.gz")
    ('text/html', 'application/gzip')
    """
    suffix = os.path.splitext(name)[1][1:].lower().decode("latin-1")
    return MEDIA_TYPES.get(suffix)


# How a page declares its encoding, in HTML or XML; comments do not count.
ENCODING = re.compile(
    rb"(?is)<!--.*?(?:-->|\Z)"
    rb"|<(?:meta\s[^>]*?charset|\?xml\s[^>]*?encoding)\s*=\s*[\"']?\s*"
    rb"([^\s\"'/>;]+)")


# A file of unknown suffix that has one of these is not text.  In a file whose
# suffix says text, only NUL and ESC (for ISO 2022) mean that it is not UTF-8.
CONTROLS = bytes({*range(32), 127} - set(b"\t\n\f\r"))


def content_type(kind: "Optional[str]", head: bytes) -> str:
    """Return the Content-Type for media type *kind*, None for unknown types.

    *head* is the first SMALL bytes of the content, or all.  Text gets a
    charset if *head* is UTF-8 and declares no other encoding, which the field
    would outrank (HTML, 13.2.3).  Content of unknown type is plain text if
    *head* is UTF-8 without CONTROLS, or empty.

    >>> content_type("text/css", b"a"), content_type(None, b"\\xff")
    ('text/css; charset=utf-8', 'application/octet-stream')
    """
    if kind is not None and not kind.startswith("text/"):
        return kind
    declared = b""
    if kind == "text/html":     # in its first KiB (HTML, 4.2.5)
        found = filter(None, ENCODING.findall(head[:KIB]))
        declared = next(found, b"").lower()
    controls = b"\0\x1b" if kind else CONTROLS
    if (declared in (b"", b"utf-8", b"utf8")
            and len(head.translate(None, controls)) == len(head)):
        decoder = codecs.getincrementaldecoder("utf-8")()
        with contextlib.suppress(UnicodeDecodeError):
            # The last character may continue after *head*.
            decoder.decode(head, len(head) < SMALL)
            return (kind or "text/plain") + "; charset=utf-8"
    return kind or "application/octet-stream"


# ---- Passwords --------------------------------------------------------------

SCRYPT = 8192, 8, 1     # n, r and p of new hashes: 30 ms, 8 MiB


class PasswordHash(namedtuple("PasswordHash", "cost salt hash")):
    """The scrypt hash of a password (RFC 7914); *cost* is (n, r, p)."""

    def make(self, password: bytes) -> bytes:
        """Return the hash of *password* with the same salt and cost."""
        import hashlib
        n, r, p = self.cost
        return hashlib.scrypt(
            password, salt=self.salt, n=n, r=r, p=p,
            maxmem=2 * 128 * SCRYPT_COST_MAX, dklen=len(self.hash))


_BASE64 = "((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)"
PASSWORD_HASH = (r"scrypt\$" + 3 * r"([0-9]{1,7})\$" + _BASE64 + r"\$"
                 + _BASE64)
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")    # not allowed (RFC 7617, 2)
# credentials = "Basic" 1*SP token68 (RFC 7617, 2; RFC 9110, 11.4)
BASIC_CREDENTIALS = "[Bb][Aa][Ss][Ii][Cc] +" + _BASE64


def parse_password_hash(text: str) -> PasswordHash:
    """Return the PasswordHash in *text*.

    Raise ValueError if there is none, or if checking a password against it
    would take too much time or memory.

    >>> parse_password_hash("scrypt$2$8$1$c2FsdHNhbHQ=$" + 24 * "A").cost
    (2, 8, 1)
    """
    import base64
    match = re.fullmatch(PASSWORD_HASH, text)
    if not match:
        raise ValueError("there is no hash after the colon; make one with"
                         " --hash-password")
    n, r, p = map(int, match.group(1, 2, 3))
    # RFC 7914, 6: n is a power of 2, and less than 2**(128 * r / 8).
    valid = n > 1 and not n & n - 1 and not n >> 16 * r and r * p
    if not valid or n * r * p > SCRYPT_COST_MAX:
        raise ValueError("scrypt refuses n, r or p, or they cost too much")
    salt, hashed = map(base64.b64decode, match.group(4, 5))
    if not (8 <= len(salt) <= 64 and 16 <= len(hashed) <= 64):
        raise ValueError("the salt or the hash is too short or too long")
    return PasswordHash((n, r, p), salt, hashed)


def check_user_name(name: bytes) -> None:
    """Raise ValueError unless a user may have this *name* (RFC 7617, 2)."""
    if (not name or b":" in name or CONTROL.search(name)
            or name != name.strip()):
        raise ValueError("the user's name is empty, or has a colon, a control"
                         " character, or spaces around it")


def parse_users(data: bytes) -> "Dict[bytes, PasswordHash]":
    """Return the users in *data*: lines of user ":" hash, or "#" comments.

    Raise ValueError with the line's number, but nothing of its text.
    """
    users: Dict[bytes, PasswordHash] = {}
    data = data[3:] if data.startswith(b"\xef\xbb\xbf") else data   # a BOM
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        user, _, text = line.partition(b":")
        try:
            check_user_name(user)
            if user in users:
                raise ValueError("this user already has a line")
            users[user] = parse_password_hash(text.decode("latin-1").strip())
        except ValueError as exc:
            raise ValueError("line %d: %s" % (number, exc))
    return users


def parse_credentials(value: str) -> "Optional[Tuple[bytes, bytes]]":
    """Return (user, password) in an Authorization field's *value*.

    Return None for anything else; raise HTTPError(400) for two fields.
    Source: RFC 7617, 2.

    >>> parse_credentials("basic bWU6OmE=")
    (b'me', b':a')
    >>> parse_credentials("Basic bWU="), parse_credentials("Bearer bWU6OmE=")
    (None, None)
    """
    import base64
    if re.match("(?i)basic ", value) and "," in value:
        raise HTTPError(400, "There are two Authorization fields.")
    match = re.fullmatch(BASIC_CREDENTIALS, value)
    if not match:
        return None
    user, colon, password = base64.b64decode(match.group(1)).partition(b":")
    if not colon or CONTROL.search(user + password):
        return None
    return user, password


# ---- Pages ------------------------------------------------------------------

HTML = "text/html; charset=utf-8"
# The colours are those of htdocs/style.css, and one for visited links.  The
# empty icon keeps browsers from asking for /favicon.ico.
PAGE_START = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>%s</title>
<style>
:root { --paper: #fbfaf7; --ink: #1e2427; --quiet: #566066; --line: #dfddd5;
        --row: #f0eee8; --link: #0b6b5d; --seen: #75478f }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14191b; --ink: #e3e8e7; --quiet: #9fabab; --line: #2c3538;
          --row: #1e2528; --link: #62cfb8; --seen: #c8a4de } }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; color: var(--ink);
       background: var(--paper); font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; line-height: 1.3; overflow-wrap: anywhere }
a { color: var(--link); text-underline-offset: .2em; unicode-bidi: isolate }
a:visited { color: var(--seen) }
:focus-visible { outline: 3px solid var(--link) }
</style>
"""
# Icons: for which links, a colour for light and dark pages, and the drawing,
# 16 units wide.
ICONS = [
    ("li a", "7a868b", "M3 1h6v4h4v10H3zM10 1l3 3h-3z"),
    (".d", "1d8f7d", "M1 3h5l2 2h7v9H1z"),      # directories
    (".i", "7a868b", "M1 2h14v12H1zM3 4v6l3-3 3 3 2-2 2 2V4zM10 5h2v2h-2z"),
    (".v", "7a868b", "M1 3h14v10H1zM6 5v6l5-3z"),
    (".a", "7a868b", "M5 2l9-1v11a2 2 0 1 1-2-2V4L7 5v8a2 2 0 1 1-2-2z"),
    (".z", "7a868b", "M1 2h14v3H1zM2 6h12v8H2zM6 7.5V9h4V7.5z"),
    (".t", "7a868b", "M3 1h6v4h4v10H3zM10 1l3 3h-3zM5 7v1h6V7zm0 3v1h6v-1z"),
    (".c", "7a868b", "M6 3L1 8l5 5 1-1-4-4 4-4zm4 0l5 5-5 5-1-1 4-4-4-4z")]
# The classes of links to files, by suffix.
CLASSES = {b"." + suffix.encode(): media[0]
           for suffix, media in MEDIA_TYPES.items()
           if media.startswith(("audio", "image", "text", "video"))}
CLASSES.update((b"." + suffix.encode(), letter) for letter, suffixes in [
    ("z", "7z apk bz2 deb gz iso jar rar rpm tar tgz xz zip zst"),
    ("c", """bat c cc cpp cs css go h hpp htm html java js json jsx lua mjs php
             pl ps1 py rb rs sh sql toml ts tsx xml yaml yml"""),
    ("t", "doc docx epub odt pdf rtf")] for suffix in suffixes.split())
# A list, because in a table no link can cover a whole row.  Icons are
# backgrounds, because elements would make scrolling slow.  On a phone, <time>
# is as wide as the date, so the time of day wraps and is cut off.
LISTING_STYLE = """<style>
html { scroll-padding: 3rem 0 }
h1, p { margin: 0 0 .25rem }
nav a { display: inline-block }
#top { display: flex; flex-wrap: wrap; gap: .25rem 1rem; color: var(--quiet);
       align-items: baseline; margin-bottom: .75rem }
button, input { font: inherit; color: inherit; text-align: inherit;
                background: none; border: 0; padding: .375rem 0 }
#top form { display: flex; gap: 1rem }
#top button { color: var(--link) }
#find { flex: 0 1 20rem; margin-left: auto }
::placeholder { color: var(--quiet); opacity: 1 }
#find input { flex: 1; min-width: 0; padding: .25rem .5rem; color: var(--ink);
              border: 1px solid var(--quiet); border-radius: .25rem }
#sort, li a { display: grid; column-gap: 1rem;
              grid-template-columns: minmax(0, 1fr) 5rem 8.5rem }
#sort { position: sticky; top: 0; z-index: 1; background: var(--paper);
        box-shadow: 0 1px var(--line) }
#sort, i, time { font: .875rem/1.5rem system-ui, sans-serif;
                 font-variant-numeric: tabular-nums; color: var(--quiet) }
button + button, i, time { text-align: right; overflow-wrap: normal }
[aria-current] { font-weight: 700; color: var(--ink) }
ul { margin: 0; padding: 0; list-style: none }
li { border-bottom: 1px solid var(--line) }
li a { padding: .375rem 0 .375rem 1.75rem; overflow-wrap: anywhere;
       text-decoration: none; background: .25rem .625rem / 1rem no-repeat }
li a:not(.d):link { color: var(--ink) }
time { grid-column: 3 }
li a:hover { background-color: var(--row) }
button:hover { text-decoration: underline; cursor: pointer }
:focus-visible { outline-offset: -3px }
""" + "".join(
    "%s { background-image: url(\"data:image/svg+xml,<svg xmlns='http://www."
    "w3.org/2000/svg' viewBox='0 0 16 16'><path fill='%%23%s' fill-rule="
    "'evenodd' d='%s'/></svg>\") }\n" % icon
    for icon in ICONS) + """@media (max-width: 40rem) {
  #find { flex-grow: 1; margin: 0 }
  #sort { display: flex; gap: 1.5rem }
  li a { display: block }
  i::before { content: "\\a"; white-space: pre }
  i:not(:empty)::after { content: " \\b7 " }
  time { display: inline-block; width: 7em; height: 1.5rem;
         overflow: hidden; vertical-align: bottom; text-align: left } }
@media (pointer: coarse) {
  nav a, button, #find input, li a { padding-top: .625rem;
                                     padding-bottom: .625rem }
  li a { background-position-y: .875rem } }
</style>
"""
LISTING_BODY = """</head>
<body>
%s<h1><bdi>%s</bdi></h1>
<div id="top">
<p>%s</p>
%s<form id="find" role="search">%s
<input type="search" name="q" value="%s" aria-label="Filter by name"
 placeholder="Filter by name">
<button>Filter</button></form>
</div>
<form id="asc"><input type="hidden" name="order" value="asc">%s</form>
<form id="desc"><input type="hidden" name="order" value="desc">%s</form>
<div id="sort" role="group" aria-label="Sort by">
%s</div>
<ul role="list">
%s"""
HIDDEN = '<input type="hidden" name="%s" value="%s">'
ARCHIVE_FORM = """<form>
<button name="tar">Download .tar</button>
<button name="zip">Download .zip</button></form>
"""
PAGE_END = "</body>\n</html>\n"
# Allows no script, and no style but the two above, with the images in them; a
# test computes their hashes anew.
NO_SCRIPTS = (
    "default-src 'none'; img-src data:; style-src"
    " 'sha256-AgWcVUqGgrtxKUAkcl4ZWKVa1lEpBcyIh7T4/LmOdLA='"
    " 'sha256-+LxnWyjb7qzsQzMi09l/FpYvFh3CuVXckjTUAL6Wsvc=';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'")


def error_page(status: int, detail: str, path: str,
               location: str = "") -> bytes:
    """Return the HTML that explains *status*, and says what to do next.

    The page links to *location*; without one, from the request's *path* to
    the first page, unless that is the path or it is not known.
    """
    reason, remedy = STATUSES[status]
    title = "%d %s" % (status, reason)
    words = [html.escape(detail), remedy]
    link, text = location, location
    if path.strip("/") and not location:
        # Relative: a proxy may show this server's "/" at another path.
        link = "../" * (path.count("/") - 1) or "./"
        text = "Go to the first page"
    if link:
        words.append('<a href="%s">%s</a>' % (html.escape(link),
                                              html.escape(text)))
    page = PAGE_START % title + "</head>\n<body>\n<h1>%s</h1>\n" % title
    page += "".join("<p>%s</p>\n" % text for text in words if text)
    return (page + PAGE_END).encode("utf-8")


# A file or folder in a listing; a folder's size is None.
Entry = namedtuple("Entry", "name size mtime")


def folded(name: bytes) -> str:
    """Return *name* as text to compare it without regard to case."""
    return name.decode("utf-8", "surrogateescape").casefold()


def natural_key(name: bytes) -> "Tuple[str, bytes]":
    """Return the key that sorts "f2" before "f10", and "B" after "a".

    >>> sorted([b"f10", b"F2", b"f1"], key=natural_key)
    [b'f1', b'F2', b'f10']
    """
    # The count of digits goes first: fewer digits mean a smaller number.
    return re.sub("0*([0-9]+)", lambda match: "0%c%s" % (
        len(match.group(1)), match.group(1)), folded(name)), name


# For each ?sort=: the title of its column, and its orders for people.
COLUMNS = OrderedDict([
    ("name", ("Name", "A to Z", "Z to A")),
    ("size", ("Size", "Smallest first", "Largest first")),
    ("time", ("Modified", "Oldest first", "Newest first"))])


class Listing:
    """A folder's listing, in the form and order that *request* asks for.

    media   its media type
    coding  "gzip", "identity", or "" if the client accepts neither
    part    what a name must contain to be shown; b"" shows all
    vary    the request fields that the listing depends on
    """

    def __init__(self, request: Request, segments: "Sequence[bytes]",
                 archives: bool):
        from urllib.parse import parse_qsl
        words = dict(parse_qsl(request.query, True, encoding="latin-1"))
        # The words about the order, unless they ask for the default.
        asked = [(name, words[name]) for name, values in [
            ("sort", ("size", "time")), ("order", ("desc",))]
            if words.get(name) in values]
        self._hidden = "".join(HIDDEN % pair for pair in asked)
        self._query = "?" * bool(asked) + "&amp;".join(
            "%s&#61;%s" % pair for pair in asked)
        self.sort = dict(asked).get("sort", "name")
        self.reverse = "order" in dict(asked)
        self.backwards = self.reverse and self.sort == "name"
        self.media = ("application/json" if prefers_json(request.fields)
                      else HTML)
        self.vary = ["Accept", "Accept-Encoding"]
        self.coding, self.part = "identity", b""
        if "q" in words:
            # Never compressed: the length would tell an attacker whose guess
            # is in the query how much of it is on the page (BREACH).
            self.vary.append("Sec-Fetch-Site")
            if request.fields.get("sec-fetch-site") != "cross-site":
                self.part = words["q"].encode("latin-1")
        else:
            self.coding = next((coding for coding in request.codings
                                if coding in ("gzip", "identity")), "")
        self.archives = archives
        self.segments = segments
        self._counts, self._size = [0, 0], 0

    def takes(self, entry: Entry) -> bool:
        """Return whether *entry* is to be shown; if so, count it."""
        if self.part and folded(self.part) not in folded(entry.name):
            return False
        self._counts[entry.size is not None] += 1
        self._size += entry.size or 0
        return True

    def key(self, entry: Entry) -> "Tuple[bool, int, Tuple[str, bytes]]":
        """Return the key that sorts *entry*: folders first, ties by name.

        The keys are for reverse order if *backwards*: names have no opposites.
        """
        number = {"name": 0, "size": entry.size or 0,
                  "time": entry.mtime}[self.sort]
        return ((entry.size is not None) != self.backwards,
                -number if self.reverse else number, natural_key(entry.name))

    def row(self, entry: Entry) -> str:
        """Return the JSON or the HTML for *entry*."""
        if self.media != HTML:
            return json_row(entry)
        link, name = percent_encode(entry.name), name_for_people(entry.name)
        if entry.size is None:
            link, name = link + "/" + self._query, name + "/"
            letter, size = "d", "<i></i>"
        else:
            _, dot, suffix = entry.name.rpartition(b".")
            letter = CLASSES.get(dot + suffix.lower(), "")
            size = "<i%s>%s</i>" % (
                ' title="%d bytes"' % entry.size if entry.size >= KIB else "",
                size_for_people(entry.size))
        utc = listing_time(entry.mtime)
        return '<li><a href="%s"%s>%s %s%s</a>' % (
            link, " class=" + letter if letter else "", name, size,
            utc and ' <time title="%s UTC">%s</time>' % (
                utc, listing_time(entry.mtime, time.localtime)[:-3]))

    def frame(self) -> "Tuple[str, str, str]":
        """Return the text before, between and after the rows.

        takes() has counted the entries before.
        """
        if self.media != HTML:
            return "[\n", ",\n", "\n]\n"
        # "Files": the root's own name would tell about this machine.
        *above, title = map(name_for_people, (b"Files", *self.segments))
        path = parent = ""
        if above:
            # Relative, as a proxy may show this server's "/" elsewhere; not in
            # quotes, as fsspec takes quoted links for names in the folder.
            path = '<nav aria-label="Path">%s</nav>\n' % "".join(
                "<a href=%s%s>%s</a> /\n" % (
                    "../" * (len(above) - i), self._query, name)
                for i, name in enumerate(above))
            parent = '<li><a href="../%s" class=d>../</a>\n' % self._query
        part = name_for_people(self.part)
        hidden = HIDDEN % ("q", part) if part else ""
        before = PAGE_START % title + LISTING_STYLE + LISTING_BODY % (
            path, title, self._summary(),
            ARCHIVE_FORM if self.archives and not part else "",
            self._hidden, part, hidden, hidden,
            "".join(map(self._button, COLUMNS)), parent)
        return before, "\n", "\n</ul>\n" + PAGE_END

    def _summary(self) -> str:
        """Return how many folders and files are shown, and their size."""
        counts = ["{:,} {}".format(count, word + "s" * (count != 1))
                  for count, word in zip(self._counts, ("folder", "file"))
                  if count]
        if self._counts[1]:
            counts.append(size_for_people(self._size))
        return " \xb7 ".join(counts) or (
            "No name here contains this text." if self.part
            else "This folder is empty.")

    def _button(self, sort: str) -> str:
        """Return the button above a column, which sorts by that column."""
        # Not a link: crawlers would fetch the folder again in each order.
        title, *orders = COLUMNS[sort]
        reverse, current = sort != "name", ""
        if sort == self.sort:
            reverse = not self.reverse
            title += " \u2193" if self.reverse else " \u2191"
            current = ' aria-current="true"'
        return ('<button form="%s" name="sort" value="%s" title="%s"%s>%s'
                '</button>\n' % ("desc" if reverse else "asc", sort,
                                 orders[reverse], current, title))


def json_row(entry: Entry) -> str:
    """Return *entry* as JSON, in the form of nginx's autoindex.

    A byte that is not UTF-8 becomes a lone surrogate, U+DC80 to U+DCFF.
    """
    import json
    fields: Dict[str, object] = {
        "name": entry.name.decode("utf-8", "surrogateescape"),
        "type": "directory" if entry.size is None else "file"}
    if 0 <= entry.mtime <= HTTP_DATE_MAX:
        fields["mtime"] = http_date(entry.mtime)
    if entry.size is not None:
        fields["size"] = entry.size
    return json.dumps(fields)


NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def name_for_people(name: bytes) -> str:
    """Return *name* as HTML, with U+FFFD for invalid UTF-8 and for controls.

    Controls include those that reverse the writing direction (UAX 9): after
    one of them, "gpj.exe" looks like "exe.jpg".

    >>> name_for_people(b"<\\xe9\\x1b")
    '&lt;\ufffd\ufffd'
    """
    text = name.decode("utf-8", "replace")
    return html.escape(NOT_SHOWN.sub("\ufffd", text))


def size_for_people(size: int) -> str:
    """Return *size*, in bytes, as a number of about three digits and a unit.

    >>> size_for_people(999), size_for_people(1536), size_for_people(5 << 30)
    ('999 B', '1.5 KiB', '5.0 GiB')
    """
    if size < KIB:
        return "%d B" % size
    number = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        number /= KIB
        if number < 999.5:
            break
    return "%.*f %s" % (1 if number < 99.95 else 0, number, unit)


def listing_time(mtime: int, zone: "Callable[[float], time.struct_time]"
                 = time.gmtime) -> str:
    """Return *mtime*, in seconds since 1970, as text; "" if out of range.

    *zone* converts it: to UTC, or to local time with time.localtime.
    """
    if not 0 <= mtime <= HTTP_DATE_MAX:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", zone(mtime))


# ---- Archive formats --------------------------------------------------------

ARCHIVES = {"tar": "application/x-tar", "zip": "application/zip"}
UINT16_MAX, UINT32_MAX = 2**16 - 1, 2**32 - 1   # from these on ZIP has Zip64
TAR_BLOCK, TAR_END = 512, bytes(1024)
OCTAL_MAX = 8**11 - 1   # in eleven digits; beyond it pax has a decimal number
ZIP_TIMES = 315532800, 4354819198   # what its dates span: 1980 to 2107
ZIP_UNIX, ZIP_VERSION = 3, 45       # whose modes it has; 4.5 reads Zip64


def is_utf8(name: bytes) -> bool:
    """Return whether *name* is valid UTF-8."""
    try:
        return name.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return a record of an extended header; it begins with its own length.

    >>> pax_record(b"size", b"8589934592"), len(pax_record(b"k", 95 * b"v"))
    (b'19 size=8589934592\\n', 102)
    """
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d%s" % (length, rest)


def tar_head(name: bytes, mode: int, size: int, mtime: int,
             kind: bytes = b"") -> bytes:
    """Return what precedes an entry's content in a tar archive.

    The *name* of a folder ends with "/".  What does not fit a header, or is
    not plain there, is in an extended one before it, of another *kind*.  No
    owner, and no rights but to read, write and run.  Source: POSIX, pax.
    """
    extended = b""
    if len(name) > 100 or max(name) > 127 and is_utf8(name):
        if not is_utf8(name):   # else it is plain, as GNU tar has it
            extended = pax_record(b"hdrcharset", b"BINARY")
        extended += pax_record(b"path", name)
    if size > OCTAL_MAX:
        extended += pax_record(b"size", b"%d" % size)
        size = 0
    if not 0 <= mtime <= OCTAL_MAX:
        extended += pax_record(b"mtime", b"%d" % mtime)
        mtime = 0
    head = b"%s%07o\0%s%011o\0%011o\0        %s%sustar\00000" % (
        name[:100].ljust(100, b"\0"), mode & 0o777, 2 * b"0000000\0", size,
        mtime, kind or (b"5" if name.endswith(b"/") else b"0"), bytes(100))
    head = (head[:148] + b"%06o\0 " % sum(head) + head[156:]
            ).ljust(TAR_BLOCK, b"\0")
    if extended:
        head = (tar_head(b"pax", 0o644, len(extended), 0, b"x") + extended
                + bytes(-len(extended) % TAR_BLOCK) + head)
    return head


def zip_head(name: bytes, mode: int, size: int, mtime: int, crc: int,
             offset: "Optional[int]" = None) -> bytes:
    """Return what precedes an entry's content in a ZIP archive.

    With the *offset* of that, return its entry of the central directory.
    Source for all of ZIP: PKWARE's APPNOTE.TXT, 6.3.10.
    """
    low, high = ZIP_TIMES
    year, month, day, hour, minute, second = time.gmtime(
        min(max(mtime, low), high))[:6]
    extra = b""
    if 0 <= mtime < 2**31:
        extra = struct.pack("<2HBL", 0x5455, 5, 1, mtime)   # Info-ZIP's "UT"
    large = [size, size] if size >= UINT32_MAX else []
    if offset is not None and offset >= UINT32_MAX:
        large.append(offset)
    if large:
        extra += struct.pack("<2H%dQ" % len(large), 1, 8 * len(large), *large)
    size = min(size, UINT32_MAX)
    facts = struct.pack(
        "<5H3L2H", ZIP_VERSION, is_utf8(name) << 11, 0,     # bit 11: UTF-8;
        hour << 11 | minute << 5 | second // 2,             # 0: stored
        year - 1980 << 9 | month << 5 | day, crc, size, size,
        len(name), len(extra))
    if offset is None:
        return b"PK\3\4%s%s%s" % (facts, name, extra)
    is_folder = name.endswith(b"/")
    unix = (stat.S_IFDIR if is_folder else stat.S_IFREG) | mode & 0o777
    return b"PK\1\2%c%c%s%s%s%s" % (
        ZIP_VERSION, ZIP_UNIX, facts, struct.pack(
            "<3H2L", 0, 0, 0, unix << 16 | is_folder << 4,  # DOS has it, too
            min(offset, UINT32_MAX)), name, extra)


def zip_end(count: int, start: int, stop: int) -> bytes:
    """Return what follows the central directory of *count* entries.

    That is from *start* up to *stop*.
    """
    entries = min(count, UINT16_MAX)
    end = b"PK\5\6" + struct.pack(
        "<4H2LH", 0, 0, entries, entries, min(stop - start, UINT32_MAX),
        min(start, UINT32_MAX), 0)
    if entries < UINT16_MAX and stop < UINT32_MAX:
        return end
    return b"PK\6\6%sPK\6\7%s%s" % (
        struct.pack("<Q2H2L4Q", 44, ZIP_UNIX << 8 | ZIP_VERSION, ZIP_VERSION,
                    0, 0, count, count, stop - start, start),
        struct.pack("<LQL", 0, stop, 1), end)


def is_harmful(name: bytes) -> bool:
    r"""Return whether *name* may lead out of a folder where "\" is a slash.

    Windows drops trailing dots and blanks.

    >>> is_harmful(b"..\\a"), is_harmful(b"a\\.. \\b"), is_harmful(b"..a\\b")
    (True, True, False)
    """
    return bool(re.search(rb"(?:^|\\)[. ]*\.[. ]*(?:\\|$)", name))


def attachment(name: str) -> "Tuple[str, str]":
    """Return the Content-Disposition of a file *name* (RFC 6266; RFC 8187).

    >>> attachment("\u00e9 b.zip")[1]
    'attachment; filename="_ b.zip"; filename*=UTF-8\\'\\'%C3%A9%20b.zip'
    """
    return "Content-Disposition", (
        "attachment; filename=\"%s\"; filename*=UTF-8''%s" % (
            re.sub(r"[^ !#$&-\[\]-~]", "_", name),
            percent_encode(name.encode("utf-8"))))


# ---- Access log line --------------------------------------------------------

UNIX_PEER = ("unix:", None)     # any client of a Unix socket; as in nginx

UNSAFE = re.compile(r'[^ !#-\[\]-~]')


def escape(text: str) -> str:
    """Return *text*, latin-1, with unsafe characters written as \\xHH.

    Only plain ASCII without quote and backslash stays, so the result cannot
    end a line or a quoted field, or send control sequences to a terminal.

    >>> escape('a"\\x1b\\n')
    'a\\\\x22\\\\x1b\\\\x0a'
    """
    return UNSAFE.sub(lambda match: "\\x%02x" % ord(match.group()), text)


def log_date(seconds: int) -> str:
    """Return the local time with its zone, as NCSA logs have it."""
    local = time.localtime(seconds)
    offset = local.tm_gmtoff // 60      # PyPy's strftime() ignores the zone
    return "%02d/%s/%04d:%02d:%02d:%02d %s%02d%02d" % (
        local.tm_mday, MONTHS[local.tm_mon - 1], local.tm_year, local.tm_hour,
        local.tm_min, local.tm_sec, "-" if offset < 0 else "+",
        abs(offset) // 60, abs(offset) % 60)


def cut(text: str, limit: int) -> str:
    """Shorten *text* to at most *limit* characters, keeping both ends.

    >>> cut("GET /" + 100 * "a" + " HTTP/1.1", 30)
    'GET /aaaaaaaaaaaaa... HTTP/1.1'
    """
    if len(text) <= limit:
        return text
    return text[:limit - 12] + "..." + text[-9:]


NCSA = " - %(user)s [%(time)s] %(request)s %(status)d %(bytes)d"
# The parts of a line: the client; the request and its answer, which are the
# same for all clients; the time it took, and how it ended.
LOG_FORMS = {
    "common": ("%(address)s", NCSA + "\n", ""),
    "combined": ("%(address)s", NCSA + " %(referer)s %(user_agent)s\n", ""),
    "json": (
        '{"address": "%(address)s", "port": %(port)s, ',
        ('"time": "%(time)s", "user": %(user)s, "request": %(request)s,'
         ' "status": %(status)d, "bytes": %(bytes)d, "referer": %(referer)s,'
         ' "user_agent": %(user_agent)s, '),
        '"duration_us": %d, "aborted": %s}\n')}


class LogForm:
    """The access log format *name*, one of LOG_FORMS.

    who() is called once for a connection, rest() once for a request and its
    answer, so that most lines cost little.

    is_timed    whether tail() returns any text
    limit       the most characters of a value that the client sent
    """

    def __init__(self, name: str):
        self._who, self._rest, self._tail = LOG_FORMS[name]
        self._json: Optional[Callable[[object], str]] = None
        if name == "json":
            import json  # now: later no descriptor may be free
            self._json = json.dumps
        self.is_timed = self._tail != ""
        self.limit = sys.maxsize

    def who(self, address: str, port: "Optional[int]") -> str:
        """Return the beginning of a line: the client."""
        return self._who % {"address": address,
                            "port": "null" if port is None else port}

    def rest(self, date: str, request: Request, status: int, size: int) -> str:
        """Return the part of a line after who().

        *date* comes from log_date(); *size* is how many bytes of content
        were really sent.
        """
        fields = request.fields
        return self._rest % {
            "time": date, "user": self._user(request.user), "status": status,
            "bytes": size, "request": self._value(request.line),
            "referer": self._value(fields.get("referer")),
            "user_agent": self._value(fields.get("user-agent"))}

    def _user(self, name: str) -> str:
        if self._json:
            text = name.encode("latin-1").decode("utf-8", "replace")
            return self._json(text or None)
        return escape(name).replace(" ", "\\x20") or "-"

    def _value(self, text: "Optional[str]") -> str:
        if not self._json:
            return '"%s"' % cut(escape(text or "-"), self.limit)
        value = self._json(text and cut(text, self.limit - 2))  # and quotes
        if text and len(value) > self.limit:    # a character may become six
            value = self._json(cut(text, self.limit // 6))
        return value

    def tail(self, seconds: float, aborted: bool) -> str:
        """Return the end of a line.

        seconds     from the last byte of the request to that of the answer
        aborted     whether the client left or was cut off before the end
        """
        return self._tail and self._tail % (
            int(seconds * 1e6), "true" if aborted else "false")


# ---- Proxies ----------------------------------------------------------------

# A member of X-Forwarded-For: an address, perhaps with a port.
FORWARDED = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]+)")


def parse_forwarded(member: str) -> "Optional[Peer]":
    """Return the (address, port) in *member*; None if it has no address.

    >>> parse_forwarded("[2001:DB8::1]:80"), parse_forwarded("192.0.2.1")
    (('2001:db8::1', 80), ('192.0.2.1', None))
    >>> parse_forwarded("unknown")
    """
    import ipaddress
    match = FORWARDED.fullmatch(member)
    if not match or int(match.group(3) or 0) > PORT_MAX:
        return None
    bracketed, v4, port, v6 = match.groups()
    try:
        address = ipaddress.ip_address(bracketed or v4 or v6)
    except ValueError:
        return None
    address = getattr(address, "ipv4_mapped", None) or address
    return str(address), int(port) if port else None


class TrustedProxies:
    """The proxies that are trusted to tell the addresses of their clients.

    *names* are addresses, networks, or "unix:" for all clients of Unix
    sockets.  Raise ValueError for any other name.
    """

    def __init__(self, names: "Sequence[str]"):
        import ipaddress
        self._has_unix = UNIX_PEER[0] in names
        self._networks = [ipaddress.ip_network(name) for name in names
                          if name != UNIX_PEER[0]]
        for name in names:
            if "%" in name or name.lower().startswith("::ffff:"):
                raise ValueError("%r has a zone, or is IPv4-mapped: leave out"
                                 " the zone, or write it as IPv4" % name)

    def __contains__(self, address: str) -> bool:
        import ipaddress
        if address == UNIX_PEER[0]:
            return self._has_unix
        found = ipaddress.ip_address(address.partition("%")[0])
        return any(found in network for network in self._networks)

    def client(self, peer: "Peer", forwarded: str) -> "Peer":
        """Return the client's address and port; *peer* is a trusted proxy.

        Each proxy adds its client to the right of *forwarded*, the value of
        X-Forwarded-For.  So read it from the right, up to the first member
        that is not a trusted proxy: anybody may have written the rest.
        """
        client = peer
        members = forwarded.rsplit(",", FORWARDED_MAX)[-FORWARDED_MAX:]
        for member in reversed(parse_list(",".join(members))):
            found = parse_forwarded(member)
            client = found or client
            if not found or found[0] not in self:
                break
        return client


# =============================================================================
# The border: only the code below this line touches the operating system.
# =============================================================================


# ---- Site -------------------------------------------------------------------

# O_NONBLOCK: opening a FIFO that has taken a file's place must not block.
FILE_FLAGS = (os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
              | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0))
LIST_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
# O_PATH: folders on the way to a file need not be readable.
FOLDER_FLAGS = LIST_FLAGS | getattr(os, "O_PATH", 0)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
HAS_DIR_FD = {os.open, os.stat} <= os.supports_dir_fd
WINDOWS = os.sep == "\\"

# Something has run out; it may be there again later.
EXHAUSTED = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS,
                       errno.ENOMEM, errno.ENOSPC])  # of epoll's watches

STATUS_OF_ERRNO = {
    errno.ENOENT: 404, errno.ENOTDIR: 404, errno.ENAMETOOLONG: 404,
    errno.ELOOP: 404, errno.ENXIO: 404,
    errno.EACCES: 403, errno.EPERM: 403,
    **dict.fromkeys(EXHAUSTED, 503),
}

DETAIL_OF_STATUS = {
    403: "The server has no right to read this.",
    404: NOTHING_HERE,
    500: "The server could not read this.",
    503: "The server has too much to do. Try again in a moment.",
}

FILE_SIGNATURE = attrgetter("st_dev", "st_ino", "st_mode", "st_size",
                            "st_mtime_ns", "st_ctime_ns")


def signature(status: os.stat_result) -> "Signature":
    """Return a tuple that changes when a file's content or mode does.

    For a folder it has only the device, number and mode: each name in the
    folder that an answer depends on has a fact of its own.
    """
    found: Signature = FILE_SIGNATURE(status)
    return found[:3] if stat.S_ISDIR(found[2]) else found


def link_state(path: bytes, follow: bool = False) -> "Signature":
    """Return the signature of *path*, or (errno,) if there is none."""
    try:
        return signature(os.stat(path, follow_symlinks=follow))
    except OSError as exc:
        return (exc.errno or 0,)


target_state = functools.partial(link_state, follow=True)


def real_path(path: bytes) -> bytes:
    """Return *path* with links resolved; b"\0" if one changes meanwhile."""
    try:
        return os.path.realpath(path)
    except OSError:
        return b"\0"


# As a fact: it is not known how long the others hold, so the answer is for one
# request alone.
UNKNOWN = link_state, b"\0"


def names_below(root: bytes, path: bytes) -> "List[bytes]":
    """Return the names from *root* to *path*, or raise OSError if outside."""
    sep = os.fsencode(os.sep)
    root = root.rstrip(sep)
    if not (path + sep).startswith(root + sep):
        raise OSError(errno.ENOENT, "outside", path)
    return [name for name in path[len(root):].split(sep) if name]


class Changed(Exception):
    """A file was changed while it was read, or sent."""


class Opened:
    """A file or folder of the site, open.  Use it in a `with` statement.

    fd      the descriptor; -1 if it is closed, a Source has taken it, or the
            platform cannot open folders
    path    the path that was opened, after links were resolved
    status  the result of fstat(); *version* is its signature
    is_folder   whether it is a folder, or else a regular file
    is_steady   whether its next change will show in its times
    """

    def __init__(self, fd: int, path: bytes):
        self.fd = fd
        self.path = path
        self.is_steady = True
        self._small: Optional[bytes] = None
        try:
            self.status = os.stat(path) if fd < 0 else os.fstat(fd)
        except OSError:
            self.close()
            raise
        self.size = self.status.st_size
        self.version = signature(self.status)
        self.is_folder = stat.S_ISDIR(self.status.st_mode)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; a second call is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* up to *stop*.

        Raise Changed if the file was changed since it was opened, as far as
        its times tell, so that no answer mixes two versions.
        """
        if self._small is not None:
            return self._small[start:stop]
        os.lseek(self.fd, start, os.SEEK_SET)
        size = stop - start
        data = block = os.read(self.fd, size)
        while block and len(data) < size:
            block = os.read(self.fd, size - len(data))
            data += block
        if signature(os.fstat(self.fd)) != self.version:
            raise Changed
        if len(data) < size:    # the kernel generates it, as in /sys
            raise OSError(errno.EIO, "shorter than its size", self.path)
        return data

    def small(self) -> "Optional[bytes]":
        """Return all of its content, read once; None if it is above SMALL."""
        if self._small is None and self.size <= SMALL:
            self._small = self.read(0, self.size)
        return self._small

    def validators(self, variant: str
                   ) -> "Tuple[Optional[str], Optional[int]]":
        """Return its entity tag and time of modification (seconds), if any.

        For *variant* see entity_tag().
        """
        etag = modified = None
        data = self.small()
        if self.is_steady or data is not None:
            etag = entity_tag(self.status, data, variant)
        mtime = self.status.st_mtime_ns // 10**9
        if self.is_steady and tells_change(mtime) and mtime <= HTTP_DATE_MAX:
            modified = mtime
        return etag, modified

    def source(self, pool: "Pool") -> "Source":
        """Return the Source in *pool* that has its content, or a new one.

        A new one is in memory if there is room; else it takes the descriptor.
        Bytes that are not steady are not shared: the next request may find
        the file changed.
        """
        source: Optional[Source] = pool.get(self.version)
        if source:
            return source
        if self.size <= SLICE and pool.has_room(self.size):
            return Source(pool, self.read(0, self.size),
                          version=self.version if self.is_steady else None)
        fd, self.fd = self.fd, -1
        return Source(pool, fd=fd, version=self.version)


class Site:
    """The folder that is served, as it is on the disk at this moment.

    Names are opened one by one, each relative to the descriptor of its
    folder, so the file that was checked is the file that is opened.  Links
    are followed only with *follow_symlinks*; else they are resolved first.
    *facts* collects what an answer depends on: a dict from (probe, path) to
    probe(path).  While it holds(), the answer would be the same.
    """

    def __init__(self, directory: "Union[str, bytes]", listing: bool = True,
                 dotfiles: bool = False, follow_symlinks: bool = False,
                 spa: bool = False, head: bool = False,
                 archives: str = "listed"):
        self.root = os.path.abspath(os.fsencode(directory))
        self.listing = listing
        self.dotfiles = dotfiles
        self.follow_symlinks = follow_symlinks
        self.spa = spa
        self.head = head
        self.archives = archives
        self._probe = target_state if follow_symlinks else link_state
        self._seen: Facts = {}

    def new_turn(self) -> None:
        """Forget what was seen: from here on, holds() looks again."""
        self._seen.clear()

    def holds(self, facts: "Facts") -> bool:
        """Return whether all *facts* still hold; look at each once a turn."""
        seen = self._seen
        for fact, result in facts.items():
            state = seen.get(fact)
            if state is None:
                probe, path = fact
                state = seen[fact] = probe(path)
            if state != result:
                return False
        return True

    def open(self, segments: "Sequence[bytes]", facts: "Facts",
             folder: "Optional[Opened]" = None) -> Opened:
        """Open the file or folder at *segments*; *folder* is its parent, open.

        Raise HTTPError(403, 404, 500 or 503).
        """
        try:
            self._check_hidden(segments)
            if self.follow_symlinks and not folder:
                self._resolve(segments, facts)      # only counts links
            try:
                if folder:
                    return self._open_child(folder, segments[-1], facts)
                return self._walk(segments, facts)
            except OSError as exc:
                if exc.errno != errno.ELOOP:
                    raise
                return self._walk(self._resolve(segments, facts), facts)
        except OSError as exc:
            raise self.failure(exc, facts)

    def has_name(self, segments: "Sequence[bytes]", facts: "Facts") -> bool:
        """Return whether there is anything at *segments*: even a link to
        nothing, or a file that open() refuses.
        """
        if is_hidden(segments) and not self.dotfiles:
            return False
        path = os.path.join(self.root, *segments)
        state = link_state(path)
        # If open() saw another state, its fact stays, and fails next turn.
        facts.setdefault((link_state, path), state)
        return len(state) > 1

    def read(self, path: bytes, state: "Signature", start: int,
             stop: int) -> bytes:
        """Return bytes of the file at *path*, the path of an Opened.

        Raise Changed if it cannot be read, or its signature is not *state*.
        """
        with contextlib.suppress(OSError), (
                self._walk(names_below(self.root, path), {})) as opened:
            if opened.version == state:
                return opened.read(start, stop)
        raise Changed

    def entries(self, folder: Opened, segments: "Sequence[bytes]"
                ) -> "Generator[Optional[Entry], None, None]":
        """Yield an Entry for each name in *folder*, which is at *segments*.

        Yield None for a name that is not shown.  Raise as open() does.
        """
        try:
            above = self._folders(segments, {})
            with contextlib.closing(self.names(folder)) as names:
                for name in names:
                    yield self._entry(folder, segments, name, above)
        except OSError as exc:
            raise self.failure(exc, {})

    def names(self, folder: Opened) -> "Generator[bytes, None, None]":
        """Yield the names in *folder*, unsorted; raise as open() does."""
        try:
            with contextlib.ExitStack() as stack:
                where: Union[int, bytes] = folder.path
                if HAS_DIR_FD and os.scandir in os.supports_fd:
                    # A folder that was opened with O_PATH cannot be read.
                    where = os.open(b".", LIST_FLAGS, dir_fd=folder.fd)
                    stack.callback(os.close, where)
                # Python 3.6 takes only a path.  If another folder is there by
                # now, _entry() does not find its names.
                found: Any = stack.enter_context(os.scandir(where))
                for each in found:
                    yield os.fsencode(each.name)
        except OSError as exc:
            raise self.failure(exc, {})

    def failure(self, exc: OSError, facts: "Facts") -> HTTPError:
        """Return the HTTPError for *exc*; after 500 and 503, *facts* fail."""
        status = STATUS_OF_ERRNO.get(exc.errno or 0, 500)
        if status >= 500:   # the trouble may pass, though no file changes
            facts[UNKNOWN] = ()
        if status == 500:
            tell("cannot read a file: %s" % exc)
        return HTTPError(status, DETAIL_OF_STATUS[status])

    def _check_hidden(self, segments: "Sequence[bytes]") -> None:
        if is_hidden(segments) and not self.dotfiles:
            raise OSError(errno.ENOENT, "hidden")

    def _folders(self, segments: "Sequence[bytes]",
                 facts: "Facts") -> "Set[Signature]":
        """Return signatures of the folders from the root to *segments*.

        Raise OSError if more than LINKS_MAX of them are links.
        """
        path, links, found = self.root, 0, {target_state(self.root)}
        for name in segments:
            path = os.path.join(path, name)
            state = target = link_state(path)
            is_link = stat.S_ISLNK(sum(state[2:3]))     # its mode, if any
            if is_link:
                target = target_state(path)
            if not stat.S_ISDIR(sum(target[2:3])):
                break
            facts.setdefault((link_state, path), state)
            links += is_link
            found.add(target)
        if links > LINKS_MAX:
            raise OSError(errno.ENOENT, "too many links")
        return found

    def _walk(self, segments: "Sequence[bytes]", facts: "Facts") -> Opened:
        """Open *segments* name by name; OSError(ELOOP) at a link not followed.

        The root, which may be a link, needs no fact of its own: the facts
        about names in it fail when it is replaced.
        """
        try:
            fd = os.open(self.root, FOLDER_FLAGS) if HAS_DIR_FD else -1
            node = Opened(fd, self.root)
        except OSError:     # then there are no facts about names in it
            facts[UNKNOWN] = ()
            raise
        for name in segments:
            with node:
                node = self._open_child(node, name, facts)
        return node

    def _open_child(self, folder: Opened, name: bytes,
                    facts: "Facts") -> Opened:
        """Open *name* in *folder*, unless it is a link not to be followed."""
        path = os.path.join(folder.path, name)
        where, at = (name, folder.fd) if HAS_DIR_FD else (path, None)
        fact = (self._probe, path)
        try:
            status = os.stat(where, dir_fd=at,
                             follow_symlinks=self.follow_symlinks)
        except OSError as exc:
            facts.setdefault(fact, (exc.errno or 0,))
            raise
        facts.setdefault(fact, signature(status))
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            raise OSError(errno.ELOOP, "a link", path)
        if kind not in (stat.S_IFDIR, stat.S_IFREG):
            # Not even opened: that can make a device act.
            raise OSError(errno.ENXIO, "neither file nor folder", path)
        flags = FOLDER_FLAGS if kind == stat.S_IFDIR else FILE_FLAGS
        if not self.follow_symlinks:
            flags |= NOFOLLOW
        fd = -1
        if HAS_DIR_FD or kind == stat.S_IFREG:
            fd = os.open(where, flags, dir_fd=at)
        opened = Opened(fd, path)
        # If a file of the same kind took its place after os.stat(), the fact
        # fails in the next turn, and the answer is not used again.
        if stat.S_IFMT(opened.status.st_mode) != kind:
            opened.close()
            raise OSError(errno.ENOENT, "replaced", path)
        return opened

    def _resolve(self, segments: "Sequence[bytes]",
                 facts: "Facts") -> "Sequence[bytes]":
        """Return the names from the root to where links lead *segments*.

        Where the kernel follows the links, return *segments*.  Raise OSError
        if the links are too many, or lead outside or to a hidden name.
        """
        if len(segments) > LINKS_MAX:
            self._folders(segments, facts)
        if self.follow_symlinks:
            return segments
        path = os.path.join(self.root, *segments)
        real, root = real_path(path), real_path(self.root)
        facts.setdefault((real_path, path), real)
        facts.setdefault((real_path, self.root), root)
        inside = names_below(root, real)
        self._check_hidden(inside)
        return inside

    def _entry(self, folder: Opened, segments: "Sequence[bytes]", name: bytes,
               above: "Set[Signature]") -> "Optional[Entry]":
        """Return the Entry of *name*; None if a request for *name* gets a 404.

        None, too, for a link to a folder *above*: crawlers would follow the
        link for ever.
        """
        found = self.status(folder, [*segments, name])
        if not found or found[1] and signature(found[0]) in above:
            return None
        status = found[0]
        size = None
        if stat.S_ISREG(status.st_mode):
            size = status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            return None
        return Entry(name, size, status.st_mtime_ns // 10**9)

    def status(self, folder: Opened, segments: "Sequence[bytes]"
               ) -> "Optional[Tuple[os.stat_result, bool]]":
        """Return the status of what a request for *segments*, a name in
        *folder*, gets, and whether it is a link; None if it gets a 404.
        """
        name = segments[-1]
        where, at = (name, folder.fd) if HAS_DIR_FD else (
            os.path.join(folder.path, name), None)
        try:
            self._check_hidden(segments)
            status = os.stat(where, dir_fd=at, follow_symlinks=False)
            is_link = stat.S_ISLNK(status.st_mode)
            if is_link:
                # What realpath() cannot follow stays a link: not listed.
                status = os.stat(
                    os.path.join(self.root, *self._resolve(segments, {})),
                    follow_symlinks=self.follow_symlinks)
            return status, is_link
        except OSError as exc:
            if exc.errno in EXHAUSTED:
                raise
            return None     # a link to nothing, or gone meanwhile


# ---- Work -------------------------------------------------------------------


class Cache(OrderedDict):   # type: ignore[type-arg]
    """A dict that drops the oldest values if their sizes exceed *limit*."""

    def __init__(self, limit: int):
        super().__init__()
        self._limit = limit
        self._size = 0
        self._sizes: Dict[object, int] = {}

    def put(self, key: object, value: object, size: int) -> None:
        """Keep *value*; *size* is its part of the limit."""
        self.drop(key)
        self[key] = value
        self._sizes[key] = size
        self._size += size
        while self._size > self._limit:
            self.drop(next(iter(self)))

    def drop(self, key: object) -> None:
        """Remove *key*, if it is there."""
        if self.pop(key, None) is not None:
            self._size -= self._sizes.pop(key)


class Source:
    """Content that several answers may share: a file's version, or a listing.

    A connection holds the Source of the answer that it sends.  While at least
    one does, the Pool has the Source, for other answers to share it; the last
    one to release() it closes its file.

    data    all of the content in memory, or
    fd      an open file; -1 if there is none
    version the file's signature; None if it must not be shared
    users   how many connections hold it
    weight  its size in the Pool: bytes in memory; for an Archive, names
    """

    __slots__ = ("pool", "data", "fd", "version", "users", "weight")

    def __init__(self, pool: "Pool", data: bytes = b"", fd: int = -1,
                 version: "Optional[Signature]" = None):
        self.pool = pool
        self.data = data
        self.fd = fd
        self.version = version
        self.users = 0
        self.weight = len(data)

    def part(self, start: int, stop: int) -> "Part":
        """Return this part of the content; (start, stop, fd) of a file."""
        if self.fd >= 0:
            return start, stop, self.fd
        return memoryview(self.data)[start:stop]

    def has_room(self) -> bool:
        """Return whether the Pool has it already, or has room for it."""
        return self.users > 0 or self.pool.has_room(self.weight)

    def hold(self) -> None:
        """Count one more user."""
        self.users += 1
        if self.users == 1:
            self.pool.setdefault(self.version, self)
            self.pool.held += self.weight
            self.pool.files += self.fd >= 0

    def release(self) -> None:
        """Count one user less."""
        self.users -= 1
        if not self.users:
            if self.pool.get(self.version) is self:
                del self.pool[self.version]
            self.pool.held -= self.weight
            self.pool.files -= self.fd >= 0
            self.close()

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    __del__ = close     # if a bug kept its answer from being sent


class Pool(dict):   # type: ignore[type-arg]
    """The Sources that are being sent, by their versions.

    held    the sum of their weights, which has_room() compares with *limit*
    files   how many of them are open files
    kinds   of the Jobs that make them; each of these needs room for *share*
    """

    def __init__(self, limit: int, kinds: "Sequence[str]" = (),
                 share: int = 1):
        super().__init__()
        self.limit = limit
        self.kinds = kinds
        self.share = share
        self.held = self.files = 0

    def has_room(self, weight: int) -> bool:
        """Return whether a Source of this *weight* may be added."""
        return self.held + weight <= self.limit

    def jobs(self) -> int:
        """Return how many Jobs of each of its *kinds* there is room for."""
        return min(JOBS_MAX, (self.limit - self.held) // self.share)


# The kinds of jobs; the key of a Job begins with its kind.
DIGEST, GZIP, LISTING, CHECK = "sha-256", "gzip", "listing", "password"
ARCHIVE, ARCHIVE_DIGEST = "archive", "archive sha-256"
LONG_LISTING = "long listing"   # of a folder that itself is above SMALL
# With a path: when a job last saw the file, or the folder's archive, change.
CHANGED = "changed"


class NotReady(Exception):
    """The answer must wait for the result of *job*."""

    def __init__(self, job: "Job"):
        self.job = job


class Job:
    """Slow work, done in small steps.

    It ends with its result, or when nobody waits for it any more.

    steps   a generator that yields after each step, and returns the result,
            or raises the HTTPError that is the answer
    began   when it was started; None before that
    waiting the connections that wait for it, if they are still PREPARING
    """

    __slots__ = ("work", "key", "steps", "began", "waiting")

    def __init__(self, work: "Work", key: "JobKey", steps: "Steps"):
        self.work = work
        self.key = key
        self.steps = steps
        self.began: Optional[float] = None
        self.waiting: List[Connection] = []

    def is_wanted(self) -> bool:
        """Return whether somebody still waits for it; else end it."""
        self.waiting = [connection for connection in self.waiting
                        if connection.state == PREPARING]
        if not self.waiting:
            del self.work.jobs[self.key]
            self.steps.close()
        return bool(self.waiting)

    def step(self) -> None:
        """Do steps for a moment; queue the job again unless it has ended."""
        work = self.work
        value: object = None
        if not self.is_wanted():
            return
        until = time.perf_counter() + min(JOB_SECONDS,
                                          work.limits.TURN_SECONDS)
        try:
            next(self.steps)
            while time.perf_counter() < until:
                next(self.steps)
            work.run_queue[self] = None
            return
        except StopIteration as end:
            value = end.value
        except HTTPError as error:
            value = error
        except Changed:
            work.made.put((CHANGED, self.key[1]), work.now, KIB)
        except Exception:
            value = tell_traceback()
        del work.jobs[self.key]
        if isinstance(value, bytes):
            work.made.put(self.key, value, len(value) + KIB)
        else:
            work.fresh[self.key] = self.began, value
        work.to_answer += self.waiting


class Work:
    """The run queue, the jobs, and their results.

    run_queue   Connections and Jobs that have a step to do, least recently
            served first
    jobs    the Jobs that have not ended, by their keys
    made    results made from files, also of unfinished digests, by keys that
            include the file's signature
    fresh   other results, as (when the job began, result): valid only in this
            turn, and for requests that arrived before the job began
    to_answer   connections that can be answered: they have received
            something, or their job has ended
    contents, listings, archives    Pools of what is being sent
    now     when the turn began
    rest_until  when the next password may be checked
    """

    def __init__(self, limits: "Limits"):
        self.limits = limits
        self.run_queue: OrderedDict[Union[Connection, Job], None]
        self.run_queue = OrderedDict()
        self.jobs: OrderedDict[JobKey, Job] = OrderedDict()
        self.made = Cache(limits.MADE_MAX)
        self.fresh: Dict[JobKey, Tuple[Any, object]] = {}
        self.to_answer: List[Connection] = []
        self.contents = Pool(CONTENTS_MAX)
        self.listings = Pool(LISTINGS_MAX, (LISTING, LONG_LISTING))
        self.archives = Pool(2 * limits.ARCHIVE_NAMES_MAX, (ARCHIVE,),
                             limits.ARCHIVE_NAMES_MAX)
        self.now = self.rest_until = 0.0

    def new_turn(self, now: float) -> None:
        """Forget what was valid only in the last turn."""
        self.now = now
        self.fresh.clear()

    def steps(self) -> "Iterable[Callable[[], None]]":
        """Yield steps to do until the time for them is up: at least one step
        in all, and at most one of each task.
        """
        until = time.perf_counter() + self.limits.TURN_SECONDS
        for _ in range(len(self.run_queue)):
            task, _ = self.run_queue.popitem(last=False)
            yield task.step
            if time.perf_counter() >= until:
                break

    def result(self, key: "JobKey", steps: "Steps",
               arrived: float = 0.0) -> "Any":
        """Return the result of the Job of *key*; a new Job does *steps*.

        *arrived* is when the request arrived.  Raise NotReady until there is a
        result; if the job raised an HTTPError, raise that.
        """
        began, value = self.fresh.get(key, (0.0, None))
        if value is None or began < arrived:
            value = self.made.get(key)
        if value is None:
            raise NotReady(self.jobs.setdefault(key, Job(self, key, steps)))
        if isinstance(value, HTTPError):
            raise value
        return value

    def begin(self) -> None:
        """Start the jobs that may start; they run from the next turn on.

        Of each kind that needs much memory or open folders, JOBS_MAX run at a
        time, so that no listing of a few names waits behind long ones; a
        listing waits while too many bytes of others are being sent; passwords
        are checked one by one, with a pause after each.
        """
        room = {DIGEST: sys.maxsize, ARCHIVE_DIGEST: sys.maxsize,
                GZIP: JOBS_MAX, CHECK: int(self.now >= self.rest_until)}
        for pool in self.listings, self.archives:
            room.update(dict.fromkeys(pool.kinds, pool.jobs()))
        for (kind, *_), job in self.jobs.items():
            room[kind] -= job.began is not None
        for (kind, *_), job in list(self.jobs.items()):
            if job.began is None and job.is_wanted() and room[kind] > 0:
                room[kind] -= 1
                job.began = self.now
                self.run_queue[job] = None

    def has_changed(self, path: bytes, since: float) -> bool:
        """Return whether a job has seen what is at *path* change *since*."""
        changed: float = self.made.get((CHANGED, path), -1.0)
        return changed >= since

    def lacks_room(self, pool: Pool) -> bool:
        """Return whether a job cannot start because *pool* is full."""
        return pool.jobs() <= 0 and any(
            kind in pool.kinds and job.began is None
            for (kind, *_), job in self.jobs.items())


def gzip_steps(read: "Callable[[int, int], Union[bytes, memoryview]]",
               size: int) -> "Generator[None, None, bytes]":
    """Compress the *size* bytes that *read*(start, stop) returns."""
    import zlib
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: gzip's format
    blocks = []
    for start in range(0, size, GZIP_SLICE):
        block = read(start, min(start + GZIP_SLICE, size))
        blocks.append(packer.compress(block))
        yield
    return b"".join(blocks) + packer.flush()


def digest_steps(made: Cache, key: object,
                 read: "Callable[[int, int], bytes]", size: int) -> "Steps":
    """Return the SHA-256 of a file; for *read* and *size* see gzip_steps().

    Meanwhile *made* keeps it so far by *key*, for the next Job to go on.
    """
    import hashlib
    start, hashed = made.get(key) or (0, hashlib.sha256())
    while start < size:
        stop = min(start + SLICE, size)
        hashed.update(read(start, stop))
        start = stop
        made.put(key, (start, hashed), KIB)
        yield
    return hashed.digest()


def sorted_steps(found: "Iterable[Any]", key: "Any" = None,
                 reverse: bool = False
                 ) -> "Generator[None, None, Tuple[int, Iterator[Any]]]":
    """Return how many *found* are not None, and an iterator of them in order.

    They are sorted in runs, which are merged as they are taken: sorting or
    freeing 100,000 at once would be too long a step.
    """
    from heapq import merge
    runs: List[List[Any]] = [[]]
    for each in found:
        if each is not None:
            runs[-1].append(each)
            if len(runs[-1]) == LISTING_RUN:
                runs[-1].sort(key=key, reverse=reverse)
                runs.append([])
        yield
    runs[-1].sort(key=key, reverse=reverse)
    return sum(map(len, runs)), merge(*map(iter, runs), key=key,
                                      reverse=reverse)


def listing_steps(site: Site, segments: "Sequence[bytes]", listing: Listing,
                  pool: Pool) -> "Steps":
    """Return a Source with the content of *listing*; raise as Site.open()."""
    from io import BytesIO
    # closing(): without it, PyPy would leave the folder open for a while.
    with site.open(segments, {}) as folder, contextlib.closing(
            site.entries(folder, segments)) as found:
        _, entries = yield from sorted_steps(
            (entry if entry and listing.takes(entry) else None
             for entry in found), listing.key, listing.backwards)
    before, between, after = listing.frame()
    content, separator = BytesIO(), ""
    content.write(before.encode("utf-8"))
    for entry in entries:
        row = separator + listing.row(entry)
        content.write(row.encode("utf-8"))
        separator = between
        yield
    content.write(after.encode("utf-8"))
    if listing.coding == "identity":
        return Source(pool, content.getvalue())
    with content.getbuffer() as view:
        packed = yield from gzip_steps(
            lambda start, stop: view[start:stop], len(view))
    return Source(pool, packed)


# ---- Archives ---------------------------------------------------------------

# Of an entry: where its name is, and how long; and its state: device, inode,
# mode, size, mtime and ctime in nanoseconds.
PLACE, STATE, ENTRY = map(struct.Struct, ("<LH", "<2QLQ2q", "<LH2QLQ2q"))
MAY_NOT_BE_READ = "the server may not read it"


def packed_state(status: os.stat_result) -> bytes:
    """Return what changes when a file of that *status* does, in 44 bytes.

    The size of a folder is 0.
    """
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    times = [min(max(each, -2**63), 2**63 - 1)
             for each in (status.st_mtime_ns, status.st_ctime_ns)]
    return STATE.pack(status.st_dev % 2**64, status.st_ino % 2**64,
                      status.st_mode, size, *times)


class Archive(Source):
    """A folder as one file: what is in it, and where each byte of it lies.

    A Job makes the plan(); those who ask at one time share it.  It consists of
    parts: its entries; then, of a ZIP, those of its directory; and the end.  A
    part is a head and, if it is a file's entry, the file's content.

    kind        "tar" or "zip"
    segments    of its folder, below the site's root; path joins them
    top         the name of that, which all others begin with
    count       of its entries.  The first is the folder, or LEFT-OUT.txt where
                there is *text* for it
    entries     an ENTRY of each; few large objects are freed in no time
    names       of all, in a row; those of folders end with "/"
    crcs        of the content of a ZIP's entries; -1 is not known yet
    starts      the offset of each part, and that of the end, its *size*
    etag        its entity tag, if it is_steady
    is_steady   whether each later change of a file in it would be noticed
    """

    def __init__(self, kind: str, site: Site, segments: "Sequence[bytes]",
                 work: Work):
        super().__init__(work.archives)
        self.kind = kind
        self.site = site
        self.segments = segments
        self.path = b"/".join(segments)
        self.work = work
        top = segments[-1] if segments else b"files"
        self.top = b"files/" if is_harmful(top) else top + b"/"
        self.note = self.top + b"LEFT-OUT.txt"
        self.count = 0
        self.entries = bytearray()
        self.names = bytearray()
        self.text = bytearray()
        self.starts = array("Q", [0])
        self.etag: Optional[str] = None
        self.is_steady = True
        self._folder: Optional[Opened] = None
        self._place: List[bytes] = []

    def entry(self, index: int) -> "Tuple[Any, ...]":
        """Return what ENTRY has of entry *index*."""
        return ENTRY.unpack_from(self.entries, index * ENTRY.size)

    def name(self, index: int) -> bytes:
        """Return the name of entry *index* with those of its folders."""
        start, length = self.entry(index)[:2]
        return bytes(self.names[start:start + length])

    def place(self, name: bytes) -> "List[bytes]":
        """Return the segments in the site of the entry of that *name*."""
        return [*self.segments, *name.rstrip(b"/").split(b"/")[1:]]

    def state(self, index: int) -> bytes:
        """Return the packed_state() of entry *index*."""
        end = (index + 1) * ENTRY.size
        return bytes(self.entries[end - STATE.size:end])

    def length(self, index: int) -> int:
        """Return how many bytes of content are in part *index*."""
        length: int = self.entry(index)[5] if 0 <= index < self.count else 0
        return length

    # The plan.

    def plan(self, all_folders: bool) -> "Steps":
        """Find out what is in it; return it, or an equal one that is in use.

        Subfolders with a page of their own are left out, unless it is to have
        *all_folders*.  Raise HTTPError, 413 where there is too much.
        """
        waiting = [(b"", self.top[:-1])]
        while waiting:
            name = b"%s%s/" % waiting.pop()
            try:
                yield from self._enter(name, waiting, all_folders)
            except HTTPError as error:
                if not self.count or error.status not in (403, 404):
                    raise
                if error.status == 403:     # else it has just gone
                    self._leave_out(name, MAY_NOT_BE_READ)
        yield from self._identify()
        if self.version not in self.pool:
            self.crcs = array("q", [-1]) * self.count
            for index in range(self.count * (1 + (self.kind == "zip")) + 1):
                self.starts.append(self.starts[-1] + len(self.head(index))
                                   + self.length(index))
                yield
        self.size, self.weight = self.starts[-1], self.count
        archive: Archive = self.pool.get(self.version, self)
        return archive

    def _add(self, name: bytes, state: bytes) -> None:
        """Add an entry."""
        self.entries += PLACE.pack(len(self.names), len(name)) + state
        self.names += name
        self.count += 1

    def _leave_out(self, name: bytes, why: str) -> None:
        """Let LEFT-OUT.txt say *why* there is no *name*."""
        path = name.decode("utf-8", "replace")
        if not self.text:
            self.text += b"This is not in the archive:\r\n\r\n"
        self.text += ("%s: %s\r\n" % (NOT_SHOWN.sub("\ufffd", path), why)
                      ).encode("utf-8")
        if len(self.text) > LEFT_OUT_MAX:
            raise HTTPError(413, "Too much in it cannot be in an archive.")

    def _enter(self, name: bytes, waiting: "List[Tuple[bytes, bytes]]",
               all_folders: bool) -> "Iterator[None]":
        """Add folder *name* and its files; its subfolders go to *waiting*."""
        segments, is_top = self.place(name), not self.count
        with self.site.open(segments, {}) as folder:
            if not folder.is_folder:
                raise Changed
            if not (is_top or all_folders) and any(
                    found and stat.S_ISREG(found[0].st_mode) for found in [
                        self.site.status(folder, [*segments, each])
                        for each in DEFAULT_FILES]):
                self._leave_out(name, "it has a page of its own")
                return
            self._add(name, packed_state(folder.status))
            most = self.work.limits.ARCHIVE_NAMES_MAX
            left = most - self.count - len(waiting)
            with contextlib.closing(self.site.names(folder)) as names:
                count, found = yield from sorted_steps(
                    islice(names, left + 1))
            below = []
            for each in found:
                if count > left or len(self.names) > most * NAME_MEAN_MAX:
                    raise HTTPError(413, "It has more than %d names, or very"
                                    " long ones. Ask for a folder in it."
                                    % most)
                if self._look(name + each, folder, [*segments, each]):
                    below.append((name, each))
                yield
        waiting += reversed(below)

    def _look(self, name: bytes, folder: Opened,
              segments: "Sequence[bytes]") -> bool:
        """Look at *name*, which is at *segments*, in *folder*.

        Add a file; return whether it is a folder to go on with.
        """
        now, why = time.time(), ""
        found = self.site.status(folder, segments)
        if not found:
            return False
        if name == self.note:   # longer ones come later
            self.note += b".txt"
        status, is_link = found
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_folder and is_link:
            why = "it is a link to a folder"
        elif not (is_folder or stat.S_ISREG(status.st_mode)):
            why = "it is neither a file nor a folder"
        elif is_harmful(segments[-1]):
            why = "its name would do harm"
        elif not os.access(os.path.join(folder.path, segments[-1]), os.R_OK):
            why = MAY_NOT_BE_READ
        if why:
            self._leave_out(name + b"/" * is_folder, why)
        elif not is_folder:
            self.is_steady = self.is_steady and is_settled(status, now)
            self._add(name, packed_state(status))
        return is_folder and not why

    def _identify(self) -> "Iterator[None]":
        """Find what tells this plan from others."""
        import hashlib
        import zlib
        if self.text:   # a CRC is kept by the state: so that is in it
            state = STATE.pack(0, zlib.crc32(self.text), 0o644,
                               len(self.text), self.entry(0)[6], 0)
            self._add(self.note, state)
            self.entries[:0] = self.entries[-ENTRY.size:]
            del self.entries[-ENTRY.size:]
        hashed = hashlib.sha256(b"%s 2 %d %d\0" % (
            self.kind.encode(), self.count, len(self.names)))
        for told in self.entries, self.names, self.text:
            for start in range(0, len(told), SLICE):
                hashed.update(told[start:start + SLICE])
                yield
        self.planned = time.monotonic()
        self.version = id(self),
        if self.is_steady:
            digest = hashed.hexdigest()[:32]
            self.etag, self.version = '"%s"' % digest, (int(digest, 16),)

    def validators(self, variant: str) -> "Tuple[Optional[str], None]":
        """Return its entity tag, if any, and no time of modification."""
        return self.etag, None

    # Its content.

    def head(self, index: int) -> bytes:
        """Return part *index* without the file's content."""
        padding = b""
        if self.kind == "tar":
            padding = bytes(-self.length(index - 1) % TAR_BLOCK)
            if index == self.count:
                return padding + TAR_END
        elif index == 2 * self.count:
            return zip_end(self.count, self.starts[self.count],
                           self.starts[index])
        entry = index % self.count
        mode, size, mtime = self.entry(entry)[4:7]
        facts = self.name(entry), mode, size, mtime // 10**9
        if self.kind == "tar":
            return padding + tar_head(*facts)
        return zip_head(*facts, self.crcs[entry] & UINT32_MAX,
                        None if index < self.count else self.starts[entry])

    def find(self, index: int) -> "Tuple[Opened, List[bytes]]":
        """Return the folder of entry *index*, and where that is in the site.

        The folder stays open, since mostly another file of it comes next.
        """
        segments = self.place(self.name(index))
        if self._folder is None or self._place != segments[:-1]:
            self.close()
            self._folder = self.site.open(segments[:-1], {})
            self._place = segments[:-1]
        return self._folder, segments

    def look_again(self, index: int) -> None:
        """Raise Changed if the file of entry *index* is no longer the same."""
        found = self.site.status(*self.find(index))
        if not found or packed_state(found[0]) != self.state(index):
            raise Changed

    def open(self, index: int) -> Opened:
        """Open the file of entry *index*; raise Changed if it has changed."""
        try:
            folder, segments = self.find(index)
            opened = self.site.open(segments, {}, folder)
        except HTTPError as error:
            if error.status == 404:
                raise Changed
            raise
        if packed_state(opened.status) != self.state(index):
            opened.close()
            raise Changed
        return opened

    def close(self) -> None:
        """Close the folder that find() has left open."""
        if self._folder:
            self._folder.close()
        self._folder = None

    __del__ = close

    def read(self, index: int, start: int, stop: int) -> bytes:
        """Return content of entry *index*; raise as open() does."""
        if index == 0 or start == stop:     # which is all of a folder's
            return bytes(self.text[start:stop])
        with self.open(index) as opened:
            try:
                return opened.read(start, stop)
            except OSError as exc:
                raise self.site.failure(exc, {})

    def find_crc(self, index: int, data: bytes) -> "Iterator[None]":
        """Find the CRC of entry *index*; *data* is its content, if small.

        Of large files, what is known is kept by their states, slice by slice;
        so those who want the same CRC share the work, now and later.
        """
        if self.kind == "tar" or self.crcs[index] >= 0:
            return
        import zlib
        made, size, start, crc = self.work.made, self.length(index), 0, 0
        key = "crc", self.state(index)
        if size <= SMALL:
            start, crc = size, zlib.crc32(data or self.read(index, 0, size))
        while start < size:
            start, crc = max((start, crc), made.get(key, (0, 0)))
            block = self.read(index, start, min(start + SLICE, size))
            start, crc = start + len(block), zlib.crc32(block, crc)
            made.put(key, (start, crc), KIB // 2)
            yield
        self.crcs[index] = crc

    def slices(self, start: int, stop: int, most: int = SLICE
               ) -> "Iterator[Union[bytes, Tuple[int, int, int]]]":
        """Yield the bytes from *start* up to *stop*, in small steps.

        These are bytes, none after a step that was only work; or (index,
        start, stop) of a large file's content, *most* bytes.
        """
        index = bisect(self.starts, start) - 1
        block, until = b"", time.perf_counter() + JOB_SECONDS
        while start < stop:
            size, end = self.length(index), self.starts[index + 1]
            begin = end - size  # of the content
            data = self.read(index, 0, size) if size <= SMALL else b""
            if start < begin:
                for _ in self.find_crc(index % self.count, data):
                    yield block
                    block = b""
                before = self.starts[index]
                block += self.head(index)[start - before:stop - before]
            first, last = max(start - begin, 0), min(stop, end) - begin
            if data and first < last:
                block += data[first:last]
            elif first < last:
                yield block
                block = b""
                for at in range(first, last, most):
                    yield index, at, min(at + most, last)
            start, index = end, index + 1
            if len(block) > SMALL or time.perf_counter() > until:
                yield block
                block, until = b"", time.perf_counter() + JOB_SECONDS
        if block:
            yield block

    def part(self, start: int, stop: int) -> "Iterator[Part]":
        """Yield parts of what is from *start* up to *stop*.

        They are bytes, none after work alone; or a file, opened when its turn
        comes.  Raise Changed, or HTTPError, where it is not as it was planned.

        sendfile() lends the pages of a file: until the client has them, a
        write to it shows.  So it is looked at again when they must have left,
        and what could not be looked at before the end is copied.
        """
        while not self.is_steady and (time.monotonic() - self.planned
                                      < 2e-9 * SETTLED_NS):
            yield b""   # then each change will show
        lent: OrderedDict[int, int] = OrderedDict()     # by file, up to where
        for each in self.slices(start, stop, LENT_SLICE):
            while lent and next(iter(lent.values())) <= start:
                self.look_again(lent.popitem(last=False)[0])
            if isinstance(each, bytes):
                yield each
                start += len(each)
                continue
            index, first, last = each
            start += last - first
            if start + LENT_MAX + LENT_SLICE > stop or not index:
                for at in range(first, last, TLS_SLICE):
                    yield self.read(index, at, min(at + TLS_SLICE, last))
                continue
            with self.open(index) as opened:
                self.pool.files += 1
                try:
                    yield first, last, opened.fd
                finally:
                    self.pool.files -= 1
            lent[index] = start + LENT_MAX

    def digest(self) -> "Steps":
        """Return its SHA-256; what is known of it is kept by its version."""
        import hashlib
        key, made = ("sha-256 so far", self.version), self.work.made
        start, hashed = made.get(key) or (0, hashlib.sha256())
        self.hold()
        try:
            for each in self.slices(start, self.size):
                block = each if isinstance(each, bytes) else self.read(*each)
                hashed.update(block)
                start += len(block)
                made.put(key, (start, hashed), KIB)
                yield
        finally:
            self.release()
        return hashed.digest()


# ---- Users ------------------------------------------------------------------

AGAIN = [("Retry-After", "1")]  # RFC 9110, 10.2.3


def read_named(path: str) -> bytes:
    """Return the content of the file *path*, which an option names."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise StartError("cannot read %s: %s." % (path or "''", exc.strerror),
                         exc.errno)


def need_scrypt() -> None:
    """Raise StartError if this Python has no scrypt."""
    import hashlib
    if not hasattr(hashlib, "scrypt"):
        raise StartError("passwords need hashlib.scrypt, which this Python"
                         " lacks. Use CPython with OpenSSL 1.1 or newer.")


def read_users(path: str) -> "Dict[bytes, PasswordHash]":
    """Return the users in the file *path*, or raise StartError."""
    need_scrypt()
    data = read_named(path)
    try:
        users = parse_users(data)
    except ValueError as exc:
        raise StartError("cannot use %s, %s." % (path, exc))
    if not users:
        raise StartError("%s has no user in it." % path)
    return users


def new_hash(password: bytes) -> PasswordHash:
    """Return a hash of *password*.

    Raise StartError if it cannot be hashed, is empty or too long, or has a
    control character, which no client may send (RFC 7617, 2).
    """
    need_scrypt()
    if not 0 < len(password) <= PASSWORD_MAX or CONTROL.search(password):
        raise StartError("the password, typed or in HTTPD_PASSWORD, is empty,"
                         " or longer than %d bytes, or has a control character"
                         " such as a line's end." % PASSWORD_MAX)
    new = PasswordHash(SCRYPT, os.urandom(16), bytes(32))
    try:
        return PasswordHash(new.cost, new.salt, new.make(password))
    except ValueError as exc:   # this OpenSSL refuses
        raise StartError("cannot hash the password: %s." % exc)


class Users:
    """The users, with their *hashes*, whose requests the server answers.

    A Job verifies a password; the outcome is remembered under a digest of
    name and password, keyed with a secret of this process.  Hashing takes at
    most a quarter of the time.

    _right, _wrong  digests of credentials that were right, or wrong
    """

    def __init__(self, hashes: "Dict[bytes, PasswordHash]",
                 limits: "Limits", clock: "Callable[[], float]"):
        self._hashes = hashes
        self._limits = limits
        self._clock = clock
        # Each check computes one hash of each cost, the user's own or a dummy,
        # so that known and unknown names take the same time.
        self._dummies = {each.cost: PasswordHash(
            each.cost, os.urandom(16), os.urandom(32))
            for each in self._hashes.values()}
        self._key = os.urandom(32)
        self._right = Cache(limits.VERIFIED_MAX)
        self._wrong = Cache(limits.VERIFIED_MAX)

    def admit(self, request: Request, address: str, work: Work) -> None:
        """Set the user of *request*, which comes from *address*.

        Raise HTTPError(400 or 401) unless its credentials are right, 503 if
        too many checks wait, and NotReady until the password is checked.
        """
        credentials = parse_credentials(
            request.fields.get("authorization", ""))
        if credentials is None:
            raise unauthorized()
        user, password = credentials
        import hashlib
        digest = hashlib.blake2b(user + b":" + password, key=self._key,
                                 digest_size=32).digest()
        if digest in self._wrong:
            raise unauthorized()
        if digest not in self._right:
            key = CHECK, digest, address
            if key not in work.jobs and key not in work.fresh:
                asked = [each[2] for each in work.jobs if each[0] == CHECK]
                if (asked.count(address) >= self._limits.CHECKS_OF_ONE_MAX
                        or len(asked) >= self._limits.CHECKS_MAX):
                    raise HTTPError(
                        503, "Too many passwords wait for a check.", AGAIN)
            work.result(key, self._check(work, digest, user, password))
        request.user = user.decode("latin-1")

    def _check(self, work: Work, digest: bytes, user: bytes,
               password: bytes) -> "Steps":
        """Verify a password; return True, or raise HTTPError(401 or 503)."""
        yield   # makes this a Job's Steps; all hashes are one step
        from hmac import compare_digest     # in constant time
        began = self._clock()
        hashes = dict(self._dummies)
        own = self._hashes.get(user)
        if own:
            hashes[own.cost] = own
        try:
            outcomes = [compare_digest(each.make(password), each.hash)
                        for each in hashes.values()]
        except (ValueError, MemoryError) as exc:
            tell("a password could not be verified: %s" % (
                str(exc) or "out of memory"))
            work.rest_until = began + PAUSE
            raise HTTPError(503, "The password could not be verified.", AGAIN)
        now = self._clock()
        work.rest_until = now + 3 * (now - began)
        if not any(outcomes):
            self._wrong.put(digest, True, 1)
            raise unauthorized()
        self._right.put(digest, True, 1)
        return True


def unauthorized() -> HTTPError:
    """Return the HTTPError(401) that asks for a name and a password."""
    # The charset of names and passwords: RFC 7617, 2 and 2.1.
    return HTTPError(401, "This needs a user name and a password.", [
        ("WWW-Authenticate", 'Basic realm="files", charset="UTF-8"')])


# ---- Respond ----------------------------------------------------------------

FRESH = ("Cache-Control", "no-cache")   # keep it, but ask each time
NO_STORE = ("Cache-Control", "no-store")
NO_CODING = "This has no content coding that you accept."
BOUNDARY = os.urandom(16).hex()     # in no file that anyone could prepare


class Responder:
    """Makes the answer to *request*.

    now     seconds since 1970
    arrived when the request arrived, by the clock of *work*
    facts   the states of files that the answer depends on, see Site
    vary    the request fields that the answer depends on
    """

    def __init__(self, request: Request, site: Site, work: Work, now: float,
                 arrived: float):
        self.request = request
        self.site = site
        self.work = work
        self.now = now
        self.arrived = arrived

    def respond(self) -> Answer:
        """Return the answer; raise NotReady if it must wait for a Job."""
        for _ in range(TRIES_MAX):
            self.facts: Facts = {}
            self.vary: List[str] = []
            with contextlib.suppress(Changed):
                return self.attempt()
        return error_answer(HTTPError(503, "The file changes all the time."),
                            self.request.path)

    def attempt(self) -> Answer:
        """Return the resource, a fallback for it, or an error."""
        try:
            check_method(self.request.method, self.site.head)
            try:
                return self.locate(*path_segments(self.request.path, WINDOWS))
            except HTTPError as exc:
                if exc.status != 404:
                    raise
                return self.fallback(exc)
        except HTTPError as exc:
            error = exc
        except OSError as exc:  # while reading
            error = self.site.failure(exc, self.facts)
        page = error_answer(error, self.request.path)
        return self.answer(page.status, page.fields, page.content)

    def open(self, segments: "Sequence[bytes]") -> Opened:
        """Open the file or folder at *segments*.

        If a file is not steady, the answer is for this request alone.
        """
        opened = self.site.open(segments, self.facts)
        opened.is_steady = opened.is_folder or (
            is_settled(opened.status, self.now)
            and not self.work.has_changed(opened.path, self.arrived))
        if not opened.is_steady:
            self.facts[UNKNOWN] = ()
        return opened

    def locate(self, segments: "List[bytes]", slash: bool) -> Answer:
        """Answer with the file or folder at *segments*.

        *slash* is whether the path ends in a slash.
        """
        try:
            target = self.open(segments)
        except HTTPError as error:
            page = None
            if not (slash or error.status != 404
                    or self.site.has_name(segments, self.facts)):
                page = self.first_file(segments[:-1],
                                       [segments[-1] + PAGE_SUFFIX])
            if page:
                return page
            raise
        with target:
            if not target.is_folder:
                if slash:
                    raise HTTPError(404, NOTHING_HERE)
                return self.represent(segments, target)
            if not slash:
                location = folder_reference(segments[-1])
                if self.request.query:
                    location += "?" + percent_encode(
                        self.request.query.encode("latin-1"), QUERY_CHARACTERS)
                raise HTTPError(301, "The address of a folder ends in a /.",
                                [("Location", location)])
            kind = self.archive_kind()
            if not (kind and self.site.archives == "all"):
                default = self.first_file(segments, DEFAULT_FILES)
                if default:
                    return default
            if not self.site.listing:
                raise HTTPError(404, NOTHING_HERE)
            return (self.archive(segments, kind) if kind
                    else self.list(segments, target.size > SMALL))

    def first_file(self, segments: "List[bytes]",
                   names: "Iterable[bytes]") -> "Optional[Answer]":
        """Answer with the first file of *names* in the folder at *segments*.

        Return None if there is none of them.
        """
        for name in names:
            try:
                with self.open([*segments, name]) as opened:
                    if not opened.is_folder:
                        return self.represent([*segments, name], opened)
            except HTTPError as error:
                if error.status != 404:
                    raise
        return None

    def fallback(self, error: HTTPError) -> Answer:
        """Answer for a missing path: the SPA's page, or the site's own 404."""
        if self.site.spa:
            self.vary += ["Accept", "Sec-Fetch-Mode"]
            fields = self.request.fields
            weights = parse_weights(fields.get("accept", ""))
            # Browsers say whether they want a page.  For other clients a dot
            # in the last name means a file.
            mode = fields.get("sec-fetch-mode")
            name = self.request.path.rpartition("/")[2]
            is_route = (mode == "navigate" if mode
                        else not re.search(r"\.|%2[Ee]", name))
            if is_route and media_weight(weights, "text/html") and (
                    not prefers_json(fields)):
                application = self.first_file([], DEFAULT_FILES)
                if application:
                    return application
        with contextlib.suppress(HTTPError), (
                self.open([NOT_FOUND_FILE])) as page:
            data = None if page.is_folder else page.small()
            if data is not None:
                media = content_type(media_type(NOT_FOUND_FILE), data)
                return self.answer(
                    404, [("Content-Type", media), NO_STORE], data)
        raise error

    def represent(self, segments: "Sequence[bytes]",
                  opened: Opened) -> Answer:
        """Answer with a file, in the coding that the client likes best.

        Its media type depends on its content and on the last of *segments*,
        even if that is a link to a file of another name.
        """
        kind = media_type(segments[-1])
        head = opened.small()
        if head is None and (kind or "text/").startswith("text/"):
            head = opened.read(0, SMALL)
        media = content_type(kind, head or b"")
        if not COMPRESSIBLE.match(media):
            return self.select(opened, media)
        self.vary.append("Accept-Encoding")
        for coding in self.request.codings:
            if coding == "identity":
                return self.select(opened, media)
            answer = self.sidecar(segments, opened, media, coding)
            if answer:
                return answer
            if (coding == "gzip" and opened.is_steady
                    and GZIP_MIN <= opened.size <= GZIP_MAX):
                if self.work.contents.has_room(opened.size):
                    return self.select(opened, media, coding, True)
                self.facts[UNKNOWN] = ()  # for now
        raise HTTPError(406, NO_CODING)

    def sidecar(self, segments: "Sequence[bytes]", opened: Opened, media: str,
                coding: str) -> "Optional[Answer]":
        """Answer with the file beside *opened* that has *coding*, if any.

        A file that is older than *opened* does not count.
        """
        name = segments[-1] + CODINGS[coding]
        try:
            sidecar = self.open([*segments[:-1], name])
        except HTTPError as error:
            if error.status >= 500:
                raise
            return None
        with sidecar:
            times = sidecar.status.st_mtime_ns, opened.status.st_mtime_ns
            if sidecar.is_folder or times[0] < times[1] and any(
                    tells_change(mtime // 10**9) for mtime in times):
                return None
            return self.select(sidecar, media, coding)

    def select(self, opened: "Union[Opened, Archive]", media: str,
               coding: str = "", compress: bool = False,
               others: "Sequence[Tuple[str, str]]" = ()) -> Answer:
        """Answer with a representation, judging preconditions and ranges.

        *coding* is the coding of *opened*, or, with *compress*, the one to
        apply.  *others* are further fields.
        """
        fields, now, variant = self.request.fields, self.now, coding
        if compress:    # then the bytes depend on zlib's version, too
            import zlib
            variant += "-" + zlib.ZLIB_RUNTIME_VERSION
        etag, modified = opened.validators(variant)
        shared = [FRESH] + ([("ETag", etag)] if etag else [])
        code = evaluate_preconditions(fields, etag, modified, now)
        if code == 304:
            return self.answer(304, shared, None)
        if code:
            raise HTTPError(code, "This is not what you expected to find.")
        found = [("Content-Type", media), *shared, *others]
        if modified is not None:
            # RFC 9110, 8.8.2.1: never later than Date.
            shown = http_date(min(modified, int(now)))
            found.append(("Last-Modified", shown))
        found.append(("Content-Encoding", coding) if coding
                     else ("Accept-Ranges", "bytes"))
        ranges = None
        if not coding and "range" in fields and range_applies(
                fields, etag, modified, now):
            ranges = select_ranges(fields["range"], opened.size)
        packed = None
        if compress and isinstance(opened, Opened):
            packed = self.job_result(GZIP, gzip_steps, opened)
        if wants_digest(fields) and opened.is_steady and (
                not self.work.has_changed(opened.path, self.arrived)):
            found.append(repr_digest(self.digest(opened) if packed is None
                                     else sha256(packed)))
        if packed is not None:
            return self.answer(200, found, packed)
        return self.content(opened, found, ranges, media)

    def content(self, opened: "Union[Opened, Archive]", fields: "Fields",
                ranges: "Optional[List[ByteRange]]", media: str) -> Answer:
        """Answer with the *ranges* of *opened*, None for all of it."""
        code, size = 200, opened.size
        parts: List[Any] = [(0, size)] if size else []
        if ranges and len(ranges) > 1:
            several = multipart(ranges, size, media, BOUNDARY)
            if parts_length(several) <= size:
                code, parts = 206, several
                fields[0] = ("Content-Type", "multipart/byteranges; boundary="
                             + BOUNDARY)
        elif ranges:
            first, last = ranges[0]
            code, parts = 206, [(first, last + 1)]
            fields.append(("Content-Range",
                           "bytes %d-%d/%d" % (first, last, size)))
        length, contents = parts_length(parts), self.work.contents
        if self.request.method == "HEAD":   # takes none of it
            return self.answer(code, fields, [], length=length)
        if isinstance(opened, Archive):
            source: Source = opened
        elif length <= SMALL or (code == 206 and length <= SLICE
                                 and contents.has_room(length)):
            return self.answer(code, fields, b"".join(
                opened.read(*part) if isinstance(part, tuple) else part
                for part in parts))
        else:
            source = opened.source(contents)
        return self.answer(code, fields, [
            source.part(*part) if isinstance(part, tuple) else part
            for part in parts], source, source.fd < 0, length)

    def digest(self, opened: "Union[Opened, Archive]") -> bytes:
        """Return the SHA-256 of the whole content, which a Job makes."""
        if not isinstance(opened, Archive):
            return self.job_result(DIGEST, functools.partial(
                digest_steps, self.work.made,
                ("so far", opened.path, opened.version)), opened)
        value: bytes = self.work.result(
            (ARCHIVE_DIGEST, opened.path, opened.version), opened.digest())
        return value

    def job_result(self, kind: str, make: "Callable[..., Steps]",
                   opened: Opened) -> bytes:
        """Return the result of *make* for a file, which a Job makes once."""
        key = kind, opened.path, opened.version
        read = functools.partial(self.site.read, *key[1:])
        value: bytes = self.work.result(key, make(read, opened.size))
        return value

    def list(self, segments: "Sequence[bytes]", is_long: bool) -> Answer:
        """Answer with the listing, which a Job makes; *is_long*: the folder
        has many names.
        """
        work = self.work
        listing = Listing(self.request, segments, self.site.archives != "none")
        self.vary += listing.vary
        if not listing.coding:
            raise HTTPError(406, NO_CODING)
        # If the Job raised an error, that is the answer to this request alone.
        self.facts[UNKNOWN] = ()
        source = work.result(
            (LONG_LISTING if is_long else LISTING, b"/".join(segments),
             (listing.media, listing.coding, listing.part, listing.sort,
              listing.reverse)),
            listing_steps(self.site, segments, listing, work.listings),
            self.arrived)
        fields = [("Content-Type", listing.media), FRESH,
                  ("Content-Security-Policy", NO_SCRIPTS)]
        if listing.coding != "identity":
            fields.append(("Content-Encoding", listing.coding))
        return self.answer(200, fields, source.data, source, False)

    def archive_kind(self) -> "Optional[str]":
        """Return which archive is asked for, where there are any, or None."""
        match = re.fullmatch("(tar|zip)=?", self.request.query)
        if not match or "none" == self.site.archives or not self.site.listing:
            return None
        return match.group(1)

    def archive(self, segments: "Sequence[bytes]", kind: str) -> Answer:
        """Answer with the folder at *segments* as one file of this *kind*."""
        work = self.work
        # Whatever the answer is, it is for this request alone.
        self.facts[UNKNOWN] = ()
        planned = Archive(kind, self.site, segments, work)
        archive = work.result(
            (ARCHIVE, planned.path, kind),
            planned.plan(self.site.archives == "all"), self.arrived)
        name = archive.top[:-1].decode("utf-8", "replace")
        return self.select(archive, ARCHIVES[kind],
                           others=[attachment(name + "." + kind)])

    def answer(self, status: int, fields: "Fields", content: "Content",
               source: "Optional[Source]" = None, keep: bool = True,
               length: int = 0) -> Answer:
        """Return the answer, which may be sent again if *keep*.

        *length* is that of parts, which may be still to come.  Content above
        SMALL is shared by all answers that have it, not copied.
        """
        if isinstance(content, bytes):
            length = len(content)
            if length > SMALL:
                source = source or Source(self.work.contents, content)
                content = [memoryview(content)]
            else:
                source = None
        if self.vary:
            fields = [*fields, ("Vary", ", ".join(self.vary))]
        lasts = keep and UNKNOWN not in self.facts
        return Answer(status, fields, content, self.facts if lasts else None,
                      source, length)


def repr_digest(value: bytes) -> "Tuple[str, str]":
    """Return the Repr-Digest field of a SHA-256 (RFC 9530, 3)."""
    import base64
    return ("Repr-Digest", "sha-256=:%s:"       # RFC 8941, 3.3.5
            % base64.b64encode(value).decode("ascii"))


def check_method(method: str, head: bool) -> None:
    """Raise HTTPError(405 or 501) for all but GET, and HEAD with *head*."""
    allowed = ["GET", "HEAD"] if head else ["GET"]
    if method not in METHODS:
        raise HTTPError(501, "This server does not know this method.")
    if method not in allowed:
        raise HTTPError(405, "This server answers %s only."
                        % " and ".join(allowed),
                        [("Allow", ", ".join(allowed))])


def error_answer(error: HTTPError, path: str = "") -> Answer:
    """Return the page that explains *error*, or a redirection.

    For *path* see error_page().
    """
    fields = [*error.fields, ("Content-Type", HTML),
              NO_STORE if error.status >= 400 else FRESH,
              ("Content-Security-Policy", NO_SCRIPTS)]
    return Answer(error.status, fields, error_page(
        error.status, error.detail, path, dict(fields).get("Location", "")))


# ---- Transport --------------------------------------------------------------

MSG_MORE = getattr(socket, "MSG_MORE", 0)  # the head waits for the content
HAS_SENDMSG = hasattr(socket.socket, "sendmsg")
HAS_SENDFILE = hasattr(os, "sendfile")

# The client or the route to it is gone; the rest are ConnectionErrors.
GONE = frozenset([errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH,
                  errno.ENETDOWN, errno.ENOTCONN])
# Errors of file systems that do not support sendfile().
NO_SENDFILE = frozenset([errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])


def is_gone(exc: BaseException) -> bool:
    """Return whether *exc* means that the peer has gone away."""
    return (isinstance(exc, ConnectionError)
            or isinstance(exc, OSError) and exc.errno in GONE)


def gather(parts: "Iterable[Part]",
           limit: int) -> "List[Union[bytes, memoryview]]":
    """Return the leading *parts* in memory, about *limit* bytes of them."""
    found: List[Union[bytes, memoryview]] = []
    for part in parts:
        if limit <= 0 or not isinstance(part, (bytes, memoryview)):
            break
        found.append(part)
        limit -= len(part)
    return found


def advance(parts: "Deque[Any]", count: int) -> None:
    """Drop the first *count* bytes of *parts*."""
    while count:
        part = parts[0]
        size = parts_length([part])
        if count >= size:
            parts.popleft()
        elif isinstance(part, tuple):
            parts[0] = (part[0] + count, *part[1:])
        else:
            parts[0] = memoryview(part)[count:]
        count -= min(count, size)


def tls_context(cert: str, key: str,
                password_file: "Optional[str]") -> "ssl.SSLContext":
    """Return an SSLContext with the certificate in the file *cert*.

    *key* is the file with the private key, perhaps the same file; the first
    line of *password_file* is the password of an encrypted key.
    Raise StartError if that cannot be done.
    """
    try:
        import ssl
    except ImportError:
        raise StartError("--tls-cert needs the ssl module, which this Python"
                         " lacks.")
    for path, word in (cert, b"CERTIFICATE-----"), (key, b"PRIVATE KEY-----"):
        if word not in read_named(path):    # OpenSSL would not name the file
            raise StartError("%s contains no PEM %s. Name the file that has it"
                             " by --tls-cert or --tls-key." % (
                                 path, word.decode().strip("-").lower()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if hasattr(context, "minimum_version"):  # novm
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # novm
    else:  # Python 3.6
        context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    # Python 3.6 has no name for this number.
    context.options |= getattr(ssl, "OP_NO_RENEGOTIATION", 0x40000000)
    context.set_alpn_protocols(["http/1.1"])
    password = None
    if password_file is not None:
        password = read_named(password_file).partition(b"\n")[0]
        password = password.rstrip(b"\r")[:PASSWORD_MAX]
    asked = []

    def give_password() -> bytes:   # or OpenSSL asks on the terminal
        asked.append(True)
        return password or b""
    try:
        context.load_cert_chain(cert, key, give_password)
    except ssl.SSLError as exc:
        why = str(exc)
        if exc.reason == "KEY_VALUES_MISMATCH":
            why = "the key does not belong to the certificate"
        elif asked and password is None:
            why = ("the key is encrypted: give the file with its password by"
                   " --tls-password-file")
        elif asked:
            why = "the password in %s does not open the key" % password_file
        raise StartError("cannot use the certificate in %s with the key in %s:"
                         " %s." % (cert, key, why))
    return context


TLS_HANDSHAKE = b"\x16"     # the first byte a client sends (RFC 8446, 5.1)


def socket_error(exc: OSError) -> OSError:
    """Return what a plain socket would raise for *exc* of an SSLSocket."""
    import ssl
    if isinstance(exc, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
        return BlockingIOError(errno.EAGAIN, "a part of a TLS record")
    if isinstance(exc, ssl.SSLError):
        return ConnectionAbortedError(errno.ECONNABORTED, str(exc))
    return exc


class TLSSocket:
    """A non-blocking TLS socket, with the methods that this server needs.

    It wraps an SSLSocket, and raises what a plain socket would.  After a
    send() that would have blocked, the next send() must have the same bytes.
    """

    __slots__ = ("_tls", "fileno", "close")

    def __init__(self, sock: socket.socket, context: "ssl.SSLContext"):
        self._tls = context.wrap_socket(sock, True,
                                        do_handshake_on_connect=False)
        self.fileno, self.close = self._tls.fileno, self._tls.close

    def handshake(self) -> int:
        """Continue the handshake; return READ, WRITE, or 0 once it is done."""
        import ssl
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return READ
        except ssl.SSLWantWriteError:
            return WRITE
        except OSError as exc:
            raise socket_error(exc)
        return 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return received bytes, at most one record; b"" at the end.

        With *flags*, such as MSG_PEEK, the bytes are still encrypted.
        """
        if flags:
            return socket.socket.recv(self._tls, size, flags)
        try:
            return self._tls.recv(size)
        except OSError as exc:
            raise socket_error(exc)

    def send(self, data: "Union[bytes, memoryview]", flags: int = 0) -> int:
        """Encrypt and send at most a slice of *data*; ignore *flags*."""
        try:
            return self._tls.send(data[:TLS_SLICE])
        except OSError as exc:
            raise socket_error(exc)

    def close_notify(self) -> socket.socket:
        """Send close_notify; return the socket, without TLS.

        Without it the client cannot tell the end from a cut (RFC 8446, 6.1).
        """
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()  # raises if the client's is not here yet
        tls = self._tls
        sock = socket.socket(tls.family, tls.type, tls.proto, tls.detach())
        sock.setblocking(False)
        return sock


# ---- Connection -------------------------------------------------------------

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

POLLRDHUP = getattr(select, "POLLRDHUP", 0) if hasattr(select, "poll") else 0

# The states, in the order of a connection's life; STATES has their rules.  In
# PREPARING a whole head waits for the result of a job, or for its turn.
(HANDSHAKE, RECEIVING, PREPARING, SENDING, IDLE, LINGERING,
 CLOSED) = range(7)


class Connection:
    """One client: its socket, its buffers and its state.

    peer    the client's address and port
    who     the beginning of its log lines; "" for a trusted proxy, which
            passes on requests of many clients
    events  what the selector watches for: nothing before the first read,
            since most clients send at once.  READ stays while an answer is
            made and sent, until the socket is full (WRITE) or input comes (0)
    buffer  bytes received and not yet answered; the first *checked* of them
            are known to begin a valid head
    queue   the requests and Answers that are being sent, in order; empty in
            all states but SENDING
    parts   what is left to send of the queue
    sent    how many bytes of the first Answer have been sent
    read_at     when it was last read from, or LINGERING began
    state_began when the time limit of its state began to run

    A step records only what a system call has really done, so any call may
    fail with EAGAIN and the step can be repeated.
    """

    __slots__ = ("loop", "sock", "peer", "who", "state", "events", "buffer",
                 "checked", "queue", "parts", "sent", "read_at",
                 "state_began")

    def __init__(self, loop: "Loop", sock: socket.socket, peer: "Peer",
                 who: str):
        self.loop = loop
        self.sock: Union[socket.socket, TLSSocket] = sock
        self.peer = peer
        self.who = who
        self.state = HANDSHAKE if loop.server.tls else RECEIVING
        self.events = 0
        self.buffer = b""
        self.checked = 0
        self.queue: Queue = ()  # () takes no memory
        self.parts: Deque[Part] = NO_PARTS
        self.sent = 0
        self.read_at = self.state_began = loop.now
        loop.connections[self.state][self] = None
        loop.wake_by(loop.now + loop.seconds[self.state])

    def __repr__(self) -> str:
        return "<Connection %s:%s %s, %d bytes in, %d answers out>" % (
            *self.peer, NAMES[self.state], len(self.buffer), len(self.queue))

    # The state.

    def enter(self, state: int) -> None:
        """Go to *state*, or restart its time limit; nothing else changes it.

        Raise OSError if the selector cannot watch the socket.
        """
        loop = self.loop
        self.state_began = loop.now
        if state == self.state:
            loop.connections[state].move_to_end(self)
            return
        del loop.connections[self.state][self]
        self.state = state
        if state == CLOSED:
            self.watch(0)
            loop.work.run_queue.pop(self, None)
            self.sock.close()
        else:
            loop.connections[state][self] = None
            loop.wake_by(loop.now + loop.seconds[state])
            if WAITS_FOR[state] == READ:
                self.watch(READ)
        if state in (IDLE, LINGERING, CLOSED):
            loop.resume_accepting()     # there is room, or can be made

    def watch(self, events: int) -> None:
        """Let the selector report when the socket is ready for *events*."""
        selector = self.loop.selector
        if events == self.events:
            return
        if not events:
            # A failed modify() may have unregistered the socket: select(),
            # poll() and Python 3.6 do that first.
            with contextlib.suppress(KeyError):
                selector.unregister(self.sock)
        else:
            change = selector.modify if self.events else selector.register
            change(self.sock, events, self.on_ready)
        self.events = events

    def on_ready(self) -> None:
        """Handle a new socket, or one that the selector reports as ready.

        Steps that may send wait in the run queue.
        """
        waits_for = WAITS_FOR[self.state]
        if waits_for == READ:
            STEP[self.state](self)
        elif waits_for & self.events:
            self.loop.work.run_queue.setdefault(self)
        else:
            # Wait for the first bytes of HANDSHAKE.  In the other states more
            # input waits until the answer is sent.
            self.watch(waits_for & READ)

    def step(self) -> None:
        """Do one step of the run queue; queue the next if there is one."""
        if STEP[self.state](self):
            self.loop.work.run_queue[self] = None

    # Receiving.

    def handshake(self) -> None:
        """HANDSHAKE: continue the TLS handshake, or refuse plain HTTP."""
        if not isinstance(self.sock, TLSSocket):
            if self.sock.recv(1, socket.MSG_PEEK) != TLS_HANDSHAKE:
                self.buffer = self.sock.recv(RECV_SIZE)
                if self.buffer:
                    self.refuse(HTTPError(400, "This port speaks HTTPS: begin"
                                          " the address with https://"))
                else:
                    self.abort()
                return
            assert self.loop.server.tls
            self.sock = TLSSocket(self.sock, self.loop.server.tls)
        events = self.sock.handshake()
        if events:
            self.watch(events)
        else:
            self.enter(RECEIVING)

    def receive(self) -> None:
        """IDLE, RECEIVING: read, and have the buffer answered this turn."""
        try:
            data = self.sock.recv(RECV_SIZE)
        except BlockingIOError:     # a new client has sent nothing yet
            self.watch(READ)
            return
        if data:
            self.buffer = self.buffer + data if self.buffer else data
            self.read_at = self.loop.now
            self.loop.work.to_answer.append(self)
        else:
            self.abort()

    def wait_for_more(self, answered: bool = False) -> None:
        """Wait for the rest of a head in RECEIVING, for the next one in IDLE.

        *answered*: a request has been answered, so a new time limit begins.
        """
        if self.buffer:
            try:
                check_partial(self.buffer, self.checked)
            except HTTPError as error:
                self.refuse(error)
                return
            self.checked = len(self.buffer)
        stays = self.state == RECEIVING and not answered
        state = RECEIVING if self.buffer or stays else IDLE
        if answered or state != self.state:     # empty lines gain no time
            self.enter(state)
        self.watch(READ)

    def has_left(self) -> bool:
        """Return whether the client has closed or reset the connection.

        For PREPARING and archives, where the selector does not report it.
        A client that has closed only its sending side looks the same.
        """
        try:
            if POLLRDHUP:   # sees it behind unread bytes, like close_notify
                poll = select.poll()
                poll.register(self.sock, POLLRDHUP)
                return bool(poll.poll(0))
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    # Answering.

    def answer(self) -> None:
        """Answer the requests in the buffer.

        Nearly always that is one known head alone, which has a shortcut here:
        answer_heads() does the same, but takes a quarter more Python time.
        """
        loop = self.loop
        request: Any = loop.known.get(self.buffer)
        answer: Any = request and loop.kept.get(request.key)
        if answer and answer.turn != loop.turn:     # not checked this turn
            answer = loop.renewed(request.key)
        if not answer or answer.rest:
            self.answer_heads()
            return
        self.buffer = b""
        self.checked = 0
        try:
            sent = self.sock.send(answer.data)
        except OSError:
            sent = 0    # full, or gone: the next step will notice
        if sent != answer.total:
            self.send_later(((request, answer),), answer.data, sent)
            return
        self.log(request, answer)
        if answer.closes or loop.is_draining:
            self.next_request((request, answer))
        else:
            self.enter(IDLE)

    def answer_heads(self) -> None:
        """Answer as many heads in the buffer as can be answered together.

        Send small answers at once, and the beginning of a large one if the
        turn has time left; send the rest in steps.
        """
        loop = self.loop
        queue = self.take_answers()
        if not queue:
            return
        answer = queue[-1][1]
        data = b"".join([each.data for _, each in queue])
        sent, total = 0, len(data)
        try:
            if not answer.rest:
                sent = self.sock.send(data)
            elif loop.clock() - loop.now < loop.server.limits.TURN_SECONDS:
                total += answer.total - answer.head_size
                sent, _ = self.send_slice(deque([data, *answer.rest]))
        except OSError:
            pass    # full or gone, as in answer()
        if sent != total:
            self.send_later(queue, data, sent)
            return
        for request, answer in queue:
            self.log(request, answer)
        self.next_request(queue[-1])

    def take_answers(self) -> "Queue":
        """Take requests from the buffer; return them with their Answers.

        Return () if there is no whole head, or the first answer must wait.
        Stop before the answers exceed SMALL bytes, and after an answer that is
        large or closes: later requests stay in the buffer until it is sent.
        """
        loop, buffer = self.loop, self.buffer
        queue: List[Tuple[Request, Answer]] = []
        job: Optional[Job] = None
        start = size = 0
        while size < SMALL:
            while buffer.startswith(b"\r\n", start):    # RFC 9112, 2.2
                start += 2
            stop = buffer.find(HEAD_END, max(start, self.checked - 3)
                               ) + len(HEAD_END)
            if stop < len(HEAD_END):
                break
            head = buffer[start:stop]
            try:
                request, answer = loop.answer_to(head, self)
            except NotReady as wait:
                job = wait.job
                break
            size += len(answer.data)
            if queue and size > SMALL and not answer.rest:
                break   # joining it to the others would copy it
            queue.append((request, answer))
            start = stop
            if answer.closes or answer.rest:
                break
        if start:
            self.buffer, self.checked = buffer[start:], 0
        if not queue and job:
            job.waiting.append(self)
            if self.state != PREPARING:     # one time limit for all its jobs
                self.enter(PREPARING)
            loop.wake_by(loop.now + GONE_CHECK)
        elif not queue:
            self.wait_for_more()
        return tuple(queue)

    def refuse(self, error: HTTPError) -> None:
        """Answer the request in the buffer with *error*, and close."""
        queue = self.refusal(error)
        self.send_later(queue, queue[0][1].data)

    def refusal(self, error: HTTPError) -> "Queue":
        """Return the request in the buffer, with *error* as its Answer."""
        head, end, _ = self.buffer.partition(HEAD_END)
        request = unparsed_request(self.buffer)
        if end:
            with contextlib.suppress(HTTPError):
                request = parse_request(head + end)
                request.connection = "close"
        return (request, self.loop.render(request, error_answer(error))),

    # Sending.

    def send_later(self, queue: "Queue", data: bytes, sent: int = 0) -> None:
        """Send the answers in *queue* in steps.

        *data* has their bytes, except the *rest* of the last answer; *sent*
        bytes of it have been sent already.
        """
        last = queue[-1][1]     # only the last has a rest
        if last.source:
            last.source.hold()
        self.queue = queue
        self.parts = deque([data, *last.rest])
        self.sent = 0
        self.enter(SENDING)
        self.has_sent(sent)
        if sent in (0, len(data)):  # the socket may take more
            self.loop.work.run_queue[self] = None
        else:
            self.watch(WRITE)

    def flush(self) -> bool:
        """SENDING: send a slice; return whether another step can follow."""
        last = self.queue[-1]
        left = SLICE
        while left > 0:
            if not self.take_part():
                return self.state == SENDING
            try:
                sent, tried = self.send_slice(self.parts)
            except BlockingIOError:
                sent, tried = 0, 1
            # A TLS send() that blocks may have sent a part of its slice.
            if sent or self.loop.server.tls:
                self.enter(SENDING)     # restart the time limit
                self.has_sent(sent)
            if not self.queue:
                self.next_request(last)
                return False
            if sent < tried:
                self.watch(WRITE)
                return False
            left -= max(sent, SLICE // 4)   # several parts may be a slice
        return True

    def take_part(self) -> bool:
        """If an archive is next, take a part out of it.

        Return whether there is something to send: not after a step that only
        computed.  Notice within a second if the client leaves meanwhile.
        """
        parts = self.parts
        while isinstance(parts[0], GeneratorType):
            part = next(parts[0], None)
            if part is None:
                parts.popleft()
            elif part:
                parts.appendleft(part)
            else:
                if self.loop.now - self.state_began >= GONE_CHECK:
                    if self.has_left():
                        self.abort()
                    else:
                        self.enter(SENDING)     # work is progress
                return False
        return True

    def send_slice(self, parts: "Deque[Part]") -> "Tuple[int, int]":
        """Send a slice of *parts*; without sendfile(), read it first.

        Return how many bytes were sent, and how many were tried.
        """
        if isinstance(parts[0], tuple):
            start, stop, fd = parts[0]
            count = min(stop - start, SLICE)
            if HAS_SENDFILE and not isinstance(self.sock, TLSSocket):
                try:
                    sent = os.sendfile(self.sock.fileno(), fd, start, count)
                    if not sent:    # the file has become shorter
                        raise Changed
                    return sent, count
                except OSError as exc:
                    if exc.errno not in NO_SENDFILE:
                        raise
            os.lseek(fd, start, os.SEEK_SET)
            block = os.read(fd, min(count, SMALL))
            if not block:
                raise Changed
            advance(parts, len(block))
            parts.appendleft(block)
        found = gather(parts, SLICE)
        if isinstance(self.sock, TLSSocket):
            return self.sock.send(found[0]), min(len(found[0]), TLS_SLICE)
        flags = MSG_MORE if len(found) < len(parts) else 0
        if self.queue and (self.sent + parts_length(found)
                           >= self.queue[-1][1].total):
            flags = 0       # what is left of an archive is empty
        if len(found) > 1 and HAS_SENDMSG:
            return self.sock.sendmsg(found, (), flags), parts_length(found)
        data = found[0][:SLICE]
        return self.sock.send(data, flags), len(data)

    def has_sent(self, count: int) -> None:
        """Note that *count* more bytes were sent; log each complete answer."""
        advance(self.parts, count)
        self.sent += count
        done = 0
        for request, answer in self.queue:
            if self.sent < answer.total:
                break
            self.sent -= answer.total
            done += 1
            self.release(answer)
            self.log(request, answer)
        self.queue = self.queue[done:]

    def release(self, answer: Answer) -> None:
        """Release the Source of an answer that is sent or given up."""
        if answer.source:
            for part in self.parts:
                if isinstance(part, GeneratorType):     # of an Archive
                    part.close()
            answer.source.release()

    def next_request(self, last: "Tuple[Request, Answer]") -> None:
        """After *last* was sent, go on to the next request, or close."""
        request, answer = last
        self.parts = NO_PARTS
        if HEAD_END in self.buffer and not answer.closes:
            self.enter(PREPARING)   # others take their steps first
            self.loop.work.run_queue[self] = None
        elif not (answer.closes or self.loop.is_draining):
            self.wait_for_more(answered=True)
        elif (self.buffer or self.state in (PREPARING, SENDING)
                or request.has_body or isinstance(self.sock, TLSSocket)):
            # RFC 9112, 9.6: closing with unread input, or with more of it to
            # come, makes the kernel send RST, which can destroy the response
            # in flight.  So shut down only our side, and read on.
            self.buffer = b""
            self.read_at = self.loop.now
            if isinstance(self.sock, TLSSocket):
                self.sock = self.sock.close_notify()    # ignore more input
            self.sock.shutdown(socket.SHUT_WR)
            self.enter(LINGERING)
        else:
            self.enter(CLOSED)

    # The end.

    def linger(self) -> None:
        """LINGERING: read and ignore input until the client closes."""
        if not self.sock.recv(RECV_SIZE):
            self.enter(CLOSED)
        elif self.loop.now - self.read_at < LINGER_MAX:
            self.enter(LINGERING)

    def expire(self) -> None:
        """End a state whose time limit is over."""
        if self.state == RECEIVING and self.buffer.strip(b"\r\n"):
            self.refuse(HTTPError(408, "The request took too long to arrive."))
        elif self.state == PREPARING:
            self.refuse(HTTPError(503, "This takes too long to prepare."))
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once, and log the requests not answered completely."""
        queue, self.queue = self.queue, ()
        is_between = not queue      # no answer is cut off: end TLS, too
        if is_between and self.buffer.strip(b"\r\n"):
            queue = self.refusal(HTTPError(
                503 if self.state == PREPARING else 400, "Not answered."))
        try:
            for request, answer in queue:
                self.release(answer)
                self.log(request, answer, aborted=True)
            if is_between and isinstance(self.sock, TLSSocket):
                self.sock = self.sock.close_notify()
        finally:
            self.enter(CLOSED)

    # Logging.

    def log(self, request: Request, answer: Answer,
            aborted: bool = False) -> None:
        """Queue the access log line of an answer that was sent.

        If *aborted*, only self.sent bytes of the answer were sent.
        """
        loop = self.loop
        form = loop.form
        if form is None:
            return
        if aborted:
            rest = form.rest(loop.log_date, request, answer.status,
                             max(0, self.sent - answer.head_size))
            self.sent = 0
        else:
            # Make the text once for all clients that get this Answer.
            if (request.token is not answer.token
                    or answer.date is not loop.date):
                request.token = answer.token
                request.log_rest = form.rest(
                    loop.log_date, request, answer.status,
                    answer.total - answer.head_size)
            rest = request.log_rest
        line = (self.who or loop.who(self, request)) + rest
        if form.is_timed:
            line += form.tail(loop.clock() - self.read_at, aborted)
        loop.log_lines.append(line)


NO_PARTS: "Deque[Part]" = deque()

# HANDSHAKE comes first, LINGERING and CLOSED last; the rest in any order.
STATES = [
    # name, what the socket must be ready for, seconds, step
    ("HANDSHAKE", READ | WRITE, REQUEST_TIMEOUT, Connection.handshake),
    ("RECEIVING", READ, REQUEST_TIMEOUT, Connection.receive),
    ("PREPARING", 0, PREPARE_TIMEOUT, Connection.answer),
    ("SENDING", WRITE, SEND_TIMEOUT, Connection.flush),
    ("IDLE", READ, IDLE_TIMEOUT, Connection.receive),
    ("LINGERING", READ, LINGER_TIMEOUT, Connection.linger),
    ("CLOSED", 0, 0, None),
]
NAMES, WAITS_FOR, SECONDS, STEP = zip(*STATES)


# ---- Log --------------------------------------------------------------------

STDOUT, STDERR = 1, 2   # descriptors
LOG_RETRY = 0.1         # seconds between tries to write to a stalled reader
LOG_CLOSE_TIMEOUT = 1   # seconds to wait for a slow reader at the end
# A pipe takes this much in one piece, and is ready only with room for this.
PIPE_BUF = getattr(select, "PIPE_BUF", 512)     # POSIX: at least


class StartError(OSError, ValueError):
    """The server cannot start; the text says why, and what to do.

    *number* is the errno of the system call that failed, or None.
    """

    def __init__(self, text: str, number: "Optional[int]" = None):
        super().__init__(text)
        self.errno = number


def tell(message: str) -> None:
    """Write a message about the server itself to standard error, escaped.

    If nobody reads it, it is lost: it must neither stop nor delay the server.
    """
    text = re.sub(r"[\0-\t\v-\x1f\x7f-\x9f]",     # a traceback keeps its lines
                  lambda match: ascii(match.group())[1:-1], message)
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr and has_room(sys.stderr.fileno()):
            # In one write: workers share the descriptor.
            os.write(sys.stderr.fileno(), ("httpd.py: %s\n" % text).encode(
                sys.stderr.encoding or "utf-8", "backslashreplace"))


def tell_traceback() -> HTTPError:
    """Write the exception being handled, a bug, to standard error.

    Return the error that answers the request.
    """
    text = repr(sys.exc_info()[1])
    with contextlib.suppress(Exception):  # perhaps no descriptor is left
        import traceback
        text = traceback.format_exc()
    tell("a bug, please report it:\n" + text)
    return HTTPError(500, DETAIL_OF_STATUS[500])


def has_room(fd: int, until: float = 0.0) -> bool:
    """Return whether *fd* can take a few bytes.

    Wait for that until *until*, in monotonic seconds, unless it is past.
    """
    try:
        return bool(select.select(
            [], [fd], [], max(0, until - time.monotonic()))[1])
    except (OSError, ValueError):
        return True     # Windows: select() takes only sockets


def open_log_file(path: str) -> int:
    """Return a descriptor that appends to *path*, or raise StartError."""
    try:
        # O_NONBLOCK: opening a FIFO that nobody reads fails; it never blocks.
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NOFOLLOW
                       | getattr(os, "O_NONBLOCK", 0), 0o640)
    except OSError as exc:
        why = exc.strerror
        if exc.errno == errno.ELOOP:
            why = "it is a link; name the file that it points to"
        raise StartError("cannot write the access log %s: %s."
                         % (path or "''", why), exc.errno)


class AccessLog:
    """Writes log lines to a descriptor, once a turn, without waiting.

    A pipe or a terminal is written to only while it has room; meanwhile lines
    wait in a bounded buffer, and lines that do not fit are dropped and
    counted.  Each write is whole lines, so lines of several processes do not
    mix.  *path* names the file that reopen() opens, None if it has no name.
    """

    def __init__(self, fd: int, form: str = "combined",
                 path: "Optional[str]" = None):
        self.form = LogForm(form)
        self.path = path
        self.waiting = bytearray()
        self._lost = 0
        self._fails = False
        self._at_line_end = True
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        if os.isatty(fd):
            # A terminal is ready even with room for one byte.  It is opened
            # again, because O_NONBLOCK on *fd* would affect the shell, too.
            # This fails on Windows, and for another user's terminal.
            with contextlib.suppress(OSError, AttributeError):
                fd = os.open(os.ttyname(fd),
                             os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        self._fd = fd

    def share(self) -> None:
        """Let several processes write: limit lines to what one write takes.

        Another process may fill the room that this one sees in a pipe, so the
        pipe is opened again, with O_NONBLOCK for our descriptor only.
        """
        if not self._is_file:
            # For three values and the user; 200 for the rest of a line.
            self.form.limit = (PIPE_BUF - 200) // 4
            # Without /proc, or the right to open it, nothing changes.
            with contextlib.suppress(OSError, AttributeError):
                self._fd = os.open("/proc/self/fd/%d" % self._fd,
                                   os.O_WRONLY | os.O_NONBLOCK)

    def write(self, lines: "List[str]", until: float = 0.0) -> None:
        """Write the waiting lines, then *lines*, as far as there is room.

        Wait for a stalled reader, at most until the time *until*.
        """
        waiting = self.waiting
        if len(waiting) < LOG_BACKLOG_MAX:
            waiting += "".join(lines).encode("ascii", "replace")
        else:
            self._lost += len(lines)
        try:
            while waiting and (self._is_file or has_room(self._fd, until)):
                piece = waiting
                if not self._is_file:
                    piece = waiting[:PIPE_BUF]
                    piece = piece[:piece.rfind(b"\n") + 1] or piece
                written = os.write(self._fd, piece)
                self._at_line_end = piece[written - 1:written] == b"\n"
                del waiting[:written]
                self._fails = False
        except BlockingIOError:
            pass  # a terminal that is stopped
        except OSError as exc:  # its reader is gone, the disk is full ...
            if not self._fails:
                tell("cannot write to the access log: %s" % exc.strerror)
            self._fails = True
            # But not a "\n" (see below) that ends a line already counted.
            self._lost += waiting.count(b"\n") - waiting.startswith(b"\n")
            waiting[:] = b"" if self._at_line_end else b"\n"
        if not (waiting or self._fails):
            self._tell_lost()

    def reopen(self) -> None:
        """Open *path* again, a new file if the old one has been renamed.

        If that fails, raise StartError and continue in the old file.
        """
        if self.path is None:
            return
        fd = open_log_file(self.path)
        if not self._at_line_end:   # drop the rest of a line in the old file
            del self.waiting[:self.waiting.find(b"\n") + 1]
        os.dup2(fd, self._fd, False)
        os.close(fd)
        self._fails, self._at_line_end = False, True

    def close(self) -> None:
        """Write the waiting lines, unless the reader stalls; report losses."""
        self.write([], time.monotonic() + LOG_CLOSE_TIMEOUT)
        self._lost += self.waiting.count(b"\n")
        self._tell_lost()

    def _tell_lost(self) -> None:
        if self._lost:
            tell("the access log has lost %d lines" % self._lost)
        self._lost = 0


# ---- Listening sockets ------------------------------------------------------

AF_UNIX = getattr(socket, "AF_UNIX", 0)  # 0 if not supported
# This machine lacks the address, or all addresses of its family.
NO_ADDRESS = errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT


def listening_sockets(bind: "Sequence[str]", port: int,
                      tries: int = TRIES_MAX) -> "List[socket.socket]":
    """Return sockets that listen at all of the addresses *bind*.

    Port 0 means the same free port for all of them.  Raise StartError.
    """
    if not 0 <= port <= PORT_MAX:
        raise StartError("cannot listen at port %d: a port is from 0 to %d."
                         % (port, PORT_MAX))
    socks: List[socket.socket] = []
    groups = [[address] for address in OrderedDict.fromkeys(bind)]
    if bind is LOOPBACK:    # as if one name meant both
        groups = [list(bind[:1 + socket.has_ipv6])]
    try:
        for addresses in groups:
            listen_at(addresses, port, socks)
        if not socks:
            raise StartError("cannot listen without an address.")
        return socks
    except StartError as exc:
        paths = socket_paths(socks)
        for sock in socks:
            sock.close()
        remove_stale_sockets(paths)
        # A port that was free at one address may be taken at another.
        if port or exc.errno != errno.EADDRINUSE or tries == 1:
            raise
    return listening_sockets(bind, port, tries - 1)


def listen_at(addresses: "Sequence[str]", port: int,
              socks: "List[socket.socket]") -> None:
    """Listen at all that *addresses* mean, and add the sockets to *socks*.

    Leave out addresses that the machine lacks, unless it lacks all of them: a
    name may have an IPv6 address on a machine without IPv6.
    """
    places = [(address, *place) for address in addresses
              for place in addresses_of(address)]
    lacking = 0
    for address, family, sockaddr in places:
        ports = [sock.getsockname()[1] for sock in socks
                 if sock.family != AF_UNIX] or [port]
        try:
            socks.append(listening_socket(family, sockaddr, ports[0]))
        except OSError as exc:
            lacking += 1
            if exc.errno not in NO_ADDRESS or lacking == len(places):
                raise cannot_listen(address, port, exc)


def cannot_listen(address: str, port: int, exc: OSError) -> StartError:
    """Return the exception that says why *address* cannot be used."""
    why, number, where = exc.strerror or str(exc), exc.errno, address
    if address.startswith("unix:"):
        if number == errno.EADDRINUSE:
            why = "the path is in use, or is not a socket"
        why += ". Name a path where a socket can be made"
    else:
        where += " port %d" % port if port else ""
        if number == errno.EADDRINUSE:
            why = ("the port is in use, by another program or, if you gave"
                   " several, by another --bind. Choose another port (0 picks"
                   " a free one), or stop that program")
        elif number in NO_ADDRESS:
            why = "this machine does not have this address"
            if ":" in address:
                why += ", or has no IPv6; 0.0.0.0 is every address of IPv4"
        elif number == errno.EINVAL:
            why += "; write fe80::1 as fe80::1%eth0, ::ffff:1.2.3.4 as 1.2.3.4"
        elif number == errno.EACCES and 0 < port < 1024:
            why += (". Ports below 1024 are for root: try 8080, or start as"
                    " root, with --user NAME")
    return StartError("cannot listen at %s: %s." % (where, why), number)


def with_port_apart(address: str) -> str:
    """Return the options for an *address* with its port; "" for any other."""
    match = re.fullmatch(r"(?:https?://)?(?:\[(.*)\]|([^:/\\]{2,}|))"
                         ":([0-9]+)/?", address)
    return "--bind %s %s" % (match.group(1) or match.group(2) or "::",
                             match.group(3)) if match else ""


def addresses_of(address: str) -> "Iterable[Tuple[int, Any]]":
    """Return (family, socket address) of each address that *address* means.

    Raise StartError if there is none.
    """
    if address.startswith("unix:"):
        if AF_UNIX and address[5:]:
            return [(AF_UNIX, address[5:])]
        raise StartError("cannot listen at %s: %s." % (
            address, "write unix:PATH" if AF_UNIX
            else "this platform has no Unix sockets"))
    apart = with_port_apart(address)
    if apart:
        raise StartError("cannot listen at %s: the port stands alone. Write"
                         " %s" % (address, apart))
    try:
        infos = socket.getaddrinfo(address, None, 0, socket.SOCK_STREAM, 0,
                                   socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as exc:  # a bad name
        raise StartError(
            "cannot listen at %s: %s. Give an address or a name of this"
            " machine, without brackets or a port." % (
                address or "''", getattr(exc, "strerror", "not a name")))
    return OrderedDict.fromkeys((int(info[0]), info[4]) for info in infos)


def listening_socket(family: int, sockaddr: "Any", port: int) -> socket.socket:
    """Return a socket that listens at a path, or at *sockaddr* and *port*."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == AF_UNIX:
            remove_stale_sockets([sockaddr])
            mask = os.umask(0o117)  # 0660: for its owner and group
            try:
                sock.bind(sockaddr)
            finally:
                os.umask(mask)
        else:
            if os.name == "posix":  # elsewhere it lets others take the port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY,
                                int(sockaddr[0] != "::"))
            sock.bind((sockaddr[0], port, *sockaddr[2:]))
        sock.listen(LISTEN_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def remove_stale_sockets(paths: "Iterable[str]") -> None:
    """Remove the sockets at *paths* if nothing listens there any more.

    Leave anything else at these paths alone.
    """
    for path in paths:
        with contextlib.suppress(OSError), socket.socket(AF_UNIX) as probe:
            probe.setblocking(False)    # the queue there may be full
            if (stat.S_ISSOCK(os.lstat(path).st_mode)
                    and probe.connect_ex(path) == errno.ECONNREFUSED):
                os.unlink(path)


def socket_paths(socks: "Sequence[socket.socket]") -> "List[str]":
    """Return the paths of the Unix sockets in *socks*."""
    return [sock.getsockname() for sock in socks if sock.family == AF_UNIX]


def inherited_sockets() -> "List[socket.socket]":
    """Return the listening sockets that systemd hands over, if it does.

    Raise StartError if it hands over anything else.
    Source: sd_listen_fds(3).
    """
    pid = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    if count in ("", "0") or pid != str(os.getpid()):
        return []  # none, or for another process
    socks: List[socket.socket] = []
    fd = STDERR + 1
    try:
        for fd in range(STDERR + 1, STDERR + 1 + int(count)):
            with socket.socket(fileno=fd) as sock:
                if not sock.getsockopt(socket.SOL_SOCKET,
                                       socket.SO_ACCEPTCONN):
                    raise ValueError("it is not listening")
                # accept() needs the family, which Python 3.6 does not find.
                name, family = sock.getsockname(), AF_UNIX
                if isinstance(name, tuple):
                    family = (socket.AF_INET6 if len(name) == 4
                              else socket.AF_INET)
                socks.append(socket.socket(family, fileno=sock.detach()))
        if not socks:
            raise ValueError("that is not a number of sockets")
        return socks
    except (OSError, ValueError) as exc:
        raise StartError(
            "cannot use descriptor %d (LISTEN_FDS is %r): %s. Let systemd"
            " start the server by a socket unit with ListenStream="
            % (fd, count, exc))


def in_brackets(host: str) -> str:
    """Return *host* as a URL has it: an IPv6 address in brackets."""
    return "[%s]" % host if ":" in host else host


def url_of(sock: socket.socket, scheme: str) -> str:
    """Return the URL at which *sock* listens, or unix:PATH."""
    if sock.family == AF_UNIX:
        return "unix:" + os.fsdecode(sock.getsockname())
    host, port = sock.getsockname()[:2]
    return "%s://%s:%d/" % (scheme, in_brackets(host), port)


# ---- Loop -------------------------------------------------------------------

NEVER = float("inf")    # as a time


class Loop:
    """The event loop of *server*: selector, clock, deadlines, connections.

    Make it in the process that runs it.

    share       the Share of several workers, or None
    parent      a descriptor that is readable when the supervisor is gone
    connections for each state, its Connections in the order in which their
                time limits began.  A state's limit is constant, so they also
                end in this order, and only the first can be due
    known       Requests, by their heads; kept: Answers, by Request.key
    is_draining whether it only finishes what is in flight, and then ends
    """

    def __init__(self, server: "Server", share: "Optional[Share]" = None,
                 parent: int = -1):
        self.server = server
        self.site = server.site
        self.log = server.access_log
        self.form = self.log.form if self.log else None
        self.proxies = server.trusted_proxies
        self.clock = server.clock
        self.seconds = list(SECONDS)
        self.seconds[IDLE] = server.idle_timeout
        self.seconds[RECEIVING] = server.request_timeout
        self.connections: List[OrderedDict[Connection, None]]
        self.connections = [OrderedDict() for _ in STATES]
        self.known = Cache(server.limits.KNOWN_MAX)
        self.kept = Cache(server.limits.KEPT_MAX)
        self.work = Work(server.limits)
        self.log_lines: List[str] = []
        self.is_draining = False
        self.turn = 0
        # The sockets at which new clients wait.  They are accepted at the end
        # of the turn, when its requests are answered: so no client is closed
        # to make room while its request waits.
        self._listening: List[socket.socket] = []
        self._share = share
        self._second = -1
        self._read_clocks()
        self._wake_at = self.now    # select() returns by then
        self.selector = selectors.DefaultSelector()
        self.selector.register(server.wakeups, READ, self._woken)
        if parent >= 0:
            self.selector.register(parent, READ, functools.partial(
                self._orphaned, parent))
        self._paused_until = self.now
        self.resume_accepting()

    def run(self) -> None:
        """Serve until the server is stopped, and all answers are sent."""
        while not self.is_draining or any(self.connections):
            self._turn()

    def close(self) -> None:
        """Abort all connections and jobs, write the log, and close."""
        self._end(range(CLOSED))
        self._write_log()
        for job in self.work.jobs.values():
            job.steps.close()
        self.selector.close()

    # The turn.

    def _turn(self) -> None:
        """Do one select(), and handle all that it returned.

        Requests are read first, then the disk is looked at, so every answer
        shows the files as they were after its request arrived.  New clients
        come last, and for them the disk is looked at again.
        """
        work = self.work
        ready = self.selector.select(
            0 if work.run_queue else max(0, self._wake_at - self.now))
        self._read_clocks()
        self._look_anew()
        self._do([key.data for key, _ in ready])
        self._answer()
        if work.run_queue:
            self._do(work.steps())
            self._answer()
        if self._listening:
            self._look_anew()
            for sock in self._listening:
                self._accept(sock)
            self._listening.clear()
            self._answer()
        if self.now >= self._wake_at:
            self._expire()
        if self.server.stop_count:
            self._drain()
        if work.jobs:
            work.begin()
            if work.rest_until > self.now:
                self.wake_by(work.rest_until)
        self._write_log()

    def _look_anew(self) -> None:
        """Begin a turn: forget what was seen on the disk before."""
        self.turn += 1
        self.site.new_turn()
        self.work.new_turn(self.now)

    def _answer(self) -> None:
        """Answer the connections that can be answered now."""
        answerable = self.work.to_answer
        self._do([connection.answer for connection in answerable])
        answerable.clear()

    def _do(self, steps: "Iterable[Callable[[], object]]") -> None:
        """Do *steps*; if one raises an error, close its connection."""
        for step in steps:
            try:
                step()
            except BlockingIOError:
                pass    # readiness is a hint
            except Exception as exc:
                client: Any = getattr(step, "__self__", None)
                if isinstance(exc, Changed):
                    tell("a file changed or became shorter while it was sent: "
                         + escape(client.queue[0][0].line))
                elif isinstance(exc, HTTPError):    # from an archive's file
                    tell("connection closed: " + exc.detail)
                elif not isinstance(exc, OSError) or exc.errno == errno.EBADF:
                    tell_traceback()    # EBADF: we used a closed descriptor
                elif not is_gone(exc):  # a file cannot be read, no memory ...
                    tell("connection closed: %s" % exc)
                if isinstance(client, Connection) and client.state != CLOSED:
                    self._do([client.abort])    # which closes it in any case

    def _read_clocks(self) -> None:
        """Read the clocks, for the whole turn."""
        self.now = self.clock()
        self.wall = time.time()
        second = int(self.wall)
        if second != self._second:
            self._second = second
            self.date = http_date(second)
            self.log_date = log_date(second)

    def _woken(self) -> None:
        """Handle a wake-up from a signal or another thread.

        It may have come after this turn read the clock, so read it again.
        """
        self.server.wakeups.recv(RECV_SIZE)
        self._read_clocks()
        if self.server.reload_asked:
            self.server.reload_now(quiet=self._share is not None)
            # Users of these Requests may have lost access.
            self.known = Cache(self.server.limits.KNOWN_MAX)

    def _orphaned(self, parent: int) -> None:
        """Stop, because the supervisor is gone."""
        self.selector.unregister(parent)
        if not self.server.stop_count:
            self.server.stop()

    def _write_log(self) -> None:
        """Write the turn's log lines; try again soon if that would block."""
        if self.log and (self.log_lines or self.log.waiting):
            self.log.write(self.log_lines)
            if self.log.waiting:
                self.wake_by(self.now + LOG_RETRY)
        self.log_lines.clear()

    # Deadlines.

    def wake_by(self, moment: float) -> None:
        """Let no select() last beyond *moment*.

        If a deadline is put off, its wake-up stays.  Now and then this costs a
        turn in which nothing is due, but it saves a search in every turn.
        """
        self._wake_at = min(self._wake_at, moment)

    def _expire(self) -> None:
        """Expire connections whose time is up; find the next deadline."""
        self._wake_at = self.now + PATIENCE_MAX
        for state, seconds in enumerate(self.seconds):
            connections = self.connections[state]
            while connections:
                oldest = next(iter(connections))
                if self.now - oldest.state_began < seconds:
                    self.wake_by(oldest.state_began + seconds)
                    break
                if oldest in self.work.run_queue:
                    oldest.enter(state)     # it is waiting for us
                else:
                    self._do([oldest.expire])
        if self.connections[PREPARING]:
            self.wake_by(self.now + GONE_CHECK)
            self._do([connection.abort for connection
                      in self.connections[PREPARING]
                      if self.now - connection.state_began >= GONE_CHECK
                      and connection not in self.work.run_queue
                      and connection.has_left()])
            # While a job waits for room, close clients that take nothing of a
            # listing or archive, the slowest first.
            for connection in list(self.connections[SENDING]):
                if self.now - connection.state_began < GONE_CHECK:
                    break
                source = connection.queue[-1][1].source
                if source and self.work.lacks_room(source.pool):
                    self._do([connection.abort])
        if self.now >= self._paused_until:
            self.resume_accepting()
        self.wake_by(self._paused_until)

    # Connections.

    def _count(self) -> int:
        return sum(map(len, self.connections))

    def _accept(self, sock: socket.socket,
                most: int = ACCEPTS_PER_TURN) -> None:
        """Accept clients at *sock* while there is or can be room for them."""
        if self._share and not self.is_draining:
            most = min(most, self._share.allows(self._count(), self.now))
            if not most:
                self._pause(SHARE_WAIT / 10)    # then look again
        for accepted in range(most):
            files = (self.work.contents.files + self.work.archives.files
                     + len(self.work.archives))
            is_full = self._count() >= min(
                self.server.max_connections,
                self.server.descriptors_max - files)
            if is_full and not self._least_needed():
                self._pause(ROOM_GRACE / 4)
                return
            try:
                client, address = sock.accept()
            except OSError as exc:
                if exc.errno in EXHAUSTED:
                    if not accepted:    # else perhaps no client waits now
                        self._make_room()
                elif not (isinstance(exc, BlockingIOError) or is_gone(exc)):
                    tell("cannot accept a client: %s" % exc)
                return
            if is_full:
                self._make_room()
            self._welcome(client, address)

    def _welcome(self, client: socket.socket, address: "Any") -> None:
        """Make a Connection for *client*, and read what it sent already."""
        peer: Peer = UNIX_PEER
        if isinstance(address, tuple):
            peer = address[:2]
            if peer[0].startswith("::ffff:") and "." in peer[0]:
                peer = peer[0][7:], peer[1]     # IPv4-mapped (RFC 4291)
        try:
            client.setblocking(False)
            if self.server.wrap:
                client = self.server.wrap(client)
        except OSError as exc:
            tell("connection closed: %s" % exc)
            client.close()
            return
        who = ""
        if self.form and not (self.proxies and peer[0] in self.proxies):
            who = self.form.who(*peer)
        connection = Connection(self, client, peer, who)
        self._do([connection.on_ready])

    def _make_room(self) -> None:
        """Close the least needed connection; else pause accepting clients."""
        least = self._least_needed()
        if least:
            self._do([least.abort])
        else:
            self._pause(ROOM_GRACE / 4)

    def _least_needed(self) -> "Optional[Connection]":
        """Return the connection that should make room, or None.

        In this order: the longest idle; the longest lingering; the slowest to
        send its head; the slowest in the TLS handshake; the slowest to take
        its answer.  Never one that was answered in this turn, or waits for us.
        """
        for state, grace in [
                (IDLE, 0), (LINGERING, 0), (RECEIVING, ROOM_GRACE),
                (HANDSHAKE, ROOM_GRACE), (SENDING, ROOM_GRACE)]:
            for connection in self.connections[state]:
                if connection.state_began + grace >= self.now:
                    break
                if connection not in self.work.run_queue:
                    return connection
        return None

    def _pause(self, duration: float) -> None:
        """Accept no client for *duration* seconds, or until there is room."""
        for sock in self.server.listeners:
            with contextlib.suppress(KeyError):     # not watched
                self.selector.unregister(sock)
        self._paused_until = self.now + duration
        self.wake_by(self._paused_until)

    def resume_accepting(self) -> None:
        """Watch the listening sockets, at the start or after a pause."""
        if self._paused_until == NEVER or self.server.stop_count:
            return
        self._paused_until = NEVER
        try:
            for sock in self.server.listeners:
                self.selector.register(sock, READ, functools.partial(
                    self._listening.append, sock))
        except OSError as exc:  # of epoll: out of memory or of watches
            tell("cannot accept clients for a moment: %s" % exc)
            self._pause(PAUSE)

    # Answers.

    def answer_to(self, head: bytes,
                  connection: Connection) -> "Tuple[Request, Answer]":
        """Return the Request in *head*, and its Answer.

        Raise NotReady if the answer must wait for a job.
        """
        request: Optional[Request] = self.known.get(head)
        try:
            if request is None:
                request = parse_request(head)
                if self.server.users:
                    self.server.users.admit(request, self._client(
                        connection, request)[0], self.work)
                if len(head) <= KNOWN_HEAD_MAX:
                    # Measured: objects, and ten bytes per byte of the head.
                    self.known.put(head, request, 4 * KIB + 10 * len(head))
            answer = self.renewed(request.key)
            if not (answer and (answer.source is None
                                or answer.source.has_room())):
                answer = self._new_answer(request, connection.read_at)
        except NotReady:
            raise
        except HTTPError as error:
            request = request or unparsed_request(head)
            answer = self.render(request, error_answer(error))
        except Exception:
            request = unparsed_request(head)    # so the connection closes
            answer = self.render(request, error_answer(tell_traceback()))
        return request, answer

    def renewed(self, key: str) -> "Optional[Answer]":
        """Return the Answer kept for *key*, with the current Date.

        Return None if there is none, or if the files that it depends on have
        changed.  An answer is made once and sent again in later turns; in a
        later second only its Date is replaced.
        """
        answer: Optional[Answer] = self.kept.get(key)
        if answer and answer.turn != self.turn:
            assert answer.facts is not None, "only answers with facts are kept"
            if not self.site.holds(answer.facts):
                self.kept.drop(key)
                return None
            if answer.date is not self.date:
                answer.redate(self.date)
            answer.turn = self.turn
        return answer

    def _new_answer(self, request: Request, arrived: float) -> Answer:
        """Return a new answer to *request*, kept if it may be sent again."""
        answer = self.render(request, Responder(
            request, self.site, self.work, self.wall, arrived).respond())
        if (answer.facts is not None and not self.is_draining
                and len(request.key) <= KNOWN_HEAD_MAX):
            self.kept.put(
                request.key, answer, len(request.key) + len(answer.data)
                + KIB * (2 + len(answer.facts))     # of objects
                + (len(answer.source.data) if answer.source else 0))
        return answer

    def render(self, request: Request, answer: Answer) -> Answer:
        """Render *answer* for *request*; return it."""
        return answer.render(
            "close" if self.is_draining else request.connection, self.date,
            self.turn, request.method != "HEAD", self.server.headers)

    def who(self, connection: Connection, request: Request) -> str:
        """Return the beginning of the log line for a proxy's *request*."""
        assert self.form
        if not request.who:
            client = self._client(connection, request)
            who = self.form.who(*client)
            if client is connection.peer:   # other peers share the Request
                return who
            request.who = who
        return request.who

    def _client(self, connection: Connection, request: Request) -> "Peer":
        """Return the client of *request*, which a trusted proxy may name."""
        if self.proxies and connection.peer[0] in self.proxies:
            return self.proxies.client(
                connection.peer, request.fields.get("x-forwarded-for", ""))
        return connection.peer

    # The end.

    def _drain(self) -> None:
        """Close connections that wait for a request; let others finish."""
        server = self.server
        if not self.is_draining:
            self.is_draining = True
            self._stopped_at = self.now
            if self._share:
                self._share.publish(Share.ABSENT)
            served = self._count() - len(self.connections[IDLE])
            if server.has_terminal and served and not self._share:
                tell("still serving clients: %d; Ctrl-C again stops at once."
                     % served)
            # From now on, new answers say Connection: close.
            self.kept = Cache(server.limits.KEPT_MAX)
            for sock in server.listeners:   # else waiting clients are reset
                self._accept(sock, LISTEN_BACKLOG)
            self._pause(DRAIN_TIMEOUT)
            server.close_listeners()
            server.wake()
            return  # one more turn, for requests that have arrived already
        drain_until = self._stopped_at + DRAIN_TIMEOUT
        silent_until = self._stopped_at + (
            DRAIN_SILENT_TLS if server.tls else DRAIN_SILENT)
        if server.stop_count > 1 or self.now >= drain_until:
            self._end(range(CLOSED))
        elif self.now >= silent_until:
            self._end([IDLE, RECEIVING, HANDSHAKE], True)
            self.wake_by(drain_until)
        else:
            self._end([IDLE])
            self.wake_by(silent_until)

    def _end(self, states: "Iterable[int]", is_silent: bool = False) -> None:
        """Abort connections in *states*; with *is_silent* only silent ones."""
        for state in states:
            self._do([connection.abort for connection
                      in self.connections[state] if not (
                          is_silent and connection.buffer.strip(b"\r\n"))])


# ---- Server -----------------------------------------------------------------

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server:
    """A web server for one folder.  It listens from the start.

    Most arguments mean the same as the options of these names, see --help;
    None stands for no file.  These are different:

    port        0 for a free one; see url
    bind        an address, a name, "unix:PATH", or several of these
    sockets     sockets that listen already, in place of port and bind
    listing     whether folders are listed
    archives    of which folders: "listed", "all" or "none"
    headers     (name, value) pairs, none of RESERVED_FIELDS
    auth        (name, password) of the only user; not with auth_file
    access_log  an AccessLog, or None
    max_connections     None for as many as the open-file limit allows, a limit
                that only the command raises
    limits      changes to the numbers of Limits, by name
    clock       the monotonic clock for deadlines, in seconds; call wake()
                after turning it
    wrap        called with each accepted socket; returns an object with the
                same methods to use instead (not with TLS)

    Raise StartError, which is an OSError and a ValueError, when it cannot
    listen, or cannot use a folder or a file; ValueError for a wrong argument.

    serve_forever() and shutdown() are those of socketserver, but a Server
    that has ended cannot be used again: RuntimeError.  In a `with` statement
    it runs in a thread of its own until the block ends.
    """

    def __init__(self, directory: str = ".", port: int = PORT,
                 bind: "Union[str, Sequence[str]]" = LOOPBACK, *,
                 sockets: "Optional[Sequence[socket.socket]]" = None,
                 listing: bool = True, dotfiles: bool = False,
                 follow_symlinks: bool = False, spa: bool = False,
                 head: bool = False, archives: str = "listed",
                 headers: "Sequence[Tuple[str, str]]" = (),
                 access_log: "Optional[AccessLog]" = None,
                 trusted_proxies: "Sequence[str]" = (),
                 max_connections: "Optional[int]" = None,
                 idle_timeout: float = IDLE_TIMEOUT,
                 request_timeout: float = REQUEST_TIMEOUT,
                 tls_cert: "Optional[str]" = None,
                 tls_key: "Optional[str]" = None,
                 tls_password_file: "Optional[str]" = None,
                 auth: "Optional[Tuple[str, str]]" = None,
                 auth_file: "Optional[str]" = None,
                 limits: "Optional[Dict[str, Any]]" = None,
                 clock: "Callable[[], float]" = time.monotonic,
                 wrap: "Optional[Callable[[socket.socket], Any]]" = None):
        check_folder(directory)
        self.site = Site(directory, listing, dotfiles, follow_symlinks, spa,
                         head, archives)
        check_headers(headers)
        self.headers = headers
        self.access_log = access_log
        self.trusted_proxies = (TrustedProxies(trusted_proxies)
                                if trusted_proxies else None)
        self.idle_timeout, self.request_timeout = idle_timeout, request_timeout
        self.limits = Limits(limits or {})
        self.clock = clock
        self.wrap = wrap
        self.named_files = (
            tls_cert, tls_cert if tls_key is None else tls_key,
            tls_password_file, auth_file)
        if auth and auth_file is not None:
            raise ValueError("auth and auth_file do not go together")
        self.users = auth and self.only_user(*auth)
        self._load_named_files()
        self._divide_descriptors(max_connections)
        self.stop_count = 0     # how often it was told to stop
        self.reload_asked = False
        self._loop: Optional[Loop] = None
        self._handles_signals = self.has_terminal = False
        self._serving = threading.Lock()
        made = [] if sockets else listening_sockets(
            [bind] if isinstance(bind, str) else bind, port)
        self.socket_paths = socket_paths(made)  # to be removed at the end
        self._listen_at(list(sockets or made))
        self._open_waker()

    def _open_waker(self) -> None:
        """Make the sockets by which signals and threads end a select()."""
        self.wakeups, self._waker = socket.socketpair()     # read, written
        self.wakeups.setblocking(False)
        self._waker.setblocking(False)

    def _listen_at(self, listeners: "List[socket.socket]") -> None:
        """Prepare *listeners* for use, and find their URLs."""
        self.listeners = listeners
        for sock in listeners:
            sock.setblocking(False)
            if sock.family != AF_UNIX:
                # Accepted sockets inherit it: no answer waits for an ACK.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        scheme = "https" if self.tls else "http"
        self.urls = [url_of(sock, scheme) for sock in listeners]
        self.url = self.urls[0]

    def _divide_descriptors(self, max_connections: "Optional[int]") -> None:
        """Divide the descriptors between clients and files.

        Raise StartError if there are too few.
        """
        limit = 512     # which select() takes on Windows
        with contextlib.suppress(ImportError):
            import resource
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            if limit == resource.RLIM_INFINITY:
                limit = MIB
        if issubclass(selectors.DefaultSelector, selectors.SelectSelector):
            limit = min(limit, 1024)    # FD_SETSIZE
        reserve = FD_RESERVE // 2   # for the log, sockets that listen ...
        if limit <= reserve:
            raise StartError(
                "only %d files may be open: the server needs at least %d, and"
                " one more for each client. Raise the limit: ulimit -n 1024"
                % (limit, reserve + 1))
        # An eighth is for the files that connections are sending; when it is
        # used up, too, the answer is 503.
        possible = max(1, limit - max(FD_RESERVE, limit // 8))
        self.max_connections = min(max_connections or possible, possible)
        # For connections and these files.  Jobs that make listings have more.
        self.descriptors_max = max(
            possible + 1, limit - reserve - 3 * JOBS_MAX * LISTING_FILES)

    # For the program that made it.

    def __enter__(self) -> "Server":
        self._begin()
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        if kind:
            self.stop()  # so shutdown() is the second: do not wait
        self.shutdown()
        self.server_close()

    def serve_forever(self) -> None:
        """Serve until shutdown() or stop(), and finish what is in flight.

        If the thread of a `with` statement serves already, wait for its end.
        """
        if self._serving.locked():
            with self._serving:
                return
        self._begin()
        self.run()

    def _begin(self, share: "Optional[Share]" = None,
               parent: int = -1) -> None:
        """Make the Loop; RuntimeError if there was one, or nothing listens."""
        if self._loop or not self.listeners:
            raise RuntimeError("this Server is in use, or has ended: make"
                               " another")
        self._loop = Loop(self, share, parent)
        self._serving.acquire()

    def shutdown(self) -> None:
        """Stop, and wait until what is in flight is finished.

        Not from the thread that serves: it would wait for itself.
        """
        self.stop()
        with self._serving:
            pass

    def stop(self) -> None:
        """Finish what is in flight, and end; if called again, end at once.

        Returns immediately.  Safe in any thread and in signal handlers.
        """
        self._stop_at(self.stop_count + 1)

    def _stop_at(self, count: int, *_: object) -> None:
        self.stop_count = max(self.stop_count, count)
        self.wake()

    def reload(self) -> None:
        """Read the named files again, soon, and reopen the access log.

        Connections stay open.  If a file cannot be used, a message on standard
        error says why, and its last version stays in use.  Safe as stop() is.
        """
        self.reload_asked = True
        self.wake()

    def wake(self) -> None:
        """Let the server take a turn now, in which it reads its clock.

        Safe as stop() is.
        """
        # If the socket is full or closed, the loop does not sleep.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def server_close(self) -> None:
        """Close all sockets for good; a second call is harmless."""
        if self._loop:
            self._loop.close()
            self._loop = None
        if self._handles_signals:
            signal.set_wakeup_fd(-1)
            self._handles_signals = False
        self.wakeups.close()
        self._waker.close()
        self.close_listeners()
        remove_stale_sockets(self.socket_paths)

    def handle_signals(self) -> None:
        """Let SIGINT and SIGTERM stop() the server, and SIGHUP reload() it.

        But SIGHUP stops it if its terminal was closed; it counts only once,
        since shell and kernel both send it.  If SIGINT was ignored, as in a
        shell's background, it stays so.  Call it in the main thread.
        """
        self.has_terminal = os.isatty(STDERR)

        def hang_up(*_: object) -> None:
            if self.has_terminal and not os.isatty(STDERR):
                self._stop_at(1)
            else:
                self.reload()
        # The wake-up also ends a select() that begins just after the signal.
        signal.set_wakeup_fd(self._waker.fileno())
        self._handles_signals = True
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda *_: self.stop())
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, hang_up)

    # For its Loop and its Supervisor.

    def run(self) -> None:
        """Serve until the end."""
        assert self._loop, "_begin() makes it"
        try:
            self._loop.run()
        finally:
            self._serving.release()

    def close_listeners(self) -> None:
        """Refuse new connections, unless another process listens, too."""
        for sock in self.listeners:
            sock.close()
        self.listeners = []

    def become_worker(self, share: "Share", parent: int) -> None:
        """Set up a new process to obey the signals of its Supervisor.

        A terminal sends SIGINT and SIGHUP to the whole group of processes: the
        Supervisor alone obeys SIGINT, and the others count once.  It alone
        removes the files of sockets.  *share* and *parent* are for the Loop.
        """
        self.socket_paths = []
        self.wakeups.close()
        self._waker.close()
        self._open_waker()
        self.handle_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number, count in (signal.SIGTERM, 1), (signal.SIGQUIT, 2):
            signal.signal(number, functools.partial(self._stop_at, count))
        self._begin(share, parent)

    def _load_named_files(self, again: bool = False) -> None:
        """Read all files that options name; if one fails, change nothing.

        Raise StartError; with *again* also for a path that is no file by now.
        """
        for path in filter(None, self.named_files if again else ()):
            if not os.path.isfile(path) and os.path.exists(path):
                raise StartError("%s is not a file any more." % path)
        cert, key, password_file, auth_file = self.named_files
        # Not by truth: --tls-cert '' is an error, not plain HTTP.
        tls = None if cert is None or key is None else tls_context(
            cert, key, password_file)
        if auth_file is not None:
            self.users = Users(read_users(auth_file), self.limits, self.clock)
        self.tls = tls

    def only_user(self, user: str, password: str) -> Users:
        """Return Users with only this *user*; raise ValueError if refused."""
        import unicodedata
        # In NFC, as clients send them (RFC 7617, 2.1); or they are no UTF-8.
        name, secret = (unicodedata.normalize("NFC", text).encode(
            "utf-8", "surrogateescape") for text in (user, password))
        check_user_name(name)
        return Users({name: new_hash(secret)}, self.limits, self.clock)

    def reload_now(self, quiet: bool = False) -> None:
        """Do what reload() has asked for; if *quiet*, write no message."""
        self.reload_asked = False
        loads: List[Callable[[], None]] = [
            functools.partial(self._load_named_files, again=True)]
        if self.access_log:
            loads.insert(0, self.access_log.reopen)
        for load in loads:
            try:
                load()
            except StartError as exc:
                if not quiet:
                    tell("%s The server goes on with what it had." % exc)


def check_headers(headers: "Sequence[Tuple[str, str]]") -> None:
    """Raise ValueError unless all answers can have these fields."""
    for name, _ in headers:
        if name.lower() in RESERVED_FIELDS:
            raise ValueError("%s cannot be set" % name)
    render_head(Answer(200, [], b""), "", "", headers)  # or ValueError


def check_folder(directory: str) -> None:
    """Raise StartError unless *directory* is a folder that may be read."""
    try:
        os.stat(directory)      # "" is none
        # The dot is there only for those who may search the folder.
        os.scandir(os.path.join(os.path.abspath(directory), ".")).close()
    except OSError as exc:
        why, folder = exc.strerror, "DIR"
        if exc.errno == errno.ENOENT and os.path.isdir(directory):
            why = "the current folder is gone"
        elif os.path.isfile(directory):
            why, folder = "it is a file", os.path.dirname(directory) or "."
        raise StartError(
            "cannot serve %s: %s. Name a folder that exists and that you may"
            " read: httpd.py %s" % (directory or "''", why, folder), exc.errno)


def raise_descriptor_limit() -> None:
    """Raise this process's limit of open files as far as allowed."""
    with contextlib.suppress(ImportError):
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS refuses an infinite one; it allows 10,240.
        for limit in (hard, max(soft, 10240)):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break


# ---- Processes --------------------------------------------------------------


class Share:
    """How many connections each worker has, in shared memory.

    Workers accept from the same sockets, and a worker that is awake takes all
    that are there: one of two took all 64 connections that came at once.
    (With SO_REUSEPORT the kernel spreads them by a hash, up to 47 to one
    worker, and if a worker dies, the clients that wait at it are lost.)  So a
    worker with more than its share leaves new connections to the others for a
    moment; if none takes them, it takes a few.  *index* is its place here.
    """

    ABSENT = -1     # at a place without a worker, or with a draining one

    def __init__(self, count: int):
        import mmap
        self.index = 0
        self._counts = memoryview(mmap.mmap(-1, 4 * count)).cast("i")
        self._holds_back_until = 0.0

    def publish(self, count: int) -> None:
        """Tell the others that the worker *index* has *count* connections."""
        self._counts[self.index] = count

    def allows(self, count: int, now: float) -> int:
        """Return how many clients this worker, with *count*, may accept."""
        self.publish(count)
        counts = [each for each in self._counts if each != self.ABSENT]
        fair = sum(counts) / len(counts)
        spare = int(fair + fair / 16) + SHARE_SLACK - count
        if spare <= 0 and not self._holds_back_until:
            self._holds_back_until = now + SHARE_WAIT
        if spare <= 0 and now < self._holds_back_until:
            return 0
        self._holds_back_until = 0.0
        return max(spare, SHARE_SLACK)


class Supervisor:
    """Forks workers, each of which serves as *server*, and watches them.

    It serves no client itself.  It passes on signals: SIGHUP, SIGTERM to
    finish and end, SIGQUIT to end at once.  A worker also ends when the pipe
    from the supervisor closes.  Of each worker the supervisor knows:

    number  from 1 on; a worker that replaces it gets the same number
    pid     of its process, 0 when it has ended
    due     when it was forked, or will be forked again
    wait    seconds from its end to its next start; 0 after a good start
    """

    def __init__(self, server: Server, count: int):
        self._server = server
        self._workers = [
            SimpleNamespace(number=number, pid=0, due=time.monotonic(), wait=0)
            for number in range(1, count + 1)]
        self._share = Share(count)
        self._pipe = os.pipe()
        self._kill_at = NEVER
        self._status = 0    # 1 if a worker ended before it had finished

    def run(self) -> int:
        """Run until a signal has ended all workers; return the exit status."""
        server = self._server
        signal.signal(signal.SIGCHLD, lambda *_: server.wake())
        while True:
            if server.reload_asked:
                server.reload_now()     # for workers forked later
                self._signal(signal.SIGHUP)
            due = self._replace_ended()
            if server.stop_count:
                if not any(worker.pid for worker in self._workers):
                    return self._status
                due = self._end()
            # Make a new one each time: workers would share a permanent epoll.
            with selectors.DefaultSelector() as selector:
                selector.register(server.wakeups, READ)
                if selector.select(max(0, due - time.monotonic())):
                    server.wakeups.recv(RECV_SIZE)

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _end(self) -> float:
        """Tell the workers to end; return when to kill those that hang."""
        self._server.close_listeners()
        is_first, now = self._server.stop_count == 1, time.monotonic()
        patience = KILL_AFTER + (DRAIN_TIMEOUT if is_first else 0)
        self._kill_at = min(self._kill_at, now + patience)
        if now >= self._kill_at:
            self._signal(signal.SIGKILL)
            return now + KILL_AFTER
        self._signal(signal.SIGTERM if is_first else signal.SIGQUIT)
        return self._kill_at

    def _replace_ended(self) -> float:
        """Replace workers that have ended; return when to look again."""
        now = time.monotonic()
        due = now + PATIENCE_MAX
        for worker in self._workers:
            if worker.pid:
                self._reap(worker)
            elif worker.due <= now and not self._server.stop_count:
                self._fork(worker)
            if not worker.pid:
                due = min(due, worker.due)
        return due

    def _fork(self, worker: SimpleNamespace) -> None:
        """Start the *worker*; return only in the supervisor."""
        worker.due = time.monotonic()
        # The new process gets no signals until it has its own handlers.
        signals = [*STOP_SIGNALS, signal.SIGQUIT, signal.SIGHUP]
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            worker.pid = os.fork()
            if not worker.pid:
                self._share.index = worker.number - 1
                self._work(signals)
        except OSError as exc:
            self._lose(worker, "cannot be started: %s" % exc.strerror)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def _work(self, signals: "List[signal.Signals]") -> None:
        """Run as a worker; unblock *signals* when it has its handlers."""
        status = 1
        try:
            os.close(self._pipe[1])
            self._share.publish(0)
            self._server.become_worker(self._share, self._pipe[0])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            status = serve(self._server, self._server.run)
        except BaseException:
            tell_traceback()
        finally:
            os._exit(status)

    def _reap(self, worker: SimpleNamespace) -> None:
        """See whether the *worker* has ended; tell if that was too early."""
        ended, status = os.waitpid(worker.pid, os.WNOHANG)
        if not ended:
            return
        worker.pid = 0
        self._share.index = worker.number - 1
        self._share.publish(Share.ABSENT)
        how = "(process %d) ended with status %d" % (ended, status >> 8)
        if os.WIFSIGNALED(status):
            how = "(process %d) was killed by signal %d" % (
                ended, os.WTERMSIG(status))
        if not self._server.stop_count:
            self._lose(worker, how)
        elif status:
            self._status = 1
            tell("worker %d %s before it had finished" % (worker.number, how))

    def _lose(self, worker: SimpleNamespace, how: str) -> None:
        """Tell *how* a worker was lost; set when another is started."""
        now, wait = time.monotonic(), 0.0
        if now - worker.due <= STEADY:
            wait = min(max(2 * worker.wait, RESTART_WAIT), RESTART_WAIT_MAX)
        worker.wait, worker.due = wait, now + wait
        tell("worker %d %s; another takes its place%s" % (
            worker.number, how, " in %.1f s" % wait if wait else ""))


def serve(server: Server, run: "Callable[[], Optional[int]]") -> int:
    """Call *run*, until a signal ends it; return the exit status."""
    try:
        return run() or 0
    finally:
        # At exit Python restores default handlers: a signal could kill it.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        server.server_close()
        if server.access_log:
            server.access_log.close()


# ---- Command line -----------------------------------------------------------

USAGE = "httpd.py [options] [port] [folder]"
DESCRIPTION = """\
Serve the files of a folder over HTTP/1.1.

  port    TCP port; 0 picks a free one (default: %d)
  folder  folder to serve (default: ./htdocs if there is one, else .)

A word of digits is the port, any other word the folder, in either order.
""" % PORT
EXAMPLES = """\
examples:
  python3 httpd.py                     serve ./htdocs, or else this folder
  python3 httpd.py 9000 ~/site         serve another folder, at port 9000
  python3 httpd.py --bind :: photos    let other machines connect
  python3 httpd.py --auth me photos    ask for a password
  python3 httpd.py --spa 0 dist        serve a built web app, at a free port
  python3 httpd.py -q -w auto          use every core, write no access log
"""


def number(kind: "Callable[[str], float]", low: float, high: float, what: str,
           text: str) -> float:
    """Return *text* as a number of this *kind*, from *low* to *high*.

    Otherwise ArgumentTypeError says that *text* is not *what* it should be.
    """
    pattern = "[0-9]{1,9}" if kind is int else r"[0-9]{1,9}(\.[0-9]{1,9})?"
    if re.fullmatch(pattern, text) and low <= kind(text) <= high:
        return kind(text)
    raise argparse.ArgumentTypeError("'%s' is not %s" % (text, what))


def workers(text: str) -> float:
    """Return the number of processes that *text* asks for."""
    if text != "auto":
        return number(int, 1, WORKERS_MAX, "auto or a number from 1 to %d"
                      % WORKERS_MAX, text)
    if not hasattr(os, "fork"):
        return 1
    cores = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
             else os.cpu_count() or 1)
    return min(cores, WORKERS_MAX)


def header(text: str) -> "Tuple[str, str]":
    """Return the (name, value) in *text*, or raise ArgumentTypeError."""
    try:
        ((_, value),) = parse_fields([text.encode("latin-1")]).items()
    except (HTTPError, UnicodeEncodeError):
        raise argparse.ArgumentTypeError("%r is not 'Name: value'" % text)
    return text.partition(":")[0], value


# The options in their groups.  Each has its names, a word for its value unless
# it is a flag, and, after two spaces, its help.
OPTIONS = """\
what is served
-d, --directory DIR  folder to serve, if it is not given as a word
--no-listing  answer 404, not a listing, for a folder without index.html
--archives WHICH  folders that can be downloaded as one file, by ?tar or ?zip:
    listed, all (also those with index.html) or none (default: %(default)s)
--dotfiles  serve files and folders whose names begin with a dot
--follow-symlinks  serve symbolic links that lead out of the folder
--spa  serve /index.html for pages that do not exist, as web apps need
--head  answer HEAD requests, too
-H, --header 'NAME: VALUE'  add this field to every response, in place of a
    default of the same name; repeatable

where, and for whom
-p, --port PORT  TCP port, if it is not given as a word
-b, --bind ADDRESS  address or name to listen at, or unix:PATH; repeatable;
    :: is every address (default: 127.0.0.1 and ::1, this machine alone)
--tls-cert FILE  serve HTTPS with the PEM certificate and chain in this file
--tls-key FILE  private key of the certificate (default: in the same file)
--tls-password-file FILE  file whose first line is the encrypted key's password
--auth USER  let in only this user; type the password, or set HTTPD_PASSWORD
--auth-file FILE  let in only the users in this file, in lines of user:hash
--hash-password  ask for a password, print its hash for --auth-file, and exit

access log
--log-format FORMAT  combined, common or json (default: common on a terminal,
    else combined)
--log-file PATH  append the access log to this file (default: standard output)
-q, --quiet  write no access log
--trusted-proxy ADDRESS  believe the X-Forwarded-For of this proxy, an address
    or network, or unix: for proxies that connect at unix:PATH; repeatable

processes and limits
--user NAME  give up root's rights after binding, and become this user
-w, --workers N  processes; auto is one for each core (default: %(default)s)
--max-connections N  connections at once, in each worker (default, and at
    most: as open files allow)
--idle-timeout S  seconds to wait for the next request (default: %(default)s)
--request-timeout S  seconds a client may take to send the head of a request
    (default: %(default)s)
"""
A_PORT = functools.partial(number, int, 0, PORT_MAX,
                           "a port from 0 to %d" % PORT_MAX)
ABOVE_0 = functools.partial(number, int, 1, 10**9, "a number above 0")
SECONDS_ABOVE_0 = functools.partial(number, float, 1e-9, 10**9,
                                    "a number of seconds above 0")
REPEATED = {"action": "append", "default": []}
# What else argparse must know about the options.  Their values have the names
# of Server's arguments.
SETTINGS: "Dict[str, Dict[str, Any]]" = {
    "--no-listing": {"dest": "listing", "action": "store_false"},
    "--archives": {"choices": ["listed", "all", "none"], "default": "listed"},
    "--header": {"type": header, "dest": "headers", **REPEATED},
    "--port": {"type": A_PORT, "default": argparse.SUPPRESS},
    "--bind": REPEATED,
    "--auth": {"action": "append"},
    "--log-format": {"choices": sorted(LOG_FORMS)},
    "--trusted-proxy": {"dest": "trusted_proxies", **REPEATED},
    "--workers": {"type": workers, "default": 1},
    "--max-connections": {"type": ABOVE_0},
    "--idle-timeout": {"type": SECONDS_ABOVE_0, "default": IDLE_TIMEOUT},
    "--request-timeout": {"type": SECONDS_ABOVE_0, "default": REQUEST_TIMEOUT},
}


def option_parser() -> argparse.ArgumentParser:
    """Return the parser of OPTIONS."""
    parser = argparse.ArgumentParser(
        "httpd.py", USAGE, DESCRIPTION, EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version",
                        version="httpd.py " + __version__)
    for part in re.sub("\n +", " ", OPTIONS).split("\n\n"):
        group = parser.add_argument_group(part.partition("\n")[0])
        for names, metavar, text in re.findall(
                r"(?m)^((?:-\w, )?--[a-z-]+) ?(.*?)  (.*)", part):
            settings: Dict[str, Any] = {"help": text, "action": "store_true"}
            if metavar:
                settings = {"help": text, "metavar": metavar}
            settings.update(SETTINGS.get(names.split()[-1], {}))
            group.add_argument(*names.split(", "), **settings)
    return parser


# What other programs call it, without the dashes.
OTHER_NAMES = {
    "host": "--bind", "listen": "--bind or --port", "l": "--bind or --port",
    "public": "--bind ::", "single": "--spa", "s": "--spa",
    "password": "--auth", "cors": "-H 'Access-Control-Allow-Origin: *'"}


def refuse_unknown(words: "Iterable[str]", known: "Sequence[str]") -> None:
    """Raise ValueError for an option in *words* that is none of the *known*.

    >>> refuse_unknown(["-p80", "--prot=80"], ["-p", "--port"])
    Traceback (most recent call last):
    ValueError: unknown option --prot; did you mean --port?
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


def take_word(args: argparse.Namespace, word: str) -> None:
    """Set the port or the folder in *args* to *word*, or raise ValueError."""
    is_port = re.fullmatch("[0-9]+", word)
    name = "port" if is_port else "directory"
    earlier, bind = getattr(args, name, None), with_port_apart(word)
    if re.fullmatch(r"localhost|[0-9]+(\.[0-9]+){3}|[0-9a-f:]*::[^/]*", word):
        bind = "--bind " + word
    if bind and not os.path.isdir(word):
        raise ValueError("'%s' looks like an address; write %s" % (word, bind))
    if earlier is not None:
        raise ValueError("there are two %ss, %s and %s; name only one%s" % (
            name if is_port else "folder", earlier, word,
            ", or write ./ before the folder" if is_port else ""))
    setattr(args, name, A_PORT(word) if is_port else word)


def parsed_options(argv: "Sequence[str]") -> argparse.Namespace:
    """Return the options in *argv*; exit with usage if they are wrong."""
    parser = option_parser()
    known = ["-h", "--help", "--version",
             *re.findall(r"(?<!\S)--?[A-Za-z-]+", OPTIONS)]
    end = argv.index("--") if "--" in argv else len(argv)
    try:
        # argparse would take "--dir" for --directory, or blame a later word.
        # Before Python 3.8, allow_abbrev=False would refuse "-w2", too.
        refuse_unknown(argv[:end], known)
        # Port and folder are not argparse's positional arguments: it takes
        # all of them from one place, and would lose "dir" of "9000 -q dir".
        args, words = parser.parse_known_args(argv[:end])
        for word in words:      # "-1", or "-x" of "-qx" in Python 3.13
            if word.startswith("-"):
                raise ValueError("unknown option " + word)
        for word in [*words, *argv[end + 1:]]:
            take_word(args, word)
        check_headers(args.headers)
        if args.auth is not None:   # never shown: it may have a password
            if len(args.auth) > 1:
                raise ValueError("--auth is for one user; for several, use"
                                 " --auth-file")
            args.auth, = args.auth
            if ":" in args.auth:
                raise ValueError("--auth takes the user's name alone; type the"
                                 " password when asked, or set HTTPD_PASSWORD")
            check_user_name(args.auth.encode("utf-8", "surrogateescape"))
    except (ValueError, argparse.ArgumentTypeError) as exc:
        parser.error(str(exc))
    if args.tls_cert is None and not (
            args.tls_key is None and args.tls_password_file is None):
        parser.error("--tls-key and --tls-password-file need --tls-cert")
    if args.auth is not None and args.auth_file is not None:
        parser.error("give only one of --auth and --auth-file")
    try:
        if args.trusted_proxies:
            TrustedProxies(args.trusted_proxies)
    except ValueError as exc:
        parser.error("argument --trusted-proxy: %s; name an address, a network"
                     " or unix:" % exc)
    return args


def fill_standard_descriptors() -> None:
    """Open the null device for each of the descriptors 0, 1, 2 that is closed.

    Otherwise a client's socket could get that number, and the client would
    get our messages.
    """
    fd = 0
    while fd <= STDERR:
        try:
            fd = os.open(os.devnull, os.O_RDWR)
        except OSError:     # some containers lack it; folders take no output
            fd = os.open(os.sep, os.O_RDONLY)
    os.close(fd)


def become(name: str, paths: "Iterable[str]") -> None:
    """Become the user *name* for good; give that user the sockets at *paths*.

    Raise StartError if that fails.
    """
    # Imported now, as the user may not read them later: below /root, perhaps.
    for module in ("base64", "datetime", "encodings.ascii",
                   "encodings.latin_1", "hashlib", "heapq", "hmac",
                   "ipaddress", "json", "mmap", "traceback", "urllib.parse",
                   "zlib"):
        __import__(module)
    try:
        import pwd
        uid, gid = pwd.getpwnam(name)[2:4]
        if not uid:
            raise ValueError("that is root, whose rights --user gives up")
        if os.geteuid():
            raise ValueError("only root can become another user; start the"
                             " server as root, or leave out --user")
        for path in paths:  # never through a link that took its place
            os.chown(path, uid, gid, follow_symlinks=False)
        os.initgroups(name, gid)
        os.setgid(gid)
        os.setuid(uid)  # by root: the real, the effective and the saved ID
        with contextlib.suppress(PermissionError):
            os.setuid(0)
            raise ValueError("the server would keep rights of root")
    except (ImportError, KeyError):
        raise StartError("cannot become %s: there is no user with this name."
                         % (name or "''"))
    except (OSError, ValueError) as exc:
        raise StartError("cannot become %s: %s." % (name, exc))


# Addresses of no machine (RFC 5737, 3; RFC 3849), behind the default routes.
NOWHERE = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]


def own_addresses(host: str) -> "List[str]":
    """Return the addresses that lead to *host* from other machines.

    For all addresses of IPv4, or of both families, these are the addresses
    that the default routes use; without a route, this machine's name.
    """
    if host not in ("0.0.0.0", "[::]"):
        # A browser cannot say at which of its links fe80:: is.
        return [] if host.startswith("[fe80:") else [host]
    found = []
    for family, address in NOWHERE[:1 if host == "0.0.0.0" else 2]:
        with contextlib.suppress(OSError), socket.socket(
                family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, PORT))   # sends nothing
            found.append(in_brackets(sock.getsockname()[0]))
    return found or [socket.gethostname()]


# Home folders, and the folders that hold them.
HOMES = "/(home|Users|export/home)(/[^/]+)?"
# Names of private files and folders; the last two are of private keys.
PRIVATE = (r"\.(env|git|hg|svn|ssh|gnupg|aws|netrc|htpasswd)"
           r"|.*\.(pem|key)|id_[a-z0-9_]+")


def warnings_about(server: Server, is_open: bool) -> "Iterator[str]":
    """Yield the risks that *server* takes; *is_open*: to other machines."""
    root = os.path.realpath(os.fsdecode(server.site.root))
    private = [*server.named_files[1:]]     # the certificate is public
    if server.access_log:
        private.append(server.access_log.path
                       or os.path.realpath("/dev/stdout"))
    for path in filter(None, private):
        if os.path.isfile(path) and os.path.realpath(path).startswith(
                os.path.join(root, "")):
            yield path + " is in the folder that is served; keep it elsewhere"
    if server.site.spa and not any(
            os.path.isfile(os.path.join(root, os.fsdecode(name)))
            for name in DEFAULT_FILES):
        yield "--spa serves /index.html, which this folder does not have"
    if "HTTPD_PASSWORD" in os.environ:
        yield "HTTPD_PASSWORD is not used without --auth"
    if not is_open:
        return
    if server.users and not server.tls:
        yield ("passwords travel in the clear: anyone on the way can read"
               " them; --tls-cert encrypts them")
    names = [name for name in sorted(os.listdir(root))
             if re.fullmatch(PRIVATE, name)]    # not of the folders below
    if root == os.path.dirname(root):
        yield "this is the whole file system"
        names = []
    elif re.fullmatch(HOMES, root) or root == os.path.realpath(
            os.path.expanduser("~")):
        yield "this is a home folder"
    if names:
        more = " and %d more" % (len(names) - 5) if names[5:] else ""
        if not server.site.dotfiles and "." in [name[0] for name in names]:
            more += "; dot files are served only with --dotfiles"
        yield "this folder holds " + ", ".join(names[:5]) + more
    yield "other machines can connect and read this folder" + (
        ", with a password" if server.users else "")


def announce(server: Server) -> None:
    """Say where the server listens, what it serves and who can connect."""
    # Others cannot reach Unix sockets or addresses of this machine alone.
    found = re.findall(r"(?m)^(https?://)(?!127\.|\[::1\])(.*)(:[0-9]+/)$",
                       "\n".join(server.urls))
    for_others = OrderedDict.fromkeys(
        scheme + each + port for scheme, host, port in found
        for each in own_addresses(host))
    for url in for_others:
        tell("other machines can open " + url)
    for url in server.urls:
        tell("serving %s at %s" % (os.fsdecode(server.site.root), url))
    for warning in warnings_about(server, bool(found)):
        tell("WARNING: %s." % warning)
    if not found:   # a Unix socket alone is for a proxy
        tell("only this machine can connect" + "; to let others in, add"
             " --bind ::" * ("://" in "".join(server.urls)))
    tell("press Ctrl-C to stop.")


def make_server(quiet: bool, log_file: "Optional[str]",
                log_format: "Optional[str]", auth: "Optional[str]",
                user: "Optional[str]", workers: int, bind: "Sequence[str]",
                directory: str, **others: "Any") -> Server:
    """Return the Server for these options; become *user*, if given.

    *others* are for Server, under the same names.  Raise StartError.
    """
    access_log = None
    if not quiet:
        path = None if log_file == "-" else log_file
        fd = STDOUT if path is None else open_log_file(path)
        access_log = AccessLog(fd, log_format or (
            "common" if os.isatty(fd) else "combined"), path)
    server = Server(directory, bind=bind or LOOPBACK, access_log=access_log,
                    sockets=inherited_sockets(), **others)
    try:
        if auth is not None:    # asked for only if all else is well
            # Removed from the environment, so that no child process gets it.
            password = os.environ.pop("HTTPD_PASSWORD", "") or typed_password(
                "Password for %s: " % auth,
                "there is no password for %s. Set HTTPD_PASSWORD, or start the"
                " server at a terminal and type the password." % auth)
            server.users = server.only_user(auth, password)
        if access_log and workers > 1:
            access_log.share()      # before another user is not allowed to
        if user is not None:
            become(user, server.socket_paths)
            check_folder(os.fsdecode(server.site.root))
    except BaseException:
        server.server_close()
        raise
    for path in filter(None, server.named_files if user is not None else ()):
        if not os.access(path, os.R_OK):
            tell("WARNING: %s cannot read %s, so SIGHUP will not reload that"
                 " file." % (user, path))
    return server


def typed_password(prompt: str, advice: str) -> str:
    """Return the password that somebody types twice at the terminal.

    Raise StartError, with *advice* if nobody can type there.
    """
    import getpass
    import warnings
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            text = getpass.getpass(prompt)
            again = getpass.getpass("Again: ")
    except (getpass.GetPassWarning, EOFError, UnicodeError):
        raise StartError(advice)
    if again != text:
        raise StartError("the two passwords differ.")
    return text


def hash_password() -> None:
    """Ask for a password and print its hash, or raise StartError.

    If standard input is no terminal, its first line is the password.
    """
    import base64
    import unicodedata
    need_scrypt()
    if sys.stdin and not sys.stdin.isatty():
        password = sys.stdin.buffer.readline(PASSWORD_MAX + 2).rstrip(b"\r\n")
    else:
        password = unicodedata.normalize("NFC", typed_password(
            "Password: ", "no password was given. If this locale cannot"
            " encode the password, send it through a pipe.")).encode("utf-8")
    made = new_hash(password)
    os.write(STDOUT, b"scrypt$%d$%d$%d$%s$%s\n" % (
        *made.cost, *map(base64.b64encode, made[1:])))


def main(argv: "Optional[Sequence[str]]" = None) -> int:
    """Run the server for the command line *argv*; return the exit status."""
    args = parsed_options(sys.argv[1:] if argv is None else argv)
    try:
        if vars(args).pop("hash_password"):
            hash_password()
            return 0
        if args.workers > 1 and not hasattr(os, "fork"):
            raise StartError("cannot start %d workers: this platform has no"
                             " fork(). Leave out --workers." % args.workers)
        fill_standard_descriptors()
        raise_descriptor_limit()
        if args.directory is None:
            args.directory = "htdocs" if os.path.isdir("htdocs") else "."
        server = make_server(**vars(args))
    except OSError as exc:
        tell(str(exc) if isinstance(exc, StartError)
             else "cannot start: %s." % exc)
        return 1
    except KeyboardInterrupt:   # where a password is typed
        print(file=sys.stderr)
        return 128 + signal.SIGINT
    server.handle_signals()
    announce(server)
    if args.workers == 1:
        return serve(server, server.serve_forever)
    return serve(server, Supervisor(server, args.workers).run)


if __name__ == "__main__":
    sys.exit(main())
