"""Facts about run/screen.py: whatever becomes of stdout and stderr, the script works on."""

import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SCRIPT = """
import contextlib, os, sys
from run.screen import guard_screens
guard_screens()
result = open(sys.argv[1], "w")
for _ in range(3):
    print("progress", "\\udcff \\u4e2d" * 3000, flush=True)
    print("progress", "\\udcff \\u4e2d" * 3000, file=sys.stderr)
for number in 1, 2:  # as a library in C does it
    with contextlib.suppress(OSError):
        os.write(number, b"noise")
result.write("whole")
"""


def run(path, redirection="", **kwargs):
    """The script's exit code and what it wrote to its result."""
    command = f'"$0" -c "$1" "$2" {redirection}'
    arguments = ["bash", "-c", command, sys.executable, SCRIPT, str(path)]
    done = subprocess.run(arguments, cwd=ROOT, timeout=60, **kwargs)
    return done.returncode, path.read_text()


@pytest.mark.parametrize(
    "redirection",
    [
        ">/dev/full",
        ">/dev/full 2>/dev/full",
        ">&-",
        "2>&- >/dev/null",
        "<&- >&- 2>&-",
        "2>/dev/null | true; exit ${PIPESTATUS[0]}",
    ],
)
def test_a_screen_that_fails_is_given_up_and_the_work_is_done(tmp_path, redirection):
    assert run(tmp_path / "result", redirection, stderr=subprocess.DEVNULL) == (0, "whole")


def test_a_terminal_that_is_gone_is_given_up(tmp_path):
    ours, its = os.openpty()
    os.close(ours)  # from now on every write to the other end is an EIO
    assert run(tmp_path / "result", stdout=its, stderr=its) == (0, "whole")
    os.close(its)


def test_what_the_encoding_cannot_show_is_escaped(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "result")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
    )
    assert done.returncode == 0 and rb"\udcff \u4e2d" in done.stdout
