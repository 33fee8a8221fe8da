"""Let httpd.py work for a while, and see that nothing grows or gets lost.

    python3 .ci/soak.py [--seconds N]       600 by default

A server of one process, one of two workers, of which one is killed now and
then, and one with TLS get mixed work, and SIGHUP after the log was renamed
and the certificate replaced.  In the end there must be no more descriptors
than after a tenth of the time, little more memory, a log line for every
answer and no traceback; else the exit status is 1.  Linux, with openssl.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 20           # seconds for one answer
LIFE = 3                # seconds between two kills of a worker
SETTLE = 3              # seconds until what was cut off is closed
GROWTH_MAX = 8192       # KiB of memory, after the first tenth of the time
LARGE = 4 << 20         # bytes of the large file
LISTED = 300            # files in the folder that is listed


def request(target, field="Accept: */*"):
    """Return the bytes of a GET."""
    return b"GET %s HTTP/1.1\r\nHost: soak\r\n%s\r\n\r\n" % (
        target.encode(), field.encode())


def answer(file):
    """Read one answer from *file*; return its status."""
    head = b"".join(iter(lambda: file.readline().strip() + b"\n", b"\n"))
    length = int((re.findall(b"Content-Length: ([0-9]+)", head) or [1])[0])
    if len(file.read(length)) < length:
        raise ConnectionError("cut off")
    return int(head.split()[1])


def some_work(chance):
    """Return what to send, the statuses that come, and how it is cut off."""
    numbers = [chance.randrange(2 * LISTED) for _ in range(20)]
    return chance.choice([
        (b"".join(request("/list/%d.txt" % n) for n in numbers)
         + request("/large", "Range: bytes=%d-" % (LARGE - 1000))
         + request("/%d" % chance.getrandbits(64)),
         [200 if n < LISTED else 404 for n in numbers] + [206, 404], ""),
        (request("/small") * 30 + request("/large") + request("/list/"),
         [200] * 32, ""),
        (request("/large") + request("/list/?sort=size"), [200] * 2, ""),
        (request("/large"), [], "FIN"), (request("/large"), [], "RST"),
        (request("/small")[:-chance.randrange(1, 30)], [], "half"),
        (chance.choice([b"\x16\x03\x01\x02", b"GET / HTTP/1.1\n\n",
                        request("/", "A : b")]), [400], "")])


class Subject:
    """A server under work."""

    def __init__(self, folder, name, *options):
        self.name, self.folder = name, folder
        self.log = folder + "/%s.log" % name
        self.answers = self.reloads = self.kills = 0
        self.process = subprocess.Popen(
            [sys.executable, HERE + "/../httpd.py", "-d", folder + "/site",
             "--log-file", self.log, *options, "0"], stderr=subprocess.PIPE)
        self.said = b""
        while b"Ctrl-C" not in self.said and self.process.poll() is None:
            self.said += self.process.stderr.readline()
        self.port = int(re.search(rb"//127\S*:([0-9]+)/", self.said).group(1))

    def workers(self):
        """Return the processes that serve."""
        path = "/proc/%d/task/%d/children" % ((self.process.pid,) * 2)
        return pathlib.Path(path).read_text().split() or [self.process.pid]

    def figures(self):
        """Return (descriptors, KiB of memory), the most of a process."""
        found = []
        for pid in self.workers():
            status = pathlib.Path("/proc/%s/status" % pid).read_text()
            found.append((len(os.listdir("/proc/%s/fd" % pid)), int(
                re.search(r"VmRSS:\s+([0-9]+)", status).group(1))))
        return list(map(max, zip(*found)))

    def work(self, chance):
        """Let one client do one kind of work."""
        data, statuses, end = some_work(chance)
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, PATIENCE) as sock:
            if self.name == "TLS":
                sock = ssl._create_unverified_context().wrap_socket(sock)
            with sock, sock.makefile("rb") as file:
                sock.sendall(data)
                for expected in statuses:
                    assert answer(file) == expected, (data, expected)
                    self.answers += 1
                if end == "half":       # the log shows that, too
                    sock.shutdown(socket.SHUT_WR)
                    file.read()     # unread input would make the end a reset
                elif end:
                    file.read1(1000)
                if end == "RST":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                    b"\1\0\0\0\0\0\0\0")
                self.answers += bool(end)
        if self.name == "TLS" and chance.randrange(10) == 0:
            with socket.create_connection(address) as sock:
                sock.sendall(b"\x16\x03\x01\x02")   # half a handshake
        if chance.randrange(20) == 0:
            self.reloads += 1
            with contextlib.suppress(FileNotFoundError):    # the last's, still
                os.rename(self.log, "%s.%d" % (self.log, self.reloads))
            os.replace(shutil.copy("%s/pem%d" % (
                self.folder, self.reloads % 2), self.folder + "/new"),
                self.folder + "/pem")
            self.process.send_signal(signal.SIGHUP)

    def end(self, before, after):
        """Stop it, and print its figures; return whether all is well."""
        self.process.terminate()
        self.said += self.process.communicate(timeout=2 * PATIENCE)[1]
        lines = sum(path.read_bytes().count(b"\n") for path in pathlib.Path(
            self.folder).glob(self.name + ".log*"))
        print("%s: %d answers, %d log lines, %d SIGHUPs, %d kills, %s -> %s "
              "descriptors and KiB of memory, exit status %d\n%s" % (
                  self.name, self.answers, lines, self.reloads, self.kills,
                  before, after, self.process.returncode, self.said.decode()))
        return (after[0] <= before[0] and after[1] <= before[1] + GROWTH_MAX
                and (self.kills or lines == self.answers)
                and not re.search(rb"Traceback|\bbug\b", self.said)
                and self.process.returncode == 0)


def make_files(folder):
    """Write what is served, and two certificates."""
    site = pathlib.Path(folder, "site")
    (site / "list").mkdir(parents=True)
    for name in ["list/%d.txt" % n for n in range(LISTED)] + ["small"]:
        (site / name).write_bytes(name.encode() * 50)
    (site / "large").write_bytes(bytes(LARGE))
    for name in (folder + "/pem0", folder + "/pem1"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-keyout", name, "-out",
             name], check=True, stderr=subprocess.DEVNULL)
    shutil.copy(name, folder + "/pem")


def soak(subjects, seconds, chance):
    """Work for so long; return the figures then."""
    start = killed = time.monotonic()
    while time.monotonic() < start + seconds:
        for subject in subjects:
            now = time.monotonic()
            if subject.name == "two workers" and now > killed + LIFE:
                os.kill(int(chance.choice(subject.workers())), signal.SIGKILL)
                subject.kills, killed = subject.kills + 1, now
            # What a worker was about when it was killed is lost.
            with contextlib.suppress(*[ConnectionError] * bool(
                    subject.kills and now < killed + 1)):
                subject.work(chance)
    time.sleep(SETTLE)
    return [subject.figures() for subject in subjects]


def main():
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    subjects, chance = [], random.Random(1)
    with tempfile.TemporaryDirectory() as folder, (
            contextlib.ExitStack()) as stack:
        make_files(folder)
        for words in (["one process"], ["two workers", "-w", "2"],
                      ["TLS", "--tls-cert", folder + "/pem"]):
            subjects.append(Subject(folder, *words))
            stack.callback(subjects[-1].process.kill)
        before = soak(subjects, seconds / 10, chance)
        after = soak(subjects, seconds * 0.9, chance)
        fine = [subject.end(*figures)
                for subject, *figures in zip(subjects, before, after)]
    print("nothing grew or got lost" if all(fine) else "BREACH: see above")
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
