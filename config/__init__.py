"""Overrides of a script's globals: config files, then flags.

    python train.py config/small.py --batch_size=16 --out_dir=out/a=b

A script keeps its settings as plain globals at its top, each with a comment, and then says

    from config import configure
    config = configure(globals())  # applies the command line; returns the settings in effect

Settings are the module's lower-case globals of type int, float, bool, str or None; constants are in
UPPER_CASE. A config file is Python that assigns to settings and may read them
(`warmup_iters = max_iters // 10`); arguments apply from left to right. One checker serves both: an
unknown name or a wrong type ends the program with exit code 2 and one line that names the nearest
setting. `--help` lists every setting with its comment. The habit of configuring by globals is
nanoGPT's (https://github.com/karpathy/nanoGPT/blob/master/configurator.py).
"""

import ast
import difflib
import io
import os
import sys
import textwrap
import tokenize
import types

SCALARS = (int, float, bool, str, type(None))
HELP_WIDTH = 79
FLAG_WIDTH = 34  # of --help's first column


def fail(message):
    """Ends the script with one line on stderr: what went wrong, where, and what to do next.

    Exit code 1.
    """
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(1)


def say_when_stopped(what):
    """From now on Ctrl-C ends the script with one line, "stopped; ..."; a bug has its traceback."""

    def explain(kind, error, trace):
        if kind is KeyboardInterrupt:
            print(f"\n{os.path.basename(sys.argv[0])}: stopped; {what}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = explain


def is_setting(name, value):
    """CONSTANTS and _private names are none."""
    return name.islower() and not name.startswith("_") and type(value) in SCALARS


def configure(settings, argv=None):
    """Apply argv (default: the command line) to settings, a script's globals(), in place.

    Returns the settings as a dict.
    """
    overrides = Overrides(settings)
    wants_help = False
    for argument in sys.argv[1:] if argv is None else argv:
        if argument in ("-h", "--help"):
            wants_help = True
        elif argument.startswith("--"):
            overrides.apply_flag(argument)
        else:
            overrides.apply_file(argument)
    if wants_help:
        print_help(settings, overrides.keys)
        raise SystemExit(0)
    return overrides.as_dict()


class Overrides:
    """A script's globals, and the one checker of what is to override them."""

    def __init__(self, settings):
        self.settings = settings
        self.keys = [key for key, value in settings.items() if is_setting(key, value)]

    def as_dict(self):
        return {key: self.settings[key] for key in self.keys}

    def apply_flag(self, argument):
        """--key=value"""
        # at the first '=': the value may hold more of them
        key, equals, text = argument.removeprefix("--").partition("=")
        if not equals:
            self.refuse(f"{argument}: write --{key}=value, with an equals sign and no blanks.")
        value = text
        # a str is taken as typed: --out_dir=7 needs no quotes
        if type(self.settings.get(key)) is not str:
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError, TypeError):
                pass  # stays text, which assign() refuses unless the default is None
        self.assign(key, value, argument)

    def apply_file(self, path):
        names = self.as_dict()
        try:
            with open(path, encoding="utf-8") as f:
                exec(compile(f.read(), path, "exec"), names)
        except OSError as e:
            self.refuse(
                f"{path}: {e.strerror}. Give config files as config/name.py "
                "and settings as --key=value."
            )
        except Exception as e:  # whatever a user's file may raise
            self.refuse(f"{path}: {type(e).__name__}: {' '.join(str(e).split())}")
        for key, value in names.items():
            is_import = isinstance(value, types.ModuleType)
            if not key.startswith("_") and not is_import and not callable(value):
                self.assign(key, value, path)

    def assign(self, key, value, where):
        """Set a setting. where: what the user wrote that says so."""
        if key not in self.keys:
            nearest = difflib.get_close_matches(key, self.keys, n=1, cutoff=0.0)[0]
            self.refuse(
                f"{where}: no setting is called '{key}'. The nearest is '{nearest}'; "
                "--help lists them all."
            )
        wanted = type(self.settings[key])
        if wanted is float and type(value) is int:
            value = float(value)
        is_right = type(value) in SCALARS and wanted in (type(value), type(None))
        if not is_right:
            self.refuse(
                f"{where}: {key} must be of type {wanted.__name__}, "
                f"like {self.settings[key]!r}, not {value!r}."
            )
        self.settings[key] = value

    def refuse(self, message):
        script = os.path.basename(self.settings.get("__file__", "config"))
        print(f"{script}: {message}", file=sys.stderr)
        raise SystemExit(2)


def print_help(settings, keys):
    """The script's docstring, then its settings with their comments, under their headings."""
    with open(settings["__file__"], encoding="utf-8") as f:
        source = f.read()
    for line in (settings["__doc__"] or "").strip().splitlines():
        indent = " " * (4 + len(line) - len(line.lstrip()))
        print(textwrap.fill(line, HELP_WIDTH, subsequent_indent=indent))
    print("\nSettings, with the values that this command line gives them:")
    after_code, alone = comments_by_line(source)
    last_line = None  # of the setting before
    remaining = set(keys)  # a script may assign to a setting once more, further down
    for node in ast.parse(source).body:
        key = getattr(node.targets[0], "id", None) if isinstance(node, ast.Assign) else None
        if key not in remaining:
            continue
        remaining.remove(key)
        if last_line:
            print_heading(alone, last_line, node.lineno)
        print_setting(f"  --{key}={settings[key]}", after_code.get(node.end_lineno, ""))
        last_line = node.end_lineno


def comments_by_line(source):
    """Two dicts {line number: comment}: those after code, and those on a line of their own."""
    after_code = {}
    alone = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            is_alone = token.line.lstrip().startswith("#")
            comments = alone if is_alone else after_code
            comments[token.start[0]] = token.string.lstrip("# ")
    return after_code, alone


def print_heading(alone, first_line, last_line):
    """The comments that stand alone between two lines, if there are any."""
    lines = [alone[number] for number in range(first_line, last_line) if number in alone]
    if lines:
        print("\n" + textwrap.fill(" ".join(lines), HELP_WIDTH))


def print_setting(flag, comment):
    """A flag and its comment, in two columns; a long flag has a line of its own."""
    lines = textwrap.wrap(comment, HELP_WIDTH - FLAG_WIDTH)
    if len(flag) < FLAG_WIDTH and lines:
        flag = f"{flag:<{FLAG_WIDTH}}{lines.pop(0)}"
    print(flag)
    for line in lines:
        print(" " * FLAG_WIDTH + line)
