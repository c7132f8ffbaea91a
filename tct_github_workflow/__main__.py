"""Show a workflow's tokens, so that a person sees what a token is:

    python -m tct_github_workflow ci.yml    # or .json, or - for standard input

or, with --check and any number of files, what GitHub would refuse in them, and
names in expressions that do not exist (see lint.py):

    python -m tct_github_workflow --check .github/workflows/*.yml

Each line is one token with its id. Merges stay within a piece (symbols that
open, text up to the end of its line, symbols that close); the number in front
says how many tokens a piece took. ‹steps› is the symbol of a key or constant,
{ [ ] } open and close, # starts a number, ·end· ends a text; a space that could
be missed is shown as ␣, a line break as ⏎.
"""

import json
import re
import signal
import sys
import textwrap

from . import lint
from .alphabet import ARRAY, CLOSE, END, EOD, ESC, KEY_NAME, LITERAL, NUMBER, OBJECT
from .codec import load_workflow
from .errors import EncodeError
from .json_text import dump_json
from .linear import escape, linearise
from .vocab import encode_symbols, split_pieces, vocab
from .yaml_text import yaml_to_json

USAGE = "usage: python -m tct_github_workflow <workflow.yml, .json or - for standard input>"
WIDTH = 64  # characters of a line for a token's text
FEW_BLANKS = 9  # as many and more are counted, not drawn
BLANKS_TO_SHOW = re.compile("^ +| +$| {2,}")


def symbol_names():
    """{symbol: how it is shown}; CLOSE depends on what it closes."""
    names = {symbol: f"‹{name}›" for symbol, name in KEY_NAME.items()}
    for symbol, value in LITERAL.items():
        names[symbol] = f"‹{value if isinstance(value, str) else json.dumps(value)}›"
    names |= {OBJECT: "{", ARRAY: "[", NUMBER: "#", END: "·end·", EOD: "·end of workflow·"}
    names |= {ESC: "‹escape›", "\n": "⏎"}
    return names


class TokenPrinter:
    """Tokens as readable text, in order: which bracket closes depends on those before."""

    def __init__(self):
        self.names = symbol_names()
        self.closers = []  # what closes the open objects and arrays, innermost last

    def shown(self, token):
        """The bytes of a token as text."""
        text = token.decode(errors="backslashreplace")  # bytes of half a character: \xf0\x9f
        return "".join(map(self.character, BLANKS_TO_SHOW.sub(visible_blanks, text)))

    def character(self, c):
        if c == CLOSE:
            return self.closers.pop()
        if c in (OBJECT, ARRAY):
            self.closers.append("}" if c == OBJECT else "]")
        if c in self.names:
            return self.names[c]
        return c if c.isprintable() else ascii(c)[1:-1]


def visible_blanks(match):
    n_blanks = len(match[0])
    return "␣" * n_blanks if n_blanks < FEW_BLANKS else f"␣×{n_blanks} "


def read_workflow(path):
    """The workflow in a file, or on standard input for "-"."""
    if path == "-":
        source = sys.stdin.buffer.read()
    else:
        with open(path, "rb") as f:
            source = f.read()
    is_json = path.endswith(".json") or (path == "-" and source.lstrip().startswith(b"{"))
    return load_workflow(source.decode("utf-8-sig") if is_json else yaml_to_json(source))


def print_tokens(workflow):
    print("tokens    id  token")
    printer = TokenPrinter()
    pieces = split_pieces(linearise(escape(workflow)))
    n_tokens = 0
    for piece in pieces:
        ids = encode_symbols(piece)
        n_tokens += len(ids)
        for i, token in enumerate(ids):
            text = printer.shown(vocab().bytes[token])
            lines = textwrap.wrap(text, WIDTH, drop_whitespace=False) or [""]
            n_of_piece = len(ids) if i == 0 else ""
            print(f"{n_of_piece:>6} {token:5}  " + f"\n{'':14}".join(lines))
    n_bytes = len(dump_json(workflow).encode())
    print(
        f"{n_tokens:,} tokens in {len(pieces):,} pieces for {n_bytes:,} bytes of JSON: "
        f"{n_bytes / n_tokens:.1f} bytes per token"
    )


def main(arguments):
    sys.stdout.reconfigure(encoding="utf-8")
    if arguments in (["-h"], ["--help"]):
        print(__doc__.strip())
        return
    if arguments[:1] == ["--check"]:
        raise SystemExit(lint.main(arguments[1:]))
    if len(arguments) != 1:
        raise SystemExit(USAGE)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends us quietly
    try:
        workflow = read_workflow(arguments[0])
    except (EncodeError, OSError, UnicodeDecodeError) as e:
        raise SystemExit(f"{arguments[0]}: {getattr(e, 'strerror', None) or e}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
    print_tokens(workflow)


if __name__ == "__main__":
    main(sys.argv[1:])
