"""Run the tests' fuzz targets for longer, each with seeds of its own.

    .venv/bin/python .ci/fuzz.py [--seconds N] [--seed N] [TARGET ...]

A target is a function fuzz_... of test_httpd.py, which takes a random.Random,
a count of inputs and, some, a folder.  Each gets an equal share of the time,
in runs with one seed after another.  What fails is printed with its traceback,
and its seed: `--seed N fuzz_...` repeats it.  The exit status is 1 then; what
was found becomes a row of the tests' tables.
"""

import argparse
import inspect
import os
import pathlib
import random
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import test_httpd

COUNT = 5000            # inputs of a run: enough for what a target expects
COUNT_WITH_FOLDER = 20  # the same of a target that runs a server


def run(function, seed, seconds):
    """Run *function* for so long; return whether it held."""
    count, inputs, first = COUNT, 0, seed
    end = time.monotonic() + seconds
    while not inputs or time.monotonic() < end:
        with tempfile.TemporaryDirectory() as folder:
            arguments = [random.Random(seed), count]
            if len(inspect.signature(function).parameters) > 2:
                count = arguments[1] = COUNT_WITH_FOLDER
                arguments.append(pathlib.Path(folder))
            try:
                function(*arguments)
            except Exception:
                traceback.print_exc(file=sys.stdout)
                print("%s failed, --seed %d" % (function.__name__, seed))
                return False
        seed, inputs = seed + 1, inputs + count
    print("%s: %d inputs, seeds %d to %d" % (function.__name__, inputs, first,
                                             seed - 1), flush=True)
    return True


def main():
    """Run what was asked for; return the exit status."""
    known = [name for name in dir(test_httpd) if name.startswith("fuzz_")]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().randrange(10**9))
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=known)
    args = parser.parse_args()
    held = [run(getattr(test_httpd, name), args.seed,
                args.seconds / len(args.targets)) for name in args.targets]
    return 0 if held and all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
