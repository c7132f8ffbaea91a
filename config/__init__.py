"""Overrides of a script's globals: config files, then flags.

    python train.py config/small.py --batch_size=16 --out_dir=out/a=b

A script keeps its settings as plain globals at its top, each with a comment, and then says

    from config import configure
    config = configure(globals())  # applies the command line; returns the settings in effect, as a dict

Settings are the module's lower-case, public globals of type int, float, bool, str or None. A config file is Python that assigns to them and may
read them (`warmup_iters = max_iters // 10`); arguments apply from left to right. One checker serves both: an unknown name or a wrong
type ends the program with exit code 2 and one line that names the nearest setting. `--help` lists every setting with its comment.
The habit of configuring by globals is nanoGPT's (https://github.com/karpathy/nanoGPT/blob/master/configurator.py).
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


def fail(message):
    """Ends the running script with one line on stderr: what went wrong, where, and what to do next. Exit code 1."""
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
    """Apply argv (default: the command line) to settings, a script's globals(), in place. Returns them as a dict."""
    keys = [k for k, v in settings.items() if is_setting(k, v)]

    def fail(message):
        print(f"{os.path.basename(settings.get('__file__', 'config'))}: {message}", file=sys.stderr)
        raise SystemExit(2)

    def assign(key, value, where):
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]
            fail(
                f"{where}: no setting is called '{key}'. The nearest is '{near}'; --help lists them all."
            )
        want = type(settings[key])
        if want is float and type(value) is int:
            value = float(value)
        if type(value) not in SCALARS or want not in (type(value), type(None)):
            fail(
                f"{where}: {key} must be of type {want.__name__}, like {settings[key]!r}, not {value!r}."
            )
        settings[key] = value

    wants_help = False
    for arg in sys.argv[1:] if argv is None else argv:
        if arg in ("-h", "--help"):
            wants_help = True
        elif arg.startswith("--"):
            key, equals, text = arg[2:].partition(
                "="
            )  # at the first '=': the value may hold more of them
            if not equals:
                fail(f"{arg}: write --{key}=value, with an equals sign and no blanks.")
            value = text
            if (
                type(settings.get(key)) is not str
            ):  # a str is taken as typed: --out_dir=7 needs no quotes
                try:
                    value = ast.literal_eval(text)
                except (ValueError, SyntaxError, TypeError):
                    pass  # stays text, which assign() refuses unless the default is None
            assign(key, value, arg)
        else:
            names = {k: settings[k] for k in keys}
            try:
                with open(arg, encoding="utf-8") as f:
                    exec(compile(f.read(), arg, "exec"), names)
            except OSError as e:
                fail(
                    f"{arg}: {e.strerror}. Give config files as config/name.py and settings as --key=value."
                )
            except Exception as e:  # whatever a user's file may raise
                fail(f"{arg}: {type(e).__name__}: {e}")
            for key, value in names.items():
                if (
                    not key.startswith("_")
                    and not callable(value)
                    and not isinstance(value, types.ModuleType)
                ):
                    assign(key, value, arg)
    if wants_help:
        print_help(settings, keys)
        raise SystemExit(0)
    return {k: settings[k] for k in keys}


def print_help(settings, keys):
    """The script's docstring, then its settings with their comments, under the headings that the source has."""
    with open(settings["__file__"], encoding="utf-8") as f:
        source = f.read()
    comments, alone = (
        {},
        {},
    )  # line number: text; of a comment behind code, and of one on a line of its own
    for t in tokenize.generate_tokens(io.StringIO(source).readline):
        if t.type == tokenize.COMMENT:
            (alone if t.line.lstrip().startswith("#") else comments)[t.start[0]] = t.string.lstrip(
                "# "
            )
    for line in (settings["__doc__"] or "").strip().splitlines():
        print(textwrap.fill(line, 79, subsequent_indent=" " * (4 + len(line) - len(line.lstrip()))))
    print("\nSettings, with the values that this command line gives them:")
    last = 0  # line of the setting before
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or getattr(node.targets[0], "id", None) not in keys:
            continue
        key, end = node.targets[0].id, node.end_lineno
        heading = [alone[n] for n in range(last + 1, node.lineno) if n in alone]
        if heading and last:
            print("\n" + textwrap.fill(" ".join(heading), 79))
        lines = textwrap.wrap(comments.get(end, ""), 79 - 34)
        flag = f"  --{key}={settings[key]}"
        print(f"{flag:<34}{lines.pop(0)}" if lines and len(flag) < 34 else flag)
        for text in lines:
            print(" " * 34 + text)
        last = end
