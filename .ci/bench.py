"""bench.py - measure httpd.py side by side with other web servers

SYNOPSIS
    python3 .ci/bench.py [--work NAME]... [--servers NAME,NAME...]
                         [--rounds N] [--seconds N] [--python PATH]
                         [--against NAME=PATH]... [--json FILE]

DESCRIPTION
    For every row of work (a file, a number of connections ...) all servers
    are started on 127.0.0.1, their answer is compared with the expected one,
    and wrk loads them in turns, one round after the other, so that a change
    in the machine's mood meets them all.  What counts is the median.

    Servers are pinned to one core and wrk to another.  All serve the same
    temporary folder and write an access log into it; it is removed at the
    end, and every process started here is ended, also after Ctrl-C.

    Standard output is a Markdown table; progress goes to standard error.

    req/s   requests a second, as wrk counts them
    µs      CPU time a request, user and system, of all the server's
            processes; it depends less on other users of the machine
    over X  both figures of httpd.py relative to X; above 1 httpd.py is
            ahead, twice the speed and half the CPU time are both 2

    A server's figures are void for a row, and the report says why, if its
    first answer was wrong, if wrk met a socket error, a time-out or a status
    it should not have met, or if no access log was written.  Remarks below
    the table name req/s that wrk or a busy machine has limited.

    To add a row of work see WORK, to add a server see SERVERS.

EXIT STATUS
    0  measured    1  some figures are void    2  could not begin
    130  interrupted

REQUIREMENTS
    Linux, Python 3.8, wrk.  Servers that are not installed are left out.

SECTIONS
    Limits, Work, Servers, Processes, Load, Rounds, Report, Command line
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# ---- Limits -----------------------------------------------------------------

WARM_UP = 1     # seconds of load before the first round: caches, lazy imports
START = 10      # seconds a server may take until it accepts a connection
STOP = 5        # seconds a server may take to end before it is killed
ANSWER = 10     # seconds for the one answer that is looked at
OVERRUN = 30    # seconds wrk may take beyond the time it was asked for
POLL = 0.01     # seconds between two looks at a server that is starting

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

TICKS = os.sysconf('SC_CLK_TCK')    # units a second of times in /proc/PID/stat
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HTTPD = os.path.join(TOP, 'httpd.py')


class Void(Exception):
    """What one server did for one row does not count; the text says why."""


# ---- Work -------------------------------------------------------------------

def numbered(size):
    """Return *size* bytes of numbered lines: a wrong part of them shows.

    >>> numbered(20)
    b'0000000\\n0000001\\n0000'
    """
    return b''.join(b'%07d\n' % n for n in range(size // 8 + 1))[:size]


# What is served: {path below the document root: content}.
FILES = {
    '1k.txt': numbered(1024),
}


class Row(NamedTuple):
    """One kind of work: what is asked, over how many connections, and the
    answer that is expected."""
    name: str                           # for --work
    description: str                    # for the table
    path: str                           # request target
    connections: int
    fields: tuple[tuple[str, str], ...] = ()    # beside Host
    status: int = 200
    content: bytes | None = None        # None: any will do
    script: str = ''                    # Lua for wrk: init(), request() ...


WORK = [
    Row('1k-64', '1 KiB file, 64 connections', '/1k.txt', 64,
        content=FILES['1k.txt']),
    Row('1k-1', '1 KiB file, 1 connection', '/1k.txt', 1,
        content=FILES['1k.txt']),
]


# ---- Servers ----------------------------------------------------------------

class Place(NamedTuple):
    """Where one server runs."""
    root: str       # folder to serve
    folder: str     # the server's own, for its configuration and its log
    port: int

    @property
    def log(self):
        return os.path.join(self.folder, 'access.log')

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

    @property
    def program(self):
        return self.version[0]


def httpd_command(python, path, place):
    """Return the command line for an httpd.py at *path*."""
    return [python, path, '--bind', '127.0.0.1', '-d', place.root,
            '--log-file', place.log, str(place.port)]


def httpd(name, python, path):
    """Return the Server for an httpd.py at *path*, run by *python*."""
    return Server(name, 'python3', (python, path, '--version'),
                  functools.partial(httpd_command, python, path))


# As Debian configures it, but for one worker, unlimited requests on a
# connection, and paths in our folder.  The user is root, as for the other
# servers here; without root's rights nginx ignores the line with a warning.
NGINX = """\
user root;
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{
    worker_connections 768;
}}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log {log};
    gzip on;
    keepalive_requests {many};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


def nginx_command(place):
    """Configure nginx as Debian does."""
    config = place.write('nginx.conf', NGINX.format(
        root=place.root, folder=place.folder, port=place.port, log=place.log,
        many=MANY_REQUESTS))
    # -e: else it tries to open Debian's error log before it reads ours.
    return ['nginx', '-e', 'stderr', '-p', place.folder, '-c', config]


# Its own defaults otherwise; one process, no other user.
LIGHTTPD = """\
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{root}"
server.modules = ("mod_accesslog")
accesslog.filename = "{log}"
server.max-keep-alive-requests = {many}
mimetype.assign = (
    ".html" => "text/html",
    ".txt" => "text/plain",
    "" => "application/octet-stream",
)
"""


def lighttpd_command(place):
    """Configure lighttpd; it logs errors to standard error."""
    config = place.write('lighttpd.conf', LIGHTTPD.format(
        root=place.root, port=place.port, log=place.log,
        many=MANY_REQUESTS_LIGHTTPD))
    return ['lighttpd', '-D', '-f', config]


# What httpd.py is compared with.
SERVERS = [
    Server('nginx', 'nginx', ('nginx', '-v'), nginx_command),
    Server('lighttpd', 'lighttpd', ('lighttpd', '-v'), lighttpd_command),
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
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=ANSWER)
    try:
        connection.request('GET', row.path, headers=dict(row.fields))
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise Void(f'no proper answer: {exc!r}') from exc
    finally:
        connection.close()
    if response.status != row.status:
        raise Void(f'status {response.status}, not {row.status}')
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
    argv += [f'http://127.0.0.1:{port}{row.path}']
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
    if load['bytes'] < load['requests'] * len(row.content or b''):
        raise Void('answers shorter than expected')


def check_log(path):
    """Raise Void unless an access log was written; empty it.

    Emptied after each run, or a long one fills the disk.
    """
    if not os.path.exists(path) or not os.path.getsize(path):
        raise Void('wrote no access log')
    os.truncate(path, 0)


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
    generator = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = cpu_seconds(process.pid)
    load = run_wrk(row, place.port, seconds, core, bench.folder)
    cpu = cpu_seconds(process.pid) - before
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.poll() is not None:
        raise Void(f'ended under load with status {process.returncode}')
    check_load(row, load)
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
            with results[server.name].excused():
                place = new_place(bench)
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


def new_place(bench):
    """Return the Place for a server about to be started."""
    return Place(os.path.join(bench.folder, 'root'),
                 tempfile.mkdtemp(dir=bench.folder), free_port())


def write_files(root):
    """Write FILES below *root*."""
    for name, content in FILES.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(content)


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
    speed, cpu = result.median('req_per_s'), result.median('cpu_us')
    return f'{speed:,.0f} req/s, {cpu:.1f} µs'


def show_ratios(ours, theirs):
    """Return how far *ours* is ahead of *theirs*, in speed and CPU time."""
    if ours.void or theirs.void:
        return 'void'
    speed = ours.median('req_per_s') / theirs.median('req_per_s')
    # On a very short run a server's CPU time can be less than one tick.
    cpu = ours.median('cpu_us') and (
        theirs.median('cpu_us') / ours.median('cpu_us'))
    return f'{speed:.2f} req/s, {cpu:.2f} CPU'


def table(rows, servers, results):
    """Return the Markdown table; *servers* begins with httpd.py."""
    ours, others = servers[0].name, [server.name for server in servers[1:]]
    cells = [['work', ours, *others, *('over ' + name for name in others)]]
    for row in rows:
        result = results[row.name]
        cells.append([
            f'`{row.name}` {row.description}',
            *(show(result[server.name]) for server in servers),
            *(show_ratios(result[ours], result[name]) for name in others)])
    widths = [max(map(len, column)) for column in zip(*cells)]
    cells.insert(1, ['-' * width for width in widths])
    return '\n'.join(
        '| ' + ' | '.join(map(str.ljust, line, widths)) + ' |'
        for line in cells)


def remarks(rows, results):
    """Yield what a reader of the table must know."""
    for row in rows:
        counted = {}
        for name, result in results[row.name].items():
            for reason in result.void:
                yield f'{row.name}, {name}: void: {reason}'
            if not result.void:
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
        'commit': output_of('git', '-C', TOP, 'rev-parse', '--short', 'HEAD'),
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


def some_servers(text):
    """Convert NAME,NAME... to those of SERVERS; '' is none of them."""
    names = [name for name in text.split(',') if name]
    known = {server.name: server for server in SERVERS}
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(
                f'{name} is not one of {", ".join(known)}')
    return [known[name] for name in names]


def parse_args(argv):
    """Return the options."""
    parser = argparse.ArgumentParser(
        description='Measure httpd.py side by side with other web servers.')
    add = parser.add_argument
    add('--work', action='append', metavar='NAME',
        choices=[row.name for row in WORK],
        help='a row to measure; repeatable; default: all, which are '
        + ', '.join(row.name for row in WORK))
    add('--servers', type=some_servers, default=SERVERS, metavar='NAMES',
        help='other servers, with commas between; default: '
        + ','.join(server.name for server in SERVERS))
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
    rows = [row for row in WORK if not args.work or row.name in args.work]
    where = environment(args.python, servers)
    with tempfile.TemporaryDirectory(prefix='bench-') as folder:
        os.chmod(folder, 0o755)         # a server may run as another user
        bench = Bench(folder, args.rounds, args.seconds)
        write_files(os.path.join(folder, 'root'))
        results = {row.name: bench_row(bench, row, servers) for row in rows}
    print(header(where, bench), table(rows, servers, results), sep='\n\n')
    for number, remark in enumerate(remarks(rows, results)):
        print('' if number else '\n', '- ', remark, sep='')
    if args.json:
        write_json(args.json, where, bench, results)
    return int(any(result.void for by_server in results.values()
                   for result in by_server.values()))


def main(argv=None):
    """Do what the module's docstring says; return the exit status."""
    args = parse_args(argv)
    # Debian keeps servers where only root's PATH looks.
    os.environ['PATH'] = os.environ.get('PATH', os.defpath) + ':/usr/sbin'
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
