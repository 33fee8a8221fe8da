"""Take each defence of the programs away, and see that a test fails.

    python3 .ci/mutate.py [WORD ...] [--jobs N]     1 by default, at most 2

Each row of the tables below is a defence: what it defends against, the exact
text in the program, the text in its place that takes the defence away, and
the tests of which one must then fail.  With words, only the rows do that have
one of them in their description or among their tests.  The tests are first
run on the programs as they are, for one that fails anyway proves nothing.
The programs here are not touched: all is done on a copy.

It is run by hand, after a change to a defence or to its test, not by CI: all
rows take about 25 minutes on two cores.  Exit status 1 where a test does not
notice that its defence is gone, where the old text is not there exactly once,
or where the tests fail anyway.
"""

import argparse
import glob
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
FILES = ("httpd.py", "httpget.py", "test_httpd.py", "README.md",
         ".pytest.ini")
SECONDS_MAX = 100       # for the tests of one row; one that hangs has failed
# Exit statuses of pytest.
PASSED, FAILED = 0, 1
CAUGHT = "caught"

# Of thousands of tests, with all that they are parametrised by, a few are to
# be run: -k would choose them only after all were made, for three times as
# long as most of them take.
CONFTEST = """\
import os
WORDS = os.environ["MUTATE_TESTS"].split()
def pytest_pycollect_makeitem(name):
    if name.startswith("test_") and not any(word in name for word in WORDS):
        return []
"""

Row = namedtuple("Row", "what program old new tests")

HTTPD = [
    # Heads.
    ("a request line without end",
     "    if len(line) > REQUEST_LINE_MAX:",
     "    if False:", "parse_request"),
    ("a request line without end, half of it there",
     "    if (len(received) > REQUEST_LINE_MAX + 4",
     "    if (False", "check_partial"),
    ("a head without end",
     "    if len(head) > HEAD_MAX:",
     "    if False:", "parse_request"),
    ("a head without end, half of it there",
     "    if len(received) > HEAD_MAX:",
     "    if False:", "check_partial"),
    ("field lines without end",
     "    if len(lines) - 1 > FIELDS_MAX:",
     "    if False:", "parse_request"),
    ("lines that end with LF alone, in a half head",
     "    if BARE_LF.search(received, max(0, start - 1)):",
     "    if False:", "check_partial"),
    ("controls in fields: LF, CR, NUL",
     "        if NOT_FIELD_CONTENT.search(value):",
     "        if False:", "parse_request values_have_no_controls"),
    ("names of fields that are no tokens: obs-fold, blank before the colon",
     "not TOKEN.fullmatch(name):",
     "not TOKEN.fullmatch(name.strip()):", "parse_request"),
    ("blanks in the request target",
     "([!-~\\x80-\\xff]+) HTTP/([0-9])",
     "([ -~\\x80-\\xff]+) HTTP/([0-9])", "parse_request"),
    ("controls in the request target",
     "([!-~\\x80-\\xff]+) HTTP/([0-9])",
     "([^ ]+) HTTP/([0-9])", "targets_have_no_controls"),
    ("another major version",
     '    if major != b"1":',
     "    if False:", "parse_request"),
    ("what is not HTTP waits for its end",
     "    if not TOKEN.match(received) and not",
     "    if False and not", "check_partial"),
    ("Content-Length with Transfer-Encoding",
     "        if length is not None:\n",
     "        if False:\n", "parse_request"),
    ("transfer codings besides chunked",
     '        if coding.lower() != "chunked":',
     '        if "chunked" not in coding.lower():', "parse_request"),
    ("two values of Content-Length",
     "            or len(set(parse_list(length))) > 1):",
     "            or False):", "parse_request"),
    ("Content-Length that is no plain number",
     '"[0-9]{1,19}(, *[0-9]{1,19})*", length)',
     '"[-+]?[0-9_]{1,19}(, *[0-9]{1,19})*", length)',
     "parse_request lengths_are_ascii"),
    ("a request without Host",
     "        if minor:\n            raise",
     "        if False:\n            raise", "parse_request"),
    ("Host twice, or with a path in it",
     "    elif not HOST.fullmatch(host):",
     "    elif not HOST.match(host):", "parse_request"),
    ("content that is taken for a request",
     '    if has_body or "close" in options:',
     '    if "close" in options:', "content_is_never_taken_for_a_request"),
    ("requests behind a last answer",
     '            if stream or message.connection == "close":',
     "            if stream:", "request_whole_and_followed"),
    ("answers to pipelined requests without end",
     "        while queued < QUEUE_MAX:",
     "        while True:", "answers_are_made_as_they_are_sent"),
    ("HEAD, PUT and the like, unasked",
     "    if method not in allowed:",
     "    if False:", "other_methods"),
    ("dates that are none",
     "    except ValueError:\n        return None\n    return int(date",
     "    except KeyError:\n        return None\n    return int(date",
     "parse_http_date date_parser_never_raises"),

    # Paths and files.
    ("NUL in a path",
     '        if b"\\0" in name:',
     "        if False:", "path_segments"),
    ("%2f in a path",
     '        if b"/" in name or (windows and',
     "        if (windows and", "path_segments not_found"),
    ("%2e%2e in a path",
     '        if name == b"..":',
     '        if part == b"..":', "path_segments paths_outside"),
    ("a path that is decoded twice",
     "            name = unquote_to_bytes(part)",
     "            name = unquote_to_bytes(unquote_to_bytes(part))",
     "path_segments"),
    ("malformed escapes",
     "    if BAD_ESCAPE.search(path):",
     "    if False:", "path_segments"),
    ("Windows: drives, streams and \\",
     r'.*[\\:*?\"<>|~\x00-\x1f].*',
     r'.*[?].*', "windows_names windows_paths"),
    ("Windows: names that lose a trailing dot or blank",
     r'.*|.*[. ]"',
     r'.*"', "windows_names"),
    ("Windows: devices",
     "(con|prn|aux|nul|",
     "(prn|", "windows_names"),
    ("hidden names",
     "    return any(name.startswith(b\".\") for name in rest)",
     "    return False", "is_hidden not_found"),
    ("hidden names behind links",
     "        self._check_hidden(inside)\n",
     "", "not_found"),
    ("hidden names in listings",
     "        if is_hidden([*segments, name]) and not self.dotfiles:",
     "        if False:", "listing_has_no_links_to_what_is_hidden_or_outside"),
    ("hidden names behind links in listings",
     "                if is_hidden(inside) and not self.dotfiles:",
     "                if False:", "listing_has_no_links_to_what_is_hidden_or_outside"),
    ("links out in listings",
     "                if inside is None:\n                    return None\n",
     "                if inside is None:\n                    inside = []\n",
     "listing_has_no_links_to_what_is_hidden_or_outside"),
    ("links that a crawler follows for ever",
     "            if (above is None or signature(status) in above) and (",
     "            if (above is None) and (",
     "listing_leads_to_no_folder_again"),
    ("folders that link to each other",
     "        if links > LINKS_MAX:",
     "        if False:", "path_comes_through_16"),
    ("links that lead out",
     "        if not (real + sep).startswith(root + sep):\n"
     "            return None\n        return [",
     "        return os.path.relpath(real, root).split(sep) or [",
     "links_lead_out_with_dotfiles_neither"),
    ("links into a folder whose name begins as the served one's",
     "        if not (real + sep).startswith(root + sep):\n"
     "            return None\n        return [",
     "        if not real.startswith(root):\n"
     "            return None\n"
     "        return os.path.relpath(real, root).split(sep) or [",
     "links_lead_out_with_dotfiles_neither"),
    ("a link in a file's place between check and open",
     "            flags |= NOFOLLOW\n",
     "            pass\n",
     "file_that_is_swapped_between_check_and_open"),
    ("a folder, or a FIFO, in a file's place between check and open",
     "        if stat.S_IFMT(opened.status.st_mode) != ",
     "        if False and 0 != ",
     "file_that_is_swapped_between_check_and_open"),
    ("a FIFO that is waited for",
     'os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)\n',
     "os.O_RDONLY\n", "file_that_is_swapped_between_check_and_open"),
    ("devices, FIFOs and sockets that are opened",
     "        if not (is_folder or stat.S_ISREG(status.st_mode)):",
     "        if False:", "special_file_is_not_even_opened"),
    ("links that are swapped without end",
     "                    if not resolve:",
     "                    if False:", "link_that_comes_back_is_followed_once"),
    ("another host in a redirect's Location",
     " for name in segments if name)",
     " for name in segments)", "doctests"),
    ("paths of this machine in an error page",
     "        return HTTPError(status, DETAIL_OF_STATUS[status])",
     "        return HTTPError(status, str(exc.filename))",
     "error_page_tells_no_path_of_this_machine"),
    ("an open-file descriptor lost where fstat fails",
     "    except OSError:\n        os.close(fd)\n        raise",
     "    except OSError:\n        raise",
     "failure_of_any_call_is_one_clients_matter"),

    # Ranges, preconditions, versions of a file.
    ("ranges without end",
     "not 0 < len(members) <= RANGES_MAX:",
     "not members:", "select_ranges"),
    ("ranges that overlap",
     "    return coalesce(selected)",
     "    return selected", "select_ranges several_ranges"),
    ("ranges whose answer is larger than the file",
     "            if pieces_length(parts) <= size:",
     "            if True:", "several_ranges_of_a_small_file"),
    ("a suffix range longer than the file",
     "first, last = max(0, length - int(suffix)), length - 1",
     "first, last = length - int(suffix), length - 1", "select_ranges"),
    ("a range that ends behind the file",
     "            selected.append((first, min(last, length - 1)))",
     "            selected.append((first, last))", "select_ranges"),
    ("digits of ranges that are none",
     'BYTE_RANGE = re.compile("([0-9]{1,19})-',
     'BYTE_RANGE = re.compile("([0-9_]{1,19})-', "select_ranges"),
    ("a range of another version (If-Range)",
     "        return validator == etag",
     "        return True", "range_applies test_if_range"),
    ("an ETag for a file that may change unseen",
     "        if steady or data is not None:",
     "        if True:", "young_file_has_no_validator"),
    ("a mixture of two versions of a small file",
     "        if signature(os.fstat(self.fd)) != signature(self.status):",
     "        if False:", "file_that_is_rewritten_while_it_is_read"),
    ("an answer of yesterday",
     "        if not self.site.holds(facts):",
     "        if False:", "kept_answer_follows_every_change"),
    ("a compressed file that is older than the plain one",
     "sidecar.is_folder() or times[0] < times[1] and any(",
     "sidecar.is_folder() or times[0] < 0 and any(", "content_coding"),
    ("an answer in a coding that another asked for",
     '[method, path, query, connection, ",".join(self.codings)]',
     "[method, path, query, connection]", "equal_keys_mean_equal_requests"),
    ("a cache that mixes codings (Vary)",
     '        self.vary.append("Accept-Encoding")\n',
     "", "file_with_its_fields content_coding"),
    ("times that no date can tell",
     "        if steady and tells_change(mtime) and mtime <= HTTP_DATE_MAX:",
     "        if steady:",
     "times_that_no_date_can_tell"),
    ("a file that becomes shorter while it is sent",
     "    if not sent:\n        raise ContentLost\n",
     "", "file_that_shrinks_while_it_is_sent"),

    # Words of a client in our mouth.
    ("a line end in a field of ours",
     "    if any(NOT_FIELD_CONTENT.search(line",
     "    if False and any(NOT_FIELD_CONTENT.search(line",
     "render_head_refuses_line_ends"),
    ("markup in an error page",
     "    words = [html.escape(detail),",
     "    words = [detail,", "error_page_escapes"),
    ("markup in a listing's names",
     '    return html.escape(NOT_SHOWN.sub("\\ufffd", text))',
     '    return NOT_SHOWN.sub("\\ufffd", text)',
     "name_for_people listing_of_hostile_names"),
    ("markup in a listing's links",
     "            percent_encode(entry.name), slash,",
     '            entry.name.decode("latin-1"), slash,',
     "listing_of_hostile_names"),
    ("names that are shown in another direction",
     "\\x9f\\u202a-\\u202e\\u2066-\\u2069]\")",
     "\\x9f]\")", "name_for_people"),
    ("scripts in pages of ours",
     "    \"default-src 'none'; style-src\"",
     "    \"default-src 'self'; style-src\"", "policy_allows_no_script"),
    ("an error page without the policy",
     '              ("Content-Security-Policy", NO_SCRIPTS)]\n'
     "    return Response(error",
     "              ]\n    return Response(error",
     "own_pages_have_the_policy"),
    ("a redirect's page without the policy",
     "            (\"Location\", location), (\"Content-Type\", HTML), FRESH,\n"
     "            (\"Content-Security-Policy\", NO_SCRIPTS)], page)",
     "            (\"Location\", location), (\"Content-Type\", HTML), FRESH],"
     " page)", "own_pages_have_the_policy"),
    ("a listing without the policy",
     '("Content-Type", listing.media), FRESH,\n'
     '                  ("Content-Security-Policy", NO_SCRIPTS)]',
     '("Content-Type", listing.media), FRESH]', "own_pages_have_the_policy"),
    ("a type that a browser guesses",
     '    fields.append(("X-Content-Type-Options", "nosniff"))\n',
     "", "test_render_head"),
    ("controls and quotes in the log's request line",
     "        self.log_line = escape(line)",
     "        self.log_line = line", "ncsa_lines"),
    ("controls and quotes in the log's User-Agent",
     'escape(fields.get("user-agent") or "-"))',
     '(fields.get("user-agent") or "-"))', "ncsa_lines"),
    ("controls and quotes in the log's Referer",
     'escape(fields.get("referer") or "-"),',
     '(fields.get("referer") or "-"),', "ncsa_lines"),
    ("blanks in the log's user",
     'escape(request.user).replace(" ", "\\\\x20") or "-"',
     'request.user or "-"', "log_user"),
    ("\\ and DEL in the log",
     "UNSAFE = re.compile(r'[^ !#-\\[\\]-~]')",
     "UNSAFE = re.compile(r'[^ !#-\\x7f]')", "escape_of_every_character"),
    ("a field that an option may not set",
     "    if name in RESERVED_FIELDS:",
     "    if False:", "header_option_refused"),

    # Slow, half-open and too many clients.
    ("a head that drips in",
     "            if self.state == IDLE:\n                self.enter(REC",
     "            if True:\n                self.enter(REC",
     "drip_is_cut_off_and_hurts_nobody"),
    ("who never asks",
     "request_timeout: float = REQUEST_TIMEOUT,",
     "request_timeout: float = PATIENCE_MAX,", "each_state_has_its_time"),
    ("who never asks, as an option has it",
     "        self.seconds[RECEIVING] = request_timeout\n",
     "", "silent_client_is_closed"),
    ("who never asks again",
     "idle_timeout: float = IDLE_TIMEOUT,",
     "idle_timeout: float = PATIENCE_MAX,", "each_state_has_its_time"),
    ("who never asks again, as an option has it",
     "        self.seconds[IDLE] = idle_timeout\n",
     "", "silent_client_is_closed"),
    ("who takes nothing of an answer",
     "                return  # no progress: its time goes on",
     "                pass", "no_progress_wins_no_time"),
    ("who takes nothing of an answer, for long",
     "    (SENDING, WRITE, SEND_TIMEOUT,",
     "    (SENDING, WRITE, PATIENCE_MAX,", "each_state_has_its_time"),
    ("who takes nothing of TLS's end, for long",
     "    (FINISHING, WRITE, SEND_TIMEOUT,",
     "    (FINISHING, WRITE, PATIENCE_MAX,", "each_state_has_its_time"),
    ("a handshake without end",
     "    (HANDSHAKE, READ, HANDSHAKE_TIMEOUT,",
     "    (HANDSHAKE, READ, PATIENCE_MAX,", "each_state_has_its_time"),
    ("a handshake of which nothing is taken",
     "    (GREETING, WRITE, HANDSHAKE_TIMEOUT,",
     "    (GREETING, WRITE, PATIENCE_MAX,", "each_state_has_its_time"),
    ("an answer that is never ready",
     "    (PREPARING, 0, PREPARE_TIMEOUT,",
     "    (PREPARING, 0, PATIENCE_MAX,", "each_state_has_its_time"),
    ("who does not close",
     "    (LINGERING, READ, LINGER_TIMEOUT,",
     "    (LINGERING, READ, PATIENCE_MAX,", "each_state_has_its_time"),
    ("who sends for ever instead of closing",
     "        elif self.server.now - self.since < LINGER_MAX:",
     "        else:", "who_never_stops_sending_is_cut_off"),
    ("an answer that a reset destroys",
     "            self.finish()\n        else:\n            self.enter(CLOSED)",
     "            self.enter(CLOSED)\n        else:\n"
     "            self.enter(CLOSED)",
     "answer_survives_what_the_client_still_sends"),
    ("all places taken by who is idle",
     "self._least_needed() if is_full else None",
     "None", "at_capacity_the_longest_idle_makes_room"),
    ("all places taken by half heads",
     "(RECEIVING, grace), (HAND",
     "(HAND", "at_capacity_the_slowest_head_makes_room"),
    ("all places taken by handshakes",
     " (HANDSHAKE, grace),\n", "\n",
     "each_state_gives_way_in_time"),
    ("all places taken by who takes nothing",
     "                                (SENDING, grace)):",
     "                                ):",
     "each_state_gives_way_in_time"),
    ("a crowd that does not end",
     "ROOM_GRACE * float(0.5 ** halvings)",
     "ROOM_GRACE * 30",
     "honest_client_in_a_hostile_crowd"),
    ("a client that is sent away before it could ask",
     "            if oldest and oldest.began + patience < self.now:",
     "            if oldest:",
     "clients_at_capacity_may_think_before_they_ask"
     " burst_at_capacity_answers_everyone"),
    ("a busy loop where all places are taken",
     "            self._pause(self._grace() / 8)",
     "            pass", "no_turn_is_spent_on_who_has_to_wait"),
    ("a busy loop where descriptors have run out",
     "                    self._make_room(self._least_needed())\n"
     "                return",
     "                    pass\n                return",
     "running_out_of_descriptors"),
    ("a client's failure that ends the server",
     "        except Exception as exc:\n            self._fail(connection, "
     "exc)\n\n    def _fail",
     "        except NotReady as exc:\n            self._fail(connection, "
     "exc)\n\n    def _fail",
     "failure_of_any_call_is_one_clients_matter"
     " client_that_cannot_be_watched_is_sent_away"),
    ("a bug that ends the server",
     "        except Exception:\n            tell_traceback()\n"
     "            return self.render_error",
     "        except NotReady:\n            tell_traceback()\n"
     "            return self.render_error",
     "bug_in_one_request_is_500_and_the_server_goes_on"),
    ("more connections than descriptors",
     "            is_full = (count >= self.max_connections\n",
     "            is_full = (False\n",
     "at_capacity_the_longest_idle_makes_room"),
    ("descriptors used up by files that are sent",
     "or in_use >= self._descriptors_max)",
     "or False)", "accepts_are_bounded"),
    ("connections in a flood that all are accepted in one turn",
     "most: int = ACCEPTS_PER_TURN)",
     "most: int = 10 * LISTEN_BACKLOG)", "accepts_are_bounded"),
    ("large files that keep others waiting",
     "        if now >= self._sending_until:",
     "        if False:", "many_large_files_take_turns"),
    ("a download that waits for its turn, taken for one of a slow client",
     "            self.enter(SENDING)  # it is not the client who is slow\n",
     "", "downloads_that_wait_for_their_turn"),
    ("a client that has left, and keeps its place while a digest is made",
     "return next(filter(Connection.has_left, self.connections[PREPARING]),\n"
     "                    None)", "return None", "job_ends_with_its_last"),
    ("a digest that nobody waits for any more",
     "                if is_wanted(key):", "                if True:",
     "job_ends_with_its_last"),
    ("a listing that nobody waits for any more",
     "                        and connection.has_left()):",
     "                        and False):", "listing_ends_when_its_client"),
    ("listings in the making, all at once",
     "            if count >= JOBS_MAX or count and",
     "            if count and", "listings_are_bounded"),
    ("clients that read no listing, and keep others from theirs",
     "            if jobs.waits_for_room():", "            if False:",
     "listings_are_bounded"),
    ("a listing made before it was asked for",
     "        if made and began >= self.arrived:", "        if made:",
     "listing_shows_what_was_there"),
    ("who has connected and not sent yet, cut off at a stop",
     "        is_over = self.now >= silent_until", "        is_over = True",
     "who_has_connected_before_the_end_may"),
    ("who has connected and sends nothing, at a stop",
     "        is_over = self.now >= silent_until", "        is_over = False",
     "who_has_connected_before_the_end_may"),
    ("descriptors: one for each client of a large file",
     "        if key not in files:", "        if True:",
     "clients_of_a_large_file_share"),
    ("a large digest that keeps others waiting",
     "        start = stop\n        yield\n",
     "        start = stop\n", "digest_of_a_large_file_delays_nobody"),
    ("a large listing that keeps others waiting",
     "                    and time.perf_counter() > until):",
     "                    and False):",
     "listing_is_read_in_many_turns"),
    ("a descriptor lost where a client leaves",
     "                size = stream.sent\n                stream.close()\n",
     "                size = stream.sent\n",
     "clients_that_leave_in_every_state clients_that_go_away"),
    ("what a client did not get, missing in the log",
     "            self.log(request, message.response.status, size, True)\n",
     "", "log_tells_the_bytes_really_sent"),
    ("half a head, missing in the log",
     "            self.log(unparsed_request(self.buffer), 400, 0, True)\n",
     "            pass\n", "log_of_incomplete_requests"),

    # Memory.
    ("memory: heads",
     "        while self._known_size > KNOWN_MAX:",
     "        while False:", "memory_for_known_heads_is_bounded"),
    ("memory: long heads",
     "        if len(data) > KNOWN_HEAD_MAX:\n            return\n",
     "", "what_is_long_is_not_kept"),
    ("memory: answers",
     "        while self._kept_size > KEPT_MAX:",
     "        while False:", "what_is_kept_is_bounded"),
    ("memory: answers to long requests",
     " or len(request.key) > KNOWN_HEAD_MAX:",
     ":", "what_is_long_is_not_kept"),
    ("memory: compressed files and digests",
     "        while self._made_size > MADE_MAX:",
     "        while False:", "what_is_made_is_bounded"),
    ("descriptors: large files that are kept open",
     "            if len(self._kept_files) == KEPT_FILES:",
     "            if False:", "open_large_files_are_few"),
    ("disk: deleted files that are kept open",
     "            self._forget_kept_files()\n\n    def _wake_by",
     "\n    def _wake_by",
     "large_file_is_closed_in_time large_file_is_opened_once_in_a_second"),
    ("memory: passwords that were right",
     "        while (len(self._let_in) > LET_IN_MAX\n               or ",
     "        while (", "what_is_remembered_of_passwords_is_bounded"),
    ("memory: passwords that were right for long enough",
     "            if len(self._lapsed) > LET_IN_MAX:",
     "            if False:", "what_is_remembered_of_passwords_is_bounded"),
    ("memory: passwords that were wrong",
     "            if len(self._refused) > REFUSED_MAX:",
     "            if False:", "what_is_remembered_of_passwords_is_bounded"),
    ("memory: log lines of a stalled reader",
     "        if len(self.waiting) < LOG_BACKLOG_MAX:",
     "        if True:", "stalled_log_reader_stalls_nobody"),
    ("memory: encrypted bytes for who never reads",
     "        if len(self._waiting) > TLS_BACKLOG_MAX:",
     "        if False:", "tls_backlog_is_bounded"),
    ("memory: values of X-Forwarded-For",
     "        named = self._known if is_short else self._named",
     "        named = self._known", "long_forwarded_is_not_remembered"),

    # The log, and proxies.
    ("a log reader that stalls",
     "                                            or has_room(self._fd, "
     "until)):",
     "                                            or True):",
     "stalled_log_reader_stalls_nobody"),
    ("a link in the log file's place",
     "os.O_APPEND | os.O_CREAT | NOFOLLOW\n",
     "os.O_APPEND | os.O_CREAT\n", "failures_to_start"),
    ("a log that all can read",
     "    return os.open(path, flags, 0o640)",
     "    return os.open(path, flags, 0o666)", "log_to_a_file"),
    ("an address that anybody has written: the leftmost",
     "        for member in reversed(members):",
     "        for member in members:", "client_behind_proxies"),
    ("an address that anybody has written: beyond an untrusted one",
     "            if client[0] not in self:\n                break\n",
     "", "client_behind_proxies"),
    ("an address from who is no trusted proxy",
     "        is_proxy = self.trusted_proxies and peer[0] in",
     "        is_proxy = self.trusted_proxies and peer[0] not in [] or peer in",
     "log_believes_no_other_proxy"),
    ("proxies in a row without end",
     'forwarded.rsplit(",", FORWARDED_MAX)[-FORWARDED_MAX:]',
     'forwarded.split(",")', "client_behind_proxies"),

    # TLS.
    ("TLS 1.1",
     "context.minimum_version = ssl.TLSVersion.TLSv1_2",
     "context.minimum_version = ssl.TLSVersion.TLSv1", "tls_versions"),
    # Not OP_NO_RENEGOTIATION, without which OpenSSL 3 refuses it as well.
    ("TLS: records without data, without end",
     "        if self._barren > TLS_BARREN_MAX:",
     "        if False:", "endless_handshake_is_cut_off"),
    ("TLS: a storm of handshakes",
     "        return count < HANDSHAKES_PER_TURN",
     "        return True", "storm_of_handshakes"),
    ("TLS: plain HTTP at its port",
     "            if first != TLS_HANDSHAKE:",
     "            if False:", "plain_http_on_a_tls_port"),
    ("TLS: an end that could be a cut",
     "            self._tls.unwrap()",
     "            pass", "end_of_an_idle_tls_connection_is_vouched_for"),

    # Passwords.
    ("requests without a password",
     "        if not is_known:",
     "        if False:", "refused_alike_whatever_is_there"),
    ("time that tells which users there are",
     "            else:\n                dummy.is_of(password)\n",
     "", "all_users_cost_the_same"),
    ("time that tells how much of a hash is right",
     "        return hmac.compare_digest(self.make(password), self.hash)",
     "        return self.make(password) == self.hash",
     "hashes_are_compared_in_constant_time"),
    ("hashes that take all the time",
     "        self._rest_until = now + 3 * (now - began)",
     "        self._rest_until = now", "hashes_get_a_quarter_of_the_time"),
    ("one client's passwords that fill the queue",
     "        if len(own) >= CHECKS_OF_ONE_MAX or",
     "        if", "passwords_wait_in_a_fair_order"),
    ("passwords that wait without end",
     " or len(self._waiting) >= CHECKS_MAX:",
     ":", "flood_of_passwords_keeps_nobody_out refused_request"),
    ("users let in before who wait behind a flood",
     "                self._waiting.move_to_end(digest, last=False)",
     "                pass", "passwords_wait_in_a_fair_order"),
    ("each request costs a hash",
     "            self._let_in[digest] = now + LET_IN_SECONDS",
     "            self._let_in[digest] = now",
     "each_credential_costs_one_hash"),
    ("a wrong password that costs a hash each time",
     "        if digest in self._refused:\n            return False\n",
     "", "each_credential_costs_one_hash"),
    ("a password that is right for ever",
     "        if users.expire(self.now):\n            self._forget_heads()\n",
     "", "what_was_right_is_verified_again_in_time"),
    ("a user who was taken away",
     "        self._forget_heads()\n        for job in",
     "        for job in", "users_are_reloaded"),
    ("a file of users whose hashes take for ever, or all memory",
     "not r * p or n * r * p > SCRYPT_COST_MAX:",
     "not r * p:", "bad_line_of_users"),
    ("Authorization twice",
     '    if re.match("(?i)basic ", value) and "," in value:',
     "    if False:", "authorization_twice parse_credentials"),
    ("controls in a user's name",
     "    if not colon or CONTROL.search(user + password):",
     "    if not colon:", "parse_credentials"),
    ("a file of users that became a pipe",
     "                if not stat.S_ISREG(os.stat(path).st_mode):",
     "                if False:", "users_file_that_became_a_pipe"),

    # The machine.
    ("other machines, unasked",
     'LOOPBACK = ("127.0.0.1", "::1")',
     'LOOPBACK = ("0.0.0.0", "::")', "start_message"),
    ("a home folder that is served unawares",
     "        for thing in private_things(server.site.root):",
     "        for thing in ():", "warning_of_what_is_exposed"),
    ("the key in the folder that is served",
     "        if is_inside(path, root):",
     "        if False:", "warning"),
    ("rights of root: its groups",
     "        os.initgroups(name, gid)\n",
     "", "test_user"),
    ("rights of root: its group",
     "        os.setgid(gid)\n",
     "", "test_user"),
    ("rights of root: its user",
     "        os.setuid(uid)  # root's",
     "        os.seteuid(uid)  # root's", "test_user"),
    ("a file in a socket's place",
     "        if not stat.S_ISSOCK(os.lstat(path).st_mode):",
     "        if False:", "failures_to_listen_at_a_path"),
    ("a socket that another listens at",
     '        raise OSError(errno.EADDRINUSE, "it is in use")\n',
     "        os.unlink(path)\n", "stale_socket_is_replaced"),
    ("another's socket that is removed at the end",
     "            if (status.st_dev, status.st_ino) == inode:",
     "            if True:", "bind_to_a_path server_at_a_path"
     " stale_socket_is_replaced"),
    ("a socket that all may connect to",
     "    mask = os.umask(0o777 - SOCKET_MODE)",
     "    mask = os.umask(0)", "bind_to_a_path"),
    ("a client's socket as standard output",
     "            fd = os.open(os.sep, os.O_RDONLY)\n        if fd > 2:",
     "            fd = os.open(os.sep, os.O_RDONLY)\n        if fd >= 0:",
     "closed_standard_descriptors"),
    ("workers that die at once, again and again",
     "            worker.wait = min(max(2 * worker.wait, RESTART_WAIT),",
     "            worker.wait = min(0,", "workers_that_keep_dying"),
    ("a worker that hangs at the end",
     "                worker.kill()",
     "                pass", "worker_that_hangs_is_killed_in_time"),
    ("connections that one worker keeps for itself",
     "            if self._share and not self._share.takes(count, self.now):",
     "            if False:", "worker_with_more_than_its_share"),
    ("workers whose supervisor was killed",
     "        if (orders.strip(RELOAD) or not orders) and (",
     "        if (orders.strip(RELOAD)) and (",
     "workers_end_when_their_supervisor_is_killed"),
    ("an end that is waited for without end",
     "        if self._stops > 1 or self.now >= self._drain_until:",
     "        if self._stops > 1:", "end_does_not_wait_for_ever"),
]

HTTPGET = [
    # Where to, and with what.
    ("controls in a URL or a file's name",
     'char < " " or "\\x7f" <= char <= "\\x9f" for char in text',
     "False for char in text", "get_request_target get_parse_url"),
    ("a password in a URL, which a message shows",
     '    if "@" in authority:',
     "    if False:", "get_secrets_are_not_shown"),
    ("hosts that are none: slashes, ports, numbers alone",
     " or host.isdigit()\n            or not HOST_NAME.fullmatch(host)):",
     "):", "get_parse_host get_parse_url"),
    ("a redirect to another scheme",
     "match.group(1).lower() not in DEFAULT_PORTS:",
     'match.group(1).lower() not in "http https file ftp".split():',
     "get_parse_url get_redirected"),
    ("controls in a redirect's Location",
     '    refuse_controls(reference, "the reference")\n',
     "", "get_redirected get_refused_redirect"),
    ("a redirect from https to http",
     '    if url.scheme == "https" and new.scheme == "http":',
     "    if False:", "get_never_from_tls_to_plain"),
    ("redirects without end",
     "        for _ in range(REDIRECTS_MAX + 1):",
     "        while True:", "get_refused_redirect get_follows_redirects"),
    ("credentials that go to another origin",
     "        if url.origin != self.trusted:",
     "        if False:", "get_credentials_are_for_one_origin"),
    ("cookies that go to another origin",
     'CREDENTIALS = frozenset(["authorization", "cookie",',
     'CREDENTIALS = frozenset(["authorization",',
     "get_credentials_are_for_one_origin"),
    ("credentials that -v shows",
     '                    line = name + b": (not shown)"',
     "                    pass", "get_credentials_are_for_one_origin"),
    ("a line end in a field of the user's",
     '        (value,) = parse_fields([text.encode("latin-1")]).values()',
     '        value = text.partition(": ")[2]',
     "get_parse_field get_from_a_program"),
    ("fields that only the client may set",
     "    if name.lower() in OWN_FIELDS:",
     "    if False:", "get_parse_field"),
    ("a certificate that is not to be trusted",
     "            if self.insecure:",
     "            if True:", "get_over_tls"),
    ("an end of TLS that is a cut",
     "suppress_ragged_eofs=False)\n    connection.sock",
     "suppress_ragged_eofs=True)\n    connection.sock", "get_over_tls"),

    # Heads.
    ("an answer that is no HTTP/1",
     "    if not (start.startswith(HTTP_1) or HTTP_1.startswith(start)):",
     "    if False:", "get_parse_head get_hostile"),
    ("lines of a head that end with LF alone",
     "    if BARE_LF.search(data, searched, stop):",
     "    if False:", "get_parse_head get_hostile"),
    ("a head without end",
     "    if stop > HEAD_MAX:",
     "    if False:", "get_head_limit get_hostile"),
    ("a head that drips in",
     "                deadline = self.due()\n            searched",
     "                pass\n            searched",
     "get_hostile"),
    ("a status line that is none",
     "    match = STATUS_LINE.fullmatch(lines[0])",
     "    match = STATUS_LINE.match(lines[0])", "get_parse_head"),
    ("names of fields that are no tokens: obs-fold, blank before the colon",
     "not TOKEN.fullmatch(name):",
     "not TOKEN.fullmatch(name.strip()):", "get_parse_head get_parse_field"),
    ("controls in fields",
     "        if NOT_FIELD_CONTENT.search(value):",
     "        if False:", "get_parse_head get_parse_field"),
    ("interim responses without end",
     "        for _ in range(INTERIM_MAX + 1):",
     "        while True:", "get_hostile"),
    ("another protocol, unasked",
     "            if head.status == 101:",
     "            if False:", "get_hostile"),
    ("an answer before anything was asked",
     " and not connection.has_input():",
     ":", "get_connection_with_bytes_nobody_asked_for"),
    ("a next answer that came with the last",
     "self.head.persistent and not self.decoder.excess\n"
     "                and not self.connection.pending):",
     "self.head.persistent):",
     "get_connection_with_more_than_the_answer"),

    # Bodies.
    ("Content-Length with Transfer-Encoding",
     "        if length is not None:\n            raise ResponseError",
     "        if False:\n            raise ResponseError", "get_body_length"),
    ("transfer codings besides chunked",
     '        if coding.lower() != "chunked":',
     '        if "chunked" not in coding.lower():', "get_body_length"),
    ("two values of Content-Length",
     "    if values or not re.fullmatch(",
     "    if not re.fullmatch(", "get_body_length"),
    ("Content-Length that is no plain number",
     '"[0-9]{1,%d}" % LENGTH_DIGITS, value):',
     '"[-+]?[0-9_]{1,%d}" % LENGTH_DIGITS, value):', "get_body_length"),
    ("a chunk size that is no plain number",
     'CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,%d})',
     'CHUNK_SIZE = re.compile(rb"((?:0x)?[0-9A-Fa-f_]{1,%d})',
     "get_chunked_decoder"),
    ("a chunk size without end",
     "CHUNK_DIGITS = 16 ",
     "CHUNK_DIGITS = 160 ", "get_chunked_decoder"),
    ("a chunk's line, or trailers, without end",
     "        if len(self.line) + stop - start > room:",
     "        if False:", "get_chunked_decoder get_hostile"),
    ("lines among the chunks that end with LF alone",
     '            if not line.endswith(b"\\r\\n"):',
     "            if False:", "get_chunked_decoder"),
    ("trailers that are no fields",
     "            parse_fields([line])\n",
     "", "get_chunked_decoder"),
    ("a body that ends too early",
     "            if not data and not decoder.close():",
     "            if not data and decoder.close() is None:",
     "get_broken_content"),
    ("gzip that expands beyond measure",
     "        if self._count > max(EXPANSION_FREE, EXPANSION_MAX * self._fed):",
     "        if False:", "get_gzip_expands_within_measure"),
    ("gzip that ends too early",
     "        if self._fed and not self._unpacker.eof:",
     "        if False:", "get_gzip get_broken_content"),
    ("memory: gzip",
     "self._unpacker.decompress(self._held, EXPANDED_BLOCK)",
     "self._unpacker.decompress(self._held)",
     "get_gzip_comes_in_small_blocks"),
    ("a coding that nobody knows",
     "        if self._unknown:",
     "        if False:", "get_decodes_gzip"),

    # Two versions of a file are never joined.
    ("a part of another version",
     "        if (not is_same_version(fields, have.validator)\n",
     "        if (False\n", "get_plan"),
    ("a weak validator",
     '        return etag if STRONG_ETAG.fullmatch(etag) else ""',
     "        return etag", "get_strong_validator"),
    ("a date within the second of its Date",
     " or date - modified < 1:",
     ":", "get_strong_validator"),
    ("another part than was asked for",
     " or part.first != have.asked\n",
     "\n", "get_plan get_other_part"),
    ("Content-Range that is none",
     "    if first > last or last >= length >= 0:",
     "    if False:", "get_parse_content_range"),
    ("another range than was wanted",
     "                or not is_selected(self.wanted, *part)\n",
     "", "get_other_range_than_was_wanted"),
    ("a part with more bytes than it says",
     "            if expected is not None and count > expected:",
     "            if False:", "get_part_with_another_number_of_bytes"),
    ("a part with fewer bytes than it says",
     "        if count < 0 or expected is not None and count < expected:",
     "        if False:", "get_part_with_another_number_of_bytes"),
    ("a part of another URL",
     '            if (notes["url"] != self.url or',
     "            if (", "get_part_that_is_no_part_of_this"),
    ("a part of another mirror",
     "        same = output.source in (\"\", source_of(response))",
     "        same = True", "get_redirects_to_different_mirrors"),
    ("content that is not what the server has",
     "        if digest != self.hasher.digest():",
     "        if False:", "get_wrong_digest_leaves_nothing"),
    ("content that ended early without a sign",
     "        if length != written and is_same_version(answer.fields,",
     "        if False and is_same_version(answer.fields,",
     "get_answer_that_ends_early_without_a_sign"),

    # Names and files here.
    ("a name with folders in it",
     '    name = re.split(r"[/\\\\]", text)[-1]',
     "    name = text", "get_safe_name"),
    ("a hidden name",
     '    name = name.lstrip(". ").rstrip(". ")',
     '    name = name.rstrip(". ")', "get_safe_name"),
    ("a device's name",
     '    return "_" + name if DEVICE.fullmatch(name) else name',
     "    return name", "get_safe_name"),
    ("-r: a device's name",
     "    if DEVICE.fullmatch(safe):",
     "    if False:", "get_local_names_are_harmless_and_distinct"),
    ("-r: a hidden name",
     '    if safe[:1] == ".":',
     "    if False:", "get_local_names_are_harmless_and_distinct"),
    ("-r: a name with folders in it",
     'if windows else "%/\\\\"',
     'if windows else "%"', "get_local_names_are_harmless_and_distinct"),
    ("a file that is there and was not to be replaced",
     "os.path.lexists(name) and not options.force:",
     "False:", "get_does_not_write_to_what_is_there"),
    ("a file that appears meanwhile",
     "            if self.replace:\n",
     "            if True:\n",
     "get_does_not_replace_what_appeared_meanwhile"),
    ("a link, or another's file, in the part's place",
     "CREATE_FLAGS = OPEN_FLAGS | NOFOLLOW | os.O_RDWR | os.O_CREAT | "
     "os.O_EXCL",
     "CREATE_FLAGS = OPEN_FLAGS | os.O_RDWR | os.O_CREAT",
     "get_part_is_opened_safely get_never_follows"),
    ("a link in a part's place, with -c",
     "            fd = os.open(self.part, OPEN_FLAGS | NOFOLLOW | os.O_RDWR",
     "            fd = os.open(self.part, OPEN_FLAGS | os.O_RDWR",
     "get_never_follows get_part_is_opened_safely"
     " get_part_that_is_no_part_of_this"),
    ("a hard link in a part's place, or another's file",
     "        if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1 or (",
     "        if not stat.S_ISREG(state.st_mode) or (",
     "get_part_that_is_no_part_of_this"),
    ("a part that another replaced",
     "            if not self._is_mine():",
     "            if False:", "get_part_taken_by_another"),
    ("two that write the same part",
     "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
     "        pass\n", "get_two_runs_of_the_same_download"),
    ("a private file that becomes public",
     "    return stat.S_IMODE(state.st_mode) & 0o777",
     "    return 0o666", "get_keeps_private_files_private"),
    ("a device that is replaced by a file",
     "        if not stat.S_ISREG(state.st_mode):\n            return Output",
     "        if False:\n            return Output", "get_never_follows"),
    ("the connection as standard output",
     "        fd = os.open(os.devnull, os.O_RDWR)\n        if fd > STDERR:",
     "        fd = os.open(os.devnull, os.O_RDWR)\n        if fd >= 0:",
     "get_closed_descriptors"),

    # Listings.
    ("-r: links to a parent, another origin, or deeper",
     "    if (target.origin != url.origin or not target.target.startswith"
     "(folder)\n            or",
     "    if (", "get_name_below get_html_listing"
     " get_listing_cannot_lead_elsewhere"),
    ("-r: names that are none",
     "            if is_name(name):",
     "            if True:", "get_listing_of_what_is_no_name"),
    ("-r: a redirect out of the folder",
     "            if not self.allowed(url):",
     "            if False:", "get_copy_is_not_led_out"),
    ("-r: a redirect out of the folder by /../",
     '                and not re.search(r"(?i)/(\\.|%2e){1,2}(/|$)",',
     '                and not re.search(r"(?i)/nothing(/|$)",',
     "get_copy_is_not_led_out"),
    ("-r: a redirect to a folder whose name begins alike",
     'and (url.target + "/").startswith(top)',
     'and url.target.startswith(top[:-1])', "get_copy_is_not_led_out"),
    ("-r: a link here in a folder's place",
     "        if not stat.S_ISDIR(os.lstat(path).st_mode):",
     "        if not stat.S_ISDIR(os.stat(path).st_mode):",
     "get_copy_follows_no_link_here"),
    ("-r: a link here in a file's place",
     "            state = os.lstat(path)\n        except FileNotFoundError",
     "            state = os.stat(path)\n        except FileNotFoundError",
     "get_copy_follows_no_link_here"),
    ("-r: a listing without end",
     "            if not (yield from response.read_into(data, LISTING_MAX)):",
     "            if not (yield from response.read_into(data, 1 << 40)):",
     "get_endless_listing"),
    ("-r: names without end",
     "            if len(entries) + len(self.jobs) > JOBS_MAX:",
     "            if False:", "get_endless_listing"),
    ("-r: links of a page without end",
     "        if len(links) > LINKS_MAX:",
     "        if False:", "get_page_with_endless_links"),
    ("-r: folders in folders without end",
     "        if depth == DEPTH_MAX:",
     "        if False:", "get_nested_folders_end"),

    # The terminal.
    ("controls in what the server says",
     '    return "".join(char if char.isprintable() else escape(char)\n'
     "                   for char in text)",
     "    return text", "get_printable get_hostile get_error_content"),
    ("controls in a text on the terminal",
     "    return UNSAFE.sub(lambda match: escape(match.group()),\n"
     '                      text.replace("\\r\\n", "\\n"))',
     '    return text.replace("\\r\\n", "\\n")', "get_on_terminal"),
    ("a text that is shown in another direction",
     "\\x9f\\u061c\\u200e\\u200f\"\n"
     '                    "\\u202a-\\u202e\\u2066-\\u2069]")',
     '\\x9f]")', "get_on_terminal"),
    ("binary content on the terminal",
     '        if "\\0" in text:',
     "        if False:", "get_on_terminal"),
    ("an error's content without end",
     "        if not (yield from response.read_into(data, ERROR_SHOWN_MAX)):",
     "        if not (yield from response.read_into(data, 1 << 40)):",
     "get_error_content_is_shown_escaped_and_bounded"),
]

ROWS = ([Row(row[0], "httpd.py", *row[1:]) for row in HTTPD]
        + [Row(row[0], "httpget.py", *row[1:]) for row in HTTPGET])


def read(path):
    """Return the text of a file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    """Write the program, and let no compiled one be taken for it.

    Those are told apart by size and second.
    """
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    stem = os.path.basename(path)[:-3]
    for compiled in glob.glob(os.path.join(os.path.dirname(path),
                                           "__pycache__", stem + ".*")):
        os.remove(compiled)


def copy_to(folder):
    """Copy what the tests need to a new *folder*."""
    os.mkdir(folder)
    for name in FILES:
        shutil.copy(os.path.join(HERE, name), folder)
    shutil.copytree(os.path.join(HERE, "htdocs"),
                    os.path.join(folder, "htdocs"))
    write(os.path.join(folder, "conftest.py"), CONFTEST)


def run_tests(folder, rows, seconds):
    """Run the tests of *rows* in *folder*; return (exit status, last words).

    The status is FAILED where they take longer than *seconds*.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-x", "-q",
         "--tb=line"], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=dict(os.environ, MUTATE_TESTS=" ".join(
            row.tests for row in rows)),
        universal_newlines=True, start_new_session=True)
    try:
        output = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return FAILED, "no end within %d seconds" % seconds
    found = re.findall("^(?:FAILED|ERROR) test_httpd.py::(.*)", output,
                       re.MULTILINE)
    return process.returncode, (found or [output.strip()])[-1][-300:]


def outcome(row, folder):
    """Return (what became of *row*, pytest's last words) in our *folder*."""
    path = os.path.join(folder, row.program)
    text = read(os.path.join(HERE, row.program))
    count = text.count(row.old)
    if count != 1:
        return "its text is there %d times" % count, ""
    write(path, text.replace(row.old, row.new))
    status, words = run_tests(folder, [row], SECONDS_MAX)
    write(path, text)
    return {PASSED: "SURVIVED", FAILED: CAUGHT}.get(
        status, "no result: pytest ended with %d" % status), words


def try_all(rows, folders):
    """Yield (row, what became of it, pytest's last words), in order."""
    free = queue.Queue()
    for folder in folders:
        free.put(folder)

    def one(row):
        folder = free.get()
        try:
            return (row, *outcome(row, folder))
        finally:
            free.put(folder)
    with ThreadPoolExecutor(len(folders)) as executor:
        yield from executor.map(one, rows)


def parse_args():
    """Return the options and words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD",
                        help="only rows that have one of these in them")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1,
                        help="how many at a time (default: %(default)s)")
    parser.add_argument("--unchecked", action="store_true",
                        help="do not run the tests on what is unchanged")
    return parser.parse_args()


def main():
    """Do it; return the exit status."""
    args = parse_args()
    rows = [row for row in ROWS if not args.words or any(
        word in part for word in args.words for part in row)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as top:
        folders = [os.path.join(top, str(i)) for i in range(args.jobs)]
        for folder in folders:
            copy_to(folder)
        if not args.unchecked:
            status, words = run_tests(folders[0], rows, None)
            if status != PASSED:
                print("the tests fail anyway: %s" % words)
                return 1
        results = []
        for row, what, words in try_all(rows, folders):
            print("%s: %s (%s)" % (what, row.what, words), flush=True)
            results.append((row, what))
    print("\n| defends against | in | test | without it |\n|---|---|---|---|")
    for row, what in results:
        print("| %s | `%s` | %s | %s |" % (
            row.what.replace("|", "\\|"), row.program,
            ", ".join("`%s`" % name for name in row.tests.split()), what))
    caught = sum(what == CAUGHT for _, what in results)
    print("\n%d of %d caught in %d s" % (caught, len(rows),
                                        time.monotonic() - began))
    return int(caught < len(rows))


if __name__ == "__main__":
    sys.exit(main())
