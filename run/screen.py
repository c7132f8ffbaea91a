"""Output that cannot end a run: a script continues when nobody can read what it says.

    from run.screen import guard_screens

    guard_screens()  # first thing in a script, before it opens a file

A pipe may close (`| head`), a terminal may go away (EIO), a log may fill its disk, and a stream may
be closed from the start (`2>&-`). None of this is a reason to lose an hour of work.
"""

import os
import sys


class Screen:
    """A text stream whose write and flush never raise: one that fails goes to os.devnull then."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):  # encoding, isatty, fileno, ...
        return getattr(self.stream, name)

    def write(self, text):
        self._attempt(self.stream.write, text)
        return len(text)

    def flush(self):
        self._attempt(self.stream.flush)

    def _attempt(self, action, *args):
        try:
            action(*args)
        except OSError:
            # What is still in the buffer needs somewhere to go, too:
            # https://docs.python.org/3/library/signal.html#note-on-sigpipe
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


def guard_screens():
    """Replaces sys.stdout and sys.stderr by Screens. What their encoding cannot show is escaped."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # closed: the next file to be opened would take its number, and with it its output
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if name == "stdin":
            continue
        stream = getattr(sys, name)
        if stream is None:  # Python found it closed
            stream = open(number, "w", encoding="utf-8", closefd=False)
        if hasattr(stream, "reconfigure"):  # a test's stand-in may lack it
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Screen(stream))


def print_head(title, text, n_lines=40):
    """The title and the first lines of a text, of which only the rest's number is said."""
    lines = text.splitlines()
    print(f"\n---- {title}", *lines[:n_lines], sep="\n")
    if len(lines) > n_lines:
        print(f"... and {len(lines) - n_lines} more lines")
