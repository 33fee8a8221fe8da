"""bench.py - measure httpd.py side by side with other web servers

SYNOPSIS
    python3 .ci/bench.py [--work NAME,NAME...] [--servers NAME,NAME...]
                         [--rounds N] [--seconds N] [--python PATH]
                         [--against NAME=PATH]... [--others] [--json FILE]

DESCRIPTION
    For every row of work (a file, a number of connections ...) all servers
    are started on 127.0.0.1, their answer is compared with the expected one,
    and wrk loads them in turns, one round after the other, so that a change
    in the machine's mood meets them all.  What counts is the median.

    Servers are pinned to one core and wrk to another.  All serve the same
    temporary folder and write an access log into it; it is removed at the
    end, and every process started here is ended, also after Ctrl-C.

    Standard output is a Markdown table; progress goes to standard error.
    httpd.py's own figures are

    req/s   requests a second, as wrk counts them
    µs      CPU time a request, user and system, of all the server's
            processes; it depends less on other users of the machine
    p99     the time within which 99 % of the answers came

    and the column of another server tells by how much httpd.py is ahead of
    it in both: above 1 it is ahead, 2 is twice the speed or half the CPU
    time.  "itself" is the same, compared with its own figures in another row
    (`=`), and --json has all rows' figures of all servers.

    A server's figures are void for a row, and the report says why, if its
    first answer was wrong, if wrk met a socket error, a time-out or a status
    it should not have met, or if no access log was written.  "-" is what a
    server cannot do.  Remarks below the table name targets that were missed,
    and req/s that wrk or a busy machine has limited.

    After the rows come figures that wrk cannot give: memory of idle
    connections, start, and httpget.py beside curl.

    To add a row of work see WORK, to add a server see SERVERS.

EXIT STATUS
    0  measured    1  some figures are void    2  could not begin
    130  interrupted

REQUIREMENTS
    Linux, Python 3.9, wrk, taskset, 4 GiB of disk; curl for httpget.py.
    Servers that are not installed are left out.

SECTIONS
    Limits, Work, Servers, Processes, Load, Rounds, Other figures, Report,
    Command line
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import http.client
import json
import os
import platform
import re
import resource
import selectors
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# ---- Limits -----------------------------------------------------------------

HEAD_MIN, HEAD_MAX = 64, 1024   # bytes of an answer's head, with an error's page

WARM_UP = 1     # seconds of load before the first round: caches, lazy imports
START = 10      # seconds a server may take until it accepts a connection
STOP = 5        # seconds a server may take to end before it is killed
ANSWER = 10     # seconds for the one answer that is looked at
OVERRUN = 30    # seconds wrk may take beyond the time it was asked for
POLL = 0.001    # seconds between two looks at a server that is starting
LOG_DELAY = 5   # seconds after which a buffered access log is written
SETTLE = 0.1    # seconds after which a file's times are old enough to rely on

# A load generator busier than this share of its core may be what limits the
# requests a second, and their ratio then says little; the CPU time still does.
SATURATED = 0.95

# With more than one connection there is always work for the server or for
# wrk.  If neither had its core for this share of the time, something else
# had both; on virtual machines /proc/stat need not show it as steal.
ROBBED = 0.8

# Requests on one connection after which a server closes it, where that can be
# set: by default nginx and lighttpd close after 1000, httpd.py never does.
MANY_REQUESTS = 1000000000
MANY_REQUESTS_LIGHTTPD = 65535      # the most it takes, a 16-bit number
CONNECTIONS = 12000     # that a server must be able to hold: see CROWD

CROWD = 10000           # idle connections
CROWDED_FOLDER = 100000     # files in a folder
DIFFERENT_FILES = 2000      # of the row `many`
STARTS = 10             # of a program, for the median of its time

TICKS = os.sysconf('SC_CLK_TCK')    # units a second of times in /proc/PID/stat
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HTTPD = os.path.join(TOP, 'httpd.py')
HTTPGET = os.path.join(TOP, 'httpget.py')


class Void(Exception):
    """What one server did for one row does not count; the text says why."""


# ---- Work -------------------------------------------------------------------

KIB, MIB = 1024, 1024 * 1024
MTIME = 1500000000      # of all files, so that If-Modified-Since is known


@functools.lru_cache(maxsize=None)
def numbered(size):
    """Return *size* bytes of numbered lines: a wrong part of them shows.

    >>> numbered(20)
    b'0000000\\n0000001\\n0000'
    """
    lines = b''.join(b'%07d\n' % n for n in range(-(-min(size, MIB) // 8)))
    return (lines * (size // MIB + 1))[:size]


# What is served: {path below the document root: size}; numbered() gives the
# content.
FILES = {
    '1k.txt': KIB,
    '1k.bin': KIB,
    '16k.bin': 16 * KIB,
    '64k.bin': 64 * KIB,
    '1m.bin': MIB,
    '256m.bin': 256 * MIB,
    'gzip/script.js': 64 * KIB,
    'site/index.html': KIB,
    'few/1k.txt': KIB,
    **{f'few/{n}': 0 for n in range(9)},
    **{f'many/{n}.txt': KIB for n in range(DIFFERENT_FILES)},
}
# Made only for the rows that need it.
CROWDED_FILES = {
    'crowd/1k.txt': KIB,
    **{f'crowd/{n}': 0 for n in range(CROWDED_FOLDER - 1)},
}


class Row(NamedTuple):
    """One kind of work: what is asked, over how many connections, and the
    answer that is expected."""
    name: str                           # for --work
    description: str                    # for the table
    path: str                           # request target
    connections: int
    size: int | None = None             # of the content, None: any will do
    fields: tuple[tuple[str, str], ...] = ()    # beside Host
    status: int = 200
    start: int = 0                      # of the range, in the numbered lines
    coding: str = ''                    # Content-Encoding that is required
    script: str = ''                    # Lua for wrk: init(), request() ...
    idle: int = 0                       # more connections, which do nothing
    streams: int = 0                    # more clients, which load 256m.bin
    # At least so far ahead, in req/s and in CPU time, of whom: the names of
    # SERVERS, or `=` and the name of another row.
    targets: Mapping[str, tuple[float, float]] = {}
    p99_max: float = 0                  # ms, the target for 99 % of answers
    tls: bool = False                   # over HTTPS

    @property
    def content(self):
        if self.size is None:
            return None
        return numbered(self.start + self.size)[self.start:]


def over_nginx(ratio):
    """Return the targets: *ratio* over nginx as Debian configures it."""
    return {'nginx': (ratio, ratio)}


# What Chromium sends, and a cookie.
BROWSER = (
    ('Connection', 'keep-alive'),
    ('sec-ch-ua', '"Chromium";v="142", "Not_A Brand";v="99"'),
    ('sec-ch-ua-mobile', '?0'),
    ('sec-ch-ua-platform', '"Linux"'),
    ('Upgrade-Insecure-Requests', '1'),
    ('User-Agent', ('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 '
     '(KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36')),
    ('Accept', ('text/html,application/xhtml+xml,application/xml;q=0.9,'
     'image/avif,image/webp,image/apng,*/*;q=0.8,'
     'application/signed-exchange;v=b3;q=0.7')),
    ('Sec-Fetch-Site', 'same-origin'),
    ('Sec-Fetch-Mode', 'navigate'),
    ('Sec-Fetch-User', '?1'),
    ('Sec-Fetch-Dest', 'document'),
    ('Referer', 'http://127.0.0.1/site/index.html'),
    ('Accept-Encoding', 'gzip, deflate, br, zstd'),
    ('Accept-Language', 'en-GB,en;q=0.9,de;q=0.8'),
    ('Cookie', 'session=6f1d8e3c5b7a49f0a2d4; theme=dark; seen=17'),
)

PIPELINE = """
local batch
function init()
    local requests = {}
    for i = 1, 16 do requests[i] = wrk.format() end
    batch = table.concat(requests)
end
function request() return batch end
"""

# The n-th of the files is asked for 1/n times as often as the first (Zipf).
SKEWED = """
local requests, total = {}, 0
function init()
    local sums = {}
    for n = 1, %(files)d do
        total = total + 1 / n
        sums[n] = total
    end
    math.randomseed(1)
    for i = 1, 65536 do
        local wanted, first, last = math.random() * total, 1, %(files)d
        while first < last do
            local middle = math.floor((first + last) / 2)
            if sums[middle] < wanted then first = middle + 1
            else last = middle end
        end
        requests[i] = wrk.format(nil, '/many/' .. (first - 1) .. '.txt')
    end
end
local i = 0
function request()
    i = i %% 65536 + 1
    return requests[i]
end
""" % {'files': DIFFERENT_FILES}

WORK = [
    Row('1k-64', '1 KiB file, 64 connections', '/1k.txt', 64, KIB,
        targets={'nginx': (1.5, 1.5), 'nginx-tuned': (1.2, 1.2),
                 'lighttpd': (1, 1), 'h2o': (1, 1)}),
    Row('browser', 'the same, with a browser\'s fields and a cookie',
        # Of no type that anyone compresses: the same answer from all.
        '/1k.bin', 64, KIB, BROWSER, targets=over_nginx(1.5)),
    Row('index', '`/` to its index', '/site/', 64, KIB,
        targets=over_nginx(1.5)),
    Row('1k-1', '1 KiB file, 1 connection', '/1k.txt', 1, KIB,
        targets=over_nginx(1)),
    Row('1k-8', '8 connections', '/1k.txt', 8, KIB, targets=over_nginx(1.2)),
    Row('1k-1000', '1000 connections', '/1k.txt', 1000, KIB,
        targets=over_nginx(1.4)),
    Row('16k', '16 KiB file', '/16k.bin', 64, 16 * KIB,
        targets=over_nginx(1.2)),
    Row('64k', '64 KiB file', '/64k.bin', 64, 64 * KIB,
        targets=over_nginx(1)),
    Row('1m', '1 MiB file, 16 connections', '/1m.bin', 16, MIB,
        targets={'nginx': (2, 2), 'lighttpd': (0.9, 0.9)}),
    Row('256m', '256 MiB file, 4 connections', '/256m.bin', 4, 256 * MIB,
        targets=over_nginx(1)),
    Row('many', f'{DIFFERENT_FILES:,} different files, skewed', '/many/0.txt',
        64, KIB, script=SKEWED, targets=over_nginx(1)),
    Row('pipelined', 'pipelined, 16 deep', '/1k.txt', 64, KIB,
        script=PIPELINE, targets={'=1k-64': (2, 2)}),
    Row('connect', 'a new connection for each request', '/1k.txt', 64, KIB,
        (('Connection', 'close'),), targets={'nginx': (1, 0.85)}),
    Row('tls', '1 KiB file over TLS', '/1k.txt', 64, KIB, tls=True,
        targets=over_nginx(1)),
    Row('tls-1m', '1 MiB file over TLS, 16 connections', '/1m.bin', 16, MIB,
        tls=True),
    Row('tls-connect', 'a new TLS connection for each request', '/1k.txt', 64,
        KIB, (('Connection', 'close'),), tls=True),
    Row('404', 'no such file', '/nothing', 64, status=404,
        targets=over_nginx(1.2)),
    Row('304', 'not modified', '/1k.txt', 64, 0,
        (('If-Modified-Since', formatdate(MTIME, usegmt=True)),), 304,
        targets=over_nginx(1.2)),
    Row('range-1k', '1 KB range of 1 MiB', '/1m.bin', 64, 1000,
        (('Range', 'bytes=500000-500999'),), 206, 500000,
        targets=over_nginx(1.2)),
    Row('range-16k', '16 KiB range of 256 MiB', '/256m.bin', 64, 16 * KIB,
        (('Range', 'bytes=%d-%d' % (128 * MIB, 128 * MIB + 16 * KIB - 1)),),
        206, 128 * MIB, targets=over_nginx(1)),
    Row('gzip', 'gzip of a 64 KiB script', '/gzip/script.js', 64, 64 * KIB,
        (('Accept-Encoding', 'gzip'),), coding='gzip',
        targets=over_nginx(5)),
    Row('streams', '1 KiB while 8 clients load 256 MiB files', '/1k.txt', 64,
        KIB, streams=8, p99_max=20),
    Row('10-idle', '10 more connections, idle', '/1k.txt', 64, KIB, idle=10),
    Row('10000-idle', f'{CROWD:,} more connections, idle', '/1k.txt', 64, KIB,
        idle=CROWD, targets={'=10-idle': (0, 0.95)}),
    Row('10-files', 'in a folder of 10 files', '/few/1k.txt', 64, KIB),
    Row('100000-files', f'in a folder of {CROWDED_FOLDER:,} files',
        '/crowd/1k.txt', 64, KIB, targets={'=10-files': (0.95, 0.95)}),
]


# ---- Servers ----------------------------------------------------------------

class Place(NamedTuple):
    """Where one server runs."""
    root: str       # folder to serve
    folder: str     # the server's own, for its configuration and its log
    port: int
    tls: bool       # whether certificate() is to be used

    @property
    def log(self):
        return os.path.join(self.folder, 'access.log')

    @property
    def certificate(self):
        """The file of a certificate and its key, made once for all."""
        path = os.path.join(os.path.dirname(self.root), 'certificate.pem')
        if not os.path.exists(path):
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
                 '-subj', '/CN=localhost', '-keyout', path, '-out',
                 path + '.cert'], check=True, stderr=subprocess.DEVNULL)
            with open(path, 'a') as both, open(path + '.cert') as cert:
                both.write(cert.read())
        return path

    def write(self, name, text):
        """Write *text* to the file *name* in the folder; return its path."""
        path = os.path.join(self.folder, name)
        with open(path, 'w') as file:
            file.write(text)
        return path


class Server(NamedTuple):
    """A web server; *command* prepares a Place and returns the command line
    that serves it in the foreground, with the access log in Place.log."""
    name: str
    package: str                # Debian's, which brings the program
    version: tuple[str, ...]    # command line that prints it
    command: Callable[[Place], list[str]]
    lacks: tuple[str, ...] = ()     # names of the rows that it cannot do

    @property
    def program(self):
        return self.version[0]


def httpd_command(python, path, place):
    """Return the command line for an httpd.py at *path*."""
    tls = ['--tls-cert', place.certificate] if place.tls else []
    return [python, path, '--bind', '127.0.0.1', '-d', place.root,
            '--log-file', place.log, *tls, str(place.port)]


def httpd(name, python, path):
    """Return the Server for an httpd.py at *path*, run by *python*."""
    return Server(name, 'python3', (python, path, '--version'),
                  functools.partial(httpd_command, python, path))


# As Debian configures it, but for one worker, unlimited requests on a
# connection, room for CROWD, and paths in our folder.  The user is root, as
# for the other servers here; without root's rights nginx ignores the line
# with a warning.
NGINX = """\
user root;
worker_processes 1;
worker_rlimit_nofile {connections};
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{
    worker_connections {connections};
}}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log {log}{log_options};
    gzip on;
    keepalive_requests {many};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {options}
    server {{
        listen 127.0.0.1:{port} {ssl} backlog=1024;
        {certificate}
        root {root};
        location /gzip/ {{
            gzip_types application/javascript;
        }}
    }}
}}
"""


def nginx_command(place, log_options='', options=''):
    """Configure nginx as Debian does."""
    certificate = ''
    if place.tls:
        certificate = (f'ssl_certificate {place.certificate}; '
                       f'ssl_certificate_key {place.certificate}; '
                       'ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; '
                       'ssl_prefer_server_ciphers on;')
    config = place.write('nginx.conf', NGINX.format(
        root=place.root, folder=place.folder, port=place.port, log=place.log,
        many=MANY_REQUESTS, connections=CONNECTIONS, log_options=log_options,
        options=options, ssl='ssl' if place.tls else '',
        certificate=certificate))
    # -e: else it tries to open Debian's error log before it reads ours.
    return ['nginx', '-e', 'stderr', '-p', place.folder, '-c', config]


# It then answers from what it has seen of a file up to 30 s ago.
NGINX_CACHE = """\
open_file_cache max=10000 inactive=60s;
    open_file_cache_valid 30s;
    open_file_cache_min_uses 1;
    open_file_cache_errors on;
"""


def nginx_tuned_command(place):
    """Configure nginx to be as fast as it can be."""
    return nginx_command(place, ' combined buffer=64k flush=1s', NGINX_CACHE)


# Its own defaults otherwise; one process, no other user.
LIGHTTPD = """\
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{root}"
server.modules = ("mod_indexfile", "mod_deflate", "mod_accesslog")
server.max-fds = {descriptors}
server.max-connections = {connections}
server.listen-backlog = 1024
accesslog.filename = "{log}"
server.max-keep-alive-requests = {many}
server.max-keep-alive-idle = 300
index-file.names = ("index.html")
deflate.mimetypes = ("text/javascript")
deflate.allowed-encodings = ("gzip")
mimetype.assign = (
    ".html" => "text/html",
    ".js" => "text/javascript",
    ".txt" => "text/plain",
    "" => "application/octet-stream",
)
"""


def lighttpd_command(place):
    """Configure lighttpd; it logs errors to standard error."""
    config = place.write('lighttpd.conf', LIGHTTPD.format(
        root=place.root, port=place.port, log=place.log,
        many=MANY_REQUESTS_LIGHTTPD, connections=CONNECTIONS,
        descriptors=2 * CONNECTIONS))
    return ['lighttpd', '-D', '-f', config]


# JSON is YAML.
def h2o_command(place):
    """Configure h2o, with one thread."""
    folder = {'file.dir': place.root}
    config = place.write('h2o.conf', json.dumps({
        'user': 'root',
        'num-threads': 1,
        'max-connections': CONNECTIONS,
        'http1-request-timeout': 300,
        'listen': {'host': '127.0.0.1', 'port': place.port},
        'access-log': place.log,
        'hosts': {'default': {'paths': {
            '/': folder,
            '/gzip/': {'file.dir': os.path.join(place.root, 'gzip'),
                       'compress': ['gzip']},
        }}},
    }))
    return ['h2o', '-m', 'worker', '-c', config]


CADDYFILE = """\
{{
    admin off
    auto_https off
    log default {{
        level ERROR
    }}
}}
http://127.0.0.1:{port} {{
    root * {root}
    encode /gzip/* gzip
    file_server
    log {{
        output file {log} {{
            roll_disabled
        }}
    }}
}}
"""


def caddy_command(place):
    """Configure caddy; it has one thread for each core that it may use."""
    config = place.write('Caddyfile', CADDYFILE.format(
        root=place.root, port=place.port, log=place.log))
    return ['caddy', 'run', '--adapter', 'caddyfile', '--config', config]


def http_server_command(place):
    """Run Python's own, as its users do; it logs to standard error."""
    return ['sh', '-c', ('exec "$0" -m http.server --bind 127.0.0.1 '
            '--protocol HTTP/1.1 -d "$1" "$2" 2>>"$3"'), sys.executable,
            place.root, str(place.port), place.log]


# Those rows that nobody but httpd.py and nginx is configured for.
TLS = tuple(row.name for row in WORK if row.tls)

# What httpd.py is compared with.
SERVERS = [
    Server('nginx', 'nginx', ('nginx', '-v'), nginx_command),
    Server('nginx-tuned', 'nginx', ('nginx', '-v'), nginx_tuned_command),
    # With so many open it answers nobody, whatever its limits.
    Server('lighttpd', 'lighttpd', ('lighttpd', '-v'), lighttpd_command,
           ('10000-idle', *TLS)),
    Server('h2o', 'h2o', ('h2o', '-v'), h2o_command, TLS),
    Server('caddy', 'caddy', ('caddy', 'version'), caddy_command, TLS),
    Server('http.server', 'python3', (sys.executable, '-V'),
           http_server_command,
           # No ranges, no content codings; a thread for each connection, and
           # five may wait to be accepted.
           ('range-1k', 'range-16k', 'gzip', '1k-1000', '10000-idle', *TLS)),
]


# ---- Processes --------------------------------------------------------------

def cores():
    """Return the cores for the servers and for wrk, as two numbers."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 % len(usable)]


def pinned(core, argv):
    """Return the command line that runs *argv* on *core* alone."""
    return ['taskset', '-c', str(core), *argv]


def free_port():
    """Return a port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def processes(session):
    """Return {pid: CPU seconds} of the processes in *session*.

    A server leads its own session, so this is its whole process tree, even
    those whose parent has ended.  The time of children that ended counts
    with their parent's.  Source: proc(5), /proc/PID/stat.
    """
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/stat', errors='replace') as file:
                stat = file.read()
        except (FileNotFoundError, ProcessLookupError):
            continue                    # it ended since the listing
        # The second field is the program's name and may hold ') ' itself.
        fields = stat.rpartition(')')[2].split()
        if int(fields[3]) == session:
            # utime, stime, cutime, cstime
            found[int(pid)] = sum(map(int, fields[11:15])) / TICKS
    return found


def cpu_seconds(session):
    """Return the CPU time that *session* has used, in seconds."""
    return sum(processes(session).values())


@contextlib.contextmanager
def running(server, place, core):
    """Run *server* for the time of a with statement; give its Popen.

    Raise Void if it does not begin to accept connections.
    """
    with open(os.path.join(place.folder, 'output'), 'w+') as output:
        process = subprocess.Popen(
            pinned(core, server.command(place)), cwd=place.folder,
            env={**os.environ, 'HOME': place.folder},   # caddy writes there
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True)
        try:
            wait_for_port(process, place.port, output)
            yield process
        finally:
            stop(process)


def wait_for_port(process, port, output):
    """Return when *port* accepts a connection, raise Void if it does not."""
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(('127.0.0.1', port), START).close()
            return
        except OSError:
            time.sleep(POLL)
    output.seek(0)
    said = ' / '.join(output.read().split('\n')[-4:]).strip(' /')
    raise Void(f'did not start ({process.returncode}): {said}')


def stop(process):
    """End a server, and what is left of its session."""
    try:
        process.terminate()
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        pass                            # it is killed below, like the rest
    finally:
        for pid in processes(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


# ---- Load -------------------------------------------------------------------

# Makes wrk print one line of JSON.  Its own report rounds, and is for people.
# Latencies are microseconds, as is the duration.
REPORT = """
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        'JSON {"requests": %.0f, "duration": %.0f, "bytes": %.0f, ' ..
        '"connect": %.0f, "read": %.0f, "write": %.0f, "timeout": %.0f, ' ..
        '"status": %.0f, "p50": %.0f, "p99": %.0f}\\n',
        summary.requests, summary.duration, summary.bytes,
        errors.connect, errors.read, errors.write, errors.timeout,
        errors.status, latency:percentile(50), latency:percentile(99)))
end
"""


def check(row, port):
    """Raise Void unless the server at *port* answers *row* as expected."""
    if row.tls:
        connection = http.client.HTTPSConnection(
            '127.0.0.1', port, timeout=ANSWER,
            context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection('127.0.0.1', port,
                                                timeout=ANSWER)
    try:
        # As wrk sends it, without an Accept-Encoding of http.client's own.
        connection.putrequest('GET', row.path, skip_accept_encoding=True)
        for name, value in row.fields:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise Void(f'no proper answer: {exc!r}') from exc
    finally:
        connection.close()
    if response.status != row.status:
        raise Void(f'status {response.status}, not {row.status}')
    coding = response.getheader('Content-Encoding', '')
    if row.coding and coding != row.coding:
        raise Void(f'content coding "{coding}", not {row.coding}')
    if coding == 'gzip':
        content = gzip.decompress(content)
    if row.content is None:
        return
    if len(content) != len(row.content):
        raise Void(f'{len(content)} bytes, not {len(row.content)}')
    if content != row.content:
        raise Void('content of the right length, but wrong')


def run_wrk(row, port, seconds, core, folder):
    """Load *port* with *row*; return the figures that REPORT prints."""
    script = os.path.join(folder, 'wrk.lua')
    with open(script, 'w') as file:
        file.write(row.script + REPORT)
    argv = ['wrk', '-t1', f'-c{row.connections}', f'-d{seconds}s',
            '-s', script]
    for name, value in row.fields:
        argv += ['-H', f'{name}: {value}']
    scheme = 'https' if row.tls else 'http'
    argv += [f'{scheme}://127.0.0.1:{port}{row.path}']
    try:
        wrk = subprocess.run(
            pinned(core, argv), check=False, text=True,
            timeout=seconds + OVERRUN, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as exc:
        raise Void('wrk did not end') from exc
    found = re.search(r'^JSON (.*)$', wrk.stdout, re.MULTILINE)
    if wrk.returncode != 0 or not found:
        raise Void('wrk: ' + wrk.stdout.strip().replace('\n', ' / '))
    return json.loads(found.group(1))


def check_load(row, load):
    """Raise Void if the figures of wrk tell of wrong answers."""
    if not load['requests']:
        raise Void('no request was answered')
    for kind in 'connect', 'read', 'write', 'timeout':
        if load[kind]:
            raise Void(f'{load[kind]} {kind} errors')
    # wrk counts every status from 400 on as an error, so a row that expects
    # one must find as many errors as requests.
    failures = load['requests'] if row.status >= 400 else 0
    if load['status'] != failures:
        raise Void(f'{load["status"]} of {load["requests"]} answers had a '
                   'status of 400 or more')
    # Coded, the content can be smaller, but never larger.
    least = 0 if row.coding else row.size or 0
    most = (row.size or HEAD_MAX) + HEAD_MAX
    average = load['bytes'] / load['requests']
    if not least + HEAD_MIN <= average <= most * (1 + row.connections
                                                  / load['requests']):
        raise Void(f'{average:.0f} bytes an answer, not {least} to {most}')


def check_log(path):
    """Raise Void unless an access log was written; empty it.

    Emptied after each run, or a long one fills the disk.
    """
    until = time.monotonic() + LOG_DELAY
    while not os.path.exists(path) or not os.path.getsize(path):
        if time.monotonic() > until:
            raise Void('wrote no access log')
        time.sleep(POLL)
    os.truncate(path, 0)


# What a client that loads large files asks for, and how it asks.
STREAM_REQUEST = b'GET /256m.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'


@contextlib.contextmanager
def streaming(count, port):
    """Let *count* clients load large files for the time of a with statement.

    A process of its own does it, on wrk's core.
    """
    if not count:
        yield
        return
    process = subprocess.Popen(pinned(cores()[1], [
        sys.executable, os.path.abspath(__file__), '--streams', str(count),
        str(port)]), stdin=subprocess.DEVNULL)
    try:
        time.sleep(SETTLE)
        yield
        if process.poll() is not None:
            raise Void('the clients that load large files ended')
    finally:
        process.kill()
        process.wait()


def load_streams(count, port):
    """Load large files over *count* connections until killed."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        sock = socket.create_connection(('127.0.0.1', port), ANSWER)
        sock.sendall(STREAM_REQUEST)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, [0])
    buffer = bytearray(MIB)
    while True:
        for key, _ in selector.select():
            received = key.fileobj.recv_into(buffer)
            if not received:
                sys.exit('a stream ended')
            key.data[0] += received
            # Heads are counted too: so it asks again a little early.
            if key.data[0] >= FILES['256m.bin']:
                key.data[0] -= FILES['256m.bin']
                key.fileobj.send(STREAM_REQUEST)


@contextlib.contextmanager
def idling(count, port):
    """Hold *count* kept-alive connections for the time of a with statement.

    Each has had the answer to one request.
    """
    socks = []
    try:
        for _ in range(count):
            sock = socket.create_connection(('127.0.0.1', port), ANSWER)
            socks.append(sock)
            sock.sendall(b'GET /1k.txt HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
            received = 0
            while received < KIB + len('HTTP/1.1 200 OK'):
                block = sock.recv(64 * KIB)
                if not block:
                    raise Void('an idle connection was closed')
                received += len(block)
        yield
        for sock in socks:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while sock.recv(64 * KIB):      # what was late
                    pass
                raise Void('an idle connection was closed')
    except OSError as exc:
        raise Void(f'idle connection {len(socks)}: {exc}') from exc
    finally:
        for sock in socks:
            sock.close()


# ---- Rounds -----------------------------------------------------------------

class Bench(NamedTuple):
    """What stays the same for all rows."""
    folder: str     # temporary; the files to serve are in its folder root
    rounds: int
    seconds: int


class Result(NamedTuple):
    """What came of one server and one row: samples, or a reason in *void*.

    A sample is the figures of wrk and those that measure() adds.
    """
    samples: list[dict[str, float]]
    void: list[str]

    def median(self, figure):
        return statistics.median(sample[figure] for sample in self.samples)

    @contextlib.contextmanager
    def excused(self):
        """Note a Void that is raised in a with statement, and go on."""
        try:
            yield
        except Void as exc:
            self.void.append(str(exc))


def measure(bench, row, place, process, seconds):
    """Load a running server once; return a sample, or raise Void."""
    _, core = cores()
    with idling(row.idle, place.port), streaming(row.streams, place.port):
        generator = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = cpu_seconds(process.pid)
        load = run_wrk(row, place.port, seconds, core, bench.folder)
        cpu = cpu_seconds(process.pid) - before
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.poll() is not None:
        raise Void(f'ended under load with status {process.returncode}')
    check_load(row, load)
    check(row, place.port)          # still, or only at first?
    check_log(place.log)
    wall = load['duration'] / 1e6
    load['req_per_s'] = load['requests'] / wall
    load['cpu_us'] = cpu * 1e6 / load['requests']
    load['server_busy'] = cpu / wall
    load['wrk_busy'] = (usage.ru_utime - generator.ru_utime
                        + usage.ru_stime - generator.ru_stime) / wall
    return load


def bench_row(bench, row, servers):
    """Measure all *servers* with *row*; return {server's name: Result}."""
    results = {server.name: Result([], []) for server in servers}
    fleet = []
    with contextlib.ExitStack() as stack:
        for server in servers:
            if row.name in server.lacks:
                continue
            with results[server.name].excused():
                place = new_place(bench, row.tls)
                process = stack.enter_context(
                    running(server, place, cores()[0]))
                check(row, place.port)
                measure(bench, row, place, process, WARM_UP)
                fleet.append((server.name, place, process))
        for number in range(1, bench.rounds + 1):
            # Another one begins each round: on a machine that allows short
            # bursts the first gets the burst.
            fleet = fleet[1:] + fleet[:1]
            for name, place, process in fleet:
                result = results[name]
                if result.void:
                    continue
                with result.excused():
                    result.samples.append(
                        measure(bench, row, place, process, bench.seconds))
                tell(f'{row.name}, round {number}, {name}: '
                     + show_last(result))
    return results


def new_place(bench, tls=False):
    """Return the Place for a server about to be started."""
    return Place(os.path.join(bench.folder, 'root'),
                 tempfile.mkdtemp(dir=bench.folder), free_port(), tls)


def write_files(root, files):
    """Write *files*, {path: size}, below *root*."""
    for name, size in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.writelines(numbered(min(MIB, size - start))
                            for start in range(0, size, MIB))
        os.utime(path, (MTIME, MTIME))


# ---- Other figures ----------------------------------------------------------

def private_memory(session):
    """Return the private memory, in bytes, of all processes of *session*.

    Source: proc(5), /proc/PID/smaps_rollup.
    """
    total = 0
    for pid in processes(session):
        with open(f'/proc/{pid}/smaps_rollup') as file:
            total += sum(map(int, re.findall(
                r'^Private_(?:Clean|Dirty): *([0-9]+) kB', file.read(),
                re.MULTILINE)))
    return total * KIB


def idle_memory(bench, server):
    """Return the bytes of memory of one idle connection among CROWD."""
    place = new_place(bench)
    with running(server, place, cores()[0]) as process:
        with idling(1, place.port):
            before = private_memory(process.pid)
        with idling(CROWD, place.port):
            return (private_memory(process.pid) - before) / CROWD


def seconds_of(argv, core):
    """Return how long a command takes to end, in seconds."""
    before = time.perf_counter()
    done = subprocess.run(pinned(core, argv), check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE)
    if done.returncode:
        raise Void(f'{argv[0]}: {done.stderr.decode(errors="replace")}')
    return time.perf_counter() - before


def seconds_to_answer(bench, server):
    """Return the seconds from a server's start to its first whole answer."""
    place = new_place(bench)
    before = time.perf_counter()
    with running(server, place, cores()[0]):
        check(WORK[0], place.port)
        return time.perf_counter() - before


def compared(first, second):
    """Return medians of what two functions return, called in turns, and the
    median of the ratios of each pair."""
    pairs = [(first(), second()) for _ in range(STARTS)]
    return (*map(statistics.median, zip(*pairs)),
            statistics.median(one / other for one, other in pairs))


def memory_figure(bench, servers, _):
    """Compare the memory of idle connections."""
    ours = idle_memory(bench, servers[0])
    others = [f'{server.name} {idle_memory(bench, server):.0f}'
              for server in servers[1:] if server.name in C_SERVERS]
    return f'{ours:.0f} bytes', ', '.join(others)


def start_figure(bench, servers, python):
    """Compare the start of httpd.py with that of its interpreter."""
    ours, bare, ratio = compared(
        lambda: seconds_to_answer(bench, servers[0]),
        lambda: seconds_of([python, '-c', 'pass'], cores()[0]))
    return (f'{ours * 1e3:.0f} ms',
            f'{ratio:.2f} of the bare interpreter\'s {bare * 1e3:.0f} ms')


def get_figure(bench, servers, python):
    """Compare httpget.py with the start of its interpreter."""
    place = new_place(bench)
    get = [python, HTTPGET, '-q', '-o', os.path.join(place.folder, 'saved'),
           '127.0.0.1', str(place.port), '1k.txt']
    with running(servers[0], place, cores()[0]):
        ours, bare, ratio = compared(
            lambda: seconds_of(get, cores()[1]),
            lambda: seconds_of([python, '-c', 'pass'], cores()[1]))
    return (f'{ours * 1e3:.0f} ms',
            f'{ratio:.2f} of the bare interpreter\'s {bare * 1e3:.0f} ms')


def get_large_figure(bench, servers, python):
    """Compare httpget.py with curl.

    httpget.py hashes, syncs and renames what it saves; curl does not.
    """
    place = new_place(bench)
    write_files(place.root, {'1g.bin': 1024 * MIB})
    saved = os.path.join(place.folder, 'saved')
    get = [python, HTTPGET, '-q', '-o', saved, '127.0.0.1', str(place.port),
           '1g.bin']
    curl = ['curl', '-s', '-o', saved + '2',
            f'http://127.0.0.1:{place.port}/1g.bin']
    with running(servers[0], place, cores()[0]):
        ours, theirs, ratio = compared(
            lambda: seconds_of(get, cores()[1]),
            lambda: seconds_of(curl, cores()[1]))
    return f'{ours:.2f} s', f'{ratio:.2f} of curl\'s {theirs:.2f} s'


C_SERVERS = ('nginx', 'lighttpd', 'h2o')
OTHER_FIGURES = [
    (f'memory of one idle connection among {CROWD:,}', '600 bytes',
     memory_figure),
    ('start to the first answer', '1.6', start_figure),
    ('httpget.py, 1 KiB file', '1.4', get_figure),
    ('httpget.py, 1 GiB to a file', '1', get_large_figure),
]


def other_figures(bench, servers, python):
    """Yield (what, measured, compared, at most) of each other figure."""
    for what, at_most, figure in OTHER_FIGURES:
        try:
            measured, comparison = figure(bench, servers, python)
        except Void as exc:
            measured, comparison = 'void', str(exc)
        tell(f'{what}: {measured}, {comparison}')
        yield what, measured, comparison, at_most


# ---- Report -----------------------------------------------------------------

def tell(text):
    """Print a line of progress or warning."""
    print(text, file=sys.stderr, flush=True)


def show_last(result):
    """Return both figures of a Result's last sample."""
    return show(Result(result.samples[-1:], result.void))


def show(result):
    """Return the medians of both figures of a Result."""
    if result.void:
        return 'void'
    if not result.samples:
        return '-'
    speed, cpu = result.median('req_per_s'), result.median('cpu_us')
    return f'{speed:,.0f} req/s, {cpu:.1f} µs'


def ratios(ours, theirs):
    """Return how far *ours* is ahead of *theirs*, in speed and CPU time."""
    speed = ours.median('req_per_s') / theirs.median('req_per_s')
    # On a very short run a server's CPU time can be less than one tick.
    cpu = ours.median('cpu_us') and (
        theirs.median('cpu_us') / ours.median('cpu_us'))
    return speed, cpu


def show_ratios(ours, theirs):
    """Return the cell of another server."""
    if ours.void or theirs.void:
        return 'void'
    if not theirs.samples:
        return '-'
    return '%.2f, %.2f' % ratios(ours, theirs)


def own_row(row):
    """Return the name of the row that *row* is compared with, '' for none."""
    return next((name[1:] for name in row.targets if name[0] == '='), '')


def table(rows, servers, results):
    """Return the Markdown table; *servers* begins with httpd.py."""
    ours, others = servers[0].name, [server.name for server in servers[1:]]
    cells = [['work', ours, 'p99', *others, 'itself']]
    for row in rows:
        result = results[row.name]
        own = results.get(own_row(row))
        cells.append([
            f'{row.description} (`{row.name}`)', show(result[ours]),
            show_p99(result[ours]),
            *(show_ratios(result[ours], result[name]) for name in others),
            show_ratios(result[ours], own[ours]) + f' (`={own_row(row)}`)'
            if own else ''])
    return markdown(cells)


def show_p99(result):
    """Return the time within which 99 % of the answers came."""
    return 'void' if result.void else '%.1f ms' % (result.median('p99') / 1e3)


def markdown(cells):
    """Return the lines of *cells* as a Markdown table, the first as head."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    cells.insert(1, ['-' * width for width in widths])
    return '\n'.join(
        '| ' + ' | '.join(map(str.ljust, line, widths)) + ' |'
        for line in cells)


def missed(row, servers, results):
    """Yield what a row's figures lack of its targets."""
    ours = results[row.name][servers[0].name]
    if ours.void:
        return
    for name, wanted in row.targets.items():
        theirs = (results.get(name[1:], {}).get(servers[0].name)
                  if name[0] == '=' else results[row.name].get(name))
        if not theirs:          # it was not asked for
            continue
        if theirs.void or not theirs.samples:
            yield f'{row.name}: not compared with {name}'
            continue
        for kind, found, least in zip(('req/s', 'CPU'), ratios(ours, theirs),
                                      wanted):
            if found < least:
                yield f'{row.name}: {kind} {found:.2f} of {name}, not {least}'
    p99 = ours.median('p99') / 1e3
    if row.p99_max and p99 > row.p99_max:
        yield f'{row.name}: p99 {p99:.1f} ms, not {row.p99_max}'


def remarks(rows, results):
    """Yield what a reader of the table must know."""
    for row in rows:
        counted = {}
        for name, result in results[row.name].items():
            for reason in result.void:
                yield f'{row.name}, {name}: void: {reason}'
            if result.samples and not result.void:
                counted[name] = result
        limited = [name for name, result in counted.items()
                   if result.median('wrk_busy') > SATURATED]
        robbed = [name for name, result in counted.items()
                  if row.connections > 1 and is_robbed(result)]
        if limited:
            yield (f'{row.name}, {", ".join(limited)}: wrk was busy all the '
                   'time and may have set the req/s; compare the CPU time')
        if robbed:
            yield (f'{row.name}, {", ".join(robbed)}: neither server nor wrk '
                   'was busy, so the machine did something else meanwhile; '
                   'the req/s are too low, compare the CPU time')
    if len(set(cores())) == 1:
        yield 'one core only: the servers shared it with wrk'


def is_robbed(result):
    """Tell whether neither the server nor wrk had a core to itself."""
    return statistics.median(
        max(sample['server_busy'], sample['wrk_busy'])
        for sample in result.samples) < ROBBED


def output_of(*argv):
    """Return what a command prints, '' if it cannot or fails."""
    try:
        done = subprocess.run(
            argv, check=False, text=True, timeout=ANSWER,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return done.stdout.strip() if done.returncode == 0 else ''


def cpu_model():
    """Return the processor's name as the kernel gives it."""
    with open('/proc/cpuinfo') as file:
        found = re.search(r'^model name\s*: (.*)$', file.read(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def environment(python, servers):
    """Return what was measured where, as a dict of strings and numbers."""
    versions = {}
    for server in servers:
        found = re.search(r'\d+(\.\d+)+', output_of(*server.version))
        versions[server.name] = found.group() if found else ''
    return {
        'python': output_of(python, '-c', (
            'import platform as p; '
            'print(p.python_implementation(), p.python_version())')),
        'kernel': f'{platform.system()} {platform.release()}',
        'cpu': cpu_model(),
        'cpus': os.cpu_count(),
        'commit': output_of('git', '-C', TOP, 'describe', '--always', '--dirty'),
        'servers': versions,
    }


def header(where, bench):
    """Return the lines above the table."""
    versions = ', '.join(f'{name} {version}'.strip()
                         for name, version in where['servers'].items())
    commit = 'commit ' + where['commit'] if where['commit'] else 'no commit'
    return (f'{where["python"]}, {where["kernel"]}, '
            f'{where["cpus"]} x {where["cpu"]}, {commit}; {versions}; '
            f'medians of {bench.rounds} rounds of {bench.seconds} s')


def write_json(path, where, bench, results):
    """Write all figures to *path*."""
    with open(path, 'w') as file:
        json.dump({
            'environment': where,
            'rounds': bench.rounds,
            'seconds': bench.seconds,
            'work': {work: {name: result._asdict()
                            for name, result in by_server.items()}
                     for work, by_server in results.items()},
        }, file, indent=1)
        file.write('\n')


# ---- Command line -----------------------------------------------------------

def positive(text):
    """Convert an option's value to an integer from 1 on."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def name_and_path(text):
    """Convert NAME=PATH to a pair."""
    name, equals, path = text.partition('=')
    if not (name and equals and os.path.isfile(path)):
        raise argparse.ArgumentTypeError('not NAME=PATH of a file: ' + text)
    return name, os.path.abspath(path)


def interpreter(text):
    """Convert the name of a program to its absolute path."""
    path = shutil.which(text)
    if not path:
        raise argparse.ArgumentTypeError('no such program: ' + text)
    return os.path.abspath(path)


def some(known, text):
    """Return those of *known*, things with names, that are named in *text*,
    with commas between; '' is none of them."""
    names = [name for name in text.split(',') if name]
    by_name = {thing.name: thing for thing in known}
    for name in names:
        if name not in by_name:
            raise argparse.ArgumentTypeError(
                f'{name} is not one of {", ".join(by_name)}')
    return [by_name[name] for name in names]


some_servers = functools.partial(some, SERVERS)
some_rows = functools.partial(some, WORK)


def parse_args(argv):
    """Return the options."""
    parser = argparse.ArgumentParser(
        description='Measure httpd.py side by side with other web servers.')
    add = parser.add_argument
    add('--work', type=some_rows, default=WORK, metavar='NAMES',
        help='rows to measure, with commas between, "" for none; default: '
        + ','.join(row.name for row in WORK))
    add('--servers', type=some_servers, default=SERVERS, metavar='NAMES',
        help='other servers, with commas between; default: '
        + ','.join(server.name for server in SERVERS))
    add('--others', action=argparse.BooleanOptionalAction,
        help='measure memory, start and httpget.py too; default: if all rows '
        'are measured')
    add('--rounds', type=positive, default=3, metavar='N',
        help='turns of each server; default: 3')
    add('--seconds', type=positive, default=3, metavar='N',
        help='length of a turn; default: 3')
    add('--python', type=interpreter, default=sys.executable, metavar='PATH',
        help='interpreter for httpd.py; default: this one')
    add('--against', type=name_and_path, action='append', default=[],
        metavar='NAME=PATH', help='another httpd.py to compare; repeatable')
    add('--json', metavar='FILE', help='write all figures to FILE')
    args = parser.parse_args(argv)
    if args.others is None:
        args.others = args.work is WORK
    names = ['httpd.py', *(name for name, _ in args.against),
             *(server.name for server in args.servers)]
    if len(set(names)) < len(names):
        parser.error('two servers of the same name: ' + ', '.join(names))
    return args


def choose_servers(args):
    """Return the Servers to measure, httpd.py first, without missing ones."""
    servers = [httpd('httpd.py', args.python, HTTPD)]
    servers += [httpd(name, args.python, path) for name, path in args.against]
    for server in args.servers:
        if shutil.which(server.program):
            servers.append(server)
        else:
            tell(f'bench.py: {server.program} is not installed and left out; '
                 f'to get it: apt-get install {server.package}')
    return servers


def missing():
    """Return a line about something without which nothing works, or None."""
    for program, package in ('wrk', 'wrk'), ('taskset', 'util-linux'):
        if not shutil.which(program):
            return (f'{program} is not installed; to get it: '
                    f'apt-get install {package}')
    if not os.path.isfile(HTTPD):
        return 'no such file: ' + HTTPD
    return None


def run(args):
    """Measure and print; return the exit status."""
    servers = choose_servers(args)
    where = environment(args.python, servers)
    with tempfile.TemporaryDirectory(prefix='bench-') as folder:
        os.chmod(folder, 0o755)         # a server may run as another user
        bench = Bench(folder, args.rounds, args.seconds)
        root = os.path.join(folder, 'root')
        write_files(root, FILES)
        if any(row.path.startswith('/crowd/') for row in args.work):
            write_files(root, CROWDED_FILES)
        time.sleep(SETTLE)
        results = {row.name: bench_row(bench, row, servers)
                   for row in args.work}
        others = [['what', 'measured', 'compared', 'at most']]
        if args.others:
            others += map(list, other_figures(bench, servers, args.python))
    print(header(where, bench))
    if args.work:
        print('', table(args.work, servers, results), sep='\n')
    if args.others:
        print('', markdown(others), sep='\n')
    notes = [line for row in args.work
             for line in missed(row, servers, results)]
    notes += remarks(args.work, results)
    for number, remark in enumerate(notes):
        print('' if number else '\n', '- ', remark, sep='')
    if args.json:
        write_json(args.json, where, bench, results)
    return int(any(result.void for by_server in results.values()
                   for result in by_server.values()))


def main(argv=None):
    """Do what the module's docstring says; return the exit status."""
    if argv is None and sys.argv[1:2] == ['--streams']:   # see streaming()
        load_streams(*map(int, sys.argv[2:]))
    args = parse_args(argv)
    # Debian keeps servers where only root's PATH looks.
    os.environ['PATH'] = os.environ.get('PATH', os.defpath) + ':/usr/sbin'
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))    # for CROWD
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, signal.default_int_handler)   # as Ctrl-C
    problem = missing()
    if problem:
        tell(f'bench.py: {problem}')
        return 2
    try:
        return run(args)
    except KeyboardInterrupt:
        tell('bench.py: interrupted')
        return 130


if __name__ == '__main__':
    sys.exit(main())
