"""Break the programs in small ways, and see that the tests notice.

    .venv/bin/python .ci/mutate.py [--seed N] [--count N] [--within REGEX]
                                   [--suite FILE] [program ...]

Of each program's syntax tree a seeded sample of places is taken, and one is
changed at a time, in a copy of the project: a condition is made true or
false, a `raise` is dropped, a bound or a number is off by one.  The fast
tests run against each until one fails.  What none noticed is printed; the
exit status is 1 where that is more than --survivors in a hundred, and 2 where
the tests fail without a change.  A run that takes longer than --limit seconds
counts as noticed: a mutant that hangs fails its test in the end.
"""

import argparse
import ast
import concurrent.futures
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ("httpd.py", "httpget.py")
MEMORY_MAX = 8 << 30    # bytes of address space: a mutant may grow for ever
OFF_BY_ONE = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}


class Mutant(NamedTuple):
    """One change: bytes *start* to *stop* of the program become *text*."""
    where: str      # function and class
    line: int
    start: int
    stop: int
    old: str
    text: str


class Finder(ast.NodeVisitor):
    """Finds the mutants of a program whose text is *source*."""

    def __init__(self, source):
        self.data = source.encode("utf-8")
        self.starts = [0]
        for line in self.data.splitlines(True):
            self.starts.append(self.starts[-1] + len(line))
        self.names, self.mutants = [], []
        self.visit(ast.parse(source))

    def add(self, node, text, start=None, stop=None):
        """Note the mutant that has *text* in place of *node*."""
        if not self.names:      # constants of the module: tests know them
            return
        if start is None:
            start = self.starts[node.lineno - 1] + node.col_offset
            stop = self.starts[node.end_lineno - 1] + node.end_col_offset
        self.mutants.append(Mutant(
            ".".join(self.names), node.lineno, start, stop,
            self.data[start:stop].decode(), text))

    def within(self, node):
        """Visit what is in a function or class, but for its docstring."""
        self.names.append(node.name)
        body = node.body
        if ast.get_docstring(node) is not None:
            body = body[1:]
        for child in body:
            self.visit(child)
        self.names.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = within

    def condition(self, node):
        """A test, of whatever has some, is true or false."""
        for test in (node.ifs if isinstance(node, ast.comprehension)
                     else [node.test]):
            if not isinstance(test, ast.Constant):
                self.add(test, "True")
                self.add(test, "False")
        self.generic_visit(node)

    visit_If = visit_IfExp = visit_While = visit_comprehension = condition

    def visit_Assert(self, node):
        """It checks what cannot be otherwise: no test can notice."""

    def visit_BoolOp(self, node):
        """Each operand of `and` and `or` in turn decides nothing."""
        for value in node.values:
            self.add(value, str(isinstance(node.op, ast.And)))
        self.generic_visit(node)

    def visit_Raise(self, node):
        """What should be refused is not."""
        self.add(node, "pass")

    def visit_Compare(self, node):
        """A bound is off by one."""
        left = node.left
        for operator, right in zip(node.ops, node.comparators):
            text = OFF_BY_ONE.get(type(operator))
            start = self.starts[left.end_lineno - 1] + left.end_col_offset
            stop = self.starts[right.lineno - 1] + right.col_offset
            between = self.data[start:stop].decode()
            found = re.search("[<>]=?", between)
            if text and found:
                self.add(node, text, start + found.start(),
                         start + found.end())
            left = right
        self.generic_visit(node)

    def visit_Constant(self, node):
        """A number is one more."""
        if type(node.value) is int:
            self.add(node, str(node.value + 1))


def is_noticed(program, data, args):
    """Return whether the tests fail where *program* is *data*."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)     # for tests of --user
        copy = os.path.join(folder, "copy")
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns(
            ".git", ".venv", "__pycache__", "*_cache"))
        shutil.copy(args.suite, os.path.join(copy, "test_httpd.py"))
        pathlib.Path(copy, program).write_bytes(data)
        process = subprocess.Popen(
            ["prlimit", "--as=%d" % MEMORY_MAX, sys.executable, "-m", "pytest",
             "-x", "-q", "-c", ".pytest.ini", "-p", "no:cacheprovider",
             *args.pytest], cwd=copy, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env=dict(
                os.environ, PYTHONDONTWRITEBYTECODE="1", TMPDIR=folder))
        try:
            return process.wait(args.limit) != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what tests started
            process.wait()


def survivors(program, args):
    """Print the mutants that no test noticed; return how many of how many."""
    finder = Finder(pathlib.Path(HERE, program).read_text("utf-8"))
    mutants = [mutant for mutant in finder.mutants
               if re.search(args.within, mutant.where)]
    random.Random(args.seed).shuffle(mutants)
    mutants = sorted(mutants[:args.count], key=lambda each: each.start)
    count = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for mutant, noticed in zip(mutants, pool.map(
                lambda mutant: is_noticed(
                    program, finder.data[:mutant.start] + mutant.text.encode()
                    + finder.data[mutant.stop:], args), mutants)):
            if not noticed:
                count += 1
                print("%s:%d %s: %s -> %s" % (
                    program, mutant.line, mutant.where, " ".join(
                        mutant.old.split())[:60], mutant.text), flush=True)
    print("%s: %d of %d mutants survived" % (program, count, len(mutants)),
          flush=True)
    return count, len(mutants)


def main():
    """Run a sample of mutants; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("programs", nargs="*", default=PROGRAMS, metavar="program")
    add("--seed", type=int, default=1)
    add("--count", type=int, default=150, help="mutants of each program")
    add("--within", default="", help="functions and classes, a regex")
    add("--suite", default=os.path.join(HERE, "test_httpd.py"))
    add("--limit", type=float, default=600)
    add("--jobs", type=int, default=os.cpu_count())
    add("--survivors", type=float, default=100, help="in a hundred, at most")
    add("--pytest", action="append", default=[], help="option of pytest")
    args = parser.parse_args()
    first = args.programs[0]
    if is_noticed(first, pathlib.Path(HERE, first).read_bytes(), args):
        print("the tests fail without a change")
        return 2
    counts = [survivors(program, args) for program in args.programs]
    survived, total = map(sum, zip(*counts))
    return int(survived * 100 > args.survivors * total)


if __name__ == "__main__":
    sys.exit(main())
