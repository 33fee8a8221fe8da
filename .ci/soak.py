"""Let httpd.py work for a while, and see that nothing grows or gets lost.

    python3 .ci/soak.py [--seconds N]       600 by default

Three servers, one of one process, one of two workers of which one is killed
now and then, and one with TLS, get mixed work: small and large files,
pipelined requests, listings, what is not there, half heads, answers that are
cut off, half handshakes; and SIGHUP after the log was renamed and the
certificate replaced.  In the end there must be no more descriptors than after
the first tenth of the time, little more memory, a log line for every answer
and no traceback.  Exit status 1 where that is not so.  Linux only: it reads
/proc; TLS is left out where there is no `openssl`.
"""

import argparse
import glob
import os
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
HTTPD = os.path.join(HERE, "..", "httpd.py")
PATIENCE = 20           # seconds for one answer
GROWTH_MAX = 8192       # KiB of memory, after the first tenth of the time
LARGE = 4 << 20         # bytes of the large file
LISTED = 300            # files in the folder that is listed


def request(target, *lines):
    """Return the bytes of a GET."""
    return "\r\n".join(["GET %s HTTP/1.1" % target, "Host: soak", *lines,
                        "", ""]).encode()


class Client:
    """A connection, by TLS with a *context*, and how many answers came by it.
    """

    def __init__(self, port, context=None):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if context:
            self.sock = context.wrap_socket(self.sock)
        self.received = b""
        self.answers = 0

    def answer(self):
        """Read one answer; return its status."""
        while b"\r\n\r\n" not in self.received:
            self.more()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: ([0-9]+)", head)
        while length and len(self.received) < int(length.group(1)):
            self.more()
        if length:
            self.received = self.received[int(length.group(1)):]
        self.answers += 1
        return int(head.split()[1])

    def more(self):
        """Receive something."""
        data = self.sock.recv(1 << 18)
        if not data:
            raise ConnectionError("closed early")
        self.received += data

    def ask(self, status, *words):
        """Ask, and check the status."""
        self.sock.sendall(request(*words))
        found = self.answer()
        assert found == status, (words, found)


def small(client, chance):
    """Ask for small files, some of them not there, one by one."""
    for _ in range(20):
        number = chance.randrange(2 * LISTED)
        client.ask(200 if number < LISTED else 404, "/list/%d.txt" % number)
    client.ask(206, "/large", "Range: bytes=%d-" % (LARGE - 1000))
    client.ask(404, "/%d" % chance.getrandbits(64))


def pipelined(client, chance):
    """Ask for many at once."""
    client.sock.sendall(request("/small") * 30 + request("/large")
                        + request("/list/"))
    for _ in range(32):
        assert client.answer() == 200


def large(client, chance):
    """Ask for a large file and a listing."""
    client.ask(200, "/large")
    client.ask(200, "/list/?sort=size")


def aborted(client, chance):
    """Leave in the middle of an answer, by FIN or by RST."""
    client.sock.sendall(request("/large"))
    client.sock.recv(1000)
    client.answers += 1
    if chance.randrange(2):
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               b"\1\0\0\0\0\0\0\0")


def refused(client, chance):
    """Send what is no request."""
    client.sock.sendall(chance.choice(
        [b"\x16\x03\x01\x02", b"GET / HTTP/1.1\n\n", request("/", "A : b")]))
    assert client.answer() == 400


def half(client, chance):
    """Leave in the middle of a head, which the log shows."""
    client.sock.sendall(request("/small")[:-chance.randrange(1, 30)])
    client.sock.shutdown(socket.SHUT_WR)
    while client.sock.recv(1000):
        pass    # unread input would make the end a reset
    client.answers += 1


KINDS = [small, small, pipelined, large, aborted, refused, half]


class Subject:
    """A server under work."""

    def __init__(self, folder, name, *options):
        self.name = name
        self.tls = None
        if "--tls-cert" in options:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE
        self.folder = folder
        self.log = os.path.join(folder, name + ".log")
        self.answers = self.reloads = self.kills = 0
        self.process = subprocess.Popen(
            [sys.executable, HTTPD, "-d", os.path.join(folder, "site"),
             "--log-file", self.log, *options, "0"], stderr=subprocess.PIPE)
        self.said = b""
        while b"Ctrl-C" not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        self.port = int(re.search(rb"https?://127\S*:([0-9]+)/",
                                  self.said).group(1))
        os.set_blocking(self.process.stderr.fileno(), False)

    def workers(self):
        """Return the processes that serve."""
        path = "/proc/%d/task/%d/children" % ((self.process.pid,) * 2)
        with open(path) as file:
            return list(map(int, file.read().split())) or [self.process.pid]

    def figures(self):
        """Return (descriptors, KiB of memory), the most of a process."""
        found = []
        for pid in self.workers():
            with open("/proc/%d/status" % pid) as file:
                memory = re.search(r"VmRSS:\s+([0-9]+)", file.read())
            found.append((len(os.listdir("/proc/%d/fd" % pid)),
                          int(memory.group(1))))
        return max(found)[0], max(memory for _, memory in found)

    def work(self, chance, is_kill):
        """Let one client do one kind of work; perhaps a worker dies by it."""
        try:
            client = Client(self.port, self.tls)
        except (ConnectionError, socket.timeout):
            assert is_kill, self.name
            return
        try:
            chance.choice(KINDS)(client, chance)
        except (ConnectionError, socket.timeout):
            assert is_kill, self.name
        finally:
            client.sock.close()
            self.answers += client.answers
        if self.tls and chance.randrange(10) == 0:
            with socket.create_connection(("127.0.0.1", self.port)) as sock:
                sock.sendall(b"\x16\x03\x01\x02")     # half a handshake
        if chance.randrange(100) == 0:
            self.reload()

    def reload(self):
        """Rename the log, replace the certificate, and say so."""
        self.reloads += 1
        if os.path.exists(self.log):    # else the last time is still to come
            os.rename(self.log, "%s.%d" % (self.log, self.reloads))
        if self.tls:
            use_certificate(self.folder, self.reloads % 2)
        self.process.send_signal(signal.SIGHUP)

    def kill(self, chance):
        """Kill a worker; the log may miss what it was about."""
        os.kill(chance.choice(self.workers()), signal.SIGKILL)
        self.kills += 1

    def rest(self):
        """Wait until nothing is open that is only so for a moment."""
        end = time.monotonic() + PATIENCE
        least = self.figures()[0]
        while time.monotonic() < end:
            time.sleep(0.2)
            now = self.figures()[0]
            if now >= least and time.monotonic() > end - PATIENCE + 2:
                break
            least = min(now, least)
        return self.figures()

    def end(self):
        """Stop it; return what it said and how many lines it has logged."""
        self.process.terminate()
        self.process.wait(40)
        os.set_blocking(self.process.stderr.fileno(), True)
        self.said += self.process.stderr.read()
        count = 0
        for name in glob.glob(glob.escape(self.log) + "*"):
            with open(name, "rb") as file:
                count += sum(1 for _ in file)
        return count


def breaches(subject, before, after, lines):
    """Return what is not as it should be."""
    found = []
    if after[0] > before[0]:
        found.append("descriptors grew from %d to %d" % (before[0], after[0]))
    if after[1] > before[1] + GROWTH_MAX:
        found.append("memory grew from %d to %d KiB" % (before[1], after[1]))
    if lines != subject.answers and not subject.kills:
        found.append("%d log lines for %d answers" % (lines, subject.answers))
    if b"Traceback" in subject.said or b"bug" in subject.said:
        found.append(subject.said.decode())
    if subject.process.returncode:
        found.append("exit status %d" % subject.process.returncode)
    return ["%s: %s" % (subject.name, what) for what in found]


def make_site(folder):
    """Write what is served."""
    site = os.path.join(folder, "site")
    os.makedirs(os.path.join(site, "list"))
    names = ["list/%d.txt" % number for number in range(LISTED)] + ["small"]
    for name in names:
        with open(os.path.join(site, name), "wb") as file:
            file.write(name.encode() * 50)
    with open(os.path.join(site, "large"), "wb") as file:
        file.truncate(LARGE)


def make_certificates(folder):
    """Make two of them, for TLS; return whether that is possible here."""
    if not shutil.which("openssl"):
        return False
    for number in range(2):
        name = os.path.join(folder, "pem%d" % number)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-keyout", name,
             "-out", name + ".crt"], check=True, stderr=subprocess.DEVNULL)
        with open(name, "ab") as file, open(name + ".crt", "rb") as crt:
            file.write(crt.read())
    use_certificate(folder, 0)
    return True


def use_certificate(folder, number):
    """Let the server with TLS find this one when it looks next."""
    name = os.path.join(folder, "pem")
    shutil.copy(name + str(number), name + ".new")
    os.replace(name + ".new", name)


def soak(subjects, seconds):
    """Work for so long; return the figures after a tenth of it."""
    chance = random.Random(1)
    start = time.monotonic()
    before = None
    killed = start
    while time.monotonic() < start + seconds:
        if before is None and time.monotonic() > start + seconds / 10:
            before = [subject.rest() for subject in subjects]
        is_kill = time.monotonic() > killed + max(2, seconds / 30)
        for subject in subjects:
            kills = is_kill and subject.name == "two workers"
            if kills:
                subject.kill(chance)
                killed = time.monotonic()
            subject.work(chance, kills or subject.kills and
                         time.monotonic() < killed + 1)
    return before


def main():
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        make_site(folder)
        subjects = [Subject(folder, "one process"),
                    Subject(folder, "two workers", "--workers", "2")]
        if make_certificates(folder):
            subjects.append(Subject(folder, "TLS", "--tls-cert",
                                    os.path.join(folder, "pem")))
        try:
            before = soak(subjects, seconds)
            after = [subject.rest() for subject in subjects]
            lines = [subject.end() for subject in subjects]
        finally:
            for subject in subjects:
                if subject.process.poll() is None:
                    subject.process.kill()
    found = []
    print("%-12s %9s %9s %8s %6s %12s %16s" % (
        "", "answers", "log lines", "SIGHUPs", "kills", "descriptors",
        "memory, KiB"))
    for subject, first, last, count in zip(subjects, before, after, lines):
        print("%-12s %9d %9d %8d %6d %5d -> %3d %7d -> %5d" % (
            subject.name, subject.answers, count, subject.reloads,
            subject.kills, first[0], last[0], first[1], last[1]))
        found += breaches(subject, first, last, count)
    for what in found:
        print("BREACH: " + what)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
