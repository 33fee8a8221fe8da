"""Measure httpd.py beside other web servers.

    python3 .ci/bench.py [--work NAMES] [--servers NAMES] [--rounds N]
                         [--seconds N] [--against FILE] [--python PATH]

For each kind of work, all servers start on one core with an access log.  wrk
loads them from another core in turns, round after round, so all are measured
while the machine is equally busy.  The tables are in Markdown:

httpd.py    requests a second, and microseconds of CPU time a request in all
            processes; other programs disturb the CPU time less
p99         the time within which 99 % of the answers came
new/old     requests a second, and CPU time a request, of httpd.py divided by
            those of an older one (--against)
nginx ...   how far httpd.py is ahead: 2 is twice the requests a second, half
            the CPU time a request

Figures and ratios are medians of all rounds.  "-" means that a server cannot
do the work, or failed, as standard error then says: an answer before and one
after each round are compared with the file, and wrk must report no error.
Exit status: 1 if a row lacks httpd.py's figures, 2 if a program is missing.

Needs Linux, Python 3.11, wrk, openssl, 4 GiB of disk and 1 of memory;
servers that are not installed are left out.
"""

import argparse
import contextlib
import glob
import gzip
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

# ---- Limits -----------------------------------------------------------------

WARM_UP = 1         # seconds of load before the first round
PATIENCE = 10       # seconds for a start, for an answer, for wrk to end
STARTS = 10         # for the median of their time
CROWD = 10000       # idle connections
DESCRIPTORS = 24000     # of a server: lighttpd wants two for a connection
KIB, MIB = 1 << 10, 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")    # a second, of times in /proc/PID/stat
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# ---- Work -------------------------------------------------------------------

# What is served: the path below the root, and the size.
FILES = {
    "1k.txt": KIB, "1k.png": KIB, "16k.bin": 16 * KIB, "64k.bin": 64 * KIB,
    "256k.bin": 256 * KIB, "1m.bin": MIB, "2m.bin": 2 * MIB,
    "256m.bin": 256 * MIB, "gzip/script.js": 64 * KIB, "site/index.html": KIB,
    **{"many/%d.txt" % n: KIB for n in range(2000)},
    "crowd/1k.txt": KIB, **{"crowd/%d" % n: 0 for n in range(99999)}}
MTIME = 1500000000      # of all files; the date in SINCE

SINCE = "If-Modified-Since: Fri, 14 Jul 2017 02:40:00 GMT"
CLOSE = "Connection: close"
FORWARDED = "X-Forwarded-For: 192.0.2.7"
GZIP = "Accept-Encoding: gzip"
RANGE_1K = "Range: bytes=500000-500999"
RANGE_16K = "Range: bytes=134217728-134234111"
# What Chromium sends, and a cookie.
BROWSER = """\
Connection: keep-alive|sec-ch-ua: "Chromium";v="142", "Not_A Brand";v="99"|\
sec-ch-ua-mobile: ?0|sec-ch-ua-platform: "Linux"|Upgrade-Insecure-Requests: 1|\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like \
Gecko) Chrome/142.0.0.0 Safari/537.36|Accept: text/html,application/xhtml+xml,\
application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
application/signed-exchange;v=b3;q=0.7|Sec-Fetch-Site: same-origin|\
Sec-Fetch-Mode: navigate|Sec-Fetch-User: ?1|Sec-Fetch-Dest: document|\
Referer: http://127.0.0.1/site/index.html|Accept-Language: en-GB,en;q=0.9|\
Accept-Encoding: gzip, deflate, br, zstd|\
Cookie: session=6f1d8e3c5b7a49f0a2d4; theme=dark; seen=17"""

PIPELINE = """
function init() batch = string.rep(wrk.format(), 16) end
function request() return batch end
"""
# The file n is asked for with a probability of about 1/n (Zipf).
SKEWED = """
local requests = {}
function init()
    for i = 1, 32768 do
        local path = '/many/' .. math.floor(2000 ^ math.random()) .. '.txt'
        requests[i] = wrk.format(nil, path)
    end
end
function request() return requests[math.random(#requests)] end
"""


class Row(NamedTuple):
    """One kind of work: what clients ask for, and how many of them."""
    name: str               # for --work
    what: str               # for the table
    path: str = "/1k.txt"
    connections: int = 64
    mode: str = ""          # of the server: see Server.modes
    fields: str = ""        # of the request, with | between
    script: str = ""        # Lua for wrk
    idle: int = 0           # more connections, which do nothing
    streams: int = 0        # more clients, which load 256m.bin


WORK = [
    Row("1k-64", "1 KiB file, 64 connections"),
    # No server compresses a PNG, so all give the same answer.
    Row("browser", "the same, with a browser's fields and a cookie", "/1k.png",
        fields=BROWSER),
    Row("index", "`/` to its index", "/site/"),
    Row("1k-1", "1 KiB file, 1 connection", connections=1),
    Row("1k-8", "8 connections", connections=8),
    Row("1k-1000", "1000 connections", connections=1000),
    Row("16k", "16 KiB file", "/16k.bin"),
    Row("64k", "64 KiB file", "/64k.bin"),
    Row("256k", "256 KiB file", "/256k.bin"),
    Row("1m", "1 MiB file, 16 connections", "/1m.bin", 16),
    Row("2m", "2 MiB file, 16 connections", "/2m.bin", 16),
    Row("256m", "256 MiB file, 4 connections", "/256m.bin", 4),
    Row("many", "2,000 different files, skewed", "/many/0.txt", script=SKEWED),
    Row("pipelined", "pipelined, 16 deep", script=PIPELINE),
    Row("connect", "a new connection for each request", fields=CLOSE),
    Row("tls", "1 KiB file over TLS", mode="tls"),
    Row("tls-1m", "1 MiB file over TLS, 16 connections", "/1m.bin", 16, "tls"),
    Row("tls-connect", "a new TLS connection for each request", mode="tls",
        fields=CLOSE),
    Row("json", "1 KiB file, log in JSON", mode="json"),
    Row("proxy", "behind a trusted proxy", mode="proxy", fields=FORWARDED),
    Row("404", "no such file", "/nothing"),
    Row("304", "not modified", fields=SINCE),
    Row("range-1k", "1 KB range of 1 MiB", "/1m.bin", fields=RANGE_1K),
    Row("range-16k", "16 KiB range of 256 MiB", "/256m.bin", fields=RANGE_16K),
    Row("gzip", "gzip of a 64 KiB script", "/gzip/script.js", fields=GZIP),
    Row("streams", "1 KiB while 8 clients load 256 MiB files", streams=8),
    Row("10000-idle", "10,000 more connections, idle", idle=CROWD),
    Row("100000-files", "in a folder of 100,000 files", "/crowd/1k.txt"),
]

# ---- Servers ----------------------------------------------------------------


class Server(NamedTuple):
    """A web server: templates, in which MODE is replaced by a mode's text."""
    name: str
    command: str            # serves in the foreground
    config: str = ""
    modes: "dict[str, str]" = {}    # noqa: RUF012 - what a row may need
    lacks: str = ""         # names of rows that it cannot do
    version: str = "-v"     # the option that prints it


HTTPD = Server("httpd.py", (
    "%(python)s %(new)s -b 127.0.0.1 -d %(root)s --log-file %(log)s MODE "
    "%(port)s"), modes={
        "tls": "--tls-cert %(certificate)s", "json": "--log-format json",
        "proxy": "--trusted-proxy 127.0.0.1"})

# As Debian configures it, but for one worker, unlimited requests on a
# connection, room for CROWD, and paths in our folder.
NGINX = Server("nginx", "nginx -e stderr -p %(folder)s -c %(config)s", """\
user root; worker_processes 1; worker_rlimit_nofile %(descriptors)s;
daemon off; pid %(folder)s/nginx.pid; error_log stderr crit;
events { worker_connections %(descriptors)s; }
http {
    sendfile on; tcp_nopush on; types_hash_max_size 2048; gzip on;
    include /etc/nginx/mime.types; default_type application/octet-stream;
    access_log %(log)s combined; keepalive_requests 1000000000;
    client_body_temp_path %(folder)s/1; proxy_temp_path %(folder)s/2;
    fastcgi_temp_path %(folder)s/3; uwsgi_temp_path %(folder)s/4;
    scgi_temp_path %(folder)s/5;
    server {
        listen 127.0.0.1:%(port)s backlog=1024 MODE; root %(root)s;
        location /gzip/ { gzip_types application/javascript; }
    }
}
""", {
    "proxy": "; set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For",
    "tls": ("ssl; ssl_certificate %(certificate)s;"
            "ssl_certificate_key %(certificate)s;"
            "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;"
            "ssl_prefer_server_ciphers on")})

SERVERS = [
    NGINX,
    # It may answer with the state that a file had 30 s ago.
    NGINX._replace(name="nginx-tuned", config=NGINX.config.replace(
        " combined;", """ combined buffer=64k flush=1s;
    open_file_cache max=10000 inactive=60s; open_file_cache_valid 30s;
    open_file_cache_min_uses 1; open_file_cache_errors on;""")),
    # With 10,000 connections it answers no request, whatever its limits.
    Server("lighttpd", "lighttpd -D -f %(config)s", """\
server.bind = "127.0.0.1"
server.port = %(port)s
server.document-root = "%(root)s"
server.modules = ("mod_indexfile", "mod_deflate", "mod_accesslog")
server.max-fds = %(descriptors)s
server.max-keep-alive-requests = 65535
accesslog.filename = "%(log)s"
index-file.names = ("index.html")
deflate.mimetypes = ("text/javascript")
deflate.allowed-encodings = ("gzip")
mimetype.assign = (".js" => "text/javascript", ".txt" => "text/plain",
                   "" => "application/octet-stream")
""", lacks="10000-idle"),
    Server("h2o", "h2o -m worker -c %(config)s", """\
{user: root, num-threads: 1, max-connections: %(descriptors)s,
 http1-request-timeout: 300, access-log: %(log)s,
 listen: {host: 127.0.0.1, port: %(port)s},
 hosts: {default: {paths: {
   /: {file.dir: %(root)s},
   /gzip/: {file.dir: %(root)s/gzip, compress: [gzip]}}}}}
"""),
    # It has a thread for each core that it may use.
    Server("caddy", "caddy run --adapter caddyfile --config %(config)s", """\
{
    admin off
    auto_https off
}
http://127.0.0.1:%(port)s {
    root * %(root)s
    encode /gzip/* gzip
    file_server
    log {
        output file %(log)s
    }
}
""", version="version"),
    # It knows no ranges and no content codings, and has a thread for each
    # connection, of which five may wait to be accepted.
    Server("http.server", (
        "%(python)s -m http.server --bind 127.0.0.1 --protocol HTTP/1.1 "
        "-d %(root)s %(port)s"),
        lacks="range-1k range-16k gzip 1k-1000 10000-idle"),
]


@contextlib.contextmanager
def running(args, server, mode=""):
    """Run *server* on the first core for the time of a with statement."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    mode = server.modes.get(mode, "")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder, open(
            folder + "/log", "a+b") as log:     # and what the server prints
        facts = {**vars(args), "folder": folder, "port": port,
                 "config": folder + "/config", "log": log.name,
                 "descriptors": DESCRIPTORS}
        with open(facts["config"], "w") as file:
            file.write(server.config.replace("MODE", mode) % facts)
        words = server.command.replace("MODE", mode).split()
        process = subprocess.Popen(
            ["taskset", "-c", args.core, *(word % facts for word in words)],
            env={**os.environ, "HOME": folder}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(process, port, log)
            yield argparse.Namespace(pid=process.pid, **facts)
        finally:
            process.terminate()     # nginx then waits for its worker
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(process, port, log):
    """Return when a server accepts a connection."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.001)
    log.seek(0)
    raise OSError(f"did not start: {log.read()[-300:]}")


def used(session):
    """Return what a server, which leads its own session, uses.

    That is its CPU time in seconds, with that of children that ended, and its
    private memory in bytes.
    """
    cpu = memory = 0
    for folder in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError), open(folder + "/stat") as stat, (
                open(folder + "/smaps_rollup")) as maps:
            fields = stat.read().rpartition(")")[2].split()
            if int(fields[3]) == session:
                cpu += sum(map(int, fields[11:15]))
                memory += sum(map(int, re.findall(
                    "Private_(?:Clean|Dirty): *([0-9]+) kB", maps.read())))
    return cpu / TICKS, memory * KIB


# ---- Load -------------------------------------------------------------------

# wrk's own report is for people, and rounds its numbers.
REPORT = """
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        'JSON {"requests": %.0f, "microseconds": %.0f, "bytes": %.0f, ' ..
        '"errors": %.0f, "statuses": %.0f, "p99": %.0f}\\n',
        summary.requests, summary.duration, summary.bytes,
        errors.connect + errors.read + errors.write + errors.timeout,
        errors.status, latency:percentile(99)))
end
"""


def expected(row, root):
    """Return the status and the content that answer *row*; None: any."""
    if row.name == "404":
        return 404, None
    if row.fields == SINCE:
        return 304, b""
    path = root + row.path + "index.html" * row.path.endswith("/")
    part = re.match("Range: bytes=([0-9]+)-([0-9]+)", row.fields)
    with open(path, "rb") as file:
        if not part:
            return 200, file.read()
        first, last = map(int, part.groups())
        file.seek(first)
        return 206, file.read(last + 1 - first)


def ask(row, place):
    """Return a connection on which a server has answered *row* as expected."""
    sock = socket.create_connection(("127.0.0.1", place.port), PATIENCE)
    if row.mode == "tls":
        context = ssl.create_default_context(cafile=place.certificate)
        sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
    connection = http.client.HTTPConnection("127.0.0.1", place.port)
    connection.sock = sock
    connection.request("GET", row.path, headers=dict(
        field.split(": ", 1) for field in row.fields.split("|") if field))
    answer = connection.getresponse()
    content = answer.read()
    if row.fields == GZIP:
        content = gzip.decompress(content)
    status, wanted = expected(row, place.root)
    if answer.status != status or wanted not in (None, content):
        raise OSError(f"wrong answer: {answer.status}, {content[:300]}")
    return sock


def wrk(row, place, seconds):
    """Return the command line that loads a server with *row*."""
    script = os.path.join(place.folder, row.name + ".lua")
    with open(script, "w") as file:
        file.write(row.script + REPORT)
    scheme = "https" if row.mode == "tls" else "http"
    return [
        "wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "-s", script,
        *["-H" + field for field in row.fields.split("|") if field],
        f"{scheme}://127.0.0.1:{place.port}{row.path}"]


def measure(row, place, seconds):
    """Load a server once.

    Return requests a second, microseconds of CPU time a request, and the
    microseconds within which 99 % of the answers came.
    """
    ask(row, place).close()
    with company(row, place):
        before = used(place.pid)[0]
        said = subprocess.run(
            wrk(row, place, seconds), check=True, timeout=seconds + PATIENCE,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
        cpu = used(place.pid)[0] - before
    ask(row, place).close()
    os.truncate(place.log, 0)       # or a long run would fill the disk
    load = json.loads(said.partition(b"JSON ")[2])
    requests = load["requests"]
    status, content = expected(row, place.root)
    size = len(content or b"")
    least = 0 if row.fields == GZIP else requests * size
    failed = requests * (status >= 400)     # as wrk counts
    if not requests or load["errors"] or load["statuses"] != failed or (
            load["bytes"] < least):
        raise OSError(f"wrong answers under load: {load}")
    if size >= MIB:     # count parts of the files still under way at the end
        requests = load["bytes"] / size
    return (requests / load["microseconds"] * 1e6,
            max(cpu, 1 / TICKS) / requests * 1e6, load["p99"])


@contextlib.contextmanager
def company(row, place):
    """Keep the idle and the streaming clients of *row* connected."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(ask(WORK[0], place))
                 for _ in range(row.idle)]
        if row.streams:
            large = Row("streams-256m", "", "/256m.bin", row.streams)
            process = stack.enter_context(subprocess.Popen(
                wrk(large, place, 3600), stdout=subprocess.DEVNULL))
            stack.callback(process.kill)
        yield
        for sock in socks:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                raise OSError(f"an idle one received {sock.recv(1)!r}")


def bench_row(args, row, servers):
    """Return {name: measured rounds} of the *servers* that can do *row*."""
    able = [server for server in servers
            if row.mode in ["", *server.modes]
            and row.name not in server.lacks.split()]
    places, turns = {}, {server.name: [] for server in able}
    with contextlib.ExitStack() as stack:
        for number in range(args.rounds + 1):
            for server in able:
                name = server.name
                try:
                    if number == 0:
                        places[name] = stack.enter_context(
                            running(args, server, row.mode))
                        measure(row, places[name], WARM_UP)
                    elif name in turns:
                        turns[name].append(
                            measure(row, places[name], args.seconds))
                except (OSError, ValueError, http.client.HTTPException,
                        subprocess.SubprocessError) as exc:
                    del turns[name]
                    print(f"{row.name}, {name}: {exc}", file=sys.stderr)
            # Another server begins the next round: where a machine allows
            # short bursts, the first server gets the burst.
            able.append(able.pop(0))
    return turns


# ---- Report -----------------------------------------------------------------


def table(heads, rows):
    """Print a table that has rows; return whether it lacks own figures."""
    lacks = False
    lines = ["", heads, ["---"] * len(heads)]
    for cells in rows:
        for line in [*lines, cells]:
            print(line and "| " + " | ".join(line) + " |", flush=True)
        lines = []
        lacks = lacks or cells[1] == "-"
    return lacks


def rows_of_work(args, servers):
    """Measure; yield for each row own figures, and ratios to the others'."""
    for row in [row for row in WORK if row.name in args.work]:
        turns = bench_row(args, row, servers)
        cells = [f"{row.what} (`{row.name}`)", "-", "-"]
        ours = turns.get("httpd.py", [])
        if ours:
            speed, cpu, p99 = map(statistics.median, zip(*ours))
            cells[1:] = [f"{speed:,.0f} req/s, {cpu:.1f} µs",
                         f"{p99 / 1e3:.1f} ms"]
        for each in servers[1:]:
            pairs = list(zip(ours, turns.get(each.name, [])))
            if not pairs:
                cells.append("-")
                continue
            speed, cpu = [statistics.median(one[n] / other[n]
                                            for one, other in pairs)
                          for n in (0, 1)]
            if each.name != "new/old":
                cpu = 1 / cpu
            cells.append(f"{speed:.2f}, {cpu:.2f}")
        yield cells


def other_figures(args, servers):
    """Yield what wrk cannot measure, as far as it is asked for."""
    for each in servers:
        if "memory" in args.work and each.name in ("httpd.py", "nginx"):
            with running(args, each) as place:
                ask(WORK[0], place).close()
                before = used(place.pid)[1]
                with company(WORK[0]._replace(idle=CROWD), place):
                    size = (used(place.pid)[1] - before) / CROWD
            yield (f"memory of one of {CROWD:,} idle connections, {each.name}",
                   f"{size:.0f} bytes", "")
    if "start" in args.work:
        pairs = []
        for _ in range(STARTS):
            begin = time.perf_counter()
            with running(args, HTTPD) as place:
                ask(WORK[0], place).close()
                ours = time.perf_counter() - begin
            begin = time.perf_counter()
            subprocess.run(["taskset", "-c", args.core, args.python, "-c", ""],
                           check=True)
            pairs.append((ours, time.perf_counter() - begin))
        ours, bare = map(statistics.median, zip(*pairs))
        ratio = statistics.median(one / other for one, other in pairs)
        yield ("start to the first answer, and the bare interpreter's",
               f"{ours * 1e3:.0f} ms", f"{ratio:.2f} of {bare * 1e3:.0f} ms")


def environment(args, servers):
    """Return what is measured where."""
    said = [f"Linux {os.uname().release}", f"{os.cpu_count()} CPUs",
            f"medians of {args.rounds} rounds of {args.seconds} s"]
    for command in [
            [args.python, "-V"],
            ["git", "-C", TOP, "describe", "--always", "--dirty"],
            *([each.command.split()[0], each.version]
              for each in servers if each.config)]:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        said.append(done.stdout.partition("\n")[0])
    return ", ".join(said)


# ---- Command line -----------------------------------------------------------


def write_files(args):
    """Write the files of numbered lines: a wrong part shows."""
    lines = b"".join(b"%07d\n" % n for n in range(MIB // 8))
    for name, size in FILES.items():
        if name.startswith("crowd/") and "100000-files" not in args.work:
            continue    # a hundred thousand files take long
        path = os.path.join(args.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(lines * (size // MIB) + lines[:size % MIB])
        os.utime(path, (MTIME, MTIME))


def names(parser, option, known):
    """Add an option that takes some of the names that are *known*."""
    parser.add_argument(
        option, default=known, metavar="NAMES", type=lambda text: [
            known[known.index(name)] for name in text.split(",") if name],
        help="with commas between; default: " + ",".join(known))


def main():
    """Do what the module's docstring says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names(parser, "--work", [*(row.name for row in WORK), "memory", "start"])
    names(parser, "--servers", [server.name for server in SERVERS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of a round")
    parser.add_argument("--against", metavar="FILE", type=os.path.abspath,
                        help="an older httpd.py")
    parser.add_argument("--python", default=sys.executable, metavar="PATH",
                        help="what runs httpd.py; default: this one")
    args = parser.parse_args()
    # Debian keeps servers where only root's PATH looks.
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
    for program in "wrk", "taskset", "openssl":
        if not shutil.which(program):
            print(program + " is not installed", file=sys.stderr)
            return 2
    servers = [HTTPD]
    if args.against:
        servers.append(HTTPD._replace(
            name="new/old", command=HTTPD.command.replace("new", "against")))
    servers += [each for each in SERVERS if each.name in args.servers and (
        each.name == "http.server" or shutil.which(each.command.split()[0]))]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))    # for CROWD
    cores = sorted(os.sched_getaffinity(0))
    args.core = str(cores[0])       # of the servers
    os.sched_setaffinity(0, cores[-1:])     # of this script and of wrk
    signal.signal(signal.SIGTERM, signal.default_int_handler)   # as Ctrl-C
    with tempfile.TemporaryDirectory(prefix="bench-") as args.folder:
        args.new = os.path.join(TOP, "httpd.py")
        args.root = os.path.join(args.folder, "root")
        args.certificate = os.path.join(args.folder, "certificate")
        write_files(args)
        subprocess.run([
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", args.certificate, "-out", args.certificate],
            check=True, stderr=subprocess.DEVNULL)
        print(environment(args, servers))
        lacks = table(
            ["work", "httpd.py", "p99", *(each.name for each in servers[1:])],
            rows_of_work(args, servers))
        table(["what", "measured", "compared"], other_figures(args, servers))
        return int(lacks)


if __name__ == "__main__":
    sys.exit(main())
