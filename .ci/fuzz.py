"""Fuzz httpd.py and httpget.py, guided by what each input reaches.

    python3 -m venv .venv && .venv/bin/pip install atheris pytest
    .venv/bin/python .ci/fuzz.py TARGET SECONDS [FILE...]

TARGET is request, values, settings, response, listing or url.  It is run by
hand, for it takes hours.  Its seeds and words are the tables of test_httpd.py;
what it reaches, and "crash-..." for what fails, are kept in the folder
httpd-fuzz-TARGET among the temporary files.  Such a FILE is run alone.  What
is found becomes a row of the tests' tables.
"""

import contextlib
import gzip
import os
import re
import shutil
import sys
import tempfile

import atheris

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
with atheris.instrument_imports(include=["httpd", "httpget"]):
    import httpd
    import httpget
import test_httpd as tests

# What is never to be seen: no request can hold it, so no page can quote it.
SECRET = b"\0SECRET\xff"
CONTENT = {
    b"/plain.txt": b"0123456789" * 30, b"/empty": b"",
    b"/large.bin": bytes(range(256)) * 300,
    b"/folder/index.html": b"<p>x</p>\n", b"/folder/list/a.js": b"1"}
URL = httpget.parse_url("http://example.org/folder/")


# ---- What a server answers --------------------------------------------------


class Offline(httpd.Server):
    """A server whose connections are scripts; its clock stands still."""

    def schedule(self, connection, state):
        """Keep count of states, but watch nothing."""
        self.connections[connection.state].pop(connection, None)
        self.connections[state][connection] = None

    def answer_to(self, data, connection):
        """Check the request, too."""
        answer = super().answer_to(data, connection)
        check_request(answer[httpd.REQUEST])
        return answer


class Log:
    """In place of an AccessLog: tells what the check of answers needs."""

    def rest(self, date, request, status, size):
        """Return the line, but for the client's address."""
        return " %s %s %d %d" % (request.method, request.path, status, size)

    def line(self, peer, date, request, status, size, seconds, aborted):
        """Return the line; of what got no answer, one of one word."""
        return peer[0] + ("" if aborted else self.rest(date, request, status,
                                                       size))


class Script:
    """A socket that gives *data* in pieces of *size*, and takes all."""

    def __init__(self, data, size):
        self.pieces = [data[start:start + size]
                       for start in range(0, len(data), size)][::-1]
        self.sent = b""
        self.answered = []

    def recv(self, size, flags=0):
        """Return the next piece."""
        return self.pieces.pop() if self.pieces else b""

    def send(self, data, flags=0):
        """Take *data*."""
        self.sent += data
        return len(data)

    def shutdown(self, how):
        """Take no notice."""

    def close(self):
        """Take no notice."""


def check_request(request):
    """Check what a request rests on."""
    assert tests.is_plain(request.log_line + request.log_agents)
    assert request.connection in ("", "keep-alive", "close")
    assert not request.has_body or request.connection == "close"
    assert not re.search("[\0-\x08\x0b-\x1f\x7f]", request.key)
    if request.method in ("GET", "HEAD"):
        assert request.path.startswith("/")
        for windows in (False, True):
            found = tests.outcome(httpd.path_segments, request.path, windows)
            check_segments(found, windows)


def check_segments(found, windows):
    """Check what path_segments() gave, or the status of its refusal."""
    if isinstance(found, int):
        assert found in (400, 404)
        return
    for name in found[0]:
        assert name not in (b"", b".", b".."), name
        assert not set(name) & set(b"\\:/\0" if windows else b"/\0"), name
    location = httpd.absolute_path(found[0], True)
    assert re.fullmatch("/([!-.0-~]+/)*", location), location


def converse(server, data, size):
    """Return the Script after all of *data* was answered."""
    sock = Script(data, size)
    connection = httpd.Connection(server, sock, ("127.0.0.1", 1))
    connection.begin()
    while connection.state != httpd.CLOSED:
        server.turn += 1
        server.site.new_turn()
        for key in server.jobs.run(server._is_waited_for):
            server.answerable += server._take_waiting(key)
        waiting, server.answerable = server.answerable, []
        for _ in waiting:
            connection.answer()
        if not waiting and connection.state != httpd.PREPARING:
            httpd.STEP[connection.state](connection)
    server.connections[httpd.CLOSED].clear()
    sock.answered = [line.split(" ")[1:] for line in server.log_lines
                     if " " in line]
    server.log_lines.clear()
    return sock


def check_answers(sock):
    """Check that all that was sent are answers, whole and true; return them.

    Not what is said of a faulty request, after which the connection closes:
    which of its faults is found first depends on what has come.
    """
    data, found = sock.sent, []
    for method, path, status, size in sock.answered:
        length = httpget.head_length(data, 0)
        head = httpget.parse_head(data[:length])
        assert head.status == int(status) and head.status in httpd.REASONS
        decoder = httpget.make_decoder(
            httpget.body_length(method, head.status, head.fields))
        body = data[length:]
        content = bytes(decoder.decode(memoryview(body)))
        assert decoder.close()
        if method == "GET":
            check_content(path.encode("latin-1"), head, content)
        else:
            assert head.status >= 400 or method == "HEAD" and not content
        found.append((data[:length], content) if head.status < 400
                     else head.persistent and head.status)
        data = body[body.index(b"\r\n0\r\n\r\n") + 7 if decoder.length is None
                    else len(content):]
        assert int(size) == len(body) - len(data)
        assert not data or head.persistent
    assert not data
    return found


def check_content(path, head, content):
    """Check the *content* that was got from *path* against the files."""
    whole = CONTENT.get(path)
    fields = head.fields
    if whole is None:
        return
    if fields.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
    if head.status == 200:
        assert content == whole
    elif head.status == 206 and "content-range" in fields:
        first, last, length = httpget.parse_content_range(fields)
        assert length == len(whole) and content == whole[first:last + 1]
    elif head.status == 206:
        parts = content.split(b"--" + httpd.BOUNDARY.encode())[1:-1]
        for part in parts:
            part_head, _, part_content = part.partition(b"\r\n\r\n")
            first, last = re.search(rb"bytes ([0-9]+)-([0-9]+)/%d"
                                    % len(whole), part_head).groups()
            assert part_content[:-2] == whole[int(first):int(last) + 1]


def make_server():
    """Return a server of a few files; libFuzzer lets nobody remove them."""
    folder = folder_for("site")
    shutil.rmtree(folder)
    site = os.fsencode(os.path.join(folder, "site"))
    os.makedirs(site + b"/folder/list")
    hidden = {b"/.hidden": SECRET, b"/../secret": SECRET}
    for name, content in [*CONTENT.items(), *hidden.items()]:
        with open(site + name, "wb") as file:
            file.write(content)
        os.utime(site + name, (tests.MODIFIED, tests.MODIFIED))
    os.symlink("../../secret", site + b"/folder/out")
    tests.wait_until_settled(os.fsdecode(site + b"/folder"))
    httpd.send_file = lambda sock, fd, offset, count: sock.send(
        httpd.read_file(fd, offset, min(count, httpd.SMALL)))
    httpd.DIGEST_SLICE = 1000   # so that there are jobs
    httpd.SENDING_SECONDS = 1e9     # its turn never ends
    return Offline(os.fsdecode(site), port=0, head=True, access_log=Log())


def target_request():
    """Whole or byte by byte, requests get the same true answers."""
    server = make_server()

    def check(data):
        whole = converse(server, data, len(data) or 1)
        assert SECRET not in whole.sent
        answers = check_answers(whole)
        assert check_answers(converse(server, data, 1)) == answers

    seeds = [head for head, _, _ in tests.REQUESTS if len(head) < 2000]
    seeds += [tests.request_for(name, name_of_field + ": " + value)
              for name in CONTENT for name_of_field in tests.GOOD_VALUES
              for value in tests.GOOD_VALUES[name_of_field]]
    seeds += [tests.request_for(target) for target in tests.TARGETS]
    seeds.append(tests.request_for("/folder/list/?sort=size&order=desc",
                                   "Accept: application/json"))
    return check, seeds, tests.PIECES + tests.TARGET_PIECES


# ---- What chooses an answer -------------------------------------------------


def target_values():
    """The values of fields, one a line, lead to one of the outcomes."""
    def check(data):
        lines = data.split(b"\n")
        try:
            fields = httpd.parse_fields(lines)
        except httpd.HTTPError:
            fields = None
        try:
            assert httpget.parse_fields(lines) == fields
        except httpget.ResponseError:
            assert fields is None
        if fields is not None:
            check_values(fields)

    seeds = ["%s: %s" % (name, value) for name in tests.GOOD_VALUES
             for value in tests.GOOD_VALUES[name]]
    return check, seeds, [piece for piece in tests.VALUE_PIECES
                          if max(piece, default=" ") < "\u0100"]


def check_values(fields):
    """Check what the functions on values make of *fields*."""
    for etag, modified in ((None, None), (tests.ETAG, tests.MODIFIED)):
        assert httpd.evaluate_preconditions(fields, etag, modified,
                                            tests.NOW) in (0, 304, 412)
        httpd.range_applies(fields, etag, modified, tests.NOW)
    codings = httpd.acceptable_codings(fields)
    assert len(set(codings)) == len(codings)
    assert set(codings) <= {*httpd.CODINGS, "identity"}
    httpd.wants_digest(fields)
    weights = httpd.parse_weights(fields.get("accept", ""))
    assert set(weights.values()) <= set(range(1001))
    for length in (0, 1, 10, 2**40):
        ranges = tests.outcome(httpd.select_ranges, fields.get("range", ""),
                               length)
        if isinstance(ranges, list):
            ordered = sorted(ranges)
            assert 0 <= ordered[0][0] and ordered[-1][1] < length
            assert all(first <= last for first, last in ranges)
            assert all(a[1] + 1 < b[0] for a, b in zip(ordered, ordered[1:]))
        else:
            assert ranges in (None, 416)
    for value in fields.values():
        seconds = httpd.parse_http_date(value, tests.NOW)
        # Two digits of a year may mean another century to each.
        if seconds is not None and "-" not in value and (
                0 <= seconds <= httpget.TIME_MAX):
            assert httpget.http_time(value) == seconds


def target_settings():
    """Users, credentials and proxies are taken or refused in order."""
    trusted = httpd.TrustedProxies(["10.0.0.0/8", "::1"])
    hashed = tests.GOOD_HASH

    def check(data):
        text = data.decode("latin-1")
        try:
            for user, password in httpd.parse_users(data).items():
                assert user and not httpd.CONTROL.search(user)
                assert password.n * password.r * password.p <= 2**19
        except ValueError as exc:
            assert re.match("line [0-9]+: ", str(exc))
        found = tests.outcome(httpd.parse_credentials, text)
        assert found in (None, 400) or not httpd.CONTROL.search(
            b"".join(found))
        address, port = trusted.client(("10.1.2.3", 5), text)
        assert re.fullmatch("[0-9a-f.:]+", address), address
        assert port is None or 0 <= port <= 65535
        for size in (512, 4096):
            line = '10.1.2.3 - - [x] "%s" 200 5\n' % httpd.escape(text)
            assert len(httpd.shortened(line, size)) <= size
        with contextlib.suppress(ValueError):
            httpd.TrustedProxies([text])

    return check, [
        "me:%s\n# x\nyou: %s\n" % (hashed, hashed), "Basic bWU6OmE=",
        "192.0.2.1:65535,[::1]:8\t, 10.9.9.9 ", "::ffff:192.0.2.1", "10.0.0.0/8",
    ], ["Basic ", "scrypt$", b"\xef\xbb\xbf", "::ffff:", "10.", ":65536", "%"]


# ---- What a client gets -----------------------------------------------------


def target_response():
    """Whole or byte by byte, a response says the same, or is refused."""
    def check(data):
        whole = read_response(data, len(data) or 1)
        assert read_response(data, 1) == whole
        if whole[0] == "head":
            check_plan(*whole[1:])

    seeds = tests.RESPONSES + [row[0] for row in tests.HOSTILE_RESPONSES
                               if isinstance(row[0], bytes)]
    return check, [seed for seed in seeds if len(seed) < 2000], tests.SPOILED


def read_response(data, size):
    """Return ("head", status, fields, length, content, whether whole)."""
    received, length, content = b"", 0, []
    pieces = iter([data[start:start + size]
                   for start in range(0, len(data), size)])
    try:
        for piece in pieces:
            searched = len(received)
            received += piece
            length = httpget.head_length(received, searched)
            if length:
                break
        if not length:
            return ("no end",)
        head = httpget.parse_head(received[:length])
        expected = httpget.body_length("GET", head.status, head.fields)
        decoder = httpget.make_decoder(expected)
        coding = httpget.GzipDecoder()
        is_coded = head.fields.get("content-encoding") == "gzip"
        for piece in [received[length:], *pieces]:
            if decoder.done:
                break
            block = bytes(decoder.decode(memoryview(piece)))
            if is_coded:
                coding.feed(block)
            content += iter(coding.more, b"") if is_coded else [block]
        coding.end()
    except httpget.ResponseError as exc:
        assert httpget.printable(str(exc)) == str(exc)
        return ("refused",)
    return ("head", head.status, head.fields, expected, b"".join(content),
            decoder.close())


def check_plan(status, fields, expected, content, whole):
    """Check what is done with the head of a response."""
    assert not whole or expected < 0 or "content-encoding" in fields or (
        len(content) == expected)
    for have in ((0, 0, "", None), (5, 5, tests.ETAG, 10),
                 (7, 5, tests.DATE, None)):
        try:
            what, skip, left = httpget.plan(
                status, fields, None if expected < 0 else expected,
                "content-encoding" in fields, httpget.Have(*have))
        except httpget.ResponseError as exc:
            assert httpget.printable(str(exc)) == str(exc)
        else:
            assert what in range(3) and skip >= 0
            assert left is None or left >= 0
            assert what != httpget.RESTART or status != 206
    digest = httpget.parse_digest(fields.get("repr-digest", ""))
    assert digest is None or len(digest) == 32
    if "location" in fields:
        try:
            check_url(httpget.redirected(URL, fields["location"]))
        except httpget.StatusError as exc:
            assert httpget.printable(str(exc)) == str(exc)


def target_listing():
    """An entry is one name of the folder, or none that is taken."""
    def check(data):
        text = data.decode("utf-8", "surrogateescape")
        for parse in (httpget.parse_json_listing,
                      lambda text: httpget.parse_html_listing(text, URL)):
            try:
                for entry in parse(text):
                    check_name(entry)
            except httpget.ResponseError:
                pass

    seeds = [*tests.LISTINGS, '[{"name": "\\ud83d\\ude00"}]']
    return check, seeds, [*tests.SPOILED, "\\ud800"]


def check_name(entry):
    """Check the file and the URL that *entry* leads to."""
    assert entry.size is None or isinstance(entry.size, int)
    if not httpget.is_name(entry.name):
        return
    for windows in (False, True):
        name = httpget.local_name(entry.name, windows)
        assert name and name[0] != "." and "/" not in name
        assert all(char.isprintable() or "\udc80" <= char <= "\udcff"
                   for char in name)
        assert not windows or not set(name) & set('\\:<>"|?*')
        os.fsencode(name)
    encoded = httpget.percent_encode(entry.name, httpget.NAME_BYTES)
    assert httpget.decoded(encoded) == entry.name
    check_url(httpget.joined(URL, "./" + encoded))


def target_url():
    """A URL that is taken reads as itself; names are safe."""
    def check(data):
        text = data.decode("utf-8", "surrogateescape")
        for parse in (httpget.parse_url,
                      lambda text: httpget.joined(URL, text)):
            try:
                check_url(parse(text))
            except ValueError as exc:
                assert httpget.printable(str(exc)) == str(exc)
        for parse in (httpget.request_target, httpget.parse_field,
                      httpget.parse_range):
            try:
                result = parse(text)
            except ValueError:
                continue
            assert not re.search("[\0-\x08\x0a-\x1f\x7f]", "".join(result))
        name = httpget.safe_name(text)
        assert not set(name) & set("/\\\0\n\x1b") and name[:1] != "."
        assert httpget.safe_name(name) == name
        assert httpget.printable(httpget.safe_text(text)).isprintable()

    seeds = ["http://[fe80::1%25eth0]:8080/a%20b?c#d", "https://b\xfccher.de/",
             "../x", "A: b", "0-99", "-5", "http://a:80", "//host/x", "con.txt"]
    return check, seeds, tests.TARGET_PIECES + tests.HOSTILE_NAMES


def check_url(url):
    """Check that *url* reads as itself, and makes one request line."""
    if "%" not in url.host:     # a zone is this machine's own affair
        assert str(httpget.parse_url(str(url))) == str(url)
    lines = httpget.render_request("GET", url, [], []).split(b"\r\n")
    assert re.fullmatch(rb"GET /[!-~]* HTTP/1\.1", lines[0]), lines


# ---- Running it -------------------------------------------------------------


def folder_for(name):
    """Return the folder that is used for this in every run."""
    folder = os.path.join(tempfile.gettempdir(), "httpd-fuzz-" + name)
    os.makedirs(folder, exist_ok=True)
    return folder


def encoded(piece):
    """Return *piece*, text or bytes, as bytes."""
    if isinstance(piece, bytes):
        return piece
    return piece.encode("utf-8", "surrogateescape")


def main():
    """Run one target; libFuzzer ends the process."""
    targets = {name[7:]: value for name, value in globals().items()
               if name.startswith("target_")}
    if len(sys.argv) < 3 or sys.argv[1] not in targets:
        sys.exit("%s\ntargets: %s" % (__doc__, ", ".join(targets)))
    check, seeds, pieces = targets[sys.argv[1]]()
    folder = folder_for(sys.argv[1])
    for number, seed in enumerate(seeds):
        with open(os.path.join(folder, "seed-%d" % number), "wb") as file:
            file.write(encoded(seed))
    words = os.path.join(folder, "words.dict")
    with open(words, "w") as file:
        file.writelines('"%s"\n' % "".join("\\x%02x" % byte for byte in piece)
                        for piece in map(encoded, pieces) if piece)
    options = ["-max_total_time=" + sys.argv[2], "-dict=" + words,
               "-artifact_prefix=%s/" % folder, "-max_len=4096",
               "-timeout=10"]
    files = sys.argv[3:] or [folder]
    atheris.Setup(sys.argv[:1] + options + files, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
